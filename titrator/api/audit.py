"""The audit trail, for auditors."""

from __future__ import annotations

from schemas.audit import AuditPage, AuditQuery
from titrator.api.blueprint import Blueprint
from titrator.security.permissions import Permission
from titrator.workflow import trail
from titrator.workflow.visit import Visit

blueprint = Blueprint("audit", __name__, description="Who did and saw what, when and why.")


@blueprint.operation(
    "GET", "/audit", Permission.READ_AUDIT, "AuditEvent.s", query=AuditQuery, gives=AuditPage, before=trail.gather
)
def read_audit(visit: Visit, query: dict[str, object]) -> dict[str, object]:
    """A page of a chain of the trail."""
    chain, after, limit = query.get("patient"), query.get("after", 0), query.get("limit", 100)
    rows, following = trail.page(visit, None if chain is None else str(chain), int(str(after)), int(str(limit)))
    return {"items": [trail.shown(row) for row in rows], "next": following}
