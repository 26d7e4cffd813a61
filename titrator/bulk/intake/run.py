"""Patient by patient into the record, some in a commit; each with all that can be taken of the file, or not at all.

1. the rows of some patients are read, with all that is wrong with them
2. their histories are judged, while others may write
3. they are recorded: one durable commit for all, in which one that fails is undone alone
4. what was not taken is kept with why

A run that is killed in between is simply run again: what was recorded is known by its names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

from titrator.bulk.intake.plan import Plan
from titrator.bulk.intake.rows import History, Row, history
from titrator.bulk.intake.stage import Stage
from titrator.store.base import Duplicate, Session, Stale
from titrator.store.records import Clinic
from titrator.workflow.errors import Refusal
from titrator.workflow.history import Outcome, Prepared, prepare_histories, reason_of, record_histories
from titrator.workflow.visit import Actor, Services, Visit, leave

#: So many rows and patients in one commit: the longer it is, the longer others wait who write.
_ROWS_AT_ONCE: Final = 1000
_PATIENTS_AT_ONCE: Final = 100
#: What may be the matter with one patient, and is no reason to record none of the others.
_OF_ONE: Final = (Refusal, Stale, Duplicate)
#: So many of those that wait to be verified, and of each reason, are shown.
SHOWN: Final = 20


@dataclass(slots=True, kw_only=True)
class Report:
    """What an import did so far: rows read and not taken, patients, facts by kind, and what is to be looked at.

    `known` are facts that were there already; `unverified` counts those that wait to be verified, by what was to be
    asked; `to_verify` has the first of them with their lines.
    """

    rows: int = 0
    refused: int = 0
    patients: int = 0
    new_patients: int = 0
    refused_patients: int = 0
    courses: int = 0
    known: int = 0
    recorded: dict[str, int] = field(default_factory=dict)
    unverified: dict[str, int] = field(default_factory=dict)
    to_verify: list[dict[str, object]] = field(default_factory=list)

    @property
    def facts(self) -> int:
        """How many facts were recorded."""
        return sum(self.recorded.values())

    def add(self, other: Report) -> None:
        """Add what another one tells, of other rows."""
        for name in ("rows", "refused", "patients", "new_patients", "refused_patients", "courses", "known"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.recorded = dict(Counter(self.recorded) + Counter(other.recorded))
        self.unverified = dict(Counter(self.unverified) + Counter(other.unverified))
        self.to_verify = [*self.to_verify, *other.to_verify][:SHOWN]

    def as_json(self) -> dict[str, object]:
        """The report as it is kept and sent."""
        return asdict(self)

    @classmethod
    def of_json(cls, kept: dict[str, Any]) -> Report:
        """The report of what `as_json` made."""
        return cls(**kept)


class Work(NamedTuple):
    """What is to be done: by whom, after which plan, from which stage, as `about` says in the trail.

    Rows that are not taken go to `refuse`, by default to the stage. What the rows of a patient tell is read by `read`,
    by default after the plan.
    """

    services: Services
    actor: Actor
    plan: Plan
    stage: Stage
    about: dict[str, object]
    clinics: dict[str, Clinic]
    refuse: Callable[[list[tuple[Row, str]]], object] | None = None
    read: Callable[[str, Sequence[Row]], History] | None = None


class Batch(NamedTuple):
    """Some patients of a file, with their histories and rows; `last` is the number of the last one."""

    last: str
    histories: list[tuple[str, History, list[Row]]]


#: Patients after one number, and up to another one.
Span = tuple[str | None, str | None]
#: What else a commit is to write, once the report is that of its patients, too.
Also = Callable[[Session, Batch, Report], None]


def run(
    work: Work,
    report: Report,
    *,
    of: Span = (None, None),
    keeps: bool = True,
    also: Also | None = None,
) -> Iterator[Batch]:
    """Record all patients of a span; the batches that were done, each when it is.

    Without `keeps` all is done and undone: the report is what it would be.
    """
    for batch in _batches(work, of):
        outcomes = _carried_out(work, batch, report, also) if keeps else _tried_out(work, batch)
        refused = _tell(batch, outcomes, report)
        if also is None:
            (work.refuse or work.stage.refuse)(refused)
        yield batch


def _batches(work: Work, of: Span) -> Iterator[Batch]:
    found: list[tuple[str, History, list[Row]]] = []
    read, rows = work.read or partial(history, work.plan), 0
    for number, some in work.stage.patients(*of):
        found.append((number, read(number, some), some))
        rows += len(some)
        if rows >= _ROWS_AT_ONCE or len(found) >= _PATIENTS_AT_ONCE:
            yield Batch(number, found)
            found, rows = [], 0
    if found:
        yield Batch(found[-1][0], found)


def _prepared(work: Work, batch: Batch) -> dict[str, Prepared]:
    """The histories of a batch, read and judged, by patient."""
    told = {number: (told.person, told.told) for number, told, _ in batch.histories if told.person is not None}
    with work.services.store.reading() as session:
        prepared = prepare_histories(_visit(work, session), list(told.values()), work.plan.names_system)
    return dict(zip(told, prepared, strict=True))


def _record(work: Work, prepared: Mapping[str, Prepared], outcomes: dict[str, Outcome], session: Session) -> None:
    """Record histories; a step that may be called twice, as what it did the first time is undone then."""
    visit = _visit(work, session)
    outcomes.update(zip(prepared, record_histories(visit, list(prepared.values()), work.about), strict=True))
    leave(visit, session, visit.entries)


def _visit(work: Work, session: Session) -> Visit:
    now = work.services.clock()
    return Visit(services=work.services, session=session, actor=work.actor, now=now, known_clinics=dict(work.clinics))


def _carried_out(work: Work, batch: Batch, report: Report, also: Also | None) -> dict[str, Outcome]:
    """The outcomes of a batch, by patient; raises StoreError where the store is at fault."""
    outcomes: dict[str, Outcome] = {}
    store, prepared = work.services.store, _prepared(work, batch)

    def last(session: Session) -> None:
        if also is not None:
            told = Report.of_json(report.as_json())
            refused = _tell(batch, outcomes, told)
            # Before the commit that passes them over: whoever is killed in between finds them again.
            work.stage.refuse(refused, among=[row for _, _, rows in batch.histories for row in rows])
            also(session, batch, told)

    def whole(session: Session) -> None:
        _record(work, prepared, outcomes, session)
        last(session)

    with suppress(*_OF_ONE):
        store.carry_out(whole)
        return outcomes
    outcomes.clear()
    steps = {number: partial(_alone, work, number, one, outcomes) for number, one in prepared.items()}
    for (number, step), error in zip(steps.items(), store.carry_out_each([*steps.values()]), strict=True):
        # Where somebody was faster, once more, alone.
        still = store.carry_out_each([step])[0] if isinstance(error, Stale | Duplicate) else error
        if still is not None:
            outcomes[number] = _failed(still)
    store.carry_out(last)
    return outcomes


def _alone(work: Work, number: str, prepared: Prepared, outcomes: dict[str, Outcome], session: Session) -> None:
    """Record one history."""
    outcomes.pop(number, None)
    _record(work, {number: prepared}, outcomes, session)


def _failed(error: BaseException) -> Outcome:
    if isinstance(error, Refusal):
        return Outcome(refusal=reason_of(error))
    if isinstance(error, Stale | Duplicate):
        return Outcome(refusal="the record is being changed by somebody else; run the import again")
    raise error


class _Undone(Exception):
    """What was tried is to leave nothing behind."""


def _tried_out(work: Work, batch: Batch) -> dict[str, Outcome]:
    """The outcomes that a batch would have."""
    outcomes: dict[str, Outcome] = {}
    prepared = _prepared(work, batch)
    with suppress(*_OF_ONE):
        _try_out(work, partial(_record, work, prepared, outcomes))
        return outcomes
    for number, one in prepared.items():
        try:
            _try_out(work, partial(_alone, work, number, one, outcomes))
        except Refusal as refusal:
            outcomes[number] = _failed(refusal)
    return outcomes


def _try_out(work: Work, step: Callable[[Session], None]) -> None:
    """Do a step and undo it; raises what the step raises."""
    with suppress(_Undone), work.services.store.writing(durable=False) as session:
        step(session)
        raise _Undone


def _tell(batch: Batch, outcomes: dict[str, Outcome], report: Report) -> list[tuple[Row, str]]:
    """Add a batch to the report; the rows that were not taken."""
    recorded, unverified, not_taken = Counter(report.recorded), Counter(report.unverified), list[tuple[Row, str]]()
    for number, told, rows in batch.histories:
        outcome = outcomes.get(number, Outcome())
        refused = _refused(told, rows, outcome)
        report.rows += told.rows
        report.patients += 1
        report.refused += len(refused)
        report.refused_patients += told.person is None or outcome.refusal is not None
        report.new_patients += outcome.new
        report.courses += outcome.course
        report.known += outcome.known
        recorded.update(outcome.recorded)
        for line, codes in outcome.unverified:
            unverified.update(codes)
            if len(report.to_verify) < SHOWN:
                report.to_verify.append({"line": line, "patient": number, "asked": list(codes)})
        not_taken += refused
    report.recorded, report.unverified = dict(recorded), dict(unverified)
    return not_taken


def _refused(told: History, rows: Sequence[Row], outcome: Outcome) -> list[tuple[Row, str]]:
    """The rows of a patient that were not taken, with all that is wrong with each."""
    if outcome.refusal is not None:
        return [(row, outcome.refusal) for row in rows]
    wrong = _together([*told.refused, *outcome.refused])
    return [(row, wrong[row.line]) for row in rows if row.line in wrong] if wrong else []


def _together(found: Iterable[tuple[int, str]]) -> dict[int, str]:
    wrong: dict[int, list[str]] = {}
    for line, why in found:
        wrong.setdefault(line, []).append(why)
    return {line: "; ".join(whys) for line, whys in wrong.items()}
