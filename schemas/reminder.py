"""Reminders, how a clinic is reminded, by which channels, and calendars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import marshmallow as ma

from schemas.clinic import WEEKDAYS
from schemas.fields import Choice, Day, Flag, Instant, Many, Object, Schema, Text, Whole

KINDS: Final = (
    "re-opened",
    "referral",
    "no-answer",
    "dose-overdue",
    "count-overdue",
    "second-signature",
    "sign-off",
    "dose-due",
    "hold-re-check",
    "count-due",
    "follow-up-count",
    "monthly-count",
    "weight-due",
    "paused-review",
)
STATUSES: Final = ("open", "acknowledged", "cancelled", "done")
DELIVERY_STATUSES: Final = ("waiting", "sent", "cancelled", "dead", "dismissed")
AUDIENCES: Final = ("technician", "pharmacist", "prescriber", "ehr", "gateway")
CHANNEL_KINDS: Final = ("apprise", "webhook")
TOLD: Final = ("patient", "technician", "pharmacist", "prescriber")
_MOST = 2**53
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]"
_PACE = {"description": "How many messages a minute it is sent at most."}


class RemindersQuery(Schema):
    """Those that fall on `due_by` or before, of which clinic and kind, and where to go on."""

    due_by = Day()
    clinic = Text()
    kind = Choice(KINDS)
    cursor = Text(longest=100)
    limit = Whole(least=1, most=500, digits=True)


class ReminderOut(Schema):
    """A reminder: `due_on` is since when something is due, `remind_on` the day of the clinic that it falls on.

    `number` is the number by which the clinic knows the patient; `next_at` is when somebody is told next.
    """

    patient = Text(required=True)
    number = Text(required=True, longest=1000)
    clinic = Text(required=True)
    kind = Choice(KINDS, required=True)
    due_on = Day(required=True)
    remind_on = Day(required=True)
    status = Choice(STATUSES, required=True)
    version = Whole(required=True, least=1, most=_MOST)
    next_at = Instant(required=True, allow_none=True)
    changed_by = Text(required=True, allow_none=True)
    reason = Text(required=True, allow_none=True, longest=2000, lines=True)


class Reminders(Schema):
    """A page of reminders, by day."""

    next = Text(required=True, allow_none=True)
    items = Many(Object(ReminderOut), required=True, most=600)


class DeliveryOut(Schema):
    """A message: to whom, by which channel, and what became of it. `patient` is null for one about a whole clinic."""

    id = Text(required=True)
    clinic = Text(required=True)
    patient = Text(required=True, allow_none=True)
    kind = Text(required=True)
    due_on = Day(required=True)
    recipient = Text(required=True)
    channel = Text(required=True)
    status = Choice(DELIVERY_STATUSES, required=True)
    attempts = Whole(required=True, least=0, most=_MOST)
    error = Text(required=True, allow_none=True, longest=400)
    made_at = Instant(required=True)
    sent_at = Instant(required=True, allow_none=True)


class ReminderTold(ReminderOut):
    """A reminder, and to whom it was told."""

    deliveries = Many(Object(DeliveryOut), required=True, most=1000)


class RemindersOfPatient(Schema):
    """The reminders of a patient, the latest first."""

    items = Many(Object(ReminderTold), required=True, most=200)


class PutOff(Schema):
    """Until which day a reminder is put off, by at most 28 days."""

    until = Day(required=True)
    reason = Text(longest=2000, lines=True)


class Undelivered(Schema):
    """Messages that were given up, the oldest first; the first hundred."""

    items = Many(Object(DeliveryOut), required=True)


class StepPart(Schema):
    """Who is told, so many days after the day of the reminder; before it if negative."""

    after_days = Whole(required=True, least=-28, most=60)
    to = Choice(TOLD, required=True)


class ReminderSettingsIn(Schema):
    """How a clinic is reminded; what is left out is as by default. Times are those of the clinic, `HH:MM`.

    Null for `quiet_from` or `quiet_until` is no quiet hours, for `digest_at` no digest. `show` has what messages to
    staff say beside the patient's number and a link.
    """

    language = Text(pattern=r"[a-z]{2,3}(-[A-Z]{2})?", longest=6, shortest=2)
    send_at = Text(pattern=_TIME, longest=5, shortest=5)
    quiet_from = Text(pattern=_TIME, longest=5, shortest=5, allow_none=True)
    quiet_until = Text(pattern=_TIME, longest=5, shortest=5, allow_none=True)
    working_days = Many(Choice(WEEKDAYS), most=7)
    digest_at = Text(pattern=_TIME, longest=5, shortest=5, allow_none=True)
    week_plan = Flag()
    show = Many(Choice(("name", "values")), most=2)
    give_up_hours = Whole(least=1, most=720)
    steps = ma.fields.Dict(keys=Choice(KINDS), values=Many(Object(StepPart), most=8))

    @ma.validates("working_days")
    def some_day(self, value: list[str], **_: Any) -> None:
        """Refuse a clinic that never works: nothing could fall on any day of it."""
        if not value:
            raise ma.ValidationError("must name a day")

    @ma.validates("steps")
    def some_staff(self, value: Mapping[str, list[Mapping[str, Any]]], **_: Any) -> None:
        """Refuse an escalation that reaches no staff, or one and the same twice; of steps that are sound."""
        for kind, steps in value.items():
            told = [step.get("to") for step in steps]
            if None in told:
                continue
            if not set(told) - {"patient"}:
                raise ma.ValidationError({kind: ["must have a step to technician, pharmacist or prescriber"]})
            if len(set(told)) != len(told):
                raise ma.ValidationError({kind: ["must tell each once"]})


class ReminderSettingsOut(Schema):
    """How a clinic is reminded, the defaults among it. `version` is 0 where nothing has been chosen."""

    version = Whole(required=True, least=0, most=_MOST)
    language = Text(required=True)
    send_at = Text(required=True)
    quiet_from = Text(required=True, allow_none=True)
    quiet_until = Text(required=True, allow_none=True)
    working_days = Many(Choice(WEEKDAYS), required=True, most=7)
    digest_at = Text(required=True, allow_none=True)
    week_plan = Flag(required=True)
    show = Many(Choice(("name", "values")), required=True, most=2)
    give_up_hours = Whole(required=True, least=1, most=720)
    steps = ma.fields.Dict(keys=Choice(KINDS), values=Many(Object(StepPart), most=8), required=True)


class ChannelIn(Schema):
    """A channel: to all of a role, to a system (`ehr`, by a webhook), or a `gateway` with `{to}` in its address."""

    audience = Choice(AUDIENCES, required=True)
    kind = Choice(CHANNEL_KINDS, required=True)
    label = Text(required=True)
    address = Text(required=True, longest=2000)
    per_minute = Whole(least=1, most=100_000, metadata=_PACE)


class ChannelChange(Schema):
    """What of a channel is to be another."""

    label = Text()
    address = Text(longest=2000)
    active = Flag()
    per_minute = Whole(least=1, most=100_000, metadata=_PACE)


class ChannelOut(Schema):
    """A channel; of its address no more than scheme and host. `error` is why it rests, if it does."""

    id = Text(required=True)
    version = Whole(required=True, least=1, most=_MOST)
    clinic = Text(required=True)
    audience = Choice(AUDIENCES, required=True)
    kind = Choice(CHANNEL_KINDS, required=True)
    label = Text(required=True)
    address = Text(required=True, longest=2000)
    active = Flag(required=True)
    per_minute = Whole(required=True, least=1, most=100_000)
    failures = Whole(required=True, least=0, most=_MOST)
    rests_until = Instant(required=True, allow_none=True)
    error = Text(required=True, allow_none=True, longest=400)


class ChannelMade(Schema):
    """A new channel, with the secret by which what a webhook is sent is signed. It is shown this once."""

    channel = Object(ChannelOut, required=True)
    secret = Text(required=True, allow_none=True)


class Channels(Schema):
    """The channels of a clinic."""

    items = Many(Object(ChannelOut), required=True, most=10_000)


class ChannelTest(Schema):
    """To whom a gateway is to send a test."""

    to = Text(longest=254)


class ChannelTested(Schema):
    """Whether a test was sent, and why not."""

    sent = Flag(required=True)
    error = Text(required=True, allow_none=True, longest=400)


class GatewayOut(Schema):
    """A gateway, by which single persons are told: by mail, or by SMS, as its scheme says."""

    id = Text(required=True)
    clinic = Text(required=True)
    label = Text(required=True)
    scheme = Text(required=True)


class Gateways(Schema):
    """The gateways of the account's clinics."""

    items = Many(Object(GatewayOut), required=True, most=10_000)


class ContactPart(Schema):
    """A personal address at a gateway."""

    gateway = Text(required=True, longest=64)
    address = Text(required=True, longest=254)


class Contacts(Schema):
    """By which gateways somebody is told, and where; none if empty."""

    items = Many(Object(ContactPart), required=True, most=10)


class CalendarIn(Schema):
    """For whom a calendar is."""

    label = Text(required=True)


class CalendarOut(Schema):
    """A calendar that can be subscribed to."""

    id = Text(required=True)
    label = Text(required=True)
    created_by = Text(required=True)
    created_at = Instant(required=True)


class CalendarMade(CalendarOut):
    """A new calendar; its address is shown this once, and whoever has it can read the calendar.

    Null in an answer that is sent again.
    """

    url = Text(required=True, allow_none=True, longest=1000)


class Calendars(Schema):
    """The calendars that have not been revoked."""

    items = Many(Object(CalendarOut), required=True, most=10_000)
