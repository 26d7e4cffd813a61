"""A patient's history, recorded at once: what a hospital has kept elsewhere for years, as one step.

The same facts come of it as if a feed had sent each entry, in order of day: they are read, judged and kept by what
`record` reads, judges and keeps them by, and a test holds the two together. But of a patient who is new here all that
an entry is judged by has just been read, so nothing is looked up again for each. Nobody is there to be asked: what is
implausible is kept unverified. The trail has one entry for all of it, with a digest of what was recorded.

An entry has a name at its source, by which it is known again: a file that is read twice is recorded once. One that says
something else than the first time is refused, not corrected: somebody may have corrected the record since.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final, NamedTuple, cast

from titrator.security.secrets import sha256
from titrator.store.base import Where
from titrator.store.records import CourseVersion, ExternalId, Fact, Identifier, Patient
from titrator.store.rows import mapping
from titrator.titration.course import MOST_ENTRIES, Course, Dose, Weight
from titrator.titration.errors import Fault
from titrator.titration.protocol import Protocol, WeeklyProtocol, WeightBasis
from titrator.titration.quantities import DAYS, KILOGRAMS_PER, tidy, times
from titrator.titration.terms import Facts, level_by_weight, weight_at
from titrator.workflow import courses
from titrator.workflow.delivery import after_fact
from titrator.workflow.errors import Code, Conflict, Invalid, Refusal
from titrator.workflow.facts import BY_KIND, Collection, Draft
from titrator.workflow.plausibility import (
    CLOSEST_DOSES,
    WITHOUT_COURSE,
    Question,
    far_level,
    moved_weight,
    questions,
)
from titrator.workflow.record import (
    FINAL,
    Source,
    change_patient,
    dated_draft,
    new_fact,
    new_patient,
    patient_shown,
    record,
    says,
    unanswered,
)
from titrator.workflow.visit import Visit, day_at

Body = Mapping[str, object]

#: Of a day: what a dose is judged by comes before it.
_ORDER: Final = {kind: place for place, kind in enumerate(("weight", "platelet-count", "observation", "event"))}
_LAST: Final = len(_ORDER)
UNATTENDED: Final = Source(unattended=True)
_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
#: Entries of the trail of single steps, for which the one of the whole stands.
_TOLD_TOGETHER: Final = frozenset({"create", "change", "start-course", "discontinue", "record", "link", "read"})
#: Why a course is ended that was over when it came here.
ENDED_BEFORE: Final = "It was over before the record was imported."


class Told(NamedTuple):
    """An entry: its place at the source, its name there, and what it says of which collection, as over REST.

    `source` has what else is said of it; nobody is there to be asked about it, whatever it says.
    """

    place: int
    name: str
    collection: Collection
    body: Body
    source: Source = UNATTENDED


class Person(NamedTuple):
    """Whose history it is: a number by its system, and what is needed of who is not here yet.

    With a `protocol` who was never on a course is put on one, from `started_on` or the day of the first dose, and up to
    `ended_on` if it is over.
    """

    system: str
    number: str
    clinic: str
    family_name: str | None = None
    given_name: str | None = None
    born_on: str | None = None
    protocol: str | None = None
    started_on: str | None = None
    ended_on: str | None = None


class Outcome(NamedTuple):
    """What became of a history: how many entries were recorded by kind, and were there already.

    `unverified` has those that wait, with what was to be asked; `refused` those that were not taken, with why: each by
    its place. Where the patient is refused, `refusal` says why, and nothing was recorded.
    """

    patient_id: str | None = None
    new: bool = False
    course: bool = False
    recorded: Mapping[str, int] = {}
    known: int = 0
    unverified: tuple[tuple[int, tuple[str, ...]], ...] = ()
    refused: tuple[tuple[int, str], ...] = ()
    refusal: str | None = None


class _Read(NamedTuple):
    """An entry that has been read."""

    told: Told
    draft: Draft


class New(NamedTuple):
    """All that is to be added of a patient who is new here, each as it is in the end; `detail` is for the trail."""

    patient: Patient
    identifier: Identifier
    courses: Sequence[CourseVersion]
    facts: Sequence[Fact]
    names: Sequence[ExternalId]
    detail: Body


class Prepared(NamedTuple):
    """A history as far as it could be told before anything is written.

    Of a patient who is `new` here that is all of it; of one who is here (`known`) nothing, but that the entries can be
    read. Of one who is refused, as the outcome says, there is neither.
    """

    person: Person
    told: Sequence[Told]
    system: str
    outcome: Outcome
    read: Sequence[_Read] = ()
    started_on: str | None = None
    known: Patient | None = None
    new: New | None = None


def import_history(visit: Visit, person: Person, told: Sequence[Told], system: str, about: Body) -> Outcome:
    """Record what is told of a person under names of a system; `about` says in the trail where it comes from."""
    (outcome,) = record_histories(visit, prepare_histories(visit, [(person, told)], system), about)
    return outcome


def prepare_histories(visit: Visit, all_told: Sequence[tuple[Person, Sequence[Told]]], system: str) -> list[Prepared]:
    """What is told of persons, read and judged; a visit that only reads will do, so others may write meanwhile.

    What is refused is refused here: then the outcome says why, and nothing is raised.
    """
    here = _here(visit, [person for person, _ in all_told])
    return [_prepared(visit, person, told, system, here) for person, told in all_told]


def record_histories(visit: Visit, prepared: Sequence[Prepared], about: Body) -> list[Outcome]:
    """Record what was prepared, of different persons; anew what somebody else has changed since.

    Patients who are new go in together. Raises Duplicate where somebody else adds one of them at the same moment, and
    whatever else changes under one's hands as Stale. Nothing is raised for what is refused.
    """
    here = _here(visit, [one.person for one in prepared if one.new is not None])
    now = [
        _prepared(visit, one.person, one.told, one.system, None)
        if one.known is not None or _key(one.person) in here
        else one
        for one in prepared
    ]
    _add_new(visit, [one.new for one in now if one.new is not None], about)
    return [one.outcome if one.known is None else _record_onto(visit, one, one.known, about) for one in now]


def _key(person: Person) -> tuple[str, str]:
    return person.system, person.number


def _here(visit: Visit, persons: Iterable[Person]) -> set[tuple[str, str]]:
    """Those of persons who are here, by system and number."""
    numbers: dict[str, list[str]] = {}
    for person in persons:
        numbers.setdefault(person.system, []).append(person.number)
    return {
        (found.system, found.value)
        for system, some in numbers.items()
        for found in visit.session.find(Identifier, Where("system", "=", system), Where("value", "in", tuple(some)))
    }


def _prepared(
    visit: Visit, person: Person, told: Sequence[Told], system: str, here: set[tuple[str, str]] | None
) -> Prepared:
    """What is told of a person, read and judged; who is `here` has been looked up, unless that is None."""
    try:
        patient = _known(visit, person) if here is None or _key(person) in here else None
        today = day_at(visit.clinic(person.clinic if patient is None else patient.clinic_id), visit.now)
        read, refused = _read_all(told, person.born_on if patient is None else patient.born_on or person.born_on, today)
        started_on = _course_from(visit, person, patient, read)
        if started_on is not None and person.ended_on is not None:
            _refuse_end(person.ended_on, started_on, today, read)
        outcome = Outcome(new=patient is None, course=started_on is not None, refused=tuple(refused))
        prepared = Prepared(person, told, system, outcome, read, started_on, patient)
        if patient is not None:
            return prepared
        _refuse_new(person, today, started_on)
        return _judged(visit, prepared, new_patient(visit, _particulars(person)))
    except Refusal as refusal:
        return Prepared(person, told, system, Outcome(refusal=reason_of(refusal)))


def reason_of(refusal: Refusal) -> str:
    """Why something is refused, in one line: each fault, else the message."""
    return "; ".join(map(str, refusal.faults)) or refusal.message


def _known(visit: Visit, person: Person) -> Patient | None:
    """The patient of the number, if there is one; raises Unknown, Conflict."""
    found = visit.session.get(Identifier, person.system, person.number)
    if found is None:
        return None
    patient = visit.patient(found.patient_id)
    if not patient.active:
        raise Conflict(Code.PATIENT_INACTIVE, "The patient is not active; make the record active first.")
    if person.born_on is not None and patient.born_on not in (None, person.born_on):
        raise Invalid(
            Fault("born_on", f"{person.born_on} here, {patient.born_on} in the record: is it the same person?")
        )
    return patient


def _refuse_new(person: Person, today: str, started_on: str | None) -> None:
    """Refuse a new patient of whom something is missing, or whose days cannot be."""
    faults = [
        Fault(key, "required of a new patient") for key in ("family_name", "given_name") if not getattr(person, key)
    ]
    if person.born_on is not None and person.born_on > today:
        faults.append(Fault("born_on", f"must not be after {today}, today at the clinic"))
    if started_on is not None and person.born_on is None:
        faults.append(Fault("born_on", "required for a course, for the labels' ages"))
    if started_on is not None and not (person.born_on or "") <= started_on <= today:
        faults.append(Fault("course_started_on", f"must be from {person.born_on} to {today}, today at the clinic"))
    if faults:
        raise Invalid(*faults)


def _refuse_end(ended_on: str, started_on: str, today: str, read: Sequence[_Read]) -> None:
    """Refuse the end of a course before its start, after today, or before a dose of it."""
    last = max((one.draft.day for one in read if one.draft.kind == "dose"), default=started_on)
    if not max(started_on, last) <= ended_on <= today:
        says = f"must be from {max(started_on, last)}, the start or the last dose, to {today}, today at the clinic"
        raise Invalid(Fault("course_ended_on", says))


def _particulars(person: Person) -> Body:
    body: dict[str, object] = {
        "clinic": person.clinic,
        "family_name": person.family_name,
        "given_name": person.given_name,
        "identifiers": [{"system": person.system, "value": person.number}],
    }
    return body if person.born_on is None else body | {"born_on": person.born_on}


def _read_all(told: Iterable[Told], born_on: str | None, today: str) -> tuple[list[_Read], list[tuple[int, str]]]:
    """The entries that can be recorded, by day, what a dose is judged by first, else as told; and why others cannot.

    Entries of one place go together: where one cannot be recorded, none of them is.
    """
    read: list[_Read] = []
    refused: list[tuple[int, str]] = []
    for one in told:
        draft, faults = dated_draft(one.collection, one.body, born_on, today)
        if faults:
            refused.append((one.place, "; ".join(map(str, faults))))
        else:
            read.append(_Read(one, draft if one.source.at is None else draft._replace(taken_at=one.source.at)))
    if refused:
        wrong = {place for place, _ in refused}
        read = [one for one in read if one.told.place not in wrong]
    read.sort(key=_day_and_order)
    return read, refused


def _day_and_order(one: _Read) -> tuple[str, int]:
    return one.draft.day, _ORDER.get(one.draft.kind, _LAST)


def _course_from(visit: Visit, person: Person, patient: Patient | None, read: Sequence[_Read]) -> str | None:
    """The day from which a course is to be started; None where none is, or the patient was on one already."""
    if person.protocol is None:
        return None
    if wrong := visit.services.catalogue.fault(person.protocol):
        raise Invalid(Fault("protocol", wrong))
    if patient is not None and courses.history(visit, patient):
        return None
    first = next((one.draft.day for one in read if one.draft.kind == "dose"), None)
    return person.started_on or first


def _judged(visit: Visit, prepared: Prepared, patient: Patient) -> Prepared:
    """What was prepared of a new patient, with all that is to be added."""
    person, ident, system = prepared.person, patient.id, prepared.system
    begun = [] if prepared.started_on is None else [_begun(visit, ident, person, prepared.started_on)]
    protocol = visit.services.catalogue.get(begun[0].protocol) if begun else None
    chart = _Chart(person.born_on, protocol, prepared.started_on)
    facts: list[Fact] = []
    names: list[ExternalId] = []
    refused = list(prepared.outcome.refused)
    unverified: list[tuple[int, tuple[str, ...]]] = []
    recorded: Counter[str] = Counter()
    revision = len(begun)
    for (place, name, _, _, source), draft in prepared.read:
        if recorded[draft.kind] >= MOST_ENTRIES:
            refused.append((place, f"{MOST_ENTRIES} entries of this kind are recorded of the patient"))
            continue
        codes = tuple([str(code) for code, _ in chart.questions(draft)])
        judged = unanswered(codes, source) or FINAL
        revision += 1
        fact = new_fact(visit, (ident, revision), draft, judged, "correct" if source.corrected else "record")
        facts.append(fact)
        names.append(ExternalId(patient_id=ident, system=system, value=name, fact_id=revision))
        recorded[draft.kind] += 1
        if judged.asked:
            unverified.append((place, judged.asked))
        else:
            chart.add(fact)
    outcome = prepared.outcome._replace(
        patient_id=ident, recorded=dict(recorded), unverified=tuple(unverified), refused=tuple(refused)
    )
    versions = begun if person.ended_on is None else [version for one in begun for version in _over(visit, one, person)]
    identifier = Identifier(patient_id=ident, system=person.system, value=person.number)
    detail = {
        "new": patient_shown(patient, [identifier]),
        **({"course": courses.fields(versions[-1])} if versions else {}),
        **_summary(outcome, facts),
    }
    whole = replace(patient, revision=len(versions) + len(facts), settled=not (versions or facts))
    return prepared._replace(outcome=outcome, new=New(whole, identifier, versions, facts, names, detail))


def _begun(visit: Visit, ident: str, person: Person, started_on: str) -> CourseVersion:
    """The course of a new patient, which is the first that is recorded of one."""
    return courses.first_version(visit, (ident, 1), cast(str, person.protocol), started_on)


def _over(visit: Visit, course: CourseVersion, person: Person) -> tuple[CourseVersion, CourseVersion]:
    """A course as it was, and as it ended."""
    ended = {"status": "discontinued", "ended_on": person.ended_on}
    return replace(course, current=False), courses.next_version(visit, course, "discontinue", ENDED_BEFORE, **ended)


def _add_new(visit: Visit, new: Sequence[New], about: Body) -> None:
    """Add patients of whom nothing was recorded before."""
    visit.session.add(
        *(one.patient for one in new),
        *(one.identifier for one in new),
        *(course for one in new for course in one.courses),
        *(fact for one in new for fact in one.facts),
        *(name for one in new for name in one.names),
    )
    for one in new:
        before = len(visit.entries)
        if one.courses:  # a dose of a day before the course was kept here needs no decision
            today = visit.today(one.patient)
            for fact in one.facts:
                if fact.kind == "dose" and fact.day >= today:
                    after_fact(visit, one.patient, None, fact)
        _note(visit, one.patient, before, {**about, **one.detail})


def _record_onto(visit: Visit, prepared: Prepared, patient: Patient, about: Body) -> Outcome:
    """Record what is new of a patient who was here before, each entry as a feed's."""
    person, before = prepared.person, len(visit.entries)
    made: dict[str, object] = {}
    if patient.born_on is None and person.born_on is not None:
        patient = change_patient(visit, patient.id, {"born_on": person.born_on}, None)
        made["new"] = {"born_on": person.born_on}
    if prepared.started_on is not None:
        asked = {"protocol": person.protocol, "started_on": prepared.started_on}
        course = courses.start(visit, patient.id, asked)
        made["course"] = courses.fields(course)
        patient = replace(patient, revision=course.id, settled=False)
    outcome, facts = _record_each(visit, patient, prepared)
    if prepared.started_on is not None and person.ended_on is not None:
        over = {"ended_on": person.ended_on, "reason": ENDED_BEFORE}
        made["course"] = courses.fields(courses.discontinue(visit, patient.id, over, None))
    outcome = outcome._replace(patient_id=patient.id)
    detail = {**about, **made, **_summary(outcome, facts)} if made or outcome.recorded else None
    _note(visit, patient, before, detail)
    return outcome


