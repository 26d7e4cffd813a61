"""Protocol: the rules of one label as a value, built from a mapping (a TOML file) and checked as a whole.

`read_protocol` refuses a bad file with every fault and its path. Faults of form (missing, unknown, of the wrong kind)
come first; a file in good form is then held against the numbered checks P1 to P13, which say whether its rules make
sense together. docs/protocols.md lists the keys and the checks.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

from titrator.titration.course import MOST_PLATELETS
from titrator.titration.documents import exact, join, shown
from titrator.titration.errors import Fault, InvalidProtocol
from titrator.titration.quantities import EXACT, ZERO, plain, read_day, tidy

#: Rules that a source may be cited for, as keys of `[citations]` and of `[[unprinted]]`.
RULES: Final = (
    "population",
    "weight",
    "start",
    "increase",
    "maintain",
    "reduce",
    "hold",
    "resume",
    "minimum",
    "maximum",
    "monitoring",
    "no_response",
    "missed_dose",
    "warnings",
    "preparation",
)

_LONGEST_GRID: Final = 200  # steps
_MOST: Final = 5000  # micrograms, of a dose or a vial
_MOST_VIALS: Final = 8  # sizes
_MOST_PER_KG: Final = 100  # micrograms/kg: ten times what any label reaches
_COMPARATORS: Final[dict[str, Callable[[Decimal, Decimal], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_COMPLEMENT: Final = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_LIMIT: Final = re.compile(r"(<=|>=|<|>)([0-9]{1,4}(?:\.[0-9]{1,3})?)", re.ASCII)
_ID: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)

_NO_BREAK_AND_IDEOGRAPHIC: Final = str.maketrans("\u00a0\u3000", "  ")  # spaces that `isprintable` refuses
_A_TEXT: Final = "a text of one line, without control characters"

_Choice = TypeVar("_Choice", bound=StrEnum)


class Status(StrEnum):
    """What kind of document a protocol comes from."""

    LABEL = "label"
    CASE_REPORT = "case_report"
    LOCAL = "local"


class Schedule(StrEnum):
    """Whether a protocol titrates week by week or gives one dose."""

    WEEKLY = "weekly"
    ONCE = "once"


class Verification(StrEnum):
    """How much of the source document was read when the file was written."""

    LABEL_TEXT = "label_text"
    TRANSCRIPTION = "transcription"
    EXCERPT = "excerpt"
    SUMMARY = "summary"
    ARTICLE = "article"


class WeightBasis(StrEnum):
    """Which weight doses are computed from: the one at the start of therapy, or the latest."""

    BASELINE = "baseline"
    CURRENT = "current"


class Limit(NamedTuple):
    """A platelet limit with its comparator as printed (`<50`); `value` is in 10⁹/L."""

    comparator: str
    value: Decimal

    def holds(self, platelets: Decimal) -> bool:
        """Whether a count (10⁹/L) meets the limit."""
        return _COMPARATORS[self.comparator](platelets, self.value)

    def complement(self) -> Limit:
        """The limit that each count meets that does not meet this one."""
        return Limit(_COMPLEMENT[self.comparator], self.value)

    def __str__(self) -> str:
        """As printed: `<50`."""
        return self.comparator + plain(self.value)


class Unprinted(NamedTuple):
    """Something that the source leaves open, and what is done instead."""

    rule: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the rules come from, and how far that was read and reviewed."""

    document: str
    cited_as: str
    edition: str
    section: str
    url: str
    retrieved_on: str
    verification: Verification
    reviewer: str
    reviewed_on: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """The rules of one label. Doses in µg/kg and µg, ages in completed years, weight ages in days.

    A plain Protocol gives a single dose, `start`; a WeeklyProtocol titrates. `sha256` is that of the file.
    """

    id: str
    title: str
    status: Status
    source: Source
    indication: str
    minimum_age: int
    maximum_age: int | None
    eligibility: tuple[str, ...]
    weight_basis: WeightBasis
    weight_maximum_age: int | None
    start: Decimal
    maximum: Decimal
    maximum_micrograms: Decimal | None
    vials: tuple[int, ...]
    citations: Mapping[str, str]
    unprinted: tuple[Unprinted, ...]
    notes: Mapping[str, str]
    sha256: str

    def citation(self, rule: str) -> str | None:
        """Where the source prints a rule, as `document, section`; None where it does not."""
        place = self.citations.get(rule)
        return None if place is None else f"{self.source.cited_as}, {place}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeeklyProtocol(Protocol):
    """A protocol that titrates week by week. Limits in 10⁹/L; `resume` is None where the source prints none."""

    step: Decimal
    minimum: Decimal
    increase: Limit
    maintain: tuple[Limit, ...]
    reduce: Limit
    reduce_weeks: int
    hold: Limit
    resume: Limit | None
    grid: tuple[Decimal, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Lay out the grid once: the levels that steps from the start and from the maximum reach, ascending."""
        object.__setattr__(self, "grid", tuple(sorted(set(self._levels(self.start)) | set(self._levels(self.maximum)))))

    def _levels(self, anchor: Decimal) -> Iterator[Decimal]:
        lowest = anchor - EXACT.divide_int(anchor - self.minimum, self.step) * self.step
        for k in range(_LONGEST_GRID + 1):
            level = tidy(lowest + k * self.step)
            if level > self.maximum:
                return
            yield level


def read_protocol(document: Mapping[str, object], *, name: str, sha256: str) -> Protocol:
    """The protocol that a decoded file writes; raises InvalidProtocol with every fault. `name` is the file's, bare."""
    reader = _Reader(exact(document), "", [])
    fields = _read_common(reader) | {"sha256": sha256}
    weekly = reader.choice("schedule", Schedule) is Schedule.WEEKLY
    if weekly:
        dose, platelets = reader.table("dose"), reader.table("platelets")
        fields |= {
            "step": dose.amount("step_micrograms_per_kg"),
            "minimum": dose.amount("minimum_micrograms_per_kg"),
            "increase": platelets.limit("increase"),
            "maintain": platelets.limits("maintain"),
            "reduce": platelets.limit("reduce"),
            "reduce_weeks": platelets.whole("reduce_weeks", lowest=1, highest=8),
            "hold": platelets.limit("hold"),
            "resume": platelets.optional_limit("resume"),
        }
    if faults := reader.finish():
        raise InvalidProtocol(faults)
    # In good form: each field is what the class says, or there would be a fault.
    protocol: Protocol = (WeeklyProtocol if weekly else Protocol)(**fields)  # type: ignore[arg-type]
    check = _check_weekly(protocol) if isinstance(protocol, WeeklyProtocol) else _check_once(protocol)
    if faults := [*_check(protocol, name), *check]:
        raise InvalidProtocol(faults)
    return protocol


def _read_common(reader: _Reader) -> dict[str, object]:
    source, population = reader.table("source"), reader.table("population")
    weight, dose = reader.table("weight"), reader.table("dose")
    return {
        "id": reader.text("id"),
        "title": reader.text("title"),
        "status": reader.choice("status", Status),
        "source": Source(
            document=source.text("document"),
            cited_as=source.text("cited_as"),
            edition=source.text("edition"),
            section=source.text("section"),
            url=source.text("url"),
            retrieved_on=source.text("retrieved_on"),
            verification=source.choice("verification", Verification),
            reviewer=source.text("reviewer", empty=True),
            reviewed_on=source.text("reviewed_on", empty=True),
        ),
        "indication": population.text("indication"),
        "minimum_age": population.whole("minimum_age_years", lowest=0, highest=150),
        "maximum_age": population.optional_whole("maximum_age_years", lowest=0, highest=150),
        "eligibility": population.texts("eligibility"),
        "weight_basis": weight.choice("basis", WeightBasis),
        "weight_maximum_age": weight.optional_whole("maximum_age_days", lowest=1, highest=3660),
        "start": dose.amount("start_micrograms_per_kg"),
        "maximum": dose.amount("maximum_micrograms_per_kg"),
        "maximum_micrograms": dose.optional_amount("maximum_micrograms"),
        "vials": dose.wholes("vials_micrograms"),
        "citations": reader.table("citations").all_texts(RULES),
        "unprinted": tuple(
            Unprinted(item.one_of("rule", RULES), item.text("text")) for item in reader.tables("unprinted")
        ),
        "notes": reader.table("notes", required=False).all_texts(None),
    }


def _check(protocol: Protocol, name: str) -> Iterator[Fault]:
    """What makes no sense together, by the numbers of docs/protocols.md."""
    source, vials = protocol.source, protocol.vials
    if not _ID.fullmatch(protocol.id) or protocol.id != name:
        yield Fault("id", f"P1: must be the file's name, lower-case words joined by hyphens, not {shown(protocol.id)}")
    yield from _check_source(source)
    if protocol.maximum_age is not None and protocol.maximum_age < protocol.minimum_age:
        yield Fault("population.maximum_age_years", f"P3: must not be below the minimum, {protocol.minimum_age}")
    if protocol.weight_maximum_age is not None and protocol.weight_basis is WeightBasis.BASELINE:
        yield Fault("weight.maximum_age_days", "P4: only a current weight has an age limit, a baseline weight has none")
    if protocol.start > protocol.maximum:
        yield Fault("dose.maximum_micrograms_per_kg", f"P5: must not be below the start, {plain(protocol.start)}")
    if not 1 <= len(vials) <= _MOST_VIALS or list(vials) != sorted(set(vials)):
        yield Fault("dose.vials_micrograms", f"P6: must be 1 to {_MOST_VIALS} sizes, each once, the smallest first")
    if protocol.maximum > _MOST_PER_KG:
        yield Fault("dose.maximum_micrograms_per_kg", f"P5: must be at most {_MOST_PER_KG}")


def _check_source(source: Source) -> Iterator[Fault]:
    if not source.url.startswith(("https://", "http://")):
        yield Fault("source.url", f"P2: must be a web address, not {shown(source.url)}")
    for key, day in (("retrieved_on", source.retrieved_on), ("reviewed_on", source.reviewed_on)):
        if day and read_day(day) is None:
            yield Fault(f"source.{key}", f"P2: must be a date, YYYY-MM-DD, not {shown(day)}")
    if bool(source.reviewer) != bool(source.reviewed_on):
        yield Fault("source.reviewer", "P2: reviewer and reviewed_on go together")


def _check_once(protocol: Protocol) -> Iterator[Fault]:
    if protocol.start != protocol.maximum:
        yield Fault(
            "dose.start_micrograms_per_kg", f"P13: must be the maximum, {plain(protocol.maximum)}: it is the only dose"
        )
    if protocol.weight_basis is WeightBasis.BASELINE:
        yield Fault("weight.basis", "P13: must be current: a single dose has no baseline")
    if protocol.eligibility:
        yield Fault("population.eligibility", "P13: must be absent: a single dose asks for none")


def _check_weekly(protocol: WeeklyProtocol) -> Iterator[Fault]:
    increase, reduce, hold, resume = protocol.increase, protocol.reduce, protocol.hold, protocol.resume
    way = protocol.maximum - protocol.minimum
    if protocol.minimum > protocol.start:
        yield Fault("dose.minimum_micrograms_per_kg", f"P5: must not be above the start, {plain(protocol.start)}")
    elif not protocol.step <= way <= protocol.step * _LONGEST_GRID:
        yield Fault(
            "dose.step_micrograms_per_kg",
            f"P7: must go 1 to {_LONGEST_GRID} times into the way from minimum to maximum",
        )
    for key, limit, side in (
        ("increase", increase, "<"),
        ("reduce", reduce, ">"),
        ("hold", hold, ">"),
        ("resume", resume, "<"),
    ):
        if limit and limit.comparator[0] != side:
            yield Fault(f"platelets.{key}", f"P8: must be a limit with {side} or {side}=, not {limit}")
    band = (increase.complement(), reduce.complement())
    if protocol.maintain != band:
        yield Fault(
            "platelets.maintain", f"P9: must be {band[0]} and {band[1]}: no count undecided, none decided twice"
        )
    yield from _check_order(increase, reduce, hold)
    if resume and not increase.value < resume.value < hold.value:
        yield Fault(
            "platelets.resume", f"P11: must lie between the increase limit, {increase}, and the hold limit, {hold}"
        )
    if not resume and all(item.rule != "resume" for item in protocol.unprinted):
        yield Fault(
            "platelets.resume", 'P12: required, or an [[unprinted]] entry with rule = "resume" to say why it is absent'
        )


def _check_order(increase: Limit, reduce: Limit, hold: Limit) -> Iterator[Fault]:
    if not increase.value:
        yield Fault("platelets.increase", "P10: must be above 0")
    if increase.value >= reduce.value:
        yield Fault("platelets.reduce", f"P10: must be above the increase limit, {increase}")
    if reduce.value >= hold.value:
        yield Fault("platelets.hold", f"P10: must be above the reduce limit, {reduce}")
    if hold.value >= MOST_PLATELETS:
        yield Fault("platelets.hold", f"P10: must be below {MOST_PLATELETS}, the highest count that is taken")


def _is_line(text: str) -> bool:
    """Whether a text is one line that can be shown as it is, and says something."""
    return text.translate(_NO_BREAK_AND_IDEOGRAPHIC).isprintable() and bool(text.strip())


class _Reader:
    """Reads one table of the file, collecting faults instead of stopping; what was not asked for is an unknown key.

    A value that is absent or of the wrong kind is reported and something of the right kind stands in for it, so that
    reading goes on; with any fault, `read_protocol` uses none of it.
    """

    def __init__(self, value: object, path: str, faults: list[Fault]) -> None:
        self.value: dict[str, object] = value if isinstance(value, dict) else {}
        self.path = path
        self.faults = faults
        self.asked: set[str] = set()
        self.below: dict[str, _Reader] = {}

    def finish(self) -> list[Fault]:
        """All faults, unknown keys of this table and of those below it included, in order of their paths."""
        self.report_unknown_keys()
        return sorted(set(self.faults))

    def table(self, key: str, *, required: bool = True) -> _Reader:
        value = self._get(key, required)
        if value is not None and not isinstance(value, dict):
            self._wrong(key, "a table", value)
        return self._reader(key, value)

    def tables(self, key: str) -> list[_Reader]:
        return [self._reader(f"{key}[{index}]", item) for index, item in enumerate(self._list(key, "tables", dict))]

    def text(self, key: str, *, empty: bool = False) -> str:
        value = self._get(key, required=True)
        if isinstance(value, str) and (_is_line(value) or (empty and not value)):
            return value
        if value is not None:
            self._wrong(key, _A_TEXT, value)
        return ""

    def texts(self, key: str) -> tuple[str, ...]:
        """The texts of an optional list."""
        items = [item for item in self._list(key, "texts", str) if isinstance(item, str)]
        for index, item in enumerate(items):
            if not _is_line(item):
                self._wrong(key, _A_TEXT, item, index)
        return tuple(items)

    def all_texts(self, known: tuple[str, ...] | None) -> Mapping[str, str]:
        """The whole table as texts; `known` names the keys that it may have, None lets any text be one."""
        texts = {}
        for key in self.value:
            if known is None and not _is_line(key):
                self.asked.add(key)
                self.faults.append(Fault(join(self.path, key), f"the key must be {_A_TEXT}"))
            elif known is None or key in known:
                texts[key] = self.text(key)
        return texts

    def choice(self, key: str, kind: type[_Choice]) -> _Choice:
        return kind(self.one_of(key, tuple(kind)))

    def one_of(self, key: str, known: tuple[str, ...]) -> str:
        value = self._get(key, required=True)
        if value in known:
            return str(value)
        if value is not None:
            self._wrong(key, "one of " + ", ".join(known), value)
        return known[0]

    def amount(self, key: str) -> Decimal:
        return self.optional_amount(key, required=True) or Decimal(1)

    def optional_amount(self, key: str, *, required: bool = False) -> Decimal | None:
        """A dose: above 0 and at most 5000."""
        value = self._get(key, required)
        if value is None or (isinstance(value, Decimal) and 0 < value <= _MOST):
            return value
        self._wrong(key, f"a number above 0, at most {_MOST}", value)
        return None

    def whole(self, key: str, *, lowest: int, highest: int) -> int:
        value = self.optional_whole(key, lowest=lowest, highest=highest, required=True)
        return lowest if value is None else value

    def optional_whole(self, key: str, *, lowest: int, highest: int, required: bool = False) -> int | None:
        value = self._get(key, required)
        if value is None:
            return None
        if isinstance(value, Decimal) and lowest <= value <= highest and value == int(value):
            return int(value)
        self._wrong(key, f"a whole number from {lowest} to {highest}", value)
        return None

    def wholes(self, key: str) -> tuple[int, ...]:
        """A required list of whole numbers above 0."""
        self._get(key, required=True)
        values = [item for item in self._list(key, "whole numbers", Decimal) if isinstance(item, Decimal)]
        for index, item in enumerate(values):
            if not (0 < item <= _MOST and item == int(item)):
                self._wrong(key, f"a whole number from 1 to {_MOST}", item, index)
        return tuple(int(item) for item in values)

    def limit(self, key: str) -> Limit:
        return self.optional_limit(key, required=True) or Limit("<", ZERO)

    def optional_limit(self, key: str, *, required: bool = False) -> Limit | None:
        value = self._get(key, required)
        return None if value is None else self._limit(key, value)

    def limits(self, key: str) -> tuple[Limit, ...]:
        self._get(key, required=True)
        items = enumerate(self._list(key, "limits", str))
        return tuple(limit for index, item in items if (limit := self._limit(key, item, index)))

    def _limit(self, key: str, value: object, index: int | None = None) -> Limit | None:
        match = _LIMIT.fullmatch(value) if isinstance(value, str) else None
        if match:
            return Limit(match[1], tidy(Decimal(match[2])))
        self._wrong(key, 'a comparator and a number of 10*9/L, like "<50"', value, index)
        return None

    def _list(self, key: str, plural: str, kind: type) -> list[object]:
        value = self._get(key, required=False)
        if isinstance(value, list) and all(isinstance(item, kind) for item in value):
            return value
        if value is not None:
            self._wrong(key, f"a list of {plural}", value)
        return []

    def _get(self, key: str, required: bool) -> object:
        self.asked.add(key)
        value = self.value.get(key)
        if value is None and (required or key in self.value):
            self.faults.append(Fault(join(self.path, key), "must not be null" if key in self.value else "required"))
        return value

    def _wrong(self, key: str, wanted: str, value: object, index: int | None = None) -> None:
        """Report a value, or one item of a list."""
        path = join(self.path, key) + ("" if index is None else f"[{index}]")
        self.faults.append(Fault(path, f"must be {wanted}, not {shown(value)}"))

    def _reader(self, key: str, value: object) -> _Reader:
        return self.below.setdefault(key, _Reader(value, f"{self.path}.{key}" if self.path else key, self.faults))

    def report_unknown_keys(self) -> None:
        self.faults.extend(Fault(join(self.path, key), "unknown key") for key in self.value.keys() - self.asked)
        for reader in self.below.values():
            reader.report_unknown_keys()
