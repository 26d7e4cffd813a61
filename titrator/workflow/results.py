"""Results that name their patient by an identifier: recorded if it is certain whose they are, else held for a person.

A laboratory knows the hospital's number, not ours, and numbers are mistyped and merged. No result is lost for that, and
none is given to a patient whom nobody has named. What a message says of a result that was held before changes what is
held: there is one row for each result, by its external id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Final, NamedTuple, cast
from zoneinfo import ZoneInfo

from titrator.security.secrets import new_id
from titrator.store.base import Session, Stale, Where
from titrator.store.records import Clinic, ExternalId, Fact, Identifier, Patient, UnmatchedResult
from titrator.titration.documents import encode, join, reread
from titrator.titration.errors import Fault
from titrator.workflow.errors import Code, Conflict, Invalid, Unknown
from titrator.workflow.facts import BY_KIND, OBSERVATIONS, PLATELET_COUNTS, WEIGHTS, Collection, read_draft
from titrator.workflow.record import Recorded, Source, Which, correct, enter_in_error, record, record_first
from titrator.workflow.sent import Saying, Sent, lateness, says_the_same, versions_of
from titrator.workflow.visit import Visit, day_at, instant

Body = Mapping[str, object]
#: A system and a value of it.
Name = tuple[str, str]

#: By key of a result: the collection that it belongs to.
_COLLECTIONS: Final[Mapping[str, Collection]] = {
    "weight": WEIGHTS,
    "platelet_count": PLATELET_COUNTS,
    "observation": OBSERVATIONS,
}
_BY_NAME: Final = {collection.name: collection for collection in _COLLECTIONS.values()}
SHOWN: Final = 100


class Why(StrEnum):
    """Why a result is held and not recorded."""

    NO_PATIENT = "no-patient"
    SEVERAL_PATIENTS = "several-patients"
    BIRTH_DATE_MISSING = "birth-date-missing"
    BIRTH_DATE_DIFFERS = "birth-date-differs"
    PATIENT_INACTIVE = "patient-inactive"
    OTHER_PATIENT = "other-patient"
    CHANGED_HERE = "changed-here"
    COMES_LATE = "comes-late"


class Received(NamedTuple):
    """What became of a result: the fact that it is, or the row that waits; and whether it is new."""

    collection: Collection
    fact: Fact | None
    waiting: UnmatchedResult | None
    new: bool


class Subject(NamedTuple):
    """Whose a result is, as a feed says: numbers of the patient, each by its system, and the birth date."""

    identifiers: tuple[tuple[str, str], ...]
    born_on: str | None


class Match(NamedTuple):
    """Who a subject is: a patient, or why that is not certain and who it might be; held results go to the clinic."""

    subject: Subject
    clinic: Clinic
    patient: Patient | None
    why: Why | None
    might_be: tuple[str, ...]


class Ahead:
    """What is there of some results before any of them is taken, looked up for all of them together.

    Once a result has been taken, what was looked up for it may be otherwise. So each is given once; who asks for it
    again has it looked up again.
    """

    def __init__(
        self, session: Session, subjects: Iterable[Subject], names: Iterable[Name], clinics: Iterable[str]
    ) -> None:
        """Look up who the subjects are and, patients being held, what has the external ids; what waits, by clinic."""
        self._session = session
        self._names = list(dict.fromkeys(names))
        identifiers = list(dict.fromkeys(name for subject in subjects for name in subject.identifiers))
        found = session.get_all(Identifier, identifiers)
        self._who = {name: found[name].patient_id if name in found else None for name in identifiers}
        self._patients = session.get_all(Patient, [(one.patient_id,) for one in found.values()])
        self._clinics = tuple(sorted({*clinics, *(one.clinic_id for one in self._patients.values())}))
        self._found = self._look_up(session)
        self._facts: dict[Name, list[ExternalId]] = {name: [] for name in self._names}
        self._rows: dict[tuple[str, Name], UnmatchedResult | None] = {
            (clinic, name): None for name in self._names for clinic in self._clinics
        }
        for one in self._found[0]:
            self._facts[one.system, one.value].append(one)
        for row in self._found[1]:
            self._rows[row.clinic_id, (cast(str, row.external_system), cast(str, row.external_value))] = row

    def _look_up(self, session: Session) -> tuple[list[ExternalId], list[UnmatchedResult]]:
        """What has the external ids, and what waits under them; nobody else gives them to anybody meanwhile."""
        session.hold(ExternalId, [("", *name) for name in self._names])
        facts: list[ExternalId] = []
        rows: list[UnmatchedResult] = []
        for system in dict.fromkeys(system for system, _ in self._names):
            values = tuple(value for of, value in self._names if of == system)
            facts += session.find(ExternalId, Where("system", "=", system), Where("value", "in", values))
            same = Where("external_system", "=", system), Where("external_value", "in", values)
            rows += session.find(UnmatchedResult, Where("clinic_id", "in", self._clinics), *same)
        return facts, rows

    def refuse_changed(self, session: Session) -> None:
        """Raise Stale where external ids were given, or results held under them, since it was looked up."""
        (facts, rows), (facts_now, rows_now) = self._found, self._look_up(session)
        if set(facts) != set(facts_now) or {(row.id, row.version) for row in rows} != {
            (row.id, row.version) for row in rows_now
        }:
            raise Stale(ExternalId.TABLE)

    def patients(self, names: Iterable[Name]) -> list[Patient]:
        """Who has any of some identifiers of a subject."""
        idents = dict.fromkeys(ident for name in names if (ident := self._who[name]) is not None)
        found = [self._patients.pop((one,), None) or self._session.get(Patient, one) for one in idents]
        return [one for one in found if one is not None]

    def facts(self, name: Name) -> list[ExternalId]:
        """Which facts have an external id."""
        if (found := self._facts.pop(name, None)) is not None:
            return found
        return self._session.find(ExternalId, Where("system", "=", name[0]), Where("value", "=", name[1]))

    def row(self, clinic: str, name: Name) -> UnmatchedResult | None:
        """The row of a result by its external id, whatever has become of it."""
        if (clinic, name) in self._rows:
            return self._rows.pop((clinic, name))
        return _row_of(self._session, clinic, name)


class Taken(StrEnum):
    """What became of a result of a feed."""

    RECORDED = "recorded"
    CORRECTED = "corrected"
    UNCHANGED = "unchanged"
    TAKEN_BACK = "taken-back"
    HELD = "held"
    NOTHING = "nothing"


def receive(visit: Visit, body: Body) -> Received:
    """A result recorded for the patient of the account's clinics who has the identifier; kept, if there is none.

    Raises what `record` raises; Invalid where the clinic is not the account's, or not named.
    """
    identifier = cast("Mapping[str, str]", body["identifier"])
    key = next(key for key in _COLLECTIONS if key in body)
    collection, entry = _COLLECTIONS[key], cast(Body, body[key])
    clinic = _clinic(visit, cast("str | None", body.get("clinic")))
    patient = _patient(visit, identifier["system"], identifier["value"])
    if patient is not None and patient.active:
        recorded = record(visit, patient.id, collection, entry)
        return Received(collection, recorded.fact, None, recorded.new)
    entry = {key: value for key, value in entry.items() if key != "confirm"}
    _refuse_faults(visit, visit.clinic(clinic), collection, entry, key)
    if (known := _kept_before(visit, clinic, entry)) is not None:
        return Received(collection, None, known, new=False)
    why, might_be = (Why.NO_PATIENT, ()) if patient is None else (Why.PATIENT_INACTIVE, (patient.id,))
    name = identifier["system"], identifier["value"]
    row = _keep(visit, clinic, name, Sent(collection, entry), why, might_be)
    return Received(collection, None, row, new=True)


def unmatched(visit: Visit, clinic: str | None) -> tuple[int, list[tuple[UnmatchedResult, str | None]]]:
    """How many results wait to be assigned, and the oldest, each with the patient who has its identifier now.

    Of those whom a result might be of, the ones whom the account may see.
    """
    where = open_results(visit, clinic)
    rows = visit.session.find(UnmatchedResult, *where, order=("received_at", "id"), limit=SHOWN)
    visit.note("read", "unmatched-results", found=[row.id for row in rows])
    return visit.session.count(UnmatchedResult, *where), [_shown(visit, row) for row in rows]


def held(visit: Visit, ident: str) -> tuple[UnmatchedResult, str | None]:
    """A result that waits to be assigned, with the patient who has its identifier now.

    Raises Unknown, Conflict RESULT-SETTLED.
    """
    row = _open(visit, ident)
    visit.note("read", f"result/{row.id}")
    return _shown(visit, row)


def open_results(visit: Visit, clinic: str | None) -> list[Where]:
    """What tells the results of the account's clinics, or of one, that wait to be assigned."""
    return [Where("clinic_id", "in", visit.clinics(clinic)), Where("status", "=", "open")]


