"""Accounts, logins and tokens: who may come in, and for how long. What each may do stands in security.permissions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple, cast

from titrator.security.passwords import hash_password, matches, outdated, unfit
from titrator.security.permissions import PERMISSIONS, Permission, Role
from titrator.security.scopes import expanded
from titrator.security.secrets import new_id, new_secret, sha256
from titrator.store.base import Duplicate, Session, Where
from titrator.store.records import Account, ApiClient, Clinic, GlassBreak, Identifier, Patient, SecondFactor, Token
from titrator.titration.errors import Fault
from titrator.workflow import factors
from titrator.workflow.errors import Code, Conflict, Forbidden, Invalid, Unauthorised, Unknown
from titrator.workflow.visit import Actor, Policy, Services, Visit, instant, refuse_outdated

Body = Mapping[str, object]

#: The name of the first administrator.
FIRST: Final = "admin"
#: A token's last use is written down no more often than this, in seconds.
_NOTED_EVERY = 60


class Issued(NamedTuple):
    """A token with its secret, which is shown once and then known to its holder only."""

    token: Token
    secret: str


def authenticate(services: Services, secret: str) -> Actor:
    """The actor whom a bearer token lets in; raises Unauthorised, without saying what is wrong with it."""
    digest, now = sha256(secret), services.clock()
    bearer = services.still(("token", digest), lambda: _bearer(services, digest), "access")
    if bearer is None or bearer.token.kind == "activation" or not _valid(bearer.token, bearer.account, now):
        raise Unauthorised("The token is unknown, has ended or has been revoked.")
    token = bearer.token
    if token.idle_seconds is not None and _seconds_since(token.used_at, now) > min(
        _NOTED_EVERY, token.idle_seconds / 2
    ):
        with services.store.writing(durable=False) as session:
            if fresh := session.get(Token, digest):
                session.change(replace(fresh, used_at=instant(now)))
    return bearer.actor


def actor_of(services: Services, username: str) -> Actor:
    """The actor as whom a program calls that has proved itself otherwise than by a token of ours: a system's account.

    Raises Unauthorised unless the account is there, is active and is a system's.
    """
    account = services.still(("system", username), lambda: _account_named(services, username), "access")
    if account is None or not account.active or account.role != Role.EHR:
        raise Unauthorised("The account of this program is not there, is not active or is not that of a system.")
    role = Role.EHR
    return Actor(account.id, account.username, role, frozenset(account.clinics), PERMISSIONS[role])


def _account_named(services: Services, username: str) -> Account | None:
    with services.store.reading() as session:
        return _named(session, username)


def _named(session: Session, username: str) -> Account | None:
    found = session.find(Account, Where("username", "=", username.casefold()))
    return found[0] if found else None


class _Bearer(NamedTuple):
    """A token with its account, and what it lets that account act as while it is valid."""

    token: Token
    account: Account
    actor: Actor


def _bearer(services: Services, digest: str) -> _Bearer | None:
    with services.store.reading() as session:
        token = session.get(Token, digest)
        account = None if token is None else session.get(Account, token.account_id)
        if token is None or account is None:
            return None
        return _Bearer(token, account, _actor(account, token, _allowed(services.policy, session, account, token)))


class Proof(NamedTuple):
    """Whether a password was right, and its hash by today's parameters if the stored one is by older ones."""

    right: bool
    stored: str | None = None
    renewed: str | None = None


def prove(services: Services, username: str, password: str) -> Proof:
    """Compare a password with that of an account. It takes long on purpose, so no transaction waits for it."""
    account = _account_named(services, username)
    stored = None if account is None else account.password_hash
    right = matches(password, stored)
    renewed = hash_password(password) if right and stored is not None and outdated(stored) else None
    return Proof(right, stored, renewed)


def stored_proof(services: Services, username: str, stored_sha256: str) -> Proof:
    """The proof of a password that was right before, told by the SHA-256 of the hash that it was right for."""
    with services.store.reading() as session:
        account = _named(session, username)
    stored = None if account is None else account.password_hash
    return Proof(stored is not None and sha256(stored) == stored_sha256, stored)


