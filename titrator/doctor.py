"""What an installation is examined for: settings, program, protocols, files, database, and what the database tells.

Everything is looked at and nothing changed: the database is neither made nor migrated. Where one thing cannot be looked
at, the others still are, but for what rests on it. docs/operations.md lists the checks.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import json
import os
import pwd
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509

from titrator.assembly import audit_key
from titrator.hl7 import mllp
from titrator.protocols import SHIPPED, Catalogue
from titrator.settings import NAMES, CdsClient, Settings, load_settings
from titrator.store.base import Store, StoreError, Unusable
from titrator.store.connect import look_at_store, sqlite_file
from titrator.store.spool import Spool
from titrator.titration.errors import InvalidInput
from titrator.workflow import condition, trail
from titrator.workflow.condition import Finding, answered, fine, many, odd, some, wrong
from titrator.workflow.visit import Services

MEGABYTE: Final = 1_000_000
#: With less room than this the service will soon refuse to record anything.
LEAST_FREE: Final = 200 * MEGABYTE
#: With less than this a backup beside the database, or a restore, may not fit.
ENOUGH_FREE: Final = 1000 * MEGABYTE
#: The log of the database is taken back long before, unless somebody reads for hours.
LONGEST_LOG: Final = 1000 * MEGABYTE
CERTIFICATE_ENDS_SOON: Final = timedelta(days=30)
#: Kinds of file systems on which neither locks nor the shared index of SQLite hold.
NOT_LOCAL: Final = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "afs", "fuse.sshfs", "fuse.glusterfs")
)
#: As a database in WAL mode begins, at byte 18.
_WAL: Final = b"\x02\x02"
_MOUNTS: Final = Path("/proc/self/mountinfo")
#: Guesses that are allowed beyond this are no limit any more.
_GUESSES_BEFORE_LOCK, _GUESSES_PER_MINUTE = 20, 200
_OTHERS, _GROUP, _WRITES = stat.S_IRWXO, stat.S_IRWXG, stat.S_IWOTH | stat.S_IWGRP


def examine(
    environment: Mapping[str, str], clock: Callable[[], datetime], *, thorough: bool = True
) -> Iterator[Finding]:
    """All checks of the installation of an environment, in order; a `thorough` one reads all of the database, too.

    That may take minutes, while which others go on recording: each check asks what time it is then.
    """
    yield from variables(environment)
    try:
        chosen = load_settings(environment)
    except InvalidInput as error:
        for fault in error.faults:
            yield wrong("settings", f"{fault}.", "Correct it: docs/settings.md. The rest is looked at after that.")
        return
    yield fine("settings", f"The settings of {chosen.instance} can be taken.")
    yield from proxy(chosen)
    yield from limits(chosen, len(os.sched_getaffinity(0)))
    yield from program()
    catalogue = Catalogue(chosen.local_protocols)
    yield from protocols(catalogue)
    yield from offered(chosen, catalogue)
    yield from keys_of_clients(chosen.cds_clients)
    yield from mllp_certificate(chosen, clock())
    yield from permissions(chosen)
    file = database_file(chosen)
    if file is not None and not file.exists():
        yield wrong("database", f"{file}: there is no database.", "titrator init makes one.")
        return
    if file is not None:
        yield from of_file(file, _MOUNTS.read_text(encoding="utf-8") if _MOUNTS.exists() else "")
    try:
        store = look_at_store(chosen.database_url)
    except StoreError as error:
        todo = (
            "Make it answer, or correct the setting database"
            if file is None
            else "docs/operations.md tells how to restore"
        )
        yield wrong("database", f"{error}.", f"The service cannot start. {todo}.")
        return
    try:
        yield fine("database", f"{file or 'The database'} opens.")
        yield from answered(_of_store(chosen, store, catalogue, clock, thorough=thorough))
    finally:
        store.close()


def _of_store(
    chosen: Settings, store: Store, catalogue: Catalogue, clock: Callable[[], datetime], *, thorough: bool
) -> Iterator[Finding]:
    if names := store.pending():
        todo = "Make a backup; then titrator db migrate, or start the service. Nothing else of it was looked at."
        yield odd("migrations", f"Migrations are still to be applied: {some(names)}.", todo)
        return
    later = store.contractions()
    rest = f" Once no older version runs: titrator db migrate --contract ({some(later)})." if later else ""
    yield fine("migrations", f"The tables are those of this version.{rest}")
    if thorough:
        yield from condition.integrity(store)
    yield from condition.clock(store, clock())
    yield from condition.reminding(store, clock(), wanted=bool(chosen.reminder_seconds))
    with store.reading() as session:
        yield from condition.recorded(session, clock())
        yield from condition.zones(session)
        yield from condition.jobs(session, clock())
        yield from condition.channels(session, chosen.schemes, clock())
        yield from condition.texts(session, chosen.texts)
        yield from condition.protocols_in_use(session, catalogue)
        systems = [(f"The CDS client {one.issuer}", one.account) for one in chosen.cds_clients]
        yield from condition.accounts(session, systems, clock())
        yield from condition.spooled(session, Spool(chosen.instance / "spool"), clock())
    yield from _of_key(chosen, store, catalogue, clock)


def _of_key(chosen: Settings, store: Store, catalogue: Catalogue, clock: Callable[[], datetime]) -> Iterator[Finding]:
    """What needs the audit key: it is not made where it is missing."""
    if not chosen.key_file.exists():
        with store.reading() as session:
            begun = condition.has_trail(session)
        if begun:
            said = f"{chosen.key_file}: the key of this database's audit trail is not there."
            yield wrong("audit-key", said, "Put it back before anything else is done; titrator does not start without.")
        else:
            yield fine("audit-key", "There is neither a trail yet nor a key: both are made at the start.")
        return
    try:
        key = audit_key(chosen.key_file)
    except Unusable as error:
        yield wrong("audit-key", f"{error}.", "Put back the copy that was made of it after titrator init.")
        return
    with store.reading() as session:
        yield from condition.heads(session, key)
        if trail.fits(session, key):
            yield from condition.seals(session, key, chosen.seals, clock())
    services = Services(store=store, catalogue=catalogue, audit_key=key, clock=clock, feeds=chosen.hl7_feeds)
    faults = mllp.unusable(services) if chosen.hl7_feeds else []
    for fault in faults:
        yield wrong("hl7-feeds", f"{fault}.", "Correct hl7_feeds in config.toml: docs/settings.md#hl7-feeds.")
    if not faults:
        yield fine("hl7-feeds", f"{many(len(chosen.hl7_feeds), 'feed')} of laboratories can be received.")


# Settings


def variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the environment sets anything of ours that is no setting: most often a slip, which nothing else tells."""
    known = {f"TITRATOR_{name.upper()}" for name in NAMES} | {"TITRATOR_INSTANCE"}
    unknown = sorted(name for name in environment if name.startswith("TITRATOR_") and name not in known)
    for name in unknown:
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"Was {near[0]} meant?" if near else "Take it out."
        yield odd("environment", f"{name} is set in the environment, and is no setting.", meant)
    if not unknown:
        yield fine("environment", "The environment sets nothing that is no setting.")


