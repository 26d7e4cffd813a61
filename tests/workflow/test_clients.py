"""Clients: registered with what is sound, granted no more than that, once an assertion, and ended at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from tests.api.support import House, build
from tests.backends import another
from titrator.security.secrets import sha256
from titrator.store.records import ApiClient, Token, UsedAssertion
from titrator.workflow import accounts, clients
from titrator.workflow.accounts import Issued, authenticate
from titrator.workflow.clients import Denied
from titrator.workflow.errors import Conflict, Invalid, Unauthorised, Unknown
from titrator.workflow.housekeeping import keep_house
from titrator.workflow.visit import Services, Visit, instant, leave

EC = ECKey.generate_key("P-384")
URL = "https://ehr.example/jwks.json"


def key_set(*keys: dict[str, Any]) -> str:
    return json.dumps({"keys": keys})


KEYS = key_set({**EC.as_dict(private=False), "kid": "ec"})


@pytest.fixture
def house(tmp_path: Path) -> House:
    return build(tmp_path)


def registered(house: House, *scopes: str, who: str = "ehr", **keys: str) -> ApiClient:
    with house.visit() as visit:
        return clients.add_client(
            visit, house.ids[who], label="engine", scopes=" ".join(scopes), **(keys or {"jwks_url": URL})
        )


def asks(house: House, client: ApiClient, scopes: str, ident: str = "one", services: Services | None = None) -> Any:
    """What a client is told that has proved itself."""
    served = services or house.services
    ends = (house.clock() + timedelta(minutes=6)).timestamp()
    with served.store.writing() as session:
        visit = Visit(services=served, session=session, actor=None, now=house.clock())
        found = clients.grant(visit, client.id, sha256(ident), ends, scopes)
        leave(visit, session, visit.entries)
    return found


def let_in(house: House, issued: Issued) -> bool:
    try:
        authenticate(house.services, issued.secret)
    except Unauthorised:
        return False
    return True


# Registering

UNFIT = [
    ({"label": ""}, {"label"}),
    ({"label": " x"}, {"label"}),
    ({"label": "x" * 201}, {"label"}),
    ({"label": "a\nb"}, {"label"}),
    ({"scopes": ""}, {"scopes"}),
    ({"scopes": "system/Observation.sr"}, {"scopes"}),
    ({"scopes": "system/Observation.rs?code=x"}, {"scopes"}),
    ({"scopes": "patient/Observation.rs"}, {"scopes"}),
    ({"scopes": "system/Encounter.rs"}, {"scopes"}),
    ({"jwks_url": None}, {"jwks"}),
    ({"jwks": KEYS}, {"jwks"}),
    ({"jwks_url": "http://ehr.example/jwks.json"}, {"jwks_url"}),
    ({"jwks_url": "ftp://ehr.example/jwks.json"}, {"jwks_url"}),
    ({"jwks_url": "https://" + "x" * 1000}, {"jwks_url"}),
    ({"jwks_url": None, "label": "", "scopes": "openid"}, {"jwks", "label", "scopes"}),
]


@pytest.mark.parametrize(("changed", "places"), UNFIT)
def test_what_is_unsound_is_refused_with_every_fault(house: House, changed: dict[str, Any], places: set[str]) -> None:
    sound: dict[str, Any] = {"label": "engine", "scopes": "system/Patient.rs", "jwks_url": URL}
    before = house.everything()
    with pytest.raises(Invalid) as caught, house.visit() as visit:
        clients.add_client(visit, house.ids["ehr"], **sound | changed)
    assert {fault.path for fault in caught.value.faults} == places
    assert house.everything() == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "is not JSON"),
        ("[]", "is not JSON, or no object"),
        ("{}", "no list of keys"),
        (key_set(), "no public key"),
        (key_set(EC.as_dict(private=False)), "no public key"),
        (key_set({**EC.as_dict(private=True), "kid": "ec"}), "secret key"),
        (key_set({**OctKey.generate_key(256).as_dict(private=True), "kid": "oct"}), "secret key"),
        (key_set({**ECKey.generate_key("P-256").as_dict(private=False), "kid": "p256"}), "fit for RS384 or ES384"),
        (key_set({**EC.as_dict(private=False), "kid": "ec", "use": "enc"}), "no public key"),
        ('{"keys": [{"kid": "\ud800"}]}', ""),
        (" " * 300_000, "longer than"),
    ],
    ids=lambda value: value if len(value) < 40 and "{" not in value else "keys",
)
def test_keys_that_are_of_no_use_are_refused(house: House, text: str, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        registered(house, "system/Patient.rs", jwks=text)
    (fault,) = caught.value.faults
    assert fault.path == "jwks"
    assert said in fault.message


def test_both_kinds_of_keys_are_taken(house: House) -> None:
    rsa = {**RSAKey.generate_key(2048).as_dict(private=False), "kid": "rsa"}
    for keys in (KEYS, key_set(rsa), key_set(rsa, {"kty": "OKP", "kid": "other"})):
        assert registered(house, "system/Patient.read", jwks=keys).scopes == ("system/Patient.rs",)
    assert registered(house, "system/Patient.rs", jwks_url="http://127.0.0.1:9/keys").jwks is None


@pytest.mark.parametrize("who", ["pharmacist", "admin", "auditor"])
def test_only_a_system_has_clients(house: House, who: str) -> None:
    """People sign in; a token of a client that may sign off would be nobody's signature."""
    with pytest.raises(Conflict):
        registered(house, "system/*.cruds", who=who)
    with house.visit() as visit, pytest.raises(Unknown):
        clients.add_client(visit, "0" * 20, label="x", scopes="system/Patient.rs", jwks_url=URL)


