"""How a patient responded to each course: on the timeline and as CSV."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import Any, Final

import pytest

from tests.api.support import TODAY, WHY, House, count, day, dose, event, observation
from titrator.security.permissions import Role
from titrator.workflow import demo, response_table
from titrator.workflow.demonstration import case_document

Response = dict[str, Any]

BEFORE, AFTER = "in_8_weeks_up_to_first_dose", "after_first_dose"
#: What is not known of a course without a dose.
UNKNOWN: Final = {
    "first_dose_on": None,
    "first_count_above_target_on": None,
    "first_count_above_target_confounded": None,
    "weeks_above_target": None,
    "longest_weeks_above_target": None,
    "platelet_transfusions_in_8_weeks_before_first_dose": None,
    "platelet_transfusions_since_first_dose": None,
    "days_free_of_platelet_transfusions": None,
    "red_cell_transfusions_in_8_weeks_before_first_dose": None,
    "red_cell_transfusions_since_first_dose": None,
    "days_free_of_red_cell_transfusions": None,
    "highest_micrograms_per_kg": None,
    "last_micrograms_per_kg": None,
}
NOTHING: Final = [(None, None, None)] * 6


def responses(house: House, patient: str, on: str = TODAY) -> list[Response]:
    found: list[Response] = house.get(f"/patients/{patient}/timeline?on={on}")["responses"]
    return found


def response(house: House, patient: str, on: str = TODAY) -> Response:
    (found,) = responses(house, patient, on)
    return found


def grades(found: Response, analyte: str, period: str) -> list[tuple[int | None, str | None, str | None]]:
    """Values, first and last day of grades 0 to 4, then of those without a grade."""
    (mine,) = [one[period] for one in found["grades"] if one["analyte"] == analyte]
    assert [one["grade"] for one in mine] == [0, 1, 2, 3, 4, None]
    return [(one["values"], one["first_on"], one["last_on"]) for one in mine]


def enter(house: House, patient: str, collection: str, *bodies: dict[str, object], who: str = "pharmacist") -> None:
    for body in bodies:
        answer = house.record(patient, collection, body, who)
        assert answer.status == 201, answer.text


def treated(house: House, *counts: tuple[int, object], protocol: str = "us-itp-adult") -> str:
    """A patient on a course since 70 days ago, with a first dose that day, and counts, by how long ago they were."""
    patient = house.on_course(started_ago=70, protocol=protocol)
    enter(house, patient, "doses", dose(70, 75))
    enter(house, patient, "platelet-counts", *(count(ago, value) for ago, value in counts))
    return patient


def table(house: House, query: str = "", who: str = "pharmacist") -> list[dict[str, str]]:
    answer = house.call(who, "GET", f"/responses.csv{query}")
    assert answer.status == 200, answer.text
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.reader(io.StringIO(answer.text, newline="")))
    assert tuple(rows[0]) == response_table.COLUMNS
    assert {len(row) for row in rows} == {len(rows[0])}
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


# The case that this program started from


def case(house: House) -> str:
    """The published case, with its last count today and so its first dose 161 days, 23 weeks, ago."""
    document: Any = case_document(house.clock.now.date())
    patient = house.patient(born_on=document["born_on"], family_name="Avocet")
    first = {"protocol": demo.PROTOCOL, "started_on": document["doses"][0]["given_on"]}
    house.post(f"/patients/{patient}/course", first)
    enter(house, patient, "events", *document["events"])
    enter(house, patient, "weights", *document["weights"])
    enter(house, patient, "platelet-counts", *document["platelet_counts"])
    enter(house, patient, "doses", *document["doses"])
    return patient


def test_the_published_case(house: House) -> None:
    """By hand, from demo.py: weekly counts of 16 on the day of the first dose, 14, 18, 21, 25, 24, 31, 38, 44, then 57
    in week 9 and from 60 to 73 until week 23. Transfused 21 and 14 days before the first dose, never since.
    Doses of weeks 0 to 22 rise by 1 from 1 to 8 µg/kg, then stay at 8.6.

    Above target is above 50: first in week 9, 77 days after a transfusion, of which 7 would confound; then for 98 days,
    14 weeks. Of the counts after the first dose 14, 18, 21 and 24 (weeks 1, 2, 3, 5) are below 25, grade 4; 25, 31, 38
    and 44 (weeks 4, 6, 7, 8) below 50, grade 3; the 15 of weeks 9 to 23 below 75, grade 2.
    """
    assert demo.PLATELETS[9] == 57
    found = response(house, case(house))
    assert {key: value for key, value in found.items() if key != "grades"} == {
        "course": {"id": 1, "version": 1},
        "protocol": "cart-2021-case",
        "status": "active",
        "started_on": day(161),
        "ended_on": None,
        "until": TODAY,
        "first_dose_on": day(161),
        "first_count_above_target_on": day(161 - 63),
        "first_count_above_target_confounded": False,
        "weeks_above_target": 14,
        "longest_weeks_above_target": 14,
        "platelet_transfusions_in_8_weeks_before_first_dose": 2,
        "platelet_transfusions_since_first_dose": 0,
        "days_free_of_platelet_transfusions": 161,
        "red_cell_transfusions_in_8_weeks_before_first_dose": 0,
        "red_cell_transfusions_since_first_dose": 0,
        "days_free_of_red_cell_transfusions": 161,
        "highest_micrograms_per_kg": Decimal("8.6"),
        "last_micrograms_per_kg": Decimal("8.6"),
    }
    none = (0, None, None)
    assert grades(found, "platelets", BEFORE) == [none, none, none, none, (1, day(161), day(161)), none]
    assert grades(found, "platelets", AFTER) == [
        none,
        none,
        (15, day(98), day(0)),
        (4, day(161 - 28), day(161 - 56)),
        (4, day(161 - 7), day(161 - 35)),
        none,
    ]
    for analyte in ("haemoglobin", "neutrophils"):
        assert (grades(found, analyte, BEFORE), grades(found, analyte, AFTER)) == (NOTHING, NOTHING)


def test_the_published_case_as_a_row(house: House) -> None:
    patient = case(house)
    (row,) = table(house)
    assert row["patient"] == patient
    assert (row["identifier_system"], row["identifier_value"]) == ("urn:mrn", "pharmacist-1")
    assert (row["clinic"], row["course"], row["until"]) == (house.clinic, "1", TODAY)
    assert row["first_count_above_target_on"] == day(98)
    assert row["first_count_above_target_confounded"] == "false"
    assert (row["weeks_above_target"], row["platelet_transfusions_since_first_dose"]) == ("14", "0")
    assert row["highest_micrograms_per_kg"] == "8.6"
    assert row["platelets_after_first_dose_grade_4_values"] == "4"
    assert row["platelets_after_first_dose_grade_4_last_on"] == day(161 - 35)
    assert row["platelets_after_first_dose_grade_0_first_on"] == ""
    assert row["haemoglobin_after_first_dose_grade_4_values"] == ""
    text = house.call("pharmacist", "GET", "/responses.csv").text
    assert not [word for word in ("Avocet", "Ada", "1959-05-01") if word in text], "no name, no birth date"


def test_a_past_day_of_the_case(house: House) -> None:
    """Up to week 8 the highest count is 44."""
    found = response(house, case(house), day(161 - 56))
    assert (found["until"], found["first_count_above_target_on"]) == (day(161 - 56), None)
    assert (found["first_count_above_target_confounded"], found["weeks_above_target"]) == (None, 0)
    assert found["longest_weeks_above_target"] == 0
    assert (found["days_free_of_platelet_transfusions"], found["last_micrograms_per_kg"]) == (56, Decimal("8.6"))


# The count


def test_no_course_no_response(house: House) -> None:
    patient = house.patient()
    enter(house, patient, "platelet-counts", count(3))
    assert (responses(house, patient), table(house)) == ([], [])


def test_without_a_dose_nothing_is_known_but_the_counts_before_it(house: House) -> None:
    patient = house.on_course(started_ago=30)
    enter(house, patient, "platelet-counts", count(57, 20), count(56, 20), count(10, 60))
    enter(house, patient, "events", event(3, "platelet_transfusion"))
    found = response(house, patient)
    assert {key: found[key] for key in UNKNOWN} == UNKNOWN
    assert (found["started_on"], found["until"]) == (day(30), TODAY)
    none = (0, None, None)
    expected = [none, none, (1, day(10), day(10)), none, (1, day(56), day(56)), none]
    assert grades(found, "platelets", BEFORE) == expected
    assert grades(found, "platelets", AFTER) == NOTHING


def test_without_a_count_only_the_count_is_not_known(house: House) -> None:
    found = response(house, treated(house))
    assert (found["first_dose_on"], found["weeks_above_target"]) == (day(70), None)
    assert (found["longest_weeks_above_target"], found["first_count_above_target_confounded"]) == (None, None)
    assert (found["days_free_of_platelet_transfusions"], found["highest_micrograms_per_kg"]) == (70, 1)
    assert grades(found, "platelets", BEFORE) == grades(found, "platelets", AFTER) == NOTHING


@pytest.mark.parametrize(
    ("counts", "first", "weeks", "longest"),
    [
        ([(70, 80)], None, None, None),
        ([(77, 80), (69, 49)], None, 0, 0),
        ([(69, 50)], 69, 0, 0),
        ([(70, 80), (63, 60), (56, 60)], 63, 1, 1),
        ([(63, 60), (56, 60), (49, 60), (42, 20), (35, 60), (28, 60)], 63, 1, 2),
        ([(63, 60), (35, 60), (28, 20)], 63, 0, 4),
        ([(63, 20), (56, 60), (50, 60)], 56, 0, 0),
    ],
)
def test_weeks_above_target(
    house: House, counts: list[tuple[int, int]], first: int | None, weeks: int | None, longest: int | None
) -> None:
    """Above target is from 50 on; counts up to the day of the first dose, 70 days ago, are no response."""
    found = response(house, treated(house, *counts))
    assert found["first_count_above_target_on"] == (first and day(first))
    assert (found["weeks_above_target"], found["longest_weeks_above_target"]) == (weeks, longest)


def test_what_is_unreliable_or_not_verified_is_passed_over(house: House) -> None:
    patient = treated(house, (63, 20), (14, 60))
    enter(house, patient, "platelet-counts", count(56, 60, unreliable=True))
    enter(house, patient, "platelet-counts", count(49, 3000), who="ehr")
    enter(house, patient, "doses", dose(7, 400), who="ehr")
    found = response(house, patient)
    assert (found["first_count_above_target_on"], found["highest_micrograms_per_kg"]) == (day(14), 1)
    counted = [values for values, _, _ in grades(found, "platelets", AFTER)]
    assert counted == [0, 0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("kind", "ago", "confounded"),
    [
        ("platelet_transfusion", 49, False),
        ("platelet_transfusion", 56, False),
        ("platelet_transfusion", 57, True),
        ("platelet_transfusion", 64, True),
        ("platelet_transfusion", 65, False),
        ("rescue_therapy", 85, True),
        ("rescue_therapy", 86, False),
        ("red_cell_transfusion", 57, False),
    ],
)
def test_the_first_count_above_target_may_be_a_transfusions(
    house: House, kind: str, ago: int, confounded: bool
) -> None:
    """Here 57 days ago: a transfusion of the 7 days before may have raised it, a rescue of the 28."""
    patient = treated(house, (63, 20), (57, 90), (50, 90))
    enter(house, patient, "events", event(ago, kind))
    found = response(house, patient)
    assert (found["first_count_above_target_on"], found["first_count_above_target_confounded"]) == (day(57), confounded)


@pytest.mark.parametrize("protocol", ["us-hs-ars"])
def test_a_single_dose_has_no_target(house: House, protocol: str) -> None:
    patient = house.on_course(started_ago=70, protocol=protocol)
    enter(house, patient, "doses", dose(70, 750))
    enter(house, patient, "platelet-counts", count(63, 20), count(7, 90))
    found = response(house, patient)
    target = [key for key in UNKNOWN if "target" in key]
    assert [found[key] for key in target] == [None] * 4
    assert (found["highest_micrograms_per_kg"], found["last_micrograms_per_kg"]) == (10, 10), "750 µg at 75 kg"
    assert found["days_free_of_platelet_transfusions"] == 70
    assert grades(found, "platelets", AFTER)[4] == (1, day(63), day(63))


# Transfusions and levels


def test_transfusions_before_and_since_the_first_dose(house: House) -> None:
    """One of the day of the first dose is one of since: which came first is not known."""
    patient = treated(house)
    enter(house, patient, "events", *(event(ago, "platelet_transfusion") for ago in (127, 126, 71, 70, 70, 20)))
    enter(house, patient, "events", event(70, "red_cell_transfusion"))
    found = response(house, patient)
    named = ("{}_in_8_weeks_before_first_dose", "{}_since_first_dose", "days_free_of_{}")
    assert [found[name.format("platelet_transfusions")] for name in named] == [2, 3, 20]
    assert [found[name.format("red_cell_transfusions")] for name in named] == [0, 1, 70]
    earlier = response(house, patient, day(21))
    assert [earlier[name.format("platelet_transfusions")] for name in named] == [2, 2, 49]


def test_levels_are_those_stated_or_worked_out(house: House) -> None:
    patient = treated(house)
    enter(house, patient, "doses", dose(63, 225, micrograms_per_kg=3), dose(56, 150))
    found = response(house, patient)
    assert (found["highest_micrograms_per_kg"], found["last_micrograms_per_kg"]) == (3, 2)


def test_without_a_weight_a_level_that_was_not_stated_is_not_known(house: House) -> None:
    patient = house.patient()
    house.post(f"/patients/{patient}/course", {"protocol": "us-itp-adult", "started_on": day(70)})
    enter(house, patient, "doses", dose(70, 75), dose(63, 150, micrograms_per_kg=2))
    found = response(house, patient)
    assert (found["highest_micrograms_per_kg"], found["last_micrograms_per_kg"]) == (None, 2)


# Grades


def test_grades_of_a_border_and_what_no_number_tells(house: House) -> None:
    """From 75 on a count is of grade 0 or 1, which is not known; no number tells grade 4 of haemoglobin."""
    patient = treated(house, (127, 10), (126, 20), (70, 30), (69, 74), (62, 75))
    low, high = {"lower_limit_of_normal": 120}, observation(20, 125, lower_limit_of_normal=120)
    enter(house, patient, "observations", observation(69, 79, **low), observation(30, 119, **low), high)
    enter(house, patient, "observations", observation(10, 2, "neutrophils", "furlong"))
    found = response(house, patient)
    none, unknown = (0, None, None), (None, None, None)
    before = [none, none, none, (1, day(70), day(70)), (1, day(126), day(126)), none]
    assert grades(found, "platelets", BEFORE) == before
    after = [unknown, unknown, (1, day(69), day(69)), none, none, (1, day(62), day(62))]
    assert grades(found, "platelets", AFTER) == after
    of_haemoglobin = [(1, day(20), day(20)), (1, day(30), day(30)), none, (1, day(69), day(69)), unknown, none]
    assert grades(found, "haemoglobin", AFTER) == of_haemoglobin
    assert grades(found, "neutrophils", AFTER) == [*[unknown] * 5, (1, day(10), day(10))]


# Courses


def discontinued(house: House, patient: str, ago: int) -> None:
    ended = {"ended_on": day(ago), **WHY}
    answer = house.call("prescriber", "POST", f"/patients/{patient}/course/discontinuation", ended, version="*")
    assert answer.status == 200, answer.text


def test_two_courses_each_have_their_own(house: House) -> None:
    """What came after the end of the first is not its own; the second looks back 8 weeks, over the end of the first."""
    patient = treated(house, (63, 60), (49, 70), (35, 10))
    discontinued(house, patient, 42)
    house.post(f"/patients/{patient}/course", {"protocol": "eu-itp-adult", "started_on": day(28)})
    enter(house, patient, "doses", dose(28, 75))
    enter(house, patient, "events", event(35, "platelet_transfusion"))
    enter(house, patient, "platelet-counts", count(14, 80))
    first, second = responses(house, patient)
    assert (first["status"], first["until"], first["ended_on"]) == ("discontinued", day(42), day(42))
    assert (first["weeks_above_target"], first["days_free_of_platelet_transfusions"]) == (2, 28)
    assert first["platelet_transfusions_since_first_dose"] == 0
    assert (second["first_dose_on"], second["first_count_above_target_on"]) == (day(28), day(14))
    assert second["platelet_transfusions_in_8_weeks_before_first_dose"] == 1
    assert [values for values, _, _ in grades(second, "platelets", BEFORE)] == [0, 0, 2, 0, 1, 0]
    assert [one["course"]["id"] for one in (first, second)] == [int(row["course"]) for row in table(house)]
    (before,) = responses(house, patient, day(30))
    assert before == first, "the second had not begun"
    (running,) = responses(house, patient, day(50))
    assert (running["until"], running["weeks_above_target"]) == (day(50), 0)


def test_a_course_entered_in_error_is_left_out(house: House) -> None:
    patient = treated(house)
    house.call("prescriber", "POST", f"/patients/{patient}/course/entered-in-error", WHY, version="*")
    assert (responses(house, patient), table(house)) == ([], [])


def test_a_changed_course_is_told_once_as_it_is_now(house: House) -> None:
    patient = treated(house)
    house.call("pharmacist", "POST", f"/patients/{patient}/course/pause", WHY, version=1)
    found = response(house, patient)
    assert (found["course"]["version"], found["status"]) == (2, "paused")


def test_a_protocol_that_cannot_be_used_has_no_target_and_no_level_but_those_stated(house: House) -> None:
    patient = treated(house, (63, 60))
    without = house.with_services(catalogue=_Empty())
    found = response(without, patient)
    assert (found["weeks_above_target"], found["highest_micrograms_per_kg"]) == (None, None)
    assert found["days_free_of_platelet_transfusions"] == 70


class _Empty:
    """A catalogue without protocols."""

    def get(self, ident: str) -> None:
        raise KeyError(ident)


# The table: whose, how many, what is written down


def test_the_table_has_the_clinics_of_the_account_and_no_other(house: House) -> None:
    mine, theirs = house.on_course(), house.patient("stranger")
    course = {"protocol": "us-itp-adult", "started_on": day(35)}
    house.post(f"/patients/{theirs}/course", course, "stranger")
    assert [row["patient"] for row in table(house)] == [mine]
    assert [row["patient"] for row in table(house, who="stranger")] == [theirs]
    assert table(house, f"?clinic={house.clinic}", "stranger") == []
    assert table(house, f"?clinic={'f' * 20}") == []
    assert [row["patient"] for row in table(house, f"?patient={mine}&clinic={house.clinic}")] == [mine]
    for query in (f"?patient={mine}", f"?patient={mine}&clinic={house.other_clinic}", f"?patient={'f' * 20}"):
        assert house.call("stranger", "GET", f"/responses.csv{query}").code == "NOT-FOUND"
    _, both = house.account("both", Role.TECHNICIAN, house.clinic, house.other_clinic)
    assert {row["patient"] for row in table(house, who=both)} == {mine, theirs}
    assert [row["patient"] for row in table(house, f"?clinic={house.other_clinic}", both)] == [theirs]
    assert table(house, f"?clinic={house.other_clinic}&patient={mine}", both) == []


def test_broken_glass_shows_one_patient_and_no_table(house: House) -> None:
    patient = house.on_course()
    reason = {"patient": patient, "reason": "unconscious in our emergency room"}
    assert house.call("stranger", "POST", "/glass-breaks", reason).status == 201
    assert table(house, who="stranger") == []
    assert [row["patient"] for row in table(house, f"?patient={patient}", "stranger")] == [patient]


def test_a_table_of_too_many_names_what_makes_it_less(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_table, "MOST", 1)
    first = house.on_course()
    assert [row["patient"] for row in table(house)] == [first]
    house.patient()
    _, both = house.account("both", Role.TECHNICIAN, house.clinic, house.other_clinic)
    for who, says in (("pharmacist", "each `patient`"), (both, "one `clinic`")):
        answer = house.call(who, "GET", "/responses.csv")
        assert (answer.status, answer.code, list(answer.faults)) == (422, "INVALID", ["clinic"])
        assert says in answer.faults["clinic"]
    assert table(house, f"?clinic={house.other_clinic}", both) == []


def test_the_day_is_that_of_each_patients_clinic_unless_one_is_named(house: House) -> None:
    """At 23:30 UTC it is tomorrow in Berlin, and still today in New York."""
    house.clock.on(hours=11, minutes=30)
    here, there = house.patient(), house.patient("stranger")
    for patient, who in ((here, "pharmacist"), (there, "stranger")):
        house.post(f"/patients/{patient}/course", {"protocol": "us-itp-adult", "started_on": day(35)}, who)
    _, both = house.account("both", Role.TECHNICIAN, house.clinic, house.other_clinic)
    assert {row["patient"]: row["until"] for row in table(house, who=both)} == {here: day(-1), there: TODAY}
    assert {row["until"] for row in table(house, f"?on={day(3)}", both)} == {day(3)}
    assert table(house, f"?on={day(36)}", both) == []


def test_an_identifier_is_no_formula_and_the_first_one_is_shown(house: House) -> None:
    wicked = [{"system": "urn:z", "value": "1"}, {"system": "+urn:a", "value": '=HYPERLINK("http://x","y")'}]
    patient = house.patient(identifiers=wicked)
    house.post(f"/patients/{patient}/course", {"protocol": "us-itp-adult"})
    bare = house.patient(identifiers=None)
    house.post(f"/patients/{bare}/course", {"protocol": "us-itp-adult"})
    found = {row["patient"]: (row["identifier_system"], row["identifier_value"]) for row in table(house)}
    assert found == {patient: ("'+urn:a", '\'=HYPERLINK("http://x","y")'), bare: ("", "")}


def test_each_patient_shown_has_an_entry_in_the_patients_chain(house: House) -> None:
    shown, without = house.on_course(), house.patient()
    before = {chain: len(house.trail(chain)) for chain in (shown, without, "system")}
    table(house, f"?clinic={house.clinic}")
    (entry,) = house.trail(shown)[before[shown] :]
    assert (entry.action, entry.subject) == ("read", f"patient/{shown}/responses")
    assert (entry.account_id, entry.clinic_id) == (house.ids["pharmacist"], house.clinic)
    assert len(house.trail(without)) == before[without], "nothing of this patient was shown"
    (entry,) = house.trail()[before["system"] :]
    assert (entry.action, entry.subject) == ("read", "responses")
    assert house.clinic in entry.detail


@pytest.mark.parametrize("query", ["?limit=3", "?on=9.3.2026", "?on=2026-03-09&on=2026-03-08"])
def test_a_query_is_read_strictly(house: House, query: str) -> None:
    assert house.call("pharmacist", "GET", f"/responses.csv{query}").status == 422


def test_it_is_described_as_what_it_is(house: House) -> None:
    document: Any = json.loads(house.app.test_client().get("/openapi.json").data)
    content = document["paths"]["/api/v1/responses.csv"]["get"]["responses"]["200"]["content"]
    assert content == {"text/csv": {"schema": {"type": "string"}}}


def test_a_row_has_what_a_response_has_in_the_same_order(house: House) -> None:
    found = response(house, treated(house, (63, 60)))
    plain = [key for key in found if key != "grades"]
    assert [column for column in response_table.COLUMNS if column in plain] == plain
    (row,) = table(house)
    flat = [
        (f"{of_analyte['analyte']}_{period}_{named(one['grade'])}_{key}", "" if one[key] is None else str(one[key]))
        for of_analyte in found["grades"]
        for period in (BEFORE, AFTER)
        for one in of_analyte[period]
        for key in ("values", "first_on", "last_on")
    ]
    assert list(row.items())[-len(flat) :] == flat
    assert len(row) == len(plain) + len(flat) + 4


def named(grade: int | None) -> str:
    return "without_grade" if grade is None else f"grade_{grade}"
