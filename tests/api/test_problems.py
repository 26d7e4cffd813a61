"""Refusals: each is a problem of one form, with a stable code; and logs say nothing of patients."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pytest
from pyotp import TOTP

from tests.api.deciding import act, decide, decided, dosed, give, next_dose, override
from tests.api.support import (
    API,
    BEFORE_COURSE,
    COLLECTIONS,
    ENTRY,
    PASSWORD,
    TODAY,
    WHY,
    Answer,
    House,
    count,
    day,
    dose,
    event,
    weight,
)
from titrator.api.problems import STATUS
from titrator.workflow import errors
from titrator.workflow.errors import Code, Refusal

#: Codes that no request of this file gets, and where they are tested or why they cannot be.
ELSEWHERE: Final = {
    Code.TOO_MANY_REQUESTS: "test_access.py",
    Code.FACTS_LATER: "test_courses.py",
    Code.DATABASE_UNAVAILABLE: "test_database.py",
    Code.SELF_TEST_FAILED: "test_courses.py",
    Code.PROTOCOL_UNUSABLE: "test_courses.py",
    Code.NOT_ACCEPTABLE: "of the framework; no route of ours negotiates",
    Code.NOT_FOR_BATCH: "test_sign_off.py: told of one of several that are accepted",
    Code.RESULT_SETTLED: "test_results.py",
    Code.NOTHING_TO_PREPARE: "tests/web/test_sheets.py: of a page",
    Code.TOO_MANY_ENTRIES: "test_overtaken.py",
    Code.TOO_MANY_IMPORTS: "test_imports.py",
    Code.IMPORT_ENDED: "test_imports.py",
}


def is_problem(answer: Answer) -> bool:
    """Whether it has the form of a problem; fails if it only pretends."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    body = answer.json
    keys = {"code", "detail", "faults", "questions", "request_id", "status", "title", "type"}
    assert {*body} == keys | ({"proposal"} if body["code"] == Code.PROPOSAL_CHANGED else set())
    assert body["status"] == answer.status
    assert body["code"] in set(Code)
    assert body["type"] == f"urn:titrator:problem:{body['code'].lower()}"
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert body["title"]
    assert body["detail"]
    assert all(sorted(fault) == ["message", "path"] for fault in body["faults"])
    assert answer.headers["Cache-Control"] == "no-store"
    return True


