"""CDS Hooks: who may call, what is refused and how, cards of prefetched and of stored courses, orders, feedback."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote
from uuid import UUID, uuid4

import pytest
from flask import Flask
from joserfc import jwt
from joserfc.jwk import ECKey

from schemas.sign_off import REASONS
from tests.api.support import NOON, House, count, day, dose, weight
from tests.fhir import courses
from tests.fhir.courses import PATIENT, searchset
from tests.fhir.judges.judge import faults
from tests.notify.servers import Answer as Asked
from tests.notify.servers import Receiver, dripping_server, receiver
from tests.support import CATALOGUE, IDS
from titrator.api import feedback
from titrator.fhir import cards, fetching, hooks
from titrator.fhir.codes import OWN
from titrator.fhir.fetching import Fetching, NotFetched, Server
from titrator.fhir.hooks import Terms
from titrator.fhir.prefetch import TEMPLATES
from titrator.security.assertions import Assertions, Client
from titrator.security.permissions import Permission, Role
from titrator.store.records import CdsFeedback
from titrator.titration.documents import encode, exact
from titrator.workflow import accounts
from titrator.workflow.errors import Unauthorised
from titrator.workflow.feedback import is_ours, new_card, suggestion_of

BASE = "https://titrator.example"
ISSUER = "https://ehr.example"
KEY = ECKey.generate_key("P-384")
INSTANCE = "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
VIEW = "romiplostim-us-itp-adult-patient-view"
SELECT = "romiplostim-us-itp-adult-order-select"
SIGN = "romiplostim-us-itp-adult-order-sign"
#: 38 after two doses of 75 micrograms at 75 kg: raise to 150.
RISING: dict[str, Any] = {
    "protocol": "us-itp-adult",
    "on": day(0),
    "born_on": "1960-05-01",
    "weights": [weight(23)],
    "platelet_counts": [count(7, 31), count(0, 38)],
    "doses": [dose(14), dose(7)],
}
HOLDING = RISING | {"platelet_counts": [count(7, 31), count(0, 450)]}
UNSAFE = RISING | {"events": [{"kind": "thrombosis", "occurred_on": day(3)}]}
MISSING = RISING | {"platelet_counts": []}


@dataclass
class Ehr:
    """A hospital system that calls the services of a house."""

    house: House
    terms: Terms
    tokens: int = field(default=0)

    def token(self, path: str, **changed: Any) -> str:
        """An assertion for a path."""
        now = int(self.house.clock().timestamp())
        self.tokens += 1
        claims = {"iss": ISSUER, "aud": BASE + path, "iat": now, "exp": now + 300, "jti": f"jti-{self.tokens}"}
        return jwt.encode({"alg": "ES384", "typ": "JWT", "kid": "k"}, claims | changed, KEY, algorithms=["ES384"])

    def ask(self, method: str, path: str, body: object = None, *, token: str | None = None, **headers: str) -> Any:
        """The response to a request, with an assertion unless a token is given; an empty one is none."""
        token = self.token(path) if token is None else token
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        data = body if isinstance(body, str) else None if body is None else encode(exact(body))
        kind = headers.pop("content_type", "application/json" if data is not None else None)
        return self.house.app.test_client().open(
            path, method=method, data=data, content_type=kind, headers=sent | headers
        )

    def call(self, service: str, body: object, **more: Any) -> tuple[int, Any]:
        """The status and the JSON of a call, which has nothing null or empty in it if it went well."""
        response = self.ask("POST", f"/cds-services/{service}", body, **more)
        found = json.loads(response.text, parse_float=Decimal)
        if response.status_code == 200 and found["cards"]:
            assert empty_places(found) == []
        return response.status_code, found

    def cards(self, service: str, body: object, **more: Any) -> list[dict[str, Any]]:
        """The cards of a call that went well."""
        status, found = self.call(service, body, **more)
        assert status == 200, found
        assert list(found) == ["cards"]
        for card in found["cards"]:
            assert 0 < len(card["summary"]) < 140
            assert card["indicator"] in ("info", "warning", "critical")
            assert card["source"]["label"]
            assert ("suggestions" in card) <= (card.get("selectionBehavior") == "at-most-one")
            assert UUID(card["uuid"]).version == 4
        return list(found["cards"])

    def tell(self, items: list[dict[str, Any]], service: str = VIEW, **more: Any) -> Any:
        """The response to feedback."""
        return self.ask("POST", f"/cds-services/{service}/feedback", {"feedback": items}, **more)

    def kept(self) -> list[CdsFeedback]:
        """All feedback that is kept."""
        with self.house.services.store.reading() as session:
            return session.find(CdsFeedback)


def empty_places(value: object, path: str = "") -> list[str]:
    """The places of what is null or empty."""
    if value is None or (isinstance(value, str | list | dict) and not value):
        return [path]
    if isinstance(value, dict):
        return [place for key, item in value.items() for place in empty_places(item, f"{path}.{key}")]
    return [place for item in value for place in empty_places(item, f"{path}[]")] if isinstance(value, list) else []


def offer(app: Flask, terms: Terms) -> None:
    """Offer the services on other terms than those of the app, or at all."""
    if "cds" in app.blueprints:
        app.extensions["titrator.cds"] = terms
    else:
        hooks.add_to(app, terms)
    if "feedback" not in app.blueprints:
        app.register_blueprint(feedback.blueprint, url_prefix="/api/v1")


@pytest.fixture
def ehr(house: House, tmp_path: Path) -> Ehr:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [{**KEY.as_dict(private=False), "kid": "k"}]}))
    clients = [
        Client(issuer=issuer, account=account, jwks_file=keys)
        for issuer, account in (
            (ISSUER, "ehr"),
            ("urn:person", "pharmacist"),
            ("urn:nobody", "nobody"),
            ("urn:two", "two"),
        )
    ]
    terms = Terms(assertions=Assertions(clients), base_url=BASE, protocols=frozenset(IDS))
    offer(house.app, terms)
    return Ehr(house, terms)


def called(hook: str = "patient-view", prefetch: object = None, **more: Any) -> dict[str, Any]:
    """The body of a call."""
    context = {"userId": "Practitioner/1", "patientId": PATIENT, **more.pop("context", {})}
    found = courses.prefetch(RISING) if prefetch is None else prefetch
    return {"hook": hook, "hookInstance": INSTANCE, "context": context, "prefetch": found, **more}


def ordering(hook: str, *orders: Any, course: Any = RISING, selected: list[str] | None = None) -> dict[str, Any]:
    """The body of a call about draft orders."""
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": order} for order in orders]}
    context: dict[str, Any] = {"draftOrders": bundle}
    if hook == "order-select":
        context["selections"] = ["MedicationRequest/order-1"] if selected is None else selected
    return called(hook, courses.prefetch(course), context=context)


# Discovery


def test_there_is_a_service_for_each_protocol_and_hook(ehr: Ehr) -> None:
    services = ehr.ask("GET", "/cds-services").json["services"]
    assert {one["id"] for one in services} == {
        f"romiplostim-{ident}-{hook}" for ident in IDS for hook in ("patient-view", "order-select", "order-sign")
    }
    for one in services:
        assert one["id"].endswith(one["hook"])
        assert one["prefetch"] == TEMPLATES
        assert "never an order" in one["description"]
        assert one["title"].startswith("Romiplostim: ")
    asked = [f"http://loinc.org|{code}" for code in ("777-3", "26515-7", "778-1", "49497-1", "74464-9")]
    assert TEMPLATES["platelets"].endswith(f"&code={','.join(asked)}&_count=1000")


def test_a_case_report_and_a_single_dose_are_offered_to_who_chooses_them_only(ehr: Ehr) -> None:
    ehr.house.app.extensions["titrator.cds"] = Terms(assertions=ehr.terms.assertions, base_url=BASE)
    services = ehr.ask("GET", "/cds-services").json["services"]
    offered = {one["id"].removesuffix("-patient-view") for one in services if one["hook"] == "patient-view"}
    assert offered == {f"romiplostim-{ident}" for ident in IDS} - {
        "romiplostim-cart-2021-case", "romiplostim-us-hs-ars"
    }  # fmt: skip
    body = called(prefetch=courses.prefetch(RISING | {"protocol": "us-hs-ars"}))
    assert ehr.ask("POST", "/cds-services/romiplostim-us-hs-ars-patient-view", body).status_code == 404


def test_services_are_those_of_the_protocols_that_are_offered(ehr: Ehr) -> None:
    ehr.house.app.extensions["titrator.cds"] = Terms(
        assertions=ehr.terms.assertions, base_url=BASE, protocols=frozenset({"jp-itp-adult", "gone"})
    )
    services = ehr.ask("GET", "/cds-services").json["services"]
    assert len(services) == 3
    assert ehr.ask("POST", f"/cds-services/{VIEW}", called()).status_code == 404


# Who may call


def refused(response: Any) -> str:
    """Why a call was not let in."""
    assert response.status_code == 401
    assert response.mimetype == "application/problem+json"
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="titrator"'
    assert response.json["code"] == "UNAUTHORISED"
    return str(response.json["detail"])


def test_a_client_is_let_in_by_an_assertion_for_the_very_url_and_once(ehr: Ehr) -> None:
    token = ehr.token("/cds-services")
    assert ehr.ask("GET", "/cds-services", token=token).status_code == 200
    assert "replayed" in refused(ehr.ask("GET", "/cds-services", token=token))
    assert ehr.call(VIEW, called())[0] == 200
    assert ehr.tell([], token=ehr.token(f"/cds-services/{VIEW}/feedback")).status_code == 400


#: By case: claims of an assertion for /cds-services, and why it is refused.
NOT_LET_IN = {
    "another service": ({"aud": f"{BASE}/cds-services/{VIEW}"}, "wrong audience"),
    "another host": ({"aud": "https://other.example/cds-services"}, "wrong audience"),
    "an unknown issuer": ({"iss": "https://other.example"}, "unknown issuer"),
    "one of yesterday": ({"iat": NOON.timestamp() - 86400, "exp": NOON.timestamp() - 86100}, "expired"),
    "a person's account": ({"iss": "urn:person"}, "not that of a system"),
    "an account that is not there": ({"iss": "urn:nobody"}, "not there"),
}


@pytest.mark.parametrize("case", NOT_LET_IN)
def test_an_assertion_that_is_not_acceptable_is_refused(ehr: Ehr, case: str) -> None:
    claims, why = NOT_LET_IN[case]
    assert why in refused(ehr.ask("GET", "/cds-services", token=ehr.token("/cds-services", **claims)))


def test_a_forged_host_does_not_let_a_token_for_another_service_in(ehr: Ehr) -> None:
    stolen = ehr.token("", aud="https://other.example/cds-services")
    response = ehr.ask("GET", "/cds-services", token=stolen, Host="other.example", **{"X-Forwarded-Proto": "https"})
    assert "wrong audience" in refused(response)
    near = ehr.token("", aud="http://other.example/cds-services")
    assert "wrong audience" in refused(ehr.ask("GET", "/cds-services", token=near, Host="other.example"))


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:5000", "[::1]:8000"])
def test_on_this_computer_the_url_is_that_which_was_called(ehr: Ehr, host: str) -> None:
    token = ehr.token("", aud=f"http://{host}/cds-services")
    assert ehr.ask("GET", "/cds-services", token=token, Host=host).status_code == 200


def test_without_a_token_or_with_an_unknown_one_nobody_is_let_in(ehr: Ehr) -> None:
    refused(ehr.ask("GET", "/cds-services", token=""))
    refused(ehr.ask("GET", "/cds-services", token="titr_unknown"))
    assert "not a JWT" in refused(ehr.ask("POST", f"/cds-services/{VIEW}", called(), token="abc"))
    refused(ehr.ask("POST", f"/cds-services/{VIEW}/feedback", {}, token="a.b.c"))


def test_a_token_of_ours_lets_in_who_may_ask_for_a_recommendation(ehr: Ehr) -> None:
    assert ehr.cards(VIEW, called(), token=ehr.house.tokens["technician"])
    response = ehr.ask("POST", f"/cds-services/{VIEW}", called(), token=ehr.house.tokens["auditor"])
    assert response.status_code == 403


def test_a_program_acts_as_the_active_account_of_a_system(ehr: Ehr) -> None:
    services = ehr.house.services
    actor = accounts.actor_of(services, "EHR")
    assert (actor.account_id, actor.role, actor.clinics) == (ehr.house.ids["ehr"], Role.EHR, {ehr.house.clinic})
    assert actor.permissions >= {Permission.RECOMMEND, Permission.PROPOSE}
    assert Permission.SIGN_OFF not in actor.permissions
    for name in ("pharmacist", "nobody", ""):
        with pytest.raises(Unauthorised):
            accounts.actor_of(services, name)
    with ehr.house.visit() as visit:
        accounts.change_account(visit, ehr.house.ids["ehr"], {"active": False}, None)
    with pytest.raises(Unauthorised):
        accounts.actor_of(services, "ehr")
    assert "not active" in refused(ehr.ask("GET", "/cds-services"))


def test_pages_of_the_origins_may_call_and_ask_beforehand_without_a_token(tmp_path: Path) -> None:
    app = Flask("small")
    hooks.add_to(app, Terms(origins=frozenset({"https://sandbox.example", "http://[::1]:8080"})))
    client = app.test_client()

    def preflight(origin: str, path: str) -> Any:
        asked = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        return client.options(path, headers={"Origin": origin, **asked})

    for origin in ("https://sandbox.example", "http://[::1]:8080"):
        for path in ("/cds-services", f"/cds-services/{VIEW}"):
            answer = preflight(origin, path)
            assert answer.status_code == 200
            assert answer.headers["Access-Control-Allow-Origin"] == origin
            assert answer.headers["Access-Control-Allow-Headers"] == "authorization, content-type"
            assert "POST" in answer.headers["Access-Control-Allow-Methods"]
            assert "Access-Control-Allow-Credentials" not in answer.headers
    for origin in ("https://sandbox.example.evil", "https://sandboxxexample", "http://sandbox.example", "null"):
        assert "Access-Control-Allow-Origin" not in preflight(origin, "/cds-services").headers
    assert "Access-Control-Allow-Origin" not in preflight("https://sandbox.example", "/api/v1/patients").headers


# Requests that cannot be taken


def without(body: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in keys}


#: By case: service, body, and the places of what is wrong.
BAD: dict[str, tuple[str, object, list[str]]] = {
    "nothing": (VIEW, {}, ["context", "hook", "hookInstance"]),
    "a list": (VIEW, [], [""]),
    "another hook": (VIEW, called("order-sign"), ["hook"]),
    "an instance that is no uuid": (VIEW, called(hookInstance="1"), ["hookInstance"]),
    "no patient": (VIEW, called() | {"context": {"userId": "Practitioner/1"}}, ["context.patientId"]),
    "a patient that is no id": (VIEW, called(context={"patientId": "a/../b"}), ["context.patientId"]),
    "no user": (VIEW, called() | {"context": {"patientId": PATIENT}}, ["context.userId"]),
    "a token for no server": (
        VIEW,
        called(fhirAuthorization={"access_token": "x", "token_type": "Bearer"}),
        ["fhirServer"],
    ),
    "an authorisation without a token": (
        VIEW,
        called(fhirServer=ISSUER, fhirAuthorization={"token_type": "Bearer"}),
        ["fhirAuthorization.access_token"],
    ),
    "a server that is no address": (VIEW, called(fhirServer="file:///etc"), ["fhirServer"]),
    "a prefetch that is a list": (VIEW, called() | {"prefetch": []}, ["prefetch"]),
    "no draft orders": (SIGN, called("order-sign"), ["context.draftOrders"]),
    "draft orders that are a list": (SIGN, called("order-sign", context={"draftOrders": []}), ["context.draftOrders"]),
    "draft orders that are no Bundle": (
        SIGN,
        called("order-sign", context={"draftOrders": {"resourceType": "List"}}),
        ["context.draftOrders.resourceType"],
    ),
    "a draft order that is nothing": (
        SIGN,
        called("order-sign", context={"draftOrders": {"resourceType": "Bundle", "entry": [{}]}}),
        ["context.draftOrders.entry[0].resource.resourceType"],
    ),
    "no selections": (
        SELECT,
        called("order-select", context={"draftOrders": {"resourceType": "Bundle"}}),
        ["context.selections"],
    ),
    "selections that are numbers": (
        SELECT,
        called("order-select", context={"draftOrders": {"resourceType": "Bundle"}, "selections": [1, "a"]}),
        ["context.selections[0]"],
    ),
    "selections of which one is no draft": (
        SELECT,
        ordering(
            "order-select",
            courses.order(150),
            selected=["MedicationRequest/order-1", "order-1", "https://ehr.example/fhir/MedicationRequest/b"],
        ),
        ["context.selections[1]", "context.selections[2]"],
    ),
    "a repeated key": (VIEW, '{"hook": "patient-view", "context": {"a": {"b": 1, "b": 2}}}', ["context.a.b"]),
    "no JSON": (VIEW, "{", [""]),
    "many faults": (
        SELECT,
        {"hook": "x", "hookInstance": 1, "context": {}, "fhirAuthorization": {}},
        [
            "context.draftOrders",
            "context.patientId",
            "context.selections",
            "context.userId",
            "fhirAuthorization.access_token",
            "fhirAuthorization.token_type",
            "fhirServer",
            "hook",
            "hookInstance",
        ],
    ),
}


def places(body: Any) -> list[str]:
    """The places that an OperationOutcome names."""
    assert body["resourceType"] == "OperationOutcome"
    assert all(issue["severity"] == "error" and issue["diagnostics"] for issue in body["issue"])
    return sorted(issue.get("expression", [""])[0] for issue in body["issue"])


@pytest.mark.parametrize("case", BAD)
def test_a_request_that_cannot_be_read_is_refused_with_every_fault(ehr: Ehr, case: str) -> None:
    service, body, wrong = BAD[case]
    status, found = ehr.call(service, body)
    assert (status, places(found)) == (400, wrong)


def test_objects_within_objects_lie_no_deeper_than_in_fhir(ehr: Ehr) -> None:
    nested: Any = {}
    for _ in range(30):
        nested = {"a": nested, ":": 1}
    assert ehr.call(VIEW, called(extension=nested))[0] == 400


def test_what_is_sent_must_be_json_and_not_too_long(ehr: Ehr) -> None:
    assert ehr.ask("POST", f"/cds-services/{VIEW}", "x", content_type="text/plain").status_code == 415
    assert ehr.ask("POST", f"/cds-services/{VIEW}", " " * 8_000_001).status_code == 413
    assert ehr.ask("POST", f"/cds-services/{VIEW}", " " * 7_000_000 + encode(exact(called()))).status_code == 200


def test_keys_that_are_not_known_are_passed_over(ehr: Ehr) -> None:
    body = called(extension={"x": 1}, other=[None], context={"encounterId": "e"})
    body["prefetch"]["ours"] = {"resourceType": "Nothing"}
    assert len(ehr.cards(VIEW, body)) == 1


def test_a_service_that_is_not_there_is_unknown(ehr: Ehr) -> None:
    for ident in ("nothing", "romiplostim-us-itp-adult-order-dispense", "us-itp-adult-patient-view"):
        assert ehr.ask("POST", f"/cds-services/{ident}", called()).status_code == 404
        assert ehr.ask("POST", f"/cds-services/{ident}/feedback", {}).status_code == 404


# Data that could not be had


def lacking(**changed: Any) -> dict[str, Any]:
    """A prefetch with other values for some keys; `...` leaves a key out."""
    found = courses.prefetch(RISING) | changed
    return {key: value for key, value in found.items() if value is not ...}


ERROR = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "forbidden"}]}
#: By case: the prefetch, and the places of what is missing.
UNSATISFIED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing was sent": ({}, sorted(f"prefetch.{key}" for key in TEMPLATES)),
    "a key is missing": (lacking(weights=...), ["prefetch.weights"]),
    "a patient who is not there": (lacking(patient=None), ["prefetch.patient"]),
    "errors": (lacking(patient=ERROR, doses=ERROR), ["prefetch.doses", "prefetch.patient"]),
    "a page of several": (
        lacking(doses=searchset([], link=[{"relation": "next", "url": "x"}])),
        ["prefetch.doses.link[0]"],
    ),
    "a count without its unit": (
        lacking(platelets=searchset([courses.count(count(0), valueQuantity={"value": 38})])),
        ["prefetch.platelets.entry[0].resource.value.code"],
    ),
    "more than a course may have": (lacking(doses=searchset([courses.dose(dose(7))] * 5001)), ["prefetch: doses"]),
}


@pytest.mark.parametrize("case", UNSATISFIED)
def test_what_could_not_be_had_or_read_is_told_and_never_an_empty_list(ehr: Ehr, case: str) -> None:
    prefetch, missing = UNSATISFIED[case]
    status, found = ehr.call(VIEW, called(prefetch=prefetch))
    assert (status, places(found)) == (412, missing)


def test_what_was_looked_for_and_not_found_is_empty(ehr: Ehr) -> None:
    nothing = lacking(**dict.fromkeys(set(TEMPLATES) - {"patient", "conditions"}))
    (card,) = ehr.cards(VIEW, called(prefetch=nothing))
    assert card["indicator"] == "warning"
    assert "WEIGHT-MISSING" in card["summary"]


# The answer of the engine, as a card


def told(card: dict[str, Any]) -> dict[str, Any]:
    """What a card says, in the terms of an answer."""
    detail, resource = card["detail"], None
    for suggestion in card.get("suggestions", []):
        (action,) = suggestion["actions"]
        assert action["type"] == "create"
        resource = action["resource"]
    said: dict[str, Any] = {"action": re.match(r"\*\*([A-Z][a-z]+)\*\*", detail)[1].lower()}  # type: ignore[index]
    for name, title in (("reasons", "Why"), ("alerts", "Look at")):
        part = re.search(rf"\*\*{title}\*\*\n\n((?:- .*\n?)*)", detail)
        said[name] = re.findall(r"^- ([A-Z-]+):", part[1], re.MULTILINE) if part else []
    counted = re.search(r"Next platelet count: (\S+)\.", detail)
    said["next_count_on"] = counted and counted[1]
    instruction = None if resource is None else resource["dosageInstruction"][0]
    said["due_on"] = instruction and instruction["timing"]["event"][0]
    said["dose"] = instruction and (
        instruction["doseAndRate"][0]["doseQuantity"]["value"],
        instruction["extension"][0]["valueQuantity"]["value"],
    )
    return said


@pytest.mark.parametrize(
    "file",
    [
        courses.GOLDEN,
        pytest.param(
            courses.GIVEN,
            marks=pytest.mark.skipif(
                not courses.GIVEN.exists(), reason="the courses given with the rules are not here"
            ),
        ),
    ],
    ids=lambda file: file.parent.name,
)
def test_the_worked_courses_get_the_same_answers_through_cards(ehr: Ehr, file: Path) -> None:
    different = []
    for course, answer in courses.golden(file):
        ehr.house.clock.now = datetime.fromisoformat(f"{course['on']}T12:00:00+00:00")
        (card,) = ehr.cards(f"romiplostim-{course['protocol']}-patient-view", called(prefetch=courses.prefetch(course)))
        dose = answer["dose"]
        wanted = answer | {"dose": dose and (dose["delivered_micrograms"], dose["micrograms_per_kg"])}
        urgent = "SAFETY-EVENT" in answer["reasons"]
        between = answer["reasons"] == ["COUNT-NEEDED"] and "romiPLOStim: given, " in card["summary"]
        warned = answer["action"] in ("refer", "incomplete", "hold", "start") and not between
        warned = warned or bool(answer["alerts"])
        doubted = "**Caution**" in card["detail"]  # nothing is suggested before that has been looked at
        wanted |= {"dose": None, "due_on": None} if doubted else {}
        indicator = "critical" if urgent else "warning" if warned or doubted else "info"
        if told(card) != wanted or card["indicator"] != indicator:
            different.append((told(card), wanted))
    assert different == []


def test_who_has_a_low_count_alone_gets_no_card_and_an_order_one_without_a_suggestion(ehr: Ehr) -> None:
    first = RISING | {"doses": []}
    prefetch = courses.prefetch(first) | {"conditions": None}
    assert ehr.cards(VIEW, called(prefetch=prefetch)) == []
    body = ordering("order-select", draft(75), course=first) | {"prefetch": prefetch}
    (card,) = ehr.cards(SELECT, body)
    assert (card["indicator"], "suggestions" in card) == ("warning", False)
    assert (
        card["summary"] == "romiPLOStim 75 micrograms (1 microgram/kg) due 2026-03-09: start; look at: the indication"
    )


def test_a_first_dose_is_a_warning_to_look_at_the_indication(ehr: Ehr) -> None:
    (card,) = ehr.cards(VIEW, called(prefetch=courses.prefetch(RISING | {"doses": []})))
    assert (card["indicator"], card["summary"].endswith("start; look at: the indication")) == ("warning", True)
    assert "The protocol is for: Immune thrombocytopenia (ITP) after insufficient response" in card["detail"]
    assert "Last dose: none is known." in card["detail"]


def test_a_small_dose_says_how_it_is_diluted(ehr: Ehr) -> None:
    course = RISING | {
        "weights": [weight(23, 10)],
        "doses": [],
        "protocol": "us-itp-paediatric",
        "born_on": "2020-05-01",
    }
    (card,) = ehr.cards("romiplostim-us-itp-paediatric-patient-view", called(prefetch=courses.prefetch(course)))
    dilute = card["detail"].index("DILUTE IT to 125 micrograms/mL before it is drawn up")
    water = card["detail"].index("add 0.44 mL of water for injection")
    saline = card["detail"].index("add 1.38 mL of preservative-free sodium chloride 0.9 %")
    assert dilute < water < saline
    assert card["detail"].count("NOT VERIFIED") == 2
    (card,) = ehr.cards(VIEW, called())
    assert "DILUTE" not in card["detail"]


def counted(*counts: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """The body of a call with other counts, as resources."""
    return called(prefetch=courses.prefetch(RISING) | {"platelets": searchset(counts), **changed})


#: What is odd about the data: what is sent, what is told, whether a dose may be suggested.
DOUBTS: dict[str, tuple[dict[str, Any], str]] = {
    "a second count of the day": (
        counted(
            courses.count(count(0, 38), effectiveDateTime=f"{day(0)}T06:00:00Z"),
            courses.count(count(0, 450), effectiveDateTime=f"{day(0)}T10:00:00Z", status="preliminary"),
            courses.count(count(7, 31)),
        ),
        "There are several platelet counts of 2026-03-09: 38, 450 (unreliable) ×10⁹/L.",
    ),
    "a newer count in words": (
        counted(
            courses.count(count(7, 31)),
            courses.count(count(1, 38)),
            without(courses.count(count(0, 1), valueString="Clumped"), "valueQuantity"),
        ),
        "A platelet count that is not read here is newer than those that are:",
    ),
    "a count ten times the one before": (
        called(prefetch=courses.prefetch(RISING | {"platelet_counts": [count(7, 3), count(0, 38)]})),
        "The newest platelet count, 38 ×10⁹/L of 2026-03-09, is far from the one before, 3 ×10⁹/L of 2026-03-02",
    ),
    "pounds as kilograms": (
        called(prefetch=courses.prefetch(RISING | {"weights": [weight(23, 75), weight(3, 165)]})),
        "The newest weight, 165 kg of 2026-03-06, is far from the one before, 75 kg of 2026-02-14",
    ),
    "a dose twice": (
        called(prefetch=courses.prefetch(RISING | {"doses": [dose(14), dose(7), dose(7)]})),
        "Of 2026-03-02 there are 2 doses of 75 micrograms: they are added.",
    ),
    "a medicine that cannot be told": (
        lacking(doses=searchset([courses.dose(dose(7)), courses.dose(
            dose(3), medicationCodeableConcept={"coding": [{"system": "urn:rxnorm", "code": "805452"}]}
        )])),
        "Given, and which medicine it was cannot be told: 805452, 2026-03-06.",
    ),
    "a brand of immunoglobulin": (
        lacking(doses=searchset([courses.dose(dose(7)), courses.dose(
            dose(3), medicationCodeableConcept={"text": "Privigen 10 %"}
        )])),
        "May have raised the count and was not considered: Privigen 10 %, 2026-03-06.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DOUBTS)
def test_what_is_odd_about_the_data_is_told_and_stops_the_suggestion(ehr: Ehr, case: str) -> None:
    sent, told_of = DOUBTS[case]
    body = sent if "hook" in sent else called(prefetch=sent)
    (card,) = ehr.cards(VIEW, body)
    assert (card["indicator"], "suggestions" in card) == ("warning", False)
    assert cards.escaped(told_of) in card["detail"]


def test_a_dose_under_two_ids_and_one_identifier_counts_once(ehr: Ehr) -> None:
    twin = courses.dose(dose(7), identifier=[{"system": "urn:mar", "value": "7"}])
    sent = lacking(doses=searchset([courses.dose(dose(14)), {**twin, "id": "a"}, {**twin, "id": "b"}]))
    (card,) = ehr.cards(VIEW, called(prefetch=sent))
    assert told(card)["dose"] == (150, 2)
    assert "it counts once" in card["detail"]


def test_a_count_that_is_no_exact_number_is_unreliable(ehr: Ehr) -> None:
    low = courses.count(count(0, 5), valueQuantity={"value": 5, "comparator": "<", "unit": "10*9/L"})
    (card,) = ehr.cards(VIEW, counted(courses.count(count(7, 31)), low))
    assert (told(card)["action"], "suggestions" in card) == ("incomplete", False)
    old = {**low, "effectiveDateTime": day(300)}
    (card,) = ehr.cards(VIEW, counted(courses.count(count(7, 31)), courses.count(count(0, 38)), old))
    assert told(card)["dose"] == (150, 2)


def test_a_count_without_an_instant_is_of_when_it_was_issued_or_its_period_began(ehr: Ehr) -> None:
    bare = without(courses.count(count(0, 38)), "effectiveDateTime")
    for when in ({"issued": f"{day(0)}T09:00:00Z"}, {"effectivePeriod": {"start": day(0)}}):
        (card,) = ehr.cards(VIEW, counted(courses.count(count(7, 31)), {**bare, **when}))
        assert told(card)["dose"] == (150, 2)


@pytest.mark.parametrize(
    "unit", ["x10E3/uL", "K/mcL", "x10(3)/mcL", "Thousand/uL", "/nL", "10³/µL", "Tsd/µl", "10^9/l"]
)
def test_units_are_read_as_people_write_them(ehr: Ehr, unit: str) -> None:
    newest = courses.count(count(0, 38), valueQuantity={"value": 38, "unit": unit})
    (card,) = ehr.cards(VIEW, counted(courses.count(count(7, 31)), newest))
    assert told(card)["dose"] == (150, 2)


def test_after_a_dose_nothing_is_missing_but_the_next_count(ehr: Ehr) -> None:
    course = RISING | {"doses": [dose(14), dose(7), dose(0, 150)]}
    (card,) = ehr.cards(VIEW, called(prefetch=courses.prefetch(course)))
    said = "romiPLOStim: given, 150 micrograms on 2026-03-09; next platelet count 2026-03-16"
    assert (card["indicator"], card["summary"]) == ("info", said)


def test_an_order_for_who_has_died_is_critical_and_a_record_gets_no_card(ehr: Ehr) -> None:
    dead = courses.prefetch(RISING) | {"patient": courses.patient_resource("1960-05-01", deceasedBoolean=True)}
    assert ehr.cards(VIEW, called(prefetch=dead)) == []
    (card,) = ehr.cards(SIGN, ordering("order-sign", draft(150)) | {"prefetch": dead})
    assert (card["indicator"], "recorded as having died" in card["summary"]) == ("critical", True)


def test_an_order_that_agrees_tells_what_there_is_to_look_at(ehr: Ehr) -> None:
    (card,) = ehr.cards(SIGN, ordering("order-sign", draft(75), course=RISING | {"doses": []}))
    said = "Draft order of 75 micrograms of romiPLOStim is what is proposed; look at: the indication"
    assert (card["indicator"], card["summary"]) == ("warning", said)


def test_an_order_without_a_day_is_for_today(ehr: Ehr) -> None:
    weeks = [37, 30, 23, 16, 9, 2]
    course = RISING | {
        "weights": [weight(45)],
        "doses": [dose(ago, 150) for ago in weeks],
        "platelet_counts": [count(ago, 90) for ago in weeks],
    }
    (card,) = ehr.cards(SIGN, ordering("order-sign", draft(150), course=course))
    assert "of romiPLOStim is for 2026-03-09, before the due day, 2026-03-14" in card["summary"]


def test_more_than_the_maximum_within_a_week_is_critical(ehr: Ehr) -> None:
    course = RISING | {"doses": [dose(14, 700), dose(3, 900)], "platelet_counts": [count(14, 20), count(0, 20)]}
    (card,) = ehr.cards(SIGN, ordering("order-sign", draft(700), course=course))
    assert card["indicator"] == "critical"
    assert "with what was given within seven days, above 1500 micrograms" in card["summary"] + card["detail"]


ONCE = (
    {"repeat": {"count": 1, "boundsPeriod": {"start": day(0)}}},
    {"repeat": {"count": 1, "frequency": 1, "period": 1, "periodUnit": "d"}},
    {"event": [day(0)], "code": {"text": "Once"}},
    {"repeat": {"boundsPeriod": {"start": day(0), "end": day(0)}, "frequency": 1, "period": 1, "periodUnit": "d"}},
)


@pytest.mark.parametrize("timing", ONCE)
def test_one_dose_is_known_as_systems_write_it(ehr: Ehr, timing: dict[str, Any]) -> None:
    assert ehr.cards(SIGN, ordering("order-sign", timed(timing))) == []


def test_a_medicine_is_found_among_the_draft_orders(ehr: Ehr) -> None:
    order = without(dosed({"value": 600, "unit": "ug"}), "medicationCodeableConcept")
    order["medicationReference"] = {"reference": "Medication/m-1"}
    for code, found in (("Nplate 250 micrograms", ["critical"]), ("Filgrastim", [])):
        medication = {"resourceType": "Medication", "id": "m-1", "code": {"text": code}}
        body = ordering("order-sign", order, medication)
        assert [card["indicator"] for card in ehr.cards(SIGN, body)] == found, code


@pytest.mark.parametrize(
    ("route", "critical"),
    [
        *(
            (text, None)
            for text in ("Subcut", "SUBCUT", "Subcutaneous (SC)", "Injection, subcutaneous", "sous-cutanée")
        ),
        ("Intravenous", True),
        ("as told", False),
    ],
)
def test_a_route_is_known_as_systems_write_it(ehr: Ehr, route: str, critical: bool | None) -> None:
    order = dosed({"value": 150, "unit": "ug"}, route={"text": route})
    found = [card["indicator"] for card in ehr.cards(SIGN, ordering("order-sign", order))]
    assert found == ([] if critical is None else ["critical" if critical else "warning"])


def test_a_dose_that_a_syringe_cannot_measure_says_what_was_calculated(ehr: Ehr) -> None:
    course = RISING | {
        "weights": [weight(23, 12)],
        "doses": [],
        "protocol": "us-itp-paediatric",
        "born_on": "2020-05-01",
    }
    (card,) = ehr.cards("romiplostim-us-itp-paediatric-patient-view", called(prefetch=courses.prefetch(course)))
    assert "Calculated: 1 microgram/kg × 12 kg = 12 micrograms" in card["detail"]


def test_a_card_has_all_that_is_needed_to_check_and_to_order(ehr: Ehr) -> None:
    (card,) = ehr.cards(VIEW, called())
    assert card["summary"] == "romiPLOStim 150 micrograms (2 micrograms/kg) due 2026-03-09: increase"
    protocol = CATALOGUE.get("us-itp-adult")
    assert card["source"] == {"label": protocol.source.cited_as, "url": protocol.source.url}
    for part in (
        "0.3 mL of 500 micrograms/mL",
        "Vials: 1 × 250 micrograms",
        "Dosing weight: 75 kg of 2026-02-14",
        "Last dose: 75 micrograms on 2026-03-02",
        "Next platelet count: 2026-03-16",
        "BELOW-TARGET: Platelets 38 ×10⁹/L",
        "(Nplate US prescribing information, section 2.1)",
        "Unreviewed: no pharmacist",
        "**A proposal for a pharmacist or prescriber to check, never an order.**",
    ):
        assert part in card["detail"]
    (suggestion,) = card["suggestions"]
    assert UUID(suggestion["uuid"])
    (action,) = suggestion["actions"]
    resource = action["resource"]
    assert (resource["resourceType"], resource["status"], resource["intent"]) == (
        "MedicationRequest",
        "draft",
        "proposal",
    )
    assert resource["subject"] == {"reference": f"Patient/{PATIENT}"}
    assert action["description"] == suggestion["label"]
    assert [one["code"] for one in card["overrideReasons"]] == list(REASONS)
    assert all(set(one) == {"code", "system", "display"} for one in card["overrideReasons"])
    assert {one["system"] for one in card["overrideReasons"]} == {f"{OWN}:override-reason"}


def test_what_is_sent_is_sound_fhir(ehr: Ehr) -> None:
    sent = [
        action["resource"]
        for service, body in (
            (VIEW, called()),
            (SIGN, ordering("order-sign", draft(300))),
            ("romiplostim-jp-itp-adult-patient-view", called()),
            ("romiplostim-us-hs-ars-patient-view", called(prefetch=courses.prefetch(RISING | {"doses": []}))),
        )
        for card in ehr.cards(service, body)
        for suggestion in card["suggestions"]
        for action in suggestion["actions"]
    ]
    assert [one["resourceType"] for one in sent] == ["MedicationRequest"] * 4
    refused = [ehr.call(VIEW, called(prefetch={}))[1], ehr.call(VIEW, {})[1], ehr.call(VIEW, "{")[1]]
    assert [one["resourceType"] for one in refused] == ["OperationOutcome"] * 3
    assert faults([*sent, *refused]) == []


def test_a_card_of_a_case_report_says_that_it_is_off_label(ehr: Ehr) -> None:
    course = RISING | {"protocol": "cart-2021-case"}
    (card,) = ehr.cards("romiplostim-cart-2021-case-patient-view", called(prefetch=courses.prefetch(course)))
    assert card["summary"].startswith("OFF LABEL. romiPLOStim")
    assert "Off label: it comes from a case report." in card["detail"]


def test_what_was_left_out_is_told_and_shows_as_it_was_written(ehr: Ehr) -> None:
    name = "<img src=x> [click](https://evil.example) **bold** www.evil.example\n# Title"
    event = courses.adverse_event({"kind": "x", "occurred_on": day(3)}, event={"text": name})
    (card,) = ehr.cards(VIEW, called(prefetch=lacking(adverseEvents=searchset([event]))))
    shown = r"\<img src=x\> \[click\](https\://evil.example) \*\*bold\*\* www\.evil.example \# Title"
    assert shown in card["detail"]


def test_nothing_is_stored_of_a_patient_who_is_not_kept_here(ehr: Ehr) -> None:
    before = ehr.house.everything()
    ehr.cards(VIEW, called())
    assert ehr.house.everything() == before
    last = ehr.house.trail()[-1]
    assert (last.action, last.subject, last.account_id) == ("recommend", "course-document", ehr.house.ids["ehr"])


def test_a_service_whose_self_test_failed_answers_nothing(ehr: Ehr) -> None:
    broken = ehr.house.with_services(broken=("us-itp-adult: wrong",))
    offer(broken.app, ehr.terms)
    assert Ehr(broken, ehr.terms, tokens=100).call(VIEW, called())[0] == 503


# What day it is


@pytest.fixture
def two(ehr: Ehr) -> Ehr:
    """A client whose account is of clinics in Berlin and in New York."""
    ehr.house.account("two", Role.EHR, ehr.house.clinic, ehr.house.other_clinic)
    return ehr


def asked_by_two(ehr: Ehr, prefetch: object = None) -> tuple[int, Any]:
    return ehr.call(VIEW, called(prefetch=prefetch), token=ehr.token(f"/cds-services/{VIEW}", iss="urn:two"))


def test_clinics_that_agree_on_every_day_give_one_answer(two: Ehr) -> None:
    status, found = asked_by_two(two)
    assert (status, len(found["cards"])) == (200, 1)


def test_clinics_that_do_not_agree_on_the_day_give_none(two: Ehr) -> None:
    two.house.clock.now = NOON - timedelta(hours=10)
    status, found = asked_by_two(two)
    assert status == 412
    assert "a client needs an account of one clinic" in found["issue"][0]["diagnostics"]


def test_clinics_that_do_not_agree_on_the_day_of_a_count_give_none(two: Ehr) -> None:
    sample = courses.count(count(0, 38), effectiveDateTime=f"{day(1)}T23:30:00Z")
    status, found = asked_by_two(two, lacking(platelets=searchset([sample])))
    assert status == 412
    assert "a client needs an account of one clinic" in found["issue"][0]["diagnostics"]


def test_a_client_of_no_clinic_gets_no_answer(ehr: Ehr) -> None:
    ehr.house.account("two", Role.EHR)
    status, found = asked_by_two(ehr)
    assert status == 412
    assert "belongs to no clinic" in found["issue"][0]["diagnostics"]


# Orders


def draft(*args: Any, **more: Any) -> dict[str, Any]:
    return courses.order(*args, **more)


DAILY = {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}}
WEEKLY = {"repeat": {"frequency": 1, "period": 1, "periodUnit": "wk"}}


def timed(timing: Any, micrograms: int = 150) -> dict[str, Any]:
    order = draft(micrograms)
    order["dosageInstruction"][0]["timing"] = timing
    return order


def dosed(*quantities: Any, **more: Any) -> dict[str, Any]:
    rates = [{"doseQuantity": quantity} for quantity in quantities]
    return draft(1, dosageInstruction=[{"doseAndRate": rates, **more}])


#: Orders that agree with 150 micrograms, 2 micrograms/kg at 75 kg: half a graduation of the syringe is 2.5 micrograms.
AGREEING = {
    "a day before it is due": timed({"event": [day(1)]}),
    "three days after": timed({"event": [day(-3)]}),
    "the same": draft(150),
    "in mcg": draft(150, "mcg"),
    "in mg": draft(Decimal("0.15"), "mg"),
    "by weight": draft(2, "ug/kg"),
    "by weight, in other letters": dosed({"value": 2, "unit": "mcg/kg"}),
    "in words": dosed({"value": 150, "unit": "micrograms"}),
    "half a graduation more": draft(Decimal("152.5")),
    "half a graduation less": draft(Decimal("147.5")),
    "on its day": timed({"event": [day(0)]}),
    "three days later": timed({"event": [day(-3)]}),
    "once": timed({"repeat": {"count": 1}}),
    "under the skin": dosed({"value": 150, "unit": "ug"}, route={"text": "Subcutaneous route"}),
    "with its amount in words": dosed({"value": 150, "unit": "ug"}, text="0.15 mg (2 micrograms/kg), 1 × 250 mcg"),
    "twice, alike": dosed({"value": 150, "unit": "ug"}, {"value": 2, "unit": "ug/kg"}),
}


@pytest.mark.parametrize("case", AGREEING)
def test_an_order_that_agrees_is_signed_without_a_card(ehr: Ehr, case: str) -> None:
    assert ehr.cards(SIGN, ordering("order-sign", AGREEING[case])) == []


#: By case: the order, and what the card says of it.
DEPARTING = {
    "twice as much": (draft(300), "Draft order of 300 micrograms departs from the proposed 150 micrograms"),
    "a little more": (draft(Decimal("152.51")), "Draft order of 152.51 micrograms departs"),
    "a little less": (draft(Decimal("147.49")), "Draft order of 147.49 micrograms departs"),
    "a thousandfold": (draft(150, "mg"), "is 1000 times the dose: milligrams in place of micrograms?"),
    "a level above": (draft(3, "ug/kg"), "Draft order of 225 micrograms departs"),
    "in mL": (draft(Decimal("0.3"), "mL"), "A draft order of romiPLOStim: its dose cannot be read; 150"),
    "without a dosage": (draft(150, dosageInstruction=[]), "cannot be read"),
    "without a quantity": (draft(150, dosageInstruction=[{"text": "150"}]), "cannot be read"),
    "with two dosages": (draft(150, dosageInstruction=draft(75)["dosageInstruction"] * 2), "cannot be read"),
    "with a range": (
        draft(150, dosageInstruction=[{"doseAndRate": [{"doseRange": {"low": {"value": 1}}}]}]),
        "cannot be read",
    ),
    "with doses that differ": (dosed({"value": 150, "unit": "ug"}, {"value": 1, "unit": "ug/kg"}), "cannot be read"),
    "with at least": (dosed({"value": 150, "unit": "ug", "comparator": ">"}), "cannot be read"),
    "with nothing": (draft(0), "cannot be read"),
    "with a text": (draft("150"), "cannot be read"),
    "with a modifier": (draft(150, modifierExtension=[{"url": "urn:x"}]), "cannot be read"),
    "every day": (timed(DAILY), "is given more often than once a week"),
    "twice a week": (
        timed({"repeat": {"frequency": 2, "period": 1, "periodUnit": "wk"}}),
        "more often than once a week",
    ),
}


CRITICAL = (
    "a thousandfold",
    "every day",
    "twice a week",
    "more than twice",
    "into a vein",
    "for another patient",
    "on a day of a dose",
)
UNCURED = ("for another patient", "active", "with repeats", "on a day of a dose")
DEPARTING |= {
    "more than twice": (draft(301), "more than twice the dose"),
    "into a vein": (dosed({"value": 150, "unit": "ug"}, route={"text": "Intravenous"}), "route is not subcutaneous"),
    "units that disagree": (dosed({"value": 150, "unit": "mg", "code": "ug"}), "disagree"),
    "weekly": (timed(WEEKLY), "timing is not plainly one dose"),
    "several days": (timed({"event": [day(0), day(-1)]}), "timing is not plainly one dose"),
    "a month": (timed({"event": ["2026-03"]}), "timing is not plainly one dose"),
    "a code": (timed({"code": {"text": "QW"}}), "timing is not plainly one dose"),
    "times of a day": (timed({"repeat": {"timeOfDay": ["08:00:00"]}}), "timing is not plainly one dose"),
    "early": (timed({"event": [day(2)]}), "before the due day"),
    "late": (timed({"event": [day(-4)]}), "more than 3 days after the due day"),
    "as needed": (dosed({"value": 150, "unit": "ug"}, asNeededBoolean=True), "as needed"),
    "another text": (dosed({"value": 150, "unit": "ug"}, text="give 300 micrograms"), "names another amount"),
    "for another patient": (draft(150, subject={"reference": "Patient/other"}), "ANOTHER PATIENT"),
    "active": (draft(150, status="active"), "its status is active"),
    "with repeats": (draft(150, dispenseRequest={"numberOfRepeatsAllowed": 3}), "may be repeated"),
    "on a day of a dose": (timed({"event": [day(7)]}), "a dose was given on 2026-03-02 already"),
}


@pytest.mark.parametrize("case", DEPARTING)
def test_an_order_that_departs_is_told_with_the_dose_in_its_place(ehr: Ehr, case: str) -> None:
    order, said = DEPARTING[case]
    (card,) = ehr.cards(SIGN, ordering("order-sign", order))
    assert said in card["summary"]
    assert card["indicator"] == ("critical" if case in CRITICAL else "warning")
    if case in ("without a dosage", "with a modifier", *UNCURED):  # sent back, it would be no better
        assert "suggestions" not in card
        return
    (suggestion,) = card["suggestions"]
    (action,) = suggestion["actions"]
    changed = action["resource"]
    assert action["type"] == "update"
    assert without(changed, "dosageInstruction") == without(order, "dosageInstruction")
    assert changed["dosageInstruction"][0]["doseAndRate"][0]["doseQuantity"]["value"] == 150
    assert ehr.cards(SIGN, ordering("order-sign", changed)) == []


OFTEN = (
    "once daily", "twice a week", "1 x daily", "every other day", "q24h", "QD", "bid", "every 2 days", "every 8 hours",
    "each morning", "twice weekly", "einmal täglich", "alle zwei Tage", "jeden zweiten Tag", "zweimal pro Woche",
    "毎日", "隔日に皮下注", "1日1回", "週2回",
)  # fmt: skip
WEEKLY = (
    "once weekly", "every 7 days", "one dose today", "once a week, on a day of the clinic", "einmal pro Woche",
    "alle 7 Tage", "alle sieben Tage", "週1回", "once on 2026-03-09",
)  # fmt: skip


@pytest.mark.parametrize(("words", "wrong"), [*((one, True) for one in OFTEN), *((one, False) for one in WEEKLY)])
def test_a_rhythm_in_words_is_read(ehr: Ehr, words: str, wrong: bool) -> None:
    for place in ({"text": f"150 micrograms {words}"}, {"additionalInstruction": [{"text": words}]}):
        order = dosed({"value": 150, "unit": "ug"}, **place)
        found = [card["summary"] for card in ehr.cards(SIGN, ordering("order-sign", order))]
        said = "Draft order of 150 micrograms of romiPLOStim: its text names another rhythm than once a week"
        assert found == ([said] if wrong else [])


def test_an_order_without_an_id_cannot_be_changed_by_us(ehr: Ehr) -> None:
    (card,) = ehr.cards(SIGN, ordering("order-sign", without(draft(300), "id")))
    assert "suggestions" not in card
    assert card["overrideReasons"]


#: By case: the course, and how loud an order for it is.
WITHOUT_A_DOSE = {
    "held": (HOLDING, "critical", "hold, no dose"),
    "a safety event": (UNSAFE, "critical", "a prescriber decides"),
    "no count": (MISSING, "warning", "facts are missing"),
    "too young": (RISING | {"born_on": "2020-01-01"}, "warning", "a prescriber decides"),
}


@pytest.mark.parametrize("case", WITHOUT_A_DOSE)
@pytest.mark.parametrize("order", [draft(150), draft("?"), draft(2, "ug/kg")])
def test_an_order_where_no_dose_is_proposed_is_told(ehr: Ehr, case: str, order: dict[str, Any]) -> None:
    course, indicator, said = WITHOUT_A_DOSE[case]
    (card,) = ehr.cards(SIGN, ordering("order-sign", order, course=course))
    assert card["indicator"] == indicator
    assert said in card["summary"]
    assert "suggestions" not in card


def test_a_single_dose_that_was_given_is_complete_and_another_order_is_warned_of(ehr: Ehr) -> None:
    course = RISING | {"protocol": "us-hs-ars"}
    service = "romiplostim-us-hs-ars-order-sign"
    (card,) = ehr.cards(service, ordering("order-sign", draft(150), course=course))
    assert (card["indicator"], "complete, no further dose" in card["summary"]) == ("warning", True)


def test_an_order_by_weight_without_a_weight_cannot_be_read(ehr: Ehr) -> None:
    course = {"protocol": "us-itp-adult", "on": day(0), "platelet_counts": [count(0, 20)]}
    (card,) = ehr.cards(SIGN, ordering("order-sign", draft(2, "ug/kg"), course=course))
    assert card["summary"].startswith("A draft order of romiPLOStim: no dose can be proposed")


OTHER = draft(1, ident="other", medicationCodeableConcept={"text": "Eltrombopag"})
NAMELESS = draft(1, ident="nameless", medicationCodeableConcept={"coding": [{"system": "urn:local", "code": "7"}]})


def test_orders_of_other_medicines_get_no_cards_and_need_no_data(ehr: Ehr) -> None:
    for hook, service in (("order-sign", SIGN), ("order-select", SELECT)):
        body = ordering(hook, OTHER, {"resourceType": "ServiceRequest", "id": "order-1"}, draft(300, doNotPerform=True))
        assert ehr.cards(service, body | {"prefetch": {}}) == []


BEGUN: Final = ({}, {"medicationCodeableConcept": {}}, {"medicationCodeableConcept": {"coding": [], "text": ""}})


@pytest.mark.parametrize("medicine", BEGUN, ids=str)
def test_an_order_that_names_no_medicine_yet_gets_no_card(ehr: Ehr, medicine: dict[str, Any]) -> None:
    order = without(draft(1, ident="order-1"), "medicationCodeableConcept") | medicine
    for hook, service in (("order-sign", SIGN), ("order-select", SELECT)):
        assert ehr.cards(service, ordering(hook, order)) == []
    assert len(ehr.cards(SIGN, ordering("order-sign", order, draft(300, ident="order-2")))) == 1


def test_an_order_whose_medicine_stands_twice_silences_no_other(ehr: Ehr) -> None:
    for odd in (None, {}, {"display": "Nplate"}):
        order = draft(300, ident="odd", medicationReference=odd)
        found = ehr.cards(SIGN, ordering("order-sign", order, draft(300, ident="order-2")))
        assert any("300 micrograms" in card["summary"] for card in found), odd


def test_what_is_wrong_with_a_dose_is_told_in_the_words_of_an_order(ehr: Ehr) -> None:
    (card,) = ehr.cards(SIGN, ordering("order-sign", draft(1, "{pill}")))
    assert "The unit of its dose must be ug, mcg, mg or ug/kg." in card["detail"].replace("\\", "")
    assert "dosageInstruction" not in card["detail"]


def test_an_order_whose_medicine_cannot_be_told_is_told(ehr: Ehr) -> None:
    (card,) = ehr.cards(SIGN, ordering("order-sign", OTHER, NAMELESS))
    assert (card["indicator"], card["summary"]) == ("warning", "The medicine of a draft order cannot be told")


def test_each_order_is_held_against_the_proposal(ehr: Ehr) -> None:
    orders = (draft(300), draft(150, ident="order-2"), draft(75, ident="order-3"))
    first, *found = ehr.cards(SIGN, ordering("order-sign", *orders))
    said = "3 draft orders of romiPLOStim at once: 525 micrograms together"
    assert (first["indicator"], first["summary"]) == ("critical", said)
    assert [card["summary"].split()[3] for card in found] == ["300", "75"]
    assert len({card["uuid"] for card in found}) == 2


def test_an_order_that_is_selected_gets_the_next_dose_and_what_departs(ehr: Ehr) -> None:
    assert ehr.cards(SELECT, ordering("order-select", draft(150))) == [], "it agrees, and there is nothing to look at"
    first, second = ehr.cards(SELECT, ordering("order-select", draft(300)))
    assert first["summary"].startswith("romiPLOStim 150 micrograms")
    assert "suggestions" not in first
    assert second["summary"].startswith("Draft order of 300 micrograms departs")
    other = draft(300, ident="other") | {"medicationCodeableConcept": {"text": "Filgrastim"}}
    for selected in ("MedicationRequest/other", "https://ehr.example/fhir/MedicationRequest/other"):
        assert ehr.cards(SELECT, ordering("order-select", draft(300), other, selected=[selected])) == []
    selected = "https://ehr.example/fhir/MedicationRequest/order-1"
    assert len(ehr.cards(SELECT, ordering("order-select", draft(300), selected=[selected]))) == 2
    assert ehr.cards(SELECT, ordering("order-select", draft(300), selected=[])) == []


# Patients who are kept here


def stored(house: House, **particulars: Any) -> str:
    """A patient here who stands as RISING does: the id."""
    ident = house.patient(identifiers=[{"system": "urn:mrn", "value": "17"}], **particulars)
    house.post(f"/patients/{ident}/course", {"protocol": "us-itp-adult", "started_on": day(14)})
    for collection, entries in (
        ("weights", [weight(14)]),
        ("platelet-counts", [count(7, 31), count(0, 38)]),
        ("doses", [dose(14), dose(7)]),
    ):
        for entry in entries:
            answer = house.record(ident, collection, entry)
            if answer.status == 422:
                answer = house.record(ident, collection, entry | {"confirm": answer.json["questions"]})
            assert answer.status == 201, answer.text
    return ident


def of_stored(**changed: Any) -> dict[str, Any]:
    """The body of a call about a patient who is known here by number; of the rest only the counts are sent."""
    named = courses.patient_resource("1960-05-01", identifier=[{"system": "urn:mrn", "value": "17"}, {"value": "?"}])
    counts = searchset([courses.count(count(7, 31)), courses.count(count(0, 38))])
    return called(prefetch={"patient": named, "platelets": counts, **changed})


def test_who_is_on_a_course_here_is_answered_from_what_is_kept_here(ehr: Ehr) -> None:
    ident = stored(ehr.house)
    (card,) = ehr.cards(VIEW, of_stored())
    answer = ehr.house.get(f"/patients/{ident}/next-dose")
    found = told(card)
    assert found["action"] == answer["action"] == "increase"
    assert found["dose"] == (answer["dose"]["delivered_micrograms"], answer["dose"]["micrograms_per_kg"])
    assert found["reasons"] == [one["code"] for one in answer["reasons"]]
    assert "The course that is kept here was used" in card["detail"]
    assert card["suggestions"][0]["actions"][0]["resource"]["subject"] == {"reference": f"Patient/{PATIENT}"}
    entries = [entry for entry in ehr.house.trail(ident) if entry.account_id == ehr.house.ids["ehr"]]
    assert [entry.action for entry in entries] == ["next-dose", "cds-card"]


def test_feedback_on_a_card_about_who_is_kept_here_names_the_patient(ehr: Ehr) -> None:
    house, ident = ehr.house, stored(ehr.house)
    (card,) = ehr.cards(VIEW, of_stored())
    assert [(one.outcome, one.patient_id) for one in ehr.kept()] == [("shown", ident)]
    assert house.get("/cds-feedback")["items"] == []
    house.clock.on(minutes=-1)  # the client's clock is a little behind
    ehr.tell([overridden(card, reason=BLEEDING)])
    (told_of,) = house.get("/cds-feedback")["items"]
    assert (told_of["patient"], told_of["outcome"], told_of["reason_code"]) == (ident, "overridden", "bleeding")
    assert [entry.action for entry in house.trail(ident)][-1] == "cds-feedback"


def test_feedback_about_a_patient_of_another_clinic_is_not_shown(ehr: Ehr) -> None:
    """The client may be of more clinics than who asks."""
    house, ident = ehr.house, stored(ehr.house)
    (card,) = ehr.cards(VIEW, of_stored())
    ehr.tell([accepted(card)])
    version = house.get(f"/accounts/{house.ids['ehr']}", "admin")["version"]
    both = {"clinics": [house.clinic, house.other_clinic]}
    assert house.call("admin", "PATCH", f"/accounts/{house.ids['ehr']}", both, version=version).status == 200
    assert [one["patient"] for one in house.get("/cds-feedback")["items"]] == [ident]
    assert house.get("/cds-feedback", "stranger")["items"] == []


def test_a_patient_is_known_by_our_own_id_too(ehr: Ehr) -> None:
    ident = stored(ehr.house)
    body = called(
        context={"patientId": ident}, prefetch={"patient": courses.patient_resource(ident=ident), "platelets": None}
    )
    (card,) = ehr.cards(VIEW, body)
    assert told(card)["action"] == "increase"


def test_services_of_other_protocols_have_nothing_to_say_of_who_is_on_a_course(ehr: Ehr) -> None:
    stored(ehr.house)
    assert ehr.cards("romiplostim-jp-itp-adult-patient-view", of_stored(platelets=ERROR)) == []


def test_a_patient_of_another_clinic_is_not_known(ehr: Ehr) -> None:
    ehr.house.patient("stranger", identifiers=[{"system": "urn:mrn", "value": "17"}])
    status, found = ehr.call(VIEW, of_stored())
    assert (status, len(places(found))) == (412, len(TEMPLATES) - 2)


def test_a_patient_without_a_course_here_is_answered_from_what_was_sent(ehr: Ehr) -> None:
    ehr.house.patient(identifiers=[{"system": "urn:mrn", "value": "17"}])
    body = of_stored(**without(courses.prefetch(RISING), "patient"))
    (card,) = ehr.cards(VIEW, body)
    assert told(card)["action"] == "increase"
    assert "kept here" not in card["detail"]


def test_identifiers_of_several_patients_are_refused(ehr: Ehr) -> None:
    stored(ehr.house)
    ehr.house.patient(identifiers=[{"system": "urn:mrn", "value": "18"}])
    named = courses.patient_resource(identifier=[{"system": "urn:mrn", "value": value} for value in ("17", "18")])
    status, found = ehr.call(VIEW, of_stored(patient=named))
    assert (status, places(found)) == (412, ["prefetch.patient.identifier"])


def test_a_token_that_may_not_propose_does_not_learn_what_is_kept(ehr: Ehr) -> None:
    stored(ehr.house)
    with ehr.house.visit() as visit:
        body = {"label": "x", "days": 1, "permissions": ["recommend"]}
        issued = accounts.issue_token(visit, ehr.house.ids["ehr"], body)
    response = ehr.ask("POST", f"/cds-services/{VIEW}", of_stored(), token=issued.secret)
    assert (response.status_code, response.json["code"]) == (403, "FORBIDDEN")


#: By case: what the system has as counts, and what differs.
COUNTS: dict[str, tuple[Any, str | None]] = {
    "the same": (of_stored()["prefetch"]["platelets"], None),
    "the same in another unit": (searchset([courses.count(count(0, 38000, "/uL"))]), None),
    "none": (None, None),
    "only older ones, that are here": (searchset([courses.count(count(7, 31))]), None),
    "another value": (
        searchset([courses.count(count(0, 83))]),
        "83 ×10⁹/L of 2026-03-09; the newest one here is 38 ×10⁹/L of 2026-03-09",
    ),
    "one that is not here": (searchset([courses.count(count(2, 36))]), "36 ×10⁹/L of 2026-03-07"),
}


@pytest.mark.parametrize("case", COUNTS)
def test_a_count_that_is_not_here_is_warned_of(ehr: Ehr, case: str) -> None:
    stored(ehr.house)
    sent, differs = COUNTS[case]
    found = ehr.cards(VIEW, of_stored(platelets=sent))
    if differs is None:
        assert len(found) == 1
        return
    first, second = found
    assert (first["indicator"], told(second)["action"]) == ("warning", "increase")
    assert first["summary"].startswith("romiPLOStim: data here and there differ. The newest platelet count there is")
    assert differs in first["detail"]


THERE: dict[str, tuple[dict[str, Any], str | None]] = {
    "a dose that is not here": (
        {"doses": searchset([courses.dose(dose(14)), courses.dose(dose(7)), courses.dose(dose(3, 100))])},
        "Of 2026-03-06 there is a dose of 100 micrograms there, and none here.",
    ),
    "another dose": (
        {"doses": searchset([courses.dose(dose(7, 300))])},
        "Of 2026-03-02 there is a dose of 300 micrograms there, and 75 micrograms here.",
    ),
    "the same doses": ({"doses": searchset([courses.dose(dose(14)), courses.dose(dose(7))])}, None),
    "a dose before the course": ({"doses": searchset([courses.dose(dose(400))])}, None),
    "a transfusion": (
        {"procedures": searchset([courses.procedure({"kind": "platelet_transfusion", "occurred_on": day(2)})])},
        "Of 2026-03-07 there is a platelet transfusion there, and none here.",
    ),
    "a thrombosis": (
        {"adverseEvents": searchset([courses.adverse_event({"kind": "thrombosis", "occurred_on": day(2)})])},
        "Of 2026-03-07 there is a thrombosis there, and none here.",
    ),
}


@pytest.mark.parametrize("case", THERE)
def test_doses_and_events_that_are_not_here_are_warned_of(ehr: Ehr, case: str) -> None:
    stored(ehr.house)
    sent, differs = THERE[case]
    found = ehr.cards(VIEW, of_stored(**sent))
    assert len(found) == (1 if differs is None else 2)
    if differs is not None:
        assert (found[0]["indicator"], differs in found[0]["detail"]) == ("warning", True)


def test_what_cannot_be_compared_for_who_is_kept_here_is_told_and_no_error(ehr: Ehr) -> None:
    stored(ehr.house)
    given = courses.dose(dose(3, 100), dosage={"dose": {"value": 1}})
    (card,) = ehr.cards(VIEW, of_stored(doses=searchset([given]), procedures=ERROR))
    said = re.search(r"Not compared with what is kept here: doses \((.*)\); procedures \((.*)\)\.", card["detail"])
    assert said is not None


def test_a_possible_safety_event_there_stops_for_who_is_kept_here_too(ehr: Ehr) -> None:
    ident = stored(ehr.house)
    embolism = courses.condition(RISING, code={"text": "Lung embolism"})
    sent = {"conditions": searchset([embolism])}
    (card,) = ehr.cards(VIEW, of_stored(**sent))
    assert (card["indicator"], "suggestions" in card) == ("critical", False)
    assert card["summary"] == "romiPLOStim: a possible safety event: a prescriber decides"
    signed(ehr, ident)
    (card,) = ehr.cards(VIEW, of_stored(**sent))
    assert card["indicator"] == "critical"
    assert card["summary"].endswith("; A POSSIBLE SAFETY EVENT since: a prescriber decides")


def test_another_birth_date_is_warned_of(ehr: Ehr) -> None:
    stored(ehr.house)
    named = of_stored()["prefetch"]["patient"] | {"birthDate": "1961-05-01"}
    first, _ = ehr.cards(VIEW, of_stored(patient=named))
    assert "1961-05-01 there and 1960-05-01 here: is it the same patient?" in first["detail"]


def test_counts_that_cannot_be_read_are_needed_for_who_is_kept_here_too(ehr: Ehr) -> None:
    stored(ehr.house)
    status, found = ehr.call(VIEW, of_stored(platelets=ERROR))
    assert (status, places(found)) == (412, ["prefetch.platelets"])
    body = of_stored(platelets=searchset([courses.count(count(0), valueQuantity={"value": 1})]))
    assert ehr.call(VIEW, body)[0] == 412


def test_why_there_is_no_answer_is_a_warning_and_no_error(ehr: Ehr) -> None:
    ident = stored(ehr.house)
    answer = ehr.house.record(ident, "doses", dose(1, 900), who="ehr")
    assert answer.json["status"] == "unverified"
    for service, body in (
        (VIEW, of_stored()),
        (SIGN, ordering("order-sign", draft(150)) | {"prefetch": of_stored()["prefetch"]}),
    ):
        (card,) = ehr.cards(service, body)
        assert (card["indicator"], card["summary"]) == (
            "warning",
            "romiPLOStim: no dose can be proposed (FACTS-UNVERIFIED)",
        )
        assert "900 micrograms on 2026-03-08, not verified" in card["detail"]
        assert "suggestions" not in card
    asked = [entry for entry in ehr.house.trail(ident) if entry.action == "next-dose"]
    assert '"refused":"FACTS-UNVERIFIED"' in asked[-1].detail.replace(": ", ":")


def test_a_paused_course_is_a_warning(ehr: Ehr) -> None:
    ident = stored(ehr.house)
    version = ehr.house.get(f"/patients/{ident}/course")["version"]
    answer = ehr.house.call(
        "pharmacist", "POST", f"/patients/{ident}/course/pause", {"reason": "holiday"}, version=version
    )
    assert answer.status == 200, answer.text
    (card,) = ehr.cards(VIEW, of_stored())
    assert card["summary"] == "romiPLOStim: no dose can be proposed (COURSE-NOT-ACTIVE)"


def test_an_order_for_who_is_kept_here_is_held_against_what_is_kept_here(ehr: Ehr) -> None:
    stored(ehr.house)
    body = ordering("order-sign", draft(300)) | {"prefetch": of_stored()["prefetch"]}
    (card,) = ehr.cards(SIGN, body)
    assert card["summary"].startswith("Draft order of 300 micrograms departs from the proposed 150")


def signed(ehr: Ehr, ident: str, who: str = "prescriber", **body: Any) -> None:
    """Decide upon the proposal of today: to accept it, unless the body says otherwise."""
    proposal = ehr.house.get(f"/patients/{ident}/next-dose")
    codes = [one["code"] for one in proposal["alerts"]]
    whole = {"decision": "accept", "proposal_sha256": proposal["proposal_sha256"], "acknowledge": codes} | body
    answer = ehr.house.call(who, "POST", f"/patients/{ident}/decisions", whole)
    if answer.status == 422 and answer.json["questions"]:
        asked = {"confirm": answer.json["questions"]}
        answer = ehr.house.call(who, "POST", f"/patients/{ident}/decisions", whole | asked)
    assert answer.status == 201, answer.text


OTHERWISE: dict[str, Any] = {
    "decision": "override",
    "reason_code": "bleeding",
    "comment": "nose *bleed*, two nights",
}


def at_sign(order: dict[str, Any]) -> dict[str, Any]:
    """The body of a call about a draft for who is kept here."""
    return ordering("order-sign", order) | {"prefetch": of_stored()["prefetch"]}


def test_a_possible_safety_event_stops_every_suggestion(ehr: Ehr, monkeypatch: pytest.MonkeyPatch) -> None:
    made = hooks.course_of

    def stopping(*args: Any, **more: Any) -> Any:
        return made(*args, **more)._replace(stops=("Deep *vein* thrombosis",))

    monkeypatch.setattr(hooks, "course_of", stopping)
    (card,) = ehr.cards(VIEW, called())
    assert (card["indicator"], "suggestions" in card, "150" in card["summary"]) == ("critical", False, False)
    assert card["detail"].startswith(r"**Possible safety event**" + "\n\n" + r"- Deep \*vein\* thrombosis")
    (card,) = ehr.cards(SIGN, ordering("order-sign", draft(150)))
    assert (card["indicator"], "a possible safety event" in card["summary"]) == ("critical", True)
    assert "suggestions" not in card


def test_a_caution_is_a_warning_and_a_draft_gets_no_second_one(ehr: Ehr, monkeypatch: pytest.MonkeyPatch) -> None:
    for more in ({"note": [{"text": "x"}]}, {"dispenseRequest": {"quantity": {"value": 1}}}):
        (card,) = ehr.cards(SIGN, ordering("order-sign", draft(300, **more)))
        assert "suggestions" not in card
    made = hooks.course_of
    monkeypatch.setattr(hooks, "course_of", lambda *a, **k: made(*a, **k)._replace(cautions=("Odd",)))
    (card,) = ehr.cards(VIEW, called())
    assert (card["indicator"], card["summary"].endswith("; look at: the data")) == ("warning", True)


def test_a_decision_that_was_made_here_comes_first_and_nothing_else_is_suggested(ehr: Ehr) -> None:
    ident = stored(ehr.house)
    signed(ehr, ident, micrograms=225, **OTHERWISE)
    (card,) = ehr.cards(VIEW, of_stored())
    assert card["summary"] == "romiPLOStim: decided already: 225 micrograms due 2026-03-09"
    assert (card["indicator"], "suggestions" in card) == ("warning", False)
    assert card["detail"].startswith("**Decided already: 225 micrograms due 2026-03-09**\n\nDecided on 2026-03-09")
    name = ehr.house.get(f"/accounts/{ehr.house.ids['prescriber']}", "admin")["display_name"]
    for part in (name, r"because of bleeding: nose \*bleed\*, two nights", "Next platelet count"):
        assert part in card["detail"]
    assert ehr.cards(SIGN, at_sign(draft(225))) == []
    (card,) = ehr.cards(SIGN, at_sign(draft(150)))
    said = f"Draft order of 150 micrograms departs from the signed decision: 225 micrograms due 2026-03-09, by {name}"
    assert (card["summary"], card["indicator"]) == (said, "warning")
    changed = card["suggestions"][0]["actions"][0]["resource"]
    assert changed["dosageInstruction"][0]["doseAndRate"][0]["doseQuantity"]["value"] == 225
    assert ehr.cards(SIGN, at_sign(changed)) == []


def test_after_a_decision_to_give_nothing_any_order_is_critical(ehr: Ehr) -> None:
    ident = stored(ehr.house)
    signed(ehr, ident, no_dose=True, **OTHERWISE)
    (card,) = ehr.cards(VIEW, of_stored())
    assert (card["summary"], card["indicator"]) == ("romiPLOStim: decided already: NO DOSE", "critical")
    assert "suggestions" not in card
    for order in (draft(150), draft("?")):
        (card,) = ehr.cards(SIGN, at_sign(order))
        assert "of romiPLOStim: decided already: NO DOSE, signed by" in card["summary"]
        assert (card["indicator"], "suggestions" in card) == ("critical", False)


def test_a_decision_that_awaits_its_second_signature_is_told(ehr: Ehr) -> None:
    ident = stored(ehr.house)
    signed(ehr, ident, micrograms_per_kg=11, **OTHERWISE)
    (card,) = ehr.cards(VIEW, of_stored())
    said = "romiPLOStim: decided already: 825 micrograms due 2026-03-09; a second signature is missing"
    assert (card["summary"], card["indicator"], "suggestions" in card) == (said, "warning", False)
    assert "it awaits a second signature" in card["detail"]
    (card,) = ehr.cards(SIGN, at_sign(draft(150)))
    assert "departs from the signed decision: 825 micrograms" in card["summary"]


@pytest.mark.parametrize("newest", [120, 450])
def test_a_decision_whose_facts_were_corrected_is_no_longer_supported(ehr: Ehr, newest: int) -> None:
    ident = stored(ehr.house)
    signed(ehr, ident)
    fact = ehr.house.get(f"/patients/{ident}/platelet-counts")["items"][-1]
    path = f"/patients/{ident}/platelet-counts/{fact['id']}"
    sure = {"confirm": ["COUNT-FAR-FROM-LAST"]} if newest == 450 else {}
    answer = ehr.house.call("pharmacist", "PUT", path, count(0, newest, reason="misread", **sure), version=1)
    assert answer.status == 200, answer.text
    card = ehr.cards(VIEW, of_stored())[-1]
    assert card["indicator"] == "critical"
    assert card["summary"].endswith("150 micrograms due 2026-03-09; NO LONGER SUPPORTED by the facts")
    assert "suggestions" not in card
    card = ehr.cards(SIGN, at_sign(draft(150)))[-1]
    assert (card["indicator"], "is no longer supported" in card["summary"]) == ("critical", True)
    assert "suggestions" not in card


def test_a_decision_that_has_lapsed_or_was_referred_decides_no_dose(ehr: Ehr) -> None:
    ident = stored(ehr.house)
    refer = {"decision": "refer", "reason_code": "other", "comment": "ask"}
    proposal = ehr.house.get(f"/patients/{ident}/next-dose")
    ehr.house.post(f"/patients/{ident}/decisions", refer | {"proposal_sha256": proposal["proposal_sha256"]})
    (card,) = ehr.cards(VIEW, of_stored())
    assert card["summary"].startswith("romiPLOStim 150 micrograms")
    assert "refer to a prescriber, because of other: ask" in card["detail"]
    signed(ehr, ident)
    ehr.house.clock.on(days=4)
    assert "decided already" not in ehr.cards(VIEW, of_stored())[-1]["summary"]


# Feedback


def accepted(card: dict[str, Any], at: str = "2026-03-09T12:01:00Z") -> dict[str, Any]:
    ids = [{"id": one["uuid"]} for one in card["suggestions"]]
    return {"card": card["uuid"], "outcome": "accepted", "outcomeTimestamp": at, "acceptedSuggestions": ids}


def overridden(card: dict[str, Any], at: str = "2026-03-09T12:01:00Z", **why: Any) -> dict[str, Any]:
    more = {"overrideReason": why} if why else {}
    return {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": at, **more}


BLEEDING = {"code": "bleeding", "system": f"{OWN}:override-reason", "display": "Bleeding"}


def test_feedback_is_kept_once_a_card_and_the_later_word_counts(ehr: Ehr) -> None:
    (card,) = ehr.cards(VIEW, called())
    assert ehr.tell([accepted(card)]).status_code == 200
    (kept,) = ehr.kept()
    assert (kept.card, kept.service, kept.account_id, kept.patient_id) == (
        card["uuid"],
        VIEW,
        ehr.house.ids["ehr"],
        None,
    )
    assert (kept.outcome, kept.suggestions) == ("accepted", (card["suggestions"][0]["uuid"],))
    entries = len([row for row in ehr.house.trail() if row.action == "cds-feedback"])
    assert entries == 1

    ehr.house.clock.on(minutes=5)
    assert ehr.tell([accepted(card)]).status_code == 200
    assert ehr.tell([overridden(card, "2026-03-09T12:00:00Z")]).status_code == 200
    assert ehr.kept() == [kept]
    assert len([row for row in ehr.house.trail() if row.action == "cds-feedback"]) == entries

    why = {"reason": BLEEDING, "userComment": "nose bleed\nsince Sunday"}
    assert ehr.tell([overridden(card, "2026-03-09T13:02:00+01:00", **why)]).status_code == 200
    (after,) = ehr.kept()
    assert (after.outcome, after.at, after.suggestions) == ("overridden", "2026-03-09T12:02:00.000000Z", ())
    assert (after.reason_code, after.reason_display, after.comment) == ("bleeding", "Bleeding", why["userComment"])


def test_feedback_may_give_no_reason_or_a_comment_alone(ehr: Ehr) -> None:
    (card,) = ehr.cards(VIEW, called())
    assert ehr.tell([overridden(card)]).status_code == 200
    assert ehr.tell([overridden(card, "2026-03-09T12:02:00Z", userComment="no")]).status_code == 200
    assert [one.comment for one in ehr.kept()] == ["no"]


def test_feedback_of_cards_that_are_not_ours_is_refused_and_nothing_of_it_is_kept(ehr: Ehr) -> None:
    (card,) = ehr.cards(VIEW, called())
    strange = {**card, "uuid": str(uuid4())}
    response = ehr.tell([accepted(card), overridden(strange)])
    assert (response.status_code, places(json.loads(response.text))) == (400, ["feedback[1].card"])
    wrong = accepted({**card, "suggestions": [{"uuid": str(uuid4())}]})
    response = ehr.tell([wrong])
    assert (response.status_code, places(json.loads(response.text))) == (400, ["feedback[0].acceptedSuggestions[0].id"])
    response = ehr.tell([accepted(card)], "romiplostim-us-itp-adult-order-sign")
    assert (response.status_code, places(json.loads(response.text))) == (400, ["feedback[0].card"])
    response = ehr.tell([accepted(card)], token=ehr.house.tokens["technician"])
    assert (response.status_code, places(json.loads(response.text))) == (400, ["feedback[0].card"])
    assert ehr.kept() == []


#: By case: what is changed in feedback that would be taken, and the places of what is wrong.
BAD_FEEDBACK: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], list[str]]] = {
    "no card": (lambda one: without(one, "card"), ["feedback[0].card"]),
    "a card that is no uuid": (lambda one: one | {"card": "1"}, ["feedback[0].card"]),
    "another outcome": (lambda one: one | {"outcome": "ignored"}, ["feedback[0].outcome"]),
    "no timestamp": (lambda one: without(one, "outcomeTimestamp"), ["feedback[0].outcomeTimestamp"]),
    "a timestamp without an offset": (
        lambda one: one | {"outcomeTimestamp": "2026-03-09T12:00:00"},
        ["feedback[0].outcomeTimestamp"],
    ),
    "accepted without what": (lambda one: without(one, "acceptedSuggestions"), ["feedback[0].acceptedSuggestions"]),
    "accepted with a reason against it": (
        lambda one: one | {"overrideReason": {"userComment": "x"}},
        ["feedback[0].overrideReason"],
    ),
    "overridden and accepted": (lambda one: one | {"outcome": "overridden"}, ["feedback[0].acceptedSuggestions"]),
    "a reason that says nothing": (
        lambda one: without(one, "acceptedSuggestions") | {"outcome": "overridden", "overrideReason": {}},
        ["feedback[0].overrideReason.reason"],
    ),
    "a reason without a code": (
        lambda one: (
            without(one, "acceptedSuggestions")
            | {"outcome": "overridden", "overrideReason": {"reason": {"display": "x"}}}
        ),
        ["feedback[0].overrideReason.reason.code"],
    ),
    "many faults": (
        lambda one: {"acceptedSuggestions": [{}]},
        [
            "feedback[0].acceptedSuggestions[0].id",
            "feedback[0].card",
            "feedback[0].outcome",
            "feedback[0].outcomeTimestamp",
        ],
    ),
}


@pytest.mark.parametrize("case", BAD_FEEDBACK)
def test_feedback_that_cannot_be_read_is_refused_with_every_fault(ehr: Ehr, case: str) -> None:
    (card,) = ehr.cards(VIEW, called())
    change, wrong = BAD_FEEDBACK[case]
    response = ehr.tell([change(accepted(card))])
    assert (response.status_code, places(json.loads(response.text))) == (400, wrong)
    assert ehr.kept() == []


@pytest.mark.parametrize("body", [{}, {"feedback": []}, {"feedback": {}}, [], {"feedback": [1]}])
def test_feedback_of_nothing_is_refused(ehr: Ehr, body: object) -> None:
    assert ehr.ask("POST", f"/cds-services/{VIEW}/feedback", body).status_code == 400


def test_feedback_is_shown_to_who_shares_a_clinic_with_the_client(ehr: Ehr) -> None:
    house = ehr.house
    (first,), (second,) = ehr.cards(VIEW, called()), ehr.cards(VIEW, called())
    ehr.tell([accepted(first)])
    house.clock.on(minutes=1)
    ehr.tell([overridden(second, reason=BLEEDING)])
    items = house.get("/cds-feedback")["items"]
    assert [one["card"] for one in items] == [second["uuid"], first["uuid"]]
    assert items[0] == {
        "card": second["uuid"],
        "service": VIEW,
        "account": house.ids["ehr"],
        "patient": None,
        "outcome": "overridden",
        "reason_code": "bleeding",
        "reason_display": "Bleeding",
        "comment": None,
        "suggestions": [],
        "at": "2026-03-09T12:01:00.000000Z",
        "received_at": "2026-03-09T12:01:00.000000Z",
    }
    assert len(house.get("/cds-feedback?limit=1")["items"]) == 1
    assert house.get("/cds-feedback", "stranger")["items"] == []
    assert house.call("admin", "GET", "/cds-feedback").status == 403
    assert house.call("pharmacist", "GET", "/cds-feedback?limit=0").status == 422


def test_a_card_is_ours_only_as_it_was_given() -> None:
    key = b"k" * 32
    card = new_card(key, VIEW, "a")
    assert is_ours(key, card, VIEW, "a")
    assert is_ours(key, card.upper(), VIEW, "a")
    assert not is_ours(key, card, SIGN, "a")
    assert not is_ours(key, card, VIEW, "b")
    assert not is_ours(b"l" * 32, card, VIEW, "a")
    assert (UUID(card).version, UUID(suggestion_of(key, card)).version) == (4, 4)
    assert len({new_card(key, VIEW, "a") for _ in range(100)}) == 100
    for place, digit in enumerate(card):
        if digit != "-":
            other = card[:place] + ("1" if digit == "0" else "0") + card[place + 1 :]
            assert not is_ours(key, other, VIEW, "a"), place


# Fetching what was not sent


@pytest.fixture
def server() -> Iterator[Receiver]:
    """The FHIR server of the hospital, that has all of RISING."""
    found = courses.prefetch(RISING)

    def answer(asked: Asked) -> None:
        for key, template in TEMPLATES.items():
            if unquote(asked.path) == f"/fhir/{template.replace('{{context.patientId}}', PATIENT)}":
                asked.give(200, encode(exact(found[key])).encode(), Content_Type="application/fhir+json")
                return
        asked.give(404, b"{}")

    with receiver() as made:
        made.answer = answer
        yield made


def base_of(server: Receiver) -> str:
    return f"http://127.0.0.1:{server.port}/fhir"


def knowing(ehr: Ehr, *bases: str) -> Ehr:
    """The same client, where data may be fetched from some servers."""
    terms = Terms(assertions=ehr.terms.assertions, base_url=BASE, fhir_servers=frozenset(bases))
    ehr.house.app.extensions["titrator.cds"] = terms
    return ehr


def fetching_from(base: str, prefetch: Any, token: str | None = "secret") -> dict[str, Any]:
    allowed = (
        {}
        if token is None
        else {
            "fhirAuthorization": {
                "access_token": token,
                "token_type": "Bearer",
                "expires_in": 300,
                "scope": "patient/*.read",
                "subject": "x",
            }
        }
    )
    return called(prefetch=prefetch, fhirServer=base, **allowed)


def test_what_was_not_sent_is_fetched_with_the_clients_token(ehr: Ehr, server: Receiver) -> None:
    base = base_of(server)
    (sent,) = ehr.cards(VIEW, called())
    (fetched,) = knowing(ehr, base).cards(VIEW, fetching_from(f"{base}/", {}))
    assert told(fetched) == told(sent)
    assert len(server.seen) == len(TEMPLATES)
    assert {one.headers["authorization"] for one in server.seen} == {"Bearer secret"}
    assert {one.headers["accept"] for one in server.seen} == {"application/fhir+json"}
    knowing(ehr, base).cards(VIEW, fetching_from(base, lacking(doses=...), token=None))
    assert [one.path.split("?")[0] for one in server.seen[len(TEMPLATES) :]] == ["/fhir/MedicationAdministration"]
    assert "authorization" not in server.seen[-1].headers


def test_a_server_that_is_not_on_the_list_is_not_asked(ehr: Ehr, server: Receiver) -> None:
    base = base_of(server)
    for known in ((), (f"{base}2",), ("https://ehr.example/fhir",)):
        status, found = knowing(ehr, *known).call(VIEW, fetching_from(base, lacking(doses=...)))
        assert (status, places(found)) == (412, ["prefetch.doses"])
    status, found = knowing(ehr, base).call(VIEW, called(prefetch=lacking(doses=...)))
    assert (status, places(found)) == (412, ["prefetch.doses"])
    here = f"127.0.0.1:{server.port}"
    for like in (f"{base}/..", f"{base}/%2e%2e", f"{base}/x", f"{base}?x", f"{base}#x", f"http://{here}", f"{base}%20"):
        status, found = knowing(ehr, base).call(VIEW, fetching_from(like, lacking(doses=...)))
        assert (status, places(found)) == (412, ["prefetch.doses"]), like
    for like in (f"http://ehr.example@{here}/fhir", f"http://{here}./fhir", f"http://localhost:{server.port}/fhir"):
        status, found = knowing(ehr, "http://ehr.example/fhir", base).call(
            VIEW, fetching_from(like, lacking(doses=...))
        )
        assert (status, places(found)) == (412, ["prefetch.doses"]), like
    assert server.seen == []


@pytest.mark.parametrize("ident", [".", ".."])
def test_an_id_that_makes_another_address_is_not_asked_for(ehr: Ehr, server: Receiver, ident: str) -> None:
    """FHIR lets ids be of points; in an address they lead to all patients, or above them, with the client's token."""
    base = base_of(server)
    body = fetching_from(base, lacking(patient=...)) | {"context": {"userId": "Practitioner/1", "patientId": ident}}
    status, found = knowing(ehr, base).call(VIEW, body)
    assert (status, places(found)) == (412, ["prefetch.patient"])
    assert server.seen == []


