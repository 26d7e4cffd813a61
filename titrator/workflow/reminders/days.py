"""Which day of a clinic something falls on. Days are texts, as stored; the clock is a parameter."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from titrator.titration.quantities import DAYS
from titrator.titration.recommend import MISSED_AFTER, WEEK

WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_YEAR: Final = 366


class OpenDays(NamedTuple):
    """When a clinic works and when it injects, by weekdays, and when it is closed, by days.

    A clinic without injection days injects whenever it works.
    """

    working: frozenset[str]
    injection: frozenset[str]
    holidays: Collection[str] = ()

    def works(self, day: str) -> bool:
        """Whether the clinic works on a day."""
        return weekday(day) in self.working | self.injection and day not in self.holidays

    def injects(self, day: str) -> bool:
        """Whether the clinic injects on a day."""
        return self.works(day) and weekday(day) in (self.injection or self.working)


def weekday(day: str) -> str:
    """The name of the weekday of a day."""
    return WEEKDAYS[(DAYS[day] - 1) % WEEK]


def plus(day: str, days: int) -> str:
    """The day so many days after another."""
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat()


def working_day(days: OpenDays, day: str) -> str:
    """The first working day not before a day; the day itself where a clinic has none for a year."""
    return next((one for one in _from(day, _YEAR) if days.works(one)), day)


def injection_day(days: OpenDays, due_on: str, last_dose: str | None) -> str:
    """The day on which a dose that is due is to be given: the first injection day not before it.

    If that is more than ten days after the last dose, for a holiday or because the last dose was given between
    injection days, it is the first working day instead: to wait for the rhythm of the clinic would miss a dose. Either
    is not before the due day, so never less than a week after the last dose.
    """
    first = next((one for one in _from(due_on, WEEK) if days.injects(one)), None)
    if first is not None and (last_dose is None or DAYS[first] - DAYS[last_dose] <= MISSED_AFTER):
        return first
    return working_day(days, due_on)


def local(day: str, at: time, zone: str) -> datetime:
    """An instant in UTC: a time of day at a clinic. One that the clocks skip is as much later."""
    return datetime.combine(date.fromisoformat(day), at, ZoneInfo(zone)).astimezone(UTC)


def after_quiet(moment: datetime, quiet: tuple[time, time] | None, zone: str) -> datetime:
    """An instant, or the end of the quiet hours that it falls in; those may go past midnight."""
    if quiet is None:
        return moment
    begins, ends = quiet
    here = moment.astimezone(ZoneInfo(zone))
    now = here.time()
    within = begins <= now < ends if begins <= ends else now >= begins or now < ends
    if not within:
        return moment
    day = here.date() if now < ends else here.date() + timedelta(days=1)
    until = datetime.combine(day, ends, ZoneInfo(zone))
    if until.astimezone(UTC) <= moment:  # the clocks were put back since: that time comes once more
        until = until.replace(fold=1)
    return until.astimezone(UTC)


def _from(day: str, many: int) -> Iterator[str]:
    return (plus(day, ahead) for ahead in range(many))
