"""The bench of the reminders: plan and claim a hundred thousand, beside the bare SQL that writes as many rows.

    ours    of each patient, from where the patient stands: what is wanted, its rows, the deliveries of the first step,
            then all of them leased, fifty at a time
    bare    the same rows, inserted into the same tables with the same indexes and updated as often, by sqlite3 alone,
            in transactions of the same size

Both run in turn, each on a copy of the same file; told are the median of the ratios, and the peak of memory at two
sizes.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Figure, Pair, at_most, report, report_pair
from titrator.assembly import make_services
from titrator.security.permissions import PERMISSIONS, Role
from titrator.settings import Settings
from titrator.store.base import Where
from titrator.store.records import ChannelRow, Delivery, Patient, Reminder, Standing, Waiting
from titrator.store.rows import mapping
from titrator.workflow import record
from titrator.workflow.reminders.keep import keep_reminders
from titrator.workflow.reminders.plan import Plan, plan_of
from titrator.workflow.reminders.tell import Sender, plan_deliveries
from titrator.workflow.reminders.wanted import wanted
from titrator.workflow.visit import Actor, Services, Visit, instant, leave

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
REMINDERS = int(os.environ.get("BENCH_REMINDERS", "100000"))
NOW = datetime.now(UTC).replace(hour=12, minute=0)
_PATIENTS_AT_ONCE, _PLANNED_AT_ONCE, _LEASED_AT_ONCE = 50, 500, 50


def fill(folder: Path, patients: int) -> None:
    """An instance with so many patients of whom a dose and a count are due today, and a channel to technicians."""
    services = make_services(Settings(instance=folder))
    with services.store.writing() as session:
        actor = Actor("bench", "bench", Role.ADMIN, frozenset(), PERMISSIONS[Role.ADMIN])
        visit = Visit(services=services, session=session, actor=actor, now=NOW)
        clinic = record.add_clinic(visit, {"name": "bench", "time_zone": "UTC", "injection_days": list(_WEEK)})
        leave(visit, session, visit.entries)
        session.add(_channel(clinic.id))
    services.store.close()
    connection = sqlite3.connect(folder / "titrator.db", isolation_level=None)
    connection.execute("pragma synchronous = off")
    connection.execute("begin")
    names = [f"{index:020x}" for index in range(patients)]
    for kind, rows in (
        (Patient, (_patient(name, clinic.id) for name in names)),
        (Standing, (_standing(name, clinic.id) for name in names)),
    ):
        columns = mapping(kind).columns
        sql = f"insert into {kind.TABLE} ({', '.join(columns)}) values ({', '.join('?' * len(columns))})"
        connection.executemany(sql, rows)
    connection.execute("commit")
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()


_WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _channel(clinic: str) -> ChannelRow:
    return ChannelRow(
        id="channel", version=1, clinic_id=clinic, audience="technician", kind="webhook", label="bench",
        address="https://127.0.0.1/", secret=None, active=True, per_minute=10**9, minute="", in_minute=0, failures=0,
        rests_until="", error=None,
    )  # fmt: skip


def _patient(name: str, clinic: str) -> list[object]:
    patient = Patient(
        id=name, version=1, revision=1, clinic_id=clinic, family_name=name, given_name="x", search_name=name,
        born_on="1960-05-01", active=True, created_at=instant(NOW), changed_at=instant(NOW), settled=True,
        decided=0, decision_id=None,
    )  # fmt: skip
    return list(mapping(Patient).to_row(patient))


def _standing(name: str, clinic: str) -> list[object]:
    day = NOW.date().isoformat()
    standing = Standing(
        patient_id=name, clinic_id=clinic, day=day, revision=1, patient_version=1, program="", course_id=1,
        course_version=1, protocol="us-itp-adult", protocol_sha256="", action="maintain", reasons=("IN-RANGE",),
        input_sha256="", unverified=(), proposal_sha256="", dose_due_on=day, count_due_on=day,
        dues=(f"dose-due {day} 12 0", f"count-due {day} 12 0"), answer="{}",
    )  # fmt: skip
    return list(mapping(Standing).to_row(standing))


def ours(folder: Path) -> float:
    """Seconds to plan the reminders of all patients, make their deliveries and lease all of them."""
    services = make_services(Settings(instance=folder))
    begun = time.perf_counter()
    plans: dict[str, Plan] = {}
    for page in _pages(services):
        ids = Where("patient_id", "in", tuple(patient.id for patient in page))
        with services.store.writing(durable=False) as session:
            visit = Visit(services=services, session=session, actor=None, now=NOW)
            standings = {one.patient_id: one for one in session.find(Standing, ids)}
            lines = {one.patient_id: one for one in session.find(Waiting, ids)}
            new: list[Reminder] = []
            for patient in page:
                plan = plans.get(patient.clinic_id) or plan_of(session, visit.clinic(patient.clinic_id))
                plans[patient.clinic_id] = plan
                some = wanted(visit, patient, standings.get(patient.id), lines.get(patient.id), plan)
                new += keep_reminders(visit, patient, some, plan)
            session.put(*new)
    planned = plan_deliveries(services, NOW)
    if services.telling is None or planned != REMINDERS:
        raise RuntimeError(f"{planned} deliveries")
    sender = Sender(services, services.telling, "channel", "bench", lambda: NOW)
    leased = 0
    while (lease := sender.lease()) is not None:
        leased += len(lease.held)
    took = time.perf_counter() - begun
    if leased != REMINDERS:
        raise RuntimeError(f"{leased} leased")
    services.store.close()
    return took


def _pages(services: Services) -> Iterator[list[Patient]]:
    after = ""
    while True:
        with services.store.reading() as session:
            page = session.find(Patient, Where("id", ">", after), order=("id",), limit=_PATIENTS_AT_ONCE)
        if not page:
            return
        yield page
        after = page[-1].id


def bare(folder: Path) -> float:
    """Seconds to insert the same rows, and to update them as often, by SQL alone; the rows are made beforehand."""
    with sqlite3.connect(folder / "titrator.db") as connection:
        rows = {
            kind: connection.execute(f"select {', '.join(mapping(kind).columns)} from {kind.TABLE}").fetchall()
            for kind in (Reminder, Delivery)
        }
        for kind in rows:
            connection.execute(f"delete from {kind.TABLE}")
    connection.close()
    connection = sqlite3.connect(folder / "titrator.db", isolation_level=None)
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.execute("pragma synchronous = normal")
    connection.execute("pragma wal_autocheckpoint = 20000")
    at = instant(NOW)
    advance = (
        "update reminders set step = 2, version = 2, next_at = null where patient_id = ? and kind = ? and due_on = ?"
    )
    lease = (
        "update deliveries set leased_until = ?, leased_by = 'bench' where about = ? and kind = ? and due_on = ? "
        "and step = ? and recipient = ? and channel_id = ?"
    )
    made = [list(row) for row in rows[Reminder]]
    place = {name: index for index, name in enumerate(mapping(Reminder).columns)}
    for row in made:
        row[place["next_at"]], row[place["step"]], row[place["version"]] = at, 1, 1
    begun = time.perf_counter()
    for some in _some(made, 2 * _PATIENTS_AT_ONCE):
        _write(connection, _insert(Reminder), some)
    for start in range(0, len(made), _PLANNED_AT_ONCE):
        connection.execute("begin immediate")
        connection.executemany(_insert(Delivery), rows[Delivery][start : start + _PLANNED_AT_ONCE])
        connection.executemany(advance, [row[:3] for row in made[start : start + _PLANNED_AT_ONCE]])
        connection.execute("commit")
    for some in _some(rows[Delivery], _LEASED_AT_ONCE):
        _write(connection, lease, [(at, *row[:6]) for row in some])
    took = time.perf_counter() - begun
    connection.close()
    return took


def _some(rows: list[list[object]], many: int) -> Iterator[list[list[object]]]:
    return (rows[start : start + many] for start in range(0, len(rows), many))


def _write(connection: sqlite3.Connection, sql: str, rows: list[object]) -> None:
    connection.execute("begin immediate")
    connection.executemany(sql, rows)
    connection.execute("commit")


def _insert(kind: type[Reminder | Delivery]) -> str:
    columns = mapping(kind).columns
    return f"insert into {kind.TABLE} ({', '.join(columns)}) values ({', '.join('?' * len(columns))})"


def peak(folder: Path) -> float:
    """The peak of memory, in MiB, of a process that plans and claims what a folder has."""
    code = "import sys; from pathlib import Path; from bench import reminders as r; "
    code += "r.REMINDERS = int(sys.argv[2]); r.ours(Path(sys.argv[1])); "
    code += "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    many = str(2 * _count(folder))
    return float(subprocess.check_output([sys.executable, "-c", code, str(folder), many], text=True))


def _count(folder: Path) -> int:
    with sqlite3.connect(folder / "titrator.db") as connection:
        return int(connection.execute("select count(*) from patients").fetchone()[0])


def main() -> None:
    """The ratio, and the peaks at a tenth and at all of the reminders."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as place:
        folder = Path(place)
        fill(folder / "all", REMINDERS // 2)
        fill(folder / "tenth", REMINDERS // 20)
        times, limits = [], []
        for turn in range(ROUNDS):
            here = shutil.copytree(folder / "all", folder / f"turn{turn}")
            one = ours(here)
            other = bare(here)
            times.append(one)
            limits.append(other)
            shutil.rmtree(here)
        name = f"{REMINDERS:,} reminders planned and claimed / bare SQL"
        report_pair(name, Pair(times, limits), "s", at_most(3))
        few, many = peak(folder / "tenth"), peak(folder / "all")
        name = f"peak memory with {REMINDERS:,} / with {REMINDERS // 10:,}"
        report(Figure(name, many, "MiB", few, many / few, at_most(1.1)))


if __name__ == "__main__":
    main()
