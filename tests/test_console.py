"""What a person at a terminal reads: all that matters is there, with its unit, within the width, and as it stands."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from errno import ENOTTY
from itertools import combinations
from pathlib import Path
from typing import Any

import click
import pytest
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table

from tests.support import CATALOGUE, IDS, ask, counted, dosed, words
from tests.support import weighed as weighed_on
from titrator import console
from titrator.local import refuse, table
from titrator.protocols import SHIPPED
from titrator.protocols.examples import read_examples
from titrator.titration.codes import Action
from titrator.titration.documents import exact
from titrator.titration.errors import Fault, InvalidProtocol
from titrator.titration.preparation import preparation_of
from titrator.titration.protocol import Protocol, Status, Unprinted, WeeklyProtocol, read_protocol
from titrator.titration.quantities import iso, plain
from titrator.titration.recommend import ENGINE_VERSION, Recommendation, recommend
from titrator.titration.wording import alerts, reasons
from titrator.workflow import demo
from titrator.workflow.compare import decision_table, differences, settings
from titrator.workflow.replay import replay

PROTOCOLS = {ident: CATALOGUE.get(ident) for ident in IDS}
US = PROTOCOLS["us-itp-adult"]
WIDTHS = (80, 120)
SCREEN = pytest.mark.parametrize("width", WIDTHS)
ANY_SCREEN = pytest.mark.parametrize("width", [40, 60, 76, *WIDTHS, 140])


@pytest.fixture(autouse=True)
def a_plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever terminal the tests run in, colours are not wanted here."""
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def shown(what: RenderableType, width: int) -> str:
    """What the console of the commands prints on a terminal of that width."""
    screen = console.out()
    screen.width = width
    with screen.capture() as capture:
        screen.print(what)
    return capture.get()


def too_wide(text: str, width: int) -> list[str]:
    return [line for line in text.splitlines() if cell_len(line) > width]


def answered(document: Mapping[str, Any], protocol: Protocol | None = None) -> Recommendation:
    request = ask(document)
    return recommend(protocol or CATALOGUE.get(request.protocol), request.course, request.on)


def course(**changes: object) -> dict[str, Any]:
    """A course by the US label, on its second dose; None takes a key out."""
    document = {
        "protocol": "us-itp-adult",
        "on": "2026-03-09",
        "weights": weighed(75),
        "platelet_counts": counted(("2026-03-09", 38)),
        "doses": dosed(("2026-03-02", 75, 1)),
    }
    return document | changes


def weighed(kg: float) -> list[dict[str, Any]]:
    return weighed_on(("2026-02-14", kg))


# Recommendations

THREE_WEEKS = dosed(("2026-02-16", 150, 2), ("2026-02-23", 150, 2), ("2026-03-02", 150, 2))
ACTIONS: dict[str, tuple[dict[str, Any], Action, list[str]]] = {
    "start": (
        course(doses=[]),
        Action.START,
        ["75 micrograms (1 microgram/kg)", "due 2026-03-09", "0.15 mL of 500 micrograms/mL", "1 × 125 micrograms"],
    ),
    "increase": (
        course(),
        Action.INCREASE,
        ["150 micrograms (2 micrograms/kg)", "due 2026-03-09", "0.3 mL of 500 micrograms/mL", "1 × 250 micrograms"],
    ),
    "maintain": (
        course(platelet_counts=counted(("2026-03-09", 50)), weights=weighed(62.5), doses=dosed(("2026-03-02", 500, 8))),
        Action.MAINTAIN,
        ["500 micrograms (8 micrograms/kg)", "due 2026-03-09", "1 mL of 500 micrograms/mL", "1 × 500 micrograms"],
    ),
    "reduce": (
        course(platelet_counts=counted(("2026-03-02", 220), ("2026-03-09", 230)), doses=THREE_WEEKS),
        Action.REDUCE,
        ["75 micrograms (1 microgram/kg)", "due 2026-03-09", "0.15 mL of 500 micrograms/mL", "1 × 125 micrograms"],
    ),
    "hold": (course(platelet_counts=counted(("2026-03-09", 400.5))), Action.HOLD, ["no dose", "400.5 ×10⁹/L"]),
    "resume": (
        course(
            platelet_counts=counted(("2026-02-23", 420), ("2026-03-02", 340), ("2026-03-09", 40)),
            doses=dosed(("2026-02-09", 675, 9), ("2026-02-16", 675, 9)),
        ),
        Action.RESUME,
        [
            "600 micrograms (8 micrograms/kg)",
            "due 2026-03-09",
            "1.2 mL of 500 micrograms/mL",
            "1 × 500 micrograms + 1 × 125 micrograms",
            "[BELOW-TARGET-ON-HOLD]",
            "[LARGE-FALL]",
        ],
    ),
    "refer": (course(born_on="2008-03-10"), Action.REFER, ["no dose", "prescriber", "Age 17 on 2026-03-09"]),
    "incomplete": (
        course(weights=[], platelet_counts=[], doses=[]),
        Action.INCOMPLETE,
        ["no dose", "[COUNT-MISSING]", "[WEIGHT-MISSING]"],
    ),
    "complete": (
        course(protocol="us-hs-ars", doses=dosed(("2026-03-02", 700, 10))),
        Action.COMPLETE,
        ["no further dose", "700 micrograms", "2026-03-02"],
    ),
}