def proxy(chosen: Settings) -> Iterator[Finding]:
    """Whether what the settings say of the address and of proxies goes together."""
    url = urlsplit(chosen.base_url)
    secret, here = url.scheme == "https", _is_this_computer(url.hostname)
    if secret and not chosen.trusted_proxies:
        yield wrong(
            "proxy",
            f"base_url is {chosen.base_url}, but trusted_proxies is 0: the service does not know that it is reached by "
            "TLS, sends cookies without `Secure`, and takes all requests to come from one address.",
            "Set trusted_proxies to how many proxies stand before it, 1 most often.",
        )
    elif chosen.trusted_proxies and not secret:
        said = f"trusted_proxies is {chosen.trusted_proxies}, but base_url is {chosen.base_url}."
        yield odd("proxy", said, "Set base_url to the https:// address by which people reach the proxy.")
    elif not secret and not here:
        said = f"base_url is {chosen.base_url}: passwords and patients pass the network unencrypted."
        yield odd("proxy", said, "Put a TLS proxy before the service: docs/operations.md#behind-a-tls-proxy.")
    else:
        yield fine("proxy", f"The service is reached at {chosen.base_url}, by {chosen.trusted_proxies} proxies.")


def _is_this_computer(host: str | None) -> bool:
    return host in {"localhost", "::1"} or (host or "").startswith("127.")


