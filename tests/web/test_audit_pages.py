"""The audit trail as a page: who did what and why in words, and whether it is as it was written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import titrator
from tests import backends
from tests.api.support import House, count, weight
from tests.web.support import Page, Person
from titrator.web.audit import DID
from titrator.workflow import trail


def tamper(house: House, statement: str) -> None:
    """As someone does who can write to the database, but has not the key."""
    backends.tamper(house.services.store, statement)


def corrected(house: House) -> str:
    """A patient with a weight that was corrected, for a reason."""
    patient = house.begun()
    fact = house.post(f"/patients/{patient}/weights", weight(0, 75))
    change = {"measured_on": fact["measured_on"], "value": 76, "unit": "kg", "reason": "read wrongly"}
    answer = house.call("pharmacist", "PUT", f"/patients/{patient}/weights/{fact['id']}", change, version=1)
    assert answer.status == 200, answer.text
    return patient


def test_the_system_first_the_newest_on_top(house: House) -> None:
    page = Person(house, "auditor").get("/audit")
    assert page.status == 200
    assert "Of the system" in page.text
    places = [int(found) for found in re.findall(r"entry (\d+)", page.text)]
    assert places == sorted(places, reverse=True)
    assert places[0] == len(house.trail()) - 1, "that the page itself was read is written after it"
    assert "logged in" in page.text
    assert "made" in page.text


def test_a_patient_by_number_or_id_old_and_new_and_why(house: House) -> None:
    patient = corrected(house)
    auditor = Person(house, "auditor")
    by_id = auditor.get(f"/audit?patient={patient}")
    by_number = auditor.get("/audit?patient=pharmacist-1")
    for page in (by_id, by_number):
        assert page.status == 200
        assert f"Of the patient {patient}" in page.text
        assert "corrected" in page.text
        assert "Why: read wrongly" in page.text
        assert re.search(r"<del>75</del>.*<ins[^>]*>76</ins>", page.html)
        assert "pharmacist (pharmacist)" in page.text
        assert "Patient1" in page.text, "what was recorded is shown as it was"
        assert "✓ What is shown here is as it was written" in page.text
    assert "auditor (auditor)" not in by_id.text
    assert house.trail()[-1].subject == f"audit/{patient}"


def test_from_the_system_a_link_leads_to_the_patient(house: House) -> None:
    patient = house.patient()
    broken = {"patient": patient, "reason": "bleeding at night in the other clinic"}
    house.post("/glass-breaks", broken, "stranger")
    page = Person(house, "auditor").get("/audit")
    assert page.links[f"patient/{patient}"] == f"/audit?patient={patient}"
    assert "Why: bleeding at night" in page.text


def pages_of(auditor: Person, first: Page, name: str) -> list[Page]:
    found = [first]
    while name in found[-1].links:
        found.append(auditor.get(found[-1].links[name]))
    return found


def test_page_by_page_nothing_is_lost(house: House) -> None:
    patient = house.begun()
    for ago in range(20):
        house.record(patient, "platelet-counts", count(ago, 60))
    auditor = Person(house, "auditor")
    older = pages_of(auditor, auditor.get(f"/audit?patient={patient}&limit=7"), "Older")
    rows = len(house.trail(patient))
    assert rows > 14
    assert older[0].text.count("(pharmacist)") == 7
    seen = {int(place) for page in older for place in re.findall(r"entry (\d+)", page.text)}
    assert seen == set(range(1, rows + 1))
    newer = pages_of(auditor, auditor.get(f"/audit?patient={patient}&limit=7&after=0"), "Newer")
    assert f"entry {rows}" in newer[-1].text
    assert all("✓ What is shown here" in page.text for page in [*older, *newer])


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("update audit set detail = '{}' where chain = '{patient}' and seq = 2", "entry 2 has been changed"),
        ("delete from audit where chain = '{patient}' and seq = 2", "entries 2 to 2 are missing"),
        ("update audit set detail = 'no json' where chain = '{patient}' and seq = 1", "entry 1 has been changed"),
        ("delete from audit_heads where chain = '{patient}'", "its head is missing"),
        ("update audit_heads set seq = 1 where chain = '{patient}'", "its head has been changed"),
        ("delete from audit where (chain, seq) in (select chain, seq from audit_heads)", "entries were cut off"),
    ],
)
def test_what_was_tampered_with_is_told(house: House, statement: str, told: str) -> None:
    patient = corrected(house)
    tamper(house, statement.replace("{patient}", patient))
    page = Person(house, "auditor").get(f"/audit?patient={patient}&after=0")
    assert page.status == 200
    assert "✗ What is shown here is not as it was written" in page.text
    assert told in page.text
    assert "✓ What is shown" not in page.text


def test_a_part_whose_beginning_was_taken_out(house: House) -> None:
    patient = corrected(house)
    tamper(house, f"delete from audit where chain = '{patient}' and seq = 2")
    page = Person(house, "auditor").get(f"/audit?patient={patient}&after=2")
    assert "entry 2 is missing" in page.text


def test_a_part_in_the_middle_needs_no_end(house: House) -> None:
    patient = corrected(house)
    page = Person(house, "auditor").get(f"/audit?patient={patient}&after=1&limit=1")
    assert "✓ What is shown here is as it was written" in page.text
    assert "Entries 2 to 2 of" in page.text


def test_a_place_beyond_the_end(house: House) -> None:
    page = Person(house, "auditor").get("/audit?after=999999")
    assert (page.status, "No entries here." in page.text) == (200, True)


@pytest.mark.parametrize("role", ["technician", "pharmacist", "prescriber", "admin"])
def test_others_may_not_read_it(house: House, role: str) -> None:
    page = Person(house, role).get("/audit")
    assert page.status == 403
    assert "Audit" not in page.links


def test_a_patient_of_another_clinic_is_not_there(house: House) -> None:
    patient = house.patient("stranger")
    auditor = Person(house, "auditor")
    for named in (patient, "stranger-1", "nobody"):
        assert auditor.get(f"/audit?patient={named}").status == 404


@pytest.mark.parametrize(
    ("query", "told"), [("after=-1", "after: must be"), ("limit=0", "limit: must be"), ("x=1", "x: unknown")]
)
def test_faults_of_a_query(house: House, query: str, told: str) -> None:
    page = Person(house, "auditor").get(f"/audit?{query}")
    assert page.status == 422
    assert told in page.text


def test_everything_that_is_noted_has_words() -> None:
    texts = [path.read_text(encoding="utf-8") for path in Path(titrator.__file__).parent.rglob("*.py")]
    noted = {name for text in texts for name in re.findall(r"\.note\(\s*\"([a-z-]+)\"", text)}
    changed = re.compile(r"change_decision\([^()]*?\"([a-z-]+)\"")
    changes = {f"decision-{name}" for text in texts for name in changed.findall(text)}
    assert len(noted) > 40
    assert len(changes) > 5
    assert noted | changes <= set(DID)


def test_the_numbers_of_a_stretch(house: House) -> None:
    """REST and the page read the same entries."""
    patient = corrected(house)
    items = house.get(f"/audit?patient={patient}", "auditor")["items"]
    with house.visit() as visit:
        visit.actor = visit.who._replace(clinics=frozenset({house.clinic}))
        part = trail.stretch(visit, patient, None, 50)
    assert [row.mac for row in part.rows] == [item["mac"] for item in items]
    assert (part.after, part.last, part.faults) == (0, len(items), [])
