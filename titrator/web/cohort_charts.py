"""The charts of a cohort's report as SVG images: agreement, time in range, first response, doses since the last count.

Each is drawn of the lines that the tables and the CSV have; every bar has its number beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

import altair as alt

from titrator.web.charts import render
from titrator.workflow.cohort import Agreement, Zone
from titrator.workflow.cohort_report import WORDS, Line, Report

Curve = Sequence[tuple[int, Decimal]]

_WIDTH: Final = 640
_BAR_HIGH: Final = 26
_BLUE, _INK = "#12436d", "#1f2933"
_AGREEMENT: Final = tuple(map(str, Agreement))
_ZONES: Final = tuple(map(str, Zone))


def chart(name: str, found: Report, curve: Curve) -> str:
    """The text of the SVG document of one of `CHARTS`; `curve` is when courses responded, as days and percent."""
    title, spec, told = CHARTS[name](found, curve)
    return render(spec, title, told, "en")


def _agreement(found: Report, curve: Curve) -> tuple[str, dict[str, Any], str]:
    del curve
    lines = [line for line in found["agreement"] if line.item in _AGREEMENT]
    return _bars("What was given, beside what would have been proposed: percent of decision points", lines)


def _since(found: Report, curve: Curve) -> tuple[str, dict[str, Any], str]:
    del curve
    return _bars("Doses since the last reliable count: percent of doses given", found["doses-since-last-count"])


def _time(found: Report, curve: Curve) -> tuple[str, dict[str, Any], str]:
    del curve
    lines = [line for line in found.get("time-in-range", []) if line.item in _ZONES]
    return _bars("Time of the counts: percent of the weeks that are known", lines)


def _response(found: Report, curve: Curve) -> tuple[str, dict[str, Any], str]:
    del found
    title = "First response: percent of courses by week after the first dose (Kaplan and Meier)"
    steps = [{"week": 0.0, "percent": 0.0}] + [{"week": day / 7, "percent": float(percent)} for day, percent in curve]
    drawn = (
        alt.Chart(alt.InlineData(values=steps), width=_WIDTH, height=280, title=title)
        .mark_line(interpolate="step-after", color=_BLUE, strokeWidth=2)
        .encode(
            x=alt.X("week:Q", title="Weeks after the first dose"),
            y=alt.Y("percent:Q", title="Responded, %", scale=alt.Scale(domain=[0, 100])),
        )
    )
    told = "; ".join(f"{percent} % by day {day}" for day, percent in curve) or "no course has responded"
    return title, _styled(drawn), told


def _bars(title: str, lines: Sequence[Line]) -> tuple[str, dict[str, Any], str]:
    rows = [
        {
            "item": WORDS.get(line.item, line.item),
            "percent": float(line.percent or 0),
            "said": f"{line.percent or 0} % ({line.number})",
        }
        for line in lines
    ]
    base = alt.Chart(
        alt.InlineData(values=rows), width=_WIDTH, height=max(1, len(rows)) * _BAR_HIGH, title=title
    ).encode(
        x=alt.X("percent:Q", title="%", scale=alt.Scale(domain=[0, 100])),
        y=alt.Y("item:N", title=None, sort=[WORDS.get(line.item, line.item) for line in lines]),
    )
    texts = base.mark_text(align="left", dx=4, color=_INK).encode(text="said:N")
    drawn = base.mark_bar(color=_BLUE) + texts
    return title, _styled(drawn), "; ".join(f"{row['item']}: {row['said']}" for row in rows)


def _styled(drawn: alt.Chart | alt.LayerChart) -> dict[str, Any]:
    styled = (
        drawn.properties(background="#ffffff", padding={"left": 6, "right": 90, "top": 6, "bottom": 6})
        .configure(aria=False, font="sans-serif")
        .configure_view(stroke=None)
        .configure_title(anchor="start", fontSize=13, color=_INK)
        .configure_axis(labelFontSize=11, titleFontSize=12, labelLimit=260)
    )
    spec: dict[str, Any] = styled.to_dict()
    return spec


#: The charts that there are, by the name of their file.
CHARTS: Final[dict[str, Callable[[Report, Curve], tuple[str, dict[str, Any], str]]]] = {
    "agreement": _agreement,
    "doses-since-last-count": _since,
    "time-in-range": _time,
    "first-response": _response,
}
