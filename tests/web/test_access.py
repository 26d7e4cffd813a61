"""Who may see and do what on pages: every page by every role; other clinics; tokens of programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from werkzeug.routing import Rule

from tests.api.deciding import decided, starting
from tests.api.support import House, day
from tests.api.test_access import HOLDERS
from tests.web.support import Person
from titrator.security.permissions import PERMISSIONS, Permission, Role
from titrator.web.frame import COOKIE

#: Pages for those who are not logged in yet, and what says nothing of patients.
PUBLIC: Final = {
    "web.assets.asset",
    "web.login.login",
    "web.login.come_in",
    "web.login.second_factor",
    "web.login.theme",
    "web.activation.form",
    "web.activation.activate",
}
ROLES: Final = [role for role in Role if role is not Role.EHR]


def pages(house: House) -> Iterator[tuple[str, Rule, Permission | None]]:
    """Each page and form: method, rule, permission."""
    for rule in house.app.url_map.iter_rules():
        if rule.endpoint.startswith("web.") and rule.endpoint not in PUBLIC:
            view: Any = house.app.view_functions[rule.endpoint]
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield method, rule, getattr(view, "permission", None)


def path_of(house: House, rule: str, patient: str) -> str:
    """A rule as a path, of a patient who is there."""
    known = {
        "patient_id": patient,
        "decision_id": "1",
        "fact_id": "1",
        "on": day(0),
        "day": day(0),
        "due_on": day(0),
        "kind": "count-due",
        "protocol_id": "us-itp-adult",
        "account_id": house.ids["technician"],
        "clinic_id": house.clinic,
        "collection": "weights",
    }
    return re.sub(r"<(?:[^:>]*:)?(\w+)>", lambda found: known.get(found[1], "0" * 20), rule)


def test_every_page_names_its_permission(house: House) -> None:
    found = list(pages(house))
    assert len(found) > 15
    for method, rule, permission in found:
        assert type(permission) is Permission, (method, rule)


@pytest.mark.parametrize("role", ROLES)
def test_each_role_sees_exactly_its_own(house: House, role: Role) -> None:
    patient = starting(house)
    decided(house, patient)
    somebody = Person(house, str(role))
    for method, rule, permission in sorted(pages(house), key=lambda one: "logout" in one[1].rule):
        assert permission is not None
        path = path_of(house, rule.rule, patient)
        page = somebody.get(path) if method == "GET" else somebody.post(path, {})
        if str(role) in HOLDERS[permission]:
            assert page.status not in (401, 403, 500), (method, path, page.text)
        else:
            assert page.status == 403, (method, path, page.text)
            assert str(permission) in page.text


def test_nobody_sees_anything(house: House) -> None:
    patient = starting(house)
    somebody = Person(house, None)
    for method, rule, _ in pages(house):
        path = path_of(house, rule.rule, patient)
        page = somebody.get(path) if method == "GET" else somebody.post(path, {})
        assert (page.status, "Log in" in page.text) == (200 if method == "GET" else 401, True), (method, path)
        assert "Patient1" not in page.text


def test_the_patient_of_another_clinic_is_not_there(house: House) -> None:
    patient = starting(house)
    decided(house, patient)
    stranger = Person(house, "stranger")
    for method, rule, permission in pages(house):
        if "<patient_id>" in rule.rule and method == "GET" and permission in PERMISSIONS[Role.PHARMACIST]:
            page = stranger.get(path_of(house, rule.rule, patient))
            assert page.status == 404, rule
            assert "Patient1" not in page.text


def test_a_token_of_a_program_opens_no_page(house: House) -> None:
    patient = starting(house)
    for secret in (house.tokens["pharmacist"], house.scoped("system/*.cruds")):
        somebody = Person(house, None)
        somebody.client.set_cookie(COOKIE, secret)
        for method, rule, _ in pages(house):
            path = path_of(house, rule.rule, patient)
            page = somebody.get(path) if method == "GET" else somebody.post(path, {})
            assert page.status == (200 if method == "GET" else 401), (method, path)
            assert "Log in" in page.text
        answer = house.app.test_client().get(f"/patients/{patient}", headers={"Authorization": f"Bearer {secret}"})
        assert answer.status_code == 303


def test_what_is_seen_stands_in_the_trail(house: House) -> None:
    patient = starting(house)
    before = len(house.trail(patient))
    Person(house).get(f"/patients/{patient}")
    seen = [(row.action, row.role) for row in house.trail(patient)[before:]]
    assert ("next-dose", "pharmacist") in seen
    assert ("read", "pharmacist") in seen
    assert Person(house, "technician").get(f"/patients/{patient}/accept").status == 403
    assert ("denied", "technician") in [(row.action, row.role) for row in house.trail()]
