"""Charts that have been drawn, kept as files in a folder of the instance, so that each is drawn once.

A chart is named by a digest of all that it is drawn from (patient and revision, program, axis, language), so a kept one
is never out of date; of those beyond a number, the oldest go. Any number of processes may share the folder: a file is
there as a whole or not at all. Files hold what a patient's record holds: only the owner may read them.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

#: So many charts are kept; with the size of most, about 150 MB.
MOST_KEPT: Final = 2000
_KEY: Final = re.compile(r"[0-9a-f]{16,128}", re.ASCII)


def chart_svg(folder: Path, key: str, draw: Callable[[], str], most: int = MOST_KEPT) -> bytes:
    """The chart of a key (hexadecimal, in lower case; ValueError if not), drawn now unless it is kept.

    A chart that cannot be kept, for want of room or of rights, is given all the same.
    """
    if not _KEY.fullmatch(key):
        raise ValueError("the key of a chart must be 16 to 128 hexadecimal digits in lower case")
    try:
        return (folder / f"{key}.svg").read_bytes()
    except OSError:
        return _drawn(folder, key, draw, most)


def _drawn(folder: Path, key: str, draw: Callable[[], str], most: int) -> bytes:
    drawn = draw().encode()
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(folder, key, drawn)
        _drop_oldest(folder, most)
    return drawn


def _write(folder: Path, key: str, drawn: bytes) -> None:
    """Write a file under another name, for the owner only, then give it its own."""
    handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(drawn)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(folder / f"{key}.svg")
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _drop_oldest(folder: Path, most: int) -> None:
    """Remove the oldest files, those that a process left half-written among them, a tenth more than must go."""
    aged = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                aged.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.path))
    if len(aged) > most:
        for _, path in sorted(aged)[: len(aged) - most + most // 10]:
            Path(path).unlink(missing_ok=True)
