"""The store on PostgreSQL: the same tables for several machines, by psycopg 3 and its pool.

SQLite lets one transaction write at a time; here many do, at READ COMMITTED. What keeps them apart stands in
docs/decisions/0018-postgresql.md: what is got by its key or taken is held (`for no key update`), what is claimed or
taken with a limit passes over what others hold, a change says under which conditions it holds, and unique indexes have
the last word. A reading transaction is one snapshot.

A connection is taken from the pool for each transaction; one that has died meanwhile is found at its first statement,
when nothing has been done yet, and another one is taken.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from hashlib import sha256
from itertools import count, groupby
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import psycopg
from psycopg import errors
from psycopg.adapt import Dumper
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolClosed

from titrator.store.base import (
    HELD_LOOSELY,
    Duplicate,
    Overtaken,
    Stale,
    Stamped,
    StoreError,
    Unavailable,
    Unusable,
    Where,
    again_if,
)
from titrator.store.records import RECORDS, Record
from titrator.store.rows import Value, mapping
from titrator.store.schema import MIGRATIONS, SERVER_INDEXES, SERVER_TRIGGERS, Migration, not_understood, plain_sql
from titrator.store.sql import Dialect, Parameter, SqlSession, contradictions, statements_in

R = TypeVar("R", bound=Record)
Step = Callable[["PostgresSession"], object]
_Connection = psycopg.Connection[tuple[Any, ...]]
_Pool = ConnectionPool[_Connection]

#: "titr": the advisory lock of whoever migrates.
_MIGRATING: Final = 0x74697472
_APPLIED: Final = "titrator_migrations"
_MARK: Final = f'create table {_APPLIED} (name text collate "C" primary key, at timestamptz not null)'
_APPLY: Final = f"insert into {_APPLIED} values (%s, now())"  # noqa: S608 (a name of ours)
_WHICH: Final = f"select name from {_APPLIED}"  # noqa: S608 (a name of ours)
#: The oldest release of PostgreSQL that is taken.
_OLDEST: Final = 14

#: Who waits longer for a lock than this is told so; a client that has gone silent while it writes loses its locks.
_LOCK_SECONDS: Final = 30
_SILENT_SECONDS: Final = 60
#: A machine that has gone is noticed after a quarter of a minute, at either end, whether it owes an answer or not.
_KEEPALIVES: Final = {
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
_CONNECT_SECONDS: Final = 5
#: So long the pool goes on trying to connect before it gives up; who asks next has it begin anew, without a long pause.
_RECONNECT_SECONDS: Final = 2

_READ: Final = "begin isolation level repeatable read read only"
_WRITE: Final = f"""
    begin isolation level read committed read write;
    set local idle_in_transaction_session_timeout = '{_SILENT_SECONDS}s'"""
_WRITE_SOON: Final = f"{_WRITE}; set local synchronous_commit = off"
#: Each connection, once. What the server does for lack of `synchronous_commit` would break the promise of `durable`.
_PREPARE: Final = f"""
    set lock_timeout = '{_LOCK_SECONDS}s';
    set tcp_keepalives_idle = {_KEEPALIVES["keepalives_idle"]};
    set tcp_keepalives_interval = {_KEEPALIVES["keepalives_interval"]};
    set tcp_keepalives_count = {_KEEPALIVES["keepalives_count"]};
    set tcp_user_timeout = {_KEEPALIVES["tcp_user_timeout"]};
    select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'"""

#: What says which transactions are visible: as long as it is the same, the same is seen.
_SNAPSHOT: Final = "select pg_current_snapshot()::text"
_ACCESS: Final = "select number from change_counts where name = 'access'"

#: Rows that are written after somebody has looked whether they are there, and that nothing else keeps apart in time: of
#: these one that is not there yet is held, too.
_HELD_UNBORN: Final = frozenset(("jobs", "kept_answers", "received_messages", "spool_places"))

#: So many rows of one table are copied; fewer are inserted, each by a statement that is prepared.
_COPIED_FROM: Final = 4

