"""Amounts and days: read exactly, written plainly, refused beyond their bounds."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_DOWN, Decimal, DivisionByZero, InvalidOperation, Overflow, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titrator.titration import quantities
from titrator.titration.quantities import (
    DAYS,
    EXACT,
    GIGA_PER_LITRE_PER,
    HUNDREDTH,
    KILOGRAMS_PER,
    TENTH,
    ZERO,
    Days,
    Unusable,
    apart,
    completed_years,
    iso,
    plain,
    ratio_rounded,
    read_amount,
    read_day,
    rounded,
    tidy,
    times,
)

READ = [
    ("38", "38"),
    ("38.0", "38"),
    ("3.8e1", "38"),
    ("0.38E+2", "38"),
    ("380e-1", "38"),
    ("38.50", "38.5"),
    ("-38", "-38"),
    ("0", "0"),
    ("-0", "0"),
    ("-0.0", "0"),
    ("0e5", "0"),
    ("0e400", "0"),
    ("0e-400", "0"),
    ("0e9999999", "0"),
    ("5e2", "500"),
    ("0.000001", "0.000001"),
    ("999999999999", "999999999999"),
    ("-999999999999", "-999999999999"),
    ("1e11", "100000000000"),
    ("0.1e12", "100000000000"),
    ("1e-24", "1E-24"),
    ("10e-25", "1E-24"),
    ("0.000000000000000000000001", "1E-24"),
    ("123456789012.123456789012345678901234", "123456789012.123456789012345678901234"),
    ("38." + "0" * 45, "38"),  # 48 characters
]
UNUSABLE = [
    "1e12",
    "1000000000000",
    "-1e12",
    "999999999999.9e1",
    "1e-25",
    "-1e-25",
    "0.0000000000000000000000001",
    "1.0000000000000000000000001",
    "1e400",
    "-1e400",
    "1e999999999999999999999",
    "1e-999999999999999999999",
    "nan",
    "inf",
    "-inf",
    "sNaN",
    "none",
]


def amount(text: str) -> str:
    """An amount as read, digit for digit."""
    value = read_amount(text)
    assert isinstance(value, Decimal)
    return str(value)


# Reading amounts


@pytest.mark.parametrize(("text", "expected"), READ)
def test_a_number_is_read_exactly_without_zeros_at_the_end(text: str, expected: str) -> None:
    assert amount(text) == expected


@pytest.mark.parametrize("text", UNUSABLE)
def test_a_number_beyond_12_digits_before_and_24_after_the_point_is_unusable(text: str) -> None:
    assert read_amount(text) == Unusable(text)


@pytest.mark.parametrize("text", ["1e1000000", "1e9999999", "-1e1000000", "1e999999999999999999"])
def test_a_number_with_an_exponent_beyond_the_arithmetic_is_unusable(text: str) -> None:
    assert read_amount(text) == Unusable(text)


@pytest.mark.parametrize("text", ["1e-1000200", "1e-9999999", "-1e-9999999"])
def test_a_number_too_small_for_the_arithmetic_is_unusable_and_not_zero(text: str) -> None:
    assert read_amount(text) == Unusable(text)


def test_a_token_of_49_characters_is_unusable_and_kept_cut_to_48() -> None:
    assert read_amount("38." + "0" * 46) == Unusable("38." + "0" * 45)


def test_equal_numbers_are_equal_however_written() -> None:
    assert read_amount("38") == read_amount("38.0") == read_amount("3.8e1") == Decimal(38)


def test_read_numbers_are_remembered_up_to_16384() -> None:
    amounts = quantities._Amounts()
    for number in range(16384):
        assert amounts[str(number)] == number
    assert len(amounts) == 16384
    assert amounts["7.0"] == 7
    assert len(amounts) == 1
    assert amounts["7.0"] is amounts["7.0"]


def test_tokens_too_long_are_not_remembered() -> None:
    amounts = quantities._Amounts()
    assert amounts["1" * 49] == Unusable("1" * 48)
    assert not amounts


# Writing amounts


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("5E+2", "500"),
        ("38.0", "38"),
        ("38", "38"),
        ("0.50", "0.5"),
        ("-0", "0"),
        ("0E+3", "0"),
        ("-0.000", "0"),
        ("1E-7", "1E-7"),
        ("-2.50", "-2.5"),
        ("100", "100"),
    ],
)
def test_tidy_drops_trailing_zeros_exponents_and_the_sign_of_zero(value: str, expected: str) -> None:
    assert str(tidy(Decimal(value))) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", "0"),
        ("38", "38"),
        ("100", "100"),
        ("38.0", "38"),
        ("38.10", "38.1"),
        ("38.01", "38.01"),
        ("0.00", "0"),
        ("1E+3", "1000"),
        ("1.50E+3", "1500"),
        ("1E-7", "0.0000001"),
        ("1.0E-7", "0.0000001"),
        ("-2.50", "-2.5"),
    ],
)
def test_plain_has_no_exponent_no_trailing_zero_and_no_naked_point(value: str, expected: str) -> None:
    assert plain(Decimal(value)) == expected


@given(st.decimals(min_value=-(10**11), max_value=10**11, places=24, allow_nan=False))
def test_what_plain_writes_reads_as_the_same_amount(value: Decimal) -> None:
    assert read_amount(plain(tidy(value))) == value


# Arithmetic


@pytest.mark.parametrize(
    ("one", "other", "product"),
    [
        ("165.3467", "0.45359237", "75.000001524679"),
        ("999999999999.999999999999999999999999", "0.45359237", "453592369999.99999999999999999999999954640763"),
        ("1E-24", "0.001", "1E-27"),
    ],
)
def test_products_are_exact(one: str, other: str, product: str) -> None:
    assert times(Decimal(one), Decimal(other)) == Decimal(product)


@pytest.mark.parametrize(
    ("one", "other", "distance"), [("1", "3", "2"), ("3", "1", "2"), ("-1", "1", "2"), ("5", "5", "0")]
)
def test_a_distance_has_no_sign(one: str, other: str, distance: str) -> None:
    assert apart(Decimal(one), Decimal(other)) == Decimal(distance)


def test_distances_are_exact() -> None:
    assert apart(Decimal(999999999999), Decimal("1E-24")) == Decimal("999999999998.999999999999999999999999")


@pytest.mark.parametrize(
    ("value", "step", "expected"),
    [
        ("0.245", HUNDREDTH, "0.25"),
        ("0.2449999999999999999999999999999999999", HUNDREDTH, "0.24"),
        ("0.255", HUNDREDTH, "0.26"),
        ("0.05", TENTH, "0.1"),
        ("0.15", TENTH, "0.2"),
        ("0.25", TENTH, "0.3"),
        ("0.2499", TENTH, "0.2"),
        ("7", TENTH, "7.0"),
    ],
)
def test_rounding_is_half_up(value: str, step: Decimal, expected: str) -> None:
    assert str(rounded(Decimal(value), step)) == expected


@pytest.mark.parametrize(
    ("numerator", "denominator", "step", "expected"),
    [
        ("122.5", "500", HUNDREDTH, "0.25"),
        ("122.4999999999999999999999999999999999", "500", HUNDREDTH, "0.24"),
        ("127.5", "500", HUNDREDTH, "0.26"),
        ("1", "3", TENTH, "0.3"),
        ("2", "3", TENTH, "0.7"),
        ("1", "4", TENTH, "0.3"),
        ("1", "1", HUNDREDTH, "1"),
        ("1", "1000", HUNDREDTH, "0"),
        ("5", "1000", HUNDREDTH, "0.01"),
        ("3", "2", Decimal(5), "0"),
        ("5", "2", Decimal(5), "5"),
    ],
)
def test_a_quotient_is_rounded_half_up_from_its_exact_value(
    numerator: str, denominator: str, step: Decimal, expected: str
) -> None:
    assert ratio_rounded(Decimal(numerator), Decimal(denominator), step) == Decimal(expected)


def test_the_arithmetic_refuses_what_has_no_exact_result() -> None:
    assert EXACT.prec == 120
    assert {trap for trap, on in EXACT.traps.items() if on} == {InvalidOperation, DivisionByZero, Overflow}


@pytest.mark.parametrize("value", ["5000", "1E+3"])
def test_the_decimal_context_of_the_caller_changes_nothing(value: str) -> None:
    """Same input, same answer, byte for byte."""
    expected = plain(tidy(Decimal(value)))
    with localcontext(prec=3, rounding=ROUND_DOWN):
        assert plain(tidy(Decimal(value))) == expected
        assert times(Decimal("75.25"), Decimal("1.5")) == Decimal("112.875")
        assert str(rounded(Decimal("75.255"), HUNDREDTH)) == "75.26"


def test_constants_are_exact() -> None:
    assert (str(ZERO), str(TENTH), str(HUNDREDTH)) == ("0", "0.1", "0.01")


# Units


def test_weight_units_in_kilograms() -> None:
    pound = Decimal("0.45359237")
    assert {"kg": None, "g": Decimal("0.001"), "[lb_av]": pound, "lb": pound} == KILOGRAMS_PER


def test_count_units_in_giga_per_litre() -> None:
    same = dict.fromkeys(["10*9/L", "10*3/uL", "K/uL", "10*3/mm3", "G/L"])
    expected = same | {"/uL": Decimal("0.001"), "/mm3": Decimal("0.001")}
    assert expected == GIGA_PER_LITRE_PER


# Days


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1900-01-01", date(1900, 1, 1)),
        ("2026-03-09", date(2026, 3, 9)),
        ("2024-02-29", date(2024, 2, 29)),
        ("2000-02-29", date(2000, 2, 29)),
        ("2200-12-31", date(2200, 12, 31)),
    ],
)
def test_a_day_is_read_as_its_ordinal(text: str, expected: date) -> None:
    assert read_day(text) == Days()[text] == expected.toordinal()
    assert iso(expected.toordinal()) == text


@pytest.mark.parametrize(
    "text",
    [
        "1899-12-31",
        "2201-01-01",
        "0001-01-01",
        "9999-12-31",
        "2026-02-29",
        "2026-02-30",
        "1900-02-29",
        "2026-13-01",
        "2026-00-10",
        "2026-03-00",
        "2026-3-9",
        "20260309",
        "2026-W11-1",
        "2026-068",
        "2026-03-09T00:00:00",
        "2026-03-09Z",
        " 2026-03-09",
        "2026-03-09\n",
        "09.03.2026",
        "\u0662\u0660\u0662\u0666-\u0660\u0663-\u0660\u0669",
        "\uff12\uff10\uff12\uff16-\uff10\uff13-\uff10\uff19",
        "+026-03-09",
        "",
    ],
)
def test_any_other_text_is_no_day(text: str) -> None:
    assert read_day(text) is None
    with pytest.raises((KeyError, ValueError)):
        DAYS[text]


@pytest.mark.parametrize("value", [None, True, 20260309, Decimal(20260309), date(2026, 3, 9), b"2026-03-09", [], {}])
def test_what_is_no_text_is_no_day(value: object) -> None:
    assert read_day(value) is None


def test_days_once_read_are_remembered() -> None:
    days = Days()
    assert days["2026-03-09"] == days["2026-03-09"]
    assert list(days) == ["2026-03-09"]


def test_texts_that_are_no_days_are_not_remembered() -> None:
    days = Days()
    with pytest.raises(KeyError, match="2201-01-01"):
        days["2201-01-01"]
    assert not days


@pytest.mark.parametrize(
    ("born", "on", "years"),
    [
        ("2008-03-09", "2026-03-08", 17),
        ("2008-03-09", "2026-03-09", 18),
        ("2008-03-09", "2026-03-10", 18),
        ("2008-12-31", "2026-01-01", 17),
        ("2008-02-29", "2026-02-28", 17),
        ("2008-02-29", "2026-03-01", 18),
        ("2008-02-29", "2028-02-28", 19),
        ("2008-02-29", "2028-02-29", 20),
        ("2026-03-09", "2026-03-09", 0),
        ("2026-03-09", "2026-03-08", -1),
        ("2026-03-09", "2025-03-09", -1),
        ("2026-03-09", "2025-03-08", -2),
    ],
)
def test_years_are_completed_on_the_birthday_and_on_1_march_for_29_february(born: str, on: str, years: int) -> None:
    assert completed_years(DAYS[born], DAYS[on]) == years
