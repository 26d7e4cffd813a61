"""The port of the store: what workflow may ask of it, whichever database is behind.

StoreError
├── Stale        the record has been changed, or is not there
│   └── Overtaken   another transaction was in the way of this one, which has been undone
├── Duplicate    a record with that key, or the same unique value, is there already
├── Unavailable  the database does not answer now, or cannot take anything
└── Unusable     the database cannot be opened, is another program's, or is of a newer version
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol, TypeVar

from titrator.store.records import Record
from titrator.store.rows import Value

R = TypeVar("R", bound=Record)
T = TypeVar("T")

Stamped = Literal["everything", "access"]


class StoreError(Exception):
    """The store could not do what it was asked."""


class Stale(StoreError):
    """The record has been changed since it was read, or is not there."""


class Overtaken(Stale):
    """Another transaction was in the way: nothing of this one is kept, and the same again may go well."""


class Duplicate(StoreError):
    """A record with that key, or with a value that must be unique, is there already."""


class Unavailable(StoreError):
    """The database does not answer now, or cannot take anything: another time may be better.

    Where that comes up as a writing transaction ends, it is not known whether it has been kept.
    """


class Unusable(StoreError):
    """The database cannot be opened, is another program's, or is of a newer version of this one."""


class Where(NamedTuple):
    """A condition on a column; `in` takes a tuple, `contains` a text."""

    column: str
    operator: Literal["=", "!=", "<", "<=", ">", ">=", "in", "contains", "is null", "is not null"]
    value: object = None


class CourseFact(NamedTuple):
    """What the rules look at in a fact; amounts as stored, in text."""

    kind: str
    day: str
    code: str | None
    value: str | None
    unit: str | None
    level: str | None
    until: str | None
    unreliable: int
    status: str
    id: int
    taken_at: str | None


class Session(Protocol):
    """A transaction. In a reading one all reads see the same state; a writing one is kept whole or not at all.

    Others may write at the same time. What a writing transaction gets by its key, or takes, nobody else changes until
    it ends, but for clinics and protocols, which all read (HELD_LOOSELY); what it finds, others may.

    What the database refuses is a StoreError; to write in a reading one is a fault of the caller, a RuntimeError.
    """

    def get(self, record: type[R], *key: object) -> R | None:
        """The record with that key."""
        ...

    def get_all(self, record: type[R], keys: Collection[tuple[object, ...]]) -> dict[tuple[object, ...], R]:
        """The records with those keys, each by its key, as `get` gives one; what is not there is left out."""
        ...

    def hold(self, record: type[Record], keys: Collection[tuple[object, ...]]) -> None:
        """In a writing transaction, hold the records with those keys as `get_all` does; what is not there, too."""
        ...

    def find(self, record: type[R], *where: Where, order: tuple[str, ...] = (), limit: int | None = None) -> list[R]:
        """The records that meet all conditions, in the order of the columns named (`-seq` for descending)."""
        ...

    def values(
        self,
        record: type[Record],
        columns: tuple[str, ...],
        *where: Where,
        order: tuple[str, ...] = (),
        limit: int | None = None,
    ) -> list[tuple[Value, ...]]:
        """Columns of the records that meet all conditions, as they are stored, in the order of `find`."""
        ...

    def count(self, record: type[Record], *where: Where) -> int:
        """How many records meet all conditions."""
        ...

    def tally(self, record: type[Record], column: str, *where: Where) -> dict[Value, int]:
        """How many records that meet all conditions have each value of a column, as it is stored."""
        ...

    def add(self, *records: Record) -> None:
        """Add records; raises Duplicate."""
        ...

    def change(self, record: R, *where: Where, old: R | None = None) -> None:
        """Replace the record of the same key, if it meets the conditions; raises Stale, Duplicate.

        Where the conditions see to it that it is still the `old` one, only what differs has to be written.
        """
        ...

    def put(self, *records: Record) -> None:
        """Add records of one class, each in the place of that of the same key, if there is one."""
        ...

    def claim(
        self,
        record: type[R],
        changes: Mapping[str, Value],
        *where: Where,
        order: tuple[str, ...] = (),
        limit: int | None = None,
    ) -> list[R]:
        """Change columns of the records that meet all conditions, the first ones in order; those records, as changed.

        One statement: of two who claim at once, no record goes to both.
        """
        ...

    def update(self, record: type[Record], changes: Mapping[str, Value], *where: Where) -> int:
        """Change columns of the records that meet all conditions; how many they were."""
        ...

    def take(self, record: type[R], *where: Where, order: tuple[str, ...] = (), limit: int | None = None) -> list[R]:
        """The records that meet all conditions, as `find`, in a writing transaction.

        Until it ends nobody else changes them. With a `limit`, those that another one has are passed over for those
        after them, as in a claim; without one, they are waited for.
        """
        ...

    def remove(self, record: type[Record], *where: Where) -> int:
        """Remove the records that meet all conditions; how many they were."""
        ...

    def course_facts(self, patient_id: str) -> list[CourseFact]:
        """The current weights, platelet counts, doses and events of a patient, in order of recording.

        Those entered in error are left out; those unverified are there.
        """
        ...


