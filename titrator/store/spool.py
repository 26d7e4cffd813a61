"""The spool: lines that must outlive this process at any moment, and may reach the database a little later.

A line is in the file before `append` returns; the system keeps it though the process be killed in the next instant.
Each process appends to a file of its own, `<random>.spool`, which it holds locked; any process may read all files, up
to their last whole line. How far a file has been taken in stands in the database: each line is taken once.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_AT_ONCE: Final = 100_000  # bytes read at a time: some 200 lines, so that nobody waits long for what is done with them
_LARGEST: Final = 1_000_000  # bytes of a file, after which the process begins another


class Spool:
    """The spool files of a folder, which is made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._owner = 0
        self._descriptor = -1
        self._size = 0

    def append(self, lines: str) -> None:
        """Add whole lines, each with its line feed; raises OSError where the system does not take them."""
        data = lines.encode()
        with self._lock:
            if self._owner != os.getpid() or self._size > _LARGEST:
                self._begin()
            if os.write(self._descriptor, data) != len(data):
                self._begin()  # what was written of it is no whole line, and the next one must not be joined to it
                raise OSError(f"{self.folder}: no room for the audit trail")
            self._size += len(data)

    def names(self) -> list[str]:
        """The files that are there, by name."""
        return sorted(path.name for path in self.folder.glob("*.spool"))

    def size(self, name: str) -> int:
        """The size of a file in bytes; 0 of one that has gone."""
        try:
            return (self.folder / name).stat().st_size
        except FileNotFoundError:
            return 0

    def changed_at(self, name: str) -> datetime:
        """When a file was last written to; long ago for one that has gone."""
        try:
            return datetime.fromtimestamp((self.folder / name).stat().st_mtime, UTC)
        except FileNotFoundError:
            return datetime.min.replace(tzinfo=UTC)

    def read(self, name: str, offset: int) -> tuple[list[str], int]:
        """Some whole lines of a file from an offset in bytes on, and the offset after them; none at its end."""
        data = b""
        try:
            with (self.folder / name).open("rb") as file:
                file.seek(offset)
                while b"\n" not in data and (more := file.read(_AT_ONCE)):
                    data += more
        except FileNotFoundError:
            return [], offset
        whole = data[: data.rfind(b"\n") + 1]
        return whole.decode(errors="replace").split("\n")[:-1], offset + len(whole)

    def ended(self, name: str, offset: int) -> bool:
        """Whether a file has been read to its end and no process can add to it; it is removed then."""
        path = self.folder / name
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self.read(name, offset)[0]:
                return False
            path.unlink()
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _begin(self) -> None:
        """Begin a file, locked by this process until it ends or begins another."""
        if self._owner == os.getpid():
            with suppress(OSError):
                os.close(self._descriptor)
        self._owner = 0
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor, self._owner, self._size = self._locked(), os.getpid(), 0

    def _locked(self) -> int:
        """The descriptor of a new file, locked: one that another process has found unlocked, and removed, is none."""
        while True:
            path = self.folder / f"{secrets.token_hex(8)}.spool"
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return descriptor
            os.close(descriptor)
