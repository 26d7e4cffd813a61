"""Derive decisions again: from the versions of facts as they were then, by the protocol's edition of then.

1. the facts that were known at the decision's revision, and the course and birth date of then, make the same document:
   its digest must be the one that was kept
2. the edition of the protocol that was kept must give the answer that was kept, to the letter
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Final, NamedTuple, cast

from titrator.store.base import CourseFact, Session, Where
from titrator.store.records import AuditRow, CourseVersion, Decision, Fact, Patient
from titrator.titration.answer import to_text
from titrator.titration.documents import reread
from titrator.titration.errors import InvalidInput
from titrator.titration.protocol import Protocol
from titrator.titration.recommend import ENGINE_VERSION
from titrator.workflow.delivery import derived, edition, subject
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
            found = [replayed(decision, partial(_kept, visit)) for decision in page]
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


class Kept(NamedTuple):
    """What a decision was made of, as it was kept: wherever that is read from, the same comes out.

    `patient` has the birth date of then, `course` is the version of then; of `facts` there may be later versions, too.
    `entries` are those of the trail that are of this decision, in order.
    """

    patient: Patient
    course: CourseVersion
    facts: Sequence[Fact]
    protocol: Protocol
    entries: Sequence[AuditRow]


def replayed(decision: Decision, find: Callable[[Decision], Kept]) -> Replayed:
    """A decision, derived again from what was kept of it; `find` raises LookupError for what is not there."""
    older = decision.engine_version != ENGINE_VERSION
    try:
        differs = tuple(_differs(decision, find(decision)))
    except (InvalidInput, LookupError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        differs = (f"cannot be derived: {error}",)
    return Replayed(decision.patient_id, decision.id, differs, older)


def known_at(facts: Iterable[Fact], revision: int) -> list[CourseFact]:
    """What the rules look at as it was known at a revision, in order of recording; facts in order of id and version."""
    known = (fact for fact in facts if fact.revision <= revision and fact.kind in ENTRIES)
    last = {fact.id: fact for fact in known}
    return [course_fact(fact) for fact in last.values() if fact.status != "entered-in-error"]


def _kept(visit: Visit, decision: Decision) -> Kept:
    session, mine = visit.session, Where("patient_id", "=", decision.patient_id)
    patient = session.get(Patient, decision.patient_id)
    if patient is None:
        raise LookupError("the patient is not there")
    course = session.get(CourseVersion, decision.patient_id, decision.course_id, decision.course_version)
    if course is None:
        raise LookupError(no_course(decision))
    facts = session.find(Fact, mine, Where("revision", "<=", decision.revision), order=("id", "version"))
    chain = Where("chain", "=", decision.patient_id), Where("subject", "=", subject(decision))
    entries = session.find(AuditRow, *chain, order=("seq",))
    return Kept(replace(patient, born_on=decision.born_on), course, facts, edition(visit, decision), entries)


def no_course(decision: Decision) -> str:
    """That the course of a decision is not there as it was."""
    return f"no version {decision.course_version} of course {decision.course_id}"


def _differs(decision: Decision, kept: Kept) -> Iterator[str]:
    facts = known_at(kept.facts, decision.revision)
    answer = derived(kept.protocol, kept.patient, kept.course, facts, decision.day)
    if answer.input_sha256 != decision.input_sha256:
        yield "the facts that were known then are not those that it rests on"
    if to_text(answer) != decision.answer:
        yield "the answer is another one"
    if proposal_digest(kept.patient, kept.course, decision.answer) != decision.proposal_sha256:
        yield "the answer that was kept is not the one that was signed"
    yield from _unlike_the_answer(decision)
    yield from _unlike_the_trail(decision, kept.entries)


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


def _unlike_the_trail(decision: Decision, entries: Sequence[AuditRow]) -> Iterator[str]:
    """In what a decision is not what the trail says of its signing; `audit verify` tells whether that is whole."""
    signed = [row for row in entries if row.action == decision.kind]
    said = cast("dict[str, object]", reread(signed[0].detail)) if signed else {}
    who = (signed[0].account_id, said.get("micrograms"), said.get("proposal_sha256")) if signed else None
    if who != (decision.signed_by, decision.micrograms, decision.proposal_sha256):
        yield "the trail does not say that it was signed so"
    seconds = {row.account_id for row in entries if row.action == "decision-co-sign"}
    if (decision.second_by is None) != (not seconds) or (decision.second_by and decision.second_by not in seconds):
        yield "the trail does not say that it was signed by that second person"
