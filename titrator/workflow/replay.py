"""Replay a course: what would have been proposed on each of its days, beside what was given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from titrator.titration.course import Count, Course, Dose
from titrator.titration.protocol import Protocol
from titrator.titration.recommend import Recommendation, recommend
from titrator.titration.terms import one_count_a_day, one_dose_a_day


class Replayed(NamedTuple):
    """A day of a course: the answer before that day's dose, the count of the day and the dose given, if any."""

    answer: Recommendation
    counted: Count | None
    given: Dose | None


def replay(protocol: Protocol, course: Course, on: int) -> Iterator[Replayed]:
    """Each day up to `on` on which a count or a dose was recorded, in order.

    The answer of a day knows that day's count and weight, but not its dose: it is what was proposed when the dose was
    about to be given.
    """
    known = course.until(on)
    counts = {count.day: count for count in one_count_a_day(known.counts)}
    doses = {dose.day: dose for dose in one_dose_a_day(known.doses)}
    for day in sorted(counts.keys() | doses.keys()):
        yield Replayed(before_dose(protocol, known, day), counts.get(day), doses.get(day))


def before_dose(protocol: Protocol, course: Course, day: int) -> Recommendation:
    """The answer of a day (an ordinal) by what was known on it, but for its dose: when that was about to be given."""
    before = replace(course, doses=tuple(dose for dose in course.doses if dose.day < day))
    return recommend(protocol, before, day)
