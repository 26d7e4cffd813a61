"""PlanDefinition/$apply: the answer of the engine as a CarePlan with a RequestGroup and a MedicationRequest proposal.

Where data are missing, a GuidanceResponse `data-required` in it names exactly which.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, cast

from titrator.fhir import giving
from titrator.fhir.codes import BY_CONTENT, LOINC, OWN
from titrator.fhir.elements import Place, decoded
from titrator.fhir.kinds import decided_already
from titrator.fhir.outcome import BadRequest
from titrator.fhir.references import patient_id
from titrator.fhir.search import ANYWHERE
from titrator.titration.documents import reread
from titrator.titration.errors import Fault
from titrator.workflow.errors import Code, Conflict, Unknown
from titrator.workflow.standing import next_dose
from titrator.workflow.visit import Visit, instant

Resource = dict[str, object]

_TYPES: Final = ("String", "Uri", "Canonical", "Code", "Reference", "Id", "CodeableConcept")

_TAKEN: Final = ("planDefinition", "subject")
#: Of the operation, but without meaning for a weekly dose: taken, and nothing comes of them.
_WITHOUT_MEANING: Final = (
    "encounter",
    "practitioner",
    "organization",
    "userType",
    "userLanguage",
    "userTaskContext",
    "setting",
    "settingContext",
)


class Asked(NamedTuple):
    """What the operation was asked: by which protocol, of whom."""

    protocol: str
    subject: str


def read_request(given: list[tuple[str, str]], body: bytes, instance: str | None, base: str) -> Asked:
    """What the parameters of the operation ask, in the address or as Parameters; raises BadRequest."""
    faults: list[Fault] = []
    said = [*given, *(_parameters(body, faults) if body else [])]
    for name, _ in said:
        if name not in (*_TAKEN, *_WITHOUT_MEANING, *ANYWHERE):
            faults.append(Fault(f"Parameters.parameter.where(name = '{name[:40]}')", "is no parameter of $apply here"))
    plans = [value for name, value in said if name == "planDefinition"]
    subjects = [value for name, value in said if name == "subject"]
    if instance is not None and plans:
        faults.append(Fault("planDefinition", "does not go with the id of a PlanDefinition in the address"))
    if instance is None and len(plans) != 1:
        faults.append(Fault("planDefinition", "required: one, where the address names none"))
    if len(subjects) != 1:
        faults.append(Fault("subject", "required: one patient"))
    if faults:
        raise BadRequest(*faults)
    plan = instance or plans[0].partition("|")[0].removeprefix(f"{base}/").removeprefix("PlanDefinition/")
    return Asked(plan, patient_id(subjects[0], base))


def apply(visit: Visit, base: str, asked: Asked) -> Resource:
    """The care plan of a stored patient today; raises Unknown, and what the next dose raises."""
    if visit.services.catalogue.fault(asked.protocol) is not None:
        raise Unknown("PlanDefinition")
    found = next_dose(visit, asked.subject, None).standing
    if found.protocol != asked.protocol:
        raise Conflict(
            Code.COURSE_NOT_ACTIVE,
            f"The patient is on a course of {found.protocol}, not of {asked.protocol}: apply that one.",
            faults=[Fault("planDefinition", f"is not {found.protocol}")],
        )
    decided = decided_already(visit, visit.patient(found.patient_id))
    return care_plan(base, found.patient_id, cast(giving.Answer, reread(found.answer)), instant(visit.now), decided)


def care_plan(base: str, patient: str, answer: giving.Answer, at: str, decided: str = "") -> Resource:
    """An answer as a CarePlan that contains what it comes to; and what was decided already, in words, if anything."""
    canonical = f"{base}/PlanDefinition/{cast(giving.Answer, answer['protocol'])['id']}"
    subject = {"reference": f"Patient/{patient}"}
    contained: list[object] = [_request_group(canonical, subject, answer)]
    if answer["dose"] is not None:
        contained.append(giving.proposal(patient, answer, at, "medication-request"))
    if answer["next_count_on"] is not None:
        contained.append(_next_count(subject, cast(str, answer["next_count_on"]), at))
    contained.append(giving.guidance(base, patient, answer, at, "guidance", decision=decided))
    return {
        "resourceType": "CarePlan",
        "contained": contained,
        "instantiatesCanonical": [canonical],
        "status": "draft",
        "intent": "proposal",
        "title": f"Romiplostim: {answer['action']}",
        "description": " ".join(one["text"] for one in _said(answer, "reasons")),
        "subject": subject,
        "created": at,
        "supportingInfo": [{"reference": "#guidance"}],
        "activity": [{"reference": {"reference": "#request-group"}}],
        "note": [{"text": text} for text in (decided, giving.standing_of(answer), giving.NEVER_AN_ORDER) if text],
    }


def _request_group(canonical: str, subject: Mapping[str, str], answer: giving.Answer) -> Resource:
    actions: list[object] = [
        {
            "title": str(answer["action"]).capitalize(),
            "description": " ".join(one["text"] for one in _said(answer, "reasons")),
            "code": [{"coding": [{"system": f"{OWN}:action", "code": answer["action"]}]}],
            "documentation": [
                {"type": "citation", "display": text} for text in dict.fromkeys(one["citation"] for one in _all(answer))
            ],
            **({"timingDateTime": answer["due_on"]} if answer["due_on"] else {}),
            "resource": {"reference": "#guidance" if answer["dose"] is None else "#medication-request"},
        }
    ]
    if answer["next_count_on"] is not None:
        actions.append(
            {
                "title": "Platelet count",
                "description": f"The next platelet count is due on {answer['next_count_on']}.",
                "timingDateTime": answer["next_count_on"],
                "resource": {"reference": "#platelet-count"},
            }
        )
    alerts = [{"text": f"{one['text']} ({one['citation']})"} for one in _said(answer, "alerts")]
    return {
        "resourceType": "RequestGroup",
        "id": "request-group",
        "instantiatesCanonical": [canonical],
        "status": "draft",
        "intent": "proposal",
        "subject": dict(subject),
        "reasonCode": giving.statements(answer, "reasons"),
        **({"note": alerts} if alerts else {}),
        "action": actions,
    }


def _next_count(subject: Mapping[str, str], on: str, at: str) -> Resource:
    (code, text), *_ = BY_CONTENT["platelet-count", None].loinc
    return {
        "resourceType": "ServiceRequest",
        "id": "platelet-count",
        "status": "draft",
        "intent": "proposal",
        "code": {"coding": [{"system": LOINC, "code": code, "display": text}], "text": "Platelet count"},
        "subject": dict(subject),
        "occurrenceDateTime": on,
        "authoredOn": at,
    }


def _said(answer: giving.Answer, name: str) -> list[Mapping[str, str]]:
    return cast("list[Mapping[str, str]]", answer[name])


def _all(answer: giving.Answer) -> list[Mapping[str, str]]:
    return [*_said(answer, "reasons"), *_said(answer, "alerts")]


def _parameters(body: bytes, faults: list[Fault]) -> list[tuple[str, str]]:
    """The parameters of a Parameters resource, each as name and text."""
    root = Place(decoded(body), "Parameters", faults)
    if root["resourceType"].value != "Parameters":
        root["resourceType"].wrong("must be Parameters")
        return []
    found = []
    for parameter in root["parameter"]:
        name = parameter["name"].required(parameter["name"].text())
        value = parameter.choice("value", *_TYPES)
        if name is None:
            continue
        if name == "planDefinition" and parameter["resource"].there:
            value = parameter["resource"]["url"]
        text = value["reference"] if isinstance(value.value, dict) and name == "subject" else value
        if name in _WITHOUT_MEANING:
            found.append((name, ""))
        elif (said := text.required(text.text())) is not None:
            found.append((name, said))
    return found
