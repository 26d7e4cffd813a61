"""The ladder, step by step, each limit below, at and above it. 100 kg, so that 1 µg/kg is 100 µg, unless said."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from tests.support import TODAY, answer, count, day, dose, event, said, weight
from titrator.titration.protocol import WeeklyProtocol
from titrator.titration.quantities import iso
from titrator.titration.recommend import recommend

Course = dict[str, Any]


def weekly(*platelets: float, level: float = 1, ago: int = 7, first: int | None = None) -> Course:
    """Doses of one level every week up to `ago` days before today, and the newest counts, the last one today."""
    weeks = first if first is not None else len(platelets)
    doses = [dose(ago + 7 * week, 100 * level, level) for week in reversed(range(weeks))]
    counts = [count(7 * index, value) for index, value in enumerate(reversed(platelets))]
    return {"doses": doses, "platelet_counts": counts}


ONE_LOW = {"platelet_counts": [count(0, 38)]}
STARTING = {"weights": [weight(0, 100)]} | ONE_LOW
DOSED = {"doses": [dose(7, 100, 1)]}


# Step 1: ages


@pytest.mark.parametrize(
    ("protocol", "born", "expected"),
    [
        ("us-itp-adult", "2008-03-10", "refer OUTSIDE-POPULATION"),
        ("us-itp-adult", "2008-03-09", "increase BELOW-TARGET 2"),
        ("us-itp-paediatric", "2025-03-10", "refer OUTSIDE-POPULATION"),
        ("us-itp-paediatric", "2025-03-09", "increase BELOW-TARGET 2"),
        ("us-itp-paediatric", "2008-03-10", "increase BELOW-TARGET 2"),
        ("us-itp-paediatric", "2008-03-09", "refer OUTSIDE-POPULATION"),
        ("us-itp-adult", "2026-03-10", "refer OUTSIDE-POPULATION"),
    ],
)
def test_step_1_serves_completed_years(protocol: str, born: str, expected: str) -> None:
    course = DOSED | ONE_LOW | {"weights": [weight(10, 100)]}
    assert said(answer(protocol, born_on=born, **course)) == expected


@pytest.mark.parametrize(("on", "expected"), [("2026-02-28", "refer"), ("2026-03-01", "incomplete")])
def test_step_1_a_leap_day_child_is_older_from_the_first_of_march(on: str, expected: str) -> None:
    assert answer("us-itp-adult", born_on="2008-02-29", on=on).action == expected


# Step 2: safety events


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([event(20, "thrombosis")], "refer SAFETY-EVENT"),
        ([event(20, "marrow_disorder")], "refer SAFETY-EVENT"),
        ([event(20, "thrombosis", resolved_ago=0)], "increase BELOW-TARGET 2"),
        ([event(20, "thrombosis", resolved_ago=-1)], "refer SAFETY-EVENT"),
        ([event(-1, "thrombosis")], "increase BELOW-TARGET 2"),
        ([event(0, "thrombosis")], "refer SAFETY-EVENT"),
        ([event(20, "red_cell_transfusion"), event(20, "adverse_event")], "increase BELOW-TARGET 2"),
    ],
)
def test_step_2_refers_while_a_safety_event_is_unresolved(events: list[Course], expected: str) -> None:
    assert said(answer(events=events, **DOSED, **ONE_LOW)) == expected


def test_step_2_comes_after_step_1() -> None:
    assert said(answer(born_on="2020-01-01", events=[event(1, "thrombosis")])) == "refer OUTSIDE-POPULATION"


# Step 3: a single dose


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        ({}, "start START 10"),
        ({"weights": []}, "incomplete WEIGHT-MISSING"),
        ({"doses": [dose(0, 100)]}, "complete SINGLE-DOSE-GIVEN"),
        ({"doses": [dose(400, 100)], "weights": []}, "complete SINGLE-DOSE-GIVEN"),
        ({"events": [event(1, "marrow_disorder")]}, "refer SAFETY-EVENT"),
    ],
)
def test_step_3_gives_a_single_dose_once(course: Course, expected: str) -> None:
    assert said(answer("us-hs-ars", **course)) == expected


# Step 4: before the first dose


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        (STARTING, "start START 1"),
        ({"weights": [weight(28, 100)]} | ONE_LOW, "start START 1"),
        ({"weights": [weight(29, 100)]} | ONE_LOW, "incomplete WEIGHT-STALE"),
        ({"weights": []} | ONE_LOW, "incomplete WEIGHT-MISSING"),
        ({"weights": []}, "incomplete COUNT-MISSING WEIGHT-MISSING"),
        ({"weights": [weight(29, 100)], "platelet_counts": [count(8, 38)]}, "incomplete COUNT-STALE WEIGHT-STALE"),
        ({"weights": [weight(0, 100)], "platelet_counts": [count(7, 38)]}, "start START 1"),
        ({"weights": [weight(0, 100)], "platelet_counts": [count(8, 38)]}, "incomplete COUNT-STALE"),
        (
            {"weights": [weight(0, 100)], "platelet_counts": [count(0, 38, unreliable=True)]},
            "incomplete COUNT-UNRELIABLE",
        ),
        (
            {"weights": [weight(0, 100)], "platelet_counts": [count(9, 38), count(0, 38, unreliable=True)]},
            "incomplete COUNT-UNRELIABLE",
        ),
        (
            {"weights": [weight(0, 100)], "platelet_counts": [count(1, 38, unreliable=True), count(0, 38)]},
            "start START 1",
        ),
        ({"weights": [weight(0, 100)], "platelet_counts": [count(0, 49.9)]}, "start START 1"),
        ({"weights": [weight(0, 100)], "platelet_counts": [count(0, 50)]}, "refer START-NOT-INDICATED"),
        (STARTING | {"events": [event(7, "platelet_transfusion")]}, "start START 1 | COUNT-CONFOUNDED"),
        (STARTING | {"events": [event(8, "platelet_transfusion")]}, "start START 1"),
        (STARTING | {"platelet_counts": [count(7, 77), count(0, 38)]}, "start START 1 | LARGE-FALL"),
        (STARTING | {"platelet_counts": [count(7, 76), count(0, 38)]}, "start START 1"),
    ],
)
def test_step_4_names_what_is_missing_before_the_first_dose(course: Course, expected: str) -> None:
    assert said(answer(**course)) == expected


@pytest.mark.parametrize(
    ("confirmed", "expected"),
    [
        ([], "refer ELIGIBILITY-UNCONFIRMED"),
        (["mds-excluded"], "refer ELIGIBILITY-UNCONFIRMED"),
        (["mds-excluded", "marrow-infiltration-excluded"], "start START 1"),
        (["mds-excluded", "marrow-infiltration-excluded", "something-else"], "start START 1"),
    ],
)
def test_step_4_asks_for_eligibility_before_the_count(confirmed: list[str], expected: str) -> None:
    assert said(answer("cart-2021-case", eligibility=confirmed, **STARTING)) == expected


def test_step_4_a_baseline_weight_is_the_latest_before_any_dose() -> None:
    weights = [weight(20, 60), weight(3, 90)]
    given = answer(weights=weights, baseline_on=day(10), **ONE_LOW)
    assert given.dose is not None
    assert given.dose.micrograms == 90


# Step 5: no count at all


def test_step_5_needs_a_count() -> None:
    assert said(answer(doses=[dose(7, 100, 1)])) == "incomplete COUNT-MISSING"
    late = answer(doses=[dose(11, 100, 1), dose(7, 400, 4)], weights=[weight(70, 100), weight(0, 110)])
    assert said(late) == "incomplete COUNT-MISSING | DOSE-JUMP DOSES-TOO-CLOSE WEIGHT-CHANGED"


# Step 6: on hold

HELD = {"doses": [dose(21, 300, 3), dose(14, 300, 3)]}


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([count(7, 400)], "maintain ABOVE-RANGE-UNCONFIRMED 3 | DOSE-MISSED"),
        ([count(7, 400.1)], "hold ABOVE-HOLD-LIMIT"),
        ([count(14, 400.1)], "hold ABOVE-HOLD-LIMIT | COUNT-STALE"),
        ([count(15, 400.1)], "incomplete COUNT-NEEDED | DOSE-MISSED"),
        ([count(7, 450, unreliable=True)], "incomplete COUNT-UNRELIABLE | DOSE-MISSED"),
        ([count(7, 450), count(0, 500, unreliable=True)], "hold AWAITING-RESUME-COUNT"),
        ([count(7, 450), count(0, 200)], "hold AWAITING-RESUME-COUNT | LARGE-FALL"),
        ([count(7, 450), count(0, 225)], "hold AWAITING-RESUME-COUNT"),
        ([count(7, 450), count(0, 199.9)], "resume RESUME-AFTER-HOLD 2 | LARGE-FALL"),
        ([count(13, 450), count(7, 199.9)], "resume RESUME-AFTER-HOLD 2 | LARGE-FALL"),
        ([count(13, 450), count(8, 199.9)], "hold AWAITING-RESUME-COUNT | COUNT-STALE LARGE-FALL"),
        ([count(7, 450), count(0, 49)], "resume RESUME-AFTER-HOLD 2 | BELOW-TARGET-ON-HOLD LARGE-FALL"),
        ([count(7, 450), count(0, 50)], "resume RESUME-AFTER-HOLD 2 | LARGE-FALL"),
    ],
)
def test_step_6_holds_until_a_recent_count_allows_dosing(counts: list[Course], expected: str) -> None:
    assert said(answer(platelet_counts=counts, **HELD)) == expected


@pytest.mark.parametrize(
    ("protocol", "platelets", "expected"),
    [
        ("jp-itp-adult", 200, "resume RESUME-AFTER-HOLD 2 | LARGE-FALL"),
        ("jp-itp-adult", 200.1, "hold AWAITING-RESUME-COUNT | LARGE-FALL"),
        ("eu-itp-adult-higher-cutoffs", 60, "refer RESUME-UNSPECIFIED | LARGE-FALL"),
        ("eu-itp-adult-higher-cutoffs", 401, "hold ABOVE-HOLD-LIMIT"),
        ("eu-itp-adult", 149.9, "resume RESUME-AFTER-HOLD 2 | LARGE-FALL"),
        ("eu-itp-adult", 150, "hold AWAITING-RESUME-COUNT | LARGE-FALL"),
    ],
)
def test_step_6_resumes_where_the_protocol_says(protocol: str, platelets: float, expected: str) -> None:
    assert said(answer(protocol, platelet_counts=[count(7, 450), count(0, platelets)], **HELD)) == expected


@pytest.mark.parametrize(
    ("events", "counts", "expected"),
    [
        ([event(14, "platelet_transfusion")], [count(7, 450)], "refer RESUME-CONFOUNDED"),
        ([event(15, "platelet_transfusion")], [count(7, 450)], "resume RESUME-AFTER-HOLD 2"),
        ([event(35, "rescue_therapy")], [count(7, 450)], "refer RESUME-CONFOUNDED"),
        ([event(36, "rescue_therapy")], [count(7, 450)], "resume RESUME-AFTER-HOLD 2"),
        ([event(7, "platelet_transfusion")], [count(7, 450)], "refer RESUME-CONFOUNDED"),
        ([event(6, "platelet_transfusion")], [count(7, 450)], "resume RESUME-AFTER-HOLD 2"),
        ([event(9, "platelet_transfusion")], [count(10, 450), count(7, 450)], "resume RESUME-AFTER-HOLD 2"),
        ([event(11, "platelet_transfusion")], [count(10, 450), count(7, 450)], "refer RESUME-CONFOUNDED"),
    ],
)
def test_step_6_refers_when_only_confounded_counts_held(
    events: list[Course], counts: list[Course], expected: str
) -> None:
    given = answer(platelet_counts=[*counts, count(0, 180)], events=events, **HELD)
    assert said(given).split(" |")[0] == expected


@pytest.mark.parametrize(("ago", "expected"), [(84, "resume RESUME-AFTER-HOLD 2"), (85, "refer THERAPY-LAPSED")])
def test_step_6_a_hold_lasts_at_most_twelve_weeks(ago: int, expected: str) -> None:
    course = {"doses": [dose(ago, 300, 3)], "platelet_counts": [count(ago - 7, 450), count(0, 180)]}
    assert said(answer(weights=[weight(100, 100)], **course)).split(" |")[0] == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (dose(14, 200, 2), "resume RESUME-AFTER-HOLD 1"),
        (dose(14, 190, 1.9), "refer RESUME-BELOW-MINIMUM"),
        (dose(14, 1100, 11), "refer DOSE-ABOVE-MAXIMUM"),
        (dose(14, 200, 3), "refer DOSE-MISMATCH"),
    ],
)
def test_step_6_resumes_one_step_down_if_the_last_dose_allows_it(given: Course, expected: str) -> None:
    found = answer(doses=[given], platelet_counts=[count(7, 450), count(0, 180)])
    assert said(found).split(" |")[0] == expected


def test_step_6_without_any_weight_the_level_is_unknown() -> None:
    course = {"doses": [dose(14, 300)], "platelet_counts": [count(7, 450), count(0, 180)], "weights": []}
    assert said(answer(**course)).split(" |")[0] == "incomplete WEIGHT-MISSING"


# Step 7: lapsed


@pytest.mark.parametrize(
    ("ago", "expected"),
    [
        (28, "refer LOW-AFTER-MISSED-DOSE | DOSE-MISSED"),
        (29, "refer THERAPY-LAPSED | DOSE-MISSED"),
    ],
)
def test_step_7_refers_after_a_gap_of_more_than_four_weeks(ago: int, expected: str) -> None:
    assert said(answer(doses=[dose(ago, 100, 1)], **ONE_LOW)) == expected


# Step 8: a last dose that cannot be built on


@pytest.mark.parametrize(
    ("protocol", "given", "expected"),
    [
        ("us-itp-adult", dose(7, 1000, 10), "maintain AT-MAXIMUM 10"),
        ("us-itp-adult", dose(7, 1001, 10.01), "refer DOSE-ABOVE-MAXIMUM"),
        ("us-itp-adult", dose(7, 110, 1), "increase BELOW-TARGET 2"),
        ("us-itp-adult", dose(7, 112, 1), "refer DOSE-MISMATCH"),
        ("us-itp-adult", dose(7, 91, 1), "increase BELOW-TARGET 2"),
        ("us-itp-adult", dose(7, 90, 1), "refer DOSE-MISMATCH"),
        ("us-itp-adult", dose(7, 1100), "refer DOSE-ABOVE-MAXIMUM"),
        ("us-itp-adult", dose(7, 112), "increase BELOW-TARGET 2.1"),
        ("cart-2021-case", dose(7, 500, 5), "maintain AT-MAXIMUM 5"),
        ("cart-2021-case", dose(7, 502.5, 5), "maintain AT-MAXIMUM 5"),
        ("cart-2021-case", dose(7, 502.6, 5), "refer DOSE-ABOVE-MAXIMUM"),
        ("cart-2021-case", dose(7, 500, 7), "maintain AT-MAXIMUM 7"),
        ("cart-2021-case", dose(7, 499, 7), "refer DOSE-MISMATCH"),
        ("cart-2021-case", dose(7, 500, 4), "refer DOSE-MISMATCH"),
    ],
)
def test_step_8_refers_a_dose_above_the_maximum_or_off_its_weight(protocol: str, given: Course, expected: str) -> None:
    assert said(answer(protocol, doses=[given], weights=[weight(10, 100)], **ONE_LOW)).split(" |")[0] == expected


@pytest.mark.parametrize(
    ("micrograms", "expected"),
    [
        (12.5, "increase BELOW-TARGET 2"),
        (12.51, "refer DOSE-MISMATCH"),
        (7.5, "increase BELOW-TARGET 2"),
        (7.49, "refer DOSE-MISMATCH"),
    ],
)
def test_step_8_half_a_graduation_never_mismatches(micrograms: float, expected: str) -> None:
    given = answer("us-itp-paediatric", doses=[dose(7, micrograms, 1)], weights=[weight(10, 10)], **ONE_LOW)
    assert said(given).split(" |")[0] == expected


def test_step_8_a_stated_level_without_a_weight_is_known_but_computes_no_dose() -> None:
    assert said(answer(doses=[dose(7, 100, 1)], weights=[], **ONE_LOW)) == "incomplete WEIGHT-MISSING"
    assert said(answer(doses=[dose(7, 100)], weights=[], **ONE_LOW)) == "incomplete WEIGHT-MISSING"
    assert answer(doses=[dose(7, 100, 1)], weights=[], **ONE_LOW).evidence.step == 11
    assert answer(doses=[dose(7, 100)], weights=[], **ONE_LOW).evidence.step == 8


# Steps 9 and 10: a count to rest on


def test_step_9_an_unreliable_newest_count_doses_nothing() -> None:
    counts = [count(1, 38), count(0, 38, unreliable=True)]
    assert said(answer(platelet_counts=counts, **DOSED)) == "incomplete COUNT-UNRELIABLE"
    assert (
        said(answer(platelet_counts=[count(1, 38, unreliable=True), count(0, 38)], **DOSED))
        == "increase BELOW-TARGET 2"
    )


@pytest.mark.parametrize(
    ("given", "counted", "expected"),
    [
        (4, 0, "increase BELOW-TARGET 2"),
        (3, 0, "incomplete COUNT-NEEDED"),
        (12, 7, "refer LOW-AFTER-MISSED-DOSE | DOSE-MISSED"),
        (10, 6, "increase BELOW-TARGET 2"),
        (11, 6, "refer LOW-AFTER-MISSED-DOSE | DOSE-MISSED"),
        (12, 8, "incomplete COUNT-STALE | DOSE-MISSED"),
        (7, 8, "incomplete COUNT-NEEDED"),
        (7, 7, "incomplete COUNT-NEEDED"),
    ],
)
def test_step_10_asks_for_a_fresh_and_recent_count(given: int, counted: int, expected: str) -> None:
    assert said(answer(doses=[dose(given, 100, 1)], platelet_counts=[count(counted, 38)])) == expected


def stable_course(newest: int, span: int = 28, last: int = 7, value: float = 100) -> Course:
    """Weekly doses of one level; counts in range from `newest` days ago back over `span` days."""
    doses = [dose(last + 7 * week, 100, 1) for week in range(14)]
    counts = [
        count(newest, value),
        *(count(newest + back, 100) for back in range(7, span, 7)),
        count(newest + span, 100),
    ]
    return {"doses": doses, "platelet_counts": counts, "weights": [weight(110, 100)]}


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        (stable_course(8), "maintain STABLE 1"),
        (stable_course(31), "maintain STABLE 1"),
        (stable_course(32), "incomplete COUNT-NEEDED"),
        (stable_course(8, span=27), "incomplete COUNT-NEEDED"),
        (stable_course(8, last=10), "maintain STABLE 1"),
        (stable_course(14, last=10), "maintain STABLE 1"),
        (stable_course(14, last=11), "incomplete COUNT-NEEDED | DOSE-MISSED"),
        (stable_course(8, value=200), "maintain STABLE 1"),
        (stable_course(8, value=200.1), "incomplete COUNT-NEEDED"),
        (stable_course(8, value=49.9), "incomplete COUNT-NEEDED"),
        (stable_course(8, value=50), "maintain STABLE 1"),
    ],
)
def test_step_10_a_stable_course_needs_no_weekly_count(course: Course, expected: str) -> None:
    assert said(answer(**course)).replace(" | LARGE-FALL", "") == expected


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], "maintain STABLE 1"),
        ([event(36, "platelet_transfusion")], "incomplete COUNT-NEEDED"),
        ([event(8, "platelet_transfusion")], "incomplete COUNT-NEEDED"),
        ([event(20, "platelet_transfusion")], "maintain STABLE 1"),
    ],
)
def test_step_10_confounded_counts_span_nothing(events: list[Course], expected: str) -> None:
    assert said(answer(events=events, **stable_course(8))).split(" |")[0] == expected


# Step 11: below target


@pytest.mark.parametrize(
    ("protocol", "platelets", "expected"),
    [
        ("us-itp-adult", 49.9, "increase BELOW-TARGET 2"),
        ("us-itp-adult", 50, "maintain IN-RANGE 1"),
        ("cart-2021-case", 50, "increase BELOW-TARGET 2"),
        ("cart-2021-case", 50.1, "maintain IN-RANGE 1"),
    ],
)
def test_step_11_raises_below_the_target(protocol: str, platelets: float, expected: str) -> None:
    given = answer(protocol, weights=[weight(7, 40)], doses=[dose(7, 40, 1)], platelet_counts=[count(0, platelets)])
    assert said(given) == expected


@pytest.mark.parametrize(
    ("protocol", "kg", "level", "expected"),
    [
        ("us-itp-adult", 100, 9, "increase BELOW-TARGET 10"),
        ("us-itp-adult", 100, 9.5, "increase BELOW-TARGET 10"),
        ("us-itp-adult", 100, 10, "maintain AT-MAXIMUM 10"),
        ("cart-2021-case", 58.1, 8, "increase BELOW-TARGET 8.6"),
        ("cart-2021-case", 58.1, 8.6, "maintain AT-MAXIMUM 8.6"),
        ("cart-2021-case", 100, 4, "increase BELOW-TARGET 5"),
        ("cart-2021-case", 100, 4.9, "increase BELOW-TARGET 5.9"),
        ("cart-2021-case", 100, 5, "maintain AT-MAXIMUM 5"),
    ],
)
def test_step_11_stops_at_the_maximum(protocol: str, kg: float, level: float, expected: str) -> None:
    course = {"doses": [dose(7, kg * level, level)], "weights": [weight(20, kg)]}
    assert said(answer(protocol, **course, **ONE_LOW)).split(" |")[0] == expected


@pytest.mark.parametrize(
    ("days", "level", "expected"),
    [
        ((28, 21, 14, 7), 10, "refer NO-RESPONSE-AT-MAXIMUM"),
        ((27, 21, 14, 7), 10, "maintain AT-MAXIMUM 10"),
        ((28, 14, 7), 10, "maintain AT-MAXIMUM 10"),
        ((70, 21, 14, 7), 10, "refer NO-RESPONSE-AT-MAXIMUM"),
        ((35, 28, 21, 14, 7), 10, "refer NO-RESPONSE-AT-MAXIMUM"),
    ],
)
def test_step_11_refers_after_four_doses_over_four_weeks_at_the_maximum(
    days: tuple[int, ...], level: float, expected: str
) -> None:
    doses = [dose(90, 900, 9), *(dose(ago, 1000, level) for ago in days)]
    assert said(answer(doses=doses, weights=[weight(100, 100)], **ONE_LOW)).split(" |")[0] == expected


def test_step_11_a_lower_dose_breaks_the_row_at_the_maximum() -> None:
    doses = [dose(35, 1000, 10), dose(28, 1000, 10), dose(21, 900, 9), dose(14, 1000, 10), dose(7, 1000, 10)]
    assert said(answer(doses=doses, **ONE_LOW)).split(" |")[0] == "maintain AT-MAXIMUM 10"


def test_step_11_doses_of_the_maximum_in_micrograms_count_too() -> None:
    doses = [dose(ago, 500, 5) for ago in (28, 21, 14, 7)]
    given = answer("cart-2021-case", doses=doses, weights=[weight(7, 100)], **ONE_LOW)
    assert said(given).split(" |")[0] == "refer NO-RESPONSE-AT-MAXIMUM"


# Step 12: above range


@pytest.mark.parametrize(
    ("protocol", "before", "newest", "expected"),
    [
        ("us-itp-adult", 200.1, 200, "maintain IN-RANGE 3"),
        ("us-itp-adult", 200.1, 200.1, "reduce ABOVE-RANGE 2"),
        ("us-itp-adult", 200, 200.1, "maintain ABOVE-RANGE-UNCONFIRMED 3"),
        ("us-itp-adult", 400, 400, "reduce ABOVE-RANGE 2"),
        ("eu-itp-adult", 150.1, 150.1, "reduce ABOVE-RANGE 2"),
        ("eu-itp-adult", 150.1, 150, "maintain IN-RANGE 3"),
        ("eu-itp-adult", 150, 250, "maintain ABOVE-RANGE-UNCONFIRMED 3"),
        ("eu-itp-adult-higher-cutoffs", 200.1, 400, "reduce ABOVE-RANGE 2"),
        ("jp-itp-adult", 100, 200.1, "reduce ABOVE-RANGE 2"),
        ("jp-itp-adult", 100, 200, "maintain IN-RANGE 3"),
    ],
)
def test_step_12_lowers_after_the_weeks_of_the_protocol(
    protocol: str, before: float, newest: float, expected: str
) -> None:
    assert said(answer(protocol, **weekly(before, newest, level=3))) == expected


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        ([count(3, 250)], "maintain ABOVE-RANGE-UNCONFIRMED 3"),
        ([count(4, 250)], "reduce ABOVE-RANGE 2"),
        ([count(10, 250)], "reduce ABOVE-RANGE 2"),
        ([count(11, 250)], "maintain ABOVE-RANGE-UNCONFIRMED 3"),
        ([count(7, 250), count(10, 200)], "maintain ABOVE-RANGE-UNCONFIRMED 3"),
        ([count(7, 250), count(11, 200)], "reduce ABOVE-RANGE 2"),
        ([count(7, 250), count(1, 200)], "maintain ABOVE-RANGE-UNCONFIRMED 3"),
        ([count(7, 250), count(3, 200, unreliable=True)], "reduce ABOVE-RANGE 2"),
        ([count(7, 250, unreliable=True)], "maintain ABOVE-RANGE-UNCONFIRMED 3"),
    ],
)
def test_step_12_two_weeks_are_two_counts_four_to_ten_days_apart(earlier: list[Course], expected: str) -> None:
    doses = [dose(ago, 300, 3) for ago in (28, 21, 14, 7)]
    assert said(answer(doses=doses, platelet_counts=[*earlier, count(0, 250)])) == expected


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        ([count(14, 250), count(7, 250)], "reduce ABOVE-RANGE 2"),
        ([count(7, 250)], "maintain ABOVE-RANGE-UNCONFIRMED 3"),
        ([count(14, 250)], "maintain ABOVE-RANGE-UNCONFIRMED 3"),
        ([count(11, 250), count(4, 250)], "reduce ABOVE-RANGE 2"),
        ([count(10, 250), count(4, 250)], "maintain ABOVE-RANGE-UNCONFIRMED 3"),
        ([count(17, 250), count(10, 250)], "reduce ABOVE-RANGE 2"),
        ([count(18, 250), count(10, 250)], "maintain ABOVE-RANGE-UNCONFIRMED 3"),
        ([count(17, 200), count(14, 250), count(7, 250)], "maintain ABOVE-RANGE-UNCONFIRMED 3"),
        ([count(18, 200), count(14, 250), count(7, 250)], "reduce ABOVE-RANGE 2"),
    ],
)
def test_step_12_three_weeks_are_a_count_in_each_of_them(earlier: list[Course], expected: str) -> None:
    """No protocol here asks for more than two weeks, but a hospital's own may."""
    doses = [dose(ago, 300, 3) for ago in (35, 28, 21, 14, 7)]
    given = answer(doses=doses, platelet_counts=[*earlier, count(0, 250)])
    protocol = given.protocol
    assert isinstance(protocol, WeeklyProtocol)
    assert said(recommend(replace(protocol, reduce_weeks=3), given.facts.course, given.on)) == expected


