"""Each type of resource: who may read it, what it is searched by, where it comes from.

A search of what belongs to a patient names the patient: `patient`, `_id`, or an `identifier` of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Final, cast
from zoneinfo import ZoneInfo

from titrator.fhir import giving
from titrator.fhir.codes import ATC, BY_CONTENT, BY_LOINC, LOINC, OWN, ROMIPLOSTIM, SNOMED, TRANSFUSIONS, V3
from titrator.fhir.collecting import indication
from titrator.fhir.elements import day_of
from titrator.fhir.outcome import BadRequest, Gone
from titrator.fhir.references import patient_id
from titrator.fhir.search import (
    BY_DEFAULT,
    Given,
    Made,
    Match,
    Query,
    Span,
    Terms,
    Type,
    bundle,
    meeting,
    place_text,
    read_query,
)
from titrator.security.permissions import Permission
from titrator.security.trail import SYSTEM
from titrator.store.base import Where
from titrator.store.records import (
    Account,
    AuditRow,
    CourseVersion,
    Decision,
    ExternalId,
    Fact,
    Identifier,
    Patient,
    Reminder,
    Waiting,
)
from titrator.titration.documents import encode, reread
from titrator.titration.errors import Fault, InvalidInput
from titrator.workflow.delivery import lapsed, standing_decision
from titrator.workflow.errors import Refusal, Unknown
from titrator.workflow.record import searched
from titrator.workflow.standing import proposed
from titrator.workflow.tasks import covered
from titrator.workflow.visit import Visit, instant

Names = Mapping[int, Sequence[tuple[str, str]]]
#: All that is searched is held in memory: a worklist of so many patients at the most.
_MOST_TASKS: Final = 2000
_OF_PATIENT: Final[Mapping[str, Type]] = {"_id": "token", "_lastUpdated": "instant", "patient": "reference"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A type of resource. `search` gives the Bundle of a search, `find` one resource, in a version of it if asked for.

    `writes` is the permission to create and update it, None if it is read-only.
    """

    name: str
    says: str
    reads: Permission
    parameters: Mapping[str, Type]
    find: Callable[[Visit, str, str, int | None], Match | None]
    search: Callable[[Visit, str, Query], str]
    writes: Permission | None = None
    #: The orders that a search may ask for, where it is bound to some.
    orders: tuple[str, ...] = ()


def read(visit: Visit, base: str, kind: Kind, ident: str, version: int | None = None) -> Match:
    """A resource by its id; raises Unknown."""
    found = kind.find(visit, base, ident, version)
    if found is None:
        raise Unknown(kind.name)
    return found


def ask(visit: Visit, base: str, kind: Kind, given: Given, *, lenient: bool) -> str:
    """What a search finds, as a Bundle in JSON; raises BadRequest, Unknown."""
    terms = Terms(kind.name, kind.parameters, kind.orders, base)
    if any(kind.parameters.get(name) == "date" for name, _ in given):
        terms = terms._replace(zone=_zone_of(visit, terms, given))
    return kind.search(visit, base, read_query(terms, given, lenient=lenient))


def zone(visit: Visit, patient: Patient) -> ZoneInfo:
    """The time zone of a patient's clinic."""
    return ZoneInfo(visit.clinic(patient.clinic_id).time_zone)


def _zone_of(visit: Visit, terms: Terms, given: Given) -> ZoneInfo | None:
    """The time zone by which days of a search are told: that of the patient whom it names, however it does."""
    named = next((value for name, value in given if name.partition(":")[0] in ("patient", "subject")), None)
    try:
        if named is not None:
            return zone(visit, visit.patient(patient_id(named, terms.base)))
        patient = _asked_patient(visit, read_query(terms, given, lenient=True))
    except (Unknown, BadRequest):  # what is wrong is told, or found to be nothing, when it is read
        return None
    return None if patient is None else zone(visit, patient)


# Whose


def _asked_patient(visit: Visit, query: Query) -> Patient | None:
    """The patient of a search; None where the account may know of none such, as of one who has nothing."""
    named = query.patient
    if named is None and (ids := query.all_of("_id")):
        of = {value.partition("-")[0] for values in ids for _, value in values}
        if len(of) > 1:
            raise BadRequest(Fault("_id", "must be of one patient: ask for those of each"))
        (named,) = of
    if named is None and (names := query.all_of("identifier")):
        return _patient_with(visit, [name for values in names for name in values])
    if named is None:
        raise BadRequest(Fault("patient", "required: a search here names its patient"))
    try:
        return visit.patient(named)
    except Unknown:
        return None


