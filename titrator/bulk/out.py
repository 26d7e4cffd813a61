"""Patients as they leave the service: as one long table for a spreadsheet, or as a line of JSON each.

Both take the patients one by one, so that memory does not grow with their number. docs/bulk-out.md describes the
columns and the keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from titrator.bulk.tables import csv_lines
from titrator.store.records import CourseVersion, Decision, Fact
from titrator.titration.documents import encode
from titrator.workflow import courses
from titrator.workflow.facts import BY_KIND, show
from titrator.workflow.sign_off import as_sent
from titrator.workflow.whole import Whole

Row = dict[str, object]

#: What tells a spreadsheet that a table is UTF-8.
MARK: Final = "\ufeff"
WHO: Final = (
    *("clinic", "identifier_system", "identifier", "further_identifiers"),
    *("family_name", "given_name", "born_on", "protocol", "course_started_on"),
)
WHAT: Final = (
    *("kind", "day", "value", "unit", "level", "level_unit", "ended_on", "unreliable", "status", "code"),
    *("scale", "grade", "lower_limit_of_normal", "note"),
    *("baseline_on", "eligibility", "due_on"),
    *("taken_at", "external_system", "external_id"),
    *("change", "reason", "recorded_by", "recorded_at", "entry", "version", "current"),
)
COLUMNS: Final = (*WHO, *WHAT, "record", "active")
_DETAILS: Final = ("scale", "grade", "lower_limit_of_normal", "note")


class Wanted(NamedTuple):
    """What is wanted of each patient beside what stands: all versions, and what was decided."""

    versions: bool = False
    decisions: bool = False


def table_lines(patients: Iterable[Whole], wanted: Wanted) -> Iterator[str]:
    """The lines of the long table: the heading, then for each patient a row for each course, fact and decision.

    A patient of whom there is none of these has a row of the kind `patient`, so that nobody is left out.
    """
    lines = csv_lines(COLUMNS, (row for one in patients for row in _rows(one, wanted)))
    yield MARK + next(lines)
    yield from lines


def document_lines(patients: Iterable[Whole], wanted: Wanted) -> Iterator[str]:
    """A line of JSON for each patient, in the words of the API."""
    for one in patients:
        yield _document(one, wanted) + "\n"


def standing_facts(one: Whole, wanted: Wanted) -> list[Fact]:
    """The facts of a patient as they stand; with all versions those that were changed or entered in error, too."""
    return [fact for fact in one.facts if wanted.versions or (fact.current and fact.status != "entered-in-error")]


def standing_courses(one: Whole, wanted: Wanted) -> list[CourseVersion]:
    """The courses of a patient as they stand; with all versions what they were before, too."""
    return [course for course in one.courses if wanted.versions or _stands(course)]


def standing_decisions(one: Whole, wanted: Wanted) -> list[Decision]:
    """The decisions of a patient, if they are wanted, as they stand or in all versions."""
    return [made for made in one.decisions if wanted.decisions and (wanted.versions or made.current)]


def _stands(course: CourseVersion) -> bool:
    return course.current and course.status != "entered-in-error"


def _rows(one: Whole, wanted: Wanted) -> Iterator[Row]:
    patient, first = one.patient, next(iter(one.identifiers), None)
    further = [f"{other.system}|{other.value}" for other in one.identifiers[1:]]
    empty: Row = dict.fromkeys(COLUMNS)
    who = empty | {
        "clinic": one.clinic.name,
        "identifier_system": first and first.system,
        "identifier": first and first.value,
        "further_identifiers": "; ".join(further) or None,
        "family_name": patient.family_name,
        "given_name": patient.given_name,
        "born_on": patient.born_on,
        "record": patient.id,
        "active": patient.active,
    }
    names = {external.fact_id: external for external in reversed(one.external_ids)}
    rows = [_course(course) for course in standing_courses(one, wanted)]
    for fact in standing_facts(one, wanted):
        name = names.get(fact.id)
        rows.append(_fact(fact) | ({} if name is None else {"external_system": name.system, "external_id": name.value}))
    rows += [_decision(made) for made in standing_decisions(one, wanted)]
    for row in rows or [{"kind": "patient"}]:
        yield {**who, **_course_of(one, row), **row}


def _course_of(one: Whole, row: Row) -> Row:
    """The course in which the day of a row lies, if it lies in one."""
    day = str(row.get("day", ""))
    for course in one.courses:
        if _stands(course) and course.started_on <= day <= (course.ended_on or day):
            return {"protocol": course.protocol, "course_started_on": course.started_on}
    return {}


def _course(course: CourseVersion) -> Row:
    return {
        "kind": "course",
        "day": course.started_on,
        "ended_on": course.ended_on,
        "status": course.status,
        "protocol": course.protocol,
        "course_started_on": course.started_on,
        "baseline_on": course.baseline_on,
        "eligibility": " ".join(course.eligibility) or None,
        **_made(course),
        "recorded_by": course.changed_by,
        "recorded_at": course.changed_at,
    }


def _fact(fact: Fact) -> Row:
    named = fact.code if fact.kind in ("observation", "event") else fact.kind
    return {
        "kind": named,
        "day": fact.day,
        "value": fact.detail.get("term") if fact.kind == "event" else fact.value,
        "unit": fact.unit,
        **_level(fact),
        "ended_on": fact.until,
        "unreliable": fact.unreliable if fact.kind == "platelet-count" else None,
        "status": fact.status,
        "code": fact.code if fact.kind == "dose-not-given" else None,
        **{name: fact.detail.get(name) for name in _DETAILS},
        "taken_at": fact.taken_at,
        **_made(fact),
        "recorded_by": fact.recorded_by,
        "recorded_at": fact.recorded_at,
    }


def _decision(made: Decision) -> Row:
    return {
        "kind": "decision",
        "day": made.day,
        "code": made.kind,
        "value": made.micrograms,
        "unit": None if made.micrograms is None else "ug",
        **_level(made),
        "status": made.status,
        "note": made.comment,
        "due_on": made.due_on,
        **_made(made),
        "reason": made.reason_code or made.change_reason,
        "recorded_by": made.signed_by,
        "recorded_at": made.signed_at,
    }


def _level(one: Fact | Decision) -> Row:
    return {"level": one.level, "level_unit": None if one.level is None else "ug/kg"}


def _made(one: CourseVersion | Fact | Decision) -> Row:
    reason = None if isinstance(one, Decision) else one.reason
    return {"change": one.change, "reason": reason, "entry": one.id, "version": one.version, "current": one.current}


def _document(one: Whole, wanted: Wanted) -> str:
    patient = one.patient
    names: dict[int, list[object]] = {}
    for external in one.external_ids:
        names.setdefault(external.fact_id, []).append({"system": external.system, "value": external.value})
    document: Row = {
        "patient": {
            "id": patient.id,
            "clinic": {"id": one.clinic.id, "name": one.clinic.name, "time_zone": one.clinic.time_zone},
            "identifiers": [{"system": named.system, "value": named.value} for named in one.identifiers],
            "family_name": patient.family_name,
            "given_name": patient.given_name,
            "born_on": patient.born_on,
            "active": patient.active,
        },
        "courses": [courses.fields(course) | _version(course) for course in standing_courses(one, wanted)],
        "facts": [
            {
                "collection": BY_KIND[fact.kind].name,
                **show(fact),
                "taken_at": fact.taken_at,
                "external_ids": names.get(fact.id, []),
                **_version(fact),
            }
            for fact in standing_facts(one, wanted)
        ],
    }
    text = encode(document)
    if not wanted.decisions:
        return text
    # As they are kept, with their answers to the letter: whether one has lapsed is a question of the day.
    decisions = ", ".join(as_sent(made, made.day) for made in standing_decisions(one, wanted))
    return f'{text[:-1]}, "decisions": [{decisions}]}}'


def _version(one: CourseVersion | Fact) -> Row:
    return {"change": one.change, "current": one.current}
