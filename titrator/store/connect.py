"""open_store(url): the store that a URL names; look_at_store(url): the same, to be looked at only."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from titrator.store.base import Store, Unusable
from titrator.store.sqlite import SqliteStore


def sqlite_file(url: str) -> Path:
    """The file of `sqlite:///relative`, `sqlite:////absolute` or a plain path; raises Unusable for any other URL."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
        return Path(unquote(parts.path[1:]))
    if "://" in url or not url:
        raise Unusable(f"{parts.scheme or 'the database'}: must be sqlite:///FILE or the path of a file")
    return Path(url)


def open_store(url: str) -> Store:
    """The store that a URL names, made if it is not there and migrated; raises Unusable."""
    return SqliteStore(sqlite_file(url))


def look_at_store(url: str) -> Store:
    """The store that a URL names, as it is: neither made nor migrated, and only to be read; raises Unusable."""
    return SqliteStore(sqlite_file(url), as_it_is=True)