class Login(NamedTuple):
    """What became of a login: the session that was given, if one was, and what it allows.

    Of one that was not, whether nothing was wrong but a code of the second factor is needed.
    """

    account: Account
    issued: Issued | None = None
    permissions: frozenset[Permission] = frozenset()
    needs_code: bool = False


def login(visit: Visit, username: str, proof: Proof, code: str | None = None) -> Login:
    """A session for a right password and, where the account has a second factor, a right code of that.

    A failed login leaves its mark, so it does not raise: what it wrote must be kept. After too many in a row, be it of
    the password or of the code, the account is locked for a while; a locked one refuses the right ones, too. To be
    asked for the code is no failure, and does not make those before it forgotten.
    """
    # Held until it ends: two who try passwords at once are counted both, and nobody is let in who is just shut out.
    found = visit.session.take(Account, Where("username", "=", username.casefold()))
    account = found[0] if found else None
    if account is None:
        visit.note("login-failed", "account")  # without the name: people type passwords there
        return Login(_nobody(username))
    if locked(visit, account) or not account.active:
        visit.note("login-refused", f"account/{account.id}", locked=locked(visit, account))
        return Login(account)
    if not proof.right or proof.stored != account.password_hash:
        wrong_again(visit, account)
        visit.note("login-failed", f"account/{account.id}")
        return Login(account)
    factor = factors.taken(visit, account.id)
    if factor is None or factor.confirmed_at is None:
        return _let_in(visit, account, proof, None)
    return _by_code(visit, account, proof, factor, code)


def _by_code(visit: Visit, account: Account, proof: Proof, factor: SecondFactor, code: str | None) -> Login:
    """A session for a right code, after the password."""
    if code is None:
        visit.note("login-code-asked", f"account/{account.id}")
        return Login(account, needs_code=True)
    how = factors.accept(visit, factor, code)
    if how is None:
        wrong_again(visit, account)
        visit.note("login-failed", f"account/{account.id}", second_factor="wrong")
        return Login(account)
    return _let_in(visit, account, proof, how)


def _let_in(visit: Visit, account: Account, proof: Proof, how: factors.Accepted | None) -> Login:
    """A session for who has proved all there is to prove."""
    stored = proof.renewed or account.password_hash
    visit.session.change(replace(account, failed_logins=0, locked_until=None, password_hash=stored))
    policy = visit.services.policy
    issued = _issue(visit, account, "session", "login", policy.session_seconds, idle=policy.idle_seconds)
    visit.note("login", f"account/{account.id}", **how._asdict() if how else {})
    return Login(account, issued, _allowed(policy, visit.session, account, issued.token))


def locked(visit: Visit, account: Account) -> bool:
    """Whether too many wrong passwords or codes keep an account locked."""
    return account.locked_until is not None and account.locked_until > instant(visit.now)


def logout(visit: Visit) -> None:
    """End the session, or revoke the token, that the visit came with."""
    token = visit.session.get(Token, visit.who.token_sha256 or "")
    if token is not None and token.revoked_at is None:
        visit.session.change(replace(token, revoked_at=instant(visit.now)))
        visit.note("logout", f"account/{visit.who.account_id}")


def end_session(visit: Visit, secret: str) -> None:
    """End the session of a secret, whosever it is; nothing happens where that is none."""
    token = visit.session.get(Token, sha256(secret))
    if token is not None and token.kind == "session" and token.revoked_at is None:
        visit.session.change(replace(token, revoked_at=instant(visit.now)))
        visit.note("logout", f"account/{token.account_id}")


