"""All of a database into another, empty one, whichever kinds they are: whole and compared row by row, or not at all.

1. the source is read as of one moment; all that is written is one transaction of the target
2. table by table, what others refer to first; a row is what is stored, not what a record makes of it
3. both sides are read again in the order of their keys, and each row compared with its twin
4. who asked for it judges what stands in the target, and only then it is kept

Not copied is what the database counts by itself (`change_counts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from itertools import zip_longest
from typing import Final, NamedTuple, Protocol

from titrator.store.base import Session, StoreError, Unusable
from titrator.store.records import (
    RECORDS,
    Account,
    ApiClient,
    ChangeCount,
    ChannelRow,
    Clinic,
    Patient,
    ProtocolEdition,
    Record,
)
from titrator.store.rows import Value
from titrator.store.sql import SqlSession

#: What others refer to, in an order in which none refers to a later one.
_FIRST: Final[tuple[type[Record], ...]] = (Clinic, Patient, ProtocolEdition, Account, ApiClient, ChannelRow)
TABLES: Final = (*_FIRST, *(kind for kind in RECORDS if kind not in (*_FIRST, ChangeCount)))
#: Rows between two that are told of.
_TOLD: Final = 1000


class Copyable(Protocol):
    """A store whose rows can be read and written as they are."""

    def reading(self) -> AbstractContextManager[SqlSession]:
        """A reading transaction."""
        ...

    def writing(self, *, durable: bool = True) -> AbstractContextManager[SqlSession]:
        """A writing transaction."""
        ...


class Copied(NamedTuple):
    """A table: how many rows it has on both sides, and the SHA-256 of them in the order of their keys."""

    table: str
    rows: int
    sha256: str


class NotCopied(StoreError):
    """A row, or what was to be judged, is not as it must be; nothing is kept."""


#: Hears of a table that so many rows of it are done, since the last time.
Told = Callable[[str, int], object]
#: What is wrong with what has been written.
Judge = Callable[[Session], Sequence[str]]


def rows_of(store: Copyable) -> int:
    """How many rows there are to be copied."""
    with store.reading() as session:
        return sum(session.count(kind) for kind in TABLES)


def copy(source: Copyable, target: Copyable, judge: Judge, told: Told) -> list[Copied]:
    """Copy all tables; raises Unusable where the target is not empty, NotCopied, StoreError, with nothing kept.

    Each row is told of twice: as it is copied, and as it is compared.
    """
    with source.reading() as one, target.writing() as other:
        if full := [kind.TABLE for kind in TABLES if other.find(kind, limit=1)]:
            raise Unusable(f"the database to copy into is not empty: there are {', '.join(full)}")
        for kind in TABLES:
            other.load(kind, _telling(one.scan(kind), kind.TABLE, told))
        done = [_compared(one, other, kind, told) for kind in TABLES]
        if faults := judge(other):
            raise NotCopied(f"nothing is kept of the copy: {'; '.join(faults)}")
    return done


def _telling(rows: Iterator[tuple[Value, ...]], table: str, told: Told) -> Iterator[tuple[Value, ...]]:
    number = 0
    for number, row in enumerate(rows, 1):
        yield row
        if number % _TOLD == 0:
            told(table, _TOLD)
    told(table, number % _TOLD)


def _compared(one: SqlSession, other: SqlSession, kind: type[Record], told: Told) -> Copied:
    digest, number = sha256(), 0
    for row, twin in zip_longest(_telling(one.scan(kind), kind.TABLE, told), other.scan(kind)):
        if row != twin:
            names = " ".join(map(str, (row or twin)[: len(kind.KEY)]))
            raise NotCopied(f"nothing is kept of the copy: {kind.TABLE} {names} is not the same on both sides")
        digest.update(repr(row).encode())
        number += 1
    return Copied(kind.TABLE, number, digest.hexdigest())
