"""Protocols in words: every count falls into one row of a decision table, and the row says what the engine does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import combinations, pairwise, product

import pytest

from titrator.protocols import Catalogue
from titrator.titration.codes import Action
from titrator.titration.course import Count, Course, Dose, Weight
from titrator.titration.protocol import Limit, WeeklyProtocol
from titrator.titration.quantities import plain
from titrator.titration.recommend import recommend
from titrator.workflow.compare import Band, Difference, decision_table, differences, settings

CATALOGUE = Catalogue()
PROTOCOLS = {ident: CATALOGUE.get(ident) for ident in CATALOGUE.ids()}
WEEKLY = {ident: protocol for ident, protocol in PROTOCOLS.items() if isinstance(protocol, WeeklyProtocol)}
US, EU, ONCE = WEEKLY["us-itp-adult"], WEEKLY["eu-itp-adult"], PROTOCOLS["us-hs-ars"]
NEAR = [Decimal("-0.001"), Decimal(0), Decimal("0.001")]
ON = 740_000  # a day


def limits(protocol: WeeklyProtocol) -> list[Limit]:
    return [limit for limit in (protocol.increase, protocol.reduce, protocol.hold, protocol.resume) if limit]


def near_the_limits(protocols: Sequence[WeeklyProtocol]) -> list[Decimal]:
    """Each limit with its nearest neighbours, and a count from each range between."""
    borders = {limit.value for protocol in protocols for limit in limits(protocol)}
    between = [(low + high) / 2 for low, high in pairwise([Decimal(0), *sorted(borders), Decimal(1000)])]
    return sorted([*between, *(border + near for border in borders for near in NEAR)])


#: 0 to 1000 in steps of 0.5, and the limits of all protocols.
COUNTS = [Decimal(half) / 2 for half in range(2001)] + near_the_limits(list(WEEKLY.values()))
RANGES = {
    r"below (\S+)": lambda count, high: count < high,
    r"(\S+) or below": lambda count, high: count <= high,
    r"exactly (\S+)": lambda count, only: count == only,
    r"([\d.]+) to ([\d.]+)": lambda count, low, high: low <= count <= high,
    r"([\d.]+) to below (\S+)": lambda count, low, high: low <= count < high,
    r"above (\S+) to ([\d.]+)": lambda count, low, high: low < count <= high,
    r"above (\S+) to below (\S+)": lambda count, low, high: low < count < high,
    r"above (\S+)": lambda count, low: count > low,
    r"(\S+) or above": lambda count, low: count >= low,
}


def reading(counts: str) -> Callable[[Decimal], bool]:
    """Whether a count is in a range, read as a person reads it."""
    for pattern, test in RANGES.items():
        if match := re.fullmatch(pattern, counts):
            numbers = [Decimal(number) for number in match.groups()]
            return lambda count: test(count, *numbers)
    pytest.fail(f"no range: {counts}")


def row_of(table: Sequence[Band], count: Decimal) -> Band:
    """The one row that a count is in."""
    (row,) = [row for row in table if reading(row.counts)(count)]
    return row


def step_of(protocol: WeeklyProtocol) -> str:
    return rf"{re.escape(plain(protocol.step))} micrograms?/kg"


def while_dosing(protocol: WeeklyProtocol, count: Decimal) -> str:
    """What the limits of a protocol say of a count, as the pattern of what a table says."""
    if protocol.hold.holds(count):
        return "hold"
    if all(limit.holds(count) for limit in protocol.maintain):
        return "keep"
    if count <= protocol.increase.value:
        return f"increase by {step_of(protocol)}"
    weeks = "" if protocol.reduce_weeks == 1 else rf"\b.*\b{protocol.reduce_weeks} weeks in a row.*"
    return f"reduce by {step_of(protocol)}{weeks}"


def while_on_hold(protocol: WeeklyProtocol, count: Decimal) -> str:
    if protocol.hold.holds(count):
        return "stay on hold"
    if protocol.resume is None:
        return "refer"
    return f"resume {step_of(protocol)} lower" if protocol.resume.holds(count) else "stay on hold"


def assert_each_count_is_in_one_row_that_tells_the_truth(
    protocols: Sequence[WeeklyProtocol], counts: Sequence[Decimal]
) -> None:
    rows = [(reading(row.counts), row.doing) for row in decision_table(protocols)]
    for count in counts:
        (doing,) = [doing for covers, doing in rows if covers(count)]
        expected = [say(protocol, count) for protocol in protocols for say in (while_dosing, while_on_hold)]
        for said, pattern in zip(doing, expected, strict=True):
            assert re.fullmatch(pattern, said), f"{said} at {count}"


# Decision tables

TABLES: dict[str, list[tuple[str, str, str]]] = {  # by the first word of what is done
    "us-itp-adult": [
        ("below 50", "increase", "resume"),
        ("50 to below 200", "keep", "resume"),
        ("exactly 200", "keep", "stay"),
        ("above 200 to 400", "reduce", "stay"),
        ("above 400", "hold", "stay"),
    ],
    "eu-itp-adult": [
        ("below 50", "increase", "resume"),
        ("50 to below 150", "keep", "resume"),
        ("exactly 150", "keep", "stay"),
        ("above 150 to 250", "reduce", "stay"),
        ("above 250", "hold", "stay"),
    ],
    "eu-itp-adult-higher-cutoffs": [
        ("below 50", "increase", "refer"),
        ("50 to 200", "keep", "refer"),
        ("above 200 to 400", "reduce", "refer"),
        ("above 400", "hold", "stay"),
    ],
    "jp-itp-adult": [
        ("below 50", "increase", "resume"),
        ("50 to 200", "keep", "resume"),
        ("above 200 to 400", "reduce", "stay"),
        ("above 400", "hold", "stay"),
    ],
    "cart-2021-case": [
        ("50 or below", "increase", "resume"),
        ("above 50 to below 200", "keep", "resume"),
        ("exactly 200", "keep", "stay"),
        ("above 200 to 400", "reduce", "stay"),
        ("above 400", "hold", "stay"),
    ],
}


@pytest.mark.parametrize(("ident", "rows"), TABLES.items(), ids=TABLES)
def test_the_table_of_a_label_is_this(ident: str, rows: list[tuple[str, str, str]]) -> None:
    table = decision_table([WEEKLY[ident]])
    assert [(counts, *(does.split()[0] for does in doing)) for counts, doing in table] == rows


@pytest.mark.parametrize("ident", WEEKLY)
def test_every_count_is_in_one_row_of_a_protocol(ident: str) -> None:
    assert_each_count_is_in_one_row_that_tells_the_truth([WEEKLY[ident]], COUNTS)


@pytest.mark.parametrize(("one", "other"), list(combinations(WEEKLY, 2)))
def test_every_count_is_in_one_row_of_two_protocols(one: str, other: str) -> None:
    assert_each_count_is_in_one_row_that_tells_the_truth([WEEKLY[one], WEEKLY[other]], COUNTS)


def test_every_count_is_in_one_row_of_all_protocols_together() -> None:
    assert_each_count_is_in_one_row_that_tells_the_truth(list(WEEKLY.values()), COUNTS)


MADE_UP = [
    replace(
        US,
        increase=increase,
        maintain=(increase.complement(), reduce.complement()),
        reduce=reduce,
        hold=hold,
        resume=resume,
        reduce_weeks=weeks,
        step=step,
    )
    for increase, reduce, hold, resume, (weeks, step) in product(
        [Limit("<", Decimal("30.5")), Limit("<=", Decimal("30.5"))],
        [Limit(">", Decimal(150)), Limit(">=", Decimal(150))],
        [Limit(">", Decimal("250.25")), Limit(">=", Decimal("250.25"))],
        [None, *(Limit(comparator, Decimal(value)) for comparator in ("<", "<=") for value in (100, 150, 200))],
        [(1, Decimal("0.5")), (3, Decimal(2))],
    )
]


@pytest.mark.parametrize("protocol", MADE_UP)
def test_every_count_is_in_one_row_whatever_the_comparators(protocol: WeeklyProtocol) -> None:
    assert_each_count_is_in_one_row_that_tells_the_truth([protocol], near_the_limits([protocol]))
    assert_each_count_is_in_one_row_that_tells_the_truth([protocol, EU], near_the_limits([protocol, EU]))


@pytest.mark.parametrize("protocol", [*WEEKLY.values(), *MADE_UP])
def test_a_table_has_no_more_rows_than_it_needs(protocol: WeeklyProtocol) -> None:
    assert all(one.doing != other.doing for one, other in pairwise(decision_table([protocol])))


@pytest.mark.parametrize("ident", WEEKLY)
def test_two_tables_beside_each_other_say_what_each_says_alone(ident: str) -> None:
    alone, beside = decision_table([WEEKLY[ident]]), decision_table([EU, WEEKLY[ident], US])
    for count in near_the_limits([EU, WEEKLY[ident], US]):
        assert row_of(beside, count).doing[2:4] == row_of(alone, count).doing


# What the engine does at each row

DOES = {
    "increase": (Action.INCREASE, 4),
    "keep": (Action.MAINTAIN, 3),
    "reduce": (Action.REDUCE, 2),
    "hold": (Action.HOLD, None),
    "resume": (Action.RESUME, 2),
    "stay": (Action.HOLD, None),
    "refer": (Action.REFER, None),
}
KG = Decimal(50)
THREE = Decimal(3)


def course(doses: Sequence[int], platelets: Mapping[int, Decimal]) -> Course:
    """Doses of 3 micrograms/kg so many days ago, and counts."""
    return Course(
        weights=(Weight(ON - 35, KG),),
        doses=tuple(Dose(ON - days, THREE * KG, THREE) for days in doses),
        counts=tuple(Count(ON - days, count, False) for days, count in platelets.items()),
    )


@pytest.mark.parametrize("ident", WEEKLY)
def test_the_engine_does_what_the_table_says(ident: str) -> None:
    protocol = WEEKLY[ident]
    for count in near_the_limits([protocol]):
        row = row_of(decision_table([protocol]), count)
        dosing = course([35, 28, 21, 14, 7], dict.fromkeys([14, 7, 0], count))
        on_hold = course([28, 21], {14: protocol.hold.value + 1, 0: count})
        for does, facts in zip(row.doing, (dosing, on_hold), strict=True):
            answer = recommend(protocol, facts, ON)
            level = answer.dose and answer.dose.level
            assert (answer.action, level) == DOES[does.split()[0]], f"{does} at {count}"


# Settings

WORDS: dict[str, dict[str, list[str]]] = {  # what a setting has to say, among other words
    "us-itp-paediatric": {
        "schedule": ["once a week"],
        "ages": ["1 to 17 years"],
        "confirmed before the first dose": ["nothing"],
        "dosed by": ["current weight", "84 days"],
        "vials": ["125, 250, 500 micrograms"],
        "increase at": ["below 50 ×10⁹/L"],
        "keep at": ["50 to 200 ×10⁹/L"],
        "reduce at": ["above 200 ×10⁹/L", "2 weeks in a row"],
        "hold at": ["above 400 ×10⁹/L"],
        "resume at": ["below 200 ×10⁹/L"],
    },
    "eu-itp-adult": {
        "ages": ["18 years and over"],
        "dosed by": ["baseline weight"],
        "keep at": ["50 to 150 ×10⁹/L"],
        "reduce at": ["above 150 ×10⁹/L", "2 weeks in a row"],
        "hold at": ["above 250 ×10⁹/L"],
        "resume at": ["below 150 ×10⁹/L"],
    },
    "cart-2021-case": {
        "ages": ["18 years and over"],
        "confirmed before the first dose": ["marrow-infiltration-excluded", "mds-excluded"],
        "first dose": ["1 microgram/kg"],
        "step": ["1 microgram/kg"],
        "lowest dose": ["1 microgram/kg"],
        "highest dose": ["8.6 micrograms/kg", "500 micrograms"],
        "increase at": ["50 or below ×10⁹/L"],
        "keep at": ["above 50 to 200 ×10⁹/L"],
    },
    "eu-itp-adult-higher-cutoffs": {"resume at": ["not printed"]},
    "jp-itp-adult": {
        "vials": ["250 micrograms"],
        "reduce at": ["above 200 ×10⁹/L", "1 count"],
        "resume at": ["200 or below ×10⁹/L"],
    },
    "us-hs-ars": {
        "schedule": ["one dose"],
        "dosed by": ["current weight"],
        "first dose": ["10 micrograms/kg"],
        "highest dose": ["10 micrograms/kg"],
    },
}


@pytest.mark.parametrize(
    ("ident", "setting", "parts"),
    [(ident, setting, parts) for ident, words in WORDS.items() for setting, parts in words.items()],
)
def test_a_setting_is_said_in_words_with_its_unit(ident: str, setting: str, parts: list[str]) -> None:
    said = settings(PROTOCOLS[ident])[setting]
    assert all(part in said for part in parts), said


@pytest.mark.parametrize("ident", PROTOCOLS)
def test_settings_are_texts_that_say_something(ident: str) -> None:
    said = settings(PROTOCOLS[ident])
    assert all(value.strip() and "None" not in value for value in said.values())
    assert said["indication"] == PROTOCOLS[ident].indication


@pytest.mark.parametrize("ident", [ident for ident in PROTOCOLS if ident not in WEEKLY])
def test_a_single_dose_has_no_settings_of_a_weekly_protocol(ident: str) -> None:
    weekly = {"lowest dose", "step", "increase at", "keep at", "reduce at", "hold at", "resume at"}
    assert not weekly & settings(PROTOCOLS[ident]).keys()
    assert weekly < settings(US).keys()


# Differences


DIFFERENT: list[tuple[str, str, list[str]]] = [
    ("us-itp-adult", "eu-itp-adult", ["indication", "keep at", "reduce at", "hold at", "resume at"]),
    ("eu-itp-adult", "eu-itp-adult-higher-cutoffs", ["indication", "keep at", "reduce at", "hold at", "resume at"]),
    ("us-itp-adult", "jp-itp-adult", ["indication", "vials", "reduce at", "resume at"]),
    ("us-itp-adult", "us-itp-paediatric", ["indication", "ages", "dosed by"]),
    ("us-itp-paediatric", "eu-itp-paediatric", ["indication", "keep at", "reduce at", "hold at", "resume at"]),
]


@pytest.mark.parametrize(("one", "other", "expected"), DIFFERENT)
def test_labels_differ_in_these_settings_and_no_others(one: str, other: str, expected: list[str]) -> None:
    first, second = settings(PROTOCOLS[one]), settings(PROTOCOLS[other])
    assert differences(PROTOCOLS[one], PROTOCOLS[other]) == [
        Difference(setting, first[setting], second[setting]) for setting in expected
    ]


def test_a_single_dose_has_none_of_what_only_a_weekly_protocol_has() -> None:
    found = {difference.setting: (difference.one, difference.other) for difference in differences(ONCE, US)}
    assert found["schedule"] == ("one dose", "once a week")
    assert found["hold at"] == ("none", settings(US)["hold at"])
    assert found["step"][0] == found["lowest dose"][0] == "none"


@pytest.mark.parametrize(("one", "other"), list(product(PROTOCOLS, repeat=2)))
def test_differences_are_the_same_seen_from_the_other_side(one: str, other: str) -> None:
    there = differences(PROTOCOLS[one], PROTOCOLS[other])
    back = differences(PROTOCOLS[other], PROTOCOLS[one])
    assert sorted(there) == sorted(Difference(d.setting, d.other, d.one) for d in back)
    assert (there == []) == (one == other)


CHANGES: list[tuple[str, dict[str, object]]] = [
    ("indication", {"indication": "x"}),
    ("ages", {"minimum_age": 17}),
    ("ages", {"maximum_age": 100}),
    ("confirmed before the first dose", {"eligibility": ("mds-excluded",)}),
    ("dosed by", {"weight_maximum_age": 28}),
    ("first dose", {"start": Decimal(2)}),
    ("highest dose", {"maximum": Decimal(9)}),
    ("highest dose", {"maximum_micrograms": Decimal(500)}),
    ("vials", {"vials": (250, 500)}),
    ("lowest dose", {"minimum": Decimal("0.5")}),
    ("step", {"step": Decimal(2)}),
    ("increase at", {"increase": Limit("<=", Decimal(50))}),
    ("reduce at", {"reduce": Limit(">=", Decimal(200))}),
    ("reduce at", {"reduce_weeks": 3}),
    ("hold at", {"hold": Limit(">=", Decimal(400))}),
    ("resume at", {"resume": None}),
]


@pytest.mark.parametrize(("setting", "change"), CHANGES)
def test_a_change_of_any_setting_is_a_difference(setting: str, change: dict[str, object]) -> None:
    changed = replace(US, **change)
    assert [difference.setting for difference in differences(US, changed)] == [setting]
