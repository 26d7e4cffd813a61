"""What is to be reminded of a patient, told from where the patient stands, what was decided, and what a course needs.

Nothing of it is typed in: what is no longer wanted is done, or has moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, cast

from titrator.store.base import Where
from titrator.store.records import CourseVersion, Decision, Fact, Patient, Standing, Waiting
from titrator.titration.documents import reread
from titrator.titration.due import What, follow_up_due
from titrator.titration.quantities import DAYS, iso
from titrator.titration.recommend import WEEK
from titrator.workflow.delivery import undelivered
from titrator.workflow.facts import SAFETY_EVENTS
from titrator.workflow.propose import open_course
from titrator.workflow.reminders.days import plus, working_day
from titrator.workflow.reminders.plan import Kind, Plan
from titrator.workflow.tasks import Answer, Task, covered, reopened_of
from titrator.workflow.visit import Visit, day_at, day_at_text

#: A follow-up count is asked for until so many days after the end of a course.
_FOLLOWED_UP_FOR: Final = 60
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

    `event` names its entry in a calendar, or what else it comes of (`cause/...`). What is `floating` is due since it
    was first wanted; but what was wanted before the day `since`, or came of something else, was another one.
    """

    kind: Kind
    due_on: str
    remind_on: str
    event: str | None = None
    floating: bool = False
    since: str = ""


def wanted(visit: Visit, patient: Patient, standing: Standing | None, line: Waiting | None, plan: Plan) -> list[Wanted]:
    """What is to be reminded of a patient today."""
    if not patient.active:
        return []
    today = day_at(plan.clinic, visit.now)
    tasks = () if line is None else line.tasks
    found = []
    if line is not None:
        of = _Of(patient, standing, line)
        found = [_standing(visit, of, kind, today) for kind, some in _OF_TASKS if not some.isdisjoint(tasks)]
        if Task.NO_NEXT_DATE in tasks:
            found.append(_of_silence(visit, of, plan))
    if standing is not None:
        found += _of_course(visit, patient, standing, plan)
    elif Task.NO_NEXT_DATE not in tasks:
        found += _after_the_end(visit, patient, plan, today)
    return found


class _Of(NamedTuple):
    """Of whom something is wanted, and where that patient stands."""

    patient: Patient
    standing: Standing | None
    line: Waiting


def _standing(visit: Visit, of: _Of, kind: Kind, today: str) -> Wanted:
    """What goes on until somebody does something; for another cause it is another need, and told anew."""
    since = _proposed_since(of.standing) if kind is Kind.SIGN_OFF else ""
    return Wanted(kind, today, today, _cause(visit, of, kind), floating=True, since=since)


def _cause(visit: Visit, of: _Of, kind: Kind) -> str | None:
    """What a need that has no day of its own comes of."""
    patient, standing, line = of
    told = cast(Answer, reread(line.line))
    decision = cast("Answer | None", told.get("decision"))
    match kind:
        case Kind.REFERRAL:
            facts = visit.session.course_facts(patient.id)
            unresolved = [fact.id for fact in facts if fact.code in SAFETY_EVENTS and fact.until is None]
            reasons = () if standing is None else standing.reasons
            return f"cause/{decision and decision['id']}/{'+'.join(reasons)}/{'+'.join(map(str, unresolved))}"
        case Kind.REOPENED:
            reopened = reopened_of(visit, patient)
            return f"cause/{'+'.join(f'{one.id}@{one.reopened_at}' for one in reopened)}"
        case Kind.SECOND_SIGNATURE:
            return f"cause/{decision and decision['id']}"
        case Kind.NO_ANSWER:
            return f"cause/{told.get('refused')}"
        case _:
            return None


def _proposed_since(standing: Standing | None) -> str:
    """The day of the count that a proposal rests on: who has not signed the one before is told of this one anew."""
    if standing is None:
        return ""
    evidence = cast(Answer, cast(Answer, reread(standing.answer))["evidence"])
    return max(cast("list[str]", evidence["counts_used"]), default="")


