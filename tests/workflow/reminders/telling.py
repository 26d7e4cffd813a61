"""What the tests of telling share: a clinic on a real database, told over real servers, at a time that a test sets."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.message import EmailMessage
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from unittest.mock import patch

import standardwebhooks
import standardwebhooks.webhooks

from tests.backends import CHOSEN, new_store
from tests.notify.servers import Answer, MailServer, Receiver
from tests.store.samples import sample
from tests.support import CATALOGUE
from titrator.assembly import open_channel
from titrator.notify.texts import Texts
from titrator.security.permissions import PERMISSIONS, Role
from titrator.store.base import Where
from titrator.store.records import (
    Account,
    AuditRow,
    ChannelRow,
    Clinic,
    Contact,
    Delivery,
    Identifier,
    Patient,
    Record,
    Reminder,
    ReminderSettings,
)
from titrator.workflow import courses, record
from titrator.workflow.facts import DOSES, PLATELET_COUNTS, WEIGHTS
from titrator.workflow.reminders.plan import RANK
from titrator.workflow.reminders.tell import Recipient, Told, deliver, new_delivery, plan_deliveries
from titrator.workflow.reminders.work import beat
from titrator.workflow.standing import settle_all
from titrator.workflow.visit import Actor, Services, Telling, Visit, instant, leave

R = TypeVar("R", bound=Record)

#: A Monday; the clinic works, and it is not quiet.
NOW: Final = datetime(2026, 3, 9, 9, tzinfo=UTC)
TODAY: Final = NOW.date().isoformat()
SECRET: Final = "whsec_" + base64.b64encode(b"s" * 32).decode()
KEY: Final = b"a key for tests, of 32 bytes....."
#: What no message may say unless a clinic has chosen so.
FAMILY_NAME: Final = "Oppenheimer"


class Arrival(NamedTuple):
    """A message as a receiver got it: when, its id, what it said to the letter, and in JSON."""

    at: datetime
    id: str
    body: bytes
    event: dict[str, Any]


@dataclass
class Clock:
    """A clock that goes on only when told to."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def on(self, **lapse: float) -> None:
        self.now += timedelta(**lapse)


