"""Results of no known patient, on pages: whose they might be, assigned, dismissed; feeds that have fallen silent."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from tests.api.support import House, count, named, observation, weight
from tests.web.support import Page, Person
from titrator.workflow.feeds import Feed
from titrator.workflow.silence import know_feeds


def said(page: Page) -> str:
    return page.text.replace("\xa0", " ")


def assign(somebody: Person, page: Page, **filled: str) -> Page:
    """What comes of the form below the search, filled in."""
    sheet = page.sheets[-1]
    assert set(filled) <= set(sheet.choices), sheet
    return somebody.post(sheet.action, {**sheet.fields, **filled})


def held(house: House, number: str, **entry: Any) -> str:
    """A result of a number that nobody has: its id."""
    body = {"identifier": {"system": "urn:mrn", "value": number}, "platelet_count": {**count(0), **entry}}
    answer = house.call("ehr", "POST", "/results", body)
    assert answer.json["unmatched"], answer.text
    return str(answer.json["unmatched"])


def test_nothing_waits(house: House) -> None:
    assert "No result waits." in said(Person(house).get("/results"))


def test_what_waits_is_told_with_why(house: House) -> None:
    patient = house.patient(family_name="Wren")
    ident = held(house, "17", note="second tube")
    for kind, entry in (("weight", weight(1)), ("observation", observation(1))):
        house.call("ehr", "POST", "/results", {"identifier": {"system": "urn:mrn", "value": "18"}, kind: entry})
    technician, pharmacist = Person(house, "technician"), Person(house)
    page = pharmacist.get("/results")
    for told in (
        "3 results wait",
        "Platelet count 60 ×10⁹/L, Mon 9 Mar 2026",
        "second tube",
        "Weight 75 kg, Sun 8 Mar 2026",
        "Haemoglobin 120 g/L",
        "17",
        "Nobody here has that number.",
        "nobody known",
        "Mon 9 Mar 2026 13:00",
    ):
        assert told in said(page), told
    assert f'href="/results/{ident}"' in page.html
    theirs = technician.get("/results")
    assert "60 ×10⁹/L" in said(theirs)
    assert f"/results/{ident}" not in theirs.html
    assert technician.get(f"/results/{ident}").status == 403
    assert Person(house, "stranger").get(f"/results/{ident}").status == 404
    assert "No result waits." in said(Person(house, "stranger").get("/results"))
    tally = pharmacist.get("/worklist").links["Results of no known patient"]
    assert tally.partition("?")[0] == "/results"
    house.call("pharmacist", "PATCH", f"/patients/{patient}", {"family_name": "Rook"}, version=1)


def test_a_result_is_assigned_to_who_has_its_number_now(house: House) -> None:
    ident = held(house, "17", **named("m1"))
    patient = house.patient(family_name="Wren", identifiers=[{"system": "urn:mrn", "value": "17"}])
    somebody = Person(house)
    assert "Wren, Ada born Sun 1 May 1960 · 17" in said(somebody.get("/results"))
    form = f"/results/{ident}"
    opened = somebody.get(form)
    other = Person(house, "prescriber")
    by_other = other.get(form)
    nobody = assign(somebody, opened)
    assert (nobody.status, "Whose it is: required" in said(nobody)) == (422, True)
    page = assign(somebody, opened, patient=patient)
    assert (page.status, page.path) == (200, f"/patients/{patient}")
    assert "Assigned: Platelet count 60 ×10⁹/L, Mon 9 Mar 2026." in said(page)
    (fact,) = house.get(f"/patients/{patient}/platelet-counts")["items"]
    assert fact["recorded_by"] == house.ids["pharmacist"]
    assert "No result waits." in said(somebody.get("/results"))
    late = assign(other, by_other, patient=patient)
    assert (late.status, "It has been assigned already." in said(late)) == (409, True)


def test_a_result_is_assigned_to_who_is_looked_for_after_questions(house: House) -> None:
    patient = house.patient(family_name="Wren", identifiers=[{"system": "urn:mrn", "value": "71"}])
    house.record(patient, "platelet-counts", count(7, 600))
    ident = held(house, "17")
    somebody = Person(house)
    form = f"/results/{ident}"
    assert "look for the patient" in said(somebody.get(form))
    assert "Nobody found." in said(somebody.get(f"{form}?text=nobody"))
    for text in ("wren", "71"):
        opened = somebody.get(f"{form}?text={text}")
        assert opened.sheets[-1].choices["patient"] == [patient], text
    asked = somebody.post(f"{form}?text=wren", {**opened.sheets[-1].fields, "patient": patient})
    assert asked.status == 422
    assert "is ten times or a tenth of 600 ×10⁹/L" in said(asked)
    sheet = asked.sheets[-1]
    assert sheet.fields["patient"] == [patient], "who was chosen stays chosen"
    assert "repeat" not in sheet.fields, "it is the laboratory's value, which nobody types"
    page = somebody.post(sheet.action, {**sheet.fields, "confirm": sheet.choices["confirm"]})
    assert page.path == f"/patients/{patient}"
    assert house.get(f"/patients/{patient}/platelet-counts")["items"][-1]["asked"] == ["COUNT-FAR-FROM-LAST"]


def test_a_result_is_not_given_to_another_clinics_patient(house: House) -> None:
    ident = held(house, "17")
    somebody = Person(house)
    form = f"/results/{ident}"
    mine, theirs = house.patient(family_name="Wren"), house.patient("stranger", family_name="Wrena")
    opened = somebody.get(f"{form}?text=wren")
    assert opened.sheets[-1].choices["patient"] == [mine]
    answer = somebody.post(form, {**opened.sheets[-1].fields, "patient": theirs})
    assert answer.status == 404
    assert "Wrena" not in answer.text
    assert house.get("/unmatched-results")["total"] == 1


def test_a_result_that_is_nobodys_is_dismissed(house: House) -> None:
    ident = held(house, "17")
    form = f"/results/{ident}/dismissal"
    somebody = Person(house)
    opened = somebody.get(form)
    assert "Platelet count 60 ×10⁹/L" in said(opened)
    assert "Reason: required" in said(somebody.submit(opened, form))
    page = somebody.submit(opened, form, reason="A test message")
    assert (page.status, page.path) == (200, "/results")
    assert "The result has been dismissed." in said(page)
    assert "No result waits." in said(page)
    assert somebody.get(form).status == 409


def test_a_feed_that_has_fallen_silent_is_told(house: House) -> None:
    feed = Feed("central", "ehr", (ip_network("10.0.0.0/8"),), (), silence_hours=24)
    with_feed = house.with_services(feeds=(feed,))
    know_feeds(with_feed.services, house.clock())
    assert "Nothing has been heard" not in said(Person(with_feed).get("/results"))
    house.clock.on(hours=30)
    page = Person(with_feed).get("/results")
    assert "Nothing has been heard of the laboratory feed central since Mon 9 Mar 2026 13:00." in said(page)
    assert "Silent laboratory feeds" in Person(with_feed).get("/worklist").links
