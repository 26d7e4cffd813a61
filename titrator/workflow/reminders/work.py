"""One beat of the reminders: what every worker does, again and again. Any number of them may.

1. settle whom something was recorded of, or whose day has changed: so no reminder rests on what no longer holds
2. make the deliveries of the steps that have come, of the summaries, and of feeds that have fallen silent
3. send what is due
4. leave a sign that reminders run

Once a week every patient is gone through anew, so that what a settled patient should be reminded of is there even if it
had been lost.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import structlog

from titrator.store.base import Session, Stale, Store, Where
from titrator.store.records import ChannelRow, Clinic, Delivery, Job, Reminder
from titrator.workflow.reminders.keep import OPEN, unsettle_clinic
from titrator.workflow.reminders.plan import RANK, Plan
from titrator.workflow.reminders.summaries import (
    FEED_SILENT,
    WEEK_PLAN,
    claim_silence,
    claim_summary,
    due_silences,
    due_summaries,
)
from titrator.workflow.reminders.tell import Told, audience_of, deliver, new_delivery, plan_deliveries, staff_of
from titrator.workflow.standing import settle_all
from titrator.workflow.visit import Services, Visit, day_at, instant

HEARTBEAT: Final = "reminders"
#: The job whose version counts the messages that were sent.
SENT: Final = "reminders-sent"
BEATS_EVERY: Final = timedelta(seconds=30)
#: A delivery that waits longer than so is late.
LATE_AFTER: Final = timedelta(minutes=10)


class Health(NamedTuple):
    """How the reminders are: when one last beat, how many messages are due, sent so far, late, dead.

    `oldest_seconds` is how long ago the oldest message that is due was made; `silent_clinics` counts those that have
    something to be reminded of and no channel in use.
    """

    beat_at: str | None
    due: int
    sent: int
    late: int
    dead: int
    oldest_seconds: int
    silent_clinics: int = 0


def beat(services: Services, now: Callable[[], datetime], goes_on: Callable[[], bool] = lambda: True) -> Told:
    """Do all that is due; what was done. The settling ends early unless it `goes_on`."""
    at = now()
    if not services.broken:
        _stage("settle", lambda: settle_all(services, at, goes_on))
    planned = _stage("plan", lambda: plan_deliveries(services, at)) + _stage(
        "summaries", lambda: _plan_summaries(services, at)
    )
    planned += _stage("silences", lambda: _plan_silences(services, at))
    told = deliver(services, now)
    _leave_sign(services.store, now(), told.sent)
    return told._replace(planned=planned)


def _stage(name: str, do: Callable[[], int]) -> int:
    """A part of a beat; where it fails, the others go on, and the next beat tries again."""
    try:
        return do()
    except Exception:  # noqa: BLE001 (whatever it is, others are told all the same)
        structlog.get_logger().exception("reminders", stage=name)
        return 0


def health(store: Store, now: datetime) -> Health:
    """How the reminders are at an instant."""
    with store.reading() as session:
        job, counted = session.get(Job, HEARTBEAT), session.get(Job, SENT)
        waits = Where("status", "=", "waiting"), Where("send_at", "<=", instant(now))
        due = session.count(Delivery, *waits)
        late = session.count(Delivery, waits[0], Where("send_at", "<=", instant(now - LATE_AFTER))) if due else 0
        oldest = session.find(Delivery, *waits, order=("made_at",), limit=1) if due else []
        dead = session.count(Delivery, Where("status", "=", "dead"))
        silent = sum(_is_silent(session, clinic) for clinic in session.find(Clinic))
    age = int((now - datetime.fromisoformat(oldest[0].made_at)).total_seconds()) if oldest else 0
    sent = 0 if counted is None else counted.version
    return Health(None if job is None else job.at, due, sent, late, dead, age, silent)


def _is_silent(session: Session, clinic: Clinic) -> bool:
    """Whether there is something to be reminded of at a clinic, and nobody who could be told."""
    mine = Where("clinic_id", "=", clinic.id)
    if session.find(ChannelRow, mine, Where("active", "=", 1), limit=1):
        return False
    return bool(session.find(Reminder, mine, Where("status", "in", OPEN), limit=1))


def _plan_summaries(services: Services, now: datetime) -> int:
    """Make the deliveries of the summaries that are due; with the plan of a week, go through the clinic anew."""
    made = 0
    for kind, plan, day in due_summaries(services, now):
        with services.store.writing(durable=False) as session:
            visit = Visit(services=services, session=session, actor=None, now=now)
            try:
                if not claim_summary(visit, kind, plan, day):
                    continue
            except Stale:  # another worker was faster
                continue
            made += _to_pharmacists(session, plan, (kind, day, 0), now)
            if kind == WEEK_PLAN:
                unsettle_clinic(session, plan.clinic.id)
    return made


def _plan_silences(services: Services, now: datetime) -> int:
    """Make the deliveries that tell of feeds that have fallen silent."""
    made = 0
    for one in due_silences(services, now):
        with services.store.writing(durable=False) as session:
            visit = Visit(services=services, session=session, actor=None, now=now)
            try:
                if claim_silence(visit, one):
                    key = FEED_SILENT, day_at(one.plan.clinic, now), one.place
                    made += _to_pharmacists(session, one.plan, key, now)
            except Stale:  # another worker was faster
                continue
    return made


def _to_pharmacists(session: Session, plan: Plan, key: tuple[str, str, int], now: datetime) -> int:
    """Make the deliveries of a message to the pharmacists of a clinic; how many."""
    kind, day, step = key
    recipients = staff_of(audience_of(session, plan.clinic.id), "pharmacist")
    about = (plan.clinic.id, kind, day, step)
    session.put(
        *(new_delivery(about, one, clinic_id=plan.clinic.id, rank=len(RANK), at=instant(now)) for one in recipients)
    )
    return len(recipients)


def _leave_sign(store: Store, now: datetime, sent: int) -> None:
    """Say that reminders run, and count what was sent; not at each beat that had nothing to do."""
    with store.reading() as session:
        before = session.get(Job, HEARTBEAT)
    if not sent and before is not None and instant(now - BEATS_EVERY) < before.at <= instant(now):
        return
    with store.writing(durable=False) as session:
        beats, counted = session.get(Job, HEARTBEAT), session.get(Job, SENT)
        session.put(Job(name=HEARTBEAT, version=1 if beats is None else beats.version + 1, at=instant(now)))
        if sent:
            total = sent if counted is None else counted.version + sent
            session.put(Job(name=SENT, version=total, at=instant(now)))
