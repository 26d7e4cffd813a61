"""Messages in, acknowledgements out, once all is stored. The same behind MLLP and HTTP; any number at a time.

1. what is no result for patients is turned away (AR) before anything is looked up
2. the others are carried out in order, in one durable commit: each all or nothing, its acknowledgement kept with it
3. one that is at fault is undone alone; that it came, and what was answered, is kept by a second commit (AE)

A message that was taken is known again by its control id and its bytes, and gets the same acknowledgement. One that was
at fault is looked at anew when it comes again: what was wrong may have been the settings here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from hashlib import sha256
from ipaddress import ip_address
from typing import Final, NamedTuple, cast
from zoneinfo import ZoneInfo

import structlog

from titrator.hl7.message import Message, Segment, Spot, Unreadable, Wrong, acknowledge, read_message
from titrator.hl7.translate import Group, Observation, Translated, refusals, translate
from titrator.security.secrets import new_id
from titrator.store.base import Session, StoreError
from titrator.store.records import Clinic, ReceivedMessage
from titrator.titration.errors import Fault
from titrator.workflow.accounts import actor_of
from titrator.workflow.errors import Code, Refusal, Unauthorised
from titrator.workflow.feeds import Feed
from titrator.workflow.results import match_of, take
from titrator.workflow.visit import Actor, Services, Visit, instant, leave

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


class Unusable(Exception):
    """The account of a feed is not there, is not a system's, or belongs to several clinics and none is named."""


class _AtFault(Exception):
    """What a message says cannot be taken."""

    def __init__(self, wrong: Sequence[Wrong]) -> None:
        super().__init__("a message that is at fault")
        self.wrong = wrong


def senders_at(services: Services, address: str) -> list[Feed]:
    """The feeds that may come from an address."""
    peer = ip_address(address.partition("%")[0])
    mapped = getattr(peer, "ipv4_mapped", None)
    return [feed for feed in services.feeds if feed.may_come_from(mapped or peer)]


def answer_all(services: Services, sent: Sequence[tuple[Sender, bytes]]) -> list[Answer]:
    """The acknowledgements of some messages, in order, once all that they say is stored."""
    now = services.clock()
    works = [_Work(services, sender, raw, now) for sender, raw in sent]
    _carry_out(services, [work for work in works if work.answer is None])
    for work in works:
        work.tell()
    told = Counter(f"{work.code}-again" if work.again else work.code for work in works)
    structlog.get_logger().info("hl7-messages", **told)
    return [work.answer or work.failed() for work in works]


