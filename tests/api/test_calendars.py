"""Calendars: what stands in them, by two parsers, and what becomes of an address; messages that were given up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, NamedTuple

import icalendar
import pytest
import vobject

from tests.api.deciding import SAYS, decided, dosed, give, starting, worklist
from tests.api.support import SILENT, TODAY, WHY, House, count, day
from titrator.notify.base import Message, NotSent
from titrator.security.permissions import Role
from titrator.store.base import Where
from titrator.store.records import Delivery, KeptAnswer, Reminder
from titrator.workflow import trail
from titrator.workflow.reminders import calendars
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


class Entry(NamedTuple):
    """An entry of a calendar: when its day begins and ends, how often it has moved, what it says."""

    begins: date
    ends: date
    sequence: int
    summary: str
    description: str
    url: str | None


def fetched(house: House, path: str) -> bytes:
    settle_all(house.services, house.clock())
    response = house.app.test_client().get(path)
    assert (response.status_code, response.mimetype) == (200, "text/calendar"), response.data
    return bytes(response.data)


def parsed(house: House, path: str) -> dict[str, Entry]:
    """What stands in a calendar, by UID: the same by two parsers, and no UID twice."""
    raw = fetched(house, path)
    by_one: Any = icalendar.Calendar.from_ical(raw.decode())
    found = {}
    for one in by_one.walk("vevent"):
        url = one.get("url")
        entry = Entry(
            one.decoded("dtstart"),
            one.decoded("dtend"),
            one.decoded("sequence"),
            str(one["summary"]),
            str(one["description"]),
            None if url is None else str(url),
        )
        found[str(one["uid"])] = entry
    by_other: Any = vobject.readOne(raw.decode())
    again = {}
    for one in getattr(by_other, "vevent_list", []):
        url = one.contents.get("url")
        said = one.summary.value, one.description.value, url[0].value if url else None
        again[one.uid.value] = Entry(one.dtstart.value, one.dtend.value, int(one.sequence.value), *said)
    assert again == found
    assert (
        Counter(line for line in raw.splitlines() if line.startswith(b"UID:")).most_common(1)[:1]
        == [(one, 1) for one in raw.splitlines() if one.startswith(b"UID:")][:1]
    ), "a UID twice"
    return found


def of_clinic(house: House) -> str:
    return path_of(house.post(f"/clinics/{house.clinic}/calendars", LABEL))


def of_patient(house: House, patient: str) -> str:
    return path_of(house.post(f"/patients/{patient}/calendars", LABEL))


def only(entries: dict[str, Entry], what: str) -> tuple[str, Entry]:
    """The one entry that says something: its UID and all else."""
    (found,) = [(uid, entry) for uid, entry in entries.items() if what in entry.summary]
    return found


def at(text: str) -> date:
    return date.fromisoformat(text)


def change_clinic(house: House, **particulars: object) -> None:
    clinic = house.get(f"/clinics/{house.clinic}", "admin")
    body = {name: clinic[name] for name in ("name", "time_zone", "injection_days", "holidays")}
    path = f"/clinics/{house.clinic}"
    assert house.call("admin", "PUT", path, body | particulars, version="*").status == 200


def test_an_address_is_read_until_it_is_revoked(house: House) -> None:
    patient = dosed(house)
    made = house.post(f"/patients/{patient}/calendars", LABEL)
    assert entries(house, path_of(made))
    listed = house.get(f"/patients/{patient}/calendars")["items"]
    assert [one["id"] for one in listed] == [made["id"]]
    assert "url" not in listed[0]
    trail.gather(house.services)
    assert (f"patient/{patient}/calendars", "read") in [(row.subject, row.action) for row in house.trail(patient)]
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
    assert give(house, patient) == [], "six days after the last one is no departure"


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
        assert (row.status, row.step) == ("open", 0), "it is told again, a week later, by the step that is left"
        recipients = [one.recipient for one in session.find(Delivery) if one.kind == "dose-overdue"]
    assert recipients == ["role/technician"], "who has nobody else is told for the pharmacist, and once"


# What a calendar is


def test_a_calendar_is_one_by_the_book(house: House) -> None:
    """RFC 5545: days without times, lines of at most 75 octets, ended by CRLF; whatever the clinic is called."""
    change_clinic(house, name="Hämatologische Tagesklinik „Zum Kranich“, Haus 3; Straße\\Ebene 2 – 血液内科 🩸 Łódź")
    patient = dosed(house)
    raw = fetched(house, of_clinic(house))
    lines = raw.split(b"\r\n")
    assert lines[-1] == b""
    assert max(map(len, lines)) <= 75
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert lines[0:3] == [b"BEGIN:VCALENDAR", b"VERSION:2.0", lines[2]]
    unfolded = raw.replace(b"\r\n ", b"").decode().split("\r\n")
    (named,) = [line for line in unfolded if line.startswith("X-WR-CALNAME")]
    assert "血液内科 🩸 Łódź" in named
    assert "METHOD:PUBLISH" in unfolded
    assert any(line.startswith("REFRESH-INTERVAL") and line.endswith("PT1H") for line in unfolded)
    assert f"DTSTART;VALUE=DATE:{TODAY.replace('-', '')}" in unfolded
    own = parsed(house, of_patient(house, patient))
    assert {"血液内科 🩸 Łódź" in one.summary for one in own.values()} == {True}


def test_an_entry_is_a_day(house: House) -> None:
    dosed(house)
    found = parsed(house, of_clinic(house))
    assert {(one.begins, one.ends - one.begins) for one in found.values()} == {
        (at(TODAY), timedelta(days=1)),
        (at(day(-7)), timedelta(days=1)),
    }
    assert all(one.url and one.url.startswith("https://titrator.example/patients/") for one in found.values())


def test_an_empty_calendar_is_one_too(house: House) -> None:
    assert parsed(house, of_clinic(house)) == {}


def test_a_patients_calendar_names_neither_number_nor_medicine_nor_link(house: House) -> None:
    patient = dosed(house)
    raw = fetched(house, of_patient(house, patient)).decode().casefold()
    for hint in ("pharmacist-", "patient1", "ada", "romiplo", "nplate", "platelet", "dose", "http", patient):
        assert hint not in raw, hint
    found = parsed(house, of_patient(house, patient))
    assert {one.url for one in found.values()} == {None}
    assert {one.summary for one in found.values()} == {
        "Your appointment at Haematology A",
        "Your blood test at Haematology A",
    }


def test_a_calendar_says_no_more_than_number_and_link_whatever_messages_say(house: House) -> None:
    patient = dosed(house)
    path = f"/clinics/{house.clinic}/reminder-settings"
    assert house.call("admin", "PUT", path, {"show": ["name", "values"]}, version=0).status == 200
    raw = fetched(house, of_clinic(house)).decode()
    assert "pharmacist-1" in raw
    assert patient in raw
    assert "Ada" not in raw
    assert "micrograms" not in raw


# What moves


def decided_for_another_day(house: House) -> None:
    patient = house.get("/patients")["items"][0]["id"]
    decided(house, patient, "override", micrograms_per_kg=2, due_on=day(-2), **SAYS)


MOVES: list[tuple[str, Callable[[House], None], str, str]] = [
    ("dose", decided_for_another_day, TODAY, day(-2)),
    ("dose", lambda house: change_clinic(house, holidays=[TODAY]), TODAY, day(-1)),
    ("dose", lambda house: change_clinic(house, injection_days=["wednesday"]), TODAY, day(-2)),
    ("count", lambda house: change_clinic(house, holidays=[day(-7)]), day(-7), day(-8)),
    ("count", lambda house: change_clinic(house, time_zone="Pacific/Kiritimati"), day(-7), day(-7)),
]


@pytest.mark.parametrize(("what", "step", "before", "after"), MOVES)
def test_an_entry_moves_with_its_day(
    house: House, what: str, step: Callable[[House], None], before: str, after: str
) -> None:
    """The same UID, and a higher SEQUENCE if it has moved, so that a calendar moves it."""
    patient = dosed(house)
    ours, own = of_clinic(house), of_patient(house, patient)
    uid, entry = only(parsed(house, ours), what)
    assert (entry.begins, entry.sequence) == (at(before), 0)
    step(house)
    moved = parsed(house, ours)
    assert (moved[uid].begins, moved[uid].sequence) == (at(after), int(before != after))
    assert len(moved) == 2
    assert parsed(house, own)[uid].begins == at(after), "the patient's own calendar says the same"


def test_a_count_moves_with_the_dose_that_is_given(house: House) -> None:
    """Counted, but given two days later: the next count is to show that dose."""
    patient = dosed(house, last=7)
    ours = of_clinic(house)
    uid, entry = only(parsed(house, ours), "count")
    assert entry.begins == at(day(-7))
    house.clock.on(days=2)
    give(house, patient, ago=-2)
    moved = parsed(house, ours)[uid]
    assert (moved.begins, moved.sequence) == (at(day(-9)), 1)


def test_a_count_that_was_taken_early_makes_room_for_the_next(house: House) -> None:
    patient = dosed(house)
    ours = of_clinic(house)
    uid, _ = only(parsed(house, ours), "count")
    house.clock.on(days=4)
    house.post(f"/patients/{patient}/platelet-counts", count(-4, 90))
    other, entry = only(parsed(house, ours), "count")
    assert (other != uid, entry.begins, entry.sequence) == (True, at(day(-11)), 0)


def test_what_is_overdue_stays_on_its_day_and_says_so(house: House) -> None:
    patient = dosed(house)
    ours, own = of_clinic(house), of_patient(house, patient)
    uid, entry = only(parsed(house, ours), "dose")
    house.clock.on(days=2)
    late = parsed(house, ours)[uid]
    assert (late.begins, late.sequence) == (entry.begins, 1)
    assert "dose overdue" in late.summary
    assert parsed(house, own)[uid].summary == "Please call Haematology A"
    give(house, patient, ago=-2)
    done = parsed(house, ours)
    assert (done[uid].begins, done[uid].sequence) == (entry.begins, 1), "done, late"
    assert "dose due" in done[uid].summary, "nobody need do anything about it any more"
    assert parsed(house, own)[uid].summary == "Your appointment at Haematology A"
    assert {one.begins for one in done.values()} >= {at(day(-9))}


def test_a_dose_that_is_held_since_this_morning_is_not_there(house: House) -> None:
    patient = dosed(house, platelets=90)
    decided(house, patient)
    ours, own = of_clinic(house), of_patient(house, patient)
    assert only(parsed(house, ours), "dose due")[1].begins == at(TODAY)
    house.post(f"/patients/{patient}/platelet-counts", count(0, 450))
    for path in (ours, own):
        assert [one.begins for one in parsed(house, path).values()] == [at(day(-7))], "the re-check, and no dose"


def test_what_was_cancelled_is_gone_and_nothing_older_comes_back(house: House) -> None:
    patient = dosed(house)
    ours = of_clinic(house)
    uid, _ = only(parsed(house, ours), "dose")
    house.clock.on(days=2)
    assert uid in parsed(house, ours)
    path = f"/patients/{patient}/reminders/dose-overdue/{TODAY}/cancellation"
    house.post(path, WHY, If_Match="*")
    assert uid not in parsed(house, ours)


def test_of_too_many_entries_the_nearest_are_there(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is open from today on first, the nearest first; then what has passed, the latest first."""
    given = dosed(house)
    decided(house, given)
    give(house, given)
    house.clock.on(days=3)
    late = dosed(house, last=5)
    ours = of_clinic(house)
    everything = sorted(entry.begins for entry in parsed(house, ours).values())
    past, ahead = ([one for one in everything if (one < at(day(-3))) is before] for before in (True, False))
    assert past
    assert len(ahead) > 2, late
    for most in range(1, len(everything) + 2):
        monkeypatch.setattr(calendars, "_MOST", most)
        shown = sorted(entry.begins for entry in parsed(house, ours).values())
        assert shown == [*past[::-1][: max(0, most - len(ahead))][::-1], *ahead[:most]]


