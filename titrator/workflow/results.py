"""Results that name their patient by an identifier: recorded if it is known, else kept until a person says whose it is.

A laboratory knows the hospital's number, not ours, and numbers are mistyped and merged. No result is lost for that, and
none is given to a patient whom nobody has named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple, cast

from titrator.security.secrets import new_id
from titrator.store.base import Where
from titrator.store.records import Fact, Identifier, Patient, UnmatchedResult
from titrator.titration.documents import encode, join, reread
from titrator.titration.errors import Fault
from titrator.workflow.errors import Code, Conflict, Invalid, Unknown
from titrator.workflow.facts import OBSERVATIONS, PLATELET_COUNTS, WEIGHTS, Collection, read_draft
from titrator.workflow.record import Recorded, record
from titrator.workflow.visit import Visit, day_at, instant

Body = Mapping[str, object]

#: By key of a result: the collection that it belongs to.
_COLLECTIONS: Final[Mapping[str, Collection]] = {
    "weight": WEIGHTS,
    "platelet_count": PLATELET_COUNTS,
    "observation": OBSERVATIONS,
}
_BY_NAME: Final = {collection.name: collection for collection in _COLLECTIONS.values()}
SHOWN: Final = 100


class Received(NamedTuple):
    """What became of a result: the fact that it is, or the row that waits; and whether it is new."""

    collection: Collection
    fact: Fact | None
    waiting: UnmatchedResult | None
    new: bool


def receive(visit: Visit, body: Body) -> Received:
    """A result recorded for the patient of the account's clinics who has the identifier; kept, if there is none.

    Raises what `record` raises; Invalid where the clinic is not the account's, or not named.
    """
    identifier = cast("Mapping[str, str]", body["identifier"])
    key = next(key for key in _COLLECTIONS if key in body)
    collection, entry = _COLLECTIONS[key], cast(Body, body[key])
    clinic = _clinic(visit, cast("str | None", body.get("clinic")))
    patient = _patient(visit, identifier["system"], identifier["value"])
    if patient is not None and patient.active:
        recorded = record(visit, patient.id, collection, entry)
        return Received(collection, recorded.fact, None, recorded.new)
    entry = {key: value for key, value in entry.items() if key != "confirm"}
    _refuse_faults(visit, clinic, key, collection, entry)
    if (known := _kept_before(visit, clinic, entry)) is not None:
        return Received(collection, None, known, new=False)
    return Received(collection, None, _keep(visit, clinic, identifier, collection, entry), new=True)


def unmatched(visit: Visit, clinic: str | None) -> tuple[int, list[tuple[UnmatchedResult, str | None]]]:
    """How many results wait to be assigned, and the oldest, each with the patient who has its identifier now."""
    where = open_results(visit, clinic)
    rows = visit.session.find(UnmatchedResult, *where, order=("received_at", "id"), limit=SHOWN)
    visit.note("read", "unmatched-results", found=[row.id for row in rows])
    named = [_patient(visit, row.system, row.value) for row in rows]
    candidates = [None if patient is None else patient.id for patient in named]
    return visit.session.count(UnmatchedResult, *where), list(zip(rows, candidates, strict=True))


def open_results(visit: Visit, clinic: str | None) -> list[Where]:
    """What tells the results of the account's clinics, or of one, that wait to be assigned."""
    return [Where("clinic_id", "in", visit.clinics(clinic)), Where("status", "=", "open")]


def assign(visit: Visit, ident: str, body: Body) -> Recorded:
    """A result recorded for the patient whose it is, as that person's entry; raises Asked as `record` does."""
    row = _open(visit, ident)
    confirmed = {"confirm": body["confirm"]} if "confirm" in body else {}
    entry = {**cast("dict[str, object]", reread(row.body)), **confirmed}
    recorded = record(visit, cast(str, body["patient"]), _BY_NAME[row.collection], entry)
    patient = visit.patient(recorded.fact.patient_id)
    _settle(visit, row, status="assigned", patient_id=patient.id, fact_id=recorded.fact.id)
    visit.note("assign-result", f"result/{row.id}", patient=patient, fact=recorded.fact.id)
    return recorded


