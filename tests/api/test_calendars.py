"""Calendars: what stands in them, and what becomes of an address; messages that were given up; another plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import icalendar
import pytest

from tests.api.deciding import decided, dosed, give, worklist
from tests.api.support import SILENT, WHY, House, day
from titrator.notify.base import Message, NotSent
from titrator.store.records import Delivery, KeptAnswer, Reminder
from titrator.workflow.reminders.work import beat, health
from titrator.workflow.standing import settle_all

LABEL = {"label": "for the patient"}


class Told:
    """A channel that keeps what it is sent, or refuses it."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.refuses: NotSent | None = None

    def send(self, message: Message) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.messages.append(message)


def with_channel(house: House, audience: str = "technician") -> tuple[House, Told]:
    """An installation of which clinic A has one channel."""
    told = Told()
    house = house.with_services(telling=replace(SILENT, open_channel=lambda *_: told, chance=lambda: 0.5))
    body = {"audience": audience, "kind": "webhook", "label": "ward", "address": "https://ward.example/told"}
    house.post(f"/clinics/{house.clinic}/channels", body, "admin")
    return house, told


def act_on_course(house: House, patient: str, what: str, who: str = "pharmacist") -> None:
    assert house.call(who, "POST", f"/patients/{patient}/course/{what}", WHY, version="*").status == 200


def path_of(made: dict[str, Any]) -> str:
    """The path of a new calendar's address."""
    return str(made["url"]).removeprefix(SILENT.base_url)


def entries(house: House, path: str) -> dict[date, str]:
    """What stands in a calendar, by day."""
    settle_all(house.services, house.clock())
    response = house.app.test_client().get(path)
    assert response.status_code == 200, response.data
    calendar: Any = icalendar.Calendar.from_ical(response.data.decode())
    return {one.decoded("dtstart"): str(one["summary"]) for one in calendar.walk("vevent")}


def test_an_address_is_read_until_it_is_revoked(house: House) -> None:
    patient = dosed(house)
    made = house.post(f"/patients/{patient}/calendars", LABEL)
    assert entries(house, path_of(made))
    listed = house.get(f"/patients/{patient}/calendars")["items"]
    assert [one["id"] for one in listed] == [made["id"]]
    assert "url" not in listed[0]
    client = house.app.test_client()
    etag = client.get(path_of(made)).headers["ETag"]
    assert client.get(path_of(made), headers={"If-None-Match": etag}).status_code == 304
    gone = f"/patients/{patient}/calendars/{made['id']}"
    assert house.call("pharmacist", "DELETE", gone).status == 204
    assert client.get(path_of(made)).status_code == 404
    assert client.get("/calendars/titr_guess.ics").status_code == 404
    assert house.call("pharmacist", "DELETE", gone).status == 404


def test_reads_of_calendars_keep_nobody_from_logging_in(house: House) -> None:
    made = house.post(f"/clinics/{house.clinic}/calendars", LABEL)
    door = house.app.extensions["titrator"]
    object.__setattr__(door, "logins", type(door.logins)(1))
    client = house.app.test_client()
    assert {client.get(path_of(made)).status_code for _ in range(5)} == {200}
    assert house.call(None, "POST", "/sessions", {"username": "x", "password": "y"}).status == 401
    object.__setattr__(door, "requests", type(door.requests)(2))
    assert [client.get(path_of(made)).status_code for _ in range(3)] == [200, 200, 429]


def test_a_repeated_answer_has_no_secret(house: House) -> None:
    """Neither the address of a calendar nor the secret of a webhook is kept for it."""
    channel = {"audience": "ehr", "kind": "webhook", "label": "record", "address": "https://ehr.example/told"}
    for who, path, body, secret in (
        ("pharmacist", f"/clinics/{house.clinic}/calendars", LABEL, "url"),
        ("admin", f"/clinics/{house.clinic}/channels", channel, "secret"),
    ):
        first, again = (house.post(path, body, who, Idempotency_Key=path) for _ in range(2))
        assert (first[secret] is None, again[secret]) == (False, None)
        assert {**first, secret: None} == again
    with house.services.store.reading() as session:
        kept = str(session.find(KeptAnswer))
    assert "titr_" not in kept
    assert "whsec_" not in kept


