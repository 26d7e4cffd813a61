"""Create and update, by id or by identifier, alone or in a Bundle. What is recorded is recorded as over REST.

Nothing is deleted: a resource that never was is updated with the status entered-in-error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn, cast
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from titrator.fhir.codes import OWN
from titrator.fhir.elements import Place, root
from titrator.fhir.kinds import KINDS, FactMatch, Kind, patient_match, read, zone
from titrator.fhir.outcome import BadRequest, Refused, Several, located, outcome, status_of
from titrator.fhir.references import beside, local, patient_id
from titrator.fhir.search import ANYWHERE, Match, token
from titrator.fhir.taking import Said, Subject, names_of, patient_of, subject_of, take
from titrator.store.base import Where
from titrator.store.records import ExternalId, Fact, Identifier, Patient
from titrator.titration.documents import RawJSON
from titrator.titration.errors import Fault
from titrator.workflow import record
from titrator.workflow.errors import Code, Forbidden, Invalid, Refusal, Unknown, VersionNeeded
from titrator.workflow.facts import BY_KIND
from titrator.workflow.record import Source, Which
from titrator.workflow.sent import Late, lateness, says_the_same, versions_of
from titrator.workflow.visit import Visit, refuse_outdated

Resource = Mapping[str, object]
Name = tuple[str, str]

_MOST_ENTRIES: Final = 500
_UTC: Final = ZoneInfo("UTC")
_CONFIRM: Final = f"{OWN}:confirm"


class Written(NamedTuple):
    """A resource as it stands after it was written; whether it is new, and whether who wrote it may see it."""

    match: Match
    new: bool
    seen: bool = True


class Context(NamedTuple):
    """Where a resource is written: the address of the service, and what references within a Bundle stand for.

    Of an entry of a Bundle it has the `fullUrl`, by which relative references are read.
    """

    base: str
    known: Mapping[str, str] = {}
    full_url: str | None = None


def create(visit: Visit, context: Context, kind: Kind, resource: object, path: str | None = None) -> Written:
    """A new resource; one that is there already by its identifier stays as it is. Raises Refusals with FHIRPaths."""
    place = path or kind.name
    try:
        if kind.name == "Patient":
            return _create_patient(visit, resource, place)
        patient, said = _understood(visit, context, kind, resource, place)
        if said.in_error:
            _refuse_never_there(place)
        recorded = record.record(visit, patient.id, said.collection, said.body, said.source)
        if recorded.new:
            return Written(FactMatch(kind.name, recorded.fact, _all_names(said)), new=True)
        return Written(read(visit, context.base, kind, f"{patient.id}-{recorded.fact.id}"), new=False)
    except Refusal as refusal:
        raise located(refusal, kind.name, place) from None


def update(  # noqa: PLR0913, PLR0917 (what is written, where, over which version)
    visit: Visit,
    context: Context,
    kind: Kind,
    ident: str,
    resource: object,
    version: int | None,
    path: str | None = None,
) -> Written:
    """A resource in place of that of its id; the same again changes nothing. Raises BadRequest, Unknown, Outdated."""
    place = path or kind.name
    try:
        if not isinstance(resource, dict) or resource.get("id") != ident:
            _refuse_other_id(place, ident)
        return _update(visit, context, kind, ident, resource, version, place)
    except Refusal as refusal:
        raise located(refusal, kind.name, place) from None


def create_unless(  # noqa: PLR0913, PLR0917 (what is written, where, unless what is there)
    visit: Visit, context: Context, kind: Kind, resource: object, condition: str, path: str | None = None
) -> Written:
    """A new resource, unless one has the identifier that the condition names; that one then. Raises Several."""
    found = _conditional(visit, context, kind, resource, condition)
    if found is None:
        return create(visit, context, kind, resource, path)
    return Written(read(visit, context.base, kind, found), new=False)


def update_by(  # noqa: PLR0913, PLR0917 (what is written, where, by which identifier)
    visit: Visit,
    context: Context,
    kind: Kind,
    condition: str,
    resource: object,
    version: int | None,
    path: str | None = None,
) -> Written:
    """The resource of an identifier, updated; a new one where there is none. Raises Several."""
    place = path or kind.name
    found = _conditional(visit, context, kind, resource, condition)
    if found is None:
        _refuse_nameless(kind, resource, condition, place)
        return create(visit, context, kind, resource, path)
    if isinstance(resource, dict):
        if resource.get("id", found) != found:
            raise BadRequest(Fault(f"{place}.id", f"must be {found}, the one that has the identifier, or left out"))
        resource = {**resource, "id": found}
    return update(visit, context, kind, found, resource, version, path)


def _refuse_never_there(path: str) -> NoReturn:
    raise Invalid(Fault(f"{path}.status", "nothing of that name is here that could have been entered in error"))


def _refuse_other_id(path: str, ident: str) -> NoReturn:
    raise BadRequest(Fault(f"{path}.id", f"must be {ident}, as in the address"))


def _update(  # noqa: PLR0913, PLR0917 (as update)
    visit: Visit, context: Context, kind: Kind, ident: str, resource: object, version: int | None, place: str
) -> Written:
    if kind.name == "Patient":
        return _update_patient(visit, ident, resource, version, place)
    match = read(visit, context.base, kind, ident)
    versions = _versions(visit, ident)
    fact = versions[-1]
    refuse_outdated(fact.version, version)
    which = Which(fact.patient_id, BY_KIND[fact.kind], fact.id, version)
    if isinstance(resource, dict) and resource.get("status") == "entered-in-error":
        _refuse_faulty_retraction(visit, context, kind, resource, place, fact)
        if fact.status != "entered-in-error":
            record.enter_in_error(visit, which, f"Sent as entered in error over FHIR by {visit.who.username}")
        return Written(read(visit, context.base, kind, ident), new=False)
    patient, said = _understood(visit, context, kind, resource, place)
    if patient.id != fact.patient_id:
        raise Invalid(Fault(f"{place}.subject", "is another patient: enter this one in error, and create the other"))
    _refuse_new_names(visit, patient, fact.id, said, place)
    if BY_KIND[fact.kind] is not said.collection:
        raise Invalid(Fault(f"{place}.code", "is of something else: enter this one in error, and create the other"))
    if says_the_same(fact, said.collection, said.body, _as_given(fact, said.source)):
        return Written(match, new=False)
    if version is None and fact.status != "entered-in-error":
        _refuse_late(versions, said)
    record.correct(
        visit, which._replace(collection=said.collection), {**said.body, "reason": _why(visit, said)}, said.source
    )
    return Written(read(visit, context.base, kind, ident), new=False)


def _as_given(fact: Fact, source: Source) -> Source:
    """What is said of what waits to be verified: it is given as preliminary, and so it comes back."""
    waits = fact.status == "unverified" and Code.RESULT_PRELIMINARY not in fact.asked
    return source._replace(preliminary=False) if waits else source


def _refuse_faulty_retraction(  # noqa: PLR0913, PLR0917 (as update, and of which fact)
    visit: Visit, context: Context, kind: Kind, resource: object, path: str, fact: Fact
) -> None:
    """Of what never was nothing is read but whose it is: it often comes without its value."""
    faults: list[Fault] = []
    place = root(resource, kind.name, faults, path)
    subject = subject_of(place) if place["subject"].there else None
    patient = None if subject is None else _patient(visit, context, subject, faults)
    if patient is not None and patient.id != fact.patient_id:
        place["subject"].wrong("is another patient")
    if faults:
        raise Invalid(*faults)


def _refuse_late(versions: Sequence[Fact], said: Said) -> None:
    """Refuse what was said before and corrected since, and what is preliminary after a final one.

    A message that was held up and comes late looks just so, and must not undo what came after it.
    """
    match lateness(versions, said.collection, said.body, said.source):
        case Late.PRELIMINARY:
            raise VersionNeeded(
                "A final result is here: to put a preliminary one in its place, name its version, If-Match."
            )
        case Late.SAID_BEFORE:
            raise VersionNeeded(
                "It said so before, and was corrected since: if it is right again, name the version of now, If-Match."
            )


def _understood(visit: Visit, context: Context, kind: Kind, resource: object, path: str) -> tuple[Patient, Said]:
    """Whose a resource is and what it says; raises Invalid with every fault."""
    faults: list[Fault] = []
    subject = subject_of(Place(resource if isinstance(resource, dict) else {}, path, faults))
    patient = None if subject is None else _patient(visit, context, subject, faults)
    if patient is None:
        take(resource, kind.name, _UTC, faults, path)
        raise Invalid(*faults)
    said = take(resource, kind.name, zone(visit, patient), faults, path)
    if faults or said is None:
        raise Invalid(*faults)
    if codes := _confirmed(resource):
        said.body["confirm"] = codes
    return patient, said


def _all_names(said: Said) -> list[Name]:
    external = said.body.get("external_id")
    return [] if external is None else [(external["system"], external["value"]), *said.source.names]


def _confirmed(resource: object) -> list[str]:
    """The questions that a person answers by tags of the resource."""
    tags = Place(resource, "", [])["meta"]["tag"]
    return [
        tag["code"].value
        for tag in (tags if isinstance(tags.value, list) else ())
        if tag["system"].value == _CONFIRM and isinstance(tag["code"].value, str)
    ]


def _patient(visit: Visit, context: Context, subject: Subject, faults: list[Fault]) -> Patient | None:
    """The patient of the account's clinics whom a resource names, None with a fault where there is none.

    Raises Beyond for an identifier of a token that may not search: what comes of it tells whether somebody has it.
    """
    if subject.identifier is not None:
        visit.who.must("Patient.s")
    try:
        if subject.reference is not None:
            found = _referred(visit, context, subject.reference)
            if subject.identifier is not None and _named(visit, subject.identifier) not in (None, found):
                faults.append(Fault(f"{subject.path}.identifier", "is that of another patient than the reference"))
        else:
            found = _named(visit, cast(Name, subject.identifier))
        return visit.patient(found or "")
    except Unknown:
        faults.append(Fault(subject.path, "names no patient of the clinics of this account"))
        return None


def _referred(visit: Visit, context: Context, reference: str) -> str | None:
    """The id of the patient to whom a reference leads: in the same Bundle, by a condition, or here."""
    bare = reference.partition("/_history/")[0]
    reference = context.known.get(beside(context.full_url, bare) or bare, reference)
    if "?" in reference:
        return _by_reference(visit, reference)
    named = local(reference, context.base)
    return named.ident if named is not None and named.kind == "Patient" else None


def _by_reference(visit: Visit, reference: str) -> str | None:
    kind, _, condition = reference.partition("?")
    visit.who.must("Patient.s")
    return _named(visit, _identifier(condition)) if kind == "Patient" else None


def _named(visit: Visit, name: Name) -> str | None:
    """The id of the patient of the account's clinics who has an identifier; that others have it is not told."""
    one = visit.session.get(Identifier, *name)
    patient = None if one is None else visit.session.get(Patient, one.patient_id)
    return patient.id if patient is not None and patient.clinic_id in visit.who.clinics else None


