"""In and out. A form that was sent after the session had ended is kept in the page of the login, and given back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, cast

from flask import Response, current_app, g, make_response, redirect, request, session, url_for
from itsdangerous import BadSignature, URLSafeSerializer

from titrator.door import count_login, door, visiting
from titrator.security.permissions import Permission
from titrator.security.secrets import sha256
from titrator.web.forms import CodeForm, LoginForm, Nothing
from titrator.web.frame import (
    COOKIE,
    After,
    Filled,
    Pages,
    first_page,
    followed,
    given_back,
    is_of_this_session,
    rendered,
)
from titrator.web.language import gettext as _
from titrator.workflow import accounts
from titrator.workflow.visit import Visit

pages = Pages("login")

_THEMES: Final = ("light", "dark")
_YEAR: Final = 365 * 86400
#: So long after the password the code may come.
_CODE_SECONDS: Final = 300


@pages.get("/login")
def login() -> Any:
    """The form."""
    g.actor = None
    form = LoginForm(formdata=None)
    form.next.data = request.args.get("next", "")
    return rendered("login.html", {"filled": Filled(form, {}), "ended": False})


@pages.post("/login")
def come_in() -> Any:
    """Log in, and go on where one was; where the account has a second factor, its code is asked for next."""
    g.actor = None
    count_login()
    form = LoginForm()
    if not is_of_this_session():
        return _again(form, _("This page had been open for too long, or without cookies. Log in once more."))
    username, password = str(form.username.data or "").strip(), str(form.password.data or "")
    proof = accounts.prove(door().services, username, password)
    with visiting(None) as visit:
        done = accounts.login(visit, username, proof)
        _end_before(visit, done)
    if done.needs_code:
        asked = CodeForm(formdata=None)
        asked.proved.data = _proved().dumps([done.account.username, sha256(proof.stored or ""), _now()])
        asked.next.data, asked.kept.data = form.next.data, form.kept.data
        return rendered("code.html", {"filled": Filled(asked, {})})
    if done.issued is None:
        return _again(form, _("Wrong name or password, or the account is locked for a while."))
    return _let_in(form, done)


@pages.post("/login/code")
def second_factor() -> Any:
    """The second half of a login: a code of the authenticator, or a recovery code."""
    g.actor = None
    count_login()
    form = CodeForm()
    try:
        username, stored_sha256, at = _proved().loads(form.proved.data or "")
    except BadSignature:
        username, stored_sha256, at = "", "", 0
    proof = accounts.stored_proof(door().services, username, stored_sha256)
    if not is_of_this_session() or not proof.right or _now() - at > _CODE_SECONDS:
        begin = LoginForm(formdata=None)
        begin.next.data, begin.kept.data = form.next.data, form.kept.data
        return _again(begin, _("That took too long. Log in once more."))
    with visiting(None) as visit:
        done = accounts.login(visit, username, proof, str(form.code.data or "").strip())
        _end_before(visit, done)
    if done.issued is None:
        told = _("That code is not right, has been used, or the account is locked for a while.")
        return rendered("code.html", {"filled": Filled(form, {}, (told,))}), HTTPStatus.UNAUTHORIZED
    return _let_in(form, done)


def _end_before(visit: Visit, done: accounts.Login) -> None:
    """End the session that this browser had before: from now on it has another one."""
    if done.issued is not None:
        accounts.end_session(visit, request.cookies.get(COOKIE, ""))


def _let_in(form: LoginForm | CodeForm, done: accounts.Login) -> Response:
    """On to where one was, or back to the form that was sent too late; to the second factor, if there must be one."""
    session.clear()  # whoever had this browser before
    issued = cast(accounts.Issued, done.issued)
    back = given_back(form.kept.data, done.account.id) if form.kept.data else None
    response: Response
    if back is not None:
        path, fields = back
        given = {"path": path, "fields": fields, "form": Nothing(formdata=None)}
        response = make_response(rendered("returned.html", given))
    else:
        response = make_response(redirect(_local(form.next.data, first_page(done.permissions)), HTTPStatus.SEE_OTHER))
    response.set_cookie(COOKIE, issued.secret, secure=request.is_secure, httponly=True, samesite="Lax")
    return response


def _now() -> int:
    return int(door().services.clock().timestamp())


def _proved() -> URLSafeSerializer:
    """What seals that a password was right, and when, until the code comes."""
    return URLSafeSerializer(cast(str, current_app.secret_key), salt="password proved")


def _again(form: LoginForm, told: str) -> Any:
    return rendered("login.html", {"filled": Filled(form, {}, (told,)), "ended": False}), HTTPStatus.UNAUTHORIZED


def _local(path: str | None, otherwise: str) -> str:
    """A path of this service; another one in place of any foreign address.

    Browsers leave out tabs and ends of lines: with one of them between, two slashes are the beginning of another host.
    """
    fits = path and path.isprintable() and path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if path and fits else otherwise


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
