"""The audit trail: shown, exported, sealed once a day, and verified against its key, its heads and its seals.

A seal is a file `seals/<day>.ndjson` beside the database: a line for each chain that has grown since the seal before,
then one with the day, and the signature over it, those lines and the signature of the seal before. Keep copies of them
elsewhere: they are what tells that entries were cut off the end of a chain together with its head.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

from titrator.security.trail import START, SYSTEM, entry_mac, head_mac, same_mac, seal_mac
from titrator.store.base import Duplicate, Session, Stale, StoreError, Where, again_if
from titrator.store.records import Account, AuditHead, AuditRow, Identifier, Patient, SpoolPlace
from titrator.store.spool import Spool
from titrator.titration.documents import encode
from titrator.workflow.errors import Unknown
from titrator.workflow.visit import Entry, Services, Visit, enter, instant, said

_BATCH: Final = 5000
#: The fields of an entry that are never null.
_TEXTS: Final = tuple(Entry._fields.index(name) for name in ("chain", "at", "action", "subject", "detail"))


def entries(session: Session, *where: Where) -> Iterator[AuditRow]:
    """The entries that meet the conditions, chain by chain, without holding all of them in memory."""
    page = session.find(AuditRow, *where, order=("chain", "seq"), limit=_BATCH)
    while page:
        yield from page
        last = page[-1]
        page = session.find(
            AuditRow, Where("chain", "=", last.chain), Where("seq", ">", last.seq), *where, order=("seq",), limit=_BATCH
        )
        if rest := _BATCH - len(page):
            page += session.find(AuditRow, Where("chain", ">", last.chain), *where, order=("chain", "seq"), limit=rest)


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
        "detail": _detail(row.detail),
        "mac": row.mac,
    }


def _detail(text: str) -> object:
    """The detail of an entry with exact numbers; one that was tampered with until it is no JSON, as it is."""
    try:
        return json.loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError):
        return text


class Stretch(NamedTuple):
    """Some entries of a chain in order, the place after which they begin, the last place of the chain by its head.

    `faults` is what is wrong with them: nothing if they are whole, follow what is before them, and, where they are the
    end of the chain, agree with its head.
    """

    chain: str
    rows: list[AuditRow]
    after: int
    last: int
    faults: list[str]


def stretch(visit: Visit, chain: str | None, after: int | None, limit: int) -> Stretch:
    """Some entries of a chain, its last ones unless a place is named; raises Unknown as `page` does.

    A patient's chain is named by the patient's id or, where that is only one patient's, by a number.
    """
    name = _readable(visit, chain if chain is None else _patient_of(visit, chain))
    head = visit.session.get(AuditHead, name)
    last = 0 if head is None else head.seq
    start = max(0, last - limit) if after is None else after
    rows = _rows(visit, name, start, limit)
    visit.note("read-audit", f"audit/{name}", after=start)
    return Stretch(name, rows, start, last, _stretch_faults(visit, head, rows, start))


def _stretch_faults(visit: Visit, head: AuditHead | None, rows: list[AuditRow], start: int) -> list[str]:
    if not rows:
        return []
    key, chain = visit.services.audit_key, rows[0].chain
    before = visit.session.get(AuditRow, chain, start) if start else None
    place = (start, START) if before is None else (before.seq, before.mac)
    faults = [f"chain {chain}: entry {start} is missing"] if start and before is None else []
    for row in rows:
        faults += _entry_faults(row, key, place)
        place = (row.seq, row.mac)
    at_the_end = head is None or place[0] >= head.seq or not _rows(visit, chain, place[0], 1)
    return faults + _head_fault(head, key, chain, place if at_the_end else None)


def _patient_of(visit: Visit, named: str) -> str:
    """The id of a patient who is named by it or by a number; what is no patient's is given back."""
    if visit.session.get(Patient, named) is not None:
        return named
    found = visit.session.find(Identifier, Where("value", "=", named), limit=2)
    return found[0].patient_id if len(found) == 1 else named


def _readable(visit: Visit, chain: str | None) -> str:
    """The name of a chain that the actor may read: the system's, or that of a patient of the actor's clinics."""
    if chain is not None and chain != SYSTEM:
        patient = visit.session.get(Patient, chain)
        if patient is None or patient.clinic_id not in visit.who.clinics:
            raise Unknown("patient")
    return chain or SYSTEM


def _rows(visit: Visit, chain: str, after: int, limit: int) -> list[AuditRow]:
    return visit.session.find(
        AuditRow, Where("chain", "=", chain), Where("seq", ">", after), order=("seq",), limit=limit
    )


def page(visit: Visit, chain: str | None, after: int, limit: int) -> tuple[list[AuditRow], int | None]:
    """A page of a chain, the system's or that of a patient of the auditor's clinics, and where the next begins."""
    name = _readable(visit, chain)
    rows = _rows(visit, name, after, limit + 1)
    visit.note("read-audit", f"audit/{name}", after=after)
    return rows[:limit], rows[limit - 1].seq if len(rows) > limit else None


