"""A course document of the resources that a hospital system sent. Pure: what was not sent is not fetched here.

What a system could not deliver is never an empty list: a key that is an error, a page of several, a count without its
unit are faults, each with its path, and a document with faults is not answered. What is left out on purpose because it
does not count (a preliminary weight, what is dated later) is told in notes, for people.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from operator import itemgetter
from typing import Any, Final, NamedTuple, cast
from zoneinfo import ZoneInfo

from schemas import fhir
from schemas.fields import kind_of
from titrator.fhir.codes import (
    BY_LOINC,
    LOINC,
    MEASURED,
    OTHER_COUNTS,
    OWN,
    SNOMED,
    TRANSFUSIONS,
    is_atc,
    is_itp,
    is_like_a_count,
    is_of_the_past,
    is_romiplostim,
    looks_like,
    may_raise,
    procedure_may_raise,
)
from titrator.fhir.elements import Place, coding_codes, root, texts_of
from titrator.fhir.giving import BASELINE_EXTENSION, ELIGIBILITY_EXTENSION, MEDICINE, PROTOCOL_EXTENSION
from titrator.fhir.outcome import located
from titrator.fhir.plain import plain
from titrator.fhir.taking import RESOLVED_EXTENSION, Said, contained, is_unreliable, said_of_event, take
from titrator.titration.course import EventKind, entry_faults
from titrator.titration.errors import Fault
from titrator.titration.quantities import EXACT, GIGA_PER_LITRE_PER, KILOGRAMS_PER, tidy
from titrator.titration.quantities import plain as plain_number
from titrator.titration.terms import RESCUE_CONFOUNDS
from titrator.workflow.errors import Invalid
from titrator.workflow.facts import PLATELET_COUNTS, SUBCUTANEOUS, WEIGHTS
from titrator.workflow.plausibility import TENFOLD, WEIGHT_WITHIN

PATIENT: Final = "patient"
#: What each key of a prefetch has: one Patient, or a searchset Bundle of resources of a type.
KINDS: Final[Mapping[str, str]] = {
    PATIENT: "Patient",
    "platelets": "Observation",
    "weights": "Observation",
    "doses": "MedicationAdministration",
    "procedures": "Procedure",
    "adverseEvents": "AdverseEvent",
    "conditions": "Condition",
}
_OF_PATIENT: Final = "{{context.patientId}}"
_RELEVANT: Final = {one.collection.name: one for one in MEASURED if one.collection in (PLATELET_COUNTS, WEIGHTS)}


def _observations(name: str) -> str:
    others = OTHER_COUNTS if name == PLATELET_COUNTS.name else ()
    return ",".join(f"{LOINC}|{code}" for code in (*(code for code, _ in _RELEVANT[name].loinc), *others))


#: By key: what a client is asked to fetch beforehand. AdverseEvent has no search parameter `patient` in R4.
TEMPLATES: Final[Mapping[str, str]] = {
    PATIENT: f"Patient/{_OF_PATIENT}",
    "platelets": f"Observation?patient={_OF_PATIENT}&code={_observations('platelet-counts')}&_count=1000",
    "weights": f"Observation?patient={_OF_PATIENT}&code={_observations('weights')}&_count=1000",
    "doses": f"MedicationAdministration?patient={_OF_PATIENT}&_count=1000",
    "procedures": f"Procedure?patient={_OF_PATIENT}&_count=1000",
    "adverseEvents": f"AdverseEvent?subject=Patient/{_OF_PATIENT}&_count=1000",
    "conditions": f"Condition?patient={_OF_PATIENT}&_count=1000",
}

_PATIENT_REFERENCE: Final = re.compile(r"(https?://\S+/)?Patient/([A-Za-z0-9.-]{1,64})(?:/_history/[^/\s]*)?", re.ASCII)
#: Elements that say nothing of what a rule looks at, and so are not read.
_UNREAD: Final = ("identifier", "note", "text", "contained")
_NO_RESULT: Final = ("registered", "cancelled", "entered-in-error")
_NOT_GIVEN: Final = ("not-done", "entered-in-error")
_NOT_DONE: Final = ("preparation", "not-done", "entered-in-error")
_MEASURED: Final = ("measured_on", "collected_on", "value", "unit")
_GIVEN: Final = ("given_on", "micrograms", "micrograms_per_kg")
_HAPPENED: Final = ("kind", "occurred_on", "resolved_on")
_OVER: Final = ("inactive", "remission", "resolved")
_NOT_SO: Final = ("entered-in-error", "refuted")
_SNOMED_KINDS: Final = frozenset(code for code, _ in TRANSFUSIONS.values())
_PROCEDURES: Final = (*TRANSFUSIONS, EventKind.RESCUE_THERAPY)
#: Kinds of events that change no dose.
_IDLE: Final = (EventKind.ADVERSE_EVENT, EventKind.RED_CELL_TRANSFUSION)
_ALL: Final = "all of it must be sent, or be left to be fetched"
_MOST_NAMED: Final = 10
_SHOWN: Final = 200
#: Days within which a medicine that cannot be told may be a dose that counts.
_RECENT: Final = 35
_UNRELIABLE: Final = " (unreliable)"
_FACTORS: Final = {"platelet_counts": GIGA_PER_LITRE_PER, "weights": KILOGRAMS_PER}
#: Of an entry of a list its day, and what it is put in order by.
_DAY: Final = itemgetter(0)
_IN_ORDER: Final = itemgetter(0, 1, 2)
#: What an entry says of why it was found, if it was searched for.
_MATCHES: Final = (None, {"mode": "match"})
_BEFORE_ALL: Final = datetime.min.replace(tzinfo=UTC)


class Sent(NamedTuple):
    """A resource as it was sent, and where it stood; whether it is known that nothing modifies what is in it.

    Of an entry of a Bundle it is the number that is kept: where it stood is asked for only if something is wrong.
    """

    resource: object
    within: str
    unmodified: bool = False
    entry: int | None = None

    @property
    def path(self) -> str:
        """Where it stood."""
        return self.within if self.entry is None else f"{self.within}.entry[{self.entry}].resource"


class Found(NamedTuple):
    """What there is of a key: the resources, and the faults for which they are not all there."""

    sent: tuple[Sent, ...]
    faults: tuple[Fault, ...] = ()


class Made(NamedTuple):
    """A course document, and what was left out of it, in words.

    `cautions` tell what was not understood and may matter; `stops` what looks like a safety event without our code.
    `concerns` is whether anything but counts speaks of romiplostim: a dose of it, immune thrombocytopenia, or what was
    confirmed for it. `doubts` is whether cautions are such that no dose should be suggested before they are looked at.
    """

    document: dict[str, object]
    notes: tuple[str, ...]
    cautions: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    concerns: bool = False
    doubts: bool = False


class _Value(NamedTuple):
    """A count or a weight in its base unit."""

    day: str
    value: Decimal
    unreliable: bool


class _Dated(NamedTuple):
    """Something by its day, and its name."""

    day: str
    name: str

    def __str__(self) -> str:
        return f"{self.name}, {self.day or 'without a date'}"


def found_in(key: str, value: object, *, unmodified: bool = False) -> Found:
    """What the value of a key of a prefetch has; null is a search that found nothing.

    If it is known that nothing in it modifies a resource, that need not be looked for.
    """
    path = f"prefetch.{key}"
    if value is None:
        if key != PATIENT:
            return Found(())
        return Found((), (Fault(path, "must be the patient of the context: null says that there is none"),))
    if not isinstance(value, dict):
        return Found((), (Fault(path, f"must be an object, not {kind_of(value)}"),))
    if value.get("resourceType") == "OperationOutcome":
        return Found((), (Fault(path, f"could not be fetched: {outcome_text(value)}"),))
    if key == PATIENT:
        return Found((Sent(value, path),))
    faults: list[Fault] = []
    sent = tuple(_entries(value, path, KINDS[key], faults, unmodified=unmodified))
    return Found(sent, tuple(faults))


def outcome_text(outcome: Mapping[str, object]) -> str:
    """What an OperationOutcome of another system says, on one line and not too long."""
    issues = outcome.get("issue")
    said = []
    for issue in issues if isinstance(issues, list) else []:
        details = issue.get("details") if isinstance(issue, dict) else None
        texts = [issue.get("diagnostics"), issue.get("code")] if isinstance(issue, dict) else []
        texts.insert(1, details.get("text") if isinstance(details, dict) else None)
        said += [text for text in texts if isinstance(text, str) and text][:1]
    return _on_a_line("; ".join(said)) or "no reason is given"


def course_of(  # noqa: PLR0913 (the question, the place, the facts, and what is wrong with them)
    protocol: str,
    on: str,
    zone: ZoneInfo,
    resources: Iterable[Sent],
    faults: list[Fault],
    *,
    patient: str | None = None,
    base: str | None = None,
) -> Made:
    """The course document of a patient on a day, made of resources of the types KINDS, at a clinic of a time zone.

    Of resources of one day the last one stands, by instant of taking, then of issue, then as sent. If the id of the
    patient is named, what is of another one, or of nobody, is a fault; so is an absolute reference to another server
    than `base`, if that is named. A document is to be answered only if there are no faults.
    """
    sent = list(resources)
    reader = _Reader(
        protocol=protocol,
        on=on,
        zone=zone,
        faults=faults,
        patient=patient,
        base=base,
        medications=_medications(sent),
    )
    for one in sent:
        reader.read(one)
    return reader.made()


def has_died(patient: Place) -> bool:
    """Whether a Patient is recorded as having died."""
    return any(patient[key].value not in (None, False) for key in ("deceasedBoolean", "deceasedDateTime"))


def romiplostim(order: Place, medications: Mapping[str, object] | None = None) -> bool | None:
    """Whether what is given or ordered is romiplostim; None where it cannot be told.

    A Medication that is referred to is looked up among those contained, and those that were sent, by reference.
    """
    medicine = order.choice("medication", "CodeableConcept", "Reference")
    told = _named(medicine)
    if told is None and (found := _referred(order, medicine, medications or {})) is not None:
        told = _named(found["code"])
    return told


def _referred(order: Place, medicine: Place, medications: Mapping[str, object]) -> Place | None:
    """The Medication that is referred to, if it is there."""
    if not (reference := medicine["reference"].text()):
        return None
    if reference.startswith("#"):
        found = contained(order).get(reference)
    else:
        found = medications.get(reference) or medications.get("/".join(reference.split("/")[-2:]))
    return Place(found, medicine.path, order.faults) if isinstance(found, dict) else None


def _named(medicine: Place) -> bool | None:
    codes = coding_codes(medicine)
    texts = [medicine[key].text() or "" for key in ("text", "display")]
    texts += [coding["display"].text() or "" for coding in medicine["coding"]]
    told = is_romiplostim(codes, texts)
    if told is not False:
        return told
    return False if any(map(str.strip, texts)) or any(is_atc(system) for system, _ in codes) else None


def _medications(sent: Iterable[Sent]) -> dict[str, object]:
    found = [one.resource for one in sent if isinstance(one.resource, dict)]
    return {f"Medication/{one.get('id')}": one for one in found if one.get("resourceType") == "Medication"}


def _entries(value: object, path: str, kind: str, faults: list[Fault], *, unmodified: bool) -> Iterator[Sent]:
    """The resources of a searchset that is all there is; raises nothing, what is wrong goes to the faults."""
    bundle = _searchset(value, path, faults)
    for link in bundle["link"]:
        if link["relation"].text() == "next":
            link.wrong(f"there are more pages: {_ALL}")
    matches, entries = 0, bundle["entry"]
    for index, value_of in enumerate(entries.items()):
        if (matching := _plain_match(value_of, kind)) is not None:
            matches += 1
            yield Sent(matching, path, unmodified, index)
            continue
        entry = Place(value_of, index, faults, entries)
        mode, resource = entry["search"]["mode"].text(), entry["resource"]
        named = resource["resourceType"].text()
        if not resource.there:
            resource.wrong("required")
        elif named == "OperationOutcome":
            _refuse_error(resource)
        elif named in (kind, "Medication"):
            matches += named == kind
            yield Sent(resource.value, resource.path, unmodified)
        elif mode != "include":
            resource["resourceType"].wrong(f"must be {kind}")
    total = bundle["total"].value
    if isinstance(total, Decimal) and total > matches:
        bundle["total"].wrong(f"of {total} that were found {matches} were sent: {_ALL}")


def _plain_match(entry: object, kind: str) -> object:
    """The resource of an entry that has one of a type because it was searched for, as most have; None of any other."""
    if type(entry) is not dict or entry.get("search") not in _MATCHES:
        return None
    resource = entry.get("resource")
    return resource if type(resource) is dict and resource.get("resourceType") == kind else None


def _searchset(value: object, path: str, faults: list[Fault]) -> Place:
    """A searchset; one without anything where it is none, which is a fault."""
    bundle = Place(value, path, faults)
    if bundle["resourceType"].text() != "Bundle":
        bundle["resourceType"].wrong("must be Bundle")
    elif bundle["type"].text() != "searchset":
        bundle["type"].wrong("must be searchset")
    else:
        return bundle
    return Place(None, path, faults)


def _refuse_error(resource: Place) -> None:
    for issue in resource["issue"]:
        if issue["severity"].text() in ("error", "fatal"):
            resource.wrong(f"the search failed in part: {outcome_text(cast('dict[str, object]', resource.value))}")


class _Entry(NamedTuple):
    """An entry of a list, with what it is put in order by."""

    day: str
    taken: datetime
    issued: datetime
    entry: dict[str, object]


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Reads resources one by one into the lists of a course document."""

    protocol: str
    on: str
    zone: ZoneInfo
    faults: list[Fault]
    patient: str | None
    base: str | None
    medications: Mapping[str, object]
    lists: dict[str, list[_Entry]] = field(
        default_factory=lambda: {"weights": [], "platelet_counts": [], "doses": [], "events": []}
    )
    born_on: str | None = None
    baselines: dict[str, Place] = field(default_factory=dict)
    eligibility: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    others: list[_Dated] = field(default_factory=list)
    raising: list[_Dated] = field(default_factory=list)
    other_counts: list[tuple[_Dated, datetime | None]] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    indicated: bool = False
    unnamed: list[_Dated] = field(default_factory=list)
    routes: list[_Dated] = field(default_factory=list)
    named: set[tuple[object, ...]] = field(default_factory=set)
    seen: dict[tuple[str, str], object] = field(default_factory=dict)

    def read(self, sent: Sent) -> None:
        """Read a resource; what is no fact of the course is passed over."""
        said = plain(sent.resource, self.zone, unmodified=sent.unmodified)
        if said is None:
            self._read_strictly(self._place(sent))
            return
        resource = cast("dict[str, Any]", sent.resource)
        if "id" in resource and not self._is_new(self._place(sent), resource["resourceType"]):
            return
        subject = resource.get("subject")
        if type(subject) is not dict or subject.get("reference") != f"Patient/{self.patient}":
            self._refuse_others(self._place(sent))
        if said.name == "doses" and "identifier" in resource and self._is_told_again(self._place(sent), said.entry):
            return
        self._add(said.name, said.day, said.at, said.entry, resource.get("issued"))

    def _place(self, sent: Sent) -> Place:
        return Place(sent.resource, sent.path, self.faults)

    def _read_strictly(self, place: Place) -> None:
        """Read a resource that is not plain."""
        kind = place["resourceType"].text()
        if kind == "Medication":
            return
        read = _READERS.get(kind or "")
        if read is None:
            place["resourceType"].wrong(f"must be one of {', '.join(_READERS)}")
        elif self._is_new(place, kind or ""):
            self._refuse_others(place)
            read(self, place)

    def made(self) -> Made:
        """The document of what was read."""
        document: dict[str, object] = {"protocol": self.protocol, "on": self.on}
        for key, entries in self.lists.items():
            entries.sort(key=_IN_ORDER)
            document[key] = [one.entry for one in entries]
        if self.born_on is not None:
            document["born_on"] = self.born_on
        if self.baselines:
            first, *rest = self.baselines
            document["baseline_on"] = first
            for other in rest:
                self.baselines[other].wrong(f"another Condition says {first}")
        document["eligibility"] = sorted(self.eligibility)
        cautions = []
        if self.others:
            cautions.append(f"Not understood here, check before dosing: {_listed(self.others)}.")
        if newer := self._newer_counts():
            told = _listed(newer)
            cautions.append(f"A platelet count that is not read here is newer than those that are: {told}.")
        if self.raising:
            cautions.append(f"May have raised the count and was not considered: {_listed(self.raising)}.")
        if self.unnamed:
            cautions.append(f"Given, and which medicine it was cannot be told: {_listed(self.unnamed)}.")
        if self.routes:
            cautions.append(f"A dose may not have been given subcutaneously: {_listed(self.routes)}.")
        cautions += self._unlikely()
        return Made(
            document,
            tuple(self.notes),
            tuple(cautions),
            tuple(dict.fromkeys(self.stops)),
            concerns=self.indicated or bool(self.lists["doses"]),
            doubts=len(cautions) > bool(self.others),
        )

    def _unlikely(self) -> list[str]:
        """What is odd about newest values: another count of the day, one that is far from that before, a dose twice."""
        counts, weights = self._newest("platelet_counts"), self._newest("weights")
        told = []
        if counts and len(of_day := [one for one in counts if one.day == counts[-1].day]) > 1:
            values = ", ".join(
                f"{plain_number(one.value)}{' (unreliable)' if one.unreliable else ''}" for one in of_day
            )
            if len({one.value for one in of_day}) > 1:
                told.append(f"There are several platelet counts of {counts[-1].day}: {values} ×10⁹/L.")
        for name, found, factor, unit in (
            ("platelet count", counts, TENFOLD, "×10⁹/L"),
            ("weight", weights, 1 + WEIGHT_WITHIN, "kg"),
        ):
            if len(found) > 1 and _far(found[-1].value, found[-2].value, factor):
                newest, before = (f"{plain_number(one.value)} {unit} of {one.day}" for one in (found[-1], found[-2]))
                told.append(
                    f"The newest {name}, {newest}, is far from the one before, {before}: check it and its unit."
                )
        doses = self.lists["doses"]
        if len({one.day for one in doses}) < len(doses):
            amounts = Counter((one.day, str(one.entry["micrograms"])) for one in doses)
            told += [
                f"Of {day} there are {times} doses of {amount} micrograms: they are added. Is it one, reported twice?"
                for (day, amount), times in sorted(amounts.items())
                if times > 1
            ]
        return told

    def _newest(self, name: str) -> list[_Value]:
        """The counts or weights of the last day and at least the last two, in base units, in order."""
        factors, entries = _FACTORS[name], self.lists[name]
        first = bisect_left(entries, entries[-1].day, key=_DAY) if entries else 0
        return [
            _Value(
                one.day,
                tidy(
                    EXACT.multiply(
                        cast(Decimal, one.entry["value"]), factors[cast(str, one.entry["unit"])] or Decimal(1)
                    )
                ),
                one.entry.get("unreliable") is True,
            )
            for one in entries[max(0, min(first, len(entries) - 2)) :]
        ]

    def patient_of(self, place: Place) -> None:
        """The birth date."""
        patient = root(place.value, "Patient", self.faults, place.path)
        if self.patient is not None and patient["id"].there and patient["id"].text() != self.patient:
            patient["id"].wrong(f"must be {self.patient}, the patient of the context")
        self.born_on = patient["birthDate"].field(fhir.BORN)
        if has_died(patient):
            patient["deceased"].wrong("there is no next dose for who has died")
        if patient["active"].flag() is False:
            patient["active"].wrong("the record is not in use")
        for link in patient["link"]:
            if link["type"].text() == "replaced-by":
                link["type"].wrong("another record has taken the place of this one")

    def observation(self, place: Place) -> None:
        """A platelet count or a weight."""
        codes = coding_codes(place["code"])
        loinc = [code for system, code in codes if system == LOINC]
        self._look_into(place)
        if not any(BY_LOINC.get(code) in _RELEVANT.values() for code in loinc):
            if not loinc and not any(system == f"{OWN}:observation" for system, _ in codes):
                place["code"].wrong("must have a LOINC code: what was measured cannot be told")
            elif not any(code in BY_LOINC for code in loinc) and is_like_a_count(loinc, texts_of(place["code"])):
                self._other_count(place)
            return
        if place["status"].value in _NO_RESULT or self._is_without_value(place):
            return
        said = self._taken(place, "Observation")
        if said is not None:
            self._measured(place, said)

    def _look_into(self, place: Place) -> None:
        """Tell of counts that stand within a panel, as its components: they are not read."""
        if not place["component"].there or place["status"].value in _NO_RESULT:
            return
        for part in place["component"]:
            codes = coding_codes(part["code"])
            loinc = [code for system, code in codes if system == LOINC]
            is_count = any(BY_LOINC.get(code) is _RELEVANT[PLATELET_COUNTS.name] for code in loinc)
            if is_count or is_like_a_count(loinc, texts_of(part["code"])):
                value = part["valueQuantity"]["value"].value
                said = f"{plain_number(value)} within" if isinstance(value, Decimal) else "a value within"
                name = texts_of(part["code"]) or ", ".join(code for _, code in codes)
                day, instant = self._when(place)
                self.other_counts.append((_Dated(day, f"{name}: {said} a panel"), instant))

    def _when(self, place: Place) -> tuple[str, datetime | None]:
        """The day of an observation, and the instant, as far as they are told."""
        when = place["effectiveDateTime"].value or place["effectiveInstant"].value
        when = when or place["effectivePeriod"]["start"].value or place["issued"].value
        return self._day(when), _instant(when)

    def _is_without_value(self, place: Place) -> bool:
        """Whether a result has no value; what it has in place of one is told if it is newer than all counts."""
        if place["valueQuantity"].there:
            return False
        in_words = texts_of(place["valueCodeableConcept"]) or place["valueString"].text()
        if in_words or place["status"].value == "unknown":
            self._other_count(place, in_words or "unknown status")
            return True
        if place["dataAbsentReason"].there and not place.choice("value", "Quantity").there:
            self.notes.append(f"A result without a value was passed over ({_day_of(place)}).")
            return True
        return False

    def _measured(self, place: Place, said: Said) -> None:
        """Keep a count or a weight; what is preliminary, unreliable or no exact number doses nothing."""
        entry = _some(said, _MEASURED)
        bounded = place["valueQuantity"]["comparator"].text()
        if bounded is not None:
            shown = f"{bounded}{plain_number(cast(Decimal, entry['value']))} {entry['unit']}"
            self.notes.append(f"{shown} of {_day_of(place)} is no exact value: it counts as unreliable.")
        if said.collection is WEIGHTS:
            if said.source.preliminary:
                self.notes.append(f"A preliminary weight of {entry['measured_on']} was left out.")
            elif bounded is None:
                self._keep("weights", "measured_on", entry, said, place)
            return
        if said.source.preliminary or bounded is not None or is_unreliable(place):
            entry["unreliable"] = True
        self._keep("platelet_counts", "collected_on", entry, said, place)

    def _other_count(self, place: Place, said: str = "") -> None:
        """Keep a count by a code that is not read, or in words, to tell it if it is newer than all that are read."""
        if BY_LOINC.get(next((code for _, code in coding_codes(place["code"])), "")) is _RELEVANT[WEIGHTS.name]:
            self.notes.append(f"A weight in words was passed over ({_day_of(place)}): {_on_a_line(said)}.")
            return
        if place["status"].value in _NO_RESULT:
            return
        codes, words = coding_codes(place["code"]), texts_of(place["code"])
        known = [OTHER_COUNTS[code] for _, code in codes if code in OTHER_COUNTS]
        named = _name(codes, words or " ".join(known))
        day, instant = self._when(place)
        self.other_counts.append((_Dated(day, f"{named}: {_on_a_line(said)}" if said else named), instant))

    def _newer_counts(self) -> list[_Dated]:
        """Of the counts by codes that are not read those that are newer than all that are, or of unknown day."""
        if not self.other_counts:
            return []
        read = [(one.day, one.taken) for one in self.lists["platelet_counts"]]
        newest, at = max(read, default=("", _BEFORE_ALL))
        return [
            dated
            for dated, taken in self.other_counts
            if not dated.day or dated.day > newest or (dated.day == newest and taken is not None and taken > at)
        ]

    def administration(self, place: Place) -> None:
        """A dose of romiplostim that was given."""
        told = romiplostim(place, self.medications)
        if told is None and place["status"].value not in _NOT_GIVEN:
            self._unnamed(place)
        if told is False and place["status"].value not in _NOT_GIVEN:
            self._other_medicine(place)
        if not told or place["status"].value in _NOT_GIVEN:
            return
        said = self._taken(place, "MedicationAdministration", medicationCodeableConcept=MEDICINE)
        if said is not None and not self._is_told_again(place, said.body):
            entry = _some(said, _GIVEN)
            if said.body.get("route", SUBCUTANEOUS) != SUBCUTANEOUS:
                self._lately(self.routes, _Dated(said.body["given_on"], f"{said.body['route']} route"))
            self._keep("doses", "given_on", entry, said, place)

    def _unnamed(self, place: Place) -> None:
        """Tell of a medicine that may be romiplostim, of the weeks in which a dose would count."""
        when = place["effectiveDateTime"].value or place["effectivePeriod"]["start"].value
        codes = coding_codes(place.choice("medication", "CodeableConcept", "Reference"))
        dated = _Dated(self._day(when), _name(codes, place["medicationReference"]["reference"].text() or ""))
        self._lately(self.unnamed, dated)

    def _lately(self, told: list[_Dated], one: _Dated) -> None:
        """Add what is of the weeks in which a dose would count, or of a day that is not known."""
        since = (date.fromisoformat(self.on) - timedelta(days=_RECENT)).isoformat()
        if not one.day or one.day >= since[: len(one.day)]:
            told.append(one)

    def _is_told_again(self, place: Place, body: Mapping[str, object]) -> bool:
        """Whether a dose of the same identifier, day and amount has been there: the same one, under two ids."""
        again = False
        for one in place["identifier"]:
            name = one["system"].text(), one["value"].text(), body.get("given_on"), body.get("micrograms")
            if name[1] is not None:
                again = again or name in self.named
                self.named.add(name)
        if again:
            self.notes.append(f"A dose of {body['given_on']} is there twice under one identifier: it counts once.")
        return again

    def procedure(self, place: Place) -> None:
        """A transfusion or rescue therapy."""
        codes = coding_codes(place["code"])
        known = any(
            (system == SNOMED and code in _SNOMED_KINDS) or (system == f"{OWN}:event" and code in _PROCEDURES)
            for system, code in codes
        )
        if place["status"].value in _NOT_DONE:
            return
        if known:
            self._event(place, "Procedure")
        elif procedure_may_raise(words := texts_of(place["code"])):
            self._maybe_raising(place, "performed", words)

    def adverse_event(self, place: Place) -> None:
        """A thrombosis or a marrow disorder."""
        codes, words = said_of_event(place)
        own = {code for system, code in codes if system == f"{OWN}:event"}
        if own and not own <= set(_IDLE):
            self._event(place, "AdverseEvent")
            return
        dated = _Dated(self._day(place["date"].value), _name(codes, words))
        over = any(code.startswith("resolved") for _, code in coding_codes(place["outcome"])) or any(
            one["url"].value == RESOLVED_EXTENSION for one in place["extension"]
        )
        looks = looks_like(codes, words)
        if looks is not None and place["actuality"].value != "potential" and not over:
            self.stops.append(f"possible {looks} in the record: {dated}")
        elif not own or looks is not None:
            self.others.append(dated)

    def condition(self, place: Place) -> None:
        """What was confirmed before the first dose, and from when on a new baseline holds: by our extensions.

        Of any other it is told if it looks like what stops a dose.
        """
        self._look_at(place)
        urls = {one["url"].value for one in place["extension"]}
        if not urls & {ELIGIBILITY_EXTENSION, BASELINE_EXTENSION, PROTOCOL_EXTENSION}:
            return
        condition = root(place.value, "Condition", self.faults, place.path)
        over = _says_only(condition["clinicalStatus"], "condition-clinical", _OVER)
        wrong = _says_only(condition["verificationStatus"], "condition-ver-status", _NOT_SO)
        parts = [(one["url"].value, one) for one in condition["extension"]]
        protocols = [part["valueCode"].text() for url, part in parts if url == PROTOCOL_EXTENSION]
        if over or wrong or (protocols and self.protocol not in protocols):
            return
        self.indicated = True
        for url, part in parts:
            if url == ELIGIBILITY_EXTENSION:
                code = part["valueCode"].required(part["valueCode"].text())
                self.eligibility |= {code} if code else set()
            elif url == BASELINE_EXTENSION:
                day = part["valueDate"].required(part["valueDate"].field(fhir.DAY))
                if day is not None:
                    self.baselines.setdefault(day, part["valueDate"])

    def _look_at(self, place: Place) -> None:
        """Tell a Condition that is not over and looks like what stops a dose; note one for which it is given."""
        codes, words = coding_codes(place["code"]), texts_of(place["code"])
        looks, itp = looks_like(codes, words), is_itp(codes, words)
        if looks is None and not itp:
            return
        ended = not place["clinicalStatus"].there and any(key.startswith("abatement") for key in _keys(place))
        over = ended or _says_only(place["clinicalStatus"], "condition-clinical", _OVER)
        wrong = _says_only(place["verificationStatus"], "condition-ver-status", _NOT_SO)
        if over or wrong:
            return
        self.indicated = self.indicated or itp
        if looks is None:
            return
        when = place["onsetDateTime"].value or place["onsetPeriod"]["start"].value or place["recordedDate"].value
        dated = _Dated(self._day(when), _name(codes, words))
        if is_of_the_past(words):
            self.others.append(dated)
        else:
            self.stops.append(f"possible {looks} in the record: {dated}")

    def _other_medicine(self, place: Place) -> None:
        medicine = place.choice("medication", "CodeableConcept", "Reference")
        codes = coding_codes(medicine)
        words = f"{texts_of(medicine)} {medicine['display'].text() or ''}".strip()
        if (found := _referred(place, medicine, self.medications)) is not None:
            codes, words = codes + coding_codes(found["code"]), f"{words} {texts_of(found['code'])}".strip()
        if may_raise(codes, words):
            self._maybe_raising(place, "effective", _name(codes, words))

    def _maybe_raising(self, place: Place, when: str, name: str) -> None:
        """Tell of something in the days before the day asked about, or of unknown day."""
        period = place[f"{when}Period"]
        first = self._day(place[f"{when}DateTime"].value or period["start"].value)
        last = self._day(period["end"].value) if period.there else first
        since = (date.fromisoformat(self.on) - timedelta(days=RESCUE_CONFOUNDS)).isoformat()
        if first[: len(self.on)] > self.on or (last and last < since[: len(last)]):
            return
        self.raising.append(_Dated(first, _on_a_line(name)))

    def _day(self, when: object) -> str:
        """The day at the clinic, as far as it is told; empty where it is not."""
        instant = _instant(when)
        if instant is not None:
            return instant.astimezone(self.zone).date().isoformat()
        return when[:10] if isinstance(when, str) else ""

    def _event(self, place: Place, kind: str) -> None:
        said = self._taken(place, kind)
        if said is not None:
            entry = _some(said, _HAPPENED)
            self._keep("events", "occurred_on", entry, said, place)

    def _taken(self, place: Place, kind: str, **instead: object) -> Said | None:
        """What a resource says; None, with faults, where that cannot be told."""
        before = len(self.faults)
        resource = {key: value for key, value in cast("dict[str, Any]", place.value).items() if key not in _UNREAD}
        if kind == "Observation":
            resource = _timed({key: value for key, value in resource.items() if key != "dataAbsentReason"})
        if instead:
            resource = {key: value for key, value in resource.items() if not key.startswith("medication")} | instead
        said = take(resource, kind, self.zone, self.faults, place.path)
        return said if len(self.faults) == before else None

    def _keep(self, name: str, key: str, entry: dict[str, object], said: Said, place: Place) -> None:
        day = cast(str, entry[key])
        if wrong := entry_faults(name, entry):
            kind = place["resourceType"].text() or ""
            self.faults += located(Invalid(*wrong), kind, place.path).faults
        else:
            self._add(name, day, said.source.at, entry, place["issued"].value)

    def _add(self, name: str, day: str, at: str | None, entry: dict[str, object], issued_at: object) -> None:
        """Add what is right to a list, but for what is of a later day."""
        if day > self.on:
            self.notes.append(f"What is dated {day}, after the day asked about, was left out ({name}).")
        else:
            issued = _instant(issued_at) or _BEFORE_ALL
            self.lists[name].append(_Entry(day, _instant(at) or issued, issued, entry))

    def _is_new(self, place: Place, kind: str) -> bool:
        """Whether a resource has not been there yet: one that is in two answers is one."""
        ident = place["id"].text()
        if ident is None:
            return True
        if (kind, ident) not in self.seen:
            self.seen[kind, ident] = place.value
            return True
        if self.seen[kind, ident] != place.value:
            place["id"].wrong(f"{kind}/{ident} was sent twice, and differs")
        return False

    def _refuse_others(self, place: Place) -> None:
        if self.patient is None or place["resourceType"].value == "Patient":
            return
        subject = place["subject"]["reference"]
        if subject.value == f"Patient/{self.patient}":
            return
        reference = subject.text()
        named = None if reference is None else _PATIENT_REFERENCE.fullmatch(reference)
        elsewhere = named is not None and named[1] is not None and self.base not in (None, named[1].rstrip("/"))
        if named is None or named[2] != self.patient or elsewhere:
            subject.wrong(f"must be Patient/{self.patient}, the patient of the context")


