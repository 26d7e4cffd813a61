"""Deciding: upon which proposal, with what acknowledged, by whom, up to which dose; superseded, lapsed, taken back."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import pytest

from tests.api.deciding import (
    SAYS,
    act,
    alerted,
    decide,
    decided,
    decision,
    dosed,
    give,
    next_dose,
    override,
    referred_by_rule,
    starting,
)
from tests.api.support import TODAY, WHY, Answer, House, count, day, dose, event, observation, weight
from titrator.security.permissions import Role

Make = Callable[[House], str]
Case = tuple[Any, ...]

BOTH: Final = ["DOSE-MISSED", "LARGE-FALL"]
NO_DIGEST: Final = {"proposal_sha256": "0" * 64}

#: A patient for each answer that one may meet.
ANSWERS: Final[dict[str, Make]] = {
    "start": starting,
    "maintain": dosed,
    "increase": lambda house: dosed(house, 30),
    "hold": lambda house: dosed(house, 450),
    "refer": referred_by_rule,
    "incomplete": lambda house: dosed(house, unreliable=True),
    "due tomorrow": lambda house: dosed(house, last=6),
    "above range": lambda house: dosed(house, 250),
}


def outcome(answer: Answer) -> str:
    """What became of a decision: its status, or the code of why there is none."""
    return str(answer.json["status"] if answer.status == 201 else answer.code)


# What goes together


FORM: Final[list[tuple[dict[str, Any], list[str]]]] = [
    ({}, ["decision", "proposal_sha256"]),
    ({"decision": "agree", "proposal_sha256": "A" * 64}, ["decision", "proposal_sha256"]),
    ({"decision": "accept", "proposal_sha256": "0" * 63}, ["proposal_sha256"]),
    ({"decision": "accept", **NO_DIGEST, "reason_code": "other"}, ["reason_code"]),
    (
        {"decision": "accept", **NO_DIGEST, "micrograms": 75, "micrograms_per_kg": 1, "no_dose": True, "due_on": TODAY},
        ["due_on", "micrograms", "micrograms_per_kg", "no_dose"],
    ),
    ({"decision": "refer", **NO_DIGEST}, ["comment", "reason_code"]),
    ({"decision": "refer", **NO_DIGEST, **SAYS, "no_dose": True}, ["no_dose"]),
    ({"decision": "refer", **NO_DIGEST, **SAYS, "acknowledge": ["LARGE-FALL"]}, ["acknowledge"]),
    ({"decision": "override", **NO_DIGEST}, ["comment", "micrograms_per_kg", "reason_code"]),
    ({"decision": "override", **NO_DIGEST, **SAYS}, ["micrograms_per_kg"]),
    ({"decision": "override", **NO_DIGEST, **SAYS, "micrograms": 75, "micrograms_per_kg": 1}, ["micrograms_per_kg"]),
    ({"decision": "override", **NO_DIGEST, **SAYS, "micrograms": 75, "no_dose": True}, ["micrograms_per_kg"]),
    ({"decision": "override", **NO_DIGEST, **SAYS, "no_dose": False}, ["no_dose"]),
    ({"decision": "override", **NO_DIGEST, **SAYS, "no_dose": True, "due_on": TODAY}, ["due_on"]),
    ({"decision": "override", **NO_DIGEST, **SAYS, "micrograms": 0}, ["micrograms"]),
    ({"decision": "override", **NO_DIGEST, **SAYS, "micrograms_per_kg": 5001}, ["micrograms_per_kg"]),
    ({"decision": "override", **NO_DIGEST, **SAYS, "micrograms": "75"}, ["micrograms"]),
    (
        {"decision": "override", **NO_DIGEST, "reason_code": "mood", "comment": " ", "no_dose": True},
        ["comment", "reason_code"],
    ),
]


@pytest.mark.parametrize(("body", "faults"), FORM, ids=lambda value: str(value)[:70])
def test_what_goes_together(house: House, body: dict[str, Any], faults: list[str]) -> None:
    patient = dosed(house)
    before = house.everything()
    answer = house.call("prescriber", "POST", f"/patients/{patient}/decisions", body)
    assert (answer.status, answer.code, sorted(answer.faults)) == (422, "INVALID", faults), answer.text
    assert house.everything() == before


# Upon which proposal


def test_an_accepted_proposal_is_kept_with_all_that_it_rests_on(house: House) -> None:
    patient = dosed(house)
    proposal = next_dose(house, patient)
    assert proposal["decision"] is None
    made = house.call(
        "pharmacist",
        "POST",
        f"/patients/{patient}/decisions",
        {"decision": "accept", "proposal_sha256": proposal["proposal_sha256"], "comment": "as last week"},
    )
    assert (made.status, made.etag) == (201, '"1"')
    assert made.headers["Location"] == f"/api/v1/patients/{patient}/decisions/1"
    said = made.json
    assert (said["decision"], said["status"], said["on"], said["due_on"]) == ("accept", "in-force", TODAY, TODAY)
    assert (said["signed_by"], said["signed_role"]) == (house.ids["pharmacist"], "pharmacist")
    assert said["signed_at"] == said["changed_at"] == "2026-03-09T12:00:00.000000Z"
    assert (said["comment"], said["reason_code"], said["second_by"], said["reopened"]) == (
        "as last week",
        None,
        None,
        None,
    )
    assert said["dose"] == proposal["dose"]
    assert said["answer"] == {key: proposal[key] for key in said["answer"]}, "to the letter"
    of = {key: proposal[key] for key in ("proposal_sha256", "input_sha256", "engine_version", "revision", "course")}
    by = {"protocol": proposal["protocol"]["id"], "protocol_sha256": proposal["protocol"]["sha256"]}
    assert said["evidence"] == of | by
    assert decision(house, patient) == said
    assert house.get(f"/patients/{patient}/decisions")["items"] == [said]
    assert house.get(f"/patients/{patient}/decisions/1/versions")["items"] == [said]
    assert next_dose(house, patient)["decision"] == 1


def corrected(house: House, patient: str) -> None:
    fact = house.get(f"/patients/{patient}/platelet-counts")["items"][-1]
    path = f"/patients/{patient}/platelet-counts/{fact['id']}"
    assert house.call("pharmacist", "PUT", path, count(0, 120, **WHY), version=1).status == 200


def switched(house: House, patient: str) -> None:
    body = {"protocol": "eu-itp-adult", **WHY}
    assert house.call("pharmacist", "POST", f"/patients/{patient}/course/protocol", body, version="*").status == 200


MOVED: Final[dict[str, Callable[[House, str], object]]] = {
    "a count is corrected": corrected,
    "a count is added": lambda house, patient: house.post(f"/patients/{patient}/platelet-counts", count(0, 91)),
    "an event is added": lambda house, patient: house.post(f"/patients/{patient}/events", event(0, "thrombosis")),
    "a dose is added": lambda house, patient: give(house, patient, 150, 5),
    "the course is another": switched,
    "it is the next day": lambda house, _: house.clock.on(days=1),
}


@pytest.mark.parametrize("move", MOVED.values(), ids=MOVED)
@pytest.mark.parametrize("kind", ["accept", "override", "refer"])
def test_what_has_moved_since_comes_back_as_the_proposal_of_now(
    house: House, move: Callable[[House, str], object], kind: str
) -> None:
    patient = dosed(house)
    seen = next_dose(house, patient)["proposal_sha256"]
    move(house, patient)
    chosen = {"accept": {}, "override": SAYS | {"no_dose": True}, "refer": SAYS}[kind]
    answer = decide(house, patient, kind, proposal_sha256=seen, **chosen)
    assert (answer.status, answer.code, list(answer.faults)) == (409, "PROPOSAL-CHANGED", ["proposal_sha256"])
    assert answer.json["proposal"] == next_dose(house, patient)
    assert answer.json["proposal"]["proposal_sha256"] != seen
    assert house.get(f"/patients/{patient}/decisions")["items"] == []
    alerts = [one["code"] for one in answer.json["proposal"]["alerts"]]
    known = {} if kind == "refer" else {"acknowledge": alerts}
    named = {"proposal_sha256": answer.json["proposal"]["proposal_sha256"]}
    again = decide(house, patient, kind, "prescriber", **named, **known, **chosen)
    has_dose = answer.json["proposal"]["dose"] is not None
    assert outcome(again) in ({"in-force", "referred"} if has_dose or kind != "accept" else {"NOTHING-TO-ACCEPT"})


def test_what_no_rule_reads_moves_nothing(house: House) -> None:
    patient = dosed(house)
    seen = next_dose(house, patient)["proposal_sha256"]
    house.post(f"/patients/{patient}/observations", observation(0))
    house.call("pharmacist", "PATCH", f"/patients/{patient}", {"given_name": "Eva"}, version="*")
    made = decided(house, patient, proposal_sha256=seen)
    assert made["evidence"]["revision"] == next_dose(house, patient)["revision"], "what was known is that, too"


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        (lambda house, patient: house.record(patient, "doses", dose(2, 900), "ehr"), "FACTS-UNVERIFIED"),
        (
            lambda house, patient: house.call(
                "pharmacist", "POST", f"/patients/{patient}/course/pause", WHY, version=1
            ),
            "COURSE-NOT-ACTIVE",
        ),
    ],
)
def test_where_there_is_no_next_dose_there_is_no_decision(
    house: House, prepare: Callable[[House, str], object], code: str
) -> None:
    patient = dosed(house)
    seen = next_dose(house, patient)["proposal_sha256"]
    prepare(house, patient)
    assert outcome(decide(house, patient, proposal_sha256=seen)) == code
    assert outcome(decide(house, patient, "refer", proposal_sha256=seen, **SAYS)) == code


def test_of_a_protocol_that_changed_on_disk_nothing_is_decided_unseen(house: House) -> None:
    """Its digest is part of the answer."""
    patient = dosed(house)
    seen = next_dose(house, patient)["proposal_sha256"]
    broken = house.with_services(broken=("a worked example is answered otherwise",))
    answer = decide(broken, patient, proposal_sha256=seen)
    assert (answer.status, answer.code) == (503, "SELF-TEST-FAILED")


# What is acknowledged


ACKNOWLEDGED: Final[list[tuple[Make, list[str], int]]] = [
    (alerted, [], 2),
    (alerted, ["DOSE-MISSED"], 1),
    (alerted, ["LARGE-FALL"], 1),
    (alerted, ["DOSE-MISSED", "WEIGHT-CHANGED"], 2),
    (alerted, [*BOTH, "WEIGHT-CHANGED"], 1),
    (alerted, [*BOTH, "no such"], 1),
    (alerted, ["large-fall", "DOSE-MISSED"], 2),
    (alerted, BOTH, 0),
    (alerted, ["LARGE-FALL", "DOSE-MISSED", "LARGE-FALL"], 0),
    (dosed, [], 0),
    (dosed, ["LARGE-FALL"], 1),
]


@pytest.mark.parametrize(("make", "codes", "faults"), ACKNOWLEDGED)
@pytest.mark.parametrize("kind", ["accept", "override"])
def test_each_alert_is_acknowledged_and_no_other(
    house: House, make: Make, codes: list[str], faults: int, kind: str
) -> None:
    patient = make(house)
    chosen = SAYS | {"micrograms_per_kg": 2} if kind == "override" else {}
    answer = decide(house, patient, kind, acknowledge=codes, **chosen)
    if faults:
        assert (answer.status, list(answer.faults)) == (422, ["acknowledge"])
        assert len(answer.json["faults"]) == faults
        return
    assert (outcome(answer), answer.json["acknowledged"]) == ("in-force", sorted(set(codes)))


def test_to_refer_one_need_acknowledge_nothing(house: House) -> None:
    patient = alerted(house)
    made = decided(house, patient, "refer", **SAYS)
    assert (made["status"], made["acknowledged"], made["dose"], made["due_on"]) == ("referred", [], None, None)


# What can be accepted, and who may choose what


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("start", "in-force"),
        ("maintain", "in-force"),
        ("increase", "in-force"),
        ("due tomorrow", "in-force"),
        ("hold", "in-force"),
        ("refer", "NOTHING-TO-ACCEPT"),
        ("incomplete", "NOTHING-TO-ACCEPT"),
    ],
)
@pytest.mark.parametrize("who", ["pharmacist", "prescriber"])
def test_what_can_be_accepted(house: House, answer: str, expected: str, who: str) -> None:
    patient = ANSWERS[answer](house)
    made = decide(house, patient, who=who)
    assert outcome(made) == expected
    if answer == "hold":
        assert (made.json["dose"], made.json["due_on"]) == (None, None), "a decision to give nothing"


def test_a_single_dose_that_was_given_leaves_nothing_to_accept(house: House) -> None:
    patient = house.begun(0, "us-hs-ars")
    house.post(f"/patients/{patient}/weights", weight(0))
    assert outcome(decide(house, patient)) == "in-force"
    assert give(house, patient, 750) == []
    assert outcome(decide(house, patient)) == "NOTHING-TO-ACCEPT"
    assert outcome(override(house, patient, "prescriber", micrograms_per_kg=10)) == "awaiting-second"


NO: Final = "FORBIDDEN"
SECOND: Final = "awaiting-second"
#: The answer, what is chosen instead, and what becomes of it by the hand of a pharmacist and of a prescriber.
CHOSEN: Final[list[tuple[str, dict[str, Any], str, str]]] = [
    ("maintain", {"no_dose": True}, "in-force", "in-force"),
    ("maintain", {"micrograms_per_kg": Decimal("0.99")}, NO, "in-force"),
    ("maintain", {"micrograms_per_kg": 1}, "in-force", "in-force"),
    ("maintain", {"micrograms_per_kg": 3}, "in-force", "in-force"),
    ("maintain", {"micrograms_per_kg": Decimal("3.01")}, NO, "in-force"),
    ("maintain", {"micrograms_per_kg": 10}, NO, "in-force"),
    ("maintain", {"micrograms_per_kg": Decimal("10.01")}, NO, SECOND),
    ("maintain", {"micrograms": 74}, NO, "in-force"),
    ("maintain", {"micrograms": 75}, "in-force", "in-force"),
    ("maintain", {"micrograms": 225}, "in-force", "in-force"),
    ("maintain", {"micrograms": 226}, NO, "in-force"),
    ("maintain", {"micrograms": 750}, NO, "in-force"),
    ("maintain", {"micrograms": 751}, NO, SECOND),
    ("maintain", {"micrograms_per_kg": 2, "due_on": day(1)}, "INVALID", "INVALID"),
    ("maintain", {"micrograms_per_kg": 2, "due_on": TODAY}, "in-force", "in-force"),
    ("maintain", {"micrograms_per_kg": 2, "due_on": day(-1)}, "in-force", "in-force"),
    ("maintain", {"micrograms_per_kg": 2, "due_on": day(-14)}, "in-force", "in-force"),
    ("maintain", {"micrograms_per_kg": 2, "due_on": day(-15)}, "INVALID", "INVALID"),
    ("maintain", {"micrograms_per_kg": Decimal("0.001")}, "INVALID", "INVALID"),
    ("maintain", {"micrograms": Decimal("0.6")}, "INVALID", "INVALID"),
    ("above range", {"micrograms_per_kg": 1}, "in-force", "in-force"),
    ("above range", {"micrograms_per_kg": 2}, "in-force", "in-force"),
    ("above range", {"micrograms_per_kg": Decimal("2.01")}, NO, "in-force"),
    ("increase", {"micrograms_per_kg": 3}, "in-force", "in-force"),
    ("increase", {"micrograms_per_kg": Decimal("3.01")}, NO, "in-force"),
    ("start", {"micrograms_per_kg": 1}, "in-force", "in-force"),
    ("start", {"micrograms_per_kg": Decimal("1.01")}, NO, "in-force"),
    ("due tomorrow", {"micrograms_per_kg": 2, "due_on": TODAY}, NO, "in-force"),
    ("due tomorrow", {"micrograms_per_kg": 11, "due_on": TODAY}, NO, SECOND),
    ("due tomorrow", {"micrograms_per_kg": 2, "due_on": day(-1)}, "in-force", "in-force"),
    ("due tomorrow", {"micrograms_per_kg": 2}, "in-force", "in-force"),
    ("hold", {"no_dose": True}, "in-force", "in-force"),
    ("hold", {"micrograms_per_kg": 1}, NO, SECOND),
    ("refer", {"no_dose": True}, NO, "in-force"),
    ("refer", {"micrograms_per_kg": 1}, NO, SECOND),
    ("refer", {"micrograms": Decimal("1.25")}, NO, SECOND),
    ("incomplete", {"no_dose": True}, "in-force", "in-force"),
    ("incomplete", {"micrograms_per_kg": 1}, NO, SECOND),
]


@pytest.mark.parametrize(("answer", "chosen", "pharmacist", "prescriber"), CHOSEN)
def test_who_may_choose_what(
    house: House, answer: str, chosen: dict[str, Any], pharmacist: str, prescriber: str
) -> None:
    for who, expected in (("pharmacist", pharmacist), ("prescriber", prescriber)):
        patient = ANSWERS[answer](house)
        made = override(house, patient, who, **chosen)
        assert outcome(made) == expected, (who, made.text)
        assert made.status == {NO: 403, "INVALID": 422}.get(expected, 201)
        if made.status == 201:
            assert (made.json["reason_code"], made.json["comment"]) == tuple(SAYS.values())
            offered = made.json["answer"]["due_on"]
            assert made.json["due_on"] == (None if "no_dose" in chosen else chosen.get("due_on", offered or TODAY))


def test_the_published_case_is_cut_in_micrograms(house: House) -> None:
    """8.6 micrograms/kg for 75 kg would be 645: over its maximum of 500, a prescriber does not decide alone."""
    patient = house.patient()
    confirmed = ["marrow-infiltration-excluded", "mds-excluded"]
    begin = {"protocol": "cart-2021-case", "eligibility": confirmed}
    house.post(f"/patients/{patient}/course", begin, "prescriber")
    house.post(f"/patients/{patient}/weights", weight(0))
    house.post(f"/patients/{patient}/platelet-counts", count(0, 20))
    expected = {499: "in-force", 500: "in-force", 501: SECOND}
    assert {most: outcome(override(house, patient, "prescriber", micrograms=most)) for most in expected} == expected


def test_a_chosen_dose_is_prepared_as_it_was_chosen(house: House) -> None:
    patient = dosed(house)
    by_level = decided(house, patient, "override", **SAYS, micrograms_per_kg=Decimal("2.5"))["dose"]
    by_amount = decided(house, patient, "override", **SAYS, micrograms=200)["dose"]
    shown = ("micrograms_per_kg", "micrograms", "volume_ml", "delivered_micrograms")
    assert [by_level[key] for key in shown] == [Decimal("2.5"), Decimal("187.5"), Decimal("0.38"), 190]
    assert [by_amount[key] for key in shown] == [Decimal("2.67"), 200, Decimal("0.4"), 200]


def test_without_any_weight_no_dose_can_be_chosen(house: House) -> None:
    patient = house.begun()
    made = override(house, patient, "prescriber", micrograms=75)
    assert (made.status, made.code) == (409, "WEIGHT-NEEDED")
    assert outcome(override(house, patient, no_dose=True)) == "in-force"


@pytest.mark.parametrize("who", ["technician", "ehr", "auditor", "admin"])
def test_who_may_not_sign_decides_nothing(house: House, who: str) -> None:
    patient = dosed(house)
    waits = decided(house, patient, "override", "prescriber", **SAYS, micrograms_per_kg=11)
    before = house.everything()
    for kind, chosen in (("accept", {}), ("override", SAYS | {"no_dose": True}), ("refer", SAYS)):
        assert decide(house, patient, kind, who, **chosen).status == 403
    for action in ("second-signature", "withdrawal", "review"):
        assert act(house, patient, waits["id"], action, who).status == 403
    item = {"patient": patient, "proposal_sha256": next_dose(house, patient)["proposal_sha256"]}
    assert house.call(who, "POST", "/decisions", {"items": [item]}).status == 403
    at = f"/patients/{patient}/dose-mismatches/{TODAY}/reason"
    assert house.call(who, "POST", at, WHY).status == 403
    assert house.everything() == before


def test_nobody_decides_for_another_clinic(house: House) -> None:
    patient = dosed(house)
    digest = next_dose(house, patient)["proposal_sha256"]
    for kind, chosen in (("accept", {}), ("override", SAYS | {"no_dose": True}), ("refer", SAYS)):
        assert decide(house, patient, kind, "stranger", proposal_sha256=digest, **chosen).status == 404
    (one,) = house.post("/decisions", {"items": [{"patient": patient, "proposal_sha256": digest}]}, "stranger")["items"]
    assert (one["code"], one["decision"]) == ("NOT-FOUND", None)
    decided(house, patient)
    assert house.call("stranger", "GET", f"/patients/{patient}/decisions/1").status == 404
    for action in ("second-signature", "withdrawal", "review"):
        assert act(house, patient, 1, action, "stranger").status == 404


@pytest.mark.parametrize("tail", ["decisions/2", "decisions/0", "decisions/2/versions", "decisions/1.0"])
def test_decisions_that_are_not_there(house: House, tail: str) -> None:
    patient = dosed(house)
    decided(house, patient)
    assert house.call("pharmacist", "GET", f"/patients/{patient}/{tail}").status == 404
    assert act(house, patient, 2, "withdrawal").status == 404


# The second signature


def awaiting(house: House) -> str:
    """With 11 micrograms/kg decided by a prescriber, which waits for a second person."""
    patient = dosed(house)
    assert decided(house, patient, "override", "prescriber", **SAYS, micrograms_per_kg=11)["status"] == SECOND
    return patient


def test_an_override_far_from_the_last_dose_is_asked_about(house: House) -> None:
    patient = dosed(house, 30)  # 150 micrograms a week ago
    asked = override(house, patient, "prescriber", micrograms=510, confirm=[])
    assert (asked.status, asked.json["questions"]) == (422, ["OVERRIDE-FAR-FROM-LAST"])
    assert "510 micrograms, 6.8 micrograms/kg, 1.02 mL of 500 micrograms/mL" in asked.json["detail"]
    assert "150 micrograms on 2026-03-02: +240 %" in asked.json["detail"]
    assert house.get(f"/patients/{patient}/decisions")["items"] == []
    assert override(house, patient, "prescriber", micrograms=510, confirm=["OVERRIDE-FAR-FROM-LAST"]).status == 201
    assert json.loads(house.trail(patient)[-1].detail)["confirmed"] == ["OVERRIDE-FAR-FROM-LAST"]


@pytest.mark.parametrize("micrograms", [80, 150, 220])
def test_what_was_not_asked_is_not_confirmed(house: House, micrograms: int) -> None:
    patient = dosed(house, 30)
    answer = override(house, patient, micrograms=micrograms, confirm=["OVERRIDE-FAR-FROM-LAST"])
    assert (answer.status, answer.faults) == (422, {"confirm[0]": "was not asked; leave it out"})
    assert override(house, patient, micrograms=micrograms, confirm=[]).status == 201


def test_a_second_maximum_within_a_week_takes_a_second_person(house: House) -> None:
    """10 micrograms/kg are due in three days; upon them today, with what was given, there are more in seven days."""
    patient = house.on_course(kg=60)
    for ago in (11, 4):
        give(house, patient, 600, ago)
    house.post(f"/patients/{patient}/platelet-counts", count(0, 60))
    later = decided(house, patient, "override", "prescriber", **SAYS, micrograms_per_kg=10, due_on=day(-3))
    assert (later["status"], later["due_on"]) == ("in-force", day(-3))
    asked = override(house, patient, "prescriber", micrograms_per_kg=10, due_on=day(-2), confirm=[])
    assert asked.status == 201
    assert asked.json["status"] == SECOND, "six days after the last"
    asked = override(house, patient, "prescriber", micrograms_per_kg=10, due_on=TODAY, confirm=[])
    assert (asked.status, asked.json["questions"]) == (422, ["DOSES-TOO-CLOSE"])
    assert "600 micrograms were given on 2026-03-05, less than 5 days before 2026-03-09" in asked.json["detail"]
    last = override(house, patient, "prescriber", micrograms_per_kg=10, due_on=TODAY)
    assert last.json["status"] == SECOND
    agreed = act(house, patient, last.json["id"], "second-signature")
    assert agreed.json["status"] == "in-force", agreed.text


@pytest.mark.parametrize(("pounds", "asked"), [("165.3", []), ("165.6", ["WEIGHT-FAR-FROM-LAST"])])
def test_the_same_weight_in_pounds_is_not_asked_about(house: House, pounds: str, asked: list[str]) -> None:
    """75 kg of the same day are 165.35 lb."""
    patient = house.on_course(0)
    answer = house.record(patient, "weights", weight(0, float(pounds), "[lb_av]"))
    assert answer.status == (422 if asked else 201), answer.text
    assert answer.json.get("questions", []) == asked


def test_a_dose_of_which_no_day_is_told_is_due_a_week_after_the_last(house: House) -> None:
    patient = dosed(house, last=2, unreliable=True)
    assert next_dose(house, patient)["due_on"] is None
    made = decided(house, patient, "override", "prescriber", **SAYS, micrograms=150)
    assert (made["due_on"], made["status"]) == (day(-5), SECOND)
    late = dosed(house, last=8, unreliable=True)
    assert decided(house, late, "override", "prescriber", **SAYS, micrograms=150)["due_on"] == TODAY


def test_half_of_the_last_dose_is_far(house: House) -> None:
    answer = override(house, dosed(house, 30), micrograms=75, confirm=[])
    assert (answer.status, answer.code) == (422, "OVERRIDE-FAR-FROM-LAST")
    assert answer.json["detail"].count("-50 %") == 1


def test_the_second_person_is_another_who_may_sign(house: House) -> None:
    _, colleague = house.account("colleague", Role.PRESCRIBER, house.clinic)
    expected = {
        "prescriber": (409, "SECOND-PERSON-NEEDED"),
        "technician": (403, "FORBIDDEN"),
        "ehr": (403, "FORBIDDEN"),
        "stranger": (404, "NOT-FOUND"),
        "pharmacist": (200, None),
        colleague: (200, None),
    }
    for who, (status, code) in expected.items():
        patient = awaiting(house)
        answer = act(house, patient, 1, "second-signature", who, 1)
        assert (answer.status, answer.code if status != 200 else None) == (status, code), who
        assert decision(house, patient)["status"] == ("in-force" if status == 200 else SECOND)


def test_a_second_signature_says_who_when_and_in_which_role(house: House) -> None:
    patient = awaiting(house)
    house.clock.on(minutes=5)
    assert act(house, patient, 1, "second-signature", version=None).code == "VERSION-NEEDED"
    assert act(house, patient, 1, "second-signature", version=2).code == "VERSION-STALE"
    made = act(house, patient, 1, "second-signature", version=1)
    assert (made.json["version"], made.etag, made.json["change"]) == (2, '"2"', "co-sign")
    assert (made.json["second_by"], made.json["second_role"]) == (house.ids["pharmacist"], "pharmacist")
    assert (made.json["signed_by"], made.json["signed_role"]) == (house.ids["prescriber"], "prescriber")
    assert made.json["second_at"] == "2026-03-09T12:05:00.000000Z"
    again = act(house, patient, 1, "second-signature", version=2)
    assert (again.status, again.code) == (409, "DECISION-CLOSED")


def test_nothing_to_sign_a_second_time(house: House) -> None:
    patient = dosed(house)
    decided(house, patient)
    assert act(house, patient, 1, "second-signature", "prescriber").code == "DECISION-CLOSED"


@pytest.mark.parametrize(
    ("move", "same"),
    [
        (lambda house, patient: house.post(f"/patients/{patient}/platelet-counts", count(0, 120)), True),
        (lambda house, patient: house.post(f"/patients/{patient}/platelet-counts", count(0, 30)), False),
        (lambda house, patient: house.post(f"/patients/{patient}/platelet-counts", count(1, 300)), False),
        (lambda house, patient: house.post(f"/patients/{patient}/events", event(0, "thrombosis")), False),
        (lambda house, patient: house.post(f"/patients/{patient}/events", event(0, "rescue_therapy")), False),
    ],
    ids=["in range as before", "too low", "of before: an alert", "refer", "confounded: an alert"],
)
def test_facts_that_moved_before_the_second_signature(
    house: House, move: Callable[[House, str], object], same: bool
) -> None:
    patient = awaiting(house)
    move(house, patient)
    version = decision(house, patient)["version"]
    answer = act(house, patient, 1, "second-signature", version=version)
    if same:
        assert (answer.status, answer.json["status"]) == (200, "in-force")
        return
    assert (answer.status, answer.code) == (409, "PROPOSAL-CHANGED")
    assert answer.json["proposal"] == next_dose(house, patient)
    assert decision(house, patient)["status"] == SECOND


@pytest.mark.parametrize("change", [{"active": False}, {"role": "pharmacist"}])
def test_who_decided_first_must_still_be_entitled(house: House, change: dict[str, Any]) -> None:
    patient = awaiting(house)
    assert house.call("admin", "PATCH", f"/accounts/{house.ids['prescriber']}", change, version="*").status == 200
    assert act(house, patient, 1, "second-signature").code == "FORBIDDEN"


def test_a_dose_given_before_the_second_signature_counts_for_the_ceiling(house: House) -> None:
    """Given on the day on which 1500 are decided: together they are more than anybody may decide."""
    patient = dosed(house)
    decided(house, patient, "override", "prescriber", **SAYS, micrograms=1500, due_on=day(-3))
    house.clock.on(days=1)
    give(house, patient, 150, -1)
    assert act(house, patient, 1, "second-signature").status == 409
    assert decision(house, patient)["status"] != "in-force"


def test_a_dose_given_before_the_second_signature_is_news_to_who_decided(house: House) -> None:
    """The answer is as it was, and all is below the ceiling: but that dose would be given once more."""
    patient = dosed(house)
    house.post(f"/patients/{patient}/events", event(1, "thrombosis"))
    decided(house, patient, "override", "prescriber", **SAYS, micrograms=200, due_on=day(-3))
    assert decision(house, patient)["status"] == "awaiting-second"
    give(house, patient, 60)
    assert act(house, patient, 1, "second-signature").code == "PROPOSAL-CHANGED"
    assert decision(house, patient)["status"] == "awaiting-second"


def test_a_birth_date_that_moved_before_the_second_signature(house: House) -> None:
    """It is no fact, and the revision stays: outside the population, nobody else need agree."""
    patient = awaiting(house)
    house.call("pharmacist", "PATCH", f"/patients/{patient}", {"born_on": "2010-05-01", **WHY}, version="*")
    assert act(house, patient, 1, "second-signature").code == "PROPOSAL-CHANGED"


def test_what_no_rule_reads_does_not_stop_the_second_signature(house: House) -> None:
    patient = awaiting(house)
    house.post(f"/patients/{patient}/observations", observation(0))
    assert act(house, patient, 1, "second-signature").json["status"] == "in-force"


@pytest.mark.parametrize(("days", "expected"), [(3, None), (4, "DECISION-CLOSED")])
def test_a_second_signature_comes_before_the_decision_lapses(house: House, days: int, expected: str | None) -> None:
    patient = awaiting(house)
    house.clock.on(days=days)
    answer = act(house, patient, 1, "second-signature")
    assert (answer.code if expected else answer.json["status"]) == (expected or "in-force")


# The ceiling: 20 micrograms/kg in seven days


def lighter(house: House, patient: str) -> None:
    """The newest weight is 62.4 kg, where the doses follow 75."""
    house.post(f"/patients/{patient}/weights", weight(0, Decimal("62.4")))


def heavier(house: House, patient: str) -> None:
    house.post(f"/patients/{patient}/weights", weight(0, 80))


def in_error(house: House, patient: str) -> None:
    """A dose of two days ago that never was."""
    give(house, patient, 150, 2)
    fact = house.get(f"/patients/{patient}/doses")["items"][-1]
    at = f"/patients/{patient}/doses/{fact['id']}/entered-in-error"
    assert house.call("pharmacist", "POST", at, WHY, version=1).status == 200


def nothing(house: House, patient: str) -> None:
    del house, patient


#: What was given before today, what else is so, what is chosen, and whether a prescriber may decide upon it.
CEILING: Final[list[tuple[list[tuple[int, int]], Callable[[House, str], object], dict[str, Any], bool]]] = [
    ([], nothing, {"micrograms": 1495}, True),
    ([], nothing, {"micrograms": 1500}, True),
    ([], nothing, {"micrograms": Decimal("1500.1")}, False),
    ([], nothing, {"micrograms": 1505}, False),
    ([], nothing, {"micrograms_per_kg": Decimal("19.99")}, True),
    ([], nothing, {"micrograms_per_kg": 20}, True),
    ([], nothing, {"micrograms_per_kg": Decimal("20.01")}, False),
    # what was given in the seven days that end when it is due
    ([(7, 150)], nothing, {"micrograms": 1500}, True),
    ([(6, 150)], nothing, {"micrograms": 1350, "due_on": TODAY}, True),
    ([(6, 150)], nothing, {"micrograms": 1351, "due_on": TODAY}, False),
    ([(6, 150)], nothing, {"micrograms": 1351}, True),
    ([(6, 150)], nothing, {"micrograms": 1500, "due_on": day(-1)}, True),
    ([(6, 150), (5, 100)], nothing, {"micrograms": 1250, "due_on": TODAY}, True),
    ([(6, 150), (5, 100)], nothing, {"micrograms": 1255, "due_on": TODAY}, False),
    ([(6, 100), (6, 50)], nothing, {"micrograms": 1350, "due_on": TODAY}, True),
    ([(6, 100), (6, 50)], nothing, {"micrograms": 1355, "due_on": TODAY}, False),
    ([(7, 150)], in_error, {"micrograms": 1500}, True),
    # the lesser of the dosing weight and the newest; what a syringe of whole graduations holds counts, too
    ([(7, 150)], lighter, {"micrograms": 1245}, True),
    ([(7, 150)], lighter, {"micrograms": 1248}, False),
    ([(7, 150)], lighter, {"micrograms_per_kg": Decimal("16.6")}, True),
    ([(7, 150)], lighter, {"micrograms_per_kg": Decimal("16.64")}, False),
    ([(7, 150)], heavier, {"micrograms": 1500}, True),
    ([(7, 150)], heavier, {"micrograms": 1505}, False),
]


@pytest.mark.parametrize(("given", "prepare", "chosen", "may"), CEILING)
def test_the_ceiling(
    house: House,
    given: list[tuple[int, int]],
    prepare: Callable[[House, str], object],
    chosen: dict[str, Any],
    may: bool,
) -> None:
    patient = house.on_course()
    give(house, patient, 150, 14)
    for ago, micrograms in given:
        give(house, patient, micrograms, ago)
    house.post(f"/patients/{patient}/platelet-counts", count(0, 90))
    prepare(house, patient)
    alerts = [one["code"] for one in next_dose(house, patient)["alerts"]]
    answer = override(house, patient, "prescriber", acknowledge=alerts, **chosen)
    assert outcome(answer) == (SECOND if may else "CEILING-EXCEEDED"), answer.text
    assert answer.status == (201 if may else 409)
    if not may:
        assert list(answer.faults) == ["micrograms"]
        assert outcome(override(house, patient, acknowledge=alerts, **chosen)) == "CEILING-EXCEEDED", "whoever asks"


# One at a time


def statuses(house: House, patient: str) -> list[tuple[str, str]]:
    """Kind and status of the decisions of a patient, the oldest first."""
    found = house.get(f"/patients/{patient}/decisions")["items"]
    return [(one["decision"], one["status"]) for one in reversed(found)]


def test_a_proposal_is_accepted_once(house: House) -> None:
    patient = dosed(house)
    decided(house, patient)
    before = house.everything()
    for who in ("pharmacist", "prescriber"):
        answer = decide(house, patient, who=who)
        assert (answer.status, answer.code, list(answer.faults)) == (409, "ALREADY-DECIDED", ["proposal_sha256"])
    assert house.everything() == before


def test_a_new_decision_supersedes_the_one_that_waits(house: House) -> None:
    patient = dosed(house)
    decided(house, patient)
    decided(house, patient, "override", **SAYS, no_dose=True)
    decided(house, patient, "override", **SAYS, micrograms_per_kg=3)
    house.post(f"/patients/{patient}/platelet-counts", count(0, 100))
    last = decided(house, patient)
    assert statuses(house, patient) == [
        ("accept", "superseded"),
        ("override", "superseded"),
        ("override", "superseded"),
        ("accept", "in-force"),
    ]
    assert next_dose(house, patient)["decision"] == last["id"]
    first = house.get(f"/patients/{patient}/decisions/1/versions")["items"]
    assert [(one["version"], one["status"], one["change"]) for one in first] == [
        (1, "in-force", "accept"),
        (2, "superseded", "supersede"),
    ]


@pytest.mark.parametrize("days", [0, 3, 4])
def test_a_decision_is_in_force_for_three_days_after_it_is_due(house: House, days: int) -> None:
    patient = dosed(house)
    decided(house, patient)
    house.clock.on(days=days)
    lapsed = days > 3
    assert decision(house, patient)["status"] == ("lapsed" if lapsed else "in-force")
    assert statuses(house, patient) == [("accept", "lapsed" if lapsed else "in-force")]
    house.post(f"/patients/{patient}/platelet-counts", count(-days, 91))
    alerts = [one["code"] for one in next_dose(house, patient)["alerts"]]
    decided(house, patient, acknowledge=alerts)
    assert statuses(house, patient) == [("accept", "lapsed" if lapsed else "superseded"), ("accept", "in-force")]


def test_a_decision_lapses_by_the_calendar_of_its_clinic(house: House) -> None:
    """Midnight in Berlin is 23 hours UTC."""
    patient = dosed(house)
    decided(house, patient)
    house.clock.on(days=3, hours=10, minutes=59)
    assert decision(house, patient)["status"] == "in-force"
    house.clock.on(minutes=1)
    assert decision(house, patient)["status"] == "lapsed"


def test_a_decision_that_has_lapsed_may_be_taken_back_and_one_without_a_day_does_not_lapse(house: House) -> None:
    patient, other = dosed(house), dosed(house)
    decided(house, patient)
    decided(house, other, "override", **SAYS, no_dose=True)
    house.clock.on(days=20)
    assert act(house, patient, 1, "withdrawal").json["status"] == "withdrawn"
    assert decision(house, other)["status"] == "in-force"


def test_what_is_withdrawn_can_be_decided_anew(house: House) -> None:
    patient = dosed(house)
    decided(house, patient)
    assert act(house, patient, 1, "withdrawal", version=2).code == "VERSION-STALE"
    made = act(house, patient, 1, "withdrawal", version=1)
    assert (made.json["status"], made.json["change"], made.json["change_reason"]) == (
        "withdrawn",
        "withdraw",
        WHY["reason"],
    )
    assert next_dose(house, patient)["decision"] is None
    assert act(house, patient, 1, "withdrawal", version=2).code == "DECISION-CLOSED"
    decided(house, patient)
    assert statuses(house, patient) == [("accept", "withdrawn"), ("accept", "in-force")]


def test_what_was_carried_out_cannot_be_taken_back(house: House) -> None:
    patient = dosed(house)
    decided(house, patient)
    assert give(house, patient) == []
    assert act(house, patient, 1, "withdrawal").code == "DECISION-CLOSED"
    assert decision(house, patient)["status"] == "delivered"


def other_pharmacist(house: House) -> str:
    return house.account("other-pharmacist", Role.PHARMACIST, house.clinic)[1]


@pytest.mark.parametrize("kind", ["refer", "override"])
def test_what_waits_for_a_prescriber_or_is_ones_is_a_prescribers(house: House, kind: str) -> None:
    """But for one's own referral."""
    other = other_pharmacist(house)
    chosen = SAYS if kind == "refer" else SAYS | {"micrograms_per_kg": 3}
    signer = "pharmacist" if kind == "refer" else "prescriber"
    allowed = {"pharmacist": kind == "refer", other: False, "prescriber": True}
    for who, may in allowed.items():
        for does in (
            lambda patient, who=who: decide(house, patient, who=who),
            lambda patient, who=who: override(house, patient, who, no_dose=True),
            lambda patient, who=who: act(house, patient, 1, "withdrawal", who),
        ):
            patient = dosed(house)
            decided(house, patient, kind, signer, **chosen)
            answer = does(patient)
            assert (answer.status in (200, 201)) is may, (who, answer.text)
            if not may:
                assert answer.code == "FORBIDDEN"
                assert statuses(house, patient) == [(kind, "referred" if kind == "refer" else "in-force")]


