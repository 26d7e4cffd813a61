"""JSON read strictly and written exactly; what is wrong with an input, and how it is said."""

from __future__ import annotations

import json
import pickle
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from titrator.titration.documents import decode, encode, exact, join, legible, printable, quote, reread, shown
from titrator.titration.errors import Fault, InvalidDocument, InvalidInput, InvalidProtocol
from titrator.titration.quantities import Unusable, plain, tidy

NO_JSON = [
    ("", "not JSON: Expecting value at line 1 column 1"),
    (" ", "not JSON: Expecting value at line 1 column 2"),
    ("{", "not JSON: Expecting property name enclosed in double quotes at line 1 column 2"),
    ('{"a": 1\n"b": 2}', "not JSON: Expecting ',' delimiter at line 2 column 1"),
    ("{} {}", "not JSON: Extra data at line 1 column 4"),
    ("{'a': 1}", "not JSON: Expecting property name enclosed in double quotes at line 1 column 2"),
    ("[01]", "not JSON: Expecting ',' delimiter at line 1 column 3"),
    ("[.5]", "not JSON: Expecting value at line 1 column 2"),
    ("[+5]", "not JSON: Expecting value at line 1 column 2"),
    ("[0x1F]", "not JSON: Expecting ',' delimiter at line 1 column 3"),
    ("[True]", "not JSON: Expecting value at line 1 column 2"),
    ("# note\n{}", "not JSON: Expecting value at line 1 column 1"),
    ('"\n"', "not JSON: Invalid control character at at line 1 column 2"),
    ("NaN", "not JSON: NaN is no JSON number"),
    ("Infinity", "not JSON: Infinity is no JSON number"),
    ('{"a": -Infinity}', "not JSON: -Infinity is no JSON number"),
    ("\ufeff{}", "not JSON: Expecting value at line 1 column 1"),
    (b"\xef\xbb\xbf\xef\xbb\xbf{}", "not JSON: Expecting value at line 1 column 1"),
    (b"\xff\xfe{\x00}\x00", "not UTF-8 text: invalid start byte at byte 0"),
    (b'{"a": "\xe4"}', "not UTF-8 text: invalid continuation byte at byte 7"),
    (b'{"a": "\xed\xa0\x80"}', "not UTF-8 text: invalid continuation byte at byte 7"),
    (b'"\xc3', "not UTF-8 text: unexpected end of data at byte 1"),
    (b"\x00", "not JSON: Expecting value at line 1 column 1"),
    ("[" * 100_000, "nested too deeply"),
    ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
    ('{"a":' * 100_000, "nested too deeply"),
]
REPEATED = [
    # as many keys as colons after quotes, if one counts no further
    (r'{"a": {"b": {"c": {"k": 1, "k": 2, "q\\": 3}}}}', ["a.b.c.k"]),
    ('{"a": {"b": {"c": {"k": 1, "k" : 2}}}}', ["a.b.c.k"]),
    ('{"a": 1, "a": 1}', ["a"]),
    ('{"a": 1, "b": 2, "a": 3}', ["a"]),
    ('{"b": 1, "b": 2, "a": 1, "a": 2}', ["a", "b"]),
    ('{"a": 1, "\\u0061": 2}', ["a"]),
    ('{"l": [{"x": 1}, {"x": 1, "x": 2}]}', ["l[1].x"]),
    ('{"l": [[{"x": 1, "x": 2}]]}', ["l[0][0].x"]),
    ('{"o": {"x": 1, "x": 2}}', ["o.x"]),
    ('{"o": {"p": {"x": 1, "x": 1, "x": 1}}}', ["o.p.x"]),
    ('[{"x": 1, "x": 2}]', ["[0].x"]),
    ('{"a": {"x": 1, "x": 2}, "a": {"y": 1, "y": 2}}', ["a", "a.y"]),
    ('{"l": [], "l": []}', ["l"]),
    ('{"a b": 1, "a b": 2}', ['"a b"']),
    ('{"": 1, "": 2}', ['""']),
    ('{"text": ":::", "a": 1, "a": 2}', ["a"]),
    ('{"l": [{"x": 1, "x": 2}], "o": {"y": 1, "y": 2}, "z": 1, "z": 2}', ["z", "l[0].x", "o.y"]),
]
NOT_REPEATED = [
    '{"a": 1, "A": 2}',
    '{"a": ":::", "b": "x:y"}',
    '{"o": {"a": 1}, "a": 2}',
    '{"l": [{"a": 1}, {"a": 1}]}',
    '{"l": [[{"a": 1}], [{"a": 1}]]}',
    '{"l": [1, "a:b", {"a": {"a": {"a": 1}}}]}',
    '[{"a": 1}, {"a": 1}]',
    '"a:b"',
    "{}",
]