def add_account(visit: Visit, body: Body) -> tuple[Account, Issued | None]:
    """A new account; for a person with a secret to activate it once, for a system without."""
    _refuse_narrowed(visit)
    role = Role(cast(str, body["role"]))
    clinics = _known_clinics(visit, body)
    account = Account(
        id=new_id(),
        version=1,
        username=cast(str, body["username"]).casefold(),
        display_name=cast(str, body["display_name"]),
        role=str(role),
        clinics=clinics,
        active=True,
        password_hash=None,
        failed_logins=0,
        locked_until=None,
        created_at=instant(visit.now),
    )
    try:
        visit.session.add(account)
    except Duplicate:
        raise Conflict(
            Code.USERNAME_TAKEN, "An account of that name is there.", faults=[Fault("username", "taken")]
        ) from None
    visit.note("create", f"account/{account.id}", new=_said(account))
    return account, None if role is Role.EHR else invite(visit, account)


def invite(visit: Visit, account: Account) -> Issued:
    """A secret that sets the password of an account once; those issued before are revoked."""
    same = (Where("account_id", "=", account.id), Where("kind", "=", "activation"))
    for token in visit.session.find(Token, *same):
        if token.revoked_at is None:
            visit.session.change(replace(token, revoked_at=instant(visit.now)))
    visit.note("invite", f"account/{account.id}")
    return _issue(visit, account, "activation", "activation", visit.services.policy.activation_seconds)


def invite_again(visit: Visit, account_id: str) -> tuple[Account, Issued]:
    """A new activation for an account whose password is lost, or stolen: it and all its tokens end at once.

    A second factor stays: who has the link alone must not come in. `reset_factor` takes it away.
    """
    _refuse_narrowed(visit)
    account = find_account(visit, account_id)
    if account.role == Role.EHR:
        raise Conflict(Code.ACCOUNT_INACTIVE, "A system has no password; issue a token for it.")
    if not account.active:
        raise Conflict(Code.ACCOUNT_INACTIVE, "The account is not active; make it active first.")
    end_tokens(visit, account, ("session", "api"))
    locked_out = replace(account, version=account.version + 1, password_hash=None)
    visit.session.change(locked_out)
    return locked_out, invite(visit, locked_out)


def reset_factor(visit: Visit, account_id: str) -> Account:
    """Take the second factor of another's account away, who has lost it; the account's sessions end.

    Raises Forbidden for one's own, which takes password and code; Conflict where there is none.
    """
    account = find_account(visit, account_id)
    if account.id == visit.who.account_id:
        raise Forbidden("One's own is removed with password and code; or let another administrator do it.")
    if not factors.remove(visit, account.id):
        raise Conflict(Code.SECOND_FACTOR_MISSING, "The account has no second factor.")
    end_tokens(visit, account, ("session",))
    visit.note("reset-second-factor", f"account/{account.id}")
    return account


def first_administrator(visit: Visit) -> Issued | None:
    """A secret to activate the first administrator's account, made if it is not there; None if one is active.

    Raises Conflict where that account is there and may not be what it is to be.
    """
    everybody = visit.session.find(Account, Where("role", "=", Role.ADMIN), Where("active", "=", 1))
    if any(account.password_hash is not None for account in everybody):
        return None
    found = visit.session.find(Account, Where("username", "=", FIRST))
    if not found:
        return add_account(visit, {"username": FIRST, "display_name": "Administrator", "role": Role.ADMIN})[1]
    if found[0] not in everybody:
        raise Conflict(
            Code.USERNAME_TAKEN,
            f"There is an account {FIRST}, but it is disabled or has another role, and no other administrator is "
            f"active. Change it first: titrator users change {FIRST} --active --role admin",
        )
    return invite(visit, found[0])


def activate(visit: Visit, secret: str, password: str) -> Account | None:
    """The account whose password is set with the secret that was issued for it; None where that is no good.

    A secret that was used, has ended or never was leaves its mark, so it does not raise: what it wrote must be kept.
    Raises Invalid for a password that will not do, which uses nothing up.
    """
    token = visit.session.get(Token, sha256(secret))
    account = None if token is None or token.kind != "activation" else visit.session.get(Account, token.account_id)
    if token is None or account is None or not _valid(token, account, visit.now):
        visit.note("activation-failed", "account" if account is None else f"account/{account.id}")
        return None
    if wrong := unfit(password, account.username):
        raise Invalid(Fault("password", wrong))
    changed = replace(
        account,
        version=account.version + 1,
        password_hash=hash_password(password),
        failed_logins=0,
        locked_until=None,
    )
    visit.session.change(changed)
    visit.session.change(replace(token, revoked_at=instant(visit.now)))
    end_tokens(visit, account, ("session",))
    visit.note("activate", f"account/{account.id}")
    return changed


