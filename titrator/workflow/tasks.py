"""What waits for somebody of a patient, told from where the patient stands and what was decided.

A line of the worklist is made whenever the standing is, so that to show the worklist is to read lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Final, cast

from titrator.store.base import Where
from titrator.store.records import Decision, Delivery, Fact, Identifier, Patient, Standing, Waiting
from titrator.titration.codes import Reason
from titrator.titration.documents import encode, reread
from titrator.titration.quantities import DAYS
from titrator.workflow.delivery import LastDose, last_dose, named, open_mismatches, standing_decision
from titrator.workflow.facts import BY_KIND, course_fact, standing_counts
from titrator.workflow.grades import base_value, ctcae_grade
from titrator.workflow.visit import Visit


class Task(StrEnum):
    """What is to be done, the most urgent first."""

    REOPENED_GIVEN = "re-opened-given"
    DOSE_MISMATCH = "dose-mismatch"
    REOPENED = "re-opened"
    TO_VERIFY = "to-verify"
    REFERRED = "referred"
    HOLD_WITHOUT_RECHECK = "hold-without-re-check"
    DOSE_OVERDUE = "dose-overdue"
    COUNT_OVERDUE = "count-overdue"
    AWAITING_SECOND = "awaiting-second"
    AWAITING_SIGN_OFF = "awaiting-sign-off"
    DOSE_DUE = "dose-due"
    COUNT_DUE = "count-due"
    NO_NEXT_DATE = "no-next-date"
    MESSAGE_UNDELIVERED = "message-undelivered"


#: A proposal waits to be signed from so many days before its dose is due.
SIGNED_AHEAD: Final = 3
_ORDER: Final = {task: place for place, task in enumerate(Task)}
_MOST_OVERDUE: Final = 9999
_FURTHEST_AHEAD: Final = 999
#: The actions that can be accepted: those with a dose, and the hold.
ACCEPTED: Final = ("start", "increase", "maintain", "reduce", "hold", "resume")

#: What an answer gives as reasons to maintain where nobody need look: a count in range, and one that is stable there.
_ALL_IS_WELL: Final = frozenset({Reason.IN_RANGE, Reason.STABLE})
#: So many counts are looked at for those of the last two days.
_OF_TWO_DAYS: Final = 10

Answer = Mapping[str, object]


def waiting(visit: Visit, patient: Patient, standing: Standing | None, refused: str | None, day: str) -> Waiting | None:
    """The line of a patient on a day, None if nothing waits; `refused` is why who is on a course has no answer."""
    decision = standing_decision(visit, patient, day)
    reopened = reopened_of(visit, patient)
    departed = [one.day for one in open_mismatches(visit, patient)]
    verify = _to_verify(visit, patient)
    answer = None if standing is None else cast(Answer, reread(standing.answer))
    tasks = {Task.REOPENED_GIVEN if one.given_on else Task.REOPENED for one in reopened}
    tasks |= {Task.DOSE_MISMATCH} if departed else set()
    tasks |= {Task.TO_VERIFY} if verify else set()
    tasks |= {Task.MESSAGE_UNDELIVERED} if undeliverable(visit, patient) else set()
    tasks |= _of_decision(decision, answer, day)
    if standing is not None and answer is not None:
        tasks |= _of_answer(answer, standing, decision, day)
    if refused is not None or (answer is not None and _no_next_date(answer)):
        tasks.add(Task.NO_NEXT_DATE)
    if not tasks:
        return None
    late = _overdue(standing, decision, day)
    by_urgency = [str(task) for task in sorted(tasks, key=_ORDER.__getitem__)]
    line = {
        **_particulars(visit, patient),
        "on": day,
        "tasks": by_urgency,
        "overdue_days": late,
        **_told(answer, standing),
        **_last(visit, patient, answer),
        "refused": refused,
        "decision": decision and _summary(decision),
        "reopened": [_side_by_side(one) for one in reopened],
        "dose_mismatches": departed,
        "to_verify": [_fact(fact) for fact in verify],
    }
    return Waiting(
        patient_id=patient.id,
        clinic_id=patient.clinic_id,
        day=day,
        program=visit.services.program,
        search_name=_sought(patient, line),
        rank=_rank(tasks, late, _ahead(standing, decision, day)),
        tasks=tuple(by_urgency),
        line=encode(line),
    )


def _rank(tasks: Iterable[Task], late: int, ahead: int) -> int:
    """Where a line stands: by its most urgent task, then what is longest overdue, then what is due soonest."""
    place = _MOST_OVERDUE - min(late, _MOST_OVERDUE) + min(ahead, _FURTHEST_AHEAD)
    return min(map(_ORDER.__getitem__, tasks)) * (_MOST_OVERDUE + _FURTHEST_AHEAD + 1) + place


def undeliverable(visit: Visit, patient: Patient) -> list[str]:
    """The ids of the messages about a patient that could not be delivered, and that nobody has seen to."""
    dead = Where("about", "=", patient.id), Where("status", "=", "dead")
    return sorted(one.id for one in visit.session.find(Delivery, *dead))


def covered(decision: Decision | None, answer: Answer) -> bool:
    """Whether a decision was made upon just what an answer of today comes to: then nobody need decide again."""
    if decision is None or decision.reopened_answer is not None:
        return False
    then = cast(Answer, reread(decision.answer))
    return _gist(then) == _gist(answer)


def _gist(answer: Answer) -> tuple[object, ...]:
    counts = cast(Answer, answer["evidence"])["counts_used"]
    reasons = [named(one) for one in cast("list[dict[str, str]]", answer["reasons"])]
    return answer["action"], answer["dose"], counts, reasons


def changes_nothing(answer: Answer, last: LastDose | None) -> bool:
    """Whether an answer maintains the micrograms that were given last, for a count in range, and raises no alert."""
    codes = {one["code"] for one in cast("list[dict[str, str]]", answer["reasons"])}
    if not codes <= _ALL_IS_WELL:
        return False
    dose = cast("Mapping[str, Decimal] | None", answer["dose"])
    if answer["action"] != "maintain" or answer["alerts"] or dose is None or last is None:
        return False
    return last.micrograms in (dose["micrograms"], dose["delivered_micrograms"])


def _of_decision(decision: Decision | None, answer: Answer | None, day: str) -> set[Task]:
    """What a decision asks for; a dose only if nothing speaks against giving it today."""
    if decision is None:
        return set()
    if decision.status == "referred":
        return {Task.REFERRED}
    if decision.status == "awaiting-second":
        return {Task.AWAITING_SECOND}
    if decision.due_on is None or decision.due_on > day or decision.reopened_answer is not None or answer is None:
        return set()
    if decision.kind == "accept" and answer["dose"] is None:
        return set()
    return {Task.DOSE_OVERDUE if decision.due_on < day else Task.DOSE_DUE}


def _of_answer(answer: Answer, standing: Standing, decision: Decision | None, day: str) -> set[Task]:
    tasks = set()
    signed = covered(decision, answer)
    if answer["action"] == "refer" and not signed:
        tasks.add(Task.REFERRED)
    if answer["action"] in ACCEPTED and not signed and _is_near(cast("str | None", answer["due_on"]), day):
        tasks.add(Task.AWAITING_SIGN_OFF)
    if decision is None and standing.dose_due_on is not None and standing.dose_due_on < day:
        tasks.add(Task.DOSE_OVERDUE)
    due = standing.count_due_on
    if due is not None and due <= day:
        late = Task.HOLD_WITHOUT_RECHECK if answer["action"] == "hold" else Task.COUNT_OVERDUE
        tasks.add(late if due < day else Task.COUNT_DUE)
    return tasks


def _is_near(due: str | None, day: str) -> bool:
    return due is None or DAYS[due] - DAYS[day] <= SIGNED_AHEAD


def _no_next_date(answer: Answer) -> bool:
    return answer["action"] != "complete" and answer["due_on"] is None and answer["next_count_on"] is None


def _overdue(standing: Standing | None, decision: Decision | None, day: str) -> int:
    """By how many days what is latest of dose and count is overdue; 0 if nothing is."""
    decided = decision.due_on if decision is not None else None
    days = [decided or (standing and standing.dose_due_on), standing and standing.count_due_on]
    return max([0, *(DAYS[day] - DAYS[one] for one in days if one)])


def _ahead(standing: Standing | None, decision: Decision | None, day: str) -> int:
    """In how many days the next of dose and count is due; 0 if one is, 999 if none is known."""
    decided = decision.due_on if decision is not None else None
    days = [decided or (standing and standing.dose_due_on), standing and standing.count_due_on]
    return min((max(0, DAYS[one] - DAYS[day]) for one in days if one), default=_FURTHEST_AHEAD)


def _told(answer: Answer | None, standing: Standing | None) -> dict[str, object]:
    if answer is None or standing is None:
        nothing = ("protocol", "action", "reasons", "alerts", "dose", "due_on", "next_count_on", "proposal_sha256")
        return dict.fromkeys(nothing)
    codes = {
        name: [one["code"] for one in cast("list[dict[str, str]]", answer[name])] for name in ("reasons", "alerts")
    }
    return {
        "protocol": standing.protocol,
        "action": answer["action"],
        **codes,
        "dose": _amounts(answer["dose"]),
        "due_on": answer["due_on"],
        "next_count_on": answer["next_count_on"],
        "proposal_sha256": standing.proposal_sha256,
    }


def _last(visit: Visit, patient: Patient, answer: Answer | None) -> dict[str, object]:
    """The last count and dose of a patient, and whether the answer changes nothing."""
    mine = Where("patient_id", "=", patient.id), Where("current", "=", 1), Where("kind", "=", "platelet-count")
    sound = Where("status", "!=", "entered-in-error")
    counts = visit.session.find(Fact, *mine, sound, order=("-day", "-id"), limit=_OF_TWO_DAYS)
    stands = sorted(standing_counts(map(course_fact, reversed(counts))).items(), reverse=True)
    by_id = {one.id: one for one in counts}
    last, before = (*(by_id[ident] for _, ident in stands[:2]), None, None)[:2]
    dose = last_dose(visit, patient)
    return {
        "last_count": _count(last, before) if last else None,
        "last_dose": dose and {"given_on": dose.day, "micrograms": dose.micrograms, "micrograms_per_kg": dose.level},
        "changes_nothing": answer is not None and changes_nothing(answer, dose),
    }


def _count(last: Fact, before: Fact | None) -> dict[str, object]:
    unreliable = last.unreliable or last.status == "unverified"
    return {
        "collected_on": last.day,
        "value": last.value,
        "unit": last.unit,
        "unreliable": unreliable,
        "ctcae_grade": None if unreliable else ctcae_grade(last),
        "trend": None if before is None else _trend(base_value(before), base_value(last)),
    }


def _trend(before: Decimal | None, now: Decimal | None) -> str | None:
    if before is None or now is None:
        return None
    return "same" if now == before else "up" if now > before else "down"


def _sought(patient: Patient, line: Answer) -> str:
    """What the free text of a search is looked for in: the name, as it is searched, and the identifier."""
    identifier = cast("dict[str, str] | None", line["identifier"])
    return patient.search_name if identifier is None else f"{patient.search_name} {identifier['value'].casefold()}"


def _amounts(dose: object) -> object:
    if dose is None:
        return None
    amounts = cast(Answer, dose)
    return {name: amounts[name] for name in ("micrograms_per_kg", "delivered_micrograms", "volume_ml")}


def _particulars(visit: Visit, patient: Patient) -> dict[str, object]:
    found = visit.session.find(Identifier, Where("patient_id", "=", patient.id), order=("system", "value"), limit=1)
    return {
        "patient": patient.id,
        "clinic": patient.clinic_id,
        "family_name": patient.family_name,
        "given_name": patient.given_name,
        "born_on": patient.born_on,
        "identifier": {"system": found[0].system, "value": found[0].value} if found else None,
    }


def _summary(decision: Decision) -> dict[str, object]:
    return {
        "id": decision.id,
        "decision": decision.kind,
        "status": decision.status,
        "due_on": decision.due_on,
        "micrograms": decision.micrograms,
        "dose": None if decision.dose is None else _amounts(reread(decision.dose)),
    }


def _side_by_side(decision: Decision) -> dict[str, object]:
    """What a re-opened decision rested on and what it comes to now."""
    was, now = (cast(Answer, reread(text or "")) for text in (decision.answer, decision.reopened_answer))
    return {
        "decision": decision.id,
        "on": decision.day,
        "given_on": decision.given_on,
        "was": {"action": was["action"], "dose": _amounts(was["dose"])},
        "now": {"action": now["action"], "dose": _amounts(now["dose"])},
    }


def _fact(fact: Fact) -> dict[str, object]:
    return {
        "collection": BY_KIND[fact.kind].name,
        "id": fact.id,
        "day": fact.day,
        "value": fact.value,
        "unit": fact.unit,
        "asked": list(fact.asked),
    }


def reopened_of(visit: Visit, patient: Patient) -> list[Decision]:
    """The decisions that a correction has re-opened and nobody has looked at."""
    if not patient.decided:
        return []
    found = visit.session.find(
        Decision,
        Where("patient_id", "=", patient.id),
        Where("current", "=", 1),
        Where("reviewed", "=", 0),
        Where("reopened_answer", "is not null"),
        order=("id",),
    )
    return [one for one in found if one.status in ("awaiting-second", "in-force", "delivered", "not-given")]


def _to_verify(visit: Visit, patient: Patient) -> Iterable[Fact]:
    mine = Where("patient_id", "=", patient.id), Where("current", "=", 1), Where("status", "=", "unverified")
    return visit.session.find(Fact, *mine, order=("id",))