def faults(text: str | bytes) -> list[tuple[str, str]]:
    """What is wrong with a text."""
    with pytest.raises(InvalidDocument) as refused:
        decode(text)
    return [tuple(fault) for fault in refused.value.faults]


# Reading


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2.50, true, false, null, "x"]}', {"a": [Decimal(1), Decimal("2.5"), True, False, None, "x"]}),
        ("38", Decimal(38)),
        ("38.0", Decimal(38)),
        ("3.8e1", Decimal(38)),
        ("-0.0", Decimal(0)),
        ("1e400", Unusable("1e400")),
        ("1" * 5000, Unusable("1" * 48)),
        ('"\\u00e9\\ud83d\\ude00"', "é😀"),
        (b'"\xc3\xa9"', "é"),
        (b"\xef\xbb\xbf{}", {}),
        (b" \r\n\t{} ", {}),
    ],
)
def test_a_text_is_read_with_exact_numbers(text: str | bytes, value: object) -> None:
    assert decode(text) == value


def test_no_number_becomes_a_float() -> None:
    values = decode("[1, 1.5, 1e3, 1E-3, -2]")
    assert isinstance(values, list)
    assert {type(value) for value in values} == {Decimal}


@pytest.mark.parametrize(("text", "message"), NO_JSON)
def test_what_is_no_json_is_one_fault_of_the_whole(text: str | bytes, message: str) -> None:
    assert faults(text) == [("", message)]


@pytest.mark.parametrize(("text", "paths"), REPEATED)
def test_each_repeated_key_is_a_fault_with_its_path(text: str, paths: list[str]) -> None:
    """A key that stands twice in one object is refused."""
    assert faults(text) == [(path, "repeated key") for path in paths]


KEYS = st.text(alphabet='ab\\": ', max_size=4)


@st.composite
def repeating(draw: st.DrawFn) -> tuple[str, bool]:
    """A JSON text, its colons with space about them or not, and whether an object in it has a key twice."""
    before, after = draw(st.sampled_from(["", " ", "\t"])), draw(st.sampled_from(["", " "]))
    twice = False

    def written(depth: int) -> str:
        nonlocal twice
        if depth == 3 or draw(st.booleans()):
            return quote(draw(KEYS))
        keys = draw(st.lists(KEYS, min_size=1, max_size=3))
        twice = twice or len(set(keys)) < len(keys)
        gaps = [draw(st.sampled_from(["", before])) for _ in keys]
        pairs = [f"{quote(key)}{gap}:{after}{written(depth + 1)}" for key, gap in zip(keys, gaps, strict=True)]
        return "{" + ", ".join(pairs) + "}"

    return written(0), twice


@settings(max_examples=1000)
@given(repeating())
def test_a_repeated_key_is_never_passed_over(made: tuple[str, bool]) -> None:
    """However keys are written, whatever texts hold: refused where a key comes twice, and only there."""
    text, twice = made
    if twice:
        assert {message for _, message in faults(text)} == {"repeated key"}
    else:
        decode(text)


def objects(number: int, keys: int) -> str:
    """A list of objects, each with so many keys that come twice."""
    one = ", ".join(f'"k{key}": 1, "k{key}": 2' for key in range(keys))
    return f"[{', '.join(['{' + one + '}'] * number)}]"


@pytest.mark.parametrize(("number", "keys"), [(1, 1000), (1000, 1), (10, 100)])
def test_a_thousand_repeated_keys_are_told(number: int, keys: int) -> None:
    assert {message for _, message in faults(objects(number, keys))} == {"repeated key"}
    assert len(faults(objects(number, keys))) == 1000


@pytest.mark.parametrize(("number", "keys"), [(1, 1001), (1001, 1), (3, 900), (60, 17), (300, 300)])
def test_of_more_repeated_keys_a_thousand_are_told_and_that_there_are_more(number: int, keys: int) -> None:
    """A thousand in all, however they lie: an answer does not grow with what is wrong."""
    *told, last = faults(objects(number, keys))
    assert [message for _, message in told] == ["repeated key"] * 1000
    assert told[0] == ("[0].k0", "repeated key")
    assert last == ("", "there are more faults than these 1000")


def test_of_more_places_too_deep_a_thousand_are_told_and_that_there_are_more() -> None:
    *told, last = faults(f'{{"a": [[[[{", ".join(["[]"] * 1001)}]]]], "b": ":"}}')
    assert told == [(f"a[0][0][0][{index}]", "nested too deeply") for index in range(1000)]
    assert last == ("", "there are more faults than these 1000")


