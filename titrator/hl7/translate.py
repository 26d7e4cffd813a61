"""An ORU^R01 message: what it says of whom, and all that is wrong with it. Pure; nothing here knows a patient.

An observation is ours by its LOINC code, or by a code that the feed maps; all others are passed over, whatever they
say. What is ours must be whole: an exact number, its unit, its status, the order it belongs to and when it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import marshmallow as ma

from schemas.observation import CountIn, ObservationIn, WeightIn
from schemas.patient import IdentifierPart
from titrator.hl7.message import LONGEST_CONTROL_ID, VERSIONS, Field, Message, Segment, Spot, Wrong
from titrator.workflow.facts import OBSERVATIONS, PLATELET_COUNTS
from titrator.workflow.feeds import Feed
from titrator.workflow.measured import (
    BY_CONTENT,
    BY_LOINC,
    WRITTEN,
    Measured,
    differ,
    is_like_a_count,
    tells_of_clumps,
    unit_among,
)
from titrator.workflow.record import Source
from titrator.workflow.results import Subject
from titrator.workflow.sent import Saying, Sent

#: By OBX-11, HL7's table 0085: the status of an Observation in FHIR, None where there is no result in it.
#: A, C, D, F, P, W and X are as HL7's own map to FHIR has them; of the others it says nothing.
STATUS: Final[Mapping[str, str | None]] = {
    "A": "amended",
    "B": "final",
    "C": "corrected",
    "D": "entered-in-error",
    "F": "final",
    "I": None,
    "N": None,
    "O": None,
    "P": "preliminary",
    "R": "preliminary",
    "S": "preliminary",
    "U": "final",
    "V": "final",
    "W": "entered-in-error",
    "X": "cancelled",
}
_LOINC: Final = "LN"
#: Types of values that are remarks, when they are words.
_WORDS: Final = ("ST", "TX", "FT", "CE", "CWE", "CNE")
_DAY_KEY: Final = {"weights": "measured_on", "platelet-counts": "collected_on", "observations": "observed_on"}
#: By path in an entry: the field of OBX in which it stands.
_PLACES: Final = {"saying": 11, "value": 5, "unit": 6, "code": 3, "lower_limit_of_normal": 7}
_FIELDS: Final[Mapping[str, Mapping[str, ma.fields.Field[Any]]]] = {
    "weights": WeightIn().fields,
    "platelet-counts": CountIn().fields,
    "observations": ObservationIn().fields,
}
_NAMED: Final = IdentifierPart().fields
_LONGEST_NOTE: Final = 1000
_LONGEST_KNOWN: Final = 250  # characters of a coded field, of which many are remembered
_NUMBER: Final = re.compile(r"[+]?(?:\d{1,15}(?:\.\d{0,15})?|\.\d{1,15})", re.ASCII)
_RANGE: Final = re.compile(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*-\s*\d{1,12}(?:\.\d{1,6})?\s*", re.ASCII)
_TIME: Final = re.compile(
    r"(\d{8})(?:(\d{6})\.\d{1,4}|(\d\d(?:\d\d(?:\d\d)?)?))?([+-]\d{4})?", re.ASCII
)  # a fraction of a second is passed over


class Moment(NamedTuple):
    """When something was: an instant, which may lack its offset, or just a day."""

    at: datetime | None
    day: date

    def read(self, local: Callable[[], tzinfo | None], clinic: ZoneInfo) -> tuple[str, str | None]:
        """The day at a clinic, and the instant if there is one; one without offset is of `local`, or of the clinic."""
        if self.at is None:
            return self.day.isoformat(), None
        at = self.at if self.at.tzinfo is not None else self.at.replace(tzinfo=local() or clinic)
        return at.astimezone(clinic).date().isoformat(), at.isoformat()


class Places(NamedTuple):
    """Where in a message the parts of an observation stand: its own fields, and what its order says for it."""

    obx: Segment
    order: _Order

    def of(self, path: str) -> Spot:
        """The place of a part, by its path in the entry; of what has no place of its own, that of its time."""
        if path in _PLACES:
            return self.obx.at(_PLACES[path])
        if path == "external_id":
            return _numbered(self.order)[1]
        return self.obx.at(14) if self.obx[14].raw else self.order.obr.at(7)


class Observation(NamedTuple):
    """An observation that is ours: an entry without its day, and where in the message its parts stand."""

    measured: Measured
    saying: Saying
    body: Mapping[str, Any]
    preliminary: bool
    corrected: bool
    when: Moment | None
    places: Places

    def sent(self, local: Callable[[], tzinfo | None], clinic: ZoneInfo) -> Sent:
        """What is sent, by the days of a clinic; times without an offset are of `local`, or of the clinic."""
        body, at = dict(self.body), None
        if self.when is not None:
            body[_DAY_KEY[self.measured.collection.name]], at = self.when.read(local, clinic)
        source = Source(preliminary=self.preliminary, corrected=self.corrected, at=at)
        return Sent(self.measured.collection, body, source, self.saying)


class Group(NamedTuple):
    """What a message says of one patient."""

    subject: Subject
    spot: Spot
    observations: Sequence[Observation]


class Translated(NamedTuple):
    """What a message says; where anything but a warning is wrong, it may be incomplete."""

    groups: Sequence[Group]
    wrong: Sequence[Wrong]


NOTHING_SAID: Final = Translated((), ())


def refusals(message: Message) -> list[Wrong]:
    """Why a message is turned away, whatever stands in it: another kind, a test, no control id."""
    head, found = message.head, []
    if (head.part(9, 1), head.part(9, 2)) != ("ORU", "R01"):
        found.append(Wrong(Spot("MSH", 1, 9), 200, "only ORU^R01, results of observations, is taken"))
    control_id = message.control_id
    if not 0 < len(control_id) <= LONGEST_CONTROL_ID or not control_id.isprintable():
        said = f"required: a control id of at most {LONGEST_CONTROL_ID} characters"
        found.append(Wrong(Spot("MSH", 1, 10), 101, said))
    if head.part(11) != "P":
        found.append(Wrong(Spot("MSH", 1, 11), 202, "must be P: what is for tests or training reaches no patient"))
    if head.part(12) not in VERSIONS:
        found.append(Wrong(Spot("MSH", 1, 12), 203, f"must be one of {', '.join(VERSIONS)}"))
    return found


def translate(message: Message, feed: Feed) -> Translated:
    """What a message of a feed says of whom, with every fault."""
    reader = _Reader(feed, list(message.wrong))
    for segment in message.segments[1:]:
        reader.read(segment)
    reader.end_patient()
    return Translated(reader.groups, reader.wrong)


def offset_of(head: Segment) -> tzinfo | None:
    """The offset of MSH-7, which is that of all times of a message that tell none; None where it tells none, too."""
    moment = _moment(head.part(7))
    return None if moment is None or moment.at is None else moment.at.tzinfo


class _Order(NamedTuple):
    """An order: OBR, the ORC before it, the remarks on it, its observations with theirs, its specimens."""

    obr: Segment
    orc: Segment | None
    remarks: list[Segment]
    observations: list[tuple[Segment, list[Segment]]]
    specimens: list[Segment]


class _Reader:
    """Reads segments one after the other: PID begins a patient, OBR an order, OBX an observation, NTE remarks on it."""

    def __init__(self, feed: Feed, wrong: list[Wrong]) -> None:
        self.feed = feed
        self.wrong = wrong
        self.groups: list[Group] = []
        self._pid: Segment | None = None
        self._orc: Segment | None = None
        self._orders: list[_Order] = []
        self._names: dict[str, Spot] = {}

    def read(self, segment: Segment) -> None:
        match segment.name:
            case "PID":
                self.end_patient()
                self._pid = segment
            case "ORC":
                self._orc = segment
            case "OBR":
                self._orders.append(_Order(segment, self._orc, [], [], []))
                self._orc = None
            case "OBX":
                self._observe(segment)
            case "SPM" if self._orders:
                self._orders[-1].specimens.append(segment)
            case "NTE" if self._orders:
                order = self._orders[-1]
                (order.observations[-1][1] if order.observations else order.remarks).append(segment)

    def _observe(self, obx: Segment) -> None:
        if self._orders:
            self._orders[-1].observations.append((obx, []))
        elif self._measured(obx) is not None:
            self._fault(obx.at(), 100, "must come after the OBR of its order")

    def end_patient(self) -> None:
        """Put together what was said of the patient until here, if anything of it is ours."""
        orders, pid = self._orders, self._pid
        self._orders, self._pid, self._orc = [], None, None
        found = [one for order in orders for one in self._of_order(order)]
        if not found:
            return
        if pid is None:
            self._fault(Spot("PID", 1), 100, "must come before the OBR of the patient's orders")
            return
        subject = self._subject(pid)
        if subject is not None:
            self.groups.append(Group(subject, pid.at(3), [one for one in found if one is not None]))

    def _subject(self, pid: Segment) -> Subject | None:
        """Whose all of it is: the identifiers whose authority the feed maps, and the birth date."""
        names: list[tuple[str, str]] = []
        for one in pid[3].repetitions:
            number, kind = one.part(1), one.part(5)
            authorities = {one.part(4), one.part(4, 2)} - {""}
            mine = [mapped for mapped in self.feed.identifiers if mapped.type in (None, kind)]
            names += [(mapped.system, number) for mapped in mine if number and mapped.authority in authorities]
        born = self._birth_date(pid)
        if not pid[3].raw.strip():
            self._fault(pid.at(3), 101, "required: the patient's identifier")
        elif not names:
            self._fault(pid.at(3), 204, "has no identifier of an authority that this feed maps")
        for _, number in names:
            self._checked(number, _NAMED["value"], pid.at(3))
        return Subject(tuple(dict.fromkeys(names)), born) if names else None

    def _birth_date(self, pid: Segment) -> str | None:
        text = pid.part(7)
        if not text:
            return None
        if (moment := _moment(text)) is None:
            self._fault(pid.at(7), 102, "must be a whole date, YYYYMMDD")
            return None
        return moment.day.isoformat()

    def _of_order(self, order: _Order) -> list[Observation | None]:
        """The observations of an order that are ours; None for one that is at fault."""
        ours = [(obx, notes, self._measured(obx)) for obx, notes in order.observations]
        remarks = [note[3].text for note in order.remarks]
        conditions = (one for specimen in order.specimens for one in specimen[24].repetitions)
        remarks += [one.part(place) for one in conditions for place in (1, 2)]
        remarks += [obx[5].text for obx, _, one in ours if one is None and obx.part(2) in _WORDS]
        counted = any(one is not None and one.collection is PLATELET_COUNTS for _, _, one in ours)
        clumped = counted and _tells_of_clumps(remarks)
        found = []
        for obx, notes, measured in ours:
            if measured is None:
                self._warn_of_count(obx)
            elif STATUS.get(obx.part(11), "") is not None:
                found.append(self._observation(order, obx, notes, measured, clumped))
        return found

    def _warn_of_count(self, obx: Segment) -> None:
        """Say of what looks like a count, and is not mapped, that it was passed over."""
        code = obx[3]
        loinc = [number for number, system in _codes(code) if system == _LOINC]
        if obx.part(2) in ("NM", "SN") and is_like_a_count(loinc, f"{code.part(2)} {code.part(5)}"):
            said = "passed over: it looks like a platelet count, but no code of it is mapped"
            self.wrong.append(Wrong(obx.at(3), 103, said, warning=True))

    def _measured(self, obx: Segment) -> Measured | None:
        """What was measured, by LOINC or by the feed's map; None of what is not ours. All codes must say the same."""
        known = set()
        for number, system in _codes(obx[3]):
            if system == _LOINC and number in BY_LOINC:
                known.add(BY_LOINC[number])
            elif number and (meaning := self.feed.codes.get((number, system))) is not None:
                known.add(_MEANT[meaning])
        if len(known) > 1:
            self._fault(obx.at(3), 103, "names several things that are measured")
        return known.pop() if known else None

    def _observation(
        self, order: _Order, obx: Segment, notes: list[Segment], measured: Measured, clumped: bool
    ) -> Observation | None:
        before = len(self.wrong)
        code = obx.part(11)
        if code not in STATUS:
            said = f"must be one of {', '.join(STATUS)}" if code else "required: the status of the result"
            self._fault(obx.at(11), 103 if code else 101, said)
        status, saying = STATUS.get(code), _saying(code, obx)
        body: dict[str, Any] = {"external_id": self._name(order, obx)}
        when = None
        if saying is Saying.RESULT:
            when = self._when(order, obx)
            body |= self._value(obx, measured)
            self._remark(body, measured, obx, notes, clumped)
        if len(self.wrong) > before:
            return None
        is_new = status in ("amended", "corrected")
        return Observation(measured, saying, body, status == "preliminary", is_new, when, Places(obx, order))

    def _remark(
        self, body: dict[str, Any], measured: Measured, obx: Segment, notes: list[Segment], clumped: bool
    ) -> None:
        """The note of an entry; and that it is unreliable, where a remark on it or on its order tells of clumps."""
        own = [note[3].text.strip() for note in notes]
        if note := "\n".join(one for one in own if one):
            clean = "".join(sign for sign in note if sign.isprintable() or sign == "\n")
            body["note"] = clean if len(clean) <= _LONGEST_NOTE else f"{clean[: _LONGEST_NOTE - 6]} [...]"
        if measured.collection is PLATELET_COUNTS and (clumped or _tells_of_clumps([*own, obx[8].text])):
            body["unreliable"] = True

    def _value(self, obx: Segment, measured: Measured) -> dict[str, Any]:
        """The value with its unit, exact, and the laboratory's lower limit of normal."""
        fields = _FIELDS[measured.collection.name]
        body: dict[str, Any] = {}
        if (number := self._number(obx)) is not None:
            body["value"] = self._checked(number, fields["value"], obx.at(5))
        body["unit"] = self._unit(obx, fields["unit"])
        if measured.collection is OBSERVATIONS:
            body["code"] = measured.code
            if found := _RANGE.fullmatch(obx[7].text):
                body["lower_limit_of_normal"] = Decimal(found[1])
        return {key: one for key, one in body.items() if one is not None}

    def _number(self, obx: Segment) -> Decimal | None:
        kind, value = obx.part(2), obx[5]
        if kind not in ("NM", "SN"):
            self._fault(obx.at(2), 102, "must be NM, a number, or a plain SN")
            return None
        if value.by.repetition in value.raw:
            self._fault(obx.at(5), 102, "must be one value")
            return None
        text = value.part(1)
        if kind == "SN":
            if value.part(1) not in ("", "=") or value.part(3) or value.part(4):
                self._fault(obx.at(5), 102, "must be exact: without a comparator, ratio or range")
                return None
            text = value.part(2)
        if not text:
            self._fault(obx.at(5), 101, "required: the value")
            return None
        if not _NUMBER.fullmatch(text) or (kind == "NM" and value.components > 1):
            self._fault(obx.at(5), 102, "must be an exact number, without a comparator or words")
            return None
        try:
            return Decimal(text)
        except InvalidOperation:
            self._fault(obx.at(5), 102, "must be an exact number")
            return None

    def _unit(self, obx: Segment, field: ma.fields.Field[Any]) -> str | None:
        """The unit, by the feed's aliases, else by UCUM and what is written for it; there must be one."""
        code, words = obx.part(6), obx.part(6, 2)
        written = code or words
        if not written:
            self._fault(obx.at(6), 101, "required: an amount without its unit means nothing")
            return None
        if code and words and differ(self._named(code), self._named(words)):
            self._fault(obx.at(6), 102, "its code and its text are different units: which is meant cannot be told")
            return None
        named = self.feed.units.get(written) or unit_among(written, getattr(field, "options", ()))
        found: str | None = self._checked(named, field, obx.at(6))
        return found

    def _named(self, written: str) -> str:
        return self.feed.units.get(written) or WRITTEN.get(written, written)

    def _when(self, order: _Order, obx: Segment) -> Moment | None:
        """When it was: OBX-14, else OBR-7."""
        segment, field = (obx, 14) if obx[14].raw else (order.obr, 7)
        text = segment.part(field)
        if not text:
            self._fault(segment.at(field), 101, "required: when it was observed, in OBX-14 or OBR-7")
            return None
        if (moment := _moment(text)) is None:
            self._fault(segment.at(field), 102, "must be a day or a time: YYYYMMDD[HH[MM[SS]]][+ZZZZ]")
        return moment

    def _name(self, order: _Order, obx: Segment) -> dict[str, str] | None:
        """The external id of a result: the number of its order, its code, its sub-id. No two in a message share it."""
        number, spot = _numbered(order)
        if not number:
            self._fault(spot, 101, "required: a filler or placer order number, by which a correction finds its result")
            return None
        code = _identity(obx[3])
        sub = obx[4].text.strip()
        name = f"{number}|{code}|{sub}" if sub else f"{number}|{code}"
        if name in self._names:
            self._fault(obx.at(4), 205, f"the same order, code and sub-id as {self._names[name]}: which is meant?")
            return None
        self._names[name] = obx.at()
        checked = self._checked(name, _NAMED["value"], spot)
        return None if checked is None else {"system": self.feed.system, "value": checked}

    def _checked(self, value: object, field: ma.fields.Field[Any], spot: Spot) -> Any:
        try:
            return field.deserialize(value)
        except ma.ValidationError as error:
            self._fault(spot, 102, "; ".join(map(str, error.messages)))
            return None

    def _fault(self, spot: Spot, code: int, message: str) -> None:
        self.wrong.append(Wrong(spot, code, message))


