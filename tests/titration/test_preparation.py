"""From µg/kg to syringe and vials: published and computed examples, rounding, and what could not be verified."""

from __future__ import annotations

from decimal import Decimal
from itertools import product

import pytest

from titrator.titration.answer import dose_of, dose_text
from titrator.titration.documents import reread
from titrator.titration.preparation import (
    VIALS,
    Sourced,
    VialsToPrepare,
    after_water,
    fewest_vials,
    preparation_of,
    prepare,
    vials_of,
)

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


VIAL_LINES = [
    (125, 230, "0.44", "1.38", (False, False)),
    (250, 375, "0.72", "2.25", (True, True)),
    (500, 625, "1.2", "3.75", (True, False)),
]


@pytest.mark.parametrize(("size", "contains", "water", "saline", "verified"), VIAL_LINES)
def test_each_vial_has_its_own_lines(
    size: int, contains: int, water: str, saline: str, verified: tuple[bool, bool]
) -> None:
    reconstitute, dilute = VIALS[size].add_water(1), VIALS[size].add_saline()
    assert reconstitute.text == (
        f"To the {size} microgram vial (contains {contains} micrograms) add {water} mL of water for injection: "
        "500 micrograms/mL. No saline and no bacteriostatic water at this step."
    )
    assert dilute.text == (
        f"Only then add {saline} mL of preservative-free sodium chloride 0.9 % to the {size} microgram vial: "
        "125 micrograms/mL."
    )
    assert (reconstitute.verified, dilute.verified) == verified
    assert VIALS[size].add_water(3).text.startswith(f"To each of 3 vials of {size} micrograms (contains {contains}")


@pytest.mark.parametrize(("size", "contains", "water", "saline", "verified"), VIAL_LINES)
def test_the_dilution_makes_125_micrograms_per_ml(
    size: int, contains: int, water: str, saline: str, verified: tuple[bool, bool]
) -> None:
    """All that the vial contains, at 500 and then at 125 micrograms/mL; powder makes up the rest of the volume."""
    assert (VIALS[size].printed, VIALS[size].contains) == (size, contains)
    assert D(contains) / 125 - D(contains) / 500 == D(saline)
    assert D(contains) / 500 - D(water) == {125: D("0.02"), 250: D("0.03"), 500: D("0.05")}[size]


def texts(level: str, kg: str, sizes: tuple[int, ...] = ALL) -> list[str]:
    return [step.text for step in preparation_of(prepare(D(level), D(kg), None, sizes))]


def test_a_diluted_dose_is_prepared_in_the_order_of_the_work() -> None:
    steps = preparation_of(prepare(D(1), D(10), None, ALL))
    assert [step.text.split(" (")[0].split(",")[0][:24] for step in steps] == [
        "To the 125 microgram via",
        "Swirl gently",
        "Only then add 1.38 mL of",
        "Draw up 0.08 mL of the d",
        "Use a syringe graduated ",
        "Each vial is for this on",
        "Diluted: use at once. If",
    ]
    assert steps[3].text == "Draw up 0.08 mL of the diluted solution (10 micrograms)."
    assert [step.verified for step in steps] == [False, True, False, True, True, True, False]
    assert all(step.source for step in steps)
    assert steps[3].source == "the dose above, rounded to 0.01 mL"


def test_an_undiluted_dose_says_nothing_of_dilution() -> None:
    steps = texts("2", "75")
    assert [step[:12] for step in steps] == [
        "To the 250 m",
        "Swirl gently",
        "Draw up 0.3 ",
        "Use a syring",
        "Each vial is",
        "Reconstitute",
    ]
    assert not any("sodium chloride" in step or "diluted solution" in step for step in steps)
    assert "24 hours" in steps[-1]


@pytest.mark.parametrize(
    ("level", "kg", "sizes", "text"),
    [
        (
            "10",
            "80",
            ALL,
            "draw up 1 mL from a 500 microgram vial + 0.5 mL from a 250 microgram vial + 0.1 mL from a 125",
        ),
        ("10", "80", ALL, "0.1 mL from a 125 microgram vial = 1.6 mL of the solution (800 micrograms)."),
        ("10", "50", (250,), "0.5 mL from a 250 microgram vial + 0.5 mL from a 250 microgram vial = 1 mL of the"),
        ("4", "75", ALL, "Into this one dose draw up 0.5 mL from a 250 microgram vial + 0.1 mL from a 125 microgram"),
    ],
)
def test_several_vials_say_how_much_from_which(level: str, kg: str, sizes: tuple[int, ...], text: str) -> None:
    assert any(text in step for step in texts(level, kg, sizes))


def test_equal_vials_are_reconstituted_alike() -> None:
    assert texts("10", "50", (250,))[0].startswith(
        "To each of 2 vials of 250 micrograms (contains 375 micrograms) add 0.72 mL"
    )


@pytest.mark.parametrize(("kg", "told"), [("50", False), ("50.5", True)])
def test_more_than_a_syringe_holds_is_told(kg: str, told: bool) -> None:
    assert any("more than a syringe of 1 mL holds" in step for step in texts("10", kg)) is told


def test_a_vial_that_is_not_known_refers_to_its_label() -> None:
    step = preparation_of(prepare(D(1), D(80), None, (100,)))[0]
    assert step == Sourced("100 microgram vial: see its own label.", "no data on this vial here", verified=False)


def test_each_size_has_its_own_water_and_its_part_of_the_volume() -> None:
    assert vials_of(prepare(D(10), D(80), None, ALL)) == [
        VialsToPrepare(500, 1, VIALS[500], (D(1),)),
        VialsToPrepare(250, 1, VIALS[250], (D("0.5"),)),
        VialsToPrepare(125, 1, VIALS[125], (D("0.1"),)),
    ]
    assert vials_of(prepare(D(10), D(50), None, (250,))) == [VialsToPrepare(250, 2, VIALS[250], (D("0.5"), D("0.5")))]


def test_nothing_is_known_of_a_vial_that_is_not_on_the_market() -> None:
    assert vials_of(prepare(D(1), D(80), None, (100,))) == [VialsToPrepare(100, 1, None, (D("0.16"),))]


@pytest.mark.parametrize(("kg", "level"), [("75", "2"), ("10", "1"), ("80", "10"), ("58.1", "8.6")])
def test_what_is_drawn_from_the_vials_is_the_volume_of_the_dose(kg: str, level: str) -> None:
    dose = prepare(D(level), D(kg), None, ALL)
    assert sum(part for vial in vials_of(dose) for part in vial.drawn) == dose.volume


def test_what_follows_the_water_is_the_end_of_the_preparation() -> None:
    dose = prepare(D(10), D(80), None, ALL)
    steps = preparation_of(dose)
    assert steps[:3] == [VIALS[size].add_water(1) for size in (500, 250, 125)]
    assert after_water(dose) == steps[3:]


@pytest.mark.parametrize(
    ("kg", "level", "micrograms"), [("75", "2", "150"), ("9.2", "2", "18.4"), ("22.999", "1", "23")]
)
def test_a_dose_is_read_back_from_its_document(kg: str, level: str, micrograms: str) -> None:
    """To 0.01 micrograms, as the document has it."""
    dose = prepare(D(level), D(kg), None, ALL)
    said = reread(dose_text(dose))
    assert isinstance(said, dict)
    assert dose_of(said) == dose._replace(micrograms=D(micrograms))