def limits(chosen: Settings, cores: int) -> Iterator[Finding]:
    """Whether workers, limits and spans go together, and with a machine of so many cores."""
    found = []
    for name in ("workers", "mllp_processes"):
        many = getattr(chosen, name)
        if many > 4 * cores and (name == "workers" or chosen.hl7_feeds):
            said = f"{name} is {many}, on {cores} cores: each takes memory, and none is faster for it."
            found.append(odd("limits", said, f"Set {name} to {cores}, or to twice that at the most."))
    for name in ("requests_per_minute", "logins_per_minute"):
        limit = getattr(chosen, name)
        if limit < chosen.workers:
            said = f"{name} is {limit}, shared out to {chosen.workers} workers: each takes one, so together it is more."
            found.append(odd("limits", said, f"Set {name} to {chosen.workers} at least, or have fewer workers."))
    if chosen.logins_before_lock > _GUESSES_BEFORE_LOCK or chosen.logins_per_minute > _GUESSES_PER_MINUTE:
        said = (
            f"logins_before_lock is {chosen.logins_before_lock} and logins_per_minute {chosen.logins_per_minute}: "
            "passwords can be guessed."
        )
        found.append(odd("limits", said, "Go back to what they are by default: docs/settings.md."))
    if chosen.idle_minutes > chosen.session_hours * 60:
        said = f"idle_minutes is {chosen.idle_minutes}, longer than a session lasts: nobody is logged out for idling."
        found.append(odd("limits", said, "Set idle_minutes to how long an unattended screen may stay open."))
    if chosen.log_level == "error":
        said = "log_level is error: denied requests and access in emergencies are not in the log."
        found.append(odd("limits", said, "Set log_level to warning or info."))
    yield from found or [fine("limits", f"{chosen.workers} workers of {chosen.threads} threads on {cores} cores.")]


def offered(chosen: Settings, catalogue: Catalogue) -> Iterator[Finding]:
    """Whether the protocols for which CDS services are to be offered can be used."""
    faults = {ident: fault for ident in sorted(chosen.offered_protocols) if (fault := catalogue.fault(ident))}
    for ident, fault in faults.items():
        yield wrong("cds-protocols", f"cds_protocols names {ident}: {fault}.", "titrator protocols list shows all.")
    if not faults:
        yield fine("cds-protocols", "CDS services are offered for protocols that can be used.")


def keys_of_clients(clients: Iterable[CdsClient]) -> Iterator[Finding]:
    """Whether the files of keys of the CDS clients can be read; URLs are not asked."""
    well, there = True, list(clients)
    for client in there:
        if client.jwks_file is None:
            continue
        try:
            keys = json.loads(client.jwks_file.read_bytes())["keys"]
            why = "" if keys else "has no key"
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = f"cannot be read: {error}"
        if why:
            well = False
            said = f"{client.jwks_file}, the keys of the CDS client {client.issuer}, {why}."
            yield wrong("cds-clients", said, "Put its JWK Set there; until then its calls are refused.")
    if well:
        yield fine("cds-clients", f"{many(len(there), 'CDS client')}; keys that are in files can be read.")


def mllp_certificate(chosen: Settings, now: datetime) -> Iterator[Finding]:
    """Whether `titrator mllp` can begin TLS with the files of the settings, and for how long."""
    try:
        files = chosen.mllp_files
        mllp.Terms.of(files)
    except InvalidInput as error:
        yield wrong("mllp", f"{some(map(str, error.faults))}.", "TLS needs all three files: docs/settings.md.")
        return
    except OSError as error:
        yield wrong("mllp", f"{error.filename}: {error.strerror}.", "titrator mllp does not start without it.")
        return
    if files is None:
        yield fine("mllp", "HL7 v2 over MLLP is set up without TLS: for this computer, or through a tunnel.")
        return
    ends = x509.load_pem_x509_certificate(files[0].read_bytes()).not_valid_after_utc
    said = f"The certificate of MLLP, {files[0]}, ends at {ends.isoformat()}."
    if ends <= now:
        yield wrong("mllp", said, "Put a new one there, and start titrator mllp again.")
    elif ends <= now + CERTIFICATE_ENDS_SOON:
        yield odd("mllp", said, "Have a new one made; titrator mllp takes it at its next start.")
    else:
        yield fine("mllp", said)


# The program and its protocols


