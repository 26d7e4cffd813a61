"""How a patient responded to each course: the count above target, transfusions, levels, and grades, told in one place.

What happened first on a day is not known, so it is never told in the treatment's favour: a blood value of the day of
the first dose is one of before it, a transfusion of that day one of since. Unknown is None, never 0. What nobody has
verified, and counts that are unreliable, are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Final, NamedTuple

from titrator.protocols import Catalogue
from titrator.store.base import CourseFact
from titrator.store.records import CourseVersion, Fact, Patient
from titrator.titration.course import Count, Course, Dose, EventKind, read_document
from titrator.titration.errors import InvalidProtocol
from titrator.titration.grading import Analyte
from titrator.titration.protocol import Protocol, WeeklyProtocol
from titrator.titration.quantities import DAYS, TENTH, iso, ratio_rounded
from titrator.titration.terms import Facts, Terms, one_dose_a_day
from titrator.workflow.grades import analyte_of, ctcae_grade, unit_is_known
from titrator.workflow.propose import course_document

WEEK: Final = 7
#: Days before the first dose, or up to it, that are looked at for what was before.
BEFORE: Final = 56
ANALYTES: Final = (Analyte.PLATELETS, Analyte.HAEMOGLOBIN, Analyte.NEUTROPHILS)
GRADES: Final = (0, 1, 2, 3, 4, None)
TRANSFUSIONS: Final = {
    "platelet_transfusions": EventKind.PLATELET_TRANSFUSION,
    "red_cell_transfusions": EventKind.RED_CELL_TRANSFUSION,
}
_TARGET: Final = (
    "first_count_above_target_on",
    "first_count_above_target_confounded",
    "weeks_above_target",
    "longest_weeks_above_target",
)


class Recorded(NamedTuple):
    """What is recorded of a patient: what the rules look at, and all else that is current and not in error."""

    patient: Patient
    facts: Sequence[CourseFact]
    values: Sequence[Fact]


class _Span(NamedTuple):
    """A course as it is read, up to a day; `first` is the day of its first dose. Days are ordinals."""

    protocol: Protocol | None
    course: Course
    first: int | None
    until: int


def responses(
    catalogue: Catalogue, recorded: Recorded, versions: Iterable[CourseVersion], on: str
) -> list[dict[str, object]]:
    """The response to each course that had begun by a day and was not entered in error, in order.

    `versions` are those of all courses of the patient. A course is told as it is now, from its start to its end, or to
    the day if that is earlier.
    """
    return [
        _response(catalogue, recorded, one, on)
        for one in versions
        if one.current and one.status != "entered-in-error" and one.started_on <= on
    ]


def weeks_above_target(protocol: WeeklyProtocol, counts: Sequence[Count]) -> int | None:
    """Whole weeks from the first to the last of the unbroken row of counts, up to the newest, that are above target.

    Above target is what does not meet the protocol's increase condition. The counts are reliable, one a day, in order.
    0 where the newest is not above target; None without a count.
    """
    rows = _rows_above(protocol, counts)
    if rows and rows[-1][-1] == counts[-1]:
        return _weeks(rows[-1])
    return 0 if counts else None


def protocol_of(catalogue: Catalogue, course: CourseVersion) -> Protocol | None:
    """The protocol of a course, if its file can be used."""
    try:
        return catalogue.get(course.protocol)
    except (KeyError, InvalidProtocol):
        return None


def doses_by_level(
    catalogue: Catalogue, recorded: Recorded, version: CourseVersion, on: str
) -> list[tuple[Decimal | None, list[str]]]:
    """The days of the doses of a course up to a day, by their level in µg/kg: the lowest first, what is not known last.

    The doses of one day are one.
    """
    days: dict[Decimal | None, list[str]] = {}
    span = _span(catalogue, recorded, version, on)
    for day, level in levels_given(span.protocol, span.course, span.until):
        days.setdefault(level, []).append(iso(day))
    return sorted(days.items(), key=lambda item: (item[0] is None, item[0] or 0))


def _span(catalogue: Catalogue, recorded: Recorded, version: CourseVersion, on: str) -> _Span:
    until = min(version.ended_on or on, on)
    document = course_document(recorded.patient, version, recorded.facts, until)
    course = read_document(document, lambda _: None).course.until(DAYS[until])
    first = course.doses[0].day if course.doses else None
    return _Span(protocol_of(catalogue, version), course, first, DAYS[until])


def _response(catalogue: Catalogue, recorded: Recorded, version: CourseVersion, on: str) -> dict[str, object]:
    span = _span(catalogue, recorded, version, on)
    return {
        "course": {"id": version.id, "version": version.version},
        "protocol": version.protocol,
        "status": version.status,
        "started_on": version.started_on,
        "ended_on": version.ended_on,
        "until": iso(span.until),
        "first_dose_on": None if span.first is None else iso(span.first),
        **_target(span),
        **_transfusions(span),
        **_levels(span),
        "grades": _grades(span, recorded.values),
    }


# The count


def _target(span: _Span) -> dict[str, object]:
    """When, and for how long, reliable counts after the day of the first dose were above target."""
    protocol, first = span.protocol, span.first
    if first is None or not isinstance(protocol, WeeklyProtocol):
        return dict.fromkeys(_TARGET)
    terms = Terms(protocol, span.course, span.until)
    counts = [count for count in terms.reliable if count.day > first]
    if not counts:
        return dict.fromkeys(_TARGET)
    rows = _rows_above(protocol, counts)
    reached = rows[0][0] if rows else None
    return {
        "first_count_above_target_on": reached and iso(reached.day),
        "first_count_above_target_confounded": reached and terms.confounded(reached),
        "weeks_above_target": weeks_above_target(protocol, counts),
        "longest_weeks_above_target": max(map(_weeks, rows), default=0),
    }


def _rows_above(protocol: WeeklyProtocol, counts: Iterable[Count]) -> list[list[Count]]:
    """The unbroken rows of counts above target, in order."""
    rows = groupby(counts, key=lambda count: protocol.increase.holds(count.platelets))
    return [list(row) for below, row in rows if not below]


def _weeks(row: Sequence[Count]) -> int:
    return (row[-1].day - row[0].day) // WEEK


# Transfusions and levels


def _transfusions(span: _Span) -> dict[str, object]:
    """Of each kind: how many are recorded before and since the first dose, and the days without any since."""
    told: dict[str, object] = {}
    for name, kind in TRANSFUSIONS.items():
        keys = (f"{name}_in_8_weeks_before_first_dose", f"{name}_since_first_dose", f"days_free_of_{name}")
        if span.first is None:
            told |= dict.fromkeys(keys)
            continue
        ago = [event.day - span.first for event in span.course.events if event.kind is kind]
        since = [days for days in ago if days >= 0]
        free = span.until - span.first - max(since, default=0)
        told |= zip(keys, (sum(-BEFORE <= days < 0 for days in ago), len(since), free), strict=True)
    return told


def _levels(span: _Span) -> dict[str, object]:
    """The highest level and the last, in µg/kg; None without a dose, and the highest where any level is not known."""
    levels = [level for _, level in levels_given(span.protocol, span.course, span.until)]
    return {
        "highest_micrograms_per_kg": None if None in levels else max(filter(None, levels), default=None),
        "last_micrograms_per_kg": levels[-1] if levels else None,
    }


def levels_given(protocol: Protocol | None, course: Course, until: int) -> list[tuple[int, Decimal | None]]:
    """Each day of a dose up to a day (ordinals) with its level."""
    match protocol:
        case None:
            return [(dose.day, dose.level) for dose in one_dose_a_day(course.doses)]
        case WeeklyProtocol():
            terms = Terms(protocol, course, until)
            return [(dose.day, terms.level_of(dose)) for dose in terms.doses]
        case _:
            facts = Facts(protocol, course, until)
            return [(dose.day, _level(facts, dose)) for dose in facts.doses]


def _level(facts: Facts, dose: Dose) -> Decimal | None:
    """The level of a dose of a protocol without steps: as stated, else from the weight, to 0.1."""
    kg = facts.weight_of(dose.day)
    if dose.level is not None or kg is None:
        return dose.level
    return ratio_rounded(dose.micrograms, kg, TENTH)


# Grades


def _grades(span: _Span, values: Iterable[Fact]) -> list[dict[str, object]]:
    """Of each analyte, the grades in the 8 weeks up to the first dose (or, without one, up to the day) and after it."""
    border = span.until if span.first is None else span.first
    sound = [fact for fact in values if fact.status == "final" and not fact.unreliable]
    told: list[dict[str, object]] = []
    for analyte in ANALYTES:
        mine = [(DAYS[fact.day], fact) for fact in sound if analyte_of(fact) is analyte]
        before = [fact for day, fact in mine if border - BEFORE <= day <= border]
        after = [fact for day, fact in mine if border < day <= span.until]
        told.append(
            {
                "analyte": str(analyte),
                "in_8_weeks_up_to_first_dose": _graded(analyte, before),
                "after_first_dose": _graded(analyte, after),
            }
        )
    return told


def _graded(analyte: Analyte, facts: Sequence[Fact]) -> list[dict[str, object]]:
    """How many values are of each grade, on which day first and last; those whose number does not tell it at the end.

    None in place of 0 where it cannot be told: without any value; of the grades that a value could be of whose number
    does not tell it; of grade 4 of haemoglobin, which no number tells.
    """
    days: dict[int | None, list[str]] = {grade: [] for grade in GRADES}
    for fact in facts:
        days[ctcae_grade(fact)].append(fact.day)
    hidden = _hidden(analyte, facts, ungraded=bool(days[None]))
    return [
        {
            "grade": grade,
            "values": len(of_grade) or (None if grade in hidden else 0),
            "first_on": min(of_grade, default=None),
            "last_on": max(of_grade, default=None),
        }
        for grade, of_grade in days.items()
    ]


def _hidden(analyte: Analyte, facts: Sequence[Fact], *, ungraded: bool) -> set[int | None]:
    """The grades of which there may be values though none is known."""
    if not facts:
        return set(GRADES)
    if not all(map(unit_is_known, facts)):
        return {0, 1, 2, 3, 4}
    hidden: set[int | None] = {0, 1} if ungraded else set()
    return hidden | {4} if analyte is Analyte.HAEMOGLOBIN else hidden
