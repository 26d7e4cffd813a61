"""Weights, platelet counts and other observations."""

from __future__ import annotations

from schemas.fact import Corrects, FactIn, FactOut, Reasoned
from schemas.fields import COUNT_UNITS, WEIGHT_UNITS, Amount, Choice, Day, Flag, Schema, Text


class WeightPart(Schema):
    """A body weight; in kg from 0.3 to 400."""

    measured_on = Day(required=True)
    value = Amount(required=True, most="400000")
    unit = Choice(WEIGHT_UNITS, required=True)


class CountPart(Schema):
    """A platelet count; in 10⁹/L from 0 to 5000. `unreliable`: clumped, preliminary."""

    collected_on = Day(required=True)
    value = Amount(required=True, most="5000000")
    unit = Choice(COUNT_UNITS, required=True)
    unreliable = Flag()


class WeightIn(FactIn, WeightPart):
    """A weight to record."""


class WeightCorrection(Reasoned, WeightIn):
    """What the weight really was."""

    class Meta(Corrects):
        """No name of another system."""


class WeightOut(FactOut):
    """A weight as recorded."""

    measured_on = Day(required=True)
    value = Amount(required=True, most="400000")
    unit = Choice(WEIGHT_UNITS, required=True)


class CountIn(FactIn, CountPart):
    """A platelet count to record."""


class CountCorrection(Reasoned, CountIn):
    """What the count really was."""

    class Meta(Corrects):
        """No name of another system."""


class CountOut(FactOut):
    """A platelet count as recorded; a feed's that looks wrong is unreliable until it is verified."""

    collected_on = Day(required=True)
    value = Amount(required=True, most="5000000")
    unit = Choice(COUNT_UNITS, required=True)
    unreliable = Flag(required=True)


class ObservationIn(FactIn):
    """Another value: `haemoglobin`, `neutrophils`, `immature-platelet-fraction`, or any code of yours."""

    code = Text(required=True, longest=100, pattern=r"[A-Za-z0-9][A-Za-z0-9._:+-]*")
    observed_on = Day(required=True)
    value = Amount(required=True, most="999999999999")
    unit = Text(required=True, longest=40, metadata={"description": "UCUM: g/L, g/dL, 10*9/L, %, ..."})
    lower_limit_of_normal = Amount(
        most="999999999999", metadata={"description": "Of the laboratory, in the same unit: grade 1 needs it."}
    )


class ObservationCorrection(Reasoned, ObservationIn):
    """What the value really was."""

    class Meta(Corrects):
        """No name of another system."""


class ObservationOut(FactOut):
    """An observation as recorded."""

    code = Text(required=True)
    observed_on = Day(required=True)
    value = Amount(required=True, most="999999999999")
    unit = Text(required=True)
    lower_limit_of_normal = Amount(required=True, allow_none=True, most="999999999999")
