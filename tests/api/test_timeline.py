"""The timeline: grades, weeks above target, days since transfusions, and what belongs to a day."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.api.support import TODAY, WHY, House, count, day, dose, event, observation, weight


def grades(house: House, patient: str) -> list[int | None]:
    return [one["ctcae_grade"] for one in house.get(f"/patients/{patient}/timeline")["entries"]]


@pytest.mark.parametrize(
    ("collection", "body", "grade"),
    [
        ("platelet-counts", count(0, Decimal("24.9")), 4),
        ("platelet-counts", count(0, 25), 3),
        ("platelet-counts", count(0, Decimal("49.9")), 3),
        ("platelet-counts", count(0, 50), 2),
        ("platelet-counts", count(0, Decimal("74.9")), 2),
        ("platelet-counts", count(0, 75), None),
        ("platelet-counts", count(0, 24_999, "/uL"), 4),
        ("platelet-counts", count(0, 0), 4),
        ("observations", observation(0, Decimal("0.49"), "neutrophils", "10*9/L"), 4),
        ("observations", observation(0, Decimal("0.5"), "neutrophils", "10*9/L"), 3),
        ("observations", observation(0, 999, "neutrophils", "/uL"), 3),
        ("observations", observation(0, 1, "neutrophils", "10*9/L"), 2),
        ("observations", observation(0, Decimal("1.5"), "neutrophils", "10*9/L"), None),
        ("observations", observation(0, Decimal("1.5"), "neutrophils", "10*9/L", lower_limit_of_normal=2), 1),
        ("observations", observation(0, 2, "neutrophils", "10*9/L", lower_limit_of_normal=2), 0),
        ("observations", observation(0, Decimal("7.9"), unit="g/dL"), 3),
        ("observations", observation(0, 8, unit="g/dL"), 2),
        ("observations", observation(0, 99), 2),
        ("observations", observation(0, 100), None),
        ("observations", observation(0, 119, lower_limit_of_normal=120), 1),
        ("observations", observation(0, 12, unit="g/dL", lower_limit_of_normal=12), 0),
        ("observations", observation(0, 12, unit="g/dL", lower_limit_of_normal=0), 0),
        ("observations", observation(0, Decimal("6.2"), unit="mmol/L"), 2),
        ("observations", observation(0, 12, unit="furlong"), None),
        ("observations", observation(0, 1, "b-cells", "%"), None),
        ("weights", weight(0), None),
        ("doses", dose(0), None),
        ("events", event(0, "adverse_event", scale="crs", grade=3), None),
    ],
)
def test_grades(house: House, collection: str, body: dict[str, object], grade: int | None) -> None:
    patient = house.begun()
    assert house.record(patient, collection, body).status == 201
    assert grades(house, patient) == [grade]


@pytest.mark.parametrize(
    ("counts", "weeks"),
    [
        ([], None),
        ([(0, 49)], 0),
        ([(0, 50)], 0),
        ([(7, 50), (0, 50)], 1),
        ([(6, 50), (0, 50)], 0),
        ([(28, 60), (14, 70), (0, 80)], 4),
        ([(28, 60), (14, 49), (0, 80)], 0),
        ([(28, 20), (21, 60), (0, 80)], 3),
        ([(28, 60), (0, 49)], 0),
    ],
)
def test_weeks_above_target(house: House, counts: list[tuple[int, int]], weeks: int | None) -> None:
    patient = house.on_course()
    for ago, value in counts:
        assert house.record(patient, "platelet-counts", count(ago, value)).status == 201
    assert house.get(f"/patients/{patient}/timeline")["weeks_above_target"] == weeks


def test_unreliable_counts_make_no_weeks(house: House) -> None:
    patient = house.on_course()
    house.record(patient, "platelet-counts", count(28, 60))
    house.record(patient, "platelet-counts", count(14, 30, unreliable=True))
    house.record(patient, "platelet-counts", count(0, 60))
    house.record(patient, "platelet-counts", count(0, 3000), "ehr")
    assert house.get(f"/patients/{patient}/timeline")["weeks_above_target"] == 4


def test_days_since(house: House) -> None:
    patient = house.patient()
    empty = house.get(f"/patients/{patient}/timeline")
    kinds = {"platelet_transfusion": (30, 9), "red_cell_transfusion": (3,), "rescue_therapy": (0,)}
    assert {empty[f"days_since_{kind}"] for kind in kinds} == {None}
    for kind, agos in kinds.items():
        for ago in agos:
            house.record(patient, "events", event(ago, kind))
    found = house.get(f"/patients/{patient}/timeline")
    assert [found[f"days_since_{kind}"] for kind in kinds] == [9, 3, 0]
    earlier = house.get(f"/patients/{patient}/timeline?on={day(10)}")
    assert [earlier[f"days_since_{kind}"] for kind in kinds] == [20, None, None]


def test_what_was_entered_in_error_is_not_there_and_days_are_in_order(house: House) -> None:
    patient = house.on_course(started_ago=20)
    for ago in (3, 9, 6):
        house.record(patient, "platelet-counts", count(ago))
    wrong = house.record(patient, "events", event(2, "platelet_transfusion")).json["id"]
    at = f"/patients/{patient}/events/{wrong}/entered-in-error"
    house.call("pharmacist", "POST", at, WHY, version=1)
    found = house.get(f"/patients/{patient}/timeline")
    assert [one["day"] for one in found["entries"]] == [day(20), day(9), day(6), day(3)]
    assert found["days_since_platelet_transfusion"] is None
    assert found["on"] == TODAY


@pytest.mark.parametrize(
    ("on", "answered"),
    [("2200-12-31", 200), (day(-30), 200), (day(35), 200), (day(36), 409), ("1960-04-30", 409), ("1900-01-01", 409)],
)
def test_any_day_has_a_timeline_and_from_the_courses_first_on_an_answer(house: House, on: str, answered: int) -> None:
    patient = house.on_course()
    house.record(patient, "platelet-counts", count(0, 20))
    found: Any = house.get(f"/patients/{patient}/timeline?on={on}")
    assert found["on"] == on
    answer = house.call("pharmacist", "GET", f"/patients/{patient}/next-dose?on={on}")
    assert answer.status == answered
    assert answer.json["on"] == on if answered == 200 else answer.code == "COURSE-NOT-ACTIVE"


def test_the_day_is_that_of_the_clinic(house: House) -> None:
    """At 23:30 UTC it is tomorrow in Berlin, and still today in New York."""
    house.clock.on(hours=11, minutes=30)
    berlin, new_york = house.patient(), house.patient("stranger")
    assert house.get(f"/patients/{berlin}/timeline")["on"] == day(-1)
    assert house.get(f"/patients/{new_york}/timeline", "stranger")["on"] == TODAY
    assert house.record(berlin, "weights", weight(-1)).status == 201
    assert house.record(new_york, "weights", weight(-1), "stranger").status == 422
