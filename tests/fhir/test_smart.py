"""SMART Backend Services: what is discovered, what a client gets for an assertion, and what its token lets it do.

What the public test kits for SMART App Launch and CDS Hooks ask of a server is asked here in our own words. Each
refusal is of a request that differs in one thing from one that is granted.
"""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from joserfc.jwk import OctKey
from structlog.testing import capture_logs

from tests.api.support import NOON, Answer, House, count, dose, named, weight
from tests.fhir import smart
from tests.fhir.resources import (
    bundle,
    entry,
    happened,
    known_as,
    person,
    platelets,
    send,
    subject,
    weighed,
)
from titrator.app import create_app
from titrator.fhir.capability import capability_statement
from titrator.security.scopes import MEANT, parse
from titrator.settings import Settings
from titrator.workflow import clients

TOKEN_URL: Final = "http://127.0.0.1:8000/auth/token"
NOW: Final = NOON.timestamp()
WIDE: Final = ("system/Observation.cruds", "system/Patient.rs")


def register(house: House, *scopes: str) -> str:
    with house.visit() as visit:
        made = clients.add_client(
            visit, house.ids["ehr"], label="engine", scopes=" ".join(scopes or WIDE), jwks=smart.key_set()
        )
    return made.id


@pytest.fixture(scope="module")
def client(shared: House) -> str:
    return register(shared)


def ask(house: House, form: dict[str, str] | str | list[tuple[str, str]], **headers: str) -> Answer:
    sent = {"Content-Type": smart.FORM} | {name.replace("_", "-"): value for name, value in headers.items()}
    data = form if isinstance(form, str) else smart.encoded(dict(form)) if isinstance(form, dict) else None
    if data is None:
        data = "&".join(smart.encoded({name: value}) for name, value in form)  # type: ignore[misc]
    response = house.app.test_client().post("/auth/token", data=data, headers=sent)
    text = response.get_data(as_text=True)
    return Answer(response.status_code, json.loads(text), dict(response.headers), text)


def asked(house: House, client: str, scope: str = "system/Observation.rs", **changed: str | None) -> Answer:
    """The answer to a request that is in order but for what is changed."""
    now = house.clock().timestamp()
    return ask(house, smart.form(smart.assertion(client, TOKEN_URL, now), scope, **changed))


def asserted(house: House, client: str, **changed: Any) -> Answer:
    """The answer to a request with an assertion that is changed."""
    return ask(house, smart.form(smart.assertion(client, TOKEN_URL, NOW, **changed), "system/Observation.rs"))


# Discovery


