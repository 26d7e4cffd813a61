"""Results that name their patient by an identifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import marshmallow as ma

from schemas.fields import Choice, Instant, Many, Object, Schema, Text, Whole, keys_of
from schemas.observation import CountIn, ObservationIn, WeightIn
from schemas.patient import IdentifierPart

_KINDS: Final = ("weight", "platelet_count", "observation")
_COLLECTIONS: Final = ("weights", "platelet-counts", "observations")


class ResultIn(Schema):
    """A result, by the identifier of its patient: just one of `weight`, `platelet_count` and `observation`.

    `clinic` says where the result belongs if no patient has that identifier; an account of one clinic need not say it.
    """

    identifier = Object(IdentifierPart, required=True)
    clinic = Text()
    weight = Object(WeightIn)
    platelet_count = Object(CountIn)
    observation = Object(ObservationIn)

    @ma.validates_schema(pass_original=True, skip_on_field_errors=False)
    def just_one(self, data: Mapping[str, object], sent: object, **_: Any) -> None:
        """Refuse none and several."""
        del data
        if sum(kind in keys_of(sent) for kind in _KINDS) != 1:
            raise ma.ValidationError({"platelet_count": [f"required: just one of {', '.join(_KINDS)}"]})


class ResultOut(Schema):
    """What became of a result: recorded as a fact of a patient, or kept, as `unmatched`, for a person to assign."""

    patient = Text(required=True, allow_none=True)
    collection = Choice(_COLLECTIONS, required=True)
    id = Whole(required=True, allow_none=True, least=1, most=2**53)
    status = Text(required=True, allow_none=True, metadata={"description": "Of the fact: `final` or `unverified`."})
    unmatched = Text(required=True, allow_none=True)


WHY = (
    "no-patient",
    "several-patients",
    "birth-date-missing",
    "birth-date-differs",
    "patient-inactive",
    "other-patient",
    "changed-here",
    "comes-late",
)
SAYS = ("preliminary", "final", "corrected", "entered-in-error")


class UnmatchedOut(Schema):
    """A result that is held. `candidate` is who has that identifier now, if somebody of one's clinics does.

    `why` says what keeps it from being recorded, `might_be` whose it may be, `says` what its source says it is.
    """

    id = Text(required=True)
    clinic = Text(required=True)
    identifier = Object(IdentifierPart, required=True)
    collection = Choice(_COLLECTIONS, required=True)
    result = ma.fields.Dict(required=True)
    received_by = Text(required=True)
    received_at = Instant(required=True)
    candidate = Text(required=True, allow_none=True)
    why = Choice(WHY, required=True)
    might_be = Many(Text(), required=True)
    says = Choice(SAYS, required=True)


class UnmatchedOuts(Schema):
    """Results of no known patient that nobody has settled, the oldest first; the first hundred, and how many in all."""

    total = Whole(required=True, least=0, most=2**53)
    items = Many(Object(UnmatchedOut), required=True)


class Assignment(Schema):
    """Whose result it is; `confirm` answers the questions that it raises, as when a person records it."""

    patient = Text(required=True, longest=64)
    confirm = Many(Text(longest=100))


class WhichClinic(Schema):
    """Of which clinic; of all of the account's if absent."""

    clinic = Text()
