"""SMART Backend Services over HTTP: a real server of two processes, keys at a real address, a client by others.

The steps are those by which the public test kit judges a server, in our words; the client is that of requests-oauthlib,
and fhirpy goes on with the token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import fhirpy
import httpx
import pytest
from fhirpy.base.exceptions import ForbiddenError
from joserfc.jwk import ECKey
from oauthlib.oauth2 import BackendApplicationClient
from requests_oauthlib import OAuth2Session

from tests.api.live import Server, server
from tests.fhir import smart
from tests.notify.servers import Answer, Receiver
from tests.notify.servers import receiver as receiving
from titrator.store.records import Account
from titrator.workflow import clients
from titrator.workflow.visit import Visit, leave

__all__ = ["server"]

SCOPES: Final = "system/Patient.rs system/Observation.rs"


class At:
    """What a client knows of the server: its address, and what it discovers there."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.url = str(server.clients["ehr"].base_url).removesuffix("/api/v1/")
        self.fhir = f"{self.url}/fhir"
        self.http = httpx.Client(trust_env=False, timeout=60)
        found = self.http.get(f"{self.fhir}/.well-known/smart-configuration", headers={"Accept": "application/json"})
        assert (found.status_code, found.headers["content-type"]) == (200, "application/json")
        self.told = found.json()
        self.token_url = self.told["token_endpoint"]

    def now(self) -> float:
        return self.server.services.clock().timestamp()

    def register(self, scopes: str = SCOPES, **keys: str) -> str:
        """The client_id of a new client of the account of a system."""
        services = self.server.services
        with services.store.writing() as session:
            visit = Visit(services=services, session=session, actor=None, now=services.clock())
            (account,) = [one for one in session.find(Account) if one.role == "ehr"]
            made = clients.add_client(visit, account.id, label="live", scopes=scopes, **keys)  # type: ignore[arg-type]
            leave(visit, session, visit.entries)
        return made.id

    def assertion(self, client: str, **changed: Any) -> str:
        return smart.assertion(client, self.token_url, self.now(), **changed)

    def ask(self, client: str, scope: str = SCOPES, *, told: dict[str, Any] | None = None, **changed: Any) -> Any:
        """The answer to a request for a token; keywords change the form, `told` the assertion."""
        form = smart.form(self.assertion(client, **(told or {})), scope, **changed)
        headers = {"Content-Type": smart.FORM, "Accept": "application/json"}
        return self.http.post(self.token_url, content=smart.encoded(form), headers=headers)

    def get(self, token: str, path: str) -> Any:
        return self.http.get(f"{self.fhir}/{path}", headers={"Authorization": f"Bearer {token}"})


