"""The table behind the chart, by day, for those who do not see it: plain values, for a page to render."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import NamedTuple, TypeVar

from titrator.web.chart_data import GIGA_PER_LITRE, PLATELETS, ChartData, Value
from titrator.web.chart_words import ENGLISH, Words, mark_text, name_text, unit_text

T = TypeVar("T")


class Cell(NamedTuple):
    """A value: what it is called, the amount, its unit in words, its CTCAE 5.0 grade, whether it is reliable."""

    name: str
    value: Decimal
    unit: str
    grade: int | None
    reliable: bool


class Row(NamedTuple):
    """A day of the table behind the chart: `day` as YYYY-MM-DD; doses are pairs of micrograms and micrograms/kg."""

    day: str
    platelets: tuple[Cell, ...]
    doses: tuple[tuple[Decimal, Decimal | None], ...]
    events: tuple[str, ...]
    values: tuple[Cell, ...]


def table(data: ChartData, words: Words = ENGLISH) -> list[Row]:
    """All that the chart shows, and what it had no room for, by day, the oldest first."""
    counts = _by_day((value.day, _cell(PLATELETS, GIGA_PER_LITRE, value, words)) for value in data.platelets)
    doses = _by_day((dose.day, (dose.micrograms, dose.level)) for dose in data.doses)
    events = _by_day((mark.day, mark_text(mark, words)) for mark in data.marks)
    others = _by_day(
        (value.day, _cell(series.code, series.unit, value, words)) for series in data.panels for value in series.values
    )
    return [
        Row(
            date.fromordinal(day).isoformat(),
            tuple(counts.get(day, ())),
            tuple(doses.get(day, ())),
            tuple(events.get(day, ())),
            tuple(others.get(day, ())),
        )
        for day in data.days
    ]


def _cell(code: str, unit: str, value: Value, words: Words) -> Cell:
    return Cell(name_text(code, words), value.value, unit_text(unit, words), value.grade, value.reliable)


def _by_day(dated: Iterable[tuple[int, T]]) -> dict[int, list[T]]:
    by_day: dict[int, list[T]] = {}
    for day, one in dated:
        by_day.setdefault(day, []).append(one)
    return by_day