def _patient_with(visit: Visit, names: Sequence[tuple[str | None, str]]) -> Patient | None:
    """The patient of the account's clinics who has facts of some names; raises BadRequest for several."""
    found: dict[str, Patient] = {}
    for system, value in names:
        if system is None or not value:
            raise BadRequest(Fault("identifier", "must be system|value where no patient is named"))
        for one in visit.session.find(ExternalId, Where("system", "=", system), Where("value", "=", value)):
            patient = visit.session.get(Patient, one.patient_id)
            if patient is not None and patient.clinic_id in visit.who.clinics:
                found[patient.id] = patient
    if len(found) > 1:
        raise BadRequest(Fault("identifier", "is one of facts of several patients: name the patient"))
    return next(iter(found.values()), None)


def _of_patients(
    give: Callable[[Visit, str, Patient, Query | None], Iterable[Match]],
) -> tuple[Callable[[Visit, str, str, int | None], Match | None], Callable[[Visit, str, Query], str]]:
    """How one is found and several are searched of what belongs to a patient."""

    def find(visit: Visit, base: str, ident: str, version: int | None) -> Match | None:
        patient = visit.patient(ident.partition("-")[0])
        visit.note("read", f"patient/{patient.id}/fhir/{ident}"[:200], patient=patient)
        found = next((one for one in give(visit, base, patient, None) if one.id == ident), None)
        return found if found is None or version in (None, found.version) else None

    def search(visit: Visit, base: str, query: Query) -> str:
        patient = _asked_patient(visit, query)
        if patient is None:
            visit.note("search", f"fhir/{query.kind}", found=0)
            return bundle(base, query, [])
        found = meeting(query, give(visit, base, patient, query))
        visit.note("search", f"patient/{patient.id}/fhir/{query.kind}", patient=patient, found=len(found))
        return bundle(base, query, found)

    return find, search


# Facts


@dataclass(slots=True, eq=False)
class FactMatch:
    """A fact as a resource of the type `kind`, with the names that other systems have for it."""

    kind: str
    fact: Fact | giving.Observed
    names: Sequence[tuple[str, str]] = ()

    @property
    def id(self) -> str:
        """The id of the resource."""
        return giving.fact_id(self.fact)

    @property
    def updated(self) -> str:
        """When this version was recorded."""
        return self.fact.recorded_at

    @property
    def day(self) -> str:
        """The day that it is of."""
        return self.fact.day

    @property
    def at(self) -> str | None:
        """The instant that it is of, where one was sent."""
        return self.fact.taken_at

    @property
    def zone(self) -> None:
        """That of the search, which is of its patient."""

    @property
    def version(self) -> int:
        """The version of the fact."""
        return self.fact.version

    def tokens(self, name: str) -> Sequence[tuple[str, str]]:
        """The codes that it has by the parameter of a name."""
        match name:
            case "code" | "event":
                return _codes_of(self.fact)
            case "category":
                return [(f"{V3}/observation-category", _code_of(self.fact)[2])]
            case "status":
                return [("", giving.status_of(self.fact) if self.kind == "Observation" else _status(self.fact))]
            case _:
                return self.names

    def text(self, name: str) -> str:
        """No text."""
        del name
        return ""

    def give(self) -> str:
        """The resource."""
        fact = self.fact
        if isinstance(fact, giving.Observed):
            return giving.observation_text(fact, self.names)
        if self.kind == "Observation":
            return giving.observation_text(giving.observed(fact), self.names)
        made = giving.administration if self.kind == "MedicationAdministration" else giving.event_resource
        return encode(made(fact, self.names))