def _note(visit: Visit, patient: Patient, before: int, detail: Body | None) -> None:
    """Leave one entry for all of a history in place of those of its steps; none where there is nothing to tell."""
    visit.entries[before:] = [one for one in visit.entries[before:] if one.action not in _TOLD_TOGETHER]
    if detail is not None:
        visit.note("import", f"patient/{patient.id}", patient=patient, **detail)


def _record_each(visit: Visit, patient: Patient, prepared: Prepared) -> tuple[Outcome, list[Fact]]:
    """Record the entries that are not there yet, each as a feed's."""
    before = _named(visit, patient, prepared.system)
    facts: list[Fact] = []
    refused = list(prepared.outcome.refused)
    unverified: list[tuple[int, tuple[str, ...]]] = []
    recorded: Counter[str] = Counter()
    known = 0
    for one, draft in prepared.read:
        versions = before.get(one.name)
        if versions is not None:
            if any(says(version, draft) for version in versions):
                known += 1
            else:
                refused.append((one.place, _changed(versions[-1])))
            continue
        body = {**one.body, "external_id": {"system": prepared.system, "value": one.name}}
        try:
            fact, new, _ = record(visit, patient.id, one.collection, body, one.source)
        except Refusal as refusal:
            refused.append((one.place, reason_of(refusal)))
            continue
        if not new:
            known += 1
            continue
        facts.append(fact)
        recorded[fact.kind] += 1
        if fact.asked:
            unverified.append((one.place, fact.asked))
    outcome = prepared.outcome._replace(
        recorded=dict(recorded), known=known, unverified=tuple(unverified), refused=tuple(refused)
    )
    return outcome, facts


