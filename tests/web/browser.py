"""A browser in front of the real server: Debian's Chromium, driven by Playwright, on the demonstration.

The server is that of tests/api/live.py. Where there is no Chromium the tests are skipped; but not where everything must
pass (`CI=true`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright
from werkzeug.routing import Rule

from tests.api.live import Server
from tests.web.addresses import FILES
from titrator.app import create_app
from titrator.security.permissions import PERMISSIONS, Permission, Role
from titrator.workflow.demonstration import Login

CHROMIUM: Final = Path("/usr/bin/chromium")
#: It shall ask for nothing by itself: what it asks for is asserted.
ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NARROW: Final = {"width": 360, "height": 800}
WIDE: Final = {"width": 1920, "height": 1080}
#: Who has a password; a system has none.
PEOPLE: Final = tuple(str(role) for role in Role if role is not Role.EHR)
#: What the page tells of its policy being broken, from before its first line.
WATCH: Final = """
  window.violations = [];
  document.addEventListener("securitypolicyviolation", (event) =>
    window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""
#: What each form has of its own.
_TOKENS: Final = re.compile(r'(?<=value=")[A-Za-z0-9._-]{20,}(?=")')
_ROLES: Final = re.compile("|".join(PEOPLE))
#: Nothing but these rules depends on the colours.
COLOURS: Final = ("color-contrast", "link-in-text-block")


@dataclass
class Seen:
    """What a browser saw of pages: what they asked for, and what it complained of."""

    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """See all that a page does from now on."""
        page.on("request", self._ask)
        page.on("console", self._say)
        page.on("pageerror", lambda error: self._complain(str(error)))

    def _ask(self, request: Request) -> None:
        self.asked.append(request.url)

    def _say(self, message: ConsoleMessage) -> None:
        where = message.location["url"]
        if message.type in ("error", "warning") and not where.endswith("/favicon.ico"):  # an image names no icon
            self._complain(f"{message.text} ({where})")

    def _complain(self, text: str) -> None:
        self.complaints.append(text)


@dataclass
class Browsing:
    """A browser and the server in front of it; who has logged in once comes in by the same cookies again."""

    server: Server
    chromium: Browser
    states: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The origin of the server."""
        return self.server.url

    @contextmanager
    def login(self, role: str | None, **options: Any) -> Iterator[tuple[Page, Seen]]:
        """A page in a context of its own, logged in by a role (None: nobody), and what is seen of it."""
        if role is not None and role not in self.states:
            with self._context() as context:
                self.come_in(context.new_page(), role)
                self.states[role] = context.storage_state()
        with self._context(storage_state=self.states.get(role or ""), **options) as context:
            context.add_init_script(WATCH)
            page, seen = context.new_page(), Seen()
            seen.watch(page)
            yield page, seen

    def come_in(self, page: Page, role: str) -> None:
        """Log in, from anywhere."""
        page.goto("/login")
        self.fill_in_login(page, role)
        page.wait_for_url(lambda url: not url.endswith("/login"))

    def fill_in_login(self, page: Page, role: str) -> None:
        """Fill in the form of the login on a page that has it, and send it."""
        login = self.login_of(role)
        page.get_by_label("Username").fill(login.username)
        page.get_by_label("Password").fill(login.password or "")
        page.get_by_role("button", name="Log in").click()

    def login_of(self, role: str) -> Login:
        """How a role comes in."""
        return next(one for one in self.server.furnished.logins if one.role == role)

    @contextmanager
    def _context(self, **options: Any) -> Iterator[BrowserContext]:
        still = "reduce"  # no colour is on its way to another when it is judged
        context = self.chromium.new_context(base_url=self.url, locale="en-GB", reduced_motion=still, **options)
        try:
            yield context
        finally:
            context.close()

    @cached_property
    def pages(self) -> list[tuple[Rule, Permission | None]]:
        """Each page that is opened with no more than the id of a patient, and the permission that it asks for."""
        app = create_app(self.server.settings, self.server.services)
        return [
            (rule, getattr(app.view_functions[rule.endpoint], "permission", None))
            for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule)
            if rule.endpoint.startswith("web.") and "GET" in (rule.methods or ()) and rule.arguments <= {"patient_id"}
            if rule.endpoint not in FILES
        ]

    def pages_of(self, role: str | None, patient_id: str) -> list[str]:
        """The paths of those that a role may see (None: who is not logged in), of a patient."""
        may = frozenset() if role is None else PERMISSIONS[Role(role)]
        return [
            rule.rule.replace("<patient_id>", patient_id)
            for rule, needs in self.pages
            if (needs is None) == (role is None) and (needs is None or needs in may)
        ]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser."""
    if not CHROMIUM.exists():
        why = f"no browser: {CHROMIUM} is missing (apt-get install chromium)"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    with launched() as ready:
        yield ready


@pytest.fixture(scope="module")
def browser(chromium: Browser, server: Server) -> Browsing:
    """Chromium in front of a server of its own."""
    return Browsing(server, chromium)


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser that runs."""
    with sync_playwright() as playwright:
        ready = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield ready
        ready.close()


@contextmanager
def browsing(server: Server) -> Iterator[Browsing]:
    """Chromium in front of a server."""
    with launched() as ready:
        yield Browsing(server, ready)


def inaccessible(page: Page, rules: tuple[str, ...] = ()) -> list[str]:
    """What axe finds wrong with a page, by all of its rules or by some; the context must bypass the page's policy."""
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate("(options) => axe.run(options)", options)["violations"]
    return [f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]


def judged_by_axe(page: Page) -> list[str]:
    """What is wrong with a page that is shown in light, and then in dark."""
    said = inaccessible(page)
    page.emulate_media(color_scheme="dark")
    said += [f"in dark: {one}" for one in inaccessible(page, COLOURS)]
    page.emulate_media(color_scheme="light")
    return said


def likeness(page: Page) -> str:
    """A page but for the tokens of its forms and the names of roles: of two that are alike one need be judged."""
    return _ROLES.sub("somebody", _TOKENS.sub("", page.content()))


def violations(page: Page) -> list[str]:
    """How a page has broken its policy."""
    return [str(one) for one in json.loads(page.evaluate("JSON.stringify(window.violations)"))]


def is_page(page: Page) -> bool:
    """Whether what was opened is a page, and no image of one."""
    return bool(page.evaluate("document.contentType") == "text/html")


def overflow(page: Page) -> int:
    """By how many pixels a page is wider than its window; an image is as wide as it is."""
    return int(
        is_page(page) and page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    )