@pytest.mark.parametrize(("platelets", "expected"), [(91, "FORBIDDEN"), (30, "in-force")])
@pytest.mark.parametrize("kind", ["refer", "override"])
def test_a_prescribers_decision_binds_as_long_as_the_facts_come_to_the_same(
    house: House, kind: str, platelets: int, expected: str
) -> None:
    """A referral waits for a prescriber all the same."""
    patient = dosed(house)
    decided(house, patient, kind, "prescriber", **SAYS, **({"micrograms_per_kg": 3} if kind == "override" else {}))
    house.post(f"/patients/{patient}/platelet-counts", count(0, platelets))
    assert outcome(decide(house, patient)) == ("FORBIDDEN" if kind == "refer" else expected)


def test_a_prescribers_decision_that_has_lapsed_binds_nobody(house: House) -> None:
    patient = dosed(house)
    decided(house, patient, "override", "prescriber", **SAYS, micrograms_per_kg=3)
    house.clock.on(days=4)
    house.post(f"/patients/{patient}/platelet-counts", count(-4, 91))
    alerts = [one["code"] for one in next_dose(house, patient)["alerts"]]
    assert outcome(decide(house, patient, acknowledge=alerts)) == "in-force"


# What ends the decision that waits


def course(house: House, patient: str, what: str, who: str = "pharmacist", **body: object) -> None:
    answer = house.call(who, "POST", f"/patients/{patient}/course/{what}", WHY | body, version="*")
    assert answer.status == 200, answer.text


