"""What a message says of whom, and what is wrong with it: each place by its segment and field."""

from __future__ import annotations

import time
from datetime import date
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hl7.support import FEED, half_a_character, head, message, obr, obx, pid
from titrator.hl7.message import CHARACTER_SETS, VERSIONS, Field, Separators, Unreadable, escaped, read_message
from titrator.hl7.translate import STATUS, Observation, refusals, translate
from titrator.workflow.sent import Saying

BERLIN = ZoneInfo("Europe/Berlin")


def wrong(*segments: str) -> dict[str, int]:
    said = translate(read_message(message(head(), *segments)), FEED)
    return {str(one.spot): one.code for one in said.wrong if not one.warning}


def told(*segments: str) -> list[Observation]:
    said = translate(read_message(message(head(), *segments)), FEED)
    assert [str(one) for one in said.wrong if not one.warning] == []
    return [one for group in said.groups for one in group.observations]


def test_a_message_is_read_whole() -> None:
    (group,) = translate(read_message(message(head(), pid(), obr(), obx())), FEED).groups
    assert (group.subject.identifiers, group.subject.born_on) == ((("urn:mrn", "17"),), "1960-05-01")
    sent = group.observations[0].sent(lambda: None, BERLIN)
    assert (sent.collection.name, sent.saying, dict(sent.body)) == (
        "platelet-counts",
        Saying.RESULT,
        {
            "external_id": {"system": "urn:titrator:hl7:laboratory", "value": "F:F1|777-3^LN"},
            "value": Decimal(63),
            "unit": "10*3/uL",
            "collected_on": "2026-03-09",
        },
    )
    assert sent.source.at == "2026-03-09T07:45:00+01:00"


@pytest.mark.parametrize(
    ("segment", "place", "code"),
    [
        (obx(""), "OBX[1]-5", 101),
        (obx('""'), "OBX[1]-5", 101),
        (obx("<5"), "OBX[1]-5", 102),
        (obx("63-70"), "OBX[1]-5", 102),
        (obx("-63"), "OBX[1]-5", 102),
        (obx("6,3"), "OBX[1]-5", 102),
        (obx("sixty"), "OBX[1]-5", 102),
        (obx("63~64"), "OBX[1]-5", 102),
        (obx("63^x"), "OBX[1]-5", 102),
        (obx("5001000"), "OBX[1]-5", 102),
        (obx("<^5", f2="SN"), "OBX[1]-5", 102),
        (obx("^5^-^7", f2="SN"), "OBX[1]-5", 102),
        (obx("63", f2="ST"), "OBX[1]-2", 102),
        (obx(f6=""), "OBX[1]-6", 101),
        (obx(f6="furlongs"), "OBX[1]-6", 102),
        (obx(f6="10*3/uL^/uL^UCUM"), "OBX[1]-6", 102),
        (obx(status=""), "OBX[1]-11", 101),
        (obx(status="Q"), "OBX[1]-11", 103),
        (obx(f14="2026"), "OBX[1]-14", 102),
        (obx(f14="20260230"), "OBX[1]-14", 102),
        (obx(f3="777-3^Platelets^LN^HB^Hb^"), "OBX[1]-3", 103),
    ],
)
def test_each_fault_has_its_place(segment: str, place: str, code: int) -> None:
    assert wrong(pid(), obr(), segment) == {place: code}


def test_all_faults_are_told_at_once() -> None:
    faulty = wrong(pid("", "1960"), obr("", "", ""), obx("x", f6=""), "OBX|2|NM|777-3^P^LN|2|63|10*3/uL|||||Q")
    assert faulty == {
        "OBR[1]-3": 101, "OBX[1]-5": 102, "OBX[1]-6": 101, "OBX[2]-11": 103, "OBR[1]-7": 101,
        "PID[1]-3": 204, "PID[1]-7": 102,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("segments", "faults"),
    [
        ((obr(), obx()), {"PID[1]": 100}),
        ((pid(), obx()), {"OBX[1]": 100}),
        ((pid(authority="ELSEWHERE"), obr(), obx()), {"PID[1]-3": 204}),
        ((pid(kind="PI"), obr(), obx()), {"PID[1]-3": 204}),
        ((pid(), obr(), obx(), obx("64")), {"OBX[2]-4": 205}),
        ((pid(), obr(), obx(), "second line of a remark"), {"MSH": 100}),
        ((pid(), obr("F" * 201), obx()), {"OBR[1]-3": 102}),
    ],
)
def test_what_does_not_belong_together(segments: tuple[str, ...], faults: dict[str, int]) -> None:
    assert wrong(*segments) == faults


