"""A course document of the resources of a prefetch: what is taken, what is passed over, what is at fault."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.fhir import courses
from tests.fhir.courses import PATIENT, adverse_event, condition, count, dose, procedure, searchset, weight
from tests.support import CATALOGUE
from titrator.fhir.prefetch import KINDS, TEMPLATES, Made, course_of, found_in
from titrator.fhir.taking import FACTS
from titrator.titration.answer import to_document
from titrator.titration.documents import decode, encode, exact
from titrator.titration.errors import Fault
from titrator.workflow.propose import propose

TODAY = "2026-03-09"
BERLIN = ZoneInfo("Europe/Berlin")
COUNT = {"collected_on": TODAY, "value": 38, "unit": "10*9/L"}
WEIGHT = {"measured_on": TODAY, "value": 75, "unit": "kg"}
DOSE = {"given_on": "2026-03-02", "micrograms": 75}
TRANSFUSION = {"kind": "platelet_transfusion", "occurred_on": "2026-03-02"}
THROMBOSIS = {"kind": "thrombosis", "occurred_on": "2026-03-02"}
COURSE = {"protocol": "us-itp-adult", "baseline_on": "2026-02-01", "eligibility": ["mds-excluded"]}


def read(
    prefetch: dict[str, Any], *, on: str = TODAY, zone: ZoneInfo = BERLIN, protocol: str = "us-itp-adult"
) -> tuple[Made, list[Fault]]:
    """What is made of a prefetch, sent as JSON; keys that are not named found nothing."""
    sent: Any = decode(encode(exact({"patient": courses.patient_resource(), **prefetch})), 24)
    faults: list[Fault] = []
    resources = []
    for key in KINDS:
        found = found_in(key, sent.get(key))
        faults += found.faults
        resources += found.sent
    return course_of(protocol, on, zone, resources, faults, patient=PATIENT), faults


def made(prefetch: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The document of a prefetch without faults."""
    found, faults = read(prefetch, **more)
    assert faults == []
    return found.document


def faults(prefetch: dict[str, Any]) -> dict[str, str]:
    """What is wrong with a prefetch, by path."""
    return {fault.path: fault.message for fault in read(prefetch)[1]}


def one(key: str, *resources: Any) -> dict[str, Any]:
    return {key: searchset(resources)}


def without(resource: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key not in keys}


def test_the_worked_courses_get_the_same_answers_through_resources() -> None:
    different = []
    for course, answer in courses.golden():
        document = made(courses.prefetch(course), on=course["on"], protocol=course["protocol"])
        found: Any = to_document(propose(CATALOGUE, encode(document).encode()))
        kept = {key: found[key] for key in ("action", "dose", "due_on", "next_count_on")}
        kept |= {key: [statement["code"] for statement in found[key]] for key in ("reasons", "alerts")}
        different += [course] if kept != answer else []
    assert different == []


def test_every_type_of_fact_is_read() -> None:
    assert set(FACTS) <= set(KINDS.values())
    assert set(KINDS) == set(TEMPLATES)
    document = made(
        {
            "patient": courses.patient_resource("1960-05-01"),
            **one("platelets", count(COUNT)),
            **one("weights", weight(WEIGHT)),
            **one("doses", dose(DOSE | {"micrograms_per_kg": 1})),
            **one("procedures", procedure(TRANSFUSION)),
            **one("adverseEvents", adverse_event(THROMBOSIS | {"resolved_on": "2026-03-08"})),
            **one("conditions", condition(COURSE)),
        }
    )
    assert document == exact(
        {
            "protocol": "us-itp-adult",
            "on": TODAY,
            "weights": [WEIGHT],
            "platelet_counts": [COUNT],
            "doses": [DOSE | {"micrograms_per_kg": 1}],
            "events": [TRANSFUSION, THROMBOSIS | {"resolved_on": "2026-03-08"}],
            "born_on": "1960-05-01",
            "baseline_on": "2026-02-01",
            "eligibility": ["mds-excluded"],
        }
    )


