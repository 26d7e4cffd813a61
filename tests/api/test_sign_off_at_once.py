"""Many sign at once, on a real server of two processes: whatever the order, one decision stands."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

import httpx
import pytest

from tests.api.live import PATIENCE, Server, server
from titrator.security.permissions import PERMISSIONS, Role
from titrator.store.base import Where
from titrator.store.records import AuditRow
from titrator.workflow import accounts
from titrator.workflow.visit import Actor, Visit, leave

__all__ = ["server"]

CLIENTS: Final = 16
#: Each race is run so often: who wins is up to chance.
TIMES: Final = 6
SIGNERS: Final = (Role.PHARMACIST, Role.PRESCRIBER)
UNDELIVERED: Final = {"awaiting-second", "in-force", "referred"}

Send = Callable[[httpx.Client], httpx.Response]


class Ward(NamedTuple):
    """The server, with a connection for each of sixteen clients: two pharmacists and two prescribers, in turn."""

    server: Server
    clients: Sequence[httpx.Client]
    day: str

    def at_once(self, *sends: Send) -> list[httpx.Response]:
        """What each client is answered, all of whom send as soon as the last of them is ready."""
        ready = threading.Barrier(len(sends))

        def send(client: httpx.Client, asks: Send) -> httpx.Response:
            ready.wait(PATIENCE)
            return asks(client)

        with ThreadPoolExecutor(len(sends)) as pool:
            return list(pool.map(send, self.clients, sends))

    def post(self, path: str, body: object) -> Any:
        answer = self.server.ask("pharmacist", "POST", path, body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def get(self, path: str) -> Any:
        answer = self.server.ask("pharmacist", "GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def patient(self) -> tuple[str, str]:
        """A new patient to whom a first dose of 75 micrograms is proposed: the path, and the proposal's digest."""
        body = {"clinic": self.server.furnished.clinic, "family_name": "Tern", "given_name": "Ada"}
        path = f"/patients/{self.post('/patients', {**body, 'born_on': '1960-05-01'})['id']}"
        self.post(f"{path}/course", {"protocol": "us-itp-adult", "started_on": self.day})
        self.post(f"{path}/weights", {"measured_on": self.day, "value": 75, "unit": "kg"})
        self.post(f"{path}/platelet-counts", {"collected_on": self.day, "value": 20, "unit": "10*9/L"})
        return path, self.get(f"{path}/next-dose")["proposal_sha256"]

    def decisions(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(f"{path}/decisions")["items"]
        return found

    def entries(self, path: str) -> Counter[str]:
        """How often each thing was done that the patient's chain tells of."""
        with self.server.services.store.reading() as session:
            return Counter(row.action for row in session.find(AuditRow, Where("chain", "=", path.rpartition("/")[2])))


@pytest.fixture(scope="module")
def ward(server: Server) -> Iterator[Ward]:
    with ExitStack() as stack:
        url = str(next(iter(server.clients.values())).base_url)
        tokens = [token(server, f"{role}-{number}", role) for number in (1, 2) for role in SIGNERS]
        clients = [
            stack.enter_context(
                httpx.Client(
                    base_url=url,
                    headers={"Authorization": f"Bearer {tokens[number % len(tokens)]}"},
                    timeout=PATIENCE,
                    trust_env=False,
                )
            )
            for number in range(CLIENTS)
        ]
        yield Ward(server, clients, server.today("Europe/Berlin").isoformat())
        assert server.services.store.check() == []


def token(server: Server, name: str, role: Role) -> str:
    """A token of a new account at the clinic of the demonstration."""
    boot = Actor("boot", "boot", Role.ADMIN, frozenset(), PERMISSIONS[Role.ADMIN])
    services = server.services
    with services.store.writing() as session:
        visit = Visit(services=services, session=session, actor=boot, now=server.now)
        body = {"username": name, "display_name": name, "role": str(role), "clinics": [server.furnished.clinic]}
        account, _ = accounts.add_account(visit, body)
        secret = accounts.issue_token(visit, account.id, {"label": "at once", "days": 30}).secret
        leave(visit, session, visit.entries)
    return secret


def accepting(path: str, digest: str, **headers: str) -> Send:
    body = {"decision": "accept", "proposal_sha256": digest}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda client: client.post(f"{path}/decisions", json=body, headers=named)


def overriding(path: str, digest: str, micrograms: int) -> Send:
    body = {"decision": "override", "proposal_sha256": digest, "micrograms": micrograms}
    about = {"reason_code": "clinical-judgement", "comment": "as discussed"}
    return lambda client: client.post(f"{path}/decisions", json={**body, **about})


def giving(path: str, day: str) -> Send:
    return lambda client: client.post(f"{path}/doses", json={"given_on": day, "micrograms": 75})


def withdrawing(path: str) -> Send:
    return lambda client: client.post(
        f"{path}/decisions/1/withdrawal", json={"reason": "a mistake"}, headers={"If-Match": '"1"'}
    )


def told(answers: Sequence[httpx.Response]) -> Counter[str]:
    """How often each was answered: the status, or the code of a refusal."""
    return Counter(one.json()["code"] if one.status_code == 409 else str(one.status_code) for one in answers)


def test_of_sixteen_who_accept_at_once_one_succeeds(ward: Ward) -> None:
    for _ in range(TIMES):
        path, digest = ward.patient()
        answers = ward.at_once(*[accepting(path, digest)] * CLIENTS)
        assert told(answers) == {"201": 1, "ALREADY-DECIDED": CLIENTS - 1}
        (decision,) = ward.decisions(path)
        made = next(one for one in answers if one.status_code == 201).json()
        assert (decision["id"], decision["version"], decision["status"]) == (made["id"], 1, "in-force")
        assert ward.entries(path)["accept"] == 1


def test_the_same_request_sent_sixteen_times_at_once_is_done_once(ward: Ward) -> None:
    """A key is an account's, so all of them come from one account."""
    for number in range(TIMES):
        path, digest = ward.patient()
        one_account = ward._replace(clients=ward.clients[::4])
        sends = [accepting(path, digest, Idempotency_Key=f"once-{number}")] * len(one_account.clients)
        answers = one_account.at_once(*sends)
        assert told(answers) == {"201": len(sends)}
        assert len({one.text for one in answers}) == 1
        assert [one["version"] for one in ward.decisions(path)] == [1]
        assert ward.entries(path)["accept"] == 1


def test_a_dose_that_comes_in_while_others_accept_is_before_them_or_after(ward: Ward) -> None:
    """Before: what they accept has changed, and nobody had decided it. After: it carries out what one of them did."""
    for _ in range(TIMES):
        path, digest = ward.patient()
        accepts = [accepting(path, digest)] * (CLIENTS - 1)
        accepts.insert(CLIENTS // 2, giving(path, ward.day))
        answers = ward.at_once(*accepts)
        assert answers.pop(CLIENTS // 2).status_code == 201
        counted, decided = told(answers), ward.decisions(path)
        assert counted.total() == counted["201"] + counted["ALREADY-DECIDED"] + counted["PROPOSAL-CHANGED"]
        assert counted["201"] < 2
        departs = [one["departs"] for one in ward.get(f"{path}/dose-mismatches")["items"]]
        if counted["201"]:
            assert [(one["status"], one["given_on"]) for one in decided] == [("delivered", ward.day)]
            assert departs == []
        else:
            assert (decided, departs) == ([], [["no-decision"]])
            assert counted == {"PROPOSAL-CHANGED": CLIENTS - 1}


def test_prescribers_who_override_at_once_leave_one_decision(ward: Ward) -> None:
    """Each stands until the next supersedes it."""
    prescribers = ward._replace(clients=ward.clients[1::2])
    for _ in range(TIMES):
        path, digest = ward.patient()
        sends = [overriding(path, digest, 75 + 5 * number) for number in range(len(prescribers.clients))]
        assert told(prescribers.at_once(*sends)) == {"201": len(sends)}
        statuses = Counter(one["status"] for one in ward.decisions(path))
        assert statuses == {"in-force": 1, "superseded": len(sends) - 1}


def test_one_withdraws_while_others_accept(ward: Ward) -> None:
    """A withdrawal names what it withdraws, and hits nothing else."""
    for _ in range(TIMES):
        path, digest = ward.patient()
        assert accepting(path, digest)(ward.clients[0]).status_code == 201
        accepts = [accepting(path, digest)] * (CLIENTS - 1)
        answers = ward.at_once(withdrawing(path), *accepts)
        assert answers[0].status_code == 200, answers[0].text
        counted = told(answers[1:])
        assert counted.total() == counted["201"] + counted["ALREADY-DECIDED"]
        assert counted["201"] < 2
        live = [one for one in ward.decisions(path) if one["status"] in UNDELIVERED]
        assert len(live) == counted["201"]