# Granting


def test_a_client_is_granted_what_it_asks_for_of_what_is_registered(house: House) -> None:
    client = registered(house, "system/Observation.cu", "system/Patient.rs")
    issued = asks(house, client, "system/Observation.cruds system/Task.rs")
    assert issued.token.scopes == ("system/Observation.cu",)
    assert (issued.token.kind, issued.token.client_id) == ("access", client.id)
    actor = authenticate(house.services, issued.secret)
    assert actor.scopes == {"Observation.c", "Observation.u"}
    assert actor.account_id == house.ids["ehr"]
    house.clock.on(seconds=299)
    assert let_in(house, issued)
    house.clock.on(seconds=1)
    assert not let_in(house, issued)


def test_only_the_hash_of_a_token_is_kept(house: House) -> None:
    issued = asks(house, registered(house, "system/Patient.rs"), "system/Patient.rs")
    assert issued.secret not in repr(house.everything())
    assert issued.secret not in repr(house.trail())
    assert sha256(issued.secret) == issued.token.sha256


def test_an_assertion_is_used_once_by_any_process(house: House, tmp_path: Path) -> None:
    """`SHALL check that the jti value has not been previously encountered for the given iss`"""
    client, other = (registered(house, "system/Patient.rs") for _ in range(2))
    elsewhere = replace(house.services, store=another(house.services.store), known={})
    assert isinstance(asks(house, client, "system/Patient.rs"), Issued)
    for services in (house.services, elsewhere):
        again = asks(house, client, "system/Patient.rs", services=services)
        assert again == Denied("invalid_client", "The assertion is not accepted: replayed.")
    assert isinstance(asks(house, other, "system/Patient.rs", services=elsewhere), Issued), "another iss"
    assert isinstance(asks(house, client, "system/Patient.rs", "two", elsewhere), Issued)
    elsewhere.store.close()


def test_an_assertion_that_got_nothing_is_used_up_too(house: House) -> None:
    client = registered(house, "system/Patient.rs")
    assert asks(house, client, "system/Task.rs").error == "invalid_scope"
    assert asks(house, client, "system/Patient.rs").error == "invalid_client"


def test_ids_of_assertions_and_tokens_that_have_ended_are_removed(house: House, tmp_path: Path) -> None:
    client = registered(house, "system/Patient.rs")
    asks(house, client, "system/Patient.rs")

    def left(after: timedelta) -> tuple[int, int]:
        keep_house(house.services, tmp_path / "seals", house.clock.now + after)
        with house.services.store.reading() as session:
            return session.count(UsedAssertion), len([1 for one in session.find(Token) if one.kind == "access"])

    assert left(timedelta(minutes=5)) == (1, 1), "it could still come again"
    assert left(timedelta(days=1)) == (0, 1)
    assert left(timedelta(days=2)) == (0, 0)


# Ending


def disable(house: House) -> None:
    with house.visit() as visit:
        accounts.change_account(visit, house.ids["ehr"], {"active": False}, None)


