"""SMART Backend Services (SMART App Launch 2.2): the configuration that clients discover, and their tokens.

1. a client asks for a token with an assertion that it signed (RFC 7523), for this URL, once
2. the form is read, with all that is missing
3. the assertion is verified; keys may be fetched, so no transaction waits for it; what is refused up to here stands
   in the log, what is refused later in the trail
4. in one transaction: the assertion is used up, the scopes are weighed, the token is issued, the trail has it

Errors are those of RFC 6749, section 5.2. `add_to` puts it into an app.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, cast

import structlog
from flask import Blueprint, Flask, Response, current_app, g, request

from titrator.door import STATUS, Door, audiences, challenge, door, guarded, visiting
from titrator.fhir.kinds import KINDS
from titrator.security.assertions import BACKEND_SERVICES, Accepted, NotAccepted, Registered
from titrator.security.permissions import PERMISSIONS, Role
from titrator.security.scopes import MEANT
from titrator.titration.documents import encode
from titrator.workflow.accounts import Issued
from titrator.workflow.clients import LASTS, Denied, deny, grant, known
from titrator.workflow.errors import TooMany, Unauthorised, Unready

TOKEN_PATH: Final = "/auth/token"  # noqa: S105 (a path)
CONFIGURATION_PATH: Final = "/fhir/.well-known/smart-configuration"
GRANT: Final = "client_credentials"
BY_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_NAME: Final = "titrator.smart"
_FORM: Final = "application/x-www-form-urlencoded"
_REQUIRED: Final = ("grant_type", "scope", "client_assertion_type", "client_assertion")

blueprint = Blueprint("smart", __name__)


@dataclass(frozen=True, slots=True)
class Smart:
    """What is needed of the settings, and the clients' keys that this process holds."""

    base_url: str
    registered: Registered = field(default_factory=Registered)


def add_to(app: Flask, base_url: str) -> None:
    """Offer tokens in an app whose address is `base_url`."""
    app.extensions[_NAME] = Smart(base_url)
    app.register_blueprint(blueprint)


def token_url() -> str:
    """The address at which tokens are asked for."""
    return f"{_here().base_url}{TOKEN_PATH}"


def _here() -> Smart:
    return cast(Smart, current_app.extensions[_NAME])


# Discovery


@blueprint.get(CONFIGURATION_PATH)
def configuration() -> Response:
    """What clients discover, for anybody; JSON whatever they accept."""
    return _json(
        {
            "token_endpoint": token_url(),
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": list(BACKEND_SERVICES.algorithms),
            "grant_types_supported": [GRANT],
            "scopes_supported": scopes_supported(),
            "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
            "code_challenge_methods_supported": ["S256"],
        }
    )


def scopes_supported() -> list[str]:
    """The scopes that mean something for an account of a system."""
    may = PERMISSIONS[Role.EHR]
    closed = {name for name, kind in KINDS.items() if kind.reads not in may}
    return [f"system/{name}.{letters}" for name, letters in MEANT.items() if name not in closed]


# Tokens


def _token() -> Response:
    if (denied := _unfit_form()) is not None:
        return _refused(denied, denied.why)
    form = request.form
    try:
        accepted = _verified(door(), form["client_assertion"])
    except NotAccepted as error:
        denied = Denied("invalid_client", f"The assertion is not accepted: {error.reason}.")
        return _refused(denied, error.reason, error.detail)
    client = accepted.client.issuer
    if form.get("client_id", client) != client:
        return _denied(Denied("invalid_client", "client_id is not the issuer of the assertion."), client)
    with visiting(None) as visit:
        found = grant(visit, client, accepted.ident, accepted.ends, form["scope"])
    return _issued(found) if isinstance(found, Issued) else _error(found)


def _verified(here: Door, assertion: str) -> Accepted:
    """What an assertion says, by the keys of its client; raises NotAccepted."""
    services = here.services
    return _here().registered.verify(
        assertion, audiences(_here().base_url), services.clock(), lambda issuer: known(services, issuer)
    )


def _unfit_form() -> Denied | None:
    """What is wrong with a request before its assertion is looked at."""
    if request.mimetype != _FORM:
        return Denied("invalid_request", f"The body must be {_FORM}.")
    form = request.form
    if twice := sorted(name for name in form if len(form.getlist(name)) > 1):
        known_ones = [name for name in twice if name in (*_REQUIRED, "client_id")]
        return Denied("invalid_request", f"given more than once: {', '.join(known_ones) or 'a parameter'}")
    if missing := [name for name in _REQUIRED if not form.get(name)]:
        return Denied("invalid_request", f"required: {', '.join(missing)}")
    if form["grant_type"] != GRANT:
        return Denied("unsupported_grant_type", f"grant_type must be {GRANT}")
    if form["client_assertion_type"] != BY_ASSERTION:
        return Denied("invalid_client", f"client_assertion_type must be {BY_ASSERTION}")
    return None


def _issued(issued: Issued) -> Response:
    return _json(
        {
            "access_token": issued.secret,
            "token_type": "bearer",
            "expires_in": LASTS,
            "scope": " ".join(issued.token.scopes or ()),
        }
    )


def _refused(denied: Denied, why: str, detail: str = "") -> Response:
    """A refusal of somebody who has proved nothing: in the log only, or anyone could make the trail grow."""
    log = structlog.get_logger()
    log.info("assertion-refused", request=g.request_id, address=request.remote_addr, why=why, detail=detail)
    return _error(denied)


def _denied(denied: Denied, client: str) -> Response:
    """A refusal of a client that has proved itself, with its mark in the trail."""
    with visiting(None) as visit:
        deny(visit, denied, client)
    return _error(denied)


def _error(denied: Denied) -> Response:
    by_client = denied.error == "invalid_client"
    status = HTTPStatus.UNAUTHORIZED if by_client else HTTPStatus.BAD_REQUEST
    response = _json({"error": denied.error, "error_description": denied.why}, status)
    if by_client:
        response.headers["WWW-Authenticate"] = challenge(Unauthorised(denied.why)) or ""
    return response


def _json(value: Mapping[str, object], status: HTTPStatus = HTTPStatus.OK) -> Response:
    response = Response(encode(dict(value)), status=status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    response.headers["Pragma"] = "no-cache"
    return response


blueprint.add_url_rule(TOKEN_PATH, "token", guarded(_token, None, login=True), methods=["POST"])


@blueprint.errorhandler(TooMany)
@blueprint.errorhandler(Unready)
def later(refusal: TooMany | Unready) -> Response:
    """Too many requests for tokens from one address, or a database that does not answer."""
    said = {"error": "temporarily_unavailable", "error_description": refusal.message}
    response = _json(said, STATUS[type(refusal)])
    response.headers["Retry-After"] = str(refusal.retry_after)
    return response
