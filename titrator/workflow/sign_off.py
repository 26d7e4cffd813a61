"""Sign-off: a named, entitled person decides upon a proposal. No path from a proposal to a dose leads past this.

    accept     the proposal as it is, its alerts acknowledged one by one
    override   another dose, or none, for a coded reason and in words
    refer      to a prescriber, for a coded reason and in words

1. what is decided upon is named by its digest: if anything has changed since it was read, the new proposal comes back
2. doses that departed from an earlier decision need a reason first
3. what was decided before and has not been carried out is superseded
4. an override half or more away from the last dose, or due within five days of it, is asked about: is that right?
5. where the protocol offers no dose, or not so much, a prescriber and a second, different person decide together
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Final, NamedTuple, cast

from titrator.security.permissions import PERMISSIONS, Permission, Role
from titrator.store.base import Where
from titrator.store.records import Account, Decision, DoseMismatch, Patient, ProtocolEdition, Standing
from titrator.titration.answer import dose_text
from titrator.titration.documents import encode, reread
from titrator.titration.errors import Fault, InvalidProtocol
from titrator.titration.override import (
    CEILING,
    Choice,
    above_maximum_of_a_week,
    chosen_dose,
    highest_by_step,
    usual_day,
    within,
)
from titrator.titration.preparation import DoseToGive
from titrator.titration.quantities import DAYS, iso, plain
from titrator.titration.recommend import ENGINE_VERSION, Recommendation
from titrator.workflow.delivery import (
    UNDELIVERED,
    came_of,
    change_decision,
    change_of,
    decision_of,
    dosing_weight,
    given_in_a_week,
    lapsed,
    last_dose,
    open_mismatches,
    over_ceiling,
    subject,
    undelivered,
)
from titrator.workflow.errors import Code, Conflict, Forbidden, Invalid, ProposalChanged, Refusal, Unknown, Unready
from titrator.workflow.plausibility import Question, close_override, confirmed, far_override
from titrator.workflow.propose import propose_dose
from titrator.workflow.standing import NextDose, proposed
from titrator.workflow.standing import as_sent as proposal_as_sent
from titrator.workflow.tasks import ACCEPTED, changes_nothing, covered
from titrator.workflow.visit import Visit, instant, refuse_outdated

Body = Mapping[str, object]

_WEEK: Final = timedelta(days=7)
#: What is sent of a decision as it is kept, under the same name.
_AS_KEPT: Final = (
    *("due_on", "given_on", "acknowledged", "reason_code", "comment", "signed_by", "signed_role", "signed_at"),
    *("second_by", "second_role", "second_at", "change", "change_reason", "changed_by", "changed_at"),
)


class Chosen(NamedTuple):
    """What is to be done by a decision: the dose (JSON) or none, and whether a second person must agree."""

    due_on: str | None = None
    level: Decimal | None = None
    micrograms: Decimal | None = None
    dose: str | None = None
    second: bool = False


class Answered(NamedTuple):
    """What became of one of several: a decision, or why there is none."""

    patient_id: str
    decision: Decision | None
    refusal: Refusal | None


def decide(visit: Visit, patient_id: str, body: Body) -> Decision:
    """What is decided upon the proposal that stands today.

    Raises ProposalChanged, with the proposal of now; Conflict ALREADY-DECIDED, DOSE-MISMATCH-DECISION,
    NOTHING-TO-ACCEPT, CEILING-EXCEEDED, WEIGHT-NEEDED and what `propose_dose` raises; Invalid where an alert is not
    acknowledged; Forbidden where it is the prescriber's; Asked where an override is far from the last dose.
    """
    patient = visit.patient(patient_id)
    standing = proposed(visit, patient)
    live = undelivered(visit, patient)
    _refuse_unsettled(visit, patient, standing, live, body)
    said = _answer(standing)
    kind = cast(str, body["decision"])
    acknowledged = tuple(sorted(set(cast("list[str]", body.get("acknowledge", [])))))
    if kind == "refer":
        return _sign(visit, patient, standing, kind, body, Chosen(), live)
    _refuse_unacknowledged(said, acknowledged)
    if kind == "accept":
        return _sign(visit, patient, standing, kind, body, _accepted(visit, patient, said), live)
    chosen = _overridden(visit, patient, said, body)
    # After all that would refuse it: who is asked has stored nothing.
    confirmed(_questions(visit, patient, chosen), body)
    return _sign(visit, patient, standing, kind, body, chosen, live)


def accept_several(visit: Visit, items: Sequence[Mapping[str, str]]) -> list[Answered]:
    """Accept several proposals, each on its own; only those that change nothing and raise no alert."""
    answered = []
    for item in items:
        noted = len(visit.entries)
        try:
            body = {"decision": "accept", "proposal_sha256": item["proposal_sha256"]}
            _refuse_for_batch(visit, item["patient"])
            answered.append(Answered(item["patient"], decide(visit, item["patient"], body), None))
        except Refusal as refusal:
            del visit.entries[noted:]
            did = "denied" if isinstance(refusal, Unknown | Forbidden) else "refused"
            visit.note(did, f"patient/{item['patient']}/decisions", code=str(refusal.code))
            answered.append(Answered(item["patient"], None, refusal))
    return answered


def co_sign(visit: Visit, patient_id: str, ident: int, version: int | None) -> Decision:
    """A decision that a second, different person agrees to; raises ProposalChanged where facts came in between."""
    patient, decision = _which(visit, patient_id, ident, version)
    if decision.status != "awaiting-second" or lapsed(decision, visit.today(patient)):
        raise Conflict(Code.DECISION_CLOSED, "It does not wait for a second person.")
    if decision.signed_by == visit.who.account_id:
        raise Conflict(Code.SECOND_PERSON_NEEDED, "The second person must be another than the one who decided.")
    _refuse_unless_entitled(visit, decision)
    now = proposed(visit, patient)
    same = decision.proposal_sha256 == now.proposal_sha256
    if not same and not (covered(decision, _answer(now)) and decision.protocol_sha256 == now.protocol_sha256):
        _refuse_changed(patient, now)
    if decision.micrograms is not None and decision.due_on is not None:
        if any(came_of(decision, fact) for fact in visit.session.course_facts(patient.id)):
            _refuse_changed(patient, now)  # a dose was given of which who decided did not know: it would be given twice
        weight = dosing_weight(decision)
        _refuse_above_ceiling(visit, patient, decision.due_on, decision.micrograms, weight)
    second = {
        "second_by": visit.who.account_id,
        "second_role": str(visit.who.role),
        "second_at": instant(visit.now),
    }
    return change_decision(visit, patient, decision, "co-sign", status="in-force", **second)[1]


def _refuse_unless_entitled(visit: Visit, decision: Decision) -> None:
    """Raise Forbidden unless who decided first may still decide such a thing."""
    first = visit.session.get(Account, decision.signed_by)
    if first is None or not first.active or Permission.OVERRIDE_BEYOND not in PERMISSIONS[Role(first.role)]:
        raise Forbidden("The account that decided first may not decide this any more: a prescriber must decide anew.")


def withdraw(visit: Visit, patient_id: str, ident: int, reason: str, version: int | None) -> Decision:
    """A decision that was not carried out, taken back."""
    patient, decision = _which(visit, patient_id, ident, version)
    if decision.status not in UNDELIVERED:
        raise Conflict(Code.DECISION_CLOSED, f"It is {decision.status}: there is nothing to withdraw.")
    _refuse_prescribers(visit, decision)
    return change_decision(visit, patient, decision, "withdraw", reason, status="withdrawn")[1]


def review(visit: Visit, patient_id: str, ident: int, reason: str, version: int | None) -> Decision:
    """A re-opened decision whose old and new answer somebody has looked at, with what comes of it in words."""
    patient, decision = _which(visit, patient_id, ident, version)
    if decision.reopened_answer is None or decision.reviewed:
        raise Conflict(Code.NOTHING_TO_REVIEW, "It has not been re-opened, or somebody has looked at it already.")
    if decision.status in UNDELIVERED:
        raise Conflict(
            Code.NOTHING_TO_REVIEW,
            "It has not been carried out: decide upon the new proposal, or withdraw it.",
        )
    return change_decision(visit, patient, decision, "review", reason, reviewed=True)[1]


def explain_mismatch(visit: Visit, patient_id: str, day: str, reason: str) -> DoseMismatch:
    """Why the doses of a day depart from what was decided."""
    patient = visit.patient(patient_id)
    found = visit.session.get(DoseMismatch, patient.id, day)
    if found is None or not found.departs:
        raise Unknown("mismatch on that day")
    about = {"reason": reason, "reason_by": visit.who.account_id, "reason_at": instant(visit.now)}
    new = replace(found, version=found.version + 1, **about)  # type: ignore[arg-type]
    visit.session.change(new, Where("version", "=", found.version))
    if patient.settled:
        visit.change(patient, replace(patient, settled=False))
    visit.note("explain-mismatch", f"patient/{patient.id}/doses/{day}", patient=patient, why=reason)
    return new


def mismatches(visit: Visit, patient_id: str) -> list[DoseMismatch]:
    """The days whose doses depart from what was decided, explained or not."""
    patient = visit.patient(patient_id)
    visit.note("read", f"patient/{patient.id}/dose-mismatches", patient=patient)
    mine = Where("patient_id", "=", patient.id), Where("departs", "!=", "[]")
    return visit.session.find(DoseMismatch, *mine, order=("-day",))


def decisions(visit: Visit, patient_id: str) -> tuple[Patient, list[Decision]]:
    """The decisions of a patient, each in its current version, the newest first."""
    patient = visit.patient(patient_id)
    visit.note("read", f"patient/{patient.id}/decisions", patient=patient)
    mine = Where("patient_id", "=", patient.id), Where("current", "=", 1)
    return patient, visit.session.find(Decision, *mine, order=("-id",))


def versions(visit: Visit, patient_id: str, ident: int) -> tuple[Patient, list[Decision]]:
    """All versions of a decision, the current one last; raises Unknown."""
    patient = visit.patient(patient_id)
    mine = Where("patient_id", "=", patient.id), Where("id", "=", ident)
    found = visit.session.find(Decision, *mine, order=("version",))
    if not found:
        raise Unknown("decision")
    visit.note("read", subject(found[-1]), patient=patient)
    return patient, found


def as_sent(decision: Decision, today: str) -> str:
    """A decision as it is sent on a day, as JSON; one that has lapsed says so. Answers stand in it to the letter."""
    evidence = {
        "proposal_sha256": decision.proposal_sha256,
        "input_sha256": decision.input_sha256,
        "protocol": decision.protocol,
        "protocol_sha256": decision.protocol_sha256,
        "engine_version": decision.engine_version,
        "revision": decision.revision,
        "course": {"id": decision.course_id, "version": decision.course_version},
    }
    about = {
        "id": decision.id,
        "version": decision.version,
        "decision": decision.kind,
        "status": "lapsed" if lapsed(decision, today) else decision.status,
        "on": decision.day,
        **{name: _listed(getattr(decision, name)) for name in _AS_KEPT},
        "evidence": evidence,
    }
    head = encode(about)[:-1]
    answers = f'"answer": {decision.answer}, "reopened": {_reopened(decision)}'
    return f'{head}, "dose": {decision.dose or "null"}, {answers}}}'


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _reopened(decision: Decision) -> str:
    if decision.reopened_answer is None:
        return "null"
    about = {"at": decision.reopened_at, "by": decision.reopened_by, "reviewed": decision.reviewed}
    return f'{encode(about)[:-1]}, "answer": {decision.reopened_answer}}}'


# What must be so before anybody decides


def _refuse_unsettled(visit: Visit, patient: Patient, standing: Standing, live: Decision | None, body: Body) -> None:
    if standing.proposal_sha256 != body["proposal_sha256"]:
        _refuse_changed(patient, standing)
    kind = body["decision"]
    if live is not None and live.proposal_sha256 == standing.proposal_sha256 and live.kind == kind == "accept":
        raise Conflict(
            Code.ALREADY_DECIDED,
            f"That proposal has been accepted already, as decision {live.id}.",
            faults=[Fault("proposal_sha256", f"decision {live.id} was made upon it")],
        )
    gives = kind != "refer" and not body.get("no_dose")  # to refer, or to give nothing, is never held up
    if gives and (open_ones := open_mismatches(visit, patient)):
        raise Conflict(
            Code.DOSE_MISMATCH_DECISION,
            "Doses depart from what was decided. Say why, for each day, before anything else is decided.",
            faults=[Fault(f"dose-mismatches/{one.day}", ", ".join(one.departs)) for one in open_ones],
        )
    stands = live is not None and not lapsed(live, visit.today(patient))
    if live is not None and stands and (live.kind == "refer" or covered(live, _answer(standing))):
        _refuse_prescribers(visit, live)


def _refuse_changed(patient: Patient, standing: Standing) -> None:
    raise ProposalChanged(
        "What was to be decided upon has changed since it was read; the proposal of now comes with this.",
        proposal_as_sent(NextDose(standing, (), patient.decision_id)),
    )


def _refuse_prescribers(visit: Visit, decision: Decision) -> None:
    """What was referred to a prescriber, or decided by one upon the same facts, is a prescriber's to change."""
    mine = decision.kind == "refer" and decision.signed_by == visit.who.account_id
    prescribers = decision.kind == "refer" or decision.signed_role == "prescriber"
    if prescribers and not mine and Permission.OVERRIDE_BEYOND not in visit.who.permissions:
        raise Forbidden(f"Decision {decision.id} waits for a prescriber, or is one's: a prescriber must decide.")