def test_what_could_not_be_fetched_is_told(ehr: Ehr, server: Receiver) -> None:
    server.answer = lambda asked: asked.give(403)
    status, found = knowing(ehr, base_of(server)).call(
        VIEW, fetching_from(base_of(server), lacking(doses=..., weights=...))
    )
    assert (status, places(found)) == (412, ["prefetch.doses", "prefetch.weights"])
    assert "the server answered 403" in found["issue"][0]["diagnostics"]


def pages(server: Receiver, *found: Any) -> list[Any]:
    """What a search gives where its pages are so: the entries."""
    later = iter(found)
    server.answer = lambda asked: asked.give(200, encode(exact(next(later))).encode())
    with Fetching(Server(base_of(server), "secret")) as fetching:
        bundle: Any = fetching.fetch("Observation?patient=1")
    assert "link" not in bundle
    return list(bundle["entry"])


def page(number: int, following: str | None) -> dict[str, Any]:
    link = [] if following is None else [{"relation": "self", "url": "x"}, {"relation": "next", "url": following}]
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": {"id": str(number)}}], "link": link}


def test_pages_of_the_same_base_are_followed(server: Receiver) -> None:
    base = base_of(server)
    entries = pages(
        server,
        page(1, f"{base}?page=2"),
        page(2, f"{base}/Observation?page=3"),
        page(3, "Observation?page=4"),
        page(4, None),
    )
    assert [entry["resource"]["id"] for entry in entries] == ["1", "2", "3", "4"]
    assert [one.path for one in server.seen] == [
        "/fhir/Observation?patient=1",
        "/fhir?page=2",
        "/fhir/Observation?page=3",
        "/fhir/Observation?page=4",
    ]


