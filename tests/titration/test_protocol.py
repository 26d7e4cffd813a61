"""A protocol file is read whole or refused whole: every fault of form with its path, then every check P1 to P13."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import titrator.protocols
from titrator.titration.errors import Fault, InvalidProtocol
from titrator.titration.protocol import (
    RULES,
    Limit,
    Protocol,
    Schedule,
    Source,
    Status,
    Unprinted,
    Verification,
    WeeklyProtocol,
    WeightBasis,
    read_protocol,
)

FOLDER = Path(titrator.protocols.__file__).parent
SHIPPED = sorted(path.stem for path in FOLDER.glob("*.toml") if not path.name.endswith(".examples.toml"))
ABSENT = object()
DIGEST = "5e" * 32


def shipped(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


US = shipped("us-itp-adult")  # a baseline weight, no maximum in micrograms
CASE = shipped("cart-2021-case")  # every optional setting but a maximum age
ONCE = shipped("us-hs-ars")  # a single dose

Edits = Mapping[str, object]


def edited(document: Mapping[str, object], edits: Edits) -> dict[str, object]:
    """The document with each setting, named by its path, put in; ABSENT takes it out."""
    copy = deepcopy(dict(document))
    for path, value in edits.items():
        *tables, key = path.split(".")
        table = copy
        for name in tables:
            table = table[name]
        if value is ABSENT:
            del table[key]
        else:
            table[key] = value
    return copy


def read(document: Mapping[str, object], edits: Edits | None = None, name: str | None = None) -> Protocol:
    return read_protocol(edited(document, edits or {}), name=name or str(document["id"]), sha256=DIGEST)


def faults(document: Mapping[str, object], edits: Edits, name: str | None = None) -> list[Fault]:
    with pytest.raises(InvalidProtocol) as refusal:
        read(document, edits, name)
    return list(refusal.value.faults)


def leaves(value: object, path: str = "") -> Iterator[str]:
    """The paths of all settings of a document that are no tables."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else key)
    else:
        yield path


# A good file


def test_every_setting_of_a_file_is_read() -> None:
    assert read(
        CASE,
        {"notes": {"goal": "x"}, "citations": {"start": "page 1"}, "unprinted": [{"rule": "hold", "text": "ours"}]},
    ) == WeeklyProtocol(
        id="cart-2021-case",
        title=CASE["title"],
        status=Status.CASE_REPORT,
        source=Source(**CASE["source"] | {"verification": Verification.ARTICLE}),
        indication=CASE["population"]["indication"],
        minimum_age=18,
        maximum_age=None,
        eligibility=("marrow-infiltration-excluded", "mds-excluded"),
        weight_basis=WeightBasis.CURRENT,
        weight_maximum_age=84,
        start=Decimal(1),
        maximum=Decimal("8.6"),
        maximum_micrograms=Decimal(500),
        vials=(125, 250, 500),
        citations={"start": "page 1"},
        unprinted=(Unprinted("hold", "ours"),),
        notes={"goal": "x"},
        sha256=DIGEST,
        step=Decimal(1),
        minimum=Decimal(1),
        increase=Limit("<=", Decimal(50)),
        maintain=(Limit(">", Decimal(50)), Limit("<=", Decimal(200))),
        reduce=Limit(">", Decimal(200)),
        reduce_weeks=2,
        hold=Limit(">", Decimal(400)),
        resume=Limit("<", Decimal(200)),
    )


def test_a_single_dose_is_a_plain_protocol() -> None:
    protocol = read(ONCE)
    assert type(protocol) is Protocol
    assert (protocol.start, protocol.maximum, protocol.maximum_micrograms) == (10, 10, None)
    assert (protocol.minimum_age, protocol.maximum_age, protocol.eligibility) == (0, None, ())


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_file_is_in_order(name: str) -> None:
    protocol = read(shipped(name))
    assert protocol.id == name
    assert isinstance(protocol, WeeklyProtocol) == (shipped(name)["schedule"] == Schedule.WEEKLY)


def test_amounts_are_exact_and_whole_numbers_may_be_written_with_a_point() -> None:
    protocol = read(CASE, {"dose.maximum_micrograms_per_kg": 8.10, "population.minimum_age_years": 18.0})
    assert str(protocol.maximum) == "8.1"
    assert (protocol.minimum_age, type(protocol.minimum_age)) == (18, int)


def test_a_protocol_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        read(US).start = Decimal(2)


def test_reading_leaves_the_document_as_it_is() -> None:
    document = deepcopy(CASE)
    read(document)
    assert document == CASE


OPTIONAL = [
    (CASE, "population.eligibility", "eligibility", ()),
    (shipped("us-itp-paediatric"), "population.maximum_age_years", "maximum_age", None),
    (CASE, "weight.maximum_age_days", "weight_maximum_age", None),
    (CASE, "dose.maximum_micrograms", "maximum_micrograms", None),
    (CASE, "platelets.resume", "resume", None),
    (CASE, "unprinted", "unprinted", ()),
    (CASE, "notes", "notes", {}),
]


@pytest.mark.parametrize(("document", "path", "field", "without"), OPTIONAL, ids=[path for _, path, _, _ in OPTIONAL])
def test_what_is_optional_may_be_left_out(
    document: Mapping[str, object], path: str, field: str, without: object
) -> None:
    assert getattr(read(document, {path: ABSENT}), field) == without


