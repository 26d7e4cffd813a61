"""All benches, one after another, and one page of their figures.

    python -m bench.all                       every bench; writes docs/benchmarks.md
    python -m bench.all --small --to FILE     as small and short as can be: whether they run, not how fast
    python -m bench.all charts fhir           some of them

Each runs in a process of its own. One that fails is told, with the last that it said; what it had reported before, and
what the others report, is kept.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from bench.figures import FILE, Figure, number, read

HERE: Final = Path(__file__).parent
PAGE: Final = HERE.parent / "docs" / "benchmarks.md"
#: As small as the scripts allow.
SMALL: Final = {
    "BENCH_PATIENTS": "600",
    "BENCH_REMINDERS": "400",
    "BENCH_LINES": "200",
    "BENCH_IMPORT_PATIENTS": "40",
    "BENCH_IMPORT_ROUNDS": "1",
    "BENCH_ROUNDS": "2",
    "BENCH_SECONDS": "0.1",
    "BENCH_CURVE": "--patients 40 60 --weeks 4 8 --processes 1 2",
}


class Outcome(NamedTuple):
    """What came of a bench: its figures, how long it took, and why it failed, if it did."""

    name: str
    figures: list[Figure]
    seconds: float
    failed: str


def scripts() -> list[str]:
    """All benches: the modules of this folder that can be run, but this one."""
    found = [file for file in HERE.glob("*.py") if '__name__ == "__main__"' in file.read_text(encoding="utf-8")]
    return sorted(file.stem for file in found if file.stem != "all")


def run(name: str, environment: dict[str, str]) -> Outcome:
    """Run a bench, and let it be heard meanwhile."""
    print(f"\n{name}", flush=True)
    begun, last = time.perf_counter(), ""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.ndjson"
        with subprocess.Popen(
            [sys.executable, "-m", f"bench.{name}"],
            env={**os.environ, **environment, FILE: str(file)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(f"  {line}", end="", flush=True)
                last = line.strip() or last
        code = process.returncode
        failed = f"ended with {code}: {last}" if code else ""
        return Outcome(name, read(file), time.perf_counter() - begun, failed)


def machine(now: datetime) -> Iterator[tuple[str, str]]:
    """What was measured on, in words."""
    yield "date", now.date().isoformat()
    model = [line.partition(": ")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    yield "processor", f"{model[0] if model else platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    memory = [int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    yield "memory", f"{memory[0] / 1024**2:.1f} GiB" if memory else "unknown"
    yield "system", f"{platform.system()} {platform.release()}"
    programs = f"titrator {version('titrator')}, Python {platform.python_version()}"
    yield "versions", f"{programs}, SQLite {sqlite3.sqlite_version}"
    yield "network", "loopback: clients and servers share the cores"


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def said(figure: Figure) -> tuple[str, str, str, str, str, str]:
    """A figure as the cells of a row."""
    beside = "" if figure.limit is None else f"{number(figure.limit)} {figure.unit}"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    goal = "" if figure.goal is None else f"{figure.goal}: {'reached' if figure.is_reached else '**missed**'}"
    return figure.name, f"{number(figure.value)} {figure.unit}", beside, ratio, goal, figure.more


def page(outcomes: list[Outcome], now: datetime, sizes: dict[str, str]) -> str:
    """The page of all figures."""
    lines = ["# Benchmarks", ""]
    lines += ["Written by `make bench`; what is measured, and why so, stands in [the bench](bench.md).", ""]
    lines += [f"- {name}: {what}" for name, what in machine(now)]
    if sizes:
        told = ", ".join(f"{name}={value}" for name, value in sorted(sizes.items()))
        lines += ["", f"**Not in full size**: {told}. These figures say nothing but that the benches run."]
    goals = [figure.is_reached for outcome in outcomes for figure in outcome.figures if figure.goal]
    lines += ["", f"{sum(map(bool, goals))} of {len(goals)} goals reached."]
    for outcome in outcomes:
        lines += ["", f"## {outcome.name}", "", f"`python -m bench.{outcome.name}`, {outcome.seconds:.0f} s", ""]
        if outcome.figures:
            lines += ["| Measured | Value | Beside | Ratio | Goal | |", "|---|---|---|---|---|---|"]
            lines += [f"| {' | '.join(said(figure))} |" for figure in outcome.figures]
        if outcome.failed:
            lines += ["", f"**Failed**: {outcome.failed}"]
        elif not outcome.figures:
            lines += ["It reported no figure."]
    return "\n".join(lines) + "\n"


def tell(outcomes: list[Outcome]) -> None:
    """All figures as one table on the terminal."""
    table = Table("Bench", "Measured", "Value", "Beside", "Ratio", "Goal")
    for outcome in outcomes:
        for figure in outcome.figures:
            *cells, _ = said(figure)
            table.add_row(outcome.name, *(cell.replace("*", "") for cell in cells))
        if outcome.failed:
            table.add_row(outcome.name, f"FAILED: {outcome.failed}", "", "", "", "", style="bold red")
    Console().print(table)


def main() -> int:
    """Run them, tell and write; 1 if one failed, for a goal that is missed is a figure as well."""
    parser = argparse.ArgumentParser(prog="bench.all")
    parser.add_argument("names", nargs="*", choices=[[], *scripts()], metavar="BENCH", help=", ".join(scripts()))
    parser.add_argument("--small", action="store_true", help="as small and short as can be")
    parser.add_argument("--to", type=Path, default=PAGE, help="the page that is written")
    asked = parser.parse_args()
    sizes = SMALL if asked.small else {name: value for name, value in os.environ.items() if name in SMALL}
    outcomes = [run(name, sizes) for name in asked.names or scripts()]
    tell(outcomes)
    asked.to.write_text(page(outcomes, datetime.now(UTC), sizes), encoding="utf-8")
    print(f"{asked.to} was written.")
    return int(any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
