"""Resources in: what one says, as an entry of a collection of facts. Pure; what is wrong goes to the list of faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import marshmallow as ma

from schemas import fhir
from titrator.fhir.codes import (
    ATC,
    BY_LOINC,
    LEVELS,
    LOINC,
    MICROGRAMS,
    OWN,
    ROMIPLOSTIM,
    SNOMED,
    TRANSFUSIONS,
    UCUM,
    Measured,
    differ,
    looks_like,
    route_by,
    tells_of_clumps,
)
from titrator.fhir.codes import is_romiplostim as is_named_so
from titrator.fhir.elements import Moment, Place, coding_codes, root, texts_of
from titrator.titration.errors import Fault
from titrator.titration.quantities import EXACT, tidy
from titrator.workflow.facts import DOSES, EVENTS, OBSERVATIONS, PLATELET_COUNTS, SAFETY_EVENTS, Collection
from titrator.workflow.measured import unit_among
from titrator.workflow.record import Source

#: The types that are facts here.
FACTS: Final = ("Observation", "MedicationAdministration", "Procedure", "AdverseEvent")
_KINDS_OF_PROCEDURE: Final = {code: kind for kind, (code, _) in TRANSFUSIONS.items()}


class Said(NamedTuple):
    """What a resource says: an entry of a collection, its names elsewhere, what else its source says of it.

    `in_error` is whether it says that it never was. Of one that is at fault the entry may be incomplete.
    """

    collection: Collection
    body: dict[str, Any]
    source: Source
    in_error: bool = False


class Subject(NamedTuple):
    """Whose a resource is: a reference to follow, or an identifier."""

    reference: str | None
    identifier: tuple[str, str] | None
    path: str


def subject_of(resource: Place, key: str = "subject") -> Subject | None:
    """Whose a resource is; None where it does not say, which is a fault."""
    place = resource[key]
    reference = place["reference"].text()
    system, value = place["identifier"]["system"].text(), place["identifier"]["value"].text()
    if reference is None and (system is None or value is None):
        place.wrong("required: a reference to a patient, or an identifier with system and value")
        return None
    return Subject(reference, None if system is None or value is None else (system, value), place.path)


def take(resource: object, kind: str, zone: ZoneInfo, faults: list[Fault], path: str | None = None) -> Said | None:
    """What a resource of one of the types FACTS says, at a clinic of a time zone; None where that cannot be told."""
    return _TAKERS[kind](root(resource, kind, faults, path), zone)


def names_of(resource: Place, passed_over: Callable[[Place], bool] = lambda _: False) -> list[tuple[str, str]]:
    """The identifiers of a resource, each once, but for those that are passed over.

    One without a system is one of them: it tells nothing apart, and is kept where it came from.
    """
    found = []
    said = resource["identifier"]
    for place in [said] if isinstance(said.value, dict) else said:
        if passed_over(place) or not place["system"].there:
            continue
        system = place["system"].required(place["system"].field(fhir.SYSTEM))
        value = place["value"].required(place["value"].field(fhir.IDENTIFIER))
        if system is not None and value is not None:
            found.append((system, value))
    return list(dict.fromkeys(found))


def patient_of(resource: object, faults: list[Fault], path: str | None = None) -> dict[str, Any]:
    """What a Patient says, as over REST; `clinic` is the id of its managing organisation, if it is a clinic of ours.

    `died` is there, and true, of who has died. Identifiers of which a part is missing or masked name nobody here, and
    are passed over, as are organisations of other systems.
    """
    patient = root(resource, "Patient", faults, path)
    body: dict[str, Any] = {}
    name = _official_name(patient)
    body["family_name"] = name["family"].required(name["family"].field(fhir.FAMILY))
    given = [text for text in (one.text() for one in name["given"]) if text]
    joined = Place(" ".join(given) or None, name["given"].path, faults)
    body["given_name"] = joined.required(joined.field(fhir.GIVEN))
    body["born_on"] = patient["birthDate"].field(fhir.BORN)
    active = patient["active"].flag()
    body["active"] = True if active is None else active
    named = names_of(patient, _names_nobody)
    body["identifiers"] = [{"system": system, "value": value} for system, value in named]
    organization = patient["managingOrganization"]["identifier"]
    if organization["system"].text() == f"{OWN}:clinic":
        body["clinic"] = organization["value"].required(organization["value"].text())
    died = patient["deceasedDateTime"].text(), patient["deceasedBoolean"].flag()
    if None not in died:
        patient["deceased"].wrong("must be one, not several: deceasedBoolean, deceasedDateTime")
    if died[0] is not None or died[1]:
        body |= {"died": True, "active": False}
    if any(link["type"].text() == "replaced-by" for link in patient["link"]):
        body["active"] = False  # another record has taken its place: nobody is dosed by this one
    return {key: value for key, value in body.items() if value is not None}


def _names_nobody(identifier: Place) -> bool:
    """Whether an identifier has no value, or a masked one."""
    value = identifier["value"].value
    return value is None or (isinstance(value, str) and "**" in value)


#: Uses of names that somebody no longer has, or only for a while.
_NOT_OF_NOW: Final = ("old", "maiden", "temp", "anonymous")


def _official_name(patient: Place) -> Place:
    names = list(patient["name"])
    for use in ("official", "usual"):
        for name in names:
            if name["use"].text() == use:
                return name
    now = [name for name in names if name["use"].text() not in _NOT_OF_NOW] or names
    return now[0] if now else Place(None, f"{patient.path}.name[0]", patient.faults)


def _observation(place: Place, zone: ZoneInfo) -> Said | None:
    status = place["status"].one_of(fhir.OBSERVATION_STATUS)
    if status in ("registered", "cancelled", "unknown"):
        place["status"].wrong(f"{status} is no result: send it when there is one")
    measured = measured_of(place)
    moment = place.choice("effective", "DateTime", "Instant")
    when = moment.moment(zone)
    if place["focus"].there:
        place["focus"].wrong("is not taken: here an observation is of its subject")
    quantity = place.choice("value", "Quantity")
    if not quantity.there:
        quantity.wrong("required: a quantity")
    if quantity["comparator"].there:
        quantity["comparator"].wrong("is not taken: a value must be exact")
    if measured is None:
        return None
    body: dict[str, Any] = {DAY_KEY[measured.collection.name]: _day(when)}
    unit = None
    if quantity.there:
        body["unit"] = unit = unit_of(quantity, measured.collection.name)
        body["value"] = quantity["value"].required(quantity["value"].field(VALUES[measured.collection.name]))
    if measured.collection is OBSERVATIONS:
        body["code"] = measured.code
        body["lower_limit_of_normal"] = _lower_limit(place, unit)
    if measured.collection is PLATELET_COUNTS and is_unreliable(place):
        body["unreliable"] = True
    return _said(place, measured.collection, body, when, status)


DAY_KEY: Final = {"weights": "measured_on", "platelet-counts": "collected_on", "observations": "observed_on"}
VALUES: Final = {"weights": fhir.WEIGHT, "platelet-counts": fhir.COUNT, "observations": fhir.VALUE}
_UNITS: Final = {"weights": fhir.WEIGHT_UNIT, "platelet-counts": fhir.COUNT_UNIT, "observations": fhir.UNIT}


def measured_of(place: Place) -> Measured | None:
    """What was measured; every coding that is known must say the same."""
    code = place["code"]
    if not code.there:
        code.wrong("required")
        return None
    codes = coding_codes(code)
    known = {BY_LOINC[one] for system, one in codes if system == LOINC and one in BY_LOINC}
    if len(known) > 1:
        code["coding"].wrong("names several things that are measured")
        return None
    if known:
        return known.pop()
    for system, one in codes:
        if system == f"{OWN}:observation" and Place(one, f"{code.path}.coding.code", place.faults).field(
            fhir.OTHER_CODE
        ):
            return Measured(OBSERVATIONS, one, "laboratory", ())
    code["coding"].wrong(f"must have one of these LOINC codes ({LOINC}): {', '.join(BY_LOINC)}")
    return None


def unit_of(quantity: Place, collection: str) -> str | None:
    """The unit of a quantity of a collection, by UCUM code, else by what is written; there must be one."""
    field = _UNITS[collection]
    code, written = quantity["code"], quantity["unit"]
    if code.there:
        if (system := quantity["system"].text()) != UCUM:
            quantity["system"].wrong(f"must be {UCUM}, not {system}")
            return None
        refuse_other_unit(quantity)
        return _named_unit(code, field)
    if not written.there:
        code.wrong("required: an amount without its unit means nothing")
        return None
    return _named_unit(written, field)


def _named_unit(place: Place, field: ma.fields.Field[Any]) -> str | None:
    text = place.text()
    named = None if text is None else unit_among(text, getattr(field, "options", ()))
    found: str | None = Place(named, place.path, place.faults).field(field)
    return found


def refuse_other_unit(quantity: Place) -> None:
    """Refuse a quantity whose unit in words is another one than that of its code: one of them is wrong."""
    code, written = quantity["code"].text(), quantity["unit"].text()
    if code is not None and written is not None and differ(code, written):
        quantity["unit"].wrong(f"is another unit than the code, {code}: which one is meant cannot be told")


def is_unreliable(place: Place) -> bool:
    """Whether it says of itself that it may dose nothing: by our code, by a reason why there is no value, or in words.

    A remark that the sample was no good may stand in a note, an interpretation, a component, or beside the code.
    """
    if any((RELIABILITY, "unreliable") in coding_codes(concept) for concept in place["interpretation"]):
        return True
    said = [note["text"].value for note in place["note"]] if isinstance(place["note"].value, list) else []
    said += [texts_of(concept) for concept in place["interpretation"]]
    said += [texts_of(place["code"]), texts_of(place["method"]), place["specimen"]["display"].value]
    specimen = contained(place).get(place["specimen"]["reference"].text() or "")
    if isinstance(specimen, dict):
        for state in Place(specimen, place["specimen"].path, place.faults)["condition"]:
            said += [texts_of(state), *(code for _, code in coding_codes(state))]
    for part in place["component"]:
        value = part["valueString"].value or texts_of(part["valueCodeableConcept"])
        said.append(f"{texts_of(part['code'])}: {value}")
    return place["dataAbsentReason"].there or any(isinstance(text, str) and tells_of_clumps(text) for text in said)


def _lower_limit(place: Place, unit: str | None) -> Decimal | None:
    """The laboratory's lower limit of normal, if the one range that is given has one in the same unit."""
    ranges = [one for one in place["referenceRange"] if one["low"].there]
    if len(ranges) != 1:
        return None
    low = ranges[0]["low"]
    if unit_of(low, OBSERVATIONS.name) != unit:
        return None
    found: Decimal | None = low["value"].field(fhir.LIMIT)
    return found


