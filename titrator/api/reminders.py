"""Reminders: seen and seen to; messages that could not be delivered; calendars to subscribe to."""

from __future__ import annotations

from typing import Final, cast

from flask import Blueprint as PlainBlueprint
from flask import Response, g, request

from schemas.course import ReasonIn
from schemas.reminder import (
    CalendarIn,
    CalendarMade,
    Calendars,
    Contacts,
    DeliveryOut,
    PutOff,
    ReminderOut,
    Reminders,
    RemindersOfPatient,
    RemindersQuery,
    Undelivered,
)
from schemas.result import WhichClinic
from titrator.api.blueprint import Blueprint
from titrator.api.wire import etag, if_match
from titrator.door import count_nobody, reading
from titrator.security.permissions import Permission
from titrator.security.scopes import CLOSED
from titrator.store.records import Reminder
from titrator.workflow.reminders import calendars, manage
from titrator.workflow.reminders.manage import WhichReminder
from titrator.workflow.visit import Visit
from titrator.workflow.worklist import settle_first

blueprint = Blueprint("reminders", __name__, description="What is due and of whom, and who was told of it.")
subscriptions = PlainBlueprint("subscriptions", __name__)

Fields = dict[str, object]
Answer = tuple[Fields, dict[str, str]]
_PATIENT: Final = "/patients/<patient_id>"
_ONE: Final = f"{_PATIENT}/reminders/<kind>/<due_on>"


@blueprint.operation(
    "GET",
    "/reminders",
    Permission.READ_PATIENTS,
    "Task.s Patient.s",
    query=RemindersQuery,
    gives=Reminders,
    before=settle_first,
)
def list_reminders(visit: Visit, query: Fields) -> Fields:
    """What is to be reminded of, by day."""
    page = manage.list_reminders(visit, query)
    return {"next": page.next, "items": page.items}


@blueprint.operation(
    "GET", f"{_PATIENT}/reminders", Permission.READ_PATIENTS, "Task.s Patient.r", gives=RemindersOfPatient
)
def reminders_of_patient(visit: Visit, patient_id: str) -> Fields:
    """The reminders of a patient, past ones among them, and to whom each was told."""
    return {"items": manage.of_patient(visit, patient_id)}


@blueprint.operation(
    "POST",
    f"{_ONE}/acknowledgement",
    Permission.SEE_TO_REMINDERS,
    "Task.u Task.r Patient.r",
    gives=ReminderOut,
    versioned=True,
)
def acknowledge_reminder(visit: Visit, patient_id: str, kind: str, due_on: str) -> Answer:
    """Say that one sees to a reminder: nobody else is told of it."""
    return _sent(visit, manage.acknowledge(visit, WhichReminder(patient_id, kind, due_on, if_match())))


@blueprint.operation(
    "POST",
    f"{_ONE}/postponement",
    Permission.SEE_TO_REMINDERS,
    "Task.u Task.r Patient.r",
    body=PutOff,
    gives=ReminderOut,
    versioned=True,
)
def put_off_reminder(visit: Visit, body: dict[str, str], patient_id: str, kind: str, due_on: str) -> Answer:
    """Put a reminder off: the same people are told again, on a day to come."""
    which = WhichReminder(patient_id, kind, due_on, if_match())
    return _sent(visit, manage.put_off(visit, which, body["until"], body.get("reason")))


@blueprint.operation(
    "POST",
    f"{_ONE}/cancellation",
    Permission.SEE_TO_REMINDERS,
    "Task.u Task.r Patient.r",
    body=ReasonIn,
    gives=ReminderOut,
    versioned=True,
)
def cancel_reminder(visit: Visit, body: dict[str, str], patient_id: str, kind: str, due_on: str) -> Answer:
    """Cancel a reminder: nobody is told of it any more. What is due stays due."""
    which = WhichReminder(patient_id, kind, due_on, if_match())
    return _sent(visit, manage.cancel(visit, which, body["reason"]))


def _sent(visit: Visit, row: Reminder) -> Answer:
    return manage.reminder_fields(visit, row), etag(row.version)


