"""A patient at a glance: all that whoever decides has to see at once, read in one visit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, cast

from titrator.store.base import Where
from titrator.store.records import Decision, DoseMismatch, Fact
from titrator.titration.answer import to_document
from titrator.titration.course import read_document
from titrator.titration.documents import reread
from titrator.titration.errors import InvalidProtocol
from titrator.titration.protocol import Protocol, WeeklyProtocol
from titrator.titration.recommend import recommend
from titrator.workflow.accounts import names
from titrator.workflow.delivery import Change, change_of, lapsed, last_dose, open_mismatches, undelivered
from titrator.workflow.errors import Refusal
from titrator.workflow.propose import active_course, course_document
from titrator.workflow.standing import next_dose
from titrator.workflow.tasks import covered, reopened_of
from titrator.workflow.visit import Visit

_MOST_SHOWN: Final = 20

Document = dict[str, Any]


class Glance(NamedTuple):
    """Where a patient stands today. Without an answer `refused` says why there is none.

    `live` is what has been decided and not carried out, `stands` whether it has not lapsed either, `signed` whether it
    covers the answer; `change` is that of the dose proposed, `decided_change` that of the dose decided. `names` are
    those of the accounts that decided, by id.
    """

    answer: Document | None
    refused: Refusal | None
    proposal_sha256: str | None
    change: Change | None
    decided_change: Change | None
    live: Decision | None
    stands: bool
    signed: bool
    reopened: list[Decision]
    mismatches: list[DoseMismatch]
    unverified: list[Fact]
    decisions: list[Decision]
    names: dict[str, str]

    @property
    def prevails(self) -> bool:
        """Whether the next dose is what was decided, not what is proposed: it covers the answer and is no referral."""
        return self.signed and self.live is not None and self.live.kind != "refer"


def glance(visit: Visit, patient_id: str) -> Glance:
    """Where a patient stands today; raises Unknown."""
    patient = visit.patient(patient_id)
    answer, refused, sha256 = _answer(visit, patient_id)
    live = undelivered(visit, patient)
    today = visit.today(patient)
    stands = live is not None and not lapsed(live, today)
    mine = Where("patient_id", "=", patient.id), Where("current", "=", 1)
    decided = visit.session.find(Decision, *mine, order=("-id",), limit=_MOST_SHOWN)
    before = last_dose(visit, patient)
    proposed = answer["dose"]["delivered_micrograms"] if answer is not None and answer["dose"] else None
    return Glance(
        answer=answer,
        refused=refused,
        proposal_sha256=sha256,
        change=change_of(before, proposed),
        decided_change=None if live is None else change_of(before, live.micrograms),
        live=live,
        stands=stands,
        signed=stands and answer is not None and covered(live, answer),
        reopened=reopened_of(visit, patient),
        mismatches=open_mismatches(visit, patient),
        unverified=visit.session.find(Fact, *mine, Where("status", "=", "unverified"), order=("id",)),
        decisions=decided,
        names=names_of(visit, decided),
    )


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
