"""What each request passes: who asks, whether it may, one transaction, the trail, the answer kept.

`Blueprint.operation` is the only way to make a route, so that none can be without its permission:

1. `guarded`     the request is counted, its token looked up, its permission checked
2. the arguments are read, with every fault
3. `_visiting`   a visit is opened, in one transaction with its trail and, with an Idempotency-Key, its answer
4. the view      schema in, workflow, schema out
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, Final, cast

import flask_smorest
import marshmallow as ma
from flask import Response, request

from titrator.api.wire import StrictParser
from titrator.door import View, done, door, guarded
from titrator.security.permissions import Permission
from titrator.security.scopes import read_needs, wanted
from titrator.security.secrets import sha256
from titrator.store.records import KeptAnswer
from titrator.titration.documents import join
from titrator.titration.errors import Fault
from titrator.workflow.errors import Code, Conflict, Invalid, Unknown
from titrator.workflow.visit import Services, Visit, instant

#: No permission: for those who have no account yet, and for what says nothing of patients.
PUBLIC: Final = None
_LONGEST_KEY: Final = 255
_PATIENT_PATH: Final = re.compile(r"/api/v1/patients/([^/]+)")
_UNMATCHED: Final = "/api/v1/unmatched-results/"
#: Keys of an answer that is kept without their values: they are shown once.
_SECRET_KEYS: Final = ("secret", "token", "activation_secret", "url")


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc]
    """Routes of one noun, each with its permission."""

    ARGUMENTS_PARSER = StrictParser()

    def operation(  # noqa: PLR0913 (what a route is, in one place, each by its name)
        self,
        method: str,
        rule: str,
        permission: Permission | None,
        needs: str,
        *,
        gives: type[ma.Schema] | None,
        status: int = 200,
        also: int | None = None,
        or_else: type[ma.Schema] | None = None,
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
        keeps: bool | None = None,
        refuses: tuple[int, ...] = (),
        upload: type[ma.Schema] | None = None,
    ) -> Callable[[View], View]:
        """Make a route of a view, which gets the visit first, then query, body and the variables of the path.

        `needs` says by which scopes a SMART client may come, `Patient.r Task.u` for both, `closed` for none, nothing
        where anybody may.
        `also` is a second status of success, of which the body may be `or_else`, too. `stores` says whether the view
        writes where the method does not tell; a view that `drafts` reads nothing that it has written itself, so that
        others may write meanwhile. `before` is done ahead of the visit, a view that stands `alone` opens its own.
        `keeps` says whether it takes an Idempotency-Key where that does not follow: a POST that stores nothing takes
        one if its answer may be kept. `refuses` has statuses of problems that the rest does not tell. With `upload` the
        body is a form with a `file` and its `mapping`, read by the view itself.
        """

        def decorator(view: View) -> View:
            writes = method != "GET" if stores is None else stores
            by_key = method == "POST" and permission is not None and not alone and (writes if keeps is None else keeps)
            answered = self.response(status, gives)(_called(view))
            if not alone:
                plain = self.response(status, gives)(_visiting(_called(view), writes=writes, drafts=drafts))
                answered = _either(_keeping(answered, drafts=drafts or not writes), plain) if by_key else plain
            made = answered
            if body is not None and not raw_body:
                made = self.arguments(body(), location="json")(made)
            made = _without_query(made) if query is None else _queried(self.arguments, query(), made)
            by_scope = read_needs(needs)
            made = made if before is None else _after(before, made)
            passed = guarded(made, permission, needs=by_scope, login=public_limit)
            passed.permission = permission  # type: ignore[attr-defined]
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
                    "content": {"application/json": {"schema": {"anyOf": [gives, or_else]} if or_else else gives}},
                }
            if permission is None:
                manual["security"] = []
            else:
                scopes = wanted(by_scope).replace(" ", "`, `")
                by = f"the scopes `{scopes}`" if scopes else "none: no scope is for it"
                manual["description"] = f"Needs the permission `{permission}`; of a SMART client {by}."
            if raw_body and body is not None:
                manual["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
            if upload is not None:
                manual["requestBody"] = _form(upload)
            manual["parameters"] = _headers(versioned=versioned, keeps=by_key)
            passed.__doc__ = None
            passed._apidoc = {**passed._apidoc, "manual_doc": manual}  # type: ignore[attr-defined]  # noqa: SLF001
            self.route(rule, methods=[method], endpoint=name or view.__name__)(passed)
            return view

        return decorator


def _form(mapping: type[ma.Schema]) -> dict[str, Any]:
    """How a form with a file is described."""
    parts = {"file": {"type": "string", "format": "binary"}, "mapping": mapping}
    schema = {"type": "object", "required": ["file"], "properties": parts, "additionalProperties": False}
    said = {"mapping": {"contentType": "application/json"}}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema, "encoding": said}}}


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
        return (keeping if "Idempotency-Key" in request.headers else plain)(*args, **kwargs)

    return wrapper


def _visiting(view: View, *, writes: bool, drafts: bool) -> View:
    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return done(lambda visit: view(visit, *args, **kwargs), writes=writes, drafts=drafts)

    return wrapper


def _keeping(view: View, *, drafts: bool) -> View:
    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        key = request.headers["Idempotency-Key"]

        def answer(visit: Visit) -> Any:
            digest = _request_digest(key)
            if kept := visit.session.get(KeptAnswer, visit.who.account_id, key):
                _refuse_lost(visit, kept, cast("str | None", kwargs.get("patient_id")))
                visit.note("answer-again", request.path[:300], method=request.method)
                return _again(kept, digest)
            response = cast(Response, view(visit, *args, **kwargs))
            visit.session.add(_keep(visit, key, digest, response))
            return response

        return done(answer, writes=True, drafts=drafts)

    return wrapper


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


def _refuse_lost(visit: Visit, kept: KeptAnswer, patient: str | None) -> None:
    """Raise Unknown where a patient of whom an answer tells, or the account, has gone to another clinic since.

    Patients are named by the path, by what was made, or by the answer; a result that is nobody's is of a clinic.
    """
    made = _PATIENT_PATH.match(str(kept.headers.get("Location", "")))
    said = json.loads(kept.body or "{}")
    several = (one["patient"] for one in said.get("items", ()) if "patient" in one and one.get("decision"))
    for ident in (patient, made and made[1], said.get("patient"), *several):
        if ident is not None:
            visit.patient(ident)
    if request.path.startswith(_UNMATCHED) and said.get("clinic") not in {None, *visit.who.clinics}:
        raise Unknown("unmatched result")


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
    statuses = {422, 429, 500, 503}
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


def _headers(*, versioned: bool, keeps: bool) -> list[dict[str, Any]]:
    headers = []
    if versioned:
        text = "The ETag of the version to change, or `*`."
        headers.append({"in": "header", "name": "If-Match", "required": True, "description": text, "schema": _TEXT})
    if keeps:
        text = "Any text of yours: the same request sent again with it is done once, and gets the same answer."
        longest = {**_TEXT, "minLength": 1, "maxLength": _LONGEST_KEY}
        headers.append({"in": "header", "name": "Idempotency-Key", "description": text, "schema": longest})
    return headers


_TEXT: Final = {"type": "string"}
