"""A real server is killed at random moments under load: what it answered is kept, once, and nothing is damaged.

Clients record platelet counts, each under an Idempotency-Key, and ask for the next dose. After so many answers, by
chance, SIGKILL goes to all processes of the server at once. Then the database is looked at, and the server is started
anew; requests that got no answer are sent again under their keys, and so are some that got one.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from titrator.assembly import audit_key, make_services
from titrator.security.permissions import PERMISSIONS, Role
from titrator.settings import Settings
from titrator.store.records import AuditRow, Fact
from titrator.workflow import accounts, courses, record, trail
from titrator.workflow.facts import WEIGHTS
from titrator.workflow.visit import Actor, Services, Visit, leave

ROOT = Path(__file__).parents[2]
PATIENTS = 24
CLIENTS = 6
FIRST_DAY = date(1990, 1, 1)


@dataclass(frozen=True)
class Sent:
    """A platelet count as it was sent."""

    key: str
    patient: str
    body: str


@dataclass
class Tally:
    """What clients were told, and what they were not."""

    lock: threading.Condition = field(default_factory=threading.Condition)
    answered: dict[str, tuple[Sent, dict[str, Any]]] = field(default_factory=dict)
    open: dict[str, Sent] = field(default_factory=dict)
    reads: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    answers: int = 0

    def count(self) -> None:
        with self.lock:
            self.answers += 1
            self.lock.notify_all()

    def wait_for(self, answers: int) -> None:
        with self.lock:
            assert self.lock.wait_for(lambda: self.answers >= answers or self.wrong, timeout=60), "no answers"


@dataclass(frozen=True)
class Instance:
    folder: Path
    token: str
    patients: list[str]

    @property
    def database(self) -> Path:
        return self.folder / "titrator.db"


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    """An installation with a pharmacist's token and patients on a course, each weighed."""
    services = make_services(Settings(instance=tmp_path))
    with services.store.writing() as session:
        boot = Actor("boot", "boot", Role.ADMIN, frozenset(), PERMISSIONS[Role.ADMIN])
        visit = Visit(services=services, session=session, actor=boot, now=services.clock())
        body: dict[str, object] = {"name": "Haematology", "time_zone": "UTC"}
        clinic = record.add_clinic(visit, body).id
        body = {"username": "eva", "display_name": "Eva", "role": "pharmacist", "clinics": [clinic]}
        account, _ = accounts.add_account(visit, body)
        token = accounts.issue_token(visit, account.id, {"label": "kills", "days": 1}).secret
        leave(visit, session, visit.entries)
    pharmacist = accounts.authenticate(services, token)
    patients = [add_patient(services, pharmacist, clinic, number) for number in range(PATIENTS)]
    services.store.close()
    return Instance(tmp_path, token, patients)


def add_patient(services: Services, who: Actor, clinic: str, number: int) -> str:
    with services.store.writing() as session:
        visit = Visit(services=services, session=session, actor=who, now=services.clock())
        body: dict[str, object] = {"clinic": clinic, "family_name": f"P{number}", "given_name": "A"}
        patient = record.add_patient(visit, {**body, "born_on": "1960-05-01"}).id
        courses.start(visit, patient, {"protocol": "us-itp-adult", "started_on": "2026-03-02"})
        weight: dict[str, object] = {"measured_on": "2026-03-02", "value": Decimal(75), "unit": "kg"}
        record.record(visit, patient, WEIGHTS, weight)
        leave(visit, session, visit.entries)
    return patient


@contextmanager
def serving(instance: Instance) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server of two processes with four threads each, in a process group of its own, and its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--bind", f"127.0.0.1:{port}", "--workers", "2", "--threads", "4", "--log-level", "critical"]
    environment = {
        **os.environ,
        "TITRATOR_INSTANCE": str(instance.folder),
        "TITRATOR_REQUESTS_PER_MINUTE": "10000000",
        "TITRATOR_LOG_LEVEL": "error",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "wsgi:app", *options], cwd=ROOT, env=environment, start_new_session=True
    )
    try:
        wait_until_ready(server, port)
        yield server, port
    finally:
        kill(server)


def wait_until_ready(server: subprocess.Popen[bytes], port: int) -> None:
    retry = threading.Event()
    for _ in range(600):
        assert server.poll() is None, "the server did not start"
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", "/readyz")
            assert connection.getresponse().status == 200
        except (OSError, HTTPException):
            retry.wait(0.05)
        else:
            return
        finally:
            connection.close()
    pytest.fail("the server is not ready")