@pytest.mark.parametrize(
    ("changed", "expected"), [(11, "reduce ABOVE-RANGE 2"), (10, "maintain ABOVE-RANGE-UNCONFIRMED 3")]
)
def test_step_12_the_streak_starts_four_days_after_the_last_change(changed: int, expected: str) -> None:
    doses = [dose(changed + 7, 200, 2), dose(changed, 300, 3), dose(6, 300, 3)]
    given = answer(doses=doses, platelet_counts=[count(7, 250), count(0, 250)])
    assert said(given).split(" |")[0] == expected


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([event(7, "platelet_transfusion")], "maintain ABOVE-RANGE-CONFOUNDED 3 | COUNT-CONFOUNDED"),
        ([event(28, "rescue_therapy")], "maintain ABOVE-RANGE-CONFOUNDED 3 | COUNT-CONFOUNDED"),
        ([event(8, "platelet_transfusion")], "maintain ABOVE-RANGE-UNCONFIRMED 3"),
        ([event(29, "rescue_therapy")], "maintain ABOVE-RANGE-UNCONFIRMED 3"),
        ([event(15, "platelet_transfusion")], "reduce ABOVE-RANGE 2"),
        ([event(36, "rescue_therapy")], "reduce ABOVE-RANGE 2"),
    ],
)
def test_step_12_confounded_counts_lower_nothing(events: list[Course], expected: str) -> None:
    assert said(answer(events=events, **weekly(250, 250, level=3, first=4))) == expected


