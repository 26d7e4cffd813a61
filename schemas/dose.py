"""Doses given, and doses not given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import marshmallow as ma

from schemas.fact import Corrects, FactIn, FactOut, Reasoned
from schemas.fields import Amount, Choice, Day, Many, Schema, Text, keys_of, one_of

#: How a dose was given. The labels know the first alone.
ROUTES: Final = ("subcutaneous", "intravenous", "intramuscular", "other", "unknown")
NOT_GIVEN: Final = ("absent", "refused", "on-hold", "adverse-event", "no-supply", "prescriber-decision", "other")


class DosePart(Schema):
    """A dose given."""

    given_on = Day(required=True)
    micrograms = Amount(required=True, above=True, most="5000")
    micrograms_per_kg = Amount(above=True, most="5000")


class DoseIn(FactIn):
    """A dose given (`given_on`, `micrograms`), or one that was not (`not_given_on`, `reason_not_given`)."""

    given_on = Day()
    micrograms = Amount(above=True, most="5000")
    micrograms_per_kg = Amount(above=True, most="5000")
    route = Choice(ROUTES, metadata={"description": "How it was given; subcutaneous if absent."})
    not_given_on = Day(metadata={"description": "The day on which it was due."})
    reason_not_given = Choice(NOT_GIVEN)

    @ma.validates_schema(pass_original=True, skip_on_field_errors=False)
    def one_or_the_other(self, data: Mapping[str, object], sent: object, **_: Any) -> None:
        """Refuse a dose that is both given and not, and one without what its kind needs."""
        del data
        there = keys_of(sent)
        one_of("given_on", "not_given_on")(there)
        needs, not_with = (
            (["micrograms"], ["reason_not_given"])
            if "given_on" in there
            else (["reason_not_given"], ["micrograms", "micrograms_per_kg", "route"])
        )
        wrong = {key: ["required"] for key in needs if key not in there}
        wrong |= {key: ["does not go with the other keys"] for key in not_with if key in there}
        if wrong:
            raise ma.ValidationError(wrong)


class DoseCorrection(Reasoned, DoseIn):
    """What the dose really was."""

    class Meta(Corrects):
        """No name of another system."""


class DoseOut(FactOut):
    """A dose as recorded."""

    given_on = Day()
    micrograms = Amount(above=True, most="5000")
    micrograms_per_kg = Amount(allow_none=True, above=True, most="5000")
    route = Choice(ROUTES, metadata={"description": "Of a dose that was not given subcutaneously."})
    not_given_on = Day()
    reason_not_given = Choice(NOT_GIVEN)
    flags = Many(
        Text(),
        metadata={"description": "When recorded: DOSE-MISMATCH-DECISION if it departs from what was decided."},
    )
