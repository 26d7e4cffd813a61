"""What is printed of a patient: the sheet that a dose is prepared from, dates to take home, a letter to who referred.

A dose is prepared from a decision that is in force, and from nothing else: a proposal has no sheet, nor has a decision
that somebody still has to sign, that is done with, or that the facts of now no longer bear out.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple, cast

from titrator.protocols import Catalogue
from titrator.store.base import Where
from titrator.store.records import Account, CourseVersion, Decision, Patient
from titrator.titration.answer import dose_of
from titrator.titration.documents import reread
from titrator.titration.errors import InvalidInput, InvalidProtocol
from titrator.titration.preparation import DoseToGive, Sourced, VialsToPrepare, after_water, vials_of
from titrator.titration.protocol import Protocol
from titrator.workflow.courses import history
from titrator.workflow.delivery import decision_of, edition, lapsed, standing_decision, subject
from titrator.workflow.errors import Code, Conflict, Refusal, Unknown, Unready
from titrator.workflow.reminders.days import OpenDays
from titrator.workflow.reminders.plan import OF_PATIENTS, Kind, plan_of
from titrator.workflow.reminders.wanted import Wanted
from titrator.workflow.response import Recorded, doses_by_level, protocol_of
from titrator.workflow.standing import proposed, scheduled
from titrator.workflow.timeline import timeline
from titrator.workflow.visit import Visit

Answer = Mapping[str, Any]

_DONE_WITH: Final = {
    "awaiting-second": "it awaits a second signature",
    "referred": "it was referred to a prescriber, and has no dose",
    "delivered": "its dose has been given",
    "not-given": "its dose was recorded as not given",
    "superseded": "a later decision has replaced it",
    "withdrawn": "it was withdrawn",
    "lapsed": "it has lapsed: its dose was not given in time",
    "void": "it is void",
}
_A_DOSE: Final = (Kind.DOSE_DUE, Kind.DOSE_OVERDUE)


class Decided(NamedTuple):
    """A decision with the answer that it was made upon, its dose if any, and who signed it, by name."""

    decision: Decision
    answer: Answer
    dose: DoseToGive | None
    signed: str
    second: str | None


class Preparation(NamedTuple):
    """What a dose is prepared from: each size of vial with its own water, then what follows, in order."""

    decided: Decided
    dose: DoseToGive
    vials: list[VialsToPrepare]
    steps: list[Sourced]
    protocol: Protocol


class Dates(NamedTuple):
    """What a patient is to come for: by its day what is planned from today on, and what is outstanding since before.

    `open_days` are those of the clinic.
    """

    planned: list[Wanted]
    outstanding: list[Wanted]
    open_days: OpenDays


class Letter(NamedTuple):
    """A course as it is told to who referred the patient.

    `told` is the timeline, `response` its part on this course, `levels` the days of doses by level (µg/kg), `counts`
    the newest platelet counts, the newest first. `last` is the decision made last; `next` the same where its dose is
    still to be given. `answer` is that of today's facts; where there is none, `refused` says why.
    """

    course: CourseVersion
    protocol: Protocol | None
    told: Answer
    response: Answer
    levels: list[tuple[Decimal | None, list[str]]]
    counts: list[Answer]
    last: Decided | None
    next: Decided | None
    answer: Answer | None
    refused: str


def unprepared(decision: Decision, today: str) -> str | None:
    """Why no dose is to be prepared from a decision on a day, as far as the decision tells; None if it is to be."""
    if lapsed(decision, today):
        return _DONE_WITH["lapsed"]
    if decision.status != "in-force":
        return _DONE_WITH[decision.status]
    if decision.dose is None:
        return "by it no dose is to be given"
    if decision.reopened_answer is not None:
        return "a fact was corrected or added since, by which the answer is another one: decide anew"
    return None


def preparation(visit: Visit, patient_id: str, ident: int) -> Preparation:
    """What the dose of a decision is prepared from.

    Raises Unknown; Conflict NOTHING-TO-PREPARE; what `propose_dose` raises where today's facts give no answer; Unready
    where the protocol's edition of then cannot be read.
    """
    patient = visit.patient(patient_id)
    decision = decision_of(visit, patient, ident)
    if decision is None:
        raise Unknown("decision")
    why = unprepared(decision, visit.today(patient)) or _overtaken(visit, patient, decision)
    if why:
        raise Conflict(Code.NOTHING_TO_PREPARE, f"Nothing is to be prepared from decision {ident}: {why}.")
    try:
        protocol = edition(visit, decision)
    except (LookupError, InvalidProtocol) as error:
        raise Unready(f"The protocol cannot be read: {error}", code=Code.PROTOCOL_UNUSABLE) from error
    visit.note("read", f"{subject(decision)}/preparation", patient=patient, version=decision.version)
    decided = _decided(visit, decision)
    dose = cast(DoseToGive, decided.dose)
    return Preparation(decided, dose, vials_of(dose), after_water(dose), protocol)


def to_prepare(visit: Visit, patient: Patient) -> tuple[int | None, str]:
    """The id of the decision that a patient's next dose is prepared from; None, with why, where there is none."""
    decision = None if patient.decision_id is None else decision_of(visit, patient, patient.decision_id)
    if decision is None:
        return None, "nothing has been decided that is still to be carried out"
    why = unprepared(decision, visit.today(patient))
    return (decision.id, "") if why is None else (None, f"decision {decision.id}: {why}")


