"""The chart of a course, as the SVG that a browser gets: what is on it, and that nothing in it does any harm."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.backends import new_store
from tests.support import CATALOGUE, IDS
from titrator.security.permissions import PERMISSIONS, Role
from titrator.titration.protocol import WeeklyProtocol
from titrator.web.chart_cache import chart_svg
from titrator.web.chart_data import ChartData, Mark, MarkKind, Value, chart_data
from titrator.web.chart_words import ENGLISH, Words, english_day, mark_text
from titrator.web.charts import MOST_PANELS, Axis, draw, render, specification
from titrator.workflow.demonstration import furnish
from titrator.workflow.timeline import timeline
from titrator.workflow.visit import Actor, Services, Visit

MONDAY = datetime(2026, 6, 15, 8, 0, tzinfo=UTC)
FIRST = date(2026, 1, 5)
PROTOCOLS = {ident: CATALOGUE.get(ident) for ident in IDS}
SVG = "{http://www.w3.org/2000/svg}"
KEY = "0123456789abcdef" * 4
Entry = dict[str, Any]


# Timelines, with days told by how long after the first Monday of 2026 they are


def day(after: int) -> str:
    return (FIRST + timedelta(days=after)).isoformat()


def entry(collection: str, after: int, **fact: object) -> Entry:
    return {"collection": collection, "day": day(after), "ctcae_grade": None, "fact": {"status": "final", **fact}}


def count(after: int, value: str, unit: str = "10*9/L", *, unreliable: bool = False) -> Entry:
    return entry("platelet-counts", after, value=Decimal(value), unit=unit, unreliable=unreliable)


def observed(after: int, code: str, value: str, unit: str) -> Entry:
    return entry("observations", after, code=code, value=Decimal(value), unit=unit)


def given(after: int, micrograms: str, level: str | None) -> Entry:
    stated = None if level is None else Decimal(level)
    return entry("doses", after, given_on=day(after), micrograms=Decimal(micrograms), micrograms_per_kg=stated)


def not_given(after: int, reason: str) -> Entry:
    return entry("doses", after, not_given_on=day(after), reason_not_given=reason)


def happened(after: int, kind: str, until: int | None = None, **more: object) -> Entry:
    return entry("events", after, kind=kind, resolved_on=None if until is None else day(until), **more)


def changed(change: str, protocol: str, after: int, status: str = "active") -> Entry:
    on = day(after)
    return {
        "id": 1, "change": change, "protocol": protocol, "status": status, "started_on": day(0), "ended_on": None,
        "changed_at": f"{on}T08:00:00.000000Z",
    }  # fmt: skip


def course(*entries: Entry, on: int = 0, protocol: str | None = "us-itp-adult", changes: tuple[Entry, ...] = ()) -> Any:
    start = () if protocol is None else (changed("start", protocol, 0),)
    ordered = sorted(entries, key=lambda one: str(one["day"]))
    return chart_data({"on": day(on), "entries": ordered, "course_changes": [*start, *changes]}, PROTOCOLS)


# What is on a chart


class Drawn:
    """An SVG as parsed."""

    def __init__(self, data: ChartData, axis: Axis = Axis.LOG, words: Words = ENGLISH) -> None:
        self.text = draw(data, words, axis)
        self.root = ET.fromstring(self.text)

    @property
    def texts(self) -> list[str]:
        return ["".join(element.itertext()) for element in self.root.iter(SVG + "text")]

    def has(self, *texts: str) -> bool:
        return set(texts) <= set(self.texts)

    def shapes(self, fill: str) -> list[tuple[float, float]]:
        """Where on its panel each sign of a colour is."""
        found = []
        for group in self.root.iter(SVG + "g"):
            if "mark-symbol" in group.get("class", ""):
                for path in group.iter(SVG + "path"):
                    place = re.fullmatch(r"translate\((-?[\d.e-]+),(-?[\d.e-]+)\)", path.get("transform", ""))
                    if path.get("fill") == fill and place:
                        found.append((float(place[1]), float(place[2])))
        return found


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChartData]:
    """The published case, as the demonstration has it in a store."""
    store = new_store(tmp_path_factory.mktemp("case"))
    services = Services(store=store, catalogue=CATALOGUE, audit_key=b"k" * 32, clock=lambda: MONDAY)
    furnished = furnish(services)
    with store.writing() as session:
        actor = Actor("x", "x", Role.PHARMACIST, frozenset({furnished.clinic}), PERMISSIONS[Role.PHARMACIST])
        visit = Visit(services=services, session=session, actor=actor, now=MONDAY)
        yield chart_data(timeline(visit, furnished.case_patient, None), PROTOCOLS)
    store.close()


@pytest.mark.parametrize("axis", list(Axis))
def test_published_case_is_drawn_like_its_figure(case: ChartData, axis: Axis) -> None:
    drawn = Drawn(case, axis)
    log = ", logarithmic axis" if axis is Axis.LOG else ""
    assert drawn.has(
        f"Platelets, 10⁹/L{log}", "Dose of romiPLOStim, micrograms/kg", "Events", "Haemoglobin, g/L",
        "Neutrophils, 10⁹/L", "Immature platelet fraction, %", "CAR-T cells, per microlitre", "B cells, per microlitre",
    )  # fmt: skip
    zones = ("Hold", "above 400, until below 200", "Reduce", "above 200 for 2 weeks", "Target", "above 50 to 200")
    assert drawn.has(
        *zones, "Increase", "50 or below", "Maximum", "8.6 micrograms/kg", "url(#titrator-hold)"[:0] or "60"
    )
    assert drawn.has("60", "115", "175", "230", "290", "350", "405", "465", "500", "figures: micrograms given")
    assert drawn.has("Platelet transfusion", "Adverse event", "weeks since first dose", "114 g/L", "2.1 ×10⁹/L")
    assert drawn.has("← 9 Oct 2025: Cytokine release syndrome, CRS grade 1")
    dates = [text for text in drawn.texts if re.fullmatch(r"\d{1,2} [A-Z][a-z]{2} 20\d\d", text)]
    assert len(dates) > 10
    assert (drawn.root.get("width"), drawn.root.get("viewBox", "").split()[:3]) == ("900", ["0", "0", "900"])


def test_case_is_told_in_words_to_those_who_do_not_see_it(case: ChartData) -> None:
    root = Drawn(case).root
    title, description = root[0], root[1]
    assert (title.tag, title.text) == (SVG + "title", "Chart of the course")
    assert description.text == (
        "24 platelet counts from 5 Jan 2026 to 15 Jun 2026, the last 60 ×10⁹/L. Last dose on 8 Jun 2026: "
        "500 micrograms (8.6 micrograms/kg). Platelet transfusion: 2. Adverse event: 1."
    )
    assert root.get("aria-labelledby", "").split() == [title.get("id"), description.get("id")]


def test_chart_names_no_patient(case: ChartData) -> None:
    assert "Avocet" not in draw(case)
    assert "Carina" not in draw(case)


def test_same_course_is_drawn_alike_each_time(case: ChartData) -> None:
    assert draw(case) == draw(case)


# Nothing that does harm

HOSTILE = "<script>alert(1)</script>&\"'\x00\x1b\ud800]]>--> {{x}} ${y} %s {0} \n onload=x " + "long " * 200


def test_hostile_text_is_text() -> None:
    data = course(
        count(0, "20"),
        happened(3, "adverse_event", term=HOSTILE, scale="crs", grade=2),
        happened(4, "thrombosis", term="url(https://example.org)", scale=HOSTILE, grade=2),
        observed(1, "a:b.c+d]({})[0]", "1", HOSTILE),
        observed(1, "datum.value", "2", "\\u0022"),
        not_given(7, HOSTILE),
        on=100,
    )
    drawn = Drawn(data)
    assert any(text.startswith("<script>alert(1)</script>&\"' ]]>") for text in drawn.texts)
    assert harmful(drawn.root) == []


def harmful(root: ET.Element) -> list[str]:
    """What may run, load or style something in an SVG."""
    found = []
    for element in root.iter():
        kind = element.tag.removeprefix(SVG)
        if kind not in {"svg", "title", "desc", "defs", "pattern", "rect", "g", "path", "line", "text", "tspan"}:
            found.append(kind)
        for name, value in element.attrib.items():
            elsewhere = "url(" in value and value != "url(#titrator-hold)"
            if name.startswith("on") or "href" in name or name == "style" or elsewhere:
                found.append(f"{kind} {name}={value}")
    return found


def test_case_has_no_script_no_handler_and_no_reference(case: ChartData) -> None:
    drawn = Drawn(case)
    assert harmful(drawn.root) == []
    assert set(re.findall(r'https?://[^"]*', drawn.text)) == {"http://www.w3.org/2000/svg"}
    assert {element.get("font-family") for element in drawn.root.iter(SVG + "text")} == {"sans-serif"}


def test_nothing_is_fetched(case: ChartData) -> None:
    spec = specification(case)
    spec["vconcat"][0]["layer"][0]["data"] = {"url": "https://example.org/counts.json"}
    with pytest.raises(ValueError, match="not allowed: https://example"):
        render(spec, "", "", "en")


# Courses of all kinds


def test_empty_course_is_an_empty_chart() -> None:
    drawn = Drawn(course(protocol=None))
    assert drawn.root[1].text == "Nothing recorded up to 5 Jan 2026."
    assert drawn.has("Platelets, 10⁹/L, logarithmic axis", "Dose of romiPLOStim, micrograms/kg", "5 Jan 2026")
    assert not drawn.has("Events")


def test_one_count_is_one_point() -> None:
    drawn = Drawn(course(count(0, "18")))
    assert len(drawn.shapes("#12436d")) == 1
    assert drawn.has("18", "Target", "50 to 200")


def test_zero_stands_at_the_foot_of_a_logarithmic_axis_with_a_sign_of_its_own() -> None:
    drawn = Drawn(course(count(0, "0"), count(7, "0.4"), count(14, "30"), on=14))
    foot = 270.0
    marked = [place for place in drawn.shapes("#a4161a") if place[1] == foot]
    assert len(marked) == 2
    assert drawn.has("0", "0.4", "below 10, drawn at the foot")


def test_many_zeros_are_told_as_far_as_there_is_room() -> None:
    drawn = Drawn(course(*(count(7 * week, "0") for week in range(260)), on=7 * 260))
    assert len([path for path in drawn.shapes("#a4161a") if path[1] == 270.0]) == 260
    assert 10 < drawn.texts.count("0") < 30


def test_zero_on_a_linear_axis_is_a_point_like_others() -> None:
    drawn = Drawn(course(count(0, "0"), count(7, "30"), on=7), Axis.LINEAR)
    assert drawn.shapes("#a4161a") == []
    assert 270.0 in {y for _, y in drawn.shapes("#12436d")}


def test_unreliable_counts_are_open_and_not_joined() -> None:
    data = course(count(0, "20"), count(7, "300", unreliable=True), count(14, "40"), on=14)
    drawn = Drawn(data)
    assert drawn.has("unreliable or unverified, not joined")
    lines = [
        path.get("d", "")
        for group in drawn.root.iter(SVG + "g")
        if "mark-line" in group.get("class", "")
        for path in group.iter(SVG + "path")
    ]
    assert [line.count("L") for line in lines] == [1]
    assert len(drawn.shapes("#ffffff")) == 2  # the count, and the key


def test_unverified_observation_is_open() -> None:
    suspicious = observed(0, "haemoglobin", "20", "g/L")
    suspicious["fact"]["status"] = "unverified"
    assert course(suspicious).panels[0].values == (Value(FIRST.toordinal(), Decimal(20), None, False),)


def test_counts_per_microlitre_are_drawn_in_giga_per_litre() -> None:
    data = course(count(0, "30000", "/uL"), count(7, "41", "10*3/uL"), on=7)
    assert [value.value for value in data.platelets] == [Decimal(30), Decimal(41)]


def test_values_in_unknown_units_have_panels_of_their_own() -> None:
    data = course(
        count(0, "20", "furlong"),
        observed(0, "haemoglobin", "8.4", "g/dL"),
        observed(7, "haemoglobin", "90", "g/L"),
        observed(7, "haemoglobin", "9", "stone"),
        on=7,
    )
    assert [(one.code, one.unit, [str(v.value) for v in one.values]) for one in data.panels] == [
        ("haemoglobin", "g/L", ["84", "90"]),
        ("haemoglobin", "stone", ["9"]),
        ("platelets", "furlong", ["20"]),
    ]
    assert Drawn(data).has("Haemoglobin, g/L", "Haemoglobin, stone", "Platelets, furlong")


def test_panels_beyond_the_most_are_named() -> None:
    data = course(*(observed(0, f"code-{index:02}", "1", "U/L") for index in range(MOST_PANELS + 2)))
    drawn = Drawn(data)
    titles = [text for text in drawn.texts if text.startswith("code-")]
    assert len(titles) == MOST_PANELS
    assert drawn.has("Further values are in the table: code-10, code-11")


@pytest.mark.parametrize("ident", IDS)
def test_limits_of_every_protocol_are_said(ident: str) -> None:
    drawn = Drawn(course(count(0, "40"), given(0, "70", "1"), protocol=ident))
    names = ("Hold", "Reduce", "Target", "Increase", "Maximum")
    if isinstance(PROTOCOLS[ident], WeeklyProtocol):
        assert drawn.has(*names)
        assert 'url(#titrator-hold)"' in drawn.text
    else:
        assert not set(names) & set(drawn.texts)
        assert 'url(#titrator-hold)"' not in drawn.text


def test_notes_at_the_right_do_not_run_into_one_another() -> None:
    for axis in Axis:
        for ident in IDS:
            layers = specification(course(count(0, "4999"), protocol=ident), axis=axis)["vconcat"][0]["layer"]
            bold = [one for one in layers if one["mark"].get("fontWeight") == "bold" and one["mark"].get("limit")]
            assert len(bold) == (1 if isinstance(PROTOCOLS[ident], WeeklyProtocol) else 0)
            values = sorted(pixels(row["y"], axis, layers) for one in bold for row in one["data"]["values"])
            assert all(later - earlier > 29 for earlier, later in pairwise(values))


def pixels(value: float, axis: Axis, layers: list[Any]) -> float:
    """How far up a note is, by the invisible upright that goes from the foot of the panel to its top."""
    upright = next(one for one in layers if one["mark"].get("opacity") == 0)["data"]["values"][0]
    low, high = upright["y"], upright["y2"]
    return 270 * (log(value / low) / log(high / low) if axis is Axis.LOG else (value - low) / (high - low))


def test_limits_change_where_the_protocol_was_switched() -> None:
    switch = changed("switch-protocol", "us-itp-adult", 60)
    data = course(count(0, "40"), count(90, "80"), on=90, protocol="eu-itp-adult", changes=(switch,))
    assert [(one.since, one.protocol and one.protocol.id) for one in data.periods] == [
        (None, "eu-itp-adult"),
        ((FIRST + timedelta(days=60)).toordinal(), "us-itp-adult"),
    ]
    drawn = Drawn(data)
    assert drawn.has("above 400, until below 200", "Hold: above 250, until below 150", "Increase: below 50")


def test_unknown_protocol_has_no_limits() -> None:
    assert not Drawn(course(count(0, "40"), protocol="gone")).has("Hold")


def test_doses_not_given_and_holds_leave_a_gap() -> None:
    data = course(
        given(0, "70", "1"), given(7, "140", "2"), not_given(10, "absent"), not_given(14, "on-hold"),
        given(21, "150", None), on=28,
    )  # fmt: skip
    assert [(mark.kind, mark.detail) for mark in data.marks] == [(MarkKind.NOT_GIVEN, "absent"), (MarkKind.HOLD, None)]
    panel = specification(data)["vconcat"][1]
    blocks = next(one for one in panel["layer"] if one["mark"]["type"] == "rect")["data"]["values"]
    first = FIRST.toordinal()
    assert [(row["x"] - first, row["x2"] - first, row["y"]) for row in blocks] == [(0, 7, 1.0), (7, 10, 2.0)]
    assert Drawn(data).has("dose, micrograms/kg not stated", "patient was absent", "Hold: no dose", "150")


def test_two_doses_of_a_day_are_drawn_as_one() -> None:
    """Of a level only if both were stated."""
    twice = [given(0, "60", "1"), given(0, "120", "2"), given(7, "60", "1"), given(7, "120", None)]
    assert [(str(one.micrograms), one.level) for one in course(*twice, on=14).doses] == [("180", 3), ("180", None)]


def test_holds_that_were_decided_are_marks_once() -> None:
    facts = {"on": day(14), "entries": [not_given(7, "on-hold")], "course_changes": []}
    data = chart_data(facts, PROTOCOLS, holds=[day(7), day(14)])
    assert [mark.day - FIRST.toordinal() for mark in data.marks] == [7, 14]


def test_pause_lasts_until_the_course_goes_on() -> None:
    pauses = (
        changed("pause", "us-itp-adult", 7, "paused"),
        changed("go-on", "us-itp-adult", 21),
        changed("pause", "us-itp-adult", 28, "paused"),
    )
    data = course(changes=pauses, on=35)
    first = FIRST.toordinal()
    assert [(mark.day - first, mark.until and mark.until - first, mark.lasting) for mark in data.marks] == [
        (7, 21, False),
        (28, None, True),
    ]


def test_two_adverse_events_of_a_day_are_two_marks() -> None:
    both = [happened(3, "adverse_event", term=term, scale="ctcae-5.0", grade=1) for term in ("Headache", "Nausea")]
    assert [mark.term for mark in course(*both).marks] == ["Headache", "Nausea"]


def test_earlier_marks_do_not_stretch_the_axis() -> None:
    data = course(
        *(happened(-after, "platelet_transfusion") for after in (400, 390, 380, -50)),
        happened(-500, "adverse_event", 3, term="Neutropenia", scale="ctcae-5.0", grade=3),
        count(0, "20"),
        on=60,
    )
    drawn = Drawn(data)
    assert drawn.has("← 3 earlier, the first on 1 Dec 2024", "← 23 Aug 2024: Neutropenia, CTCAE 5.0 grade 3")


def test_every_kind_of_mark_has_a_shape_of_its_own_and_a_name() -> None:
    marks = tuple(Mark(kind, FIRST.toordinal() + index) for index, kind in enumerate(MarkKind))
    drawn = Drawn(ChartData(on=FIRST.toordinal() + 30, marks=marks))
    assert drawn.has(*ENGLISH.marks.values())
    panel = specification(ChartData(on=FIRST.toordinal() + 30, marks=marks))["vconcat"][2]
    rows = next(one for one in panel["layer"] if one["mark"]["type"] == "point")["data"]["values"]
    # In grey, too: by shape, or by whether it is filled.
    assert len({(row["shape"], row["fill"] == "#ffffff") for row in rows}) == len(MarkKind)


def test_five_years_of_weeks_fit() -> None:
    weeks = range(260)
    data = course(
        *(count(7 * week, str(10 + week * 37 % 390)) for week in weeks),
        *(given(7 * week, str(70 * (1 + week // 3 % 10)), str(1 + week // 3 % 10)) for week in weeks),
        *(happened(7 * week, "adverse_event", term="Headache", scale="ctcae-5.0", grade=1) for week in weeks),
        on=7 * 260,
    )
    drawn = Drawn(data)
    assert len(drawn.text) < 300_000
    assert float(drawn.root.get("width", "0")) == 900
    labels = [text for text in drawn.texts if re.fullmatch(r"1 [A-Z][a-z]{2} 20\d\d", text)]
    assert 4 <= len(labels) <= 9


@pytest.mark.parametrize("on", ["1900-01-01", "2200-12-31"])
def test_first_and_last_days_are_drawn(on: str) -> None:
    facts = {"on": on, "entries": [], "course_changes": []}
    assert Drawn(chart_data(facts, PROTOCOLS)).root.tag == SVG + "svg"


def test_century_is_drawn() -> None:
    facts = {"on": "2200-12-31", "entries": [count(0, "5000"), count(-40_000, "0.001")], "course_changes": []}
    facts["entries"].reverse()
    assert "viewBox" in Drawn(chart_data(facts, PROTOCOLS)).root.attrib


def test_words_of_another_language_take_their_place() -> None:
    words = Words(
        language="de",
        day=lambda day: f"{day:%d.%m.%Y}",
        number=lambda value: str(value).replace(".", ","),
        title="Verlauf",
        target="Zielbereich",
        names={"platelets": "Thrombozyten"},
    )
    drawn = Drawn(course(count(0, "20.5"), given(0, "70", "8.6"), protocol="cart-2021-case"), words=words)
    assert drawn.has("Zielbereich", "8,6 micrograms/kg", "20,5", "05.01.2026")
    assert drawn.root.get("lang") == "de"
    assert drawn.root[0].text == "Verlauf"


# Words, and the table


@pytest.mark.parametrize(
    ("mark", "text"),
    [
        (Mark(MarkKind.HOLD, 5), "Hold: no dose"),
        (Mark(MarkKind.NOT_GIVEN, 5, detail="no-supply"), "Dose not given: no supply"),
        (Mark(MarkKind.THROMBOSIS, 5, lasting=True), "Thrombosis, not known to be over"),
        (
            Mark(MarkKind.ADVERSE_EVENT, 5, FIRST.toordinal(), False, "Headache", "ctcae-5.0", 1),
            "Adverse event: Headache, CTCAE 5.0 grade 1, until 5 Jan 2026",
        ),
        (Mark(MarkKind.ADVERSE_EVENT, 5, 5, False, None, "icans", 2), "Adverse event: ICANS grade 2"),
    ],
)
def test_mark_in_words(mark: Mark, text: str) -> None:
    assert mark_text(mark, ENGLISH) == text


def test_days_are_not_read_as_others() -> None:
    assert english_day(date(2026, 3, 9)) == "9 Mar 2026"


# Charts that are kept


def test_chart_is_drawn_once(tmp_path: Path) -> None:
    calls = []

    def drawing() -> str:
        calls.append(1)
        return "<svg>⁹</svg>"

    folder = tmp_path / "instance" / "charts"
    assert [chart_svg(folder, KEY, drawing) for _ in range(3)] == ["<svg>⁹</svg>".encode()] * 3
    assert len(calls) == 1
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [(path.name, stat.S_IMODE(path.stat().st_mode)) for path in folder.iterdir()] == [(f"{KEY}.svg", 0o600)]


@pytest.mark.parametrize("key", ["", "abc", "../" * 8, "g" * 64, KEY.upper(), KEY + "\n", "a" * 129, f"{KEY}/../x"])
def test_key_is_hexadecimal(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        chart_svg(tmp_path, key, lambda: "")
    assert list(tmp_path.iterdir()) == []


def test_oldest_charts_go(tmp_path: Path) -> None:
    for index in range(12):
        chart_svg(tmp_path, f"{index:064x}", lambda: "<svg/>", most=10)
        for age, path in enumerate(sorted(tmp_path.iterdir())):
            os.utime(path, ns=(age, age))
    left = {int(path.stem, 16) for path in tmp_path.iterdir()}
    assert len(left) <= 10
    assert {10, 11} <= left
    assert 0 not in left


def test_chart_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> str:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        chart_svg(tmp_path, KEY, failing)
    assert list(tmp_path.iterdir()) == []


def test_chart_that_cannot_be_kept_is_given(tmp_path: Path) -> None:
    blocked = tmp_path / "charts"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(NotADirectoryError):
        (blocked / "x").read_bytes()
    assert chart_svg(blocked / "below", KEY, lambda: "<svg/>") == b"<svg/>"


KEEP_MANY = """
import sys
from pathlib import Path
from titrator.web.chart_cache import chart_svg
text = "<svg>" + "x" * 300_000 + "</svg>"
keys = [f"{index % 30:064x}" for index in range(90)]
print({chart_svg(Path(sys.argv[1]), key, lambda: text, most=20) for key in keys} == {text.encode()})
"""


def test_processes_that_draw_and_drop_at_once_see_whole_charts(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KEEP_MANY, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in running] == ["True\n"] * 3
    assert {path.suffix for path in tmp_path.iterdir()} == {".svg"}


def test_threads_draw_at_once(case: ChartData) -> None:
    expected = draw(case)
    start = threading.Barrier(4)

    def drawing(_: int) -> str:
        start.wait()
        return draw(case)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(drawing, range(4))) == {expected}
