"""A clinic morning in a browser: all twelve patients of the demonstration, by those who see to them; what goes wrong.

The demonstration is of a week ago. What the store has at the end is just what was clicked.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final
from unicodedata import normalize

import pypdf
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.api.live import Server, server
from tests.web.browser import NARROW, Browsing, browser, chromium
from tests.web.desk import Desk
from titrator.security.permissions import Role
from titrator.security.secrets import sha256
from titrator.store.base import Where
from titrator.store.records import Account, Decision, Fact, Token, Waiting
from titrator.web.frame import COOKIE
from titrator.workflow.visit import instant

__all__ = ["browser", "chromium", "server"]

WEEK: Final = timedelta(days=7)
#: What was given a week ago and has not been marked yet: by patient, in micrograms.
GIVEN_LAST_WEEK: Final = {"Avocet": "500", "Knot": "120", "Suzume": "100", "Wren": "135", "Siskin": "70"}
#: The counts of this morning. Toki's laboratory counts per microlitre.
COUNTED: Final = {
    "Dunlin": "61",
    "Plover": "91",
    "Wren": "46",
    "Toki": "120000",
    "Suzume": "97",
    "Knot": "85",
    "Siskin": "24",
    "Heron": "260",
    "Curlew": "150",
    "Swift": "430",
}
PER_MICROLITRE: Final = "per microlitre"
#: Decided by whom, and what comes of it: kind, state, micrograms.
DECIDED: Final = {
    "Dunlin": [("accept", "delivered", 135, "pharmacist", None)],
    "Plover": [("refer", "superseded", None, "pharmacist", None), ("accept", "delivered", 150, "prescriber", None)],
    "Wren": [("accept", "delivered", 160, "pharmacist", None)],
    "Toki": [("accept", "delivered", 155, "pharmacist", None)],
    "Suzume": [("accept", "delivered", 100, "pharmacist", None)],
    "Knot": [("accept", "delivered", 120, "pharmacist", None)],
    "Avocet": [("accept", "delivered", 500, "pharmacist", None)],
    "Siskin": [("accept", "delivered", 140, "pharmacist", None)],
    "Heron": [
        ("refer", "superseded", None, "pharmacist", None),
        ("override", "delivered", 80, "prescriber", "pharmacist"),
        ("accept", "in-force", None, "pharmacist", None),
    ],
    "Curlew": [("override", "delivered", 85, "pharmacist", None)],
    "Swift": [("accept", "in-force", None, "pharmacist", None)],
}
#: The doses given today, in micrograms.
GIVEN: Final = {
    family: str(micrograms)
    for family, of in DECIDED.items()
    for _, status, micrograms, *_ in of
    if status == "delivered"
}


# The morning


@pytest.mark.long
def test_a_morning_of_twelve_patients(browser: Browsing) -> None:
    """From the counts that are due to the last dose given, by three people, until nothing waits."""
    with (
        browser.login("technician") as (technician, _),
        browser.login("pharmacist") as (pharmacist, _),
        browser.login("prescriber") as (prescriber, _),
    ):
        _counts_and_weights(Desk(technician))
        _pharmacist_decides(Desk(pharmacist))
        _prescriber_answers(Desk(prescriber))
        _second_signature(Desk(pharmacist))
        _doses_are_given(Desk(technician))
        _the_hold_goes_on(Desk(pharmacist))
        for page in (technician, pharmacist, prescriber):
            Desk(page).worklist()
            for family in _ids(browser.server):
                expect(Desk(page).line(family)).to_have_count(0)
    recorded, decided = _stored(browser.server)
    assert recorded == _clicked()
    assert decided == DECIDED
    assert _waiting(browser.server) == []


def _counts_and_weights(desk: Desk) -> None:
    """The technician marks the doses of a week ago, and enters what was measured today."""
    desk.page.goto("/worklist")
    expect(desk.line("Suzume")).to_contain_text("Count overdue")
    for family, micrograms in GIVEN_LAST_WEEK.items():
        desk.open(family)
        day = date.fromisoformat(desk.panel("Dose given").get_by_label("Given on").input_value()) - WEEK
        desk.record("Dose given", Dose_given=micrograms, Given_on=day.isoformat())
    desk.open("Wren")
    desk.record("Weight", Weight="23.1")
    for family, count in COUNTED.items():
        desk.open(family)
        desk.record("Platelet count", Platelet_count=count, **({"Unit": PER_MICROLITRE} if family == "Toki" else {}))
    desk.look_up("Petrel")  # nothing is due of one who has had the single dose
    expect(desk.card).to_contain_text("Complete")


def _pharmacist_decides(desk: Desk) -> None:
    """What is urgent first; then what stays as it is, all at once; then the others, one by one."""
    desk.page.goto("/worklist")
    expect(desk.line("Dunlin")).to_contain_text("Value to verify")
    desk.open("Dunlin")
    desk.page.get_by_role("link", name="Look at it").click()
    desk.follow("Verify", "It is right", Reason="The laboratory has counted it again.")
    desk.accept()
    desk.open("Swift")
    desk.page.get_by_role("link", name="Course", exact=True).click()
    desk.follow("Go on", "Go on", Reason="Back from the journey.")
    desk.open("Swift")
    expect(desk.card).to_contain_text("Hold")
    desk.accept()
    desk.open("Plover")
    expect(desk.card).to_contain_text("Not resolved: thrombosis")
    _refer(desk, "Adverse event", "Thrombosis ten days ago: may it go on?")
    desk.open("Heron")
    _refer(desk, "Planned procedure", "Tooth extraction on Thursday: bridge it with the lowest dose?")
    _sign_together(desk, ("Avocet", "Knot", "Suzume"))
    desk.open("Siskin")  # the first dose of all was given before anybody had signed it here
    desk.follow("Say why", "Write it down", Reason="Signed on paper.")
    for family in ("Siskin", "Wren"):
        desk.open(family)
        expect(desk.card).to_contain_text("Increase")
        desk.accept()
    _accept_with_alerts(desk)
    desk.open("Curlew")
    desk.follow(
        "Override …",
        "Override and sign",
        asked=True,
        Give="a dose in micrograms/kg",
        Amount="1",
        Reason="Clinical judgement",
        Comment="Rose to 450 at 3 micrograms/kg: begin lower.",
    )
    expect(desk.said).to_contain_text("Overridden: in force; 85 micrograms")


def _refer(desk: Desk, reason: str, comment: str) -> None:
    desk.follow("Refer …", "Refer", Reason=reason, What_the_prescriber_should_look_at=comment)
    expect(desk.said).to_contain_text("Referred: with a prescriber")


def _sign_together(desk: Desk, families: tuple[str, ...]) -> None:
    """Only what stays as it is can be ticked; each is shown once more, and signed on its own."""
    desk.worklist()
    for family in families:
        desk.page.get_by_label(f"Sign for {family}").check()
    expect(desk.page.locator("[name=chosen]")).to_have_count(len(families))
    desk.page.get_by_role("button", name="Check and sign what is ticked").click()
    for family in families:
        expect(desk.page.get_by_role("rowheader", name=f"{family}, ")).to_be_visible()
    desk.page.get_by_role("button", name=f"Sign {len(families)} proposals as pharmacist").click()
    expect(desk.page.get_by_role("heading", name=f"{len(families)} proposals signed")).to_be_visible()


def _accept_with_alerts(desk: Desk) -> None:
    """An alert that is not ticked is not passed over."""
    desk.open("Toki")
    expect(desk.card).to_contain_text("DOSE-MISSED")
    desk.page.get_by_role("button", name=re.compile("^Accept and sign")).click()
    expect(desk.warned).to_contain_text("the alert DOSE-MISSED is not acknowledged")
    expect(desk.identity).to_be_in_viewport(ratio=1)
    sign = desk.page.get_by_role("button", name="Sign as pharmacist")
    desk.tick_alerts(sign)
    sign.click()
    expect(desk.said).to_contain_text("Accepted: in force; 155 micrograms")


def _prescriber_answers(desk: Desk) -> None:
    """What was referred: the thrombosis is over, so the dose goes on; the hold is bridged, which takes two."""
    desk.page.goto("/worklist?task=referred")
    expect(desk.page.locator("[data-line]")).to_have_count(2)
    desk.page.get_by_role("link", name=re.compile("^Plover, ")).click()
    desk.page.get_by_role("link", name=re.compile("^Adverse event|^Thrombosis")).first.click()
    desk.follow("Resolved", "It is over", Reason="Superficial, gone by ultrasound.")
    expect(desk.card).to_contain_text("Maintain")
    desk.accept()
    desk.open("Heron")
    desk.follow(
        "Override …",
        "Override and sign",
        asked=True,
        Give="a dose in micrograms",
        Amount="80",
        Reason="Planned procedure",
        Comment="Bridge the extraction, count again on Wednesday.",
    )
    expect(desk.said).to_contain_text("Overridden: awaits a second signature; 80 micrograms")
    expect(desk.page.get_by_role("link", name="Second signature")).to_have_count(0)  # not the same person twice


def _second_signature(desk: Desk) -> None:
    desk.page.goto("/worklist?task=awaiting-second")
    desk.page.get_by_role("link", name=re.compile("^Heron, ")).click()
    desk.follow("Second signature", "Agree and sign as pharmacist")
    expect(desk.said).to_contain_text("Overridden: in force; 80 micrograms")


def _doses_are_given(desk: Desk) -> None:
    """What is due is on the worklist of the technician, and nothing else."""
    desk.page.goto("/worklist?task=dose-due")
    expect(desk.page.locator("[data-line]")).to_have_count(len(GIVEN))
    for family, micrograms in GIVEN.items():
        desk.open(family)
        expect(desk.page.get_by_role("region", name=re.compile("(Accepted|Overridden)"))).to_contain_text(micrograms)
        desk.record("Dose given", Dose_given=micrograms)


def _the_hold_goes_on(desk: Desk) -> None:
    """What was bridged is proposed to be held all the same: the last that waits."""
    desk.open("Heron")
    expect(desk.card).to_contain_text("Hold")
    desk.accept()


# What is stored


def _ids(server: Server) -> dict[str, str]:
    return {shown.name.partition(",")[0]: shown.id for shown in server.furnished.patients}


def _find(server: Server, record: type[Any], *where: Where) -> list[Any]:
    with server.services.store.reading() as session:
        return list(session.find(record, *where))


def _roles(server: Server) -> dict[str | None, str]:
    return {one.id: one.role for one in _find(server, Account)}


def _stored(server: Server) -> tuple[list[Any], dict[str, Any]]:
    """What was recorded since the server started, and all decisions, of the twelve."""
    families = {ident: family for family, ident in _ids(server).items()}
    roles = _roles(server)
    facts = [one for one in _find(server, Fact) if one.patient_id in families]
    recorded = [
        (families[one.patient_id], one.kind, one.change, str(one.value), roles[one.recorded_by])
        for one in facts
        if one.recorded_at >= instant(server.now)
    ]
    decided: dict[str, Any] = {}
    for one in sorted(_find(server, Decision, Where("current", "=", 1)), key=lambda one: one.id):
        if one.patient_id in families:
            whole = None if one.micrograms is None else int(one.micrograms)
            said = one.kind, one.status, whole, roles[one.signed_by], roles.get(one.second_by)
            decided.setdefault(families[one.patient_id], []).append(said)
    return sorted(recorded), decided


def _clicked() -> list[Any]:
    return sorted(
        [
            *((family, "dose", "record", value, "technician") for family, value in GIVEN_LAST_WEEK.items()),
            *((family, "platelet-count", "record", value, "technician") for family, value in COUNTED.items()),
            *((family, "dose", "record", value, "technician") for family, value in GIVEN.items()),
            ("Wren", "weight", "record", "23.1", "technician"),
            ("Dunlin", "platelet-count", "verify", "5.2", "pharmacist"),
            ("Plover", "event", "resolve", "None", "prescriber"),
        ]
    )


def _waiting(server: Server) -> list[str]:
    ids = _ids(server).values()
    return [one.line for one in _find(server, Waiting) if one.patient_id in ids]


# What goes wrong on the way


@pytest.fixture(scope="module")
def admit(server: Server) -> Callable[[str], str]:
    """Makes a patient on a course, who was given 150 micrograms a week ago; today's count keeps the dose."""
    clinics = server.ask("pharmacist", "GET", "/clinics").json()["items"]
    today = server.today(next(one["time_zone"] for one in clinics if one["id"] == server.furnished.clinic))
    about = {"clinic": server.furnished.clinic, "given_name": "Sent", "born_on": "1970-01-01", "identifiers": []}

    def make(family: str) -> str:
        patient = server.ask("pharmacist", "POST", "/patients", about | {"family_name": family}).json()["id"]
        weeks = [(today - WEEK * ago).isoformat() for ago in (2, 1, 0)]
        entries: list[tuple[str, dict[str, object]]] = [
            ("course", {"protocol": "us-itp-adult", "started_on": weeks[0]}),
            ("weights", {"measured_on": weeks[0], "value": 75, "unit": "kg"}),
            *(
                ("platelet-counts", {"collected_on": day, "value": value, "unit": "10*9/L"})
                for day, value in zip(weeks, (40, 60, 80), strict=True)
            ),
            *(("doses", {"given_on": day, "micrograms": 150}) for day in weeks[:2]),
        ]
        for where, body in entries:
            answer = server.ask("pharmacist", "POST", f"/patients/{patient}/{where}", body)
            assert answer.status_code == 201, answer.text
        for day in weeks[:2]:
            path = f"/patients/{patient}/dose-mismatches/{day}/reason"
            server.ask("pharmacist", "POST", path, {"reason": "Given elsewhere."})
        return str(patient)

    return make


