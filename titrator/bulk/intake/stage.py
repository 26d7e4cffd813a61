"""The rows of a file, put together by patient: in a file of ours, so that memory does not grow with theirs.

Tables of hospitals are seldom in order of patients, and a patient is recorded at once. What lies here is gone when the
import is done: it holds what the file held. Rows that were not taken are kept here, too, until they are told.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Final, NamedTuple

from titrator.bulk.intake.files import MOST_ROWS, Table
from titrator.bulk.intake.plan import Plan, day_columns
from titrator.bulk.intake.rows import Row, number_of
from titrator.bulk.intake.values import Cell, needs_order, text_of
from titrator.titration.errors import Fault
from titrator.workflow.errors import Invalid

_AT_ONCE: Final = 2000
#: Rows of a patient; of more the number is none, but what stands where there is none.
MOST_OF_PATIENT: Final = 50_000
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Staged(NamedTuple):
    """How much a file holds: its rows, and its patients."""

    rows: int
    patients: int


class Staging(NamedTuple):
    """A row to be put by: the number of its patient, its line, its cells, and what is wrong with it, if anything."""

    number: str
    line: int
    cells: Sequence[Cell]
    wrong: str | None


class Stage:
    """The rows of one file, in a file of ours at a path; made anew, or one that was made before."""

    def __init__(self, file: Path) -> None:
        self.file = file
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        for pragma in ("synchronous = off", "temp_store = file"):
            self._connection.execute(f"pragma {pragma}")
        self._journal("delete" if self.is_filled else "off")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _journal(self, mode: str) -> None:
        """Fill without one, as what is not filled to its end is filled anew; thereafter a kill must not spoil it."""
        self._connection.execute(f"pragma journal_mode = {mode}").fetchall()

    def remove(self) -> None:
        """Remove the file, and what it held."""
        self.close()
        discard(self.file)

    def fill(self, plan: Plan, table: Table, advance: Callable[[int], None] = lambda _: None) -> Staged:
        """Take all rows of a table; raises Invalid where its days cannot be read without being told their order."""
        orders = _Orders(plan)
        staged = self.put(_of_table(plan, table, orders), advance)
        orders.refuse()
        return staged

    def put(self, rows: Iterable[Staging], advance: Callable[[int], None] = lambda _: None) -> Staged:
        """Take rows, in place of what was there."""
        run = self._connection.execute
        run("pragma user_version = 0")
        self._journal("off")
        run("drop table if exists rows")
        run("drop table if exists refused")
        run("create table rows (number text not null, line integer not null, cells text not null)")
        run("create table refused (line integer primary key, cells text not null, why text not null)")
        total = 0
        for some in _batches(rows):
            run("begin")
            self._connection.executemany(
                "insert into rows values (?, ?, ?)",
                [(number, line, _encode(cells)) for number, line, cells, wrong in some if wrong is None],
            )
            self._connection.executemany(
                "insert into refused values (?, ?, ?)",
                [(line, _encode(cells), wrong) for _, line, cells, wrong in some if wrong is not None],
            )
            run("commit")
            total += len(some)
            if total > MOST_ROWS:
                raise Invalid(Fault("file", f"has more than {MOST_ROWS} rows"))
            advance(len(some))
        run("create index rows_by_number on rows (number, line)")
        many = "select number from rows group by number having count(*) > ?"
        moved = f"insert into refused select line, cells, ? from rows where number in ({many})"  # noqa: S608
        why = f"more than {MOST_OF_PATIENT} rows have this number of a patient"
        if run(moved, (why, MOST_OF_PATIENT)).rowcount:
            run(f"delete from rows where number in ({many})", (MOST_OF_PATIENT,))  # noqa: S608
        run("pragma user_version = 1")
        self._journal("delete")
        return Staged(total, run("select count(distinct number) from rows").fetchone()[0])

    @property
    def is_filled(self) -> bool:
        """Whether all rows of a table have been taken."""
        return bool(self._connection.execute("pragma user_version").fetchone()[0])

    def patients(self, after: str | None = None, until: str | None = None) -> Iterator[tuple[str, list[Row]]]:
        """The patients with their rows, in order of their numbers, those after one of them and up to another.

        Up to a number they are read at once, so that others may write.
        """
        bounds = [("number > ?", after), ("number <= ?", until)]
        where = " and ".join(condition for condition, number in bounds if number is not None)
        rows = self._connection.cursor().execute(
            f"select number, line, cells from rows {'where ' + where if where else ''} order by number, line",  # noqa: S608
            [number for _, number in bounds if number is not None],
        )
        for number, some in groupby(rows if until is None else rows.fetchall(), itemgetter(0)):
            yield number, [Row(line, json.loads(cells)) for _, line, cells in some]

    def tally(self, at: int, most: int) -> list[tuple[str, int]]:
        """What stands in a column, by how many rows, the most frequent first."""
        counted = "select json_extract(cells, ?) as said, count(*) as many from rows group by said"
        found = self._connection.execute(f"{counted} order by many desc, said limit ?", (f"$[{at:d}]", most))
        return [(str(said).strip(), many) for said, many in found]

    def shares(self, rows: int) -> Iterator[tuple[str | None, str | None]]:
        """The patients in shares of so many rows or a few more: each after one of them, and up to another."""
        numbers = self._connection.cursor().execute("select number, count(*) from rows group by number order by number")
        after, last, many = None, None, 0
        for number, of_number in numbers:
            last, many = number, many + of_number
            if many >= rows:
                yield after, number
                after, last, many = number, None, 0
        if last is not None:
            yield after, last

    def refuse(self, rows: Iterable[tuple[Row, str]], among: Iterable[Row] = ()) -> None:
        """Keep why rows were not taken; `among` are those of which nothing holds any more that was kept before."""
        told = [(row.line, _encode(row.cells), why) for row, why in rows]
        self._connection.execute("begin")
        self._connection.executemany("delete from refused where line = ?", [(row.line,) for row in among])
        self._connection.executemany("insert or replace into refused values (?, ?, ?)", told)
        self._connection.execute("commit")

    def refused(self, most: int | None = None) -> Iterator[tuple[int, list[str], str]]:
        """The rows that were not taken: line, cells, why, in order of lines."""
        rows = self._connection.cursor().execute(
            f"select line, cells, why from refused order by line limit {-1 if most is None else most:d}"  # noqa: S608
        )
        for line, cells, why in rows:
            yield line, [text_of(cell) for cell in json.loads(cells)], why

    def reasons(self, most: int) -> Iterator[tuple[str, int, int]]:
        """Why rows were not taken, what most were refused for first: why, how many rows, the line of the first."""
        yield from self._connection.cursor().execute(
            "select why, count(*), min(line) from refused group by why order by count(*) desc, min(line) limit ?",
            [most],
        )

    def count_refused(self) -> int:
        """How many rows were not taken."""
        return int(self._connection.execute("select count(*) from refused").fetchone()[0])


def discard(file: Path) -> None:
    """Remove the file of a stage, and what whoever was killed left of its journal."""
    for one in (file, file.with_name(f"{file.name}-journal")):
        one.unlink(missing_ok=True)


class _Orders:
    """Looks at days of three numbers, as 03/04/2025, of which nobody has said in what order they are."""

    def __init__(self, plan: Plan) -> None:
        self._at = [] if plan.dates is not None else day_columns(plan)
        self._header = plan.header
        self._found: dict[int, tuple[int, str, str]] = {}  # by column: the line and text that tells most
        self._seen: dict[str, str | None] = {}

    def look(self, line: int, cells: Sequence[Cell]) -> None:
        for at in self._at:
            text = cells[at]
            if not isinstance(text, str) or text in self._seen:
                continue
            if len(self._seen) > 100_000:
                self._seen.clear()
            self._seen[text] = order = needs_order(text.strip())
            if order is not None and (at not in self._found or (self._found[at][2] == "either" and order != "either")):
                self._found[at] = line, text.strip(), order

    def refuse(self) -> None:
        """Raise Invalid where there were any."""
        faults = []
        for at, (line, text, order) in sorted(self._found.items()):
            hint = "" if order == "either" else f"; in line {line} only {order} fits"
            faults.append(Fault("dates", f"required, dmy or mdy: {self._header[at]} has days such as {text}{hint}"))
        if faults:
            raise Invalid(*faults)


def _of_table(plan: Plan, table: Table, orders: _Orders) -> Iterator[Staging]:
    wide = len(plan.header)
    for line, cells in table.rows:
        if len(cells) != wide and not (len(cells) > wide and not any(cells[wide:])):
            yield Staging("", line, cells, f"has {len(cells)} cells where the header has {wide}")
            continue
        orders.look(line, cells)
        number = number_of(plan, cells)
        yield Staging(number, line, cells, None if number else f"{plan.columns['patient'].header}: empty")


def _batches(rows: Iterable[Staging]) -> Iterator[list[Staging]]:
    rows = iter(rows)
    while some := list(islice(rows, _AT_ONCE)):
        yield some