class Store(Protocol):
    """A database of this installation. It may be used by many threads; each process opens its own."""

    def reading(self) -> AbstractContextManager[Session]:
        """A reading transaction."""
        ...

    def writing(self, *, durable: bool = True) -> AbstractContextManager[Session]:
        """A writing transaction, kept at its end unless an exception leaves it. A thread has one transaction at a time.

        What was kept survives the death of this process at any moment; if `durable`, the loss of power, too.
        """
        ...

    def carry_out(self, step: Callable[[Session], object]) -> None:
        """A step as a writing transaction, durable; it may share a commit with those of other threads. Raises as it.

        A step may be called twice: what it did the first time has been undone then.
        """
        ...

    def carry_out_each(
        self, steps: Sequence[Callable[[Session], object]], as_one: Callable[[Session], object] | None = None
    ) -> list[BaseException | None]:
        """Several steps in order, in one durable commit; one that raises is undone alone. What each raised.

        A step may be called twice: what it did the first time has been undone then. `as_one` does what all of them do,
        with less to ask of the database: it is called in their place, and they only where it raises.
        """
        ...

    def stamp(self, of: Stamped = "everything") -> object:
        """As long as stamps of a thread are equal, nothing has been committed: what it read before is still so.

        Of `access`: nothing of accounts, second factors and tokens.
        """
        ...

    def clock(self) -> datetime | None:
        """What time it is by the clock of the database, aware; None where it has no other than this machine."""
        ...

    def pending(self) -> list[str]:
        """The names of the migrations that its opening still has to apply; contractions are not among them."""
        ...

    def contractions(self) -> list[str]:
        """The names of the migrations that are still to take away what only older programs need."""
        ...

    def contract(self) -> None:
        """Take away what only older programs need: they refuse the database from then on."""
        ...

    def check(self) -> list[str]:
        """What is wrong with the database, in words; nothing if it is sound."""
        ...

    def backup(self, file: Path) -> None:
        """Write a copy of the database, as of now, to a new file; others may go on working. Raises StoreError."""
        ...

    def close(self) -> None:
        """Close what this thread has open."""
        ...


#: Of what is got, others may change these all the same.
HELD_LOOSELY: Final = ("clinics", "protocol_editions")
_TRIES: Final = 3


def again_if(passing: type[StoreError] | tuple[type[StoreError], ...], step: Callable[[], T]) -> T:
    """What a step gives that is a transaction of its own; done again, at most twice, where it fails in such a way.

    Only for failures after which nothing of it is kept: Stale, Overtaken, Duplicate.
    """
    for _ in range(_TRIES - 1):
        try:
            return step()
        except passing:
            continue
    return step()
