"""PostgreSQL fails under load: what was answered is kept, once; all else is told by 503; and it goes on by itself.

Clients do what those of test_kills do, and what a client should do: they send again, under the same key, what was
answered with 503 or not at all, until it is done. Nothing but the right answer and 503 may come.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psycopg
import pytest

from tests.cluster import Cluster
from tests.store.test_kills import (
    CLIENTS,
    FIRST_DAY,
    Client,
    Instance,
    Sent,
    Tally,
    look,
    made_in,
    next_step,
    serving,
)

pytestmark = pytest.mark.long
PATIENCE = 90


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    made.sql("create database titrator")
    yield made
    made.end()


@pytest.fixture
def instance(cluster: Cluster, tmp_path: Path) -> Instance:
    folder = tmp_path / "instance"
    folder.mkdir()
    return made_in(folder, cluster.url())


class Seen:
    """What clients have seen, statuses and kinds of errors, and how often; who waits for more of it is told."""

    def __init__(self) -> None:
        self.times = Counter[str]()
        self.changed = threading.Condition()

    def add(self, what: str) -> None:
        with self.changed:
            self.times[what] += 1
            self.changed.notify_all()

    def wait_for(self, what: str, times: int) -> None:
        """Until it has been seen so many times in all."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.times[what] >= times, PATIENCE), f"{what}: {self.times}"

    def pause(self) -> None:
        """Until somebody sees something else than a refusal, or a moment is over: then it may be worth another try."""
        with self.changed:
            before = self._taken()
            self.changed.wait_for(lambda: self._taken() > before, 0.05)

    def _taken(self) -> int:
        return self.times["200"] + self.times["201"]


class Persistent(Client):
    """A client that sends again until it is answered."""

    def __init__(
        self, instance: Instance, port: int, seen: Seen, host: str = "127.0.0.1", patience: float = PATIENCE
    ) -> None:
        super().__init__(instance, port)
        self.patience = patience
        self.connection = HTTPConnection(host, port, timeout=10)
        self.seen = seen

    def send(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, bytes, str | None]:
        until = time.monotonic() + self.patience
        while time.monotonic() < until:
            try:
                answer = super().send(method, path, body, **headers)
            except (OSError, HTTPException) as error:
                self.seen.add(type(error).__name__)
                self.connection.close()
            else:
                self.seen.add(str(answer[0]))
                if answer[0] != 503:
                    return answer
            self.seen.pause()
        raise AssertionError(f"{method} {path}: no answer but 503 for {self.patience} seconds; {self.seen.times}")


def work(client: Persistent, tally: Tally, name: str, days: Iterator[int], mine: str, stop: threading.Event) -> None:
    """Record counts, ask for doses and decide upon those of one patient until it is enough."""
    chance, number = random.Random(name), 0
    try:
        while not stop.is_set() and not tally.wrong:
            number += 1
            patient = chance.choice(client.instance.patients)
            day = (FIRST_DAY + timedelta(days=next(days))).isoformat()
            body = f'{{"collected_on": "{day}", "value": {chance.randint(40, 79)}, "unit": "10*9/L"}}'
            changes(client, tally, Sent(f"{name}.{number}", patient, "platelet-counts", body))
            changes(client, tally, next_step(client, tally, f"{name}.{number}.step", mine))
            asked = f"{name}.{number}.read"
            status, said, _ = client.send("GET", f"{patient}/next-dose", X_Request_Id=asked)
            assert status == 200, f"{status} {said[:300]!r}"
            tally.reads[asked] = patient
            tally.count()
    except Exception as error:  # noqa: BLE001 (what a thread raises would be lost)
        tally.wrong.append(repr(error))
    finally:
        client.connection.close()


def changes(client: Persistent, tally: Tally, sent: Sent) -> None:
    tally.open[sent.key] = sent
    status, said, _ = client.post(sent)
    assert status == sent.step.status, f"{sent.step.name}: {status} {said[:300]!r}"
    tally.keep(sent, said)
    tally.count()


