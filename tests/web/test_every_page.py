"""Every page there is, and every form on them, in a browser: sound, readable by all, and plain about bad input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, ElementHandle, Page

from tests.api.deciding import dosed
from tests.api.support import House, build
from tests.web.addresses import Address, addresses, served
from tests.web.browser import (
    NARROW,
    WATCH,
    WIDE,
    Seen,
    chromium,
    is_page,
    judged_by_axe,
    overflow,
    violations,
)
from tests.web.support import Person
from titrator.store.records import Patient
from titrator.web.frame import COOKIE
from titrator.workflow import accounts

__all__ = ["chromium"]

pytestmark = pytest.mark.slow

#: What is filled into a field, by what it is for: none of it can be taken.
BAD: Final = {"date": "2026-02-30", "decimal": "12,5", "text": "x" * 4001, "password": "short"}
#: What of an installation a refused form must leave as it was.
RECORDED: Final = "facts", "courses", "decisions", "identifiers", "contacts", "clinics"
#: Forms in the content that something can be filled into, by what the page sends with them.
FORMS: Final = """() => [...document.querySelectorAll('main form')].filter(
  (form) => [...form.elements].some((one) => one.matches('input:not([type=hidden]), select, textarea')))"""


@dataclass
class Everywhere:
    """An installation with all pages there are, and the browser in front of it."""

    house: House
    addresses: dict[str, Address]
    chromium: Browser
    url: str
    cookies: dict[str, str]

    @contextmanager
    def by_role(self, **options: Any) -> Iterator[Iterator[tuple[Address, Page, Seen]]]:
        """Each address, with a page of a browser in which its role has come in."""
        contexts = {}
        for role in {address.role for address in self.addresses.values()}:
            contexts[role] = self.chromium.new_context(
                base_url=self.url, locale="en-GB", reduced_motion="reduce", **options
            )
            if role is not None:
                contexts[role].add_cookies([{"name": COOKIE, "value": self.cookies[role], "url": self.url}])
            contexts[role].add_init_script(WATCH)
        pages = {role: context.new_page() for role, context in contexts.items()}
        seen = {role: Seen() for role in pages}
        for role, page in pages.items():
            seen[role].watch(page)
        yield ((one, pages[one.role], seen[one.role]) for one in self.addresses.values())
        for context in contexts.values():
            context.close()


@pytest.fixture(scope="module")
def everywhere(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everywhere]:
    house = build(tmp_path_factory.mktemp("house"))
    found = addresses(house)
    cookies = {}
    for role in {address.role for address in found.values() if address.role is not None}:
        cookie = Person(house, role).client.get_cookie(COOKIE)
        assert cookie is not None
        cookies[role] = cookie.value
    with served(house) as url:
        yield Everywhere(house, found, chromium, url, cookies)


def test_each_page_is_sound(everywhere: Everywhere) -> None:
    """No error, no request elsewhere, no breach of its policy, nothing to scroll for sideways."""
    wrong: list[str] = []
    asked: list[str] = []
    with everywhere.by_role(viewport=NARROW) as pages:
        for (path, role), page, seen in pages:
            answer = page.goto(path, wait_until="load")
            said = [f"it answers {answer and answer.status}"] if answer is None or answer.status != 200 else []
            said += violations(page)
            for size in (WIDE, NARROW):
                page.set_viewport_size(size)
                said += [f"at {size['width']} pixels {by} too wide" for by in [overflow(page)] if by > 0]
            wrong += [f"{role} at {path}: {one}" for one in (*said, *seen.complaints)]
            seen.complaints.clear()
            asked += seen.asked
            seen.asked.clear()
    assert not wrong, "\n".join(wrong)
    assert len(asked) > len(everywhere.addresses) > 70
    assert [url for url in asked if not url.startswith((f"{everywhere.url}/", "data:"))] == []


def test_each_page_is_accessible(everywhere: Everywhere) -> None:
    """By axe, in light and in dark; its script may run, and so the policy is off here."""
    wrong: list[str] = []
    judged = 0
    with everywhere.by_role(bypass_csp=True) as pages:
        for (path, role), page, _ in pages:
            page.emulate_media(color_scheme="light")
            page.goto(path)
            if is_page(page):
                wrong += [f"{role} at {path}: {said}" for said in judged_by_axe(page)]
                judged += 1
    assert not wrong, "\n".join(wrong)
    assert judged > 70


def test_each_form_says_what_is_wrong_with_it(everywhere: Everywhere) -> None:
    """At its head and beside each field; what was filled in is still there, and nothing has been recorded."""
    wrong: list[str] = []
    refused = 0
    before = recorded(everywhere.house)
    with everywhere.by_role(bypass_csp=True) as pages:
        for (path, role), page, _ in pages:
            page.goto(path)
            for place in range(len(forms(page)) if is_page(page) else 0):
                if place:
                    page.goto(path)
                form = forms(page)[place]
                filled = fill_badly(form)
                if not filled:
                    continue
                status = send(page, form)
                if path == "/login" and status == 401:  # where nobody is told which of the two was wrong
                    told = page.inner_text("main [role=alert]")
                    said = [] if "Wrong name or password" in told else [told]
                else:
                    said = [f"it answers {status}"] if status != 422 else how_refused(page, filled)
                said += judged_by_axe(page)
                wrong += [f"{role} at {path}, form {place}: {one}" for one in said]
                refused += 1
    assert not wrong, "\n".join(wrong)
    assert refused > 40
    assert recorded(everywhere.house) == before


@pytest.fixture
def readable(everywhere: Everywhere) -> Iterator[Readable]:
    made = Readable(everywhere)
    yield made
    for context in made.contexts:
        context.close()


@dataclass
class Readable:
    """Pages that only a form leads to, judged as they come."""

    everywhere: Everywhere
    contexts: list[BrowserContext] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def opened(self, role: str) -> Page:
        """A page of a role."""
        context = self.everywhere.chromium.new_context(
            base_url=self.everywhere.url, bypass_csp=True, reduced_motion="reduce"
        )
        self.contexts.append(context)
        self.come_in(context, self.everywhere.cookies[role])
        return context.new_page()

    def come_in(self, context: BrowserContext, secret: str) -> None:
        """Go on in a session."""
        context.add_cookies([{"name": COOKIE, "value": secret, "url": self.everywhere.url}])

    def judge(self, page: Page, what: str, *tells: str) -> None:
        """Judge a page that tells something."""
        for text in tells:
            assert text in page.inner_text("main"), (what, page.inner_text("main"))
        self.wrong += [f"{what}: {said}" for said in judged_by_axe(page)]


def test_secrets_that_are_shown_once_are_accessible(everywhere: Everywhere, readable: Readable) -> None:
    page = readable.opened("admin")
    page.goto(everywhere.addresses["web.staff.issue_token"].path)
    page.locator("main [name=label]").fill("A script")
    page.locator("main [name=days]").fill("30")
    send(page, forms(page)[0])
    readable.judge(page, "a token, shown once", "shown this once")
    page.goto(everywhere.addresses["web.staff.invite"].path)
    send(page, page.query_selector_all("main form")[0])
    readable.judge(page, "a link, shown once", "once")

    assert not readable.wrong, "\n".join(readable.wrong)


def test_what_a_form_leads_to_is_accessible(everywhere: Everywhere, readable: Readable) -> None:
    """A question, several to sign, what is not there, the login that gives a form back."""
    page = readable.opened("prescriber")
    page.goto(everywhere.addresses["web.decide.override"].path)
    page.locator("main [name=what]").select_option("micrograms")
    page.locator("main [name=amount]").fill("700")
    page.locator("main [name=reason_code]").select_option("clinical-judgement")
    page.locator("main [name=comment]").fill("seen on the ward")
    status = send(page, forms(page)[0])
    assert status in (200, 422)
    readable.judge(page, "an override")
    page.context.clear_cookies(name=COOKIE)
    page.goto("/login")
    readable.judge(page, "the login", "Log in")

    dosed(everywhere.house)  # to be kept in range
    page = readable.opened("pharmacist")
    page.goto("/worklist")
    ticks = page.locator("main input[name=chosen]")
    assert ticks.count() > 0
    ticks.first.check()
    page.locator("main form:has(input[name=chosen]) button").first.click()
    readable.judge(page, "several to sign", "Sign")
    for path in ("/nothing/there", "/patients/nobody"):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 404
        readable.judge(page, path)
    cookie = Person(everywhere.house, "pharmacist").client.get_cookie(COOKIE)
    assert cookie is not None
    readable.come_in(page.context, cookie.value)
    page.goto(everywhere.addresses["web.facts.new_count"].path)
    with everywhere.house.visit() as visit:
        accounts.end_session(visit, cookie.value)
    page.locator("main form [name=value]").fill("71")
    status = send(page, forms(page)[0])
    assert status == 401
    readable.judge(page, "the login after a session has ended", "you get back what you had filled in")
    assert not readable.wrong, "\n".join(readable.wrong)


def forms(page: Page) -> list[ElementHandle]:
    """The forms of a page that something can be filled into."""
    found = page.evaluate_handle(FORMS)
    return [element for one in found.get_properties().values() if (element := one.as_element()) is not None]


def fill_badly(form: ElementHandle) -> dict[str, str]:
    """Fill in what cannot be taken, past what a browser itself would refuse; what was, by the name of its field."""
    return dict(
        form.evaluate(
            """(form, bad) => {
              form.noValidate = true;
              const filled = {};
              for (const field of form.elements) {
                if (!field.matches('input, textarea') || /hidden|checkbox|radio/.test(field.type)) continue;
                const kind = field.type === 'date' ? 'date' : field.type === 'password' ? 'password'
                  : field.inputMode === 'decimal' ? 'decimal' : 'text';
                if (field.type === 'date') field.type = 'text';
                field.removeAttribute('maxlength');
                field.value = filled[field.name] = bad[kind];
              }
              return filled;
            }""",
            BAD,
        )
    )


def send(page: Page, form: ElementHandle) -> int:
    """The status of what comes of a form."""
    with page.expect_navigation() as leaving:
        form.evaluate("(form) => form.requestSubmit()")
    return leaving.value.status if leaving.value is not None else 0


def how_refused(page: Page, filled: dict[str, str]) -> list[str]:
    """What is missing where a form is shown again."""
    said = []
    if page.locator("main [role=alert]").count() == 0 or "Not done" not in page.inner_text("main"):
        said.append("it does not say that it was not done")
    marked = page.locator("main [aria-invalid=true]")
    if marked.count() == 0:
        said.append("no field is marked")
    said += [
        f"nothing beside {field.get_attribute('name')} says what is wrong"
        for field in marked.all()
        if not any(
            page.locator(f"[id='{one}'].fault").count()
            for one in (field.get_attribute("aria-describedby") or "").split()
        )
    ]
    said += [
        f"{link.get_attribute('href')} leads nowhere"
        for link in page.locator("main [role=alert] a[href^='#']").all()
        if page.locator(f"[id='{(link.get_attribute('href') or '')[1:]}']").count() != 1
    ]
    for name, value in filled.items():
        shown = page.locator(f"main form [name='{name}']").first
        if not shown.count():
            said.append(f"{name} is not shown again")
            continue
        secret = shown.get_attribute("type") == "password"
        if not secret and shown.input_value() not in (value, ""):
            said.append(f"{name} is {shown.input_value()[:40]} now")
        if not secret and not shown.input_value() and shown.get_attribute("type") != "date":
            said.append(f"{name} is empty now")
    return said


def recorded(house: House) -> dict[str, list[tuple[object, ...]]]:
    """What has been recorded."""
    with house.services.store.reading() as session:  # to look at a page may settle a patient, which changes the row
        patients = session.values(Patient, ("id", "version", "revision", "decided"), order=("id",))
    everything = house.everything()
    return {"patients": list(patients)} | {name: everything[name] for name in RECORDED}