def _administration(place: Place, zone: ZoneInfo) -> Said | None:
    status = place["status"].one_of(fhir.ADMINISTRATION_STATUS)
    if status not in (None, "completed", "not-done", "entered-in-error"):
        place["status"].wrong(f"{status} is not taken: send it when the dose has been given, or not")
    _refuse_other_medicine(place)
    effective = place.choice("effective", "DateTime", "Period")
    if isinstance(effective.value, dict):
        effective = effective["start"]
    when = effective.moment(zone)
    if status == "not-done":
        body: dict[str, Any] = {"not_given_on": _day(when), "reason_not_given": _reason_not_given(place)}
    else:
        body = {"given_on": _day(when), "micrograms": _micrograms(place)}
        level = _level(place)
        if level is not None:
            body["micrograms_per_kg"] = level
        if (route := route_of(place["dosage"]["route"])) is not None:
            body["route"] = route
    return _said(place, DOSES, body, when, status)


def _refuse_other_medicine(place: Place) -> None:
    medicine = place.choice("medication", "CodeableConcept", "Reference")
    if not medicine.there:
        medicine.wrong("required")
    elif not is_romiplostim(medicine):
        medicine.wrong(f"must be romiplostim, by ATC code ({ATC}|{ROMIPLOSTIM}) or by name: nothing else is kept here")


