"""The evidence file of a patient: all that is kept, signed, for whoever has to answer for what was decided."""

from __future__ import annotations

from typing import Any, Final

from flask import Response

from titrator.api.blueprint import Blueprint
from titrator.bulk.evidence import take_evidence
from titrator.security.permissions import Permission
from titrator.workflow import trail
from titrator.workflow.visit import Visit

NDJSON: Final = "application/x-ndjson"


class _Files(Blueprint):
    """Routes whose answers are files: described as what they are."""

    def response(self, status_code: int, schema: object = None, **told: Any) -> Any:
        """The decorator of flask-smorest, which takes whatever is sent for JSON unless told."""
        return super().response(status_code, schema or {"type": "string"}, content_type=NDJSON, **told)


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
    named = {"Content-Disposition": f'attachment; filename="evidence-{patient_id}.ndjson"'}
    return Response(taken.text, content_type=f"{NDJSON}; charset=utf-8", headers=named)