def test_every_action_is_rendered_below() -> None:
    assert {action for _, action, _ in ACTIONS.values()} == set(Action)


@SCREEN
@pytest.mark.parametrize("name", ACTIONS)
def test_an_answer_says_what_to_do_first(name: str, width: int) -> None:
    document, action, parts = ACTIONS[name]
    answer = answered(document)
    assert answer.action is action
    text = words(shown(console.recommendation(answer), width))
    assert text.startswith(words(console.headline(answer)))
    assert text.startswith(action.upper())
    for part in parts:
        assert part in text


@SCREEN
@pytest.mark.parametrize("name", ACTIONS)
def test_an_answer_says_why_with_code_and_citation_what_it_rests_on_and_what_comes_next(name: str, width: int) -> None:
    answer = answered(ACTIONS[name][0])
    text = words(shown(console.recommendation(answer), width))
    for statement in [*reasons(answer), *alerts(answer)]:
        assert f"{statement.text} [{statement.code}] {statement.citation}" in text
    assert f"step {answer.evidence.step} of docs/titration-rules.md" in text
    days = [answer.on, answer.next_count, answer.due, *answer.evidence.counts_used, *answer.evidence.doses_used]
    for day in days:
        assert day is None or iso(day) in text
    if answer.evidence.dosing_weight_kg is not None:
        assert f"{plain(answer.evidence.dosing_weight_kg)} kg" in text


@SCREEN
@pytest.mark.parametrize("name", ACTIONS)
def test_an_answer_is_a_proposal_by_a_protocol_an_engine_and_an_input(name: str, width: int) -> None:
    answer = answered(ACTIONS[name][0])
    text = words(shown(console.recommendation(answer), width))
    assert re.search(r"A proposal .*not an order\.", text)
    assert f"{answer.protocol.id}: {answer.protocol.title}" in text
    for part in (ENGINE_VERSION, answer.protocol.sha256[:12], answer.input_sha256[:12]):
        assert part in text


@SCREEN
@pytest.mark.parametrize("name", ACTIONS)
def test_only_an_answer_with_a_dose_tells_how_to_prepare_it(name: str, width: int) -> None:
    answer = answered(ACTIONS[name][0])
    text = words(shown(console.recommendation(answer), width))
    if answer.dose is None:
        assert not re.search(r"\bmL\b|under the skin|water for injection|vial", text)
    else:
        for step in preparation_of(answer.dose):
            assert step.text in text
            assert step.source in text


def test_what_stands_beside_a_decision_is_only_told_where_there_is_something() -> None:
    assert "Look at" not in shown(console.recommendation(answered(course())), 80)


def test_a_case_report_says_so() -> None:
    protocol = replace(PROTOCOLS["cart-2021-case"], title="x")
    assert "case report" in words(shown(console.recommendation(answered(demo.document(), protocol)), 80))


LABEL_OR_NOT = {
    Status.LABEL: "",
    Status.CASE_REPORT: "OFF LABEL, a case report",
    Status.LOCAL: "LOCAL PROTOCOL, rules of your own hospital, not of a label",
}


@SCREEN
@pytest.mark.parametrize("status", Status)
def test_an_answer_by_what_is_not_a_label_says_what_it_is_before_anything_else(status: Status, width: int) -> None:
    protocol = replace(US, status=status)
    text = words(shown(console.recommendation(answered(course(), protocol)), width))
    told = f"{LABEL_OR_NOT[status]}. " if LABEL_OR_NOT[status] else ""
    assert f"A proposal to check, not an order. {told}us-itp-adult: ITP, adults, US label" in text
    assert {what for what in LABEL_OR_NOT.values() if what in text} == {"", LABEL_OR_NOT[status]}


