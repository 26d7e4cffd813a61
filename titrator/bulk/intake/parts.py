"""The parts of a workbook: how much each may be, and whether the order of its rows and cells is one that is read whole.

A workbook is a ZIP of XML. openpyxl reads a sheet row by row, and the texts that cells share one by one, but it holds
each row, and each text, as a tree until it ends, and what stands outside of them until the end; other parts it reads at
once. So a part is looked at while it is read, before openpyxl sees it: what would fill the memory is refused, and no
element is counted twice.

openpyxl passes over a row whose number is not above that of the row before, and over a cell that is beyond the last one
of its row, and says nothing. No spreadsheet program writes such a file; here it is refused, and told where.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from functools import partial
from typing import IO, Any, Final, cast
from xml.parsers import expat

from openpyxl.utils import column_index_from_string

from titrator.titration.errors import Fault
from titrator.workflow.errors import Invalid

#: What a workbook may be unpacked, in bytes and as a multiple of the file; its shared texts in bytes.
MOST_UNPACKED: Final = 500_000_000
MOST_TEXT: Final = 200_000_000
_MOST_TIMES: Final = 200
#: What is held in memory as a tree, in bytes: of parts that are read at once, and of a sheet outside of its rows.
MOST_ASIDE: Final = 10_000_000
#: What one row, or one text, may be, in bytes; and in elements, which is what stands outside of rows may have, too.
_MOST_AT_ONCE: Final = 16_000_000
_MOST_ELEMENTS: Final = 200_000
#: A tag, or a comment, in bytes: one that does not end is looked at anew with each byte that comes.
_LONGEST_TAG: Final = 100_000
#: A row has thirteen attributes at most; openpyxl keeps them to the end.
_MOST_ATTRIBUTES: Final = 16
_MOST_TEXTS: Final = 4_000_000
#: What tells where the parts of a ZIP are, in bytes: it is read at once, and each part is an object.
_MOST_DIRECTORY: Final = 1_000_000
#: Characters of a format of numbers, as many as Excel takes: to tell days from amounts takes the square of them.
_LONGEST_FORMAT: Final = 255
#: What Excel has: more rows and columns are none of a workbook, whatever it says.
LAST_ROW: Final = 1_048_576
_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_ROW: Final = f"{_MAIN} row"
_TEXT: Final = f"{_MAIN} si"
_FORMAT: Final = f"{_MAIN} numFmt"
_COPY: Final = "copy its values into a new workbook"
_ANEW: Final = "open it in a spreadsheet program and save it anew"


def wrong(message: str) -> Invalid:
    """What is wrong with a file."""
    return Invalid(Fault("file", message))


def refuse_many_parts(stream: IO[bytes]) -> None:
    """Raise Invalid for a ZIP of more parts than any workbook has; it is not opened for that."""
    ends = cast("Any", zipfile)._EndRecData(stream)  # noqa: SLF001 (as zipfile finds what it is about to read at once)
    if ends is not None and ends[5] > _MOST_DIRECTORY:
        raise wrong("has more parts than any workbook")


class Parts(zipfile.ZipFile):
    """A workbook as openpyxl reads it, within limits; raises Invalid, zipfile.BadZipFile.

    How large it is unpacked is known before: a ZIP says it, and gives no more than it says. Junk beside it makes no
    part of it smaller.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)
        self._aside = self._elements = 0
        found = self.infolist()
        unpacked = sum(part.file_size for part in found)
        swollen = any(part.file_size > max(part.compress_size, 100_000) * _MOST_TIMES for part in found)
        if swollen or unpacked > MOST_UNPACKED:
            raise wrong(f"would be {unpacked} bytes unpacked, more than a workbook of its size has")

    def open(self, name: Any, mode: Any = "r", pwd: bytes | None = None, **more: Any) -> Any:
        """A part, looked at while it is read."""
        return _Watched(super().open(name, mode, pwd, **more), partial(self.count_aside, self.getinfo(name).file_size))

    def read(self, name: Any, pwd: bytes | None = None) -> bytes:
        """A part at once; raises Invalid where those that are read at once come to too much."""
        self.count_aside(self.getinfo(name).file_size)
        with super().open(name, pwd=pwd) as part:
            read = part.read()
        if name.endswith((".xml", ".rels")):
            look = _Look(self._elements)
            look.at(read)
            self._elements = look.others
        return read

    def count_aside(self, size: int) -> None:
        """Count what is read at once."""
        self._aside += size
        if self._aside > MOST_ASIDE:
            raise wrong(f"has {self._aside} bytes of styles and the like: {_COPY}")


