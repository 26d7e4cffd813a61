"""Who is at it at once: each race of docs/decisions/0018-postgresql.md, run by threads that all begin together.

On SQLite one writes after the other, so there it is easily true; on PostgreSQL each of them would fail without what
keeps these steps apart.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.api.support import House, build, count
from tests.backends import BACKENDS
from tests.hl7.support import count as message_of
from tests.hl7.support import ward
from tests.store.samples import sample
from tests.workflow.reminders.telling import Desk
from tests.workflow.test_clients import Denied, Issued, asks, registered
from titrator.notify.base import Message
from titrator.store.base import Where
from titrator.store.records import Account, ChannelRow, Delivery, Fact, Patient, Token, Waiting
from titrator.store.spool import Spool
from titrator.workflow import accounts, housekeeping, standing, trail
from titrator.workflow.accounts import Proof
from titrator.workflow.errors import Unauthorised, Unknown
from titrator.workflow.reminders import manage
from titrator.workflow.reminders.tell import deliver
from titrator.workflow.visit import Policy, Visit, leave

T = TypeVar("T")
MANY = 8


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def house(tmp_path: Path, backend: str) -> House:
    return build(tmp_path, Policy(logins_before_lock=1000), backend)


def at_once(*steps: Callable[[], T]) -> list[T]:
    """What each step gives; all begin as soon as the last is ready."""
    ready = threading.Barrier(len(steps), timeout=20)

    def begin(step: Callable[[], T]) -> T:
        ready.wait()
        return step()

    with ThreadPoolExecutor(len(steps)) as threads:
        return list(threads.map(begin, steps))


def sound(house: House, folder: Path) -> None:
    """The store contradicts nothing, and the trail is whole."""
    assert house.services.store.check() == []
    with house.services.store.reading() as session:
        assert trail.verify(session, house.services.audit_key, folder / "seals")[1] == []


def writes(house: House, step: Callable[[Visit], T]) -> T:
    with house.services.store.writing() as session:
        visit = Visit(services=house.services, session=session, actor=None, now=house.clock())
        given = step(visit)
        leave(visit, session, visit.entries)
    return given


def row(house: House, kind: type[Any], *key: object) -> Any:
    with house.services.store.reading() as session:
        return session.get(kind, *key)


# Patients


def test_all_that_is_recorded_of_a_patient_at_once_is_recorded(house: House, tmp_path: Path) -> None:
    patient = house.on_course()
    before = row(house, Patient, patient).revision
    steps = [lambda ago=ago: house.record(patient, "platelet-counts", count(ago, 50)) for ago in range(MANY)]
    assert Counter(answer.status for answer in at_once(*steps)) == {201: MANY}
    assert row(house, Patient, patient).revision == before + MANY
    sound(house, tmp_path)


def test_a_request_that_comes_twice_at_once_is_done_once(house: House, tmp_path: Path) -> None:
    patient = house.on_course()
    path = f"/patients/{patient}/platelet-counts"
    body = count(0, 50)
    steps = [lambda: house.call("pharmacist", "POST", path, body, Idempotency_Key="k")] * MANY
    answers = at_once(*steps)
    assert {(answer.status, answer.text) for answer in answers} == {(201, answers[0].text)}
    with house.services.store.reading() as session:
        assert session.count(Fact, Where("kind", "=", "platelet-count")) == 1
    sound(house, tmp_path)


def test_a_decision_that_is_sent_twice_at_once_is_made_once_and_told_to_both(house: House, tmp_path: Path) -> None:
    """Not to one of them that somebody else has decided already."""
    patient = house.on_course(0)
    house.record(patient, "platelet-counts", count(0, 20))
    proposal = house.get(f"/patients/{patient}/next-dose", "prescriber")
    body = {"decision": "accept", "proposal_sha256": proposal["proposal_sha256"]}
    path = f"/patients/{patient}/decisions"
    answers = at_once(*[lambda: house.call("prescriber", "POST", path, body, Idempotency_Key="k")] * MANY)
    assert {(answer.status, answer.text) for answer in answers} == {(201, answers[0].text)}
    sound(house, tmp_path)


def test_a_number_is_one_patients(house: House, tmp_path: Path) -> None:
    names = {"family_name": "A", "given_name": "B", "clinic": house.clinic, "born_on": "1960-05-01"}
    body = {**names, "identifiers": [{"system": "urn:x", "value": "1"}]}
    answers = at_once(*[lambda: house.call("pharmacist", "POST", "/patients", body)] * MANY)
    assert Counter(answer.status for answer in answers) == {201: 1, 409: MANY - 1}
    assert {answer.code for answer in answers if answer.status == 409} == {"IDENTIFIER-TAKEN"}
    sound(house, tmp_path)


def test_a_result_that_comes_over_several_connections_is_one(tmp_path: Path, backend: str) -> None:
    here = ward(tmp_path, backend=backend)
    patient = here.patient()
    sent = message_of("1")
    assert [said.code for said in at_once(*[lambda: here.send(sent)] * MANY)] == ["AA"] * MANY
    assert len(here.counts(patient)) == 1
    others = [lambda number=number: here.send(message_of(f"other {number}")) for number in range(MANY)]
    assert [said.code for said in at_once(*others)] == ["AA"] * MANY
    assert len(here.counts(patient)) == 1
    sound(here.house, tmp_path)


def test_a_result_of_nobody_is_held_once(tmp_path: Path, backend: str) -> None:
    here = ward(tmp_path, backend=backend)
    steps = [lambda number=number: here.send(message_of(f"{number}")) for number in range(MANY)]
    assert [said.code for said in at_once(*steps)] == ["AA"] * MANY
    assert len(here.held()) == 1
    sound(here.house, tmp_path)


# Accounts


def test_each_wrong_password_is_counted(house: House, tmp_path: Path) -> None:
    wrong = Proof(right=False)
    username = row(house, Account, house.ids["pharmacist"]).username

    def attempts() -> None:
        for _ in range(5):
            writes(house, lambda visit: accounts.login(visit, username, wrong))

    at_once(*[attempts] * MANY)
    assert row(house, Account, house.ids["pharmacist"]).failed_logins == 5 * MANY
    sound(house, tmp_path)


def test_who_is_shut_out_stays_out(house: House, tmp_path: Path) -> None:
    """Whoever comes in while the account is closed: nothing that he read before is written over it."""
    ident = house.ids["pharmacist"]
    username = row(house, Account, ident).username
    for _ in range(4):
        assert house.call("admin", "PATCH", f"/accounts/{ident}", {"active": True}, version="*").status == 200
        right = Proof(right=True, stored=row(house, Account, ident).password_hash)

        def come_in(right: Proof = right) -> list[str]:
            given = [writes(house, lambda visit: accounts.login(visit, username, right)).issued for _ in range(6)]
            return [one.secret for one in given if one is not None]

        def shut_out() -> list[str]:
            assert house.call("admin", "PATCH", f"/accounts/{ident}", {"active": False}, version="*").status == 200
            return []

        secrets = [secret for some in at_once(come_in, come_in, shut_out) for secret in some]
        assert row(house, Account, ident).active is False
        with house.services.store.reading() as session:
            theirs = session.find(Token, Where("account_id", "=", ident), Where("kind", "=", "session"))
        assert len(theirs) >= len(secrets)
        assert all(one.revoked_at for one in theirs), "what was given just before is ended, too"
    sound(house, tmp_path)


def test_a_use_that_is_noted_brings_no_token_back(house: House) -> None:
    ident = house.ids["pharmacist"]
    username = row(house, Account, ident).username
    for _ in range(6):
        right = Proof(right=True, stored=row(house, Account, ident).password_hash)
        issued = writes(house, lambda visit, right=right: accounts.login(visit, username, right)).issued
        assert issued is not None
        house.clock.on(minutes=5)

        def use(secret: str = issued.secret) -> None:
            try:
                accounts.authenticate(replace(house.services, known={}), secret)
            except Unauthorised:
                return

        at_once(use, use, lambda secret=issued.secret: writes(house, lambda visit: accounts.end_session(visit, secret)))
        assert row(house, Token, issued.token.sha256).revoked_at is not None


def test_an_assertion_is_taken_once(house: House, tmp_path: Path) -> None:
    client = registered(house, "system/Patient.rs")
    given = at_once(*[lambda: asks(house, client, "system/Patient.rs")] * MANY)
    assert Counter(type(one) for one in given) == {Issued: 1, Denied: MANY - 1}
    assert {one.why for one in given if isinstance(one, Denied)} == {"The assertion is not accepted: replayed."}
    sound(house, tmp_path)


# What one does for all


def test_one_keeps_house(house: House, tmp_path: Path) -> None:
    def keep() -> object:
        return housekeeping.keep_house(house.services, tmp_path / "seals", house.clock())

    done = at_once(*[keep] * MANY)
    assert len([one for one in done if one is not None]) == 1
    settled = at_once(*[lambda: housekeeping.settle_now(house.services, house.clock())] * MANY)
    assert len([one for one in settled if one is not None]) == 1


def test_what_waits_in_the_spool_is_taken_in_once(house: House, tmp_path: Path) -> None:
    services = replace(house.services, spool=Spool(tmp_path / "spool"))
    before = len(house.trail())
    for number in range(30):
        visit = Visit(services=services, session=None, actor=None, now=house.clock())  # type: ignore[arg-type]
        visit.note("read", f"thing/{number}")
        trail.set_aside(services, visit.entries)
    assert sum(at_once(*[lambda: trail.gather(services)] * 4)) == 30
    assert [one.subject for one in house.trail()[before:]] == [f"thing/{number}" for number in range(30)]
    sound(house, tmp_path)


# Reminders


@pytest.fixture
def desk(tmp_path: Path, backend: str) -> Desk:
    made = Desk(tmp_path, backend=backend)
    made.account("eva", "pharmacist")
    return made


class Heard:
    """A channel that takes everything."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def send(self, message: Message) -> None:
        self.ids.append(message.id)


