"""What docs/rest.md promises to a program that gets something slightly wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from schemas.account import TokenIssued
from tests.contract.served import Served, serving
from titrator.security.permissions import Role

PHARMACIST, PRESCRIBER, ADMIN = Role.PHARMACIST, Role.PRESCRIBER, Role.ADMIN


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("promises")) as server:
        yield server


def on_a_course(served: Served) -> str:
    """A patient who has been on a course since 16 November, weighed and counted."""
    patient = served.patient()
    for path, body in (
        ("course", {"protocol": "us-itp-adult", "started_on": "2026-11-16"}),
        ("weights", {"measured_on": "2026-11-16", "value": 75, "unit": "kg"}),
        ("platelet-counts", {"collected_on": "2026-11-16", "value": 16, "unit": "10*9/L"}),
    ):
        assert served.call(PHARMACIST, "POST", f"{patient}/{path}", body).status_code == 201
    return patient


def faults(response: Any) -> list[str]:
    assert (response.status_code, response.json()["code"]) == (422, "INVALID"), response.text
    return [fault["path"] for fault in response.json()["faults"]]


# A parameter that nobody knows is never passed over: the answer would be to another question


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("?date=2026-11-16", ["date"]),
        ("?On=2026-11-16", ["On"]),
        ("?on=2026-11-16&on=2026-11-23", ["on"]),
        ("?on=16.11.2026&x=1", ["on", "x"]),
    ],
)
@pytest.mark.parametrize("route", ["next-dose", "timeline"])
def test_a_query_is_read_strictly(served: Served, route: str, query: str, wrong: list[str]) -> None:
    assert faults(served.call(PHARMACIST, "GET", f"{on_a_course(served)}/{route}{query}")) == wrong


def test_a_route_without_parameters_takes_none(served: Served) -> None:
    patient = on_a_course(served)
    assert faults(served.call(PHARMACIST, "GET", f"{patient}/weights?since=2026-11-01")) == ["since"]
    body = {"measured_on": "2026-11-17", "value": 75, "unit": "kg"}
    assert faults(served.call(PHARMACIST, "POST", f"{patient}/weights?confirm=WEIGHT-UNUSUAL", body)) == ["confirm"]


def test_a_right_query_is_answered(served: Served) -> None:
    answer = served.call(PHARMACIST, "GET", f"{on_a_course(served)}/next-dose?on=2026-11-16")
    assert (answer.status_code, answer.json()["action"], answer.json()["on"]) == (200, "start", "2026-11-16")


# A course has no next dose before it began, whatever was counted by then


@pytest.mark.parametrize(("on", "status"), [("2026-11-15", 409), ("2026-11-16", 200), ("2026-11-17", 200)])
def test_there_is_no_next_dose_before_the_course(served: Served, on: str, status: int) -> None:
    patient = on_a_course(served)
    earlier = {"measured_on": "2026-11-10", "value": 75, "unit": "kg"}
    assert served.call(PHARMACIST, "POST", f"{patient}/weights", earlier).status_code == 201
    earlier = {"collected_on": "2026-11-10", "value": 16, "unit": "10*9/L"}
    assert served.call(PHARMACIST, "POST", f"{patient}/platelet-counts", earlier).status_code == 201
    answer = served.call(PHARMACIST, "GET", f"{patient}/next-dose?on={on}")
    assert answer.status_code == status
    assert answer.json()["code" if status == 409 else "action"] == ("COURSE-NOT-ACTIVE" if status == 409 else "start")


# A question names itself, for programs, in each fault


def test_each_question_of_a_dose_begins_with_its_code(served: Served) -> None:
    patient = on_a_course(served)
    first = {"given_on": "2026-11-16", "micrograms": 75}
    assert served.call(PHARMACIST, "POST", f"{patient}/doses", first).status_code == 201
    response = served.call(PHARMACIST, "POST", f"{patient}/doses", {"given_on": "2026-11-18", "micrograms": 600})
    assert (response.status_code, response.json()["code"]) == (422, "DOSES-TOO-CLOSE")
    asked = [(fault["path"], fault["message"].partition(": ")[0]) for fault in response.json()["faults"]]
    assert asked == [("confirm", "DOSES-TOO-CLOSE"), ("confirm", "DOSE-FAR-FROM-LAST")]
    confirmed = {"given_on": "2026-11-18", "micrograms": 600, "confirm": [code for _, code in asked]}
    fact = served.call(PHARMACIST, "POST", f"{patient}/doses", confirmed)
    assert (fact.status_code, fact.json()["asked"]) == (201, [code for _, code in asked])


# Only what was asked can be confirmed: a script that always sends every code would never be asked


def test_a_question_names_what_to_confirm_and_nothing_else_can_be(served: Served) -> None:
    patient = on_a_course(served)
    body = {"collected_on": "2026-11-23", "value": 380, "unit": "10*9/L"}
    asked = served.call(PHARMACIST, "POST", f"{patient}/platelet-counts", body)
    assert (asked.status_code, asked.json()["questions"]) == (422, ["COUNT-FAR-FROM-LAST"])
    every = {**body, "confirm": ["COUNT-FAR-FROM-LAST", "WEIGHT-UNUSUAL"]}
    assert faults(served.call(PHARMACIST, "POST", f"{patient}/platelet-counts", every)) == ["confirm[1]"]
    confirmed = {**body, "confirm": asked.json()["questions"]}
    assert served.call(PHARMACIST, "POST", f"{patient}/platelet-counts", confirmed).status_code == 201


# The revision tells of courses, too, and of nothing that was not recorded


def test_a_change_of_a_course_raises_the_revision_and_the_database_stays_sound(served: Served) -> None:
    patient = on_a_course(served)
    before = served.call(PHARMACIST, "GET", patient).json()["revision"]
    for version, change in enumerate(("pause", "continuation"), 1):
        why = {"reason": "surgery"}
        changed = served.call(PHARMACIST, "POST", f"{patient}/course/{change}", why, If_Match=f'"{version}"')
        assert changed.status_code == 200
        assert served.call(PHARMACIST, "GET", patient).json()["revision"] == before + version
    assert served.services.store.check() == []


# A weight of a feed that looks wrong is left out, unless the answer hangs on it


@pytest.mark.parametrize(("day", "status"), [("2026-11-10", 200), ("2026-11-16", 409)])
def test_a_weight_that_would_change_the_answer_holds_it_back(served: Served, day: str, status: int) -> None:
    """Here the older of two weights changes nothing, and the newer one the dose."""
    patient = on_a_course(served)
    body = {"measured_on": day, "value": 165, "unit": "kg"}
    fact = served.call(Role.EHR, "POST", f"{patient}/weights", body).json()
    assert fact["status"] == "unverified"
    answer = served.call(PHARMACIST, "GET", f"{patient}/next-dose?on=2026-11-16")
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["unverified"] == [{"collection": "weights", "id": fact["id"]}]
        assert answer.json()["dose"]["micrograms"] == 75
    else:
        assert answer.json()["code"] == "FACTS-UNVERIFIED"
        assert [fault["path"] for fault in answer.json()["faults"]] == [f"weights/{fact['id']}"]


# No day of a fact lies ahead: an event that will be over resolves itself, unseen


@pytest.mark.parametrize(("day", "status"), [("2026-11-22", 201), ("2026-11-23", 201), ("2026-11-24", 422)])
def test_an_event_is_not_over_before_it_is(served: Served, day: str, status: int) -> None:
    body = {"kind": "thrombosis", "occurred_on": "2026-11-16", "resolved_on": day}
    response = served.call(PRESCRIBER, "POST", f"{on_a_course(served)}/events", body)
    assert response.status_code == status
    if status == 422:
        assert faults(response) == ["resolved_on"]


def test_nor_is_it_by_a_correction(served: Served) -> None:
    path = f"{on_a_course(served)}/events"
    body = {"kind": "thrombosis", "occurred_on": "2026-11-16"}
    event = served.call(PRESCRIBER, "POST", path, body).json()
    ahead = body | {"resolved_on": "2026-11-24", "reason": "by plan"}
    assert faults(served.call(PRESCRIBER, "PUT", f"{path}/{event['id']}", ahead, If_Match='"1"')) == ["resolved_on"]


# What is wrong in a body is a fault of it, not a missing page


def test_a_patient_cannot_be_moved_to_a_clinic_that_is_not_there(served: Served) -> None:
    response = served.call(PHARMACIST, "PATCH", served.patient(), {"clinic": "nowhere"}, If_Match="*")
    assert faults(response) == ["clinic"]


# An answer that is repeated has all but the secret


def test_a_repeated_answer_keeps_no_secret_and_nothing_less(served: Served) -> None:
    account = served.call(ADMIN, "GET", "/accounts").json()["items"][0]["id"]
    ask = {"label": "feed", "days": 1}
    first, again = (
        served.call(ADMIN, "POST", f"/accounts/{account}/tokens", ask, Idempotency_Key="one") for _ in range(2)
    )
    assert first.json()["secret"].startswith("titr_")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == first.json() | {"secret": None}
    assert TokenIssued().validate(again.json() | {"token": {}}).keys() == {"token"}
