"""Visit: one request to the service, with who asks, when, and the trail that it leaves.

A visit that changes something is one transaction: the change, its audit entries and the kept answer, or nothing. One
that only reads leaves its entries before its answer is sent.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Final, NamedTuple, TypeVar, cast
from zoneinfo import ZoneInfo

from titrator.notify.base import Channel
from titrator.notify.texts import Texts
from titrator.protocols import Catalogue
from titrator.security.permissions import PERMISSIONS, Permission, Role
from titrator.security.scopes import allows, wanted
from titrator.security.trail import START, SYSTEM, entry_mac, head_mac
from titrator.store.base import Session, Stamped, Store, Where
from titrator.store.records import AuditHead, AuditRow, Clinic, GlassBreak, Patient
from titrator.store.spool import Spool
from titrator.titration.documents import encode
from titrator.titration.errors import Fault
from titrator.workflow.errors import Beyond, Invalid, Outdated, Unknown
from titrator.workflow.feeds import Feed

T = TypeVar("T")
_MOST_KNOWN: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What an installation may choose about access, in seconds and numbers, and the roles that need a second factor."""

    session_seconds: int = 12 * 3600
    idle_seconds: int = 30 * 60
    logins_before_lock: int = 5
    lock_seconds: int = 15 * 60
    activation_seconds: int = 7 * 86400
    glass_seconds: int = 3600
    second_factor_roles: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What is needed to tell reminders: how a channel is opened, by kind, address and secret; the texts by language.

    Links begin with `base_url`; `schemes` are those that an address may have. A worker holds what it is about to send
    for `lease_seconds`. `chance` gives a number from 0 to 1.
    """

    open_channel: Callable[[str, str, str | None], Channel]
    texts: Callable[[str], Texts]
    base_url: str = "http://127.0.0.1:8000"
    schemes: frozenset[str] = frozenset()
    lease_seconds: int = 300
    chance: Callable[[], float] = random.random


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The concrete things that the steps of the work need; `broken` says why no dose may be computed, if so.

    Without `telling` nobody is told anything. `feeds` are the laboratories that send HL7 v2 messages.
    With a `spool`, entries of visits that change nothing wait there to be
    written in groups (trail.gather). `program` is a digest of the code. `unkept` has patients whose answer had to be
    computed and may be kept (standing.settle). In `imports` lie files that are to be imported; without it none are.
    """

    store: Store
    catalogue: Catalogue
    audit_key: bytes = field(repr=False)
    clock: Callable[[], datetime]
    policy: Policy = Policy()
    broken: tuple[str, ...] = ()
    spool: Spool | None = None
    program: str = ""
    telling: Telling | None = None
    feeds: tuple[Feed, ...] = ()
    imports: Path | None = None
    unkept: deque[str] = field(default_factory=partial(deque, maxlen=_MOST_KNOWN), repr=False)
    known: dict[object, tuple[object, object]] = field(default_factory=dict, repr=False)

    def still(self, key: object, look: Callable[[], T], of: Stamped = "everything") -> T:
        """What `look` finds; found again, without looking, as long as nothing of that has been committed to the store.

        Each thread remembers its own; what is remembered is forgotten when it has become much.
        """
        place, stamp = (key, threading.get_ident()), self.store.stamp(of)
        before = self.known.get(place)
        if before is not None and before[0] == stamp:
            return cast(T, before[1])
        found = look()
        if len(self.known) > _MOST_KNOWN:
            self.known.clear()
        self.known[place] = (stamp, found)
        return found


class Actor(NamedTuple):
    """Who asks: an account as its token lets it act. Clinics by id.

    `token_id` names a token that was issued for a program, which an administrator may do for any account; of a session,
    which only a password begins, it is None. `scopes` are what a token of a SMART client allows (scopes.expanded); a
    token of ours has none, and is not narrowed by any.
    """

    account_id: str
    username: str
    role: Role
    clinics: frozenset[str]
    permissions: frozenset[Permission]
    token_sha256: str | None = None
    token_id: str | None = None
    scopes: frozenset[str] | None = None

    def may(self, need: str) -> bool:
        """Whether the scopes of the token, if it has any, include a need."""
        return self.scopes is None or allows(self.scopes, need)

    def must(self, *needs: str) -> None:
        """Raise Beyond unless the scopes of the token, if it has any, include all needs."""
        if not all(map(self.may, needs)):
            raise Beyond(wanted(needs))

    @property
    def is_feed(self) -> bool:
        """Whether a system asks, which cannot answer questions."""
        return self.role is Role.EHR