@pytest.mark.parametrize("status", Status)
def test_a_replay_and_a_page_say_what_is_not_a_label(status: Status) -> None:
    protocol, told = replace(US, status=status), LABEL_OR_NOT[status]
    assert console.named(protocol) == (f"us-itp-adult ({told})" if told else "us-itp-adult")
    assert f"status {told or 'label'} document" in words(shown(console.protocol_page(protocol), 120))


def test_what_is_dated_after_the_day_asked_about_is_said_to_be_left_out() -> None:
    document = course(platelet_counts=counted(("2026-03-09", 38), ("2026-03-10", 60)))
    later = ask(document).course.later(ask(document).on)
    text = words(shown(console.recommendation(answered(document), later), 80))
    assert re.search(r"Left out .*count of 2026-03-10", text)
    assert "Left out" not in shown(console.recommendation(answered(course())), 80)


def test_what_to_do_next_is_to_weigh_where_only_a_weight_is_missing() -> None:
    text = shown(console.recommendation(answered(course(weights=[]))), 80)
    assert re.search(r"^Next +weigh, then ask again *$", text, re.MULTILINE)


def test_a_monthly_count_that_is_due_with_the_dose_comes_before_it() -> None:
    mondays = ("2026-01-05", "2026-01-12", "2026-01-19", "2026-01-26", "2026-02-02", "2026-02-09", "2026-02-16",
               "2026-02-23", "2026-03-02")  # fmt: skip
    doses = dosed(*((monday, 150, 2) for monday in mondays))
    stable = course(doses=doses, platelet_counts=counted(("2026-01-12", 60), ("2026-02-09", 60)))
    text = words(shown(console.recommendation(answered(stable)), 80))
    assert "[STABLE]" in text
    assert "platelet count on 2026-03-09, before this dose" in text


@pytest.mark.parametrize(("resolved_on", "doubtful"), [("2026-03-05", False), ("2026-02-01", True)])
def test_a_safety_event_that_is_over_is_told_with_its_days(resolved_on: str, doubtful: bool) -> None:
    event = {"kind": "marrow_disorder", "occurred_on": "2026-02-20", "resolved_on": resolved_on}
    text = words(shown(console.recommendation(answered(course(events=[event]))), 80))
    assert f"marrow disorder of 2026-02-20, recorded as resolved on {resolved_on}" in text
    assert ("check the dates" in text) == doubtful


def test_a_dose_that_is_rounded_in_the_syringe_says_what_it_delivers() -> None:
    text = words(shown(console.recommendation(answered(course(doses=[], weights=weighed(58.12345)))), 80))
    assert "58.12 micrograms (1 microgram/kg)" in text
    assert "0.12 mL of 500 micrograms/mL, which delivers 60 micrograms" in text


@SCREEN
@pytest.mark.parametrize("kg", [10, 75, 249, 374, 399])
def test_what_was_not_read_in_a_label_says_so_and_nothing_else_does(kg: int, width: int) -> None:
    document = course(weights=weighed(kg), doses=dosed(("2026-03-02", kg, 1)), platelet_counts=[])
    answer = answered(document | {"platelet_counts": counted(("2026-03-09", 100))})
    assert answer.dose is not None
    text = words(shown(console.recommendation(answer), width))
    assert text.count("NOT VERIFIED") == [step.verified for step in preparation_of(answer.dose)].count(False)


@SCREEN
def test_the_water_for_a_vial_of_125_is_not_verified(width: int) -> None:
    text = words(shown(console.recommendation(answered(course(doses=[]))), width))
    (place,) = [match.start() for match in re.finditer(r"\b0\.44 mL", text)]
    assert "NOT VERIFIED" in text[place - 160 : place + 260]


def test_a_diluted_dose_says_how_to_dilute_and_how_long_it_keeps() -> None:
    text = words(shown(console.recommendation(answered(course(doses=[], weights=weighed(10)))), 80))
    assert "0.08 mL of 125 micrograms/mL" in text
    assert "1.38 mL of preservative-free sodium chloride 0.9 %" in text
    assert re.search(r"[Dd]iluted:? use at once", text)
    assert "4 hours" in text


