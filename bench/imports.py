"""The bench of bulk in: rows a second of `titrator import`, beside `sqlite-utils insert --csv` of the same rows.

    import        every row validated, each value a fact that was judged, a course and an entry in the trail a patient
    sqlite-utils  the rows as they are, into a table of texts

The file is that of a made-up clinic, always the same: some patients, 26 weeks each, weight, count and dose a week, a
slip of the keyboard now and then. Both run in turn, each in a process of its own with a new database; told are the
median of the ratios and of the rates. Into PostgreSQL: `bench.postgres`.
"""

from __future__ import annotations

import csv
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import psycopg

from bench.figures import Pair, at_least, report_pair

PATIENTS = int(os.environ.get("BENCH_IMPORT_PATIENTS", "100000"))
ROUNDS = int(os.environ.get("BENCH_IMPORT_ROUNDS", "1"))
WEEKS = 26
FIRST = date(2025, 1, 6)
HEADER = ("MRN", "Last name", "First name", "DOB", "Visit date", "Weight kg", "Platelets (10^9/L)", "Nplate dose mcg")
COMMAND = (sys.executable, "-c", "from titrator.cli import run; run()")


def rows(patients: int) -> Iterator[tuple[str, ...]]:
    """The rows of a clinic's table: each patient titrated by the count, as the label has it, with the noise of life."""
    chance = random.Random(20260309)
    for number in range(patients):
        who = f"M{number:07}", f"Family{number % 997}", f"Given{number % 89}"
        born = date(1930, 1, 1) + timedelta(days=chance.randrange(28_000))
        kilograms, level, count = chance.gauss(75, 12), 1, chance.gauss(20, 8)
        kilograms = min(max(kilograms, 42.0), 140.0)
        begun = FIRST + timedelta(days=chance.randrange(180))
        for week in range(WEEKS):
            kilograms += chance.gauss(0, 0.3)
            slip = chance.random()
            seen = count * 10 if slip < 0.001 else count
            day = begun + timedelta(weeks=week)
            dose = f"{kilograms * level:.0f}"
            yield *who, born.isoformat(), day.isoformat(), f"{kilograms:.1f}", f"{max(seen, 1):.0f}", dose
            if count < 50:
                level = min(level + 1, 10)
            elif count > 200:
                level = max(level - 1, 1)
            count = max(2.0, count + chance.gauss(8 * level - count / 6, 12))


def write(file: Path, patients: int) -> int:
    """Write the table; how many rows it has."""
    with file.open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        table.writerow(HEADER)
        table.writerows(rows(patients))
    return patients * WEEKS


def timed(command: tuple[str, ...], environment: dict[str, str]) -> float:
    """How many seconds a command takes; it must end well, or in rows that were not taken."""
    begun = time.perf_counter()
    ran = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    took = time.perf_counter() - begun
    if ran.returncode not in {0, 3} or "Traceback" in ran.stderr:
        raise RuntimeError(f"{command}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}")
    return took


def ours(folder: Path, file: Path, server: str) -> float:
    """How many seconds the import into a new installation takes, in a file or in a new database of a server."""
    if not server:
        return imported({"TITRATOR_INSTANCE": str(folder)}, file)
    with new_database(server) as url:
        return imported({"TITRATOR_INSTANCE": str(folder), "TITRATOR_DATABASE": url}, file)


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """The URL of a database that is there for as long as it is needed, on the server of the URL of another."""
    name = f"bench_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
        try:
            yield f"{server.rpartition('/')[0]}/{name}"
        finally:
            connection.execute(f"drop database {name} with (force)".encode())


def imported(environment: dict[str, str], file: Path) -> float:
    """How many seconds an import takes, once the installation has been made."""
    for arguments in (("init",), ("clinics", "add", "Bench", "--time-zone", "UTC")):
        timed((*COMMAND, *arguments), environment)
    wanted = ("--system", "urn:bench", "--source", "bench", "--protocol", "us-itp-adult", "--yes")
    return timed((*COMMAND, "import", str(file), *wanted), environment)


def measure(server: str = "") -> None:
    """The pair, in turn; into a file, or into databases of a server."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as place:
        folder = Path(place)
        file = folder / "clinic.csv"
        total = write(file, PATIENTS)
        bare = str(Path(sys.executable).with_name("sqlite-utils"))
        heres, theres = [], []
        for number in range(ROUNDS):
            there = timed((bare, "insert", str(folder / f"bare{number}.db"), "rows", str(file), "--csv"), {})
            here = ours(folder / f"instance{number}", file, server)
            heres.append(total / here)
            theres.append(total / there)
            print(f"  {total / here:,.0f} rows/s beside {total / there:,.0f}: {there / here:.2f}", flush=True)
        into = "PostgreSQL" if server else "SQLite"
        name = f"import into {into} of {total:,} rows of {PATIENTS:,} patients, beside sqlite-utils insert --csv"
        report_pair(name, Pair(heres, theres), "rows/s", at_least(0.25))


if __name__ == "__main__":
    measure()
