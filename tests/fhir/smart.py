"""A client of SMART Backend Services as its developer would write it: keys, assertions, requests for tokens."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from joserfc import jws
from joserfc.jwk import ECKey, OctKey, RSAKey

Key = ECKey | RSAKey | OctKey

EC: Final = ECKey.generate_key("P-384")
RSA: Final = RSAKey.generate_key(2048)
#: Of nobody whom the service knows, under the name of one whom it does.
STRANGE: Final = ECKey.generate_key("P-384")
BY_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
FORM: Final = "application/x-www-form-urlencoded"

made = 0


def key_set(*more: Mapping[str, Any]) -> str:
    """The public keys of the client, and others."""
    mine = ({**EC.as_dict(private=False), "kid": "ec"}, {**RSA.as_dict(private=False), "kid": "rsa"})
    return json.dumps({"keys": [*mine, *more]})


def signed(header: Mapping[str, Any], claims: Mapping[str, Any], key: Key) -> str:
    """A JWT in compact form, whatever it says, by whichever algorithm its header names."""
    algorithm = header["alg"]
    if algorithm == "none":
        unsigned = jws.serialize_compact({**header, "alg": "ES384"}, json.dumps(claims), EC, algorithms=["ES384"])
        _, payload, _ = unsigned.split(".")
        return f"{_coded(header)}.{payload}."
    return jws.serialize_compact(dict(header), json.dumps(claims), key, algorithms=[algorithm])


def _coded(header: Mapping[str, Any]) -> str:
    return urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()


def assertion(
    client: str,
    url: str,
    now: float,
    *,
    header: Mapping[str, Any] | None = None,
    claims: Mapping[str, Any] | None = None,
    key: Key = EC,
) -> str:
    """An assertion for a token URL at an instant, with members changed, or left out where they are None."""
    global made  # noqa: PLW0603 (each has an id of its own)
    made += 1
    usual = {"iss": client, "sub": client, "aud": url, "exp": int(now) + 300, "jti": f"{client}-{made}"}
    head = {"alg": "ES384", "typ": "JWT", "kid": "ec"} | dict(header or {})
    said = usual | dict(claims or {})
    return signed(_without_none(head), _without_none(said), key)


def form(token: str, scope: str, **changed: str | None) -> dict[str, str]:
    """A request for a token as it is sent, with parameters changed, or left out where they are None."""
    usual = {"grant_type": "client_credentials", "scope": scope, "client_assertion_type": BY_ASSERTION}
    return _without_none({**usual, "client_assertion": token} | changed)


def encoded(parameters: Mapping[str, str]) -> str:
    return urlencode(parameters)


def _without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