# Faults of form: what is missing, and what is unknown

REQUIRED = {
    "us-itp-adult": [
        "id", "title", "status", "schedule",
        "source.document", "source.cited_as", "source.edition", "source.section", "source.url", "source.retrieved_on",
        "source.verification", "source.reviewer", "source.reviewed_on",
        "population.indication", "population.minimum_age_years", "weight.basis",
        "dose.start_micrograms_per_kg", "dose.step_micrograms_per_kg", "dose.minimum_micrograms_per_kg",
        "dose.maximum_micrograms_per_kg", "dose.vials_micrograms",
        "platelets.increase", "platelets.maintain", "platelets.reduce", "platelets.reduce_weeks", "platelets.hold",
        "citations",
    ],
    "us-hs-ars": [
        "id", "title", "status", "population.minimum_age_years", "weight.basis", "dose.start_micrograms_per_kg",
        "dose.maximum_micrograms_per_kg", "dose.vials_micrograms", "citations",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in REQUIRED.items() for path in paths])
def test_what_is_required_must_be_there(name: str, path: str) -> None:
    assert faults(shipped(name), {path: ABSENT}) == [Fault(path, "required")]


@pytest.mark.parametrize("table", ["source", "population", "weight", "platelets"])
def test_a_missing_table_is_a_fault_and_so_is_each_setting_that_it_must_have(table: str) -> None:
    inside = [path for path in REQUIRED["us-itp-adult"] if path.startswith(f"{table}.")]
    assert faults(US, {table: ABSENT}) == sorted(Fault(path, "required") for path in [table, *inside])


def test_an_empty_file_lacks_everything_that_is_required() -> None:
    with pytest.raises(InvalidProtocol) as refusal:
        read_protocol({}, name="empty", sha256=DIGEST)
    tables = ["source", "population", "weight", "dose", "platelets"]
    expected = {Fault(path, "required") for path in [*REQUIRED["us-itp-adult"], *tables]}
    assert set(refusal.value.faults) == expected


@pytest.mark.parametrize(("value", "message"), [(ABSENT, "required"), ("x", 'must be a table, not "x"')])
def test_a_missing_table_of_doses_is_one_fault(value: object, message: str) -> None:
    found = faults(US, {"dose": value})
    assert found.count(Fault("dose", message)) == 1


UNKNOWN = [
    (US, {"x": 1}, "x"),
    (US, {"a key": 1}, '"a key"'),
    (US, {"k" * 70: 1}, '"' + "k" * 64 + '"'),
    (US, {"source.x": 1}, "source.x"),
    (US, {"population.maximum_age": 17}, "population.maximum_age"),
    (US, {"weight.x": ""}, "weight.x"),
    (US, {"dose.maximum": 1}, "dose.maximum"),
    (US, {"dose.": 1}, 'dose.""'),
    (US, {"dose.[bold]": 1}, 'dose."[bold]"'),
    (US, {"platelets.reduce_week": 2}, "platelets.reduce_week"),
    (US, {"citations.x": "section 1"}, "citations.x"),
    (US, {"unprinted": [{"rule": "hold", "text": "x", "why": "y"}]}, "unprinted[0].why"),
    (ONCE, {"platelets": US["platelets"]}, "platelets"),
    (ONCE, {"dose.step_micrograms_per_kg": 1}, "dose.step_micrograms_per_kg"),
    (ONCE, {"dose.minimum_micrograms_per_kg": 1}, "dose.minimum_micrograms_per_kg"),
]


@pytest.mark.parametrize(("document", "edits", "path"), UNKNOWN, ids=[path for _, _, path in UNKNOWN])
def test_what_is_unknown_is_refused_at_every_depth(document: Mapping[str, object], edits: Edits, path: str) -> None:
    assert faults(document, edits) == [Fault(path, "unknown key")]


def test_notes_may_have_any_keys() -> None:
    assert read(US, {"notes": {"Anything at all": "x", "[bold]": "y"}}).notes == {"Anything at all": "x", "[bold]": "y"}


# Faults of form: values of the wrong kind

A_LINE = "a text of one line, without control characters"
A_TEXT = f"must be {A_LINE}, not"
NO_TEXT = [
    (1, "1"), (2.50, "2.5"), (True, "true"), ("", '""'), ("  ", '"  "'), ([], "a list"), ({}, "an object"),
    ("two\nlines", '"two\\nlines"'), ("a\ttab", '"a\\ttab"'), ("\x1b[31mred", '"\\u001b[31mred"'),
    ("\x7f", '"\\u007f"'),
    ("right to \u202eleft", '"right to \\u202eleft"'),
    ("\u2028", '"\\u2028"'), ("\u00a0", '"\\u00a0"'), ("\u3000", '"\\u3000"'),
]  # fmt: skip
NO_AMOUNT = [
    (0, "0"), (-1, "-1"), (-0.0, "0"), (5000.1, "5000.1"), (5001, "5001"), (10**17, "1" + 17 * "0"),
    (1e-30, "1e-30"), (float("inf"), "inf"), (float("nan"), "nan"), (True, "true"), ("1", '"1"'), ([1], "a list"),
    ({}, "an object"),
]  # fmt: skip
NO_WHOLE_NUMBER = [(1.5, "1.5"), (True, "true"), ("1", '"1"'), ([1], "a list"), ({}, "an object"), (1e30, "1e+30")]
NO_LIMIT = [
    "<= 50", "< 50", " <50", "<50 ", "<50\n", "50", "=50", "==50", "=<50", "=>50", "<>50", "!=50", "<<50", "≤50", "<",
    "", "<-50", "<+50", "<5e1", "<5_0", "<0x32", "<5,0", "<.5", "<50.", "<50.0000", "<50000", "<nan", "<inf",
    "<\u0665\u0660",
    "<50;import os", "<50 or True", "__import__('os')", "<x", "50<", "<50<60",
]  # fmt: skip
NO_LIMIT_AT_ALL = [(50, "50"), (True, "true"), (["<50"], "a list"), ({"<": 50}, "an object")]
A_LIMIT = 'must be a comparator and a number of 10*9/L, like "<50", not'

