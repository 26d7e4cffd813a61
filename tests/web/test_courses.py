"""Courses on pages: started, changed for a reason, by whom it is for; all versions are shown."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.support import TODAY, WHY, House, day, dose, weight
from tests.web.support import Page, Person

CART = "cart-2021-case"


def said(page: Page) -> str:
    return page.text.replace("\xa0", " ")


def course(house: House, patient: str) -> Any:
    return house.get(f"/patients/{patient}/course")


def test_a_course_is_started_by_a_protocol_that_is_chosen_first(house: House) -> None:
    patient = house.patient()
    somebody = Person(house)
    page = somebody.get(f"/patients/{patient}/course")
    assert "The patient is on no course." in said(page)
    chosen = somebody.get(page.links["Start a course"])
    assert "Immune thrombocytopenia (ITP) after insufficient response" in said(chosen)
    assert "to confirm: A myelodysplastic syndrome has been excluded" in said(chosen)
    form = f"/patients/{patient}/course/start"
    opened = somebody.get(f"{form}?protocol=us-itp-adult")
    assert opened.sheet(form).fields["started_on"] == [TODAY]
    page = somebody.submit(opened, form, started_on=day(3))
    assert (page.status, page.path) == (200, f"/patients/{patient}")
    assert "The course by us-itp-adult has started." in said(page)
    found = course(house, patient)
    assert (found["protocol"], found["started_on"], found["status"]) == ("us-itp-adult", day(3), "active")


def test_a_prescriber_confirms_eligibility_with_the_start(house: House) -> None:
    patient = house.patient()
    form = f"/patients/{patient}/course/start"
    pharmacist, prescriber = Person(house), Person(house, "prescriber")
    theirs = pharmacist.get(f"{form}?protocol={CART}")
    assert "A prescriber has to confirm before the first dose" in said(theirs)
    assert "eligibility" not in theirs.sheet(form).choices
    opened = prescriber.get(f"{form}?protocol={CART}")
    codes = opened.sheet(form).choices["eligibility"]
    assert sorted(codes) == ["marrow-infiltration-excluded", "mds-excluded"]
    prescriber.submit(opened, form, eligibility=codes)
    assert course(house, patient)["eligibility"] == sorted(codes)


@pytest.mark.parametrize(
    ("filled", "wrong"),
    [
        ({"started_on": day(-1)}, "Started on: must be from"),
        ({"started_on": "soon"}, "Started on: must be a date"),
        ({"reason": "x" * 1001}, "Reason: must have 1 to 1000 characters"),
    ],
)
def test_a_start_with_faults(house: House, filled: dict[str, Any], wrong: str) -> None:
    patient = house.patient()
    form = f"/patients/{patient}/course/start"
    somebody = Person(house)
    page = somebody.submit(somebody.get(f"{form}?protocol=us-itp-adult"), form, **filled)
    assert page.status == 422
    assert wrong in said(page)
    assert house.call("pharmacist", "GET", f"/patients/{patient}/course").status == 404


def test_what_stands_against_a_start(house: House) -> None:
    patient = house.on_course()
    form = f"/patients/{patient}/course/start"
    somebody = Person(house)
    page = somebody.submit(somebody.get(f"{form}?protocol=us-itp-adult"), form)
    assert (page.status, "The patient is on a course already" in said(page)) == (409, True)
    for path in (form, f"{form}?protocol=none"):
        assert somebody.get(path).path == f"/patients/{patient}/course/protocols"
    assert somebody.submit(page, form, protocol="none").status == 404
    unborn = house.patient(born_on=None)
    assert "A course needs the birth date." in said(somebody.get(f"/patients/{unborn}/course"))


#: What each role is offered of a course that is open.
OFFERED = {
    "technician": set(),
    "pharmacist": {"Switch protocol", "Pause"},
    "prescriber": {"Switch protocol", "Pause", "New baseline weight", "Discontinue", "Entered in error"},
}


@pytest.mark.parametrize("role", OFFERED)
def test_only_what_a_role_may_do_is_offered(house: House, role: str) -> None:
    patient = house.on_course()
    somebody = Person(house, role)
    page = somebody.get(f"/patients/{patient}/course")
    every = {"Confirm eligibility", "Go on", *OFFERED["prescriber"]}
    assert every & set(page.links) == OFFERED[role]
    for path, words in (
        ("protocol", "Switch protocol"),
        ("pause", "Pause"),
        ("baseline", "New baseline weight"),
        ("discontinuation", "Discontinue"),
        ("entered-in-error", "Entered in error"),
    ):
        expected = 200 if words in OFFERED[role] else 403
        assert somebody.get(f"/patients/{patient}/course/{path}").status == expected, path


def test_a_course_pauses_and_goes_on(house: House) -> None:
    patient = house.on_course()
    somebody = Person(house)
    where = f"/patients/{patient}/course"
    opened = somebody.get(f"{where}/pause")
    assert "Reason: required" in said(somebody.submit(opened, f"{where}/pause"))
    page = somebody.submit(opened, f"{where}/pause", reason="Surgery")
    assert (page.status, page.path) == (200, where)
    assert "Done: Pause." in said(page)
    assert course(house, patient)["status"] == "paused"
    assert "Pause" not in page.links
    page = somebody.submit(somebody.get(page.links["Go on"]), f"{where}/continuation", reason="Recovered")
    for told in ("Went on", "Recovered", "Paused", "Surgery", "Started", "Pharmacist"):
        assert told in said(page), told
    assert course(house, patient)["status"] == "active"


def test_a_change_of_what_has_changed_meanwhile_is_refused(house: House) -> None:
    patient = house.on_course()
    where = f"/patients/{patient}/course"
    one, other = Person(house), Person(house, "prescriber")
    opened = one.get(f"{where}/protocol")
    other.submit(other.get(f"{where}/baseline"), f"{where}/baseline", reason="Weighed anew")
    page = one.submit(opened, f"{where}/protocol", protocol="eu-itp-adult", reason="Moved")
    assert page.status == 412
    assert "It has been changed" in said(page)
    assert course(house, patient)["protocol"] == "us-itp-adult"


def test_another_protocol(house: House) -> None:
    patient = house.on_course()
    form = f"/patients/{patient}/course/protocol"
    somebody = Person(house)
    opened = somebody.get(form)
    assert "us-itp-adult" not in opened.sheet(form).choices["protocol"]
    assert "after insufficient response to corticosteroids" in said(opened)
    wrong = somebody.submit(opened, form, protocol=CART, reason="x")
    assert "Protocol: asks for what has not been confirmed: marrow-infiltration-excluded, mds-excluded" in said(wrong)
    once = somebody.submit(opened, form, protocol="us-hs-ars", reason="x")
    assert "Protocol: gives a single dose where the other titrates" in said(once)
    somebody.submit(opened, form, protocol="eu-itp-adult", reason="Treated by the European label")
    found = course(house, patient)
    assert (found["protocol"], found["reason"]) == ("eu-itp-adult", "Treated by the European label")


def test_eligibility_is_confirmed_and_taken_back(house: House) -> None:
    patient = house.on_course(protocol=CART)
    where = f"/patients/{patient}/course"
    form = f"{where}/eligibility"
    somebody = Person(house, "prescriber")
    assert "A myelodysplastic syndrome has been excluded: not confirmed" in said(somebody.get(where))
    opened = somebody.get(form)
    codes = opened.sheet(form).choices["eligibility"]
    page = somebody.submit(opened, form, eligibility=codes, reason="Marrow examined")
    assert "not confirmed" not in said(page)
    assert course(house, patient)["eligibility"] == sorted(codes)
    again = somebody.get(form)
    assert sorted(again.sheet(form).fields["eligibility"]) == sorted(codes)
    somebody.submit(again, form, eligibility=None, reason="The report was another patient's")
    assert course(house, patient)["eligibility"] == []


def test_a_new_baseline(house: House) -> None:
    patient = house.on_course()
    house.record(patient, "weights", weight(0, 80))
    form = f"/patients/{patient}/course/baseline"
    somebody = Person(house, "prescriber")
    wrong = somebody.submit(somebody.get(form), form, baseline_on=day(-1), reason="x")
    assert "Baseline weight of: must be from" in said(wrong)
    page = somebody.submit(somebody.get(form), form, reason="Has grown")
    assert "baseline weight of Mon 9 Mar 2026" in said(page)
    assert course(house, patient)["baseline_on"] == TODAY


def test_a_baseline_is_offered_where_doses_follow_one(house: House) -> None:
    patient = house.on_course(protocol=CART)
    assert "New baseline weight" not in Person(house, "prescriber").get(f"/patients/{patient}/course").links


def test_the_end_of_a_course(house: House) -> None:
    patient = house.on_course()
    house.record(patient, "doses", dose(7))
    where = f"/patients/{patient}/course"
    form = f"{where}/discontinuation"
    somebody = Person(house, "prescriber")
    wrong = somebody.submit(somebody.get(form), form, ended_on=day(8), reason="x")
    assert f"Ended on: must not be before {day(7)}, when a dose was given" in said(wrong)
    page = somebody.submit(somebody.get(form), form, reason="Remission")
    assert "The patient is on no course." in said(page)
    assert "Remission" in said(page)
    assert course(house, patient)["status"] == "discontinued"
    assert somebody.get(form).status == 404


def test_a_course_that_never_was(house: House) -> None:
    patient = house.on_course()
    form = f"/patients/{patient}/course/entered-in-error"
    somebody = Person(house, "prescriber")
    page = somebody.submit(somebody.get(form), form, reason="Another patient")
    assert "Entered in error" in said(page)
    assert "The patient is on no course." in said(page)
    assert len(house.get(f"/patients/{patient}/weights")["items"]) == 1


def test_of_who_is_not_active(house: House) -> None:
    patient = house.patient()
    house.call("pharmacist", "PATCH", f"/patients/{patient}", {"active": False, **WHY}, version=1)
    page = Person(house).get(f"/patients/{patient}/course")
    assert "The record is not active" in said(page)
    assert "Start a course" not in page.links
