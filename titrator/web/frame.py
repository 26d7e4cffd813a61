"""What every page passes: who is logged in, whether they may, a visit, a template; forms, and what is wrong with them.

    a page   cookie → account → permission → a visit that reads → its template
    a form   the same; that it was not forged; the schema of the REST route → a visit that writes → the next page
             refused: the form again, as it was filled in, each fault beside its field
             logged out meanwhile: what was filled in is kept, and given back after login

Pages call the steps that REST calls, so that both doors ask, refuse and write down the same things.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Container, Mapping
from functools import wraps
from http import HTTPStatus
from typing import Any, Final, NamedTuple, cast

import marshmallow as ma
import structlog
from cryptography.fernet import Fernet, InvalidToken
from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    flash,
    g,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from flask_wtf.csrf import validate_csrf
from werkzeug.exceptions import HTTPException
from wtforms import ValidationError

from titrator.door import STATUS, Door, View, count_nobody, done, door, faults_of, guarded, leave_refused, unready
from titrator.security.permissions import Permission
from titrator.security.secrets import fingerprint, sha256
from titrator.store.base import Overtaken, Unavailable
from titrator.store.records import KeptAnswer, Token
from titrator.titration.errors import Fault, InvalidInput
from titrator.web.forms import Form, LoginForm
from titrator.web.language import gettext as _
from titrator.workflow.accounts import authenticate
from titrator.workflow.errors import (
    Asked,
    Code,
    Conflict,
    Forbidden,
    Invalid,
    Outdated,
    ProposalChanged,
    Refusal,
    TooMany,
    Unauthorised,
    Unknown,
    Unready,
)
from titrator.workflow.visit import Actor, Services, Visit, instant

#: The cookie that holds the secret of a session.
COOKIE: Final = "titrator_session"
#: The doors of programs, which have no use for cookies.
_PROGRAMS: Final = ("/api/", "/fhir", "/cds-services", "/hl7", "/auth/", "/livez", "/readyz", "/metrics")
#: What sends a form back for correction. All else is told on a page of its own.
_CORRECTED: Final = (Invalid, Asked, Conflict, Outdated, Unknown, Forbidden)
#: Pages load from their own origin only, and run no script but its files.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

#: The pages with which work begins, by who may see them.
_FIRST: Final = (
    ("web.worklist.worklist", Permission.READ_PATIENTS),
    ("web.audit.audit", Permission.READ_AUDIT),
    ("web.staff.staff", Permission.MANAGE_ACCOUNTS),
    ("web.protocols.protocols", Permission.READ_PROTOCOLS),
    ("web.account.account", Permission.OWN_ACCOUNT),
)
_LONGEST_VERSION: Final = 16
#: What a browser says of a request that a page of ours sends.
_OURS: Final = "same-origin"
#: The number of a form: 20 signs, if it is one of ours.
_ONCE: Final = re.compile(r"[0-9A-Za-z._-]{1,64}", re.ASCII)
#: So much of a form is kept at most; the login that brings it back must be no more than the service takes at once.
_LONGEST_KEPT: Final = 500_000
#: What a form says of itself, and what no page may have in it once more.
_OF_ITS_OWN: Final = ("csrf_token", "returned", "password", "old", "new", "again", "code")

Context = dict[str, Any]


def is_for_programs(path: str) -> bool:
    """Whether a path is of a door of programs."""
    return path.startswith(_PROGRAMS)


class After(NamedTuple):
    """The page that follows when a form has been carried out, and what is said there.

    `shown` is a page that answers the form itself, for what is shown once only: a secret. It is kept nowhere; the form
    sent again leads to `where`.
    """

    where: str
    said: str = ""
    shown: str | None = None


class Filled(NamedTuple):
    """A form on its page: what is wrong with it by field, in all, and what it is asked; whether it was given back."""

    form: Form
    faults: Mapping[str, list[str]]
    told: tuple[str, ...] = ()
    questions: tuple[tuple[str, str], ...] = ()
    returned: bool = False


class Sessions(SecureCookieSessionInterface):
    """Signed cookies for pages; none for programs, who are not to wait for them."""

    def get_cookie_secure(self, app: Flask) -> bool:
        """Whether the cookie is for TLS only: where it came by that, as for that of the session."""
        del app
        return request.is_secure

    def open_session(self, app: Flask, request: Any) -> Any:
        """The session of a page, or of a program one that cannot be written to."""
        if is_for_programs(request.path):
            return self.make_null_session(app)
        return super().open_session(app, request)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Send what has changed."""
        if not self.is_null_session(session):
            super().save_session(app, session, response)


