"""Courses of therapy: started, changed for a reason, paused, discontinued. Each change is a new version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Final, cast

from titrator.security.permissions import Permission
from titrator.store.base import CourseFact, Where
from titrator.store.records import CourseVersion, Patient
from titrator.titration.errors import Fault
from titrator.workflow.delivery import void
from titrator.workflow.errors import Code, Conflict, Forbidden, Invalid, Unknown
from titrator.workflow.propose import doses_between_courses, open_course, usable_protocol
from titrator.workflow.visit import Visit, instant, refuse_outdated

Body = Mapping[str, object]

_WEEK: Final = 7


def start(visit: Visit, patient_id: str, body: Body) -> CourseVersion:
    """A new course of a patient who is on none.

    Raises Conflict BIRTH-DATE-MISSING, COURSE-OPEN, PATIENT-INACTIVE; DOSES-BEFORE-COURSE where doses were recorded
    before it that belong to no other course. Eligibility is confirmed with the start by who may confirm it, and must be
    where doses of the course are recorded already: the rules ask for it before the first dose only.
    """
    confirmed = _eligibility(visit, body)
    if confirmed and Permission.CONFIRM_ELIGIBILITY not in visit.who.permissions:
        raise Forbidden("This account may not confirm eligibility; start the course without, or ask a prescriber.")
    patient = visit.patient(patient_id)
    if not patient.active:
        raise Conflict(Code.PATIENT_INACTIVE, "The patient is not active; make the record active first.")
    if patient.born_on is None:
        raise Conflict(Code.BIRTH_DATE_MISSING, "A course needs the patient's birth date, for the labels' ages.")
    if open_course(visit, patient) is not None:
        raise Conflict(Code.COURSE_OPEN, "The patient is on a course already; discontinue that one first.")
    protocol = _protocol(visit, body)
    started_on = cast(str, body.get("started_on") or visit.today(patient))
    _refuse_day(visit, patient, "started_on", started_on, not_before=patient.born_on)
    facts = visit.session.course_facts(patient.id)
    if days := doses_between_courses(visit, patient, started_on, facts):
        raise Conflict(
            Code.DOSES_BEFORE_COURSE,
            f"Doses on {', '.join(days[:10])} are recorded before {started_on}, in no other course: start it on "
            f"{days[0]}, or enter them in error.",
            faults=[Fault("started_on", f"must not be after {days[0]}, the day of the first dose of no other course")],
        )
    _refuse_close_dose(facts, started_on)
    _refuse_unconfirmed(visit, protocol, confirmed, facts, started_on)
    ended = [
        course.ended_on or course.started_on for course in history(visit, patient) if course.status == "discontinued"
    ]
    if any(started_on <= day for day in ended):
        raise Invalid(Fault("started_on", f"must be after {max(ended)}, when the course before ended"))
    raised = visit.raise_revision(patient)
    reason = cast("str | None", body.get("reason"))
    course = first_version(visit, (patient.id, raised.revision), protocol, started_on)
    course = replace(course, eligibility=confirmed, reason=reason)
    visit.session.add(course)
    visit.note("start-course", _subject(course), patient=patient, new=fields(course))
    return course


def first_version(visit: Visit, key: tuple[str, int], protocol: str, started_on: str) -> CourseVersion:
    """A course as it begins, by the id of its patient and its own: active, with nothing confirmed."""
    return CourseVersion(
        patient_id=key[0],
        id=key[1],
        version=1,
        current=True,
        protocol=protocol,
        status="active",
        started_on=started_on,
        ended_on=None,
        baseline_on=None,
        eligibility=(),
        change="start",
        reason=None,
        changed_by=visit.who.account_id,
        changed_at=instant(visit.now),
    )


def next_version(visit: Visit, course: CourseVersion, change: str, reason: str, **changes: object) -> CourseVersion:
    """A course as it becomes by a change, for a reason."""
    about = {"change": change, "reason": reason, "changed_by": visit.who.account_id, "changed_at": instant(visit.now)}
    return replace(course, version=course.version + 1, current=True, **{**about, **changes})  # type: ignore[arg-type]


def confirm_eligibility(visit: Visit, patient_id: str, body: Body, version: int | None) -> CourseVersion:
    """The course with what was confirmed before the first dose, in place of what was confirmed so far."""
    return _change(visit, patient_id, "confirm-eligibility", body, version, eligibility=_eligibility(visit, body))


def switch_protocol(visit: Visit, patient_id: str, body: Body, version: int | None) -> CourseVersion:
    """The course by another protocol; not by one of a single dose, which is a course of its own."""
    patient = visit.patient(patient_id)
    ident = _protocol(visit, body)
    kinds = {type(usable_protocol(visit.services.catalogue, one)) for one in (ident, _open(visit, patient).protocol)}
    if len(kinds) > 1:
        raise Invalid(Fault("protocol", "gives a single dose where the other titrates: end this course, start another"))
    asked = usable_protocol(visit.services.catalogue, ident).eligibility
    if open_ones := sorted(set(asked) - set(_open(visit, patient).eligibility)):
        raise Invalid(Fault("protocol", f"asks for what has not been confirmed: {', '.join(open_ones)}"))
    return _change(visit, patient_id, "switch-protocol", body, version, protocol=ident)


def new_baseline(visit: Visit, patient_id: str, body: Body, version: int | None) -> CourseVersion:
    """The course with the baseline weight of another day."""
    day = cast(str, body["baseline_on"])
    patient = visit.patient(patient_id)
    _refuse_day(visit, patient, "baseline_on", day, not_before=_open(visit, patient).started_on)
    return _change(visit, patient_id, "new-baseline", body, version, baseline_on=day)


def pause(visit: Visit, patient_id: str, body: Body, version: int | None) -> CourseVersion:
    """The course, paused: it has no next dose until it goes on."""
    _refuse_status(visit, patient_id, "active")
    return _change(visit, patient_id, "pause", body, version, status="paused")


def go_on(visit: Visit, patient_id: str, body: Body, version: int | None) -> CourseVersion:
    """The course, active again."""
    _refuse_status(visit, patient_id, "paused")
    return _change(visit, patient_id, "go-on", body, version, status="active")


def discontinue(visit: Visit, patient_id: str, body: Body, version: int | None) -> CourseVersion:
    """The course, ended: another one may be started."""
    patient = visit.patient(patient_id)
    course = _open(visit, patient)
    ended_on = cast(str, body.get("ended_on") or visit.today(patient))
    _refuse_day(visit, patient, "ended_on", ended_on, not_before=course.started_on)
    facts = visit.session.course_facts(patient.id)
    later = sorted(fact.day for fact in facts if fact.kind == "dose" and fact.day > ended_on)
    if later:
        raise Invalid(Fault("ended_on", f"must not be before {later[-1]}, when a dose was given"))
    return _change(visit, patient_id, "discontinue", body, version, status="discontinued", ended_on=ended_on)


def enter_in_error(visit: Visit, patient_id: str, body: Body, version: int | None) -> CourseVersion:
    """The course, as one that never was: for a wrong day of start, or a wrong patient. Its facts stay."""
    return _change(visit, patient_id, "enter-in-error", body, version, status="entered-in-error")


def current(visit: Visit, patient_id: str) -> CourseVersion:
    """The course that is open, else the last one; raises Unknown where there was none."""
    patient = visit.patient(patient_id)
    visit.note("read", f"patient/{patient.id}/course", patient=patient)
    found = open_course(visit, patient)
    if found is not None:
        return found
    ended = [course for course in history(visit, patient) if course.current and course.status == "discontinued"]
    if not ended:
        raise Unknown("course")
    return ended[-1]


def courses(visit: Visit, patient_id: str) -> list[CourseVersion]:
    """All versions of all courses of a patient, in order."""
    patient = visit.patient(patient_id)
    visit.note("read", f"patient/{patient.id}/courses", patient=patient)
    return history(visit, patient)


def history(visit: Visit, patient: Patient) -> list[CourseVersion]:
    """All versions of all courses of a patient, in order, without an entry in the trail."""
    return visit.session.find(CourseVersion, Where("patient_id", "=", patient.id), order=("id", "version"))


def fields(course: CourseVersion) -> dict[str, object]:
    """A course as it is sent."""
    return {
        "id": course.id,
        "version": course.version,
        "protocol": course.protocol,
        "status": course.status,
        "started_on": course.started_on,
        "ended_on": course.ended_on,
        "baseline_on": course.baseline_on,
        "eligibility": list(course.eligibility),
        "change": course.change,
        "reason": course.reason,
        "changed_by": course.changed_by,
        "changed_at": course.changed_at,
    }


def _eligibility(visit: Visit, body: Body) -> tuple[str, ...]:
    """What a body says is confirmed; raises Invalid for what no protocol asks for."""
    confirmed = cast("list[str]", body.get("eligibility", []))
    if not confirmed:
        return ()
    catalogue = visit.services.catalogue
    asked = sorted(
        {code for one in catalogue.ids() if not catalogue.fault(one) for code in catalogue.get(one).eligibility}
    )
    says = f"no protocol asks for it, but for {', '.join(asked)}"
    if faults := [Fault(f"eligibility[{i}]", says) for i, code in enumerate(confirmed) if code not in asked]:
        raise Invalid(*faults)
    return tuple(sorted(set(confirmed)))


def _refuse_unconfirmed(
    visit: Visit, protocol: str, confirmed: Sequence[str], facts: Sequence[CourseFact], started_on: str
) -> None:
    """A course with doses must not begin past the step at which its protocol asks for eligibility."""
    missing = sorted(set(usable_protocol(visit.services.catalogue, protocol).eligibility) - set(confirmed))
    if missing and any(fact.kind == "dose" and fact.day >= started_on for fact in facts):
        says = f"doses of this course are recorded, so it must name what its protocol asks for: {', '.join(missing)}"
        raise Invalid(Fault("eligibility", says))


def _refuse_close_dose(facts: Sequence[CourseFact], started_on: str) -> None:
    """The engine does not know the doses of another course: a new one must not begin right after the last of them."""
    last = max((fact.day for fact in facts if fact.kind == "dose" and fact.day < started_on), default=None)
    if last is not None and (date.fromisoformat(started_on) - date.fromisoformat(last)).days < _WEEK:
        raise Invalid(
            Fault("started_on", f"must be {_WEEK} days or more after {last}, the last dose of another course")
        )


def _change(
    visit: Visit, patient_id: str, change: str, body: Body, version: int | None, **changes: object
) -> CourseVersion:
    patient = visit.patient(patient_id)
    course = _open(visit, patient)
    refuse_outdated(course.version, version)
    reason = cast(str, body["reason"])
    raised = visit.raise_revision(patient)
    visit.session.change(replace(course, current=False))
    new = next_version(visit, course, change, reason, **changes)
    visit.session.add(new)
    visit.note(change, _subject(new), patient=patient, old=fields(course), new=fields(new), why=reason)
    void(visit, raised, f"course: {change}")
    return new


def _open(visit: Visit, patient: Patient) -> CourseVersion:
    course = open_course(visit, patient)
    if course is None:
        raise Conflict(Code.COURSE_NOT_ACTIVE, "The patient is on no course.")
    return course


def _refuse_status(visit: Visit, patient_id: str, wanted: str) -> None:
    course = _open(visit, visit.patient(patient_id))
    if course.status != wanted:
        raise Conflict(Code.COURSE_NOT_ACTIVE, f"The course is {course.status}, not {wanted}.")


def _protocol(visit: Visit, body: Body) -> str:
    ident = cast(str, body["protocol"])
    if wrong := visit.services.catalogue.fault(ident):
        raise Invalid(Fault("protocol", wrong))
    return ident


def _refuse_day(visit: Visit, patient: Patient, path: str, day: str, *, not_before: str) -> None:
    today = visit.today(patient)
    if not not_before <= day <= today:
        raise Invalid(Fault(path, f"must be from {not_before} to {today}, today at the clinic"))


def _subject(course: CourseVersion) -> str:
    return f"patient/{course.patient_id}/course/{course.id}"
