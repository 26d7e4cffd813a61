"""Logins, accounts, tokens, and access in an emergency."""

from __future__ import annotations

import structlog
from flask import Response, g

from schemas.account import (
    AccountChange,
    AccountIn,
    AccountOut,
    Accounts,
    Activation,
    FactorBegun,
    FactorCode,
    FactorIn,
    FactorOut,
    FactorRemoval,
    GlassIn,
    GlassOut,
    Invited,
    Login,
    Me,
    PasswordChange,
    RecoveryCodes,
    SessionOut,
    TokenIn,
    TokenIssued,
    TokenOut,
    Tokens,
)
from titrator.api.blueprint import PUBLIC, Blueprint
from titrator.api.problems import refusal_response
from titrator.api.wire import etag, if_match
from titrator.door import count_login, door, visiting
from titrator.security.permissions import Permission
from titrator.security.scopes import CLOSED
from titrator.store.records import Account
from titrator.workflow import accounts, own_account
from titrator.workflow.visit import Visit

blueprint = Blueprint("accounts", __name__, description="Who may come in: logins, accounts, tokens, emergencies.")

Fields = dict[str, object]
Answer = tuple[Fields, dict[str, str]]


@blueprint.operation(
    "POST", "/sessions", PUBLIC, "", body=Login, gives=SessionOut, status=201, public_limit=True, alone=True
)
def login(body: dict[str, str]) -> Fields | Response:
    """Log in: a name and a password, and a code where there is a second factor, for a bearer token."""
    proof = accounts.prove(door().services, body["username"], body["password"])
    with visiting(None) as visit:
        done = accounts.login(visit, body["username"], proof, body.get("code"))
    if done.issued is None:
        return refusal_response(accounts.login_refused(done))
    return {
        "token": done.issued.secret,
        "expires_at": done.issued.token.expires_at,
        "idle_seconds": done.issued.token.idle_seconds,
        "role": done.account.role,
        "clinics": list(done.account.clinics),
        "permissions": sorted(done.permissions),
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
        shown = None if account is None else accounts.account_fields(visit.session, account)
    return refusal_response(accounts.link_used()) if shown is None else shown


@blueprint.operation("GET", "/me", Permission.OWN_ACCOUNT, CLOSED, gives=Me)
def me(visit: Visit) -> Fields:
    """The account that asks, and what its token allows."""
    account = accounts.find_account(visit, visit.who.account_id)
    return {"account": accounts.account_fields(visit.session, account), "permissions": sorted(visit.who.permissions)}


@blueprint.operation(
    "POST", "/me/password", Permission.OWN_ACCOUNT, CLOSED, body=PasswordChange, gives=None, status=204, alone=True
)
def change_password(body: dict[str, str]) -> str:
    """Another password for the account that asks; its other sessions end."""
    proof = _prove(body["old"])
    with visiting(g.actor) as visit:
        done = own_account.change_password(visit, proof, body["new"])
    if not done:
        raise own_account.not_proved("old")
    return ""


@blueprint.operation("GET", "/me/second-factor", Permission.OWN_ACCOUNT, CLOSED, gives=FactorOut)
def get_factor(visit: Visit) -> Fields:
    """Whether the account that asks has a second factor, and whether it must."""
    return own_account.factor_fields(visit)


@blueprint.operation(
    "POST",
    "/me/second-factor",
    Permission.OWN_ACCOUNT,
    CLOSED,
    body=FactorIn,
    gives=FactorBegun,
    status=201,
    alone=True,
)
def begin_factor(body: dict[str, str]) -> Fields:
    """A secret for an authenticator, by one's password; it counts once a code of it is confirmed."""
    proof = _prove(body["password"])
    with visiting(g.actor) as visit:
        begun = own_account.begin_factor(visit, proof)
    if begun is None:
        raise own_account.not_proved("password")
    return {"secret": begun.secret, "uri": begun.uri}


@blueprint.operation(
    "POST",
    "/me/second-factor/confirmation",
    Permission.OWN_ACCOUNT,
    CLOSED,
    body=FactorCode,
    gives=RecoveryCodes,
    alone=True,
)
def confirm_factor(body: dict[str, str]) -> Fields:
    """Have the second factor count from now on, by a first code of it; gives the recovery codes."""
    count_login()
    with visiting(g.actor) as visit:
        codes = own_account.confirm_factor(visit, body["code"])
    if codes is None:
        raise own_account.not_proved("code")
    return {"recovery_codes": list(codes)}


@blueprint.operation(
    "POST",
    "/me/second-factor/removal",
    Permission.OWN_ACCOUNT,
    CLOSED,
    body=FactorRemoval,
    gives=FactorOut,
    alone=True,
)
def remove_factor(body: dict[str, str]) -> Fields:
    """Take one's second factor away, by password and code."""
    proof = _prove(body["password"])
    with visiting(g.actor) as visit:
        done = own_account.remove_factor(visit, proof, body["code"])
        shown = own_account.factor_fields(visit)
    if not done:
        raise own_account.not_proved("password", "code")
    return shown


def _prove(password: str) -> accounts.Proof:
    """Compare with the password of who asks; counts as an attempt to log in, as it takes as long."""
    count_login()
    return accounts.prove(door().services, g.actor.username, password)


@blueprint.operation("GET", "/accounts", Permission.MANAGE_ACCOUNTS, CLOSED, gives=Accounts)
def list_accounts(visit: Visit) -> Fields:
    """All accounts."""
    found = visit.session.find(Account, order=("username",))
    return {"items": [accounts.account_fields(visit.session, account) for account in found]}


@blueprint.operation("POST", "/accounts", Permission.MANAGE_ACCOUNTS, CLOSED, body=AccountIn, gives=Invited, status=201)
def add_account(visit: Visit, body: Fields) -> Answer:
    """A new account, with the secret of its one-time link."""
    account, issued = accounts.add_account(visit, body)
    shown: Fields = {
        "account": accounts.account_fields(visit.session, account),
        "activation_secret": issued and issued.secret,
    }
    return shown, {**etag(1), "Location": f"/api/v1/accounts/{account.id}"}


@blueprint.operation("GET", "/accounts/<account_id>", Permission.MANAGE_ACCOUNTS, CLOSED, gives=AccountOut)
def get_account(visit: Visit, account_id: str) -> Answer:
    """An account."""
    account = accounts.find_account(visit, account_id)
    return accounts.account_fields(visit.session, account), etag(account.version)


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
    return accounts.account_fields(visit.session, account), etag(account.version)


@blueprint.operation(
    "POST", "/accounts/<account_id>/invitation", Permission.MANAGE_ACCOUNTS, CLOSED, gives=Invited, status=201
)
def invite(visit: Visit, account_id: str) -> Fields:
    """A new one-time link for an account whose password is lost."""
    account, issued = accounts.invite_again(visit, account_id)
    return {"account": accounts.account_fields(visit.session, account), "activation_secret": issued.secret}


@blueprint.operation(
    "POST", "/accounts/<account_id>/second-factor/removal", Permission.MANAGE_ACCOUNTS, CLOSED, gives=AccountOut
)
def reset_factor(visit: Visit, account_id: str) -> Fields:
    """Take the second factor of another's account away, who has lost it; its sessions end."""
    return accounts.account_fields(visit.session, accounts.reset_factor(visit, account_id))


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
