"""Short ways to write FHIR resources of a stored patient, to send them, and to read what comes back.

Days are told by how long ago they were, as in `tests/api/support.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from tests.api.support import Answer, House, day

Resource = dict[str, Any]

FHIR: Final = "application/fhir+json"
LOINC: Final = "http://loinc.org"
UCUM: Final = "http://unitsofmeasure.org"
SNOMED: Final = "http://snomed.info/sct"
MEDICINE: Final = {"coding": [{"system": "http://www.whocc.no/atc", "code": "B02BX04"}]}
GRADE: Final = "urn:titrator:toxicity-grade"
RESOLVED: Final = "urn:titrator:resolved-on"
LEVEL: Final = "urn:titrator:dose-level"
MODIFIER: Final = [{"url": "urn:x:not", "valueBoolean": True}]


# Elements


def quantity(value: object, code: str) -> Resource:
    return {"value": value, "unit": code, "system": UCUM, "code": code}


def subject(patient: str) -> Resource:
    return {"reference": f"Patient/{patient}"}


def known_as(value: str, system: str = "urn:lab") -> Resource:
    """An identifier, as an element of a resource."""
    return {"identifier": [{"system": system, "value": value}]}


def confirming(*codes: str) -> Resource:
    """Answers to questions, as tags of a resource."""
    return {"meta": {"tag": [{"system": "urn:titrator:confirm", "code": code} for code in codes]}}


# Resources


def person(family: str = "Meyer", given: str = "Eva", number: str | None = None, **more: object) -> Resource:
    named = {} if number is None else known_as(number, "urn:mrn")
    name = {"name": [{"use": "official", "family": family, "given": [given]}]}
    return {"resourceType": "Patient", **named, **name, "birthDate": "1960-05-01", **more}


def observed(patient: str, loinc: str, value: object, unit: str, on: str, **more: object) -> Resource:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": loinc}]},
        "subject": subject(patient),
        "effectiveDateTime": on,
        "valueQuantity": quantity(value, unit),
        **more,
    }


def platelets(patient: str, ago: int = 0, value: object = 60, unit: str = "10*9/L", **more: object) -> Resource:
    return observed(patient, "777-3", value, unit, day(ago), **more)


def weighed(patient: str, ago: int = 0, value: object = 75, unit: str = "kg", **more: object) -> Resource:
    return observed(patient, "29463-7", value, unit, day(ago), **more)


def haemoglobin(patient: str, ago: int = 0, value: object = 120, unit: str = "g/L", **more: object) -> Resource:
    return observed(patient, "718-7", value, unit, day(ago), **more)


def given(patient: str, ago: int = 0, micrograms: object = 75, unit: str = "ug", **more: object) -> Resource:
    return {
        "resourceType": "MedicationAdministration",
        "status": "completed",
        "medicationCodeableConcept": MEDICINE,
        "subject": subject(patient),
        "effectiveDateTime": day(ago),
        "dosage": {"dose": quantity(micrograms, unit)},
        **more,
    }


def not_given(patient: str, ago: int = 0, reason: str | None = "refused", **more: object) -> Resource:
    resource = given(patient, ago, **more)
    del resource["dosage"]
    why = [{"coding": [{"system": "urn:titrator:not-given", "code": reason}]}]
    return {**resource, "status": "not-done", **({} if reason is None else {"statusReason": why}), **more}


def transfused(patient: str, ago: int = 0, snomed: str = "12719002", **more: object) -> Resource:
    return {
        "resourceType": "Procedure",
        "status": "completed",
        "code": {"coding": [{"system": SNOMED, "code": snomed}]},
        "subject": subject(patient),
        "performedDateTime": day(ago),
        **more,
    }


def happened(patient: str, ago: int = 0, kind: str = "adverse_event", **more: object) -> Resource:
    text = {"text": "headache"} if kind == "adverse_event" else {}
    return {
        "resourceType": "AdverseEvent",
        "actuality": "actual",
        "event": {"coding": [{"system": "urn:titrator:event", "code": kind}], **text},
        "subject": subject(patient),
        "date": day(ago),
        **more,
    }


def graded(scale: str = "ctcae-5.0", grade: object = 2) -> Resource:
    """The grade of an adverse event, as an element of it."""
    parts = [{"url": "scale", "valueCode": scale}, {"url": "grade", "valueInteger": grade}]
    return {"extension": [{"url": GRADE, "extension": parts}]}


#: A resource of each type that is a fact, of a patient.
EACH: Final = {
    "Observation": platelets,
    "MedicationAdministration": given,
    "Procedure": transfused,
    "AdverseEvent": happened,
}


# Bundles and parameters


def entry(resource: Resource, method: str = "POST", url: str | None = None, **more: Any) -> Resource:
    """An entry of a Bundle; `full_url` and what a request has beside method and address by keyword."""
    full = more.pop("full_url", None)
    request = {"method": method, "url": url or resource["resourceType"], **more}
    return {**({} if full is None else {"fullUrl": full}), "resource": resource, "request": request}


def bundle(kind: str, *entries: Resource) -> Resource:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def parameters(**values: object) -> Resource:
    """Parameters, each a text, or a dict with its value[x]."""
    return {
        "resourceType": "Parameters",
        "parameter": [
            {"name": name, **(value if isinstance(value, dict) else {"valueString": value})}
            for name, value in values.items()
        ],
    }


# Sending and reading


def send(
    house: House, method: str, path: str, body: object = None, who: str | None = "pharmacist", **headers: str
) -> Answer:
    """What comes of a request at the door of FHIR."""
    return house.call(who, method, f"/fhir{path}", body, **{"Content_Type": FHIR, **headers})


def create(house: House, resource: Resource, who: str | None = "pharmacist", **headers: str) -> Answer:
    return send(house, "POST", f"/{resource['resourceType']}", resource, who, **headers)


def created(house: House, resource: Resource, who: str = "pharmacist", **headers: str) -> Resource:
    """A resource as it was created; fails unless it was."""
    answer = create(house, resource, who, **headers)
    assert answer.status == 201, answer.text
    found: Resource = answer.json
    return found


def put(
    house: House, resource: Resource, path: str | None = None, who: str = "pharmacist", version: object = None
) -> Answer:
    """What comes of an update, at the address of the resource unless a path is named."""
    where = path or f"/{resource['resourceType']}/{resource['id']}"
    more = {} if version is None else {"If_Match": f'W/"{version}"'}
    return send(house, "PUT", where, resource, who, **more)


def updated(house: House, resource: Resource, path: str | None = None, who: str = "pharmacist") -> Resource:
    """A resource as it was updated; fails unless it was."""
    answer = put(house, resource, path, who)
    assert answer.status == 200, answer.text
    found: Resource = answer.json
    return found


def read(house: House, path: str, who: str = "pharmacist") -> Any:
    """What is there; fails unless it is 200."""
    answer = send(house, "GET", path, None, who)
    assert answer.status == 200, answer.text
    return answer.json


def search(house: House, kind: str, who: str = "pharmacist", **asked: object) -> Any:
    """The Bundle of a search; names are written with _ for -, but for those that begin with it; a list is several."""
    pairs = [
        (name if name.startswith("_") else name.replace("_", "-"), value)
        for name, values in asked.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return read(house, f"/{kind}?{urlencode(pairs)}", who)


def matches(found: Mapping[str, Any]) -> list[Resource]:
    """The resources of a searchset, those that match."""
    return [one["resource"] for one in found.get("entry", []) if one["search"]["mode"] == "match"]


def ids(resources: Iterable[Mapping[str, Any]]) -> list[str]:
    return [one["id"] for one in resources]


def issues(answer: Answer) -> list[tuple[str, str]]:
    """The issues of an OperationOutcome: the type of each, and where it is."""
    assert answer.json["resourceType"] == "OperationOutcome", answer.text
    return [(one["code"], *one.get("expression", [""])) for one in answer.json["issue"]]


def places(answer: Answer) -> list[str]:
    """Where the faults of an OperationOutcome are."""
    return sorted({place for _, place in issues(answer)})


def problems(answer: Answer) -> set[str]:
    """The codes of ours that an OperationOutcome has."""
    assert answer.json["resourceType"] == "OperationOutcome", answer.text
    return {one["details"]["coding"][0]["code"] for one in answer.json["issue"] if "details" in one}
