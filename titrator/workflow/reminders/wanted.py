"""What is to be reminded of a patient, told from where the patient stands, what was decided, and what a course needs.

Nothing of it is typed in: what is no longer wanted is done, or has moved.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from titrator.store.base import Where
from titrator.store.records import CourseVersion, Decision, Patient, Standing, Waiting
from titrator.titration.due import What
from titrator.titration.quantities import DAYS, iso
from titrator.titration.recommend import WEEK
from titrator.workflow.delivery import lapsed, undelivered
from titrator.workflow.propose import open_course
from titrator.workflow.reminders.days import injection_day, plus, working_day
from titrator.workflow.reminders.plan import Kind, Plan
from titrator.workflow.tasks import Task
from titrator.workflow.visit import Visit, day_at_text

#: Blood counts go on weekly for so many weeks after romiplostim has been stopped (US label, 2.1; EU 4.4).
FOLLOW_UP_WEEKS: Final = 2
#: A follow-up count is asked for until so many days after the end of a course.
_FOLLOWED_UP_FOR: Final = 60
#: A count so many days early is the count of that week.
_EARLY: Final = 3
_PAUSE_REVIEWED_EVERY: Final = 28

#: Tasks of the worklist that are reminded of as they are.
_OF_TASKS: Final = (
    (Kind.REOPENED, {Task.REOPENED, Task.REOPENED_GIVEN}),
    (Kind.REFERRAL, {Task.REFERRED}),
    (Kind.SECOND_SIGNATURE, {Task.AWAITING_SECOND}),
    (Kind.SIGN_OFF, {Task.AWAITING_SIGN_OFF}),
)
#: What is said of each once its day has passed.
OVERDUE: Final = {
    Kind.DOSE_DUE: Kind.DOSE_OVERDUE,
    Kind.COUNT_DUE: Kind.COUNT_OVERDUE,
    Kind.MONTHLY_COUNT: Kind.COUNT_OVERDUE,
    Kind.HOLD_RE_CHECK: Kind.COUNT_OVERDUE,
}


class Wanted(NamedTuple):
    """A reminder that there should be: of a kind, since `due_on`, on a day of the clinic.

    `event` names its entry in a calendar, if it has one. What is `floating` is due since it was first wanted.
    """

    kind: Kind
    due_on: str
    remind_on: str
    event: str | None = None
    floating: bool = False


def wanted(visit: Visit, patient: Patient, standing: Standing | None, line: Waiting | None, plan: Plan) -> list[Wanted]:
    """What is to be reminded of a patient today."""
    if not patient.active:
        return []
    today = visit.today(patient)
    tasks = () if line is None else line.tasks
    found = [Wanted(kind, today, today, floating=True) for kind, some in _OF_TASKS if not some.isdisjoint(tasks)]
    if standing is not None:
        found += _of_course(standing, _decided(visit, patient, today), plan, today)
        if Task.NO_NEXT_DATE in tasks:
            found.append(Wanted(Kind.NO_ANSWER, today, today, floating=True))
    elif Task.NO_NEXT_DATE in tasks:
        found.append(_of_silence(visit, patient, plan, today))
    else:
        found += _after_the_end(visit, patient, plan, today)
    return found


def _of_course(standing: Standing, decision: Decision | None, plan: Plan, today: str) -> Iterator[Wanted]:
    for text in standing.dues:
        what, day, number, floats = text.split(" ")
        floating = floats == "1"
        if what == What.DOSE:
            last = None if floating else plus(day, -WEEK)
            if decision is not None and decision.due_on is not None:
                day, floating = decision.due_on, False
            remind_on = injection_day(plan.days, day, last)
        else:
            remind_on = working_day(plan.days, day)
        kind, noun = Kind(what), _NOUNS[What(what)]
        if not floating and remind_on < today:
            kind = OVERDUE.get(kind, kind)
        yield Wanted(kind, day, remind_on, f"{noun}/{int(number) + 1}", floating)


_NOUNS: Final = {
    What.DOSE: "dose",
    What.COUNT: "count",
    What.MONTHLY_COUNT: "count",
    What.HOLD_RE_CHECK: "count",
    What.WEIGHT: "weight",
}


def _decided(visit: Visit, patient: Patient, today: str) -> Decision | None:
    """The dose that has been decided and still holds."""
    decision = undelivered(visit, patient)
    if decision is None or decision.status != "in-force" or decision.dose is None:
        return None
    return None if lapsed(decision, today) or decision.reopened_answer is not None else decision


def _of_silence(visit: Visit, patient: Patient, plan: Plan, today: str) -> Wanted:
    """Of who is on a course and has no answer: that a pause is looked at once in a while, else that there is none."""
    course = open_course(visit, patient)
    if course is None or course.status != "paused":
        return Wanted(Kind.NO_ANSWER, today, today, floating=True)
    since = day_at_text(plan.clinic, course.changed_at)
    passed = max(0, DAYS[today] - DAYS[since] - 1) // _PAUSE_REVIEWED_EVERY + 1
    due_on = plus(since, passed * _PAUSE_REVIEWED_EVERY)
    event = f"paused/{course.id}/{course.version}/{passed}"
    return Wanted(Kind.PAUSED_REVIEW, due_on, working_day(plan.days, due_on), event)


def _after_the_end(visit: Visit, patient: Patient, plan: Plan, today: str) -> Iterator[Wanted]:
    """The next of the weekly counts after romiplostim has been stopped, until there are two."""
    course = _ended(visit, patient)
    if course is None or course.ended_on is None or DAYS[today] - DAYS[course.ended_on] > _FOLLOWED_UP_FOR:
        return
    facts = visit.session.course_facts(patient.id)
    if not any(fact.kind == "dose" and fact.day >= course.started_on for fact in facts):
        return
    counts = {fact.day for fact in facts if fact.kind == "platelet-count" and fact.status == "final"}
    for week in range(1, FOLLOW_UP_WEEKS + 1):
        due_on = iso(DAYS[course.ended_on] + week * WEEK)
        if not _any_since(counts, plus(due_on, -_EARLY)):
            event = f"follow-up/{course.id}/{week}"
            yield Wanted(Kind.FOLLOW_UP_COUNT, due_on, working_day(plan.days, due_on), event)
            return


def _any_since(days: Collection[str], since: str) -> bool:
    return any(day >= since for day in days)


def _ended(visit: Visit, patient: Patient) -> CourseVersion | None:
    """The last course of a patient, if it has been discontinued; of one who is on no course."""
    mine = Where("patient_id", "=", patient.id), Where("current", "=", 1)
    found = visit.session.find(CourseVersion, *mine, Where("status", "=", "discontinued"), order=("-id",), limit=1)
    return found[0] if found else None
