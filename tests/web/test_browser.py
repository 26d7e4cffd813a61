"""All pages in a browser: nothing is asked elsewhere, nothing fails, all can read them, and what is printed fits."""

from __future__ import annotations

import io
from typing import Any

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
    inaccessible,
    overflow,
    violations,
)

__all__ = ["browser", "server"]

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


@pytest.mark.parametrize("role", [*PEOPLE, None], ids=[*PEOPLE, "nobody"])
def test_each_page_is_sound(browser: Browsing, decided: list[str], role: str | None) -> None:
    """No error, no request elsewhere, no breach of its policy, nothing to scroll for sideways."""
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
    assert (wrong, elsewhere) == ([], [])


@pytest.mark.parametrize("role", [*PEOPLE, None], ids=[*PEOPLE, "nobody"])
def test_each_page_is_accessible(browser: Browsing, decided: list[str], role: str | None) -> None:
    """By axe, in light and in dark; its script may run, and so the policy is off here."""
    wrong: list[str] = []
    with browser.login(role, bypass_csp=True) as (page, _):
        for path in browser.pages_of(role, decided[0]):
            page.emulate_media(color_scheme="light")
            page.goto(path)
            wrong += [f"{path}: {said}" for said in inaccessible(page)]
            page.emulate_media(color_scheme="dark")
            wrong += [f"{path} in dark: {said}" for said in inaccessible(page, COLOURS)]
    assert wrong == []


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
def test_each_sheet_is_printed_on_one_page_of_a4(browser: Browsing, decided: list[str], sheet: str) -> None:
    wrong: list[Any] = []
    with browser.login("pharmacist") as (page, _):
        for patient in decided:
            answer = page.goto(f"/patients/{patient}/{sheet}")
            assert answer is not None
            assert answer.status == 200
            printed = pypdf.PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True)))
            size = tuple(round(float(length)) for length in printed.pages[0].mediabox[2:])
            wrong += [(patient, len(printed.pages), size)] if (len(printed.pages), size) != (1, (595, 842)) else []
    assert wrong == []
    assert decided