TEXTS = [
    "id", "title", "source.document", "source.cited_as", "source.edition", "source.section", "source.url",
    "source.retrieved_on", "population.indication", "citations.start", "notes.evidence",
]  # fmt: skip
CHOICES = {
    "status": "label, case_report, local",
    "schedule": "weekly, once",
    "source.verification": "label_text, transcription, excerpt, summary, article",
    "weight.basis": "baseline, current",
}
AMOUNTS = [
    "dose.start_micrograms_per_kg", "dose.step_micrograms_per_kg", "dose.minimum_micrograms_per_kg",
    "dose.maximum_micrograms_per_kg", "dose.maximum_micrograms",
]  # fmt: skip
WHOLE_NUMBERS = {
    "population.minimum_age_years": (0, 150),
    "population.maximum_age_years": (0, 150),
    "weight.maximum_age_days": (1, 3660),
    "platelets.reduce_weeks": (1, 8),
}
LIMITS = ["increase", "reduce", "hold", "resume"]


@pytest.mark.parametrize("path", TEXTS)
@pytest.mark.parametrize(("value", "shown"), NO_TEXT)
def test_a_text_is_a_text_that_says_something(path: str, value: object, shown: str) -> None:
    assert faults(CASE, {path: value}) == [Fault(path, f"{A_TEXT} {shown}")]


@pytest.mark.parametrize("text", ["5\u00a0µg", "血小板\u3000減少", "é 10⁹ — “x”"])
def test_a_text_may_have_any_signs_that_can_be_shown_and_the_spaces_between_them(text: str) -> None:
    protocol = read(US, {"title": text, "population.eligibility": [text], "notes": {text: text}})
    assert (protocol.title, protocol.eligibility, protocol.notes) == (text, (text,), {text: text})


@pytest.mark.parametrize("path", ["source.reviewer", "source.reviewed_on"])
@pytest.mark.parametrize(("value", "shown"), [case for case in NO_TEXT if case[0] != ""])
def test_the_review_may_be_an_empty_text_but_nothing_else(path: str, value: object, shown: str) -> None:
    assert faults(CASE, {path: value}) == [Fault(path, f"{A_TEXT} {shown}")]


def test_a_value_is_quoted_back_escaped_and_cut() -> None:
    assert faults(US, {"status": "\x1b[31m\n" + "x" * 50}) == [
        Fault("status", 'must be one of label, case_report, local, not "\\u001b[31m\\n' + "x" * 34 + '…"')
    ]


def test_a_day_without_quotes_is_not_called_something_else() -> None:
    (fault,) = faults(US, {"source.retrieved_on": datetime.date(2026, 11, 22)})
    assert fault.path == "source.retrieved_on"
    assert fault.message.startswith("must be a text")
    assert "a list" not in fault.message
    assert "an object" not in fault.message


@pytest.mark.parametrize(("path", "known"), CHOICES.items())
@pytest.mark.parametrize(
    ("value", "shown"),
    [("Label", '"Label"'), ("", '""'), ("weekly ", '"weekly "'), (1, "1"), (True, "true"), ([], "a list")],
)
def test_a_choice_is_one_of_those_known(path: str, known: str, value: object, shown: str) -> None:
    assert faults(US, {path: value}) == [Fault(path, f"must be one of {known}, not {shown}")]


@pytest.mark.parametrize("path", AMOUNTS)
@pytest.mark.parametrize(("value", "shown"), NO_AMOUNT)
def test_an_amount_is_a_number_above_0_and_at_most_5000(path: str, value: object, shown: str) -> None:
    assert faults(CASE, {path: value}) == [Fault(path, f"must be a number above 0, at most 5000, not {shown}")]


def test_an_amount_may_be_5000_or_next_to_nothing() -> None:
    protocol = read(CASE, {"dose.maximum_micrograms": 5000})
    assert protocol.maximum_micrograms == 5000
    assert read(CASE, {"dose.maximum_micrograms": 0.001}).maximum_micrograms == Decimal("0.001")


@pytest.mark.parametrize(("path", "bounds"), WHOLE_NUMBERS.items())
@pytest.mark.parametrize(("value", "shown"), NO_WHOLE_NUMBER)
def test_a_whole_number_is_whole(path: str, bounds: tuple[int, int], value: object, shown: str) -> None:
    message = f"must be a whole number from {bounds[0]} to {bounds[1]}, not {shown}"
    assert faults(CASE, {path: value}) == [Fault(path, message)]