def _refuse_unacknowledged(said: Body, acknowledged: Sequence[str]) -> None:
    alerts = {one["code"] for one in cast("list[dict[str, str]]", said["alerts"])}
    faults = [
        Fault("acknowledge", f"the alert {code} is not acknowledged") for code in sorted(alerts - {*acknowledged})
    ]
    faults += [Fault("acknowledge", f"the proposal has no alert {code}") for code in sorted({*acknowledged} - alerts)]
    if faults:
        raise Invalid(*faults)


def _refuse_for_batch(visit: Visit, patient_id: str) -> None:
    patient = visit.patient(patient_id)
    said = _answer(proposed(visit, patient))
    if not changes_nothing(said, last_dose(visit, patient)):
        raise Conflict(
            Code.NOT_FOR_BATCH,
            "Only a proposal to maintain in range, of the same micrograms as given last and without alerts, is "
            "accepted among several: look at this one by itself.",
        )


# What is decided


def _accepted(visit: Visit, patient: Patient, said: Body) -> Chosen:
    if said["action"] not in ACCEPTED:
        raise Conflict(
            Code.NOTHING_TO_ACCEPT,
            f"The answer is {said['action']}: there is nothing to accept. Override it, or refer it to a prescriber.",
        )
    dose = cast("dict[str, Decimal] | None", said["dose"])
    if dose is None:
        return Chosen()
    due = cast(str, said["due_on"])
    drawn_up = max(dose["micrograms"], dose["delivered_micrograms"])
    _refuse_above_ceiling(visit, patient, due, drawn_up, _dosing_weight(said))
    return Chosen(due, dose["micrograms_per_kg"], dose["delivered_micrograms"], encode(dose))


