"""What is said in a message: by default a patient's number and a link, never a name or a value.

What a delivery says is put together when it is sent, from what holds then.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final, cast

from titrator.notify.base import Message
from titrator.notify.texts import Text, Texts
from titrator.store.base import Where
from titrator.store.records import Delivery, Identifier, Patient, Reminder, Waiting
from titrator.titration.documents import reread
from titrator.titration.quantities import DAYS
from titrator.workflow.errors import Code, Conflict
from titrator.workflow.reminders.plan import PATIENT, Plan
from titrator.workflow.reminders.summaries import SUMMARIES, summary_lines
from titrator.workflow.visit import Telling, Visit, day_at, instant

STAFF: Final = "staff"


def message(visit: Visit, delivery: Delivery, plan: Plan) -> Message:
    """The message of a delivery, in the language of its clinic."""
    if delivery.kind in SUMMARIES:
        (subject, body), data = _summary(visit, delivery, plan)
    else:
        row = cast(Reminder, visit.session.get(Reminder, delivery.about, delivery.kind, delivery.due_on))
        subject, body = words(visit, row, plan, PATIENT if delivery.recipient == PATIENT else STAFF)
        data = _data(visit, row, delivery.step)
    event = {"type": f"reminder.{delivery.kind}", "timestamp": delivery.made_at, "data": data}
    return Message(id=delivery.id, subject=subject, body=body, event=event, at=visit.now)


def test_message(visit: Visit, plan: Plan, ident: str) -> Message:
    """A message that says only that a channel works."""
    values = {"clinic": plan.clinic.name, "link": telling_of(visit).base_url}
    subject, body = _texts(visit, plan).render("test", STAFF, values)
    event = {"type": "reminder.test", "timestamp": instant(visit.now), "data": {"clinic": plan.clinic.id}}
    return Message(id=ident, subject=subject, body=body, event=event, at=visit.now)


def words(visit: Visit, row: Reminder, plan: Plan, audience: str) -> Text:
    """Subject and body of a reminder, for its patient or for staff."""
    texts = _texts(visit, plan)
    values = {
        "clinic": plan.clinic.name,
        "due_on": texts.day(date.fromisoformat(row.due_on)),
        "day": texts.day(date.fromisoformat(row.remind_on)),
    }
    if audience == STAFF:
        late = DAYS[day_at(plan.clinic, visit.now)] - DAYS[row.due_on]
        values |= {
            "number": number_of(visit, row.patient_id),
            "link": link_to(visit, row.patient_id),
            "overdue_days": str(max(0, late)),
            "details": _details(visit, row.patient_id, plan),
        }
    return texts.render(row.kind, audience, values)


def number_of(visit: Visit, patient_id: str) -> str:
    """The number by which a clinic knows a patient: the first identifier, else the id here."""
    found = visit.session.find(Identifier, Where("patient_id", "=", patient_id), order=("system", "value"), limit=1)
    return found[0].value if found else patient_id


def link_to(visit: Visit, patient_id: str) -> str:
    """Where more is to be seen of a patient, by who may."""
    return f"{telling_of(visit).base_url}/patients/{patient_id}"


def _data(visit: Visit, row: Reminder, step: int) -> dict[str, object]:
    return {
        "patient": row.patient_id,
        "number": number_of(visit, row.patient_id),
        "clinic": row.clinic_id,
        "kind": row.kind,
        "due_on": row.due_on,
        "remind_on": row.remind_on,
        "step": step,
        "link": link_to(visit, row.patient_id),
    }


def _summary(visit: Visit, delivery: Delivery, plan: Plan) -> tuple[Text, dict[str, object]]:
    texts, lines = _texts(visit, plan), summary_lines(visit, delivery.kind, plan, delivery.due_on)
    values = {
        "clinic": plan.clinic.name,
        "day": texts.day(date.fromisoformat(delivery.due_on)),
        "lines": "\n".join(lines),
        "link": f"{telling_of(visit).base_url}/worklist",
    }
    data: dict[str, object] = {"clinic": plan.clinic.id, "kind": delivery.kind, "day": delivery.due_on, "lines": lines}
    return texts.render(delivery.kind, STAFF, values), data


def _details(visit: Visit, patient_id: str, plan: Plan) -> str:
    """The name and the last values of a patient, as far as a clinic lets messages say them."""
    said = []
    patient = visit.session.get(Patient, patient_id)
    if "name" in plan.show and patient is not None:
        said.append(f"{patient.family_name}, {patient.given_name}")
    line = visit.session.get(Waiting, patient_id)
    if "values" in plan.show and line is not None:
        told = cast("Mapping[str, object]", reread(line.line))
        dose = cast("Mapping[str, object] | None", told["dose"])
        if told["action"] is not None:
            said.append(f"proposed: {told['action']}")
        if dose is not None:
            said.append(f"{dose['delivered_micrograms']} micrograms ({dose['micrograms_per_kg']} micrograms/kg)")
    return "; ".join(said)


def _texts(visit: Visit, plan: Plan) -> Texts:
    return telling_of(visit).texts(plan.language)


def telling_of(visit: Visit) -> Telling:
    """What is needed to tell somebody something; raises Conflict where there is nothing of it."""
    if visit.services.telling is None:
        raise Conflict(Code.NO_CHANNELS, "This installation tells nobody anything.")
    return visit.services.telling
