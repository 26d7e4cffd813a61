"""The page behind a one-time link: a form for the password, without a script.

The secret in the link is what allows it, so the form needs no further token against forged requests.
"""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, g, render_template, request

from titrator.door import count_login, visiting
from titrator.workflow import accounts
from titrator.workflow.errors import Refusal

blueprint = Blueprint("activation", __name__, template_folder="templates")

Page = tuple[str, int]


@blueprint.get("/activate/<secret>")
def form(secret: str) -> Page:
    """The form. Looking at it uses nothing up."""
    del secret
    return render_template("activate.html", fault=None, username=None), HTTPStatus.OK


@blueprint.post("/activate/<secret>")
def activate(secret: str) -> Page:
    """Set the password, or say what is wrong with it."""
    count_login()
    g.actor = None
    password = request.form.get("password", "")
    if password != request.form.get("again", ""):
        return _again("The two are not the same.", HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        with visiting(None) as visit:
            account = accounts.activate(visit, secret, password)
    except Refusal as refusal:
        said = "; ".join(fault.message for fault in refusal.faults) or refusal.message
        return _again(f"The password {said}." if refusal.faults else said, HTTPStatus.UNPROCESSABLE_ENTITY)
    if account is None:
        return _again(accounts.link_used().message, HTTPStatus.UNPROCESSABLE_ENTITY)
    return render_template("activate.html", fault=None, username=account.username), HTTPStatus.OK


def _again(fault: str, status: HTTPStatus) -> Page:
    return render_template("activate.html", fault=fault, username=None), status