def _changed(fact: Fact) -> str:
    name = f"{BY_KIND[fact.kind].name}/{fact.id}"
    return f"was imported before and said something else; correct {name} in the record if the file is right now"


def _named(visit: Visit, patient: Patient, system: str) -> dict[str, list[Fact]]:
    """By the name that a system has for them, all versions of a patient's facts, the current one last."""
    mine = Where("patient_id", "=", patient.id)
    names = visit.session.find(ExternalId, mine, Where("system", "=", system))
    if not names:
        return {}
    versions: dict[int, list[Fact]] = {}
    for fact in visit.session.find(Fact, mine, order=("id", "version")):
        versions.setdefault(fact.id, []).append(fact)
    return {name.value: versions[name.fact_id] for name in names}


def _summary(outcome: Outcome, facts: Sequence[Fact]) -> dict[str, object]:
    """What the trail says of a history: how much, which facts, and a digest of them as they are stored."""
    to_row = mapping(Fact).to_row
    return {
        "recorded": dict(outcome.recorded),
        "facts": [facts[0].id, facts[-1].id] if facts else None,
        "unverified": [fact.id for fact in facts if fact.status == "unverified"],
        "facts_sha256": sha256(_json([to_row(fact) for fact in facts])),
    }


class _Chart:
    """What the entries of a new patient are judged by: the final facts so far, in order of day."""

    def __init__(self, born_on: str | None, protocol: Protocol | None, started_on: str | None) -> None:
        self.born_on = born_on
        self.protocol = protocol
        self.started_on = started_on
        self.last: dict[tuple[str, str | None], Fact] = {}
        self.of_day: list[Fact] = []  # the weights of the last day of any
        self.given: list[Fact] = []
        self.weights: list[Weight] = []  # the last of each day
        self.doses: list[Dose] = []  # of the course

    def questions(self, draft: Draft) -> list[Question]:
        """What an entry makes one ask."""
        match draft.kind:
            case "dose":
                near = [fact for fact in self.given[-1:] if DAYS[draft.day] - DAYS[fact.day] < CLOSEST_DOSES]
                return [*questions(draft, near, born_on=self.born_on), *self._of_dose(draft)]
            case "weight":
                same = self.of_day if self.of_day and self.of_day[-1].day == draft.day else self._before(draft)
                return [*questions(draft, same, born_on=self.born_on), *self._of_weight(draft)]
            case _:
                return questions(draft, self._before(draft), born_on=self.born_on)

    def add(self, fact: Fact) -> None:
        """Add a final fact, later than those before or of the same day."""
        self.last[fact.kind, fact.code] = fact
        if fact.kind == "weight":
            if self.weights and self.weights[-1].day == DAYS[fact.day]:
                self.weights.pop()
            self.weights.append(_weight(fact.day, fact.value, fact.unit))
            if self.of_day and self.of_day[-1].day != fact.day:
                self.of_day = []
            self.of_day.append(fact)
        elif fact.kind == "dose":
            self.given.append(fact)
            if self.started_on is not None and fact.day >= self.started_on:
                self.doses.append(Dose(DAYS[fact.day], cast(Decimal, fact.value), fact.level))

    def _before(self, draft: Draft) -> list[Fact]:
        found = self.last.get((draft.kind, draft.code))
        return [] if found is None else [found]

    def _of_dose(self, draft: Draft) -> list[Question]:
        if self.protocol is None:
            return [WITHOUT_COURSE]
        if not isinstance(self.protocol, WeeklyProtocol):
            return []
        # Two final doses never lie as close as a few days: the last before this day is one of the last two.
        day, value = DAYS[draft.day], cast(Decimal, draft.value)
        last = next((dose for dose in reversed(self.doses[-2:]) if dose.day < day), None)
        first = self.doses[0] if last is not None else None
        before: Decimal | None = self.protocol.start
        if last is not None:
            weighed = (
                self._level(last.day, last.micrograms, first) if self.weights and self.weights[0].day < day else None
            )
            before = last.level if last.level is not None else weighed
        return far_level(draft, self.protocol, self._level(day, value, None), before, first=last is None)

    def _level(self, day: int, micrograms: Decimal, first: Dose | None) -> Decimal | None:
        """The level of a dose by weight, of a course with a `first` dose or of this one; None without a weight."""
        if not self.weights or not isinstance(self.protocol, WeeklyProtocol):
            return None
        follows_first = first is not None and self.protocol.weight_basis is WeightBasis.BASELINE
        weight = weight_at(self.weights, first.day if first is not None and follows_first else day)
        return level_by_weight(self.protocol, micrograms, weight.kg)

    def _of_weight(self, draft: Draft) -> list[Question]:
        protocol = self.protocol
        if protocol is None or protocol.weight_basis is not WeightBasis.BASELINE or not self.doses:
            return []
        first, day = self.doses[0], DAYS[draft.day]
        if self.weights and self.weights[0].day <= first.day < day:  # doses follow a weight that this one is after
            return []
        with_it = [*self.weights, _weight(draft.day, draft.value, draft.unit)]
        was, becomes = (
            Facts(protocol, Course(weights=tuple(some), doses=(first,)), day) for some in (self.weights, with_it)
        )
        return moved_weight(protocol, was, becomes)


def _weight(day: str, value: Decimal | None, unit: str | None) -> Weight:
    amount, factor = cast(Decimal, value), KILOGRAMS_PER[unit or ""]
    return Weight(DAYS[day], amount if factor is None else tidy(times(amount, factor)))
