"""Who a page is about: what stands in view on every page of a patient, above all while something is signed."""

from __future__ import annotations

from typing import Any, NamedTuple

from titrator.store.base import Where
from titrator.store.records import Clinic, CourseVersion, Fact, Patient
from titrator.workflow.propose import open_course
from titrator.workflow.record import patient_fields
from titrator.workflow.visit import Visit


class Who(NamedTuple):
    """A patient, by name, numbers, the day at the clinic, the newest weight, the course that is open (if any)."""

    patient: Patient
    clinic: Clinic
    today: str
    identifiers: list[dict[str, str]]
    weight: Fact | None
    course: CourseVersion | None


def who(visit: Visit, patient_id: str) -> Who:
    """Who a page is about; raises Unknown."""
    patient = visit.patient(patient_id)
    visit.note("read", f"patient/{patient.id}", patient=patient)
    fields: dict[str, Any] = patient_fields(visit, patient)
    mine = Where("patient_id", "=", patient.id), Where("current", "=", 1), Where("status", "=", "final")
    weights = visit.session.find(Fact, *mine, Where("kind", "=", "weight"), order=("-day", "-id"), limit=1)
    return Who(
        patient,
        visit.clinic(patient.clinic_id),
        visit.today(patient),
        fields["identifiers"],
        weights[0] if weights else None,
        open_course(visit, patient),
    )