@contextmanager
def load(instance: Instance, **more: str) -> Iterator[tuple[Tally, Seen, subprocess.Popen[bytes]]]:
    """A server under load; in the end all that was sent has been answered, and is there once."""
    tally, seen, stop = Tally(), Seen(), threading.Event()
    days = iter(range(10**6))
    with serving(instance, **more) as (server, port):
        threads = [
            threading.Thread(target=work, args=(Persistent(instance, port, seen), tally, f"c{place}", days, mine, stop))
            for place, mine in enumerate(instance.decided[:CLIENTS])
        ]
        for thread in threads:
            thread.start()
        try:
            tally.wait_for(30)
            yield tally, seen, server
            tally.wait_for(tally.answers + 60)  # it goes on, and nobody has restarted it
            assert server.poll() is None
        finally:
            stop.set()
            for thread in threads:
                thread.join(PATIENCE + 10)
    assert not tally.wrong, tally.wrong
    assert not tally.open
    broken_off = {"RemoteDisconnected", "ConnectionResetError", "BadStatusLine", "IncompleteRead"}
    unforeseen = set(seen.times) - {"200", "201", "503"} - broken_off
    assert not unforeseen, seen.times
    assert look(instance, tally) == (0, 0)
    logging.getLogger(__name__).info(
        "%d writes and %d reads answered, none lost, none twice; %s",
        len(tally.answered),
        len(tally.reads),
        dict(seen.times),
    )


def test_a_server_that_is_restarted(cluster: Cluster, instance: Instance) -> None:
    with load(instance) as (tally, seen, _):
        for mode in ("fast", "immediate", "fast"):
            refused = seen.times["503"]
            cluster.stop(mode)
            seen.wait_for("503", refused + CLIENTS)
            cluster.start()
            tally.wait_for(tally.answers + 30)


def test_connections_that_are_cut(cluster: Cluster, instance: Instance) -> None:
    others = "datname = 'titrator' and pid != pg_backend_pid() order by random() limit 2"
    with load(instance) as (tally, seen, _):
        for _ in range(60):
            cluster.sql(f"select pg_terminate_backend(pid) from pg_stat_activity where {others}", "titrator")
            tally.wait_for(tally.answers + 1)
    assert seen.times["503"]


def test_a_pool_that_is_exhausted(cluster: Cluster, instance: Instance) -> None:
    one = {"TITRATOR_DATABASE_CONNECTIONS": "1", "TITRATOR_DATABASE_WAIT_SECONDS": "1"}
    with load(instance, **one) as (_, seen, __), closing(psycopg.connect(cluster.url())) as connection:
        connection.execute("lock table patients in access exclusive mode")
        seen.wait_for("503", seen.times["503"] + 10)
        connection.rollback()


def test_deadlocks(cluster: Cluster, instance: Instance) -> None:
    """Another program takes the rows of a patient in another order, again and again."""
    undone: Counter[str] = Counter()
    with load(instance) as _, closing(psycopg.connect(cluster.url())) as connection:
        for number in range(40):
            patient = instance.decided[number % len(instance.decided)]
            try:
                connection.execute("select 1 from audit_heads where chain = %s for update", (patient,))
                somebody_waits_for(connection)
                connection.execute("select 1 from patients where id = %s for update", (patient,))
                undone["the service, or nobody"] += 1
            except psycopg.errors.DeadlockDetected:
                undone["the other program"] += 1
            connection.rollback()
    assert undone.total() == 40
    assert int(str(cluster.sql("select deadlocks from pg_stat_database where datname = 'titrator'")[0][0])) > 0


def somebody_waits_for(connection: psycopg.Connection) -> None:
    """Ask, until a session waits for a lock that a connection holds."""
    until = time.monotonic() + PATIENCE
    waits = b"select 1 from pg_locks where not granted and pg_backend_pid() = any(pg_blocking_pids(pid))"
    while connection.execute(waits).fetchone() is None:
        assert time.monotonic() < until, "nobody came"


def test_processes_that_are_killed(cluster: Cluster, instance: Instance) -> None:
    """One of the two at a time, at any moment; the first process starts another one."""
    chance = random.Random(9)
    with load(instance) as (tally, seen, server):
        for _ in range(12):
            children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
            if children:
                os.kill(int(chance.choice(children)), signal.SIGKILL)
            tally.wait_for(tally.answers + chance.randint(1, 12))
    assert seen.times.total() > seen.times["200"] + seen.times["201"]


@pytest.fixture
def small() -> Iterator[Path]:
    """A disk of 24 MB."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    place = Path(tempfile.mkdtemp(prefix="titrator-small-"))
    place.chmod(0o755)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(place)], check=False)
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
    place.rmdir()


def test_a_disk_that_is_full(small: Path, tmp_path: Path) -> None:
    cluster = Cluster()
    try:
        space = small / "space"
        space.mkdir()
        subprocess.run(["chown", "postgres", str(space)], check=True)
        cluster.sql(f"create tablespace small location '{space}'")
        cluster.sql("create database titrator tablespace small")
        folder = tmp_path / "instance"
        folder.mkdir()
        instance = made_in(folder, cluster.url())
        with load(instance) as (_, seen, __):
            ballast = small / "ballast"
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 8192)
            seen.wait_for("503", 10)  # pages that have room are filled first
            ballast.unlink()
    finally:
        cluster.end()
