"""The bench of growth: what an answer costs as patients, history and processes become more.

    patients      next-dose a second, from the store, with so many patients of 52 weeks, or of --history
    weeks         the engine alone: an answer to a course of so many weeks
    processes     next-dose a second by so many web processes, with the smallest number of patients

Each beside the first of its kind, one after another: what the rounds of `bench.service` measure in turn is the better
figure of how patients tell. Sizes are arguments: `python -m bench.curves --patients 1000 10000 --weeks 10 520`. With
--asked, only of so many patients of each place is asked: there is no need to wait until a million are settled.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
from pathlib import Path

from bench.figures import Figure, report
from bench.run import ANSWERS, course, in_process
from bench.service import ROUNDS, SECONDS, WEEKS, Client, Place, fill, gunicorn, requests, serve


def rate(place: Place, workers: int) -> float:
    """Next doses a second of a place, served by so many processes: the median of the rounds."""
    read, _ = requests(place)
    with gunicorn(*serve(place), workers=workers) as port:
        client = Client(port, workers)
        client.run(read, b"200", SECONDS)  # warm
        return statistics.median(client.run(read, b"200", SECONDS)[0] for _ in range(ROUNDS))


def curve(name: str, unit: str, points: list[tuple[str, float]], *, falls: bool) -> None:
    """Report the points of a curve, each but the first beside it: how many times dearer it is."""
    (told, first), *others = points
    report(Figure(f"{name}, {told}", first, unit))
    for told, value in others:
        report(Figure(f"{name}, {told}", value, unit, first, first / value if falls else value / first))


def main() -> None:
    """All three curves."""
    parser = argparse.ArgumentParser(prog="bench.curves")
    parser.add_argument("--patients", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--weeks", type=int, nargs="+", default=[10, 52, 104, 260, 520])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--history", type=int, default=WEEKS, help="how many weeks each patient of the store has")
    parser.add_argument("--asked", type=int, help="of how many patients of each place is asked, instead of all")
    words = os.environ.get("BENCH_CURVE")
    asked = parser.parse_args(words.split() if words else None)
    weeks = [(f"weeks: {many}", in_process(course(random.Random(1), many))() / ANSWERS * 1000) for many in asked.weeks]
    curve("an answer of the engine", "ms", weeks, falls=False)
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as name:
        rates, smallest = [], None
        for many in asked.patients:
            place = fill(Path(name) / str(many), many, weeks=asked.history, asked=asked.asked)
            smallest = smallest or place
            rates.append((f"patients: {many:,}", rate(place, 2)))
        curve("next-dose", "/s", rates, falls=True)
        assert smallest is not None
        by_processes = [(f"processes: {many}", rate(smallest, many)) for many in asked.processes]
        curve("next-dose", "/s", by_processes, falls=True)


if __name__ == "__main__":
    main()
