"""What the tests of what is reminded of share: a clinic on a real database, its people, and patients as they are seen.

Everything is recorded by the steps of the work, as everybody's entries are; what is told goes to channels that keep it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from tests.backends import new_store
from tests.store.samples import sample
from tests.support import CATALOGUE
from titrator.notify.base import Message
from titrator.notify.texts import Texts
from titrator.security.permissions import PERMISSIONS, Role
from titrator.store.base import Where
from titrator.store.records import Account, ChannelRow, Contact, Decision, Delivery, Fact, Patient, Reminder, Standing
from titrator.workflow import courses, record, sign_off
from titrator.workflow.errors import Asked
from titrator.workflow.facts import BY_KIND, DOSES, EVENTS, PLATELET_COUNTS, WEIGHTS, Collection
from titrator.workflow.record import Which
from titrator.workflow.reminders import manage
from titrator.workflow.reminders.tell import Told
from titrator.workflow.reminders.work import beat
from titrator.workflow.standing import proposed, settle_all
from titrator.workflow.visit import Actor, Services, Telling, Visit, leave

#: A Monday.
START: Final = "2026-03-02"
WHY: Final = {"reason": "because of a test"}
PEOPLE: Final = {
    "eva": Role.PHARMACIST,
    "mona": Role.PRESCRIBER,
    "otto": Role.PRESCRIBER,
    "tom": Role.TECHNICIAN,
    "feed": Role.EHR,
}
SAYS: Final = {"reason_code": "clinical-judgement", "comment": "as discussed"}


class Heard(NamedTuple):
    """What came out of a channel: when, its delivery, and what there was then.

    That is the reminder (None for a summary), where the patient stood, and what had been decided and not carried out.
    """

    at: datetime
    message: Message
    delivery: Delivery
    reminder: Reminder | None
    standing: Standing | None
    decision: Decision | None


@dataclass
class Ward:
    """A clinic at an instant."""

    folder: Path
    zone: str = "Europe/Berlin"
    injection_days: tuple[str, ...] = ()
    holidays: tuple[str, ...] = ()
    heard: list[Heard] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.at(START, 9)
        self.services = Services(
            store=new_store(self.folder),
            catalogue=CATALOGUE,
            audit_key=b"a key for tests, of 32 bytes.....",
            clock=lambda: self.now,
            telling=Telling(open_channel=self.open_channel, texts=cache(Texts.load), chance=lambda: 0.5),
            program="this",
        )
        admin = Actor("admin", "admin", Role.ADMIN, frozenset(), PERMISSIONS[Role.ADMIN])
        self.people = {"admin": admin}
        self.clinic, self.other = (
            self.does("admin", record.add_clinic, {**self.particulars(), "name": name}).id for name in ("A", "B")
        )
        both = frozenset({self.clinic, self.other})
        self.people["admin"] = admin._replace(clinics=both)
        self.people |= {name: Actor(name, name, role, both, PERMISSIONS[role]) for name, role in PEOPLE.items()}
        with self.services.store.writing(durable=False) as session:
            session.add(*(sample(Account, id=name, username=name, role=str(role)) for name, role in PEOPLE.items()))

    # When

    def at(self, day: str, hour: int = 9, minute: int = 0) -> None:
        """Let it be a day and time at the clinic."""
        self.now = datetime.combine(date.fromisoformat(day), time(hour, minute), ZoneInfo(self.zone)).astimezone(UTC)

    def after(self, days: int, hour: int = 9) -> None:
        """Let days pass."""
        self.at(self.day(days), hour)

    @property
    def here(self) -> datetime:
        return self.now.astimezone(ZoneInfo(self.zone))

    @property
    def today(self) -> str:
        return self.here.date().isoformat()

    def day(self, ahead: int) -> str:
        return (self.here.date() + timedelta(days=ahead)).isoformat()

    # How steps are taken

    def does(self, who: str, step: Callable[..., Any], *args: object) -> Any:
        """What a step gives, in a transaction of its own; raises what it raises."""
        with self.services.store.writing(durable=False) as session:
            visit = Visit(services=self.services, session=session, actor=self.people[who], now=self.now)
            given = step(visit, *args)
            leave(visit, session, visit.entries)
        return given

    def confirmed(self, who: str, step: Callable[..., Any], *args: Any) -> Any:
        """A step, with an answer to each question that it raised."""
        *rest, body = args
        try:
            return self.does(who, step, *rest, body)
        except Asked as asked:
            return self.does(who, step, *rest, {**body, "confirm": list(asked.questions)})

    def particulars(self) -> dict[str, object]:
        return {
            "name": "A",
            "time_zone": self.zone,
            "injection_days": list(self.injection_days),
            "holidays": list(self.holidays),
        }

    # What happens

    def closes(self, *holidays: str) -> None:
        """The clinic is closed on days."""
        self.does("admin", record.change_clinic, self.clinic, {**self.particulars(), "holidays": list(holidays)}, None)

    def chooses(self, **settings: object) -> None:
        """The clinic is reminded otherwise."""
        self.does("admin", manage.change_settings, self.clinic, settings, None)

    def patient(self, **particulars: object) -> str:
        body = {"clinic": self.clinic, "family_name": "A", "given_name": "B", "born_on": "1960-05-01", **particulars}
        return str(self.does("eva", record.add_patient, body).id)

    def on_course(self, protocol: str = "us-itp-adult", *, started_on: str | None = None, **particulars: object) -> str:
        """A patient whose course begins today, or began, who has been weighed then: 75 kg."""
        patient = self.patient(**particulars)
        self.starts(patient, protocol, started_on)
        self.weigh(patient, "75", started_on)
        return patient

    def starts(self, patient: str, protocol: str = "us-itp-adult", started_on: str | None = None) -> None:
        self.does("eva", courses.start, patient, {"protocol": protocol, "started_on": started_on or self.today})

    def treated(self, *counts: object, weeks: int = 2, micrograms: object = 75, **particulars: object) -> str:
        """A patient who was given a dose in each of the weeks before, the last a week ago, and counted then, as said.

        There is no count of today.
        """
        patient = self.on_course(started_on=self.day(-7 * weeks), **particulars)
        said = [*counts, *["90"] * weeks][:weeks]
        for week, platelets in zip(range(weeks, 0, -1), said, strict=True):
            self.count(patient, platelets, self.day(-7 * week))
            self.give(patient, micrograms, self.day(-7 * week))
        return patient

    def records(self, patient: str, collection: Collection, body: dict[str, object], who: str = "tom") -> int:
        return int(self.confirmed(who, record.record, patient, collection, body).fact.id)

    def weigh(self, patient: str, kg: object, day: str | None = None, who: str = "tom") -> int:
        body = {"measured_on": day or self.today, "value": Decimal(str(kg)), "unit": "kg"}
        return self.records(patient, WEIGHTS, body, who)

    def count(self, patient: str, platelets: object, day: str | None = None, who: str = "tom") -> int:
        body = {"collected_on": day or self.today, "value": Decimal(str(platelets)), "unit": "10*9/L"}
        return self.records(patient, PLATELET_COUNTS, body, who)

    def give(self, patient: str, micrograms: object = 75, day: str | None = None, who: str = "tom") -> int:
        body = {"given_on": day or self.today, "micrograms": Decimal(str(micrograms))}
        return self.records(patient, DOSES, body, who)

    def befalls(self, patient: str, kind: str, day: str | None = None) -> int:
        return self.records(patient, EVENTS, {"kind": kind, "occurred_on": day or self.today})

    def fact(self, patient: str, ident: int) -> Which:
        """A fact as it stands."""
        with self.services.store.reading() as session:
            mine = Where("patient_id", "=", patient), Where("id", "=", ident), Where("current", "=", 1)
            found = session.find(Fact, *mine)[0]
        return Which(patient, BY_KIND[found.kind], found.id, found.version)

    def takes_back(self, patient: str, ident: int) -> None:
        """What was recorded was entered in error."""
        self.does("mona", record.enter_in_error, self.fact(patient, ident), "another patient's")

    def accepts(self, patient: str, who: str = "mona") -> Any:
        return self.decides(patient, "accept", who)

    def decides(self, patient: str, decision: str, who: str = "mona", **body: object) -> Any:
        """What somebody decides upon the proposal of now; alerts are acknowledged, what departed is explained."""

        def decide(visit: Visit) -> Any:
            for one in sign_off.mismatches(visit, patient):
                if one.reason is None:
                    sign_off.explain_mismatch(visit, patient, one.day, "two vials broke")
            standing = proposed(visit, visit.patient(patient))
            alerts = [one["code"] for one in sign_off._answer(standing)["alerts"]]  # type: ignore[attr-defined]
            named = {"proposal_sha256": standing.proposal_sha256, "acknowledge": alerts}
            sent = {"decision": decision, **named, **body}
            try:
                return sign_off.decide(visit, patient, sent)
            except Asked as asked:
                return sign_off.decide(visit, patient, {**sent, "confirm": list(asked.questions)})

        return self.does(who, decide)

    def changes(self, patient: str, step: Callable[..., Any], **body: object) -> None:
        """A change of the course: paused, going on, discontinued."""
        self.does("mona", step, patient, {**WHY, **body}, None)

    def particulars_change(self, patient: str, **body: object) -> None:
        self.does("mona", record.change_patient, patient, {**WHY, **body}, None)

    # What is reminded of

    def settles(self) -> int:
        return settle_all(self.services, self.now)

    def open(self, patient: str, *kinds: str) -> list[str]:
        """What a patient is reminded of now: `dose-due 03-09`, `dose-due 03-09 on 03-10` where the clinic's day is
        another; an acknowledged one has a star.
        """
        self.settles()
        rows = self.rows(patient, Where("status", "in", ("open", "acknowledged")))
        return sorted(_short(row) for row in rows if not kinds or row.kind in kinds)

    def rows(self, patient: str, *where: Where) -> list[Reminder]:
        with self.services.store.reading() as session:
            return session.find(
                Reminder, Where("patient_id", "=", patient), *where, order=("remind_on", "kind", "due_on")
            )

    def row(self, patient: str, kind: str) -> Reminder:
        """The open reminder of a kind."""
        return next(row for row in self.rows(patient) if row.kind == kind and row.status in ("open", "acknowledged"))

    def told_at(self, row: Reminder) -> str | None:
        """When a reminder is told next, at the clinic: `03-09 08:00`."""
        if row.next_at is None:
            return None
        return f"{datetime.fromisoformat(row.next_at).astimezone(ZoneInfo(self.zone)):%m-%d %H:%M}"

    # What is told

    def channels(self, *audiences: str) -> None:
        """A channel for each audience, named as it, that takes whatever it is sent."""
        with self.services.store.writing(durable=False) as session:
            for one in audiences:
                address = "mailto://mail.example/{to}" if one == "gateway" else f"mailto://mail.example/{one}"
                about = {"clinic_id": self.clinic, "audience": one, "per_minute": 100_000, "address": address}
                session.add(sample(ChannelRow, id=one, label=one, **about))

    def reachable(self, patient: str) -> None:
        """A patient who can be told something by the gateway."""
        with self.services.store.writing(durable=False) as session:
            owner, to = f"patient/{patient}", f"{patient}@example.org"
            session.put(sample(Contact, owner=owner, channel_id="gateway", address=to))

    def open_channel(self, kind: str, address: str, secret: str | None) -> Ward:
        return self

    def send(self, message: Message) -> None:
        """Take a message: the port of a channel."""
        with self.services.store.reading() as session:
            delivery = session.find(Delivery, Where("id", "=", message.id))[0]
            row = session.get(Reminder, delivery.about, delivery.kind, delivery.due_on)
            patient, standing = session.get(Patient, delivery.about), session.get(Standing, delivery.about)
            same = Where("patient_id", "=", delivery.about), Where("current", "=", 1)
            ident = None if patient is None else patient.decision_id
            decided = [] if ident is None else session.find(Decision, *same, Where("id", "=", ident))
        self.heard.append(Heard(self.now, message, delivery, row, standing, next(iter(decided), None)))

    def beats(self) -> Told:
        return beat(self.services, lambda: self.now)

    def beats_at(self, day: str, *times: tuple[int, int]) -> list[str]:
        """What is told at some times of a day, but for summaries: `dose-due to patient`."""
        before = len(self.heard)
        for hour, minute in times:
            self.at(day, hour, minute)
            self.beats()
        return [f"{one.delivery.kind} to {one.delivery.recipient}" for one in self.heard[before:] if one.reminder]

    def patient_row(self, patient: str) -> Patient:
        with self.services.store.reading() as session:
            found = session.get(Patient, patient)
        assert found is not None
        return found


def _short(row: Reminder) -> str:
    elsewhere = "" if row.remind_on == row.due_on else f" on {row.remind_on[5:]}"
    return f"{row.kind} {row.due_on[5:]}{elsewhere}{'*' if row.status == 'acknowledged' else ''}"


def days_of(first: str, many: int) -> Iterable[str]:
    """So many days, from one on."""
    return ((date.fromisoformat(first) + timedelta(days=n)).isoformat() for n in range(many))
