"""Patients with all that is recorded of them as one Bundle of the type `collection`, written piece by piece.

The resources are those that the door gives, one by one, for the same records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from titrator.bulk.out import Wanted, standing_courses, standing_decisions, standing_facts
from titrator.fhir import giving
from titrator.protocols import Catalogue
from titrator.store.records import Fact
from titrator.titration.documents import encode, quote, reread
from titrator.workflow.whole import Whole

Made = tuple[str, str, str]


class Names(dict[str, str]):
    """The names of accounts by id; `look` finds one that has not been asked for yet."""

    def __init__(self, look: Callable[[str], str | None]) -> None:
        super().__init__()
        self._look = look

    def __missing__(self, key: str) -> str:
        self[key] = name = self._look(key) or key
        return name


def bundle_lines(
    base: str, catalogue: Catalogue, names: Mapping[str, str], patients: Iterable[Whole], wanted: Wanted
) -> Iterator[str]:
    """The text of the Bundle, an entry a line; `base` is the URL of the FHIR door, `names` has those of accounts."""
    yield '{"resourceType": "Bundle", "type": "collection", "entry": [\n'
    before = ""
    for one in patients:
        for kind, ident, text in _resources(base, catalogue, names, one, wanted):
            yield f'{before}{{"fullUrl": {quote(f"{base}/{kind}/{ident}")}, "resource": {text}}}'
            before = ",\n"
    yield "\n]}\n"


def _resources(base: str, catalogue: Catalogue, names: Mapping[str, str], one: Whole, wanted: Wanted) -> Iterator[Made]:
    patient = one.patient
    yield "Patient", patient.id, encode(giving.patient_resource(patient, one.identifiers, one.clinic))
    for course in standing_courses(one, wanted):
        resource = giving.condition(course, indication(catalogue, course.protocol))
        yield "Condition", f"{patient.id}-c{course.id}", encode(resource)
    external: dict[int, list[tuple[str, str]]] = {}
    for name in one.external_ids:
        external.setdefault(name.fact_id, []).append((name.system, name.value))
    for fact in standing_facts(one, wanted):
        yield _fact(fact, external.get(fact.id, ()))
    for made in standing_decisions(one, wanted):
        ident = f"{patient.id}-d{made.id}"
        if made.dose is not None and made.status != "referred":
            order = giving.order(made, is_lapsed=False, names=names)
            yield "MedicationRequest", ident, encode(order)
        answer, told = reread(made.answer), giving.decided(made, names)
        guidance = giving.guidance(base, patient.id, answer, made.signed_at, ident, made.version, told)  # type: ignore[arg-type]
        yield "GuidanceResponse", ident, encode(guidance)


def _fact(fact: Fact, names: Iterable[tuple[str, str]]) -> Made:
    ident = giving.fact_id(fact)
    match fact.kind:
        case "dose" | "dose-not-given":
            return "MedicationAdministration", ident, encode(giving.administration(fact, names))
        case "event":
            kind = "Procedure" if giving.is_procedure(fact) else "AdverseEvent"
            return kind, ident, encode(giving.event_resource(fact, names))
        case _:
            return "Observation", ident, giving.observation_text(giving.observed(fact), names)


def indication(catalogue: Catalogue, protocol: str) -> str:
    """What a protocol is for, in its words; where it cannot be used, that it is this one."""
    if catalogue.fault(protocol) is not None:
        return f"That of the protocol {protocol}"
    return catalogue.get(protocol).indication
