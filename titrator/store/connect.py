"""Stores by their URLs: open_store(url), look_at_store(url), and what else depends on which database a URL names.

PostgreSQL needs the extra `postgres`; it is asked for here, and only where a URL names one.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

from titrator.store import sqlite
from titrator.store.base import Store, Unusable


def open_store(url: str, *, connections: int = 10, wait_seconds: int = 5) -> Store:
    """The store that a URL names, made if it is not there and migrated; raises Unusable, Unavailable.

    To a server at most so many `connections` are open at a time, for each of which one waits so many seconds.
    """
    if is_server(url):
        made: Store = _postgres().PostgresStore(url, connections=connections, wait_seconds=wait_seconds)
        return made
    return sqlite.SqliteStore(sqlite_file(url))


def look_at_store(url: str) -> Store:
    """The store that a URL names, as it is: neither made nor migrated, and only to be read.

    Raises Unusable, Unavailable.
    """
    if is_server(url):
        made: Store = _postgres().PostgresStore(url, as_it_is=True)
        return made
    return sqlite.SqliteStore(sqlite_file(url), as_it_is=True)


def is_server(url: str) -> bool:
    """Whether a URL names a database of a PostgreSQL server."""
    return url.startswith(("postgresql://", "postgres://"))


def sqlite_file(url: str) -> Path:
    """The file of `sqlite:///relative`, `sqlite:////absolute` or a plain path; raises Unusable for any other URL."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
        return Path(unquote(parts.path[1:]))
    if "://" in url or not url:
        said = "must be sqlite:///FILE, the path of a file, or postgresql://USER@HOST/DATABASE"
        raise Unusable(f"{parts.scheme or 'the database'}: {said}")
    return Path(url)


def name_of(url: str) -> str:
    """A database as it may be told: its file, or the URL without a password. Raises Unusable."""
    return str(_postgres().name_of(url)) if is_server(url) else str(sqlite_file(url))


def is_there(url: str) -> bool:
    """Whether a database has been made. Raises Unavailable for a server that does not answer."""
    return bool(_postgres().is_there(url)) if is_server(url) else sqlite_file(url).exists()


def restore(file: Path, url: str) -> None:
    """Put a backup in the place of a file that no process has open, or into an empty database of a server.

    Raises Unusable, Unavailable, with nothing changed.
    """
    if is_server(url):
        _postgres().restore(file, url)
    else:
        sqlite.restore(file, sqlite_file(url))


def _postgres() -> ModuleType:
    """The module of PostgreSQL; raises Unusable where what it needs is not installed."""
    try:
        return import_module("titrator.store.postgres")
    except ModuleNotFoundError as error:
        if error.name not in ("psycopg", "psycopg_pool"):
            raise
        raise Unusable("PostgreSQL needs psycopg and its pool: pip install 'titrator[postgres]'") from None
