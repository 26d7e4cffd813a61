"""What is reminded of: stories, each told by the steps of the work on a real database, week by week.

A story says what is open after each step: `dose-due 03-09` is due since that day, and falls on it; `dose-due 03-09 on
03-10` falls on another day of the clinic. The first day is Monday, 2 March 2026.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from tests.workflow.reminders.ward import SAYS, WHY, Ward
from titrator.workflow import courses, record, sign_off
from titrator.workflow.reminders.plan import DEFAULT_STEPS, Kind
from titrator.workflow.reminders.wanted import OVERDUE


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


# The doses and counts of a course


def test_nobody_is_reminded_of_who_is_on_no_course(ward: Ward) -> None:
    patient = ward.patient()
    assert ward.open(patient) == []
    ward.count(patient, 20)
    ward.weigh(patient, 75)
    ward.after(40)
    assert ward.open(patient) == []


def test_a_start(ward: Ward) -> None:
    patient = ward.on_course()
    assert ward.open(patient) == ["count-due 03-02"]
    ward.count(patient, 20)
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-02", "sign-off 03-02"]
    ward.accepts(patient)
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-02"]
    ward.give(patient)
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-09"]


def test_a_start_that_nobody_sees_to_is_overdue_since_it_was_first_proposed(ward: Ward) -> None:
    patient = ward.on_course()
    ward.count(patient, 20)
    ward.open(patient)
    for _ in range(3):
        ward.after(1)
        assert ward.open(patient) == ["count-due 03-09", "dose-overdue 03-02", "sign-off 03-02"]
    ward.accepts(patient)
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-05"], "decided for today"
    ward.after(1)
    assert ward.open(patient) == ["count-due 03-09", "dose-overdue 03-05"]


def test_a_first_count_that_is_not_taken_is_overdue_since_the_course_began(ward: Ward) -> None:
    patient = ward.on_course()
    ward.open(patient)
    ward.after(2)
    assert ward.open(patient) == ["count-overdue 03-02"]
    ward.after(5)
    assert ward.open(patient) == ["count-overdue 03-02"]
    ward.count(patient, 20)
    assert ward.open(patient, *OVERDUE, *OVERDUE.values()) == ["count-due 03-16", "dose-due 03-09"]


def test_a_week(ward: Ward) -> None:
    patient = ward.treated("20")
    assert ward.open(patient) == ["count-due 03-02", "dose-due 03-02"]
    ward.count(patient, 90)
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-02", "sign-off 03-02"]
    ward.accepts(patient)
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-02"]
    ward.give(patient)
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-09"]


def test_what_is_late_is_overdue_once_its_day_has_passed(ward: Ward) -> None:
    patient = ward.treated("20")
    ward.at("2026-03-02", 23, 59)
    assert ward.open(patient) == ["count-due 03-02", "dose-due 03-02"]
    ward.at("2026-03-03", 0)
    assert ward.open(patient) == ["count-overdue 03-02", "dose-overdue 03-02"]
    ward.count(patient, 90)
    assert ward.open(patient) == ["count-due 03-10", "dose-overdue 03-02", "sign-off 03-03"]
    ward.give(patient)
    assert ward.open(patient, "dose-due", "dose-overdue") == ["dose-due 03-10"]


def test_a_course_without_doses_for_more_than_four_weeks_is_the_prescribers(ward: Ward) -> None:
    patient = ward.treated("90")
    for days, expected in ((21, ["dose-overdue 03-02"]), (22, ["referral 03-24"]), (40, ["referral 03-24"])):
        ward.at("2026-03-02")
        ward.after(days)
        assert ward.open(patient, "dose-overdue", "referral") == expected


def test_the_days_of_a_clinic_are_those_of_its_injections_and_its_work(tmp_path: Path) -> None:
    ward = Ward(tmp_path, injection_days=("thursday",), holidays=("2026-03-09", "2026-03-19"))
    patient = ward.treated("90")
    assert ward.open(patient) == ["count-due 03-02", "dose-due 03-02 on 03-05"]
    ward.count(patient, 90)
    assert ward.open(patient, "count-due", "dose-due") == ["count-due 03-09 on 03-10", "dose-due 03-02 on 03-05"]
    ward.at("2026-03-05")
    assert ward.open(patient, "dose-due", "dose-overdue") == ["dose-due 03-02 on 03-05"]
    ward.give(patient)
    ward.at("2026-03-12")
    ward.count(patient, 90)
    ward.give(patient)
    assert ward.open(patient) == ["count-due 03-19 on 03-20", "dose-due 03-19 on 03-20"], "the clinic is closed"


def test_a_dose_falls_on_the_day_that_was_decided(ward: Ward) -> None:
    patient = ward.treated("90")
    ward.count(patient, 90)
    ward.decides(patient, "override", micrograms_per_kg=1, due_on="2026-03-04", **SAYS)
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-04"]
    ward.at("2026-03-05")
    assert ward.open(patient) == ["count-due 03-09", "dose-overdue 03-04"]
    ward.at("2026-03-07")
    assert ward.open(patient, "dose-due", "dose-overdue") == ["dose-overdue 03-04"]
    ward.at("2026-03-08")
    lapsed = ["dose-overdue 03-04", "sign-off 03-08"]
    assert ward.open(patient, "dose-overdue", "sign-off") == lapsed, "late since the day that was named"


def test_a_stable_course_is_counted_once_in_four_weeks(ward: Ward) -> None:
    patient = ward.treated(weeks=6)
    assert ward.open(patient) == ["dose-due 03-02", "monthly-count 03-23", "sign-off 03-02"]
    ward.count(patient, 90)
    assert ward.open(patient, *OVERDUE) == ["dose-due 03-02", "monthly-count 03-30"]
    for day in ("2026-03-02", "2026-03-09", "2026-03-16", "2026-03-23", "2026-03-30"):
        ward.at(day)
        ward.give(patient)
    assert ward.open(patient, *OVERDUE) == ["dose-due 04-06", "monthly-count 03-30"]
    ward.at("2026-03-31")
    assert ward.open(patient, "count-overdue", "monthly-count") == ["count-overdue 03-30"]
    ward.count(patient, 40)
    assert ward.open(patient, "count-overdue", "monthly-count", "count-due") == ["count-due 04-06"]


def test_a_hold_and_its_end(ward: Ward) -> None:
    patient = ward.treated("90", micrograms=150)
    ward.count(patient, 450)
    assert ward.open(patient) == ["hold-re-check 03-09", "sign-off 03-02"]
    ward.accepts(patient)
    assert ward.open(patient) == ["hold-re-check 03-09"], "nobody is asked to give what is held"
    ward.at("2026-03-10")
    assert ward.open(patient) == ["count-overdue 03-09"]
    ward.count(patient, 300)
    assert ward.open(patient, *OVERDUE, *OVERDUE.values()) == ["hold-re-check 03-17"]
    ward.at("2026-03-17")
    ward.count(patient, 120)
    assert ward.open(patient) == ["count-due 03-24", "dose-due 03-17", "sign-off 03-17"], "of the new count"
    ward.at("2026-03-19")
    assert ward.open(patient) == ["count-due 03-24", "dose-overdue 03-17", "sign-off 03-17"], "of a dose that resumes"
    ward.accepts(patient)
    ward.give(patient, 75)
    assert ward.open(patient) == ["count-due 03-26", "dose-due 03-26"]


def test_that_no_dose_is_given_has_been_decided(ward: Ward) -> None:
    """Who is not to be given a dose is not asked to come for one, until there is a new count."""
    patient = ward.treated("90")
    ward.count(patient, 90)
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-02", "sign-off 03-02"]
    ward.decides(patient, "override", no_dose=True, **SAYS)
    assert ward.open(patient) == ["count-due 03-09"]
    ward.after(3)
    assert ward.open(patient) == ["count-due 03-09"]
    ward.at("2026-03-09")
    ward.count(patient, 80)
    assert ward.open(patient) == ["count-due 03-16", "dose-overdue 03-02", "sign-off 03-09"]


def test_a_dose_that_is_decided_where_the_rules_offer_none(ward: Ward) -> None:
    """It is reminded of as any other, and no more once it is given."""
    patient = ward.treated("90")
    ward.at("2026-03-07")
    ward.count(patient, 20)
    assert ward.open(patient) == ["count-due 03-14 on 03-16", "referral 03-07"], "low after a missed dose"
    made = ward.decides(patient, "override", micrograms_per_kg=1, due_on="2026-03-09", **SAYS)
    assert ward.open(patient, "dose-due", "second-signature") == ["second-signature 03-07"]
    ward.does("otto", sign_off.co_sign, patient, made.id, None)
    assert ward.open(patient, "dose-due", "second-signature") == ["dose-due 03-09"]
    ward.at("2026-03-10")
    assert ward.open(patient, "dose-due", "dose-overdue") == ["dose-overdue 03-09"]
    ward.give(patient)
    assert ward.open(patient, "dose-due", "dose-overdue") == ["dose-due 03-17"]


def test_a_dose_that_was_accepted_is_not_asked_for_once_something_speaks_against_it(ward: Ward) -> None:
    patient = ward.treated("90", micrograms=150)
    ward.count(patient, 90)
    ward.accepts(patient)
    assert ward.open(patient, "dose-due") == ["dose-due 03-02"]
    ward.count(patient, 450)
    assert ward.open(patient) == ["hold-re-check 03-09", "re-opened 03-02", "sign-off 03-02"]


def test_a_dose_that_was_decided_falls_on_the_day_of_the_rules_again_once_it_is_re_opened(ward: Ward) -> None:
    patient = ward.treated("90")
    count = ward.count(patient, 90)
    ward.decides(patient, "override", micrograms_per_kg=1, due_on="2026-03-05", **SAYS)
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-05"]
    body = {"collected_on": ward.today, "value": Decimal(20), "unit": "10*9/L", **WHY}
    ward.confirmed("mona", record.correct, ward.fact(patient, count), body)
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-02", "re-opened 03-02", "sign-off 03-02"]


def test_a_dose_that_was_accepted_waits_for_what_is_missing_since(ward: Ward) -> None:
    """Accepted on the last day on which the weight was young enough to start with."""
    patient = ward.on_course("us-itp-paediatric", born_on="2018-05-01")
    ward.weigh(patient, 30)
    ward.at("2026-03-30")
    ward.count(patient, 20)
    ward.accepts(patient)
    assert ward.open(patient, "dose-due", "weight-due") == ["dose-due 03-30", "weight-due 05-25"]
    ward.after(1)
    assert ward.open(patient, "dose-due", "dose-overdue", "weight-due") == ["weight-due 03-31"]


def test_a_single_dose_once_given_is_followed_by_nothing(ward: Ward) -> None:
    patient = ward.on_course("us-hs-ars")
    assert ward.open(patient) == ["count-due 03-02", "dose-due 03-02", "sign-off 03-02"]
    ward.accepts(patient)
    ward.give(patient, 750)
    assert ward.open(patient) == []


# Weights


def test_a_child_is_weighed_every_twelve_weeks(ward: Ward) -> None:
    patient = ward.on_course("us-itp-paediatric", born_on="2018-05-01")
    ward.weigh(patient, 30)
    ward.count(patient, 20)
    assert ward.open(patient, "weight-due") == ["weight-due 05-25"]
    assert ward.told_at(ward.row(patient, "weight-due")) == "05-18 08:00"
    ward.at("2026-05-20")
    ward.weigh(patient, 31)
    assert ward.open(patient, "weight-due") == ["weight-due 08-12"]
    ward.at("2026-08-20")
    assert ward.open(patient, "weight-due") == ["weight-due 08-12"], "it is due until it is done"


def test_adults_keep_their_baseline(ward: Ward) -> None:
    patient = ward.treated("90")
    assert ward.open(patient, "weight-due") == []


@pytest.mark.parametrize("protocol", ["us-itp-adult", "us-hs-ars"])
def test_a_weight_without_which_there_is_no_dose_is_due_at_once(ward: Ward, protocol: str) -> None:
    patient = ward.patient()
    ward.starts(patient, protocol)
    ward.count(patient, 20)
    assert ward.open(patient, "weight-due", "dose-due") == ["weight-due 03-02"]
    ward.after(3)
    assert ward.open(patient, "weight-due", "dose-due") == ["weight-due 03-02"], "and stays so until it is there"
    ward.count(patient, 20)
    ward.weigh(patient, 75)
    assert ward.open(patient, "weight-due", "dose-due") == ["dose-due 03-05"]


@pytest.mark.parametrize(("ago", "expected"), [(28, []), (29, ["weight-due 03-02"])])
def test_a_weight_that_is_too_old_to_start_with(ward: Ward, ago: int, expected: list[str]) -> None:
    patient = ward.patient()
    ward.weigh(patient, 75, ward.day(-ago))
    ward.starts(patient)
    ward.count(patient, 20)
    assert ward.open(patient, "weight-due") == expected


def test_a_weight_that_grows_too_old_to_start_with_is_due_then(ward: Ward) -> None:
    """By a protocol of current weights there is a day for the next one already, in twelve weeks."""
    patient = ward.on_course("us-itp-paediatric", born_on="2018-05-01")
    ward.weigh(patient, 30)
    ward.at("2026-03-30")
    ward.count(patient, 20)
    assert ward.open(patient, "weight-due", "dose-due") == ["dose-due 03-30", "weight-due 05-25"]
    ward.after(1)
    assert ward.open(patient, "weight-due", "dose-due", "dose-overdue") == ["weight-due 03-31"]
    ward.weigh(patient, 30)
    assert ward.open(patient, "weight-due", "dose-due", "dose-overdue") == ["dose-due 03-31", "weight-due 06-23"]


def test_a_start_that_was_decided_for_later_and_withdrawn_is_due_now(ward: Ward) -> None:
    patient = ward.on_course()
    ward.count(patient, 20)
    made = ward.decides(patient, "override", micrograms_per_kg=1, due_on="2026-03-06", **SAYS)
    assert ward.open(patient, "dose-due") == ["dose-due 03-06"]
    ward.does("mona", sign_off.withdraw, patient, made.id, "changed our mind", None)
    assert ward.open(patient, "dose-due") == ["dose-due 03-02"]


# What ends a course, or interrupts it


def test_counts_go_on_for_two_weeks_after_the_last(ward: Ward) -> None:
    patient = ward.treated("90")
    ward.changes(patient, courses.discontinue)
    assert ward.open(patient) == ["follow-up-count 03-09"]
    ward.at("2026-03-11")
    assert ward.open(patient) == ["follow-up-count 03-09"]
    ward.count(patient, 60)
    assert ward.open(patient) == ["follow-up-count 03-16"]
    ward.at("2026-03-16")
    ward.count(patient, 50)
    assert ward.open(patient) == []


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2026-03-05", ["follow-up-count 03-09"]),
        ("2026-03-06", ["follow-up-count 03-16"]),
        ("2026-03-12", ["follow-up-count 03-16"]),
        ("2026-03-13", []),
    ],
)
def test_a_follow_up_count_three_days_early_is_that_of_its_week(ward: Ward, day: str, expected: list[str]) -> None:
    patient = ward.treated("90")
    ward.changes(patient, courses.discontinue)
    ward.at(day)
    ward.count(patient, 60)
    assert ward.open(patient) == expected


@pytest.mark.parametrize(("days", "expected"), [(60, ["follow-up-count 03-09"]), (61, [])])
def test_nobody_is_asked_for_a_follow_up_count_for_ever(ward: Ward, days: int, expected: list[str]) -> None:
    patient = ward.treated("90")
    ward.changes(patient, courses.discontinue)
    ward.after(days)
    ward.weigh(patient, 75)  # whatever is recorded
    assert ward.open(patient) == expected


def test_who_was_never_given_a_dose_needs_no_follow_up(ward: Ward) -> None:
    patient = ward.on_course()
    ward.count(patient, 20)
    ward.changes(patient, courses.discontinue)
    assert ward.open(patient) == []


def test_the_doses_of_another_course_need_no_second_follow_up(ward: Ward) -> None:
    patient = ward.treated("90")
    ward.changes(patient, courses.discontinue)
    ward.after(14)
    ward.count(patient, 60)
    ward.starts(patient)
    ward.changes(patient, courses.discontinue)
    assert ward.open(patient) == []


def test_a_follow_up_count_that_nobody_has_verified_is_none(ward: Ward) -> None:
    patient = ward.treated("90")
    ward.changes(patient, courses.discontinue)
    ward.at("2026-03-09")
    count = ward.count(patient, 1500, who="feed")
    assert ward.open(patient) == ["follow-up-count 03-09"]
    ward.does("mona", record.verify, ward.fact(patient, count), WHY)
    assert ward.open(patient) == ["follow-up-count 03-16"]


def test_who_is_not_active_is_not_followed_up(ward: Ward) -> None:
    patient = ward.treated("90")
    ward.changes(patient, courses.discontinue)
    assert ward.open(patient) == ["follow-up-count 03-09"]
    ward.particulars_change(patient, active=False)
    assert ward.open(patient) == []


def test_who_is_on_a_course_again_needs_no_follow_up(ward: Ward) -> None:
    patient = ward.treated("90")
    ward.changes(patient, courses.discontinue)
    ward.after(7)
    ward.starts(patient)
    ward.count(patient, 20)
    assert ward.open(patient) == ["count-due 03-16", "dose-due 03-09", "sign-off 03-09"]


def test_a_pause_is_looked_at_every_four_weeks(ward: Ward) -> None:
    """Each look is open until the next one, so that whoever does not answer is asked again, and then others are."""
    patient = ward.treated("90")
    ward.changes(patient, courses.pause)
    assert ward.open(patient) == ["paused-review 03-30"]
    for day, expected in (
        ("2026-03-30", "paused-review 03-30"),
        ("2026-03-31", "paused-review 03-30"),
        ("2026-04-26", "paused-review 03-30"),
        ("2026-04-27", "paused-review 04-27"),
        ("2026-05-24", "paused-review 04-27"),
        ("2026-05-25", "paused-review 05-25"),
    ):
        ward.at(day)
        assert ward.open(patient) == [expected], day
    ward.changes(patient, courses.go_on)
    assert ward.open(patient) == ["count-overdue 03-02", "referral 05-25"]


def test_the_look_at_a_pause_waits_for_a_working_day(tmp_path: Path) -> None:
    ward = Ward(tmp_path, holidays=("2026-03-30",))
    patient = ward.treated("90")
    ward.changes(patient, courses.pause)
    for day in ("2026-03-29", "2026-03-30", "2026-03-31"):
        ward.at(day)
        assert ward.open(patient) == ["paused-review 03-30 on 03-31"]
    ward.channels("pharmacist", "prescriber")
    assert ward.beats_at("2026-03-31", (7, 59), (8, 0)) == ["paused-review to role/pharmacist"]
    assert ward.beats_at("2026-04-07", (7, 59), (8, 0)) == ["paused-review to role/prescriber"]


def test_of_a_course_that_never_was_nothing_is_reminded(ward: Ward) -> None:
    patient = ward.on_course()
    ward.count(patient, 20)
    assert len(ward.open(patient)) == 3
    ward.changes(patient, courses.enter_in_error)
    assert ward.open(patient) == []


def test_who_is_not_active_any_more(ward: Ward) -> None:
    patient = ward.treated("90")
    ward.count(patient, 90)
    assert len(ward.open(patient)) == 3
    ward.particulars_change(patient, active=False)
    assert ward.open(patient) == []
    assert {row.status for row in ward.rows(patient)} == {"done"}
    ward.particulars_change(patient, active=True)
    assert len(ward.open(patient)) == 3


# What waits for a person


def test_a_proposal_waits_for_sign_off_from_three_days_before(ward: Ward) -> None:
    patient = ward.treated(weeks=6)
    ward.count(patient, 90)
    ward.give(patient)
    for day, expected in (("2026-03-05", []), ("2026-03-06", ["sign-off 03-06"]), ("2026-03-10", ["sign-off 03-06"])):
        ward.at(day)
        assert ward.open(patient, "sign-off") == expected, day


def test_who_has_not_signed_one_proposal_is_told_of_the_next(ward: Ward) -> None:
    """As of a hold: the count that ends it comes to a dose, of which nobody has been told yet."""
    patient = ward.treated("90", micrograms=150)
    ward.count(patient, 450)
    assert ward.open(patient, "sign-off") == ["sign-off 03-02"]
    ward.at("2026-03-05")
    assert ward.open(patient, "sign-off") == ["sign-off 03-02"]
    ward.at("2026-03-09")
    assert ward.open(patient, "sign-off") == ["sign-off 03-02"]
    ward.count(patient, 120)
    assert ward.open(patient, "sign-off") == ["sign-off 03-09"]
    assert ward.told_at(ward.row(patient, "sign-off")) == "03-10 08:00"


def test_a_second_signature(ward: Ward) -> None:
    patient = ward.treated("90")
    ward.count(patient, 90)
    made = ward.decides(patient, "override", micrograms_per_kg=11, reason_code="bleeding", comment="as discussed")
    assert ward.open(patient, "second-signature", "sign-off") == ["second-signature 03-02"]
    ward.after(1)
    assert ward.open(patient, "second-signature") == ["second-signature 03-02"]
    ward.does("otto", sign_off.co_sign, patient, made.id, None)
    assert ward.open(patient) == ["count-due 03-09", "dose-overdue 03-02"]


def test_what_somebody_has_referred(ward: Ward) -> None:
    patient = ward.treated("90")
    ward.count(patient, 90)
    made = ward.decides(patient, "refer", "eva", **SAYS)
    assert "referral 03-02" in ward.open(patient)
    ward.does("mona", sign_off.withdraw, patient, made.id, "seen", None)
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-02", "sign-off 03-02"]


def test_what_the_rules_refer(ward: Ward) -> None:
    patient = ward.treated("90")
    event = ward.befalls(patient, "thrombosis", ward.day(-1))
    ward.count(patient, 90)
    assert ward.open(patient) == ["count-due 03-09", "referral 03-02"]
    ward.does("mona", record.resolve, ward.fact(patient, event), {"resolved_on": ward.today, **WHY})
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-02", "sign-off 03-02"]


def test_a_correction_opens_a_decision_again(ward: Ward) -> None:
    patient = ward.treated("90")
    count = ward.count(patient, 90)
    ward.accepts(patient)
    ward.give(patient)
    body = {"collected_on": ward.today, "value": Decimal(20), "unit": "10*9/L", **WHY}
    ward.confirmed("mona", record.correct, ward.fact(patient, count), body)
    assert ward.open(patient, "re-opened") == ["re-opened 03-02"]
    ward.does("mona", sign_off.review, patient, 1, "seen", None)
    assert ward.open(patient, "re-opened") == []


def test_a_dose_of_a_feed_that_nobody_has_verified_leaves_no_answer(ward: Ward) -> None:
    patient = ward.treated("90")
    dose = ward.give(patient, 1000, who="feed")
    assert ward.open(patient) == ["no-answer 03-02"]
    ward.after(2)
    assert ward.open(patient) == ["no-answer 03-02"]
    ward.takes_back(patient, dose)
    assert ward.open(patient) == ["count-overdue 03-02", "dose-overdue 03-02"]


def test_each_kind_has_its_story() -> None:
    """Of each kind is told above that it appears; here that the list is whole, and that each is told somebody."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert [kind for kind in Kind if f'"{kind} 0' not in text] == []
    assert set(OVERDUE.values()) < set(Kind)
    assert set(DEFAULT_STEPS) == set(Kind)


