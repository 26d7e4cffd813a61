"""The condition of an installation, as its store tells it: time, trail, channels, protocols, jobs, accounts.

Each check looks at one thing and says what it found, at least once: that it is in order, or what is not and what to do
about it. Nothing is changed, nothing is sent, and no finding tells of a patient or quotes an address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from titrator.notify.address import Kind
from titrator.notify.address import faults as address_faults
from titrator.notify.base import InvalidTexts
from titrator.notify.texts import Texts
from titrator.protocols import Catalogue
from titrator.security.trail import SYSTEM
from titrator.store.base import Session, Store, StoreError, Where
from titrator.store.records import (
    Account,
    AuditHead,
    AuditRow,
    ChannelRow,
    Clinic,
    CourseVersion,
    Job,
    KeptAnswer,
    ProtocolEdition,
    SpoolPlace,
    Token,
)
from titrator.store.spool import Spool
from titrator.workflow import housekeeping, trail
from titrator.workflow.reminders.plan import plan_of
from titrator.workflow.reminders.work import health
from titrator.workflow.visit import instant

#: How far two clocks may be apart before something is wrong.
CLOCKS_APART: Final = timedelta(seconds=60)
#: The service gives a sign of its reminders every `reminder_seconds`.
BEAT_AFTER: Final = timedelta(minutes=5)
#: What is done once a day has been missed after so long.
DAILY_AFTER: Final = timedelta(hours=36)
#: What waits in the spool is taken into the trail after about a second, while the service runs.
SPOOLED_AFTER: Final = timedelta(minutes=5)
#: How many of a kind are named.
_NAMED: Final = 10


class Severity(StrEnum):
    """How bad it is: in order; to be seen to; not as it must be."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


class Finding(NamedTuple):
    """What a check found: in words, and what to do about it, which is empty where all is in order."""

    check: str
    severity: Severity
    what: str
    todo: str = ""


def fine(check: str, what: str) -> Finding:
    """A finding that something is in order."""
    return Finding(check, Severity.OK, what)


def odd(check: str, what: str, todo: str) -> Finding:
    """A finding that somebody should see to."""
    return Finding(check, Severity.WARNING, what, todo)


def wrong(check: str, what: str, todo: str) -> Finding:
    """A finding that something is not as it must be."""
    return Finding(check, Severity.FAULT, what, todo)


def some(names: Iterable[str]) -> str:
    """A few of many names."""
    shown = list(islice(names, _NAMED + 1))
    return ", ".join(shown[:_NAMED]) + (" and more" if len(shown) > _NAMED else "")


def many(number: int, noun: str, nouns: str = "") -> str:
    """A number of things, in words: one, or several, which end in s unless they are called otherwise."""
    return f"{number} {noun}" if number == 1 else f"{number} {nouns or noun + 's'}"


def clock(store: Store, now: datetime) -> Iterator[Finding]:
    """Whether the clock of this machine goes with that of the database, where that is another one."""
    there = store.clock()
    if there is None:
        yield fine("clock", f"It is {instant(now)} on this machine, which the database shares.")
        return
    apart = abs(there - now)
    if apart > CLOCKS_APART:
        said = f"It is {instant(now)} on this machine and {instant(there)} on that of the database."
        yield wrong("clock", said, "Have both machines keep their clocks by NTP; days and locks depend on them.")
    else:
        yield fine("clock", f"It is {instant(now)}; the clock of the database is {apart.total_seconds():.1f} s apart.")


def recorded(session: Session, now: datetime) -> Iterator[Finding]:
    """Whether anything was recorded at an instant that is yet to come: then a clock has been set back since."""
    latest = max(_instants(session), default=None)
    if latest is not None and latest > instant(now + CLOCKS_APART):
        yield wrong(
            "recorded",
            f"Something was recorded at {latest}, which is yet to come: it is {instant(now)}.",
            "A clock was ahead then, or is behind now. Set it right; then look at what was recorded meanwhile: "
            "titrator audit export --since DAY.",
        )
    else:
        yield fine("recorded", "Nothing has been recorded in the future.")


def _instants(session: Session) -> Iterator[str]:
    """When something was last recorded, in places that are found at once; a job's may be a mere day."""
    yield from (job.at for job in session.find(Job) if "T" in job.at)
    for kind, column in ((KeptAnswer, "at"), (Token, "created_at"), (Token, "used_at")):
        last = session.values(kind, (column,), Where(column, "is not null"), order=(f"-{column}",), limit=1)
        yield from (str(value) for (value,) in last)
    head = session.get(AuditHead, SYSTEM)
    last_entry = None if head is None else session.get(AuditRow, SYSTEM, head.seq)
    if last_entry is not None:
        yield last_entry.at


def zones(session: Session) -> Iterator[Finding]:
    """Whether this machine knows the time zone of each clinic: without it no clinical day can be told."""
    clinics = session.find(Clinic)
    unknown = [clinic for clinic in clinics if not _is_zone(clinic.time_zone)]
    for clinic in unknown:
        said = f"Clinic {clinic.name}: this machine knows no time zone {clinic.time_zone}."
        yield wrong("time-zones", said, "Install the time zones of the system, or the package tzdata.")
    if not unknown:
        yield fine("time-zones", f"The time zones of {many(len(clinics), 'clinic')} are known.")


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return False
    return True


