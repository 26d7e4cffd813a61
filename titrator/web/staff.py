"""Accounts for administrators: who may come in, by password, token or as a client, and what each may do.

A secret is shown on the page that answers the form, and nowhere else: neither address nor cookie nor store has it.
"""

from __future__ import annotations

from typing import Any, Final, cast

from flask import request, url_for

from schemas.account import AccountChange, AccountIn, TokenIn
from titrator.security.permissions import PERMISSIONS, Permission, Role
from titrator.store.records import Account, ApiClient
from titrator.titration.errors import Fault
from titrator.web.forms import Choice, Choices, Form, Lines, Nothing, Number, Text, Tick, Versioned, options
from titrator.web.frame import After, Context, Pages, rendered, version
from titrator.web.language import gettext as _
from titrator.web.language import lazy_gettext as _l
from titrator.web.words import RIGHTS, ROLES
from titrator.workflow import accounts, clients, record
from titrator.workflow.visit import Visit, instant

pages = Pages("staff")

STATES: Final[dict[str, Any]] = {
    "disabled": _l("disabled"),
    "locked": _l("locked after failed logins"),
    "by-token": _l("comes in by token"),
    "invited": _l("invited: has set no password yet"),
    "active": _l("active"),
}
_ROLES: Final = [("", _l("Choose")), *ROLES.items()]
_MANAGE: Final = Permission.MANAGE_ACCOUNTS


class AccountForm(Form):
    """A new account."""

    username = Text(_l("Username"), render_kw={"maxlength": 64, "autocomplete": "off", "spellcheck": "false"})
    display_name = Text(_l("Name to show"), render_kw={"maxlength": 200})
    role = Choice(_l("Role"), choices=_ROLES)
    clinics = Choices(_l("Clinics"))


class AccountChangeForm(Versioned):
    """An account as it is to be."""

    display_name = Text(_l("Name to show"), render_kw={"maxlength": 200})
    role = Choice(_l("Role"), choices=_ROLES)
    clinics = Choices(_l("Clinics"))
    active = Tick(_l("May come in"))

    def body(self) -> tuple[dict[str, Any], list[Fault]]:
        """All of it: what is not ticked is taken away."""
        body, faults = super().body()
        missing = [Fault(name, "required") for name in ("display_name", "role") if name not in body]
        return {**body, "clinics": self.clinics.data or [], "active": bool(self.active.data)}, faults + missing


class TokenForm(Form):
    """A token for a program."""

    label = Text(_l("What it is for"), render_kw={"maxlength": 200})
    days = Number(_l("How long it lasts"))
    permissions = Choices(_l("Only this of what the role may do (nothing ticked: all of it)"))


class ClientForm(Form):
    """A program that gets tokens by assertions that it signs."""

    label = Text(_l("What it is"), render_kw={"maxlength": 200})
    scopes = Lines(_l("Scopes: the most that it gets"), render_kw={"rows": 3, "spellcheck": "false"})
    jwks_url = Text(_l("Where its public keys stand"), render_kw={"maxlength": 1000, "inputmode": "url"})
    jwks = Lines(_l("Or its public keys (JWKS)"), render_kw={"rows": 6, "spellcheck": "false"})


@pages.page("/accounts", _MANAGE, "staff.html")
def staff(visit: Visit) -> Context:
    """All accounts."""
    now = instant(visit.now)
    found = visit.session.find(Account, order=("username",))
    return {
        "accounts": [(one, accounts.state(one, now)) for one in found],
        "clinics": _clinics(visit),
        "STATES": STATES,
    }


def _clinics(visit: Visit) -> dict[str, str]:
    return {clinic.id: clinic.name for clinic in record.clinics(visit)}


@pages.page("/accounts/<account_id>", _MANAGE, "staff_account.html")
def account(visit: Visit, account_id: str) -> Context:
    """An account, its tokens and its clients."""
    found = accounts.find_account(visit, account_id)
    now = instant(visit.now)
    return {
        "account": found,
        "state": accounts.state(found, now),
        "second_factor": accounts.account_fields(visit.session, found)["second_factor"],
        "now": now,
        "tokens": accounts.tokens(visit, account_id),
        "clients": [one for one in clients.clients(visit.session) if one.account_id == found.id],
        "clinics": _clinics(visit),
        "STATES": STATES,
    }


def _new(visit: Visit, form: Form) -> Context:
    cast(Any, form).clinics.choices = options(_clinics(visit).items())
    return {}


@pages.form("/accounts/new", _MANAGE, AccountForm, AccountIn, "staff_new.html", page=_new)
def new(visit: Visit, body: dict[str, object]) -> After:
    """A new account; for a person with a one-time link."""
    made, issued = accounts.add_account(visit, body)
    where = url_for("web.staff.account", account_id=made.id)
    if issued is None:
        return After(where, _("The account is there. A system has no password: issue a token for it."))
    return After(where, _("The account is there."), _link_page(visit, made, issued, where))


def _link_page(visit: Visit, invited: Account, issued: accounts.Issued, where: str) -> str:
    telling = visit.services.telling
    base = request.url_root.rstrip("/") if telling is None else telling.base_url
    told = {
        "title": _("A link for %(name)s", name=invited.username),
        "text": _(
            "Give it to %(name)s in person or by a way that you trust: it sets the password, once.",
            name=invited.display_name,
        ),
        "label": _("One-time link"),
        "secret": f"{base}/activate/{issued.secret}",
        "until": issued.token.expires_at,
    }
    return rendered("secret.html", {**told, "where": where})


