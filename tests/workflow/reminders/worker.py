"""A worker as its own process: beats until its standard input ends. `python worker.py INSTANCE LEASE_SECONDS`."""

from __future__ import annotations

import logging
import os
import select
import sys
from dataclasses import replace
from pathlib import Path

import structlog

from titrator.assembly import make_services
from titrator.scheduler import Reminding
from titrator.settings import Settings


def main(instance: str, lease_seconds: str) -> None:
    """Say that it is ready, and beat twenty times a second."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    database = os.environ.get("TITRATOR_DATABASE", "")
    services = make_services(Settings(instance=Path(instance), database=database))
    assert services.telling is not None
    services = replace(services, telling=replace(services.telling, lease_seconds=int(lease_seconds)))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    work = Reminding(services)
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        work()


if __name__ == "__main__":
    main(*sys.argv[1:])
