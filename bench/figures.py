"""What a bench tells: figures, each with its unit, what it is measured beside, and the goal.

A script reports each figure as soon as it has it. That prints a line, and, where the variable BENCH_FIGURES names a
file, appends it there for `bench.all`: so what is measured is not lost should a later part fail.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

#: The variable that names the file to append to.
FILE: Final = "BENCH_FIGURES"


class Goal(NamedTuple):
    """What is to be reached, by the ratio where there is one, else by the value."""

    how: Literal["at least", "at most"]
    number: float

    def __str__(self) -> str:
        return f"{self.how} {self.number:g}"

    def is_reached(self, number: float) -> bool:
        """Whether a number is as it should be."""
        return number >= self.number if self.how == "at least" else number <= self.number


def at_least(number: float) -> Goal:
    """A goal for what should be high."""
    return Goal("at least", number)


def at_most(number: float) -> Goal:
    """A goal for what should be low."""
    return Goal("at most", number)


class Figure(NamedTuple):
    """A figure: its name, value and unit; what was measured beside it, in the same unit; the ratio of the two.

    `more` is what else there is to know, such as how far the ratios of several rounds lie apart.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    ratio: float | None = None
    goal: Goal | None = None
    more: str = ""

    @property
    def is_reached(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        return None if self.goal is None else self.goal.is_reached(self.value if self.ratio is None else self.ratio)

    def __str__(self) -> str:
        """The figure in a line."""
        said = f"{self.name}: {number(self.value)} {self.unit}"
        if self.limit is not None:
            said += f" beside {number(self.limit)} {self.unit}"
        if self.ratio is not None:
            said += f", ratio {self.ratio:.2f}"
        if self.goal is not None:
            said += f", {self.goal}: {'reached' if self.is_reached else 'MISSED'}"
        return f"{said}; {self.more}" if self.more else said


def number(value: float) -> str:
    """A number as people read it: three digits that count, none of a large one left out."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def report(figure: Figure) -> None:
    """Print a figure, and append it for `bench.all`."""
    print(figure, flush=True)
    if name := os.environ.get(FILE):
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(figure) + "\n")


def read(file: Path) -> list[Figure]:
    """The figures that a script has appended."""
    if not file.exists():
        return []
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [Figure(*row)._replace(goal=row[5] and Goal(*row[5])) for row in rows]


class Pair(NamedTuple):
    """What was measured in turn, ours and its limit, the same number of times."""

    ours: Sequence[float]
    limits: Sequence[float]


def report_pair(name: str, pair: Pair, unit: str, goal: Goal | None = None, more: str = "") -> None:
    """Report the medians of a pair, and the median of the ratios with how far they lie apart."""
    ratios = [one / other for one, other in zip(pair.ours, pair.limits, strict=True)]
    apart = f"{min(ratios):.2f} to {max(ratios):.2f}"
    report(
        Figure(
            name,
            statistics.median(pair.ours),
            unit,
            statistics.median(pair.limits),
            statistics.median(ratios),
            goal,
            f"{apart}; {more}" if more else apart,
        )
    )