def _fact_kind(name: str, says: str, kinds: tuple[str, ...]) -> Kind:
    def belongs(fact: Fact) -> bool:
        return fact.kind != "event" or giving.is_procedure(fact) == (name == "Procedure")

    def search(visit: Visit, base: str, query: Query) -> str:
        patient = _asked_patient(visit, query)
        if patient is None:
            visit.note("search", f"fhir/{name}", found=0)
            return bundle(base, query, [])
        where, rest = _pushed(query, kinds)
        mine = Where("patient_id", "=", patient.id), Where("current", "=", 1)
        names = external_names(visit, patient.id)
        if name == "Observation":
            rows = visit.session.values(Fact, giving.Observed._fields, *mine, *where, order=_order(query))
            seen = map(giving.Observed._make, rows)
            matches = [FactMatch(name, one, names.get(one.id, ())) for one in seen]
        else:
            facts = visit.session.find(Fact, *mine, *where, order=_order(query))
            there = (fact for fact in facts if belongs(fact) and not _is_gone(name, fact))
            matches = [FactMatch(name, fact, names.get(fact.id, ())) for fact in there]
        found = meeting(rest, matches, in_order=True)
        visit.note("search", f"patient/{patient.id}/fhir/{name}", patient=patient, found=len(found))
        return bundle(base, query, found)

    def find(visit: Visit, base: str, ident: str, version: int | None) -> Match | None:
        del base
        patient_id, _, number = ident.partition("-")
        patient = visit.patient(patient_id)
        if not (number.isascii() and number.isdigit() and len(number) < 16):
            return None
        which = [Where("version", "=", version)] if version is not None else [Where("current", "=", 1)]
        mine = Where("patient_id", "=", patient.id), Where("id", "=", int(number))
        found = visit.session.find(Fact, *mine, *which)
        if not found or found[0].kind not in kinds or not belongs(found[0]):
            return None
        visit.note("read", f"patient/{patient.id}/{found[0].kind}/{number}", patient=patient)
        if _is_gone(name, found[0]):
            raise Gone("It was entered in error: it never was.")
        return FactMatch(name, found[0], external_names(visit, patient.id, int(number)).get(int(number), ()))

    return Kind(
        name=name,
        says=says,
        reads=Permission.READ_PATIENTS,
        writes=Permission.RECORD_FACTS,
        parameters={**_OF_PATIENT, **_PARAMETERS[name]},
        find=find,
        search=search,
    )


_PARAMETERS: Final[Mapping[str, Mapping[str, Type]]] = {
    "Observation": {
        "subject": "reference",
        "code": "token",
        "category": "token",
        "date": "date",
        "identifier": "token",
        "status": "token",
    },
    "MedicationAdministration": {
        "subject": "reference",
        "code": "token",
        "effective-time": "date",
        "identifier": "token",
        "status": "token",
    },
    "Procedure": {
        "subject": "reference",
        "code": "token",
        "date": "date",
        "identifier": "token",
        "status": "token",
    },
    "AdverseEvent": {"subject": "reference", "event": "token", "date": "date"},
}


def _is_gone(name: str, fact: Fact) -> bool:
    """Whether a fact was entered in error, of a type that has no status to say so: it must not look as if it were."""
    return name == "AdverseEvent" and fact.status == "entered-in-error"


def _pushed(query: Query, kinds: tuple[str, ...]) -> tuple[list[Where], Query]:
    """What the database can be asked for of a search of facts, and what is left to be looked at."""
    where, tokens, spans = [], [], []
    for name, values in query.tokens:
        asked = _codes(values) if name == "code" and kinds == _OBSERVED else None
        if asked is None:
            tokens.append((name, values))
        else:
            where += asked
    for name, some in query.spans:
        if name == "_lastUpdated" or len(some) != 1 or some[0].prefix == "ne":
            spans.append((name, some))
        elif (day := some[0].day) is None:
            where += _bounds("day", some[0])
        else:  # what is of its day, or of one beside it if the clinic had another time zone, has to be looked at
            spans.append((name, some))
            within = {"gt": "ge", "sa": "ge", "lt": "le", "eb": "le"}.get(some[0].prefix, some[0].prefix)
            before, after = (date.fromisoformat(day) + timedelta(days=days) for days in (-1, 1))
            where += _bounds("day", Span(within, before.isoformat(), after.isoformat()))
    of = [] if any(one.column == "kind" for one in where) else [Where("kind", "in", kinds)]
    return [*of, *where], query._replace(tokens=tuple(tokens), spans=tuple(spans))


def _order(query: Query) -> tuple[str, ...]:
    """The order of a search, as columns of facts; of two that are alike, that of their recording."""
    columns = {"_lastUpdated": "recorded_at", "_id": "id"}
    found = []
    for name in query.sort or (BY_DEFAULT,):
        sign = "-" if name.startswith("-") else ""
        found.append(f"{sign}{columns.get(name.lstrip('-'), 'day')}")
    last = "-id" if found[-1].startswith("-") else "id"
    return (*found, last)


