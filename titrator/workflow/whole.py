"""All that is recorded of patients, some patients at a time: what is exported, and what an evidence file holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

from titrator.store.base import Session, Where
from titrator.store.records import (
    Clinic,
    CourseVersion,
    Decision,
    DoseMismatch,
    ExternalId,
    Fact,
    Identifier,
    Patient,
    Record,
)

R = TypeVar("R", bound=Record)

AT_ONCE: Final = 100


class Whole(NamedTuple):
    """A patient, with all versions of facts, courses and decisions in order of id and version."""

    clinic: Clinic
    patient: Patient
    identifiers: tuple[Identifier, ...]
    external_ids: tuple[ExternalId, ...]
    courses: tuple[CourseVersion, ...]
    facts: tuple[Fact, ...]
    decisions: tuple[Decision, ...]
    mismatches: tuple[DoseMismatch, ...]


def wholes(session: Session, *where: Where, at_once: int = AT_ONCE) -> Iterator[Whole]:
    """The patients who meet the conditions, in order of id; no more than `at_once` of them are held in memory."""
    clinics = {clinic.id: clinic for clinic in session.find(Clinic)}
    after = ""
    while page := session.find(Patient, *where, Where("id", ">", after), order=("id",), limit=at_once):
        yield from _of(session, clinics, page)
        after = page[-1].id


def whole(session: Session, patient: Patient) -> Whole:
    """One patient."""
    (found,) = wholes(session, Where("id", "=", patient.id))
    return found


def _of(session: Session, clinics: dict[str, Clinic], page: Sequence[Patient]) -> Iterator[Whole]:
    mine = Where("patient_id", "in", tuple(patient.id for patient in page))

    def found(record: type[R], *order: str) -> Callable[[str], tuple[R, ...]]:
        of: dict[str, list[R]] = {}
        for row in session.find(record, mine, order=("patient_id", *order)):
            of.setdefault(row.patient_id, []).append(row)  # type: ignore[attr-defined]
        return lambda ident: tuple(of.get(ident, ()))

    identifiers, external = found(Identifier, "system", "value"), found(ExternalId, "system", "value")
    courses, facts = found(CourseVersion, "id", "version"), found(Fact, "id", "version")
    decisions, mismatches = found(Decision, "id", "version"), found(DoseMismatch, "day")
    for patient in page:
        parts = (identifiers, external, courses, facts, decisions, mismatches)
        yield Whole(clinics[patient.clinic_id], patient, *(part(patient.id) for part in parts))  # type: ignore[arg-type]