def has_trail(session: Session) -> bool:
    """Whether anything has been entered into the audit trail."""
    return bool(session.find(AuditHead, limit=1))


def heads(session: Session, key: bytes) -> Iterator[Finding]:
    """Whether the audit key is that of the trail, and has signed the head of each chain."""
    if not trail.fits(session, key):
        said = "The audit key is not that of this database's trail."
        yield wrong("audit-key", said, "Put the right audit.key back before anything else is done.")
        return
    yield fine("audit-key", "The audit key is that of this database's trail.")
    faults = trail.head_faults(session, key)
    if faults:
        yield wrong(
            "trail-heads",
            f"The heads of {many(len(faults), 'chain')} are wrong: {some(faults)}.",
            "Treat it as a security incident: keep the database as it is, and run titrator audit verify.",
        )
    else:
        yield fine("trail-heads", f"The heads of {many(session.count(AuditHead), 'chain')} bear the key's signature.")


def seals(session: Session, key: bytes, folder: Path, now: datetime) -> Iterator[Finding]:
    """Whether the seals are as they were made, and the last of them is of these days."""
    faults = trail.seal_faults(folder, key)
    if faults:
        todo = "Treat it as a security incident: compare with the copies of the seals that are kept elsewhere."
        yield wrong("seals", f"{some(faults)}.", todo)
        return
    days = sorted(file.stem for file in folder.glob("*.ndjson"))
    last_day = (now - 2 * timedelta(days=1)).astimezone(UTC).date().isoformat()
    if not session.count(AuditHead):
        yield fine("seals", "There is no trail yet that could be sealed.")
    elif not days or days[-1] < last_day:
        said = f"The trail was last sealed on {days[-1]}." if days else "The trail has never been sealed."
        yield odd("seals", said, "Keep the service running, or run titrator audit seal once a day.")
    else:
        yield fine("seals", f"{many(len(days), 'seal')}, the last of {days[-1]}.")


def spooled(session: Session, spool: Spool, now: datetime) -> Iterator[Finding]:
    """Whether entries of reads wait longer than they should to be taken into the trail."""
    waits = 0
    for name in spool.names():
        place = session.get(SpoolPlace, name)
        bytes_left = spool.size(name) - (0 if place is None else place.offset_bytes)
        if bytes_left > 0 and spool.changed_at(name) < now - SPOOLED_AFTER:
            waits += bytes_left
    if waits:
        said = f"{waits} bytes of entries of reads wait in {spool.folder} to be taken into the trail."
        yield odd("spool", said, "Start the service, or run titrator audit verify: either takes them in.")
    else:
        yield fine("spool", "No entry waits to be taken into the trail.")


def channels(session: Session, schemes: Set[str], now: datetime) -> Iterator[Finding]:
    """Whether the address of each channel in use would be accepted today, and whether one rests after failures."""
    in_use = session.find(ChannelRow, Where("active", "=", 1))
    well = True
    for row in in_use:
        kind: Kind = "webhook" if row.kind == "webhook" else "gateway" if row.audience == "gateway" else "channel"
        named = f"Channel {row.label} ({row.id})"
        if found := address_faults(row.address, kind, schemes):
            well = False
            todo = "Add a channel with an address that is accepted, then: titrator channels stop " + row.id
            yield wrong("channels", f"{named}: its address {'; '.join(found)}.", todo)
        elif row.rests_until > instant(now):
            well = False
            said = f"{named} rests until {row.rests_until} after {many(row.failures, 'failure')}: {row.error}."
            yield odd("channels", said, f"See to what it says, then: titrator channels test {row.id}")
    if well:
        yield fine("channels", f"{many(len(in_use), 'channel')} in use, none at rest. Whether they reach: --send.")


def texts(session: Session, folder: Path) -> Iterator[Finding]:
    """Whether the texts of messages can be read, in the language of each clinic."""
    languages = sorted({plan_of(session, clinic).language for clinic in session.find(Clinic)} | {"en"})
    well = True
    for language in languages:
        try:
            Texts.load(language, folder)
        except InvalidTexts as error:
            well = False
            todo = f"Correct the files in {folder}; until then messages in this language are not sent."
            yield wrong("texts", f"Texts in {language}: {some(error.faults)}.", todo)
    if well:
        yield fine("texts", f"The texts of messages in {', '.join(languages)} are sound.")


