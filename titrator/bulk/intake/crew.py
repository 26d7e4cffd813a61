"""One import by several processes: each reads, judges and records its share of the patients, one writes at a time.

What an import does is mostly to read and to judge; the store is locked only while a commit is written. So two processes
are nearly twice as fast as one, and more than three are hardly faster. Each opens services of its own after the fork.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final, NamedTuple

from titrator.bulk.intake.rows import Row
from titrator.bulk.intake.run import Report, Span, Work, run
from titrator.bulk.intake.stage import Stage
from titrator.bulk.workers import end_with_parent
from titrator.workflow.visit import Services

#: Rows of a share: so many that what goes to and fro counts for nothing, so few that there is something to be told.
ROWS: Final = 4000
MOST: Final = 3
_UNDER_WAY: Final = 2  # shares a process


class Done(NamedTuple):
    """What came of a share, and the rows that were not taken, with why."""

    report: Report
    refused: list[tuple[Row, str]]


def run_by_several(
    work: Work, open_services: Callable[[], Services], jobs: int, *, rows: int, keeps: bool = True
) -> Iterator[Report]:
    """Record all patients of a stage with so many processes; the report of each share, in order.

    With one process, or few rows, all is done in this one. The store of `work` is closed while there are others.
    """
    if jobs <= 1 or rows < 2 * ROWS:
        yield from _alone(work, keeps=keeps)
        return
    work.services.store.close()
    shares = work.stage.shares(ROWS)
    with ProcessPoolExecutor(
        jobs,
        mp_context=get_context("fork"),
        initializer=_begin,
        initargs=(os.getpid(), open_services, work, keeps),
    ) as pool:
        under_way: deque[Future[Done]] = deque()
        for span in shares:
            under_way.append(pool.submit(_carry_out, span))
            if len(under_way) > jobs * _UNDER_WAY:
                yield _told(work, under_way.popleft().result())
        while under_way:
            yield _told(work, under_way.popleft().result())


def _alone(work: Work, *, keeps: bool) -> Iterator[Report]:
    for span in work.stage.shares(ROWS):
        report = Report()
        for _ in run(work, report, of=span, keeps=keeps):
            pass
        yield report


def _told(work: Work, done: Done) -> Report:
    work.stage.refuse(done.refused)
    return done.report


# In each process


class _Here(NamedTuple):
    """What a process works with."""

    work: Work
    refused: list[tuple[Row, str]]
    keeps: bool


_HERE: Final[list[_Here]] = []


def _begin(parent: int, open_services: Callable[[], Services], work: Work, keeps: bool) -> None:
    end_with_parent(parent)
    refused: list[tuple[Row, str]] = []
    own = work._replace(services=open_services(), stage=Stage(work.stage.file), refuse=refused.extend)
    _HERE[:] = [_Here(own, refused, keeps)]


def _carry_out(span: Span) -> Done:
    ((work, refused, keeps),) = _HERE
    refused.clear()
    report = Report()
    for _ in run(work, report, of=span, keeps=keeps):
        pass
    return Done(report, list(refused))