def test_a_vial_without_data_refers_to_its_own_label() -> None:
    text = words(shown(console.recommendation(answered(course(), replace(US, vials=(100,)))), 80))
    assert "2 × 100 micrograms" in text
    assert re.search(r"100 microgram vial.*see its own label", text)
    assert "NOT VERIFIED" in text


# Laws of every answer

EXAMPLES = {
    f"{ident}: {example.name}": example.document
    for ident in PROTOCOLS
    for example in read_examples(SHIPPED / f"{ident}.examples.toml", ident)
}
ANSWERS: dict[str, Mapping[str, Any]] = {name: document for name, (document, _, _) in ACTIONS.items()} | EXAMPLES
TRAILING_ZERO = re.compile(r"(?<![\d.])\d+\.\d*0(?!\d|\.\d)")
NAKED_POINT = re.compile(r"(?<![\d\w])\.\d")
EXPONENT = re.compile(r"\d[eE][+-]?\d+\b(?!-)")
NUMBER_WITHOUT_UNIT = re.compile(
    r"(?:Platelets|weight|level|add|draw up|delivers) \d[\d.]*(?! ×10⁹/L| kg| microgram| mL|[\d.])"
)


def assert_reads_well(text: str, width: int) -> None:
    """No line too wide, no left-overs of the program, no number in a form that can be misread."""
    assert too_wide(text, width) == []
    told = words(text)
    for slip in (
        r"\bNone\b",
        r"\bDecimal\b",
        r"\bnull\b",
        r"[{}]",
        r"\x1b",
        r" ,",
        r"\(\)",
        TRAILING_ZERO,
        NAKED_POINT,
    ):
        assert not re.findall(slip, told), slip
    assert not re.search(r"(?<!\w)(?:µg|ug|mcg)\b", told), "micrograms are spelled out"


def test_a_number_too_long_for_the_screen_is_folded_not_cut() -> None:
    kg = "58.123456789012345678901234"
    weight = {"measured_on": "2026-02-14", "value": Decimal(kg), "unit": "kg"}
    document = exact(course(weights=[weight]))
    text = shown(console.recommendation(answered(document)), 40)
    assert "…" not in text
    assert kg in "".join(text.split())


@ANY_SCREEN
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_reads_well(name: str, width: int) -> None:
    text = shown(console.recommendation(answered(ANSWERS[name])), width)
    assert_reads_well(text, width)
    assert not NUMBER_WITHOUT_UNIT.findall(words(text))
    assert not EXPONENT.findall(words(text).partition("By ")[0])
    assert "…" not in text


# Replays


def replayed(document: Mapping[str, Any]) -> Table:
    request = ask(document)
    protocol = CATALOGUE.get(request.protocol)
    return console.replayed(replay(protocol, request.course, request.on), "A title")


def rows(table: Table) -> list[dict[str, str]]:
    """The rows of a table by the heads of its columns, before they are laid out."""
    heads = [str(column.header).replace("-\n", "").replace("\n", " ") for column in table.columns]
    columns = [map(str, column.cells) for column in table.columns]
    return [dict(zip(heads, cells, strict=True)) for cells in zip(*columns, strict=True)]


BUSY = course(
    weights=weighed(58.1),
    platelet_counts=[
        *counted(("2026-02-16", 16), ("2026-02-23", 25), ("2026-03-02", 74.9)),
        {"collected_on": "2026-03-09", "value": 75, "unit": "10*9/L", "unreliable": True},
    ],
    doses=dosed(("2026-02-16", 60, 1), ("2026-02-24", 115, 2), ("2026-03-02", 290, 5)),
)
BUSY_ROWS = [
    # day, count, grade, action, level, micrograms, mL, given, why
    ("2026-02-16", "16", "4", "start", "1", "60", "0.12", "60", "START"),
    ("2026-02-23", "25", "3", "increase", "2", "115", "0.23", "", "BELOW-TARGET"),
    ("2026-02-24", "", "", "increase", "2", "115", "0.23", "115", "BELOW-TARGET"),
    ("2026-03-02", "74.9", "2", "maintain", "2", "115", "0.23", "290", "IN-RANGE"),
    ("2026-03-09", "75 unreliable", "", "incomplete", "", "", "", "", "COUNT-UNRELIABLE; look at DOSE-JUMP"),
]


def test_a_replay_has_a_row_a_day_with_the_count_its_grade_the_proposal_and_what_was_given() -> None:
    assert [tuple(row.values()) for row in rows(replayed(BUSY))] == BUSY_ROWS


