"""Course: the facts of one course of therapy, read from the course document that every door takes.

`read_document` is the one parser: it refuses a document with every fault and its path, and converts amounts into base
units (kg, 10⁹/L, µg). `Course.document` writes the same document back in canonical form; its SHA-256 is the digest by
which an answer names its input. docs/course-document.md describes the document for its users.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from operator import itemgetter
from typing import Final, NamedTuple, TypeVar

from titrator.titration.documents import decode, join, printable, shown
from titrator.titration.errors import Fault, InvalidDocument
from titrator.titration.quantities import (
    DAYS,
    EXACT,
    GIGA_PER_LITRE_PER,
    KILOGRAMS_PER,
    ZERO,
    Unusable,
    fits,
    iso,
    plain,
    read_day,
    tidy,
)

#: Bounds beyond which a document is refused: kg, 10⁹/L, µg and µg/kg, entries of a list, characters of a text.
LEAST_KG: Final = Decimal("0.3")
MOST_KG: Final = Decimal(400)
MOST_PLATELETS: Final = Decimal(5000)
MOST_DOSE: Final = Decimal(5000)
MOST_ENTRIES: Final = 5000
MOST_CHARACTERS: Final = 100


class EventKind(StrEnum):
    """What can happen beside counts, weights and doses; the last two are kept for people and change no dose."""

    PLATELET_TRANSFUSION = "platelet_transfusion"
    RESCUE_THERAPY = "rescue_therapy"
    THROMBOSIS = "thrombosis"
    MARROW_DISORDER = "marrow_disorder"
    RED_CELL_TRANSFUSION = "red_cell_transfusion"
    ADVERSE_EVENT = "adverse_event"


class Weight(NamedTuple):
    """A body weight in kg."""

    day: int
    kg: Decimal


class Count(NamedTuple):
    """A platelet count in 10⁹/L; unreliable when the sample was clumped or the result preliminary."""

    day: int
    platelets: Decimal
    unreliable: bool


class Dose(NamedTuple):
    """A dose given, in µg; `level` is the µg/kg that it was stated to be, if it was."""

    day: int
    micrograms: Decimal
    level: Decimal | None


class Event(NamedTuple):
    """Something that happened, and the day it was over, if it is."""

    day: int
    kind: EventKind
    resolved: int | None


_Fact = TypeVar("_Fact", Weight, Count, Dose, Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The facts of a course, each list in order of day; facts of one day keep the order in which they were recorded."""

    born: int | None = None
    baseline: int | None = None
    weights: tuple[Weight, ...] = ()
    counts: tuple[Count, ...] = ()
    doses: tuple[Dose, ...] = ()
    events: tuple[Event, ...] = ()
    eligibility: tuple[str, ...] = ()

    def until(self, day: int) -> Course:
        """The course as it stood at the end of a day: what is dated later is left out."""
        return self if self._ends_by(day) else self._cut_at(day)

    def _ends_by(self, day: int) -> bool:
        lasts = [facts[-1].day for facts in (self.weights, self.counts, self.doses, self.events) if facts]
        lasts += [event.resolved for event in self.events if event.resolved is not None]
        return (self.baseline is None or self.baseline <= day) and (not lasts or max(lasts) <= day)

    def _cut_at(self, day: int) -> Course:
        events = _until(self.events, day)
        return Course(
            born=self.born,
            baseline=self.baseline if self.baseline is not None and self.baseline <= day else None,
            weights=_until(self.weights, day),
            counts=_until(self.counts, day),
            doses=_until(self.doses, day),
            events=tuple([e if e.resolved is None or e.resolved <= day else e._replace(resolved=None) for e in events]),
            eligibility=self.eligibility,
        )

    def later(self, day: int) -> list[tuple[str, int]]:
        """What is dated after a day, and so left out on it: the kind of fact, and its day."""
        named = (("weight", self.weights), ("count", self.counts), ("dose", self.doses), ("event", self.events))
        return [(name, fact.day) for name, facts in named for fact in facts if fact.day > day]

    def document(self, protocol: str, on: int) -> str:
        """The canonical course document: facts up to `on`, in order of day, amounts in base units, keys sorted.

        It is itself a course document, that reads as the same course up to `on`.
        """
        return canonical(self.until(on), protocol, on)