_READERS: Final[Mapping[str, Callable[[_Reader, Place], None]]] = {
    "Patient": _Reader.patient_of,
    "Observation": _Reader.observation,
    "MedicationAdministration": _Reader.administration,
    "Procedure": _Reader.procedure,
    "AdverseEvent": _Reader.adverse_event,
    "Condition": _Reader.condition,
}


def _timed(resource: dict[str, Any]) -> dict[str, Any]:
    """An Observation with an exact value and one instant: of a period its start; without one, when it was issued."""
    quantity, period = resource.get("valueQuantity"), resource.get("effectivePeriod")
    if isinstance(quantity, dict):
        resource["valueQuantity"] = {key: value for key, value in quantity.items() if key != "comparator"}
    if isinstance(period, dict) and "start" in period:
        resource = {key: value for key, value in resource.items() if key != "effectivePeriod"}
        resource["effectiveDateTime"] = period["start"]
    elif "issued" in resource and not any(key.startswith("effective") for key in resource):
        resource["effectiveDateTime"] = resource["issued"]
    return resource


def _far(one: Decimal, other: Decimal, factor: Decimal) -> bool:
    """Whether one of two values is so many times the other, or more."""
    least, most = sorted((one, other))
    return most >= EXACT.multiply(least, factor) and most != least


