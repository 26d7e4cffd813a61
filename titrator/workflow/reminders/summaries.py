"""What a clinic is told as a whole: each working morning what waits, and once a week what the week brings.

Each is a delivery to every pharmacist, unique by clinic, kind and day; who makes it first has made it for all.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Final, cast

from titrator.store.base import Where
from titrator.store.records import Clinic, Delivery, Job, Reminder, UnmatchedResult, Waiting
from titrator.titration.documents import reread
from titrator.workflow.reminders.days import WEEKDAYS, plus, weekday, working_day
from titrator.workflow.reminders.keep import OPEN
from titrator.workflow.reminders.plan import Plan, plan_of
from titrator.workflow.tasks import Task
from titrator.workflow.visit import Services, Visit, day_at

DIGEST: Final = "digest"
WEEK_PLAN: Final = "week-plan"
SUMMARIES: Final = (DIGEST, WEEK_PLAN)
_WEEK: Final = 7


def due_summaries(services: Services, now: datetime) -> list[tuple[str, Plan, str]]:
    """The summaries that are to be told now and have not been: kind, clinic, and the day that they are of."""
    found = []
    with services.store.reading() as session:
        for clinic in session.find(Clinic):
            plan = plan_of(session, clinic)
            today = day_at(clinic, now)
            if plan.digest_at is None or not plan.days.works(today) or now < plan.at(today, plan.digest_at):
                continue
            digest, week = (session.get(Job, _job(kind, clinic.id)) for kind in SUMMARIES)
            if digest is None or digest.at != today:
                found.append((DIGEST, plan, today))
            if plan.week_plan and _wants_week(plan, today, week):
                found.append((WEEK_PLAN, plan, today))
    return found


def claim_summary(visit: Visit, kind: str, plan: Plan, day: str) -> bool:
    """Whether it is for this worker to make a summary: nobody has yet."""
    name = _job(kind, plan.clinic.id)
    before = visit.session.get(Job, name)
    if before is None:
        visit.session.add(Job(name=name, version=1, at=day))
        return True
    if before.at == day:
        return False
    visit.session.change(Job(name=name, version=before.version + 1, at=day), Where("version", "=", before.version))
    return True


def summary_lines(visit: Visit, kind: str, plan: Plan, day: str) -> list[str]:
    """What a summary says: numbers only."""
    return _week_lines(visit, plan, day) if kind == WEEK_PLAN else _digest_lines(visit, plan)


def _digest_lines(visit: Visit, plan: Plan) -> list[str]:
    mine = Where("clinic_id", "=", plan.clinic.id)
    tallies: Counter[str] = Counter()
    for tasks, many in visit.session.tally(Waiting, "tasks", mine).items():
        for task in cast("list[str]", reread(cast(str, tasks))):
            tallies[task] += many
    lines = [f"{tallies[task]} {task}" for task in map(str, Task) if tallies[task]]
    unmatched = visit.session.count(UnmatchedResult, mine, Where("status", "=", "open"))
    dead = visit.session.count(Delivery, mine, Where("status", "=", "dead"))
    lines += [f"{unmatched} results of no known patient"] if unmatched else []
    lines += [f"{dead} messages that could not be delivered"] if dead else []
    return lines or ["nothing waits"]


def _week_lines(visit: Visit, plan: Plan, day: str) -> list[str]:
    """How many of what falls on each day of the week that begins on a day."""
    rows = visit.session.find(
        Reminder,
        Where("clinic_id", "=", plan.clinic.id),
        Where("status", "in", OPEN),
        Where("remind_on", ">=", day),
        Where("remind_on", "<", plus(day, _WEEK)),
        order=("remind_on",),
    )
    by_day: dict[str, Counter[str]] = {}
    for row in rows:
        by_day.setdefault(row.remind_on, Counter())[row.kind] += 1
    return [
        f"{one}, {weekday(one).capitalize()}: {', '.join(f'{many} {kind}' for kind, many in sorted(kinds.items()))}"
        for one, kinds in by_day.items()
    ] or ["nothing falls due"]


def _wants_week(plan: Plan, today: str, before: Job | None) -> bool:
    """Whether a clinic has had no plan of this week: on its first working day, or on the next if no worker ran then."""
    monday = plus(today, -WEEKDAYS.index(weekday(today)))
    return working_day(plan.days, monday) == today if before is None else not monday <= before.at <= today


def _job(kind: str, clinic_id: str) -> str:
    return f"{kind}/{clinic_id}"