def canonical(course: Course, protocol: str, on: int) -> str:
    """`Course.document` of a course that has no fact later than `on`."""
    days = {"baseline_on": course.baseline, "born_on": course.born, "on": on}
    parts = {key: f'"{iso(day)}"' for key, day in days.items() if day is not None}
    parts["protocol"] = printable(protocol)
    lists = {
        "doses": [
            f'{{"given_on":"{iso(day)}","micrograms":{micrograms!s}}}'
            if level is None
            else f'{{"given_on":"{iso(day)}","micrograms":{micrograms!s},"micrograms_per_kg":{level!s}}}'
            for day, micrograms, level in course.doses
        ],
        "eligibility": [printable(item) for item in course.eligibility],
        "events": [
            f'{{"kind":"{kind}","occurred_on":"{iso(day)}"}}'
            if resolved is None
            else f'{{"kind":"{kind}","occurred_on":"{iso(day)}","resolved_on":"{iso(resolved)}"}}'
            for day, kind, resolved in course.events
        ],
        "platelet_counts": [
            f'{{"collected_on":"{iso(day)}","unit":"10*9/L","unreliable":true,"value":{platelets!s}}}'
            if unreliable
            else f'{{"collected_on":"{iso(day)}","unit":"10*9/L","value":{platelets!s}}}'
            for day, platelets, unreliable in course.counts
        ],
        "weights": [f'{{"measured_on":"{iso(day)}","unit":"kg","value":{kg!s}}}' for day, kg in course.weights],
    }
    parts |= {key: f"[{','.join(items)}]" for key, items in lists.items()}
    return "{" + ",".join([f'"{key}":{parts[key]}' for key in sorted(parts)]) + "}"


class Request(NamedTuple):
    """What a course document asks: the next dose of this course by this protocol on this day."""

    protocol: str
    on: int
    course: Course


def read_text(text: str | bytes, find_protocol: Callable[[str], str | None]) -> Request:
    """Decode and read a course document; raises InvalidDocument with every fault."""
    return read_document(decode(text), find_protocol)


def read_document(document: object, find_protocol: Callable[[str], str | None]) -> Request:
    """The request that a decoded course document makes; raises InvalidDocument with every fault.

    `find_protocol` takes the id of a protocol and returns what is wrong with it, or None if it can be used.
    """
    if not isinstance(document, dict):
        raise InvalidDocument([Fault("", f"must be an object, not {shown(document)}")])
    faults = [Fault(join("", key), "unknown key") for key in sorted(document.keys() - _KEYS)]
    protocol, on = document.get("protocol"), read_day(document.get("on"))
    if "protocol" not in document:
        faults.append(Fault("protocol", "required"))
    elif not isinstance(protocol, str):
        faults.append(Fault("protocol", f"must be the id of a protocol, not {shown(protocol)}"))
    elif wrong := find_protocol(protocol):
        faults.append(Fault("protocol", wrong))
    if "on" not in document:
        faults.append(Fault("on", "required"))
    faults.extend(
        Fault(key, wrong)
        for key in ("on", "born_on", "baseline_on")
        if key in document and (wrong := _wrong_day(document[key]))
    )
    course = Course(
        born=read_day(document.get("born_on")),
        baseline=read_day(document.get("baseline_on")),
        weights=_read_list(document, "weights", _read_weight, faults),
        counts=_read_list(document, "platelet_counts", _read_count, faults),
        doses=_read_list(document, "doses", _read_dose, faults),
        events=_read_list(document, "events", _read_event, faults),
        eligibility=_read_eligibility(document, faults),
    )
    if faults or on is None or not isinstance(protocol, str):
        raise InvalidDocument(faults)
    return Request(protocol, on, course)


def entry_faults(key: str, entry: object) -> list[Fault]:
    """What is wrong with an entry of `weights`, `platelet_counts`, `doses` or `events`; its paths begin there."""
    return _explain(entry, "", _FIELDS[key])


def is_right(key: str, entry: object) -> bool:
    """Whether an entry of one of these lists can be read as it is; if not, `entry_faults` tells why."""
    return _READERS[key](entry) is not None


def _until(facts: tuple[_Fact, ...], day: int) -> tuple[_Fact, ...]:
    return facts[: bisect_right(facts, day, key=_DAY)]


