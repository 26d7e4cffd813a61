"""The metronome goes on when the clock is set, and stops between two messages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers import base

from tests.workflow.reminders.telling import Desk
from titrator import scheduler
from titrator.notify.base import Message
from titrator.scheduler import Reminding, behind, forever
from titrator.workflow.visit import Services

PATIENCE = 10  # seconds
EVERY = 0.02  # seconds


class Clock:
    """The clock of the computer, as the metronome sees it; it can be set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.off = timedelta()
        clock = self

        class Moved(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return cls.fromtimestamp((datetime.now(UTC) + clock.off).timestamp(), tz)

        monkeypatch.setattr(base, "datetime", Moved)
        monkeypatch.setattr(scheduler, "datetime", Moved)


class Calls:
    """Counts calls, which can be waited for."""

    def __init__(self) -> None:
        self.count = 0
        self._more = threading.Condition()

    def __call__(self) -> None:
        with self._more:
            self.count += 1
            self._more.notify_all()

    def come(self, more: int = 5) -> bool:
        """Whether so many more come while there is patience."""
        with self._more:
            wanted = self.count + more
            return self._more.wait_for(lambda: self.count >= wanted, PATIENCE)


@contextmanager
def running(*calls: tuple[Callable[[], object], float], now: datetime | None = None) -> Iterator[None]:
    made = behind(list(calls), now or datetime.now(UTC))
    try:
        yield
    finally:
        made.shutdown()


@pytest.mark.parametrize(
    "off", [timedelta(hours=-1), timedelta(days=-20000), timedelta(hours=1), timedelta(days=20000)]
)
def test_calls_go_on_when_the_clock_is_set(monkeypatch: pytest.MonkeyPatch, off: timedelta) -> None:
    """Also far ahead, as by a computer that began in 1970: it does not count through the calls of all the years."""
    clock, often, seldom = Clock(monkeypatch), Calls(), Calls()
    with running((often, EVERY), (seldom, 2 * EVERY)):
        assert often.come()
        clock.off = off
        assert often.come()
        assert seldom.come()
        clock.off = timedelta()
        assert often.come()
        assert seldom.come()


def test_no_wait_is_longer_than_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """APScheduler finds an hour to wait where the clock is set back while it looks through its jobs."""
    calls, processed = Calls(), base.BaseScheduler._process_jobs

    def an_hour(self: base.BaseScheduler) -> float:
        processed(self)
        return 3600.0

    monkeypatch.setattr(base.BaseScheduler, "_process_jobs", an_hour)
    with running((calls, EVERY)):
        assert calls.come()


def test_the_pace_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is called seldom is called no more often for what is called often, nor for a clock that was a little off."""
    clock, often, seldom = Clock(monkeypatch), Calls(), Calls()
    with running((often, 0.01), (seldom, 3600)):
        assert often.come(20)
        clock.off = timedelta(minutes=30)
        assert often.come(20)
        assert seldom.count == 1


@pytest.mark.parametrize("days", [-20000, 20000])
def test_the_first_call_is_at_once_whatever_now_is_said_to_be(days: int) -> None:
    calls = Calls()
    with running((calls, EVERY), now=datetime.now(UTC) + timedelta(days=days)):
        assert calls.come()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Five messages wait, each about another patient."""
    made = Desk(tmp_path)
    made.channel("ward", "pharmacist", "mailto://127.0.0.1:1/ward@example.org?from=titrator@example.org")
    for number in range(5):
        made.told(f"p{number}", "ward")
    assert list(made.statuses().values()) == ["waiting"] * 5
    return made


class Sent:
    """A channel that notes what it sends, and does something meanwhile."""

    def __init__(self, meanwhile: Callable[[int], None] = lambda _: None) -> None:
        self.ids: list[str] = []
        self._meanwhile = meanwhile

    def send(self, message: Message) -> None:
        self.ids.append(message.id)
        self._meanwhile(len(self.ids))

    def told_by(self, desk: Desk) -> Services:
        telling = desk.services.telling
        assert telling is not None
        return replace(desk.services, telling=replace(telling, open_channel=lambda *_: self))


def test_it_stops_between_two_messages(desk: Desk) -> None:
    """What is being sent is sent and marked; the others wait, and go out once their lease has run out."""

    def stop(sent: int) -> None:
        if sent == 2:
            reminding.stop()

    first = Sent(stop)
    reminding = Reminding(first.told_by(desk))
    assert reminding() is None
    assert len(first.ids) == 2
    assert sorted(desk.statuses().values()) == ["sent"] * 2 + ["waiting"] * 3
    assert not any(one.error or one.attempts > 1 for one in desk.deliveries)
    assert reminding() is None, "it has been stopped"
    assert len(first.ids) == 2

    desk.clock.on(minutes=10)
    second = Sent()
    Reminding(second.told_by(desk))()
    assert len(second.ids) == 3
    assert not set(first.ids) & set(second.ids)
    assert set(desk.statuses().values()) == {"sent"}


def test_forever_ends_at_once_and_not_after_the_backlog(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes while the first message is sent, as KeyboardInterrupt in the thread that waits."""
    sending, signalled = threading.Event(), threading.Event()

    def interrupted(self: scheduler.BlockingScheduler) -> None:
        self._process_jobs()
        assert sending.wait(PATIENCE)
        signalled.set()
        raise KeyboardInterrupt

    def meanwhile(_: int) -> None:
        sending.set()
        assert signalled.wait(PATIENCE)
        assert stopped.wait(PATIENCE)

    stopped, stop = threading.Event(), Reminding.stop

    def noted(self: Reminding) -> None:
        stop(self)
        stopped.set()

    sent = Sent(meanwhile)
    monkeypatch.setattr(scheduler.BlockingScheduler, "_main_loop", interrupted)
    monkeypatch.setattr(Reminding, "stop", noted)
    with pytest.raises(KeyboardInterrupt):
        forever(sent.told_by(desk), 3600)
    assert len(sent.ids) == 1
    assert sorted(desk.statuses().values()) == ["sent"] + ["waiting"] * 4, "what was being sent is marked"


def test_forever_ends_by_a_signal_that_apscheduler_takes_for_the_failure_of_a_job(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes while the job is handed to the thread that calls it, which APScheduler passes over."""
    signals: list[object] = []

    def interrupted(*_: object) -> None:
        signals.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadPoolExecutor, "submit_job", interrupted)
    sent = Sent()
    with pytest.raises(KeyboardInterrupt):
        forever(sent.told_by(desk), 3600, lambda: bool(signals))
    assert (len(signals), sent.ids) == (1, [])


def test_a_metronome_that_is_shut_down_stops_its_reminders(desk: Desk) -> None:
    sending, shut = threading.Event(), threading.Event()

    def meanwhile(_: int) -> None:
        sending.set()
        assert shut.wait(PATIENCE)

    sent = Sent(meanwhile)
    reminding = Reminding(sent.told_by(desk))
    made = behind([(reminding, 3600)], datetime.now(UTC))
    assert sending.wait(PATIENCE)
    assert not reminding.wait(0)
    made.shutdown(wait=False)
    shut.set()
    assert reminding.wait(PATIENCE)
    assert len(sent.ids) == 1