_HOLD: Final = " for no key update"
_SKIP: Final = " for no key update skip locked"

DIALECT: Final = Dialect(
    mark="%s",
    contains="strpos({}, %s) > 0",
    chosen="(with first as materialized ({some}) select {keys} from first)",
    lists=True,
    nulls_last=True,
    zeros=False,
)


class PostgresSession(SqlSession):
    """A transaction on a connection."""

    dialect = DIALECT
    statements = statements_in(DIALECT)

    def __init__(self, connection: _Connection, *, writes: bool) -> None:
        super().__init__(writes=writes)
        self._connection = connection
        self._failed: StoreError | None = None

    def get(self, record: type[R], *key: object) -> R | None:
        """The record with that key; held until the end of a writing transaction."""
        if any(isinstance(part, str) and "\0" in part for part in key):  # as no text here has
            return None
        if not self._writes or record.TABLE in HELD_LOOSELY:
            return super().get(record, *key)
        by_key = self.statements[record].by_key + _HOLD
        rows = self._rows(by_key, cast("tuple[str]", key))
        if not rows and record.TABLE in _HELD_UNBORN:
            self._rows("select pg_advisory_xact_lock(%s)", (_place(record, key),))
            rows = self._rows(by_key, cast("tuple[str]", key))
        return mapping(record).to_record(rows[0]) if rows else None

    def get_all(self, record: type[R], keys: Collection[tuple[object, ...]]) -> dict[tuple[object, ...], R]:
        """The records with those keys, held as by `get`; in the order of their keys, lest two wait for each other."""
        wanted = sorted({key for key in keys if not any("\0" in part for part in key if isinstance(part, str))})
        holds = _HOLD if self._writes and record.TABLE not in HELD_LOOSELY else ""
        found = self._got(record, wanted, f" order by {', '.join(record.KEY)}{holds}")
        if holds and len(found) < len(wanted) and record.TABLE in _HELD_UNBORN:
            self._hold_unborn(record, [key for key in wanted if key not in found])
            found = self._got(record, wanted, f" order by {', '.join(record.KEY)}{holds}")
        return found

    def hold(self, record: type[Record], keys: Collection[tuple[object, ...]]) -> None:
        """Hold the records with those keys, in their order; of those that are not there, who holds them waits, too."""
        self._refuse_unless_writing()
        found = self.get_all(record, keys)
        if record.TABLE not in _HELD_UNBORN:
            self._hold_unborn(record, [key for key in keys if key not in found])

    def _hold_unborn(self, record: type[Record], keys: Iterable[tuple[object, ...]]) -> None:
        if places := sorted(_place(record, key) for key in keys):
            self._rows("select pg_advisory_xact_lock(one) from unnest(%s::bigint[]) one", (places,))  # type: ignore[arg-type]

    def add(self, *records: Record) -> None:
        """Add records; raises Duplicate, after which the transaction goes on if it was one record."""
        if len(records) == 1:
            if self._insert(type(records[0]), records, " on conflict do nothing") != 1:
                raise Duplicate(records[0].TABLE)
            return
        for kind, group in groupby(records, type):
            self._add_alike(kind, list(group))

    def take(self, record: type[R], *where: Where, order: tuple[str, ...] = (), limit: int | None = None) -> list[R]:
        """The records that meet all conditions, held; with a limit, those that another one holds are passed over."""
        self._refuse_unless_writing()
        rows = self._selected(self.statements[record].select, record, where, order, limit, self._holds(limit))
        return list(map(mapping(record).to_record, rows))

    @contextmanager
    def part(self) -> Iterator[None]:
        """A part of a writing transaction, undone if an exception leaves it."""
        self._refuse_unless_writing()
        self._write("savepoint part", ())
        try:
            yield
        except BaseException:
            if not self._connection.broken:
                self._write("rollback to part", ())
                self._write("release part", ())
                self._failed = None
            raise
        self._write("release part", ())

    def scan(self, record: type[Record]) -> Iterator[tuple[Value, ...]]:
        """All rows of a table in the order of their keys, as they are stored, some at a time."""
        with _store_errors(), self._connection.cursor(name=f"scan_{next(_SCANS)}") as cursor:
            cursor.itersize = 5000
            cursor.execute(self._scanning(record).encode())
            yield from cursor

    def load(self, record: type[Record], rows: Iterable[tuple[Value, ...]]) -> int:
        """Add rows as they were stored; how many they were."""
        loaded = self._copy(record, rows)
        self._write(f"analyze {record.TABLE}", ())  # what is read of it next is planned by how much there is
        return loaded

    def _add_alike(self, kind: type[Record], records: Sequence[Record]) -> None:
        """Add records of one class; many in one go: a statement with so many values would be taken apart each time."""
        if len(records) < _COPIED_FROM:
            for one in records:
                self._insert(kind, [one], "")
        else:
            to_row = mapping(kind).to_row
            self._copy(kind, map(to_row, records))

    def _copy(self, record: type[Record], rows: Iterable[Sequence[Value]]) -> int:
        """Add rows as they are stored, in one go; how many they were."""
        self._refuse_unless_writing()
        copying = f"copy {record.TABLE} ({', '.join(mapping(record).columns)}) from stdin".encode()
        try:
            with self._connection.cursor() as cursor:
                with cursor.copy(copying) as copy:
                    for row in rows:
                        copy.write_row(row)
                return cursor.rowcount
        except psycopg.Error as error:
            self._failed = _told(error)
            raise self._failed from None  # whose details have the values of a row

    def _holds(self, limit: int | None) -> str:
        return _HOLD if limit is None else _SKIP

    def _rows(self, sql: str, values: Sequence[Parameter]) -> list[tuple[Any, ...]]:
        return self._executed(sql, values).fetchall()

    def _write(self, sql: str, values: Sequence[Parameter]) -> int:
        return self._executed(sql, values).rowcount

    def _executed(self, sql: str, values: Sequence[Parameter]) -> psycopg.Cursor[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql.encode(), values)
        except psycopg.Error as error:
            self._failed = _told(error)
            raise self._failed from None  # whose details have the values of a row

    def refuse_failed(self) -> None:
        """Raise what a statement raised that was passed over: PostgreSQL answers the commit as if all were well."""
        if self._connection.info.transaction_status == TransactionStatus.INERROR:
            raise self._failed or StoreError("a statement had failed: nothing of the transaction is kept")


