"""Logins, accounts, tokens, and access in an emergency."""

from __future__ import annotations

import structlog
from flask import Response

from schemas.account import (
    AccountChange,
    AccountIn,
    AccountOut,
    Accounts,
    Activation,
    GlassIn,
    GlassOut,
    Invited,
    Login,
    Me,
    SessionOut,
    TokenIn,
    TokenIssued,
    TokenOut,
    Tokens,
)
from titrator.api.blueprint import PUBLIC, Blueprint
from titrator.api.problems import refusal_response
from titrator.api.wire import etag, if_match
from titrator.door import door, visiting
from titrator.security.permissions import PERMISSIONS, Permission, Role
from titrator.security.scopes import CLOSED
from titrator.store.records import Account
from titrator.workflow import accounts
from titrator.workflow.errors import Code, Unauthorised
from titrator.workflow.visit import Visit

blueprint = Blueprint("accounts", __name__, description="Who may come in: logins, accounts, tokens, emergencies.")

Fields = dict[str, object]
Answer = tuple[Fields, dict[str, str]]


@blueprint.operation(
    "POST", "/sessions", PUBLIC, "", body=Login, gives=SessionOut, status=201, public_limit=True, alone=True
)
def login(body: dict[str, str]) -> Fields | Response:
    """Log in: a name and a password for a bearer token."""
    proof = accounts.prove(door().services, body["username"], body["password"])
    with visiting(None) as visit:
        account, issued = accounts.login(visit, body["username"], proof)
    if issued is None:
        return refusal_response(
            Unauthorised("Wrong name or password, or the account is locked for a while.", code=Code.LOGIN_FAILED)
        )
    return {
        "token": issued.secret,
        "expires_at": issued.token.expires_at,
        "idle_seconds": issued.token.idle_seconds,
        "role": account.role,
        "clinics": list(account.clinics),
        "permissions": sorted(PERMISSIONS[Role(account.role)]),
    }


@blueprint.operation("DELETE", "/sessions/current", Permission.OWN_ACCOUNT, CLOSED, gives=None, status=204)
def logout(visit: Visit) -> str:
    """End the session, or the token, that this request comes with."""
    accounts.logout(visit)
    return ""


@blueprint.operation(
    "POST", "/activations", PUBLIC, "", body=Activation, gives=AccountOut, status=201, public_limit=True, alone=True
)
def activate(body: dict[str, str]) -> Fields | Response:
    """Set a password with the secret of a one-time link."""
    with visiting(None) as visit:
        account = accounts.activate(visit, body["secret"], body["password"])
    return refusal_response(accounts.link_used()) if account is None else accounts.account_fields(account)


@blueprint.operation("GET", "/me", Permission.OWN_ACCOUNT, CLOSED, gives=Me)
def me(visit: Visit) -> Fields:
    """The account that asks, and what its token allows."""
    account = accounts.find_account(visit, visit.who.account_id)
    return {"account": accounts.account_fields(account), "permissions": sorted(visit.who.permissions)}


@blueprint.operation("GET", "/accounts", Permission.MANAGE_ACCOUNTS, CLOSED, gives=Accounts)
def list_accounts(visit: Visit) -> Fields:
    """All accounts."""
    found = visit.session.find(Account, order=("username",))
    return {"items": [accounts.account_fields(account) for account in found]}


@blueprint.operation("POST", "/accounts", Permission.MANAGE_ACCOUNTS, CLOSED, body=AccountIn, gives=Invited, status=201)
def add_account(visit: Visit, body: Fields) -> Answer:
    """A new account, with the secret of its one-time link."""
    account, issued = accounts.add_account(visit, body)
    shown: Fields = {"account": accounts.account_fields(account), "activation_secret": issued and issued.secret}
    return shown, {**etag(1), "Location": f"/api/v1/accounts/{account.id}"}


@blueprint.operation("GET", "/accounts/<account_id>", Permission.MANAGE_ACCOUNTS, CLOSED, gives=AccountOut)
def get_account(visit: Visit, account_id: str) -> Answer:
    """An account."""
    account = accounts.find_account(visit, account_id)
    return accounts.account_fields(account), etag(account.version)


@blueprint.operation(
    "PATCH",
    "/accounts/<account_id>",
    Permission.MANAGE_ACCOUNTS,
    CLOSED,
    body=AccountChange,
    gives=AccountOut,
    versioned=True,
)
def change_account(visit: Visit, body: Fields, account_id: str) -> Answer:
    """An account with another role, other clinics, or active or not; it is unlocked, too."""
    account = accounts.change_account(visit, account_id, body, if_match())
    return accounts.account_fields(account), etag(account.version)


@blueprint.operation(
    "POST", "/accounts/<account_id>/invitation", Permission.MANAGE_ACCOUNTS, CLOSED, gives=Invited, status=201
)
def invite(visit: Visit, account_id: str) -> Fields:
    """A new one-time link for an account whose password is lost."""
    account, issued = accounts.invite_again(visit, account_id)
    return {"account": accounts.account_fields(account), "activation_secret": issued.secret}


@blueprint.operation("GET", "/accounts/<account_id>/tokens", Permission.MANAGE_ACCOUNTS, CLOSED, gives=Tokens)
def list_tokens(visit: Visit, account_id: str) -> Fields:
    """The tokens of an account, without their secrets."""
    return {"items": [accounts.token_fields(token) for token in accounts.tokens(visit, account_id)]}


@blueprint.operation(
    "POST",
    "/accounts/<account_id>/tokens",
    Permission.MANAGE_ACCOUNTS,
    CLOSED,
    body=TokenIn,
    gives=TokenIssued,
    status=201,
)
def issue_token(visit: Visit, body: Fields, account_id: str) -> Fields:
    """A token for a program. Its secret is shown this once."""
    issued = accounts.issue_token(visit, account_id, body)
    return {"token": accounts.token_fields(issued.token), "secret": issued.secret}


@blueprint.operation(
    "POST", "/accounts/<account_id>/tokens/<token_id>/revocation", Permission.MANAGE_ACCOUNTS, CLOSED, gives=TokenOut
)
def revoke_token(visit: Visit, account_id: str, token_id: str) -> Fields:
    """End a token at once."""
    return accounts.token_fields(accounts.revoke_token(visit, account_id, token_id))


@blueprint.operation("POST", "/glass-breaks", Permission.BREAK_GLASS, CLOSED, body=GlassIn, gives=GlassOut, status=201)
def break_glass(visit: Visit, body: Fields) -> Fields:
    """See a patient of another clinic for an hour, for a reason that is kept and reported."""
    broken = accounts.break_glass(visit, body)
    structlog.get_logger().warning("break-glass", account=visit.who.account_id)
    return {"patient": broken.patient_id, "until": broken.until}
