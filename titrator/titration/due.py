"""Since when a dose and a count are due: what an answer tells only from the day asked about on.

docs/titration-rules.md, section 9. An answer never dates anything into the past; who is late is told from here.
"""

from __future__ import annotations

from typing import Final, cast

from titrator.titration.codes import Action, Alert, Reason
from titrator.titration.protocol import WeeklyProtocol
from titrator.titration.recommend import MONTH, WEEK, Recommendation

#: Where a dose is held back, or none is left to give.
_NO_DOSE: Final = (Action.HOLD, Action.REFER, Action.COMPLETE)


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
    return min(answer.on, answer.facts.reliable[-1].day + (MONTH if _is_monthly(answer) else WEEK))


def _is_monthly(answer: Recommendation) -> bool:
    """Whether the newest count was one after which a stable course waits for four weeks, and no hold or other step."""
    if not answer.evidence.stable:
        return False
    too_many = cast(WeeklyProtocol, answer.protocol).reduce.holds(answer.facts.reliable[-1].platelets)
    doubtful = {Alert.COUNT_CONFOUNDED, Alert.LARGE_FALL} & {*answer.alerts}
    return Reason.STABLE in answer.reasons or not (too_many or doubtful)