def _carry_out(services: Services, works: Sequence[_Work]) -> None:
    """Carry out what is not answered yet; what is at fault is written down thereafter."""
    if not works:
        return
    try:
        for work, error in zip(works, services.store.carry_out_each([work.take for work in works]), strict=True):
            work.ended(error)
        faulty = [work for work in works if work.wrong]
        if faulty:
            raised = services.store.carry_out_each([work.note_fault for work in faulty])
            for work, error in zip(faulty, raised, strict=True):
                work.noted(error)
    except StoreError:
        structlog.get_logger().exception("hl7-store")


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
    answer: Answer | None = None
    made: Answer | None = None
    wrong: Sequence[Wrong] = ()
    feed: Feed | None = None
    control_id: str = ""
    version: str = ""
    head: Segment | None = None
    digest: str = ""
    message: Message | None = None
    actor: Actor | None = None
    taken: Counter[str] = field(default_factory=Counter)
    again: bool = False

    def __post_init__(self) -> None:
        """Read it as far as is needed to know whether it is for patients here at all."""
        try:
            message = self.message = read_message(self.raw)
        except Unreadable as error:
            self.control_id, self.version = error.control_id, error.version
            self._turn_away([error.wrong])
            return
        self.head, self.control_id, self.version = message.head, message.control_id, message.head[12].part(1)
        application, facility = self.head[3].part(1), self.head[4].part(1)
        self.feed = next((one for one in self.sender.feeds if one.is_sender(application, facility)), None)
        found = refusals(message)
        if self.feed is None:
            found.append(Wrong(Spot("MSH", 1, 3), 204, "is not of a feed that is known here, from where it comes"))
        if found:
            self._turn_away(found)
            return
        self.digest = sha256(self.raw).hexdigest()
        try:  # before there is a transaction: it may have to look the account up
            self.actor = self.sender.actor or actor_of(self.services, cast(Feed, self.feed).account)
        except Unauthorised as error:
            structlog.get_logger().error("hl7-feed-unusable", feed=cast(Feed, self.feed).name, why=str(error))
            self.answer = self.failed()
        except StoreError as error:
            structlog.get_logger().error("hl7-store", feed=cast(Feed, self.feed).name, why=str(error))
            self.answer = self.failed()

    @property
    def code(self) -> str:
        """What is answered."""
        return self.answer.code if self.answer else TURNED_AWAY

    def take(self, session: Session) -> None:
        """Take all that the message says, and keep its acknowledgement; raises _AtFault, and the store's errors."""
        feed, message = self._known()
        before = session.get(ReceivedMessage, feed.name, self.control_id, self.digest)
        if before is not None and before.code == ACCEPTED:
            self.made, self.again = Answer(before.code, before.acknowledgement), True
            return
        self.taken.clear()
        said = translate(message, feed)
        if any(not one.warning for one in said.wrong):
            raise _AtFault(said.wrong)
        visit = self._visit(session, feed)
        if said.groups:
            self._take_groups(visit, feed, said)
        made = self.made = self._acknowledge(ACCEPTED, said.wrong)
        session.put(self._row(feed, made))
        leave(visit, session, visit.entries)

    def _take_groups(self, visit: Visit, feed: Feed, said: Translated) -> None:
        wrong: list[Wrong] = []
        clinic = usable(visit.session, feed, visit.who)
        visit.known_clinics[clinic.id] = clinic
        local = None if feed.time_zone is None else ZoneInfo(feed.time_zone)
        for group in said.groups:
            wrong += self._take_group(visit, group, clinic, local)
        if wrong:
            raise _AtFault([*wrong, *said.wrong])

    def _take_group(self, visit: Visit, group: Group, clinic: Clinic, local: ZoneInfo | None) -> list[Wrong]:
        wrong: list[Wrong] = []
        match = match_of(visit, group.subject, clinic)
        for one in group.observations:
            try:
                self.taken[str(take(visit, match, partial(one.sent, local)))] += 1
            except Refusal as refusal:
                wrong += _located(refusal, one)
        return wrong

    def _visit(self, session: Session, feed: Feed) -> Visit:
        request = f"{feed.name}/{self.control_id}"[:_LONGEST_REQUEST]
        return Visit(services=self.services, session=session, actor=self.actor, now=self.now, request_id=request)

    def note_fault(self, session: Session) -> None:
        """Write down that the message came, and was at fault; what it says is not kept."""
        feed, _ = self._known()
        made = self.made = self._acknowledge(AT_FAULT, self.wrong)
        session.put(self._row(feed, made))
        visit = self._visit(session, feed)
        visit.note("refused", f"hl7/{feed.name}", places=[str(one.spot) for one in self.wrong][:20])
        leave(visit, session, visit.entries)

    def ended(self, error: BaseException | None) -> None:
        """Hear how `take` went: only what has been kept is answered."""
        if error is None:
            self.answer = self.made
        elif isinstance(error, _AtFault):
            self.wrong = error.wrong
        elif isinstance(error, Unusable):
            structlog.get_logger().error("hl7-feed-unusable", feed=self.feed and self.feed.name, why=str(error))
        else:
            structlog.get_logger().error("hl7-unforeseen", feed=self.feed and self.feed.name, exc_info=error)

    def noted(self, error: BaseException | None) -> None:
        """Hear how `note_fault` went."""
        if error is None:
            self.answer = self.made
        else:
            structlog.get_logger().error("hl7-unforeseen", feed=self.feed and self.feed.name, exc_info=error)

    def failed(self) -> Answer:
        """What is answered where something went wrong here: nothing is stored, and it may be sent again."""
        said = "something went wrong here, nothing is stored: send it again later"
        return self._acknowledge(TURNED_AWAY, [Wrong(Spot("MSH", 1), 207, said)])

    def tell(self) -> None:
        """Say in the log what came of it, without what it says."""
        log = structlog.get_logger()
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

    def _known(self) -> tuple[Feed, Message]:
        if self.feed is None or self.message is None:
            raise RuntimeError("what was turned away is not taken")
        return self.feed, self.message

    def _row(self, feed: Feed, answer: Answer) -> ReceivedMessage:
        return ReceivedMessage(
            feed=feed.name,
            control_id=self.control_id,
            sha256=self.digest,
            at=instant(self.now),
            code=answer.code,
            acknowledgement=answer.text,
        )


#: What is told of a refusal that names no place of its own.
_CODES: Final[Mapping[Code, int]] = {Code.EXTERNAL_ID_TAKEN: 205}


def _located(refusal: Refusal, one: Observation) -> list[Wrong]:
    """What a refusal finds wrong with an observation, by places of the message."""
    code = _CODES.get(refusal.code, 102)
    if not refusal.faults:
        return [Wrong(one.places["saying"]._replace(field=0), code, refusal.message)]
    return [_placed(fault, one, code) for fault in refusal.faults]


def _placed(fault: Fault, one: Observation, code: int) -> Wrong:
    spot = one.places.get(fault.path, one.places[""])
    return Wrong(spot, 204 if fault.path == "saying" else code, fault.message)
