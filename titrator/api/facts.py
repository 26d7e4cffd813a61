"""The five collections of facts of a patient, with the same routes each."""

from __future__ import annotations

from typing import Final, NamedTuple

from schemas.course import ReasonIn
from schemas.dose import DoseCorrection, DoseIn, DoseOut
from schemas.event import EventCorrection, EventIn, EventOut, ResolutionIn
from schemas.fact import KnownOut, VerificationIn
from schemas.fields import Many, Object, Schema
from schemas.observation import (
    CountCorrection,
    CountIn,
    CountOut,
    ObservationCorrection,
    ObservationIn,
    ObservationOut,
    WeightCorrection,
    WeightIn,
    WeightOut,
)
from titrator.api.blueprint import Blueprint
from titrator.api.wire import etag, if_match
from titrator.security.permissions import Permission
from titrator.store.records import Fact
from titrator.workflow import record
from titrator.workflow.errors import Code
from titrator.workflow.facts import DOSES, EVENTS, OBSERVATIONS, PLATELET_COUNTS, WEIGHTS, Collection, show
from titrator.workflow.record import Which
from titrator.workflow.visit import Visit

blueprint = Blueprint(
    "facts",
    __name__,
    description="What was observed and done. Nothing is overwritten: a correction is a new version, with its reason.",
)

Fields = dict[str, object]
Answer = tuple[Fields, dict[str, str]]
_ID = "<fact:fact_id>"


class Wire(NamedTuple):
    """How the facts of a collection are sent and received."""

    collection: Collection
    takes: type[Schema]
    corrects: type[Schema]
    gives: type[Schema]
    types: tuple[str, ...] = ("Observation",)

    def needs(self, letters: str) -> str:
        """The scopes of its types for some letters."""
        return " ".join(f"{name}.{letter}" for letter in letters for name in self.types)


#: What an event is over FHIR, by its kind.
_OF_EVENTS: Final = ("AdverseEvent", "Procedure")


def _routes(wire: Wire) -> None:
    collection = wire.collection
    path, word = f"/patients/<patient_id>/{collection.name}", collection.name.replace("-", "_")
    several: type[Schema] = type(  # a list of what `gives`, under its own name
        f"{wire.gives.__name__}s", (Schema,), {"items": Many(Object(wire.gives), required=True, most=1_000_000)}
    )

    def list_them(visit: Visit, patient_id: str) -> Fields:
        return {"items": [show(fact) for fact in record.list_facts(visit, patient_id, collection)]}

    def add(visit: Visit, body: Fields, patient_id: str) -> tuple[Fields, int, dict[str, str]]:
        recorded = record.record(visit, patient_id, collection, body)
        seen = recorded.new or all(map(visit.who.may, wire.needs("r").split()))  # what was there may have more in it
        where = f"/api/v1/patients/{patient_id}/{collection.name}/{recorded.fact.id}"
        flags = {"flags": [str(Code.DOSE_MISMATCH_DECISION)] if recorded.departs else []} if collection is DOSES else {}
        headers = {**etag(recorded.fact.version), "Location": where}
        told: Fields = {**show(recorded.fact), **flags} if seen else {"id": recorded.fact.id}
        return told, 201 if recorded.new else 200, headers

    def get(visit: Visit, patient_id: str, fact_id: int) -> Answer:
        return _sent(record.versions(visit, Which(patient_id, collection, fact_id))[-1])

    def versions(visit: Visit, patient_id: str, fact_id: int) -> Fields:
        return {"items": [show(fact) for fact in record.versions(visit, Which(patient_id, collection, fact_id))]}

    def correct(visit: Visit, body: Fields, patient_id: str, fact_id: int) -> Answer:
        return _sent(record.correct(visit, Which(patient_id, collection, fact_id, if_match()), body))

    def enter_in_error(visit: Visit, body: dict[str, str], patient_id: str, fact_id: int) -> Answer:
        return _sent(record.enter_in_error(visit, Which(patient_id, collection, fact_id, if_match()), body["reason"]))

    def verify(visit: Visit, body: Fields, patient_id: str, fact_id: int) -> Answer:
        return _sent(record.verify(visit, Which(patient_id, collection, fact_id, if_match()), body))

    noun, one = collection.noun, f"{path}/{_ID}"
    list_them.__doc__ = f"Every {noun} of a patient, by day."
    add.__doc__ = f"Record a {noun}. 200 in place of 201: it was recorded already."
    get.__doc__ = f"A {noun}, in its current version."
    versions.__doc__ = f"All versions of a {noun}."
    correct.__doc__ = f"Correct a {noun}."
    enter_in_error.__doc__ = f"Say that a {noun} was entered in error."
    verify.__doc__ = f"Say that a {noun} of a system, that looked wrong, is right."

    operation, reads, writes = blueprint.operation, Permission.READ_PATIENTS, Permission.RECORD_FACTS
    operation("GET", path, reads, wire.needs("s"), gives=several, name=f"list_{word}")(list_them)
    recorder = operation(
        "POST",
        path,
        writes,
        wire.needs("c"),
        body=wire.takes,
        gives=wire.gives,
        status=201,
        also=200,
        or_else=KnownOut,
        drafts=True,
        name=f"add_{word}",
    )
    recorder(add)
    operation("GET", one, reads, wire.needs("r"), gives=wire.gives, name=f"get_{word}")(get)
    operation("GET", f"{one}/versions", reads, wire.needs("r"), gives=several, name=f"versions_of_{word}")(versions)
    changed = wire.needs("u")
    operation(
        "PUT", one, writes, changed, body=wire.corrects, gives=wire.gives, versioned=True, name=f"correct_{word}"
    )(correct)
    # What comes back has more than was sent.
    told = wire.needs("ur")
    for action, view, permission, takes in (
        ("entered-in-error", enter_in_error, writes, ReasonIn),
        ("verification", verify, Permission.VERIFY_FACTS, VerificationIn),
    ):
        name = f"{word}_{action.replace('-', '_')}"
        made = operation(
            "POST", f"{one}/{action}", permission, told, body=takes, gives=wire.gives, versioned=True, name=name
        )
        made(view)


def _sent(fact: Fact) -> Answer:
    return show(fact), etag(fact.version)


@blueprint.operation(
    "POST",
    f"/patients/<patient_id>/events/{_ID}/resolution",
    Permission.RECORD_FACTS,
    "AdverseEvent.u Procedure.u AdverseEvent.r Procedure.r",
    body=ResolutionIn,
    gives=EventOut,
    versioned=True,
)
def resolve_event(visit: Visit, body: Fields, patient_id: str, fact_id: int) -> Answer:
    """Say since when an event is over; of a thrombosis or marrow disorder only a prescriber may."""
    return _sent(record.resolve(visit, Which(patient_id, EVENTS, fact_id, if_match()), body))


for _wire in (
    Wire(WEIGHTS, WeightIn, WeightCorrection, WeightOut),
    Wire(PLATELET_COUNTS, CountIn, CountCorrection, CountOut),
    Wire(OBSERVATIONS, ObservationIn, ObservationCorrection, ObservationOut),
    Wire(DOSES, DoseIn, DoseCorrection, DoseOut, ("MedicationAdministration",)),
    Wire(EVENTS, EventIn, EventCorrection, EventOut, _OF_EVENTS),
):
    _routes(_wire)