def dismiss(visit: Visit, ident: str, reason: str) -> UnmatchedResult:
    """A result that is nobody's of the clinic, for a reason."""
    row = _settle(visit, _open(visit, ident), status="dismissed", reason=reason)
    visit.note("dismiss-result", f"result/{row.id}", why=reason)
    return row


def _patient(visit: Visit, system: str, value: str) -> Patient | None:
    """The patient of the account's clinics who has an identifier."""
    found = visit.session.get(Identifier, system, value)
    patient = None if found is None else visit.session.get(Patient, found.patient_id)
    return patient if patient is not None and patient.clinic_id in visit.who.clinics else None


def _clinic(visit: Visit, named: str | None) -> str:
    mine = visit.who.clinics
    if named is None and len(mine) == 1:
        return next(iter(mine))
    if named is None:
        raise Invalid(Fault("clinic", "required: this account does not belong to just one"))
    if named not in mine:
        raise Invalid(Fault("clinic", "not a clinic of this account"))
    return named


def _refuse_faults(visit: Visit, clinic: str, key: str, collection: Collection, entry: Body) -> None:
    """Raise Invalid for what could not be recorded of any patient, so that whoever sends it learns of it."""
    draft, faults = read_draft(collection, entry)
    today = day_at(visit.clinic(clinic), visit.now)
    if draft.day > today:
        faults.append(Fault("", f"must not be of {draft.day}, after {today}, today at the clinic"))
    if faults:
        raise Invalid(*(Fault(join(key, fault.path) if fault.path else key, fault.message) for fault in faults))


def _kept_before(visit: Visit, clinic: str, entry: Body) -> UnmatchedResult | None:
    """The row of a message that came before; raises Conflict where it said something else."""
    external = cast("Mapping[str, str] | None", entry.get("external_id"))
    if external is None:
        return None
    same = Where("external_system", "=", external["system"]), Where("external_value", "=", external["value"])
    found = visit.session.find(UnmatchedResult, Where("clinic_id", "=", clinic), *same)
    if found and found[0].body != encode(dict(entry)):
        raise Conflict(
            Code.EXTERNAL_ID_TAKEN,
            f"That external id names result {found[0].id}, which says something else.",
            faults=[Fault("external_id", f"names unmatched result {found[0].id}")],
        )
    return found[0] if found else None


def _keep(
    visit: Visit, clinic: str, identifier: Mapping[str, str], collection: Collection, entry: Body
) -> UnmatchedResult:
    external = cast("Mapping[str, str]", entry.get("external_id") or {})
    row = UnmatchedResult(
        id=new_id(),
        version=1,
        clinic_id=clinic,
        system=identifier["system"],
        value=identifier["value"],
        collection=collection.name,
        body=encode(dict(entry)),
        external_system=external.get("system"),
        external_value=external.get("value"),
        received_by=visit.who.account_id,
        received_at=instant(visit.now),
        status="open",
        patient_id=None,
        fact_id=None,
        reason=None,
        settled_by=None,
        settled_at=None,
    )
    visit.session.add(row)
    visit.note("keep-result", f"result/{row.id}", clinic=clinic, identifier=dict(identifier), new=dict(entry))
    return row


def _open(visit: Visit, ident: str) -> UnmatchedResult:
    row = visit.session.get(UnmatchedResult, ident)
    if row is None or row.clinic_id not in visit.who.clinics:
        raise Unknown("unmatched result")
    if row.status != "open":
        raise Conflict(Code.RESULT_SETTLED, f"It has been {row.status} already.")
    return row


def _settle(visit: Visit, row: UnmatchedResult, **changed: object) -> UnmatchedResult:
    about = {"settled_by": visit.who.account_id, "settled_at": instant(visit.now), **changed}
    new = replace(row, version=row.version + 1, **about)  # type: ignore[arg-type]
    visit.session.change(new, Where("version", "=", row.version))
    return new