def login_refused(done: Login) -> Unauthorised:
    """Why a login gave no session: only who had the right password is told that a code is needed."""
    if done.needs_code:
        return Unauthorised(
            "The password is right; send it again with a code of the authenticator, or a recovery code, as `code`.",
            code=Code.SECOND_FACTOR_NEEDED,
        )
    return Unauthorised("Wrong name, password or code, or the account is locked for a while.", code=Code.LOGIN_FAILED)


def link_used() -> Unauthorised:
    """Why an activation failed, in words that do not tell which of the reasons it is."""
    return Unauthorised(
        "That link has been used, has ended, or never was. Ask an administrator for a new one.",
        code=Code.ACTIVATION_USED,
    )


def change_account(visit: Visit, account_id: str, body: Body, version: int | None) -> Account:
    """An account with another name to show, role, clinics, or active or not; what its tokens allow follows at once.

    One that becomes a system's loses its password and second factor. One that is closed or gets another role loses its
    clients for good.
    """
    _refuse_narrowed(visit)
    account = find_account(visit, account_id)
    refuse_outdated(account.version, version)
    if account.id == visit.who.account_id and (body.get("active") is False or body.get("role", "admin") != "admin"):
        raise Forbidden("An administrator may not lock himself out; let another one do it.")
    changed = replace(
        account,
        version=account.version + 1,
        display_name=cast(str, body.get("display_name", account.display_name)),
        role=cast(str, body.get("role", account.role)),
        clinics=_known_clinics(visit, body) if "clinics" in body else account.clinics,
        active=cast(bool, body.get("active", account.active)),
        password_hash=None if body.get("role", account.role) == Role.EHR else account.password_hash,
        failed_logins=0,
        locked_until=None,
    )
    visit.session.change(changed, Where("version", "=", account.version))
    if changed.role == Role.EHR:
        factors.remove(visit, account.id)
    if not changed.active or changed.role != account.role:
        end_tokens(visit, account, ("session", "api", "activation", "access"))
        for client in visit.session.find(ApiClient, Where("account_id", "=", account.id)):
            if client.revoked_at is None:
                end_client(visit, client)
    visit.note("change", f"account/{account.id}", old=_said(account), new=_said(changed))
    return changed


def end_client(visit: Visit, client: ApiClient) -> ApiClient:
    """A client that gets no more tokens from now on; those that it has are not ended by this."""
    ended = replace(client, revoked_at=instant(visit.now))
    visit.session.change(ended)
    visit.note("revoke-client", f"client/{client.id}", label=client.label)
    return ended


def find_account(visit: Visit, account_id: str) -> Account:
    """An account by its id; raises Unknown."""
    account = visit.session.get(Account, account_id)
    if account is None:
        raise Unknown("account")
    return account


def names(visit: Visit, account_ids: Iterable[str]) -> dict[str, str]:
    """The names by which accounts are shown, by id; of one that is not there its id."""
    wanted = tuple(set(account_ids))
    found = visit.session.find(Account, Where("id", "in", wanted)) if wanted else []
    return dict(zip(wanted, wanted, strict=True)) | {account.id: account.display_name for account in found}


def _refuse_narrowed(visit: Visit) -> None:
    """Raise Forbidden to who comes by a token that may do less than its account: what it lets in may do more."""
    if visit.actor is not None and not visit.actor.permissions >= PERMISSIONS[visit.actor.role]:
        raise Forbidden("A token that may do less than its account may not issue others, nor let anybody in.")