@pytest.mark.parametrize(("path", "bounds"), WHOLE_NUMBERS.items())
def test_a_whole_number_keeps_its_bounds(path: str, bounds: tuple[int, int]) -> None:
    least, most = bounds
    for value in (least - 1, most + 1):
        message = f"must be a whole number from {least} to {most}, not {value}"
        assert faults(CASE, {path: value}) == [Fault(path, message)]
    other_age = {"population.minimum_age_years": 0} if path == "population.maximum_age_years" else {}
    for value in (least, most):
        read(CASE, {**other_age, path: value})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x", [("population.eligibility", 'must be a list of texts, not "x"')]),
        (["x", 1], [("population.eligibility", "must be a list of texts, not a list")]),
        ({}, [("population.eligibility", "must be a list of texts, not an object")]),
    ],
)
def test_a_list_of_texts_has_nothing_but_texts(value: object, expected: list[tuple[str, str]]) -> None:
    assert faults(CASE, {"population.eligibility": value}) == [Fault(*fault) for fault in expected]


@pytest.mark.parametrize(("value", "shown"), [case for case in NO_TEXT if isinstance(case[0], str)])
def test_each_text_of_a_list_says_something(value: str, shown: str) -> None:
    assert faults(CASE, {"population.eligibility": ["x", value, "y", value]}) == [
        Fault(f"population.eligibility[{index}]", f"{A_TEXT} {shown}") for index in (1, 3)
    ]


@pytest.mark.parametrize(("key", "shown"), [case for case in NO_TEXT if isinstance(case[0], str)])
def test_each_key_of_a_note_says_something(key: str, shown: str) -> None:
    assert faults(US, {"notes": {"sound": "x", key: "x"}}) == [Fault(f"notes.{shown}", f"the key must be {A_LINE}")]


def test_a_wrong_note_is_told_by_its_key_escaped() -> None:
    assert faults(US, {"notes": {"a key": 1, "a": 1}}) == [
        Fault('notes."a key"', f"{A_TEXT} 1"),
        Fault("notes.a", f"{A_TEXT} 1"),
    ]


@pytest.mark.parametrize("path", [*leaves(CASE), "source", "population", "weight", "dose", "platelets", "citations"])
def test_nothing_is_null(path: str) -> None:
    """TOML has no null, but a program may ask with one: it is neither an empty text nor an absent setting."""
    assert Fault(path, "must not be null") in faults(CASE, {path: None})


VIALS = "dose.vials_micrograms"
A_VIAL = "must be a whole number from 1 to 5000, not"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (125, [(VIALS, "must be a list of whole numbers, not 125")]),
        ("125", [(VIALS, 'must be a list of whole numbers, not "125"')]),
        ([125, "250"], [(VIALS, "must be a list of whole numbers, not a list")]),
        ([True], [(VIALS, "must be a list of whole numbers, not a list")]),
        ([125, 1e30], [(VIALS, "must be a list of whole numbers, not a list")]),
        ([[125]], [(VIALS, "must be a list of whole numbers, not a list")]),
        ([0, 125, 250.5, 5001], [(f"{VIALS}[{i}]", f"{A_VIAL} {x}") for i, x in ((0, "0"), (2, "250.5"), (3, "5001"))]),
        ([-125], [(f"{VIALS}[0]", f"{A_VIAL} -125")]),
    ],
)
def test_vials_are_whole_numbers_of_micrograms(value: object, expected: list[tuple[str, str]]) -> None:
    assert faults(US, {VIALS: value}) == [Fault(*fault) for fault in expected]


def test_vials_may_be_as_small_as_1_and_as_large_as_5000_micrograms() -> None:
    assert read(US, {VIALS: [1.0, 5000]}).vials == (1, 5000)


@pytest.mark.parametrize("key", LIMITS)
@pytest.mark.parametrize("text", NO_LIMIT)
def test_a_limit_is_a_comparator_and_a_number_without_a_space_and_nothing_is_ever_run(key: str, text: str) -> None:
    (fault,) = faults(US, {f"platelets.{key}": text})
    assert fault.path == f"platelets.{key}"
    assert fault.message.startswith(f'{A_LIMIT} "')


@pytest.mark.parametrize("key", LIMITS)
@pytest.mark.parametrize(("value", "shown"), NO_LIMIT_AT_ALL)
def test_a_limit_is_a_text(key: str, value: object, shown: str) -> None:
    assert faults(US, {f"platelets.{key}": value}) == [Fault(f"platelets.{key}", f"{A_LIMIT} {shown}")]


def test_a_bad_limit_is_quoted_as_it_stands() -> None:
    assert faults(US, {"platelets.increase": "<50;import os"}) == [
        Fault("platelets.increase", f'{A_LIMIT} "<50;import os"')
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (">=50", [("platelets.maintain", 'must be a list of limits, not ">=50"')]),
        ([">=50", 200], [("platelets.maintain", "must be a list of limits, not a list")]),
        ([">=50", "200"], [("platelets.maintain[1]", f'{A_LIMIT} "200"')]),
        (["50", ""], [("platelets.maintain[0]", f'{A_LIMIT} "50"'), ("platelets.maintain[1]", f'{A_LIMIT} ""')]),
    ],
)
def test_the_band_that_keeps_the_dose_is_a_list_of_limits(value: object, expected: list[tuple[str, str]]) -> None:
    assert faults(US, {"platelets.maintain": value}) == [Fault(*fault) for fault in expected]