@pytest.mark.parametrize(
    ("level", "expected"),
    [(2, "reduce ABOVE-RANGE 1"), (1.9, "refer REDUCTION-BELOW-MINIMUM"), (1, "refer REDUCTION-BELOW-MINIMUM")],
)
def test_step_12_refers_a_reduction_below_the_minimum(level: float, expected: str) -> None:
    assert said(answer(**weekly(250, 250, level=level))).split(" |")[0] == expected


@pytest.mark.parametrize(
    ("kg", "level", "expected"),
    [
        (100, 8, "reduce ABOVE-RANGE 4"),
        (58.1, 8.6, "reduce ABOVE-RANGE 7.6"),
        (100, 4, "reduce ABOVE-RANGE 3"),
    ],
)
def test_step_12_one_step_down_counts_from_what_the_maximum_in_micrograms_allows(
    kg: float, level: float, expected: str
) -> None:
    micrograms = min(500, kg * level)
    doses = [dose(ago, micrograms, level) for ago in (28, 21, 14, 7)]
    given = answer(
        "cart-2021-case", doses=doses, weights=[weight(30, kg)], platelet_counts=[count(7, 250), count(0, 250)]
    )
    assert said(given) == expected


# Step 13, and what the dose adds


@pytest.mark.parametrize(
    ("newest", "expected"),
    [
        (109.9, "increase BELOW-TARGET 2"),
        (110, "increase BELOW-TARGET 2 | WEIGHT-CHANGED"),
        (90, "increase BELOW-TARGET 2 | WEIGHT-CHANGED"),
        (90.1, "increase BELOW-TARGET 2"),
        (129.9, "increase BELOW-TARGET 2 | WEIGHT-CHANGED"),
        (130, "refer WEIGHT-DISPARATE | WEIGHT-CHANGED"),
        (70.1, "increase BELOW-TARGET 2 | WEIGHT-CHANGED"),
        (70, "refer WEIGHT-DISPARATE | WEIGHT-CHANGED"),
    ],
)
def test_a_newer_weight_alerts_at_a_tenth_and_refers_at_three_tenths(newest: float, expected: str) -> None:
    given = answer(weights=[weight(70, 100), weight(0, newest)], **DOSED, **ONE_LOW)
    assert said(given) == expected