ENDS: Final[dict[str, Callable[[House, str], object]]] = {
    "pause": lambda house, patient: course(house, patient, "pause"),
    "switch": switched,
    "baseline": lambda house, patient: course(house, patient, "baseline", "prescriber", baseline_on=TODAY),
    "eligibility": lambda house, patient: course(house, patient, "eligibility", "prescriber", eligibility=[]),
    "discontinuation": lambda house, patient: course(house, patient, "discontinuation", "prescriber"),
    "entered in error": lambda house, patient: course(house, patient, "entered-in-error", "prescriber"),
    "inactive": lambda house, patient: house.call(
        "pharmacist", "PATCH", f"/patients/{patient}", {"active": False, **WHY}, version="*"
    ),
}


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("kind", ["accept", "refer", "override"])
def test_a_changed_course_ends_what_waits(house: House, ends: Callable[[House, str], object], kind: str) -> None:
    patient = dosed(house)
    chosen = {"accept": {}, "refer": SAYS, "override": SAYS | {"micrograms_per_kg": 11}}[kind]
    decided(house, patient, kind, "prescriber" if kind == "override" else "pharmacist", **chosen)
    ends(house, patient)
    found = decision(house, patient)
    assert (found["status"], found["change"]) == ("void", "void")
    assert found["change_reason"]
    assert act(house, patient, 1, "withdrawal", "prescriber").code == "DECISION-CLOSED"
    assert act(house, patient, 1, "second-signature").code == "DECISION-CLOSED"


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
def test_a_changed_course_leaves_what_was_carried_out(house: House, ends: Callable[[House, str], object]) -> None:
    patient = dosed(house)
    decided(house, patient)
    give(house, patient)
    before = decision(house, patient)
    ends(house, patient)
    assert decision(house, patient) == before


