"""What a bench reports is kept and told: goals at their borders, the page, and a bench that fails halfway."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import all as everything
from bench.figures import FILE, Figure, Goal, Pair, at_least, at_most, number, read, report, report_pair

NOW = datetime(2026, 3, 9, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("goal", "below", "at", "above"),
    [(at_least(0.5), False, True, True), (at_most(0.5), True, True, False)],
    ids=["at least", "at most"],
)
def test_a_goal_is_reached(goal: Goal, below: bool, at: bool, above: bool) -> None:
    assert [goal.is_reached(one) for one in (0.49, 0.5, 0.51)] == [below, at, above]


def test_a_goal_is_of_the_ratio_where_there_is_one() -> None:
    assert Figure("x", 9.0, "s", goal=at_most(1)).is_reached is False
    assert Figure("x", 9.0, "s", 9.0, 1.0, at_most(1)).is_reached is True
    assert Figure("x", 9.0, "s").is_reached is None


@pytest.mark.parametrize(
    ("value", "told"), [(0.1234, "0.123"), (12.34, "12.3"), (99.96, "100"), (1234.5, "1,234"), (100000, "100,000")]
)
def test_numbers_are_told_as_people_read_them(value: float, told: str) -> None:
    assert number(value) == told


FIGURES = [
    Figure("fast", 1200.0, "/s", 4000.0, 0.3, at_least(0.25), "0.28 to 0.31"),
    Figure("slow", 2.0, "s", goal=at_most(1)),
    Figure("size", 31.0, "MiB"),
]


def test_what_is_reported_is_printed_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.ndjson"
    assert read(file) == []
    monkeypatch.setenv(FILE, str(file))
    for figure in FIGURES:
        report(figure)
    assert read(file) == FIGURES
    assert capsys.readouterr().out == (
        "fast: 1,200 /s beside 4,000 /s, ratio 0.30, at least 0.25: reached; 0.28 to 0.31\n"
        "slow: 2 s, at most 1: MISSED\n"
        "size: 31 MiB\n"
    )


def test_alone_a_script_only_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv(FILE, raising=False)
    report(FIGURES[2])
    assert capsys.readouterr().out == "size: 31 MiB\n"


def test_a_pair_is_told_by_medians_of_values_and_of_ratios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILE, str(tmp_path / "f"))
    report_pair("x", Pair([1.0, 2.0, 9.0], [2.0, 2.0, 3.0]), "s", at_most(1))
    (found,) = read(tmp_path / "f")
    assert (found.value, found.limit, found.more) == (2.0, 2.0, "0.50 to 3.00")
    assert found.ratio is not None
    assert math.isclose(found.ratio, 1.0)


def test_a_bench_that_fails_halfway_loses_nothing_that_it_had_reported(tmp_path: Path) -> None:
    """The folder of the second half is not there."""
    environment = {"BENCH_CURVE": "--weeks 1 2 --patients 1 --processes 1", "BENCH_FOLDER": str(tmp_path / "none")}
    outcome = everything.run("curves", environment)
    assert [figure.name for figure in outcome.figures] == [
        "an answer of the engine, weeks: 1",
        "an answer of the engine, weeks: 2",
    ]
    assert outcome.failed.startswith("ended with 1: FileNotFoundError")
    page = everything.page([outcome, everything.Outcome("other", FIGURES, 1.0, "")], NOW, {})
    assert "**Failed**: ended with 1" in page
    assert "| an answer of the engine, weeks: 2 |" in page
    assert "| slow | 2 s |  |  | at most 1: **missed** |  |" in page
    assert "1 of 2 goals reached." in page
    assert "date: 2026-03-09" in page
    assert "Not in full size" not in page
    assert "Not in full size" in everything.page([outcome], NOW, {"BENCH_PATIENTS": "9"})


def test_every_bench_reports_figures_and_is_among_all() -> None:
    there = everything.scripts()
    assert {"run", "service", "sign_off", "reminders", "fhir", "mllp", "pages", "charts", "curves"} <= set(there)
    for name in there:
        source = (everything.HERE / f"{name}.py").read_text(encoding="utf-8")
        assert re.search(r"\b(report|report_pair|measure)\(", source), name