def test_what_is_discovered_is_json_for_anybody_whatever_is_accepted(shared: House) -> None:
    for accept in ("application/json", "application/fhir+json", "text/html", "*/*", ""):
        response = shared.app.test_client().get("/fhir/.well-known/smart-configuration", headers={"Accept": accept})
        assert response.status_code == 200, accept
        assert response.content_type == "application/json"
        told = response.get_json()
    assert told["token_endpoint"] == TOKEN_URL
    assert told["grant_types_supported"] == ["client_credentials"]
    assert told["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    assert set(told["token_endpoint_auth_signing_alg_values_supported"]) == {"RS384", "ES384"}
    assert told["code_challenge_methods_supported"] == ["S256"]
    assert set(told["capabilities"]) == {"client-confidential-asymmetric", "permission-v1", "permission-v2"}
    assert all(isinstance(one, str) for one in told["capabilities"])
    assert not {"issuer", "jwks_uri", "authorization_endpoint"} & told.keys(), "of capabilities that are not offered"


def test_every_scope_that_is_told_is_granted(shared: House) -> None:
    told = shared.app.test_client().get("/fhir/.well-known/smart-configuration").get_json()["scopes_supported"]
    wide = register(shared, "system/*.cruds")
    assert asked(shared, wide, " ".join(told)).json["scope"] == " ".join(told)
    assert {one.type for one in parse(" ".join(told))} == set(MEANT) - {"AuditEvent"}


def test_the_address_is_that_of_the_settings(house: House, tmp_path: Any) -> None:
    settings = Settings(instance=tmp_path, base_url="https://dosing.hospital.example")
    app = create_app(settings, house.services)
    for url in ("http://localhost", "http://attacker.example"):
        told = app.test_client().get("/fhir/.well-known/smart-configuration", base_url=url).get_json()
        assert told["token_endpoint"] == "https://dosing.hospital.example/auth/token"
        (rest,) = json.loads(app.test_client().get("/fhir/metadata", base_url=url).data)["rest"]
        (extension,) = rest["security"]["extension"]
        assert extension["extension"] == [{"url": "token", "valueUri": told["token_endpoint"]}]


def test_the_statement_says_that_it_is_smart() -> None:
    statement: Any = capability_statement("https://x.example/fhir", "https://x.example/auth/token", cors=False)
    security = statement["rest"][0]["security"]
    (coding,) = security["service"][0]["coding"]
    assert coding == {
        "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
        "code": "SMART-on-FHIR",
    }
    assert security["extension"][0]["url"] == "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"


# A token


@pytest.mark.parametrize(("algorithm", "kid", "key"), [("ES384", "ec", smart.EC), ("RS384", "rsa", smart.RSA)])
def test_a_client_gets_a_token(shared: House, client: str, algorithm: str, kid: str, key: Any) -> None:
    answer = asserted(shared, client, header={"alg": algorithm, "kid": kid}, key=key)
    assert answer.status == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert (answer.headers["Cache-Control"], answer.headers["Pragma"]) == ("no-store", "no-cache")
    token = answer.json.pop("access_token")
    assert answer.json == {"token_type": "bearer", "expires_in": 300, "scope": "system/Observation.rs"}
    assert shared.call(token, "GET", "/fhir/Observation?patient=x").status == 200


@pytest.mark.parametrize("url", ["http://localhost", "http://127.0.0.1:8000", "http://localhost:9999"])
def test_the_address_may_be_that_of_this_computer(shared: House, client: str, url: str) -> None:
    """As a server on a port of its own is called in tests."""
    form = smart.form(smart.assertion(client, f"{url}/auth/token", NOW), "system/Observation.rs")
    assert shared.app.test_client().post("/auth/token", data=form, base_url=url).status_code == 200


def test_the_name_of_another_host_is_no_audience_whoever_calls_by_it(shared: House, client: str) -> None:
    form = smart.form(smart.assertion(client, "http://other.example/auth/token", NOW), "system/Observation.rs")
    refused = shared.app.test_client().post("/auth/token", data=form, base_url="http://other.example")
    assert (refused.status_code, refused.get_json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("system/Observation.rs", "system/Observation.rs"),
        ("system/Observation.read", "system/Observation.read"),
        ("system/Observation.write", "system/Observation.write"),
        ("system/Observation.*", "system/Observation.*"),
        ("system/Patient.read system/Observation.c", "system/Patient.read system/Observation.c"),
        ("system/*.rs", "system/Observation.rs system/Patient.rs"),
        ("system/*.read", "system/Observation.rs system/Patient.rs"),
        ("system/Patient.cruds", "system/Patient.rs"),
        ("system/Patient.rs system/Task.rs", "system/Patient.rs"),
    ],
)
def test_what_is_granted_is_told(shared: House, client: str, scope: str, expected: str) -> None:
    assert asked(shared, client, scope).json["scope"] == expected


@pytest.mark.parametrize(
    "scope",
    [
        "system/Task.rs",
        "system/Patient.c",
        "system/Observation.sr",
        "system/Observation.dus",
        "system/Observation.rs?category=laboratory",
        "system/Patient.rs system/Observation.rs?category=laboratory",
        "patient/Observation.rs",
        "user/Observation.rs",
        "openid fhirUser",
        "launch",
        "offline_access system/Patient.rs",
        "nonsense",
        " ",
    ],
)
def test_scopes_that_cannot_be_granted_are_invalid(shared: House, client: str, scope: str) -> None:
    answer = asked(shared, client, scope)
    assert (answer.status, answer.json["error"]) == (400, "invalid_scope")
    assert answer.json["error_description"]
    assert "access_token" not in answer.text