def assign(visit: Visit, ident: str, body: Body) -> Recorded:
    """A result recorded for the patient whose it is, as that person's entry; raises Asked as `record` does.

    Where the patient has that result already, it is corrected by what is assigned, or taken back if that says so.
    """
    row = _open(visit, ident)
    confirmed = {"confirm": body["confirm"]} if "confirm" in body else {}
    entry = {**cast("dict[str, object]", reread(row.body)), **confirmed}
    sent = Sent(_BY_NAME[row.collection], entry, _source(row), _saying(row))
    recorded = _assigned(visit, cast(str, body["patient"]), sent, row)
    patient = visit.patient(recorded.fact.patient_id)
    _settle(visit, row, status="assigned", patient_id=patient.id, fact_id=recorded.fact.id)
    visit.note("assign-result", f"result/{row.id}", patient=patient, fact=recorded.fact.id)
    return recorded


def dismiss(visit: Visit, ident: str, reason: str) -> UnmatchedResult:
    """A result that is nobody's of the clinic, for a reason."""
    row = _settle(visit, _open(visit, ident), status="dismissed", reason=reason)
    visit.note("dismiss-result", f"result/{row.id}", why=reason)
    return row


# What feeds send


def match_of(visit: Visit, subject: Subject, clinic: Clinic, ahead: Ahead) -> Match:
    """Who a subject is: only who has an identifier of it and its birth date, and is the only one who has any.

    Results that are not certain are held at the `clinic`, or at that of who they might be of.
    """
    found = {one.id: one for one in ahead.patients(subject.identifiers) if one.clinic_id in visit.who.clinics}
    if len(found) != 1:
        why = Why.SEVERAL_PATIENTS if found else Why.NO_PATIENT
        return Match(subject, clinic, None, why, tuple(sorted(found)))
    patient = next(iter(found.values()))
    of = clinic if patient.clinic_id == clinic.id else visit.clinic(patient.clinic_id)
    if subject.born_on is None or patient.born_on is None:
        return Match(subject, of, None, Why.BIRTH_DATE_MISSING, (patient.id,))
    if subject.born_on != patient.born_on:
        return Match(subject, of, None, Why.BIRTH_DATE_DIFFERS, (patient.id,))
    if not patient.active:
        return Match(subject, of, None, Why.PATIENT_INACTIVE, (patient.id,))
    return Match(subject, of, patient, None, (patient.id,))