def test_what_a_standing_reminder_comes_of_is_no_entry(house: House) -> None:
    """Whatever its kind: a cause is no day's work."""
    patient = dosed(house)
    ours = of_clinic(house)
    before = parsed(house, ours)
    with house.services.store.writing() as session:
        (row,) = session.find(Reminder, Where("kind", "=", "sign-off"), Where("patient_id", "=", patient))
        session.change(replace(row, event="cause/7"))
        (row,) = session.find(Reminder, Where("kind", "=", "count-due"), Where("patient_id", "=", patient))
        session.change(replace(row, event="cause/8"))
    calendar: Any = icalendar.Calendar.from_ical(house.app.test_client().get(ours).data.decode())
    said = [str(one["summary"]) for one in calendar.walk("vevent")]
    assert len(said) == len(before) - 1
    assert all("dose due" in one for one in said)


# Who reads it


def test_a_revoked_address_is_as_one_that_never_was(house: House) -> None:
    patient = dosed(house)
    made = house.post(f"/patients/{patient}/calendars", LABEL)
    client = house.app.test_client()
    fetched(house, path_of(made))
    house.call("pharmacist", "DELETE", f"/patients/{patient}/calendars/{made['id']}")
    for method in (client.get, client.head):
        revoked, unknown = method(path_of(made)), method("/calendars/titr_unknown.ics")
        assert (revoked.status_code, unknown.status_code) == (404, 404)
        texts = [one.get_data(as_text=True).replace(one.headers["X-Request-Id"], "") for one in (revoked, unknown)]
        assert texts[0] == texts[1]
        assert {*revoked.headers.keys()} == {*unknown.headers.keys()}