# Several at once


def batch(house: House, *items: tuple[str, str], who: str = "pharmacist") -> list[tuple[str, str]]:
    """Of each the status of its decision, or why there is none."""
    sent = [{"patient": patient, "proposal_sha256": digest} for patient, digest in items]
    found = house.post("/decisions", {"items": sent}, who)["items"]
    assert [one["patient"] for one in found] == [patient for patient, _ in items]
    for one in found:
        assert (one["decision"] is None) == (one["code"] is not None) == (one["detail"] is not None)
    return [(one["patient"], one["decision"]["status"] if one["decision"] else one["code"]) for one in found]


def item(house: House, patient: str) -> tuple[str, str]:
    return patient, next_dose(house, patient)["proposal_sha256"]


def other_amount(house: House) -> str:
    """To be kept at 2 micrograms/kg, which 148 micrograms given last were, too."""
    patient = house.on_course()
    give(house, patient, 150, 14)
    give(house, patient, 148, 7)
    house.post(f"/patients/{patient}/platelet-counts", count(0, 90))
    assert next_dose(house, patient)["dose"]["micrograms"] == 150
    return patient


def rounded(house: House) -> str:
    """122 micrograms a week ago, of which a syringe holds 120: so is recorded what was given."""
    patient = house.on_course(kg=61)
    for ago in (14, 7):
        give(house, patient, 120, ago)
    house.post(f"/patients/{patient}/platelet-counts", count(0, 90))
    assert next_dose(house, patient)["dose"]["micrograms"] == 122
    return patient