def is_romiplostim(medicine: Place) -> bool:
    """Whether a medicine, a CodeableConcept or a reference with its display, is romiplostim."""
    texts = [medicine["display"].text() or ""]
    if not medicine["reference"].there:
        texts += [medicine["text"].text() or "", *(coding["display"].text() or "" for coding in medicine["coding"])]
    return is_named_so(coding_codes(medicine), texts) is True


def _micrograms(place: Place) -> Decimal | None:
    dose = place["dosage"]["dose"]
    if not dose.there:
        dose.wrong("required: the amount given, in micrograms")
        return None
    return micrograms_of(dose)


def micrograms_of(dose: Place) -> Decimal | None:
    """An amount of a medicine in micrograms."""
    if dose["comparator"].there:
        dose["comparator"].wrong("is not taken: an amount must be exact")
    unit = dose["code"] if dose["code"].there else dose["unit"]
    text = unit.text()
    if text is None or text not in MICROGRAMS:
        unit.wrong("must be ug, mcg or mg: the amount, not the level" if text else "required: ug, mcg or mg")
        return None
    if dose["code"].there:
        refuse_other_unit(dose)
    value = dose["value"].required(dose["value"].value)
    if not isinstance(value, Decimal):
        dose["value"].wrong("must be a number")
        return None
    scaled = tidy(EXACT.scaleb(value, MICROGRAMS[text]))
    found: Decimal | None = Place(scaled, dose["value"].path, dose.faults).field(fhir.MICROGRAMS)
    return found