def _identifier(condition: str) -> Name:
    """The identifier that a condition names, which must be all of it but for the patient; raises BadRequest."""
    given = parse_qsl(condition.rpartition("?")[2], keep_blank_values=True)
    names = [value for key, value in given if key == "identifier"]
    others = [key for key, _ in given if key not in ("identifier", "patient", "subject", *ANYWHERE)]
    system, value = token((names or [""])[0])
    if len(names) != 1 or others or not system or not value:
        raise BadRequest(Fault("identifier", "conditions are by identifier=system|value"))
    return system, value


def _conditional(visit: Visit, context: Context, kind: Kind, resource: object, condition: str) -> str | None:
    """The id of the resource that meets a condition, None if none does; raises Several, BadRequest."""
    name = _identifier(condition)
    if kind.name == "Patient":
        return _named(visit, name)
    subject = subject_of(Place(resource if isinstance(resource, dict) else {}, kind.name, []))
    patient = None if subject is None else _patient(visit, context, subject, [])
    if patient is None:
        return None  # what is wrong with the subject is told when it is created
    named = [value for key, value in parse_qsl(condition.rpartition("?")[2]) if key in ("patient", "subject")]
    if any(patient_id(one, context.base) != patient.id for one in named):
        raise BadRequest(Fault("patient", "is another one than the subject"))
    known = visit.session.get(ExternalId, patient.id, *name)
    if known is None:
        return None
    ident = f"{patient.id}-{known.fact_id}"
    if kind.find(visit, context.base, ident, None) is None:
        raise Several(f"That identifier names something else than a {kind.name}.", code=Code.EXTERNAL_ID_TAKEN)
    return ident


