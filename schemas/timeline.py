"""A patient's course at a glance."""

from __future__ import annotations

import marshmallow as ma

from schemas.course import CourseOut
from schemas.fields import Amount, Choice, Day, Flag, Many, Object, Schema, Text, Whole
from schemas.recommendation import CourseName


class TimelineEntry(Schema):
    """A fact on its day, as in its collection, with its CTCAE 5.0 grade where its number tells one."""

    collection = Text(required=True)
    day = Day(required=True)
    ctcae_grade = Whole(required=True, allow_none=True, least=0, most=5)
    fact = ma.fields.Dict(required=True)


def _days() -> Whole:
    return Whole(required=True, allow_none=True, least=0, most=200_000)


def _number() -> Whole:
    return Whole(required=True, allow_none=True, least=0, most=1_000_000)


def _level() -> Amount:
    return Amount(required=True, allow_none=True, most="999999999999")


class GradeOut(Schema):
    """How many values are of a CTCAE 5.0 grade; `grade` is null for those whose number does not tell one.

    `values` is null where none is known to be of the grade and some may be.
    """

    grade = Whole(required=True, allow_none=True, least=0, most=4)
    values = _number()
    first_on = Day(required=True, allow_none=True)
    last_on = Day(required=True, allow_none=True)


class GradesOut(Schema):
    """Grade by grade, 0 to 4 and null: the 8 weeks up to and with the day of the first dose, and what came after it."""

    analyte = Choice(("platelets", "haemoglobin", "neutrophils"), required=True)
    in_8_weeks_up_to_first_dose = Many(Object(GradeOut), required=True, most=6)
    after_first_dose = Many(Object(GradeOut), required=True, most=6)


class ResponseOut(Schema):
    """How a course has gone, up to the day `until`. Above target is what does not meet the increase condition.

    Transfusions are those recorded; one of the day of the first dose is one of since. Unknown is null, never 0.
    """

    course = Object(CourseName, required=True)
    protocol = Text(required=True)
    status = Choice(("active", "paused", "discontinued"), required=True)
    started_on = Day(required=True)
    ended_on = Day(required=True, allow_none=True)
    until = Day(required=True)
    first_dose_on = Day(required=True, allow_none=True)
    first_count_above_target_on = Day(required=True, allow_none=True)
    first_count_above_target_confounded = Flag(required=True, allow_none=True)
    weeks_above_target = _number()
    longest_weeks_above_target = _number()
    platelet_transfusions_in_8_weeks_before_first_dose = _number()
    platelet_transfusions_since_first_dose = _number()
    days_free_of_platelet_transfusions = _days()
    red_cell_transfusions_in_8_weeks_before_first_dose = _number()
    red_cell_transfusions_since_first_dose = _number()
    days_free_of_red_cell_transfusions = _days()
    highest_micrograms_per_kg = _level()
    last_micrograms_per_kg = _level()
    grades = Many(Object(GradesOut), required=True, most=3)


class ResponsesQuery(Schema):
    """Of which patients: of a clinic, or one; and up to which day, today at each patient's clinic if absent."""

    clinic = Text(metadata={"description": "Id of a clinic of the account."})
    patient = Text(metadata={"description": "Id of a patient."})
    on = Day()


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
    responses = Many(Object(ResponseOut), required=True, most=100_000)