def _overridden(visit: Visit, patient: Patient, said: Body, body: Body) -> Chosen:
    """The dose that was chosen; raises Forbidden where it is a prescriber's, Conflict where nobody may."""
    if body.get("no_dose"):
        if said["action"] == "refer" and Permission.OVERRIDE_BEYOND not in visit.who.permissions:
            raise Forbidden("What was referred is a prescriber's to answer, if only that no dose is to be given.")
        return Chosen()
    answer = propose_dose(visit, patient, visit.today(patient), visit.today(patient)).answer
    weight = answer.facts.dosing_weight
    if weight is None:
        raise Conflict(Code.WEIGHT_NEEDED, "No weight is known, so nobody can tell what a dose comes to. Record one.")
    dose = _chosen(answer, weight.kg, body)
    if not dose.volume:
        key = "micrograms_per_kg" if body.get("micrograms") is None else "micrograms"
        raise Invalid(Fault(key, "comes to a volume of 0.00 mL, which is no dose"))
    due = cast(str, body.get("due_on") or said["due_on"] or _a_week_on(visit, patient))
    _refuse_due(visit, patient, due)
    _refuse_above_ceiling(visit, patient, due, max(dose.micrograms, dose.delivered), weight.kg)
    given = given_in_a_week(visit.session.course_facts(patient.id), due)
    return _entitled(visit, answer, dose, due, above_maximum_of_a_week(answer.protocol, dose, given, weight.kg))