@pytest.mark.parametrize("table", ["source", "population", "weight", "platelets", "citations", "notes"])
@pytest.mark.parametrize(("value", "shown"), [("x", '"x"'), (1, "1"), (True, "true"), ([], "a list"), ([{}], "a list")])
def test_a_table_is_a_table(table: str, value: object, shown: str) -> None:
    assert Fault(table, f"must be a table, not {shown}") in faults(US, {table: value})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x", [("unprinted", 'must be a list of tables, not "x"')]),
        ({"rule": "hold", "text": "x"}, [("unprinted", "must be a list of tables, not an object")]),
        ([{"rule": "hold", "text": "x"}, "x"], [("unprinted", "must be a list of tables, not a list")]),
        ([{}], [("unprinted[0].rule", "required"), ("unprinted[0].text", "required")]),
        (
            [{"rule": "hold", "text": "x"}, {"rule": "Hold", "text": ""}],
            [
                ("unprinted[1].rule", f'must be one of {", ".join(RULES)}, not "Hold"'),
                ("unprinted[1].text", f'{A_TEXT} ""'),
            ],
        ),
    ],
)
def test_what_is_unprinted_is_a_list_of_rules_with_texts(value: object, expected: list[tuple[str, str]]) -> None:
    assert faults(US, {"unprinted": value}) == [Fault(*fault) for fault in expected]


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_may_be_cited_or_be_called_unprinted(rule: str) -> None:
    protocol = read(US, {"citations": {rule: "page 1"}, "unprinted": [{"rule": rule, "text": "x"}]})
    assert (protocol.citations, protocol.unprinted) == ({rule: "page 1"}, (Unprinted(rule, "x"),))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_value_of_no_kind_is_refused_wherever_it_stands(name: str) -> None:
    document = shipped(name)
    for path in leaves(document):
        found = faults(document, {path: [[1]]})
        assert path in {fault.path for fault in found}, path


# Limits

LIMIT_TEXTS = {
    "<50": ("<", "50"),
    "<=50": ("<=", "50"),
    "<=50.5": ("<=", "50.5"),
    "<50.500": ("<", "50.5"),
    "<50.000": ("<", "50"),
    "<0050": ("<", "50"),
    "<100": ("<", "100"),
    "<0.001": ("<", "0.001"),
    "<149.999": ("<", "149.999"),
}


@pytest.mark.parametrize(("text", "parts"), LIMIT_TEXTS.items())
def test_a_limit_is_read_exactly_and_shown_as_short_as_can_be(text: str, parts: tuple[str, str]) -> None:
    comparator, value = parts
    keep = {"<": ">=", "<=": ">"}[comparator] + value
    protocol = read(US, {"platelets.increase": text, "platelets.maintain": [keep, "<=200"]})
    assert isinstance(protocol, WeeklyProtocol)
    assert protocol.increase == Limit(comparator, Decimal(value))
    assert str(protocol.increase) == comparator + value


def test_a_limit_may_have_four_digits_before_the_point_and_three_after() -> None:
    protocol = read(US, {"platelets.hold": ">=4999.999"})
    assert isinstance(protocol, WeeklyProtocol)
    assert protocol.hold == Limit(">=", Decimal("4999.999"))


HOLDS = {  # below, at and above
    "<": (True, False, False),
    "<=": (True, True, False),
    ">": (False, False, True),
    ">=": (False, True, True),
}
BELOW_AT_ABOVE = [Decimal(count) for count in ("49.999", "50.0", "50.001")]


@pytest.mark.parametrize(("comparator", "holds"), HOLDS.items())
def test_a_limit_holds_as_its_comparator_says(comparator: str, holds: tuple[bool, ...]) -> None:
    limit = Limit(comparator, Decimal(50))
    assert tuple(limit.holds(count) for count in BELOW_AT_ABOVE) == holds


@pytest.mark.parametrize("comparator", HOLDS)
def test_every_count_meets_either_a_limit_or_its_complement(comparator: str) -> None:
    limit = Limit(comparator, Decimal(50))
    assert all(limit.holds(count) != limit.complement().holds(count) for count in BELOW_AT_ABOVE)
    assert limit.complement().complement() == limit


# The grid

GRIDS = [
    # start, step, minimum, maximum; the levels
    (CASE, {}, "1 1.6 2 2.6 3 3.6 4 4.6 5 5.6 6 6.6 7 7.6 8 8.6"),
    (US, {}, "1 2 3 4 5 6 7 8 9 10"),
    (US, {"start": 2, "step": 1.5, "maximum": 5.5}, "1 2 2.5 3.5 4 5 5.5"),
    (US, {"start": 3, "step": 1, "minimum": 0.5, "maximum": 3.5}, "0.5 1 1.5 2 2.5 3 3.5"),
    (US, {"start": 2, "minimum": 2, "maximum": 3}, "2 3"),
    (US, {"start": 1, "minimum": 0.1, "step": 0.3, "maximum": 1.3}, "0.1 0.4 0.7 1 1.3"),
    (US, {"start": 10, "minimum": 4, "step": 4, "maximum": 10}, "6 10"),
]


