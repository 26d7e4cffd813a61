"""The audit trail is whole, or verify says where it is not: whatever is changed, taken out, moved or cut off."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.backends import CHOSEN, new_store, of_a_file, tamper
from tests.support import CATALOGUE
from titrator.security.permissions import PERMISSIONS, Role
from titrator.security.trail import START, SYSTEM, entry_mac, head_mac, same_mac, seal_mac
from titrator.store.base import Session, Store, Where
from titrator.store.records import Account, AuditHead, AuditRow, Fact, Patient
from titrator.store.sqlite import SqliteStore
from titrator.titration.documents import encode
from titrator.workflow import accounts, record, trail
from titrator.workflow.errors import Unknown
from titrator.workflow.facts import WEIGHTS
from titrator.workflow.visit import Actor, Services, Visit, leave, said

KEY = bytes(range(32))
NOW = datetime(2026, 3, 9, 12, tzinfo=UTC)


class Hospital(NamedTuple):
    """A store with a trail of several chains, and the folder of its seals."""

    store: Store
    seals: Path
    services: Services
    auditor: Actor

    def verify(self, key: bytes = KEY) -> list[str]:
        with self.store.reading() as session:
            return trail.verify(session, key, self.seals)[1]

    def seal(self, day: str) -> Path | None:
        with self.store.reading() as session:
            return trail.seal(session, KEY, self.seals, day)

    def note(self, chain: str, times: int = 1) -> None:
        with self.store.writing() as session:
            visit = Visit(services=self.services, session=session, actor=self.auditor, now=NOW)
            patient = None if chain == SYSTEM else session.get(Patient, chain)
            for number in range(times):
                visit.note("read", chain, patient=patient, number=number)
            leave(visit, session, visit.entries)

    def patients(self) -> list[str]:
        with self.store.reading() as session:
            return [patient.id for patient in session.find(Patient, order=("id",))]

    def tamper(self, *statements: str) -> None:
        """As someone does who can write to the database, but has not the key."""
        tamper(self.store, *statements)


def build(folder: Path) -> Hospital:
    store = new_store(folder)
    services = Services(store=store, catalogue=CATALOGUE, audit_key=KEY, clock=lambda: NOW)
    with store.writing() as session:
        boot = Actor("boot", "boot", Role.ADMIN, frozenset(), PERMISSIONS[Role.ADMIN])
        visit = Visit(services=services, session=session, actor=boot, now=NOW, request_id="r1")
        clinic = record.add_clinic(visit, {"name": "Häma €", "time_zone": "UTC"}).id
        account: dict[str, object] = {"display_name": "A", "role": "auditor", "clinics": [clinic], "username": "a"}
        accounts.add_account(visit, account)
        leave(visit, session, visit.entries)
    who = Actor("ph", "ph", Role.PHARMACIST, frozenset({clinic}), PERMISSIONS[Role.PHARMACIST])
    for number in range(3):
        with store.writing() as session:
            visit = Visit(services=services, session=session, actor=who, now=NOW, request_id=f"p{number}")
            body: dict[str, object] = {"clinic": clinic, "family_name": f"Müller {number}", "given_name": "Eva"}
            patient = record.add_patient(visit, body).id
            weight = {"measured_on": "2026-03-09", "value": Decimal("58.10"), "unit": "kg"}
            record.record(visit, patient, WEIGHTS, weight)
            record.list_facts(visit, patient, WEIGHTS)
            leave(visit, session, visit.entries)
    auditor = Actor("a", "a", Role.AUDITOR, frozenset({clinic}), PERMISSIONS[Role.AUDITOR])
    return Hospital(store, folder / "seals", services, auditor)


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    built = build(tmp_path)
    yield built
    built.store.close()


def test_a_clean_trail_of_many_chains_verifies(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    hospital.note(SYSTEM, 30)
    for day in ("2026-03-09", "2026-03-10"):
        hospital.seal(day)
        for patient in hospital.patients():
            hospital.note(patient, 4)
    for batch in (1, 2, 3, 7, 5000):
        monkeypatch.setattr(trail, "_BATCH", batch)
        with hospital.store.reading() as session:
            count, faults = trail.verify(session, KEY, hospital.seals)
            assert (count, faults) == (session.count(AuditRow), [])
    assert count == 3 + 30 + 3 * (3 + 8)


def test_an_empty_trail_verifies(tmp_path: Path) -> None:
    with new_store(tmp_path).reading() as session:
        assert trail.verify(session, KEY, tmp_path / "seals") == (0, [])


# What is changed in the entries

CHANGES: dict[str, str] = {
    "chain": "'nobody'",
    "seq": "77",
    "at": "'2026-03-09T12:00:00.000001Z'",
    "account_id": "'somebody'",
    "role": "null",
    "action": "action || ' '",
    "subject": "'patient'",
    "clinic_id": "null",
    "request_id": "null",
    "detail": "replace(detail, '58.1', '85.1')",
    "mac": "replace(mac, substr(mac, 1, 1), 'é')",
}


@pytest.mark.parametrize("column", [field.name for field in fields(AuditRow)])
def test_a_changed_column_is_found(hospital: Hospital, column: str) -> None:
    patient = hospital.patients()[1]
    hospital.tamper(f"update audit set {column} = {CHANGES[column]} where chain = '{patient}' and seq = 2")
    faults = hospital.verify()
    assert any(patient in fault for fault in faults), faults


#: An entry of a chain, put in again at another place.
COPY = """
    insert into audit select {chain}, {seq}, at, account_id, role, action, subject, clinic_id, request_id, detail, mac
    from audit where chain = {of} and seq = {number}"""
MOST = "(select max(chain) from audit_heads where chain != 'system')"
TAMPERED: list[tuple[str, list[str], str]] = [
    ("a row taken out", ["delete from audit where chain = ? and seq = 2"], "chain ?: entries 2 to 2 are missing"),
    ("the first row taken out", ["delete from audit where chain = ? and seq = 1"], "chain ?: entries 1 to 1 are"),
    (
        "two rows that changed places",
        [
            "update audit set seq = 9 where chain = ? and seq = 2",
            "update audit set seq = 2 where chain = ? and seq = 3",
            "update audit set seq = 3 where chain = ? and seq = 9",
        ],
        "chain ?: entry 2 has been changed or has taken another's place",
    ),
    (
        "a row taken out and those after it moved up",
        ["delete from audit where chain = ? and seq = 2", "update audit set seq = 2 where chain = ? and seq = 3"],
        "chain ?: entry 2 has been changed or has taken another's place",
    ),
    (
        "a row added before the first",
        [COPY.format(chain="?", seq=0, of="?", number=1)],
        "chain ?: entry 0 has been changed or has taken another's place",
    ),
    (
        "a row added at the end",
        [COPY.format(chain="?", seq=4, of="?", number=3)],
        "chain ?: entry 4 has been changed or has taken another's place",
    ),
    (
        "a row added in a chain of no name",
        [COPY.format(chain="''", seq=0, of="?", number=1)],
        "chain : entry 0 has been changed",
    ),
    (
        "the last row cut off",
        ["delete from audit where chain = ? and seq = 3"],
        "chain ?: ends at entry 2, its head says 3",
    ),
    ("all rows, the head left", ["delete from audit where chain = ?"], "chain ?: all 3 entries were cut off"),
    (
        "a chain with its head",
        ["delete from audit where chain = ?", "delete from audit_heads where chain = ?"],
        "patient ?: has no audit chain",
    ),
    ("a head", ["delete from audit_heads where chain = ?"], "chain ?: its head is missing"),
    (
        "a head set back with its row",
        [
            "delete from audit where chain = ? and seq = 3",
            "update audit_heads set seq = 2, mac = (select mac from audit where chain = ? and seq = 2) where chain = ?",
        ],
        "chain ?: its head has been changed",
    ),
    ("a head set forward", ["update audit_heads set seq = 4 where chain = ?"], "chain ?: its head has been changed"),
    (
        "a head's signature",
        ["update audit_heads set signature = 'ü' where chain = ?"],
        "chain ?: its head has been changed",
    ),
    ("a head's mac", ["update audit_heads set mac = '' where chain = ?"], "chain ?: its head has been changed"),
    (
        "another chain's rows",
        [
            "delete from audit where chain = ?",
            *(COPY.format(chain=MOST, seq=number, of="'system'", number=number) for number in (1, 2, 3)),
        ],
        "entry 1 has been changed or has taken another's place",
    ),
    (
        "the system's chain",
        ["delete from audit where chain = 'system'", "delete from audit_heads where chain = 'system'"],
        "chain system: is not there",
    ),
]
if CHOSEN == "sqlite":
    TAMPERED.append(
        (
            "a text that is none",
            ["update audit set detail = cast(x'ff' as text) where chain = ? and seq = 2"],
            "the trail cannot be read to its end",
        )
    )


@pytest.mark.parametrize(("statements", "says"), [row[1:] for row in TAMPERED], ids=[row[0] for row in TAMPERED])
def test_is_found(hospital: Hospital, statements: list[str], says: str) -> None:
    patient = hospital.patients()[-1]
    hospital.tamper(*(statement.replace("?", f"'{patient}'") for statement in statements))
    faults = hospital.verify()
    assert any(says.replace("?", patient) in fault for fault in faults), faults


def test_a_wrong_key_fits_nothing(hospital: Hospital) -> None:
    hospital.seal("2026-03-09")
    faults = hospital.verify(bytes(32))
    with hospital.store.reading() as session:
        expected = session.count(AuditRow) + session.count(AuditHead) + 1
    assert len(faults) == expected


def test_entries_that_were_made_with_another_key_are_found(hospital: Hospital) -> None:
    """Who can write to the database but has not the key cannot write a chain of his own."""
    patient = hospital.patients()[0]
    forged = hospital._replace(services=replace(hospital.services, audit_key=bytes(32)))
    forged.note(patient)
    assert hospital.verify() == [
        f"chain {patient}: entry 4 has been changed or has taken another's place",
        f"chain {patient}: its head has been changed",
    ]


# What only the seals tell


def set_back(hospital: Hospital, chain: str) -> None:
    """Take the last entry and put the head of before in its place, which was right at its time."""
    with hospital.store.reading() as session:
        row = session.get(AuditRow, chain, 2)
        assert row
    head = head_mac(KEY, chain, 2, row.mac)
    hospital.tamper(
        f"delete from audit where chain = '{chain}' and seq > 2",
        f"update audit_heads set seq = 2, mac = '{row.mac}', signature = '{head}' where chain = '{chain}'",
    )


def test_a_head_of_before_put_back_with_its_entries_is_found_by_the_seal(hospital: Hospital) -> None:
    patient = hospital.patients()[0]
    hospital.seal("2026-03-09")
    set_back(hospital, patient)
    assert hospital.verify() == [f"chain {patient}: entry 3, that was sealed, is not there"]


def test_a_head_of_before_put_back_since_the_last_seal_is_not_found(hospital: Hospital) -> None:
    """What docs/audit.md says that nobody can tell: entries younger than the last seal, by one who kept an old head."""
    patient = hospital.patients()[0]
    set_back(hospital, patient)
    hospital.seal("2026-03-09")
    assert hospital.verify() == []


def test_a_chain_written_anew_with_the_key_is_found_by_the_seal(hospital: Hospital) -> None:
    """Not even who has the key can change what is sealed, as long as the seals are kept elsewhere."""
    patient = hospital.patients()[0]
    hospital.seal("2026-03-09")
    with hospital.store.writing() as session:
        rows = session.find(AuditRow, Where("chain", "=", patient), order=("seq",))
        before = START
        for row in rows:
            changed = replace(row, account_id="somebody else")
            changed = replace(changed, mac=entry_mac(KEY, before, said(changed)))
            session.change(changed)
            before = changed.mac
        session.change(AuditHead(chain=patient, seq=3, mac=before, signature=head_mac(KEY, patient, 3, before)))
    assert hospital.verify() == [f"chain {patient}: entry 3 is not the one that was sealed"]


def test_a_patient_who_is_gone_with_all_entries_is_found_by_the_seal(hospital: Hospital) -> None:
    patient = hospital.patients()[0]
    hospital.seal("2026-03-09")
    tables = (("facts", "patient_id"), ("patients", "id"), ("audit", "chain"), ("audit_heads", "chain"))
    hospital.tamper(*(f"delete from {table} where {column} = '{patient}'" for table, column in tables))
    assert hospital.store.check() == []
    assert hospital.verify() == [f"chain {patient}: entry 3, that was sealed, is not there"]


# Seals


def test_a_seal_is_for_its_owner_only_whatever_else_is_made_by_this_user(hospital: Hospital) -> None:
    before = os.umask(0)
    try:
        sealed = hospital.seal("2026-03-09")
    finally:
        os.umask(before)
    assert sealed
    assert [stat.S_IMODE(file.stat().st_mode) for file in (sealed, sealed.parent)] == [0o600, 0o700]


def test_a_seal_is_made_once_a_day_and_of_what_has_grown(hospital: Hospital) -> None:
    first = hospital.seal("2026-03-09")
    assert first == hospital.seals / "2026-03-09.ndjson"
    lines = [json.loads(line) for line in first.read_text().splitlines()]
    assert [line["chain"] for line in lines[:-1]] == sorted([*hospital.patients(), SYSTEM])
    assert (lines[-1]["sealed"], lines[-1]["chains"], lines[-1]["before"]) == ("2026-03-09", 4, START)
    hospital.note(SYSTEM)
    assert hospital.seal("2026-03-09") is None
    second = hospital.seal("2026-03-10")
    assert second
    lines2 = [json.loads(line) for line in second.read_text().splitlines()]
    assert [(line["chain"], line["seq"]) for line in lines2[:-1]] == [(SYSTEM, 4)]
    assert lines2[-1]["before"] == lines[-1]["signature"]
    assert hospital.seal("2026-03-11") is None  # nothing has grown
    assert sorted(path.name for path in hospital.seals.iterdir()) == ["2026-03-09.ndjson", "2026-03-10.ndjson"]
    assert hospital.verify() == []


@pytest.fixture
def sealed(hospital: Hospital) -> Hospital:
    """A trail with seals of three days."""
    for day in ("2026-03-09", "2026-03-10", "2026-03-11"):
        hospital.seal(day)
        hospital.note(hospital.patients()[0])
        hospital.note(SYSTEM)
    assert hospital.verify() == []
    return hospital


def rewrite(file: Path, change: Callable[[list[str]], object]) -> None:
    lines = file.read_text().splitlines()
    change(lines)
    file.write_text("".join(f"{line}\n" for line in lines))


SPOILED: list[tuple[str, Callable[[Path], object], str]] = [
    ("the first is gone", lambda seals: (seals / "2026-03-09.ndjson").unlink(), "seal 2026-03-10.ndjson: has been"),
    ("one between is gone", lambda seals: (seals / "2026-03-10.ndjson").unlink(), "seal 2026-03-11.ndjson: has been"),
    (
        "two have changed names",
        lambda seals: (
            (seals / "2026-03-09.ndjson").rename(seals / "x"),
            (seals / "2026-03-10.ndjson").rename(seals / "2026-03-09.ndjson"),
            (seals / "x").rename(seals / "2026-03-10.ndjson"),
        ),
        "seal 2026-03-09.ndjson: has been changed",
    ),
    (
        "the last is of another day",
        lambda seals: (seals / "2026-03-11.ndjson").rename(seals / "2026-03-12.ndjson"),
        "seal 2026-03-12.ndjson: has been changed",
    ),
    (
        "one twice",
        lambda seals: shutil.copy(seals / "2026-03-11.ndjson", seals / "2026-03-12.ndjson"),
        "seal 2026-03-12.ndjson: has been changed",
    ),
    (
        "a chain left out",
        lambda seals: rewrite(seals / "2026-03-11.ndjson", lambda lines: lines.pop(0)),
        "seal 2026-03-11.ndjson: has been changed",
    ),
    (
        "lines in another order",
        lambda seals: rewrite(seals / "2026-03-09.ndjson", lambda lines: lines.insert(0, lines.pop(1))),
        "seal 2026-03-09.ndjson: has been changed",
    ),
    ("empty", lambda seals: (seals / "2026-03-11.ndjson").write_text(""), "seal 2026-03-11.ndjson: cannot be read"),
    (
        "no UTF-8",
        lambda seals: (seals / "2026-03-11.ndjson").write_bytes(b"\xff\n"),
        "seal 2026-03-11.ndjson: cannot be read",
    ),
    (
        "of other types",
        lambda seals: (seals / "2026-03-11.ndjson").write_text('{"chain": "a", "seq": "1", "mac": 1}\n[]\n'),
        "seal 2026-03-11.ndjson: cannot be read",
    ),
    (
        "with other line ends",
        lambda seals: (seals / "2026-03-11.ndjson").write_bytes(
            (seals / "2026-03-11.ndjson").read_bytes().replace(b"\n", b"\r\n")
        ),
        "seal 2026-03-11.ndjson: has been changed",
    ),
    ("a file that is none", lambda seals: (seals / "a.ndjson").write_text("{}\n"), "seal a.ndjson: cannot be read"),
]


@pytest.mark.parametrize(("spoil", "says"), [row[1:] for row in SPOILED], ids=[row[0] for row in SPOILED])
def test_seals_that_were_tampered_with_are_found(sealed: Hospital, spoil: Callable[[Path], object], says: str) -> None:
    spoil(sealed.seals)
    faults = sealed.verify()
    assert any(says in fault for fault in faults), faults


def test_a_seal_that_cannot_be_read_stops_no_later_one(sealed: Hospital) -> None:
    (sealed.seals / "2026-03-11.ndjson").write_bytes(b"\xff")
    assert sealed.seal("2026-03-12")
    assert sealed.verify() == ["seal 2026-03-11.ndjson: cannot be read"]


def test_a_seal_is_right_to_the_byte(sealed: Hospital) -> None:
    file = sealed.seals / "2026-03-10.ndjson"
    data = file.read_bytes()
    for place in range(len(data)):
        flip = (0x01, 0x20, 0x80)[place % 3]
        file.write_bytes(data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :])
        assert sealed.verify(), (place, flip)
    file.write_bytes(data)
    assert sealed.verify() == []


# Any byte of any row


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """A sealed trail that each example changes and puts back."""
    built = build(tmp_path_factory.mktemp("standing"))
    built.seal("2026-03-09")
    return built


@of_a_file
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_byte_changed_in_any_row_is_found(standing: Hospital, data: st.DataObject) -> None:
    table, kind = data.draw(st.sampled_from((("audit", AuditRow), ("audit_heads", AuditHead))))
    column = data.draw(st.sampled_from([field.name for field in fields(kind)]))
    with closing(sqlite3.connect(cast(SqliteStore, standing.store).file, isolation_level=None)) as other:
        other.text_factory = bytes
        keys = [row[0].decode() for row in other.execute(f"select distinct chain from {table}")]
        chain = data.draw(st.sampled_from(sorted(keys)))
        key, found = other.execute(
            f"select seq, {column} from {table} where chain = ? order by {column} limit 1", (chain,)
        ).fetchone()
        changed: object
        if found is None:
            changed = "x"
        elif isinstance(found, int):
            changed = found ^ 1 << data.draw(st.integers(0, 40))
        else:
            place = data.draw(st.integers(0, len(found) - 1)) if found else 0
            byte = data.draw(st.integers(1, 255))
            changed = found[:place] + bytes([(found[place] if found else 0) ^ byte]) + found[place + 1 :]
        value = "cast(? as text)" if isinstance(changed, bytes) else "?"
        other.execute("begin")
        try:
            where = "chain = ? and seq = ?"
            other.execute(f"update {table} set {column} = {value} where {where}", (changed, chain, key))
        except sqlite3.IntegrityError:  # the key of another row: that cannot even be stored
            other.execute("rollback")
            return
        other.execute("commit")
        try:
            assert standing.verify(), (table, column, changed)
        finally:
            back = "cast(? as text)" if isinstance(found, bytes) else "?"
            now_at = {"chain": chain, "seq": key} | {column: changed}
            here = "chain = cast(? as text) and seq = ?"
            other.execute(f"update {table} set {column} = {back} where {here}", (found, now_at["chain"], now_at["seq"]))
    assert standing.verify() == []


# Shown and exported


def test_the_export_is_json_lines_from_which_the_macs_can_be_computed_again(hospital: Hospital) -> None:
    with hospital.store.reading() as session:
        lines = [encode(trail.shown(row)) for row in trail.entries(session)]
    before: dict[str, str] = {}
    amounts = []
    for line in lines:
        assert "\n" not in line
        entry = json.loads(line, parse_float=Decimal)
        said_by = [entry[name] for name in ("chain", "seq", "at", "account", "role", "action", "subject", "clinic")]
        detail = encode(entry["detail"])
        assert entry["mac"] == entry_mac(KEY, before.get(entry["chain"], START), (*said_by, entry["request"], detail))
        before[entry["chain"]] = entry["mac"]
        amounts += [new["value"] for new in [entry["detail"].get("new", {})] if "value" in new]
    assert len(lines) == 12
    assert amounts == [Decimal("58.1")] * 3


def test_a_detail_that_is_no_json_any_more_is_exported_as_it_is(hospital: Hospital) -> None:
    hospital.tamper("update audit set detail = '{' where seq = 2")
    with hospital.store.reading() as session:
        shown = [trail.shown(row) for row in trail.entries(session, Where("seq", "=", 2))]
    assert [entry["detail"] for entry in shown] == ["{"] * 4
    assert all(map(encode, shown))


@pytest.mark.parametrize("batch", [1, 2, 5, 5000])
def test_entries_come_chain_by_chain_whatever_the_batch(
    hospital: Hospital, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "_BATCH", batch)
    with hospital.store.reading() as session:
        everything = session.find(AuditRow, order=("chain", "seq"))
        assert list(trail.entries(session)) == everything
        some = list(trail.entries(session, Where("action", "=", "read")))
        assert some == [row for row in everything if row.action == "read"]


def look(hospital: Hospital, who: Actor, chain: str | None, after: int, limit: int) -> tuple[list[int], int | None]:
    with hospital.store.writing() as session:
        visit = Visit(services=hospital.services, session=session, actor=who, now=NOW)
        rows, following = trail.page(visit, chain, after, limit)
        leave(visit, session, visit.entries)
    return [row.seq for row in rows], following


def test_a_page_of_a_chain_says_where_the_next_begins_and_leaves_an_entry(hospital: Hospital) -> None:
    patient = hospital.patients()[0]
    assert look(hospital, hospital.auditor, patient, 0, 2) == ([1, 2], 2)
    assert look(hospital, hospital.auditor, patient, 2, 2) == ([3], None)
    assert look(hospital, hospital.auditor, None, 0, 9) == ([1, 2, 3, 4, 5], None)
    with hospital.store.reading() as session:
        of_system = Where("chain", "=", SYSTEM), Where("action", "=", "read-audit")
        system: list[Any] = session.find(AuditRow, *of_system, order=("seq",))
    assert [row.subject for row in system] == [f"audit/{patient}", f"audit/{patient}", f"audit/{SYSTEM}"]
    assert hospital.verify() == []


def test_the_chain_of_a_patient_of_another_clinic_is_not_found(hospital: Hospital) -> None:
    elsewhere = hospital.auditor._replace(clinics=frozenset({"elsewhere"}))
    for chain in (hospital.patients()[0], "nobody"):
        with pytest.raises(Unknown):
            look(hospital, elsewhere, chain, 0, 1)


# MACs


def test_a_mac_is_of_its_purpose_its_place_and_its_words_only() -> None:
    macs = [
        entry_mac(KEY, START, ("a", 1, None)),
        entry_mac(KEY, START, ("a", 1, "null")),
        entry_mac(KEY, START, ("a", "1", None)),
        entry_mac(KEY, START, ("a", 1)),
        entry_mac(KEY, "1" * 64, ("a", 1, None)),
        entry_mac(bytes(32), START, ("a", 1, None)),
        entry_mac(KEY, START, ('a",1', None)),
        head_mac(KEY, "a", 1, START),
        head_mac(KEY, "a", 2, START),
        seal_mac(KEY, START, "a", "1"),
        seal_mac(KEY, START, "b", "1"),
    ]
    assert len(set(macs)) == len(macs)
    assert all(len(mac) == 64 for mac in macs)
    assert same_mac(macs[0], macs[0])
    assert not any(same_mac(found, macs[0]) for found in ("", "é", macs[1], macs[0].upper(), "\ud800"))


def test_accounts_without_a_trail_are_told(tmp_path: Path) -> None:
    built = build(tmp_path)
    with built.store.writing() as session:
        remove_everything(session)
    assert built.verify() == ["chain system: is not there, though there are accounts"]


def remove_everything(session: Session) -> None:
    for kind in (AuditRow, AuditHead, Fact, Patient):
        session.remove(kind)
    assert session.count(Account)
