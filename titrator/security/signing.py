"""Signatures that anybody can check who has the installation's public key: Ed25519 (RFC 8032).

The private key is derived from the audit key (HKDF), so that there is no second secret to keep and to lose: with a
backup and `audit.key` an installation signs as before. What is signed is a SHA-256, after words that say what for.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_PURPOSE: Final = b"titrator evidence, Ed25519"
_BEFORE: Final = "titrator evidence 1\n"
_BYTES: Final = 32


def public_key(audit_key: bytes) -> str:
    """The public key of an installation, as 64 hexadecimal digits."""
    return _private(audit_key).public_key().public_bytes_raw().hex()


def sign(audit_key: bytes, sha256: str) -> str:
    """The signature over a digest, as 128 hexadecimal digits."""
    return _private(audit_key).sign(_message(sha256)).hex()


def is_signed(public: str, sha256: str, signature: str) -> bool:
    """Whether a signature over a digest was made with the private key of a public one; False for what is no key."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(bytes.fromhex(signature), _message(sha256))
    except (ValueError, InvalidSignature):
        return False
    return True


def _private(audit_key: bytes) -> Ed25519PrivateKey:
    seed = HKDF(algorithm=SHA256(), length=_BYTES, salt=None, info=_PURPOSE).derive(audit_key)
    return Ed25519PrivateKey.from_private_bytes(seed)


def _message(sha256: str) -> bytes:
    return f"{_BEFORE}{sha256}".encode()
