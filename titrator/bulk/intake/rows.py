"""The rows of a patient as a history: who it is, and an entry for each value.

A row is taken whole or not at all: where one of its cells is wrong, the row is refused with all that is wrong with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from titrator.bulk.intake.fields import (
    DAYS_OF,
    DOSE_UNITS,
    EVENTS,
    MEASURES,
    UNITS,
    Measure,
    known_kind,
    known_unit,
)
from titrator.bulk.intake.plan import Column, Plan
from titrator.bulk.intake.values import Cell, Wrong, amount, day, quoted, text_of, time_of, words
from titrator.titration.quantities import EXACT, tidy
from titrator.workflow import facts
from titrator.workflow.facts import DOSES, Collection
from titrator.workflow.history import UNATTENDED, Person, Told
from titrator.workflow.record import Source

_LONGEST_NOTE: Final = 1000
_LARGEST: Final = Decimal(999_999_999_999)


class Row(NamedTuple):
    """A row of a file: its line, and its cells."""

    line: int
    cells: Sequence[Cell]


class History(NamedTuple):
    """The history of a patient as a file tells it; `refused` has the lines that cannot be taken, with why.

    `person` is None where all of it is refused: of whom nothing can be taken, nobody is made.
    """

    person: Person | None
    told: list[Told]
    refused: list[tuple[int, str]]
    rows: int


class Entry(NamedTuple):
    """What a cell says: of what, in which collection."""

    what: str
    collection: Collection
    body: dict[str, object]


def number_of(plan: Plan, cells: Sequence[Cell]) -> str:
    """The number of the patient of a row; empty where it has none."""
    return text_of(cells[plan.columns["patient"].at])


def history(plan: Plan, number: str, rows: Sequence[Row]) -> History:
    """The history that the rows of a patient tell."""
    refused: list[tuple[int, str]] = []
    person = _person(plan, number, rows, refused)
    if person is None:
        why = refused[-1][1]
        return History(None, [], [(row.line, why) for row in rows], len(rows))
    told: list[Told] = []
    seen: Counter[tuple[str, str]] = Counter()
    read = _read_long if plan.is_long else _read_wide
    for row in _by_time(plan, rows):
        if _tells_only_who(plan, row):
            continue
        wrong: list[str] = []
        source = _source(plan, row, wrong)
        stands = not wrong
        when, entries = read(plan, row, wrong)
        if not wrong and not entries and when:
            continue  # a row that tells only who somebody is
        if wrong:
            refused.append((row.line, "; ".join(wrong)))
            # Those of the day that follow keep the names that they have once this one is corrected.
            seen.update((when, what) for what in _claimed(plan, row) if stands)
            continue
        for what, collection, body in entries:
            seen[when, what] += 1
            again = seen[when, what]
            name = f"{number}/{when}/{what}" if again == 1 else f"{number}/{when}/{what}/{again}"
            told.append(Told(row.line, name, collection, body, source))
    return History(None if len(refused) == len(rows) else person, told, refused, len(rows))


def _by_time(plan: Plan, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows as they stand, but those of a day by their times where each has one: of two counts the later stands."""
    texts = [_text(plan, row, "day") for row in rows]
    if not any(":" in text for text in texts):
        return rows
    of_day: dict[str, list[int]] = {}
    times = [time_of(text) for text in texts]
    for index, text in enumerate(texts):
        try:
            of_day.setdefault(day(text, plan.dates), []).append(index)
        except Wrong:
            continue  # which is told where the row is read
    ordered = list(rows)
    for places in of_day.values():
        if len(places) > 1 and all(times[index] for index in places):
            by_time = sorted(places, key=lambda index: str(times[index]))
            for place, index in zip(places, by_time, strict=True):
                ordered[place] = rows[index]
    return ordered


def _tells_only_who(plan: Plan, row: Row) -> bool:
    """Whether a row of an export of this program has a course, or a patient of whom there is nothing else."""
    return "current" in plan.columns and plan.is_long and _text(plan, row, "kind") in {"course", "patient"}


