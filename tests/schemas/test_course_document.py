"""The schema of course documents and the parser of the engine: two descriptions of one thing.

The parser decides. The schema is what clients read in the OpenAPI document, so it may be the wider one where no schema
can tell the bounds, never the narrower one: where it sees a fault, the engine sees one. WIDER has every way in which it
is wider; anywhere else they see the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import marshmallow as ma
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.course import CourseDocument
from schemas.event import KINDS
from schemas.fields import COUNT_UNITS, WEIGHT_UNITS
from tests.support import CATALOGUE
from tests.titration import test_course as tables
from titrator.door import faults_of
from titrator.titration.course import EventKind, read_document
from titrator.titration.documents import decode, encode, exact
from titrator.titration.errors import InvalidDocument
from titrator.titration.quantities import GIGA_PER_LITRE_PER, KILOGRAMS_PER

GOLDEN = Path(__file__).parents[1] / "golden" / "courses.ndjson"
SCHEMA = CourseDocument()
# What only the engine refuses, by the path and the words of its fault: bounds in base units, digits once converted, and
# the name of a protocol that is not there.
WIDER = (
    (r"(weights|platelet_counts)\[\d+\]\.value", r"must be from .* to .* (kg|10\*9/L), not .*"),
    (r"(weights|platelet_counts)\[\d+\]\.value", r"must have at most 24 digits after the point in .*"),
    (r"protocol", r"unknown protocol; .*"),
)


def find_protocol(ident: str) -> str | None:
    return None if ident == "known" else CATALOGUE.fault(ident)


def refused_by_engine(document: object) -> list[tuple[str, str]]:
    """The paths and words of its faults."""
    try:
        read_document(document, find_protocol)
    except InvalidDocument as error:
        return [(fault.path, fault.message) for fault in error.faults]
    return []


def refused_by_schema(document: object) -> set[str]:
    """The paths of its faults."""
    try:
        SCHEMA.load(document)  # type: ignore[arg-type]
    except ma.ValidationError as error:
        return {fault.path for fault in faults_of(error.messages)}
    return set()


def only_of_the_engine(path: str, words: str) -> bool:
    return any(re.fullmatch(place, path) and re.fullmatch(says, words, re.DOTALL) for place, says in WIDER)


def parted(document: object) -> tuple[str, set[str]] | None:
    """Where the two part over a decoded document, against the law; None if they do not."""
    faults, schema = refused_by_engine(document), refused_by_schema(document)
    if narrower := schema - {path for path, _ in faults}:
        return "only the schema refuses", narrower
    if missed := {path for path, words in faults if not only_of_the_engine(path, words)} - schema:
        return "only the engine refuses", missed
    return None


# The tables of the parser's own tests


def tokens_of_tables() -> Iterator[str]:
    """Each document that those tests put together of a wrong token, and the right ones at their bounds."""
    document, entry, with_entry, lists = tables.document, tables.entry, tables.with_entry, tables.LISTS
    strange = [token for token, _ in (*tables.OF_NO_KIND, *tables.NO_DAYS, *tables.NUMBERS_TOO_LONG)]
    strange += ["true", "false", "0", "1", "75", "-0.0", "1e9999999", "1e-9999999", '"x"', '"known"', "38"]
    yield from strange
    yield from (document(**{key: token}) for key in ("protocol", *tables.DAYS_OF_DOCUMENT) for token in strange)
    yield from (document(**{key: None}) for key in ("protocol", "on"))
    yield from (
        document(**{key: '"x"'}) for key in ("Weights", "counts", "", "a b", "line\\nbreak", "\\ud800", "é", "_schema")
    )
    yield from (document(**{name: token}) for name in (*lists, "eligibility") for token in strange)
    yield from (document(eligibility=f'["a", {token}, "b"]') for token in strange)
    yield from (with_entry(name, token) for name in lists for token in strange)
    for name, key in tables.FIELDS:
        yield from (with_entry(name, entry(name, **{key: token})) for token in (*strange, None))
        yield from (with_entry(name, entry(name, **{key: token, "other": "1"})) for token in (*strange, None))
        yield with_entry(name, entry(name, **{key: None, "_schema": "1"}))
    for name, rows in (
        ("weights", [(row[0], row[1]) for row in tables.WEIGHTS_READ] + tables.WEIGHTS_OUT_OF_BOUNDS),
        ("platelet_counts", [(row[0], row[1]) for row in tables.COUNTS_READ] + tables.COUNTS_OUT_OF_BOUNDS),
    ):
        yield from (with_entry(name, entry(name, value=value, unit=encode(unit))) for value, unit in rows)
    for key in ("micrograms", "micrograms_per_kg"):
        rows = (*tables.DOSES_READ, *tables.DOSES_OUT_OF_BOUNDS)
        yield from (with_entry("doses", entry("doses", **{key: token})) for token, _ in rows)
    yield from (with_entry("events", entry("events", kind=encode(str(kind)))) for kind in EventKind)
    for length in (0, 1, 100, 101):
        yield from (document(eligibility=encode(["x" * length])), document(eligibility=encode(["é" * length])))
    for name in (*lists, "eligibility"):
        one = '"a"' if name == "eligibility" else entry(name)
        yield from (document(**{name: f"[{', '.join([one] * count)}]"}) for count in (0, 5000, 5001))


def test_they_see_the_same_faults_in_the_tables_of_the_parser() -> None:
    documents = [decode(text) for text in dict.fromkeys(tokens_of_tables())]
    assert [(parted(one), encode(one)[:300]) for one in documents if parted(one)] == []
    refused = [bool(refused_by_engine(one)) for one in documents]
    assert (len(documents) > 900, refused.count(False) > 50) == (True, True)


def test_they_take_the_golden_courses() -> None:
    courses = [decode(encode(exact(json.loads(line)["course"]))) for line in GOLDEN.read_text().splitlines()]
    assert [one for one in courses if refused_by_engine(one) or refused_by_schema(one)] == []


@pytest.mark.parametrize(
    ("name", "value", "unit", "path"),
    [
        ("weights", "0.2", "kg", "weights[0].value"),
        ("weights", "401", "kg", "weights[0].value"),
        ("weights", "75", "g", "weights[0].value"),
        ("weights", "0.123456789012345678901234", "lb", "weights[0].value"),
        ("platelet_counts", "5001", "10*9/L", "platelet_counts[0].value"),
        ("platelet_counts", "0.123456789012345678901234", "/uL", "platelet_counts[0].value"),
    ],
)
def test_the_schema_is_the_wider_one_in_what_depends_on_the_unit(name: str, value: str, unit: str, path: str) -> None:
    """That the list of exceptions is not longer than it need be."""
    document = decode(tables.document(**{name: f"[{tables.entry(name, value=value, unit=encode(unit))}]"}))
    assert [path for path, _ in refused_by_engine(document)] == [path]
    assert refused_by_schema(document) == set()


def test_the_schema_is_the_wider_one_in_the_names_of_protocols() -> None:
    document = decode(tables.document(protocol='"strange"'))
    assert [path for path, _ in refused_by_engine(document)] == ["protocol"]
    assert refused_by_schema(document) == set()


def test_the_schema_takes_the_longest_name_that_a_protocol_file_can_have() -> None:
    """A file name has 255 characters, five of which are `.toml`."""
    assert refused_by_schema({"protocol": "x" * 250, "on": "2026-03-09"}) == set()
    assert refused_by_schema({"protocol": "x" * 251, "on": "2026-03-09"}) == {"protocol"}


def test_they_name_the_same_units_and_kinds() -> None:
    assert tuple(KILOGRAMS_PER) == WEIGHT_UNITS
    assert tuple(GIGA_PER_LITRE_PER) == COUNT_UNITS
    assert tuple(EventKind) == KINDS


# Any document, changed in any place

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**14), 10**14)
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**14), max_value=10**14)
    | st.text(max_size=120)
    | st.sampled_from(
        ["2026-03-09", "1899-12-31", "2026-02-30", "kg", "g", "lb", "/uL", "10*9/L", "thrombosis", "known"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from([
    *("protocol", "on", "born_on", "baseline_on", "weights", "platelet_counts", "doses", "events", "eligibility"),
    *(key for _, key in tables.FIELDS),
]) | st.text(max_size=8)  # fmt: skip


def places(value: Any) -> list[Any]:
    """Each object and list within a value, itself first."""
    found: list[Any] = [value]
    for one in found:
        if isinstance(one, dict | list):
            found.extend(one.values() if isinstance(one, dict) else one)
    return [one for one in found if isinstance(one, dict | list)]


@st.composite
def changed_documents(draw: st.DrawFn) -> Any:
    """A right document with up to four changes: a value replaced, taken away, added, or moved to another key."""
    document = deepcopy(draw(tables.SOME_DOCUMENTS))
    for _ in range(draw(st.integers(0, 4))):
        place: Any = draw(st.sampled_from(places(document)))
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        match draw(st.sampled_from(["replace", "remove", "add", "copy"])):
            case "replace" if keys:
                place[draw(st.sampled_from(keys))] = draw(JSON)
            case "remove" if keys:
                del place[draw(st.sampled_from(keys))]
            case "copy" if keys and isinstance(place, dict):
                place[draw(KEYS)] = deepcopy(place[draw(st.sampled_from(keys))])
            case _ if isinstance(place, dict):
                place[draw(KEYS)] = draw(JSON)
            case _:
                place.append(draw(JSON))
    return document


@given(changed_documents())
def test_they_see_the_same_faults_in_any_document(document: Any) -> None:
    """As it is decoded from its own text, where that can be decoded."""
    try:
        decoded = decode(encode(exact(document)))
    except (InvalidDocument, KeyError):
        return
    assert parted(decoded) is None