def test_a_new_baseline_settles_a_disparate_weight() -> None:
    weights = [weight(70, 100), weight(3, 130)]
    given = answer(weights=weights, baseline_on=day(3), **DOSED, **ONE_LOW)
    assert said(given) == "increase BELOW-TARGET 2"
    assert given.dose is not None
    assert given.dose.micrograms == 260


@pytest.mark.parametrize(("ago", "expected"), [(84, "increase BELOW-TARGET 2"), (85, "incomplete WEIGHT-STALE")])
def test_a_current_weight_goes_stale(ago: int, expected: str) -> None:
    given = answer("us-itp-paediatric", weights=[weight(ago, 10)], doses=[dose(7, 10, 1)], **ONE_LOW)
    assert said(given) == expected


def test_a_dose_too_small_for_the_syringe_is_referred() -> None:
    tiny = answer(
        "us-itp-paediatric", weights=[weight(7, 0.6)], doses=[dose(7, 0.6, 1)], platelet_counts=[count(0, 100)]
    )
    assert said(tiny) == "refer DOSE-TOO-SMALL"
    just = answer(
        "us-itp-paediatric", weights=[weight(7, 0.625)], doses=[dose(7, 0.625, 1)], platelet_counts=[count(0, 100)]
    )
    assert said(just) == "maintain IN-RANGE 1"