def seen_again(visit: Visit, match: Match) -> Match:
    """The same with the patient as he is now: a result of his has been taken since."""
    patient = match.patient
    return match if patient is None else match._replace(patient=visit.session.get(Patient, patient.id))


def take(visit: Visit, match: Match, sent_at: Callable[[ZoneInfo], Sent], ahead: Ahead) -> Taken:
    """What becomes of a result of a feed; `sent_at` reads it by the days at a time zone. Raises Refusals.

    It has an external id, by which what was said of it before is found. The patient is as he is now (`seen_again`).
    """
    sent = sent_at(ZoneInfo(match.clinic.time_zone))
    named = cast("Mapping[str, str]", sent.body["external_id"])
    name = named["system"], named["value"]
    known, row = ahead.facts(name), ahead.row(match.clinic.id, name)
    if match.patient is None:
        others = _seen(visit, (one.patient_id for one in known))
        return _hold(visit, match._replace(might_be=(*match.might_be, *others)), sent, row, known)
    elsewhere = tuple(_seen(visit, (one.patient_id for one in known if one.patient_id != match.patient.id)))
    if elsewhere:
        unsure = match._replace(why=Why.OTHER_PATIENT, might_be=(match.patient.id, *elsewhere))
        return _hold(visit, unsure, sent, row, known)
    mine = [one.fact_id for one in known if one.patient_id == match.patient.id]
    if mine:
        return _again(visit, match, sent, versions_of(visit, match.patient.id, mine[0]), row, known)
    return _first(visit, match.patient, sent, row)


def _first(visit: Visit, patient: Patient, sent: Sent, row: UnmatchedResult | None) -> Taken:
    """What becomes of a result of which no fact is there; it may have been held until now."""
    waits = row is not None and row.status == "open"
    if sent.saying is Saying.NOW_FINAL and row is not None and waits:
        sent = _now_final(row, sent)
    if sent.saying is not Saying.RESULT:
        if waits and row is not None:
            return _withdraw(visit, row)
        return _nothing_there(sent)
    if row is not None and waits and _is_older(sent, row):
        return _let_be(visit, row)
    recorded = record_first(visit, patient, sent.collection, sent.body, sent.source)
    if row is not None and waits:
        _settle(visit, row, status="assigned", patient_id=patient.id, fact_id=recorded.fact.id)
        visit.note("assign-result", f"result/{row.id}", patient=patient, fact=recorded.fact.id)
    return Taken.RECORDED