def program() -> Iterator[Finding]:
    """Whether the files of the installed program are those that were packaged."""
    try:
        yield from packaged(distribution("titrator"))
    except PackageNotFoundError:
        yield odd("program", "The program is not installed as a package.", "Install it with pip: docs/operations.md.")


def packaged(installed: Distribution) -> Iterator[Finding]:
    """Whether the files of an installed package have the digests that its wheel gave them."""
    listed = [file for file in installed.files or () if file.parts[0] in {"titrator", "schemas"}]
    compared = [(str(file), Path(str(file.locate())), file.hash) for file in listed if file.hash is not None]
    if not compared:
        yield fine("program", f"titrator {installed.version} runs from a folder of sources: nothing to compare.")
        return
    changed = [name for name, path, digest in compared if _digest(path, digest.mode) != digest.value]
    if changed:
        said = f"{many(len(changed), 'file')} of the program not as packaged: {some(changed)}."
        yield wrong("program", said, "Install the program anew; find out who changed it.")
    else:
        yield fine("program", f"titrator {installed.version}: its {len(compared)} files are those that were packaged.")


def _digest(path: Path, mode: str) -> str | None:
    """A digest as wheels write it; None where the file cannot be read."""
    try:
        digest = hashlib.new(mode, path.read_bytes()).digest()
    except OSError:
        return None
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def protocols(catalogue: Catalogue) -> Iterator[Finding]:
    """Whether the worked examples of the shipped protocols come out right, and those of local ones."""
    broken = catalogue.self_test()
    for why in broken:
        said = f"The self-test fails, so no dose is computed: {why}."
        yield wrong("protocols", said, f"The files in {SHIPPED} must be as shipped: install the program anew.")
    for path in catalogue.clashes:
        todo = "Give the new edition an id of its own; courses go on by the shipped one."
        yield odd("protocols", f"{path} is ignored, for a shipped protocol has its id.", todo)
    well = not broken and not catalogue.clashes
    for ident in sorted(set(catalogue.ids()) - catalogue.shipped):
        if fault := catalogue.fault(ident):
            well = False
            yield wrong("protocols", f"{ident}: {fault}.", f"titrator protocols check {catalogue.path(ident)}")
        elif not catalogue.examples(ident):
            well = False
            todo = "Write some below, at and above each of its limits: docs/protocols.md."
            yield odd("protocols", f"{ident} has no worked examples: nothing tells a slip in it.", todo)
    if well:
        yield fine("protocols", f"{many(len(catalogue.ids()), 'protocol')}: all worked examples come out right.")


# Files


def database_file(chosen: Settings) -> Path | None:
    """The file of the database; None where it is no file."""
    try:
        return sqlite_file(chosen.database_url).absolute()
    except Unusable:
        return None


def permissions(chosen: Settings) -> Iterator[Finding]:
    """Whether others can read what is secret, and whether all of it belongs to who runs the service."""
    if not chosen.instance.is_dir():
        yield wrong("permissions", f"{chosen.instance}: there is no such folder.", "titrator init makes it.")
        return
    found = [*_exposed_folder(chosen.instance), *_exposed(chosen), *_of_others(chosen)]
    yield from found or [fine("permissions", f"{chosen.instance} and what is secret are for their owner only.")]


def _secret_files(chosen: Settings) -> list[Path]:
    """What holds patients or secrets, as far as it is there."""
    database = database_file(chosen)
    of_database = [] if database is None else sorted(database.parent.glob(f"{database.name}*"))
    spool = sorted((chosen.instance / "spool").glob("*.spool"))
    key = [chosen.instance / chosen.mllp_key] if chosen.mllp_key else []
    return [file for file in (chosen.key_file, *of_database, *spool, *key) if file.exists()]


def _exposed_folder(folder: Path) -> Iterator[Finding]:
    mode = folder.stat().st_mode
    if mode & _WRITES:
        yield wrong("permissions", f"{folder}: others can put files into it.", f"chmod 700 {folder}")
    elif mode & _OTHERS:
        yield odd("permissions", f"{folder}: others can look into it.", f"chmod 700 {folder}")


