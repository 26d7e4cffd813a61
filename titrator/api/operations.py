"""What machines ask: is it alive, is it ready, what does it count. Nothing here says anything of patients."""

from __future__ import annotations

import os
from typing import Final

import structlog
from flask import Blueprint, Response, current_app
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from titrator.api.door import door
from titrator.store.base import StoreError
from titrator.titration.documents import encode

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


@blueprint.get("/livez")
def livez() -> Response:
    """The process answers."""
    return Response('{"status": "alive"}', content_type="application/json")


@blueprint.get("/readyz")
def readyz() -> Response:
    """The database answers, its tables are of this version, and the shipped examples came out right."""
    services = door().services
    checks = {"database": _database(), "self_test": "; ".join(services.broken) or "ok"}
    ready = all(says == "ok" for says in checks.values())
    body = {"status": "ready" if ready else "not ready", "checks": checks}
    return Response(encode(body), status=200 if ready else 503, content_type="application/json")


@blueprint.get("/metrics")
def metrics() -> Response:
    """Counts for Prometheus, of all processes of this server together."""
    registry: CollectorRegistry = current_app.extensions["titrator.metrics"].registry
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _database() -> str:
    try:
        pending = door().services.store.pending()
    except (StoreError, OSError, RuntimeError) as error:
        structlog.get_logger().exception("database", error=str(error))
        return "does not answer"
    return f"to be migrated: {', '.join(pending)}" if pending else "ok"