def _refuse_nameless(kind: Kind, resource: object, condition: str, path: str) -> None:
    """What is created by a condition must have the identifier, or it would be created again each time."""
    name = _identifier(condition)
    if name not in names_of(root(resource, kind.name, [])):
        raise Invalid(Fault(f"{path}.identifier", f"must have {name[0]}|{name[1]}, by which it is updated"))


def _refuse_new_names(visit: Visit, patient: Patient, fact_id: int, said: Said, path: str) -> None:
    names = _all_names(said)
    said.body.pop("external_id", None)
    if not names:
        return
    mine = Where("patient_id", "=", patient.id), Where("fact_id", "=", fact_id)
    known = {(one.system, one.value) for one in visit.session.find(ExternalId, *mine)}
    if unknown := [name for name in names if name not in known]:
        said_of = ", ".join(f"{system}|{value}" for system, value in unknown)
        raise Invalid(Fault(f"{path}.identifier", f"cannot be added later: {said_of}"))


def _versions(visit: Visit, ident: str) -> list[Fact]:
    """All versions of the fact of an id that has been found, the current one last."""
    patient_id, _, number = ident.partition("-")
    return versions_of(visit, patient_id, int(number))


def _why(visit: Visit, said: Said) -> str:
    how = "corrected" if said.source.corrected else "changed"
    return f"Sent as {how} over FHIR by {visit.who.username}"