@pytest.mark.parametrize(
    ("kg", "expected"), [(58.13, "maintain IN-RANGE 8.6"), (58.2, "maintain IN-RANGE 8.6 | DOSE-CAPPED")]
)
def test_a_dose_over_the_maximum_in_micrograms_is_cut(kg: float, expected: str) -> None:
    given = answer(
        "cart-2021-case", weights=[weight(7, kg)], doses=[dose(7, 500, 8.6)], platelet_counts=[count(0, 100)]
    )
    assert said(given) == expected
    assert given.dose is not None
    assert given.dose.micrograms <= 500


# Section 6: alerts that no step above shows


@pytest.mark.parametrize(
    ("doses", "expected"),
    [
        ([dose(12, 100, 1), dose(7, 100, 1)], ""),
        ([dose(11, 100, 1), dose(7, 100, 1)], "DOSES-TOO-CLOSE"),
        ([dose(14, 100, 1), dose(7, 300, 3)], ""),
        ([dose(14, 100, 1), dose(7, 310, 3.1)], "DOSE-JUMP OFF-PROTOCOL-DOSE"),
        ([dose(14, 400, 4), dose(7, 100, 1)], "DOSE-JUMP"),
        ([dose(7, 150, 1.5)], "OFF-PROTOCOL-DOSE"),
        ([dose(10, 100, 1)], ""),
        ([dose(11, 100, 1)], "DOSE-MISSED"),
    ],
)
def test_alerts_on_doses(doses: list[Course], expected: str) -> None:
    given = answer(doses=doses, platelet_counts=[count(0, 100)])
    assert " ".join(given.alerts) == expected