class Pages(Blueprint):
    """Pages of one noun, each with its permission."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "titrator.web", template_folder="templates")
        self.register_error_handler(Refusal, _refused)
        self.register_error_handler(InvalidInput, lambda error: _refused(Invalid(*error.faults)))
        self.register_error_handler(HTTPException, _unanswered)
        self.register_error_handler(Unavailable, lambda error: _refused(unready(error)))
        self.register_error_handler(Overtaken, lambda error: _refused(unready(error)))
        self.register_error_handler(Exception, _broken)
        self.after_request(_of_a_page)

    def page(  # noqa: PLR0913 (what a page is, in one place, each by its name)
        self,
        rule: str,
        permission: Permission | None,
        template: str | None = None,
        *,
        name: str | None = None,
        before: Callable[[Services], object] | None = None,
        stores: bool = False,
    ) -> Callable[[View], View]:
        """Make a page of a view, which gets the visit and the variables of the path, and gives what the template needs.

        A view may give a response of its own. `before` is done ahead of the visit.
        """

        def decorator(view: View) -> View:
            @wraps(view)
            def shown(**where: Any) -> Any:
                if before is not None:
                    before(door().services)
                found = done(lambda visit: view(visit, **where), writes=stores, drafts=False)
                return found if template is None or isinstance(found, Response) else rendered(template, found)

            self._add(rule, permission, name or view.__name__, shown, ["GET"])
            return view

        return decorator

    def form(  # noqa: PLR0913 (what a form is, in one place, each by its name)
        self,
        rule: str,
        permission: Permission,
        form: type[Form],
        schema: type[ma.Schema] | None,
        template: str,
        *,
        page: Callable[..., Context],
        name: str | None = None,
        before: Callable[[Services], object] | None = None,
        stores: bool = True,
        alone: bool = False,
    ) -> Callable[[View], View]:
        """Make a form of a step, which gets the visit, what was filled in and the variables of the path.

        `page` gives what the template needs beside the form, called `filled` there, and may fill in the form before it
        is shown first: it gets the visit, the form and the variables of the path. What was filled in has gone through
        the schema; without one it is as `Form.body` gives it. A step that stores nothing holds up nobody who writes.
        One that stands `alone` gets no visit and opens its own: what it leaves stays, even where it refuses.
        """

        def decorator(step: View) -> View:
            def shown(filled: Filled, where: Mapping[str, Any]) -> Any:
                found = done(lambda visit: page(visit, filled.form, **where), writes=False, drafts=False)
                return found if isinstance(found, Response) else rendered(template, {**found, "filled": filled})

            def carried_out(sheet: Form, where: Mapping[str, Any]) -> Any:
                body = read(sheet, schema)
                if alone:
                    return step(body, **where)

                def once(visit: Visit) -> Any:
                    return _once(visit, sheet, lambda: step(visit, body, **where), stores=stores)

                return done(once, writes=stores, drafts=False)

            @wraps(step)
            def view(**where: Any) -> Any:
                if before is not None:
                    before(door().services)
                sheet = form()
                if not _is_to_be_carried_out():
                    return shown(Filled(sheet, {}, returned=request.method == "POST"), where)
                try:
                    after = carried_out(sheet, where)
                except _CORRECTED as refusal:
                    page_again = shown(_corrected(sheet, refusal), where)
                    leave_refused(refusal, "")
                    return page_again, STATUS[type(refusal)]
                return after if isinstance(after, Response) else followed(after)

            self._add(rule, permission, name or step.__name__, view, ["GET", "POST"])
            return step

        return decorator

    def deed(
        self, rule: str, permission: Permission, form: type[Form], *, name: str | None = None
    ) -> Callable[[View], View]:
        """Make what a button does of a step; what is wrong with it is told on a page of its own."""

        def decorator(step: View) -> View:
            @wraps(step)
            def view(**where: Any) -> Any:
                _refuse_unmeant()
                sheet = form()
                body = read(sheet, None)
                after = done(
                    lambda visit: _once(visit, sheet, lambda: step(visit, body, **where)), writes=True, drafts=False
                )
                return after if isinstance(after, Response) else followed(after)

            self._add(rule, permission, name or step.__name__, view, ["POST"])
            return step

        return decorator

    def _add(self, rule: str, permission: Permission | None, name: str, view: View, methods: list[str]) -> None:
        passed = guarded(view, permission, known_by=by_cookie)
        passed.permission = permission  # type: ignore[attr-defined]
        self.add_url_rule(rule, endpoint=name, view_func=passed, methods=methods)


def by_cookie(here: Door) -> Actor:
    """Whom the session of the browser names; raises Unauthorised, TooMany."""
    secret = request.cookies.get(COOKIE, "")
    if not secret:
        raise Unauthorised(_("You are not logged in."))
    try:
        actor = authenticate(here.services, secret)
    except Unauthorised:
        count_nobody()
        raise
    if actor.token_id is not None:  # one of a program is not for browsers
        raise Unauthorised(_("You are not logged in."))
    _bind_forms(sha256(secret))
    return actor


def _bind_forms(to: str) -> None:
    """Have what signs forms be that of a session: another one's may have been put into the browser by somebody else."""
    of = fingerprint(to.encode(), "forms", "of a session")
    if session.get("of") != of:
        session.pop("csrf_token", None)
        session["of"] = of


