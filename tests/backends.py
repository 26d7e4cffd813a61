"""The databases that tests run on: SQLite, and PostgreSQL where a server is there.

`TITRATOR_TEST_POSTGRES` names the server, by default the one of this computer; without one its tests are skipped, but
with `CI=true` they fail. `TITRATOR_TEST_STORE=postgresql` has every test that takes its store from here run on it.

A database of PostgreSQL takes longer to make than a test takes: so each process of the tests makes some, and empties
one that nobody uses any more before it is used again.
"""

from __future__ import annotations

import os
import re
import sqlite3
import weakref
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest

from titrator.store.base import Store
from titrator.store.postgres import PostgresStore
from titrator.store.records import RECORDS
from titrator.store.sqlite import SqliteStore

SERVER = os.environ.get("TITRATOR_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/test")
CHOSEN = os.environ.get("TITRATOR_TEST_STORE", "sqlite")
BACKENDS = ("postgresql", "sqlite")

#: For tests of the file itself.
of_a_file = pytest.mark.skipif(CHOSEN != "sqlite", reason="of a file of SQLite")

_free: list[str] = []
_made: list[str] = []
_scratch: list[str] = []
_urls: weakref.WeakKeyDictionary[PostgresStore, str] = weakref.WeakKeyDictionary()
_open: weakref.WeakSet[PostgresStore] = weakref.WeakSet()


@cache
def missing() -> str | None:
    """Why there is no server of PostgreSQL for tests, if so."""
    try:
        with closing(psycopg.connect(SERVER, connect_timeout=5)):
            return None
    except psycopg.OperationalError as error:
        return f"no PostgreSQL at {SERVER}: {str(error).splitlines()[0]}; TITRATOR_TEST_POSTGRES names another"


def refuse_without_server() -> None:
    """Skip a test that needs PostgreSQL where there is none; fail where there must be one."""
    if (why := missing()) is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)


def new_store(folder: Path, backend: str = CHOSEN, name: str = "titrator.db") -> Store:
    """A new and empty store: in a file of a folder, or in a database of the server."""
    if backend == "sqlite":
        return SqliteStore(folder / name)
    url = new_database()
    store = PostgresStore(url, connections=20, wait_seconds=10)
    weakref.finalize(store, _free.append, url)
    _open.add(store)
    _urls[store] = url
    return store


def new_database() -> str:
    """The URL of a database with the tables and nothing in them."""
    refuse_without_server()
    if not _free:
        return _create()
    url = _free.pop()
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(_EMPTYING.encode())
    return url


def bare_database() -> str:
    """The URL of a database with nothing in it at all; gone with the process."""
    refuse_without_server()
    if not _made:
        _sweep()
    name = f"titrator_{os.getpid()}_{uuid4().hex[:12]}"
    with closing(psycopg.connect(SERVER, autocommit=True)) as connection:
        connection.execute(f"create database {name} template template0".encode())
    _made.append(name)
    parts = urlsplit(SERVER)
    return urlunsplit(parts._replace(path=f"/{name}"))


def bare_schema() -> str:
    """The URL of a schema with nothing in it: sooner made, and gone, than a database."""
    if not _scratch:
        _scratch.append(bare_database())
    name = f"bare_{uuid4().hex[:12]}"
    with closing(psycopg.connect(_scratch[0], autocommit=True)) as connection:
        connection.execute(f"create schema {name}".encode())
    return f"{_scratch[0]}?options=-csearch_path%3D{name}"


def drop(url: str) -> None:
    """Take away a database that this process has made."""
    name = url.rpartition("/")[2]
    with closing(psycopg.connect(SERVER, autocommit=True)) as connection:
        connection.execute(f"drop database if exists {name} with (force)".encode())
    _made.remove(name)


def _sweep() -> None:
    """Take away what tests that were killed have left on the server of this computer."""
    if urlsplit(SERVER).hostname not in ("127.0.0.1", "localhost", "::1"):
        return
    with closing(psycopg.connect(SERVER, autocommit=True)) as connection:
        for (name,) in connection.execute("select datname::text from pg_database").fetchall():
            left = re.fullmatch(r"titrator_(\d+)_[0-9a-f]{12}", name)
            if left and not Path(f"/proc/{left[1]}").exists() and Path("/proc/self").exists():
                connection.execute(f"drop database if exists {name} with (force)".encode())


def _create() -> str:
    url = bare_database()
    PostgresStore(url).close()
    return url


#: What refers to others goes before them.
_EMPTYING = "set synchronous_commit = off; begin; set local session_replication_role = replica; " + "".join(
    f"delete from {record.TABLE}; " for record in RECORDS
)
_EMPTYING += "commit"


def database_for(folder: Path) -> str:
    """What the setting `database` says for an installation in a folder."""
    return str(folder / "titrator.db") if CHOSEN == "sqlite" else new_database()


def another(store: Store) -> Store:
    """A store of the same database, as another process has it."""
    if isinstance(store, PostgresStore):
        made = PostgresStore(store._conninfo)
        _open.add(made)
        return made
    assert isinstance(store, SqliteStore)
    return SqliteStore(store.file)


def url_of(store: Store) -> str:
    """What the setting `database` says for a store."""
    return _urls[store] if isinstance(store, PostgresStore) else str(cast(SqliteStore, store).file)


def tamper(store: Store, *statements: str) -> None:
    """As someone does who can write to the database."""
    if isinstance(store, PostgresStore):
        with closing(psycopg.connect(store._conninfo, autocommit=True)) as other:
            for statement in statements:
                other.execute(statement.encode())
    else:
        assert isinstance(store, SqliteStore)
        with closing(sqlite3.connect(store.file, isolation_level=None)) as other:
            for statement in statements:
                other.execute(statement)


def let_go() -> None:
    """Close what tests have open: who needs a connection again gets it."""
    for store in list(_open):
        store.close()


def drop_databases() -> None:
    """Take away all databases that this process has made."""
    let_go()
    if not _made:
        return
    with closing(psycopg.connect(SERVER, autocommit=True)) as connection:
        while _made:
            connection.execute(f"drop database if exists {_made.pop()} with (force)".encode())
