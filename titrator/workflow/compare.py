"""Protocols as a pharmacist reads them: their settings in words, what they do at each count, and where two part."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby, pairwise
from typing import Final, NamedTuple

from titrator.titration.protocol import Limit, Protocol, WeeklyProtocol
from titrator.titration.quantities import plain
from titrator.titration.wording import between, level_text, side

_NOTHING: Final = "not printed"


class Difference(NamedTuple):
    """A setting, and what it is in each of two protocols."""

    setting: str
    one: str
    other: str


class Band(NamedTuple):
    """A range of counts in 10⁹/L, in words, and what each protocol does there: while dosing, and while on hold."""

    counts: str
    doing: tuple[str, ...]


class _Cell(NamedTuple):
    """A single count (`low` = `high`), or the open range between two; no `high` means no end."""

    low: Decimal
    high: Decimal | None
    doing: tuple[str, ...]


def settings(protocol: Protocol) -> dict[str, str]:
    """The settings of a protocol in words, in the order in which they are read."""
    ages = f"{protocol.minimum_age} years and over"
    if protocol.maximum_age is not None:
        ages = f"{protocol.minimum_age} to {protocol.maximum_age} years"
    weight = f"{protocol.weight_basis} weight"
    if protocol.weight_maximum_age is not None:
        weight += f", at most {protocol.weight_maximum_age} days old"
    most = "" if protocol.maximum_micrograms is None else f", {plain(protocol.maximum_micrograms)} micrograms"
    common = {
        "indication": protocol.indication,
        "ages": ages,
        "confirmed before the first dose": ", ".join(protocol.eligibility) or "nothing",
        "dosed by": weight,
        "first dose": level_text(protocol.start),
        "highest dose": level_text(protocol.maximum) + most,
        "vials": ", ".join(map(str, protocol.vials)) + " micrograms",
    }
    if not isinstance(protocol, WeeklyProtocol):
        return {"schedule": "one dose"} | common
    weeks = "1 count" if protocol.reduce_weeks == 1 else f"{protocol.reduce_weeks} weeks in a row"
    return {
        "schedule": "once a week",
        **common,
        "lowest dose": level_text(protocol.minimum),
        "step": level_text(protocol.step),
        "increase at": f"{side(protocol.increase)} ×10⁹/L",
        "keep at": f"{between(*protocol.maintain)} ×10⁹/L",
        "reduce at": f"{side(protocol.reduce)} ×10⁹/L, {weeks}",
        "hold at": f"{side(protocol.hold)} ×10⁹/L",
        "resume at": f"{side(protocol.resume)} ×10⁹/L" if protocol.resume else _NOTHING,
    }


def differences(one: Protocol, other: Protocol) -> list[Difference]:
    """The settings in which two protocols differ."""
    first, second = settings(one), settings(other)
    keys = [*first, *(key for key in second if key not in first)]
    found = [Difference(key, first.get(key, "none"), second.get(key, "none")) for key in keys]
    return [difference for difference in found if difference.one != difference.other]


def decision_table(protocols: Sequence[WeeklyProtocol]) -> list[Band]:
    """What protocols do at every count, in as few ranges as they share; two columns a protocol: dosing, on hold."""
    borders = sorted({limit.value for protocol in protocols for limit in _limits(protocol)})
    cells = []
    for low, high in pairwise([Decimal(0), *borders]):
        cells.append(_Cell(low, high, _doing(protocols, (low + high) / 2)))
        cells.append(_Cell(high, high, _doing(protocols, high)))
    cells.append(_Cell(borders[-1], None, _doing(protocols, borders[-1] + 1)))
    ranges = [(doing, list(group)) for doing, group in groupby(cells, key=lambda cell: cell.doing)]
    return [Band(_range(group[0], group[-1]), doing) for doing, group in ranges]


def _limits(protocol: WeeklyProtocol) -> list[Limit]:
    limits = (protocol.increase, protocol.reduce, protocol.hold, protocol.resume)
    return [limit for limit in limits if limit is not None]


def _doing(protocols: Sequence[WeeklyProtocol], platelets: Decimal) -> tuple[str, ...]:
    return tuple(
        does for protocol in protocols for does in (_dosing(protocol, platelets), _on_hold(protocol, platelets))
    )


def _dosing(protocol: WeeklyProtocol, platelets: Decimal) -> str:
    if protocol.hold.holds(platelets):
        return "hold"
    if protocol.reduce.holds(platelets):
        weeks = "" if protocol.reduce_weeks == 1 else f" ({protocol.reduce_weeks} weeks in a row)"
        return f"reduce by {level_text(protocol.step)}{weeks}"
    return f"increase by {level_text(protocol.step)}" if protocol.increase.holds(platelets) else "keep"


def _on_hold(protocol: WeeklyProtocol, platelets: Decimal) -> str:
    if protocol.hold.holds(platelets):
        return "stay on hold"
    if protocol.resume is None:
        return "refer"
    return f"resume {level_text(protocol.step)} lower" if protocol.resume.holds(platelets) else "stay on hold"


def _range(first: _Cell, last: _Cell) -> str:
    closed_below, closed_above = first.low == first.high, last.low == last.high
    if last.high is None:
        return f"{plain(first.low)} or above" if closed_below else f"above {plain(first.low)}"
    if first.low == 0:
        return f"{plain(last.high)} or below" if closed_above else f"below {plain(last.high)}"
    if first.low == last.high:
        return f"exactly {plain(first.low)}"
    start = plain(first.low) if closed_below else f"above {plain(first.low)}"
    return f"{start} to {plain(last.high)}" if closed_above else f"{start} to below {plain(last.high)}"
