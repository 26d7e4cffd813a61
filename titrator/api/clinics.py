"""Clinics."""

from __future__ import annotations

from schemas.clinic import ClinicIn, ClinicOut, Clinics
from titrator.api.blueprint import Blueprint
from titrator.api.wire import etag, if_match
from titrator.security.permissions import Permission
from titrator.workflow import record
from titrator.workflow.errors import Unknown
from titrator.workflow.visit import Visit

blueprint = Blueprint("clinics", __name__, description="Outpatient clinics: time zone, holidays, injection days.")


@blueprint.operation("GET", "/clinics", Permission.READ_CLINICS, "Organization.s", gives=Clinics)
def list_clinics(visit: Visit) -> dict[str, object]:
    """The clinics of the account."""
    return {"items": [record.clinic_fields(clinic) for clinic in record.clinics(visit)]}


@blueprint.operation(
    "POST", "/clinics", Permission.MANAGE_CLINICS, "Organization.c", body=ClinicIn, gives=ClinicOut, status=201
)
def add_clinic(visit: Visit, body: dict[str, object]) -> tuple[dict[str, object], dict[str, str]]:
    """A new clinic."""
    clinic = record.add_clinic(visit, body)
    return record.clinic_fields(clinic), {**etag(1), "Location": f"/api/v1/clinics/{clinic.id}"}


@blueprint.operation("GET", "/clinics/<clinic_id>", Permission.READ_CLINICS, "Organization.r", gives=ClinicOut)
def get_clinic(visit: Visit, clinic_id: str) -> tuple[dict[str, object], dict[str, str]]:
    """A clinic."""
    for clinic in record.clinics(visit):
        if clinic.id == clinic_id:
            return record.clinic_fields(clinic), etag(clinic.version)
    raise Unknown("clinic")


@blueprint.operation(
    "PUT",
    "/clinics/<clinic_id>",
    Permission.MANAGE_CLINICS,
    "Organization.u",
    body=ClinicIn,
    gives=ClinicOut,
    versioned=True,
)
def change_clinic(visit: Visit, body: dict[str, object], clinic_id: str) -> tuple[dict[str, object], dict[str, str]]:
    """A clinic with other settings."""
    clinic = record.change_clinic(visit, clinic_id, body, if_match())
    return record.clinic_fields(clinic), etag(clinic.version)
