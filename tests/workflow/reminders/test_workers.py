"""Workers that are killed at random moments tell everything all the same; and `titrator remind` as it runs.

Reminders are due in a real database, of more patients than one; workers, each its own process, plan, lease, send and
mark, and one after the other SIGKILL takes one of them in the midst of it, and another is started in its place. A
receiver verifies each message. In the end everything must have arrived, and hardly anything twice.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pytest
import standardwebhooks

from tests.notify.servers import Answer, Receiver, receiver
from tests.store.samples import sample
from tests.workflow.reminders.telling import NOW, SECRET
from titrator.assembly import audit_key, make_services
from titrator.settings import Settings
from titrator.store.base import Where
from titrator.store.records import (
    AuditRow,
    ChannelRow,
    Clinic,
    Delivery,
    Job,
    Patient,
    Reminder,
    ReminderSettings,
)
from titrator.store.sqlite import SqliteStore
from titrator.workflow import trail
from titrator.workflow.reminders.days import WEEKDAYS
from titrator.workflow.reminders.work import HEARTBEAT, SENT, health
from titrator.workflow.visit import instant

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).parents[3]
WORKER: Final = Path(__file__).with_name("worker.py")
TITRATOR: Final = str(Path(sys.executable).with_name("titrator"))
WORKERS: Final = 4
LEASE_SECONDS: Final = 2
#: Nothing waits for so many seconds unless it fails.
PATIENCE: Final = 120
#: So many times workers are killed while they plan.
PLANNING: Final = 3
#: Reminders that a patient has.
EACH: Final = 5
KINDS: Final = ("dose-overdue", "count-due", "weight-due", "sign-off", "re-opened")


@dataclass
class Told:
    """What a receiver was told, once the library of the standard has found each signature right."""

    web: Receiver
    hook: standardwebhooks.Webhook = field(default_factory=lambda: standardwebhooks.Webhook(SECRET))
    changed: threading.Condition = field(default_factory=threading.Condition)
    times: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    broken_off: int = 0

    def __post_init__(self) -> None:
        self.web.answer = self.take

    def take(self, asked: Answer) -> None:
        if len(asked.body) < int(asked.headers["content-length"]):  # its sender was killed in the midst of it
            self.broken_off += 1
            return
        try:
            event: dict[str, Any] = self.hook.verify(asked.body, asked.headers)
            assert event["data"]["kind"] in KINDS
        except Exception as error:
            self.wrong.append(repr(error))
            raise
        finally:
            self.web.seen.clear()  # ten thousand requests need not be kept
        asked.give(204)
        with self.changed:
            self.times[asked.headers["webhook-id"]] += 1
            self.changed.notify_all()

    @property
    def messages(self) -> int:
        """How many different ones came."""
        return len(self.times)

    @property
    def repeats(self) -> int:
        return self.times.total() - len(self.times)

    def wait_for(self, messages: int) -> None:
        with self.changed:
            came = self.changed.wait_for(lambda: self.messages >= messages or self.wrong, PATIENCE)
        assert came, f"{self.messages} messages came, not {messages}"
        assert not self.wrong, self.wrong


@pytest.fixture
def told() -> Iterator[Told]:
    with receiver() as web:
        yield Told(web)


def fill(instance: Path, url: str, reminders: int) -> None:
    """Reminders that are due, each of one step, in an installation with one clinic and one channel."""
    services = make_services(Settings(instance=instance))
    steps = {kind: [{"after_days": 0, "to": "pharmacist"}] for kind in KINDS}
    every_day = {"working_days": list(WEEKDAYS)}  # what runs here as a process has the clock of the machine
    chosen = {"digest_at": None, "quiet_from": None, "steps": steps, **every_day}
    named = {"audience": "pharmacist", "kind": "webhook", "address": url, "secret": SECRET, "per_minute": 100_000}
    patients = [f"p{number:05}" for number in range(reminders // EACH)]
    with services.store.writing() as session:
        session.add(
            sample(Clinic, time_zone="UTC", holidays=(), injection_days=()),
            ReminderSettings(clinic_id="c", version=1, settings=chosen),
            sample(ChannelRow, **named),
            *(sample(Patient, id=one, settled=True) for one in patients),
            *(
                sample(Reminder, patient_id=one, kind=kind, event=None, next_at=instant(NOW))
                for one in patients
                for kind in KINDS
            ),
        )
    services.store.close()


class Worker:
    """A worker, from the moment at which it is started."""

    def __init__(self, instance: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), str(instance), str(LEASE_SECONDS)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.ready = threading.Event()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        assert self.process.stdout is not None
        if self.process.stdout.readline() == b"ready\n":
            self.ready.set()
        self.process.stdout.read()

    def close(self) -> int:
        """Its exit code, once it has ended by itself or was killed."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(PATIENCE)
        self.reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def kill_often(instance: Path, told: Told, reminders: int, times: int, seed: int) -> None:
    """Kill so many times, mostly one worker; first all of them while they plan."""
    chance, killed = random.Random(seed), 0
    fill(instance, told.web.url, reminders)
    workers = [Worker(instance) for _ in range(WORKERS)]
    try:
        for number in range(times):
            if number < PLANNING:
                wait_until_planned(instance, chance.randint(1, reminders * (number + 1) // (PLANNING + 1)))
            else:
                left = reminders - told.messages - WORKERS
                told.wait_for(told.messages + chance.randint(1, max(1, 2 * left // (times - number + 2))))
            threading.Event().wait(chance.random() / 50)  # in the midst of a message, not right after one
            begun = [place for place, one in enumerate(workers) if one.ready.is_set()]
            some = begun if number < PLANNING or chance.random() < 0.1 else [chance.choice(begun)]
            for place in some:
                workers[place].process.kill()
            for place in some:
                workers[place].close()
                workers[place] = Worker(instance)
            killed += len(some)
        told.wait_for(reminders)
        codes = [one.close() for one in workers]
        assert codes == [0] * WORKERS
    finally:
        for one in workers:
            if one.process.poll() is None:
                one.process.kill()
                one.close()
    look(instance, told, reminders, killed)


def wait_until_planned(instance: Path, many: int) -> None:
    """Until workers are in the midst of planning, or have done that."""
    store, pause = SqliteStore(instance / "titrator.db"), threading.Event()
    for _ in range(PATIENCE * 500):
        with store.reading() as session:
            if session.count(Delivery) >= many:
                break
        pause.wait(0.002)
    else:
        pytest.fail("nothing is planned")
    store.close()


def look(instance: Path, told: Told, reminders: int, killed: int) -> None:
    """Everything arrived, was marked and is in the trail once; what came twice came so for a kill."""
    store = SqliteStore(instance / "titrator.db")
    assert store.check() == []
    with store.reading() as session:
        deliveries = session.find(Delivery)
        assert session.count(Reminder, Where("status", "=", "open"), Where("next_at", "<=", instant(NOW))) == 0
        assert session.count(Patient, Where("settled", "=", 0)) == 0
        count, faults = trail.verify(session, audit_key(instance / "audit.key"), instance / "seals")
        entries = Counter(json.loads(row.detail)["message"] for row in session.find(AuditRow))
        counted, beats = session.get(Job, SENT), session.get(Job, HEARTBEAT)
    store.close()
    assert Counter((one.status, one.leased_by, one.attempts) for one in deliveries) == {("sent", "", 1): reminders}
    assert {one.id for one in deliveries} == set(told.times)
    assert (count, faults) == (reminders, [])
    assert set(entries.values()) == {1}
    assert told.repeats <= killed, "a message came twice without a kill"
    assert max(told.times.values()) <= 1 + killed
    assert beats is not None
    assert counted is not None
    assert 0 < counted.version <= told.times.total()
    logging.getLogger(__name__).info(
        "%d messages, %d killed, %d repeats, %d broken off, none lost", reminders, killed, told.repeats, told.broken_off
    )


def test_workers_that_are_killed_four_times_lose_nothing(tmp_path: Path, told: Told) -> None:
    kill_often(tmp_path, told, 1_600, 4, 20260309)


@pytest.mark.long
def test_workers_that_are_killed_a_hundred_times_lose_nothing(tmp_path: Path, told: Told) -> None:
    kill_often(tmp_path, told, 10_000, 100, random.SystemRandom().randrange(10**9))


# titrator remind


class Reminding:
    """`titrator remind`, as a process of its own, from its start to its end."""

    def __init__(self, instance: Path, *arguments: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TITRATOR_")}
        self.process = subprocess.Popen(
            [TITRATOR, "remind", *arguments],
            env=kept | {"TITRATOR_INSTANCE": str(instance), "TITRATOR_REMINDER_SECONDS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, how: int | None = None) -> tuple[int, str, str]:
        """Its exit code and what it said, once it has ended, by a signal or by itself."""
        if how is not None:
            self.process.send_signal(how)
        out, err = self.process.communicate(timeout=PATIENCE)
        assert "Traceback" not in err
        return self.process.returncode, out, err


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def remind(stack: ExitStack, instance: Path, *arguments: str) -> Reminding:
    started = Reminding(instance, *arguments)
    stack.enter_context(started.process)
    stack.callback(started.process.kill)
    return started


def statuses(instance: Path) -> Counter[str]:
    store = SqliteStore(instance / "titrator.db")
    with store.reading() as session:
        found = Counter(one.status for one in session.find(Delivery))
    store.close()
    return found


def test_remind_once_does_what_is_due_and_ends(tmp_path: Path, told: Told, stack: ExitStack) -> None:
    fill(tmp_path, told.web.url, 10)
    code, out, err = remind(stack, tmp_path, "--once", "--json").end()
    assert (code, err.count("\n")) == (0, 0)
    said = json.loads(out)
    assert said["done"] == {"planned": 10, "sent": 10, "failed": 0, "dead": 0}
    assert (said["health"]["due"], said["health"]["sent"]) == (0, 10)
    assert remind(stack, tmp_path, "--once").end()[:2] == (
        0,
        "0 messages planned, 0 sent, 0 failed so far, 0 given up.\n",
    )
    assert (told.messages, told.repeats) == (10, 0)


FAILED: Final = [
    "10 messages planned, 0 sent, 1 failed so far, 0 given up.",
    "9 wait, 0 were given up: GET /api/v1/deliveries/undelivered lists them.",
]


def test_remind_once_tells_what_failed(tmp_path: Path, told: Told, stack: ExitStack) -> None:
    fill(tmp_path, "http://127.0.0.1:1/", 10)
    code, out, err = remind(stack, tmp_path, "--once").end()
    assert (code, out.splitlines()) == (0, FAILED)
    assert json.loads(err)["why"] == "the receiver could not be reached, or broke off"


def test_two_that_remind_once_share_what_is_due(tmp_path: Path, told: Told, stack: ExitStack) -> None:
    fill(tmp_path, told.web.url, 1000)
    both = [remind(stack, tmp_path, "--once", "--json") for _ in range(2)]
    ends = [one.end() for one in both]
    assert [code for code, _, _ in ends] == [0, 0]
    done = [json.loads(out)["done"] for _, out, _ in ends]
    assert [sum(one[what] for one in done) for what in ("planned", "sent", "failed")] == [1000, 1000, 0]
    assert (told.messages, told.repeats) == (1000, 0)
    assert statuses(tmp_path) == {"sent": 1000}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_two_that_remind_forever_tell_what_comes_and_end_when_they_are_told_to(
    tmp_path: Path, told: Told, stack: ExitStack, how: int
) -> None:
    fill(tmp_path, told.web.url, 100)
    both = [remind(stack, tmp_path, "--forever") for _ in range(2)]
    told.wait_for(100)
    store = SqliteStore(tmp_path / "titrator.db")
    with store.writing() as session:
        (row,) = session.find(Reminder, limit=1)
        session.add(replace(row, due_on="2026-03-10", step=0, next_at=instant(NOW)))
    told.wait_for(101)
    for one in both:
        code, out, err = one.end(how)
        assert (code, out) == (0, "")
        assert err.startswith("titrator reminds from ")
    assert (told.messages, told.repeats) == (101, 0)
    assert statuses(tmp_path) == {"sent": 101}
    assert health(store, NOW).sent == 101
    store.close()


def test_what_is_in_the_midst_of_it_when_it_is_told_to_end_loses_nothing(
    tmp_path: Path, told: Told, stack: ExitStack
) -> None:
    fill(tmp_path, told.web.url, 2000)
    first = remind(stack, tmp_path, "--forever")
    told.wait_for(1)
    assert first.end(signal.SIGTERM)[0] == 0
    assert statuses(tmp_path).total() == 2000
    assert remind(stack, tmp_path, "--once").end()[0] == 0
    assert (told.messages, told.repeats) == (2000, 0)
    assert statuses(tmp_path) == {"sent": 2000}
