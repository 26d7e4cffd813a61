"""Refusals as OperationOutcome: each fault as an issue, with the element's path and a coded reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from titrator.door import STATUS
from titrator.titration.errors import Fault, InvalidInput
from titrator.workflow.errors import (
    Asked,
    Beyond,
    Code,
    Conflict,
    Forbidden,
    Invalid,
    Outdated,
    ProposalChanged,
    Refusal,
    TooMany,
    Unauthorised,
    Unknown,
    Unready,
    VersionNeeded,
)

MEDIA_TYPE: Final = "application/fhir+json"

#: The type of an issue, by kind of refusal.
_TYPES: Final[Mapping[type[Refusal], str]] = {
    Invalid: "value",
    Asked: "business-rule",
    Unknown: "not-found",
    Forbidden: "forbidden",
    Beyond: "forbidden",
    Unauthorised: "login",
    Conflict: "conflict",
    ProposalChanged: "conflict",
    Outdated: "conflict",
    VersionNeeded: "required",
    Unready: "transient",
    TooMany: "throttled",
}

#: By type of resource and key of the entry that is made of it: the element that it comes of.
_ELEMENTS: Final[Mapping[str, Mapping[str, str]]] = {
    "Observation": {
        "measured_on": "effective",
        "collected_on": "effective",
        "observed_on": "effective",
        "value": "value.value",
        "unit": "value.unit",
        "code": "code",
        "lower_limit_of_normal": "referenceRange[0].low.value",
    },
    "MedicationAdministration": {
        "given_on": "effective",
        "not_given_on": "effective",
        "micrograms": "dosage.dose.value",
        "micrograms_per_kg": "dosage.extension",
        "reason_not_given": "statusReason",
    },
    "Procedure": {"kind": "code", "occurred_on": "performed"},
    "AdverseEvent": {"kind": "event", "occurred_on": "date", "resolved_on": "extension", "term": "event.text"},
    "Patient": {
        "clinic": "managingOrganization",
        "family_name": "name[0].family",
        "given_name": "name[0].given",
        "born_on": "birthDate",
        "reason": "",
    },
}
_OF_ALL: Final = {"external_id": "identifier", "note": "note", "confirm": "meta.tag"}
_INDEXED: Final = re.compile(r"([a-z_]+)(\[[0-9]+\])?(.*)", re.ASCII)


class BadRequest(Refusal):
    """What was asked cannot be understood: no JSON, a parameter that is not known, an id that contradicts."""

    code = Code.INVALID

    def __init__(self, *faults: Fault) -> None:
        super().__init__("What was asked cannot be understood; each fault is named.", faults=faults)


class Several(Refusal):
    """Several conditions of one request are met by more than one resource."""

    code = Code.INVALID


class Gone(Refusal):
    """A resource that never was, of a type that cannot say so."""

    code = Code.ENTERED_IN_ERROR


class Failed(Refusal):
    """An entry of a batch at which something went wrong here."""

    code = Code.INTERNAL

    def __init__(self) -> None:
        super().__init__("Something went wrong here. It has been written down under the request id.")


class Refused(Refusal):
    """Entries of a Bundle that are refused, each with its path and why; nothing of it is stored."""

    code = Code.INVALID

    def __init__(self, refusals: Sequence[tuple[str, Refusal]]) -> None:
        super().__init__("Entries of the Bundle are refused; nothing of it is stored.")
        self.refusals = tuple(refusals)


_OWN_TYPES: Final[Mapping[type[Refusal], str]] = {
    BadRequest: "invalid",
    Several: "multiple-matches",
    Gone: "deleted",
    Failed: "exception",
}
_OWN_STATUS: Final[Mapping[type[Refusal], HTTPStatus]] = {
    BadRequest: HTTPStatus.BAD_REQUEST,
    Several: HTTPStatus.PRECONDITION_FAILED,
    Gone: HTTPStatus.GONE,
    Failed: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def status_of(refusal: Refusal) -> HTTPStatus:
    """The status by which a refusal is told."""
    if isinstance(refusal, Refused):
        found = {status_of(one) for _, one in refusal.refusals}
        return found.pop() if len(found) == 1 else HTTPStatus.UNPROCESSABLE_ENTITY
    return _OWN_STATUS.get(type(refusal)) or STATUS[type(refusal)]


def located(refusal: Refusal, kind: str, path: str) -> Refusal:
    """The same refusal, its places told as those of a resource of a type at a path."""
    refusal.faults = tuple(Fault(_path(fault.path, kind, path), fault.message) for fault in refusal.faults)
    return refusal


def outcome(refusal: Refusal) -> dict[str, object]:
    """The OperationOutcome that a refusal is."""
    return {"resourceType": "OperationOutcome", "issue": _issues(refusal, "")}


def of_input(error: InvalidInput) -> dict[str, object]:
    """The OperationOutcome that input with faults is."""
    issues = [_issue("structure", str(Code.INVALID), fault.message, fault.path) for fault in error.faults]
    return {"resourceType": "OperationOutcome", "issue": issues}


def told(severity: str, kind: str, text: str) -> dict[str, object]:
    """An OperationOutcome of one issue."""
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": severity, "code": kind, "diagnostics": text}],
    }


def _issues(refusal: Refusal, path: str) -> list[object]:
    if isinstance(refusal, Refused):
        return [issue for place, one in refusal.refusals for issue in _issues(one, place)]
    kind = next((told for of, told in _OWN_TYPES.items() if isinstance(refusal, of)), "") or _TYPES[type(refusal)]
    code = str(refusal.code)
    if refusal.code is Code.EXTERNAL_ID_TAKEN or refusal.code is Code.IDENTIFIER_TAKEN:
        kind = "duplicate"
    if not refusal.faults:
        return [_issue(kind, code, refusal.message, path)]
    return [_of_fault(fault, kind, code) for fault in refusal.faults]


def _of_fault(fault: Fault, kind: str, code: str) -> object:
    if kind == "value":
        kind = "required" if fault.message.startswith("required") else kind
        kind = "structure" if fault.message.startswith(("unknown element", "must be a ", "must be an ")) else kind
        kind = "extension" if fault.path.endswith("modifierExtension") else kind
    return _issue(kind, code, fault.message, fault.path)


def _issue(kind: str, code: str, text: str, path: str) -> dict[str, object]:
    return {
        "severity": "error",
        "code": kind,
        "details": {"coding": [{"system": "urn:titrator:problem", "code": code}], "text": text},
        "diagnostics": f"{path}: {text}" if path else text,
        **({"expression": [path]} if path else {}),
    }


def _path(path: str, kind: str, root: str) -> str:
    """A place of an entry as a place of the resource; one that is told as such already stays."""
    if path.startswith((kind, "Bundle", root)) or not path:
        return path or root
    found = _INDEXED.fullmatch(path)
    if found is None:
        return root
    key, index, _ = found.groups()
    name = {**_OF_ALL, **_ELEMENTS.get(kind, {})}.get(key, "identifier" if key == "identifiers" else None)
    if name is None:
        return root
    return f"{root}.{name}{index or ''}" if name else root
