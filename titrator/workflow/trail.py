"""The audit trail: shown, exported, sealed once a day, and verified against its key, its heads and its seals.

A seal is a file `seals/<day>.ndjson` beside the database: a line for each chain that has grown since the seal before,
then one with the signature over those lines and the signature of the seal before. Keep copies of them elsewhere: they
are what tells that entries were cut off the end of a chain together with its head.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

from titrator.security.trail import START, SYSTEM, entry_mac, head_mac, seal_mac
from titrator.store.base import Session, Where
from titrator.store.records import AuditHead, AuditRow, Patient, SpoolPlace
from titrator.titration.documents import encode
from titrator.workflow.errors import Unknown
from titrator.workflow.visit import Entry, Services, Visit, enter, said

_BATCH: Final = 5000


def entries(session: Session, *where: Where) -> Iterator[AuditRow]:
    """The entries that meet the conditions, chain by chain, without holding all of them in memory."""
    chain, seq = "", 0
    while True:
        same = session.find(
            AuditRow, Where("chain", "=", chain), Where("seq", ">", seq), *where, order=("seq",), limit=_BATCH
        )
        rest = _BATCH - len(same)
        more = (
            session.find(AuditRow, Where("chain", ">", chain), *where, order=("chain", "seq"), limit=rest)
            if rest
            else []
        )
        page = [*same, *more]
        if not page:
            return
        yield from page
        chain, seq = page[-1].chain, page[-1].seq


def shown(row: AuditRow) -> dict[str, object]:
    """An entry as it is sent and exported."""
    return {
        "chain": row.chain,
        "seq": row.seq,
        "at": row.at,
        "account": row.account_id,
        "role": row.role,
        "action": row.action,
        "subject": row.subject,
        "clinic": row.clinic_id,
        "request": row.request_id,
        "detail": json.loads(row.detail, parse_float=Decimal),
        "mac": row.mac,
    }


def page(visit: Visit, chain: str | None, after: int, limit: int) -> tuple[list[AuditRow], int | None]:
    """A page of a chain, the system's or that of a patient of the auditor's clinics, and where the next begins."""
    if chain is not None and chain != SYSTEM:
        patient = visit.session.get(Patient, chain)
        if patient is None or patient.clinic_id not in visit.who.clinics:
            raise Unknown("patient")
    name = chain or SYSTEM
    rows = visit.session.find(
        AuditRow, Where("chain", "=", name), Where("seq", ">", after), order=("seq",), limit=limit + 1
    )
    visit.note("read-audit", f"audit/{name}", after=after)
    return rows[:limit], rows[limit - 1].seq if len(rows) > limit else None


def verify(session: Session, key: bytes, seals: Path) -> tuple[int, list[str]]:
    """How many entries there are, and what is wrong with them; nothing if the trail is whole."""
    faults: list[str] = []
    seen: dict[str, tuple[int, str]] = {}
    macs = _sealed_places(seals, key, faults)
    count = 0
    for row in entries(session):
        count += 1
        seq, before = seen.get(row.chain, (0, START))
        if row.seq != seq + 1:
            faults.append(f"chain {row.chain}: entries {seq + 1} to {row.seq - 1} are missing")
        elif not hmac.compare_digest(row.mac, entry_mac(key, before, said(row))):
            faults.append(f"chain {row.chain}: entry {row.seq} has been changed or has taken another's place")
        if macs.get((row.chain, row.seq), row.mac) != row.mac:
            faults.append(f"chain {row.chain}: entry {row.seq} is not the one that was sealed")
        macs.pop((row.chain, row.seq), None)
        seen[row.chain] = (row.seq, row.mac)
    faults += [f"chain {chain}: entry {seq}, that was sealed, is not there" for chain, seq in sorted(macs)]
    faults += _head_faults(session, key, seen)
    faults += [
        f"patient {patient.id}: has no audit chain" for patient in session.find(Patient) if patient.id not in seen
    ]
    return count, faults


def set_aside(services: Services, entries: Sequence[Entry]) -> None:
    """Write the entries of a visit that changed nothing: into the spool, or at once where there is none."""
    if services.spool is None:
        with services.store.writing(durable=False) as session:
            enter(services.audit_key, session, entries)
    else:
        services.spool.append("".join([json.dumps(entry) + "\n" for entry in entries]))


def gather(services: Services) -> int:
    """Write what waits in all spool files into the chains, in one transaction; how many entries they were."""
    spool = services.spool
    if spool is None or not (names := spool.names()):
        return 0
    taken: list[tuple[str, int]] = []
    count = 0
    with services.store.writing() as session:
        for name in names:
            place = session.get(SpoolPlace, name)
            offset = 0 if place is None else place.offset_bytes
            lines, after = spool.read(name, offset)
            enter(services.audit_key, session, [Entry(*json.loads(line)) for line in lines])
            if place is None:
                session.add(SpoolPlace(name=name, offset_bytes=after))
            elif after > offset:
                session.change(SpoolPlace(name=name, offset_bytes=after))
            taken.append((name, after))
            count += len(lines)
    ended = tuple(name for name, after in taken if spool.ended(name, after))
    if ended:
        with services.store.writing() as session:
            session.remove(SpoolPlace, Where("name", "in", ended))
    return count


def seal(session: Session, key: bytes, seals: Path, day: str) -> Path | None:
    """Seal the heads that have moved since the last seal, into a file of the day; None if none has, or it is sealed."""
    seals.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = seals / f"{day}.ndjson"
    if file.exists():
        return None
    sealed, before = _last_seal(seals)
    heads = [head for head in session.find(AuditHead, order=("chain",)) if sealed.get(head.chain) != head.seq]
    if not heads:
        return None
    lines = "".join(encode({"chain": head.chain, "seq": head.seq, "mac": head.mac}) + "\n" for head in heads)
    last = encode({"sealed": day, "chains": len(heads), "before": before, "signature": seal_mac(key, before, lines)})
    part = file.with_suffix(".part")
    with part.open("w", encoding="utf-8") as out:
        out.write(lines + last + "\n")
        out.flush()
        os.fsync(out.fileno())
    part.replace(file)
    return file


def _head_faults(session: Session, key: bytes, seen: dict[str, tuple[int, str]]) -> list[str]:
    faults = []
    heads = {head.chain: head for head in session.find(AuditHead)}
    for chain, (seq, mac) in seen.items():
        head = heads.pop(chain, None)
        if head is None:
            faults.append(f"chain {chain}: its head is missing")
        elif not hmac.compare_digest(head.signature, head_mac(key, chain, head.seq, head.mac)):
            faults.append(f"chain {chain}: its head has been changed")
        elif (head.seq, head.mac) != (seq, mac):
            faults.append(f"chain {chain}: ends at entry {seq}, its head says {head.seq}: entries were cut off")
    faults += [f"chain {chain}: all {head.seq} entries were cut off" for chain, head in heads.items()]
    return faults


def _sealed_places(seals: Path, key: bytes, faults: list[str]) -> dict[tuple[str, int], str]:
    """What the seals say: the MAC at each place; a seal that is no longer as it was signed is a fault."""
    places: dict[tuple[str, int], str] = {}
    before = START
    for file in sorted(seals.glob("*.ndjson")):
        *lines, last = file.read_text(encoding="utf-8").splitlines() or [""]
        try:
            final = json.loads(last)
            heads = [json.loads(line) for line in lines]
            signed = seal_mac(key, before, "".join(f"{line}\n" for line in lines))
            if final["before"] != before or not hmac.compare_digest(final["signature"], signed):
                faults.append(f"seal {file.name}: has been changed, or one before it is missing")
            before = final["signature"]
            places.update({(head["chain"], head["seq"]): head["mac"] for head in heads})
        except (ValueError, KeyError, TypeError):
            faults.append(f"seal {file.name}: cannot be read")
    return places


def _last_seal(seals: Path) -> tuple[dict[str, int], str]:
    """The last sealed place of each chain, and the signature of the last seal."""
    sealed: dict[str, int] = {}
    before = START
    for file in sorted(seals.glob("*.ndjson")):
        *lines, last = file.read_text(encoding="utf-8").splitlines()
        sealed.update({head["chain"]: head["seq"] for head in map(json.loads, lines)})
        before = json.loads(last)["signature"]
    return sealed, before