def _text(plan: Plan, row: Row, name: str) -> str:
    column = plan.columns.get(name)
    return "" if column is None else text_of(row.cells[column.at])


def _claimed(plan: Plan, row: Row) -> list[str]:
    """What a row has anything of, whether that can be read or not."""
    if plan.is_long:
        kind = known_kind(_text(plan, row, "kind"))
        names = [] if kind is None else [kind]
    else:
        names = [name for name in (*MEASURES, "dose") if _text(plan, row, name)]
    return [_called(MEASURES[name]) if name in MEASURES else name for name in names]


def _called(measure: Measure) -> str:
    return measure.code or measure.collection.kinds[0]


def _source(plan: Plan, row: Row, wrong: list[str]) -> Source:
    """Whether what a row of an export says is still to be verified; what does not stand there is wrong."""
    if _text(plan, row, "current").lower() == "false":
        wrong.append("is a version that was changed since")
    match _text(plan, row, "status"):
        case "entered-in-error":
            wrong.append("was entered in error")
        case "unverified":
            return UNATTENDED._replace(preliminary=True)
        case "final" | "":
            pass
        case other:
            column = plan.columns["status"].header
            wrong.append(f"{column}: {other[:40]!r} must be final, unverified or entered-in-error")
    return UNATTENDED


def _person(plan: Plan, number: str, rows: Sequence[Row], refused: list[tuple[int, str]]) -> Person | None:
    """Who a patient is, by all rows; None with why where they contradict each other, or cannot be read."""
    wrong: list[str] = []
    _tried(words, plan.columns["patient"].header, wrong, number)
    said = {name: _one_of_all(plan, name, rows, wrong) for name in _OF_PERSON if name in plan.columns}
    if over := _ended_courses(plan, rows):
        said["course_ended_on"] = _tried(day, "course", wrong, over[-1], plan.dates)
    family, given = said.get("family_name"), said.get("given_name")
    if (name := said.get("name")) and not family:
        family, comma, given = (part.strip() for part in name.partition(","))
        if not comma or not family or not given:
            wrong.append(f"{plan.columns['name'].header}: must be the family name, a comma, and the given names")
    if (system := said.get("identifier_system")) is not None and system != plan.system:
        wrong.append(f"{plan.columns['identifier_system'].header}: {system} is not {plan.system}, the import's")
    clinic = plan.clinic
    if (named := said.get("clinic")) is not None:
        clinic = plan.clinics.get(named)
        if clinic is None:
            wrong.append(f"{plan.columns['clinic'].header}: no clinic of that name or id: {quoted(named)}")
    elif clinic is None:
        wrong.append("no clinic is named")
    if wrong or clinic is None:
        refused.append((rows[0].line, "; ".join(wrong)))
        return None
    return Person(
        system=plan.system,
        number=number,
        clinic=clinic,
        family_name=family,
        given_name=given,
        born_on=said.get("born_on"),
        protocol=(said.get("protocol") or plan.protocol) if plan.course else None,
        started_on=said.get("course_started_on") if plan.course else None,
        ended_on=said.get("course_ended_on") if plan.course else None,
    )