# Patients


def _create_patient(visit: Visit, resource: object, path: str) -> Written:
    body = _patient_body(resource, path)
    if body.pop("died", False):
        raise Invalid(Fault(f"{path}.deceased", "must be false of a new patient"))
    if not body.pop("active"):
        raise Invalid(Fault(f"{path}.active", "must be true of a new patient"))
    if "clinic" not in body:
        body["clinic"] = _only_clinic(visit, path)
    return Written(patient_match(visit, record.add_patient(visit, body)), new=True)


def _update_patient(visit: Visit, ident: str, resource: object, version: int | None, path: str) -> Written:
    body = _patient_body(resource, path)
    patient = visit.patient(ident)
    old = record.patient_fields(visit, patient)
    body["identifiers"] = sorted(body["identifiers"], key=lambda one: (one["system"], one["value"]))
    died = body.pop("died", False)
    changed = {key: value for key, value in body.items() if old[key] != value}
    refuse_outdated(patient.version, version)
    if not changed:
        return Written(patient_match(visit, patient), new=False)
    why = "The patient has died: sent" if died else "Sent"
    body = {**changed, "died": died, "reason": f"{why} over FHIR by {visit.who.username}"}
    return Written(patient_match(visit, record.change_patient(visit, ident, body, version)), new=False)