def listening(desk: Desk) -> Heard:
    heard = Heard()
    telling = desk.services.telling
    assert telling is not None
    desk.services = replace(desk.services, telling=replace(telling, open_channel=lambda *_: heard))
    return heard


def test_workers_at_once_tell_each_thing_once(desk: Desk) -> None:
    heard = listening(desk)
    desk.channel("hook", "pharmacist", "http://127.0.0.1:9/")
    for number in range(60):
        desk.reminder(desk.patient(f"p{number:03}"))
    told = [one for _ in range(3) for one in at_once(*[desk.beats] * 4)]
    assert sum(one.planned for one in told) == sum(one.sent for one in told) == 60
    assert len(heard.ids) == len(set(heard.ids)) == 60
    assert {(one.status, one.leased_by, one.attempts) for one in desk.deliveries} == {("sent", "", 1)}
    assert desk.store.check() == []


def test_workers_at_once_keep_the_pace_of_a_channel(desk: Desk) -> None:
    heard = listening(desk)
    desk.channel("hook", "pharmacist", "http://127.0.0.1:9/", per_minute=10)
    for number in range(40):
        desk.told(f"p{number:03}", "hook")
    at_once(*[lambda: deliver(desk.services, desk.clock)] * 4)
    assert len(heard.ids) == 10
    assert desk.get(ChannelRow, "hook").in_minute == 10


