"""Imports as jobs: a file is sent, kept and worked off by whichever process comes by, in any number of goes.

1. take: the file is written to the disk, its plan drawn up; a row among `imports` says what is to be done
2. claim: a conditional update of that row, for some minutes; only where the file lies on this machine
3. look through: its rows are put together by patient (stage.py)
4. record: with each commit of patients the row says how far it is, in the same commit
5. end: the rows that were not taken are written to a file, and all else of the import is removed

Who dies at any point has left a claim that ends; the next one begins at 3, or at the patient after the last. Each claim
is counted before anything is read, and the count begins anew with each commit of patients: a file that ends whoever
reads it, by its memory for instance, is given up at the third.
"""

from __future__ import annotations

import csv
import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final, NamedTuple, cast

import structlog

from titrator.bulk.intake.files import kind_of, open_table
from titrator.bulk.intake.plan import Plan, Said, as_json, draw_up, from_json
from titrator.bulk.intake.run import Batch, Report, Work, run
from titrator.bulk.intake.stage import Stage, discard
from titrator.bulk.tables import cell
from titrator.security.permissions import PERMISSIONS, Permission, Role
from titrator.security.secrets import new_id
from titrator.store.base import Session, Stale, StoreError, Where
from titrator.store.records import Account, Clinic, ImportJob
from titrator.titration.errors import Fault
from titrator.workflow.errors import Code, Conflict, Invalid, Unknown
from titrator.workflow.record import usual_system
from titrator.workflow.visit import Actor, Services, Visit, instant, leave

LARGEST_FILE: Final = 200_000_000
#: So many imports of an account may wait or run.
MOST_OPEN: Final = 5
OPEN: Final = ("waiting", "running")
LEASED_FOR: Final = timedelta(minutes=5)
_RENEWED_AFTER: Final = timedelta(minutes=1)
#: So long the rows that were not taken are kept after the end, and what a process left behind that died.
#: So often an import is begun without getting on, before it is given up.
MOST_ATTEMPTS: Final = 3
_GIVEN_UP: Final = (
    f"file: was begun {MOST_ATTEMPTS} times and did not get on: each time the process ended, perhaps because this takes"
    " more memory, or room on the disk, than there is; what the report counts is recorded; send the rest in parts, or"
    " as CSV"
)
REJECTED_KEPT: Final = timedelta(days=30)
_LEFT_KEPT_SECONDS: Final = 86400.0
_COPIED: Final = 1_000_000
#: What was said of the file itself.
_OF_FILE: Final = ("sheet", "encoding", "delimiter")
SHOWN: Final = 100


class Upload(NamedTuple):
    """A file as it was sent: its name, and where its bytes come from."""

    name: str
    stream: IO[bytes]


def spool(services: Services) -> IO[bytes]:
    """A file without a name for what is being sent, on the disk where it will be kept: `/tmp` may be small."""
    return cast("IO[bytes]", SpooledTemporaryFile(_COPIED, "w+b", dir=str(_folder(services))))


def take(visit_with: Callable[[], Any], services: Services, upload: Upload, said: Said, *, sure: bool) -> ImportJob:
    """Keep a file and make it a job; `visit_with` opens a visit that writes. Guesses that are not `sure` are faults.

    Raises Invalid, Conflict TOO-MANY-IMPORTS; then nothing is kept.
    """
    kind = kind_of(upload.name)
    if kind is None:
        raise Invalid(Fault("file", "its name must end in .csv, .tsv, .txt, .xlsx, .ndjson or .jsonl"))
    folder, ident = _folder(services), new_id()
    file = folder / f"{ident}.{kind}"
    try:
        sha256, size = _keep(upload.stream, file)
        header = _header_of(file, kind, said)  # which may take long, so nobody waits for it who writes
        with visit_with() as visit:
            plan = _plan(visit, upload.name, header, said, sure=sure)
            job = _job(visit, ident, plan, said, kind=kind, name=upload.name, sha256=sha256, size=size)
            visit.session.add(job)
            visit.note("send-import", f"import/{ident}", file=job.file_name, sha256=sha256, plan=job.plan)
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    return job


