"""The audit trail."""

from __future__ import annotations

import marshmallow as ma

from schemas.fields import Instant, Many, Object, Schema, Text, Whole


class AuditEntry(Schema):
    """Who did what, when and why. `detail` has old and new values."""

    chain = Text(required=True)
    seq = Whole(required=True, least=1, most=2**53)
    at = Instant(required=True)
    account = Text(required=True, allow_none=True)
    role = Text(required=True, allow_none=True)
    action = Text(required=True)
    subject = Text(required=True)
    clinic = Text(required=True, allow_none=True)
    request = Text(required=True, allow_none=True)
    detail = ma.fields.Dict(required=True)
    mac = Text(required=True)


class AuditPage(Schema):
    """A page of a chain; `next` goes into `after` for the following one."""

    items = Many(Object(AuditEntry), required=True, most=1000)
    next = Whole(required=True, allow_none=True, least=1, most=2**53)


class AuditQuery(Schema):
    """Which chain: that of a patient by id, else the system's."""

    patient = Text()
    after = Whole(least=0, most=999_999_999, digits=True)
    limit = Whole(least=1, most=1000, digits=True)