def refusals(house: House) -> Iterator[tuple[int, Code, Answer]]:  # noqa: PLR0915 (a story: each needs those before)
    """A request for each code: status, code, answer."""
    call, patient = house.call, house.on_course()
    of = f"/patients/{patient}"
    facts = {name: house.record(patient, name, ENTRY[name](8)).json["id"] for name in COLLECTIONS}
    yield 401, Code.UNAUTHORISED, call(None, "GET", "/me")
    yield 403, Code.FORBIDDEN, call("auditor", "GET", of)
    yield 403, Code.INSUFFICIENT_SCOPE, call(house.scoped("system/Patient.s"), "GET", of)
    yield 404, Code.NOT_FOUND, call("stranger", "GET", of)
    yield 404, Code.NOT_FOUND, call("pharmacist", "GET", "/nothing")
    yield 404, Code.NOT_FOUND, call("pharmacist", "GET", f"{of}/urine")
    yield 405, Code.METHOD_NOT_ALLOWED, call("pharmacist", "DELETE", of)
    yield 413, Code.BODY_TOO_LARGE, call("pharmacist", "POST", "/recommend", raw=b" " * 1_000_001)
    yield 415, Code.UNSUPPORTED_MEDIA_TYPE, call("pharmacist", "POST", "/recommend", raw="x", Content_Type="text/plain")
    yield 422, Code.INVALID, call("pharmacist", "POST", "/patients", {})
    yield 428, Code.VERSION_NEEDED, call("pharmacist", "PATCH", of, {})
    yield 412, Code.VERSION_STALE, call("pharmacist", "PATCH", of, {}, version=9)
    yield 401, Code.LOGIN_FAILED, call(None, "POST", "/sessions", {"username": "x", "password": "y"})
    yield 401, Code.ACTIVATION_USED, call(None, "POST", "/activations", {"secret": "x", "password": PASSWORD})
    yield from unproved(house)
    yield 409, Code.COURSE_OPEN, call("pharmacist", "POST", f"{of}/course", {"protocol": "us-itp-adult"})
    yield (
        409,
        Code.USERNAME_TAKEN,
        call("admin", "POST", "/accounts", {"username": "ehr", "display_name": "x", "role": "ehr"}),
    )
    yield 409, Code.ACCOUNT_INACTIVE, call("admin", "POST", f"/accounts/{house.ids['ehr']}/invitation", {})
    same = {"clinic": house.clinic, "family_name": "A", "given_name": "B"}
    taken = same | {"identifiers": [{"system": "urn:mrn", "value": "pharmacist-1"}]}
    yield 409, Code.IDENTIFIER_TAKEN, call("pharmacist", "POST", "/patients", taken)
    call("pharmacist", "POST", "/patients", same, Idempotency_Key="k")
    other = same | {"given_name": "C"}
    yield 409, Code.IDEMPOTENCY_KEY_REUSED, call("pharmacist", "POST", "/patients", other, Idempotency_Key="k")
    yield 422, Code.COUNT_FAR_FROM_LAST, house.record(patient, "platelet-counts", count(0, 4000))
    yield 422, Code.VALUE_FAR_FROM_LAST, house.record(patient, "observations", ENTRY["observations"](0, 1))
    yield 422, Code.WEIGHT_FAR_FROM_LAST, house.record(patient, "weights", weight(0, 20))
    yield 422, Code.DOSES_TOO_CLOSE, house.record(patient, "doses", dose(7))
    yield 422, Code.DOSE_FAR_FROM_LAST, house.record(patient, "doses", dose(0, 750))
    named = {"external_id": {"system": "urn:lab", "value": "1"}}
    house.record(patient, "platelet-counts", count(0) | named)
    yield 409, Code.EXTERNAL_ID_TAKEN, house.record(patient, "platelet-counts", count(0, 61) | named)
    at = f"{of}/weights/{facts['weights']}"
    yield 403, Code.FEED_MAY_NOT_CORRECT, call("ehr", "PUT", at, weight(8, **WHY), version=1)
    yield 422, Code.DOSING_WEIGHT_WOULD_CHANGE, call("pharmacist", "PUT", at, weight(8, 76, **WHY), version=1)
    yield 409, Code.NOT_UNVERIFIED, call("pharmacist", "POST", f"{at}/verification", WHY, version=1)
    preliminary = {
        "resourceType": "Observation",
        "status": "preliminary",
        "code": {"coding": [{"system": "http://loinc.org", "code": "777-3"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": day(1),
        "valueQuantity": {"value": 60, "system": "http://unitsofmeasure.org", "code": "10*9/L"},
    }
    sent = house.call("ehr", "POST", "/fhir/Observation", preliminary, Content_Type="application/fhir+json")
    waits = f"{of}/platelet-counts/{sent.json['id'].rpartition('-')[2]}"
    yield 409, Code.RESULT_PRELIMINARY, call("pharmacist", "POST", f"{waits}/verification", WHY, version=1)
    call("pharmacist", "POST", f"{at}/entered-in-error", WHY, version=1)
    yield 409, Code.ENTERED_IN_ERROR, call("pharmacist", "PUT", at, weight(8, **WHY), version=2)
    resolution = f"{of}/events/{facts['events']}/resolution"
    call("pharmacist", "POST", resolution, {"resolved_on": TODAY, **WHY}, version=1)
    yield 409, Code.ALREADY_RESOLVED, call("pharmacist", "POST", resolution, {"resolved_on": TODAY, **WHY}, version=2)
    far = {"micrograms": 750, "reason_code": "other", "comment": "x"}
    said = house.get(f"{of}/next-dose")
    named = {"proposal_sha256": said["proposal_sha256"], "acknowledge": [one["code"] for one in said["alerts"]]}
    overrides = {"decision": "override", **named, **far}
    yield 422, Code.OVERRIDE_FAR_FROM_LAST, call("prescriber", "POST", f"{of}/decisions", overrides)
    house.record(patient, "doses", dose(0, 750), "ehr")
    yield 409, Code.FACTS_UNVERIFIED, call("pharmacist", "GET", f"{of}/next-dose")
    fresh = f"/patients/{house.patient()}"
    yield 422, Code.WEIGHT_UNUSUAL, call("pharmacist", "POST", f"{fresh}/weights", weight(0, 7))
    yield 409, Code.COURSE_NOT_ACTIVE, call("pharmacist", "GET", f"{fresh}/next-dose")
    yield 422, Code.DOSE_WITHOUT_COURSE, call("pharmacist", "POST", f"{fresh}/doses", dose(14))
    by_vein = dose(14, route="intravenous", **BEFORE_COURSE)
    yield 422, Code.DOSE_ROUTE, call("pharmacist", "POST", f"{fresh}/doses", by_vein)
    call("pharmacist", "POST", f"{fresh}/doses", dose(14, **BEFORE_COURSE))
    begin = {"protocol": "us-itp-adult"}
    yield 409, Code.DOSES_BEFORE_COURSE, call("pharmacist", "POST", f"{fresh}/course", begin)
    call("pharmacist", "PATCH", fresh, {"active": False, **WHY}, version=1)
    yield 409, Code.PATIENT_INACTIVE, call("pharmacist", "POST", f"{fresh}/weights", weight(0))
    ageless = f"/patients/{house.patient(born_on=None)}"
    yield 409, Code.BIRTH_DATE_MISSING, call("pharmacist", "POST", f"{ageless}/course", begin)
    broken = house.with_services(store=Broken())
    yield 500, Code.INTERNAL, broken.call("pharmacist", "GET", "/me")


def unproved(house: House) -> Iterator[tuple[int, Code, Answer]]:
    """The same for the codes of the second factor."""
    of = f"/accounts/{house.ids['auditor']}"
    yield 409, Code.SECOND_FACTOR_MISSING, house.call("admin", "POST", f"{of}/second-factor/removal", {})
    secret = house.post(f"{of}/invitation", {}, "admin")["activation_secret"]
    assert house.call(None, "POST", "/activations", {"secret": secret, "password": PASSWORD}).status == 201
    login = {"username": "auditor", "password": PASSWORD}
    session = house.call(None, "POST", "/sessions", login).json["token"]
    begun = house.post("/me/second-factor", {"password": PASSWORD}, session)
    code = TOTP(begun["secret"]).at(house.clock.now)
    house.post("/me/second-factor/confirmation", {"code": code}, session)
    yield 409, Code.SECOND_FACTOR_SET, house.call(session, "POST", "/me/second-factor", {"password": PASSWORD})
    yield 401, Code.SECOND_FACTOR_NEEDED, house.call(None, "POST", "/sessions", login)


def undecided(house: House) -> Iterator[tuple[int, Code, Answer]]:
    """The same for the codes of decisions."""
    patient = dosed(house)
    old = {"proposal_sha256": next_dose(house, patient)["proposal_sha256"]}
    decided(house, patient)
    yield 409, Code.ALREADY_DECIDED, decide(house, patient)
    yield 409, Code.NOTHING_TO_REVIEW, act(house, patient, 1, "review")
    house.record(patient, "platelet-counts", count(0, 30))
    yield 409, Code.PROPOSAL_CHANGED, decide(house, patient, **old)
    yield 409, Code.CEILING_EXCEEDED, override(house, patient, "prescriber", micrograms=1600)
    ident = override(house, patient, "prescriber", micrograms=1500).json["id"]
    yield 409, Code.SECOND_PERSON_NEEDED, act(house, patient, ident, "second-signature", "prescriber")
    yield 409, Code.DECISION_CLOSED, act(house, patient, 1, "withdrawal")
    house.record(patient, "events", event(0, "thrombosis"))
    yield 409, Code.NOTHING_TO_ACCEPT, decide(house, patient, who="prescriber")
    act(house, patient, ident, "second-signature")
    house.clock.on(days=1)
    give(house, patient, 150, -1)
    yield 409, Code.DOSE_MISMATCH_DECISION, override(house, patient, "prescriber", micrograms=150)
    yield 409, Code.WEIGHT_NEEDED, override(house, house.begun(), "prescriber", micrograms=75)


def unreminded(house: House) -> Iterator[tuple[int, Code, Answer]]:
    """The same for the codes of reminders."""
    patient = dosed(house)
    kinds = {one["kind"]: one["due_on"] for one in house.get(f"/reminders?clinic={house.clinic}")["items"]}
    of = f"/patients/{patient}/reminders"
    stands = f"{of}/sign-off/{kinds['sign-off']}/cancellation"
    yield 409, Code.REMINDER_STANDS, house.call("pharmacist", "POST", stands, WHY, version="*")
    cancelled = f"{of}/count-due/{kinds['count-due']}/cancellation"
    assert house.call("pharmacist", "POST", cancelled, WHY, version="*").status == 200
    yield 409, Code.REMINDER_CLOSED, house.call("pharmacist", "POST", cancelled, WHY, version="*")
    silent = house.with_services(telling=None)
    yield 409, Code.NO_CHANNELS, silent.call("pharmacist", "POST", f"/patients/{patient}/calendars", {"label": "hers"})
    channel = {"audience": "gateway", "kind": "apprise", "label": "mail", "address": "mailtos://a:b@c.example?to={to}"}
    yield 409, Code.NO_CHANNELS, silent.call("admin", "POST", f"/clinics/{house.clinic}/channels", channel)


class Broken:
    """A store that fails as no store should, and says whom it was about."""

    def reading(self, *_: object) -> Any:
        secret_of_a_patient = "Katharina Blum"
        raise RuntimeError(f"cannot read {secret_of_a_patient}")

    writing = stamp = reading


def test_every_code_is_met_as_a_problem_of_its_status(house: House) -> None:
    met = set()
    for status, code, answer in chain(refusals(house), undecided(house), unreminded(house)):
        assert (answer.status, answer.code) == (status, code), answer.text
        assert is_problem(answer)
        met.add(code)
    assert met | set(ELSEWHERE) == set(Code)
    assert not met & set(ELSEWHERE)


def test_codes_are_unique_and_speak_for_themselves() -> None:
    assert len({code.value for code in Code}) == len(Code.__members__)
    assert all(re.fullmatch(r"[A-Z]+(-[A-Z]+)*", code) and code.name == code.replace("-", "_") for code in Code)


def test_every_kind_of_refusal_has_a_status() -> None:
    kinds = {one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Refusal)} - {Refusal}
    assert set(STATUS) == kinds


def test_every_route_answers_other_methods_with_405_and_what_is_allowed(house: House) -> None:
    allowed: dict[str, set[str]] = {}
    for method, rule, _ in house.routes:
        allowed.setdefault(re.sub(r"<[^>]+>", "1", rule.rule.removeprefix(API)), set()).add(method)
    for path, methods in allowed.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - methods:
            answer = house.call("pharmacist", method, path, {})
            assert answer.status == 405, (method, path)
            assert is_problem(answer)
            assert set(answer.headers["Allow"].split(", ")) >= methods


@pytest.mark.parametrize("path", ["/", "/patients/", "/patients//x", "/%2e%2e/x", "/patients/%00", "/patients/\u2028"])
def test_paths_that_lead_nowhere(house: House, path: str) -> None:
    answer = house.call("pharmacist", "GET", path)
    assert answer.status in (404, 308)
    assert answer.status == 308 or is_problem(answer)


def test_what_a_library_warns_of_is_a_line_of_the_log_without_what_it_is_about(
    house: House, capfd: pytest.CaptureFixture[str]
) -> None:
    """As the pool of PostgreSQL does of each connection that was lost."""
    assert house.call(None, "GET", "/livez").status == 200
    capfd.readouterr()
    logging.getLogger("psycopg.pool").warning("discarding closed connection: %s", "of Katharina Blum")
    logging.getLogger("another").warning("of Katharina Blum")
    pool, other = (json.loads(line) for line in capfd.readouterr().err.splitlines())
    assert {key: pool[key] for key in ("event", "level", "logger", "said")} == {
        "event": "library",
        "level": "warning",
        "logger": "psycopg.pool",
        "said": "discarding closed connection: %s",
    }
    assert (other["logger"], "Blum" in str(other)) == ("another", False)


def test_a_request_id_is_taken_over_if_it_is_harmless(house: House) -> None:
    assert house.call(None, "GET", "/me", X_Request_Id="abc-7").json["request_id"] == "abc-7"
    for odd in ("x" * 65, "a b", '"', "é"):
        given = house.call(None, "GET", "/me", X_Request_Id=odd).json["request_id"]
        assert re.fullmatch("[0-9a-f]{16}", given)


def test_logs_and_metrics_say_nothing_of_patients(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    particulars = {
        "family_name": "Blum",
        "given_name": "Katharina",
        "identifiers": [{"system": "urn:mrn", "value": "MRN-4711"}],
    }
    patient = house.patient(**particulars)
    of = f"/patients/{patient}"
    for name in COLLECTIONS:
        house.record(patient, name, ENTRY[name](1, note="Katharina's own words"))
        house.get(f"{of}/{name}")
    house.record(patient, "weights", weight(0, 7))
    house.record(patient, "events", event(0, "Blum"))
    house.call("pharmacist", "POST", of, raw=b'{"Blum": ')
    house.get("/patients?name=blum&identifier=MRN-4711")
    house.call("stranger", "GET", of)
    house.post("/glass-breaks", {"patient": patient, "reason": "Katharina bleeds at night"}, "stranger")
    house.call(None, "GET", f"{of}/nothing?name=Blum")
    house.call("titr_unknown", "GET", of)
    house.call(None, "POST", "/sessions", {"username": "Blum", "password": PASSWORD})
    house.with_services(store=Broken()).call("pharmacist", "GET", of)
    metrics = house.call(None, "GET", "/metrics").text
    said = "".join(capfd.readouterr())
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert len(lines) > 20
    assert {line["event"] for line in lines} >= {"request", "denied", "break-glass", "unforeseen"}
    frames = next(line["exception"] for line in lines if line["event"] == "unforeseen")
    assert "RuntimeError" in frames
    assert any(Path(__file__).name in frame for frame in frames), "where it went wrong is told"
    secrets = [patient, "lum", "atharina", "MRN", "1960-05", "titr_", "bleeds", PASSWORD, *house.tokens.values()]
    for secret in secrets:
        assert secret not in said, secret
        assert secret not in metrics, secret
    assert 'route="/api/v1/patients/<patient_id>"' in metrics
    assert day(0) == TODAY
