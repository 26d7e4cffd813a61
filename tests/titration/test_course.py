"""The course document: what is read, what is refused and in which words, what stood on a day, the canonical form."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titrator.protocols import Catalogue
from titrator.titration import course as course_module
from titrator.titration.course import (
    Count,
    Course,
    Dose,
    Event,
    EventKind,
    Request,
    Weight,
    canonical,
    entry_faults,
    is_right,
    read_document,
    read_text,
)
from titrator.titration.documents import decode, encode, exact
from titrator.titration.errors import Fault, InvalidDocument
from titrator.titration.quantities import plain, read_day
from titrator.titration.recommend import recommend

Faults = list[tuple[str, str]]

# A document is put together from JSON tokens, so that each test says to the letter what was written.

ENTRIES = {
    "weights": {"measured_on": '"2026-03-09"', "value": "75", "unit": '"kg"'},
    "platelet_counts": {
        "collected_on": '"2026-03-09"',
        "value": "38",
        "unit": '"10*9/L"',
        "unreliable": "false",
    },
    "doses": {"given_on": '"2026-03-09"', "micrograms": "75", "micrograms_per_kg": "1"},
    "events": {"kind": '"thrombosis"', "occurred_on": '"2026-03-09"', "resolved_on": '"2026-03-10"'},
}
OPTIONAL = ["unreliable", "micrograms_per_kg", "resolved_on"]
LISTS = list(ENTRIES)
FIELDS = [(name, key) for name, entry in ENTRIES.items() for key in entry]
DAYS_OF_ENTRIES = [(name, key) for name, key in FIELDS if key.endswith("_on")]
DAYS_OF_DOCUMENT = ["on", "born_on", "baseline_on"]
NUMBERS = [
    ("weights", "value"),
    ("platelet_counts", "value"),
    ("doses", "micrograms"),
    ("doses", "micrograms_per_kg"),
]

NO_DAY = "must be a date, YYYY-MM-DD, from 1900-01-01 to 2200-12-31, not {}"
NO_NUMBER = "must be a number, not {}"
TOO_LONG = "must be a number with at most 12 digits before and 24 after the point, not {}"
NO_KIND = (
    "must be one of platelet_transfusion, rescue_therapy, thrombosis, marrow_disorder, red_cell_transfusion, "
    "adverse_event, not {}"
)
NO_WEIGHT_UNIT = "must be one of kg, g, [lb_av], lb, not {}"
NO_COUNT_UNIT = "must be one of 10*9/L, 10*3/uL, K/uL, 10*3/mm3, G/L, /uL, /mm3, not {}"
NO_FLAG = "must be true or false, not {}"
WRONG = {
    ("weights", "measured_on"): NO_DAY,
    ("weights", "value"): NO_NUMBER,
    ("weights", "unit"): NO_WEIGHT_UNIT,
    ("platelet_counts", "collected_on"): NO_DAY,
    ("platelet_counts", "value"): NO_NUMBER,
    ("platelet_counts", "unit"): NO_COUNT_UNIT,
    ("platelet_counts", "unreliable"): NO_FLAG,
    ("doses", "given_on"): NO_DAY,
    ("doses", "micrograms"): NO_NUMBER,
    ("doses", "micrograms_per_kg"): NO_NUMBER,
    ("events", "kind"): NO_KIND,
    ("events", "occurred_on"): NO_DAY,
    ("events", "resolved_on"): NO_DAY,
}
# Values that are of the wrong kind in every place, as written and as quoted back.
OF_NO_KIND = [
    ("null", "null"),
    ("[]", "a list"),
    ('["2026-03-09"]', "a list"),
    ("[75]", "a list"),
    ("{}", "an object"),
    ('{"kg": 75}', "an object"),
    ('"75"', '"75"'),
    ('""', '""'),
    ('"true"', '"true"'),
    ('"NaN"', '"NaN"'),
]
NO_DAYS = [
    ('"2026-02-30"', '"2026-02-30"'),
    ('"2026-3-9"', '"2026-3-9"'),
    ('"20260309"', '"20260309"'),
    ("20260309", "20260309"),
    ("20260309.5", "20260309.5"),
    ('"1899-12-31"', '"1899-12-31"'),
    ('"2201-01-01"', '"2201-01-01"'),
    ('"2026-03-09T08:00"', '"2026-03-09T08:00"'),
    ('"2026-03-09\\n"', '"2026-03-09\\n"'),
    ('"\uff12\uff10\uff12\uff16-\uff10\uff13-\uff10\uff19"', '"\uff12\uff10\uff12\uff16-\uff10\uff13-\uff10\uff19"'),
    ("false", "false"),
    ("1e400", "1e400"),
]
NUMBERS_TOO_LONG = [
    ("1e400", "1e400"),
    ("-1e400", "-1e400"),
    ("1e12", "1e12"),
    ("1000000000000", "1000000000000"),
    ("1e-25", "1e-25"),
    ("75.0000000000000000000000001", "75.0000000000000000000000001"),
    ("75." + "0" * 46, "75." + "0" * 37 + "…"),
    ("1e999999999999999999999", "1e999999999999999999999"),
]
# Value and unit as written, and what is read in base units.
WEIGHTS_READ = [
    ("0.3", "kg", "0.3"),
    ("0.30000000000000000000001", "kg", "0.30000000000000000000001"),
    ("400", "kg", "400"),
    ("4e2", "kg", "400"),
    ("83.10", "kg", "83.1"),
    ("300", "g", "0.3"),
    ("400000", "g", "400"),
    ("3850", "g", "3.85"),
    ("0.6613868", "lb", "0.300000006098716"),
    ("881.849", "lb", "399.99997789213"),
    ("165.3467", "lb", "75.000001524679"),
    ("100", "[lb_av]", "45.359237"),
    ("881.849", "[lb_av]", "399.99997789213"),
    ("0.6613868", "[lb_av]", "0.300000006098716"),
]
WEIGHTS_OUT_OF_BOUNDS = [
    ("0.299999999999", "kg"),
    ("400.000000000001", "kg"),
    ("0", "kg"),
    ("-75", "kg"),
    ("299.999", "g"),
    ("400000.001", "g"),
    ("0.6613867", "lb"),
    ("881.8491", "lb"),
    ("0.6613867", "[lb_av]"),
    ("881.8491", "[lb_av]"),
]
COUNTS_READ = [
    (value, unit, read)
    for unit in ("10*9/L", "10*3/uL", "K/uL", "10*3/mm3", "G/L")
    for value, read in (
        ("0", "0"),
        ("-0.0", "0"),
        ("38.0", "38"),
        ("3.8e1", "38"),
        ("1e-24", "1E-24"),
        ("5000", "5000"),
    )
] + [
    (value, unit, read)
    for unit in ("/uL", "/mm3")
    for value, read in (("0", "0"), ("38000", "38"), ("1", "0.001"), ("38400.5", "38.4005"), ("5e6", "5000"))
]
COUNTS_OUT_OF_BOUNDS = [
    (value, unit)
    for unit in ("10*9/L", "10*3/uL", "K/uL", "10*3/mm3", "G/L")
    for value in ("-0.000000000001", "5000.000000000001")
] + [(value, unit) for unit in ("/uL", "/mm3") for value in ("-1", "5000000.001")]
DOSES_READ = [("1e-24", "1E-24"), ("0.5", "0.5"), ("75.0", "75"), ("5000", "5000"), ("5e3", "5000")]
DOSES_OUT_OF_BOUNDS = [
    ("0", "0"),
    ("-0.0", "0"),
    ("-1", "-1"),
    ("-1e-24", "-0.000000000000000000000001"),
    ("5000.000000000001", "5000.000000000001"),
    ("999999999999", "999999999999"),
]


def entry(name: str, **tokens: str | None) -> str:
    """An entry that is right but for these tokens; None leaves a key out."""
    return json_object(ENTRIES[name] | tokens)


def json_object(tokens: Mapping[str, str | None]) -> str:
    return "{" + ", ".join(f'"{key}": {token}' for key, token in tokens.items() if token is not None) + "}"


def document(**tokens: str | None) -> str:
    """A document that is right but for these tokens; None leaves a key out."""
    return json_object({"protocol": '"known"', "on": '"2026-03-09"'} | tokens)


def with_entry(name: str, wrong: str) -> str:
    """A document in which the second of three entries is the given one."""
    return document(**{name: f"[{entry(name)}, {wrong}, {entry(name)}]"})


def known(ident: str) -> str | None:
    return None if ident == "known" else f"no protocol {ident}"


def read(text: str | bytes) -> Request:
    return read_text(text, known)


def faults(text: str) -> Faults:
    with pytest.raises(InvalidDocument) as refused:
        read(text)
    return [tuple(fault) for fault in refused.value.faults]


def day(text: str) -> int:
    return date.fromisoformat(text).toordinal()


# What is read


def test_the_least_document_is_read() -> None:
    assert read(document()) == Request("known", day("2026-03-09"), Course())


def test_a_document_in_bytes_is_read_as_its_text() -> None:
    assert read(document().encode()) == read(document())


def test_every_fact_is_read() -> None:
    text = document(
        born_on='"1960-05-01"',
        baseline_on='"2026-02-02"',
        eligibility='["b", "a"]',
        **{name: f"[{entry(name)}]" for name in LISTS},
    )
    assert read(text).course == Course(
        born=day("1960-05-01"),
        baseline=day("2026-02-02"),
        weights=(Weight(day("2026-03-09"), Decimal(75)),),
        counts=(Count(day("2026-03-09"), Decimal(38), False),),
        doses=(Dose(day("2026-03-09"), Decimal(75), Decimal(1)),),
        events=(Event(day("2026-03-09"), EventKind.THROMBOSIS, day("2026-03-10")),),
        eligibility=("a", "b"),
    )


def test_what_is_optional_in_an_entry_may_be_absent() -> None:
    text = document(**{name: f"[{entry(name, **dict.fromkeys(OPTIONAL))}]" for name in LISTS})
    course = read(text).course
    assert course.counts == (Count(day("2026-03-09"), Decimal(38), False),)
    assert course.doses == (Dose(day("2026-03-09"), Decimal(75), None),)
    assert course.events == (Event(day("2026-03-09"), EventKind.THROMBOSIS, None),)


def test_a_stated_level_of_1_is_not_an_unstated_one() -> None:
    for token in ("1", "1.0", "1e0"):
        assert read(document(doses=f"[{entry('doses', micrograms_per_kg=token)}]")).course.doses[0].level == 1


@pytest.mark.parametrize(("token", "unreliable"), [("true", True), ("false", False), (None, False)])
def test_a_count_is_reliable_unless_it_says_otherwise(token: str | None, unreliable: bool) -> None:
    counts = read(document(platelet_counts=f"[{entry('platelet_counts', unreliable=token)}]")).course.counts
    assert counts[0].unreliable is unreliable


@pytest.mark.parametrize("token", ["38", "38.0", "3.8e1", "380E-1", "38.000000000000000000000000000000000000"])
def test_equal_numbers_are_the_same_count(token: str) -> None:
    counts = read(document(platelet_counts=f"[{entry('platelet_counts', value=token)}]")).course.counts
    assert [str(count.platelets) for count in counts] == ["38"]


@pytest.mark.parametrize("kind", list(EventKind))
def test_each_kind_of_event_is_read(kind: EventKind) -> None:
    events = read(document(events=f"[{entry('events', kind=encode(str(kind)))}]")).course.events
    assert events[0].kind is kind


def test_the_kinds_of_events() -> None:
    assert list(EventKind) == [
        "platelet_transfusion",
        "rescue_therapy",
        "thrombosis",
        "marrow_disorder",
        "red_cell_transfusion",
        "adverse_event",
    ]


@pytest.mark.parametrize(("value", "unit", "kg"), WEIGHTS_READ)
def test_weights_are_converted_exactly_up_to_their_bounds(value: str, unit: str, kg: str) -> None:
    """In kg from 0.3 to 400, bounds included; a pound is 0.45359237 kg."""
    text = document(weights=f"[{entry('weights', value=value, unit=encode(unit))}]")
    assert [str(weight.kg) for weight in read(text).course.weights] == [kg]


@pytest.mark.parametrize(("value", "unit", "platelets"), COUNTS_READ)
def test_counts_are_converted_exactly_up_to_their_bounds(value: str, unit: str, platelets: str) -> None:
    """In 10⁹/L from 0 to 5000, bounds included."""
    text = document(platelet_counts=f"[{entry('platelet_counts', value=value, unit=encode(unit))}]")
    assert [str(count.platelets) for count in read(text).course.counts] == [platelets]


@pytest.mark.parametrize(("token", "micrograms"), DOSES_READ)
@pytest.mark.parametrize("key", ["micrograms", "micrograms_per_kg"])
def test_doses_and_levels_are_read_up_to_their_bound(key: str, token: str, micrograms: str) -> None:
    """Above 0, at most 5000."""
    dose = read(document(doses=f"[{entry('doses', **{key: token})}]")).course.doses[0]
    assert str(dose.micrograms if key == "micrograms" else dose.level) == micrograms


@pytest.mark.parametrize("token", ['"1900-01-01"', '"2200-12-31"', '"2024-02-29"'])
def test_days_are_read_up_to_their_bounds(token: str) -> None:
    text = document(
        **dict.fromkeys(DAYS_OF_DOCUMENT, token),
        **{name: f"[{entry(name, **{key: token for at, key in DAYS_OF_ENTRIES if at == name})}]" for name in LISTS},
    )
    request = read(text)
    course = request.course
    found = {request.on, course.born, course.baseline, course.events[0].resolved}
    found |= {facts[0].day for facts in (course.weights, course.counts, course.doses, course.events)}
    assert found == {day(token.strip('"'))}


@pytest.mark.parametrize("name", LISTS)
def test_facts_are_read_in_order_of_day_and_those_of_one_day_in_the_order_given(name: str) -> None:
    """Its entries need not be in order of date; the last one of a day stands, so their order is kept."""
    key = next(key for at, key in DAYS_OF_ENTRIES if at == name)
    told_apart_by = {"weights": "value", "platelet_counts": "value", "doses": "micrograms", "events": "resolved_on"}
    days = ["2026-03-09", "2026-03-02", "2026-03-09", "2026-02-23", "2026-03-02", "2026-03-09"]
    tokens = [f'"2026-04-0{index}"' if name == "events" else f"1{index}" for index in range(1, 7)]
    entries = [
        entry(name, **{key: f'"{on}"', told_apart_by[name]: token}) for on, token in zip(days, tokens, strict=True)
    ]
    course = read(document(**{name: f"[{', '.join(entries)}]"})).course
    facts: Any = {
        "weights": course.weights,
        "platelet_counts": course.counts,
        "doses": course.doses,
        "events": course.events,
    }[name]
    place = 2 if name == "events" else 1
    order = [int(fact[place]) - (day("2026-03-31") if name == "events" else 10) for fact in facts]
    assert order == [4, 2, 5, 1, 3, 6]
    assert [fact.day for fact in facts] == sorted(day(on) for on in days)


def test_eligibility_is_read_sorted_and_each_code_once() -> None:
    assert read(document(eligibility='["b", "a", "b", "A", ""]')).course.eligibility == ("", "A", "a", "b")


@pytest.mark.parametrize("length", [0, 1, 100])
def test_an_eligibility_code_has_up_to_100_characters(length: int) -> None:
    assert read(document(eligibility=f'["{"é" * length}"]')).course.eligibility == ("é" * length,)


@pytest.mark.parametrize("name", [*LISTS, "eligibility"])
def test_an_empty_list_is_the_same_as_none(name: str) -> None:
    assert read(document(**{name: "[]"})) == read(document())


@pytest.mark.parametrize("name", LISTS)
def test_a_list_has_up_to_5000_entries(name: str) -> None:
    course = read(document(**{name: f"[{', '.join([entry(name)] * 5000)}]"})).course
    assert len(course.weights + course.counts + course.doses + course.events) == 5000


def test_eligibility_has_up_to_5000_entries() -> None:
    codes = ", ".join(f'"{code}"' for code in range(5000))
    assert len(read(document(eligibility=f"[{codes}]")).course.eligibility) == 5000


def test_a_decoded_document_is_read_like_its_text() -> None:
    values = exact(
        {
            "protocol": "known",
            "on": "2026-03-09",
            "weights": [{"measured_on": "2026-03-09", "value": 75.0, "unit": "kg"}],
        }
    )
    assert read_document(values, known) == read(document(weights=f"[{entry('weights')}]"))


# What is refused: the document


@pytest.mark.parametrize(
    ("text", "what"),
    [("[]", "a list"), ('"x"', '"x"'), ("38", "38"), ("null", "null"), ("true", "true"), ("1e400", "1e400")],
)
def test_a_document_is_an_object(text: str, what: str) -> None:
    assert faults(text) == [("", f"must be an object, not {what}")]


def test_text_that_is_no_json_is_a_fault_of_the_whole() -> None:
    assert faults("{") == [("", "not JSON: Expecting property name enclosed in double quotes at line 1 column 2")]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"protocol": "known", "on": "2026-03-09", "on": "2026-03-10"}', "on"),
        (document(weights=f'[{entry("weights")}, {entry("weights")[:-1]}, "value": 76}}]'), "weights[1].value"),
    ],
)
def test_a_repeated_key_is_refused_alone(text: str, path: str) -> None:
    assert faults(text) == [(path, "repeated key")]


@pytest.mark.parametrize("key", ["protocol", "on"])
def test_protocol_and_on_are_required(key: str) -> None:
    assert faults(document(**{key: None})) == [(key, "required")]


def test_an_empty_document_lacks_both() -> None:
    assert faults("{}") == [("protocol", "required"), ("on", "required")]


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ('"strange"', "no protocol strange"),
        ('""', "no protocol "),
        ("null", "must be the id of a protocol, not null"),
        ("38", "must be the id of a protocol, not 38"),
        ("true", "must be the id of a protocol, not true"),
        ('["known"]', "must be the id of a protocol, not a list"),
        ('{"known": 1}', "must be the id of a protocol, not an object"),
    ],
)
def test_a_protocol_that_cannot_be_used_is_refused_in_the_words_of_the_catalogue(token: str, message: str) -> None:
    assert faults(document(protocol=token)) == [("protocol", message)]


@pytest.mark.parametrize("key", DAYS_OF_DOCUMENT)
@pytest.mark.parametrize(("token", "what"), [*OF_NO_KIND, *NO_DAYS, ("true", "true"), ("75", "75")])
def test_what_is_no_day_is_refused(key: str, token: str, what: str) -> None:
    assert faults(document(**{key: token})) == [(key, NO_DAY.format(what))]


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("Weights", "Weights"),
        ("weight", "weight"),
        ("counts", "counts"),
        ("", '""'),
        ("a b", '"a b"'),
        ("line\\nbreak", '"line\\nbreak"'),
        ("\\ud800", '"\\ud800"'),
    ],
)
def test_an_unknown_key_is_refused_whatever_its_value(key: str, path: str) -> None:
    for token in ("null", "[]", "{}", "75"):
        assert faults(document(**{key: token})) == [(path, "unknown key")]


@pytest.mark.parametrize("name", [*LISTS, "eligibility"])
@pytest.mark.parametrize(
    ("token", "what"), [("null", "null"), ("{}", "an object"), ('"x"', '"x"'), ("75", "75"), ("false", "false")]
)
def test_a_list_is_a_list(name: str, token: str, what: str) -> None:
    """`null` is not the same as absent."""
    assert faults(document(**{name: token})) == [(name, f"must be a list, not {what}")]


@pytest.mark.parametrize("name", [*LISTS, "eligibility"])
@pytest.mark.parametrize("count", [5001, 6000])
def test_a_list_of_more_than_5000_entries_is_refused_unread(name: str, count: int) -> None:
    text = document(**{name: f"[{', '.join(['null'] * count)}]"})
    assert faults(text) == [(name, f"must have at most 5000 entries, not {count}")]


@pytest.mark.parametrize(
    ("token", "what"),
    [
        ("null", "null"),
        ("38", "38"),
        ("true", "true"),
        ("[]", "a list"),
        ("{}", "an object"),
        (f'"{"x" * 101}"', f'"{"x" * 40}…"'),
        (f'"{"é" * 101}"', f'"{"é" * 40}…"'),
    ],
)
def test_what_is_no_eligibility_code_is_refused(token: str, what: str) -> None:
    message = f"must be the code of what was confirmed, not {what}"
    assert faults(document(eligibility=f'["a", {token}, "b"]')) == [("eligibility[1]", message)]


# What is refused: the entries


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    ("token", "what"),
    [
        ("null", "null"),
        ("75", "75"),
        ("true", "true"),
        ("[]", "a list"),
        ('["measured_on", "value", "unit"]', "a list"),
        ('"abc"', '"abc"'),
        ("1e400", "1e400"),
    ],
)
def test_an_entry_is_an_object(name: str, token: str, what: str) -> None:
    assert faults(with_entry(name, token)) == [(f"{name}[1]", f"must be an object, not {what}")]


@pytest.mark.parametrize(("name", "key"), [field for field in FIELDS if field[1] not in OPTIONAL])
def test_a_missing_key_is_refused(name: str, key: str) -> None:
    assert faults(with_entry(name, entry(name, **{key: None}))) == [(f"{name}[1].{key}", "required")]


@pytest.mark.parametrize("name", LISTS)
def test_an_empty_entry_lacks_all_that_is_required(name: str) -> None:
    required = [key for key in ENTRIES[name] if key not in OPTIONAL]
    assert faults(with_entry(name, "{}")) == [(f"{name}[1].{key}", "required") for key in required]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(("key", "path"), [("comment", "comment"), ("day", "day"), ("Unit", "Unit"), ("a b", '"a b"')])
def test_an_unknown_key_of_an_entry_is_refused(name: str, key: str, path: str) -> None:
    assert faults(with_entry(name, entry(name, **{key: "1"}))) == [(f"{name}[1].{path}", "unknown key")]


@pytest.mark.parametrize(("name", "key"), FIELDS)
def test_an_unknown_key_does_not_make_up_for_a_missing_one(name: str, key: str) -> None:
    expected = [(f"{name}[1].other", "unknown key")]
    if key not in OPTIONAL:
        expected.append((f"{name}[1].{key}", "required"))
    assert faults(with_entry(name, entry(name, **{key: None, "other": "1"}))) == expected


@pytest.mark.parametrize(("name", "key"), FIELDS)
@pytest.mark.parametrize(("token", "what"), OF_NO_KIND)
def test_a_value_of_the_wrong_kind_is_refused(name: str, key: str, token: str, what: str) -> None:
    """`null` is not absent, a text is no number, and a list or an object stands nowhere in an entry."""
    assert faults(with_entry(name, entry(name, **{key: token}))) == [
        (f"{name}[1].{key}", WRONG[name, key].format(what))
    ]


@pytest.mark.parametrize(("name", "key"), FIELDS)
def test_an_entry_alone_has_the_faults_that_it_has_in_a_list(name: str, key: str) -> None:
    wrong = entry(name, **{key: "null"})
    assert not is_right(name, decode(wrong))
    assert entry_faults(name, decode(wrong)) == [Fault(key, WRONG[name, key].format("null"))]
    assert faults(with_entry(name, wrong)) == [(f"{name}[1].{key}", WRONG[name, key].format("null"))]
    assert is_right(name, decode(entry(name)))
    assert entry_faults(name, decode(entry(name))) == []


@pytest.mark.parametrize(("name", "key"), [field for field in FIELDS if field[1] != "unreliable"])
@pytest.mark.parametrize("token", ["true", "false"])
def test_true_and_false_are_no_number_no_day_and_no_text(name: str, key: str, token: str) -> None:
    assert faults(with_entry(name, entry(name, **{key: token}))) == [
        (f"{name}[1].{key}", WRONG[name, key].format(token))
    ]


@pytest.mark.parametrize(("name", "key"), [field for field in FIELDS if field not in NUMBERS])
@pytest.mark.parametrize("token", ["0", "1", "75", "1e400"])
def test_a_number_stands_only_for_a_number(name: str, key: str, token: str) -> None:
    assert faults(with_entry(name, entry(name, **{key: token}))) == [
        (f"{name}[1].{key}", WRONG[name, key].format(token))
    ]


@pytest.mark.parametrize(("name", "key"), DAYS_OF_ENTRIES)
@pytest.mark.parametrize(("token", "what"), NO_DAYS)
def test_what_is_no_day_in_an_entry_is_refused(name: str, key: str, token: str, what: str) -> None:
    assert faults(with_entry(name, entry(name, **{key: token}))) == [(f"{name}[1].{key}", NO_DAY.format(what))]


@pytest.mark.parametrize(("name", "key"), NUMBERS)
@pytest.mark.parametrize(("token", "what"), NUMBERS_TOO_LONG)
def test_a_number_with_too_many_digits_is_refused(name: str, key: str, token: str, what: str) -> None:
    assert faults(with_entry(name, entry(name, **{key: token}))) == [(f"{name}[1].{key}", TOO_LONG.format(what))]


@pytest.mark.parametrize(("name", "key"), NUMBERS)
@pytest.mark.parametrize("token", ["1e9999999", "1e-9999999"])
def test_a_number_with_an_exponent_beyond_the_arithmetic_is_refused(name: str, key: str, token: str) -> None:
    assert faults(with_entry(name, entry(name, **{key: token}))) == [(f"{name}[1].{key}", TOO_LONG.format(token))]


@pytest.mark.parametrize(("name", "key"), NUMBERS)
@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_what_json_does_not_know_as_a_number_is_refused(name: str, key: str, token: str) -> None:
    message = f"not JSON: {token} is no JSON number"
    assert faults(with_entry(name, entry(name, **{key: token}))) == [("", message)]


@pytest.mark.parametrize(("value", "unit"), WEIGHTS_OUT_OF_BOUNDS)
def test_a_weight_out_of_bounds_is_refused_in_the_unit_given(value: str, unit: str) -> None:
    message = f"must be from 0.3 to 400 kg, not {value} {unit}"
    assert faults(with_entry("weights", entry("weights", value=value, unit=encode(unit)))) == [
        ("weights[1].value", message)
    ]


@pytest.mark.parametrize(("value", "unit"), COUNTS_OUT_OF_BOUNDS)
def test_a_count_out_of_bounds_is_refused_in_the_unit_given(value: str, unit: str) -> None:
    message = f"must be from 0 to 5000 10*9/L, not {value} {unit}"
    assert faults(with_entry("platelet_counts", entry("platelet_counts", value=value, unit=encode(unit)))) == [
        ("platelet_counts[1].value", message)
    ]


@pytest.mark.parametrize("key", ["micrograms", "micrograms_per_kg"])
@pytest.mark.parametrize(("token", "what"), DOSES_OUT_OF_BOUNDS)
def test_a_dose_or_level_out_of_bounds_is_refused(key: str, token: str, what: str) -> None:
    message = f"must be above 0 and at most 5000, not {what}"
    assert faults(with_entry("doses", entry("doses", **{key: token}))) == [(f"doses[1].{key}", message)]


@pytest.mark.parametrize(
    ("name", "unit"),
    [("weights", unit) for unit in ("KG", "Kg", "kg ", "mg", "lbs", "10*9/L", "lb_av")]
    + [("platelet_counts", unit) for unit in ("10*9/l", "k/uL", "/µL", "10^9/L", "10⁹/L", "kg", "uL")],
)
def test_units_are_not_guessed_at(name: str, unit: str) -> None:
    """Units are written exactly as in the table, in the same case."""
    assert faults(with_entry(name, entry(name, unit=encode(unit)))) == [
        (f"{name}[1].unit", WRONG[name, "unit"].format(encode(unit)))
    ]


@pytest.mark.parametrize("kind", ["Thrombosis", "THROMBOSIS", "thrombosis ", "bleeding", "EventKind.THROMBOSIS"])
def test_kinds_are_not_guessed_at(kind: str) -> None:
    assert faults(with_entry("events", entry("events", kind=encode(kind)))) == [
        ("events[1].kind", NO_KIND.format(encode(kind)))
    ]


@pytest.mark.parametrize(
    ("name", "tokens", "expected"),
    [
        (
            "weights",
            {"measured_on": "null", "value": "1000"},
            [("measured_on", NO_DAY.format("null")), ("value", "must be from 0.3 to 400 kg, not 1000 kg")],
        ),
        ("weights", {"value": "1000", "unit": '"stone"'}, [("unit", NO_WEIGHT_UNIT.format('"stone"'))]),
        ("weights", {"value": "1000", "unit": None}, [("unit", "required")]),
        ("weights", {"value": "1000", "unit": "[]"}, [("unit", NO_WEIGHT_UNIT.format("a list"))]),
        (
            "weights",
            {"value": '"75"', "unit": '"stone"'},
            [("value", NO_NUMBER.format('"75"')), ("unit", NO_WEIGHT_UNIT.format('"stone"'))],
        ),
        (
            "platelet_counts",
            {"value": "6000000", "unit": '"/uL"', "unreliable": '"no"', "z": "1", "a": "1"},
            [
                ("a", "unknown key"),
                ("z", "unknown key"),
                ("unreliable", NO_FLAG.format('"no"')),
                ("value", "must be from 0 to 5000 10*9/L, not 6000000 /uL"),
            ],
        ),
        (
            "doses",
            {"given_on": '"today"', "micrograms": "0", "micrograms_per_kg": "5001"},
            [
                ("given_on", NO_DAY.format('"today"')),
                ("micrograms", "must be above 0 and at most 5000, not 0"),
                ("micrograms_per_kg", "must be above 0 and at most 5000, not 5001"),
            ],
        ),
        (
            "events",
            {"kind": '"x"', "occurred_on": "1", "resolved_on": "2"},
            [("kind", NO_KIND.format('"x"')), ("occurred_on", NO_DAY.format("1")), ("resolved_on", NO_DAY.format("2"))],
        ),
    ],
)
def test_all_faults_of_an_entry_are_named_in_order(name: str, tokens: dict[str, str | None], expected: Faults) -> None:
    assert faults(with_entry(name, entry(name, **tokens))) == [
        (f"{name}[1].{key}", message) for key, message in expected
    ]


@pytest.mark.parametrize(
    ("name", "day_key", "key", "token", "unit"),
    [
        ("weights", "measured_on", "value", "0.3", "kg"),
        ("weights", "measured_on", "value", "400", "kg"),
        ("platelet_counts", "collected_on", "value", "0", "K/uL"),
        ("platelet_counts", "collected_on", "value", "5000", "K/uL"),
        ("platelet_counts", "collected_on", "value", "5000000", "/uL"),
        ("doses", "given_on", "micrograms", "5000", None),
        ("doses", "given_on", "micrograms_per_kg", "5000", None),
        ("doses", "given_on", "micrograms", "1e-24", None),
        ("doses", "given_on", "micrograms", "1", None),
    ],
)
def test_a_value_at_its_bound_is_no_fault_beside_another(
    name: str, day_key: str, key: str, token: str, unit: str | None
) -> None:
    units = {} if unit is None else {"unit": encode(unit)}
    assert faults(with_entry(name, entry(name, **{day_key: "null", key: token}, **units))) == [
        (f"{name}[1].{day_key}", NO_DAY.format("null"))
    ]


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("kg", None),
        ("lb", None),
        ("g", 'must be one of kg, lb, not "g"'),
        (Decimal(75), "must be one of kg, lb, not 75"),
        ([], "must be one of kg, lb, not a list"),
    ],
)
def test_a_unit_is_one_of_those_that_the_place_knows(value: object, wrong: str | None) -> None:
    assert course_module._unit_of({"kg": None, "lb": Decimal(1)})(value) == wrong


def test_the_example_of_the_documentation_has_these_faults() -> None:
    """docs/course-document.md shows the document and what is said of it."""
    text = """{"protocol": "us-itp-adut", "on": "2026-3-9",
     "weights": [{"measured_on": "2026-02-14", "value": "75", "unit": "kg"}],
     "platelet_counts": [{"collected_on": "2026-03-09", "value": 38},
                         {"collected_on": "2026-03-09", "value": 6000000, "unit": "/uL", "comment": "x"}]}"""
    with pytest.raises(InvalidDocument) as refused:
        read_text(text, Catalogue().fault)
    assert list(map(str, refused.value.faults)) == [
        "protocol: unknown protocol; the nearest are us-itp-adult, eu-itp-adult, jp-itp-adult",
        'on: must be a date, YYYY-MM-DD, from 1900-01-01 to 2200-12-31, not "2026-3-9"',
        'weights[0].value: must be a number, not "75"',
        "platelet_counts[0].unit: required",
        "platelet_counts[1].comment: unknown key",
        "platelet_counts[1].value: must be from 0 to 5000 10*9/L, not 6000000 /uL",
    ]


def test_all_faults_of_a_document_are_named_in_order() -> None:
    text = json_object(
        {
            "eligibility": "[1, 2]",
            "events": f"[{entry('events')}, {entry('events', kind=None)}, null]",
            "doses": f"[{entry('doses', micrograms='-1')}]",
            "platelet_counts": '{"value": 38}',
            "weights": f"[{entry('weights', unit=None)}, {entry('weights')}, {entry('weights', value='0')}]",
            "zebra": "1",
            "baseline_on": "3",
            "born_on": "2",
            "alpha": "1",
        }
    )
    assert faults(text) == [
        ("alpha", "unknown key"),
        ("zebra", "unknown key"),
        ("protocol", "required"),
        ("on", "required"),
        ("born_on", NO_DAY.format("2")),
        ("baseline_on", NO_DAY.format("3")),
        ("weights[0].unit", "required"),
        ("weights[2].value", "must be from 0.3 to 400 kg, not 0 kg"),
        ("platelet_counts", "must be a list, not an object"),
        ("doses[0].micrograms", "must be above 0 and at most 5000, not -1"),
        ("events[1].kind", "required"),
        ("events[2]", "must be an object, not null"),
        ("eligibility[0]", "must be the code of what was confirmed, not 1"),
        ("eligibility[1]", "must be the code of what was confirmed, not 2"),
    ]


def test_an_entry_that_is_not_taken_is_a_fault_even_where_nothing_can_be_said() -> None:
    """Reader and explanation go by the same tables; if they ever part, the entry is refused, not dropped."""
    found: list[Fault] = []
    values: Any = exact({"weights": [{"measured_on": "2026-03-09", "value": 75, "unit": "kg"}]})
    assert course_module._read_list(values, "weights", lambda _: None, found) == ()
    assert found == [Fault("weights[0]", "cannot be read")]


# What stood on a day

COURSE = Course(
    born=day("1960-05-01"),
    baseline=day("2026-03-05"),
    weights=(Weight(day("2026-03-01"), Decimal(75)), Weight(day("2026-03-08"), Decimal(76))),
    counts=(
        Count(day("2026-03-02"), Decimal(30), False),
        Count(day("2026-03-06"), Decimal(31), False),
        Count(day("2026-03-06"), Decimal(32), True),
    ),
    doses=(Dose(day("2026-03-03"), Decimal(75), None), Dose(day("2026-03-07"), Decimal(150), Decimal(2))),
    events=(
        Event(day("2026-03-04"), EventKind.THROMBOSIS, day("2026-03-09")),
        Event(day("2026-03-04"), EventKind.MARROW_DISORDER, day("2026-03-06")),
        Event(day("2026-03-08"), EventKind.ADVERSE_EVENT, None),
    ),
    eligibility=("a",),
)


@pytest.mark.parametrize(
    ("on", "baseline", "weights", "counts", "doses", "resolved"),
    [
        ("2026-02-28", None, 0, 0, 0, []),
        ("2026-03-01", None, 1, 0, 0, []),
        ("2026-03-02", None, 1, 1, 0, []),
        ("2026-03-03", None, 1, 1, 1, []),
        ("2026-03-04", None, 1, 1, 1, [None, None]),
        ("2026-03-05", "2026-03-05", 1, 1, 1, [None, None]),
        ("2026-03-06", "2026-03-05", 1, 3, 1, [None, "2026-03-06"]),
        ("2026-03-07", "2026-03-05", 1, 3, 2, [None, "2026-03-06"]),
        ("2026-03-08", "2026-03-05", 2, 3, 2, [None, "2026-03-06", None]),
        ("2026-03-09", "2026-03-05", 2, 3, 2, ["2026-03-09", "2026-03-06", None]),
    ],
)
def test_what_is_dated_later_is_left_out(
    on: str, baseline: str | None, weights: int, counts: int, doses: int, resolved: list[str | None]
) -> None:
    """Later entries, a later baseline_on and a later resolved_on are left out; birth and eligibility are kept."""
    then = COURSE.until(day(on))
    assert then.born == COURSE.born
    assert then.eligibility == COURSE.eligibility
    assert then.baseline == (None if baseline is None else day(baseline))
    assert then.weights == COURSE.weights[:weights]
    assert then.counts == COURSE.counts[:counts]
    assert then.doses == COURSE.doses[:doses]
    assert [event.resolved for event in then.events] == [None if end is None else day(end) for end in resolved]
    assert [(event.day, event.kind) for event in then.events] == [
        (event.day, event.kind) for event in COURSE.events[: len(resolved)]
    ]


@pytest.mark.parametrize(
    "later",
    [
        {"baseline": 11},
        {"weights": (Weight(10, Decimal(75)), Weight(11, Decimal(76)))},
        {"counts": (Count(10, Decimal(30), False), Count(11, Decimal(31), True))},
        {"doses": (Dose(10, Decimal(75), None), Dose(11, Decimal(75), None))},
        {"events": (Event(10, EventKind.THROMBOSIS, None), Event(11, EventKind.THROMBOSIS, None))},
        {"events": (Event(9, EventKind.THROMBOSIS, 11), Event(10, EventKind.THROMBOSIS, 10))},
        {"events": (Event(9, EventKind.THROMBOSIS, 9), Event(10, EventKind.THROMBOSIS, 11))},
    ],
)
def test_a_single_later_fact_is_left_out_the_day_before_and_kept_on_its_day(later: dict[str, Any]) -> None:
    course = Course(**later)
    assert course.until(11) == course
    cut = course.until(10)
    assert cut != course
    assert cut.until(9).until(10) == cut.until(9)
    assert (cut.baseline, cut.weights[1:], cut.counts[1:], cut.doses[1:]) == (None, (), (), ())
    assert max([event.day for event in cut.events] + [event.resolved or 0 for event in cut.events] + [0]) <= 10


def test_a_course_with_no_later_fact_is_itself() -> None:
    assert COURSE.until(day("2026-03-09")) is COURSE
    assert COURSE.until(day("2026-03-10")) is COURSE
    assert COURSE.until(day("2026-03-08")) is not COURSE
    empty = Course(born=99)
    assert empty.until(1) is empty
    with_baseline = Course(baseline=5)
    assert with_baseline.until(5) is with_baseline
    assert with_baseline.until(4) == Course()


@pytest.mark.parametrize(
    ("on", "later"),
    [
        ("2026-03-08", []),
        ("2026-03-07", ["weight 2026-03-08", "event 2026-03-08"]),
        ("2026-03-06", ["weight 2026-03-08", "dose 2026-03-07", "event 2026-03-08"]),
        (
            "2026-03-05",
            ["weight 2026-03-08", "count 2026-03-06", "count 2026-03-06", "dose 2026-03-07", "event 2026-03-08"],
        ),
    ],
)
def test_facts_dated_later_can_be_named_with_their_days(on: str, later: list[str]) -> None:
    """A day that only ends an event, or sets a baseline, is no fact of its own."""
    found = COURSE.later(day(on))
    assert [f"{kind} {date.fromordinal(when).isoformat()}" for kind, when in found] == later


# The canonical document

FULL = """{"events": [{"resolved_on": "2026-03-09", "occurred_on": "2026-03-01", "kind": "thrombosis"},
                       {"occurred_on": "2026-02-20", "kind": "platelet_transfusion"},
                       {"kind": "adverse_event", "occurred_on": "2026-03-10"},
                       {"kind": "rescue_therapy", "occurred_on": "2026-03-02", "resolved_on": "2026-03-10"}],
           "eligibility": ["b\\"\\u0007", "é", "a", "b\\"\\u0007"],
           "doses": [{"micrograms": 75.0, "given_on": "2026-03-02"},
                     {"micrograms": 75, "given_on": "2026-02-23", "micrograms_per_kg": 1.00},
                     {"micrograms": 80, "given_on": "2026-03-10"}],
           "platelet_counts": [{"collected_on": "2026-03-09", "value": 38000, "unit": "/uL", "unreliable": true},
                               {"collected_on": "2026-03-09", "value": 39, "unit": "K/uL", "unreliable": false},
                               {"collected_on": "2026-03-02", "value": 3.1e1, "unit": "10*9/L"},
                               {"collected_on": "2026-03-10", "value": 1, "unit": "10*9/L"}],
           "weights": [{"measured_on": "2026-03-09", "value": 100, "unit": "lb"},
                       {"measured_on": "2026-02-14", "value": 75500, "unit": "g"}],
           "on": "2026-03-09", "born_on": "1960-05-01", "baseline_on": "2026-02-02", "protocol": "known"}"""
CANONICAL = (
    '{"baseline_on":"2026-02-02","born_on":"1960-05-01",'
    '"doses":[{"given_on":"2026-02-23","micrograms":75,"micrograms_per_kg":1},'
    '{"given_on":"2026-03-02","micrograms":75}],'
    '"eligibility":["a","b\\"\\u0007","é"],'
    '"events":[{"kind":"platelet_transfusion","occurred_on":"2026-02-20"},'
    '{"kind":"thrombosis","occurred_on":"2026-03-01","resolved_on":"2026-03-09"},'
    '{"kind":"rescue_therapy","occurred_on":"2026-03-02"}],'
    '"on":"2026-03-09",'
    '"platelet_counts":[{"collected_on":"2026-03-02","unit":"10*9/L","value":31},'
    '{"collected_on":"2026-03-09","unit":"10*9/L","unreliable":true,"value":38},'
    '{"collected_on":"2026-03-09","unit":"10*9/L","value":39}],'
    '"protocol":"known",'
    '"weights":[{"measured_on":"2026-02-14","unit":"kg","value":75.5},'
    '{"measured_on":"2026-03-09","unit":"kg","value":45.359237}]}'
)
DOCUMENTED = """{"protocol": "us-itp-adult", "on": "2026-03-09", "born_on": "1960-05-01",
 "weights": [{"measured_on": "2026-02-14", "value": 75, "unit": "kg"},
             {"measured_on": "2026-03-09", "value": 83, "unit": "kg"}],
 "platelet_counts": [{"collected_on": "2026-03-02", "value": 31, "unit": "10*9/L"},
                     {"collected_on": "2026-03-09", "value": 38000, "unit": "/uL"}],
 "doses": [{"given_on": "2026-02-23", "micrograms": 75, "micrograms_per_kg": 1},
           {"given_on": "2026-03-02", "micrograms": 75}],
 "events": [{"kind": "platelet_transfusion", "occurred_on": "2026-02-20"}]}"""
DOCUMENTED_DIGEST = "1973266055b28d9ec601df6958f82ea2f381790fbc19384d0fde3a74e76df596"
# Each says the same as DOCUMENTED.
SAME = [
    DOCUMENTED,
    DOCUMENTED.replace("38000", "38").replace("/uL", "10*9/L"),
    DOCUMENTED.replace('38000, "unit": "/uL"', '38.0, "unit": "G/L", "unreliable": false'),
    DOCUMENTED.replace('83, "unit": "kg"', '83e3, "unit": "g"'),
    DOCUMENTED.replace("\n", "").replace(": ", ":"),
    DOCUMENTED.replace(" ", "\r\n\t"),
    DOCUMENTED.replace('"events": [', '"eligibility": [], "events": ['),
    DOCUMENTED.replace('"events": [', '"baseline_on": "2026-03-10", "events": ['),
    DOCUMENTED.replace('"events": [', '"events": [{"kind": "thrombosis", "occurred_on": "2026-03-10"}, '),
    DOCUMENTED.replace('"occurred_on": "2026-02-20"', '"occurred_on": "2026-02-20", "resolved_on": "2026-03-10"'),
    DOCUMENTED.replace('"doses": [', '"doses": [{"given_on": "2026-03-10", "micrograms": 1}, '),
]
# Each says something else.
OTHER = [
    DOCUMENTED.replace('"on": "2026-03-09"', '"on": "2026-03-10"'),
    DOCUMENTED.replace("us-itp-adult", "eu-itp-adult"),
    DOCUMENTED.replace("1960-05-01", "1960-05-02"),
    DOCUMENTED.replace("38000", "38001"),
    DOCUMENTED.replace('"/uL"', '"/uL", "unreliable": true'),
    DOCUMENTED.replace(', "micrograms_per_kg": 1', ""),
    DOCUMENTED.replace('"events": [', '"baseline_on": "2026-03-09", "events": ['),
    DOCUMENTED.replace('"events": [', '"eligibility": ["a"], "events": ['),
    DOCUMENTED.replace('"events": [', '"events": [{"kind": "thrombosis", "occurred_on": "2026-03-09"}, '),
    DOCUMENTED.replace('"occurred_on": "2026-02-20"', '"occurred_on": "2026-02-20", "resolved_on": "2026-03-09"'),
    DOCUMENTED.replace("platelet_transfusion", "red_cell_transfusion"),
]


def canonical_of(text: str) -> str:
    request = read_text(text, lambda _: None)
    return request.course.document(request.protocol, request.on)


def test_the_canonical_document_to_the_letter() -> None:
    assert canonical_of(FULL) == CANONICAL


def test_the_canonical_document_of_no_facts_has_all_five_lists() -> None:
    assert canonical_of(document()) == (
        '{"doses":[],"eligibility":[],"events":[],"on":"2026-03-09","platelet_counts":[],"protocol":"known","weights":[]}'
    )


@pytest.mark.parametrize(("key", "other"), [("born_on", "baseline_on"), ("baseline_on", "born_on")])
def test_a_day_that_is_not_known_is_left_out(key: str, other: str) -> None:
    text = canonical_of(document(**{key: '"2026-01-01"'}))
    assert text.startswith(f'{{"{key}":"2026-01-01","doses":[]')
    assert other not in text


def test_the_protocol_is_written_escaped() -> None:
    assert '"protocol":"a\\"b\\n\\ud800"' in canonical(Course(), 'a"b\n\ud800', 1)


def test_an_amount_below_a_millionth_has_an_exponent() -> None:
    texts = [canonical_of(document(doses=f"[{entry('doses', micrograms=token)}]")) for token in ("1e-6", "1e-7")]
    assert '"micrograms":0.000001,' in texts[0]
    assert '"micrograms":1E-7,' in texts[1]


def test_the_digest_is_the_documented_one() -> None:
    """docs/answer-document.md prints the canonical form of this example and its SHA-256."""
    assert sha256(canonical_of(DOCUMENTED).encode()).hexdigest() == DOCUMENTED_DIGEST


def test_an_answer_names_its_input_by_the_digest_of_the_canonical_document() -> None:
    request = read_text(DOCUMENTED, lambda _: None)
    answer = recommend(Catalogue().get(request.protocol), request.course, request.on)
    assert answer.input_sha256 == DOCUMENTED_DIGEST


@pytest.mark.parametrize("text", SAME)
def test_documents_that_say_the_same_have_the_same_canonical_form(text: str) -> None:
    assert canonical_of(text) == canonical_of(DOCUMENTED)


def test_documents_that_say_something_else_have_another_canonical_form() -> None:
    assert len({canonical_of(text) for text in [DOCUMENTED, *OTHER]}) == len(OTHER) + 1


@pytest.mark.parametrize("text", [document(), FULL, DOCUMENTED])
def test_the_canonical_document_reads_as_the_same_course_up_to_the_day(text: str) -> None:
    request = read_text(text, lambda _: None)
    again = read_text(canonical_of(text), lambda _: None)
    assert again == request._replace(course=request.course.until(request.on))
    assert canonical_of(canonical_of(text)) == canonical_of(text)


@pytest.mark.parametrize("code", ["", "é", '"', "\\u0000", "\\ud800", "\\ud83d\\ude00", "a/b", "\u2028"])
def test_an_eligibility_code_of_any_text_survives_the_canonical_form(code: str) -> None:
    text = document(eligibility=f'["{code}"]'.replace('"""', '"\\""'))
    request = read(text)
    canon = canonical_of(text)
    assert canon.encode()
    assert read(canon).course == request.course


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("weights", {"value": "165.123456789012", "unit": '"lb"'}),
        ("weights", {"value": "0.7123456789012345", "unit": '"lb"'}),
        ("weights", {"value": "300.000000000000000000001", "unit": '"g"'}),
        ("platelet_counts", {"value": "38000.000000000000000000001", "unit": '"/uL"'}),
    ],
)
def test_a_converted_amount_with_many_digits_survives_the_canonical_form(name: str, tokens: dict[str, str]) -> None:
    text = document(**{name: f"[{entry(name, **tokens)}]"})
    assert read(canonical_of(text)) == read(text)


