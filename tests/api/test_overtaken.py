"""What happens between a decision and its dose: no dose above the ceiling, none that was overtaken, goes unseen."""

from __future__ import annotations

import pytest

from tests.api.deciding import act, decide, decided, decision, dosed, override, starting
from tests.api.support import House, count, day, dose, weight
from tests.backends import tamper
from titrator.workflow.evidence import replay_decisions


def line(house: House, patient: str) -> dict[str, object]:
    """What waits of a patient."""
    found = [one for one in house.get("/worklist")["items"] if one["patient"] == patient]
    return found[0] if found else {"tasks": []}


def doubly_decided(house: House, patient: str, **chosen: object) -> int:
    """An override by a prescriber that a pharmacist has agreed to: its id."""
    made = override(house, patient, "prescriber", **chosen)
    assert made.status == 201, made.text
    ident = int(made.json["id"])
    if made.json["status"] == "awaiting-second":
        assert act(house, patient, ident, "second-signature").status == 200
    return ident


def on_hold(house: House) -> str:
    """Of 75 kg, 150 micrograms a week ago, above the hold limit today."""
    return dosed(house, 450)


def test_an_earlier_dose_that_comes_to_light_ends_what_would_then_be_too_much(house: House) -> None:
    """1500 micrograms are just 20 micrograms/kg of 75 kg; with another 150 of three days ago they are more."""
    patient = on_hold(house)
    ident = doubly_decided(house, patient, micrograms=1500)
    assert house.record(patient, "doses", dose(3, 150, confirm=["DOSES-TOO-CLOSE"])).status == 201
    ended = decision(house, patient, ident)
    assert (ended["status"], ended["change_reason"]) == ("void", "over the ceiling, by what is known now")


def test_a_new_weight_ends_what_would_then_be_too_much(house: House) -> None:
    patient = on_hold(house)
    ident = doubly_decided(house, patient, micrograms=1500, due_on=day(-1))
    house.clock.on(days=1)
    asked = house.record(patient, "weights", weight(-1, 59))
    codes = asked.json["questions"]
    assert house.record(patient, "weights", weight(-1, 59, confirm=codes)).status == 201
    assert decision(house, patient, ident)["status"] == "void"


def test_more_than_the_ceiling_is_told_of_a_dose_whoever_gave_it(house: House) -> None:
    patient = on_hold(house)
    doubly_decided(house, patient, micrograms=1500)
    given = house.record(patient, "doses", dose(0, 1600, confirm=["DOSE-FAR-FROM-LAST"]))
    assert (given.status, given.json["flags"]) == (201, ["DOSE-MISMATCH-DECISION"])
    (one,) = house.get(f"/patients/{patient}/dose-mismatches")["items"]
    assert one["departs"] == ["amount", "ceiling"]


def test_a_count_of_the_day_after_overtakes_a_dose_that_has_not_been_given(house: House) -> None:
    patient = dosed(house, 40, last=6)
    made = decided(house, patient)
    assert (made["answer"]["action"], made["due_on"]) == ("increase", day(-1))
    house.clock.on(days=1)
    assert house.record(patient, "platelet-counts", count(-1, 450, confirm=["COUNT-FAR-FROM-LAST"])).status == 201
    overtaken = decision(house, patient)
    assert overtaken["reopened"]["answer"]["action"] == "hold"
    assert "re-opened" in line(house, patient)["tasks"]  # type: ignore[operator]
    given = house.record(patient, "doses", dose(-1, 225), who="technician")
    assert given.json["flags"] == ["DOSE-MISMATCH-DECISION"]


@pytest.mark.parametrize("platelets", [41, 45])
def test_a_count_that_comes_to_the_same_overtakes_nothing(house: House, platelets: int) -> None:
    patient = dosed(house, 40, last=6)
    decided(house, patient)
    house.clock.on(days=1)
    house.record(patient, "platelet-counts", count(-1, platelets))
    assert decision(house, patient)["reopened"] is None


def test_days_that_go_by_overtake_nothing(house: House) -> None:
    """A count that grows old is told by the proposal; what is recorded beside it is not to blame."""
    patient = dosed(house, 40, last=6)
    decided(house, patient)
    house.clock.on(days=3)
    house.record(patient, "weights", weight(-3, 75))
    assert decision(house, patient)["reopened"] is None


