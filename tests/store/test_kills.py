"""A real server is killed at random moments under load: what it answered is kept, once, and nothing is damaged.

Clients record platelet counts, each under an Idempotency-Key, and ask for the next dose; and each, for a patient of its
own, accepts the first dose, gives it, takes it back and withdraws what was decided, over and over. After so many
answers, by chance, SIGKILL goes to all processes of the server at once. Then the database is looked at, and the server
is started anew; requests that got no answer are sent again under their keys, and so are some that got one.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.api.live import GUNICORN
from titrator.assembly import audit_key, make_services
from titrator.security.permissions import PERMISSIONS, Role
from titrator.settings import Settings
from titrator.store.records import AuditRow, Decision, Fact
from titrator.workflow import accounts, courses, record, trail
from titrator.workflow.evidence import replay_decisions
from titrator.workflow.facts import PLATELET_COUNTS, WEIGHTS
from titrator.workflow.visit import Actor, Services, Visit, leave

ROOT = Path(__file__).parents[2]
PATIENTS = 24
CLIENTS = 6
FIRST_DAY = date(1990, 1, 1)


class Step(NamedTuple):
    """A step of the round of a decision: how it ends well, and the entries that it leaves."""

    name: str
    status: int
    entries: tuple[str, ...]


#: What a client does for its patient of decisions, one after the other, and then again.
ROUND: Final = (
    Step("accept", 201, ("accept",)),
    Step("give", 201, ("record", "decision-deliver")),
    Step("take back", 200, ("enter-in-error", "decision-dose-taken-back")),
    Step("withdraw", 200, ("decision-withdraw",)),
)
COUNT: Final = Step("count", 201, ("record",))


@dataclass(frozen=True)
class Sent:
    """A change as it was sent: a platelet count, or a step of a round."""

    key: str
    patient: str
    path: str
    body: str
    step: Step = COUNT
    version: str | None = None


@dataclass
class Tally:
    """What clients were told, and what they were not."""

    lock: threading.Condition = field(default_factory=threading.Condition)
    answered: dict[str, tuple[Sent, dict[str, Any]]] = field(default_factory=dict)
    open: dict[str, Sent] = field(default_factory=dict)
    reads: dict[str, str] = field(default_factory=dict)
    rounds: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    answers: int = 0

    def count(self) -> None:
        with self.lock:
            self.answers += 1
            self.lock.notify_all()

    def keep(self, sent: Sent, said: bytes) -> dict[str, Any]:
        """Note what somebody was told, and where that leaves a round."""
        answer: dict[str, Any] = json.loads(said)
        self.answered[sent.key] = (self.open.pop(sent.key), answer)
        if sent.step in ROUND:
            self.rounds.setdefault(sent.patient, []).append(answer)
        return answer

    def wait_for(self, answers: int) -> None:
        with self.lock:
            assert self.lock.wait_for(lambda: self.answers >= answers or self.wrong, timeout=60), "no answers"


@dataclass(frozen=True)
class Instance:
    folder: Path
    token: str
    patients: list[str]
    decided: list[str]
    database: str = ""

    @property
    def settings(self) -> Settings:
        return Settings(instance=self.folder, database=self.database)


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    return made_in(tmp_path)


def made_in(folder: Path, database: str = "") -> Instance:
    """An installation with a pharmacist's token and patients on a course, each weighed; some may have a first dose."""
    services = make_services(Settings(instance=folder, database=database))
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
    today = services.clock().date().isoformat()
    decided = [add_patient(services, pharmacist, clinic, number, today) for number in range(CLIENTS)]
    services.store.close()
    return Instance(folder, token, patients, decided, database)


def add_patient(services: Services, who: Actor, clinic: str, number: int, counted_on: str | None = None) -> str:
    """A patient on a course since 2 March; or since a day, of which there is a low count, too."""
    day = counted_on or "2026-03-02"
    with services.store.writing() as session:
        visit = Visit(services=services, session=session, actor=who, now=services.clock())
        body: dict[str, object] = {"clinic": clinic, "family_name": f"P{number}", "given_name": "A"}
        patient = record.add_patient(visit, {**body, "born_on": "1960-05-01"}).id
        courses.start(visit, patient, {"protocol": "us-itp-adult", "started_on": day})
        weight: dict[str, object] = {"measured_on": day, "value": Decimal(75), "unit": "kg"}
        record.record(visit, patient, WEIGHTS, weight)
        if counted_on is not None:
            count: dict[str, object] = {"collected_on": day, "value": Decimal(20), "unit": "10*9/L"}
            record.record(visit, patient, PLATELET_COUNTS, count)
        leave(visit, session, visit.entries)
    return patient