class Entry(NamedTuple):
    """What is to be written into an audit chain: who did what to what, when, in which request; `detail` is JSON."""

    chain: str
    at: str
    account_id: str | None
    role: str | None
    action: str
    subject: str
    clinic_id: str | None
    request_id: str | None
    detail: str


@dataclass(slots=True, kw_only=True)
class Visit:
    """One request: its transaction, its actor (None before a login) and the entries that it leaves.

    The clinics that it has read it does not read again; what changes one of them says so here.
    """

    services: Services
    session: Session
    actor: Actor | None
    now: datetime
    request_id: str | None = None
    entries: list[Entry] = field(default_factory=list)
    known_clinics: dict[str, Clinic] = field(default_factory=dict)

    @property
    def who(self) -> Actor:
        """The actor of a visit that needs one."""
        if self.actor is None:
            raise RuntimeError("this step needs an actor")
        return self.actor

    def note(self, did: str, subject: str, /, *, patient: Patient | None = None, **detail: object) -> None:
        """Leave an entry: in the chain of a patient, else in that of the system."""
        chain, clinic = (SYSTEM, None) if patient is None else (patient.id, patient.clinic_id)
        actor = self.actor
        if actor is not None and actor.token_id is not None:
            detail["with_token"] = actor.token_id
        self.entries.append(
            Entry(
                chain,
                instant(self.now),
                actor and actor.account_id,
                actor and str(actor.role),
                did,
                subject,
                clinic,
                self.request_id,
                text_of(detail),
            )
        )

    def patient(self, patient_id: str) -> Patient:
        """A patient whom the actor may see; raises Unknown for any other."""
        found = self.session.get(Patient, patient_id)
        if found is None or not (found.clinic_id in self.who.clinics or self._broke_glass(patient_id)):
            raise Unknown("patient")
        return found

    def own_patient(self, patient_id: str) -> Patient:
        """A patient of the actor's clinics; raises Unknown for any other.

        It is for what would last longer than access in an emergency, which is to see a patient for an hour.
        """
        patient = self.patient(patient_id)
        if patient.clinic_id not in self.who.clinics:
            raise Unknown("patient")
        return patient

    def clinic(self, clinic_id: str) -> Clinic:
        """A clinic by its id; raises Unknown."""
        found = self.known_clinics.get(clinic_id) or self.session.get(Clinic, clinic_id)
        if found is None:
            raise Unknown("clinic")
        self.known_clinics[clinic_id] = found
        return found

    def clinics(self, named: str | None) -> tuple[str, ...]:
        """The ids of the actor's clinics, or the one that is named of them; raises Invalid for any other."""
        if named is not None and named not in self.who.clinics:
            raise Invalid(Fault("clinic", "is no clinic of this account"))
        return tuple(sorted(self.who.clinics)) if named is None else (named,)

    def today(self, patient: Patient) -> str:
        """The day at a patient's clinic."""
        return day_at(self.clinic(patient.clinic_id), self.now)

    def raise_revision(self, patient: Patient) -> Patient:
        """The patient at the next revision, that of what is recorded now; raises Stale."""
        return self.change(patient, replace(patient, revision=patient.revision + 1, settled=False))

    def change(self, old: Patient, new: Patient) -> Patient:
        """The patient with what a record of something changes; raises Stale."""
        same = [Where(name, "=", getattr(old, name)) for name in ("revision", "version", "decided")]
        self.session.change(new, *same, old=old)
        return new

    def _broke_glass(self, patient_id: str) -> bool:
        return Permission.BREAK_GLASS in PERMISSIONS[self.who.role] and bool(
            self.session.count(
                GlassBreak,
                Where("patient_id", "=", patient_id),
                Where("account_id", "=", self.who.account_id),
                Where("until", ">", instant(self.now)),
            )
        )


