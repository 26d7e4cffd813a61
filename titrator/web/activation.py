"""The page behind a one-time link: a form for the password, without a script."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from werkzeug.exceptions import BadRequest

from titrator.api.door import door
from titrator.workflow import accounts
from titrator.workflow.errors import Refusal
from titrator.workflow.visit import Visit, leave

blueprint = Blueprint("activation", __name__, template_folder="templates")


@blueprint.get("/activate/<secret>")
def form(secret: str) -> str:
    """The form. Looking at it uses nothing up."""
    return render_template("activate.html", secret=secret, fault=None, done=None)