def _of(visit: Visit, form: Form, account_id: str) -> Context:
    del form
    return {"account": accounts.find_account(visit, account_id)}


def _as_it_is(visit: Visit, form: Form, account_id: str) -> Context:
    found = accounts.find_account(visit, account_id)
    clinics = _clinics(visit)
    cast(Any, form).clinics.choices = options(clinics.items())
    names = ("version", "display_name", "role", "active")
    form.fill([*((name, getattr(found, name)) for name in names), ("clinics", list(found.clinics))])
    return {"account": found}


@pages.form(
    "/accounts/<account_id>/change", _MANAGE, AccountChangeForm, AccountChange, "staff_change.html", page=_as_it_is
)
def change(visit: Visit, body: dict[str, object], account_id: str) -> After:
    """An account with another name, role, clinics, or let in or not; what its tokens allow follows at once."""
    accounts.change_account(visit, account_id, body, version())
    return After(url_for("web.staff.account", account_id=account_id), _("The account has been changed."))


@pages.deed("/accounts/<account_id>/unlock", _MANAGE, Versioned)
def unlock(visit: Visit, body: dict[str, object], account_id: str) -> After:
    """Let an account in again that was locked after failed logins."""
    del body
    accounts.change_account(visit, account_id, {}, version())
    return After(url_for("web.staff.account", account_id=account_id), _("The account is unlocked."))


@pages.deed("/accounts/<account_id>/second-factor/removal", _MANAGE, Nothing)
def reset_factor(visit: Visit, body: dict[str, object], account_id: str) -> After:
    """Take away the second factor of who has lost it; the account's sessions end."""
    del body
    accounts.reset_factor(visit, account_id)
    return After(url_for("web.staff.account", account_id=account_id), _("The second factor has been taken away."))


@pages.form("/accounts/<account_id>/invitation", _MANAGE, Nothing, None, "staff_invite.html", page=_of)
def invite(visit: Visit, body: dict[str, object], account_id: str) -> After:
    """A new one-time link; the password, the sessions and the tokens of the account end at once."""
    del body
    found, issued = accounts.invite_again(visit, account_id)
    where = url_for("web.staff.account", account_id=account_id)
    return After(where, "", _link_page(visit, found, issued, where))


def _token(visit: Visit, form: Form, account_id: str) -> Context:
    found = accounts.find_account(visit, account_id)
    allowed = sorted(map(str, PERMISSIONS[Role(found.role)]))
    cast(Any, form).permissions.choices = options((name, RIGHTS[name]) for name in allowed)
    return {"account": found}


@pages.form("/accounts/<account_id>/tokens/new", _MANAGE, TokenForm, TokenIn, "staff_token.html", page=_token)
def issue_token(visit: Visit, body: dict[str, object], account_id: str) -> After:
    """A token for a program. Its secret is shown this once."""
    issued = accounts.issue_token(visit, account_id, body)
    where = url_for("web.staff.account", account_id=account_id)
    told = {
        "title": _("Token %(label)s", label=issued.token.label),
        "text": _("Put it where the program reads it, and nowhere else: whoever has it may do what the token allows."),
        "label": _("Token"),
        "secret": issued.secret,
        "until": issued.token.expires_at,
    }
    return After(where, "", rendered("secret.html", {**told, "where": where}))


@pages.deed("/accounts/<account_id>/tokens/<token_id>/revocation", _MANAGE, Nothing)
def revoke_token(visit: Visit, body: dict[str, object], account_id: str, token_id: str) -> After:
    """End a token at once."""
    del body
    token = accounts.revoke_token(visit, account_id, token_id)
    said = _("The token %(label)s has ended.", label=token.label)
    return After(url_for("web.staff.account", account_id=account_id), said)


@pages.page("/clients", _MANAGE, "staff_clients.html", name="clients")
def all_clients(visit: Visit) -> Context:
    """The clients, those that were revoked among them."""
    systems = [one for one in visit.session.find(Account, order=("username",)) if one.role == Role.EHR]
    return {"clients": clients.clients(visit.session), "systems": {one.id: one for one in systems}}


@pages.form("/accounts/<account_id>/clients/new", _MANAGE, ClientForm, None, "staff_client.html", page=_of)
def add_client(visit: Visit, body: dict[str, str], account_id: str) -> After:
    """A program that gets tokens of an account of a system."""
    made: ApiClient = clients.add_client(
        visit,
        account_id,
        label=body.get("label", ""),
        scopes=body.get("scopes", ""),
        jwks=body.get("jwks"),
        jwks_url=body.get("jwks_url"),
    )
    said = _("The client is there. It asks for tokens as %(id)s.", id=made.id)
    return After(url_for("web.staff.account", account_id=account_id), said)


@pages.deed("/clients/<client_id>/revocation", _MANAGE, Nothing)
def revoke_client(visit: Visit, body: dict[str, object], client_id: str) -> After:
    """End a client and all its tokens at once."""
    del body
    ended = clients.revoke_client(visit, client_id)
    said = _("The client %(label)s and its tokens have ended.", label=ended.label)
    return After(url_for("web.staff.account", account_id=ended.account_id), said)
