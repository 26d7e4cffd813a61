"""The evidence file of a patient: all that is kept, signed, for whoever has to answer for what was decided."""

from __future__ import annotations

from typing import Any

from flask import Response

from titrator.api.blueprint import Blueprint
from titrator.bulk.evidence import MEDIA_TYPE, take_evidence
from titrator.security.permissions import Permission
from titrator.workflow import trail
from titrator.workflow.visit import Visit


class _Files(Blueprint):
    """Routes whose answers are files: described as what they are."""

    def response(self, status_code: int, schema: object = None, **told: Any) -> Any:
        """The decorator of flask-smorest, which takes whatever is sent for JSON unless told."""
        return super().response(status_code, schema or {"type": "string"}, content_type=MEDIA_TYPE, **told)


blueprint = _Files("evidence", __name__, description="Evidence files, to be verified without the service.")


@blueprint.operation(
    "GET",
    "/patients/<patient_id>/evidence",
    Permission.TAKE_EVIDENCE,
    "Patient.r Observation.s MedicationAdministration.s Procedure.s AdverseEvent.s Condition.s "
    "GuidanceResponse.s MedicationRequest.s PlanDefinition.s Provenance.s AuditEvent.s",
    gives=None,
    before=trail.gather,
)
def get_evidence(visit: Visit, patient_id: str) -> Response:
    """The evidence file of a patient, signed."""
    taken = take_evidence(visit, patient_id)
    named = {"Content-Disposition": f'attachment; filename="{taken.name}"'}
    return Response(taken.text, content_type=f"{MEDIA_TYPE}; charset=utf-8", headers=named)
