"""Where each patient stands: the answer of today, computed once and kept until something happens or the day ends.

Whatever is recorded of a patient marks the patient as not settled, in the same transaction. To settle one is to compute
the answer and to keep it beside the patient's revision, so that an answer that no longer holds can be told from the two
rows alone: it is never given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import takewhile
from typing import Final, NamedTuple, cast

import structlog

from titrator.security.secrets import sha256
from titrator.store.base import Overtaken, Stale, StoreError, Where, again_if
from titrator.store.records import Clinic, CourseVersion, DoseMismatch, Patient, Reminder, Standing, Waiting
from titrator.titration.answer import to_text
from titrator.titration.documents import encode
from titrator.titration.due import count_due, dose_due, dues
from titrator.titration.errors import InvalidInput, InvalidProtocol
from titrator.titration.quantities import iso
from titrator.workflow.delivery import open_mismatches
from titrator.workflow.errors import Code, Refusal
from titrator.workflow.propose import Proposal, open_course, propose_dose, refuse_if_broken
from titrator.workflow.reminders.keep import keep_reminders
from titrator.workflow.reminders.plan import Plan, plan_of
from titrator.workflow.reminders.wanted import Wanted, wanted
from titrator.workflow.tasks import undeliverable, waiting
from titrator.workflow.visit import Services, Visit, day_at

#: So many patients in one transaction, that whoever records a fact meanwhile does not wait long.
_AT_ONCE: Final = 50


class NextDose(NamedTuple):
    """The answer for a stored patient as it stands; `later` names facts after the day asked about.

    `decision` is the id of what has been decided and not yet carried out, if anything.
    """

    standing: Standing
    later: tuple[str, ...] = ()
    decision: int | None = None


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
    return NextDose(standing, later, patient.decision_id)


def as_sent(found: NextDose) -> str:
    """The answer with what it is of, as JSON."""
    standing = found.standing
    about = {
        "patient": standing.patient_id,
        "revision": standing.revision,
        "course": {"id": standing.course_id, "version": standing.course_version},
        "unverified": _names(standing.unverified),
        "later": _names(found.later),
        "proposal_sha256": standing.proposal_sha256,
        "decision": found.decision,
    }
    return f"{standing.answer[:-1]}, {encode(about)[1:]}"


def proposed(visit: Visit, patient: Patient) -> Standing:
    """Where a patient stands today, kept or computed; raises what `propose_dose` raises."""
    refuse_if_broken(visit.services)
    today = visit.today(patient)
    return kept(visit, patient, today) or _standing(visit.services, propose_dose(visit, patient, today, today))


def kept(visit: Visit, patient: Patient, day: str) -> Standing | None:
    """What was kept of a patient for a day, if it still holds."""
    standing = visit.session.get(Standing, patient.id)
    if standing is None or standing.day != day or not _holds(visit.services, standing, patient):
        return None
    return standing


def settle(services: Services, patients: Iterable[str], now: datetime) -> int:
    """Keep today's answers of patients, as far as they have any, and what waits of them; how many were not settled."""
    wanted = [] if services.broken else list(dict.fromkeys(patients))
    done = 0
    for start in range(0, len(wanted), _AT_ONCE):
        with services.store.reading() as session:
            visit = Visit(services=services, session=session, actor=None, now=now)
            some = _unsettled(visit, wanted[start : start + _AT_ONCE])
            found = [one for one in (_settled_or_told(visit, patient) for patient in some) if one is not None]
        done += len(found)
        if found:
            again_if(Overtaken, partial(_keep_all, services, found, now))
    return done


def _keep_all(services: Services, found: list[_Settled], now: datetime) -> None:
    """Keep where patients stand, who are held meanwhile: all at once, lest two who do so wait for each other."""
    with services.store.writing(durable=False) as session:
        visit = Visit(services=services, session=session, actor=None, now=now)
        session.take(Patient, Where("id", "in", tuple(sorted(one.patient.id for one in found))), order=("id",))
        session.put(*[row for one in found for row in _keep(visit, one)])


def settle_all(services: Services, now: datetime, goes_on: Callable[[], bool] = lambda: True) -> int:
    """Keep today's answers of all patients of whom something has happened, or of whom only an older one is kept.

    After an upgrade that is everybody: so whether it `goes_on` is asked before each page of them.
    """
    return sum(settle(services, page, now) for page in takewhile(lambda _: goes_on(), _to_settle(services, now)))


def stand_on(visit: Visit, patient: Patient, day: str) -> Waiting | None:
    """What will wait of a patient on a day to come, if nothing more is recorded until then."""
    standing, refused = _stand(visit, patient, day)
    return waiting(visit, patient, standing, refused, day)


def scheduled(visit: Visit, patient: Patient) -> list[Wanted]:
    """What is due next of a patient, as it is to be reminded of: told anew, whatever reminders are kept."""
    return _settled(visit, patient).reminders


