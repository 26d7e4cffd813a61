"""The second factor as people meet it, with pyotp as their authenticator; and the change of one's own password.

Whoever has a copy of the database, an open session, the password or a code that was used must not come in by it alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Final

import pyotp
import pytest

from tests.api.support import PASSWORD, Answer, House, build
from tests.backends import of_a_file, tamper
from titrator.security import factors
from titrator.security.factors import RECOVERY_CODES, STEP_SECONDS
from titrator.security.permissions import PERMISSIONS, Permission, Role
from titrator.store.records import Account, SecondFactor
from titrator.store.sqlite import SqliteStore
from titrator.workflow.visit import Policy

NEW_PASSWORD: Final = "nine loud geese at dawn"
WRONG: Final = "not the password at all"


@dataclass
class Person:
    """Somebody with a password, an open session and, once it is set up, an authenticator and recovery codes."""

    house: House
    id: str
    name: str
    session: str = ""
    secret: str = ""
    recovery: tuple[str, ...] = ()

    def code(self, later: int = 0) -> str:
        """What the authenticator shows now, or so many seconds later."""
        return pyotp.TOTP(self.secret).at(int(self.house.clock.now.timestamp()) + later)

    def no_code(self) -> str:
        """Six digits that are wrong now."""
        right = {self.code(late * STEP_SECONDS) for late in (-1, 0, 1)}
        return next(code for code in ("000000", "111111", "222222", "333333") if code not in right)

    def login(self, password: str = PASSWORD, code: str | None = None) -> Answer:
        body = {"username": self.name, "password": password} | ({} if code is None else {"code": code})
        return self.house.call(None, "POST", "/sessions", body)

    def enter(self, code: str | None = None) -> str:
        """A new session, which must be given: its token."""
        answer = self.login(code=code)
        assert answer.status == 201, answer.text
        self.session = answer.json["token"]
        return self.session

    def does(self, what: str, **body: str) -> Answer:
        """A request about oneself, in the open session."""
        return self.house.call(self.session, "POST", f"/me/{what}", body)

    def sets_up(self) -> None:
        """A second factor, confirmed; half a minute later the next code can be used."""
        begun = self.does("second-factor", password=PASSWORD)
        assert begun.status == 201, begun.text
        self.secret = begun.json["secret"]
        done = self.does("second-factor/confirmation", code=self.code())
        assert done.status == 200, done.text
        self.recovery = tuple(done.json["recovery_codes"])
        self.house.clock.on(seconds=STEP_SECONDS)

    def factor(self) -> dict[str, object]:
        found: dict[str, object] = self.house.get("/me/second-factor", self.session)
        return found

    def stored(self) -> SecondFactor | None:
        with self.house.services.store.reading() as session:
            return session.get(SecondFactor, self.id)

    def trail(self) -> list[str]:
        """What the system's chain has of this account, in order."""
        return [row.action for row in self.house.trail() if row.subject == f"account/{self.id}"]