def _folder(services: Services) -> Path:
    if services.imports is None:
        raise RuntimeError("these services keep no files")
    services.imports.mkdir(mode=0o700, parents=True, exist_ok=True)
    return services.imports


def _keep(stream: IO[bytes], file: Path) -> tuple[str, int]:
    """Write a file to the disk, for its owner only; its SHA-256 and size."""
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        while some := stream.read(_COPIED):
            size += len(some)
            if size > LARGEST_FILE:
                raise Invalid(Fault("file", f"must have at most {LARGEST_FILE} bytes"))
            digest.update(some)
            out.write(some)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest(), size


def _header_of(file: Path, kind: str, said: Said) -> tuple[str, ...]:
    try:
        table = open_table(file, kind, sheet=said.sheet, encoding=said.encoding, delimiter=said.delimiter)
    except Invalid as refusal:
        named = (fault._replace(path=f"mapping.{fault.path}") for fault in refusal.faults if fault.path in _OF_FILE)
        raise Invalid(*named, *(fault for fault in refusal.faults if fault.path not in _OF_FILE)) from None
    cast("Any", table.rows).close()
    return table.header


def _plan(visit: Visit, name: str, header: tuple[str, ...], said: Said, *, sure: bool) -> Plan:
    """The plan for a file, all of it said or sure; raises Invalid."""
    if not visit.who.clinics:
        raise Invalid(Fault("mapping.clinic", "the account is of no clinic that patients could belong to"))
    clinics = [visit.clinic(ident) for ident in sorted(visit.who.clinics)]
    named = {clinic.name: clinic.id for clinic in clinics} | {clinic.id: clinic.id for clinic in clinics}
    if said.protocol is not None and (wrong := visit.services.catalogue.fault(said.protocol)):
        raise Invalid(Fault("mapping.protocol", wrong))
    drawn = draw_up(header, said, name=name, systems=usual_system(visit), clinics=named)
    faults = [fault._replace(path=f"mapping.{fault.path}") for fault in drawn.questions]
    if "course_ended_on" in drawn.plan.columns and Permission.DISCONTINUE not in visit.who.permissions:
        faults.append(Fault("mapping.columns.course_ended_on", "only a prescriber may end courses, or leave it out"))
    if not sure:
        faults += [
            Fault("mapping.accept_guesses", f"{guess.what} is guessed to be {guess.taken}") for guess in drawn.guesses
        ]
    if faults:
        raise Invalid(*faults)
    return drawn.plan


def _job(visit: Visit, ident: str, plan: Plan, said: Said, **of_file: Any) -> ImportJob:
    mine = Where("account_id", "=", visit.who.account_id), Where("status", "in", OPEN)
    if visit.session.count(ImportJob, *mine) >= MOST_OPEN:
        raise Conflict(Code.TOO_MANY_IMPORTS, f"{MOST_OPEN} imports of this account wait or run; let one end first.")
    name = PureWindowsPath(PurePosixPath(of_file["name"]).name).name
    return ImportJob(
        id=ident,
        version=1,
        account_id=visit.who.account_id,
        clinics=tuple(sorted(visit.who.clinics)),
        file_name="".join(sign for sign in name if sign.isprintable())[-200:],
        kind=of_file["kind"],
        sha256=of_file["sha256"],
        size=of_file["size"],
        plan={**as_json(plan), "options": {name: value for name in _OF_FILE if (value := getattr(said, name))}},
        status="waiting",
        rows=None,
        patients=None,
        done_number=None,
        report=Report().as_json(),
        faults=(),
        made_at=instant(visit.now),
        ended_at=None,
        attempts=0,
        leased_until="",
        leased_by="",
    )


# What is asked of jobs


def jobs(visit: Visit) -> list[ImportJob]:
    """The last imports into the clinics of the account, the newest first."""
    found = visit.session.find(ImportJob, order=("-made_at", "-id"))
    visit.note("read", "imports")
    return list(islice((job for job in found if _is_of(visit, job)), SHOWN))


