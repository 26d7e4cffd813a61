"""How a clinic is reminded: its settings, its channels, and where each account is told."""

from __future__ import annotations

from schemas.reminder import (
    ChannelChange,
    ChannelIn,
    ChannelMade,
    ChannelOut,
    Channels,
    ChannelTest,
    ChannelTested,
    Contacts,
    Gateways,
    ReminderSettingsIn,
    ReminderSettingsOut,
)
from titrator.api.blueprint import Blueprint
from titrator.api.wire import etag, if_match
from titrator.security.permissions import Permission
from titrator.security.scopes import CLOSED
from titrator.workflow.reminders import manage
from titrator.workflow.reminders.plan import settings_fields
from titrator.workflow.visit import Visit

blueprint = Blueprint("channels", __name__, description="How a clinic is reminded, and by which channels.")

Fields = dict[str, object]
Answer = tuple[Fields, dict[str, str]]
_SETTINGS = "/clinics/<clinic_id>/reminder-settings"
_CHANNELS = "/clinics/<clinic_id>/channels"
_ONE = f"{_CHANNELS}/<channel_id>"


@blueprint.operation("GET", _SETTINGS, Permission.READ_CLINICS, "Organization.r", gives=ReminderSettingsOut)
def get_reminder_settings(visit: Visit, clinic_id: str) -> Answer:
    """How a clinic is reminded."""
    plan = manage.settings(visit, clinic_id)
    return settings_fields(plan), etag(plan.version)


@blueprint.operation(
    "PUT",
    _SETTINGS,
    Permission.MANAGE_CLINICS,
    "Organization.u",
    body=ReminderSettingsIn,
    gives=ReminderSettingsOut,
    versioned=True,
)
def change_reminder_settings(visit: Visit, body: Fields, clinic_id: str) -> Answer:
    """Have a clinic reminded otherwise, in all that is not told yet."""
    plan = manage.change_settings(visit, clinic_id, body, if_match())
    return settings_fields(plan), etag(plan.version)


@blueprint.operation("GET", _CHANNELS, Permission.MANAGE_CLINICS, CLOSED, gives=Channels)
def list_channels(visit: Visit, clinic_id: str) -> Fields:
    """The channels of a clinic."""
    return {"items": [manage.channel_fields(one) for one in manage.channels(visit, clinic_id)]}


@blueprint.operation(
    "POST", _CHANNELS, Permission.MANAGE_CLINICS, CLOSED, body=ChannelIn, gives=ChannelMade, status=201
)
def add_channel(visit: Visit, body: Fields, clinic_id: str) -> Answer:
    """A new channel of a clinic."""
    channel, secret = manage.add_channel(visit, clinic_id, body)
    where = f"/api/v1/clinics/{clinic_id}/channels/{channel.id}"
    return {"channel": manage.channel_fields(channel), "secret": secret}, {**etag(1), "Location": where}


@blueprint.operation("GET", _ONE, Permission.MANAGE_CLINICS, CLOSED, gives=ChannelOut)
def get_channel(visit: Visit, clinic_id: str, channel_id: str) -> Answer:
    """A channel."""
    channel = manage.channel(visit, clinic_id, channel_id)
    return manage.channel_fields(channel), etag(channel.version)


@blueprint.operation(
    "PATCH", _ONE, Permission.MANAGE_CLINICS, CLOSED, body=ChannelChange, gives=ChannelOut, versioned=True
)
def change_channel(visit: Visit, body: Fields, clinic_id: str, channel_id: str) -> Answer:
    """A channel with another label, address or pace, or in use or not. One that rests is tried again at once."""
    channel = manage.change_channel(visit, clinic_id, channel_id, body, if_match())
    return manage.channel_fields(channel), etag(channel.version)


@blueprint.operation(
    "POST", f"{_ONE}/test", Permission.MANAGE_CLINICS, CLOSED, body=ChannelTest, gives=ChannelTested, stores=False
)
def test_channel(visit: Visit, body: dict[str, str], clinic_id: str, channel_id: str) -> Fields:
    """Send a message that says only that the channel works."""
    error = manage.test_channel(visit, clinic_id, channel_id, body.get("to"))
    return {"sent": error is None, "error": error}


@blueprint.operation("GET", "/gateways", Permission.OWN_ACCOUNT, CLOSED, gives=Gateways)
def list_gateways(visit: Visit) -> Fields:
    """The gateways of the account's clinics, by which single persons can be told."""
    return {"items": manage.gateways(visit)}


@blueprint.operation("GET", "/me/contacts", Permission.OWN_ACCOUNT, CLOSED, gives=Contacts)
def own_contacts(visit: Visit) -> Fields:
    """By which gateways the account that asks is told, and where."""
    return {"items": manage.own_contacts(visit)}


@blueprint.operation("PUT", "/me/contacts", Permission.OWN_ACCOUNT, CLOSED, body=Contacts, gives=Contacts)
def change_own_contacts(visit: Visit, body: Fields) -> Fields:
    """Have the account that asks told by other gateways, or by none."""
    return {"items": manage.change_own_contacts(visit, body)}
