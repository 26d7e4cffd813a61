"""What a protocol would have said, of every decision point of a patient, beside what was given; and what came of it.

Pure but for `audit_patients`, which reads. What is found of a patient is numbers by name (`Numbers`), so that those of
many are added, in whatever order and by however many processes, and the sum is the same. docs/cohort.md defines them.

A decision point is a day of a course on which a dose was given, or was recorded or decided not to be. Its answer knows
what is dated up to that day, in the version that stands now, and not the dose of that day.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise, zip_longest
from typing import Final, NamedTuple, TypeVar, cast

from titrator.store.base import CourseFact, Session, Where
from titrator.store.records import Clinic, CourseVersion, Decision, Fact, Patient
from titrator.titration.codes import Action
from titrator.titration.course import Count, Course, Dose, read_document
from titrator.titration.documents import reread
from titrator.titration.errors import InvalidInput
from titrator.titration.override import departs, is_early
from titrator.titration.protocol import Limit, Protocol, WeeklyProtocol
from titrator.titration.quantities import DAYS, EXACT, apart, iso, plain, times
from titrator.titration.recommend import Recommendation
from titrator.titration.terms import MATCHES_WITHIN, Facts, Terms, one_dose_a_day
from titrator.workflow.delivery import lapsed
from titrator.workflow.errors import Code
from titrator.workflow.propose import course_document
from titrator.workflow.replay import before_dose
from titrator.workflow.response import levels_given
from titrator.workflow.visit import day_at

R = TypeVar("R", CourseVersion, Decision, Fact)

#: Counts by name: `("points", "same-amount")` is how many decision points were so.
Numbers = Counter[tuple[str, ...]]

#: Days between two counts over which the count is taken to have gone in a straight line; over more it is not known.
LONGEST_GAP: Final = 35
#: Days after an override, or the dose that it came to, in which the next count is looked for.
NEXT_COUNT_WITHIN: Final = 28
_MANY: Final = 4
_NEVER_STOOD: Final = ("withdrawn", "void", "awaiting-second")


class Agreement(StrEnum):
    """How what was given compares with what the protocol would have said."""

    SAME_AMOUNT = "same-amount"
    SAME_STEP = "same-step"
    HIGHER = "higher"
    LOWER = "lower"
    NOT_GIVEN = "not-given"
    HELD = "held"
    GIVEN_ON_HOLD = "given-on-hold"
    GIVEN_WITHOUT_PROPOSAL = "given-without-proposal"
    NONE_WITHOUT_PROPOSAL = "none-without-proposal"
    UNVERIFIED = "unverified"


class Zone(StrEnum):
    """Where a count lies by the limits of a protocol; what is over the hold limit is not in `ABOVE`."""

    BELOW = "below"
    IN_RANGE = "in-range"
    ABOVE = "above"
    OVER_HOLD = "over-hold"


class Question(NamedTuple):
    """What is asked: by which protocol, of which courses, from which day to which (ordinals; None: no bound).

    `treated_by`: only of courses that were by this protocol.
    """

    protocol: Protocol
    first: int | None = None
    last: int | None = None
    treated_by: str | None = None


class Point(NamedTuple):
    """A decision point: the answer (None where a dose is unverified) and what was given, in micrograms and µg/kg.

    `since` is how many doses had been given since the last reliable count, None where there was none.
    """

    day: int
    agreement: Agreement
    answer: Recommendation | None
    given: Dose | None
    level: Decimal | None
    since: int | None
    early: bool


class Treated(NamedTuple):
    """A course as it is asked about: its facts up to its end, and what was decided and recorded beside doses.

    `until` is the last day that counts, an ordinal; so are the days that are `not_given`.
    """

    version: CourseVersion
    course: Course
    until: int
    not_given: frozenset[int]
    decisions: tuple[Decision, ...]
    unverified_since: int | None


class Of(NamedTuple):
    """A decision point with whose it is."""

    patient: str
    version: CourseVersion
    point: Point


# Decision points


def points(question: Question, treated: Treated) -> Iterator[Point]:
    """The decision points of a course, in order of day."""
    protocol, course = question.protocol, treated.course
    doses = {dose.day: dose for dose in one_dose_a_day(course.doses)}
    levels = dict(levels_given(protocol, course, treated.until))
    reliable = [count.day for count in Facts(protocol, course, treated.until).reliable]
    given_on = sorted(doses)
    days = doses.keys() | treated.not_given | {day for day in _decided(treated) if day not in doses}
    for day in sorted(days):
        if not _asked(question, day) or not DAYS[treated.version.started_on] <= day <= treated.until:
            continue
        given, level = doses.get(day), levels.get(day)
        since = _doses_since(reliable, given_on, day)
        if treated.unverified_since is not None and day >= treated.unverified_since:
            yield Point(day, Agreement.UNVERIFIED, None, given, level, since, early=False)
            continue
        answer = before_dose(protocol, course.until(day), day)
        early = given is not None and answer.due is not None and is_early(day, answer.due)
        yield Point(day, agreement(answer, given, level), answer, given, level, since, early)


def agreement(answer: Recommendation, given: Dose | None, level: Decimal | None) -> Agreement:
    """How a dose that was given (or none), of a level in µg/kg, compares with an answer."""
    dose, hold = answer.dose, answer.action is Action.HOLD
    if given is None:
        if dose is not None:
            return Agreement.NOT_GIVEN
        return Agreement.HELD if hold else Agreement.NONE_WITHOUT_PROPOSAL
    if dose is None:
        return Agreement.GIVEN_ON_HOLD if hold else Agreement.GIVEN_WITHOUT_PROPOSAL
    if not departs(given.micrograms, dose.delivered):
        return Agreement.SAME_AMOUNT
    if level == dose.level and apart(given.micrograms, dose.delivered) <= times(dose.delivered, MATCHES_WITHIN):
        return Agreement.SAME_STEP
    return Agreement.HIGHER if given.micrograms > dose.delivered else Agreement.LOWER


def _decided(treated: Treated) -> Iterator[int]:
    """The days on which it was decided that no dose is given, or to give one that lapsed."""
    for made in _stood(treated.decisions):
        lapses = made.status == "lapsed" or lapsed(made, iso(treated.until))
        if made.given_on is None and made.status != "not-given" and (made.dose is None or lapses):
            yield DAYS[made.day]


def _stood(decisions: Sequence[Decision]) -> Iterator[Decision]:
    """The decisions, in order, that stood: signed as they must be, not taken back, and not replaced.

    One to give no dose is ended by the next one (`superseded`), which is that of the next week and replaces nothing;
    but if it asks about the same day.
    """
    for made, following in zip_longest(decisions, decisions[1:]):
        replaced = made.dose is not None or following is None or following.day == made.day
        if made.status not in _NEVER_STOOD and not (made.status == "superseded" and replaced):
            yield made


def _doses_since(counts: Sequence[int], doses: Sequence[int], day: int) -> int | None:
    """How many doses were given from the day of the last count up to the day before; days ascend."""
    place = bisect_right(counts, day)
    return sum(counts[place - 1] <= dose < day for dose in doses) if place else None


def _asked(question: Question, day: int) -> bool:
    return (question.first is None or day >= question.first) and (question.last is None or day <= question.last)


# Counts


def zone_of(protocol: WeeklyProtocol, platelets: Decimal, parts: int = 1) -> Zone:
    """Where a count (10⁹/L) lies; given as so many times itself it is held against so many times the limits."""

    def holds(limit: Limit) -> bool:
        return Limit(limit.comparator, EXACT.multiply(limit.value, parts)).holds(platelets)

    if holds(protocol.increase):
        return Zone.BELOW
    if holds(protocol.hold):
        return Zone.OVER_HOLD
    return Zone.ABOVE if holds(protocol.reduce) else Zone.IN_RANGE


def days_in_zones(protocol: WeeklyProtocol, counts: Sequence[Count], first: int, last: int) -> Counter[str]:
    """The days from `first` to `last` in each zone, by linear interpolation; `unknown` where counts lie too far apart.

    Each day from a count up to the day before the next one has the count that lies on the line between the two.
    """
    days: Counter[str] = Counter()
    for one, other in pairwise(counts):
        start, end, gap = max(one.day, first), min(other.day, last + 1), other.day - one.day
        if start >= end:
            continue
        ends = {zone_of(protocol, count.platelets) for count in (one, other)}
        if gap > LONGEST_GAP:
            days["unknown"] += end - start
        elif len(ends) == 1:
            days[ends.pop()] += end - start
        else:
            for day in range(start, end):
                done = day - one.day
                between = EXACT.fma(other.platelets, done, EXACT.multiply(one.platelets, gap - done))
                days[zone_of(protocol, between, gap)] += 1
    return days


def first_response(terms: Terms, first: int) -> tuple[int, bool] | None:
    """The days from the first dose to the first response; or to the last count, and False, where there is none yet.

    A response is a reliable count after that day, that no transfusion or rescue therapy may have raised, and that does
    not meet the protocol's increase condition. None without any count after it.
    """
    after = [count for count in terms.reliable if count.day > first]
    for count in after:
        if not terms.rules.increase.holds(count.platelets) and not terms.confounded(count):
            return count.day - first, True
    return (after[-1].day - first, False) if after else None


# Numbers


def numbers_of(question: Question, treated: Treated, found: Sequence[Point]) -> Numbers:
    """What a course comes to."""
    numbers: Numbers = Counter()
    own = treated.version.protocol == question.protocol.id
    numbers["courses", "by-this-protocol" if own else "by-others"] += 1
    for point in found:
        numbers["points", point.agreement] += 1
        if point.early:
            numbers["early",] += 1
        if point.given is not None:
            numbers["since", _since(point.since)] += 1
        if point.answer is None:
            numbers["without-dose", "refused", str(Code.FACTS_UNVERIFIED)] += 1
        elif point.answer.dose is None:
            for reason in point.answer.reasons:
                numbers["without-dose", str(point.answer.action), str(reason)] += 1
    if isinstance(question.protocol, WeeklyProtocol):
        _count_counts(question, question.protocol, treated, numbers)
    return numbers


def _since(doses: int | None) -> str:
    if doses is None:
        return "no-count"
    return str(doses) if doses < _MANY else f"{_MANY}-or-more"


def _count_counts(question: Question, protocol: WeeklyProtocol, treated: Treated, numbers: Numbers) -> None:
    terms = Terms(protocol, treated.course, treated.until)
    for made in _stood(treated.decisions):
        if made.kind == "override" and _asked(question, DAYS[made.day]):
            _count_override(protocol, terms.reliable, made, numbers)
    if not terms.doses:
        return
    first, last = terms.doses[0].day, treated.until
    within = max(first, question.first or first), min(last, question.last or last)
    days = days_in_zones(protocol, terms.reliable, *within)
    for zone, number in days.items():
        numbers["days", zone] += number
    known = sum(days[zone] for zone in Zone)
    if known:
        # In whole percent, so that the numbers of however many courses are not many; the middle of them is told.
        numbers["course-in-range", str((200 * days[Zone.IN_RANGE] + known) // (2 * known))] += 1
    if days[Zone.OVER_HOLD]:
        numbers["courses-over-hold",] += 1
    if _asked(question, first):
        response = first_response(terms, first)
        if response is None:
            numbers["response", "no-count"] += 1
        else:
            numbers["response", "yes" if response[1] else "not-yet", str(response[0])] += 1


def _count_override(protocol: WeeklyProtocol, counts: Sequence[Count], made: Decision, numbers: Numbers) -> None:
    reason, way = made.reason_code or "", _way(made)
    numbers["override", reason, way] += 1
    day = DAYS[made.given_on or made.due_on or made.day]
    following = next((count for count in counts if day < count.day <= day + NEXT_COUNT_WITHIN), None)
    if following is None:
        numbers["override-next", reason, "none"] += 1
    else:
        numbers["override-next", reason, zone_of(protocol, following.platelets)] += 1
        numbers["override-count", reason, plain(following.platelets)] += 1


def _way(made: Decision) -> str:
    """Which way a person went from what was proposed."""
    said = cast("dict[str, dict[str, Decimal] | None]", reread(made.answer))["dose"]
    if made.micrograms is None:
        return "no-dose"
    if said is None:
        return "dose-without-proposal"
    proposed = said["delivered_micrograms"]
    if not departs(made.micrograms, proposed):
        return "same"
    return "higher" if made.micrograms > proposed else "lower"


# Reading


def audit_patients(session: Session, question: Question, now: datetime, *where: Where) -> tuple[Numbers, list[Of]]:
    """What the patients who meet the conditions come to, and their decision points, in order of patient and day.

    Nothing is looked at that is later than today at their clinic, `now`.
    """
    numbers: Numbers = Counter()
    found: list[Of] = []
    patients = session.find(Patient, *where, order=("id",))
    if not patients:
        return numbers, found
    clinics = {clinic.id: clinic for clinic in session.find(Clinic)}
    mine = Where("patient_id", "in", tuple(patient.id for patient in patients)), Where("current", "=", 1)
    stands = Where("status", "!=", "entered-in-error")
    courses = _by_patient(session.find(CourseVersion, *mine, stands, order=("patient_id", "id")))
    decisions = _by_patient(session.find(Decision, *mine, order=("patient_id", "id")))
    not_given = _by_patient(session.find(Fact, *mine, stands, Where("kind", "=", "dose-not-given"), order=("day",)))
    for patient in patients:
        last = DAYS[day_at(clinics[patient.clinic_id], now)]
        last = last if question.last is None else min(last, question.last)
        record = _Record(
            patient,
            session.course_facts(patient.id),
            frozenset(DAYS[fact.day] for fact in not_given.get(patient.id, ())),
            decisions.get(patient.id, []),
        )
        numbers["patients",] += 1
        numbers["doses-outside-courses",] += _outside(courses.get(patient.id, []), record.facts)
        for version in courses.get(patient.id, ()):
            if question.treated_by in (None, version.protocol) and DAYS[version.started_on] <= last:
                found += _audit_course(question, record, version, last, numbers)
    return numbers, found


class _Record(NamedTuple):
    """What is read of a patient."""

    patient: Patient
    facts: Sequence[CourseFact]
    not_given: frozenset[int]
    decisions: Sequence[Decision]


def _audit_course(question: Question, record: _Record, version: CourseVersion, last: int, numbers: Numbers) -> list[Of]:
    """The decision points of a course; what it comes to is added. One whose facts make no document is only counted."""
    try:
        treated = _treated(record, version, last)
        found = list(points(question, treated))
        numbers.update(numbers_of(question, treated, found))
    except (InvalidInput, ArithmeticError):
        numbers["unreadable",] += 1
        return []
    return [Of(record.patient.id, version, point) for point in found]


def _treated(record: _Record, version: CourseVersion, last: int) -> Treated:
    until = last if version.ended_on is None else min(DAYS[version.ended_on], last)
    document = course_document(record.patient, version, record.facts, iso(until))
    unverified = [fact.day for fact in record.facts if fact.kind == "dose" and fact.status != "final"]
    return Treated(
        version=version,
        course=read_document(document, lambda _: None).course.until(until),
        until=until,
        not_given=record.not_given,
        decisions=tuple(made for made in record.decisions if made.course_id == version.id),
        unverified_since=min((DAYS[day] for day in unverified if day >= version.started_on), default=None),
    )


def _outside(courses: Iterable[CourseVersion], facts: Iterable[CourseFact]) -> int:
    """How many days with a dose lie in no course."""
    spans = [(one.started_on, one.ended_on or "9999") for one in courses]
    days = {fact.day for fact in facts if fact.kind == "dose" and fact.status == "final"}
    return sum(not any(first <= day <= last for first, last in spans) for day in days)


def _by_patient(rows: Iterable[R]) -> dict[str, list[R]]:
    of: dict[str, list[R]] = {}
    for row in rows:
        of.setdefault(row.patient_id, []).append(row)
    return of
