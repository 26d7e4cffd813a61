"""A real server on a real database: gunicorn as an installation runs it, on the demonstration of a week ago.

The server has the clock of the machine, so this is the one place that asks what time it is: the demonstration is
made as of seven days before, and what is recorded of the week since is dated up to today. If that day ends at a clinic
while a test runs, what is recorded is still right, but a decision is refused: one decides upon the proposal of the day.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest

from tests.backends import database_for
from titrator.assembly import make_services
from titrator.settings import Settings
from titrator.titration.documents import encode, exact
from titrator.workflow.demonstration import Furnished, furnish
from titrator.workflow.visit import Services

ROOT = Path(__file__).parents[2]
WEEK = timedelta(weeks=1)
#: Limits that no test meets by accident.
ENVIRONMENT = {
    "TITRATOR_REQUESTS_PER_MINUTE": "1000000",
    "TITRATOR_LOGINS_PER_MINUTE": "10000",
    "TITRATOR_LOG_LEVEL": "warning",
}
PATIENCE = 60  # seconds
#: gunicorn, whose first process reads in the program once for all that it starts, as that of `titrator serve` does.
GUNICORN = (sys.executable, "-c", "import titrator.app, gunicorn.app.wsgiapp; gunicorn.app.wsgiapp.run()")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that runs, at `url`; `services` open its database from the process of the test.

    `now` is when it was started.
    """

    furnished: Furnished
    services: Services
    settings: Settings
    now: datetime
    url: str
    clients: Mapping[str, httpx.Client]

    def ask(self, role: str, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        """What the server answers to the account of a role; keywords are headers, with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is None:
            return self.clients[role].request(method, path, headers=named)
        text = body if isinstance(body, bytes) else encode(exact(body)).encode()
        return self.clients[role].request(
            method, path, content=text, headers={"Content-Type": "application/json", **named}
        )

    def today(self, zone: str) -> date:
        """The day at a clinic when the server was started."""
        return self.now.astimezone(ZoneInfo(zone)).date()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gunicorn of two processes on an instance of its own."""
    with serving(tmp_path_factory.mktemp("instance"), WEEK) as running:
        yield running


@contextmanager
def serving(folder: Path, ago: timedelta) -> Iterator[Server]:
    """A server on an instance in a folder that is empty, with the demonstration made as of so long ago."""
    settings = Settings(instance=folder, database=database_for(folder))
    services = make_services(settings)
    now = services.clock()
    furnished = furnish(replace(services, clock=lambda: now - ago))
    with ExitStack() as stack:
        stack.callback(services.store.close)
        url = stack.enter_context(_Gunicorn(folder, settings.database))
        clients = {
            login.role: stack.enter_context(
                httpx.Client(
                    base_url=f"{url}/api/v1",
                    headers={"Authorization": f"Bearer {login.token}"},
                    timeout=PATIENCE,
                    trust_env=False,
                )
            )
            for login in furnished.logins
        }
        yield Server(furnished=furnished, services=services, settings=settings, now=now, url=url, clients=clients)


class _Gunicorn:
    """The server, as a context that gives its URL; it must end by itself when it is asked to."""

    def __init__(self, instance: Path, database: str) -> None:
        self.instance = instance
        self.database = database

    def __enter__(self) -> str:
        """Listen before the server is there: a request waits until it is."""
        with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
            port = listening.getsockname()[1]
            bind = ["--bind", f"fd://{listening.fileno()}", "--worker-class", "gthread"]
            # Whoever waits for others is idle meanwhile; a connection that is closed just then would fail the test.
            settings = [
                "--workers",
                "2",
                "--threads",
                "4",
                "--keep-alive",
                "60",
                "--graceful-timeout",
                "10",
                "wsgi:app",
            ]
            with (self.instance / "server.log").open("wb") as log:
                self.process = subprocess.Popen(
                    [*GUNICORN, *bind, *settings],
                    cwd=ROOT,
                    env={
                        **os.environ,
                        **ENVIRONMENT,
                        "TITRATOR_INSTANCE": str(self.instance),
                        "TITRATOR_DATABASE": self.database,
                        "TITRATOR_BASE_URL": f"http://127.0.0.1:{port}",
                    },
                    pass_fds=[listening.fileno()],
                    stdout=log,
                    stderr=log,
                )
        url = f"http://127.0.0.1:{port}"
        try:
            ready = httpx.get(f"{url}/readyz", timeout=PATIENCE, trust_env=False)
            assert ready.status_code == 200, ready.text
        except (httpx.HTTPError, AssertionError) as error:
            self.__exit__()
            error.add_note((self.instance / "server.log").read_text(encoding="utf-8"))
            raise
        return url

    def __exit__(self, *_: object) -> None:
        """Ask it to end, and see that it does."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        assert code == 0, (self.instance / "server.log").read_text(encoding="utf-8")
