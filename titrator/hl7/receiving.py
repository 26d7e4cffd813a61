"""Messages in, acknowledgements out, once all is stored. The same behind MLLP and HTTP; any number at a time.

1. what is no result for patients is turned away (AR) before anything is looked up
2. the others are carried out in order, in one durable commit: each all or nothing, its acknowledgement kept with it.
   What is there of all of them is looked up together, and their entries and acknowledgements are written together.
   That is drafted while others write; where one has to see what another does, all is done with the writer's turn
3. of one at fault the same commit keeps that it came, and what was answered (AE); one that only the record finds at
   fault is undone alone, and that it came is kept by a second commit

A message that was taken is known again by its control id and its bytes, and gets the same acknowledgement. One that was
at fault is looked at anew when it comes again: what was wrong may have been the settings here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import partial
from hashlib import sha256
from ipaddress import ip_address
from typing import Final, NamedTuple, cast
from zoneinfo import ZoneInfo

import structlog

from titrator.hl7.message import Segment, Spot, Unreadable, Wrong, acknowledge, read_message
from titrator.hl7.translate import NOTHING_SAID, Group, Observation, Translated, offset_of, refusals, translate
from titrator.security.secrets import new_id
from titrator.store.base import Session, Stale, StoreError, Unavailable
from titrator.store.draft import Draft
from titrator.store.records import Clinic, ExternalId, Patient, ReceivedMessage
from titrator.titration.errors import Fault
from titrator.workflow.accounts import actor_of
from titrator.workflow.errors import Code, Refusal, Unauthorised
from titrator.workflow.facts import OBSERVATIONS
from titrator.workflow.feeds import Feed
from titrator.workflow.results import Ahead, Match, match_of, seen_again, take
from titrator.workflow.visit import Actor, Entry, Services, Visit, enter, instant

ACCEPTED: Final = "AA"
AT_FAULT: Final = "AE"
TURNED_AWAY: Final = "AR"
_LONGEST_REQUEST: Final = 64


class Sender(NamedTuple):
    """Who sends: the feeds that it may be, and the account that is logged in; without one, that of the feed."""

    feeds: Sequence[Feed]
    actor: Actor | None = None


class Answer(NamedTuple):
    """An acknowledgement, and its code."""

    code: str
    text: str

    @property
    def sent(self) -> bytes:
        """As it is sent."""
        return self.text.encode()


#: What a message is known by: the feed, MSH-10, the SHA-256 of all of it.
_Key = tuple[str, str, str]


class Unusable(Exception):
    """The account of a feed is not there, is not a system's, or belongs to several clinics and none is named."""


class _AtFault(Exception):
    """What a message says cannot be taken."""

    def __init__(self, wrong: Sequence[Wrong]) -> None:
        super().__init__("a message that is at fault")
        self.wrong = wrong


def senders_at(feeds: Iterable[Feed], address: str) -> list[Feed]:
    """The feeds of some that may come from an address."""
    peer = ip_address(address.partition("%")[0])
    mapped = getattr(peer, "ipv4_mapped", None)
    return [feed for feed in feeds if feed.may_come_from(mapped or peer)]


def answer_all(services: Services, sent: Sequence[tuple[Sender, bytes]]) -> list[Answer]:
    """The acknowledgements of some messages, in order, once all that they say is stored."""
    now, actors = services.clock(), dict[str, Actor]()
    works = [_Work(services, sender, raw, now, actors) for sender, raw in sent]
    _carry_out(services, [work for work in works if work.answer is None])
    log = structlog.get_logger().bind()
    for work in works:
        work.tell(log)
    told = Counter(f"{work.code}-again" if work.again else work.code for work in works)
    log.info("hl7-messages", **told)
    return [work.answer or work.failed() for work in works]


def _carry_out(services: Services, works: Sequence[_Work]) -> None:
    """Carry out what is not answered yet; what turns out to be at fault is written down thereafter."""
    if not works:
        return
    try:
        if not _drafted(services, works):
            _each(services, works, _take_all)
        if faulty := [work for work in works if work.wrong and work.answer is None]:
            _each(services, faulty, _note_faults)
    except StoreError:
        structlog.get_logger().exception("hl7-store")