FORMS = [
    ({"grant_type": "not_a_grant_type"}, 400, "unsupported_grant_type"),
    ({"grant_type": "authorization_code"}, 400, "unsupported_grant_type"),
    ({"grant_type": "refresh_token"}, 400, "unsupported_grant_type"),
    ({"grant_type": None}, 400, "invalid_request"),
    ({"grant_type": ""}, 400, "invalid_request"),
    ({"scope": None}, 400, "invalid_request"),
    ({"client_assertion_type": "not_an_assertion_type"}, 401, "invalid_client"),
    ({"client_assertion_type": None}, 400, "invalid_request"),
    ({"client_assertion": None}, 400, "invalid_request"),
    ({"client_assertion": "not.a.jwt"}, 401, "invalid_client"),
    ({"client_assertion": "x" * 10_000}, 401, "invalid_client"),
    ({"client_id": "another"}, 401, "invalid_client"),
]


@pytest.mark.parametrize(("changed", "status", "error"), FORMS)
def test_a_form_that_is_not_in_order_is_refused(
    shared: House, client: str, changed: dict[str, str | None], status: int, error: str
) -> None:
    answer = asked(shared, client, **changed)
    assert (answer.status, answer.json["error"]) == (status, error)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers.get("WWW-Authenticate", "").startswith("Bearer") is (status == 401)
    assert answer.json.keys() == {"error", "error_description"}


def test_all_that_is_missing_is_told_at_once(shared: House) -> None:
    answer = ask(shared, {"grant_type": "client_credentials"})
    assert answer.json["error_description"] == "required: scope, client_assertion_type, client_assertion"


def test_a_parameter_is_given_once(shared: House, client: str) -> None:
    form = smart.form(smart.assertion(client, TOKEN_URL, NOW), "system/Observation.rs")
    for name in form:
        answer = ask(shared, [*form.items(), (name, form[name])])
        assert (answer.status, answer.json["error"]) == (400, "invalid_request"), name
        assert name in answer.json["error_description"]


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "text/plain"])
def test_only_a_form_is_taken(shared: House, client: str, kind: str) -> None:
    body = smart.encoded(smart.form(smart.assertion(client, TOKEN_URL, NOW), "system/Observation.rs"))
    answer = ask(shared, body, Content_Type=kind)
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")


def test_a_token_is_not_asked_for_by_get(shared: House) -> None:
    assert shared.app.test_client().get("/auth/token").status_code == 405