@pytest.mark.parametrize(
    ("platelets", "events", "expected"),
    [
        ((60, 40, 38), [], "LOSS-OF-RESPONSE"),
        ((49, 40, 38), [], ""),
        ((60, 51, 38), [], ""),
        ((60, 40), [], ""),
        ((60, 40, 38), [event(14, "platelet_transfusion")], ""),
        ((60, 40, 38), [event(0, "platelet_transfusion")], "COUNT-CONFOUNDED LOSS-OF-RESPONSE"),
    ],
)
def test_loss_of_response_needs_two_low_counts_after_a_response(
    platelets: tuple[float, ...], events: list[Course], expected: str
) -> None:
    given = answer(events=events, **weekly(*platelets, level=10, first=5))
    assert " ".join(alert for alert in given.alerts if alert not in ("DOSE-JUMP", "LARGE-FALL")) == expected


@pytest.mark.parametrize(("first", "expected"), [(14, False), (15, True)])
def test_a_response_counts_only_after_the_first_dose(first: int, expected: bool) -> None:
    doses = [dose(first, 100, 1), dose(7, 100, 1)]
    given = answer(doses=doses, platelet_counts=[count(14, 60), count(7, 40), count(0, 40)])
    assert ("LOSS-OF-RESPONSE" in given.alerts) is expected


