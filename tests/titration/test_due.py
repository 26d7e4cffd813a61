"""Since when dose, count and weight are due, each story on the days before, at and after; and what is due next."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from tests.support import TODAY, answer, count, day, dose, event, weight
from titrator.titration.due import count_due, dose_due, dues, follow_up_due

Course = dict[str, Any]


def ago(ordinal: int | None) -> int | None:
    """A day as how long before TODAY it is; negative for a day to come."""
    return None if ordinal is None else (TODAY - date.fromordinal(ordinal)).days


def given(last: int, counts: list[dict[str, Any]], doses: int = 1, **more: Any) -> Course:
    """Doses of 1 µg/kg every week, the last so many days ago, and counts."""
    return {"doses": [dose(last + 7 * n, 100, 1) for n in reversed(range(doses))], "platelet_counts": counts, **more}


def steady(last: int, *newest: tuple[int, float], before: int = 0, **more: Any) -> Course:
    """Ten doses, a count of 90 each week up to so many days before the last dose, then the newest counts."""
    weeks = [count(last + before + 7 * n, 90) for n in reversed(range(9))]
    return given(last, [*weeks, *(count(n, value) for n, value in newest)], doses=10, **more)


NEW = {"weights": [weight(0, 100)]}

# what happened, the action, and how many days ago the next dose was due
DOSES = [
    (NEW | {"platelet_counts": [count(0, 30)]}, "start", 0),
    (NEW | {"platelet_counts": [count(7, 30)]}, "start", 0),
    (NEW, "incomplete", None),
    (given(6, [count(0, 90)]), "maintain", -1),
    (given(7, [count(0, 90)]), "maintain", 0),
    (given(8, [count(0, 90)]), "maintain", 1),
    (given(28, [count(0, 90)]), "maintain", 21),
    (given(7, [count(0, 30)]), "increase", 0),
    (given(8, [count(7, 30)]), "incomplete", 1),
    (given(3, [count(3, 30)]), "incomplete", -4),
    (given(29, [count(0, 90)]), "refer", None),
    (given(14, [count(7, 450)]), "hold", None),
    (given(14, [count(7, 450), count(0, 150)], doses=0) | {"doses": [dose(14, 200, 2)]}, "resume", 0),
    ({"doses": [dose(5, 200, 2)], "platelet_counts": [count(4, 450), count(0, 150)]}, "resume", -2),
]

# what happened, the action, and how many days ago the next count was due
COUNTS = [
    (NEW, "incomplete", 0),
    (NEW | {"platelet_counts": [count(6, 30)]}, "start", -1),
    (NEW | {"platelet_counts": [count(7, 30)]}, "start", 0),
    (NEW | {"platelet_counts": [count(8, 30)]}, "incomplete", 1),
    (NEW | {"platelet_counts": [count(3, 30, unreliable=True)]}, "incomplete", 0),
    (NEW | {"platelet_counts": [count(9, 30), count(3, 30, unreliable=True)]}, "incomplete", 2),
    (given(5, []), "incomplete", 0),
    (given(7, [count(0, 90)]), "maintain", -7),
    (given(6, [count(6, 30)]), "incomplete", -1),
    (given(7, [count(7, 30)]), "incomplete", 0),
    (given(8, [count(8, 30)]), "incomplete", 1),
    (given(12, [count(8, 90)]), "incomplete", 1),
    (given(13, [count(6, 450)]), "hold", -1),
    (given(14, [count(7, 450)]), "hold", 0),
    (given(15, [count(8, 450)]), "hold", 1),
    (given(29, [count(20, 90)]), "refer", 13),
    # stable: once in four weeks
    (steady(6, before=21), "maintain", -1),
    (steady(7, before=21), "maintain", 0),
    (steady(8, before=21), "maintain", 1),
    (steady(10, before=21), "maintain", 3),
    (steady(10, before=22), "incomplete", 3),
    (steady(14, (8, 90)), "incomplete", 0),
    # stable until this count: after a week
    (steady(14, (6, 450)), "hold", -1),
    (steady(14, (7, 450)), "hold", 0),
    (steady(15, (8, 450)), "hold", 1),
    (steady(15, (8, 250)), "incomplete", 1),
    (steady(15, (15, 300), (8, 140)), "incomplete", 1),
    (steady(15, (8, 90), events=[event(9, "platelet_transfusion")]), "incomplete", 1),
]


@pytest.mark.parametrize(("course", "action", "due"), DOSES)
def test_since_when_a_dose_is_due(course: Course, action: str, due: int | None) -> None:
    found = answer(**course)
    assert (found.action, ago(dose_due(found))) == (action, due)


@pytest.mark.parametrize(("course", "action", "due"), COUNTS)
def test_since_when_a_count_is_due(course: Course, action: str, due: int) -> None:
    found = answer(**course)
    assert (found.action, ago(count_due(found))) == (action, due)


@pytest.mark.parametrize(("course", "action", "_"), [*DOSES, *COUNTS])
def test_what_lies_ahead_is_as_the_answer_tells(course: Course, action: str, _: int | None) -> None:
    """What is late was due before the day asked about, where the answer has that day at the earliest."""
    found = answer(**course)
    for due, told in ((dose_due(found), found.due), (count_due(found), found.next_count)):
        if due is not None and told is not None:
            assert due == told if due > found.on else (due <= told == found.on), action


def test_a_single_dose_once_given_is_followed_by_none() -> None:
    found = answer("us-hs-ars", doses=[dose(3, 1000, 10)])
    assert (found.action, dose_due(found), count_due(found)) == ("complete", None, None)
    assert day(0) == TODAY.isoformat()


CHILD = "us-itp-paediatric"
RISEN = {"doses": [dose(14, 200, 2)], "platelet_counts": [count(7, 450), count(0, 150)]}

# the protocol, what happened, and each thing that is due: what, how many days ago, its number, ~ if it has no day
DUES: list[tuple[str, Course, list[str]]] = [
    # before the first dose nothing has a day of its own
    ("us-itp-adult", NEW, ["count-due 0 0~"]),
    ("us-itp-adult", NEW | {"platelet_counts": [count(0, 30)]}, ["dose-due 0 0~", "count-due -7 1"]),
    ("us-itp-adult", NEW | {"platelet_counts": [count(8, 30)]}, ["count-due 1 1"]),
    ("us-itp-adult", NEW | {"platelet_counts": [count(3, 30, unreliable=True)]}, ["count-due 0 0~"]),
    # after it both do; doses of one day are one
    ("us-itp-adult", given(6, [count(0, 90)]), ["dose-due -1 1", "count-due -7 1"]),
    ("us-itp-adult", given(8, [count(7, 90)], doses=2), ["dose-due 1 2", "count-due 1 1"]),
    ("us-itp-adult", given(7, [count(0, 90)]) | {"doses": [dose(7, 50, 0.5)] * 2}, ["dose-due 0 1", "count-due -7 1"]),
    ("us-itp-adult", given(7, []), ["dose-due 0 1", "count-due 0 0~"]),
    # kinds of counts: weekly, monthly on just that day, while a dose is held
    ("us-itp-adult", steady(6, before=21), ["dose-due -1 10", "monthly-count -1 9"]),
    ("us-itp-adult", steady(7, (0, 90)), ["dose-due 0 10", "monthly-count -28 10"]),
    ("us-itp-adult", steady(14, (8, 90)), ["dose-due 7 10", "count-due 0 10"]),
    ("us-itp-adult", given(14, [count(7, 450)]), ["hold-re-check 0 1"]),
    ("us-itp-adult", given(14, [count(8, 450)]), ["hold-re-check 1 1"]),
    # what ends a hold is due whenever one asks
    ("us-itp-adult", RISEN, ["dose-due 0 1~", "count-due -7 2"]),
    ("us-itp-adult", given(29, [count(0, 90)]), ["count-due -7 1"]),
    ("us-itp-adult", given(7, [count(0, 90)], events=[event(1, "thrombosis")]), ["count-due -7 1"]),
    # a weight grows old where a protocol says so: below, at and above its age
    (CHILD, given(7, [count(0, 90)], weights=[weight(83, 100)]), ["dose-due 0 1", "count-due -7 1", "weight-due -1 1"]),
    (CHILD, given(7, [count(0, 90)], weights=[weight(84, 100)]), ["dose-due 0 1", "count-due -7 1", "weight-due 0 1"]),
    (CHILD, given(7, [count(0, 90)], weights=[weight(85, 100)]), ["dose-due 0 1", "count-due -7 1", "weight-due 1 1"]),
    (
        CHILD,
        given(7, [count(0, 90)], weights=[weight(85, 99), weight(1, 100)]),
        ["dose-due 0 1", "count-due -7 1", "weight-due -83 2"],
    ),
    # without one, or with one too old to start by, there is no dose: it is due whenever one asks
    ("us-itp-adult", {"weights": [], "platelet_counts": [count(0, 30)]}, ["count-due -7 1", "weight-due 0 0~"]),
    ("us-itp-adult", {"weights": [], "platelet_counts": [count(7, 30)]}, ["count-due 0 1", "weight-due 0 0~"]),
    ("us-itp-adult", {"weights": [], "platelet_counts": [count(8, 30)]}, ["count-due 1 1", "weight-due 0 0~"]),
    ("us-itp-adult", {"weights": []}, ["count-due 0 0~", "weight-due 0 0~"]),
    (
        "us-itp-adult",
        {"weights": [], "platelet_counts": [count(3, 30), count(0, 30, unreliable=True)]},
        ["count-due 0 1", "weight-due 0 0~"],
    ),
    (CHILD, steady(7, (0, 90), weights=[weight(85, 100)]), ["dose-due 0 10", "monthly-count -28 10", "weight-due 1 1"]),
    (
        "us-itp-adult",
        {"weights": [weight(28, 75)], "platelet_counts": [count(0, 30)]},
        ["dose-due 0 0~", "count-due -7 1"],
    ),
    (
        "us-itp-adult",
        {"weights": [weight(29, 75)], "platelet_counts": [count(0, 30)]},
        ["count-due -7 1", "weight-due 0 1~"],
    ),
    (CHILD, {"weights": [weight(29, 30)], "platelet_counts": [count(0, 30)]}, ["count-due -7 1", "weight-due 0 1~"]),
    (CHILD, {"weights": [], "platelet_counts": [count(0, 30)]}, ["count-due -7 1", "weight-due 0 0~"]),
    # a single dose
    ("us-hs-ars", {"weights": [weight(0, 100)]}, ["dose-due 0 0~", "count-due 0 0~"]),
    ("us-hs-ars", {"weights": []}, ["count-due 0 0~", "weight-due 0 0~"]),
    ("us-hs-ars", {"weights": [weight(3, 100)], "doses": [dose(3, 1000, 10)]}, []),
]


@pytest.mark.parametrize(("protocol", "course", "expected"), DUES)
def test_what_is_due_next(protocol: str, course: Course, expected: list[str]) -> None:
    born = {"born_on": "2018-05-01"} if protocol == CHILD else {}
    found = dues(answer(protocol, **born, **course))
    assert [f"{one.what} {ago(one.day)} {one.number}{'~' * one.floating}" for one in found] == expected


@pytest.mark.parametrize(
    ("counts", "due"),
    [([], 7), ([-1, 0], 7), ([3], 7), ([4], 14), ([7], 14), ([10], 14), ([11], None), ([4, 14], None), ([20], None)],
)
def test_two_weekly_counts_follow_the_end(counts: list[int], due: int | None) -> None:
    """Days since the end of therapy; a count up to three days early is that of its week."""
    end = 739_000
    found = follow_up_due(end, [end + one for one in counts])
    assert found == (None if due is None else end + due)
