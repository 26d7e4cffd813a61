"""A message as segments, fields, components; and its acknowledgement. Pure.

What separates them, MSH-1 and MSH-2 of the message itself say. A text is decoded as MSH-18 says, and only then are its
escapes taken out, so that an escaped separator is never one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

#: By what MSH-18 may say: the codec. Where it says nothing, HL7 has it be ASCII.
CHARACTER_SETS: Final = {"": "ascii", "ASCII": "ascii", "8859/1": "latin-1", "UNICODE UTF-8": "utf-8"}
VERSIONS: Final = ("2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.1", "2.8.2")
#: Until this version an acknowledgement tells a place in ERR-1, from it on in ERR-2 and further.
_NEW_ERRORS: Final = (2, 5)
#: What is wrong, by HL7's table 0357.
ERRORS: Final = {
    100: "Segment sequence error",
    101: "Required field missing",
    102: "Data type error",
    103: "Table value not found",
    104: "Value too long",
    200: "Unsupported message type",
    202: "Unsupported processing id",
    203: "Unsupported version id",
    204: "Unknown key identifier",
    205: "Duplicate key identifier",
    207: "Application internal error",
}
LONGEST_CONTROL_ID: Final = 199
_SEGMENT: Final = re.compile(r"[A-Z][A-Z0-9]{2}", re.ASCII)
_ESCAPE: Final = "\\"
_SPECIAL: Final = re.compile(r"[\\|^~&\r\n]")
_SHOWN_FAULTS: Final = 50


class Spot(NamedTuple):
    """A place in a message: the n-th segment of a name, from 1, and a field of it; 0 for the segment as a whole."""

    segment: str
    number: int
    field: int = 0

    def __str__(self) -> str:
        """As it is told: MSH-9, OBX[2]-5."""
        which = self.segment if self.segment == "MSH" else f"{self.segment}[{self.number}]"
        return f"{which}-{self.field}" if self.field else which


class Wrong(NamedTuple):
    """What is wrong with a place; `code` is of ERRORS. A `warning` keeps nothing from being taken."""

    spot: Spot
    code: int
    message: str
    warning: bool = False

    def __str__(self) -> str:
        """As it is told to people."""
        return f"{self.spot}: {self.message}"


class Unreadable(Exception):
    """It is no message, or is in characters that are not read."""

    def __init__(self, wrong: Wrong, control_id: str = "", version: str = "") -> None:
        super().__init__(str(wrong))
        self.wrong, self.control_id, self.version = wrong, control_id, version


_NO_HEAD: Final = Wrong(Spot("MSH", 1), 100, "must come first, with its separators in MSH-1 and MSH-2")


class Separators(NamedTuple):
    """What stands between fields, components, repetitions and subcomponents, and what begins an escape."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = _ESCAPE
    subcomponent: str = "&"


class Field(NamedTuple):
    """A field as it was sent, read by its separators. Components and subcomponents are counted from 1."""

    raw: str
    by: Separators

    @property
    def text(self) -> str:
        """All of it as text, its escapes taken out; a line for each repetition."""
        if self.by.repetition not in self.raw and self.by.escape not in self.raw:
            return self.raw
        return "\n".join(_unescaped(one, self.by) for one in self.raw.split(self.by.repetition))

    @property
    def repetitions(self) -> list[Field]:
        """Each of its repetitions; none where it is empty."""
        return [Field(one, self.by) for one in self.raw.split(self.by.repetition)] if self.raw else []

    def part(self, component: int, subcomponent: int = 1) -> str:
        """A component's subcomponent, without spaces around it; empty where there is none, or HL7's null."""
        return _part(self.raw, self.by, component, subcomponent) if self.raw else ""

    @property
    def components(self) -> int:
        """How many components its first repetition has."""
        return self.raw.split(self.by.repetition, 1)[0].count(self.by.component) + 1


