"""The embedded store: one SQLite file, in WAL mode, written durably by one thread of one process at a time.

sqlite-utils makes the tables and keeps the record of migrations; what is done for each request is SQL of our own, made
once for each class of records.

Who writes waits for a lock on `<database>.writer` first: for threads a lock in memory, for processes one on the file.
SQLite's own way, to try again after a sleep, makes a few writers wait long. Each open store holds a shared lock on
`<database>.open`, so that a restore can tell that no process has the file open. Neither lock, nor any connection,
outlives a fork: a store is opened by the process that uses it.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache, partial
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from sqlite_utils import Database, Migrations

from titrator.store.base import CourseFact, Duplicate, Stale, Stamped, StoreError, Unusable, Where
from titrator.store.records import RECORDS, Record
from titrator.store.rows import Value, mapping
from titrator.store.schema import MIGRATIONS, Migration, not_understood
from titrator.store.together import Step, Together

R = TypeVar("R", bound=Record)

#: "titr" as SQLite's application id: what tells our files from others.
APPLICATION_ID: Final = 0x74697472
_BUSY_MS: Final = 30_000
_MAPPED: Final = 2**31  # bytes of the file read without copying
#: Rows that are inserted together.
_ROWS: Final = 25
#: How many of a kind of fault are named.
_SHOWN: Final = 20

#: One row of JSON: Python lets another thread run after each row that it fetches, and a course has a hundred.
_COURSE_FACTS: Final = """
    select json_group_array(json_array(kind, day, code, value, unit, level, until, unreliable, status, id, taken_at))
    from facts
    where patient_id = ? and current = 1 and status != 'entered-in-error'
        and kind in ('weight', 'platelet-count', 'dose', 'event')"""

_ID: Final = itemgetter(9)

#: Columns of few values by which some indexes are of a part of a table. A statement that was prepared with such a value
#: bound is prepared anew, at three times the cost of a look-up, each time one is bound: so they stand in its text.
_OF_PARTS: Final = frozenset(("current", "status", "settled", "reviewed"))

#: What must never be found: each with how it is told.
_BROKEN: Final = {
    "facts without exactly one current version, the last": """
        select patient_id || ' fact ' || id from facts group by patient_id, id
        having sum(current) != 1 or min(version) != 1 or max(version) != count(*)
            or max(case when current = 1 then version end) != max(version)""",
    "courses without exactly one current version, the last": """
        select patient_id || ' course ' || id from courses group by patient_id, id
        having sum(current) != 1 or min(version) != 1 or max(version) != count(*)
            or max(case when current = 1 then version end) != max(version)""",
    "facts and courses later than the patient's revision": """
        select o.patient_id || ' ' || o.id from (
            select patient_id, id, revision from facts union all select patient_id, id, id from courses
        ) o join patients p on p.id = o.patient_id
        where o.id > p.revision or o.revision > p.revision or o.id < 1""",
    "patients of whom more or less is kept than was recorded": """
        select p.id from patients p where p.revision !=
            (select count(*) from facts f where f.patient_id = p.id)
            + (select count(*) from courses c where c.patient_id = p.id)""",
    "decisions without exactly one current version, the last": """
        select patient_id || ' decision ' || id from decisions group by patient_id, id
        having sum(current) != 1 or min(version) != 1 or max(version) != count(*)
            or max(case when current = 1 then version end) != max(version)""",
    "patients of whom more or less was decided than is kept": """
        select p.id from patients p
        where p.decided != (select count(*) from decisions d where d.patient_id = p.id)""",
    "patients whose undelivered decision is another": """
        select p.id from patients p where p.decision_id is not (
            select d.id from decisions d where d.patient_id = p.id and d.current = 1
                and d.status in ('awaiting-second', 'in-force', 'referred'))""",
    "patients told where they stand by more than was recorded": """
        select s.patient_id from standings s join patients p on p.id = s.patient_id
        where s.revision > p.revision or s.patient_version > p.version""",
    "external ids of no fact": """
        select e.patient_id || ' ' || e.value from external_ids e
        where not exists (select 1 from facts f where f.patient_id = e.patient_id and f.id = e.fact_id)""",
}


class SqliteSession:
    """A transaction on a connection; one that only reads refuses to write, for it would be undone unseen."""

    def __init__(self, connection: sqlite3.Connection, *, writes: bool) -> None:
        self._connection = connection
        self._writes = writes

    def get(self, record: type[R], *key: object) -> R | None:
        """The record with that key."""
        rows = self._rows(_STATEMENTS[record].by_key, cast("tuple[str]", key))
        return mapping(record).to_record(rows[0]) if rows else None

    def find(self, record: type[R], *where: Where, order: tuple[str, ...] = (), limit: int | None = None) -> list[R]:
        """The records that meet all conditions, in the order of the columns named."""
        rows = self._selected(_STATEMENTS[record].select, where, order, limit)
        return list(map(mapping(record).to_record, rows))

    def values(
        self,
        record: type[Record],
        columns: tuple[str, ...],
        *where: Where,
        order: tuple[str, ...] = (),
        limit: int | None = None,
    ) -> list[tuple[Value, ...]]:
        """Columns of the records that meet all conditions, as they are stored."""
        select = f"select {', '.join(columns)} from {record.TABLE}"  # noqa: S608 (names of ours)
        return self._selected(select, where, order, limit)

    def _selected(
        self, select: str, where: tuple[Where, ...], order: tuple[str, ...], limit: int | None
    ) -> list[tuple[Value, ...]]:
        conditions, values = _conditions(where)
        sql = select + conditions
        if order:
            sql += f" order by {_order(order)}"
        if limit is not None:
            sql += f" limit {limit:d}"
        return self._rows(sql, values)

    def count(self, record: type[Record], *where: Where) -> int:
        """How many records meet all conditions."""
        conditions, values = _conditions(where)
        sql = f"select count(*) from {record.TABLE}{conditions}"  # noqa: S608 (names of ours)
        return int(self._rows(sql, values)[0][0])

    def tally(self, record: type[Record], column: str, *where: Where) -> dict[Value, int]:
        """How many records that meet all conditions have each value of a column, as it is stored."""
        conditions, values = _conditions(where)
        sql = f"select {column}, count(*) from {record.TABLE}{conditions} group by {column}"  # noqa: S608 (names of ours)
        return dict(self._rows(sql, values))

    def add(self, *records: Record) -> None:
        """Add records; raises Duplicate."""
        for kind, some in _batches(records):
            self._insert(kind, some, "")

    def put(self, *records: Record) -> None:
        """Add records of one class, each in the place of that of the same key, if there is one."""
        for kind, some in _batches(records):
            self._insert(kind, some, _STATEMENTS[kind].instead)

    def change(self, record: R, *where: Where, old: R | None = None) -> None:
        """Replace the record of the same key, if it meets the conditions; raises Stale, Duplicate."""
        self._refuse_unless_writing()
        kind = type(record)
        columns, row = mapping(kind).columns, mapping(kind).to_row(record)
        before = row if old is None else mapping(kind).to_row(old)
        # What is not named need not be looked up in an index.
        new = {
            name: value
            for name, value, was in zip(columns, row, before, strict=True)
            if name not in kind.KEY and (old is None or value != was)
        } or {kind.KEY[0]: getattr(record, kind.KEY[0])}
        key = [Where(name, "=", getattr(record, name)) for name in kind.KEY]
        conditions, values = _conditions((*key, *where))
        sql = f"update {kind.TABLE} set {', '.join([f'{name} = ?' for name in new])}{conditions}"  # noqa: S608
        if self._write(sql, [*new.values(), *values]) != 1:
            raise Stale(kind.TABLE)

    def claim(
        self,
        record: type[R],
        changes: Mapping[str, Value],
        *where: Where,
        order: tuple[str, ...] = (),
        limit: int | None = None,
    ) -> list[R]:
        """Change columns of the records that meet all conditions, the first ones in order; those records."""
        self._refuse_unless_writing()
        conditions, values = _conditions(where)
        keys, columns = ", ".join(record.KEY), mapping(record).columns
        if order or limit is not None:
            first = f" order by {_order(order)}" if order else ""
            some = f"select {keys} from {record.TABLE}{conditions}{first} limit {-1 if limit is None else limit:d}"  # noqa: S608
            conditions = f" where ({keys}) in ({some})"
        new = ", ".join(f"{name} = ?" for name in changes)
        sql = f"update {record.TABLE} set {new}{conditions} returning {', '.join(columns)}"  # noqa: S608 (names of ours)
        found = [mapping(record).to_record(row) for row in self._rows(sql, [*changes.values(), *values])]
        for name in reversed(order):  # in what order they are returned is not promised
            found.sort(key=partial(_sortable, name.lstrip("-")), reverse=name[0] == "-")
        return found

    def update(self, record: type[Record], changes: Mapping[str, Value], *where: Where) -> int:
        """Change columns of the records that meet all conditions; how many they were."""
        self._refuse_unless_writing()
        conditions, values = _conditions(where)
        new = ", ".join(f"{name} = ?" for name in changes)
        return self._write(f"update {record.TABLE} set {new}{conditions}", [*changes.values(), *values])  # noqa: S608

    def take(self, record: type[R], *where: Where, order: tuple[str, ...] = (), limit: int | None = None) -> list[R]:
        """The records that meet all conditions; only one transaction writes at a time, so no other one takes them."""
        self._refuse_unless_writing()
        return self.find(record, *where, order=order, limit=limit)

    @contextmanager
    def part(self) -> Iterator[None]:
        """A part of a writing transaction, undone if an exception leaves it; raises StoreError if that has ended."""
        self._refuse_unless_writing()
        if not self._connection.in_transaction:  # SQLite itself undoes all of one when the disk is full
            raise StoreError("the transaction has been undone")
        self._write("savepoint part", ())
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._write("rollback to part", ())
            raise
        finally:
            if self._connection.in_transaction:
                self._write("release part", ())

    def remove(self, record: type[Record], *where: Where) -> int:
        """Remove the records that meet all conditions; how many they were."""
        self._refuse_unless_writing()
        conditions, values = _conditions(where)
        sql = f"delete from {record.TABLE}{conditions}"  # noqa: S608 (names of ours)
        return self._write(sql, values)

    def course_facts(self, patient_id: str) -> list[CourseFact]:
        """The current weights, platelet counts, doses and events of a patient, in order of recording."""
        rows = json.loads(self._rows(_COURSE_FACTS, (patient_id,))[0][0])
        rows.sort(key=_ID)
        return list(map(CourseFact._make, rows))

    def _insert(self, kind: type[Record], records: Sequence[Record], otherwise: str) -> None:
        """Insert records in one statement: Python lets another thread run at each."""
        self._refuse_unless_writing()
        statements, to_row = _STATEMENTS[kind], mapping(kind).to_row
        sql = f"{statements.insert}{f', {statements.marks}' * (len(records) - 1)}{otherwise}"
        self._write(sql, list(chain.from_iterable(map(to_row, records))))

    def _rows(self, sql: str, values: Sequence[Value]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error

    def _write(self, sql: str, values: Sequence[Value]) -> int:
        """How many rows a statement changed."""
        try:
            return self._connection.execute(sql, values).rowcount
        except sqlite3.IntegrityError as error:
            raise (Duplicate if "UNIQUE" in str(error) else StoreError)(str(error)) from error
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error

    def _refuse_unless_writing(self) -> None:
        if not self._writes:
            raise RuntimeError("this transaction only reads: what it wrote would not be kept")


class SqliteStore:
    """The store in a file; made, with its folder, if it is not there, and migrated. Raises Unusable.

    Opened `as_it_is`, it is neither made nor migrated, and whatever would write to it fails.
    """

    def __init__(self, file: Path, *, as_it_is: bool = False) -> None:
        self.file = file.absolute()
        self._mode = "ro" if as_it_is else "rw"
        self._process = os.getpid()
        self._threads = threading.local()
        self._lock = threading.Lock()
        self._commits = 0
        self._together = Together()
        try:
            if as_it_is:
                self._look()
                return
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._writer = os.open(f"{self.file}.writer", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._open = os.open(f"{self.file}.open", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._open, fcntl.LOCK_SH)
            os.close(os.open(self.file, os.O_CREAT | os.O_RDWR, 0o600))
            with self._one_writer():
                self._migrate()
        except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
            raise Unusable(f"{self.file}: {error}") from error

    def reading(self) -> _Reading:
        """A reading transaction: all its reads see the same state."""
        return _Reading(self._connection())

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[SqliteSession]:
        """A writing transaction, kept at its end unless an exception leaves it."""
        connection = self._connection()
        if self._mode == "ro":
            raise RuntimeError("this store was opened to be looked at only")
        with _store_errors(), self._one_writer():
            self._wait_for_the_disk(connection, durable)
            connection.execute("begin immediate")
            try:
                yield SqliteSession(connection, writes=True)
                connection.execute("commit")
                self._commits += 1
            finally:
                if connection.in_transaction:
                    connection.execute("rollback")

    def carry_out(self, step: Callable[[SqliteSession], object]) -> None:
        """A step as a durable writing transaction, committed together with those of other threads that wait, too."""
        self._together.carry_out(cast("Step", step), self.writing)

    def carry_out_each(self, steps: Sequence[Callable[[SqliteSession], object]]) -> list[BaseException | None]:
        """Several steps in order, in one durable commit; one that raises is undone alone. What each raised.

        Most often none does. So they are tried as a whole first, and each as a part only if that did not go well.
        """
        try:
            with self.writing() as session:
                for step in steps:
                    step(session)
        except Exception as error:  # noqa: BLE001 (whatever it was, each is told what it raised)
            if len(steps) == 1:
                return [error]
            return self._together.carry_out_each(cast("Sequence[Step]", steps), self.writing)
        return [None] * len(steps)

    def stamp(self, of: Stamped = "everything") -> tuple[int, ...]:
        """SQLite's count of what other connections have committed, and ours of what this process has.

        Of access, the count that triggers keep.
        """
        connection = self._connection()
        with _store_errors():
            if of == "access":
                counted = connection.execute("select number from change_counts where name = 'access'").fetchone()
                return id(connection), counted[0] if counted else 0
            others = connection.execute("pragma data_version").fetchone()[0]
        return id(connection), others, self._commits

    def clock(self) -> None:
        """Nothing: a file has no clock of its own."""

    def pending(self) -> list[str]:
        """The names of the migrations that are still to be applied."""
        with _store_errors():
            return [migration.name for migration in _migrations().pending(Database(self._connection()))]

    def contractions(self) -> list[str]:
        """The names of the migrations that are still to take away what only older programs need."""
        with _store_errors():
            names = [migration.name for migration in _all_migrations().pending(Database(self._connection()))]
        return [migration.name for migration in MIGRATIONS if migration.contracts and migration.name in names]

    def contract(self) -> None:
        """Take away what only older programs need: they refuse the database from then on."""
        with _store_errors(), self._one_writer():
            _all_migrations().apply(Database(self._connection()))

    def check(self) -> list[str]:
        """What is wrong with the database, in words; nothing if it is sound."""
        try:
            with self.reading():
                return _faults(self._connection())
        except (StoreError, UnicodeDecodeError) as error:
            return [f"cannot be read to its end: {error}"]

    def backup(self, file: Path) -> None:
        """Write a copy of the database, as of now, to a new file; others may go on working. Raises StoreError."""
        if file.exists():
            raise StoreError(f"{file}: is there already; a backup is a new file")
        try:
            with _part_of(file) as part:
                _copy(self._connection(), part)
                os.link(part, file)  # unlike a rename, never over a file that somebody else has made meanwhile
            _sync(file.parent)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{file}: cannot be written: {error}") from error

    def close(self) -> None:
        """Close what this thread has open."""
        connection = getattr(self._threads, "connection", None)
        if connection is not None:
            connection.close()
            self._threads.connection = None

    def __del__(self) -> None:
        """Let go of the locks."""
        for name in ("_writer", "_open"):
            with suppress(AttributeError, OSError):
                os.close(getattr(self, name))

    def _connection(self) -> sqlite3.Connection:
        if os.getpid() != self._process:
            raise RuntimeError("a store must be opened by the process that uses it, after a fork")
        connection: sqlite3.Connection | None = getattr(self._threads, "connection", None)
        if connection is None:
            connection = _connect(self.file, self._mode)
            self._threads.connection = connection
            self._threads.durable = None
        return connection

    def _wait_for_the_disk(self, connection: sqlite3.Connection, durable: bool) -> None:
        """Whether commits of this thread wait for the disk from now on."""
        if getattr(self._threads, "durable", None) is not durable:
            connection.execute(f"pragma synchronous = {'full' if durable else 'normal'}")
            self._threads.durable = durable

    @contextmanager
    def _one_writer(self) -> Iterator[None]:
        if self._connection().in_transaction:
            raise RuntimeError("this thread is in a transaction already, and would wait for itself")
        with self._lock:
            fcntl.flock(self._writer, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._writer, fcntl.LOCK_UN)

    def _look(self) -> None:
        """Open what is there, and keep a restore from putting another in its place meanwhile."""
        if not self.file.exists():
            raise Unusable(f"{self.file}: there is no database")
        with suppress(FileNotFoundError):
            self._open = os.open(f"{self.file}.open", os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._open, fcntl.LOCK_SH)
        _refuse_foreign(self._connection(), self.file)

    def _migrate(self) -> None:
        connection = self._connection()
        if _application_id(connection) == 0 and not _tables(connection):
            connection.execute(f"pragma application_id = {APPLICATION_ID}")
        _refuse_foreign(connection, self.file)
        connection.execute("pragma journal_mode = wal")
        _migrations().apply(Database(connection))


def restore(file: Path, into: Path) -> None:
    """Put a backup in the place of a database that no process has open; raises Unusable, with nothing changed.

    The database that was there, if any, stays beside it as `<name>.before-restore`, or `-2` and so on where that is
    taken. At no moment is there no database under its name.
    """
    into = into.absolute()
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        with _alone(into), _part_of(into) as part:
            _copy_of_backup(file, part)
            if into.exists():
                _keep_old(into)
            part.replace(into)
            _sync(into.parent)
    except (OSError, sqlite3.Error) as error:
        raise Unusable(f"{file}: {error}") from error


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """While no process has a store of this file open; raises Unusable. Who opens one now waits."""
    lock = os.open(f"{file}.open", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unusable(f"{file}: is in use; stop the service first") from None
        yield
    finally:
        os.close(lock)


def _copy_of_backup(file: Path, part: Path) -> None:
    """A sound copy of a backup; raises Unusable. What is judged is the copy, so that nothing can change in between."""
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as backup:
        _copy(backup, part)
    with closing(_connect(part)) as copy:
        _refuse_foreign(copy, file)
        if faults := _faults(copy):
            raise Unusable(f"{file}: {'; '.join(faults)}")


def _keep_old(file: Path) -> None:
    """Give a database a second name, by which it is kept, and take its log away from the first.

    A log that cannot be written back, because the database is damaged, stays beside what is kept. It must not stay
    where it is: SQLite would write it into the database that comes there.
    """
    with suppress(sqlite3.Error), closing(_connect(file)) as old:
        old.execute("pragma wal_checkpoint(truncate)")
    kept = file.with_name(f"{file.name}.before-restore")
    for number in range(2, 1000):
        with suppress(FileExistsError):
            os.link(file, kept)
            break
        kept = file.with_name(f"{file.name}.before-restore-{number}")
    else:
        raise Unusable(f"{file}: there are a thousand databases kept from restores; move them elsewhere")
    _sync(file.parent)
    with suppress(FileNotFoundError):
        file.with_name(f"{file.name}-wal").replace(kept.with_name(f"{kept.name}-wal"))
    file.with_name(f"{file.name}-shm").unlink(missing_ok=True)


@contextmanager
def _part_of(file: Path) -> Iterator[Path]:
    """An empty file beside another, of a name by chance, for its owner only; gone in the end unless it was renamed."""
    part = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        yield part
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            part.with_name(part.name + suffix).unlink(missing_ok=True)


def _copy(connection: sqlite3.Connection, part: Path) -> None:
    """The database of a connection, as of now, in one file that needs no other, written to the disk."""
    with closing(sqlite3.connect(part, isolation_level=None)) as copy:
        connection.backup(copy)
        copy.execute("pragma journal_mode = delete")
    _sync(part)


def _connect(file: Path, mode: str = "rw") -> sqlite3.Connection:
    uri = f"{file.as_uri()}?mode={mode}"  # not made here: a file that is gone must not come back empty
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.execute(f"pragma busy_timeout = {_BUSY_MS}")
    connection.execute("pragma foreign_keys = on")
    connection.execute("pragma trusted_schema = off")
    connection.execute(f"pragma mmap_size = {_MAPPED}")
    connection.execute("pragma wal_autocheckpoint = 20000")
    return connection


def _application_id(connection: sqlite3.Connection) -> int:
    return int(connection.execute("pragma application_id").fetchone()[0])


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")}


def _refuse_foreign(connection: sqlite3.Connection, file: Path) -> None:
    """Raise Unusable for a database of another program, or of a version of this one that is yet to come."""
    if _application_id(connection) != APPLICATION_ID:
        raise Unusable(f"{file}: not a database of this program")
    if "_sqlite_migrations" not in _tables(connection):
        return
    applied = {str(row[0]) for row in connection.execute("select name from _sqlite_migrations")}
    if later := not_understood(applied, MIGRATIONS):
        raise Unusable(f"{file}: made by a newer version of this program ({', '.join(later)})")


def _faults(connection: sqlite3.Connection) -> list[str]:
    faults = [row[0] for row in connection.execute("pragma integrity_check(20)") if row[0] != "ok"]
    faults += [
        f"{table}: a row refers to {parent}, where nothing is"
        for table, _, parent, _ in connection.execute("pragma foreign_key_check")
    ]
    missing = sorted({record.TABLE for record in RECORDS} - _tables(connection))
    if missing:
        return [*faults, *(f"no table {name}" for name in missing)]
    for what, sql in _BROKEN.items():
        faults += _some(what, (row[0] for row in connection.execute(f"{sql} limit {_SHOWN + 1}")))
    for record in RECORDS:
        faults += _some(f"{record.TABLE} that cannot be read", _unreadable(connection, record))
    return faults


def _some(what: str, found: Iterable[str]) -> list[str]:
    shown = list(islice(found, _SHOWN + 1))
    more = " and more" if len(shown) > _SHOWN else ""
    return [f"{what}: {', '.join(shown[:_SHOWN])}{more}"] if shown else []


def _unreadable(connection: sqlite3.Connection, record: type[Record]) -> Iterator[str]:
    """The keys of the rows of a table of which no record can be made."""
    made = mapping(record)
    for row in connection.execute(f"select {', '.join(made.columns)} from {record.TABLE}"):  # noqa: S608 (names of ours)
        try:
            made.to_record(row)
        except (ArithmeticError, TypeError, ValueError):
            yield " ".join(str(row[made.columns.index(name)]) for name in record.KEY)


@cache
def _migrations() -> Migrations:
    """Those that are applied when the store is opened."""
    return _registered(migration for migration in MIGRATIONS if not migration.contracts)


@cache
def _all_migrations() -> Migrations:
    return _registered(MIGRATIONS)


def _registered(migrations: Iterable[Migration]) -> Migrations:
    made = Migrations("titrator")
    for migration in migrations:
        made(name=migration.name)(partial(_apply, migration.sqlite))  # type: ignore[type-var]
    return made


def _apply(statements: tuple[str, ...], db: Database) -> None:
    for statement in statements:
        db.execute(statement)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Reading:
    """A reading transaction, as a context. It is written out because it is in the way of each request."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> SqliteSession:
        try:
            self._connection.execute("begin")
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error
        return SqliteSession(self._connection, writes=False)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("rollback")
        except sqlite3.Error as wrong:
            raise StoreError(str(wrong)) from wrong
        if isinstance(error, sqlite3.Error):
            raise StoreError(str(error)) from error


