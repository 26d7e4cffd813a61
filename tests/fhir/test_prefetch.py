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
    "a condition of others": one(
        "conditions",
        {
            "resourceType": "Condition",
            "code": {"text": "Asthma"},
            "what": 1,
            "subject": {"reference": "Patient/ehr-17"},
        },
    ),
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
}


@pytest.mark.parametrize("case", NOTED)
def test_what_is_left_out_is_told(case: str) -> None:
    prefetch, said = NOTED[case]
    found, wrong = read(prefetch)
    assert wrong == []
    assert len(found.notes) == 1
    assert said in found.notes[0]
    assert not any(found.document[key] for key in ("weights", "platelet_counts", "doses", "events"))


OURS = {"subject": {"reference": f"Patient/{PATIENT}"}}


def of(kind: str, words: str, status: str | None = None, **more: Any) -> dict[str, Any]:
    """A Condition or an AdverseEvent of 2026-03-06, in words."""
    if kind == "AdverseEvent":
        event = {**adverse_event(THROMBOSIS | {"occurred_on": "2026-03-06"}), "event": {"text": words}}
        return one("adverseEvents", event | more)
    clinical = {} if status is None else {"clinicalStatus": {"coding": [{"code": status}]}}
    found = {"resourceType": "Condition", "code": {"text": words}, "onsetDateTime": "2026-03-06", **OURS, **clinical}
    return one("conditions", found | more)


SNOMED = "http://snomed.info/sct"
ICD = "http://fhir.de/CodeSystem/bfarm/icd-10-gm"
WHOCC = "http://www.whocc.no/atc"


def coded(system: str | None, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code} if system else {"code": code}]}


STOPS = {
    "Deep venous thrombosis": "thrombosis",
    "TIEFE BEINVENENTHROMBOSE": "thrombosis",
    "Lungenembolie": "thrombosis",
    "DVT of the left leg": "thrombosis",
    "Acute PE": "thrombosis",
    "Ischaemic stroke": "thrombosis",
    "Schlaganfall": "thrombosis",
    "Hirninfarkt": "thrombosis",
    "Myocardial infarction": "thrombosis",
    "Thrombocytopenia with thrombosis": "thrombosis",
    "MDS": "marrow disorder",
    "Myelodysplastisches Syndrom": "marrow disorder",
    "Acute myeloid leukaemia": "marrow disorder",
    "Akute Leukämie": "marrow disorder",
    "Primary myelofibrosis": "marrow disorder",
}


@pytest.mark.parametrize("kind", ["AdverseEvent", "Condition"])
@pytest.mark.parametrize("words", STOPS)
def test_what_looks_like_a_safety_event_stops(kind: str, words: str) -> None:
    found, wrong = read(of(kind, words))
    assert wrong == []
    assert found.stops == (f"possible {STOPS[words]} in the record: {words}, 2026-03-06",)
    assert (found.cautions, found.document["events"]) == ((), [])


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (coded(SNOMED, "128053003"), "thrombosis"),
        (coded(SNOMED, "59282003"), "thrombosis"),
        *((coded(ICD, code), "thrombosis") for code in ("I26.9", "I80.2", "I81", "I82.4", "I63.9", "I21.0")),
        *(
            (coded("http://hl7.org/fhir/sid/icd-10-cm", code), "marrow disorder")
            for code in ("D46.9", "C9200", "D47.4")
        ),
        (coded(None, "I26.9"), "thrombosis"),
    ],
)
def test_codes_of_a_safety_event_stop(code: dict[str, Any], what: str) -> None:
    name = code["coding"][0]["code"]
    assert read(of("Condition", "", code=code))[0].stops == (f"possible {what} in the record: {name}, 2026-03-06",)


@pytest.mark.parametrize("status", ["active", "recurrence", "relapse"])
def test_a_condition_that_is_active_stops(status: str) -> None:
    assert len(read(of("Condition", "DVT", status))[0].stops) == 1


