"""Files that are there whole or not at all: written under another name beside their place, then put there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EEXIST
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

_OURS: Final = 0o600


class Output:
    """What a file is written by: texts, as UTF-8, with their digest so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = sha256()
        self.size = 0

    def write(self, text: str) -> None:
        """Write a text at the end."""
        content = text.encode()
        self._digest.update(content)
        self._file.write(content)
        self.size += len(content)

    @property
    def sha256(self) -> str:
        """The SHA-256 of all that was written, in hexadecimal digits."""
        return self._digest.hexdigest()


@contextmanager
def written_whole(place: Path) -> Iterator[Output]:
    """A new file for its owner only, on the disk under its name once the block has ended without an exception.

    Until then, and after an exception, there is nothing of that name. Raises FileExistsError: no file is written over.
    """
    refuse_existing(place)
    mine = place.with_name(f".{place.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(mine, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OURS)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(place)) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield Output(file)
            file.flush()
            os.fsync(file.fileno())
        _put(mine, place)
    finally:
        with suppress(FileNotFoundError):
            mine.unlink()


def refuse_existing(place: Path) -> None:
    """Raise FileExistsError for a name that is taken."""
    if place.exists() or place.is_symlink():
        raise _taken(place)


def _put(mine: Path, place: Path) -> None:
    """Give a file its name, which a link does at once and only where it is free; some file systems have no links."""
    try:
        os.link(mine, place)
    except FileExistsError:
        raise _taken(place) from None
    except OSError:
        refuse_existing(place)
        mine.rename(place)


def _taken(place: Path) -> FileExistsError:
    return FileExistsError(EEXIST, "is there already, and is not written over", str(place))
