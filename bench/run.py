"""The bench: what a course costs, beside what the standard library's JSON costs for the same lines.

Speeds of machines differ and drift, so only ratios count: each pair is measured in turn, several times, in one run, and
the median of the pairs is told. Figures of a known machine stand in docs/bench.md.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

from bench.figures import Figure, Goal, Pair, at_most, report, report_pair

TITRATOR = Path(sys.executable).with_name("titrator")
LINES = int(os.environ.get("BENCH_LINES", "20000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))
#: Answers that are timed together.
ANSWERS = 40
PROTOCOLS = ("us-itp-adult", "eu-itp-adult", "jp-itp-adult", "us-itp-paediatric", "cart-2021-case")
BASELINE = "import json, sys\nfor line in sys.stdin: sys.stdout.write(json.dumps(json.loads(line)) + '\\n')"


def course(chance: random.Random, weeks: int) -> str:
    """A plausible course of so many weeks, as one line of JSON."""
    first = date(2025, 1, 6) + timedelta(days=chance.randrange(300))
    kg = chance.randrange(400, 1200) / 10
    level, doses, counts = 1.0, [], []
    for week in range(weeks + 1):
        day = (first + timedelta(weeks=week)).isoformat()
        platelets = chance.randrange(50, 3000) / 10
        counts.append({"collected_on": day, "value": platelets, "unit": chance.choice(["10*9/L", "10*9/L", "K/uL"])})
        if week < weeks:
            doses.append({"given_on": day, "micrograms": round(kg * level, 2), "micrograms_per_kg": level})
            level = min(level + 1, 10) if platelets < 50 else level
    document = {
        "protocol": chance.choice(PROTOCOLS),
        "on": counts[-1]["collected_on"],
        "born_on": "1960-05-01",
        "weights": [{"measured_on": first.isoformat(), "value": kg, "unit": "kg"}],
        "platelet_counts": counts,
        "doses": doses,
        "events": [],
        "eligibility": ["marrow-infiltration-excluded", "mds-excluded"],
    }
    return json.dumps(document)


def write(path: Path, lines: int, weeks: Callable[[random.Random], int]) -> Path:
    """Write so many courses to a file, the same ones each time."""
    chance = random.Random(20260309)
    with path.open("w") as file:
        for _ in range(lines):
            file.write(course(chance, weeks(chance)) + "\n")
    return path


def seconds(command: list[str], source: Path) -> float:
    """Processor seconds, user and system, that a command takes with a file as its input."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with source.open("rb") as file:
        subprocess.run(command, stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ratio(name: str, one: Callable[[], float], other: Callable[[], float], goal: Goal) -> None:
    """Measure a pair in turn and report it."""
    pairs = [(one(), other()) for _ in range(ROUNDS)]
    report_pair(name, Pair([first for first, _ in pairs], [second for _, second in pairs]), "s", goal)


def peak_mebibytes(command: list[str], source: Path) -> float:
    """The peak memory of a command, as the system accounts for it."""
    with source.open("rb") as file:
        process = subprocess.Popen(command, stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return usage.ru_maxrss / 1024


def in_process(text: str) -> Callable[[], float]:
    """Wall seconds of enough answers to one course, in this process."""
    from titrator.protocols import Catalogue  # noqa: PLC0415  so that the parent stays small for the other measurements
    from titrator.titration.answer import to_text  # noqa: PLC0415
    from titrator.workflow.propose import propose  # noqa: PLC0415

    catalogue, line = Catalogue(), text.encode()

    def measure() -> float:
        started = time.perf_counter()
        for _ in range(ANSWERS):
            to_text(propose(catalogue, line))
        return time.perf_counter() - started

    measure()
    return measure


def main() -> None:
    """Measure and tell."""
    with tempfile.TemporaryDirectory() as folder:
        source = write(Path(folder) / "courses.ndjson", LINES, lambda chance: chance.randrange(21))
        answering = [str(TITRATOR), "recommend", "--ndjson", "--jobs", "1", "-"]
        decoding = [sys.executable, "-c", BASELINE]
        ratio(
            f"{LINES:,} courses of 0 to 20 weeks, answered / JSON decoded and encoded",
            lambda: seconds(answering, source),
            lambda: seconds(decoding, source),
            at_most(5),
        )
        sizes = LINES // 20, LINES * 5
        files = [write(Path(folder) / f"{size}.ndjson", size, lambda chance: chance.randrange(21)) for size in sizes]
        small, large = (peak_mebibytes(answering, file) for file in files)
        name = f"peak memory at {sizes[1]:,} lines / at {sizes[0]:,}"
        report(Figure(name, large, "MiB", small, large / small, at_most(1.1)))
    chance = random.Random(1)
    ratio(
        "a course of 520 weeks / one of 10 weeks",
        in_process(course(chance, 520)),
        in_process(course(chance, 10)),
        at_most(40),
    )


if __name__ == "__main__":
    main()
