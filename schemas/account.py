"""Accounts, logins, tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import marshmallow as ma

from schemas.fields import Choice, Flag, Instant, Many, Object, Schema, Text, Whole, keys_of, one_of
from schemas.patient import IdentifierPart

ROLES: Final = ("technician", "pharmacist", "prescriber", "ehr", "auditor", "admin")


class Login(Schema):
    """A name and its password; where the account has a second factor, a code of it or a recovery code, too."""

    username = Text(required=True)
    password = Text(required=True, longest=256, lines=True)
    code = Text(longest=32)


class SessionOut(Schema):
    """A bearer token, that ends at an instant, or earlier if it is not used."""

    token = Text(required=True)
    expires_at = Instant(required=True)
    idle_seconds = Whole(required=True, allow_none=True, least=1, most=10**9)
    role = Choice(ROLES, required=True)
    clinics = Many(Text(), required=True, most=10_000)
    permissions = Many(Text(), required=True)


class Activation(Schema):
    """The secret of a one-time link, and the password to be."""

    secret = Text(required=True)
    password = Text(required=True, longest=256, lines=True)


class AccountIn(Schema):
    """A new account: of a person, or with the role `ehr` of a system."""

    username = Text(required=True, longest=64, pattern=r"[A-Za-z0-9][A-Za-z0-9._@-]*")
    display_name = Text(required=True)
    role = Choice(ROLES, required=True)
    clinics = Many(Text(), most=1000)


class AccountChange(Schema):
    """What is to be different."""

    display_name = Text()
    role = Choice(ROLES)
    clinics = Many(Text(), most=1000)
    active = Flag()


class AccountOut(Schema):
    """An account as stored."""

    id = Text(required=True)
    version = Whole(required=True, least=1, most=2**53)
    username = Text(required=True)
    display_name = Text(required=True)
    role = Choice(ROLES, required=True)
    clinics = Many(Text(), required=True, most=10_000)
    active = Flag(required=True)
    activated = Flag(required=True)
    locked_until = Instant(required=True, allow_none=True)
    second_factor = Flag(required=True)


class Accounts(Schema):
    """All accounts."""

    items = Many(Object(AccountOut), required=True, most=1_000_000)


class Invited(Schema):
    """An account, and the secret that sets its password once; null for a system, and where it is sent again."""

    account = Object(AccountOut, required=True)
    activation_secret = Text(required=True, allow_none=True)


class Me(Schema):
    """The account that asks, and what its token allows."""

    account = Object(AccountOut, required=True)
    permissions = Many(Text(), required=True)


class PasswordChange(Schema):
    """One's own password, and the one to be."""

    old = Text(required=True, longest=256, lines=True)
    new = Text(required=True, longest=256, lines=True)


class FactorOut(Schema):
    """One's own second factor: whether there is one, whether one's role must have one, and since when it counts."""

    second_factor = Flag(required=True)
    required = Flag(required=True)
    confirmed_at = Instant(required=True, allow_none=True)
    recovery_codes_left = Whole(required=True, least=0, most=100)


class FactorIn(Schema):
    """One's own password, to set a second factor up."""

    password = Text(required=True, longest=256, lines=True)


class FactorBegun(Schema):
    """A secret for an authenticator, and the otpauth URI for its QR code, shown this once."""

    secret = Text(required=True)
    uri = Text(required=True, longest=1000)


class FactorCode(Schema):
    """A code of the authenticator."""

    code = Text(required=True, longest=32)


class RecoveryCodes(Schema):
    """Codes that let in once each where the authenticator is lost, shown this once."""

    recovery_codes = Many(Text(), required=True)


class FactorRemoval(Schema):
    """One's own password, and a code of the authenticator or a recovery code."""

    password = Text(required=True, longest=256, lines=True)
    code = Text(required=True, longest=32)


class TokenIn(Schema):
    """A token to issue. `permissions` narrows what the role allows."""

    label = Text(required=True)
    days = Whole(required=True, least=1, most=3660)
    permissions = Many(Text(), most=100)


class TokenOut(Schema):
    """A token as stored: without its secret."""

    id = Text(required=True)
    kind = Choice(("api", "session", "activation"), required=True)
    label = Text(required=True)
    permissions = Many(Text(), required=True, allow_none=True)
    created_at = Instant(required=True)
    expires_at = Instant(required=True)
    revoked_at = Instant(required=True, allow_none=True)


class Tokens(Schema):
    """The tokens of an account."""

    items = Many(Object(TokenOut), required=True, most=1_000_000)


class TokenIssued(Schema):
    """A token with its secret, shown this once; null where the answer is sent again."""

    token = Object(TokenOut, required=True)
    secret = Text(required=True, allow_none=True)


class GlassIn(Schema):
    """A patient of another clinic, by id or identifier, and why one must see the record now."""

    patient = Text()
    identifier = Object(IdentifierPart)
    reason = Text(required=True, shortest=10, longest=1000, lines=True)

    @ma.validates_schema(pass_original=True, skip_on_field_errors=False)
    def one_patient(self, data: Mapping[str, object], sent: object, **_: Any) -> None:
        """Refuse none and two."""
        del data
        one_of("patient", "identifier")(keys_of(sent))


class GlassOut(Schema):
    """Access to a patient, for a while."""

    patient = Text(required=True)
    until = Instant(required=True)
