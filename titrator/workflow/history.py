"""A patient's history, recorded at once: what a hospital has kept elsewhere for years, as one step.

The same facts come of it as if a feed had sent each entry, in order of day: they are read, judged and kept by what
`record` reads, judges and keeps them by, and a test holds the two together. But of a patient who is new here all that
an entry is judged by has just been read, so nothing is looked up again for each. Nobody is there to be asked: what is
implausible is kept unverified. The trail has one entry for all of it, with a digest of what was recorded.

An entry has a name at its source, by which it is known again: a file that is read twice is recorded once. One that says
something else than the first time is refused, not corrected: somebody may have corrected the record since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final, NamedTuple, cast

from titrator.protocols import Catalogue
from titrator.security.secrets import sha256
from titrator.store.base import Where
from titrator.store.records import CourseVersion, ExternalId, Fact, Identifier, Patient
from titrator.store.rows import mapping
from titrator.titration.course import MOST_ENTRIES, Course, Dose, Weight
from titrator.titration.errors import Fault, InvalidProtocol
from titrator.titration.protocol import Protocol, WeeklyProtocol, WeightBasis
from titrator.titration.quantities import DAYS, KILOGRAMS_PER, tidy, times
from titrator.titration.terms import Facts
from titrator.workflow import courses
from titrator.workflow.delivery import after_fact
from titrator.workflow.errors import Code, Conflict, Invalid, Refusal
from titrator.workflow.facts import BY_KIND, Collection, Draft
from titrator.workflow.plausibility import (
    CLOSEST_DOSES,
    WITHOUT_COURSE,
    Question,
    far_from_last,
    moved_weight,
    questions,
)
from titrator.workflow.record import (
    Judgement,
    Source,
    add_patient,
    change_patient,
    dated_draft,
    new_fact,
    patient_fields,
    record,
    says,
)
from titrator.workflow.visit import Visit, day_at, text_of

Body = Mapping[str, object]

#: Of a day: what a dose is judged by comes before it.
_ORDER: Final = {kind: place for place, kind in enumerate(("weight", "platelet-count", "observation", "event"))}
_LAST: Final = len(_ORDER)
_UNATTENDED: Final = Source(unattended=True)
#: Entries of the trail of single steps, for which the one of the whole stands.
_TOLD_TOGETHER: Final = frozenset({"create", "change", "start-course", "record", "link", "read"})


class Told(NamedTuple):
    """An entry: its place at the source, its name there, and what it says of which collection, as over REST."""

    place: int
    name: str
    collection: Collection
    body: Body


class Person(NamedTuple):
    """Whose history it is: a number by its system, and what is needed of who is not here yet.

    With a `protocol` who was never on a course is put on one, from `started_on` or the day of the first dose.
    """

    system: str
    number: str
    clinic: str
    family_name: str | None = None
    given_name: str | None = None
    born_on: str | None = None
    protocol: str | None = None
    started_on: str | None = None


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


def import_history(visit: Visit, person: Person, told: Sequence[Told], system: str, about: Body) -> Outcome:
    """Record what is told of a person under names of a system; `about` says in the trail where it comes from.

    What is refused is refused before anything is written: then the outcome says why, and nothing is raised.
    """
    try:
        patient = _known(visit, person)
        today = day_at(visit.clinic(person.clinic if patient is None else patient.clinic_id), visit.now)
        read, refused = _read_all(told, person.born_on if patient is None else patient.born_on or person.born_on, today)
        started_on = _course_from(visit, person, patient, read)
        if patient is None:
            _refuse_new(person, today, started_on)
    except Refusal as refusal:
        return Outcome(refusal=reason_of(refusal))
    new = patient is None
    before = len(visit.entries)
    made: dict[str, object] = {}
    if patient is None:
        patient = add_patient(visit, _particulars(person))
        made["new"] = patient_fields(visit, patient)
    elif patient.born_on is None and person.born_on is not None:
        patient = change_patient(visit, patient.id, {"born_on": person.born_on}, None)
        made["new"] = {"born_on": person.born_on}
    course = None
    if started_on is not None:
        course = courses.start(visit, patient.id, {"protocol": person.protocol, "started_on": started_on})
        made["course"] = courses.fields(course)
        patient = replace(patient, revision=course.id, settled=False)
    write = _record_new if new else _record_onto
    outcome, facts = write(visit, patient, course, read, system)
    outcome = outcome._replace(
        patient_id=patient.id, new=new, course=course is not None, refused=(*refused, *outcome.refused)
    )
    visit.entries[before:] = [one for one in visit.entries[before:] if one.action not in _TOLD_TOGETHER]
    if new or course is not None or outcome.recorded:
        visit.note("import", f"patient/{patient.id}", patient=patient, **about, **made, **_summary(outcome, facts))
    return outcome


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


def _particulars(person: Person) -> Body:
    body: dict[str, object] = {
        "clinic": person.clinic,
        "family_name": person.family_name,
        "given_name": person.given_name,
        "identifiers": [{"system": person.system, "value": person.number}],
    }
    return body if person.born_on is None else body | {"born_on": person.born_on}


def _read_all(told: Iterable[Told], born_on: str | None, today: str) -> tuple[list[_Read], list[tuple[int, str]]]:
    """The entries that can be recorded, in order of day, what a dose is judged by first; and why others cannot.

    Entries of one place go together: where one cannot be recorded, none of them is.
    """
    read: list[_Read] = []
    refused: list[tuple[int, str]] = []
    for one in told:
        draft, faults = dated_draft(one.collection, one.body, born_on, today)
        if faults:
            refused.append((one.place, "; ".join(map(str, faults))))
        else:
            read.append(_Read(one, draft))
    if refused:
        wrong = {place for place, _ in refused}
        read = [one for one in read if one.told.place not in wrong]
    read.sort(key=_day_and_order)
    return read, refused


def _day_and_order(one: _Read) -> tuple[str, int, int]:
    return one.draft.day, _ORDER.get(one.draft.kind, _LAST), one.told.place


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


Written = tuple[Outcome, list[Fact]]


def _record_new(
    visit: Visit, patient: Patient, course: CourseVersion | None, read: Sequence[_Read], system: str
) -> Written:
    """Record all of a patient of whom nothing was recorded before."""
    chart = _Chart(visit.services.catalogue, patient, course)
    facts: list[Fact] = []
    names: list[ExternalId] = []
    refused: list[tuple[int, str]] = []
    unverified: list[tuple[int, tuple[str, ...]]] = []
    recorded: Counter[str] = Counter()
    revision = patient.revision
    for (place, name, _, _), draft in read:
        if recorded[draft.kind] >= MOST_ENTRIES:
            refused.append((place, f"{MOST_ENTRIES} entries of this kind are recorded of the patient"))
            continue
        asked = tuple([str(code) for code, _ in chart.questions(draft)])
        revision += 1
        judged = Judgement(asked, None, "unverified" if asked else "final")
        fact = new_fact(visit, (patient.id, revision), draft, judged, "record")
        facts.append(fact)
        names.append(ExternalId(patient_id=patient.id, system=system, value=name, fact_id=revision))
        recorded[draft.kind] += 1
        if asked:
            unverified.append((place, asked))
        else:
            chart.add(fact)
    if facts:
        patient = visit.change(patient, replace(patient, revision=revision, settled=False))
        visit.session.add(*facts)
        visit.session.add(*names)
    if course is not None:  # a dose of a day before the course was kept here needs no decision
        today = visit.today(patient)
        for fact in facts:
            if fact.kind == "dose" and fact.day >= today:
                after_fact(visit, patient, None, fact)
    return Outcome(recorded=dict(recorded), unverified=tuple(unverified), refused=tuple(refused)), facts


def _record_onto(
    visit: Visit, patient: Patient, course: CourseVersion | None, read: Sequence[_Read], system: str
) -> Written:
    """Record what is new of a patient who was here before, each entry as a feed's."""
    del course
    before = _named(visit, patient, system)
    facts: list[Fact] = []
    refused: list[tuple[int, str]] = []
    unverified: list[tuple[int, tuple[str, ...]]] = []
    recorded: Counter[str] = Counter()
    known = 0
    for one, draft in read:
        versions = before.get(one.name)
        if versions is not None:
            if any(says(version, draft) for version in versions):
                known += 1
            else:
                refused.append((one.place, _changed(versions[-1])))
            continue
        body = {**one.body, "external_id": {"system": system, "value": one.name}}
        try:
            fact, new, _ = record(visit, patient.id, one.collection, body, _UNATTENDED)
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
    return Outcome(recorded=dict(recorded), known=known, unverified=tuple(unverified), refused=tuple(refused)), facts


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
        "facts_sha256": sha256(text_of([to_row(fact) for fact in facts])),
    }


