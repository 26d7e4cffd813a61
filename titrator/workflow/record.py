"""Record what happened: patients and their facts. Nothing is overwritten; a correction is a new version of a fact.

A fact takes its id from the patient's revision, which each change raises by one: so facts are in order of recording,
and two people who change the same patient at once cannot both be right unseen.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Final, NamedTuple, cast

from titrator.security.permissions import Permission
from titrator.security.secrets import new_id
from titrator.store.base import CourseFact, Duplicate, Where
from titrator.store.records import Clinic, CourseVersion, ExternalId, Fact, Identifier, Patient, Standing, Waiting
from titrator.titration.course import MOST_ENTRIES
from titrator.titration.errors import Fault, InvalidProtocol
from titrator.titration.protocol import Protocol, WeeklyProtocol, WeightBasis
from titrator.workflow.delivery import after_fact, reopen, void
from titrator.workflow.errors import Code, Conflict, Forbidden, Invalid, Unknown
from titrator.workflow.facts import (
    BY_KIND,
    SAFETY_EVENTS,
    Collection,
    Draft,
    as_told,
    course_fact,
    draft_fact,
    read_draft,
    show,
)
from titrator.workflow.plausibility import (
    CLOSEST_DOSES,
    WITHOUT_COURSE,
    Question,
    confirmed,
    far_dose,
    moved_baseline,
    questions,
)
from titrator.workflow.propose import course_document, open_course
from titrator.workflow.reminders.keep import unsettle_clinic
from titrator.workflow.visit import Visit, instant, refuse_outdated

Body = Mapping[str, object]

PAGE: Final = 50
#: Letters that are written with a stroke or joined, which Unicode does not take apart.
_BARE: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "\u0131": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)


class Which(NamedTuple):
    """A fact of a patient, by its collection and id; to change it, in the version that was seen (None: any)."""

    patient_id: str
    collection: Collection
    fact_id: int
    version: int | None = None


class Source(NamedTuple):
    """What a system says of an entry beside its content.

    A `preliminary` one doses nothing until it is corrected; one that is `corrected` was wrong elsewhere before. `names`
    are further external ids, as system and value, `at` is the instant of what happened, in its own words. An event is
    `suspected` to be what it is recorded as where the system has no code of ours for it: it waits to be verified.
    Where it is `unattended` nobody can be asked about it, whoever sent it: it is kept as a feed's is.
    """

    preliminary: bool = False
    corrected: bool = False
    names: tuple[tuple[str, str], ...] = ()
    at: str | None = None
    suspected: bool = False
    unattended: bool = False


#: Of an entry of a person, or of a system that says no more than its content.
NO_SOURCE: Final = Source()
#: What is said of an event that is only suspected, among what its plausibility raised.
EVENT_SUSPECTED: Final = "EVENT-SUSPECTED"


class Judgement(NamedTuple):
    """What the plausibility of an entry came to: what was asked, who confirmed it, the status of the fact."""

    asked: tuple[str, ...]
    confirmed_by: str | None
    status: str


#: Of an entry that raised nothing.
FINAL: Final = Judgement((), None, "final")


class Recorded(NamedTuple):
    """A fact, and whether it is new: false where it was already there by another name.

    `departs` is whether it is a dose that departs from what was decided.
    """

    fact: Fact
    new: bool
    departs: bool = False


def add_clinic(visit: Visit, body: Body) -> Clinic:
    """A new clinic."""
    clinic = Clinic(
        id=new_id(),
        version=1,
        name=cast(str, body["name"]),
        time_zone=cast(str, body["time_zone"]),
        holidays=_texts(body, "holidays"),
        injection_days=_texts(body, "injection_days"),
    )
    visit.session.add(clinic)
    visit.note("create", f"clinic/{clinic.id}", new=clinic_fields(clinic))
    return clinic


def change_clinic(visit: Visit, clinic_id: str, body: Body, version: int | None) -> Clinic:
    """A clinic with other settings."""
    clinic = visit.clinic(clinic_id)
    refuse_outdated(clinic.version, version)
    new = replace(
        clinic,
        version=clinic.version + 1,
        name=cast(str, body["name"]),
        time_zone=cast(str, body["time_zone"]),
        holidays=_texts(body, "holidays"),
        injection_days=_texts(body, "injection_days"),
    )
    visit.session.change(new, Where("version", "=", clinic.version))
    visit.known_clinics[clinic.id] = new
    if (new.time_zone, new.holidays, new.injection_days) != (clinic.time_zone, clinic.holidays, clinic.injection_days):
        unsettle_clinic(visit.session, clinic.id)
    visit.note("change", f"clinic/{clinic.id}", old=clinic_fields(clinic), new=clinic_fields(new))
    return new


def clinic_fields(clinic: Clinic) -> dict[str, object]:
    """A clinic as it is sent."""
    return {
        "id": clinic.id,
        "version": clinic.version,
        "name": clinic.name,
        "time_zone": clinic.time_zone,
        "holidays": list(clinic.holidays),
        "injection_days": list(clinic.injection_days),
    }


def clinics(visit: Visit) -> list[Clinic]:
    """The clinics of the account; all of them for one that manages them."""
    found = visit.session.find(Clinic, order=("name", "id"))
    if Permission.MANAGE_CLINICS in visit.who.permissions:
        return found
    return [clinic for clinic in found if clinic.id in visit.who.clinics]


def add_patient(visit: Visit, body: Body) -> Patient:
    """A new patient of a clinic of the account."""
    patient = new_patient(visit, body)
    visit.session.add(patient)
    _set_identifiers(visit, patient, body)
    visit.note("create", f"patient/{patient.id}", patient=patient, new=patient_fields(visit, patient))
    return patient


def new_patient(visit: Visit, body: Body) -> Patient:
    """A patient under a new id, as it is to be added; raises Invalid for another clinic, or born after today."""
    clinic_id = cast(str, body["clinic"])
    _refuse_other_clinic(visit, clinic_id)
    family, given = cast(str, body["family_name"]), cast(str, body["given_name"])
    patient = Patient(
        id=new_id(),
        version=1,
        revision=0,
        clinic_id=clinic_id,
        family_name=family,
        given_name=given,
        search_name=searched(f"{family} {given}"),
        born_on=cast("str | None", body.get("born_on")),
        active=True,
        created_at=instant(visit.now),
        changed_at=instant(visit.now),
        settled=True,
        decided=0,
        decision_id=None,
    )
    _refuse_future(visit.today(patient), "born_on", patient.born_on)
    return patient


def change_patient(visit: Visit, patient_id: str, body: Body, version: int | None) -> Patient:
    """A patient with other particulars. To move between clinics needs a right of its own, and both to be one's own."""
    patient = visit.patient(patient_id)
    refuse_outdated(patient.version, version)
    old = patient_fields(visit, patient)
    family = cast(str, body.get("family_name", patient.family_name))
    given = cast(str, body.get("given_name", patient.given_name))
    clinic_id = cast(str, body.get("clinic", patient.clinic_id))
    if clinic_id != patient.clinic_id:
        if Permission.MANAGE_PATIENTS not in visit.who.permissions or patient.clinic_id not in visit.who.clinics:
            raise Forbidden("This account may not move this patient to another clinic.")
        _refuse_other_clinic(visit, clinic_id)
    _refuse_weighty(visit, patient, body)
    new = replace(
        patient,
        version=patient.version + 1,
        family_name=family,
        given_name=given,
        search_name=searched(f"{family} {given}"),
        born_on=cast("str | None", body.get("born_on", patient.born_on)),
        active=cast(bool, body.get("active", patient.active)),
        clinic_id=clinic_id,
        changed_at=instant(visit.now),
        settled=False,
    )
    _refuse_future(visit.today(new), "born_on", new.born_on)
    if new.born_on is not None and new.born_on != patient.born_on:
        _refuse_birth_after_facts(visit, new, new.born_on)
    visit.session.change(new, Where("version", "=", patient.version))
    if "identifiers" in body:
        visit.session.remove(Identifier, Where("patient_id", "=", patient.id))
        _set_identifiers(visit, patient, body)
    fields = patient_fields(visit, new)
    visit.note("change", f"patient/{patient.id}", patient=new, old=old, new=fields, why=body.get("reason"))
    if new.born_on != patient.born_on:
        new = reopen(visit, new, visit.session.course_facts(new.id), "")
    if patient.active and not new.active:
        new = void(visit, new, "the patient is not active any more")
    if new.clinic_id != patient.clinic_id:
        for kept in (Standing, Waiting):
            visit.session.remove(kept, Where("patient_id", "=", patient.id))
    return new


