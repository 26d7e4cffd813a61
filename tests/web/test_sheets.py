"""What is printed of a patient: what stands on it, and that nothing is to be prepared that is not decided."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest

from tests.api.deciding import act, alerted, decide, decided, dosed, give, override, referred_by_rule, starting
from tests.api.support import House, count, day, dose, event, weight
from tests.web.support import Page, Person
from titrator.titration.preparation import VIALS


def sheet(house: House, patient: str, ident: int = 1, who: str = "technician") -> Page:
    return Person(house, who).get(f"/patients/{patient}/decisions/{ident}/preparation")


def text(page: Page) -> str:
    """What is seen of the sheet itself, word by word."""
    assert page.status == 200, page.text
    main = page.html.partition("<main")[2].partition("</main>")[0]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", main.partition(">")[2])).split())


# The preparation sheet


def test_a_sheet_to_prepare_from(house: House) -> None:
    patient = dosed(house, 30)
    decided(house, patient)
    said = text(sheet(house, patient))
    for one in (
        "Preparation sheet: romiPLOStim",
        "Patient Patient1, Ada",
        "Sun 1 May 1960 (65 years)",
        "pharmacist-1",
        "225 micrograms 3 micrograms/kg × 75 kg, weighed Mon 2 Feb 2026",
        "0.45 mL in the syringe, of 500 micrograms/mL",
        "due Mon 9 Mar 2026 , under the skin",
        "250 micrograms 1 vial 375 micrograms 0.72 mL",
        "No saline and no bacteriostatic water",
        "Left over of what is printed: 25 micrograms",
        "Draw up 0.45 mL of the solution (225 micrograms).",
        "Accepted Pharmacist (pharmacist), Mon 9 Mar 2026 13:00",
        "ITP, adults, US label (us-itp-adult)",
        "decision 1, version 1",
        "Prepared by",
        "Checked by",
        "Batch",
        "Expiry",
        "Given by",
    ):
        assert one in said, one
    assert not re.search(r"\d\.\d*0 (mL|micrograms)|\W\.\d|\bµg\b|\bmcg\b", said)
    assert "computed:" not in said
    assert "Not verified" not in said


def test_each_size_of_vial_has_its_own_water(house: House) -> None:
    patient = dosed(house, 90)
    override(house, patient, "prescriber", micrograms=875)
    act(house, patient, 1, "second-signature")
    page = sheet(house, patient)
    said = text(page)
    for size, number in ((500, 1), (250, 1), (125, 1)):
        assert f"{size} micrograms {number} vial {VIALS[size].contains} micrograms" in said
        assert VIALS[size].water.text in said
    for part in ("1 mL from a 500", "0.5 mL from a 250", "0.25 mL from a 125"):
        assert part in said
    assert "Second signature Pharmacist (pharmacist)" in said
    assert "Overridden Prescriber (prescriber)" in said
    assert "Clinical judgement. seen on the ward" in said


def test_what_was_not_read_in_a_label_is_not_told_as_a_fact(house: House) -> None:
    """The water of the vial of 125 micrograms, and how a small dose is diluted."""
    patient = house.begun(0)
    house.post(f"/patients/{patient}/weights", weight(0, 10, confirm=["WEIGHT-UNUSUAL"]))
    house.post(f"/patients/{patient}/platelet-counts", count(0, 20))
    decided(house, patient)
    page = sheet(house, patient)
    said = text(page)
    assert "0.44 mL is computed and not verified From the label in hand:" in said
    assert "Not verified, the label in hand comes first: Only then add 1.38 mL" in said
    assert "0.08 mL in the syringe, of 125 micrograms/mL (diluted)" in said
    assert "500 micrograms/mL not to be drawn up yet" in said
    assert "Only once diluted to 125 micrograms/mL (below): 0.08 mL" in said
    unverified = [step for step in re.findall(r"<li>(.*?)</li>", page.html) if "unverified" in step]
    assert len(unverified) == 2


def test_a_dose_that_the_syringe_rounds_says_what_was_computed(house: House) -> None:
    patient = starting(house, kg=58.1)
    decided(house, patient)
    said = text(sheet(house, patient))
    assert "60 micrograms 1 microgram/kg × 58.1 kg" in said
    assert "computed: 58.1 micrograms" in said


def test_a_weight_in_pounds_is_shown_to_a_hundredth_of_a_kilogram(house: House) -> None:
    patient = house.begun(0)
    house.post(f"/patients/{patient}/weights", weight(0, 165, "[lb_av]"))
    house.post(f"/patients/{patient}/platelet-counts", count(0, 20))
    decided(house, patient)
    assert "× 74.84 kg" in text(sheet(house, patient))


def test_a_dose_that_was_cut_says_to_what(house: House) -> None:
    patient = house.on_course(kg=95, protocol="cart-2021-case")
    for ago in (14, 7):
        give(house, patient, 475, ago)
    house.post(f"/patients/{patient}/platelet-counts", count(0, 30))
    decided(house, patient, acknowledge=["DOSE-CAPPED"])
    said = text(sheet(house, patient))
    assert "500 micrograms 6 micrograms/kg × 95 kg" in said
    assert "= 570 micrograms cut to the maximum, 500 micrograms" in said


def test_alerts_that_were_seen_are_named(house: House) -> None:
    patient = alerted(house)
    alerts = [one["code"] for one in house.get(f"/patients/{patient}/next-dose")["alerts"]]
    decided(house, patient, acknowledge=alerts)
    assert f"Alerts seen {', '.join(sorted(alerts))}" in text(sheet(house, patient))


def nothing(house: House) -> str:
    return dosed(house, 30)


def awaiting(house: House) -> str:
    patient = referred_by_rule(house)
    assert override(house, patient, "prescriber", micrograms=100).json["status"] == "awaiting-second"
    return patient


def referred(house: House) -> str:
    patient = dosed(house, 30)
    decided(house, patient, "refer", reason_code="bleeding", comment="seen on the ward")
    return patient


def held(house: House) -> str:
    patient = dosed(house, 450)
    decided(house, patient)
    return patient


def no_dose(house: House) -> str:
    patient = dosed(house, 30)
    override(house, patient, no_dose=True)
    return patient


def done(house: House) -> str:
    patient = dosed(house, 30)
    decided(house, patient)
    give(house, patient, 225)
    return patient


def not_done(house: House) -> str:
    patient = dosed(house, 30)
    decided(house, patient)
    house.record(patient, "doses", {"not_given_on": day(0), "reason_not_given": "absent"}, "technician")
    return patient


def withdrawn(house: House) -> str:
    patient = dosed(house, 30)
    decided(house, patient)
    act(house, patient, 1, "withdrawal")
    return patient


def superseded(house: House) -> str:
    patient = dosed(house, 30)
    decided(house, patient)
    override(house, patient, micrograms=150)
    return patient


def reopened(house: House) -> str:
    patient = dosed(house, 30)
    decided(house, patient)
    found = house.get(f"/patients/{patient}/platelet-counts")["items"][-1]["id"]
    body = {**count(0, 210), "reason": "misread"}
    answer = house.call("pharmacist", "PUT", f"/patients/{patient}/platelet-counts/{found}", body, version=1)
    assert answer.status == 200
    return patient


def thrombosed(house: House) -> str:
    patient = dosed(house, 30)
    decided(house, patient)
    house.post(f"/patients/{patient}/events", event(0, "thrombosis"))
    return patient


def ended(house: House) -> str:
    patient = dosed(house, 30)
    decided(house, patient)
    course = house.call("prescriber", "GET", f"/patients/{patient}/course")
    body = {"reason": "remission", "ended_on": day(0)}
    path = f"/patients/{patient}/course/discontinuation"
    assert house.call("prescriber", "POST", path, body, version=course.json["version"]).status in (200, 201)
    return patient


def lapsed(house: House) -> str:
    patient = dosed(house, 30)
    decided(house, patient)
    house.clock.on(days=4)
    return patient


NOT_TO_PREPARE: list[tuple[Callable[[House], str], str]] = [
    (awaiting, "awaits a second signature"),
    (referred, "referred to a prescriber, and has no dose"),
    (held, "by it no dose is to be given"),
    (no_dose, "by it no dose is to be given"),
    (done, "its dose has been given"),
    (not_done, "recorded as not given"),
    (withdrawn, "it was withdrawn"),
    (superseded, "a later decision has replaced it"),
    (reopened, "decide anew"),
    (thrombosed, "decide anew"),
    (ended, "it is void"),
    (lapsed, "it has lapsed"),
]


@pytest.mark.parametrize(("made", "why"), NOT_TO_PREPARE, ids=[made.__name__ for made, _ in NOT_TO_PREPARE])
def test_nothing_is_prepared_from_what_is_not_in_force(house: House, made: Callable[[House], str], why: str) -> None:
    patient = made(house)
    page = sheet(house, patient)
    assert page.status == 409
    assert why in page.text
    assert "NOTHING-TO-PREPARE" in page.text
    assert "mL" not in page.text
    assert "data-print" not in page.html


def test_a_proposal_has_no_sheet(house: House) -> None:
    assert sheet(house, nothing(house)).status == 404


def test_a_dose_that_the_facts_of_today_do_not_bear_out_is_not_prepared(house: House) -> None:
    """A fact that nobody has verified stops the answer, and with it the preparation."""
    patient = dosed(house, 30)
    decided(house, patient)
    house.post(f"/patients/{patient}/weights", weight(0, 40), "ehr")
    page = sheet(house, patient)
    assert page.status == 409
    assert "mL" not in page.text


def test_another_clinics_patient_has_no_sheets(house: House) -> None:
    patient = dosed(house, 30)
    decided(house, patient)
    stranger = Person(house, "stranger")
    for path in ("decisions/1/preparation", "calendar", "letter"):
        assert stranger.get(f"/patients/{patient}/{path}").status == 404


@pytest.mark.parametrize("role", ["auditor", "admin"])
def test_who_may_not_read_patients_has_no_sheets(house: House, role: str) -> None:
    patient = dosed(house, 30)
    decided(house, patient)
    for path in ("decisions/1/preparation", "calendar", "letter"):
        assert Person(house, role).get(f"/patients/{patient}/{path}").status == 403


def test_a_sheet_leaves_an_entry_in_the_trail(house: House) -> None:
    patient = dosed(house, 30)
    decided(house, patient)
    sheet(house, patient)
    read = [row.subject for row in house.trail(patient) if row.action == "read"]
    assert f"patient/{patient}/decision/1/preparation" in read


# The calendar


def calendar(house: House, patient: str) -> str:
    return text(Person(house).get(f"/patients/{patient}/calendar"))


def test_what_is_decided_and_scheduled_stands_in_the_calendar(house: House) -> None:
    patient = dosed(house, 30)
    decided(house, patient)
    said = calendar(house, patient)
    assert "9 Mar today Injection (planned)" in said
    assert "16 Mar Blood test (planned)" in said
    assert "Whom to call" in said
    assert "Haematology A" in said
    assert "What to bring" in said
    assert "3 May" in said
    assert "4 May" not in said.replace("4 May 1960", "")
    for clinical in ("romiPLOStim", "Nplate", "platelet", "ITP ", "microgram", "Increase"):
        assert clinical not in said, clinical


def test_a_first_dose_that_nobody_has_signed_is_not_promised(house: House) -> None:
    patient = starting(house)
    assert "Injection" not in calendar(house, patient)
    decided(house, patient)
    assert "9 Mar today Injection (planned)" in calendar(house, patient)


def test_what_is_late_asks_for_a_call(house: House) -> None:
    patient = dosed(house, 90, last=7)
    house.clock.on(days=9)
    said = calendar(house, patient)
    assert "Please call the clinic: Injection of Mon 9 Mar 2026 is still open." in said
    assert "Please call the clinic: Blood test of Mon 16 Mar 2026 is still open." in said


def test_who_is_on_no_course_has_no_dates(house: House) -> None:
    assert "No date is planned at present" in calendar(house, house.patient())


def test_holidays_are_told(house: House) -> None:
    found = house.call("admin", "GET", f"/clinics/{house.clinic}")
    body = {**{k: found.json[k] for k in ("name", "time_zone", "injection_days")}, "holidays": ["2026-03-16"]}
    assert house.call("admin", "PUT", f"/clinics/{house.clinic}", body, version=found.json["version"]).status == 200
    patient = dosed(house, 30)
    said = calendar(house, patient)
    assert "16 Mar closed 17 Mar Blood test (planned)" in said


# The letter


def letter(house: House, patient: str) -> str:
    return text(Person(house).get(f"/patients/{patient}/letter"))


def test_a_letter_tells_the_course(house: House) -> None:
    patient = dosed(house, 30)
    house.post(f"/patients/{patient}/events", event(30, "platelet_transfusion"))
    decided(house, patient)
    said = letter(house, patient)
    for one in (
        "Monday 9 March 2026",
        "Treatment with romiPLOStim",
        "Immune thrombocytopenia (ITP)",
        "since Mon 2 Feb 2026, active; first dose Mon 23 Feb 2026",
        "2 micrograms/kg: 2 doses (Mon 23 Feb 2026 – Mon 2 Mar 2026)",
        "Last dose given 150 micrograms, Mon 2 Mar 2026",
        "30 ×10⁹/L (CTCAE grade 3) Mon 9 Mar 2026",
        "0 weeks above target up to the newest count; never above target",
        "of platelets: 1 in the 8 weeks before the first dose, 0 since",
        "Accepted (in force) · proposed: Increase · 225 micrograms (3 micrograms/kg), Mon 9 Mar 2026",
        "By Pharmacist (pharmacist)",
        "[BELOW-TARGET; Nplate US prescribing information, section 2.1]",
        "Next dose 225 micrograms (3 micrograms/kg), Mon 9 Mar 2026",
        "Next platelet count Mon 16 Mar 2026",
        "raised with a count below 50, lowered with one above 200 and withheld with one above 400",
        "Signature, name",
    ):
        assert one in said, one


def test_two_doses_of_a_day_are_one_in_a_letter(house: House) -> None:
    patient = house.on_course(kg=60)
    for micrograms, level in ((60, 1), (120, 2)):
        give(house, patient, micrograms, 7, micrograms_per_kg=level)
    house.post(f"/patients/{patient}/platelet-counts", count(0, 90))
    said = letter(house, patient)
    assert "3 micrograms/kg: 1 dose" in said
    assert "Last dose given 180 micrograms (3 micrograms/kg), Mon 2 Mar 2026" in said


def test_two_doses_of_a_day_are_one_on_the_worklist(house: House) -> None:
    patient = house.on_course(kg=60)
    for micrograms, level in ((60, 1), (120, 2)):
        give(house, patient, micrograms, 7, micrograms_per_kg=level)
    house.post(f"/patients/{patient}/platelet-counts", count(0, 90))
    (line,) = house.get("/worklist")["items"]
    assert (line["last_dose"]["micrograms"], line["last_dose"]["micrograms_per_kg"]) == (180, 3)


def test_a_letter_promises_no_dose_that_nobody_has_signed(house: House) -> None:
    said = letter(house, dosed(house, 30))
    assert "Nothing has been decided in this course here." in said
    assert "Next dose not decided" in said
    assert "225 micrograms" not in said


def test_a_letter_tells_why_there_is_no_dose(house: House) -> None:
    patient = referred_by_rule(house)
    said = letter(house, patient)
    assert "By the protocol Refer to a prescriber." in said
    assert "SAFETY-EVENT" in said


@pytest.mark.parametrize("made", [awaiting, withdrawn, reopened, lapsed, done])
def test_a_letter_names_no_next_dose_of_a_decision_that_is_not_in_force(
    house: House, made: Callable[[House], str]
) -> None:
    assert "Next dose not decided" in letter(house, made(house))


def test_a_letter_of_a_course_that_has_ended(house: House) -> None:
    said = letter(house, ended(house))
    assert "until Mon 9 Mar 2026, ended" in said
    assert "there is no next dose" in said


def test_doses_of_no_known_level_are_told_so(house: House) -> None:
    patient = house.begun(14)
    house.post(f"/patients/{patient}/doses", dose(7, 150))
    assert "level not known: 1 dose (Mon 2 Mar 2026)" in letter(house, patient)


def test_a_single_dose_is_told_by_what_it_came_to(house: House) -> None:
    patient = house.on_course(1, 77, "us-hs-ars")
    house.post(f"/patients/{patient}/doses", dose(1, 770))
    said = letter(house, patient)
    assert "10 micrograms/kg: 1 dose (Sun 8 Mar 2026)" in said
    assert "weeks above target: not known" in said


def test_who_never_was_on_a_course_has_no_letter(house: House) -> None:
    patient = house.patient()
    assert Person(house).get(f"/patients/{patient}/letter").status == 404


def test_a_long_comment_is_cut(house: House) -> None:
    patient = dosed(house, 30)
    answer: Any = decide(house, patient, "override", reason_code="other", comment="word " * 199 + "end", micrograms=150)
    assert answer.status == 201
    for said in (text(sheet(house, patient)), letter(house, patient)):
        assert "word word" in said
        assert "end" not in re.findall(r"word …?(\w*)", said)
        assert "…" in said
