"""The protocols that this installation has."""

from __future__ import annotations

from schemas.protocol import ProtocolOut, Protocols
from titrator.api.blueprint import Blueprint
from titrator.protocols import Catalogue
from titrator.security.permissions import Permission
from titrator.workflow.errors import Unknown
from titrator.workflow.visit import Visit

blueprint = Blueprint("protocols", __name__, description="The labels and reports that doses are titrated by.")


@blueprint.operation("GET", "/protocols", Permission.READ_PROTOCOLS, "PlanDefinition.s", gives=Protocols)
def list_protocols(visit: Visit) -> dict[str, object]:
    """All protocols, and those whose file is refused."""
    catalogue = visit.services.catalogue
    faults = {ident: catalogue.fault(ident) for ident in catalogue.ids()}
    return {
        "items": [_fields(catalogue, ident) for ident, fault in faults.items() if fault is None],
        "refused": [{"id": ident, "fault": fault} for ident, fault in faults.items() if fault is not None],
    }


@blueprint.operation(
    "GET", "/protocols/<protocol_id>", Permission.READ_PROTOCOLS, "PlanDefinition.r", gives=ProtocolOut
)
def get_protocol(visit: Visit, protocol_id: str) -> dict[str, object]:
    """A protocol."""
    catalogue = visit.services.catalogue
    if protocol_id not in catalogue.ids() or catalogue.fault(protocol_id):
        raise Unknown("protocol")
    return _fields(catalogue, protocol_id)


def _fields(catalogue: Catalogue, ident: str) -> dict[str, object]:
    protocol = catalogue.get(ident)
    return {
        "id": protocol.id,
        "title": protocol.title,
        "indication": protocol.indication,
        "status": str(protocol.status),
        "edition": protocol.source.edition,
        "source": protocol.source.cited_as,
        "url": protocol.source.url,
        "reviewed_by": protocol.source.reviewer or None,
        "eligibility": list(protocol.eligibility),
        "sha256": protocol.sha256,
        "shipped": ident in catalogue.shipped,
    }
