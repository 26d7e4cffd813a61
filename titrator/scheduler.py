"""The metronome: APScheduler calls what is to be done again and again. Nothing that must last lives in it.

What is due stands in the database, and whoever is called does it; any number of processes may have a metronome.

APScheduler goes by the clock of the computer, and when that is set back would wait until it has come round again. Here
no wait is longer than an interval, and no next call further away than that.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol, TypeVar, runtime_checkable

import structlog
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers import background, blocking
from apscheduler.schedulers.base import BaseScheduler

from titrator.bulk.intake.jobs import work_off
from titrator.notify.base import Channel, Message
from titrator.workflow.reminders.tell import Told
from titrator.workflow.reminders.work import beat
from titrator.workflow.visit import Services

S = TypeVar("S", bound=BaseScheduler)
#: A call that comes late is made all the same; several that have been missed are one.
_DEFAULTS: Final = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
#: How long the send that has begun may go on when the process ends, to be marked as sent: longer than its deadline.
_LAST_SEND_SECONDS: Final = 35.0


class _Stopped(BaseException):
    """No further message is to be sent. Not an Exception: nobody shall take it for a failure of the channel."""


@dataclass(frozen=True, slots=True)
class _Stoppable:
    """A channel that sends until it is stopped."""

    channel: Channel
    stopping: threading.Event

    def send(self, message: Message) -> None:
        """Send a message, unless there is to be an end."""
        if self.stopping.is_set():
            raise _Stopped
        self.channel.send(message)


class Reminding:
    """Calls the reminders, and tells in the log what was done. A failure is told, and no reason to stop."""

    def __init__(self, services: Services) -> None:
        self._stopping = threading.Event()
        self._called = threading.Lock()
        self._services = services
        if telling := services.telling:
            own = replace(telling, open_channel=lambda *given: _Stoppable(telling.open_channel(*given), self._stopping))
            self._services = replace(services, telling=own)

    def __call__(self) -> Told | None:
        """Call once; None if it failed, or was stopped."""
        if self._stopping.is_set():
            return None
        with self._called:
            try:
                told = beat(self._services, self._services.clock, lambda: not self._stopping.is_set())
            except _Stopped:
                structlog.get_logger().info("reminders-stopped")
                return None
            except Exception:  # noqa: BLE001 (whatever it is, the next call may go better)
                structlog.get_logger().exception("reminders")
                return None
        if any(told):
            structlog.get_logger().info("reminders", **told._asdict())
        return told

    def stop(self) -> None:
        """Begin nothing more: what is being sent is sent and marked, the rest is for others, or for later."""
        self._stopping.set()

    def wait(self, seconds: float) -> bool:
        """Wait until no call is under way, so many seconds at most; whether none is."""
        if ended := self._called.acquire(timeout=seconds):
            self._called.release()
        return ended


class Importing:
    """Calls the imports, and tells in the log what failed. A failure is no reason to stop."""

    def __init__(self, services: Services) -> None:
        self._stopping = threading.Event()
        self._services = services

    def __call__(self) -> int | None:
        """Work off what there is; how many imports have ended, None if it failed."""
        try:
            return work_off(self._services, self._stopping.wait)
        except Exception:  # noqa: BLE001 (whatever it is, the next call may go better)
            structlog.get_logger().exception("imports")
            return None

    def stop(self) -> None:
        """Begin nothing more: what is recorded is recorded, the rest is for others, or for later."""
        self._stopping.set()


@runtime_checkable
class Stoppable(Protocol):
    """What is called, and begins nothing more once it is stopped."""

    def stop(self) -> None:
        """Begin nothing more."""
        ...


class _Steady(BaseScheduler):  # type: ignore[misc]
    """Calls at intervals, whatever happens to the clock of the computer; when it is shut down, it stops its calls."""

    def shutdown(self, *arguments: object, **more: object) -> None:
        """Shut down; what is called and can be stopped begins nothing more."""
        for job in self.get_jobs():
            if isinstance(job.func, Stoppable):
                job.func.stop()
        super().shutdown(*arguments, **more)

    def _process_jobs(self) -> float | None:
        """Call what is due; how many seconds to wait.

        What should be called later than in an interval is due: the clock was set back. What should have been called
        longer ago than that is due once: APScheduler would count through all the calls between.
        """
        now, jobs = datetime.now(self.timezone), self.get_jobs()
        for job in jobs:
            if not now - job.trigger.interval <= job.next_run_time <= now + job.trigger.interval:
                with suppress(JobLookupError):  # it was taken out meanwhile
                    job.modify(next_run_time=now)
        seconds: float | None = super()._process_jobs()
        intervals = [job.trigger.interval.total_seconds() for job in jobs]
        return seconds if seconds is None else min([seconds, *intervals])


class BlockingScheduler(_Steady, blocking.BlockingScheduler):  # type: ignore[misc]
    """APScheduler's, in the foreground, until it is `told` to end.

    That an interrupt says so is not enough: where it comes in the midst of calling a job, APScheduler takes it for a
    failure of the job, and goes on.
    """

    told: Callable[[], bool]

    def _process_jobs(self) -> float | None:
        seconds: float | None = super()._process_jobs()
        if self.told():
            raise KeyboardInterrupt
        return seconds


class BackgroundScheduler(_Steady, background.BackgroundScheduler):  # type: ignore[misc]
    """APScheduler's, in a thread of its own."""


def forever(services: Services, seconds: int, told: Callable[[], bool] = lambda: False) -> None:
    """Call the reminders at once and every so many seconds, until the process is stopped, or it is `told` to end.

    What stops it, such as KeyboardInterrupt, passes through once the message that is being sent is marked.
    """
    reminding, scheduler = Reminding(services), BlockingScheduler(job_defaults=_DEFAULTS)
    scheduler.told = told
    try:
        _start(scheduler, [(reminding, seconds)], services.clock())
    finally:
        reminding.stop()
        if scheduler.running:
            scheduler.shutdown(wait=False)
        reminding.wait(_LAST_SEND_SECONDS)


def behind(calls: list[tuple[Callable[[], object], float]], now: datetime) -> background.BackgroundScheduler:
    """Call each at once and every so many seconds, in threads of this process."""
    return _start(BackgroundScheduler(job_defaults=_DEFAULTS, daemon=True), calls, now)


def _start(scheduler: S, calls: list[tuple[Callable[[], object], float]], now: datetime) -> S:
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    for call, seconds in calls:
        scheduler.add_job(call, "interval", seconds=seconds, next_run_time=now)
    scheduler.start()
    return scheduler
