"""POST /recommend: a course document in, the answer out; nothing is stored of it."""

from __future__ import annotations

from flask import Response, request

from schemas.course import CourseDocument
from schemas.recommendation import Answer, NextDose, NextDoseQuery
from titrator.api.blueprint import Blueprint
from titrator.api.wire import json_text, read_body
from titrator.security.permissions import Permission
from titrator.titration.answer import to_text
from titrator.workflow.propose import answer_document
from titrator.workflow.standing import as_sent, next_dose
from titrator.workflow.visit import Visit

blueprint = Blueprint("recommend", __name__, description="The next dose, and why.")


@blueprint.operation(
    "POST",
    "/recommend",
    Permission.RECOMMEND,
    "GuidanceResponse.r MedicationRequest.r",
    body=CourseDocument,
    raw_body=True,
    gives=Answer,
    stores=False,
    keeps=True,
    refuses=(503,),
)
def recommend(visit: Visit) -> Response:
    """The answer to a course document."""
    return json_text(to_text(answer_document(visit, read_body(request))))


@blueprint.operation(
    "GET",
    "/patients/<patient_id>/next-dose",
    Permission.PROPOSE,
    "GuidanceResponse.r MedicationRequest.r",
    query=NextDoseQuery,
    gives=NextDose,
    name="next_dose",
    refuses=(409, 503),
)
def get_next_dose(visit: Visit, query: dict[str, str], patient_id: str) -> Response:
    """The next dose of a patient on a day."""
    return json_text(as_sent(next_dose(visit, patient_id, query.get("on"))))