def _exposed(chosen: Settings) -> Iterator[Finding]:
    for file in _secret_files(chosen):
        if mode := _reachable(file):
            who = "everybody" if mode & _OTHERS else "its group"
            yield wrong("permissions", f"{file}: {who} on this machine can read it.", f"chmod 600 {file}")
    config = chosen.instance / "config.toml"
    if config.exists() and (mode := _reachable(config)):
        said = f"{config}: others on this machine can {'change' if mode & _WRITES else 'read'} it."
        holds_secret = mode & _WRITES or urlsplit(chosen.database_url).password
        yield (wrong if holds_secret else odd)("permissions", said, f"chmod 600 {config}")


def _reachable(file: Path) -> int:
    """What others than the owner may do with a file, as bits of its mode, given that its folder lets them through."""
    folder = file.parent.stat().st_mode
    passing = (_OTHERS if folder & stat.S_IXOTH else 0) | (_GROUP if folder & stat.S_IXGRP else 0)
    return file.stat().st_mode & passing


def _of_others(chosen: Settings) -> Iterator[Finding]:
    """Files that belong to another user than the folder, which the service then cannot write or even read."""
    owner = chosen.instance.stat().st_uid
    strange = [file for file in _secret_files(chosen) if file.stat().st_uid != owner]
    if strange:
        said = f"These are not of {_user(owner)}, whom {chosen.instance} belongs to: {some(map(str, strange))}."
        yield wrong("permissions", said, f"chown {_user(owner)} them, and run commands as that user.")
    if os.geteuid() != owner:
        said = f"You are {_user(os.geteuid())}, and {chosen.instance} belongs to {_user(owner)}."
        todo = f"Run titrator as the user that the service runs as: sudo -u {_user(owner)} titrator doctor"
        yield odd("permissions", said, todo)


def _user(ident: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(ident).pw_name
    return str(ident)


def of_file(file: Path, mounts: str) -> Iterator[Finding]:
    """Whether the file of a database is where, and as, it must be. `mounts` is as in /proc/self/mountinfo."""
    size = sum(part.stat().st_size for part in file.parent.glob(f"{file.name}*"))
    yield from space(shutil.disk_usage(file.parent).free, size, file.parent)
    kind = file_system(file, mounts)
    if kind in NOT_LOCAL:
        said = f"{file} lies on a network file system ({kind}), on which neither locks nor durability hold."
        yield wrong("local-disk", said, "Stop the service and move it to a local disk: docs/store.md.")
    else:
        yield fine("local-disk", f"{file} lies on a local disk ({kind or 'of unknown kind'}).")
    if all(os.access(path, os.W_OK) for path in (file, file.parent)):
        yield fine("writable", f"{file} can be written.")
    else:
        said = f"{file}, or its folder, cannot be written by {_user(os.geteuid())}."
        yield wrong("writable", said, "The service records nothing until it can: see to owner, mode and mount.")
    yield from _log_of(file)


def space(free: int, size: int, folder: Path) -> Iterator[Finding]:
    """Whether so many bytes free are enough beside a database of such a size."""
    said = f"{free // MEGABYTE} MB are free in {folder}, beside a database of {size // MEGABYTE} MB."
    if free < LEAST_FREE:
        yield wrong("disk-space", said, "Make room now: when none is left, nothing is recorded any more.")
    elif free < max(ENOUGH_FREE, 2 * size):
        yield odd("disk-space", said, "Make room: a restore, or a backup beside it, needs as much again.")
    else:
        yield fine("disk-space", said)


def file_system(path: Path, mounts: str) -> str:
    """The kind of file system that a path lies on; empty where `mounts` does not tell."""
    found: tuple[str, str] = ("", "")
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        place = before.split()[4].encode().decode("unicode_escape")
        if path.resolve().is_relative_to(place) and len(place) >= len(found[0]):
            found = (place, after.split()[0])
    return found[1]


def _log_of(file: Path) -> Iterator[Finding]:
    with file.open("rb") as opened:
        begins = opened.read(20)[18:]
    log = file.with_name(f"{file.name}-wal")
    length = log.stat().st_size if log.exists() else 0
    if begins != _WAL:
        todo = "The service sets it at its next start; no other program should write the database."
        yield odd("wal", f"{file} is not in WAL mode.", todo)
    elif length > LONGEST_LOG:
        said = f"{log} has {length // MEGABYTE} MB: something has been reading the database for long."
        yield odd("wal", said, "End what reads it; the service takes the log back by itself then.")
    else:
        yield fine("wal", f"{file} is in WAL mode, its log has {length // MEGABYTE} MB.")