# What is obsolete, and what comes back


def given_early(ward: Ward, patient: str) -> None:
    ward.give(patient, day=ward.day(0))


def counted_and_decided(ward: Ward, patient: str) -> None:
    ward.count(patient, 90)
    ward.decides(patient, "override", micrograms_per_kg=1, due_on="2026-03-10", **SAYS)


# what happens on Saturday, two days before a dose and a count are due; what is open then; what is withdrawn
OBSOLETE: list[tuple[str, Callable[[Ward, str], object], list[str]]] = [
    ("a count, early", lambda ward, patient: ward.count(patient, 90), ["count-due 03-14 on 03-16", "dose-due 03-09"]),
    ("a dose, early", given_early, ["count-due 03-14 on 03-16", "dose-due 03-14 on 03-16"]),
    ("a decision for another day", counted_and_decided, ["count-due 03-14 on 03-16", "dose-due 03-10"]),
    ("a hold", lambda ward, patient: ward.count(patient, 450), ["hold-re-check 03-14 on 03-16"]),
    ("a thrombosis", lambda ward, patient: ward.befalls(patient, "thrombosis"), ["count-due 03-09"]),
    ("a pause", lambda ward, patient: ward.changes(patient, courses.pause), []),
    ("the end", lambda ward, patient: ward.changes(patient, courses.discontinue), []),
]


