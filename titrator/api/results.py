"""Results that name their patient by an identifier, and those of no known patient."""

from __future__ import annotations

from schemas.course import ReasonIn
from schemas.result import Assignment, ResultIn, ResultOut, UnmatchedOut, UnmatchedOuts, WhichClinic
from titrator.api.blueprint import Blueprint
from titrator.security.permissions import Permission
from titrator.store.records import UnmatchedResult
from titrator.titration.documents import reread
from titrator.workflow import results
from titrator.workflow.facts import BY_KIND
from titrator.workflow.visit import Visit

blueprint = Blueprint(
    "results",
    __name__,
    description="What a laboratory sends by the hospital's number: recorded, or kept until a person says whose it is.",
)

Fields = dict[str, object]


@blueprint.operation(
    "POST",
    "/results",
    Permission.RECORD_FACTS,
    "Observation.c Patient.s",
    body=ResultIn,
    gives=ResultOut,
    status=201,
    also=200,
    drafts=True,
)
def receive_result(visit: Visit, body: Fields) -> tuple[Fields, int]:
    """Record a result for whoever has the identifier, or keep it. 200 in place of 201: it was there already."""
    received = results.receive(visit, body)
    fact, waiting = received.fact, received.waiting
    fields: Fields = {
        "patient": fact and fact.patient_id,
        "collection": received.collection.name,
        "id": fact and fact.id,
        "status": fact and fact.status,
        "unmatched": waiting and waiting.id,
    }
    return fields, 201 if received.new else 200


@blueprint.operation(
    "GET",
    "/unmatched-results",
    Permission.READ_PATIENTS,
    "Observation.s Patient.s",
    query=WhichClinic,
    gives=UnmatchedOuts,
)
def list_unmatched_results(visit: Visit, query: dict[str, str]) -> Fields:
    """The results of no known patient that nobody has settled."""
    total, rows = results.unmatched(visit, query.get("clinic"))
    return {"total": total, "items": [_fields(row, candidate) for row, candidate in rows]}


@blueprint.operation(
    "POST",
    "/unmatched-results/<result_id>/assignment",
    Permission.VERIFY_FACTS,
    "Observation.c",
    body=Assignment,
    gives=ResultOut,
    status=201,
)
def assign_result(visit: Visit, body: Fields, result_id: str) -> Fields:
    """Say whose result it is: it is recorded as that person's entry."""
    fact = results.assign(visit, result_id, body).fact
    return {
        "patient": fact.patient_id,
        "collection": BY_KIND[fact.kind].name,
        "id": fact.id,
        "status": fact.status,
        "unmatched": result_id,
    }


@blueprint.operation(
    "POST",
    "/unmatched-results/<result_id>/dismissal",
    Permission.VERIFY_FACTS,
    "Observation.u Observation.r",
    body=ReasonIn,
    gives=UnmatchedOut,
)
def dismiss_result(visit: Visit, body: dict[str, str], result_id: str) -> Fields:
    """Say that a result is nobody's of the clinic, and why."""
    return _fields(results.dismiss(visit, result_id, body["reason"]), None)


def _fields(row: UnmatchedResult, candidate: str | None) -> Fields:
    return {
        "id": row.id,
        "clinic": row.clinic_id,
        "identifier": {"system": row.system, "value": row.value},
        "collection": row.collection,
        "result": reread(row.body),
        "received_by": row.received_by,
        "received_at": row.received_at,
        "candidate": candidate,
        "why": row.why,
        "might_be": list(row.might_be),
        "says": row.source.get("status", "final"),
    }