@contextmanager
def _store_errors() -> Iterator[None]:
    """Errors of the database as those of the store."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(str(error)) from error


class _Statements:
    """The beginnings of the statements on the table of a class of records, put together once."""

    def __init__(self, record: type[Record]) -> None:
        columns = mapping(record).columns
        names, key_names = ", ".join(columns), ", ".join(record.KEY)
        self.marks = f"({', '.join('?' * len(columns))})"
        key = " and ".join(f"{name} = ?" for name in record.KEY)
        self.select = f"select {names} from {record.TABLE}"  # noqa: S608 (names of ours)
        self.by_key = f"{self.select} where {key}"
        self.insert = f"insert into {record.TABLE} ({names}) values {self.marks}"  # noqa: S608 (names of ours)
        rest = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in record.KEY)
        self.instead = f" on conflict ({key_names}) do update set {rest}"


_STATEMENTS: Final[dict[type[Record], _Statements]] = {record: _Statements(record) for record in RECORDS}


def _batches(records: Sequence[Record]) -> Iterator[tuple[type[Record], Sequence[Record]]]:
    """Records of one class after another, as many together as a statement takes; few sizes, as each is prepared."""
    for kind, group in groupby(records, type):
        some = list(group)
        for start in range(0, len(some), _ROWS):
            batch = some[start : start + _ROWS]
            if len(batch) == _ROWS:
                yield kind, batch
            else:
                yield from ((kind, [one]) for one in batch)


def _sortable(name: str, record: Record) -> tuple[bool, Value]:
    """A column of a record as it is put in order: null comes first, as in the database."""
    value = getattr(record, name)
    return value is not None, value


def _order(names: tuple[str, ...]) -> str:
    return ", ".join(f"{name[1:]} desc" if name[0] == "-" else name for name in names)


def _conditions(where: tuple[Where, ...]) -> tuple[str, list[Value]]:
    parts: list[str] = []
    values: list[Value] = []
    for column, operator, value in where:
        match operator:
            case "in":
                items = cast("tuple[Value, ...]", value)
                parts.append(f"{column} in ({', '.join('?' * len(items))})")
                values.extend(items)
            case "contains":
                parts.append(f"instr({column}, ?) > 0")
                values.append(cast(str, value))
            case "is null" | "is not null":
                parts.append(f"{column} {operator}")
            case _ if column in _OF_PARTS and isinstance(value, int):
                parts.append(f"{column} {operator} {value:d}")
            case _ if column in _OF_PARTS and isinstance(value, str) and value.replace("-", "").isalnum():
                parts.append(f"{column} {operator} '{value}'")  # in which nothing is to be escaped
            case _:
                parts.append(f"{column} {operator} ?")
                values.append(cast(Value, value))
    return (" where " + " and ".join(parts) if parts else ""), values
