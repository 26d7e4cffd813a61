"""What somebody with ill will tried on the pages, each try as a test."""

from __future__ import annotations

import base64
import re
import threading
import zlib
from io import BytesIO
from typing import Any

import pytest

from tests.api.deciding import decided, dosed
from tests.api.support import PASSWORD, House, day
from tests.web.support import Person
from tests.web.test_access import path_of
from tests.web.test_login import late, log_in, with_factor, with_password
from titrator.security.permissions import Permission, Role
from titrator.store.records import KeptAnswer
from titrator.web.frame import COOKIE
from titrator.workflow import trail
from titrator.workflow.visit import Policy

FORM_COOKIE = "titrator_form"
TLS = "https://titrator.example"


def fields_of(who: Person, path: str) -> dict[str, list[str]]:
    """The fields of the form on a page that sends to its own path."""
    return dict(who.get(path).sheet(path).fields)


def count(ago: int, value: str = "55") -> dict[str, list[str]]:
    return {"value": [value], "unit": ["10*9/L"], "collected_on": [day(ago)]}


# Where a page leads to


@pytest.mark.parametrize(
    "where", ["/\t/evil.example", "/\r/evil.example", "/\n/evil.example", "/a\rb", "/\x0b/evil", "/\x7f"]
)
def test_nothing_that_browsers_leave_out_of_an_address_leads_elsewhere(house: House, where: str) -> None:
    """Browsers drop tabs and ends of lines: with one of them, what begins with / is another host."""
    answer = house.app.test_client().post("/theme", data={"theme": "dark", "next": where})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    with_password(house)
    somebody = Person(house, None)
    page = somebody.submit(somebody.get("/login"), "/login", username="pharmacist", password=PASSWORD, next=where)
    assert (page.status, page.path) == (200, "/worklist")


# Cookies, and whose form it is


def test_a_form_of_another_site_imports_nothing_by_somebodys_session(house: House) -> None:
    """A browser sends a form with a file to anywhere, with the cookies that it has: the API takes none."""
    somebody = Person(house)
    assert somebody.client.get_cookie(COOKIE) is not None
    form = {"mapping": "{}", "file": (BytesIO(b"MRN,Date,Weight kg\n7,2026-01-05,70\n"), "ward.csv")}
    sent = somebody.client.post("/api/v1/imports", data=form, content_type="multipart/form-data")
    assert (sent.status_code, somebody.client.get("/api/v1/imports").status_code) == (401, 401)


def test_behind_tls_both_cookies_are_for_tls_only(house: House) -> None:
    with_password(house)
    client = house.app.test_client()
    page = client.get("/login", base_url=TLS)
    token = re.search(r'name="csrf_token" value="([^"]+)"', page.get_data(as_text=True))
    assert token is not None
    said = {"csrf_token": token[1], "username": "pharmacist", "password": PASSWORD}
    answer = client.post("/login", base_url=TLS, data=said)
    cookies = page.headers.getlist("Set-Cookie") + answer.headers.getlist("Set-Cookie")
    assert {cookie.partition("=")[0] for cookie in cookies} == {COOKIE, FORM_COOKIE}
    for cookie in cookies:
        assert {"Secure", "HttpOnly", "SameSite=Lax"} <= set(cookie.split("; ")), cookie


def test_a_form_cookie_that_was_put_into_a_browser_signs_nothing_in_its_session(house: House) -> None:
    """Another host of the hospital's domain may set cookies for it: with one of its own it must not forge forms."""
    patient = dosed(house)
    somebody, attacker = Person(house), Person(house, None)
    path = f"/patients/{patient}/platelet-counts/new"
    own = fields_of(somebody, path)
    token = attacker.get("/login").sheet("/login").fields["csrf_token"]
    planted = attacker.client.get_cookie(FORM_COOKIE)
    assert planted is not None
    somebody.client.set_cookie(FORM_COOKIE, planted.value)
    before = house.get(f"/patients/{patient}/platelet-counts")
    page = somebody.post(path, {**own, **count(3), "csrf_token": token})
    assert "has not been recorded yet" in page.text
    assert house.get(f"/patients/{patient}/platelet-counts") == before
    assert somebody.post("/logout", {"csrf_token": token}).status == 422


def test_what_signs_the_forms_of_one_session_signs_none_of_another(house: House) -> None:
    patient = dosed(house)
    somebody, other = Person(house), Person(house, "prescriber")
    path = f"/patients/{patient}/platelet-counts/new"
    fields = fields_of(other, path)
    planted = other.client.get_cookie(FORM_COOKIE)
    assert planted is not None
    somebody.client.set_cookie(FORM_COOKIE, planted.value)
    assert "has not been recorded yet" in somebody.post(path, {**fields, **count(0)}).text