def issue_token(visit: Visit, account_id: str, body: Body) -> Issued:
    """A token of an account for a program: for so many days, and for no more than the account may do."""
    account = find_account(visit, account_id)
    if not account.active:
        raise Conflict(Code.ACCOUNT_INACTIVE, "The account is not active.")
    _refuse_narrowed(visit)
    wanted = cast("list[str] | None", body.get("permissions"))
    allowed = PERMISSIONS[Role(account.role)]
    if wanted is not None and (beyond := sorted(set(wanted) - allowed)):
        raise Invalid(Fault("permissions", f"not given to the role {account.role}: {', '.join(beyond)}"))
    seconds = cast(int, body["days"]) * 86400
    issued = _issue(visit, account, "api", cast(str, body["label"]), seconds, permissions=wanted)
    visit.note("issue-token", f"account/{account.id}", new=token_fields(issued.token))
    return issued


def tokens(visit: Visit, account_id: str) -> list[Token]:
    """The tokens of an account, the newest last; without those that its clients get, every few minutes a new one."""
    account = find_account(visit, account_id)
    theirs = Where("account_id", "=", account.id), Where("kind", "!=", "access")
    return visit.session.find(Token, *theirs, order=("created_at", "id"))


def revoke_token(visit: Visit, account_id: str, token_id: str) -> Token:
    """End a token at once; raises Unknown."""
    found = visit.session.find(Token, Where("id", "=", token_id), Where("account_id", "=", account_id))
    if not found:
        raise Unknown("token")
    token = found[0]
    if token.revoked_at is None:
        token = replace(token, revoked_at=instant(visit.now))
        visit.session.change(token)
        visit.note("revoke-token", f"account/{account_id}", token=token.id, label=token.label)
    return token


def break_glass(visit: Visit, body: Body) -> GlassBreak:
    """Access to a patient of another clinic for an hour, for a reason that is kept and reported; raises Unknown."""
    patient = _anyone(visit, body)
    until = visit.now + timedelta(seconds=visit.services.policy.glass_seconds)
    broken = GlassBreak(
        patient_id=patient.id,
        id=new_id(),
        account_id=visit.who.account_id,
        reason=cast(str, body["reason"]),
        at=instant(visit.now),
        until=instant(until),
    )
    visit.session.add(broken)
    visit.note("break-glass", f"patient/{patient.id}", patient=patient, why=broken.reason, until=broken.until)
    visit.note("break-glass", f"patient/{patient.id}", why=broken.reason, until=broken.until)
    return broken


def state(account: Account, now: str) -> str:
    """Whether an account can come in at an instant: `disabled`, `locked`, `by-token`, `invited` or `active`."""
    if not account.active:
        return "disabled"
    if account.locked_until is not None and account.locked_until > now:
        return "locked"
    if account.password_hash is None:
        return "by-token" if account.role == Role.EHR else "invited"
    return "active"


def account_fields(session: Session, account: Account) -> dict[str, object]:
    """An account as it is sent."""
    return {**_said(account), "second_factor": factors.confirmed(session, account.id) is not None}


def _said(account: Account) -> dict[str, object]:
    """What is told of an account by itself."""
    return {
        "id": account.id,
        "version": account.version,
        "username": account.username,
        "display_name": account.display_name,
        "role": account.role,
        "clinics": list(account.clinics),
        "active": account.active,
        "activated": account.password_hash is not None,
        "locked_until": account.locked_until,
    }


def token_fields(token: Token) -> dict[str, object]:
    """A token as it is sent: without its secret, which nobody has."""
    return {
        "id": token.id,
        "kind": token.kind,
        "label": token.label,
        "permissions": None if token.permissions is None else list(token.permissions),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
    }


def _allowed(policy: Policy, session: Session, account: Account, token: Token) -> frozenset[Permission]:
    """What a token lets its account do: a session, as long as the second factor is wanting, only to set that up."""
    allowed = PERMISSIONS[Role(account.role)]
    if token.permissions is not None:
        allowed &= frozenset(named for named in Permission if named in token.permissions)
    if token.kind == "session" and factors.wanting(policy, session, account):
        allowed &= {Permission.OWN_ACCOUNT}
    return allowed