def two_of_a_day(house: House) -> str:
    """150 micrograms a week ago, drawn up twice."""
    patient = house.on_course()
    give(house, patient, 150, 14)
    give(house, patient, 75, 7)
    give(house, patient, 75, 7)
    house.post(f"/patients/{patient}/platelet-counts", count(0, 90))
    return patient


def mismatched(house: House) -> str:
    """With a dose of today that departs from what was decided, unexplained; a week later to be kept at 150."""
    patient = dosed(house)
    decided(house, patient)
    assert give(house, patient, 145) == ["DOSE-MISMATCH-DECISION"]
    return patient


def unconfirmed(house: House) -> str:
    """To be kept at 150 micrograms, for no second count has confirmed that 399 is above the range."""
    patient = dosed(house, 399)
    found = next_dose(house, patient)
    assert (found["action"], [one["code"] for one in found["reasons"]]) == ("maintain", ["ABOVE-RANGE-UNCONFIRMED"])
    return patient


def at_the_maximum(house: House) -> str:
    """To be kept at 10 micrograms/kg, though the count is 9."""
    patient = house.on_course(kg=60)
    for ago in (14, 7):
        give(house, patient, 600, ago)
    house.post(f"/patients/{patient}/platelet-counts", count(0, 9))
    found = next_dose(house, patient)
    assert (found["action"], [one["code"] for one in found["reasons"]]) == ("maintain", ["AT-MAXIMUM"])
    return patient