@pytest.mark.parametrize(
    ("segment", "value", "unit"),
    [
        (obx(f3="PLT^Thrombozyten^L", f6="Gpt/l"), "63", "10*9/L"),
        (obx(f3="X^x^L^777-3^Platelets^LN"), "63", "10*3/uL"),
        (obx("^63", f2="SN"), "63", "10*3/uL"),
        (obx("=^63", f2="SN"), "63", "10*3/uL"),
        (obx("063.50"), "63.50", "10*3/uL"),
        (obx(f6="^10^9/L"), "63", "10"),
        (obx(f6="10\\S\\9/L"), "63", "10*9/L"),
        (obx(f6="x10E9"), "63", "x"),
    ],
)
def test_ways_to_say_a_count(segment: str, value: str, unit: str) -> None:
    if unit in ("10", "x"):  # an unescaped separator cuts it off, an unknown one is unknown
        assert wrong(pid(), obr(), segment) == {"OBX[1]-6": 102}
        return
    (one,) = told(pid(), obr(), segment)
    assert (one.body["value"], one.body["unit"]) == (Decimal(value), unit)


def test_what_is_not_ours_is_passed_over_whatever_it_says() -> None:
    assert told("OBX|1|XX|2345-7^Glucose^LN||?") == []
    assert told(pid("", ""), obr("", ""), "OBX|1|NM|49497-1^Platelets by estimate^LN||many||||||") == []


def test_what_looks_like_a_count_and_is_not_mapped_is_told() -> None:
    said = translate(read_message(message(head(), pid(), obr(), obx(f3="THR^Thrombozyten^99LAB"))), FEED)
    assert [(str(one.spot), one.warning) for one in said.wrong] == [("OBX[1]-3", True)]


@pytest.mark.parametrize(
    ("segments", "unreliable"),
    [
        ((obx(), "NTE|1|L|Platelet clumps seen"), True),
        ((obx(), "NTE|1|L|No platelet clumps seen"), False),
        ((obx(f8="A^EDTA artefact suspected"),), True),
        ((obx(), "OBX|2|TX|11111-1^Comment^LN||Thrombozyten-Aggregate"), True),
        ((obx(), "OBX|2|NM|718-7^Hb^LN||130|g/L|||||F", "NTE|1|L|clumps"), False),
    ],
)
def test_remarks_on_clumps(segments: tuple[str, ...], unreliable: bool) -> None:
    count = told(pid(), obr(), *segments)[0]
    assert count.body.get("unreliable", False) is unreliable


def test_a_remark_on_the_order_counts_for_its_counts() -> None:
    assert told(pid(), obr(), "NTE|1|L|EDTA: pseudothrombocytopenia", obx())[0].body["unreliable"] is True


def test_a_lower_limit_is_read_of_the_range() -> None:
    (one,) = told(pid(), obr(), obx("131", f3="718-7^Hb^LN", f6="g/L", f7="120-160"))
    assert (one.body["code"], one.body["lower_limit_of_normal"]) == ("haemoglobin", Decimal(120))


@pytest.mark.parametrize(
    ("text", "day", "at"),
    [
        ("20260309", "2026-03-09", None),
        ("202603090030", "2026-03-09", "2026-03-09T00:30:00+01:00"),
        ("20260308233000-0500", "2026-03-09", "2026-03-08T23:30:00-05:00"),
        ("2026030908+0000", "2026-03-09", "2026-03-09T08:00:00+00:00"),
        ("20260309080000.1234+0100", "2026-03-09", "2026-03-09T08:00:00+01:00"),
    ],
)
def test_days_are_those_of_the_clinic(text: str, day: str, at: str | None) -> None:
    (one,) = told(pid(), obr(when=""), obx(f14=text))
    sent = one.sent(lambda: None, BERLIN)
    assert (sent.body["collected_on"], sent.source.at) == (day, at)


def test_times_without_offset_are_of_the_feeds_zone() -> None:
    (one,) = told(pid(), obr(when="202603082330"), obx())
    assert one.sent(lambda: ZoneInfo("America/New_York"), BERLIN).body["collected_on"] == "2026-03-09"
    assert one.sent(lambda: None, BERLIN).body["collected_on"] == "2026-03-08"


#: HL7's table 0085 to the end: what each does here.
OF_STATUS = {
    "A": "corrected", "B": "final", "C": "corrected", "D": "taken-back", "F": "final", "I": None, "N": None,
    "O": None, "P": "preliminary", "R": "preliminary", "S": "preliminary", "U": "final", "V": "final",
    "W": "taken-back", "X": "cancelled",
}  # fmt: skip


@pytest.mark.parametrize("code", STATUS)
def test_each_status_of_a_result(code: str) -> None:
    found = told(pid(), obr(), obx(status=code))
    wanted = OF_STATUS[code]
    if wanted is None:
        assert found == []
        return
    (one,) = found
    is_word = one.saying is not Saying.RESULT
    said = (
        str(one.saying)
        if is_word
        else {(True, False): "preliminary", (False, True): "corrected"}.get((one.preliminary, one.corrected), "final")
    )
    assert said == wanted


def test_the_table_of_status_is_whole() -> None:
    assert OF_STATUS.keys() == STATUS.keys()


