"""What the rules call the facts: the terms of docs/titration-rules.md, section 3, for one protocol, course and day.

`Facts` holds what every protocol needs: one count and one dose a day, the dosing weight, unresolved safety events.
`Terms` adds what a weekly protocol needs: levels, the run, settled and eligible counts, on hold, stable, at maximum.
Both are built once for an answer, from a course that ends on the day asked about.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from decimal import Decimal
from operator import itemgetter
from typing import Final, cast

from titrator.titration.codes import Reason
from titrator.titration.course import Count, Course, Dose, Event, EventKind, Weight
from titrator.titration.preparation import DILUTED, DILUTED_BELOW, UNDILUTED
from titrator.titration.protocol import Protocol, WeeklyProtocol, WeightBasis
from titrator.titration.quantities import EXACT, HUNDREDTH, TENTH, apart, ratio_rounded, times

# Days.
TRANSFUSION_CONFOUNDS: Final = 7
RESCUE_CONFOUNDS: Final = 28
SETTLES_AFTER: Final = 4
LONGEST_GAP: Final = 28
STABLE_SPAN: Final = 28

# Half a syringe graduation in µg, undiluted and diluted, and how far a dose may be from its level as a part of it.
HALF_GRADUATION: Final = UNDILUTED * HUNDREDTH / 2
HALF_GRADUATION_DILUTED: Final = DILUTED * HUNDREDTH / 2
ON_GRID_WITHIN: Final = Decimal("0.05")
MATCHES_WITHIN: Final = Decimal("0.1")


class Facts:
    """The facts of a course as every protocol reads them; `course` ends on the day `on`."""

    def __init__(self, protocol: Protocol, course: Course, on: int) -> None:
        self.protocol = protocol
        self.course = course
        self.on = on
        self.weights = list({weight.day: weight for weight in course.weights}.values())
        self.counts = one_count_a_day(course.counts)
        self.doses = one_dose_a_day(course.doses)
        self.reliable = [count for count in self.counts if not count.unreliable]
        self.dosing_weight = self._dosing_weight()

    def age(self, fact: Weight | Count | Dose) -> int:
        """Days from a fact to the day asked about."""
        return self.on - fact.day

    def unresolved_safety_events(self) -> list[Event]:
        """Thromboses and marrow disorders that are not resolved."""
        return [event for event in self.course.events if event.resolved is None and event.kind in _SAFETY]

    def usable_weight(self, keeps: int | None = None) -> Weight | Reason:
        """The dosing weight, or why doses cannot be computed from it; `keeps` limits its age in days further."""
        if self.dosing_weight is None:
            return Reason.WEIGHT_MISSING
        limits = (keeps, self.protocol.weight_maximum_age)
        stale = any(limit is not None and self.age(self.dosing_weight) > limit for limit in limits)
        return Reason.WEIGHT_STALE if stale else self.dosing_weight

    def weight_differs_by(self, part: Decimal) -> bool:
        """Whether the newest weight is at least this part of the baseline away from it; never with current weights."""
        if self.dosing_weight is None or self.protocol.weight_basis is WeightBasis.CURRENT:
            return False
        baseline = self.dosing_weight.kg
        return apart(self.weights[-1].kg, baseline) >= times(baseline, part)

    def weight_of(self, day: int) -> Decimal | None:
        """The weight in kg that a dose of that day was meant for; None if no weight is known."""
        if not self.weights:
            return None
        if self.protocol.weight_basis is WeightBasis.CURRENT:
            return self._weight_at(day).kg
        changed = self.course.baseline
        return self._weight_at(self.doses[0].day if changed is None or day < changed else changed).kg

    def _dosing_weight(self) -> Weight | None:
        """The weight that doses are computed from, however old; None if no weight is known."""
        if not self.weights:
            return None
        if self.protocol.weight_basis is WeightBasis.CURRENT or not self.doses:
            return self.weights[-1]
        return self._weight_at(self.doses[0].day if self.course.baseline is None else self.course.baseline)

    def _weight_at(self, day: int) -> Weight:
        """The latest weight up to a day, else the earliest."""
        return weight_at(self.weights, day)


class Terms(Facts):
    """The facts of a course as a weekly protocol reads them.

    A course is stable while the eligible counts since the last change (`stable_counts`, newest first), as far back as
    no settled count meets the increase condition, span four weeks.

    `newest`, the newest reliable count, is there where `reliable` has any; `last`, the last dose, with its level and
    the terms that rest on it, where `doses` has any. The steps of the ladder ask in that order.
    """

    def __init__(self, protocol: WeeklyProtocol, course: Course, on: int) -> None:
        super().__init__(protocol, course, on)
        self.rules = protocol
        self._levels: dict[tuple[Decimal, Decimal], Decimal] = {}
        self._transfusions = [event.day for event in course.events if event.kind is EventKind.PLATELET_TRANSFUSION]
        self._rescues = [event.day for event in course.events if event.kind is EventKind.RESCUE_THERAPY]
        if self.reliable:
            self.newest = self.reliable[-1]
        if self.doses:
            self.last = self.doses[-1]
            self.last_level = self.level_of(self.last)
            self.last_change = self._first_of_run().day
            self.stable_counts = self._stable_counts()
            self.stable = (
                self.stable_counts[0].day - self.stable_counts[-1].day >= STABLE_SPAN if self.stable_counts else False
            )

    def confounded(self, count: Count) -> bool:
        """Whether a platelet transfusion or rescue therapy may have raised a count."""
        return _within(self._transfusions, count.day, TRANSFUSION_CONFOUNDS) or _within(
            self._rescues, count.day, RESCUE_CONFOUNDS
        )

    def confounders(self, count: Count) -> list[Event]:
        """The transfusions and rescue therapies that may have raised a count."""
        windows = {EventKind.PLATELET_TRANSFUSION: TRANSFUSION_CONFOUNDS, EventKind.RESCUE_THERAPY: RESCUE_CONFOUNDS}
        return [event for event in self.course.events if 0 <= count.day - event.day <= windows.get(event.kind, -1)]

    def settled(self, count: Count) -> bool:
        """Whether a reliable count shows the dose as it is since the last change."""
        return count.day >= self.last_change + SETTLES_AFTER

    def eligible(self, count: Count) -> bool:
        """Whether a reliable count is settled and not confounded."""
        return self.settled(count) and not self.confounded(count)

    def fresh(self, count: Count) -> bool:
        """Whether a reliable count shows the last dose."""
        return count.day >= self.last.day + SETTLES_AFTER

    def over_hold_limit(self) -> list[Count]:
        """The reliable counts since the day of the last dose that are over the hold limit: with any, on hold."""
        first = bisect_left(self.reliable, self.last.day, key=_DAY)
        return [count for count in self.reliable[first:] if self.rules.hold.holds(count.platelets)]

    def level_of(self, dose: Dose) -> Decimal | None:
        """The level of a dose in µg/kg: as stated, else the nearest of the grid, else to 0.1; None without a weight."""
        if dose.level is not None:
            return dose.level
        kg = self.weight_of(dose.day)
        if kg is None:
            return None
        amounts = dose.micrograms, kg  # most often the same as of the dose before
        if amounts not in self._levels:
            self._levels[amounts] = level_by_weight(self.rules, *amounts)
        return self._levels[amounts]

    def on_grid(self, level: Decimal) -> bool:
        """Whether steps of the protocol lead to a level."""
        return level in self.rules.grid

    def at_maximum(self) -> bool:
        """Whether the last dose cannot be raised."""
        most, weight = self.rules.maximum_micrograms, self.usable_weight()
        if self._is_maximal(self.last):
            return True
        return most is not None and isinstance(weight, Weight) and times(self.level, weight.kg) >= most

    def doses_at_maximum(self) -> list[Dose]:
        """The doses at the maximum, newest first, as far back as each is."""
        row = []
        for dose in reversed(self.doses):
            if not self._is_maximal(dose):
                break
            row.append(dose)
        return row

    @property
    def level(self) -> Decimal:
        """The last level where `dose_fault` finds nothing, and so found it known."""
        return cast(Decimal, self.last_level)

    def highest_step(self) -> Decimal:
        """The level that a step down starts from: the last, or what the maximum in µg makes of it if that is less."""
        most, weight = self.rules.maximum_micrograms, self.usable_weight()
        if most is None or not isinstance(weight, Weight):
            return self.level
        return min(self.level, ratio_rounded(most, weight.kg, TENTH))

    def one_step_down(self) -> Decimal:
        """The level one step below that."""
        return EXACT.subtract(self.highest_step(), self.rules.step)

    def dose_fault(self) -> Reason | None:
        """What keeps the last dose from being built on, if anything; the first that applies."""
        most = self.rules.maximum_micrograms
        if self.last_level is None:
            return Reason.WEIGHT_MISSING
        if self.last_level > self.rules.maximum:
            return Reason.DOSE_ABOVE_MAXIMUM
        if most is not None and self.last.micrograms > most + HALF_GRADUATION:
            return Reason.DOSE_ABOVE_MAXIMUM
        kg = self.weight_of(self.last.day)
        if self.last.level is None or kg is None:
            return None
        stated = times(self.last.level, kg)
        if self.last.micrograms == most and stated >= most:
            return None
        tolerance = max(HALF_GRADUATION, times(self.last.micrograms, MATCHES_WITHIN))
        return Reason.DOSE_MISMATCH if apart(stated, self.last.micrograms) > tolerance else None

    def _is_maximal(self, dose: Dose) -> bool:
        level, most = self.level_of(dose), self.rules.maximum_micrograms
        return (level is not None and level >= self.rules.maximum) or (most is not None and dose.micrograms >= most)

    def _stable_counts(self) -> list[Count]:
        """The eligible counts, newest first, as far back as no settled count meets the increase condition."""
        eligible = []
        for count in reversed(self.reliable):
            if not self.settled(count) or self.rules.increase.holds(count.platelets):
                break
            if not self.confounded(count):
                eligible.append(count)
        return eligible

    def _first_of_run(self) -> Dose:
        """The first dose of the unbroken row of doses of the last level."""
        first = self.last
        for dose in reversed(self.doses[:-1]):
            if self.last_level is None or first.day - dose.day > LONGEST_GAP or self.level_of(dose) != self.last_level:
                break
            first = dose
        return first


def weight_at(weights: Sequence[Weight], day: int) -> Weight:
    """The latest of some weights, one a day, up to a day, else the earliest."""
    return weights[max(bisect_right(weights, day, key=_DAY) - 1, 0)]


def level_by_weight(rules: WeeklyProtocol, micrograms: Decimal, kg: Decimal) -> Decimal:
    """The level of a dose in µg/kg that does not state it: the nearest of the grid, else to 0.1."""
    place = bisect_left(rules.grid, EXACT.divide(micrograms, kg))
    near = rules.grid[max(place - 1, 0) : place + 1]
    level = min(near, key=lambda level: apart(times(level, kg), micrograms))
    graduation = HALF_GRADUATION_DILUTED if micrograms < DILUTED_BELOW else HALF_GRADUATION
    if apart(times(level, kg), micrograms) <= max(times(micrograms, ON_GRID_WITHIN), graduation):
        return level
    return ratio_rounded(micrograms, kg, TENTH)


def one_count_a_day(counts: Sequence[Count]) -> list[Count]:
    """The last reliable count of each day, the last unreliable one where there is no other."""
    if len({count.day for count in counts}) == len(counts):
        return list(counts)
    days: dict[int, Count] = {}
    for count in counts:
        stands = days.get(count.day)
        if stands is None or stands.unreliable or not count.unreliable:
            days[count.day] = count
    return list(days.values())


def one_dose_a_day(doses: Sequence[Dose]) -> list[Dose]:
    """The doses of each day as one: µg added, and levels where each states one."""
    if len({dose.day for dose in doses}) == len(doses):
        return list(doses)
    days: dict[int, Dose] = {}
    for dose in doses:
        before = days.get(dose.day)
        days[dose.day] = dose if before is None else _together(before, dose)
    return list(days.values())


def _together(one: Dose, other: Dose) -> Dose:
    level = None if one.level is None or other.level is None else EXACT.add(one.level, other.level)
    return Dose(one.day, EXACT.add(one.micrograms, other.micrograms), level)


def _within(days: Sequence[int], day: int, window: int) -> bool:
    """Whether the latest of some ascending days up to a day is at most `window` days before it."""
    place = bisect_right(days, day)
    return place > 0 and day - days[place - 1] <= window


_DAY = itemgetter(0)
_SAFETY: Final = (EventKind.THROMBOSIS, EventKind.MARROW_DISORDER)
