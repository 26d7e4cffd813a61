"""A server of the service for these tests: a real one, on a port of this machine, over an instance of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from werkzeug.serving import make_server

from titrator.app import create_app
from titrator.assembly import make_services
from titrator.security.permissions import PERMISSIONS, Role
from titrator.settings import Settings
from titrator.store.records import Clinic
from titrator.workflow import accounts, record
from titrator.workflow.demonstration import furnish
from titrator.workflow.visit import Actor, Services, Visit, leave

#: A Monday, the day on which the examples of docs/rest.md were run.
NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
PASSWORD = "correct horse battery staple"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Where it answers, a bearer token of each role, the ids of its two clinics, and the services behind it.

    All accounts are of the first clinic.
    """

    url: str
    tokens: Mapping[Role, str]
    clinic: str
    other_clinic: str
    services: Services

    def call(self, role: Role | None, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        """The response to a request; `If_Match` names the header If-Match."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if role is not None:
            named["Authorization"] = f"Bearer {self.tokens[role]}"
        if body is not None:
            named["Content-Type"] = "application/json"
        content = None if body is None else json.dumps(body)
        return httpx.request(method, f"{self.url}/api/v1{path}", content=content, headers=named)

    def patient(self, **more: Any) -> str:
        """The path of a new patient."""
        body = {"clinic": self.clinic, "family_name": "Muster", "given_name": "Eva", "born_on": "1960-05-01"}
        return f"/patients/{self.call(Role.PHARMACIST, 'POST', '/patients', body | more).json()['id']}"


@contextmanager
def serving(instance: Path, *, demonstration: bool = False) -> Iterator[Served]:
    """A server while it runs; its clock stands still. It may be one as `titrator serve --demo` furnishes it."""
    settings = Settings(instance=instance, log_level="error")
    services = replace(make_services(settings), clock=lambda: NOW)
    tokens, clinics = _furnished(services) if demonstration else _prepared(services)
    server = make_server("127.0.0.1", 0, create_app(settings, services), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Served(
            url=f"http://127.0.0.1:{server.server_port}",
            tokens=tokens,
            clinic=clinics[0],
            other_clinic=clinics[1],
            services=services,
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        services.store.close()


def _furnished(services: Services) -> tuple[dict[Role, str], list[str]]:
    made = furnish(services)
    tokens = {Role(login.role): login.token for login in made.logins}
    with services.store.reading() as session:
        others = [clinic.id for clinic in session.find(Clinic) if clinic.id != made.clinic]
    return tokens, [made.clinic, *others]


def _prepared(services: Services) -> tuple[dict[Role, str], list[str]]:
    actor = Actor("setup", "setup", Role.ADMIN, frozenset(), PERMISSIONS[Role.ADMIN])
    tokens = {}
    with services.store.writing() as session:
        visit = Visit(services=services, session=session, actor=actor, now=services.clock())
        ours = {"name": "Haematology day clinic", "time_zone": "Europe/Berlin", "injection_days": ["monday"]}
        theirs = {"name": "Another clinic", "time_zone": "America/New_York"}
        clinics = [record.add_clinic(visit, body).id for body in (ours, theirs)]
        for role in Role:
            mine = [] if role is Role.ADMIN else clinics[:1]
            body = {"username": role, "display_name": role.title(), "role": role, "clinics": mine}
            account, invited = accounts.add_account(visit, body)
            if invited:
                accounts.activate(visit, invited.secret, PASSWORD)
            tokens[role] = accounts.issue_token(visit, account.id, {"label": "tests", "days": 2}).secret
        leave(visit, session, visit.entries)
    return tokens, clinics