def _drafted(services: Services, works: Sequence[_Work]) -> bool:
    """Whether messages are carried out that were prepared while others may write; raises Unavailable.

    Not where one of them has to see what another one does, or is at fault, or somebody else was faster.
    """
    try:
        with services.store.reading() as session:
            draft = Draft(session)
            ahead, kept = _take(works, draft, apart=True)
        services.store.carry_out(partial(_write, services, draft, ahead, kept))
    except Unavailable:
        raise
    except Exception as error:  # noqa: BLE001 (whatever it is, it comes up again where each is carried out for itself)
        structlog.get_logger().debug("hl7-not-drafted", why=type(error).__name__)
        return False
    for work in works:
        work.ended(None)
    return True


def _write(services: Services, draft: Draft, ahead: Ahead, kept: _Kept, session: Session) -> None:
    """Write what was drafted; raises Stale, Duplicate where what it rests on is not so any more."""
    session.hold(ReceivedMessage, list(kept.rows))
    draft.hold_seen(session)
    ahead.refuse_changed(session)
    draft.carry_out(session)
    kept.write(services, session)


def _each(services: Services, works: Sequence[_Work], step: _Step) -> None:
    """A step for some messages together; if that does not go well, for each as a part, which is undone alone."""
    steps = [partial(step, services, [work]) for work in works]
    raised = services.store.carry_out_each(steps, partial(step, services, works))
    for work, error in zip(works, raised, strict=True):
        work.ended(error)


def _take_all(services: Services, works: Sequence[_Work], session: Session) -> None:
    """Take all that messages say, and keep their acknowledgements; raises _AtFault, Unusable, the store's errors."""
    _, kept = _take(works, session)
    kept.write(services, session)


def _take(works: Sequence[_Work], session: Session, *, apart: bool = False) -> tuple[Ahead, _Kept]:
    """Take all that messages say; what was looked up, and what is still to be written: acknowledgements and entries.

    One that was accepted before, or that is among them twice, gets the same acknowledgement again. Raises _AtFault,
    Unusable, the store's errors; Stale where they are to be `apart` and several say something of the same patient or of
    the same result.
    """
    before = session.get_all(ReceivedMessage, [work.key for work in works])
    accepted = {key: Answer(one.code, one.acknowledgement) for key, one in before.items() if one.code == ACCEPTED}
    some = [work for work in works if work.key not in accepted and work.said.groups and not work.faults]
    names = [name for work in {work.key: work for work in some}.values() for name in work.names]
    if apart and len(set(names)) < len(names):
        raise Stale(ExternalId.TABLE)
    clinics = {name: work.clinic(session) for name, work in {work.known.name: work for work in some}.items()}
    ahead = Ahead(
        session,
        [group.subject for work in some for group in work.said.groups],
        names,
        {one.id for one in clinics.values()},
    )
    kept = _Kept({one.id: one for one in clinics.values()}, frozenset(before), set() if apart else None, [], {})
    for work in works:
        if (answer := accepted.get(work.key)) is not None:
            work.made, work.again = answer, True
        elif work.faults:
            work.wrong = work.said.wrong
            work.refuse(session, kept)
        else:
            accepted[work.key] = work.take(session, kept, clinics.get(work.known.name), ahead)
    return ahead, kept


def _note_faults(services: Services, works: Sequence[_Work], session: Session) -> None:
    """Write down that messages came, and were at fault; what they say is not kept."""
    kept = _Kept({}, frozenset(work.key for work in works), None, [], {})
    for work in works:
        work.refuse(session, kept)
    kept.write(services, session)


class _Kept(NamedTuple):
    """What messages that are carried out together have in common.

    The clinics that were read; the keys of those that may have come before; where they are to be apart, the patients of
    whom one of them says something; what is to be written.
    """

    clinics: dict[str, Clinic]
    before: frozenset[tuple[object, ...]]
    patients: set[str] | None
    entries: list[Entry]
    rows: dict[_Key, ReceivedMessage]

    def write(self, services: Services, session: Session) -> None:
        """Write it; raises Duplicate where a message has come elsewhere meanwhile."""
        session.add(*(row for key, row in self.rows.items() if key not in self.before))
        session.put(*(row for key, row in self.rows.items() if key in self.before))
        enter(services.audit_key, session, self.entries)

    def refuse_again(self, match: Match, group: Group) -> None:
        """Where messages are to be apart, raise Stale for a result that must see another one of its patient.

        That is one of another message, one of the same kind, and of two by which doses are computed the second.
        """
        if self.patients is None or match.patient is None:
            return
        measured = [one.measured for one in group.observations]
        dosing = [one for one in measured if one.collection is not OBSERVATIONS]
        if match.patient.id in self.patients or len(set(measured)) < len(measured) or len(dosing) > 1:
            raise Stale(Patient.TABLE)
        self.patients.add(match.patient.id)


