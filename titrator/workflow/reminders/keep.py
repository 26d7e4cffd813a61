"""The rows of reminders: made, moved and closed in the transaction that keeps where a patient stands.

1. what is wanted and has a row stays as it is; a row whose day at the clinic has changed is told on the new one, and
   what another clinic has made is made anew
2. what is wanted and has none gets one: told at its first step, or at once where that has passed
3. what is no longer wanted is done, and what has not been told of it is not told any more
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from titrator.store.base import Session, Where
from titrator.store.records import Delivery, Patient, Reminder
from titrator.workflow.reminders.plan import Plan
from titrator.workflow.reminders.wanted import OVERDUE, Wanted
from titrator.workflow.visit import Visit, day_at, instant, instant_or_none

OPEN: Final = ("open", "acknowledged")
_AT_ONCE: Final = 5000


def keep_reminders(visit: Visit, patient: Patient, some: Iterable[Wanted], plan: Plan) -> None:
    """Make the reminders of a patient those that are wanted."""
    mine = Where("patient_id", "=", patient.id)
    before = {(row.kind, row.due_on): row for row in visit.session.find(Reminder, mine, Where("status", "in", OPEN))}
    kinds = {row.kind: row for row in before.values()}
    stay: set[tuple[str, str]] = set()
    new: list[Reminder] = []
    for one in (_anchored(one, kinds, visit.today(patient)) for one in some):
        row = before.get((one.kind, one.due_on))
        if row is None or row.clinic_id != patient.clinic_id:  # another clinic tells it anew
            new += [made] if (made := _made(visit, patient, one, plan)) is not None else []
        else:
            stay.add((row.kind, row.due_on))
            if row.remind_on != one.remind_on:
                visit.session.change(_moved(visit, row, one.remind_on, plan))
    for key, row in before.items():
        if key not in stay:
            close(visit, row, "done")
    if new:
        visit.session.put(*new)


def _anchored(one: Wanted, rows: Mapping[str, Reminder], today: str) -> Wanted:
    """What has no day of its own, with the day since which there is a row of it; overdue once that has passed."""
    late = OVERDUE.get(one.kind)
    row = rows.get(one.kind) or rows.get(late or "")
    if not one.floating or row is None:
        return one
    is_late = late is not None and row.remind_on < today
    return one._replace(kind=late if late and is_late else one.kind, due_on=row.due_on, remind_on=row.remind_on)


def close(visit: Visit, row: Reminder, status: str, by: str | None = None, reason: str | None = None) -> Reminder:
    """End a reminder, and what has not been told of it; raises Stale."""
    at = instant(visit.now)
    new = replace(
        row, version=row.version + 1, status=status, next_at=None, changed_at=at, changed_by=by, reason=reason
    )
    visit.session.change(new, Where("version", "=", row.version))
    untell(visit, row)
    return new


def untell(visit: Visit, row: Reminder) -> None:
    """Tell nobody any more who has not been told of a reminder yet."""
    same = [Where(name, "=", value) for name, value in zip(_KEY, (row.patient_id, row.kind, row.due_on), strict=True)]
    visit.session.claim(Delivery, {"status": "cancelled"}, *same, Where("status", "=", "waiting"))


_KEY: Final = ("about", "kind", "due_on")


def _made(visit: Visit, patient: Patient, one: Wanted, plan: Plan) -> Reminder | None:
    """A new row; or the one that was done with, where the same is wanted again: it is told again."""
    now = instant(visit.now)
    step, next_at = first_telling(plan, one.kind, one.remind_on, visit.now)
    known = visit.session.get(Reminder, patient.id, one.kind, one.due_on)
    if known is not None and known.status == "cancelled":  # by a person, who knew why
        return None
    return Reminder(
        patient_id=patient.id,
        kind=one.kind,
        due_on=one.due_on,
        version=1 if known is None else known.version + 1,
        clinic_id=patient.clinic_id,
        remind_on=one.remind_on,
        status="open",
        event=one.event,
        sequence=_sequence(visit, patient, one.event),
        round=0 if known is None else known.round + 1,
        step=step,
        next_at=instant_or_none(next_at),
        made_at=now,
        changed_at=now,
        changed_by=None,
        reason=None,
    )


def first_telling(plan: Plan, kind: str, remind_on: str, now: datetime) -> tuple[int, datetime | None]:
    """Which step is told first, and when; what was to be told before the day is left out once the day has come."""
    today = day_at(plan.clinic, now)
    steps = plan.steps[kind]
    step = next((i for i, one in enumerate(steps) if one.after_days >= 0 or today < remind_on), len(steps))
    at = plan.told_at(kind, step, remind_on)
    return step, at if at is None or at > now else plan.not_quiet(now)


def _moved(visit: Visit, row: Reminder, remind_on: str, plan: Plan) -> Reminder:
    next_at = row.next_at
    if next_at is not None:
        told_at = plan.told_at(row.kind, row.step, remind_on)
        next_at = instant_or_none(told_at)
    return replace(
        row,
        version=row.version + 1,
        remind_on=remind_on,
        sequence=row.sequence + 1,
        next_at=next_at,
        changed_at=instant(visit.now),
    )


def _sequence(visit: Visit, patient: Patient, event: str | None) -> int:
    """The number of the next version of an event in a calendar."""
    if event is None:
        return 0
    same = Where("patient_id", "=", patient.id), Where("event", "=", event)
    found = visit.session.find(Reminder, *same, order=("-sequence",), limit=1)
    return found[0].sequence + 1 if found else 0


def unsettle_clinic(session: Session, clinic_id: str) -> None:
    """Have all patients of a clinic gone through anew, some at a time: their rows are not held all at once."""
    mine = Where("clinic_id", "=", clinic_id), Where("settled", "=", 1)
    while session.claim(Patient, {"settled": 0}, *mine, order=("id",), limit=_AT_ONCE):
        pass