def _ended_courses(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """When the courses of an export ended that stand; of several no table can tell."""
    return [
        _text(plan, row, "resolved_on")
        for row in rows
        if _tells_only_who(plan, row) and _text(plan, row, "current") != "false" and _text(plan, row, "resolved_on")
    ]


_OF_PERSON: Final = (
    "identifier_system",
    "family_name",
    "given_name",
    "name",
    "born_on",
    "clinic",
    "protocol",
    "course_started_on",
    "course_ended_on",
)
#: What must be the same in all rows of a patient.
_SAME: Final = frozenset({"identifier_system", "born_on", "clinic", "course_started_on", "course_ended_on", "protocol"})


def _one_of_all(plan: Plan, name: str, rows: Sequence[Row], wrong: list[str]) -> str | None:
    """What the rows of a patient say of a field; the first that says anything, where they may differ."""
    column = plan.columns[name]
    at = column.at
    texts: dict[str, int] = {}
    before: Cell = ""
    for row in rows:
        cell = row.cells[at]
        if cell != before and (text := text_of(cell)):
            texts.setdefault(text, row.line)
        before = cell
    first = next(iter(texts), None)
    if first is None:
        return None
    is_day = name in DAYS_OF
    if name not in _SAME:
        return _tried(words, column.header, wrong, first)
    read = {_tried(day, column.header, wrong, text, plan.dates) if is_day else text: text for text in texts}
    if len(read) > 1 and None not in read:
        shown = " and ".join(f"{quoted(text)} in line {texts[text]}" for text in list(read.values())[:3])
        wrong.append(f"{column.header}: {shown}: which is it?")
    return next(iter(read)) if is_day else _tried(words, column.header, wrong, first)


def _tried(read: Callable[..., object], header: str, wrong: list[str], *given: object) -> str | None:
    try:
        return str(read(*given))
    except Wrong as error:
        wrong.append(f"{header}: {error}")
        return None


def _read_wide(plan: Plan, row: Row, wrong: list[str]) -> tuple[str, list[Entry]]:
    """The day of a row of one visit, and what it has of it."""
    cells, columns = row.cells, plan.columns
    when = _when(plan, row, wrong)
    entries: list[Entry] = []
    for name, measure in MEASURES.items():
        column = columns.get(name)
        if column is None or not cells[column.at]:
            continue
        value = _value(plan, name, column, row, wrong)
        if value is None:
            continue
        body = {measure.day_key: when, "value": value[0], "unit": value[1]}
        if measure.code is None:
            _add_unreliable(plan, row, name, body, wrong)
            entries.append(Entry(measure.collection.kinds[0], measure.collection, body))
        else:
            entries.append(Entry(measure.code, measure.collection, body | {"code": measure.code}))
    if dose := _dose(plan, row, when, wrong):
        entries.append(dose)
    _add_note(plan, row, entries, wrong)
    return when, entries


def _when(plan: Plan, row: Row, wrong: list[str]) -> str:
    column = plan.columns["day"]
    text = text_of(row.cells[column.at])
    if not text:
        wrong.append(f"{column.header}: empty")
        return ""
    try:
        return day(text, plan.dates)
    except Wrong as error:
        wrong.append(f"{column.header}: {error}")
        return ""


def _value(plan: Plan, name: str, column: Column, row: Row, wrong: list[str]) -> tuple[Decimal, str] | None:
    """The value of a cell and its unit; None where it is empty, or wrong."""
    cell = row.cells[column.at]
    if not text_of(cell):
        return None
    unit = column.unit
    if column.unit_at is not None:
        unit = _unit(name, text_of(row.cells[column.unit_at]), column.header, wrong)
    try:
        value = amount(cell, plan.decimal)
    except Wrong as error:
        wrong.append(f"{column.header}: {error}")
        return None
    if unit is None:
        return None
    return (value, unit) if _fits(name, value, column.header, wrong) else None


def _unit(name: str, written: str, header: str, wrong: list[str]) -> str | None:
    if not written:
        wrong.append(f"{header}: has no unit")
        return None
    unit = known_unit(name, written[:60])
    if unit is None:
        wrong.append(f"{header}: {quoted(written)} is no unit of it; it may be {', '.join(UNITS[name])}")
    return unit


def _fits(name: str, value: Decimal, header: str, wrong: list[str]) -> bool:
    """Whether a value is not negative and not too large to be one; what the course checks is left to it."""
    if name in _UNBOUNDED and not 0 <= value <= _LARGEST:
        wrong.append(f"{header}: must be from 0 to {_LARGEST}")
        return False
    return True


_UNBOUNDED: Final = frozenset(name for name, measure in MEASURES.items() if measure.code is not None)


def _dose(plan: Plan, row: Row, when: str, wrong: list[str]) -> Entry | None:
    given, level = plan.columns.get("dose"), plan.columns.get("level")
    found = None if given is None else _value(plan, "dose", given, row, wrong)
    by_weight = None if level is None else _value(plan, "level", level, row, wrong)
    if found is None:
        if by_weight is not None and level is not None and not wrong and by_weight[0]:
            wrong.append(f"{level.header}: the micrograms that were given are missing")
        return None
    if not found[0] and not (by_weight and by_weight[0]):
        return None  # none was given
    return _dose_entry(found, by_weight, when)


def _dose_entry(found: tuple[Decimal, str], by_weight: tuple[Decimal, str] | None, when: str) -> Entry:
    micrograms = tidy(EXACT.multiply(found[0], DOSE_UNITS[found[1]]))
    body: dict[str, object] = {"given_on": when, "micrograms": micrograms}
    if by_weight is not None:
        body["micrograms_per_kg"] = by_weight[0]
    return Entry("dose", DOSES, body)


def _add_note(plan: Plan, row: Row, entries: list[Entry], wrong: list[str]) -> None:
    column = plan.columns.get("note")
    if column is None or not entries or not (text := text_of(row.cells[column.at])):
        return
    if (note := _tried(words, column.header, wrong, text, _LONGEST_NOTE)) is not None:
        entries[-1].body["note"] = note


def _add_unreliable(plan: Plan, row: Row, name: str, body: dict[str, object], wrong: list[str]) -> None:
    if name != "platelets" or not (text := _text(plan, row, "unreliable").lower()):
        return
    if text in {"true", "false"}:
        body["unreliable"] = text == "true"
    else:
        wrong.append(f"{plan.columns['unreliable'].header}: {text[:40]!r} must be true or false")


def _read_long(plan: Plan, row: Row, wrong: list[str]) -> tuple[str, list[Entry]]:
    """The day of a row of one fact, and the fact."""
    columns = plan.columns
    when = _when(plan, row, wrong)
    kind, column = columns["kind"], columns["value"]
    written = text_of(row.cells[kind.at])
    name = known_kind(written)
    if name is None or name == "level":
        wrong.append(
            f"{kind.header}: {quoted(written)} is nothing that is kept here" if written else f"{kind.header}: empty"
        )
        return when, []
    if name in EVENTS:
        entries = _event(plan, row, name, when, wrong)
    else:
        at = columns["unit"].at if "unit" in columns else None
        unit = plan.units.get(name) if at is None else None
        if at is None and unit is None:
            wrong.append(f"{column.header}: has no unit")
            return when, []
        value = _value(plan, name, Column(column.at, column.header, unit, at), row, wrong)
        if value is None:
            wrong.extend([] if wrong else [f"{column.header}: empty"])
            return when, []
        entries = [_fact(plan, row, name, value, when, wrong)]
    _add_note(plan, row, entries, wrong)
    return when, entries


def _fact(  # noqa: PLR0913, PLR0917 (all that a row says)
    plan: Plan, row: Row, name: str, value: tuple[Decimal, str], when: str, wrong: list[str]
) -> Entry:
    if name == "dose":
        level = plan.columns.get("level")
        by_weight = None if level is None else _value(plan, "level", level, row, wrong)
        return _dose_entry(value, by_weight, when)
    measure = MEASURES[name]
    body: dict[str, object] = {measure.day_key: when, "value": value[0], "unit": value[1]}
    if measure.code is None:
        _add_unreliable(plan, row, name, body, wrong)
        return Entry(measure.collection.kinds[0], measure.collection, body)
    return Entry(measure.code, measure.collection, body | {"code": measure.code})


def _event(plan: Plan, row: Row, kind: str, when: str, wrong: list[str]) -> list[Entry]:
    body: dict[str, object] = {"kind": kind, "occurred_on": when}
    if kind == "adverse_event":
        if not (term := text_of(row.cells[plan.columns["value"].at])):
            wrong.append(f"{plan.columns['value'].header}: an adverse event needs its term")
        elif (named := _tried(words, plan.columns["value"].header, wrong, term)) is not None:
            body["term"] = named
    over = plan.columns.get("resolved_on")
    if over is not None and (text := text_of(row.cells[over.at])):
        found = _tried(day, over.header, wrong, text, plan.dates)
        if found is not None:
            body["resolved_on"] = found
    return [Entry(kind, facts.EVENTS, body)]