def make_a_person(house: House) -> None:
    with house.visit() as visit:
        accounts.change_account(visit, house.ids["ehr"], {"role": "pharmacist"}, None)


def revoke(house: House) -> None:
    with house.visit() as visit:
        for client in clients.clients(visit.session):
            clients.revoke_client(visit, client.id)


@pytest.mark.parametrize("end", [disable, make_a_person, revoke])
def test_what_ends_a_client_ends_its_tokens_at_once(house: House, end: Callable[[House], None]) -> None:
    client = registered(house, "system/Patient.rs")
    issued = asks(house, client, "system/Patient.rs")
    assert let_in(house, issued)
    assert clients.known(house.services, client.id) is not None
    end(house)
    assert not let_in(house, issued)
    assert clients.known(house.services, client.id) is None
    assert asks(house, client, "system/Patient.rs", "two").error == "invalid_client"


@pytest.mark.parametrize(
    ("end", "back"), [(disable, {"active": True}), (make_a_person, {"role": "ehr"})], ids=["closed", "another role"]
)
def test_an_account_that_comes_back_comes_without_its_clients(
    house: House, end: Callable[[House], None], back: dict[str, object]
) -> None:
    client, gone = registered(house, "system/Patient.rs"), registered(house, "system/Task.r")
    with house.visit() as visit:
        clients.revoke_client(visit, gone.id)
    house.clock.on(minutes=1)
    end(house)
    with house.visit() as visit:
        accounts.change_account(visit, house.ids["ehr"], back, None)
        found = {one.id: one.revoked_at for one in clients.clients(visit.session)}
    assert found[client.id] == instant(house.clock())
    assert found[gone.id] is not None
    assert found[gone.id] < found[client.id]
    assert clients.known(house.services, client.id) is None
    assert asks(house, client, "system/Patient.rs").error == "invalid_client"
    assert [row.subject for row in house.trail() if row.action == "revoke-client"] == [
        f"client/{gone.id}",
        f"client/{client.id}",
    ]


def test_only_the_client_that_is_revoked_ends_and_only_once(house: House) -> None:
    mine, other = (registered(house, "system/Patient.rs") for _ in range(2))
    tokens = [asks(house, client, "system/Patient.rs", ident) for client in (mine, other) for ident in ("one", "two")]
    with house.visit() as visit:
        ended = clients.revoke_client(visit, mine.id)
        assert clients.revoke_client(visit, mine.id) == ended
    assert [let_in(house, one) for one in tokens] == [False, False, True, True]
    assert [row.action for row in house.trail()].count("revoke-client") == 1
    with house.visit() as visit, pytest.raises(Unknown):
        clients.revoke_client(visit, "0" * 20)


def test_a_token_of_a_client_is_revoked_alone(house: House) -> None:
    client = registered(house, "system/Patient.rs")
    one, two = (asks(house, client, "system/Patient.rs", ident) for ident in ("one", "two"))
    with house.visit() as visit:
        accounts.revoke_token(visit, house.ids["ehr"], one.token.id)
        assert [token.kind for token in accounts.tokens(visit, house.ids["ehr"])] == ["api"]
    assert (let_in(house, one), let_in(house, two)) == (False, True)


# The trail


def test_the_trail_tells_of_clients_and_of_what_they_got(house: House) -> None:
    client = registered(house, "system/Patient.rs")
    issued = asks(house, client, "system/Patient.rs system/Task.r")
    asks(house, client, "openid", "two")
    rows = house.trail()[-3:]
    assert [(row.action, row.subject) for row in rows] == [
        ("add-client", f"client/{client.id}"),
        ("grant-token", f"client/{client.id}"),
        ("refuse-token", f"client/{client.id}"),
    ]
    told = json.loads(rows[1].detail)
    assert told == {
        "account": house.ids["ehr"],
        "token": issued.token.id,
        "scopes": ["system/Patient.rs"],
        "until": issued.token.expires_at,
    }
    assert json.loads(rows[2].detail)["error"] == "invalid_scope"


@pytest.mark.parametrize("name", ["", "x" * 20, "\ud800" * 20, "0" * 20, "../" * 7, "0" * 19 + "\n"])
def test_a_name_of_no_client_is_nobody(house: House, name: str) -> None:
    assert clients.known(house.services, name) is None
