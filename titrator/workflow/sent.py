"""What a system says of a result: for the first time, again, corrected, too late, or taken back. The same at each door.

A source sends its result whole and keeps no version of ours, so it is compared with what it said before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from titrator.store.base import Where
from titrator.store.records import Fact
from titrator.workflow.errors import Code
from titrator.workflow.facts import Collection, as_told, read_draft
from titrator.workflow.record import NO_SOURCE, Source
from titrator.workflow.visit import Visit


class Saying(StrEnum):
    """What a message does to a result: say it, say that it never was or cannot be had, or that it is final as it is."""

    RESULT = "result"
    TAKEN_BACK = "taken-back"
    CANCELLED = "cancelled"
    NOW_FINAL = "now-final"


class Sent(NamedTuple):
    """A result as a system sends it: an entry of a collection, and what its source says beside it.

    Where it is no RESULT, the entry may have nothing but its external id.
    """

    collection: Collection
    body: Mapping[str, Any]
    source: Source = NO_SOURCE
    saying: Saying = Saying.RESULT


class Late(StrEnum):
    """Why what is sent may be a message that was held up: it must not undo what came after it."""

    PRELIMINARY = "preliminary"
    SAID_BEFORE = "said-before"


def versions_of(visit: Visit, patient_id: str, fact_id: int) -> list[Fact]:
    """All versions of a fact that is there, the current one last."""
    mine = Where("patient_id", "=", patient_id), Where("id", "=", fact_id)
    return visit.session.find(Fact, *mine, order=("version",))


def says_the_same(fact: Fact, collection: Collection, body: Mapping[str, Any], source: Source) -> bool:
    """Whether a fact says already what is sent: the same content, as certain."""
    draft, _ = read_draft(collection, as_told(fact, body))
    as_sure = source.preliminary == (Code.RESULT_PRELIMINARY in fact.asked)
    return (
        as_sure
        and fact.status != "entered-in-error"
        and source.at == fact.taken_at
        and dict(draft.detail) == fact.detail
        and (fact.unreliable or not draft.unreliable)  # the same without that mark takes it from nothing
        and (draft.kind, draft.day, draft.code, draft.value, draft.unit, draft.level, draft.until)
        == (fact.kind, fact.day, fact.code, fact.value, fact.unit, fact.level, fact.until)
    )


def lateness(versions: Sequence[Fact], collection: Collection, body: Mapping[str, Any], source: Source) -> Late | None:
    """Why what is sent looks like a message that comes late: preliminary after final, or corrected since; else None."""
    if source.preliminary and Code.RESULT_PRELIMINARY not in versions[-1].asked:
        return Late.PRELIMINARY
    if any(says_the_same(one, collection, body, source) for one in versions[:-1]):
        return Late.SAID_BEFORE
    return None
