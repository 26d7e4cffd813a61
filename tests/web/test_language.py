"""Texts can be translated: in a language of brackets, every word of a page that is ours stands in brackets.

What is not ours to translate is marked as English (the engine's sentences) or is somebody's: names, ids, codes.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest
from babel.messages.extract import extract_from_dir

from tests.api.deciding import alerted, decided, dosed, give
from tests.api.support import House, count, event, observation
from tests.web.addresses import FILES
from tests.web.support import Person
from tests.web.test_access import pages, path_of
from titrator import web
from titrator.security.permissions import Role
from titrator.web import language

FOLDER: Final = Path(web.__file__).parent
#: Words that stand in any language: names, units, what is named by a code, days and months by Babel.
ANY: Final = re.compile(
    r"titrator|Patient\d+|Ada|Haematology [AB]|Sheet|mL|kg|g/L|g/dL|mmol/L|CTCAE|CRS|ICANS|romiPLOStim|"
    r"ISO|UTC|ORU|FHIR|SMART|"
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*|"
    r"[A-Z]+(?:-[A-Z]+)+|[a-z0-9]+(?:[-_:.][A-Za-z0-9]+)+|[0-9a-f]{8,}|T\d\d|urn\S*|\S+@\S+|https?://\S+|/\S+"
)


class Brackets:
    """A language in which each text stands in brackets."""

    def gettext(self, text: str) -> str:
        return f"⟦{text}⟧"

    def ngettext(self, one: str, many: str, number: int) -> str:
        return f"⟦{one if number == 1 else many}⟧"


class _Ours(HTMLParser):
    """What a page says that is not marked as English or as code, with what is read out in place of it."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.apart: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        empty = tag in ("input", "img", "br", "hr", "meta", "link")
        if self.apart:
            if tag == self.apart[0] and not empty:
                self.apart.append(tag)
        elif (said.get("lang") == "en" and tag != "html") or tag in (
            "script",
            "style",
            "code",
            "title",
            "textarea",
            "pre",
        ):
            self.apart.append(tag)
        if not self.apart:
            self.said += [str(said[name]) for name in ("aria-label", "alt", "placeholder") if said.get(name)]

    def handle_endtag(self, tag: str) -> None:
        if self.apart and tag == self.apart[-1]:
            self.apart.pop()

    def handle_data(self, data: str) -> None:
        if not self.apart:
            self.said.append(data)


def untranslated(html: str) -> list[str]:
    reader = _Ours()
    reader.feed(html)
    rest = []
    for text in reader.said:
        depth, outside = 0, ""
        for sign in text:
            depth += sign == "⟦"
            outside += sign if not depth else " "
            depth -= sign == "⟧"
        rest += re.findall(r"[A-Za-z]{3,}", ANY.sub(" ", outside))
    return rest


def test_every_text_of_ours_can_be_translated(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = alerted(house)
    alerts = [one["code"] for one in house.get(f"/patients/{patient}/next-dose")["alerts"]]
    decided(house, patient, acknowledge=alerts)
    give(house, patient, 150)
    house.post(f"/patients/{patient}/observations", observation(10, 98))
    house.post(f"/patients/{patient}/events", event(20, "platelet_transfusion"))
    house.post(f"/patients/{patient}/platelet-counts", count(3, 100))
    dosed(house, 30)
    monkeypatch.setattr(language, "get_translations", Brackets)
    people = {str(one["username"]) for one in house.get("/accounts", "admin")["items"]}
    found: dict[str, set[str]] = {}
    looked = 0
    for role in (Role.PRESCRIBER, Role.ADMIN, Role.AUDITOR):
        somebody = Person(house, str(role))
        for method, rule, _ in pages(house):
            if method == "GET" and not rule.rule.endswith(".svg") and rule.endpoint not in FILES:
                page = somebody.get(path_of(house, rule.rule, patient))
                looked += page.status == 200
                if rest := set(untranslated(page.html)) - people - {one.title() for one in people}:
                    found.setdefault(rule.rule, set()).update(rest)
    assert looked > 10
    assert found == {}


def test_the_chart_is_translated_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = dosed(house, 30)
    monkeypatch.setattr(language, "get_translations", Brackets)
    svg = Person(house).client.get(f"/patients/{patient}/chart.svg").get_data(as_text=True)
    for text in ("Platelets", "Dose of romiPLOStim, micrograms/kg", "weeks since first dose", "Target"):
        assert f"⟦{text}" in svg, text


def test_what_translators_are_given_has_the_texts() -> None:
    """By the command of docs/pages.md."""
    maps = [("**.py", "python"), ("templates/**.html", "jinja2")]
    keywords = {"_": None, "_l": None, "gettext": None, "ngettext": (1, 2)}
    texts = {
        message if isinstance(message, str) else message[0]
        for _, _, message, *_ in extract_from_dir(FOLDER, maps, keywords=keywords)
    }
    assert len(texts) > 150
    assert {"Worklist", "Large change", "Refer to a prescriber", "%(num)d day late", "Log in"} <= texts