def usable(session: Session, feed: Feed, actor: Actor) -> Clinic:
    """The clinic at which results of a feed wait that are nobody's yet; raises Unusable."""
    if feed.clinic is None and len(actor.clinics) != 1:
        raise Unusable(f"the account {actor.username} does not belong to just one clinic: name one in the feed")
    ident = feed.clinic or next(iter(actor.clinics))
    clinic = session.get(Clinic, ident) if ident in actor.clinics else None
    if clinic is None:
        raise Unusable(f"{ident} is no clinic of the account {actor.username}")
    return clinic


@dataclass(slots=True)
class _Work:
    """A message on its way to its acknowledgement."""

    services: Services
    sender: Sender
    raw: bytes
    now: datetime
    actors: dict[str, Actor]
    answer: Answer | None = None
    made: Answer | None = None
    wrong: Sequence[Wrong] = ()
    feed: Feed | None = None
    control_id: str = ""
    version: str = ""
    head: Segment | None = None
    digest: str = ""
    key: _Key = ("", "", "")
    said: Translated = NOTHING_SAID
    actor: Actor | None = None
    taken: Counter[str] = field(default_factory=Counter)
    again: bool = False

    def __post_init__(self) -> None:
        """Read it as far as is needed to know whether it is for patients here at all."""
        try:
            message = read_message(self.raw)
        except Unreadable as error:
            self.control_id, self.version = error.control_id, error.version
            self._turn_away([error.wrong])
            return
        self.head, self.control_id, self.version = message.head, message.control_id, message.head.part(12)
        application, facility = self.head.part(3), self.head.part(4)
        self.feed = next((one for one in self.sender.feeds if one.is_sender(application, facility)), None)
        found = refusals(message)
        if self.feed is None:
            found.append(Wrong(Spot("MSH", 1, 3), 204, "is not of a feed that is known here, from where it comes"))
        if found:
            self._turn_away(found)
            return
        self.digest = sha256(self.raw).hexdigest()
        self.key = (self.known.name, self.control_id, self.digest)
        try:  # before there is a transaction: it may have to look the account up, and it takes its time to translate
            self.actor = self.sender.actor or self._actor(self.known.account)
            self.said = translate(message, self.known)
        except Unauthorised as error:
            structlog.get_logger().error("hl7-feed-unusable", feed=self.known.name, why=str(error))
            self.answer = self.failed()
        except StoreError as error:
            structlog.get_logger().error("hl7-store", feed=self.known.name, why=str(error))
            self.answer = self.failed()
        except Exception:  # noqa: BLE001 (whatever it is, the messages that came with it must be served)
            structlog.get_logger().exception("hl7-unforeseen", feed=self.known.name)
            self.answer = self.failed()

    def _actor(self, account: str) -> Actor:
        if account not in self.actors:
            self.actors[account] = actor_of(self.services, account)
        return self.actors[account]

    @property
    def code(self) -> str:
        """What is answered."""
        return self.answer.code if self.answer else TURNED_AWAY

    @property
    def known(self) -> Feed:
        """The feed whose message it is."""
        if self.feed is None:
            raise RuntimeError("what was turned away is not taken")
        return self.feed

    @property
    def faults(self) -> bool:
        """Whether it is at fault by itself, whatever is recorded here."""
        return any(not one.warning for one in self.said.wrong)

    @property
    def names(self) -> list[tuple[str, str]]:
        """The external ids of its results."""
        ids = [one.body["external_id"] for group in self.said.groups for one in group.observations]
        return [(one["system"], one["value"]) for one in ids]

    def clinic(self, session: Session) -> Clinic:
        """The clinic of its feed; raises Unusable."""
        return usable(session, self.known, cast(Actor, self.actor))

    def take(self, session: Session, kept: _Kept, clinic: Clinic | None, ahead: Ahead) -> Answer:
        """Take all that the message says, if anything; its acknowledgement. Raises _AtFault, and the store's errors."""
        visit, wrong, self.again = self._visit(session, kept), list[Wrong](), False
        self.taken.clear()
        for group in self.said.groups:
            match = match_of(visit, group.subject, cast(Clinic, clinic), ahead)
            kept.refuse_again(match, group)
            wrong += self._take_group(visit, match, group, ahead)
        if wrong:
            raise _AtFault([*wrong, *self.said.wrong])
        made = self.made = self._acknowledge(ACCEPTED, self.said.wrong)
        kept.rows[self.key] = self._row(made)
        return made

    def _local(self) -> tzinfo | None:
        """The zone of times that tell no offset, if the feed or the message names one."""
        named = self.known.time_zone
        return ZoneInfo(named) if named is not None else offset_of(cast(Segment, self.head))

    def _take_group(self, visit: Visit, match: Match, group: Group, ahead: Ahead) -> list[Wrong]:
        wrong: list[Wrong] = []
        for place, one in enumerate(group.observations):
            try:
                as_now = seen_again(visit, match) if place else match
                self.taken[str(take(visit, as_now, partial(one.sent, self._local), ahead))] += 1
            except Refusal as refusal:
                wrong += _located(refusal, one)
        return wrong

    def refuse(self, session: Session, kept: _Kept) -> None:
        """Keep that the message came, and was at fault; what it says is not kept."""
        made = self.made = self._acknowledge(AT_FAULT, self.wrong)
        kept.rows[self.key] = self._row(made)
        places = [str(one.spot) for one in self.wrong][:20]
        self._visit(session, kept).note("refused", f"hl7/{self.known.name}", places=places)

    def _visit(self, session: Session, kept: _Kept) -> Visit:
        return Visit(
            services=self.services,
            session=session,
            actor=self.actor,
            now=self.now,
            request_id=f"{self.known.name}/{self.control_id}"[:_LONGEST_REQUEST],
            entries=kept.entries,
            known_clinics=kept.clinics,
        )

    def ended(self, error: BaseException | None) -> None:
        """Hear how a step went: only what has been kept is answered."""
        if error is None:
            self.answer = self.made
        elif isinstance(error, _AtFault):
            self.wrong = error.wrong
        elif isinstance(error, Unusable):
            structlog.get_logger().error("hl7-feed-unusable", feed=self.feed and self.feed.name, why=str(error))
        else:
            structlog.get_logger().error("hl7-unforeseen", feed=self.feed and self.feed.name, exc_info=error)

    def failed(self) -> Answer:
        """What is answered where something went wrong here: nothing is stored, and it may be sent again."""
        said = "something went wrong here, nothing is stored: send it again later"
        return self._acknowledge(TURNED_AWAY, [Wrong(Spot("MSH", 1), 207, said)])

    def tell(self, log: structlog.typing.FilteringBoundLogger) -> None:
        """Say in the log what came of it, without what it says."""
        (log.debug if self.answer and self.answer.code == ACCEPTED else log.info)(
            "hl7-message",
            feed=self.feed and self.feed.name,
            message=self.digest[:16],
            code=self.code,
            again=self.again,
            places=[str(one.spot) for one in self.wrong][:20],
            **self.taken,
        )

    def _turn_away(self, wrong: Sequence[Wrong]) -> None:
        self.wrong, self.answer = wrong, self._acknowledge(TURNED_AWAY, wrong)

    def _acknowledge(self, code: str, wrong: Sequence[Wrong]) -> Answer:
        text = acknowledge(
            code,
            wrong,
            head=self.head,
            control_id=self.control_id,
            version=self.version,
            own_id=new_id(),
            now=self.now,
        )
        return Answer(code, text)

    def _row(self, answer: Answer) -> ReceivedMessage:
        feed, control_id, digest = self.key
        return ReceivedMessage(
            feed=feed,
            control_id=control_id,
            sha256=digest,
            at=instant(self.now),
            code=answer.code,
            acknowledgement=answer.text,
        )


_Step = Callable[[Services, Sequence[_Work], Session], None]

#: What is told of a refusal that names no place of its own.
_CODES: Final[Mapping[Code, int]] = {Code.EXTERNAL_ID_TAKEN: 205}


def _located(refusal: Refusal, one: Observation) -> list[Wrong]:
    """What a refusal finds wrong with an observation, by places of the message."""
    code = _CODES.get(refusal.code, 102)
    if not refusal.faults:
        return [Wrong(one.places.of("saying")._replace(field=0), code, refusal.message)]
    return [_placed(fault, one, code) for fault in refusal.faults]


def _placed(fault: Fault, one: Observation, code: int) -> Wrong:
    spot = one.places.of(fault.path)
    return Wrong(spot, 204 if fault.path == "saying" else code, fault.message)
