"""Decisions upon proposals, and what departs from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import marshmallow as ma

from schemas.fields import Amount, Choice, Day, Flag, Instant, Many, Object, Schema, Text, Whole, keys_of
from schemas.recommendation import Answer, CourseName, DoseOfAnswer

KINDS: Final = ("accept", "override", "refer")
STATUSES: Final = (
    "awaiting-second",
    "in-force",
    "referred",
    "delivered",
    "not-given",
    "superseded",
    "withdrawn",
    "lapsed",
    "void",
)
REASONS: Final = (
    "clinical-judgement",
    "bleeding",
    "planned-procedure",
    "transfusion-or-rescue",
    "adverse-event",
    "count-in-doubt",
    "weight-in-doubt",
    "supply",
    "patient-preference",
    "other",
)
_SHA256: Final = "[0-9a-f]{64}"
_CHOICES: Final = ("micrograms_per_kg", "micrograms", "no_dose")


class DecisionIn(Schema):
    """What is decided upon a proposal, which `proposal_sha256` of the next dose names.

    To accept: `acknowledge` names each alert of the proposal. To override, also: just one of `micrograms_per_kg`,
    `micrograms` and `no_dose`, and why; `confirm` answers what is asked of it. To refer to a prescriber: why.
    """

    decision = Choice(KINDS, required=True)
    proposal_sha256 = Text(required=True, pattern=_SHA256)
    acknowledge = Many(Text(longest=100))
    micrograms_per_kg = Amount(above=True, most="5000")
    micrograms = Amount(above=True, most="5000")
    no_dose = Flag(metadata={"description": "True: no dose is to be given."})
    due_on = Day(metadata={"description": "When the dose is due, if not as proposed."})
    reason_code = Choice(REASONS)
    comment = Text(longest=1000, lines=True)
    confirm = Many(Text(longest=100), metadata={"description": "The questions asked of an override that are answered."})

    @ma.validates_schema(pass_original=True, skip_on_field_errors=False)
    def goes_together(self, data: Mapping[str, object], sent: object, **_: Any) -> None:
        """Refuse what does not go with the kind of decision, and what is missing for it; all at once."""
        del data
        there = keys_of(sent)
        kind = there.get("decision")
        wrong: dict[str, list[str]] = {}
        if kind in ("override", "refer"):
            wrong |= {key: ["required"] for key in ("reason_code", "comment") if key not in there}
        foreign: tuple[str, ...] = (*_CHOICES, "due_on", "confirm") if kind in ("accept", "refer") else ()
        foreign += ("reason_code",) if kind == "accept" else ("acknowledge",) if kind == "refer" else ()
        wrong |= {key: [f"does not go with {kind}"] for key in foreign if key in there}
        if kind == "override":
            wrong |= _one_choice(there)
        if wrong:
            raise ma.ValidationError(wrong)


def _one_choice(there: Mapping[str, object]) -> dict[str, list[str]]:
    chosen = [key for key in _CHOICES if key in there]
    if len(chosen) != 1:
        return {"micrograms_per_kg": [f"required: just one of {', '.join(_CHOICES)}"]}
    if there.get("no_dose") is False:
        return {"no_dose": ["must be true: leave it out and name a dose"]}
    if "no_dose" in there and "due_on" in there:
        return {"due_on": ["does not go with no_dose"]}
    return {}


class DecisionEvidence(Schema):
    """By what the decision can be derived again."""

    proposal_sha256 = Text(required=True)
    input_sha256 = Text(required=True)
    protocol = Text(required=True)
    protocol_sha256 = Text(required=True)
    engine_version = Text(required=True)
    revision = Whole(required=True, least=0, most=2**53)
    course = Object(CourseName, required=True)


class Reopened(Schema):
    """The answer to the facts as they have been corrected since, beside `answer`, upon which was decided."""

    answer = Object(Answer, required=True)
    at = Instant(required=True)
    by = Text(required=True)
    reviewed = Flag(required=True)


class DecisionOut(Schema):
    """A decision as it stands."""

    id = Whole(required=True, least=1, most=2**53)
    version = Whole(required=True, least=1, most=2**53)
    decision = Choice(KINDS, required=True)
    status = Choice(STATUSES, required=True)
    on = Day(required=True)
    due_on = Day(required=True, allow_none=True)
    dose = Object(DoseOfAnswer, required=True, allow_none=True)
    given_on = Day(required=True, allow_none=True)
    acknowledged = Many(Text(), required=True)
    reason_code = Choice(REASONS, required=True, allow_none=True)
    comment = Text(required=True, allow_none=True, longest=1000, lines=True)
    signed_by = Text(required=True)
    signed_role = Text(required=True)
    signed_at = Instant(required=True)
    second_by = Text(required=True, allow_none=True)
    second_role = Text(required=True, allow_none=True)
    second_at = Instant(required=True, allow_none=True)
    evidence = Object(DecisionEvidence, required=True)
    answer = Object(Answer, required=True)
    reopened = Object(Reopened, required=True, allow_none=True)
    change = Text(required=True)
    change_reason = Text(required=True, allow_none=True, longest=1000, lines=True)
    changed_by = Text(required=True)
    changed_at = Instant(required=True)


class Decisions(Schema):
    """Decisions, or the versions of one."""

    items = Many(Object(DecisionOut), required=True, most=100_000)


class BatchItem(Schema):
    """A proposal to accept."""

    patient = Text(required=True, longest=64)
    proposal_sha256 = Text(required=True, pattern=_SHA256)


class Batch(Schema):
    """Proposals to accept, each of which maintains the micrograms of the last dose and raises no alert."""

    items = Many(Object(BatchItem), required=True, most=100)


class BatchAnswer(Schema):
    """What became of one: `decision`, or the `code` and words of why there is none."""

    patient = Text(required=True)
    decision = Object(DecisionOut, required=True, allow_none=True)
    code = Text(required=True, allow_none=True)
    detail = Text(required=True, allow_none=True, longest=10_000)


class BatchOut(Schema):
    """What became of each, in the order sent."""

    items = Many(Object(BatchAnswer), required=True)


class MismatchOut(Schema):
    """The doses of a day that depart from what was decided, and why, once somebody has said."""

    day = Day(required=True)
    code = Text(required=True)
    decision = Whole(required=True, allow_none=True, least=1, most=2**53)
    micrograms = Amount(
        required=True, allow_none=True, most="999999999999", metadata={"description": "Given on the day, in all."}
    )
    departs = Many(Text(), required=True)
    reason = Text(required=True, allow_none=True, longest=1000, lines=True)
    reason_by = Text(required=True, allow_none=True)
    reason_at = Instant(required=True, allow_none=True)


class Mismatches(Schema):
    """Days whose doses depart from what was decided, the newest first."""

    items = Many(Object(MismatchOut), required=True, most=100_000)
