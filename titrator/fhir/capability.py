"""The CapabilityStatement: made of the tables by which requests are answered, so that it says no more and no less."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from titrator.fhir.kinds import KINDS, Kind
from titrator.fhir.outcome import MEDIA_TYPE
from titrator.fhir.taking import FACTS

Resource = dict[str, object]

FHIR_VERSION: Final = "4.0.1"
#: Of this statement: the day on which what it says was last changed.
_DATE: Final = "2026-11-30"
_OAUTH: Final = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
_SERVICES: Final = "http://terminology.hl7.org/CodeSystem/restful-security-service"
#: The types that have versions; of those that are no facts only the current one is given.
_VERSIONED: Final = (*FACTS, "Patient", "MedicationRequest", "GuidanceResponse", "Condition", "Task")
_SEARCH_TYPES: Final = {"instant": "date"}


def capability_statement(base: str, token_url: str, *, cors: bool) -> Resource:
    """What this server does, at its address, with the one at which tokens are asked for."""
    return {
        "resourceType": "CapabilityStatement",
        "url": f"{base}/metadata",
        "name": "Titrator",
        "title": "Romiplostim dose titration",
        "status": "active",
        "date": _DATE,
        "publisher": "The installation that answers here",
        "kind": "instance",
        "software": {"name": "titrator", "version": version("titrator")},
        "implementation": {"description": "Romiplostim dose titration", "url": base},
        "fhirVersion": FHIR_VERSION,
        "format": [MEDIA_TYPE, "json"],
        "rest": [
            {
                "mode": "server",
                "documentation": "A bearer token is needed for all but this statement and the SMART configuration.",
                "security": {
                    "extension": [{"url": _OAUTH, "extension": [{"url": "token", "valueUri": token_url}]}],
                    "cors": cors,
                    "service": [{"coding": [{"system": _SERVICES, "code": "SMART-on-FHIR"}], "text": "SMART on FHIR"}],
                    "description": "Authorization: Bearer, with a token of an account, or one that a client got at the "
                    "token endpoint (SMART Backend Services); role, clinics and scopes bound it.",
                },
                "resource": [_resource(kind) for kind in KINDS.values()],
                "interaction": [{"code": "transaction"}, {"code": "batch"}],
            }
        ],
    }


def _resource(kind: Kind) -> Resource:
    writes = kind.writes is not None
    codes = [
        "read",
        *(["vread"] if kind.name in _VERSIONED else []),
        "search-type",
        *(["create", "update"] if writes else []),
    ]
    found: Resource = {
        "type": kind.name,
        "documentation": kind.says,
        "interaction": [{"code": code} for code in codes],
        "versioning": "versioned" if kind.name in _VERSIONED else "no-version",
        "readHistory": kind.name in FACTS,
        "updateCreate": False,
    }
    if kind.name in _VERSIONED:
        found["conditionalRead"] = "not-match"
    if writes:
        found |= {
            "conditionalCreate": True,
            "conditionalUpdate": True,
            "conditionalDelete": "not-supported",
            "referencePolicy": ["literal", "logical"],
        }
    found["searchParam"] = [
        {"name": name, "type": _SEARCH_TYPES.get(sort, sort)} for name, sort in kind.parameters.items()
    ]
    if kind.name == "PlanDefinition":
        definition = "http://hl7.org/fhir/OperationDefinition/PlanDefinition-apply"
        found["operation"] = [{"name": "apply", "definition": definition}]
    return found
