"""A draft: what is to be written, prepared on a reading transaction and carried out on a writing one.

Only one transaction writes at a time, so the shorter it is the less the others wait. What has been read of a patient
must be the same still when the draft is carried out: whatever is recorded of a patient raises the revision, each
decision `decided`, and other changes the version. Of what it would write a draft sees the patient only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar, cast

from titrator.store.base import CourseFact, Session, Stale, Where
from titrator.store.records import Patient, Record
from titrator.store.rows import Value

R = TypeVar("R", bound=Record)


class Draft:
    """A session that reads from another one and keeps what is written for later."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._seen: dict[str, Patient] = {}
        self._changed: set[str] = set()
        self._steps: list[Callable[[Session], object]] = []

    def get(self, record: type[R], *key: object) -> R | None:
        """The record with that key; a patient is read once, for all reads see the same state."""
        if record is Patient and (seen := self._seen.get(cast("str", key[0]))) is not None:
            return cast("R", seen)
        found = self._session.get(record, *key)
        if isinstance(found, Patient):
            self._seen[found.id] = found
        return found

    def get_all(self, record: type[R], keys: Collection[tuple[object, ...]]) -> dict[tuple[object, ...], R]:
        """The records with those keys."""
        found = self._session.get_all(record, keys)
        for one in found.values():
            if isinstance(one, Patient):
                self._seen.setdefault(one.id, one)
        return found

    def hold(self, record: type[Record], keys: Collection[tuple[object, ...]]) -> None:
        """Nothing: what has been read of a patient is looked at again when the draft is carried out."""

    def find(self, record: type[R], *where: Where, order: tuple[str, ...] = (), limit: int | None = None) -> list[R]:
        """The records that meet all conditions, in the order of the columns named."""
        return self._session.find(record, *where, order=order, limit=limit)

    def values(
        self,
        record: type[Record],
        columns: tuple[str, ...],
        *where: Where,
        order: tuple[str, ...] = (),
        limit: int | None = None,
    ) -> list[tuple[Value, ...]]:
        """Columns of the records that meet all conditions, as they are stored."""
        return self._session.values(record, columns, *where, order=order, limit=limit)

    def count(self, record: type[Record], *where: Where) -> int:
        """How many records meet all conditions."""
        return self._session.count(record, *where)

    def tally(self, record: type[Record], column: str, *where: Where) -> dict[Value, int]:
        """How many records that meet all conditions have each value of a column, as it is stored."""
        return self._session.tally(record, column, *where)

    def course_facts(self, patient_id: str) -> list[CourseFact]:
        """The current weights, platelet counts, doses and events of a patient, in order of recording."""
        return self._session.course_facts(patient_id)

    def add(self, *records: Record) -> None:
        """Add records, later."""
        self._steps.append(lambda session: session.add(*records))

    def change(self, record: R, *where: Where, old: R | None = None) -> None:
        """Replace the record of the same key, later."""
        if isinstance(old, Patient) and self._seen.get(old.id) is old:
            self._changed.add(old.id)
            self._seen[old.id] = cast(Patient, record)
        self._steps.append(lambda session: session.change(record, *where, old=old))

    def put(self, *records: Record) -> None:
        """Add records or replace those of the same keys, later."""
        self._steps.append(lambda session: session.put(*records))

    def claim(self, record: type[R], *_: object, **__: object) -> list[R]:
        """Not in a draft, which could not say which they were."""
        raise RuntimeError(f"a draft cannot claim {record.TABLE}")

    def update(self, record: type[Record], *_: object) -> int:
        """Not in a draft, which could not say how many they were."""
        raise RuntimeError(f"a draft cannot update {record.TABLE}")

    def take(self, record: type[R], *_: object, **__: object) -> list[R]:
        """Not in a draft, which holds nothing against others."""
        raise RuntimeError(f"a draft cannot take {record.TABLE}")

    def remove(self, record: type[Record], *_: Where) -> int:
        """Not in a draft, which could not say how many they were."""
        raise RuntimeError(f"a draft cannot remove {record.TABLE}")

    def hold_seen(self, session: Session) -> None:
        """Hold all patients that have been read, in one order: for a draft of several, lest two wait for each other."""
        session.hold(Patient, [(ident,) for ident in self._seen])

    def carry_out(self, session: Session) -> None:
        """Write all of it; raises Stale where a patient has changed since it was drafted, and Duplicate."""
        for seen in self._seen.values():
            if seen.id in self._changed:  # only if it is still as it was, says the condition of the change
                continue
            now = session.get(Patient, seen.id)
            if now is None or _state(now) != _state(seen):
                raise Stale(Patient.TABLE)
        for step in self._steps:
            step(session)


def _state(patient: Patient) -> tuple[int, int, int]:
    return patient.revision, patient.version, patient.decided
