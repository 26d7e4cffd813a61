"""What a column may be: the fields, the names that columns have for them elsewhere, and the units that they come in.

Units are those of the record; of others only what is the same amount by another name, and milligrams of a dose.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from titrator.titration.course import EventKind
from titrator.titration.quantities import GIGA_PER_LITRE_PER, GRAMS_PER_LITRE_PER, KILOGRAMS_PER
from titrator.workflow.facts import OBSERVATIONS, PLATELET_COUNTS, WEIGHTS, Collection
from titrator.workflow.measured import WRITTEN, same_unit


class Measure(NamedTuple):
    """Something that is measured: the collection, the code within it, the key of its day, the units it is kept in."""

    collection: Collection
    code: str | None
    day_key: str
    units: tuple[str, ...]


_COUNTED: Final = tuple(GIGA_PER_LITRE_PER)
MEASURES: Final[Mapping[str, Measure]] = {
    "weight": Measure(WEIGHTS, None, "measured_on", tuple(KILOGRAMS_PER)),
    "platelets": Measure(PLATELET_COUNTS, None, "collected_on", _COUNTED),
    "haemoglobin": Measure(OBSERVATIONS, "haemoglobin", "observed_on", tuple(GRAMS_PER_LITRE_PER)),
    "neutrophils": Measure(OBSERVATIONS, "neutrophils", "observed_on", _COUNTED),
    "immature_platelet_fraction": Measure(OBSERVATIONS, "immature-platelet-fraction", "observed_on", ("%",)),
}
#: Micrograms in one of each unit of a dose.
DOSE_UNITS: Final = {"ug": Decimal(1), "mg": Decimal(1000)}
LEVEL_UNITS: Final = ("ug/kg",)
UNITS: Final[Mapping[str, tuple[str, ...]]] = {
    **{name: measure.units for name, measure in MEASURES.items()},
    "dose": tuple(DOSE_UNITS),
    "level": LEVEL_UNITS,
}
EVENTS: Final = tuple(map(str, EventKind))

#: By field: what it is, and names that columns have for it, in small letters and with single spaces.
FIELDS: Final[Mapping[str, tuple[str, str]]] = {
    "patient": (
        "the number of the patient",
        (
            "patient|patient id|patient number|patient no|patient identifier|pat id|pat nr|pat no"
            "|patienten nr|patientennr|patid|patientid|patient nr|mrn"
            "|medical record number|hospital number|hospital no|hosp no|unit number|record number|nhs number|pid|patnr"
            "|patienten id|patientennummer|fallnummer|identifier|id"
        ),
    ),
    "identifier_system": ("the system of the number, where it must be that of the import", "identifier system"),
    "family_name": ("the family name", "family name|last name|lastname|surname|family|nachname|name familie|nom"),
    "given_name": (
        "the given names",
        "given name|given names|first name|firstname|forename|forenames|given|vorname|prénom|prenom",
    ),
    "name": ("family name, comma, given names", "name|patient name|full name|patientenname"),
    "born_on": (
        "the day of birth",
        (
            "born on|dob|d o b|date of birth|birth date|birthdate|birthday|born|day of birth|geburtsdatum|geb datum"
            "|geburtstag|date de naissance"
        ),
    ),
    "clinic": ("the clinic, by name or id", "clinic|unit|ward|site|department|ambulanz|station"),
    "day": (
        "the day of the row",
        (
            "day|date|visit date|date of visit|visit|visit day|collected on|collection date"
            "|date collected|collected|date time|collection date time|collection datetime"
            "|collection date/time|sample date"
            "|date of sample|measured on|given on|observed on|occurred on|injection date|date of injection|datum|tag"
            "|besuchsdatum|behandlungsdatum|abnahmedatum|entnahmedatum|dose date|test date|lab date"
            "|result date|event date|clinic date|appointment date|appointment"
        ),
    ),
    "weight": (
        "the body weight",
        "weight|body weight|bodyweight|wt|bw|gewicht|körpergewicht|koerpergewicht|kg|weight measured|poids",
    ),
    "platelets": (
        "the platelet count",
        (
            "platelets|platelet|platelet count|platelet counts|plt|plts|plt count|thrombocytes|thrombozyten|thrombos"
            "|thrombo|plaquettes"
        ),
    ),
    "haemoglobin": ("the haemoglobin", "haemoglobin|hemoglobin|hb|hgb|hämoglobin|haemoglobine"),
    "neutrophils": (
        "the neutrophils",
        "neutrophils|neutrophil count|anc|absolute neutrophil count|neutrophile|neut|neuts|neutros|neutrophil",
    ),
    "immature_platelet_fraction": (
        "the immature platelet fraction",
        "immature platelet fraction|ipf|immature platelets fraction|immature-platelet-fraction",
    ),
    "dose": (
        "the dose given, an amount",
        (
            "dose|dose given|given dose|romiplostim|romiplostim dose|dose romiplostim|romiplostim dosis"
            "|dosis romiplostim|nplate|nplate dose|nplate dosis|dosis nplate|dosis|gegebene dosis"
            "|verabreichte dosis|dose administered"
            "|administered dose|injected dose|micrograms|dose amount|total dose"
        ),
    ),
    "level": (
        "the dose given, an amount a kilogram",
        "level|dose level|dose per kg|dose kg|micrograms per kg|dose by weight|dosis pro kg|weekly dose level",
    ),
    "protocol": ("the protocol of the course", "protocol|protokoll"),
    "course_started_on": (
        "the day on which the course began",
        (
            "course started on|course start|treatment start|start of treatment|therapy start|start of therapy"
            "|romiplostim start|nplate start|therapiebeginn"
        ),
    ),
    "course_ended_on": (
        "the day on which the course ended",
        (
            "course ended on|course end|treatment end|end of treatment|therapy end|end of therapy|stopped on|stop date"
            "|romiplostim stop|nplate stop|therapieende"
        ),
    ),
    "note": ("a remark that is kept with the row", "note|notes|remark|remarks|comment|comments|bemerkung|kommentar"),
    "kind": (
        "what the row tells of",
        (
            "kind|type|test|analyte|parameter|observation|measurement|item|test name|test code"
            "|analyte code|analyt|untersuchung|messgröße|component|lab test|name of test"
        ),
    ),
    "value": ("the value of the row", "value|result|wert|messwert|result value|reading|ergebnis|amount"),
    "unit": ("the unit of the value", "unit|units|einheit|unit of measure|uom|result unit|result units"),
    "resolved_on": ("the day on which an event was over", "resolved on|resolved|end date|ended on|over on"),
    "unreliable": ("whether the count of the row is unreliable, true or false", "unreliable"),
    "status": ("what an export of this program says of the row: final, unverified, entered-in-error", "status"),
    "current": ("whether an export of this program has the version that stands", "current"),
}
UNIT_FIELDS: Final = {f"{name}_unit": name for name in UNITS}
#: The fields that are days.
DAYS_OF: Final = ("day", "born_on", "course_started_on", "course_ended_on", "resolved_on")
#: What an export of this program has, and a table of anybody else by another meaning: guessed together only.
OF_EXPORTS: Final = ("status", "current")
#: Of a table that has one fact a row.
LONG: Final = ("kind", "value", "unit", "resolved_on")

_BY_NAME: Final = {name: field for field, (_, names) in FIELDS.items() for name in names.split("|")}
_BY_NAME.update({field.replace("_", " "): field for field in (*FIELDS, *UNIT_FIELDS)})
#: Names of what a row of one fact may tell of, beside those of columns.
_KINDS: Final = {
    **{name: field for name, field in _BY_NAME.items() if field in UNITS},
    **{kind.replace("_", " "): kind for kind in EVENTS},
    "platelet transfusion": "platelet_transfusion",
    "transfusion of platelets": "platelet_transfusion",
    "dvt": "thrombosis",
    "pe": "thrombosis",
    "ivig": "rescue_therapy",
}
_IN_BRACKETS: Final = re.compile(r"^(.*?)[\s,;]*[(\[]\s*([^()\[\]]+?)\s*[)\]]\s*$")
_SPACED: Final = re.compile(r"[\s_.:#-]+")


def plain_name(name: str) -> str:
    """A name as it is looked up: in small letters, words apart."""
    return _SPACED.sub(" ", name).strip().lower()


def guess(header: str) -> tuple[str, str | None] | None:
    """What a column is by its header, and the unit that is written there; None where nothing is known by that name."""
    base, unit = header, None
    if found := _IN_BRACKETS.match(header.strip()):
        base, unit = found[1], found[2]
    field = _BY_NAME.get(plain_name(base))
    if field is None and unit is None:
        field, unit = _with_unit_behind(header)
    if field is None:
        return None
    if field in {"dose", "level"} and unit is not None:
        field = "level" if known_unit("level", unit or "") else "dose"
    return field, unit


def unit_in(header: str) -> str | None:
    """The unit that stands in brackets at the end of a header, if anything does."""
    found = _IN_BRACKETS.match(header.strip())
    return found[2] if found else None


def might_be(header: str) -> list[str]:
    """The fields with a unit that a header may be of by one of its words, or else by a unit in it."""
    words = [word for word in re.split(r"[\s_()\[\],;:]+", header.strip()) if word]
    named = {field for word in words if (field := _BY_NAME.get(plain_name(word))) in UNITS}
    found = named or {field for field in UNITS for word in words[-1:] if known_unit(field, word) is not None}
    return [field for field in UNITS if field in found]


def _with_unit_behind(header: str) -> tuple[str | None, str | None]:
    """What a header such as `Weight kg` says."""
    parts = re.split(r"[\s_,]+", header.strip())
    for last in range(len(parts) - 1, 0, -1):
        field, unit = _BY_NAME.get(plain_name(" ".join(parts[:last]))), " ".join(parts[last:])
        if field == "dose" and known_unit("level", unit) is not None:
            return "level", unit
        if field is not None and field in UNITS and known_unit(field, unit) is not None:
            return field, unit
    return None, None


def known_unit(field: str, written: str) -> str | None:
    """The unit of a field that somebody means by what he wrote; None if it is none that it is kept in."""
    units = UNITS[field]
    text = written.strip()
    named = WRITTEN.get(text, text)
    return named if named in units else same_unit(text, units)


def known_kind(written: str) -> str | None:
    """What a row tells of by what is written there: a field with a unit, or a kind of event."""
    return _KINDS.get(plain_name(written))


def named_fields(names: Iterable[str]) -> list[str]:
    """Those of some names that are fields."""
    return [name for name in names if name in FIELDS or name in UNIT_FIELDS]
