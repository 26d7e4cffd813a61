"""A database that does not answer: every door says so, with when to come again, and goes on as soon as it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.api.support import House, count
from titrator.store.base import Duplicate, Overtaken, Session, Stale, Store, StoreError, Unavailable
from titrator.store.records import Fact


@dataclass
class Faulty:
    """A store that fails as often as it is told, as transactions begin or as they end."""

    store: Store
    error: type[StoreError] = Unavailable
    begins: int = 0
    ends: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def _fails(self, where: str) -> None:
        if getattr(self, where):
            setattr(self, where, getattr(self, where) - 1)
            raise self.error("the server is away")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        self._fails("begins")
        with self.store.reading() as session:
            yield session

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Session]:
        self._fails("begins")
        with self.store.writing(durable=durable) as session:
            yield session
            self._fails("ends")

    def carry_out(self, step: Callable[[Session], object]) -> None:
        with self.writing() as session:
            step(session)


@pytest.fixture
def faulty(house: House) -> Faulty:
    return Faulty(house.services.store)


@pytest.fixture
def there(house: House, faulty: Faulty) -> House:
    """A house whose store fails when it is told to; `still` asks it nothing."""
    return house.with_services(store=faulty)


ALWAYS = 1000
#: At each door: method, path, body, and how it is told there.
DOORS = [
    ("GET", "/api/v1/patients", None, "DATABASE-UNAVAILABLE"),
    ("POST", "/api/v1/sessions", {"username": "eva", "password": "x" * 12}, "DATABASE-UNAVAILABLE"),
    ("POST", "/api/v1/clinics", {"name": "C", "time_zone": "UTC"}, "DATABASE-UNAVAILABLE"),
    ("GET", "/fhir/Patient/x", None, "DATABASE-UNAVAILABLE"),
    ("GET", "/cds-services", None, "DATABASE-UNAVAILABLE"),
    ("GET", "/worklist", None, "DATABASE-UNAVAILABLE"),
    ("POST", "/login", {"username": "eva", "password": "x" * 12}, "DATABASE-UNAVAILABLE"),
]


@pytest.mark.parametrize(("method", "path", "body", "says"), DOORS, ids=[f"{row[0]} {row[1]}" for row in DOORS])
def test_every_door_says_so_and_when_to_come_again(
    there: House, faulty: Faulty, method: str, path: str, body: Any, says: str
) -> None:
    client = there.app.test_client()
    headers = {"Authorization": f"Bearer {there.tokens['admin' if 'clinics' in path else 'pharmacist']}"}
    if not path.startswith(("/api", "/fhir", "/cds")):
        client.set_cookie("titrator_session", "any")
    sent = {"data": body} if path == "/login" else {"json": body}
    faulty.begins = ALWAYS
    answer = client.open(path, method=method, headers=headers, **sent)
    if path != "/login":  # which first asks for a form that it has sent
        assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "5"), answer.text
        assert says in answer.text
        assert "the server is away" not in answer.text
    faulty.begins = 0
    assert client.open(path, method=method, headers=headers, **sent).status_code < 500


def facts(house: House) -> int:
    with house.services.store.reading() as session:
        return session.count(Fact)


@pytest.mark.parametrize("error", [Stale, Duplicate, Overtaken])
@pytest.mark.parametrize("times", [1, 2])
def test_a_step_that_was_overtaken_is_done_again_and_once(
    there: House, faulty: Faulty, error: type[StoreError], times: int
) -> None:
    patient = there.on_course()
    before = facts(there)
    faulty.error, faulty.ends = error, times
    answer = there.call("pharmacist", "POST", f"/patients/{patient}/platelet-counts", count(0, 50))
    assert (answer.status, facts(there)) == (201, before + 1)


def test_what_was_overtaken_again_and_again_is_told(there: House, faulty: Faulty) -> None:
    patient = there.on_course()
    before = facts(there)
    faulty.error, faulty.ends = Overtaken, ALWAYS
    path, body = f"/patients/{patient}/platelet-counts", count(0, 50)
    answer = there.call("pharmacist", "POST", path, body, Idempotency_Key="k")
    faulty.ends = 0
    assert (answer.status, answer.code, facts(there)) == (503, "DATABASE-UNAVAILABLE", before)
    assert there.call("pharmacist", "POST", path, body, Idempotency_Key="k").status == 201


def test_what_broke_off_at_the_end_is_not_done_again_by_itself(there: House, faulty: Faulty) -> None:
    """It may have been kept: the same key finds out."""
    patient = there.on_course()
    before = facts(there)
    faulty.ends = 1
    path, body = f"/patients/{patient}/platelet-counts", count(0, 50)
    answer = there.call("pharmacist", "POST", path, body, Idempotency_Key="k")
    assert (answer.status, answer.code, facts(there)) == (503, "DATABASE-UNAVAILABLE", before)
    assert there.call("pharmacist", "POST", path, body, Idempotency_Key="k").status == 201


def test_it_is_not_ready_until_the_database_answers(there: House, faulty: Faulty) -> None:
    def ready() -> int:
        return there.app.test_client().get("/readyz").status_code

    assert ready() == 200
    pending, faulty.pending = faulty.store.pending, lambda: faulty._fails("begins")  # type: ignore[attr-defined]
    faulty.begins = ALWAYS
    assert ready() == 503
    faulty.begins, faulty.pending = 0, pending  # type: ignore[attr-defined]
    assert ready() == 200


def test_a_path_with_a_zero_byte_stops_no_trail(house: House) -> None:
    assert house.call("pharmacist", "GET", "/patients/a%00b").status == 404
    (row,) = [one for one in house.trail() if one.action == "denied"]
    assert row.subject.endswith("/patients/a\N{SYMBOL FOR NULL}b")