def _of(server: Server, record: type[Any], patient: str) -> list[Any]:
    return _find(server, record, Where("patient_id", "=", patient), Where("current", "=", 1))


def _accept_button(page: Page) -> Locator:
    return page.get_by_role("button", name=re.compile("^Accept and sign"))


def test_a_tab_that_went_stale_signs_nothing(browser: Browsing, admit: Callable[[str], str]) -> None:
    patient = admit("Stale")
    with browser.login("pharmacist") as (page, _):
        page.goto(f"/patients/{patient}")
        expect(Desk(page).card).to_contain_text("150 micrograms")
        other = page.context.new_page()
        other.goto(f"/patients/{patient}")
        Desk(other).record("Platelet count", Platelet_count="30")
        _accept_button(page).click()
        expect(page.locator(".alert-danger")).to_contain_text(["Not done", "The proposal has changed"])
        expect(Desk(page).card).to_contain_text("225 micrograms")
        assert _of(browser.server, Decision, patient) == []
        page.get_by_role("button", name="Sign as pharmacist").click()  # having looked at it
        expect(Desk(page).said).to_contain_text("Accepted: in force; 225 micrograms")
    assert [one.micrograms for one in _of(browser.server, Decision, patient)] == [225]


@pytest.mark.long
def test_two_sign_at_once(browser: Browsing, admit: Callable[[str], str]) -> None:
    """One of them has signed, and the other is told."""
    patient = admit("Twice")
    with browser.login("pharmacist") as (one, _), browser.login("prescriber") as (other, _):
        for page in (one, other):
            page.goto(f"/patients/{patient}")
            expect(_accept_button(page)).to_be_visible()
        for page in (one, other):
            page.evaluate("setTimeout(() => document.querySelector('[data-sign]').click(), 0)")
        for page in (one, other):
            expect(page.locator(".alert-success, .alert-danger")).to_be_visible()
        told = sorted(_plain(page.locator(".alert-success, .alert-danger").inner_text()) for page in (one, other))
    assert told[0].startswith("Accepted: in force; 150 micrograms")
    assert "That proposal has been accepted already" in told[1]
    assert len(_of(browser.server, Decision, patient)) == 1


