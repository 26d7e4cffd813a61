"""What is taken: each resource that is a fact or a patient, strictly, with each fault named by its path, all at once.

What is recorded over FHIR is recorded as over REST: it is asked about, kept unverified, converted, and re-opens what
was decided, and nothing of what is refused is stored.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.api.deciding import decided, decision, dosed, next_dose, starting
from tests.api.support import NOON, TODAY, WHY, House, day, dose
from tests.fhir.judges.judge import faults
from tests.fhir.resources import (
    EACH,
    LEVEL,
    MEDICINE,
    MODIFIER,
    RESOLVED,
    SNOMED,
    Resource,
    confirming,
    create,
    created,
    given,
    graded,
    haemoglobin,
    happened,
    issues,
    known_as,
    matches,
    not_given,
    observed,
    person,
    places,
    platelets,
    problems,
    put,
    quantity,
    read,
    search,
    send,
    subject,
    transfused,
    updated,
    weighed,
)

# Faults

X: Final = "p"  # stands for the patient in the tables
V, U = "Observation.value.value", "Observation.value.unit"


def valued(value: object, unit: str = "10*9/L", **more: object) -> dict[str, object]:
    return {"valueQuantity": {**quantity(value, unit), **more}}


def without(resource: Resource, *names: str) -> Resource:
    return {key: value for key, value in resource.items() if key not in names}


#: A resource, and where its faults are: all of them.
FAULTY: Final[dict[str, tuple[Resource, list[str]]]] = {
    "nothing but a type": (
        {"resourceType": "Observation"},
        ["Observation.code", "Observation.effective", "Observation.status", "Observation.subject", "Observation.value"],
    ),
    "no status": (without(platelets(X), "status"), ["Observation.status"]),
    "a status that is none": (platelets(X, status="done"), ["Observation.status"]),
    "registered": (platelets(X, status="registered"), ["Observation.status"]),
    "cancelled": (platelets(X, status="cancelled"), ["Observation.status"]),
    "unknown": (platelets(X, status="unknown"), ["Observation.status"]),
    "no code": (without(platelets(X), "code"), ["Observation.code"]),
    "a code that is not kept": (observed(X, "2160-0", 1, "mg/dL", TODAY), ["Observation.code.coding"]),
    "a code of another system": (
        platelets(X, code={"coding": [{"system": "urn:x", "code": "777-3"}]}),
        ["Observation.code.coding"],
    ),
    "codes of two things": (
        platelets(X, code={"coding": [{"system": "http://loinc.org", "code": one} for one in ("777-3", "718-7")]}),
        ["Observation.code.coding"],
    ),
    "no day": (without(platelets(X), "effectiveDateTime"), ["Observation.effective"]),
    "part of a day": (platelets(X, effectiveDateTime="2026-03"), ["Observation.effective"]),
    "an instant without its offset": (
        platelets(X, effectiveDateTime=f"{TODAY}T08:00:00"),
        ["Observation.effective"],
    ),
    "a period": (
        {**without(platelets(X), "effectiveDateTime"), "effectivePeriod": {"start": TODAY}},
        ["Observation.effective"],
    ),
    "tomorrow": (platelets(X, -1), ["Observation.effective"]),
    "before birth": (platelets(X, effectiveDateTime="1960-04-30"), ["Observation.effective"]),
    "no value": (without(platelets(X), "valueQuantity"), ["Observation.value"]),
    "a text as value": (
        {**without(platelets(X), "valueQuantity"), "valueString": "60"},
        ["Observation.value"],
    ),
    "a value of no type": ({**platelets(X), "value": 60}, ["Observation.value"]),
    "a value in quotes": (platelets(X, value="60"), [V]),
    "a count below 0": (platelets(X, value=-1), [V]),
    "a count above 5000": (platelets(X, value=5001), [V]),
    "a weight below 0.3": (weighed(X, value=0.29), [V]),
    "a weight above 400": (weighed(X, value=401), [V]),
    "less than": (platelets(X, **valued(5, comparator="<")), ["Observation.value.comparator"]),
    "no unit": (platelets(X, valueQuantity={"value": 60}), ["Observation.value.code"]),
    "another unit": (platelets(X, unit="mmol/L"), ["Observation.value.code"]),
    "kilograms of platelets": (platelets(X, unit="kg"), ["Observation.value.code"]),
    "a code of no system": (platelets(X, valueQuantity={"value": 60, "code": "10*9/L"}), ["Observation.value.system"]),
    "a unit in words that is none": (platelets(X, valueQuantity={"value": 60, "unit": "giga"}), [U]),
    "a unit in words that is another": (platelets(X, valueQuantity={**quantity(60, "10*9/L"), "unit": "/uL"}), [U]),
    "pounds by the code of kilograms": (weighed(X, valueQuantity={**quantity(75, "kg"), "unit": "lb"}), [U]),
    "milligrams by the code of micrograms": (
        given(X, dosage={"dose": {**quantity(75, "ug"), "unit": "mg"}}),
        ["MedicationAdministration.dosage.dose.unit"],
    ),
    "a level by the code of an amount": (
        given(X, dosage={"dose": {**quantity(75, "ug"), "unit": "micrograms/kg"}}),
        ["MedicationAdministration.dosage.dose.unit"],
    ),
    "of a focus": (platelets(X, focus=[{"reference": "Patient/x"}]), ["Observation.focus"]),
    "an unknown element": (platelets(X, values=1), ["Observation.values"]),
    "two of several faults": (
        platelets(X, status="done", note=[{"text": "\x00"}], **valued(-1, comparator="<")),
        ["Observation.note", "Observation.status", "Observation.value.comparator", V],
    ),
    "two values": (platelets(X, valueString="60"), [V.rpartition(".")[0]]),
    "two times": (platelets(X, effectiveInstant="2026-03-09T08:00:00Z"), ["Observation.effective"]),
    "a day of a week": (platelets(X, effectiveDateTime="2026-W10-1"), ["Observation.effective"]),
    "an instant of a week": (platelets(X, effectiveDateTime="2026-W10-1T08:00:00Z"), ["Observation.effective"]),
    "an instant without minutes": (platelets(X, effectiveDateTime="2026-03-08T08Z"), ["Observation.effective"]),
    "an identifier without its value": (
        platelets(X, identifier=[{"system": "urn:a", "value": "1"}, {"system": "urn:b"}]),
        ["Observation.identifier[1].value"],
    ),
    "no list": (platelets(X, note={"text": "x"}), ["Observation.note"]),
    "no object": (platelets(X, code="777-3"), ["Observation.code", "Observation.code.coding"]),
    "another type of resource": (
        {"resourceType": "MedicationAdministration", **without(platelets(X), "resourceType")},
        [
            "MedicationAdministration.code",
            "MedicationAdministration.dosage.dose",
            "MedicationAdministration.medication",
            "MedicationAdministration.status",
            "MedicationAdministration.valueQuantity",
        ],
    ),
    "no medicine": (without(given(X), "medicationCodeableConcept"), ["MedicationAdministration.medication"]),
    "another medicine": (
        given(X, medicationCodeableConcept={"text": "Eltrombopag"}),
        ["MedicationAdministration.medication"],
    ),
    "another medicine by its code": (
        given(X, medicationCodeableConcept={"coding": [{"system": "http://www.whocc.no/atc", "code": "B02BX05"}]}),
        ["MedicationAdministration.medication"],
    ),
    "in progress": (given(X, status="in-progress"), ["MedicationAdministration.status"]),
    "stopped": (given(X, status="stopped"), ["MedicationAdministration.status"]),
    "no dose": (without(given(X), "dosage"), ["MedicationAdministration.dosage.dose"]),
    "a dose of 0": (given(X, micrograms=0), ["MedicationAdministration.dosage.dose.value"]),
    "a dose above 5000": (given(X, micrograms=5001), ["MedicationAdministration.dosage.dose.value"]),
    "a dose above 5 mg": (given(X, micrograms=5.001, unit="mg"), ["MedicationAdministration.dosage.dose.value"]),
    "a dose of a volume": (given(X, unit="mL"), ["MedicationAdministration.dosage.dose.code"]),
    "a dose without its unit": (
        given(X, dosage={"dose": {"value": 75}}),
        ["MedicationAdministration.dosage.dose.unit"],
    ),
    "a dose of a level": (given(X, unit="ug/kg"), ["MedicationAdministration.dosage.dose.code"]),
    "less than a dose": (
        given(X, dosage={"dose": {**quantity(75, "ug"), "comparator": "<"}}),
        ["MedicationAdministration.dosage.dose.comparator"],
    ),
    "a dose of tomorrow": (given(X, -1), ["MedicationAdministration.effective"]),
    "not given tomorrow": (not_given(X, -1), ["MedicationAdministration.effective"]),
    "another operation": (transfused(X, snomed="80146002"), ["Procedure.code"]),
    "a transfusion in preparation": (transfused(X, status="preparation"), ["Procedure.status"]),
    "a transfusion that was not": (transfused(X, status="not-done"), ["Procedure.status"]),
    "a transfusion on no day": (without(transfused(X), "performedDateTime"), ["Procedure.performed"]),
    "a transfusion of tomorrow": (transfused(X, -1), ["Procedure.performed"]),
    "what may happen": (happened(X, actuality="potential"), ["AdverseEvent.actuality"]),
    "an event that is none": (happened(X, kind="flood"), ["AdverseEvent.event"]),
    "no event": (without(happened(X), "event"), ["AdverseEvent.event"]),
    "no actuality": (without(happened(X), "actuality"), ["AdverseEvent.actuality"]),
    "an event without a day": (without(happened(X), "date"), ["AdverseEvent.date"]),
    "an event of tomorrow": (happened(X, -1), ["AdverseEvent.date"]),
    "a grade of no scale": (happened(X, **graded("own", 2)), ["AdverseEvent.extension[0].extension[0].valueCode"]),
    "a grade above 5": (happened(X, **graded(grade=6)), ["AdverseEvent.extension[0].extension[1].valueInteger"]),
    "half a grade": (happened(X, **graded(grade=1.5)), ["AdverseEvent.extension[0].extension[1].valueInteger"]),
    "over before it began": (
        happened(X, 3, extension=[{"url": RESOLVED, "valueDate": day(4)}]),
        ["AdverseEvent.extension"],
    ),
    "a patient without a name": (without(person(), "name"), ["Patient.name[0].family", "Patient.name[0].given"]),
    "a patient born tomorrow": (person(birthDate=day(-1)), ["Patient.birthDate"]),
    "a patient born in a year": (person(birthDate="1960"), ["Patient.birthDate"]),
    "a patient who has died": (person(deceasedBoolean=True), ["Patient.deceased"]),
    "a patient who has died or not": (person(deceasedBoolean="yes"), ["Patient.deceasedBoolean"]),
    "a new patient who is not active": (person(active=False), ["Patient.active"]),
    "a patient of another clinic": (
        person(managingOrganization={"identifier": {"system": "urn:titrator:clinic", "value": "elsewhere"}}),
        ["Patient.managingOrganization"],
    ),
    "a patient with an unknown element": (person(race="x"), ["Patient.race"]),
}


def of_patient(resource: Any, patient: str) -> Any:
    """A resource of the tables, of that patient."""
    return {**resource, "subject": subject(patient)} if resource.get("subject") == subject(X) else resource


@pytest.mark.parametrize("name", FAULTY)
def test_each_fault_is_named_and_nothing_is_stored(shared: House, name: str) -> None:
    resource, where = FAULTY[name]
    patient = shared.patient()
    before = shared.everything()
    answer = create(shared, of_patient(resource, patient))
    assert (answer.status, places(answer)) == (422, where), answer.text
    assert shared.everything() == before
    assert faults([answer.json]) == []


#: The last that is taken at each limit, of which FAULTY has the first that is not.
SOUND: Final[dict[str, tuple[Resource, object]]] = {
    "a count of 0": (platelets(X, value=0), 0),
    "a count of 5000": (platelets(X, value=5000), 5000),
    "a weight of 0.3": (weighed(X, value=0.3), Decimal("0.3")),
    "a weight of 400": (weighed(X, value=400), 400),
    "a dose of a little": (given(X, micrograms=0.001), Decimal("0.001")),
    "a dose of 5000": (given(X, micrograms=5000), 5000),
    "a dose of 5 mg": (given(X, micrograms=5, unit="mg"), 5000),
    "on the day of birth": (platelets(X, effectiveDateTime="1960-05-01"), 60),
}
ASKED: Final = ("WEIGHT-UNUSUAL", "DOSE-WITHOUT-COURSE")


@pytest.mark.parametrize("name", SOUND)
def test_what_stands_at_a_limit_is_taken(shared: House, name: str) -> None:
    resource, value = SOUND[name]
    sent = of_patient(resource, shared.patient())
    answer = create(shared, sent)
    if answer.status == 422:
        assert problems(answer) <= set(ASKED)
        answer = create(shared, {**sent, **confirming(*problems(answer))})
    assert answer.status == 201, answer.text
    kept = answer.json.get("valueQuantity") or answer.json["dosage"]["dose"]
    assert kept["value"] == value
    assert faults([answer.json]) == []


@pytest.mark.parametrize("kind", [*EACH, "Patient"])
@pytest.mark.parametrize("where", ["root", "within", "rules"])
def test_what_may_turn_the_meaning_round_is_refused(shared: House, kind: str, where: str) -> None:
    patient = shared.patient()
    resource = person() if kind == "Patient" else EACH[kind](patient)
    if where == "within":
        inside = {"Patient": "name", "AdverseEvent": "event"}.get(kind, "subject")
        found = resource[inside]
        (found[0] if isinstance(found, list) else found)["modifierExtension"] = MODIFIER
        place = f"{kind}.{inside}{'[0]' if isinstance(found, list) else ''}.modifierExtension"
    elif where == "root":
        resource, place = {**resource, "modifierExtension": MODIFIER}, f"{kind}.modifierExtension"
    else:
        resource, place = {**resource, "implicitRules": "urn:x"}, f"{kind}.implicitRules"
    before = shared.everything()
    answer = create(shared, resource)
    assert (answer.status, places(answer)) == (422, [place])
    assert shared.everything() == before


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ("", ""), ("{", ""), ("[]", "Observation"), ("null", "Observation"), ('"x"', "Observation"),
        ('{"resourceType": "Observation", "resourceType": "Observation"}', "resourceType"),
    ],
)  # fmt: skip
def test_what_is_no_resource_is_refused(shared: House, body: str, where: str) -> None:
    before = shared.everything()
    answer = shared.call("pharmacist", "POST", "/fhir/Observation", raw=body, Content_Type="application/fhir+json")
    assert answer.status in (400, 422), answer.text
    assert answer.json["resourceType"] == "OperationOutcome"
    assert where in places(answer) or any(place.startswith(where) for place in places(answer))
    assert shared.everything() == before


def test_another_type_than_that_of_the_address_is_refused(shared: House) -> None:
    patient = shared.patient()
    answer = send(shared, "POST", "/Procedure", platelets(patient))
    assert answer.status == 422
    assert "Procedure.resourceType" in places(answer)


# Whose


def test_a_subject_is_a_patient_of_ones_clinics(shared: House) -> None:
    mine, theirs = shared.patient(), shared.patient("stranger")
    my_number, their_number = f"pharmacist-{shared.made - 1}", f"stranger-{shared.made}"
    base = "http://localhost/fhir"
    for whose in (
        {"reference": f"Patient/{mine}"},
        {"reference": f"{base}/Patient/{mine}"},
        {"reference": f"Patient?identifier=urn:mrn|{my_number}"},
        {"identifier": {"system": "urn:mrn", "value": my_number}},
    ):
        made = created(shared, {**platelets(mine, 1), "subject": whose})
        assert made["subject"] == subject(mine), whose
    before = shared.everything()
    for whose in (
        {"reference": f"Patient/{theirs}"},
        {"reference": f"Patient/{'0' * 20}"},
        {"reference": f"http://elsewhere.example/fhir/Patient/{mine}"},
        {"reference": f"Group/{mine}"},
        {"reference": f"Patient?identifier=urn:mrn|{their_number}"},
        {"reference": "Patient?identifier=urn:mrn|nobody"},
        {"identifier": {"system": "urn:mrn", "value": their_number}},
        {"identifier": {"value": my_number}},
        {"display": "Ada"},
        {},
    ):
        answer = create(shared, {**platelets(mine, 1), "subject": whose})
        assert (answer.status, places(answer)) == (422, ["Observation.subject"]), whose
    answer = create(shared, {**platelets(mine, 1), "subject": {"reference": "Patient?name=Ada"}})
    assert answer.status == 400
    assert shared.everything() == before


def test_a_patient_who_is_not_active_has_nothing_recorded(shared: House) -> None:
    patient = shared.patient()
    there = read(shared, f"/Patient/{patient}")
    updated(shared, {**there, "active": False})
    answer = create(shared, platelets(patient))
    assert (answer.status, problems(answer)) == (409, {"PATIENT-INACTIVE"})
    updated(shared, {**there, "active": True})
    created(shared, platelets(patient))


def test_another_clinics_patient_is_neither_read_nor_changed(shared: House) -> None:
    theirs = shared.patient("stranger")
    made = created(shared, platelets(theirs, 1, **known_as("o")), "stranger")
    there = read(shared, f"/Patient/{theirs}", "stranger")
    before = shared.everything()
    assert put(shared, {**made, **valued(61)}).status == 404
    assert put(shared, {**there, "active": False}).status == 404
    assert send(shared, "PUT", f"/Patient?identifier=urn:mrn|stranger-{shared.made}", there).status == 422
    conditional = send(shared, "PUT", "/Observation?identifier=urn:lab|o", made)
    assert (conditional.status, places(conditional)) == (422, ["Observation.subject"])
    assert shared.everything() == before


# Units


#: A count of 60 × 10⁹/L as it may be written: value and quantity.
SIXTY: Final[list[tuple[dict[str, object], str]]] = [
    (quantity(60, "10*9/L"), "10*9/L"),
    (quantity(60, "10*3/uL"), "10*3/uL"),
    (quantity(60, "K/uL"), "K/uL"),
    (quantity(60000, "/uL"), "/uL"),
    (quantity(60000, "/mm3"), "/mm3"),
    ({"value": 60, "unit": "10^9/L"}, "10*9/L"),
    ({"value": 60, "unit": "x10^3/uL"}, "10*3/uL"),
    (quantity(60, "10*3.uL-1"), "10*3/uL"),
    (quantity(60, "10*9.L-1"), "10*9/L"),
    (quantity(60000, "uL-1"), "/uL"),
    ({"value": 60000, "unit": "/µL"}, "/uL"),
    ({"value": 60, "unit": "giga/L", "system": "http://unitsofmeasure.org", "code": "10*9/L"}, "10*9/L"),
]


@pytest.mark.parametrize(("value", "unit"), SIXTY)
def test_a_count_doses_alike_in_each_of_its_units(shared: House, value: dict[str, object], unit: str) -> None:
    patient = starting(shared, 60)
    same = next_dose(shared, patient)
    fact = shared.get(f"/patients/{patient}/platelet-counts")["items"][0]
    there = read(shared, f"/Observation/{patient}-{fact['id']}")
    updated(shared, {**there, "valueQuantity": value})
    kept = shared.get(f"/patients/{patient}/platelet-counts")["items"][0]
    assert (kept["value"], kept["unit"]) == (value["value"], unit)
    found = next_dose(shared, patient)
    assert (found["action"], found["dose"], found["reasons"]) == (same["action"], same["dose"], same["reasons"])
    assert found["evidence"]["counts_used"] == same["evidence"]["counts_used"]


def test_a_count_a_thousand_times_as_high_is_another(shared: House) -> None:
    """6 /uL is 0.006 × 10⁹/L: what a unit says is believed, so what is far off is asked about."""
    patient = starting(shared, 60)
    answer = create(shared, platelets(patient, 0, 60, "/uL"))
    assert (answer.status, problems(answer)) == (422, {"COUNT-FAR-FROM-LAST"})


@pytest.mark.parametrize(("value", "unit"), [(75, "kg"), (75000, "g"), (165.34669663862277, "[lb_av]")])
def test_weights_are_kept_in_their_unit_and_dosed_in_kilograms(shared: House, value: float, unit: str) -> None:
    patient = shared.begun(0)
    made = created(shared, weighed(patient, 0, value, unit))
    assert (made["valueQuantity"]["code"], made["valueQuantity"]["value"]) == (unit, Decimal(str(value)))
    created(shared, platelets(patient, 0, 20))
    assert next_dose(shared, patient)["dose"]["delivered_micrograms"] == 75
    assert faults([made]) == []


def test_other_values_keep_their_unit_and_the_limit_of_their_laboratory(shared: House) -> None:
    patient = shared.patient()
    low = {"referenceRange": [{"low": quantity(12, "g/dL"), "high": quantity(16, "g/dL")}]}
    made = created(shared, haemoglobin(patient, 0, 9.5, "g/dL", **low))
    assert made["referenceRange"] == [{"low": quantity(12, "g/dL")}]
    other = created(shared, haemoglobin(patient, 0, 9.5, "g/dL", referenceRange=[{"low": quantity(120, "g/L")}]))
    assert "referenceRange" not in other, "of another unit it says nothing"
    own = {"code": {"coding": [{"system": "urn:titrator:observation", "code": "ferritin"}]}}
    ferritin = created(shared, haemoglobin(patient, 0, 40, "ug/L", **own))
    assert ferritin["code"]["coding"] == own["code"]["coding"]
    assert faults([made, other, ferritin]) == []


# Results that are not final, and corrections


def test_a_preliminary_result_doses_nothing_until_the_final_one_comes(shared: House) -> None:
    patient = shared.begun(0)
    created(shared, weighed(patient))
    sent = platelets(patient, 0, 20, status="preliminary", **known_as("r-1"))
    early = created(shared, sent, "ehr")
    assert early["status"] == "preliminary"
    assert next_dose(shared, patient)["action"] == "incomplete"
    fact = f"/patients/{patient}/platelet-counts/{early['id'].partition('-')[2]}"
    verified = shared.call("pharmacist", "POST", f"{fact}/verification", WHY, version=1)
    assert verified.code == "RESULT-PRELIMINARY", "nobody's word makes it final"
    final = updated(shared, {**sent, "status": "final"}, "/Observation?identifier=urn:lab|r-1", "ehr")
    assert (final["id"], final["status"], final["meta"]["versionId"]) == (early["id"], "final", "2")
    found = next_dose(shared, patient)
    assert (found["action"], found["dose"]["delivered_micrograms"]) == ("start", 75)
    again = updated(shared, {**sent, "status": "final"}, "/Observation?identifier=urn:lab|r-1", "ehr")
    assert again == final, "the same once more changes nothing"


def test_a_person_may_send_a_preliminary_result_too(shared: House) -> None:
    patient = starting(shared)
    made = created(shared, platelets(patient, 0, 600, status="preliminary"))
    assert made["status"] == "preliminary"
    codes = [one["code"]["coding"][0]["code"] for one in matches(search(shared, "Task", patient=patient))]
    assert "to-verify" in codes
    assert shared.call("pharmacist", "GET", f"/patients/{patient}/next-dose").code == "FACTS-UNVERIFIED"


@pytest.mark.parametrize("status", ["amended", "corrected", "entered-in-error"])
def test_what_was_decided_upon_is_re_opened_by_a_correction(shared: House, status: str) -> None:
    patient = shared.on_course()
    for ago in (14, 7):
        shared.post(f"/patients/{patient}/doses", dose(ago, 150))
    sent = platelets(patient, 0, 90, **known_as("r-2"))
    made = created(shared, sent, "ehr")
    decided(shared, patient)
    assert decision(shared, patient)["reopened"] is None
    value = 90 if status == "entered-in-error" else 420
    changed = platelets(patient, 0, value, status=status, **known_as("r-2"))
    after = updated(shared, changed, "/Observation?identifier=urn:lab|r-2", "ehr")
    assert after["status"] == ("entered-in-error" if status == "entered-in-error" else "corrected")
    assert (after["id"], after["meta"]["versionId"]) == (made["id"], "2")
    assert decision(shared, patient)["reopened"] is not None
    found = matches(search(shared, "Task", patient=patient, code="urn:titrator:task|re-opened"))
    assert [one["priority"] for one in found] == ["urgent"]
    assert read(shared, f"/Observation/{made['id']}/_history/1")["status"] == "final"


def test_what_was_entered_in_error_stays_so(shared: House) -> None:
    patient = shared.patient()
    for make in (platelets, given, transfused):
        extra = confirming("DOSE-WITHOUT-COURSE") if make is given else {}
        made = created(shared, make(patient, 3, **known_as(make.__name__), **extra))
        wrong = updated(shared, {**without(made, "meta"), "status": "entered-in-error"})
        assert (wrong["status"], wrong["meta"]["versionId"]) == ("entered-in-error", "2")
        again = put(shared, {**made, **extra})
        assert (again.status, problems(again)) == (409, {"ENTERED-IN-ERROR"})
        assert faults([wrong]) == []
    assert shared.get(f"/patients/{patient}/platelet-counts")["items"] == []


def test_what_never_was_cannot_be_entered_in_error(shared: House) -> None:
    patient = shared.patient()
    for make in (platelets, given, transfused):
        resource = make(patient, 1, status="entered-in-error")
        answer = create(shared, resource)
        assert (answer.status, places(answer)) == (422, [f"{resource['resourceType']}.status"])


def test_a_count_that_is_marked_unreliable_doses_nothing(shared: House) -> None:
    patient = shared.begun(0)
    created(shared, weighed(patient))
    mark = {"coding": [{"system": "urn:titrator:reliability", "code": "unreliable"}]}
    made = created(shared, platelets(patient, 0, 20, interpretation=[mark]))
    assert made["interpretation"][0]["coding"] == mark["coding"]
    assert shared.get(f"/patients/{patient}/platelet-counts")["items"][0]["unreliable"] is True
    assert next_dose(shared, patient)["action"] == "incomplete"
    same = updated(shared, without(made, "interpretation", "meta"))
    assert same == made, "the same without the mark takes it from nothing"


# Versions


def test_an_update_names_what_it_changes(shared: House) -> None:
    patient = shared.patient()
    made = created(shared, platelets(patient, 1, 60))
    other = created(shared, weighed(patient, 1))
    path = f"/Observation/{made['id']}"
    before = shared.everything()
    assert put(shared, without(made, "id"), path).status == 400
    assert put(shared, {**made, "id": other["id"]}, path).status == 400
    assert issues(put(shared, without(made, "id"), path)) == [("invalid", "Observation.id")]
    assert put(shared, {**made, "id": f"{patient}-99"}).status == 404
    assert put(shared, {**made, "id": "x"}).status == 404
    assert put(shared, made, version=2).status == 412
    assert put(shared, {**made, **valued(61)}, version=2).status == 412
    assert send(shared, "PUT", path, made, If_Match="nonsense").status == 400
    assert shared.everything() == before
    changed = put(shared, {**made, **valued(61)}, version=1)
    assert (changed.status, changed.etag, changed.json["valueQuantity"]["value"]) == (200, 'W/"2"', 61)
    assert put(shared, {**made, **valued(62)}, version=1).status == 412
    assert send(shared, "PUT", path, {**made, **valued(62)}, If_Match="*").status == 200
    assert put(shared, {**made, **valued(63), "meta": {"versionId": "77"}}).status == 200, "a version within is ignored"


def test_an_update_moves_nothing_to_another_patient_or_type(shared: House) -> None:
    patient, other = shared.patient(), shared.patient()
    made = created(shared, platelets(patient, 1, 60))
    before = shared.everything()
    moved = put(shared, {**made, "subject": subject(other)})
    assert (moved.status, places(moved)) == (422, ["Observation.subject"])
    weight_now = put(shared, {**weighed(patient, 1), "id": made["id"]})
    assert (weight_now.status, places(weight_now)) == (422, ["Observation.code"])
    procedure = put(shared, {**transfused(patient, 1), "id": made["id"]})
    assert procedure.status == 404
    assert shared.everything() == before


def test_a_dose_given_does_not_become_one_not_given(shared: House) -> None:
    patient = shared.on_course()
    made = created(shared, given(patient, 7))
    answer = put(shared, {**not_given(patient, 7), "id": made["id"]})
    assert (answer.status, places(answer)) == (422, ["MedicationAdministration"])


# Identifiers


@pytest.mark.parametrize("kind", EACH)
def test_what_is_sent_twice_is_recorded_once(shared: House, kind: str) -> None:
    patient = shared.on_course()
    named = {"identifier": {"system": "urn:lab", "value": "m"}} if kind == "AdverseEvent" else known_as("m")
    sent = EACH[kind](patient, 1, **named)
    first = created(shared, sent)
    before = shared.everything()
    again = create(shared, sent)
    assert (again.status, again.json) == (200, first)
    assert again.headers["Location"].endswith(f"/{kind}/{first['id']}/_history/1")
    assert shared.everything() == before
    other = create(shared, {**EACH[kind](patient, 2), **named})
    assert (other.status, problems(other)) == (409, {"EXTERNAL-ID-TAKEN"})
    assert shared.everything() == before


def test_the_same_name_for_another_patient_is_another_fact(shared: House) -> None:
    one, other = shared.patient(), shared.patient()
    first, second = (created(shared, platelets(whose, 1, **known_as("m"))) for whose in (one, other))
    assert first["id"] != second["id"]
    found = updated(shared, {**platelets(other, 1, 61), **known_as("m")}, "/Observation?identifier=urn:lab|m")
    assert found["id"] == second["id"]


def test_several_names_are_kept_and_found(shared: House) -> None:
    patient = shared.patient()
    both = {"identifier": [{"system": "urn:lab", "value": "one"}, {"system": "urn:order", "value": "two"}]}
    made = created(shared, platelets(patient, 1, **both))
    for name in ("urn:lab|one", "urn:order|two"):
        assert search(shared, "Observation", identifier=name)["total"] == 1
    later = put(shared, {**made, "identifier": [*both["identifier"], {"system": "urn:x", "value": "c"}]})
    assert (later.status, places(later)) == (422, ["Observation.identifier"])
    taken = create(
        shared, platelets(patient, 2, identifier=[{"system": "urn:new", "value": "1"}, both["identifier"][1]])
    )
    assert (taken.status, problems(taken)) == (409, {"EXTERNAL-ID-TAKEN"})


@pytest.mark.parametrize("value", ["m-1", "a b", "a|b", "a\\b", "a&b=c", "100%", "ä/1", "a,b", "a%26b"])
def test_a_name_is_met_to_the_letter(shared: House, value: str) -> None:
    """Whatever signs it has, as it comes in an address or a header."""
    patient = shared.patient()
    sent = platelets(patient, 1, **known_as(value))
    condition = f"identifier={quote('urn:lab|' + value, safe='')}"
    made = send(shared, "PUT", f"/Observation?{condition}", sent)
    assert made.status == 201, made.text
    again = send(shared, "PUT", f"/Observation?{condition}", {**sent, **valued(61)})
    assert (again.status, again.json["id"], again.json["meta"]["versionId"]) == (200, made.json["id"], "2")
    unless = create(shared, {**sent, **valued(62)}, If_None_Exist=condition)
    assert (unless.status, unless.json["id"], unless.json["meta"]["versionId"]) == (200, made.json["id"], "2")


def test_a_create_by_condition_meets_none_or_one(shared: House) -> None:
    patient = shared.patient()
    sent = platelets(patient, 1, **known_as("c-1"))
    condition = "identifier=urn:lab|c-1"
    first = create(shared, sent, If_None_Exist=condition)
    assert (first.status, first.json["meta"]["versionId"]) == (201, "1")
    before = shared.everything()
    second = create(shared, {**sent, **valued(61)}, If_None_Exist=condition)
    assert (second.status, second.json) == (200, first.json)
    for wrong in (
        "",
        "code=777-3",
        "identifier=c-1",
        "identifier=urn:lab|",
        "identifier=urn:lab|a&identifier=urn:lab|b",
    ):
        answer = create(shared, sent, If_None_Exist=wrong)
        assert (answer.status, places(answer)) == (400, ["identifier"]), wrong
    other = create(shared, weighed(patient, 1), If_None_Exist=condition)
    assert other.status == 200, "a weight is an Observation, too"
    transfusion = create(shared, transfused(patient, 1), If_None_Exist=condition)
    assert transfusion.status == 412
    assert shared.everything() == before


def test_an_update_by_condition_meets_none_or_one(shared: House) -> None:
    patient = shared.patient()
    sent = platelets(patient, 1, **known_as("c-2"))
    path = "/Observation?identifier=urn:lab|c-2"
    nameless = send(shared, "PUT", path, platelets(patient, 1))
    assert (nameless.status, places(nameless)) == (422, ["Observation.identifier"]), "or it would be made each time"
    first = send(shared, "PUT", path, sent)
    assert (first.status, first.json["meta"]["versionId"]) == (201, "1")
    second = send(shared, "PUT", path, {**sent, **valued(61)})
    assert (second.status, second.json["id"], second.json["meta"]["versionId"]) == (200, first.json["id"], "2")
    stale = send(shared, "PUT", path, {**sent, **valued(62)}, If_Match='W/"1"')
    assert stale.status == 412
    wrong_id = send(shared, "PUT", path, {**sent, "id": "x"})
    assert (wrong_id.status, places(wrong_id)) == (400, ["Observation.id"])
    assert send(shared, "PUT", "/Observation", sent).status == 400
    assert search(shared, "Observation", patient=patient)["total"] == 1


def test_patients_by_condition(shared: House) -> None:
    sent = person(number="77")
    first = send(shared, "PUT", "/Patient?identifier=urn:mrn|77", sent)
    assert (first.status, first.etag) == (201, 'W/"1"')
    same = send(shared, "PUT", "/Patient?identifier=urn:mrn|77", sent)
    assert (same.status, same.json) == (200, first.json)
    renamed = send(shared, "PUT", "/Patient?identifier=urn:mrn|77", person("Mayer", number="77"))
    assert (renamed.status, renamed.json["name"][0]["family"], renamed.etag) == (200, "Mayer", 'W/"2"')
    there = create(shared, person(number="77"), If_None_Exist="identifier=urn:mrn|77")
    assert (there.status, there.json) == (200, renamed.json)
    taken = create(shared, person("Other", number="77"))
    assert (taken.status, problems(taken), issues(taken)) == (
        409, {"IDENTIFIER-TAKEN"}, [("duplicate", "Patient.identifier[0]")],
    )  # fmt: skip
    born = put(shared, {**renamed.json, "birthDate": "1961-05-01"}, who="technician")
    assert born.status == 403, "a birth date that is there is not changed by everybody"
    assert faults([first.json, renamed.json]) == []


# What one prefers


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("wanted", [None, "representation", "minimal", "OperationOutcome"])
def test_what_is_sent_back_is_what_one_prefers(shared: House, method: str, wanted: str | None) -> None:
    patient = shared.patient()
    resource, path, status = platelets(patient, 1), "/Observation", 201
    if method == "PUT":
        resource = {**created(shared, resource), **valued(61)}
        path, status = f"/Observation/{resource['id']}", 200
    headers = {} if wanted is None else {"Prefer": f"respond-sync; return={wanted}"}
    answer = send(shared, method, path, resource, **headers)
    kinds = {
        None: "Observation",
        "representation": "Observation",
        "minimal": None,
        "OperationOutcome": "OperationOutcome",
    }
    assert (answer.status, answer.json and answer.json["resourceType"]) == (status, kinds[wanted])
    version = 2 if method == "PUT" else 1
    assert answer.etag == f'W/"{version}"'
    where = answer.headers["Location"].removeprefix("http://localhost/fhir")
    assert read(shared, where) == matches(search(shared, "Observation", patient=patient))[0]
    if wanted == "OperationOutcome":
        assert faults([answer.json]) == []


# Who may


#: Each role, and what comes of creating a patient, recording a count, reading, and correcting another's count.
ROLES: Final = {
    "technician": (201, 201, 200, 200),
    "pharmacist": (201, 201, 200, 200),
    "prescriber": (201, 201, 200, 200),
    "ehr": (201, 201, 200, 403),
    "auditor": (403, 403, 403, 403),
    "admin": (403, 403, 403, 403),
    "stranger": (201, 422, 404, 404),
}


@pytest.mark.parametrize("who", ROLES)
def test_each_role_may_what_it_may_over_rest(shared: House, who: str) -> None:
    patient = shared.patient()
    made = created(shared, platelets(patient, 1))
    found = (
        create(shared, person(), who).status,
        create(shared, platelets(patient, 2), who).status,
        send(shared, "GET", f"/Observation/{made['id']}", None, who).status,
        put(shared, {**made, **valued(61)}, who=who).status,
    )
    assert found == ROLES[who]


def test_only_who_may_takes_a_thrombosis_back(shared: House) -> None:
    patient = shared.patient()
    made = created(shared, happened(patient, 9, "thrombosis"))
    over = {**made, "extension": [{"url": RESOLVED, "valueDate": day(2)}]}
    for who in ("technician", "pharmacist", "ehr"):
        assert put(shared, over, who=who).status == 403
    ended = updated(shared, over, who="prescriber")
    assert ended["extension"] == over["extension"]
    assert ended["outcome"]["coding"][0]["code"] == "resolved"


SUSPECTED: Final = {
    "by SNOMED CT": (
        {"coding": [{"system": "http://snomed.info/sct", "code": "59282003"}]}, "thrombosis", "59282003",
    ),
    "by ICD-10": (
        {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "D46.9"}]}, "marrow_disorder", "D46.9",
    ),
    "in words": ({"text": "Acute pulmonary embolism"}, "thrombosis", "Acute pulmonary embolism"),
    "in words, by our code of any other": (
        {"coding": [{"system": "urn:titrator:event", "code": "adverse_event"}], "text": "MDS"},
        "marrow_disorder", "MDS",
    ),
}  # fmt: skip


@pytest.mark.parametrize("told", SUSPECTED)
def test_what_looks_like_a_safety_event_holds_doses_back_until_somebody_has_looked(house: House, told: str) -> None:
    event, kind, term = SUSPECTED[told]
    patient = dosed(house)
    assert next_dose(house, patient)["action"] == "maintain"
    made = created(house, happened(patient, 1, event=event, **known_as("e-1")), "ehr")
    assert made["event"]["coding"][0]["code"] == kind
    fact = house.get(f"/patients/{patient}/events")["items"][-1]
    assert (fact["status"], fact["asked"], fact["term"]) == ("unverified", ["EVENT-SUSPECTED"], term)
    refused = house.call("pharmacist", "GET", f"/patients/{patient}/next-dose")
    assert (refused.status, refused.code) == (409, "FACTS-UNVERIFIED")
    assert f"possible {kind.replace('_', ' ')} on {day(1)}" in refused.text
    again = create(house, happened(patient, 1, event=event, **known_as("e-1")), "ehr")
    assert again.status == 200, "the same once more changes nothing"
    path = f"/patients/{patient}/events/{fact['id']}"
    denied = house.call("pharmacist", "POST", f"{path}/entered-in-error", WHY, version=1)
    assert denied.status == 403, "that it is none, a prescriber says"
    house.call("prescriber", "POST", f"{path}/entered-in-error", WHY, version=1)
    assert next_dose(house, patient)["action"] == "maintain"


def test_who_has_looked_at_a_suspected_safety_event_may_say_that_it_is_one(house: House) -> None:
    patient = dosed(house)
    created(house, happened(patient, 1, event={"text": "Deep vein thrombosis"}), "ehr")
    fact = house.get(f"/patients/{patient}/events")["items"][-1]
    house.call("pharmacist", "POST", f"/patients/{patient}/events/{fact['id']}/verification", WHY, version=1)
    found = next_dose(house, patient)
    assert (found["action"], [one["code"] for one in found["reasons"]]) == ("refer", ["SAFETY-EVENT"])


def test_of_counts_of_a_day_of_which_one_has_no_instant_the_last_recorded_one_stands(house: House) -> None:
    patient = dosed(house)
    for hour, value in (("11:30:00Z", 120), ("10:00:00+01:00", 70), ("10:30:00Z", 210)):
        created(house, platelets(patient, 0, value, effectiveDateTime=f"{TODAY}T{hour}"), "ehr")
    reason = next_dose(house, patient)["reasons"][0]["text"]
    assert "Platelets 210 " in reason, "one without an instant is in no order with them: the last recorded one stands"


def test_of_two_counts_of_a_day_with_their_instants_that_which_was_taken_later_stands(house: House) -> None:
    patient = house.on_course()
    for ago in (14, 7):
        house.post(f"/patients/{patient}/doses", dose(ago, 150))
    for hour, value in (("11:30:00Z", 120), ("10:00:00+01:00", 70)):
        created(house, platelets(patient, 0, value, effectiveDateTime=f"{TODAY}T{hour}"), "ehr")
    assert "Platelets 120 " in next_dose(house, patient)["reasons"][0]["text"]


def test_an_instant_without_seconds_is_given_back_with_them(house: House) -> None:
    made = created(house, platelets(house.patient(), 1, effectiveDateTime=f"{day(1)}T08:10+01:00"))
    assert made["effectiveDateTime"] == f"{day(1)}T08:10:00+01:00"
    assert faults([made]) == []


def test_nobody_is_dosed_by_a_record_that_another_one_has_replaced(house: House) -> None:
    patient = dosed(house)
    made = read(house, f"/Patient/{patient}")
    link = {"other": {"reference": "http://ehr.example/fhir/Patient/9"}, "type": "replaced-by"}
    assert put(house, {**made, "link": [link]}, who="ehr").status == 403, "that is a person's to say"
    assert updated(house, {**made, "link": [link]})["active"] is False
    assert house.call("pharmacist", "GET", f"/patients/{patient}/next-dose").status == 409


def test_an_old_name_is_not_that_of_now(shared: House) -> None:
    names = [{"use": "old", "family": "Before", "given": ["Eva"]}, {"family": "Now", "given": ["Eva"]}]
    assert created(shared, person() | {"name": names})["name"][0]["family"] == "Now"
    only = created(shared, person() | {"name": names[:1]})
    assert only["name"][0]["family"] == "Before", "there is no other"


@pytest.mark.parametrize("died", [{"deceasedBoolean": True}, {"deceasedDateTime": "2026-03-08T04:00:00Z"}])
def test_who_has_died_gets_no_next_dose_and_only_a_person_takes_it_back(house: House, died: dict[str, Any]) -> None:
    patient = dosed(house)
    decided(house, patient)
    made = read(house, f"/Patient/{patient}")
    assert updated(house, {**made, **died}, who="ehr")["active"] is False
    assert house.get(f"/patients/{patient}/decisions")["items"][-1]["status"] == "void"
    refused = house.call("pharmacist", "GET", f"/patients/{patient}/next-dose")
    assert (refused.status, refused.code) == (409, "COURSE-NOT-ACTIVE")
    changes = [entry for entry in house.trail(patient) if entry.action == "change"]
    assert "The patient has died: sent over FHIR" in changes[-1].detail
    assert updated(house, {**made, **died}, who="ehr")["active"] is False, "the same once more changes nothing"
    assert put(house, made, who="ehr").status == 403
    assert updated(house, made, who="pharmacist")["active"] is True


def test_masked_identifiers_and_other_organizations_are_passed_over(house: House) -> None:
    known = {"system": "urn:mrn", "value": "17"}
    others = [{"use": "old", "value": "9"}, {"system": "urn:ssn", "value": "***-**-1234"}, {"system": "urn:empty"}]
    organization = {"reference": "Organization/eX1", "display": "Elsewhere"}
    made = created(house, person(identifier=[*others, known], managingOrganization=organization), "ehr")
    assert made["identifier"] == [known]
    wrong = create(house, person(identifier=[*others, {"system": 5, "value": "1"}]), "ehr")
    assert places(wrong) == ["Patient.identifier[3].system"]


def test_a_token_for_less_may_less(shared: House) -> None:
    few = {"label": "tests", "days": 30, "permissions": ["patients:read"]}
    secret = shared.post(f"/accounts/{shared.ids['ehr']}/tokens", few, "admin")["secret"]
    patient = shared.patient()
    assert create(shared, platelets(patient), secret).status == 403
    assert send(shared, "GET", f"/Observation?patient={patient}", None, secret).status == 200


# What is asked


def test_a_person_is_asked_and_answers_by_a_tag(shared: House) -> None:
    patient = shared.on_course()
    created(shared, platelets(patient, 7, 60))
    sent = platelets(patient, 0, 600)
    before = shared.everything()
    asked = create(shared, sent)
    assert (asked.status, problems(asked), [code for code, _ in issues(asked)]) == (
        422, {"COUNT-FAR-FROM-LAST"}, ["business-rule"],
    )  # fmt: skip
    assert shared.everything() == before
    other = create(shared, {**sent, **confirming("WEIGHT-UNUSUAL")})
    assert (other.status, places(other)) == (422, ["Observation.meta.tag[0]"]), "another question than was asked"
    made = created(shared, {**sent, **confirming("COUNT-FAR-FROM-LAST")})
    assert made["status"] == "final"
    fact = shared.get(f"/patients/{patient}/platelet-counts")["items"][-1]
    assert (fact["asked"], fact["confirmed_by"]) == (["COUNT-FAR-FROM-LAST"], shared.ids["pharmacist"])
    unasked = create(shared, {**platelets(patient, 0, 610), **confirming("COUNT-FAR-FROM-LAST")})
    assert unasked.status == 422, "what was not asked cannot be confirmed"


@pytest.mark.parametrize(
    ("value", "status"), [(6, "preliminary"), (6.1, "final"), (599.9, "final"), (600, "preliminary")]
)
def test_what_looks_wrong_of_a_feed_is_kept_until_somebody_has_looked(shared: House, value: float, status: str) -> None:
    patient = shared.on_course()
    created(shared, platelets(patient, 7, 60))
    made = created(shared, platelets(patient, 0, value), "ehr")
    assert made["status"] == status
    fact = shared.get(f"/patients/{patient}/platelet-counts")["items"][-1]
    assert fact["status"] == ("unverified" if status == "preliminary" else "final")
    if status == "preliminary":
        path = f"/patients/{patient}/platelet-counts/{fact['id']}/verification"
        assert shared.call("pharmacist", "POST", path, WHY, version=1).status == 200
        assert read(shared, f"/Observation/{made['id']}")["status"] == "final"


def test_what_waits_is_put_back_as_it_was_read(shared: House) -> None:
    patient = shared.on_course()
    created(shared, platelets(patient, 7, 60))
    made = created(shared, platelets(patient, 0, 6, **known_as("odd")), "ehr")
    before = shared.everything()
    assert (put(shared, made, who="ehr").status, shared.everything()) == (200, before)
    late = put(shared, {**made, "valueQuantity": {**made["valueQuantity"], "value": 5}}, who="ehr")
    assert late.status == 428, "a preliminary one, of another value, after the final one"


def test_identifiers_without_a_system_are_passed_over(shared: House) -> None:
    patient = shared.patient()
    made = created(shared, platelets(patient, 1, identifier=[{"value": "1"}, {"system": "urn:lab", "value": "2"}]))
    assert made["identifier"] == [{"system": "urn:lab", "value": "2"}]
    assert "identifier" not in created(shared, weighed(patient, 1, identifier=[{"value": "1"}]))


ROUTES: Final[list[tuple[Resource, str | None, str]]] = [
    ({"coding": [{"system": SNOMED, "code": "34206005"}]}, None, "34206005"),
    ({"text": "s.c."}, None, "34206005"),
    ({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0162", "code": "SC"}]}, None, "34206005"),
    ({"coding": [{"system": "urn:local", "code": "17"}], "text": "SUBCUT"}, None, "34206005"),
    ({"coding": [{"system": SNOMED, "code": "34206005"}], "text": "s.c. im Bauchbereich"}, None, "34206005"),
    ({"text": "s.c. (nicht i.v.)"}, None, "34206005"),
    ({"text": "SC (IVIG given before)"}, None, "34206005"),
    ({"coding": [{"system": SNOMED, "code": "1", "display": "Subcutaneous"}]}, None, "34206005"),
    ({"coding": [{"system": "http://hl7.org/fhir/v3/RouteOfAdministration", "code": "SQ"}]}, None, "34206005"),
    ({"coding": [{"system": "urn:local", "code": "17"}]}, "unknown", "Unknown route"),
    ({"text": "as told"}, "unknown", "Unknown route"),
    ({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0162", "code": "IO"}]}, "other", "Another"),
    ({"coding": [{"system": "urn:oid:2.16.840.1.113883.6.96", "code": "47625008"}]}, "intravenous", "47625008"),
    ({"text": "i. v."}, "intravenous", "47625008"),
    ({"text": "\u9759\u6ce8"}, "intravenous", "47625008"),
    ({"text": "Infusion over 30 min"}, "other", "Another"),
    ({"coding": [{"system": SNOMED, "code": "47625008"}]}, "intravenous", "47625008"),
    ({"text": "IV push"}, "intravenous", "47625008"),
    ({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-RouteOfAdministration", "code": "IM"}]},
     "intramuscular", "78421000"),
    ({"coding": [{"system": SNOMED, "code": "34206005"}], "text": "intravenous"}, "intravenous", "47625008"),
    ({"text": "oral"}, "other", "Another route"),
    ({"coding": [{"system": SNOMED, "code": "26643006"}]}, "other", "Another route"),
]  # fmt: skip


@pytest.mark.parametrize(("route", "kept", "told"), ROUTES, ids=str)
def test_a_dose_by_another_route_waits_for_somebody(
    shared: House, route: Resource, kept: str | None, told: str
) -> None:
    patient = shared.on_course()
    shared.post(f"/patients/{patient}/doses", dose(7, 75))
    sent = given(patient, 7, 75, dosage={"dose": quantity(75, "ug"), "route": route}, **known_as("d"))
    made = (
        created(shared, sent, "ehr")
        if kept
        else updated(shared, sent, "/MedicationAdministration?identifier=urn:lab|d", "ehr")
    )
    assert told in str(made["dosage"]["route"])
    facts = shared.get(f"/patients/{patient}/doses")["items"]
    assert [fact.get("route") for fact in facts] == ([None, kept] if kept else [None])
    answer = shared.call("pharmacist", "GET", f"/patients/{patient}/next-dose")
    if kept is None:
        assert answer.status == 200
        return
    assert (facts[1]["status"], "DOSE-ROUTE" in facts[1]["asked"]) == ("unverified", True)
    assert answer.code == "FACTS-UNVERIFIED"
    before = shared.everything()
    assert (put(shared, made, who="ehr").status, shared.everything()) == (200, before), "it comes back as it was given"


def test_a_route_that_is_told_no_more_is_still_the_same(shared: House) -> None:
    patient = shared.on_course()
    vein = {"dosage": {"dose": quantity(75, "ug"), "route": {"text": "i.v."}}}
    made = created(shared, given(patient, 7, 75, **vein), "ehr")
    before = shared.everything()
    without_route = {**made, "dosage": {"dose": quantity(75, "ug")}}
    assert (put(shared, without_route, who="ehr").status, shared.everything()) == (200, before)
    for dosage in ({"dose": quantity(80, "ug")}, {"dose": quantity(81, "ug"), "route": {"text": "as told"}}):
        assert put(shared, {**made, "dosage": dosage}, who="ehr").status == 200
        (fact,) = shared.get(f"/patients/{patient}/doses")["items"]
        assert (fact["status"], fact["route"]) == ("unverified", "unknown" if "route" in dosage else "intravenous")
    subcutaneous = {"dose": quantity(81, "ug"), "route": {"coding": [{"system": SNOMED, "code": "34206005"}]}}
    assert put(shared, {**made, "dosage": subcutaneous}, who="ehr").status == 200
    (fact,) = shared.get(f"/patients/{patient}/doses")["items"]
    assert (fact["status"], "route" in fact) == ("final", False)


def test_a_person_says_that_a_dose_was_given_by_another_route(shared: House) -> None:
    patient = shared.on_course()
    sent = given(patient, 7, 75, dosage={"dose": quantity(75, "ug"), "route": {"text": "i.v."}})
    answer = create(shared, sent)
    assert (answer.status, issues(answer)) == (422, [("business-rule", "MedicationAdministration.meta.tag")])
    made = created(shared, {**sent, **confirming("DOSE-ROUTE")})
    assert made["dosage"]["route"]["coding"][0]["display"] == "Intravenous route"
    (fact,) = shared.get(f"/patients/{patient}/doses")["items"]
    assert (fact["status"], fact["route"], fact["asked"]) == ("final", "intravenous", ["DOSE-ROUTE"])


def test_the_outcome_of_an_event_is_not_made_up(shared: House) -> None:
    patient = shared.patient()
    code = "http://terminology.hl7.org/CodeSystem/adverse-event-outcome"
    outcome = {"outcome": {"coding": [{"system": code, "code": "resolved"}]}}
    assert "outcome" not in created(shared, happened(patient, 3, **outcome)), "since when is not told, and so not kept"
    over = {"extension": [{"url": RESOLVED, "valueDate": day(1)}]}
    assert created(shared, happened(patient, 4, **over))["outcome"] == outcome["outcome"]
    for contradicts in ("ongoing", "recovering", "fatal", "unknown"):
        other = {"outcome": {"coding": [{"system": code, "code": contradicts}]}}
        answer = create(shared, happened(patient, 5, **over, **other))
        assert (answer.status, places(answer)) == (422, ["AdverseEvent.outcome"])


def test_a_dose_of_a_feed_that_looks_wrong_says_so(shared: House) -> None:
    patient = shared.on_course()
    created(shared, given(patient, 7, 75))
    made = created(shared, given(patient, 0, 900), "ehr")
    assert made["extension"] == [{"url": "urn:titrator:unverified", "valueString": "DOSE-FAR-FROM-LAST"}]
    assert shared.call("pharmacist", "GET", f"/patients/{patient}/next-dose").code == "FACTS-UNVERIFIED"


# Medicines, doses, events


@pytest.mark.parametrize(
    "medicine",
    [
        {"medicationCodeableConcept": MEDICINE},
        {"medicationCodeableConcept": {"text": "Nplate 250 mcg"}},
        {"medicationCodeableConcept": {"coding": [{"display": "ROMIPLOSTIM 250 UG"}]}},
        {"medicationCodeableConcept": {"text": "ロミプレート皮下注250μg"}},
        {"medicationReference": {"reference": "Medication/1", "display": "Romiplostim"}},
    ],
)
def test_romiplostim_is_known_by_its_code_or_its_name(shared: House, medicine: Resource) -> None:
    patient = shared.on_course()
    sent = {**without(given(patient, 7), "medicationCodeableConcept"), **medicine}
    made = created(shared, sent)
    assert made["medicationCodeableConcept"]["coding"][0]["code"] == "B02BX04"


@pytest.mark.parametrize(
    "medicine",
    [
        {"text": "Dexamethasone 4 mg premedication before romiplostim"},
        {"text": "No romiplostim: saline flush"},
        {
            "coding": [{"system": "urn:rxnorm", "code": "26225", "display": "ondansetron"}],
            "text": "Ondansetron, premedication for Nplate",
        },
    ],
)
def test_what_only_mentions_romiplostim_is_none(shared: House, medicine: Resource) -> None:
    patient = shared.on_course()
    refused = create(shared, given(patient, 7) | {"medicationCodeableConcept": medicine})
    assert refused.status == 422
    assert "must be romiplostim" in refused.text
    assert shared.get(f"/patients/{patient}/doses")["items"] == []


@pytest.mark.parametrize("where", ["display", "contained"])
def test_a_thrombosis_that_came_of_an_event_is_suspected(house: House, where: str) -> None:
    patient = dosed(house)
    came: Resource = {"resultingCondition": [{"display": "Pulmonary embolism"}]}
    if where == "contained":
        condition = {"resourceType": "Condition", "id": "c", "code": {"text": "Portal vein thrombosis"}}
        came = {"resultingCondition": [{"reference": "#c"}], "contained": [condition]}
    made = created(house, happened(patient, 1, event={"text": "Adverse drug reaction"}) | came, "ehr")
    assert made["event"]["coding"][0]["code"] == "thrombosis"
    came_of_it = "Pulmonary embolism" if where == "display" else "Portal vein thrombosis"
    assert made["event"]["text"] == f"Adverse drug reaction; {came_of_it}"
    assert house.call("pharmacist", "GET", f"/patients/{patient}/next-dose").code == "FACTS-UNVERIFIED"


@pytest.mark.parametrize(
    "more",
    [
        {"method": {"text": "EDTA clumping, citrate recollected"}},
        {
            "specimen": {"reference": "#s"},
            "contained": [
                {
                    "resourceType": "Specimen",
                    "id": "s",
                    "condition": [
                        {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0493", "code": "CLOT"}]}
                    ],
                }
            ],
        },
    ],
)
def test_a_sample_that_was_no_good_doses_nothing(shared: House, more: Resource) -> None:
    patient = shared.on_course()
    created(shared, platelets(patient, 0, 16) | more)
    assert [one["unreliable"] for one in shared.get(f"/patients/{patient}/platelet-counts")["items"]] == [True]


@pytest.mark.parametrize(("value", "unit"), [(75, "ug"), (75, "mcg"), (75, "µg"), (0.075, "mg")])
def test_a_dose_is_kept_in_micrograms(shared: House, value: float, unit: str) -> None:
    patient = shared.on_course()
    made = created(shared, given(patient, 7, value, unit))
    assert made["dosage"]["dose"] == {
        "value": 75,
        "unit": "microgram",
        "system": "http://unitsofmeasure.org",
        "code": "ug",
    }
    written = created(shared, given(shared.on_course(), 7, dosage={"dose": {"value": value, "unit": unit}}))
    assert written["dosage"]["dose"] == made["dosage"]["dose"]


def test_a_dose_keeps_its_level_and_follows_what_was_decided(shared: House) -> None:
    patient = dosed(shared)
    decided(shared, patient)
    level = {"extension": [{"url": LEVEL, "valueQuantity": quantity(2, "ug/kg")}]}
    made = created(shared, given(patient, 0, dosage={"dose": quantity(150, "ug"), **level}))
    assert made["dosage"]["extension"][0]["valueQuantity"]["value"] == 2
    assert decision(shared, patient)["status"] == "delivered"
    (order,) = matches(search(shared, "MedicationRequest", patient=patient, intent="order"))
    assert order["status"] == "completed"


@pytest.mark.parametrize("reason", ["absent", "refused", "on-hold", "adverse-event", "no-supply", None, "whim"])
def test_why_a_dose_was_not_given_is_kept(shared: House, reason: str | None) -> None:
    patient = shared.on_course()
    made = created(shared, not_given(patient, 0, reason))
    kept = reason if reason not in (None, "whim") else "other"
    assert made["statusReason"][0]["coding"][0]["code"] == kept
    fact = shared.get(f"/patients/{patient}/doses")["items"][0]
    assert (fact["not_given_on"], fact["reason_not_given"]) == (TODAY, kept)


@pytest.mark.parametrize(
    ("code", "kind"), [("12719002", "platelet_transfusion"), ("116863004", "red_cell_transfusion")]
)
def test_a_transfusion_stands_beside_the_next_dose(shared: House, code: str, kind: str) -> None:
    patient = dosed(shared, 420)
    plain = next_dose(shared, patient)
    made = created(shared, transfused(patient, 3, code, status="completed"))
    assert shared.get(f"/patients/{patient}/events")["items"][0]["kind"] == kind
    found = next_dose(shared, patient)
    if kind == "platelet_transfusion":
        assert found["alerts"] != plain["alerts"]
        assert "CONFOUND" in " ".join(one["code"] for one in found["alerts"])
    assert faults([made]) == []


def test_rescue_therapy_is_a_procedure_of_ours(shared: House) -> None:
    code = {"coding": [{"system": "urn:titrator:event", "code": "rescue_therapy"}]}
    period = {"performedPeriod": {"start": f"{day(3)}T08:00:00+01:00", "end": f"{day(2)}T08:00:00+01:00"}}
    patient = shared.patient()
    made = created(shared, {**without(transfused(patient), "performedDateTime"), "code": code, **period})
    assert made["performedDateTime"] == f"{day(3)}T08:00:00+01:00"
    assert shared.get(f"/patients/{patient}/events")["items"][0]["occurred_on"] == day(3)


@pytest.mark.parametrize(("scale", "grade"), [("ctcae-5.0", 1), ("ctcae-5.0", 5), ("crs", 2), ("icans", 0)])
def test_grades_are_kept(shared: House, scale: str, grade: int) -> None:
    patient = shared.patient()
    made = created(shared, happened(patient, 1, **graded(scale, grade)))
    assert made["extension"] == graded(scale, grade)["extension"]
    fact = shared.get(f"/patients/{patient}/events")["items"][0]
    assert (fact["scale"], fact["grade"], fact["term"]) == (scale, grade, "headache")
    assert updated(shared, made) == made
    assert faults([made]) == []


# Instants


@pytest.mark.parametrize(
    ("at", "on"),
    [
        ("2026-03-08T22:59:59Z", "2026-03-08"),
        ("2026-03-08T23:00:00Z", "2026-03-09"),
        ("2026-03-09T00:00:00+01:00", "2026-03-09"),
        ("2026-03-08T18:00:00.125-05:00", "2026-03-09"),
    ],
)
def test_an_instant_is_of_its_day_at_the_clinic_and_given_as_it_came(shared: House, at: str, on: str) -> None:
    patient = shared.patient()
    made = created(shared, platelets(patient, effectiveDateTime=at))
    assert made["effectiveDateTime"] == at
    assert shared.get(f"/patients/{patient}/platelet-counts")["items"][0]["collected_on"] == on
    assert faults([made]) == []


# What is given is taken


@pytest.mark.parametrize("kind", EACH)
def test_what_is_given_is_taken_and_changes_nothing(shared: House, kind: str) -> None:
    patient = shared.on_course()
    made = created(
        shared, EACH[kind](patient, 1, note=[{"text": "seen"}]) if kind != "AdverseEvent" else happened(patient, 1)
    )
    assert updated(shared, made) == made


def test_a_patient_that_is_given_is_taken_and_changes_nothing(shared: House) -> None:
    there = read(shared, f"/Patient/{shared.patient()}")
    assert updated(shared, there) == there
    other = {
        **there,
        "name": [{"use": "nickname", "text": "Ada"}, {"use": "official", "family": "Byron", "given": ["A", "L"]}],
    }
    changed = updated(shared, other)
    assert changed["name"] == [{"use": "official", "family": "Byron", "given": ["A L"]}]


def test_nothing_is_deleted(shared: House) -> None:
    patient = shared.patient()
    made = created(shared, platelets(patient, 1))
    before = shared.everything()
    for method, path in (
        ("DELETE", f"/Observation/{made['id']}"),
        ("DELETE", "/Observation?identifier=urn:lab|x"),
        ("PATCH", f"/Observation/{made['id']}"),
        ("DELETE", f"/Patient/{patient}"),
    ):
        answer = send(shared, method, path, [] if method == "PATCH" else None)
        assert (answer.status, issues(answer)) == (405, [("not-supported", "")]), path
    assert shared.everything() == before


def test_a_count_whose_note_tells_of_clumps_is_unreliable(shared: House) -> None:
    patient = shared.patient()
    made = created(shared, platelets(patient, 1, note=[{"text": "Platelets clumped."}]))
    assert made["interpretation"][0]["coding"][0]["code"] == "unreliable"
    assert "interpretation" not in created(shared, platelets(patient, 2, note=[{"text": "No clumps seen."}]))


def test_a_manual_count_is_taken(shared: House) -> None:
    made = created(shared, observed(shared.patient(), "778-1", 60, "10*9/L", day(1)))
    assert made["code"]["coding"][0]["code"] == "777-3"


def test_who_sent_stands_in_the_trail(shared: House) -> None:
    patient = shared.patient()
    created(shared, platelets(patient, 1), "technician")
    last = [row for row in shared.trail(patient) if row.action == "record"][-1]
    assert (last.account_id, last.role) == (shared.ids["technician"], "technician")


def test_the_clock_is_that_of_the_house(shared: House) -> None:
    made = created(shared, platelets(shared.patient(), 1))
    assert made["meta"]["lastUpdated"] == f"{NOON:%Y-%m-%dT%H:%M:%S.%fZ}"


# What contradicts itself, comes late, or takes back


#: What says two things at once, with the place of the fault.
CONTRADICTING: Final[dict[str, tuple[Resource, str]]] = {
    "another medicine by code": (
        given(X, medicationCodeableConcept={
            "coding": [{"system": "http://www.whocc.no/atc", "code": "B02BX05"}],
            "text": "eltrombopag, switched from romiplostim",
        }),
        "MedicationAdministration.medication",
    ),
    "a level in mg/kg": (
        given(X, dosage={
            "extension": [{"url": LEVEL, "valueQuantity": quantity(1, "mg/kg")}],
            "dose": quantity(75, "ug"),
        }),
        "MedicationAdministration.dosage.extension[0].valueQuantity.code",
    ),
    "a transfusion as an adverse event": (happened(X, kind="platelet_transfusion"), "AdverseEvent.event"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRADICTING)
def test_what_contradicts_itself_is_refused(shared: House, name: str) -> None:
    resource, where = CONTRADICTING[name]
    patient = shared.patient()
    before = shared.everything()
    answer = create(shared, of_patient(resource, patient))
    assert (answer.status, places(answer)) == (422, [where]), answer.text
    assert shared.everything() == before


def test_reference_and_identifier_of_a_subject_must_agree(shared: House) -> None:
    one, other = shared.patient(), shared.patient()
    numbers = {ident: f"pharmacist-{shared.made - back}" for ident, back in ((one, 1), (other, 0))}
    for number, status in ((numbers[one], 201), ("of nobody", 201), (numbers[other], 422)):
        whose = {**subject(one), "identifier": {"system": "urn:mrn", "value": number}}
        answer = create(shared, {**platelets(one, 1), "subject": whose})
        assert answer.status == status, number
    assert places(answer) == ["Observation.subject.identifier"]


def test_the_patient_of_a_condition_is_the_subject(shared: House) -> None:
    one, other = shared.patient(), shared.patient()
    sent = platelets(one, 1, **known_as("of-one"))
    for named, status in ((one, 201), (f"Patient/{one}", 200), (other, 400)):
        path = f"/Observation?identifier=urn:lab|of-one&patient={named}"
        assert send(shared, "PUT", path, sent).status == status


@pytest.mark.parametrize("how", ["by id", "by identifier"])
def test_a_result_is_taken_back_without_its_value_and_twice_alike(house: House, how: str) -> None:
    """A laboratory that retracts a result seldom sends it again."""
    patient = dosed(house)
    made = created(house, platelets(patient, 0, 30, **known_as("r")), "ehr")
    bare = {key: made[key] for key in ("resourceType", "id", "identifier", "code", "subject")}
    path = f"/Observation/{made['id']}" if how == "by id" else "/Observation?identifier=urn:lab|r"
    for _ in range(2):
        answer = send(house, "PUT", path, {**bare, "status": "entered-in-error"}, "ehr")
        assert (answer.status, answer.json["status"]) == (200, "entered-in-error")
        assert answer.json["meta"]["versionId"] == "2"
    strange = {**bare, "status": "entered-in-error", "subject": subject(house.patient())}
    answer = send(house, "PUT", path if how == "by id" else f"/Observation/{made['id']}", strange, "ehr")
    assert (answer.status, places(answer)) == (422, ["Observation.subject"])


def test_an_adverse_event_has_no_status_that_could_take_it_back(shared: House) -> None:
    patient = shared.patient()
    made = created(shared, happened(patient, 1))
    answer = send(shared, "PUT", f"/AdverseEvent/{made['id']}", {**made, "status": "entered-in-error"})
    assert (answer.status, places(answer)) == (422, ["AdverseEvent.status"])
    assert read(shared, "/AdverseEvent/" + made["id"])["meta"]["versionId"] == "1"


def test_an_old_message_that_comes_late_undoes_no_correction(house: House) -> None:
    patient = dosed(house)
    first = platelets(patient, 0, 90, **known_as("l"))
    path = "/Observation?identifier=urn:lab|l"
    assert send(house, "PUT", path, first, "ehr").status == 201
    assert send(house, "PUT", path, {**first, **valued(80), "status": "corrected"}, "ehr").status == 200
    for late in (first, {**first, **valued(70), "status": "preliminary"}):
        answer = send(house, "PUT", path, late, "ehr")
        assert (answer.status, problems(answer)) == (428, {"VERSION-NEEDED"})
    (there,) = matches(search(house, "Observation", patient=patient, identifier="urn:lab|l"))
    assert (there["valueQuantity"]["value"], there["meta"]["versionId"]) == (80, "2")
    again = house.call("ehr", "PUT", f"/fhir{path}", first, version='W/"2"', Content_Type="application/fhir+json")
    assert (again.status, again.json["valueQuantity"]["value"]) == (200, 90)


#: Bodies of which a text has half of a character.
HALVED: Final = [
    ("Observation", '{"resourceType": "Observation", "\\ud800": 1}'),
    ("Observation", '{"resourceType": "Observation", "subject": {"reference": "Patient/\\ud800"}}'),
    ("PlanDefinition/$apply", '{"resourceType": "Parameters", "parameter": [{"name": "\\uDFFF"}]}'),
]


@pytest.mark.parametrize(("path", "body"), HALVED)
def test_half_a_character_is_no_text(shared: House, path: str, body: str) -> None:
    answer = shared.call("pharmacist", "POST", f"/fhir/{path}", raw=body, Content_Type="application/fhir+json")
    assert (answer.status, answer.json["resourceType"]) == (400, "OperationOutcome")
    whole = body.replace("\\ud800", "\\ud83d\\ude00").replace("\\uDFFF", "x")
    answer = shared.call("pharmacist", "POST", f"/fhir/{path}", raw=whole, Content_Type="application/fhir+json")
    assert "half of one" not in answer.text


# What is sent to do harm


def test_of_many_faults_a_thousand_are_told(house: House) -> None:
    """To look for all of them would take ever longer."""
    body = {"resourceType": "Observation", **{f"k{number}": 1 for number in range(20_000)}}
    answer = house.call("ehr", "POST", "/fhir/Observation", body, Content_Type="application/fhir+json")
    assert (answer.status, len(answer.json["issue"])) == (422, 1000)


@pytest.mark.parametrize(("many", "status"), [(50, 200), (51, 400)])
def test_a_search_has_so_many_parameters(house: House, many: int, status: int) -> None:
    asked = "&".join(["date=ge2020"] * (many - 1))
    path = f"/fhir/Observation?patient={house.patient()}&{asked}"
    assert house.call("ehr", "GET", path).status == status


def test_of_several_codes_of_an_event_that_holds_which_holds_doses_back(house: House) -> None:
    ident = house.on_course()
    for codes in (["thrombosis", "adverse_event"], ["adverse_event", "marrow_disorder"]):
        coding = [{"system": "urn:titrator:event", "code": code} for code in codes]
        body = {
            "resourceType": "AdverseEvent",
            "actuality": "actual",
            "event": {"coding": coding, "text": "seen on a scan"},
            "subject": {"reference": f"Patient/{ident}"},
            "date": "2026-03-08",
        }
        answer = house.call("ehr", "POST", "/fhir/AdverseEvent", body, Content_Type="application/fhir+json")
        assert answer.json["event"]["coding"][0]["code"] == next(code for code in codes if code != "adverse_event")


@pytest.mark.parametrize("condition", ["If-None-Exist", "address"])
def test_whether_another_clinic_has_an_identifier_is_not_told(house: House, condition: str) -> None:
    house.patient("stranger", identifiers=[{"system": "urn:nhs", "value": "999"}])
    told = []
    for value in ("999", "998"):
        name, headers = f"identifier=urn:nhs|{value}", {"Content_Type": "application/fhir+json"}
        if condition == "address":
            answer = house.call("ehr", "PUT", f"/fhir/Patient?{name}", {"resourceType": "Patient"}, **headers)
        else:
            headers["If_None_Exist"] = name
            answer = house.call("ehr", "POST", "/fhir/Patient", {"resourceType": "Patient"}, **headers)
        told.append((answer.status, [issue["expression"] for issue in answer.json["issue"]]))
    assert told[0] == told[1]
    assert told[0][0] == 422
