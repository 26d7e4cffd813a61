"""What a dose or a correction does to a decision: stories that a random search has found, one by one."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.api.support import WHY, Answer, House, build, count, dose

OVERRIDE = {"decision": "override", "reason_code": "clinical-judgement", "comment": "as discussed"}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return build(tmp_path)


def begun(house: House, kg: object = 75) -> str:
    """A patient to whom a first dose is proposed: the id."""
    patient = house.on_course(0, kg)
    house.record(patient, "platelet-counts", count(0, 20))
    return patient


def decide(house: House, patient: str, who: str = "pharmacist", **body: object) -> Answer:
    proposal = house.get(f"/patients/{patient}/next-dose")
    acknowledged = [alert["code"] for alert in proposal["alerts"]]
    sent = {"decision": "accept", "proposal_sha256": proposal["proposal_sha256"], "acknowledge": acknowledged, **body}
    return house.call(who, "POST", f"/patients/{patient}/decisions", sent)


def decisions(house: House, patient: str) -> list[Any]:
    """The decisions, the first one first."""
    return list(reversed(house.get(f"/patients/{patient}/decisions")["items"]))


def departures(house: House, patient: str) -> dict[str, list[str]]:
    return {one["day"]: one["departs"] for one in house.get(f"/patients/{patient}/dose-mismatches")["items"]}


def give(house: House, patient: str, ago: int, micrograms: object = 75) -> int:
    answer = house.record(patient, "doses", dose(ago, micrograms), who="technician")
    assert answer.status == 201, answer.text
    return int(answer.json["id"])


def correct(house: House, patient: str, fact: str, body: dict[str, object]) -> None:
    answer = house.call("pharmacist", "PUT", f"/patients/{patient}/{fact}", {**body, **WHY}, version="*")
    assert answer.status == 200, answer.text


def in_error(house: House, patient: str, fact: str) -> None:
    path = f"/patients/{patient}/{fact}/entered-in-error"
    assert house.call("pharmacist", "POST", path, WHY, version="*").status == 200


@pytest.mark.parametrize(("recorded", "right"), [(0, -1), (-1, 0)])
def test_a_dose_that_is_moved_to_another_day_carries_its_decision_out_there(
    house: House, recorded: int, right: int
) -> None:
    """Else it would wait to be given once more."""
    patient = begun(house)
    assert decide(house, patient).status == 201
    house.clock.on(days=1)
    given = give(house, patient, recorded)
    correct(house, patient, f"doses/{given}", dose(right))
    (decision,) = decisions(house, patient)
    assert (decision["status"], decision["given_on"]) == ("delivered", dose(right)["given_on"])
    assert not any(departures(house, patient).values())


def test_a_decision_whose_dose_never_was_is_carried_out_by_another_that_was_recorded_since(house: House) -> None:
    patient = begun(house)
    assert decide(house, patient).status == 201
    wrong = give(house, patient, 0)
    house.clock.on(days=1)
    body = dose(-1, confirm=["DOSES-TOO-CLOSE"])
    assert house.record(patient, "doses", body, who="technician").status == 201
    assert departures(house, patient) == {body["given_on"]: ["no-decision"]}
    in_error(house, patient, f"doses/{wrong}")
    (decision,) = decisions(house, patient)
    assert (decision["status"], decision["given_on"]) == ("delivered", body["given_on"])
    assert not any(departures(house, patient).values())


def test_a_decision_whose_dose_never_was_does_not_come_back_to_a_course_that_was_changed(house: House) -> None:
    patient = begun(house)
    assert decide(house, patient).status == 201
    given = give(house, patient, 0)
    assert house.call("pharmacist", "POST", f"/patients/{patient}/course/pause", WHY, version="*").status == 200
    in_error(house, patient, f"doses/{given}")
    assert [one["status"] for one in decisions(house, patient)] == ["void"]


def test_a_decision_is_re_opened_where_only_the_day_that_its_dose_is_due_on_changes(house: House) -> None:
    patient = begun(house)
    decide(house, patient)
    first = give(house, patient, 0)
    house.clock.on(days=7)
    house.record(patient, "platelet-counts", count(-7, 90))
    made = decide(house, patient).json
    assert (made["due_on"], made["reopened"]) == ("2026-03-16", None)
    correct(house, patient, f"doses/{first}", dose(-2))
    reopened = decisions(house, patient)[1]["reopened"]
    assert reopened["answer"]["dose"] == made["answer"]["dose"]
    assert reopened["answer"]["due_on"] == "2026-03-18"


def test_what_is_corrected_after_a_dose_was_given_is_no_departure_of_the_dose(house: House) -> None:
    patient = begun(house)
    decide(house, patient)
    given = give(house, patient, 0)
    counted = house.get(f"/patients/{patient}/platelet-counts")["items"][0]["id"]
    correct(house, patient, f"platelet-counts/{counted}", count(0, 60))
    assert decisions(house, patient)[0]["reopened"] is not None
    correct(house, patient, f"doses/{given}", dose(0, note="in the left arm"))
    assert departures(house, patient) == {}


def test_what_was_re_opened_before_a_dose_was_given_stays_a_departure(house: House) -> None:
    patient = begun(house)
    decide(house, patient)
    counted = house.get(f"/patients/{patient}/platelet-counts")["items"][0]["id"]
    correct(house, patient, f"platelet-counts/{counted}", count(0, 60))
    given = give(house, patient, 0)
    today = str(dose(0)["given_on"])
    assert departures(house, patient) == {today: ["re-opened"]}
    correct(house, patient, f"doses/{given}", dose(0, note="in the left arm"))
    assert departures(house, patient) == {today: ["re-opened"]}


# The ceiling for 62.4 kg is 1248 micrograms; the syringe holds 1245 or 1250.
CEILING = {
    "1247.49 micrograms, drawn up as 1245": ({"micrograms": Decimal("1247.49")}, 201),
    "1248 micrograms, drawn up as 1250": ({"micrograms": 1248}, 409),
    "1250 micrograms": ({"micrograms": 1250}, 409),
    "20 micrograms/kg, drawn up as 1250": ({"micrograms_per_kg": 20}, 409),
    "19.9 micrograms/kg, drawn up as 1240": ({"micrograms_per_kg": Decimal("19.9")}, 201),
}


@pytest.mark.parametrize("what", CEILING)
def test_what_the_syringe_holds_is_not_over_the_ceiling_either(house: House, what: str) -> None:
    patient = begun(house, Decimal("62.4"))
    chosen, status = CEILING[what]
    answer = decide(house, patient, "prescriber", **OVERRIDE, **chosen)
    assert (answer.status, answer.code) == (status, None if status == 201 else "CEILING-EXCEEDED")


def test_nobody_agrees_to_what_a_birth_date_has_re_opened(house: House) -> None:
    patient = begun(house)
    made = decide(house, patient, "prescriber", **OVERRIDE, micrograms_per_kg=11).json
    assert made["status"] == "awaiting-second"
    body = {"born_on": "2010-05-01", "reason": "misread"}
    assert house.call("pharmacist", "PATCH", f"/patients/{patient}", body, version="*").status == 200
    path = f"/patients/{patient}/decisions/{made['id']}/second-signature"
    assert house.call("pharmacist", "POST", path, version="*").code == "PROPOSAL-CHANGED"


def test_among_several_those_are_accepted_whose_syringe_holds_the_same(house: House) -> None:
    """62.4 micrograms are proposed, and drawn up and recorded as 60: that is no change."""
    patient = begun(house, Decimal("62.4"))
    decide(house, patient)
    give(house, patient, 0, 60)
    house.clock.on(days=7)
    house.record(patient, "platelet-counts", count(-7, 90))
    proposal = house.get(f"/patients/{patient}/next-dose")
    assert (proposal["dose"]["micrograms"], proposal["dose"]["delivered_micrograms"]) == (Decimal("62.4"), 60)
    item = {"patient": patient, "proposal_sha256": proposal["proposal_sha256"]}
    (answered,) = house.post("/decisions", {"items": [item]})["items"]
    assert (answered["code"], answered["decision"]["status"]) == (None, "in-force")


def test_a_reason_may_be_given_twice(house: House) -> None:
    patient = begun(house)
    give(house, patient, 0)
    path = f"/patients/{patient}/dose-mismatches/{dose(0)['given_on']}/reason"
    assert [house.post(path, {"reason": why})["reason"] for why in ("a", "b")] == ["a", "b"]