def outcome(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.code


FAILED: Final = (401, "LOGIN-FAILED")
NEEDED: Final = (401, "SECOND-FACTOR-NEEDED")


def made(house: House, name: str, role: Role = Role.PHARMACIST) -> Person:
    """A new person with a password, logged in."""
    body = {"username": name, "display_name": name.title(), "role": str(role), "clinics": [house.clinic]}
    invited = house.post("/accounts", body, "admin")
    secret = {"secret": invited["activation_secret"], "password": PASSWORD}
    assert house.call(None, "POST", "/activations", secret).status == 201
    person = Person(house, invited["account"]["id"], name)
    person.enter()
    return person


@pytest.fixture
def eva(house: House) -> Person:
    """Without a second factor."""
    return made(house, "eva.meyer")


@pytest.fixture
def grete(house: House) -> Person:
    """With one."""
    person = made(house, "grete.hoffmann")
    person.sets_up()
    return person


# Setting it up


def test_a_second_factor_counts_once_a_code_of_it_is_confirmed(eva: Person) -> None:
    nothing = {"second_factor": False, "required": False, "confirmed_at": None, "recovery_codes_left": 0}
    assert eva.factor() == nothing
    begun = eva.does("second-factor", password=PASSWORD)
    eva.secret = begun.json["secret"]
    theirs = pyotp.parse_uri(begun.json["uri"])
    assert (theirs.issuer, theirs.name, theirs.secret) == ("titrator", "eva.meyer", eva.secret)
    assert eva.factor() == nothing
    assert eva.login().status == 201, "begun is not confirmed"
    wrong = eva.does("second-factor/confirmation", code=eva.no_code())
    assert (*outcome(wrong), list(wrong.faults)) == (422, "INVALID", ["code"])
    assert eva.login().status == 201
    now = eva.house.clock.now
    done = eva.does("second-factor/confirmation", code=eva.code())
    assert len(set(done.json["recovery_codes"])) == RECOVERY_CODES
    assert eva.factor() == {
        "second_factor": True,
        "required": False,
        "confirmed_at": f"{now:%Y-%m-%dT%H:%M:%S.%f}Z",
        "recovery_codes_left": RECOVERY_CODES,
    }
    assert outcome(eva.login()) == NEEDED


def test_accounts_tell_who_has_one(eva: Person, grete: Person) -> None:
    house = eva.house
    told = {one["username"]: one["second_factor"] for one in house.get("/accounts", "admin")["items"]}
    assert [name for name, has in told.items() if has] == ["grete.hoffmann"]
    for person in (eva, grete):
        has = person is grete
        assert house.get("/me", person.session)["account"]["second_factor"] is has
        assert house.get(f"/accounts/{person.id}", "admin")["second_factor"] is has


def test_to_begin_takes_the_password(eva: Person) -> None:
    wrong = eva.does("second-factor", password=WRONG)
    assert (*outcome(wrong), list(wrong.faults)) == (422, "INVALID", ["password"])
    assert eva.stored() is None
    assert eva.trail()[-1] == "proof-failed"


def test_to_begin_again_replaces_what_was_not_confirmed(eva: Person) -> None:
    first = eva.does("second-factor", password=PASSWORD).json["secret"]
    second = eva.does("second-factor", password=PASSWORD).json["secret"]
    eva.secret = first
    assert eva.does("second-factor/confirmation", code=eva.code()).status == 422
    eva.secret = second
    assert eva.does("second-factor/confirmation", code=eva.code()).status == 200


def test_one_that_counts_is_neither_replaced_nor_confirmed_again(grete: Person) -> None:
    before = grete.stored()
    assert outcome(grete.does("second-factor", password=PASSWORD)) == (409, "SECOND-FACTOR-SET")
    assert outcome(grete.does("second-factor/confirmation", code=grete.code())) == (409, "SECOND-FACTOR-SET")
    assert grete.stored() == before


def test_what_is_not_there_is_neither_confirmed_nor_removed(eva: Person) -> None:
    assert outcome(eva.does("second-factor/confirmation", code="123456")) == (409, "SECOND-FACTOR-MISSING")
    removal = {"password": PASSWORD, "code": "123456"}
    assert outcome(eva.does("second-factor/removal", **removal)) == (409, "SECOND-FACTOR-MISSING")
    eva.does("second-factor", password=PASSWORD)
    assert outcome(eva.does("second-factor/removal", **removal)) == (409, "SECOND-FACTOR-MISSING")


def test_sessions_that_were_begun_without_it_end(eva: Person) -> None:
    other = eva.session
    eva.enter()
    eva.sets_up()
    assert eva.house.call(other, "GET", "/me").status == 401
    assert eva.house.call(eva.session, "GET", "/me").status == 200


# Coming in


def test_a_login_takes_password_and_code(grete: Person) -> None:
    assert outcome(grete.login()) == NEEDED
    answer = grete.login(code=grete.code())
    assert answer.status == 201
    assert answer.json["permissions"] == sorted(PERMISSIONS[Role.PHARMACIST])
    assert grete.house.call(answer.json["token"], "GET", "/patients").status == 200


def test_only_who_has_the_password_is_told_that_a_code_is_needed(grete: Person) -> None:
    for code in (None, grete.code(), grete.no_code(), grete.recovery[0]):
        assert outcome(grete.login(WRONG, code)) == FAILED
    assert outcome(grete.login()) == NEEDED
    assert grete.factor()["recovery_codes_left"] == RECOVERY_CODES, "a wrong password uses nothing up"
    assert grete.login(code=grete.code()).status == 201


def test_a_wrong_code_looks_like_a_wrong_password(grete: Person) -> None:
    answers = [grete.login(code=grete.no_code()), grete.login(WRONG), grete.login(WRONG, grete.no_code())]
    assert {outcome(answer) for answer in answers} == {FAILED}
    assert len({str({**answer.json, "request_id": ""}) for answer in answers}) == 1


def test_a_code_lets_in_once(grete: Person) -> None:
    code = grete.code()
    assert grete.login(code=code).status == 201
    assert outcome(grete.login(code=code)) == FAILED
    grete.house.clock.on(seconds=STEP_SECONDS)
    assert outcome(grete.login(code=code)) == FAILED, "it is within the window still"
    assert grete.login(code=grete.code()).status == 201


def test_the_code_that_confirmed_does_not_let_in(eva: Person) -> None:
    eva.secret = eva.does("second-factor", password=PASSWORD).json["secret"]
    code = eva.code()
    assert eva.does("second-factor/confirmation", code=code).status == 200
    assert outcome(eva.login(code=code)) == FAILED


def test_once_a_later_code_was_used_an_earlier_one_is_not_taken(grete: Person) -> None:
    now, ahead = grete.code(), grete.code(STEP_SECONDS)
    assert grete.login(code=ahead).status == 201, "a clock that is half a minute fast"
    assert outcome(grete.login(code=now)) == FAILED


@pytest.mark.parametrize(
    ("seconds", "status"),
    [(-STEP_SECONDS - 1, 401), (-STEP_SECONDS, 201), (2 * STEP_SECONDS - 1, 201), (2 * STEP_SECONDS, 401)],
)
def test_clocks_may_differ_by_a_step(grete: Person, seconds: int, status: int) -> None:
    """The code is that of the half minute which begins now; the server gets it so many seconds later."""
    grete.house.clock.on(minutes=5)
    assert grete.house.clock.now.timestamp() % STEP_SECONDS == 0
    code = grete.code()
    grete.house.clock.on(seconds=seconds)
    assert grete.login(code=code).status == status


@pytest.mark.parametrize("code", ["", None, 123456, ["123456"], "1" * 33, "12\n3456"])
def test_what_is_no_code_at_all_is_told_as_a_fault(grete: Person, code: object) -> None:
    body = {"username": grete.name, "password": PASSWORD, "code": code}
    answer = grete.house.call(None, "POST", "/sessions", body)
    assert (*outcome(answer), list(answer.faults)) == (422, "INVALID", ["code"])


def test_who_has_no_second_factor_comes_in_whatever_the_code(eva: Person) -> None:
    assert eva.login(code="123456").status == 201


def test_of_two_who_come_at_once_with_one_code_one_comes_in(grete: Person) -> None:
    for code in (grete.code(), grete.recovery[0]):
        start = Barrier(4)

        def come(_: int, code: str = code, start: Barrier = start) -> tuple[int, str | None]:
            start.wait()
            try:
                return outcome(grete.login(code=code))
            finally:
                grete.house.services.store.close()

        with ThreadPoolExecutor(4) as threads:
            outcomes = sorted(threads.map(come, range(4)), key=str)
        assert outcomes == [(201, None), *[FAILED] * 3]
        grete.house.call("admin", "PATCH", f"/accounts/{grete.id}", {}, version="*")  # so that it is not locked


# Recovery codes


def test_a_recovery_code_lets_in_once_however_it_is_typed(grete: Person) -> None:
    code = grete.recovery[3]
    assert grete.login(code=code.upper().replace("-", " ")).status == 201
    assert outcome(grete.login(code=code)) == FAILED
    assert grete.factor()["recovery_codes_left"] == RECOVERY_CODES - 1


def test_all_recovery_codes_let_in_and_no_more(grete: Person) -> None:
    for left, code in enumerate(reversed(grete.recovery)):
        grete.enter(code)
        assert grete.factor()["recovery_codes_left"] == RECOVERY_CODES - 1 - left
    assert {outcome(grete.login(code=code)) for code in grete.recovery[:3]} == {FAILED}
    assert grete.login(code=grete.code()).status == 201, "the authenticator goes on"


def test_a_recovery_code_lets_nobody_else_in(eva: Person, grete: Person) -> None:
    eva.sets_up()
    assert outcome(eva.login(code=grete.recovery[0])) == FAILED
    assert outcome(eva.login(code=grete.code(STEP_SECONDS))) == FAILED


# Guessing


def test_wrong_codes_lock_like_wrong_passwords(grete: Person) -> None:
    for _ in range(5):
        assert outcome(grete.login(code=grete.no_code())) == FAILED
    assert outcome(grete.login(code=grete.code())) == FAILED, "locked: the right one is refused, too"
    assert outcome(grete.login()) == FAILED, "nor is the password told to be right"
    assert outcome(grete.login(code=grete.recovery[0])) == FAILED
    grete.house.clock.on(minutes=15, seconds=1)
    assert grete.login(code=grete.recovery[0]).status == 201, "it was not used up while locked"
    assert grete.trail().count("lock") == 1


def test_to_be_asked_for_the_code_does_not_make_wrong_codes_forgotten(grete: Person) -> None:
    for _ in range(5):
        assert outcome(grete.login()) == NEEDED
        assert outcome(grete.login(code=grete.no_code())) == FAILED
    assert outcome(grete.login(code=grete.code())) == FAILED


def test_nor_does_what_is_proved_in_a_session(grete: Person) -> None:
    for _ in range(4):
        assert outcome(grete.login(code=grete.no_code())) == FAILED
        assert grete.does("second-factor", password=PASSWORD).status == 409
        assert grete.does("password", old=PASSWORD, new=PASSWORD).status == 204
    assert outcome(grete.login(code=grete.no_code())) == FAILED
    assert outcome(grete.login(code=grete.code())) == FAILED


@pytest.mark.parametrize(
    ("what", "wrong"),
    [
        ("password", {"old": WRONG, "new": NEW_PASSWORD}),
        ("second-factor", {"password": WRONG}),
        ("second-factor/removal", {"password": WRONG, "code": "000000"}),
        ("second-factor/removal", {"password": PASSWORD, "code": "abcdef"}),
    ],
)
def test_nobody_guesses_in_a_session_that_was_left_open(grete: Person, what: str, wrong: dict[str, str]) -> None:
    for _ in range(5):
        assert outcome(grete.does(what, **wrong)) == (422, "INVALID")
    code = {"code": grete.code()} if "code" in wrong else {}
    right = {name: PASSWORD for name in wrong if name in ("old", "password")}
    refused = grete.does(what, **{**wrong, **right, **code})
    assert outcome(refused) == (422, "INVALID"), "locked: the right ones are refused, too"
    assert outcome(grete.login(code=grete.code())) == FAILED
    assert grete.house.call(grete.session, "GET", "/me").status == 200, "the session goes on"
    assert (grete.trail().count("lock"), grete.trail().count("proof-failed")) == (1, 6)
    grete.house.clock.on(minutes=15, seconds=1)
    assert grete.login(code=grete.code()).status == 201


def test_nobody_guesses_the_first_code(eva: Person) -> None:
    eva.secret = eva.does("second-factor", password=PASSWORD).json["secret"]
    for _ in range(5):
        assert eva.does("second-factor/confirmation", code=eva.no_code()).status == 422
    assert eva.does("second-factor/confirmation", code=eva.code()).status == 422, "locked"
    eva.house.clock.on(minutes=15, seconds=1)
    assert eva.does("second-factor/confirmation", code=eva.code()).status == 200


def test_proofs_in_a_session_count_as_logins_from_that_address(tmp_path: Path) -> None:
    house = build(tmp_path)
    eva = made(house, "eva.meyer")
    door = house.app.extensions["titrator"]
    object.__setattr__(door, "logins", type(door.logins)(2))
    bodies = {"password": {"old": WRONG, "new": NEW_PASSWORD}, "second-factor": {"password": WRONG}}
    assert [eva.does(what, **body).status for what, body in bodies.items()] == [422, 422]
    for what, body in {**bodies, "second-factor/confirmation": {"code": "1"}}.items():
        assert outcome(eva.does(what, **body)) == (429, "TOO-MANY-REQUESTS")


# Taking it away


@pytest.mark.parametrize("by", ["authenticator", "recovery code"])
def test_one_is_removed_by_password_and_code(grete: Person, by: str) -> None:
    code = grete.code() if by == "authenticator" else grete.recovery[9]
    gone = grete.does("second-factor/removal", password=PASSWORD, code=code)
    assert (gone.status, gone.json["second_factor"]) == (200, False)
    assert grete.stored() is None
    assert grete.login().status == 201


def test_neither_password_nor_code_alone_removes_it(grete: Person) -> None:
    used = grete.code()
    grete.enter(used)
    for password, code in ((WRONG, grete.code()), (PASSWORD, grete.no_code()), (PASSWORD, used)):
        answer = grete.does("second-factor/removal", password=password, code=code)
        assert (*outcome(answer), list(answer.faults)) == (422, "INVALID", ["password", "code"])
    assert grete.factor()["second_factor"] is True


def test_an_old_secret_lets_nobody_in_after_another_was_set_up(grete: Person) -> None:
    old, recovery = grete.secret, grete.recovery
    grete.does("second-factor/removal", password=PASSWORD, code=grete.code())
    grete.sets_up()
    assert old != grete.secret
    assert outcome(grete.login(code=recovery[0])) == FAILED
    assert outcome(grete.login(code=pyotp.TOTP(old).at(grete.house.clock.now))) == FAILED
    assert grete.login(code=grete.code()).status == 201


def test_an_administrator_takes_anothers_away(grete: Person) -> None:
    house, at = grete.house, f"/accounts/{grete.id}/second-factor/removal"
    assert house.call("pharmacist", "POST", at, {}).status == 403
    assert house.post(at, {}, "admin")["second_factor"] is False
    assert house.call(grete.session, "GET", "/me").status == 401, "who found the session is out"
    assert grete.login().status == 201
    assert outcome(house.call("admin", "POST", at, {})) == (409, "SECOND-FACTOR-MISSING")
    assert house.call("admin", "POST", at.replace(grete.id, "f" * 20), {}).status == 404
    (entry,) = [row for row in house.trail() if row.action == "reset-second-factor"]
    assert (entry.account_id, entry.subject) == (house.ids["admin"], f"account/{grete.id}")


def test_an_administrator_does_not_take_his_own_away_without_proof(house: House) -> None:
    admin = made(house, "otto.admin", Role.ADMIN)
    admin.sets_up()
    answer = house.call(admin.session, "POST", f"/accounts/{admin.id}/second-factor/removal", {})
    assert outcome(answer) == (403, "FORBIDDEN")
    assert admin.factor()["second_factor"] is True


def test_a_new_link_for_a_lost_password_leaves_it_as_it_is(grete: Person) -> None:
    house = grete.house
    invited = house.post(f"/accounts/{grete.id}/invitation", {}, "admin")
    assert invited["account"]["second_factor"] is True
    link = {"secret": invited["activation_secret"], "password": NEW_PASSWORD}
    assert house.call(None, "POST", "/activations", link).json["second_factor"] is True
    assert outcome(grete.login(NEW_PASSWORD)) == NEEDED
    assert grete.login(NEW_PASSWORD, grete.code()).status == 201


def test_an_account_that_becomes_a_systems_loses_it(grete: Person) -> None:
    changed = grete.house.call("admin", "PATCH", f"/accounts/{grete.id}", {"role": "ehr"}, version="*")
    assert (changed.json["second_factor"], grete.stored()) == (False, None)


# Roles that must have one


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[House]:
    """An installation where pharmacists and prescribers need one."""
    house = build(tmp_path, Policy(second_factor_roles=frozenset({"pharmacist", "prescriber"})))
    yield house
    house.services.store.close()


def test_who_must_have_one_may_only_set_it_up(strict: House) -> None:
    eva = made(strict, "eva.meyer")
    entered = eva.login()
    assert entered.json["permissions"] == ["account:own"]
    eva.session = entered.json["token"]
    assert eva.factor()["required"] is True
    for method, rule, permission in strict.routes:
        if permission not in (None, Permission.OWN_ACCOUNT) and "<" not in rule.rule:
            answer = strict.call(eva.session, method, rule.rule, {} if method != "GET" else None)
            assert outcome(answer) == (403, "FORBIDDEN"), rule.rule
    assert strict.call(eva.session, "GET", "/fhir/Patient").status == 403
    eva.sets_up()
    assert strict.call(eva.session, "GET", "/patients").status == 200, "from now on the session is whole"
    assert eva.login(code=eva.code()).json["permissions"] == sorted(PERMISSIONS[Role.PHARMACIST])


def test_who_removes_it_may_only_set_it_up_again(strict: House) -> None:
    eva = made(strict, "eva.meyer")
    eva.sets_up()
    assert strict.call(eva.session, "GET", "/patients").status == 200
    eva.does("second-factor/removal", password=PASSWORD, code=eva.code())
    assert strict.call(eva.session, "GET", "/patients").status == 403


def test_other_roles_and_programs_need_none(strict: House) -> None:
    technician = made(strict, "tim.tern", Role.TECHNICIAN)
    assert strict.call(technician.session, "GET", "/patients").status == 200
    assert technician.factor()["required"] is False
    assert strict.call("pharmacist", "GET", "/patients").status == 200, "a token that was issued for a program"


def test_another_role_asks_for_it_at_once(strict: House) -> None:
    person = made(strict, "tim.tern", Role.TECHNICIAN)
    strict.call("admin", "PATCH", f"/accounts/{person.id}", {"role": "prescriber"}, version="*")
    assert strict.call(person.session, "GET", "/me").status == 401
    assert strict.call(person.enter(), "GET", "/patients").status == 403


def test_an_installation_that_begins_to_ask_for_it_narrows_the_sessions_that_there_are(house: House) -> None:
    eva = made(house, "eva.meyer")
    asking = house.with_services(policy=Policy(second_factor_roles=frozenset({"pharmacist"})), known={})
    assert asking.call(eva.session, "GET", "/patients").status == 403


# One's own password


def test_ones_own_password_is_changed_by_the_old_one(eva: Person) -> None:
    other = eva.session
    eva.enter()
    assert eva.does("password", old=PASSWORD, new=NEW_PASSWORD).status == 204
    assert outcome(eva.login()) == FAILED
    assert eva.login(NEW_PASSWORD).status == 201
    house = eva.house
    assert (house.call(other, "GET", "/me").status, house.call(eva.session, "GET", "/me").status) == (401, 200)
    assert "change-password" in eva.trail()


def test_it_is_not_changed_by_a_wrong_one(eva: Person) -> None:
    answer = eva.does("password", old=WRONG, new=NEW_PASSWORD)
    assert (*outcome(answer), list(answer.faults)) == (422, "INVALID", ["old"])
    assert eva.login().status == 201


@pytest.mark.parametrize("unfit", ["too short", "aaaabbbbaaaabbbb", "I am eva.meyer of A"])
def test_one_that_will_not_do_is_refused(eva: Person, unfit: str) -> None:
    answer = eva.does("password", old=PASSWORD, new=unfit)
    assert (*outcome(answer), list(answer.faults)) == (422, "INVALID", ["new"])
    assert eva.login().status == 201


def test_the_second_factor_is_asked_for_with_the_new_password_too(grete: Person) -> None:
    assert grete.does("password", old=PASSWORD, new=NEW_PASSWORD).status == 204
    assert outcome(grete.login(NEW_PASSWORD)) == NEEDED
    assert grete.login(NEW_PASSWORD, grete.code()).status == 201


def test_a_token_for_a_program_does_none_of_this(eva: Person) -> None:
    """An administrator can issue one of any account; it is not the person."""
    issued = eva.house.post(f"/accounts/{eva.id}/tokens", {"label": "script", "days": 1}, "admin")
    eva.does("second-factor", password=PASSWORD)
    before = eva.stored()
    eva.session = issued["secret"]
    for what, body in (
        ("password", {"old": PASSWORD, "new": NEW_PASSWORD}),
        ("second-factor", {"password": PASSWORD}),
        ("second-factor/confirmation", {"code": "123456"}),
        ("second-factor/removal", {"password": PASSWORD, "code": "123456"}),
    ):
        assert outcome(eva.does(what, **body)) == (403, "FORBIDDEN"), what
    assert eva.stored() == before
    assert eva.factor()["second_factor"] is False, "to look is allowed"


# What is left behind


def test_secrets_and_codes_are_stored_nowhere(grete: Person) -> None:
    """Nor is the answer to a request that had them kept, whatever it asks for; nor a digest of what it sent."""
    house = grete.house
    code = grete.code()
    grete.enter(code)
    again = {"Idempotency-Key": "again"}
    path, body = "/me/password", {"old": PASSWORD, "new": NEW_PASSWORD}
    assert house.call(grete.session, "POST", path, body, **again).status == 204
    everything = house.everything()
    assert everything["kept_answers"] == []
    stored = str(everything) + str(house.trail())
    assert "grete.hoffmann" in stored
    recovery = [shown for one in grete.recovery for shown in (one, one.replace("-", ""))]
    assert not [text for text in (grete.secret, *recovery, PASSWORD, NEW_PASSWORD, grete.session) if text in stored]
    assert not [row for row in house.trail() if code in row.detail]


def test_the_trail_tells_each_step(grete: Person) -> None:
    grete.login()
    grete.login(code=grete.no_code())
    grete.enter(grete.code())
    grete.enter(grete.recovery[0])
    grete.does("second-factor/removal", password=PASSWORD, code=grete.recovery[1])
    told = [(row.action, row.detail) for row in grete.house.trail() if row.subject == f"account/{grete.id}"]
    assert told[-7:] == [
        ("begin-second-factor", "{}"),
        ("confirm-second-factor", "{}"),
        ("login-code-asked", "{}"),
        ("login-failed", '{"second_factor": "wrong"}'),
        ("login", '{"second_factor": "code", "recovery_codes_left": 10}'),
        ("login", '{"second_factor": "recovery-code", "recovery_codes_left": 9}'),
        ("remove-second-factor", '{"second_factor": "recovery-code"}'),
    ]


@of_a_file
def test_a_copy_of_the_database_does_not_tell_the_secret(grete: Person, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    grete.house.services.store.backup(copy)
    assert grete.secret.encode() not in copy.read_bytes()
    store = SqliteStore(copy)
    with store.reading() as session:
        found = session.get(SecondFactor, grete.id)
    store.close()
    assert found is not None
    right, wrong = grete.house.services.audit_key, bytes(33)
    assert factors.unseal(right, grete.id, found.secret) == grete.secret, "what is looked for is there"
    assert factors.unseal(wrong, grete.id, found.secret) is None
    known = {factors.recovery_hash(wrong, grete.id, code) for code in grete.recovery}
    assert known.isdisjoint(found.recovery_codes)
    assert set(found.recovery_codes) == {factors.recovery_hash(right, grete.id, code) for code in grete.recovery}


def test_with_another_key_no_code_is_right(grete: Person) -> None:
    """As where a database came without its key: nobody comes in without the second factor for that."""
    other = grete.house.with_services(audit_key=b"another key, of 32 bytes, too....", known={})
    grete.house = other
    for code in (grete.code(), grete.recovery[0]):
        assert outcome(grete.login(code=code)) == FAILED
    assert outcome(grete.login()) == NEEDED


def test_who_writes_to_the_database_cannot_give_an_account_the_factor_of_another(eva: Person, grete: Person) -> None:
    """The attacker knows the secret and the codes of one account, and puts its row in the place of another's."""
    eva.sets_up()
    mine = eva.stored()
    assert mine is not None
    stored = "[" + ",".join(f'"{one}"' for one in mine.recovery_codes) + "]"
    columns = f"secret = '{mine.secret}', last_step = null, recovery_codes = '{stored}'"
    tamper(grete.house.services.store, f"update second_factors set {columns} where account_id = '{grete.id}'")
    for code in (eva.code(), eva.recovery[0]):
        assert outcome(grete.login(code=code)) == FAILED
    assert eva.login(code=eva.recovery[0]).status == 201


def test_an_account_that_is_closed_is_not_told_that_a_code_is_needed(grete: Person) -> None:
    grete.house.call("admin", "PATCH", f"/accounts/{grete.id}", {"active": False}, version="*")
    assert outcome(grete.login()) == FAILED
    assert outcome(grete.login(code=grete.code())) == FAILED
    with grete.house.services.store.reading() as session:
        account = session.get(Account, grete.id)
    assert account is not None
    assert account.failed_logins == 0, "nor is anything counted"