_SCANS: Final = count()


class PostgresStore:
    """The store in a database of a server; its tables are made if they are not there, and migrated.

    Raises Unusable; Unavailable where the server does not answer.

    At most `connections` are open at a time in this process; who needs one waits for it so many seconds. Opened
    `as_it_is`, it is neither made nor migrated, and whatever would write to it fails.
    """

    def __init__(self, url: str, *, connections: int = 10, wait_seconds: float = 5, as_it_is: bool = False) -> None:
        self.name = name_of(url)
        self._conninfo = conninfo_of(url)
        self._connections = connections
        self._wait_seconds = wait_seconds
        self._process = os.getpid()
        self._threads = threading.local()
        self._lock = threading.Lock()
        self._pool: _Pool | None = None
        self._lost = 0
        self._as_it_is = as_it_is
        with _named(self.name), closing(_connect(self._conninfo)) as connection:
            if as_it_is:
                _look(connection)
            else:
                _migrate(connection)

    @contextmanager
    def reading(self) -> Iterator[PostgresSession]:
        """A reading transaction: all its reads see the same state."""
        with self._transaction(_READ) as connection:
            yield PostgresSession(connection, writes=False)

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[PostgresSession]:
        """A writing transaction, kept at its end unless an exception leaves it."""
        if self._as_it_is:
            raise RuntimeError("this store was opened to be looked at only")
        with self._transaction(_WRITE if durable else _WRITE_SOON) as connection:
            session = PostgresSession(connection, writes=True)
            yield session
            session.refuse_failed()

    def carry_out(self, step: Step) -> None:
        """A step as a durable writing transaction; done again where another one was in its way."""
        again_if(Overtaken, lambda: self._carried_out([step]))

    def carry_out_each(self, steps: Sequence[Step], as_one: Step | None = None) -> list[BaseException | None]:
        """Several steps in order, in one durable commit; one that raises is undone alone. What each raised.

        Most often none does. So they are tried as a whole first, and each as a part only if that did not go well.
        """
        try:
            self._carried_out(steps if as_one is None else [as_one])
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 (whatever it was, each is told what it raised)
            if len(steps) == 1 and not isinstance(error, Stale | Duplicate):
                return [error]
            return again_if(Overtaken, lambda: self._each_as_a_part(steps))
        return [None] * len(steps)

    def _carried_out(self, steps: Sequence[Step]) -> None:
        with self.writing() as session:
            for step in steps:
                step(session)

    def _each_as_a_part(self, steps: Sequence[Step]) -> list[BaseException | None]:
        with self.writing() as session:
            return [_raised(session, step) for step in steps]

    def stamp(self, of: Stamped = "everything") -> tuple[object, ...]:
        """What says which transactions can be seen; of access, the count that triggers keep."""
        sql, own = _ACCESS if of == "access" else _SNAPSHOT, getattr(self._threads, "connection", None)
        if own is not None:
            with _store_errors():
                found = own.execute(sql.encode()).fetchone()
        else:
            pool, connection, cursor = self._first(sql)
            with _store_errors():
                found = cursor.fetchone()
                pool.putconn(connection)
        return self._lost, found and found[0]

    def clock(self) -> datetime:
        """What time it is by the clock of the server."""
        with self._transaction(_READ) as connection, _store_errors():
            found = connection.execute(b"select clock_timestamp()").fetchone()
        return cast("tuple[datetime]", found)[0]

    def pending(self) -> list[str]:
        """The names of the migrations that its opening still has to apply; contractions are not among them."""
        with self._transaction(_READ) as connection, _store_errors():
            return [one.name for one in _pending(connection) if not one.contracts]

    def contractions(self) -> list[str]:
        """The names of the migrations that are still to take away what only older programs need."""
        with self._transaction(_READ) as connection, _store_errors():
            return [one.name for one in _pending(connection) if one.contracts]

    def contract(self) -> None:
        """Take away what only older programs need: they refuse the database from then on."""
        with _named(self.name), closing(_connect(self._conninfo)) as connection:
            _migrate(connection, contract=True)

    def check(self) -> list[str]:
        """What is wrong with the database, in words; nothing if it is sound."""
        try:
            with self._transaction(_READ) as connection, _store_errors():
                return _faults(connection)
        except StoreError as error:
            return [f"cannot be read to its end: {error}"]

    def backup(self, file: Path) -> None:
        """Write a copy of the database, as of now, to a new file, by pg_dump; raises StoreError."""
        if file.exists():
            raise StoreError(f"{file}: is there already; a backup is a new file")
        part = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
        try:
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            _run("pg_dump", self._conninfo, "--format=custom", "--no-owner", "--no-privileges", f"--file={part}")
            os.link(part, file)  # unlike a rename, never over a file that somebody else has made meanwhile
            _sync(file.parent)
        except OSError as error:
            raise StoreError(f"{file}: cannot be written: {error}") from error
        finally:
            part.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the connections that nobody uses; who needs one later gets it."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None and os.getpid() == self._process:
            pool.close()

    def __del__(self) -> None:
        """Close the connections."""
        with suppress(AttributeError, psycopg.Error):
            self.close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[_Connection]:
        """A connection with a transaction, committed at its end unless an exception leaves it."""
        if getattr(self._threads, "connection", None) is not None:
            raise RuntimeError("this thread is in a transaction already, and would wait for itself")
        pool, connection, _ = self._first(begin)
        self._threads.connection = connection
        try:
            yield connection
            _commit(connection)
        finally:
            self._threads.connection = None
            _roll_back(connection)
            self._lost += connection.broken
            pool.putconn(connection)

    def _first(self, sql: str) -> tuple[_Pool, _Connection, psycopg.Cursor[tuple[Any, ...]]]:
        """A connection that works: on which a statement, the first of all, has been done. Raises Unavailable."""
        if os.getpid() != self._process:
            raise RuntimeError("a store must be opened by the process that uses it, after a fork")
        for _ in range(self._connections + 1):
            pool, connection = self._taken()
            try:
                return pool, connection, connection.execute(sql.encode())
            except psycopg.Error as error:
                broken = connection.broken or connection.closed
                pool.putconn(connection)
                if not broken:
                    raise _told(error) from None
                self._lost += 1  # the server was restarted, or another one is in its place
        raise Unavailable(f"{self.name}: connections break off as soon as they are used")

    def _taken(self) -> tuple[_Pool, _Connection]:
        while True:
            pool = self._opened()
            try:
                return pool, pool.getconn(timeout=self._wait_seconds)
            except PoolClosed:  # by another thread, meanwhile
                continue
            except psycopg.OperationalError as error:
                raise Unavailable(f"{self.name}: {error}") from None

    def _opened(self) -> _Pool:
        with self._lock:
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._conninfo,
                    min_size=0,
                    max_size=self._connections,
                    timeout=self._wait_seconds,
                    reconnect_timeout=_RECONNECT_SECONDS,
                    num_workers=2,
                    kwargs={"autocommit": True},
                    configure=_prepare,
                    open=True,
                    name="titrator",
                )
            return self._pool


