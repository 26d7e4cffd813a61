"""The judges can fail: each lets sound resources pass and finds the faults that it is there to find.

The table says of each fault which judges find it, so that it also tells what each of them does not look at.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.fhir.judges import judge
from tests.fhir.judges.judge import faults, medplum, need_node, node_ready, r4b, schema, smart

LOINC = "http://loinc.org"
XHTML = "http://www.w3.org/1999/xhtml"
CELLS = {"value": Decimal("48.5"), "unit": "10*9/L", "system": "http://unitsofmeasure.org", "code": "10*9/L"}

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "meta": {"versionId": "1", "lastUpdated": "2026-03-09T12:00:00Z"},
    "identifier": [{"system": "https://hospital.example/mrn", "value": "4711"}],
    "name": [{"family": "Example", "given": ["Ada"]}],
    "gender": "female",
    "birthDate": "1961-05-04",
    "text": {"status": "generated", "div": f'<div xmlns="{XHTML}"><p>Ada Example</p></div>'},
}
OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "category": [
        {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}
    ],
    "code": {"coding": [{"system": LOINC, "code": "777-3"}], "text": "Platelets"},
    "subject": {"reference": "Patient/p1"},
    "effectiveDateTime": "2026-03-09",
    "issued": "2026-03-09T12:00:00.125+01:00",
    "valueQuantity": CELLS,
    "referenceRange": [{"low": CELLS | {"value": 150}, "high": CELLS | {"value": 400}}],
}
MEDICATION_REQUEST: dict[str, Any] = {
    "resourceType": "MedicationRequest",
    "id": "m1",
    "status": "draft",
    "intent": "proposal",
    "medicationCodeableConcept": {
        "coding": [{"system": "http://www.whocc.no/atc", "code": "B02BX04"}],
        "text": "Romiplostim",
    },
    "subject": {"reference": "https://ehr.example/fhir/Patient/p1"},
    "authoredOn": "2026-03-09T12:00:00Z",
    "requester": {"reference": "urn:uuid:0c2f6b4e-4f0e-4d1b-9d57-8a1f6f4f7e11"},
    "dosageInstruction": [
        {
            "timing": {"repeat": {"boundsPeriod": {"start": "2026-03-09"}, "count": 1}},
            "doseAndRate": [
                {
                    "doseQuantity": {
                        "value": Decimal(150),
                        "unit": "microgram",
                        "system": "http://unitsofmeasure.org",
                        "code": "ug",
                    }
                }
            ],
        }
    ],
    "recorder": {"display": "A pharmacist"},
    "performer": {"identifier": {"system": "https://hospital.example/staff", "value": "12"}},
    "note": [{"text": "Ada's platelets: 48 × 10⁹/L"}],
}
BUNDLE: dict[str, Any] = {
    "resourceType": "Bundle",
    "type": "searchset",
    "total": 2,
    "link": [{"relation": "self", "url": "https://ehr.example/fhir/Observation?patient=p1"}],
    "entry": [
        {
            "fullUrl": f"https://ehr.example/fhir/{one['resourceType']}/{one['id']}",
            "resource": one,
            "search": {"mode": "match"},
        }
        for one in (PATIENT, OBSERVATION)
    ],
}
SOUND = [PATIENT, OBSERVATION, MEDICATION_REQUEST, BUNDLE]


def without(resource: dict[str, Any], element: str) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key != element}


def carrying(resource: dict[str, Any]) -> dict[str, Any]:
    """A bundle with that resource."""
    bundle = deepcopy(BUNDLE)
    bundle["entry"][0] |= {"resource": resource}
    return bundle


SAME_CODE = [{"code": OBSERVATION["code"], "valueString": "48"}]
ALL = "medplum schema r4b smart"
#: A faulty resource, and who finds its fault.
FAULTY = {
    "no status": (without(OBSERVATION, "status"), "medplum r4b smart"),
    "no subject": (without(MEDICATION_REQUEST, "subject"), ALL),
    "no type of a bundle": (without(BUNDLE, "type"), "medplum r4b smart"),
    "no type": (without(PATIENT, "resourceType"), ALL),
    "a type of resource that does not exist": (PATIENT | {"resourceType": "Pationt"}, ALL),
    "an unknown element": (OBSERVATION | {"platelets": 48}, ALL),
    "an unknown element of a data type": (OBSERVATION | {"code": {"txt": "Platelets"}}, ALL),
    "an element that only Medplum knows": (PATIENT | {"meta": {"project": "p"}}, ALL),
    "a type of 4.3.0": (
        {"resourceType": "SubscriptionTopic", "url": "https://x.example/topic", "status": "active"},
        "medplum schema smart",
    ),
    "text for an element": (OBSERVATION | {"code": "777-3"}, ALL),
    "text for a number": (OBSERVATION | {"valueQuantity": CELLS | {"value": "48"}}, "medplum schema smart"),
    "a fraction for an integer": (BUNDLE | {"total": 1.5}, "medplum r4b"),
    "one for a list": (PATIENT | {"name": {"family": "Example"}}, ALL),
    "a list for one": (OBSERVATION | {"subject": [OBSERVATION["subject"]]}, ALL),
    "an empty list": (OBSERVATION | {"note": []}, "medplum schema"),
    "null": (OBSERVATION | {"note": None}, "medplum schema"),
    "an empty text": (PATIENT | {"name": [{"family": ""}]}, "medplum schema r4b"),
    "a day that does not exist": (OBSERVATION | {"effectiveDateTime": "2026-02-30"}, "medplum r4b smart"),
    "a time without a zone": (OBSERVATION | {"issued": "2026-03-09T12:00:00"}, ALL),
    "an id with a blank": (PATIENT | {"id": "p 1"}, "schema r4b"),
    "two values": (OBSERVATION | {"valueString": "48"}, "medplum r4b"),
    "a code of no status": (OBSERVATION | {"status": "done"}, "medplum schema"),
    "a code of no gender": (PATIENT | {"gender": "f"}, "medplum schema"),
    "a code of no intent": (MEDICATION_REQUEST | {"intent": "suggestion"}, "medplum"),
    "a code of no bundle": (BUNDLE | {"type": "search"}, "medplum schema"),
    "a concept of no clinical status": (
        {
            "resourceType": "Condition",
            "clinicalStatus": {"coding": [{"system": LOINC, "code": "active"}]},
            "subject": {"reference": "Patient/p1"},
        },
        "medplum",
    ),
    "a reference to the wrong type": (OBSERVATION | {"subject": {"reference": "Medication/m1"}}, "medplum"),
    "ele-1: an element without content": (OBSERVATION | {"component": [{"id": "c", "code": {"id": "d"}}]}, "medplum"),
    "dom-2: contained in a contained resource": (
        OBSERVATION
        | {"subject": {"reference": "#p2"}}
        | {"contained": [PATIENT | {"id": "p2", "contained": [PATIENT | {"id": "p3"}]}]},
        "medplum",
    ),
    "dom-3: contained and not referred to": (OBSERVATION | {"contained": [without(PATIENT, "meta")]}, "medplum"),
    "dom-4: contained with a version": (
        OBSERVATION | {"contained": [PATIENT], "subject": {"reference": "#p1"}},
        "medplum",
    ),
    "ref-1: refers to nothing contained": (OBSERVATION | {"subject": {"reference": "#p1"}}, "medplum"),
    "qty-3: a unit's code without a system": (OBSERVATION | {"valueQuantity": without(CELLS, "system")}, "medplum"),
    "ext-1: an extension without content": (PATIENT | {"extension": [{"url": "https://x.example"}]}, "medplum"),
    "txt-1: a script in the narrative": (
        PATIENT | {"text": {"status": "generated", "div": f'<div xmlns="{XHTML}"><script>x</script></div>'}},
        "medplum",
    ),
    "obs-3: a range of nothing": (OBSERVATION | {"referenceRange": [{"appliesTo": [{"text": "all"}]}]}, "medplum"),
    "obs-6: a value and why there is none": (OBSERVATION | {"dataAbsentReason": {"text": "lost"}}, "medplum"),
    "obs-7: a value beside a component of its code": (OBSERVATION | {"component": SAME_CODE}, "medplum"),
    "bdl-1: a total of what was not searched": (
        BUNDLE | {"type": "collection", "entry": [without(one, "search") for one in BUNDLE["entry"]]},
        "medplum",
    ),
    "bdl-7: a URL twice": (BUNDLE | {"entry": [BUNDLE["entry"][0], BUNDLE["entry"][0]]}, "medplum"),
    "no status in a bundle": (carrying(without(OBSERVATION, "status")), "medplum r4b smart"),
    "an unknown element in a bundle": (carrying(PATIENT | {"nick": "Ada"}), ALL),
    "a code of no status in a bundle": (carrying(OBSERVATION | {"status": "done"}), "medplum schema"),
    "obs-6 in a bundle": (carrying(OBSERVATION | {"dataAbsentReason": {"text": "lost"}}), "medplum"),
    "no status in a contained resource": (
        MEDICATION_REQUEST
        | {"contained": [without(OBSERVATION, "status")], "reasonReference": [{"reference": "#o1"}]},
        "medplum r4b smart",
    ),
    "a code of no status in a contained resource": (
        MEDICATION_REQUEST
        | {"contained": [OBSERVATION | {"status": "done"}], "reasonReference": [{"reference": "#o1"}]},
        "medplum schema",
    ),
}  # fmt: skip


def of_medplum(resource: dict[str, Any]) -> list[str]:
    return medplum([resource])[0]


JUDGES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "medplum": of_medplum,
    "schema": schema,
    "r4b": r4b,
    "smart": smart,
}


@pytest.mark.parametrize("resource", SOUND, ids=lambda one: one["resourceType"])
@pytest.mark.parametrize("name", JUDGES)
def test_what_is_sound_passes(name: str, resource: dict[str, Any]) -> None:
    assert JUDGES[name](resource) == []


@pytest.mark.parametrize(("resource", "finders"), FAULTY.values(), ids=FAULTY)
@pytest.mark.parametrize("name", JUDGES)
def test_a_fault_is_found_by_whom_the_table_says(name: str, resource: dict[str, Any], finders: str) -> None:
    found = JUDGES[name](resource)
    assert bool(found) == (name in finders.split()), found


@pytest.mark.parametrize("constraint", [name for name in FAULTY if ":" in name])
def test_a_constraint_is_named(constraint: str) -> None:
    key = constraint.partition(":")[0]
    assert any(f" {key}: " in fault for fault in of_medplum(FAULTY[constraint][0]))


def test_many_are_judged_each_by_itself() -> None:
    broken = PATIENT | {"name": [{"text": "a text\u2028in two\nlines"}]}
    answers = medplum([broken, OBSERVATION | {"status": "done"}, *SOUND])
    assert [bool(answer) for answer in answers] == [False, True, False, False, False, False]


def test_all_judges_together_say_of_what_they_speak() -> None:
    assert faults(SOUND) == []
    found = faults([PATIENT, without(OBSERVATION, "status") | {"nick": "x"}])
    assert {fault.partition(":")[0] for fault in found} == {f"Observation/o1 by {name}" for name in JUDGES}


def test_no_number_is_no_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        of_medplum(OBSERVATION | {"valueQuantity": CELLS | {"value": Decimal("NaN")}})


# Without Node


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No Node on the path."""
    monkeypatch.setenv("PATH", str(tmp_path))
    node_ready.cache_clear()
    yield
    node_ready.cache_clear()


