"""Files as tables: CSV, workbooks (xlsx), lines of JSON objects; within limits, so that none can fill the memory.

A workbook is a ZIP of XML, each part of which is looked at while it is read (parts.py), and may declare no entities
(defusedxml). It is read sheet by sheet, row by row; what its formulas came to counts, never a formula. How many rows
and columns it says that it has is not believed.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, cast

from defusedxml.common import DefusedXmlException
from openpyxl.reader.excel import ExcelReader
from openpyxl.styles.stylesheet import apply_stylesheet

from titrator.bulk.intake.parts import LAST_ROW, Parts, refuse_many_parts, wrong
from titrator.bulk.intake.values import Cell, text_of
from titrator.titration.errors import Fault
from titrator.workflow.errors import Invalid

KINDS: Final = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".xlsx": "xlsx", ".ndjson": "ndjson", ".jsonl": "ndjson"}
MOST_COLUMNS: Final = 200
MOST_ROWS: Final = 20_000_000
LONGEST_CELL: Final = 10_000
_LONGEST_LINE: Final = 1_000_000
#: A row of a CSV file, in characters, on one line or many: each of a cell may be a quote, which is written twice.
_LONGEST_ROW: Final = MOST_COLUMNS * (2 * LONGEST_CELL + 3)
#: Cells of a row, empty ones too: as many as a spreadsheet has columns.
_MOST_CELLS: Final = 16_384
_FIRST_ROW: Final = 1000
#: A name of a column may have several lines; it may have nothing else that is not shown.
_UNSHOWN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_HALVES: Final = re.compile("[\ud800-\udfff]")
#: Codecs of texts that are no encoding of a table: names of hosts, escapes of programs.
_NO_ENCODINGS: Final = frozenset(("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf_7"))
#: Lines that tell the delimiter.
_LOOKED_AT: Final = 20
_DELIMITERS: Final = (",", ";", "\t", "|")

# Its warnings quote cells, and each is kept and goes to the log.
warnings.filterwarnings("ignore", module=r"openpyxl\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of a file: how it is read, its header, and its rows, each with its line; they are read once.

    A row of fewer or more cells than the header has is given as it is. `place` tells how far it has been read, of
    `size`: bytes, or rows of a workbook.
    """

    how: str
    header: tuple[str, ...]
    rows: Iterator[tuple[int, Sequence[Cell]]]
    place: Callable[[], int]
    size: int
    delimiter: str = ","


def kind_of(name: str) -> str | None:
    """What a file is by its name: csv, xlsx or ndjson."""
    return KINDS.get(Path(name).suffix.lower())


def open_table(
    file: Path, kind: str, *, sheet: str | None = None, encoding: str | None = None, delimiter: str | None = None
) -> Table:
    """The table of a file; raises Invalid for one that cannot be read, OSError."""
    if kind == "xlsx":
        return _workbook(file, sheet)
    if kind == "ndjson":
        return _lines(file)
    return _csv(file, _encoding(file, encoding), delimiter)


def _encoding(file: Path, said: str | None) -> str:
    """The encoding of a file: its mark tells more than what was said, of the file before it was corrected, say.

    Raises Invalid for what is no encoding of a table.
    """
    with file.open("rb") as stream:
        marked = stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
    return "utf-8-sig" if marked or said is None else _known(said)


def _header(cells: Iterable[str]) -> tuple[str, ...]:
    header = tuple(" ".join(cell.split()) for cell in cells)
    while header and not header[-1]:
        header = header[:-1]
    if not header:
        raise wrong("has no header: its first row must name the columns")
    if len(header) > MOST_COLUMNS:
        raise wrong(f"has {len(header)} columns, more than {MOST_COLUMNS}")
    for at, name in enumerate(header, 1):
        if len(name) > LONGEST_CELL or _UNSHOWN.search(name):
            raise wrong(f"column {at}: its name is too long, or has characters that are not shown")
    return header


def _csv(file: Path, encoding: str, delimiter: str | None) -> Table:
    if delimiter is not None and (delimiter in '"\r\n\0' or not delimiter.isascii()):
        raise Invalid(Fault("delimiter", "is nothing that stands between cells"))
    mark = delimiter or _delimiter_of(file, encoding)
    text = file.open(encoding=encoding, newline="")
    rows = _csv_rows(text, encoding, mark)
    try:
        header = _header(cast("Sequence[str]", next(rows, (0, ()))[1]))
    except Invalid:
        text.close()
        raise
    buffer, size = cast("IO[bytes]", text.buffer), file.stat().st_size

    def place() -> int:
        return size if buffer.closed else buffer.tell()

    how = f"CSV, {_SIGNS.get(mark, mark)} between its cells, {encoding.removesuffix('-sig').upper()}"
    return Table(how=how, header=header, rows=rows, place=place, size=size, delimiter=mark)


