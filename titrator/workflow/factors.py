"""The second factor of an account, as it is stored: whether there is one, whether one is wanting, which codes it takes.

What people do with their own stands in workflow.own_account; that it is asked for at a login, in workflow.accounts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from titrator.security import factors
from titrator.store.base import Session, Where
from titrator.store.records import Account, SecondFactor
from titrator.workflow.visit import Policy, Visit, instant


class Begun(NamedTuple):
    """A secret for an authenticator, and the otpauth URI that a QR code of it says; both are shown once."""

    secret: str
    uri: str


class Accepted(NamedTuple):
    """How a second factor was proved: by a `code` or a `recovery-code`; how many of the latter are left."""

    second_factor: str
    recovery_codes_left: int


def confirmed(session: Session, account_id: str) -> SecondFactor | None:
    """The second factor of an account, if it has one that counts."""
    found = session.get(SecondFactor, account_id)
    return None if found is None or found.confirmed_at is None else found


def wanting(policy: Policy, session: Session, account: Account) -> bool:
    """Whether an account must have a second factor by its role, and has none."""
    return account.role in policy.second_factor_roles and confirmed(session, account.id) is None


def taken(visit: Visit, account_id: str) -> SecondFactor | None:
    """What there is of a second factor, confirmed or not, for nobody else to change until the visit ends."""
    found = visit.session.take(SecondFactor, Where("account_id", "=", account_id))
    return found[0] if found else None


def begin(visit: Visit, account: Account) -> Begun:
    """A secret that counts once a code of it has been confirmed; it takes the place of what was there."""
    secret = factors.new_secret()
    visit.session.put(
        SecondFactor(
            account_id=account.id,
            secret=factors.seal(visit.services.audit_key, account.id, secret, visit.now),
            made_at=instant(visit.now),
            confirmed_at=None,
            last_step=None,
            recovery_codes=(),
        )
    )
    return Begun(secret, factors.uri(secret, account.username))


def confirm(visit: Visit, factor: SecondFactor, code: str) -> tuple[str, ...] | None:
    """The recovery codes of a factor that counts from now on; None for a wrong code."""
    step = _step(visit, factor, code)
    if step is None:
        return None
    codes = factors.new_recovery_codes()
    hashes = tuple(_hash(visit, factor, one) for one in codes)
    visit.session.change(replace(factor, confirmed_at=instant(visit.now), last_step=step, recovery_codes=hashes))
    return codes


def accept(visit: Visit, factor: SecondFactor, code: str) -> Accepted | None:
    """Take a code, of the authenticator or to recover with, which uses it up: how it was proved; None for a wrong one.

    The factor must have been `taken` in this visit, so that of two who come with one code at once only one is let in.
    """
    step = _step(visit, factor, code)
    used = factors.one_of(factor.recovery_codes, _hash(visit, factor, code))
    if step is not None:
        visit.session.change(replace(factor, last_step=step))
        return Accepted("code", len(factor.recovery_codes))
    if used is None:
        return None
    left = tuple(one for one in factor.recovery_codes if one != used)
    visit.session.change(replace(factor, recovery_codes=left))
    return Accepted("recovery-code", len(left))


def remove(visit: Visit, account_id: str) -> bool:
    """Take a second factor away, confirmed or not; whether there was one."""
    return bool(visit.session.remove(SecondFactor, Where("account_id", "=", account_id)))


def _step(visit: Visit, factor: SecondFactor, code: str) -> int | None:
    """The step of a code that is right; with the key of another installation none is."""
    secret = factors.unseal(visit.services.audit_key, factor.account_id, factor.secret)
    return None if secret is None else factors.step_of(secret, code, visit.now, factor.last_step)


def _hash(visit: Visit, factor: SecondFactor, code: str) -> str:
    return factors.recovery_hash(visit.services.audit_key, factor.account_id, code)