def _a_week_on(visit: Visit, patient: Patient) -> str:
    """When a dose is due of which nothing tells a day."""
    last = last_dose(visit, patient)
    return iso(usual_day(None if last is None else DAYS[last.day], DAYS[visit.today(patient)]))


def _chosen(answer: Recommendation, kg: Decimal, body: Body) -> DoseToGive:
    """The dose that a body names, prepared by a weight."""
    choice = Choice(
        cast("Decimal | None", body.get("micrograms_per_kg")), cast("Decimal | None", body.get("micrograms"))
    )
    return chosen_dose(choice, kg, answer.protocol.vials)


def _questions(visit: Visit, patient: Patient, chosen: Chosen) -> list[Question]:
    """What is asked of a dose that was chosen."""
    last = last_dose(visit, patient)
    if last is None or chosen.dose is None or chosen.due_on is None:
        return []
    change = change_of(last, chosen.micrograms)
    far = [] if change is None else far_override(change, cast("dict[str, object]", reread(chosen.dose)))
    return [*far, *close_override(last, chosen.due_on)]


def _entitled(visit: Visit, answer: Recommendation, dose: DoseToGive, due: str, too_much: bool) -> Chosen:
    """What was chosen, if the account may choose it: who signs a dose of the protocol, or a step of it, may alone.

    Whether it is `too_much`: above the maximum, with what was given in the seven days that end with it.
    """
    chosen = Chosen(due, dose.level, dose.delivered, dose_text(dose))
    offered = None if answer.due is None else iso(answer.due)
    highest = highest_by_step(answer)
    of_step = highest is not None and dose.level <= highest and within(answer.protocol, dose)
    if offered is not None and of_step and due >= offered:
        return chosen
    if Permission.OVERRIDE_BEYOND not in visit.who.permissions:
        why = (
            "where the protocol offers none"
            if offered is None
            else "outside the protocol's doses, more than a step up, or before its day,"
        )
        raise Forbidden(f"A dose {why} is a prescriber's decision: refer it.")
    return chosen._replace(second=offered is None or too_much)


