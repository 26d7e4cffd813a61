"""The elements of FHIR R4 resources that are read, each with its bounds: those of the same thing over REST.

What else a resource may have is known by name, so that a misspelt element is a fault and not passed over.
"""

from __future__ import annotations

from typing import Final

from schemas.dose import DoseIn
from schemas.event import EventIn
from schemas.observation import CountIn, ObservationIn, WeightIn
from schemas.patient import IdentifierPart, PatientIn

OBSERVATION_STATUS: Final = (
    "registered",
    "preliminary",
    "final",
    "amended",
    "corrected",
    "cancelled",
    "entered-in-error",
    "unknown",
)
ADMINISTRATION_STATUS: Final = (
    "in-progress",
    "not-done",
    "on-hold",
    "completed",
    "entered-in-error",
    "stopped",
    "unknown",
)
PROCEDURE_STATUS: Final = (
    "preparation",
    "in-progress",
    "not-done",
    "on-hold",
    "stopped",
    "completed",
    "entered-in-error",
    "unknown",
)

_COUNT, _WEIGHT, _OTHER = CountIn().fields, WeightIn().fields, ObservationIn().fields
_DOSE, _EVENT, _NAMED, _PATIENT = DoseIn().fields, EventIn().fields, IdentifierPart().fields, PatientIn().fields

NOTE: Final = _OTHER["note"]
DAY: Final = _OTHER["observed_on"]
COUNT: Final = _COUNT["value"]
COUNT_UNIT: Final = _COUNT["unit"]
WEIGHT: Final = _WEIGHT["value"]
WEIGHT_UNIT: Final = _WEIGHT["unit"]
VALUE: Final = _OTHER["value"]
UNIT: Final = _OTHER["unit"]
OTHER_CODE: Final = _OTHER["code"]
LIMIT: Final = _OTHER["lower_limit_of_normal"]
MICROGRAMS: Final = _DOSE["micrograms"]
LEVEL: Final = _DOSE["micrograms_per_kg"]
NOT_GIVEN: Final = _DOSE["reason_not_given"]
EVENT_KIND: Final = _EVENT["kind"]
TERM: Final = _EVENT["term"]
SCALE: Final = _EVENT["scale"]
GRADE: Final = _EVENT["grade"]
SYSTEM: Final = _NAMED["system"]
IDENTIFIER: Final = _NAMED["value"]
FAMILY: Final = _PATIENT["family_name"]
GIVEN: Final = _PATIENT["given_name"]
BORN: Final = _PATIENT["born_on"]

_RESOURCE: Final = (
    "resourceType id meta implicitRules language text contained extension modifierExtension identifier status"
)
#: The elements that each type may have (4.0.1); those of a choice by its name without the type.
ELEMENTS: Final = {
    "Patient": _RESOURCE.replace(" status", "")
    + " active name telecom gender birthDate deceased address maritalStatus multipleBirth photo contact communication"
    " generalPractitioner managingOrganization link",
    "Observation": _RESOURCE + " basedOn partOf category code subject focus encounter effective issued performer value"
    " dataAbsentReason interpretation note bodySite method specimen device referenceRange hasMember derivedFrom"
    " component",
    "MedicationAdministration": _RESOURCE + " instantiates partOf statusReason category medication subject context"
    " supportingInformation effective performer reasonCode reasonReference request device note dosage eventHistory",
    "Procedure": _RESOURCE + " instantiatesCanonical instantiatesUri basedOn partOf statusReason category code subject"
    " encounter performed recorder asserter performer location reasonCode reasonReference bodySite outcome report"
    " complication complicationDetail followUp note focalDevice usedReference usedCode",
    "AdverseEvent": _RESOURCE.replace(" status", "") + " actuality category event subject encounter date detected"
    " recordedDate resultingCondition location seriousness severity outcome recorder contributor suspectEntity"
    " subjectMedicalHistory referenceDocument study",
    "Condition": _RESOURCE.replace(" status", "") + " clinicalStatus verificationStatus category severity code bodySite"
    " subject encounter onset abatement recordedDate recorder asserter stage evidence note",
}
#: The elements among them that may be of several types, whose names begin so.
CHOICES: Final = ("effective", "value", "medication", "performed", "deceased", "multipleBirth", "onset", "abatement")
