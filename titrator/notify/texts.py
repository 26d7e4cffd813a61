"""Texts: what is told, to whom, as data. Each kind of reminder has a subject and a body for staff, some for patients.

A patient's text may be read by anyone who looks at the telephone. So it can be filled with the clinic and the day and
nothing else, whatever an installation writes.

The shipped texts stand in `texts/`. An installation may lay its own over them, whole or in parts, in any language; what
a translation lacks is told in English.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import Final, NamedTuple

from titrator.notify.base import InvalidTexts

_SHIPPED: Final = Path(__file__).parent / "texts"
_FALLBACK: Final = "en"
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Z]{2})?")
_LARGEST_FILE: Final = 100_000  # bytes
_PARTS: Final = ("subject", "body")
_WEEKDAYS: Final = "weekdays"


class Audience(StrEnum):
    """Who is told."""

    PATIENT = "patient"
    STAFF = "staff"


class MessageKind(StrEnum):
    """What is told; those of the first group are told to patients, too."""

    DOSE_DUE = "dose-due"
    COUNT_DUE = "count-due"
    MONTHLY_COUNT = "monthly-count"
    HOLD_RE_CHECK = "hold-re-check"
    FOLLOW_UP_COUNT = "follow-up-count"
    DOSE_OVERDUE = "dose-overdue"
    COUNT_OVERDUE = "count-overdue"
    WEIGHT_DUE = "weight-due"
    TEST = "test"

    SIGN_OFF = "sign-off"
    SECOND_SIGNATURE = "second-signature"
    RE_OPENED = "re-opened"
    REFERRAL = "referral"
    NO_ANSWER = "no-answer"
    PAUSED_REVIEW = "paused-review"
    DIGEST = "digest"
    WEEK_PLAN = "week-plan"
    FEED_SILENT = "feed-silent"


#: What is told to patients.
FOR_PATIENTS: Final = frozenset(list(MessageKind)[:9])

_FOR_ALL: Final = frozenset({"clinic", "day", "due_on"})
#: What the text of a reminder may be filled with.
PLACEHOLDERS: Final[Mapping[Audience, frozenset[str]]] = MappingProxyType(
    {
        Audience.PATIENT: _FOR_ALL,
        Audience.STAFF: _FOR_ALL | {"number", "link", "overdue_days", "details"},
    }
)
_SUMMARY: Final = frozenset({"clinic", "day", "lines", "link"})
#: What other texts may be filled with.
_OTHERS: Final[Mapping[tuple[MessageKind, Audience], frozenset[str]]] = MappingProxyType(
    {
        (MessageKind.DIGEST, Audience.STAFF): _SUMMARY,
        (MessageKind.WEEK_PLAN, Audience.STAFF): _SUMMARY,
        (MessageKind.FEED_SILENT, Audience.STAFF): _SUMMARY,
        (MessageKind.TEST, Audience.STAFF): frozenset({"clinic", "link"}),
        (MessageKind.TEST, Audience.PATIENT): frozenset({"clinic"}),
    }
)
#: What an installation may choose not to tell: the text has nothing in its place.
_MAY_LACK: Final = frozenset({"details"})
_NOT_TO_PATIENTS: Final = re.compile("romiplo|nplate|romiplate|thrombo|platelet", re.IGNORECASE)


class Text(NamedTuple):
    """A subject and a body, with their placeholders."""

    subject: str
    body: str


_Key = tuple[MessageKind, Audience]


def placeholders(kind: MessageKind, audience: Audience) -> frozenset[str]:
    """What a text may be filled with."""
    return _OTHERS.get((kind, audience), PLACEHOLDERS[audience])


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """The texts of one language."""

    texts: Mapping[_Key, Text]
    weekdays: tuple[str, ...]

    @classmethod
    def load(cls, language: str, folder: Path | None = None) -> Texts:
        """The texts of a language, with those of an installation's folder over them; raises InvalidTexts."""
        if not _LANGUAGE.fullmatch(language):
            raise InvalidTexts(["a language is written as en or pt-BR"])
        own = [path for path in _files(language, folder) if path.stem == language]
        if not own:
            raise InvalidTexts([f"there are no texts in the language {language}: neither shipped nor in the folder"])
        faults: list[str] = []
        parts: dict[tuple[_Key, str], str] = {}
        weekdays: tuple[str, ...] = ()
        for path in _files(language, folder):
            document = _read(path, faults)
            weekdays = _days(document.pop(_WEEKDAYS, None), path, faults) or weekdays
            parts.update(_parts(document, path, faults))
        if faults:
            raise InvalidTexts(faults)
        keys = {key for key, _ in parts}
        return cls(texts={key: Text(parts[key, "subject"], parts[key, "body"]) for key in keys}, weekdays=weekdays)

    def day(self, day: date) -> str:
        """A day in words that mean the same in every country: 2026-03-09, Monday."""
        return f"{day.isoformat()}, {self.weekdays[day.weekday()]}"

    def render(self, kind: MessageKind | str, audience: Audience | str, values: Mapping[str, str]) -> Text:
        """The subject, in one line, and the body, filled with values; those a text has no use for may be given.

        A value that the text needs and that is not given is a fault of the caller, as is a kind that this audience is
        not told: ValueError. Lines that would be empty for want of a value are left out.
        """
        key = (MessageKind(kind), Audience(audience))
        text = self.texts.get(key)
        if text is None:
            raise ValueError(f"there is no text of {key[0]} for {key[1]}")
        told = {name: value for name, value in values.items() if name in placeholders(*key)}
        wanted = {name for part in text for name in Template(part).get_identifiers()}
        if missing := wanted - _MAY_LACK - told.keys():
            raise ValueError(f"{key[0]} for {key[1]} needs {', '.join(sorted(missing))}")
        told = dict.fromkeys(_MAY_LACK, "") | told
        return Text(" ".join(Template(text.subject).substitute(told).split()), _filled(text.body, told))


