"""Events: transfusions, rescue therapy, thromboses, marrow disorders, adverse events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import marshmallow as ma

from schemas.fact import Corrects, FactIn, FactOut, Reasoned
from schemas.fields import Choice, Day, Schema, Text, Whole, keys_of

KINDS: Final = (
    "platelet_transfusion",
    "rescue_therapy",
    "thrombosis",
    "marrow_disorder",
    "red_cell_transfusion",
    "adverse_event",
)
#: Scales of toxicity and their highest grade; grade 5 is death. ICANS: immune effector cell neurotoxicity.
SCALES: Final = {"ctcae-5.0": 5, "ctcae-6.0": 5, "crs": 5, "icans": 5}


class EventPart(Schema):
    """Something that happened, and the day it was over, if it is."""

    kind = Choice(KINDS, required=True)
    occurred_on = Day(required=True)
    resolved_on = Day()


class EventIn(FactIn, EventPart):
    """An event to record; an adverse event with its term, and its grade on a scale."""

    term = Text(metadata={"description": "What it was, in the words of the scale or your own."})
    scale = Choice(SCALES, metadata={"description": "CTCAE, or ASTCT grades of CRS and ICANS."})
    grade = Whole(least=0, most=5)

    @ma.validates_schema(pass_original=True, skip_on_field_errors=False)
    def graded_on_a_scale(self, data: Mapping[str, object], sent: object, **_: Any) -> None:
        """Refuse a grade without a scale, and an adverse event without a term."""
        wrong = {}
        there = keys_of(sent)
        if ("grade" in there) != ("scale" in there):
            wrong["scale" if "grade" in there else "grade"] = ["required: a grade and its scale go together"]
        if data.get("kind") == "adverse_event" and "term" not in there and "scale" not in there:
            wrong["term"] = ["required for an adverse event without a scale"]
        if wrong:
            raise ma.ValidationError(wrong)


class EventCorrection(Reasoned, EventIn):
    """What really happened."""

    class Meta(Corrects):
        """No name of another system."""


class ResolutionIn(Reasoned):
    """The day since which an event is over."""

    resolved_on = Day(required=True)


class EventOut(FactOut):
    """An event as recorded."""

    kind = Choice(KINDS, required=True)
    occurred_on = Day(required=True)
    resolved_on = Day(required=True, allow_none=True)
    term = Text(required=True, allow_none=True)
    scale = Choice(SCALES, required=True, allow_none=True)
    grade = Whole(required=True, allow_none=True, least=0, most=5)