def rendered(template: str, context: Mapping[str, Any]) -> str:
    """A page."""
    return render_template(template, **context)


def followed(after: After) -> Response:
    """The way to the page that follows, or the page that is shown once."""
    if after.shown is not None:
        return Response(after.shown)
    if after.said:
        flash(after.said, "success")
    return cast(Response, redirect(after.where, HTTPStatus.SEE_OTHER))


def read(form: Form, schema: type[ma.Schema] | None) -> dict[str, Any]:
    """What was filled in, through the schema; raises Invalid with every fault."""
    body, faults = form.body()
    loaded = body
    if schema is not None:
        try:
            loaded = schema().load(body)
        except ma.ValidationError as error:
            told = {fault.path for fault in faults}
            faults += [one for one in faults_of(error.messages) if one.path not in told]
    if faults:
        raise Invalid(*faults)
    return loaded


def version() -> int:
    """The version of what a form changes, as it was when the form was opened; 0, which none has, where it says none."""
    text = request.form.get("version", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < _LONGEST_VERSION else 0


def asked(schema: type[ma.Schema]) -> dict[str, Any]:
    """The query of a page, through a schema, without what was left empty; raises Invalid with every fault."""
    there = {name: value for name, value in request.args.items() if value.strip()}
    try:
        return cast("dict[str, Any]", schema().load(there))
    except ma.ValidationError as error:
        raise Invalid(*faults_of(error.messages)) from None


def first_page(permissions: Container[Permission] | None) -> str:
    """The address of the page with which somebody begins: the first that the permissions open, else the login."""
    for endpoint, permission in _FIRST:
        if permissions is not None and permission in permissions:
            return url_for(endpoint)
    return url_for("web.login.login")


def context() -> Context:
    """What every template may use."""
    actor: Actor | None = g.get("actor")
    return {
        "actor": actor,
        "first_page": first_page(None if actor is None else actor.permissions),
        "may": (lambda name: False) if actor is None else (lambda name: Permission(name) in actor.permissions),
        "theme": request.cookies.get("theme", "") if request.cookies.get("theme") in ("light", "dark") else "",
    }


def _is_to_be_carried_out() -> bool:
    """Whether a form has been sent to be carried out: not one that is given back, nor one that others may have sent.

    The latter come most often from another login in this browser: such a form is shown again, to be checked and sent.
    """
    return request.method == "POST" and not request.form.get("returned") and is_of_this_session()


def is_of_this_session() -> bool:
    """Whether a form was sent from a page of this session; where the browser says of whose page, it must be ours."""
    if request.headers.get("Sec-Fetch-Site", _OURS) != _OURS:
        return False
    try:
        validate_csrf(request.form.get("csrf_token", ""))
    except ValidationError:
        return False
    return True


def _refuse_unmeant() -> None:
    if not _is_to_be_carried_out():
        raise Invalid(Fault("", _("You have logged in anew since this page was opened. Open it again.")))


def _once(visit: Visit, form: Form, step: Callable[[], After], *, stores: bool = True) -> After:
    """What a step gives, or gave: a form that is sent twice, by a second click, is carried out once.

    One that stores nothing is carried out again.
    """
    if not stores:
        return step()
    once = str(form.once.data or "")
    if not _ONCE.fullmatch(once):
        raise Invalid(Fault("", _("The page has lost the number of its form. Open it again.")))
    key = f"form {once}"
    digest = sha256("\0".join([request.full_path, *(f"{name}={value}" for name, value in form.said())]))
    kept = visit.session.get(KeptAnswer, visit.who.account_id, key)
    if kept is not None and kept.request_sha256 == digest:
        return After(str(kept.headers["Location"]), _("This has been done already."))
    if kept is not None:
        raise Conflict(
            Code.IDEMPOTENCY_KEY_REUSED,
            _("This form has been sent already, filled in otherwise. Look at what was recorded, and correct that."),
        )
    after = step()
    if isinstance(after, After):
        visit.session.add(
            KeptAnswer(
                account_id=visit.who.account_id,
                key=key,
                request_sha256=digest,
                status=int(HTTPStatus.SEE_OTHER),
                headers={"Location": after.where},
                body="",
                at=instant(visit.now),
            )
        )
    return after


def _corrected(form: Form, refusal: Refusal) -> Filled:
    """A form with what is wrong with it: by field where it has the field, else at its head."""
    by_field: dict[str, list[str]] = {}
    told = [] if isinstance(refusal, Invalid | Asked) else [refusal.message]
    questions: list[tuple[str, str]] = []
    for fault in refusal.faults:
        name = form.field_of(fault.path)
        code, _colon, text = fault.message.partition(": ")
        if isinstance(refusal, Asked) and code in refusal.questions:
            questions.append((code, text))
        elif name is not None:
            by_field.setdefault(name, []).append(fault.message)
        elif fault.path.startswith("confirm["):
            told.append(
                _("What was asked before is not asked of what is filled in now. Check it, and send it once more.")
            )
        else:
            told.append(str(fault))
    return Filled(form, by_field, tuple(dict.fromkeys(told)), tuple(questions))


def _refused(refusal: Refusal) -> Any:
    """The page that tells of a refusal; for who is not logged in, the login."""
    if isinstance(refusal, Unauthorised) and g.get("actor") is None:
        return to_login()
    status = STATUS[type(refusal)]
    context = {"refusal": refusal, "status": status, "changed": isinstance(refusal, ProposalChanged)}
    page = rendered("refused.html", {**context, "asked_again": _asked_again(refusal)})
    response = Response(page, status=status)
    if isinstance(refusal, TooMany | Unready) and refusal.retry_after is not None:
        response.headers["Retry-After"] = str(refusal.retry_after)
    return response


class AskedAgain(NamedTuple):
    """A part of a query that was refused, and what is wrong with it."""

    name: str
    value: str
    faults: list[str]


def _asked_again(refusal: Refusal) -> list[AskedAgain]:
    """The query of a page as it was sent, to be mended, where something in it is to blame; else none."""
    faults: dict[str, list[str]] = {}
    for fault in refusal.faults:
        faults.setdefault(fault.path, []).append(fault.message)
    if request.method != "GET" or not faults.keys() & request.args.keys():
        return []
    return [AskedAgain(name, value, faults.get(name, [])) for name, value in request.args.items()]


def to_login() -> Any:
    """The login, which leads back to where one was; what was filled in is kept in it, sealed, and not with us."""
    if request.method == "GET":
        where = request.full_path if request.query_string else request.path
        return redirect(url_for("web.login.login", next=None if where == "/" else where), HTTPStatus.SEE_OTHER)
    form = LoginForm(formdata=None)
    form.kept.data = _kept() or ""
    return rendered("login.html", {"filled": Filled(form, {}), "ended": True}), HTTPStatus.UNAUTHORIZED


def _kept() -> str | None:
    """What a form of ours said, sealed for who had filled it in; None of one that others may have sent."""
    adapter = current_app.create_url_adapter(request)
    if adapter is None or not adapter.test(request.path, "GET") or not _from_here():
        return None
    secret = request.cookies.get(COOKIE, "")
    with door().services.store.reading() as found:
        token = found.get(Token, sha256(secret))
    if token is None or token.kind != "session":
        return None
    try:
        said = [[name, value] for name, value in request.form.items(multi=True) if name not in _OF_ITS_OWN]
    except HTTPException:  # more than is taken at once
        return None
    sealed = _seal().encrypt(json.dumps([token.account_id, request.full_path.rstrip("?"), said]).encode())
    return sealed.decode() if len(sealed) <= _LONGEST_KEPT else None


def given_back(kept: str, account_id: str) -> tuple[str, list[tuple[str, str]]] | None:
    """The path and the fields of a form that was kept for an account; None of any other."""
    try:
        owner, path, said = json.loads(_seal().decrypt(kept.encode()))
    except InvalidToken:
        return None
    return (path, [(name, value) for name, value in said]) if owner == account_id else None


def _seal() -> Fernet:
    """What seals a form that is kept in the browser: whoever sits down there without a login must not read it."""
    key = fingerprint(cast(str, current_app.secret_key).encode(), "pages", "kept form")
    return Fernet(urlsafe_b64encode(bytes.fromhex(key)))


def _from_here() -> bool:
    """Whether a page of ours sent the request: another one may not lay words into somebody's mouth."""
    site = request.headers.get("Sec-Fetch-Site")
    return site == _OURS if site else request.headers.get("Origin") == request.host_url.rstrip("/")


def missing() -> Response:
    """The page that says that there is none."""
    g.actor = None
    page = rendered("problem.html", {"status": HTTPStatus.NOT_FOUND, "text": _("There is no such page."), **context()})
    return _of_a_page(Response(page, status=HTTPStatus.NOT_FOUND))


def _unanswered(error: HTTPException) -> Any:
    status = HTTPStatus(error.code or 500)
    told = {404: _("There is no such page."), 413: _("That is more than this service takes at once.")}
    page = rendered("problem.html", {"status": status, "text": told.get(status, error.description or status.phrase)})
    return Response(page, status=status)


def _broken(error: Exception) -> Any:
    structlog.get_logger().error("unforeseen", request=g.get("request_id"), exc_info=error)
    text = _("Something went wrong here. It has been written down under the request id.")
    page = rendered("problem.html", {"status": HTTPStatus.INTERNAL_SERVER_ERROR, "text": text})
    return Response(page, status=HTTPStatus.INTERNAL_SERVER_ERROR)


def _of_a_page(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "same-origin"  # without it a form would not say whose it is
    response.headers["X-Frame-Options"] = "DENY"
    return response