OCTETS = OctKey.import_key(smart.key_set().encode())
#: An assertion that is not accepted: what of it is changed, and the reason that is told.
ASSERTIONS: list[tuple[dict[str, Any], str]] = [
    ({"key": smart.STRANGE}, "signature"),
    ({"header": {"alg": "none"}}, "algorithm"),
    ({"header": {"alg": "HS256"}, "key": OCTETS}, "algorithm"),
    ({"header": {"alg": "HS384"}, "key": OCTETS}, "algorithm"),
    ({"header": {"alg": "RS256", "kid": "rsa"}, "key": smart.RSA}, "algorithm"),
    ({"header": {"alg": "PS384", "kid": "rsa"}, "key": smart.RSA}, "algorithm"),
    ({"header": {"kid": None}}, "no key id"),
    ({"header": {"kid": "other"}}, "unknown key"),
    ({"header": {"kid": "rsa"}}, "unfit key"),
    ({"header": {"typ": "at+jwt"}}, "type"),
    ({"header": {"jku": "https://elsewhere.example/jwks.json"}}, "other key address"),
    ({"claims": {"iss": None}}, "unknown issuer"),
    ({"claims": {"iss": "0" * 20}}, "unknown issuer"),
    ({"claims": {"iss": "0" * 20, "sub": "0" * 20}}, "unknown issuer"),
    ({"claims": {"iss": "\ud800"}}, "unknown issuer"),
    ({"claims": {"sub": None}}, "wrong subject"),
    ({"claims": {"sub": "0" * 20}}, "wrong subject"),
    ({"claims": {"aud": None}}, "wrong audience"),
    ({"claims": {"aud": "http://127.0.0.1:8000/fhir"}}, "wrong audience"),
    ({"claims": {"aud": "https://other.example/auth/token"}}, "wrong audience"),
    ({"claims": {"aud": [TOKEN_URL, "https://other.example"]}}, "wrong audience"),
    ({"claims": {"exp": None}}, "no exp"),
    ({"claims": {"exp": "soon"}}, "no exp"),
    ({"claims": {"exp": int(NOW) - 61}}, "expired"),
    ({"claims": {"exp": int(NOW) + 361}}, "lives too long"),
    ({"claims": {"iat": int(NOW) - 361}}, "too old"),
    ({"claims": {"nbf": int(NOW) + 61}}, "not yet valid"),
    ({"claims": {"jti": None}}, "no jti"),
    ({"claims": {"jti": ""}}, "no jti"),
    ({"claims": {"jti": "x" * 201}}, "no jti"),
]


@pytest.mark.parametrize(("changed", "reason"), ASSERTIONS, ids=[str(number) for number in range(len(ASSERTIONS))])
def test_an_assertion_that_is_not_in_order_is_refused(
    shared: House, client: str, changed: dict[str, Any], reason: str
) -> None:
    answer = asserted(shared, client, **changed)
    assert (answer.status, answer.json["error"]) == (401, "invalid_client"), answer.text
    assert answer.json["error_description"] == f"The assertion is not accepted: {reason}."


@pytest.mark.parametrize(
    "claims",
    [{"exp": int(NOW) - 59}, {"exp": int(NOW) + 360}, {"aud": [TOKEN_URL]}, {"iat": int(NOW)}, {"jti": "\ud800"}],
    ids=["within the leeway", "at the limit", "one in a list", "with iat", "half a character"],
)
def test_one_at_the_limit_is_accepted(shared: House, client: str, claims: dict[str, Any]) -> None:
    assert asserted(shared, client, claims=claims).status == 200


def test_an_assertion_is_accepted_once(shared: House, client: str) -> None:
    form = smart.form(smart.assertion(client, TOKEN_URL, NOW), "system/Observation.rs")
    assert ask(shared, form).status == 200
    for served in (shared, shared.with_services()):  # in this process, and in one that remembers nothing
        again = ask(served, form)
        assert (again.status, again.json["error"]) == (401, "invalid_client")
        assert "replayed" in again.json["error_description"]


def test_a_client_of_whom_no_key_can_be_had_is_told_so(shared: House) -> None:
    lost = register(shared)
    with shared.services.store.writing() as session:
        found = session.get(clients.ApiClient, lost)
        assert found is not None
        session.change(clients.replace(found, jwks="damaged"))
    answer = asserted(shared, lost)
    assert answer.json["error_description"] == "The assertion is not accepted: keys unavailable."


def test_no_more_are_asked_for_from_an_address_than_logins(house: House, tmp_path: Any) -> None:
    settings = Settings(instance=tmp_path, logins_per_minute=3, workers=1)
    few = House(house.services, house.clock, create_app(settings, house.services), "", "", {}, house.ids)
    client = register(few)
    assert [asked(few, client).status for _ in range(4)] == [200, 200, 200, 429]
    refused = asked(few, client)
    assert (refused.json["error"], refused.headers["Content-Type"]) == ("temporarily_unavailable", "application/json")
    assert 0 < int(refused.headers["Retry-After"]) <= 61
    few.clock.on(minutes=1)
    assert asked(few, client).status == 200


