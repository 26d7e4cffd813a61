"""create_app(settings, services): the Flask app, with every door of the service."""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import IO, Any, Final, cast

import structlog
from flask import Flask, Request, Response, g, request
from werkzeug.exceptions import NotFound, RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.utils import cached_property
from werkzeug.wsgi import LimitedStream

from titrator.api import (
    accounts,
    audit,
    channels,
    clinics,
    courses,
    decisions,
    evidence,
    facts,
    feedback,
    imports,
    operations,
    patients,
    protocols,
    recommend,
    reminders,
    responses,
    results,
)
from titrator.api.problems import http_response, invalid_response, problem, refusal_response
from titrator.api.spec import make_api
from titrator.api.wire import ExactJSON
from titrator.assembly import awaited_services
from titrator.door import Door
from titrator.fhir import hooks, smart
from titrator.fhir import routes as fhir
from titrator.hl7 import http as hl7
from titrator.logs import configure_logs
from titrator.security.assertions import Assertions, Client
from titrator.security.limits import Limit
from titrator.settings import Settings
from titrator.titration.errors import InvalidInput
from titrator.web import site
from titrator.workflow import trail
from titrator.workflow.errors import Code, Refusal
from titrator.workflow.standing import settle
from titrator.workflow.visit import Services

PREFIX: Final = "/api/v1"
LARGEST_BODY: Final = 1_000_000
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_GATHER_SECONDS: Final = 1.0
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
#: Nothing is loaded from elsewhere; a page may run our own scripts, but none within it.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class _Body(LimitedStream):
    """A body of no more than a length. Read at once, one that is longer is refused, and not cut to that length.

    Of one that comes in chunks the length is not known before.
    """

    def readall(self) -> bytes:
        """All of it; raises RequestEntityTooLarge."""
        found = super().readall()
        if self.is_exhausted and self._stream.read(1):
            raise RequestEntityTooLarge
        return found


class _Request(Request):
    """A request of whose body nothing is cut off."""

    @cached_property
    def stream(self) -> IO[bytes]:
        """Its body."""
        made, most = super().stream, self.max_content_length
        if most is None or "wsgi.input_terminated" not in self.environ:
            return made
        return cast("IO[bytes]", _Body(self.environ["wsgi.input"], most, is_max=True))


class _App(Flask):
    """Flask, without a look at each function that it calls, whether it is a coroutine: none is."""

    request_class = _Request

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself."""
        return func


def create_app(settings: Settings, services: Services | None = None, *, gathers: bool | None = None) -> Flask:
    """The app of an installation, with services made from its settings unless others are given.

    Whether it `gathers` what waits in the spool, in a thread; by default, with services of its own.
    """
    configure_logs(settings.log_level)
    app = _App("titrator", instance_path=str(settings.instance))
    app.config.update(MAX_CONTENT_LENGTH=LARGEST_BODY, MAX_FORM_MEMORY_SIZE=LARGEST_BODY)
    app.json = ExactJSON(app)
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    app.extensions["titrator"] = Door(
        services=services or awaited_services(settings),
        requests=Limit(max(1, settings.requests_per_minute // settings.workers)),
        logins=Limit(max(1, settings.logins_per_minute // settings.workers)),
    )
    if gathers or (gathers is None and services is None):
        _gather_behind(app)
    app.extensions["titrator.metrics"] = metrics = operations.Metrics()
    metrics.broken.set(len(app.extensions["titrator"].services.broken))
    _watch(app)
    _refuse(app)
    api = make_api(app)
    for room in (
        recommend,
        protocols,
        clinics,
        patients,
        responses,
        courses,
        facts,
        results,
        imports,
        decisions,
        evidence,
        reminders,
        channels,
        accounts,
        audit,
        feedback,
    ):
        api.register_blueprint(room.blueprint, url_prefix=PREFIX)
    api.register_blueprint(imports.tables, url_prefix=PREFIX)
    app.register_blueprint(operations.blueprint)
    app.register_blueprint(reminders.subscriptions)
    site.add_to(app, app.extensions["titrator"].services)
    app.register_blueprint(fhir.blueprint)
    smart.add_to(app, settings.base_url)
    app.register_blueprint(hl7.blueprint)
    hooks.add_to(
        app,
        hooks.Terms(
            assertions=Assertions(Client(*one) for one in settings.cds_clients),
            base_url=settings.base_url,
            protocols=settings.offered_protocols,
            fhir_servers=settings.known_fhir_servers,
            origins=settings.allowed_origins,
        ),
    )
    return app


def _watch(app: Flask) -> None:
    """Give each request an id, count it, and say how it went: by route, never by path, for paths name patients."""
    log = structlog.get_logger().bind()

    @app.before_request
    def begin() -> None:
        named = request.headers.get("X-Request-Id", "")
        g.request_id = named if _REQUEST_ID.fullmatch(named) else secrets.token_hex(8)
        g.began = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        rule, method, headers = request.url_rule, request.method, response.headers
        route = rule.rule if rule else "none"
        took = time.perf_counter() - g.began
        if method not in _METHODS:
            method = "OTHER"
        operations.counts().count(method, route, response.status_code, took)
        if "Cache-Control" not in headers:
            headers.add("Cache-Control", "no-store")
        headers.add("X-Request-Id", g.request_id)
        headers.add("X-Content-Type-Options", "nosniff")
        headers.setdefault("Referrer-Policy", "no-referrer")
        if headers.get("Content-Type", "").startswith("text/html"):
            headers.setdefault("Content-Security-Policy", _POLICY)
        if request.is_secure:
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        actor = g.get("actor")
        log.info(
            "request",
            request=g.request_id,
            method=method,
            route=route,
            status=response.status_code,
            milliseconds=round(took * 1000, 1),
            account=actor and actor.account_id,
        )
        return response


def _gather_behind(app: Flask) -> None:
    """Once a second, from a process's first request on: gather what waits in the spool, keep what was computed."""
    services: Services = app.extensions["titrator"].services
    running: set[int] = set()
    lock = threading.Lock()

    def gather() -> None:
        while True:
            time.sleep(_GATHER_SECONDS)
            try:
                trail.gather(services)
                settle(services, [services.unkept.popleft() for _ in range(len(services.unkept))], services.clock())
            except Exception:  # noqa: BLE001 (whatever it was, the lines are still there, and the next round tries again)
                structlog.get_logger().exception("gather")

    @app.before_request
    def begin() -> None:
        if os.getpid() not in running:
            with lock:
                if os.getpid() not in running:
                    running.add(os.getpid())
                    threading.Thread(target=gather, name="gather", daemon=True).start()


def _refuse(app: Flask) -> None:
    app.register_error_handler(Refusal, refusal_response)
    app.register_error_handler(InvalidInput, invalid_response)

    @app.errorhandler(HTTPStatus.NOT_FOUND)
    def missing(error: NotFound) -> Any:
        return http_response(error) if site.is_for_programs(request.path) else site.missing()

    @app.errorhandler(Exception)
    def unforeseen(error: Exception) -> Any:
        structlog.get_logger().error("unforeseen", request=g.get("request_id"), exc_info=error)
        detail = "Something went wrong here. It has been written down under the request id."
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, Code.INTERNAL, detail)