@pytest.mark.parametrize(
    "prefetch",
    [
        *(of("Condition", "DVT", status) for status in ("inactive", "remission", "resolved")),
        of("Condition", "DVT", verificationStatus={"coding": [{"code": "refuted"}]}),
        of("Condition", "DVT", verificationStatus={"coding": [{"code": "entered-in-error"}]}),
        of("Condition", "DVT", abatementDateTime="2026-03-07"),
        *(
            of("Condition", words)
            for words in (
                "Immune thrombocytopenia", "Thrombozytopenie", "Thrombocytopenic purpura", "Thrombocytosis",
                "Thromboseprophylaxe", "Family history of stroke", "MDS excluded", "Heat stroke", "Pericarditis",
                "Leukopenia",
            )
        ),
        of("Condition", "", code=coded(ICD, "D69.3")),
        of("Condition", "", code=coded("urn:local", "I26")),
    ],
)  # fmt: skip
def test_what_is_over_or_is_none_does_not_stop(prefetch: dict[str, Any]) -> None:
    found = read(prefetch)[0]
    assert (found.cautions, found.stops) == ((), ())


def test_our_code_that_changes_nothing_does_not_hide_a_thrombosis() -> None:
    own = {"coding": [{"system": "urn:titrator:event", "code": "adverse_event"}]}
    assert len(read(of("AdverseEvent", "", event=own | {"text": "Thrombosis of the leg"}))[0].stops) == 1
    assert read(of("AdverseEvent", "", event=own | {"text": "Headache"}))[0][1:4] == ((), (), ())


@pytest.mark.parametrize(
    ("prefetch", "said"),
    [
        (of("AdverseEvent", "Thrombocytopenia"), "Thrombocytopenia, 2026-03-06"),
        (of("AdverseEvent", "Fall", actuality="potential"), "Fall, 2026-03-06"),
        (of("AdverseEvent", "", event=coded("urn:meddra", "10043")), "10043, 2026-03-06"),
        (of("AdverseEvent", "DVT", outcome=coded("urn:x", "resolved")), "DVT, 2026-03-06"),
        (of("AdverseEvent", "Rash", date=None), "Rash, without a date"),
    ],
)
def test_another_adverse_event_is_a_caution(prefetch: dict[str, Any], said: str) -> None:
    found, wrong = read(prefetch)
    assert (wrong, found.notes, found.stops) == ([], (), ())
    assert found.cautions == (f"Not understood here, check before dosing: {said}.",)


def test_many_adverse_events_are_one_caution_the_newest_first() -> None:
    days = [f"2026-01-{number:02}" for number in range(1, 13)]
    events = [adverse_event(THROMBOSIS | {"occurred_on": day}, event={"text": f"Rash {day[-2:]}"}) for day in days]
    (caution,) = read(one("adverseEvents", *events))[0].cautions
    assert "dosing: Rash 12, 2026-01-12; Rash 11" in caution
    assert caution.endswith("; and 2 more.")


