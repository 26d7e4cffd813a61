"""Messages are drafted while others write: which can be, and that nobody who is faster meanwhile is passed over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from tests.hl7.support import Ward, count, head, message, obr, obx, pid, received, ward
from tests.hl7.test_at_once import ALIKE, CORRECTS, NOBODY, NOBODY_AGAIN, SOUND, TOMORROW, TURNED_AWAY, WORDS, left_of
from tests.hl7.test_at_once import together as answers
from titrator.logs import configure_logs
from titrator.workflow.trail import verify

PANEL: Final = message(
    head("20"), pid("18"), obr("F20"), obx("70"),
    "OBX|2|NM|718-7^Hb^LN||13.1|g/dL|||||F", "OBX|3|NM|751-8^Neutrophils^LN||2.1|10*9/L|||||F",
)  # fmt: skip
#: A count and a weight of a patient: a decision may rest on both.
WEIGHED: Final = message(head("21"), pid(), obr("F21"), obx(), "OBX|2|NM|29463-7^Weight^LN||70|kg|||||F")
TWICE: Final = message(
    head("22"), pid(), obr("F22"),
    "OBX|1|NM|718-7^Hb^LN|1|13.1|g/dL|||||F", "OBX|2|NM|718-7^Hb^LN|2|130|g/dL|||||F",
)  # fmt: skip
#: What SOUND said, as another message.
NO_NEWS: Final = count("26")
TAKEN_BACK: Final = count("23", "", "D")
BORN_OTHERWISE: Final = message(head("24"), pid(born="19600502"), obr(), obx("50"))
OF_ANOTHER: Final = message(head("25"), pid("18"), obr(), obx("50"))


def drafted(lab: Ward, sent: Sequence[bytes]) -> bool:
    configure_logs("debug")
    try:
        with capture_logs() as logs:
            answers(lab, sent)
    finally:
        configure_logs("info")
    assert any(one["event"] == "hl7-message" for one in logs)
    return not any(one["event"] == "hl7-not-drafted" for one in logs)


@pytest.mark.parametrize(
    ("before", "sent", "can"),
    [
        ([], [SOUND], True),
        ([], [SOUND, PANEL, NOBODY, TURNED_AWAY, WORDS, SOUND], True),
        ([SOUND], [SOUND], True),
        ([SOUND], [CORRECTS], True),
        ([SOUND], [TAKEN_BACK], True),
        ([NOBODY], [NOBODY_AGAIN], True),
        ([SOUND], [BORN_OTHERWISE], True),
        ([], [SOUND, ALIKE], False),
        ([], [SOUND, CORRECTS], False),
        ([], [SOUND, OF_ANOTHER], False),
        ([], [BORN_OTHERWISE, SOUND], False),
        ([], [WEIGHED], False),
        ([], [TWICE], False),
        ([], [TOMORROW], False),
        ([], [NOBODY, NOBODY_AGAIN], False),
    ],
    ids=[
        "a count", "of several patients, one of nobody, some at fault", "the same again", "a correction", "taken back",
        "held, changed", "held beside what is recorded", "two of a patient", "a result and its correction",
        "a result of two patients", "a result that is held, then not",
        "a count and a weight", "haemoglobin twice", "at fault by the record", "held, and changed at once",
    ],
)  # fmt: skip
def test_what_needs_not_see_another_is_drafted(
    lab: Ward, before: Sequence[bytes], sent: Sequence[bytes], can: bool
) -> None:
    for number in ("17", "18"):
        lab.patient(number)
    for one in before:
        lab.taken(one)
    assert drafted(lab, sent) is can


@pytest.mark.parametrize("sent", [[SOUND, OF_ANOTHER], [BORN_OTHERWISE, SOUND]], ids=["of two patients", "held first"])
def test_a_result_twice_at_once_comes_to_the_same_as_one_after_the_other(tmp_path: Path, sent: list[bytes]) -> None:
    came = []
    for name, groups in (("at once", [sent]), ("in turn", [[one] for one in sent])):
        (tmp_path / name).mkdir()
        lab = ward(tmp_path / name)
        for number in ("17", "18"):
            lab.patient(number)
        came.append(([one.code for some in groups for one in answers(lab, some)], left_of(lab)))
    assert came[0] == came[1]


def faster(lab: Ward, monkeypatch: pytest.MonkeyPatch, does: Callable[[], object]) -> None:
    """Have something done just before what is drafted next is written."""
    store: Any = lab.house.services.store
    own = store.carry_out

    def carry_out(step: Any) -> None:
        monkeypatch.setattr(store, "carry_out", own)
        does()
        own(step)

    monkeypatch.setattr(store, "carry_out", carry_out)


@pytest.mark.parametrize(
    ("before", "meanwhile", "sent"),
    [
        ([], SOUND, SOUND),
        ([SOUND], NO_NEWS, NO_NEWS),
        ([], ALIKE, SOUND),
        ([SOUND], CORRECTS, count("30", "65", "C")),
        ([SOUND], TAKEN_BACK, CORRECTS),
        ([], OF_ANOTHER, SOUND),
        ([], BORN_OTHERWISE, SOUND),
        ([BORN_OTHERWISE], SOUND, count("31", "51", "C")),
        ([], NOBODY, NOBODY_AGAIN),
        ([], NOBODY, NOBODY),
        ([], WORDS, WORDS),
    ],
    ids=[
        "the same message", "the same message, no news", "another of the patient", "another correction", "taken back",
        "the result of another one", "the result, held", "the result that is held, recorded", "of nobody, too",
        "of nobody, the same", "at fault",
    ],
)  # fmt: skip
def test_who_is_faster_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: Sequence[bytes], meanwhile: bytes, sent: bytes
) -> None:
    """It comes to what the other one first and this one thereafter come to."""
    came = []
    for name in ("raced", "in turn"):
        (tmp_path / name).mkdir()
        lab = ward(tmp_path / name)
        for number in ("17", "18"):
            lab.patient(number)
        for one in before:
            answers(lab, [one])
        if name == "raced":
            first: list[Any] = []
            faster(lab, monkeypatch, lambda lab=lab, first=first: first.extend(answers(lab, [meanwhile])))  # type: ignore[misc]
            (second,) = answers(lab, [sent])
        else:
            first = answers(lab, [meanwhile])
            (second,) = answers(lab, [sent])
        if meanwhile == sent and second.code == "AA":
            assert second.text == first[0].text
        came.append(([one.code for one in (*first, second)], left_of(lab), len(received(lab.house.services))))
        with lab.house.services.store.reading() as session:
            assert verify(session, lab.house.services.audit_key, tmp_path / "no seals")[1] == []
        assert lab.house.services.store.check() == []
    assert came[0] == came[1]


def test_a_patient_who_has_left_meanwhile_gets_nothing(lab: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = lab.patient("17")
    path, left = f"/patients/{patient}", {"active": False, "reason": "moved"}
    faster(lab, monkeypatch, lambda: lab.house.call("pharmacist", "PATCH", path, left, version=1))
    assert [one.code for one in answers(lab, [SOUND])] == ["AA"]
    assert lab.counts(patient) == []
    assert [one["why"] for one in lab.held()] == ["patient-inactive"]
