"""OpenAPI 3.1 at /openapi.json, and a page at /docs that shows it, with assets of our own machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast

import flask_smorest
import flask_swagger_ui
from flask import Blueprint as FlaskBlueprint
from flask import Flask, Response, current_app, render_template, send_from_directory
from flask_smorest.utils import prepare_response
from werkzeug.routing import BaseConverter

from schemas.fields import Amount, Flag, Whole
from schemas.problem import Problem
from titrator.api.problems import MEDIA_TYPE, http_response

INTENDED_USE: Final = (
    "Weekly romiplostim: what the label's titration rules make of a course of therapy on a day. For pharmacists, "
    "prescribers and the systems that they use. Each answer is a proposal for one of them to check, never an order. It "
    "serves the populations of the protocols listed at /api/v1/protocols, and refers everybody else."
)


class Api(flask_smorest.Api):  # type: ignore[misc]
    """flask-smorest's, with problems in place of its errors; routes are described when somebody first asks."""

    ERROR_SCHEMA = Problem
    DEFAULT_ERROR_RESPONSE_NAME = None

    def __init__(self) -> None:
        super().__init__()
        self._to_describe: list[Callable[[], None]] = []
        self._describing = threading.Lock()

    def register_blueprint(self, blp: flask_smorest.Blueprint, **options: Any) -> None:
        """Make the routes of a blueprint. To describe them takes longer than all else that makes an app."""
        self._app.extensions["flask-smorest"]["blp_name_to_api"][blp.name] = self
        self._app.register_blueprint(blp, **options)
        self._to_describe.append(partial(self._describe, blp))

    def description(self) -> dict[str, Any]:
        """The OpenAPI document."""
        with self._describing:
            while self._to_describe:
                self._to_describe.pop(0)()
        return cast("dict[str, Any]", self.spec.to_dict())

    def _describe(self, blp: flask_smorest.Blueprint) -> None:
        blp.register_views_in_doc(self, self._app, self.spec, name=blp.name, parameters=None)
        self.spec.tag({"name": blp.name, "description": blp.description})

    def handle_http_exception(self, error: Any) -> Response:
        """A refusal of the framework as a problem."""
        return http_response(error)

    def _register_responses(self) -> None:
        self._to_describe.append(self._describe_responses)

    def _describe_responses(self) -> None:
        for status in HTTPStatus:
            if status >= HTTPStatus.BAD_REQUEST:
                response = {"description": status.phrase, "schema": Problem}
                prepare_response(response, self.spec, MEDIA_TYPE)
                self.spec.components.response(f"PROBLEM_{int(status)}", response, lazy=True)
            self.spec.components.response(status.name, {"description": status.phrase}, lazy=True)


class FactId(BaseConverter):
    """A fact's id in a path: digits of ASCII, as many as a JSON number keeps; anything else is no path of ours."""

    regex = "[1-9][0-9]{0,14}"

    def to_python(self, value: str) -> int:
        """The id."""
        return int(value)


def make_api(app: Flask) -> Api:
    """The API of an app, without routes yet."""
    app.config.update(
        API_TITLE="titrator",
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
        API_SPEC_OPTIONS={
            "info": {"description": INTENDED_USE, "license": {"name": "Apache-2.0"}, "version": version("titrator")},
            "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
            "security": [{"bearer": []}],
        },
    )
    api = Api()
    api.register_field(Amount, "number", None)
    api.register_field(Whole, "integer", None)
    api.register_field(Flag, "boolean", None)
    app.url_map.converters["fact"] = FactId
    api.register_converter(FactId, lambda _: {"type": "integer", "minimum": 1, "maximum": 10**15 - 1})
    api.init_app(app)
    app.register_blueprint(_pages(api))
    return api


def _pages(api: Api) -> FlaskBlueprint:
    pages = FlaskBlueprint(
        "documents", __name__, template_folder="templates", static_folder="static", static_url_path="/docs/own"
    )

    @pages.get("/openapi.json")
    def openapi() -> Response:
        text = current_app.extensions.get("titrator.openapi")
        if text is None:
            text = current_app.extensions["titrator.openapi"] = json.dumps(api.description(), ensure_ascii=False)
        return Response(text, content_type="application/json")

    @pages.get("/docs")
    def docs() -> str:
        return render_template("docs.html")

    @pages.get("/docs/assets/<name>")
    def assets(name: str) -> Response:
        return send_from_directory(Path(flask_swagger_ui.__file__).parent / "dist", name, max_age=86400)

    return pages