def test_the_columns_of_a_replay_name_their_units() -> None:
    heads = list(rows(replayed(BUSY))[0])
    for head, unit in zip(
        heads[1:8], ("×10⁹/L", "CTCAE v5", "", "micrograms per kg", "micrograms", "mL", "micrograms"), strict=True
    ):
        assert unit in head
    assert "Given" in heads[7]


@pytest.mark.parametrize(
    ("count", "grade"),
    [(0, "4"), (24.9, "4"), (25, "3"), (49.9, "3"), (50, "2"), (74.9, "2"), (75, "0 or 1"), (5000, "0 or 1")],
)
def test_a_count_stands_beside_its_grade(count: float, grade: str) -> None:
    (row,) = rows(replayed(course(platelet_counts=counted(("2026-03-09", count)), doses=[])))
    assert list(row.values())[1:3] == [str(count), grade]


REPLAYS: dict[str, dict[str, Any]] = {
    "busy": BUSY,
    "the case": demo.document(),
    "long numbers": course(
        weights=weighed(116.23),
        platelet_counts=counted(("2026-02-16", 20.25), ("2026-02-23", 1234.25)),
        doses=dosed(("2026-02-23", 1046.07, 9), ("2026-03-02", 1162.35, 10)),
    ),
} | {name: document for name, (document, _, _) in ACTIONS.items()}


@ANY_SCREEN
@pytest.mark.parametrize("name", REPLAYS)
def test_a_replay_reads_well_and_cuts_no_number_short(name: str, width: int) -> None:
    table = replayed(REPLAYS[name])
    text = shown(table, width)
    assert words(text).startswith("A title")
    assert too_wide(text, width) == []
    assert "…" not in text
    assert not re.search(r"\bNone\b|\x1b", text)
    assert not TRAILING_ZERO.search(text)
    assert not NAKED_POINT.search(text)
    told = set(text.split())
    for row in rows(table):
        assert {part for head, cell in row.items() if not head.startswith("Why") for part in cell.split()} <= told


def test_where_a_table_is_too_wide_each_day_of_a_replay_is_a_list_with_its_units() -> None:
    lines = [line.rstrip() for line in shown(replayed(BUSY), 40).splitlines()]
    assert lines[0] == "A title"
    assert lines[lines.index("2026-02-23") :] == [
        "2026-02-23",
        "  Platelets ×10⁹/L: 25",
        "  CTCAE v5 grade: 3",
        "  Proposed: increase",
        "  Level, micrograms per kg: 2",
        "  To draw up, micrograms: 115",
        "  To draw up, mL: 0.23",
        "  Why, and what to look at: BELOW-TARGET",
        "2026-02-24",
        "  Proposed: increase",
        "  Level, micrograms per kg: 2",
        "  To draw up, micrograms: 115",
        "  To draw up, mL: 0.23",
        "  Given, micrograms: 115",
        "  Why, and what to look at: BELOW-TARGET",
        "2026-03-02",
        "  Platelets ×10⁹/L: 74.9",
        "  CTCAE v5 grade: 2",
        "  Proposed: maintain",
        "  Level, micrograms per kg: 2",
        "  To draw up, micrograms: 115",
        "  To draw up, mL: 0.23",
        "  Given, micrograms: 290",
        "  Why, and what to look at: IN-RANGE",
        "2026-03-09",
        "  Platelets ×10⁹/L: 75 unreliable",
        "  Proposed: incomplete",
        "  Why, and what to look at:",
        "  COUNT-UNRELIABLE; look at DOSE-JUMP",
    ]


@SCREEN
def test_the_events_of_a_course_are_told_line_by_line(width: int) -> None:
    events = [
        {"kind": "platelet_transfusion", "occurred_on": "2026-02-20"},
        {"kind": "thrombosis", "occurred_on": "2026-03-01", "resolved_on": "2026-03-05"},
    ]
    lines = shown(console.happened(ask(course(events=events)).course), width).splitlines()
    (transfusion,) = [line for line in lines if "2026-02-20" in line]
    (thrombosis,) = [line for line in lines if "2026-03-01" in line]
    assert "platelet transfusion" in transfusion
    assert "thrombosis" in thrombosis
    assert "2026-03-05" in thrombosis
    assert "no events" in shown(console.happened(ask(course()).course), width).lower()


def test_a_replay_without_days_has_no_rows() -> None:
    assert rows(replayed(course(platelet_counts=[], doses=[]))) == []


