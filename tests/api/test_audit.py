"""The trail: each read and each change leaves an entry with who, when, old, new and why; a refusal leaves that only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.api.support import COLLECTIONS, ENTRY, TODAY, WHY, House, count, day, dose, event, observation, weight
from tests.backends import tamper
from titrator.store.records import AuditRow
from titrator.store.spool import Spool
from titrator.workflow import trail

READS: Final = {
    "": "patient/{}",
    "/timeline": "patient/{}/timeline",
    "/course": "patient/{}/course",
    "/courses": "patient/{}/courses",
    "/next-dose": "patient/{}/next-dose",
    "/decisions": "patient/{}/decisions",
    "/dose-mismatches": "patient/{}/dose-mismatches",
    **{f"/{name}": f"patient/{{}}/{name}" for name in COLLECTIONS},
}


def last(house: House, chain: str = "system") -> tuple[AuditRow, Any]:
    """The last entry of a chain, and its detail, but for the token that is named in each."""
    row = house.trail(chain)[-1]
    detail = json.loads(row.detail)
    assert detail.pop("with_token")
    return row, detail


def whole(house: House, seals: Path) -> list[str]:
    """What is wrong with the trail."""
    with house.services.store.reading() as session:
        return trail.verify(session, house.services.audit_key, seals)[1]


@pytest.mark.parametrize("path", READS, ids=lambda path: path or "patient")
def test_every_read_of_a_patient_is_written_down(house: House, path: str) -> None:
    patient = house.on_course()
    before = len(house.trail(patient))
    house.clock.on(minutes=5)
    answer = house.call("technician", "GET", f"/patients/{patient}{path}")
    assert answer.status == 200
    row, _ = last(house, patient)
    assert len(house.trail(patient)) == before + 1
    assert (row.account_id, row.role) == (house.ids["technician"], "technician")
    assert (row.at, row.clinic_id) == ("2026-03-09T12:05:00.000000Z", house.clinic)
    assert row.action == ("next-dose" if path == "/next-dose" else "read")
    assert row.subject == READS[path].format(patient)
    assert row.request_id == answer.headers["X-Request-Id"]


def test_searches_and_worklists_say_what_was_sought_and_found(house: House) -> None:
    patient = house.patient(family_name="Blum")
    house.record(patient, "weights", weight(0, 7), "ehr")
    house.get("/patients?name=blum")
    row, detail = last(house)
    assert (row.action, detail) == ("search", {"asked": {"name": "blum"}, "found": [patient]})
    for query, on in (("", None), (f"?on={day(-1)}", day(-1))):
        house.get(f"/worklist{query}")
        row, detail = last(house)
        assert (row.action, detail) == ("worklist", {"on": on, "found": [patient]})
    house.call("pharmacist", "POST", "/recommend", {"protocol": "us-itp-adult", "on": TODAY})
    assert last(house)[0].action == "recommend"


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_every_change_of_a_fact_says_old_new_and_why(house: House, collection: str) -> None:
    patient = house.begun()
    made = house.record(patient, collection, ENTRY[collection](3)).json
    assert made.pop("flags", []) == [], "of the recording of a dose, not of the dose"
    row, detail = last(house, patient)
    assert (row.action, detail) == ("record", {"new": made})
    at = f"/patients/{patient}/{collection}/{made['id']}"
    changed = house.call("technician", "PUT", at, ENTRY[collection](4, reason="a day early"), version=1).json
    row, detail = last(house, patient)
    assert (row.action, row.account_id) == ("correct", house.ids["technician"])
    assert detail == {"old": made, "new": changed, "why": "a day early"}
    gone = house.call("pharmacist", "POST", f"{at}/entered-in-error", WHY, version=2).json
    row, detail = last(house, patient)
    assert (row.action, detail) == ("enter-in-error", {"old": changed, "new": gone, "why": WHY["reason"]})


def test_verifying_resolving_and_linking_leave_entries(house: House) -> None:
    patient = house.on_course()
    house.record(patient, "platelet-counts", count(7, 16))
    odd = house.record(patient, "platelet-counts", count(0, 3800), "ehr").json["id"]
    house.call("pharmacist", "POST", f"/patients/{patient}/platelet-counts/{odd}/verification", WHY, version=1)
    assert last(house, patient)[0].action == "verify"
    happened = house.record(patient, "events", event(3)).json["id"]
    body = {"resolved_on": TODAY, **WHY}
    house.call("pharmacist", "POST", f"/patients/{patient}/events/{happened}/resolution", body, version=1)
    row, detail = last(house, patient)
    assert (row.action, detail["old"]["resolved_on"], detail["new"]["resolved_on"]) == ("resolve", None, TODAY)
    house.record(patient, "doses", dose(0))
    name = {"system": "urn:ehr", "value": "1"}
    house.record(patient, "doses", dose(0, external_id=name), "ehr")
    assert (last(house, patient)[0].action, last(house, patient)[1]) == ("link", {"external_id": name})


def test_patients_courses_clinics_and_accounts_say_old_new_and_why(house: House) -> None:
    patient = house.patient(family_name="Blum")
    house.call("pharmacist", "PATCH", f"/patients/{patient}", {"family_name": "Blüm", **WHY}, version=1)
    row, detail = last(house, patient)
    assert (row.action, detail["old"]["family_name"], detail["new"]["family_name"]) == ("change", "Blum", "Blüm")
    assert detail["why"] == WHY["reason"]
    house.post(f"/patients/{patient}/course", {"protocol": "us-itp-adult"})
    assert last(house, patient)[0].action == "start-course"
    house.call("prescriber", "POST", f"/patients/{patient}/course/pause", WHY, version=1)
    row, detail = last(house, patient)
    assert (row.action, detail["old"]["status"], detail["new"]["status"], detail["why"]) == (
        "pause",
        "active",
        "paused",
        WHY["reason"],
    )
    house.call("admin", "PUT", f"/clinics/{house.clinic}", {"name": "C", "time_zone": "Asia/Tokyo"}, version=1)
    row, detail = last(house)
    assert (row.action, detail["old"]["time_zone"], detail["new"]["time_zone"]) == (
        "change",
        "Europe/Berlin",
        "Asia/Tokyo",
    )
    house.call("admin", "PATCH", f"/accounts/{house.ids['ehr']}", {"display_name": "Lab"}, version=1)
    row, detail = last(house)
    assert (row.account_id, detail["old"]["display_name"], detail["new"]["display_name"]) == (
        house.ids["admin"],
        "Ehr",
        "Lab",
    )


@pytest.mark.parametrize(
    ("who", "method", "path", "body", "status", "action"),
    [
        ("auditor", "GET", "/patients/{}", None, 403, "denied"),
        ("stranger", "GET", "/patients/{}", None, 404, "denied"),
        ("stranger", "POST", "/patients/{}/weights", weight(0), 404, "denied"),
        ("technician", "POST", "/patients/{}/course", {"protocol": "us-itp-adult"}, 403, "denied"),
        ("pharmacist", "POST", "/patients/{}/course", {"protocol": "us-itp-adult"}, 409, "refused"),
        ("pharmacist", "POST", "/patients/{}/weights", weight(0, 10), 422, "refused"),
        ("pharmacist", "POST", "/patients/{}/weights", weight(-1), 422, "refused"),
        ("pharmacist", "POST", "/patients/{}/weights", {}, 422, "refused"),
        ("pharmacist", "PATCH", "/patients/{}", {"given_name": "x"}, 428, "refused"),
    ],
)
def test_a_failed_request_leaves_no_trace_but_that_it_was_refused(
    house: House, who: str, method: str, path: str, body: object, status: int, action: str | None
) -> None:
    patient = house.on_course()
    before, chains = house.everything(), (len(house.trail()), len(house.trail(patient)))
    answer = house.call(who, method, path.format(patient), body, Idempotency_Key="k")
    assert answer.status == status
    assert house.everything() == before
    left = [(row.action, row.account_id) for row in house.trail()[chains[0] :]]
    assert left == ([] if action is None else [(action, house.ids[who])])
    if action is not None:
        detail = last(house)[1]
        assert (last(house)[0].subject, detail["method"], detail["code"]) == (
            f"/api/v1{path.format(patient)}",
            method,
            answer.code,
        )
    assert len(house.trail(patient)) == chains[1]


def test_a_kept_answer_that_is_sent_again_is_written_down(house: House) -> None:
    patient = house.patient()
    path, body = f"/patients/{patient}/weights", {"measured_on": TODAY, "value": 75, "unit": "kg"}
    first = house.call("pharmacist", "POST", path, body, Idempotency_Key="k")
    before, chain = house.everything(), len(house.trail(patient))
    again = house.call("pharmacist", "POST", path, body, Idempotency_Key="k")
    assert (again.text, again.headers["Idempotency-Replayed"]) == (first.text, "true")
    row, detail = last(house)
    assert (row.action, row.account_id, row.subject) == ("answer-again", house.ids["pharmacist"], f"/api/v1{path}")
    assert detail["method"] == "POST"
    assert (house.everything(), len(house.trail(patient))) == (before, chain), "and nothing else"


def test_an_auditor_sees_what_waited_in_the_spool(house: House, tmp_path: Path) -> None:
    spooled = house.with_services(spool=Spool(tmp_path / "spool"))
    patient = house.patient()
    before = len(house.trail(patient))
    spooled.get(f"/patients/{patient}")
    assert spooled.call("stranger", "GET", f"/patients/{patient}").status == 404
    assert len(house.trail(patient)) == before, "it waits"
    shown = spooled.get(f"/audit?patient={patient}", "auditor")["items"]
    assert [one["action"] for one in shown][before:] == ["read"]
    assert house.trail()[-1].action == "denied"
    assert spooled.get(f"/audit?patient={patient}", "auditor")["items"] == shown, "once"


def test_an_auditor_reads_a_chain_page_by_page_exactly(house: House, tmp_path: Path) -> None:
    patient = house.on_course()
    raw = f'{{"observed_on": "{TODAY}", "code": "haemoglobin", "unit": "g/L", "value": 98.12345678901234567}}'
    assert house.call("pharmacist", "POST", f"/patients/{patient}/observations", raw=raw).status == 201
    house.record(patient, "observations", observation(1, lower_limit_of_normal=120.5))
    written = house.trail(patient)
    read: list[Any] = []
    after = 0
    while True:
        page = house.get(f"/audit?patient={patient}&limit=2&after={after}", "auditor")
        read += page["items"]
        if page["next"] is None:
            break
        after = page["next"]
    assert [(one["seq"], one["action"], one["mac"]) for one in read] == [
        (row.seq, row.action, row.mac) for row in written
    ]
    assert '"value": 98.12345678901234567' in house.call("auditor", "GET", f"/audit?patient={patient}").text
    assert last(house)[0].action == "read-audit"
    assert house.get("/audit?limit=1000", "auditor")["items"][0]["chain"] == "system"
    assert whole(house, tmp_path / "seals") == []


def test_after_all_of_this_the_trail_is_whole(house: House, tmp_path: Path) -> None:
    patient = house.on_course()
    for name in COLLECTIONS:
        house.record(patient, name, ENTRY[name](1))
        house.call("stranger", "GET", f"/patients/{patient}/{name}")
    assert whole(house, tmp_path / "seals") == []
    assert house.services.store.check() == []
    with house.services.store.writing() as session:
        assert session.count(AuditRow)
    tamper(house.services.store, f"update audit set detail = replace(detail, '75', '57') where chain = '{patient}'")
    assert whole(house, tmp_path / "seals")
    assert day(0) == TODAY