#: What is no fact of the course: passed over without a fault.
PASSED_OVER = {
    "another observation": one(
        "platelets", count(COUNT, code={"coding": [{"system": "http://loinc.org", "code": "718-7"}]})
    ),
    "a count in error": one("platelets", count(COUNT, status="entered-in-error")),
    "a cancelled count": one("platelets", count(COUNT, status="cancelled")),
    "a registered count": one("platelets", count(COUNT, status="registered")),
    "a count in error without a value": one(
        "platelets", without(count(COUNT, status="entered-in-error"), "valueQuantity")
    ),
    "a dose not given": one("doses", dose(DOSE, status="not-done")),
    "a dose in error": one("doses", dose(DOSE, status="entered-in-error")),
    "another medicine": one("doses", without(dose(DOSE, medicationCodeableConcept={"text": "Eltrombopag"}), "dosage")),
    "another ATC code": one(
        "doses",
        dose(DOSE, medicationCodeableConcept={"coding": [{"system": "http://www.whocc.no/atc", "code": "B02BX05"}]}),
    ),
    "another procedure": one("procedures", procedure(TRANSFUSION, code={"text": "Appendectomy"}, status="in-progress")),
    "a transfusion that was not done": one("procedures", procedure(TRANSFUSION, status="not-done")),
    "a condition of others": one("conditions", {"resourceType": "Condition", "code": {"text": "Asthma"}, "what": 1}),
    "a condition by another protocol": one("conditions", condition(COURSE | {"protocol": "jp-itp-adult"})),
    "a condition that is over": one("conditions", condition(COURSE, clinicalStatus={"coding": [{"code": "inactive"}]})),
    "a condition in error": one(
        "conditions", condition(COURSE, verificationStatus={"coding": [{"code": "entered-in-error"}]})
    ),
    "what was looked for and not found": dict.fromkeys(set(KINDS) - {"patient"}),
    "a warning of the search": {
        "platelets": {
            "resourceType": "Bundle",
            "type": "searchset",
            "entry": [
                {
                    "resource": {
                        "resourceType": "OperationOutcome",
                        "issue": [{"severity": "warning", "code": "processing"}],
                    },
                    "search": {"mode": "outcome"},
                }
            ],
        }
    },
}


@pytest.mark.parametrize("case", PASSED_OVER)
def test_what_is_no_fact_of_the_course_is_passed_over(case: str) -> None:
    document = made(PASSED_OVER[case])
    assert {key: value for key, value in document.items() if value} == {"protocol": "us-itp-adult", "on": TODAY}


#: What was left out although it is of the course, or might be: told in a note.
NOTED = {
    "a preliminary weight": (one("weights", weight(WEIGHT, status="preliminary")), "preliminary weight of 2026-03-09"),
    "a count of tomorrow": (one("platelets", count(COUNT | {"collected_on": "2026-03-10"})), "dated 2026-03-10"),
    "a dose of tomorrow": (one("doses", dose(DOSE | {"given_on": "2026-03-10"})), "dated 2026-03-10"),
    "a result that has no value": (
        one("platelets", without(count(COUNT, dataAbsentReason={"text": "clumped"}), "valueQuantity")),
        "without a value",
    ),
    "an adverse event by another code": (
        one("adverseEvents", adverse_event(THROMBOSIS, event={"text": "Leg vein thrombosis"})),
        "Leg vein thrombosis",
    ),
    "an adverse event that may come": (
        one("adverseEvents", adverse_event(THROMBOSIS, actuality="potential", event={"text": "Fall"})),
        "Fall",
    ),
}


@pytest.mark.parametrize("case", NOTED)
def test_what_is_left_out_is_told(case: str) -> None:
    prefetch, said = NOTED[case]
    found, wrong = read(prefetch)
    assert wrong == []
    assert len(found.notes) == 1
    assert said in found.notes[0]
    assert not any(found.document[key] for key in ("weights", "platelet_counts", "doses", "events"))


