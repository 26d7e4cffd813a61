"""The bench of what is asked of all patients, and of what is taken out of an installation.

    cohort  each decision point of N patients with 26 weekly counts and doses answered anew, by one process and by two
    bare    the same answers of the same courses, that are in memory already: recommend() alone
    export  the same patients as CSV, ndjson and a Bundle, beside the rows of `facts` by sqlite3 and csv alone

Each pair in turn; told are the median of the ratios, and the peak of memory at two sizes.
"""

from __future__ import annotations

import csv
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from bench.figures import Figure, report
from bench.service import fill
from titrator.assembly import make_services
from titrator.protocols import Catalogue
from titrator.settings import Settings
from titrator.store.base import Where
from titrator.store.records import CourseVersion, Patient
from titrator.titration.course import read_document
from titrator.titration.quantities import iso
from titrator.workflow.propose import course_document
from titrator.workflow.replay import before_dose
from titrator.workflow.visit import Services

PATIENTS = int(os.environ.get("BENCH_PATIENTS", "4000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
WEEKS = 26
ASK = ("audit-titration", "--protocol", "us-itp-adult", "--format", "csv")
_FEW = 500  # patients, of those whose answers are computed bare


def bare(services: Services, patients: int) -> Callable[[], int]:
    """Answer each dose's day of some patients whose courses have been read; how many they were."""
    protocol = services.catalogue.get("us-itp-adult")
    courses = []
    with services.store.reading() as session:
        for patient in session.find(Patient, order=("id",), limit=patients):
            (version,) = session.find(CourseVersion, Where("patient_id", "=", patient.id))
            document = course_document(patient, version, session.course_facts(patient.id), iso(_TODAY))
            courses.append(read_document(document, lambda _: None).course)

    def answer() -> int:
        done = 0
        for course in courses:
            for dose in course.doses:
                before_dose(protocol, course.until(dose.day), dose.day)
                done += 1
        return done

    return answer


_TODAY = 800_000  # a day after all others


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def command(folder: Path, *words: str) -> tuple[float, int]:
    """How long a command takes, and the peak of its own memory in MiB, without pages of the database's file.

    These are mapped, so that they count as memory as long as nobody else wants it.
    """
    run = "import sys; from titrator.cli import main; main(sys.argv[1:], standalone_mode=False)"
    begun, peak = time.perf_counter(), 0
    with subprocess.Popen(
        [sys.executable, "-c", run, *words],
        env=os.environ | {"TITRATOR_INSTANCE": str(folder)},
        stdout=subprocess.DEVNULL,
    ) as process:
        while process.returncode is None:
            peak = max(peak, anonymous(process.pid))
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: exit code {process.returncode}")
    return time.perf_counter() - begun, peak


def anonymous(process: int) -> int:
    """The memory of a process that is no file's, in MiB; 0 of one that has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("RssAnon:")), 0)


def copied(folder: Path) -> None:
    """The rows of the facts as CSV, by the standard library alone."""
    connection = sqlite3.connect(folder / "titrator.db")
    with (folder / "bare.csv").open("w", newline="", encoding="utf-8") as file:
        rows = connection.execute(
            "select c.name, p.family_name, p.given_name, p.born_on, f.* from facts f join patients p on "
            "p.id = f.patient_id join clinics c on c.id = p.clinic_id order by f.patient_id, f.id, f.version"
        )
        csv.writer(file).writerows(rows)
    connection.close()


def exports(folder: Path) -> None:
    """Take all patients out in each format, beside the bare rows."""
    rows = PATIENTS * (2 * WEEKS + 2)
    for ending in ("csv", "ndjson", "json"):
        ratios, rates, limits, peak = [], [], [], 0
        for _ in range(ROUNDS):
            place = folder / f"out.{ending}"
            took, peak = command(folder, "export", str(place))
            place.unlink()
            limit = seconds(partial(copied, folder))
            ratios.append(limit / took)
            rates.append(rows / took)
            limits.append(rows / limit)
        rate, beside, ratio = map(statistics.median, (rates, limits, ratios))
        name = f"export to {ending}, beside bare rows as CSV"
        report(Figure(name, rate, "rows/s", beside, ratio, more=f"{peak} MiB"))


def main() -> None:
    """Fill two instances, measure in turn, print."""
    print(f"{PATIENTS:,} patients with {WEEKS} counts and doses, {ROUNDS} rounds, {Catalogue().ids()[0]} and others")
    with tempfile.TemporaryDirectory() as name:
        large, small = Path(name) / "large", Path(name) / "small"
        fill(large, PATIENTS, weeks=WEEKS)
        fill(small, PATIENTS // 10, weeks=WEEKS)
        services = make_services(Settings(instance=large))
        alone = bare(services, _FEW)
        speed, beside, each = [], [], []
        for _ in range(ROUNDS):
            one, two = (command(large, *ASK, "--jobs", jobs)[0] for jobs in ("1", "2"))
            limit = seconds(alone) / (_FEW * WEEKS)
            speed.append(one / two)
            each.append(one / (PATIENTS * WEEKS))
            beside.append(limit / each[-1])
        services.store.close()
        report(Figure("cohort by two processes / by one: times as fast", statistics.median(speed), "times"))
        micros, ratio = statistics.median(each) * 1e6, statistics.median(beside)
        report(Figure("a decision point, beside the bare answer", micros, "µs", micros * ratio, ratio))
        for told, words in (("a cohort", (*ASK, "--jobs", "1")), ("an export", ("export", ""))):
            few, many = (
                command(folder, *(word or str(folder / "peak.csv") for word in words))[1] for folder in (small, large)
            )
            which = f"peak memory of {told} of {PATIENTS:,} / of {PATIENTS // 10:,} patients"
            report(Figure(which, many, "MiB", few, many / few))
        exports(large)


if __name__ == "__main__":
    main()
