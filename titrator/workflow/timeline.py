"""The course of a patient at a glance: all that was recorded, day by day, with grades and how long it has held."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from titrator.store.base import Where
from titrator.store.records import CourseVersion, Fact, Patient
from titrator.titration.course import Count, read_document
from titrator.titration.errors import InvalidProtocol
from titrator.titration.grading import Analyte, Version, grade
from titrator.titration.protocol import WeeklyProtocol
from titrator.titration.quantities import DAYS, GIGA_PER_LITRE_PER, GRAMS_PER_LITRE_PER, times
from titrator.titration.terms import one_count_a_day
from titrator.workflow.courses import fields, history
from titrator.workflow.facts import BY_KIND, show
from titrator.workflow.propose import course_document
from titrator.workflow.visit import Visit

WEEK: Final = 7
_GRADED: Final = {
    "neutrophils": (Analyte.NEUTROPHILS, GIGA_PER_LITRE_PER),
    "haemoglobin": (Analyte.HAEMOGLOBIN, GRAMS_PER_LITRE_PER),
}


def timeline(visit: Visit, patient_id: str, on: str | None) -> dict[str, object]:
    """All facts up to a day, by default today, with their CTCAE 5.0 grades; and, of the open or last course, its state.

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
    visit.note("read", f"patient/{patient.id}/timeline", patient=patient, on=day)
    return {
        "patient": patient.id,
        "on": day,
        "course": fields(changes[-1]) if changes else None,
        "weeks_above_target": _weeks_above_target(visit, patient_id, day),
        "days_since_platelet_transfusion": _since(rows, "platelet_transfusion", day),
        "days_since_red_cell_transfusion": _since(rows, "red_cell_transfusion", day),
        "days_since_rescue_therapy": _since(rows, "rescue_therapy", day),
        "entries": [_entry(fact) for fact in rows],
        "course_changes": [fields(one) for one in changes],
    }


def ctcae_grade(fact: Fact) -> int | None:
    """The CTCAE 5.0 grade of a blood value, where its number tells it."""
    if fact.value is None or fact.unit is None:
        return None
    stated = fact.detail.get("lower_limit_of_normal")
    limit = None if stated is None else Decimal(str(stated))
    if fact.kind == "platelet-count":
        return grade(
            Analyte.PLATELETS, times(fact.value, GIGA_PER_LITRE_PER[fact.unit] or Decimal(1)), version=Version.V5
        )
    if fact.code not in _GRADED or fact.unit not in _GRADED[fact.code][1]:
        return None
    analyte, factors = _GRADED[fact.code]
    factor = factors[fact.unit] or Decimal(1)
    below = None if limit is None else times(limit, factor)
    return grade(analyte, times(fact.value, factor), lower_limit_of_normal=below, version=Version.V5)


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


def _weeks_above_target(visit: Visit, patient_id: str, on: str) -> int | None:
    patient = visit.patient(patient_id)
    courses = [one for one in history(visit, patient) if one.current and one.status != "entered-in-error"]
    if not courses:
        return None
    try:
        protocol = visit.services.catalogue.get(courses[-1].protocol)
    except (KeyError, InvalidProtocol):
        return None
    if not isinstance(protocol, WeeklyProtocol):
        return None
    document = course_document(patient, courses[-1], visit.session.course_facts(patient.id), on)
    request = read_document(document, lambda _: None)
    counts = [count for count in one_count_a_day(request.course.counts) if not count.unreliable]
    return _weeks(protocol, counts) if counts else None


def _weeks(protocol: WeeklyProtocol, counts: list[Count]) -> int:
    above: list[Count] = []
    for count in reversed(counts):
        if protocol.increase.holds(count.platelets):
            break
        above.append(count)
    return (above[0].day - above[-1].day) // WEEK if above else 0