CONCERNS = {
    "a count alone": ({}, False),
    "a dose": (one("doses", dose(DOSE)), True),
    "ITP in words": (of("Condition", "Chronic ITP"), True),
    "ITP in Japanese": (of("Condition", "特発性血小板減少性紫斑病"), True),
    "ITP by ICD-10": (of("Condition", "", code=coded(ICD, "D69.3")), True),
    "ITP that is over": (of("Condition", "ITP", "resolved"), False),
    "TTP": (of("Condition", "Thrombotic thrombocytopenic purpura"), False),
    "TTP in Japanese": (of("Condition", "血栓性血小板減少性紫斑病"), False),
    "thrombocytopenia of another kind": (of("Condition", "Thrombocytopenia after chemotherapy"), False),
    "what was confirmed for it": (one("conditions", condition(COURSE, code={"text": "x"})), True),
    "what was confirmed for another protocol": (
        one("conditions", condition(COURSE | {"protocol": "eu-itp-adult"}, code={"text": "x"})), False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONCERNS)
def test_a_low_count_alone_does_not_speak_of_romiplostim(case: str) -> None:
    prefetch, concerns = CONCERNS[case]
    found, wrong = read(one("platelets", count(COUNT)) | prefetch)
    assert (wrong, found.concerns) == ([], concerns)


def medicine(words: str = "", **more: Any) -> dict[str, Any]:
    return one("doses", without(dose(DOSE, medicationCodeableConcept={"text": words}), "dosage") | more)


def done(words: str, **more: Any) -> dict[str, Any]:
    return one("procedures", procedure(TRANSFUSION, code={"text": words}, **more))


def period(start: str, **more: str) -> dict[str, Any]:
    return {"effectiveDateTime": None, "effectivePeriod": {"start": start, **more}}


@pytest.mark.parametrize(
    "prefetch",
    [
        *(
            medicine(words)
            for words in (
                "Human normal immunoglobulin", "Immunglobulin i.v.", "IVIG 10%", "Anti-D", "Dexamethasone 40 mg",
                "Prednisolon", "Eltrombopag", "avatrombopag", "Lusutrombopag", "Rilzabrutinib",
            )
        ),
        *(
            medicine(medicationCodeableConcept=coded(WHOCC, code))
            for code in ("J06BA02", "J06BB01", "H02AB02", "B02BX05")
        ),
        medicine("IVIG", status="in-progress"),
        medicine("IVIG", effectiveDateTime="2026-02-09"),
        medicine("IVIG", effectiveDateTime=None),
        medicine("Prednisone", **period("2025-01-01")),
        medicine("Prednisone", **period("2025-01-01", end="2026-02-09")),
        *(
            done(words)
            for words in (
                "Transfusion of pooled platelets", "Thrombozytenkonzentrat", "Platelet transfusion", "IVIG infusion",
                "Administration of immunoglobulin", "anti-D", "Plasma exchange", "Exchange transfusion",
            )
        ),
    ],
)  # fmt: skip
def test_what_may_have_raised_the_count_is_a_caution(prefetch: dict[str, Any]) -> None:
    found, wrong = read(prefetch)
    assert (wrong, found.notes, found.stops) == ([], (), ())
    (caution,) = found.cautions
    assert caution.startswith("May have raised the count and was not considered: ")


@pytest.mark.parametrize(
    "prefetch",
    [
        medicine("IVIG", status="not-done"),
        medicine("IVIG", status="entered-in-error"),
        medicine("IVIG", effectiveDateTime="2026-02-08"),
        medicine("IVIG", effectiveDateTime="2026-03-10"),
        medicine("Prednisone", **period("2025-01-01", end="2026-02-08")),
        medicine("Hydrocortisone cream"),
        medicine(medicationCodeableConcept=coded(WHOCC, "S01BA01") | {"text": "Dexamethasone"}),
        medicine("Paracetamol"),
        medicine("Vitamin D"),
        done("Appendectomy"),
        done("Transfusion of red cells"),
        done("IVIG infusion", status="not-done"),
        done("IVIG infusion", performedDateTime="2026-02-08"),
    ],
)
def test_other_medicines_and_procedures_are_passed_over(prefetch: dict[str, Any]) -> None:
    found, wrong = read(prefetch)
    assert (wrong, found[1:]) == ([], ((), (), (), False, False))


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


UCUM = "http://unitsofmeasure.org"


def told(key: str, code: str, unit: str) -> dict[str, Any]:
    """A prefetch of one quantity, with its unit by code and in words."""
    quantity = {"value": 3, "system": UCUM, "code": code, "unit": unit}
    if key == "doses":
        return one(key, dose(DOSE, dosage={"dose": quantity}))
    resource = weight(WEIGHT) if key == "weights" else count(COUNT)
    return one(key, resource | {"valueQuantity": quantity})


@pytest.mark.parametrize(
    ("key", "code", "unit"),
    [
        ("doses", "ug", "mg"),
        ("doses", "mg", "mcg"),
        ("doses", "ug", "micrograms/kg"),
        ("doses", "ug", "µg per kg"),
        ("doses", "ug", "mL"),
        ("weights", "kg", "lb"),
        ("weights", "[lb_av]", "kg"),
        ("weights", "g", "kg"),
        ("platelets", "10*9/L", "/uL"),
        ("platelets", "/uL", "K/uL"),
        ("platelets", "10*9/L", "10^12/L"),
        ("doses", "ug", "IU"),
        ("platelets", "10*3/uL", "10^9/uL"),
    ],
)
def test_a_unit_in_words_that_is_another_is_a_fault(key: str, code: str, unit: str) -> None:
    place = "dosage.dose.unit" if key == "doses" else "value.unit"
    assert list(faults(told(key, code, unit))) == [f"prefetch.{key}.entry[0].resource.{place}"]


@pytest.mark.parametrize(
    ("key", "code", "unit"),
    [
        *(("doses", "ug", unit) for unit in ("mcg", "µg", "μg", "microgram", "Micrograms", "UG", "Mikrogramm", "x")),
        ("doses", "mg", "milligrams"),
        *(("weights", "kg", unit) for unit in ("kilogram", "Kilograms", "KG", "kg")),
        ("weights", "[lb_av]", "pounds"),
        *(
            ("platelets", code, unit)
            for code in ("10*3/uL", "10*9/L")
            for unit in (
                "K/uL", "10*3/uL", "10^9/L", "x10^9/l", "x10(9)/L", "Thousands Per MicroLiter", "G/L", "Tsd/µl",
                "Gpt/l", "/nl", "10*3 cells/uL", "10E3/uL", "thou/mm3", "×10⁹/L", "G/l",
            )
        ),
        ("platelets", "/uL", "cells/uL"),
    ],
)  # fmt: skip
def test_a_unit_in_other_words_is_the_same(key: str, code: str, unit: str) -> None:
    assert faults(told(key, code, unit)) == {}


OWN_UNRELIABLE = [{"coding": [{"system": "urn:titrator:reliability", "code": "unreliable"}]}]


@pytest.mark.parametrize("more", [{"status": "preliminary"}, {"interpretation": OWN_UNRELIABLE}])
def test_a_count_in_doubt_does_not_dose(more: dict[str, Any]) -> None:
    assert made(one("platelets", count(COUNT, **more)))["platelet_counts"][0]["unreliable"] is True


@pytest.mark.parametrize("said", ["Platelets clumped", "clumps seen", "Thrombozytenaggregate", "EDTA effect"])
def test_a_count_whose_remark_tells_of_clumps_does_not_dose(said: str) -> None:
    for more in ({"note": [{"text": said}]}, {"interpretation": [{"text": said}]}, {"method": {"text": said}}):
        assert made(one("platelets", count(COUNT, **more)))["platelet_counts"][0]["unreliable"] is True


@pytest.mark.parametrize("said", ["No clumps seen", "no platelet clumping", "keine Aggregate", "Low", "checked"])
def test_a_count_whose_remark_tells_of_none_doses(said: str) -> None:
    assert "unreliable" not in made(one("platelets", count(COUNT, note=[{"text": said}])))["platelet_counts"][0]


def by_loinc(code: str, day: str, words: str | None = None, **more: Any) -> dict[str, Any]:
    coding = {"system": "http://loinc.org", "code": code}
    return count(COUNT | {"collected_on": day}, code={"coding": [coding], "text": words}, **more)


def test_a_manual_count_is_a_count() -> None:
    assert len(made(one("platelets", by_loinc("778-1", TODAY)))["platelet_counts"]) == 1


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([count(COUNT), by_loinc("49497-1", "2026-03-10")], "Platelets [#/volume] in Blood by Estimate, 2026-03-10"),
        ([by_loinc("49497-1", "2026-03-01")], "Platelets [#/volume] in Blood by Estimate, 2026-03-01"),
        ([by_loinc("13056-7", TODAY, "Platelets [#/volume] in Plasma")], "Platelets [#/volume] in Plasma, 2026-03-09"),
        ([by_loinc("1-8", TODAY, "Thrombozyten")], "Thrombozyten, 2026-03-09"),
        ([by_loinc("1-8", TODAY, "PLT", effectiveDateTime=None)], "PLT, without a date"),
        (
            [
                count(COUNT, effectiveDateTime=f"{TODAY}T08:00:00+01:00"),
                by_loinc("1-8", TODAY, "PLT", effectiveDateTime=f"{TODAY}T09:00:00+01:00"),
            ],
            "PLT, 2026-03-09",
        ),
    ],
)
def test_a_newer_count_by_another_code_is_a_caution(counts: list[Any], said: str) -> None:
    found, wrong = read(one("platelets", *counts))
    assert wrong == []
    (caution,) = found.cautions
    assert caution.endswith(f"is newer than those that are: {said}.")