def _of_course(visit: Visit, patient: Patient, standing: Standing, plan: Plan) -> Iterator[Wanted]:
    today = day_at(plan.clinic, visit.now)
    decision = _decided(visit, patient)
    dues = [text.split(" ") for text in standing.dues]
    if _withheld(visit, patient, dues, today):
        dues = [due for due in dues if due[0] != What.DOSE]
    if decision is not None and decision.due_on is None and covered(decision, cast(Answer, reread(standing.answer))):
        dues = [due for due in dues if due[0] != What.DOSE]  # that none is given has been decided upon these facts
    if decision is not None and decision.due_on is not None and What.DOSE not in {due[0] for due in dues}:
        dues += _beside_the_rules(visit, patient, standing, decision)
    for what, since, number, floats in dues:
        day, floating = since, floats == "1"
        if what == What.DOSE:
            last = None if floating else plus(day, -WEEK)
            if decision is not None and decision.due_on is not None:
                day, floating = decision.due_on, False
            remind_on = plan.injection_day(day, last)
        else:
            remind_on = working_day(plan.days, day)
        kind, noun = Kind(what), _NOUNS[What(what)]
        if not floating and remind_on < today:
            kind = OVERDUE.get(kind, kind)
        yield Wanted(kind, day, remind_on, f"{noun}/{standing.course_id}/{int(number) + 1}", floating)


def _beside_the_rules(visit: Visit, patient: Patient, standing: Standing, decision: Decision) -> Iterator[list[str]]:
    """The dose that somebody has chosen where the rules offer none; one that was accepted is not given any more."""
    if decision.kind != "override" or decision.due_on is None:
        return
    course = visit.session.get(CourseVersion, patient.id, standing.course_id, standing.course_version)
    facts = visit.session.course_facts(patient.id)
    began = "" if course is None else course.started_on
    given = {fact.day for fact in facts if fact.kind == "dose" and fact.status == "final" and fact.day >= began}
    yield [str(What.DOSE), decision.due_on, str(len(given)), "1"]


_NOUNS: Final = {
    What.DOSE: "dose",
    What.COUNT: "count",
    What.MONTHLY_COUNT: "count",
    What.HOLD_RE_CHECK: "count",
    What.WEIGHT: "weight",
}


def _decided(visit: Visit, patient: Patient) -> Decision | None:
    """What has been decided and not been taken back: a dose and its day, or that none is given.

    A decision that has lapsed has still named the day.
    """
    decision = undelivered(visit, patient)
    if decision is None or decision.status != "in-force":
        return None
    return None if decision.reopened_answer is not None else decision


def _withheld(visit: Visit, patient: Patient, dues: Iterable[list[str]], today: str) -> bool:
    """Whether somebody has said that the dose is not for now: it was referred, or knowingly not given this week."""
    decision = undelivered(visit, patient)
    if decision is not None and decision.status == "referred":
        return True
    since = next((day for what, day, *_ in dues if what == What.DOSE), None)
    if since is None or since > today or decision is not None:
        return False
    lately = Where("day", ">=", max(since, plus(today, 1 - WEEK)))
    mine = Where("patient_id", "=", patient.id), Where("current", "=", 1), Where("kind", "=", "dose-not-given")
    said = visit.session.find(Fact, *mine, lately, Where("status", "=", "final"))
    return any(fact.code not in _MISSED for fact in said)


#: Why a dose was not given, and is overdue all the same.
_MISSED: Final = ("absent", "no-supply")


def _of_silence(visit: Visit, of: _Of, plan: Plan) -> Wanted:
    """Of who is on a course and has no next date: that a pause is looked at now and then, else that there is none."""
    today = day_at(plan.clinic, visit.now)
    course = open_course(visit, of.patient) if of.standing is None else None
    if course is None or course.status != "paused":
        return _standing(visit, of, Kind.NO_ANSWER, today)
    since = day_at_text(plan.clinic, course.changed_at)
    passed = max(1, (DAYS[today] - DAYS[since]) // _PAUSE_REVIEWED_EVERY)  # each one until the next
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
    counts = [DAYS[fact.day] for fact in facts if fact.kind == "platelet-count" and fact.status == "final"]
    due = follow_up_due(DAYS[course.ended_on], counts)
    if due is not None:
        event = f"follow-up/{course.id}/{(due - DAYS[course.ended_on]) // WEEK}"
        yield Wanted(Kind.FOLLOW_UP_COUNT, iso(due), working_day(plan.days, iso(due)), event)


def _ended(visit: Visit, patient: Patient) -> CourseVersion | None:
    """The last course of a patient, if it has been discontinued; of one who is on no course."""
    mine = Where("patient_id", "=", patient.id), Where("current", "=", 1)
    found = visit.session.find(CourseVersion, *mine, Where("status", "=", "discontinued"), order=("-id",), limit=1)
    return found[0] if found else None