def test_the_trail_has_each_and_no_secret(shared: House, client: str) -> None:
    before = len(shared.trail())
    token = smart.assertion(client, TOKEN_URL, NOW)
    issued = ask(shared, smart.form(token, "system/Observation.rs")).json["access_token"]
    asked(shared, client, "openid")
    ask(shared, smart.form(token, "system/Observation.rs"))
    asked(shared, client, client_id="another")
    rows = shared.trail()[before:]
    assert [(row.action, row.subject, json.loads(row.detail).get("error")) for row in rows] == [
        ("grant-token", f"client/{client}", None),
        ("refuse-token", f"client/{client}", "invalid_scope"),
        ("refuse-token", f"client/{client}", "invalid_client"),
        ("refuse-token", f"client/{client}", "invalid_client"),
    ]
    for row in rows:
        assert issued not in row.detail
        assert not any(len(part) > 20 and part in row.detail for part in token.split("."))


def test_who_has_proved_nothing_leaves_no_entry(shared: House, client: str) -> None:
    """Or anyone could make the trail grow without end."""
    before = len(shared.trail())
    with capture_logs() as logs:
        statuses = [
            ask(shared, {}).status,
            ask(shared, "nonsense").status,
            ask(shared, "{}", Content_Type="x/y").status,
        ]
        statuses += [asked(shared, client, **changed).status for changed in ({"grant_type": "x"}, {"scope": None})]
        statuses += [asserted(shared, client, **changed).status for changed, _ in ASSERTIONS]
    assert len(shared.trail()) == before
    assert set(statuses) == {400, 401}
    told = [line for line in logs if line["event"] == "assertion-refused"]
    assert len(told) == len(statuses)
    assert {line["address"] for line in told} == {"127.0.0.1"}
    assert {reason for _, reason in ASSERTIONS} <= {line["why"] for line in told}


def test_what_is_done_with_a_token_names_it(house: House) -> None:
    client, patient = register(house), house.patient()
    secret = asked(house, client, "system/Patient.rs").json["access_token"]
    assert house.call(secret, "GET", f"/fhir/Patient/{patient}").status == 200
    row = house.trail(patient)[-1]
    (issued,) = (json.loads(one.detail)["token"] for one in house.trail() if one.action == "grant-token")
    assert (row.account_id, json.loads(row.detail)["with_token"]) == (house.ids["ehr"], issued)


# What a token lets its client do over FHIR


def can(house: House, scopes: str, method: str, path: str, body: object = None, **headers: str) -> Answer:
    return send(house, method, path, body, house.scoped(*scopes.split()), **headers)


def is_beyond(answer: Answer, scope: str) -> bool:
    """Whether a request was refused for want of a scope, in the way of the door."""
    (issue,) = answer.json["issue"]
    coded = issue["details"]["coding"][0]["code"]
    told = f'Bearer realm="titrator", error="insufficient_scope", scope="{scope}"'
    return (answer.status, issue["code"], coded, answer.headers.get("WWW-Authenticate")) == (
        403,
        "forbidden",
        "INSUFFICIENT-SCOPE",
        told,
    )


@pytest.fixture(scope="module")
def patient(shared: House) -> str:
    return shared.on_course()


INTERACTIONS = [
    ("GET", "/Observation?patient={patient}", None, "system/Observation.s"),
    ("POST", "/Observation/_search?patient={patient}", None, "system/Observation.s"),
    ("GET", "/Observation?patient={patient}&_summary=count", None, "system/Observation.s"),
    ("GET", "/Observation/{fact}", None, "system/Observation.r"),
    ("GET", "/Observation/{fact}/_history/1", None, "system/Observation.r"),
    ("GET", "/Patient/{patient}", None, "system/Patient.r"),
    ("GET", "/Provenance?patient={patient}", None, "system/Provenance.s"),
    ("GET", "/GuidanceResponse/{patient}-next", None, "system/GuidanceResponse.r"),
    ("POST", "/Observation", platelets, "system/Observation.c"),
    (
        "GET",
        "/PlanDefinition/us-itp-adult/$apply?subject={patient}",
        None,
        "system/PlanDefinition.r system/GuidanceResponse.r system/MedicationRequest.r",
    ),
]


