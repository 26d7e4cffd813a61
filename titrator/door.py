"""What every request passes, at whichever door: who asks, whether it may, one transaction, the trail.

`guarded` counts a request, tells who asks and checks the permission; `done` gives a step its visit, in one transaction.
REST, FHIR, CDS Hooks and the pages differ in what they read and write, and in nothing of this.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, wraps
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import urlsplit

import marshmallow as ma
import structlog
from flask import current_app, g, request

from schemas.fields import Schema
from titrator.security.limits import Limit
from titrator.security.permissions import Permission
from titrator.security.scopes import CLOSED, Needs
from titrator.store.base import Duplicate, Overtaken, Session, Stale, StoreError, Unavailable, again_if
from titrator.store.draft import Draft
from titrator.titration.documents import join
from titrator.titration.errors import Fault
from titrator.workflow.accounts import authenticate
from titrator.workflow.errors import (
    Asked,
    Beyond,
    Code,
    Conflict,
    Forbidden,
    Invalid,
    Outdated,
    ProposalChanged,
    Refusal,
    TooMany,
    Unauthorised,
    Unknown,
    Unready,
    VersionNeeded,
)
from titrator.workflow.trail import set_aside
from titrator.workflow.visit import Actor, Services, Visit, leave

View = Callable[..., Any]

#: Variables of a path that name a patient.
_OF_PATIENTS: Final = frozenset({"patient_id", "resource_id"})

#: Seconds after which a database that did not answer may do so.
RETRY_AFTER: Final = 5

#: The status by which each kind of refusal is told.
STATUS: Final[Mapping[type[Refusal], HTTPStatus]] = {
    Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    Asked: HTTPStatus.UNPROCESSABLE_ENTITY,
    Unknown: HTTPStatus.NOT_FOUND,
    Forbidden: HTTPStatus.FORBIDDEN,
    Beyond: HTTPStatus.FORBIDDEN,
    Unauthorised: HTTPStatus.UNAUTHORIZED,
    Conflict: HTTPStatus.CONFLICT,
    ProposalChanged: HTTPStatus.CONFLICT,
    Outdated: HTTPStatus.PRECONDITION_FAILED,
    VersionNeeded: HTTPStatus.PRECONDITION_REQUIRED,
    Unready: HTTPStatus.SERVICE_UNAVAILABLE,
    TooMany: HTTPStatus.TOO_MANY_REQUESTS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What the routes need from the rest of the program; kept as `app.extensions["titrator"]`."""

    services: Services
    requests: Limit
    logins: Limit


def door() -> Door:
    """That of the app that answers now."""
    return cast(Door, current_app.extensions["titrator"])


def count_login() -> None:
    """Count an attempt to come in from the address that asks; raises TooMany."""
    here = door()
    _count(here, here.logins, f"login {request.remote_addr}")


def count_nobody() -> None:
    """Count a request without a sound token from the address that asks; raises TooMany."""
    here = door()
    _count(here, here.requests, f"nobody {request.remote_addr}")


@contextmanager
def visiting(actor: Actor | None) -> Iterator[Visit]:
    """A visit in a transaction that writes; what it notes is written with it."""
    services = door().services
    with services.store.writing() as session:
        visit = _visit(services, session, actor, services.clock())
        yield visit
        leave(visit, session, visit.entries)


@contextmanager
def reading(actor: Actor | None) -> Iterator[Visit]:
    """A visit in a transaction that reads; what it notes is set aside for the trail when it ends well."""
    services = door().services
    with services.store.reading() as session:
        visit = _visit(services, session, actor, services.clock())
        yield visit
    if visit.entries:
        set_aside(services, visit.entries)


def _visit(services: Services, session: Session, actor: Actor | None, now: Any) -> Visit:
    return Visit(services=services, session=session, actor=actor, now=now, request_id=g.request_id)


def guarded(
    view: View,
    permission: Permission | None,
    *,
    needs: Needs = (CLOSED,),
    login: bool = False,
    known_by: Callable[[Door], Actor] | None = None,
) -> View:
    """A view for whom a token names (or whom `known_by` tells), and who has the permission; None: for anybody.

    A token that has scopes must have those for all `needs`; a view that names none is closed to it. What is refused
    of a patient stands in the trail, too.
    """

    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with answering():
            return passed(*args, **kwargs)

    def passed(*args: Any, **kwargs: Any) -> Any:
        here = door()
        if permission is None:
            if login:
                count_login()
            g.actor = None
            return view(*args, **kwargs)
        actor = g.actor = (known_by or by_token)(here)
        _count(here, here.requests, actor.account_id)
        try:
            refuse_without(permission, actor)
            actor.must(*needs)
            return view(*args, **kwargs)
        except Refusal as refusal:
            leave_refused(refusal, "")
            if isinstance(refusal, Forbidden | Unknown):
                structlog.get_logger().warning("denied", code=str(refusal.code), account=actor.account_id)
            raise

    wrapper.needs = needs  # type: ignore[attr-defined]
    return wrapper


@contextmanager
def answering() -> Iterator[None]:
    """Refuse, for now, what cannot be done because the database does not answer or others are in the way."""
    try:
        yield
    except (Unavailable, Overtaken) as error:
        raise unready(error) from None


