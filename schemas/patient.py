"""Patients."""

from __future__ import annotations

from schemas.fields import Day, Flag, Many, Object, Schema, Text, Whole

ID = r"[0-9a-f]{20}"


class IdentifierPart(Schema):
    """A number that a system gives a patient or a fact: `system` is a URI, `value` the number."""

    system = Text(required=True)
    value = Text(required=True)


class PatientIn(Schema):
    """A new patient."""

    clinic = Text(required=True, metadata={"description": "Id of a clinic of the account."})
    family_name = Text(required=True)
    given_name = Text(required=True)
    born_on = Day(metadata={"description": "A course cannot be started without it."})
    identifiers = Many(Object(IdentifierPart), most=20)


class PatientChange(Schema):
    """What is to be different. `identifiers` replaces all of them."""

    clinic = Text()
    family_name = Text()
    given_name = Text()
    born_on = Day()
    active = Flag()
    identifiers = Many(Object(IdentifierPart), most=20)
    reason = Text(longest=1000, lines=True)


class PatientOut(Schema):
    """A patient as stored; `revision` counts what was recorded."""

    id = Text(required=True)
    version = Whole(required=True, least=1, most=2**53)
    revision = Whole(required=True, least=0, most=2**53)
    clinic = Text(required=True)
    family_name = Text(required=True)
    given_name = Text(required=True)
    born_on = Day(required=True, allow_none=True)
    active = Flag(required=True)
    identifiers = Many(Object(IdentifierPart), required=True)


class PatientQuery(Schema):
    """Which patients: of a clinic, by identifier (`system|value` or `value`), by words of their names, or by either."""

    clinic = Text()
    identifier = Text(longest=500)
    name = Text()
    text = Text(longest=500, metadata={"description": "An identifier if somebody has it, else words of the name."})
    cursor = Text(metadata={"description": "`next` of the page before."})
    limit = Whole(least=1, most=200, digits=True)


class PatientPage(Schema):
    """A page of patients; `next` is the cursor of the following one, null on the last."""

    items = Many(Object(PatientOut), required=True, most=200)
    next = Text(required=True, allow_none=True)
