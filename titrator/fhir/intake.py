"""Resources of a file as histories: what a bulk import reads of FHIR, by the translation of the FHIR door.

A file has one Bundle, or a resource or Bundle a line. Patients are known by the number that a system gives them; what
refers to one does so by the id or full URL of a Patient of the same file, or by that number. The rooms of bulk know no
FHIR: they are handed `rows` and `reader`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from titrator.bulk.intake.plan import Plan
from titrator.bulk.intake.rows import History, Row
from titrator.bulk.intake.stage import Staging
from titrator.bulk.intake.values import text_of
from titrator.fhir.elements import Place, decoded
from titrator.fhir.taking import FACTS, patient_of, subject_of, take
from titrator.security.secrets import sha256
from titrator.titration.documents import encode
from titrator.titration.errors import Fault, InvalidDocument
from titrator.workflow.errors import Invalid
from titrator.workflow.history import Person, Told

#: What a row of a file of resources has, and how a file of refused ones is headed.
HEADER: Final = ("resource",)
LARGEST_BUNDLE: Final = 50_000_000
_LONGEST_LINE: Final = 1_000_000
_SHOWN_FAULTS: Final = 5


def is_fhir(file: Path) -> bool:
    """Whether a file of JSON, or of lines of it, has resources."""
    if file.suffix.lower() == ".json":
        return True
    with file.open("rb") as stream:
        line = next((line for line in iter(lambda: stream.readline(_LONGEST_LINE), b"") if line.strip()), b"")
    try:
        first = json.loads(line)
    except ValueError:
        return False
    return isinstance(first, dict) and "resourceType" in first


def rows(file: Path, system: str) -> Iterator[Staging]:
    """The resources of a file in order, each under the number of its patient; raises Invalid.

    One whose patient is not told is refused. The file is read twice: who is referred to may stand behind.
    """
    numbers: dict[str, str] = {}
    for url, resource in _resources(file):
        if resource.get("resourceType") == "Patient" and (number := _number(resource, system)):
            numbers |= dict.fromkeys([f"Patient/{resource.get('id')}", *([url] if url else [])], number)
    for place, (_, resource) in enumerate(_resources(file), 1):
        text = _written(resource)
        is_patient = resource.get("resourceType") == "Patient"
        number = _number(resource, system) if is_patient else _number_of_subject(resource, system, numbers)
        wrong = None if number else "its patient has no number of the system, or is not in the file"
        wrong = wrong if text else "has a number that is too long, too large or too small"
        yield Staging(number or "", place, [text], wrong)


def _written(resource: dict[str, Any]) -> str:
    """A resource as text again, exactly; empty where that cannot be."""
    try:
        return encode(resource)
    except KeyError:
        return ""


def _resources(file: Path) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Each resource of a file with its full URL, if it has one; those of Bundles in their place."""
    if file.suffix.lower() == ".json":
        if file.stat().st_size > LARGEST_BUNDLE:
            raise Invalid(Fault("file", f"has more than {LARGEST_BUNDLE} bytes: a resource a line may have any number"))
        yield from _entries(_decoded(file.read_bytes(), "file"))
        return
    with file.open("rb") as stream:
        for number, line in enumerate(iter(lambda: stream.readline(_LONGEST_LINE + 1), b""), 1):
            if len(line) > _LONGEST_LINE:
                raise Invalid(Fault("file", f"line {number} is longer than {_LONGEST_LINE} bytes"))
            if line.strip():
                yield from _entries(_decoded(line, f"line {number}"))


def _decoded(data: bytes, where: str) -> object:
    try:
        return decoded(data)
    except InvalidDocument as error:
        raise Invalid(Fault("file", f"{where}: {error}")) from None


def _entries(found: object) -> Iterator[tuple[str | None, dict[str, Any]]]:
    if not isinstance(found, dict) or "resourceType" not in found:
        raise Invalid(Fault("file", "must have resources, each with its resourceType"))
    if found["resourceType"] != "Bundle":
        yield None, found
        return
    entries = found.get("entry", [])
    for entry in entries if isinstance(entries, list) else []:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict):
            url = entry.get("fullUrl")
            yield url if isinstance(url, str) else None, resource