@pytest.mark.parametrize(
    "other",
    [
        by_loinc("49497-1", "2026-03-08"),
        by_loinc("49497-1", TODAY, status="entered-in-error"),
        by_loinc("32623-1", "2026-03-10", "Platelet mean volume [Entitic volume] in Blood"),
        by_loinc("71693-6", "2026-03-10", "Platelets reticulated/100 platelets in Blood"),
        by_loinc("718-7", "2026-03-10", "Hemoglobin"),
    ],
)
def test_an_older_count_by_another_code_and_what_is_no_count_are_passed_over(other: dict[str, Any]) -> None:
    assert read(one("platelets", count(COUNT), other))[0].cautions == ()


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


@pytest.mark.parametrize(
    "medicine",
    [
        *(coded(system, "B02BX04") for system in ("urn:local", "http://fhir.de/CodeSystem/bfarm/atc", None)),
        *(
            {"text": words}
            for words in (
                "AMG 531", "AMG531", "Romy 250", "Ромиплостим", "Энплейт", "羅米司亭", "注射用罗米司亭", "Romiplostin",
                "romiplostm 250 mcg", "ROMPLOSTIM", "Romiplade",
            )
        ),
    ],
)  # fmt: skip
def test_romiplostim_is_known_by_its_names_also_mis_spelt(medicine: dict[str, Any]) -> None:
    assert len(made(one("doses", dose(DOSE, medicationCodeableConcept=medicine)))["doses"]) == 1


