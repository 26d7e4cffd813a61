"""From µg/kg to syringe and vials: published and computed examples, rounding, and what could not be verified."""

from __future__ import annotations

from decimal import Decimal
from itertools import product

import pytest

from titrator.titration.preparation import VIALS, fewest_vials, preparation_of, prepare

ALL = (125, 250, 500)
D = Decimal

# kg, µg/kg, µg, mL, µg/mL, delivered µg, vials largest first, left over
EXAMPLES = [
    # published: US label of 2011, EU SmPC, the case report, and the vials' own contents
    ("75", "1", "75", "0.15", 500, "75", {125: 1}, "50"),
    ("10", "1", "10", "0.08", 125, "10", {125: 1}, "115"),
    ("58.1", "1", "58.1", "0.12", 500, "60", {125: 1}, "65"),
    ("58.1", "8.6", "499.66", "1", 500, "500", {500: 1}, "0"),
    ("125", "1", "125", "0.25", 500, "125", {125: 1}, "0"),
    ("250", "1", "250", "0.5", 500, "250", {250: 1}, "0"),
    # computed from the published formula
    ("22.9", "1", "22.9", "0.18", 125, "22.5", {125: 1}, "102.5"),
    ("22.999", "1", "22.999", "0.18", 125, "22.5", {125: 1}, "102.5"),
    ("23", "1", "23", "0.05", 500, "25", {125: 1}, "100"),
    ("15", "2", "30", "0.06", 500, "30", {125: 1}, "95"),
    ("9.2", "2", "18.4", "0.15", 125, "18.75", {125: 1}, "106.25"),
    ("60", "9", "540", "1.08", 500, "540", {500: 1, 125: 1}, "85"),
    ("80", "10", "800", "1.6", 500, "800", {500: 1, 250: 1, 125: 1}, "75"),
    ("125", "10", "1250", "2.5", 500, "1250", {500: 2, 250: 1}, "0"),
    ("62.5", "1", "62.5", "0.13", 500, "65", {125: 1}, "60"),
    ("67.5", "1", "67.5", "0.14", 500, "70", {125: 1}, "55"),
    ("12", "1", "12", "0.1", 125, "12.5", {125: 1}, "112.5"),
    ("70", "3", "210", "0.42", 500, "210", {250: 1}, "40"),
    ("3.5", "10", "35", "0.07", 500, "35", {125: 1}, "90"),
    ("400", "10", "4000", "8", 500, "4000", {500: 8}, "0"),
    ("0.5", "1", "0.5", "0", 125, "0", {}, "0"),
    ("0.625", "1", "0.625", "0.01", 125, "1.25", {125: 1}, "123.75"),
]


@pytest.mark.parametrize(("kg", "level", "micrograms", "volume", "strength", "delivered", "vials", "waste"), EXAMPLES)
def test_a_dose_is_drawn_up(
    kg: str, level: str, micrograms: str, volume: str, strength: int, delivered: str, vials: dict[int, int], waste: str
) -> None:
    dose = prepare(D(level), D(kg), None, ALL)
    assert (dose.level, dose.micrograms, dose.volume, dose.concentration) == (
        D(level),
        D(micrograms),
        D(volume),
        strength,
    )
    assert (dose.delivered, dict(dose.vials), dose.waste, dose.capped) == (D(delivered), vials, D(waste), False)


@pytest.mark.parametrize(
    ("most", "micrograms", "capped"),
    [("500", "500", True), ("580.9", "580.9", True), ("581", "581", False), ("600", "581", False)],
)
def test_a_dose_is_cut_to_the_maximum_in_micrograms(most: str, micrograms: str, capped: bool) -> None:
    dose = prepare(D(10), D("58.1"), D(most), ALL)
    assert (dose.micrograms, dose.capped, dose.level) == (D(micrograms), capped, 10)


