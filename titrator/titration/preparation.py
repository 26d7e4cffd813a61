"""From µg/kg to the syringe: micrograms, volume, vials, and how a vial is prepared.

The dose is rounded once, as a volume to the 0.01 mL that the syringe shows; everything else is exact.
docs/titration-rules.md, section 5; sources of the vial data beside `VIALS` and in docs/preparation.md.
"""

from __future__ import annotations

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
    # best[total] lists the sizes, largest first, of the fewest vials that hold exactly that many units.
    best: dict[int, tuple[int, ...]] = {0: ()}
    total = 0
    while total < needed or total not in best:
        total += 1
        options = [(size, *best[total - size]) for size in largest_first if total - size in best]
        if options:
            best[total] = min(
                options, key=lambda option: (len(option), [-size for size in sorted(option, reverse=True)])
            )
    chosen = sorted(best[total], reverse=True)
    vials = tuple(Vials(size * unit, chosen.count(size)) for size in dict.fromkeys(chosen))
    return vials, Decimal(total * unit)


class Sourced(NamedTuple):
    """A figure or an instruction, where it was read, and whether it was read there as printed by a label."""

    text: str
    source: str
    verified: bool = True


class VialData(NamedTuple):
    """How a vial is prepared: µg printed and contained, mL of water to add, mL of saline to dilute it with."""

    printed: int
    contains: int
    water: Decimal
    saline: Decimal
    contains_source: Sourced
    water_source: Sourced
    saline_source: Sourced

    def lines(self, concentration: Decimal) -> list[Sourced]:
        """What to do with one such vial for a dose of this concentration."""
        reconstitute = Sourced(
            f"{self.printed} microgram vial (contains {self.contains} micrograms): add {self.water} mL of water for "
            f"injection, which makes {UNDILUTED} micrograms/mL.",
            f"{self.contains_source.source}; {self.water_source.source}",
            self.contains_source.verified and self.water_source.verified,
        )
        dilute = Sourced(
            f"Then add {self.saline} mL of preservative-free sodium chloride 0.9 %, which makes {DILUTED} "
            "micrograms/mL.",
            self.saline_source.source,
            self.saline_source.verified,
        )
        return [reconstitute, dilute] if concentration == DILUTED else [reconstitute]


_EU_LEAFLET: Final = "EU package leaflet of 2022"
_EU_66: Final = "EU SmPC (copy of 2013), section 6.6"
_JP_NOTICE: Final = "Japanese label revision notice, section 14"
_DERIVED: Final = "computed from the contents at 500 and 125 micrograms/mL; the printed figure was not read"

#: The vials on the market. 0.44, 1.38 and 3.75 mL could not be read in a label and are marked so wherever they appear.
VIALS: Final = {
    125: VialData(
        125, 230, Decimal("0.44"), Decimal("1.38"),
        Sourced("230 micrograms", _EU_LEAFLET),
        Sourced("0.44 mL", "no label text read; 230 micrograms at 500 micrograms/mL make 0.46 mL", verified=False),
        Sourced("1.38 mL", _DERIVED, verified=False),
    ),
    250: VialData(
        250, 375, Decimal("0.72"), Decimal("2.25"),
        Sourced("375 micrograms", _EU_LEAFLET),
        Sourced("0.72 mL", _EU_66),
        Sourced("2.25 mL", _JP_NOTICE),
    ),
    500: VialData(
        500, 625, Decimal("1.2"), Decimal("3.75"),
        Sourced("625 micrograms", _EU_LEAFLET),
        Sourced("1.2 mL", _EU_66),
        Sourced("3.75 mL", _DERIVED, verified=False),
    ),
}  # fmt: skip

RECONSTITUTING: Final = (
    Sourced("Reconstitute with sterile water for injection only: no saline, no bacteriostatic water.", _EU_66),
    Sourced("Swirl gently, do not shake; it dissolves in less than 2 minutes and is clear and colourless.", _EU_66),
)
GIVING: Final = (
    Sourced("Use a syringe graduated to 0.01 mL.", "US dosing text as transcribed before 2018"),
    Sourced(
        "Keep from light; use within 24 hours at up to 25 °C or at 2 to 8 °C.", "EU SmPC (copy of 2013), section 6.3"
    ),
    Sourced(
        "One dose from each vial: discard the rest, do not pool.", "US prescribing information of 01/2011, section 2.2"
    ),
)
GIVING_DILUTED: Final = (
    Sourced(
        "Once diluted use at once; if it must wait, in the vial at 2 to 8 °C away from light, for 4 hours at most. "
        "US and EU wording was not read.",
        "Japanese label revision notice",
    ),
)


def preparation_of(dose: DoseToGive) -> list[Sourced]:
    """How to prepare a dose, line by line: each kind of vial, what to draw up, and how to handle it."""
    lines: list[Sourced] = []
    for vials in dose.vials:
        known = VIALS.get(vials.size)
        if known is None:
            lines.append(
                Sourced(f"{vials.size} microgram vial: see its own label.", "no data on this vial here", verified=False)
            )
        else:
            lines.extend(known.lines(dose.concentration))
    draw_up = Sourced(
        f"Draw up {plain(dose.volume)} mL ({plain(dose.delivered)} micrograms at {plain(dose.concentration)} "
        "micrograms/mL), inject under the skin once.",
        "the dose above, rounded to 0.01 mL",
    )
    diluted = GIVING_DILUTED if dose.concentration == DILUTED else ()
    return [*lines, *RECONSTITUTING, draw_up, *GIVING, *diluted]