def test_a_single_dose_protocol_alerts_nothing() -> None:
    course = {"doses": [dose(9, 100), dose(7, 900)], "platelet_counts": [count(7, 100), count(0, 10)]}
    assert answer("us-hs-ars", **course).alerts == ()


# Section 5: when


@pytest.mark.parametrize(
    ("course", "due", "next_count"),
    [
        (STARTING, 0, 7),
        ({"weights": [weight(0, 100)], "platelet_counts": [count(3, 38)]}, 0, 4),
        (DOSED | ONE_LOW, 0, 7),
        ({"doses": [dose(4, 100, 1)]} | ONE_LOW, 3, 7),
        ({"doses": [dose(9, 100, 1)]} | ONE_LOW, 0, 7),
        ({"doses": [dose(9, 100, 1)], "platelet_counts": [count(5, 38)]}, 0, 2),
        ({"doses": [dose(3, 100, 1)]} | ONE_LOW, None, 4),
        ({"doses": [dose(9, 100, 1)], "platelet_counts": [count(9, 38)]}, None, 0),
        ({"doses": [dose(12, 100, 1)], "platelet_counts": [count(8, 38)]}, None, 0),
        ({"doses": [dose(29, 100, 1)], "platelet_counts": [count(20, 38)]}, None, 0),
        ({"doses": [dose(29, 100, 1)], "platelet_counts": [count(3, 38)]}, None, 4),
        ({"doses": [dose(29, 100, 1)], "platelet_counts": [count(3, 38, unreliable=True)]}, None, 0),
        (stable_course(8), 0, 20),
        (stable_course(31), 0, 0),
        (stable_course(0), 0, 28),
        (stable_course(0, span=27), 0, 7),
        (stable_course(0) | {"events": [event(0, "platelet_transfusion")]}, 0, 7),
        (stable_course(3) | {"events": [event(0, "platelet_transfusion")]}, 0, 25),
    ],
)
def test_due_and_next_count(course: Course, due: int | None, next_count: int) -> None:
    given = answer(**course)
    assert (given.due and iso(given.due)) == (None if due is None else (TODAY + timedelta(days=due)).isoformat())
    assert given.next_count is not None
    assert date.fromordinal(given.next_count) == TODAY + timedelta(days=next_count)


def test_a_large_fall_keeps_the_count_weekly() -> None:
    course = stable_course(0)
    course["platelet_counts"] = [count(0, 60), *course["platelet_counts"][1:]]
    course["platelet_counts"][1] = count(7, 130)
    given = answer(**course)
    assert said(given) == "maintain IN-RANGE 1 | LARGE-FALL"
    assert given.next_count == TODAY.toordinal() + 7


def test_a_single_dose_asks_for_no_further_count_once_given() -> None:
    assert answer("us-hs-ars", doses=[dose(3, 1000)]).next_count is None
    assert answer("us-hs-ars").next_count == TODAY.toordinal()
    assert answer("us-hs-ars", platelet_counts=[count(2, 30)]).next_count == TODAY.toordinal() + 5


# Section 7: evidence


def test_evidence_names_what_the_step_read() -> None:
    given = answer(**weekly(250, 250, level=3, first=4)).evidence
    assert given.step == 12
    assert [iso(read) for read in given.counts_used] == [day(7), day(0)]
    assert [iso(read) for read in given.doses_used] == [day(7)]
    assert given.dosing_weight_kg == 100
    assert given.dosing_weight_on is not None
    assert iso(given.dosing_weight_on) == day(70)
    assert given.last_level == 3
    assert given.stable is False