def refuse_outdated(current: int, named: int | None) -> None:
    """Raise Outdated unless a change names the current version, or (None) any."""
    if named is not None and named != current:
        raise Outdated(f"It has been changed: its version is {current} now, not {named}. Look at it again.")


def day_at(clinic: Clinic, moment: datetime) -> str:
    """The day at a clinic."""
    return moment.astimezone(ZoneInfo(clinic.time_zone)).date().isoformat()


def day_at_text(clinic: Clinic, stored: str) -> str:
    """The day at a clinic of an instant as it is stored."""
    return day_at(clinic, datetime.fromisoformat(stored))


def instant(moment: datetime) -> str:
    """An instant as it is stored and sent: in UTC, to the microsecond."""
    return _instant(moment)


@lru_cache(maxsize=256)
def _instant(moment: datetime) -> str:
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def instant_or_none(moment: datetime | None) -> str | None:
    """An instant as it is stored, if there is one."""
    return None if moment is None else instant(moment)


def leave(visit: Visit, session: Session, entries: Iterable[Entry]) -> None:
    """Write the entries of a visit at the end of their chains."""
    enter(visit.services.audit_key, session, entries)


def enter(key: bytes, session: Session, entries: Iterable[Entry]) -> None:
    """Write entries at the end of their chains; heads are read and signed once for all of them."""
    entries = list(map(_storable, entries))
    ends = _ends(session, {entry.chain for entry in entries})
    rows = []
    for entry in entries:
        seq, before = ends.get(entry.chain, (0, START))
        row = AuditRow(
            chain=entry.chain,
            seq=seq + 1,
            at=entry.at,
            account_id=entry.account_id,
            role=entry.role,
            action=entry.action,
            subject=entry.subject,
            clinic_id=entry.clinic_id,
            request_id=entry.request_id,
            detail=entry.detail,
            mac=entry_mac(key, before, (entry.chain, seq + 1, *entry[1:])),
        )
        ends[entry.chain] = (row.seq, row.mac)
        rows.append(row)
    session.add(*rows)
    session.put(
        *(
            AuditHead(chain=chain, seq=seq, mac=mac, signature=head_mac(key, chain, seq, mac))
            for chain, (seq, mac) in ends.items()
        )
    )


def _storable(entry: Entry) -> Entry:
    """An entry without zero bytes, which not every database takes in a text; they can come in the path of a request."""
    if not any(isinstance(text, str) and "\0" in text for text in entry):
        return entry
    return Entry._make(text.replace("\0", "\N{SYMBOL FOR NULL}") if isinstance(text, str) else text for text in entry)


def _ends(session: Session, chains: set[str]) -> dict[str, tuple[int, str]]:
    """How far chains go, by their heads: the number and the MAC of the last entry.

    They are held until the transaction ends, and taken in one order, lest two wait for each other.
    """
    if len(chains) == 1:
        found = session.get(AuditHead, *chains)
        heads = [] if found is None else [found]
    else:
        named = Where("chain", "in", tuple(sorted(chains)))
        heads = session.take(AuditHead, named, order=("chain",)) if chains else []
    return {head.chain: (head.seq, head.mac) for head in heads}


def said(row: AuditRow) -> tuple[str | int | None, ...]:
    """What the MAC of an entry covers: all but the MAC."""
    return (
        row.chain,
        row.seq,
        row.at,
        row.account_id,
        row.role,
        row.action,
        row.subject,
        row.clinic_id,
        row.request_id,
        row.detail,
    )


def text_of(value: object) -> str:
    """The JSON text of a value in which there may be enumerations, tuples and sets; most have none."""
    try:
        return encode(value)
    except KeyError:
        return encode(_values(value))


def _values(value: object) -> object:
    """The same value in the types that JSON has."""
    if isinstance(value, dict):
        return {str(key): _values(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_values(item) for item in value]
    return str(value) if isinstance(value, str) else value