def _says_only(status: Place, system: str, codes: Iterable[str]) -> bool:
    """Whether a status says one of some codes, and nothing else; codes of other systems than HL7's do not count."""
    said = {code for of, code in coding_codes(status) if of is None or of.endswith(f"/{system}")}
    return bool(said) and said <= set(codes)


def _some(said: Said, keys: Iterable[str]) -> dict[str, object]:
    """Of what a resource says, what a course document has."""
    return {key: said.body[key] for key in keys if key in said.body}


def _instant(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if found.tzinfo is None else found


def _keys(place: Place) -> Iterable[str]:
    return place.value if isinstance(place.value, dict) else ()


def _name(codes: Iterable[tuple[str | None, str]], words: str) -> str:
    """What something is called: in words, else by its codes."""
    return _on_a_line(words) or _on_a_line(", ".join(code for _, code in codes)) or "without a name"


def _listed(found: Iterable[_Dated]) -> str:
    """The names of some, the newest first, each once; those without a date before all."""
    texts = list(dict.fromkeys(map(str, sorted(found, key=lambda one: one.day or "9", reverse=True))))
    more = f"; and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
    return "; ".join(texts[:_MOST_NAMED]) + more


def _day_of(place: Place) -> str:
    when = place["effectiveDateTime"].value
    return when[:10] if isinstance(when, str) else "without a date"


def _on_a_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_SHOWN]
