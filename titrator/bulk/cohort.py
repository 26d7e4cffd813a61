"""Questions about many patients, shared out to processes by ranges of patients.

Each process opens the store for itself and reads only. The numbers of the ranges are added in their order, so that the
answer is the same however many processes there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from functools import partial
from multiprocessing import get_context
from typing import Final, NamedTuple

from titrator.bulk.workers import end_with_parent, in_order
from titrator.store.base import Store, Where
from titrator.store.records import Patient
from titrator.titration.quantities import HUNDREDTH, iso, rounded
from titrator.workflow.cohort import Numbers, Of, Question, audit_patients

AT_ONCE: Final = 200
POINT_COLUMNS: Final = (
    *("patient", "course", "course_protocol", "day", "action", "reasons"),
    *("proposed_micrograms", "proposed_micrograms_per_kg", "given_micrograms", "given_micrograms_per_kg"),
    *("agreement", "doses_since_count", "early"),
)

Row = dict[str, object]


class Range(NamedTuple):
    """The patients from the first id to the last, and how many they are."""

    first: str
    last: str
    patients: int


class Part(NamedTuple):
    """What a range of patients came to; the rows of its decision points, if they are wanted."""

    numbers: Numbers
    rows: list[Row]
    patients: int


class Job(NamedTuple):
    """What each process is told: the question, when it is asked, who is meant, and whether points are wanted."""

    question: Question
    now: datetime
    where: tuple[Where, ...]
    with_points: bool


def ranges(store: Store, where: Sequence[Where], at_once: int = AT_ONCE) -> list[Range]:
    """The patients who meet the conditions, in ranges of their ids."""
    found: list[Range] = []
    with store.reading() as session:
        after = ""
        while page := session.values(Patient, ("id",), *where, Where("id", ">", after), order=("id",), limit=at_once):
            first, after = str(page[0][0]), str(page[-1][0])
            found.append(Range(first, after, len(page)))
    return found


def audit(
    open_store: Callable[[], Store], store: Store, job: Job, pieces: Sequence[Range], jobs: int
) -> Iterator[Part]:
    """What each range comes to, in order; with several processes, each of which opens the store by `open_store`."""
    if jobs == 1 or len(pieces) < 2:
        yield from map(partial(_audit, store, job), pieces)
        return
    # A new interpreter for each: a connection of this one must not be carried over into another process.
    pool = ProcessPoolExecutor(
        min(jobs, len(pieces)),
        mp_context=get_context("spawn"),
        initializer=_begin,
        initargs=(os.getpid(), open_store, job),
    )
    with pool:
        yield from in_order(pool, jobs, _audit_here, pieces)


def _audit(store: Store, job: Job, piece: Range) -> Part:
    between = Where("id", ">=", piece.first), Where("id", "<=", piece.last)
    with store.reading() as session:
        numbers, found = audit_patients(session, job.question, job.now, *job.where, *between)
    return Part(numbers, list(map(_row, found)) if job.with_points else [], piece.patients)


def _row(of: Of) -> Row:
    answer, point = of.point.answer, of.point
    dose = None if answer is None else answer.dose
    return {
        "patient": of.patient,
        "course": of.version.id,
        "course_protocol": of.version.protocol,
        "day": iso(point.day),
        "action": None if answer is None else str(answer.action),
        "reasons": None if answer is None else " ".join(map(str, answer.reasons)),
        "proposed_micrograms": dose and dose.delivered,
        "proposed_micrograms_per_kg": dose and dose.level,
        "given_micrograms": point.given and rounded(point.given.micrograms, HUNDREDTH),
        "given_micrograms_per_kg": point.level if point.given else None,
        "agreement": str(point.agreement),
        "doses_since_count": point.since,
        "early": point.early,
    }


#: What a process of the pool works with, from when it begins.
_here: dict[str, tuple[Store, Job]] = {}


def _begin(parent: int, open_store: Callable[[], Store], job: Job) -> None:
    end_with_parent(parent)
    _here["this"] = (open_store(), job)


def _audit_here(piece: Range) -> Part:
    return _audit(*_here["this"], piece)