@dataclass
class Hook:
    """A receiver of webhooks, which may be down: it gives `status` for an answer, with `headers`."""

    web: Receiver
    clock: Clock
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[datetime, int, Answer]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.web.answer = self.take

    def take(self, asked: Answer, at: datetime | None = None) -> None:
        """Answer what came now, or then."""
        status = self.refused.get(asked.headers["webhook-id"], self.status)
        self.asked.append((at or self.clock(), status, asked))
        asked.give(status, **self.headers)

    @property
    def arrived(self) -> list[Arrival]:
        """What it took, each with a signature that the library of the standard finds right at that instant."""
        return [self.verified(at, asked) for at, status, asked in self.asked if status < 300]

    def verified(self, at: datetime, asked: Answer) -> Arrival:
        class Then(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return at

        with patch.object(standardwebhooks.webhooks, "datetime", Then):
            event = standardwebhooks.Webhook(SECRET).verify(asked.body, asked.headers)
        return Arrival(at, asked.headers["webhook-id"], asked.body, event)


class Desk:
    """A clinic that is open, and its patients. Its reminders are made as they are, or come from a real course."""

    def __init__(self, folder: Path, zone: str = "UTC", *, backend: str = CHOSEN, **settings: object) -> None:
        self.clock = Clock()
        self.seals = folder / "seals"
        self.services = Services(
            store=new_store(folder, backend),
            catalogue=CATALOGUE,
            audit_key=KEY,
            clock=self.clock,
            telling=Telling(
                open_channel=open_channel,
                texts=cache(partial(Texts.load, folder=folder / "texts")),
                base_url="https://titrator.example",
                chance=lambda: 0.5,
            ),
            program="p",
        )
        self.store = self.services.store
        self.add(
            sample(Clinic, time_zone=zone, holidays=(), injection_days=()),
            ReminderSettings(clinic_id="c", version=1, settings={"digest_at": None, **settings}),
        )
        self.eva = self.actor("eva", Role.PRESCRIBER)

    def actor(self, name: str, role: Role) -> Actor:
        return Actor(name, name, role, frozenset({"c"}), PERMISSIONS[role])

    def add(self, *records: Record) -> None:
        with self.store.writing() as session:
            session.add(*records)

    def put(self, *records: Record) -> None:
        with self.store.writing() as session:
            session.put(*records)

    def get(self, kind: type[R], *key: object) -> R:
        with self.store.reading() as session:
            found = session.get(kind, *key)
        assert found is not None
        return found

    def all(self, kind: type[R], *where: Where, order: tuple[str, ...] = ()) -> list[R]:
        with self.store.reading() as session:
            return session.find(kind, *where, order=order)

    @contextmanager
    def visit(self, actor: Actor | None = None) -> Iterator[Visit]:
        with self.store.writing() as session:
            visit = Visit(services=self.services, session=session, actor=actor or self.eva, now=self.clock())
            yield visit
            leave(visit, session, visit.entries)

    # Whom there is to tell, and by what

    def channel(self, ident: str, audience: str, address: str, **values: object) -> str:
        kind = "webhook" if address.startswith("http") else "apprise"
        secret = SECRET if kind == "webhook" else None
        named = {"id": ident, "audience": audience, "kind": kind, "address": address, "secret": secret}
        self.add(sample(ChannelRow, **{**named, "per_minute": 100_000, **values}))
        return ident

    def mailbox(self, server: MailServer, audience: str, **values: object) -> str:
        """A channel of an audience, which is its own mail address."""
        return self.channel(audience, audience, mailto(server, f"{audience}@example.org"), **values)

    def gateway(self, server: MailServer, **values: object) -> str:
        return self.channel("gateway", "gateway", mailto(server, "{to}"), **values)

    def contact(self, owner: str, address: str, channel: str = "gateway") -> None:
        self.add(sample(Contact, owner=owner, channel_id=channel, address=address))

    def account(self, name: str, role: str, address: str | None = None, **values: object) -> None:
        named = {"id": name, "username": name, "role": role, "clinics": ("c",)}
        with self.visit() as visit:
            visit.session.add(sample(Account, **{**named, **values}))
            visit.note("create", f"account/{name}")
        if address is not None:
            self.contact(f"account/{name}", address)

    # Of whom there is something to tell

    def patient(self, ident: str = "p", **values: object) -> str:
        """A patient of whom nothing is recorded and who is settled: a beat leaves the reminders as they are."""
        named = {"family_name": FAMILY_NAME, "given_name": "Ada", "settled": True, **values}
        number = Identifier(system="urn:mrn", value=f"{ident}-17", patient_id=ident)
        self.add(sample(Patient, id=ident, **named), number)
        return ident

    def reminder(self, patient: str = "p", kind: str = "dose-due", due_on: str = TODAY, **values: object) -> Reminder:
        """A reminder whose next step has come."""
        named = {"patient_id": patient, "kind": kind, "due_on": due_on, "remind_on": due_on, "event": None}
        row = sample(Reminder, **{**named, "next_at": instant(NOW), **values})
        self.put(row)
        return row

    def told(self, patient: str, channel: str, **values: object) -> Delivery:
        """A delivery that waits, with its patient and its reminder, of which nothing else is to be told."""
        row = self.reminder(self.patient(patient), **{"next_at": None, **values})
        made = new_delivery(
            (row.patient_id, row.kind, row.due_on, row.step),
            Recipient("role/pharmacist", channel),
            clinic_id="c",
            rank=RANK[row.kind],
            at=instant(self.clock()),
        )
        self.add(made)
        return made

    def on_course(self, name: str = FAMILY_NAME, number: str = "17") -> str:
        """A patient whose second dose, and the count before it, are due today."""
        with self.visit() as visit:
            body: dict[str, object] = {"clinic": "c", "family_name": name, "given_name": "Ada", "born_on": "1960-05-01"}
            patient = record.add_patient(visit, {**body, "identifiers": [{"system": "urn:mrn", "value": number}]}).id
            courses.start(visit, patient, {"protocol": "us-itp-adult", "started_on": "2026-03-02"})
            weight = {"measured_on": "2026-03-02", "value": Decimal(75), "unit": "kg"}
            record.record(visit, patient, WEIGHTS, weight)
            record.record(visit, patient, PLATELET_COUNTS, count("2026-03-02", 20))
            record.record(visit, patient, DOSES, {"given_on": "2026-03-02", "micrograms": Decimal(75)})
        return patient

    def counted(self, patient: str, day: str = TODAY, value: int = 38) -> None:
        with self.visit() as visit:
            record.record(visit, patient, PLATELET_COUNTS, count(day, value))

    # What workers do

    def plans(self) -> int:
        return plan_deliveries(self.services, self.clock())

    def delivers(self) -> Told:
        return deliver(self.services, self.clock)

    def settles(self) -> int:
        return settle_all(self.services, self.clock())

    def beats(self) -> Told:
        return beat(self.services, self.clock)

    # What came of it

    @property
    def deliveries(self) -> list[Delivery]:
        return self.all(Delivery, order=("about", "kind", "due_on", "step", "recipient", "channel_id"))

    def statuses(self) -> dict[str, str]:
        """What became of each delivery, by whom it is about."""
        return {one.about: one.status for one in self.deliveries}

    def trail(self, action: str = "tell") -> list[AuditRow]:
        return self.all(AuditRow, Where("action", "=", action), order=("chain", "seq"))

    def row(self, patient: str = "p", kind: str = "dose-due", due_on: str = TODAY) -> Reminder:
        return self.get(Reminder, patient, kind, due_on)


def count(day: str, value: int) -> dict[str, object]:
    return {"collected_on": day, "value": Decimal(value), "unit": "10*9/L"}


def mailto(server: MailServer, recipient: str) -> str:
    return f"mailto://127.0.0.1:{server.port}/{recipient}?from=titrator@example.org"


def recipients(server: MailServer) -> list[str]:
    """To whom a mail server has taken mails, in order."""
    return [to for envelope in server.envelopes for to in envelope.rcpt_tos]


def text_of(mail: EmailMessage) -> str:
    return f"{mail['Subject']}\n{mail.get_content()}"
