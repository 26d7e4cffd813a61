"""The second factor: one-time codes by time (RFC 6238: SHA-1, six digits, 30 seconds), and codes to recover with.

Who copies the database has neither: the secret is encrypted and the recovery codes are hashed under keys that are
derived from the installation's own, which is not in it. Each account has keys of its own, so that what is stored of one
is worth nothing in the place of another's.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import pyotp
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

#: Under which name an authenticator shows the codes.
ISSUER: Final = "titrator"
STEP_SECONDS: Final = 30
#: So many steps before and after that of now are taken, for clocks that differ and for the time that typing takes.
WINDOW: Final = 1
RECOVERY_CODES: Final = 10

#: Without i, l, o and u: what is read as one of these is taken for the digit or letter that it looks like.
_SIGNS: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_LOOKALIKES: Final = str.maketrans("ilo", "110")
#: 60 bits.
_RECOVERY_LENGTH: Final = 12
_GROUP: Final = 4
_CODE: Final = re.compile(r"[0-9]{6}", re.ASCII)
_BLANKS: Final = re.compile(r"[\s-]+")


def new_secret() -> str:
    """A secret of 160 bits for an authenticator, in base32."""
    return pyotp.random_base32()


def uri(secret: str, username: str) -> str:
    """The otpauth URI of a secret, which an authenticator reads from a QR code."""
    return pyotp.TOTP(secret, interval=STEP_SECONDS).provisioning_uri(name=username, issuer_name=ISSUER)


def step_of(secret: str, code: str, now: datetime, after: int | None) -> int | None:
    """The step that a code is of, within the window around an instant; None for a wrong one.

    One that is of step `after` or of an earlier one has been used, or might have been, and is wrong, too.
    """
    typed = _BLANKS.sub("", code)
    if not _CODE.fullmatch(typed):
        return None
    totp, this = pyotp.TOTP(secret, interval=STEP_SECONDS), int(now.timestamp()) // STEP_SECONDS
    right = None
    for step in range(max(0, this - WINDOW), this + WINDOW + 1):  # all of them: the time must not tell which
        if hmac.compare_digest(totp.generate_otp(step), typed) and (after is None or step > after):
            right = step
    return right


def new_recovery_codes() -> tuple[str, ...]:
    """Codes that let in once each where the authenticator is lost, in groups to be read and typed by people."""
    return tuple(_new_recovery_code() for _ in range(RECOVERY_CODES))


def recovery_hash(key: bytes, account_id: str, code: str) -> str:
    """What is stored of a recovery code: an HMAC-SHA256 of it, however it is typed."""
    typed = _BLANKS.sub("", code).lower().translate(_LOOKALIKES)
    return hmac.digest(
        _derived(key, "recovery codes", account_id), typed.encode(errors="surrogatepass"), "sha256"
    ).hex()


def one_of(hashes: Iterable[str], wanted: str) -> str | None:
    """That of some hashes which is the wanted one; all are looked at."""
    found = None
    for each in hashes:
        if hmac.compare_digest(each.encode(), wanted.encode()):
            found = each
    return found


def seal(key: bytes, account_id: str, secret: str, now: datetime) -> str:
    """A secret, encrypted for one account (Fernet: AES-128-CBC and HMAC-SHA256)."""
    return _fernet(key, account_id).encrypt_at_time(secret.encode(), int(now.timestamp())).decode()


def unseal(key: bytes, account_id: str, sealed: str) -> str | None:
    """The secret that was sealed for an account; None where it was sealed for another, by another key, or damaged."""
    try:
        return _fernet(key, account_id).decrypt(sealed.encode()).decode()
    except (InvalidToken, ValueError):
        return None


def _new_recovery_code() -> str:
    signs = "".join(secrets.choice(_SIGNS) for _ in range(_RECOVERY_LENGTH))
    return "-".join(signs[start : start + _GROUP] for start in range(0, _RECOVERY_LENGTH, _GROUP))


def _fernet(key: bytes, account_id: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(_derived(key, "secret", account_id)))


def _derived(key: bytes, purpose: str, account_id: str) -> bytes:
    """A key for one purpose and one account (HKDF-SHA256, RFC 5869), from which the first cannot be told."""
    info = f"titrator second factor\n{purpose}\n{account_id}".encode()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key)
