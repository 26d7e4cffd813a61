"""Patients on pages: found, made, changed; and seen in an emergency though they are of another clinic."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.support import WHY, House, day
from tests.web.support import Page, Person
from titrator.security.permissions import Role


def said(page: Page) -> str:
    return page.text.replace("\xa0", " ")


def in_both(house: House) -> Person:
    """A pharmacist of both clinics, at the pages."""
    house.ids["roving"], house.tokens["roving"] = house.account(
        "roving", Role.PHARMACIST, house.clinic, house.other_clinic
    )
    return Person(house, "roving")


def test_patients_are_found_by_name_and_number(house: House) -> None:
    ada = house.patient(family_name="Öhlund", identifiers=[{"system": "urn:mrn", "value": "4711"}])
    house.patient(family_name="Wren")
    house.patient("stranger", family_name="Öhlund-Elsewhere")
    somebody = Person(house, "technician")
    everybody = said(somebody.get("/patients"))
    assert everybody.index("Öhlund, Ada") < everybody.index("Wren, Ada")
    for text in ("ohl", "ada öhlund", "4711", "urn:mrn|4711", " 4711 "):
        page = somebody.get(f"/patients?text={text}")
        assert page.links["Öhlund, Ada"] == f"/patients/{ada}", text
        assert "Wren" not in page.text
        assert "Elsewhere" not in page.text
    assert "Nobody found." in said(somebody.get("/patients?text=4712"))
    assert somebody.get("/patients?cursor=&limit=0").status == 422


def test_pages_of_patients(house: House) -> None:
    for number in range(5):
        house.patient(family_name=f"Bird{number}")
    somebody = Person(house)
    seen: list[str] = []
    page = somebody.get("/patients?limit=2")
    while True:
        seen += [name for name in page.links if name.startswith("Bird")]
        if "More" not in page.links:
            break
        page = somebody.get(page.links["More"])
    assert sorted(seen) == [f"Bird{number}, Ada" for number in range(5)]


def test_patients_of_one_clinic(house: House) -> None:
    house.patient(family_name="Here")
    house.patient("stranger", family_name="There")
    somebody = in_both(house)
    assert "There, Ada" in somebody.get("/patients").links
    page = somebody.get(f"/patients?clinic={house.clinic}")
    assert "Here, Ada" in page.links
    assert "There, Ada" not in page.links


def test_a_new_patient(house: House) -> None:
    house.patient(identifiers=[{"system": "urn:hospital", "value": "1"}])
    somebody = Person(house, "technician")
    opened = somebody.get("/patients/new")
    assert opened.sheet("/patients/new").fields["system_0"] == ["urn:hospital"], "the system that is usual here"
    page = somebody.submit(
        opened, "/patients/new", family_name="Wren", given_name="Mira", born_on="2019-05-06", value_0="77"
    )
    assert page.status == 200
    assert "Wren, Mira has a record now." in said(page)
    patient = house.get(page.path)
    assert (patient["born_on"], patient["clinic"]) == ("2019-05-06", house.clinic)
    assert patient["identifiers"] == [{"system": "urn:hospital", "value": "77"}]


def test_a_new_patient_needs_no_number(house: House) -> None:
    somebody = Person(house)
    opened = somebody.get("/patients/new")
    assert opened.sheet("/patients/new").fields["system_0"] == ["urn:mrn"]
    page = somebody.submit(opened, "/patients/new", family_name="Wren", given_name="Mira")
    assert house.get(page.path)["identifiers"] == []


NEW: dict[str, str] = {"family_name": "Wren", "given_name": "Mira"}
FAULTS: list[tuple[dict[str, str], int, list[str]]] = [
    ({"family_name": "", "given_name": ""}, 422, ["Family name: required", "Given name: required"]),
    ({**NEW, "born_on": "6.5.2019"}, 422, ["Born on: must be a date"]),
    ({**NEW, "born_on": day(-1)}, 422, ["Born on: must not be after 2026-03-09"]),
    ({**NEW, "clinic": "elsewhere"}, 422, ["Clinic: not a clinic of this account"]),
    ({**NEW, "value_0": "77", "system_0": ""}, 422, ["System of the number: required"]),
    ({**NEW, "value_0": "known"}, 409, ["A patient with that identifier is there already.", "Number: names another"]),
]


@pytest.mark.parametrize(("filled", "status", "wrong"), FAULTS)
def test_a_new_patient_with_faults(house: House, filled: dict[str, Any], status: int, wrong: list[str]) -> None:
    house.patient(identifiers=[{"system": "urn:mrn", "value": "known"}])
    somebody = Person(house)
    page = somebody.submit(somebody.get("/patients/new"), "/patients/new", **filled)
    assert (page.status, page.path) == (status, "/patients/new")
    for one in wrong:
        assert one in said(page), one
    assert len(house.get("/patients")["items"]) == 1


def test_particulars_are_changed(house: House) -> None:
    numbers = [{"system": f"urn:{name}", "value": name} for name in ("a", "b", "c")]
    patient = house.patient(identifiers=numbers)
    form = f"/patients/{patient}/particulars"
    somebody = Person(house, "technician")
    opened, in_another_tab = somebody.get(form), somebody.get(form)
    assert opened.sheet(form).fields["value_2"] == ["c"]
    page = somebody.submit(opened, form, family_name="Rook", value_3="d", system_3="urn:d")
    assert (page.status, page.path) == (200, f"/patients/{patient}")
    found = house.get(f"/patients/{patient}")
    assert (found["family_name"], found["version"], found["active"]) == ("Rook", 2, True)
    assert [one["value"] for one in found["identifiers"]] == ["a", "b", "c", "d"]
    stale = somebody.submit(in_another_tab, form, given_name="Nobody")
    assert stale.status == 412
    assert "It has been changed" in said(stale)
    assert house.get(f"/patients/{patient}")["given_name"] == "Ada"


def test_a_fault_of_a_number_stands_beside_it(house: House) -> None:
    house.patient(identifiers=[{"system": "urn:b", "value": "taken"}])
    patient = house.patient(identifiers=[{"system": "urn:a", "value": "mine"}, {"system": "urn:b", "value": "mine"}])
    form = f"/patients/{patient}/particulars"
    somebody = Person(house)
    page = somebody.submit(somebody.get(form), form, value_1="taken", reason="Mistyped")
    assert page.status == 409
    assert 'id="changepatient-value_1-faults"' in page.html
    assert 'id="changepatient-value_0-faults"' not in page.html


def test_what_ends_dosing_needs_a_reason_and_a_pharmacist(house: House) -> None:
    patient = house.on_course()
    form = f"/patients/{patient}/particulars"
    technician, pharmacist = Person(house, "technician"), Person(house)
    filled: dict[str, Any] = {"active": None, "reason": "Moved away"}
    assert technician.submit(technician.get(form), form, **filled).status == 403
    page = pharmacist.submit(pharmacist.get(form), form, active=None)
    assert "Reason: required" in said(page)
    assert "active" not in page.sheet(form).fields, "the empty tick stays empty"
    assert "not active" in said(pharmacist.submit(page, form, reason="Moved away"))
    assert house.get(f"/patients/{patient}")["active"] is False


def test_a_patient_moves_to_another_clinic(house: House) -> None:
    patient = house.patient()
    form = f"/patients/{patient}/particulars"
    pharmacist, roving = Person(house), in_both(house)
    assert pharmacist.get(form).sheet(form).choices["clinic"] == [house.clinic]
    page = roving.submit(roving.get(form), form, clinic=house.other_clinic)
    assert page.status == 200
    assert "Haematology B" in said(page)
    assert pharmacist.get(f"/patients/{patient}").status == 404


def test_in_an_emergency_another_clinics_patient_is_seen(house: House) -> None:
    patient = house.patient("stranger", identifiers=[{"system": "urn:mrn", "value": "99"}])
    somebody = Person(house)
    assert somebody.get(f"/patients/{patient}").status == 404
    opened = somebody.get("/emergency")
    assert "This is reported." in said(opened)
    page = somebody.submit(opened, "/emergency", number="99", system="urn:mrn", reason="Bleeding in the emergency room")
    assert (page.status, page.path) == (200, f"/patients/{patient}")
    assert "You have access until Mon 9 Mar 2026 13:00 UTC." in said(page)
    for chain in (patient, "system"):
        broken = [row for row in house.trail(chain) if row.action == "break-glass"]
        assert "Bleeding in the emergency room" in broken[0].detail
    house.clock.on(hours=1)
    somebody.come_in("pharmacist")
    assert somebody.get(f"/patients/{patient}").status == 404


@pytest.mark.parametrize(
    ("filled", "status", "wrong"),
    [
        ({"reason": "Bleeding now"}, 422, "required: patient or identifier"),
        ({"number": "99", "reason": "short"}, 422, "Reason: must have 10 to 1000 characters"),
        ({"number": "99", "system": "", "reason": "Bleeding now"}, 422, "System of the number: required"),
        ({"number": "98", "reason": "Bleeding now"}, 404, "No such patient"),
        ({"number": "99", "patient": "x", "reason": "Bleeding now"}, 422, "either patient or identifier, not both"),
    ],
)
def test_an_emergency_with_faults(house: House, filled: dict[str, Any], status: int, wrong: str) -> None:
    house.patient("stranger", identifiers=[{"system": "urn:mrn", "value": "99"}])
    somebody = Person(house)
    page = somebody.submit(somebody.get("/emergency"), "/emergency", **filled)
    assert (page.status, page.path) == (status, "/emergency")
    assert wrong in said(page)
    assert page.sheet("/emergency").fields["reason"] == [filled["reason"]], "what was written is not lost"


def test_who_may(house: House) -> None:
    for role in ("technician", "auditor", "admin"):
        assert Person(house, role).get("/emergency").status == 403, role
    for path in ("/patients", "/patients/new"):
        assert Person(house, "auditor").get(path).status == 403, path
    stranger = house.patient("stranger")
    assert Person(house).get(f"/patients/{stranger}/particulars").status == 404
    house.call("stranger", "PATCH", f"/patients/{stranger}", {"active": False, **WHY}, version=1)