@pytest.mark.parametrize(("document", "doses", "levels"), GRIDS)
def test_the_grid_is_what_steps_from_the_start_and_from_the_maximum_reach(
    document: Mapping[str, object], doses: Mapping[str, float], levels: str
) -> None:
    protocol = read(document, {f"dose.{key}_micrograms_per_kg": value for key, value in doses.items()})
    assert isinstance(protocol, WeeklyProtocol)
    assert [str(level) for level in protocol.grid] == levels.split()


def test_the_finest_grid_has_200_steps() -> None:
    doses = {"start": 1, "step": 0.01, "minimum": 1, "maximum": 3}
    protocol = read(US, {f"dose.{key}_micrograms_per_kg": value for key, value in doses.items()})
    assert isinstance(protocol, WeeklyProtocol)
    assert len(protocol.grid) == 201
    assert (protocol.grid[0], protocol.grid[1], protocol.grid[-1]) == (1, Decimal("1.01"), 3)


def test_the_grid_does_not_depend_on_the_way_an_amount_is_written() -> None:
    assert read(US) == read(US, {"dose.start_micrograms_per_kg": 1.0})


# Citations


def test_a_rule_is_cited_by_the_short_name_of_the_source_and_its_place() -> None:
    protocol = read(US, {"source.cited_as": "The label", "citations.increase": "section 2.1"})
    assert protocol.citation("increase") == "The label, section 2.1"


@pytest.mark.parametrize("rule", ["missed_dose", "", "no rule"])
def test_a_rule_that_the_source_does_not_print_is_not_cited(rule: str) -> None:
    assert read(US).citation(rule) is None


# The checks

P1 = "P1: must be the file's name, lower-case words joined by hyphens, not"
P2_URL = "P2: must be a web address, not"
P2_DAY = "P2: must be a date, YYYY-MM-DD, not"
P6 = "P6: must be 1 to 8 sizes, each once, the smallest first"
P7 = "P7: must go 1 to 200 times into the way from minimum to maximum"
P12 = 'P12: required, or an [[unprinted]] entry with rule = "resume" to say why it is absent'
DOSE = "dose.{}_micrograms_per_kg".format
NO_RESUME = {"platelets.resume": ABSENT, "unprinted": [{"rule": "reduce", "text": "x"}]}


def p9(low: str, high: str) -> tuple[str, str]:
    return "platelets.maintain", f"P9: must be {low} and {high}: no count undecided, none decided twice"