def test_what_only_mentions_romiplostim_is_told() -> None:
    given = dose(DOSE, medicationCodeableConcept={"text": "Dexamethasone 4 mg premedication before romiplostim"})
    found, wrong = read(one("doses", given))
    assert (wrong, found.document["doses"]) == ([], [])
    assert [one for one in found.cautions if "which medicine it was cannot be told" in one]


ROUTES = {"Subcut": "", "Intravenous": "intravenous", "local code": "unknown", "s.c. (nicht i.v.)": ""}


@pytest.mark.parametrize(("text", "told"), ROUTES.items())
def test_a_dose_by_another_route_is_a_caution(text: str, told: str) -> None:
    sent = dose(DOSE)
    sent["dosage"] = {**sent["dosage"], "route": {"text": text}}
    found, wrong = read(one("doses", sent))
    assert (wrong, len(found.document["doses"])) == ([], 1)
    said = [caution for caution in found.cautions if "subcutaneously" in caution]
    by = f"{told} route, {DOSE['given_on']}"
    assert said == [f"A dose may not have been given subcutaneously: {by}."] * bool(told)


def test_a_count_within_a_panel_is_a_caution() -> None:
    panel = by_loinc("58410-2", TODAY, "CBC panel")
    del panel["valueQuantity"]
    part = {"code": {"coding": [{"system": "http://loinc.org", "code": "777-3"}]}, "valueQuantity": {"value": 520}}
    found, wrong = read(one("platelets", count(COUNT | {"collected_on": "2026-03-08"}), panel | {"component": [part]}))
    assert wrong == []
    assert [caution for caution in found.cautions if f"777-3: 520 within a panel, {TODAY}" in caution]


@pytest.mark.parametrize("words", ["Romidepsin", "Romosozumab", "Eltrombopag", "Filgrastim", "Romyalgin", "Amgevita"])
def test_another_name_is_another_medicine(words: str) -> None:
    assert made(one("doses", dose(DOSE, medicationCodeableConcept={"text": words})))["doses"] == []


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
