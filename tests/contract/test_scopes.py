"""Every route says which scopes it needs, docs/access.md says the same, and no scopes let more through than that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from flask import Flask, g

from tests.api.support import House, build
from titrator.door import guarded as guard
from titrator.security.permissions import PERMISSIONS, Permission, Role
from titrator.security.scopes import CLOSED, LETTERS, MEANT
from titrator.workflow.errors import Beyond

ACCESS: Final = (Path(__file__).parents[2] / "docs/access.md").read_text(encoding="utf-8")
#: For whom no token is asked: what says nothing of patients, who has no token yet, and what a secret of its own opens.
PUBLIC: Final = {
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/docs/assets/<name>"),
    ("GET", "/docs/own/<path:filename>"),
    ("GET", "/static/<path:filename>"),
    ("GET", "/calendars/<secret>.ics"),
    ("POST", "/api/v1/sessions"),
    ("POST", "/api/v1/activations"),
    ("GET", "/fhir/metadata"),
    ("GET", "/fhir/.well-known/smart-configuration"),
    ("POST", "/auth/token"),
}
#: Their entries need scopes, each its own (tests/fhir/test_smart.py).
BUNDLES: Final = {("POST", "/fhir/"), ("POST", "/fhir")}
#: Requests that change nothing, though they are no GET: they are asked by what they tell.
ASKING: Final = re.compile(r".*/(recommend|_search|\$apply|cds-services/<service_id>)")


class Route(NamedTuple):
    """A route: how it is called, and what it says of itself."""

    method: str
    rule: str
    permission: Permission | None
    needs: tuple[str, ...] | None


def routes(app: Flask) -> Iterator[Route]:
    """All routes of an app for programs, but for those that say that nothing is there.

    Pages let in whom a cookie names, and no token of a program (tests/web/test_access.py).
    """
    for rule in app.url_map.iter_rules():
        view: Any = app.view_functions[rule.endpoint]
        if rule.endpoint not in ("fhir.nothing", "first") and not rule.endpoint.startswith("web."):
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield Route(method, rule.rule, getattr(view, "permission", None), getattr(view, "needs", None))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = build(tmp_path_factory.mktemp("scopes"))
    yield house
    house.services.store.close()


@pytest.fixture(scope="module")
def guarded(house: House) -> list[Route]:
    """The routes that ask for a token, with what they need."""
    return [one for one in routes(house.app) if (one.method, one.rule) not in PUBLIC | BUNDLES]


def test_every_route_says_what_it_needs(guarded: list[Route]) -> None:
    assert len(guarded) > 120
    for route in guarded:
        assert route.permission is not None, route
        assert route.needs, route


def test_what_is_public_is_there(house: House) -> None:
    there = {(one.method, one.rule) for one in routes(house.app)}
    assert there >= BUNDLES
    assert PUBLIC - {("GET", "/static/<path:filename>")} <= there


def test_the_letters_of_each_type_are_those_that_routes_need(guarded: list[Route]) -> None:
    needed: dict[str, set[str]] = {}
    for route in guarded:
        for need in route.needs or ():
            if need != CLOSED:
                name, _, letter = need.partition(".")
                needed.setdefault(name, set()).add(letter)
    assert {name: "".join(sorted(some, key=LETTERS.index)) for name, some in needed.items()} == dict(MEANT)


def test_what_changes_something_needs_a_letter_that_does(guarded: list[Route]) -> None:
    """And what changes nothing needs none, so that who may read only changes nothing."""
    for route in guarded:
        letters = {need.rpartition(".")[2] for need in route.needs or ()}
        if route.needs != (CLOSED,):
            changes = route.method != "GET" and not ASKING.fullmatch(route.rule)
            assert bool(letters & set("cud")) is changes, route


def test_over_fhir_the_letters_are_those_of_the_interaction(guarded: list[Route]) -> None:
    """SMART App Launch 2.2: c creates, r reads, also a version, u updates, s searches."""
    seen = 0
    for route in guarded:
        found = re.fullmatch(
            r"/fhir/([A-Za-z]+)(|/_search|/<resource_id>|/<resource_id>/_history/<version>)", route.rule
        )
        if found is None:
            continue
        name, rest = found.groups()
        expected = {
            ("GET", ""): "s",
            ("POST", "/_search"): "s",
            ("GET", "/<resource_id>"): "r",
            ("GET", "/<resource_id>/_history/<version>"): "r",
            ("POST", ""): "c",
            ("PUT", "/<resource_id>"): "u",
            ("PUT", ""): "us",
        }[route.method, rest]
        assert route.needs == tuple(f"{name}.{letter}" for letter in expected), route
        seen += 1
    assert seen >= 60


# docs/access.md


def told(text: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """What the table says: by method and path the scopes."""
    section = text.split('<a id="scopes"></a>', 1)[1].split("\n## Clinics\n", 1)[0]
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for line in section.splitlines():
        if line.startswith("| `") and line.count("|") == 3:
            _, routes_cell, needs_cell, _ = line.split("|")
            needs = tuple(re.findall(r"`system/([A-Za-z]+\.[a-z])`", needs_cell)) or (CLOSED,)
            for method, path in re.findall(r"`([A-Z]+) ([^`]+)`", routes_cell):
                assert (method, path) not in found, (method, path)
                found[method, path] = needs
    return found


def test_the_page_says_what_each_route_needs(guarded: list[Route]) -> None:
    there: Mapping[tuple[str, str], tuple[str, ...]] = {
        (one.method, plain(one.rule)): one.needs or ()
        for one in guarded
        if not one.rule.startswith("/fhir/") or "$apply" in one.rule
    }
    assert told(ACCESS) == there


def plain(rule: str) -> str:
    """A rule as the page writes it."""
    return re.sub(r"<(?:[a-z]+:)?([^>]+)>", r"{\1}", rule.removeprefix("/api/v1"))


# What is let through


def test_a_view_that_says_nothing_is_closed_to_clients(house: House) -> None:
    view = guard(lambda: "seen", Permission.READ_PATIENTS)
    with house.app.test_request_context("/x", headers={"Authorization": f"Bearer {house.tokens['ehr']}"}):
        assert view() == "seen"
    token = house.scoped("system/*.cruds")
    with house.app.test_request_context("/x", headers={"Authorization": f"Bearer {token}"}):
        g.request_id = "x"
        with pytest.raises(Beyond):
            view()


def lets(scopes: str, need: str) -> bool:
    """Whether scopes include a need, told in another way than the code does."""
    name, _, letter = need.partition(".")
    held = [scope.removeprefix("system/").split(".") for scope in scopes.split()]
    return need != CLOSED and any(of in ("*", name) and letter in letters for of, letters in held)


def sets_for(needs: tuple[str, ...]) -> Iterator[str]:
    """Scopes that are enough, each with something taken away, and some that are about something else."""
    yield " ".join(f"system/{need}" for need in needs if need != CLOSED) or "system/*.cruds"
    yield "system/*.cruds"
    yield "system/Encounter.cruds"
    letters = sorted({need.rpartition(".")[2] for need in needs if need != CLOSED})
    yield f"system/*.{''.join(one for one in LETTERS if one not in letters) or 'd'}"
    for letter in letters:
        yield f"system/*.{''.join(one for one in LETTERS if one != letter)}"
    for need in needs:
        if need != CLOSED:
            name, _, letter = need.partition(".")
            rest = " ".join(f"system/{other}" for other in needs if other != need)
            other_letters = "".join(one for one in LETTERS if one != letter)
            yield f"system/{name}.{other_letters} {rest}".strip()
            yield rest or "system/Encounter.r"


def test_no_scopes_let_anything_through_that_they_do_not_say(house: House, guarded: list[Route]) -> None:
    """All routes, each by a role that may: 403 with the scopes that are missing, or whatever it would answer else."""
    tokens: dict[tuple[str, str], str] = {}
    outcomes = {True: 0, False: 0}
    for route in guarded:
        needs = route.needs or ()
        role = next(str(role) for role in (Role.EHR, *Role) if route.permission in PERMISSIONS[role])
        path = re.sub(r"<fact:[^>]+>", "1", route.rule)
        path = re.sub(r"<[^>]+>", "x", path)
        for scopes in dict.fromkeys(sets_for(needs)):
            if (role, scopes) not in tokens:
                tokens[role, scopes] = house.scoped(*scopes.split(), who=role)
            answer = house.call(tokens[role, scopes], route.method, path, None if route.method == "GET" else {})
            expected = all(lets(scopes, need) for need in needs)
            refused = answer.status == 403 and "insufficient_scope" in answer.headers.get("WWW-Authenticate", "")
            assert refused is not expected, (route, scopes, answer.status, answer.text[:200])
            assert answer.status not in (401, 500), (route, scopes, answer.text[:200])
            outcomes[expected] += 1
    assert min(outcomes.values()) > 100