BATCH: Final[list[tuple[Make, str]]] = [
    (dosed, "in-force"),
    (two_of_a_day, "in-force"),
    (rounded, "in-force"),
    (ANSWERS["due tomorrow"], "in-force"),
    (starting, "NOT-FOR-BATCH"),
    (ANSWERS["increase"], "NOT-FOR-BATCH"),
    (ANSWERS["hold"], "NOT-FOR-BATCH"),
    (ANSWERS["refer"], "NOT-FOR-BATCH"),
    (ANSWERS["incomplete"], "NOT-FOR-BATCH"),
    (alerted, "NOT-FOR-BATCH"),
    (other_amount, "NOT-FOR-BATCH"),
    (unconfirmed, "NOT-FOR-BATCH"),
    (at_the_maximum, "NOT-FOR-BATCH"),
]


def test_several_are_accepted_each_by_itself(house: House) -> None:
    patients = [(make(house), expected) for make, expected in BATCH]
    assert batch(house, *(item(house, patient) for patient, _ in patients)) == patients
    for patient, expected in patients:
        signed = [("accept", "in-force")] if expected == "in-force" else []
        assert statuses(house, patient) == signed
        actions = [row.action for row in house.trail(patient)]
        assert actions.count("accept") == len(signed), "in the chain of each"