def patient_fields(visit: Visit, patient: Patient) -> dict[str, object]:
    """A patient as it is sent."""
    identifiers = visit.session.find(Identifier, Where("patient_id", "=", patient.id), order=("system", "value"))
    return patient_shown(patient, identifiers)


def patient_shown(patient: Patient, identifiers: Sequence[Identifier]) -> dict[str, object]:
    """A patient as it is sent, with identifiers in order of system and value."""
    return {
        "id": patient.id,
        "version": patient.version,
        "revision": patient.revision,
        "clinic": patient.clinic_id,
        "family_name": patient.family_name,
        "given_name": patient.given_name,
        "born_on": patient.born_on,
        "active": patient.active,
        "identifiers": [{"system": one.system, "value": one.value} for one in identifiers],
    }


def find_patients(visit: Visit, query: Body) -> tuple[list[Patient], str | None]:
    """A page of the patients whom the account may see, in order of id, and where the next begins."""
    scope = tuple(sorted(visit.who.clinics))
    if (clinic := query.get("clinic")) is not None:
        scope = (clinic,) if clinic in visit.who.clinics else ()
    conditions = [Where("clinic_id", "in", scope)]
    if (identifier := query.get("identifier")) is not None:
        found = _identified(visit, cast(str, identifier))
        conditions.append(Where("id", "in", tuple(one.patient_id for one in found)))
    named = cast(str, query.get("name", ""))
    if (text := query.get("text")) is not None:
        numbered = tuple({one.patient_id for one in _identified(visit, cast(str, text).strip())})
        by_number = (
            visit.session.find(Patient, conditions[0], Where("id", "in", numbered)) if numbered and scope else []
        )
        named = named if by_number else f"{named} {text}"
        conditions.extend([Where("id", "in", tuple(one.id for one in by_number))] if by_number else [])
    words = searched(named).split()
    conditions.extend(Where("search_name", "contains", word) for word in words)
    if (after := query.get("cursor")) is not None:
        conditions.append(Where("id", ">", after))
    limit = cast(int, query.get("limit", PAGE))
    rows = visit.session.find(Patient, *conditions, order=("id",), limit=limit + 1) if scope else []
    page, more = rows[:limit], len(rows) > limit
    asked = {key: value for key, value in query.items() if value is not None}
    visit.note("search", "patients", asked=asked, found=[patient.id for patient in page])
    return page, page[-1].id if more else None