def _codes(values: Sequence[tuple[str | None, str]]) -> list[Where] | None:
    """Codes as conditions on facts; None where they are of kinds that have to be looked at one by one."""
    named = [BY_LOINC.get(code) if system in (None, LOINC) else None for system, code in values]
    measured = [one for one in named if one is not None]
    codes = tuple(one.code for one in measured if one.code is not None)
    if len(measured) != len(values) or len(codes) not in (0, len(measured)):
        return None
    of = [Where("kind", "in", tuple(one.collection.kinds[0] for one in measured))]
    return [*of, Where("code", "in", codes)] if codes else of


def _bounds(column: str, span: Span) -> list[Where]:
    """A comparison as conditions on a column."""
    match span.prefix:
        case "ge":
            return [Where(column, ">=", span.first)]
        case "gt" | "sa":
            return [Where(column, ">", span.last)]
        case "le":
            return [Where(column, "<=", span.last)]
        case "lt" | "eb":
            return [Where(column, "<", span.first)]
        case _:
            return [Where(column, ">=", span.first), Where(column, "<=", span.last)]


def _status(fact: Fact | giving.Observed) -> str:
    if fact.status == "entered-in-error":
        return "entered-in-error"
    return "not-done" if fact.kind == "dose-not-given" else "completed"


def _codes_of(fact: Fact | giving.Observed) -> Sequence[tuple[str, str]]:
    """The codes by which a fact is found: of what is measured all that it may come with."""
    measured = BY_CONTENT.get((fact.kind, fact.code))
    return [_code_of(fact)[:2]] if measured is None else [(LOINC, code) for code, _ in measured.loinc]


def _code_of(fact: Fact | giving.Observed) -> tuple[str, str, str]:
    if fact.kind in ("dose", "dose-not-given"):
        return ATC, ROMIPLOSTIM, ""
    if fact.kind == "event":
        code = fact.code or ""
        return (SNOMED, TRANSFUSIONS[code][0], "") if code in TRANSFUSIONS else (f"{OWN}:event", code, "")
    measured = BY_CONTENT.get((fact.kind, fact.code))
    if measured is None:
        return f"{OWN}:observation", fact.code or "", "laboratory"
    return LOINC, measured.loinc[0][0], measured.category


def external_names(visit: Visit, patient_id: str, fact_id: int | None = None) -> Names:
    """The names that other systems have for the facts of a patient, by fact."""
    found: dict[int, list[tuple[str, str]]] = {}
    mine = [Where("patient_id", "=", patient_id)]
    if fact_id is not None:
        mine.append(Where("fact_id", "=", fact_id))
    for one in visit.session.find(ExternalId, *mine):
        found.setdefault(one.fact_id, []).append((one.system, one.value))
    return found


_OBSERVED: Final = ("weight", "platelet-count", "observation")


# Patients


def patient_match(visit: Visit, patient: Patient) -> Match:
    """A patient as it is found."""
    named = visit.session.find(Identifier, Where("patient_id", "=", patient.id), order=("system", "value"))
    clinic = visit.clinic(patient.clinic_id)
    return Made(
        patient.id,
        lambda: encode(giving.patient_resource(patient, named, clinic)),
        patient.changed_at,
        patient.born_on or "",
        {
            "identifier": [(one.system, one.value) for one in named],
            "active": [("", "true" if patient.active else "false")],
        },
        {
            "family": searched(patient.family_name),
            "given": searched(patient.given_name),
            "name": patient.search_name,
        },
        patient.version,
    )


def _find_patient(visit: Visit, base: str, ident: str, version: int | None) -> Match | None:
    del base
    patient = visit.patient(ident)
    visit.note("read", f"patient/{patient.id}", patient=patient)
    return patient_match(visit, patient) if version in (None, patient.version) else None