def _part(raw: str, by: Separators, component: int, subcomponent: int) -> str:
    """A component's subcomponent of a field as it was sent, which says something; of most there is just one."""
    if raw.isalnum():  # nothing separates it and nothing in it is escaped: no mark is a letter or a digit
        return raw if component == subcomponent == 1 else ""
    _, component_mark, repetition_mark, escape, subcomponent_mark = by
    if repetition_mark in raw:
        raw = raw.split(repetition_mark, 1)[0]
    if component_mark in raw:
        parts = raw.split(component_mark)
        if component > len(parts):
            return ""
        found = parts[component - 1]
    elif component > 1:
        return ""
    else:
        found = raw
    if subcomponent_mark in found or subcomponent > 1:
        pieces = found.split(subcomponent_mark)
        found = pieces[subcomponent - 1] if subcomponent <= len(pieces) else ""
    text = (_unescaped(found, by) if escape in found else found).strip()
    return "" if text == '""' else text


@dataclass(slots=True)
class Segment:
    """A segment: its name, the how manieth of that name it is in the message, its fields as they were sent."""

    name: str
    number: int
    fields: Sequence[str]
    by: Separators

    def __getitem__(self, field: int) -> Field:
        """A field by its number; an empty one where there is none."""
        return Field(self.fields[field] if field < len(self.fields) else "", self.by)

    def part(self, field: int, component: int = 1, subcomponent: int = 1) -> str:
        """A part of a field, as `self[field].part` gives it."""
        fields = self.fields
        raw = fields[field] if field < len(fields) else ""
        return _part(raw, self.by, component, subcomponent) if raw else ""

    def at(self, field: int = 0) -> Spot:
        """The place of a field."""
        return Spot(self.name, self.number, field)


class Message(NamedTuple):
    """A message: its segments, MSH first, and what is wrong with segments as such."""

    segments: Sequence[Segment]
    wrong: Sequence[Wrong]

    @property
    def head(self) -> Segment:
        """MSH."""
        return self.segments[0]

    @property
    def control_id(self) -> str:
        """MSH-10."""
        return self.head[10].text.strip()


def read_message(sent: bytes) -> Message:
    """A message of the bytes that were sent; raises Unreadable.

    Segments end with a carriage return; a line feed after it, or in its place throughout, is passed over.
    """
    first = sent.replace(b"\n", b"\r").split(b"\r", 1)[0].decode("latin-1")
    by = _separators(first)
    head = _segment(first, 1, by)
    codec = CHARACTER_SETS.get(head[18].raw.strip())
    if codec is None:
        said = f"must be one of {', '.join(filter(None, CHARACTER_SETS))}, or empty for ASCII"
        raise _unreadable(head, 103, said)
    try:
        text = sent.decode(codec)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # a zero byte is of no character set, and of no text of a database
        raise _unreadable(head, 102, f"the message has bytes that are not {codec}; say here what they are")
    lines = text.replace("\r\n", "\r").split("\r") if "\r" in text else text.split("\n")
    message = _message([line for line in lines if line.strip()], by)
    if not message.segments or message.segments[0].name != "MSH":  # as its characters have it, the separator is another
        raise Unreadable(_NO_HEAD)
    return message


def _unreadable(head: Segment, code: int, said: str) -> Unreadable:
    """That the characters of a message are not read, with what its head tells all the same."""
    return Unreadable(Wrong(head.at(18), code, said), head[10].text.strip(), head.part(12))


def _message(lines: Sequence[str], by: Separators) -> Message:
    segments: list[Segment] = []
    wrong: list[Wrong] = []
    counts: dict[str, int] = {}
    for place, line in enumerate(lines, 1):
        name = line[:3]
        if not _SEGMENT.fullmatch(name) or line[3:4] not in ("", by.field) or (name == "MSH" and place > 1):
            wrong.append(Wrong(Spot("MSH", 1), 100, f"line {place} of the message is no segment that may stand there"))
            continue
        counts[name] = counts.get(name, 0) + 1
        segments.append(_segment(line, counts[name], by))
    return Message(segments, wrong)


