"""Every address there is, by every role, on both databases: whom it lets in, what it tells who is of another clinic.

A route is told by nothing but that it is there, so one that is made elsewhere, or in another way, is not passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from flask import Flask

from tests.api.deciding import decided, dosed
from tests.api.support import House, build, count, day, event
from tests.api.test_access import HOLDERS
from tests.backends import BACKENDS
from tests.store.samples import sample
from tests.web.support import Person
from titrator.fhir.kinds import KINDS
from titrator.security.permissions import Permission, Role
from titrator.store.records import Delivery
from titrator.web.frame import COOKIE
from titrator.workflow.visit import Policy

#: For whom no login is asked: what says nothing of patients, who has none yet, and what a secret of its own opens.
PUBLIC: Final = {
    "static",
    "documents.static",
    "documents.assets",
    "documents.docs",
    "documents.openapi",
    "operations.livez",
    "operations.metrics",
    "operations.readyz",
    "subscriptions.calendar",
    "accounts.activate",
    "accounts.login",
    "fhir.metadata",
    "fhir.nothing",
    "smart.configuration",
    "smart.token",
    "web.activation.activate",
    "web.activation.form",
    "web.assets.asset",
    "web.login.come_in",
    "web.login.login",
    "web.login.second_factor",
    "web.login.theme",
}
NOBODYS: Final = "f" * 20


class Route(NamedTuple):
    """A way to call an address."""

    method: str
    rule: str
    endpoint: str
    permission: Permission | None

    @property
    def is_page(self) -> bool:
        return self.endpoint.startswith("web.")


def routes(app: Flask) -> Iterator[Route]:
    """All ways to call all addresses of an app; those that end a session come last."""
    found = [
        Route(method, rule.rule, rule.endpoint, getattr(app.view_functions[rule.endpoint], "permission", None))
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"OPTIONS"})
    ]
    yield from sorted(found, key=lambda one: ("sessions/current" in one.rule, "logout" in one.rule, one))


def guarded(app: Flask) -> Iterator[Route]:
    return (route for route in routes(app) if route.endpoint not in PUBLIC)


@pytest.fixture(params=BACKENDS)
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    return build(tmp_path, backend=str(request.param))


def path_of(rule: str, known: Mapping[str, str]) -> str:
    """A rule as a path; what is not known is a number, or of nobody."""
    known = {"collection": "weights", **known}
    text = re.sub(r"<fact:(\w+)>", lambda found: known.get(found[1], "1"), rule)
    return re.sub(r"<(?:[^:>]*:)?(\w+)>", lambda found: known.get(found[1], NOBODYS), text)


def asked(client: Any, route: Route, path: str, **more: Any) -> Any:
    """The response to a call, with an empty body where one may be."""
    body: dict[str, Any] = {} if route.method in ("GET", "HEAD") else {"data": {}} if route.is_page else {"json": {}}
    return client.open(path, method=route.method, **{**body, **more})


def test_every_route_names_its_permission_or_is_known_to_be_for_anybody(tmp_path: Path) -> None:
    app = build(tmp_path, backend="sqlite").app
    found = list(routes(app))
    assert len(found) > 400
    assert {one.endpoint for one in found if one.permission is None} == PUBLIC
    assert {type(one.permission) for one in found if one.endpoint not in PUBLIC} == {Permission}


@pytest.mark.parametrize("role", list(Role))
def test_each_role_passes_its_own_routes_and_no_others(house: House, role: Role) -> None:
    by_token = {"Authorization": f"Bearer {house.tokens[role]}"}
    somebody = None if role is Role.EHR else Person(house, role)  # a system has no password, and so no session
    passed = stopped = 0
    for route in guarded(house.app):
        if route.is_page and somebody is None:
            continue
        client = somebody.client if route.is_page and somebody is not None else house.app.test_client()
        path = path_of(route.rule, {"protocol_id": "us-itp-adult"})
        answer = asked(client, route, path, headers={} if route.is_page else by_token)
        text = answer.get_data(as_text=True)
        assert answer.status_code not in (401, 500), (route, text)
        assert answer.headers["Cache-Control"] == "no-store", route
        assert answer.headers["X-Content-Type-Options"] == "nosniff", route
        if answer.mimetype in ("text/html", "image/svg+xml"):
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"], route
        if role in HOLDERS[str(route.permission)]:
            assert f"has not the permission {route.permission}" not in text, route
            assert route.method != "HEAD" or answer.status_code != 403, route
            passed += 1
        else:
            assert answer.status_code == 403, (route, text)
            assert route.method == "HEAD" or f"has not the permission {route.permission}" in text, (route, text)
            stopped += 1
    assert min(passed, stopped) > 15


def test_nobody_passes_any(house: House) -> None:
    """Nor does a session at the doors of programs, for any site could send a form there; nor a program's at pages."""
    somebody = Person(house)
    cookie = somebody.client.get_cookie(COOKIE)
    assert cookie is not None
    for route in guarded(house.app):
        path = path_of(route.rule, {})
        for secret in ("", cookie.value, house.tokens["pharmacist"]):
            client = house.app.test_client()
            if secret and route.is_page == (secret != cookie.value):
                client.set_cookie(COOKIE, secret)
            elif secret:
                continue
            elif not route.is_page:
                client.set_cookie(COOKIE, cookie.value)
            answer = asked(client, route, path)
            if route.is_page and route.method == "GET":
                assert (answer.status_code, answer.headers["Location"][:6]) == (303, "/login"), route
            else:
                assert answer.status_code == 401, (route, answer.get_data(as_text=True))


