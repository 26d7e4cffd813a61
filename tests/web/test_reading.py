"""Safety of reading: what may be misread is on no page. And the chart, as a page sends it."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.api.deciding import alerted, decided, dosed, referred_by_rule, starting
from tests.api.support import House, count, event, observation
from tests.web.support import Person
from tests.web.test_access import pages, path_of
from titrator.security.permissions import Role

#: A number, and no end of a name in hexadecimal digits.
_NUMBER: Final = r"(?<![0-9a-zA-Z])\d{1,6}(?:\.\d+)?"
#: What the ISMP's and the FDA's lists of error-prone notations have, as far as numbers and units go.
MISREAD: Final = {
    "a trailing zero": re.compile(r"(?<![\d.])\d+\.\d*0\b(?!\.)(?=\s*(?:microgram|mL|kg|×|g/|%|mg|per))"),
    "a naked point": re.compile(r"(?<![\w.\]])\.\d"),
    "an abbreviated unit": re.compile(_NUMBER + r"\s*(?:µg|μg|ug|mcg|MCG|cc|µL|μL|ul|uL|IU|U)\b"),
    "an exponent": re.compile(_NUMBER + r"[eE][+-]?\d{1,3}\s"),
}


@pytest.mark.parametrize("make", [starting, alerted, referred_by_rule, dosed])
def test_nothing_that_may_be_misread(house: House, make: object) -> None:
    patient = make(house)  # type: ignore[operator]
    if make is not referred_by_rule:
        decided(
            house, patient, acknowledge=[one["code"] for one in house.get(f"/patients/{patient}/next-dose")["alerts"]]
        )
    house.post(f"/patients/{patient}/observations", observation(10, 9.80, unit="g/dL"))
    house.post(f"/patients/{patient}/events", event(20, "platelet_transfusion"))
    seen = 0
    for role in (Role.PHARMACIST, Role.ADMIN, Role.AUDITOR):
        somebody = Person(house, str(role))
        for method, rule, _ in pages(house):
            if method != "GET" or rule.rule.endswith(".svg"):
                continue
            page = somebody.get(path_of(house, rule.rule, patient))
            if page.status == 200:
                seen += 1
                text = page.text.replace("\xa0", " ")
                for what, pattern in MISREAD.items():
                    found = pattern.search(text)
                    assert found is None, (what, rule.rule, text[max(0, found.start() - 60) : found.end() + 40])
    assert seen > 6


def test_the_medicine_is_in_tall_man_letters(house: House) -> None:
    patient = starting(house)
    somebody = Person(house)
    for path in (f"/patients/{patient}", f"/patients/{patient}/accept", f"/patients/{patient}/override"):
        html = somebody.get(path).html
        assert "romiPLOStim" in html
        assert 'aria-label="romiplostim"' in html


def test_who_it_is_stays_in_view(house: House) -> None:
    """Name, birth date, number, and the weight with its day, on each page on which something is signed."""
    patient = dosed(house, 30)
    somebody = Person(house)
    for path in ("", "/accept", "/override", "/refer"):
        page = somebody.get(f"/patients/{patient}{path}")
        banner = page.html.split('<section class="identity"')[1].split("</section>")[0]
        for said in ("Patient1, Ada", "1 May 1960", "65 years", "pharmacist-1", "75\xa0kg", "2 Feb 2026"):
            assert said in banner, said


# The chart


def test_the_chart_is_an_image_of_its_own(house: House) -> None:
    patient = dosed(house, 30)
    somebody = Person(house)
    page = somebody.get(f"/patients/{patient}")
    assert f'src="/patients/{patient}/chart.svg?scale=log"' in page.html
    answer = somebody.client.get(f"/patients/{patient}/chart.svg")
    assert (answer.status_code, answer.mimetype) == (200, "image/svg+xml")
    assert answer.headers["Cache-Control"] == "no-store"  # somebody else may sit down at that browser
    assert "1 platelet counts" in answer.get_data(as_text=True)
    assert "Ada" not in answer.get_data(as_text=True)


def test_the_chart_changes_with_the_record_and_only_then(house: House) -> None:
    patient = dosed(house, 30)
    somebody = Person(house)

    def etag(query: str = "") -> str:
        return somebody.client.get(f"/patients/{patient}/chart.svg{query}").headers["ETag"]

    first = etag()
    assert etag() == first
    assert etag("?scale=linear") != first
    house.post(f"/patients/{patient}/platelet-counts", count(7, 40))
    assert etag() != first


def test_the_chart_of_somebody_elses_patient(house: House) -> None:
    patient = dosed(house, 30)
    Person(house).get(f"/patients/{patient}/chart.svg")
    assert Person(house, "stranger").get(f"/patients/{patient}/chart.svg").status == 404
    assert Person(house, "admin").get(f"/patients/{patient}/chart.svg").status == 403


def test_a_look_at_the_chart_stands_in_the_trail(house: House) -> None:
    patient = dosed(house, 30)
    for _ in range(2):
        Person(house).get(f"/patients/{patient}/chart.svg")
    seen = [row.subject for row in house.trail(patient) if row.action == "read"]
    assert seen.count(f"patient/{patient}/chart") == 2


def test_a_hold_that_was_accepted_is_a_mark(house: House) -> None:
    patient = dosed(house, 450)
    decided(house, patient)
    svg = Person(house).client.get(f"/patients/{patient}/chart.svg").get_data(as_text=True)
    assert "Hold: no dose" in svg