# Protocols


@ANY_SCREEN
@pytest.mark.parametrize("ident", PROTOCOLS)
def test_the_page_of_a_protocol_says_all_that_is_in_its_file(ident: str, width: int) -> None:
    protocol = PROTOCOLS[ident]
    text = shown(console.protocol_page(protocol), width)
    assert_reads_well(text, width)
    told = words(text)
    source = protocol.source
    assert told.startswith(f"{ident}: {protocol.title}")
    texts = [
        protocol.indication, source.document, source.edition, source.section, source.retrieved_on,
        *protocol.citations.values(), *(item.text for item in protocol.unprinted),
        *(note for note in protocol.notes.values() if "https://" not in note),
    ]  # fmt: skip
    for part in texts:
        assert words(part) in told
    assert protocol.sha256 in ("".join(text.split()) if width < 80 else told)
    assert "reviewed by nobody yet" in told


@ANY_SCREEN
def test_the_page_of_a_protocol_cuts_no_address_short(width: int) -> None:
    for protocol in PROTOCOLS.values():
        text = shown(console.protocol_page(protocol), width)
        assert "…" not in text
        assert "".join(protocol.source.url.split()) in "".join(text.split())


@SCREEN
@pytest.mark.parametrize("ident", [ident for ident, each in PROTOCOLS.items() if isinstance(each, WeeklyProtocol)])
def test_the_page_of_a_weekly_protocol_says_what_is_done_at_each_count(ident: str, width: int) -> None:
    text = shown(console.protocol_page(PROTOCOLS[ident]), width)
    told = words(text)
    for part in ("Platelets ×10⁹/L", "While dosing", "While on hold"):
        assert part in told
    lines = [words(line) for line in text.splitlines()]
    for row in decision_table([PROTOCOLS[ident]]):
        assert any(line.startswith(f"{row.counts} {row.doing[0].split()[0]}") for line in lines), row.counts


@SCREEN
@pytest.mark.parametrize("ident", PROTOCOLS)
def test_the_page_of_a_protocol_says_all_its_settings(ident: str, width: int) -> None:
    told = words(shown(console.protocol_page(PROTOCOLS[ident]), width))
    for setting, value in settings(PROTOCOLS[ident]).items():
        assert f"{setting} {value}" in told


def test_the_page_of_a_single_dose_has_no_counts() -> None:
    told = words(shown(console.protocol_page(PROTOCOLS["us-hs-ars"]), 80))
    assert "schedule one dose" in told
    assert "10 micrograms/kg" in told
    assert "While dosing" not in told
    assert "Platelets" not in told.partition("Where each rule")[0]


def test_a_page_without_notes_and_unprinted_rules_has_no_heads_for_them() -> None:
    told = shown(console.protocol_page(replace(US, notes={}, unprinted=())), 80)
    assert "Notes" not in told
    assert "unprinted" not in told


def test_a_review_is_told_with_its_day() -> None:
    reviewed = replace(US, source=replace(US.source, reviewer="A. Pharmacist", reviewed_on="2026-12-01"))
    assert "reviewed by A. Pharmacist, 2026-12-01" in words(shown(console.protocol_page(reviewed), 80))
    listed = words(shown(console.protocol_list([reviewed]), 140))
    assert "A. Pharmacist, 2026-12-01" in listed


def test_the_list_names_every_protocol_with_what_it_is_and_who_reviewed_it() -> None:
    found = rows(console.protocol_list(PROTOCOLS.values()))
    assert [(row["Id"], row["Title"]) for row in found] == [(ident, each.title) for ident, each in PROTOCOLS.items()]
    assert [row["Status"] for row in found] == ["case report"] + ["label"] * 7
    assert {row["Reviewed by"] for row in found} == {"nobody yet"}


@ANY_SCREEN
def test_the_list_cuts_nothing(width: int) -> None:
    text = shown(console.protocol_list(PROTOCOLS.values()), width)
    assert too_wide(text, width) == []
    assert "…" not in text
    assert "None" not in text
    for ident, protocol in PROTOCOLS.items():
        assert ident in text.split()
        assert set(protocol.title.split()) <= set(text.split())


def test_a_title_without_spaces_is_folded() -> None:
    title = "血小板減少症" * 10
    text = shown(console.protocol_list([replace(US, title=title)]), 80)
    assert too_wide(text, 80) == []
    assert title in "".join(re.findall(r"[血小板減少症]+", text))