#: By case: what was sent, and the path and the beginning of the fault; there is no other.
AT_FAULT = {
    "a count without its unit": (
        one("platelets", count(COUNT, valueQuantity={"value": 38})),
        "prefetch.platelets.entry[0].resource.value.code",
        "required",
    ),
    "a count of unknown unit": (
        one("platelets", count(COUNT), count(COUNT, valueQuantity={"value": 38, "unit": "cells"})),
        "prefetch.platelets.entry[1].resource.value.unit",
        "must be one of",
    ),
    "a count without a value": (
        one("platelets", without(count(COUNT), "valueQuantity")),
        "prefetch.platelets.entry[0].resource.value",
        "required",
    ),
    "a count in words": (
        one("platelets", without(count(COUNT, valueString="few"), "valueQuantity")),
        "prefetch.platelets.entry[0].resource.value",
        "required: a quantity",
    ),
    "a count below a limit": (
        one("platelets", count(COUNT, valueQuantity={"value": 5, "unit": "10*9/L", "comparator": "<"})),
        "prefetch.platelets.entry[0].resource.value.comparator",
        "is not taken",
    ),
    "a count beyond bounds": (
        one("platelets", count(COUNT | {"value": 5001})),
        "prefetch.platelets.entry[0].resource.value.value",
        "must be from 0",
    ),
    "a count on no whole day": (
        one("platelets", count(COUNT, effectiveDateTime="2026-03")),
        "prefetch.platelets.entry[0].resource.effective",
        "must be a whole date",
    ),
    "a count of unknown status": (
        one("platelets", count(COUNT, status="unknown")),
        "prefetch.platelets.entry[0].resource.status",
        "unknown is no result",
    ),
    "something without a LOINC code": (
        one("platelets", count(COUNT, code={"text": "PLT"})),
        "prefetch.platelets.entry[0].resource.code",
        "must have a LOINC code",
    ),
    "a misspelt element": (
        one("platelets", count(COUNT, efective=TODAY)),
        "prefetch.platelets.entry[0].resource.efective",
        "unknown element",
    ),
    "a modifier": (
        one("platelets", count(COUNT, modifierExtension=[{"url": "urn:x"}])),
        "prefetch.platelets.entry[0].resource.modifierExtension",
        "none is known",
    ),
    "a count of another patient": (
        one("platelets", count(COUNT, "ehr-18")),
        "prefetch.platelets.entry[0].resource.subject.reference",
        "must be Patient/ehr-17",
    ),
    "a group": (
        one("platelets", count(COUNT, subject={"reference": "Group/1"})),
        "prefetch.platelets.entry[0].resource.subject.reference",
        "must be Patient/ehr-17",
    ),
    "a weight in stones": (
        one("weights", weight(WEIGHT | {"unit": "[stone_av]"})),
        "prefetch.weights.entry[0].resource.value.code",
        "must be one of",
    ),
    "a dose without an amount": (
        one("doses", without(dose(DOSE), "dosage")),
        "prefetch.doses.entry[0].resource.dosage.dose",
        "required",
    ),
    "a dose in mL": (
        one("doses", dose(DOSE, dosage={"dose": {"value": 1, "unit": "mL"}})),
        "prefetch.doses.entry[0].resource.dosage.dose.unit",
        "must be ug",
    ),
    "a dose that is going on": (
        one("doses", dose(DOSE, status="in-progress")),
        "prefetch.doses.entry[0].resource.status",
        "in-progress is not taken",
    ),
    "a medicine that is only referred to": (
        one(
            "doses", without(dose(DOSE, medicationReference={"reference": "Medication/1"}), "medicationCodeableConcept")
        ),
        "prefetch.doses.entry[0].resource.medication",
        "which medicine it is cannot be told",
    ),
    "a medicine by a code alone": (
        one("doses", dose(DOSE, medicationCodeableConcept={"coding": [{"system": "urn:local", "code": "1"}]})),
        "prefetch.doses.entry[0].resource.medication",
        "which medicine it is cannot be told",
    ),
    "a transfusion that was stopped": (
        one("procedures", procedure(TRANSFUSION, status="stopped")),
        "prefetch.procedures.entry[0].resource.status",
        "stopped is not taken",
    ),
    "a thrombosis without a date": (
        one("adverseEvents", without(adverse_event(THROMBOSIS), "date")),
        "prefetch.adverseEvents.entry[0].resource.date",
        "required",
    ),
    "an event of a code that is none": (
        one("adverseEvents", adverse_event(THROMBOSIS | {"kind": "trombosis"})),
        "prefetch.adverseEvents.entry[0].resource.event",
        "must be one of",
    ),
    "two baselines": (
        one("conditions", condition(COURSE), condition(COURSE | {"baseline_on": "2026-02-02"})),
        "prefetch.conditions.entry[1].resource.extension[1].valueDate",
        "another Condition says 2026-02-01",
    ),
    "a birth date without a day": (
        {"patient": courses.patient_resource("1960-05")},
        "prefetch.patient.birthDate",
        "must be a date",
    ),
    "another patient": ({"patient": courses.patient_resource(ident="ehr-18")}, "prefetch.patient.id", "must be ehr-17"),
    "somebody who has died": (
        {"patient": courses.patient_resource(deceasedBoolean=True)},
        "prefetch.patient.deceased",
        "there is no next dose",
    ),
    "no patient": ({"patient": None}, "prefetch.patient", "must be the patient"),
    "no resource as patient": ({"patient": []}, "prefetch.patient", "must be an object"),
    "an error": (
        {
            "platelets": {
                "resourceType": "OperationOutcome",
                "issue": [{"severity": "error", "code": "forbidden", "diagnostics": "no\nscope"}],
            }
        },
        "prefetch.platelets",
        "could not be fetched: no scope",
    ),
    "an error without a reason": (
        {"platelets": {"resourceType": "OperationOutcome"}},
        "prefetch.platelets",
        "could not be fetched: no reason",
    ),
    "an error among others": (
        one("platelets", {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}),
        "prefetch.platelets.entry[0].resource",
        "the search failed in part: timeout",
    ),
    "a page of several": (
        {"platelets": searchset([], link=[{"relation": "self", "url": "a"}, {"relation": "next", "url": "b"}])},
        "prefetch.platelets.link[1]",
        "there are more pages",
    ),
    "fewer than were found": (
        {"platelets": searchset([count(COUNT)], total=2)},
        "prefetch.platelets.total",
        "of 2 that were found 1 were sent",
    ),
    "one resource and no Bundle": ({"platelets": count(COUNT)}, "prefetch.platelets.resourceType", "must be Bundle"),
    "a Bundle of another kind": (
        {"platelets": searchset([]) | {"type": "collection"}},
        "prefetch.platelets.type",
        "must be searchset",
    ),
    "a text": ({"platelets": "none"}, "prefetch.platelets", "must be an object"),
    "an entry of nothing": (
        {"platelets": searchset([]) | {"entry": [{}]}},
        "prefetch.platelets.entry[0].resource",
        "required",
    ),
    "entries that are none": (
        {"platelets": searchset([]) | {"entry": {}}},
        "prefetch.platelets.entry",
        "must be a list",
    ),
    "another type": (
        one("platelets", weight(WEIGHT) | {"resourceType": "Procedure"}),
        "prefetch.platelets.entry[0].resource.resourceType",
        "must be Observation",
    ),
    "one id with two contents": (
        one("platelets", count(COUNT, id="a"), count(COUNT | {"value": 39}, id="a")),
        "prefetch.platelets.entry[1].resource.id",
        "Observation/a was sent twice",
    ),
}


