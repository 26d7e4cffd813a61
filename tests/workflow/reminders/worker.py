"""A worker as its own process: beats until its standard input ends. `python worker.py INSTANCE LEASE_SECONDS`."""

from __future__ import annotations

import logging
import select
import sys
from dataclasses import replace
from pathlib import Path

import structlog

from titrator.assembly import make_services
from titrator.settings import Settings
from titrator.workflow.reminders.work import beat


def main(instance: str, lease_seconds: str) -> None:
    """Say that it is ready, and beat twenty times a second."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    services = make_services(Settings(instance=Path(instance)))
    assert services.telling is not None
    services = replace(services, telling=replace(services.telling, lease_seconds=int(lease_seconds)))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        beat(services, services.clock)


if __name__ == "__main__":
    main(*sys.argv[1:])
