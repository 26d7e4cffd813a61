"""Exact amounts and days, and the units that they come in.

Amounts are Decimals in base units: kg, 10⁹/L, µg, µg/kg. They are normalised when read ("38.0" becomes 38), so equal
amounts print alike. Within `EXACT` every sum and product of amounts is exact: an amount has at most 12 digits before
and 24 after the point (32 after it for pounds turned into kilograms), so no product of two needs more than 100.

Days are ordinals, `date.toordinal()`: whole days compare and subtract as the integers that they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from functools import lru_cache
from typing import Final, NamedTuple, cast

#: The arithmetic of this package: more digits than any sum or product of amounts has, half-up.
EXACT = Context(prec=120, rounding=ROUND_HALF_UP, traps=[InvalidOperation, DivisionByZero, Overflow])

ZERO = Decimal(0)
HUNDREDTH = Decimal("0.01")
TENTH = Decimal("0.1")

_DIGITS_BEFORE = 12
_DIGITS_AFTER = 24
_LONGEST = 48  # characters of a number token
_MOST_REMEMBERED = 16384  # number tokens
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_FIRST_DAY = date(1900, 1, 1).toordinal()
_LAST_DAY = date(2200, 12, 31).toordinal()

#: One of each weight unit in kg; None for the base unit itself.
KILOGRAMS_PER: Final[dict[str, Decimal | None]] = {
    "kg": None,
    "g": Decimal("0.001"),
    "[lb_av]": Decimal("0.45359237"),
    "lb": Decimal("0.45359237"),
}
#: One of each count unit in 10⁹/L; None for those that are the same.
GIGA_PER_LITRE_PER: Final[dict[str, Decimal | None]] = {
    "10*9/L": None,
    "10*3/uL": None,
    "K/uL": None,
    "10*3/mm3": None,
    "G/L": None,
    "/uL": Decimal("0.001"),
    "/mm3": Decimal("0.001"),
}
#: One of each unit of haemoglobin in g/L; a mmol is one of the monomer, 16.114 g.
GRAMS_PER_LITRE_PER: Final[dict[str, Decimal | None]] = {
    "g/L": None,
    "g/dL": Decimal(10),
    "mmol/L": Decimal("16.114"),
}


class Unusable(NamedTuple):
    """A number as written that is no usable amount: too long, too large or too small to be a measurement."""

    text: str


class _Amounts(dict[str, "Decimal | Unusable"]):
    """Number tokens read so far, so that each is parsed once; emptied before it grows large."""

    def __missing__(self, text: str) -> Decimal | Unusable:
        if len(text) > _LONGEST:
            return Unusable(text[:_LONGEST])
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        self[text] = value = _parse_amount(text)
        return value


def _parse_amount(text: str) -> Decimal | Unusable:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return Unusable(text)
    if not value.is_finite() or not -_DIGITS_AFTER <= value.adjusted() < _DIGITS_BEFORE:
        return ZERO if value.is_zero() else Unusable(text)
    value = tidy(value)
    return value if fits(value) else Unusable(text)


def fits(value: Decimal) -> bool:
    """Whether a tidy amount has no digit beyond the twenty-fourth after the point."""
    return cast(int, value.as_tuple().exponent) >= -_DIGITS_AFTER


#: read_amount(text): the amount that a JSON or TOML number token writes, normalised; Unusable with more than 12 digits
#: before or 24 after the point.
read_amount: Final[Callable[[str], Decimal | Unusable]] = _Amounts().__getitem__


def tidy(value: Decimal) -> Decimal:
    """The same amount without trailing zeros, exponent or sign of zero: 5E+2 is 500, 38.0 is 38, -0 is 0."""
    if not value:
        return ZERO
    value = value.normalize(EXACT)
    return EXACT.quantize(value, Decimal(1)) if value == value.to_integral_value() else value


def plain(value: Decimal) -> str:
    """An amount as people and JSON write it: no exponent, no trailing zero, no naked point."""
    text = str(value)
    if "E" in text:
        text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text and text[-1] == "0" else text


def times(one: Decimal, other: Decimal) -> Decimal:
    """The exact product of two amounts."""
    return EXACT.multiply(one, other)


def apart(one: Decimal, other: Decimal) -> Decimal:
    """The exact distance between two amounts."""
    return EXACT.abs(EXACT.subtract(one, other))


def rounded(value: Decimal, step: Decimal) -> Decimal:
    """`value` to a multiple of 0.1 or 0.01, half up."""
    return EXACT.quantize(value, step)


def ratio_rounded(numerator: Decimal, denominator: Decimal, step: Decimal) -> Decimal:
    """The quotient of two positive amounts to a multiple of `step`, half up, with no inexact quotient between."""
    halves = EXACT.divide_int(EXACT.multiply(Decimal(2), numerator), EXACT.multiply(denominator, step))
    return EXACT.multiply(EXACT.divide_int(EXACT.add(halves, Decimal(1)), Decimal(2)), step)


class Days(dict[str, int]):
    """The ordinals of days written as `YYYY-MM-DD`, from 1900-01-01 to 2200-12-31; KeyError for any other text."""

    def __missing__(self, text: str) -> int:
        day = date.fromisoformat(text).toordinal() if _DATE.fullmatch(text) else 0
        if not _FIRST_DAY <= day <= _LAST_DAY:
            raise KeyError(text)
        self[text] = day
        return day


def read_day(text: object) -> int | None:
    """The ordinal of a day; None for anything that `DAYS` has not, and for what is no text."""
    try:
        return DAYS[text] if isinstance(text, str) else None
    except (KeyError, ValueError):
        return None


@lru_cache(maxsize=16384)
def iso(day: int) -> str:
    """An ordinal as `YYYY-MM-DD`."""
    return date.fromordinal(day).isoformat()


def completed_years(born: int, on: int) -> int:
    """Completed years of age on a day, negative before birth; born on 29 February, a year is completed on 1 March."""
    birth, today = date.fromordinal(born), date.fromordinal(on)
    return today.year - birth.year - ((today.month, today.day) < (birth.month, birth.day))


DAYS: Final = Days()