def _actor(account: Account, token: Token, allowed: frozenset[Permission]) -> Actor:
    role = Role(account.role)
    issued = token.id if token.kind in ("api", "access") else None
    scopes = None if token.scopes is None else expanded(token.scopes)
    return Actor(account.id, account.username, role, frozenset(account.clinics), allowed, token.sha256, issued, scopes)


def _valid(token: Token, account: Account, now: datetime) -> bool:
    at = instant(now)
    idle = token.idle_seconds is not None and _seconds_since(token.used_at, now) > token.idle_seconds
    return account.active and token.revoked_at is None and at < token.expires_at and not idle


def _seconds_since(at: str | None, now: datetime) -> float:
    return 0 if at is None else (now - datetime.fromisoformat(at)).total_seconds()


def issue_access(visit: Visit, account: Account, client: ApiClient, scopes: tuple[str, ...], seconds: int) -> Issued:
    """A token of an account for a client of it, which lets it do what the scopes allow and no more."""
    return _issue(visit, account, "access", client.label, seconds, client=client.id, scopes=scopes)


def _issue(  # noqa: PLR0913
    visit: Visit,
    account: Account,
    kind: str,
    label: str,
    seconds: int,
    *,
    idle: int | None = None,
    permissions: list[str] | None = None,
    client: str | None = None,
    scopes: tuple[str, ...] | None = None,
) -> Issued:
    secret = new_secret()
    token = Token(
        sha256=sha256(secret),
        id=new_id(),
        account_id=account.id,
        kind=kind,
        label=label,
        permissions=None if permissions is None else tuple(sorted(set(permissions))),
        client_id=client,
        scopes=scopes,
        created_at=instant(visit.now),
        expires_at=instant(visit.now + timedelta(seconds=seconds)),
        idle_seconds=idle,
        used_at=instant(visit.now),
        revoked_at=None,
    )
    visit.session.add(token)
    return Issued(token, secret)


def end_tokens(visit: Visit, account: Account, kinds: tuple[str, ...], *, but: str | None = None) -> None:
    """End the tokens of an account of some kinds, but for one that is named by its SHA-256."""
    for token in visit.session.find(Token, Where("account_id", "=", account.id), Where("kind", "in", kinds)):
        if token.revoked_at is None and token.sha256 != but:
            visit.session.change(replace(token, revoked_at=instant(visit.now)))


def wrong_again(visit: Visit, account: Account) -> None:
    """Count a wrong password or code of an account that is not locked; one too many locks it."""
    policy, failed = visit.services.policy, account.failed_logins + 1
    if failed < policy.logins_before_lock:
        visit.session.change(replace(account, failed_logins=failed))
        return
    visit.note("lock", f"account/{account.id}")
    until = instant(visit.now + timedelta(seconds=policy.lock_seconds))
    visit.session.change(replace(account, failed_logins=0, locked_until=until))


def _nobody(username: str) -> Account:
    return Account(
        id="",
        version=0,
        username=username,
        display_name="",
        role=Role.AUDITOR,
        clinics=(),
        active=False,
        password_hash=None,
        failed_logins=0,
        locked_until=None,
        created_at="",
    )


def _known_clinics(visit: Visit, body: Body) -> tuple[str, ...]:
    named = cast("list[str]", body.get("clinics", []))
    faults = [
        Fault(f"clinics[{index}]", "no such clinic")
        for index, ident in enumerate(named)
        if visit.session.get(Clinic, ident) is None
    ]
    if faults:
        raise Invalid(*faults)
    return tuple(sorted(set(named)))


def _anyone(visit: Visit, body: Body) -> Patient:
    """A patient of any clinic, by id or identifier."""
    session: Session = visit.session
    identifier = cast("Mapping[str, str] | None", body.get("identifier"))
    if identifier is not None:
        named = session.get(Identifier, identifier["system"], identifier["value"])
        found = None if named is None else session.get(Patient, named.patient_id)
    else:
        found = session.get(Patient, body.get("patient"))
    if found is None:
        raise Unknown("patient")
    return found
