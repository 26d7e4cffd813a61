"""Passwords, by argon2id with the library's parameters (RFC 9106, low memory: 64 MiB, 3 passes, 4 lanes)."""

from __future__ import annotations

import secrets
from functools import cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

#: In characters; NIST SP 800-63B asks for 15 where a password stands alone, and for room up to 64 at least.
SHORTEST: Final = 15
LONGEST: Final = 256

_HASHER: Final = PasswordHasher()


def hash_password(password: str) -> str:
    """The hash to store."""
    return _HASHER.hash(password)


def matches(password: str, stored: str | None) -> bool:
    """Whether this is the password of a stored hash; always as slow, also where there is none."""
    try:
        _HASHER.verify(stored or _nobodys(), password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False
    return stored is not None


def outdated(stored: str) -> bool:
    """Whether a stored hash was made with weaker parameters than today's."""
    return _HASHER.check_needs_rehash(stored)


def unfit(password: str, username: str) -> str | None:
    """Why a password will not do, in words; None if it will. No rule asks for kinds of characters."""
    if not SHORTEST <= len(password) <= LONGEST:
        return f"must have {SHORTEST} to {LONGEST} characters"
    if any("\ud800" <= sign <= "\udfff" for sign in password):
        return "must be a text, without halves of characters"
    if len(set(password)) < 5 or (username and username.casefold() in password.casefold()):
        return "must not repeat a few characters or contain the username"
    return None


@cache
def _nobodys() -> str:
    """A hash of what nobody can type, so that an unknown name takes as long to refuse as a wrong password."""
    return _HASHER.hash(secrets.token_urlsafe(32))