def _again(  # noqa: PLR0913, PLR0917 (all that a result is compared with)
    visit: Visit,
    match: Match,
    sent: Sent,
    versions: Sequence[Fact],
    row: UnmatchedResult | None,
    known: Sequence[ExternalId],
) -> Taken:
    """What becomes of a result that is a fact already."""
    fact, patient = versions[-1], cast(Patient, match.patient)
    which = Which(patient.id, BY_KIND[fact.kind], fact.id)
    if sent.saying in (Saying.TAKEN_BACK, Saying.CANCELLED):
        if fact.status == "entered-in-error":
            return _unchanged(visit, patient, fact)
        if fact.recorded_by != visit.who.account_id:
            return _hold(visit, match._replace(why=Why.CHANGED_HERE), sent, row, known)
        enter_in_error(visit, which, f"Sent as {sent.saying} over HL7 v2 by {visit.who.username}")
        return Taken.TAKEN_BACK
    if sent.saying is Saying.NOW_FINAL:
        if Code.RESULT_PRELIMINARY not in fact.asked:
            return _unchanged(visit, patient, fact)
        sent = Sent(sent.collection, {**_entry_of(fact), "external_id": sent.body["external_id"]}, _at(fact))
    if says_the_same(fact, sent.collection, sent.body, sent.source):
        return _unchanged(visit, patient, fact)
    if fact.status == "entered-in-error" or lateness(versions, sent.collection, sent.body, sent.source) is not None:
        return _hold(visit, match._replace(why=Why.COMES_LATE), sent, row, known)
    if fact.recorded_by != visit.who.account_id:
        return _hold(visit, match._replace(why=Why.CHANGED_HERE), sent, row, known)
    how = "corrected" if sent.source.corrected else "changed"
    body = {**sent.body, "reason": f"Sent as {how} over HL7 v2 by {visit.who.username}"}
    correct(visit, which._replace(collection=sent.collection), body, sent.source)
    return Taken.CORRECTED


def _hold(visit: Visit, match: Match, sent: Sent, row: UnmatchedResult | None, known: Sequence[ExternalId]) -> Taken:
    """Have a result wait for a person; one that waits already says from now on what was sent last."""
    waits = row is not None and row.status == "open"
    if sent.saying is Saying.NOW_FINAL and row is not None and waits:
        sent = _now_final(row, sent)
    if sent.saying is not Saying.RESULT and not known:
        return _withdraw(visit, row) if row is not None and waits else _nothing_there(sent)
    if sent.saying is not Saying.RESULT:
        fact = versions_of(visit, known[0].patient_id, known[0].fact_id)[-1]
        sent = sent._replace(body={**_entry_of(fact), **sent.body})
        if sent.saying is Saying.NOW_FINAL:
            sent = sent._replace(source=_at(fact), saying=Saying.RESULT)
    _refuse_faults(visit, match.clinic, sent.collection, sent.body)
    might_be, why = tuple(dict.fromkeys(match.might_be)), match.why or Why.NO_PATIENT
    if row is None:
        _keep(visit, match.clinic.id, match.subject.identifiers[0], sent, why, might_be)
        return Taken.HELD
    body, source = encode(dict(sent.body)), _source_fields(sent)
    if (row.body, row.source) == (body, source):
        visit.note("read", f"result/{row.id}")
        return Taken.UNCHANGED
    if waits and _is_older(sent, row):
        return _let_be(visit, row)
    system, value = match.subject.identifiers[0]
    about = {"collection": sent.collection.name, "body": body, "source": source, "why": str(why), "might_be": might_be}
    _change(
        visit,
        row,
        {**about, "system": system, "value": value, "received_at": instant(visit.now), "status": "open"}
        | dict.fromkeys(("patient_id", "fact_id", "reason", "settled_by", "settled_at")),
    )
    visit.note("keep-result", f"result/{row.id}", old=reread(row.body), new=dict(sent.body), why=str(why))
    return Taken.HELD


def _withdraw(visit: Visit, row: UnmatchedResult) -> Taken:
    """What waits was taken back, or cannot be had: nobody need look at it."""
    reason = f"Taken back over HL7 v2 by {visit.who.username}"
    _settle(visit, row, status="dismissed", reason=reason)
    visit.note("dismiss-result", f"result/{row.id}", why=reason)
    return Taken.TAKEN_BACK