def _read_list(
    document: Mapping[str, object], key: str, read: Callable[[object], _Fact | None], faults: list[Fault]
) -> tuple[_Fact, ...]:
    """The facts of one list in order of day, with the faults of those entries that are none."""
    entries = document.get(key, [])
    if not isinstance(entries, list):
        faults.append(Fault(key, f"must be a list, not {shown(entries)}"))
        return ()
    if len(entries) > MOST_ENTRIES:
        faults.append(Fault(key, f"must have at most {MOST_ENTRIES} entries, not {len(entries)}"))
        return ()
    facts = [read(entry) for entry in entries]
    known = [fact for fact in facts if fact is not None]
    if len(known) < len(facts):
        for index, fact in enumerate(facts):
            if fact is None:
                path = f"{key}[{index}]"
                faults.extend(_explain(entries[index], path, _FIELDS[key]) or [Fault(path, "cannot be read")])
    known.sort(key=_DAY)
    return tuple(known)


# Each reader below takes an entry that is right in every way, or returns None; what is wrong with the others is found
# out by `_explain`, from the same tables. So the common case is read once and fast.


def _read_weight(entry: object) -> Weight | None:
    try:
        if type(entry) is dict and len(entry) == 3:
            kg, factor = entry["value"], KILOGRAMS_PER[entry["unit"]]
            if factor is not None:
                kg = _converted(kg, factor)
            if type(kg) is Decimal and LEAST_KG <= kg <= MOST_KG:
                return Weight(DAYS[entry["measured_on"]], kg)
    except (KeyError, TypeError, ValueError):
        pass
    return None


def _read_count(entry: object) -> Count | None:
    try:
        if type(entry) is dict and len(entry) == 3 + ("unreliable" in entry):
            platelets, factor = entry["value"], GIGA_PER_LITRE_PER[entry["unit"]]
            if factor is not None:
                platelets = _converted(platelets, factor)
            unreliable = entry.get("unreliable", False)
            if type(platelets) is Decimal and ZERO <= platelets <= MOST_PLATELETS and type(unreliable) is bool:
                return Count(DAYS[entry["collected_on"]], platelets, unreliable)
    except (KeyError, TypeError, ValueError):
        pass
    return None


def _read_dose(entry: object) -> Dose | None:
    try:
        if type(entry) is dict and len(entry) == 2 + ("micrograms_per_kg" in entry):
            micrograms, level = entry["micrograms"], entry.get("micrograms_per_kg", _UNSTATED)
            if (
                type(micrograms) is Decimal is type(level)
                and ZERO < micrograms <= MOST_DOSE
                and ZERO < level <= MOST_DOSE
            ):
                return Dose(DAYS[entry["given_on"]], micrograms, None if level is _UNSTATED else level)
    except (KeyError, TypeError, ValueError):
        pass
    return None


def _read_event(entry: object) -> Event | None:
    try:
        if type(entry) is dict and len(entry) == 2 + ("resolved_on" in entry):
            resolved = DAYS[entry["resolved_on"]] if "resolved_on" in entry else None
            return Event(DAYS[entry["occurred_on"]], _KINDS[entry["kind"]], resolved)
    except (KeyError, TypeError, ValueError):
        pass
    return None


_READERS: Final[Mapping[str, Callable[[object], object]]] = {
    "weights": _read_weight,
    "platelet_counts": _read_count,
    "doses": _read_dose,
    "events": _read_event,
}


def _read_eligibility(document: Mapping[str, object], faults: list[Fault]) -> tuple[str, ...]:
    items = document.get("eligibility", [])
    if not isinstance(items, list):
        faults.append(Fault("eligibility", f"must be a list, not {shown(items)}"))
        return ()
    if len(items) > MOST_ENTRIES:
        faults.append(Fault("eligibility", f"must have at most {MOST_ENTRIES} entries, not {len(items)}"))
        return ()
    faults.extend(
        Fault(f"eligibility[{index}]", f"must be the code of what was confirmed, not {shown(item)}")
        for index, item in enumerate(items)
        if not isinstance(item, str) or len(item) > MOST_CHARACTERS
    )
    return tuple(sorted({item for item in items if isinstance(item, str)}))


def _converted(value: object, factor: Decimal | None) -> object:
    """A value in base units, of which its unit is so many (None: one); what is no amount stays what it is."""
    if factor is None or type(value) is not Decimal:
        return value
    converted = tidy(EXACT.multiply(value, factor))
    return converted if fits(converted) else Unusable(plain(converted))


class _Field(NamedTuple):
    """A key of an entry: whether it must be there, and what is wrong with a value of it (None: nothing)."""

    required: bool
    wrong: Callable[[object], str | None]


class _Measure(NamedTuple):
    """How the `value` of an entry is bounded in base units, whose name is given, once its `unit` is understood."""

    units: Mapping[str, Decimal | None]
    least: Decimal
    most: Decimal
    base_unit: str