@pytest.mark.parametrize(
    ("name", "value", "unit", "base_unit"),
    [
        ("weights", "165.12345678901234567", "lb", "kg"),
        ("weights", "165.12345678901234567", "[lb_av]", "kg"),
        ("weights", "300.0000000000000000000001", "g", "kg"),
        ("weights", "1e-24", "g", "kg"),
        ("platelet_counts", "38000.0000000000000000000001", "/uL", "10*9/L"),
        ("platelet_counts", "1e-24", "/mm3", "10*9/L"),
        ("platelet_counts", "-1e-24", "/mm3", "10*9/L"),
    ],
)
def test_an_amount_that_has_too_many_digits_once_converted_is_refused(
    name: str, value: str, unit: str, base_unit: str
) -> None:
    """So that the canonical form, which is in base units, is itself a course document."""
    message = f"must have at most 24 digits after the point in {base_unit}"
    assert faults(with_entry(name, entry(name, value=value, unit=encode(unit)))) == [(f"{name}[1].value", message)]


SOME_DAYS = st.dates(date(1900, 1, 1), date(2200, 12, 31)).map(date.isoformat)


def amounts(least: str, most: str) -> st.SearchStrategy[Decimal]:
    return st.decimals(least, most, allow_nan=False, places=12)


SOME_DOCUMENTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"protocol": st.just("known"), "on": SOME_DAYS},
    optional={
        "born_on": SOME_DAYS,
        "baseline_on": SOME_DAYS,
        "weights": st.lists(
            st.fixed_dictionaries(
                {
                    "measured_on": SOME_DAYS,
                    "value": amounts("0.7", "400"),
                    "unit": st.sampled_from(["kg", "lb", "[lb_av]"]),
                }
            )
        ),
        "platelet_counts": st.lists(
            st.fixed_dictionaries(
                {
                    "collected_on": SOME_DAYS,
                    "value": amounts("0", "5000"),
                    "unit": st.sampled_from(["10*9/L", "K/uL", "/uL", "/mm3"]),
                },
                optional={"unreliable": st.booleans()},
            )
        ),
        "doses": st.lists(
            st.fixed_dictionaries(
                {"given_on": SOME_DAYS, "micrograms": amounts("0.000000000001", "5000")},
                optional={"micrograms_per_kg": amounts("0.000000000001", "5000")},
            )
        ),
        "events": st.lists(
            st.fixed_dictionaries(
                {"kind": st.sampled_from([str(kind) for kind in EventKind]), "occurred_on": SOME_DAYS},
                optional={"resolved_on": SOME_DAYS},
            )
        ),
        "eligibility": st.lists(st.text(max_size=100)),
    },
)


@given(SOME_DOCUMENTS)
def test_any_canonical_document_reads_as_the_same_course_up_to_the_day(values: dict[str, Any]) -> None:
    request = read(encode(exact(values)))
    text = request.course.document(request.protocol, request.on)
    again = read(text)
    assert again == request._replace(course=request.course.until(request.on))
    assert again.course.document(again.protocol, again.on) == text
    assert again.course.until(again.on) is again.course


@given(SOME_DOCUMENTS)
def test_the_course_that_was_read_is_the_one_that_was_written(values: dict[str, Any]) -> None:
    course = read(encode(exact(values))).course
    written = sorted(values.get("doses", []), key=lambda dose: dose["given_on"])
    assert [(dose.day, dose.micrograms, dose.level) for dose in course.doses] == [
        (read_day(dose["given_on"]), dose["micrograms"], dose.get("micrograms_per_kg")) for dose in written
    ]
    assert all(plain(dose.micrograms).count("E") == 0 for dose in course.doses)
    assert course.eligibility == tuple(sorted(set(values.get("eligibility", []))))
