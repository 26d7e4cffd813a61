"""Clients of SMART Backend Services: programs that get tokens of an account by assertions that they sign.

A client is registered for an account of the role `ehr`, with its public keys and the most that it may be granted. What
it does is done as that account, within the role, the clinics and the scopes granted.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

from titrator.security.assertions import Client, is_safe, unfit_keys
from titrator.security.permissions import Role
from titrator.security.scopes import MEANT, UnfitScopes, granted, parse
from titrator.security.secrets import new_id
from titrator.store.base import Session, Where
from titrator.store.records import Account, ApiClient, Token, UsedAssertion
from titrator.titration.errors import Fault
from titrator.workflow.accounts import Issued, end_client, issue_access
from titrator.workflow.errors import Code, Conflict, Invalid, Unknown
from titrator.workflow.visit import Services, Visit, instant

#: How long a token lets a client in, in seconds.
LASTS: Final = 300
_LONGEST_LABEL: Final = 200
_LONGEST_URL: Final = 1000
_ID: Final = re.compile(r"[0-9a-f]{20}")


class Denied(NamedTuple):
    """Why a client gets no token: an error of RFC 6749, section 5.2, and words for its developer."""

    error: str
    why: str


def add_client(  # noqa: PLR0913 (what a client is, each by its name)
    visit: Visit, account_id: str, *, label: str, scopes: str, jwks: str | None = None, jwks_url: str | None = None
) -> ApiClient:
    """A new client of an account; raises Unknown, Conflict, and Invalid with every fault."""
    account = visit.session.get(Account, account_id)
    if account is None:
        raise Unknown("account")
    if account.role != Role.EHR or not account.active:
        raise Conflict(Code.ACCOUNT_INACTIVE, "A client needs an active account of a system (role ehr).")
    faults = [*_key_faults(jwks, jwks_url), *_scope_faults(scopes)]
    if not 0 < len(label) <= _LONGEST_LABEL or not label.isprintable() or label != label.strip():
        faults.append(Fault("label", f"must have 1 to {_LONGEST_LABEL} printable characters, no spaces around them"))
    if faults:
        raise Invalid(*faults)
    client = ApiClient(
        id=new_id(),
        account_id=account.id,
        label=label,
        jwks=jwks,
        jwks_url=jwks_url,
        scopes=tuple(f"system/{one.type}.{one.letters}" for one in parse(scopes)),
        created_at=instant(visit.now),
        revoked_at=None,
    )
    visit.session.add(client)
    visit.note("add-client", f"client/{client.id}", new=client_fields(client))
    return client


def _key_faults(jwks: str | None, jwks_url: str | None) -> list[Fault]:
    if (jwks is None) == (jwks_url is None):
        return [Fault("jwks", "there must be either a set of keys or the URL of one")]
    if jwks_url is not None and not (is_safe(jwks_url) and len(jwks_url) <= _LONGEST_URL and jwks_url.isprintable()):
        return [Fault("jwks_url", "must begin with https://; http:// only to this computer")]
    wrong = None if jwks is None else unfit_keys(jwks)
    return [] if wrong is None else [Fault("jwks", wrong)]


def _scope_faults(scopes: str) -> list[Fault]:
    try:
        asked = parse(scopes)
    except UnfitScopes as error:
        return [Fault("scopes", fault) for fault in error.faults]
    return [
        Fault("scopes", f"{one.text}: means nothing here; types are {', '.join(MEANT)}")
        for one in asked
        if one.type != "*" and one.type not in MEANT
    ]


def clients(session: Session) -> list[ApiClient]:
    """All clients, those that were revoked among them, the newest last."""
    return session.find(ApiClient, order=("created_at", "id"))


def revoke_client(visit: Visit, client_id: str) -> ApiClient:
    """End a client and all its tokens at once; raises Unknown."""
    client = visit.session.get(ApiClient, client_id)
    if client is None:
        raise Unknown("client")
    if client.revoked_at is not None:
        return client
    ended = end_client(visit, client)
    going_on = Where("client_id", "=", client.id), Where("expires_at", ">", instant(visit.now))
    for token in visit.session.find(Token, *going_on):
        if token.revoked_at is None:
            visit.session.change(replace(token, revoked_at=instant(visit.now)))
    return ended


def client_fields(client: ApiClient) -> dict[str, object]:
    """A client as it is shown."""
    return {
        "id": client.id,
        "account": client.account_id,
        "label": client.label,
        "jwks_url": client.jwks_url,
        "scopes": list(client.scopes),
        "created_at": client.created_at,
        "revoked_at": client.revoked_at,
    }


def known(services: Services, client_id: str) -> Client | None:
    """What a client is known by, if it may get tokens."""
    if not _ID.fullmatch(client_id):
        return None
    with services.store.reading() as session:
        client, _ = _entitled(session, client_id)
    return None if client is None else Client(client.id, client.account_id, client.jwks_url, jwks=client.jwks)


def _entitled(session: Session, client_id: str) -> tuple[ApiClient | None, Account | None]:
    """A client that has not been revoked, of an active account of a system, with that account."""
    client = session.get(ApiClient, client_id)
    account = None if client is None else session.get(Account, client.account_id)
    if client is None or account is None or client.revoked_at is not None:
        return None, None
    return (client, account) if account.active and account.role == Role.EHR else (None, None)


def grant(visit: Visit, client_id: str, ident: str, ends: float, asked: str) -> Issued | Denied:
    """A token for a client that has just proved itself; the assertion of that id is used up, whatever comes of it.

    A refusal leaves its mark, so it does not raise: what it wrote must be kept.
    """
    client, account = _entitled(visit.session, client_id)
    if client is None or account is None:  # ended since it was looked up
        return deny(visit, Denied("invalid_client", "The assertion is not accepted: unknown issuer."), client_id)
    if visit.session.get(UsedAssertion, client.id, ident) is not None:
        return deny(visit, Denied("invalid_client", "The assertion is not accepted: replayed."), client.id)
    until = instant(datetime.fromtimestamp(ends, UTC))
    visit.session.add(UsedAssertion(client_id=client.id, ident=ident, ends_at=until))
    try:
        scopes = granted(parse(asked), parse(" ".join(client.scopes)))
    except UnfitScopes as error:
        return deny(visit, Denied("invalid_scope", "; ".join(error.faults)), client.id)
    if not scopes:
        held = " ".join(client.scopes)
        return deny(visit, Denied("invalid_scope", f"none of these is registered for this client: {held}"), client.id)
    issued = issue_access(visit, account, client, scopes, LASTS)
    visit.note(
        "grant-token",
        f"client/{client.id}",
        account=account.id,
        token=issued.token.id,
        scopes=scopes,
        until=issued.token.expires_at,
    )
    return issued


def deny(visit: Visit, denied: Denied, client_id: str) -> Denied:
    """Leave in the trail that a client got no token, though it proved itself."""
    visit.note("refuse-token", f"client/{client_id}", error=denied.error, why=denied.why)
    return denied