@ANY_SCREEN
def test_a_refused_protocol_stands_in_the_list_with_what_is_wrong(width: int) -> None:
    text = words(shown(console.protocol_list([US, ("ours", "not TOML: [bold]x")]), width))
    assert text.endswith("ours REFUSED: not TOML: [bold]x")


# Differences


@ANY_SCREEN
@pytest.mark.parametrize(("one", "other"), list(combinations(PROTOCOLS, 2)))
def test_the_differences_of_two_protocols_read_well(one: str, other: str, width: int) -> None:
    text = shown(console.protocol_difference(PROTOCOLS[one], PROTOCOLS[other]), width)
    assert too_wide(text, width) == []
    assert not re.search(r"\bNone\b|\x1b", text)


def test_where_two_labels_part_settings_come_first_then_counts() -> None:
    eu = PROTOCOLS["eu-itp-adult"]
    shown_parts = console.protocol_difference(US, eu)
    assert isinstance(shown_parts, Group)
    settings_table, *_, counts_table = shown_parts.renderables
    assert isinstance(settings_table, Table)
    assert isinstance(counts_table, Table)
    assert [tuple(row.values()) for row in rows(settings_table)] == differences(US, eu)
    parting = [band for band in decision_table([US, eu]) if band.doing[:2] != band.doing[2:]]
    assert [tuple(row.values()) for row in rows(counts_table)] == [(band.counts, *band.doing) for band in parting]
    assert [band.counts for band in parting] == [
        "exactly 150",
        "above 150 to below 200",
        "exactly 200",
        "above 250 to 400",
    ]


@SCREEN
def test_protocols_that_part_at_no_count_say_so(width: int) -> None:
    text = words(shown(console.protocol_difference(US, PROTOCOLS["us-itp-paediatric"]), width))
    assert "1 to 17 years" in text
    assert text.endswith("At every count both do the same.")


def test_a_weekly_protocol_and_a_single_dose_have_no_counts_to_compare() -> None:
    text = words(shown(console.protocol_difference(US, PROTOCOLS["us-hs-ars"]), 80))
    assert "schedule once a week one dose" in text
    assert "Counts" not in text
    assert "At every count" not in text


def test_a_protocol_and_itself_have_the_same_settings() -> None:
    text = shown(console.protocol_difference(US, US), 80)
    assert text == "us-itp-adult and us-itp-adult have the same settings.\n"


@ANY_SCREEN
def test_the_differences_cut_nothing(width: int) -> None:
    for one, other in combinations(PROTOCOLS.values(), 2):
        text = shown(console.protocol_difference(one, other), width)
        assert "…" not in text
        for difference in differences(one, other):
            whole = {part for part in " ".join(difference).split() if len(part) <= 20}
            assert whole <= set(text.split())


def test_where_a_table_of_counts_is_too_wide_each_is_a_list_with_its_unit() -> None:
    text = words(shown(console.protocol_difference(US, PROTOCOLS["eu-itp-adult"]), 40))
    assert "hold at us-itp-adult: above 400 ×10⁹/L eu-itp-adult: above 250 ×10⁹/L" in text
    assert text.endswith(
        "Platelets ×10⁹/L: above 250 to 400 "
        "us-itp-adult: dosing: reduce by 1 microgram/kg (2 weeks in a row) us-itp-adult: on hold: stay on hold "
        "eu-itp-adult: dosing: hold eu-itp-adult: on hold: stay on hold"
    )


# Checks

A_FILE = Path("instance/protocols/ours.toml")


def test_a_sound_file_is_said_to_be_in_order_and_whether_it_has_examples() -> None:
    assert shown(console.checked(A_FILE, 43), 80) == f"{A_FILE}: in order, 43 examples agree\n"
    assert shown(console.checked(A_FILE, 0), 80) == f"{A_FILE}: in order, but without examples\n"


def test_a_refused_file_has_its_faults_line_by_line() -> None:
    faults = [
        Fault("id", "P1: x"),
        Fault("example '[bold]a[/bold]'", 'action: "hold", not nothing'),
        Fault("", "not TOML"),
    ]
    assert shown(console.refused(A_FILE, faults), 80).splitlines() == [
        f"{A_FILE}: REFUSED",
        "  id: P1: x",
        "  example '[bold]a[/bold]': action: \"hold\", not nothing",
        "  not TOML",
    ]


# Texts are shown as they are