@pytest.mark.parametrize("text", NOT_REPEATED)
def test_the_same_key_in_two_objects_and_colons_in_texts_are_no_fault(text: str) -> None:
    assert decode(text) == exact(json.loads(text))


@pytest.mark.parametrize(
    "text", ['{"a": {"a": {"a": {"a": {"a": 1}}}}}', '{"a": [[[[1]]]], "b": {"a": [{"a": [1]}]}}', '[[[[{"a": ":"}]]]]']
)
def test_five_levels_are_not_too_deep(text: str) -> None:
    """A course document has three, an answer four."""
    assert encode(decode(text)) == text


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"a": {"b": {"c": {"d": {"e": {}}}}}}', "a.b.c.d.e"),
        ('{"a": {"b": {"c": {"d": {"e": []}}}}}', "a.b.c.d.e"),
        ('{"a": {"b": [[[1, [2]]]]}}', "a.b[0][0][1]"),
        ('[[[[{"a": {}}]]]]', "[0][0][0][0].a"),
    ],
)
def test_a_sixth_level_is_too_deep_and_told_with_its_path(text: str, path: str) -> None:
    assert faults(text) == [(path, "nested too deeply")]


def test_any_depth_is_refused_and_never_a_crash() -> None:
    """At some depth the reading itself gives up, and no path can be told."""
    for depth in range(6, 3000, 13):
        (path, message) = faults('{"a": ' * depth + "1" + "}" * depth)[0]
        assert message == "nested too deeply"
        assert path in {"a.a.a.a.a", ""}


# Values of another decoder


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, Decimal(1)),
        (2.5, Decimal("2.5")),
        (0.1, Decimal("0.1")),
        (1e-7, Decimal("1E-7")),
        (-0.0, Decimal(0)),
        (Decimal("38.0"), Decimal(38)),
        (float("nan"), Unusable("nan")),
        (float("inf"), Unusable("inf")),
        (float("-inf"), Unusable("-inf")),
        (10**12, Unusable("1000000000000")),
        (10**18 - 1, Unusable("9" * 18)),
        (10**18, Unusable("a whole number of more than 18 digits")),
        (-(10**18), Unusable("a whole number of more than 18 digits")),
        ("38", "38"),
        (None, None),
        ({"a": [1, {"b": 2.5}]}, {"a": [Decimal(1), {"b": Decimal("2.5")}]}),
        ((1, "x"), [Decimal(1), "x"]),
        ([], []),
        (date(2026, 3, 9), date(2026, 3, 9)),
    ],
)
def test_values_of_another_decoder_become_exact(value: object, expected: object) -> None:
    assert exact(value) == expected
    assert type(exact(value)) is type(expected)


@pytest.mark.parametrize("value", [True, False])
def test_true_and_false_stay_no_numbers(value: bool) -> None:
    assert exact(value) is value


def test_whole_numbers_written_in_text_are_exact_to_their_digits() -> None:
    value = exact([38.0, 75])
    assert encode(value) == "[38, 75]"


def test_a_whole_number_of_5000_digits_is_unusable() -> None:
    assert isinstance(exact(int("f" * 5000, 16)), Unusable)


# Writing


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (Decimal("38.50"), "38.5"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-7"), "0.0000001"),
        ("", '""'),
        ('a"\\\n\t\x00é×10⁹', '"a\\"\\\\\\n\\t\\u0000é×10⁹"'),
        ({}, "{}"),
        ([], "[]"),
        ({"b": 1, "a": [True, None, {"c": Decimal("0.5")}]}, '{"b": 1, "a": [true, null, {"c": 0.5}]}'),
    ],
)
def test_values_are_written_in_the_order_given_and_to_the_last_digit(value: object, text: str) -> None:
    assert encode(value) == text


def test_a_float_is_never_written() -> None:
    with pytest.raises(KeyError):
        encode([0.1])


PLAIN: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.text()
    | st.decimals(min_value=-(10**11), max_value=10**11, places=12, allow_nan=False).map(tidy)
)


def within(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4)


VALUES = within(within(within(PLAIN)))


@settings(max_examples=50)
@given(VALUES)
def test_what_is_written_is_read_as_the_same_value(value: Any) -> None:
    text = encode(value)
    assert decode(text) == value
    assert encode(decode(text)) == text
    assert decode(text.encode()) == value
    assert reread(text) == value
    assert encode(reread(text)) == text


@settings(max_examples=50)
@given(VALUES)
def test_what_is_written_is_what_the_standard_library_reads(value: Any) -> None:
    assert json.loads(encode(value), parse_float=Decimal, parse_int=Decimal) == value


