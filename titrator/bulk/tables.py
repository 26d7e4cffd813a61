"""Tables as CSV: a header, one record a line, UTF-8, as RFC 4180 has it.

A cell that a spreadsheet would take for a formula gets an apostrophe in front; one that is not known is empty. A
spreadsheet cuts a line where it is usual there, at semicolons, tabs or commas, whatever stands between the cells of the
file, and then quotes keep nothing together: what would begin a cell there, or a line, gets an apostrophe, too.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

from titrator.titration.quantities import plain

#: What begins a formula, as it is typed in Japan, too; and what may stand before it and is passed over.
_SIGNS: Final = r"[\s\0\ufeff\u200b\"']*[=+\-@\uff1d\uff0b\uff0d\uff20]"
_FORMULA: Final = re.compile(rf"[\t\r\n]|(?!'){_SIGNS}")
_WITHIN: Final = re.compile(rf"(?<=[;\t\r\n])(?![\t\r\n])(?={_SIGNS})")
#: The same in a file between whose cells no commas stand; where they do, what has one is quoted.
_WITHIN_COMMAS: Final = re.compile(rf"(?<=[,;\t\r\n])(?![\t\r\n])(?={_SIGNS})")
#: What any of that needs.
_CUTS: Final = re.compile(r"[,;\t\r\n]")


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


def cell(value: object, delimiter: str = ",") -> str:
    """The text of a cell in a file with that sign between its cells.

    One that a spreadsheet would take for a formula has an apostrophe in front.
    """
    match value:
        case str():
            if value.isalnum() or (value[:1].isalnum() and not _CUTS.search(value)):
                return value  # as nearly all are
            text = (_WITHIN if delimiter == "," else _WITHIN_COMMAS).sub("'", value)
            return f"'{text}" if _FORMULA.match(text) else text
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case Decimal():
            return plain(value)
        case _:
            return cell(str(value), delimiter)