@pytest.mark.parametrize("role", [Role.PRESCRIBER, Role.AUDITOR, Role.ADMIN])
def test_who_lacks_the_second_factor_passes_none_but_the_own_account(house: House, role: Role) -> None:
    strict = house.with_services(policy=Policy(second_factor_roles=frozenset(Role)))
    somebody = Person(strict, role)
    cookie = somebody.client.get_cookie(COOKIE)
    assert cookie is not None
    for route in guarded(strict.app):
        if route.permission is not Permission.OWN_ACCOUNT:
            headers = {} if route.is_page else {"Authorization": f"Bearer {cookie.value}"}
            answer = asked(somebody.client, route, path_of(route.rule, {}), headers=headers)
            assert answer.status_code == 403, (route, answer.get_data(as_text=True))


# Who is of another clinic


class Told(NamedTuple):
    """What is kept in a clinic: by the variables of paths, the ids by type of resource, and words that tell of it."""

    known: dict[str, str]
    resources: dict[str, list[str]]
    words: tuple[str, ...]


def furnished(house: House) -> Told:
    """A clinic with all that has an address of its own: a patient with facts and decisions, results, messages."""
    patient = dosed(house)
    number = house.get(f"/patients/{patient}")["identifiers"][0]["value"]
    decided(house, patient)
    for kind in ("rescue_therapy", "thrombosis"):
        house.post(f"/patients/{patient}/events", event(3, kind))
    reminder = house.get("/reminders")["items"][0]
    result = {"identifier": {"system": "urn:mrn", "value": "of-nobody-17"}, "platelet_count": count(0)}
    channel = {
        "audience": "gateway",
        "kind": "apprise",
        "label": "our mail",
        "address": "mailtos://a:b@c.example?to={to}",
    }
    ours = f"/clinics/{house.clinic}"
    known = {
        "patient_id": patient,
        "kind": reminder["kind"],
        "due_on": reminder["due_on"],
        "decision_id": "1",
        "day": day(0),
        "on": day(0),
        "clinic_id": house.clinic,
        "result_id": house.post("/results", result, "ehr")["unmatched"],
        "channel_id": house.post(f"{ours}/channels", channel, "admin")["channel"]["id"],
        "calendar_id": house.post(f"{ours}/calendars", {"label": "our ward"})["id"],
        "delivery_id": "msg_1",
        "protocol_id": "us-itp-adult",
        "version": "1",
    }
    dead = sample(Delivery, about=patient, clinic_id=house.clinic, channel_id=known["channel_id"], status="dead")
    with house.services.store.writing() as session:
        session.add(dead)
    resources = {"AuditEvent": [f"{patient}-1"], "Patient": [patient]}
    for name in KINDS.keys() - {"Patient", "PlanDefinition", "AuditEvent"}:
        found = house.get(f"/fhir/{name}?patient={patient}").get("entry", [])
        resources[name] = [one["resource"]["id"] for one in found]
        assert resources[name], name
    return Told(known, resources, ("Patient1", number, "of-nobody-17", "our mail", "our ward", "Haematology A"))