def test_a_patients_calendar_says_what_patients_are_told(house: House) -> None:
    """Of a pause nobody tells the patient; the clinic's own calendar has its review."""
    patient = dosed(house)
    own, ours = (house.post(f"{of}/calendars", LABEL) for of in (f"/patients/{patient}", f"/clinics/{house.clinic}"))
    act_on_course(house, patient, "pause")
    assert entries(house, path_of(own)) == {}
    assert [*entries(house, path_of(ours)).values()] == [
        "Patient pharmacist-1: paused, review due on 2026-04-06, Monday"
    ]


def early(house: House, patient: str) -> None:
    """Tomorrow's dose is given today."""
    assert give(house, patient) != [], "flagged: early"


def ended(house: House, patient: str) -> None:
    act_on_course(house, patient, "discontinuation", "prescriber")


@pytest.mark.parametrize(("what", "there"), [(early, True), (ended, False)])
def test_what_was_done_with_before_its_day_is_no_entry_of_it(
    house: House, what: Callable[[House, str], None], there: bool
) -> None:
    """The dose that was due tomorrow is gone from tomorrow; what is due next stands on its own day."""
    patient = dosed(house, last=6)
    decided(house, patient)
    path = path_of(house.post(f"/patients/{patient}/calendars", LABEL))
    tomorrow = date.fromisoformat(day(-1))
    assert tomorrow in entries(house, path)
    what(house, patient)
    found = entries(house, path)
    assert tomorrow not in found
    assert (date.fromisoformat(day(-7)) in found) is there or not there


def test_what_was_given_on_its_day_stays_for_a_while(house: House) -> None:
    patient = dosed(house)
    decided(house, patient)
    path = path_of(house.post(f"/patients/{patient}/calendars", LABEL))
    today = date.fromisoformat(day(0))
    assert today in entries(house, path)
    give(house, patient)
    assert today in entries(house, path)
    house.clock.on(days=61)
    assert today not in entries(house, path)


# Messages that were given up


def test_a_message_that_is_refused_for_good_waits_for_somebody(house: House) -> None:
    house, told = with_channel(house)
    patient = dosed(house)
    decided(house, patient)
    told.refuses = NotSent("the receiver is gone", lasting=True)
    for _ in range(2):
        beat(house.services, house.clock)
    dead = [one for one in house.get("/deliveries/undelivered")["items"] if one["patient"] == patient]
    assert [(one["kind"], one["attempts"], one["error"]) for one in dead] == [("dose-due", 1, "the receiver is gone")]
    assert "message-undelivered" in worklist(house)["items"][0]["tasks"]
    told.refuses = None
    house.post(f"/deliveries/{dead[0]['id']}/retry", {})
    beat(house.services, house.clock)
    assert [one.id for one in told.messages] == [dead[0]["id"]]
    assert "message-undelivered" not in worklist(house)["items"][0]["tasks"]


def test_a_message_of_what_is_done_is_not_tried_again(house: House) -> None:
    house, told = with_channel(house)
    patient = dosed(house)
    decided(house, patient)
    told.refuses = NotSent("the receiver is gone", lasting=True)
    for _ in range(2):
        beat(house.services, house.clock)
    (dead,) = [one for one in house.get("/deliveries/undelivered")["items"] if one["patient"] == patient]
    give(house, patient)
    beat(house.services, house.clock)
    path = f"/deliveries/{dead['id']}"
    assert house.call("pharmacist", "POST", f"{path}/retry", {}).code == "REMINDER-CLOSED"
    assert house.post(f"{path}/dismissal", {})["status"] == "dismissed"
    house.clock.on(hours=1)
    assert health(house.services.store, house.clock()).late == 0


# Another plan


def test_who_chooses_fewer_steps_has_the_last_one_told(house: House) -> None:
    """Of a reminder that has been told to two already: the step that comes next is there no more."""
    house, _ = with_channel(house)
    patient = dosed(house)
    decided(house, patient)
    house.clock.on(days=3)
    for _ in range(2):
        beat(house.services, house.clock)
    steps = {"dose-overdue": [{"after_days": 1, "to": "pharmacist"}]}
    path = f"/clinics/{house.clinic}/reminder-settings"
    assert house.call("admin", "PUT", path, {"steps": steps}, version=0).status == 200
    house.clock.on(days=1)
    beat(house.services, house.clock)
    with house.services.store.reading() as session:
        (row,) = [row for row in session.find(Reminder) if row.kind == "dose-overdue"]
        assert (row.status, row.next_at) == ("open", None)
        recipients = [one.recipient for one in session.find(Delivery) if one.kind == "dose-overdue"]
    assert recipients == ["role/technician"], "who has nobody else is told for the pharmacist, and once"
