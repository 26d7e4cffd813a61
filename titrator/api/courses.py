"""The course of a patient: started, changed for a reason, paused, discontinued."""

from __future__ import annotations

from collections.abc import Callable

from schemas.course import (
    CourseOut,
    Courses,
    CourseStart,
    Discontinuation,
    EligibilityIn,
    NewBaseline,
    ProtocolSwitch,
    ReasonIn,
)
from schemas.fields import Schema
from titrator.api.blueprint import Blueprint
from titrator.api.wire import etag, if_match
from titrator.security.permissions import Permission
from titrator.store.records import CourseVersion
from titrator.workflow import courses
from titrator.workflow.visit import Visit

blueprint = Blueprint("courses", __name__, description="Courses of therapy, one at a time for each patient.")

Fields = dict[str, object]
Answer = tuple[Fields, dict[str, str]]
Change = Callable[[Visit, str, Fields, int | None], CourseVersion]


@blueprint.operation("GET", "/patients/<patient_id>/course", Permission.READ_PATIENTS, "Condition.r", gives=CourseOut)
def get_course(visit: Visit, patient_id: str) -> Answer:
    """The course that is open, else the last one."""
    return _sent(courses.current(visit, patient_id))


@blueprint.operation("GET", "/patients/<patient_id>/courses", Permission.READ_PATIENTS, "Condition.s", gives=Courses)
def list_courses(visit: Visit, patient_id: str) -> Fields:
    """Every version of every course."""
    return {"items": [courses.fields(course) for course in courses.courses(visit, patient_id)]}


@blueprint.operation(
    "POST",
    "/patients/<patient_id>/course",
    Permission.MANAGE_COURSES,
    "Condition.c",
    body=CourseStart,
    gives=CourseOut,
    status=201,
)
def start_course(visit: Visit, body: Fields, patient_id: str) -> Answer:
    """Start a course."""
    fields, headers = _sent(courses.start(visit, patient_id, body))
    return fields, {**headers, "Location": f"/api/v1/patients/{patient_id}/course"}


def _sent(course: CourseVersion) -> Answer:
    return courses.fields(course), etag(course.version)


def _change(path: str, permission: Permission, schema: type[Schema], change: Change, says: str) -> None:
    def view(visit: Visit, body: Fields, patient_id: str) -> Answer:
        return _sent(change(visit, patient_id, body, if_match()))

    view.__doc__ = says
    blueprint.operation(
        "POST",
        f"/patients/<patient_id>/course/{path}",
        permission,
        "Condition.u Condition.r",
        body=schema,
        gives=CourseOut,
        versioned=True,
        name=f"course_{path.replace('-', '_')}",
    )(view)


_change(
    "eligibility",
    Permission.CONFIRM_ELIGIBILITY,
    EligibilityIn,
    courses.confirm_eligibility,
    "Confirm what the protocol asks for before the first dose.",
)
_change("protocol", Permission.MANAGE_COURSES, ProtocolSwitch, courses.switch_protocol, "Switch to another protocol.")
_change("baseline", Permission.NEW_BASELINE, NewBaseline, courses.new_baseline, "Take a new baseline weight.")
_change("pause", Permission.MANAGE_COURSES, ReasonIn, courses.pause, "Pause the course.")
_change("continuation", Permission.MANAGE_COURSES, ReasonIn, courses.go_on, "Go on with a paused course.")
_change("discontinuation", Permission.DISCONTINUE, Discontinuation, courses.discontinue, "End the course.")
_change(
    "entered-in-error",
    Permission.DISCONTINUE,
    ReasonIn,
    courses.enter_in_error,
    "Say that the course never was; its facts stay.",
)
