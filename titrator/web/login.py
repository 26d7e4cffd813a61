"""In and out. A form that was sent after the session had ended is kept in the page of the login, and given back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, cast

from flask import Response, g, make_response, redirect, request, session, url_for
from flask_babel import gettext as _
from flask_wtf.csrf import validate_csrf
from wtforms import ValidationError

from titrator.door import count_login, door, visiting
from titrator.security.permissions import PERMISSIONS, Permission, Role
from titrator.store.records import Account
from titrator.web.forms import LoginForm, Nothing
from titrator.web.frame import COOKIE, After, Filled, Pages, first_page, followed, given_back, rendered
from titrator.workflow import accounts
from titrator.workflow.visit import Visit

pages = Pages("login")

_THEMES: Final = ("light", "dark")
_YEAR: Final = 365 * 86400


@pages.get("/login")
def login() -> Any:
    """The form."""
    g.actor = None
    form = LoginForm(formdata=None)
    form.next.data = request.args.get("next", "")
    return rendered("login.html", {"filled": Filled(form, {}), "ended": False})


@pages.post("/login")
def come_in() -> Any:
    """Log in, and go on where one was."""
    g.actor = None
    count_login()
    form = LoginForm()
    try:
        validate_csrf(request.form.get("csrf_token", ""))
    except ValidationError:
        return _again(form, _("This page had been open for too long, or without cookies. Log in once more."))
    services = door().services
    username, password = str(form.username.data or "").strip(), str(form.password.data or "")
    proof = accounts.prove(services, username, password)
    with visiting(None) as visit:
        account, issued = accounts.login(visit, username, proof)
    if issued is None:
        return _again(form, _("Wrong name or password, or the account is locked for a while."))
    session.clear()  # whoever had this browser before
    back = given_back(form.kept.data, account.id) if form.kept.data else None
    response: Response
    if back is not None:
        path, fields = back
        response = make_response(
            rendered("returned.html", {"path": path, "fields": fields, "form": Nothing(formdata=None)})
        )
    else:
        response = make_response(redirect(_local(form.next.data, _first_of(account)), HTTPStatus.SEE_OTHER))
    response.set_cookie(COOKIE, issued.secret, secure=request.is_secure, httponly=True, samesite="Lax")
    return response


def _again(form: LoginForm, told: str) -> Any:
    return rendered("login.html", {"filled": Filled(form, {}, (told,)), "ended": False}), HTTPStatus.UNAUTHORIZED


def _local(path: str | None, otherwise: str) -> str:
    """A path of this service; another one in place of any foreign address."""
    fits = path and path.startswith("/") and not path.startswith(("//", "/\\")) and "\n" not in path
    return path if path and fits else otherwise


def _first_of(account: Account) -> str:
    return first_page(PERMISSIONS[Role(account.role)])


@pages.page("/", Permission.OWN_ACCOUNT)
def first(visit: Visit) -> Response:
    """On to the page with which one's work begins."""
    return cast(Response, redirect(first_page(visit.who.permissions)))


@pages.deed("/logout", Permission.OWN_ACCOUNT, Nothing)
def logout(visit: Visit, body: dict[str, Any]) -> Response:
    """End the session."""
    del body
    accounts.logout(visit)
    session.clear()
    response = followed(After(url_for("web.login.login"), _("You are logged out.")))
    response.delete_cookie(COOKIE)
    return response


@pages.post("/theme")
def theme() -> Response:
    """Show pages light, dark, or as the browser prefers."""
    g.actor = None
    response = make_response(
        redirect(_local(request.form.get("next"), url_for("web.login.first")), HTTPStatus.SEE_OTHER)
    )
    chosen = request.form.get("theme", "")
    if chosen in _THEMES:
        response.set_cookie("theme", chosen, max_age=_YEAR, secure=request.is_secure, httponly=True, samesite="Lax")
    else:
        response.delete_cookie("theme")
    return response