def test_a_decision_that_was_re_opened_does_not_come_back_in_force(house: House) -> None:
    patient = starting(house)
    decided(house, patient)
    given = house.post(f"/patients/{patient}/doses", dose(0, 75))
    counted = house.get(f"/patients/{patient}/platelet-counts")["items"][0]
    path = f"/patients/{patient}/platelet-counts/{counted['id']}"
    assert house.call("pharmacist", "PUT", path, {**count(0, 120), "reason": "misread"}, version=1).status == 200
    assert act(house, patient, 1, "review").status == 200
    path = f"/patients/{patient}/doses/{given['id']}/entered-in-error"
    assert house.call("technician", "POST", path, {"reason": "never given"}, version=1).status == 200
    assert decision(house, patient)["status"] == "void"


def test_a_new_course_hides_no_dose_without_a_decision(house: House) -> None:
    patient = house.on_course(0)
    house.clock.on(days=10)
    ended = {"reason": "moves to another unit", "ended_on": day(-1)}
    assert (
        house.call("prescriber", "POST", f"/patients/{patient}/course/discontinuation", ended, version=1).status == 200
    )
    house.post(f"/patients/{patient}/course", {"protocol": "us-itp-adult", "started_on": day(-9)})
    given = house.record(patient, "doses", dose(-10, 75))
    assert given.json["flags"] == ["DOSE-MISMATCH-DECISION"]


def test_a_birth_date_and_the_end_of_care_may_be_changed_at_once(house: House) -> None:
    patient = starting(house)
    decided(house, patient)
    body = {"born_on": "2015-05-01", "active": False, "reason": "another's record"}
    assert house.call("pharmacist", "PATCH", f"/patients/{patient}", body, version=1).status == 200
    assert decision(house, patient)["status"] == "void"
    assert house.services.store.check() == []


@pytest.mark.parametrize(("platelets", "status"), [(None, 200), (120, 409)])
def test_a_second_signature_days_later_is_bound_to_the_answer_of_its_day(
    house: House, platelets: int | None, status: int
) -> None:
    patient = on_hold(house)
    made = override(house, patient, "prescriber", micrograms=1200, due_on=day(-14)).json
    house.clock.on(days=2)
    if platelets is not None:
        house.record(patient, "platelet-counts", count(-2, platelets))
    assert act(house, patient, made["id"], "second-signature").status == status


def test_a_second_signature_needs_a_first_that_still_counts(house: House) -> None:
    patient = on_hold(house)
    made = override(house, patient, "prescriber", micrograms=1200).json
    path = f"/accounts/{house.ids['prescriber']}"
    version = house.get(path, "admin")["version"]
    assert house.call("admin", "PATCH", path, {"active": False}, version=version).status == 200
    assert act(house, patient, made["id"], "second-signature").status == 403


def test_what_is_refused_of_several_is_in_the_trail(house: House) -> None:
    theirs = house.patient("stranger")
    items = [
        {"patient": theirs, "proposal_sha256": "0" * 64},
        {"patient": house.patient(), "proposal_sha256": "0" * 64},
    ]
    codes = [one["code"] for one in house.post("/decisions", {"items": items})["items"]]
    assert codes == ["NOT-FOUND", "COURSE-NOT-ACTIVE"]
    assert [row.action for row in house.trail() if row.subject.endswith("/decisions")] == ["denied", "refused"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            "micrograms = '750', dose = replace(dose, '75', '750')",
            "the dose that was accepted is not that of the answer",
        ),
        ("signed_by = 'nobody'", "the trail does not say that it was signed so"),
        ("second_by = 'nobody'", "the trail does not say that it was signed by that second person"),
    ],
)
def test_a_decision_that_was_tampered_with_is_told(house: House, change: str, says: str) -> None:
    patient = starting(house)
    decided(house, patient)
    assert [one.differs for one in replay_decisions(house.services)] == [()]
    tamper(house.services.store, f"update decisions set {change}")
    (one,) = replay_decisions(house.services)
    assert says in one.differs


def test_the_worklist_outlives_a_patient_of_whom_too_much_was_recorded(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer can be computed of more entries than a course document may have; nobody else suffers by it."""
    monkeypatch.setattr("titrator.workflow.record.MOST_ENTRIES", 3)
    patient = starting(house)
    for value in (21, 22, 23):
        last = house.record(patient, "platelet-counts", count(0, value))
    assert (last.status, last.code) == (409, "TOO-MANY-ENTRIES")
    monkeypatch.setattr("titrator.titration.course.MOST_ENTRIES", 2)
    assert line(house, patient)["refused"] == "INVALID"
    assert decide(house, patient, proposal_sha256="0" * 64).status == 422
