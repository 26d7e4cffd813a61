"""Derive decisions again: from the versions of facts as they were then, by the protocol's edition of then.

1. the facts that were known at the decision's revision, and the course and birth date of then, make the same document:
   its digest must be the one that was kept
2. the edition of the protocol that was kept must give the answer that was kept, to the letter
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Final, NamedTuple, cast

from titrator.store.base import CourseFact, Session, Where
from titrator.store.records import AuditRow, Decision, Fact, Patient
from titrator.titration.answer import to_text
from titrator.titration.documents import reread
from titrator.titration.errors import InvalidInput
from titrator.titration.recommend import ENGINE_VERSION
from titrator.workflow.delivery import derive, subject
from titrator.workflow.facts import ENTRIES, course_fact
from titrator.workflow.standing import proposal_digest
from titrator.workflow.visit import Services, Visit

_AT_ONCE: Final = 200


class Replayed(NamedTuple):
    """A decision, derived again: what differs, nothing if all is as it was; and whether an older engine made it."""

    patient_id: str
    decision_id: int
    differs: tuple[str, ...]
    older_engine: bool


def replay_decisions(services: Services, patient_id: str | None = None) -> Iterator[Replayed]:
    """Every decision of all patients, or of one, derived again; some at a time."""
    after = ("", 0)
    while True:
        with services.store.reading() as session:
            page = _page(session, patient_id, after)
            visit = Visit(services=services, session=session, actor=None, now=services.clock())
            found = [_replayed(visit, decision) for decision in page]
        yield from found
        if not page:
            return
        after = page[-1].patient_id, page[-1].id


def _page(session: Session, patient_id: str | None, after: tuple[str, int]) -> list[Decision]:
    """The next decisions in order of patient and id."""
    patient, ident = after
    current = Where("current", "=", 1)
    same = Where("patient_id", "=", patient_id or patient), Where("id", ">", ident)
    found = session.find(Decision, current, *same, order=("id",), limit=_AT_ONCE)
    if found or patient_id is not None:
        return found
    return session.find(
        Decision, current, Where("patient_id", ">", patient), order=("patient_id", "id"), limit=_AT_ONCE
    )


def _replayed(visit: Visit, decision: Decision) -> Replayed:
    older = decision.engine_version != ENGINE_VERSION
    try:
        differs = _differs(visit, decision)
    except (InvalidInput, LookupError, ValueError, ArithmeticError) as error:
        differs = (f"cannot be derived: {error}",)
    return Replayed(decision.patient_id, decision.id, differs, older)


def _differs(visit: Visit, decision: Decision) -> tuple[str, ...]:
    patient = visit.session.get(Patient, decision.patient_id)
    if patient is None:
        return ("the patient is not there",)
    patient = replace(patient, born_on=decision.born_on)
    answer, course = derive(visit, patient, decision, known_at(visit.session, decision))
    wrong = []
    if answer.input_sha256 != decision.input_sha256:
        wrong.append("the facts that were known then are not those that it rests on")
    if to_text(answer) != decision.answer:
        wrong.append("the answer is another one")
    if proposal_digest(patient, course, decision.answer) != decision.proposal_sha256:
        wrong.append("the answer that was kept is not the one that was signed")
    return (*wrong, *_unlike_the_answer(decision), *_unlike_the_trail(visit.session, decision))


def _unlike_the_answer(decision: Decision) -> Iterator[str]:
    """In what an accepted dose is not that of the answer."""
    said = cast("dict[str, object]", reread(decision.answer))
    dose = cast("dict[str, Decimal] | None", said["dose"])
    amounts = (None, None) if dose is None else (dose["micrograms_per_kg"], dose["delivered_micrograms"])
    kept = None if decision.dose is None else reread(decision.dose)
    if decision.kind == "accept" and (kept, decision.due_on, decision.level, decision.micrograms) != (
        dose,
        said["due_on"],
        *amounts,
    ):
        yield "the dose that was accepted is not that of the answer"


def _unlike_the_trail(session: Session, decision: Decision) -> Iterator[str]:
    """In what a decision is not what the trail says of its signing; `audit verify` tells whether that is whole."""
    mine = Where("chain", "=", decision.patient_id), Where("subject", "=", subject(decision))
    entries = session.find(AuditRow, *mine, order=("seq",))
    signed = [row for row in entries if row.action == decision.kind]
    said = cast("dict[str, object]", reread(signed[0].detail)) if signed else {}
    who = (signed[0].account_id, said.get("micrograms"), said.get("proposal_sha256")) if signed else None
    if who != (decision.signed_by, decision.micrograms, decision.proposal_sha256):
        yield "the trail does not say that it was signed so"
    seconds = {row.account_id for row in entries if row.action == "decision-co-sign"}
    if (decision.second_by is None) != (not seconds) or (decision.second_by and decision.second_by not in seconds):
        yield "the trail does not say that it was signed by that second person"


def known_at(session: Session, decision: Decision) -> list[CourseFact]:
    """What the rules look at as it was known at the revision of a decision, in order of recording."""
    mine = Where("patient_id", "=", decision.patient_id), Where("revision", "<=", decision.revision)
    rows = session.find(Fact, *mine, Where("kind", "in", tuple(ENTRIES)), order=("id", "version"))
    last = {fact.id: fact for fact in rows}
    return [course_fact(fact) for fact in last.values() if fact.status != "entered-in-error"]
