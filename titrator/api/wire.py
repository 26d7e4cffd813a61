"""JSON in and out, exactly: the decoder of the engine in front of marshmallow, its encoder behind."""

from __future__ import annotations

import re
from typing import Any, Final, NoReturn

import marshmallow as ma
from flask import Request, Response, request
from flask.json.provider import JSONProvider
from webargs.flaskparser import FlaskParser, is_json_request
from werkzeug.exceptions import UnsupportedMediaType

from titrator.door import faults_of
from titrator.titration.documents import decode, join
from titrator.titration.errors import Fault
from titrator.workflow.errors import Invalid, VersionNeeded
from titrator.workflow.visit import text_of

_MOST_FAULTS: Final = 1000
_VERSION: Final = re.compile(r"[0-9]{1,15}", re.ASCII)


class StrictParser(FlaskParser):
    """Arguments of a request: JSON without repeated keys and floats, and every fault with its path.

    An unknown parameter of a query is a fault, too: who misspells `on` must not get the answer of another day.
    """

    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {"json": None, "query": ma.RAISE}  # noqa: RUF012 (as there)

    def _raw_load_json(self, req: Request) -> Any:
        return read_json(req)

    def load_querystring(self, req: Request, schema: ma.Schema) -> Any:
        """The arguments of a query; raises Invalid for one that is given twice."""
        if twice := [key for key, values in req.args.lists() if len(values) > 1]:
            raise Invalid(*(Fault(join("", key), "given more than once") for key in twice))
        return super().load_querystring(req, schema)

    def handle_error(self, error: ma.ValidationError, req: Request, schema: ma.Schema, **_: Any) -> NoReturn:
        """Raise Invalid with every fault."""
        del req, schema
        messages = error.messages
        if isinstance(messages, dict) and set(messages) <= {"json", "query"}:
            messages = next(iter(messages.values()))
        raise Invalid(*faults_of(messages)[:_MOST_FAULTS])


class ExactJSON(JSONProvider):
    """JSON as the engine writes it: Decimals to their last digit."""

    def dumps(self, obj: Any, **_: Any) -> str:
        """The text of a value."""
        return text_of(obj)

    def loads(self, s: str | bytes, **_: Any) -> Any:
        """The value of a text."""
        return decode(s)


def read_json(req: Request) -> object:
    """The body of a request; raises UnsupportedMediaType, InvalidDocument."""
    return decode(read_body(req))


def read_body(req: Request) -> bytes:
    """The bytes of a JSON body; raises UnsupportedMediaType."""
    if not is_json_request(req):
        raise UnsupportedMediaType("The body must be application/json.")
    return req.get_data(cache=True)


def if_match() -> int | None:
    """The version that a request says it changes; None for `*`. Raises VersionNeeded, Invalid."""
    header = request.headers.get("If-Match")
    if header is None:
        raise VersionNeeded("A change must name the version that it changes: If-Match, with the ETag that was sent.")
    tag = header.strip()
    if tag == "*":
        return None
    bare = tag.removeprefix("W/").strip('"')
    if not _VERSION.fullmatch(bare):
        raise Invalid(Fault("If-Match", 'must be one ETag of this resource, like "3"'))
    return int(bare)


def etag(version: int) -> dict[str, str]:
    """The header that tells the version of what is sent."""
    return {"ETag": f'"{version}"'}


def json_text(text: str) -> Response:
    """A JSON text as a response."""
    return Response(text, content_type="application/json")