def test_a_calendar_is_read_anew_only_if_it_has_changed(house: House) -> None:
    patient = dosed(house)
    path = of_clinic(house)
    fetched(house, path)
    client = house.app.test_client()
    first = client.get(path)
    assert first.headers["Cache-Control"] == "private, max-age=900"
    same = {"If-None-Match": first.headers["ETag"]}
    house.clock.on(hours=3)
    again = client.get(path, headers=same)
    assert (again.status_code, again.data) == (304, b"")
    give(house, patient)
    settle_all(house.services, house.clock())
    assert client.get(path, headers=same).status_code == 200


def test_a_calendar_of_who_is_not_active_is_not_there(house: House) -> None:
    patient = dosed(house)
    ours, own = of_clinic(house), of_patient(house, patient)
    fetched(house, own)
    client = house.app.test_client()
    for active, status in ((False, 404), (True, 200)):
        body = {"active": active, **WHY}
        assert house.call("pharmacist", "PATCH", f"/patients/{patient}", body, version="*").status == 200
        settle_all(house.services, house.clock())
        assert client.get(own).status_code == status
        assert (parsed(house, ours) != {}) is active


def test_a_read_is_in_the_trail_and_its_secret_nowhere(house: House) -> None:
    patient = starting(house)
    made = house.post(f"/patients/{patient}/calendars", LABEL)
    ours = house.post(f"/clinics/{house.clinic}/calendars", LABEL)
    for one in (made, ours):
        fetched(house, path_of(one))
    found = [row for row in house.trail(patient) if "calendar" in row.action]
    assert [(row.action, row.account_id is None) for row in found] == [
        ("issue-calendar", False),
        ("read-calendar", True),
    ]
    assert {row.subject for row in found} == {f"patient/{patient}/calendars/{made['id']}"}
    found = [row for row in house.trail() if "calendar" in row.action]
    assert [row.action for row in found] == ["issue-calendar", "read-calendar"]
    assert {row.subject for row in found} == {f"clinic/{house.clinic}/calendars/{ours['id']}"}
    secrets = [path_of(one).removeprefix("/calendars/").removesuffix(".ics") for one in (made, ours)]
    everything = str(house.everything()) + str([house.trail(), house.trail(patient)])
    assert not any(secret in everything for secret in secrets)