def _number(resource: Mapping[str, Any], system: str) -> str | None:
    """The number that a system gives a Patient."""
    named = resource.get("identifier")
    for one in named if isinstance(named, list) else []:
        if isinstance(one, dict) and one.get("system") == system and isinstance(one.get("value"), str):
            return str(one["value"]).strip()
    return None


def _number_of_subject(resource: Mapping[str, Any], system: str, numbers: Mapping[str, str]) -> str | None:
    faults: list[Fault] = []
    subject = subject_of(Place(resource, "", faults))
    if subject is None:
        return None
    if subject.identifier is not None and subject.identifier[0] == system:
        return subject.identifier[1].strip()
    reference = subject.reference or ""
    return numbers.get(reference) or numbers.get("/".join(reference.split("/")[-2:]))


def reader(plan: Plan, zones: Mapping[str, ZoneInfo]) -> Callable[[str, Sequence[Row]], History]:
    """Reads the resources of a patient; `zones` are those of the clinics, by id."""
    return lambda number, some: _history(plan, zones, number, some)


def _history(plan: Plan, zones: Mapping[str, ZoneInfo], number: str, some: Sequence[Row]) -> History:
    refused: list[tuple[int, str]] = []
    told: list[Told] = []
    person = Person(plan.system, number, plan.clinic or "", protocol=plan.protocol if plan.course else None)
    resources = [(row.line, _read(row, refused)) for row in some]
    for line, resource in resources:
        if resource is not None and resource.get("resourceType") == "Patient":
            person = _person(plan, person, line, resource, refused)
    if person.clinic not in zones:
        return History(None, [], [(row.line, "no clinic is named") for row in some], len(some))
    for line, resource in resources:
        if resource is not None and resource.get("resourceType") != "Patient":
            _tell(number, line, resource, zones[person.clinic], told, refused)
    spoilt = {line for line, resource in resources if resource and resource.get("resourceType") == "Patient"}
    if (fault := next((why for line, why in refused if line in spoilt), None)) is not None:
        return History(None, [], [(row.line, fault) for row in some], len(some))
    return History(None if len(refused) == len(some) else person, told, refused, len(some))


def _read(row: Row, refused: list[tuple[int, str]]) -> dict[str, Any] | None:
    try:
        found = decoded(text_of(row.cells[0]).encode())
    except (InvalidDocument, UnicodeEncodeError) as error:
        refused.append((row.line, str(error)))
        return None
    return found if isinstance(found, dict) else None


def _person(plan: Plan, person: Person, line: int, resource: object, refused: list[tuple[int, str]]) -> Person:
    faults: list[Fault] = []
    body = patient_of(resource, faults, "Patient")
    if not body.get("active", True):
        faults.append(Fault("Patient", "has died or is not active, and is not imported"))
    if faults:
        refused.append((line, _said(faults)))
        return person
    return person._replace(
        family_name=body.get("family_name"),
        given_name=body.get("given_name"),
        born_on=body.get("born_on"),
        clinic=plan.clinics.get(body.get("clinic", ""), person.clinic),
    )


def _tell(  # noqa: PLR0913, PLR0917 (what is read, and where it goes)
    number: str,
    line: int,
    resource: dict[str, Any],
    zone: ZoneInfo,
    told: list[Told],
    refused: list[tuple[int, str]],
) -> None:
    kind = resource.get("resourceType")
    if kind not in FACTS:
        refused.append((line, f"{str(kind)[:40]} is not read here: {', '.join(FACTS)} and Patient are"))
        return
    faults: list[Fault] = []
    said = take(resource, kind, zone, faults)
    if faults or said is None:
        refused.append((line, _said(faults) or "cannot be read"))
        return
    if said.in_error:
        refused.append((line, "was entered in error where it comes from, and is not recorded"))
        return
    ident = resource.get("id")
    name = ident if isinstance(ident, str) and len(ident) <= 64 else sha256(_written(resource))[:20]
    body = {key: value for key, value in said.body.items() if key != "external_id"}
    source = said.source._replace(names=(), unattended=True)
    told.append(Told(line, f"{number}/{kind}/{name}", said.collection, body, source))


def _said(faults: Sequence[Fault]) -> str:
    return "; ".join(map(str, faults[:_SHOWN_FAULTS]))