@pytest.mark.parametrize("site", ["same-site", "cross-site", "none"])
def test_a_form_that_the_browser_says_is_not_ours_is_none(house: House, site: str) -> None:
    """With cookies of its own, another host of the domain could else log a browser in as somebody whom it knows."""
    with_password(house)
    somebody = Person(house, None)
    fields = {**fields_of(somebody, "/login"), "username": ["pharmacist"], "password": [PASSWORD]}
    answer = somebody.client.post("/login", data=fields, headers={"Sec-Fetch-Site": site})
    assert (answer.status_code, somebody.client.get_cookie(COOKIE)) == (401, None)


def test_a_login_ends_the_session_that_the_browser_had(house: House) -> None:
    with_password(house)
    somebody = Person(house, "technician")
    before = somebody.client.get_cookie(COOKIE)
    assert before is not None
    assert log_in(somebody, somebody.get("/login"), "wrong" * 5).status == 401
    assert somebody.get("/account").path == "/account"
    assert log_in(somebody, somebody.get("/login")).path == "/worklist"
    thief = Person(house, None)
    thief.client.set_cookie(COOKIE, before.value)
    assert thief.get("/account").path.startswith("/login")
    assert ("logout", f"account/{house.ids['technician']}") in [(row.action, row.subject) for row in house.trail()]


# A form that is kept


def test_a_form_that_a_page_sends_by_itself_is_not_carried_out(house: House) -> None:
    """An idle page sends what was filled in, to have it kept; in another tab the session may still be at work."""
    patient = dosed(house)
    somebody = Person(house)
    path = f"/patients/{patient}/accept"
    page = somebody.post(path, {**fields_of(somebody, path), "comment": ["not yet"], "returned": ["1"]})
    assert "has not been recorded yet" in page.text
    assert page.sheet(path).fields["comment"] == ["not yet"]
    assert house.get(f"/patients/{patient}/decisions", "prescriber")["items"] == []
    fields = somebody.get("/worklist").sheet("/logout").fields
    assert somebody.post("/logout", {**fields, "returned": ["1"]}).status == 422


def readable(kept: str) -> bytes:
    """What whoever reads the source of the page can make of what is kept there."""
    found = kept.encode()
    for part in kept.split("."):
        try:
            plain = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
            found += plain
            found += zlib.decompress(plain)
        except (ValueError, zlib.error):
            continue
    return found


def test_what_is_kept_in_the_login_cannot_be_read_there(house: House) -> None:
    """Whoever sits down at the desk has no login, and must not learn from the source of the page what was typed."""
    patient = dosed(house)
    with_password(house)
    page = late(house, Person(house), patient)
    kept = page.sheet("/login").fields["kept"][0]
    assert kept
    assert b"gums" not in readable(kept)
    assert patient.encode() not in readable(kept)
    assert "gums" not in page.html
    somebody = Person(house, None)
    assert somebody.submit(log_in(somebody, page_of(somebody, kept)), f"/patients/{patient}/refer").status == 200


def page_of(who: Person, kept: str) -> Any:
    """A login with a form that was kept."""
    page = who.get("/login")
    page.sheet("/login").fields["kept"] = [kept]
    return page


def test_a_form_that_is_too_large_to_keep_is_not_kept_and_breaks_nothing(house: House) -> None:
    patient = dosed(house)
    somebody = Person(house)
    house.clock.on(minutes=31)
    here = {"Sec-Fetch-Site": "same-origin"}
    for length in (800_000, 1_100_000):
        answer = somebody.client.post(f"/patients/{patient}/refer", data={"comment": "x" * length}, headers=here)
        assert answer.status_code == 401, length
        assert 'name="kept" value=""' in answer.get_data(as_text=True)


# What a form may be made of


@pytest.mark.parametrize("name", ["comment", "proposal_sha256", "reason_code", "once"])
def test_a_file_in_place_of_a_text_is_no_text(house: House, name: str) -> None:
    patient = dosed(house)
    somebody = Person(house)
    fields: dict[str, Any] = fields_of(somebody, f"/patients/{patient}/refer")
    fields |= {"reason_code": ["bleeding"], name: (BytesIO(b"x"), "x.txt")}
    sent = {"data": fields, "content_type": "multipart/form-data"}
    assert somebody.client.post(f"/patients/{patient}/refer", **sent).status_code in (303, 422)


@pytest.mark.parametrize("raw", [b"[1, 2]", b'{"comment": {"a": 1}}', b"{bad", b"null"])
def test_json_is_no_form(house: House, raw: bytes) -> None:
    patient = dosed(house)
    client = Person(house).client
    for path, status in ((f"/patients/{patient}/refer", 200), ("/login", 401), ("/login/code", 401), ("/logout", 422)):
        assert client.post(path, data=raw, content_type="application/json").status_code == status, path


@pytest.mark.parametrize("once", ["", "x" * 65, "\x00", "a b"])
def test_the_number_of_a_form_is_one(house: House, once: str) -> None:
    """An empty one would be that of all forms; a huge one would be stored."""
    patient = dosed(house)
    somebody = Person(house)
    path = f"/patients/{patient}/platelet-counts/new"
    page = somebody.post(path, {**fields_of(somebody, path), **count(0), "once": once})
    assert page.status == 422
    with house.services.store.reading() as session:
        assert session.find(KeptAnswer) == []


