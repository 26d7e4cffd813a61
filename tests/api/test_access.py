"""Who may do what: every route by every role, tokens that let nobody in, other clinics, emergencies, logins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.api.support import API, COLLECTIONS, ENTRY, PASSWORD, TODAY, WHY, House, build, count, day, dose, event
from tests.store.samples import sample
from titrator.security.permissions import PERMISSIONS, Permission, Role
from titrator.store.records import Delivery
from titrator.workflow.visit import Policy

#: The routes that need no account: those who have none yet log in, or set their first password.
PUBLIC: Final = {("POST", "/sessions"), ("POST", "/activations")}

CARE = {"technician", "pharmacist", "prescriber", "ehr"}
DECIDE = {"pharmacist", "prescriber"}
ALL = CARE | {"auditor", "admin"}
#: Who has which permission, written down a second time: a change of the table must be meant.
HOLDERS: Final = {
    "protocols:read": ALL,
    "clinics:read": ALL,
    "account:own": ALL,
    "recommend": CARE,
    "patients:read": CARE,
    "patients:write": CARE,
    "facts:record": CARE,
    "doses:propose": CARE,
    "patients:manage": DECIDE,
    "facts:verify": DECIDE,
    "decisions:sign": DECIDE,
    "decisions:override-beyond": {"prescriber"},
    "reminders:see-to": CARE,
    "calendars:issue": DECIDE,
    "courses:manage": DECIDE,
    "patients:import": DECIDE,
    "glass:break": DECIDE,
    "courses:new-baseline": {"prescriber"},
    "courses:confirm-eligibility": {"prescriber"},
    "courses:discontinue": {"prescriber"},
    "events:resolve-safety": {"prescriber"},
    "audit:read": {"auditor"},
    "evidence:take": DECIDE | {"auditor"},
    "clinics:manage": {"admin"},
    "accounts:manage": {"admin"},
}
#: The day on which a dose was given without a decision.
DEPARTED: Final = day(-1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> House:
    """One installation for the tests that change nothing."""
    return build(tmp_path_factory.mktemp("access"))


def path_of(rule: str, patient: str, fact: int = 1, account: str = "0" * 20, **named: str) -> str:
    """A rule as a path."""
    known = {"patient_id": patient, "fact_id": str(fact), "account_id": account, "protocol_id": "us-itp-adult"}
    known |= {"decision_id": "1", "day": DEPARTED, "kind": "count-due", "due_on": day(0)} | named
    return re.sub(r"<(?:[^:>]*:)?(\w+)>", lambda found: known.get(found[1], "0" * 20), rule)


def test_the_table_of_permissions_is_as_written_here() -> None:
    assert {str(one): {str(role) for role in Role if one in PERMISSIONS[role]} for one in Permission} == HOLDERS


def test_every_route_names_its_permission_or_is_public(shared: House) -> None:
    named = {(method, rule.rule.removeprefix(API)): permission for method, rule, permission in shared.routes}
    assert len(named) > 70
    assert {route for route, permission in named.items() if permission is None} == PUBLIC
    assert {type(permission) for permission in named.values() if permission is not None} == {Permission}


def test_every_permission_but_three_opens_a_route(shared: House) -> None:
    """Three are asked for within: to move a patient, to resolve a safety event, to decide beyond the protocol."""
    unused = set(Permission) - {permission for _, _, permission in shared.routes}
    assert unused == {Permission.MANAGE_PATIENTS, Permission.RESOLVE_SAFETY, Permission.OVERRIDE_BEYOND}


@pytest.mark.parametrize("role", list(Role))
def test_each_role_passes_exactly_its_own_routes(house: House, role: Role) -> None:
    patient = house.patient()
    passed, stopped = 0, 0
    for method, rule, permission in sorted(house.routes, key=lambda route: route[0] == "DELETE"):
        if permission is None:
            continue
        path = path_of(rule.rule, patient)
        answer = house.call(str(role), method, path, None if method in ("GET", "DELETE") else {}, version=1)
        if str(role) in HOLDERS[permission]:
            assert answer.status not in (401, 403), (method, path, answer.text)
            passed += 1
        else:
            assert (answer.status, answer.code) == (403, "FORBIDDEN"), (method, path, answer.text)
            assert str(permission) in answer.json["detail"]
            stopped += 1
    assert passed
    assert stopped


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer  "},
        {"Authorization": "Bearer titr_nobody"},
        {"Authorization": "Basic cGhhcm1hY2lzdDp4"},
        {"Authorization": "titr_nobody"},
        {"Authorization": "Bearer \xe4\xf6"},
    ],
    ids=str,
)
def test_no_route_answers_without_a_sound_token(shared: House, header: dict[str, str]) -> None:
    for method, rule, permission in shared.routes:
        if permission is None:
            continue
        answer = shared.call(None, method, path_of(rule.rule, "0" * 20), {} if method != "GET" else None, **header)
        assert (answer.status, answer.code) == (401, "UNAUTHORISED"), (method, rule.rule, answer.text)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def asks(house: House, token: str) -> int:
    return house.call(token, "GET", "/me").status


def test_a_token_ends_with_its_days(house: House) -> None:
    body = {"label": "for a day", "days": 1}
    token = house.post(f"/accounts/{house.ids['ehr']}/tokens", body, "admin")["secret"]
    house.clock.on(days=1, seconds=-1)
    assert asks(house, token) == 200
    house.clock.on(seconds=1)
    assert asks(house, token) == 401


def test_a_revoked_token_ends_at_once(house: House) -> None:
    account = house.ids["ehr"]
    issued = house.post(f"/accounts/{account}/tokens", {"label": "x", "days": 1}, "admin")
    assert asks(house, issued["secret"]) == 200
    at = f"/accounts/{account}/tokens/{issued['token']['id']}/revocation"
    assert house.post(at, {}, "admin")["revoked_at"]
    assert asks(house, issued["secret"]) == 401
    assert house.call("admin", "POST", at.replace(account, house.ids["technician"]), {}).status == 404


def test_a_narrowed_token_may_do_only_what_it_names(house: House) -> None:
    account = house.ids["pharmacist"]
    body = {"label": "reader", "days": 1, "permissions": ["patients:read", "patients:read"]}
    reader = house.post(f"/accounts/{account}/tokens", body, "admin")["secret"]
    patient = house.patient()
    assert house.call(reader, "GET", f"/patients/{patient}").status == 200
    for method, rule, permission in house.routes:
        if permission not in (None, Permission.READ_PATIENTS):
            answer = house.call(reader, method, path_of(rule.rule, patient), {} if method != "GET" else None)
            assert answer.status == 403, rule.rule
    nothing = house.post(f"/accounts/{account}/tokens", {"label": "none", "days": 1, "permissions": []}, "admin")
    assert asks(house, nothing["secret"]) == 403


def test_a_narrowed_token_lets_nobody_in(house: House) -> None:
    """Who could make an administrator, or send himself the link of one, would be one."""
    admin = house.ids["admin"]
    body = {"label": "accounts only", "days": 1, "permissions": ["accounts:manage"]}
    narrow = house.post(f"/accounts/{admin}/tokens", body, "admin")["secret"]
    assert house.call(narrow, "GET", "/accounts").status == 200
    other = {"username": "second", "display_name": "x", "role": "admin", "clinics": []}
    before = house.everything()["accounts"]
    for method, path, sent in (
        ("POST", "/accounts", other),
        ("POST", f"/accounts/{house.ids['pharmacist']}/invitation", None),
        ("POST", f"/accounts/{admin}/tokens", {"label": "x", "days": 1}),
    ):
        refused = house.call(narrow, method, path, sent)
        assert (refused.status, refused.code) == (403, "FORBIDDEN"), path
    changed = house.call(narrow, "PATCH", f"/accounts/{house.ids['pharmacist']}", {"role": "prescriber"}, version="*")
    assert (changed.status, changed.code) == (403, "FORBIDDEN")
    assert house.everything()["accounts"] == before


@pytest.mark.parametrize("beyond", ["accounts:manage", "audit:read", "no:such", "*"])
def test_a_token_cannot_be_wider_than_its_role(house: House, beyond: str) -> None:
    body = {"label": "x", "days": 1, "permissions": ["patients:read", beyond]}
    answer = house.call("admin", "POST", f"/accounts/{house.ids['pharmacist']}/tokens", body)
    assert (answer.status, list(answer.faults)) == (422, ["permissions"])


def test_a_narrowed_token_cannot_resolve_what_it_does_not_name(house: House) -> None:
    patient = house.patient()
    thrombosis = house.record(patient, "events", event(3, "thrombosis")).json["id"]
    body = {"label": "x", "days": 1, "permissions": ["facts:record", "patients:read"]}
    token = house.post(f"/accounts/{house.ids['prescriber']}/tokens", body, "admin")["secret"]
    path = f"/patients/{patient}/events/{thrombosis}/resolution"
    assert house.call(token, "POST", path, {**WHY, "resolved_on": TODAY}, version=1).status == 403
    assert house.call("prescriber", "POST", path, {**WHY, "resolved_on": TODAY}, version=1).status == 200


# Other clinics


BODIES: Final[dict[str, dict[str, object]]] = {
    "": {"family_name": "Other"},
    "/course": {"protocol": "us-itp-adult"},
    "/course/eligibility": {"eligibility": [], **WHY},
    "/course/protocol": {"protocol": "eu-itp-adult", **WHY},
    "/course/baseline": {"baseline_on": TODAY, **WHY},
    "/course/discontinuation": {"ended_on": DEPARTED, **WHY},
    "/contacts": {"items": []},
    "/calendars": {"label": "for the patient"},
    "/reminders/<kind>/<due_on>/postponement": {"until": day(-3)},
    "/decisions": {"decision": "refer", "proposal_sha256": "0" * 64, "reason_code": "other", "comment": "in doubt"},
}


def sound_requests(
    house: House, patient: str, facts: dict[str, int], **named: str
) -> Iterator[tuple[str, str, object]]:
    """A request that nothing is wrong with, for each route with a patient in its path: method, path, body."""
    for method, rule, _ in house.routes:
        if "<patient_id>" not in rule.rule:
            continue
        below = rule.rule.removeprefix(f"{API}/patients/<patient_id>")
        collection = below.split("/")[1] if "/" in below else ""
        path = path_of(rule.rule, patient, facts.get(collection, 1), **named)
        if method in ("GET", "DELETE"):
            yield method, path, None
        elif collection in COLLECTIONS and below.endswith("/resolution"):
            yield method, path, {"resolved_on": TODAY, **WHY}
        elif collection in COLLECTIONS and below.endswith(("entered-in-error", "verification")):
            yield method, path, WHY
        elif collection in COLLECTIONS:
            confirmed = {"confirm": ["DOSES-TOO-CLOSE"]} if collection == "doses" else {}
            yield method, path, ENTRY[collection](0) | confirmed | (WHY if method == "PUT" else {})
        else:
            yield method, path, BODIES.get(below, WHY)


def filled(house: House) -> tuple[str, dict[str, int]]:
    """A patient on a course with a fact in each collection."""
    patient = house.on_course()
    return patient, {name: house.record(patient, name, ENTRY[name](1)).json["id"] for name in COLLECTIONS}


def decided(house: House, patient: str) -> None:
    """A decision, and on the day after TODAY, which is now, a dose that nobody decided upon."""
    digest = house.get(f"/patients/{patient}/next-dose")["proposal_sha256"]
    house.post(f"/patients/{patient}/decisions", BODIES["/decisions"] | {"proposal_sha256": digest})
    house.clock.on(days=1)
    given = dose(-1, confirm=["DOSES-TOO-CLOSE"])
    assert house.record(patient, "doses", given).json["flags"] == ["DOSE-MISMATCH-DECISION"]


def test_another_clinics_patient_is_found_by_no_route(house: House) -> None:
    patient, facts = filled(house)
    decided(house, patient)
    _, foreign = house.account("foreign", Role.PRESCRIBER, house.other_clinic)
    reminder = house.get("/reminders")["items"][0]
    calendar = house.post(f"/patients/{patient}/calendars", {"label": "hers"})["id"]
    named = {"kind": reminder["kind"], "due_on": reminder["due_on"], "calendar_id": calendar}
    requests = list(sound_requests(house, patient, facts, **named))
    assert len(requests) > 62
    before = house.everything()
    for method, path, body in requests:
        answer = house.call(foreign, method, path, body, version="*")
        assert (answer.status, answer.code) == (404, "NOT-FOUND"), (method, path, answer.text)
        nowhere = house.call(foreign, method, path.replace(patient, "f" * 20), body, version="*")
        assert {**nowhere.json, "request_id": ""} == {**answer.json, "request_id": ""}, "tells that there is one"
    assert house.everything() == before
    for method, path, body in sorted(requests, key=lambda one: "/course" in one[1]):  # of doses without one is asked
        answer = house.call("prescriber", method, path, body, version="*")
        assert answer.status not in (401, 403, 404, 422, 428), (method, path, answer.text)


def test_another_clinics_patients_are_not_listed(house: House) -> None:
    patient, _ = filled(house)
    mine = house.patient("stranger")
    house.record(patient, "platelet-counts", count(0, 5000), "ehr")
    searches = ["", "?name=patient1", "?identifier=pharmacist-1", f"?clinic={house.clinic}", f"?cursor={'0' * 20}"]
    for search in searches:
        assert patient not in house.call("stranger", "GET", f"/patients{search}").text, search
    assert [one["id"] for one in house.get("/patients", "stranger")["items"]] == [mine]
    (line,) = house.get("/worklist", "pharmacist")["items"]
    assert (line["patient"], len(line["to_verify"])) == (patient, 1)
    for clinic in (house.clinic, "f" * 20):
        answer = house.call("stranger", "GET", f"/worklist?clinic={clinic}")
        assert (answer.status, answer.faults) == (422, {"clinic": "is no clinic of this account"})
    for query in ("", f"?on={day(-1)}"):
        shown = house.get(f"/worklist{query}", "stranger")
        assert (shown["items"], shown["next"], {*shown["tallies"].values()}) == ([], None, {0}), query
    assert [one["id"] for one in house.get("/clinics", "stranger")["items"]] == [house.other_clinic]
    assert house.call("stranger", "GET", f"/clinics/{house.clinic}").status == 404
    assert house.call("auditor", "GET", f"/audit?patient={mine}").status == 404
    assert house.call("auditor", "GET", f"/audit?patient={patient}").status == 200


def test_another_clinics_reminders_channels_and_calendars_are_not_there(house: House) -> None:
    patient, _ = filled(house)
    ours, theirs = f"/clinics/{house.clinic}", f"/clinics/{house.other_clinic}"
    gateway = {"audience": "gateway", "kind": "apprise", "label": "mail", "address": "mailtos://a:b@c.example?to={to}"}
    channel = house.post(f"{ours}/channels", gateway, "admin")["channel"]["id"]
    calendar = house.post(f"{ours}/calendars", {"label": "ward"})["id"]
    with house.services.store.writing() as session:
        dead = sample(Delivery, about=patient, clinic_id=house.clinic, channel_id=channel, status="dead")
        session.add(dead)
    assert {one["patient"] for one in house.get("/reminders")["items"]} == {patient}
    assert [one["id"] for one in house.get("/deliveries/undelivered")["items"]] == ["msg_1"]
    assert [one["id"] for one in house.get("/gateways")["items"]] == [channel]
    before = house.everything()
    for nothing in ("/reminders", "/deliveries/undelivered", "/gateways", f"{theirs}/calendars"):
        assert house.get(nothing, "stranger")["items"] == [], nothing
    for path in (f"{ours}/calendars", f"{ours}/reminder-settings"):
        assert house.call("stranger", "GET", path).status == 404, path
    for clinic in (ours, theirs):
        assert house.call("stranger", "DELETE", f"{clinic}/calendars/{calendar}").status == 404
    assert house.call("stranger", "POST", f"{ours}/calendars", {"label": "mine"}).status == 404
    for did in ("retry", "dismissal"):
        assert house.call("stranger", "POST", f"/deliveries/msg_1/{did}", {}).status == 404
    for path in ("/reminders", "/deliveries/undelivered"):
        answer = house.call("stranger", "GET", f"{path}?clinic={house.clinic}")
        assert (answer.status, list(answer.faults)) == (422, ["clinic"])
    contact = {"items": [{"gateway": channel, "address": "eva@example.org"}]}
    other = house.patient("stranger")
    for path in ("/me/contacts", f"/patients/{other}/contacts"):
        answer = house.call("stranger", "PUT", path, contact)
        assert (answer.status, list(answer.faults)) == (422, ["items[0].gateway"]), path
    for method in ("GET", "PATCH"):
        body = {} if method == "PATCH" else None
        assert house.call("admin", method, f"{theirs}/channels/{channel}", body, version="*").status == 404
    after = house.everything()
    assert {name: rows for name, rows in after.items() if name not in ("patients", "identifiers")} == {
        name: rows for name, rows in before.items() if name not in ("patients", "identifiers")
    }


def test_a_patient_is_made_in_ones_own_clinic_only(house: House) -> None:
    body = {"clinic": house.other_clinic, "family_name": "A", "given_name": "B"}
    for clinic in (house.other_clinic, "f" * 20):
        answer = house.call("pharmacist", "POST", "/patients", {**body, "clinic": clinic})
        assert (answer.status, list(answer.faults)) == (422, ["clinic"])


def test_a_patient_moves_only_between_ones_own_clinics(house: House) -> None:
    patient = house.patient()
    path = f"/patients/{patient}"
    move = {"clinic": house.other_clinic}
    answer = house.call("pharmacist", "PATCH", path, move, version=1)
    assert (answer.status, list(answer.faults)) == (422, ["clinic"]), "not a clinic of this account"
    _, both = house.account("both", Role.TECHNICIAN, house.clinic, house.other_clinic)
    assert house.call(both, "PATCH", path, move, version=1).status == 403, "a technician moves nobody"
    _, both = house.account("mover", Role.PHARMACIST, house.clinic, house.other_clinic)
    assert house.call(both, "PATCH", path, move, version=1).json["clinic"] == house.other_clinic
    assert house.call("pharmacist", "GET", path).status == 404
    assert house.call("stranger", "GET", path).status == 200


@pytest.mark.parametrize("changed", [{"born_on": "1961-05-01"}, {"active": False}])
def test_what_ends_dosing_or_changes_the_population_needs_a_right_and_a_reason(
    house: House, changed: dict[str, object]
) -> None:
    path = f"/patients/{house.patient()}"
    for who in ("technician", "ehr"):
        answer = house.call(who, "PATCH", path, changed | WHY, version=1)
        assert (answer.status, answer.code) == (403, "FORBIDDEN"), answer.text
    answer = house.call("pharmacist", "PATCH", path, changed, version=1)
    assert (answer.status, list(answer.faults)) == (422, ["reason"])
    assert house.call("pharmacist", "PATCH", path, changed | WHY, version=1).status == 200
    assert {key: house.get(path)[key] for key in changed} == changed


def test_a_first_birth_date_and_what_stays_as_it_is_need_neither(house: House) -> None:
    path = f"/patients/{house.patient(born_on=None)}"
    first = {"born_on": "1960-05-01"}
    assert house.call("technician", "PATCH", path, first, version=1).status == 200
    same = first | {"active": True, "clinic": house.clinic, "given_name": "Eva"}
    assert house.call("technician", "PATCH", path, same, version=2).status == 200
    assert house.call("technician", "PATCH", path, {"born_on": "1960-05-02", **WHY}, version=3).status == 403


def test_broken_glass_lets_nobody_take_a_patient_along(house: House) -> None:
    patient = house.patient()
    house.post("/glass-breaks", {"patient": patient, "reason": "seen in the night clinic"}, "stranger")
    answer = house.call("stranger", "PATCH", f"/patients/{patient}", {"clinic": house.other_clinic}, version=1)
    assert answer.status == 403
    house.clock.on(hours=2)
    assert house.call("stranger", "GET", f"/patients/{patient}").status == 404


# Emergencies


def test_breaking_the_glass_opens_one_patient_for_an_hour(house: House) -> None:
    patient, other = house.on_course(), house.patient()
    by = {"identifier": {"system": "urn:mrn", "value": "pharmacist-1"}, "reason": "bleeding, in our emergency room"}
    broken = house.post("/glass-breaks", by, "stranger")
    assert broken == {"patient": patient, "until": "2026-03-09T13:00:00.000000Z"}
    assert house.get(f"/patients/{patient}/timeline", "stranger")
    assert house.record(patient, "platelet-counts", count(0), "stranger").status == 201
    assert house.call("stranger", "GET", f"/patients/{other}").status == 404
    house.clock.on(minutes=59, seconds=59)
    assert house.call("stranger", "GET", f"/patients/{patient}").status == 200
    house.clock.on(seconds=1)
    assert house.call("stranger", "GET", f"/patients/{patient}").status == 404
    for chain in (patient, "system"):
        assert [row.account_id for row in house.trail(chain) if row.action == "break-glass"] == [house.ids["stranger"]]


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({"reason": "long enough a reason"}, ["patient"]),
        ({"patient": "f" * 20, "identifier": {"system": "a", "value": "b"}, "reason": "long enough"}, ["patient"]),
        ({"patient": 3, "reason": "short"}, ["patient", "reason"]),
        ({"identifier": {"system": "a"}, "reason": "long enough"}, ["identifier.value"]),
    ],
)
def test_breaking_the_glass_needs_one_patient_and_a_reason(house: House, body: object, faults: list[str]) -> None:
    answer = house.call("stranger", "POST", "/glass-breaks", body)
    assert (answer.status, sorted(answer.faults)) == (422, faults)


def test_nobody_breaks_the_glass_for_a_patient_who_is_not_there(house: House) -> None:
    for named in ({"patient": "f" * 20}, {"identifier": {"system": "urn:mrn", "value": "none"}}):
        answer = house.call("stranger", "POST", "/glass-breaks", {**named, "reason": "looking for somebody"})
        assert answer.status == 404


# Logins


def invited(house: House, role: str = "pharmacist", name: str = "Grete.Hoffmann") -> tuple[str, str]:
    """A new person of clinic A: the id, and the secret of the activation."""
    body = {"username": name, "display_name": "Grete", "role": role, "clinics": [house.clinic]}
    made = house.post("/accounts", body, "admin")
    return made["account"]["id"], made["activation_secret"]


def person(house: House, name: str = "Grete.Hoffmann") -> str:
    """A new person of clinic A with a password: the id."""
    ident, secret = invited(house, name=name)
    assert house.call(None, "POST", "/activations", {"secret": secret, "password": PASSWORD}).status == 201
    return ident


def login(house: House, password: str = PASSWORD, name: str = "grete.hoffmann") -> tuple[int, str]:
    """The status of a login, and the token that it gave, or the code of what was wrong."""
    answer = house.call(None, "POST", "/sessions", {"username": name, "password": password})
    return answer.status, answer.json["token"] if answer.status == 201 else answer.json["code"]


def test_a_login_gives_a_session_whatever_the_case_of_the_name(house: House) -> None:
    person(house)
    status, token = login(house, name="GRETE.hoffmann")
    assert status == 201
    assert house.get("/me", token)["account"]["username"] == "grete.hoffmann"


def test_an_activation_works_once(house: House) -> None:
    _, secret = invited(house)
    assert login(house) == (401, "LOGIN-FAILED"), "no password yet"
    assert asks(house, secret) == 401, "an activation is no token"
    weak = house.call(None, "POST", "/activations", {"secret": secret, "password": "too short"})
    assert (weak.status, list(weak.faults)) == (422, ["password"])
    done = house.call(None, "POST", "/activations", {"secret": secret, "password": PASSWORD})
    assert (done.status, done.json["activated"]) == (201, True)
    again = house.call(None, "POST", "/activations", {"secret": secret, "password": PASSWORD + "!"})
    assert (again.status, again.code) == (401, "ACTIVATION-USED")
    assert login(house)[0] == 201


def test_an_activation_ends(house: House) -> None:
    _, secret = invited(house)
    house.clock.on(days=7)
    answer = house.call(None, "POST", "/activations", {"secret": secret, "password": PASSWORD})
    assert (answer.status, answer.code) == (401, "ACTIVATION-USED")


def test_a_new_invitation_ends_the_one_before_and_the_sessions(house: House) -> None:
    ident, first = invited(house)
    second = house.post(f"/accounts/{ident}/invitation", {}, "admin")["activation_secret"]
    assert house.call(None, "POST", "/activations", {"secret": first, "password": PASSWORD}).code == "ACTIVATION-USED"
    assert house.call(None, "POST", "/activations", {"secret": second, "password": PASSWORD}).status == 201
    _, token = login(house)
    house.post(f"/accounts/{ident}/invitation", {}, "admin")
    assert asks(house, token) == 401


@pytest.mark.parametrize(
    ("password", "fits"),
    [
        ("fourteen chars", False),
        ("fifteen chars!!", True),
        ("x" * 256, False),
        ("abcd" * 10, False),
        ("abcde" * 10, True),
        ("I am Grete.Hoffmann of A", False),
        ("ünïcödé is fine, too", True),
        ("a b\tc d e f g h i j", True),
        ("0123456789" * 25 + "abcdef", True),
        ("0123456789" * 25 + "abcdefg", False),
        ("", False),
    ],
)
def test_passwords(house: House, password: str, fits: bool) -> None:
    _, secret = invited(house)
    answer = house.call(None, "POST", "/activations", {"secret": secret, "password": password})
    assert answer.status == (201 if fits else 422), answer.text
    if fits:
        assert login(house, password)[0] == 201
    else:
        assert list(answer.faults) == ["password"]


def test_a_wrong_password_and_a_wrong_name_look_the_same(house: House) -> None:
    person(house)
    answers = [
        house.call(None, "POST", "/sessions", {"username": name, "password": "not the password at all"})
        for name in ("grete.hoffmann", "nobody.there")
    ]
    assert {answer.status for answer in answers} == {401}
    assert len({str({**answer.json, "request_id": ""}) for answer in answers}) == 1


def test_five_failures_lock_for_a_quarter_of_an_hour(house: House) -> None:
    person(house)
    for _ in range(5):
        assert login(house, "wrong password, again") == (401, "LOGIN-FAILED")
    assert login(house) == (401, "LOGIN-FAILED"), "locked: the right one is refused, too"
    house.clock.on(minutes=14, seconds=59)
    assert login(house)[0] == 401
    house.clock.on(seconds=2)
    assert login(house)[0] == 201
    actions = [row.action for row in house.trail()]
    assert actions.count("lock") == 1
    assert actions.count("login-refused") == 2


def test_four_failures_lock_nobody_and_a_login_forgets_them(house: House) -> None:
    person(house)
    for _ in range(2):
        for _ in range(4):
            login(house, "wrong password, again")
        assert login(house)[0] == 201


def test_an_administrator_unlocks(house: House) -> None:
    ident = person(house)
    for _ in range(5):
        login(house, "wrong password, again")
    assert house.get(f"/accounts/{ident}", "admin")["locked_until"]
    assert house.call("admin", "PATCH", f"/accounts/{ident}", {}, version="*").json["locked_until"] is None
    assert login(house)[0] == 201


def test_a_session_ends_when_it_is_not_used(house: House) -> None:
    person(house)
    _, token = login(house)
    for _ in range(4):
        house.clock.on(minutes=29)
        assert asks(house, token) == 200
    house.clock.on(minutes=30, seconds=1)
    assert asks(house, token) == 401


def test_a_session_ends_after_its_hours_however_much_it_is_used(house: House) -> None:
    person(house)
    _, token = login(house)
    for _ in range(12 * 3 - 1):
        house.clock.on(minutes=20)
        assert asks(house, token) == 200
    house.clock.on(minutes=20)
    assert asks(house, token) == 401


def test_a_logout_ends_the_session_and_no_other(house: House) -> None:
    person(house)
    (_, one), (_, other) = login(house), login(house)
    assert house.call(one, "DELETE", "/sessions/current").status == 204
    assert (asks(house, one), asks(house, other)) == (401, 200)


def test_a_disabled_account_is_out_at_once_and_cannot_log_in(house: House) -> None:
    ident = person(house)
    _, token = login(house)
    program = house.post(f"/accounts/{ident}/tokens", {"label": "x", "days": 9}, "admin")["secret"]
    changed = house.call("admin", "PATCH", f"/accounts/{ident}", {"active": False}, version="*")
    assert changed.json["active"] is False
    assert {asks(house, token), asks(house, program), login(house)[0]} == {401}
    refused = house.call("admin", "POST", f"/accounts/{ident}/tokens", {"label": "x", "days": 9})
    assert (refused.status, refused.code) == (409, "ACCOUNT-INACTIVE")
    assert house.call("admin", "POST", f"/accounts/{ident}/invitation", {}).code == "ACCOUNT-INACTIVE"
    house.call("admin", "PATCH", f"/accounts/{ident}", {"active": True}, version="*")
    assert {asks(house, token), asks(house, program)} == {401}, "what has ended stays ended"
    assert login(house)[0] == 201


def test_another_role_ends_all_tokens_and_other_clinics_count_at_once(house: House) -> None:
    ident = person(house)
    _, token = login(house)
    patient = house.patient()
    house.call("admin", "PATCH", f"/accounts/{ident}", {"clinics": [house.other_clinic]}, version="*")
    assert house.call(token, "GET", f"/patients/{patient}").status == 404
    house.call("admin", "PATCH", f"/accounts/{ident}", {"role": "technician"}, version="*")
    assert asks(house, token) == 401
    assert house.get("/me", login(house)[1])["account"]["role"] == "technician"


def test_a_system_has_no_password(house: House) -> None:
    made = house.post("/accounts", {"username": "lab", "display_name": "Lab", "role": "ehr"}, "admin")
    assert made["activation_secret"] is None
    assert house.call("admin", "POST", f"/accounts/{made['account']['id']}/invitation", {}).status == 409
    ident = person(house)
    changed = house.call("admin", "PATCH", f"/accounts/{ident}", {"role": "ehr"}, version="*")
    assert changed.json["activated"] is False, "a person's password does not become a system's"
    assert login(house) == (401, "LOGIN-FAILED")


def test_an_administrator_cannot_lock_himself_out(house: House) -> None:
    for change in ({"active": False}, {"role": "pharmacist"}):
        assert house.call("admin", "PATCH", f"/accounts/{house.ids['admin']}", change, version="*").status == 403


def test_usernames_are_unique_whatever_their_case(house: House) -> None:
    answer = house.call("admin", "POST", "/accounts", {"username": "TECHNICIAN", "display_name": "x", "role": "ehr"})
    assert (answer.status, answer.code, list(answer.faults)) == (409, "USERNAME-TAKEN", ["username"])


def test_accounts_belong_to_clinics_that_there_are(house: House) -> None:
    wanted = ["f" * 20, house.clinic, "e" * 20]
    body = {"username": "x", "display_name": "x", "role": "ehr", "clinics": wanted}
    for answer in (
        house.call("admin", "POST", "/accounts", body),
        house.call("admin", "PATCH", f"/accounts/{house.ids['ehr']}", {"clinics": wanted}, version="*"),
    ):
        assert (answer.status, sorted(answer.faults)) == (422, ["clinics[0]", "clinics[2]"]), "where they were sent"


def test_secrets_are_stored_nowhere(house: House) -> None:
    _, secret = invited(house)
    house.call(None, "POST", "/activations", {"secret": secret, "password": PASSWORD})
    _, token = login(house)
    stored = str(house.everything()) + str(house.trail())
    assert "grete.hoffmann" in stored
    assert not [text for text in (secret, token, PASSWORD, *house.tokens.values()) if text in stored]


def test_too_many_requests(tmp_path: Path) -> None:
    house = build(tmp_path, Policy())
    door = house.app.extensions["titrator"]
    object.__setattr__(door, "requests", type(door.requests)(3))
    object.__setattr__(door, "logins", type(door.logins)(2))
    statuses = [house.call("pharmacist", "GET", "/me").status for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    refused = house.call("pharmacist", "GET", "/me")
    assert refused.code == "TOO-MANY-REQUESTS"
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert house.call("technician", "GET", "/me").status == 200, "each account for itself"
    assert [login(house)[0] for _ in range(3)] == [401, 401, 429]
    guesses = [house.call("titr_guess", "GET", "/me").status for _ in range(4)]
    assert guesses == [401, 401, 401, 429]


# Patients who are not active


def test_of_an_inactive_patient_nothing_is_recorded(house: House) -> None:
    patient, facts = filled(house)
    house.call("pharmacist", "PATCH", f"/patients/{patient}", {"active": False, **WHY}, version="*")
    for name in COLLECTIONS:
        at = f"/patients/{patient}/{name}"
        assert house.call("prescriber", "POST", at, ENTRY[name](0)).code == "PATIENT-INACTIVE"
        change = ENTRY[name](0) | WHY
        assert house.call("prescriber", "PUT", f"{at}/{facts[name]}", change, version="*").code == "PATIENT-INACTIVE"
        assert house.get(at)["items"], "what there is can be read"
    assert house.call("pharmacist", "GET", f"/patients/{patient}/next-dose").code == "COURSE-NOT-ACTIVE"
    assert house.call("pharmacist", "POST", f"/patients/{patient}/course", BODIES["/course"]).code == "PATIENT-INACTIVE"
    house.call("pharmacist", "PATCH", f"/patients/{patient}", {"active": True, **WHY}, version="*")
    assert house.record(patient, "doses", dose(8, 75)).status == 201
    assert day(0) == TODAY
