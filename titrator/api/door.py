"""What each request passes: who asks, whether it may, one transaction, the trail, the answer kept.

`Blueprint.operation` is the only way to make a route, so that none can be without its permission:

1. `_guarded`    the request is counted, its token looked up, its permission checked
2. the arguments are read, with every fault
3. `_visiting`   a visit is opened, in one transaction with its trail and, with an Idempotency-Key, its answer
4. the view      schema in, workflow, schema out
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any, Final, cast

import flask_smorest
import marshmallow as ma
import structlog
from flask import Response, current_app, g, request

from titrator.api.wire import StrictParser
from titrator.security.limits import Limit
from titrator.security.permissions import Permission
from titrator.security.secrets import sha256
from titrator.store.base import Duplicate, Session, Stale
from titrator.store.draft import Draft
from titrator.store.records import KeptAnswer
from titrator.titration.documents import join
from titrator.titration.errors import Fault
from titrator.workflow.accounts import authenticate
from titrator.workflow.errors import Asked, Code, Conflict, Forbidden, Invalid, Refusal, TooMany, Unauthorised, Unknown
from titrator.workflow.trail import set_aside
from titrator.workflow.visit import Actor, Services, Visit, instant, leave

View = Callable[..., Any]

#: No permission: for those who have no account yet, and for what says nothing of patients.
PUBLIC: Final = None
_LONGEST_KEY: Final = 255
_PATIENT_PATH: Final = re.compile(r"/api/v1/patients/([^/]+)")
#: Keys of an answer that is kept without their values: they are shown once.
_SECRET_KEYS: Final = ("secret", "token", "activation_secret", "url")


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What the routes need from the rest of the program; kept as `app.extensions["titrator"]`."""

    services: Services
    requests: Limit
    logins: Limit