def conninfo_of(url: str) -> str:
    """How to connect, for libpq; what the URL does not say as is good for a service. Raises Unusable."""
    try:
        said = conninfo_to_dict(url)
    except psycopg.Error:  # which says the whole URL, with the password
        raise Unusable("the URL of the database must be postgresql://USER@HOST:PORT/DATABASE") from None
    usual = {"connect_timeout": _CONNECT_SECONDS, "application_name": "titrator", "client_encoding": "utf8"}
    chosen = {name: str(value) for name, value in {**usual, **_KEEPALIVES, **said}.items() if value is not None}
    return make_conninfo("", **chosen)


def name_of(url: str) -> str:
    """The URL of a database as it may be told: without a password."""
    said = conninfo_to_dict(conninfo_of(url))
    user, port = (said.get("user"), said.get("port"))
    host = f"{f'{user}@' if user else ''}{said.get('host') or ''}{f':{port}' if port else ''}"
    return f"postgresql://{host}/{said.get('dbname') or ''}"


def is_there(url: str) -> bool:
    """Whether there are tables of this program in a database. Raises Unavailable, Unusable."""
    with _named(name_of(url)), closing(_connect(conninfo_of(url))) as connection:
        return _APPLIED in _tables(connection)


def restore(file: Path, url: str) -> None:
    """Put a backup into an empty database, by pg_restore; raises Unusable, Unavailable, with nothing changed."""
    name, conninfo = name_of(url), conninfo_of(url)
    with file.open("rb") as opened:
        if opened.read(5) != b"PGDMP":
            raise Unusable(f"{file}: no backup of a PostgreSQL database; `titrator db copy` takes over one of SQLite")
    if not _IS_OURS.search(_listed(file)):
        raise Unusable(f"{file}: not a database of this program")
    with _named(name), closing(_connect(conninfo)) as connection:
        if _tables(connection):
            raise Unusable("is not empty; make a new database (createdb) and restore into that")
        functions = _functions(connection)
    try:
        how = "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"
        _run("pg_restore", conninfo, *how, file.absolute())  # a name that begins with a hyphen would be an option
    except StoreError as error:
        raise Unusable(str(error)) from None
    with _named(str(file)), closing(_connect(conninfo)) as connection:
        if faults := _faults_of_backup(connection):
            _empty(connection, functions)
            raise Unusable("; ".join(faults))