def _search_patients(visit: Visit, base: str, query: Query) -> str:
    """Patients in order of their ids, page by page: there may be many."""
    scope = tuple(sorted(visit.who.clinics))
    where = [Where("clinic_id", "in", scope)]
    where += [Where("id", "in", tuple(value for _, value in values)) for values in query.all_of("_id")]
    named = [names for names in query.all_of("identifier") if all(value for _, value in names)]
    where += [Where("id", "in", tuple(_identified(visit, names))) for names in named]
    for name, values in query.strings:
        words = searched(values[0]).split() if name == "name" else [searched(values[0])]
        where.extend(Where("search_name", "contains", word) for word in (words if len(values) == 1 else ()))
    narrow = bool(query.spans) or any(name not in ("_id", "identifier") for name, _ in query.tokens)
    narrow = narrow or len(named) < len(query.all_of("identifier"))
    exact = narrow or any(name != "name" or len(values) > 1 for name, values in query.strings)
    after = [Where("id", ">", query.page[1])] if query.page is not None and not exact else []
    total = visit.session.count(Patient, *where) if scope else 0
    most = _MOST_TASKS if exact else query.most
    rows = visit.session.find(Patient, *where, *after, order=("id",), limit=most + 1) if scope else []
    if exact and len(rows) > _MOST_TASKS:
        raise BadRequest(Fault("name", f"more than {_MOST_TASKS} patients have to be looked at: ask more narrowly"))
    matches = [patient_match(visit, row) for row in rows]
    if exact:
        plain = query._replace(strings=tuple((n, v) for n, v in query.strings if n != "name"), sort=("_id",), page=None)
        matches = [one for one in meeting(plain, matches) if _is_named(query, one)]
        total = len(matches)
        matches = [one for one in matches if query.page is None or one.id > query.page[1]]
    page = matches[: query.most]
    following = place_text("", page[-1].id) if len(matches) > len(page) and page else ""
    visit.note("search", "fhir/Patient", asked=dict(query.asked), found=[one.id for one in page])
    return bundle(base, query, page, total, following)


def _is_named(query: Query, one: Match) -> bool:
    """Whether a patient has all words of one of the names that are searched."""
    words = [[searched(value).split() for value in values] for name, values in query.strings if name == "name"]
    return all(any(all(word in one.text("name") for word in some) for some in each) for each in words)


def _identified(visit: Visit, names: Sequence[tuple[str | None, str]]) -> Iterator[str]:
    for system, value in names:
        where = [Where("value", "=", value), *([] if system is None else [Where("system", "=", system)])]
        yield from (one.patient_id for one in visit.session.find(Identifier, *where))


# What is derived


def _requests(visit: Visit, base: str, patient: Patient, query: Query | None) -> Iterator[Match]:
    """The proposal of today, unless it has been decided upon, and what was decided."""
    del base, query
    answer = _answer(visit, patient)
    live = standing_decision(visit, patient, visit.today(patient))
    if answer is not None and answer["dose"] is not None and not covered(live, answer):
        now, ident = instant(visit.now), f"{patient.id}-next"
        yield Made(
            ident,
            lambda: encode(giving.proposal(patient.id, answer, cast(str, answer["on"]), ident)),
            now,
            cast(str, answer["on"]),
            {"status": [("", "draft")], "intent": [("", "proposal")], "code": [(ATC, ROMIPLOSTIM)]},
        )
    today, names = visit.today(patient), Accounts(visit)
    for decision in _decisions(visit, patient):
        if decision.dose is not None and decision.status != "referred":
            gone = lapsed(decision, today)
            resource = giving.order(decision, gone, names)
            yield Made(
                f"{patient.id}-d{decision.id}",
                partial(encode, resource),
                decision.changed_at,
                decision.day,
                {
                    "status": [("", cast(str, resource["status"]))],
                    "intent": [("", cast(str, resource["intent"]))],
                    "code": [(ATC, ROMIPLOSTIM)],
                },
                version=decision.version,
                at=decision.signed_at,
            )


def _answer(visit: Visit, patient: Patient) -> giving.Answer | None:
    """Today's answer; None where there is none, for a reason that the next dose over REST tells."""
    try:
        return cast(giving.Answer, reread(proposed(visit, patient).answer))
    except (Refusal, InvalidInput):
        return None


def _decisions(visit: Visit, patient: Patient) -> list[Decision]:
    if not patient.decided:
        return []
    mine = Where("patient_id", "=", patient.id), Where("current", "=", 1)
    return visit.session.find(Decision, *mine, order=("id",))


class Accounts(dict[str, str]):
    """The names of accounts by id, each looked up once."""

    def __init__(self, visit: Visit) -> None:
        super().__init__()
        self.visit = visit

    def __missing__(self, key: str) -> str:
        account = self.visit.session.get(Account, key)
        self[key] = name = key if account is None else account.display_name
        return name


