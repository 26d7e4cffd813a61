"""The page behind a one-time link: a form for the password.

The secret in the link is what allows it, so the form needs no further token against forged requests.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import g, request

from titrator.door import count_login, visiting
from titrator.web.frame import Pages, rendered
from titrator.web.language import gettext as _
from titrator.workflow import accounts
from titrator.workflow.errors import Refusal

pages = Pages("activation")


@pages.get("/activate/<secret>")
def form(secret: str) -> Any:
    """The form. Looking at it uses nothing up."""
    del secret
    g.actor = None
    return rendered("activate.html", {"fault": None, "at": None, "username": None})


@pages.post("/activate/<secret>")
def activate(secret: str) -> Any:
    """Set the password, or say what is wrong with it."""
    g.actor = None
    count_login()
    password = request.form.get("password", "")
    if password != request.form.get("again", ""):
        return _again(_("must be the same as the password"), "again")
    try:
        with visiting(None) as visit:
            account = accounts.activate(visit, secret, password)
    except Refusal as refusal:
        if refusal.faults:
            return _again("; ".join(fault.message for fault in refusal.faults), "password")
        return _again(refusal.message)
    if account is None:
        return _again(accounts.link_used().message)
    return rendered("activate.html", {"fault": None, "at": None, "username": account.username})


def _again(fault: str, at: str | None = None) -> Any:
    """The form once more, with what is wrong, and in which field."""
    page = rendered("activate.html", {"fault": fault, "at": at, "username": None})
    return page, HTTPStatus.UNPROCESSABLE_ENTITY
