"""Somebody at the pages, without a browser: pages are read and their forms filled in as they were sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser

from flask.testing import FlaskClient

from tests.api.support import House
from titrator.web.frame import COOKIE
from titrator.workflow import accounts


@dataclass
class Sheet:
    """A form of a page: where it goes, its fields by name, its buttons."""

    action: str
    method: str
    fields: dict[str, list[str]] = field(default_factory=dict)
    choices: dict[str, list[str]] = field(default_factory=dict)
    buttons: list[str] = field(default_factory=list)


@dataclass
class Page:
    """What came back: the status, the text that is seen, the forms, the links, where it led to."""

    status: int
    html: str
    path: str
    headers: Mapping[str, str]
    text: str = ""
    sheets: list[Sheet] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)

    def sheet(self, action: str) -> Sheet:
        """The form that goes to a path."""
        found = [one for one in self.sheets if one.action.partition("?")[0] == action]
        assert found, f"no form to {action} among {[one.action for one in self.sheets]}"
        return found[0]


class _Reader(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page, self.texts = page, []
        self.sheet: Sheet | None = None
        self.select = self.area = self.button = self.link = ""
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self.hidden += tag in ("script", "style")
        if tag == "form":
            self.sheet = Sheet(said.get("action", self.page.path), said.get("method", "get"))
            self.page.sheets.append(self.sheet)
        elif tag == "a":
            self.link = said.get("href", "")
        elif self.sheet is not None:
            self.of_form(self.sheet, tag, said)

    def of_form(self, sheet: Sheet, tag: str, said: dict[str, str]) -> None:
        name = said.get("name", "")
        if tag == "input" and name:
            ticks = said.get("type") in ("checkbox", "radio")
            value = said.get("value", "y" if ticks else "")
            if ticks:
                sheet.choices.setdefault(name, []).append(value)
            if not ticks or "checked" in said:
                sheet.fields.setdefault(name, []).append(value)
        elif tag == "select":
            self.select = name
        elif tag == "option" and self.select:
            sheet.choices.setdefault(self.select, []).append(said.get("value", ""))
            if "selected" in said or self.select not in sheet.fields:
                sheet.fields[self.select] = [said.get("value", "")]
        elif tag == "textarea":
            self.area, sheet.fields[name] = name, [""]
        elif tag == "button":
            self.button = "open"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self.hidden -= 1
        if tag == "form":
            self.sheet = None
        elif tag == "select":
            self.select = ""
        elif tag == "textarea":
            self.area = ""
        elif tag == "button":
            self.button = ""
        elif tag == "a":
            self.link = ""

    def handle_data(self, data: str) -> None:
        if self.hidden:
            return
        if self.area and self.sheet is not None:
            self.sheet.fields[self.area] = [data.removeprefix("\n").removeprefix("\r\n")]
        if self.button and self.sheet is not None and data.strip():
            self.sheet.buttons.append(data.strip())
        if self.link and data.strip():
            self.page.links[data.strip()] = self.link
        self.texts.append(data)


class Person:
    """Somebody in a role, logged in; pages are followed where they lead."""

    def __init__(self, house: House, role: str | None = "pharmacist") -> None:
        self.house, self.role = house, role
        self.client: FlaskClient = house.app.test_client()
        if role is not None:
            self.come_in(role)

    def come_in(self, username: str) -> None:
        """A session, as after a login with the right password."""
        with self.house.visit() as visit:
            account = accounts.find_account(visit, self.house.ids[username])
            issued = accounts.login(visit, username, accounts.Proof(True, account.password_hash)).issued
        assert issued is not None
        self.client.set_cookie(COOKIE, issued.secret)

    def get(self, path: str) -> Page:
        """A page."""
        return self._page(self.client.get(path, follow_redirects=True))

    def submit(self, page: Page, action: str, /, **filled: str | list[str] | None) -> Page:
        """What comes of a form of a page, filled in; None leaves a field out. It must be a field of the form."""
        sheet = page.sheet(action)
        unknown = set(filled) - set(sheet.fields) - set(sheet.choices)
        assert not unknown, f"no field {unknown} in the form to {action}: {sorted(sheet.fields)}"
        fields = dict(sheet.fields)
        for name, value in filled.items():
            fields[name] = [] if value is None else [value] if isinstance(value, str) else value
        return self.post(sheet.action, fields)

    def post(self, path: str, fields: Mapping[str, object]) -> Page:
        """What comes of fields, as they are."""
        headers = {"Sec-Fetch-Site": "same-origin"}
        return self._page(self.client.post(path, data=fields, headers=headers, follow_redirects=True))

    def _page(self, response: object) -> Page:
        html = response.get_data(as_text=True)  # type: ignore[attr-defined]
        path = response.request.full_path.rstrip("?")  # type: ignore[attr-defined]
        page = Page(response.status_code, html, path, response.headers)  # type: ignore[attr-defined]
        reader = _Reader(page)
        reader.feed(html)
        page.text = " ".join("".join(reader.texts).split())
        return page


def pages(house: House) -> Iterator[tuple[str, str, set[str]]]:
    """Each page of the app: endpoint, rule, methods."""
    for rule in house.app.url_map.iter_rules():
        if rule.endpoint.startswith("web."):
            yield rule.endpoint, rule.rule, set(rule.methods or ()) - {"HEAD", "OPTIONS"}
