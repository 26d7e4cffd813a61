"""In and out: sessions, their end, and forms that are sent too late; who others send forms for."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

import pyotp
import pytest

from tests.api.deciding import dosed
from tests.api.support import PASSWORD, House
from tests.web.support import Page, Person
from titrator.security.permissions import Role
from titrator.web.frame import COOKIE, given_back
from titrator.workflow import accounts, own_account
from titrator.workflow.visit import Policy, Visit, leave


def with_password(house: House, username: str = "pharmacist") -> None:
    with house.visit() as visit:
        issued = accounts.invite_again(visit, house.ids[username])[1]
    with house.visit() as visit:
        assert accounts.activate(visit, issued.secret, PASSWORD)


def log_in(person: Person, page: Page, password: str = PASSWORD, username: str = "pharmacist") -> Page:
    return person.submit(page, "/login", username=username, password=password)


def test_a_login_leads_to_where_one_wanted_to_go(house: House) -> None:
    patient = dosed(house)
    with_password(house)
    somebody = Person(house, None)
    page = somebody.get(f"/patients/{patient}?labels=1")
    assert page.path.startswith("/login?next=")
    page = log_in(somebody, page)
    assert (page.status, page.path) == (200, f"/patients/{patient}?labels=1")
    cookie = somebody.client.get_cookie(COOKIE)
    assert cookie is not None
    assert (cookie.http_only, cookie.same_site, cookie.secure, cookie.expires) == (True, "Lax", False, None)


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example/", "/\\evil.example", "evil", "/a\nb", ""])
def test_a_login_leads_to_no_other_origin(house: House, path: str) -> None:
    with_password(house)
    somebody = Person(house, None)
    page = somebody.get("/login")
    assert somebody.submit(page, "/login", username="pharmacist", password=PASSWORD, next=path).path == "/worklist"


def test_a_wrong_password_is_told_without_a_hint(house: House) -> None:
    with_password(house)
    somebody = Person(house, None)
    told = {log_in(somebody, somebody.get("/login"), "wrong" * 5, name).text for name in ("pharmacist", "nobody")}
    assert len(told) == 1
    assert "Wrong name or password" in told.pop()
    assert somebody.get("/worklist").path.startswith("/login")


def test_too_many_wrong_ones_lock_the_account(house: House) -> None:
    with_password(house)
    somebody = Person(house, None)
    for _ in range(5):
        assert log_in(somebody, somebody.get("/login"), "wrong" * 5).status == 401
    assert log_in(somebody, somebody.get("/login")).status == 401
    house.clock.on(minutes=16)
    assert log_in(somebody, somebody.get("/login")).status == 200


def test_a_form_from_elsewhere_does_not_log_in(house: House) -> None:
    """Else somebody could log a browser in as himself, and read later what was typed there."""
    with_password(house)
    somebody = Person(house, None)
    page = somebody.post("/login", {"username": "pharmacist", "password": PASSWORD})
    assert page.status == 401
    assert somebody.get("/worklist").path.startswith("/login")


def test_logged_out_is_logged_out_at_the_service_too(house: House) -> None:
    somebody = Person(house)
    cookie = somebody.client.get_cookie(COOKIE)
    assert cookie is not None
    page = somebody.submit(somebody.get("/worklist"), "/logout")
    assert "You are logged out" in page.text
    other = Person(house, None)
    other.client.set_cookie(COOKIE, cookie.value)
    assert other.get("/worklist").path.startswith("/login")


def test_the_token_of_a_program_is_no_session(house: House) -> None:
    somebody = Person(house, None)
    somebody.client.set_cookie(COOKIE, house.tokens["pharmacist"])
    assert somebody.get("/worklist").path.startswith("/login")


def test_a_login_changes_what_signs_forms(house: House) -> None:
    """Who prepared a browser for somebody else must not know the tokens of the forms after it."""
    with_password(house)
    somebody = Person(house, None)
    before = somebody.get("/login")
    token = before.sheet("/login").fields["csrf_token"][0]
    page = log_in(somebody, before)
    assert somebody.post("/logout", {"csrf_token": token}).status == 422
    assert page.sheet("/logout").fields["csrf_token"][0] != token


def test_a_session_ends_when_it_is_idle(house: House) -> None:
    somebody = Person(house)
    house.clock.on(minutes=29)
    assert somebody.get("/worklist").status == 200
    house.clock.on(minutes=31)
    assert somebody.get("/worklist").path.startswith("/login")


# A form that is sent too late


def late(house: House, who: Person, patient: str) -> Page:
    """The login that answers a referral which was filled in, and sent after the session had ended."""
    page = who.get(f"/patients/{patient}/refer")
    house.clock.on(minutes=31)
    return who.submit(page, f"/patients/{patient}/refer", reason_code="bleeding", comment="gums, since\nSunday")


def test_a_form_that_is_sent_too_late_is_given_back(house: House) -> None:
    patient = dosed(house)
    with_password(house)
    somebody = Person(house)
    page = late(house, somebody, patient)
    assert page.status == 401
    assert "you get back what you had filled in" in page.text
    page = log_in(somebody, page)
    assert "has not been recorded" in page.text
    page = somebody.submit(page, f"/patients/{patient}/refer")
    sheet = page.sheet(f"/patients/{patient}/refer")
    assert sheet.fields["comment"] == ["gums, since\nSunday"]
    assert sheet.fields["reason_code"] == ["bleeding"]
    assert "has not been recorded yet" in page.text
    assert house.get(f"/patients/{patient}/decisions", "prescriber")["items"] == []
    page = somebody.submit(page, f"/patients/{patient}/refer")
    assert "Referred" in page.text
    assert house.get(f"/patients/{patient}/decisions", "prescriber")["items"][0]["comment"] == "gums, since\nSunday"


def test_a_kept_form_is_given_to_nobody_else(house: House) -> None:
    patient = dosed(house)
    with_password(house)
    with_password(house, "prescriber")
    somebody = Person(house)
    page = log_in(somebody, late(house, somebody, patient), username="prescriber")
    assert page.path == "/worklist"
    assert "gums" not in page.text


def test_a_kept_form_that_was_changed_is_none(house: House) -> None:
    patient = dosed(house)
    with_password(house)
    somebody = Person(house)
    page = late(house, somebody, patient)
    kept = page.sheet("/login").fields["kept"][0]
    page.sheet("/login").fields["kept"] = [("A" if kept[0] != "A" else "B") + kept[1:]]
    assert log_in(somebody, page).path == "/worklist"


def test_a_form_that_another_site_sends_is_not_kept(house: House) -> None:
    patient = dosed(house)
    with_password(house)
    somebody = Person(house)
    house.clock.on(minutes=31)
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {}):
        answer = somebody.client.post(f"/patients/{patient}/refer", data={"comment": "mine"}, headers=headers)
        assert answer.status_code == 401
        assert 'name="kept" value=""' in answer.get_data(as_text=True)


def test_a_forged_form_does_nothing(house: House) -> None:
    patient = dosed(house)
    somebody = Person(house)
    page = somebody.get(f"/patients/{patient}")
    sha256 = page.sheet(f"/patients/{patient}/accept").fields["proposal_sha256"][0]
    page = somebody.post(f"/patients/{patient}/accept", {"proposal_sha256": sha256, "once": "x" * 20})
    assert page.status == 200
    assert house.get(f"/patients/{patient}/decisions", "prescriber")["items"] == []


# How pages are sent


def test_every_page_forbids_what_it_does_not_need(house: House) -> None:
    for path in ("/login", "/worklist", f"/patients/{'0' * 20}", "/activate/x"):
        page = Person(house).get(path)
        policy = page.headers["Content-Security-Policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert page.headers["X-Frame-Options"] == "DENY"
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Referrer-Policy"] == "same-origin"
        assert "style=" not in page.html
        assert "<script>" not in page.html


def test_the_theme_is_kept(house: House) -> None:
    somebody = Person(house)
    page = somebody.post("/theme", {"theme": "dark", "next": "/worklist"})
    assert (page.path, 'data-bs-theme="dark"' in page.html) == ("/worklist", True)
    assert "data-bs-theme" not in somebody.post("/theme", {"theme": "", "next": "/worklist"}).html


# The second factor


def with_factor(house: House) -> pyotp.TOTP:
    """A confirmed second factor of the pharmacist, with a password."""
    with_password(house)
    somebody = Person(house, None)
    log_in(somebody, somebody.get("/login"))
    cookie = somebody.client.get_cookie(COOKIE)
    assert cookie is not None
    actor = accounts.authenticate(house.services, cookie.value)
    proof = accounts.prove(house.services, "pharmacist", PASSWORD)
    with house.services.store.writing() as session:
        visit = Visit(services=house.services, session=session, actor=actor, now=house.clock())
        begun = own_account.begin_factor(visit, proof)
        assert begun is not None
        totp = pyotp.TOTP(begun.secret)
        assert own_account.confirm_factor(visit, totp.at(house.clock()))
        leave(visit, session, visit.entries)
    house.clock.on(minutes=1)
    return totp


def test_the_code_is_asked_for_after_the_password(house: House) -> None:
    patient = dosed(house)
    totp = with_factor(house)
    somebody = Person(house, None)
    page = log_in(somebody, somebody.get(f"/patients/{patient}"))
    assert (page.status, "Second factor" in page.text) == (200, True)
    assert somebody.get("/worklist").path.startswith("/login")
    wrong = somebody.submit(page, "/login/code", code="000000")
    assert (wrong.status, "not right" in wrong.text) == (401, True)
    page = somebody.submit(wrong, "/login/code", code=totp.at(house.clock()))
    assert (page.status, page.path) == (200, f"/patients/{patient}")


def test_the_password_alone_is_worth_some_minutes_and_one_hash(house: House) -> None:
    totp = with_factor(house)
    somebody = Person(house, None)
    page = log_in(somebody, somebody.get("/login"))
    proved = page.sheet("/login/code").fields["proved"][0]
    sealed = proved.rindex(".") + 1  # the seal's last character holds two bits that say nothing: its first says six
    page.sheet("/login/code").fields["proved"] = [
        proved[:sealed] + ("B" if proved[sealed] == "A" else "A") + proved[sealed + 1 :]
    ]
    assert "Log in once more" in somebody.submit(page, "/login/code", code=totp.at(house.clock())).text
    page.sheet("/login/code").fields["proved"] = [proved]
    house.clock.on(minutes=6)
    assert "Log in once more" in somebody.submit(page, "/login/code", code=totp.at(house.clock())).text
    page = log_in(somebody, somebody.get("/login"))
    with house.visit() as visit:
        account = accounts.find_account(visit, house.ids["pharmacist"])
        visit.session.change(replace(account, password_hash="another"))
    assert "Log in once more" in somebody.submit(page, "/login/code", code=totp.at(house.clock())).text


def test_a_code_is_good_once(house: House) -> None:
    totp = with_factor(house)
    one, other = Person(house, None), Person(house, None)
    first, second = (log_in(who, who.get("/login")) for who in (one, other))
    code = totp.at(house.clock())
    assert one.submit(first, "/login/code", code=code).path == "/worklist"
    assert other.submit(second, "/login/code", code=code).status == 401


def test_a_second_factor_is_set_up_and_removed_on_pages(house: House) -> None:
    with_password(house)
    somebody = Person(house, None)
    log_in(somebody, somebody.get("/login"))
    at = "/account/second-factor"
    assert "is not right" in somebody.submit(somebody.get(at), at, password="wrong" * 5).text
    page = somebody.submit(somebody.get(at), at, password=PASSWORD)
    assert 'src="data:image/svg+xml' in page.html
    secret = re.search(r"Secret: ([A-Z2-7]{16,})", page.text)
    assert secret is not None
    totp = pyotp.TOTP(secret[1])
    confirmation = f"{at}/confirmation"
    assert somebody.submit(page, confirmation, code="000000").status == 422
    page = somebody.submit(page, confirmation, code=totp.at(house.clock()))
    codes = re.findall(r"<li><code>([^<]+)</code>", page.html)
    assert len(codes) == 10
    assert "10 recovery codes are left" in somebody.get("/account").text
    other = Person(house, None)
    page = other.submit(log_in(other, other.get("/login")), "/login/code", code=codes[0])
    assert page.path == "/worklist"
    removal = f"{at}/removal"
    page = other.submit(other.get(removal), removal, password=PASSWORD, code=codes[0])
    assert page.status == 422
    page = other.submit(page, removal, password=PASSWORD, code=codes[1])
    assert "You have no second factor" in page.text


def test_the_password_is_changed(house: House) -> None:
    with_password(house)
    one, other = Person(house, None), Person(house, None)
    for who in (one, other):
        log_in(who, who.get("/login"))
    at = "/account/password"
    page = one.submit(one.get(at), at, old="x", new="short", again="other")
    assert (page.status, "is not the same" in page.text) == (422, True)
    new = "nine slow turtles in the rain"
    page = one.submit(one.get(at), at, old="wrong" * 5, new=new, again=new)
    assert (page.status, "is not right" in page.text) == (422, True)
    assert one.submit(one.get(at), at, old=PASSWORD, new=new, again=new).path == "/account"
    assert one.get("/worklist").path == "/worklist"
    assert other.get("/worklist").path.startswith("/login")
    assert log_in(other, other.get("/login"), new).path == "/worklist"


def test_a_password_is_in_no_form_that_is_kept(house: House) -> None:
    with_password(house)
    somebody = Person(house, None)
    log_in(somebody, somebody.get("/login"))
    page = somebody.get("/account/password")
    house.clock.on(minutes=31)
    page = somebody.submit(page, "/account/password", old=PASSWORD, new="a new one, quite long", again="")
    kept = page.sheet("/login").fields["kept"][0]
    assert kept
    payload = kept.split(".")[0]
    assert PASSWORD.encode() not in base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    assert given_back_fields(house, kept) == []


def given_back_fields(house: House, kept: str) -> list[str]:
    with house.app.test_request_context("/"):
        back = given_back(kept, house.ids["pharmacist"])
    assert back is not None
    return [name for name, _ in back[1] if name in ("old", "new", "again", "password", "code")]


def test_who_must_have_a_second_factor_is_led_to_it(house: House) -> None:
    strict = house.with_services(policy=Policy(second_factor_roles=frozenset({Role.PHARMACIST})))
    with_password(strict)
    somebody = Person(strict, None)
    page = log_in(somebody, somebody.get("/login"))
    assert page.path == "/account"
    assert "Your role must have a second factor" in page.text
    assert somebody.get("/worklist").status == 403


def test_an_administrator_takes_a_lost_factor_away(house: House) -> None:
    with_factor(house)
    admin = Person(house, "admin")
    at = f"/accounts/{house.ids['pharmacist']}"
    page = admin.submit(admin.get(at), f"{at}/second-factor/removal")
    assert "has been taken away" in page.text
    assert "Second factorno" in page.text
    somebody = Person(house, None)
    assert log_in(somebody, somebody.get("/login")).path == "/worklist"
