"""Propose the next dose: the one way from facts to an answer, taken by every door.

What a door has is a course document, or a patient whose facts are stored; of those a course document is made first, and
read by the same parser.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from titrator.protocols import Catalogue
from titrator.store.base import CourseFact, Where
from titrator.store.records import CourseVersion, Patient
from titrator.titration.course import Request, read_document, read_text
from titrator.titration.errors import Fault, InvalidDocument, InvalidProtocol
from titrator.titration.protocol import Protocol
from titrator.titration.quantities import iso
from titrator.titration.recommend import Recommendation, recommend
from titrator.workflow.errors import Code, Conflict, Unready
from titrator.workflow.facts import BY_KIND, ENTRIES, in_order
from titrator.workflow.visit import Services, Visit

#: The largest course document taken, in bytes: lists of 5,000 entries fit, with room for white space.
LARGEST_DOCUMENT = 4_000_000

OPEN = ("active", "paused")


def read_request(catalogue: Catalogue, document: bytes) -> Request:
    """What a course document asks; raises InvalidDocument with every fault."""
    if len(document) > LARGEST_DOCUMENT:
        raise InvalidDocument([Fault("", f"larger than {LARGEST_DOCUMENT} bytes")])
    return read_text(document, catalogue.fault)


def propose(catalogue: Catalogue, document: bytes | dict[str, object]) -> Recommendation:
    """The answer to a course document, as sent or as made here; raises InvalidDocument with every fault."""
    if isinstance(document, bytes):
        request = read_request(catalogue, document)
    else:
        request = read_document(document, catalogue.fault)
    return recommend(catalogue.get(request.protocol), request.course, request.on)


class Proposal(NamedTuple):
    """The answer for a stored patient, by course, and what was left out of it.

    `unverified` has still to be verified; `later` happened after the day asked about. Facts are named `weights/12`.
    """

    answer: Recommendation
    patient: Patient
    course: CourseVersion
    unverified: tuple[str, ...]
    later: tuple[str, ...]


def answer_document(visit: Visit, document: bytes | dict[str, object]) -> Recommendation:
    """The answer to a course document that was sent, or that was made of what was; raises Unready, InvalidDocument."""
    refuse_if_broken(visit.services)
    answer = propose(visit.services.catalogue, document)
    visit.note(
        "recommend",
        "course-document",
        action=str(answer.action),
        protocol=f"{answer.protocol.id} {answer.protocol.sha256}",
        input_sha256=answer.input_sha256,
    )
    return answer


def propose_dose(visit: Visit, patient: Patient, day: str, today: str) -> Proposal:
    """The next dose of a stored patient on a day, told from what is stored, without an entry in the trail.

    Raises Unready where the self-test failed or the protocol cannot be used; Conflict COURSE-NOT-ACTIVE, on a day
    before the course, too, FACTS-UNVERIFIED where a dose of a feed has not been verified, DOSES-BEFORE-COURSE.
    """
    refuse_if_broken(visit.services)
    course = active_course(visit, patient)
    facts = visit.session.course_facts(patient.id)
    unverified = [fact for fact in facts if fact.status != "final"]
    later = [fact for fact in facts if fact.day > day]
    if later and day >= today:
        _refuse_later(later, day)
    if day < course.started_on:
        text = f"The course began on {course.started_on}: there is no next dose on {day}."
        raise Conflict(Code.COURSE_NOT_ACTIVE, text)
    _refuse_unverified_doses(unverified, day)
    _refuse_doses_outside(visit, patient, course, facts)
    protocol = usable_protocol(visit.services.catalogue, course.protocol)
    document = course_document(patient, course, facts, day)
    request = read_document(document, lambda _: None)
    answer = recommend(protocol, request.course, request.on)
    if unverified and answer.dose is not None:
        _refuse_unverified(patient, course, facts, answer)
    return Proposal(answer, patient, course, _named(fact for fact in unverified if fact.day <= day), _named(later))


def active_course(visit: Visit, patient: Patient) -> CourseVersion:
    """The course that a patient is on; raises Conflict COURSE-NOT-ACTIVE."""
    course = open_course(visit, patient)
    if course is None or course.status != "active" or not patient.active:
        state = "has no course" if course is None else f"has a course that is {course.status}"
        if not patient.active:
            state = "is not active"
        raise Conflict(Code.COURSE_NOT_ACTIVE, f"The patient {state}: there is no next dose.")
    return course


def open_course(visit: Visit, patient: Patient) -> CourseVersion | None:
    """The course of a patient that is active or paused, if any."""
    found = visit.session.find(
        CourseVersion,
        Where("patient_id", "=", patient.id),
        Where("current", "=", 1),
        Where("status", "in", OPEN),
    )
    return found[0] if found else None


def usable_protocol(catalogue: Catalogue, ident: str) -> Protocol:
    """A protocol by its id; raises Unready PROTOCOL-UNUSABLE."""
    try:
        return catalogue.get(ident)
    except (KeyError, InvalidProtocol) as error:
        raise Unready(
            f"The protocol {ident} cannot be used: {catalogue.fault(ident)}", code=Code.PROTOCOL_UNUSABLE
        ) from error


def course_document(patient: Patient, course: CourseVersion, facts: Iterable[CourseFact], on: str) -> dict[str, object]:
    """The course document of a stored patient on a day; weights and doses that nobody has verified are left out."""
    lists: dict[str, list[dict[str, object]]] = {"weights": [], "platelet_counts": [], "doses": [], "events": []}
    for fact in in_order(facts):
        if fact.day > on or (fact.status == "unverified" and fact.kind != "platelet-count"):
            continue
        if fact.kind == "dose" and fact.day < course.started_on:
            continue
        name, entry = ENTRIES[fact.kind]
        lists[name].append(entry(fact))
    document: dict[str, object] = {"protocol": course.protocol, "on": on, **lists}
    if patient.born_on is not None:
        document["born_on"] = patient.born_on
    if course.baseline_on is not None:
        document["baseline_on"] = course.baseline_on
    document["eligibility"] = list(course.eligibility)
    return document


def doses_between_courses(visit: Visit, patient: Patient, started_on: str, facts: Sequence[CourseFact]) -> list[str]:
    """The days of doses before a course that belong to no course before it: a course may not leave them out."""
    earlier = [fact.day for fact in facts if fact.kind == "dose" and fact.day < started_on]
    if not earlier:
        return []
    ended = visit.session.find(
        CourseVersion,
        Where("patient_id", "=", patient.id),
        Where("current", "=", 1),
        Where("status", "=", "discontinued"),
    )
    return sorted({day for day in earlier if not any(c.started_on <= day <= (c.ended_on or "") for c in ended)})


def refuse_if_broken(services: Services) -> None:
    """Raise Unready where the self-test failed: then no dose is told, nor one that was computed before."""
    if services.broken:
        raise Unready(f"The self-test of this service failed, so it computes no dose: {'; '.join(services.broken)}")


def _refuse_unverified_doses(facts: Iterable[CourseFact], on: str) -> None:
    open_ones = [fact for fact in facts if fact.kind == "dose" and fact.status == "unverified" and fact.day <= on]
    if open_ones:
        raise Conflict(
            Code.FACTS_UNVERIFIED,
            "A dose that a system reported looks wrong and has not been verified. Verify it or mark it as entered in "
            "error; until then nobody knows what the last dose was.",
            faults=[
                Fault(f"doses/{fact.id}", f"{fact.value} micrograms on {fact.day}, not verified") for fact in open_ones
            ],
        )


def _named(facts: Iterable[CourseFact]) -> tuple[str, ...]:
    return tuple(f"{BY_KIND[fact.kind].name}/{fact.id}" for fact in facts)


def _refuse_later(later: Sequence[CourseFact], day: str) -> None:
    """Facts of tomorrow, as after a change of time zone: what they say must not be passed over today."""
    raise Conflict(
        Code.FACTS_LATER,
        f"Facts are dated after {day}, so what they say would be left out. Correct their days, or those of the clinic.",
        faults=[Fault(f"{BY_KIND[fact.kind].name}/{fact.id}", f"is of {fact.day}") for fact in later],
    )


def _refuse_unverified(
    patient: Patient, course: CourseVersion, facts: Sequence[CourseFact], answer: Recommendation
) -> None:
    """A dose may not rest on passing over what nobody has verified, where that would change the answer if right."""
    day = iso(answer.on)
    waiting = [fact for fact in facts if fact.status == "unverified" and fact.day <= day]
    trials = [{fact.id} for fact in waiting] + [{fact.id for fact in waiting}]
    if not any(_differs(patient, course, facts, answer, trusted) for trusted in trials):
        return
    raise Conflict(
        Code.FACTS_UNVERIFIED,
        "What a system reported looks wrong and has not been verified, and with it the answer would be another one. "
        "Verify it or mark it as entered in error.",
        faults=[
            Fault(f"{BY_KIND[one.kind].name}/{one.id}", f"{_said(one)} on {one.day}, not verified") for one in waiting
        ],
    )


def _said(fact: CourseFact) -> str:
    return f"possible {(fact.code or '').replace('_', ' ')}" if fact.kind == "event" else f"{fact.value} {fact.unit}"


def _differs(
    patient: Patient, course: CourseVersion, facts: Sequence[CourseFact], answer: Recommendation, trusted: set[int]
) -> bool:
    """Whether the answer would be another one if some unverified facts were right."""
    believed = [fact._replace(status="final") if fact.id in trusted else fact for fact in facts]
    request = read_document(course_document(patient, course, believed, iso(answer.on)), lambda _: None)
    other = recommend(answer.protocol, request.course, request.on)
    return (other.action, other.reasons, other.alerts, other.dose) != (
        answer.action,
        answer.reasons,
        answer.alerts,
        answer.dose,
    )


def _refuse_doses_outside(visit: Visit, patient: Patient, course: CourseVersion, facts: Sequence[CourseFact]) -> None:
    if not any(fact.kind == "dose" and fact.day < course.started_on for fact in facts):
        return
    if days := doses_between_courses(visit, patient, course.started_on, facts):
        raise Conflict(
            Code.DOSES_BEFORE_COURSE,
            f"Doses on {', '.join(days[:10])} are recorded before the course began on {course.started_on}, in no other "
            "course. Enter the course in error and start it anew on the day of its first dose.",
            faults=[Fault("doses", f"given on {day}, before the course") for day in days],
        )
