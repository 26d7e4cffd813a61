"""All pages in a browser: nothing is asked elsewhere, nothing fails, all can read them, and what is printed fits."""

from __future__ import annotations

import io
from typing import Any
from unicodedata import normalize

import pypdf
import pytest

from tests.api.live import Server, server
from tests.web.browser import (
    COLOURS,
    NARROW,
    PEOPLE,
    WIDE,
    Browsing,
    browser,
    chromium,
    inaccessible,
    is_page,
    judged_by_axe,
    likeness,
    overflow,
    violations,
)

__all__ = ["browser", "chromium", "server"]

#: Bytes as transferred, all that the first page needs included.
BUDGET = 150_000


@pytest.fixture(scope="module")
def decided(server: Server) -> list[str]:
    """The patients whose next dose has been decided today, upon a count of today."""
    clinics = {one["id"]: one["time_zone"] for one in server.ask("pharmacist", "GET", "/clinics").json()["items"]}
    found = []
    for shown in server.furnished.patients:
        path = f"/patients/{shown.id}"
        clinic = server.ask("pharmacist", "GET", path).json()["clinic"]
        today = server.today(clinics[clinic]).isoformat()
        count = {"collected_on": today, "value": 90, "unit": "10*9/L", "confirm": ["COUNT-FAR-FROM-LAST"]}
        answer = server.ask("pharmacist", "POST", f"{path}/platelet-counts", count)
        if answer.status_code == 422:
            del count["confirm"]
            server.ask("pharmacist", "POST", f"{path}/platelet-counts", count)
        proposal = server.ask("pharmacist", "GET", f"{path}/next-dose").json()
        if proposal.get("dose"):
            alerts = [one["code"] for one in proposal["alerts"]]
            body = {"decision": "accept", "proposal_sha256": proposal["proposal_sha256"], "acknowledge": alerts}
            answer = server.ask("pharmacist", "POST", f"{path}/decisions", body)
            assert answer.status_code == 201, answer.text
            found.append(shown.id)
    return found


@pytest.fixture(scope="module")
def crowded(server: Server) -> str:
    """A patient whose sheets have as much to say as they can: all sizes of vials, a long comment, two signatures."""
    patient = server.ask(
        "pharmacist",
        "POST",
        "/patients",
        {
            "clinic": server.furnished.clinic,
            "family_name": "Oystercatcher-Sandpiper of the Long Name",
            "given_name": "Archibald Maximilian",
            "born_on": "1960-05-01",
            "identifiers": [{"system": "urn:mrn", "value": "123-456-789-0"}],
        },
    ).json()["id"]
    clinic = server.ask("pharmacist", "GET", "/clinics").json()["items"]
    today = server.today(next(one["time_zone"] for one in clinic if one["id"] == server.furnished.clinic)).isoformat()
    at = f"/patients/{patient}"
    server.ask("pharmacist", "POST", f"{at}/course", {"protocol": "us-itp-adult", "started_on": today})
    server.ask("pharmacist", "POST", f"{at}/weights", {"measured_on": today, "value": 70, "unit": "kg"})
    server.ask("pharmacist", "POST", f"{at}/platelet-counts", {"collected_on": today, "value": 8, "unit": "10*9/L"})
    body = {
        "decision": "override",
        "proposal_sha256": server.ask("pharmacist", "GET", f"{at}/next-dose").json()["proposal_sha256"],
        "micrograms": 875,
        "reason_code": "transfusion-or-rescue",
        "comment": "wide words " * 90,
    }
    answer = server.ask("prescriber", "POST", f"{at}/decisions", body)
    assert answer.status_code == 201, answer.text
    version = answer.json()["version"]
    answer = server.ask("pharmacist", "POST", f"{at}/decisions/1/second-signature", If_Match=f'"{version}"')
    assert answer.status_code == 200, answer.text
    return str(patient)


@pytest.mark.long
@pytest.mark.parametrize("role", [pytest.param(role, id=role or "nobody") for role in (*PEOPLE, None)])
def test_each_page_is_sound_for_each_role(browser: Browsing, decided: list[str], role: str | None) -> None:
    """Those of a patient who is decided upon, as each role sees them; all others see test_every_page.py."""
    wrong: list[str] = []
    with browser.login(role, viewport=NARROW) as (page, seen):
        paths = browser.pages_of(role, decided[0])
        for path in paths:
            answer = page.goto(path)
            page.wait_for_load_state("load")
            if answer is None or answer.status >= 400:
                wrong.append(f"{path}: {answer and answer.status}")
            wrong += [f"{path}: {said}" for said in violations(page)]
            wrong += [f"{path} at {NARROW['width']}: {by} too wide" for by in [overflow(page)] if by > 0]
            page.set_viewport_size(WIDE)
            wrong += [f"{path} at {WIDE['width']}: {by} too wide" for by in [overflow(page)] if by > 0]
            page.set_viewport_size(NARROW)
            wrong += [f"{path}: {said}" for said in seen.complaints]
            seen.complaints.clear()
        elsewhere = [url for url in seen.asked if not url.startswith((f"{browser.url}/", "data:"))]
        assert len(seen.asked) >= len(paths)
    assert not wrong, "\n".join(wrong)
    assert elsewhere == []


