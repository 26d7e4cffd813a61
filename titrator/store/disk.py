"""Whether what has been committed is on the disk: one flush is for all that was committed before it began.

SQLite can flush its log within each commit (`synchronous = full`), while whoever writes next waits. Here commits reach
the operating system (`normal`), the writer's turn is passed on, and only then the log is flushed: before anybody is
told that something was kept. What SQLite itself flushes, the log before it is taken into the file and the file
thereafter, is as before, so a loss of power leaves a sound database without the last commits, of which nobody was told.

A flush that failed may have lost what later commits build upon, and another one would not tell (Linux takes the pages
for written). So nothing more is kept until the program is started again, by no process: who finds the flush failed
leaves a mark beside the database, at which all look. Who then opens the database, and is the only one that has it open,
takes the log into the file, flushes that, and takes the mark away.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import structlog

from titrator.store.base import Unavailable


class Disk:
    """The way of the log of a database to the disk, for the threads of one process."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._turn = threading.Lock()
        self._log: int | None = None
        self._committed = self._flushed = 0
        self._failed = False
        self._mark = f"{os.path.realpath(database)}.disk-failed"

    @property
    def commits(self) -> int:
        """How many commits there were until now."""
        return self._committed

    def commit(self) -> None:
        """Hear of a commit, from who has the writer's turn."""
        self._committed += 1

    def refuse_if_failed(self) -> None:
        """Raise Unavailable where a flush has failed, of this process or of another one."""
        if self._failed or self.is_marked():
            raise Unavailable("the disk failed to keep what was written: have it looked at, then start this again")

    def is_marked(self) -> bool:
        """Whether a flush failed, and nobody has seen to it."""
        return os.path.exists(self._mark)  # noqa: PTH110 (asked at each write)

    def forgive(self) -> None:
        """Take the mark away: all that was committed is on the disk."""
        with suppress(FileNotFoundError):
            os.unlink(self._mark)  # noqa: PTH108 (as above)

    def keep(self) -> None:
        """Wait until all that was committed until now is on the disk; raises Unavailable where that is not certain."""
        mine = self._committed
        with self._turn:
            self.refuse_if_failed()
            if self._flushed < mine:
                self._flush()

    def _flush(self) -> None:
        until = self._committed
        try:
            log = self._opened()
        except OSError as error:
            raise Unavailable(f"the log cannot be opened: {error.strerror}") from error
        try:
            os.fdatasync(log)
        except OSError as error:
            self._failed_at(error.strerror)
            self.refuse_if_failed()
        self._flushed = until

    def _failed_at(self, error: str | None) -> None:
        """Have nothing more kept, here and elsewhere."""
        self._failed = True
        with suppress(OSError):
            os.close(os.open(self._mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        structlog.get_logger().critical("disk-failed", database=str(self._database), error=error)

    def _opened(self) -> int:
        """The log, opened anew where the one that was open is gone: SQLite removes it with the last connection."""
        if self._log is not None and not os.fstat(self._log).st_nlink:
            self._close()
        if self._log is None:  # SQLite follows links, and has the log beside the file
            self._log = os.open(f"{os.path.realpath(self._database)}-wal", os.O_RDWR | os.O_CLOEXEC)
        return self._log

    def _close(self) -> None:
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def __del__(self) -> None:
        """Let go of the log."""
        with suppress(AttributeError, OSError):
            self._close()
