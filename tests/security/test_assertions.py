"""Assertions, made by the library that other programs use, with keys in a file and on a real server.

Each refusal is of a token that differs in one thing from a token that is accepted.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, get_args

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, RSAKey

from tests.notify.servers import DEADLINE, SOON, Answer, Receiver, dripping_server, receiver, silent_server
from titrator.security.assertions import (
    ALGORITHMS,
    BACKEND_SERVICES,
    CDS_HOOKS,
    Assertions,
    Client,
    NotAccepted,
    Reason,
    Registered,
    Terms,
)

NOW = datetime(2026, 3, 9, 8, tzinfo=UTC)
T = int(NOW.timestamp())
HERE = "https://titrator.example/cds-services"
ISSUER = "https://ehr.example"
PATIENT = 30  # seconds that are waited for a server that answers, on a computer that is busy
EC = ECKey.generate_key("P-384")
EC256 = ECKey.generate_key("P-256")
RSA = RSAKey.generate_key(2048)
STRANGE = ECKey.generate_key("P-384")  # of nobody whom we know
SIGNERS: dict[str, ECKey | RSAKey] = {"ES256": EC256, "ES384": EC, "RS256": RSA, "RS384": RSA}
ALL = [*ALGORITHMS, "RS512", "PS256", "PS384", "HS256", "HS384", "none"]
Change = Callable[[dict[str, Any], dict[str, Any]], object]

HEADER = {"alg": "ES384", "typ": "JWT", "kid": "ec"}
CLAIMS = {"iss": ISSUER, "aud": HERE, "iat": T, "exp": T + 300, "jti": "one"}


def public(key: ECKey | RSAKey, kid: str, **more: object) -> dict[str, object]:
    return {**key.as_dict(private=False), "kid": kid, **more}


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


KEYS = [public(EC, "ec"), public(EC256, "ec256"), public(RSA, "rsa")]


def coded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def sealed(header: str, claims: str, key: ECKey | RSAKey | OctKey, algorithm: str = "ES384") -> str:
    """A token of these texts, whatever they are, signed as the algorithm has it."""
    signed = f"{coded(header.encode())}.{coded(claims.encode())}"
    return f"{signed}.{coded(jws.JWSRegistry.algorithms[algorithm].sign(signed.encode(), key))}"


def token(change: Change = lambda header, claims: None, key: ECKey | RSAKey = EC, algorithm: str = "ES384") -> str:
    """A token with header and claims as usual but for the change."""
    header, claims = dict(HEADER), dict(CLAIMS)
    change(header, claims)
    return sealed(json.dumps(header), json.dumps(claims), key, algorithm)


def claiming(**claims: object) -> str:
    """A token with these claims in place of the usual ones; None leaves one out."""

    def change(_: dict[str, Any], usual: dict[str, Any]) -> None:
        usual |= claims
        for name in [name for name, value in usual.items() if value is None]:
            del usual[name]

    return token(change)


def headed(**members: object) -> str:
    """A token with these members of its header in place of the usual ones; None leaves one out."""

    def change(usual: dict[str, Any], _: dict[str, Any]) -> None:
        usual |= members
        for name in [name for name, value in usual.items() if value is None]:
            del usual[name]

    return token(change)


def refusal(assertions: Assertions, said: str, now: datetime = NOW, audience: Any = HERE) -> NotAccepted:
    with pytest.raises(NotAccepted) as caught:
        assertions.verify(said, audience, now)
    error = caught.value
    assert error.reason in get_args(Reason)
    for part in said.split("."):
        assert len(part) < 10 or part not in f"{error} {error!r} {error.detail} {error.__cause__} {error.__context__}"
    return error


def later(**spans: float) -> datetime:
    return NOW + timedelta(**spans)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "keys.json"
    made.write_bytes(key_set(*KEYS))
    return made


@pytest.fixture
def client(file: Path) -> Client:
    return Client(ISSUER, "ehr", jwks_file=file)


@pytest.fixture
def assertions(client: Client) -> Assertions:
    return Assertions([client])


# What is accepted


def test_a_token_as_the_library_makes_it_tells_the_client(client: Client, assertions: Assertions) -> None:
    made = jws.serialize_compact(HEADER, json.dumps(CLAIMS), EC, algorithms=["ES384"])
    assert assertions.verify(made, HERE, NOW) is client


@pytest.mark.parametrize(
    ("algorithm", "kid"), [("ES256", "ec256"), ("ES384", "ec"), ("RS256", "rsa"), ("RS384", "rsa")]
)
def test_each_algorithm_is_accepted(client: Client, assertions: Assertions, algorithm: str, kid: str) -> None:
    made = token(lambda header, _: header.update(alg=algorithm, kid=kid), SIGNERS[algorithm], algorithm)
    assert assertions.verify(made, HERE, NOW) is client


USUAL = {
    "no typ": headed(typ=None),
    "members that say nothing to us": headed(x5t="abc", other={"a": 1}),
    "long header": headed(x5c=["A" * 3000]),
    "jku, where the keys are a file": headed(jku="https://ehr.example/keys"),
    "aud in a list": claiming(aud=[HERE]),
    "more claims": claiming(sub="somebody", tenant="a"),
    "part of a second": claiming(exp=T + 0.5),
    "long jti": claiming(jti="j" * 200),
    "letters in jti": claiming(jti="ü"),
}


@pytest.mark.parametrize("said", USUAL.values(), ids=USUAL)
def test_what_may_differ(client: Client, assertions: Assertions, said: str) -> None:
    assert assertions.verify(said, HERE, NOW) is client


def test_several_addresses_may_be_meant(client: Client, assertions: Assertions) -> None:
    assert assertions.verify(token(), {HERE, "https://other.example"}, NOW) is client
    assert refusal(assertions, claiming(jti="two"), audience=["https://other.example"]).reason == "wrong audience"
    assert refusal(assertions, claiming(aud="cds-services")).reason == "wrong audience"


def test_each_client_is_told_by_its_issuer_and_its_own_keys(tmp_path: Path, client: Client) -> None:
    (tmp_path / "other.json").write_bytes(key_set(public(STRANGE, "ec")))
    other = Client("other", "lab", jwks_file=tmp_path / "other.json")
    both = Assertions([client, other])
    assert both.verify(token(), HERE, NOW) is client
    assert both.verify(token(lambda _, claims: claims.update(iss="other"), STRANGE), HERE, NOW) is other
    assert refusal(both, claiming(iss="other", jti="two")).reason == "signature"


# What is refused

HEAD, BODY, SIGNATURE = token().split(".")
_, BODY_TWO, SIGNATURE_TWO = claiming(jti="two").split(".")
UNUSUAL: list[tuple[str, str, Reason]] = [
    ("empty", "", "not a JWT"),
    ("two parts", f"{HEAD}.{BODY}", "not a JWT"),
    ("four parts", token() + ".x", "not a JWT"),
    ("padded", token() + "=", "signature"),
    ("header padded", token().replace(".", "=.", 1), "not a JWT"),
    ("no base64", "ü" + token()[1:], "not a JWT"),
    ("not as base64url has it", "+" + token()[1:], "not a JWT"),
    ("header is no object", sealed('["alg"]', json.dumps(CLAIMS), EC), "not a JWT"),
    ("claims are no object", sealed(json.dumps(HEADER), "[]", EC), "not a JWT"),
    ("claims are no JSON", sealed(json.dumps(HEADER), "{", EC), "not a JWT"),
    ("claims nested too deeply", sealed(json.dumps(HEADER), "[" * 5000, EC), "not a JWT"),
    ("no number", sealed(json.dumps(HEADER), json.dumps(CLAIMS | {"exp": float("inf")}), EC), "not a JWT"),
    ("a claim twice", sealed(json.dumps(HEADER), json.dumps(CLAIMS)[:-1] + ', "iss": "x"}', EC), "not a JWT"),
    ("a member twice", sealed(json.dumps(HEADER)[:-1] + ', "kid": "ec"}', json.dumps(CLAIMS), EC), "not a JWT"),
    ("jwk is none", headed(jwk=7), "not a JWT"),
    ("typ", headed(typ="at+jwt"), "type"),
    ("typ number", headed(typ=0), "type"),
    ("crit", headed(crit=["b64"], b64=True), "critical header"),
    ("crit unknown", headed(crit=["x"], x=1), "critical header"),
    ("crit empty", headed(crit=[]), "critical header"),
    ("b64", headed(b64=False), "not a JWT"),
    ("no alg", headed(alg=None), "algorithm"),
    ("no kid", headed(kid=None), "no key id"),
    ("kid number", headed(kid=7), "no key id"),
    ("no iss", claiming(iss=None), "unknown issuer"),
    ("iss list", claiming(iss=[ISSUER]), "unknown issuer"),
    ("iss other", claiming(iss=ISSUER + "/"), "unknown issuer"),
    ("no aud", claiming(aud=None), "wrong audience"),
    ("aud other", claiming(aud=HERE + "/"), "wrong audience"),
    ("aud two", claiming(aud=[HERE, HERE]), "wrong audience"),
    ("aud none", claiming(aud=[]), "wrong audience"),
    ("aud deep", claiming(aud=[[HERE]]), "wrong audience"),
    ("no exp", claiming(exp=None), "no exp"),
    ("exp text", claiming(exp=str(T + 300)), "no exp"),
    ("exp true", claiming(exp=True), "no exp"),
    ("exp huge", claiming(exp=10**400), "no exp"),
    ("exp negative", claiming(exp=-1), "no exp"),
    ("exp past", claiming(iat=T - 300, exp=T - 60), "expired"),
    ("exp far", claiming(exp=T + 3661), "lives too long"),
    ("no iat", claiming(iat=None), "no iat"),
    ("iat text", claiming(iat=str(T)), "no iat"),
    ("iat ahead", claiming(iat=T + 61), "not yet issued"),
    ("iat old", claiming(iat=T - 3661, exp=T), "too old"),
    ("nbf ahead", claiming(nbf=T + 61), "not yet valid"),
    ("nbf text", claiming(nbf="x"), "not yet valid"),
    ("no jti", claiming(jti=None), "no jti"),
    ("jti empty", claiming(jti=""), "no jti"),
    ("jti number", claiming(jti=1), "no jti"),
    ("jti long", claiming(jti="j" * 201), "no jti"),
    ("kid other", headed(kid="EC"), "unknown key"),
    ("curve of another algorithm", headed(kid="ec256"), "unfit key"),
    ("kind of another algorithm", headed(kid="rsa"), "unfit key"),
    ("key of a stranger", token(key=STRANGE), "signature"),
    ("signature left out", f"{HEAD}.{BODY}.", "signature"),
    ("signature cut", token()[:-4], "signature"),
    ("signature beyond ASCII", f"{HEAD}.{BODY}.ü{SIGNATURE[1:]}", "not a JWT"),
    ("signature of zeros", f"{HEAD}.{BODY}." + coded(bytes(96)), "signature"),
    ("signature of another", f"{HEAD}.{BODY}.{SIGNATURE_TWO}", "signature"),
    ("claims of another", f"{HEAD}.{BODY_TWO}.{SIGNATURE}", "signature"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "reason"), [case[1:] for case in UNUSUAL], ids=[case[0] for case in UNUSUAL])
def test_what_is_refused(client: Client, assertions: Assertions, said: str, reason: Reason) -> None:
    assert refusal(assertions, said).reason == reason
    assert assertions.verify(token(), HERE, NOW) is client  # a refused token has used up nothing


def test_every_reason_is_tried() -> None:
    elsewhere = {
        "too long",
        "algorithm",
        "other key address",
        "wrong subject",
        "keys unavailable",
        "replayed",
        "too many",
    }
    assert {case[2] for case in UNUSUAL} | elsewhere == set(get_args(Reason))


def of_length(length: int) -> str:
    """A token of so many characters: three characters make four, so the header takes what the claims cannot."""
    for more in ("", "x", "xx", "xxx"):
        header = json.dumps(HEADER | {"more": more})
        room = length - len(coded(header.encode())) - len(SIGNATURE) - 2
        bare = len(json.dumps(CLAIMS | {"more": ""}))
        claims = json.dumps(CLAIMS | {"more": "x" * (room * 3 // 4 - bare)})
        if len(coded(claims.encode())) == room:
            return sealed(header, claims, EC)
    raise AssertionError(length)


def test_a_token_has_8192_characters_at_most(client: Client, assertions: Assertions) -> None:
    fitting, longer = of_length(8192), of_length(8193)
    assert (len(fitting), len(longer)) == (8192, 8193)
    assert refusal(assertions, longer).reason == "too long"
    assert assertions.verify(fitting, HERE, NOW) is client
    assert refusal(assertions, "x" * 10_000_000).reason == "too long"


@pytest.mark.parametrize("algorithm", [None, "", 7, ["ES384"], *ALL[4:], "ES512", "EdDSA", "es384", "None", "NONE"])
def test_other_algorithms_are_refused(assertions: Assertions, algorithm: object) -> None:
    assert refusal(assertions, token(lambda header, _: header.update(alg=algorithm))).reason == "algorithm"


def test_a_token_that_nobody_signed_is_refused(assertions: Assertions) -> None:
    header = coded(json.dumps(HEADER | {"alg": "none"}).encode())
    assert refusal(assertions, f"{header}.{coded(json.dumps(CLAIMS).encode())}.").reason == "algorithm"


@pytest.mark.parametrize("kid", ["ec", "rsa"])
def test_a_public_key_is_no_secret_to_sign_with(assertions: Assertions, kid: str) -> None:
    key = {"ec": EC, "rsa": RSA}[kid]
    signed = ".".join(coded(json.dumps(part).encode()) for part in (HEADER | {"alg": "HS256", "kid": kid}, CLAIMS))
    for secret in (key.as_pem(private=False), key.as_der(private=False), json.dumps(public(key, kid)).encode()):
        mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
        assert refusal(assertions, f"{signed}.{coded(mac)}").reason == "algorithm"


@pytest.mark.parametrize(
    ("accepted", "refused", "reason"),
    [
        ({"iat": T - 3600, "exp": T - 59}, {"iat": T - 3600, "exp": T - 60}, "expired"),
        ({"iat": T + 60}, {"iat": T + 61}, "not yet issued"),
        ({"iat": T - 3660, "exp": T - 30}, {"iat": T - 3661, "exp": T - 30}, "too old"),
        ({"exp": T + 3660}, {"exp": T + 3661}, "lives too long"),
        ({"nbf": T + 60}, {"nbf": T + 61}, "not yet valid"),
    ],
)
def test_limits_of_time(
    assertions: Assertions, accepted: dict[str, object], refused: dict[str, object], reason: Reason
) -> None:
    assert refusal(assertions, claiming(**refused)).reason == reason
    assertions.verify(claiming(**accepted), HERE, NOW)


# The terms of SMART Backend Services

TOKEN_URL = "https://titrator.example/token"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"iat": T, "exp": T + 360}, None),
        ({"exp": T + 360}, None),
        ({"exp": T + 361}, "lives too long"),
        ({"iat": T - 100, "exp": T + 261}, "lives too long"),
        ({"sub": None}, "wrong subject"),
        ({"sub": "other"}, "wrong subject"),
        ({"iat": "x"}, "no iat"),
        ({"aud": HERE}, "wrong audience"),
    ],
)
def test_a_client_that_asks_for_a_token_of_ours(
    client: Client, changed: dict[str, object], reason: Reason | None
) -> None:
    backend = Assertions([client], BACKEND_SERVICES)
    said = claiming(**{"sub": ISSUER, "aud": TOKEN_URL, "iat": None, **changed})
    if reason:
        assert refusal(backend, said, audience=TOKEN_URL).reason == reason
    else:
        assert backend.verify(said, TOKEN_URL, NOW) is client
        assert refusal(backend, said, audience=TOKEN_URL).reason == "replayed"


# Clients that come and go


def asking(**claims: object) -> str:
    return claiming(sub=ISSUER, aud=TOKEN_URL, **claims)


@pytest.mark.parametrize("algorithm", ALL)
def test_only_the_algorithms_of_backend_services_are_accepted_for_a_token(algorithm: str) -> None:
    """`RS384` and `ES384`; CDS Hooks takes two more."""
    client = Client(ISSUER, "ehr", jwks=key_set(*KEYS).decode())
    header = {"alg": algorithm, "kid": {"ES256": "ec256", "ES384": "ec"}.get(algorithm, "rsa")}
    claims = {**CLAIMS, "sub": ISSUER, "aud": TOKEN_URL}
    signer = SIGNERS.get(algorithm, EC)
    said = sealed(json.dumps(header), json.dumps(claims), signer, algorithm if algorithm in SIGNERS else "ES384")
    registered = Registered()
    if algorithm in BACKEND_SERVICES.algorithms:
        assert registered.verify(said, TOKEN_URL, NOW, {ISSUER: client}.get).client is client
    else:
        with pytest.raises(NotAccepted, match="algorithm"):
            registered.verify(said, TOKEN_URL, NOW, {ISSUER: client}.get)


def test_who_asks_keeps_the_ids() -> None:
    """The same is accepted again; the id is told as a digest, whatever text it is."""
    client = Client(ISSUER, "ehr", jwks=key_set(*KEYS).decode())
    registered, said = Registered(), asking()
    one, two = (registered.verify(said, TOKEN_URL, NOW, {ISSUER: client}.get) for _ in range(2))
    assert one == two
    assert (len(one.ident), one.ends) == (64, T + 300 + 60)
    odd = registered.verify(asking(jti="\ud800"), TOKEN_URL, NOW, {ISSUER: client}.get)
    assert odd.ident != one.ident


def test_a_client_that_is_gone_or_registered_anew_is_met_as_it_is_now() -> None:
    found = {ISSUER: Client(ISSUER, "ehr", jwks=key_set(public(STRANGE, "ec")).decode())}
    registered = Registered()
    with pytest.raises(NotAccepted, match="signature"):
        registered.verify(asking(), TOKEN_URL, NOW, found.get)
    found[ISSUER] = replace(found[ISSUER], jwks=key_set(*KEYS).decode())
    assert registered.verify(asking(), TOKEN_URL, NOW, found.get).client is found[ISSUER]
    found.clear()
    with pytest.raises(NotAccepted, match="unknown issuer"):
        registered.verify(asking(), TOKEN_URL, NOW, found.get)


def test_fetched_keys_are_kept_as_long_as_their_server_says() -> None:
    with receiver() as web:
        web.answer = lambda asked: asked.give(200, key_set(*KEYS), Cache_Control="max-age=120")
        registered = Registered()
        for seconds, fetches in ((0, 1), (119, 1), (120, 2)):
            client = Client(ISSUER, "ehr", jwks_url=web.url)  # as it is read from the store, each time anew
            said = asking(iat=T + seconds, exp=T + seconds + 300)
            registered.verify(said, TOKEN_URL, later(seconds=seconds), {ISSUER: client}.get)
            assert len(web.seen) == fetches


@pytest.mark.parametrize(
    ("said", "keeps"), [("max-age=5", 5), ("max-age=0", 0), ("no-store", 0), ("no-cache", 0), ("max-age=59", 59)]
)
def test_fetched_keys_are_kept_no_longer_than_that(said: str, keeps: int) -> None:
    """`SHALL NOT cache a JWKS for longer than the client's cache-control header indicates`; each request may fetch."""
    with receiver() as web:
        web.answer = lambda asked: asked.give(200, key_set(*KEYS), Cache_Control=said)
        registered, found = Registered(), {ISSUER: Client(ISSUER, "ehr", jwks_url=web.url)}
        registered.verify(asking(), TOKEN_URL, NOW, found.get)
        if keeps:
            registered.verify(asking(), TOKEN_URL, later(seconds=keeps - 0.5), found.get)
        assert len(web.seen) == 1
        registered.verify(asking(), TOKEN_URL, later(seconds=max(keeps, 0.5)), found.get)
        assert len(web.seen) == 2


def test_an_address_that_fails_is_left_in_peace_for_a_while() -> None:
    with receiver() as web:
        web.answer = lambda asked: asked.give(503)
        registered, found = Registered(), {ISSUER: Client(ISSUER, "ehr", jwks_url=web.url)}
        for seconds, fetches in ((0, 1), (9, 1), (10, 2)):
            with pytest.raises(NotAccepted, match="keys unavailable"):
                registered.verify(asking(), TOKEN_URL, later(seconds=seconds), found.get)
            assert len(web.seen) == fetches


def test_keys_that_were_given_are_at_no_address() -> None:
    client = Client(ISSUER, "ehr", jwks=key_set(*KEYS).decode())
    header = {**HEADER, "jku": "https://ehr.example/keys"}
    said = sealed(json.dumps(header), json.dumps({**CLAIMS, "sub": ISSUER, "aud": TOKEN_URL}), EC)
    with pytest.raises(NotAccepted, match="other key address"):
        Registered().verify(said, TOKEN_URL, NOW, {ISSUER: client}.get)


# Replay


@pytest.mark.parametrize("terms", [CDS_HOOKS, BACKEND_SERVICES])
def test_a_token_is_accepted_once(client: Client, terms: Terms) -> None:
    assertions, said = Assertions([client], terms), claiming(sub=ISSUER)
    assertions.verify(said, HERE, NOW)
    for seconds in (0, 1, 300, 359):
        assert refusal(assertions, said, later(seconds=seconds)).reason == "replayed"
    assert refusal(assertions, said, later(seconds=360)).reason == "expired"
    again = claiming(sub=ISSUER, iat=T + 360, exp=T + 660)
    assert refusal(assertions, again, later(seconds=360)).reason == "replayed"
    assertions.verify(again, HERE, later(seconds=420))


def test_another_issuer_may_have_the_same_jti(client: Client) -> None:
    both = Assertions([client, replace(client, issuer="other")])
    for issuer in (ISSUER, "other"):
        both.verify(claiming(iss=issuer), HERE, NOW)
        assert refusal(both, claiming(iss=issuer)).reason == "replayed"


def test_of_many_that_come_at_once_one_is_accepted(assertions: Assertions) -> None:
    said, start = token(), threading.Barrier(8)

    def told(_: int) -> str:
        start.wait()
        try:
            assertions.verify(said, HERE, NOW)
        except NotAccepted as error:
            return error.reason
        return "accepted"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(told, range(8))) == ["accepted"] + ["replayed"] * 7


def test_what_is_remembered_is_bounded_and_one_client_does_not_crowd_out_another(client: Client) -> None:
    both = Assertions([client, replace(client, issuer="other")], most_remembered=2)
    for jti in ("one", "two"):
        both.verify(claiming(jti=jti), HERE, NOW)
    assert refusal(both, claiming(jti="three")).reason == "too many"
    assert refusal(both, token()).reason == "replayed"
    both.verify(claiming(iss="other"), HERE, NOW)
    then = later(seconds=420)
    both.verify(claiming(jti="three", iat=T + 420, exp=T + 480), HERE, then)
    both.verify(claiming(jti="one", iat=T + 420, exp=T + 480), HERE, then)
    assert refusal(both, claiming(jti="four", iat=T + 420, exp=T + 480), then).reason == "too many"


# Clients and keys


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://ehr.example/keys", True),
        ("http://localhost:1/keys", True),
        ("http://127.0.0.1/keys", True),
        ("http://[::1]/keys", True),
        ("http://ehr.example/keys", False),
        ("http://localhost.example/keys", False),
        ("http://10.0.0.1/keys", False),
        ("ftp://localhost/keys", False),
        ("file:///etc/keys", False),
        ("https:///keys", False),
        ("https://ehr.example:port/keys", False),
        ("https://[/keys", False),
        ("", False),
    ],
)
def test_keys_come_encrypted_or_from_this_computer(url: str, fine: bool) -> None:
    if fine:
        assert Client(ISSUER, "ehr", jwks_url=url).jwks_url == url
    else:
        with pytest.raises(ValueError, match="must begin with https://"):
            Client(ISSUER, "ehr", jwks_url=url)


def test_a_list_of_clients_must_make_sense(client: Client) -> None:
    with pytest.raises(ValueError, match="either"):
        Client(ISSUER, "ehr")
    with pytest.raises(ValueError, match="either"):
        replace(client, jwks_url="https://ehr.example/keys")
    with pytest.raises(ValueError, match="two clients have the issuer"):
        Assertions([client, replace(client, account="other")])
    assert refusal(Assertions([]), token()).reason == "unknown issuer"


@pytest.mark.parametrize(
    ("jwk", "reason"),
    [
        (public(EC, "ec", use="sig", alg="ES384", key_ops=["verify"], x5c=[7]), None),
        (public(EC, "ec", use="enc"), "unfit key"),
        (public(EC, "ec", alg="ES256"), "unfit key"),
        (public(EC, "ec", alg="ECDH-ES"), "unfit key"),
        (public(EC, "ec", key_ops=["encrypt"]), "unfit key"),
        (public(EC, "ec", key_ops="verify"), "unfit key"),
        ({**EC.as_dict(private=True), "kid": "ec"}, "unfit key"),
        (public(EC, "ec", kty="RSA"), "unfit key"),
        (public(EC, "ec", kty=["EC"]), "unfit key"),
        (public(EC, "ec", kty="OKP"), "unfit key"),
        (public(EC, "ec", crv="P-521"), "unfit key"),
        (public(EC, "ec", crv="P-256"), "unfit key"),
        (public(EC, "ec", crv=[]), "unfit key"),
        (public(EC, "ec", x=EC.as_dict()["y"]), "unfit key"),
        (public(EC, "ec", x=7), "unfit key"),
        (public(EC, "ec", y=""), "unfit key"),
        ({"kty": "oct", "kid": "ec", "k": coded(b"s" * 32)}, "unfit key"),
        ({**EC.as_dict(private=False), "kid": None}, "unknown key"),
        ({**EC.as_dict(private=False), "kid": 7}, "unknown key"),
        (public(EC, ""), "unknown key"),
        (public(STRANGE, "ec"), "signature"),
    ],
)
def test_which_keys_of_a_set_count(file: Path, assertions: Assertions, jwk: dict[str, Any], reason: Reason) -> None:
    file.write_bytes(json.dumps({"keys": [7, None, [], jwk, public(RSA, "rsa")], "more": 1}).encode())
    if reason:
        assert refusal(assertions, token()).reason == reason
    else:
        assertions.verify(token(), HERE, NOW)
    assertions.verify(  # whatever else stands in it
        token(lambda header, claims: (header.update(alg="RS256", kid="rsa"), claims.update(jti="2")), RSA, "RS256"),
        HERE,
        NOW,
    )


@pytest.mark.filterwarnings("ignore:Key size should be >= 2048 bits")
def test_short_keys_and_endless_ones_do_not_count(file: Path, assertions: Assertions) -> None:
    short = RSAKey.generate_key(1024)
    said = token(lambda header, _: header.update(alg="RS256", kid="rsa"), short, "RS256")
    for jwk in (public(short, "rsa"), public(RSA, "rsa", e="AQAB" * 30), public(RSA, "rsa", n="s" * 5000)):
        file.write_bytes(key_set(jwk))
        assert refusal(assertions, said).reason == "unfit key"


def test_one_id_may_name_keys_of_different_kinds(file: Path, assertions: Assertions) -> None:
    file.write_bytes(key_set(public(RSA, "x"), public(EC, "x"), public(STRANGE, "x"), public(EC256, "x")))
    for algorithm, key in SIGNERS.items():

        def change(header: dict[str, Any], claims: dict[str, Any], alg: str = algorithm) -> None:
            header.update(alg=alg, kid="x")
            claims.update(jti=alg)

        assertions.verify(token(change, key, algorithm), HERE, NOW)


# Keys in a file


def test_a_file_is_read_again_when_it_has_changed(file: Path, assertions: Assertions) -> None:
    assertions.verify(token(), HERE, NOW)
    file.write_bytes(key_set(public(STRANGE, "new")))
    os.utime(file, ns=(1, 1))
    assert refusal(assertions, claiming(jti="2")).reason == "unknown key"
    changed = token(lambda header, claims: (header.update(kid="new"), claims.update(jti="3")), STRANGE)
    assertions.verify(changed, HERE, NOW)


NO_KEYS = [
    (b"{", "the key set is not JSON, or no object"),
    (b"\xff", "the key set is not JSON, or no object"),
    (b"[" * 100_000, "the key set is not JSON, or no object"),
    (b"[]", "the key set is not JSON, or no object"),
    (b"{}", "the key set has no list of keys"),
    (b'{"keys": {}}', "the key set has no list of keys"),
    (key_set(*KEYS) + b" " * 2**18, "the key set is longer than 262144 bytes"),
]


@pytest.mark.parametrize(("content", "detail"), NO_KEYS, ids=range(len(NO_KEYS)))
def test_a_file_that_is_no_key_set(file: Path, assertions: Assertions, content: bytes, detail: str) -> None:
    file.write_bytes(content)
    for _ in range(2):
        error = refusal(assertions, token())
        assert (error.reason, error.detail) == ("keys unavailable", detail)
    file.write_bytes(key_set(*KEYS))
    assertions.verify(token(), HERE, NOW)


def test_a_file_that_cannot_be_read(file: Path, assertions: Assertions) -> None:
    file.unlink()
    assert refusal(assertions, token()).detail == "the file is not there"
    file.mkdir()
    assert refusal(assertions, token()).detail == "the file cannot be read"


# Keys on a server


class Ehr:
    """A server of keys, and what is asked of it by the tokens of one client."""

    def __init__(self, web: Receiver) -> None:
        self.web = web
        self.keys: list[dict[str, Any]] = [public(EC, "ec")]
        self.cache = ""
        self.client = Client(ISSUER, "ehr", jwks_url=web.url)
        self.assertions = Assertions([self.client], timeout_seconds=PATIENT)
        self._count = 0
        web.answer = self.give

    def give(self, asked: Answer) -> None:
        asked.give(200, key_set(*self.keys), **({"Cache-Control": self.cache} if self.cache else {}))

    def call(self, seconds: float = 0, kid: str = "ec", **header: object) -> NotAccepted | None:
        """Call with a fresh token so long after NOW; None if it is accepted."""
        self._count += 1
        at = T + seconds

        def change(usual: dict[str, Any], claims: dict[str, Any]) -> None:
            usual.update(kid=kid, **header)
            claims.update(jti=str(self._count), iat=at, exp=at + 300)

        try:
            assert self.assertions.verify(token(change), HERE, later(seconds=seconds)) is self.client
        except NotAccepted as error:
            return error
        return None

    def reason(self, seconds: float = 0, kid: str = "ec", **header: object) -> str | None:
        error = self.call(seconds, kid, **header)
        return error.reason if error else None

    @property
    def asked(self) -> int:
        return len(self.web.seen)


@pytest.fixture
def ehr() -> Iterator[Ehr]:
    with receiver() as web:
        yield Ehr(web)


def test_keys_are_fetched_once_and_hold_for_five_minutes(ehr: Ehr) -> None:
    for seconds in (0, 1, 299):
        assert ehr.reason(seconds) is None
        assert ehr.asked == 1
    assert ehr.reason(300) is None
    assert ehr.asked == 2
    asked = ehr.web.seen[0]
    assert (asked.handler.command, asked.headers["accept-encoding"]) == ("GET", "identity")
    assert {"cookie", "authorization"}.isdisjoint(asked.headers)


def test_keys_are_fetched_from_their_server_and_no_other(ehr: Ehr, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert ehr.reason() is None
        assert (ehr.asked, len(proxy.seen)) == (1, 0)


@pytest.mark.parametrize(
    ("cache", "seconds"),
    [
        ("max-age=120", 120),
        ("public, max-age=120, immutable", 120),
        ('Public,MAX-AGE="120"', 120),
        ("max-age=59", 60),
        ("max-age=0", 60),
        ("max-age=61", 61),
        ("max-age=3599", 3599),
        ("max-age=86400", 3600),
        ("max-age=9999999999999", 300),
        ("s-maxage=120", 300),
        ("max-age=soon", 300),
        ("no-store", 60),
        ("no-cache, max-age=600", 60),
    ],
)
def test_keys_hold_as_long_as_their_server_says_within_bounds(ehr: Ehr, cache: str, seconds: int) -> None:
    ehr.cache = cache
    for at, asked in ((0, 1), (seconds - 1, 1), (seconds, 2)):
        assert ehr.reason(at) is None
        assert ehr.asked == asked


def test_an_unknown_key_has_them_fetched_again_once_a_minute(ehr: Ehr) -> None:
    assert ehr.reason(0) is None
    ehr.keys = [public(EC, "new")]
    assert [ehr.reason(seconds, "new") for seconds in (1, 30, 59)] == ["unknown key"] * 3
    assert ehr.asked == 1
    assert ehr.reason(60, "new") is None
    assert ehr.asked == 2
    assert ehr.reason(61, "ec") == "unknown key"
    assert [ehr.reason(seconds, "other") for seconds in (61, 119, 120, 121, 179)] == ["unknown key"] * 5
    assert ehr.asked == 3
    assert ehr.reason(180, "new") is None
    assert ehr.asked == 3


def test_a_key_that_does_not_fit_is_known_and_not_asked_for_again(ehr: Ehr) -> None:
    ehr.keys = [public(EC, "ec", use="enc")]
    assert [ehr.reason(seconds) for seconds in (0, 100, 299)] == ["unfit key"] * 3
    assert ehr.asked == 1


def test_a_clock_that_is_set_back_keeps_nobody_out(ehr: Ehr) -> None:
    assert ehr.reason(86_400) is None
    ehr.keys = [public(EC, "new")]
    assert ehr.reason(0, "new") is None


def test_an_address_in_the_token_must_be_the_one_we_know_and_is_never_asked(ehr: Ehr) -> None:
    with receiver() as other:
        other.answer = ehr.give
        for jku in (other.url, ehr.web.url + "/", ehr.web.url + "?", None, 7, [ehr.web.url]):
            assert ehr.reason(jku=jku) == "other key address"
        assert ehr.asked == len(other.seen) == 0
        assert ehr.reason(jku=ehr.web.url) is None
        assert (ehr.asked, len(other.seen)) == (1, 0)


@pytest.mark.parametrize("case", ["exp past", "aud other", "iss other", "no jti", "typ", "no alg"])
def test_what_is_refused_anyway_has_no_keys_fetched(ehr: Ehr, case: str) -> None:
    ((said, reason),) = [row[1:] for row in UNUSUAL if row[0] == case]
    assert refusal(ehr.assertions, said).reason == reason
    assert ehr.asked == 0


def test_while_their_server_fails_the_keys_hold_until_they_expire(ehr: Ehr) -> None:
    assert ehr.reason(0) is None
    ehr.web.answer = lambda asked: asked.give(503)
    assert ehr.reason(299, "new") == "unknown key"
    assert ehr.asked == 2
    assert ehr.reason(299) is None
    error = ehr.call(309)
    assert error is not None
    assert (error.reason, error.detail) == ("keys unavailable", "the server of the keys answered 503")
    assert ehr.asked == 3
    assert ehr.reason(318) == "keys unavailable"
    assert ehr.asked == 3
    ehr.web.answer = ehr.give
    assert ehr.reason(319) is None
    assert ehr.asked == 4


def chunked(asked: Answer) -> None:
    asked.handler.send_response(200)
    asked.handler.send_header("Transfer-Encoding", "chunked")
    asked.handler.end_headers()
    content = key_set(public(EC, "ec"))
    for part in (content[:7], content[7:], b""):
        asked.handler.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")


def test_an_answer_may_come_in_pieces(ehr: Ehr) -> None:
    ehr.web.answer = chunked
    assert ehr.reason() is None


BROKE_OFF = "the server of the keys could not be reached, or broke off"
NO_ANSWERS: list[tuple[Callable[[Answer], None], str]] = [
    (lambda asked: asked.give(204), "the server of the keys answered 204"),
    (lambda asked: asked.give(404, key_set(*KEYS)), "the server of the keys answered 404"),
    (lambda asked: asked.give(302, Location="/keys"), "the server of the keys answered 302"),
    (lambda asked: asked.raw(b"hello\r\n"), BROKE_OFF),
    (lambda asked: asked.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{"), BROKE_OFF),
    *[(lambda asked, content=content: asked.give(200, content), detail) for content, detail in NO_KEYS],
]


@pytest.mark.parametrize(("answer", "detail"), NO_ANSWERS, ids=range(len(NO_ANSWERS)))
def test_answers_that_are_no_keys(ehr: Ehr, answer: Callable[[Answer], None], detail: str) -> None:
    ehr.web.answer = answer
    error = ehr.call()
    assert error is not None
    assert (error.reason, error.detail) == ("keys unavailable", detail)
    assert ehr.asked == 1
    ehr.web.answer = ehr.give
    assert ehr.reason(10) is None


@pytest.fixture
def gate(ehr: Ehr) -> Iterator[threading.Event]:
    """Until it is set, the server says nothing."""
    opened = threading.Event()

    def wait(asked: Answer) -> None:
        opened.wait(PATIENT)
        ehr.give(asked)

    ehr.web.answer = wait
    yield opened
    opened.set()


def test_of_many_that_need_keys_one_fetches_them(ehr: Ehr, gate: threading.Event) -> None:
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(ehr.reason) for _ in range(8)]
        gate.set()
        assert [call.result() for call in calls] == [None] * 8
    assert ehr.asked == 1


def test_who_needs_no_new_keys_waits_for_none(ehr: Ehr, gate: threading.Event) -> None:
    gate.set()
    assert ehr.reason() is None
    gate.clear()
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(ehr.reason, 60, "new")
        while ehr.asked < 2:
            assert ehr.reason(60) is None
        assert ehr.reason(61) is None
        assert not fetching.done()
        ehr.keys = [public(EC, "new")]
        gate.set()
        assert fetching.result() is None


def test_while_keys_hold_nobody_waits_for_others(ehr: Ehr, gate: threading.Event) -> None:
    """Or a stranger with a key id of his own would hold the threads of all who come with the next one."""
    gate.set()
    assert ehr.reason() is None
    gate.clear()
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(ehr.reason, 60, "new")
        while ehr.asked < 2:
            assert ehr.reason(60) is None
        begun = time.monotonic()
        assert ehr.reason(60, "other") == "unknown key"
        assert time.monotonic() - begun < PATIENT / 2
        gate.set()
        assert fetching.result() == "unknown key"


def failing(url: str, timeout_seconds: float = SOON) -> str:
    client = Client(ISSUER, "ehr", jwks_url=url)
    error = refusal(Assertions([client], timeout_seconds=timeout_seconds), token())
    assert error.reason == "keys unavailable"
    return error.detail


def test_servers_that_do_not_answer() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        assert failing(f"http://127.0.0.1:{taken.getsockname()[1]}/", PATIENT) == BROKE_OFF
    with silent_server() as port:
        assert failing(f"http://127.0.0.1:{port}/") == "the server of the keys took too long"
        assert failing(f"https://127.0.0.1:{port}/") == "the server of the keys took too long"


@pytest.mark.parametrize(
    ("scheme", "first"),
    [
        ("http", b""),
        ("http", b"HTTP/1.1 200 OK\r\nX: "),
        ("http", b"HTTP/1.1 200 OK\r\n\r\n"),
        ("https", b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc"),
    ],
    ids=["status", "headers", "body", "handshake"],
)
def test_a_server_that_drips_is_not_waited_for(scheme: str, first: bytes) -> None:
    """It would hold whoever calls, and others with it."""
    with dripping_server(first=first, drip=b" ") as port:
        begun = time.monotonic()
        assert failing(f"{scheme}://127.0.0.1:{port}/", DEADLINE) == "the server of the keys took too long"
        assert time.monotonic() - begun < DEADLINE + 2, "it drips for 10 seconds"


class KeysOverTls(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(key_set(*KEYS))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")
def test_a_server_of_keys_must_have_a_certificate_that_this_computer_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with HTTPServer(("127.0.0.1", 0), KeysOverTls) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            url = f"https://127.0.0.1:{server.server_address[1]}/"
            assert failing(url, PATIENT) == "the certificate of the server of the keys is not trusted"
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            Assertions([Client(ISSUER, "ehr", jwks_url=url)], timeout_seconds=PATIENT).verify(token(), HERE, NOW)
        finally:
            server.shutdown()
            serving.join()
