"""The evidence file of a patient, for whoever has to answer for what was decided and has no program to ask by."""

from __future__ import annotations

from flask import Response

from titrator.bulk.evidence import MEDIA_TYPE, take_evidence
from titrator.security.permissions import Permission
from titrator.web.frame import Pages
from titrator.workflow import trail
from titrator.workflow.visit import Visit

pages = Pages("evidence")


@pages.page("/patients/<patient_id>/evidence", Permission.TAKE_EVIDENCE, before=trail.gather)
def evidence(visit: Visit, patient_id: str) -> Response:
    """The file, signed, to be saved; that it was taken is in the trail."""
    taken = take_evidence(visit, patient_id)
    response = Response(taken.text, content_type=f"{MEDIA_TYPE}; charset=utf-8")
    response.headers.set("Content-Disposition", "attachment", filename=taken.name)
    return response