def _refuse_due(visit: Visit, patient: Patient, due: str) -> None:
    today = date.fromisoformat(visit.today(patient))
    last = (today + 2 * _WEEK).isoformat()
    if not today.isoformat() <= due <= last:
        raise Invalid(Fault("due_on", f"must be from {today} to {last}"))


def _refuse_above_ceiling(visit: Visit, patient: Patient, due: str, micrograms: Decimal, kg: Decimal | None) -> None:
    """Nobody may decide upon more than the ceiling, with all that was given in the seven days that end when it is due.

    It rests on the dosing weight or the newest, whichever is less. What the syringe holds counts, too.
    """
    facts = visit.session.course_facts(patient.id)
    if (most := over_ceiling(facts, due, kg, micrograms)) is not None:
        raise Conflict(
            Code.CEILING_EXCEEDED,
            f"{plain(micrograms)} micrograms, with what was given in the seven days up to {due}, are more than "
            f"{CEILING} micrograms/kg, which are {plain(most)} micrograms. No one may decide upon more.",
            faults=[Fault("micrograms", f"more than {plain(most)} micrograms in seven days")],
        )


def _dosing_weight(said: Body) -> Decimal:
    """That of an answer with a dose, which has one, in kg."""
    return cast("dict[str, Decimal]", said["evidence"])["dosing_weight_kg"]