MARKUP = "[bold]not bold[/bold] [red]x[/] [link=x]y[/link] [/]"
EMOJI = "take one :pill: a day, 1:100:2"


def with_text(text: str) -> Protocol:
    """A protocol with a text wherever it has room for one."""
    source = replace(
        US.source, document=text, cited_as=text, edition=text, section=text, reviewer=text, reviewed_on="2026-01-01"
    )
    return replace(
        US,
        title=text,
        indication=text,
        eligibility=(text,),
        source=source,
        citations={"increase": text},
        unprinted=(Unprinted("hold", text),),
        notes={text: text},
    )


def everything(protocol: Protocol) -> str:
    """All that is shown of a protocol, without line breaks."""
    parts = [
        console.protocol_page(protocol),
        console.protocol_list([protocol, ("ours", protocol.title)]),
        console.protocol_difference(protocol, US),
        console.recommendation(answered(course(), protocol)),
        console.recommendation(answered(course(doses=[]), protocol)),
        console.replayed((), protocol.title),
        console.refused(A_FILE, [Fault(protocol.title, protocol.title)]),
        console.checked(Path(protocol.title), 1),
    ]
    return words(" ".join(shown(part, 5000) for part in parts))


def test_no_markup_is_interpreted() -> None:
    text = everything(with_text(MARKUP))
    assert text.count(MARKUP) == everything(with_text("plain text")).count("plain text")


def test_no_emoji_is_put_in_place_of_a_text() -> None:
    text = everything(with_text(EMOJI))
    assert text.count(EMOJI) == everything(with_text("plain text")).count("plain text")


ESCAPES: dict[str, dict[str, object]] = {
    "title": {"title": "red \x1b[31mtext"},
    "citation": {"citations": {"increase": "red \x1b[31mtext"}},
    "unprinted": {"unprinted": [{"rule": "hold", "text": "red \x1b[31mtext"}]},
    "note": {"notes": {"red": "red \x1b[31mtext"}},
    "key of a note": {"notes": {"red \x1b[31mtext": "red"}},
    "eligibility": {"population": {"minimum_age_years": 18, "eligibility": ["red \x1b[31mtext"], "indication": "x"}},
}


@pytest.mark.parametrize("name", ESCAPES)
def test_no_escape_sequence_of_a_file_reaches_the_terminal(name: str) -> None:
    document = tomllib.loads((SHIPPED / "us-itp-adult.toml").read_text(encoding="utf-8"))
    try:
        protocol = read_protocol(document | ESCAPES[name], name="us-itp-adult", sha256="0" * 64)
    except InvalidProtocol as refusal:
        told = shown(console.refused(A_FILE, refusal.faults), 80)
    else:
        told = everything(protocol)
    assert "\x1b" not in told


def test_what_a_terminal_would_obey_reaches_it_in_no_text_and_no_cell(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "red \x1b[31m\x1b]0;title\x07\x9b2J\r\u202e"
    rows = table(hostile)
    rows.add_row(hostile)
    console.out().print(f"one\ntwo {hostile}", rows)
    with pytest.raises(click.exceptions.Exit):
        refuse(3, hostile, [Fault(hostile, hostile)])
    told = "".join(capsys.readouterr())
    assert "one\ntwo red \\u001b[31m" in told
    assert told.replace("\n", "").isprintable()


# The console


@pytest.mark.parametrize(
    ("columns", "terminal", "width"),
    [
        # what COLUMNS says, what the terminal says, how wide it is
        ("40", 100, 40),
        ("80", 100, 80),
        ("140", 100, 140),
        ("300", 100, 140),
        ("39", 100, 40),
        ("1", 100, 40),
        (None, 100, 100),
        (None, 39, 40),
        (None, 141, 140),
        (None, None, 120),
        (None, 0, 120),
        *[(said, terminal, terminal or 120) for said in ("", "0", "-5", "wide", "²") for terminal in (100, None, 0)],
    ],
)
def test_the_console_is_as_wide_as_is_said_but_no_wider_and_no_narrower_than_reads_well(
    monkeypatch: pytest.MonkeyPatch, columns: str | None, terminal: int | None, width: int
) -> None:
    def size(_: int) -> os.terminal_size:
        if terminal is None:
            raise OSError(ENOTTY, "no terminal")
        return os.terminal_size((terminal, 0))

    monkeypatch.setattr(os, "get_terminal_size", size)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert console.out().width == width
