"""Courses: started, changed for a reason, paused, ended; and when there is no next dose."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.api.support import BEFORE_COURSE, TODAY, WHY, House, count, day, dose, event, weight

START: Final = {"protocol": "us-itp-adult"}


def begin(house: House, patient: str, who: str = "pharmacist", **body: object) -> Any:
    return house.call(who, "POST", f"/patients/{patient}/course", START | body)


def change(house: House, patient: str, what: str, version: object = "*", **body: object) -> Any:
    return house.call("prescriber", "POST", f"/patients/{patient}/course/{what}", WHY | body, version=version)


def next_dose(house: House, patient: str, on: str = "") -> Any:
    return house.call("ehr", "GET", f"/patients/{patient}/next-dose" + (f"?on={on}" if on else ""))


def test_a_course_needs_a_birth_date(house: House) -> None:
    patient = house.patient(born_on=None)
    assert (begin(house, patient).status, begin(house, patient).code) == (409, "BIRTH-DATE-MISSING")
    house.call("pharmacist", "PATCH", f"/patients/{patient}", {"born_on": "1960-05-01"}, version=1)
    assert begin(house, patient).status == 201


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({"protocol": "no-such"}, ["protocol"]),
        ({"protocol": 7}, ["protocol"]),
        ({"started_on": day(-1)}, ["started_on"]),
        ({"started_on": "1960-04-30"}, ["started_on"]),
        ({"started_on": None}, ["started_on"]),
        ({"stopped_on": TODAY}, ["stopped_on"]),
        ({"protocol": "../../etc/passwd"}, ["protocol"]),
    ],
)
def test_what_no_course_starts_with(house: House, body: dict[str, object], faults: list[str]) -> None:
    patient = house.patient()
    answer = begin(house, patient, **body)
    assert (answer.status, list(answer.faults)) == (422, faults)
    assert house.get(f"/patients/{patient}/courses")["items"] == []
    assert house.call("pharmacist", "GET", f"/patients/{patient}/course").status == 404


def test_a_patient_is_on_one_course(house: House) -> None:
    patient = house.patient()
    started = begin(house, patient, started_on=day(7), reason="transferred")
    assert (started.status, started.etag, started.json["status"]) == (201, '"1"', "active")
    house.record(patient, "doses", dose(7))
    for started_on in (day(7), TODAY):
        answer = begin(house, patient, started_on=started_on)
        assert (answer.status, answer.code) == (409, "COURSE-OPEN")
    change(house, patient, "pause")
    assert begin(house, patient).code == "COURSE-OPEN"


def test_doses_before_a_course_are_not_left_out(house: House) -> None:
    patient = house.patient()
    house.record(patient, "doses", dose(14, **BEFORE_COURSE))
    house.record(patient, "doses", dose(7, **BEFORE_COURSE))
    answer = begin(house, patient, started_on=day(7))
    assert (answer.status, answer.code) == (409, "DOSES-BEFORE-COURSE")
    assert day(14) in answer.faults["started_on"]
    assert begin(house, patient, started_on=day(14)).status == 201
    house.record(patient, "doses", dose(21))
    answer = next_dose(house, patient)
    assert (answer.status, answer.code) == (409, "DOSES-BEFORE-COURSE")
    assert answer.faults == {"doses": f"given on {day(21)}, before the course"}


def test_each_change_is_a_version_with_its_reason(house: House) -> None:
    patient = house.on_course()
    house.record(patient, "weights", weight(1, 80))
    steps: list[tuple[str, dict[str, object], dict[str, object]]] = [
        ("eligibility", {"eligibility": []}, {"eligibility": []}),
        ("protocol", {"protocol": "eu-itp-adult"}, {"protocol": "eu-itp-adult"}),
        ("baseline", {"baseline_on": day(1)}, {"baseline_on": day(1)}),
        ("pause", {}, {"status": "paused"}),
        ("continuation", {}, {"status": "active"}),
        ("discontinuation", {"ended_on": day(0)}, {"status": "discontinued", "ended_on": TODAY}),
    ]
    for version, (what, body, shows) in enumerate(steps, 1):
        answer = change(house, patient, what, version, **body, reason=f"why {version}")
        assert (answer.status, answer.etag) == (200, f'"{version + 1}"'), answer.text
        assert {key: answer.json[key] for key in shows} == shows
        assert (answer.json["reason"], answer.json["changed_by"]) == (f"why {version}", house.ids["prescriber"])
        assert house.get(f"/patients/{patient}/course") == answer.json
        assert change(house, patient, what, version, **body).status in (409, 412), "that version is past"
    versions = house.get(f"/patients/{patient}/courses")["items"]
    assert [one["version"] for one in versions] == [1, 2, 3, 4, 5, 6, 7]
    assert [one["reason"] for one in versions[1:]] == [f"why {version}" for version in range(1, 7)]
    assert change(house, patient, "pause").code == "COURSE-NOT-ACTIVE"


@pytest.mark.parametrize(
    "what", ["eligibility", "protocol", "baseline", "pause", "continuation", "discontinuation", "entered-in-error"]
)
def test_each_change_needs_a_reason_and_a_course(house: House, what: str) -> None:
    body: dict[str, dict[str, object]] = {
        "eligibility": {"eligibility": []},
        "protocol": {"protocol": "eu-itp-adult"},
        "baseline": {"baseline_on": TODAY},
    }
    patient = house.patient()
    answer = change(house, patient, what, **body.get(what, {}))
    assert (answer.status, answer.code) == (409, "COURSE-NOT-ACTIVE")
    begin(house, patient)
    for reason in (None, "", " ", 7):
        answer = change(house, patient, what, **body.get(what, {}), reason=reason)
        assert (answer.status, list(answer.faults)) == (422, ["reason"])
    assert len(house.get(f"/patients/{patient}/courses")["items"]) == 1


def test_a_course_is_paused_once_and_goes_on_once(house: House) -> None:
    patient = house.on_course()
    assert change(house, patient, "continuation").code == "COURSE-NOT-ACTIVE"
    assert change(house, patient, "pause").status == 200
    assert change(house, patient, "pause").code == "COURSE-NOT-ACTIVE"
    assert (next_dose(house, patient).status, next_dose(house, patient).code) == (409, "COURSE-NOT-ACTIVE")
    assert change(house, patient, "continuation").status == 200
    assert next_dose(house, patient).status == 200


def test_without_an_active_course_there_is_no_next_dose(house: House) -> None:
    patient = house.patient()
    assert next_dose(house, patient).code == "COURSE-NOT-ACTIVE"
    begin(house, patient)
    assert next_dose(house, patient).status == 200
    change(house, patient, "discontinuation")
    assert next_dose(house, patient).code == "COURSE-NOT-ACTIVE"


@pytest.mark.parametrize(("what", "key"), [("baseline", "baseline_on"), ("discontinuation", "ended_on")])
def test_days_of_changes_lie_within_the_course(house: House, what: str, key: str) -> None:
    patient = house.on_course(started_ago=7)
    for wrong in (day(8), day(-1)):
        answer = change(house, patient, what, **{key: wrong})
        assert (answer.status, list(answer.faults)) == (422, [key])
    assert change(house, patient, what, **{key: day(7)}).status == 200


def test_a_course_does_not_end_before_its_last_dose(house: House) -> None:
    patient = house.on_course(started_ago=14)
    house.record(patient, "doses", dose(7))
    answer = change(house, patient, "discontinuation", ended_on=day(8))
    assert (answer.status, list(answer.faults)) == (422, ["ended_on"])
    assert change(house, patient, "discontinuation", ended_on=day(7)).status == 200


def test_a_second_course_leaves_the_first_ones_doses_out(house: House) -> None:
    patient = house.on_course(started_ago=60)
    house.record(patient, "doses", dose(60, 75))
    house.record(patient, "doses", dose(53, 150))
    change(house, patient, "discontinuation", ended_on=day(40))
    for started_on in (day(41), day(40)):
        again = begin(house, patient, started_on=started_on)
        assert (again.status, list(again.faults)) == (422, ["started_on"])
    assert begin(house, patient, started_on=day(7)).status == 201
    house.record(patient, "weights", weight(0))
    house.record(patient, "platelet-counts", count(0, 20))
    answer = next_dose(house, patient).json
    assert (answer["action"], answer["evidence"]["doses_used"]) == ("start", [])
    timeline = house.get(f"/patients/{patient}/timeline")
    assert [one["day"] for one in timeline["entries"] if one["collection"] == "doses"] == [day(60), day(53)]


def test_a_course_entered_in_error_never_was(house: House) -> None:
    patient = house.on_course(started_ago=7)
    house.record(patient, "doses", dose(14))
    assert next_dose(house, patient).code == "DOSES-BEFORE-COURSE"
    assert change(house, patient, "entered-in-error").json["status"] == "entered-in-error"
    assert house.call("pharmacist", "GET", f"/patients/{patient}/course").status == 404
    timeline = house.get(f"/patients/{patient}/timeline")
    assert (timeline["course"], timeline["course_changes"], timeline["weeks_above_target"]) == (None, [], None)
    assert len(house.get(f"/patients/{patient}/courses")["items"]) == 2, "but that it was entered can be read"
    assert begin(house, patient, started_on=day(14)).status == 201
    assert house.get(f"/patients/{patient}/timeline")["course"]["started_on"] == day(14)


def test_an_unverified_dose_blocks_the_next_one(house: House) -> None:
    patient = house.on_course()
    house.record(patient, "weights", weight(0))
    house.record(patient, "doses", dose(7, 75))
    bad = house.record(patient, "doses", dose(0, 750), "ehr").json
    assert bad["status"] == "unverified"
    answer = next_dose(house, patient)
    assert (answer.status, answer.code, list(answer.faults)) == (409, "FACTS-UNVERIFIED", [f"doses/{bad['id']}"])
    assert next_dose(house, patient, day(1)).status == 200, "before that day it was not so"
    at = f"/patients/{patient}/doses/{bad['id']}/entered-in-error"
    assert house.call("technician", "POST", at, WHY, version=1).status == 403, "who may not verify"
    assert house.call("pharmacist", "POST", at, WHY, version=1).status == 200
    assert next_dose(house, patient).status == 200


def weighed(house: House, kg: object, *, ago: int = 0) -> tuple[str, int]:
    """A patient of 75 kg on a course, whose feed reports another weight that nobody has verified: patient and fact."""
    patient = house.on_course(started_ago=7)
    house.record(patient, "platelet-counts", count(0, 20))
    made = house.record(patient, "weights", weight(ago, kg), "ehr").json
    assert made["status"] == "unverified"
    return patient, made["id"]


def test_an_unverified_weight_that_would_change_the_answer_blocks_it(house: House) -> None:
    patient, bad = weighed(house, 7.5)
    answer = next_dose(house, patient)
    assert (answer.status, answer.code, list(answer.faults)) == (409, "FACTS-UNVERIFIED", [f"weights/{bad}"])
    assert next_dose(house, patient, day(1)).json["unverified"] == [], "before that day it was not so"
    at = f"/patients/{patient}/weights/{bad}"
    assert house.call("technician", "POST", f"{at}/entered-in-error", WHY, version=1).status == 403
    assert house.call("pharmacist", "POST", f"{at}/entered-in-error", WHY, version=1).status == 200
    assert next_dose(house, patient).json["dose"]["delivered_micrograms"] == 75


def test_an_unverified_weight_that_is_verified_counts(house: House) -> None:
    patient, found = weighed(house, 100)
    assert next_dose(house, patient).code == "FACTS-UNVERIFIED"
    at = f"/patients/{patient}/weights/{found}/verification"
    assert house.call("pharmacist", "POST", at, WHY, version=1).status == 200
    answer = next_dose(house, patient).json
    assert (answer["dose"]["delivered_micrograms"], answer["unverified"]) == (100, [])


def test_an_unverified_weight_that_changes_nothing_is_left_out_and_told(house: House) -> None:
    """A weight of before the one that is dosed by is no part of the answer."""
    patient, found = weighed(house, 7.5, ago=14)
    answer = next_dose(house, patient).json
    assert answer["unverified"] == [{"collection": "weights", "id": found}]
    assert answer["dose"]["delivered_micrograms"] == 75
    assert answer["evidence"]["dosing_weight_kg"] == 75


def test_an_answer_says_whose_it_is_and_as_of_which_revision(house: House) -> None:
    patient = house.on_course()
    before = next_dose(house, patient).json
    course = house.get(f"/patients/{patient}/course")
    assert (before["patient"], before["course"]) == (patient, {"id": course["id"], "version": 1})
    assert before["revision"] == house.get(f"/patients/{patient}")["revision"] == 2
    change(house, patient, "baseline", baseline_on=TODAY)
    after = next_dose(house, patient).json
    assert (after["course"]["version"], after["revision"]) == (2, 3), "a change of the course is one of the record"
    assert house.record(patient, "platelet-counts", count(0)).json["id"] == 4
    assert house.services.store.check() == []


def test_only_what_the_protocol_asks_for_is_confirmed(house: House) -> None:
    patient = house.on_course(protocol="cart-2021-case")
    needed = house.get("/protocols/cart-2021-case")["eligibility"]
    answer = change(house, patient, "eligibility", eligibility=[*needed, "no-such"])
    assert (answer.status, list(answer.faults)) == (422, [f"eligibility[{len(needed)}]"])
    assert needed[0] in answer.faults[f"eligibility[{len(needed)}]"]
    sure = change(house, patient, "eligibility", eligibility=[*needed, *needed])
    assert (sure.status, sure.json["eligibility"]) == (200, sorted(needed))


def test_a_protocol_that_asks_for_more_is_switched_to_once_that_is_confirmed(house: House) -> None:
    patient = house.on_course()
    needed = house.get("/protocols/cart-2021-case")["eligibility"]
    answer = change(house, patient, "protocol", protocol="cart-2021-case")
    assert (answer.status, list(answer.faults)) == (422, ["protocol"])
    assert change(house, patient, "eligibility", eligibility=needed).status == 200
    assert change(house, patient, "protocol", protocol="cart-2021-case").status == 200


def test_what_happened_after_the_day_asked_about_is_told(house: House) -> None:
    patient = house.on_course()
    house.record(patient, "weights", weight(9))
    house.record(patient, "platelet-counts", count(9, 20))
    event = house.record(patient, "events", {"kind": "thrombosis", "occurred_on": day(0)}).json
    assert [one["code"] for one in next_dose(house, patient).json["reasons"]] == ["SAFETY-EVENT"]
    answer = next_dose(house, patient, day(9))
    assert (answer.json["action"], answer.json["later"]) == ("start", [{"collection": "events", "id": event["id"]}])


def test_no_answer_passes_over_facts_of_tomorrow(house: House) -> None:
    """At 23:30 UTC it is tomorrow in Berlin; a thrombosis of that day must not vanish where it is still today."""
    house.clock.on(hours=11, minutes=30)
    patient = house.on_course()
    house.record(patient, "weights", weight(9))
    event = house.record(patient, "events", {"kind": "thrombosis", "occurred_on": day(-1)}).json
    assert next_dose(house, patient).json["action"] == "refer"
    zone = {"name": "Haematology A", "time_zone": "America/New_York"}
    assert house.call("admin", "PUT", f"/clinics/{house.clinic}", zone, version=1).status == 200
    for on in ("", TODAY):
        answer = next_dose(house, patient, on)
        assert (answer.status, answer.code, list(answer.faults)) == (409, "FACTS-LATER", [f"events/{event['id']}"])
    assert next_dose(house, patient, day(-1)).json["action"] == "refer"


@pytest.mark.parametrize(("ago", "status"), [(6, 422), (7, 201)])
def test_a_course_does_not_begin_right_after_a_dose_of_another(house: House, ago: int, status: int) -> None:
    patient = house.on_course()
    house.record(patient, "weights", weight(ago))
    house.record(patient, "doses", dose(ago, 75))
    assert change(house, patient, "discontinuation", ended_on=day(1)).status == 200
    answer = begin(house, patient)
    assert answer.status == status, answer.text


def test_an_unverified_count_that_would_change_a_dose_holds_it_back(house: House) -> None:
    patient = house.on_course()
    house.record(patient, "weights", weight(14, 80))
    house.record(patient, "doses", dose(7, 80))
    house.record(patient, "platelet-counts", count(7, 30))
    above = house.record(patient, "platelet-counts", count(3, 600), "ehr").json
    assert above["status"] == "unverified"
    assert [one["code"] for one in next_dose(house, patient).json["reasons"]] == ["COUNT-UNRELIABLE"]
    house.record(patient, "platelet-counts", count(0, 180))
    answer = next_dose(house, patient)
    assert (answer.status, answer.code) == (409, "FACTS-UNVERIFIED")
    assert list(answer.faults) == [f"platelet-counts/{above['id']}"]


@pytest.mark.parametrize(
    ("one", "other", "status"),
    [
        ("us-itp-adult", "us-hs-ars", 422),
        ("us-hs-ars", "us-itp-adult", 422),
        ("us-itp-adult", "jp-itp-adult", 200),
    ],
)
def test_a_course_of_weeks_does_not_become_one_of_a_single_dose(
    house: House, one: str, other: str, status: int
) -> None:
    patient = house.on_course(protocol=one)
    answer = change(house, patient, "protocol", protocol=other)
    assert answer.status == status, answer.text
    assert status == 200 or list(answer.faults) == ["protocol"]
    assert house.get(f"/patients/{patient}/course")["protocol"] == (other if status == 200 else one)


def test_an_unresolved_thrombosis_holds_and_is_not_resolved_ahead_of_time(house: House) -> None:
    patient = house.on_course()
    house.record(patient, "weights", weight(0))
    house.record(patient, "platelet-counts", count(0, 20))
    made = house.record(patient, "events", event(1, "thrombosis")).json
    held = next_dose(house, patient).json
    assert held["dose"] is None
    resolution = {"resolved_on": TODAY, **WHY}
    at = f"/patients/{patient}/events/{made['id']}/resolution"
    assert house.call("prescriber", "POST", at, resolution, version=1).status == 200
    assert next_dose(house, patient).json["dose"] is not None


@pytest.mark.parametrize(
    ("path", "method", "body"),
    [("/patients/{}/next-dose", "GET", None), ("/recommend", "POST", {"protocol": "us-itp-adult", "on": TODAY})],
)
def test_a_service_that_fails_its_self_test_computes_no_dose(
    house: House, path: str, method: str, body: object
) -> None:
    patient = house.on_course()
    assert house.call("pharmacist", method, path.format(patient), body).status == 200
    assert house.call(None, "GET", "/readyz").json == {
        "status": "ready",
        "checks": {"database": "ok", "self_test": "ok"},
        "reminders": {
            "beat_seconds_ago": None,
            "beat_at": None,
            **dict.fromkeys(("due", "sent", "late", "dead", "oldest_seconds", "silent_clinics"), 0),
        },
    }
    broken = house.with_services(broken=("us-itp-adult: example 3 fails",))
    answer = broken.call("pharmacist", method, path.format(patient), body)
    assert (answer.status, answer.code) == (503, "SELF-TEST-FAILED")
    ready = broken.call(None, "GET", "/readyz")
    assert (ready.status, ready.json["status"]) == (503, "not ready")
    assert "example 3" in ready.json["checks"]["self_test"]
    assert broken.record(patient, "platelet-counts", count(0)).status == 201, "facts are still taken"
    assert broken.call(None, "GET", "/livez").status == 200


def test_a_protocol_that_has_gone_gives_no_dose(house: House) -> None:
    patient = house.on_course()

    class Gone:
        def __init__(self, catalogue: Any) -> None:
            self._catalogue = catalogue

        def __getattr__(self, name: str) -> Any:
            return getattr(self._catalogue, name)

        def get(self, ident: str) -> Any:
            raise KeyError(ident)

    without = house.with_services(catalogue=Gone(house.services.catalogue))
    answer = without.call("pharmacist", "GET", f"/patients/{patient}/next-dose")
    assert (answer.status, answer.code) == (503, "PROTOCOL-UNUSABLE")
    assert without.call("pharmacist", "GET", f"/patients/{patient}/timeline").json["weeks_above_target"] is None
    assert without.record(patient, "doses", dose(0)).status == 201


def test_eligibility_is_confirmed_by_a_prescriber_and_counts(house: House) -> None:
    patient = house.on_course(protocol="cart-2021-case")
    house.record(patient, "weights", weight(0))
    house.record(patient, "platelet-counts", count(0, 8))
    needed = house.get("/protocols/cart-2021-case")["eligibility"]
    assert needed
    assert next_dose(house, patient).json["dose"] is None
    at = f"/patients/{patient}/course/eligibility"
    body = {"eligibility": needed, **WHY}
    assert house.call("pharmacist", "POST", at, body, version=1).status == 403
    assert house.call("prescriber", "POST", at, body, version=1).status == 200
    assert next_dose(house, patient).json["action"] == "start"


NEEDED: Final = ["marrow-infiltration-excluded", "mds-excluded"]


def test_a_course_with_doses_begins_with_its_eligibility_confirmed(house: House) -> None:
    """The rules ask for it before the first dose, and that has been given."""
    patient = house.patient()
    house.record(patient, "doses", dose(7, **BEFORE_COURSE))
    case: dict[str, object] = {"protocol": "cart-2021-case", "started_on": day(7)}
    for who, named in (("pharmacist", []), ("prescriber", []), ("prescriber", NEEDED[:1])):
        answer = begin(house, patient, who, **case, eligibility=named)
        assert (answer.status, list(answer.faults)) == (422, ["eligibility"]), who
        assert NEEDED[1] in answer.faults["eligibility"]
    answer = begin(house, patient, **case, eligibility=NEEDED)
    assert (answer.status, answer.code) == (403, "FORBIDDEN"), "a pharmacist may not confirm it"
    answer = begin(house, patient, "prescriber", **case, eligibility=[*NEEDED, "no-such"])
    assert (answer.status, list(answer.faults)) == (422, ["eligibility[2]"])
    assert house.get(f"/patients/{patient}/courses")["items"] == []
    answer = begin(house, patient, "prescriber", **case, eligibility=[*reversed(NEEDED), NEEDED[0]])
    assert (answer.status, answer.json["eligibility"]) == (201, NEEDED)


def test_an_unverified_dose_is_a_dose_of_the_course(house: House) -> None:
    patient = house.patient()
    assert house.record(patient, "doses", dose(7), "ehr").json["status"] == "unverified"
    answer = begin(house, patient, protocol="cart-2021-case", started_on=day(7))
    assert (answer.status, list(answer.faults)) == (422, ["eligibility"])


def test_without_doses_eligibility_may_come_later_or_with_the_start(house: House) -> None:
    for who, named, status in (
        ("pharmacist", None, 201),
        ("pharmacist", [], 201),
        ("pharmacist", NEEDED, 403),
        ("prescriber", NEEDED, 201),
    ):
        body = {} if named is None else {"eligibility": named}
        answer = begin(house, house.patient(), who, protocol="cart-2021-case", **body)
        assert answer.status == status, answer.text
        assert status == 403 or answer.json["eligibility"] == (named or [])


def test_a_protocol_that_asks_for_nothing_begins_with_doses(house: House) -> None:
    patient = house.patient()
    house.record(patient, "doses", dose(7, **BEFORE_COURSE))
    assert begin(house, patient, started_on=day(7)).status == 201