def _nothing_there(sent: Sent) -> Taken:
    """What becomes of a word on a result that is not here: that it cannot be had is no news; raises Invalid."""
    if sent.saying is Saying.CANCELLED:
        return Taken.NOTHING
    done = "taken back" if sent.saying is Saying.TAKEN_BACK else "made final"
    raise Invalid(Fault("saying", f"nothing of that order and code is here that could be {done}"))


def _now_final(row: UnmatchedResult, sent: Sent) -> Sent:
    """What waits, as a final result."""
    entry = cast("dict[str, object]", reread(row.body))
    return Sent(_BY_NAME[row.collection], {**entry, **sent.body}, Source(at=cast("str | None", row.source.get("at"))))


def _is_older(sent: Sent, row: UnmatchedResult) -> bool:
    """Whether what is sent was overtaken by what waits: a preliminary result after the final one."""
    return sent.source.preliminary and row.source.get("status") != "preliminary"


def _let_be(visit: Visit, row: UnmatchedResult) -> Taken:
    visit.note("read", f"result/{row.id}", overtaken=True)
    return Taken.UNCHANGED


def _unchanged(visit: Visit, patient: Patient, fact: Fact) -> Taken:
    visit.note("read", f"patient/{patient.id}/{fact.kind}/{fact.id}", patient=patient)
    return Taken.UNCHANGED


def _entry_of(fact: Fact) -> dict[str, object]:
    """A fact as an entry that would say the same."""
    fields = {key: value for key, value in BY_KIND[fact.kind].fields(fact).items() if value is not None}
    if fact.kind == "platelet-count":
        fields["unreliable"] = fact.unreliable
    if "note" in fact.detail:
        fields["note"] = fact.detail["note"]
    return fields


def _at(fact: Fact) -> Source:
    return Source(at=fact.taken_at)


def _source_fields(sent: Sent) -> dict[str, object]:
    """What the source of a result says beside it, as it is stored."""
    status = "final"
    if sent.saying is not Saying.RESULT:
        status = "entered-in-error"
    elif sent.source.preliminary or sent.source.corrected:
        status = "preliminary" if sent.source.preliminary else "corrected"
    return {"status": status, **({} if sent.source.at is None else {"at": sent.source.at})}


def _source(row: UnmatchedResult) -> Source:
    status, at = row.source.get("status"), cast("str | None", row.source.get("at"))
    return Source(preliminary=status == "preliminary", corrected=status == "corrected", at=at)


def _saying(row: UnmatchedResult) -> Saying:
    return Saying.TAKEN_BACK if row.source.get("status") == "entered-in-error" else Saying.RESULT


def _assigned(visit: Visit, patient_id: str, sent: Sent, row: UnmatchedResult) -> Recorded:
    """What a held result is of a patient: a new fact, or what becomes of the one that has its external id."""
    patient = visit.patient(patient_id)
    name = row.external_system, row.external_value
    known = None if row.external_value is None else visit.session.get(ExternalId, patient.id, *name)
    fact = None if known is None else versions_of(visit, patient.id, known.fact_id)[-1]
    if fact is None:
        if sent.saying is Saying.TAKEN_BACK:
            raise Invalid(Fault("patient", "has no such result that could be taken back"))
        return record(visit, patient.id, sent.collection, sent.body, sent.source)
    if fact.status == "entered-in-error" and sent.saying is Saying.RESULT:
        body = {key: value for key, value in sent.body.items() if key != "external_id"}
        return record(visit, patient.id, sent.collection, body, sent.source)
    which = Which(patient.id, BY_KIND[fact.kind], fact.id)
    reason = "Assigned from the results that waited"
    if sent.saying is Saying.TAKEN_BACK:
        return Recorded(enter_in_error(visit, which, reason), new=False)
    if says_the_same(fact, sent.collection, sent.body, sent.source):
        return Recorded(fact, new=False)
    return Recorded(correct(visit, which, {**sent.body, "reason": reason}, sent.source), new=False)


# Rows


def _patient(visit: Visit, system: str, value: str) -> Patient | None:
    """The patient of the account's clinics who has an identifier."""
    found = visit.session.get(Identifier, system, value)
    patient = None if found is None else visit.session.get(Patient, found.patient_id)
    return patient if patient is not None and patient.clinic_id in visit.who.clinics else None