def unready(error: StoreError) -> Unready:
    """What is answered where the database does not answer."""
    structlog.get_logger().error("database", request=g.get("request_id"), error=str(error))
    return Unready(
        "The database does not answer now, or is too busy. It is not certain that nothing was done: look, or send the "
        "same again, a program under the same Idempotency-Key.",
        code=Code.DATABASE_UNAVAILABLE,
        retry_after=RETRY_AFTER,
    )


def refuse_without(permission: Permission, actor: Actor) -> None:
    """Raise Forbidden for who has not a permission."""
    if permission not in actor.permissions:
        raise Forbidden(f"This account or token has not the permission {permission}.")


def audiences(base_url: str) -> Container[str]:
    """The URLs by which this one may be called: as set, and as it was called where that is on this computer.

    The name by which a host is called is the caller's to choose: a token for another service must not pass here.
    """
    found = {f"{base_url}{request.path}"}
    return found | {request.base_url} if _is_here(request.host) else found


@lru_cache(maxsize=64)
def _is_here(host: str) -> bool:
    """Whether a host, with its port, is this computer."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def challenge(refusal: Refusal) -> str | None:
    """What the header WWW-Authenticate says with a refusal (RFC 6750, section 3), if anything."""
    if isinstance(refusal, Unauthorised):
        return 'Bearer realm="titrator"'
    if isinstance(refusal, Beyond):
        scope = f', scope="{refusal.scope}"' if refusal.scope else ""
        return f'Bearer realm="titrator", error="insufficient_scope"{scope}'
    return None


def by_token(here: Door) -> Actor:
    """Whom the token of the request names; raises Unauthorised, TooMany."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        count_nobody()
        raise Unauthorised("Send a token: Authorization: Bearer ...")
    try:
        return authenticate(here.services, secret.strip())
    except Unauthorised:
        count_nobody()
        structlog.get_logger().info("token-refused", request=g.request_id, address=request.remote_addr)
        raise


def _count(here: Door, limit: Limit, who: str) -> None:
    if wait := limit.hit(who, here.services.clock().timestamp()):
        raise TooMany(wait)


def leave_refused(refusal: Refusal, subject: str) -> None:
    """Write down that what the actor asked, or a part of it, was refused: if its words may tell what is stored."""
    if isinstance(refusal, Forbidden | Unknown):
        _leave_refused(door().services, g.actor, "denied", refusal, subject)
    elif isinstance(refusal, Conflict | Asked) or not _OF_PATIENTS.isdisjoint(request.view_args or {}):
        _leave_refused(door().services, g.actor, "refused", refusal, subject)


def _leave_refused(services: Services, actor: Actor, did: str, refusal: Refusal, subject: str = "") -> None:
    """Write down an attempt that was refused, in a transaction of its own: that of the request is undone."""
    with services.store.reading() as session:
        visit = _visit(services, session, actor, services.clock())
    visit.note(did, f"{request.path}{subject}"[:300], method=request.method, code=str(refusal.code))
    set_aside(services, visit.entries)


def done(step: Callable[[Visit], Any], *, writes: bool, drafts: bool) -> Any:
    """What a step gives, in its transaction; it may be taken again, where somebody else was faster."""
    if drafts:
        try:
            return _drafted(step)
        except (Stale, Duplicate):
            pass  # once more, on what stands there now, held until it is done
    if writes:
        return again_if((Stale, Duplicate), lambda: _written(step))
    return _read(step)


def _written(step: Callable[[Visit], Any]) -> Any:
    """What a step gives that writes."""
    with visiting(g.actor) as visit:
        return step(visit)


def _read(step: Callable[[Visit], Any]) -> Any:
    """What a step gives that only reads; it is in the trail before it is given."""
    services = door().services
    with services.store.reading() as session:
        visit = _visit(services, session, g.actor, services.clock())
        given = step(visit)
    if visit.entries:
        set_aside(services, visit.entries)
    return given


def _drafted(step: Callable[[Visit], Any]) -> Any:
    """What a step gives that is prepared while others write; raises Stale, Duplicate where one of them was faster."""
    services = door().services
    with services.store.reading() as session:
        draft = Draft(session)
        visit = _visit(services, draft, g.actor, services.clock())
        given = step(visit)

    def write(session: Session) -> None:
        draft.carry_out(session)
        leave(visit, session, visit.entries)

    services.store.carry_out(write)
    return given


def faults_of(messages: object, path: str = "") -> list[Fault]:
    """The faults that marshmallow names, each with its path: `identifiers[0].value`."""
    if isinstance(messages, Mapping):
        return [fault for key, below in messages.items() for fault in _of_key(below, path, key)]
    if isinstance(messages, list):
        return [fault for message in messages for fault in faults_of(message, path)]
    return [Fault(path, str(messages))]


def _of_key(messages: object, path: str, key: object) -> list[Fault]:
    """Those of a key; under `_schema` stand those of the object itself, and that of an unknown key of that name."""
    if isinstance(key, int):
        return faults_of(messages, f"{path}[{key}]")
    place = join(path, str(key))
    if key != ma.exceptions.SCHEMA:
        return faults_of(messages, place)
    return [
        Fault(place if fault.message == Schema.error_messages["unknown"] else path, fault.message)
        for fault in faults_of(messages)
    ]