@pytest.mark.parametrize(("method", "path", "make", "scope"), INTERACTIONS, ids=[one[1] for one in INTERACTIONS])
def test_each_interaction_needs_its_letter(
    shared: House, patient: str, method: str, path: str, make: Any, scope: str
) -> None:
    fact = shared.record(patient, "platelet-counts", {"collected_on": "2026-03-01", "value": 50, "unit": "10*9/L"}).json
    where = path.format(patient=patient, fact=f"{patient}-{fact['id']}")
    body = None if make is None else make(patient, 3)
    assert can(shared, scope, method, where, body).status in (200, 201)
    assert can(shared, "system/*.cruds", method, where, body).status in (200, 201)
    of = scope.split()[0].removeprefix("system/").partition(".")[0]
    letters = {one.rpartition(".")[2] for one in scope.split()}
    others = "".join(letter for letter in "cruds" if letter not in letters)
    for less in (f"system/{of}.{others}", f"system/*.{others}", "system/Encounter.cruds"):
        assert is_beyond(can(shared, less, method, where, body), scope), less
    for one in scope.split() if " " in scope else ():
        rest = " ".join(other for other in scope.split() if other != one)
        assert is_beyond(can(shared, rest, method, where, body), scope), rest


def test_a_condition_is_a_search(shared: House, patient: str) -> None:
    """What is found by a condition tells what is there, and an update may create what is not."""
    fresh = platelets(patient, 5, **known_as("smart-1"))
    unless = {"If_None_Exist": "identifier=urn:lab|smart-1"}
    assert is_beyond(
        can(shared, "system/Observation.cru", "POST", "/Observation", fresh, **unless), "system/Observation.s"
    )
    assert can(shared, "system/Observation.cs", "POST", "/Observation", fresh, **unless).status == 201
    assert can(shared, "system/Observation.cs", "POST", "/Observation", fresh, **unless).status == 200
    by = "/Observation?identifier=urn:lab|smart-1"
    needed = "system/Observation.u system/Observation.s"
    assert is_beyond(can(shared, "system/Observation.cru", "PUT", by, fresh), needed)
    assert is_beyond(can(shared, "system/Observation.crs", "PUT", by, fresh), needed)
    assert can(shared, "system/Observation.us", "PUT", by, fresh).status == 200


def test_what_may_not_be_read_is_not_told_when_it_is_written(shared: House, patient: str) -> None:
    made = can(shared, "system/Observation.c", "POST", "/Observation", platelets(patient, 6))
    assert (made.status, made.text) == (201, "")
    ident = made.headers["Location"].split("/")[-3]
    retracted = {"resourceType": "Observation", "id": ident, "status": "entered-in-error", "subject": subject(patient)}
    ended = can(shared, "system/Observation.u", "PUT", f"/Observation/{ident}", retracted)
    assert (ended.status, ended.text) == (200, ""), "it would tell the value"
    told = can(shared, "system/Observation.ru", "PUT", f"/Observation/{ident}", retracted)
    assert told.json["valueQuantity"]["value"] == 60


def test_each_entry_of_a_bundle_needs_its_own(shared: House, patient: str) -> None:
    entries = [entry(platelets(patient, 7)), entry(happened(patient, 7))]
    answer = can(shared, "system/Observation.c", "POST", "/", bundle("batch", *entries))
    assert [one["response"]["status"] for one in answer.json["entry"]] == ["201 Created", "403 Forbidden"]
    before = shared.everything()
    refused = can(shared, "system/Observation.c", "POST", "/", bundle("transaction", *entries))
    assert refused.status == 403
    assert refused.json["issue"][0]["expression"] == ["Bundle.entry[1]"]
    assert is_beyond(refused, "system/AdverseEvent.c")
    assert shared.everything()["facts"] == before["facts"]
    both = "system/Observation.c system/AdverseEvent.c"
    assert can(shared, both, "POST", "/", bundle("transaction", *entries)).status == 200


