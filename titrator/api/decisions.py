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
from titrator.api.blueprint import Blueprint
from titrator.api.wire import etag, if_match, json_text
from titrator.security.permissions import Permission
from titrator.store.records import Decision, DoseMismatch, Patient
from titrator.titration.documents import encode
from titrator.workflow import sign_off
from titrator.workflow.errors import Code
from titrator.workflow.visit import Visit
from titrator.workflow.worklist import as_sent, settle_first, worklist

blueprint = Blueprint(
    "decisions",
    __name__,
    description="What a named person decides upon a proposal. Nothing is given without it, and nothing is overwritten.",
)

Fields = dict[str, object]
Step = Callable[[Visit, str, int, str, int | None], Decision]

_PATIENT = "/patients/<patient_id>"
_ONE = f"{_PATIENT}/decisions/<fact:decision_id>"
_CHANGES = "GuidanceResponse.u MedicationRequest.u GuidanceResponse.r MedicationRequest.r"


@blueprint.operation(
    "GET",
    "/worklist",
    Permission.READ_PATIENTS,
    "Task.s Patient.s GuidanceResponse.s MedicationRequest.s "
    "Observation.s MedicationAdministration.s Procedure.s AdverseEvent.s",
    query=WorklistQuery,
    gives=Worklist,
    before=settle_first,
    refuses=(503,),
)
def get_worklist(visit: Visit, query: Fields) -> Response:
    """What waits for somebody, by urgency."""
    return json_text(as_sent(worklist(visit, query)))


@blueprint.operation(
    "GET", f"{_PATIENT}/decisions", Permission.READ_PATIENTS, "GuidanceResponse.s MedicationRequest.s", gives=Decisions
)
def list_decisions(visit: Visit, patient_id: str) -> Response:
    """The decisions of a patient, the newest first."""
    return _several(visit, *sign_off.decisions(visit, patient_id))


@blueprint.operation(
    "POST",
    f"{_PATIENT}/decisions",
    Permission.SIGN_OFF,
    "GuidanceResponse.c MedicationRequest.c GuidanceResponse.r MedicationRequest.r",
    body=DecisionIn,
    gives=DecisionOut,
    status=201,
    drafts=True,
    refuses=(503,),
)
def decide(visit: Visit, body: Fields, patient_id: str) -> Response:
    """Accept a proposal, override it, or refer it to a prescriber."""
    decision = sign_off.decide(visit, patient_id, body)
    response = _sent(visit, decision)
    response.status_code = 201
    response.headers["Location"] = f"/api/v1/patients/{patient_id}/decisions/{decision.id}"
    return response


@blueprint.operation("GET", _ONE, Permission.READ_PATIENTS, "GuidanceResponse.r MedicationRequest.r", gives=DecisionOut)
def get_decision(visit: Visit, patient_id: str, decision_id: int) -> Response:
    """A decision, in its current version."""
    return _sent(visit, sign_off.versions(visit, patient_id, decision_id)[1][-1])


@blueprint.operation(
    "GET", f"{_ONE}/versions", Permission.READ_PATIENTS, "GuidanceResponse.r MedicationRequest.r", gives=Decisions
)
def versions_of_decision(visit: Visit, patient_id: str, decision_id: int) -> Response:
    """All versions of a decision."""
    return _several(visit, *sign_off.versions(visit, patient_id, decision_id))


@blueprint.operation(
    "POST", f"{_ONE}/second-signature", Permission.SIGN_OFF, _CHANGES, gives=DecisionOut, versioned=True, refuses=(503,)
)
def co_sign(visit: Visit, patient_id: str, decision_id: int) -> Response:
    """Agree to a decision as the second, different person that it needs."""
    return _sent(visit, sign_off.co_sign(visit, patient_id, decision_id, if_match()))


def _reasoned(path: str, step: Step, says: str) -> None:
    def view(visit: Visit, body: dict[str, str], patient_id: str, decision_id: int) -> Response:
        return _sent(visit, step(visit, patient_id, decision_id, body["reason"], if_match()))

    view.__doc__ = says
    operation = blueprint.operation(
        "POST",
        f"{_ONE}/{path}",
        Permission.SIGN_OFF,
        _CHANGES,
        body=ReasonIn,
        gives=DecisionOut,
        versioned=True,
        name=f"decision_{path}",
    )
    operation(view)


_reasoned("withdrawal", sign_off.withdraw, "Take back a decision that has not been carried out.")
_reasoned("review", sign_off.review, "Say what comes of a re-opened decision that had been carried out.")


@blueprint.operation(
    "POST",
    "/decisions",
    Permission.SIGN_OFF,
    "GuidanceResponse.c MedicationRequest.c GuidanceResponse.r MedicationRequest.r",
    body=Batch,
    gives=BatchOut,
)
def accept_several(visit: Visit, body: dict[str, list[dict[str, str]]]) -> Response:
    """Accept several proposals that change nothing, each signed on its own."""
    answered = [_answered(visit, one) for one in sign_off.accept_several(visit, body["items"])]
    return json_text(f'{{"items": [{", ".join(answered)}]}}')


@blueprint.operation(
    "GET",
    f"{_PATIENT}/dose-mismatches",
    Permission.READ_PATIENTS,
    "MedicationRequest.s MedicationAdministration.s",
    gives=Mismatches,
)
def list_dose_mismatches(visit: Visit, patient_id: str) -> Fields:
    """The days whose doses depart from what was decided."""
    return {"items": [_mismatch(one) for one in sign_off.mismatches(visit, patient_id)]}


@blueprint.operation(
    "POST", f"{_PATIENT}/dose-mismatches/<day>/reason", Permission.SIGN_OFF, _CHANGES, body=ReasonIn, gives=MismatchOut
)
def explain_dose_mismatch(visit: Visit, body: dict[str, str], patient_id: str, day: str) -> Fields:
    """Say why the doses of a day depart from what was decided."""
    return _mismatch(sign_off.explain_mismatch(visit, patient_id, day, body["reason"]))


def _text(visit: Visit, decision: Decision) -> str:
    return sign_off.as_sent(decision, visit.today(visit.patient(decision.patient_id)))


def _sent(visit: Visit, decision: Decision) -> Response:
    response = json_text(_text(visit, decision))
    response.headers.update(etag(decision.version))
    return response


def _several(visit: Visit, patient: Patient, found: list[Decision]) -> Response:
    today = visit.today(patient)
    return json_text(f'{{"items": [{", ".join([sign_off.as_sent(one, today) for one in found])}]}}')


def _answered(visit: Visit, one: sign_off.Answered) -> str:
    refusal = one.refusal
    about = {
        "patient": one.patient_id,
        "code": None if refusal is None else str(refusal.code),
        "detail": None if refusal is None else refusal.message,
    }
    return f'{encode(about)[:-1]}, "decision": {"null" if one.decision is None else _text(visit, one.decision)}}}'


def _mismatch(one: DoseMismatch) -> Fields:
    return {
        "day": one.day,
        "code": str(Code.DOSE_MISMATCH_DECISION),
        "decision": one.decision_id,
        "micrograms": one.micrograms,
        "departs": list(one.departs),
        "reason": one.reason,
        "reason_by": one.reason_by,
        "reason_at": one.reason_at,
    }
