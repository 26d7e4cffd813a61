"""Secrets and ids by chance. Only the hash of a secret is stored: a secret has 256 bits, so SHA-256 is enough."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

#: What our tokens begin with, so that a scanner that finds one in a log or a repository can tell what it is.
PREFIX: Final = "titr_"


def new_secret() -> str:
    """A token, that nobody can guess."""
    return PREFIX + secrets.token_urlsafe(32)


def new_id() -> str:
    """An id, that no two things share: 80 bits in 20 characters."""
    return secrets.token_hex(10)


def sha256(text: str | bytes) -> str:
    """The SHA-256 of a text in hexadecimal digits."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def fingerprint(key: bytes, purpose: str, text: str) -> str:
    """What tells two texts apart and nothing else of them: HMAC-SHA256 of `purpose`, a line feed and the text.

    The purpose keeps it from ever being the code of something else under the same key.
    """
    return hmac.digest(key, f"{purpose}\n{text}".encode(), "sha256").hex()
