"""Steps of several threads in one commit, and drafts: none is lost, none is done twice, none is done on old data."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.store.samples import add_referred_to
from titrator.store.base import Duplicate, Session, Stale, StoreError, Where
from titrator.store.draft import Draft
from titrator.store.records import Job, Patient
from titrator.store.sqlite import SqliteStore


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    made = SqliteStore(tmp_path / "t.db")
    with made.writing() as session:
        add_referred_to(session)
    return made


def job(name: str) -> Job:
    return Job(name=name, version=1, at="now")


def names(store: SqliteStore) -> list[str]:
    with store.reading() as session:
        return [one.name for one in session.find(Job, Where("name", "!=", "seal"), order=("name",))]


def test_steps_that_wait_for_their_turn_share_a_commit_and_one_that_fails_is_undone_alone(store: SqliteStore) -> None:
    """The first step holds the turn until three more wait behind it; of those the middle one fails."""
    began, go = threading.Event(), threading.Event()
    sessions: dict[str, int] = {}

    def step(name: str) -> Any:
        def write(session: Session) -> None:
            sessions[name] = id(session)
            session.add(job(name))
            if name == "a":
                began.set()
                go.wait(10)
            if name == "c":
                session.add(job("a"))

        return write

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(store.carry_out, step("a"))
        began.wait(10)
        others = {}
        for name in ("b", "c", "d"):
            others[name] = pool.submit(store.carry_out, step(name))
            while len(store._together._queue) < len(others):
                pass
        go.set()
        first.result(10)
        assert isinstance(others["c"].exception(10), Duplicate)
        assert [others[name].exception(10) for name in ("b", "d")] == [None, None]
    assert names(store) == ["a", "b", "d"]
    assert sessions["b"] == sessions["c"] == sessions["d"] != sessions["a"]


def test_many_threads_lose_and_double_nothing(store: SqliteStore) -> None:
    def write(index: int) -> None:
        store.carry_out(lambda session: session.add(job(f"{index:04}")))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(400)))
    assert names(store) == [f"{index:04}" for index in range(400)]


def test_all_who_share_a_commit_that_fails_are_told(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*, durable: bool) -> Any:
        del durable
        raise StoreError("the disk is full")

    monkeypatch.setattr(store, "writing", broken)
    with pytest.raises(StoreError, match="the disk is full"):
        store.carry_out(lambda session: session.add(job("a")))
    monkeypatch.undo()
    store.carry_out(lambda session: session.add(job("b")))
    assert names(store) == ["b"], "what failed does not come back with the next"


def draft(store: SqliteStore, seen: str = "p") -> Draft:
    """A draft that has looked at a patient and would add a job."""
    with store.reading() as session:
        made = Draft(session)
        made.get(Patient, seen)
        made.add(job("drafted"))
        return made


@pytest.mark.parametrize(("field", "refused"), [("revision", True), ("version", True), ("settled", False)])
def test_a_draft_is_not_carried_out_on_a_patient_who_has_changed(
    store: SqliteStore,
    field: str,
    refused: bool,
) -> None:
    made = draft(store)
    with store.writing() as session:
        patient = session.get(Patient, "p")
        assert patient is not None
        session.change(replace(patient, **{field: getattr(patient, field) + 1 if field != "settled" else True}))
    if refused:
        with pytest.raises(Stale):
            store.carry_out(made.carry_out)
        assert names(store) == []
    else:
        store.carry_out(made.carry_out)
        assert names(store) == ["drafted"]


def test_a_change_that_names_the_old_record_writes_what_differs(store: SqliteStore) -> None:
    with store.writing() as session:
        patient = session.get(Patient, "p")
        assert patient is not None
        session.change(replace(patient, given_name="Ida"))
        session.change(replace(patient, family_name="Ott"), old=patient)
        found = session.get(Patient, "p")
    assert found == replace(patient, given_name="Ida", family_name="Ott")
    with store.writing() as session, pytest.raises(Stale):
        session.change(replace(patient, family_name="Ost"), Where("revision", "=", 99), old=patient)


def test_several_steps_of_one_thread_share_a_commit_and_one_that_fails_is_undone_alone(store: SqliteStore) -> None:
    steps = [lambda session, name=name: session.add(job(name)) for name in ("a", "b", "b", "c")]
    commits = store._disk.commits
    raised = store.carry_out_each(steps)
    assert [type(one) for one in raised] == [type(None), type(None), Duplicate, type(None)]
    assert (names(store), store._disk.commits) == (["a", "b", "c"], commits + 1)
    assert store.carry_out_each([lambda session: session.add(job("d"))]) == [None]
    assert isinstance(store.carry_out_each([lambda session: session.add(job("d"))])[0], Duplicate)
    assert names(store) == ["a", "b", "c", "d"]
    assert not store._together._queue


def test_what_does_as_much_as_several_steps_is_done_in_their_place_unless_it_raises(store: SqliteStore) -> None:
    steps = [lambda session, name=name: session.add(job(name)) for name in ("a", "b", "a")]
    done = []

    def as_one(session: Session) -> None:
        done.append("as one")
        for name in ("a", "b", "a"):
            session.add(job(name))

    assert [type(one) for one in store.carry_out_each(steps, as_one)] == [type(None), type(None), Duplicate]
    assert (names(store), done) == (["a", "b"], ["as one"])
    assert store.carry_out_each(steps[:2], lambda session: session.add(job("c"), job("d"))) == [None, None]
    assert names(store) == ["a", "b", "c", "d"]
