"""No answer is sent before what it tells of is kept: commit first, then the response, and no 201 without a commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from titrator.app import create_app
from titrator.assembly import make_services
from titrator.security.permissions import PERMISSIONS, Role
from titrator.settings import Settings
from titrator.store.base import Session, Store
from titrator.store.records import AuditRow, Fact
from titrator.store.spool import Spool
from titrator.store.sqlite import SqliteStore
from titrator.store.together import Step
from titrator.workflow import accounts, record, trail
from titrator.workflow.visit import Actor, Visit, leave

SYNCHRONOUS = {1: "normal", 2: "full"}


@dataclass
class Watched:
    """A store, and what happened in it, in order, each commit with its durability; `fails` makes commits impossible."""

    store: Store
    happened: list[str] = field(default_factory=list)
    fails: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Session]:
        with self.store.writing(durable=durable) as session:
            connection = session._connection  # type: ignore[attr-defined]
            mode = SYNCHRONOUS[connection.execute("pragma synchronous").fetchone()[0]]
            yield session
            if self.fails:
                connection.execute("rollback")  # so that the commit that follows has nothing to commit, and fails
        self.happened.append(f"kept {mode}")

    def carry_out(self, step: Step) -> None:
        self.store._together.carry_out(step, self.writing)  # type: ignore[attr-defined]


class WatchedSpool(Spool):
    """A spool that tells what happens, or has no room."""

    fails = False
    happened: list[str]

    def append(self, lines: str) -> None:
        if self.fails:
            raise OSError("no room")
        super().append(lines)
        self.happened.append("set aside")


class House:
    """An app over a watched store, a pharmacist who asks, and a patient."""

    def __init__(self, folder: Path) -> None:
        settings = Settings(instance=folder, log_level="error")
        made = make_services(settings)
        self.watched = Watched(made.store)
        self.spool = WatchedSpool(folder / "spool")
        self.spool.happened = self.watched.happened
        self.services = services = replace(made, store=self.watched, spool=self.spool)  # type: ignore[arg-type]
        with made.store.writing() as session:
            boot = Actor("boot", "boot", Role.ADMIN, frozenset(), PERMISSIONS[Role.ADMIN])
            visit = Visit(services=services, session=session, actor=boot, now=services.clock())
            clinic = record.add_clinic(visit, {"name": "C", "time_zone": "UTC"}).id
            body: dict[str, object] = {"username": "e", "display_name": "E", "role": "pharmacist", "clinics": [clinic]}
            account, _ = accounts.add_account(visit, body)
            token = accounts.issue_token(visit, account.id, {"label": "t", "days": 1}).secret
            pharmacist = Actor("e", "e", Role.PHARMACIST, frozenset({clinic}), PERMISSIONS[Role.PHARMACIST])
            theirs = Visit(services=services, session=session, actor=pharmacist, now=services.clock())
            self.patient = record.add_patient(theirs, {"clinic": clinic, "family_name": "F", "given_name": "G"}).id
            leave(visit, session, [*visit.entries, *theirs.entries])
        app = create_app(settings, services)
        inner = app.wsgi_app

        def telling(environ: Any, start_response: Any) -> Any:
            def answer(status: str, *rest: Any) -> Any:
                self.watched.happened.append(f"answered {status[:3]}")
                return start_response(status, *rest)

            return inner(environ, answer)

        app.wsgi_app = telling  # type: ignore[method-assign]
        self.client: FlaskClient = app.test_client()
        self.headers = {"Authorization": f"Bearer {token}"}

    def happens(self, method: str, path: str, body: object = None, **headers: str) -> list[str]:
        self.watched.happened.clear()
        named = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        self.client.open(f"/api/v1/patients/{self.patient}{path}", method=method, json=body, headers=named)
        return list(self.watched.happened)

    def count(self, kind: type[Fact | AuditRow]) -> int:
        with self.watched.reading() as session:
            return int(session.count(kind))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


COUNT = {"collected_on": "2026-03-09", "value": 38, "unit": "10*9/L"}


def test_a_write_is_kept_durably_before_it_is_answered(house: House) -> None:
    assert house.happens("POST", "/platelet-counts", COUNT) == ["kept full", "answered 201"]
    assert house.happens("POST", "/platelet-counts", COUNT, Idempotency_Key="k") == ["kept full", "answered 201"]
    assert house.happens("POST", "/platelet-counts", COUNT, Idempotency_Key="k") == ["kept full", "answered 201"]
    assert house.count(Fact) == 2


def test_the_entry_of_a_read_is_in_the_spool_before_it_is_answered(house: House) -> None:
    before = house.count(AuditRow)
    assert house.happens("GET", "") == ["set aside", "answered 200"]
    assert house.count(AuditRow) == before
    assert (trail.gather(house.services), house.count(AuditRow)) == (1, before + 1)


def test_the_entry_of_a_refusal_is_in_the_spool_before_it_is_answered(house: House) -> None:
    assert house.happens("GET", "/platelet-counts/9/versions") == ["set aside", "answered 404"]


def test_what_could_not_be_kept_is_not_answered_with_success(house: House) -> None:
    facts, entries = house.count(Fact), house.count(AuditRow)
    house.watched.fails = True
    assert house.happens("POST", "/platelet-counts", COUNT, Idempotency_Key="k") == ["answered 500"]
    house.watched.fails = False
    house.spool.fails = True
    assert house.happens("GET", "") == ["answered 500"]
    house.spool.fails = False
    assert (house.count(Fact), house.count(AuditRow)) == (facts, entries)
    assert house.happens("POST", "/platelet-counts", COUNT, Idempotency_Key="k") == ["kept full", "answered 201"]
    assert house.count(Fact) == facts + 1
    assert isinstance(house.watched.store, SqliteStore)
    assert house.watched.check() == []