def verify(session: Session, key: bytes, seals: Path) -> tuple[int, list[str]]:
    """How many entries there are, and what is wrong with them; nothing if the trail is whole."""
    sealed, faults = _read_seals(seals, key)
    places = {place: mac for one in sealed for place, mac in one.places.items()}
    seen: dict[str, tuple[int, str]] = {}
    count = 0
    try:
        for row in entries(session):
            count += 1
            faults += _entry_faults(row, key, seen.get(row.chain, (0, START)))
            if (there := places.pop((row.chain, row.seq), None)) is not None and there != row.mac:
                faults.append(f"chain {row.chain}: entry {row.seq} is not the one that was sealed")
            seen[row.chain] = (row.seq, row.mac)
        faults += [f"chain {chain}: entry {seq}, that was sealed, is not there" for chain, seq in sorted(places)]
        faults += _head_faults(session, key, seen)
        faults += _chain_faults(session, seen)
    except StoreError as error:
        faults.append(f"the trail cannot be read to its end: {error}")
    return count, faults


def chain_faults(rows: Iterable[AuditRow], head: AuditHead | None, key: bytes, chain: str) -> list[str]:
    """What is wrong with all entries of one chain, in order, and its head; nothing if they are whole."""
    place, faults = (0, START), list[str]()
    for row in rows:
        faults += _entry_faults(row, key, place)
        place = (row.seq, row.mac)
    return faults + _head_fault(head, key, chain, place)


def gaps(rows: Iterable[AuditRow], head: AuditHead | None, chain: str) -> list[str]:
    """What can be told without the key: entries that are missing or of another chain, an end that is not the head's."""
    place, faults = (0, START), list[str]()
    for row in rows:
        if (row.chain, row.seq) != (chain, place[0] + 1):
            faults.append(f"chain {chain}: entry {place[0] + 1} is missing or has been changed")
        place = (row.seq, row.mac)
    if head is None or (head.chain, head.seq, head.mac) != (chain, *place):
        faults.append(f"chain {chain}: does not end as its head says: entries were cut off")
    return faults


def set_aside(services: Services, entries: Sequence[Entry]) -> None:
    """Write the entries of a visit that changed nothing: into the spool, or at once where there is none."""
    if services.spool is None:
        with services.store.writing(durable=False) as session:
            enter(services.audit_key, session, entries)
    else:
        services.spool.append("".join([json.dumps(entry) + "\n" for entry in entries]))


def gather(services: Services) -> int:
    """Write what waits in all spool files into the chains, some at a time; how many entries they were.

    With a key that is not the trail's nothing is written and everything goes on waiting: `verify` tells of the key.
    """
    spool = services.spool
    if spool is None:
        return 0
    count = 0
    for name in spool.names():
        while taken := _take(services, spool, name):
            count += taken
        with services.store.reading() as session:
            place = session.get(SpoolPlace, name)
        if spool.ended(name, 0 if place is None else place.offset_bytes) and place is not None:
            with services.store.writing() as session:
                session.remove(SpoolPlace, Where("name", "=", name))
    return count


def _take(services: Services, spool: Spool, name: str) -> int:
    """Write some lines of a spool file into the chains, and how far that is, in one transaction; how many they were."""
    with services.store.reading() as session:
        place = session.get(SpoolPlace, name)
        if not fits(session, services.audit_key) or spool.size(name) <= (0 if place is None else place.offset_bytes):
            return 0
    return again_if((Stale, Duplicate), lambda: _written(services, spool, name))


def _written(services: Services, spool: Spool, name: str) -> int:
    with services.store.writing() as session:
        place = session.get(SpoolPlace, name)
        lines, after = spool.read(name, 0 if place is None else place.offset_bytes)
        if lines:
            at = instant(services.clock())
            enter(services.audit_key, session, [_entry(line, name, at) for line in lines])
            if place is None:
                session.add(SpoolPlace(name=name, offset_bytes=after))
            else:
                session.change(SpoolPlace(name=name, offset_bytes=after))
    return len(lines)


def _entry(line: str, name: str, at: str) -> Entry:
    """The entry of a line; of one that cannot be read, one that says so: what it was is lost, not that it was."""
    try:
        values = json.loads(line)
        if len(values) == len(Entry._fields) and all(isinstance(values[i], str) for i in _TEXTS):
            return Entry(*values)
    except (ValueError, TypeError):
        pass
    return Entry(SYSTEM, at, None, None, "entry-unreadable", f"spool/{name}", None, None, encode({"line": line[:2000]}))


def seal(session: Session, key: bytes, seals: Path, day: str) -> Path | None:
    """Seal the heads that have moved since the last seal, into a file of the day; None if none has, or it is sealed.

    A seal that cannot be read stops no later one: `verify` tells of it.
    """
    seals.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _one_at_a_time(seals):
        return _seal(session, key, seals, day)


def fits(session: Session, key: bytes) -> bool:
    """Whether the key is that of this trail: some of the first heads are signed with it, or there are none yet."""
    heads = session.find(AuditHead, order=("chain",), limit=3)
    return not heads or any(same_mac(head.signature, head_mac(key, head.chain, head.seq, head.mac)) for head in heads)