def decided_already(visit: Visit, patient: Patient) -> str:
    """What has been decided of a patient and not carried out, in words; empty if nothing."""
    live = standing_decision(visit, patient, visit.today(patient))
    return "" if live is None else giving.decided(live, Accounts(visit))


def _guidance(visit: Visit, base: str, patient: Patient, query: Query | None) -> Iterator[Match]:
    """The answer of today, and those that were decided upon, with what was decided."""
    del query
    answer, names = _answer(visit, patient), Accounts(visit)
    if answer is not None:
        now, ident = instant(visit.now), f"{patient.id}-next"
        resource = giving.guidance(base, patient.id, answer, now, ident, decision=decided_already(visit, patient))
        yield Made(ident, partial(encode, resource), now, "", {"status": [("", cast(str, resource["status"]))]})
    for decision in _decisions(visit, patient):
        ident, said = f"{patient.id}-d{decision.id}", cast(giving.Answer, reread(decision.answer))
        told = giving.decided(decision, names)
        resource = giving.guidance(base, patient.id, said, decision.signed_at, ident, decision.version, told)
        status = {"status": [("", cast(str, resource["status"]))]}
        yield Made(
            ident, partial(encode, resource), decision.changed_at, decision.day, status, version=decision.version
        )


def _conditions(visit: Visit, base: str, patient: Patient, query: Query | None) -> Iterator[Match]:
    del base, query
    mine = Where("patient_id", "=", patient.id), Where("current", "=", 1)
    of = zone(visit, patient)
    for course in visit.session.find(CourseVersion, *mine, order=("id",)):
        resource = giving.condition(course, indication(visit.services.catalogue, course.protocol))
        clinical = "active" if course.status in ("active", "paused") else "inactive"
        yield Made(
            cast(str, resource["id"]),
            partial(encode, resource),
            course.changed_at,
            day_of(course.changed_at, of),
            {
                "clinical-status": [(f"{V3}/condition-clinical", clinical)],
                "category": [(f"{V3}/condition-category", "problem-list-item")],
            },
            version=course.version,
            at=course.changed_at,
        )


def _provenances(visit: Visit, base: str, patient: Patient, query: Query | None) -> Iterator[Match]:
    """Who made each version of each fact and decision."""
    del base, query
    names, of = Accounts(visit), zone(visit, patient)
    mine = Where("patient_id", "=", patient.id)
    for fact in visit.session.find(Fact, mine, order=("id", "version")):
        kind = _TYPE_OF[fact.kind]
        if fact.kind == "event":
            kind = "Procedure" if giving.is_procedure(fact) else "AdverseEvent"
        about = f"{kind}/{patient.id}-{fact.id}"
        yield _provenance(about, fact.version, fact.recorded_at, fact.recorded_by, fact.change, names, of)
    for one in visit.session.find(Decision, mine, order=("id", "version")):
        about = f"GuidanceResponse/{patient.id}-d{one.id}"
        yield _provenance(about, one.version, one.changed_at, one.changed_by, one.change, names, of)


_TYPE_OF: Final = {
    **dict.fromkeys(_OBSERVED, "Observation"),
    **dict.fromkeys(("dose", "dose-not-given"), "MedicationAdministration"),
    "event": "AdverseEvent",
}


def _provenance(  # noqa: PLR0913, PLR0917 (all that it is made of)
    about: str, version: int, at: str, who: str, change: str, names: Accounts, of: ZoneInfo
) -> Match:
    bare = about.rpartition("/")[2]
    ident = f"{bare}-v{version}"
    target = f"{about}/_history/{version}"
    resource = giving.provenance(ident, target, at, who, names[who], change)
    targets = [("", about), ("", target), ("", bare)]
    return Made(ident, partial(encode, resource), at, day_of(at, of), {"target": targets}, at=at)


# Tasks


def _tasks(visit: Visit, base: str, patient: Patient, query: Query | None) -> Iterator[Match]:
    del base, query
    row, of = visit.session.get(Waiting, patient.id), zone(visit, patient)
    yield from () if row is None else _waiting(row, of)
    for reminder in visit.session.find(Reminder, Where("patient_id", "=", patient.id)):
        yield _reminder(reminder, of)


def _waiting(row: Waiting, of: ZoneInfo) -> Iterator[Match]:
    for task in row.tasks:
        resource = giving.work_task(row.patient_id, task, row.day)
        tokens = _task_tokens(task, "requested")
        yield Made(cast(str, resource["id"]), partial(encode, resource), "", row.day, tokens, zone=of)


