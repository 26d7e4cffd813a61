"""The one place where concrete things meet: from settings to the services that the steps of the work need."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, partial
from hashlib import sha256
from pathlib import Path

import structlog

from titrator.notify.apprise_channel import AppriseChannel
from titrator.notify.base import Channel
from titrator.notify.texts import Texts
from titrator.notify.webhook import Webhook
from titrator.protocols import Catalogue
from titrator.settings import Settings
from titrator.store.base import Store, Unavailable, Unusable
from titrator.store.connect import open_store
from titrator.store.records import AuditHead
from titrator.store.spool import Spool
from titrator.workflow.visit import Policy, Services, Telling

_KEY_BYTES = 32
#: Seconds between two attempts to open a database that does not answer.
_ASKS_EVERY = 1.0


def make_services(settings: Settings, catalogue: Catalogue | None = None) -> Services:
    """The services of an installation; the database, its tables and the audit key are made if they are not there.

    All protocols are read and run their worked examples here, unless a `catalogue` of services that were made before is
    given, which has them already. Raises Unusable; Unavailable where a server does not answer.
    """
    catalogue = catalogue or Catalogue(settings.local_protocols)
    store = open_store(
        settings.database_url,
        connections=settings.database_connections,
        wait_seconds=settings.database_wait_seconds,
    )
    _refuse_without_key(store, settings.key_file)
    return Services(
        store=store,
        catalogue=catalogue,
        audit_key=audit_key(settings.key_file),
        clock=now,
        policy=Policy(
            session_seconds=settings.session_hours * 3600,
            idle_seconds=settings.idle_minutes * 60,
            logins_before_lock=settings.logins_before_lock,
            lock_seconds=settings.lock_minutes * 60,
            activation_seconds=settings.activation_days * 86400,
            glass_seconds=settings.emergency_minutes * 60,
            second_factor_roles=settings.roles_with_second_factor,
        ),
        broken=tuple(catalogue.self_test()),
        spool=Spool(settings.instance / "spool"),
        program=program_digest(catalogue),
        telling=Telling(
            open_channel=open_channel,
            texts=cache(partial(Texts.load, folder=settings.texts)),
            base_url=settings.base_url,
            schemes=settings.schemes,
        ),
        feeds=settings.hl7_feeds,
        imports=settings.imports,
    )


def awaited_services(settings: Settings, catalogue: Catalogue | None = None) -> Services:
    """The services of an installation, as soon as its database answers: for who is to serve. Raises Unusable.

    A process that ended instead would end its server, for none of whose others the database may be away.
    """
    while True:
        try:
            return make_services(settings, catalogue)
        except Unavailable as error:
            structlog.get_logger().error("database", error=str(error))
            time.sleep(_ASKS_EVERY)


def open_channel(kind: str, address: str, secret: str | None) -> Channel:
    """A channel by its kind, `apprise` or `webhook`; raises Unacceptable."""
    return Webhook(address, secret or "") if kind == "webhook" else AppriseChannel(address)


def program_digest(catalogue: Catalogue) -> str:
    """The SHA-256 of this program and its protocols: an answer that other ones have made is made anew."""
    digest = sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes() + b"\0")
    for ident in catalogue.ids():
        usable = not catalogue.fault(ident)
        digest.update(f"{ident} {catalogue.get(ident).sha256 if usable else None}\0".encode())
    return digest.hexdigest()


def _refuse_without_key(store: Store, file: Path) -> None:
    """Raise Unusable where there is a trail but no key: a new one would make every entry of it look forged."""
    with store.reading() as session:
        begun = bool(session.find(AuditHead, limit=1))
    if begun and not file.exists():
        raise Unusable(f"{file}: the audit key of this database is not there; put it back before anything else is done")


def now() -> datetime:
    """This instant."""
    return datetime.now(UTC)


def audit_key(file: Path) -> bytes:
    """The key of the audit trail, made by chance the first time; many processes may ask for it at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        mine = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(mine, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            out.write(secrets.token_hex(_KEY_BYTES) + "\n")
            out.flush()
            os.fsync(out.fileno())
        with suppress(FileExistsError):  # another process was first: its key stands
            os.link(mine, file)
        mine.unlink()
    try:
        key = bytes.fromhex(file.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise Unusable(f"{file}: no audit key can be read: {error}") from error
    if len(key) < _KEY_BYTES:
        raise Unusable(
            f"{file}: the audit key must have {_KEY_BYTES} bytes, written as {2 * _KEY_BYTES} hexadecimal digits"
        )
    return key
