"""What the chart of a course draws, as values.

Platelets and neutrophils are in 10⁹/L, haemoglobin in g/L, whatever they were recorded in; any other value, and any in
a unit that cannot be turned into these, keeps its own: nothing that was recorded is left out. Days are ordinals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, NamedTuple

from titrator.titration.protocol import Protocol, WeeklyProtocol
from titrator.titration.quantities import DAYS, EXACT, GIGA_PER_LITRE_PER, GRAMS_PER_LITRE_PER, tidy, times

PLATELETS: Final = "platelets"
GIGA_PER_LITRE: Final = "10*9/L"
#: By code the unit in which it is drawn, and the units that can be turned into that.
_BASE: Final[Mapping[str, tuple[str, Mapping[str, Decimal | None]]]] = {
    PLATELETS: (GIGA_PER_LITRE, GIGA_PER_LITRE_PER),
    "neutrophils": (GIGA_PER_LITRE, GIGA_PER_LITRE_PER),
    "haemoglobin": ("g/L", GRAMS_PER_LITRE_PER),
}
#: Codes whose panels come first, in this order; then the others, by name.
_FIRST: Final = ("haemoglobin", "neutrophils", "immature-platelet-fraction")


class MarkKind(StrEnum):
    """What is drawn as a mark, in the order of its lanes: the kinds of events, doses not given, holds, pauses."""

    PLATELET_TRANSFUSION = "platelet_transfusion"
    RED_CELL_TRANSFUSION = "red_cell_transfusion"
    RESCUE_THERAPY = "rescue_therapy"
    HOLD = "hold"
    NOT_GIVEN = "not_given"
    PAUSE = "pause"
    THROMBOSIS = "thrombosis"
    MARROW_DISORDER = "marrow_disorder"
    ADVERSE_EVENT = "adverse_event"


#: What lasts until it is over, and is not known to be over as long as nobody has said so.
_LASTING: Final = {MarkKind.THROMBOSIS, MarkKind.MARROW_DISORDER, MarkKind.ADVERSE_EVENT, MarkKind.PAUSE}


class Value(NamedTuple):
    """What was measured on a day, with its CTCAE 5.0 grade where the number tells one."""

    day: int
    value: Decimal
    grade: int | None = None
    reliable: bool = True


class Dose(NamedTuple):
    """A dose given, in micrograms; `level` is the micrograms/kg that it was stated to be, if it was."""

    day: int
    micrograms: Decimal
    level: Decimal | None


class Mark(NamedTuple):
    """Something that happened, with the day until which it lasted; None where that is the same day, or not known.

    `lasting`: it is not known to be over. `detail` is why a dose was not given.
    """

    kind: MarkKind
    day: int
    until: int | None = None
    lasting: bool = False
    term: str | None = None
    scale: str | None = None
    grade: int | None = None
    detail: str | None = None


class Series(NamedTuple):
    """The values of a code in one unit (UCUM), in order of day."""

    code: str
    unit: str
    values: tuple[Value, ...]


class Period(NamedTuple):
    """Since when a protocol applies; None: from the start. No limits are drawn for one that is unknown."""

    since: int | None
    protocol: Protocol | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartData:
    """The course of a patient up to a day, as it is drawn; each list is in order of day."""

    on: int
    platelets: tuple[Value, ...] = ()
    doses: tuple[Dose, ...] = ()
    marks: tuple[Mark, ...] = ()
    panels: tuple[Series, ...] = ()
    periods: tuple[Period, ...] = ()

    @property
    def weekly(self) -> WeeklyProtocol | None:
        """The protocol that applies now, where it titrates."""
        protocol = self.periods[-1].protocol if self.periods else None
        return protocol if isinstance(protocol, WeeklyProtocol) else None

    @property
    def measured(self) -> list[int]:
        """The days on which something was measured or given, ascending."""
        values = (value.day for series in self.panels for value in series.values)
        return sorted({*(value.day for value in self.platelets), *(dose.day for dose in self.doses), *values})

    @property
    def days(self) -> list[int]:
        """The days on which there is something, ascending."""
        return sorted({*self.measured, *(mark.day for mark in self.marks)})


def chart_data(timeline: Mapping[str, Any], protocols: Mapping[str, Protocol], holds: Iterable[str] = ()) -> ChartData:
    """What is drawn of a timeline, as `workflow.timeline` gives it, by the protocols of its courses.

    `holds` are the days for which a hold was decided; a dose that was recorded as not given for a hold is one, too.
    """
    entries: Sequence[Mapping[str, Any]] = timeline["entries"]
    series = _series(entries)
    changes: Sequence[Mapping[str, Any]] = timeline["course_changes"]
    marks = {*_marks(entries), *(Mark(MarkKind.HOLD, DAYS[day]) for day in holds), *_pauses(changes)}
    platelets = series.pop((PLATELETS, GIGA_PER_LITRE), [])
    return ChartData(
        on=DAYS[timeline["on"]],
        platelets=tuple(platelets),
        doses=tuple(_doses(entries)),
        marks=tuple(sorted(marks, key=lambda mark: (mark.day, list(MarkKind).index(mark.kind), mark.term or ""))),
        panels=tuple(Series(code, unit, tuple(series[code, unit])) for code, unit in sorted(series, key=_place)),
        periods=tuple(_periods(changes, protocols)),
    )


def _series(entries: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[Value]]:
    """The values by code and unit, counts of platelets among them."""
    series: dict[tuple[str, str], list[Value]] = {}
    for entry in entries:
        fact, collection = entry["fact"], entry["collection"]
        if collection == "platelet-counts":
            code = PLATELETS
        elif collection == "observations":
            code = fact["code"]
        else:
            continue
        value, unit = _in_base(code, Decimal(str(fact["value"])), fact["unit"])
        reliable = not fact.get("unreliable", False) and fact.get("status") != "unverified"
        found = Value(DAYS[entry["day"]], value, entry["ctcae_grade"], reliable)
        series.setdefault((code, unit), []).append(found)
    return series


def _in_base(code: str, value: Decimal, unit: str) -> tuple[Decimal, str]:
    """A value and its unit, turned into the unit in which the code is drawn where that is possible."""
    base, units = _BASE.get(code, (unit, {}))
    if unit not in units:
        return value, unit
    factor = units[unit]
    return (value if factor is None else tidy(times(value, factor))), base


def _place(series: tuple[str, str]) -> tuple[int, str, str]:
    code, unit = series
    return _FIRST.index(code) if code in _FIRST else len(_FIRST), code, unit


def _doses(entries: Iterable[Mapping[str, Any]]) -> Iterable[Dose]:
    """The doses; those of a day are one, of a level that is known if it was stated of all of them."""
    of_days: dict[int, Dose] = {}
    for entry in entries:
        fact = entry["fact"]
        if entry["collection"] == "doses" and "not_given_on" not in fact:
            level = fact.get("micrograms_per_kg")
            stated = None if level is None else Decimal(str(level))
            one = Dose(DAYS[entry["day"]], Decimal(str(fact["micrograms"])), stated)
            before = of_days.get(one.day)
            of_days[one.day] = one if before is None else _together(before, one)
    return of_days.values()


def _together(one: Dose, other: Dose) -> Dose:
    levels = None if one.level is None or other.level is None else EXACT.add(one.level, other.level)
    return Dose(one.day, EXACT.add(one.micrograms, other.micrograms), levels)


def _marks(entries: Iterable[Mapping[str, Any]]) -> Iterable[Mark]:
    for entry in entries:
        fact, day = entry["fact"], DAYS[entry["day"]]
        if entry["collection"] == "doses" and "not_given_on" in fact:
            if fact["reason_not_given"] == "on-hold":
                yield Mark(MarkKind.HOLD, day)
            else:
                yield Mark(MarkKind.NOT_GIVEN, day, detail=fact["reason_not_given"])
        elif entry["collection"] == "events":
            kind, until = MarkKind(fact["kind"]), fact.get("resolved_on")
            yield Mark(
                kind,
                day,
                None if until is None else DAYS[until],
                until is None and kind in _LASTING,
                fact.get("term"),
                fact.get("scale"),
                fact.get("grade"),
            )


def _pauses(changes: Sequence[Mapping[str, Any]]) -> Iterable[Mark]:
    """The pauses of the courses: each until the next change of the same course that ends it."""
    for index, change in enumerate(changes):
        if change["change"] == "pause":
            later = (one for one in changes[index + 1 :] if one["id"] == change["id"] and one["status"] != "paused")
            end = next(later, None)
            yield Mark(MarkKind.PAUSE, _day(change), None if end is None else _day(end), end is None)


def _periods(changes: Iterable[Mapping[str, Any]], protocols: Mapping[str, Protocol]) -> Iterable[Period]:
    """Each protocol with the day since which it applies; what was before the first course is held against it, too."""
    applied: str | None = None
    for change in changes:
        protocol: str = change["protocol"]
        if protocol != applied:
            yield Period(None if applied is None else _day(change), protocols.get(protocol))
            applied = protocol


def _day(change: Mapping[str, Any]) -> int:
    """The day of a change of a course: that of its start or end, or the (UTC) day on which it was made."""
    if change["change"] == "start":
        return DAYS[change["started_on"]]
    if change["change"] == "discontinue" and change["ended_on"] is not None:
        return DAYS[change["ended_on"]]
    return DAYS[str(change["changed_at"])[:10]]