def _known(name: str) -> str:
    """An encoding of texts by its name; raises Invalid."""
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        found = None
    # `_is_text_encoding` is what `open` itself asks of a codec.
    if found is None or not getattr(found, "_is_text_encoding", True) or found.name.replace("-", "_") in _NO_ENCODINGS:
        raise Invalid(Fault("encoding", f"no encoding is called {name}"))
    return name


_SIGNS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def _not_in(encoding: str) -> Invalid:
    known = encoding.removesuffix("-sig").upper()
    other = "cp1252" if known == "UTF-8" else "utf-8"
    return Invalid(Fault("encoding", f"the file is not in {known}: say which encoding it has, such as {other}"))


def _delimiter_of(file: Path, encoding: str) -> str:
    """What stands between the cells: the sign that cuts the first rows into most cells, and into the same number."""
    try:
        with file.open(encoding=encoding, newline="") as text:
            begin = "".join(islice(iter(partial(text.readline, LONGEST_CELL), ""), _LOOKED_AT))
    except UnicodeError:
        raise _not_in(encoding) from None
    return max(_DELIMITERS, key=partial(_fit, begin))


def _fit(begin: str, mark: str) -> float:
    """How well a sign fits: into how many cells it cuts the header, and how many rows into as many."""
    try:
        wide = [len(row) for row in csv.reader(io.StringIO(begin, newline=""), delimiter=mark) if row]
    except csv.Error:
        return 0
    return wide[0] * wide.count(wide[0]) / len(wide) if wide else 0


def _csv_rows(text: IO[str], encoding: str, mark: str) -> Iterator[tuple[int, Sequence[Cell]]]:
    csv.field_size_limit(LONGEST_CELL)
    left = _LONGEST_ROW

    def lines() -> Iterator[str]:
        nonlocal left
        while some := text.readline(left + 1):
            left -= len(some)
            if left < 0:
                raise wrong(f"line {line}: a row of more than {_LONGEST_ROW} characters")
            yield some

    with text:
        reader = csv.reader(lines(), delimiter=mark, strict=True)
        line = 1
        try:
            for row in reader:
                if len(row) > _MOST_CELLS:
                    raise wrong(f"line {line}: a row of more than {_MOST_CELLS} cells")
                if any(row):
                    yield line, row
                line, left = reader.line_num + 1, _LONGEST_ROW
        except UnicodeError:
            raise _not_in(encoding) from None
        except csv.Error as error:
            raise wrong(f"line {reader.line_num}: {error}") from None


def _lines(file: Path) -> Table:
    """Objects, one a line: their keys are the header, in the order in which they come first."""
    names: dict[str, int] = {}
    for number, line in _objects(file):
        for key in line:
            names.setdefault(key, len(names))
        if len(names) > MOST_COLUMNS:
            raise wrong(f"line {number}: more than {MOST_COLUMNS} different keys so far")
    header = _header(names)
    if list(header) != [name for name in names if name.strip()]:
        raise wrong("has keys with space around them: take it away")
    stream, size = file.open("rb"), file.stat().st_size

    def place() -> int:
        return size if stream.closed else stream.tell()

    return Table(how="lines of JSON", header=header, rows=_json_rows(stream, header), place=place, size=size)


def _objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open("rb") as stream:
        yield from _read_lines(stream)


