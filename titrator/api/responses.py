"""How patients responded to their courses, as a table for a spreadsheet or a statistician."""

from __future__ import annotations

from typing import Any, Final

from flask import Response

from schemas.timeline import ResponsesQuery
from titrator.api.blueprint import Blueprint
from titrator.bulk.tables import csv_text
from titrator.security.permissions import Permission
from titrator.workflow.response_table import COLUMNS, response_table
from titrator.workflow.visit import Visit

CSV: Final = "text/csv"


class _Tables(Blueprint):
    """Routes whose answers are tables: described as what they are, text/csv."""

    def response(self, status_code: int, schema: object = None, **told: Any) -> Any:
        """The decorator of flask-smorest, which takes whatever is sent for JSON unless told."""
        return super().response(status_code, schema or {"type": "string"}, content_type=CSV, **told)


blueprint = _Tables("responses", __name__, description="How patients responded to their courses.")


@blueprint.operation(
    "GET",
    "/responses.csv",
    Permission.READ_PATIENTS,
    "Patient.s Observation.s MedicationAdministration.s Condition.s",
    query=ResponsesQuery,
    gives=None,
    name="export_responses",
)
def export_responses(visit: Visit, query: dict[str, str]) -> Response:
    """The response to each course of many patients as CSV: a row a course, without names and birth dates."""
    text = csv_text(COLUMNS, response_table(visit, query))
    named = {"Content-Disposition": 'attachment; filename="responses.csv"'}
    return Response(text, content_type=f"{CSV}; charset=utf-8", headers=named)
