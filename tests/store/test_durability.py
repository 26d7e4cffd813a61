"""No answer is sent before what it tells of is kept: commit first, then the response, and no 201 without a commit."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from titrator.app import create_app
from titrator.assembly import make_services
from titrator.security.permissions import PERMISSIONS, Role
from titrator.settings import Settings
from titrator.store import disk
from titrator.store.base import Session, Store, Unavailable
from titrator.store.records import AuditRow, Fact, Job
from titrator.store.spool import Spool
from titrator.store.sqlite import SqliteStore
from titrator.store.together import Step
from titrator.workflow import accounts, record, trail
from titrator.workflow.visit import Actor, Visit, leave


@dataclass
class Watched:
    """A store, and what happened in it, in order; `fails` makes commits impossible."""

    store: Store
    happened: list[str] = field(default_factory=list)
    fails: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Session]:
        with self.store.writing(durable=False) as session:
            yield session
            if self.fails:  # so that the commit that follows has nothing to commit, and fails
                session._connection.execute("rollback")  # type: ignore[attr-defined]
        self.happened.append("committed")
        if durable:
            self.store._disk.keep()  # type: ignore[attr-defined]

    def carry_out(self, step: Step) -> None:
        self.store._together.carry_out(step, partial(self.writing, durable=False))  # type: ignore[attr-defined]
        self.store._disk.keep()  # type: ignore[attr-defined]


class WatchedSpool(Spool):
    """A spool that tells what happens, or has no room."""

    fails = False
    happened: list[str]

    def append(self, lines: str) -> None:
        if self.fails:
            raise OSError("no room")
        super().append(lines)
        self.happened.append("set aside")


class House:
    """An app over a watched store, a pharmacist who asks, and a patient."""

    def __init__(self, folder: Path) -> None:
        settings = Settings(instance=folder, log_level="error")
        made = make_services(settings)
        self.database = settings.instance / "titrator.db"
        self.watched = Watched(made.store)
        self.spool = WatchedSpool(folder / "spool")
        self.spool.happened = self.watched.happened
        self.services = services = replace(made, store=self.watched, spool=self.spool)  # type: ignore[arg-type]
        with made.store.writing() as session:
            boot = Actor("boot", "boot", Role.ADMIN, frozenset(), PERMISSIONS[Role.ADMIN])
            visit = Visit(services=services, session=session, actor=boot, now=services.clock())
            clinic = record.add_clinic(visit, {"name": "C", "time_zone": "UTC"}).id
            body: dict[str, object] = {"username": "e", "display_name": "E", "role": "pharmacist", "clinics": [clinic]}
            account, _ = accounts.add_account(visit, body)
            token = accounts.issue_token(visit, account.id, {"label": "t", "days": 1}).secret
            pharmacist = Actor("e", "e", Role.PHARMACIST, frozenset({clinic}), PERMISSIONS[Role.PHARMACIST])
            theirs = Visit(services=services, session=session, actor=pharmacist, now=services.clock())
            self.patient = record.add_patient(theirs, {"clinic": clinic, "family_name": "F", "given_name": "G"}).id
            leave(visit, session, [*visit.entries, *theirs.entries])
        app = create_app(settings, services)
        inner = app.wsgi_app

        def telling(environ: Any, start_response: Any) -> Any:
            def answer(status: str, *rest: Any) -> Any:
                self.watched.happened.append(f"answered {status[:3]}")
                return start_response(status, *rest)

            return inner(environ, answer)

        app.wsgi_app = telling  # type: ignore[method-assign]
        self.client: FlaskClient = app.test_client()
        self.headers = {"Authorization": f"Bearer {token}"}

    def happens(self, method: str, path: str, body: object = None, **headers: str) -> list[str]:
        self.watched.happened.clear()
        named = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        self.client.open(f"/api/v1/patients/{self.patient}{path}", method=method, json=body, headers=named)
        return list(self.watched.happened)

    def count(self, kind: type[Fact | AuditRow]) -> int:
        with self.watched.reading() as session:
            return int(session.count(kind))


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    made = House(tmp_path)
    flush = os.fdatasync

    def flushing(file: int) -> None:
        flush(file)
        made.watched.happened.append("flushed")

    monkeypatch.setattr(os, "fdatasync", flushing)
    return made


COUNT = {"collected_on": "2026-03-09", "value": 38, "unit": "10*9/L"}
KEPT = ["committed", "flushed", "answered 201"]


def test_a_write_is_kept_durably_before_it_is_answered(house: House) -> None:
    assert house.happens("POST", "/platelet-counts", COUNT) == KEPT
    assert house.happens("POST", "/platelet-counts", COUNT, Idempotency_Key="k") == KEPT
    assert house.happens("POST", "/platelet-counts", COUNT, Idempotency_Key="k") == KEPT
    assert house.count(Fact) == 2


def test_the_entry_of_a_read_is_in_the_spool_before_it_is_answered(house: House) -> None:
    before = house.count(AuditRow)
    assert house.happens("GET", "") == ["set aside", "answered 200"]
    assert house.count(AuditRow) == before
    assert (trail.gather(house.services), house.count(AuditRow)) == (1, before + 1)


def test_the_entry_of_a_refusal_is_in_the_spool_before_it_is_answered(house: House) -> None:
    assert house.happens("GET", "/platelet-counts/9/versions") == ["set aside", "answered 404"]


def test_what_could_not_be_kept_is_not_answered_with_success(house: House) -> None:
    facts, entries = house.count(Fact), house.count(AuditRow)
    house.watched.fails = True
    assert house.happens("POST", "/platelet-counts", COUNT, Idempotency_Key="k") == ["answered 500"]
    house.watched.fails = False
    house.spool.fails = True
    assert house.happens("GET", "") == ["answered 500"]
    house.spool.fails = False
    assert (house.count(Fact), house.count(AuditRow)) == (facts, entries)
    assert house.happens("POST", "/platelet-counts", COUNT, Idempotency_Key="k") == KEPT
    assert house.count(Fact) == facts + 1
    assert isinstance(house.watched.store, SqliteStore)
    assert house.watched.check() == []


# The disk


class Power:
    """What is on the disk for certain: a copy of the database as of the last flush that has ended."""

    def __init__(self, file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, self.folder = file, folder
        self.flushes = 0
        self.on_disk: frozenset[str] = frozenset()
        self._flush, self._turn = os.fdatasync, threading.Lock()
        monkeypatch.setattr(os, "fdatasync", self._flushing)

    def _flushing(self, log: int) -> None:
        with self._turn:
            kept = self._after_a_loss_of_power()  # what there was as the flush began is what it makes certain
            self._flush(log)
            self.flushes += 1
            self.on_disk = kept

    def _after_a_loss_of_power(self) -> frozenset[str]:
        copy = self.folder / f"{self.flushes}" / "titrator.db"
        copy.parent.mkdir()
        for end in ("", "-wal"):
            shutil.copyfile(f"{self.file}{end}", f"{copy}{end}")
        with closing(sqlite3.connect(copy)) as database:
            assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
            return frozenset(name for (name,) in database.execute("select name from jobs"))


def test_what_is_told_to_be_kept_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads; each looks, as soon as it is told, whether what it wrote has been flushed by then."""
    store = SqliteStore(tmp_path / "titrator.db")
    power = Power(store.file, tmp_path / "copies", monkeypatch)
    power.folder.mkdir()

    def step(name: str) -> Step:
        return lambda session: session.add(Job(name=name, version=1, at="now"))

    def write(number: int) -> list[str]:
        lost = []
        for round_ in range(6):
            names = [f"{number}-{round_}-{part}" for part in ("step", "one", "other", "own")]
            store.carry_out(step(names[0]))
            lost += names[:1] if names[0] not in power.on_disk else []
            assert store.carry_out_each([step(names[1]), step(names[1]), step(names[2])])[::2] == [None, None]
            lost += [name for name in names[1:3] if name not in power.on_disk]
            with store.writing() as session:
                step(names[3])(session)
            lost += names[3:] if names[3] not in power.on_disk else []
        return lost

    with ThreadPoolExecutor(8) as pool:
        assert [name for lost in pool.map(write, range(8)) for name in lost] == []
    with store.reading() as session:
        assert session.count(Job) == len(power.on_disk) == 8 * 6 * 4


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "titrator.db")