@contextmanager
def _named(name: str) -> Iterator[None]:
    """What goes wrong with a database as it is opened, told with its name: whether another time may be better."""
    try:
        yield
    except psycopg.Error as error:
        told = _told(error)
        raise (Unavailable if isinstance(told, Unavailable) else Unusable)(f"{name}: {told}") from None
    except Unusable as error:
        raise Unusable(f"{name}: {error}") from None


def _raised(session: PostgresSession, step: Step) -> BaseException | None:
    """What a step raises as a part; it is done again where another transaction was faster. Raises Overtaken."""
    error: BaseException | None = None
    for _ in range(2):
        try:
            with session.part():
                step(session)
        except (Overtaken, Unavailable):  # of the whole transaction
            raise
        except (Stale, Duplicate) as late:
            error = late
        except Exception as wrong:  # noqa: BLE001 (whatever it is, it is raised where the step came from)
            return wrong
        else:
            return None
    return error


def _place(record: type[Record], key: Sequence[object]) -> int:
    """The number of the advisory lock of a row that is not there."""
    named = "\0".join((record.TABLE, *map(str, key)))
    return int.from_bytes(sha256(named.encode()).digest()[:8], "big", signed=True)


# Transactions and errors


def _connect(conninfo: str) -> _Connection:
    connection = psycopg.connect(conninfo, autocommit=True)
    _prepare(connection)
    return connection