def _separators(first: str) -> Separators:
    """What MSH-1 and MSH-2 say; raises Unreadable."""
    signs = first[3:4] + first[4:].split(first[3:4], 1)[0] if len(first) > 4 else ""
    by = _separators_of(signs) if first.startswith("MSH") and len(signs) in (5, 6) else None
    if by is None:
        raise Unreadable(_NO_HEAD)
    return by


@lru_cache(maxsize=64)
def _separators_of(signs: str) -> Separators | None:
    """What five or six signs are; a sixth stands for what was cut off. None where they cannot be told apart."""
    if len(set(signs)) < len(signs) or any(sign.isalnum() or not sign.isprintable() for sign in signs):
        return None
    return Separators(*signs[:5])


def _segment(line: str, number: int, by: Separators) -> Segment:
    """A segment with its name as field 0; the first field of MSH is the separator itself."""
    fields = line.split(by.field)
    if fields[0] == "MSH":
        fields.insert(1, by.field)
    return Segment(fields[0], number, fields, by)


def _unescaped(text: str, by: Separators) -> str:
    """A text without its escapes; one that is not known stays as it was sent."""
    if by.escape not in text:
        return text
    known = {"F": by.field, "S": by.component, "R": by.repetition, "E": by.escape, "T": by.subcomponent}
    known |= {".br": "\n", ".sp": "\n", "H": "", "N": ""}
    said: list[str] = []
    rest = text
    while True:
        before, found, rest = rest.partition(by.escape)
        said.append(before)
        if not found:
            return "".join(said)
        name, closed, after = rest.partition(by.escape)
        if not closed:
            return "".join([*said, found, rest])
        said.append(known.get(name, f"{by.escape}{name}{by.escape}"))
        rest = after


def escaped(text: str) -> str:
    """A text as it stands in a field of ours, in the usual separators."""
    if not _SPECIAL.search(text):
        return text
    signs = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "&": "\\T\\", "\n": "\\.br\\", "\r": "\\.br\\"}
    return "".join(signs.get(sign, sign) for sign in text)


def acknowledge(  # noqa: PLR0913 (all that an acknowledgement says)
    code: str,
    wrong: Sequence[Wrong] = (),
    *,
    head: Segment | None = None,
    control_id: str,
    version: str,
    own_id: str,
    now: datetime,
) -> str:
    """An acknowledgement: MSH, MSA and an ERR for each thing that is wrong, in the usual separators."""
    version = version if version in VERSIONS else "2.5.1"
    swapped = ["", "", "", ""] if head is None else [escaped(head.part(place)) for place in (5, 6, 3, 4)]
    said = f"MSH|^~\\&|{'|'.join(swapped)}|{_time(now)}||ACK^R01^ACK|{own_id}|P|{version}||||||UNICODE UTF-8\r"
    errors = [one for one in wrong if not one.warning]
    text = escaped(f"{errors[0]}{f' (and {len(errors) - 1} more)' if errors[1:] else ''}"[:80]) if errors else ""
    said += f"MSA|{code}|{escaped(control_id)}{f'|{text}' if text else ''}\r"
    return said + "".join(_error(one, version) for one in wrong[:_SHOWN_FAULTS])


@lru_cache(maxsize=16)
def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")


def _error(wrong: Wrong, version: str) -> str:
    spot, number = wrong.spot, f"{wrong.code}"
    place = "^".join([spot.segment, str(spot.number), *([str(spot.field)] if spot.field else [])])
    if tuple(int(part) for part in version.split(".")[:2]) < _NEW_ERRORS:
        return f"ERR|{spot.segment}^{spot.number}^{spot.field or ''}^{number}&{ERRORS[wrong.code]}&HL70357\r"
    severity = "W" if wrong.warning else "E"
    return f"ERR||{place}|{number}^{ERRORS[wrong.code]}^HL70357|{severity}||||{escaped(str(wrong))}\r"