def _filled(body: str, values: Mapping[str, str]) -> str:
    """The body with its values; a line that has placeholders and nothing else, and no value for them, is left out."""
    lines = []
    for line in body.strip().split("\n"):
        filled = Template(line).substitute(values).rstrip()
        if filled or not line.strip():
            lines.append(filled)
    return "\n".join(lines)


def _files(language: str, folder: Path | None) -> list[Path]:
    """The files of a language, from the ground up: English, the language, each as shipped and then as laid over."""
    folders = [_SHIPPED, *([folder] if folder else [])]
    paths = [place / f"{name}.toml" for name in dict.fromkeys((_FALLBACK, language)) for place in folders]
    return [path for path in paths if path.exists()]


def _read(path: Path, faults: list[str]) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) <= _LARGEST_FILE:
            return tomllib.loads(content.decode())
        faults.append(f"{path}: larger than {_LARGEST_FILE} bytes")
    except OSError as error:
        faults.append(f"{path}: cannot be read: {error.strerror}")
    except (ValueError, RecursionError) as error:
        faults.append(f"{path}: not TOML: {error}")
    return {}


def _days(value: object, path: Path, faults: list[str]) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, list) and len(value) == 7 and all(isinstance(day, str) and _is_line(day) for day in value):
        return tuple(value)
    faults.append(f"{path}: {_WEEKDAYS}: must be seven names, from Monday on")
    return ()


def _parts(document: Mapping[str, object], path: Path, faults: list[str]) -> dict[tuple[_Key, str], str]:
    """The subjects and bodies of a file; its faults are added to those of the others."""
    parts = {}
    for place, value in _leaves(document):
        fault, key = _place_fault(place), ".".join(place)
        if fault is None:
            fault = _text_fault(place, value)
        if fault is not None:
            faults.append(f"{path}: {key}: {fault}")
        else:
            parts[(MessageKind(place[0]), Audience(place[1])), place[2]] = str(value)
    return parts


def _leaves(value: object, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """What stands in a file, each with its place; nothing is looked for deeper than a subject or a body can be."""
    if isinstance(value, dict) and value and len(place) < 3:
        for name, item in value.items():
            yield from _leaves(item, (*place, name))
    elif place:
        yield place, value


def _place_fault(place: tuple[str, ...]) -> str | None:
    kind, audience, part = (*place, "", "")[:3]
    if kind not in set(MessageKind):
        return f"unknown kind; there are {', '.join(MessageKind)}"
    if audience not in set(Audience):
        return "must be a table with patient or staff"
    if audience == Audience.PATIENT and kind not in FOR_PATIENTS:
        return "patients are not told of this"
    return None if part in _PARTS else "must be a table with subject and body"


def _text_fault(place: tuple[str, ...], text: object) -> str | None:
    """Why a subject or a body will not do."""
    if not isinstance(text, str) or not text.strip():
        return "must be a text"
    if place[2] == "subject" and not _is_line(text):
        return "must be one line"
    template, kind, audience = Template(text), MessageKind(place[0]), Audience(place[1])
    if not template.is_valid():
        return "has a $ that begins no placeholder; a dollar sign is written $$"
    may = placeholders(kind, audience)
    if unknown := set(template.get_identifiers()) - may:
        known = ", ".join(f"${name}" for name in sorted(may))
        named = ", ".join(f"${name}" for name in sorted(unknown))
        return f"unknown placeholder {named}; in {kind} for {audience} there are {known}"
    if audience is Audience.PATIENT and _NOT_TO_PATIENTS.search(text):
        return "names the medicine or the illness, which a patient's text must not"
    return None


def _is_line(text: str) -> bool:
    return len(text.splitlines()) == 1 and bool(text.strip())
