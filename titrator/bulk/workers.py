"""Work shared out to processes: a few pieces under way for each, their results in the order of the pieces."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Final, TypeVar

P = TypeVar("P")
T = TypeVar("T")

_UNDER_WAY: Final = 3  # a process
_SET_PARENT_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG of prctl(2)


def in_order(pool: Executor, jobs: int, work: Callable[[P], T], pieces: Iterable[P]) -> Iterator[T]:
    """What comes of each piece, in order; so few are under way that memory does not grow with their number."""
    under_way: deque[Future[T]] = deque()
    for piece in pieces:
        under_way.append(pool.submit(work, piece))
        if len(under_way) > jobs * _UNDER_WAY:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


def end_with_parent(parent: int) -> None:
    """Let the system end this worker when its parent ends however it may; elsewhere than on Linux, do without."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before we asked
            os.kill(os.getpid(), signal.SIGKILL)
