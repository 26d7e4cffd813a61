"""What became of the cards that CDS services gave: kept once a card, the later word in place of the earlier.

Of a card about a patient whose course is kept here it is kept that it was shown; of others nothing, until feedback
comes: that one is ours, of which service and for which account is told from its uuid: the second half is
a code of the first half, the service and the account, under the audit key.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple, cast
from uuid import UUID

from titrator.security.secrets import fingerprint
from titrator.store.base import Where
from titrator.store.records import Account, CdsFeedback, Patient
from titrator.titration.errors import Fault
from titrator.workflow.errors import Invalid
from titrator.workflow.visit import Visit, instant

PAGE: Final = 100
#: Of a card that nothing has been said of yet.
SHOWN: Final = "shown"
_PURPOSE: Final = "cds-card"
_SUGGESTION: Final = "cds-suggestion"
_HALF: Final = 16
#: So much may the clock of a client be ahead: what was said later would never be replaced.
_AHEAD: Final = timedelta(minutes=5)


class Feedback(NamedTuple):
    """What became of a card: `at` is an instant with its offset, suggestions are those that were accepted."""

    card: str
    outcome: str
    at: str
    suggestions: tuple[str, ...] = ()
    reason_code: str | None = None
    reason_display: str | None = None
    comment: str | None = None


def new_card(key: bytes, service: str, account: str) -> str:
    """The uuid of a new card."""
    half = secrets.token_hex(_HALF // 2)
    first = f"{half[:12]}4{half[13:]}"  # version 4: half of it is chance
    return _uuid(first, fingerprint(key, _PURPOSE, f"{first} {service} {account}"))


def suggestion_of(key: bytes, card: str) -> str:
    """The uuid of the one suggestion of a card."""
    code = fingerprint(key, _SUGGESTION, card)
    return _uuid(f"{code[:12]}4{code[13:_HALF]}", code[_HALF:])


def is_ours(key: bytes, card: str, service: str, account: str) -> bool:
    """Whether a uuid is that of a card that a service gave to an account."""
    digits = UUID(card).hex
    first = digits[:_HALF]
    ours = UUID(_uuid(first, fingerprint(key, _PURPOSE, f"{first} {service} {account}"))).hex
    return secrets.compare_digest(digits, ours)


def keep_shown(visit: Visit, service: str, cards: Iterable[str], patient_id: str) -> None:
    """Keep of cards that they were shown of a patient of the account's clinics: so feedback finds whose it is."""
    patient = visit.patient(patient_id)
    for card in cards:
        at = instant(visit.now)
        visit.session.add(
            CdsFeedback(
                account_id=visit.who.account_id,
                card=card,
                service=service,
                patient_id=patient.id,
                outcome=SHOWN,
                reason_code=None,
                reason_display=None,
                comment=None,
                suggestions=(),
                at=at,
                received_at=at,
            )
        )
        visit.note("cds-card", f"cds-card/{card}", patient=patient, service=service)


def take_feedback(visit: Visit, service: str, items: Iterable[Feedback]) -> None:
    """Keep what became of cards of a service; raises Invalid, and keeps nothing, if one of them is not ours.

    The same again changes nothing, and neither does what was said earlier than what is kept.
    """
    items = [one._replace(card=str(UUID(one.card))) for one in items]
    if faults := list(_faults(visit, service, items)):
        raise Invalid(*faults)
    for item in items:
        _keep(visit, service, item)


def list_feedback(visit: Visit, limit: int = PAGE) -> list[CdsFeedback]:
    """What the systems said that share a clinic with the account who asks, the newest first."""
    mine = visit.who.clinics
    accounts = tuple(one.id for one in visit.session.find(Account) if not mine.isdisjoint(one.clinics))
    visit.note("search", "cds-feedback")
    if not accounts:
        return []
    order = ("-received_at", "account_id", "card")
    told = Where("account_id", "in", accounts), Where("outcome", "!=", SHOWN)
    found = visit.session.find(CdsFeedback, *told, order=order, limit=limit)
    return [one for one in found if one.patient_id is None or _is_of(visit, one.patient_id)]