def route_of(route: Place) -> str | None:
    """How something was given or is to be given, one of ROUTES of a dose; None where it is not said."""
    displays = (coding["display"].text() for coding in route["coding"])
    return route_by(coding_codes(route), filter(None, (route["text"].text(), *displays)))


def _level(place: Place) -> Decimal | None:
    """The level of a dose, in micrograms/kg, from our extension of its dosage."""
    for extension in place["dosage"]["extension"]:
        if extension["url"].text() == LEVEL_EXTENSION:
            level = extension["valueQuantity"]
            unit = level["code"] if level["code"].there else level["unit"]
            if unit.text() not in LEVELS:
                unit.wrong(f"must be one of {', '.join(LEVELS)}")
                return None
            found: Decimal | None = level["value"].field(fhir.LEVEL)
            return found
    return None


def _reason_not_given(place: Place) -> str:
    known = fhir.NOT_GIVEN.options  # type: ignore[attr-defined]
    for concept in place["statusReason"]:
        for _, code in coding_codes(concept):
            if code in known:
                return code
    return "other"


def _procedure(place: Place, zone: ZoneInfo) -> Said | None:
    status = place["status"].one_of(fhir.PROCEDURE_STATUS)
    if status not in (None, "completed", "entered-in-error"):
        place["status"].wrong(f"{status} is not taken: send it when it is completed")
    codes = coding_codes(place["code"])
    kinds = {_KINDS_OF_PROCEDURE[code] for system, code in codes if system == SNOMED and code in _KINDS_OF_PROCEDURE}
    kinds |= {code for system, code in codes if system == f"{OWN}:event" and code in (*TRANSFUSIONS, "rescue_therapy")}
    if len(kinds) != 1:
        place["code"].wrong(
            f"must be a transfusion, by SNOMED CT code ({SNOMED}): "
            + ", ".join(f"{code} ({text})" for code, text in TRANSFUSIONS.values())
            + f"; or rescue_therapy of {OWN}:event"
        )
    performed = place.choice("performed", "DateTime", "Period")
    if isinstance(performed.value, dict):
        performed = performed["start"]
    when = performed.moment(zone)
    kind = kinds.pop() if len(kinds) == 1 else None
    return _said(place, EVENTS, {"kind": kind, "occurred_on": _day(when)}, when, status)


def contained(resource: Place) -> dict[str, object]:
    """What a resource contains, by the references that name it there."""
    return {f"#{one['id'].text()}": one.value for one in resource["contained"] if isinstance(one.value, dict)}


def said_of_event(place: Place) -> tuple[list[tuple[str | None, str]], str]:
    """The codes and words of an AdverseEvent: what happened, and what came of it, as far as it is told with it."""
    concepts, words = [place["event"]], [texts_of(place["event"])]
    within = contained(place)
    for one in place["resultingCondition"]:
        words.append(one["display"].text() or "")
        found = within.get(one["reference"].text() or "")
        if isinstance(found, dict):
            concepts.append(Place(found, one.path, place.faults)["code"])
            words.append(texts_of(concepts[-1]))
    return [code for concept in concepts for code in coding_codes(concept)], "; ".join(filter(None, words))