def door() -> Door:
    """That of the app that answers now."""
    return cast(Door, current_app.extensions["titrator"])


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc]
    """Routes of one noun, each with its permission."""

    ARGUMENTS_PARSER = StrictParser()

    def operation(  # noqa: PLR0913 (what a route is, in one place, each by its name)
        self,
        method: str,
        rule: str,
        permission: Permission | None,
        *,
        gives: type[ma.Schema] | None,
        status: int = 200,
        also: int | None = None,
        body: type[ma.Schema] | None = None,
        query: type[ma.Schema] | None = None,
        versioned: bool = False,
        name: str | None = None,
        raw_body: bool = False,
        public_limit: bool = False,
        stores: bool | None = None,
        drafts: bool = False,
        before: Callable[[Services], object] | None = None,
        alone: bool = False,
        refuses: tuple[int, ...] = (),
    ) -> Callable[[View], View]:
        """Make a route of a view, which gets the visit first, then query, body and the variables of the path.

        `also` is a second status of success. `stores` says whether the view writes where the method does not tell; a
        view that `drafts` reads nothing that it has written itself, so that others may write meanwhile. `before` is
        done ahead of the visit, a view that stands `alone` opens its own, `refuses` has statuses of problems that the
        rest does not tell.
        """

        def decorator(view: View) -> View:
            writes = method != "GET" if stores is None else stores
            answered = self.response(status, gives)(_called(view))
            if not alone:
                plain = self.response(status, gives)(_visiting(_called(view), writes=writes, drafts=drafts))
                answered = _either(_keeping(answered, drafts=drafts), plain) if writes else plain
            made = answered
            if body is not None and not raw_body:
                made = self.arguments(body(), location="json")(made)
            made = _without_query(made) if query is None else _queried(self.arguments, query(), made)
            guarded = _guarded(made if before is None else _after(before, made), permission, login=public_limit)
            guarded.permission = permission  # type: ignore[attr-defined]
            refusals = _refusals(
                method,
                rule,
                guarded=permission is not None,
                takes=body is not None or query is not None,
                versioned=versioned,
            )
            manual: dict[str, Any] = {
                "operationId": name or view.__name__,
                "summary": (view.__doc__ or "").split("\n")[0].rstrip("."),
                "responses": {code: f"PROBLEM_{code}" for code in sorted({*refusals, *refuses})},
            }
            if also is not None:
                manual["responses"][also] = {
                    "description": HTTPStatus(also).phrase,
                    "content": {"application/json": {"schema": gives}},
                }
            if permission is None:
                manual["security"] = []
            else:
                manual["description"] = f"Needs the permission `{permission}`."
            if raw_body and body is not None:
                manual["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
            manual["parameters"] = _headers(method, versioned=versioned, keeps=permission is not None)
            guarded.__doc__ = None
            guarded._apidoc = {**guarded._apidoc, "manual_doc": manual}  # type: ignore[attr-defined]  # noqa: SLF001
            self.route(rule, methods=[method], endpoint=name or view.__name__)(guarded)
            return view

        return decorator


def count_login() -> None:
    """Count an attempt to come in from the address that asks; raises TooMany."""
    here = door()
    _count(here, here.logins, f"login {request.remote_addr}")


def count_nobody() -> None:
    """Count a request without a sound token from the address that asks; raises TooMany."""
    here = door()
    _count(here, here.requests, f"nobody {request.remote_addr}")


@contextmanager
def visiting(actor: Actor | None) -> Iterator[Visit]:
    """A visit in a transaction that writes; what it notes is written with it."""
    services = door().services
    with services.store.writing() as session:
        visit = _visit(services, session, actor, services.clock())
        yield visit
        leave(visit, session, visit.entries)


@contextmanager
def reading(actor: Actor | None) -> Iterator[Visit]:
    """A visit in a transaction that reads; what it notes is set aside for the trail when it ends well."""
    services = door().services
    with services.store.reading() as session:
        visit = _visit(services, session, actor, services.clock())
        yield visit
    if visit.entries:
        set_aside(services, visit.entries)


def _visit(services: Services, session: Session, actor: Actor | None, now: Any) -> Visit:
    return Visit(services=services, session=session, actor=actor, now=now, request_id=g.request_id)


def _called(view: View) -> View:
    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return wrapper


def _after(before: Callable[[Services], object], view: View) -> View:
    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        before(door().services)
        return view(*args, **kwargs)

    return wrapper


def _guarded(view: View, permission: Permission | None, *, login: bool) -> View:
    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        here = door()
        if permission is None:
            if login:
                count_login()
            g.actor = None
            return view(*args, **kwargs)
        actor = g.actor = _authenticated(here)
        _count(here, here.requests, actor.account_id)
        try:
            _refuse_without(permission, actor)
            return view(*args, **kwargs)
        except (Forbidden, Unknown) as refusal:
            _leave_refused(here.services, actor, "denied", refusal)
            structlog.get_logger().warning("denied", code=str(refusal.code), account=actor.account_id)
            raise
        except Refusal as refusal:
            if isinstance(refusal, Conflict | Asked) or "patient_id" in kwargs:  # its words may tell what is stored
                _leave_refused(here.services, actor, "refused", refusal)
            raise

    return wrapper


def _refuse_without(permission: Permission, actor: Actor) -> None:
    if permission not in actor.permissions:
        raise Forbidden(f"This account or token has not the permission {permission}.")


def _authenticated(here: Door) -> Actor:
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        count_nobody()
        raise Unauthorised("Send a token: Authorization: Bearer ...")
    try:
        return authenticate(here.services, secret.strip())
    except Unauthorised:
        count_nobody()
        structlog.get_logger().info("token-refused", request=g.request_id, address=request.remote_addr)
        raise


def _count(here: Door, limit: Limit, who: str) -> None:
    if wait := limit.hit(who, here.services.clock().timestamp()):
        raise TooMany(wait)


def _leave_refused(services: Services, actor: Actor, did: str, refusal: Refusal) -> None:
    """Write down an attempt that was refused, in a transaction of its own: that of the request is undone."""
    with services.store.reading() as session:
        visit = _visit(services, session, actor, services.clock())
    visit.note(did, request.path[:300], method=request.method, code=str(refusal.code))
    set_aside(services, visit.entries)


def _without_query(view: View) -> View:
    """Refuse parameters where a route has none: nobody may think that one was heeded."""

    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if request.query_string and request.args:
            raise Invalid(*(Fault(join("", key), "unknown key") for key in request.args))
        return view(*args, **kwargs)

    return wrapper


def _queried(arguments: Callable[..., Callable[[View], View]], schema: ma.Schema, view: View) -> View:
    """A view with the arguments of its query; what comes of a request without any is known beforehand."""
    reading = arguments(schema, location="query")(view)
    if schema.validate({}):
        return reading
    nothing = schema.load({})

    @wraps(reading)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return reading(*args, **kwargs) if request.query_string else view(*args, dict(nothing), **kwargs)

    return wrapper


def _either(keeping: View, plain: View) -> View:
    """A view whose answer is kept if the request has an Idempotency-Key, in the transaction of what it does.

    Without one the answer is put into words after the transaction, for which others may wait.
    """

    @wraps(plain)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        kept = request.method == "POST" and g.actor is not None and "Idempotency-Key" in request.headers
        return (keeping if kept else plain)(*args, **kwargs)

    return wrapper


def _visiting(view: View, *, writes: bool, drafts: bool) -> View:
    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return _done(lambda visit: view(visit, *args, **kwargs), writes=writes, drafts=drafts)

    return wrapper


def _keeping(view: View, *, drafts: bool) -> View:
    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        key = request.headers["Idempotency-Key"]

        def answer(visit: Visit) -> Any:
            digest = _request_digest(key)
            if kept := visit.session.get(KeptAnswer, visit.who.account_id, key):
                if patient := kwargs.get("patient_id") or _patient_of(kept):
                    visit.patient(patient)  # who may have gone to another clinic since, or the account
                visit.note("answer-again", request.path[:300], method=request.method)
                return _again(kept, digest)
            response = cast(Response, view(visit, *args, **kwargs))
            visit.session.add(_keep(visit, key, digest, response))
            return response

        return _done(answer, writes=True, drafts=drafts)

    return wrapper


def _done(step: Callable[[Visit], Any], *, writes: bool, drafts: bool) -> Any:
    """What a step gives, in its transaction."""
    if drafts:
        try:
            return _drafted(step)
        except (Stale, Duplicate):
            pass  # somebody was faster: once more, while nobody else writes
    if writes:
        with visiting(g.actor) as visit:
            return step(visit)
    return _read(step)


def _read(step: Callable[[Visit], Any]) -> Any:
    """What a step gives that only reads; it is in the trail before it is given."""
    services = door().services
    with services.store.reading() as session:
        visit = _visit(services, session, g.actor, services.clock())
        given = step(visit)
    if visit.entries:
        set_aside(services, visit.entries)
    return given


def _drafted(step: Callable[[Visit], Any]) -> Any:
    """What a step gives that is prepared while others write; raises Stale, Duplicate where one of them was faster."""
    services = door().services
    with services.store.reading() as session:
        draft = Draft(session)
        visit = _visit(services, draft, g.actor, services.clock())
        given = step(visit)

    def write(session: Session) -> None:
        draft.carry_out(session)
        leave(visit, session, visit.entries)

    services.store.carry_out(write)
    return given


def _request_digest(key: str) -> str:
    if not 0 < len(key) <= _LONGEST_KEY or not key.isprintable():
        raise Invalid(Fault("Idempotency-Key", f"must have 1 to {_LONGEST_KEY} printable characters"))
    return sha256(b"\0".join([request.full_path.encode(), request.get_data(cache=True)]))


def _again(kept: KeptAnswer, digest: str) -> Response:
    if kept.request_sha256 != digest:
        raise Conflict(
            Code.IDEMPOTENCY_KEY_REUSED, "That Idempotency-Key was used for another request; take a new one for each."
        )
    response = Response(kept.body, status=kept.status, content_type="application/json")
    for name, value in kept.headers.items():
        response.headers[name] = str(value)
    response.headers["Idempotency-Replayed"] = "true"
    return response


def _patient_of(kept: KeptAnswer) -> str | None:
    """The id of the patient whom an answer has made, or of whom it has made something; None of others."""
    found = _PATIENT_PATH.match(str(kept.headers.get("Location", "")))
    return None if found is None else found[1]


def _keep(visit: Visit, key: str, digest: str, response: Response) -> KeptAnswer:
    headers = {name: response.headers[name] for name in ("ETag", "Location") if name in response.headers}
    text = response.get_data(as_text=True)
    if any(f'"{name}": "' in text for name in _SECRET_KEYS):
        said = json.loads(text)
        secrets = {name for name in _SECRET_KEYS if isinstance(said.get(name), str)}
        text = json.dumps({name: (None if name in secrets else value) for name, value in said.items()})
    return KeptAnswer(
        account_id=visit.who.account_id,
        key=key,
        request_sha256=digest,
        status=response.status_code,
        headers=cast("dict[str, object]", headers),
        body=text,
        at=instant(visit.now),
    )


def _refusals(method: str, rule: str, *, guarded: bool, takes: bool, versioned: bool) -> list[int]:
    statuses = {422, 429, 500}
    if guarded:
        statuses |= {401, 403}
    else:
        statuses |= {401}
    if "<" in rule:
        statuses |= {404}
    if takes or method != "GET":
        statuses |= {404}
    if method != "GET":
        statuses |= {409, 413, 415}
    if versioned:
        statuses |= {412, 428}
    return sorted(statuses)


def _headers(method: str, *, versioned: bool, keeps: bool) -> list[dict[str, Any]]:
    headers = []
    if versioned:
        text = "The ETag of the version to change, or `*`."
        headers.append({"in": "header", "name": "If-Match", "required": True, "description": text, "schema": _TEXT})
    if method == "POST" and keeps:
        text = "Any text of yours: the same request sent again with it is done once, and gets the same answer."
        longest = {**_TEXT, "minLength": 1, "maxLength": _LONGEST_KEY}
        headers.append({"in": "header", "name": "Idempotency-Key", "description": text, "schema": longest})
    return headers


_TEXT: Final = {"type": "string"}
