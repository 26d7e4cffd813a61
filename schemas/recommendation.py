"""The answer, as docs/answer-document.md describes it."""

from __future__ import annotations

from schemas.fields import Amount, Choice, Day, Flag, Many, Object, Schema, Text, Whole

ACTIONS = ("start", "increase", "maintain", "reduce", "hold", "resume", "refer", "incomplete", "complete")
_MOST = "999999999999"


class Statement(Schema):
    """A reason or an alert: a stable code, words, and where the source prints the rule."""

    code = Text(required=True)
    text = Text(required=True, longest=2000)
    citation = Text(required=True, longest=2000)


class Vials(Schema):
    """How many vials of a size."""

    size_micrograms = Whole(required=True, least=1, most=10_000)
    count = Whole(required=True, least=1, most=10_000)


class DoseOfAnswer(Schema):
    """A dose to give: as level, amount, volume and vials."""

    micrograms_per_kg = Amount(required=True, most=_MOST)
    micrograms = Amount(required=True, most=_MOST)
    volume_ml = Amount(required=True, most=_MOST)
    concentration_micrograms_per_ml = Amount(required=True, most=_MOST)
    delivered_micrograms = Amount(required=True, most=_MOST)
    vials = Many(Object(Vials), required=True)
    waste_micrograms = Amount(required=True, most=_MOST)


class EvidencePart(Schema):
    """What the answer rests on."""

    step = Whole(required=True, least=1, most=13)
    dosing_weight_kg = Amount(required=True, allow_none=True, most=_MOST)
    dosing_weight_on = Day(required=True, allow_none=True)
    counts_used = Many(Day(), required=True, most=5000)
    doses_used = Many(Day(), required=True, most=5000)
    last_level_micrograms_per_kg = Amount(required=True, allow_none=True, most=_MOST)
    stable = Flag(required=True)
    protocol_status = Text(required=True)
    protocol_read_as = Text(required=True)
    protocol_reviewed_by = Text(required=True, allow_none=True)


class ProtocolPart(Schema):
    """By which file, to the byte."""

    id = Text(required=True)
    edition = Text(required=True)
    sha256 = Text(required=True)


class Answer(Schema):
    """A proposal for a pharmacist or prescriber to check, never an order."""

    action = Choice(ACTIONS, required=True)
    on = Day(required=True)
    reasons = Many(Object(Statement), required=True)
    alerts = Many(Object(Statement), required=True)
    dose = Object(DoseOfAnswer, required=True, allow_none=True)
    due_on = Day(required=True, allow_none=True)
    next_count_on = Day(required=True, allow_none=True)
    evidence = Object(EvidencePart, required=True)
    protocol = Object(ProtocolPart, required=True)
    input_sha256 = Text(required=True)
    engine_version = Text(required=True)


class FactName(Schema):
    """A fact by its collection and id."""

    collection = Text(required=True)
    id = Whole(required=True, least=1, most=2**53)


class CourseName(Schema):
    """A version of a course."""

    id = Whole(required=True, least=1, most=2**53)
    version = Whole(required=True, least=1, most=2**53)


class NextDose(Answer):
    """The answer for a stored patient, at a revision of the record and by a version of the course: a proposal.

    `unverified`: what a system reported that was left out, or not relied upon. `later`: what was left out because it
    happened after the day asked about; only of a day in the past can there be any.
    """

    patient = Text(required=True)
    revision = Whole(required=True, least=0, most=2**53)
    course = Object(CourseName, required=True)

    unverified = Many(Object(FactName), required=True, most=5000)
    later = Many(Object(FactName), required=True, most=100_000)
    proposal_sha256 = Text(required=True, metadata={"description": "What a decision names."})
    decision = Whole(
        required=True,
        allow_none=True,
        least=1,
        most=2**53,
        metadata={"description": "The id of what has been decided and not yet carried out."},
    )


class NextDoseQuery(Schema):
    """On which day; today at the clinic if absent."""

    on = Day()
