"""The rows of reminders: made, moved and closed in the transaction that keeps where a patient stands.

1. what is wanted and has a row stays as it is; a row whose day at the clinic has changed is told on the new one, to
   whom the old one was told, too; what another clinic has made is made anew, and what a clinic has chosen since about
   when to tell holds for what is not told yet
2. what is wanted and has none gets one: told at its first step, or at once where that has passed
3. what is no longer wanted is done, and what has not been told of it is not told any more
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from titrator.store.base import Session, Where
from titrator.store.records import Delivery, Patient, Reminder
from titrator.workflow.reminders.days import plus, working_day
from titrator.workflow.reminders.plan import ACKNOWLEDGED_FOR, INSISTENT, PATIENT, Plan
from titrator.workflow.reminders.wanted import OVERDUE, Wanted
from titrator.workflow.visit import Visit, day_at, day_at_text, instant, instant_or_none

OPEN: Final = ("open", "acknowledged")


def keep_reminders(visit: Visit, patient: Patient, some: Iterable[Wanted], plan: Plan) -> list[Reminder]:
    """Make the reminders of a patient those that are wanted; but for new ones, which are still to be put."""
    mine = Where("patient_id", "=", patient.id)
    ever = bool(visit.session.find(Reminder, mine, limit=1))
    rows = visit.session.take(Reminder, mine, Where("status", "in", OPEN), order=Reminder.KEY) if ever else []
    before = {(row.kind, row.due_on): row for row in rows}
    stay: set[tuple[str, str]] = set()
    new: list[Reminder] = []
    for one in (_anchored(visit, one, list(before.values()), plan, patient) if ever else one for one in some):
        row = before.get((one.kind, one.due_on))
        if row is None or row.clinic_id != patient.clinic_id or (one.floating and row.event != one.event):
            # of another clinic, or for another cause: told anew
            new += [made] if (made := _made(visit, patient, one, plan, ever=ever)) is not None else []
        else:
            stay.add((row.kind, row.due_on))
            row = _unacknowledged(visit, row, plan)
            changed = _replanned(visit, row, plan) if row.remind_on == one.remind_on else _moved(visit, row, one, plan)
            if changed != before[row.kind, row.due_on]:
                visit.session.change(replace(changed, version=row.version + 1, changed_at=instant(visit.now)))
    for key, row in before.items():
        if key not in stay:
            close(visit, row, "done")
    return new


def _anchored(visit: Visit, one: Wanted, rows: Iterable[Reminder], plan: Plan, patient: Patient) -> Wanted:
    """What has no day of its own, with the day since which there is a row of it; overdue once that has passed.

    The row may be one that a person has cancelled, but none that was due on a day to come: it is due now. A day to come
    on which the clinic is closed is none.
    """
    if not one.floating:
        return one
    late, today = OVERDUE.get(one.kind), day_at(plan.clinic, visit.now)
    kinds = (one.kind, *([late] if late else []))
    same = (row for row in rows if row.kind in kinds and row.event == one.event)
    row = next(same, None) or _cancelled(visit, patient, one.event, kinds)
    if row is None or not one.since <= row.due_on <= today:
        return one
    closed = one.event is not None and row.remind_on >= today and not plan.days.works(row.remind_on)
    remind_on = one.remind_on if closed else row.remind_on
    is_late = late is not None and remind_on < today
    return one._replace(kind=late if late and is_late else one.kind, due_on=row.due_on, remind_on=remind_on)


def _cancelled(visit: Visit, patient: Patient, event: str | None, kinds: tuple[str, ...]) -> Reminder | None:
    """The reminder of an event that a person has cancelled, if the last one of it was."""
    row = _last_of(visit, patient, event)
    return row if row is not None and row.status == "cancelled" and row.kind in kinds else None


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
    visit.session.update(Delivery, {"status": "cancelled"}, *same, Where("status", "=", "waiting"))


_KEY: Final = ("about", "kind", "due_on")


def _made(visit: Visit, patient: Patient, one: Wanted, plan: Plan, *, ever: bool) -> Reminder | None:
    """A new row; or the one that was done with, where the same is wanted again: it is told again.

    `ever` is whether the patient has had any reminder, among which to look.
    """
    now = instant(visit.now)
    step, next_at = first_telling(plan, one.kind, one.remind_on, visit.now)
    known = visit.session.get(Reminder, patient.id, one.kind, one.due_on) if ever else None
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
        sequence=_sequence(visit, patient, one.event) if ever else 0,
        round=0 if known is None else known.round + 1,
        step=step,
        next_at=instant_or_none(next_at),
        made_at=now,
        changed_at=now,
        changed_by=None,
        reason=None,
    )


def first_telling(plan: Plan, kind: str, remind_on: str, now: datetime) -> tuple[int, datetime | None]:
    """Which step is told first, and when.

    What patients were to be told before the day is left out once the day has come. Staff are told late rather than not.
    """
    which = (kind, remind_on, now)
    if which not in plan.known_first:
        plan.known_first[which] = _first_telling(plan, *which)
    return plan.known_first[which]


def _first_telling(plan: Plan, kind: str, remind_on: str, now: datetime) -> tuple[int, datetime | None]:
    today = day_at(plan.clinic, now)
    steps = plan.steps[kind]
    in_time = (i for i, one in enumerate(steps) if one.after_days >= 0 or today < remind_on or one.to != PATIENT)
    step = next(in_time, len(steps))
    at = plan.told_at(kind, step, remind_on)
    return step, at if at is None or at > now else plan.soon(now, steps[step].to)


def _moved(visit: Visit, row: Reminder, one: Wanted, plan: Plan) -> Reminder:
    """A row with another day at the clinic: told from the beginning, but for what a person sees to or has put off."""
    moved = replace(row, remind_on=one.remind_on, sequence=row.sequence + 1)
    if row.changed_by is not None:
        return moved
    untell(visit, row)
    step, next_at = first_telling(plan, row.kind, one.remind_on, visit.now)
    return replace(moved, round=row.round + 1, step=step, next_at=instant_or_none(next_at))


def _replanned(visit: Visit, row: Reminder, plan: Plan) -> Reminder:
    """A row with its next step when the clinic wants it told, if that is to come; not one that was put off."""
    if row.next_at is None or row.changed_by is not None or row.next_at <= instant(visit.now):
        return row
    step = min(row.step, len(plan.steps[row.kind]) - 1)
    at = plan.told_at(row.kind, step, row.remind_on)
    return replace(row, step=step, next_at=row.next_at if at is None or at <= visit.now else instant(at))


def _unacknowledged(visit: Visit, row: Reminder, plan: Plan) -> Reminder:
    """A row whose acknowledgement has lapsed goes on being told; others as they are."""
    if row.status != "acknowledged" or row.kind not in INSISTENT:
        return row
    day = day_at_text(plan.clinic, row.changed_at)
    for _ in range(ACKNOWLEDGED_FOR):
        day = working_day(plan.days, plus(day, 1))
    if day_at(plan.clinic, visit.now) < day:
        return row
    step = min(row.step, len(plan.steps[row.kind]) - 1)
    at = plan.soon(visit.now, plan.to(row.kind, step))
    return replace(row, status="open", round=row.round + 1, step=step, next_at=instant(at), changed_by=None)


def _sequence(visit: Visit, patient: Patient, event: str | None) -> int:
    """The number of the next version of an event in a calendar."""
    row = _last_of(visit, patient, event)
    return 0 if row is None else row.sequence + 1


def _last_of(visit: Visit, patient: Patient, event: str | None) -> Reminder | None:
    """The latest row of an event."""
    if event is None:
        return None
    same = Where("patient_id", "=", patient.id), Where("event", "=", event)
    return next(iter(visit.session.find(Reminder, *same, order=("-sequence",), limit=1)), None)


def unsettle_clinic(session: Session, clinic_id: str) -> None:
    """Have all patients of a clinic gone through anew."""
    session.update(Patient, {"settled": 0}, Where("clinic_id", "=", clinic_id), Where("settled", "=", 1))
