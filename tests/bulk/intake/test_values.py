"""Cells as days and amounts: exact, or refused in words; nothing is guessed."""

from __future__ import annotations

from decimal import Decimal

import pytest

from titrator.bulk.intake.values import Order, Wrong, amount, day, needs_order, time_of, words

DAYS: list[tuple[str, Order | None, str]] = [
    ("2025-04-03", None, "2025-04-03"),
    ("2025/04/03", None, "2025-04-03"),
    ("20250403", None, "2025-04-03"),
    ("2025-04-03T07:30:00", None, "2025-04-03"),
    ("2025-04-03 07:30", None, "2025-04-03"),
    ("3-Apr-2025", None, "2025-04-03"),
    ("3. April 2025", None, "2025-04-03"),
    ("Apr 3, 2025", None, "2025-04-03"),
    ("sept 3rd 2025", None, "2025-09-03"),
    ("03/04/2025", "dmy", "2025-04-03"),
    ("03/04/2025", "mdy", "2025-03-04"),
    ("3.4.2025", "dmy", "2025-04-03"),
    ("3-4-2025 08:00", "dmy", "2025-04-03"),
    ("29.02.2024", "dmy", "2024-02-29"),
]


@pytest.mark.parametrize(("text", "order", "found"), DAYS)
def test_a_day_is_read(text: str, order: Order | None, found: str) -> None:
    assert day(text, order) == found


NO_DAYS: list[tuple[str, Order | None, str]] = [
    ("03/04/2025", None, "say which"),
    ("25/04/2025", None, "say which"),
    ("25/04/2025", "mdy", "is no day"),
    ("29.02.2025", "dmy", "is no day"),
    ("2025-13-01", None, "is no day"),
    ("1899-12-31", None, "is no day"),
    ("03/04/25", "dmy", "a year of two digits"),
    ("2025-04-03T23:30:00Z", None, "is an instant"),
    ("3-Foo-2025", None, "no month is called Foo"),
    ("45750", None, "no day that can be read"),
    ("03/04-2025", "dmy", "no day that can be read"),
    ("\u0663/\u0664/2025", "dmy", "no day that can be read"),
    ("soon", None, "no day that can be read"),
]


@pytest.mark.parametrize(("text", "order", "why"), NO_DAYS)
def test_a_day_that_is_none_or_any_of_two_is_refused(text: str, order: Order | None, why: str) -> None:
    with pytest.raises(Wrong, match=why):
        day(text, order)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("03/04/2025", "either"),
        ("13.04.2025", "dmy"),
        ("04-13-2025", "mdy"),
        ("2025-04-03", None),
        ("3 Apr 2025", None),
    ],
)
def test_which_days_have_no_order(text: str, order: str | None) -> None:
    assert needs_order(text) == order


@pytest.mark.parametrize(
    ("cell", "decimal", "found"),
    [
        ("75", "point", "75"),
        (" 75.50 ", "point", "75.5"),
        ("1.2e2", "point", "120"),
        ("75,5", "comma", "75.5"),
        ("75", "comma", "75"),
        (["75.5"], "comma", "75.5"),
        ("0", "point", "0"),
    ],
)
def test_an_amount_is_read(cell: str | list[str], decimal: str, found: str) -> None:
    assert amount(cell, decimal) == Decimal(found)


@pytest.mark.parametrize(
    ("cell", "decimal", "why"),
    [
        ("75,5", "point", "has a comma"),
        ("1,200", "point", "has a comma"),
        ("1.200", "comma", "has a point"),
        ("<5", "point", "no exact value"),
        ("≥400", "point", "no exact value"),
        ("clotted", "point", "is no number"),
        ("75 kg", "point", "is no number"),
        ("1e400", "point", "is no number"),
        ("9" * 13, "point", "more digits"),
        ("NaN", "point", "is no number"),
        ("\u0667\u0665", "point", "is no number"),
        ("", "point", "is no number"),
    ],
)
def test_an_amount_that_is_none_is_refused(cell: str, decimal: str, why: str) -> None:
    with pytest.raises(Wrong, match=why):
        amount(cell, decimal)


@pytest.mark.parametrize("text", ["a\x00b", "a\u202eb", "a\nb", "x" * 201, "\ud800"])
def test_a_text_that_nobody_could_read_is_refused(text: str) -> None:
    with pytest.raises(Wrong):
        words(text)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-03-02 14:05", "14:05"),
        ("2026-03-02T14:05:30.5", "14:05:30.5"),
        ("02.03.2026 8:30", "08:30"),
        ("2026-03-02", None),
        ("", None),
    ],
)
def test_the_time_behind_a_day(text: str, time: str | None) -> None:
    assert time_of(text) == time