def test_what_is_refused_of_several_leaves_the_others(house: House) -> None:
    first, second, unexplained = dosed(house), dosed(house), mismatched(house)
    stale = item(house, second)[1]
    house.post(f"/patients/{second}/platelet-counts", count(0, 95))
    mine = item(house, first)
    foreign = house.patient("stranger")
    assert batch(house, mine, (second, stale), mine, (foreign, stale), ("no such", stale), item(house, second)) == [
        (first, "in-force"),
        (second, "PROPOSAL-CHANGED"),
        (first, "ALREADY-DECIDED"),
        (foreign, "NOT-FOUND"),
        ("no such", "NOT-FOUND"),
        (second, "in-force"),
    ]
    house.clock.on(days=7)
    house.post(f"/patients/{unexplained}/platelet-counts", count(-7, 90))
    assert batch(house, item(house, unexplained)) in (
        [(unexplained, "NOT-FOR-BATCH")],
        [(unexplained, "DOSE-MISMATCH-DECISION")],
    )


def test_a_referral_is_not_accepted_among_several_by_who_may_not_answer_it(house: House) -> None:
    patient = dosed(house)
    decided(house, patient, "refer", **SAYS)
    assert batch(house, item(house, patient), who=other_pharmacist(house)) == [(patient, "FORBIDDEN")]
    assert batch(house, item(house, patient), who="prescriber") == [(patient, "in-force")]