class _Watched:
    """A part of a workbook, looked at while it is read; who reads it at once has that counted."""

    def __init__(self, part: IO[bytes], count_aside: Callable[[], None]) -> None:
        self._part, self._count_aside, self._look = part, count_aside, _Look()

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or all that is left."""
        if size < 0:
            self._count_aside()
        read = self._part.read(size)
        self._look.at(read)
        return read

    def close(self) -> None:
        """Let go of it."""
        self._part.close()

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Look:
    """What a part has come to so far: which row or text is open, since which byte, and what stands outside of them.

    `others` are the elements outside of rows and texts. Of a part that is read at once all are, and with those of such
    parts `before` it.
    """

    def __init__(self, before: int | None = None) -> None:
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartElementHandler = self._begin
        self._parser.EndElementHandler = self._end
        self._parser.EntityDeclHandler = self._entity
        self._read = self._outside = self._since = 0
        self._open: str | None = None
        self._at_once, self.others = before is not None, before or 0
        self._deep = self._elements = self._texts = 0
        self._row = self._column = 0

    def at(self, some: bytes) -> None:
        """Look at what comes next; raises Invalid."""
        try:
            self._parser.Parse(some, False)
        except expat.ExpatError:
            raise wrong("is no workbook that can be read (xlsx)") from None
        self._read += len(some)
        if self._read - self._parser.CurrentByteIndex > _LONGEST_TAG:
            raise wrong(f"has a tag, or a comment, of more than {_LONGEST_TAG} bytes")
        now = self._read - self._since
        if self._open is None and self._outside + now > MOST_ASIDE:
            raise wrong(f"has more than {MOST_ASIDE} bytes outside of the rows of a sheet: {_COPY}")
        if self._open is not None and now > _MOST_AT_ONCE:
            raise wrong(f"has a row, or a text, of more than {_MOST_AT_ONCE} bytes")
        if self._texts and self._read > MOST_TEXT:
            raise wrong(f"has more than {MOST_TEXT} bytes of texts: save it as CSV")

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        if self._open is not None:
            self._begin_within(name, attributes)
        elif name in (_ROW, _TEXT) and not self._at_once:
            self._outside += self._parser.CurrentByteIndex - self._since
            self._open, self._since = name, self._parser.CurrentByteIndex
            self._deep = self._elements = 0
            self._begin_row(attributes) if name == _ROW else self._begin_text()
        else:
            if name == _FORMAT and len(attributes.get("formatCode", "")) > _LONGEST_FORMAT:
                raise wrong(f"has a format of numbers of more than {_LONGEST_FORMAT} characters")
            self.others += 1
            if self.others > _MOST_ELEMENTS:
                raise wrong(f"has more than {_MOST_ELEMENTS} elements outside of the rows of a sheet: {_COPY}")

    def _begin_within(self, name: str, attributes: dict[str, str]) -> None:
        self._deep += 1
        self._elements += 1
        if self._elements > _MOST_ELEMENTS:
            raise wrong(f"has a row, or a text, of more than {_MOST_ELEMENTS} elements")
        if name == _ROW:
            raise wrong(f"row {self._row} has a row within it: {_ANEW}")
        if self._deep == 1 and self._open == _ROW:
            self._begin_cell(attributes.get("r"))

    def _begin_text(self) -> None:
        self._texts += 1
        if self._texts > _MOST_TEXTS:
            raise wrong(f"has more than {_MOST_TEXTS} texts: save it as CSV")

    def _begin_row(self, attributes: dict[str, str]) -> None:
        """A row has the number that it says, or the next one."""
        said = _whole(attributes["r"]) if "r" in attributes else self._row + 1
        if said <= self._row:
            raise wrong(f"row {said} comes after row {self._row}: {_ANEW}")
        if said > LAST_ROW:
            raise wrong(f"has more than {LAST_ROW} rows")
        if len(attributes) > _MOST_ATTRIBUTES:
            raise wrong(f"row {said} has more than {_MOST_ATTRIBUTES} attributes")
        self._row, self._column = said, 0

    def _begin_cell(self, said: str | None) -> None:
        """A cell is in the column that it says, or in the next one."""
        if not said:
            self._column += 1
            return
        letters = said.rstrip("0123456789")
        if said[len(letters) :] != str(self._row):
            raise wrong(f"cell {said[:40]} stands in row {self._row}: {_ANEW}")
        column = _column(letters)
        if column <= self._column:
            raise wrong(f"cell {said} comes after one that is not before it in its row: {_ANEW}")
        self._column = column

    def _end(self, _: str) -> None:
        if self._open is None:
            return
        if self._deep:
            self._deep -= 1
        else:
            self._open, self._since = None, self._parser.CurrentByteIndex

    def _entity(self, *_: object) -> None:
        raise wrong("declares entities in its XML, which no workbook needs")


def _whole(text: str) -> int:
    """A whole number, as some programs write it: 7 or 7.0."""
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        raise wrong(f"{text[:40]} is no number of a row: {_ANEW}") from None


def _column(letters: str) -> int:
    try:
        return int(column_index_from_string(letters))
    except ValueError:
        raise wrong(f"{letters[:40]} is no column: {_ANEW}") from None