def jobs(store: SqliteStore) -> int:
    with store.reading() as session:
        return session.count(Job)


def add(store: SqliteStore, name: str) -> None:
    store.carry_out(lambda session: session.add(Job(name=name, version=1, at="now")))


def test_one_flush_is_for_all_that_was_committed_before_it(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one is held up in its flush; four more commit meanwhile, and share the next."""
    began, go, flushes, flush = threading.Event(), threading.Event(), list[int](), os.fdatasync

    def flushing(log: int) -> None:
        flushes.append(log)
        if len(flushes) == 1:
            began.set()
            go.wait(10)
        flush(log)

    monkeypatch.setattr(os, "fdatasync", flushing)
    with ThreadPoolExecutor(5) as pool:
        told = [pool.submit(add, store, "0")]
        assert began.wait(10)
        told += [pool.submit(add, store, f"{number}") for number in range(1, 5)]
        while jobs(store) < 5:
            pass
        assert not any(one.done() for one in told), "committed, and not yet told"
        go.set()
        for one in told:
            one.result(10)
    assert len(flushes) == 2


def test_after_a_flush_that_failed_nothing_is_kept_until_the_start_of_another_process(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came after a hole in the log would be lost with it, and a second flush would not tell."""

    def failing(log: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    add(store, "before")
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", failing)
        with pytest.raises(Unavailable, match="the disk failed"):
            add(store, "lost")
    said = "have it looked at, then start this again"
    with pytest.raises(Unavailable, match=said):
        add(store, "after")
    with pytest.raises(Unavailable, match=said), store.writing():
        pass
    with pytest.raises(Unavailable, match=said):
        store.carry_out_each([lambda session: session.add(Job(name="x", version=1, at="now"))] * 2)
    with pytest.raises(Unavailable, match=said):  # what /readyz asks
        store.pending()
    assert jobs(store) == 2, "what is there can be read"


def test_after_a_flush_that_failed_no_process_keeps_anything_until_all_have_ended(tmp_path: Path) -> None:
    """Who opens the database while others have it open would write behind the hole, too."""
    file = tmp_path / "titrator.db"
    store, beside = SqliteStore(file), SqliteStore(file)
    add(beside, "before")
    store._disk._failed_at("Input/output error")
    for keep in (partial(add, beside, "after"), partial(SqliteStore, file)):
        with pytest.raises(Unavailable, match="the disk failed"):
            keep()
    assert jobs(beside) == 1, "what is there can be read"
    log = file.with_name("titrator.db-wal")
    assert log.stat().st_size
    for one in (store, beside):
        one.close()
    del store, beside, one, keep
    gc.collect()  # as the end of their processes would
    again = SqliteStore(file)
    add(again, "after")
    assert jobs(again) == 2
    assert not list(tmp_path.glob("*.disk-failed"))


def test_what_was_committed_is_in_the_file_before_anything_is_kept_again(tmp_path: Path) -> None:
    """The process died with its log unflushed; that log is taken into the file first, and what is in there flushed."""
    file = tmp_path / "titrator.db"
    kept = SqliteStore(file)
    add(kept, "before")
    for name in ("titrator.db", "titrator.db-wal"):
        shutil.copy(tmp_path / name, tmp_path / f"of-{name}")
    (tmp_path / "of-titrator.db.disk-failed").touch()
    again = SqliteStore(tmp_path / "of-titrator.db")
    assert (tmp_path / "of-titrator.db-wal").stat().st_size == 0 or not (tmp_path / "of-titrator.db-wal").exists()
    assert jobs(again) == 1


def test_a_log_that_cannot_be_opened_now_may_be_later(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    again = SqliteStore(store.file)  # it has not needed the log yet
    again._disk._close()

    def full(*of: object, **more: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as broken:
        broken.setattr(disk.os, "open", full)
        with pytest.raises(Unavailable, match="the log cannot be opened: Too many open files"):
            add(again, "a")
    add(again, "b")
    assert jobs(again) == 2
    assert again._disk._flushed == again._disk.commits


def test_the_log_is_found_anew_where_sqlite_has_made_another(store: SqliteStore) -> None:
    """It removes the log with the last connection to the file."""
    add(store, "a")
    log = store._disk._log
    assert log is not None
    store.close()
    assert not os.fstat(log).st_nlink
    add(store, "b")
    assert store._disk._log is not None
    assert os.fstat(store._disk._log).st_ino == Path(f"{store.file}-wal").stat().st_ino
    assert jobs(store) == 2


def test_the_log_of_a_file_behind_a_link_is_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "titrator.db").symlink_to(tmp_path / "elsewhere" / "real.db")
    store = SqliteStore(tmp_path / "titrator.db")
    add(store, "a")
    assert store._disk._log is not None
    assert os.fstat(store._disk._log).st_ino == (tmp_path / "elsewhere" / "real.db-wal").stat().st_ino
