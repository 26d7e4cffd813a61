"""Reminders: what is due and of whom, who was told; messages that were given up; calendars; where a patient is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from flask import url_for

from schemas.course import ReasonIn
from schemas.reminder import CalendarIn, Contacts, PutOff, RemindersQuery
from schemas.result import WhichClinic
from titrator.security.permissions import Permission
from titrator.store.base import Where
from titrator.store.records import Account, ChannelRow, Patient, Record
from titrator.web.contacts import ContactsForm, addresses
from titrator.web.forms import Day, Form, Lines, Nothing, Text, Versioned
from titrator.web.frame import After, Context, Pages, asked, rendered, version
from titrator.web.language import gettext as _
from titrator.web.language import lazy_gettext as _l
from titrator.web.who import who
from titrator.web.words import ROLES
from titrator.workflow import record
from titrator.workflow.reminders import calendars, manage
from titrator.workflow.reminders.manage import OVERDUE_KINDS, STANDING_KINDS, WhichReminder
from titrator.workflow.visit import Visit, day_at
from titrator.workflow.worklist import settle_first

pages = Pages("reminders")

Fields = dict[str, object]
R = TypeVar("R", bound=Record)

_READ: Final = Permission.READ_PATIENTS
_SEE_TO: Final = Permission.SEE_TO_REMINDERS
_ONE: Final = "/patients/<patient_id>/reminders/<kind>/<due_on>"
_AT_ONCE: Final = 500

KINDS: Final[Mapping[str, Any]] = {
    "re-opened": _l("Decided, then a fact was corrected"),
    "referral": _l("Referred to a prescriber"),
    "no-answer": _l("No next date"),
    "dose-overdue": _l("Dose overdue"),
    "count-overdue": _l("Count overdue"),
    "second-signature": _l("Awaits a second signature"),
    "sign-off": _l("Proposal to sign"),
    "dose-due": _l("Dose due"),
    "hold-re-check": _l("Count due, on hold"),
    "count-due": _l("Count due"),
    "follow-up-count": _l("Count after the end of therapy"),
    "monthly-count": _l("Monthly count due"),
    "weight-due": _l("Weight due"),
    "paused-review": _l("Course paused: look at it"),
    "digest": _l("Summary of the day"),
    "week-plan": _l("Plan of the week"),
    "feed-silent": _l("Laboratory feed silent"),
}
STATES: Final[Mapping[str, Any]] = {
    "open": _l("open"),
    "acknowledged": _l("seen to"),
    "cancelled": _l("cancelled"),
    "done": _l("done"),
}
MESSAGES: Final[Mapping[str, Any]] = {
    "waiting": _l("waits to be sent"),
    "sent": _l("sent"),
    "cancelled": _l("not sent: no longer needed"),
    "dead": _l("given up"),
    "dismissed": _l("given up, and seen to"),
}
_WORDS: Final[Context] = {
    "KINDS": KINDS,
    "STATES": STATES,
    "MESSAGES": MESSAGES,
    "STANDING": STANDING_KINDS,
    "OVERDUE": OVERDUE_KINDS,
}


class PutOffForm(Versioned):
    """Until when, and why."""

    until = Day(_l("Until"))
    reason = Lines(_l("Reason"), render_kw={"maxlength": 2000, "rows": 2})


class CancelForm(Versioned):
    """Why nobody is to be told any more."""

    reason = Lines(_l("Reason"), render_kw={"maxlength": 2000, "rows": 2})


class CalendarForm(Form):
    """For whom a calendar is."""

    label = Text(_l("For whom, or for what"), render_kw={"maxlength": 200})


@pages.page("/reminders", _READ, "reminders.html", before=settle_first)
def reminders(visit: Visit) -> Context:
    """What is to be reminded of, by day, and who was told."""
    query = asked(RemindersQuery)
    page = manage.list_reminders(visit, query)
    mine = record.clinics(visit)
    return {
        **_WORDS,
        **_messages(visit, page.items),
        "query": query,
        "items": page.items,
        "following": None if page.next is None else {**query, "cursor": page.next},
        "clinics": {clinic.id: clinic for clinic in mine},
        "today": {clinic.id: day_at(clinic, visit.now) for clinic in mine},
        "patients": _patients(visit, page.items),
    }


def _messages(visit: Visit, items: Iterable[Fields]) -> Context:
    """The messages about reminders by reminder, and the names of who is told and of the channels."""
    keys = {(str(one["patient"]), str(one["kind"]), str(one["due_on"])) for one in items}
    told = manage.messages_of(visit, keys)
    return {"told": told, **_names(visit, [manage.delivery_fields(one) for some in told.values() for one in some])}


def _names(visit: Visit, messages: Sequence[Fields]) -> Context:
    """Whom messages went to, in words, by recipient; and the labels of the channels."""
    named = {str(one["recipient"]) for one in messages}
    owners = {name.removeprefix("account/") for name in named if name.startswith("account/")}
    accounts = {one.id: one.display_name for one in _all(visit, Account, owners)}
    channels = {one.id: one.label for one in _all(visit, ChannelRow, {str(one["channel"]) for one in messages})}
    return {"recipients": {name: _recipient(name, accounts) for name in named}, "channels": channels}


def _recipient(name: str, accounts: Mapping[str, str]) -> str:
    what, _slash, ident = name.partition("/")
    if what == "role":
        return _("all of the role %(role)s", role=ROLES.get(ident, ident))
    if what == "account":
        return accounts.get(ident, ident)
    return _("the patient") if what == "patient" else _("a system")


def _patients(visit: Visit, items: Iterable[Fields]) -> dict[str, Patient]:
    return {one.id: one for one in _all(visit, Patient, {str(item["patient"]) for item in items if item["patient"]})}


def _all(visit: Visit, record: type[R], idents: Iterable[str]) -> list[R]:
    """The records of some ids."""
    every = sorted(idents)
    parts = [tuple(every[at : at + _AT_ONCE]) for at in range(0, len(every), _AT_ONCE)]
    return [one for part in parts for one in visit.session.find(record, Where("id", "in", part))]


@pages.page("/patients/<patient_id>/reminders", _READ, "reminders_of_patient.html", before=settle_first)
def of_patient(visit: Visit, patient_id: str) -> Context:
    """The reminders of a patient, past ones among them, and who was told."""
    about = who(visit, patient_id)
    items = manage.of_patient(visit, patient_id)
    return {
        **_WORDS,
        **_messages(visit, items),
        "who": about,
        "items": items,
        "clinics": {about.clinic.id: about.clinic},
        "today": {about.clinic.id: about.today},
    }


@pages.deed(f"{_ONE}/acknowledgement", _SEE_TO, Versioned)
def acknowledge(visit: Visit, body: Fields, patient_id: str, kind: str, due_on: str) -> After:
    """Say that one sees to it: nobody else is told."""
    del body
    manage.acknowledge(visit, WhichReminder(patient_id, kind, due_on, version()))
    return After(url_for("web.reminders.reminders"), _("You see to it. Nobody else is told."))


def _which(visit: Visit, form: Form, patient_id: str, kind: str, due_on: str) -> Context:
    row = manage.reminder(visit, patient_id, kind, due_on)
    form.fill([("version", row.version)])
    return {**_WORDS, "who": who(visit, patient_id), "reminder": row}


@pages.form(f"{_ONE}/postponement", _SEE_TO, PutOffForm, PutOff, "reminder_put_off.html", page=_which)
def put_off(visit: Visit, body: dict[str, str], patient_id: str, kind: str, due_on: str) -> After:
    """Have the same people told again, on a day to come."""
    manage.put_off(visit, WhichReminder(patient_id, kind, due_on, version()), body["until"], body.get("reason"))
    return After(url_for("web.reminders.reminders"), _("The reminder is put off."))


@pages.form(f"{_ONE}/cancellation", _SEE_TO, CancelForm, ReasonIn, "reminder_cancel.html", page=_which)
def cancel(visit: Visit, body: dict[str, str], patient_id: str, kind: str, due_on: str) -> After:
    """Have nobody told of it any more; what is due stays due."""
    manage.cancel(visit, WhichReminder(patient_id, kind, due_on, version()), body["reason"])
    return After(url_for("web.reminders.reminders"), _("The reminder is cancelled. What is due stays due."))


@pages.page("/reminders/undelivered", _READ, "undelivered.html")
def undelivered(visit: Visit) -> Context:
    """The messages that were given up, and that nobody has seen to."""
    items = manage.undelivered(visit, asked(WhichClinic).get("clinic"))
    return {
        **_WORDS,
        **_names(visit, items),
        "items": items,
        "clinics": {clinic.id: clinic for clinic in record.clinics(visit)},
        "patients": _patients(visit, items),
    }


@pages.deed("/deliveries/<delivery_id>/retry", _SEE_TO, Nothing)
def retry(visit: Visit, body: Fields, delivery_id: str) -> After:
    """Have a message that was given up tried again."""
    del body
    manage.settle_delivery(visit, delivery_id, again=True)
    return After(url_for("web.reminders.undelivered"), _("The message is tried again."))


@pages.deed("/deliveries/<delivery_id>/dismissal", _SEE_TO, Nothing)
def dismiss(visit: Visit, body: Fields, delivery_id: str) -> After:
    """Say that one has seen to a message that was given up."""
    del body
    manage.settle_delivery(visit, delivery_id, again=False)
    return After(url_for("web.reminders.undelivered"), _("You have seen to it."))


def _calendars(visit: Visit, form: Form, clinic_id: str) -> Context:
    del form
    about = calendars.of_clinic(visit, clinic_id)
    return {"clinic": visit.clinic(clinic_id), "feeds": calendars.feeds(visit, about)}


@pages.form(
    "/clinics/<clinic_id>/calendars",
    Permission.ISSUE_CALENDARS,
    CalendarForm,
    CalendarIn,
    "calendars.html",
    page=_calendars,
    name="calendars",
)
def issue_calendar(visit: Visit, body: dict[str, str], clinic_id: str) -> After:
    """A new address by which the calendar of a clinic can be subscribed to. It is shown this once."""
    feed, secret = calendars.issue(visit, calendars.of_clinic(visit, clinic_id), body["label"])
    where = url_for("web.reminders.calendars", clinic_id=clinic_id)
    told = {
        "title": _("Calendar for %(label)s", label=feed.label),
        "text": _(
            "Subscribe to it in a calendar program. Whoever has the address can read the calendar: of each patient "
            "it has the number and what is due."
        ),
        "label": _("Address"),
        "secret": f"{calendars.base_url(visit)}/calendars/{secret}.ics",
        "until": None,
    }
    return After(where, "", rendered("secret.html", {**told, "where": where}))


@pages.deed("/clinics/<clinic_id>/calendars/<calendar_id>/revocation", Permission.ISSUE_CALENDARS, Nothing)
def revoke_calendar(visit: Visit, body: Fields, clinic_id: str, calendar_id: str) -> After:
    """Have a calendar read by nobody any more."""
    del body
    calendars.revoke(visit, calendars.of_clinic(visit, clinic_id), calendar_id)
    return After(url_for("web.reminders.calendars", clinic_id=clinic_id), _("The calendar has ended."))


def _contacts(visit: Visit, form: Form, patient_id: str) -> Context:
    about = who(visit, patient_id)
    gateways = [one for one in manage.gateways(visit) if one["clinic"] == about.patient.clinic_id]
    stored = manage.contacts_of_patient(visit, patient_id)
    return {"who": about, "lines": addresses(cast(ContactsForm, form), gateways, stored)}


@pages.form(
    "/patients/<patient_id>/contacts",
    Permission.WRITE_PATIENTS,
    ContactsForm,
    Contacts,
    "patient_contacts.html",
    page=_contacts,
)
def contacts(visit: Visit, body: Fields, patient_id: str) -> After:
    """Have a patient told by other gateways of the clinic, or by none."""
    manage.change_contacts_of_patient(visit, patient_id, body)
    said = _("Where the patient is told has been changed.")
    return After(url_for("web.reminders.contacts", patient_id=patient_id), said)