@contextmanager
def serving(instance: Instance, **more: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server of two processes with four threads each, in a process group of its own, and its port.

    The port listens before the server is there: a request waits until it is.
    """
    environment = {
        **os.environ,
        "TITRATOR_INSTANCE": str(instance.folder),
        "TITRATOR_DATABASE": instance.database,
        "TITRATOR_REQUESTS_PER_MINUTE": "10000000",
        "TITRATOR_LOG_LEVEL": "error",
        **more,
    }
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        options = ["--bind", f"fd://{listening.fileno()}", "--workers", "2", "--threads", "4"]
        server = subprocess.Popen(
            [*GUNICORN, *options, "--log-level", "critical", "wsgi:app"],
            cwd=ROOT,
            env=environment,
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )
    try:
        wait_until_ready(port)
        yield server, port
    finally:
        kill(server)


def wait_until_ready(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/readyz")
        assert connection.getresponse().status == 200
    finally:
        connection.close()


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
        match = {} if sent.version is None else {"If_Match": sent.version}
        path = f"{sent.patient}/{sent.path}"
        return self.send("POST", path, sent.body, Idempotency_Key=sent.key, X_Request_Id=sent.key, **match)


def next_step(client: Client, tally: Tally, key: str, patient: str) -> Sent:
    """What comes next in the round of a patient, by what was answered so far."""
    before = tally.rounds.get(patient, [])
    place = len(before) % len(ROUND)
    step, answers = ROUND[place], before[len(before) - place :]
    why = json.dumps({"reason": "because of a test"})
    match step.name:
        case "accept":
            proposal = json.loads(client.send("GET", f"{patient}/next-dose")[1])
            body = json.dumps({"decision": "accept", "proposal_sha256": proposal["proposal_sha256"]})
            return Sent(key, patient, "decisions", body, step)
        case "give":
            body = json.dumps({"given_on": answers[0]["on"], "micrograms": 75})
            return Sent(key, patient, "doses", body, step)
        case "take back":
            return Sent(key, patient, f"doses/{answers[1]['id']}/entered-in-error", why, step, '"1"')
        case _:
            return Sent(key, patient, f"decisions/{answers[0]['id']}/withdrawal", why, step, '"3"')


def sends(client: Client, tally: Tally, sent: Sent) -> bool:
    """Send a change, and note the answer; whether it was the right one."""
    tally.open[sent.key] = sent
    status, said, _ = client.post(sent)
    if status != sent.step.status:
        tally.wrong.append(f"{sent.step.name}: {status} {said[:200]!r}")
        return False
    tally.keep(sent, said)
    tally.count()
    return True


def work(client: Client, tally: Tally, name: str, days: Iterator[int], mine: str) -> None:
    """Record counts, ask for doses and decide upon those of one patient until the server is gone."""
    chance = random.Random(name)
    number = 0
    try:
        while True:
            number += 1
            patient = chance.choice(client.instance.patients)
            day = (FIRST_DAY + timedelta(days=next(days))).isoformat()
            value = f"{chance.randint(4000, 7999) / 100:.2f}"
            body = f'{{"collected_on": "{day}", "value": {value}, "unit": "10*9/L"}}'
            if not sends(client, tally, Sent(f"{name}.{number}", patient, "platelet-counts", body)):
                return
            if not sends(client, tally, next_step(client, tally, f"{name}.{number}.step", mine)):
                return
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
        assert status == sent.step.status, said
        tally.keep(sent, said)
    for key in chance.sample(sorted(tally.answered), min(10, len(tally.answered))):
        sent, before = tally.answered[key]
        status, said, replayed = client.post(sent)
        assert (status, json.loads(said), replayed) == (sent.step.status, before, "true")
    client.connection.close()


class Kept(NamedTuple):
    """What is in the database: counts and versions of decisions, and how often each entry is in a chain."""

    counts: dict[tuple[str, int], Fact]
    decisions: dict[tuple[str, int, int], Decision]
    entries: Counter[tuple[str | None, str, str]]

    def left(self, sent: Sent) -> list[int]:
        """How often each entry is there that a change leaves."""
        return [self.entries[sent.key, sent.patient, action] for action in sent.step.entries]


def look(instance: Instance, tally: Tally) -> tuple[int, int]:
    """How many answered changes are lost, and how many are there twice; raises for any other fault."""
    services = make_services(instance.settings)
    trail.gather(services)
    assert services.spool is not None
    assert services.spool.names() == []
    store = services.store
    assert store.check() == []
    with store.reading() as session:
        key = audit_key(instance.folder / "audit.key")
        assert trail.verify(session, key, instance.folder / "seals")[1] == []
        kept = Kept(
            {(one.patient_id, one.id): one for one in session.find(Fact) if is_clients(one)},
            {(one.patient_id, one.id, one.version): one for one in session.find(Decision)},
            Counter((row.request_id, row.chain, row.action) for row in session.find(AuditRow)),
        )
    assert [one for one in replay_decisions(services) if one.differs] == []
    store.close()
    assert all(len(set(kept.left(sent))) == 1 for sent in tally.open.values()), "half of it is there"
    lost, doubled = of_counts(kept, tally)
    more_lost, more_doubled = of_decisions(kept, tally)
    lost += sum(kept.entries[asked, patient, "next-dose"] != 1 for asked, patient in tally.reads.items())
    return lost + more_lost, doubled + more_doubled


def is_clients(fact: Fact) -> bool:
    """Whether a fact is a count that a client recorded: all of them are of years ago."""
    return fact.kind == "platelet-count" and fact.day < "2026"


def of_counts(kept: Kept, tally: Tally) -> tuple[int, int]:
    """How many answered counts are lost, and how many are there twice."""
    days = Counter((fact.patient_id, fact.day) for fact in kept.counts.values())
    answered = [(sent, answer) for sent, answer in tally.answered.values() if sent.step is COUNT]
    still_open = [sent for sent in tally.open.values() if sent.step is COUNT]
    lost = 0
    for sent, answer in answered:
        content = json.loads(sent.body)
        fact = kept.counts.get((sent.patient, answer["id"]))
        same = fact is not None and (fact.day, str(fact.value)) == (content["collected_on"], str(answer["value"]))
        lost += not same
    doubled = sum(
        days[sent.patient, json.loads(sent.body)["collected_on"]] > 1
        for sent in [*still_open, *(sent for sent, _ in answered)]
    )
    assert 0 <= len(kept.counts) - len(answered) <= len(still_open)
    return lost, doubled


def of_decisions(kept: Kept, tally: Tally) -> tuple[int, int]:
    """How many answered steps of rounds are lost, and how many are there twice: each is a version of its decision."""
    lost = doubled = 0
    statuses = ("in-force", "delivered", "in-force", "withdrawn")
    for patient, answers in tally.rounds.items():
        for number in range(len(answers)):
            place = number % len(ROUND)
            version = kept.decisions.get((patient, answers[number - place]["id"], place + 1))
            lost += version is None or version.status != statuses[place]
        waits = [sent for sent in tally.open.values() if sent.patient == patient]
        more = sum(key[0] == patient for key in kept.decisions) - len(answers)
        doubled += more - sum(kept.left(sent)[0] for sent in waits)
    for sent, _ in tally.answered.values():
        lost += any(times != 1 for times in kept.left(sent))
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
                threading.Thread(target=work, args=(client, tally, f"{seed}.{number}.{place}", days, mine))
                for place, (client, mine) in enumerate(zip(clients, instance.decided, strict=True))
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
    assert all(len(answers) > len(ROUND) for answers in tally.rounds.values())
    logging.getLogger(__name__).info(
        "%d kills: %d writes (%d of decisions) and %d reads answered, %d writes sent again, none lost, none doubled",
        times,
        len(tally.answered),
        sum(map(len, tally.rounds.values())),
        len(tally.reads),
        again,
    )


def test_twenty_kills_lose_nothing(instance: Instance) -> None:
    kill_often(instance, 20, 20260309)


@pytest.mark.long
def test_two_hundred_kills_lose_nothing(instance: Instance) -> None:
    kill_often(instance, 200, random.SystemRandom().randrange(10**9))
