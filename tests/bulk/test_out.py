"""Patients taken out: as a table, as documents, as a Bundle; whole files or none; nothing is lost on the way."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle

from tests.api.support import House, build, count, day, dose, event, named, observation
from titrator.bulk.files import written_whole
from titrator.bulk.out import COLUMNS, MARK, Wanted, document_lines, table_lines
from titrator.fhir.collecting import Names, bundle_lines
from titrator.store.base import Where
from titrator.workflow import whole
from titrator.workflow.whole import wholes

EVERYTHING = Wanted(versions=True, decisions=True)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """Three patients: one with everything, one of whom nothing is recorded, one of the other clinic."""
    house = build(tmp_path_factory.mktemp("out"))
    body = {"family_name": "=cmd|calc", "given_name": "Ünal", "identifiers": [
        {"system": "urn:mrn", "value": "1"}, {"system": "urn:ward", "value": "A;1"},
    ]}  # fmt: skip
    treated = house.patient(**body)
    house.post(f"/patients/{treated}/course", {"protocol": "us-itp-adult", "started_on": day(7)})
    house.record(treated, "weights", {"measured_on": day(7), "value": 75, "unit": "kg"})
    house.record(treated, "platelet-counts", count(7, 20, **named("lab-1")))
    house.record(treated, "observations", observation(7, lower_limit_of_normal=115))
    house.record(treated, "doses", {**dose(7), "micrograms_per_kg": 1})
    house.record(treated, "doses", {"not_given_on": day(2), "reason_not_given": "other"})
    house.record(treated, "events", event(1, "adverse_event", term="headache", scale="ctcae-5.0", grade=1))
    house.record(treated, "platelet-counts", count(0, 30))
    first = house.get(f"/patients/{treated}/platelet-counts")["items"][0]["id"]
    path = f"/patients/{treated}/platelet-counts/{first}"
    assert house.call("pharmacist", "PUT", path, {**count(7, 22), "reason": "misread"}, version=1).status == 200
    proposal = house.get(f"/patients/{treated}/next-dose")
    acknowledged = [alert["code"] for alert in proposal["alerts"]]
    decision = {"decision": "accept", "proposal_sha256": proposal["proposal_sha256"], "acknowledge": acknowledged}
    house.post(f"/patients/{treated}/decisions", decision)
    house.patient()
    house.patient("stranger")
    return house


def table(house: House, wanted: Wanted, *where: Where) -> list[dict[str, str]]:
    with house.services.store.reading() as session:
        text = "".join(table_lines(wholes(session, *where), wanted))
    assert text.startswith(MARK)
    return list(csv.DictReader(io.StringIO(text.removeprefix(MARK), newline="")))


def documents(house: House, wanted: Wanted) -> list[Any]:
    with house.services.store.reading() as session:
        return [json.loads(line, parse_float=Decimal) for line in document_lines(wholes(session), wanted)]


def of(rows: list[dict[str, str]], clinic: str = "Haematology A") -> list[dict[str, str]]:
    return [row for row in rows if row["clinic"] == clinic and row["family_name"].startswith("'=")]


def test_the_table_has_a_row_for_each_course_and_fact_as_it_stands(house: House) -> None:
    rows = of(table(house, Wanted()))
    told = [tuple(row[name] for name in ("kind", "day", "value", "unit", "code")) for row in rows]
    assert told == [
        ("course", day(7), "", "", ""),
        ("weight", day(7), "75", "kg", ""),
        ("platelet-count", day(7), "22", "10*9/L", ""),
        ("haemoglobin", day(7), "120", "g/L", ""),
        ("dose", day(7), "75", "ug", ""),
        ("dose-not-given", day(2), "", "", "other"),
        ("adverse_event", day(1), "headache", "", ""),
        ("platelet-count", day(0), "30", "10*9/L", ""),
    ]
    assert {(row["protocol"], row["course_started_on"]) for row in rows} == {("us-itp-adult", day(7))}
    assert {row["current"] for row in rows} == {"true"}
    by_kind = {row["kind"]: row for row in rows}
    assert [by_kind["dose"][name] for name in ("level", "level_unit")] == ["1", "ug/kg"]
    assert [by_kind["adverse_event"][name] for name in ("scale", "grade")] == ["ctcae-5.0", "1"]
    assert by_kind["haemoglobin"]["lower_limit_of_normal"] == "115"
    external = [(row["external_system"], row["external_id"]) for row in rows if row["value"] == "22"]
    assert external == [("urn:lab", "lab-1")]


def test_with_versions_and_decisions_all_that_ever_stood_is_there(house: House) -> None:
    rows = of(table(house, EVERYTHING))
    counts = [
        (row["value"], row["version"], row["current"], row["change"]) for row in rows if row["value"] in ("20", "22")
    ]
    assert counts == [("20", "1", "false", "record"), ("22", "2", "true", "correct")]
    decision = next(row for row in rows if row["kind"] == "decision")
    assert [decision[name] for name in ("code", "value", "unit", "level", "status", "due_on")] == [
        *("accept", "150", "ug", "2", "in-force"), day(0),
    ]  # fmt: skip
    assert "decision" not in {row["kind"] for row in table(house, Wanted(versions=True))}


def test_nobody_is_left_out_and_no_cell_is_a_formula(house: House) -> None:
    rows = table(house, Wanted())
    assert len({row["record"] for row in rows}) == 3
    assert [row["kind"] for row in rows if row["family_name"] == "Patient2"] == ["patient"]
    assert {row["family_name"] for row in of(rows)} == {"'=cmd|calc"}
    assert {row["further_identifiers"] for row in of(rows)} == {"urn:ward|A;1"}
    assert list(rows[0]) == list(COLUMNS)


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_patients_come_in_the_same_order_however_few_are_read_at_once(house: House, at_once: int) -> None:
    with house.services.store.reading() as session:
        found = list(wholes(session, at_once=at_once))
        assert found == list(wholes(session))
        assert [one.patient.id for one in found] == sorted(one.patient.id for one in found)
        assert len(found) == 3
        assert whole.whole(session, found[1].patient) == found[1]


def test_a_condition_leaves_the_others_out(house: House) -> None:
    assert {row["clinic"] for row in table(house, Wanted(), Where("clinic_id", "=", house.other_clinic))} == {
        "Haematology B"
    }


def test_documents_have_what_the_api_says(house: House) -> None:
    found = next(one for one in documents(house, EVERYTHING) if one["courses"])
    patient = found["patient"]
    said = house.get(f"/patients/{patient['id']}")
    assert {key: patient[key] for key in ("family_name", "given_name", "born_on", "identifiers")} == {
        key: said[key] for key in ("family_name", "given_name", "born_on", "identifiers")
    }
    standing = [fact for fact in found["facts"] if fact["current"] and fact["collection"] == "platelet-counts"]
    of_api = house.get(f"/patients/{patient['id']}/platelet-counts")["items"]
    assert [{key: fact[key] for key in one} for fact, one in zip(standing, of_api, strict=True)] == of_api
    assert [(one["version"], one["current"]) for one in found["facts"] if one["id"] == standing[0]["id"]] == [
        (1, False), (2, True),
    ]  # fmt: skip
    assert found["decisions"] == house.get(f"/patients/{patient['id']}/decisions")["items"]
    assert "decisions" not in documents(house, Wanted())[0]
    assert [len(one["facts"]) for one in documents(house, Wanted())].count(0) == 2


def test_the_bundle_has_the_resources_that_the_door_gives(house: House) -> None:
    wanted = Wanted(decisions=True)
    with house.services.store.reading() as session:
        lines = bundle_lines(
            "https://here/fhir", house.services.catalogue, Names(lambda _: "Somebody"), wholes(session), wanted
        )
        text = "".join(lines)
    bundle = json.loads(text, parse_float=Decimal)
    kinds = [entry["resource"]["resourceType"] for entry in bundle["entry"]]
    assert {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)} == {
        "Patient": 3,
        "Condition": 1,
        "Observation": 4,
        "MedicationAdministration": 2,
        "AdverseEvent": 1,
        "MedicationRequest": 1,
        "GuidanceResponse": 1,
    }
    for entry in bundle["entry"]:
        kind, ident = entry["resource"]["resourceType"], entry["resource"]["id"]
        assert entry["fullUrl"] == f"https://here/fhir/{kind}/{ident}"
        if kind in ("Observation", "MedicationAdministration", "Condition"):
            assert entry["resource"] == house.get(f"/fhir/{kind}/{ident}")
    Bundle.model_validate(json.loads(text))


def test_a_bundle_of_nobody_is_one(house: House) -> None:
    lines = bundle_lines("https://here/fhir", house.services.catalogue, {}, [], Wanted())
    assert json.loads("".join(lines)) == {"resourceType": "Bundle", "type": "collection", "entry": []}


def write(place: Path, text: str, meanwhile: Callable[[], object]) -> None:
    with written_whole(place) as output:
        output.write(text)
        meanwhile()


def failing() -> None:
    raise RuntimeError


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "all.csv"
    with pytest.raises(RuntimeError):
        write(place, "half", failing)
    assert list(tmp_path.iterdir()) == []
    seen: list[bool] = []
    write(place, "whole ü", lambda: seen.append(place.exists()))
    assert (seen, place.read_text(encoding="utf-8"), place.stat().st_mode & 0o777) == ([False], "whole ü", 0o600)
    with pytest.raises(FileExistsError):
        write(place, "again", failing)
    assert [path.name for path in tmp_path.iterdir()] == ["all.csv"]


def test_a_file_that_appears_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    place = tmp_path / "all.csv"
    with pytest.raises(FileExistsError):
        write(place, "mine", lambda: place.write_text("another's", encoding="utf-8"))
    assert place.read_text(encoding="utf-8") == "another's"
    assert [path.name for path in tmp_path.iterdir()] == ["all.csv"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        write(tmp_path / "no" / "all.csv", "", failing)
    assert error.value.filename == str(tmp_path / "no" / "all.csv")
