"""Resources of a file are recorded as the same resources that a feed sends to the FHIR door."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.api.support import House, day
from tests.bulk.intake.support import facts, patient
from tests.fhir.resources import (
    bundle,
    create,
    created,
    given,
    haemoglobin,
    happened,
    not_given,
    person,
    platelets,
    transfused,
    weighed,
)
from titrator.bulk.intake.plan import draw_up, read_said
from titrator.bulk.intake.run import Report, Work, run
from titrator.bulk.intake.stage import Stage
from titrator.fhir import intake
from titrator.security.permissions import PERMISSIONS, Role
from titrator.store.records import Clinic, Fact
from titrator.workflow.errors import Invalid
from titrator.workflow.visit import Actor

ZONES = {"x": ZoneInfo("Europe/Berlin")}


def imports(house: House, file: Path, **said: Any) -> tuple[Report, list[tuple[int, str]]]:
    asked = read_said({"source": "ehr", "system": "urn:mrn", "protocol": "us-itp-adult", **said})
    clinics = {house.clinic: house.clinic, "A": house.clinic}
    drawn = draw_up(intake.HEADER, asked, name=file.name, systems=None, clinics=clinics, of_columns=False)
    assert not drawn.questions
    actor = Actor("0" * 20, "anna", Role.PHARMACIST, frozenset([house.clinic]), PERMISSIONS[Role.PHARMACIST])
    with house.services.store.reading() as session:
        known = {clinic.id: clinic for clinic in session.find(Clinic)}
    zones = {ident: ZoneInfo(clinic.time_zone) for ident, clinic in known.items()}
    stage = Stage(file.with_suffix(".stage"))
    stage.put(intake.rows(file, "urn:mrn"))
    read = intake.reader(drawn.plan, zones)
    report = Report()
    for _ in run(Work(house.services, actor, drawn.plan, stage, {}, known, read=read), report):
        pass
    refused = [(line, why) for line, _, why in stage.refused()]
    stage.remove()
    return report, refused


def story(ref: str) -> list[dict[str, Any]]:
    """What an EHR has of a patient, in order of day: final, preliminary, corrected, suspected, with an instant."""
    at = f"{day(7)}T23:30:00Z"
    found = [
        weighed(ref, 14, 70),
        platelets(ref, 14, 20, "10*3/uL"),
        given(ref, 14, 70),
        haemoglobin(ref, 10, 12.10, "g/dL", status="corrected"),
        happened(ref, 9, event={"text": "deep vein thrombosis"}),
        transfused(ref, 8),
        platelets(ref, 7, 300),
        {**platelets(ref, 7, 48), "effectiveDateTime": at, "note": [{"text": "repeated"}]},
        weighed(ref, 5, 71, status="preliminary"),
        not_given(ref, 3),
    ]
    return [{**one, "id": f"r{place}"} for place, one in enumerate(found)]


def bare(fact: Fact) -> Fact:
    return replace(fact, patient_id="", recorded_by="", id=fact.id, revision=fact.revision)


def by_door(house: House) -> list[Fact]:
    """What comes of the story by the door, sent by a feed to a patient on a course."""
    mine = created(house, person(number="door"))["id"]
    start = {"protocol": "us-itp-adult", "started_on": day(14)}
    assert house.call("pharmacist", "POST", f"/patients/{mine}/course", start).status == 201
    for resource in story(mine):
        sent = {key: value for key, value in resource.items() if key != "id"}
        assert create(house, sent, "ehr").status == 201, sent
    return facts(house, "door")


def lines(file: Path, *resources: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(one) + "\n" for one in resources), encoding="utf-8")
    return file


@pytest.mark.parametrize("shape", ["lines", "bundle", "lines of bundles"])
def test_what_a_file_has_is_recorded_as_by_the_door(house: House, tmp_path: Path, shape: str) -> None:
    resources = [*story("p1"), {**person(number="7"), "id": "p1"}]
    if shape == "lines":
        file = lines(tmp_path / "all.ndjson", *resources)
    else:
        whole = bundle("collection", *({"resource": one} for one in resources))
        file = lines(tmp_path / ("all.json" if shape == "bundle" else "all.ndjson"), whole)
    assert intake.is_fhir(file)
    report, refused = imports(house, file)
    assert (refused, report.facts, report.new_patients, report.courses) == ([], 10, 1, 1)
    assert {code for fact in facts(house, "7") for code in fact.asked} == {
        *("EVENT-SUSPECTED", "RESULT-PRELIMINARY", "COUNT-FAR-FROM-LAST"),
    }
    ours, theirs = ([bare(fact) for fact in some] for some in (facts(house, "7"), by_door(house)))
    key = lambda fact: (fact.day, fact.kind, str(fact.value))  # noqa: E731
    assert sorted((replace(fact, id=0, revision=0) for fact in ours), key=key) == sorted(
        (replace(fact, id=0, revision=0) for fact in theirs), key=key
    )
    again, _ = imports(house, file)
    assert (again.facts, again.known) == (0, 10)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({**platelets("p1", 3, 48), "valueQuantity": {"value": 48}}, "an amount without its unit means nothing"),
    (platelets("p1", 3, 48, status="entered-in-error"), "was entered in error where it comes from"),
    (platelets("p1", -2, 48), "must not be after"),
    ({"resourceType": "Condition", "subject": {"reference": "Patient/p1"}}, "Condition is not read here"),
    (platelets("p2", 3, 48), "its patient has no number of the system, or is not in the file"),
    ({"resourceType": "Observation"}, "its patient has no number of the system, or is not in the file"),
]


@pytest.mark.parametrize(("resource", "why"), REFUSED, ids=[case[1] for case in REFUSED])
def test_what_cannot_be_taken_is_told(house: House, tmp_path: Path, resource: dict[str, Any], why: str) -> None:
    who = {**person(number="7"), "id": "p1"}
    report, refused = imports(house, lines(tmp_path / "a.ndjson", who, weighed("p1", 5, 70), resource))
    ((line, told),) = refused
    assert (line, why in told) == (3, True), told
    assert report.facts == 1


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"deceasedBoolean": True}, "has died or is not active"),
        ({"active": False}, "has died or is not active"),
        ({"name": []}, "family: required"),
        ({"birthDate": "soon"}, "birthDate"),
    ],
)
def test_a_patient_with_faults_is_refused_with_all(
    house: House, tmp_path: Path, more: dict[str, Any], why: str
) -> None:
    who = {**person(number="7"), "id": "p1", **more}
    _, refused = imports(house, lines(tmp_path / "a.ndjson", who, weighed("p1", 5, 70)))
    assert [line for line, told in refused if why in told] == [1, 2], refused
    assert patient(house, "7") is None


def test_a_patient_is_known_by_identifier_and_full_url(house: House, tmp_path: Path) -> None:
    named = weighed("x", 5, 70) | {"subject": {"identifier": {"system": "urn:mrn", "value": "7"}}}
    by_url = weighed("x", 4, 71) | {"subject": {"reference": "urn:uuid:1"}}
    entries = ({"fullUrl": "urn:uuid:1", "resource": person(number="7")}, {"resource": by_url}, {"resource": named})
    file = lines(tmp_path / "a.json", bundle("collection", *entries))
    report, refused = imports(house, file)
    assert (report.facts, refused) == (2, [])


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.json", b"[]", "must have resources"),
        ("a.json", b"{", "file: not JSON"),
        ("a.ndjson", b'{"resourceType": "Patient"}\n{"a": 1}\n', "must have resources"),
        ("a.ndjson", b'{"resourceType": "Patient"}\n{"resourceType": \n', "line 2: not JSON"),
        ("a.ndjson", b'{"resourceType": "Patient", "a": 1, "a": 2}\n', "repeated key"),
        ("a.ndjson", b'{"resourceType": "' + b"x" * 1_000_001 + b'"}\n', "is longer than 1000000 bytes"),
    ],
)
def test_a_file_that_has_no_resources_is_refused(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(Invalid) as refused:
        list(intake.rows(file, "urn:mrn"))
    assert why in str(refused.value.faults[0])


def test_lines_of_our_own_fields_are_no_resources(tmp_path: Path) -> None:
    assert not intake.is_fhir(lines(tmp_path / "a.ndjson", {"patient": "7"}))
    (tmp_path / "b.ndjson").write_bytes(b"")
    assert not intake.is_fhir(tmp_path / "b.ndjson")
