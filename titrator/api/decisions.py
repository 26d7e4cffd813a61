"""Decisions upon proposals; doses that depart from them; the worklist."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response

from schemas.course import ReasonIn
from schemas.sign_off import (
    Batch,
    BatchOut,
    DecisionIn,
    DecisionOut,
    Decisions,
    Mismatches,
    MismatchOut,
)
from schemas.worklist import Worklist, WorklistQuery
from titrator.api.door import Blueprint
from titrator.api.wire import etag, if_match, json_text
from titrator.security.permissions import Permission
from titrator.store.records import Decision, DoseMismatch
from titrator.workflow import sign_off
from titrator.workflow.errors import Code
from titrator.workflow.visit import Visit
from titrator.workflow.worklist import settle_first, worklist

blueprint = Blueprint(
    "decisions",
    __name__,
    description="What a named person decides upon a proposal. Nothing is given without it, and nothing is overwritten.",
)

Fields = dict[str, object]
Answer = tuple[Fields, dict[str, str]]
Step = Callable[[Visit, str, int, str, int | None], Decision]

_PATIENT = "/patients/<patient_id>"
_ONE = f"{_PATIENT}/decisions/<fact:decision_id>"


@blueprint.operation(
    "GET",
    "/worklist",
    Permission.READ_PATIENTS,
    query=WorklistQuery,
    gives=Worklist,
    before=settle_first,
    refuses=(503,),
)
def get_worklist(visit: Visit, query: Fields) -> Response:
    """What waits for somebody, by urgency."""
    return json_text(worklist(visit, query))


@blueprint.operation("GET", f"{_PATIENT}/decisions", Permission.READ_PATIENTS, gives=Decisions)
def list_decisions(visit: Visit, patient_id: str) -> Fields:
    """The decisions of a patient, the newest first."""
    patient, found = sign_off.decisions(visit, patient_id)
    today = visit.today(patient)
    return {"items": [sign_off.fields(one, today) for one in found]}


@blueprint.operation(
    "POST",
    f"{_PATIENT}/decisions",
    Permission.SIGN_OFF,
    body=DecisionIn,
    gives=DecisionOut,
    status=201,
    drafts=True,
    refuses=(503,),
)
def decide(visit: Visit, body: Fields, patient_id: str) -> Answer:
    """Accept a proposal, override it, or refer it to a prescriber."""
    fields, headers = _sent(visit, sign_off.decide(visit, patient_id, body))
    return fields, {**headers, "Location": f"/api/v1/patients/{patient_id}/decisions/{fields['id']}"}


@blueprint.operation("GET", _ONE, Permission.READ_PATIENTS, gives=DecisionOut)
def get_decision(visit: Visit, patient_id: str, decision_id: int) -> Answer:
    """A decision, in its current version."""
    return _sent(visit, sign_off.versions(visit, patient_id, decision_id)[1][-1])


@blueprint.operation("GET", f"{_ONE}/versions", Permission.READ_PATIENTS, gives=Decisions)
def versions_of_decision(visit: Visit, patient_id: str, decision_id: int) -> Fields:
    """All versions of a decision."""
    patient, found = sign_off.versions(visit, patient_id, decision_id)
    today = visit.today(patient)
    return {"items": [sign_off.fields(one, today) for one in found]}


@blueprint.operation(
    "POST", f"{_ONE}/second-signature", Permission.SIGN_OFF, gives=DecisionOut, versioned=True, refuses=(503,)
)
def co_sign(visit: Visit, patient_id: str, decision_id: int) -> Answer:
    """Agree to a decision as the second, different person that it needs."""
    return _sent(visit, sign_off.co_sign(visit, patient_id, decision_id, if_match()))


def _reasoned(path: str, step: Step, says: str) -> None:
    def view(visit: Visit, body: dict[str, str], patient_id: str, decision_id: int) -> Answer:
        return _sent(visit, step(visit, patient_id, decision_id, body["reason"], if_match()))

    view.__doc__ = says
    operation = blueprint.operation(
        "POST",
        f"{_ONE}/{path}",
        Permission.SIGN_OFF,
        body=ReasonIn,
        gives=DecisionOut,
        versioned=True,
        name=f"decision_{path}",
    )
    operation(view)


_reasoned("withdrawal", sign_off.withdraw, "Take back a decision that has not been carried out.")
_reasoned("review", sign_off.review, "Say what comes of a re-opened decision that had been carried out.")


@blueprint.operation("POST", "/decisions", Permission.SIGN_OFF, body=Batch, gives=BatchOut)
def accept_several(visit: Visit, body: dict[str, list[dict[str, str]]]) -> Fields:
    """Accept several proposals that change nothing, each signed on its own."""
    return {
        "items": [
            {
                "patient": one.patient_id,
                "decision": None if one.decision is None else _sent(visit, one.decision)[0],
                "code": None if one.refusal is None else str(one.refusal.code),
                "detail": None if one.refusal is None else one.refusal.message,
            }
            for one in sign_off.accept_several(visit, body["items"])
        ]
    }


@blueprint.operation("GET", f"{_PATIENT}/dose-mismatches", Permission.READ_PATIENTS, gives=Mismatches)
def list_dose_mismatches(visit: Visit, patient_id: str) -> Fields:
    """The days whose doses depart from what was decided."""
    return {"items": [_mismatch(one) for one in sign_off.mismatches(visit, patient_id)]}


@blueprint.operation(
    "POST", f"{_PATIENT}/dose-mismatches/<day>/reason", Permission.SIGN_OFF, body=ReasonIn, gives=MismatchOut
)
def explain_dose_mismatch(visit: Visit, body: dict[str, str], patient_id: str, day: str) -> Fields:
    """Say why the doses of a day depart from what was decided."""
    return _mismatch(sign_off.explain_mismatch(visit, patient_id, day, body["reason"]))


def _sent(visit: Visit, decision: Decision) -> Answer:
    patient = visit.patient(decision.patient_id)
    return sign_off.fields(decision, visit.today(patient)), etag(decision.version)


def _mismatch(one: DoseMismatch) -> Fields:
    return {
        "day": one.day,
        "code": str(Code.DOSE_MISMATCH_DECISION),
        "decision": one.decision_id,
        "departs": list(one.departs),
        "reason": one.reason,
        "reason_by": one.reason_by,
        "reason_at": one.reason_at,
    }
