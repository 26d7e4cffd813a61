"""Protocols as pages: what they do at each count, where they come from, where two part; with which page one begins."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.api.support import PASSWORD, House
from tests.support import CATALOGUE, IDS, local_protocol, write_local
from tests.web.support import Person
from titrator.protocols import Catalogue
from titrator.titration.protocol import WeeklyProtocol
from titrator.workflow import accounts, compare

WEEKLY = [ident for ident in IDS if isinstance(CATALOGUE.get(ident), WeeklyProtocol)]
PEOPLE = ("technician", "pharmacist", "prescriber", "auditor", "admin")
FIRST = {"auditor": "/audit", "admin": "/accounts"}


def cells(html: str) -> list[list[str]]:
    """The rows of all tables, as texts."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", html, re.DOTALL)
    return [
        [" ".join(re.sub("<[^>]*>", " ", cell).replace("&nbsp;", " ").split()) for cell in row]
        for row in (re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows)
    ]


@pytest.mark.parametrize("role", PEOPLE)
def test_everybody_may_read_protocols(house: House, role: str) -> None:
    page = Person(house, role).get("/protocols")
    assert page.status == 200
    for ident in IDS:
        assert page.links[ident] == f"/protocols/{ident}"
    assert page.text.count("not reviewed by a pharmacist") == len(IDS)
    assert page.text.count("✓ usable") == len(IDS)
    assert "romiPLOStim" in page.text


def test_a_protocol_that_is_refused_says_why(house: House, tmp_path: Path) -> None:
    write_local(tmp_path, "ours")
    write_local(tmp_path, "broken", "id = 3")
    write_local(tmp_path, "us-itp-adult", local_protocol("us-itp-adult"))
    served = house.with_services(catalogue=Catalogue(tmp_path))
    page = Person(served).get("/protocols")
    assert "us-itp-adult.toml is ignored" in page.text
    row = next(row for row in cells(page.html) if row and row[0].startswith("broken"))
    assert "✗ the file of this protocol is refused" in row[-1]
    ours = next(row for row in cells(page.html) if row and row[0].startswith("ours"))
    assert (ours[2], ours[-1]) == ("local protocol: no label of this installation", "✓ usable")
    page = Person(served).get("/protocols/broken")
    assert (page.status, "the file of this protocol is refused" in page.text) == (200, True)
    assert "No dose is computed by it" in page.text
    assert "None stands beside its file." in Person(served).get("/protocols/ours").text


@pytest.mark.parametrize("ident", IDS)
def test_a_protocol_as_a_pharmacist_reads_it(house: House, ident: str) -> None:
    protocol = CATALOGUE.get(ident)
    page = Person(house).get(f"/protocols/{ident}")
    assert page.status == 200
    assert protocol.sha256 in page.text
    for said in (protocol.source.document, protocol.source.edition, protocol.source.url, protocol.indication):
        assert " ".join(said.split()) in page.text
    for name, setting in compare.settings(protocol).items():
        assert f'<dt lang="en">{name}</dt><dd lang="en">{setting}</dd>' in page.html
    for item in protocol.unprinted:
        assert item.text in page.text
    rows = cells(page.html)
    if isinstance(protocol, WeeklyProtocol):
        bands = [[f"{band.counts} ×10⁹/L", *band.doing] for band in compare.decision_table([protocol])]
        assert [row for row in rows if row in bands] == bands
    else:
        assert "What it does at each count" not in page.text


@pytest.mark.parametrize("ident", IDS)
def test_each_worked_example_is_shown_with_facts_and_answer(house: House, ident: str) -> None:
    page = Person(house).get(f"/protocols/{ident}")
    rows = {row[0]: row for row in cells(page.html) if len(row) == 3}
    examples = CATALOGUE.examples(ident)
    assert examples
    for example in examples:
        _, facts, answer = rows[example.name.replace("'", "&#39;")]
        assert ("no dose yet" in facts) is not bool(example.document.get("doses"))
        assert ("microgram" in answer) is ("micrograms" in example.expected)
    assert not re.search(r"(?<![\w.])\.\d", page.text), "no number begins with a point"
    assert not re.search(r"\d+\.\d*0(?![\d.])(?=[\s\xa0](?:microgram|mL|kg|×))", page.text), "none has needless zeros"


