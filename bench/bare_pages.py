"""The pages' own templates, rendered from rows that were prepared once: what bench.pages measures the pages against."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, render_template, send_from_directory, template_rendered

from titrator.app import create_app
from titrator.settings import load_settings
from titrator.web.frame import COOKIE


def make() -> Flask:
    """The app, with a route `/bare/<n>` for each path in PAGES: its template, with what it was given the first time.

    And `/bare/chart.svg`, a chart that has been drawn, as Flask sends a static file.
    """
    app = create_app(load_settings(os.environ))
    prepared: list[tuple[str, dict[str, Any]]] = []

    @app.get("/bare/<int:number>")
    def page(number: int) -> str:
        g.actor = None
        name, context = prepared[number]
        return render_template(name, **context)

    @app.get("/bare/chart.svg")
    def chart() -> Response:
        drawn = next((Path(app.instance_path) / "charts").iterdir())
        return send_from_directory(drawn.parent, drawn.name, mimetype="image/svg+xml")

    def keep(_: Flask, template: Any, context: dict[str, Any], **__: Any) -> None:
        values = {name: value for name, value in context.items() if name not in ("g", "request", "session")}
        prepared.append((template.name, values))

    client = app.test_client()
    client.set_cookie(COOKIE, os.environ["SESSION"])
    with template_rendered.connected_to(keep, app):
        for path in os.environ["PAGES"].split():
            assert client.get(path).status_code == 200, path
    return app


app = make() if "PAGES" in os.environ else None
