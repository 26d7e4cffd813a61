"""An evidence file: all that is kept of a patient, signed, so that what was decided can be derived again from it alone.

Lines of JSON. The first says of whom the file is, when and by whom it was made, how many rows of each table follow, and
what was found wrong with the patient's chain of the trail, which only the audit key can tell. Then a line for each row,
its columns as they are stored; of accounts only who they are. The last line has the SHA-256 of all bytes before it, the
installation's public key and the signature. `bulk/verifying.py` reads such a file; docs/evidence.md describes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Final, NamedTuple

from titrator.security.signing import public_key, sign
from titrator.store.base import Session, Where
from titrator.store.records import (
    Account,
    AuditHead,
    AuditRow,
    Clinic,
    CourseVersion,
    Decision,
    DoseMismatch,
    ExternalId,
    Fact,
    Identifier,
    Patient,
    ProtocolEdition,
    Record,
)
from titrator.store.rows import mapping
from titrator.titration.documents import encode
from titrator.titration.recommend import ENGINE_VERSION
from titrator.workflow import trail
from titrator.workflow.visit import Visit, instant
from titrator.workflow.whole import whole

FORMAT: Final = 1
MEDIA_TYPE: Final = "application/x-ndjson"
#: The tables of a file, in order, each with the class of its records; of accounts there are only `WHO`.
TABLES: Final[dict[str, type[Record]]] = {
    record.TABLE: record
    for record in (
        *(Clinic, Patient, Identifier, ExternalId, CourseVersion, Fact),
        *(ProtocolEdition, Decision, DoseMismatch, Account, AuditRow, AuditHead),
    )
}
WHO: Final = ("id", "username", "display_name", "role")


class Evidence(NamedTuple):
    """An evidence file: its text, its SHA-256, and the name by which it is handed out."""

    text: str
    sha256: str
    name: str


def take_evidence(visit: Visit, patient_id: str) -> Evidence:
    """The evidence file of a patient of the actor's clinics as of now; that it was taken is in the trail afterwards.

    Raises Unknown for any other: access in an emergency is to see a patient, not to take all of the record away.
    """
    return evidence_of(visit, visit.own_patient(patient_id))


def evidence_of(visit: Visit, patient: Patient) -> Evidence:
    """The evidence file of a patient whom whoever asks may see."""
    text = "".join(_lines(visit, patient))
    digest = sha256(text.encode()).hexdigest()
    visit.note("take-evidence", f"patient/{patient.id}/evidence", patient=patient, sha256=digest)
    return Evidence(text, digest, f"evidence-{patient.id}.ndjson")


def last_line(digest: str, public: str, signature: str) -> str:
    """The last line of a file, to the letter."""
    said = {"sha256": digest, "algorithm": "Ed25519", "public_key": public, "signature": signature}
    return encode(dict(said)) + "\n"


def _lines(visit: Visit, patient: Patient) -> Iterator[str]:
    key, digest = visit.services.audit_key, sha256()
    for line in _unsigned(visit, patient):
        digest.update(line.encode())
        yield line
    yield last_line(digest.hexdigest(), public_key(key), sign(key, digest.hexdigest()))


def _unsigned(visit: Visit, patient: Patient) -> Iterator[str]:
    session, key = visit.session, visit.services.audit_key
    rows = list(_rows(session, patient))
    chain = [row for row in rows if isinstance(row, AuditRow)]
    head = next((row for row in rows if isinstance(row, AuditHead)), None)
    counts = Counter(row.TABLE for row in rows)
    about = {
        "evidence": FORMAT,
        "patient": patient.id,
        "made_at": instant(visit.now),
        "made_by": visit.who.account_id,
        "engine_version": ENGINE_VERSION,
        "program": visit.services.program,
        "rows": {table: counts[table] for table in TABLES},
        "trail_faults": trail.chain_faults(chain, head, key, patient.id),
    }
    yield encode(dict(about)) + "\n"
    for row in rows:
        columns = mapping(type(row)).columns
        stored = dict(zip(columns, mapping(type(row)).to_row(row), strict=True))
        kept = {name: stored[name] for name in WHO} if isinstance(row, Account) else stored
        yield encode({"table": row.TABLE, "row": dict(kept)}) + "\n"


def _rows(session: Session, patient: Patient) -> Iterator[Record]:
    one = whole(session, patient)
    entries = session.find(AuditRow, Where("chain", "=", patient.id), order=("seq",))
    head = session.get(AuditHead, patient.id)
    yield from (one.clinic, one.patient, *one.identifiers, *one.external_ids, *one.courses, *one.facts)
    yield from _editions(session, one.decisions)
    yield from (*one.decisions, *one.mismatches)
    yield from _accounts(session, _named(one.courses, one.facts, one.decisions, one.mismatches, entries))
    yield from (*entries, *(() if head is None else (head,)))


def _editions(session: Session, decisions: Iterable[Decision]) -> Iterator[ProtocolEdition]:
    for digest in sorted({made.protocol_sha256 for made in decisions}):
        if (edition := session.get(ProtocolEdition, digest)) is not None:
            yield edition


def _named(*several: Iterable[Record]) -> set[str]:
    """The ids of all accounts that records name."""
    of = (*("recorded_by", "confirmed_by", "changed_by", "signed_by", "second_by", "reopened_by", "reason_by"),)
    found = {getattr(row, name, None) for rows in several for row in rows for name in (*of, "account_id")}
    return {ident for ident in found if ident is not None}


def _accounts(session: Session, idents: set[str]) -> list[Account]:
    return session.find(Account, Where("id", "in", tuple(sorted(idents))), order=("id",)) if idents else []
