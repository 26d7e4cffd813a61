"""The second factor by itself: which code is right when, recovery codes, and that what is stored tells nothing."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit

import pyotp
import pytest

from titrator.security import factors
from titrator.security.factors import STEP_SECONDS, WINDOW

KEY = b"a key for tests, of 32 bytes....."
OTHER_KEY = b"another key, of 32 bytes, too...."
#: The secret of RFC 6238, appendix B, for SHA-1, as an authenticator takes it.
OF_RFC = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
#: Half a minute that begins at this second.
BEGIN = datetime(2026, 3, 9, 12, tzinfo=UTC)
STEP = int(BEGIN.timestamp()) // STEP_SECONDS
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("seconds", "eight_digits"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_the_examples_of_the_standard(seconds: int, eight_digits: str) -> None:
    """RFC 6238, appendix B: of its eight digits the last six."""
    at = datetime.fromtimestamp(seconds, UTC)
    assert factors.step_of(OF_RFC, eight_digits[2:], at, None) == seconds // STEP_SECONDS


@pytest.mark.parametrize(
    ("after_begin", "right"),
    [
        (-WINDOW * STEP_SECONDS - 1, False),
        (-WINDOW * STEP_SECONDS, True),
        (-1, True),
        (0, True),
        (STEP_SECONDS - 1, True),
        ((WINDOW + 1) * STEP_SECONDS - 1, True),
        ((WINDOW + 1) * STEP_SECONDS, False),
    ],
)
def test_a_code_is_right_a_step_before_its_own_and_a_step_after(after_begin: int, right: bool) -> None:
    code = pyotp.TOTP(OF_RFC).at(BEGIN)
    found = factors.step_of(OF_RFC, code, BEGIN + after_begin * SECOND, None)
    assert found == (STEP if right else None)


@pytest.mark.parametrize(
    ("after", "right"), [(None, True), (STEP - 2, True), (STEP - 1, True), (STEP, False), (STEP + 1, False)]
)
def test_a_code_is_wrong_once_one_of_its_step_or_later_was_taken(after: int | None, right: bool) -> None:
    code = pyotp.TOTP(OF_RFC).at(BEGIN)
    assert factors.step_of(OF_RFC, code, BEGIN, after) == (STEP if right else None)


def test_the_code_before_is_wrong_once_the_present_one_was_taken_and_the_next_is_right() -> None:
    totp = pyotp.TOTP(OF_RFC)
    assert factors.step_of(OF_RFC, totp.at(BEGIN - STEP_SECONDS * SECOND), BEGIN, STEP) is None
    assert factors.step_of(OF_RFC, totp.at(BEGIN + STEP_SECONDS * SECOND), BEGIN, STEP) == STEP + 1


@pytest.mark.parametrize(
    "typed",
    ["", "12345", "1234567", "abcdef", "-12345", "+12345", "1e3456", "٣٣٣٣٣٣", "000000\0", "\ud800"],
)
def test_what_is_no_code_is_wrong(typed: str) -> None:
    assert factors.step_of(OF_RFC, typed, BEGIN, None) is None


def test_a_code_in_digits_of_another_script_is_wrong() -> None:
    code = pyotp.TOTP(OF_RFC).at(BEGIN)
    wide = code.translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)})
    assert factors.step_of(OF_RFC, wide, BEGIN, None) is None


@pytest.mark.parametrize("form", ["{0}{1}", "{0} {1}", " {0}{1}\n", "{0}-{1}"])
def test_a_code_may_be_typed_in_groups(form: str) -> None:
    code = pyotp.TOTP(OF_RFC).at(BEGIN)
    assert factors.step_of(OF_RFC, form.format(code[:3], code[3:]), BEGIN, None) == STEP


def test_no_other_of_the_million_codes_is_right() -> None:
    totp = pyotp.TOTP(OF_RFC)
    right = {totp.generate_otp(step) for step in range(STEP - WINDOW, STEP + WINDOW + 1)}
    some = [f"{number:06}" for number in range(0, 1_000_000, 997)]
    assert {code for code in {*some, *right} if factors.step_of(OF_RFC, code, BEGIN, None) is not None} == right


def test_a_secret_has_160_bits_and_is_never_the_same() -> None:
    some = {factors.new_secret() for _ in range(100)}
    assert len(some) == 100
    assert all(re.fullmatch(r"[A-Z2-7]{32}", one) for one in some)


def test_the_uri_is_what_an_authenticator_reads() -> None:
    secret = factors.new_secret()
    found = factors.uri(secret, "eva.meyer@a")
    parts = urlsplit(found)
    assert (parts.scheme, parts.netloc, unquote(parts.path)) == ("otpauth", "totp", "/titrator:eva.meyer@a")
    assert parse_qs(parts.query) == {"secret": [secret], "issuer": ["titrator"]}
    theirs = pyotp.parse_uri(found)
    assert isinstance(theirs, pyotp.TOTP)
    assert factors.step_of(secret, theirs.at(BEGIN), BEGIN, None) == STEP


# Recovery codes


def test_recovery_codes_are_ten_of_sixty_bits_that_people_can_read() -> None:
    many = [code for _ in range(100) for code in factors.new_recovery_codes()]
    assert len(many) == len(set(many)) == 1000
    assert all(re.fullmatch(r"(?:[0-9a-z]{4}-){2}[0-9a-z]{4}", code) for code in many)
    signs = {sign for code in many for sign in code} - {"-"}
    assert signs.isdisjoint("ilou")
    assert 12 * math.log2(len(signs)) >= 50


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        ("0a1b-2c3d-4e5f", True),
        ("0A1B-2C3D-4E5F", True),
        ("0a1b2c3d4e5f", True),
        (" 0a1b 2c3d 4e5f\n", True),
        ("oaib-2c3d-4e5f", True),
        ("Oalb-2c3d-4e5f", True),
        ("0a1b-2c3d-4e5g", False),
        ("0a1b-2c3d-4e5", False),
        ("0a1b-2c3d-4e5f0", False),
        ("", False),
        ("\ud800", False),
    ],
)
def test_a_recovery_code_is_known_however_it_is_typed(typed: str, same: bool) -> None:
    stored = factors.recovery_hash(KEY, "a", "0a1b-2c3d-4e5f")
    assert (factors.recovery_hash(KEY, "a", typed) == stored) is same
    found = factors.one_of(["0" * 64, stored, "f" * 64], factors.recovery_hash(KEY, "a", typed))
    assert found == (stored if same else None)


def test_a_hash_is_of_one_account_under_one_key() -> None:
    code = factors.new_recovery_codes()[0]
    hashes = {factors.recovery_hash(key, account, code) for key in (KEY, OTHER_KEY) for account in ("a", "b")}
    assert len(hashes) == 4
    assert not any(code.replace("-", "") in one for one in hashes)


# What is stored of the secret


def test_a_sealed_secret_opens_for_its_account_and_key_only() -> None:
    secret = factors.new_secret()
    sealed = factors.seal(KEY, "a", secret, BEGIN)
    assert secret not in sealed
    assert sealed != factors.seal(KEY, "a", secret, BEGIN), "never the same twice"
    assert factors.unseal(KEY, "a", sealed) == secret
    assert factors.unseal(KEY, "b", sealed) is None, "put in the place of another's"
    assert factors.unseal(OTHER_KEY, "a", sealed) is None


@pytest.mark.parametrize("damaged", ["", "x", "gAAAAA==", "\u00e9", "{0}x", "x{0}"])
def test_what_is_damaged_does_not_open(damaged: str) -> None:
    sealed = factors.seal(KEY, "a", factors.new_secret(), BEGIN)
    assert factors.unseal(KEY, "a", damaged.format(sealed)) is None


def test_no_changed_sign_of_a_sealed_secret_goes_unseen() -> None:
    secret = factors.new_secret()
    sealed = factors.seal(KEY, "a", secret, BEGIN)
    for place, sign in enumerate(sealed.rstrip("=")[:-1]):  # the last one has bits that mean nothing
        changed = sealed[:place] + ("A" if sign != "A" else "B") + sealed[place + 1 :]
        assert factors.unseal(KEY, "a", changed) is None, place