class _NoBytes(Dumper):
    """What columns of texts would take, as the digits of its bytes."""

    def dump(self, obj: object) -> None:
        """Refuse."""
        raise psycopg.DataError(f"{type(obj).__name__} is no value of a column")


def _prepare(connection: _Connection) -> None:
    connection.execute(_PREPARE.encode())
    connection.adapters.register_dumper(bytes, _NoBytes)
    connection.prepared_max = 500


def _commit(connection: _Connection) -> None:
    if connection.info.transaction_status == TransactionStatus.INERROR:
        raise StoreError("a statement had failed: nothing of the transaction is kept")
    with _store_errors():
        connection.execute(b"commit")


def _roll_back(connection: _Connection) -> None:
    """Undo what is open; a connection in the middle of something, or that does not answer, is not used again."""
    if connection.closed or connection.info.transaction_status == TransactionStatus.IDLE:
        return
    try:
        connection.execute(b"rollback")
    except psycopg.Error:
        connection.close()


@contextmanager
def _store_errors() -> Iterator[None]:
    """Errors of the database as those of the store."""
    try:
        yield
    except psycopg.Error as error:
        raise _told(error) from None  # whose details have the values of a row


def _told(error: psycopg.Error) -> StoreError:
    """An error of the database as one of the store."""
    said = _said(error)
    match error:
        case errors.UniqueViolation():
            return Duplicate(said)
        case errors.SerializationFailure() | errors.DeadlockDetected():
            return Overtaken(said)
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return Unavailable(said)
        case errors.ReadOnlySqlTransaction() | errors.IdleInTransactionSessionTimeout():
            return Unavailable(said)
    return StoreError(said)


def _said(error: psycopg.Error) -> str:
    """What went wrong, without values of a row."""
    state, diag = error.sqlstate, error.diag
    if state is None:
        return str(error).strip() or type(error).__name__
    if diag.constraint_name:
        return f"{diag.table_name}: refused by {diag.constraint_name}"
    return f"{type(error).__name__} ({state})" if state.startswith("22") else f"{diag.message_primary} ({state})"


# Tables


def _look(connection: _Connection) -> None:
    """See that the tables are there, and of no newer version; raises Unusable."""
    if _APPLIED not in _tables(connection):
        raise Unusable("there are no tables of this program")
    _refuse_newer(connection)


def _refuse_newer(connection: _Connection) -> None:
    if later := not_understood(_applied(connection), MIGRATIONS):
        raise Unusable(f"made by a newer version of this program ({', '.join(later)})")


