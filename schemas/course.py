"""Courses of therapy, and the course document."""

from __future__ import annotations

from schemas.dose import DosePart
from schemas.event import EventPart
from schemas.fields import Choice, Day, Instant, Many, Object, Schema, Text, Whole
from schemas.observation import CountPart, WeightPart

_REASON = {"required": True, "longest": 1000, "lines": True}


class CourseDocument(Schema):
    """The facts of a course and the question what is next on a day; the same document as on the command line."""

    protocol = Text(required=True, longest=250)
    on = Day(required=True)
    born_on = Day()
    baseline_on = Day()
    weights = Many(Object(WeightPart), most=5000)
    platelet_counts = Many(Object(CountPart), most=5000)
    doses = Many(Object(DosePart), most=5000)
    events = Many(Object(EventPart), most=5000)
    eligibility = Many(Text(longest=100, shortest=0, anything=True), most=5000)


class CourseStart(Schema):
    """A course to start, today or earlier: of a patient already on romiplostim, on the day of the first dose."""

    protocol = Text(required=True)
    started_on = Day()
    eligibility = Many(Text(longest=100))
    reason = Text(longest=1000, lines=True)


class ReasonIn(Schema):
    """Why."""

    reason = Text(required=True, longest=1000, lines=True)


class EligibilityIn(ReasonIn):
    """What has been confirmed, by the protocol's codes, in place of what was confirmed so far."""

    eligibility = Many(Text(longest=100), required=True)


class ProtocolSwitch(ReasonIn):
    """Another protocol."""

    protocol = Text(required=True)


class NewBaseline(ReasonIn):
    """The day from which doses follow a new baseline weight."""

    baseline_on = Day(required=True)


class Discontinuation(ReasonIn):
    """The end of a course, today or earlier."""

    ended_on = Day()


class CourseOut(Schema):
    """A course as it stands after its last change."""

    id = Whole(required=True, least=1, most=2**53)
    version = Whole(required=True, least=1, most=2**53)
    protocol = Text(required=True)
    status = Choice(("active", "paused", "discontinued", "entered-in-error"), required=True)
    started_on = Day(required=True)
    ended_on = Day(required=True, allow_none=True)
    baseline_on = Day(required=True, allow_none=True)
    eligibility = Many(Text(), required=True)
    change = Text(required=True)
    reason = Text(required=True, allow_none=True, longest=1000, lines=True)
    changed_by = Text(required=True)
    changed_at = Instant(required=True)


class Courses(Schema):
    """Every version of every course, in order."""

    items = Many(Object(CourseOut), required=True, most=100_000)
