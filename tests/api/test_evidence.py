"""The evidence file of a patient over REST: who gets it, and that it is the one that verifies."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.api.support import House, build, count
from titrator.bulk.verifying import verify_evidence
from titrator.security.signing import public_key


@pytest.fixture
def house(tmp_path: Path) -> House:
    return build(tmp_path)


@pytest.mark.parametrize("who", ["pharmacist", "prescriber", "auditor"])
def test_the_file_verifies_and_its_taking_is_in_the_trail(house: House, who: str) -> None:
    patient = house.on_course(0)
    house.record(patient, "platelet-counts", count(0, 20))
    answer = house.call(who, "GET", f"/patients/{patient}/evidence")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-ndjson; charset=utf-8")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="evidence-{patient}.ndjson"'
    key = house.services.audit_key
    found = verify_evidence(io.BytesIO(answer.text.encode()), public_key(key), key)
    assert (found.faults, found.patient) == ((), patient)
    taken = [row for row in house.trail(patient) if row.action == "take-evidence"]
    assert [row.account_id for row in taken] == [house.ids[who]]
    assert found.entries == taken[0].seq - 1, "all that was in the trail before it was taken"


@pytest.mark.parametrize(("who", "status"), [("technician", 403), ("ehr", 403), ("admin", 403), ("stranger", 404)])
def test_nobody_else_gets_it(house: House, who: str, status: int) -> None:
    assert house.call(who, "GET", f"/patients/{house.patient()}/evidence").status == status


def test_access_in_an_emergency_is_not_for_taking_it(house: House) -> None:
    patient = house.patient()
    house.post("/glass-breaks", {"patient": patient, "reason": "she bleeds"}, who="stranger")
    assert house.call("stranger", "GET", f"/patients/{patient}").status == 200
    assert house.call("stranger", "GET", f"/patients/{patient}/evidence").status == 404
