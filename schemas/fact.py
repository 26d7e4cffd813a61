"""What all facts have in common."""

from __future__ import annotations

from schemas.fields import Choice, Instant, Many, Object, Schema, Text, Whole
from schemas.patient import IdentifierPart


class FactIn(Schema):
    """What may come with any fact to record."""

    note = Text(longest=1000, lines=True)
    external_id = Object(
        IdentifierPart, metadata={"description": "Your own name for it; sent twice, it is recorded once."}
    )
    confirm = Many(
        Text(longest=100),
        metadata={"description": "Codes of the questions that were asked, if it is right all the same."},
    )


class Corrects(Schema.Meta):
    """Of the schemas of corrections: an external id is given once, with the fact; a correction cannot change it."""

    exclude = ("external_id",)


class Reasoned(Schema):
    """A change, and why."""

    reason = Text(required=True, longest=1000, lines=True)


class VerificationIn(Reasoned):
    """Why a system's value is right; `confirm` answers what is asked now and was not when it was reported."""

    confirm = Many(Text(longest=100))


class FactOut(Schema):
    """How a fact came to be. `status`: `unverified` is a system's value that looks wrong and doses nothing."""

    id = Whole(required=True, least=1, most=2**53)
    version = Whole(required=True, least=1, most=2**53)
    status = Choice(("final", "unverified", "entered-in-error"), required=True)
    note = Text(required=True, allow_none=True, longest=1000, lines=True)
    asked = Many(
        Text(), required=True, metadata={"description": "Codes of the questions that its plausibility raised."}
    )
    confirmed_by = Text(required=True, allow_none=True)
    recorded_by = Text(required=True)
    recorded_at = Instant(required=True)
    reason = Text(required=True, allow_none=True, longest=1000, lines=True)


class KnownOut(Schema):
    """A fact that was recorded already, told to a client whose scopes do not let it read: which one it is."""

    id = Whole(required=True, least=1, most=2**53)
