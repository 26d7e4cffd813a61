"""One's own account: who one is here, what one may do, and where one is told."""

from __future__ import annotations

from typing import cast

from flask import url_for

from schemas.reminder import Contacts
from titrator.security.permissions import Permission
from titrator.web.contacts import ContactsForm, addresses
from titrator.web.forms import Form
from titrator.web.frame import After, Context, Pages
from titrator.web.language import gettext as _
from titrator.workflow import accounts, record
from titrator.workflow.reminders import manage
from titrator.workflow.visit import Visit

pages = Pages("account")


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
