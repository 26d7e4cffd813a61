"""A patient at a glance: all that whoever decides has to see at once, read in one visit."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, NamedTuple, cast

from titrator.store.base import Where
from titrator.store.records import Decision, DoseMismatch, Fact
from titrator.titration.answer import to_document
from titrator.titration.course import read_document
from titrator.titration.documents import reread
from titrator.titration.errors import InvalidProtocol
from titrator.titration.protocol import Protocol, WeeklyProtocol
from titrator.titration.quantities import EXACT, ratio_rounded
from titrator.titration.recommend import recommend
from titrator.workflow.accounts import names
from titrator.workflow.delivery import LastDose, lapsed, last_dose, open_mismatches, undelivered
from titrator.workflow.errors import Refusal
from titrator.workflow.propose import active_course, course_document
from titrator.workflow.standing import next_dose
from titrator.workflow.tasks import covered, reopened_of
from titrator.workflow.visit import Visit

#: From so many percent on a change of dose is a large one.
LARGE: Final = Decimal(50)
_MOST_SHOWN: Final = 20
_HUNDRED: Final = Decimal(100)

Document = dict[str, Any]


class Change(NamedTuple):
    """How a proposed dose differs from the last one given: in micrograms and in percent, both signed."""

    before: LastDose
    micrograms: Decimal
    percent: Decimal

    @property
    def large(self) -> bool:
        """Whether nobody should pass it over."""
        return abs(self.percent) >= LARGE


class Glance(NamedTuple):
    """Where a patient stands today. Without an answer `refused` says why there is none.

    `live` is what has been decided and not carried out, `stands` whether it has not lapsed either, `signed` whether it
    settles the answer: a referral leaves it to be decided. `names` are those of the accounts that decided, by id.
    """

    answer: Document | None
    refused: Refusal | None
    proposal_sha256: str | None
    change: Change | None
    live: Decision | None
    stands: bool
    signed: bool
    reopened: list[Decision]
    mismatches: list[DoseMismatch]
    unverified: list[Fact]
    decisions: list[Decision]
    names: dict[str, str]


def glance(visit: Visit, patient_id: str) -> Glance:
    """Where a patient stands today; raises Unknown."""
    patient = visit.patient(patient_id)
    answer, refused, sha256 = _answer(visit, patient_id)
    live = undelivered(visit, patient)
    today = visit.today(patient)
    stands = live is not None and not lapsed(live, today)
    mine = Where("patient_id", "=", patient.id), Where("current", "=", 1)
    decided = visit.session.find(Decision, *mine, order=("-id",), limit=_MOST_SHOWN)
    return Glance(
        answer=answer,
        refused=refused,
        proposal_sha256=sha256,
        change=None if answer is None else _change(last_dose(visit, patient), answer),
        live=live,
        stands=stands,
        signed=_is_settled(live if stands else None, answer),
        reopened=reopened_of(visit, patient),
        mismatches=open_mismatches(visit, patient),
        unverified=visit.session.find(Fact, *mine, Where("status", "=", "unverified"), order=("id",)),
        decisions=decided,
        names=names_of(visit, decided),
    )


def _is_settled(decision: Decision | None, answer: Document | None) -> bool:
    if decision is None or answer is None or decision.kind == "refer":
        return False
    return covered(decision, answer)


def by_other_protocols(visit: Visit, patient_id: str) -> list[tuple[Protocol, Document]]:
    """What every other usable weekly protocol makes of the same facts today, by id; for comparison only.

    Raises what `active_course` raises.
    """
    patient = visit.patient(patient_id)
    course, today = active_course(visit, patient), visit.today(patient)
    facts = visit.session.course_facts(patient.id)
    visit.note("compare-protocols", f"patient/{patient.id}/next-dose", patient=patient, on=today)
    found: list[tuple[Protocol, Document]] = []
    for protocol in _usable(visit):
        if protocol.id != course.protocol:
            document = {**course_document(patient, course, facts, today), "protocol": protocol.id}
            request = read_document(document, lambda _: None)
            found.append((protocol, to_document(recommend(protocol, request.course, request.on))))
    return found


def names_of(visit: Visit, decisions: Iterable[Decision]) -> dict[str, str]:
    """The names to show of all who had a hand in decisions, by the ids of their accounts."""
    hands = (ident for one in decisions for ident in (one.signed_by, one.second_by, one.changed_by))
    return names(visit, (ident for ident in hands if ident is not None))


def _usable(visit: Visit) -> Iterable[WeeklyProtocol]:
    catalogue = visit.services.catalogue
    for ident in catalogue.ids():
        try:
            protocol = catalogue.get(ident)
        except InvalidProtocol:
            continue
        if isinstance(protocol, WeeklyProtocol):
            yield protocol


def _answer(visit: Visit, patient_id: str) -> tuple[Document | None, Refusal | None, str | None]:
    try:
        found = next_dose(visit, patient_id, None)
    except Refusal as refusal:
        return None, refusal, None
    return cast(Document, reread(found.standing.answer)), None, found.standing.proposal_sha256


def _change(before: LastDose | None, answer: Document) -> Change | None:
    dose = answer["dose"]
    if before is None or dose is None or not before.micrograms:
        return None
    more = EXACT.subtract(dose["delivered_micrograms"], before.micrograms)
    percent = ratio_rounded(EXACT.multiply(abs(more), _HUNDRED), before.micrograms, Decimal(1)) if more else Decimal(0)
    return Change(before, more, percent.copy_sign(more))
