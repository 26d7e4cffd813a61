"""Scopes of SMART on FHIR (SMART App Launch 2.2): `system/<type>.<letters>`.

The letters: c creates, r reads, u updates, d deletes, s searches. A scope narrows what an account may; it never adds to
it. What a route needs is written `<type>.<letter>`, several with spaces between, all of which must be there. A route
that stands for no resource is CLOSED to whoever comes by scopes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

LETTERS: Final = "cruds"
#: What no scope gives.
CLOSED: Final = "closed"
#: For each type the letters that some route needs; d is none of them, for nothing is deleted here.
MEANT: Final[Mapping[str, str]] = {
    "AdverseEvent": "crus",
    "AuditEvent": "rs",
    "Condition": "crus",
    "GuidanceResponse": "crus",
    "MedicationAdministration": "crus",
    "MedicationRequest": "crus",
    "Observation": "crus",
    "Organization": "crus",
    "Patient": "crus",
    "PlanDefinition": "rs",
    "Procedure": "crus",
    "Provenance": "rs",
    "Task": "rus",
}

_V1: Final[Mapping[str, str]] = {"read": "rs", "write": "cud", "*": LETTERS}
_SCOPE: Final = re.compile(r"system/(\*|[A-Z][A-Za-z]{0,63})\.(read|write|\*|[a-z]{1,5})")
_MOST: Final = 100
_LONGEST: Final = 4000
_QUOTED: Final = 80
_MOST_TOLD: Final = 20

Needs = tuple[str, ...]


class UnfitScopes(Exception):
    """Scopes that cannot be granted; `faults` says of each why, in ASCII and without quotation marks."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults: Final = tuple(faults)
        super().__init__("; ".join(self.faults))


class Scope(NamedTuple):
    """A scope: its type (`*` for all), its letters in order, and how it was written."""

    type: str
    letters: str
    text: str


def parse(text: str) -> list[Scope]:
    """The scopes of a text with spaces between; raises UnfitScopes with all that is wrong, for none as well."""
    words = text.split() if len(text) <= _LONGEST else []
    if not 0 < len(words) <= _MOST:
        raise UnfitScopes([f"there must be 1 to {_MOST} scopes of {_LONGEST} characters in all"])
    faults = [fault for word in words if (fault := _fault(word))]
    if faults:
        raise UnfitScopes(faults[:_MOST_TOLD])
    return [_read(word) for word in dict.fromkeys(words)]


def _read(word: str) -> Scope:
    name, _, access = word.removeprefix("system/").partition(".")
    return Scope(name, _V1.get(access, access), word)


def _fault(word: str) -> str:
    """What is wrong with a scope, if anything."""
    shown = re.sub(r"[^!#-\[\]-~]", "?", word[:_QUOTED])
    if not word.startswith("system/"):
        return f"{shown}: only scopes that begin with system/ are granted here"
    if "?" in word:
        return f"{shown}: parameters in a scope are not supported"
    found = _SCOPE.fullmatch(word)
    if found is None:
        return f"{shown}: must be system/, a type or *, a dot and letters of {LETTERS}"
    access = _V1.get(found[2], found[2])
    if access != "".join(letter for letter in LETTERS if letter in access):
        return f"{shown}: the letters must be of {LETTERS}, in that order, each once"
    return ""


def granted(asked: Iterable[Scope], registered: Iterable[Scope]) -> tuple[str, ...]:
    """What is asked for and registered, too, each in its shortest form: as it was asked for where that is all of it."""
    held = list(registered)
    found: dict[str, None] = {}
    for one in asked:
        parts = _within(one, held)
        if parts == {one.type: one.letters}:
            found[one.text] = None
        else:
            found |= dict.fromkeys(f"system/{name}.{letters}" for name, letters in parts.items())
    return tuple(found)


def _within(one: Scope, held: Iterable[Scope]) -> dict[str, str]:
    """The letters of a scope that are held, by type."""
    parts: dict[str, str] = {}
    for other in held:
        if "*" in (one.type, other.type) or one.type == other.type:
            name = other.type if one.type == "*" else one.type
            both = set(one.letters) & set(other.letters) | set(parts.get(name, ""))
            parts[name] = "".join(letter for letter in LETTERS if letter in both)
    return {name: letters for name, letters in parts.items() if letters}


def expanded(texts: Iterable[str]) -> frozenset[str]:
    """What granted scopes allow, a `<type>.<letter>` each."""
    return frozenset(f"{one.type}.{letter}" for text in texts for one in parse(text) for letter in one.letters)


def allows(allowed: frozenset[str], need: str) -> bool:
    """Whether what is allowed includes a need; CLOSED is no `<type>.<letter>`, so nothing does."""
    return need in allowed or f"*.{need.rpartition('.')[2]}" in allowed


def read_needs(text: str) -> Needs:
    """What a route needs; raises ValueError for a type or a letter that means nothing here."""
    needs = tuple(text.split())
    for need in needs:
        name, _, letter = need.partition(".")
        if need != CLOSED and (len(letter) != 1 or letter not in MEANT.get(name, "")):
            raise ValueError(f"no such need: {need}")
    return needs


def wanted(needs: Iterable[str]) -> str:
    """The scopes that needs ask for, with spaces between; empty where none would do."""
    return " ".join(f"system/{need}" for need in needs if need != CLOSED)