def _reminder(reminder: Reminder, of: ZoneInfo) -> Match:
    resource = giving.reminder_task(reminder)
    return Made(
        giving.reminder_id(reminder),
        partial(encode, resource),
        reminder.changed_at,
        day_of(reminder.made_at, of),
        _task_tokens(reminder.kind, cast(str, resource["status"]), "reminder"),
        version=reminder.version,
        at=reminder.made_at,
    )


def _task_tokens(code: str, status: str, system: str = "task") -> Mapping[str, Sequence[tuple[str, str]]]:
    return {"status": [("", status)], "code": [(f"{OWN}:{system}", code)]}


def _search_tasks(visit: Visit, base: str, query: Query) -> str:
    """The tasks of a patient, or, where none is named, what waits in the account's clinics."""
    if query.patient is not None or query.all_of("_id"):
        return _of_patients(_tasks)[1](visit, base, query)
    scope = Where("clinic_id", "in", tuple(sorted(visit.who.clinics)))
    rows = visit.session.find(Waiting, scope, order=("rank", "patient_id"), limit=_MOST_TASKS + 1)
    reminders = visit.session.find(
        Reminder, scope, Where("status", "in", ("open", "acknowledged")), order=("remind_on",), limit=_MOST_TASKS + 1
    )
    if max(len(rows), len(reminders)) > _MOST_TASKS:
        raise BadRequest(Fault("patient", f"required where more than {_MOST_TASKS} patients wait"))
    clinics = {one.clinic_id for one in rows} | {one.clinic_id for one in reminders}
    zones = {one: ZoneInfo(visit.clinic(one).time_zone) for one in clinics}
    found = [task for row in rows for task in _waiting(row, zones[row.clinic_id])]
    found += [_reminder(one, zones[one.clinic_id]) for one in reminders]
    matches = meeting(query, found)
    visit.note("search", "fhir/Task", found=sorted({one.id.partition("-")[0] for one in matches}))
    return bundle(base, query, matches)


# Protocols and the trail


def _plan(visit: Visit, base: str, ident: str) -> Match | None:
    catalogue = visit.services.catalogue
    if catalogue.fault(ident) is not None:
        return None
    protocol = catalogue.get(ident)
    try:
        text = catalogue.text(protocol)
    except (InvalidInput, OSError):
        return None
    resource = giving.plan_definition(base, protocol, text)
    tokens = {
        "url": [("", cast(str, resource["url"]))],
        "status": [("", cast(str, resource["status"]))],
        "version": [("", cast(str, resource["version"]))],
    }
    texts = {name: searched(cast(str, resource[name])) for name in ("name", "title")}
    return Made(ident, partial(encode, resource), "", "", tokens, texts)


def _find_plan(visit: Visit, base: str, ident: str, version: int | None) -> Match | None:
    return _plan(visit, base, ident) if version is None else None


def _search_plans(visit: Visit, base: str, query: Query) -> str:
    found = [plan for ident in visit.services.catalogue.ids() if (plan := _plan(visit, base, ident)) is not None]
    return bundle(base, query, meeting(query, found))


def _chain(visit: Visit, ident: str) -> str:
    """The chain that is named, of a patient of the auditor's clinics or of the system; raises Unknown."""
    if ident == SYSTEM:
        return SYSTEM
    patient = visit.session.get(Patient, ident)
    if patient is None or patient.clinic_id not in visit.who.clinics:
        raise Unknown("patient")
    return patient.id


def _find_entry(visit: Visit, base: str, ident: str, version: int | None) -> Match | None:
    del base
    chain, _, seq = ident.partition("-")
    if version is not None or not (seq.isascii() and seq.isdigit() and len(seq) < 16):
        return None
    row = visit.session.get(AuditRow, _chain(visit, chain), int(seq))
    visit.note("read-audit", f"audit/{chain}")
    return None if row is None else _entry(row, Accounts(visit))


def _entry(row: AuditRow, names: Accounts) -> Match:
    name = names[row.account_id] if row.account_id else "nobody"
    return Made(f"{row.chain}-{row.seq}", partial(encode, giving.audit_event(row, name)), row.at, row.at)


