"""The embedded store: one SQLite file, in WAL mode, written by one thread of one process at a time.

sqlite-utils makes the tables and keeps the record of migrations; what is done for each request is SQL of our own, made
once for each class of records.

Who writes waits for a lock on `<database>.writer` first: for threads a lock in memory, for processes one on the file.
SQLite's own way, to try again after a sleep, makes a few writers wait long. The disk is waited for after the turn
(disk.py). Each open store holds a shared lock on `<database>.open`, so that a restore can tell that no process has the
file open. Neither lock, nor any connection, outlives a fork: a store is opened by the process that uses it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache, partial
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from sqlite_utils import Database, Migrations

from titrator.store.base import Duplicate, Stamped, StoreError, Unavailable, Unusable, Where
from titrator.store.disk import Disk
from titrator.store.records import RECORDS, Record
from titrator.store.rows import Value
from titrator.store.schema import INDEXES, MIGRATIONS, TRIGGERS, Migration, not_understood, plain_sql
from titrator.store.sql import Dialect, Parameter, SqlSession, contradictions, nullable, statements_in
from titrator.store.together import Step, Together

R = TypeVar("R", bound=Record)

#: "titr" as SQLite's application id: what tells our files from others.
APPLICATION_ID: Final = 0x74697472
_BUSY_MS: Final = 30_000
_MAPPED: Final = 2**31  # bytes of the file read without copying
#: That another time may be better: locked, out of memory or room, a disk that fails, a file that is not there.
_PASSING: Final = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    )
)

DIALECT: Final = Dialect(
    mark="?", contains="instr({}, ?) > 0", chosen="({some})", lists=False, nulls_last=False, zeros=True
)


class SqliteSession(SqlSession):
    """A transaction on a connection."""

    dialect = DIALECT
    statements = statements_in(DIALECT)

    def __init__(self, connection: sqlite3.Connection, *, writes: bool) -> None:
        super().__init__(writes=writes)
        self._connection = connection

    def hold(self, record: type[Record], keys: Collection[tuple[object, ...]]) -> None:
        """Nothing: only one transaction writes at a time."""

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

    def values(
        self,
        record: type[Record],
        columns: tuple[str, ...],
        *where: Where,
        order: tuple[str, ...] = (),
        limit: int | None = None,
    ) -> list[tuple[Value, ...]]:
        """Columns of the records that meet all conditions, as they are stored.

        All as one row of JSON: Python lets another thread run after each row that it fetches, and a course has a
        hundred. They are put in order here, for SQLite promises none within an aggregate.
        """
        able = set(columns) - nullable(record)
        by = [(columns.index(name.lstrip("-")), name[0] == "-") for name in order if name.lstrip("-") in able]
        if limit is not None or len(by) < len(order):
            return super().values(record, columns, *where, order=order, limit=limit)
        conditions, values = self.dialect.conditions(where)
        sql = f"select json_group_array(json_array({', '.join(columns)})) from {record.TABLE}{conditions}"  # noqa: S608 (names of ours)
        rows = list(map(tuple, json.loads(self._rows(sql, values)[0][0])))
        for place, descends in reversed(by):
            rows.sort(key=itemgetter(place), reverse=descends)
        return rows

    def scan(self, record: type[Record]) -> Iterator[tuple[Value, ...]]:
        """All rows of a table in the order of their keys, as they are stored, some at a time."""
        with _store_errors():
            yield from self._connection.execute(self._scanning(record))

    def load(self, record: type[Record], rows: Iterable[tuple[Value, ...]]) -> int:
        """Add rows as they were stored; how many they were. Raises StoreError."""
        self._refuse_unless_writing()
        with _store_errors():
            return self._connection.executemany(self.statements[record].insert, rows).rowcount

    def _rows(self, sql: str, values: Sequence[Parameter]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _told(error) from error

    def _write(self, sql: str, values: Sequence[Parameter]) -> int:
        """How many rows a statement changed."""
        try:
            return self._connection.execute(sql, values).rowcount
        except sqlite3.IntegrityError as error:
            raise (Duplicate if "UNIQUE" in str(error) else StoreError)(str(error)) from error
        except sqlite3.Error as error:
            raise _told(error) from error


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
        self._disk = Disk(self.file)
        self._together = Together()
        try:
            if as_it_is:
                self._look()
                return
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._writer = os.open(f"{self.file}.writer", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._open = os.open(f"{self.file}.open", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._see_to_the_disk()
            fcntl.flock(self._open, fcntl.LOCK_SH)
            if not self.file.is_file():  # to open one that is there, and close it, would let go of this process's locks
                os.close(os.open(self.file, os.O_CREAT | os.O_RDWR, 0o600))
            elif not os.access(self.file, os.R_OK | os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.file))
            with self._one_writer():
                self._migrate()
        except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
            raise Unusable(f"{self.file}: {error}") from error

    def _see_to_the_disk(self) -> None:
        """Where a flush failed, take the log into the file, as long as no other process has it open; raises Unusable.

        What was committed is still in memory, or else SQLite tells by its checksums that it is not.
        """
        if not (self._disk.is_marked() and self.file.is_file()):
            return
        try:
            fcntl.flock(self._open, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # others have it open: they keep nothing either, until all have ended
        with closing(_connect(self.file)) as connection:
            if connection.execute("pragma wal_checkpoint(truncate)").fetchone()[0]:
                raise Unusable(f"{self.file}: its log could not be taken into it")
        self._disk.forgive()

    def reading(self) -> _Reading:
        """A reading transaction: all its reads see the same state."""
        return _Reading(self._connection())

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[SqliteSession]:
        """A writing transaction, kept at its end unless an exception leaves it."""
        connection = self._connection()
        if self._mode == "ro":
            raise RuntimeError("this store was opened to be looked at only")
        self._disk.refuse_if_failed()
        with _store_errors(), self._one_writer():
            self._leave_the_disk_for_later(connection)
            connection.execute("begin immediate")
            try:
                yield SqliteSession(connection, writes=True)
                connection.execute("commit")
                self._disk.commit()
            finally:
                if connection.in_transaction:
                    connection.execute("rollback")
        if durable:
            self._disk.keep()

    def carry_out(self, step: Callable[[SqliteSession], object]) -> None:
        """A step as a durable writing transaction, committed together with those of other threads that wait, too."""
        self._together.carry_out(cast("Step", step), partial(self.writing, durable=False))
        self._disk.keep()

    def carry_out_each(
        self,
        steps: Sequence[Callable[[SqliteSession], object]],
        as_one: Callable[[SqliteSession], object] | None = None,
    ) -> list[BaseException | None]:
        """Several steps in order, in one durable commit; one that raises is undone alone. What each raised.

        Most often none does. So they are tried as a whole first, and each as a part only if that did not go well.
        """
        writing, raised = partial(self.writing, durable=False), list[BaseException | None]([None] * len(steps))
        try:
            with writing() as session:
                for step in steps if as_one is None else (as_one,):
                    step(session)
        except Exception as error:  # noqa: BLE001 (whatever it was, each is told what it raised)
            if len(steps) == 1:
                return [error]
            raised = self._together.carry_out_each(cast("Sequence[Step]", steps), writing)
        self._disk.keep()
        return raised

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
        return id(connection), others, self._disk.commits

    def clock(self) -> None:
        """Nothing: a file has no clock of its own."""

    def pending(self) -> list[str]:
        """The names of the migrations that are still to be applied."""
        self._disk.refuse_if_failed()
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
            self._made_anew()

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
            with _store_errors():
                connection = _connect(self.file, self._mode)
            self._threads.connection = connection
            self._threads.leaves_the_disk = False
        return connection

    def _leave_the_disk_for_later(self, connection: sqlite3.Connection) -> None:
        """Have commits of this thread not wait for the disk: that is done once the writer's turn is over."""
        if not self._threads.leaves_the_disk:
            connection.execute("pragma synchronous = normal")
            self._threads.leaves_the_disk = True

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
        self._made_anew()

    def _made_anew(self) -> None:
        """Keep what sqlite-utils has done to the tables, whose commits may not have waited for the disk."""
        self._disk.commit()
        self._disk.keep()


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
    except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
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
    indexes = {row[0] for row in connection.execute("select name from sqlite_master where type = 'index'")}
    faults += [f"no index {name}" for name in sorted(INDEXES - indexes)]
    acting = {plain_sql(sql): f"{kind} {name}" for kind, name, sql in connection.execute(_ACTING)}
    faults += [
        f"{said}: none of this program, which would act on what is written"
        for sql, said in acting.items()
        if sql not in TRIGGERS
    ]
    faults += [f"no trigger {sql.split()[2]}" for sql in sorted(TRIGGERS - set(acting))]
    faults += contradictions(connection.execute)
    return faults


_ACTING: Final = "select type, name, sql from sqlite_master where type in ('trigger', 'view')"


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
            raise _told(error) from error
        return SqliteSession(self._connection, writes=False)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("rollback")
        except sqlite3.Error as wrong:
            raise _told(wrong) from wrong
        if isinstance(error, sqlite3.Error):
            raise _told(error) from error


@contextmanager
def _store_errors() -> Iterator[None]:
    """Errors of the database as those of the store."""
    try:
        yield
    except sqlite3.Error as error:
        raise _told(error) from error


def _told(error: sqlite3.Error) -> StoreError:
    """An error of the database as one of the store."""
    passing = getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING
    return (Unavailable if passing else StoreError)(str(error))