@pytest.mark.usefixtures("nowhere")
def test_without_node_a_test_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="node and npm not installed"):
        medplum([PATIENT])


@pytest.mark.usefixtures("nowhere")
def test_without_node_a_test_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="node and npm not installed"):
        need_node()


@pytest.mark.usefixtures("nowhere")
def test_without_node_the_other_judges_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert {fault.partition(":")[0] for fault in faults([PATIENT | {"nick": "Ada"}])} == {
        "Patient/p1 by r4b",
        "Patient/p1 by smart",
    }
    with pytest.raises(pytest.skip.Exception):
        faults([PATIENT])


# Installing


INSTALL = """
import sys
from pathlib import Path
from tests.fhir.judges import judge
judge.CACHE = Path(sys.argv[1])
judge.INSTALLED = judge.CACHE / "key"
judge.NPM_CI = (sys.executable, "-c", sys.argv[2], str(judge.CACHE))
judge.PATIENCE = 10
print(judge.node_ready())
"""
#: Stands for npm: counts how often it is called.
CALLED = "import pathlib, sys; (pathlib.Path(sys.argv[1]) / 'calls').open('a').write('x')"


def install(cache: Path, npm: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", INSTALL, cache, npm], cwd=judge.HERE.parents[2], stdout=subprocess.PIPE, text=True
    )


def test_who_asks_at_once_gets_one_installation(tmp_path: Path) -> None:
    need_node()
    said = [one.communicate()[0] for one in [install(tmp_path, CALLED) for _ in range(3)]]
    assert said == ["None\n"] * 3
    assert (tmp_path / "calls").read_text() == "x"
    assert sorted(one.name for one in (tmp_path / "key").iterdir()) == ["package-lock.json", "package.json"]


def test_a_failed_installation_says_why_and_is_tried_again(tmp_path: Path) -> None:
    need_node()
    said = install(tmp_path, "import sys; sys.exit('no network')").communicate()[0]
    assert said == "the judges of FHIR: npm ci failed: no network\n"
    assert install(tmp_path, CALLED).communicate()[0] == "None\n"
