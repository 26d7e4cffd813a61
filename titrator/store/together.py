"""One commit for the steps of several threads: whoever waits for the writer's turn has the next one write it, too.

1. each thread puts its step into a queue and waits for its turn
2. who has the turn opens a transaction, and only then takes all that is in the queue: meanwhile others have come
3. each step is a part of the transaction, unless it has it for itself: one that fails is undone alone
4. after the commit all of them are told; who then gets the turn and finds its step done, goes on
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Protocol

from titrator.store.base import Session

Step = Callable[[Session], object]


class PartedSession(Session, Protocol):
    """A transaction that can undo a part of itself."""

    def part(self) -> AbstractContextManager[None]:
        """A part, undone if an exception leaves it."""
        ...


#: Opens a writing transaction. It is handed in with each step: a queue that held its store would keep it open.
Writing = Callable[[], AbstractContextManager[PartedSession]]


class _Waiting:
    """A step, and what came of it."""

    __slots__ = ("done", "error", "step")

    def __init__(self, step: Step) -> None:
        self.step = step
        self.done = False
        self.error: BaseException | None = None


class Together:
    """The steps of a process's threads, on their way into the store."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._queue: deque[_Waiting] = deque()

    def carry_out(self, step: Step, writing: Writing) -> None:
        """Carry out a step; returns once it is kept, and raises what it raised, or what the commit did."""
        mine = _Waiting(step)
        self._queue.append(mine)
        with self._turn:
            if not mine.done:
                self._carry_out_all(mine, writing)
        if mine.error is not None:
            raise mine.error

    def carry_out_each(self, steps: Sequence[Step], writing: Writing) -> list[BaseException | None]:
        """Carry out several steps of one thread, in order; once those that went well are kept, what each raised."""
        mine = [_Waiting(step) for step in steps]
        self._queue.extend(mine)
        with self._turn:
            try:
                while waiting := next((one for one in mine if not one.done), None):
                    self._carry_out_all(waiting, writing)
            except BaseException:  # nobody would be told of those that another thread carried out later
                for one in mine:
                    with suppress(ValueError):
                        self._queue.remove(one)
                raise
        return [one.error for one in mine]

    def _carry_out_all(self, mine: _Waiting, writing: Writing) -> None:
        taken: list[_Waiting] = []
        try:
            with writing() as session:
                while self._queue:
                    taken.append(self._queue.popleft())
                if taken == [mine]:  # undone, if need be, with the whole transaction
                    mine.step(session)
                else:
                    for one in taken:
                        _carry_out_one(session, one)
        except BaseException as error:
            if not taken:  # no transaction could be opened: the others may be luckier
                self._queue.remove(mine)
                raise
            for one in taken:
                one.error = one.error or error
        for one in taken:
            one.done = True


def _carry_out_one(session: PartedSession, one: _Waiting) -> None:
    try:
        with session.part():
            one.step(session)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is raised where the step came from)
        one.error = error
