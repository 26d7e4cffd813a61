"""Clinics."""

from __future__ import annotations

from typing import Any, Final
from zoneinfo import available_timezones

import marshmallow as ma

from schemas.fields import Choice, Day, Many, Object, Schema, Text, Whole

WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class ClinicIn(Schema):
    """A clinic: `time_zone` tells what day it is there."""

    name = Text(required=True)
    time_zone = Text(required=True, metadata={"description": "IANA name, like Europe/Berlin."})
    holidays = Many(Day(), most=1000, metadata={"description": "Days on which the clinic is closed."})
    injection_days = Many(Choice(WEEKDAYS), most=7)

    @ma.validates("time_zone")
    def known_zone(self, value: str, **_: Any) -> None:
        """Refuse a zone that the time zone database has not."""
        if value not in available_timezones():
            raise ma.ValidationError("must be a name of the IANA time zone database, like Europe/Berlin")


class ClinicOut(Schema):
    """A clinic as stored."""

    id = Text(required=True)
    version = Whole(required=True, least=1, most=2**53)
    name = Text(required=True)
    time_zone = Text(required=True)
    holidays = Many(Day(), required=True, most=1000)
    injection_days = Many(Choice(WEEKDAYS), required=True)


class Clinics(Schema):
    """The clinics that an account may see."""

    items = Many(Object(ClinicOut), required=True, most=100_000)