def kill(server: subprocess.Popen[bytes]) -> None:
    """Kill all processes of the server at once."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


class Client:
    """Sends requests on one connection."""

    def __init__(self, instance: Instance, port: int) -> None:
        self.connection = HTTPConnection("127.0.0.1", port, timeout=60)
        self.instance = instance

    def send(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, bytes, str | None]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named |= {"Authorization": f"Bearer {self.instance.token}", "Content-Type": "application/json"}
        self.connection.request(method, f"/api/v1/patients/{path}", body, named)
        response = self.connection.getresponse()
        return response.status, response.read(), response.getheader("Idempotency-Replayed")

    def post(self, sent: Sent) -> tuple[int, bytes, str | None]:
        path = f"{sent.patient}/platelet-counts"
        return self.send("POST", path, sent.body, Idempotency_Key=sent.key, X_Request_Id=sent.key)


def work(client: Client, tally: Tally, name: str, days: Iterator[int]) -> None:
    """Record counts and ask for doses until the server is gone."""
    chance = random.Random(name)
    number = 0
    try:
        while True:
            number += 1
            patient = chance.choice(client.instance.patients)
            day = (FIRST_DAY + timedelta(days=next(days))).isoformat()
            value = f"{chance.randint(4000, 7999) / 100:.2f}"
            body = f'{{"collected_on": "{day}", "value": {value}, "unit": "10*9/L"}}'
            sent = Sent(f"{name}.{number}", patient, body)
            tally.open[sent.key] = sent
            status, said, _ = client.post(sent)
            if status != 201:
                tally.wrong.append(f"{status} {said[:200]!r}")
                return
            tally.answered[sent.key] = (tally.open.pop(sent.key), json.loads(said))
            tally.count()
            asked = f"{name}.{number}.read"
            status, said, _ = client.send("GET", f"{patient}/next-dose", X_Request_Id=asked)
            if status != 200:
                tally.wrong.append(f"{status} {said[:200]!r}")
                return
            tally.reads[asked] = patient
            tally.count()
    except (OSError, HTTPException):
        return  # killed
    finally:
        client.connection.close()


def send_again(client: Client, tally: Tally, chance: random.Random) -> None:
    """What got no answer gets one now; what got one gets the same again."""
    for sent in list(tally.open.values()):
        status, said, _ = client.post(sent)
        assert status == 201, said
        tally.answered[sent.key] = (tally.open.pop(sent.key), json.loads(said))
    for key in chance.sample(sorted(tally.answered), min(10, len(tally.answered))):
        sent, before = tally.answered[key]
        status, said, replayed = client.post(sent)
        assert (status, json.loads(said), replayed) == (201, before, "true")
    client.connection.close()


def look(instance: Instance, tally: Tally) -> tuple[int, int]:
    """How many answered facts are lost, and how many are there twice; raises for any other fault."""
    services = make_services(Settings(instance=instance.folder))
    trail.gather(services)
    assert services.spool is not None
    assert services.spool.names() == []
    store = services.store
    assert store.check() == []
    with store.reading() as session:
        key = audit_key(instance.folder / "audit.key")
        assert trail.verify(session, key, instance.folder / "seals")[1] == []
        kept = {(fact.patient_id, fact.id): fact for fact in session.find(Fact) if fact.kind == "platelet-count"}
        entries = Counter((row.request_id, row.chain, row.action) for row in session.find(AuditRow))
    store.close()
    days = Counter((fact.patient_id, fact.day) for fact in kept.values())
    lost = doubled = 0
    for sent, answer in tally.answered.values():
        content = json.loads(sent.body)
        fact = kept.get((sent.patient, answer["id"]))
        same = fact is not None and (fact.day, str(fact.value)) == (content["collected_on"], str(answer["value"]))
        lost += not same or entries[sent.key, sent.patient, "record"] != 1
        doubled += days[sent.patient, content["collected_on"]] > 1
    doubled += sum(days[sent.patient, json.loads(sent.body)["collected_on"]] > 1 for sent in tally.open.values())
    lost += sum(entries[asked, patient, "next-dose"] != 1 for asked, patient in tally.reads.items())
    unasked = len(kept) - len(tally.answered)
    assert 0 <= unasked <= len(tally.open)
    return lost, doubled


def kill_often(instance: Instance, times: int, seed: int) -> None:
    chance, tally = random.Random(seed), Tally()
    days = iter(range(10**6))
    again = 0
    for number in range(times):
        with serving(instance) as (server, port):
            again += len(tally.open)
            send_again(Client(instance, port), tally, chance)
            clients = [Client(instance, port) for _ in range(CLIENTS)]
            threads = [
                threading.Thread(target=work, args=(client, tally, f"{seed}.{number}.{place}", days))
                for place, client in enumerate(clients)
            ]
            for thread in threads:
                thread.start()
            tally.wait_for(tally.answers + chance.randint(5, 60))
            threading.Event().wait(chance.random() / 50)  # in the midst of requests, not right after one
            kill(server)
            for thread in threads:
                thread.join()
        assert not tally.wrong, tally.wrong
        assert look(instance, tally) == (0, 0), number
    with serving(instance) as (_, port):
        send_again(Client(instance, port), tally, chance)
    assert look(instance, tally) == (0, 0)
    assert len(tally.answered) > 2 * times
    assert len(tally.reads) > times
    logging.getLogger(__name__).info(
        "%d kills: %d writes and %d reads answered, %d writes sent again, none lost, none doubled",
        times,
        len(tally.answered),
        len(tally.reads),
        again,
    )


def test_twenty_kills_lose_nothing(instance: Instance) -> None:
    kill_often(instance, 20, 20260309)


@pytest.mark.long
def test_two_hundred_kills_lose_nothing(instance: Instance) -> None:
    kill_often(instance, 200, random.SystemRandom().randrange(10**9))
