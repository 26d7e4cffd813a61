"""The protocols that an installation has."""

from __future__ import annotations

from schemas.fields import Flag, Many, Object, Schema, Text


class ProtocolOut(Schema):
    """A protocol: which source, which edition, which file to the byte."""

    id = Text(required=True)
    title = Text(required=True)
    indication = Text(required=True)
    status = Text(required=True)
    edition = Text(required=True)
    source = Text(required=True)
    url = Text(required=True, longest=2000)
    reviewed_by = Text(required=True, allow_none=True)
    eligibility = Many(Text(), required=True)
    sha256 = Text(required=True)
    shipped = Flag(required=True)


class ProtocolRefused(Schema):
    """A protocol file that cannot be used, and why."""

    id = Text(required=True)
    fault = Text(required=True, longest=100_000)


class Protocols(Schema):
    """The protocols that can be used, and those that cannot."""

    items = Many(Object(ProtocolOut), required=True, most=10_000)
    refused = Many(Object(ProtocolRefused), required=True, most=10_000)
