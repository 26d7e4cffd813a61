"""Passwords: which will do, which match, and that what is stored tells nothing."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher

from tests.passwords import SLOW
from titrator.security import passwords
from titrator.security.passwords import LONGEST, SHORTEST, hash_password, matches, outdated, unfit
from titrator.security.secrets import PREFIX, new_id, new_secret, sha256

GOOD = "correct horse battery"

FITNESS: list[tuple[str, str, bool]] = [
    ("", "eva", False),
    ("abcde1234567890"[: SHORTEST - 1], "eva", False),
    ("abcde1234567890"[:SHORTEST], "eva", True),
    ("abcde" * 51, "eva", True),
    ("abcde" * 51 + "a", "eva", True),
    ("abcde" * 51 + "ab", "eva", False),
    ("aaaaaaaaaaaaaaaaaaaa", "eva", False),
    ("abcdabcdabcdabcd", "eva", False),
    ("abcdeabcdeabcdeabcde", "eva", True),
    ("my name is eva meyer", "eva", False),
    ("MY NAME IS EVA MEYER", "eva", False),
    ("my name is eva meyer", "Eva", False),
    ("die Straße nach Süden", "STRASSE", False),
    (GOOD, "eva", True),
    (GOOD, "", True),
    ("пароль из многих слов", "eva", True),
    ("😀😃😄😁😆😅😂🤣😊😇🙂🙃😉😌😍", "eva", True),
    ("               ", "eva", False),
    (GOOD + "\ud800", "eva", False),
]


@pytest.fixture(autouse=True)
def as_in_earnest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_HASHER", SLOW)


@pytest.mark.parametrize(("password", "username", "fit"), FITNESS)
def test_a_password_is_fit_or_not(password: str, username: str, fit: bool) -> None:
    assert (unfit(password, username) is None) is fit
    assert len("abcde" * 51 + "a") == LONGEST


def test_a_password_matches_its_hash_and_no_other_does() -> None:
    stored = hash_password(GOOD)
    assert matches(GOOD, stored)
    for other in (GOOD + " ", GOOD.upper(), "", GOOD[:-1], "\ud800"):
        assert not matches(other, stored)


def test_a_hash_is_argon2id_salted_and_without_the_password() -> None:
    first, second = hash_password(GOOD), hash_password(GOOD)
    assert first != second
    assert first.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert "horse" not in first


WRONG_HASHES = [
    None,
    "",
    "plain text",
    GOOD,
    sha256(GOOD),
    "$argon2id$",
    "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$",
    "$2b$12$C6UzMDM.H6dfI/f/IKcEeO7ZpYtBuS7qjIzKoXyS5X4yq8vFq8Z5e",
    "$argon2id$v=19$m=65536,t=3,p=4$é$é",
]


@pytest.mark.parametrize("stored", WRONG_HASHES)
def test_what_is_no_hash_matches_nothing(stored: str | None) -> None:
    assert not matches(GOOD, stored)
    assert not matches("", stored)


def test_a_hash_of_weaker_parameters_matches_and_is_outdated() -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(GOOD)
    assert matches(GOOD, weak)
    assert outdated(weak)
    assert not outdated(hash_password(GOOD))


def test_secrets_are_marked_long_and_never_the_same() -> None:
    made = {new_secret() for _ in range(1000)}
    assert len(made) == 1000
    assert all(secret.startswith(PREFIX) and len(secret) == len(PREFIX) + 43 for secret in made)
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(ident) == 20 for ident in ids)


def test_the_hash_of_a_secret_is_sha256() -> None:
    assert sha256("abc") == sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
