"""Style and script of the pages: from this machine, compressed once, with their digest in the address.

Bootstrap's style comes with Bootstrap-Flask. Its dark colours are asked for by an attribute; pages without a script
must follow the browser, so they are said once more for browsers that prefer dark.
"""

from __future__ import annotations

import gzip
import re
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import flask_bootstrap
from flask import Blueprint, Response, abort, request, url_for

blueprint = Blueprint("assets", __name__)

_OURS: Final = Path(__file__).parent / "static"
_BOOTSTRAP: Final = Path(flask_bootstrap.__file__).parent / "static/bootstrap5/css/bootstrap.min.css"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_DARK: Final = re.compile(r"(?:^|(?<=\}))(?P<selector>\[data-bs-theme=dark\][^{}]*)\{(?P<body>[^{}]*)\}")
_SELECTED: Final = "[data-bs-theme=dark]"
_FOREIGN: Final = re.compile(r"/\*#.*?\*/", re.DOTALL)


class Asset(NamedTuple):
    """A file as it is sent."""

    content: bytes
    compressed: bytes
    digest: str
    kind: str


@blueprint.get("/assets/<digest>/<name>")
def asset(digest: str, name: str) -> Response:
    """A file, for good: what changes gets another address."""
    found = files().get(name)
    if found is None or found.digest != digest:
        abort(404)
    small = bool(request.accept_encodings["gzip"])
    response = Response(found.compressed if small else found.content, content_type=f"{found.kind}; charset=utf-8")
    if small:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


def asset_url(name: str) -> str:
    """The address of a file."""
    return url_for("web.assets.asset", digest=files()[name].digest, name=name)


@lru_cache(maxsize=1)
def files() -> dict[str, Asset]:
    """All files by name; the style is Bootstrap's and ours in one."""
    texts = {file.name: file.read_text(encoding="utf-8") for file in sorted(_OURS.iterdir()) if file.suffix in _TYPES}
    bootstrap = _FOREIGN.sub("", _BOOTSTRAP.read_text(encoding="utf-8"))
    texts["pages.css"] = bootstrap + preferring_dark(bootstrap) + texts["pages.css"]
    return {name: _asset(name, text.encode()) for name, text in texts.items()}


def preferring_dark(style: str) -> str:
    """The rules of a style for the dark theme, for browsers that prefer it where no theme was chosen."""
    rules = [
        f"{found['selector'].replace(_SELECTED, ':root:not([data-bs-theme])')}{{{found['body']}}}"
        for found in _DARK.finditer(style)
    ]
    return f"@media screen and (prefers-color-scheme:dark){{{''.join(rules)}}}"


def _asset(name: str, content: bytes) -> Asset:
    digest = sha256(content).hexdigest()[:16]
    return Asset(content, gzip.compress(content, 9, mtime=0), digest, _TYPES[Path(name).suffix])
