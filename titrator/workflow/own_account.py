"""What people do with their own account: another password, a second factor. Each is proved anew, session or not.

Whoever finds an open session must not be able to take the account over by it, nor to guess: a wrong password or code
counts towards the lock as at a login, and while the account is locked the right one is refused, too. As there, what
went wrong leaves its mark, so it does not raise.
"""

from __future__ import annotations

from dataclasses import replace

from titrator.security.passwords import hash_password, unfit
from titrator.store.records import Account
from titrator.titration.errors import Fault
from titrator.workflow import factors
from titrator.workflow.accounts import Proof, end_tokens, find_account, locked, wrong_again
from titrator.workflow.errors import Code, Conflict, Forbidden, Invalid
from titrator.workflow.visit import Visit


def change_password(visit: Visit, proof: Proof, new: str) -> bool:
    """Set another password for who has proved the old one, and end the account's other sessions; False where not.

    Raises Invalid, at `new`, for one that will not do.
    """
    account = _proved(visit, proof)
    if account is None:
        return False
    if wrong := unfit(new, account.username):
        raise Invalid(Fault("new", wrong))
    visit.session.change(replace(account, version=account.version + 1, password_hash=hash_password(new)))
    end_tokens(visit, account, ("session",), but=visit.who.token_sha256)
    visit.note("change-password", f"account/{account.id}")
    return True


def begin_factor(visit: Visit, proof: Proof) -> factors.Begun | None:
    """A secret for an authenticator, in place of one that is not confirmed yet; None where the password was wrong.

    Raises Conflict where there is a confirmed one, which has to be removed first.
    """
    account = _proved(visit, proof)
    if account is None:
        return None
    if factors.confirmed(visit.session, account.id) is not None:
        raise Conflict(Code.SECOND_FACTOR_SET, "The account has a second factor; remove that one first.")
    visit.note("begin-second-factor", f"account/{account.id}")
    return factors.begin(visit, account)


def confirm_factor(visit: Visit, code: str) -> tuple[str, ...] | None:
    """Make the second factor count, by a first code of it: the recovery codes, shown once; None for a wrong code.

    The account's other sessions end, as they were begun without it. Raises Conflict where none has been begun.
    """
    account = _own(visit)
    factor = factors.taken(visit, account.id)
    if factor is None:
        raise _missing()
    if factor.confirmed_at is not None:
        raise Conflict(Code.SECOND_FACTOR_SET, "The second factor has been confirmed already.")
    codes = None if locked(visit, account) else factors.confirm(visit, factor, code)
    if codes is None:
        _refused(visit, account)
        return None
    end_tokens(visit, account, ("session",), but=visit.who.token_sha256)
    visit.note("confirm-second-factor", f"account/{account.id}")
    return codes


def remove_factor(visit: Visit, proof: Proof, code: str) -> bool:
    """Take one's second factor away, by password and code (or recovery code); False where one of them was wrong.

    Raises Conflict where there is no confirmed one.
    """
    account = _own(visit)
    factor = factors.taken(visit, account.id)
    if factor is None or factor.confirmed_at is None:
        raise _missing()
    if _proved(visit, proof) is None:
        return False
    how = factors.accept(visit, factor, code)
    if how is None:
        _refused(visit, account)
        return False
    factors.remove(visit, account.id)
    visit.note("remove-second-factor", f"account/{account.id}", second_factor=how.second_factor)
    return True


def factor_fields(visit: Visit) -> dict[str, object]:
    """One's own second factor as it is sent: nothing of its secret."""
    account = find_account(visit, visit.who.account_id)
    factor = factors.confirmed(visit.session, account.id)
    return {
        "second_factor": factor is not None,
        "required": account.role in visit.services.policy.second_factor_roles,
        "confirmed_at": factor and factor.confirmed_at,
        "recovery_codes_left": 0 if factor is None else len(factor.recovery_codes),
    }


def not_proved(*fields: str) -> Invalid:
    """That a password or code was wrong, in words that do not tell which of several, nor whether by the lock."""
    said = "is not right" if len(fields) == 1 else "is not right, or another of these is not"
    return Invalid(*(Fault(field, f"{said}; or the account is locked for a while") for field in fields))


def _own(visit: Visit) -> Account:
    """The account of who asks in person; raises Forbidden for a program."""
    if visit.who.token_id is not None:
        raise Forbidden("This is for the person, after a login; no token that was issued for a program may do it.")
    return find_account(visit, visit.who.account_id)


def _proved(visit: Visit, proof: Proof) -> Account | None:
    """One's own account, if the password was right; None where not, which has left its mark."""
    account = _own(visit)
    if proof.right and proof.stored == account.password_hash and not locked(visit, account):
        return account
    _refused(visit, account)
    return None


def _refused(visit: Visit, account: Account) -> None:
    """Count a wrong proof; attempts while the account is locked do not prolong that."""
    if not locked(visit, account):
        wrong_again(visit, account)
    visit.note("proof-failed", f"account/{account.id}")


def _missing() -> Conflict:
    return Conflict(Code.SECOND_FACTOR_MISSING, "The account has no second factor, or none that is being set up.")
