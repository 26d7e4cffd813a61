"""The metronome: APScheduler calls what is to be done again and again. Nothing that must last lives in it.

What is due stands in the database, and whoever is called does it; any number of processes may have a metronome.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.schedulers.blocking import BlockingScheduler

from titrator.workflow.reminders.tell import Told
from titrator.workflow.reminders.work import beat
from titrator.workflow.visit import Services

S = TypeVar("S", bound=BaseScheduler)
#: A call that comes late is made all the same; several that have been missed are one.
_DEFAULTS: Final = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}


class Reminding:
    """Calls the reminders, and tells in the log what was done. A failure is told, and no reason to stop."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def __call__(self) -> Told | None:
        """Call once; None if it failed."""
        try:
            told = beat(self._services, self._services.clock)
        except Exception:  # noqa: BLE001 (whatever it is, the next call may go better)
            structlog.get_logger().exception("reminders")
            return None
        if any(told):
            structlog.get_logger().info("reminders", **told._asdict())
        return told


def forever(services: Services, seconds: int) -> None:
    """Call the reminders at once and every so many seconds, until the process is stopped."""
    _start(BlockingScheduler(job_defaults=_DEFAULTS), [(Reminding(services), seconds)], services.clock())


def behind(calls: list[tuple[Callable[[], object], float]], now: datetime) -> BackgroundScheduler:
    """Call each at once and every so many seconds, in threads of this process."""
    return _start(BackgroundScheduler(job_defaults=_DEFAULTS, daemon=True), calls, now)


def _start(scheduler: S, calls: list[tuple[Callable[[], object], float]], now: datetime) -> S:
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    for call, seconds in calls:
        scheduler.add_job(call, "interval", seconds=seconds, next_run_time=now)
    scheduler.start()
    return scheduler
