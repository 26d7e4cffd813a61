"""Evidence files: derived again without the database, and whatever is changed in one is found."""

from __future__ import annotations

import io
import json
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from tests.api.support import House, build, count
from tests.workflow.test_evidence import treated
from tests.workflow.test_sign_off_machine import STEADY, SignOff
from titrator.bulk import verifying
from titrator.bulk.evidence import last_line, take_evidence
from titrator.bulk.verifying import Verified, verify_evidence
from titrator.security.permissions import PERMISSIONS, Role
from titrator.security.signing import public_key, sign
from titrator.store.records import Account, AuditRow, Fact
from titrator.titration.documents import encode, exact
from titrator.titration.errors import Fault, InvalidProtocol
from titrator.titration.protocol import Protocol
from titrator.workflow.cohort import Question, audit_patients
from titrator.workflow.visit import Actor, Visit

FORGER: Final = b"another key, of 32 bytes, or so.."


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A patient who was given what was decided, and decided upon a week later; the first count was corrected since."""
    house = build(tmp_path_factory.mktemp("evidence"))
    patient = treated(house)
    first = house.get(f"/patients/{patient}/platelet-counts")["items"][0]["id"]
    path = f"/patients/{patient}/platelet-counts/{first}"
    assert house.call("pharmacist", "PUT", path, {**count(0, 45), "reason": "misread"}, version=1).status == 200
    yield house
    house.services.store.close()


@pytest.fixture(scope="module")
def text(house: House) -> str:
    """The evidence file of that patient."""
    actor = Actor("0" * 20, "auditor", Role.AUDITOR, frozenset({house.clinic}), PERMISSIONS[Role.AUDITOR])
    with house.services.store.reading() as session:
        visit = Visit(services=house.services, session=session, actor=actor, now=house.clock())
        (patient,) = {row.chain for row in session.find(AuditRow)} - {"system"}
        return take_evidence(visit, patient).text


def verified(text: str | bytes, *, public: str | None = None, audit_key: bytes | None = None) -> Verified:
    content = text.encode() if isinstance(text, str) else text
    return verify_evidence(io.BytesIO(content), public, audit_key)


def signed(lines: list[str], key: bytes) -> str:
    """Lines signed anew, as somebody would who has a key of his own, or the right one."""
    body = "".join(lines)
    digest = sha256(body.encode()).hexdigest()
    return body + last_line(digest, public_key(key), sign(key, digest))


def test_what_was_decided_comes_out_again_from_the_file_alone(house: House, text: str) -> None:
    key = house.services.audit_key
    found = verified(text, public=public_key(key), audit_key=key)
    assert (found.faults, found.sound) == ((), True)
    assert [(made.kind, made.status, one.differs) for made, one in found.decisions] == [
        ("accept", "delivered", ()),
        ("accept", "in-force", ()),
    ]
    assert found.public_key == public_key(key)
    assert found.entries == len([line for line in text.splitlines() if '"table": "audit"' in line]) > 10


def test_a_file_names_who_did_what_and_no_secret(house: House, text: str) -> None:
    rows = [json.loads(line) for line in text.splitlines()[1:-1]]
    accounts = [one["row"] for one in rows if one["table"] == "accounts"]
    assert {one["username"] for one in accounts} == {"pharmacist", "technician"}
    assert {tuple(one) for one in accounts} == {("id", "username", "display_name", "role")}
    with house.services.store.reading() as session:
        hashes = [one.password_hash for one in session.find(Account) if one.password_hash]
    assert not any(one in text for one in hashes)
    assert house.services.audit_key.hex() not in text


def test_without_a_key_a_file_is_in_order_that_somebody_else_signed_and_with_it_it_is_not(text: str) -> None:
    forged = signed(text.splitlines(keepends=True)[:-1], FORGER)
    assert verified(forged).sound
    found = verified(forged, public=public_key(b"the right one, as it is printed.."))
    assert (found.sound, found.public_key) == (False, None)
    assert "another key" in found.faults[0]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_byte_that_is_changed_anywhere_is_found(data: st.DataObject, text: str) -> None:
    content = text.encode()
    place = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[place]))
    assert not verified(content[:place] + bytes([other]) + content[place + 1 :]).sound


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_bytes_that_are_left_out_or_added_are_found(data: st.DataObject, text: str) -> None:
    content = text.encode()
    place = data.draw(st.integers(0, len(content) - 1))
    more = data.draw(st.binary(min_size=1, max_size=5))
    assert not verified(content[:place]).sound
    assert not verified(content[:place] + content[place + 1 :]).sound
    assert not verified(content[:place] + more + content[place:]).sound
    assert not verified(content + more).sound


Change = Callable[[list[dict[str, Any]]], object]


def rows(lines: list[dict[str, Any]], table: str) -> list[dict[str, Any]]:
    return [line["row"] for line in lines if line.get("table") == table]


def without(lines: list[dict[str, Any]], table: str, place: int) -> None:
    """Take a row out, and say that there were so many."""
    lines.remove([line for line in lines if line.get("table") == table][place])
    lines[0]["rows"][table] -= 1


def answered(decision: dict[str, Any], old: str, new: str) -> None:
    assert old in decision["answer"]
    decision["answer"] = decision["answer"].replace(old, new)


#: What somebody changes who has the installation's own key, and so signs anew; and what is told all the same.
FORGERIES: Final[dict[str, tuple[Change, str]]] = {
    "a count": (lambda lines: rows(lines, "facts")[1].update(value="60"), "facts that were known then"),
    "a weight": (lambda lines: rows(lines, "facts")[0].update(value="80"), "facts that were known then"),
    "a dose in all versions": (
        lambda lines: [one.update(micrograms="99") for one in rows(lines, "decisions")],
        "not that of the answer",
    ),
    "a dose that was decided": (
        lambda lines: rows(lines, "decisions")[0].update(micrograms="99"),
        "differ in what no change of it changes",
    ),
    "an answer": (
        lambda lines: [answered(one, '"delivered_micrograms": 75', '"delivered_micrograms": 76')
                       for one in rows(lines, "decisions")[:2]],
        "the answer is another one",
    ),
    "who signed": (lambda lines: [one.update(signed_by="f" * 20) for one in rows(lines, "decisions")], "signed so"),
    "a protocol": (
        lambda lines: rows(lines, "protocol_editions")[0].update(
            text=rows(lines, "protocol_editions")[0]["text"].replace('"<50"', '"<40"')
        ),
        "not the one of its digest",
    ),
    "a protocol that is gone": (lambda lines: without(lines, "protocol_editions", 0), "no edition"),
    "a version that is gone": (lambda lines: without(lines, "facts", 1), "a version is missing"),
    "a decision that is gone": (
        lambda lines: [without(lines, "decisions", -1), without(lines, "decisions", -1)],
        "of decisions; the patient's row says",
    ),
    "a course that is gone": (lambda lines: without(lines, "courses", 0), "no version 1 of course 1"),
    "an entry that is gone": (lambda lines: without(lines, "audit", 4), "is missing or has been changed"),
    "entries that were cut off": (lambda lines: without(lines, "audit", -1), "entries were cut off"),
    "a head that is gone": (lambda lines: without(lines, "audit_heads", 0), "entries were cut off"),
    "a row of somebody else": (lambda lines: rows(lines, "facts")[0].update(patient_id="f" * 20), "another patient"),
    "another patient": (lambda lines: lines[0].update(patient="f" * 20), "the one patient"),
    "a row more than is said": (lambda lines: lines[0]["rows"].update(facts=99), "the first line says 99"),
    "another format": (lambda lines: lines[0].update(evidence=2), "format 1"),
    "a trail that was not whole": (
        lambda lines: lines[0].update(trail_faults=["chain x"]), "when it was made: chain x",
    ),
    "a table that is none": (lambda lines: lines[1].update(table="tokens"), "no row of a table"),
    "a column more": (lambda lines: lines[1]["row"].update(more=1), "and nothing else"),
    "a column of another type": (lambda lines: rows(lines, "facts")[0].update(day=3), "day: is not what this column"),
    "an amount that is none": (lambda lines: rows(lines, "facts")[0].update(value="1e9"), "value: is not what this"),
    "a number that is no whole one": (lambda lines: rows(lines, "facts")[0].update(id=1.5), "id: is not what this"),
    "details that are no JSON": (lambda lines: rows(lines, "facts")[0].update(detail="["), "cannot be read"),
    "details without end": (lambda lines: rows(lines, "facts")[0].update(detail="[" * 100_000), "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("what", FORGERIES)
def test_what_even_the_right_key_cannot_make_right_is_told(house: House, text: str, what: str) -> None:
    change, says = FORGERIES[what]
    lines = [json.loads(line) for line in text.splitlines()[:-1]]
    change(lines)
    found = verified(signed([encode(exact(line)) + "\n" for line in lines], house.services.audit_key))
    assert not found.sound
    told = [*found.faults, *(fault for _, one in found.decisions for fault in one.differs)]
    assert any(part in fault for part in says.split("|") for fault in told), told


def test_words_of_the_trail_are_held_against_the_audit_key(house: House, text: str) -> None:
    """Without it the file says what it says: whoever has the signing key has the audit key, too."""
    lines = [json.loads(line) for line in text.splitlines()[:-1]]
    rows(lines, "audit")[0]["account_id"] = "f" * 20
    forged = signed([encode(exact(line)) + "\n" for line in lines], house.services.audit_key)
    assert verified(forged).sound
    assert not verified(forged, audit_key=house.services.audit_key).sound
    assert not verified(text, audit_key=FORGER).sound


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"\n", "no signature"),
        (b"PK\x03\x04 a picture", "no signature"),
        (b'{"evidence": 1, "evidence": 1}\n{}\n', "line 1: evidence: repeated key"),
        (b'{"evidence": 1}\n{}\n', "line 1: must have"),
        (b"[" * 100_000 + b"\n{}\n", "line 1"),
        (b'{"a": 1e999999999}\n{}\n', "line 1"),
        (b'{"a": "\xff"}\n{}\n', "line 1: not UTF-8"),
    ],
)
def test_what_is_no_evidence_file_is_refused_in_words(content: bytes, says: str) -> None:
    found = verified(content)
    assert not found.sound
    assert any(says in fault for fault in found.faults), found.faults


@pytest.mark.parametrize(("name", "most"), [("LARGEST_LINE", 500), ("LARGEST_FILE", 3000)])
def test_a_file_that_is_too_large_is_not_read_to_its_end(
    text: str, monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    monkeypatch.setattr(verifying, name, most)
    file = io.BytesIO(text.encode())
    found = verify_evidence(file)
    assert any("longer than any evidence file may be" in fault for fault in found.faults)
    assert file.tell() < len(text) / 2


def test_more_facts_than_anybody_has_are_not_derived_from(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(verifying.MOST_ROWS, Fact, 3)
    found = verified(text)
    assert any(fault.endswith("facts: more rows than any evidence file may have") for fault in found.faults)
    assert any(fault.startswith("facts: 3 rows, the first line says") for fault in found.faults)


def test_faults_without_end_are_cut(text: str) -> None:
    lines = text.splitlines(keepends=True)
    found = verified(signed([lines[0], *(["{}\n"] * 3000), *lines[1:-1]], FORGER))
    assert len(found.faults) == 1001
    assert found.faults[-1] == "there are more faults than these 1000"


def test_faults_without_end_take_no_memory() -> None:
    """Each line of one sign is a fault: those of a file of 256 MB came to more memory than a machine has."""
    tracemalloc.start()
    try:
        assert len(verified(b"1\n" * 200_000).faults) == 1001
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_the_file_of_a_protocol_is_read_once_for_all_decisions(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot be read, too: it may take a second, and there may be ten thousand decisions."""
    read: list[str] = []

    def refuse(ident: str, _: str) -> Protocol:
        read.append(ident)
        raise InvalidProtocol([Fault("", "takes long")])

    monkeypatch.setattr(verifying, "read_edition", refuse)
    found = verified(text)
    assert [one.differs for _, one in found.decisions] == [("cannot be derived: takes long",)] * len(found.decisions)
    assert (len(found.decisions) > 1, len(read)) == (True, 1)


