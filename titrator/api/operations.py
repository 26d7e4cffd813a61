"""What machines ask: is it alive, is it ready, what does it count. Nothing here says anything of patients."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Final, cast

import structlog
from flask import Blueprint, Response, current_app
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from titrator.door import door
from titrator.store.base import StoreError
from titrator.titration.documents import encode
from titrator.workflow.reminders.work import health

blueprint = Blueprint("operations", __name__)


class Metrics:
    """What is counted of one app."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        self.requests: Final = Counter(
            "titrator_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self.seconds: Final = Histogram(
            "titrator_request_seconds", "Time to answer.", ("method", "route"), registry=self.registry
        )
        self.broken: Final = Gauge(
            "titrator_self_test_faults",
            "Shipped protocols whose worked examples fail.",
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self._of: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request, and how long it took."""
        found = self._of.get((method, route, status))
        if found is None:
            found = self.requests.labels(method, route, status), self.seconds.labels(method, route)
            self._of[method, route, status] = found
        found[0].inc()
        found[1].observe(seconds)


def counts() -> Metrics:
    """What is counted of the app that answers now."""
    return cast(Metrics, current_app.extensions["titrator.metrics"])


@blueprint.get("/livez")
def livez() -> Response:
    """The process answers."""
    return Response('{"status": "alive"}', content_type="application/json")


@blueprint.get("/readyz")
def readyz() -> Response:
    """The database answers, its tables are of this version, and the shipped examples came out right.

    How the reminders are is told, too; a service whose reminders stand still answers all the same.
    """
    services = door().services
    checks = {"database": _database(), "self_test": "; ".join(services.broken) or "ok"}
    ready = all(says == "ok" for says in checks.values())
    body = {"status": "ready" if ready else "not ready", "checks": checks, "reminders": _reminders()}
    return Response(encode(body), status=200 if ready else 503, content_type="application/json")


@blueprint.get("/metrics")
def metrics() -> Response:
    """Counts for Prometheus, of all processes of this server together."""
    registry = counts().registry
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry) + _of_reminders(), content_type=CONTENT_TYPE_LATEST)


def _database() -> str:
    try:
        pending = door().services.store.pending()
    except (StoreError, OSError, RuntimeError) as error:
        structlog.get_logger().exception("database", error=str(error))
        return "does not answer"
    return f"to be migrated: {', '.join(pending)}" if pending else "ok"


def _reminders() -> dict[str, object] | None:
    """How the reminders are; None where the database does not tell."""
    services = door().services
    try:
        now = services.clock()
        found = health(services.store, now)
    except (StoreError, OSError, RuntimeError):
        return None
    silent = None if found.beat_at is None else int((now - datetime.fromisoformat(found.beat_at)).total_seconds())
    return {"beat_seconds_ago": silent, **found._asdict()}


def _of_reminders() -> bytes:
    """Gauges of the reminders, read from the database: they are of the installation, not of a process."""
    registry = CollectorRegistry()
    for name, value in (_reminders() or {}).items():
        if isinstance(value, int):
            registry.register(_Told(f"titrator_reminders_{name}", _SAYS[name], value))
    return generate_latest(registry)


class _Told(Collector):
    """A gauge whose value is known already, and which no file of this process has to keep."""

    def __init__(self, name: str, says: str, value: int) -> None:
        self._family = GaugeMetricFamily(name, says, value=value)

    def collect(self) -> list[GaugeMetricFamily]:
        return [self._family]


_SAYS: Final = {
    "beat_seconds_ago": "Seconds since a worker of the reminders gave a sign.",
    "due": "Messages that are due.",
    "sent": "Messages that have been sent, ever.",
    "late": "Messages that have been due for ten minutes.",
    "dead": "Messages that were given up, and that nobody has seen to.",
    "oldest_seconds": "Seconds since the oldest message that is due was made.",
    "silent_clinics": "Clinics that have something to be reminded of, and no channel in use.",
}