def test_final_without_the_value_needs_none() -> None:
    (one,) = told(pid(), obr(), obx("", "U", f2="", f6=""))
    assert one.saying is Saying.NOW_FINAL


@pytest.mark.parametrize(
    ("fields", "place", "code"),
    [
        ({"f9": "ADT^A01"}, "MSH-9", 200),
        ({"f9": "ORU^R30"}, "MSH-9", 200),
        ({"f10": ""}, "MSH-10", 101),
        ({"f10": "1" * 200}, "MSH-10", 101),
        ({"f11": "T"}, "MSH-11", 202),
        ({"f11": "D"}, "MSH-11", 202),
        ({"f11": ""}, "MSH-11", 202),
        ({"f12": "2.2"}, "MSH-12", 203),
        ({"f12": "3.0"}, "MSH-12", 203),
    ],
)
def test_what_is_turned_away(fields: dict[str, str], place: str, code: int) -> None:
    found = refusals(read_message(message(head(**fields))))
    assert {str(one.spot): one.code for one in found} == {place: code}


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_is_taken(version: str) -> None:
    assert refusals(read_message(message(head(f12=version)))) == []


@pytest.mark.parametrize(("named", "codec"), CHARACTER_SETS.items())
def test_each_character_set(named: str, codec: str) -> None:
    sent = message(head(f18=named), pid()).decode()
    umlaut = sent.replace("Muster", "Müster")
    if codec == "ascii":
        with pytest.raises(Unreadable, match="MSH-18"):
            read_message(umlaut.encode())
        return
    assert "Müster" in read_message(umlaut.encode(codec)).segments[1][5].text


@pytest.mark.parametrize("named", ["8859/2", "UNICODE", "ISO IR87", "ASCII~UNICODE UTF-8"])
def test_other_character_sets_are_refused(named: str) -> None:
    with pytest.raises(Unreadable, match="MSH-18") as caught:
        read_message(message(head("77", f18=named)))
    assert caught.value.control_id == "77"


def test_a_message_says_itself_what_separates() -> None:
    usual = message(head(), pid(), obr(), obx()).decode()
    other = usual.translate(str.maketrans({"|": "$", "^": "*", "~": "!", "\\": "?", "&": "%"})).replace(
        "10*3", "10?S?3"
    )
    found = translate(read_message(other.encode()), FEED)
    assert [str(one) for one in found.wrong] == []
    (group,) = found.groups
    assert group.subject.identifiers == (("urn:mrn", "17"),)
    assert group.observations[0].body["unit"] == "10*3/uL"


@pytest.mark.parametrize(
    "sent", [b"", b"MSH", b"MSH|", b"MSH|^~\\&", b"PID|1", b"MSH|^^^^|a", b"MSHabcde|", b"\xff\xfe", b"FHS|^~\\&|"]
)
def test_what_is_no_message_is_unreadable_or_turned_away(sent: bytes) -> None:
    if sent == b"MSH|^~\\&":  # it has separators, and nothing else
        assert len(refusals(read_message(sent))) == 4
        return
    with pytest.raises(Unreadable, match="must come first"):
        read_message(sent)


def test_a_head_that_is_none_once_it_is_decoded_is_unreadable() -> None:
    for sent in (half_a_character(), half_a_character() + "PID×1\r".encode()):
        with pytest.raises(Unreadable, match="must come first"):
            read_message(sent)


@given(st.lists(st.text('OBXPIDRNTE|^~&\\1 .<63"LN', max_size=60), max_size=6))
def test_nothing_that_is_sent_breaks_the_reader(lines: list[str]) -> None:
    """Whatever stands in a message, it is translated, or its faults are told."""
    said = translate(read_message(message(head(), pid(), obr(), *lines)), FEED)
    assert all(one.message for one in said.wrong)


@given(st.text(max_size=80))
def test_escapes_come_back_as_they_went(text: str) -> None:
    """What is escaped in a field is the same text when it is read; line ends become one kind."""
    plain = text.replace("\r", "\n")
    assert Field(escaped(text), Separators()).text == plain


def test_birth_dates_are_days() -> None:
    (group,) = translate(read_message(message(head(), pid(born="196005010830"), obr(), obx())), FEED).groups
    assert group.subject.born_on == date(1960, 5, 1).isoformat()


def test_the_time_of_a_message_does_not_grow_with_the_square_of_its_lines() -> None:
    """With a megabyte of either, each line was held against all the others: for minutes nobody else was answered."""
    several = ["OBX|1|NM|777-3^^LN^718-7^^LN"] * 12_000
    remarks = ["OBX|1|ST|x||a"] * 12_000 + [obx(f4=str(number)) for number in range(6_000)]
    for lines in (several, remarks):
        read = read_message(message(head(), pid(), obr(), *lines))
        begun = time.process_time()
        translate(read, FEED)
        assert time.process_time() - begun < 4
