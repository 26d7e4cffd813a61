"""Imports: a table that was sent, and how far it is."""

from __future__ import annotations

import marshmallow as ma

from schemas.fields import Choice, Flag, Instant, Many, Object, Schema, Text, Whole

_MOST = 2**53


class ImportMapping(Schema):
    """How a table is read. What is left out is guessed, and taken only with `accept_guesses`."""

    source = Text(longest=60, pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*")
    system = Text()
    clinic = Text()
    columns = ma.fields.Dict(keys=Text(), values=Text())
    units = ma.fields.Dict(keys=Text(), values=Text())
    dates = Choice(("dmy", "mdy"))
    decimal = Choice(("point", "comma"))
    protocol = Text()
    course = Flag()
    sheet = Text()
    encoding = Text()
    delimiter = Text(longest=1)
    accept_guesses = Flag()


class ImportToVerify(Schema):
    """A row of which something waits to be verified."""

    line = Whole(required=True, least=1, most=_MOST)
    patient = Text(required=True)
    asked = Many(Text(), required=True)


class ImportReport(Schema):
    """What an import did so far."""

    rows = Whole(required=True, least=0, most=_MOST)
    refused = Whole(required=True, least=0, most=_MOST)
    patients = Whole(required=True, least=0, most=_MOST)
    new_patients = Whole(required=True, least=0, most=_MOST)
    refused_patients = Whole(required=True, least=0, most=_MOST)
    courses = Whole(required=True, least=0, most=_MOST)
    known = Whole(required=True, least=0, most=_MOST)
    recorded = ma.fields.Dict(keys=Text(), values=Whole(least=0, most=_MOST), required=True)
    unverified = ma.fields.Dict(keys=Text(), values=Whole(least=0, most=_MOST), required=True)
    to_verify = Many(Object(ImportToVerify), required=True)


class ImportOut(Schema):
    """An import: what was sent, and how far it is."""

    id = Text(required=True)
    status = Choice(("waiting", "running", "done", "failed", "cancelled"), required=True)
    file_name = Text(required=True)
    sha256 = Text(required=True)
    source = Text(required=True)
    rows = Whole(required=True, allow_none=True, least=0, most=_MOST)
    patients = Whole(required=True, allow_none=True, least=0, most=_MOST)
    report = Object(ImportReport, required=True)
    faults = Many(Text(longest=1000), required=True)
    made_by = Text(required=True)
    made_at = Instant(required=True)
    ended_at = Instant(required=True, allow_none=True)


class Imports(Schema):
    """The last imports, the newest first."""

    items = Many(Object(ImportOut), required=True)
