"""A course document as the FHIR resources that a hospital system would have of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from titrator.fhir.codes import LOINC, OWN, UCUM
from titrator.fhir.giving import (
    BASELINE_EXTENSION,
    ELIGIBILITY_EXTENSION,
    MEDICINE,
    PROTOCOL_EXTENSION,
    TRANSFUSIONS,
    ucum,
)
from titrator.fhir.taking import LEVEL_EXTENSION, RESOLVED_EXTENSION

Resource = dict[str, Any]

GOLDEN: Final = Path(__file__).parents[1] / "golden" / "courses.ndjson"
#: The courses given with the rules, where they are.
GIVEN: Final = Path(__file__).parents[3] / "shared" / "cases" / "contract-examples.ndjson"
PATIENT: Final = "ehr-17"


def golden(file: Path = GOLDEN) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The worked courses of a file, each with its answer; numbers are exact."""
    lines = [json.loads(line, parse_float=Decimal, parse_int=Decimal) for line in file.read_text().splitlines()]
    assert lines
    return [(line["course"], line["answer"]) for line in lines]


def resources(course: Mapping[str, Any], patient: str = PATIENT) -> dict[str, list[Resource]]:
    """The resources of a course document, by key of a prefetch."""
    events = course.get("events", [])
    return {
        "patient": [patient_resource(course.get("born_on"), patient)],
        "platelets": [count(one, patient) for one in course.get("platelet_counts", [])],
        "weights": [weight(one, patient) for one in course.get("weights", [])],
        "doses": [dose(one, patient) for one in course.get("doses", [])],
        "procedures": [procedure(one, patient) for one in events if one["kind"] in _PROCEDURES],
        "adverseEvents": [adverse_event(one, patient) for one in events if one["kind"] not in _PROCEDURES],
        "conditions": [condition(course, patient)],
    }


def prefetch(course: Mapping[str, Any], patient: str = PATIENT) -> dict[str, Any]:
    """The prefetch of a course document: the patient, and a searchset of each of the others."""
    found: dict[str, Any] = {key: searchset(items) for key, items in resources(course, patient).items()}
    return found | {"patient": patient_resource(course.get("born_on"), patient)}


def searchset(items: Iterable[Resource], **more: Any) -> Resource:
    entries = [{"resource": one, "search": {"mode": "match"}} for one in items]
    return {"resourceType": "Bundle", "type": "searchset", "entry": entries, **more}


def patient_resource(born_on: str | None = None, ident: str = PATIENT, **more: Any) -> Resource:
    named = {"name": [{"family": "Meyer", "given": ["Eva"]}], "gender": "female"}
    born = {} if born_on is None else {"birthDate": born_on}
    return {"resourceType": "Patient", "id": ident, **named, **born, **more}


def count(entry: Mapping[str, Any], patient: str = PATIENT, **more: Any) -> Resource:
    status = {"status": "preliminary"} if entry.get("unreliable") else {}
    return _observation("777-3", entry["collected_on"], entry, patient) | status | more


def weight(entry: Mapping[str, Any], patient: str = PATIENT, **more: Any) -> Resource:
    return _observation("29463-7", entry["measured_on"], entry, patient) | more


def dose(entry: Mapping[str, Any], patient: str = PATIENT, **more: Any) -> Resource:
    level = entry.get("micrograms_per_kg")
    extension = [{"url": LEVEL_EXTENSION, "valueQuantity": _quantity(level, "ug/kg")}]
    return {
        "resourceType": "MedicationAdministration",
        "status": "completed",
        "medicationCodeableConcept": MEDICINE,
        "subject": _subject(patient),
        "effectiveDateTime": entry["given_on"],
        "dosage": {"dose": _quantity(entry["micrograms"], "ug"), **({} if level is None else {"extension": extension})},
        **more,
    }


def procedure(entry: Mapping[str, Any], patient: str = PATIENT, **more: Any) -> Resource:
    kind = entry["kind"]
    snomed = [{"system": "http://snomed.info/sct", "code": TRANSFUSIONS[kind][0]}] if kind in TRANSFUSIONS else []
    return {
        "resourceType": "Procedure",
        "status": "completed",
        "code": {"coding": snomed or [{"system": f"{OWN}:event", "code": kind}]},
        "subject": _subject(patient),
        "performedDateTime": entry["occurred_on"],
        **more,
    }


def adverse_event(entry: Mapping[str, Any], patient: str = PATIENT, **more: Any) -> Resource:
    resolved = entry.get("resolved_on")
    return {
        "resourceType": "AdverseEvent",
        "actuality": "actual",
        "event": {"coding": [{"system": f"{OWN}:event", "code": entry["kind"]}]},
        "subject": _subject(patient),
        "date": entry["occurred_on"],
        **({} if resolved is None else {"extension": [{"url": RESOLVED_EXTENSION, "valueDate": resolved}]}),
        **more,
    }


def condition(course: Mapping[str, Any], patient: str = PATIENT, **more: Any) -> Resource:
    extensions = [{"url": ELIGIBILITY_EXTENSION, "valueCode": one} for one in course.get("eligibility", [])]
    if (baseline := course.get("baseline_on")) is not None:
        extensions.append({"url": BASELINE_EXTENSION, "valueDate": baseline})
    extensions.append({"url": PROTOCOL_EXTENSION, "valueCode": course["protocol"]})
    return {
        "resourceType": "Condition",
        "extension": extensions,
        "code": {"text": "ITP"},
        "subject": _subject(patient),
        **more,
    }


def order(micrograms: object, unit: str = "ug", ident: str = "order-1", **more: Any) -> Resource:
    """A draft order of romiplostim."""
    return {
        "resourceType": "MedicationRequest",
        "id": ident,
        "status": "draft",
        "intent": "order",
        "medicationCodeableConcept": {"text": "Romiplostim 250 micrograms powder"},
        "subject": _subject(PATIENT),
        "dosageInstruction": [{"doseAndRate": [{"doseQuantity": _quantity(micrograms, unit)}]}],
        **more,
    }


_PROCEDURES: Final = (*TRANSFUSIONS, "rescue_therapy")


def _observation(code: str, day: str, entry: Mapping[str, Any], patient: str) -> Resource:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": _subject(patient),
        "effectiveDateTime": day,
        "valueQuantity": _quantity(entry["value"], ucum(entry["unit"])),
    }


def _quantity(value: object, code: str) -> Resource:
    return {"value": value, "system": UCUM, "code": code}


def _subject(patient: str) -> Resource:
    return {"reference": f"Patient/{patient}"}
