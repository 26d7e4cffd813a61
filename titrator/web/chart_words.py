"""The words of the chart: English unless a page hands in those of another language.

A text that somebody recorded (a term, a code, a unit) may hold anything; it is shown on one line, cut where it is long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Final, NamedTuple

from titrator.titration.protocol import Limit, WeeklyProtocol
from titrator.titration.quantities import plain
from titrator.web.chart_data import GIGA_PER_LITRE, ChartData, Dose, Mark, MarkKind

_LONGEST: Final = 60  # characters of a recorded text
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def english_day(day: date) -> str:
    """A day that nobody reads as another one: 9 Mar 2026."""
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


class Words(NamedTuple):
    """All that is written on the chart. What stands in braces is filled in, in any order; `language` is its BCP 47 tag.

    `day` and `number` say a day and an amount; `names`, `units`, `marks`, `scales` and `not_given` go by what is
    recorded, and where they have not got it, that is shown as it is.
    """

    language: str = "en"
    day: Callable[[date], str] = english_day
    number: Callable[[Decimal], str] = plain
    title: str = "Chart of the course"
    empty: str = "Nothing recorded up to {day}."
    counts: str = "{count} platelet counts from {first} to {last}, the last {value}."
    last_dose: str = "Last dose on {day}: {dose}."
    happened: str = "{kind}: {count}."
    with_unit: str = "{name}, {unit}"
    amount: str = "{value} {unit}"
    log_axis: str = "logarithmic axis"
    dose_axis: str = "Dose of romiPLOStim, micrograms/kg"
    dose_key: str = "figures: micrograms given"
    earlier: str = "{count} earlier, the first on {day}"
    micrograms: str = "{value} micrograms"
    level: str = "{value} micrograms/kg"
    dose: str = "{micrograms} ({level})"
    dose_without_level: str = "{micrograms} (micrograms/kg not stated)"
    weeks: str = "weeks since first dose"
    events: str = "Events"
    further: str = "Further values are in the table: {names}"
    reliable: str = "count"
    unreliable: str = "unreliable or unverified, not joined"
    at_floor: str = "below {floor}, drawn at the foot"
    no_level: str = "dose, micrograms/kg not stated"
    transfused: str = "platelet transfusion"
    rescued: str = "rescue therapy"
    increase: str = "Increase"
    target: str = "Target"
    reduce: str = "Reduce"
    hold: str = "Hold"
    maximum: str = "Maximum"
    below: str = "below {0}"
    at_most: str = "{0} or below"
    above: str = "above {0}"
    at_least: str = "{0} or above"
    between: str = "{low} to {high}"
    until: str = "until {limit}"
    for_weeks: str = "{limit} for {weeks} weeks"
    graded: str = "{what}, {scale} grade {grade}"
    grade: str = "grade {grade}"
    short: str = "{what}, {grade}"
    lasted: str = "{what}, until {day}"
    lasting: str = "{what}, not known to be over"
    explained: str = "{what}: {why}"
    names: Mapping[str, str] = MappingProxyType(
        {
            "platelets": "Platelets",
            "haemoglobin": "Haemoglobin",
            "neutrophils": "Neutrophils",
            "immature-platelet-fraction": "Immature platelet fraction",
            "car-t-cells": "CAR-T cells",
            "b-cells": "B cells",
        }
    )
    units: Mapping[str, str] = MappingProxyType(
        {
            "10*9/L": "10⁹/L",
            "10*6/L": "10⁶/L",
            "10*3/uL": "10³ per microlitre",
            "/uL": "per microlitre",
            "{cells}/uL": "cells per microlitre",
        }
    )
    marks: Mapping[str, str] = MappingProxyType(
        {
            "platelet_transfusion": "Platelet transfusion",
            "red_cell_transfusion": "Red cell transfusion",
            "rescue_therapy": "Rescue therapy",
            "hold": "Hold: no dose",
            "not_given": "Dose not given",
            "pause": "Course paused",
            "thrombosis": "Thrombosis",
            "marrow_disorder": "Marrow disorder",
            "adverse_event": "Adverse event",
        }
    )
    scales: Mapping[str, str] = MappingProxyType(
        {"ctcae-5.0": "CTCAE 5.0", "ctcae-6.0": "CTCAE 6.0", "crs": "CRS", "icans": "ICANS"}
    )
    not_given: Mapping[str, str] = MappingProxyType(
        {
            "absent": "patient was absent",
            "refused": "patient refused",
            "adverse-event": "adverse event",
            "no-supply": "no supply",
            "prescriber-decision": "prescriber's decision",
            "other": "other reason",
        }
    )


ENGLISH: Final = Words()


def line(text: str, longest: int = _LONGEST) -> str:
    """A recorded text as it can be drawn: on one line, without characters that no XML has, cut where it is long."""
    clean = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def day_text(day: int, words: Words) -> str:
    """An ordinal as a day."""
    return words.day(date.fromordinal(day))


def name_text(code: str, words: Words) -> str:
    """What a code is called."""
    return words.names.get(code) or line(code)


def unit_text(unit: str, words: Words) -> str:
    """A unit, microlitres spelled out."""
    return words.units.get(unit) or line(unit)


def value_text(value: Decimal, unit: str, words: Words) -> str:
    """An amount with its unit: 60 ×10⁹/L, 114 g/L, 8.2 %."""
    said = unit_text(unit, words)
    return words.amount.format(value=words.number(value), unit="×" + said if said.startswith("10") else said)


def dose_text(dose: Dose, words: Words) -> str:
    """A dose: 500 micrograms (8.6 micrograms/kg)."""
    micrograms = words.micrograms.format(value=words.number(dose.micrograms))
    if dose.level is None:
        return words.dose_without_level.format(micrograms=micrograms)
    return words.dose.format(micrograms=micrograms, level=words.level.format(value=words.number(dose.level)))


def limit_text(limit: Limit, words: Words) -> str:
    """A limit in words, as `wording.side` says it in English."""
    said = {"<": words.below, "<=": words.at_most, ">": words.above, ">=": words.at_least}[limit.comparator]
    return said.format(words.number(limit.value))


def term_text(mark: Mark, words: Words) -> str:
    """What is recorded of a mark beside its kind and days: the term and grade of an event, why a dose was not given."""
    what = line(mark.term) if mark.term else ""
    if mark.grade is not None and mark.scale:
        scale = words.scales.get(mark.scale) or line(mark.scale)
        what = words.graded.format(what=what, scale=scale, grade=mark.grade).removeprefix(", ")
    if mark.detail:
        what = words.not_given.get(mark.detail) or line(mark.detail)
    return what


def short_texts(mark: Mark, words: Words) -> tuple[str, ...]:
    """What `term_text` says, then without the scale, then the grade alone, for where there is less and less room."""
    texts = [term_text(mark, words)]
    if mark.grade is not None:
        graded = words.grade.format(grade=mark.grade)
        if mark.term:
            texts += [words.short.format(what=line(mark.term, longest), grade=graded) for longest in (60, 20)]
        texts += [graded, str(mark.grade)]
    return tuple(text for text in texts if text)


def mark_text(mark: Mark, words: Words) -> str:
    """A mark in words: Adverse event: Cytokine release syndrome, CRS grade 1, until 12 Jan 2026."""
    what, why = words.marks[mark.kind], term_text(mark, words)
    if why:
        what = words.explained.format(what=what, why=why)
    if mark.until is not None and mark.until != mark.day:
        return words.lasted.format(what=what, day=day_text(mark.until, words))
    return words.lasting.format(what=what) if mark.lasting else what


def zone_texts(protocol: WeeklyProtocol, words: Words) -> dict[str, tuple[str, str]]:
    """By zone its name and the counts in it: Reduce, above 200 for 2 weeks."""
    reduce = limit_text(protocol.reduce, words)
    if protocol.reduce_weeks > 1:
        reduce = words.for_weeks.format(limit=reduce, weeks=protocol.reduce_weeks)
    hold = limit_text(protocol.hold, words)
    if protocol.resume is not None:
        hold = f"{hold}, {words.until.format(limit=limit_text(protocol.resume, words))}"
    low, high = protocol.maintain
    start = words.number(low.value) if low.comparator == ">=" else limit_text(low, words)
    end = words.number(high.value) if high.comparator == "<=" else limit_text(high, words)
    return {
        "hold": (words.hold, hold),
        "reduce": (words.reduce, reduce),
        "target": (words.target, words.between.format(low=start, high=end)),
        "increase": (words.increase, limit_text(protocol.increase, words)),
    }


def summary(data: ChartData, words: Words) -> str:
    """What the chart shows, in sentences, for those who do not see it."""
    parts = []
    if counts := data.platelets:
        last = value_text(counts[-1].value, GIGA_PER_LITRE, words)
        first_day, last_day = (day_text(one.day, words) for one in (counts[0], counts[-1]))
        parts.append(words.counts.format(count=len(counts), first=first_day, last=last_day, value=last))
    if data.doses:
        dose = data.doses[-1]
        parts.append(words.last_dose.format(day=day_text(dose.day, words), dose=dose_text(dose, words)))
    numbers = {kind: sum(mark.kind == kind for mark in data.marks) for kind in MarkKind}
    parts += [words.happened.format(kind=words.marks[kind], count=number) for kind, number in numbers.items() if number]
    return " ".join(parts) or words.empty.format(day=day_text(data.on, words))