@pytest.mark.parametrize(
    ("course", "step", "counts", "doses"),
    [
        ({"born_on": "2020-01-01"}, 1, [], []),
        ({"events": [event(1, "thrombosis")]}, 2, [], []),
        (STARTING, 4, [0], []),
        (DOSED, 5, [], []),
        ({"platelet_counts": [count(7, 450), count(0, 300)]} | HELD, 6, [7, 0], []),
        ({"platelet_counts": [count(7, 450), count(0, 100)]} | HELD, 6, [7, 0], [14]),
        ({"doses": [dose(29, 100, 1)]} | ONE_LOW, 7, [], [29]),
        ({"doses": [dose(7, 150, 1)]} | ONE_LOW, 8, [], [7]),
        (DOSED | {"platelet_counts": [count(0, 38, unreliable=True)]}, 9, [0], []),
        (DOSED | {"platelet_counts": [count(7, 38)]}, 10, [7], [7]),
        (stable_course(8), 10, [36, 29, 22, 15, 8], [7]),
        (DOSED | ONE_LOW, 11, [0], [7]),
        (weekly(*[20] * 5, level=10), 11, [0], [35, 28, 21, 14, 7]),
        (weekly(250, level=3), 12, [0], [7]),
        (weekly(250, 250, level=1), 12, [7, 0], [7]),
        (DOSED | {"platelet_counts": [count(0, 100)]}, 13, [0], [7]),
    ],
)
def test_evidence_of_each_step(course: Course, step: int, counts: list[int], doses: list[int]) -> None:
    given = answer(**course).evidence
    assert given.step == step
    assert [iso(read) for read in given.counts_used] == [day(ago) for ago in counts]
    assert [iso(read) for read in given.doses_used] == [day(ago) for ago in doses]


@pytest.mark.parametrize(
    ("protocol", "course", "step"),
    [
        ("us-hs-ars", {}, 3),
        ("us-hs-ars", {"weights": []}, 3),
        ("us-hs-ars", {"doses": [dose(1, 1000, 10)]}, 3),
        ("us-itp-adult", {"weights": []}, 4),
        ("cart-2021-case", STARTING, 4),
        ("us-itp-adult", STARTING | {"platelet_counts": [count(0, 50)]}, 4),
    ],
)
def test_evidence_without_a_weekly_dose_names_step_3_or_4(protocol: str, course: Course, step: int) -> None:
    assert answer(protocol, **course).evidence.step == step


def test_evidence_of_a_single_dose_gives_its_stated_level() -> None:
    assert answer("us-hs-ars", doses=[dose(1, 1000, 10)]).evidence.last_level == 10
    assert answer("us-hs-ars", doses=[dose(1, 1000)]).evidence.last_level is None
    assert answer("us-hs-ars").evidence.last_level is None
    assert answer("us-hs-ars").evidence.stable is False
    assert answer(weights=[]).evidence.dosing_weight_kg is None


# Terms that only a special course tells apart


def test_a_level_is_computed_from_the_weight_that_its_day_had() -> None:
    """A new baseline counts from its day on; doses before it keep the old one."""
    course = {"weights": [weight(70, 50), weight(10, 60)], "baseline_on": day(7)}
    assert answer(doses=[dose(14, 50), dose(7, 60)], **course, **ONE_LOW).evidence.last_level == 1
    assert answer(doses=[dose(14, 100), dose(8, 100)], **course, **ONE_LOW).evidence.last_level == 2


@pytest.mark.parametrize(("micrograms", "level"), [(23, 2), (22.9, 2.1)])
def test_a_dose_of_23_micrograms_is_measured_by_the_undiluted_graduation(micrograms: float, level: float) -> None:
    given = answer("us-itp-paediatric", weights=[weight(7, 10.7)], doses=[dose(7, micrograms)], **ONE_LOW)
    assert str(given.evidence.last_level) == str(level)


def test_a_level_whose_dose_reaches_the_maximum_exactly_is_at_maximum() -> None:
    given = answer("cart-2021-case", weights=[weight(7, 62.5)], doses=[dose(7, 495, 8)], **ONE_LOW)
    assert said(given) == "maintain AT-MAXIMUM 8"


def test_counts_from_before_the_last_change_span_nothing() -> None:
    doses = [dose(21, 100, 1), dose(14, 200, 2), dose(7, 200, 2)]
    given = answer(doses=doses, platelet_counts=[count(ago, 100) for ago in (36, 29, 22, 15, 8)])
    assert said(given) == "incomplete COUNT-NEEDED"
    assert given.evidence.stable is False


def test_a_stable_course_says_so_in_its_evidence() -> None:
    assert answer(**stable_course(8)).evidence.stable is True


@pytest.mark.parametrize("before", [1, 2])
def test_one_week_above_range_asks_for_no_earlier_count(before: int) -> None:
    doses = [dose(ago, 300, 3) for ago in (21, 14, 7)]
    given = answer("jp-itp-adult", doses=doses, platelet_counts=[count(before, 150), count(0, 250)])
    assert said(given) == "reduce ABOVE-RANGE 2"


def test_step_4_and_step_3_name_what_they_read() -> None:
    unreliable = answer(platelet_counts=[count(5, 38), count(1, 38, unreliable=True)]).evidence
    assert [iso(read) for read in unreliable.counts_used] == [day(1)]
    high = answer(weights=[weight(1, 60)], platelet_counts=[count(0, 90)]).evidence
    assert [iso(read) for read in high.counts_used] == [day(0)]
    assert [iso(read) for read in answer("us-hs-ars", doses=[dose(3, 900)]).evidence.doses_used] == [day(3)]