def test_a_message_that_is_given_up_while_its_patient_is_settled_is_on_the_worklist(desk: Desk) -> None:
    """What was looked at before it was given up must not mark the patient as settled after that."""
    desk.channel("hook", "pharmacist", "http://127.0.0.1:9/")
    for number in range(12):
        patient = desk.on_course(f"P{number}", f"{number}")
        desk.put(sample(Delivery, about=patient, kind="dose-due", due_on="2026-03-09", channel_id="hook", id=patient))

        def give_up(patient: str = patient) -> None:
            with desk.store.writing() as session:
                dead = session.claim(Delivery, {"status": "dead"}, Where("about", "=", patient))
                assert dead
                session.update(Patient, {"settled": 0}, Where("id", "=", patient))

        at_once(lambda patient=patient: standing.settle(desk.services, [patient], desk.clock()), give_up)
        desk.settles()
        line = desk.get(Waiting, patient)
        assert any("undelivered" in task for task in line.tasks), line.tasks


def test_a_message_that_was_given_up_is_seen_to_by_one(desk: Desk, tmp_path: Path) -> None:
    desk.channel("hook", "pharmacist", "http://127.0.0.1:9/")
    made = desk.told("p1", "hook")
    desk.put(replace(made, status="dead"))

    def see() -> str:
        try:
            with desk.visit() as visit:
                manage.settle_delivery(visit, made.id, again=False)
        except Unknown:
            return "Unknown"
        return "done"

    assert Counter(at_once(*[see] * 4)) == {"done": 1, "Unknown": 3}
    assert desk.get(Delivery, *[getattr(made, name) for name in Delivery.KEY]).status == "dismissed"
