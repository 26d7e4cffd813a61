"""Since when a dose, a count and a weight are due: what an answer tells only from the day asked about on.

docs/titration-rules.md, section 9. An answer never dates anything into the past; who is late is told from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final, NamedTuple, cast

from titrator.titration.codes import Action, Alert, Reason
from titrator.titration.protocol import WeeklyProtocol, WeightBasis
from titrator.titration.recommend import MONTH, WEEK, WEEK_MAY_VARY_BY, Recommendation


class What(StrEnum):
    """What falls due of a course."""

    DOSE = "dose-due"
    COUNT = "count-due"
    MONTHLY_COUNT = "monthly-count"
    HOLD_RE_CHECK = "hold-re-check"
    WEIGHT = "weight-due"


class Due(NamedTuple):
    """Something that is due since a day (an ordinal).

    `number` is how many of its kind there have been so far, so that the next one keeps its number when its day moves.
    What is `floating` has no day of its own: it is due whenever one asks, until it is done.
    """

    what: What
    day: int
    number: int
    floating: bool = False


#: Blood counts go on weekly for so many weeks after romiplostim has been stopped.
FOLLOW_UP_WEEKS: Final = 2
#: Where a dose is held back, or none is left to give.
_NO_DOSE: Final = (Action.HOLD, Action.REFER, Action.COMPLETE)
_WEIGHT: Final = frozenset({Reason.WEIGHT_MISSING, Reason.WEIGHT_STALE})


def dues(answer: Recommendation) -> Iterator[Due]:
    """What is due next of a course: its dose, its count, and a weight where there is no dose without one, or soon.

    Who lacks nothing but a weight need not be counted anew for it, although the answer names the day itself.
    """
    facts = answer.facts
    weightless = {*answer.reasons} & _WEIGHT
    if (day := dose_due(answer)) is not None:
        yield Due(What.DOSE, day, len(facts.doses), floating=not facts.doses or answer.action is Action.RESUME)
    day = count_due(answer)
    if facts.reliable and weightless and not {*answer.reasons} - _WEIGHT:
        day = _after_newest(answer)
    if day is not None:
        yield Due(_kind_of_count(answer, day), day, len(facts.reliable), floating=not facts.reliable)
    protocol = answer.protocol
    keeps = protocol.weight_maximum_age
    grows_old = isinstance(protocol, WeeklyProtocol) and protocol.weight_basis is WeightBasis.CURRENT
    aged = facts.weights[-1].day + keeps if grows_old and keeps and facts.weights else None
    if weightless and (aged is None or aged > answer.on):
        yield Due(What.WEIGHT, answer.on, len(facts.weights), floating=True)
    elif aged is not None:
        yield Due(What.WEIGHT, aged, len(facts.weights))


def follow_up_due(ended: int, counts: Iterable[int]) -> int | None:
    """The day of the next weekly count after therapy has ended on a day; None once there are two. Days are ordinals.

    A count up to three days early is that of its week.
    """
    last = max(counts, default=ended)
    weeks = range(1, FOLLOW_UP_WEEKS + 1)
    return next((due for due in (ended + week * WEEK for week in weeks) if last < due - WEEK_MAY_VARY_BY), None)


def dose_due(answer: Recommendation) -> int | None:
    """The day on which the next dose is or was due, a week after the last; None where none is.

    One that ends a hold is late for nobody: it is due when it is proposed.
    """
    if answer.action in _NO_DOSE:
        return None
    doses = answer.facts.doses
    return doses[-1].day + WEEK if doses and answer.action is not Action.RESUME else answer.due


def count_due(answer: Recommendation) -> int | None:
    """The day on which the next count is or was due; None once a single dose was given."""
    if answer.next_count is None or answer.next_count > answer.on:
        return answer.next_count
    if Reason.COUNT_NEEDED in answer.reasons:
        return min(answer.on, answer.facts.doses[-1].day + WEEK)
    if not answer.facts.reliable:
        return answer.on
    return min(answer.on, _after_newest(answer))


def _after_newest(answer: Recommendation) -> int:
    """The day of the count that follows the newest, a week after it or a month."""
    return answer.facts.reliable[-1].day + (MONTH if _is_monthly(answer) else WEEK)


def _kind_of_count(answer: Recommendation, day: int) -> What:
    if answer.action is Action.HOLD:
        return What.HOLD_RE_CHECK
    return What.MONTHLY_COUNT if answer.facts.reliable and day == answer.facts.reliable[-1].day + MONTH else What.COUNT


def _is_monthly(answer: Recommendation) -> bool:
    """Whether the newest count was one after which a stable course waits for four weeks, and no hold or other step."""
    if not answer.evidence.stable:
        return False
    too_many = cast(WeeklyProtocol, answer.protocol).reduce.holds(answer.facts.reliable[-1].platelets)
    doubtful = {Alert.COUNT_CONFOUNDED, Alert.LARGE_FALL} & {*answer.alerts}
    return Reason.STABLE in answer.reasons or not (too_many or doubtful)
