"""One's own account: who one is here, what one may do, and where one is told."""

from __future__ import annotations

from typing import Any, cast

import segno
from flask import Response, g, url_for

from schemas.account import FactorCode, FactorIn, FactorRemoval, PasswordChange
from schemas.reminder import Contacts
from titrator.door import count_login, door, visiting
from titrator.security.permissions import Permission
from titrator.titration.errors import Fault
from titrator.web.contacts import ContactsForm, addresses
from titrator.web.forms import Form, Secret, Text
from titrator.web.frame import After, Context, Filled, Pages, rendered
from titrator.web.language import gettext as _
from titrator.web.language import lazy_gettext as _l
from titrator.workflow import accounts, own_account, record
from titrator.workflow.reminders import manage
from titrator.workflow.visit import Visit

pages = Pages("account")


class PasswordForm(Form):
    """Another password."""

    old = Secret(_l("The password of now"), render_kw={"autocomplete": "current-password"})
    new = Secret(_l("The new one, of at least 15 characters"), render_kw={"autocomplete": "new-password"})
    again = Secret(_l("The new one again"), render_kw={"autocomplete": "new-password"})

    def body(self) -> tuple[dict[str, Any], list[Fault]]:
        """The two passwords, the new one typed twice."""
        body, faults = super().body()
        if body.pop("again", None) != body.get("new"):
            faults.append(Fault("again", "is not the same"))
        return body, faults


class BeginFactorForm(Form):
    """The password, before a second factor."""

    password = Secret(_l("Password"), render_kw={"autocomplete": "current-password"})


class ConfirmFactorForm(Form):
    """A first code."""

    code = Text(
        _l("Code that the authenticator shows"), render_kw={"autocomplete": "one-time-code", "inputmode": "numeric"}
    )


class RemoveFactorForm(Form):
    """Password and code."""

    password = Secret(_l("Password"), render_kw={"autocomplete": "current-password"})
    code = Text(_l("Code of the authenticator, or a recovery code"), render_kw={"autocomplete": "one-time-code"})


@pages.page("/account", Permission.OWN_ACCOUNT, "account.html")
def account(visit: Visit) -> Context:
    """Who one is, and what one may do."""
    gateways = {one["id"]: one["label"] for one in manage.gateways(visit)}
    return {
        "account": accounts.find_account(visit, visit.who.account_id),
        "clinics": {clinic.id: clinic.name for clinic in record.clinics(visit)},
        "permissions": sorted(map(str, visit.who.permissions)),
        "gateways": gateways,
        "contacts": manage.own_contacts(visit),
        "factor": own_account.factor_fields(visit),
    }


def _contacts(visit: Visit, form: Form) -> Context:
    own = cast(ContactsForm, form)
    return {"lines": addresses(own, manage.gateways(visit), manage.own_contacts(visit))}


@pages.form(
    "/account/contacts", Permission.OWN_ACCOUNT, ContactsForm, Contacts, "account_contacts.html", page=_contacts
)
def contacts(visit: Visit, body: dict[str, object]) -> After:
    """Be told by other gateways, or by none."""
    manage.change_own_contacts(visit, body)
    return After(url_for("web.account.account"), _("Where you are told has been changed."))


# Signing in: what is wrong with a password or a code leaves its mark, so each step opens its own visit.


def _nothing(visit: Visit, form: Form) -> Context:
    del visit, form
    return {}


def _prove(password: str) -> accounts.Proof:
    count_login()
    return accounts.prove(door().services, g.actor.username, password)


@pages.form(
    "/account/password",
    Permission.OWN_ACCOUNT,
    PasswordForm,
    PasswordChange,
    "password.html",
    page=_nothing,
    alone=True,
)
def password(body: dict[str, str]) -> After:
    """Another password; the account's other sessions end."""
    proof = _prove(body["old"])
    with visiting(g.actor) as visit:
        done = own_account.change_password(visit, proof, body["new"])
    if not done:
        raise own_account.not_proved("old")
    return After(url_for("web.account.account"), _("The password has been changed. Your other sessions have ended."))


@pages.form(
    "/account/second-factor",
    Permission.OWN_ACCOUNT,
    BeginFactorForm,
    FactorIn,
    "begin_factor.html",
    page=_nothing,
    alone=True,
)
def begin_factor(body: dict[str, str]) -> Response:
    """A secret for an authenticator, shown once, as text and as a picture to scan."""
    proof = _prove(body["password"])
    with visiting(g.actor) as visit:
        begun = own_account.begin_factor(visit, proof)
    if begun is None:
        raise own_account.not_proved("password")
    picture = segno.make(begun.uri).svg_data_uri(scale=5, light="white")
    filled = Filled(ConfirmFactorForm(formdata=None), {})
    return Response(rendered("confirm_factor.html", {"filled": filled, "secret": begun.secret, "picture": picture}))


@pages.form(
    "/account/second-factor/confirmation",
    Permission.OWN_ACCOUNT,
    ConfirmFactorForm,
    FactorCode,
    "confirm_factor.html",
    page=_nothing,
    alone=True,
)
def confirm_factor(body: dict[str, str]) -> Response:
    """Have the second factor count from now on; the recovery codes are shown once."""
    count_login()
    with visiting(g.actor) as visit:
        codes = own_account.confirm_factor(visit, body["code"])
    if codes is None:
        raise own_account.not_proved("code")
    return Response(rendered("recovery_codes.html", {"codes": codes}))


@pages.form(
    "/account/second-factor/removal",
    Permission.OWN_ACCOUNT,
    RemoveFactorForm,
    FactorRemoval,
    "remove_factor.html",
    page=_nothing,
    alone=True,
)
def remove_factor(body: dict[str, str]) -> After:
    """Take one's second factor away."""
    proof = _prove(body["password"])
    with visiting(g.actor) as visit:
        done = own_account.remove_factor(visit, proof, body["code"])
    if not done:
        raise own_account.not_proved("password", "code")
    return After(url_for("web.account.account"), _("The second factor has been removed."))
