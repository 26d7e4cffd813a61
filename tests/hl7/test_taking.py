"""What becomes of results: recorded, corrected, taken back, held; what is answered; that it is done once. Over HTTP."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.api.support import Clock, dose
from tests.api.support import count as rest_count
from tests.hl7.support import FEED, MRN, Said, Ward, count, head, message, obr, obx, pid, received, ward
from titrator.hl7.message import ERRORS
from titrator.hl7.receiving import Sender, answer_all
from titrator.store.records import Fact
from titrator.workflow.housekeeping import MESSAGES_KEPT, keep_house


def test_a_count_is_recorded_and_accepted(lab: Ward) -> None:
    patient = lab.patient()
    said = lab.send(count("MSG-1"))
    assert (said.code, said.control_id, said.errors) == ("AA", "MSG-1", {})
    assert [str(said.parsed["MSH"][0](place)) for place in (3, 4, 5, 6, 11, 12)] == [
        "TITRATOR", "CLINIC", "LIS", "LAB", "P", "2.5.1",
    ]  # fmt: skip
    assert lab.counts(patient) == [("63", "final", "2026-03-09")]
    row = next(row for row in lab.house.trail(patient) if row.action == "record")
    assert (row.action, row.account_id, row.request_id) == ("record", lab.house.ids["ehr"], "laboratory/MSG-1")


def test_all_that_is_ours_of_a_message_is_recorded(lab: Ward) -> None:
    patient = lab.patient()
    lab.taken(
        message(
            head(), pid(), obr(), obx(), "OBX|2|NM|718-7^Hb^LN||13.1|g/dL|12-16||||F", "OBX|3|NM|2345-7^Glucose^LN||?",
            "OBX|4|NM|GEW^Gewicht^L||75|kg|||||F", "OBX|5|NM|751-8^Neutro^LN||2.1|10*9/L|||||F",
            "OBX|6|NM|71693-6^IPF^LN||4.2|%|||||F",
        )
    )  # fmt: skip
    found = lab.house.get(f"/patients/{patient}/observations")["items"]
    assert {one["code"]: f"{one['value']}" for one in found} == {
        "haemoglobin": "13.1", "neutrophils": "2.1", "immature-platelet-fraction": "4.2",
    }  # fmt: skip
    assert [f"{one['value']}" for one in lab.house.get(f"/patients/{patient}/weights")["items"]] == ["75"]


def test_a_message_of_several_patients(lab: Ward) -> None:
    one, other = lab.patient("17"), lab.patient("18")
    lab.taken(message(head(), pid("17"), obr("F1"), obx("63"), pid("18"), obr("F2"), obx("64")))
    assert (lab.counts(one)[0][0], lab.counts(other)[0][0]) == ("63", "64")


def test_all_or_nothing(lab: Ward) -> None:
    """One result at fault: none is recorded, nothing is held, and only the log of the message is there."""
    patient = lab.patient()
    before = {name: rows for name, rows in lab.house.everything().items() if name != "received_messages"}
    said = lab.send(message(head("9"), pid(), obr(), obx(), obx("<5", f3="718-7^Hb^LN", f6="g/L")))
    assert (said.code, said.control_id, said.errors) == ("AE", "9", {"OBX^2^5": "102 E"})
    after = lab.house.everything()
    (row,) = after.pop("received_messages")
    assert after == before
    assert row[:2] == ("laboratory", "9")
    assert lab.counts(patient) == []
    assert [row.subject for row in lab.house.trail() if row.action == "refused"] == ["hl7/laboratory"]


def test_a_fault_that_only_the_record_knows_undoes_the_rest(lab: Ward) -> None:
    """The second result is of tomorrow: the first one, recorded before it was looked at, is not there."""
    patient = lab.patient()
    tomorrow = obx("131", f3="718-7^Hb^LN", f6="g/L", f14="20260310")
    said = lab.send(message(head(), pid(), obr(), obx(), tomorrow))
    assert (said.code, said.errors) == ("AE", {"OBX^2^14": "102 E"})
    assert lab.counts(patient) == []


def test_a_result_of_tomorrow_is_refused_and_one_of_today_is_not(lab: Ward) -> None:
    lab.patient()
    assert lab.send(message(head("1"), pid(), obr(when="202603100001+0100"), obx())).errors == {"OBR^1^7": "102 E"}
    lab.taken(message(head("2"), pid(), obr(when="202603092359+0100"), obx()))


# Said again


def test_the_same_message_again_gets_the_same_answer_and_is_stored_once(lab: Ward) -> None:
    patient = lab.patient()
    first = lab.send(count("1"))
    everything = lab.house.everything()
    lab.house.clock.on(minutes=5)
    assert lab.send(count("1")).text == first.text
    assert lab.house.everything() == everything
    assert len(lab.counts(patient)) == 1


def test_the_same_control_id_with_other_content_is_a_message_of_its_own(lab: Ward) -> None:
    """A laboratory that counts from 1 again: nothing is overwritten, nothing lost."""
    patient = lab.patient()
    lab.taken(count("1"))
    lab.taken(message(head("1"), pid(), obr("F2"), obx("70")))
    assert [one[0] for one in lab.counts(patient)] == ["63", "70"]
    assert len(received(lab.house.services)) == 2


def test_the_same_result_in_another_message_changes_nothing(lab: Ward) -> None:
    patient = lab.patient()
    lab.taken(count("1"))
    with lab.house.services.store.reading() as session:
        before = session.find(Fact)
    lab.taken(count("2"))
    with lab.house.services.store.reading() as session:
        assert session.find(Fact) == before
    assert lab.house.trail(patient)[-1].action == "read"


@pytest.mark.parametrize("written", ["x10E3/uL", "Thousand/uL", "/nL", "10*9/l", "K/mcL"])
def test_a_unit_is_read_as_over_fhir(tmp_path: Path, written: str) -> None:
    lab = ward(tmp_path)
    patient = lab.patient()
    lab.taken(count("1", f6=written))
    assert [one[0] for one in lab.counts(patient)] == ["63"]


def test_a_result_is_the_same_wherever_its_loinc_code_stands(tmp_path: Path) -> None:
    lab = ward(tmp_path)
    patient = lab.patient()
    lab.taken(count("1", "50"))
    lab.taken(count("2", "150", "C", f3="PLT^Plt^L^777-3^Platelets^LN"))
    assert [one[0] for one in lab.counts(patient)] == ["150"]


def test_a_clotted_specimen_doses_nothing(tmp_path: Path) -> None:
    lab = ward(tmp_path)
    patient = lab.patient()
    specimen = "SPM|1|||BLD" + "|" * 20 + "CLOT^Clotted^HL70493"
    lab.taken(message(head("1"), pid(), obr(), obx("16"), specimen))
    (found,) = lab.house.get(f"/patients/{patient}/platelet-counts")["items"]
    assert (found["value"], found["unreliable"]) == (16, True)


def test_a_time_without_an_offset_has_that_of_the_message(tmp_path: Path) -> None:
    """MSH-7 tells it, unless the settings tell the time zone of the feed."""
    lab = ward(tmp_path)
    patient = lab.patient()
    lab.taken(message(head("1", f7="20260309080000-0500"), pid(), obr(when="20260307233000"), obx()))
    (found,) = lab.house.get(f"/patients/{patient}/platelet-counts")["items"]
    assert found["collected_on"] == "2026-03-08"


def test_what_was_at_fault_is_looked_at_anew(tmp_path: Path) -> None:
    """The settings were wrong, and have been put right: the same message is taken now."""
    lab = ward(tmp_path)
    patient = lab.patient()
    sent = count("1", f6="Einheit 7")
    assert lab.send(sent).code == "AE"
    mended = Ward(lab.house.with_services(feeds=(FEED._replace(units={"Einheit 7": "10*3/uL"}),)))
    mended.taken(sent)
    assert len(mended.counts(patient)) == 1
    assert [one.code for one in received(mended.house.services)] == ["AA"]


def test_a_correction_finds_its_result_and_opens_what_was_derived(lab: Ward) -> None:
    """The dose of a count of 63 was accepted; the count becomes 263: the decision is open again."""
    patient = lab.house.on_course()
    lab.house.post(f"/patients/{patient}/doses", dose(7, 75))
    number = lab.house.get(f"/patients/{patient}")["identifiers"][0]["value"]
    lab.taken(message(head("1"), pid(number), obr(), obx("43")))
    proposal = lab.house.get(f"/patients/{patient}/next-dose")
    lab.house.post(
        f"/patients/{patient}/decisions", {"decision": "accept", "proposal_sha256": proposal["proposal_sha256"]}
    )
    lab.taken(message(head("2"), pid(number), obr(), obx("443", "C")))
    assert [one[0] for one in lab.counts(patient)] == ["443"]
    with lab.house.services.store.reading() as session:
        versions = [one for one in session.find(Fact, order=("id", "version")) if one.kind == "platelet-count"]
    assert [one.change for one in versions] == ["record", "correct"]
    (line,) = lab.house.get("/worklist?task=re-opened")["items"]
    assert line["patient"] == patient


def test_preliminary_doses_nothing_until_it_is_final(lab: Ward) -> None:
    patient = lab.patient()
    lab.taken(count("1", status="P"))
    assert lab.counts(patient) == [("63", "unverified", "2026-03-09")]
    lab.taken(count("2", "64"))
    assert lab.counts(patient) == [("64", "final", "2026-03-09")]


def test_final_without_the_value_makes_final_what_is_there(lab: Ward) -> None:
    patient = lab.patient()
    lab.taken(count("1", status="R"))
    lab.taken(count("2", "", "U", f2="", f6=""))
    assert lab.counts(patient) == [("63", "final", "2026-03-09")]
    lab.taken(count("3", "", "U", f2="", f6=""))
    said = lab.send(message(head("4"), pid(), obr("F2"), obx("", "U", f2="", f6="")))
    assert (said.code, said.errors) == ("AE", {"OBX^1^11": "204 E"})


@pytest.mark.parametrize("status", ["D", "W", "X"])
def test_a_result_is_taken_back_without_its_value(lab: Ward, status: str) -> None:
    patient = lab.patient()
    lab.taken(count("1"))
    lab.taken(count("2", "", status, f2="", f6=""))
    assert lab.counts(patient) == []
    lab.taken(count("3", "", status, f2="", f6=""))


def test_what_never_came_cannot_be_taken_back_but_may_be_cancelled(lab: Ward) -> None:
    lab.patient()
    assert lab.send(count("1", "", "W")).errors == {"OBX^1^11": "204 E"}
    lab.taken(count("2", "", "X"))
    lab.taken(count("3", "", "I"))
    assert lab.held() == []


def test_an_implausible_count_waits_to_be_verified(lab: Ward) -> None:
    patient = lab.patient()
    lab.house.record(patient, "platelet-counts", rest_count(7, 600))
    lab.taken(count("1", "50"))
    assert lab.counts(patient)[-1] == ("50", "unverified", "2026-03-09")


# Held


@pytest.mark.parametrize(
    ("who", "sent", "why"),
    [
        ({}, pid("4711"), "no-patient"),
        ({"born_on": "1960-05-02"}, pid(), "birth-date-differs"),
        ({"born_on": None}, pid(), "birth-date-missing"),
        ({}, pid(born=""), "birth-date-missing"),
    ],
)
def test_whose_it_is_not_certain_is_held_with_why(lab: Ward, who: dict[str, Any], sent: str, why: str) -> None:
    patient = lab.patient("17", **who)
    lab.taken(message(head(), sent, obr(), obx(status="P")))
    assert lab.counts(patient) == []
    (row,) = lab.held()
    assert (row["why"], row["might_be"], row["says"]) == (
        why, [] if why == "no-patient" else [patient], "preliminary",
    )  # fmt: skip
    assert lab.house.get("/worklist")["unmatched_results"] == 1
    assert "keep-result" in [one.action for one in lab.house.trail()]


def test_identifiers_of_several_patients_are_held(lab: Ward) -> None:
    one, other = lab.patient("17"), lab.house.patient(identifiers=[{"system": "urn:national", "value": "99"}])
    both = pid().replace("17^^^HOSP^MR", "17^^^HOSP^MR~99^^^NAT&1.2.3&ISO^NI")
    lab.taken(message(head(), both, obr(), obx()))
    (row,) = lab.held()
    assert (row["why"], row["might_be"]) == ("several-patients", sorted((one, other)))


def test_an_inactive_patients_results_are_held(lab: Ward) -> None:
    patient = lab.patient()
    lab.house.call("pharmacist", "PATCH", f"/patients/{patient}", {"active": False, "reason": "moved"}, version=1)
    lab.taken(count("1"))
    assert [(one["why"], one["might_be"]) for one in lab.held()] == [("patient-inactive", [patient])]


def test_a_patient_of_another_clinic_is_not_told_of(lab: Ward) -> None:
    lab.house.patient("stranger", identifiers=[{"system": MRN, "value": "17"}])
    lab.taken(count("1"))
    assert [(one["why"], one["might_be"]) for one in lab.held()] == [("no-patient", [])]


def test_a_held_result_is_assigned_as_what_it_is(lab: Ward) -> None:
    """A preliminary one stays preliminary, and knows its instant."""
    patient = lab.patient(born_on=None)
    lab.taken(count("1", status="P"))
    (row,) = lab.held()
    answer = lab.house.call("pharmacist", "POST", f"/unmatched-results/{row['id']}/assignment", {"patient": patient})
    assert (answer.status, answer.json["status"]) == (201, "unverified")
    with lab.house.services.store.reading() as session:
        (fact,) = session.find(Fact)
    assert fact.taken_at == "2026-03-09T07:45:00+01:00"


def test_what_is_said_of_a_held_result_changes_what_is_held(lab: Ward) -> None:
    """Corrected, overtaken, made final, taken back: there is one row, and it says what was said last."""
    lab.taken(count("1", status="P"))
    lab.taken(count("2", "", "U", f2="", f6=""))
    assert [(one["says"], one["result"]["value"]) for one in lab.held()] == [("final", 63)]
    lab.taken(count("3", "70", "C"))
    lab.taken(count("4", "61", "P"))
    assert [(one["says"], one["result"]["value"]) for one in lab.held()] == [("corrected", 70)]
    lab.taken(count("5", "70", "C"))
    lab.taken(count("6", "", "W"))
    assert lab.held() == []
    lab.taken(count("7", "71", "F"))
    assert [one["result"]["value"] for one in lab.held()] == [71]


def test_a_correction_of_who_it_is_settles_what_was_held(lab: Ward) -> None:
    """The birth date was mistyped at the laboratory; it sends the result again with the right one."""
    patient = lab.patient()
    lab.taken(message(head("1"), pid(born="19700501"), obr(), obx()))
    assert len(lab.held()) == 1
    lab.taken(message(head("2"), pid(), obr(), obx("63", "C")))
    assert lab.held() == []
    assert [one[0] for one in lab.counts(patient)] == ["63"]


def test_a_correction_of_what_a_person_assigned_comes_before_a_person_again(lab: Ward) -> None:
    patient = lab.patient(born_on=None)
    lab.taken(count("1"))
    lab.house.post(f"/unmatched-results/{lab.held()[0]['id']}/assignment", {"patient": patient})
    lab.taken(count("2", "163", "C"))
    (row,) = lab.held()
    assert (row["why"], row["might_be"], row["says"]) == ("birth-date-missing", [patient], "corrected")
    assert [one[0] for one in lab.counts(patient)] == ["63"]
    lab.house.post(f"/unmatched-results/{row['id']}/assignment", {"patient": patient})
    assert [one[0] for one in lab.counts(patient)] == ["163"], "assigned, it corrects the fact that it is of"
    lab.taken(count("3", "", "W"))
    (row,) = lab.held()
    assert row["says"] == "entered-in-error"
    lab.house.post(f"/unmatched-results/{row['id']}/assignment", {"patient": patient})
    assert lab.counts(patient) == []


def test_what_a_person_corrected_is_not_corrected_by_the_feed(lab: Ward) -> None:
    patient = lab.patient()
    lab.taken(count("1"))
    fact = lab.house.get(f"/patients/{patient}/platelet-counts")["items"][0]
    path = f"/patients/{patient}/platelet-counts/{fact['id']}"
    body = {**rest_count(0, 65), "reason": "read off the paper"}
    assert lab.house.call("pharmacist", "PUT", path, body, version=1).status == 200
    lab.taken(count("2", "66", "C"))
    assert [one["why"] for one in lab.held()] == ["changed-here"]
    assert [one[0] for one in lab.counts(patient)] == ["65"]


def test_what_comes_late_undoes_nothing(lab: Ward) -> None:
    """A preliminary result after the final one, and what was corrected since: held, for nobody can tell."""
    patient = lab.patient()
    lab.taken(count("1", "63"))
    lab.taken(count("2", "60", "P"))
    assert [(one["why"], one["says"]) for one in lab.held()] == [("comes-late", "preliminary")]
    lab.house.post(f"/unmatched-results/{lab.held()[0]['id']}/dismissal", {"reason": "late"})
    lab.taken(count("3", "64", "C"))
    lab.taken(count("4", "63", "C"))
    assert [one["why"] for one in lab.held()] == ["comes-late"]
    assert [one[0] for one in lab.counts(patient)] == ["64"]


def test_a_result_of_one_patient_is_not_given_to_another(lab: Ward) -> None:
    """The same order and code, now with the number of somebody else: held, and both are named."""
    one, other = lab.patient("17"), lab.patient("18")
    lab.taken(count("1"))
    lab.taken(message(head("2"), pid("18"), obr(), obx("63", "C")))
    assert [(row["why"], sorted(row["might_be"])) for row in lab.held()] == [("other-patient", sorted((one, other)))]
    assert lab.counts(other) == []


def test_a_fault_of_what_would_be_held_is_told(lab: Ward) -> None:
    said = lab.send(message(head(), pid("4711"), obr(when="20260310"), obx()))
    assert (said.code, said.errors) == ("AE", {"OBR^1^7": "102 E"})


# At the door


@pytest.mark.parametrize(
    ("sent", "place", "code"),
    [
        (message(head(f9="ADT^A08")), "MSH^1^9", "200 E"),
        (message(head(f11="T"), pid(), obr(), obx()), "MSH^1^11", "202 E"),
        (message(head(f12="2.2")), "MSH^1^12", "203 E"),
        (message(head("")), "MSH^1^10", "101 E"),
        (message(head(f18="8859/15")), "MSH^1^18", "103 E"),
        (message(head(f18=""), pid().replace("Muster", "Müster")), "MSH^1^18", "102 E"),
        (b"hello", "MSH^1", "100 E"),
    ],
)
def test_what_is_turned_away_leaves_nothing(lab: Ward, sent: bytes, place: str, code: str) -> None:
    lab.patient()
    before = lab.house.everything()
    said = lab.send(sent)
    assert (said.code, said.errors) == ("AR", {place: code})
    assert lab.house.everything() == before


def test_a_sender_that_is_no_feed_is_turned_away(tmp_path: Path) -> None:
    lab = ward(tmp_path, FEED._replace(application="LIS", facility="ELSEWHERE"))
    assert lab.send(count("1")).errors == {"MSH^1^3": "204 E"}
    mended = Ward(lab.house.with_services(feeds=(FEED._replace(application="LIS"),)))
    mended.patient()
    mended.taken(count("2"))


def test_an_old_version_is_told_places_as_it_knows_them(lab: Ward) -> None:
    said = lab.send(message(head(f12="2.3"), pid(), obr(), obx("x")))
    assert "\rERR|OBX^1^5^102&Data type error&HL70357\r" in said.text
    assert "\rMSA|AE|1|OBX[1]-5: must be an exact number" in said.text


def test_what_looks_like_a_count_is_warned_of_and_accepted(lab: Ward) -> None:
    said = lab.send(message(head(), pid(), obr(), obx(f3="THR^Thrombozyten^99LAB")))
    assert (said.code, said.errors) == ("AA", {"OBX^1^3": "103 W"})


def test_a_control_id_comes_back_as_it_went(lab: Ward) -> None:
    said = lab.send(message(head("A\\T\\B\\S\\C")))
    assert "\rMSA|AA|A\\T\\B\\S\\C\r" in said.text


def test_only_systems_with_the_right_send_and_only_messages(lab: Ward) -> None:
    client, app = lab.house, lab.house.app.test_client()
    kind = {"Content-Type": "application/hl7-v2"}

    def status(who: str | None, **headers: str) -> int:
        token = {} if who is None else {"Authorization": f"Bearer {client.tokens[who]}"}
        return app.post("/hl7", data=count("1"), headers={**kind, **token, **headers}).status_code

    assert status("ehr") == 200
    assert status("ehr", **{"Content-Type": "x-application/hl7-v2+er7"}) == 200
    assert status("ehr", **{"Content-Type": "text/plain"}) == 415
    assert status("pharmacist") == 403
    assert status("auditor") == 403
    assert status(None) == 401
    assert app.get("/hl7").status_code == 405


def test_the_codes_of_faults_are_those_of_the_table() -> None:
    assert all(100 <= code < 300 and text for code, text in ERRORS.items())


# What is kept


def test_messages_are_known_by_what_they_say_and_forgotten_in_time(lab: Ward, tmp_path: Path) -> None:
    lab.patient()
    sent = count("1")
    lab.taken(sent)
    (row,) = received(lab.house.services)
    assert (row.feed, row.control_id, row.sha256) == ("laboratory", "1", hashlib.sha256(sent).hexdigest())
    clock: Clock = lab.house.clock
    clock.on(days=1)
    lab.taken(count("2"))
    clock.now += MESSAGES_KEPT - timedelta(hours=12)
    done = keep_house(lab.house.services, tmp_path / "seals", clock.now)
    assert done is not None
    assert done.messages == 1
    assert [one.control_id for one in received(lab.house.services)] == ["2"]
    clock.on(days=400)
    done = keep_house(lab.house.services, tmp_path / "seals", clock.now)
    assert done is not None
    assert done.messages == 0, "the last one of a feed tells how long it is silent"


def test_a_feed_whose_account_cannot_be_used_is_told_to_send_later(lab: Ward) -> None:
    """The account is disabled: over HTTP its token ends; over MLLP nothing is taken."""
    lab.patient()
    ident = lab.house.ids["ehr"]
    lab.house.call("admin", "PATCH", f"/accounts/{ident}", {"active": False}, version=1)
    (answer,) = answer_all(lab.house.services, [(Sender([FEED]), count("1"))])
    assert Said(answer.text).errors == {"MSH^1": "207 E"}
    assert answer.code == "AR"