def _migrate(connection: _Connection, *, contract: bool = False) -> None:
    """Make what is missing, all or nothing, while nobody else does; raises Unusable.

    What only older programs need is taken away only to `contract`.
    """
    if connection.info.server_version < _OLDEST * 10000:
        raise Unusable(f"PostgreSQL {_OLDEST} or newer is needed")
    if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
        raise Unusable(f"the encoding of the database must be UTF8, not {encoding}")
    connection.execute(b"begin")
    connection.execute(b"select pg_advisory_xact_lock(%s)", (_MIGRATING,))
    tables = _tables(connection)
    if _APPLIED not in tables:
        if tables:
            raise Unusable("not a database of this program: give it one of its own")
        connection.execute(_MARK.encode())
    _refuse_newer(connection)
    for migration in _pending(connection):
        if contract or not migration.contracts:
            for statement in migration.postgresql:
                connection.execute(statement.encode())
            connection.execute(_APPLY.encode(), (migration.name,))
    connection.execute(b"commit")


def _tables(connection: _Connection) -> set[str]:
    found = connection.execute(b"select tablename::text from pg_tables where schemaname = current_schema()")
    return {row[0] for row in found}


def _applied(connection: _Connection) -> set[str]:
    return {row[0] for row in connection.execute(_WHICH.encode())}


def _pending(connection: _Connection) -> list[Migration]:
    applied = _applied(connection)
    return [migration for migration in MIGRATIONS if migration.name not in applied]


def _faults(connection: _Connection) -> list[str]:
    """What is wrong with a database, all of it as of one moment."""
    missing = sorted({record.TABLE for record in RECORDS} - _tables(connection))
    if missing:
        return [f"no table {name}" for name in missing]
    faults = [f"the setting {name} of the server is off" for (name,) in connection.execute(_UNSAFE.encode())]
    indexes = {name for (name,) in connection.execute(_INDEXES.encode())}
    faults += [f"no index {name}" for name in sorted(SERVER_INDEXES - indexes)]
    faults += [f"{name}: the index is not valid" for (name,) in connection.execute(_INVALID.encode())]
    acting = [(kind, name, plain_sql(body)) for kind, name, body in connection.execute(_ACTING.encode())]
    faults += [
        f"{kind} {name}: none of this program, which would act on what is written"
        for kind, name, body in acting
        if (name, body) not in SERVER_TRIGGERS
    ]
    there = {name for kind, name, _ in acting if kind == "trigger"}
    faults += [f"no trigger {name}" for name in sorted({name for name, _ in SERVER_TRIGGERS} - there)]
    for table, column, parent, key in list(connection.execute(_REFERENCES.encode())):
        sql = (
            f"select count(*) from {table} c where c.{column} is not null "  # noqa: S608 (names of ours)
            f"and not exists (select 1 from {parent} p where p.{key} = c.{column})"
        )
        if lost := _one(connection, sql):
            faults.append(f"{table}: {lost} rows refer to {parent}, where nothing is")

    def rows(sql: str) -> Iterator[tuple[Any, ...]]:
        with connection.cursor(name=f"scan_{next(_SCANS)}") as cursor:
            cursor.itersize = 5000
            cursor.execute(sql.encode())
            yield from cursor

    return [*faults, *contradictions(rows)]


_UNSAFE: Final = "select name from pg_settings where name in ('fsync', 'full_page_writes') and setting = 'off'"
_INDEXES: Final = "select indexname::text from pg_indexes where schemaname = current_schema()"
_INVALID: Final = """
    select c.relname::text from pg_index i join pg_class c on c.oid = i.indexrelid
    join pg_namespace n on n.oid = c.relnamespace where n.nspname = current_schema() and not i.indisvalid"""
