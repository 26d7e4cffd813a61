"""The worklist: each task from its first day to its last; in order, page by page; each clinic by its own calendar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from schemas.worklist import TASKS
from tests.api.deciding import (
    SAYS,
    act,
    alerted,
    decided,
    dosed,
    give,
    next_dose,
    referred_by_rule,
    starting,
    worklist,
)
from tests.api.support import TODAY, WHY, House, count, day, event, weight
from tests.store.samples import sample
from titrator.security.permissions import Role
from titrator.store.records import ChannelRow, Delivery
from titrator.workflow.reminders.tell import unsettle
from titrator.workflow.tasks import Task

Make = Callable[[House], str]


def signed(house: House) -> str:
    """150 micrograms are decided for today."""
    patient = dosed(house)
    decided(house, patient)
    return patient


def signed_for_tomorrow(house: House) -> str:
    patient = dosed(house, last=6)
    decided(house, patient)
    return patient


def delivered(house: House) -> str:
    patient = signed(house)
    assert give(house, patient) == []
    return patient


def on_hold(house: House) -> str:
    return dosed(house, 450)


def held(house: House) -> str:
    """The hold has been accepted."""
    patient = on_hold(house)
    decided(house, patient)
    return patient


def awaiting(house: House) -> str:
    patient = dosed(house)
    decided(house, patient, "override", "prescriber", **SAYS, micrograms_per_kg=11)
    return patient


def referred(house: House) -> str:
    patient = dosed(house)
    decided(house, patient, "refer", **SAYS)
    return patient


def answered(house: House) -> str:
    """A thrombosis, and a prescriber has decided to give nothing."""
    patient = referred_by_rule(house)
    decided(house, patient, "override", "prescriber", **SAYS, no_dose=True)
    return patient


def steady(house: House) -> str:
    """In a stable course: the same again in four days, and a count in 25."""
    patient = house.on_course(80)
    for ago in range(45, 2, -7):
        give(house, patient, 150, ago)
        house.post(f"/patients/{patient}/platelet-counts", count(ago, 90))
    return patient


def unreliable(house: House) -> str:
    return dosed(house, unreliable=True)


def paused(house: House) -> str:
    patient = signed(house)
    house.call("pharmacist", "POST", f"/patients/{patient}/course/pause", WHY, version="*")
    return patient


def doubtful(house: House) -> str:
    """With a dose that a feed reported and nobody has verified."""
    patient = dosed(house)
    assert house.record(patient, "doses", {"given_on": day(5), "micrograms": 900}, "ehr").json["status"] == "unverified"
    return patient


def departed(house: House) -> str:
    patient = signed(house)
    give(house, patient, 145)
    return patient


def recounted(house: House, patient: str, platelets: int) -> str:
    fact = house.get(f"/patients/{patient}/platelet-counts")["items"][-1]
    path = f"/patients/{patient}/platelet-counts/{fact['id']}"
    assert house.call("pharmacist", "PUT", path, count(0, platelets, **WHY), version="*").status == 200
    return patient


def reopened(house: House) -> str:
    return recounted(house, signed(house), 30)


def stopped(house: House) -> str:
    """What is decided for today is not to be given: there is a thrombosis."""
    patient = signed(house)
    house.post(f"/patients/{patient}/events", event(0, "thrombosis"))
    return patient


def reopened_given(house: House) -> str:
    return recounted(house, delivered(house), 30)


def untold(house: House) -> str:
    """A message about a patient was given up, and nobody has seen to it."""
    patient = house.patient()
    with house.services.store.writing() as session:
        dead = sample(Delivery, about=patient, clinic_id=house.clinic, status="dead")
        session.add(sample(ChannelRow, clinic_id=house.clinic), dead)
        unsettle(session, [dead])
    return patient


#: A patient, how many days from today one asks, what waits then and by how many days it is overdue.
WAITS: Final[list[tuple[Make, int, list[str], int]]] = [
    (dosed, 0, ["awaiting-sign-off"], 0),
    (dosed, 1, ["dose-overdue", "awaiting-sign-off"], 1),
    (dosed, 6, ["dose-overdue", "awaiting-sign-off"], 6),
    (dosed, 7, ["dose-overdue", "awaiting-sign-off", "count-due"], 7),
    (dosed, 8, ["dose-overdue", "count-overdue"], 8),
    (dosed, 21, ["dose-overdue", "count-overdue"], 21),
    (dosed, 22, ["referred", "count-overdue"], 15),
    (signed, 0, ["dose-due"], 0),
    (signed, 1, ["dose-overdue"], 1),
    (signed, 3, ["dose-overdue"], 3),
    (signed, 4, ["dose-overdue", "awaiting-sign-off"], 4),
    (signed_for_tomorrow, 0, [], 0),
    (signed_for_tomorrow, 1, ["dose-due"], 0),
    (signed_for_tomorrow, 2, ["dose-overdue"], 1),
    (delivered, 0, [], 0),
    (delivered, 6, [], 0),
    (delivered, 7, ["count-due"], 0),
    (delivered, 8, ["dose-overdue", "count-overdue"], 1),
    (on_hold, 0, ["awaiting-sign-off"], 0),
    (on_hold, 7, ["awaiting-sign-off", "count-due"], 0),
    (on_hold, 8, ["hold-without-re-check", "awaiting-sign-off"], 1),
    (held, 0, [], 0),
    (held, 6, [], 0),
    (held, 7, ["count-due"], 0),
    (held, 8, ["hold-without-re-check"], 1),
    (awaiting, 0, ["awaiting-second"], 0),
    (awaiting, 3, ["awaiting-second"], 3),
    (awaiting, 4, ["dose-overdue", "awaiting-sign-off"], 4),
    (referred, 0, ["referred"], 0),
    (referred, 6, ["referred"], 6),
    (referred_by_rule, 0, ["referred"], 0),
    (answered, 0, [], 0),
    (answered, 7, ["count-due"], 0),
    (answered, 8, ["count-overdue"], 1),
    (starting, 0, ["awaiting-sign-off"], 0),
    (starting, 6, ["awaiting-sign-off"], 0),
    (starting, 7, ["awaiting-sign-off", "count-due"], 0),
    (starting, 8, ["count-overdue"], 1),
    (steady, 0, [], 0),
    (steady, 1, ["awaiting-sign-off"], 0),
    (steady, 4, ["awaiting-sign-off"], 0),
    (steady, 5, ["dose-overdue", "awaiting-sign-off"], 1),
    (unreliable, 0, ["count-due"], 0),
    (unreliable, 1, ["dose-overdue", "count-due"], 1),
    (paused, 0, ["no-next-date"], 0),
    (paused, 9, ["no-next-date"], 0),
    (doubtful, 0, ["to-verify", "no-next-date"], 0),
    (departed, 0, ["dose-mismatch"], 0),
    (departed, 7, ["dose-mismatch", "count-due"], 0),
    (reopened, 0, ["re-opened", "awaiting-sign-off"], 0),
    (stopped, 0, ["re-opened", "referred"], 0),
    (reopened_given, 0, ["re-opened-given"], 0),
    (untold, 0, ["message-undelivered"], 0),
    (untold, 9, ["message-undelivered"], 0),
    (House.patient, 0, [], 0),
]


def test_each_task_is_shown_here() -> None:
    assert {task for _, _, tasks, _ in WAITS for task in tasks} == {*TASKS}
    assert tuple(map(str, Task)) == TASKS


def only_line(house: House, query: str = "") -> tuple[list[str], int]:
    """The tasks of the one patient, and by how many days something is overdue; the tallies are those of the line."""
    shown = worklist(house, query)
    lines = shown["items"]
    assert len(lines) <= 1
    tasks = lines[0]["tasks"] if lines else []
    assert shown["tallies"] == {task: int(task in tasks) for task in TASKS}
    return tasks, lines[0]["overdue_days"] if lines else 0


@pytest.mark.parametrize(("make", "ahead", "tasks", "overdue"), WAITS)
def test_what_waits_on_a_day(house: House, make: Make, ahead: int, tasks: list[str], overdue: int) -> None:
    """Asked beforehand, and once the day has come."""
    make(house)
    if ahead:
        assert only_line(house, f"?on={day(-ahead)}") == (tasks, overdue)
    house.clock.on(days=ahead)
    assert only_line(house) == (tasks, overdue)
    assert only_line(house, f"?on={day(-ahead)}") == (tasks, overdue)


@pytest.mark.parametrize(
    ("make", "steps", "tasks"),
    [
        (awaiting, lambda h, p: act(h, p, 1, "second-signature"), ["dose-due"]),
        (awaiting, lambda h, p: act(h, p, 1, "withdrawal", "prescriber"), ["awaiting-sign-off"]),
        (signed, lambda h, p: act(h, p, 1, "withdrawal"), ["awaiting-sign-off"]),
        (signed, lambda h, p: recounted(h, p, 91), ["dose-due"]),
        (
            signed,
            lambda h, p: h.post(f"/patients/{p}/platelet-counts", count(0, 30)),
            ["awaiting-sign-off"],
        ),
        (referred, lambda h, p: decided(h, p, "accept", "prescriber"), ["dose-due"]),
        (
            paused,
            lambda h, p: h.call("pharmacist", "POST", f"/patients/{p}/course/continuation", WHY, version="*"),
            ["awaiting-sign-off"],
        ),
        (
            dosed,
            lambda h, p: h.call("pharmacist", "PATCH", f"/patients/{p}", {"active": False, **WHY}, version="*"),
            [],
        ),
        (
            dosed,
            lambda h, p: h.call("prescriber", "POST", f"/patients/{p}/course/discontinuation", WHY, version="*"),
            [],
        ),
        (departed, lambda h, p: h.post(f"/patients/{p}/dose-mismatches/{TODAY}/reason", WHY), []),
        (untold, lambda h, _: h.post("/deliveries/msg_1/dismissal", {}), []),
    ],
)
def test_what_was_done_is_in_the_next_worklist(house: House, make: Make, steps: Any, tasks: list[str]) -> None:
    patient = make(house)
    worklist(house)
    steps(house, patient)
    now = only_line(house)[0]
    assert [task for task in now if task != "re-opened"] == tasks


def test_a_line_says_who_it_is_and_what_is_proposed(house: House) -> None:
    patient = alerted(house)
    (line,) = worklist(house)["items"]
    proposal = next_dose(house, patient)
    assert [line[key] for key in ("patient", "clinic", "family_name", "given_name", "born_on", "on")] == [
        patient,
        house.clinic,
        "Patient1",
        "Ada",
        "1960-05-01",
        TODAY,
    ]
    assert line["identifier"] == {"system": "urn:mrn", "value": "pharmacist-1"}
    for key in ("action", "due_on", "next_count_on", "proposal_sha256"):
        assert line[key] == proposal[key], key
    assert (line["reasons"], line["alerts"]) == (["IN-RANGE"], ["DOSE-MISSED", "LARGE-FALL"])
    assert line["dose"] == {key: proposal["dose"][key] for key in line["dose"]}
    assert (line["refused"], line["decision"], line["dose_mismatches"]) == (None, None, [])
    made = decided(house, patient, acknowledge=line["alerts"], proposal_sha256=line["proposal_sha256"])
    (line,) = worklist(house)["items"]
    assert line["decision"] == {
        "id": made["id"],
        "decision": "accept",
        "status": "in-force",
        "due_on": TODAY,
        "micrograms": 150,
        "dose": line["dose"],
    }


@pytest.mark.parametrize(("make", "code"), [(paused, "COURSE-NOT-ACTIVE"), (doubtful, "FACTS-UNVERIFIED")])
def test_a_line_says_why_there_is_no_next_dose(house: House, make: Make, code: str) -> None:
    make(house)
    (line,) = worklist(house)["items"]
    assert (line["refused"], line["action"], line["dose"], line["proposal_sha256"]) == (code, None, None, None)


# In order, in part, and page by page


def crowd(house: House) -> list[tuple[str, str]]:
    """Patients in the order in which they are to stand, each with its first task; the last two are alike."""
    made = [
        (departed, "dose-mismatch"),
        (reopened_given, "re-opened-given"),
        (dosed, "awaiting-sign-off"),
        (alerted, "dose-overdue"),
        (referred_by_rule, "referred"),
        (lambda house: dosed(house, last=9), "dose-overdue"),
        (dosed, "awaiting-sign-off"),
        (starting, "awaiting-sign-off"),
    ]
    found = [(make(house), task) for make, task in made]
    late = {found[3][0]: 4, found[5][0]: 2}
    return sorted(found, key=lambda one: (TASKS.index(one[1]), -late.get(one[0], 0), one[0]))


def walk(house: House, query: str, who: str = "pharmacist") -> list[str]:
    """The patients of all pages."""
    found: list[str] = []
    cursor = ""
    while True:
        page = worklist(house, f"?{query}{cursor}", who)
        found += [line["patient"] for line in page["items"]]
        if page["next"] is None:
            return found
        assert page["items"], "no page but the only one is empty"
        cursor = f"&cursor={page['next']}"


@pytest.mark.parametrize("limit", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("on", ["", f"&on={TODAY}"])
def test_the_most_urgent_stand_first_page_by_page(house: House, limit: int, on: str) -> None:
    expected = crowd(house)
    assert [(line["patient"], line["tasks"][0]) for line in worklist(house)["items"]] == expected
    assert walk(house, f"limit={limit}{on}") == [patient for patient, _ in expected]


def test_a_day_to_come_is_read_page_by_page_too(house: House) -> None:
    crowd(house)
    whole = [line["patient"] for line in worklist(house, f"?on={day(-1)}")["items"]]
    assert len(whole) == 8
    assert walk(house, f"limit=3&on={day(-1)}") == whole


def test_re_opened_with_a_dose_given_stands_at_the_top(house: House) -> None:
    others = crowd(house)
    patient = reopened_given(house)
    house.clock.on(days=20)
    shown = worklist(house)["items"]
    assert {shown[0]["patient"], shown[1]["patient"]} == {patient, others[0][0]}
    assert {line["tasks"][0] for line in shown[:2]} == {"re-opened-given"}


@pytest.mark.parametrize("task", TASKS)
def test_one_task_alone(house: House, task: str) -> None:
    """With the tallies of all."""
    crowd(house)
    whole = worklist(house)
    expected = [line["patient"] for line in whole["items"] if task in line["tasks"]]
    for on in ("", f"&on={TODAY}"):
        shown = worklist(house, f"?task={task}{on}")
        assert [line["patient"] for line in shown["items"]] == expected
        assert shown["tallies"] == whole["tallies"]
        assert walk(house, f"task={task}&limit=1{on}") == expected
    assert whole["tallies"][task] == len(expected)


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        (f"on={day(1)}", "on"),
        (f"on={day(-32)}", "on"),
        ("on=tomorrow", "on"),
        ("task=urgent", "task"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=-1.a", "cursor"),
        ("cursor=%D9%A3.a", "cursor"),
        (f"cursor={'9' * 10}.a", "cursor"),
        (f"cursor=0.{'a' * 99}", "cursor"),
    ],
)
def test_what_a_worklist_is_not_asked(house: House, query: str, fault: str) -> None:
    answer = house.call("pharmacist", "GET", f"/worklist?{query}")
    assert (answer.status, list(answer.faults)) == (422, [fault])


@pytest.mark.parametrize(
    "query", ["", f"?on={TODAY}", f"?on={day(-31)}", "?cursor=0.", "?cursor=999999999.f", "?limit=200"]
)
def test_a_worklist_of_nobody(house: House, query: str) -> None:
    shown = worklist(house, query)
    assert (shown["items"], shown["next"], {*shown["tallies"].values()}) == ([], None, {0})


def test_of_a_program_that_fails_its_self_test_nothing_waits_and_nothing_is_told(house: House) -> None:
    dosed(house)
    worklist(house)
    broken = house.with_services(broken=("a worked example is answered otherwise",))
    answer = broken.call("pharmacist", "GET", "/worklist")
    assert (answer.status, answer.code) == (503, "SELF-TEST-FAILED")


# Clinics


def of_both(house: House) -> str:
    return house.account("both", Role.PHARMACIST, house.clinic, house.other_clinic)[1]


def in_new_york(house: House) -> str:
    """A patient of the other clinic, to start today."""
    patient = house.patient("stranger")
    house.post(f"/patients/{patient}/course", {"protocol": "us-itp-adult"}, "stranger")
    for collection, body in (("weights", weight(0)), ("platelet-counts", count(0, 20))):
        house.post(f"/patients/{patient}/{collection}", body, "stranger")
    return patient


def test_each_sees_the_clinics_of_the_account(house: House) -> None:
    here, there, both = starting(house), in_new_york(house), of_both(house)
    expected = {
        ("pharmacist", ""): [here],
        ("stranger", ""): [there],
        (both, ""): sorted([here, there]),
        (both, f"?clinic={house.clinic}"): [here],
        (both, f"?clinic={house.other_clinic}"): [there],
    }
    for (who, query), patients in expected.items():
        for on in ("", f"{'&' if query else '?'}on={day(-1)}"):
            shown = worklist(house, query + on, who)
            assert [line["patient"] for line in shown["items"]] == patients, (who, query)
            assert shown["tallies"]["awaiting-sign-off"] == len(patients)
    assert walk(house, "limit=1", both) == sorted([here, there]), "equal ranks of two clinics"
    for clinic in (house.other_clinic, "f" * 20):
        answer = house.call("pharmacist", "GET", f"/worklist?clinic={clinic}")
        assert (answer.status, [fault["path"] for fault in answer.json["faults"]]) == (422, ["clinic"])


def test_broken_glass_puts_nobody_on_a_worklist(house: House) -> None:
    patient = starting(house)
    house.post("/glass-breaks", {"patient": patient, "reason": "bleeding, in our emergency room"}, "stranger")
    assert house.get(f"/patients/{patient}/next-dose", "stranger")
    assert worklist(house, who="stranger")["items"] == []


def test_a_patient_who_moved_is_on_the_worklist_of_the_other_clinic(house: House) -> None:
    patient = starting(house)
    worklist(house)
    answer = house.call(of_both(house), "PATCH", f"/patients/{patient}", {"clinic": house.other_clinic}, version="*")
    assert answer.status == 200
    assert worklist(house)["items"] == []
    (line,) = worklist(house, who="stranger")["items"]
    assert (line["patient"], line["clinic"]) == (patient, house.other_clinic)


def test_each_clinic_has_its_own_day(house: House) -> None:
    """At 23:30 UTC it is tomorrow in Berlin, and in New York it is not."""
    here, there, both = signed(house), in_new_york(house), of_both(house)
    house.clock.on(hours=11, minutes=30)
    lines = {line["patient"]: line for line in worklist(house, who=both)["items"]}
    assert (lines[here]["on"], lines[here]["tasks"], lines[here]["overdue_days"]) == (day(-1), ["dose-overdue"], 1)
    assert (lines[there]["on"], lines[there]["tasks"]) == (TODAY, ["awaiting-sign-off"])
    past = house.call(both, "GET", f"/worklist?on={TODAY}")
    assert (past.status, list(past.faults)) == (422, ["on"]), "past in Berlin"
    (line,) = worklist(house, f"?on={TODAY}&clinic={house.other_clinic}", both)["items"]
    assert line["patient"] == there
    lines = {line["patient"]: line for line in worklist(house, f"?on={day(-1)}", both)["items"]}
    assert {line["on"] for line in lines.values()} == {day(-1)}
    assert (lines[here]["tasks"], lines[there]["tasks"]) == (["dose-overdue"], ["awaiting-sign-off"])
    far = house.call(both, "GET", f"/worklist?on={day(-32)}")
    assert (far.status, list(far.faults)) == (422, ["on"]), "too far for New York"


def test_a_new_day_begins_at_midnight_of_the_clinic(house: House) -> None:
    signed(house)
    house.clock.on(hours=10, minutes=59)
    assert only_line(house) == (["dose-due"], 0)
    house.clock.on(minutes=1)
    assert only_line(house) == (["dose-overdue"], 1)


def test_what_is_due_sooner_comes_first(house: House) -> None:
    """Of those whom the same task waits for; whoever was entered first."""
    later, sooner = dosed(house, last=4), dosed(house, last=5)
    lines = [line for line in worklist(house)["items"] if line["tasks"][0] == "awaiting-sign-off"]
    assert [line["due_on"] for line in lines] == sorted(line["due_on"] for line in lines)
    assert [line["patient"] for line in lines] == [sooner, later]