def test_conditions_within_a_bundle_are_searches_too(shared: House, patient: str) -> None:
    fresh = platelets(patient, 9, **known_as("smart-2"))
    unless = entry(fresh)
    unless["request"]["ifNoneExist"] = "identifier=urn:lab|smart-2"
    update = entry(fresh, "PUT", "Observation?identifier=urn:lab|smart-2")
    number = {"system": "urn:mrn", "value": "smart-3"}
    assert send(shared, "POST", "/Patient", person(number="smart-3", **managing(shared)), "pharmacist").status == 201
    of_whom = {**platelets(patient, 10), "subject": {"reference": f"Patient?identifier={number['system']}|smart-3"}}
    for one, less, enough in (
        (unless, "system/Observation.cru", "system/Observation.cs"),
        (update, "system/Observation.cru", "system/Observation.us"),
        (entry(of_whom), "system/Observation.cruds", "system/Observation.c system/Patient.s"),
    ):
        for kind in ("batch", "transaction"):
            refused = can(shared, less, "POST", "/", bundle(kind, one))
            inner = refused.json["entry"][0]["response"]["status"][:3] if kind == "batch" else str(refused.status)
            assert inner == "403", (kind, one)
        assert can(shared, enough, "POST", "/", bundle("transaction", one)).status == 200


def by_number(value: str, **more: object) -> dict[str, object]:
    return {**platelets("nobody", 12), "subject": {"identifier": {"system": "urn:mrn", "value": value}}, **more}


def test_who_may_not_search_learns_nothing_from_numbers(shared: House, patient: str) -> None:
    """A create that names its patient by a number finds one, whatever else is wrong with it."""
    assert send(shared, "POST", "/Patient", person(number="smart-4", **managing(shared)), "pharmacist").status == 201
    wrong = {"valueQuantity": None}
    for scopes in ("system/Observation.cru", "system/*.cru"):
        for more in ({}, wrong):
            known, unknown = (
                can(shared, scopes, "POST", "/Observation", by_number(value, **more)) for value in ("smart-4", "no-one")
            )
            assert is_beyond(known, "system/Patient.s")
            assert is_beyond(unknown, "system/Patient.s")
    both = platelets(patient, 12)
    both["subject"] = {**both["subject"], "identifier": {"system": "urn:mrn", "value": "smart-4"}}
    assert is_beyond(can(shared, "system/Observation.c", "POST", "/Observation", both), "system/Patient.s")
    enough = "system/Observation.c system/Patient.s"
    assert can(shared, enough, "POST", "/Observation", by_number("smart-4")).status == 201
    assert can(shared, enough, "POST", "/Observation", by_number("no-one")).status == 422
    assert can(shared, enough, "POST", "/Observation", both).status == 422


def test_a_result_by_a_number_is_a_search_of_patients(shared: House) -> None:
    body = {"identifier": {"system": "urn:mrn", "value": "x"}, "platelet_count": count(1)}
    refused = shared.call(shared.scoped("system/Observation.cruds"), "POST", "/results", body)
    assert (refused.status, refused.code) == (403, "INSUFFICIENT-SCOPE")
    enough = shared.scoped("system/Observation.c", "system/Patient.s")
    assert shared.call(enough, "POST", "/results", body).status == 201