@pytest.fixture(scope="module")
def at(server: Server) -> Iterator[At]:
    made = At(server)
    yield made
    made.http.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A server of keys."""
    with receiving() as made:
        yield made


@pytest.fixture(scope="module")
def client(at: At) -> str:
    return at.register(jwks=smart.key_set())


@pytest.fixture(scope="module")
def patient(server: Server) -> str:
    return str(server.ask("ehr", "GET", "patients?limit=1").json()["items"][0]["id"])


def test_what_is_discovered_is_absolute_and_complete(at: At) -> None:
    assert at.token_url == f"{at.url}/auth/token"
    for name in ("token_endpoint", "grant_types_supported", "capabilities", "code_challenge_methods_supported"):
        assert at.told[name], name
    assert "client_credentials" in at.told["grant_types_supported"]
    assert "S256" in at.told["code_challenge_methods_supported"]
    assert "plain" not in at.told["code_challenge_methods_supported"]
    assert at.told.get("issuer") is None, "it is for who signs people on"


def test_the_steps_of_the_kit_in_its_order(at: At, client: str, patient: str) -> None:
    """Invalid grant type, invalid assertion type, invalid JWT, then a token, its body, and its use."""
    assert at.ask(client, grant_type="not_a_grant_type").status_code == 400
    assert at.ask(client, client_assertion_type="not_an_assertion_type").status_code in (400, 401)
    for told in ({"key": smart.STRANGE}, {"claims": {"iss": "not_the_iss"}}, {"claims": {"aud": "not_the_aud"}}):
        assert at.ask(client, told=told).status_code in (400, 401)
    for algorithm, kid, key in (("ES384", "ec", smart.EC), ("RS384", "rsa", smart.RSA)):
        answer = at.ask(client, told={"header": {"alg": algorithm, "kid": kid}, "key": key})
        assert answer.status_code in (200, 201)
        assert "no-store" in answer.headers["cache-control"]
        assert "no-cache" in answer.headers["pragma"]
        body = answer.json()
        assert body["access_token"]
        assert body["token_type"].lower() == "bearer"
        assert isinstance(body["expires_in"], int)
        assert set(body["scope"].split()) <= set(SCOPES.split())
        assert "refresh_token" not in body
        found = at.get(body["access_token"], f"Patient/{patient}")
        assert (found.status_code, found.json()["id"]) == (200, patient)
        refused = at.get(body["access_token"], f"Task?patient={patient}")
        assert (refused.status_code, refused.json()["resourceType"]) == (403, "OperationOutcome")
        assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
    assert at.get("titr_" + "x" * 43, f"Patient/{patient}").status_code == 401


def test_a_token_of_a_client_holds_over_rest_and_cds_hooks_as_far_as_its_scopes(at: At, client: str) -> None:
    token = {"Authorization": f"Bearer {at.ask(client).json()['access_token']}"}
    statuses = {
        path: at.http.get(f"{at.url}{path}", headers=token).status_code
        for path in ("/api/v1/patients", "/api/v1/worklist", "/api/v1/me", "/api/v1/protocols", "/cds-services")
    }
    assert list(statuses.values()) == [200, 403, 403, 403, 403], statuses
    seeing = at.register("system/PlanDefinition.s", jwks=smart.key_set())
    token = {"Authorization": f"Bearer {at.ask(seeing, 'system/PlanDefinition.s').json()['access_token']}"}
    services = at.http.get(f"{at.url}/cds-services", headers=token).json()["services"]
    assert services
    for service in services:
        assert all(isinstance(service[name], str) and service[name] for name in ("hook", "description", "id"))


def test_an_assertion_is_taken_once_by_all_processes(at: At, client: str) -> None:
    """Many at once, on connections of their own: whichever process they reach, one of them gets the token."""
    content = smart.encoded(smart.form(at.assertion(client), SCOPES))
    headers = {"Content-Type": smart.FORM, "Connection": "close"}
    statuses = sorted(
        httpx.post(at.token_url, content=content, headers=headers, trust_env=False, timeout=60).status_code
        for _ in range(12)
    )
    assert statuses == [200, *[401] * 11]


def test_a_revoked_client_is_out_at_once_at_all_processes(at: At, patient: str) -> None:
    client = at.register(jwks=smart.key_set())
    token = at.ask(client).json()["access_token"]
    assert at.get(token, f"Patient/{patient}").status_code == 200
    services = at.server.services
    with services.store.writing() as session:
        clients.revoke_client(Visit(services=services, session=session, actor=None, now=services.clock()), client)
    headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
    for _ in range(8):
        answer = httpx.get(f"{at.fhir}/Patient/{patient}", headers=headers, trust_env=False, timeout=60)
        assert answer.status_code == 401
    assert at.ask(client).json()["error"] == "invalid_client"


# Keys at an address


def serve(receiver: Receiver, keys: str, cache_control: str) -> None:
    receiver.answer = lambda asked: _give(asked, keys, cache_control)


def _give(asked: Answer, keys: str, cache_control: str) -> None:
    asked.give(200, keys.encode(), Content_Type="application/json", Cache_Control=cache_control)


def test_keys_at_an_address_are_fetched_and_kept_as_it_says(at: At, receiver: Receiver) -> None:
    """The header says how long they hold; each process fetches once."""
    serve(receiver, smart.key_set(), "max-age=600")
    client = at.register(jwks_url=receiver.url)
    assert [at.ask(client).status_code for _ in range(6)] == [200] * 6
    assert 1 <= len(receiver.seen) <= 2, "once for each process at the most"
    assert all(asked.headers["accept"] == "application/json" for asked in receiver.seen)
    assert not any("authorization" in asked.headers for asked in receiver.seen)
    said = {"header": {"jku": receiver.url}}
    assert at.ask(client, told=said).status_code == 200
    elsewhere = {"header": {"jku": f"{receiver.url}/other"}}
    assert at.ask(client, told=elsewhere).json()["error"] == "invalid_client"


def test_a_key_that_the_address_does_not_have_is_not_accepted(at: At, receiver: Receiver) -> None:
    other = ECKey.generate_key("P-384")
    serve(receiver, json.dumps({"keys": [{**other.as_dict(private=False), "kid": "other"}]}), "no-store")
    client = at.register(jwks_url=receiver.url)
    assert at.ask(client).json()["error_description"] == "The assertion is not accepted: unknown key."
    right = {"header": {"kid": "other"}, "key": other}
    assert at.ask(client, told=right).status_code == 200


@pytest.mark.parametrize(("status", "body"), [(500, b""), (200, b"<html>"), (200, b"{}"), (302, b"")])
def test_an_address_without_keys_lets_nobody_in(at: At, receiver: Receiver, status: int, body: bytes) -> None:
    receiver.answer = lambda asked: asked.give(status, body)
    client = at.register(jwks_url=receiver.url)
    answer = at.ask(client)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


# Clients that others wrote


def test_requests_oauthlib_gets_a_token_and_searches(
    at: At, client: str, patient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")  # it speaks http to nobody, this computer neither
    session = OAuth2Session(client=BackendApplicationClient(client, scope=SCOPES))
    session.trust_env = False
    token = session.fetch_token(
        at.token_url,
        include_client_id=True,
        client_assertion_type=smart.BY_ASSERTION,
        client_assertion=at.assertion(client),
    )
    assert set(token["scope"]) == set(SCOPES.split())
    assert token["expires_in"] == 300
    found = session.get(f"{at.fhir}/Observation?patient={patient}&code=777-3").json()
    assert (found["type"], found["total"] > 0) == ("searchset", True)
    assert session.get(f"{at.fhir}/Task?patient={patient}").status_code == 403


def test_fhirpy_goes_on_with_the_token(at: At, client: str, patient: str) -> None:
    token = at.ask(client, "system/Observation.read system/Patient.read").json()
    assert token["scope"] == "system/Observation.read system/Patient.read"
    sync = fhirpy.SyncFHIRClient(at.fhir, authorization=f"Bearer {token['access_token']}")
    found = sync.resources("Observation").search(patient=patient).fetch_all()
    assert found
    assert sync.reference("Patient", patient).to_resource()["id"] == patient
    with pytest.raises(ForbiddenError):
        sync.resource("Observation", status="final").save()