# What is kept


def _sign(  # noqa: PLR0913, PLR0917 (all that a decision is made of)
    visit: Visit, patient: Patient, standing: Standing, kind: str, body: Body, chosen: Chosen, live: Decision | None
) -> Decision:
    _keep_edition(visit, standing)
    if live is not None:
        ended = "lapsed" if lapsed(live, visit.today(patient)) else "superseded"
        patient, _ = change_decision(visit, patient, live, "supersede", status=ended)
    status = "referred" if kind == "refer" else "awaiting-second" if chosen.second else "in-force"
    ident = patient.decided + 1
    who, at = visit.who, instant(visit.now)
    decision = Decision(
        patient_id=patient.id,
        id=ident,
        version=1,
        current=True,
        kind=kind,
        status=status,
        day=standing.day,
        due_on=chosen.due_on,
        level=chosen.level,
        micrograms=chosen.micrograms,
        dose=chosen.dose,
        answer=standing.answer,
        proposal_sha256=standing.proposal_sha256,
        input_sha256=standing.input_sha256,
        protocol=standing.protocol,
        protocol_sha256=standing.protocol_sha256,
        engine_version=ENGINE_VERSION,
        revision=patient.revision,
        course_id=standing.course_id,
        course_version=standing.course_version,
        born_on=patient.born_on,
        acknowledged=tuple(sorted(set(cast("list[str]", body.get("acknowledge", []))))),
        reason_code=cast("str | None", body.get("reason_code")),
        comment=cast("str | None", body.get("comment")),
        signed_by=who.account_id,
        signed_role=str(who.role),
        signed_at=at,
        second_by=None,
        second_role=None,
        second_at=None,
        given_on=None,
        reopened_answer=None,
        reopened_at=None,
        reopened_by=None,
        reviewed=False,
        change=kind,
        change_reason=None,
        changed_by=who.account_id,
        changed_at=at,
    )
    patient = visit.change(patient, replace(patient, decided=ident, decision_id=ident, settled=False))
    visit.session.add(decision)
    visit.note(
        kind,
        subject(decision),
        patient=patient,
        on=decision.day,
        status=status,
        micrograms=decision.micrograms,
        proposal_sha256=decision.proposal_sha256,
        reason_code=decision.reason_code,
        confirmed=sorted(set(cast("list[str]", body.get("confirm", [])))) or None,
        why=decision.comment,
    )
    return decision


def _keep_edition(visit: Visit, standing: Standing) -> None:
    """Keep the protocol's file beside the decisions that rest on it."""
    if visit.session.get(ProtocolEdition, standing.protocol_sha256) is not None:
        return
    catalogue = visit.services.catalogue
    try:
        text = catalogue.text(catalogue.get(standing.protocol))
    except (KeyError, OSError, UnicodeDecodeError, InvalidProtocol) as error:
        raise Unready(
            f"The file of {standing.protocol} cannot be kept: {error}", code=Code.PROTOCOL_UNUSABLE
        ) from error
    kept = ProtocolEdition(
        sha256=standing.protocol_sha256, protocol=standing.protocol, text=text, kept_at=instant(visit.now)
    )
    visit.session.add(kept)


def _which(visit: Visit, patient_id: str, ident: int, version: int | None) -> tuple[Patient, Decision]:
    patient = visit.patient(patient_id)
    decision = decision_of(visit, patient, ident)
    if decision is None:
        raise Unknown("decision")
    refuse_outdated(decision.version, version)
    return patient, decision


def _answer(standing: Standing) -> dict[str, object]:
    return cast("dict[str, object]", reread(standing.answer))