def _read_lines(stream: IO[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    while line := stream.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise wrong(f"line {number} is longer than {_LONGEST_LINE} bytes")
        if not line.strip():
            continue
        try:
            found = _decode(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except _Twice as error:
            raise wrong(f"line {number}: {error}") from None
        except (ValueError, RecursionError):
            raise wrong(f"line {number} is no JSON") from None
        if not isinstance(found, dict):
            raise wrong(f"line {number} is no object")
        yield number, found


class _Number(list[str]):
    """A number as it is written; a list of the file itself is none."""


def _number(text: str) -> _Number:
    return _Number([text[:LONGEST_CELL]])


class _Twice(Exception):
    """A key that an object has twice: nobody knows which of the two is meant."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise _Twice(f"{twice[:40]} is there twice")
    return found


_decode: Final = json.JSONDecoder(
    object_pairs_hook=_once, parse_float=_number, parse_int=_number, parse_constant=_number
).decode


def _json_rows(stream: IO[bytes], header: Sequence[str]) -> Iterator[tuple[int, Sequence[Cell]]]:
    with stream:
        for number, found in _read_lines(stream):
            yield number, [_json_cell(found.get(name), name, number) for name in header]


def _json_cell(value: object, name: str, number: int) -> Cell:
    if value is None:
        return ""
    if isinstance(value, str):
        if len(value) > LONGEST_CELL or _HALVES.search(value):
            raise wrong(f"line {number}: {name[:40]} has more than {LONGEST_CELL} characters, or half of one")
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _Number):
        return value
    raise wrong(f"line {number}: {name[:40]} must be a text or a number")


def _workbook(file: Path, sheet: str | None) -> Table:
    stream = file.open("rb")
    try:
        refuse_many_parts(stream)
        reader = ExcelReader(stream, read_only=True, keep_vba=False, data_only=True, keep_links=False)
        reader.archive = Parts(stream)
        _read_whole(reader)
        book = reader.wb
        chosen = _sheet_of(book.sheetnames, sheet, len(reader.parser.sheets))
        size = min(book[chosen].max_row or 0, LAST_ROW)
        book[chosen].reset_dimensions()  # or each row is as wide as the sheet says that it is
        rows = _sheet_rows(book, stream, chosen)
        header = _header(text_of(cell) for cell in _first_of(rows))
    except (Invalid, MemoryError):
        stream.close()
        raise
    except DefusedXmlException:
        stream.close()
        raise wrong("declares entities in its XML, which no workbook needs") from None
    except Exception:  # noqa: BLE001 (whatever openpyxl stumbles over, it is no workbook that can be read)
        stream.close()
        raise wrong("is no workbook that can be read (xlsx)") from None
    read = [0]

    def counted() -> Iterator[tuple[int, Sequence[Cell]]]:
        for line, cells in rows:
            read[0] = line
            found = list(cells[: len(header)])
            yield line, [*found, *[""] * (len(header) - len(found)), *[cell for cell in cells[len(header) :] if cell]]

    return Table(how=f"a workbook, sheet {chosen}", header=header, rows=counted(), place=lambda: read[0], size=size)


def _read_whole(reader: ExcelReader) -> None:
    """Read a workbook but for its cells, its names, its theme and who wrote it: names alone may take hours."""
    reader.read_manifest()
    reader.read_strings()
    reader.read_workbook()
    apply_stylesheet(reader.archive, reader.wb)
    reader.read_worksheets()


def _sheet_of(names: Sequence[str], wanted: str | None, many: int) -> str:
    """The sheet that is wanted, of so many that the workbook names."""
    if len(set(names)) != many:
        raise wrong("names sheets that are not in it, or two by one name")
    if wanted is None and len(names) > 1:
        raise Invalid(Fault("sheet", f"required: it has {', '.join(names)}"))
    if wanted is not None and wanted not in names:
        raise Invalid(Fault("sheet", f"no sheet {wanted}; it has {', '.join(names)}"))
    return wanted or names[0]


def _first_of(rows: Iterator[tuple[int, Sequence[Cell]]]) -> Sequence[Cell]:
    """The first row that has anything, if it is not far down."""
    line, cells = next(rows, (0, ()))
    return cells if line <= _FIRST_ROW else ()


def _sheet_rows(book: Any, stream: IO[bytes], name: str) -> Iterator[tuple[int, Sequence[Cell]]]:
    with stream, closing(book):
        try:
            for line, cells in enumerate(book[name].iter_rows(values_only=True), 1):
                if any(cell is not None for cell in cells):
                    yield line, [_sheet_cell(cell, line) for cell in cells]
        except (Invalid, MemoryError):
            raise
        except DefusedXmlException:
            raise wrong("declares entities in its XML, which no workbook needs") from None
        except Exception:  # noqa: BLE001 (whatever openpyxl stumbles over)
            raise wrong("is no workbook that can be read (xlsx)") from None


def _sheet_cell(value: object, line: int) -> Cell:
    """A cell of a workbook, with as many digits as it shows."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int():
            return [str(value)]
        case float():
            return [format(value, ".15g")]
        case datetime() if value.time() != time():
            return value.isoformat()[:19]
        case date():
            return value.isoformat()[:10]
        case _:
            if len(text := str(value)) > LONGEST_CELL:
                raise wrong(f"line {line}: a cell has more than {LONGEST_CELL} characters")
            return text
