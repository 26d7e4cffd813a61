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
#: Points in a line: reading a dotted key takes a time that grows with the square of its points. A file full of the
#: longest keys takes about a second with 200, a minute and more without a bound.
_MOST_POINTS = 200


def read_toml(path: Path) -> tuple[Mapping[str, object], str]:
    """The decoded file and the SHA-256 of its bytes; raises InvalidProtocol where it cannot be read."""
    return parse_toml(_read(path))


def parse_toml(content: bytes) -> tuple[Mapping[str, object], str]:
    """The decoded text of a file and the SHA-256 of its bytes; raises InvalidProtocol where it cannot be read."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.count(b".") > _MOST_POINTS:
            raise _unreadable(f"line {number} has more than {_MOST_POINTS} points: break it into several")
    try:
        document = cast("dict[str, object]", exact(tomllib.loads(content.decode())))
    except (ValueError, RecursionError) as error:
        raise _unreadable(f"not TOML: {error}") from None
    return document, sha256(content).hexdigest()


def _read(path: Path) -> bytes:
    """The bytes of a regular file; opening does not wait, as it would for a pipe."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _unreadable("cannot be read: not a file")
            content = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise _unreadable(f"cannot be read: {error.strerror}") from None
    if len(content) > _LARGEST_FILE:
        raise _unreadable(f"larger than {_LARGEST_FILE} bytes")
    return content


def _unreadable(message: str) -> InvalidProtocol:
    return InvalidProtocol([Fault("", message)])
