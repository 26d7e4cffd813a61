"""A dose that a person chooses: how it is prepared, the protocol's limits, the ceiling, and what departs from it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.support import CATALOGUE, answer, count, dose, event, said, weight
from titrator.titration.override import (
    CEILING,
    Choice,
    above_maximum,
    above_maximum_of_a_week,
    ceiling_exceeded,
    chosen_dose,
    departs,
    far_more,
    highest_by_step,
    is_early,
    is_late,
    maximum_exceeded,
    of_a_week,
    usual_day,
    within,
)

ALL = (125, 250, 500)
D = Decimal

# level and µg as chosen, kg; the level, µg, mL, µg/mL and delivered µg that come of it
CHOSEN = [
    ("2", None, "75", "2", "150", "0.3", 500, "150"),
    ("8.6", None, "58.1", "8.6", "499.66", "1", 500, "500"),
    ("0.5", None, "45.9", "0.5", "22.95", "0.18", 125, "22.5"),
    ("0.5", None, "46", "0.5", "23", "0.05", 500, "25"),
    ("0.001", None, "75", "0.001", "0.075", "0", 125, "0"),
    (None, "150", "75", "2", "150", "0.3", 500, "150"),
    (None, "200", "75", "2.67", "200", "0.4", 500, "200"),
    (None, "22.9", "75", "0.31", "22.9", "0.18", 125, "22.5"),
    (None, "23", "75", "0.31", "23", "0.05", 500, "25"),
    (None, "0.6", "75", "0.01", "0.6", "0", 125, "0"),
    (None, "0.625", "75", "0.01", "0.625", "0.01", 125, "1.25"),
]

# protocol, level or µg chosen for 100 kg, whether within and whether above the maximum; each limit below, at, above
LIMITS = [
    ("us-itp-adult", "0.99", None, False, False),
    ("us-itp-adult", "1", None, True, False),
    ("us-itp-adult", "1.01", None, True, False),
    ("us-itp-adult", "9.99", None, True, False),
    ("us-itp-adult", "10", None, True, False),
    ("us-itp-adult", "10.01", None, False, True),
    ("us-itp-adult", None, "99.4", False, False),
    ("us-itp-adult", None, "99.5", True, False),
    ("us-itp-adult", None, "1000.4", True, False),
    ("us-itp-adult", None, "1000.5", False, True),
    ("cart-2021-case", "4.99", None, True, False),
    ("cart-2021-case", "5", None, True, False),
    ("cart-2021-case", "5.01", None, False, True),
    ("cart-2021-case", None, "499.9", True, False),
    ("cart-2021-case", None, "500", True, False),
    ("cart-2021-case", None, "500.1", False, True),
    ("us-hs-ars", "9.99", None, False, False),
    ("us-hs-ars", "10", None, True, False),
    ("us-hs-ars", "10.01", None, False, True),
]

# protocol, µg that somebody ordered, kg; what the maximum comes to, None if it is not plainly exceeded
MAXIMA = [
    ("us-itp-adult", "749", "75", None),
    ("us-itp-adult", "750", "75", None),
    ("us-itp-adult", "752.5", "75", None),  # half a graduation of the syringe is 2.5
    ("us-itp-adult", "752.6", "75", "750"),
    ("us-itp-adult", "99999", None, None),
    ("cart-2021-case", "502.5", "75", None),
    ("cart-2021-case", "502.6", "75", "500"),
    ("cart-2021-case", "502.6", None, "500"),
    ("cart-2021-case", "346.6", "40", "344"),
    ("us-hs-ars", "752.6", "75", "750"),
]

# µg planned; days ago and µg of doses given; weights in kg; how many µg are allowed, None if they are not exceeded
CEILINGS: list[tuple[str, list[tuple[int, str]], list[str], str | None]] = [
    ("1499.9", [], ["75"], None),
    ("1500", [], ["75"], None),
    ("1500.1", [], ["75"], "1500"),
    ("749.9", [(6, "750")], ["75"], None),
    ("750", [(6, "750")], ["75"], None),
    ("750.1", [(6, "750")], ["75"], "1500"),
    ("750.1", [(7, "750")], ["75"], None),
    ("750.1", [(-1, "750")], ["75"], None),
    ("750.1", [(0, "400"), (3, "350")], ["75"], "1500"),
    ("1500", [], ["80", "75"], None),
    ("1500.1", [], ["80", "75"], "1500"),
    ("1500.1", [], ["75", "80"], "1500"),
    ("0", [(0, "1500.1")], ["75"], "1500"),
    ("1246", [], ["62.3"], None),
    ("1246.0000000000000000000000000001", [], ["62.3"], "1246"),
    ("99999", [(0, "99999")], [], None),
]

# µg given, µg decided, whether that departs: by more than 2.5 µg, or 0.625 below 23
DEPARTURES = [
    ("147.6", "150", False),
    ("147.5", "150", False),
    ("147.4", "150", True),
    ("152.4", "150", False),
    ("152.5", "150", False),
    ("152.6", "150", True),
    ("25.5", "23", False),
    ("25.6", "23", True),
    ("20.5", "23", False),
    ("21.875", "22.5", False),
    ("21.8", "22.5", True),
    ("23.125", "22.5", False),
    ("23.2", "22.5", True),
    ("23.6", "22.99", False),
]

TWO = {"doses": [dose(14, 200, 2), dose(7, 200, 2)]}
LEVEL = "2.000000000000000000000001"
FINE: dict[str, Any] = {"doses": [dose(14, 200, 2), {**dose(7, 200), "micrograms_per_kg": D(LEVEL)}]}
TEN = {"doses": [dose(14, 1000, 10), dose(7, 1000, 10)]}

# protocol, what happened, the answer, and the highest level that whoever signs may choose alone
STEPS: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("us-itp-adult", TWO | {"platelet_counts": [count(0, 90)]}, "maintain IN-RANGE 2", "3"),
    (
        "us-itp-adult",
        FINE | {"platelet_counts": [count(0, 90)]},
        f"maintain IN-RANGE {LEVEL} | OFF-PROTOCOL-DOSE",
        f"3{LEVEL[1:]}",
    ),
    ("us-itp-adult", TEN | {"platelet_counts": [count(0, 30)]}, "maintain AT-MAXIMUM 10", "11"),
    ("us-itp-adult", TWO | {"platelet_counts": [count(0, 250)]}, "maintain ABOVE-RANGE-UNCONFIRMED 2", "2"),
    (
        "us-itp-adult",
        TWO | {"platelet_counts": [count(0, 250)], "events": [event(1, "platelet_transfusion")]},
        "maintain ABOVE-RANGE-CONFOUNDED 2 | COUNT-CONFOUNDED",
        "2",
    ),
    ("us-itp-adult", TWO | {"platelet_counts": [count(0, 30)]}, "increase BELOW-TARGET 3", "3"),
    ("jp-itp-adult", TWO | {"platelet_counts": [count(0, 250)]}, "reduce ABOVE-RANGE 1", "1"),
    ("us-itp-adult", TWO | {"platelet_counts": [count(0, 450)]}, "hold ABOVE-HOLD-LIMIT", None),
    (
        "us-itp-adult",
        TWO | {"platelet_counts": [count(6, 450), count(0, 90)]},
        "resume RESUME-AFTER-HOLD 1 | LARGE-FALL",
        "1",
    ),
    ("us-itp-adult", {"weights": [weight(0, 100)], "platelet_counts": [count(0, 30)]}, "start START 1", "1"),
    ("us-itp-adult", {}, "incomplete COUNT-MISSING WEIGHT-STALE", None),
    ("us-hs-ars", {}, "start START 10", "10"),
]


def amount(text: str | None) -> Decimal | None:
    return None if text is None else D(text)


@pytest.mark.parametrize(
    ("level", "micrograms", "kg", "to_level", "to_micrograms", "volume", "strength", "delivered"), CHOSEN
)
def test_a_chosen_dose_is_prepared(
    level: str | None,
    micrograms: str | None,
    kg: str,
    to_level: str,
    to_micrograms: str,
    volume: str,
    strength: int,
    delivered: str,
) -> None:
    dose = chosen_dose(Choice(amount(level), amount(micrograms)), D(kg), ALL)
    assert (dose.level, dose.micrograms) == (D(to_level), D(to_micrograms))
    assert (dose.volume, dose.concentration, dose.delivered) == (D(volume), strength, D(delivered))
    assert dose.capped is False, "nothing cuts what a person chose"


def test_the_vials_are_those_of_the_protocol() -> None:
    dose = chosen_dose(Choice(micrograms=D(500)), D(75), CATALOGUE.get("jp-itp-adult").vials)
    assert dose.vials == ((250, 2),)


@pytest.mark.parametrize(("protocol", "level", "micrograms", "inside", "above"), LIMITS)
def test_the_protocols_limits(
    protocol: str, level: str | None, micrograms: str | None, inside: bool, above: bool
) -> None:
    rules = CATALOGUE.get(protocol)
    dose = chosen_dose(Choice(amount(level), amount(micrograms)), D(100), rules.vials)
    assert (within(rules, dose), above_maximum(rules, dose)) == (inside, above)


def test_the_published_case_ends_at_its_level_where_that_is_less() -> None:
    """8.6 micrograms/kg: for 50 kg that is 430 micrograms, and the maximum of 500 is not reached."""
    rules = CATALOGUE.get("cart-2021-case")
    found = [above_maximum(rules, chosen_dose(Choice(level=D(one)), D(50), ALL)) for one in ("8.59", "8.6", "8.61")]
    assert found == [False, False, True]


@pytest.mark.parametrize(
    ("protocol", "level", "given", "so"),
    [
        ("us-itp-adult", "10", "0", False),
        ("us-itp-adult", "10.01", "0", True),
        ("us-itp-adult", "4", "360", False),
        ("us-itp-adult", "4", "360.01", True),
        ("us-itp-adult", "10.01", "1", True),
        ("cart-2021-case", "4", "260", False),  # 8.6 micrograms/kg are 516, and nobody is given more than 500
        ("cart-2021-case", "4", "260.01", True),
    ],
)
def test_the_maximum_counts_with_what_was_given_in_the_week(protocol: str, level: str, given: str, so: bool) -> None:
    rules, kg = CATALOGUE.get(protocol), D(60)
    dose = chosen_dose(Choice(level=D(level)), kg, rules.vials)
    assert above_maximum_of_a_week(rules, dose, D(given), kg) is so


@pytest.mark.parametrize(("last", "due"), [(None, 100), (100, 107), (94, 101), (93, 100), (92, 100)])
def test_a_dose_without_a_day_is_due_a_week_after_the_last(last: int | None, due: int) -> None:
    assert usual_day(last, 100) == due


def test_a_week_ends_on_its_day() -> None:
    assert of_a_week([(1, D(1)), (2, D(2)), (8, D(4)), (9, D(8))], 8) == 6


@pytest.mark.parametrize(("protocol", "course", "told", "highest"), STEPS)
def test_a_step_above_what_is_kept_and_no_more_than_what_is_changed(
    protocol: str, course: dict[str, Any], told: str, highest: str | None
) -> None:
    found = answer(protocol, **course)
    assert (said(found), highest_by_step(found)) == (told, amount(highest))


@pytest.mark.parametrize(("planned", "given", "weights", "allowed"), CEILINGS)
def test_the_ceiling_of_any_seven_days(
    planned: str, given: list[tuple[int, str]], weights: list[str], allowed: str | None
) -> None:
    """Not more than 20 micrograms/kg in the seven days that end on the day, by the least of the weights."""
    assert CEILING == 20
    day = 739_000
    doses = [(day - ago, D(micrograms)) for ago, micrograms in given]
    found = ceiling_exceeded(doses, day, [D(kg) for kg in weights], D(planned))
    assert found == (None if allowed is None else D(allowed))


@pytest.mark.parametrize(("given", "decided", "so"), DEPARTURES)
def test_half_a_graduation_is_the_same_dose(given: str, decided: str, so: bool) -> None:
    assert departs(D(given), D(decided)) is so


@pytest.mark.parametrize(
    ("days", "early", "late"), [(-2, True, False), (-1, False, False), (3, False, False), (4, False, True)]
)
def test_a_dose_has_its_time(days: int, early: bool, late: bool) -> None:
    """From the day before it is due, six days after the last one, to three days after."""
    due = 739_000
    assert (is_early(due + days, due), is_late(due + days, due)) == (early, late)


@pytest.mark.parametrize(("ident", "micrograms", "kg", "most"), MAXIMA)
def test_more_than_the_maximum_of_a_protocol_is_told(
    ident: str, micrograms: str, kg: str | None, most: str | None
) -> None:
    found = maximum_exceeded(CATALOGUE.get(ident), D(micrograms), None if kg is None else D(kg))
    assert found == (None if most is None else D(most))


@pytest.mark.parametrize(("ordered", "far"), [("299.9", False), ("300", False), ("300.1", True)])
def test_more_than_twice_what_is_expected_is_far_more(ordered: str, far: bool) -> None:
    assert far_more(D(ordered), D(150)) is far
