"""Reading protocol files: TOML, its size and its digest."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from titrator.titration.errors import Fault, InvalidProtocol

_LARGEST_FILE = 1_000_000  # bytes


def read_toml(path: Path) -> tuple[Mapping[str, object], str]:
    """The decoded file and the SHA-256 of its bytes; raises InvalidProtocol where it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise InvalidProtocol([Fault("", f"larger than {_LARGEST_FILE} bytes")])
        return tomllib.loads(content.decode()), sha256(content).hexdigest()
    except OSError as error:
        raise InvalidProtocol([Fault("", f"cannot be read: {error.strerror}")]) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidProtocol([Fault("", f"not TOML: {error}")]) from None
