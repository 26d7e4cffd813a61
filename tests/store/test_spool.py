"""The spool, where two processes meet in it."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from titrator.assembly import make_services
from titrator.settings import Settings
from titrator.store.records import AuditRow
from titrator.store.spool import Spool
from titrator.workflow import trail
from titrator.workflow.visit import Entry, Services, instant


def test_a_file_that_is_removed_before_it_is_locked_gets_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may gather between the making of a file and its lock: it finds an empty one that nobody holds."""
    locks, removed = fcntl.flock, []

    def gather_first(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX and not removed:
            other = Spool(tmp_path)
            removed.extend(name for name in other.names() if other.ended(name, 0))
        locks(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", gather_first)
    spool = Spool(tmp_path)
    spool.append("one\n")
    spool.append("two\n")
    assert len(removed) == 1
    (name,) = spool.names()
    assert spool.read(name, 0) == (["one", "two"], 8)
    assert not Spool(tmp_path).ended(name, 8)


# What is written outlives its process; only whole lines are read


def test_lines_are_read_from_where_one_left_off(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append("one\ntwo\n")
    (name,) = spool.names()
    lines, after = spool.read(name, 0)
    assert (lines, after, spool.size(name)) == (["one", "two"], 8, 8)
    assert spool.read(name, after) == ([], 8)
    spool.append("three\n")
    assert spool.read(name, after) == (["three"], 14)
    assert Spool(tmp_path / "nowhere").names() == []
    assert (spool.read("gone.spool", 3), spool.size("gone.spool")) == (([], 3), 0)


def test_half_a_line_is_no_line(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append("one\n")
    (name,) = spool.names()
    with (tmp_path / name).open("ab") as file:
        file.write(b"tw")
    assert spool.read(name, 0) == (["one"], 4)
    with (tmp_path / name).open("ab") as file:
        file.write(b"o\n")
    assert spool.read(name, 4) == (["two"], 8)


def test_a_line_longer_than_what_is_read_at_a_time_is_read(tmp_path: Path) -> None:
    spool, long = Spool(tmp_path), "x" * 250_000
    spool.append(f"{long}\nshort\n")
    (name,) = spool.names()
    lines, after = spool.read(name, 0)
    assert lines[0] == long
    assert (lines + spool.read(name, after)[0])[-1] == "short"


def test_a_process_that_is_killed_leaves_what_it_appended(tmp_path: Path) -> None:
    says = "import os, signal; from pathlib import Path; from titrator.store.spool import Spool"
    does = f"Spool(Path({str(tmp_path)!r})).append('kept\\n'); os.kill(os.getpid(), signal.SIGKILL)"
    killed = subprocess.run([sys.executable, "-c", f"{says}\n{does}"], check=False, cwd=Path.cwd())
    assert killed.returncode == -signal.SIGKILL
    spool = Spool(tmp_path)
    (name,) = spool.names()
    assert spool.read(name, 0) == (["kept"], 5)
    assert not spool.ended(name, 0), "it has not been read to its end"
    assert spool.ended(name, 5), "nobody holds it any more"
    assert spool.names() == []


def test_a_full_file_is_followed_by_another(tmp_path: Path) -> None:
    spool, line = Spool(tmp_path), "x" * 400_000 + "\n"
    for _ in range(5):
        spool.append(line)
    assert len(spool.names()) == 2
    assert sum(spool.size(name) for name in spool.names()) == 5 * len(line)


# Gathered exactly once


def furnished(folder: Path) -> Services:
    return make_services(Settings(instance=folder, log_level="error"))


def entry(services: Services, number: int) -> Entry:
    return Entry("system", instant(services.clock()), None, None, "read", f"thing/{number}", None, None, "{}")


def entries_of(services: Services) -> list[str]:
    with services.store.reading() as session:
        return [row.subject for row in session.find(AuditRow, order=("chain", "seq"))]


def test_what_many_gather_at_once_is_written_once(tmp_path: Path) -> None:
    """Four threads, each with a store and a spool of its own as if it were a process, add and gather at once."""
    houses = [furnished(tmp_path) for _ in range(4)]

    def work(place: int) -> None:
        mine = houses[place]
        for number in range(30):
            trail.set_aside(mine, [entry(mine, 100 * place + number)])
            if number % 7 == 0:
                trail.gather(mine)

    with ThreadPoolExecutor(4) as threads:
        for step in [threads.submit(work, place) for place in range(4)]:
            step.result()
    trail.gather(houses[0])
    found = entries_of(houses[0])
    assert sorted(found) == sorted(f"thing/{100 * place + number}" for place in range(4) for number in range(30))
    with houses[0].store.reading() as session:
        assert trail.verify(session, houses[0].audit_key, tmp_path / "seals") == (120, [])
    assert trail.gather(houses[0]) == 0


def test_a_gathering_that_fails_takes_nothing(tmp_path: Path) -> None:
    house = furnished(tmp_path)
    trail.set_aside(house, [entry(house, 1), entry(house, 2)])

    class Failing(Exception):
        pass

    @contextmanager
    def writing(*, durable: bool = True) -> Iterator[Any]:
        with house.store.writing(durable=durable) as session:
            yield session
            raise Failing

    broken = SimpleNamespace(reading=house.store.reading, writing=writing)
    with pytest.raises(Failing):
        trail.gather(replace(house, store=cast(Any, broken)))
    assert entries_of(house) == []
    assert trail.gather(house) == 2
    assert entries_of(house) == ["thing/1", "thing/2"]


def test_with_another_key_nothing_is_written_and_everything_waits(tmp_path: Path) -> None:
    house = furnished(tmp_path)
    trail.set_aside(house, [entry(house, 1)])
    trail.gather(house)
    trail.set_aside(house, [entry(house, 2)])
    assert trail.gather(replace(house, audit_key=b"another key, of no less than 32 bytes")) == 0
    assert entries_of(house) == ["thing/1"]
    assert trail.gather(house) == 1


def test_a_line_that_cannot_be_read_is_told_of_and_holds_nothing_up(tmp_path: Path) -> None:
    house = furnished(tmp_path)
    assert house.spool is not None
    for odd in ("no JSON", "[]", '["system", null, null, null, null, null, null, null, null]', "7"):
        house.spool.append(f"{odd}\n")
    trail.set_aside(house, [entry(house, 1)])
    assert trail.gather(house) == 5
    with house.store.reading() as session:
        rows = session.find(AuditRow, order=("seq",))
        assert trail.verify(session, house.audit_key, tmp_path / "seals") == (5, [])
    assert [row.action for row in rows] == ["entry-unreadable"] * 4 + ["read"]
    assert "no JSON" in rows[0].detail