@pytest.mark.parametrize(("happens", "step", "expected"), OBSOLETE, ids=[one[0] for one in OBSOLETE])
def test_what_is_obsolete_is_withdrawn(
    ward: Ward, happens: str, step: Callable[[Ward, str], object], expected: list[str]
) -> None:
    patient = ward.treated("90", micrograms=150)
    ward.count(patient, 90)
    ward.give(patient, 150)
    ward.at("2026-03-07")
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-09"]
    step(ward, patient)
    assert ward.open(patient, *OVERDUE) == expected


BACK: list[tuple[str, Callable[[Ward, str], int]]] = [
    ("a count", lambda ward, patient: ward.count(patient, 90)),
    ("a count that holds", lambda ward, patient: ward.count(patient, 450)),
    ("a dose", lambda ward, patient: ward.give(patient, 150)),
    ("a transfusion", lambda ward, patient: ward.befalls(patient, "thrombosis")),
]


@pytest.mark.parametrize(("happens", "step"), BACK, ids=[one[0] for one in BACK])
def test_what_was_entered_in_error_brings_back_what_it_had_made_obsolete(
    ward: Ward, happens: str, step: Callable[[Ward, str], int]
) -> None:
    patient = ward.treated("90", micrograms=150)
    before = ward.open(patient)
    fact = step(ward, patient)
    assert ward.open(patient) != before
    ward.takes_back(patient, fact)
    assert ward.open(patient) == before
    again = [row for row in ward.rows(patient) if row.status == "open"]
    assert {row.round for row in again if row.kind in ("dose-due", "count-due")} <= {0, 1}
    assert all(row.next_at is not None for row in again), "what is wanted again is told again"


def test_a_correction_of_the_day_moves_what_rests_on_it(ward: Ward) -> None:
    patient = ward.treated("90")
    count = ward.count(patient, 90, "2026-02-27")
    assert ward.open(patient, "count-due", "dose-due") == ["count-due 03-06", "dose-due 03-02"]
    counted = {"collected_on": "2026-02-28", "value": Decimal(90), "unit": "10*9/L", **WHY}
    ward.confirmed("mona", record.correct, ward.fact(patient, count), counted)
    assert ward.open(patient, "count-due", "dose-due") == ["count-due 03-07 on 03-09", "dose-due 03-02"]
    dose = ward.give(patient, day="2026-03-01")
    assert ward.open(patient, "dose-due") == ["dose-due 03-08 on 03-09"]
    given = {"given_on": "2026-03-02", "micrograms": Decimal(75), **WHY}
    ward.confirmed("mona", record.correct, ward.fact(patient, dose), given)
    assert ward.open(patient, "dose-due") == ["dose-due 03-09"]