@pytest.mark.parametrize(
    "following",
    [
        "https://evil.example/fhir/x",
        "{base}2/x",
        "{base}/../other",
        "{base}/%2e%2e/other",
        "//evil.example/x",
        "/other",
        "",
    ],
)
def test_pages_beyond_the_base_are_not_followed(server: Receiver, following: str) -> None:
    with pytest.raises(NotFetched, match="on another server"):
        pages(server, page(1, following.replace("{base}", base_of(server))))
    assert len(server.seen) == 1


def test_pages_without_end_are_not_followed_for_ever(server: Receiver) -> None:
    base = base_of(server)
    with pytest.raises(NotFetched, match="no end"):
        pages(server, page(1, f"{base}/a"), page(2, f"{base}/a"), page(3, f"{base}/a"))
    server.seen.clear()
    with pytest.raises(NotFetched, match="more than 20 pages"):
        pages(server, *(page(number, f"{base}/{number}") for number in range(30)))
    assert len(server.seen) == fetching.MOST_PAGES


#: By case: the answer of a server, and why it is not taken.
NOT_TAKEN: dict[str, tuple[Callable[[Asked], None], str]] = {
    "a redirect": (lambda asked: asked.give(302, Location="http://127.0.0.1:1/x"), "answered 302"),
    "an error": (lambda asked: asked.give(500, b"secret detail"), "answered 500"),
    "no JSON": (lambda asked: asked.give(200, b"<html>"), "cannot be read: not JSON"),
    "a repeated key": (lambda asked: asked.give(200, b'{"a": {"b": {"c": 1, "c": 2}}}'), "repeated key"),
    "nothing": (lambda asked: asked.raw(b""), "could not be reached, or broke off"),
    "half of it": (lambda asked: asked.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}"), "broke off"),
    "too much": (lambda asked: asked.give(200, b" " * (fetching.MOST_BYTES + 1)), "larger than"),
}


