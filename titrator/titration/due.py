"""Since when a dose and a count are due: what an answer tells only from the day asked about on.

docs/titration-rules.md, section 9. An answer never dates anything into the past; who is late is told from here.
"""

from __future__ import annotations

from typing import Final

from titrator.titration.codes import Action, Reason
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
    return min(answer.on, answer.facts.reliable[-1].day + (MONTH if answer.evidence.stable else WEEK))
