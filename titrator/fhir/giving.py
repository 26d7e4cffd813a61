"""Facts, decisions, tasks and protocols as resources. Pure; a resource is a dict, or, of an Observation, its JSON.

Ids name the patient, so that a resource is found without a table: `<patient>-<number>` is a fact, `-d<number>` a
decision, `-c<number>` a course, `-next` the answer of today.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple, cast

from titrator.fhir.codes import (
    ATC,
    BY_CONTENT,
    CATEGORIES,
    EVENT_TEXT,
    INTRAMUSCULAR,
    INTRAVENOUS,
    LOINC,
    NOT_GIVEN_TEXT,
    OWN,
    ROMIPLOSTIM,
    SNOMED,
    SUBCUTANEOUS,
    TRANSFUSIONS,
    UCUM,
    UNIT_NAMES,
    V3,
    WRITTEN,
)
from titrator.fhir.taking import GRADE_EXTENSION, LEVEL_EXTENSION, RESOLVED_EXTENSION
from titrator.store.records import AuditRow, Clinic, CourseVersion, Decision, Fact, Identifier, Patient, Reminder
from titrator.titration.documents import encode, quote, reread
from titrator.titration.protocol import Protocol
from titrator.titration.quantities import plain
from titrator.titration.wording import level_text

Resource = dict[str, object]
Answer = Mapping[str, object]
Names = Iterable[tuple[str, str]]

MEDICINE: Final[Resource] = {
    "coding": [{"system": ATC, "code": ROMIPLOSTIM, "display": "romiplostim"}],
    "text": "Romiplostim",
}
_STATUSES: Final = {"entered-in-error": "entered-in-error", "unverified": "preliminary"}
#: By status of a decision: intent and status of its MedicationRequest. One that awaits a second signature is a plan.
_ORDERS: Final = {
    "awaiting-second": ("plan", "draft"),
    "in-force": ("order", "active"),
    "delivered": ("order", "completed"),
    "not-given": ("order", "stopped"),
    "superseded": ("order", "cancelled"),
    "withdrawn": ("order", "cancelled"),
    "lapsed": ("order", "stopped"),
    "void": ("order", "cancelled"),
}
#: By what is kept of a route: subcutaneous where it is nothing.
_ROUTES: Final[Mapping[str | None, Resource]] = {
    None: {"coding": [SUBCUTANEOUS]},
    "intravenous": {"coding": [INTRAVENOUS]},
    "intramuscular": {"coding": [INTRAMUSCULAR]},
    "other": {"text": "Another route"},
    "unknown": {"text": "Unknown route"},
}
#: Of an order whose facts were corrected and that nobody has looked at since.
OPEN_AGAIN: Final = "on-hold"
_TASK_TEXT: Final = {
    "re-opened-given": "A decision that was carried out rests on facts that were corrected since",
    "re-opened": "A decision rests on facts that were corrected since",
    "dose-mismatch": "A dose departs from what was decided",
    "to-verify": "A result of a system looks wrong, or is preliminary",
    "referred": "A prescriber decides",
    "hold-without-re-check": "Doses are withheld and no count has been taken since it was due",
    "no-next-date": "There is no next date",
    "message-undelivered": "A message could not be delivered",
}


def meta(version: int, at: str | None) -> Resource:
    """The version of a resource, and when it was made."""
    return {"versionId": str(version), **({"lastUpdated": at} if at else {})}


def patient_resource(patient: Patient, identifiers: Iterable[Identifier], clinic: Clinic) -> Resource:
    """A patient."""
    named: list[object] = [{"system": one.system, "value": one.value} for one in identifiers]
    return {
        "resourceType": "Patient",
        "id": patient.id,
        "meta": meta(patient.version, patient.changed_at),
        **({"identifier": named} if named else {}),
        "active": patient.active,
        "name": [{"use": "official", "family": patient.family_name, "given": [patient.given_name]}],
        **({"birthDate": patient.born_on} if patient.born_on else {}),
        "managingOrganization": {
            "identifier": {"system": f"{OWN}:clinic", "value": clinic.id},
            "display": clinic.name,
        },
    }


def fact_id(fact: Fact | Observed) -> str:
    """The id of the resource of a fact."""
    return f"{fact.patient_id}-{fact.id}"


def status_of(fact: Fact | Observed) -> str:
    """The status of an Observation: what nobody has verified, and a preliminary result, is preliminary."""
    return _STATUSES.get(fact.status) or ("corrected" if fact.change == "correct" else "final")


class Observed(NamedTuple):
    """What of a fact makes an Observation, as it is stored: of these there are many, and they are read as they are."""

    patient_id: str
    id: int
    version: int
    kind: str
    day: str
    taken_at: str | None
    code: str | None
    value: str
    unit: str
    unreliable: int
    status: str
    change: str
    detail: str
    asked: str
    recorded_at: str


def observed(fact: Fact) -> Observed:
    """A fact as what makes an Observation."""
    return Observed(
        fact.patient_id,
        fact.id,
        fact.version,
        fact.kind,
        fact.day,
        fact.taken_at,
        fact.code,
        plain(cast(Decimal, fact.value)),
        fact.unit or "",
        fact.unreliable,
        fact.status,
        fact.change,
        encode(fact.detail),
        encode(list(fact.asked)),
        fact.recorded_at,
    )


def observation_text(fact: Observed, names: Names = ()) -> str:
    """An Observation of a weight, a platelet count or another value, as JSON."""
    code, unit = _observation_code(fact.kind, fact.code), fact.unit
    effective, status = quote(fact.taken_at or fact.day), status_of(fact)
    rest = ""
    if fact.detail != "{}":
        detail = cast("dict[str, object]", reread(fact.detail))
        if (note := detail.get("note")) is not None:
            rest += f', "note": [{{"text": {quote(cast(str, note))}}}]'
        if (limit := detail.get("lower_limit_of_normal")) is not None:
            low = _quantity(str(limit), unit)
            rest += f', "referenceRange": [{{"low": {low}}}]'
    if fact.unreliable:
        rest += _UNRELIABLE
    if fact.status == "unverified":
        asked = quote(", ".join(cast("list[str]", reread(fact.asked))))
        rest += f', "extension": [{{"url": "{UNVERIFIED_EXTENSION}", "valueString": {asked}}}]'
    return (
        f'{{"resourceType": "Observation", "id": "{fact.patient_id}-{fact.id}", '
        f'"meta": {{"versionId": "{fact.version}", "lastUpdated": "{fact.recorded_at}"}}, {_identifiers(names)}'
        f'"status": "{status}", {code}, "subject": {{"reference": "Patient/{fact.patient_id}"}}, '
        f'"effectiveDateTime": {effective}, '
        f'"valueQuantity": {_quantity(fact.value, unit)}{rest}}}'
    )


def administration(fact: Fact, names: Names = ()) -> Resource:
    """A MedicationAdministration of a dose given, or of one that was not."""
    given = fact.kind == "dose"
    status = "entered-in-error" if fact.status == "entered-in-error" else "completed" if given else "not-done"
    resource: Resource = {
        "resourceType": "MedicationAdministration",
        "id": fact_id(fact),
        "meta": meta(fact.version, fact.recorded_at),
        **_named(names),
        "status": status,
    }
    if not given and fact.code is not None:
        resource["statusReason"] = [_own("not-given", fact.code, NOT_GIVEN_TEXT.get(fact.code, fact.code))]
    resource |= {
        "medicationCodeableConcept": MEDICINE,
        "subject": _patient(fact.patient_id),
        "effectiveDateTime": fact.taken_at or fact.day,
    }
    if given:
        level: Resource = {}
        if fact.level is not None:
            quantity = _amount(fact.level, "microgram/kg", "ug/kg")
            level = {"extension": [{"url": LEVEL_EXTENSION, "valueQuantity": quantity}]}
        dose = _amount(cast(Decimal, fact.value), "microgram", "ug")
        resource["dosage"] = {**level, "route": _ROUTES[cast("str | None", fact.detail.get("route"))], "dose": dose}
    return resource | _noted(fact) | _unverified(fact)


def event_resource(fact: Fact, names: Names = ()) -> Resource:
    """A Procedure of a transfusion or rescue therapy, an AdverseEvent of any other event."""
    return _procedure(fact, names) if is_procedure(fact) else _adverse_event(fact, names)


def is_procedure(fact: Fact) -> bool:
    """Whether an event is a Procedure."""
    return fact.code in (*TRANSFUSIONS, "rescue_therapy")


def _procedure(fact: Fact, names: Names) -> Resource:
    kind = cast(str, fact.code)
    if kind in TRANSFUSIONS:
        code, text = TRANSFUSIONS[kind]
        concept: Resource = {"coding": [{"system": SNOMED, "code": code, "display": text}], "text": text}
    else:
        concept = _own("event", kind, EVENT_TEXT[kind])
    return {
        "resourceType": "Procedure",
        "id": fact_id(fact),
        "meta": meta(fact.version, fact.recorded_at),
        **_named(names),
        "status": "entered-in-error" if fact.status == "entered-in-error" else "completed",
        "code": concept,
        "subject": _patient(fact.patient_id),
        "performedDateTime": fact.taken_at or fact.day,
        **_noted(fact),
        **_unverified(fact),
    }


def _adverse_event(fact: Fact, names: Names) -> Resource:
    kind, term = cast(str, fact.code), fact.detail.get("term")
    extensions: list[object] = []
    if fact.detail.get("scale") is not None:
        parts = [
            {"url": "scale", "valueCode": fact.detail["scale"]},
            {"url": "grade", "valueInteger": fact.detail["grade"]},
        ]
        extensions.append({"url": GRADE_EXTENSION, "extension": parts})
    if fact.until is not None:
        extensions.append({"url": RESOLVED_EXTENSION, "valueDate": fact.until})
    extensions += cast("list[object]", _unverified(fact).get("extension", []))
    # Of one without an end it is not known whether it goes on.
    ended: Resource = {"coding": [{"system": f"{V3}/adverse-event-outcome", "code": "resolved"}]}
    named = list(names)
    event = _own("event", kind, EVENT_TEXT[kind])
    if term is not None:
        event["text"] = term
    return {
        "resourceType": "AdverseEvent",
        "id": fact_id(fact),
        "meta": meta(fact.version, fact.recorded_at),
        **({"extension": extensions} if extensions else {}),
        **({"identifier": {"system": named[0][0], "value": named[0][1]}} if named else {}),
        "actuality": "actual",
        "event": event,
        "subject": _patient(fact.patient_id),
        "date": fact.taken_at or fact.day,
        "recordedDate": fact.recorded_at,
        **({} if fact.until is None else {"outcome": ended}),
    }


def condition(course: CourseVersion, indication: str) -> Resource:
    """The indication of a course, as its protocol words it."""
    active = course.status in ("active", "paused")
    wrong = course.status == "entered-in-error"
    extensions: list[object] = [
        {"url": ELIGIBILITY_EXTENSION, "valueCode": confirmed} for confirmed in course.eligibility
    ]
    if course.baseline_on is not None:
        extensions.append({"url": BASELINE_EXTENSION, "valueDate": course.baseline_on})
    extensions.append({"url": PROTOCOL_EXTENSION, "valueCode": course.protocol})
    return {
        "resourceType": "Condition",
        "id": f"{course.patient_id}-c{course.id}",
        "meta": meta(course.version, course.changed_at),
        "extension": extensions,
        **(
            {}
            if wrong
            else {
                "clinicalStatus": {
                    "coding": [{"system": f"{V3}/condition-clinical", "code": "active" if active else "inactive"}]
                }
            }
        ),
        "verificationStatus": {
            "coding": [{"system": f"{V3}/condition-ver-status", "code": "entered-in-error" if wrong else "confirmed"}]
        },
        "category": [{"coding": [{"system": f"{V3}/condition-category", "code": "problem-list-item"}]}],
        "code": {"text": indication},
        "subject": _patient(course.patient_id),
        "recordedDate": course.changed_at,
        "note": [{"text": f"Course of romiplostim by the protocol {course.protocol}, begun on {course.started_on}."}],
    }


def dosage(dose: Answer, due_on: str | None) -> Resource:
    """The one Dosage of a dose: what to inject, in words and in numbers."""
    vials = cast("list[Mapping[str, Decimal]]", dose["vials"])
    from_vials = " and ".join(f"{one['count']} × {one['size_micrograms']} micrograms" for one in vials)
    delivered, volume = (plain(cast(Decimal, dose[name])) for name in ("delivered_micrograms", "volume_ml"))
    level = level_text(cast(Decimal, dose["micrograms_per_kg"]))
    when = "" if due_on is None else f" on {due_on}"
    text = (
        f"{delivered} micrograms ({level}) subcutaneously once{when}: {volume} mL of "
        f"{dose['concentration_micrograms_per_ml']} micrograms/mL, from vials of {from_vials}"
    )
    return {
        "extension": [
            {
                "url": LEVEL_EXTENSION,
                "valueQuantity": _amount(cast(Decimal, dose["micrograms_per_kg"]), "microgram/kg", "ug/kg"),
            }
        ],
        "text": text,
        **({} if due_on is None else {"timing": {"event": [due_on]}}),
        "route": {"coding": [SUBCUTANEOUS]},
        "doseAndRate": [
            {
                "type": {"coding": [{"system": f"{V3}/dose-rate-type", "code": "calculated", "display": "Calculated"}]},
                "doseQuantity": _amount(cast(Decimal, dose["delivered_micrograms"]), "microgram", "ug"),
            }
        ],
    }


def proposal(patient: str | None, answer: Answer, at: str, ident: str | None = None) -> Resource:
    """The dose that an answer proposes, as a draft of a MedicationRequest; the answer has one."""
    return {
        "resourceType": "MedicationRequest",
        **({"id": ident} if ident else {}),
        "status": "draft",
        "intent": "proposal",
        "medicationCodeableConcept": MEDICINE,
        "subject": _patient(patient) if patient else {"display": "The patient of the request"},
        "authoredOn": at,
        "reasonCode": statements(answer, "reasons"),
        "instantiatesUri": [f"{OWN}:protocol:{cast(Answer, answer['protocol'])['id']}"],
        "note": [{"text": text} for text in (*_said(answer, "alerts"), standing_of(answer), NEVER_AN_ORDER)],
        "dosageInstruction": [dosage(cast(Answer, answer["dose"]), cast("str | None", answer["due_on"]))],
    }


NEVER_AN_ORDER: Final = "A proposal for a pharmacist or prescriber to check, never an order."


def standing_of(answer: Answer) -> str:
    """By which protocol an answer is, and how far one may rely on it."""
    protocol, evidence = (cast(Answer, answer[name]) for name in ("protocol", "evidence"))
    reviewer = evidence["protocol_reviewed_by"]
    reviewed = f"checked by {reviewer}" if reviewer else "its file was not checked by a pharmacist"
    off_label = " Off label: it comes from a case report." if evidence["protocol_status"] == "case_report" else ""
    return f"By the protocol {protocol['id']} ({protocol['edition']}); {reviewed}.{off_label}"


def decided(decision: Decision, names: Mapping[str, str]) -> str:
    """What somebody decided upon a proposal, in words: what, who, when and why, and whether it still stands."""
    what = "refer to a prescriber" if decision.kind == "refer" else "no dose"
    if decision.micrograms is not None:
        what = f"{plain(decision.micrograms)} micrograms due on {decision.due_on}"
    elif decision.kind == "accept":
        what = "as proposed, without a dose"
    why = f", because of {decision.reason_code}: {decision.comment}" if decision.reason_code else ""
    by = f"{names[decision.signed_by]} ({decision.signed_role})"
    second = ""
    if decision.second_by is not None:
        second = f", and by {names[decision.second_by]} ({decision.second_role})"
    elif decision.status == "awaiting-second":
        second = "; it awaits a second signature"
    text = f"Decided on {decision.day}: {what}{why}. Signed by {by}{second}. It is {decision.status}."
    return f"{text} {_reopened(decision)}" if is_open_again(decision) else text


def is_open_again(decision: Decision) -> bool:
    """Whether the facts that a decision rests on were corrected since, and nobody has looked at it."""
    return decision.reopened_answer is not None and not decision.reviewed


def _reopened(decision: Decision) -> str:
    now = cast(Answer, reread(cast(str, decision.reopened_answer)))
    return (
        f"Facts that it rests on were corrected on {(decision.reopened_at or '')[:10]}: by them the answer is "
        f"{now['action']}. Do not give it until somebody has looked at it."
    )


def order(decision: Decision, is_lapsed: bool, names: Mapping[str, str]) -> Resource:
    """What was decided upon a proposal, with its dose; `names` has those of accounts. Only of one with a dose."""
    intent, status = _ORDERS["lapsed" if is_lapsed else decision.status]
    answer = cast(Answer, reread(decision.answer))
    dose = cast(Answer, reread(cast(str, decision.dose)))
    resource: Resource = {
        "resourceType": "MedicationRequest",
        "id": f"{decision.patient_id}-d{decision.id}",
        "meta": meta(decision.version, decision.changed_at),
        "status": status,
        "intent": intent,
        "medicationCodeableConcept": MEDICINE,
        "subject": _patient(decision.patient_id),
        "authoredOn": decision.signed_at,
        "requester": {"display": names[decision.signed_by]},
        "reasonCode": statements(answer, "reasons"),
        "instantiatesUri": [f"{OWN}:protocol:{decision.protocol}"],
    }
    if decision.change_reason or is_lapsed:
        reason = decision.change_reason or "It was not carried out when it was due."
        resource["statusReason"] = {"text": reason}
    if is_open_again(decision) and decision.status in ("awaiting-second", "in-force"):
        resource["status"] = OPEN_AGAIN if status == "active" else status
        resource["statusReason"] = {"text": _reopened(decision)}
    notes = [decided(decision, names), *_said(answer, "alerts"), standing_of(answer)]
    resource["note"] = [{"text": text} for text in notes]
    resource["dosageInstruction"] = [dosage(dose, decision.due_on)]
    return resource


def statements(answer: Answer, name: str) -> list[object]:
    """The reasons or alerts of an answer, each as a concept."""
    return [
        {"coding": [{"system": f"{OWN}:{name}", "code": one["code"]}], "text": one["text"]}
        for one in cast("list[Mapping[str, str]]", answer[name])
    ]


def _said(answer: Answer, name: str) -> list[str]:
    return [one["text"] for one in cast("list[Mapping[str, str]]", answer[name])]


def guidance(  # noqa: PLR0913, PLR0917 (all that it is made of)
    base: str, patient: str | None, answer: Answer, at: str, ident: str, version: int | None = None, decision: str = ""
) -> Resource:
    """An answer of the engine; where data are missing, which; and what was decided, in words, if anything was."""
    missing = data_required(answer)
    protocol = cast(Answer, answer["protocol"])
    notes = [
        f"{one['text']} ({one['citation']})"
        for name in ("reasons", "alerts")
        for one in cast("list[Mapping[str, str]]", answer[name])
    ]
    return {
        "resourceType": "GuidanceResponse",
        "id": ident,
        **({"meta": meta(version, at)} if version else {}),
        "extension": [{"url": INPUT_EXTENSION, "valueString": answer["input_sha256"]}],
        "moduleCanonical": f"{base}/PlanDefinition/{protocol['id']}",
        "status": "data-required" if missing else "success",
        **({"subject": _patient(patient)} if patient else {}),
        "occurrenceDateTime": at,
        "performer": {"display": f"titrator, engine {answer['engine_version']}"},
        "reasonCode": [_own("action", cast(str, answer["action"])), *statements(answer, "reasons")],
        "note": [{"text": text} for text in ([decision, *notes] if decision else notes)],
        **({"dataRequirement": missing} if missing else {}),
    }


def data_required(answer: Answer) -> list[object]:
    """Which data an incomplete answer waits for; nothing for any other."""
    if answer["action"] != "incomplete":
        return []
    codes = {one["code"] for one in cast("list[Mapping[str, str]]", answer["reasons"])}
    wanted = {kind for code in codes for prefix, kind in _MISSING if code.startswith(prefix)}
    found: list[object] = []
    for kind in sorted(wanted):
        loinc = BY_CONTENT[kind, None].loinc
        coding = [{"system": LOINC, "code": code, "display": text} for code, text in loinc]
        found.append(
            {
                "type": "Observation",
                "mustSupport": ["status", "effective", "value"],
                "codeFilter": [{"path": "code", "code": coding}],
                "sort": [{"path": "date", "direction": "descending"}],
            }
        )
    return found


_MISSING: Final = (("COUNT-", "platelet-count"), ("WEIGHT-", "weight"))


def work_task(patient_id: str, task: str, day: str) -> Resource:
    """A task of the worklist of a day."""
    text = _TASK_TEXT.get(task, task.replace("-", " ").capitalize())
    urgent = task in ("re-opened-given", "dose-mismatch", "re-opened", "referred", "hold-without-re-check")
    return {
        "resourceType": "Task",
        "id": f"{patient_id}-t-{task}",
        "status": "requested",
        "intent": "proposal",
        "priority": "urgent" if urgent else "routine",
        "code": _own("task", task, text),
        "description": text,
        "for": _patient(patient_id),
        "authoredOn": day,
        "lastModified": day,
    }


_REMINDER_STATUS: Final = {
    "open": "requested",
    "acknowledged": "accepted",
    "cancelled": "cancelled",
    "done": "completed",
}


def reminder_task(reminder: Reminder) -> Resource:
    """A reminder."""
    text = reminder.kind.replace("-", " ").capitalize()
    return {
        "resourceType": "Task",
        "id": reminder_id(reminder),
        "meta": meta(reminder.version, reminder.changed_at),
        "status": _REMINDER_STATUS[reminder.status],
        **({"statusReason": {"text": reminder.reason}} if reminder.reason else {}),
        "intent": "plan",
        "code": _own("reminder", reminder.kind, text),
        "description": f"{text}, since {reminder.due_on}",
        "for": _patient(reminder.patient_id),
        "authoredOn": reminder.made_at,
        "lastModified": reminder.changed_at,
        "restriction": {"period": {"start": reminder.due_on}},
    }


def reminder_id(reminder: Reminder) -> str:
    """The id of the Task of a reminder."""
    return f"{reminder.patient_id}-r-{reminder.kind}-{reminder.due_on}"


def plan_definition(base: str, protocol: Protocol, text: str) -> Resource:
    """A protocol: its source and how far that was read; the rules are the file, which stands in it to the letter."""
    source = protocol.source
    reviewed = source.reviewer
    return {
        "resourceType": "PlanDefinition",
        "id": protocol.id,
        "url": f"{base}/PlanDefinition/{protocol.id}",
        "version": protocol.sha256[:16],
        "name": "".join(part.capitalize() for part in protocol.id.split("-")),
        "title": protocol.title,
        "type": {"coding": [{"system": f"{V3}/plan-definition-type", "code": "eca-rule"}]},
        "status": "active" if reviewed else "draft",
        "experimental": not reviewed,
        "description": f"{protocol.indication}. {source.document}, {source.edition}.",
        "purpose": "The next weekly dose of romiplostim. A proposal for a pharmacist or prescriber to check.",
        **({"approvalDate": source.reviewed_on} if source.reviewed_on else {}),
        **({"reviewer": [{"name": reviewed}]} if reviewed else {}),
        "relatedArtifact": [
            {
                "type": "derived-from",
                "display": source.cited_as,
                "citation": f"{source.document}, {source.edition}, section {source.section}; read {source.retrieved_on}"
                f" as {source.verification}",
                "url": source.url,
            },
            {
                "type": "composed-of",
                "display": f"{protocol.id}.toml, SHA-256 {protocol.sha256}",
                "document": {"contentType": "application/toml", "data": _base64(text), "title": f"{protocol.id}.toml"},
            },
        ],
        "action": [
            {
                "title": "Next dose",
                "description": "Propose the next dose from weights, platelet counts, doses and events.",
                "documentation": [{"type": "citation", "display": source.cited_as, "url": source.url}],
                "type": {"coding": [{"system": f"{V3}/action-type", "code": "create"}]},
            }
        ],
    }


def provenance(  # noqa: PLR0913, PLR0917 (all that it is made of)
    ident: str, target: str, at: str, who: str, name: str, activity: str
) -> Resource:
    """Who made a version of a resource, and when."""
    return {
        "resourceType": "Provenance",
        "id": ident,
        "meta": {"lastUpdated": at},
        "target": [{"reference": target}],
        "recorded": at,
        "activity": _own("change", activity),
        "agent": [
            {
                "type": {"coding": [{"system": f"{V3}/provenance-participant-type", "code": "author"}]},
                "who": {"identifier": {"system": f"{OWN}:account", "value": who}, "display": name},
            }
        ],
    }


_READS: Final = ("read", "search", "worklist", "next-dose", "list-reminders", "answer-again", "read-audit", "recommend")


def audit_event(row: AuditRow, name: str) -> Resource:
    """An entry of the audit trail."""
    verb = "R" if row.action in _READS else "C" if row.action in ("create", "record") else "U"
    denied = row.action in ("denied", "refused")
    return {
        "resourceType": "AuditEvent",
        "id": f"{row.chain}-{row.seq}",
        "meta": {"lastUpdated": row.at},
        "type": {
            "system": f"{V3}/audit-event-type",
            "code": "rest",
            "display": "RESTful Operation",
        },
        "subtype": [{"system": f"{OWN}:audit", "code": row.action}],
        "action": "E" if denied else verb,
        "recorded": row.at,
        "outcome": "4" if denied else "0",
        "agent": [
            {
                "who": {
                    "identifier": {"system": f"{OWN}:account", "value": row.account_id or "nobody"},
                    "display": name,
                },
                "requestor": True,
            }
        ],
        "source": {"observer": {"display": "titrator"}},
        "entity": [{"name": row.subject, **_entity(row)}],
    }


def _entity(row: AuditRow) -> Resource:
    return {"what": _patient(row.chain)} if row.chain != "system" else {}


@lru_cache(maxsize=256)
def _observation_code(kind: str, code: str | None) -> str:
    """Category and code of an Observation, as JSON."""
    measured = BY_CONTENT.get((kind, code))
    category = "laboratory" if measured is None else measured.category
    shown = CATEGORIES[category]
    if measured is None:
        coding = [{"system": f"{OWN}:observation", "code": code}]
    else:
        loinc, text = measured.loinc[0]
        coding = [{"system": LOINC, "code": loinc, "display": text}]
    kind_of = [{"coding": [{"system": f"{V3}/observation-category", "code": category, "display": shown}]}]
    said = encode({"category": kind_of, "code": {"coding": coding, "text": coding[0].get("display") or code}})
    return said[1:-1]


def _quantity(number: str, unit: str) -> str:
    return f'{{"value": {number}, {_unit_text(unit)}}}'


@lru_cache(maxsize=256)
def _unit_text(unit: str) -> str:
    code = ucum(unit)
    return encode({"unit": unit, "system": UCUM, "code": code})[1:-1]


def ucum(unit: str) -> str:
    """The UCUM code of a unit as it is kept."""
    return UNIT_NAMES.get(unit, WRITTEN.get(unit, unit))


def _identifiers(names: Names) -> str:
    named = [f'{{"system": {quote(system)}, "value": {quote(value)}}}' for system, value in names]
    return f'"identifier": [{", ".join(named)}], ' if named else ""


def _named(names: Names) -> Resource:
    found: list[object] = [{"system": system, "value": value} for system, value in names]
    return {"identifier": found} if found else {}


def _noted(fact: Fact) -> Resource:
    note = fact.detail.get("note")
    return {} if note is None else {"note": [{"text": note}]}


def _unverified(fact: Fact) -> Resource:
    if fact.status != "unverified":
        return {}
    return {"extension": [{"url": UNVERIFIED_EXTENSION, "valueString": ", ".join(fact.asked)}]}


def _amount(value: Decimal, unit: str, code: str) -> Resource:
    return {"value": value, "unit": unit, "system": UCUM, "code": code}


def _own(system: str, code: str, text: str | None = None) -> Resource:
    return {
        "coding": [{"system": f"{OWN}:{system}", "code": code}],
        **({"text": text} if text else {}),
    }


def _patient(ident: str) -> Resource:
    return {"reference": f"Patient/{ident}"}


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


ELIGIBILITY_EXTENSION: Final = f"{OWN}:eligibility-confirmed"
BASELINE_EXTENSION: Final = f"{OWN}:baseline-on"
PROTOCOL_EXTENSION: Final = f"{OWN}:protocol"
INPUT_EXTENSION: Final = f"{OWN}:input-sha256"
UNVERIFIED_EXTENSION: Final = f"{OWN}:unverified"
_UNRELIABLE: Final = (
    ', "interpretation": [{"coding": [{"system": "urn:titrator:reliability", "code": "unreliable"}], '
    '"text": "Unreliable: clumped sample or in doubt; it doses nothing"}]'
)