def job_of(visit: Visit, ident: str) -> ImportJob:
    """An import into the clinics of the account; raises Unknown."""
    job = visit.session.get(ImportJob, ident)
    if job is None or not _is_of(visit, job):
        raise Unknown("import")
    visit.note("read", f"import/{job.id}")
    return job


def _is_of(visit: Visit, job: ImportJob) -> bool:
    """Whether an import is into clinics of the account, all of them, and into any."""
    return bool(job.clinics) and visit.who.clinics.issuperset(job.clinics)


def cancel(visit: Visit, ident: str) -> ImportJob:
    """An import that is not to go on: what was recorded stays. Raises Unknown, Conflict IMPORT-ENDED."""
    job = job_of(visit, ident)
    if job.status not in OPEN:
        raise Conflict(Code.IMPORT_ENDED, f"The import is {job.status}.")
    new = replace(job, version=job.version + 1, status="cancelled", ended_at=instant(visit.now))
    visit.session.change(new, Where("version", "=", job.version))
    visit.note("cancel-import", f"import/{job.id}")
    return new


def rejected_of(visit: Visit, ident: str) -> Path:
    """The file of the rows that an import did not take; raises Unknown where there is none, or not here."""
    job = job_of(visit, ident)
    file = _rejected(_folder(visit.services), job)
    if not file.exists():
        raise Unknown("file of rows that were not taken")
    visit.note("read", f"import/{job.id}/rejected")
    return file


def fields(job: ImportJob) -> dict[str, object]:
    """An import as it is sent."""
    return {
        "id": job.id,
        "status": job.status,
        "file_name": job.file_name,
        "sha256": job.sha256,
        "source": job.plan["source"],
        "rows": job.rows,
        "patients": job.patients,
        "report": job.report,
        "faults": list(job.faults),
        "made_by": job.account_id,
        "made_at": job.made_at,
        "ended_at": job.ended_at,
    }


# How they are worked off


class _Ended(Exception):
    """The job is no longer ours, or was cancelled."""


class _Stopped(Exception):
    """This process is to end: the rest is for others."""


class _Held:
    """A job that this process works on, as it stands in the store."""

    def __init__(self, services: Services, job: ImportJob, stopping: Callable[[float], bool]) -> None:
        self.services = services
        self.job = job
        self.stopping = stopping
        self._renewed = services.clock()

    def change(self, session: Session, **changed: Any) -> ImportJob:
        """The job with changes, and a claim that begins anew; raises Stale where it is not ours any more."""
        until = instant(self.services.clock() + LEASED_FOR)
        new = replace(self.job, version=self.job.version + 1, leased_until=until, **changed)
        session.change(new, Where("version", "=", self.job.version))
        return new

    def keep(self, **changed: Any) -> None:
        """Change the job; raises _Ended where it is not ours any more."""
        try:
            with self.services.store.writing() as session:
                new = self.change(session, **changed)
        except Stale:
            raise _Ended from None
        self.job = new
        self._renewed = self.services.clock()

    def let_go(self, *, at_once: bool) -> None:
        """Leave the job to others, at once or when the claim has ended, and do not count this attempt."""
        until = "" if at_once else self.job.leased_until
        new = replace(self.job, version=self.job.version + 1, attempts=self.job.attempts - 1, leased_until=until)
        with suppress(Stale, StoreError), self.services.store.writing() as session:
            session.change(new, Where("version", "=", self.job.version))

    def alive(self, _: int = 0) -> None:
        """Say that this process is at it; raises _Ended, _Stopped."""
        if self.stopping(0):
            raise _Stopped
        if self.services.clock() - self._renewed > _RENEWED_AFTER:
            self.keep()