@pytest.mark.parametrize(
    ("items", "faults"),
    [
        (None, ["items"]),
        ([{}], ["items[0].patient", "items[0].proposal_sha256"]),
        ([{"patient": "x", "proposal_sha256": "0" * 64, "acknowledge": []}], ["items[0].acknowledge"]),
        ([{"patient": "x", "proposal_sha256": "0" * 64}] * 101, ["items"]),
    ],
)
def test_several_are_named_one_by_one(house: House, items: object, faults: list[str]) -> None:
    answer = house.call("pharmacist", "POST", "/decisions", {} if items is None else {"items": items})
    assert (answer.status, sorted(answer.faults)) == (422, faults)


def test_none_of_several_is_nothing(house: House) -> None:
    assert batch(house) == []


# Once


def test_a_decision_sent_again_with_its_key_is_made_once(house: House) -> None:
    patient = dosed(house)
    body = {"decision": "accept", "proposal_sha256": next_dose(house, patient)["proposal_sha256"]}
    path = f"/patients/{patient}/decisions"
    first = house.call("pharmacist", "POST", path, body, Idempotency_Key="k")
    again = house.call("pharmacist", "POST", path, body, Idempotency_Key="k")
    assert (again.status, again.text, again.headers["Idempotency-Replayed"]) == (201, first.text, "true")
    assert (again.etag, again.headers["Location"]) == (first.etag, first.headers["Location"])
    other = house.call("pharmacist", "POST", path, body | {"comment": "again"}, Idempotency_Key="k")
    assert (other.status, other.code) == (409, "IDEMPOTENCY-KEY-REUSED")
    assert house.call("pharmacist", "POST", path, body, Idempotency_Key="l").code == "ALREADY-DECIDED"
    assert statuses(house, patient) == [("accept", "in-force")]


def test_each_change_of_a_decision_is_in_the_trail(house: House) -> None:
    patient = awaiting(house)
    act(house, patient, 1, "second-signature")
    act(house, patient, 1, "withdrawal", "prescriber")
    decided(house, patient)
    decided(house, patient, "refer", **SAYS)
    rows = [row for row in house.trail(patient) if "/decision/" in row.subject]
    by = {ident: name for name, ident in house.ids.items()}
    assert [(row.action, by[row.account_id or ""], row.subject.rpartition("/")[2]) for row in rows] == [
        ("override", "prescriber", "1"),
        ("decision-co-sign", "pharmacist", "1"),
        ("decision-withdraw", "prescriber", "1"),
        ("accept", "pharmacist", "4"),
        ("decision-supersede", "pharmacist", "4"),
        ("refer", "pharmacist", "6"),
    ]
    assert '"reason_code": "clinical-judgement"' in rows[0].detail
    assert WHY["reason"] in rows[2].detail