_ACTING: Final = """
    select 'trigger', t.tgname::text, p.prosrc from pg_trigger t join pg_class c on c.oid = t.tgrelid
    join pg_namespace n on n.oid = c.relnamespace join pg_proc p on p.oid = t.tgfoid
    where n.nspname = current_schema() and not t.tgisinternal
    union all select 'rule', rulename::text, '' from pg_rules where schemaname = current_schema()
    union all select 'policy', policyname::text, '' from pg_policies where schemaname = current_schema()
    union all select 'function', p.proname::text, p.prosrc from pg_proc p where p.oid in (
        select d.refobjid from pg_depend d
        left join pg_constraint k on d.classid = 'pg_constraint'::regclass and k.oid = d.objid
        left join pg_attrdef a on d.classid = 'pg_attrdef'::regclass and a.oid = d.objid
        join pg_class c on c.oid = coalesce(k.conrelid, a.adrelid, d.objid)
        join pg_namespace n on n.oid = c.relnamespace and n.nspname = current_schema()
        where d.refclassid = 'pg_proc'::regclass
            and d.classid in ('pg_constraint'::regclass, 'pg_attrdef'::regclass, 'pg_class'::regclass)
    )"""
_REFERENCES: Final = """
    select t.relname::text, a.attname::text, p.relname::text, k.attname::text from pg_constraint f
    join pg_class t on t.oid = f.conrelid join pg_class p on p.oid = f.confrelid
    join pg_namespace n on n.oid = t.relnamespace
    join pg_attribute a on a.attrelid = t.oid and a.attnum = f.conkey[1]
    join pg_attribute k on k.attrelid = p.oid and k.attnum = f.confkey[1]
    where f.contype = 'f' and n.nspname = current_schema() order by 1, 2"""


def _one(connection: _Connection, sql: str) -> int:
    found = connection.execute(sql.encode()).fetchone()
    return int(found[0]) if found else 0


def _faults_of_backup(connection: _Connection) -> list[str]:
    if _APPLIED not in _tables(connection):
        return ["not a database of this program"]
    if later := not_understood(_applied(connection), MIGRATIONS):
        return [f"made by a newer version of this program ({', '.join(later)})"]
    connection.execute(_READ.encode())
    try:
        return _faults(connection)
    finally:
        connection.execute(b"rollback")


def _functions(connection: _Connection) -> set[str]:
    """The functions that stand beside the tables, each with what it takes."""
    found = connection.execute(
        b"select oid::regprocedure::text from pg_proc where pronamespace::regnamespace::text = current_schema()"
    )
    return {row[0] for row in found}


def _empty(connection: _Connection, kept: set[str]) -> None:
    """Take away what a backup has brought into a database that was empty, but for the functions that were there."""
    connection.execute(b"begin")
    for table in _tables(connection):
        connection.execute(f'drop table "{table}" cascade'.encode())
    for function in _functions(connection) - kept:
        connection.execute(f"drop function {function} cascade".encode())
    connection.execute(b"commit")


# Programs of PostgreSQL


#: A line of what is in a backup.
_IS_OURS: Final = re.compile(rf" TABLE \S+ {_APPLIED} ")


def _listed(file: Path) -> str:
    """What is in a backup, a line each; raises Unusable where that cannot be told."""
    try:
        return _ran([_found("pg_restore"), "--list", str(file.absolute())])
    except StoreError as error:
        raise Unusable(str(error)) from None


def _run(program: str, conninfo: str, *arguments: str | Path) -> None:
    """Run a program of PostgreSQL on a database; raises StoreError. A password is not among its arguments."""
    said = conninfo_to_dict(conninfo)
    password = said.pop("password", None)
    environment = {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}
    shown = make_conninfo("", **{name: str(value) for name, value in said.items()})
    _ran([_found(program), f"--dbname={shown}", *map(str, arguments)], environment)


def _found(program: str) -> str:
    """Where a program of PostgreSQL is; raises StoreError."""
    found = shutil.which(program)
    if found is None:
        raise StoreError(f"{program} is not there: install the client programs of PostgreSQL (postgresql-client)")
    return found


def _ran(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """What a program of the path, as the administrator has it, says; raises StoreError."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        said = done.stderr.strip() or f"ended with {done.returncode}"
        raise StoreError(f"{Path(command[0]).name}: {said}")
    return done.stdout


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