@pytest.mark.parametrize("case", AT_FAULT)
def test_what_cannot_be_read_is_a_fault_with_its_path(case: str) -> None:
    prefetch, path, message = AT_FAULT[case]
    found = faults(prefetch)
    assert all(one.startswith(path) for one in found)
    assert found[path].startswith(message)


def test_all_faults_are_told_at_once() -> None:
    prefetch = {
        "weights": "none",
        "platelets": searchset([count(COUNT, valueQuantity={}), count(COUNT, status="what")]),
    }
    assert list(faults(prefetch)) == [
        "prefetch.weights",
        "prefetch.platelets.entry[0].resource.value.code",
        "prefetch.platelets.entry[0].resource.value.value",
        "prefetch.platelets.entry[1].resource.status",
    ]


OWN_UNRELIABLE = [{"coding": [{"system": "urn:titrator:reliability", "code": "unreliable"}]}]


@pytest.mark.parametrize("more", [{"status": "preliminary"}, {"interpretation": OWN_UNRELIABLE}])
def test_a_count_in_doubt_does_not_dose(more: dict[str, Any]) -> None:
    assert made(one("platelets", count(COUNT, **more)))["platelet_counts"][0]["unreliable"] is True


#: Counts of one day, as sent, by value; the last one of the document stands.
ORDERS = {
    "as sent": ([{}, {}], [1, 2]),
    "by the instant of taking": (
        [{"effectiveDateTime": f"{TODAY}T10:00:00Z"}, {"effectiveDateTime": f"{TODAY}T09:00:00Z"}],
        [2, 1],
    ),
    "by the instant, not by its text": (
        [{"effectiveDateTime": f"{TODAY}T10:00:00+04:00"}, {"effectiveDateTime": f"{TODAY}T09:00:00+01:00"}],
        [1, 2],
    ),
    "by issue, of one taking": (
        [
            {"effectiveDateTime": f"{TODAY}T09:00:00Z", "issued": f"{TODAY}T12:00:00Z"},
            {"effectiveDateTime": f"{TODAY}T09:00:00Z", "issued": f"{TODAY}T11:00:00Z"},
        ],
        [2, 1],
    ),
    "by issue, without an instant": ([{"issued": f"{TODAY}T12:00:00Z"}, {"issued": f"{TODAY}T11:00:00Z"}], [2, 1]),
    "without an instant before others": ([{"issued": f"{TODAY}T12:00:00Z"}, {}], [2, 1]),
}


