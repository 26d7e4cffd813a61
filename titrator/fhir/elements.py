"""The elements of a resource, read strictly: each by its place, every fault with its path, all at once.

A path is a FHIRPath expression: `Observation.value.unit`, `Bundle.entry[2].resource.status`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, tzinfo
from typing import Any, Final, NamedTuple, TypeVar, cast
from zoneinfo import ZoneInfo

import marshmallow as ma

from schemas.fhir import CHOICES, ELEMENTS
from schemas.fields import kind_of
from titrator.titration.documents import decode
from titrator.titration.errors import Fault, InvalidDocument

T = TypeVar("T")

#: Objects within objects of a resource, and of a Bundle of them, lie at most so many levels down.
DEEPEST: Final = 24
#: So many faults are told: to look for more would take ever longer.
MOST_FAULTS: Final = 1000
LONGEST_TEXT: Final = 5000
_SHOWN: Final = 40
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_WITHOUT_SECONDS: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?:Z|[+-]\d\d:\d\d)", re.ASCII)
#: An instant as FHIR has it, with seconds.
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_HALVES: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_MODIFIERS: Final = ("modifierExtension", "implicitRules")
#: One of these is in each JSON text with such a key, of which any letter may be written as an escape.
_OF_MODIFIERS: Final = tuple(name.encode() for name in _MODIFIERS)
_ESCAPED: Final = (rb"\u004", rb"\u005", rb"\u006", rb"\u007")


def decoded(data: bytes) -> object:
    """The value of a JSON text of another system; raises InvalidDocument, for halves of characters, too."""
    value = decode(data, DEEPEST)
    if _HALVES.search(data) and not _is_whole(value):
        raise InvalidDocument(
            [Fault("", "not JSON of whole characters: a half of one, like \\ud800, stands in a text")]
        )
    return value


def _is_whole(value: object) -> bool:
    """Whether all texts can be written as UTF-8."""
    if isinstance(value, str):
        return not any("\ud800" <= sign <= "\udfff" for sign in value)
    if isinstance(value, dict):
        return all(_is_whole(key) and _is_whole(item) for key, item in value.items())
    return not isinstance(value, list) or all(map(_is_whole, value))


class Moment(NamedTuple):
    """When something happened: the day at the clinic, and the instant as it was written, if one was.

    One that was written otherwise than FHIR has it, without seconds, is written anew.
    """

    day: str
    at: str | None


class Place:
    """A value of a resource and where it stands; what is wrong with it goes to the `faults` of the whole."""

    __slots__ = ("_key", "_under", "faults", "value")

    def __init__(self, value: object, path: str | int, faults: list[Fault], under: Place | None = None) -> None:
        self.value, self.faults, self._key, self._under = value, faults, path, under

    @property
    def path(self) -> str:
        """Where it stands. It is put together only where it is asked for: most of a resource is as it should be."""
        if self._under is None:
            return str(self._key)
        return f"{self._under.path}[{self._key}]" if isinstance(self._key, int) else f"{self._under.path}.{self._key}"

    def __getitem__(self, key: str) -> Place:
        """The element of a name; absent where this one is."""
        value = self.value
        if type(value) is dict:
            return Place(value.get(key), key, self.faults, self)
        if value is not None:
            self.wrong(f"must be an object, not {kind_of(value)}")
        return Place(None, key, self.faults, self)

    def __iter__(self) -> Iterator[Place]:
        """The items of a list; none where it is absent."""
        return (Place(item, index, self.faults, self) for index, item in enumerate(self.items()))

    def items(self) -> list[object]:
        """The values of a list; none where it is absent."""
        if isinstance(self.value, list):
            return self.value
        if self.value is not None:
            self.wrong(f"must be a list, not {kind_of(self.value)}")
        return []

    @property
    def there(self) -> bool:
        """Whether there is anything."""
        return self.value is not None

    def wrong(self, message: str) -> None:
        """Say what is wrong here."""
        if len(self.faults) < MOST_FAULTS and (fault := Fault(self.path, message)) not in self.faults:
            self.faults.append(fault)

    def choice(self, name: str, *types: str) -> Place:
        """The element of a choice of types, as `valueQuantity`, by the name without the type; one that is taken."""
        parent = self.value if isinstance(self.value, dict) else {}
        there = (key for key, value in parent.items() if value is not None)
        keys = [key for key in there if key.startswith(name) and key[len(name) : len(name) + 1].isupper()]
        if len(keys) == 1 and keys[0][len(name) :] in types:
            return Place(parent[keys[0]], name, self.faults, self)
        absent = Place(None, name, self.faults, self)
        if len(keys) > 1:
            absent.wrong(f"must be one, not several: {', '.join(sorted(keys))}")
        elif keys:
            absent.wrong(f"{keys[0]} is not taken; send {', '.join(name + t for t in types)}")
        return absent

    def text(self) -> str | None:
        """A text, None where there is none. A name or a code as long as a book is a fault: it is searched for words."""
        if isinstance(self.value, str) and len(self.value) > LONGEST_TEXT:
            self.wrong(f"must have at most {LONGEST_TEXT} characters")
            return None
        if self.value is None or isinstance(self.value, str):
            return self.value
        self.wrong(f"must be a text, not {kind_of(self.value)}")
        return None

    def flag(self) -> bool | None:
        """True or false, None where it is absent."""
        if self.value is None or isinstance(self.value, bool):
            return self.value
        self.wrong(f"must be true or false, not {kind_of(self.value)}")
        return None

    def field(self, field: ma.fields.Field[Any]) -> Any:
        """What a field of our schemas makes of it; None where it is absent or at fault."""
        if self.value is None:
            return None
        try:
            return field.deserialize(self.value)
        except ma.ValidationError as error:
            self.wrong("; ".join(map(str, error.messages)))
            return None

    def required(self, found: T | None) -> T | None:
        """What was found here; that nothing was is a fault, unless there was something that is at fault already."""
        if found is None and self.value is None:
            self.wrong("required")
        return found

    def one_of(self, options: Sequence[str]) -> str | None:
        """One of some codes."""
        found = self.required(self.text())
        if found is not None and found not in options:
            self.wrong(f"must be one of {', '.join(options)}")
            return None
        return found

    def moment(self, zone: ZoneInfo) -> Moment | None:
        """A date, or an instant with its offset, as the day at a clinic."""
        text = self.required(self.text())
        if text is None:
            return None
        found = moment_of(text, zone)
        if found is None:
            self.wrong("must be a whole date, YYYY-MM-DD, or an instant with its offset, YYYY-MM-DDThh:mm:ss+hh:mm")
        return found


def moment_of(text: str, zone: tzinfo) -> Moment | None:
    """What a date, or an instant with its offset, is at a clinic; None if a text is neither."""
    try:
        if _DAY.fullmatch(text):
            return Moment(date.fromisoformat(text).isoformat(), None)
        if _INSTANT.fullmatch(text):
            return Moment(datetime.fromisoformat(text).astimezone(zone).date().isoformat(), text)
        if _WITHOUT_SECONDS.fullmatch(text):
            instant = datetime.fromisoformat(text)
            return Moment(instant.astimezone(zone).date().isoformat(), instant.isoformat())
    except (ValueError, OverflowError):
        pass
    return None


def day_of(text: str, zone: tzinfo) -> str:
    """The day of a date or an instant at a clinic; empty if it is neither."""
    found = moment_of(text, zone)
    return "" if found is None else found.day


def root(resource: object, kind: str, faults: list[Fault], path: str | None = None) -> Place:
    """A resource of a type; raises nothing, but tells what of it could not be understood as that type at all."""
    place = Place(resource, path or kind, faults)
    if not isinstance(resource, dict):
        place.wrong(f"must be a resource, not {kind_of(resource)}")
        return Place({}, place.path, faults)
    if resource.get("resourceType") != kind:
        Place(None, f"{place.path}.resourceType", faults).wrong(f"must be {kind}")
    _refuse_unknown(place, resource, kind)
    if is_modified(resource):
        _refuse_modifiers(resource, place.path, faults)
    return place


def coding_codes(concept: Place) -> list[tuple[str | None, str]]:
    """The codings of a CodeableConcept, each as system and code."""
    if (plain := plain_codes(concept.value)) is not None:
        return plain
    found = []
    for coding in concept["coding"]:
        code = coding["code"].text()
        if code is not None:
            found.append((coding["system"].text(), code))
    return found


def plain_codes(concept: object) -> list[tuple[str | None, str]] | None:
    """The codings of a concept of which nothing is at fault: most by far; None of any other."""
    codings = concept.get("coding") if type(concept) is dict else None
    if type(codings) is not list:
        return None
    found = []
    for one in codings:
        if type(one) is not dict:
            return None
        system, code = one.get("system"), one.get("code")
        if type(code) is not str or not (system is None or type(system) is str):
            return None
        found.append((system, code))
    return found


def texts_of(concept: Place) -> str:
    """All that a CodeableConcept says in words."""
    said = [concept["text"].text(), *(coding["display"].text() for coding in concept["coding"])]
    return " ".join(text for text in said if text)


def _refuse_unknown(place: Place, resource: Mapping[str, object], kind: str) -> None:
    known = _KNOWN[kind]
    for key in resource:
        if key in known:
            continue
        name = key.removeprefix("_")
        of_choice = (choice for choice in _CHOICES_OF[kind] if name.startswith(choice))
        if name in known or any(name[len(one) : len(one) + 1].isupper() for one in of_choice):
            continue
        Place(None, f"{place.path}.{key[:_SHOWN]}", place.faults).wrong(f"unknown element of {kind}")


_KNOWN: Final = {kind: frozenset(elements.split()) - frozenset(CHOICES) for kind, elements in ELEMENTS.items()}
_CHOICES_OF: Final = {kind: frozenset(elements.split()) & frozenset(CHOICES) for kind, elements in ELEMENTS.items()}


def may_be_modified(data: bytes) -> bool:
    """Whether a JSON text may have a resource that `is_modified`; most have not, and need not be walked through."""
    marks = (*_OF_MODIFIERS, *_ESCAPED) if b"\\" in data else _OF_MODIFIERS
    return any(mark in data for mark in marks)


def is_modified(resource: Mapping[str, object]) -> bool:
    """Whether anything in a resource, but for what it contains, may turn its meaning round."""
    rest: list[object] = [resource]
    while rest:
        value = rest.pop()
        if type(value) is dict:
            if "modifierExtension" in value or "implicitRules" in value:
                return True
            rest += [item for item in value.values() if type(item) is dict or type(item) is list]
        else:
            rest += [item for item in cast("list[object]", value) if type(item) is dict or type(item) is list]
    return False


def _refuse_modifiers(value: object, path: str, faults: list[Fault]) -> None:
    """Refuse what might turn the meaning of a resource round: of such extensions none is known here."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in _MODIFIERS:
                said = "none is known here, and one may change what all else means"
                faults.append(Fault(f"{path}.{key}", said))
            elif isinstance(item, dict | list) and key != "contained":
                _refuse_modifiers(item, f"{path}.{key}", faults)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                _refuse_modifiers(item, f"{path}[{index}]", faults)
