"""Tables as CSV: a header, one record a line, UTF-8, as RFC 4180 has it.

A cell that a spreadsheet would take for a formula gets an apostrophe in front; one that is not known is empty.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

from titrator.titration.quantities import plain

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """The text of a table; each row has a value for every column: a text, a number, true, false, or None."""
    return "".join(csv_lines(columns, rows))


def csv_lines(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """The lines of a table, its heading first, each when it is asked for: a long table is never held in memory."""
    text = io.StringIO(newline="")
    out = csv.writer(text)
    out.writerow(columns)
    yield text.getvalue()
    for row in rows:
        text.seek(0)
        text.truncate()
        out.writerow(["" if (value := row[column]) is None else cell(value) for column in columns])
        yield text.getvalue()


def cell(value: object) -> str:
    """The text of a cell; one that a spreadsheet would take for a formula has an apostrophe in front."""
    match value:
        case str():
            return f"'{value}" if value.startswith(_FORMULA) else value
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case Decimal():
            return plain(value)
        case _:
            return cell(str(value))