def usual_system(visit: Visit) -> str | None:
    """The system that a new patient's number is most likely of: that of a feed, else of most numbers, else None."""
    of_feeds = [authority.system for feed in visit.services.feeds for authority in feed.identifiers]
    counted = {} if of_feeds else visit.session.tally(Identifier, "system")
    by_number = sorted((-many, str(system)) for system, many in counted.items())
    return of_feeds[0] if of_feeds else by_number[0][1] if by_number else None


def searched(name: str) -> str:
    """A name as it is searched: without case and accents."""
    apart = unicodedata.normalize("NFKD", name.casefold()).translate(_BARE)
    return "".join(sign for sign in apart if not unicodedata.combining(sign))


def record(visit: Visit, patient_id: str, collection: Collection, body: Body, source: Source = NO_SOURCE) -> Recorded:
    """A new fact; or the one already there, if its external id names it or a feed reports a dose that is recorded.

    Raises Asked where a person's entry is implausible and not confirmed; a feed's is kept unverified.
    """
    patient = _writable(visit, patient_id)
    draft = _draft(visit, patient, collection, body, source)
    external = cast("Mapping[str, str] | None", body.get("external_id"))
    if external and (known := _by_external_id(visit, patient, external, draft)):
        visit.note("read", _subject(known), patient=patient, external_id=dict(external))
        return Recorded(known, new=False)
    if twin := _same_dose(visit, patient, draft, external, source):
        if external:
            visit.session.add(_external(patient, external, twin.id))
        visit.note("link", _subject(twin), patient=patient, external_id=external and dict(external))
        return Recorded(twin, new=False)
    return _recorded(visit, patient, draft, body, source)


def record_first(visit: Visit, patient: Patient, collection: Collection, body: Body, source: Source) -> Recorded:
    """As `record`, of a result of a patient who is active and read as he is now, where no fact has its external id."""
    return _recorded(visit, patient, _draft(visit, patient, collection, body, source), body, source)


def _recorded(visit: Visit, patient: Patient, draft: Draft, body: Body, source: Source) -> Recorded:
    """A new fact, whatever else is there."""
    external = cast("Mapping[str, str] | None", body.get("external_id"))
    judged = _plausible(visit, patient, draft, body, source)
    _refuse_too_many(visit, patient, draft)
    patient = visit.raise_revision(patient)
    fact = new_fact(visit, (patient.id, patient.revision), draft, judged, "correct" if source.corrected else "record")
    visit.session.add(fact)
    if external:
        visit.session.add(_external(patient, external, fact.id))
    for system, value in source.names:
        if visit.session.get(ExternalId, patient.id, system, value) is not None:
            raise Conflict(Code.EXTERNAL_ID_TAKEN, "A further external id of it names another entry.")
        visit.session.add(ExternalId(patient_id=patient.id, system=system, value=value, fact_id=fact.id))
    visit.note("record", _subject(fact), patient=patient, new=show(fact))
    return Recorded(fact, new=True, departs=after_fact(visit, patient, None, fact))


