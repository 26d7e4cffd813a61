"""Clinics for administrators: when they are open, and the channels by which they are told."""

from __future__ import annotations

from typing import Any, Final

from flask import flash, url_for

from schemas.clinic import ClinicIn
from schemas.reminder import ChannelTest
from titrator.security.permissions import Permission
from titrator.titration.errors import Fault
from titrator.web.forms import Choices, Form, Lines, Text, Versioned
from titrator.web.frame import After, Context, Pages, version
from titrator.web.language import gettext as _
from titrator.web.language import lazy_gettext as _l
from titrator.workflow import record
from titrator.workflow.reminders import manage
from titrator.workflow.visit import Visit

pages = Pages("clinics")

_MANAGE: Final = Permission.MANAGE_CLINICS
WEEKDAYS: Final[dict[str, Any]] = {
    "monday": _l("Monday"),
    "tuesday": _l("Tuesday"),
    "wednesday": _l("Wednesday"),
    "thursday": _l("Thursday"),
    "friday": _l("Friday"),
    "saturday": _l("Saturday"),
    "sunday": _l("Sunday"),
}
AUDIENCES: Final[dict[str, Any]] = {
    "technician": _l("all technicians"),
    "pharmacist": _l("all pharmacists"),
    "prescriber": _l("all prescribers"),
    "ehr": _l("a system"),
    "gateway": _l("single persons, each at an own address"),
}


class ClinicForm(Versioned):
    """A clinic; the holidays a line each."""

    name = Text(_l("Name"), render_kw={"maxlength": 200})
    time_zone = Text(_l("Time zone"), render_kw={"maxlength": 200, "spellcheck": "false"})
    injection_days = Choices(_l("Injection days (nothing ticked: any)"), choices=WEEKDAYS.items())
    holidays = Lines(_l("Holidays"), render_kw={"rows": 6, "spellcheck": "false"})

    def body(self) -> tuple[dict[str, Any], list[Fault]]:
        """The clinic, with its holidays as days."""
        body, faults = super().body()
        return {**body, "holidays": str(body.get("holidays", "")).split()}, faults


class TestForm(Form):
    """To whom a gateway is to send a test."""

    to = Text(_l("To whom"), render_kw={"maxlength": 254, "autocomplete": "off"})


@pages.page("/clinics", _MANAGE, "clinics.html")
def clinics(visit: Visit) -> Context:
    """All clinics."""
    return {"clinics": record.clinics(visit), "WEEKDAYS": WEEKDAYS}


def _nothing(visit: Visit, form: Form) -> Context:
    del visit, form
    return {"clinic": None}


@pages.form("/clinics/new", _MANAGE, ClinicForm, ClinicIn, "clinic.html", page=_nothing)
def new(visit: Visit, body: dict[str, object]) -> After:
    """A new clinic."""
    made = record.add_clinic(visit, body)
    return After(url_for("web.clinics.clinics"), _("The clinic %(name)s is there.", name=made.name))


def _as_it_is(visit: Visit, form: Form, clinic_id: str) -> Context:
    clinic = visit.clinic(clinic_id)
    form.fill(
        [
            ("version", clinic.version),
            ("name", clinic.name),
            ("time_zone", clinic.time_zone),
            ("injection_days", list(clinic.injection_days)),
            ("holidays", "\n".join(clinic.holidays)),
        ]
    )
    return {"clinic": clinic}


@pages.form("/clinics/<clinic_id>", _MANAGE, ClinicForm, ClinicIn, "clinic.html", page=_as_it_is)
def change(visit: Visit, body: dict[str, object], clinic_id: str) -> After:
    """A clinic with other settings."""
    changed = record.change_clinic(visit, clinic_id, body, version())
    return After(url_for("web.clinics.clinics"), _("The clinic %(name)s has been changed.", name=changed.name))


@pages.page("/clinics/<clinic_id>/channels", _MANAGE, "channels.html")
def channels(visit: Visit, clinic_id: str) -> Context:
    """The channels of a clinic; of their addresses no more than scheme and host."""
    rows = manage.channels(visit, clinic_id)
    return {
        "clinic": visit.clinic(clinic_id),
        "channels": [manage.channel_fields(row) for row in rows],
        "AUDIENCES": AUDIENCES,
    }


def _channel(visit: Visit, form: Form, clinic_id: str, channel_id: str) -> Context:
    del form
    row = manage.channel(visit, clinic_id, channel_id)
    return {"clinic": visit.clinic(clinic_id), "channel": manage.channel_fields(row), "AUDIENCES": AUDIENCES}


@pages.form(
    "/clinics/<clinic_id>/channels/<channel_id>/test",
    _MANAGE,
    TestForm,
    ChannelTest,
    "channel_test.html",
    page=_channel,
    stores=False,
)
def test(visit: Visit, body: dict[str, str], clinic_id: str, channel_id: str) -> After:
    """Send a message that says only that the channel works."""
    where = url_for("web.clinics.channels", clinic_id=clinic_id)
    error = manage.test_channel(visit, clinic_id, channel_id, body.get("to"))
    if error is None:
        return After(where, _("The test was sent."))
    flash(_("The test was not sent: %(error)s", error=error), "danger")
    return After(where)