def test_a_decision_is_of_the_protocol_that_it_names(text: str) -> None:
    other = text.replace(
        '"protocol": "us-itp-adult", "protocol_sha256"', '"protocol": "eu-itp-adult", "protocol_sha256"'
    )
    assert other != text
    assert all("no edition" in "".join(one.differs) for _, one in verified(other).decisions)


@pytest.mark.long
def test_after_any_order_of_events_the_file_is_in_order_and_the_cohort_can_be_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The histories of the machine of sign-off: decisions withdrawn, re-opened, overridden, facts corrected."""
    made: list[int] = []

    def teardown(machine: SignOff) -> None:
        key, services = machine.services.audit_key, machine.services
        taken = machine.look(lambda visit: take_evidence(visit, machine.patient))
        found = verified(taken.text, public=public_key(key), audit_key=key)
        assert (found.faults, [one for _, one in found.decisions if one.differs]) == ((), [])
        made.append(len(found.decisions))
        with services.store.reading() as session:
            for ident in ("us-itp-adult", "jp-itp-adult", "us-hs-ars"):
                question = Question(services.catalogue.get(ident))
                numbers, points = audit_patients(session, question, machine.now)
                assert numbers["unreadable",] == 0
                assert sum(number for name, number in numbers.items() if name[0] == "points") == len(points)
        services.store.close()
        shutil.rmtree(machine.folder)

    monkeypatch.setattr(SignOff, "teardown", teardown)
    run_state_machine_as_test(SignOff, settings=STEADY)
    assert max(made) > 2