CHECKS: list[tuple[Mapping[str, object], Edits, list[tuple[str, str]]]] = [
    (US, {"id": "other"}, [("id", f'{P1} "other"')]),
    (US, {"source.url": "ftp://example.org"}, [("source.url", f'{P2_URL} "ftp://example.org"')]),
    (US, {"source.url": "www.example.org"}, [("source.url", f'{P2_URL} "www.example.org"')]),
    (US, {"source.url": "javascript:https://"}, [("source.url", f'{P2_URL} "javascript:https://"')]),
    (US, {"source.retrieved_on": "22.11.2026"}, [("source.retrieved_on", f'{P2_DAY} "22.11.2026"')]),
    (US, {"source.retrieved_on": "2026-02-30"}, [("source.retrieved_on", f'{P2_DAY} "2026-02-30"')]),
    (US, {"source.retrieved_on": "20261122"}, [("source.retrieved_on", f'{P2_DAY} "20261122"')]),
    (US, {"source.retrieved_on": "2026-W47-7"}, [("source.retrieved_on", f'{P2_DAY} "2026-W47-7"')]),
    (
        US,
        {"source.reviewer": "A. Pharmacist", "source.reviewed_on": "soon"},
        [("source.reviewed_on", f'{P2_DAY} "soon"')],
    ),
    (US, {"source.reviewer": "A. Pharmacist"}, [("source.reviewer", "P2: reviewer and reviewed_on go together")]),
    (US, {"source.reviewed_on": "2026-11-22"}, [("source.reviewer", "P2: reviewer and reviewed_on go together")]),
    (
        US,
        {"population.maximum_age_years": 17},
        [("population.maximum_age_years", "P3: must not be below the minimum, 18")],
    ),
    (
        US,
        {"weight.maximum_age_days": 84},
        [("weight.maximum_age_days", "P4: only a current weight has an age limit, a baseline weight has none")],
    ),
    (US, {DOSE("start"): 10.1}, [(DOSE("maximum"), "P5: must not be below the start, 10.1")]),
    (US, {DOSE("maximum"): 100.1}, [(DOSE("maximum"), "P5: must be at most 100")]),
    (US, {DOSE("minimum"): 1.1}, [(DOSE("minimum"), "P5: must not be above the start, 1")]),
    (US, {VIALS: []}, [(VIALS, P6)]),
    (US, {VIALS: [1, 2, 3, 4, 5, 6, 7, 8, 9]}, [(VIALS, P6)]),
    (US, {VIALS: [125, 125]}, [(VIALS, P6)]),
    (US, {VIALS: [250, 125]}, [(VIALS, P6)]),
    (US, {DOSE("step"): 9.1}, [(DOSE("step"), P7)]),
    (US, {DOSE("step"): 0.04}, [(DOSE("step"), P7)]),
    (US, {DOSE("maximum"): 1}, [(DOSE("step"), P7)]),
    (
        US,
        {"platelets.increase": ">50", "platelets.maintain": ["<=50", "<=200"]},
        [("platelets.increase", "P8: must be a limit with < or <=, not >50")],
    ),
    (
        US,
        {"platelets.reduce": "<200", "platelets.maintain": [">=50", ">=200"]},
        [("platelets.reduce", "P8: must be a limit with > or >=, not <200")],
    ),
    (US, {"platelets.hold": "<=400"}, [("platelets.hold", "P8: must be a limit with > or >=, not <=400")]),
    (US, {"platelets.resume": ">=200"}, [("platelets.resume", "P8: must be a limit with < or <=, not >=200")]),
    (US, {"platelets.maintain": [">50", "<=200"]}, [p9(">=50", "<=200")]),
    (US, {"platelets.maintain": [">=50", "<200"]}, [p9(">=50", "<=200")]),
    (US, {"platelets.maintain": [">=51", "<=200"]}, [p9(">=50", "<=200")]),
    (US, {"platelets.maintain": ["<=200", ">=50"]}, [p9(">=50", "<=200")]),
    (US, {"platelets.maintain": [">=50"]}, [p9(">=50", "<=200")]),
    (US, {"platelets.maintain": []}, [p9(">=50", "<=200")]),
    (US, {"platelets.maintain": [">=50", "<=200", "<=200"]}, [p9(">=50", "<=200")]),
    (US, {"platelets.increase": "<=50"}, [p9(">50", "<=200")]),
    (US, {"platelets.reduce": ">=200"}, [p9(">=50", "<200")]),
    (
        US,
        {"platelets.increase": "<=0", "platelets.maintain": [">0", "<=200"]},
        [("platelets.increase", "P10: must be above 0")],
    ),
    (
        US,
        {"platelets.increase": "<0.000", "platelets.maintain": [">=0", "<=200"]},
        [("platelets.increase", "P10: must be above 0")],
    ),
    (
        US,
        {"platelets.hold": ">=5000"},
        [("platelets.hold", "P10: must be below 5000, the highest count that is taken")],
    ),
    (US, {"platelets.hold": ">9999"}, [("platelets.hold", "P10: must be below 5000, the highest count that is taken")]),
    (
        US,
        {"platelets.reduce": ">50", "platelets.maintain": [">=50", "<=50"]},
        [("platelets.reduce", "P10: must be above the increase limit, <50")],
    ),
    (
        US,
        {"platelets.reduce": ">400", "platelets.maintain": [">=50", "<=400"]},
        [("platelets.hold", "P10: must be above the reduce limit, >400")],
    ),
    (
        US,
        {"platelets.resume": "<50"},
        [("platelets.resume", "P11: must lie between the increase limit, <50, and the hold limit, >400")],
    ),
    (
        US,
        {"platelets.resume": "<=400"},
        [("platelets.resume", "P11: must lie between the increase limit, <50, and the hold limit, >400")],
    ),
    (US, NO_RESUME, [("platelets.resume", P12)]),
    (
        ONCE,
        {DOSE("start"): 9},
        [(DOSE("start"), "P13: must be the maximum, 10: it is the only dose")],
    ),
    (ONCE, {"weight.basis": "baseline"}, [("weight.basis", "P13: must be current: a single dose has no baseline")]),
    (
        ONCE,
        {"population.eligibility": ["mds-excluded"]},
        [("population.eligibility", "P13: must be absent: a single dose asks for none")],
    ),
    (ONCE, {VIALS: []}, [(VIALS, P6)]),
]


@pytest.mark.parametrize(("document", "edits", "expected"), CHECKS)
def test_what_makes_no_sense_together_is_refused_with_the_number_of_its_check(
    document: Mapping[str, object], edits: Edits, expected: list[tuple[str, str]]
) -> None:
    assert faults(document, edits, name=str(document["id"])) == [Fault(*fault) for fault in expected]


@pytest.mark.parametrize(
    "ident", ["Us-itp", "us_itp", "us itp", "-us", "us-", "us--itp", "üs", "us.itp", "us/itp", "\u0661"]
)
def test_an_id_is_lower_case_words_joined_by_hyphens_even_if_the_file_has_that_name(ident: str) -> None:
    assert [fault.path for fault in faults(US, {"id": ident}, name=ident)] == ["id"]


@pytest.mark.parametrize("ident", ["a", "1", "us-2026", "us-itp-adult-2"])
def test_an_id_may_be_one_word_and_have_numbers(ident: str) -> None:
    assert read(US, {"id": ident}, name=ident).id == ident


