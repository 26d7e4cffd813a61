"""What a recorded fact does to decisions: doses carry them out or depart from them, corrections re-open them.

A decision is carried out by the doses of one day, taken together. All of this happens in the transaction that records
the fact, so that no correction is there without what it re-opens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import Final, NamedTuple, cast

from titrator.protocols import read_edition
from titrator.store.base import CourseFact, Where
from titrator.store.records import CourseVersion, Decision, DoseMismatch, Fact, Patient, ProtocolEdition
from titrator.titration.answer import to_text
from titrator.titration.codes import Reason
from titrator.titration.course import read_document
from titrator.titration.documents import reread
from titrator.titration.errors import InvalidProtocol
from titrator.titration.override import ceiling_exceeded, departs, is_early, is_late, of_a_week
from titrator.titration.protocol import Protocol
from titrator.titration.quantities import DAYS, EXACT, KILOGRAMS_PER, ZERO, ratio_rounded, times
from titrator.titration.recommend import Recommendation, recommend
from titrator.workflow.facts import ENTRIES, course_fact
from titrator.workflow.propose import course_document
from titrator.workflow.visit import Visit, day_at, instant

#: Decided, and neither carried out nor ended: a patient has at most one.
UNDELIVERED: Final = ("awaiting-second", "in-force", "referred")
#: From so many percent on a change of dose is a large one.
LARGE: Final = Decimal(50)
_HUNDRED: Final = Decimal(100)
#: Acted upon, or still to be: what a correction re-opens.
_COUNTS: Final = ("awaiting-second", "in-force", "delivered", "not-given")


class Essence(NamedTuple):
    """What an answer comes to, apart from its wording and the day asked about."""

    action: str
    reasons: tuple[str, ...]
    alerts: tuple[str, ...]
    dose: object
    due_on: object


class LastDose(NamedTuple):
    """What was given on the last day of a dose: micrograms and level in all, None where not all levels were stated."""

    day: str
    micrograms: Decimal
    level: Decimal | None


class Change(NamedTuple):
    """How a dose differs from the last one given: in micrograms and in percent, both signed."""

    before: LastDose
    micrograms: Decimal
    percent: Decimal

    @property
    def large(self) -> bool:
        """Whether nobody should pass it over."""
        return abs(self.percent) >= LARGE


class _OfDay(NamedTuple):
    """The doses of a day: upon which decision, how much in micrograms, and in what they depart from it."""

    day: str
    decision: Decision | None = None
    micrograms: Decimal | None = None
    departs: tuple[str, ...] = ()


def essence(answer: str) -> Essence:
    """That of an answer document."""
    said = cast("dict[str, object]", reread(answer))
    reasons, alerts = (
        tuple(named(one) for one in cast("list[dict[str, str]]", said[name])) for name in ("reasons", "alerts")
    )
    return Essence(cast(str, said["action"]), reasons, alerts, drawn_up(said["dose"]), said["due_on"])


def named(reason: Mapping[str, str]) -> str:
    """A reason by its code; a safety event with its words, for another one is another reason."""
    return f"{reason['code']}: {reason['text']}" if reason["code"] == Reason.SAFETY_EVENT else reason["code"]


def drawn_up(dose: object) -> object:
    """What the syringe of a dose holds: a weight that moves the micrograms and not the volume makes no other dose."""
    if dose is None:
        return None
    amounts = cast("Mapping[str, object]", dose)
    return tuple(amounts[name] for name in ("micrograms_per_kg", "volume_ml", "concentration_micrograms_per_ml"))


def lapsed(decision: Decision, day: str) -> bool:
    """Whether a decision has lapsed on a day: it was due more than three days before, and no dose was given."""
    undelivered = decision.status in UNDELIVERED and decision.due_on is not None
    return undelivered and is_late(DAYS[day], DAYS[cast(str, decision.due_on)])


def undelivered(visit: Visit, patient: Patient) -> Decision | None:
    """The decision of a patient that has been taken and not yet carried out, lapsed ones among them."""
    return None if patient.decision_id is None else decision_of(visit, patient, patient.decision_id)


def standing_decision(visit: Visit, patient: Patient, day: str) -> Decision | None:
    """The decision of a patient that has been taken and still stands on a day: neither carried out nor lapsed."""
    found = undelivered(visit, patient)
    return None if found is None or lapsed(found, day) else found


def decision_of(visit: Visit, patient: Patient, ident: int) -> Decision | None:
    """A decision, in its current version."""
    found = visit.session.find(
        Decision, Where("patient_id", "=", patient.id), Where("current", "=", 1), Where("id", "=", ident)
    )
    return found[0] if found else None


def change_decision(
    visit: Visit, patient: Patient, old: Decision, change: str, reason: str | None = None, /, **changed: object
) -> tuple[Patient, Decision]:
    """A new version of a decision, by the actor, now; and the patient after it."""
    about = {"change": change, "change_reason": reason, "changed_by": visit.who.account_id}
    new = replace(
        old,
        version=old.version + 1,
        changed_at=instant(visit.now),
        **{**about, **changed},  # type: ignore[arg-type]
    )
    held = patient.decision_id if patient.decision_id != old.id else None
    waits = new.id if new.status in UNDELIVERED else held
    patient = visit.change(patient, replace(patient, decided=patient.decided + 1, decision_id=waits, settled=False))
    same = Where("version", "=", old.version), Where("current", "=", 1)
    visit.session.change(replace(old, current=False), *same, old=old)
    visit.session.add(new)
    differs = {name: getattr(new, name) for name in changed}
    was = {name: getattr(old, name) for name in changed}
    visit.note(f"decision-{change}", subject(new), patient=patient, old=was, new=differs, why=reason)
    return patient, new


def subject(decision: Decision) -> str:
    """A decision as the trail names it."""
    return f"patient/{decision.patient_id}/decision/{decision.id}"


def last_dose(visit: Visit, patient: Patient) -> LastDose | None:
    """What was given on the last day on which a dose was given, as far as it is final."""
    mine = Where("patient_id", "=", patient.id), Where("current", "=", 1), Where("status", "=", "final")
    told = "day", "value", "level"  # a line of the worklist is made often, and a whole fact costs more
    doses = visit.session.values(Fact, told, *mine, Where("kind", "=", "dose"), order=("-day", "-id"), limit=10)
    if not doses:
        return None
    newest = cast(str, doses[0][0])
    of_day = [(Decimal(cast(str, value)), level) for day, value, level in doses if day == newest]
    levels = [Decimal(cast(str, level)) for _, level in of_day if level is not None]
    return LastDose(
        newest,
        reduce(EXACT.add, (amount for amount, _ in of_day)),
        reduce(EXACT.add, levels) if len(levels) == len(of_day) else None,
    )


def change_of(before: LastDose | None, micrograms: Decimal | None) -> Change | None:
    """How an amount differs from the last dose; None where there is nothing to compare."""
    if before is None or micrograms is None or not before.micrograms:
        return None
    more = EXACT.subtract(micrograms, before.micrograms)
    percent = ratio_rounded(EXACT.multiply(abs(more), _HUNDRED), before.micrograms, Decimal(1)) if more else Decimal(0)
    return Change(before, more, percent.copy_sign(more))


def void(visit: Visit, patient: Patient, why: str) -> Patient:
    """End the decision that has not been carried out, if any: the course that it was made for is no longer the same."""
    decision = undelivered(visit, patient)
    return patient if decision is None else change_decision(visit, patient, decision, "void", why, status="void")[0]


def after_fact(visit: Visit, patient: Patient, old: Fact | None, new: Fact) -> bool:
    """Do to the decisions of a patient what a fact does that is recorded now, new or in place of an `old` version.

    Whether it is a dose on whose day the doses depart from what was decided.
    """
    if new.kind == "dose-not-given" and old is None:
        _not_given(visit, patient, new)
    if new.kind not in ENTRIES or not (patient.decided or new.kind == "dose"):
        return False
    facts = _with(visit.session.course_facts(patient.id), new)
    # The day that a dose was moved from comes first: what it carried out there, it carries out on its new day.
    days = list(dict.fromkeys(one.day for one in (old, new) if one is not None))
    wrong = False
    if new.kind == "dose":
        for day in days:
            patient, wrong = _settle_day(visit, patient, day, facts)
        if old is not None:
            patient = _carry_out_by_others(visit, patient, facts)
    patient = reopen(visit, patient, facts, min(days))
    _end_above_ceiling(visit, patient, facts)
    return wrong


def reopen(visit: Visit, patient: Patient, facts: Sequence[CourseFact], since: str) -> Patient:
    """Mark the decisions from a day on whose answer is another one by the facts as they are now; unmark the others."""
    if not patient.decided:
        return patient
    found = visit.session.find(
        Decision,
        Where("patient_id", "=", patient.id),
        Where("current", "=", 1),
        Where("day", ">=", since),
        Where("status", "in", _COUNTS),
        order=("day", "id"),
    )
    if since:  # made before that day, and still to be carried out or carried out since
        mine = Where("patient_id", "=", patient.id), Where("current", "=", 1), Where("day", "<", since)
        found += visit.session.find(Decision, *mine, Where("given_on", ">=", since), order=("day", "id"))
        live = undelivered(visit, patient)
        found += [live] if live is not None and live.status in _COUNTS and live.day < since else []
    for decision in found:
        patient = _reopen(visit, patient, decision, facts)
    return patient


def derive(
    visit: Visit, patient: Patient, decision: Decision, facts: Iterable[CourseFact]
) -> tuple[Recommendation, CourseVersion]:
    """The answer for the course and on the day of a decision, by the protocol's edition of then, but by other facts.

    Raises LookupError, InvalidProtocol.
    """
    course = visit.session.get(CourseVersion, decision.patient_id, decision.course_id, decision.course_version)
    if course is None:
        raise LookupError(f"no version {decision.course_version} of course {decision.course_id}")
    return derived(edition(visit, decision), patient, course, facts, decision.day), course


def derived(
    protocol: Protocol, patient: Patient, course: CourseVersion, facts: Iterable[CourseFact], day: str
) -> Recommendation:
    """The answer for a course on a day, by a protocol and the facts that are given."""
    request = read_document(course_document(patient, course, facts, day), lambda _: None)
    return recommend(protocol, request.course, request.on)


def edition(visit: Visit, decision: Decision) -> Protocol:
    """The protocol by which something was decided; raises LookupError, InvalidProtocol."""
    catalogue = visit.services.catalogue
    try:
        protocol = catalogue.get(decision.protocol)
        if protocol.sha256 == decision.protocol_sha256:
            return protocol
    except (KeyError, InvalidProtocol):
        pass
    kept = visit.session.get(ProtocolEdition, decision.protocol_sha256)
    if kept is None:
        raise LookupError(f"no edition {decision.protocol_sha256} of {decision.protocol}")
    return read_edition(decision.protocol, kept.text)


def over_ceiling(
    facts: Iterable[CourseFact], day: str, dosing_kg: Decimal | None, planned: Decimal = ZERO
) -> Decimal | None:
    """The most that may be given in the seven days that end on a day, in micrograms, if it is exceeded; else None.

    What is planned counts with what was given. The weight is the dosing weight or the newest, whichever is less;
    without any there is nothing to tell by.
    """
    known = [fact for fact in facts if fact.status == "final"]
    weights = [] if dosing_kg is None else [dosing_kg]
    newest = max((fact for fact in known if fact.kind == "weight"), key=lambda fact: (fact.day, fact.id), default=None)
    if newest is not None:
        weights.append(times(Decimal(newest.value or 0), KILOGRAMS_PER[newest.unit or ""] or Decimal(1)))
    return ceiling_exceeded(_doses_of(known), DAYS[day], weights, planned)


def given_in_a_week(facts: Iterable[CourseFact], day: str) -> Decimal:
    """What was given in the seven days that end on a day, in micrograms."""
    return of_a_week(_doses_of(facts), DAYS[day])


def _doses_of(facts: Iterable[CourseFact]) -> list[tuple[int, Decimal]]:
    doses = (fact for fact in facts if fact.kind == "dose" and fact.status == "final")
    return [(DAYS[fact.day], Decimal(fact.value or 0)) for fact in doses]


def dosing_weight(decision: Decision) -> Decimal | None:
    """The dosing weight of the answer that was decided upon, in kg."""
    evidence = cast("dict[str, dict[str, Decimal | None]]", reread(decision.answer))["evidence"]
    return evidence["dosing_weight_kg"]


def open_mismatches(visit: Visit, patient: Patient) -> list[DoseMismatch]:
    """The days whose doses depart from what was decided, and for which nobody has given a reason."""
    mine = Where("patient_id", "=", patient.id), Where("reason", "is null"), Where("departs", "!=", "[]")
    return visit.session.find(DoseMismatch, *mine, order=("day",))


def _with(facts: Iterable[CourseFact], new: Fact) -> list[CourseFact]:
    """The current facts with one that may not be among them yet; without it if it was entered in error."""
    others = [fact for fact in facts if fact.id != new.id]
    both = others if new.status == "entered-in-error" else [*others, course_fact(new)]
    return sorted(both, key=lambda fact: fact.id)


def _given(facts: Iterable[CourseFact], day: str) -> Decimal | None:
    """The micrograms given on a day; None if none were."""
    given = [Decimal(fact.value or 0) for fact in facts if _is_dose_of(fact, day)]
    return reduce(EXACT.add, given) if given else None


def _is_dose_of(fact: CourseFact, day: str) -> bool:
    return fact.kind == "dose" and fact.day == day and fact.status == "final"


def _settle_day(visit: Visit, patient: Patient, day: str, facts: Sequence[CourseFact]) -> tuple[Patient, bool]:
    """Tell by the doses of a day whether they carry out a decision, and whether they depart from it."""
    micrograms = _given(facts, day)
    mine = Where("patient_id", "=", patient.id), Where("current", "=", 1)
    delivered = visit.session.find(Decision, *mine, Where("given_on", "=", day)) if patient.decided else []
    decision = delivered[0] if delivered else None
    if micrograms is None:
        if decision is not None:
            patient = _take_back(visit, patient, decision)
        return patient, _keep_mismatch(visit, patient, _OfDay(day))
    live = undelivered(visit, patient)
    if decision is None and live is not None and live.status == "in-force" and live.dose and live.day <= day:
        patient, decision = change_decision(visit, patient, live, "deliver", status="delivered", given_on=day)
    if decision is None:
        wrong: tuple[str, ...] = ("no-decision",) if _needs_decision(visit, patient, day) else ()
        wrong += ("ceiling",) if wrong and over_ceiling(facts, day, None) is not None else ()
        return patient, _keep_mismatch(visit, patient, _OfDay(day, live, micrograms, wrong))
    reopened = _was_reopened(visit, patient, day) if delivered else _is_reopened(decision)
    wrong = _departs(decision, day, micrograms, reopened)
    wrong += ("ceiling",) if over_ceiling(facts, day, dosing_weight(decision)) is not None else ()
    return patient, _keep_mismatch(visit, patient, _OfDay(day, decision, micrograms, wrong))


def _carry_out_by_others(visit: Visit, patient: Patient, facts: Sequence[CourseFact]) -> Patient:
    """A decision that waits again is carried out by a dose that was recorded after it, if there is another one."""
    live = undelivered(visit, patient)
    if live is None or live.status != "in-force" or not live.dose:
        return patient
    later = {fact.day for fact in facts if _is_dose_of(fact, fact.day) and came_of(live, fact)}
    for day in sorted(later):
        patient, _ = _settle_day(visit, patient, day, facts)
    return patient


def _departs(decision: Decision, day: str, micrograms: Decimal, reopened: bool) -> tuple[str, ...]:
    """In what the doses of a day depart from a decision, that was `reopened` or not when they carried it out."""
    due = DAYS[cast(str, decision.due_on)]
    wrong = {
        "amount": departs(micrograms, cast(Decimal, decision.micrograms)),
        "early": is_early(DAYS[day], due),
        "late": is_late(DAYS[day], due),
        "re-opened": reopened,
    }
    return tuple(name for name, so in wrong.items() if so)


def _is_reopened(decision: Decision) -> bool:
    return decision.reopened_answer is not None and not decision.reviewed


def _was_reopened(visit: Visit, patient: Patient, day: str) -> bool:
    """Whether what the doses of a day carried out was re-opened then; a later correction is no fault of theirs."""
    before = visit.session.get(DoseMismatch, patient.id, day)
    return before is not None and "re-opened" in before.departs


def _take_back(visit: Visit, patient: Patient, decision: Decision) -> Patient:
    """The dose that carried a decision out never was: the decision waits again.

    Unless another one does; or the course or the answer has been changed since, which ends what was decided.
    """
    stands = decision.reopened_answer is None and _is_of(visit, decision)
    status = "superseded" if patient.decision_id is not None else "in-force" if stands else "void"
    return change_decision(visit, patient, decision, "dose-taken-back", status=status, given_on=None)[0]


def _is_of(visit: Visit, decision: Decision) -> bool:
    """Whether the course that a decision was made for is still as it was then."""
    course = visit.session.get(CourseVersion, decision.patient_id, decision.course_id, decision.course_version)
    return course is not None and course.current and course.status == "active"


def _needs_decision(visit: Visit, patient: Patient, day: str) -> bool:
    """Whether a dose of a day should have been decided upon: something was already, or the course was kept here."""
    mine = Where("patient_id", "=", patient.id), Where("current", "=", 1), Where("day", "<=", day)
    if patient.decided and visit.session.count(Decision, *mine):
        return True
    first_versions = Where("patient_id", "=", patient.id), Where("version", "=", 1), Where("started_on", "<=", day)
    courses = visit.session.find(CourseVersion, *first_versions, order=("-id",), limit=2)
    if not courses:
        return False
    kept_since = day_at(visit.clinic(patient.clinic_id), datetime.fromisoformat(courses[0].changed_at))
    of_that_day = courses[0].started_on == kept_since or len(courses) > 1
    return day > kept_since or (day == kept_since and of_that_day)


def _keep_mismatch(visit: Visit, patient: Patient, found: _OfDay) -> bool:
    """Keep in what the doses of a day depart, if in anything.

    A reason that was given stays as long as they are as much, and depart in the same.
    """
    day, decision, micrograms, wrong = found
    before = visit.session.get(DoseMismatch, patient.id, day)
    if before is None and not wrong:
        return False
    ident = None if decision is None else decision.id
    if before is not None and (before.departs, before.decision_id, before.micrograms) == (wrong, ident, micrograms):
        return bool(wrong)
    said = before is not None and (before.departs, before.micrograms) == (wrong, micrograms)
    new = DoseMismatch(
        patient_id=patient.id,
        day=day,
        version=1 if before is None else before.version + 1,
        decision_id=ident,
        micrograms=micrograms,
        departs=wrong,
        reason=before.reason if before is not None and said else None,
        reason_by=before.reason_by if before is not None and said else None,
        reason_at=before.reason_at if before is not None and said else None,
    )
    if before is None:
        visit.session.add(new)
    else:
        visit.session.change(new, Where("version", "=", before.version))
    visit.note("dose-mismatch", f"patient/{patient.id}/doses/{day}", patient=patient, departs=wrong)
    return bool(wrong)


def _not_given(visit: Visit, patient: Patient, fact: Fact) -> None:
    """A dose that was decided was not given: the decision is done with."""
    live = undelivered(visit, patient)
    if live is not None and live.status == "in-force" and live.dose and fact.day >= live.day:
        change_decision(visit, patient, live, "not-given", fact.code, status="not-given")


def _reopen(visit: Visit, patient: Patient, decision: Decision, facts: Iterable[CourseFact]) -> Patient:
    now = _answer_now(visit, patient, decision, [fact for fact in facts if not came_of(decision, fact)])
    if essence(now) == essence(decision.answer):
        if decision.reopened_answer is None:
            return patient
        nothing: Mapping[str, object] = {"reopened_answer": None, "reopened_at": None, "reopened_by": None}
        return change_decision(visit, patient, decision, "same-again", **nothing, reviewed=False)[0]
    if decision.reopened_answer is not None and essence(now) == essence(decision.reopened_answer):
        return patient
    marks = {
        "reopened_answer": now,
        "reopened_at": instant(visit.now),
        "reopened_by": visit.who.account_id,
        "reviewed": False,
    }
    return change_decision(visit, patient, decision, "reopen", **marks)[0]


def _answer_now(visit: Visit, patient: Patient, decision: Decision, known: Sequence[CourseFact]) -> str:
    """The answer that a decision is held against: that of its day, by the facts of now.

    What happened between that day and the day of its dose counts, too, or, while no dose has been given, whatever
    happened since: where that changes the action or the dose, the answer is that of the later day.
    """
    until = decision.given_on or (max(fact.day for fact in known) if known and decision.status in UNDELIVERED else "")
    later = [fact.day for fact in known if decision.day < fact.day <= until]
    if later and decision.dose:
        then = replace(decision, day=max(later))
        earlier = [fact for fact in known if fact.day <= decision.day]
        now, before = (derive(visit, patient, then, some)[0] for some in (known, earlier))
        if _gist(now) != _gist(before):
            return to_text(now)
    return to_text(derive(visit, patient, decision, known)[0])


def _gist(answer: Recommendation) -> tuple[object, ...]:
    """What an answer comes to for a dose that is decided; another safety event is another answer."""
    return answer.action, answer.dose, answer.facts.unresolved_safety_events()


def _end_above_ceiling(visit: Visit, patient: Patient, facts: Sequence[CourseFact]) -> None:
    """End what was decided and not carried out, if by what is known now it would be more than anybody may decide."""
    live = undelivered(visit, patient)
    if live is None or live.micrograms is None or live.due_on is None:
        return
    others = [fact for fact in facts if not came_of(live, fact)]
    # A dose may be given late: then those given after it was due are of its seven days, too.
    days = {live.due_on, *(fact.day for fact in others if fact.kind == "dose" and fact.day > live.due_on)}
    kg = dosing_weight(live)
    if any(over_ceiling(others, day, kg, live.micrograms) is not None for day in days):
        change_decision(visit, patient, live, "void", "over the ceiling, by what is known now", status="void")


def came_of(decision: Decision, fact: CourseFact) -> bool:
    """Whether a dose was given after a decision, on its day: it is no reason to decide otherwise."""
    return fact.kind == "dose" and fact.id > decision.revision and fact.day >= decision.day