def dates(visit: Visit, patient_id: str) -> Dates:
    """What a patient is to come for; a dose only on a day that was decided, or that the rhythm of the course gives."""
    patient = visit.patient(patient_id)
    today = visit.today(patient)
    decision = standing_decision(visit, patient, today)
    decided = decision is not None and decision.due_on is not None and decision.status == "in-force"
    due = [
        one
        for one in scheduled(visit, patient)
        if one.kind in OF_PATIENTS and (decided or not (one.kind in _A_DOSE and one.floating))
    ]
    visit.note("read", f"patient/{patient.id}/dates", patient=patient)
    due.sort(key=lambda one: (one.remind_on, one.kind))
    return Dates(
        [one for one in due if one.remind_on >= today],
        [one for one in due if one.remind_on < today],
        plan_of(visit.session, visit.clinic(patient.clinic_id)).days,
    )


def letter(visit: Visit, patient_id: str) -> Letter:
    """The course of a patient, the open one or the last, as of today; raises Unknown where there was none."""
    patient = visit.patient(patient_id)
    today = visit.today(patient)
    told = cast(Answer, timeline(visit, patient_id, None))
    if told["course"] is None:
        raise Unknown("course")
    ident = told["course"]["id"]
    course = [one for one in history(visit, patient) if one.id == ident][-1]
    answer, refused = _answer_of_today(visit, patient)
    last = _last_decided(visit, patient, course)
    return Letter(
        course,
        protocol_of(visit.services.catalogue, course),
        told,
        next(one for one in told["responses"] if one["course"]["id"] == ident),
        _levels(visit.services.catalogue, visit, patient, course, today),
        [one for one in reversed(told["entries"]) if one["collection"] == "platelet-counts"],
        last,
        None if last is None or unprepared(last.decision, today) else last,
        answer,
        refused,
    )


def _overtaken(visit: Visit, patient: Patient, decision: Decision) -> str | None:
    """Why a dose that was accepted is not to be given any more by the facts of today; None of one that still is."""
    answer = cast(Answer, reread(proposed(visit, patient).answer))
    if decision.kind == "accept" and answer["dose"] is None:
        return f"by the facts of today the answer is {answer['action']}, without a dose"
    return None


def _answer_of_today(visit: Visit, patient: Patient) -> tuple[Answer | None, str]:
    try:
        return cast(Answer, reread(proposed(visit, patient).answer)), ""
    except Refusal as refusal:
        return None, refusal.message
    except InvalidInput as error:
        return None, str(error)


def _levels(
    catalogue: Catalogue, visit: Visit, patient: Patient, course: CourseVersion, today: str
) -> list[tuple[Decimal | None, list[str]]]:
    recorded = Recorded(patient, visit.session.course_facts(patient.id), ())
    return doses_by_level(catalogue, recorded, course, today)


def _last_decided(visit: Visit, patient: Patient, course: CourseVersion) -> Decided | None:
    mine = Where("patient_id", "=", patient.id), Where("current", "=", 1), Where("course_id", "=", course.id)
    found = visit.session.find(Decision, *mine, order=("-id",), limit=1)
    return _decided(visit, found[0]) if found else None


def _decided(visit: Visit, decision: Decision) -> Decided:
    return Decided(
        decision,
        cast(Answer, reread(decision.answer)),
        None if decision.dose is None else dose_of(cast(Answer, reread(decision.dose))),
        _name(visit, decision.signed_by),
        None if decision.second_by is None else _name(visit, decision.second_by),
    )


def _name(visit: Visit, account_id: str) -> str:
    """The name of an account; the id of one that is not there any more."""
    account = visit.session.get(Account, account_id)
    return account_id if account is None else account.display_name