def _is_of(visit: Visit, patient_id: str) -> bool:
    """Whether a patient is of a clinic of the account who asks: who sent the feedback may be of more."""
    patient = visit.session.get(Patient, patient_id)
    return patient is not None and patient.clinic_id in visit.who.clinics


def feedback_fields(feedback: CdsFeedback) -> dict[str, object]:
    """Feedback as it is sent."""
    return {
        "card": feedback.card,
        "service": feedback.service,
        "account": feedback.account_id,
        "patient": feedback.patient_id,
        "outcome": feedback.outcome,
        "reason_code": feedback.reason_code,
        "reason_display": feedback.reason_display,
        "comment": feedback.comment,
        "suggestions": list(feedback.suggestions),
        "at": feedback.at,
        "received_at": feedback.received_at,
    }


def read_feedback(body: Mapping[str, object]) -> list[Feedback]:
    """The feedback of a body as the schema of CDS Hooks loads it."""
    found = []
    for one in cast("list[dict[str, object]]", body["feedback"]):
        why = cast("dict[str, object]", one.get("override_reason", {}))
        reason = cast("dict[str, str]", why.get("reason", {}))
        suggestions = cast("list[dict[str, str]]", one.get("accepted_suggestions", []))
        found.append(
            Feedback(
                card=cast(str, one["card"]),
                outcome=cast(str, one["outcome"]),
                at=cast(str, one["outcome_timestamp"]),
                suggestions=tuple(str(UUID(each["id"])) for each in suggestions),
                reason_code=reason.get("code"),
                reason_display=reason.get("display"),
                comment=cast("str | None", why.get("user_comment")),
            )
        )
    return found


def _faults(visit: Visit, service: str, items: Iterable[Feedback]) -> Iterable[Fault]:
    key, account = visit.services.audit_key, visit.who.account_id
    for index, item in enumerate(items):
        path = f"feedback[{index}]"
        if not is_ours(key, item.card, service, account):
            yield Fault(f"{path}.card", "is no card that this service gave to this client")
            continue
        if datetime.fromisoformat(item.at) > visit.now + _AHEAD:
            yield Fault(f"{path}.outcomeTimestamp", "lies in the future, by the clock here")
        ours = suggestion_of(key, item.card)
        for place, suggestion in enumerate(item.suggestions):
            if suggestion != ours:
                yield Fault(f"{path}.acceptedSuggestions[{place}].id", "is no suggestion of this card")


def _keep(visit: Visit, service: str, item: Feedback) -> None:
    before = visit.session.get(CdsFeedback, visit.who.account_id, item.card)
    at = instant(datetime.fromisoformat(item.at))
    if before is not None and before.outcome != SHOWN and before.at >= at:
        return
    after = CdsFeedback(
        account_id=visit.who.account_id,
        card=item.card,
        service=service,
        patient_id=None if before is None else before.patient_id,  # nothing that the client sends names a patient
        outcome=item.outcome,
        reason_code=item.reason_code,
        reason_display=item.reason_display,
        comment=item.comment,
        suggestions=item.suggestions,
        at=at,
        received_at=instant(visit.now),
    )
    visit.session.put(after)
    patient = None if after.patient_id is None else visit.session.get(Patient, after.patient_id)
    told = {"service": service, "outcome": item.outcome, "why": item.reason_code}
    visit.note("cds-feedback", f"cds-card/{item.card}", patient=patient, **told)


def _uuid(first: str, second: str) -> str:
    """The uuid of two halves in hexadecimal digits; of the second, the first two bits are those of every uuid."""
    return f"{first[:8]}-{first[8:12]}-{first[12:]}-{int(second[0], 16) & 3 | 8:x}{second[1:4]}-{second[4:_HALF]}"