def test_japan_takes_two_vials_of_250_for_500_micrograms() -> None:
    assert fewest_vials(D(500), (250,)) == (((250, 2),), 500)


@pytest.mark.parametrize("sizes", [ALL, (250,), (125, 500), (100, 250), (60, 100, 150), (7, 11)])
def test_vials_leave_the_least_and_are_the_fewest(sizes: tuple[int, ...]) -> None:
    """Against trying every combination."""
    for micrograms in (D("1.25"), D(59), D(100), D(125), D("125.01"), D(160), D(199), D(250), D(305), D(500), D(700)):
        vials, held = fewest_vials(micrograms, sizes)
        most = [range(int(micrograms // size) + 2) for size in sizes]
        holding = [
            (sum(n * size for n, size in zip(numbers, sizes, strict=True)), sum(numbers)) for numbers in product(*most)
        ]
        assert (held, sum(number for _, number in vials)) == min(pair for pair in holding if pair[0] >= micrograms)
        assert sum(size * number for size, number in vials) == held
        assert [size for size, _ in vials] == sorted({size for size, _ in vials}, reverse=True)


def test_of_equal_combinations_the_one_with_the_largest_vial_stands() -> None:
    assert fewest_vials(D(400), (100, 200, 300)) == (((300, 1), (100, 1)), 400)


@pytest.mark.parametrize(
    ("size", "contains", "water", "saline", "verified"),
    [
        (125, 230, "0.44", "1.38", (False, False)),
        (250, 375, "0.72", "2.25", (True, True)),
        (500, 625, "1.2", "3.75", (True, False)),
    ],
)
def test_each_vial_has_its_own_line(
    size: int, contains: int, water: str, saline: str, verified: tuple[bool, bool]
) -> None:
    reconstituting, diluting = VIALS[size].lines(D(125))
    assert VIALS[size].lines(D(500)) == [reconstituting]
    assert reconstituting.text == (
        f"{size} microgram vial (contains {contains} micrograms): add {water} mL of water for injection, which makes "
        "500 micrograms/mL."
    )
    assert diluting.text == (
        f"Then add {saline} mL of preservative-free sodium chloride 0.9 %, which makes 125 micrograms/mL."
    )
    assert (reconstituting.verified, diluting.verified) == verified


@pytest.mark.parametrize("size", VIALS)
def test_the_dilution_makes_125_micrograms_per_ml(size: int) -> None:
    """All that the vial contains, at 500 and then at 125 micrograms/mL; 0.44 mL is the one that does not come out."""
    vial = VIALS[size]
    assert vial.printed == size
    assert D(vial.contains) / 125 - D(vial.contains) / 500 == vial.saline
    assert D(vial.contains) / 500 - vial.water == {125: D("0.02"), 250: D("0.03"), 500: D("0.05")}[size]


def test_a_diluted_dose_says_how_to_dilute_and_how_long_it_keeps() -> None:
    lines = preparation_of(prepare(D(1), D(10), None, ALL))
    assert [line.verified for line in lines] == [False, False, True, True, True, True, True, True, True]
    assert lines[4].text == "Draw up 0.08 mL (10 micrograms at 125 micrograms/mL), inject under the skin once."
    assert "4 hours" in lines[-1].text
    assert all(line.source for line in lines)


def test_an_undiluted_dose_says_nothing_of_dilution() -> None:
    lines = preparation_of(prepare(D(8), D(80), None, ALL))
    texts = [line.text for line in lines]
    assert [text[:10] for text in texts[:3]] == ["500 microg", "250 microg", "Reconstitu"]
    assert not any("sodium chloride" in text or "diluted" in text for text in texts)
    assert any("24 hours" in text for text in texts)
    assert any("do not shake" in text for text in texts)


def test_a_vial_that_is_not_known_refers_to_its_label() -> None:
    line = preparation_of(prepare(D(1), D(80), None, (100,)))[0]
    assert line.text == "100 microgram vial: see its own label."
    assert not line.verified