@blueprint.operation(
    "GET", "/deliveries/undelivered", Permission.READ_PATIENTS, "Task.s Patient.s", query=WhichClinic, gives=Undelivered
)
def list_undelivered(visit: Visit, query: dict[str, str]) -> Fields:
    """The messages that were given up, and that nobody has seen to."""
    return {"items": manage.undelivered(visit, query.get("clinic"))}


@blueprint.operation(
    "POST", "/deliveries/<delivery_id>/retry", Permission.SEE_TO_REMINDERS, "Task.u Task.r", gives=DeliveryOut
)
def retry_delivery(visit: Visit, delivery_id: str) -> Fields:
    """Have a message that was given up tried again."""
    return manage.delivery_fields(manage.settle_delivery(visit, delivery_id, again=True))


@blueprint.operation(
    "POST", "/deliveries/<delivery_id>/dismissal", Permission.SEE_TO_REMINDERS, "Task.u Task.r", gives=DeliveryOut
)
def dismiss_delivery(visit: Visit, delivery_id: str) -> Fields:
    """Say that one has seen to a message that was given up."""
    return manage.delivery_fields(manage.settle_delivery(visit, delivery_id, again=False))


@blueprint.operation("GET", f"{_PATIENT}/contacts", Permission.READ_PATIENTS, "Patient.r", gives=Contacts)
def contacts_of_patient(visit: Visit, patient_id: str) -> Fields:
    """By which gateways a patient is told, and where."""
    return {"items": manage.contacts_of_patient(visit, patient_id)}


@blueprint.operation(
    "PUT", f"{_PATIENT}/contacts", Permission.WRITE_PATIENTS, "Patient.u", body=Contacts, gives=Contacts
)
def change_contacts_of_patient(visit: Visit, body: Fields, patient_id: str) -> Fields:
    """Have a patient told by other gateways, or by none."""
    return {"items": manage.change_contacts_of_patient(visit, patient_id, body)}


def _calendars_of(path: str, variable: str, noun: str) -> None:
    """The routes of the calendars of a clinic or a patient."""
    about = calendars.of_clinic if noun == "clinic" else calendars.of_patient

    def list_them(visit: Visit, **where: str) -> Fields:
        return {"items": [calendars.feed_fields(one) for one in calendars.feeds(visit, about(visit, where[variable]))]}

    def issue(visit: Visit, body: dict[str, str], **where: str) -> Fields:
        feed, secret = calendars.issue(visit, about(visit, where[variable]), body["label"])
        return {**calendars.feed_fields(feed), "url": f"{calendars.base_url(visit)}/calendars/{secret}.ics"}

    def revoke(visit: Visit, calendar_id: str, **where: str) -> str:
        calendars.revoke(visit, about(visit, where[variable]), calendar_id)
        return ""

    list_them.__doc__ = f"The calendars of a {noun} that have not been revoked."
    issue.__doc__ = f"A new address, by which the calendar of a {noun} can be subscribed to."
    revoke.__doc__ = f"Have a calendar of a {noun} read by nobody any more."
    operation, right = blueprint.operation, Permission.ISSUE_CALENDARS
    operation("GET", path, right, CLOSED, gives=Calendars, name=f"list_calendars_of_{noun}")(list_them)
    made = operation(
        "POST", path, right, CLOSED, body=CalendarIn, gives=CalendarMade, status=201, name=f"calendar_of_{noun}"
    )
    made(issue)
    one = f"{path}/<calendar_id>"
    operation("DELETE", one, right, CLOSED, gives=None, status=204, name=f"revoke_calendar_of_{noun}")(revoke)


_calendars_of("/clinics/<clinic_id>/calendars", "clinic_id", "clinic")
_calendars_of(f"{_PATIENT}/calendars", "patient_id", "patient")


@subscriptions.get("/calendars/<secret>.ics")
def calendar(secret: str) -> Response:
    """The calendar of a secret, which is all that allows it."""
    count_nobody()
    g.actor = None
    with reading(None) as visit:
        feed = calendars.read(visit, secret)
    response = Response(feed.text, content_type="text/calendar; charset=utf-8")
    response.headers["Cache-Control"] = "private, max-age=900"
    response.set_etag(feed.etag)
    return cast(Response, response.make_conditional(request))
