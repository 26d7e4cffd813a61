"""What is read at once is what the strict reader reads: of whole resources, and of those with any one part changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from schemas.cds_hooks import REQUESTS
from tests.fhir.courses import PATIENT, Resource, count, dose, weight
from titrator.fhir import hooks, prefetch
from titrator.fhir.elements import is_modified, may_be_modified
from titrator.fhir.plain import plain
from titrator.fhir.prefetch import Made, Sent, course_of
from titrator.titration.documents import decode
from titrator.titration.errors import Fault

TODAY = "2026-03-09"
BERLIN = ZoneInfo("Europe/Berlin")
#: What hospital systems send besides.
MORE = {
    "id": "r-1",
    "meta": {"versionId": "4", "lastUpdated": "2026-03-09T08:00:00Z"},
    "identifier": [{"system": "urn:oid:2.999.2", "value": "L-1"}],
    "performer": [{"display": "Laboratory"}],
}
LOW = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "code": "L"}]}
RANGE = {"low": {"value": 150, "unit": "10*9/L"}}
ATC = {"system": "http://www.whocc.no/atc", "code": "B02BX04"}
COUNT = {"collected_on": TODAY, "value": 38, "unit": "10*9/L"}

SUBCUTANEOUS = {"coding": [{"system": "http://snomed.info/sct", "code": "34206005"}], "text": "Subcutaneous"}
INTO_A_VEIN = {"coding": [{"system": "http://snomed.info/sct", "code": "47625008"}]}


def by(route: Resource) -> Resource:
    """A dose by a route."""
    sent = dose({"given_on": "2026-03-02", "micrograms": 75})
    return {**sent, "dosage": {**sent["dosage"], "route": route}}


PLAIN: list[Resource] = [
    by(SUBCUTANEOUS),
    count(COUNT),
    count(COUNT, issued="2026-03-09T09:00:00Z", referenceRange=[RANGE], **MORE),
    count(COUNT, effectiveDateTime="2026-03-08T23:30:00Z", status="corrected"),
    weight({"measured_on": TODAY, "value": 165, "unit": "[lb_av]"}, **MORE),
    dose({"given_on": "2026-03-02", "micrograms": 75}, **MORE),
    dose({"given_on": "2026-03-02", "micrograms": 75}, medicationCodeableConcept={"coding": [ATC], "text": "Nplate"}),
]
UNUSUAL: list[Resource] = [
    by(INTO_A_VEIN),
    by({"text": "as told"}),
    count(COUNT, interpretation=[LOW]),
    count(COUNT, note=[{"text": "Platelets clumped"}]),
    count(COUNT, dataAbsentReason={"text": "clotted"}),
    count(COUNT, focus=[{"reference": "Patient/donor"}]),
    dose({"given_on": "2026-03-02", "micrograms": 75, "micrograms_per_kg": 1}),
    dose({"given_on": "2026-03-02", "micrograms": 75}, statusReason=[{"text": "late"}]),
]
#: What stands in the place of a part.
ODD: tuple[object, ...] = (
    None, "", " ", "x", "mg", "g", "ug", "mcg", "/uL", "10*3/uL", "lb", "kg", "preliminary", "cancelled", "not-done",
    "entered-in-error", "final", "completed", "26515-7", "718-7", "29463-7", "2026-03-08T23:30:00Z", "2026-03-09T24:00",
    "2026-03", "2030-01-01", "0000-01-01T00:00:00Z", "Patient/other", f"Patient/{PATIENT}", "Observation",
    "Paracetamol",
    "http://loinc.org", "http://unitsofmeasure.org", "http://snomed.info/sct", True, 0, -1, 5, 100_000_000, 10**13, 1.5,
    [], {}, [None], ["x"], [{}], {"modifierExtension": []}, {"value": 1, "comparator": "<"}, {"coding": [{}]},
    {"text": "Nplate"}, {"text": 5}, {"coding": [{"system": "http://loinc.org", "code": "777-3", "display": 5}]},
)  # fmt: skip
#: What is added to an object.
ADDED: dict[str, object] = {
    "modifierExtension": [{"url": "urn:x", "valueBoolean": True}],
    "implicitRules": "urn:x",
    "extension": [{"url": "urn:x"}],
    "comparator": "<",
    "stauts": "final",
    "_status": {},
    "effectivePeriod": {"start": TODAY},
    "effectiveInstant": "2026-03-09T08:00:00Z",
    "valueString": "38",
    "medicationReference": {"display": "Paracetamol"},
    "interpretation": [{"text": "clumped"}],
    "note": [{"text": "clumps"}],
    "context": {},
    "encounter": {},
    "display": "Paracetamol",
    "userSelected": True,
    "rateQuantity": {"value": 1},
}


def read(*resources: object) -> tuple[Made, list[Fault]]:
    faults: list[Fault] = []
    unmodified = not may_be_modified(json.dumps(resources, default=str).encode())
    sent = [Sent(one, f"[{index}]", unmodified) for index, one in enumerate(resources)]
    return course_of("us-itp-adult", TODAY, BERLIN, sent, faults, patient=PATIENT), faults


def as_sent(resource: object) -> Any:
    return decode(json.dumps(resource), 24)


def changed(value: Any) -> Iterator[Any]:
    """A value with any one of its parts left out, with another thing in its place, or with something added."""
    yield from ODD
    if isinstance(value, dict):
        yield from (value | {key: item} for key, item in ADDED.items() if key not in value)
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        without = deepcopy(value)
        del without[key]
        yield without
        for part in changed(value[key]):
            other = deepcopy(value)
            other[key] = part
            yield other


@pytest.mark.parametrize("resource", PLAIN)
def test_what_most_systems_send_is_read_at_once(resource: Resource) -> None:
    assert plain(as_sent(resource), BERLIN) is not None


@pytest.mark.parametrize("resource", UNUSUAL)
def test_what_is_unusual_is_read_strictly(resource: Resource) -> None:
    assert plain(as_sent(resource), BERLIN) is None


@pytest.mark.parametrize("name", ["modifierExtension", "implicitRules"])
def test_a_modifier_is_seen_however_its_name_is_written(name: str) -> None:
    for letter in name:
        for form in ("{:04x}", "{:04X}"):
            written = name.replace(letter, "\\u" + form.format(ord(letter)))
            text = f'{{"a": [{{"{written}": []}}]}}'.encode()
            assert is_modified(json.loads(text))
            assert may_be_modified(text)
    assert not may_be_modified(b'{"unit": "\\u00b5g", "display": "\\u2265 extension"}')


@pytest.mark.parametrize("resource", PLAIN + UNUSUAL)
def test_both_readers_say_the_same_of_a_resource_with_any_part_changed(
    resource: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [as_sent(one) for one in changed(resource)]
    at_once = [read(one) for one in sent]
    monkeypatch.setattr(prefetch, "plain", lambda *_, **__: None)
    strictly = [read(one) for one in sent]
    assert [one for one, first, second in zip(sent, at_once, strictly, strict=True) if first != second] == []
    assert len({str(faults) for _, faults in strictly}) > 20, "the changes made no difference"


@pytest.mark.parametrize("hook", REQUESTS)
def test_a_call_that_is_read_at_once_is_what_the_schema_reads(hook: str) -> None:
    call: Resource = {
        "hook": hook,
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "fhirServer": "https://ehr.example/fhir",
        "context": {"userId": "Practitioner/1", "patientId": PATIENT, "draftOrders": {}, "selections": ["a/1"]},
        "prefetch": {"patient": {}},
        "extension": {},
    }
    body, schema = as_sent(call), REQUESTS[hook]
    assert hooks._at_once(schema, body) == schema.load(body)
    token = {"access_token": "x", "token_type": "Bearer"}
    read = 0
    for one in (*changed(body), body | {"fhirAuthorization": token}):
        found = hooks._at_once(schema, one)
        read += found is not None
        assert found is None or found == schema.load(one)
        assert found is not None or schema.validate(one) or "fhirAuthorization" in one
    assert read > 10