@pytest.mark.long
def test_two_correct_the_same_at_once(browser: Browsing, admit: Callable[[str], str]) -> None:
    """The second is told, and keeps what was filled in."""
    patient = admit("Both")
    count = max(one.id for one in _of(browser.server, Fact, patient) if one.kind == "platelet-count")
    path = f"/patients/{patient}/platelet-counts/{count}/correction/platelet-count"
    with browser.login("technician") as (one, _), browser.login("pharmacist") as (other, _):
        for page, value in ((one, "81"), (other, "82")):
            page.goto(path)
            page.get_by_label("Platelet count").fill(value)
            page.get_by_label("Reason").fill("Misread.")
        for page in (one, other):
            page.get_by_role("button", name="Correct").click()
            expect(page.locator(".alert-success, .alert-danger")).to_be_visible()
        expect(Desk(one).said).to_contain_text("Corrected: ")
        expect(Desk(other).warned).to_contain_text("Nothing has been recorded")
        expect(other.get_by_label("Platelet count")).to_have_value("82")
    found = [one.value for one in _of(browser.server, Fact, patient) if one.id == count]
    assert found == [Decimal(81)]


_FOCUS: Final = """() => {
  const one = document.activeElement, box = one.getBoundingClientRect(), style = getComputedStyle(one);
  const there = document.elementFromPoint(box.x + Math.min(box.width, 40) / 2, box.y + box.height / 2);
  return {
    ringed: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0 || style.boxShadow !== 'none',
    seen: there !== null && (one.contains(there) || there.contains(one)),
    what: one.outerHTML.slice(0, 120),
    name: one.innerText || one.name || one.getAttribute('aria-label') || '',
  };
}"""