class _Fields(NamedTuple):
    """What an entry of one list consists of."""

    fields: Mapping[str, _Field]
    measure: _Measure | None = None


def _explain(entry: object, path: str, expected: _Fields) -> list[Fault]:
    """Everything wrong with an entry."""
    if not isinstance(entry, dict):
        return [Fault(path, f"must be an object, not {shown(entry)}")]
    faults = [Fault(join(path, key), "unknown key") for key in sorted(entry.keys() - expected.fields.keys())]
    for key, field in expected.fields.items():
        if key not in entry:
            if field.required:
                faults.append(Fault(join(path, key), "required"))
        elif wrong := field.wrong(entry[key]):
            faults.append(Fault(join(path, key), wrong))
    measure, unit = expected.measure, entry.get("unit")
    if measure and isinstance(unit, str) and unit in measure.units:
        value = _converted(entry.get("value"), measure.units[unit])
        if isinstance(value, Unusable) and isinstance(entry.get("value"), Decimal):
            faults.append(
                Fault(join(path, "value"), f"must have at most 24 digits after the point in {measure.base_unit}")
            )
        if isinstance(value, Decimal) and not measure.least <= value <= measure.most:
            bounds = f"from {plain(measure.least)} to {plain(measure.most)} {measure.base_unit}"
            given = f"{shown(entry['value'])} {unit}"
            faults.append(Fault(join(path, "value"), f"must be {bounds}, not {given}"))
    return faults


def _wrong_day(value: object) -> str | None:
    if read_day(value) is not None:
        return None
    return f"must be a date, YYYY-MM-DD, from 1900-01-01 to 2200-12-31, not {shown(value)}"


def _wrong_number(value: object) -> str | None:
    if isinstance(value, Decimal):
        return None
    if isinstance(value, Unusable):
        return f"must be a number with at most 12 digits before and 24 after the point, not {shown(value)}"
    return f"must be a number, not {shown(value)}"


def _wrong_dose(value: object) -> str | None:
    if isinstance(value, Decimal) and not 0 < value <= MOST_DOSE:
        return f"must be above 0 and at most {plain(MOST_DOSE)}, not {shown(value)}"
    return _wrong_number(value)


def _wrong_flag(value: object) -> str | None:
    return None if isinstance(value, bool) else f"must be true or false, not {shown(value)}"


def _wrong_kind(value: object) -> str | None:
    return (
        None
        if isinstance(value, str) and value in _KINDS
        else f"must be one of {', '.join(_KINDS)}, not {shown(value)}"
    )


def _unit_of(units: Mapping[str, Decimal | None]) -> Callable[[object], str | None]:
    def wrong(value: object) -> str | None:
        if isinstance(value, str) and value in units:
            return None
        return f"must be one of {', '.join(units)}, not {shown(value)}"

    return wrong


_DAY = itemgetter(0)
_UNSTATED: Final = Decimal(1)  # stands for a level that a dose does not state
_KINDS: Final[dict[str, EventKind]] = {kind.value: kind for kind in EventKind}
_FIELDS: Final = {
    "weights": _Fields(
        {
            "measured_on": _Field(True, _wrong_day),
            "value": _Field(True, _wrong_number),
            "unit": _Field(True, _unit_of(KILOGRAMS_PER)),
        },
        _Measure(KILOGRAMS_PER, LEAST_KG, MOST_KG, "kg"),
    ),
    "platelet_counts": _Fields(
        {
            "collected_on": _Field(True, _wrong_day),
            "value": _Field(True, _wrong_number),
            "unit": _Field(True, _unit_of(GIGA_PER_LITRE_PER)),
            "unreliable": _Field(False, _wrong_flag),
        },
        _Measure(GIGA_PER_LITRE_PER, ZERO, MOST_PLATELETS, "10*9/L"),
    ),
    "doses": _Fields(
        {
            "given_on": _Field(True, _wrong_day),
            "micrograms": _Field(True, _wrong_dose),
            "micrograms_per_kg": _Field(False, _wrong_dose),
        }
    ),
    "events": _Fields(
        {
            "kind": _Field(True, _wrong_kind),
            "occurred_on": _Field(True, _wrong_day),
            "resolved_on": _Field(False, _wrong_day),
        }
    ),
}
_KEYS: Final = {"protocol", "on", "born_on", "baseline_on", "eligibility", *_FIELDS}
