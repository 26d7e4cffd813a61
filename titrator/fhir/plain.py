"""What most resources of a prefetch say, read at once: those in which nothing is at fault and nothing is unusual.

Of any other there is None; the strict reader reads it, or tells what is wrong with it. A resource is plain only if each
of its elements either is looked at here or says nothing of what a rule looks at. What a code and a unit mean is asked
of the strict reader, and remembered. A test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from schemas import fhir
from titrator.fhir.codes import MICROGRAMS, UCUM, is_romiplostim
from titrator.fhir.elements import Place, is_modified, moment_of, plain_codes
from titrator.fhir.taking import DAY_KEY, VALUES, measured_of, refuse_other_unit, unit_of
from titrator.titration.course import is_right
from titrator.titration.errors import Fault
from titrator.titration.quantities import EXACT, tidy
from titrator.workflow.facts import PLATELET_COUNTS, WEIGHTS, Collection
from titrator.workflow.measured import tells_of_clumps

#: Whose and since when it is, the caller looks at; what is not named here makes a resource unusual.
_ANY: Final = (
    "resourceType",
    "id",
    "meta",
    "language",
    "text",
    "identifier",
    "partOf",
    "category",
    "subject",
    "performer",
)
_WHEN: Final = ("status", "effectiveDateTime")
_OF_RESULTS: Final = ("basedOn", "encounter", "issued", "bodySite", "method", "specimen", "device", "referenceRange")
_OF_DOSES: Final = ("context", "reasonCode", "request")
_OBSERVATION: Final = frozenset((*_ANY, *_WHEN, *_OF_RESULTS, "code", "valueQuantity"))
_ADMINISTRATION: Final = frozenset((*_ANY, *_WHEN, *_OF_DOSES, "medicationCodeableConcept", "dosage"))
_QUANTITY: Final = frozenset(("value", "unit", "system", "code"))
_DOSAGE: Final = frozenset(("dose", "text", "route", "site", "method"))
_CONCEPT: Final = frozenset(("coding", "text"))
_FINAL: Final = ("final", "amended", "corrected")
_LISTS: Final = {WEIGHTS.name: "weights", PLATELET_COUNTS.name: "platelet_counts"}
#: Texts that are longer are not remembered.
_SHORT: Final = 80


class Plain(NamedTuple):
    """An entry of a list of a course document, with its day, and the instant as it was written, if there is one."""

    name: str
    day: str
    at: str | None
    entry: dict[str, object]


def plain(resource: object, zone: ZoneInfo, *, unmodified: bool = False) -> Plain | None:
    """What a platelet count, a weight or a dose of romiplostim says at a clinic of a time zone; None: ask strictly.

    One that is `unmodified` is known to have nothing in it that may turn its meaning round.
    """
    try:
        read = _READERS.get(resource["resourceType"])  # type: ignore[index]
        if read is None or (not unmodified and is_modified(resource)):  # type: ignore[arg-type]
            return None
        found = read(resource, zone)  # type: ignore[arg-type]
        return found if found is not None and is_right(found.name, found.entry) else None
    except (AttributeError, KeyError, TypeError):
        return None


def _observation(resource: Mapping[str, Any], zone: ZoneInfo) -> Plain | None:
    codes = plain_codes(resource["code"])
    if not resource.keys() <= _OBSERVATION or resource["status"] not in _FINAL or codes is None:
        return None
    collection, quantity = _collection(tuple(codes)), resource["valueQuantity"]
    when = moment_of(resource["effectiveDateTime"], zone)
    if collection is None or when is None or not quantity.keys() <= _QUANTITY or quantity["system"] != UCUM:
        return None
    if collection is PLATELET_COUNTS and not _is_unremarkable(resource):
        return None
    unit = _unit(collection.name, quantity["code"], quantity.get("unit"))
    value = Place(quantity["value"], "", faults := list[Fault]()).field(VALUES[collection.name])
    if unit is None or value is None or faults:
        return None
    entry = {DAY_KEY[collection.name]: when.day, "value": value, "unit": unit}
    return Plain(_LISTS[collection.name], when.day, when.at, entry)


def _is_unremarkable(resource: Mapping[str, Any]) -> bool:
    """Whether the words beside the code and the specimen say nothing of a sample that is no good."""
    code, specimen = resource["code"], resource.get("specimen", {})
    words = [code.get("text", ""), specimen.get("display", ""), *(one.get("display", "") for one in code["coding"])]
    return sum(map(len, words)) < 3 * _SHORT and not _tells_of_clumps(" ".join(words))


@lru_cache(maxsize=256)
def _tells_of_clumps(words: str) -> bool:
    return tells_of_clumps(words)


def _administration(resource: Mapping[str, Any], zone: ZoneInfo) -> Plain | None:
    medicine, dosage = resource["medicationCodeableConcept"], resource["dosage"]
    if not resource.keys() <= _ADMINISTRATION or resource["status"] != "completed":
        return None
    if not medicine.keys() <= _CONCEPT or not dosage.keys() <= _DOSAGE or not _is_ours(medicine):
        return None
    dose, when = dosage["dose"], moment_of(resource["effectiveDateTime"], zone)
    if when is None or not dose.keys() <= _QUANTITY:
        return None
    power = _power(dose["code"], dose.get("unit"))
    if power is None or type(dose["value"]) is not Decimal:
        return None
    scaled = tidy(EXACT.scaleb(dose["value"], power))
    micrograms = Place(scaled, "", faults := list[Fault]()).field(fhir.MICROGRAMS)
    if micrograms is None or faults:
        return None
    return Plain("doses", when.day, when.at, {"given_on": when.day, "micrograms": micrograms})


_READERS: Final = {"Observation": _observation, "MedicationAdministration": _administration}


@lru_cache(maxsize=256)
def _collection(codes: tuple[tuple[str | None, str], ...]) -> Collection | None:
    """What codings name, if it is a list of a course document."""
    codings = [{"system": system, "code": code} for system, code in codes]
    found = measured_of(Place({"code": {"coding": codings}}, "", faults := list[Fault]()))
    return None if found is None or faults or found.collection.name not in _LISTS else found.collection


def _is_ours(medicine: Mapping[str, Any]) -> bool:
    """Whether a concept is plainly romiplostim."""
    codes = plain_codes(medicine)
    words = " ".join([medicine.get("text", ""), *(one.get("display", "") for one in medicine.get("coding", ()))])
    return codes is not None and len(words) < _SHORT and _is_known(tuple(codes), words)


@lru_cache(maxsize=256)
def _is_known(codes: tuple[tuple[str | None, str], ...], words: str) -> bool:
    return is_romiplostim(codes, words)


@lru_cache(maxsize=256)
def _known_unit(collection: str, code: str, written: str | None) -> str | None:
    quantity = {"system": UCUM, "code": code, "unit": written}
    found = unit_of(Place(quantity, "", faults := list[Fault]()), collection)
    return None if faults else found


def _unit(collection: str, code: str, written: str | None) -> str | None:
    return _known_unit(collection, code, written) if len(code) + len(written or "") < _SHORT else None


@lru_cache(maxsize=256)
def _known_power(code: str, written: str | None) -> int | None:
    refuse_other_unit(Place({"code": code, "unit": written}, "", faults := list[Fault]()))
    return None if faults else MICROGRAMS.get(code)


def _power(code: str, written: str | None) -> int | None:
    return _known_power(code, written) if len(code) + len(written or "") < _SHORT else None