def reminding(store: Store, now: datetime, *, wanted: bool) -> Iterator[Finding]:
    """Whether reminders are told: a sign of late, nothing late, nothing given up, somebody told in each clinic.

    `wanted`: whether the service itself is to tell them, by its settings.
    """
    found = health(store, now)
    well = True
    if found.beat_at is None or found.beat_at < instant(now - BEAT_AFTER):
        well = False
        said = f"The last sign of the reminders is of {found.beat_at}." if found.beat_at else "No reminder ever ran."
        start = "Start the service" if wanted else "reminder_seconds is 0, so let titrator remind --forever run"
        yield odd("reminders", said, f"{start}: until then nobody is told anything.")
    if found.late:
        well = False
        yield odd(
            "reminders", f"{many(found.late, 'message')} late.", "titrator channels list says which channel rests."
        )
    if found.dead:
        well = False
        todo = "See to them on the worklist, or by GET /api/v1/deliveries/undelivered."
        yield odd("reminders", f"{many(found.dead, 'message')} given up.", todo)
    if found.silent_clinics:
        well = False
        said = f"{many(found.silent_clinics, 'clinic')} with something due, and nobody who is told."
        yield odd("reminders", said, "titrator channels add")
    if well:
        yield fine("reminders", f"The reminders gave a sign at {found.beat_at}; none is late.")


def jobs(session: Session, now: datetime) -> Iterator[Finding]:
    """Whether what is done once a day has been done of late."""
    done = session.get(Job, housekeeping.DONE)
    if done is not None and done.at >= instant(now - DAILY_AFTER):
        yield fine("housekeeping", f"The day's housekeeping was last done at {done.at}.")
    else:
        said = f"The last housekeeping was at {done.at}." if done else "No housekeeping has ever been done."
        todo = "Keep the service running: it does it by itself. Its log tells `housekeeping`, with what went wrong."
        yield odd("housekeeping", said, todo)


def protocols_in_use(session: Session, catalogue: Catalogue) -> Iterator[Finding]:
    """Whether the protocols of the courses under way can be used, and are still the ones that decisions rest on."""
    under_way = Where("current", "=", 1), Where("status", "in", ("active", "paused"))
    in_use = session.tally(CourseVersion, "protocol", *under_way)
    well = True
    for ident, courses in sorted((str(name), number) for name, number in in_use.items()):
        if fault := catalogue.fault(ident):
            well = False
            said = f"{many(courses, 'course')} under way by {ident}, which cannot be used: {fault}."
            yield wrong("protocols-in-use", said, "Put its file back as it was, or switch the courses to another.")
            continue
        kept = session.find(ProtocolEdition, Where("protocol", "=", ident), order=("-kept_at",), limit=1)
        if kept and kept[0].sha256 != catalogue.get(ident).sha256:
            well = False
            said = f"{ident}, of {many(courses, 'course')} under way, is not what decisions have rested on"
            yield odd(
                "protocols-in-use",
                f"{said} since {kept[0].kept_at}.",
                "Have a pharmacist compare the two. A new edition should be a new file with an id of its own.",
            )
    if well:
        yield fine("protocols-in-use", f"{many(len(in_use), 'protocol')} in use, each as decisions rest on it.")


def accounts(session: Session, systems: Iterable[tuple[str, str]], now: datetime) -> Iterator[Finding]:
    """Whether somebody can administer, or has a link to begin, and the accounts that settings name are there.

    `systems` are pairs: what a setting is of, and the username of the account of a system that it names.
    """
    found = {account.username: account for account in session.find(Account)}
    administrators = [one for one in found.values() if one.role == "admin" and one.active and one.password_hash]
    well = bool(administrators)
    if not well:
        yield _unadministered(session, found.values(), now)
    for of, username in systems:
        account = found.get(username.casefold())
        if account is None or account.role != "ehr" or not account.active:
            well = False
            said = f"{of} counts as {username}, which is no active account of the role ehr."
            yield wrong("accounts", said, f"titrator users add {username} --role ehr, or name another in config.toml.")
    if well:
        yield fine(
            "accounts", f"{many(len(administrators), 'administrator')} can log in, and who the settings name is there."
        )


def _unadministered(session: Session, found: Iterable[Account], now: datetime) -> Finding:
    """That no administrator can log in, and the one-time link that waits to be opened, if any does."""
    waiting = [
        (token.expires_at, one.username)
        for one in found
        if one.role == "admin" and one.active
        for token in session.find(Token, Where("account_id", "=", one.id), Where("kind", "=", "activation"))
        if token.revoked_at is None and token.expires_at > instant(now)
    ]
    if not waiting:
        return odd("accounts", "No administrator can log in.", "titrator init prints a link for the first one.")
    until, username = max(waiting)
    said = f"No administrator can log in yet: the link of {username} waits to be opened, until {until}."
    return odd("accounts", said, "Open it while the service runs; titrator init prints a new one, and ends this one.")


def integrity(store: Store) -> Iterator[Finding]:
    """Whether the database is whole and without contradictions: all of it is read."""
    if faults := store.check():
        todo = "Keep a copy of it as it is, then restore the last sound backup: docs/operations.md."
        yield wrong("integrity", f"{many(len(faults), 'fault')}: {some(faults)}.", todo)
    else:
        yield fine("integrity", "The database is whole and without contradictions.")


def answered(check: Iterable[Finding]) -> Iterator[Finding]:
    """What a check finds; or that the database did not answer it."""
    try:
        yield from check
    except StoreError as error:
        yield wrong("database", f"The database does not answer: {error}.", "titrator db check looks into it.")