class _Chart:
    """What the entries of a new patient are judged by: the final facts so far, in order of day."""

    def __init__(self, catalogue: Catalogue, patient: Patient, course: CourseVersion | None) -> None:
        self.born_on = patient.born_on
        self.course = course
        self.protocol = None if course is None else _protocol(catalogue, course)
        self.last: dict[tuple[str, str | None], Fact] = {}
        self.of_day: list[Fact] = []  # the weights of the last day of any
        self.given: list[Fact] = []
        self.weights: list[Weight] = []
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
            self.weights.append(_weight(fact.day, fact.value, fact.unit))
            if self.of_day and self.of_day[-1].day != fact.day:
                self.of_day = []
            self.of_day.append(fact)
        elif fact.kind == "dose":
            self.given.append(fact)
            if self.course is not None and fact.day >= self.course.started_on:
                self.doses.append(Dose(DAYS[fact.day], cast(Decimal, fact.value), fact.level))

    def _before(self, draft: Draft) -> list[Fact]:
        found = self.last.get((draft.kind, draft.code))
        return [] if found is None else [found]

    def _of_dose(self, draft: Draft) -> list[Question]:
        if self.course is None:
            return [WITHOUT_COURSE]
        if not isinstance(self.protocol, WeeklyProtocol):
            return []
        # Two final doses never lie as close as a few days: the last before this day is one of the last two.
        last = [dose for dose in self.doses[-2:] if dose.day < DAYS[draft.day]][-1:]
        first = [] if not last or self.doses[0] is last[0] else self.doses[:1]
        course = Course(weights=tuple(self.weights), doses=(*first, *last))
        return far_from_last(draft, self.protocol, course)

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


def _protocol(catalogue: Catalogue, course: CourseVersion) -> Protocol | None:
    try:
        return catalogue.get(course.protocol)
    except (KeyError, InvalidProtocol):
        return None
