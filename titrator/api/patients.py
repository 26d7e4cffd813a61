"""Patients of the clinics of an account. Those of other clinics are not found."""

from __future__ import annotations

from schemas.patient import PatientChange, PatientIn, PatientOut, PatientPage, PatientQuery
from schemas.recommendation import NextDoseQuery
from schemas.timeline import Timeline
from titrator.api.blueprint import Blueprint
from titrator.api.wire import etag, if_match
from titrator.security.permissions import Permission
from titrator.workflow import record
from titrator.workflow.timeline import timeline
from titrator.workflow.visit import Visit

blueprint = Blueprint("patients", __name__, description="Patients: created, found, changed, at a glance.")

Fields = dict[str, object]
Headers = dict[str, str]


@blueprint.operation("GET", "/patients", Permission.READ_PATIENTS, "Patient.s", query=PatientQuery, gives=PatientPage)
def list_patients(visit: Visit, query: Fields) -> Fields:
    """A page of patients, by identifier, name or clinic."""
    page, following = record.find_patients(visit, query)
    return {"items": [record.patient_fields(visit, patient) for patient in page], "next": following}


@blueprint.operation(
    "POST", "/patients", Permission.WRITE_PATIENTS, "Patient.c", body=PatientIn, gives=PatientOut, status=201
)
def add_patient(visit: Visit, body: Fields) -> tuple[Fields, Headers]:
    """A new patient."""
    patient = record.add_patient(visit, body)
    return record.patient_fields(visit, patient), {**etag(1), "Location": f"/api/v1/patients/{patient.id}"}


@blueprint.operation("GET", "/patients/<patient_id>", Permission.READ_PATIENTS, "Patient.r", gives=PatientOut)
def get_patient(visit: Visit, patient_id: str) -> tuple[Fields, Headers]:
    """A patient."""
    patient = visit.patient(patient_id)
    visit.note("read", f"patient/{patient.id}", patient=patient)
    return record.patient_fields(visit, patient), etag(patient.version)


@blueprint.operation(
    "PATCH",
    "/patients/<patient_id>",
    Permission.WRITE_PATIENTS,
    "Patient.u Patient.r",
    body=PatientChange,
    gives=PatientOut,
    versioned=True,
)
def change_patient(visit: Visit, body: Fields, patient_id: str) -> tuple[Fields, Headers]:
    """A patient with other particulars."""
    patient = record.change_patient(visit, patient_id, body, if_match())
    return record.patient_fields(visit, patient), etag(patient.version)


@blueprint.operation(
    "GET",
    "/patients/<patient_id>/timeline",
    Permission.READ_PATIENTS,
    "Patient.r Observation.s MedicationAdministration.s Procedure.s AdverseEvent.s Condition.s",
    query=NextDoseQuery,
    gives=Timeline,
    name="get_timeline",
)
def get_timeline(visit: Visit, query: dict[str, str], patient_id: str) -> Fields:
    """Everything that was recorded up to a day, with grades and how long it has held."""
    return timeline(visit, patient_id, query.get("on"))