def _seen(visit: Visit, patients: Iterable[str]) -> list[str]:
    """Those of some patients who are of the account's clinics."""
    found = ((ident, visit.session.get(Patient, ident)) for ident in patients)
    return [ident for ident, one in found if one is not None and one.clinic_id in visit.who.clinics]


def _clinic(visit: Visit, named: str | None) -> str:
    mine = visit.who.clinics
    if named is None and len(mine) == 1:
        return next(iter(mine))
    if named is None:
        raise Invalid(Fault("clinic", "required: this account does not belong to just one"))
    if named not in mine:
        raise Invalid(Fault("clinic", "not a clinic of this account"))
    return named


def _refuse_faults(visit: Visit, clinic: Clinic, collection: Collection, entry: Body, key: str = "") -> None:
    """Raise Invalid for what could not be recorded of any patient, so that whoever sends it learns of it."""
    draft, faults = read_draft(collection, entry)
    today = day_at(clinic, visit.now)
    if draft.day > today:
        faults.append(Fault("", f"must not be of {draft.day}, after {today}, today at the clinic"))
    if faults and key:
        raise Invalid(*(Fault(join(key, fault.path) if fault.path else key, fault.message) for fault in faults))
    if faults:
        raise Invalid(*faults)


def _shown(visit: Visit, row: UnmatchedResult) -> tuple[UnmatchedResult, str | None]:
    """A row as the account may see it, with the patient who has its identifier now."""
    named = _patient(visit, row.system, row.value)
    return replace(row, might_be=tuple(_seen(visit, row.might_be))), None if named is None else named.id


def _row_of(session: Session, clinic: str, name: Name) -> UnmatchedResult | None:
    """The row of a result by its external id, whatever has become of it."""
    same = Where("external_system", "=", name[0]), Where("external_value", "=", name[1])
    found = session.find(UnmatchedResult, Where("clinic_id", "=", clinic), *same)
    return found[0] if found else None


def _kept_before(visit: Visit, clinic: str, entry: Body) -> UnmatchedResult | None:
    """The row of a message that came before; raises Conflict where it said something else."""
    external = cast("Mapping[str, str] | None", entry.get("external_id"))
    found = None if external is None else _row_of(visit.session, clinic, (external["system"], external["value"]))
    if found is not None and found.body != encode(dict(entry)):
        raise Conflict(
            Code.EXTERNAL_ID_TAKEN,
            f"That external id names result {found.id}, which says something else.",
            faults=[Fault("external_id", f"names unmatched result {found.id}")],
        )
    return found


def _keep(  # noqa: PLR0913, PLR0917 (all that is kept)
    visit: Visit, clinic: str, identifier: tuple[str, str], sent: Sent, why: Why, might_be: tuple[str, ...]
) -> UnmatchedResult:
    external = cast("Mapping[str, str]", sent.body.get("external_id") or {})
    system, value = identifier
    row = UnmatchedResult(
        id=new_id(),
        version=1,
        clinic_id=clinic,
        system=system,
        value=value,
        collection=sent.collection.name,
        body=encode(dict(sent.body)),
        external_system=external.get("system"),
        external_value=external.get("value"),
        why=str(why),
        might_be=might_be,
        source=_source_fields(sent),
        received_by=visit.who.account_id,
        received_at=instant(visit.now),
        status="open",
        patient_id=None,
        fact_id=None,
        reason=None,
        settled_by=None,
        settled_at=None,
    )
    visit.session.add(row)
    named = {"system": system, "value": value}
    visit.note("keep-result", f"result/{row.id}", clinic=clinic, identifier=named, new=dict(sent.body), why=str(why))
    return row


def _open(visit: Visit, ident: str) -> UnmatchedResult:
    row = visit.session.get(UnmatchedResult, ident)
    if row is None or row.clinic_id not in visit.who.clinics:
        raise Unknown("unmatched result")
    if row.status != "open":
        raise Conflict(Code.RESULT_SETTLED, f"It has been {row.status} already.")
    return row


def _settle(visit: Visit, row: UnmatchedResult, **changed: object) -> UnmatchedResult:
    return _change(visit, row, {"settled_by": visit.who.account_id, "settled_at": instant(visit.now), **changed})


def _change(visit: Visit, row: UnmatchedResult, changed: Mapping[str, object]) -> UnmatchedResult:
    new = replace(row, version=row.version + 1, **changed)  # type: ignore[arg-type]
    visit.session.change(new, Where("version", "=", row.version))
    return new