# Paths and values, quoted back


@pytest.mark.parametrize(
    ("path", "key", "expected"),
    [
        ("", "unit", "unit"),
        ("weights[0]", "unit", "weights[0].unit"),
        ("", "baseline_on", "baseline_on"),
        ("", "a1_B2", "a1_B2"),
        ("", "", '""'),
        ("", "_", '"_"'),
        ("", "a b", '"a b"'),
        ("", "a.b", '"a.b"'),
        ("", "a-b", '"a-b"'),
        ("x", "é", 'x."é"'),
        ("", "²", '"²"'),
        ("", 'a"b', '"a\\"b"'),
        ("", "a\nb", '"a\\nb"'),
        ("", "\x1b[31m", '"\\u001b[31m"'),
        ("", "\ud800", '"\\ud800"'),
        ("", "k" * 64, "k" * 64),
        ("", "k" * 65, '"' + "k" * 64 + '"'),
        ("", "é" * 65, '"' + "é" * 64 + '"'),
    ],
)
def test_a_path_is_a_readable_line_whatever_the_key(path: str, key: str, expected: str) -> None:
    assert join(path, key) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("kg", '"kg"'),
        ("", '""'),
        ("x" * 40, '"' + "x" * 40 + '"'),
        ("x" * 41, '"' + "x" * 40 + '…"'),
        ("a\nb\x1b", '"a\\nb\\u001b"'),
        ("\udcff", '"\\udcff"'),
        (Unusable("1e400"), "1e400"),
        (Unusable("1" * 40), "1" * 40),
        (Unusable("1" * 41), "1" * 40 + "…"),
        (Decimal("6E+6"), "6000000"),
        (Decimal("0.5"), "0.5"),
        (None, "null"),
        (True, "true"),
        (False, "false"),
        ({}, "an object"),
        ({"a": 1}, "an object"),
        ([], "a list"),
        ([1], "a list"),
    ],
)
def test_a_value_is_quoted_back_escaped_and_cut(value: object, expected: str) -> None:
    assert shown(value) == expected


def test_a_date_of_toml_is_not_called_a_list() -> None:
    assert shown(date(2026, 3, 9)) != "a list"


@pytest.mark.parametrize("code", [*range(0x20), 0xD800, 0xDFFF])
def test_control_characters_and_lone_surrogates_are_escaped(code: int) -> None:
    text = printable(chr(code))
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == chr(code)


def test_the_other_control_characters_are_escaped_too() -> None:
    """`printable`: control characters escaped."""
    assert [code for code in range(0x7F, 0xA0) if not printable(chr(code)).isprintable()] == []


@pytest.mark.parametrize(
    ("text", "shown_so"),
    [
        ("Zoë, 60 ×10⁹/L", "Zoë, 60 ×10⁹/L"),
        ("two\nlines", "two\nlines"),
        ("\x1b[2J\r\u202e\ud800", "\\u001b[2J\\r\\u202e\\ud800"),
    ],
)
def test_lines_of_a_text_stay_legible_and_nothing_in_them_is_obeyed(text: str, shown_so: str) -> None:
    assert legible(text) == shown_so


def test_quote_leaves_other_text_as_it_is() -> None:
    assert quote("é 10⁹ \u2028") == '"é 10⁹ \u2028"'


# Errors


@pytest.mark.parametrize(
    ("fault", "text"),
    [(Fault("weights[0].unit", "required"), "weights[0].unit: required"), (Fault("", "not JSON"), "not JSON")],
)
def test_a_fault_is_shown_with_its_path_if_it_has_one(fault: Fault, text: str) -> None:
    assert str(fault) == text


@pytest.mark.parametrize("kind", [InvalidInput, InvalidDocument, InvalidProtocol])
def test_an_error_carries_all_faults_and_travels_between_processes_whole(kind: type[InvalidInput]) -> None:
    error = kind(iter([Fault("a", "required"), Fault("", "not JSON")]))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert again.faults == error.faults == (Fault("a", "required"), Fault("", "not JSON"))
    assert str(again) == str(error) == "a: required; not JSON"
    assert isinstance(error, ValueError)


def test_a_bad_document_and_a_bad_protocol_are_told_apart() -> None:
    assert not issubclass(InvalidDocument, InvalidProtocol)
    assert not issubclass(InvalidProtocol, InvalidDocument)


@given(st.decimals(min_value=0, max_value=5000, places=6, allow_nan=False))
def test_an_amount_quoted_back_reads_as_the_same_amount(value: Decimal) -> None:
    assert Decimal(shown(tidy(value))) == value
    assert shown(tidy(value)) == plain(value)
