"""The worklist: what waits for somebody."""

from __future__ import annotations

import marshmallow as ma

from schemas.fields import COUNT_UNITS, Amount, Choice, Day, Flag, Many, Object, Schema, Text, Whole
from schemas.patient import IdentifierPart

TASKS = (
    "re-opened-given",
    "dose-mismatch",
    "re-opened",
    "to-verify",
    "referred",
    "hold-without-re-check",
    "dose-overdue",
    "count-overdue",
    "awaiting-second",
    "awaiting-sign-off",
    "dose-due",
    "count-due",
    "no-next-date",
    "message-undelivered",
)
_MOST = "999999999999"


class WorklistQuery(Schema):
    """Of which clinic, with which task, on which day (today at the clinic, to 31 days ahead), and where to go on."""

    clinic = Text()
    task = Choice(TASKS)
    text = Text(metadata={"description": "Words, each of which the name or the identifier has in it."})
    on = Day()
    cursor = Text(longest=100)
    limit = Whole(least=1, most=200, digits=True)


class AmountsOfDose(Schema):
    """A dose in short."""

    micrograms_per_kg = Amount(required=True, most=_MOST)
    delivered_micrograms = Amount(required=True, most=_MOST)
    volume_ml = Amount(required=True, most=_MOST)


class AnswerInShort(Schema):
    """An action and its dose."""

    action = Text(required=True)
    dose = Object(AmountsOfDose, required=True, allow_none=True)


class LastCount(Schema):
    """The newest platelet count; `trend` is that from the day before it on which one was counted."""

    collected_on = Day(required=True)
    value = Amount(required=True, most="5000000")
    unit = Choice(COUNT_UNITS, required=True)
    unreliable = Flag(required=True)
    ctcae_grade = Whole(required=True, allow_none=True, least=0, most=4)
    trend = Choice(("up", "down", "same"), required=True, allow_none=True)


class LastDose(Schema):
    """What was given on the last day of a dose, and its level as it was recorded."""

    given_on = Day(required=True)
    micrograms = Amount(required=True, most=_MOST)
    micrograms_per_kg = Amount(required=True, allow_none=True, most=_MOST)


class DecisionInShort(Schema):
    """What has been decided and not yet carried out."""

    id = Whole(required=True, least=1, most=2**53)
    decision = Text(required=True)
    status = Text(required=True)
    due_on = Day(required=True, allow_none=True)
    micrograms = Amount(required=True, allow_none=True, most=_MOST)
    dose = Object(AmountsOfDose, required=True, allow_none=True)


class SideBySide(Schema):
    """A decision that a correction has re-opened: the answer of then and that of now."""

    decision = Whole(required=True, least=1, most=2**53)
    on = Day(required=True)
    given_on = Day(required=True, allow_none=True)
    was = Object(AnswerInShort, required=True)
    now = Object(AnswerInShort, required=True)


class FactToVerify(Schema):
    """What a system reported that looks wrong."""

    collection = Text(required=True)
    id = Whole(required=True, least=1, most=2**53)
    day = Day(required=True)
    value = Amount(required=True, allow_none=True, most=_MOST)
    unit = Text(required=True, allow_none=True)
    asked = Many(Text(), required=True)


class WorklistLine(Schema):
    """A patient, and what waits: `tasks`, the most urgent first. `refused` is why there is no next dose."""

    patient = Text(required=True)
    clinic = Text(required=True)
    family_name = Text(required=True)
    given_name = Text(required=True)
    born_on = Day(required=True, allow_none=True)
    identifier = Object(IdentifierPart, required=True, allow_none=True)
    on = Day(required=True)
    tasks = Many(Choice(TASKS), required=True)
    overdue_days = Whole(required=True, least=0, most=200_000)
    protocol = Text(required=True, allow_none=True)
    action = Text(required=True, allow_none=True)
    reasons = Many(Text(), required=True, allow_none=True)
    alerts = Many(Text(), required=True, allow_none=True)
    dose = Object(AmountsOfDose, required=True, allow_none=True)
    due_on = Day(required=True, allow_none=True)
    next_count_on = Day(required=True, allow_none=True)
    proposal_sha256 = Text(required=True, allow_none=True)
    last_count = Object(LastCount, required=True, allow_none=True)
    last_dose = Object(LastDose, required=True, allow_none=True)
    changes_nothing = Flag(
        required=True,
        metadata={"description": "It maintains the micrograms given last, without an alert: POST /decisions takes it."},
    )
    refused = Text(required=True, allow_none=True)
    decision = Object(DecisionInShort, required=True, allow_none=True)
    reopened = Many(Object(SideBySide), required=True)
    dose_mismatches = Many(Day(), required=True, most=5000)
    to_verify = Many(Object(FactToVerify), required=True, most=5000)


class Worklist(Schema):
    """A page by urgency, and how many patients each task waits for, in all. `on` is null where no day was named."""

    on = Day(required=True, allow_none=True)
    tallies = ma.fields.Dict(keys=Choice(TASKS), values=Whole(least=0, most=2**53), required=True)
    unmatched_results = Whole(
        required=True,
        least=0,
        most=2**53,
        metadata={"description": "How many results of no known patient wait: GET /unmatched-results."},
    )
    silent_feeds = Whole(
        required=True,
        least=0,
        most=2**53,
        metadata={"description": "How many laboratories' HL7 v2 feeds have been silent for too long."},
    )
    next = Text(required=True, allow_none=True)
    items = Many(Object(WorklistLine), required=True, most=200)
