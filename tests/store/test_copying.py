"""All of a database in another one, row by row, or nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from tests.backends import new_store
from tests.store.damage import fill
from tests.store.samples import add_referred_to, sample
from titrator.store.base import Store, StoreError, Unusable
from titrator.store.copying import TABLES, Copyable, NotCopied, copy, rows_of
from titrator.store.records import RECORDS, ChangeCount, Fact, Job, Record
from titrator.store.sql import SqlSession

BOTH = [("sqlite", "postgresql"), ("postgresql", "sqlite"), ("postgresql", "postgresql"), ("sqlite", "sqlite")]


@pytest.fixture(params=BOTH, ids=" to ".join)
def both(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, Store]:
    """A store with a row of each kind at least, and an empty one."""
    kinds: tuple[str, str] = request.param
    source, target = (new_store(tmp_path, kind, f"{place}.db") for place, kind in enumerate(kinds))
    fill(source)
    with source.writing() as session:
        for kind in TABLES:
            if not session.count(kind):
                session.add(sample(kind))
        session.add(*(sample(Job, name=f"job {number:04}") for number in range(1001)))
        session.add(sample(Job, name="€ 😀 ' \\ \t \n %s"), sample(Job, name=""))
    return source, target


def copied(both: tuple[Store, Store], judge: Callable[[SqlSession], list[str]] = lambda _: []) -> Any:
    told: list[tuple[str, int]] = []
    done = copy(cast(Copyable, both[0]), cast(Copyable, both[1]), judge, lambda *what: told.append(what))
    assert sum(rows for _, rows in told) == 2 * rows_of(cast(Copyable, both[0]))
    return done


def rows(store: Store, kind: type[Record]) -> list[tuple[object, ...]]:
    with cast(Copyable, store).reading() as session:
        return list(session.scan(kind))


def test_every_row_is_on_both_sides(both: tuple[Store, Store]) -> None:
    done = copied(both)
    assert {one.table for one in done} == {kind.TABLE for kind in RECORDS} - {ChangeCount.TABLE}
    for kind in TABLES:
        there = rows(both[1], kind)
        assert there == rows(both[0], kind)
        assert there, kind
    assert {one.table: one.rows for one in done} == {kind.TABLE: len(rows(both[0], kind)) for kind in TABLES}
    assert len({one.sha256 for one in done}) == len(done)
    assert both[1].check() == []


def test_a_database_that_is_not_empty_is_not_copied_into(both: tuple[Store, Store]) -> None:
    with both[1].writing() as session:
        session.add(sample(Job))
    with pytest.raises(Unusable, match="not empty: there are jobs"):
        copied(both)
    assert [len(rows(both[1], kind)) for kind in TABLES if kind is not Job] == [0] * (len(TABLES) - 1)


def test_what_is_judged_to_be_wrong_leaves_nothing(both: tuple[Store, Store]) -> None:
    seen: list[int] = []

    def judge(session: SqlSession) -> list[str]:
        seen.append(session.count(Fact))
        return ["chain p: its head is missing"]

    with pytest.raises(NotCopied, match="nothing is kept of the copy: chain p: its head is missing"):
        copied(both, judge)
    assert seen == [3]
    assert [rows(both[1], kind) for kind in TABLES] == [[]] * len(TABLES)


def test_a_row_that_is_not_the_same_leaves_nothing(both: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty:
        """A target that keeps a fact otherwise than it was given it."""

        @contextmanager
        def writing(self, *, durable: bool = True) -> Iterator[SqlSession]:
            with cast(Copyable, both[1]).writing(durable=durable) as session:
                load = session.load

                def faulty(kind: type[Record], some: Any) -> int:
                    return load(kind, [("p", *row[1:-1], "2026") if kind is Fact else row for row in some])

                monkeypatch.setattr(session, "load", faulty)
                yield session

    with pytest.raises(NotCopied, match="facts p 2 1 is not the same on both sides"):
        copy(cast(Copyable, both[0]), cast(Copyable, Faulty()), lambda _: [], lambda *_: None)
    assert [rows(both[1], kind) for kind in TABLES] == [[]] * len(TABLES)


def test_what_the_other_database_cannot_hold_leaves_nothing(tmp_path: Path) -> None:
    """PostgreSQL has no text with a zero byte."""
    source, target = new_store(tmp_path, "sqlite"), new_store(tmp_path, "postgresql")
    with source.writing() as session:
        add_referred_to(session)
        session.add(sample(Job, name="a\0b"))
    with pytest.raises(StoreError):
        copied((source, target))
    assert [rows(target, kind) for kind in TABLES] == [[]] * len(TABLES)
