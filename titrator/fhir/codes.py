"""What a code of a hospital system is here, and the other way round.

LOINC codes and units are those that US Core and public code use for these values; no code of a medicine is known but
the ATC class, so romiplostim is also known by its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from titrator.workflow.facts import OBSERVATIONS, PLATELET_COUNTS, WEIGHTS, Collection

LOINC: Final = "http://loinc.org"
UCUM: Final = "http://unitsofmeasure.org"
SNOMED: Final = "http://snomed.info/sct"
ATC: Final = "http://www.whocc.no/atc"
V3: Final = "http://terminology.hl7.org/CodeSystem"
#: Of what has no standard code: kinds of events, reasons and alerts of the engine, reasons to override.
OWN: Final = "urn:titrator"

ROMIPLOSTIM: Final = "B02BX04"
_NAMES: Final = re.compile(r"romiplostim|nplate|romiplate|ロミプロスチム|ロミプレート", re.IGNORECASE)
SUBCUTANEOUS: Final = {"system": SNOMED, "code": "34206005", "display": "Subcutaneous route"}
PLATELET_TRANSFUSION: Final = "12719002"
RED_CELL_TRANSFUSION: Final = "116863004"


class Measured(NamedTuple):
    """What a LOINC code is: the collection, the code within it, the category, the LOINC codes, the best one first."""

    collection: Collection
    code: str | None
    category: str
    loinc: tuple[tuple[str, str], ...]


MEASURED: Final = (
    Measured(
        PLATELET_COUNTS,
        None,
        "laboratory",
        (
            ("777-3", "Platelets [#/volume] in Blood by Automated count"),
            ("26515-7", "Platelets [#/volume] in Blood"),
        ),
    ),
    Measured(WEIGHTS, None, "vital-signs", (("29463-7", "Body weight"), ("3141-9", "Body weight Measured"))),
    Measured(OBSERVATIONS, "haemoglobin", "laboratory", (("718-7", "Hemoglobin [Mass/volume] in Blood"),)),
    Measured(
        OBSERVATIONS,
        "neutrophils",
        "laboratory",
        (
            ("751-8", "Neutrophils [#/volume] in Blood by Automated count"),
            ("26499-4", "Neutrophils [#/volume] in Blood"),
        ),
    ),
    Measured(
        OBSERVATIONS,
        "immature-platelet-fraction",
        "laboratory",
        (("71693-6", "Platelets reticulated/100 platelets in Blood by Automated count"),),
    ),
)
BY_LOINC: Final[Mapping[str, Measured]] = {code: one for one in MEASURED for code, _ in one.loinc}
BY_CONTENT: Final[Mapping[tuple[str, str | None], Measured]] = {
    (one.collection.kinds[0], one.code): one for one in MEASURED
}
CATEGORIES: Final = {"laboratory": "Laboratory", "vital-signs": "Vital Signs"}

#: Units of micrograms, as dose of a dose given: one of each in micrograms, as a power of ten.
MICROGRAMS: Final = {"ug": 0, "mcg": 0, "µg": 0, "μg": 0, "mg": 3}
#: UCUM codes of units that we know by another name.
UNIT_NAMES: Final = {"K/uL": "10*3/uL", "G/L": "10*9/L", "lb": "[lb_av]"}
#: What people write in place of a UCUM code, where that is plain.
WRITTEN: Final = {
    "10^9/L": "10*9/L",
    "10^3/uL": "10*3/uL",
    "10^3/µL": "10*3/uL",
    "x10^9/L": "10*9/L",
    "x10^3/uL": "10*3/uL",
    "10E9/L": "10*9/L",
    "10E3/uL": "10*3/uL",
    "K/µL": "K/uL",
    "/µL": "/uL",
    "{#}/uL": "/uL",
    "/mm^3": "/mm3",
    "lbs": "lb",
}

#: Reasons that a dose was not given, by code of a MedicationAdministration's statusReason.
NOT_GIVEN_TEXT: Final = {
    "absent": "Patient absent",
    "refused": "Patient refused",
    "on-hold": "On hold",
    "adverse-event": "Adverse event",
    "no-supply": "No supply",
    "prescriber-decision": "Decision of the prescriber",
    "other": "Other reason",
}

TRANSFUSIONS: Final[Mapping[str, tuple[str, str]]] = {
    "platelet_transfusion": (PLATELET_TRANSFUSION, "Transfusion of platelets"),
    "red_cell_transfusion": (RED_CELL_TRANSFUSION, "Transfusion of red blood cells"),
}
EVENT_TEXT: Final = {
    "rescue_therapy": "Rescue therapy (immunoglobulin, anti-D, steroid pulse)",
    "thrombosis": "Thrombosis",
    "marrow_disorder": "Marrow disorder, suspected or proven",
    "adverse_event": "Adverse event",
}


def names_romiplostim(text: str) -> bool:
    """Whether the name of a medicine is that of romiplostim."""
    return bool(_NAMES.search(text))
