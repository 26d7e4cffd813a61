"""Somebody at the pages in a browser: opens patients, records, decides, as it is clicked."""

from __future__ import annotations

import re
from dataclasses import dataclass

from playwright.sync_api import Locator, Page, expect

#: What a page may take under load.
PATIENCE = 15_000  # milliseconds
expect.set_options(timeout=PATIENCE)


@dataclass
class Desk:
    """A page, and whoever sits before it. Whatever is done is done when the page says so."""

    page: Page

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE)

    @property
    def identity(self) -> Locator:
        """The banner with the particulars of the patient."""
        return self.page.get_by_role("region", name="Patient", exact=True)

    @property
    def said(self) -> Locator:
        """What was done, as the page tells it."""
        return self.page.locator(".alert-success")

    @property
    def warned(self) -> Locator:
        """What was refused or asked, as the page tells it."""
        return self.page.get_by_role("alert")

    @property
    def card(self) -> Locator:
        """The next dose."""
        return self.page.get_by_role("region", name=re.compile("^(Next dose|No next dose)"))

    def worklist(self) -> None:
        """To the worklist, by the head of the page."""
        self.page.get_by_role("link", name="Worklist", exact=True).click()
        expect(self.page.get_by_role("heading", name="Worklist", exact=True)).to_be_visible()

    def line(self, family: str) -> Locator:
        """The line of a patient of the worklist."""
        return self.page.locator("[data-line]").filter(has=self._patient(family))

    def open(self, family: str) -> None:
        """From the worklist to a patient."""
        self.worklist()
        self._patient(family).click()
        self.sees(family)

    def look_up(self, family: str) -> None:
        """To a patient of whom nothing waits."""
        self.page.get_by_role("link", name="Patients", exact=True).click()
        self.page.get_by_label("Name or number").fill(family)
        self.page.get_by_role("button", name="Search").click()
        self._patient(family).click()
        self.sees(family)

    def sees(self, family: str) -> None:
        """Whose page it is stands in view."""
        expect(self.identity).to_contain_text(f"{family}, ")

    def record(self, what: str, /, **filled: str) -> None:
        """Fill in a form of the panel, by its labels with `_` for a blank, and send it; it is recorded."""
        self.send(what, **filled)
        expect(self.said).to_contain_text("Recorded: ")

    def send(self, what: str, /, **filled: str) -> None:
        """Fill in a form of the panel and send it."""
        panel = self.panel(what)
        for name, value in filled.items():
            self.fill(panel.get_by_label(name.replace("_", " ")), value)
        panel.get_by_role("button", name="Record").click()

    def panel(self, what: str) -> Locator:
        """A form of the panel, opened."""
        summary = self.page.locator("summary", has_text=re.compile(f"^{what}$"))
        panel = self.page.locator("details.entry").filter(has=summary)
        if panel.get_attribute("open") is None:
            panel.locator("summary").click()
        return panel

    @staticmethod
    def fill(field: Locator, value: str) -> None:
        """Choose what can be chosen, type what can be typed."""
        if field.evaluate("(field) => field.tagName") == "SELECT":
            field.select_option(label=value)
        else:
            field.fill(value)

    def accept(self) -> None:
        """Accept what is proposed on the page of the patient, having ticked each alert."""
        sign = self.page.get_by_role("button", name=re.compile("^Accept and sign"))
        self.tick_alerts(sign)
        sign.click()
        expect(self.said).to_contain_text("Accepted: in force")

    def tick_alerts(self, sign: Locator) -> None:
        """Tick each alert that stands before a button."""
        expect(sign).to_be_visible()
        for tick in self.page.get_by_role("group", name="Alerts").get_by_role("checkbox").all():
            tick.check()

    def follow(self, link: str, button: str, /, *, asked: bool = False, **filled: str) -> None:
        """Open a form by its link, fill it in by its labels, and send it by its button; it is done.

        What is `asked` about first is answered with yes.
        """
        self.page.get_by_role("link", name=link).click()
        for name, value in filled.items():
            self.fill(self.page.get_by_label(name.replace("_", " ")), value)
        self.page.get_by_role("button", name=button).click()
        if asked:
            self.confirm(button)
        expect(self.said).to_be_visible()

    def confirm(self, button: str) -> None:
        """Answer with yes what is asked about, and send it once more."""
        expect(self.warned.filter(has_text="Is that right?")).to_be_visible()
        self.page.get_by_role("checkbox", name=re.compile("Yes, it is right")).check()
        self.page.get_by_role("button", name=button).click()

    def _patient(self, family: str) -> Locator:
        return self.page.get_by_role("link", name=re.compile(f"^{family}, "))