def test_the_first_example_of_the_us_label_in_words(house: House) -> None:
    page = Person(house).get("/protocols/us-itp-adult")
    row = next(row for row in cells(page.html) if row[:1] == ["a first dose at 75 kg is 1 microgram/kg"])
    assert row[1] == (
        "asked on Mon 9 Mar 2026 born Sun 1 May 1960 weight 75 kg, Sat 14 Feb 2026 no dose yet "
        "platelets 38 ×10⁹/L, Mon 9 Mar 2026"
    )
    assert row[2] == (
        "▶ Start 75 micrograms · 0.15 mL 1 microgram/kg 1 vial 125 micrograms due Mon 9 Mar 2026 "
        "next count Mon 16 Mar 2026 START"
    )


def test_a_protocol_that_is_not_there(house: House) -> None:
    assert Person(house).get("/protocols/xx").status == 404


# Two of them


def test_where_two_labels_part(house: House) -> None:
    page = Person(house).get("/protocols/compare?one=us-itp-adult&other=eu-itp-adult")
    assert page.status == 200
    rows = cells(page.html)
    assert ["hold at", "above 400 ×10⁹/L", "above 250 ×10⁹/L"] in rows
    one, other = CATALOGUE.get("us-itp-adult"), CATALOGUE.get("eu-itp-adult")
    settings = [list(item) for item in compare.differences(one, other)]
    assert [row for row in rows if row in settings] == settings
    by_count = {row[0]: row[1:] for row in rows if len(row) == 6}
    assert by_count["above 250 to 400 ×10⁹/L"] == [
        "reduce by 1 microgram/kg (2 weeks in a row)",
        "stay on hold",
        "hold",
        "stay on hold",
        "≠ they part",
    ]
    assert by_count["below 50 ×10⁹/L"][-1] == "= the same"


def test_one_and_the_same(house: House) -> None:
    page = Person(house).get("/protocols/compare?one=us-itp-adult&other=us-itp-adult")
    assert "They have the same settings." in page.text
    assert "≠" not in page.text


def test_a_single_dose_is_not_compared_count_by_count(house: House) -> None:
    page = Person(house).get("/protocols/compare?one=us-hs-ars&other=us-itp-adult")
    assert page.status == 200
    assert "Only protocols that titrate week by week" in page.text
    assert ["schedule", "one dose", "once a week"] in cells(page.html)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("one=us-itp-adult", ["other: required"]),
        ("other=us-itp-adult", ["one: required"]),
        ("one=xx&other=yy", ["one: unknown protocol", "other: unknown protocol"]),
        ("one=us-itp-adult&other=eu-itp-adult&colour=red", ["colour: unknown key"]),
    ],
)
def test_a_comparison_that_cannot_be_made(house: House, query: str, told: list[str]) -> None:
    page = Person(house).get(f"/protocols/compare?{query}")
    assert page.status == 422
    for text in told:
        assert text in page.text


def test_the_comparison_begins_with_a_form(house: House) -> None:
    page = Person(house).get("/protocols/compare")
    assert page.status == 200
    assert set(page.sheet("/protocols/compare").choices) == {"one", "other"}


# With which page one begins


@pytest.mark.parametrize("role", PEOPLE)
def test_each_role_begins_with_a_page_that_it_may_see(house: House, role: str) -> None:
    with house.visit() as visit:
        issued = accounts.invite_again(visit, house.ids[role])[1]
    with house.visit() as visit:
        assert accounts.activate(visit, issued.secret, PASSWORD)
    somebody = Person(house, None)
    page = somebody.submit(somebody.get("/"), "/login", username=role, password=PASSWORD)
    first = FIRST.get(role, "/worklist")
    assert (page.status, page.path) == (200, first)
    assert page.links["titrator"] == first
    assert somebody.get("/").path == first
    assert somebody.get("/no-such-page").status == 404


def test_who_is_nobody_begins_with_the_login(house: House) -> None:
    page = Person(house, None).get("/")
    assert (page.path, page.status) == ("/login", 200)
    assert page.links["titrator"] == "/login"


@pytest.mark.parametrize("role", PEOPLE)
def test_every_link_of_the_head_can_be_followed(house: House, role: str) -> None:
    somebody = Person(house, role)
    page = somebody.get("/")
    names = {"Worklist", "Reminders", "Protocols", "Audit", "Accounts", "Clinics", "Your account"}
    head = [where for name, where in page.links.items() if name in names]
    assert len(head) >= 3
    for where in head:
        assert somebody.get(where).status == 200
