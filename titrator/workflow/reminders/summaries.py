"""What a clinic is told as a whole: each working morning what waits, once a week what the week brings, silent feeds.

Each is a delivery to every pharmacist, unique by clinic, kind and day; who makes it first has made it for all. Of the
silence of a feed a clinic is told once, and again only after it has spoken.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Final, NamedTuple, cast
from zoneinfo import ZoneInfo

from titrator.store.base import Where
from titrator.store.records import Clinic, Delivery, Job, Reminder, UnmatchedResult, Waiting
from titrator.titration.documents import reread
from titrator.workflow.reminders.days import WEEKDAYS, plus, weekday, working_day
from titrator.workflow.reminders.keep import OPEN
from titrator.workflow.reminders.plan import Plan, plan_of
from titrator.workflow.silence import know_feeds, silent_feeds
from titrator.workflow.tasks import Task
from titrator.workflow.visit import Services, Visit, day_at

DIGEST: Final = "digest"
WEEK_PLAN: Final = "week-plan"
FEED_SILENT: Final = "feed-silent"
SUMMARIES: Final = (DIGEST, WEEK_PLAN, FEED_SILENT)
_OF_DAYS: Final = (DIGEST, WEEK_PLAN)
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
            digest, week = (session.get(Job, _job(kind, clinic.id)) for kind in _OF_DAYS)
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


class Silent(NamedTuple):
    """A feed whose silence a clinic is to be told of: its place among the feeds, its name, since when."""

    place: int
    name: str
    since: str
    plan: Plan


def due_silences(services: Services, now: datetime) -> list[Silent]:
    """The silences that clinics are to be told of and have not been."""
    found = []
    if not services.feeds:
        return []
    know_feeds(services, now)
    with services.store.reading() as session:
        for clinic in session.find(Clinic):
            for feed, since in silent_feeds(services, session, [clinic.id], now):
                told = session.get(Job, _job(f"{FEED_SILENT}/{feed.name}", clinic.id))
                if told is None or told.at != since:
                    plan = plan_of(session, clinic)
                    found.append(Silent(services.feeds.index(feed), feed.name, since, plan))
    return found


def claim_silence(visit: Visit, one: Silent) -> bool:
    """Whether it is for this worker to tell of a silence: nobody has yet."""
    return claim_summary(visit, f"{FEED_SILENT}/{one.name}", one.plan, one.since)


def summary_lines(visit: Visit, kind: str, plan: Plan, day: str) -> list[str]:
    """What a summary says: numbers only, and names of feeds."""
    if kind == FEED_SILENT:
        return _silent_lines(visit, plan) or ["it has spoken since"]
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
    lines += [f"silent: {line}" for line in _silent_lines(visit, plan)]
    lines += [f"{dead} messages that could not be delivered"] if dead else []
    return lines or ["nothing waits"]


def _silent_lines(visit: Visit, plan: Plan) -> list[str]:
    """The feeds that are silent, each with the minute at the clinic since when."""
    zone = ZoneInfo(plan.clinic.time_zone)
    return [
        f"{feed.name}, since {datetime.fromisoformat(since).astimezone(zone):%Y-%m-%d %H:%M}"
        for feed, since in silent_feeds(visit.services, visit.session, [plan.clinic.id], visit.now)
    ]


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