def bare(answer: Any, told: Told) -> tuple[int, str]:
    """A response without what names the request and what is by chance."""
    text = answer.get_data(as_text=True).replace(told.known["patient_id"], NOBODYS)
    text = re.sub(r'(csrf_token|once)" value="[^"]*"', "", text)
    return answer.status_code, re.sub(r'"request_id": "[^"]*"|<code>[0-9a-f]{16}</code>', "", text)


def calls(route: Route, told: Told) -> Iterator[tuple[str, dict[str, Any]]]:
    """The paths by which a route can be called for what is there, each with a body."""
    name = route.rule.split("/")[2] if route.rule.startswith("/fhir/") else ""
    for ident in told.resources.get(name, [""])[:2] if "<resource_id>" in route.rule else [""]:
        path = path_of(route.rule, {**told.known, "resource_id": ident})
        if route.method in ("GET", "HEAD"):
            yield path, {}
        elif name in KINDS:
            subject = {"reference": f"Patient/{told.known['patient_id']}"}
            yield path, {"json": {"resourceType": name, "id": ident, "subject": subject}}
        else:
            yield path, {}


def signed(client: Any) -> dict[str, str]:
    """What a form says of itself, so that it is one of this session."""
    page = client.get("/account").get_data(as_text=True)
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert token is not None
    return {"csrf_token": token[1]}


@pytest.mark.parametrize("role", [one for one in Role if one is not Role.ADMIN])
def test_who_is_of_another_clinic_is_told_of_nothing(house: House, role: Role) -> None:
    """An address answers as it does of what has never been there, whatever is asked of it."""
    told = furnished(house)
    ident, token = house.account("foreign", role, house.other_clinic)
    house.ids["foreign"] = ident
    by_token = {"Authorization": f"Bearer {token}", "If-Match": "*"}
    client = house.app.test_client() if role is Role.EHR else Person(house, "foreign").client
    form = {} if role is Role.EHR else signed(client)
    before, seen = house.everything(), 0
    for number, route in enumerate(guarded(house.app)):
        of_all = route.permission is Permission.READ_AUDIT and "<" not in route.rule  # the system's chain is
        if of_all or route.permission is Permission.OWN_ACCOUNT or (route.is_page and role is Role.EHR):
            continue
        for path, body in calls(route, told):
            more = {"data": {**form, "once": f"{number:020}"}} if route.is_page and route.method == "POST" else body
            headers = {} if route.is_page else by_token
            answer = asked(client, route, path, headers=headers, **more)
            text = answer.get_data(as_text=True)
            assert not [word for word in told.words if word in text], (route, path, text)
            if "<patient_id>" in route.rule or "<resource_id>" in route.rule:
                nowhere = path.replace(told.known["patient_id"], NOBODYS)
                assert nowhere != path or "PlanDefinition" in path, route
                other = {"json": {**body["json"], "id": nowhere.rpartition("/")[2]}} if "json" in body else more
                same = asked(client, route, nowhere, headers=headers, **other)
                assert bare(answer, told) == bare(same, told), (route, path)
                assert answer.status_code in (403, 404, 400, 415, 422) or "PlanDefinition" in path, (route, text)
                seen += 1
    after = house.everything()
    assert {name: rows for name, rows in after.items() if name != "change_counts"} == {
        name: rows for name, rows in before.items() if name != "change_counts"
    }
    assert seen > 100
