"""What most resources of a prefetch say, read at once: those in which nothing is at fault and nothing is unusual.

Of any other there is None; the strict reader reads it, or tells what is wrong with it. A resource is plain only if each
of its elements either is looked at here or says nothing of what a rule looks at. What a code and a unit mean is asked
of the strict reader, and remembered. A test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeVar, cast
from zoneinfo import ZoneInfo

from schemas import fhir
from schemas.fields import Amount
from titrator.fhir.codes import MICROGRAMS, is_romiplostim
from titrator.fhir.elements import Moment, Place, is_modified, moment_of
from titrator.fhir.taking import DAY_KEY, VALUES, measured_of, refuse_other_unit, route_of, unit_of
from titrator.titration.course import is_right
from titrator.titration.errors import Fault
from titrator.titration.quantities import DAYS, EXACT, tidy
from titrator.workflow.facts import PLATELET_COUNTS, SUBCUTANEOUS, WEIGHTS
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
_OF_RESULTS: Final = ("basedOn", "encounter", "issued", "bodySite", "specimen", "device", "referenceRange")
_OF_DOSES: Final = ("context", "reasonCode", "request")
_OBSERVATION: Final = frozenset((*_ANY, *_WHEN, *_OF_RESULTS, "code", "valueQuantity"))
_ADMINISTRATION: Final = frozenset((*_ANY, *_WHEN, *_OF_DOSES, "medicationCodeableConcept", "dosage"))
_DOSAGE: Final = frozenset(("dose", "text", "route", "site", "method"))
_FINAL: Final = ("final", "amended", "corrected")
_LISTS: Final = {WEIGHTS.name: "weights", PLATELET_COUNTS.name: "platelet_counts"}
#: What is longer is for the strict reader; no more than so many are remembered.
_SHORT: Final = 1000
_MANY: Final = 256

V = TypeVar("V")
#: The codings of a concept: system, code and display of each, in so far as they are there.
_Codings = tuple[tuple[object, object, object], ...]


class Plain(NamedTuple):
    """An entry of a list of a course document, with its day, and the instant as it was written, if there is one."""

    name: str
    day: str
    at: str | None
    entry: dict[str, object]


class _Meaning(NamedTuple):
    """What a code is of: the list of a course document, the key of the day in it, the bounds of a value."""

    name: str
    day_key: str
    bounds: Amount


class _Remembered(dict[tuple[object, ...], V | None]):
    """What is read of values that stand together: remembered unless it is nothing; of long ones nothing is read."""

    def __init__(self, read: Callable[..., V | None]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, key: tuple[object, ...]) -> V | None:
        if len(str(key)) > _SHORT:
            return None
        found = self._read(*key)
        if found is not None:
            if len(self) >= _MANY:
                self.clear()
            self[key] = found
        return found


def plain(resource: object, zone: ZoneInfo, *, unmodified: bool = False) -> Plain | None:
    """What a platelet count, a weight or a dose of romiplostim says at a clinic of a time zone; None: ask strictly.

    Its numbers are as `documents.decode` reads them. One that is `unmodified` is known to have nothing in it that may
    turn its meaning round.
    """
    try:
        read = _READERS.get(resource["resourceType"])  # type: ignore[index]
        if read is None or (not unmodified and is_modified(resource)):  # type: ignore[arg-type]
            return None
        found = read(resource, zone)  # type: ignore[arg-type]
        return found if found is not None and is_right(found.name, found.entry) else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _observation(resource: Mapping[str, Any], zone: ZoneInfo) -> Plain | None:
    if resource["status"] not in _FINAL or not resource.keys() <= _OBSERVATION:
        return None
    code, specimen, quantity = resource["code"], resource.get("specimen"), resource["valueQuantity"]
    meaning = _MEANINGS[_codings(code), code.get("text"), None if specimen is None else specimen.get("display")]
    when = _moment(resource["effectiveDateTime"], zone)
    if meaning is None or when is None or len(quantity) != 3 + ("unit" in quantity):
        return None
    unit = _UNITS[meaning.name, quantity["system"], quantity["code"], quantity.get("unit")]
    value = quantity["value"]
    if unit is None or type(value) is not Decimal or not meaning.bounds.holds(value):
        return None
    return Plain(meaning.name, when.day, when.at, {meaning.day_key: when.day, "value": value, "unit": unit})


def _administration(resource: Mapping[str, Any], zone: ZoneInfo) -> Plain | None:
    if resource["status"] != "completed" or not resource.keys() <= _ADMINISTRATION:
        return None
    medicine, dosage = resource["medicationCodeableConcept"], resource["dosage"]
    dose, when = dosage["dose"], _moment(resource["effectiveDateTime"], zone)
    if len(medicine) != 1 + ("text" in medicine) or _OURS[_codings(medicine), medicine.get("text")] is None:
        return None
    route = dosage.get("route")
    if route is not None and _SUBCUTANEOUS[_codings(route), route.get("text")] is None:
        return None
    if when is None or not dosage.keys() <= _DOSAGE or len(dose) != 2 + ("unit" in dose) + ("system" in dose):
        return None
    power, value = _POWERS[dose["code"], dose.get("unit")], dose["value"]
    if power is None or type(value) is not Decimal:
        return None
    micrograms = tidy(EXACT.scaleb(value, power)) if power else value
    if not _MICROGRAMS.holds(micrograms):
        return None
    return Plain("doses", when.day, when.at, {"given_on": when.day, "micrograms": micrograms})


_READERS: Final = {"Observation": _observation, "MedicationAdministration": _administration}
_MICROGRAMS: Final = cast(Amount, fhir.MICROGRAMS)


def _codings(concept: Mapping[str, Any]) -> _Codings:
    """The codings of a concept; raises TypeError and the like where they are none."""
    codings = concept["coding"]
    if type(codings) is not list:
        raise TypeError
    return tuple([(one.get("system"), one["code"], one.get("display")) for one in codings])


def _moment(text: str, zone: ZoneInfo) -> Moment | None:
    """As `moment_of`; raises KeyError for what is as long as a date, and none that a rule could look at."""
    if len(text) == len("2026-03-09"):
        DAYS[text]
        return Moment(text, None)
    return moment_of(text, zone)


def _are_texts(*values: object) -> bool:
    return all(value is None or type(value) is str for value in values)


def _meaning(codings: _Codings, text: object, specimen: object) -> _Meaning | None:
    """What codings name, if it is a list of a course document, and no words beside them tell of a spoilt sample."""
    displays = [display for _, _, display in codings]
    if not _are_texts(text, specimen, *displays):
        return None
    concept = {"coding": [{"system": system, "code": code} for system, code, _ in codings]}
    found = measured_of(Place({"code": concept}, "", faults := list[Fault]()))
    if found is None or faults or (name := found.collection.name) not in _LISTS:
        return None
    words = " ".join(str(one) for one in (text, specimen, *displays) if one is not None)
    if found.collection is PLATELET_COUNTS and tells_of_clumps(words):
        return None
    return _Meaning(_LISTS[name], DAY_KEY[name], cast(Amount, VALUES[name]))


def _is_ours(codings: _Codings, text: object) -> bool | None:
    """True of a concept that is plainly romiplostim."""
    parts = [part for coding in codings for part in coding]
    if not _are_texts(text, *parts) or any(code is None for _, code, _ in codings):
        return None
    texts = [str(one) for one in (text, *(display for _, _, display in codings)) if one is not None]
    codes = [(cast("str | None", system), str(code)) for system, code, _ in codings]
    return is_romiplostim(codes, texts) or None


def _is_subcutaneous(codings: _Codings, text: object) -> bool | None:
    """True of a route that is plainly that of the labels."""
    coding = [{"system": system, "code": code, "display": display} for system, code, display in codings]
    route = route_of(Place({"coding": coding, "text": text}, "", faults := list[Fault]()))
    return True if route == SUBCUTANEOUS and not faults else None


def _unit(name: str, system: object, code: object, written: object) -> str | None:
    """The unit of a quantity of a list of a course document, by a code of UCUM."""
    collection = next(one for one, of in _LISTS.items() if of == name)
    quantity = {"system": system, "code": code, "unit": written}
    found = unit_of(Place(quantity, "", faults := list[Fault]()), collection)
    return None if faults or code is None else found


def _power(code: object, written: object) -> int | None:
    """So many powers of ten of micrograms is one of a unit."""
    refuse_other_unit(Place({"code": code, "unit": written}, "", faults := list[Fault]()))
    return None if faults else MICROGRAMS.get(cast(str, code))


_MEANINGS: Final = _Remembered(_meaning)
_OURS: Final = _Remembered(_is_ours)
_SUBCUTANEOUS: Final = _Remembered(_is_subcutaneous)
_UNITS: Final = _Remembered(_unit)
_POWERS: Final = _Remembered(_power)
