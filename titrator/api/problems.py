"""Refusals as problems (RFC 9457), by one table from kinds of refusal to statuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final

from flask import Response, g
from werkzeug.exceptions import HTTPException

from titrator.door import STATUS, challenge
from titrator.titration.documents import encode
from titrator.titration.errors import Fault, InvalidInput
from titrator.workflow.errors import (
    Asked,
    Code,
    ProposalChanged,
    Refusal,
    TooMany,
    Unready,
)

MEDIA_TYPE: Final = "application/problem+json"


#: What the framework refuses by itself.
FRAMEWORK: Final[Mapping[int, Code]] = {
    400: Code.INVALID,
    404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    406: Code.NOT_ACCEPTABLE,
    413: Code.BODY_TOO_LARGE,
    415: Code.UNSUPPORTED_MEDIA_TYPE,
}


def refusal_response(refusal: Refusal) -> Response:
    """The problem that a refusal is."""
    questions = refusal.questions if isinstance(refusal, Asked) else ()
    response = problem(STATUS[type(refusal)], refusal.code, refusal.message, refusal.faults, questions)
    if isinstance(refusal, ProposalChanged):
        response.set_data(f'{response.get_data(as_text=True)[:-1]}, "proposal": {refusal.proposal}}}')
    if (asks := challenge(refusal)) is not None:
        response.headers["WWW-Authenticate"] = asks
    if isinstance(refusal, TooMany | Unready) and refusal.retry_after is not None:
        response.headers["Retry-After"] = str(refusal.retry_after)
    return response


def invalid_response(error: InvalidInput) -> Response:
    """The problem that input with faults is."""
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        Code.INVALID,
        "What was sent cannot be taken; each fault is named.",
        error.faults,
    )


def http_response(error: HTTPException) -> Response:
    """The problem that a refusal of the framework is."""
    status = HTTPStatus(error.code or 500)
    response = problem(status, FRAMEWORK.get(status, Code.INTERNAL), error.description or status.phrase)
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    return response


def problem(
    status: HTTPStatus, code: Code, detail: str, faults: Iterable[Fault] = (), questions: Iterable[str] = ()
) -> Response:
    """A problem, ready to be sent."""
    body = {
        "type": f"urn:titrator:problem:{code.lower()}",
        "title": status.phrase,
        "status": int(status),
        "code": str(code),
        "detail": detail,
        "faults": [{"path": fault.path, "message": fault.message} for fault in faults],
        "questions": list(questions),
        "request_id": g.get("request_id", ""),
    }
    return Response(encode(body), status=status, content_type=MEDIA_TYPE)
