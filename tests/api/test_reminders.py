"""Reminders over REST: listed page by page, seen to by version, refused by code; how a clinic is reminded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from tests.api.deciding import SAYS, decide, decided, dosed, give, referred_by_rule, starting
from tests.api.support import SILENT, TODAY, WHY, Answer, House, count, day, dose
from titrator.notify.texts import Texts
from titrator.security.permissions import Role
from titrator.workflow import accounts
from titrator.workflow.reminders.plan import DEFAULT_STEPS
from titrator.workflow.reminders.work import beat


def listed(house: House, query: str = "", who: str = "pharmacist") -> list[Any]:
    items: list[Any] = house.get(f"/reminders{query}", who)["items"]
    return items


def kinds(items: list[Any]) -> list[str]:
    return [f"{one['kind']} {one['remind_on']}" for one in items]


def one_of(house: House, patient: str, kind: str) -> Any:
    """The open reminder of a patient of a kind."""
    (found,) = [one for one in listed(house, f"?kind={kind}&limit=500") if one["patient"] == patient]
    return found


def sees_to(
    house: House, reminder: Any, how: str, body: object = None, version: object = "*", who: str = "pharmacist"
) -> Answer:
    path = f"/patients/{reminder['patient']}/reminders/{reminder['kind']}/{reminder['due_on']}/{how}"
    return house.call(who, "POST", path, body, version=version)


# The list


def test_what_is_due_is_listed_by_day(house: House) -> None:
    patient = dosed(house)
    items = listed(house)
    assert kinds(items) == [f"dose-due {TODAY}", f"sign-off {TODAY}", f"count-due {day(-7)}"]
    first = items[0]
    assert {name: first[name] for name in ("patient", "number", "clinic", "due_on", "status", "version", "reason")} == {
        "patient": patient,
        "number": "pharmacist-1",
        "clinic": house.clinic,
        "due_on": TODAY,
        "status": "open",
        "version": 1,
        "reason": None,
    }
    assert first["next_at"] is not None


def test_what_has_just_been_recorded_counts_already(house: House) -> None:
    patient = dosed(house)
    assert "dose-due" in {one["kind"] for one in listed(house)}
    give(house, patient)
    assert kinds(listed(house, "?kind=dose-due")) == [f"dose-due {day(-7)}"]
    house.clock.on(days=8)
    assert [one["kind"] for one in listed(house)] == ["count-overdue", "dose-overdue"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"?due_by={day(1)}", []),
        (f"?due_by={TODAY}", ["dose-due", "sign-off"]),
        (f"?due_by={day(-6)}", ["dose-due", "sign-off"]),
        (f"?due_by={day(-7)}", ["dose-due", "sign-off", "count-due"]),
        ("?kind=sign-off", ["sign-off"]),
        (f"?kind=count-due&due_by={TODAY}", []),
        ("?kind=paused-review", []),
    ],
)
def test_some_of_them(house: House, query: str, expected: list[str]) -> None:
    dosed(house)
    assert [one["kind"] for one in listed(house, query)] == expected


def test_of_some_clinic(house: House) -> None:
    patient = dosed(house)
    house.patient("stranger")
    _, both = house.account("both", Role.PHARMACIST, house.clinic, house.other_clinic)
    assert {one["patient"] for one in listed(house, f"?clinic={house.clinic}", both)} == {patient}
    assert listed(house, f"?clinic={house.other_clinic}", both) == []
    assert {one["patient"] for one in listed(house, "", both)} == {patient}
    for clinic in (house.other_clinic, "f" * 20):
        answer = house.call("pharmacist", "GET", f"/reminders?clinic={clinic}")
        assert (answer.status, answer.faults) == (422, {"clinic": "is no clinic of this account"})


@pytest.mark.parametrize(
    ("query", "faults"),
    [
        ("?due_by=2026-02-30&kind=doses&limit=0", {"due_by", "kind", "limit"}),
        ("?limit=501&colour=red", {"limit", "colour"}),
        ("?cursor=x", {"cursor"}),
        ("?cursor=2026-02-30.abc", {"cursor"}),
        ("?cursor=.abc", {"cursor"}),
    ],
)
def test_faults_of_a_query(house: House, query: str, faults: set[str]) -> None:
    answer = house.call("pharmacist", "GET", f"/reminders{query}")
    assert (answer.status, set(answer.faults)) == (422, faults)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_page_by_page_nothing_is_lost_and_nothing_comes_twice(house: House, limit: int) -> None:
    """Patients of the same day, days of the same patient; those of one patient and day are never parted."""
    for number in range(9):
        patient = dosed(house, last=7 + number % 3)
        if number % 2:
            decided(house, patient)
    everything = listed(house, "?limit=500")
    assert len(everything) > 20
    found: list[Any] = []
    cursor = ""
    while True:
        page = house.get(f"/reminders?limit={limit}{cursor}")
        assert limit <= len(page["items"]) <= limit + 16 or page["next"] is None
        found += page["items"]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
        last = found[-1]["remind_on"], found[-1]["patient"]
        following = house.get(f"/reminders?limit=1{cursor}")["items"][0]
        assert (following["remind_on"], following["patient"]) > last
    assert found == everything


def test_what_is_done_meanwhile_shifts_no_page(house: House) -> None:
    patients = sorted(dosed(house) for _ in range(6))
    first = house.get("/reminders?limit=3&kind=dose-due")
    assert [one["patient"] for one in first["items"]] == patients[:3]
    give(house, patients[0])
    rest = house.get(f"/reminders?limit=10&kind=dose-due&due_by={TODAY}&cursor={first['next']}")
    assert [one["patient"] for one in rest["items"]] == patients[3:]


def test_the_list_is_in_the_trail(house: House) -> None:
    patient = dosed(house)
    listed(house, f"?due_by={TODAY}")
    (entry,) = [row for row in house.trail() if row.action == "list-reminders"]
    assert (entry.account_id, patient in entry.detail, TODAY in entry.detail) == (house.ids["pharmacist"], True, True)


def test_of_a_patient_past_ones_too_with_whom_each_was_told(house: House) -> None:
    patient = dosed(house)
    body = {"audience": "technician", "kind": "webhook", "label": "ward", "address": "https://ward.example/told"}
    house.post(f"/clinics/{house.clinic}/channels", body, "admin")
    for _ in range(2):
        beat(house.services, house.clock)
    give(house, patient)
    beat(house.services, house.clock)
    items = house.get(f"/patients/{patient}/reminders")["items"]
    assert [f"{one['kind']} {one['remind_on']} {one['status']}" for one in items] == [
        f"count-due {day(-7)} open",
        f"dose-due {day(-7)} open",
        f"dose-due {TODAY} done",
        f"sign-off {TODAY} done",
    ]
    (told,) = items[2]["deliveries"]
    assert (told["recipient"], told["status"], told["attempts"]) == ("role/technician", "sent", 1)
    assert [one["deliveries"] for one in items if one is not items[2]] == [[], [], []]


# To see to one


def test_acknowledged(house: House) -> None:
    patient = dosed(house)
    reminder = one_of(house, patient, "dose-due")
    answer = sees_to(house, reminder, "acknowledgement", version=reminder["version"], who="technician")
    assert answer.status == 200
    assert answer.etag == '"2"'
    assert (answer.json["status"], answer.json["next_at"], answer.json["version"]) == ("acknowledged", None, 2)
    assert answer.json["changed_by"] == house.ids["technician"]
    assert one_of(house, patient, "dose-due") == answer.json, "it stays in the list until it is done"
    assert [row.action for row in house.trail(patient) if "reminder" in row.action] == ["acknowledge-reminder"]
    give(house, patient)
    assert one_of(house, patient, "dose-due")["due_on"] == day(-7)
    assert sees_to(house, reminder, "acknowledgement").code == "REMINDER-CLOSED"


@pytest.mark.parametrize(
    ("until", "next_at"),
    [
        (day(0), None),
        (day(-1), "2026-03-10T07:00"),
        (day(-5), "2026-03-16T07:00"),  # a Saturday
        (day(-28), "2026-04-06T06:00"),  # in summer time
        (day(-29), None),
        (day(1), None),
    ],
)
def test_put_off(house: House, until: str, next_at: str | None) -> None:
    patient = dosed(house)
    answer = sees_to(house, one_of(house, patient, "dose-due"), "postponement", {"until": until, "reason": "travels"})
    if next_at is None:
        assert (answer.status, list(answer.faults)) == (422, ["until"])
        return
    assert (answer.status, answer.json["next_at"][:16], answer.json["status"]) == (200, next_at, "open")
    assert answer.json["reason"] == "travels"
    (entry,) = [row for row in house.trail(patient) if row.action == "put-off-reminder"]
    assert "travels" in entry.detail


def test_what_was_acknowledged_can_be_put_off(house: House) -> None:
    patient = dosed(house)
    reminder = one_of(house, patient, "dose-due")
    sees_to(house, reminder, "acknowledgement")
    again = sees_to(house, reminder, "postponement", {"until": day(-1)}).json
    assert (again["status"], again["next_at"] is not None, again["version"]) == ("open", True, 3)


def test_cancelled(house: House) -> None:
    patient = dosed(house)
    reminder = one_of(house, patient, "dose-due")
    for body in ({}, {"reason": ""}, {"reason": 3}):
        assert sees_to(house, reminder, "cancellation", body).status == 422
    answer = sees_to(house, reminder, "cancellation", {"reason": "is on a ward elsewhere"})
    assert (answer.status, answer.json["status"], answer.json["next_at"]) == (200, "cancelled", None)
    assert listed(house, "?kind=dose-due") == []
    assert "dose-due" not in house.call("pharmacist", "GET", "/reminders").text
    assert house.get(f"/patients/{patient}/next-dose")["due_on"] == TODAY, "what is due stays due"
    for how, body in (("acknowledgement", None), ("postponement", {"until": day(-1)}), ("cancellation", WHY)):
        again = sees_to(house, reminder, how, body)
        assert (again.status, again.code) == (409, "REMINDER-CLOSED"), how


def reopened(house: House) -> str:
    patient = dosed(house)
    decided(house, patient)
    give(house, patient)
    counts = house.get(f"/patients/{patient}/platelet-counts")["items"]
    path = f"/patients/{patient}/platelet-counts/{counts[-1]['id']}"
    answer = house.call("prescriber", "PUT", path, {**count(0, 20), **WHY}, version="*")
    assert answer.status == 200, answer.text
    return patient


def second(house: House) -> str:
    patient = dosed(house)
    made = decide(house, patient, "override", "prescriber", micrograms_per_kg=11, **SAYS)
    assert made.status == 201, made.text
    return patient


def unverified(house: House) -> str:
    patient = dosed(house)
    assert house.record(patient, "doses", dose(0, 1400), "ehr").json["status"] == "unverified"
    return patient


STAND: list[tuple[str, Callable[[House], str]]] = [
    ("re-opened", reopened),
    ("referral", referred_by_rule),
    ("no-answer", unverified),
    ("second-signature", second),
    ("sign-off", dosed),
]


@pytest.mark.parametrize(("kind", "make"), STAND, ids=[kind for kind, _ in STAND])
def test_what_waits_for_somebody_is_not_cancelled(house: House, kind: str, make: Callable[[House], str]) -> None:
    reminder = one_of(house, make(house), kind)
    answer = sees_to(house, reminder, "cancellation", WHY)
    assert (answer.status, answer.code) == (409, "REMINDER-STANDS")
    assert sees_to(house, reminder, "postponement", {"until": day(-1)}).status == 200
    assert sees_to(house, reminder, "acknowledgement").json["status"] == "acknowledged"


@pytest.mark.parametrize(("kind", "make"), STAND, ids=[kind for kind, _ in STAND])
def test_what_waits_for_a_decision_is_seen_to_by_who_may_take_it(
    house: House, kind: str, make: Callable[[House], str]
) -> None:
    """Nobody else can make it silent; and not for longer than three days."""
    reminder = one_of(house, make(house), kind)
    before = house.everything()["reminders"]
    with house.visit() as visit:
        few = {"label": "tests", "days": 30, "permissions": ["patients:read", "reminders:see-to"]}
        narrow = accounts.issue_token(visit, house.ids["pharmacist"], few).secret
    for who in ("technician", "ehr", narrow):
        for how, body in (("acknowledgement", None), ("postponement", {"until": day(-1)})):
            answer = sees_to(house, reminder, how, body, who=who)
            assert (answer.status, answer.code) == (403, "FORBIDDEN"), (who, how)
    assert sees_to(house, reminder, "cancellation", WHY, who="ehr").code == "FORBIDDEN"
    late = sees_to(house, reminder, "postponement", {"until": day(-4)})
    assert (late.status, list(late.faults)) == (422, ["until"])
    assert house.everything()["reminders"] == before
    assert sees_to(house, reminder, "postponement", {"until": day(-3)}, who="prescriber").status == 200
    assert sees_to(house, reminder, "acknowledgement").status == 200


def test_what_is_overdue_is_cancelled_by_who_may_sign(house: House) -> None:
    patient = dosed(house)
    decided(house, patient)
    house.clock.on(days=8)
    for kind in ("dose-overdue", "count-overdue"):
        reminder = one_of(house, patient, kind)
        for who in ("technician", "ehr"):
            assert sees_to(house, reminder, "cancellation", WHY, who=who).code == "FORBIDDEN"
        assert sees_to(house, reminder, "acknowledgement", who="ehr").code == "FORBIDDEN"
        assert sees_to(house, reminder, "postponement", {"until": day(-9)}, who="ehr").code == "FORBIDDEN"
        assert sees_to(house, reminder, "acknowledgement", who="technician").status == 200
        assert sees_to(house, reminder, "cancellation", WHY).json["status"] == "cancelled"


def test_a_system_sees_to_what_patients_are_told_of(house: House) -> None:
    patient = dosed(house)
    reminder = one_of(house, patient, "dose-due")
    for how, body in WAYS:
        assert sees_to(house, reminder, how, body, who="ehr").status == 200, how
    house.call("pharmacist", "POST", f"/patients/{patient}/course/pause", WHY, version="*")
    paused = one_of(house, patient, "paused-review")
    for how, body in WAYS:
        assert sees_to(house, paused, how, body, who="ehr").code == "FORBIDDEN", how


WAYS: list[tuple[str, object]] = [
    ("acknowledgement", None),
    ("postponement", {"until": day(-1)}),
    ("cancellation", WHY),
]


@pytest.mark.parametrize(("how", "body"), WAYS, ids=[how for how, _ in WAYS])
def test_a_reminder_is_seen_to_in_the_version_that_was_seen(house: House, how: str, body: object) -> None:
    patient = dosed(house)
    reminder = one_of(house, patient, "dose-due")
    before = house.everything()["reminders"]
    assert sees_to(house, reminder, how, body, version=None).status == 428
    for version in (0, 2, 17):
        assert sees_to(house, reminder, how, body, version=version).status == 412
    assert house.everything()["reminders"] == before
    assert sees_to(house, reminder, how, body, version=1).status == 200
    assert sees_to(house, reminder, how, body, version=1).status == 412, "it is another version now"


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "weight-due"},
        {"kind": "nonsense"},
        {"due_on": day(1)},
        {"due_on": "yesterday"},
        {"patient": "f" * 20},
        {"kind": "count-due"},
    ],
)
@pytest.mark.parametrize(("how", "body"), WAYS, ids=[how for how, _ in WAYS])
def test_a_reminder_that_is_not_there(house: House, changed: dict[str, str], how: str, body: object) -> None:
    patient = dosed(house)
    reminder = one_of(house, patient, "dose-due") | changed
    assert (sees_to(house, reminder, how, body).status, sees_to(house, reminder, how, body).code) == (404, "NOT-FOUND")


def test_the_way_back_from_a_start_that_was_cancelled(house: House) -> None:
    """It is of one course and one dose: the next day brings it back as overdue, which is another reminder, and once."""
    patient = starting(house)
    sees_to(house, one_of(house, patient, "dose-due"), "cancellation", WHY)
    house.clock.on(days=1)
    late = one_of(house, patient, "dose-overdue")
    assert late["due_on"] == TODAY
    sees_to(house, late, "cancellation", WHY)
    house.clock.on(days=1)
    assert [one["kind"] for one in listed(house) if one["kind"].startswith("dose")] == []


# How a clinic is reminded


def settings_path(house: House) -> str:
    return f"/clinics/{house.clinic}/reminder-settings"


def test_a_clinic_that_has_chosen_nothing_has_the_defaults(house: House) -> None:
    answer = house.call("technician", "GET", settings_path(house))
    assert (answer.status, answer.etag) == (200, '"0"')
    said = dict(answer.json)
    steps = said.pop("steps")
    assert said == {
        "version": 0,
        "language": "en",
        "send_at": "08:00",
        "quiet_from": "20:00",
        "quiet_until": "07:00",
        "working_days": ["monday", "tuesday", "wednesday", "thursday", "friday"],
        "digest_at": "07:30",
        "week_plan": True,
        "show": [],
        "give_up_hours": 72,
    }
    assert steps == {
        str(kind): [{"after_days": step.after_days, "to": step.to} for step in some]
        for kind, some in DEFAULT_STEPS.items()
    }


def test_all_faults_of_settings_at_once(house: House) -> None:
    wrong = {
        "language": "English",
        "send_at": "8:00",
        "quiet_from": "24:00",
        "quiet_until": "07:60",
        "working_days": [],
        "digest_at": "noon",
        "week_plan": "yes",
        "show": ["address"],
        "give_up_hours": 0,
        "colour": "red",
    }
    answer = house.call("admin", "PUT", settings_path(house), wrong, version=0)
    assert (answer.status, {path.partition("[")[0] for path in answer.faults}) == (422, set(wrong))
    assert house.get(settings_path(house))["version"] == 0


STEPS: list[tuple[object, str]] = [
    ({"dose-due": []}, "steps"),
    ({"dose-due": [{"after_days": -1, "to": "patient"}]}, "steps"),
    ({"dose-due": [{"after_days": 0, "to": "technician"}, {"after_days": 1, "to": "technician"}]}, "steps"),
    ({"dose-due": [{"after_days": -29, "to": "technician"}]}, "steps"),
    ({"dose-due": [{"after_days": 61, "to": "technician"}]}, "steps"),
    ({"dose-due": [{"after_days": 0, "to": "porter"}]}, "steps"),
    ({"dose-due": [{"after_days": 0}]}, "steps"),
    ({"lunch": [{"after_days": 0, "to": "technician"}]}, "steps"),
    ([], "steps"),
]


@pytest.mark.parametrize(("steps", "path"), STEPS)
def test_faults_of_steps(house: House, steps: object, path: str) -> None:
    answer = house.call("admin", "PUT", settings_path(house), {"steps": steps}, version=0)
    assert answer.status == 422, answer.text
    assert all(one.startswith(path) for one in answer.faults), answer.faults


def test_settings_are_changed_in_the_version_that_was_seen(house: House) -> None:
    path = settings_path(house)
    assert house.call("admin", "PUT", path, {}).status == 428
    assert house.call("admin", "PUT", path, {}, version=1).status == 412
    first = house.call("admin", "PUT", path, {"send_at": "09:00"}, version=0)
    assert (first.status, first.etag, first.json["send_at"]) == (200, '"1"', "09:00")
    assert house.call("admin", "PUT", path, {"send_at": "10:00"}, version=0).status == 412
    whole = house.call("admin", "PUT", path, {"quiet_from": None}, version=1)
    assert (whole.json["send_at"], whole.json["quiet_from"], whole.json["quiet_until"]) == ("08:00", None, None)
    (_, entry) = [row for row in house.trail() if row.subject.endswith("reminder-settings")]
    assert '"send_at": "09:00"' in entry.detail, "the old settings stand in the trail beside the new"
    for who in ("pharmacist", "prescriber", "technician"):
        assert house.call(who, "PUT", path, {}, version=2).status == 403


def test_what_is_chosen_takes_effect_at_once(house: House) -> None:
    patient = dosed(house)
    decided(house, patient)
    give(house, patient)
    assert one_of(house, patient, "dose-due")["next_at"].startswith("2026-03-15T07:00")
    chosen = {"send_at": "10:15", "steps": {"dose-due": [{"after_days": -3, "to": "pharmacist"}]}}
    assert house.call("admin", "PUT", settings_path(house), chosen, version=0).status == 200
    assert one_of(house, patient, "dose-due")["next_at"].startswith("2026-03-13T09:15")
    assert one_of(house, patient, "count-due")["next_at"].startswith("2026-03-15T09:15")
    assert one_of(house, patient, "dose-due")["remind_on"] == day(-7)
    days = {"working_days": ["tuesday"]}
    assert house.call("admin", "PUT", settings_path(house), days, version=1).status == 200
    assert one_of(house, patient, "dose-due")["remind_on"] == day(-8)
    assert house.call("admin", "PUT", settings_path(house), {}, version=2).status == 200
    back = one_of(house, patient, "dose-due")
    assert (back["remind_on"], back["next_at"][:16]) == (day(-7), "2026-03-15T07:00")


def test_a_language_of_which_there_are_no_texts_is_refused(house: House, tmp_path: Path) -> None:
    path = settings_path(house)
    answer = house.call("admin", "PUT", path, {"language": "de"}, version=0)
    assert (answer.status, list(answer.faults)) == (422, ["language"])
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "de.toml").write_text('[test.staff]\nsubject = "$number"\nbody = "x $nothing"\n', encoding="utf-8")
    faulty = house.with_services(telling=replace(SILENT, texts=partial(Texts.load, folder=texts)))
    answer = faulty.call("admin", "PUT", path, {"language": "de"}, version=0)
    assert (answer.status, list(answer.faults)) == (422, ["language"])
    (texts / "de.toml").write_text('[test.staff]\nsubject = "Probe"\n', encoding="utf-8")
    sound = house.with_services(telling=replace(SILENT, texts=cache(partial(Texts.load, folder=texts))))
    assert sound.call("admin", "PUT", path, {"language": "de"}, version=0).json["language"] == "de"