def _patient_body(resource: object, path: str) -> dict[str, Any]:
    faults: list[Fault] = []
    body = patient_of(resource, faults, path)
    if faults:
        raise Invalid(*faults)
    return body


def _only_clinic(visit: Visit, path: str) -> str:
    if len(visit.who.clinics) != 1:
        said = "required, by its identifier: this account does not belong to just one clinic"
        raise Invalid(Fault(f"{path}.managingOrganization", said))
    return next(iter(visit.who.clinics))


# Bundles


class Entry(NamedTuple):
    """What an entry of a Bundle asks for."""

    path: str
    method: str
    kind: Kind
    ident: str | None
    condition: str | None
    unless: str | None
    version: int | None
    resource: object
    full_url: str | None


Step = Callable[[Callable[[Visit], Written]], Written]


def transaction(visit: Visit, base: str, document: object, *, whole: bool) -> list[object]:
    """All entries of a transaction, in one: what each gave, in their order. Raises Refused with every refusal."""
    entries = read_entries(document, base)
    known: dict[str, str] = {}
    given: dict[int, object] = {}
    refusals: list[tuple[str, Refusal]] = []
    updated: dict[tuple[str, str], tuple[str, int | None]] = {}
    _refuse_same_condition(entries)
    for index in sorted(range(len(entries)), key=lambda place: entries[place].kind.name != "Patient"):
        entry = entries[index]
        try:
            written = carry_out(visit, Context(base, known, entry.full_url), entry)
            if entry.method == "PUT":
                mine = entry.path, written.match.version
                _refuse_written(mine, updated.setdefault((entry.kind.name, written.match.id), mine))
        except Refusal as refusal:
            refusals.append((entry.path, refusal))
            continue
        if entry.full_url is not None:
            known[entry.full_url] = f"{entry.kind.name}/{written.match.id}"
        given[index] = answered(base, entry.kind, written, whole=whole)
    if refusals:
        raise Refused(refusals)
    return [given[index] for index in range(len(entries))]


def _refuse_same_condition(entries: Sequence[Entry]) -> None:
    """Refuse two entries that write the same: which of them is to stand nobody says."""
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        if (of := entry.ident or entry.condition) is not None and (entry.kind.name, of) in seen:
            raise Invalid(Fault(f"{entry.path}.request.url", "stands twice"))
        seen |= {(entry.kind.name, of)} if of is not None else set()


def _refuse_written(later: tuple[str, int | None], first: tuple[str, int | None]) -> None:
    """Refuse an update of what another one in the same transaction has written otherwise, by another of its names.

    Of both it has the path of the entry and the version that came of it.
    """
    (path, version), (other, then) = later, first
    if version != then:
        raise Invalid(Fault(f"{path}.request.url", f"stands twice: {other} writes the same"))


def batch(step: Step, base: str, document: object, *, whole: bool) -> list[object]:
    """Each entry of a batch in a transaction of its own, by `step`: what each gave, or why it was refused."""
    given: list[object] = []
    for place in _places(Place(document, "Bundle", [])):
        try:
            entry = _entry_alone(place, base)
            written = step(lambda visit, entry=entry: carry_out(visit, Context(base), entry))  # type: ignore[misc]
            given.append(answered(base, entry.kind, written, whole=whole))
        except Refusal as refusal:
            status = status_of(refusal)
            given.append({"response": {"status": f"{int(status)} {status.phrase}", "outcome": outcome(refusal)}})
    return given


def carry_out(visit: Visit, context: Context, entry: Entry) -> Written:
    """What an entry of a Bundle asks for; raises Refusals with FHIRPaths."""
    kind, path = entry.kind, f"{entry.path}.resource"
    if kind.writes is None or kind.writes not in visit.who.permissions:
        raise Forbidden(f"This account or token has not the permission {kind.writes}.")
    visit.who.must(*_needs(entry))
    return _done(visit, context, entry, path)._replace(seen=visit.who.may(f"{kind.name}.r"))