def correct(visit: Visit, which: Which, body: Body, source: Source = NO_SOURCE) -> Fact:
    """A new version of a fact with other content, for a reason."""
    patient, fact = _changeable(visit, which)
    draft = _draft(visit, patient, which.collection, as_told(fact, body), source)
    if draft.kind != fact.kind:
        raise Invalid(
            Fault("", f"cannot turn a {fact.kind} into a {draft.kind}: enter it in error and record the other")
        )
    _refuse_safety(visit, fact, draft)
    _refuse_other_course(visit, patient, fact, draft)
    judged = _plausible(visit, patient, draft, body, source, but=fact.id)
    return _new_version(
        visit, patient, "correct", fact, _judged(_drafted(fact, draft), judged, cast(str, body["reason"]))
    )


def enter_in_error(visit: Visit, which: Which, reason: str) -> Fact:
    """A new version of a fact that says it never was."""
    patient, fact = _changeable(visit, which)
    _refuse_safety(visit, fact, None)
    return _new_version(visit, patient, "enter-in-error", fact, replace(fact, status="entered-in-error", reason=reason))


def verify(visit: Visit, which: Which, body: Body) -> Fact:
    """A new version of a feed's fact, that somebody has looked at and found right.

    Raises Asked where it would now move a baseline weight, and did not when it was reported.
    """
    patient, fact = _changeable(visit, which)
    if fact.status != "unverified":
        raise Conflict(Code.NOT_UNVERIFIED, "It does not wait to be verified.")
    if Code.RESULT_PRELIMINARY in fact.asked:
        raise Conflict(
            Code.RESULT_PRELIMINARY,
            "It is a preliminary result: it waits for the final one from where it came. Enter it in error if none will "
            "come, or record the final one.",
        )
    verified = replace(fact, status="final", confirmed_by=visit.who.account_id, reason=cast(str, body["reason"]))
    asked = _weight_questions(visit, patient, course_fact(verified)) if fact.kind == "weight" else []
    codes = confirmed([question for question in asked if question[0] not in fact.asked], body)
    return _new_version(visit, patient, "verify", fact, replace(verified, asked=(*fact.asked, *codes)))


def resolve(visit: Visit, which: Which, body: Body) -> Fact:
    """A new version of an event, that is over since a day. Of a safety event it needs a right of its own."""
    patient, fact = _changeable(visit, which)
    resolved_on = cast(str, body["resolved_on"])
    if fact.until is not None:
        raise Conflict(Code.ALREADY_RESOLVED, f"It is resolved since {fact.until}; correct it if that is wrong.")
    if resolved_on < fact.day:
        raise Invalid(Fault("resolved_on", f"must not be before {fact.day}, when it occurred"))
    _refuse_future(visit.today(patient), "resolved_on", resolved_on)
    _refuse_safety(visit, fact, None)
    new = replace(fact, until=resolved_on, reason=cast(str, body["reason"]))
    return _new_version(visit, patient, "resolve", fact, new)


def list_facts(visit: Visit, patient_id: str, collection: Collection) -> list[Fact]:
    """The current version of each fact of a collection, by day; those entered in error are not among them."""
    patient = visit.patient(patient_id)
    visit.note("read", f"patient/{patient.id}/{collection.name}", patient=patient)
    return visit.session.find(
        Fact,
        *_current(patient),
        Where("kind", "in", collection.kinds),
        Where("status", "!=", "entered-in-error"),
        order=("day", "id"),
    )


def versions(visit: Visit, which: Which) -> list[Fact]:
    """All versions of a fact, the current one last; raises Unknown."""
    patient = visit.patient(which.patient_id)
    found = visit.session.find(
        Fact, Where("patient_id", "=", patient.id), Where("id", "=", which.fact_id), order=("version",)
    )
    if not found or found[0].kind not in which.collection.kinds:
        raise Unknown(which.collection.noun)
    visit.note("read", _subject(found[-1]), patient=patient)
    return found