def _tab_to(page: Page, name: str) -> None:
    """Press the tabulator until what is wanted has the focus, which all the way can be seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focus = page.evaluate(_FOCUS)
        assert focus["ringed"], focus
        assert focus["seen"], focus
        if focus["name"].strip().startswith(name):
            return
    raise AssertionError(f"{name} is not reached")


def test_by_keyboard_only(browser: Browsing, admit: Callable[[str], str]) -> None:
    """From the login to two signatures: one of several ticked, one with the patient in view."""
    both = admit("Keysone"), admit("Keystwo")
    login = browser.login_of("pharmacist")
    with browser.login(None, viewport={"width": 1024, "height": 500}) as (page, _):
        page.goto("/login")
        page.keyboard.type(login.username)
        _tab_to(page, "password")
        page.keyboard.type(login.password or "")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Worklist", exact=True)).to_be_visible()
        _search_by_keyboard(page, "Keys")
        first, second = page.locator("[data-line] a").all_inner_texts()
        for key, to in (("j", first), ("j", second), ("k", first)):
            _press(page, key, to)
        page.keyboard.press("x")
        expect(page.get_by_label(re.compile("^Sign for")).first).to_be_checked()
        _press(page, "s", "Check and sign what is ticked")
        page.keyboard.press("Enter")
        expect(page.get_by_role("rowheader", name=first)).to_be_in_viewport()
        _tab_to(page, "Sign 1 proposal")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="1 proposal signed")).to_be_visible()
        _tab_to(page, "Back to the worklist")
        page.keyboard.press("Enter")
        _search_by_keyboard(page, second.partition(",")[0])
        _press(page, "j", second)
        page.keyboard.press("Enter")
        Desk(page).sees(second.partition(",")[0])
        _tab_to(page, "Accept and sign")
        expect(Desk(page).identity).to_be_in_viewport(ratio=1)
        page.keyboard.press("Enter")
        expect(Desk(page).said).to_contain_text("Accepted: in force; 150 micrograms")
    for patient in both:
        assert [one.status for one in _of(browser.server, Decision, patient)] == ["in-force"]


def _search_by_keyboard(page: Page, text: str) -> None:
    expect(page.locator("[data-line]").first).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_label("Name or number")).to_be_focused()
    page.keyboard.type(text)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**text={text}*")


def _press(page: Page, key: str, to: str) -> None:
    """Press a key that leads to what begins so; it can be seen."""
    page.keyboard.press(key)
    page.wait_for_function("(to) => (document.activeElement.innerText || '').startsWith(to)", arg=to)
    focus = page.evaluate(_FOCUS)
    assert focus["ringed"], focus
    assert focus["seen"], focus


def test_without_a_script(browser: Browsing, admit: Callable[[str], str]) -> None:
    """The same way: log in, record, look, sign several, sign one."""
    ticked, opened = admit("Plainone"), admit("Plaintwo")
    with browser.login(None, java_script_enabled=False) as (page, _):
        browser.come_in(page, "pharmacist")
        desk = Desk(page)
        page.get_by_label("Name or number").fill("Plain")
        page.get_by_role("button", name="Show").click()
        expect(page.locator("[data-line]")).to_have_count(2)
        page.get_by_label("Sign for Plainone").check()
        page.get_by_role("button", name="Check and sign what is ticked").click()
        page.get_by_role("button", name="Sign 1 proposal").click()
        expect(page.get_by_role("heading", name="1 proposal signed")).to_be_visible()
        page.get_by_role("link", name="Back to the worklist").click()
        desk.open("Plaintwo")
        panel = page.locator("details.entry").first
        panel.get_by_label("Platelet count").fill("30")
        panel.get_by_role("button", name="Record").click()
        expect(desk.said).to_contain_text("Recorded: ")
        expect(desk.card).to_contain_text("225 micrograms")
        _accept_button(page).click()
        expect(desk.said).to_contain_text("Accepted: in force; 225 micrograms")
    assert [[int(one.micrograms) for one in _of(browser.server, Decision, who)] for who in (ticked, opened)] == [
        [150],
        [225],
    ]


def test_a_tenfold_count_is_asked_about_twice(browser: Browsing, admit: Callable[[str], str]) -> None:
    """Whether it is right, and then once more for the value; nothing is recorded before."""
    patient = admit("Tenfold")
    before = len(_of(browser.server, Fact, patient))
    with browser.login("technician") as (page, _):
        desk = Desk(page)
        page.goto(f"/patients/{patient}")
        desk.send("Platelet count", Platelet_count="800")
        send = page.get_by_role("button", name="Record")
        expect(desk.warned).to_contain_text(["It has not been recorded yet"])
        send.click()  # as if nothing had been asked
        expect(desk.warned.last).to_contain_text("It has not been recorded yet")
        page.get_by_label("Yes, it is right.").check()
        page.get_by_label("The same value once more").fill("80")
        send.click()
        expect(desk.warned.first).to_contain_text("must be the same value, typed once more")
        assert len(_of(browser.server, Fact, patient)) == before
        page.get_by_label("The same value once more").fill("800")
        send.click()
        expect(desk.said).to_contain_text("Recorded: ")
    assert len(_of(browser.server, Fact, patient)) == before + 1


@pytest.mark.long
def test_a_form_that_was_sent_too_late_is_given_back(browser: Browsing, admit: Callable[[str], str]) -> None:
    """To whom it belongs, as it was filled in, and to nobody else."""
    patient = admit("Late")
    comment = "Bleeds from the gums; \u201ctwo\u201d steps & more"
    with browser.login(None) as (page, _):
        browser.come_in(page, "pharmacist")
        page.goto(f"/patients/{patient}/override")
        for label, value in (("Give", "a dose in micrograms/kg"), ("Amount", "3"), ("Reason", "Bleeding")):
            Desk.fill(page.get_by_label(label), value)
        page.get_by_label("Comment").fill(comment)
        _end_session(browser.server, page)
        page.get_by_role("button", name="Override and sign").click()
        expect(Desk(page).warned).to_contain_text("you get back what you had filled in")
        browser.fill_in_login(page, "pharmacist")
        page.get_by_role("button", name="Back to your form").click()
        expect(Desk(page).warned).to_contain_text("This has not been recorded yet")
        expect(page.get_by_label("Comment")).to_have_value(comment)
        expect(page.get_by_label("Amount")).to_have_value("3")
        assert _of(browser.server, Decision, patient) == []
        page.get_by_role("button", name="Override and sign").click()
        Desk(page).confirm("Override and sign")
        expect(Desk(page).said).to_contain_text("Overridden: in force; 225 micrograms")
        page.goto(f"/patients/{patient}/decisions/1/withdrawal")
        page.get_by_label("Reason").fill("Not to be seen by others.")
        _end_session(browser.server, page)
        page.get_by_role("button", name="Withdraw").click()
        expect(Desk(page).warned).to_be_visible()
        browser.fill_in_login(page, "technician")
        expect(page.get_by_role("heading", name="Worklist", exact=True)).to_be_visible()
        assert "Not to be seen" not in page.content()
    assert [(one.status, one.comment) for one in _of(browser.server, Decision, patient)] == [("in-force", comment)]


def _end_session(server: Server, page: Page) -> None:
    secret = next(one["value"] for one in page.context.cookies() if one["name"] == COOKIE)
    with server.services.store.writing() as session:
        token = session.get(Token, sha256(secret))
        assert token is not None
        session.change(replace(token, revoked_at=instant(server.now)))


@pytest.mark.long
def test_the_page_of_a_patient_is_printed_with_its_card(browser: Browsing) -> None:
    """The proposal with its reasons and the chart are on paper, and no button is."""
    case = browser.server.furnished.case_patient
    proposed = browser.server.ask("pharmacist", "GET", f"/patients/{case}/next-dose").json()
    with browser.login("pharmacist") as (page, _):
        page.goto(f"/patients/{case}", wait_until="load")
        printed = pypdf.PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True)))
    first, *more = (_plain(one.extract_text()) for one in printed.pages)
    assert "Avocet, Carina" in first
    assert "Next dose: " in first
    for reason in proposed["reasons"]:
        for part in re.split(r"\d{4}-\d\d-\d\d", reason["text"]):  # days are said in words
            assert _plain(part) in first
    for said in ("Accept and sign", "Override", "Log out", "Record"):
        assert said not in first
    assert "weeks since first dose" in " ".join((first, *more))


def _plain(text: str) -> str:
    """A text with its blanks, breaks and ligatures made the same."""
    return " ".join(normalize("NFKC", text).split())


#: The pages in the head, by role.
NAVIGATION: Final = {
    Role.TECHNICIAN: ["Worklist", "Patients", "Results", "Reminders", "Protocols"],
    Role.PHARMACIST: ["Worklist", "Patients", "Results", "Reminders", "Protocols"],
    Role.PRESCRIBER: ["Worklist", "Patients", "Results", "Reminders", "Protocols"],
    Role.AUDITOR: ["Protocols", "Audit"],
    Role.ADMIN: ["Protocols", "Accounts", "Clinics"],
}


@pytest.mark.long
@pytest.mark.parametrize("role", NAVIGATION)
def test_each_role_has_its_pages(browser: Browsing, role: Role) -> None:
    """Each link of the head and of the menu leads to a page, on a telephone, too."""
    with browser.login(str(role), viewport=NARROW) as (page, _):
        page.goto("/")
        links = page.get_by_role("navigation", name="Pages", exact=True).get_by_role("link")
        assert links.all_inner_texts() == NAVIGATION[role]
        menu = page.locator(".menu-body a")
        paths = [one.get_attribute("href") or "" for one in (*links.all(), *menu.all())]
        answers = {path: page.goto(path) for path in dict.fromkeys(paths)}
        assert {path: answer and answer.status for path, answer in answers.items()} == dict.fromkeys(paths, 200)