@pytest.fixture(scope="module")
def judged() -> set[str]:
    """The pages that have been judged: those that several roles see alike need it once."""
    return set()


@pytest.mark.long
@pytest.mark.parametrize("role", [pytest.param(role, id=role or "nobody") for role in (*PEOPLE, None)])
def test_each_page_is_accessible_to_each_role(
    browser: Browsing, decided: list[str], judged: set[str], role: str | None
) -> None:
    """By axe, in light and in dark; its script may run, and so the policy is off here."""
    wrong: list[str] = []
    with browser.login(role, bypass_csp=True) as (page, _):
        for path in browser.pages_of(role, decided[0]):
            page.emulate_media(color_scheme="light")
            page.goto(path)
            seen_so = likeness(page)
            if not is_page(page) or seen_so in judged:
                continue
            judged.add(seen_so)
            wrong += [f"{path}: {said}" for said in judged_by_axe(page)]
    assert not wrong, "\n".join(wrong)


def test_the_first_page_is_light(browser: Browsing) -> None:
    with browser.login("pharmacist") as (page, seen):
        transferred: list[float] = []
        session = page.context.new_cdp_session(page)
        session.on("Network.loadingFinished", lambda event: transferred.append(event["encodedDataLength"]))
        session.send("Network.enable")
        page.goto("/worklist", wait_until="networkidle")
        assert len(transferred) >= len(seen.asked) >= 3
    assert 10_000 < sum(transferred) < BUDGET


@pytest.mark.parametrize("sheet", ["decisions/1/preparation", "calendar", "letter"])
def test_each_sheet_is_printed_on_one_page_of_a4(
    browser: Browsing, decided: list[str], crowded: str, sheet: str
) -> None:
    wrong: list[Any] = []
    with browser.login("pharmacist") as (page, _):
        for patient in (*decided, crowded):
            answer = page.goto(f"/patients/{patient}/{sheet}")
            assert answer is not None
            assert answer.status == 200
            printed = pypdf.PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True)))
            size = tuple(round(float(length)) for length in printed.pages[0].mediabox[2:])
            if (len(printed.pages), size) != (1, (595, 842)):
                wrong.append((patient, size, [one.extract_text() for one in printed.pages]))
    assert wrong == []
    assert len(decided) > 3


def test_a_sheet_is_printed_as_it_reads(browser: Browsing, crowded: str) -> None:
    """What is not verified keeps its mark on paper; what is for the screen only is not there."""
    with browser.login("technician") as (page, _):
        page.goto(f"/patients/{crowded}/decisions/1/preparation")
        button = page.get_by_role("button", name="Print")
        assert button.is_visible()
        printed = pypdf.PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True))).pages[0].extract_text()
    said = " ".join(normalize("NFKC", printed).split())  # a ligature is its letters
    for one in ("875 micrograms", "1.75 mL", "0.44 mL is computed and not verified", "Checked by", "Second signature"):
        assert one in said, said
    assert "Back to the patient" not in said
    assert "Log out" not in said


def test_a_sheet_has_no_use_for_a_script(browser: Browsing, crowded: str) -> None:
    with browser.login("technician", java_script_enabled=False) as (page, _):
        page.goto(f"/patients/{crowded}/decisions/1/preparation")
        assert page.get_by_text("1.75 mL", exact=True).is_visible()
        assert not page.locator("[data-print]").is_visible()  # it would do nothing
        printed = pypdf.PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True)))
    assert len(printed.pages) == 1


def test_a_page_that_nobody_looks_at_signs_nothing(browser: Browsing, decided: list[str]) -> None:
    """It sends what was filled in, while somebody may still be at work in another tab, in the same session."""
    with browser.login("pharmacist") as (page, _seen):
        page.clock.install()
        page.goto(f"/patients/{decided[0]}/weights/new")
        page.get_by_label("Weight").first.fill("7")
        with page.expect_navigation():
            page.clock.fast_forward("30:03")
        assert "This has not been recorded yet" in page.inner_text("main")
        assert page.get_by_label("Weight").first.input_value() == "7"


def test_what_is_wrong_would_be_seen(browser: Browsing) -> None:
    """Each judge of the tests above, upon a page that is made wrong."""
    with browser.login(None) as (page, seen):
        page.goto("/login")
        assert (violations(page), seen.complaints, overflow(page)) == ([], [], 0)
        page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://elsewhere.invalid/x.png'}))")
        page.evaluate("document.querySelector('main').style.width = '5000px'")
        page.wait_for_function("window.violations.length > 0")
        assert violations(page) == ["img-src http://elsewhere.invalid/x.png"]
        assert seen.complaints
        assert overflow(page) > 1000
    with browser.login(None, bypass_csp=True, color_scheme="dark") as (page, _):
        page.goto("/login")
        page.evaluate("document.querySelectorAll('main label').forEach((label) => label.remove())")
        page.evaluate("document.querySelector('h1').style.color = '#333'")
        assert {one.partition(":")[0] for one in inaccessible(page)} == {"label", "color-contrast"}
        assert {one.partition(":")[0] for one in inaccessible(page, COLOURS)} == {"color-contrast"}