def history(visit: Visit, patient_id: str, collection: Collection | None = None) -> list[list[Fact]]:
    """All versions of each fact of a patient, or of a collection of them, the newest day first; errors are there, too.

    The versions of a fact are in order, the current one last.
    """
    patient = visit.patient(patient_id)
    mine = [Where("patient_id", "=", patient.id)]
    if collection is not None:
        mine.append(Where("kind", "in", collection.kinds))
    found: dict[int, list[Fact]] = {}
    for fact in visit.session.find(Fact, *mine, order=("id", "version")):
        found.setdefault(fact.id, []).append(fact)
    visit.note("read", f"patient/{patient.id}/history", patient=patient, collection=collection and collection.name)
    return sorted(found.values(), key=lambda told: (told[-1].day, told[-1].id), reverse=True)


def _current(patient: Patient) -> tuple[Where, ...]:
    return Where("patient_id", "=", patient.id), Where("current", "=", 1)


def new_fact(visit: Visit, key: tuple[str, int], draft: Draft, judged: Judgement, change: str) -> Fact:
    """The first version of a fact, by the id of its patient and its own."""
    return Fact(
        patient_id=key[0],
        id=key[1],
        version=1,
        revision=key[1],
        current=True,
        kind=draft.kind,
        day=draft.day,
        taken_at=draft.taken_at,
        code=draft.code,
        value=draft.value,
        unit=draft.unit,
        level=draft.level,
        until=draft.until,
        unreliable=draft.unreliable,
        status=judged.status,
        detail=dict(draft.detail),
        asked=judged.asked,
        confirmed_by=judged.confirmed_by,
        change=change,
        reason=None,
        recorded_by=visit.who.account_id,
        recorded_at=instant(visit.now),
    )


def _drafted(fact: Fact, draft: Draft) -> Fact:
    """A fact with the content of a draft."""
    return replace(
        fact,
        day=draft.day,
        taken_at=draft.taken_at,
        code=draft.code,
        value=draft.value,
        unit=draft.unit,
        level=draft.level,
        until=draft.until,
        unreliable=draft.unreliable,
        detail=dict(draft.detail),
    )


def _judged(fact: Fact, judged: Judgement, reason: str | None) -> Fact:
    """A fact with what its plausibility came to."""
    return replace(fact, asked=judged.asked, confirmed_by=judged.confirmed_by, status=judged.status, reason=reason)


def _refuse_too_many(visit: Visit, patient: Patient, draft: Draft) -> None:
    """A course document has at most so many entries of a kind: one more, and there would be no answer at all."""
    if patient.revision < MOST_ENTRIES:
        return
    standing = Where("kind", "=", draft.kind), Where("status", "!=", "entered-in-error")
    if visit.session.count(Fact, *_current(patient), *standing) >= MOST_ENTRIES:
        raise Conflict(
            Code.TOO_MANY_ENTRIES,
            f"{MOST_ENTRIES} entries of this kind are recorded of the patient: enter in error what was sent twice.",
        )


def _subject(fact: Fact) -> str:
    return f"patient/{fact.patient_id}/{fact.kind}/{fact.id}"


def _external(patient: Patient, external: Mapping[str, str], fact_id: int) -> ExternalId:
    return ExternalId(patient_id=patient.id, system=external["system"], value=external["value"], fact_id=fact_id)


def _writable(visit: Visit, patient_id: str) -> Patient:
    patient = visit.patient(patient_id)
    if not patient.active:
        raise Conflict(Code.PATIENT_INACTIVE, "The patient is not active; make the record active first.")
    return patient


def _changeable(visit: Visit, which: Which) -> tuple[Patient, Fact]:
    patient = _writable(visit, which.patient_id)
    found = visit.session.find(Fact, *_current(patient), Where("id", "=", which.fact_id))
    if not found or found[0].kind not in which.collection.kinds:
        raise Unknown(which.collection.noun)
    fact = found[0]
    refuse_outdated(fact.version, which.version)
    if fact.status == "entered-in-error":
        raise Conflict(Code.ENTERED_IN_ERROR, "It was entered in error, and stays so; record it anew if it was right.")
    if visit.who.is_feed and fact.recorded_by != visit.who.account_id:
        raise Forbidden("A system may correct only what it reported itself.", code=Code.FEED_MAY_NOT_CORRECT)
    if fact.status == "unverified" and not (visit.who.is_feed or Permission.VERIFY_FACTS in visit.who.permissions):
        raise Forbidden("It waits to be verified: only who may verify it may settle it.")
    return patient, fact


def _new_version(visit: Visit, patient: Patient, action: str, old: Fact, changed: Fact) -> Fact:
    """Keep what has changed as the current version of a fact, by the actor, now."""
    patient = visit.raise_revision(patient)
    visit.session.change(replace(old, current=False), Where("version", "=", old.version))
    new = replace(
        changed,
        version=old.version + 1,
        revision=patient.revision,
        change=_change_of(action, old),
        recorded_by=visit.who.account_id,
        recorded_at=instant(visit.now),
    )
    visit.session.add(new)
    visit.note(action, _subject(old), patient=patient, old=show(old), new=show(new), why=new.reason)
    after_fact(visit, patient, old, new)
    return new


