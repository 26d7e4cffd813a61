"""Messages that are carried out together: each is answered for itself, sees those before it, and is stored once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.hl7.support import (
    FEED,
    Said,
    Ward,
    count,
    facts,
    half_a_character,
    head,
    message,
    obr,
    obx,
    pid,
    received,
    ward,
)
from titrator.hl7.receiving import Sender, answer_all
from titrator.store.records import AuditRow, ExternalId, Fact, ReceivedMessage, UnmatchedResult
from titrator.workflow.trail import verify

SOUND: Final = count("1")
#: Of the order of SOUND, so that it corrects it.
CORRECTS: Final = count("2", "64", "C")
ALIKE: Final = message(head("3"), pid(), obr("F3"), obx("60"))
#: At fault by itself, and only by what is known here: it is of tomorrow.
WORDS: Final = count("4", "<5")
TOMORROW: Final = message(head("5"), pid(), obr("F5", when="202603100001+0100"), obx())
NOBODY: Final = message(head("6"), pid("99"), obr("F6"), obx("50"))
#: Of the order of NOBODY: what waits says from now on this.
NOBODY_AGAIN: Final = message(head("7"), pid("99"), obr("F6"), obx("51", "C"))
#: Two results of a patient of whom more comes.
TWO: Final = message(head("8"), pid("18"), obr("F8"), obx("70"), "OBX|2|NM|718-7^Hb^LN||13.1|g/dL|||||F")
TURNED_AWAY: Final = message(head("9", f11="T"), pid(), obr("F9"), obx())
CODES: Final = {"1": "AA", "2": "AA", "3": "AA", "4": "AE", "5": "AE", "6": "AA", "7": "AA", "8": "AA", "9": "AR"}


def together(lab: Ward, sent: Sequence[bytes]) -> list[Said]:
    return [Said(one.text) for one in answer_all(lab.house.services, [(Sender([FEED]), one) for one in sent])]


def test_one_that_cannot_be_read_leaves_the_others_their_answers(lab: Ward) -> None:
    lab.patient("17")
    assert [one.code for one in together(lab, [SOUND, half_a_character(), ALIKE])] == ["AA", "AR", "AA"]


@pytest.mark.parametrize(
    "faulty", [(), (WORDS,), (WORDS, TOMORROW, TURNED_AWAY)], ids=["none", "one by itself", "all kinds"]
)
def test_each_of_several_is_answered_for_itself_and_stored_once(
    lab: Ward, tmp_path: Path, faulty: tuple[bytes, ...]
) -> None:
    """One by itself at fault leaves the others together; one that only the record finds so has each tried alone."""
    lab.patient("17")
    lab.patient("18")
    sent = [SOUND, *faulty, CORRECTS, SOUND, ALIKE, NOBODY, NOBODY_AGAIN, TWO, *faulty, CORRECTS]
    said = together(lab, sent)
    idents = [one.split(b"|")[9].decode() for one in sent]
    assert [(one.control_id, one.code) for one in said] == [(ident, CODES[ident]) for ident in idents]
    by_control_id: dict[str, set[str]] = {}
    for one in said:
        by_control_id.setdefault(one.control_id, set()).add(one.text)
    accepted = {ident for ident, code in CODES.items() if code == "AA"}
    assert all(len(texts) == 1 for ident, texts in by_control_id.items() if ident in accepted), "told the same again"
    assert {(one.control_id, one.code) for one in received(lab.house.services)} == {
        (one.control_id, one.code) for one in said if one.code != "AR"
    }
    current = [(one.kind, f"{one.value}", one.version) for one in facts(lab.house.services) if one.current]
    counts = [("platelet-count", "64", 2), ("platelet-count", "60", 1), ("platelet-count", "70", 1)]
    assert sorted(current) == sorted([*counts, ("observation", "13.1", 1)])
    with lab.house.services.store.reading() as session:
        assert [(one.value) for one in session.find(ExternalId, order=("value",))] == [
            "F:F1|777-3^LN",
            "F:F3|777-3^LN",
            "F:F8|718-7^LN",
            "F:F8|777-3^LN",
        ]
        (waiting,) = session.find(UnmatchedResult)
        noted = [(one.action, one.request_id) for one in session.find(AuditRow, order=("chain", "seq"))]
        assert verify(session, lab.house.services.audit_key, tmp_path / "no seals")[1] == []
    assert '"value": 51' in waiting.body
    of_feed = [(did, request) for did, request in noted if request and request.startswith("laboratory/")]
    refused = [("refused", f"laboratory/{one.control_id}") for one in said if one.code == "AE"]
    assert sorted(of_feed) == sorted(
        [
            ("record", "laboratory/1"),
            ("correct", "laboratory/2"),
            ("record", "laboratory/3"),
            ("keep-result", "laboratory/6"),
            ("keep-result", "laboratory/7"),
            ("record", "laboratory/8"),
            ("record", "laboratory/8"),
            *refused,
        ]
    )
    assert lab.house.services.store.check() == []


@pytest.mark.parametrize("seed", range(3))
def test_a_commit_for_all_leaves_what_a_commit_for_each_would(tmp_path: Path, seed: int) -> None:
    sent = [SOUND, CORRECTS, ALIKE, WORDS, TOMORROW, NOBODY, NOBODY_AGAIN, TWO, SOUND, count("1"), count("10", "61")]
    random.Random(seed).shuffle(sent)
    left = []
    for name, size in (("together", len(sent)), ("some", 4), ("each", 1)):
        (tmp_path / name).mkdir()
        lab = ward(tmp_path / name)
        lab.patient("17")
        lab.patient("18")
        codes = [one.code for start in range(0, len(sent), size) for one in together(lab, sent[start : start + size])]
        left.append((codes, left_of(lab)))
    assert left[0] == left[1] == left[2]


def left_of(lab: Ward) -> list[object]:
    """What is stored, but for what chance has made."""
    with lab.house.services.store.reading() as session:
        told = [
            (one.kind, one.id, one.version, one.current, one.day, one.value, one.status, one.change, one.reason)
            for one in session.find(Fact, order=("kind", "value", "version"))
        ]
        waiting = [(one.body, one.why, one.status) for one in session.find(UnmatchedResult)]
        names = [(one.value, one.fact_id) for one in session.find(ExternalId, order=("value",))]
        rows = [(one.control_id, one.sha256, one.code) for one in session.find(ReceivedMessage, order=("sha256",))]
        noted = sorted((one.action, one.request_id) for one in session.find(AuditRow) if one.action != "create")
    return [told, waiting, names, rows, noted]
