"""Where each patient stands: the answer of today, computed once and kept until something happens or the day ends.

Whatever is recorded of a patient marks the patient as not settled, in the same transaction. To settle one is to compute
the answer and to keep it beside the patient's revision, so that an answer that no longer holds can be told from the two
rows alone: it is never given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple, cast

from titrator.security.secrets import sha256
from titrator.store.base import Session, Stale, Where
from titrator.store.records import Clinic, CourseVersion, Patient, Standing
from titrator.titration.answer import to_text
from titrator.titration.errors import InvalidProtocol
from titrator.titration.quantities import iso
from titrator.workflow.errors import Refusal
from titrator.workflow.propose import Proposal, propose_dose, refuse_if_broken
from titrator.workflow.visit import Services, Visit, day_at

#: So many patients in one transaction, that whoever records a fact meanwhile does not wait long.
_AT_ONCE: Final = 50


class NextDose(NamedTuple):
    """The answer for a stored patient as it stands; `later` names facts after the day asked about."""

    standing: Standing
    later: tuple[str, ...] = ()


def next_dose(visit: Visit, patient_id: str, on: str | None) -> NextDose:
    """The next dose of a stored patient on a day, by default today at the clinic.

    Raises Unknown, and what `propose_dose` raises.
    """
    refuse_if_broken(visit.services)
    patient = visit.patient(patient_id)
    today = visit.today(patient)
    day = on or today
    standing, later = kept(visit, patient, day), cast("tuple[str, ...]", ())
    if standing is None:
        proposal = propose_dose(visit, patient, day, today)
        standing, later = _standing(visit.services, proposal), proposal.later
        if day == today:
            visit.services.unkept.append(patient.id)
    visit.note(
        "next-dose",
        f"patient/{patient.id}/next-dose",
        patient=patient,
        on=day,
        action=standing.action,
        reasons=standing.reasons,
        protocol=f"{standing.protocol} {standing.protocol_sha256}",
        input_sha256=standing.input_sha256,
    )
    return NextDose(standing, later)


def kept(visit: Visit, patient: Patient, day: str) -> Standing | None:
    """What was kept of a patient for a day, if it still holds."""
    standing = visit.session.get(Standing, patient.id)
    if standing is None or standing.day != day or not _holds(visit.services, standing, patient):
        return None
    return standing


def settle(services: Services, patients: Iterable[str], now: datetime) -> int:
    """Keep today's answers of patients, as far as they have any and none that holds is kept; how many were computed."""
    wanted = [] if services.broken else list(dict.fromkeys(patients))
    done = 0
    for start in range(0, len(wanted), _AT_ONCE):
        with services.store.reading() as session:
            visit = Visit(services=services, session=session, actor=None, now=now)
            found = [
                (patient, _stand(visit, patient)) for patient in _unsettled(visit, wanted[start : start + _AT_ONCE])
            ]
        done += len(found)
        if found:
            with services.store.writing(durable=False) as session:
                for patient, standing in found:
                    _keep(session, patient, standing)
    return done


def settle_all(services: Services, now: datetime) -> int:
    """Keep today's answers of all patients of whom something has happened, or of whom only an older one is kept."""
    return sum(settle(services, page, now) for page in _to_settle(services, now))


def _to_settle(services: Services, now: datetime) -> Iterator[list[str]]:
    with services.store.reading() as session:
        clinics = session.find(Clinic)
    for clinic in clinics:
        mine = Where("clinic_id", "=", clinic.id)
        yield from _pages(services, Patient, "id", mine, Where("settled", "=", 0))
        yield from _pages(services, Standing, "patient_id", mine, Where("day", "!=", day_at(clinic, now)))
        yield from _pages(services, Standing, "patient_id", mine, Where("program", "!=", services.program))


def _pages(services: Services, record: type[Patient | Standing], key: str, *where: Where) -> Iterator[list[str]]:
    """The ids of patients whose record meets the conditions, some at a time."""
    after = ""
    while True:
        with services.store.reading() as session:
            found = session.find(record, *where, Where(key, ">", after), order=(key,), limit=_AT_ONCE)
        if not found:
            return
        yield [cast(str, getattr(one, key)) for one in found]
        after = cast(str, getattr(found[-1], key))


def _unsettled(visit: Visit, patients: Iterable[str]) -> Iterator[Patient]:
    for ident in patients:
        patient = visit.session.get(Patient, ident)
        if patient is not None and not (patient.settled and kept(visit, patient, visit.today(patient))):
            yield patient


def _stand(visit: Visit, patient: Patient) -> Standing | None:
    """Where a patient stands today; None where there is no next dose, which is told anew each time."""
    today = visit.today(patient)
    try:
        return _standing(visit.services, propose_dose(visit, patient, today, today))
    except Refusal:
        return None


def _standing(services: Services, proposal: Proposal) -> Standing:
    answer, patient, course = proposal.answer, proposal.patient, proposal.course
    text = to_text(answer)
    return Standing(
        patient_id=patient.id,
        clinic_id=patient.clinic_id,
        day=iso(answer.on),
        revision=patient.revision,
        patient_version=patient.version,
        program=services.program,
        course_id=course.id,
        course_version=course.version,
        protocol=answer.protocol.id,
        protocol_sha256=answer.protocol.sha256,
        action=str(answer.action),
        reasons=tuple(map(str, answer.reasons)),
        input_sha256=answer.input_sha256,
        unverified=proposal.unverified,
        proposal_sha256=proposal_digest(patient, course, text),
        answer=text,
    )


def proposal_digest(patient: Patient, course: CourseVersion, answer: str) -> str:
    """What a decision names: the SHA-256 of patient, version of the course and answer, to the letter."""
    return sha256(f"{patient.id} {course.id} {course.version} {answer}")


def _holds(services: Services, standing: Standing, patient: Patient) -> bool:
    if (standing.revision, standing.patient_version, standing.program) != (
        patient.revision,
        patient.version,
        services.program,
    ):
        return False
    try:
        return services.catalogue.get(standing.protocol).sha256 == standing.protocol_sha256
    except (KeyError, InvalidProtocol):
        return False


def _keep(session: Session, patient: Patient, standing: Standing | None) -> None:
    """Keep where a patient stands, unless something has happened since it was computed."""
    try:
        same = Where("revision", "=", patient.revision), Where("version", "=", patient.version)
        session.change(replace(patient, settled=True), *same)
    except Stale:
        return
    if standing is None:
        session.remove(Standing, Where("patient_id", "=", patient.id))
        return
    try:
        session.change(standing)
    except Stale:
        session.add(standing)