def _change_of(action: str, old: Fact) -> str:
    """What a new version of a fact is: what replaces one that was never final corrects nothing."""
    return "record" if action == "correct" and old.status != "final" else action


def _plausible(  # noqa: PLR0913 (all that an entry is judged by)
    visit: Visit, patient: Patient, draft: Draft, body: Body, source: Source, *, but: int | None = None
) -> Judgement:
    """What becomes of an entry by its plausibility; raises Asked where a person has not answered.

    It is compared with other facts `but` the one that it corrects. What was not asked cannot be confirmed: who sends
    all codes with each entry would never be asked.
    """
    asked = _questions(visit, patient, draft, but)
    told = source._replace(unattended=source.unattended or visit.who.is_feed)
    if (judged := unanswered(tuple(str(code) for code, _ in asked), told)) is not None:
        return judged
    codes = confirmed(asked, body)
    return Judgement(codes, visit.who.account_id if codes else None, "final")


def unanswered(asked: tuple[str, ...], source: Source) -> Judgement | None:
    """What becomes of an entry that nobody is asked about, by what it would raise; None where a person may answer."""
    if source.preliminary:
        return Judgement((*asked, str(Code.RESULT_PRELIMINARY)), None, "unverified")
    if source.suspected:
        return Judgement((*asked, EVENT_SUSPECTED), None, "unverified")
    return Judgement(asked, None, "unverified") if asked and source.unattended else None


def _questions(visit: Visit, patient: Patient, draft: Draft, but: int | None) -> list[Question]:
    asked = questions(draft, _compared(visit, patient, draft, but), born_on=patient.born_on)
    match draft.kind:
        case "dose":
            return [*asked, *_dose_questions(visit, patient, draft, but)]
        case "weight":
            return [*asked, *_weight_questions(visit, patient, draft_fact(draft, but or patient.revision + 1))]
        case _:
            return asked


def _dose_questions(visit: Visit, patient: Patient, draft: Draft, but: int | None) -> list[Question]:
    """What the protocol of the open course asks of a dose; where there is none, that it does not."""
    course = open_course(visit, patient)
    if course is None:
        return [WITHOUT_COURSE]
    protocol = _protocol(visit, course)
    if not isinstance(protocol, WeeklyProtocol):
        return []
    rows = [fact for fact in _dosed_by(visit, patient) if fact.id != but]
    on = max([draft.day, *(row.day for row in rows)])
    return far_dose(draft, protocol, course_document(patient, course, rows, on))


def _weight_questions(visit: Visit, patient: Patient, weight: CourseFact) -> list[Question]:
    """What is asked of a weight, new or in place of what the fact of its id says, that doses would follow."""
    course = open_course(visit, patient)
    protocol = None if course is None else _protocol(visit, course)
    if course is None or protocol is None or protocol.weight_basis is not WeightBasis.BASELINE:
        return []
    rows = _dosed_by(visit, patient)
    with_it = sorted([*(fact for fact in rows if fact.id != weight.id), weight], key=lambda fact: fact.id)
    on = max([visit.today(patient), weight.day, *(row.day for row in rows)])
    before, after = (course_document(patient, course, facts, on) for facts in (rows, with_it))
    return moved_baseline(protocol, before, after)


def _dosed_by(visit: Visit, patient: Patient) -> list[CourseFact]:
    """The final weights and doses of a patient, in order of recording."""
    facts = visit.session.course_facts(patient.id)
    return [fact for fact in facts if fact.kind in ("weight", "dose") and fact.status == "final"]


def _compared(visit: Visit, patient: Patient, draft: Draft, but: int | None) -> list[Fact]:
    """What an entry is compared with: doses of the days around it; of all else the one before it, or the next."""
    same = [
        *_current(patient),
        Where("kind", "=", draft.kind),
        Where("status", "=", "final"),
        Where("id", "!=", but or 0),
        Where("code", "is null") if draft.code is None else Where("code", "=", draft.code),
    ]
    if draft.kind == "dose":
        day = date.fromisoformat(draft.day)
        first, last = (day + timedelta(days=days) for days in (-CLOSEST_DOSES, CLOSEST_DOSES))
        around = Where("day", ">", first.isoformat()), Where("day", "<", last.isoformat())
        return visit.session.find(Fact, *same, *around, order=("day", "id"))
    if draft.kind == "weight":
        of_day = visit.session.find(Fact, *same, Where("day", "=", draft.day), order=("id",))
        if of_day:
            return of_day
    before = visit.session.find(Fact, *same, Where("day", "<=", draft.day), order=("-day", "-id"), limit=1)
    return before or visit.session.find(Fact, *same, order=("day", "id"), limit=1)


