"""Telling: deliveries are planned, leased, sent and marked. Any number of workers may do it at once.

1. of the reminders whose next step has come, make a delivery for each recipient and channel, and set the next step; one
   transaction for some of them, conditional on that nobody else has taken them
2. of a channel that may send, lease what waits, the most urgent first: one conditional update
3. send one after the other; each has an id that stays the same, should it be sent again
4. mark it as sent, in the trail, too, if it is still ours

A worker that dies leaves leases that run out, and others go on from there: what it had sent and not yet marked is sent
again, under the same id; that is one message. A channel that fails rests, longer each time, with all that waits for it,
so that a receiver that comes back is asked by one message, and then gets the others at its pace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple, cast

import structlog

from titrator.notify.address import with_recipient
from titrator.notify.base import Channel, NotSent, Unacceptable
from titrator.security.secrets import new_id, sha256
from titrator.security.trail import SYSTEM
from titrator.store.base import Overtaken, Session, Where, again_if
from titrator.store.records import Account, ChannelRow, Clinic, Contact, Delivery, Patient, Reminder
from titrator.store.rows import Value
from titrator.titration.documents import encode
from titrator.workflow.reminders.days import plus, working_day
from titrator.workflow.reminders.messages import message
from titrator.workflow.reminders.plan import INSISTENT, INSISTS_EVERY, OF_PATIENTS, PATIENT, RANK, STAFF, Plan, plan_of
from titrator.workflow.visit import Entry, Services, Telling, Visit, day_at, enter, instant, instant_or_none

#: Reminders taken in one transaction, and deliveries leased together.
_PLANNED_AT_ONCE: Final = 500
_LEASED_AT_ONCE: Final = 50
#: How long a channel rests after its first failure, and at the most.
_FIRST_REST: Final = timedelta(minutes=1)
_LONGEST_REST: Final = timedelta(hours=4)
#: Neither a rest nor a lease is longer than this: one that seems to be is of a clock that was ahead.
_LONGEST_AT_ALL: Final = timedelta(days=1, minutes=1)
#: A send takes no longer than that: it has a deadline.
_LONGEST_SEND: Final = timedelta(seconds=35)
EHR: Final = "ehr"


class Told(NamedTuple):
    """What a worker did: deliveries planned, sent, failed for now, and given up."""

    planned: int = 0
    sent: int = 0
    failed: int = 0
    dead: int = 0


class Recipient(NamedTuple):
    """Who is told, and by which channel."""

    name: str
    channel_id: str


def plan_deliveries(services: Services, now: datetime) -> int:
    """Make the deliveries of all steps that have come; how many."""
    made, planner = 0, _Planner(services, now, instant(now))
    while taken := planner.take():
        made += taken.deliveries
        if taken.reminders < _PLANNED_AT_ONCE:
            break
    return made


class _Taken(NamedTuple):
    reminders: int
    deliveries: int


#: Who has been told by which channel of what: about, kind, due day, round, recipient, channel.
_Told = tuple[str, str, str, int, str, str]


class _Following(NamedTuple):
    """What is told next of a reminder: a step, in which round, and when."""

    step: int
    round: int
    next_at: str | None


@dataclass(slots=True)
class _Planner:
    """Plans steps at an instant. What it knows of clinics and their channels is as of its beginning."""

    services: Services
    now: datetime
    at: str
    plans: dict[str, Plan] = field(default_factory=dict)
    audiences: dict[str, dict[str, list[Recipient]]] = field(default_factory=dict)

    def take(self) -> _Taken:
        come = Where("status", "=", "open"), Where("next_at", "<=", self.at)
        with self.services.store.writing(durable=False) as session:
            rows = session.take(Reminder, *come, order=("next_at",), limit=_PLANNED_AT_ONCE)
            if not rows:
                return _Taken(0, 0)
            told = self._told_before(session, rows)
            contacts = self._contacts(session, rows)
            deliveries: list[Delivery] = []
            unheard: list[Reminder] = []
            for row in rows:
                recipients = self._recipients(session, row, contacts)
                if recipients is None:
                    unheard.append(row)
                deliveries += self._step(session, row, recipients or [], told)
            session.add(*deliveries)
            self._wait(session, unheard)
            waiting = {(row.patient_id, row.kind, row.due_on) for row in unheard}
            self._advance(session, [row for row in rows if (row.patient_id, row.kind, row.due_on) not in waiting])
        return _Taken(len(rows), len(deliveries))

    def _recipients(
        self, session: Session, row: Reminder, contacts: Mapping[str, list[Recipient]]
    ) -> list[Recipient] | None:
        """Whom a step tells; None where it is for staff and none of them can be reached, or the clinic is closed today.

        It waits then: the day may have become a holiday since the step was set.
        """
        plan = self._plan(session, row.clinic_id)
        to = plan.to(row.kind, row.step)
        if to == PATIENT:
            return contacts.get(row.patient_id, []) if row.kind in OF_PATIENTS else []
        is_open = plan.days.works(day_at(plan.clinic, self.now))
        return (staff_of(self._audience(session, plan), to) or None) if is_open else None

    def _step(
        self,
        session: Session,
        row: Reminder,
        recipients: list[Recipient],
        told: set[_Told],
    ) -> Iterator[Delivery]:
        """The deliveries of a step; nobody is told of a reminder twice in one round."""
        audience = self._audience(session, self._plan(session, row.clinic_id))
        for one in [*recipients, *audience.get(EHR, ())]:
            key = (row.patient_id, row.kind, row.due_on, row.round, *one)
            if key not in told:
                told.add(key)
                yield _delivery(row, one, self.at)

    def _wait(self, session: Session, rows: Iterable[Reminder]) -> None:
        """Have the step of reminders come again in the morning."""
        for row in rows:
            morning = instant(self._plan(session, row.clinic_id).next_morning(self.now))
            same = [Where(name, "=", getattr(row, name)) for name in Reminder.KEY]
            session.update(Reminder, {"next_at": morning}, *same)

    def _advance(self, session: Session, rows: Iterable[Reminder]) -> None:
        """Set the next step of reminders; those that go from the same step to the same instant together."""
        alike: dict[tuple[str, str, int, int, _Following], list[str]] = {}
        for row in rows:
            key = (row.kind, row.due_on, row.round, row.step, self._following(session, row))
            alike.setdefault(key, []).append(row.patient_id)
        for (kind, due_on, turn, step, following), patients in alike.items():
            same = [
                Where(name, "=", value)
                for name, value in (("kind", kind), ("due_on", due_on), ("round", turn), ("step", step))
            ]
            session.update(Reminder, following._asdict(), Where("patient_id", "in", tuple(patients)), *same)

    def _following(self, session: Session, row: Reminder) -> _Following:
        """The step after this one; one that has passed already is told on the next working day, not at once.

        What is insistent begins another round of its last step, a week later, and so on until it is done.
        """
        plan = self._plan(session, row.clinic_id)
        steps, following = plan.steps[row.kind], row.step + 1
        if following >= len(steps) and row.kind in INSISTENT:
            last = max((place for place, one in enumerate(steps) if one.to != PATIENT), default=len(steps) - 1)
            day = plus(day_at(plan.clinic, self.now), INSISTS_EVERY)
            return _Following(last, row.round + 1, instant(plan.at(working_day(plan.days, day))))
        at = plan.told_at(row.kind, following, row.remind_on)
        if at is not None and at <= self.now:
            now = steps[min(row.step, len(steps) - 1)]  # that a patient is told keeps no staff waiting
            together = steps[following].after_days == now.after_days or now.to == PATIENT
            at = plan.soon(self.now, steps[following].to) if together else plan.next_morning(self.now)
        return _Following(following, row.round, instant_or_none(at))

    def _plan(self, session: Session, clinic_id: str) -> Plan:
        if clinic_id not in self.plans:
            self.plans[clinic_id] = plan_of(session, cast(Clinic, session.get(Clinic, clinic_id)))
        return self.plans[clinic_id]

    def _audience(self, session: Session, plan: Plan) -> dict[str, list[Recipient]]:
        if plan.clinic.id not in self.audiences:
            self.audiences[plan.clinic.id] = audience_of(session, plan.clinic.id)
        return self.audiences[plan.clinic.id]

    def _contacts(self, session: Session, rows: Iterable[Reminder]) -> dict[str, list[Recipient]]:
        """By which channels the patients of reminders are told, by those of their clinic that are in use."""
        clinics = {row.patient_id: row.clinic_id for row in rows}
        owners = tuple(f"{PATIENT}/{ident}" for ident in clinics)
        found: dict[str, list[Recipient]] = {}
        theirs = Where("clinic_id", "in", tuple(set(clinics.values()))), Where("audience", "=", "gateway")
        gateways = session.find(ChannelRow, *theirs, Where("active", "=", 1))
        usable = {one.id: one.clinic_id for one in gateways}
        for contact in session.find(Contact, Where("owner", "in", owners)) if usable else ():
            ident = contact.owner.partition("/")[2]
            if usable.get(contact.channel_id) == clinics[ident]:
                found.setdefault(ident, []).append(Recipient(PATIENT, contact.channel_id))
        return found

    def _told_before(self, session: Session, rows: list[Reminder]) -> set[_Told]:
        """Who has been told in the same round: by an earlier step, or, of systems, while a first one waited."""
        some = [row for row in rows if row.step or self._audience(session, self._plan(session, row.clinic_id)).get(EHR)]
        if not some:
            return set()
        about = Where("about", "in", tuple({row.patient_id for row in some}))
        days = Where("due_on", "in", tuple({row.due_on for row in some}))
        found = session.find(Delivery, about, days, Where("status", "!=", "cancelled"))
        return {(one.about, one.kind, one.due_on, one.step // ROUND, one.recipient, one.channel_id) for one in found}


#: The steps of a round are numbered from this times the round.
ROUND: Final = 100


def _delivery(row: Reminder, one: Recipient, at: str) -> Delivery:
    return new_delivery(
        (row.patient_id, row.kind, row.due_on, row.round * ROUND + row.step),
        one,
        clinic_id=row.clinic_id,
        rank=RANK[row.kind],
        at=at,
    )


def new_delivery(key: tuple[str, str, str, int], one: Recipient, *, clinic_id: str, rank: int, at: str) -> Delivery:
    """A delivery that waits; its id is made of what it is, so that two who make it make the same."""
    about, kind, due_on, step = key
    return Delivery(
        about=about,
        kind=kind,
        due_on=due_on,
        step=step,
        recipient=one.name,
        channel_id=one.channel_id,
        id=f"msg_{sha256(f'{about} {kind} {due_on} {step} {one.name} {one.channel_id}')[:32]}",
        clinic_id=clinic_id,
        rank=rank,
        status="waiting",
        send_at=at,
        attempts=0,
        leased_until="",
        leased_by="",
        error=None,
        made_at=at,
        sent_at=None,
    )


def audience_of(session: Session, clinic_id: str) -> dict[str, list[Recipient]]:
    """Who of a clinic is told by which channels: by role, all at once or each person; and systems."""
    channels = session.find(ChannelRow, Where("clinic_id", "=", clinic_id), Where("active", "=", 1), order=("id",))
    found: dict[str, list[Recipient]] = {}
    for one in channels:
        if one.audience != "gateway":
            name = EHR if one.audience == EHR else f"role/{one.audience}"
            found.setdefault(one.audience, []).append(Recipient(name, one.id))
    gateways = {one.id for one in channels if one.audience == "gateway"}
    if gateways:
        for account in session.find(Account, Where("active", "=", 1), Where("role", "in", STAFF), order=("username",)):
            if clinic_id in account.clinics:
                owner = f"account/{account.id}"
                for contact in session.find(Contact, Where("owner", "=", owner), order=("channel_id",)):
                    if contact.channel_id in gateways:
                        found.setdefault(account.role, []).append(Recipient(owner, contact.channel_id))
    return found


def staff_of(audience: Mapping[str, list[Recipient]], role: str) -> list[Recipient]:
    """Those of a role; where nobody of it can be reached, those of the next one up, or else down."""
    place = STAFF.index(role)
    return next((audience[one] for one in (*STAFF[place:], *reversed(STAFF[:place])) if audience.get(one)), [])


def deliver(services: Services, now: Callable[[], datetime]) -> Told:
    """Send what is due of each channel that may send; until nothing is, or it may not send more for now."""
    telling = services.telling
    if telling is None:
        return Told()
    worker, told = new_id(), Told()
    with services.store.reading() as session:
        waiting = session.tally(
            Delivery, "channel_id", Where("status", "=", "waiting"), Where("send_at", "<=", instant(now()))
        )
    for channel_id in waiting:
        sender = Sender(services, telling, cast(str, channel_id), worker, now)
        try:
            sender.send_all()
        except Exception:  # noqa: BLE001 (whatever it is, the other channels must not wait for it)
            structlog.get_logger().exception("reminders-of-channel", channel=channel_id)
        told = _add(told, sender.told)
    return told


def _add(one: Told, other: Told) -> Told:
    return Told(*(a + b for a, b in zip(one, other, strict=True)))


def open_for(telling: Telling, channel: ChannelRow, to: str | None) -> Channel:
    """A channel, opened; a gateway for one person."""
    address = channel.address if to is None else with_recipient(channel.address, to)
    return telling.open_channel(channel.kind, address, channel.secret)


class Lease(NamedTuple):
    """What a worker holds of a channel, until when, with all that is needed to send it."""

    channel: ChannelRow
    plan: Plan
    until: datetime
    held: list[tuple[Delivery, str | None]]


class _Unsent(NamedTuple):
    """Why a delivery was not sent: whether to try again can help, and after how many seconds, if it was told."""

    why: str
    lasting: bool
    retry_after: int | None


@dataclass(slots=True)
class Sender:
    """Sends what waits for one channel."""

    services: Services
    telling: Telling
    channel_id: str
    worker: str
    now: Callable[[], datetime]
    opened: dict[str | None, Channel] = field(default_factory=dict)
    told: Told = field(default_factory=Told)
    aside: list[Delivery] = field(default_factory=list)
    spared: int = 0
    plan: Plan | None = None

    def send_all(self) -> Told:
        """Lease and send until nothing is left that may be sent, or the channel fails.

        What must wait stays leased meanwhile, so that what comes after it is reached.
        """
        try:
            while (lease := again_if(Overtaken, self.lease)) is not None and self._send_held(lease):
                pass
        finally:
            self._let_go(self.aside)
        return self.told

    def _send_held(self, lease: Lease) -> bool:
        """Send one after the other while the lease lasts; whether the channel may be used further."""
        for place, (delivery, to) in enumerate(lease.held):
            if self.now() >= lease.until - self._margin():
                break
            rest = [one for one, _ in lease.held[place + 1 :]]
            try:
                usable = self._send(lease, delivery, to)
            except Exception:  # it may have been sent: it stays leased for a while
                self._let_go(rest)
                raise
            except BaseException:  # the worker is told to end, and has not sent it
                self._let_go([delivery, *rest])
                raise
            if not usable:
                self._let_go(rest)
                return False
        return True

    def _margin(self) -> timedelta:
        """How long before its end a lease is not used any more: whoever takes it up must not meet its holder."""
        return min(_LONGEST_SEND, timedelta(seconds=self.telling.lease_seconds / 4))

    def lease(self) -> Lease | None:
        """Lease what waits, as much as the channel may send now; None if it may not."""
        now = self.now()
        at, minute = instant(now), instant(now)[:16]
        until = now + timedelta(seconds=self.telling.lease_seconds)
        with self.services.store.writing(durable=False) as session:
            channel = session.get(ChannelRow, self.channel_id)
            if channel is None or at < channel.rests_until <= instant(now + _LONGEST_AT_ALL):
                return None
            if not channel.active:
                self.told = _add(self.told, Told(dead=give_up_unused(session, channel.id)))
                return None
            plan = self.plan = self.plan or plan_of(session, cast(Clinic, session.get(Clinic, channel.clinic_id)))
            if channel.audience != EHR and plan.not_quiet(now) != now:
                return None
            used = channel.in_minute - self.spared if channel.minute == minute else 0
            self.spared = 0  # what was leased and not sent takes no place in the minute
            most = min(1 if channel.failures else _LEASED_AT_ONCE, channel.per_minute - used)
            if most <= 0:
                return None
            waits = Where("channel_id", "=", channel.id), Where("status", "=", "waiting")
            run_out = Where("leased_until", ">", ""), Where("leased_until", "<=", at)
            by_a_clock_ahead = Where("leased_until", ">", instant(now + _LONGEST_AT_ALL))
            session.update(Delivery, {"leased_until": ""}, *waits, by_a_clock_ahead)
            session.update(Delivery, {"leased_until": ""}, *waits, *run_out)  # who had it may still mark it
            found = session.claim(
                Delivery,
                {"leased_until": instant(until), "leased_by": self.worker},
                *waits,
                Where("leased_until", "=", ""),
                Where("send_at", "<=", at),
                # a probe is another message each time: it may be the message at which the receiver stumbles
                order=("attempts", "rank", "send_at") if channel.failures else ("rank", "send_at"),
                limit=most,
            )
            held = self._addressed(session, channel, found)
            changed = replace(channel, minute=minute, in_minute=used + len(held))
            if held:
                session.change(changed)
        return Lease(channel, plan, until, held) if found else None

    def _addressed(
        self, session: Session, channel: ChannelRow, found: list[Delivery]
    ) -> list[tuple[Delivery, str | None]]:
        """Deliveries with the personal address they go to, None where the channel has it; not those without contact."""
        if channel.audience != "gateway":
            return [(one, None) for one in found]
        held: list[tuple[Delivery, str | None]] = []
        for one in found:
            owner = f"{PATIENT}/{one.about}" if one.recipient == PATIENT else one.recipient
            contact = session.get(Contact, owner, channel.id)
            if contact is not None and _is_told(session, one):
                held.append((one, contact.address))
            elif one.recipient == PATIENT:  # the contact was taken back since
                session.update(Delivery, {"status": "cancelled", **_FREE}, *_of(one))
            else:
                gone: dict[str, Value] = {"status": "dead", "error": "is not told by this channel any more", **_FREE}
                unsettle(session, session.claim(Delivery, gone, *_of(one)))
        return held

    def _send(self, lease: Lease, delivery: Delivery, to: str | None) -> bool:
        """Send and mark, unless something has happened since it was leased; whether the channel may be used further."""
        with self.services.store.reading() as session:
            if not _stands(session, delivery):
                self.aside.append(delivery)
                self.spared += 1
                return True
            too_late = _is_too_late(session, delivery, lease.plan, self.now())
        if too_late:
            with self.services.store.writing(durable=False) as session:
                session.update(Delivery, {"status": "cancelled", **_FREE}, *_of(delivery))
            return True
        unsent = self._try(lease, delivery, to)
        if unsent is None:
            self._mark_sent(lease, delivery)
            self.told = _add(self.told, Told(sent=1))
            return True
        given_up = self._mark_unsent(lease, delivery, unsent)
        self.told = _add(self.told, Told(failed=1, dead=given_up))
        return unsent.lasting

    def _try(self, lease: Lease, delivery: Delivery, to: str | None) -> _Unsent | None:
        channel = lease.channel
        try:
            with self.services.store.reading() as session:
                visit = Visit(services=self.services, session=session, actor=None, now=self.now())
                told = message(visit, delivery, lease.plan)
            if to not in self.opened:
                self.opened = {to: open_for(self.telling, channel, to)}
            self.opened[to].send(told)
        except NotSent as error:
            return _Unsent(str(error), error.lasting, error.retry_after)
        except Unacceptable as error:
            return _Unsent(str(error), lasting=True, retry_after=None)
        except Exception as error:  # noqa: BLE001 (whatever a channel does, the others go on)
            structlog.get_logger().exception("reminder-not-sent", channel=channel.id)
            return _Unsent(f"failed here: {type(error).__name__}", lasting=False, retry_after=None)
        return None

    def _mark_sent(self, lease: Lease, delivery: Delivery) -> None:
        at = instant(self.now())
        done: dict[str, Value] = {"status": "sent", "sent_at": at, "attempts": delivery.attempts + 1, **_FREE}
        well: dict[str, Value] = {"failures": 0, "rests_until": "", "error": None}

        def mark() -> None:
            with self.services.store.writing(durable=False) as session:
                if lease.channel.failures:  # first, as who leases has the channel before what waits for it
                    session.update(ChannelRow, well, Where("id", "=", self.channel_id))
                if session.update(Delivery, done, *_of(delivery), Where("leased_by", "=", self.worker)):
                    enter(self.services.audit_key, session, [_entry(delivery, at)])

        again_if(Overtaken, mark)

    def _mark_unsent(self, lease: Lease, delivery: Delivery, unsent: _Unsent) -> int:
        """Try again later, or give up; how many were given up. The channel rests unless only this is refused."""
        now = self.now()
        give_up = instant(now - timedelta(hours=lease.plan.give_up_hours))
        dead = unsent.lasting or delivery.made_at <= give_up
        rest = self._rest(lease.channel.failures, unsent.retry_after)
        again = now + max(rest, self._rest(delivery.attempts, None))
        structlog.get_logger().warning(
            "reminder-not-sent", channel=self.channel_id, message=delivery.id, why=unsent.why
        )
        tried: dict[str, Value] = {
            "attempts": delivery.attempts + 1,
            "error": unsent.why,
            "send_at": instant(again if lease.channel.audience == EHR else lease.plan.not_quiet(again)),
            **_FREE,
        }
        mine = *_of(delivery), Where("leased_by", "=", self.worker), Where("status", "=", "waiting")
        old = (
            Where("channel_id", "=", self.channel_id),
            Where("made_at", "<=", give_up),
            Where("status", "=", "waiting"),
        )
        ill: dict[str, Value] = {
            "failures": lease.channel.failures + 1,
            "rests_until": instant(now + rest),
            "error": unsent.why,
        }

        def mark() -> int:
            with self.services.store.writing(durable=False) as session:
                if not unsent.lasting:  # first, as who leases has the channel before what waits for it
                    session.update(ChannelRow, ill, Where("id", "=", self.channel_id))
                done = session.claim(Delivery, {**tried, "status": "dead"} if dead else tried, *mine)
                given_up = done if dead else []
                if not unsent.lasting:  # what has waited too long behind it
                    given_up += session.claim(Delivery, {"status": "dead", "error": unsent.why}, *old)
                unsettle(session, given_up)
            return len(given_up)

        return again_if(Overtaken, mark)

    def _rest(self, failures: int, retry_after: int | None) -> timedelta:
        seconds = min(_FIRST_REST * 2.0 ** min(failures, 10), _LONGEST_REST).total_seconds()
        return timedelta(seconds=max(seconds * (0.5 + self.telling.chance()), retry_after or 0))

    def _let_go(self, held: list[Delivery]) -> None:
        if not held:
            return
        with self.services.store.writing(durable=False) as session:
            for one in held:
                session.update(Delivery, _FREE, *_of(one), Where("leased_by", "=", self.worker))


_FREE: Final[dict[str, Value]] = {"leased_until": "", "leased_by": ""}


def unsettle(session: Session, deliveries: Iterable[Delivery]) -> None:
    """Have the worklist tell what has become of deliveries about patients."""
    about = tuple({one.about for one in deliveries if one.kind in RANK})
    if about:
        session.update(Patient, {"settled": 0}, Where("id", "in", about))


def give_up_unused(session: Session, channel_id: str) -> int:
    """Give up what waits for a channel that is out of use; how many messages."""
    waits = Where("channel_id", "=", channel_id), Where("status", "=", "waiting")
    given_up = session.claim(Delivery, {"status": "dead", "error": "channel out of use"}, *waits)
    unsettle(session, given_up)
    return len(given_up)


def _is_told(session: Session, one: Delivery) -> bool:
    """Whether who is to be told still has an account that works at the clinic; a patient need not."""
    what, _, ident = one.recipient.partition("/")
    if what != "account":
        return True
    found = session.find(Account, Where("id", "=", ident))  # not held: other channels tell the same people
    return bool(found) and found[0].active and found[0].role in STAFF and one.clinic_id in found[0].clinics


def _stands(session: Session, one: Delivery) -> bool:
    """Whether a reminder is still to be told, and nothing has been recorded of its patient that may change that."""
    if one.kind not in RANK:  # a summary says what holds when it is sent
        return True
    row, patient = session.get(Reminder, one.about, one.kind, one.due_on), session.get(Patient, one.about)
    return row is not None and patient is not None and row.status == "open" and patient.settled


def _is_too_late(session: Session, one: Delivery, plan: Plan, now: datetime) -> bool:
    """Whether a patient would be told only on the day itself, or after it, of what was to be told before."""
    if one.recipient != PATIENT or one.kind in INSISTENT:
        return False
    row = session.get(Reminder, one.about, one.kind, one.due_on)
    made_on = day_at(plan.clinic, datetime.fromisoformat(one.made_at))
    return row is not None and made_on < row.remind_on <= day_at(plan.clinic, now)


def _of(one: Delivery) -> tuple[Where, ...]:
    return tuple(Where(name, "=", getattr(one, name)) for name in Delivery.KEY)


def _entry(delivery: Delivery, at: str) -> Entry:
    """What the trail says of a message: to whom and by which channel, never the address."""
    told = {"message": delivery.id, "to": delivery.recipient, "channel": delivery.channel_id, "due_on": delivery.due_on}
    of_patient = delivery.kind in RANK
    return Entry(
        delivery.about if of_patient else SYSTEM,
        at,
        None,
        None,
        "tell",
        f"{'patient' if of_patient else 'clinic'}/{delivery.about}/reminders/{delivery.kind}",
        delivery.clinic_id,
        None,
        encode(told),
    )