SOUND: list[tuple[Mapping[str, object], Edits]] = [
    (US, {"source.url": "http://example.org"}),
    (US, {"source.reviewer": "A. Pharmacist", "source.reviewed_on": "2026-11-22"}),
    (US, {"population.maximum_age_years": 18}),
    (US, {"weight.basis": "current"}),
    (US, {"weight.basis": "current", "weight.maximum_age_days": 84}),
    (US, {DOSE("start"): 10}),
    (US, {DOSE("maximum"): 100}),
    (US, {DOSE("minimum"): 0.5}),
    (US, {VIALS: [1, 2, 3, 4, 5, 6, 7, 8]}),
    (US, {DOSE("step"): 9}),
    (US, {DOSE("step"): 0.045}),
    (US, {"platelets.increase": "<=50", "platelets.maintain": [">50", "<=200"]}),
    (US, {"platelets.reduce": ">=200", "platelets.maintain": [">=50", "<200"]}),
    (US, {"platelets.increase": "<0.001", "platelets.maintain": [">=0.001", "<=200"]}),
    (US, {"platelets.hold": ">4999.999"}),
    (US, {"platelets.hold": ">=400", "platelets.resume": "<=399.999"}),
    (US, {"platelets.resume": "<=50.001"}),
    (US, {"platelets.hold": ">200.001", "platelets.resume": "<200"}),
    (US, {**NO_RESUME, "unprinted": [{"rule": "hold", "text": "x"}, {"rule": "resume", "text": "x"}]}),
    (ONCE, {DOSE("start"): 5, DOSE("maximum"): 5, "weight.maximum_age_days": 28, "dose.maximum_micrograms": 1000}),
]


@pytest.mark.parametrize(("document", "edits"), SOUND)
def test_what_just_makes_sense_is_read(document: Mapping[str, object], edits: Edits) -> None:
    assert read(document, edits).id == document["id"]


# Several faults at once

MANY_FAULTS_OF_FORM: tuple[Edits, list[tuple[str, str]]] = (
    {
        "zzz": 1,
        "title": "",
        "status": "Label",
        "source.verification": ABSENT,
        "dose.vials_micrograms": [125, 0],
        "dose.maximum_micrograms": "500",
        "platelets.hold": "400",
        "platelets.maintain": [">50", "200"],
        "citations.minimim": "x",
        "unprinted": [{"rule": "hold"}],
    },
    [
        ("citations.minimim", "unknown key"),
        ("dose.maximum_micrograms", 'must be a number above 0, at most 5000, not "500"'),
        ("dose.vials_micrograms[1]", "must be a whole number from 1 to 5000, not 0"),
        ("platelets.hold", f'{A_LIMIT} "400"'),
        ("platelets.maintain[1]", f'{A_LIMIT} "200"'),
        ("source.verification", "required"),
        ("status", 'must be one of label, case_report, local, not "Label"'),
        ("title", f'{A_TEXT} ""'),
        ("unprinted[0].text", "required"),
        ("zzz", "unknown key"),
    ],
)
MANY_FAULTS_OF_SENSE: tuple[Edits, list[tuple[str, str]]] = (
    {
        "id": "Other",
        "source.url": "x",
        "source.retrieved_on": "x",
        "source.reviewed_on": "x",
        "population.maximum_age_years": 1,
        "weight.basis": "baseline",
        "dose.start_micrograms_per_kg": 9,
        "dose.vials_micrograms": [],
        "dose.minimum_micrograms_per_kg": 9.5,
        "platelets.increase": ">50",
        "platelets.hold": ">200",
        "platelets.resume": "<300",
    },
    [
        ("id", f'{P1} "Other"'),
        ("source.url", f'{P2_URL} "x"'),
        ("source.retrieved_on", f'{P2_DAY} "x"'),
        ("source.reviewed_on", f'{P2_DAY} "x"'),
        ("source.reviewer", "P2: reviewer and reviewed_on go together"),
        ("population.maximum_age_years", "P3: must not be below the minimum, 18"),
        ("weight.maximum_age_days", "P4: only a current weight has an age limit, a baseline weight has none"),
        (DOSE("maximum"), "P5: must not be below the start, 9"),
        (VIALS, P6),
        (DOSE("minimum"), "P5: must not be above the start, 9"),
        ("platelets.increase", "P8: must be a limit with < or <=, not >50"),
        p9("<=50", "<=200"),
        ("platelets.hold", "P10: must be above the reduce limit, >200"),
        ("platelets.resume", "P11: must lie between the increase limit, >50, and the hold limit, >200"),
    ],
)


@pytest.mark.parametrize(
    ("edits", "expected"), [MANY_FAULTS_OF_FORM, MANY_FAULTS_OF_SENSE], ids=["of form", "of sense"]
)
def test_all_faults_are_named_at_once_in_a_fixed_order(edits: Edits, expected: list[tuple[str, str]]) -> None:
    assert faults(CASE, edits, name="cart-2021-case") == [Fault(*fault) for fault in expected]


def test_what_makes_no_sense_is_only_looked_for_in_a_file_of_good_form() -> None:
    both = {**MANY_FAULTS_OF_SENSE[0], "title": 1}
    assert faults(CASE, both, name="cart-2021-case") == [Fault("title", f"{A_TEXT} 1")]


def test_a_single_dose_with_every_fault_of_sense_names_all() -> None:
    edits = {DOSE("start"): 11, "weight.basis": "baseline", "population.eligibility": ["x"], VIALS: []}
    assert faults(ONCE, edits) == [
        Fault(DOSE("maximum"), "P5: must not be below the start, 11"),
        Fault(VIALS, P6),
        Fault(DOSE("start"), "P13: must be the maximum, 10: it is the only dose"),
        Fault("weight.basis", "P13: must be current: a single dose has no baseline"),
        Fault("population.eligibility", "P13: must be absent: a single dose asks for none"),
    ]


def test_a_refusal_reads_as_its_faults() -> None:
    with pytest.raises(InvalidProtocol, match=r"^status: required; title: required$"):
        read(US, {"title": ABSENT, "status": ABSENT})