def work_off(services: Services, stopping: Callable[[float], bool] = lambda _: False) -> int:
    """Work off what there is to import; how many imports have ended.

    `stopping` waits so many seconds and says whether this process is to end.
    """
    if services.imports is None or not services.imports.is_dir():
        return 0
    _clear(services)
    ended = 0
    while not stopping(0) and (held := _claimed(services, stopping)) is not None:
        try:
            _work(held)
            ended += 1
        except _Stopped:
            held.let_go(at_once=True)
            break
        except _Ended:
            ended += 1
    return ended


def _claimed(services: Services, stopping: Callable[[float], bool]) -> _Held | None:
    """The oldest job that nobody works on and whose file is here, claimed; None where there is none."""
    now = services.clock()
    with services.store.reading() as session:
        found = session.find(ImportJob, Where("status", "in", OPEN), order=("made_at", "id"))
    for job in found:
        if job.leased_until > instant(now) or not _file(_folder(services), job).exists():
            continue
        held = _Held(services, job, stopping)
        try:
            held.keep(status="running", attempts=job.attempts + 1, leased_by=new_id())
        except _Ended:  # another one was faster
            continue
        return held
    return None


def _work(held: _Held) -> None:
    """Work a job off, or end it with why; raises _Ended, _Stopped, and what a later attempt may be spared."""
    file = _folder(held.services) / f"{held.job.id}.stage"
    if held.job.attempts > MOST_ATTEMPTS:
        discard(file)
        structlog.get_logger().error("import-given-up", id=held.job.id, attempts=MOST_ATTEMPTS)
        _end(held, Stage(file), status="failed", faults=(_GIVEN_UP,))
        return
    try:
        stage = Stage(file)
    except sqlite3.Error:
        discard(file)  # a power failure may have broken it
        raise
    try:
        _import(held, stage)
    except Invalid as refusal:
        _end(held, stage, status="failed", faults=tuple(map(str, refusal.faults)))
    except (_Ended, _Stopped):
        stage.close()
        raise
    except StoreError:
        stage.close()  # the claim ends, and somebody tries again
        held.let_go(at_once=False)
        raise
    except (sqlite3.Error, OSError):
        stage.remove()  # it may be what is broken
        raise
    except Exception:  # noqa: BLE001 (whatever it is, it would be the same the next time)
        structlog.get_logger().exception("import", id=held.job.id)
        _end(held, stage, status="failed", faults=("something went wrong here; it stands in the log",))


def _import(held: _Held, stage: Stage) -> None:
    services, job = held.services, held.job
    plan, said = _kept_plan(job)
    actor = _actor(held)
    if job.rows is None or not stage.is_filled:
        file = _file(_folder(services), job)
        table = open_table(file, job.kind, sheet=said.sheet, encoding=said.encoding, delimiter=said.delimiter)
        staged = stage.fill(plan, table, held.alive)
        # All of it, if it was filled before: what was not taken of those who were passed over went with that file.
        held.keep(rows=staged.rows, patients=staged.patients, done_number=None, report=Report().as_json())
    with services.store.reading() as session:
        clinics = {clinic.id: clinic for clinic in session.find(Clinic)}
    report = Report.of_json(cast("dict[str, Any]", held.job.report))
    work = Work(services, actor, plan, stage, {"source": plan.source, "file_sha256": job.sha256}, clinics)
    changed: list[ImportJob] = []

    def also(session: Session, batch: Batch, told: Report) -> None:
        changed.append(held.change(session, attempts=1, done_number=batch.last, report=told.as_json()))

    try:
        for _ in _unhurried(run(work, report, of=(held.job.done_number, None), also=also), held.stopping):
            held.job = changed[-1]
            held.alive()
    except Stale:
        raise _Ended from None
    report.refused = stage.count_refused()
    report.rows = held.job.rows or 0
    _end(held, stage, status="done", report=report.as_json())


def _unhurried(batches: Iterator[Batch], stopping: Callable[[float], bool]) -> Iterator[Batch]:
    """Batches with a pause after each, as long as it took: this process answers requests, too."""
    begun = time.perf_counter()
    for batch in batches:
        yield batch
        stopping(time.perf_counter() - begun)
        begun = time.perf_counter()


