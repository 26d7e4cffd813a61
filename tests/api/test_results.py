"""Results by the hospital's number: recorded, kept until a person says whose they are, never lost, never given away."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.support import House, count, named, observation, weight

LATER = "urn:mrn"


def result(number: str, kind: str = "platelet_count", **entry: Any) -> dict[str, Any]:
    made = {"platelet_count": count, "weight": weight, "observation": observation}[kind](0)
    return {"identifier": {"system": LATER, "value": number}, kind: {**made, **entry}}


def waiting(house: House, who: str = "pharmacist", query: str = "") -> list[dict[str, Any]]:
    found = house.get(f"/unmatched-results{query}", who)
    assert found["total"] == len(found["items"])
    return list(found["items"])


@pytest.mark.parametrize(
    ("kind", "collection"),
    [("platelet_count", "platelet-counts"), ("weight", "weights"), ("observation", "observations")],
)
def test_a_result_of_a_known_number_is_recorded(house: House, kind: str, collection: str) -> None:
    patient = house.patient(identifiers=[{"system": LATER, "value": "17"}])
    answer = house.call("ehr", "POST", "/results", result("17", kind, **named("m1")))
    fact = answer.json["id"]
    assert (answer.status, answer.json) == (201, {
        "patient": patient, "collection": collection, "id": fact, "status": "final", "unmatched": None,
    })  # fmt: skip
    assert [one["id"] for one in house.get(f"/patients/{patient}/{collection}")["items"]] == [fact]
    again = house.call("ehr", "POST", "/results", result("17", kind, **named("m1")))
    assert (again.status, again.json["id"]) == (200, fact)
    assert waiting(house) == []


def test_a_result_of_an_unknown_number_waits_and_is_assigned(house: House) -> None:
    kept = house.call("ehr", "POST", "/results", result("18", **named("m2")))
    assert (kept.status, kept.json["patient"], kept.json["id"]) == (201, None, None)
    (row,) = waiting(house)
    assert row["id"] == kept.json["unmatched"]
    assert (row["identifier"], row["collection"], row["candidate"]) == (
        {"system": LATER, "value": "18"}, "platelet-counts", None,
    )  # fmt: skip
    assert row["result"]["value"] == 60
    assert house.get("/worklist")["unmatched_results"] == 1
    assert house.call("ehr", "POST", "/results", result("18", **named("m2"))).status == 200
    assert len(waiting(house)) == 1, "the same message is kept once"

    patient = house.patient(identifiers=[{"system": LATER, "value": "18"}])
    assert waiting(house)[0]["candidate"] == patient
    path = f"/unmatched-results/{row['id']}/assignment"
    assert house.call("technician", "POST", path, {"patient": patient}).status == 403
    assert house.call("ehr", "POST", path, {"patient": patient}).status == 403
    assigned = house.call("pharmacist", "POST", path, {"patient": patient})
    assert (assigned.status, assigned.json["patient"], assigned.json["status"]) == (201, patient, "final")
    (fact,) = house.get(f"/patients/{patient}/platelet-counts")["items"]
    assert (fact["id"], fact["recorded_by"]) == (assigned.json["id"], house.ids["pharmacist"])
    assert waiting(house) == []
    assert house.get("/worklist")["unmatched_results"] == 0
    assert house.call("pharmacist", "POST", path, {"patient": patient}).code == "RESULT-SETTLED"
    assert house.call("ehr", "POST", "/results", result("18", **named("m2"))).json["id"] == fact["id"]
    assert "assign-result" in [row.action for row in house.trail(patient)]


def test_an_assignment_is_asked_what_an_entry_is_asked(house: House) -> None:
    patient = house.patient()
    house.record(patient, "platelet-counts", count(7, 600))
    ident = house.call("ehr", "POST", "/results", result("19")).json["unmatched"]
    path = f"/unmatched-results/{ident}/assignment"
    refused = house.call("pharmacist", "POST", path, {"patient": patient})
    assert (refused.status, refused.code) == (422, "COUNT-FAR-FROM-LAST")
    assert len(waiting(house)) == 1, "nothing is half done"
    body = {"patient": patient, "confirm": ["COUNT-FAR-FROM-LAST"]}
    assert house.call("pharmacist", "POST", path, body).status == 201


def test_a_result_that_is_nobodys_is_dismissed_for_a_reason(house: House) -> None:
    ident = house.call("ehr", "POST", "/results", result("20")).json["unmatched"]
    path = f"/unmatched-results/{ident}/dismissal"
    assert house.call("pharmacist", "POST", path, {}).faults == {"reason": "required"}
    assert house.call("technician", "POST", path, {"reason": "x"}).status == 403
    assert house.call("pharmacist", "POST", path, {"reason": "a test message"}).status == 200
    assert waiting(house) == []
    assert house.call("pharmacist", "POST", path, {"reason": "again"}).code == "RESULT-SETTLED"


def test_results_stay_within_their_clinic(house: House) -> None:
    """A number of another clinic's patient is as unknown as one of nobody's, and its result waits unseen by others."""
    house.patient("stranger", identifiers=[{"system": LATER, "value": "21"}])
    answer = house.call("ehr", "POST", "/results", result("21"))
    assert (answer.status, answer.json["patient"]) == (201, None)
    ident = answer.json["unmatched"]
    assert waiting(house, "stranger") == []
    assert house.call("pharmacist", "GET", f"/unmatched-results?clinic={house.other_clinic}").status == 422
    assert len(waiting(house, query=f"?clinic={house.clinic}")) == 1
    for action, body in (("assignment", {"patient": house.patient("stranger")}), ("dismissal", {"reason": "x"})):
        assert house.call("stranger", "POST", f"/unmatched-results/{ident}/{action}", body).status == 404
    theirs = house.patient("stranger")
    assert house.call("pharmacist", "POST", f"/unmatched-results/{ident}/assignment", {"patient": theirs}).status == 404


def test_a_result_of_a_patient_who_is_not_active_waits(house: House) -> None:
    patient = house.patient(identifiers=[{"system": LATER, "value": "22"}])
    change = {"active": False, "reason": "moved away"}
    assert house.call("pharmacist", "PATCH", f"/patients/{patient}", change, version=1).status == 200
    assert house.call("ehr", "POST", "/results", result("22")).json["unmatched"] is not None
    assert waiting(house)[0]["candidate"] == patient


FAULTS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["identifier", "platelet_count"]),
    (result("1") | {"weight": weight(0)}, ["platelet_count"]),
    (result("1", unit="g"), ["platelet_count.unit"]),
    (result("1") | {"clinic": "nowhere"}, ["clinic"]),
    (result("1") | {"doses": 1}, ["doses"]),
]


@pytest.mark.parametrize(("body", "paths"), FAULTS)
def test_bad_results_are_refused_with_every_fault(house: House, body: dict[str, Any], paths: list[str]) -> None:
    before = house.everything()
    answer = house.call("ehr", "POST", "/results", body)
    assert (answer.status, sorted(answer.faults)) == (422, paths)
    assert house.everything() == before


def test_a_message_that_says_something_else_is_a_conflict(house: House) -> None:
    house.call("ehr", "POST", "/results", result("23", **named("m3")))
    other = house.call("ehr", "POST", "/results", result("23", value=61, **named("m3")))
    assert (other.status, other.code) == (409, "EXTERNAL-ID-TAKEN")