class _Settled(NamedTuple):
    """A patient as read, and what is to be kept."""

    patient: Patient
    standing: Standing | None
    line: Waiting | None
    departed: list[DoseMismatch]
    undelivered: list[str]
    reminders: list[Wanted]
    plan: Plan


def _to_settle(services: Services, now: datetime) -> Iterator[list[str]]:
    with services.store.reading() as session:
        clinics = session.find(Clinic)
    for clinic in clinics:
        mine, today = Where("clinic_id", "=", clinic.id), day_at(clinic, now)
        yield from _pages(services, Patient, "id", mine, Where("settled", "=", 0))
        for kind in (Standing, Waiting):
            yield from _others(services, kind, mine, "day", today)
            yield from _others(services, kind, mine, "program", services.program)


def _others(
    services: Services, kind: type[Standing | Waiting], mine: Where, column: str, value: str
) -> Iterator[list[str]]:
    """The patients of whose rows a column is another than a value; found by index, value by value."""
    for operator in ("<", ">"):
        seen = [Where(column, operator, value)]
        while True:
            with services.store.reading() as session:
                found = session.find(kind, mine, *seen, order=(column,), limit=1)
            if not found:
                break
            other = cast(str, getattr(found[0], column))
            yield from _pages(services, kind, "patient_id", mine, Where(column, "=", other))
            seen = [*seen[:1], Where(column, ">", other)]


def _pages(
    services: Services, record: type[Patient | Standing | Waiting], key: str, *where: Where
) -> Iterator[list[str]]:
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
        if patient is not None and not (patient.settled and _is_of_today(visit, patient)):
            yield patient


def _is_of_today(visit: Visit, patient: Patient) -> bool:
    """Whether what is kept of a patient, if anything, was made today and by this program."""
    of = (visit.today(patient), visit.services.program)
    standing, line = visit.session.get(Standing, patient.id), visit.session.get(Waiting, patient.id)
    return all(row is None or (row.day, row.program) == of for row in (standing, line))


def _settled_or_told(visit: Visit, patient: Patient) -> _Settled | None:
    """Where a patient stands; None where that fails for a fault of ours: it is told, and nobody else waits for it."""
    try:
        return _settled(visit, patient)
    except StoreError:
        raise
    except Exception:  # noqa: BLE001 (whatever it is, it must not keep others from being reminded)
        structlog.get_logger().exception("not-settled", patient=sha256(patient.id)[:12])
        return None


def _settled(visit: Visit, patient: Patient) -> _Settled:
    today = visit.today(patient)
    standing, refused = kept(visit, patient, today), None
    if standing is None:
        standing, refused = _stand(visit, patient, today)
    line = waiting(visit, patient, standing, refused, today)
    plan = plan_of(visit.session, visit.clinic(patient.clinic_id))
    reminders = wanted(visit, patient, standing, line, plan)
    return _Settled(
        patient, standing, line, open_mismatches(visit, patient), undeliverable(visit, patient), reminders, plan
    )


def _stand(visit: Visit, patient: Patient, day: str) -> tuple[Standing | None, str | None]:
    """Where a patient stands on a day; or None, for who is on a course with the code of why."""
    today = visit.today(patient)
    try:
        return _standing(visit.services, propose_dose(visit, patient, day, today)), None
    except Refusal as refusal:
        code = str(refusal.code)
    except InvalidInput:
        code = str(Code.INVALID)
    on_course = patient.active and open_course(visit, patient) is not None
    return None, code if on_course else None


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
        dose_due_on=_day(dose_due(answer)),
        count_due_on=_day(count_due(answer)),
        dues=tuple(f"{one.what} {iso(one.day)} {one.number} {one.floating:d}" for one in dues(answer)),
        answer=text,
    )


def _day(day: int | None) -> str | None:
    return None if day is None else iso(day)


def proposal_digest(patient: Patient, course: CourseVersion, answer: str) -> str:
    """What a decision names: the SHA-256 of patient, version of the course and answer, to the letter."""
    return sha256(f"{patient.id} {course.id} {course.version} {answer}")


def _names(facts: tuple[str, ...]) -> list[object]:
    """Facts named `weights/12`, as they are sent."""
    return [{"collection": name, "id": int(ident)} for name, _, ident in (fact.partition("/") for fact in facts)]


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


def _keep(visit: Visit, found: _Settled) -> list[Reminder]:
    """Keep where a patient stands, unless something has happened since it was computed; reminders still to be put."""
    patient, session = found.patient, visit.session
    if open_mismatches(visit, patient) != found.departed or undeliverable(visit, patient) != found.undelivered:
        return []
    try:
        same = [Where(name, "=", getattr(patient, name)) for name in ("revision", "version", "decided")]
        session.change(replace(patient, settled=True), *same)
    except Stale:
        return []
    for kind, record in ((Standing, found.standing), (Waiting, found.line)):
        if record is None:
            session.remove(kind, Where("patient_id", "=", patient.id))
            continue
        try:
            session.change(record)
        except Stale:
            session.add(record)
    return keep_reminders(visit, patient, found.reminders, found.plan)
