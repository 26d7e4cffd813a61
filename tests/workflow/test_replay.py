"""A replay answers each day of a course as it was then: with that day's count and weight, without that day's dose."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from tests.support import CATALOGUE, ask, counted, dosed, weighed
from titrator.protocols import SHIPPED
from titrator.protocols.examples import read_examples
from titrator.titration.answer import to_text
from titrator.titration.codes import Action, Reason
from titrator.titration.quantities import iso
from titrator.titration.recommend import recommend
from titrator.workflow import demo
from titrator.workflow.replay import Replayed, replay


def replayed(document: Mapping[str, object]) -> list[Replayed]:
    request = ask(document)
    return list(replay(CATALOGUE.get(request.protocol), request.course, request.on))


def days(document: Mapping[str, object]) -> list[str]:
    return [iso(day.answer.on) for day in replayed(document)]


# The published case

CASE = replayed(demo.document())
RISING = [60, 115, 175, 230, 290, 350, 405, 465, 500]


def test_the_case_has_24_weeks() -> None:
    first = CASE[0].answer.on
    assert iso(first) == "2026-01-05"
    assert [day.answer.on for day in CASE] == [first + 7 * week for week in range(24)]
    assert [day.counted and day.counted.platelets for day in CASE] == list(demo.PLATELETS)


def test_the_doses_of_the_case_rise_to_500_micrograms_at_the_ninth_and_stay_there() -> None:
    delivered = [day.answer.dose and day.answer.dose.delivered for day in CASE]
    assert delivered == RISING + [500] * 15
    assert [day.answer.dose and day.answer.dose.level for day in CASE][:9] == [1, 2, 3, 4, 5, 6, 7, 8, Decimal("8.6")]


def test_the_case_starts_rises_and_is_kept() -> None:
    assert [day.answer.action for day in CASE] == [Action.START] + [Action.INCREASE] * 8 + [Action.MAINTAIN] * 15


def test_what_was_given_in_the_case_is_what_is_proposed() -> None:
    assert [day.given and day.given.micrograms for day in CASE[:-1]] == RISING + [500] * 14
    assert CASE[-1].given is None
    for day in CASE[:-1]:
        assert day.given is not None
        assert day.answer.dose is not None
        assert (day.given.micrograms, day.given.level) == (day.answer.dose.delivered, day.answer.dose.level)


def test_the_case_is_due_each_week_and_needs_no_prescriber_after_the_start() -> None:
    assert [day.answer.due for day in CASE] == [day.answer.on for day in CASE]
    assert not any(day.answer.alerts for day in CASE)


# What a day knows

BASE: dict[str, Any] = {
    "protocol": "us-itp-adult",
    "on": "2026-03-23",
    "weights": weighed(("2026-02-20", 75)),
    "platelet_counts": counted(("2026-03-02", 20), ("2026-03-09", 38), ("2026-03-16", 60)),
    "doses": dosed(("2026-03-02", 75, 1), ("2026-03-09", 150, 2), ("2026-03-17", 150, 2)),
}


def test_each_day_with_a_count_or_a_dose_is_replayed_in_order() -> None:
    assert days(BASE) == ["2026-03-02", "2026-03-09", "2026-03-16", "2026-03-17"]
    backwards = BASE | {key: BASE[key][::-1] for key in ("platelet_counts", "doses")}
    assert days(backwards) == days(BASE)


def test_a_day_is_answered_before_its_dose() -> None:
    first, second, third, fourth = replayed(BASE)
    assert first.answer.reasons == (Reason.START,)
    assert second.answer.reasons == (Reason.BELOW_TARGET,)
    assert [iso(day) for day in second.answer.evidence.doses_used] == ["2026-03-02"]
    assert third.answer.reasons == (Reason.IN_RANGE,)
    assert [iso(day) for day in fourth.answer.evidence.doses_used] == ["2026-03-09"]


def test_a_day_knows_its_count_and_its_weight() -> None:
    heavier = {"measured_on": "2026-03-09", "value": 120, "unit": "kg"}
    second = replayed(BASE | {"weights": [*BASE["weights"], heavier]})[1]
    assert [iso(day) for day in second.answer.evidence.counts_used] == ["2026-03-09"]
    assert second.answer.reasons == (Reason.WEIGHT_DISPARATE,)


def test_a_day_does_not_know_what_came_later() -> None:
    later = {"measured_on": "2026-03-10", "value": 120, "unit": "kg"}
    plain, changed = replayed(BASE), replayed(BASE | {"weights": [*BASE["weights"], later]})
    assert [to_text(day.answer) for day in changed[:2]] == [to_text(day.answer) for day in plain[:2]]
    assert changed[2].answer.reasons == (Reason.WEIGHT_DISPARATE,)


def test_the_dose_of_a_day_changes_nothing_of_that_day_s_answer() -> None:
    other = [{**dose, "micrograms": 999} if dose["given_on"] == "2026-03-17" else dose for dose in BASE["doses"]]
    plain, changed = replayed(BASE)[-1], replayed(BASE | {"doses": other})[-1]
    assert to_text(changed.answer) == to_text(plain.answer)
    assert (plain.given and plain.given.micrograms, changed.given and changed.given.micrograms) == (150, 999)


def test_what_was_counted_and_given_stands_beside_the_answer() -> None:
    assert [(day.counted and day.counted.platelets, day.given and day.given.micrograms) for day in replayed(BASE)] == [
        (20, 75),
        (38, 150),
        (60, None),
        (None, 150),
    ]


def test_of_two_counts_a_day_the_last_reliable_one_stands_and_two_doses_are_one() -> None:
    repeated = {
        "platelet_counts": [
            *BASE["platelet_counts"],
            {"collected_on": "2026-03-16", "value": 70, "unit": "10*9/L"},
            {"collected_on": "2026-03-16", "value": 10, "unit": "10*9/L", "unreliable": True},
        ],
        "doses": [*BASE["doses"], {"given_on": "2026-03-17", "micrograms": 25, "micrograms_per_kg": 0.5}],
    }
    third, fourth = replayed(BASE | repeated)[2:]
    assert third.counted is not None
    assert (third.counted.platelets, third.counted.unreliable) == (70, False)
    assert fourth.given is not None
    assert (fourth.given.micrograms, fourth.given.level) == (175, Decimal("2.5"))


def test_a_day_with_nothing_but_an_unreliable_count_is_replayed() -> None:
    clumped = {"collected_on": "2026-03-23", "value": 10, "unit": "10*9/L", "unreliable": True}
    last = replayed(BASE | {"platelet_counts": [*BASE["platelet_counts"], clumped]})[-1]
    assert last.counted is not None
    assert last.counted.unreliable
    assert last.answer.reasons == (Reason.COUNT_UNRELIABLE,)


@pytest.mark.parametrize(
    ("on", "number"), [("2026-03-01", 0), ("2026-03-02", 1), ("2026-03-15", 2), ("2026-03-16", 3), ("2026-12-31", 4)]
)
def test_days_after_the_one_asked_about_are_left_out(on: str, number: int) -> None:
    assert days(BASE | {"on": on}) == days(BASE)[:number]


@pytest.mark.parametrize("on", ["2026-03-02", "2026-03-09", "2026-03-16"])
def test_a_day_is_answered_alike_however_much_is_recorded_after_it(on: str) -> None:
    shorter = replayed(BASE | {"on": on})
    assert [to_text(day.answer) for day in shorter] == [to_text(day.answer) for day in replayed(BASE)[: len(shorter)]]


def test_weights_and_events_alone_make_no_day() -> None:
    event = {"kind": "thrombosis", "occurred_on": "2026-03-01"}
    assert replayed({key: BASE[key] for key in ("protocol", "on", "weights")} | {"events": [event]}) == []


def test_a_safety_event_refers_from_its_day_until_it_is_resolved() -> None:
    event = {"kind": "thrombosis", "occurred_on": "2026-03-09", "resolved_on": "2026-03-17"}
    reasons = [day.answer.reasons for day in replayed(BASE | {"events": [event]})]
    assert [Reason.SAFETY_EVENT in reason for reason in reasons] == [False, True, True, False]


def test_a_single_dose_is_proposed_before_it_is_given_and_complete_after() -> None:
    course = {
        "protocol": "us-hs-ars",
        "on": "2026-03-20",
        "weights": weighed(("2026-03-02", 70)),
        "platelet_counts": counted(("2026-03-09", 12)),
        "doses": dosed(("2026-03-02", 700, 10)),
    }
    assert [day.answer.action for day in replayed(course)] == [Action.START, Action.COMPLETE]


# The law: a day replayed is the course document cut by hand, and asked about on that day

DATED = {
    "weights": "measured_on",
    "platelet_counts": "collected_on",
    "doses": "given_on",
    "events": "occurred_on",
}


def cut(document: Mapping[str, Any], day: str) -> dict[str, Any]:
    """The document as it was written before the dose of a day."""
    known = dict(document) | {"on": day}
    for key, dated in DATED.items():
        entries = [entry for entry in document.get(key, []) if entry[dated] <= day]
        known[key] = [entry for entry in entries if key != "doses" or entry[dated] < day]
    known["events"] = [
        {name: value for name, value in event.items() if name != "resolved_on" or value <= day}
        for event in known["events"]
    ]
    if known.get("baseline_on", day) > day:
        del known["baseline_on"]
    return known


EVENTFUL = BASE | {
    "born_on": "1960-03-16",
    "baseline_on": "2026-03-16",
    "weights": [*BASE["weights"], {"measured_on": "2026-03-16", "value": 165, "unit": "[lb_av]"}],
    "events": [
        {"kind": "platelet_transfusion", "occurred_on": "2026-03-01"},
        {"kind": "marrow_disorder", "occurred_on": "2026-03-10", "resolved_on": "2026-03-16"},
        {"kind": "thrombosis", "occurred_on": "2026-03-17", "resolved_on": "2026-03-20"},
    ],
    "platelet_counts": [
        *BASE["platelet_counts"],
        {"collected_on": "2026-03-20", "value": 450_000, "unit": "/uL"},
        {"collected_on": "2026-03-23", "value": 30, "unit": "10*9/L", "unreliable": True},
    ],
}
EXAMPLES = {
    f"{ident}: {example.name}": example.document
    for ident in CATALOGUE.ids()
    for example in read_examples(SHIPPED / f"{ident}.examples.toml", ident)
}
COURSES: dict[str, Mapping[str, Any]] = {"base": BASE, "eventful": EVENTFUL, "the case": demo.document()} | EXAMPLES


@pytest.mark.parametrize("name", COURSES)
def test_a_day_replayed_is_the_course_cut_by_hand_at_that_day(name: str) -> None:
    document = COURSES[name]
    for day in replayed(document):
        request = ask(cut(document, iso(day.answer.on)))
        by_hand = recommend(CATALOGUE.get(request.protocol), request.course, request.on)
        assert to_text(day.answer) == to_text(by_hand)