def _meant() -> dict[str, Measured]:
    own = {"platelet-count": BY_CONTENT["platelet-count", None], "weight": BY_CONTENT["weight", None]}
    return own | {code: one for (_, code), one in BY_CONTENT.items() if code is not None}


_MEANT: Final = _meant()


def _identity(code: Field) -> str:
    """By what a result is known beside its order: a LOINC code of ours, wherever it stands; else the first code."""
    (first, system), (other, its_system) = codes = _codes(code)
    for number, named in codes:
        if named == _LOINC and number in BY_LOINC:
            return f"{number}^{_LOINC}"
    return "^".join((first or other, system or its_system))


def _codes(code: Field) -> tuple[tuple[str, str], tuple[str, str]]:
    """The two codes that a coded field may have, each with its system; a long field is not worth remembering."""
    return (_known_codes if len(code.raw) <= _LONGEST_KNOWN else _codes_of)(code)


def _codes_of(code: Field) -> tuple[tuple[str, str], tuple[str, str]]:
    return (code.part(1), code.part(3)), (code.part(4), code.part(6))


_known_codes: Final = lru_cache(maxsize=1024)(_codes_of)


def _numbered(order: _Order) -> tuple[str, Spot]:
    """The number of an order: the filler's, which is one for each specimen, else the placer's; and where it stands."""
    for field, kind in ((3, "F"), (2, "P")):
        for segment in (order.obr, order.orc):
            if segment is not None and (number := segment.part(field)):
                whose = segment.part(field, 2)
                return f"{kind}:{number}^{whose}" if whose else f"{kind}:{number}", segment.at(field)
    return "", order.obr.at(3)


def _tells_of_clumps(remarks: Iterable[str]) -> bool:
    return any(one and tells_of_clumps(one) for one in remarks)


def _saying(code: str, obx: Segment) -> Saying:
    match code:
        case "D" | "W":
            return Saying.TAKEN_BACK
        case "X":
            return Saying.CANCELLED
        case "U" if not obx.part(5) and not obx.part(5, 2):
            return Saying.NOW_FINAL
        case _:
            return Saying.RESULT


def _moment(text: str) -> Moment | None:
    """A time of HL7, to the day at least."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    day, to_the_fraction, to_the_second, offset = found.groups()
    try:
        on = date.fromisoformat(day)
        if (time := to_the_fraction or to_the_second) is None:
            return Moment(None, on)
        at = datetime.fromisoformat(f"{day}T{time}{offset or ''}")
    except ValueError:
        return None
    return Moment(at, on)
