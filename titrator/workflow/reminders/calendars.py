"""Calendars to subscribe to: what falls on which day, of a clinic or of one patient.

An address has a secret, which is all that one needs to read it; it can be revoked, and what it shows is little: a
patient's number and a link, whatever a clinic lets messages say; of a patient's own calendar neither. The entry of a
dose or a count keeps its UID when its day moves, and has a higher SEQUENCE then, so that a calendar moves it (RFC 5545,
3.8.7.4).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple, cast
from uuid import NAMESPACE_URL, uuid5

from icalendar import Calendar, Event, vDuration

from titrator.security.secrets import new_id, new_secret, sha256
from titrator.store.base import Where
from titrator.store.records import CalendarFeed, Clinic, Fact, Patient, Reminder
from titrator.workflow.errors import Unknown
from titrator.workflow.reminders.keep import OPEN
from titrator.workflow.reminders.manage import STANDING_KINDS, clinic_of
from titrator.workflow.reminders.messages import STAFF, link_to, telling_of, words
from titrator.workflow.reminders.plan import OF_PATIENTS, PATIENT, RANK, Kind, Plan, plan_of
from titrator.workflow.visit import Visit, day_at, day_at_text, instant

CLINIC: Final = "clinic"
#: What has been done stays in a calendar for so many days.
_SHOWN_AFTER: Final = 60
_REFRESH: Final = timedelta(hours=1)
#: A calendar has at most so many entries, the nearest ones.
_MOST: Final = 5000
#: What has a day, of all that is reminded of.
_KINDS: Final = tuple(sorted(RANK.keys() - STANDING_KINDS))
#: What a standing reminder comes of is named so: it is no entry.
_CAUSE: Final = "cause/"


class Feed(NamedTuple):
    """A calendar as text, and what names its version."""

    text: bytes
    etag: str


def feeds(visit: Visit, about: str) -> list[CalendarFeed]:
    """The calendars of a clinic or a patient that have not been revoked."""
    what, _, ident = about.partition("/")
    visit.note("read", f"{about}/calendars", patient=visit.patient(ident) if what == PATIENT else None)
    found = visit.session.find(CalendarFeed, Where("about", "=", about), order=("created_at", "id"))
    return [one for one in found if one.revoked_at is None]


def of_clinic(visit: Visit, clinic_id: str) -> str:
    """What the calendars of a clinic are about; raises Unknown."""
    return f"{CLINIC}/{clinic_of(visit, clinic_id).id}"


def of_patient(visit: Visit, patient_id: str) -> str:
    """What the calendars of a patient are about; raises Unknown."""
    return f"{PATIENT}/{visit.patient(patient_id).id}"


def issue(visit: Visit, about: str, label: str) -> tuple[CalendarFeed, str]:
    """A new calendar, and its secret, which is not shown again.

    Raises Unknown for a patient of another clinic: access in an emergency ends, and an address would not.
    """
    secret = new_secret()
    what, _, ident = about.partition("/")
    patient = visit.own_patient(ident) if what == PATIENT else None
    feed = CalendarFeed(
        sha256=sha256(secret),
        id=new_id(),
        about=about,
        clinic_id=ident if patient is None else patient.clinic_id,
        label=label,
        created_by=visit.who.account_id,
        created_at=instant(visit.now),
        revoked_at=None,
    )
    visit.session.add(feed)
    visit.note("issue-calendar", f"{about}/calendars/{feed.id}", patient=patient, label=label)
    return feed, secret


def revoke(visit: Visit, about: str, feed_id: str) -> None:
    """Have a calendar read by nobody any more; raises Unknown."""
    found = [one for one in feeds(visit, about) if one.id == feed_id]
    if not found:
        raise Unknown("calendar")
    visit.session.change(replace(found[0], revoked_at=instant(visit.now)))
    what, _, ident = about.partition("/")
    patient = visit.patient(ident) if what == PATIENT else None
    visit.note("revoke-calendar", f"{about}/calendars/{feed_id}", patient=patient)


def feed_fields(feed: CalendarFeed) -> dict[str, object]:
    """A calendar as it is told: without its secret."""
    names = ("id", "label", "created_by", "created_at")
    return {name: getattr(feed, name) for name in names}


def base_url(visit: Visit) -> str:
    """What the address of a calendar begins with."""
    return telling_of(visit).base_url


def read(visit: Visit, secret: str) -> Feed:
    """The calendar of a secret; raises Unknown, and does not say whether it has ever been one."""
    feed = visit.session.get(CalendarFeed, sha256(secret))
    if feed is None or feed.revoked_at is not None:
        raise Unknown("calendar")
    what, _, ident = feed.about.partition("/")
    patient = visit.session.get(Patient, ident) if what == PATIENT else None
    if what == PATIENT and (patient is None or not patient.active):
        raise Unknown("calendar")
    clinic = visit.session.get(Clinic, feed.clinic_id if patient is None else patient.clinic_id)
    plan = replace(plan_of(visit.session, cast(Clinic, clinic)), show=frozenset())
    rows = _rows(visit, plan, patient)
    visit.note("read-calendar", f"{feed.about}/calendars/{feed.id}", patient=patient, entries=len(rows))
    made = _calendar(visit, plan, rows, of_patient=patient is not None)
    return Feed(made, sha256(made.decode()))


def _rows(visit: Visit, plan: Plan, patient: Patient | None) -> list[Reminder]:
    """The latest row of each entry, by day: what is open, and what has been done of late, since its day had come.

    What was done with before its day is no entry of that day: it was given early, or the course has ended. Nor is today
    what is not to be done any more, as a dose that is held since this morning. Where there is too much of it, what is
    open from today on comes before what has passed, the nearest first.
    """
    today = day_at(plan.clinic, visit.now)
    since = (date.fromisoformat(today) - timedelta(days=_SHOWN_AFTER)).isoformat()
    mine = [Where("clinic_id", "=", plan.clinic.id), Where("kind", "in", _KINDS)]
    if patient is not None:
        mine = [Where("patient_id", "=", patient.id), Where("kind", "in", tuple(sorted(OF_PATIENTS)))]
    mine.append(Where("event", "is not null"))
    is_open, is_either = Where("status", "in", OPEN), Where("status", "in", (*OPEN, "done"))
    rows: list[Reminder] = []
    for order, *shown in (
        ("remind_on", is_open, Where("remind_on", ">=", today)),
        ("remind_on", Where("status", "=", "done"), Where("remind_on", "=", today)),
        ("-remind_on", is_either, Where("remind_on", "<", today), Where("remind_on", ">=", since)),
    ):
        if (left := _MOST - len(rows)) > 0:
            found = visit.session.find(Reminder, *mine, *shown, order=(order, "patient_id", "kind"), limit=left)
            rows += [row for row in found if _is_entry(visit, plan, row)]
    return sorted(rows, key=lambda row: (row.remind_on, row.patient_id, row.kind))


def _is_entry(visit: Visit, plan: Plan, row: Reminder) -> bool:
    """Whether a row is what a calendar says of its event: the latest of it, and open or done."""
    event = cast(str, row.event)
    if event.startswith(_CAUSE):
        return False
    same = Where("patient_id", "=", row.patient_id), Where("event", "=", event)
    if visit.session.count(Reminder, *same, Where("sequence", ">", row.sequence)):
        return False
    return row.status in OPEN or _is_done(visit, plan, row)


def _is_done(visit: Visit, plan: Plan, row: Reminder) -> bool:
    """Whether a reminder was done once its day had come; today only if something was recorded for it."""
    if row.status != "done" or day_at_text(plan.clinic, row.changed_at) < row.remind_on:
        return False
    if row.remind_on < day_at(plan.clinic, visit.now):
        return True
    noun = cast(str, row.event).partition("/")[0]
    mine = Where("patient_id", "=", row.patient_id), Where("current", "=", 1), Where("status", "!=", "entered-in-error")
    recorded = Where("kind", "=", _RECORDED.get(noun, noun)), Where("day", ">=", row.due_on)
    return visit.session.count(Fact, *mine, *recorded) > 0


#: What is recorded for the events of other names than that.
_RECORDED: Final = {"count": "platelet-count", "follow-up": "platelet-count"}
#: How that is told which was overdue and has been done: nobody is asked to call for it any more.
_ONCE_DONE: Final = {str(Kind.DOSE_OVERDUE): str(Kind.DOSE_DUE), str(Kind.COUNT_OVERDUE): str(Kind.COUNT_DUE)}


def _calendar(visit: Visit, plan: Plan, rows: Iterable[Reminder], *, of_patient: bool) -> bytes:
    calendar = Calendar()
    calendar.add("prodid", "-//titrator//reminders//EN")
    calendar.add("version", "2.0")
    calendar.add("calscale", "GREGORIAN")
    calendar.add("method", "PUBLISH")
    calendar.add("x-wr-calname", plan.clinic.name)
    calendar.add("x-wr-timezone", plan.clinic.time_zone)
    calendar.add("refresh-interval", _REFRESH, parameters={"value": "DURATION"})
    refresh: bytes = vDuration(_REFRESH).to_ical()  # type: ignore[no-untyped-call]
    calendar.add("x-published-ttl", refresh.decode())
    for row in rows:
        calendar.add_component(_event(visit, plan, row, of_patient=of_patient))
    return cast(bytes, calendar.to_ical())


def _event(visit: Visit, plan: Plan, row: Reminder, *, of_patient: bool) -> Event:
    """A day's entry. Its UID is that of the dose or count itself, whatever became of its day."""
    event = Event()
    day = date.fromisoformat(row.remind_on)
    changed = datetime.fromisoformat(row.changed_at)
    event.add("uid", f"{uuid5(NAMESPACE_URL, f'{row.patient_id}/{row.event}')}@titrator")
    event.add("sequence", row.sequence)
    event.add("dtstamp", changed)
    event.add("last-modified", changed)
    event.add("dtstart", day)
    event.add("dtend", day + timedelta(days=1))
    event.add("transp", "TRANSPARENT")
    event.add("status", "CONFIRMED")
    audience = PATIENT if of_patient else STAFF
    told = row if row.status in OPEN else replace(row, kind=_ONCE_DONE.get(row.kind, row.kind))
    subject, body = words(visit, told, plan, audience)
    event.add("summary", subject)
    event.add("description", body)
    if not of_patient:
        event.add("url", link_to(visit, row.patient_id))
    return event
