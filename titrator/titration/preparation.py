"""From µg/kg to the syringe: micrograms, volume, vials, and how a vial is prepared.

The dose is rounded once, as a volume to the 0.01 mL that the syringe shows; everything else is exact.
docs/titration-rules.md, section 5; sources of the vial data beside `VIALS` and in docs/preparation.md.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from functools import lru_cache
from math import gcd
from typing import Final, NamedTuple

from titrator.titration.quantities import EXACT, HUNDREDTH, plain, rounded, tidy

#: Concentrations in µg/mL: reconstituted, and diluted further for small doses.
UNDILUTED: Final = Decimal(500)
DILUTED: Final = Decimal(125)
#: Doses below this many µg are diluted; the dose as computed counts, not as rounded.
DILUTED_BELOW: Final = Decimal(23)


class Vials(NamedTuple):
    """So many vials of one size, in µg as printed on the vial."""

    size: int
    number: int


class DoseToGive(NamedTuple):
    """A dose as it is drawn up: level in µg/kg, amounts in µg, volume in mL, concentration in µg/mL.

    `micrograms` is exact; `delivered` is what the volume, rounded to 0.01 mL, holds; `waste` is left in the vials.
    """

    level: Decimal
    micrograms: Decimal
    volume: Decimal
    concentration: Decimal
    delivered: Decimal
    vials: tuple[Vials, ...]
    waste: Decimal
    capped: bool


def prepare(level: Decimal, kg: Decimal, most: Decimal | None, sizes: tuple[int, ...]) -> DoseToGive:
    """The dose of a level (µg/kg) for a weight, cut to `most` µg; its volume may round to 0.00 mL, which is no dose."""
    micrograms = EXACT.multiply(level, kg)
    capped = most is not None and micrograms > most
    if most is not None and capped:
        micrograms = most
    concentration = DILUTED if micrograms < DILUTED_BELOW else UNDILUTED
    volume = tidy(rounded(EXACT.divide(micrograms, concentration), HUNDREDTH))
    delivered = tidy(EXACT.multiply(volume, concentration))
    vials, held = fewest_vials(delivered, sizes)
    return DoseToGive(level, tidy(micrograms), volume, concentration, delivered, vials, tidy(held - delivered), capped)


@lru_cache(maxsize=4096)
def fewest_vials(micrograms: Decimal, sizes: tuple[int, ...]) -> tuple[tuple[Vials, ...], Decimal]:
    """The vials that hold the µg with the least left over, then the fewest, largest first; and what they hold in µg."""
    unit = gcd(*sizes)
    whole, rest = divmod(micrograms, unit)
    needed = int(whole) + bool(rest)
    largest_first = sorted((size // unit for size in sizes), reverse=True)
    # For each total that some vials hold exactly: how many at the fewest, and the largest size that such a choice has.
    fewest, largest, total = {0: 0}, {0: 0}, 0
    while total < needed or total not in fewest:
        total += 1
        options = [(fewest[total - size] + 1, -size) for size in largest_first if total - size in fewest]
        if options:
            fewest[total], largest[total] = min(options)[0], -min(options)[1]
    chosen, left = Counter[int](), total
    while left:
        chosen[largest[left]] += 1
        left -= largest[left]
    vials = tuple(Vials(size * unit, chosen[size]) for size in largest_first if chosen[size])
    return vials, Decimal(total * unit)


class Sourced(NamedTuple):
    """An instruction, where its figures were read, and whether they were read in the text of a label."""

    text: str
    source: str
    verified: bool = True


class VialData(NamedTuple):
    """How a vial is prepared: µg printed and contained, mL of water to add, mL of saline to dilute it with."""

    printed: int
    contains: int
    water: Sourced
    saline: Sourced

    def add_water(self, number: int) -> Sourced:
        """What to add to so many of these vials."""
        one, several = f"the {self.printed} microgram vial", f"each of {number} vials of {self.printed} micrograms"
        return self.water._replace(
            text=f"To {one if number == 1 else several} (contains {self.contains} micrograms) add {self.water.text} of "
            f"water for injection: {UNDILUTED} micrograms/mL. {WATER_ONLY}"
        )

    def add_saline(self) -> Sourced:
        """What to add to the reconstituted vial for a small dose."""
        return self.saline._replace(
            text=f"Only then add {self.saline.text} of preservative-free sodium chloride 0.9 % to the "
            f"{self.printed} microgram vial: {DILUTED} micrograms/mL."
        )


#: What is said beside each volume of water.
WATER_ONLY: Final = "No saline and no bacteriostatic water at this step."

_LEAFLET: Final = "EU package leaflet of 2022"
_READ: Final = f"contents: {_LEAFLET}; water: EU SmPC (copy of 2013), section 6.6"
_COMPUTED: Final = "computed from what the vial contains; the printed figure was not read"

#: The vials on the market. 0.44, 1.38 and 3.75 mL could not be read in a label and are marked so wherever they appear.
VIALS: Final = {
    125: VialData(
        125,
        230,
        Sourced("0.44 mL", f"the volume was not read in a label; contents: {_LEAFLET}", verified=False),
        Sourced("1.38 mL", _COMPUTED, verified=False),
    ),
    250: VialData(
        250,
        375,
        Sourced("0.72 mL", f"{_READ}; Japanese package insert, section 3"),
        Sourced("2.25 mL", "Japanese label revision notice, section 14"),
    ),
    500: VialData(500, 625, Sourced("1.2 mL", _READ), Sourced("3.75 mL", _COMPUTED, verified=False)),
}

_SWIRL: Final = Sourced(
    "Swirl gently, do not shake, until dissolved (under 2 minutes), clear and colourless.",
    "EU SmPC (copy of 2013), section 6.6",
)
_INJECT: Final = Sourced(
    "Use a syringe graduated to 0.01 mL; inject under the skin.", "US dosing text as transcribed before 2018"
)
_MORE_THAN_A_SYRINGE: Final = Sourced(
    "This is more than a syringe of 1 mL holds: follow local practice to divide it.",
    "no text on dividing a dose was found",
    verified=False,
)
_ONE_DOSE: Final = Sourced(
    "Each vial is for this one dose: it holds more than is printed on it, so discard what is left, and never keep or "
    "combine leftovers.",
    "US prescribing information of 01/2011, section 2.2",
)
_KEEPS: Final = Sourced(
    "Reconstituted, not diluted: keep from light, use within 24 hours at up to 25 °C or at 2 to 8 °C.",
    "US prescribing information of 01/2011; EU SmPC (copy of 2013), section 6.3; not read for Japan",
)
_DILUTED_KEEPS: Final = Sourced(
    "Diluted: use at once. If it must wait: in the vial, at 2 to 8 °C, from light, and begin within 4 hours.",
    "Japanese label revision notice; US and EU wording was not read",
    verified=False,
)
_SYRINGE: Final = Decimal(1)  # mL


class VialsToPrepare(NamedTuple):
    """So many vials of a size (µg as printed) with how each is prepared, None where this program knows nothing of it.

    `drawn` are the mL to draw from each, of the solution that is injected.
    """

    size: int
    number: int
    data: VialData | None
    drawn: tuple[Decimal, ...]


def vials_of(dose: DoseToGive) -> list[VialsToPrepare]:
    """The vials of a dose, each size with its own water and what is drawn from it, the largest first."""
    parts = _parts(dose)
    return [
        VialsToPrepare(size, number, VIALS.get(size), tuple(part for one, part in parts if one == size))
        for size, number in dose.vials
    ]


def preparation_of(dose: DoseToGive) -> list[Sourced]:
    """How to prepare a dose, in the order of the work: water, swirl, saline for a small dose, draw up, inject, keep."""
    steps = [VIALS[size].add_water(number) for size, number in dose.vials if size in VIALS]
    steps += [
        Sourced(f"{size} microgram vial: see its own label.", "no data on this vial here", False)
        for size, _ in dose.vials
        if size not in VIALS
    ]
    return steps + after_water(dose)


def after_water(dose: DoseToGive) -> list[Sourced]:
    """What is done once each vial has its water: swirl, saline for a small dose, draw up, inject, keep."""
    diluted = dose.concentration == DILUTED
    steps = [_SWIRL]
    if diluted:
        steps += [VIALS[size].add_saline() for size, _ in dose.vials if size in VIALS]
    steps.append(Sourced(_draw_up(dose), "the dose above, rounded to 0.01 mL"))
    if dose.volume > _SYRINGE:
        steps.append(_MORE_THAN_A_SYRINGE)
    return [*steps, _INJECT, _ONE_DOSE, _DILUTED_KEEPS if diluted else _KEEPS]


def _parts(dose: DoseToGive) -> list[tuple[int, Decimal]]:
    """How much to draw from which vial, in mL: each up to the micrograms printed on it, the smallest last."""
    parts, left = [], dose.volume
    for size in (vials.size for vials in dose.vials for _ in range(vials.number)):
        part = min(left, EXACT.divide(Decimal(size), dose.concentration))
        parts.append((size, tidy(part)))
        left -= part
    return parts


def _draw_up(dose: DoseToGive) -> str:
    """How much to draw from which vial, in words."""
    solution = "diluted solution" if dose.concentration == DILUTED else "solution"
    total = f"{plain(dose.volume)} mL of the {solution} ({plain(dose.delivered)} micrograms)"
    if sum(vials.number for vials in dose.vials) == 1:
        return f"Draw up {total}."
    parts = [f"{plain(part)} mL from a {size} microgram vial" for size, part in _parts(dose)]
    return f"Into this one dose draw up {' + '.join(parts)} = {total}."