@pytest.mark.parametrize(
    ("collection", "kind", "first", "twin"),
    [
        ("doses", "MedicationAdministration", dose(3, note="Held at home."), dose(3)),
        ("weights", "Observation", weight(4, 81, note="Shoes on.", **named("smart-w")), None),
        ("platelet-counts", "Observation", count(4, 61, note="Clots.", **named("smart-p")), None),
    ],
)
def test_a_twin_tells_a_client_that_may_not_read_which_it_is_and_no_more(
    shared: House, collection: str, kind: str, first: dict[str, object], twin: dict[str, object] | None
) -> None:
    patient = shared.on_course()
    made = shared.record(patient, collection, first, "ehr" if twin is None else "pharmacist")
    assert made.status == 201, made.text
    again = first if twin is None else twin
    blind = shared.call(shared.scoped(f"system/{kind}.c"), "POST", f"/patients/{patient}/{collection}", again)
    assert (blind.status, blind.json) == (200, {"id": made.json["id"]})
    assert blind.headers["Location"] == made.headers["Location"]
    seeing = shared.call(shared.scoped(f"system/{kind}.cr"), "POST", f"/patients/{patient}/{collection}", again)
    assert (seeing.status, seeing.json["note"]) == (200, first["note"])


def test_cards_need_the_scopes_of_all_that_they_tell(shared: House) -> None:
    """They tell doses, events and courses, too: without one of these they are refused before anything is read."""
    told = ("GuidanceResponse", "MedicationRequest", "Patient", "Observation", "MedicationAdministration")
    told += ("AdverseEvent", "Procedure", "Condition")
    path = "/cds-services/romiplostim-us-itp-adult-patient-view"
    for lacking in told:
        less = shared.scoped(*(f"system/{one}.r" for one in told if one != lacking))
        assert shared.call(less, "POST", path, {}).status == 403, lacking
    enough = shared.scoped(*(f"system/{one}.r" for one in told))
    assert shared.call(enough, "POST", path, {}).status == 400


def managing(house: House) -> dict[str, object]:
    return {"managingOrganization": {"identifier": {"system": "urn:titrator:clinic", "value": house.clinic}}}


def test_a_bundle_tells_only_what_may_be_read(shared: House, patient: str) -> None:
    entries = [entry(platelets(patient, 11)), entry(weighed(patient, 11))]
    whole = {"Prefer": "return=representation"}
    for kind in ("batch", "transaction"):
        blind = can(shared, "system/Observation.c", "POST", "/", bundle(kind, *entries), **whole)
        seeing = can(shared, "system/Observation.cr", "POST", "/", bundle(kind, *entries), **whole)
        assert ["resource" in one for one in blind.json["entry"]] == [False, False]
        assert ["resource" in one for one in seeing.json["entry"]] == [True, True]


def test_scopes_never_add_to_the_role(shared: House, patient: str) -> None:
    """A system neither signs nor reads the trail, and sees its clinics only, whatever it was granted."""
    everything = shared.scoped("system/*.cruds")
    assert shared.call(everything, "GET", "/audit").code == "FORBIDDEN"
    assert shared.call(everything, "GET", "/fhir/AuditEvent").status == 403
    assert shared.call(everything, "POST", f"/patients/{patient}/decisions", {}).code == "FORBIDDEN"
    theirs = shared.patient("stranger")
    assert shared.call(everything, "GET", f"/fhir/Patient/{theirs}").status == 404


def test_tokens_of_ours_are_as_before(shared: House, patient: str) -> None:
    for who in ("ehr", "pharmacist"):
        assert shared.call(who, "GET", f"/fhir/Observation?patient={patient}").status == 200
        assert shared.call(who, "GET", "/me").status == 200


def test_a_refusal_for_want_of_a_scope_stands_in_the_trail(house: House) -> None:
    patient = house.patient()
    can(house, "system/Patient.s", "GET", f"/Patient/{patient}")
    row = house.trail()[-1]
    assert (row.action, row.subject) == ("denied", f"/fhir/Patient/{patient}")
    assert json.loads(row.detail)["code"] == "INSUFFICIENT-SCOPE"
