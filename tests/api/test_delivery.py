"""Doses that carry a decision out or depart from it, and corrections that re-open what was decided."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import pytest

from tests.api.deciding import (
    SAYS,
    act,
    decide,
    decided,
    decision,
    departures,
    dosed,
    give,
    next_dose,
    starting,
    tasks,
    worklist,
)
from tests.api.support import TODAY, WHY, House, count, day, dose, event, observation, weight

Make = Callable[[House], str]
Change = Callable[[House, str], object]

FLAG: Final = "DOSE-MISMATCH-DECISION"


def signed(house: House) -> str:
    """150 micrograms are decided for today."""
    patient = dosed(house)
    decided(house, patient)
    return patient


def signed_for_tomorrow(house: House) -> str:
    patient = dosed(house, last=6)
    decided(house, patient)
    return patient


def signed_for_the_day_after_tomorrow(house: House) -> str:
    patient = dosed(house, last=5)
    decided(house, patient)
    return patient


def held(house: House) -> str:
    """To give nothing is decided."""
    patient = dosed(house, 450)
    decided(house, patient)
    return patient


def awaiting(house: House) -> str:
    """825 micrograms are decided, if a second person agrees."""
    patient = dosed(house)
    decided(house, patient, "override", "prescriber", **SAYS, micrograms_per_kg=11)
    return patient


def referred(house: House) -> str:
    patient = dosed(house)
    decided(house, patient, "refer", **SAYS)
    return patient


def withdrawn(house: House) -> str:
    patient = signed(house)
    act(house, patient, 1, "withdrawal")
    return patient


def reopened(house: House) -> str:
    """150 micrograms are decided for a count of 90, which was 30."""
    patient = signed(house)
    correct(house, patient, "platelet-counts", count(0, 30))
    return patient


def delivered(house: House) -> str:
    """150 micrograms were decided and given today."""
    patient = signed(house)
    assert give(house, patient) == []
    return patient


def fact(house: House, patient: str, collection: str, place: int = -1) -> str:
    """The path of a fact, by default the newest of its collection."""
    ident = house.get(f"/patients/{patient}/{collection}")["items"][place]["id"]
    return f"/patients/{patient}/{collection}/{ident}"


def correct(house: House, patient: str, collection: str, body: dict[str, Any], place: int = -1) -> None:
    path = fact(house, patient, collection, place)
    answer = house.call("pharmacist", "PUT", path, body | WHY, version="*")
    if answer.status == 422 and answer.json["questions"]:
        answer = house.call("pharmacist", "PUT", path, body | WHY | {"confirm": answer.json["questions"]}, version="*")
    assert answer.status == 200, answer.text


def in_error(house: House, patient: str, collection: str, place: int = -1) -> None:
    path = f"{fact(house, patient, collection, place)}/entered-in-error"
    assert house.call("pharmacist", "POST", path, WHY, version="*").status == 200


def explain(house: House, patient: str, on: str = TODAY, who: str = "pharmacist") -> Any:
    return house.call(who, "POST", f"/patients/{patient}/dose-mismatches/{on}/reason", WHY)


# Carried out, or not as decided


#: What was decided, what is given on which day, and in what the last of those days departs.
GIVEN: Final[list[tuple[Make, list[tuple[int, object]], list[str]]]] = [
    (signed, [(0, 150)], []),
    (signed, [(0, Decimal("147.5"))], []),
    (signed, [(0, Decimal("147.4"))], ["amount"]),
    (signed, [(0, Decimal("152.5"))], []),
    (signed, [(0, Decimal("152.6"))], ["amount"]),
    (signed, [(0, 75), (0, 75)], []),
    (signed, [(0, 100), (0, 30), (0, 20)], []),
    (signed, [(0, 75)], ["amount"]),
    (signed, [(0, 150), (0, 75)], ["amount"]),
    (signed, [(-3, 150)], []),
    (signed, [(-4, 150)], ["late"]),
    (signed, [(-4, 140)], ["amount", "late"]),
    (signed, [(0, 1500)], ["amount"]),
    (signed, [(0, 1505)], ["amount", "ceiling"]),
    (signed, [(0, 150), (-2, 150)], ["no-decision"]),
    (signed, [(0, 150), (-2, 1355)], ["no-decision", "ceiling"]),
    (signed_for_the_day_after_tomorrow, [(0, 150)], ["early"]),
    (signed_for_the_day_after_tomorrow, [(0, 140)], ["amount", "early"]),
    (signed_for_the_day_after_tomorrow, [(-1, 150)], []),
    (signed_for_tomorrow, [(0, 150)], []),
    (signed_for_tomorrow, [(-1, 150)], []),
    (signed_for_tomorrow, [(-4, 150)], []),
    (signed_for_tomorrow, [(-5, 150)], ["late"]),
    (reopened, [(0, 150)], ["re-opened"]),
    (reopened, [(0, 225)], ["amount", "re-opened"]),
    (held, [(0, 150)], ["no-decision"]),
    (held, [(-1, 150)], ["no-decision"]),
    (held, [(1, 150)], []),
    (awaiting, [(-1, 825)], ["no-decision"]),
    (referred, [(-1, 150)], ["no-decision"]),
    (withdrawn, [(-1, 150)], ["no-decision"]),
    # since when the course is kept here
    (starting, [(0, 75)], ["no-decision"]),
    (dosed, [(-1, 150)], ["no-decision"]),
    (dosed, [(0, 150)], []),
    (dosed, [(3, 150)], []),
    (House.patient, [(0, 150)], []),
]


@pytest.mark.parametrize(("make", "given", "departs"), GIVEN)
def test_what_is_given_is_compared_with_what_was_decided(
    house: House, make: Make, given: list[tuple[int, object]], departs: list[str]
) -> None:
    patient = make(house)
    flags = []
    for ago, micrograms in given:
        house.clock.on(days=max(0, -ago - (house.clock.now.day - 9)))
        flags = give(house, patient, micrograms, ago)
    on = day(given[-1][0])
    assert flags == ([FLAG] if departs else [])
    assert departures(house, patient) == ({on: departs} if departs else {})
    assert [fact["given_on"] for fact in house.get(f"/patients/{patient}/doses")["items"]][-1] == on, "as it happened"
    waits = [line for line in worklist(house)["items"] if line["patient"] == patient and line["dose_mismatches"]]
    assert [line["dose_mismatches"] for line in waits] == ([[on]] if departs else [])


def test_what_is_carried_out_says_when(house: House) -> None:
    patient = signed(house)
    house.clock.on(days=2)
    give(house, patient, ago=-2)
    found = decision(house, patient)
    assert (found["status"], found["given_on"], found["change"]) == ("delivered", day(-2), "deliver")
    assert found["changed_by"] == house.ids["technician"]
    assert next_dose(house, patient)["decision"] is None


def test_parts_of_a_dose_come_up_to_it(house: House) -> None:
    patient = signed(house)
    assert give(house, patient, 75) == [FLAG]
    assert departures(house, patient) == {TODAY: ["amount"]}
    assert give(house, patient, 75) == []
    assert departures(house, patient) == {}
    assert (decision(house, patient)["status"], decision(house, patient)["version"]) == ("delivered", 2)


def test_a_feed_is_told_of_it_too(house: House) -> None:
    patient = signed(house)
    made = house.record(patient, "doses", dose(0, 140), "ehr")
    assert (made.status, made.json["status"], made.json["flags"]) == (201, "final", [FLAG])
    again = house.record(patient, "doses", dose(0, 140), "ehr")
    assert (again.status, again.json["id"]) == (200, made.json["id"])


def test_a_dose_that_nobody_has_verified_carries_nothing_out(house: House) -> None:
    patient = signed(house)
    made = house.record(patient, "doses", dose(0, 900), "ehr")
    assert (made.json["status"], made.json["flags"]) == ("unverified", [])
    assert (decision(house, patient)["status"], departures(house, patient)) == ("in-force", {})
    path = f"/patients/{patient}/doses/{made.json['id']}/verification"
    assert house.call("pharmacist", "POST", path, WHY, version=1).status == 200
    assert (decision(house, patient)["status"], departures(house, patient)) == ("delivered", {TODAY: ["amount"]})


# Explained


def test_doses_that_depart_want_a_reason_before_anything_else_is_decided(house: House) -> None:
    patient = signed(house)
    give(house, patient, 145)
    house.clock.on(days=7)
    house.post(f"/patients/{patient}/platelet-counts", count(-7, 90))
    for kind, chosen in (("accept", {}), ("override", SAYS | {"micrograms": 150})):
        answer = decide(house, patient, kind, "prescriber", **chosen)
        assert (answer.status, answer.code) == (409, FLAG)
        assert answer.faults == {f"dose-mismatches/{TODAY}": "amount"}
    assert explain(house, patient, who="technician").status == 403
    assert explain(house, patient, who="stranger").status == 404
    for on in (day(-7), "2026-02-30", "today"):
        assert explain(house, patient, on).status == 404
    said = explain(house, patient).json
    assert (said["code"], said["decision"], said["departs"]) == (FLAG, 1, ["amount"])
    assert (said["reason"], said["reason_by"]) == (WHY["reason"], house.ids["pharmacist"])
    assert said["reason_at"] == "2026-03-16T12:00:00.000000Z"
    assert house.get(f"/patients/{patient}/dose-mismatches")["items"] == [said]
    assert "dose-mismatch" not in tasks(house, patient)
    assert decided(house, patient)["status"] == "in-force"


@pytest.mark.parametrize(("kind", "chosen"), [("refer", SAYS), ("override", SAYS | {"no_dose": True})])
def test_to_refer_and_to_give_nothing_wait_for_no_reason(house: House, kind: str, chosen: dict[str, Any]) -> None:
    patient = signed(house)
    give(house, patient, 145)
    assert decide(house, patient, kind, **chosen).status == 201


def test_each_day_is_explained_by_itself(house: House) -> None:
    patient = signed(house)
    give(house, patient, 140)
    house.clock.on(days=1)
    give(house, patient, 10, -1)
    assert list(departures(house, patient)) == [day(-1), TODAY], "the newest first"
    chosen = SAYS | {"micrograms": 150}
    answer = decide(house, patient, "override", **chosen)
    assert answer.faults == {f"dose-mismatches/{TODAY}": "amount", f"dose-mismatches/{day(-1)}": "no-decision"}
    explain(house, patient)
    assert list(decide(house, patient, "override", **chosen).faults) == [f"dose-mismatches/{day(-1)}"]
    explain(house, patient, day(-1))
    chosen["acknowledge"] = [one["code"] for one in next_dose(house, patient)["alerts"]]
    assert decided(house, patient, "override", "prescriber", **chosen)["status"] == "awaiting-second"


def test_what_is_explained_may_be_explained_better(house: House) -> None:
    patient = signed(house)
    give(house, patient, 140)
    assert [explain(house, patient, who=who).json["reason_by"] for who in ("pharmacist", "prescriber")] == [
        house.ids["pharmacist"],
        house.ids["prescriber"],
    ]


# A dose that is corrected


def test_a_dose_that_is_corrected_is_compared_again(house: House) -> None:
    patient = delivered(house)
    correct(house, patient, "doses", dose(0, 140))
    assert departures(house, patient) == {TODAY: ["amount"]}
    explain(house, patient)
    correct(house, patient, "doses", dose(0, 140, note="in two syringes"))
    (found,) = house.get(f"/patients/{patient}/dose-mismatches")["items"]
    assert (found["reason"], found["micrograms"]) == (WHY["reason"], 140), "as much as before, and departs in the same"
    correct(house, patient, "doses", dose(0, 145))
    (found,) = house.get(f"/patients/{patient}/dose-mismatches")["items"]
    assert (found["reason"], found["micrograms"]) == (None, 145), "that is another one to explain"
    correct(house, patient, "doses", dose(0, 150))
    assert departures(house, patient) == {}
    assert explain(house, patient).status == 404, "nothing to explain"
    correct(house, patient, "doses", dose(0, 140))
    assert [one["reason"] for one in house.get(f"/patients/{patient}/dose-mismatches")["items"]] == [None]
    assert decision(house, patient)["version"] == 2, "all the while it is delivered"


def test_a_dose_that_is_moved_carries_out_on_its_new_day(house: House) -> None:
    patient = signed_for_the_day_after_tomorrow(house)
    house.clock.on(days=1)
    assert give(house, patient, 150, 0) == [FLAG]
    assert departures(house, patient) == {TODAY: ["early"]}
    correct(house, patient, "doses", dose(-1, 150))
    assert departures(house, patient) == {}
    assert (decision(house, patient)["status"], decision(house, patient)["given_on"]) == ("delivered", day(-1))


def test_a_dose_that_never_was_gives_the_decision_back(house: House) -> None:
    patient = delivered(house)
    in_error(house, patient, "doses")
    found = decision(house, patient)
    assert (found["status"], found["given_on"], found["change"]) == ("in-force", None, "dose-taken-back")
    assert next_dose(house, patient)["decision"] == 1
    assert give(house, patient) == []
    assert decision(house, patient)["status"] == "delivered"


def test_a_part_that_never_was_leaves_the_rest(house: House) -> None:
    patient = signed(house)
    give(house, patient, 75)
    give(house, patient, 75)
    in_error(house, patient, "doses")
    assert (decision(house, patient)["status"], departures(house, patient)) == ("delivered", {TODAY: ["amount"]})
    in_error(house, patient, "doses")
    assert (decision(house, patient)["status"], departures(house, patient)) == ("in-force", {})


def test_a_decision_that_was_given_back_too_late_gives_way(house: House) -> None:
    patient = delivered(house)
    house.clock.on(days=7)
    house.post(f"/patients/{patient}/platelet-counts", count(-7, 90))
    later = decided(house, patient)
    in_error(house, patient, "doses")
    assert (decision(house, patient)["status"], decision(house, patient, later["id"])["status"]) == (
        "superseded",
        "in-force",
    )


def test_of_another_course_nothing_waits_again(house: House) -> None:
    patient = delivered(house)
    house.call("pharmacist", "POST", f"/patients/{patient}/course/pause", WHY, version="*")
    in_error(house, patient, "doses")
    assert decision(house, patient)["status"] == "void"


@pytest.mark.parametrize(
    ("make", "ago", "status"),
    [
        (signed, 0, "not-given"),
        (signed, -3, "not-given"),
        (signed, 1, "in-force"),
        (signed_for_tomorrow, 0, "not-given"),
        (held, 0, "in-force"),
        (awaiting, 0, "awaiting-second"),
        (referred, 0, "referred"),
    ],
)
def test_a_dose_that_was_not_given_ends_what_was_decided(house: House, make: Make, ago: int, status: str) -> None:
    patient = make(house)
    house.clock.on(days=max(0, -ago))
    body = {"not_given_on": day(ago), "reason_not_given": "absent"}
    made = house.record(patient, "doses", body, "technician")
    assert (made.status, made.json["flags"]) == (201, [])
    found = decision(house, patient)
    assert found["status"] == status
    if status == "not-given":
        assert (found["change"], found["change_reason"]) == ("not-given", "absent")
        assert next_dose(house, patient)["decision"] is None


def test_what_was_not_given_is_decided_anew(house: House) -> None:
    patient = signed(house)
    house.record(patient, "doses", {"not_given_on": TODAY, "reason_not_given": "absent"})
    in_error(house, patient, "doses")
    assert decision(house, patient)["status"] == "not-given", "it does not come back by itself"
    assert decided(house, patient)["status"] == "in-force"
    assert give(house, patient) == []


# Corrections


def patched(house: House, patient: str) -> None:
    body = {"born_on": "2010-05-01", **WHY}
    assert house.call("pharmacist", "PATCH", f"/patients/{patient}", body, version="*").status == 200


def odd(house: House, patient: str) -> None:
    """A feed reports what looks wrong, of a day of which there is a count."""
    assert house.record(patient, "platelet-counts", count(0, 3800), "ehr").json["status"] == "unverified"


def verified(house: House, patient: str) -> None:
    odd(house, patient)
    path = f"{fact(house, patient, 'platelet-counts')}/verification"
    assert house.call("pharmacist", "POST", path, WHY, version=1).status == 200


#: What is recorded after the decision to keep 150 micrograms, and the answer that it then comes to, if another.
CHANGES: Final[dict[str, tuple[Change, str | None]]] = {
    "count corrected": (lambda h, p: correct(h, p, "platelet-counts", count(0, 30)), "increase BELOW-TARGET 225"),
    "count unreliable": (
        lambda h, p: correct(h, p, "platelet-counts", count(0, 90, unreliable=True)),
        "incomplete COUNT-UNRELIABLE",
    ),
    "count of another day": (lambda h, p: correct(h, p, "platelet-counts", count(8, 90)), "incomplete COUNT-NEEDED"),
    "count in error": (lambda h, p: in_error(h, p, "platelet-counts"), "incomplete COUNT-MISSING"),
    "count verified": (verified, "hold ABOVE-HOLD-LIMIT"),
    "count of before, late": (
        lambda h, p: h.post(f"/patients/{p}/platelet-counts", count(1, 190)),
        "maintain IN-RANGE 150 LARGE-FALL",
    ),
    "weight corrected": (
        lambda h, p: correct(h, p, "weights", weight(35, 80)),
        "maintain IN-RANGE 152 OFF-PROTOCOL-DOSE",
    ),
    "weight in error": (lambda h, p: in_error(h, p, "weights"), "incomplete WEIGHT-MISSING"),
    "dose of before corrected": (lambda h, p: correct(h, p, "doses", dose(7, 75), 1), "maintain IN-RANGE 75"),
    "dose of before moved": (lambda h, p: correct(h, p, "doses", dose(9, 150), 1), None),
    "doses in error": (
        lambda h, p: [in_error(h, p, "doses", place) for place in (1, 0)],  # type: ignore[func-returns-value]
        "incomplete WEIGHT-STALE",
    ),
    "thrombosis": (lambda h, p: h.post(f"/patients/{p}/events", event(2, "thrombosis")), "refer SAFETY-EVENT"),
    "rescue therapy": (
        lambda h, p: h.post(f"/patients/{p}/events", event(2, "rescue_therapy")),
        "maintain IN-RANGE 150 COUNT-CONFOUNDED",
    ),
    "birth date": (patched, "refer OUTSIDE-POPULATION"),
    # what changes no answer
    "count reported, to be verified": (odd, None),
    "count corrected within": (lambda h, p: correct(h, p, "platelet-counts", count(0, 120)), None),
    "weight of today": (lambda h, p: h.post(f"/patients/{p}/weights", weight(0, 80)), None),
    "observation": (lambda h, p: h.post(f"/patients/{p}/observations", observation(0)), None),
    "adverse event": (lambda h, p: h.post(f"/patients/{p}/events", event(0, "adverse_event", term="headache")), None),
    "a name": (
        lambda h, p: h.call("pharmacist", "PATCH", f"/patients/{p}", {"given_name": "Eva"}, version="*"),
        None,
    ),
}


def told(answer: Any) -> str:
    """An answer in short: action, reasons, micrograms, alerts."""
    amounts = [str(answer["dose"]["micrograms"])] if answer["dose"] else []
    codes = [[one["code"] for one in answer[name]] for name in ("reasons", "alerts")]
    return " ".join([answer["action"], *codes[0], *amounts, *codes[1]])


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("make", [signed, delivered])
def test_what_changes_the_answer_re_opens_the_decision(
    house: House, make: Make, change: Change, expected: str | None
) -> None:
    patient = make(house)
    before = decision(house, patient)
    change(house, patient)
    found = decision(house, patient)
    if expected is None:
        assert (found["reopened"], tasks(house, patient).count("re-opened")) == (None, 0)
        return
    assert told(found["reopened"]["answer"]) == expected
    assert (found["reopened"]["reviewed"], found["reopened"]["answer"]["on"]) == (False, TODAY)
    assert (found["answer"], found["dose"], found["status"]) == (before["answer"], before["dose"], before["status"])
    assert found["change"] == "reopen"
    (line,) = [line for line in worklist(house)["items"] if line["patient"] == patient]
    given = make is delivered
    assert line["tasks"][0] == ("re-opened-given" if given else "re-opened"), line["tasks"]
    (side,) = line["reopened"]
    assert (side["decision"], side["on"], side["given_on"]) == (1, TODAY, TODAY if given else None)
    assert (side["was"]["action"], side["was"]["dose"]["delivered_micrograms"]) == ("maintain", 150)
    assert side["now"]["action"] == expected.split()[0]


@pytest.mark.parametrize("make", [signed, delivered])
def test_a_correction_that_is_undone_unmarks(house: House, make: Make) -> None:
    patient = make(house)
    correct(house, patient, "platelet-counts", count(0, 30))
    assert decision(house, patient)["reopened"]["by"] == house.ids["pharmacist"]
    correct(house, patient, "platelet-counts", count(0, 91))
    found = decision(house, patient)
    assert (found["reopened"], found["change"]) == (None, "same-again")
    assert not {"re-opened", "re-opened-given"} & {*tasks(house, patient)}
    assert act(house, patient, 1, "review").code == "NOTHING-TO-REVIEW"


def test_a_report_found_wrong_unmarks(house: House) -> None:
    patient = delivered(house)
    verified(house, patient)
    assert decision(house, patient)["reopened"] is not None
    in_error(house, patient, "platelet-counts")
    assert decision(house, patient)["reopened"] is None


@pytest.mark.parametrize("make", [delivered, signed])
def test_what_was_carried_out_or_not_given_is_reviewed_in_words(house: House, make: Make) -> None:
    patient = make(house)
    if make is signed:
        house.record(patient, "doses", {"not_given_on": TODAY, "reason_not_given": "absent"})
    assert act(house, patient, 1, "review").code == "NOTHING-TO-REVIEW", "nothing has re-opened it"
    correct(house, patient, "platelet-counts", count(0, 30))
    waits = "re-opened-given" if make is delivered else "re-opened"
    assert waits in tasks(house, patient)
    version = decision(house, patient)["version"]
    assert act(house, patient, 1, "review", version=version - 1).code == "VERSION-STALE"
    made = act(house, patient, 1, "review", version=version).json
    assert (made["reopened"]["reviewed"], made["change"], made["change_reason"]) == (True, "review", WHY["reason"])
    assert waits not in tasks(house, patient)
    assert act(house, patient, 1, "review").code == "NOTHING-TO-REVIEW", "once"
    correct(house, patient, "platelet-counts", count(0, 31))
    assert decision(house, patient)["reopened"]["reviewed"] is True, "the same answer as reviewed"
    correct(house, patient, "platelet-counts", count(0, 450))
    assert decision(house, patient)["reopened"]["reviewed"] is False, "yet another answer"
    assert waits in tasks(house, patient)


def test_what_was_not_carried_out_is_decided_anew_or_taken_back(house: House) -> None:
    first, second = reopened(house), reopened(house)
    assert act(house, first, 1, "review").code == "NOTHING-TO-REVIEW"
    assert "re-opened" in tasks(house, first)
    new = decided(house, first)
    assert (new["answer"]["action"], decision(house, first)["status"]) == ("increase", "superseded")
    act(house, second, 1, "withdrawal")
    for patient in (first, second):
        assert "re-opened" not in tasks(house, patient)


@pytest.mark.parametrize(("make", "status"), [(withdrawn, "withdrawn"), (held, "in-force"), (referred, "referred")])
def test_what_is_re_opened(house: House, make: Make, status: str) -> None:
    """What was decided and stands, if only to give nothing; not what was taken back, nor what waits for an answer."""
    patient = make(house)
    correct(house, patient, "platelet-counts", count(0, 30))
    found = decision(house, patient)
    assert (found["status"], found["reopened"] is not None) == (status, make is held)


@pytest.mark.parametrize(("make", "expected"), [(signed, "refer SAFETY-EVENT"), (delivered, None)])
def test_what_happens_later_re_opens_what_has_not_been_given(house: House, make: Make, expected: str | None) -> None:
    patient = make(house)
    house.clock.on(days=1)
    house.post(f"/patients/{patient}/events", event(-1, "thrombosis"))
    found = decision(house, patient)["reopened"]
    assert (found and (told(found["answer"]), found["answer"]["on"])) == (expected and (expected, day(-1)))


def test_each_decision_that_rested_on_it_is_re_opened(house: House) -> None:
    patient = delivered(house)
    house.clock.on(days=7)
    house.post(f"/patients/{patient}/platelet-counts", count(-7, 90))
    last = decided(house, patient)["id"]
    correct(house, patient, "weights", weight(35, 80))
    assert [decision(house, patient, ident)["reopened"] is not None for ident in (1, last)] == [True, True]
    assert tasks(house, patient)[:2] == ["re-opened-given", "re-opened"]
    correct(house, patient, "weights", weight(35, 75))
    correct(house, patient, "platelet-counts", count(-7, 30))
    assert [decision(house, patient, ident)["reopened"] is not None for ident in (1, last)] == [False, True]


def test_a_correction_after_the_dose_is_no_fault_of_the_dose(house: House) -> None:
    patient = delivered(house)
    correct(house, patient, "platelet-counts", count(0, 30))
    assert departures(house, patient) == {}
    correct(house, patient, "doses", dose(0, 151))
    assert departures(house, patient) == {}


def test_what_re_opens_is_in_the_trail_with_both_answers(house: House) -> None:
    patient = delivered(house)
    correct(house, patient, "platelet-counts", count(0, 30))
    give(house, patient, 10)
    explain(house, patient)
    rows = {row.action: row for row in house.trail(patient)}
    assert {"decision-deliver", "decision-reopen", "dose-mismatch", "explain-mismatch"} <= {*rows}
    assert "increase" in rows["decision-reopen"].detail
    assert rows["dose-mismatch"].subject == f"patient/{patient}/doses/{TODAY}"
    assert WHY["reason"] in rows["explain-mismatch"].detail