@pytest.mark.parametrize("case", NOT_TAKEN)
def test_answers_that_are_none_are_not_taken(server: Receiver, case: str) -> None:
    answer, why = NOT_TAKEN[case]
    server.answer = answer
    with Fetching(Server(base_of(server), "secret")) as found, pytest.raises(NotFetched, match=why) as caught:
        found.fetch("Patient/1")
    assert "secret" not in str(caught.value)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "first", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"]
)
def test_a_server_that_drips_or_is_not_there_is_not_waited_for(first: bytes) -> None:
    begun = time.monotonic()
    with (
        dripping_server(first=first, drip=b" ") as port,
        Fetching(Server(f"http://127.0.0.1:{port}", None), seconds=0.4) as found,
    ):
        for _ in range(2):
            with pytest.raises(NotFetched, match="the server took too long"):
                found.fetch("Patient/1")
    assert time.monotonic() - begun < 3, "it drips for 10 seconds"
    with Fetching(Server("http://127.0.0.1:1", None)) as found, pytest.raises(NotFetched, match="could not be reached"):
        found.fetch("Patient/1")


# Words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, 38 ×10⁹/L (75 kg) of 2026-03-09", "plain, 38 ×10⁹/L (75 kg) of 2026-03-09"),
        ("a*b_c`d", r"a\*b\_c\`d"),
        ("<b>&amp;", r"\<b\>\&amp;"),
        ("![x](y)", r"\!\[x\](y)"),
        ("a\nb\r\n\tc\x00\u202ed", "a b c d"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("1) item", r"1\) item"),
        ("# title", r"\# title"),
        ("a|b~c", r"a\|b\~c"),
        ("@someone", r"\@someone"),
        ("http://x", r"http\://x"),
        ("WWW.x", r"WWW\.x"),
        ("back\\slash", r"back\\slash"),
        ("", ""),
    ],
)
def test_texts_show_as_they_were_written(text: str, shown: str) -> None:
    assert cards.escaped(text) == shown


def test_summaries_are_short() -> None:
    assert cards.short("x" * 139) == "x" * 139
    assert cards.short("x" * 140) == "x" * 138 + "…"
    cut = cards.short("word " * 40)
    assert len(cut) < 140
    assert cut.endswith("word…")
    assert cards.short(" a\n b ") == "a b"


def test_nothing_empty_is_sent() -> None:
    full = {"a": None, "b": "", "c": [], "d": {"e": [None, {"f": ""}]}, "g": [0, False, "x"], "h": Decimal(0)}
    assert cards.written(full) == '{"g": [0, false, "x"], "h": 0}'
    assert cards.written({"a": [{"b": None}]}) == ""