def test_other_clinics_issue_read_and_revoke_nothing(house: House) -> None:
    patient = dosed(house)
    for path in (f"/patients/{patient}/calendars", f"/clinics/{house.clinic}/calendars"):
        made = house.post(path, LABEL)
        assert house.call("stranger", "POST", path, LABEL).status == 404
        assert house.call("stranger", "GET", path).status == 404
        assert house.call("stranger", "DELETE", f"{path}/{made['id']}").status == 404
        elsewhere = f"/clinics/{house.other_clinic}/calendars/{made['id']}"
        assert house.call("stranger", "DELETE", elsewhere).status == 404
        fetched(house, path_of(made))


def test_who_moves_to_another_clinic_takes_the_calendar_along(house: House) -> None:
    patient = dosed(house)
    ours, own = of_clinic(house), of_patient(house, patient)
    fetched(house, own)
    _, both = house.account("both", Role.PHARMACIST, house.clinic, house.other_clinic)
    body = {"clinic": house.other_clinic, **WHY}
    assert house.call(both, "PATCH", f"/patients/{patient}", body, version="*").status == 200
    assert "Haematology B" in fetched(house, own).decode()
    assert parsed(house, ours) == {}


def test_access_in_an_emergency_issues_no_calendar(house: House) -> None:
    """It ends after an hour, and an address would not."""
    patient = dosed(house)
    path = f"/patients/{patient}/calendars"
    house.post("/glass-breaks", {"patient": patient, "reason": "bleeds, in our emergency room"}, "stranger")
    assert house.call("stranger", "GET", f"/patients/{patient}").status == 200
    assert house.call("stranger", "POST", path, LABEL).status == 404
    assert house.get(path)["items"] == []