def _needs(entry: Entry) -> list[str]:
    """The scopes that an entry takes: those of the interaction, and of the search that a condition is."""
    conditional = (entry.unless if entry.method == "POST" else entry.condition) is not None
    return [f"{entry.kind.name}.{letter}" for letter in ("c" if entry.method == "POST" else "u") + "s" * conditional]


def _done(visit: Visit, context: Context, entry: Entry, path: str) -> Written:
    kind = entry.kind
    if entry.method == "POST" and entry.unless is not None:
        return create_unless(visit, context, kind, entry.resource, entry.unless, path)
    if entry.method == "POST":
        return create(visit, context, kind, entry.resource, path)
    if entry.ident is not None:
        return update(visit, context, kind, entry.ident, entry.resource, entry.version, path)
    return update_by(visit, context, kind, entry.condition or "", entry.resource, entry.version, path)


def answered(base: str, kind: Kind, written: Written, *, whole: bool) -> object:
    """What is told of an entry that was written, with the resource if `whole`."""
    match = written.match
    response = {
        "status": "201 Created" if written.new else "200 OK",
        "location": f"{base}/{kind.name}/{match.id}/_history/{match.version}",
        "etag": f'W/"{match.version}"',
        "lastModified": match.updated,
    }
    return {"response": response, **({"resource": RawJSON(match.give())} if whole and written.seen else {})}


def read_entries(document: object, base: str) -> list[Entry]:
    """The entries of a Bundle of the writable types; raises Invalid with every fault."""
    faults: list[Fault] = []
    bundle = Place(document, "Bundle", faults)
    found = [_entry(entry, base) for entry in _places(bundle)]
    urls = [entry.full_url for entry in found if entry is not None and entry.full_url is not None]
    if len(set(urls)) != len(urls):
        bundle["entry"].wrong("has a fullUrl twice")
    if faults:
        raise Invalid(*faults)
    return [entry for entry in found if entry is not None]


def _places(bundle: Place) -> list[Place]:
    """The places of the entries of a Bundle; raises Invalid where there are too many."""
    entries = list(bundle["entry"])
    if len(entries) > _MOST_ENTRIES:
        raise Invalid(Fault("Bundle.entry", f"must have at most {_MOST_ENTRIES} entries"))
    return entries


def _entry_alone(place: Place, base: str) -> Entry:
    """What an entry asks for, whatever others do; raises Invalid with its faults."""
    faults: list[Fault] = []
    entry = _entry(Place(place.value, place.path, faults), base)
    if faults or entry is None:
        raise Invalid(*faults)
    return entry


def _entry(entry: Place, base: str) -> Entry | None:
    request = entry["request"]
    method, url = request["method"].one_of(("POST", "PUT")), request["url"].required(request["url"].text())
    resource = entry["resource"]
    if not isinstance(resource.value, dict):
        resource.wrong("required: a resource")
    if method is None or url is None:
        return None
    path, _, query = url.removeprefix(f"{base}/").partition("?")
    name, _, ident = path.partition("/")
    kind = KINDS.get(name)
    wrong = kind is None or kind.writes is None or bool(method == "POST" and (ident or query))
    if wrong or (method == "PUT" and bool(ident) == bool(query)):
        request["url"].wrong("must be a type that can be written, for PUT with an id or a condition on the identifier")
        return None
    version = request["ifMatch"].text()
    number = None if version is None else version.removeprefix("W/").strip('"')
    if number is not None and not (number.isascii() and number.isdigit() and len(number) < 16):
        request["ifMatch"].wrong('must be an ETag like W/"3"')
        return None
    return Entry(
        entry.path,
        method,
        cast(Kind, kind),
        ident or None,
        query or None,
        request["ifNoneExist"].text(),
        None if number is None else int(number),
        resource.value,
        entry["fullUrl"].text(),
    )