def test_the_number_of_a_form_is_of_one_form_and_one_account(house: House) -> None:
    patient, other = dosed(house), dosed(house)
    somebody = Person(house)
    path, elsewhere = (f"/patients/{one}/platelet-counts/new" for one in (patient, other))
    fields = {**fields_of(somebody, path), **count(0)}
    assert somebody.post(path, fields).status == 200
    assert somebody.post(elsewhere, fields).status == 409
    technician = Person(house, "technician")
    fields = {**fields_of(technician, elsewhere), **count(0), "once": fields["once"]}
    assert technician.post(elsewhere, fields).status == 200
    assert len(house.get(f"/patients/{other}/platelet-counts")["items"]) == 2


# Paths


@pytest.mark.parametrize("ident", ["99999999999999999999", "9" * 4400, "0", "-1", "٣"])
@pytest.mark.parametrize("rest", ["", "/withdrawal", "/review", "/second-signature", "/preparation"])
def test_no_number_in_a_path_breaks_a_page(house: House, ident: str, rest: str) -> None:
    patient = dosed(house)
    assert Person(house).get(f"/patients/{patient}/decisions/{ident}{rest}").status == 404


@pytest.mark.parametrize("on", ["yesterday", "2026-02-30", "20260309", "9999-99-99", "2026-03-09T00:00"])
def test_no_day_in_a_path_breaks_a_page(house: House, on: str) -> None:
    patient = dosed(house)
    path = f"/patients/{patient}/dose-mismatches/{on}"
    somebody = Person(house)
    assert somebody.get(path).status == 404
    assert somebody.post(path, {}).status == 404


# The trail


def test_what_a_page_refuses_of_a_patient_stands_in_the_trail_as_of_rest(house: House) -> None:
    patient = dosed(house)
    decided(house, patient, who="prescriber")
    somebody = Person(house, "prescriber")
    path = f"/patients/{patient}/decisions/1/withdrawal"
    for said, code in (({"version": ["77"], "reason": ["why"]}, "VERSION-STALE"), ({"reason": [""]}, "INVALID")):
        trail.gather(house.services)
        before = len(house.trail())
        assert somebody.post(path, {**fields_of(somebody, path), **said}).status in (412, 422)
        trail.gather(house.services)
        left = [(row.action, row.subject, code in row.detail) for row in house.trail()[before:]]
        assert left == [("refused", path, True)]


# At once


def at_once(house: House, sent: list[tuple[Person, str, dict[str, list[str]]]]) -> list[int]:
    """The statuses of forms that as many browsers send in the same moment."""
    answers, begin = [0] * len(sent), threading.Barrier(len(sent))

    def send(at: int) -> None:
        who, path, fields = sent[at]
        client = house.app.test_client()
        for name in (COOKIE, FORM_COOKIE):
            if (cookie := who.client.get_cookie(name)) is not None:
                client.set_cookie(name, cookie.value)
        begin.wait()
        answers[at] = client.post(path, data=fields).status_code

    threads = [threading.Thread(target=send, args=(at,)) for at in range(len(sent))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(answers)


def test_one_form_from_six_browsers_signs_once(house: House) -> None:
    patient = dosed(house)
    path = f"/patients/{patient}/accept"
    somebody = Person(house)
    assert at_once(house, [(somebody, path, fields_of(somebody, path))] * 6) == [303] * 6
    assert len(house.get(f"/patients/{patient}/decisions", "prescriber")["items"]) == 1


def test_one_code_from_six_browsers_lets_one_in(house: House) -> None:
    code = with_factor(house).at(house.clock())
    people = [Person(house, None) for _ in range(6)]
    pages = [log_in(who, who.get("/login")) for who in people]
    sent = [
        (who, "/login/code", {**page.sheet("/login/code").fields, "code": [code]})
        for who, page in zip(people, pages, strict=True)
    ]
    assert at_once(house, sent) == [303, 401, 401, 401, 401, 401]


# Who lacks the second factor


def test_who_lacks_the_second_factor_reaches_no_patient_at_any_door(house: House) -> None:
    patient = dosed(house)
    decided(house, patient, who="prescriber")
    strict = house.with_services(policy=Policy(second_factor_roles=frozenset(Role)))
    somebody = Person(strict, "prescriber")
    cookie = somebody.client.get_cookie(COOKIE)
    assert cookie is not None
    bearer = {"Authorization": f"Bearer {cookie.value}"}
    for rule in strict.app.url_map.iter_rules():
        permission = getattr(strict.app.view_functions[rule.endpoint], "permission", None)
        if permission in (None, Permission.OWN_ACCOUNT):
            continue
        path = path_of(strict, rule.rule, patient)
        for method in (rule.methods or set()) - {"OPTIONS"}:
            body: dict[str, Any] = {} if method in ("GET", "HEAD") else {"data": {}}
            by_page = rule.endpoint.startswith("web.")
            headers = {} if by_page else bearer
            answer = somebody.client.open(path, method=method, headers=headers, **body)
            assert answer.status_code == 403, (method, path)
