"""A dose that a person chooses in place of the one proposed: how it is prepared, and what it may not exceed.

The engine's rules end where a person decides otherwise; what stays is the preparation, and one limit on every path.
docs/titration-rules.md, section 9.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from functools import reduce
from typing import Final, NamedTuple

from titrator.titration.codes import Action, Reason
from titrator.titration.preparation import DILUTED_BELOW, DoseToGive, prepare
from titrator.titration.protocol import Protocol, WeeklyProtocol
from titrator.titration.quantities import EXACT, HUNDREDTH, ZERO, apart, ratio_rounded, times
from titrator.titration.recommend import WEEK, Recommendation
from titrator.titration.terms import HALF_GRADUATION, HALF_GRADUATION_DILUTED

#: µg/kg in any seven days. Nobody may exceed it here, by whatever reason: twice the highest dose of any label.
CEILING: Final = Decimal(20)
#: A dose is given at its time from so many days before its due day, 6 days after the last one, to so many after it.
EARLIEST: Final = 1
LATEST: Final = 3
#: So many times the dose that is expected is no slip of a step, but another dose.
_FAR_MORE: Final = Decimal(2)
_ABOVE_RANGE: Final = {Reason.ABOVE_RANGE_CONFOUNDED, Reason.ABOVE_RANGE_UNCONFIRMED}


class Choice(NamedTuple):
    """What a person chose: a level in µg/kg, or an amount in µg; the other is None."""

    level: Decimal | None = None
    micrograms: Decimal | None = None


def chosen_dose(choice: Choice, kg: Decimal, sizes: tuple[int, ...]) -> DoseToGive:
    """The dose that was chosen, prepared for a weight; an amount is given as the level to 0.01 that it comes to."""
    if choice.micrograms is None:
        return prepare(choice.level or Decimal(0), kg, None, sizes)
    prepared = prepare(choice.micrograms, Decimal(1), None, sizes)
    return prepared._replace(level=ratio_rounded(choice.micrograms, kg, HUNDREDTH))


def within(protocol: Protocol, dose: DoseToGive) -> bool:
    """Whether a dose is one that the protocol could give: from its minimum to its maximum."""
    least = protocol.minimum if isinstance(protocol, WeeklyProtocol) else protocol.start
    return dose.level >= least and not above_maximum(protocol, dose)


def highest_by_step(answer: Recommendation) -> Decimal | None:
    """The highest level that whoever signs may choose alone: that proposed; a step above it where it is kept in range.

    None where no dose is proposed.
    """
    if answer.dose is None:
        return None
    kept = answer.action is Action.MAINTAIN and not {*answer.reasons} & _ABOVE_RANGE
    step = answer.protocol.step if kept and isinstance(answer.protocol, WeeklyProtocol) else Decimal(0)
    return EXACT.add(answer.dose.level, step)


def above_maximum(protocol: Protocol, dose: DoseToGive) -> bool:
    """Whether a dose is over the protocol's maximum, in µg/kg or in µg."""
    most = protocol.maximum_micrograms
    return dose.level > _highest(protocol) or (most is not None and dose.micrograms > most)


def above_maximum_of_a_week(protocol: Protocol, dose: DoseToGive, given: Decimal, kg: Decimal) -> bool:
    """Whether a dose, with what is `given` in the seven days that end with it, in µg, is over that maximum."""
    if above_maximum(protocol, dose) or not given:
        return above_maximum(protocol, dose)
    limits = [most for most in (times(_highest(protocol), kg), protocol.maximum_micrograms) if most is not None]
    return EXACT.add(given, dose.micrograms) > min(limits)


def usual_day(last: int | None, today: int) -> int:
    """When a dose is due of which no day is told: a week after the last one, or today if that has passed. Ordinals."""
    return today if last is None else max(today, last + WEEK)


def maximum_exceeded(protocol: Protocol, micrograms: Decimal, kg: Decimal | None) -> Decimal | None:
    """The µg that the protocol's maximum comes to, if an amount that somebody ordered is plainly more; else None.

    Without a weight only a maximum in µg tells.
    """
    by_weight = None if kg is None else times(_highest(protocol), kg)
    limits = [most for most in (by_weight, protocol.maximum_micrograms) if most is not None]
    most = min(limits, default=None)
    return most if most is not None and micrograms > most and departs(micrograms, most) else None


def _highest(protocol: Protocol) -> Decimal:
    return protocol.maximum if isinstance(protocol, WeeklyProtocol) else protocol.start


def ceiling_exceeded(
    given: Iterable[tuple[int, Decimal]], day: int, weights: Iterable[Decimal], planned: Decimal = ZERO
) -> Decimal | None:
    """The µg that are allowed in the seven days that end on a day (an ordinal), if there are more; else None.

    What is planned counts with what was given, each dose by its day, in µg. Of the weights, in kg, the least counts;
    without any there is nothing to tell by.
    """
    least = min(weights, default=None)
    if least is None:
        return None
    most = times(CEILING, least)
    return most if EXACT.add(of_a_week(given, day), planned) > most else None


def of_a_week(given: Iterable[tuple[int, Decimal]], day: int) -> Decimal:
    """What was given in the seven days that end on a day, in µg: each dose by its day, an ordinal."""
    return reduce(EXACT.add, [micrograms for at, micrograms in given if 0 <= day - at < WEEK], ZERO)


def is_early(day: int, due: int) -> bool:
    """Whether a dose is given before its time; days are ordinals."""
    return day < due - EARLIEST


def is_late(day: int, due: int) -> bool:
    """Whether a dose is given, or a decision to give it is carried out, after its time."""
    return day > due + LATEST


def far_more(ordered: Decimal, expected: Decimal) -> bool:
    """Whether an amount that somebody ordered, in µg, is more than twice the one that is expected."""
    return ordered > times(expected, _FAR_MORE)


def departs(given: Decimal, decided: Decimal) -> bool:
    """Whether an amount given, in µg, is another than that decided: by more than half a graduation of the syringe."""
    return apart(given, decided) > (HALF_GRADUATION_DILUTED if decided < DILUTED_BELOW else HALF_GRADUATION)
