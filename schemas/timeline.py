"""A patient's course at a glance."""

from __future__ import annotations

import marshmallow as ma

from schemas.course import CourseOut
from schemas.fields import Day, Many, Object, Schema, Text, Whole


class TimelineEntry(Schema):
    """A fact on its day, as in its collection, with its CTCAE 5.0 grade where its number tells one."""

    collection = Text(required=True)
    day = Day(required=True)
    ctcae_grade = Whole(required=True, allow_none=True, least=0, most=5)
    fact = ma.fields.Dict(required=True)


class Timeline(Schema):
    """Everything up to a day. `weeks_above_target`: since when each reliable count kept above the increase limit."""

    patient = Text(required=True)
    on = Day(required=True)
    course = Object(CourseOut, required=True, allow_none=True)
    weeks_above_target = Whole(required=True, allow_none=True, least=0, most=100_000)
    days_since_platelet_transfusion = Whole(required=True, allow_none=True, least=0, most=200_000)
    days_since_red_cell_transfusion = Whole(required=True, allow_none=True, least=0, most=200_000)
    days_since_rescue_therapy = Whole(required=True, allow_none=True, least=0, most=200_000)
    entries = Many(Object(TimelineEntry), required=True, most=1_000_000)
    course_changes = Many(Object(CourseOut), required=True, most=100_000)