def head_faults(session: Session, key: bytes) -> list[str]:
    """The heads of chains that bear no signature of the key; nothing is read of the entries before them."""
    heads = session.find(AuditHead, order=("chain",))
    return [fault for head in heads for fault in _head_fault(head, key, head.chain, None)]


def seal_faults(seals: Path, key: bytes) -> list[str]:
    """The seals that are not as they were made, in words."""
    return _read_seals(seals, key)[1]


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        os.fsync(lock)
    finally:
        os.close(lock)


def _seal(session: Session, key: bytes, seals: Path, day: str) -> Path | None:
    file = seals / f"{day}.ndjson"
    if file.exists():
        return None
    readable, _ = _read_seals(seals, key)
    sealed = {chain: mac for one in readable for (chain, _), mac in one.places.items()}
    before = readable[-1].signature if readable else START
    heads = [head for head in session.find(AuditHead, order=("chain",)) if sealed.get(head.chain) != head.mac]
    if not heads:
        return None
    lines = "".join(encode({"chain": head.chain, "seq": head.seq, "mac": head.mac}) + "\n" for head in heads)
    return file if _write_new(file, lines + _last_line(key, before, day, lines) + "\n") else None


class _Seal(NamedTuple):
    """What a seal says: the MAC at each place, by chain and number; the lines that hold it; their signature."""

    places: dict[tuple[str, int], str]
    lines: str
    signature: str


def _entry_faults(row: AuditRow, key: bytes, before: tuple[int, str]) -> list[str]:
    seq, mac = before
    if row.seq > seq + 1:
        return [f"chain {row.chain}: entries {seq + 1} to {row.seq - 1} are missing"]
    if row.seq != seq + 1 or not same_mac(row.mac, entry_mac(key, mac, said(row))):
        return [f"chain {row.chain}: entry {row.seq} has been changed or has taken another's place"]
    return []


def _head_faults(session: Session, key: bytes, seen: dict[str, tuple[int, str]]) -> list[str]:
    faults = []
    heads = {head.chain: head for head in session.find(AuditHead)}
    for chain, end in seen.items():
        faults += _head_fault(heads.pop(chain, None), key, chain, end)
    faults += [f"chain {chain}: all {head.seq} entries were cut off" for chain, head in heads.items()]
    return faults


def _head_fault(head: AuditHead | None, key: bytes, chain: str, end: tuple[int, str] | None) -> list[str]:
    """What is wrong with the head of a chain that ends at an entry, by number and MAC; None: the end is not known."""
    if head is None:
        return [f"chain {chain}: its head is missing"]
    if not same_mac(head.signature, head_mac(key, chain, head.seq, head.mac)):
        return [f"chain {chain}: its head has been changed"]
    if end is not None and (head.seq, head.mac) != end:
        return [f"chain {chain}: ends at entry {end[0]}, its head says {head.seq}: entries were cut off"]
    return []


def _chain_faults(session: Session, seen: dict[str, tuple[int, str]]) -> list[str]:
    """What must have left entries and has not: each patient when made, and each account in the system's chain."""
    faults = [
        f"patient {patient.id}: has no audit chain" for patient in session.find(Patient) if patient.id not in seen
    ]
    if SYSTEM not in seen and session.count(Account):
        faults.append(f"chain {SYSTEM}: is not there, though there are accounts")
    return faults


def _last_line(key: bytes, before: str, day: str, lines: str) -> str:
    signature = seal_mac(key, before, day, lines)
    return encode({"sealed": day, "chains": lines.count("\n"), "before": before, "signature": signature})


def _read_seals(seals: Path, key: bytes) -> tuple[list[_Seal], list[str]]:
    """The seals that can be read, in order of day, and what is wrong with them: a seal is right to the byte."""
    found: list[_Seal] = []
    faults: list[str] = []
    before = START
    for file in sorted(seals.glob("*.ndjson")):
        try:
            text = file.read_bytes().decode()
            one = _read_seal(text)
        except (ValueError, KeyError, TypeError, RecursionError, OSError):
            faults.append(f"seal {file.name}: cannot be read")
            continue
        if text != one.lines + _last_line(key, before, file.stem, one.lines) + "\n":
            faults.append(f"seal {file.name}: has been changed, or one before it is missing")
        found.append(one)
        before = one.signature
    return found, faults


def _read_seal(text: str) -> _Seal:
    *lines, last = text.removesuffix("\n").split("\n")
    places: dict[tuple[str, int], str] = {}
    for line in lines:
        match json.loads(line):
            case {"chain": str(chain), "seq": int(seq), "mac": str(mac)}:
                places[chain, seq] = mac
            case _:
                raise ValueError(line)
    return _Seal(places, "".join(f"{line}\n" for line in lines), str(json.loads(last)["signature"]))


def _write_new(file: Path, text: str) -> bool:
    """Write a file durably and whole, for its owner only, unless it is there by now; whether it was written."""
    part = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
    try:
        made = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(made, "w", encoding="utf-8", newline="\n") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        with suppress(FileExistsError):
            os.link(part, file)
            _sync(file.parent)
            return True
        return False
    finally:
        part.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
