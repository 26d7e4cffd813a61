"""Secrets and ids by chance. Only the hash of a secret is stored: a secret has 256 bits, so SHA-256 is enough."""

from __future__ import annotations

import hashlib
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
