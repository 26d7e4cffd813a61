"""Accounts, tokens, clients and clinics as pages: what is shown once, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.api.support import PASSWORD, SILENT, House
from tests.api.test_channels import added, mailto
from tests.fhir.smart import key_set
from tests.notify.servers import MailServer, mail_server
from tests.web.support import Page, Person
from titrator.assembly import open_channel
from titrator.security.permissions import PERMISSIONS, Permission, Role
from titrator.store.records import KeptAnswer
from titrator.web.words import RIGHTS
from titrator.workflow import accounts, clients

URL = "https://ehr.example/jwks.json"


@pytest.fixture
def admin(house: House) -> Person:
    return Person(house, "admin")


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as made:
        yield made


def secret_of(page: Page) -> str:
    """What a page shows once."""
    found = re.search(r'<textarea[^>]*id="secret"[^>]*>([^<]*)</textarea>', page.html)
    assert found is not None, page.text
    return found[1]


def filled(somebody: Person, path: str, **fields: str | list[str] | None) -> Page:
    return somebody.submit(somebody.get(path), path, **fields)


def account(house: House, ident: str) -> dict[str, object]:
    return dict(house.get(f"/accounts/{ident}", "admin"))


def named(house: House, username: str) -> dict[str, object]:
    (found,) = [one for one in house.get("/accounts", "admin")["items"] if one["username"] == username]
    return dict(found)


# The list


def test_all_accounts_with_role_clinics_and_state(house: House, admin: Person) -> None:
    page = admin.get("/accounts")
    assert page.status == 200
    assert page.links["technician"] == f"/accounts/{house.ids['technician']}"
    assert "Haematology A" in page.text
    assert "comes in by token" in page.text
    assert "invited: has set no password yet" in page.text


@pytest.mark.parametrize("role", ["technician", "pharmacist", "prescriber", "auditor"])
def test_others_may_not(house: House, role: str) -> None:
    somebody = Person(house, role)
    ident = house.ids["pharmacist"]
    for path in (
        "/accounts",
        "/accounts/new",
        f"/accounts/{ident}",
        f"/accounts/{ident}/change",
        "/clients",
        "/clinics",
    ):
        page = somebody.get(path)
        assert page.status == 403
    assert "Accounts" not in page.links


def test_each_right_has_words() -> None:
    assert set(RIGHTS) == {str(right) for right in Permission}


# A new account


def test_a_person_gets_a_link_that_is_shown_once(house: House, admin: Person) -> None:
    form = admin.get("/accounts/new")
    said = {"username": "Wren", "display_name": "Mira Wren", "role": "pharmacist", "clinics": [house.clinic]}
    page = admin.submit(form, "/accounts/new", **said)
    link = secret_of(page)
    assert link.startswith("https://titrator.example/activate/")
    assert "Mira Wren" in page.text
    made = named(house, "wren")
    assert (made["role"], made["clinics"], made["activated"]) == ("pharmacist", [house.clinic], False)
    again = admin.submit(form, "/accounts/new", **said)
    assert "This has been done already." in again.text
    assert again.path == f"/accounts/{made['id']}"
    secret = link.rsplit("/", 1)[1]
    with house.services.store.reading() as session:
        kept = session.find(KeptAnswer)
    for held in (again.html, str(kept), str(house.trail()), admin.get(f"/accounts/{made['id']}").html):
        assert secret not in held
    new = Person(house, None)
    answered = new.post(f"/activate/{secret}", {"password": PASSWORD, "again": PASSWORD})
    assert "Your password is set" in answered.text
    assert new.submit(new.get("/"), "/login", username="wren", password=PASSWORD).path == "/worklist"


def test_a_system_gets_no_link(house: House, admin: Person) -> None:
    page = filled(admin, "/accounts/new", username="lab", display_name="Laboratory", role="ehr")
    assert "A system has no password" in page.text
    assert page.path == f"/accounts/{named(house, 'lab')['id']}"
    assert 'id="secret"' not in page.html


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, ["Username: required", "Name to show: required", "Role: required"]),
        ({"username": "a b", "display_name": "A", "role": "porter"}, ["Username: must match", "Role: must be one of"]),
        ({"username": "pharmacist", "display_name": "A", "role": "admin"}, ["Username: taken"]),
    ],
)
def test_an_account_that_cannot_be_made(house: House, admin: Person, fields: dict[str, str], told: list[str]) -> None:
    before = house.get("/accounts", "admin")
    page = filled(admin, "/accounts/new", **fields)
    assert page.status in (409, 422)
    for text in told:
        assert text in page.text
    assert page.sheet("/accounts/new").fields["username"] == [fields.get("username", "")]
    assert house.get("/accounts", "admin") == before


def test_a_clinic_that_is_none(house: House, admin: Person) -> None:
    said = {"username": "x", "display_name": "X", "role": "technician", "clinics": ["f" * 20, house.clinic]}
    page = filled(admin, "/accounts/new", **said)
    assert page.status == 422
    assert "Clinics" in page.text
    assert house.clinic in page.sheet("/accounts/new").fields["clinics"]


# A change


def test_another_role_and_clinics(house: House, admin: Person) -> None:
    ident = house.ids["technician"]
    page = admin.get(f"/accounts/{ident}/change")
    sheet = page.sheet(f"/accounts/{ident}/change")
    assert (sheet.fields["role"], sheet.fields["clinics"]) == (["technician"], [house.clinic])
    page = admin.submit(page, f"/accounts/{ident}/change", role="pharmacist", clinics=None)
    assert (page.path, "The account has been changed." in page.text) == (f"/accounts/{ident}", True)
    found = account(house, ident)
    assert (found["role"], found["clinics"], found["active"], found["version"]) == ("pharmacist", [], True, 2)
    assert house.call("technician", "GET", "/me").status == 401, "another role ends sessions and tokens"


def test_disabled_and_let_in_again(house: House, admin: Person) -> None:
    path = f"/accounts/{house.ids['technician']}/change"
    filled(admin, path, active=None)
    assert account(house, house.ids["technician"])["active"] is False
    assert "disabled" in admin.get(f"/accounts/{house.ids['technician']}").text
    filled(admin, path, active="y")
    assert account(house, house.ids["technician"])["active"] is True


def test_a_change_of_what_was_changed_meanwhile(house: House, admin: Person) -> None:
    path = f"/accounts/{house.ids['technician']}/change"
    page = admin.get(path)
    filled(Person(house, "admin"), path, display_name="Tern the second")
    page = admin.submit(page, path, display_name="Tern the third")
    assert page.status == 412
    assert "its version is 2 now, not 1" in page.text
    assert page.sheet(path).fields["display_name"] == ["Tern the third"]
    assert account(house, house.ids["technician"])["display_name"] == "Tern the second"


def test_a_change_without_a_name_or_a_role(house: House, admin: Person) -> None:
    page = filled(admin, f"/accounts/{house.ids['technician']}/change", display_name=" ", role="")
    assert page.status == 422
    assert "Name to show: required" in page.text
    assert "Role: required" in page.text
    assert account(house, house.ids["technician"])["version"] == 1


def test_an_administrator_does_not_lock_himself_out(house: House, admin: Person) -> None:
    page = filled(admin, f"/accounts/{house.ids['admin']}/change", active=None)
    assert page.status == 403
    assert "may not lock himself out" in page.text
    assert account(house, house.ids["admin"])["active"] is True


def test_an_account_that_is_not_there(admin: Person) -> None:
    for path in ("", "/change", "/invitation", "/tokens/new", "/clients/new"):
        assert admin.get(f"/accounts/{'f' * 20}{path}").status == 404


def with_password(house: House, username: str) -> None:
    with house.visit() as visit:
        issued = accounts.invite_again(visit, house.ids[username])[1]
    with house.visit() as visit:
        assert accounts.activate(visit, issued.secret, PASSWORD)


def test_unlocked(house: House, admin: Person) -> None:
    with_password(house, "pharmacist")
    somebody = Person(house, None)
    for _ in range(5):
        somebody.submit(somebody.get("/login"), "/login", username="pharmacist", password="wrong" * 5)
    path = f"/accounts/{house.ids['pharmacist']}"
    page = admin.get(path)
    assert "locked after failed logins, until Mon 9 Mar 2026 12:15 UTC" in page.text
    page = admin.submit(page, f"{path}/unlock")
    assert "The account is unlocked." in page.text
    assert f"{path}/unlock" not in [sheet.action for sheet in page.sheets]
    assert somebody.submit(somebody.get("/login"), "/login", username="pharmacist", password=PASSWORD).status == 200


def test_invited_again_the_old_password_ends(house: House, admin: Person) -> None:
    with_password(house, "pharmacist")
    path = f"/accounts/{house.ids['pharmacist']}/invitation"
    page = admin.get(path)
    assert "ends at once" in page.text
    assert account(house, house.ids["pharmacist"])["activated"] is True, "to look at the form changes nothing"
    link = secret_of(admin.submit(page, path))
    assert account(house, house.ids["pharmacist"])["activated"] is False
    somebody = Person(house, None)
    assert somebody.get(link.removeprefix("https://titrator.example")).status == 200
    assert somebody.submit(somebody.get("/login"), "/login", username="pharmacist", password=PASSWORD).status == 401


def test_a_system_is_not_invited(house: House, admin: Person) -> None:
    path = f"/accounts/{house.ids['ehr']}"
    assert f"{path}/invitation" not in admin.get(path).links.values()
    page = filled(admin, f"{path}/invitation")
    assert page.status == 409
    assert "A system has no password" in page.text


# Tokens


def test_a_token_is_shown_once_lets_in_and_ends(house: House, admin: Person) -> None:
    path = f"/accounts/{house.ids['pharmacist']}"
    form = admin.get(f"{path}/tokens/new")
    assert set(form.sheet(f"{path}/tokens/new").choices["permissions"]) == {
        str(right) for right in PERMISSIONS[Role.PHARMACIST]
    }
    said = {"label": "export", "days": "30", "permissions": ["patients:read", "account:own"]}
    page = admin.submit(form, f"{path}/tokens/new", **said)
    secret = secret_of(page)
    assert "It works until Wed 8 Apr 2026 12:00 UTC" in page.text
    answer = house.call(secret, "GET", "/me")
    assert (answer.status, answer.json["permissions"]) == (200, ["account:own", "patients:read"])
    again = admin.submit(form, f"{path}/tokens/new", **said)
    assert "This has been done already." in again.text
    assert secret not in again.html
    assert "see and change the own account; read patients, their facts and decisions" in again.text
    (token,) = [one for one in house.get(f"{path}/tokens", "admin")["items"] if one["label"] == "export"]
    page = admin.submit(again, f"{path}/tokens/{token['id']}/revocation")
    assert "The token export has ended." in page.text
    assert house.call(secret, "GET", "/me").status == 401


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, ["What it is for: required", "How long it lasts: required"]),
        ({"label": "x", "days": "0"}, ["How long it lasts: must be a whole number from 1 to 3660"]),
        ({"label": "x", "days": "1.5"}, ["must be a whole number"]),
        ({"label": "x", "days": "1,5"}, ["must be a number, with a point"]),
        ({"label": "x", "days": "3", "permissions": ["accounts:manage"]}, ["not given to the role pharmacist"]),
    ],
)
def test_a_token_that_cannot_be_issued(house: House, admin: Person, fields: dict[str, str], told: list[str]) -> None:
    path = f"/accounts/{house.ids['pharmacist']}"
    before = house.get(f"{path}/tokens", "admin")
    page = filled(admin, f"{path}/tokens/new", **fields)
    assert page.status == 422
    for text in told:
        assert text in page.text
    assert house.get(f"{path}/tokens", "admin") == before


# Clients


@pytest.mark.parametrize("keys", [{"jwks_url": URL}, {"jwks": key_set()}])
def test_a_client_is_registered_and_ended(house: House, admin: Person, keys: dict[str, str]) -> None:
    path = f"/accounts/{house.ids['ehr']}/clients/new"
    page = filled(admin, path, label="engine", scopes="system/Patient.rs\nsystem/Observation.crus", **keys)
    with house.visit() as visit:
        (client,) = clients.clients(visit.session)
    assert client.scopes == ("system/Patient.rs", "system/Observation.crus")
    assert (client.jwks_url, client.jwks) == (keys.get("jwks_url"), keys.get("jwks"))
    assert f"as {client.id}" in page.text
    page = admin.get("/clients")
    assert "engine" in page.text
    assert page.links["ehr"] == f"/accounts/{house.ids['ehr']}"
    page = admin.submit(page, f"/clients/{client.id}/revocation")
    assert "The client engine and its tokens have ended." in page.text
    with house.visit() as visit:
        assert clients.clients(visit.session)[0].revoked_at is not None


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, ["What it is: must have", "Scopes: the most that it gets: there must be", "there must be either a set"]),
        (
            {"label": "x", "scopes": "patient/Patient.rs", "jwks_url": "http://ehr.example/"},
            ["only scopes", "https://"],
        ),
        ({"label": "x", "scopes": "system/Patient.rs", "jwks": "no keys"}, ["Or its public keys (JWKS):"]),
        ({"label": "x", "scopes": "system/Patient.rs", "jwks": "{}", "jwks_url": URL}, ["there must be either a set"]),
    ],
)
def test_a_client_that_cannot_be_registered(
    house: House, admin: Person, fields: dict[str, str], told: list[str]
) -> None:
    page = filled(admin, f"/accounts/{house.ids['ehr']}/clients/new", **fields)
    assert page.status == 422
    for text in told:
        assert text in page.text
    with house.visit() as visit:
        assert clients.clients(visit.session) == []


def test_a_client_of_a_person(house: House, admin: Person) -> None:
    page = filled(
        admin, f"/accounts/{house.ids['pharmacist']}/clients/new", label="x", scopes="system/Patient.rs", jwks_url=URL
    )
    assert page.status == 409
    assert "needs an active account of a system" in page.text


# Clinics


def test_a_clinic_is_made_and_changed(house: House, admin: Person) -> None:
    page = filled(
        admin,
        "/clinics/new",
        name="Island",
        time_zone="Asia/Tokyo",
        holidays="2027-01-01\r\n2026-12-25\r\n",
        injection_days=["monday", "friday"],
    )
    assert "The clinic Island is there." in page.text
    assert "Monday, Friday" in page.text
    (made,) = [one for one in house.get("/clinics", "admin")["items"] if one["name"] == "Island"]
    assert (made["holidays"], made["injection_days"]) == (["2026-12-25", "2027-01-01"], ["friday", "monday"])
    path = f"/clinics/{made['id']}"
    form = admin.get(path)
    assert form.sheet(path).fields["holidays"] == ["2026-12-25\n2027-01-01"]
    page = admin.submit(form, path, name="Isle", holidays="", injection_days=None)
    assert "The clinic Isle has been changed." in page.text
    late = admin.submit(admin.get(path), path, version="1", name="Islet")
    assert late.status == 412
    (made,) = [one for one in house.get("/clinics", "admin")["items"] if one["id"] == made["id"]]
    assert (made["name"], made["holidays"], made["injection_days"], made["version"]) == ("Isle", [], [], 2)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, ["Name: required", "Time zone: required"]),
        (
            {"name": "x", "time_zone": "Europe/Berln", "holidays": "25.12.2026", "injection_days": ["someday"]},
            ["Time zone: must be a name of the IANA", "Holidays: must be a date", "must be one of monday"],
        ),
    ],
)
def test_a_clinic_that_cannot_be_made(house: House, admin: Person, fields: dict[str, str], told: list[str]) -> None:
    page = filled(admin, "/clinics/new", **fields)
    assert page.status == 422
    for text in told:
        assert text in page.text
    assert len(house.get("/clinics", "admin")["items"]) == 2


# Channels


@pytest.fixture
def telling(house: House) -> House:
    return house.with_services(telling=replace(SILENT, open_channel=open_channel, chance=lambda: 0.5))


def test_channels_are_listed_and_tested(telling: House, mail: MailServer) -> None:
    ident = added(telling, "pharmacist", mailto(mail))["channel"]["id"]
    admin = Person(telling, "admin")
    path = f"/clinics/{telling.clinic}/channels"
    page = admin.get(path)
    assert "to pharmacist" in page.text
    assert "ward@example.org" not in page.html
    page = filled(admin, f"{path}/{ident}/test")
    assert (page.path, "The test was sent." in page.text) == (path, True)
    assert len(mail.envelopes) == 1
    mail.answers["ward@example.org"] = "550 5.1.1 no such user"
    page = filled(admin, f"{path}/{ident}/test")
    assert (page.path, "The test was not sent:" in page.text) == (path, True)
    assert [row.action for row in telling.trail()].count("test-channel") == 2


def test_a_gateway_is_tested_by_whom_to_tell(telling: House, mail: MailServer) -> None:
    ident = added(telling, "gateway", mailto(mail, "{to}"))["channel"]["id"]
    admin = Person(telling, "admin")
    path = f"/clinics/{telling.clinic}/channels/{ident}/test"
    page = filled(admin, path)
    assert page.status == 422
    assert "To whom: required" in page.text
    assert filled(admin, path, to="no address").status == 422
    assert "The test was sent." in filled(admin, path, to="me@example.org").text
    assert len(mail.envelopes) == 1


def test_channels_of_a_clinic_that_has_none(admin: Person, house: House) -> None:
    assert "No channel yet" in admin.get(f"/clinics/{house.clinic}/channels").text
    assert admin.get(f"/clinics/{'f' * 20}/channels").status == 404