def _adverse_event(place: Place, zone: ZoneInfo) -> Said | None:
    if place["actuality"].one_of(("actual", "potential")) == "potential":
        place["actuality"].wrong("potential is not taken: send what happened")
    codes, words = said_of_event(place)
    term = words or None
    own = [code for system, code in codes if system == f"{OWN}:event"]
    # Of several codes that which holds doses back: it must not be lost for standing first or last.
    kind = next((code for code in SAFETY_EVENTS if code in own), own[0] if own else "adverse_event")
    suspected = looks_like(codes, words) if kind == "adverse_event" else None
    if suspected is not None:
        kind, term = suspected.replace(" ", "_"), term or ", ".join(code for _, code in codes)
    event = Place(kind, f"{place.path}.event", place.faults).field(fhir.EVENT_KIND)
    if event in (*TRANSFUSIONS, "rescue_therapy"):
        place["event"].wrong(f"{event} is sent as a Procedure")
    if not place["event"].there:
        place["event"].wrong("required")
    when = place["date"].moment(zone)
    body: dict[str, Any] = {"kind": event, "occurred_on": _day(when)}
    said = place["event"]["text"].text() or term
    if suspected is not None and looks_like(coding_codes(place["event"]), texts_of(place["event"])) is None:
        said = term  # by what came of it
    if event == "adverse_event" or suspected is not None or place["event"]["text"].there:
        body["term"] = Place(said, f"{place.path}.event.text", place.faults).field(fhir.TERM)
    body |= _graded(place)
    if (resolved := _resolved(place, zone)) is not None:
        body["resolved_on"] = resolved
        if any(code in _GOES_ON for _, code in coding_codes(place["outcome"])):
            place["outcome"].wrong("contradicts the extension, by which it is over")
    if event == "adverse_event" and body.get("term") is None and "scale" not in body:
        place["event"].wrong("required: what it was, in words")
    taken = _said(place, EVENTS, body, when, None)
    return taken and taken._replace(source=taken.source._replace(suspected=suspected is not None))


#: Outcomes of an AdverseEvent that do not say that it is over.
_GOES_ON: Final = ("ongoing", "recovering", "fatal", "unknown")


def _graded(place: Place) -> dict[str, Any]:
    for extension in place["extension"]:
        if extension["url"].text() == GRADE_EXTENSION:
            parts = {part["url"].text(): part for part in extension["extension"]}
            scale, grade = parts.get("scale"), parts.get("grade")
            if scale is None or grade is None:
                extension.wrong("must have a scale and a grade")
                return {}
            return {
                "scale": scale["valueCode"].field(fhir.SCALE),
                "grade": grade["valueInteger"].field(fhir.GRADE),
            }
    return {}


def _resolved(place: Place, zone: ZoneInfo) -> str | None:
    for extension in place["extension"]:
        if extension["url"].text() == RESOLVED_EXTENSION:
            when = extension["valueDate"].moment(zone)
            return None if when is None else when.day
    return None


def _day(when: Moment | None) -> str | None:
    return None if when is None else when.day


def _said(
    place: Place, collection: Collection, body: dict[str, Any], when: Moment | None, status: str | None
) -> Said | None:
    """What was read, with its notes and names; None where it is not known when it was, once all else has been read."""
    notes = [note["text"].text() for note in place["note"]]
    text = "\n".join(one for one in notes if one) or None
    if text is not None:
        body["note"] = Place(text, f"{place.path}.note", place.faults).field(fhir.NOTE)
    names = names_of(place)
    if names:
        body["external_id"] = {"system": names[0][0], "value": names[0][1]}
    source = Source(
        preliminary=status == "preliminary",
        corrected=status in ("amended", "corrected"),
        names=tuple(names[1:]),
        at=None if when is None else when.at,
    )
    if when is None:
        return None
    body = {key: value for key, value in body.items() if value is not None}
    return Said(collection, body, source, status == "entered-in-error")


RELIABILITY: Final = f"{OWN}:reliability"
LEVEL_EXTENSION: Final = f"{OWN}:dose-level"
GRADE_EXTENSION: Final = f"{OWN}:toxicity-grade"
RESOLVED_EXTENSION: Final = f"{OWN}:resolved-on"

_TAKERS: Final[Mapping[str, Callable[[Place, ZoneInfo], Said | None]]] = {
    "Observation": _observation,
    "MedicationAdministration": _administration,
    "Procedure": _procedure,
    "AdverseEvent": _adverse_event,
}
