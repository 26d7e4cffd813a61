"""The bench of the chart: drawn anew, beside bare vl-convert of the same chart; and kept, beside reading a static file.

    cold    from a timeline of 24 and of 104 weeks to the SVG text, beside `vegalite_to_svg` of its specification
    warm    a chart that is kept, beside reading the same bytes from a file

Both of a pair run in turn; told are the median of the ratios (the limit's time to ours: 1 is the limit), the median
time, and what the first chart of a process takes, which `warm_up` takes beforehand.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import vl_convert

from bench.figures import Figure, at_least, report
from titrator.protocols import Catalogue
from titrator.web.chart_cache import chart_svg
from titrator.web.chart_data import chart_data
from titrator.web.charts import draw, specification, warm_up

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "15"))
_READS = 2000
_FIRST = date(2024, 1, 1)
_KEY = "c" * 64
_START = (
    "import time; begun = time.perf_counter(); from titrator.web.charts import warm_up; "
    "imported = time.perf_counter(); "
    "warm_up(); print(imported - begun, time.perf_counter() - imported)"
)


def timeline(weeks: int) -> dict[str, object]:
    """A course of so many weeks, each with a count and a dose; every fourth with three further values and an event."""
    entries: list[dict[str, object]] = []

    def add(collection: str, day: str, **fact: object) -> None:
        entries.append({"collection": collection, "day": day, "ctcae_grade": None, "fact": {"status": "final", **fact}})

    for week in range(weeks):
        day = (_FIRST + timedelta(weeks=week)).isoformat()
        level = Decimal(1 + min(week, 6))
        add("platelet-counts", day, value=Decimal(15 + week * 37 % 180), unit="10*9/L", unreliable=week % 20 == 19)
        add("doses", day, given_on=day, micrograms=70 * level, micrograms_per_kg=level)
        if week % 4 == 0:
            add("observations", day, code="haemoglobin", value=Decimal(90 + week % 30), unit="g/L")
            add("observations", day, code="neutrophils", value=Decimal("2.5"), unit="10*9/L")
            add("observations", day, code="immature-platelet-fraction", value=Decimal(8), unit="%")
            add("events", day, kind="platelet_transfusion")
    course = {"id": 1, "change": "start", "protocol": "us-itp-adult", "status": "active", "started_on": str(_FIRST)}
    return {"on": day, "entries": entries, "course_changes": [course]}


def pairs(ours: Callable[[], object], limit: Callable[[], object], times: int) -> tuple[float, float, float]:
    """The median of the ratios of both, in turn, and of our time and the limit's in seconds."""
    ratios, taken, limits = [], [], []
    for _ in range(times):
        begun = time.perf_counter()
        ours()
        between = time.perf_counter()
        limit()
        ended = time.perf_counter()
        ratios.append((ended - between) / (between - begun))
        taken.append(between - begun)
        limits.append(ended - between)
    return statistics.median(ratios), statistics.median(taken), statistics.median(limits)


def main() -> None:
    """Measure, and print a line for each."""
    catalogue = Catalogue()
    protocols = {ident: catalogue.get(ident) for ident in catalogue.ids()}
    shown = subprocess.run([sys.executable, "-c", _START], check=True, capture_output=True, text=True).stdout.split()
    report(Figure("the first of a process: imports", float(shown[0]), "s"))
    report(Figure("the first of a process: warm_up", float(shown[1]), "s"))
    warm_up()
    drawn = ""
    for weeks in (24, 104):
        facts = timeline(weeks)
        spec = specification(chart_data(facts, protocols))
        drawn = draw(chart_data(facts, protocols))
        ratio, seconds, limit = pairs(
            lambda facts=facts: draw(chart_data(facts, protocols)),
            lambda spec=spec: vl_convert.vegalite_to_svg(spec),
            ROUNDS,
        )
        name = f"a chart of {weeks} weeks drawn anew, beside bare vl-convert"
        size = f"{len(drawn) / 1000:.0f} kB"
        report(Figure(name, seconds * 1000, "ms", limit * 1000, ratio, at_least(0.8), size))
    with tempfile.TemporaryDirectory() as name:
        folder, static = Path(name, "charts"), Path(name, "static.svg")
        chart_svg(folder, _KEY, lambda: drawn)
        static.write_text(drawn)
        ratio, seconds, limit = pairs(lambda: chart_svg(folder, _KEY, lambda: ""), static.read_bytes, _READS)
        report(Figure("a chart that is kept, beside reading a file", seconds * 1e6, "µs", limit * 1e6, ratio))


if __name__ == "__main__":
    main()
