"""Worked examples of a protocol: courses with the answers that they must get, run against the engine.

They stand beside the protocol, as `<id>.examples.toml`; docs/protocols.md describes the form. A protocol one of whose
examples fails is refused, so that neither the file nor the engine can drift unnoticed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from titrator.protocols.files import read_toml
from titrator.titration.answer import to_document
from titrator.titration.course import read_document
from titrator.titration.documents import join, printable, shown
from titrator.titration.errors import Fault, InvalidInput, InvalidProtocol
from titrator.titration.protocol import Protocol
from titrator.titration.recommend import Recommendation, recommend


class Example(NamedTuple):
    """A worked course: its name, the setting that it guards, the course document and what the answer must be."""

    name: str
    limit: str
    document: Mapping[str, object]
    expected: Mapping[str, object]


class Outcome(NamedTuple):
    """What an example got: nothing in `wrong` when it got what it must."""

    example: Example
    wrong: str


def read_examples(path: Path, protocol_id: str) -> list[Example]:
    """The examples of a file; raises InvalidProtocol where it is no such file, with its name in the path."""
    name = printable(path.name)[1:-1]
    try:
        document = read_toml(path)[0]
    except InvalidProtocol as error:
        raise InvalidProtocol([Fault(name, fault.message) for fault in error.faults]) from None
    entries, base = document.get("example"), document.get("base", {})
    if not isinstance(base, dict) or not isinstance(entries, list) or not entries:
        raise InvalidProtocol([Fault(name, "must have a table [base] and at least one [[example]]")])
    return [_example(entry, index, base | {"protocol": protocol_id}) for index, entry in enumerate(entries)]


def _example(entry: object, index: int, base: dict[str, object]) -> Example:
    match entry:
        case {"name": str(name), "limit": str(limit), "expect": dict(expected), **rest} if rest.keys() <= {"course"}:
            course = rest.get("course", {})
            if isinstance(course, dict):
                return Example(name, limit, base | course, expected)
    raise InvalidProtocol(
        [Fault(f"example[{index}]", "must have name, limit and expect, and at most a table course beside")]
    )


def run(protocol: Protocol, example: Example) -> Outcome:
    """Answer an example and say in what the answer differs."""
    try:
        request = read_document(dict(example.document), lambda _: None)
    except InvalidInput as error:
        return Outcome(example, str(error))
    got = _comparable(recommend(protocol, request.course, request.on))
    different = [
        key for key in sorted(got.keys() | example.expected.keys()) if got.get(key) != example.expected.get(key)
    ]
    return Outcome(
        example,
        "; ".join(f"{join('', key)}: {_told(got, key)}, not {_told(example.expected, key)}" for key in different),
    )


def run_examples(protocol: Protocol, path: Path) -> list[Outcome]:
    """Run all examples of a file, none if there is no such file; raises InvalidProtocol where it cannot be read."""
    return [run(protocol, example) for example in read_examples(path, protocol.id)] if os.path.lexists(path) else []


def _told(values: Mapping[str, object], key: str) -> str:
    return _in_words(values[key]) if key in values else "nothing"


def _in_words(value: object) -> str:
    """A value of an answer, or of whatever else a file expects, escaped where a terminal might obey it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_in_words, value))}]"
    return shown(value)


def _comparable(answer: Recommendation) -> dict[str, object]:
    document = to_document(answer)
    dose = answer.dose
    values: dict[str, object] = {
        "action": document["action"],
        "reasons": [str(code) for code in answer.reasons],
        "alerts": [str(code) for code in answer.alerts],
        "due_on": document["due_on"],
        "next_count_on": document["next_count_on"],
    }
    if dose is not None:
        values |= {
            "micrograms_per_kg": dose.level,
            "micrograms": dose.micrograms,
            "volume_ml": dose.volume,
            "vials": [[Decimal(vials.size), Decimal(vials.number)] for vials in dose.vials],
        }
    return {key: value for key, value in values.items() if value is not None}