def _protocol(visit: Visit, course: CourseVersion) -> Protocol | None:
    """The protocol of a course, if it can be used."""
    try:
        return visit.services.catalogue.get(course.protocol)
    except (KeyError, InvalidProtocol):
        return None


def _by_external_id(visit: Visit, patient: Patient, external: Mapping[str, str], draft: Draft) -> Fact | None:
    """The fact that another system's id names, as it stands now; raises Conflict where it never said the same.

    A message that comes again after somebody has corrected the fact is no news: it said so before.
    """
    known = visit.session.get(ExternalId, patient.id, external["system"], external["value"])
    if known is None:
        return None
    told = visit.session.find(
        Fact, Where("patient_id", "=", patient.id), Where("id", "=", known.fact_id), order=("version",)
    )
    fact = told[-1]
    if not any(says(version, draft) for version in told):
        raise Conflict(
            Code.EXTERNAL_ID_TAKEN,
            f"That external id names {fact.kind} {fact.id}, which says something else; correct that one.",
            faults=[Fault("external_id", f"names {BY_KIND[fact.kind].name}/{fact.id}")],
        )
    return fact


def says(fact: Fact, draft: Draft) -> bool:
    """Whether a fact says all that a draft says. Of a dose somebody else may have told the level, and a note."""
    if draft.kind == "dose":
        draft = draft._replace(level=draft.level if draft.level is not None else fact.level, detail=_route(draft))
    told = dict(draft.detail)
    missing = {key: value for key, value in fact.detail.items() if key == "note" and key not in told}
    taken_at = draft.taken_at or fact.taken_at
    said = replace(_drafted(fact, draft), detail={**missing, **told}, kind=draft.kind, taken_at=taken_at)
    return said == fact


def _route(draft: Draft) -> tuple[tuple[str, object], ...]:
    return tuple(told for told in draft.detail if told[0] == "route")


def _same_dose(
    visit: Visit, patient: Patient, draft: Draft, external: Mapping[str, str] | None, source: Source
) -> Fact | None:
    """A dose of the same day and amount that is recorded, and that the feed's system has no other name for."""
    if draft.kind != "dose" or not (visit.who.is_feed or source.unattended):
        return None
    same_day = Where("kind", "=", "dose"), Where("status", "=", "final"), Where("day", "=", draft.day)
    for fact in visit.session.find(Fact, *_current(patient), *same_day, order=("id",)):
        if says(fact, draft):
            named = external and visit.session.count(
                ExternalId,
                Where("patient_id", "=", patient.id),
                Where("fact_id", "=", fact.id),
                Where("system", "=", external["system"]),
            )
            if not named:
                return fact
    return None


def _refuse_safety(visit: Visit, fact: Fact, draft: Draft | None) -> None:
    """Only who may resolve safety events may change one so that it no longer holds a dose back."""
    if fact.code not in SAFETY_EVENTS or Permission.RESOLVE_SAFETY in visit.who.permissions:
        return
    if draft is not None and draft.code == fact.code and draft.until == fact.until:
        return
    raise Forbidden(f"A {fact.code} holds doses back; only a prescriber may resolve it or take it back.")


def _refuse_other_course(visit: Visit, patient: Patient, fact: Fact, draft: Draft) -> None:
    """A correction of its day takes no dose out of the course in which it was given: the next dose rests on it."""
    if draft.kind != "dose" or draft.day == fact.day:
        return
    courses = visit.session.find(CourseVersion, *_current(patient), Where("status", "!=", "entered-in-error"))
    of_old, of_new = ([one for one in courses if _is_within(one, day)] for day in (fact.day, draft.day))
    if of_old and of_old != of_new:
        first, last = of_old[0].started_on, of_old[0].ended_on
        within = f"from {first} to {last}" if last else f"not before {first}"
        says = f"must be {within}, in the course of that dose: else enter it in error and record it anew"
        raise Invalid(Fault("given_on", says))


def _is_within(course: CourseVersion, day: str) -> bool:
    return course.started_on <= day and (course.ended_on is None or day <= course.ended_on)


def _refuse_future(today: str, path: str, day: str | None) -> None:
    if faults := _future(today, path, day):
        raise Invalid(*faults)


def _future(today: str, path: str, day: str | None) -> list[Fault]:
    wrong = day is not None and day > today
    return [Fault(path, f"must not be after {today}, today at the clinic")] if wrong else []