def _search_entries(visit: Visit, base: str, query: Query) -> str:
    """A page of a chain in order of its entries: a patient's, or that of the system."""
    try:
        chain = SYSTEM if query.patient is None else _chain(visit, query.patient)
    except Unknown:
        return bundle(base, query, [])
    where = [Where("chain", "=", chain)]
    for _, spans in query.spans:
        if len(spans) != 1 or spans[0].prefix == "ne":
            raise BadRequest(Fault("date", "one comparison at a time, and not ne"))
        where += _bounds("at", spans[0])
    total = visit.session.count(AuditRow, *where)
    seq = "0" if query.page is None else query.page[1].rpartition("-")[2]
    if not (seq.isascii() and seq.isdigit() and len(seq) < 16):
        raise BadRequest(Fault("_page", "must be that of the link to the next page"))
    after = [Where("seq", ">", int(seq))]
    rows = visit.session.find(AuditRow, *where, *after, order=("seq",), limit=query.most + 1)
    names, page = Accounts(visit), rows[: query.most]
    following = place_text("", f"{chain}-{page[-1].seq}") if len(rows) > len(page) and page else ""
    visit.note("read-audit", f"audit/{chain}", found=len(page))
    return bundle(base, query, [_entry(row, names) for row in page], total, following)


def _derived(
    name: str,
    says: str,
    give: Callable[[Visit, str, Patient, Query | None], Iterable[Match]],
    **parameters: Type,
) -> Kind:
    find, search = _of_patients(give)
    named = {key.replace("_", "-"): kind for key, kind in parameters.items()}
    return Kind(
        name=name,
        says=says,
        reads=Permission.READ_PATIENTS,
        parameters={**_OF_PATIENT, **named},
        find=find,
        search=search,
    )


KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind(
            name="Patient",
            says="Patients of the clinics of the account.",
            reads=Permission.READ_PATIENTS,
            writes=Permission.WRITE_PATIENTS,
            parameters={
                "_id": "token",
                "_lastUpdated": "instant",
                "identifier": "token",
                "name": "string",
                "family": "string",
                "given": "string",
                "birthdate": "date",
                "active": "token",
            },
            orders=("_id",),
            find=_find_patient,
            search=_search_patients,
        ),
        _fact_kind(
            "Observation",
            "Platelet counts, weights, haemoglobin, neutrophils, immature platelet fraction.",
            _OBSERVED,
        ),
        _fact_kind(
            "MedicationAdministration",
            "Doses of romiplostim given, and doses that were not.",
            ("dose", "dose-not-given"),
        ),
        _fact_kind(
            "Procedure",
            "Transfusions and rescue therapy.",
            ("event",),
        ),
        _fact_kind(
            "AdverseEvent",
            "Thromboses, marrow disorders, adverse events with their grades.",
            ("event",),
        ),
        _derived(
            "MedicationRequest",
            "The proposal of today (intent proposal, status draft) and what was decided (intent order).",
            _requests,
            subject="reference",
            status="token",
            intent="token",
            code="token",
            authoredon="date",
        ),
        _derived(
            "GuidanceResponse",
            "The answer of today, and those that were decided upon; data-required names what is missing.",
            _guidance,
            subject="reference",
            status="token",
        ),
        _derived(
            "Condition",
            "The indication of each course of therapy.",
            _conditions,
            subject="reference",
            clinical_status="token",
            category="token",
            recorded_date="date",
        ),
        _derived(
            "Provenance",
            "Who made each version of a fact or a decision.",
            _provenances,
            target="reference",
            recorded="date",
        ),
        Kind(
            name="Task",
            says="What waits for somebody (the worklist), and reminders; without a patient, of all one's clinics.",
            reads=Permission.READ_PATIENTS,
            parameters={
                **_OF_PATIENT,
                "subject": "reference",
                "status": "token",
                "code": "token",
                "authored-on": "date",
            },
            find=_of_patients(_tasks)[0],
            search=_search_tasks,
        ),
        Kind(
            name="PlanDefinition",
            says="The protocols that this installation has.",
            reads=Permission.READ_PROTOCOLS,
            parameters={
                "_id": "token",
                "url": "uri",
                "status": "token",
                "version": "token",
                "name": "string",
                "title": "string",
            },
            find=_find_plan,
            search=_search_plans,
        ),
        Kind(
            name="AuditEvent",
            says="The audit trail, for auditors: of a patient, or of the system.",
            reads=Permission.READ_AUDIT,
            parameters={"patient": "reference", "date": "instant"},
            orders=("date",),
            find=_find_entry,
            search=_search_entries,
        ),
    )
}