def _actor(held: _Held) -> Actor:
    """As whom the import is done: its account, as it may act now. Raises Invalid."""
    with held.services.store.reading() as session:
        account = session.get(Account, held.job.account_id)
    if account is None or not account.active or Permission.IMPORT not in PERMISSIONS[Role(account.role)]:
        raise Invalid(Fault("", "the account that sent it may not import any more"))
    role = Role(account.role)
    clinics = frozenset(account.clinics) & frozenset(held.job.clinics)
    return Actor(account.id, account.username, role, clinics, PERMISSIONS[role])


def _kept_plan(job: ImportJob) -> tuple[Plan, Said]:
    kept = dict(job.plan)
    options = cast("dict[str, Any]", kept.pop("options"))
    return from_json(kept), Said(**options)


def _end(held: _Held, stage: Stage, **changed: Any) -> None:
    """Write what was not taken, end the job, remove the rest."""
    services, job = held.services, held.job
    folder = _folder(services)
    if changed["status"] == "done" and stage.count_refused():
        with private(_rejected(folder, job)) as out:
            plan, said = _kept_plan(job)
            write_rejected(stage, plan, out, said.delimiter or ",")
    stage.close()
    now = services.clock()
    try:
        with services.store.writing() as session:
            held.job = held.change(session, ended_at=instant(now), **changed)
            visit = Visit(services=services, session=session, actor=None, now=now)
            told: dict[str, Any] = {key: value for key, value in held.job.report.items() if key != "to_verify"}
            visit.note("end-import", f"import/{job.id}", status=held.job.status, faults=held.job.faults, **told)
            leave(visit, session, visit.entries)
    except Stale:
        raise _Ended from None
    structlog.get_logger().info("import", id=job.id, status=held.job.status, rows=held.job.rows)
    _remove(folder, job.id)


@contextmanager
def private(file: Path) -> Iterator[IO[str]]:
    """A file to be written anew, for its owner only: it has data of patients.

    It takes the place of what has that name, whoever may read that and wherever it leads, once the block has ended.
    """
    part = file.with_name(f".{file.name[-200:]}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as out:
            yield out
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def write_rejected(stage: Stage, plan: Plan, out: Any, delimiter: str) -> None:
    """Write the rows that were not taken as they were, each with its line and why; no cell is a formula.

    It begins with the mark by which spreadsheets, and `open_table`, know UTF-8.
    """
    out.write("\ufeff")
    table = csv.writer(out, delimiter=delimiter)
    table.writerow([*(cell(name, delimiter) for name in plan.header), "line", "reason"])
    wide = len(plan.header)
    for line, cells, why in stage.refused():
        told = [*(cell(text, delimiter) for text in [*cells, *[""] * wide][:wide]), line, cell(why, delimiter)]
        table.writerow(told)


def _file(folder: Path, job: ImportJob) -> Path:
    return folder / f"{job.id}.{job.kind}"


def _rejected(folder: Path, job: ImportJob) -> Path:
    return folder / f"{job.id}.rejected.csv"


def _remove(folder: Path, ident: str) -> None:
    """Remove all files of an import but the rows that were not taken."""
    for file in folder.glob(f"{ident}.*"):
        if not file.name.endswith(".rejected.csv"):
            file.unlink(missing_ok=True)


def _clear(services: Services) -> None:
    """Remove what is of no open import: after a day, and rows that were not taken after thirty."""
    folder, now = _folder(services), services.clock().timestamp()
    for file in folder.iterdir():
        ident, _, rest = file.name.removeprefix(".").partition(".")  # as `private` calls what is not whole yet
        age = REJECTED_KEPT.total_seconds() if rest == "rejected.csv" else _LEFT_KEPT_SECONDS
        if len(ident) != len(new_id()) or now - file.stat().st_mtime < age:
            continue
        with services.store.reading() as session:
            job = session.get(ImportJob, ident)
        if job is None or job.status not in OPEN:
            file.unlink(missing_ok=True)
