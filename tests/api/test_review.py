"""What a review found: baseline weights, doses of no course, kept answers, tokens in the trail, used links."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

import pytest

from tests.api.deciding import dosed
from tests.api.support import BEFORE_COURSE, PASSWORD, WHY, Answer, House, count, day, dose, named, weight
from titrator.security.permissions import Role


def fact_path(patient: str, collection: str, answer: Answer, action: str = "") -> str:
    return f"/patients/{patient}/{collection}/{answer.json['id']}" + (f"/{action}" if action else "")


# The baseline weight


#: Weights of a patient of 75 kg on the day of the first dose, 14 days ago, and whether the doses would follow them.
REWEIGHED: Final[list[tuple[str, str, dict[str, object], bool]]] = [
    ("us-itp-adult", "a later day", weight(13, 80), False),
    ("us-itp-adult", "today", weight(0, 80), False),
    ("us-itp-adult", "an earlier day that another weight stands for", weight(36, 80), False),
    ("us-itp-adult", "a day nearer to the first dose", weight(15, 80), True),
    ("us-itp-adult", "the same weight, nearer", weight(15, 75), False),
    ("us-itp-adult", "the day of the first dose", weight(14, 80), True),
    ("jp-itp-adult", "a day nearer to the first dose, in Japan", weight(15, 80), True),
    ("cart-2021-case", "today, by a protocol of current weights", weight(0, 80), False),
    ("cart-2021-case", "earlier, by a protocol of current weights", weight(15, 80), False),
]


@pytest.mark.parametrize(
    ("protocol", "body", "moves"), [(row[0], *row[2:]) for row in REWEIGHED], ids=[row[1] for row in REWEIGHED]
)
def test_a_weight_that_doses_would_follow_is_asked_about(
    house: House, protocol: str, body: dict[str, object], moves: bool
) -> None:
    patient = house.on_course(protocol=protocol)
    assert house.record(patient, "weights", weight(20, 75)).status == 201, "before the first dose nothing is asked"
    assert house.record(patient, "doses", dose(14)).status == 201
    before = house.everything()
    answer = house.record(patient, "weights", body, "technician")
    if not moves:
        assert (answer.status, answer.json["asked"]) == (201, [])
        return
    assert (answer.status, answer.json["questions"]) == (422, ["DOSING-WEIGHT-WOULD-CHANGE"])
    assert "75 kg" in answer.json["detail"]
    assert "80 kg" in answer.json["detail"]
    assert house.everything() == before
    sure = house.record(patient, "weights", body | {"confirm": answer.json["questions"]}, "technician")
    assert (sure.status, sure.json["asked"]) == (201, answer.json["questions"])
    assert sure.json["confirmed_by"] == house.ids["technician"]
    assert house.get(f"/patients/{patient}/next-dose")["evidence"]["dosing_weight_kg"] == 80


def test_a_first_weight_is_not_asked_about_though_doses_follow_it(house: House) -> None:
    patient = house.begun()
    house.record(patient, "doses", dose(14))
    assert house.record(patient, "weights", weight(7)).status == 201
    assert house.record(patient, "weights", weight(9, 76)).code == "DOSING-WEIGHT-WOULD-CHANGE"


def test_a_new_baseline_is_what_doses_follow_then(house: House) -> None:
    """A weight before it is one of the past; one of a day nearer to it is asked about."""
    patient = house.on_course()
    house.record(patient, "doses", dose(14))
    house.record(patient, "weights", weight(7, 80))
    at = f"/patients/{patient}/course/baseline"
    assert house.call("prescriber", "POST", at, {"baseline_on": day(5), **WHY}, version=1).status == 200
    assert house.record(patient, "weights", weight(14, 76)).status == 201
    assert house.record(patient, "weights", weight(6, 81)).code == "DOSING-WEIGHT-WOULD-CHANGE"


def test_a_correction_that_moves_the_baseline_is_asked_about_and_taking_it_back_is_not(house: House) -> None:
    patient = house.begun()
    path = fact_path(patient, "weights", house.record(patient, "weights", weight(14)))
    house.record(patient, "doses", dose(14))
    later = fact_path(patient, "weights", house.record(patient, "weights", weight(7, 76)))
    assert house.call("pharmacist", "PUT", later, weight(7, 77, **WHY), version=1).status == 200
    assert house.call("pharmacist", "PUT", path, weight(14, note="in clothes", **WHY), version=1).status == 200
    for body in (weight(14, 76, **WHY), weight(6, **WHY)):
        answer = house.call("pharmacist", "PUT", path, body, version=2)
        assert (answer.status, answer.json["questions"]) == (422, ["DOSING-WEIGHT-WOULD-CHANGE"])
    moved = weight(14, 76, confirm=["DOSING-WEIGHT-WOULD-CHANGE"], **WHY)
    assert house.call("pharmacist", "PUT", path, moved, version=2).status == 200
    assert house.call("pharmacist", "POST", f"{path}/entered-in-error", WHY, version=3).status == 200


def test_a_feeds_weight_that_doses_would_follow_waits(house: House) -> None:
    patient = house.on_course()
    house.record(patient, "doses", dose(14))
    made = house.record(patient, "weights", weight(15, 80), "ehr")
    assert (made.status, made.json["status"]) == (201, "unverified")
    assert made.json["asked"] == ["DOSING-WEIGHT-WOULD-CHANGE"]
    at = fact_path(patient, "weights", made, "verification")
    sure = house.call("pharmacist", "POST", at, WHY, version=1)
    assert (sure.status, sure.json["asked"]) == (200, ["DOSING-WEIGHT-WOULD-CHANGE"]), "that was the question"


def test_verifying_asks_what_was_not_asked_before_the_first_dose(house: House) -> None:
    patient = house.on_course()
    made = house.record(patient, "weights", weight(15, 120), "ehr")
    assert made.json["asked"] == ["WEIGHT-FAR-FROM-LAST"]
    house.record(patient, "doses", dose(14))
    at, code = fact_path(patient, "weights", made, "verification"), "DOSING-WEIGHT-WOULD-CHANGE"
    answer = house.call("pharmacist", "POST", at, WHY, version=1)
    assert (answer.status, answer.json["questions"]) == (422, [code])
    wrong = house.call("pharmacist", "POST", at, WHY | {"confirm": ["WEIGHT-FAR-FROM-LAST"]}, version=1)
    assert (wrong.code, list(wrong.faults)) == ("INVALID", ["confirm[0]"])
    sure = house.call("pharmacist", "POST", at, WHY | {"confirm": [code]}, version=1)
    assert (sure.status, sure.json["asked"]) == (200, ["WEIGHT-FAR-FROM-LAST", code])


# Doses before a course, and from one course to another


def test_a_dose_without_a_course_is_asked_about(house: House) -> None:
    patient = house.patient()
    answer = house.record(patient, "doses", dose(14))
    assert (answer.status, answer.json["questions"]) == (422, ["DOSE-WITHOUT-COURSE"])
    sure = house.record(patient, "doses", dose(14, **BEFORE_COURSE))
    assert (sure.status, sure.json["asked"], sure.json["status"]) == (201, ["DOSE-WITHOUT-COURSE"], "final")
    close = house.record(patient, "doses", dose(12))
    assert close.json["questions"] == ["DOSES-TOO-CLOSE", "DOSE-WITHOUT-COURSE"]
    house.post(f"/patients/{patient}/course", {"protocol": "us-itp-adult", "started_on": day(14)})
    assert house.record(patient, "doses", dose(7)).status == 201
    absent = {"not_given_on": day(3), "reason_not_given": "absent"}
    assert house.record(house.patient(), "doses", absent).status == 201, "none was given"


def test_a_feeds_dose_without_a_course_waits_for_a_person(house: House) -> None:
    patient = house.patient()
    made = house.record(patient, "doses", dose(14, **named("1")), "ehr")
    assert (made.status, made.json["status"], made.json["asked"]) == (201, "unverified", ["DOSE-WITHOUT-COURSE"])
    assert house.record(patient, "doses", dose(14, **named("1")), "ehr").status == 200, "the same message again"
    house.post(f"/patients/{patient}/course", {"protocol": "us-itp-adult", "started_on": day(14)})
    assert house.call("pharmacist", "GET", f"/patients/{patient}/next-dose").code == "FACTS-UNVERIFIED"
    at = fact_path(patient, "doses", made, "verification")
    assert house.call("pharmacist", "POST", at, WHY, version=1).json["status"] == "final"
    assert house.call("pharmacist", "GET", f"/patients/{patient}/next-dose").status == 200


def two_courses(house: House) -> tuple[str, dict[int, str]]:
    """A patient whose course ended 40 days ago and who began another 14 days ago; the paths of doses, by day."""
    patient = house.on_course(started_ago=60)
    doses = {ago: house.record(patient, "doses", dose(ago, 75)) for ago in (60, 53)}
    house.call(
        "prescriber", "POST", f"/patients/{patient}/course/discontinuation", {"ended_on": day(40), **WHY}, version=1
    )
    house.post(f"/patients/{patient}/course", {"protocol": "us-itp-adult", "started_on": day(14)})
    doses |= {ago: house.record(patient, "doses", dose(ago, 75)) for ago in (14, 7)}
    return patient, {ago: fact_path(patient, "doses", made) for ago, made in doses.items()}


@pytest.mark.parametrize(
    ("was", "becomes", "status"),
    [
        (7, 6, 200),
        (7, 15, 422),
        (7, 41, 422),
        (7, 40, 422),
        (7, 53, 422),
        (14, 13, 200),
        (14, 15, 422),
        (53, 40, 200),
        (53, 39, 422),
        (53, 14, 422),
        (60, 61, 422),
    ],
)
def test_a_correction_takes_no_dose_out_of_its_course(house: House, was: int, becomes: int, status: int) -> None:
    patient, paths = two_courses(house)
    before = house.get(f"/patients/{patient}/doses")
    answer = house.call("pharmacist", "PUT", paths[was], dose(becomes, 75, **WHY), version=1)
    assert answer.status == status, answer.text
    if status == 422:
        assert (answer.code, list(answer.faults)) == ("INVALID", ["given_on"])
        assert house.get(f"/patients/{patient}/doses") == before


def test_a_dose_of_no_course_may_be_corrected_into_one(house: House) -> None:
    """It holds the next dose back until its day is right."""
    patient = house.on_course(started_ago=14)
    path = fact_path(patient, "doses", house.record(patient, "doses", dose(20)))
    assert house.call("pharmacist", "GET", f"/patients/{patient}/next-dose").code == "DOSES-BEFORE-COURSE"
    assert house.call("pharmacist", "PUT", path, dose(14, **WHY), version=1).status == 200
    assert house.call("pharmacist", "GET", f"/patients/{patient}/next-dose").status == 200


# Kept answers


def test_a_kept_answer_is_not_sent_to_who_lost_the_patient(house: House) -> None:
    """The account's clinics have changed, or the patient's."""
    body = {"clinic": house.clinic, "family_name": "Blum", "given_name": "Ada"}
    made = house.call("technician", "POST", "/patients", body, Idempotency_Key="p")
    path = f"/patients/{made.json['id']}/weights"
    for who in ("technician", "pharmacist"):
        assert house.call(who, "POST", path, weight(0), Idempotency_Key="k").status == 201
    account = f"/accounts/{house.ids['technician']}"
    house.call("admin", "PATCH", account, {"clinics": [house.other_clinic]}, version="*")
    for at, sent, key in ((path, weight(0), "k"), ("/patients", body, "p")):
        answer = house.call("technician", "POST", at, sent, Idempotency_Key=key)
        assert (answer.status, answer.code) == (404, "NOT-FOUND")
        assert "Blum" not in answer.text
        assert (house.trail()[-1].action, house.trail()[-1].account_id) == ("denied", house.ids["technician"])
    assert house.call("pharmacist", "POST", path, weight(0), Idempotency_Key="k").status == 201
    house.call("admin", "PATCH", account, {"clinics": [house.clinic, house.other_clinic]}, version="*")
    again = house.call("technician", "POST", path, weight(0), Idempotency_Key="k")
    assert (again.status, again.headers["Idempotency-Replayed"]) == (201, "true")


@pytest.mark.parametrize("who", ["pharmacist", "patient"])
def test_a_kept_answer_that_tells_of_several_is_not_sent_to_who_lost_one_of_them(house: House, who: str) -> None:
    patient = dosed(house)
    item = {"patient": patient, "proposal_sha256": house.get(f"/patients/{patient}/next-dose")["proposal_sha256"]}
    body = {"items": [item, {**item, "patient": "f" * 20}]}
    first = house.call("pharmacist", "POST", "/decisions", body, Idempotency_Key="k")
    assert first.json["items"][0]["decision"]["status"] == "in-force"
    again = house.call("pharmacist", "POST", "/decisions", body, Idempotency_Key="k")
    assert (again.status, again.json) == (200, first.json), "of the second nothing is told but that it is not there"
    if who == "patient":
        _, both = house.account("both", Role.PHARMACIST, house.clinic, house.other_clinic)
        move = {"clinic": house.other_clinic}
        assert house.call(both, "PATCH", f"/patients/{patient}", move, version="*").status == 200
    else:
        elsewhere = {"clinics": [house.other_clinic]}
        house.call("admin", "PATCH", f"/accounts/{house.ids[who]}", elsewhere, version="*")
    answer = house.call("pharmacist", "POST", "/decisions", body, Idempotency_Key="k")
    assert (answer.status, answer.code) == (404, "NOT-FOUND")


def test_a_kept_answer_of_a_result_is_not_sent_to_who_left_the_clinic(house: House) -> None:
    patient = house.patient()
    paths = {}
    for number, did in enumerate(("dismissal", "assignment")):
        result = {"identifier": {"system": "urn:mrn", "value": f"nobody-{number}"}, "platelet_count": count(number)}
        waiting = house.post("/results", result, "ehr")["unmatched"]
        body = WHY if did == "dismissal" else {"patient": patient}
        paths[f"/unmatched-results/{waiting}/{did}"] = body
    for clinics, status in ((house.clinic, 0), (house.other_clinic, 404), (house.clinic, 0)):
        account = f"/accounts/{house.ids['pharmacist']}"
        house.call("admin", "PATCH", account, {"clinics": [clinics]}, version="*")
        for path, body in paths.items():
            answer = house.call("pharmacist", "POST", path, body, Idempotency_Key=path[-30:])
            assert answer.status == (status or (200 if path.endswith("dismissal") else 201)), answer.text
            assert "nobody" not in answer.text or not status


# Which token it was


def test_each_entry_names_the_token_that_was_issued_for_a_program(house: House) -> None:
    """An administrator can issue one of any account: whoever reads the trail can tell who did it, and with which."""
    body = {"label": "not the pharmacist's", "days": 1}
    issued = house.post(f"/accounts/{house.ids['pharmacist']}/tokens", body, "admin")
    row = house.trail()[-1]
    assert (row.action, row.account_id) == ("issue-token", house.ids["admin"])
    assert row.subject == f"account/{house.ids['pharmacist']}"
    assert json.loads(row.detail)["new"]["id"] == issued["token"]["id"]

    patient = house.patient()
    house.call(issued["secret"], "POST", f"/patients/{patient}/weights", weight(0))
    house.call(issued["secret"], "GET", f"/patients/{patient}/weights")
    house.call(issued["secret"], "GET", "/patients?name=blum")
    house.call(issued["secret"], "GET", "/accounts")
    left = [*house.trail(patient)[-2:], *house.trail()[-2:]]
    assert [row.action for row in left] == ["record", "read", "search", "denied"]
    assert {row.account_id for row in left} == {house.ids["pharmacist"]}
    assert {json.loads(row.detail)["with_token"] for row in left} == {issued["token"]["id"]}


def test_what_is_done_in_a_session_names_no_token(house: House) -> None:
    """Only the password begins one."""
    session = activated(house, "fresh")
    patient = house.patient()
    assert house.call(session, "GET", f"/patients/{patient}").status == 200
    assert "with_token" not in json.loads(house.trail(patient)[-1].detail)
    revoked = f"/accounts/{house.ids['ehr']}/tokens"
    token = house.get(revoked, "admin")["items"][0]["id"]
    house.post(f"{revoked}/{token}/revocation", {}, "admin")
    detail = json.loads(house.trail()[-1].detail)
    assert detail["token"] == token != detail["with_token"], "which was revoked, and with which"


# Used links, and tokens that are none


def invited(house: House, name: str) -> tuple[str, str]:
    """A new pharmacist who has a link and no password: the id of the account, the secret."""
    body = {"username": name, "display_name": name, "role": "pharmacist", "clinics": [house.clinic]}
    made = house.post("/accounts", body, "admin")
    return made["account"]["id"], made["activation_secret"]


def activated(house: House, name: str) -> str:
    """A session of a new pharmacist."""
    _, secret = invited(house, name)
    assert house.call(None, "POST", "/activations", {"secret": secret, "password": PASSWORD}).status == 201
    return str(house.call(None, "POST", "/sessions", {"username": name, "password": PASSWORD}).json["token"])


def by_api(house: House, secret: str) -> int:
    return house.call(None, "POST", "/activations", {"secret": secret, "password": PASSWORD}).status


def by_page(house: House, secret: str) -> int:
    form = {"password": PASSWORD, "again": PASSWORD}
    return house.app.test_client().post(f"/activate/{secret}", data=form).status_code


@pytest.mark.parametrize(("way", "used"), [(by_api, 401), (by_page, 422)])
def test_a_link_that_is_no_good_is_written_down(house: House, way: Callable[[House, str], int], used: int) -> None:
    account, secret = invited(house, "fresh")
    assert way(house, secret) in (200, 201)
    before = len(house.trail())
    for sent, subject in (
        (secret, f"account/{account}"),
        ("titr_nobody", "account"),
        (house.tokens["pharmacist"], "account"),
    ):
        assert way(house, sent) == used
        row = house.trail()[-1]
        assert (row.action, row.subject, row.account_id) == ("activation-failed", subject, None)
        assert sent not in str(row)
    assert len(house.trail()) == before + 3


def test_an_ended_link_is_written_down_and_a_weak_password_uses_nothing_up(house: House) -> None:
    account, secret = invited(house, "fresh")
    before = len(house.trail())
    assert house.call(None, "POST", "/activations", {"secret": secret, "password": "short"}).status == 422
    assert len(house.trail()) == before
    house.clock.on(days=8)
    assert by_api(house, secret) == 401
    assert (house.trail()[-1].action, house.trail()[-1].subject) == ("activation-failed", f"account/{account}")


def test_a_token_that_is_none_leaves_a_line_in_the_log_and_no_entry(
    house: House, capfd: pytest.CaptureFixture[str]
) -> None:
    """Or anyone could make the trail grow."""
    before = len(house.trail())
    assert house.call("titr_nobody", "GET", "/me").status == 401
    assert house.call(None, "GET", "/me").status == 401
    assert len(house.trail()) == before
    said = capfd.readouterr().err
    lines = [json.loads(line) for line in said.splitlines() if '"token-refused"' in line]
    assert [(line["level"], "address" in line) for line in lines] == [("info", True)]
    assert "titr_" not in said
    assert 'status="401"' in house.call(None, "GET", "/metrics").text