def _refuse_birth_after_facts(visit: Visit, patient: Patient, born_on: str) -> None:
    same = _current(patient)
    facts = visit.session.find(Fact, *same, Where("status", "!=", "entered-in-error"), order=("day",), limit=1)
    courses = visit.session.find(
        CourseVersion, *same, Where("status", "!=", "entered-in-error"), order=("started_on",), limit=1
    )
    days = [*(fact.day for fact in facts), *(course.started_on for course in courses)]
    if days and min(days) < born_on:
        raise Invalid(Fault("born_on", f"must not be after {min(days)}, the day of the first entry or course"))


def _identifiers(visit: Visit, patient: Patient) -> set[tuple[str, str]]:
    found = visit.session.find(Identifier, Where("patient_id", "=", patient.id))
    return {(one.system, one.value) for one in found}


def _refuse_weighty(visit: Visit, patient: Patient, body: Body) -> None:
    """What ends dosing or changes the population needs a right of its own, and a reason."""
    kept = {(one["system"], one["value"]) for one in cast("list[Mapping[str, str]]", body.get("identifiers", []))}
    taken = "identifiers" in body and bool(_identifiers(visit, patient) - kept)
    other_birth = patient.born_on is not None and body.get("born_on", patient.born_on) != patient.born_on
    # Whoever may change a record may say of whom it is that he has died: nobody is to be called about the next dose.
    other_state = body.get("active", patient.active) != patient.active and not body.get("died", False)
    if not other_birth and not taken and not other_state:
        return
    if Permission.MANAGE_PATIENTS not in visit.who.permissions:
        raise Forbidden("This account may not change a birth date, take identifiers away, or end and begin dosing.")
    if "reason" not in body:
        raise Invalid(
            Fault(
                "reason", "required to change a birth date or whether a patient is active, or to take identifiers away"
            )
        )


def _refuse_other_clinic(visit: Visit, clinic_id: str) -> None:
    if clinic_id not in visit.who.clinics:
        raise Invalid(Fault("clinic", "not a clinic of this account"))


def _identified(visit: Visit, text: str) -> list[Identifier]:
    """The identifiers that `value` or `system|value` names; either may have a bar in it."""
    found = visit.session.find(Identifier, Where("value", "=", text))
    for place in (index for index, sign in enumerate(text) if sign == "|"):
        system, value = text[:place], text[place + 1 :]
        same = [Where("value", "=", value), *([Where("system", "=", system)] if system else [])]
        found += visit.session.find(Identifier, *same)
    return found


def _draft(visit: Visit, patient: Patient, collection: Collection, body: Body, source: Source) -> Draft:
    """What an entry says; raises Invalid with every fault, of its days, too: from the patient's birth to today."""
    draft, faults = dated_draft(collection, body, patient.born_on, visit.today(patient))
    if faults:
        raise Invalid(*faults)
    return draft._replace(taken_at=source.at)


def dated_draft(collection: Collection, body: Body, born_on: str | None, today: str) -> tuple[Draft, list[Fault]]:
    """What an entry says, and its faults; its days must be from the patient's birth to today."""
    draft, faults = read_draft(collection, body)
    if draft.day > today or (draft.until is not None and draft.until > today):
        faults += [
            *_future(today, _day_key(collection, draft), draft.day),
            *_future(today, "resolved_on", draft.until),
        ]
    if born_on is not None and draft.day < born_on:
        faults.append(Fault(_day_key(collection, draft), f"must not be before {born_on}, when the patient was born"))
    return draft, faults


def _day_key(collection: Collection, draft: Draft) -> str:
    if draft.kind == "dose-not-given":
        return "not_given_on"
    keys = {
        "weights": "measured_on",
        "platelet-counts": "collected_on",
        "observations": "observed_on",
        "doses": "given_on",
        "events": "occurred_on",
    }
    return keys[collection.name]


def _set_identifiers(visit: Visit, patient: Patient, body: Body) -> None:
    taken = []
    for index, one in enumerate(cast("list[Mapping[str, str]]", body.get("identifiers", []))):
        try:
            visit.session.add(Identifier(patient_id=patient.id, system=one["system"], value=one["value"]))
        except Duplicate:
            taken.append(Fault(f"identifiers[{index}]", "names another patient, or stands twice"))
    if taken:
        raise Conflict(Code.IDENTIFIER_TAKEN, "A patient with that identifier is there already.", faults=taken)


def _texts(body: Body, key: str) -> tuple[str, ...]:
    return tuple(sorted(set(cast("list[str]", body.get(key, [])))))
