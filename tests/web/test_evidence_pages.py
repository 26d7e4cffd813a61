"""The evidence file from the pages: the same as by REST, for whoever may take it, and written down."""

from __future__ import annotations

import io
import json

from tests.api.deciding import decided, dosed
from tests.api.support import House
from tests.web.support import Person
from titrator.bulk.verifying import verify_evidence
from titrator.security.signing import public_key


def test_a_pharmacist_saves_the_file_from_the_patient_and_it_is_in_order(house: House) -> None:
    patient = dosed(house, 60)
    decided(house, patient)
    pharmacist = Person(house, "pharmacist")
    path = pharmacist.get(f"/patients/{patient}").links["Evidence file"]
    page = pharmacist.get(path)
    assert page.status == 200
    assert page.headers["Content-Disposition"] == f"attachment; filename=evidence-{patient}.ndjson"
    assert page.headers["Content-Type"] == "application/x-ndjson; charset=utf-8"
    assert page.headers["Cache-Control"] == "no-store"
    key = house.services.audit_key
    found = verify_evidence(io.BytesIO(page.html.encode()), public_key(key), key)
    assert (found.faults, [made.kind for made, _ in found.decisions]) == ((), ["accept"])
    assert json.loads(page.html.splitlines()[0])["made_by"] == house.ids["pharmacist"]
    assert house.trail(patient)[-1].action == "take-evidence"


def test_an_auditor_takes_it_from_the_trail_of_the_patient(house: House) -> None:
    patient = dosed(house, 60)
    auditor = Person(house, "auditor")
    assert "Evidence file" not in auditor.get("/audit").links
    page = auditor.get(auditor.get(f"/audit?patient={patient}").links["Evidence file"])
    assert page.status == 200
    assert json.loads(page.html.splitlines()[0])["patient"] == patient


def test_who_may_not_take_it_is_offered_none_and_given_none(house: House) -> None:
    patient = dosed(house, 60)
    technician, stranger = Person(house, "technician"), Person(house, "stranger")
    assert "Evidence file" not in technician.get(f"/patients/{patient}").links
    assert technician.get(f"/patients/{patient}/evidence").status == 403
    assert stranger.get(f"/patients/{patient}/evidence").status == 404
