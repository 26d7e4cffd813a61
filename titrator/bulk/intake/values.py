"""A cell of somebody else's table as a day, an amount, a text; what cannot be read for certain is refused in words.

Nothing is guessed here: a day such as 03/04/2025 is read in the order that was said, or not at all, and a comma is the
point of a number only where that was said.
"""

from __future__ import annotations

import re
from calendar import month_name
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal

from titrator.titration.quantities import read_amount, read_day

Order = Literal["dmy", "mdy"]
#: A cell as a file has it: a text; where the file itself knows it to be a number, that alone in a list.
Cell = str | list[str]

_REMEMBERED: Final = 65536
_TOLD: Final = 40
_ISO: Final = re.compile(r"(\d{4})([-/.]?)(\d{2})\2(\d{2})(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?", re.ASCII)
_ZONED: Final = re.compile(r"\d{4}-\d{2}-\d{2}[T ][\d:.]+ ?(?:Z|[+-]\d{2}:?\d{2})", re.ASCII)
_NUMBERS: Final = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})(?: \d{1,2}:\d{2}(?::\d{2})?)?", re.ASCII)
_TIME: Final = re.compile(r"[T ](\d{1,2}):(\d{2}(?::\d{2}(?:\.\d+)?)?)$", re.ASCII)
_SHORT: Final = re.compile(r"\d{1,2}([-/.])\d{1,2}\1\d{2}", re.ASCII)
_DAY_MONTH: Final = re.compile(r"(\d{1,2})\.?[- ]([A-Za-z]{3,9})\.?[- ,]+(\d{4})", re.ASCII)
_MONTH_DAY: Final = re.compile(r"([A-Za-z]{3,9})\.? (\d{1,2})(?:st|nd|rd|th)?,? (\d{4})", re.ASCII)
_MONTHS: Final = {
    name[:length]: number for number, name in enumerate(month_name) if number for length in (3, len(name))
} | {"Sept": 9}
_NUMBER: Final = {
    "point": re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,2})?", re.ASCII),
    "comma": re.compile(r"[+-]?\d+(?:,\d+)?", re.ASCII),
}
#: Characters that no text of ours has: controls, what nobody sees, halves of characters.
_UNFIT: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]")


class Wrong(ValueError):
    """A cell that cannot be read; says why."""


def text_of(cell: Cell) -> str:
    """What a cell says, without space around it."""
    return (cell if isinstance(cell, str) else cell[0]).strip()


@lru_cache(maxsize=_REMEMBERED)
def day(text: str, order: Order | None) -> str:
    """The day of a text as `YYYY-MM-DD`; raises Wrong."""
    found = _day(text, order)
    if read_day(found) is None:
        raise Wrong(f"{quoted(text)} is no day from 1900-01-01 to 2200-12-31")
    return found


def time_of(text: str) -> str | None:
    """The time of day behind a day, as it stands there; None where there is none."""
    found = _TIME.search(text)
    return f"{int(found[1]):02}:{found[2]}" if found else None


def needs_order(text: str) -> Order | Literal["either"] | None:
    """Whether a text is a day of three numbers whose order nobody knows: the only order that fits it, or either."""
    found = _NUMBERS.fullmatch(text)
    if found is None:
        return None
    first, second = int(found[1]), int(found[3])
    if first > 12 >= second:
        return "dmy"
    return "mdy" if second > 12 >= first else "either"


def _day(text: str, order: Order | None) -> str:
    if found := _ISO.fullmatch(text):
        return f"{found[1]}-{found[3]}-{found[4]}"
    if found := _NUMBERS.fullmatch(text):
        if order is None:
            raise Wrong(f"{quoted(text)} may be day and month or month and day: say which")
        day_of, month = (found[1], found[3]) if order == "dmy" else (found[3], found[1])
        return f"{found[4]}-{int(month):02}-{int(day_of):02}"
    if found := _DAY_MONTH.fullmatch(text):
        return f"{found[3]}-{_month(found[2], text):02}-{int(found[1]):02}"
    if found := _MONTH_DAY.fullmatch(text):
        return f"{found[3]}-{_month(found[1], text):02}-{int(found[2]):02}"
    if _SHORT.fullmatch(text):
        raise Wrong(f"{quoted(text)} has a year of two digits")
    if _ZONED.fullmatch(text):
        raise Wrong(f"{quoted(text)} is an instant: give the day at the clinic")
    raise Wrong(f"{quoted(text)} is no day that can be read: YYYY-MM-DD is understood everywhere")


def _month(name: str, text: str) -> int:
    month = _MONTHS.get(name.capitalize())
    if month is None:
        raise Wrong(f"{quoted(text)}: no month is called {name}")
    return month


def amount(cell: Cell, decimal: str) -> Decimal:
    """The number of a cell, exact; `decimal` is point or comma, for numbers that are written out. Raises Wrong."""
    if isinstance(cell, str):
        return _amount(cell.strip(), decimal)
    return _amount(cell[0], "point")


@lru_cache(maxsize=_REMEMBERED)
def _amount(text: str, decimal: str) -> Decimal:
    if not _NUMBER[decimal].fullmatch(text):
        raise Wrong(_no_number(text, decimal))
    value = read_amount(text.replace(",", "."))
    if not isinstance(value, Decimal):
        raise Wrong(f"{quoted(text)} has more digits than a measurement")
    return value


def _no_number(text: str, decimal: str) -> str:
    if text[:1] in {"<", ">", "≤", "≥", "~"}:
        return f"{quoted(text)} is no exact value"
    if decimal == "point" and "," in text:
        return f"{quoted(text)} has a comma: say so if that is the decimal point"
    if decimal == "comma" and "." in text:
        return f"{quoted(text)} has a point, and the decimal point was said to be a comma"
    return f"{quoted(text)} is no number"


def words(text: str, longest: int = 200) -> str:
    """A text as it may be stored; raises Wrong."""
    if len(text) > longest:
        raise Wrong(f"has {len(text)} characters, more than {longest}")
    if _UNFIT.search(text):
        raise Wrong("has characters that are not shown")
    return text


def quoted(text: str) -> str:
    """A text as it is told: cut, and without what a screen might obey."""
    return f"“{visible(text if len(text) <= _TOLD else f'{text[:_TOLD]}…')}”"


def visible(text: str) -> str:
    """A text without what a screen might obey."""
    return "".join([sign if sign.isprintable() else "?" for sign in text])
