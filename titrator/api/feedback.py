"""What became of the cards that CDS services gave, as the systems that showed them said."""

from __future__ import annotations

from typing import cast

from schemas.cds_hooks import FeedbackList, FeedbackQuery
from titrator.api.blueprint import Blueprint
from titrator.security.permissions import Permission
from titrator.workflow import feedback
from titrator.workflow.visit import Visit

blueprint = Blueprint("feedback", __name__, description="What became of the cards that CDS services gave.")

Fields = dict[str, object]


@blueprint.operation(
    "GET", "/cds-feedback", Permission.READ_PATIENTS, "GuidanceResponse.s", query=FeedbackQuery, gives=FeedbackList
)
def list_cds_feedback(visit: Visit, query: Fields) -> Fields:
    """What became of cards, as systems of the account's clinics said, the newest first."""
    limit = cast(int, query.get("limit", feedback.PAGE))
    return {"items": [feedback.feedback_fields(one) for one in feedback.list_feedback(visit, limit)]}
