"""Reading protocol files: TOML, its size and its digest."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import cast

from titrator.titration.documents import exact
from titrator.titration.errors import Fault, InvalidProtocol

_LARGEST_FILE = 100_000  # bytes


def read_toml(path: Path) -> tuple[Mapping[str, object], str]:
    """The decoded file and the SHA-256 of its bytes; raises InvalidProtocol where it cannot be read."""
    try:
        content = _read(path)
        document = cast("dict[str, object]", exact(tomllib.loads(content.decode())))
        return document, sha256(content).hexdigest()
    except OSError as error:
        raise InvalidProtocol([Fault("", f"cannot be read: {error.strerror}")]) from None
    except (ValueError, RecursionError) as error:
        raise InvalidProtocol([Fault("", f"not TOML: {error}")]) from None


def _read(path: Path) -> bytes:
    """The bytes of a regular file; opening does not wait, as it would for a pipe."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InvalidProtocol([Fault("", "cannot be read: not a file")])
        content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise InvalidProtocol([Fault("", f"larger than {_LARGEST_FILE} bytes")])
    return content
