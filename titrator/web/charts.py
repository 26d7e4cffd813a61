"""The chart of a course as an SVG image: counts with the protocol's limits, doses, marks, further values, on one axis.

Altair describes it, vl-convert draws it: a picture that needs no script, loads nothing, and can be printed. Whatever is
told by a colour is told by a shape, a dash, a hatching or a word, too. Texts are real text in the reader's sans-serif;
the layout does not rest on how wide they are, so that it is the same wherever fonts differ.

The first chart of a process starts a V8 and takes most of a second; `warm_up` does that beforehand. Then a chart of
half a year takes about a fifth of a second: pages show it as an image of its own, from `chart_cache`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from html import escape
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

import altair as alt
import vl_convert

from titrator.titration.protocol import WeeklyProtocol
from titrator.titration.quantities import DAYS, plain, tidy
from titrator.web.chart_data import GIGA_PER_LITRE, PLATELETS, ChartData, Dose, Mark, MarkKind, Series, Value
from titrator.web.chart_words import (
    ENGLISH,
    Words,
    day_text,
    line,
    name_text,
    short_texts,
    summary,
    term_text,
    unit_text,
    value_text,
    zone_texts,
)

#: The size of the drawing in units of its own, about pixels: all of it, the axis at the left, the words at the right.
WIDTH: Final = 900
_LEFT, _RIGHT = 50, 163
_PLOT: Final = WIDTH - _LEFT - _RIGHT - 5
_COUNTS_HIGH, _DOSES_HIGH, _VALUES_HIGH, _LANE_HIGH = 270, 104, 54, 24
#: So many panels of further values have room; what is left out is named, and in the table.
MOST_PANELS: Final = 10
_LEAST_DAYS: Final = 28
_DAYS_BEFORE: Final = 56  # of the weeks before the first value or dose that are drawn, if there are marks in them
_LETTER: Final = 5.9  # how wide a letter is, at most, on average
_INK, _SOFT, _FAINT, _RULE = "#1f2933", "#52606d", "#e4e7eb", "#9aa5b1"
_BLUE, _BLOCK, _RED, _TARGET = "#12436d", "#b8cbdd", "#a4161a", "#e3efe3"
_HATCHED: Final = "#fedcba"  # a colour that nothing else has, which the hatching takes the place of

_BOLD: Final[Mapping[str, Any]] = {"fontWeight": "bold"}
_SMALL: Final[Mapping[str, Any]] = {"color": _SOFT, "fontSize": 10.5}

Spec = dict[str, Any]
Rows = list[Spec]


class Axis(StrEnum):
    """How counts are drawn."""

    LOG = "log"
    LINEAR = "linear"


class _Sign(NamedTuple):
    """The shape of a mark: its name or path, its colour, and whether it is filled."""

    shape: str
    colour: str
    filled: bool = True
    size: float = 90


_CROSS: Final = "M-1,-0.6L-0.6,-1L0,-0.4L0.6,-1L1,-0.6L0.4,0L1,0.6L0.6,1L0,0.4L-0.6,1L-1,0.6L-0.4,0Z"
_BARS: Final = "M-0.8,-1H-0.2V1H-0.8ZM0.2,-1H0.8V1H0.2Z"
_ARROW: Final = "M-0.25,-1H0.25V0H0.75L0,1L-0.75,0H-0.25Z"
_DROP: Final = "M0,-1.2C0.3,-0.6 0.8,-0.1 0.8,0.4A0.8,0.8 0 0 1 -0.8,0.4C-0.8,-0.1 -0.3,-0.6 0,-1.2Z"
_SIGNS: Final[Mapping[MarkKind, _Sign]] = {
    MarkKind.PLATELET_TRANSFUSION: _Sign("triangle-down", _BLUE),
    MarkKind.RED_CELL_TRANSFUSION: _Sign(_DROP, _RED, size=70),
    MarkKind.RESCUE_THERAPY: _Sign("cross", _BLUE, size=110),
    MarkKind.HOLD: _Sign(_BARS, _INK, size=60),
    MarkKind.NOT_GIVEN: _Sign(_CROSS, _INK, size=60),
    MarkKind.PAUSE: _Sign("circle", _INK, filled=False, size=80),
    MarkKind.THROMBOSIS: _Sign("square", _RED),
    MarkKind.MARROW_DISORDER: _Sign("square", _RED, filled=False),
    MarkKind.ADVERSE_EVENT: _Sign("diamond", _RED, filled=False, size=100),
}
_COUNT: Final = _Sign("circle", _BLUE, size=30)
_UNRELIABLE: Final = _Sign("circle", _BLUE, filled=False, size=48)
_AT_FLOOR: Final = _Sign(_ARROW, _RED, size=110)
_NO_LEVEL: Final = _Sign("square", _BLUE, filled=False, size=60)


class _Scale(NamedTuple):
    """A vertical axis: what its lower and upper end are, its height, and where it is labelled."""

    low: float
    high: float
    height: int
    ticks: tuple[Decimal, ...] = ()
    log: bool = False

    def pixel(self, value: float) -> float:
        """How far from the top a value is drawn."""
        if self.log:
            return self.height * (1 - math.log(value / self.low) / math.log(self.high / self.low))
        return self.height * (1 - (value - self.low) / (self.high - self.low))

    def at(self, pixel: float) -> float:
        """The value that is drawn so far from the top."""
        share = 1 - pixel / self.height
        if self.log:
            return float(self.low * (self.high / self.low) ** share)
        return self.low + (self.high - self.low) * share


class _Frame(NamedTuple):
    """The time axis that all panels share: ordinals of days, the first that is drawn, which of them are labelled."""

    first: float
    last: float
    begins: int
    ticks: tuple[int, ...]

    def pixel(self, day: float) -> float:
        """How far from the left a day is drawn."""
        return (day - self.first) / (self.last - self.first) * _PLOT

    def at(self, pixel: float) -> float:
        """The day that is drawn so far from the left."""
        return self.first + pixel / _PLOT * (self.last - self.first)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panel:
    """One pair of axes, and what is drawn on them so far, the lowest layer first. Rows have x (days) and y."""

    frame: _Frame
    scale: _Scale
    words: Words
    title: str
    dates: bool = False
    layers: list[Spec] = field(default_factory=list)

    def add(self, kind: str, rows: Rows, **style: Any) -> None:
        """A layer of a kind that `_layer` knows; none where there is nothing to draw."""
        if rows:
            self.layers.append(_layer(kind, tuple(sorted(style.items()))) | {"data": {"values": rows}})

    def notes(self, noted: Iterable[tuple[float, str, str]]) -> None:
        """Words in the right margin, each at its height in pixels: a name in bold, and what there is to say of it."""
        x, apart = self.frame.at(_PLOT + 10), list(_apart(noted))
        for index, style in ((1, {"dy": -7, "fontWeight": "bold"}), (2, {"dy": 6, **_SMALL})):
            rows = [{"x": x, "y": self.scale.at(one[0]), "text": one[index]} for one in apart]
            self.add("text", rows, limit=_RIGHT - 12, **style)

    def spec(self) -> Spec:
        """The panel in Vega-Lite."""
        height, axes = self.scale.height, _axes("log" if self.scale.log else "linear", dates=self.dates)
        days, amounts = self.frame.ticks, self.scale.ticks
        encoding = {
            "x": _filled(
                axes["x"],
                [self.frame.first, self.frame.last],
                {str(day): day_text(day, self.words) for day in days},
            ),
            "y": _filled(
                axes["y"],
                [self.scale.low, self.scale.high],
                {plain(amount): self.words.number(amount) for amount in amounts},
            ),
        }
        encoding["y"]["axis"]["title"] = self.title
        layers = self.layers or [_layer("rule", ()) | {"data": {"values": []}}]
        return {"width": _PLOT, "height": height, "encoding": encoding, "layer": layers}


# What Altair makes, once for each process: it holds each part against the schema of Vega-Lite, which takes a hundred
# times as long as to fill in the values and words of a course.


@lru_cache(maxsize=256)
def _layer(kind: str, style: tuple[tuple[str, Any], ...]) -> Spec:
    """How rows are drawn: as areas or rules (to x2 or y2 where they have it), a line, signs (`_sign`) or texts."""
    options: Spec = {key: list(value) if isinstance(value, tuple) else value for key, value in style}
    chart = alt.Chart(alt.InlineData(values=[]))
    if kind == "area":
        chart = chart.mark_rect(**options).encode(x2="x2", y2="y2")
    elif kind == "rule":
        chart = chart.mark_rule(**options).encode(x2="x2")
    elif kind == "upright":
        chart = chart.mark_rule(**options).encode(y2="y2")
    elif kind == "line":
        chart = chart.mark_line(strokeWidth=1.6, strokeJoin="round", **options)
    elif kind == "sign":
        chart = chart.mark_point(strokeWidth=1.4, opacity=1, **options).encode(
            shape=alt.Shape("shape:N", scale=None),
            fill=alt.Fill("fill:N", scale=None),
            stroke=alt.Stroke("stroke:N", scale=None),
            size=alt.Size("size:Q", scale=None),
        )
    else:
        texts: Spec = {"align": "left", "baseline": "middle", "color": _INK, "fontSize": 11} | options
        chart = chart.mark_text(**texts).encode(text="text:N")
    made = chart.to_dict()
    return {"mark": made["mark"], "encoding": made.get("encoding", {})}


@lru_cache(maxsize=4)
def _axes(kind: Literal["linear", "log"], *, dates: bool) -> Spec:
    """The axes of a panel, without their domains, ticks and titles."""
    x_axis = alt.Axis(title=None, values=[], labelExpr="", labels=dates, ticks=dates, labelFlush=False)
    y_axis = alt.Axis(
        title="",
        values=[],
        labelExpr="",
        minExtent=_LEFT,
        maxExtent=_LEFT,
        ticks=False,
        labelPadding=6,
        titleAngle=0,
        titleAlign="left",
        titleBaseline="bottom",
        titleX=-_LEFT + 2,
        titleY=-8,
        titleLimit=_PLOT,
    )
    chart = alt.Chart(alt.InlineData(values=[])).encode(
        x=alt.X("x:Q", scale=alt.Scale(domain=[0, 1], nice=False), axis=x_axis),
        y=alt.Y("y:Q", scale=alt.Scale(type=kind, domain=[1, 2], nice=False), axis=y_axis),
    )
    axes: Spec = chart.mark_point().to_dict()["encoding"]
    return axes


def _filled(channel: Spec, domain: list[float], ticks: Mapping[str, str]) -> Spec:
    """An axis from and to, with what its ticks are called."""
    values, expression = [float(tick) for tick in ticks], f"({json.dumps(dict(ticks))})[datum.value]"
    return {
        **channel,
        "scale": {**channel["scale"], "domain": domain},
        "axis": {**channel["axis"], "values": values, "labelExpr": expression},
    }


@lru_cache(maxsize=1)
def _page() -> Spec:
    """What holds for all panels."""
    chart = (
        alt.vconcat(
            background="#ffffff",
            padding={"left": 2, "right": 2, "top": 6, "bottom": 6},
            spacing=14,
            title=alt.TitleParams(
                text="",
                orient="bottom",
                anchor="start",
                fontSize=11,
                fontWeight="normal",
                color=_SOFT,
                limit=WIDTH - 20,
            ),
        )
        .configure(aria=False, font="sans-serif")
        .configure_view(stroke=None)
        .configure_axis(
            domainColor=_RULE,
            gridColor=_FAINT,
            labelColor=_SOFT,
            labelFontSize=11,
            tickColor=_RULE,
            titleColor=_INK,
            titleFontSize=12,
        )
    )
    page: Spec = chart.to_dict()
    return page


# The chart


def draw(data: ChartData, words: Words = ENGLISH, axis: Axis = Axis.LOG) -> str:
    """The chart as the text of an SVG document: 900 wide, of a height that depends on what there is to show."""
    return render(specification(data, words, axis), words.title, summary(data, words), words.language)


def warm_up() -> None:
    """Draw something small, so that the next chart of this process does not wait for the V8 to start.

    To be called by each process that draws, after it has forked: a child of a process that has drawn waits for ever.
    """
    draw(ChartData(on=DAYS["2026-01-01"]))


def render(spec: Spec, title: str, description: str, language: str) -> str:
    """The SVG text of a specification, with the texts that tell it to those who do not see it.

    Raises ValueError for one that would have something fetched.
    """
    svg = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    svg = svg.replace(f'"{_HATCHED}"', '"url(#titrator-hold)"')
    opening, body = svg.split(">", 1)
    opening = re.sub(r' (?:class|xmlns:xlink)="[^"]*"', "", opening)
    told = 'role="img" aria-labelledby="titrator-title titrator-description"'
    names = (
        f'<title id="titrator-title">{escape(title)}</title>'
        f'<desc id="titrator-description">{escape(description)}</desc>'
    )
    return f'{opening} {told} lang="{escape(language)}">{names}{_HATCHING}{body}'


_HATCHING: Final = (
    '<defs><pattern id="titrator-hold" width="7" height="7" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="7" height="7" fill="#fbf1f0"/>'
    '<line x1="0" y1="0" x2="0" y2="7" stroke="#d9a5a1" stroke-width="1.6"/></pattern></defs>'
)


def specification(data: ChartData, words: Words = ENGLISH, axis: Axis = Axis.LOG) -> Spec:
    """What vl-convert is given: the chart in Vega-Lite."""
    frame = _frame(data)
    panels = [_counts(data, frame, words, axis), _doses(data, frame, words)]
    if data.marks:
        panels.append(_marks(data.marks, frame, words))
    shown, left_out = data.panels[:MOST_PANELS], data.panels[MOST_PANELS:]
    panels += [_values(series, frame, words, last=series is shown[-1]) for series in shown]
    names = ", ".join(name_text(series.code, words) for series in left_out)
    page = _page() | {"vconcat": [panel.spec() for panel in panels]}
    if not left_out:
        del page["title"]
        return page
    return page | {"title": page["title"] | {"text": line(words.further.format(names=names), WIDTH // 6)}}


# The panels


def _counts(data: ChartData, frame: _Frame, words: Words, axis: Axis) -> _Panel:
    """Platelets, with the zones of the protocol; what lies below the foot of a logarithmic axis stands on it."""
    scale = _scale_of_counts(data, axis)
    title = words.with_unit.format(name=name_text(PLATELETS, words), unit=unit_text(GIGA_PER_LITRE, words))
    if scale.log:
        title = f"{title}, {words.log_axis}"
    panel = _Panel(frame=frame, scale=scale, words=words, title=title)
    # As wide with short words as with long ones.
    panel.add("upright", [{"x": frame.at(_PLOT + _RIGHT), "y": scale.low, "y2": scale.high}], opacity=0)
    for since, until, protocol in _weekly(data, frame):
        _zones(panel, since, until, protocol)
        if until < frame.last:
            _name_zones(panel, since, until, protocol)
    treated = [mark for mark in data.marks if mark.kind in {MarkKind.PLATELET_TRANSFUSION, MarkKind.RESCUE_THERAPY}]
    panel.add(
        "upright",
        [{"x": mark.day, "y": scale.high, "y2": scale.low} for mark in treated],
        color=_RULE,
        strokeDash=(2, 2),
    )
    panel.add("line", [_spot(value, scale) for value in data.platelets if value.reliable], color=_BLUE)
    panel.add(
        "sign",
        [
            *(_sign(_SIGNS[mark.kind], mark.day, scale.at(8)) for mark in treated),
            *_spots(data.platelets, scale),
        ],
    )
    panel.add("text", list(_said_counts(data.platelets, panel)), dx=7, dy=-9, **_BOLD)
    _weeks(panel, data.doses)
    _key_of_counts(panel, data)
    if data.weekly is not None:
        panel.notes(_zone_notes(data.weekly, scale, words))
    return panel


def _said_counts(counts: Sequence[Value], panel: _Panel) -> Iterator[Spec]:
    """The numbers of the last reliable count, and of those below the foot as far as there is room."""
    last = next((value for value in reversed(counts) if value.reliable), None)
    free = -math.inf
    for value in counts:
        pixel = panel.frame.pixel(value.day)
        if value is last or (value.value < panel.scale.low and pixel >= free):
            yield _spot(value, panel.scale) | {"text": panel.words.number(value.value)}
            free = pixel + 30


def _scale_of_counts(data: ChartData, axis: Axis) -> _Scale:
    """An axis that has all counts and limits, with room above the limit from which doses are held."""
    holds = [float(one.protocol.hold.value) for one in data.periods if isinstance(one.protocol, WeeklyProtocol)]
    counts = [float(value.value) for value in data.platelets]
    if axis is Axis.LINEAR:
        top = max([*(1.25 * hold for hold in holds), *(1.06 * count for count in counts), 10])
        return _linear(0, top, _COUNTS_HIGH, 7)
    ladder = [Decimal(f"{digit}E{power}") for power in range(5) for digit in (1, 2, 5)]
    lowest = min([count for count in counts if count >= 1], default=10.0)
    starts = [
        float(one.protocol.increase.value) / 2 for one in data.periods if isinstance(one.protocol, WeeklyProtocol)
    ]
    top = max([*(1.6 * hold for hold in holds), *(1.06 * count for count in counts), 100])
    low = max(step for step in ladder if step <= max(1, min([lowest, 10, *starts])))
    high = min(step for step in ladder if step >= top)
    ticks = tuple(tidy(step) for step in ladder if low <= step <= high)
    return _Scale(float(low), float(high), _COUNTS_HIGH, ticks, log=True)


def _weekly(data: ChartData, frame: _Frame) -> Iterator[tuple[float, float, WeeklyProtocol]]:
    """Each protocol that titrates, with the days from and to which it applies, as far as they are drawn."""
    starts = [frame.first if one.since is None else max(one.since, frame.first) for one in data.periods]
    for period, since, until in zip(data.periods, starts, [*starts[1:], frame.last], strict=False):
        if isinstance(period.protocol, WeeklyProtocol) and since < until:
            yield since, until, period.protocol


def _zones(panel: _Panel, since: float, until: float, protocol: WeeklyProtocol) -> None:
    """The target tinted, the hold hatched, each limit a line of its own kind of dash."""
    increase, reduce, hold = (float(one.value) for one in (protocol.increase, protocol.reduce, protocol.hold))
    across = {"x": since, "x2": until}
    panel.add("area", [across | {"y": increase, "y2": reduce}], color=_TARGET)
    panel.add("area", [across | {"y": hold, "y2": panel.scale.high}], color=_HATCHED)
    for limit, dash, width in ((increase, (7, 3), 1.2), (reduce, (2, 3), 1.4), (hold, (1, 0), 1.4)):
        panel.add("rule", [across | {"y": limit}], color=_INK, strokeDash=dash, strokeWidth=width)
    resume = protocol.resume
    if resume is not None and resume.value != protocol.reduce.value:
        panel.add("rule", [across | {"y": float(resume.value)}], color=_SOFT, strokeDash=(8, 3, 1, 3))


def _name_zones(panel: _Panel, since: float, until: float, protocol: WeeklyProtocol) -> None:
    """The limits of a protocol that applies no more, in words on their lines, where there is room."""
    texts = zone_texts(protocol, panel.words)
    limits = {"hold": protocol.hold, "reduce": protocol.reduce, "increase": protocol.increase}
    x, room = panel.frame.pixel(since) + 4, panel.frame.pixel(until) - panel.frame.pixel(since) - 8
    rows = [
        {"x": panel.frame.at(x), "y": panel.scale.at(panel.scale.pixel(float(limit.value)) + below), "text": said}
        for zone, limit in limits.items()
        for said in (panel.words.explained.format(what=texts[zone][0], why=texts[zone][1]),)
        for below in (7 if zone == "increase" else -7,)
        if len(said) * _LETTER <= room
    ]
    panel.add("text", rows, **_SMALL)
    panel.add("upright", [{"x": until, "y": panel.scale.high, "y2": panel.scale.low}], color=_INK, strokeWidth=1)


def _zone_notes(protocol: WeeklyProtocol, scale: _Scale, words: Words) -> Iterator[tuple[float, str, str]]:
    """The names of the zones, each in the middle of its own."""
    increase, reduce, hold = (float(one.value) for one in (protocol.increase, protocol.reduce, protocol.hold))
    edges = [0, *(scale.pixel(limit) for limit in (hold, reduce, increase)), scale.height]
    for (top, bottom), (name, detail) in zip(pairwise(edges), zone_texts(protocol, words).values(), strict=True):
        yield (top + bottom) / 2, name, detail


def _spot(value: Value, scale: _Scale) -> dict[str, float]:
    """Where a value is drawn: below the foot there is no place, so at the foot."""
    return {"x": value.day, "y": max(float(value.value), scale.low)}


def _spots(values: Sequence[Value], scale: _Scale) -> Rows:
    """The signs of values, the smaller the more there are."""
    share = min(1.0, 120 / len(values)) if values else 1.0
    return [
        _sign(sign._replace(size=sign.size * max(share, 0.3)), **_spot(value, scale))
        for value in values
        for sign in (_sign_of(value, scale),)
    ]


def _sign_of(value: Value, scale: _Scale) -> _Sign:
    if value.value < scale.low:
        return _AT_FLOOR if value.reliable else _AT_FLOOR._replace(filled=False)
    return _COUNT if value.reliable else _UNRELIABLE


def _key_of_counts(panel: _Panel, data: ChartData) -> None:
    """What the shapes of counts mean, right-aligned above the panel, if there is more than one."""
    words, scale = panel.words, panel.scale
    key = []
    others = (value for series in data.panels for value in series.values)
    if any(not value.reliable for value in (*data.platelets, *others)):
        key.append((_UNRELIABLE, words.unreliable))
    if any(value.value < scale.low for value in data.platelets):
        key.append((_AT_FLOOR, words.at_floor.format(floor=words.number(tidy(Decimal(str(scale.low)))))))
    if key:
        key.insert(0, (_COUNT, words.reliable))
    _key(panel, key)


def _key(panel: _Panel, key: Sequence[tuple[_Sign, str]]) -> None:
    pixel, y = float(_PLOT), panel.scale.at(-14)
    signs: Rows = []
    texts: Rows = []
    for sign, text in reversed(key):
        pixel -= len(text) * _LETTER
        texts.append({"x": panel.frame.at(pixel), "y": y, "text": text})
        signs.append(_sign(sign, panel.frame.at(pixel - 9), y))
        pixel -= 28
    panel.add("sign", signs)
    panel.add("text", texts, **_SMALL)


def _weeks(panel: _Panel, doses: Sequence[Dose]) -> None:
    """The weeks since the first dose, below the panel."""
    if not doses:
        return
    frame, first = panel.frame, doses[0].day
    weeks = (frame.last - first) / 7
    step = next((one for one in (1, 2, 4, 8, 12, 26, 52, 104) if frame.pixel(frame.first + 7 * one) >= 34), 260)
    y = panel.scale.at(panel.scale.height + 12)
    rows = [
        {"x": first + 7 * week, "y": y, "text": str(week)}
        for week in range(0, math.ceil(weeks), step)
        if frame.pixel(first + 7 * week) <= _PLOT
    ]
    panel.add("text", rows, align="center", color=_SOFT)
    panel.add(
        "text",
        [{"x": frame.at(_PLOT + 10), "y": y, "text": panel.words.weeks}],
        **_SMALL,
        limit=_RIGHT - 12,
    )


def _doses(data: ChartData, frame: _Frame, words: Words) -> _Panel:
    """A block for each dose, for a week or up to the next one; the micrograms where they change."""
    weekly = data.weekly
    most = [weekly.maximum] if weekly is not None else []
    levels = [dose.level for dose in data.doses if dose.level is not None]
    scale = _linear(0, 1.22 * float(max([*levels, *most, Decimal(1)])), _DOSES_HIGH, 4, nice=False)
    panel = _Panel(frame=frame, scale=scale, words=words, title=words.dose_axis, dates=True)
    blocks = list(_blocks(data, frame))
    panel.add(
        "area",
        [{**across, "y": float(dose.level), "y2": 0} for dose, across in blocks if dose.level],
        color=_BLOCK,
        stroke="#ffffff",
        strokeWidth=0.7,
    )
    panel.add(
        "rule",
        [{**across, "y": float(dose.level)} for dose, across in blocks if dose.level],
        color=_BLUE,
        strokeWidth=1.8,
    )
    if weekly is not None:
        across = {"x": frame.first, "x2": frame.last}
        panel.add("rule", [across | {"y": float(weekly.maximum)}], color=_INK, strokeDash=(7, 3), strokeWidth=1)
        said = words.level.format(value=words.number(weekly.maximum))
        panel.notes([(scale.pixel(float(weekly.maximum)), words.maximum, said)])
    panel.add("sign", [_sign(_NO_LEVEL, dose.day, scale.at(_DOSES_HIGH - 6)) for dose in data.doses if not dose.level])
    panel.add("text", _changes(data.doses, panel), align="center", fontSize=10)
    key = [(_NO_LEVEL, words.no_level)] if any(not dose.level for dose in data.doses) else []
    _key(panel, key)
    if data.doses:
        panel.add(
            "text",
            [{"x": frame.at(_PLOT + 10), "y": scale.at(_DOSES_HIGH - 10), "text": words.dose_key}],
            **_SMALL,
            limit=_RIGHT - 12,
        )
    return panel


def _blocks(data: ChartData, frame: _Frame) -> Iterator[tuple[Dose, dict[str, float]]]:
    """Each dose with the days for which it is drawn: a week, unless the next dose or one not given comes before."""
    stops = sorted(
        {dose.day for dose in data.doses}
        | {mark.day for mark in data.marks if mark.kind in {MarkKind.HOLD, MarkKind.NOT_GIVEN}}
    )
    after = dict(pairwise(stops))
    for dose in data.doses:
        until = min(dose.day + 7, after.get(dose.day, dose.day + 7), frame.last)
        yield dose, {"x": dose.day, "x2": until}


def _changes(doses: Sequence[Dose], panel: _Panel) -> Rows:
    """The micrograms of each dose that differs from the one before it, where there is room until they change again."""
    changed = [dose for before, dose in pairwise([None, *doses]) if dose and _micrograms(before) != dose.micrograms]
    frame, scale = panel.frame, panel.scale
    ends = [*(dose.day for dose in changed[1:]), frame.last]
    week = frame.pixel(frame.first + 7)
    rows: Rows = []
    for dose, end in zip(changed, ends, strict=False):
        text = panel.words.number(dose.micrograms)
        start, wide = frame.pixel(dose.day), len(text) * 6.2
        if frame.pixel(end) - start >= wide:
            top = scale.pixel(float(dose.level)) if dose.level else float(_DOSES_HIGH - 6)
            y = scale.at(top + (9 if _DOSES_HIGH - top >= 18 else -7))
            rows.append({"x": frame.at(start + max(week, wide) / 2), "y": y, "text": text})
    return rows


def _micrograms(dose: Dose | None) -> Decimal | None:
    return None if dose is None else dose.micrograms


def _marks(marks: Sequence[Mark], frame: _Frame, words: Words) -> _Panel:
    """A lane for each kind of mark that there is, named at its right by its shape and a word."""
    kinds = [kind for kind in MarkKind if any(mark.kind == kind for mark in marks)]
    height = _LANE_HIGH * len(kinds)
    panel = _Panel(frame=frame, scale=_Scale(0, height, height), words=words, title=words.events)
    lanes = {kind: height - _LANE_HIGH * (index + 0.5) for index, kind in enumerate(kinds)}
    panel.add("rule", [{"x": frame.first, "x2": frame.last, "y": y} for y in lanes.values()], color=_FAINT)
    for lasting, style in ((True, {"strokeWidth": 2, "strokeDash": (3, 3)}), (False, {"strokeWidth": 3})):
        spans = [
            {"x": max(mark.day, frame.first), "x2": min(mark.until or frame.last, frame.last), "y": lanes[mark.kind]}
            for mark in marks
            if mark.lasting == lasting and (lasting or (mark.until or 0) > max(mark.day, frame.first))
        ]
        panel.add("rule", spans, color=_SOFT, **style)
    named = [{"x": frame.at(_PLOT + 26), "y": y, "text": words.marks[kind]} for kind, y in lanes.items()]
    panel.add("text", named, limit=_RIGHT - 28)
    signs = [_sign(_SIGNS[kind], frame.at(_PLOT + 15), y) for kind, y in lanes.items()]
    for kind, y in lanes.items():
        told = list(_told([mark for mark in marks if mark.kind == kind], frame, words))
        signs += [_sign(_SIGNS[kind], frame.at(one.pixel), y) for one in told]
        _terms(panel, told, y)
    panel.add("sign", signs)
    return panel


class _Told(NamedTuple):
    """A mark so far from the left, with what there is to say of it: all of it first, then ever shorter."""

    pixel: float
    texts: tuple[str, ...]


def _told(marks: Iterable[Mark], frame: _Frame, words: Words) -> Iterator[_Told]:
    """The marks of a lane; those from before the time that is drawn are one, at the left edge."""
    earlier = [mark for mark in marks if mark.day < frame.begins]
    if earlier:
        day, why = day_text(earlier[0].day, words), term_text(earlier[0], words)
        text = words.explained.format(what=day, why=why) if why else day
        if len(earlier) > 1:
            text = words.earlier.format(count=len(earlier), day=day)
        yield _Told(8, (f"← {text}", f"← {day}", "←"))
    for mark in marks:
        if mark.day >= frame.begins:
            yield _Told(frame.pixel(mark.day), short_texts(mark, words))


def _terms(panel: _Panel, told: Sequence[_Told], y: float) -> None:
    """The longest that can be said of each mark of a lane, at its right, or else at its left."""
    free = 0.0
    sides: dict[str, Rows] = {"left": [], "right": []}
    for one, upcoming in zip(told, [*(one.pixel for one in told[1:]), _PLOT + 8.0], strict=True):
        rooms = {"left": upcoming - one.pixel - 18, "right": one.pixel - free - 12}
        fits = [(text, align) for text in one.texts for align, room in rooms.items() if len(text) * _LETTER <= room]
        text, align = fits[0] if fits else ("", "right")
        free = one.pixel + (len(text) * _LETTER + 10 if align == "left" else 8)
        if text:
            sides[align].append({"x": panel.frame.at(one.pixel), "y": y, "text": text})
    for align, rows in sides.items():
        panel.add("text", rows, align=align, dx=9 if align == "left" else -9, dy=-7, fontSize=10.5)


def _values(series: Series, frame: _Frame, words: Words, *, last: bool) -> _Panel:
    """The values of a code, with the last one said beside them; the last panel has the dates again."""
    amounts = [float(value.value) for value in series.values]
    low = 0 if min(amounts) <= max(amounts) / 2 else min(amounts)
    scale = _linear(low, max(amounts), _VALUES_HIGH, 3)
    unit = unit_text(series.unit, words)
    title = words.with_unit.format(name=name_text(series.code, words), unit=unit)
    panel = _Panel(frame=frame, scale=scale, words=words, title=title, dates=last)
    panel.add("line", [_spot(value, scale) for value in series.values if value.reliable], color=_BLUE)
    panel.add("sign", _spots(series.values, scale))
    newest = series.values[-1]
    said = value_text(newest.value, series.unit, words)
    panel.notes([(scale.pixel(float(newest.value)), said, day_text(newest.day, words))])
    return panel


# Parts


def _sign(sign: _Sign, x: float, y: float) -> Spec:
    """A row of signs."""
    return {
        "x": x,
        "y": y,
        "shape": sign.shape,
        "fill": sign.colour if sign.filled else "#ffffff",
        "stroke": sign.colour,
        "size": sign.size,
    }


def _linear(low: float, high: float, height: int, most: int, *, nice: bool = True) -> _Scale:
    """A linear axis with at most so many steps of a round size; `nice`: from tick to tick."""
    high = high if high > low else low + 1
    span = high - low
    power = math.floor(math.log10(span / most))
    sizes = (Decimal(f"{digit}E{power + more}") for more in (0, 1) for digit in (1, 2, 5))
    step = next(size for size in sizes if float(size) * most >= span)
    first, last = math.floor(Decimal(str(low)) / step), math.ceil(Decimal(str(high)) / step)
    last = max(last, first + 1)
    if not nice:
        ticks = [tidy(step * k) for k in range(first, last + 1) if float(step * k) <= high]
        return _Scale(low, high, height, tuple(ticks))
    ticks = [tidy(step * k) for k in range(first, last + 1)]
    return _Scale(float(ticks[0]), float(ticks[-1]), height, tuple(ticks))


def _apart(noted: Iterable[tuple[float, str, str]], least: float = 30) -> Iterator[tuple[float, str, str]]:
    """Notes from top to bottom, moved down where they would run into the one above."""
    free = -math.inf
    for pixel, name, detail in sorted(noted):
        place = max(pixel, free)
        free = place + least
        yield place, name, detail


def _frame(data: ChartData) -> _Frame:
    """From the first value or dose, and the marks in the eight weeks before it, to the day asked about."""
    marks = [mark.day for mark in data.marks]
    measured = data.measured or marks or [data.on]
    first = min([measured[0], *(day for day in marks if day >= measured[0] - _DAYS_BEFORE)])
    last = max([data.on, *data.days[-1:]])
    span = max(last - first, _LEAST_DAYS)
    start, end = first - span * 0.015 - 1, first + span * 1.03 + 1
    return _Frame(start, end, first, tuple(_ticks(start, end)))


def _ticks(start: float, end: float) -> Iterator[int]:
    """Mondays, first days of months or of years, so few that each can be labelled."""
    room = (end - start) / _PLOT * 84  # days that a label takes
    first = date.fromordinal(math.ceil(start))
    if room <= 28:
        step = 7 * math.ceil(room / 7)
        day = first + timedelta(days=-first.weekday() % 7)
        yield from range(day.toordinal(), math.floor(end) + 1, step)
        return
    months = next((one for one in (1, 2, 3, 6, 12, 24, 60) if one * 30.4 >= room), 120)
    month = math.ceil((first.year * 12 + first.month - 1 + (first.day > 1)) / months) * months
    while (day := date(month // 12, month % 12 + 1, 1)).toordinal() <= end:
        yield day.toordinal()
        month += months
