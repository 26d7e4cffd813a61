"""A Bundle that was exported is taken by another installation: resource by resource, the same facts come of it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.api.support import House, build, count, day, dose, event, observation, weight
from titrator.bulk.out import Wanted, table_lines
from titrator.fhir.collecting import Names, bundle_lines
from titrator.workflow.whole import wholes


def exported(house: House) -> list[dict[str, Any]]:
    with house.services.store.reading() as session:
        lines = bundle_lines(
            "https://here/fhir", house.services.catalogue, Names(lambda _: None), wholes(session), Wanted()
        )
        bundle = json.loads("".join(lines), parse_float=Decimal)
    return [entry["resource"] for entry in bundle["entry"]]


def told(house: House) -> list[list[str]]:
    """The facts of all patients, without what another installation cannot have the same: ids, and who recorded when."""
    with house.services.store.reading() as session:
        lines = list(table_lines(wholes(session), Wanted()))
    rows = [line.rstrip("\r\n").split(",") for line in lines]
    names = rows[0]
    kept = [
        names.index(name) for name in ("kind", "day", "value", "unit", "level", "ended_on", "status", "grade", "note")
    ]
    return sorted([row[place] for place in kept] for row in rows[1:] if row[names.index("kind")] != "course")


@pytest.fixture
def other(tmp_path: Path) -> House:
    folder = tmp_path / "other"
    folder.mkdir()
    return build(folder)


def test_another_installation_takes_the_resources_as_they_are(house: House, other: House) -> None:
    patient = house.begun(28)
    entries = (
        ("weights", weight(28)),
        ("platelet-counts", count(28, 20, note="by hand")),
        ("platelet-counts", count(21, 30, unreliable=True)),
        ("observations", observation(21, 118, lower_limit_of_normal=115)),
        ("doses", dose(28, 75, micrograms_per_kg=1)),
        ("doses", {"not_given_on": day(21), "reason_not_given": "no-supply"}),
        ("events", event(20, "platelet_transfusion")),
        ("events", event(19, "adverse_event", term="headache", scale="ctcae-5.0", grade=1, resolved_on=day(15))),
        ("events", event(18, "rescue_therapy")),
    )
    for collection, body in entries:
        answer = house.record(patient, collection, body)
        assert answer.status == 201, answer.text
    taken = other.begun(28)
    for resource in exported(house):
        kind = resource["resourceType"]
        if kind not in ("Observation", "MedicationAdministration", "Procedure", "AdverseEvent"):
            continue
        sent = {key: value for key, value in resource.items() if key not in ("id", "meta")}
        sent["subject"] = {"reference": f"Patient/{taken}"}
        answer = other.call("pharmacist", "POST", f"/fhir/{kind}", sent, Content_Type="application/fhir+json")
        assert answer.status == 201, answer.text
    assert told(other) == told(house)
    assert len(told(house)) == len(entries)
