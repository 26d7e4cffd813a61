"""The web server: gunicorn with threads, in the settings of the installation.

The first process opens and migrates the database before there are others, and holds nothing of it when they start; it
hears signals and replaces a process that dies. The protocols, too, are read and tested before, so that all of them have
the same, one that is started later as well. Each of the others has an app, a store and a metronome of its own, which
asks once in a while whether the day's housekeeping is due, and calls the reminders.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.http.errors import ParseException
from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import PollableMethodQueue, ThreadWorker
from prometheus_client import values

from titrator.app import create_app
from titrator.assembly import awaited_services
from titrator.logs import configure_logs
from titrator.protocols import Catalogue
from titrator.scheduler import Importing, Reminding, behind
from titrator.settings import Settings
from titrator.workflow.housekeeping import keep_house, settle_now
from titrator.workflow.visit import Services

GRACEFUL_SECONDS: Final = 30
#: Longer than a proxy keeps a connection open (nginx: 60), so that none is closed as a request comes in.
_KEEP_ALIVE_SECONDS: Final = 75
#: How long a message that is being sent may take where the service is ended at once.
_LAST_SEND_SECONDS: Final = 5.0
_STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_ASKS_EVERY: Final = 300.0  # seconds
_IMPORTS_EVERY: Final = 5.0  # seconds
_WARM_UP_AFTER: Final = 15.0  # seconds: who waits for the service to be there comes first
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 (the heartbeats of gunicorn must not wait for a disk)


def serve(settings: Settings, catalogue: Catalogue, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until a signal ends it: SIGTERM gracefully, SIGINT at once. The database must be there and migrated.

    The catalogue is that of services that were made before, which has read and tested all protocols. `ready` is called
    once signals are heard.
    """
    configure_logs(settings.log_level)
    first = os.getpid()
    counts = tempfile.mkdtemp(prefix="titrator-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = counts
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
    try:
        _Server(settings, catalogue, listener.detach(), Path(counts), ready).run()
    finally:
        if os.getpid() == first:  # the others come by here, too, when they end
            shutil.rmtree(counts, ignore_errors=True)


class _Arbiter(Arbiter):  # type: ignore[misc]
    """The first process. It lets no signal to stop reach a new process before that can hear it.

    Such a signal would be lost, and the end of the service wait for the process until it is killed.
    """

    def spawn_worker(self) -> object:
        """Start a process, in which `load` lets signals in."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        try:
            return super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)


class _Calls(PollableMethodQueue):  # type: ignore[misc]
    """What threads have the loop of their process do. Its pipe stays open until the process ends.

    A thread that is still at its request when the loop has ended writes a byte into it: into whatever file was opened
    with that number meanwhile, had it been closed, and be it the database.
    """

    def close(self) -> None:
        """Leave it open."""


class _Worker(ThreadWorker):  # type: ignore[misc]
    """One of the others. Told to end at once, it ends from its loop, not in the midst of whatever it is doing.

    gunicorn's own takes a lock as it hears the signal, and waits for itself if it was just about to hand a request to
    a thread: it would have to be killed.
    """

    def __init__(self, *arguments: object, **more: object) -> None:
        super().__init__(*arguments, **more)
        self.method_queue = _Calls()
        self.at_once = False

    def handle_exit(self, sig: int, frame: object) -> None:
        """End gracefully; while it starts, as when it waits for the database, there is nothing to be graceful to."""
        if not self.booted:
            Worker.handle_quit(self, sig, frame)
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: object) -> None:
        """End at once; while it starts there is no loop yet, and no thread."""
        if not self.booted:
            Worker.handle_quit(self, sig, frame)
        self.alive, self.at_once = False, True
        self.method_queue.defer(sys.exit)


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, told everything here: it reads no file, no command line and no environment of its own."""

    def __init__(
        self, settings: Settings, catalogue: Catalogue, listener: int, counts: Path, ready: Callable[[], None]
    ) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self.ready = ready
        self.listener = listener
        self.counts = counts
        self.metronome: BackgroundScheduler | None = None
        self.reminding: Reminding | None = None
        super().__init__()

    def run(self) -> None:
        _Arbiter(self).run()

    def load_config(self) -> None:
        for name, value in {
            "bind": f"fd://{self.listener}",
            "worker_class": _Worker,
            "workers": self.settings.workers,
            "threads": self.settings.threads,
            "graceful_timeout": GRACEFUL_SECONDS,
            "keepalive": _KEEP_ALIVE_SECONDS,
            "worker_tmp_dir": str(_SHARED_MEMORY) if os.access(_SHARED_MEMORY, os.W_OK) else None,
            "umask": 0o077,
            "forwarded_allow_ips": "",  # trusted_proxies says whom to believe, in the app
            "control_socket_disable": True,
            "logger_class": _Log,
            "loglevel": self.settings.log_level,
            "when_ready": self._tell,
            "post_worker_init": self._begin,
            "worker_exit": self._end,
            "child_exit": self._forget,
        }.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """The app of one process, with services of its own."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
        self.services = awaited_services(self.settings, self.catalogue)
        app = create_app(self.settings, self.services, gathers=True)
        app.wsgi_app = partial(_with_body, app.wsgi_app)  # type: ignore[method-assign]
        return app

    def _tell(self, first: object) -> None:
        del first
        self.ready()
        sys.stdout.flush()  # or each process that is started would write it again

    def _begin(self, worker: object) -> None:
        del worker
        self.warming = threading.Timer(_WARM_UP_AFTER, _warm_up)  # or the first chart waits for what it draws with
        self.warming.daemon = True
        self.warming.start()
        calls: list[tuple[Callable[[], object], float]] = [
            (Housekeeper(self.services, self.settings.seals), _ASKS_EVERY),
            (Importing(self.services), _IMPORTS_EVERY),
        ]
        if self.settings.reminder_seconds:
            self.reminding = Reminding(self.services)
            calls.append((self.reminding, self.settings.reminder_seconds))
        self.metronome = behind(calls, self.services.clock())

    def _end(self, first: object, worker: Any) -> None:
        """Begin nothing more; at once, requests are broken off, but not a message that is being sent."""
        del first
        if self.metronome is not None:
            self.metronome.shutdown(wait=False)
        if worker.at_once:
            if self.reminding is not None:
                self.reminding.wait(_LAST_SEND_SECONDS)
            os._exit(0)

    def _forget(self, first: object, worker: Any) -> None:
        """Gauges of a process that is no more must not be counted."""
        del first
        for file in self.counts.glob(f"gauge_live*_{worker.pid}.db"):
            file.unlink(missing_ok=True)


def _warm_up() -> None:
    """Have what draws charts ready."""
    from titrator.web.charts import warm_up  # noqa: PLC0415 (as in web/patients.py)

    warm_up()


def _with_body(app: Callable[..., Any], environ: dict[str, Any], start_response: Any) -> Any:
    """An app that is given a body of which what cannot be read is told as what has broken off."""
    environ["wsgi.input"] = _Body(environ["wsgi.input"])
    return app(environ, start_response)


class _Body:
    """A body as gunicorn reads it; one that is wrongly cut into chunks is the fault of who sends it, not ours."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def read(self, *size: int) -> Any:
        """Some of it; raises OSError."""
        try:
            return self._body.read(*size)
        except ParseException:
            raise OSError("a body that cannot be read") from None


class Housekeeper:
    """Asks whether housekeeping is due, as often as it is called; tells what came of it in the log."""

    def __init__(self, services: Services, seals: Path) -> None:
        self._stopping = threading.Event()
        self._services = services
        self._seals = seals

    def stop(self) -> None:
        """Begin nothing more: who is not settled yet is settled later, or elsewhere."""
        self._stopping.set()

    def __call__(self) -> None:
        """Ask once. A failure is told, and no reason to stop: the next time may be better."""
        now = self._services.clock()
        try:
            settled = settle_now(self._services, now, lambda: not self._stopping.is_set())
            done = keep_house(self._services, self._seals, now)
        except Exception:  # noqa: BLE001 (whatever it is, doses are asked for meanwhile)
            structlog.get_logger().exception("housekeeping")
            return
        if settled:
            structlog.get_logger().info("settled", patients=settled)
        if done is not None:
            sealed = done.sealed and done.sealed.name
            structlog.get_logger().info("housekeeping", sealed=sealed, answers=done.answers, tokens=done.tokens)


def _tell(method: str) -> Callable[..., None]:
    def tell(self: object, message: object, *values: object, **_: object) -> None:
        del self
        getattr(structlog.get_logger(), method)("gunicorn", said=_said(str(message), values))

    return tell


def _said(message: str, values: tuple[object, ...]) -> str:
    """What gunicorn says, without what it quotes of a request: that may name a patient."""
    if message.startswith("Invalid request"):
        return "Invalid request"
    if message.startswith("Error handling request"):
        return "Error handling request"
    return message % values if values else message


class _Log(Logger):  # type: ignore[misc]
    """What gunicorn says, in our log; requests are not among it, for the app tells them without naming patients."""

    critical = _tell("critical")
    error = _tell("error")
    warning = _tell("warning")
    info = _tell("debug")
    debug = _tell("debug")
    exception = _tell("exception")

    def access(self, *_: object) -> None:
        """Say nothing: the app does."""
