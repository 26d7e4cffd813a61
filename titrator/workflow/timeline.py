"""The course of a patient at a glance: all that was recorded, day by day, with grades and how long it has held."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from titrator.store.base import Where
from titrator.store.records import CourseVersion, Fact, Patient
from titrator.titration.course import read_document
from titrator.titration.protocol import WeeklyProtocol
from titrator.titration.quantities import DAYS
from titrator.titration.terms import one_count_a_day
from titrator.workflow.courses import fields, history
from titrator.workflow.facts import BY_KIND, show
from titrator.workflow.grades import ctcae_grade
from titrator.workflow.propose import course_document
from titrator.workflow.response import Recorded, protocol_of, responses, weeks_above_target
from titrator.workflow.visit import Visit


def timeline(visit: Visit, patient_id: str, on: str | None) -> dict[str, object]:
    """All facts up to a day, by default today, with their CTCAE 5.0 grades; the state of and response to the courses.

    `weeks_above_target`: whole weeks from the first to the last of the unbroken row of reliable counts, up to the
    newest, that do not meet the protocol's increase condition; 0 where the newest does, null where there is none or the
    protocol does not titrate. `days_since_...`: null where none is known.
    """
    patient = visit.patient(patient_id)
    day = on or visit.today(patient)
    rows = visit.session.find(
        Fact,
        Where("patient_id", "=", patient.id),
        Where("current", "=", 1),
        Where("status", "!=", "entered-in-error"),
        Where("day", "<=", day),
        order=("day", "id"),
    )
    changes = _changes(visit, patient)
    courses = [one for one in changes if one.current]
    recorded = Recorded(patient, visit.session.course_facts(patient.id), rows)
    visit.note("read", f"patient/{patient.id}/timeline", patient=patient, on=day)
    return {
        "patient": patient.id,
        "on": day,
        "course": fields(changes[-1]) if changes else None,
        "weeks_above_target": _weeks_above_target(visit, recorded, courses, day),
        "days_since_platelet_transfusion": _since(rows, "platelet_transfusion", day),
        "days_since_red_cell_transfusion": _since(rows, "red_cell_transfusion", day),
        "days_since_rescue_therapy": _since(rows, "rescue_therapy", day),
        "entries": [_entry(fact) for fact in rows],
        "course_changes": [fields(one) for one in changes],
        "responses": responses(visit.services.catalogue, recorded, courses, day),
    }


def _changes(visit: Visit, patient: Patient) -> list[CourseVersion]:
    """All versions, in order, of the courses of a patient that were not entered in error."""
    all_of_them = history(visit, patient)
    never_were = {one.id for one in all_of_them if one.status == "entered-in-error"}
    return [one for one in all_of_them if one.id not in never_were]


def _entry(fact: Fact) -> dict[str, object]:
    return {
        "collection": BY_KIND[fact.kind].name,
        "day": fact.day,
        "ctcae_grade": ctcae_grade(fact),
        "fact": show(fact),
    }


def _since(rows: Iterable[Fact], kind: str, on: str) -> int | None:
    days = [fact.day for fact in rows if fact.kind == "event" and fact.code == kind]
    return DAYS[on] - DAYS[max(days)] if days else None


def _weeks_above_target(visit: Visit, recorded: Recorded, courses: Sequence[CourseVersion], on: str) -> int | None:
    protocol = protocol_of(visit.services.catalogue, courses[-1]) if courses else None
    if not isinstance(protocol, WeeklyProtocol):
        return None
    document = course_document(recorded.patient, courses[-1], recorded.facts, on)
    counts = one_count_a_day(read_document(document, lambda _: None).course.counts)
    return weeks_above_target(protocol, [count for count in counts if not count.unreliable])
