"""The FHIR door: `/fhir`. Resources in and out, each refusal as an OperationOutcome; the work is done below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, Final, cast

import structlog
from flask import Blueprint, Response, g, request
from werkzeug.exceptions import HTTPException, NotAcceptable, UnsupportedMediaType
from werkzeug.sansio.utils import get_current_url

from titrator.door import View, challenge, done, door, guarded, leave_refused
from titrator.fhir import writing
from titrator.fhir.apply import apply, read_request
from titrator.fhir.capability import capability_statement
from titrator.fhir.elements import Place, decoded
from titrator.fhir.hooks import terms
from titrator.fhir.kinds import KINDS, Kind, ask, read
from titrator.fhir.outcome import MEDIA_TYPE, BadRequest, Failed, Refused, of_input, outcome, status_of, told
from titrator.fhir.search import ANYWHERE, FORMATS, Match, is_json
from titrator.fhir.smart import token_url
from titrator.fhir.writing import Context, Written
from titrator.security.permissions import Permission
from titrator.security.scopes import read_needs
from titrator.titration.documents import encode
from titrator.titration.errors import Fault, InvalidInput
from titrator.workflow import trail
from titrator.workflow.errors import Beyond, Refusal, TooMany, Unready
from titrator.workflow.visit import Visit
from titrator.workflow.worklist import settle_first

PATH: Final = "/fhir"

blueprint = Blueprint("fhir", __name__, url_prefix=PATH)

_ONLY_JSON: Final = "Only JSON is given: application/fhir+json."
_OLDER: Final = "application/json+fhir"
_JSON: Final = frozenset({*FORMATS, "*/*", "application/*", "text/json"})
#: The types of issues, by status, for what the framework refuses.
_ISSUES: Final[Mapping[int, str]] = {
    400: "invalid",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    413: "too-long",
    415: "not-supported",
}


def base() -> str:
    """The address of this door, as the request reached it."""
    return _base(request.scheme, request.host, request.root_path)


@lru_cache(maxsize=64)
def _base(scheme: str, host: str, root_path: str) -> str:
    return f"{get_current_url(scheme, host, root_path).rstrip('/')}{PATH}"


def _operation(  # noqa: PLR0913, PLR0917 (what a route is)
    method: str, rule: str, permission: Permission | None, needs: str, name: str, view: View
) -> None:
    """Make a route; whoever passes it has the permission, and the scopes that it needs."""
    passed = guarded(view, permission, needs=read_needs(needs))
    passed.permission = permission  # type: ignore[attr-defined]
    blueprint.add_url_rule(rule, endpoint=name, view_func=_negotiated(passed), methods=[method])


def _negotiated(view: View) -> View:
    def wrapper(*args: Any, **kwargs: Any) -> Response:
        _refuse_other_format()
        found: Response = view(*args, **kwargs)
        return found

    wrapper.permission = view.permission  # type: ignore[attr-defined]
    wrapper.needs = view.needs  # type: ignore[attr-defined]
    return wrapper


def _refuse_other_format() -> None:
    """Refuse to give anything but JSON. What the address asks for goes before what the header does."""
    if asked := request.args.get("_format"):
        given = is_json(asked)
    else:
        accepted = [kind.partition(";")[0].strip() for kind, _ in request.accept_mimetypes]
        given = not accepted or not _JSON.isdisjoint(accepted)
    if not given:
        raise NotAcceptable(_ONLY_JSON)


# Out


def _sent(text: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
    kind = _OLDER if request.headers.get("Accept", "").startswith(_OLDER) else MEDIA_TYPE
    return Response(text, status=status, content_type=f"{kind}; charset=utf-8")


def _sent_match(kind: Kind, match: Match, status: HTTPStatus = HTTPStatus.OK) -> Response:
    response = _sent(match.give(), status)
    if match.version is not None:
        response.headers.add("ETag", f'W/"{match.version}"')
    if match.updated and kind.writes is not None:
        response.headers.add("Last-Modified", _http_date(match.updated))
    return response


def _http_date(at: str) -> str:
    from_iso = datetime.fromisoformat(at)
    return format_datetime(from_iso.astimezone(UTC).replace(microsecond=0), usegmt=True)


def _written(kind: Kind, written: Written) -> Response:
    """What was written, as the request prefers it; nothing of it to a client that may not read it."""
    status = HTTPStatus.CREATED if written.new else HTTPStatus.OK
    response = _sent_match(kind, written.match, status)
    wanted = _preferred("return")
    if wanted == "OperationOutcome":
        said = "Created." if written.new else "It stands as it was sent."
        response.set_data(encode(told("information", "informational", said)))
    elif wanted == "minimal" or not g.actor.may(f"{kind.name}.r"):
        response.set_data("")
    match = written.match
    response.headers.add("Location", f"{base()}/{kind.name}/{match.id}/_history/{match.version}")
    return response


def _preferred(name: str) -> str | None:
    """What the header Prefer says of something."""
    for part in request.headers.get("Prefer", "").replace(";", ",").split(","):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value.strip('" ')
    return None


# In


def _body() -> object:
    """The resource that was sent; raises UnsupportedMediaType, BadRequest."""
    return _decoded(_bytes())


def _bytes() -> bytes:
    if request.mimetype not in FORMATS:
        raise UnsupportedMediaType("A resource is sent as application/fhir+json.")
    return request.get_data(cache=True)


def _decoded(data: bytes) -> object:
    try:
        return decoded(data)
    except InvalidInput as error:
        raise BadRequest(*error.faults) from None


def _if_match() -> int | None:
    header = request.headers.get("If-Match")
    if header is None or header.strip() == "*":
        return None
    bare = header.strip().removeprefix("W/").strip('"')
    if not (bare.isascii() and bare.isdigit() and len(bare) < 16):
        raise BadRequest(Fault("If-Match", 'must be one ETag of this resource, like W/"3"'))
    return int(bare)


def _query() -> list[tuple[str, str]]:
    return list(request.args.items(multi=True))


def _search_form() -> list[tuple[str, str]]:
    if request.content_length and request.mimetype != "application/x-www-form-urlencoded":
        raise UnsupportedMediaType("A search by POST is sent as application/x-www-form-urlencoded.")
    return [*_query(), *request.form.items(multi=True)]


# Routes


@blueprint.get("/metadata")
def metadata() -> Response:
    """The CapabilityStatement, for anybody."""
    _refuse_other_format()
    return _sent(encode(capability_statement(base(), token_url(), cors=bool(terms().origins))))


def _before(kind: Kind) -> None:
    if kind.name == "Task":
        settle_first(door().services)
    elif kind.name == "AuditEvent":
        trail.gather(door().services)


def _search(kind: Kind, given: Callable[[], list[tuple[str, str]]]) -> Response:
    _before(kind)
    asked, lenient = given(), _preferred("handling") == "lenient"
    if not all(is_json(value) for name, value in asked if name == "_format"):
        raise NotAcceptable(_ONLY_JSON)
    return _sent(done(lambda visit: ask(visit, base(), kind, asked, lenient=lenient), writes=False, drafts=False))


def _read(kind: Kind, resource_id: str, version: str | None = None) -> Response:
    _before(kind)
    number = (
        None
        if version is None
        else int(version)
        if version.isascii() and version.isdigit() and len(version) < 16
        else -1
    )
    match = done(lambda visit: read(visit, base(), kind, resource_id, number), writes=False, drafts=False)
    response = _sent_match(kind, match)
    if match.version is not None and request.if_none_match.contains_weak(str(match.version)):
        response.status_code = HTTPStatus.NOT_MODIFIED
        response.set_data("")
    return response


def _write(kind: Kind, step: Callable[[Visit], Written], *, drafts: bool = False) -> Response:
    """What a step has written; one that `drafts` reads nothing that it has written itself."""
    return _written(kind, done(step, writes=True, drafts=drafts))


def _create(kind: Kind) -> Response:
    resource, unless, context = _body(), request.headers.get("If-None-Exist"), Context(base())
    if wrong := [name for name in request.args if name not in ANYWHERE]:
        raise BadRequest(*(Fault(name, "does not go with a create") for name in wrong))
    if unless is not None:
        g.actor.must(f"{kind.name}.s")
        return _write(kind, lambda visit: writing.create_unless(visit, context, kind, resource, unless))
    drafts = kind.name != "Patient"
    return _write(kind, lambda visit: writing.create(visit, context, kind, resource), drafts=drafts)


def _update(kind: Kind, resource_id: str) -> Response:
    resource, version, context = _body(), _if_match(), Context(base())
    return _write(kind, lambda visit: writing.update(visit, context, kind, resource_id, resource, version))


def _update_by(kind: Kind) -> Response:
    resource, version, context = _body(), _if_match(), Context(base())
    condition = request.query_string.decode("ascii", "replace")
    return _write(kind, lambda visit: writing.update_by(visit, context, kind, condition, resource, version))


def _bundle() -> Response:
    document, whole = _body(), _preferred("return") == "representation"
    bundle = Place(document, "Bundle", [])
    kind = bundle["type"].value
    if bundle["resourceType"].value != "Bundle" or kind not in ("transaction", "batch"):
        raise BadRequest(Fault("Bundle.type", "must be a Bundle of the type transaction or batch"))
    carry_out = _transaction if kind == "transaction" else _batch
    given = carry_out(document, whole=whole)
    listed = f', "entry": {encode(given)}' if given else ""
    return _sent(f'{{"resourceType": "Bundle", "type": "{kind}-response"{listed}}}')


def _transaction(document: object, *, whole: bool) -> list[Any]:
    try:
        return cast(
            "list[Any]",
            done(lambda visit: writing.transaction(visit, base(), document, whole=whole), writes=True, drafts=False),
        )
    except Refused as refused:
        for path, refusal in refused.refusals:
            leave_refused(refusal, f" {path}")
        raise


def _batch(document: object, *, whole: bool) -> list[Any]:
    def step(entry: Callable[[Visit], Written]) -> Written:
        try:
            return cast(Written, done(entry, writes=True, drafts=False))
        except Refusal as refusal:
            leave_refused(refusal, "")
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is, what other entries came to must be told)
            structlog.get_logger().error("unforeseen", request=g.get("request_id"), exc_info=error)
            raise Failed from None

    return writing.batch(step, base(), document, whole=whole)


def _apply(resource_id: str | None = None) -> Response:
    body = b"" if request.method == "GET" else _bytes()
    try:
        asked = read_request(_query(), body, resource_id, base())
    except InvalidInput as error:
        raise BadRequest(*error.faults) from None
    return _sent(encode(done(lambda visit: apply(visit, base(), asked), writes=False, drafts=False)))


def _make_routes() -> None:
    for name, kind in KINDS.items():
        one, reads, writes = f"/{name}/<resource_id>", kind.reads, kind.writes
        form = partial(_search, kind, _search_form)
        _operation("GET", f"/{name}", reads, f"{name}.s", f"search_{name}", partial(_search, kind, _query))
        _operation("POST", f"/{name}/_search", reads, f"{name}.s", f"search_{name}_by_post", form)
        _operation("GET", one, reads, f"{name}.r", f"read_{name}", partial(_read, kind))
        _operation("GET", f"{one}/_history/<version>", reads, f"{name}.r", f"vread_{name}", partial(_read, kind))
        if writes is not None:
            by_condition = f"{name}.u {name}.s"
            _operation("POST", f"/{name}", writes, f"{name}.c", f"create_{name}", partial(_create, kind))
            _operation("PUT", f"/{name}", writes, by_condition, f"update_{name}_by", partial(_update_by, kind))
            _operation("PUT", one, writes, f"{name}.u", f"update_{name}", partial(_update, kind))
    applies = "PlanDefinition.r GuidanceResponse.r MedicationRequest.r"
    for method in ("GET", "POST"):
        _operation(method, "/PlanDefinition/$apply", Permission.PROPOSE, applies, f"apply_{method}", _apply)
        rule = "/PlanDefinition/<resource_id>/$apply"
        _operation(method, rule, Permission.PROPOSE, applies, f"apply_to_{method}", _apply)
    _operation("POST", "/", Permission.RECORD_FACTS, "", "bundle", _bundle)  # each entry needs its own
    _operation("POST", "", Permission.RECORD_FACTS, "", "bundle_bare", _bundle)


@blueprint.route("/<path:rest>", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
@blueprint.route("/", methods=["GET", "PUT", "PATCH", "DELETE"])
@blueprint.route("", methods=["GET", "PUT", "PATCH", "DELETE"])
def nothing(rest: str = "") -> Response:
    """What is not there, or not done here."""
    name = rest.partition("/")[0]
    if not name:
        said = "Only a Bundle is sent here, by POST; what there is tells the CapabilityStatement at metadata."
        return _refused(HTTPStatus.METHOD_NOT_ALLOWED, told("error", "not-supported", said))
    if name in KINDS:
        said = f"{request.method} is not done here with {name}: see the CapabilityStatement at metadata."
        return _refused(HTTPStatus.METHOD_NOT_ALLOWED, told("error", "not-supported", said))
    return _refused(HTTPStatus.NOT_FOUND, told("error", "not-supported", f"There is no {name[:80]} here."))


# Refusals


def _refused(status: HTTPStatus, body: Mapping[str, object]) -> Response:
    return _sent(encode(dict(body)), status)


@blueprint.errorhandler(Refusal)
def refusal_response(refusal: Refusal) -> Response:
    """The OperationOutcome that a refusal is."""
    response = _refused(status_of(refusal), outcome(refusal))
    if (asks := challenge(_beyond(refusal) or refusal)) is not None:
        response.headers["WWW-Authenticate"] = asks
    if isinstance(refusal, TooMany | Unready) and refusal.retry_after is not None:
        response.headers["Retry-After"] = str(refusal.retry_after)
    return response


def _beyond(refusal: Refusal) -> Beyond | None:
    """The scopes that entries of a Bundle take, of those that are refused for want of some."""
    if not isinstance(refusal, Refused):
        return None
    scopes = [one.scope for _, one in refusal.refusals if isinstance(one, Beyond)]
    return Beyond(" ".join(dict.fromkeys(scopes))) if scopes else None


@blueprint.errorhandler(InvalidInput)
def invalid_response(error: InvalidInput) -> Response:
    """The OperationOutcome that input with faults is."""
    return _refused(HTTPStatus.UNPROCESSABLE_ENTITY, of_input(error))


@blueprint.errorhandler(HTTPException)
def http_response(error: HTTPException) -> Response:
    """The OperationOutcome that a refusal of the framework is."""
    status = HTTPStatus(error.code or 500)
    said = error.description or status.phrase
    return _refused(status, told("error", _ISSUES.get(status, "exception"), said))


@blueprint.errorhandler(Exception)
def unforeseen(error: Exception) -> Response:
    """What went wrong here, without a word of what it was about."""
    structlog.get_logger().error("unforeseen", request=g.get("request_id"), exc_info=error)
    said = f"Something went wrong here. It has been written down under the request id {g.get('request_id')}."
    return _refused(HTTPStatus.INTERNAL_SERVER_ERROR, told("fatal", "exception", said))


_make_routes()