@pytest.mark.parametrize("case", ORDERS)
def test_counts_of_one_day_stand_in_the_order_of_their_instants(case: str) -> None:
    sent, order = ORDERS[case]
    prefetch = one("platelets", *(count(COUNT | {"value": number}, **more) for number, more in enumerate(sent, 1)))
    assert [int(entry["value"]) for entry in made(prefetch)["platelet_counts"]] == order


def test_an_instant_is_of_the_day_at_the_clinic() -> None:
    prefetch = one("platelets", count(COUNT, effectiveDateTime="2026-03-08T23:30:00Z"))
    assert made(prefetch)["platelet_counts"][0]["collected_on"] == "2026-03-09"
    assert made(prefetch, zone=ZoneInfo("America/New_York"))["platelet_counts"][0]["collected_on"] == "2026-03-08"


def test_what_is_in_two_answers_is_one_and_two_without_ids_are_two() -> None:
    assert len(made(one("doses", dose(DOSE, id="a"), dose(DOSE, id="a")))["doses"]) == 1
    assert len(made(one("doses", dose(DOSE), dose(DOSE)))["doses"]) == 2


REFERRED = {"resourceType": "Medication", "id": "1", "code": {"text": "Nplate 250"}}


@pytest.mark.parametrize(
    ("medicine", "entries"),
    [
        ({"medicationReference": {"reference": "Medication/1", "display": "Nplate 250"}}, []),
        ({"medicationReference": {"reference": "#1"}, "contained": [REFERRED]}, []),
        ({"medicationReference": {"reference": "https://ehr.example/Medication/1"}}, [REFERRED]),
    ],
)
def test_a_medicine_is_known_by_what_is_referred_to(medicine: dict[str, Any], entries: list[Any]) -> None:
    given = without(dose(DOSE), "medicationCodeableConcept") | medicine
    bundle = searchset([given])
    bundle["entry"] += [{"resource": entry, "search": {"mode": "include"}} for entry in entries]
    assert [int(entry["micrograms"]) for entry in made({"doses": bundle})["doses"]] == [75]


def test_identifiers_and_notes_of_others_are_not_read() -> None:
    more = {"identifier": [{"value": "without a system"}], "note": [{"text": "x" * 5000}], "text": {"div": "x"}}
    assert len(made(one("platelets", count(COUNT, **more)))["platelet_counts"]) == 1
