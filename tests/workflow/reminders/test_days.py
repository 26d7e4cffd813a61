"""Which day and which instant something falls on: tables for each clinic and clock, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.samples import sample
from titrator.store.records import Clinic
from titrator.workflow.reminders.days import (
    WEEKDAYS,
    OpenDays,
    after_quiet,
    injection_day,
    local,
    plus,
    weekday,
    working_day,
)
from titrator.workflow.reminders.keep import first_telling
from titrator.workflow.reminders.plan import DEFAULT_STEPS, Kind, Plan, Step, made, settings_fields

MON_FRI = frozenset(WEEKDAYS[:5])
BERLIN, NEW_YORK, SYDNEY, SANTIAGO = "Europe/Berlin", "America/New_York", "Australia/Sydney", "America/Santiago"


def clinic(*injection: str, closed: Collection[str] = (), working: frozenset[str] = MON_FRI) -> OpenDays:
    return OpenDays(working, frozenset(injection), closed)


def when(text: str) -> datetime:
    return datetime.fromisoformat(text)


def plan(zone: str = BERLIN, holidays: tuple[str, ...] = (), injection: tuple[str, ...] = (), **chosen: object) -> Plan:
    return made(sample(Clinic, time_zone=zone, holidays=holidays, injection_days=injection), 1, chosen)


# Days. 2026-03-09 is a Monday.

WEEKDAY = [
    ("2026-03-09", "monday"),
    ("2026-03-15", "sunday"),
    ("2028-02-29", "tuesday"),
    ("2026-12-31", "thursday"),
    ("2027-01-01", "friday"),
]


@pytest.mark.parametrize(("day", "name"), WEEKDAY)
def test_weekdays(day: str, name: str) -> None:
    assert weekday(day) == name


WORKING = [
    (clinic(), "2026-03-13", "2026-03-13"),
    (clinic(), "2026-03-14", "2026-03-16"),
    (clinic(), "2026-03-15", "2026-03-16"),
    # holidays: one, a row of them over a weekend
    (clinic(closed=["2026-03-13"]), "2026-03-13", "2026-03-16"),
    (clinic(closed=["2026-04-03", "2026-04-06"]), "2026-04-03", "2026-04-07"),
    (clinic(closed=["2026-03-13"]), "2026-03-12", "2026-03-12"),
    # the last days of a year, and the leap day
    (clinic(closed=["2026-12-31", "2027-01-01"]), "2026-12-31", "2027-01-04"),
    (clinic(), "2028-02-29", "2028-02-29"),
    (clinic(closed=["2028-02-28"]), "2028-02-26", "2028-02-29"),
    (clinic(closed=["2028-02-28", "2028-02-29"]), "2028-02-28", "2028-03-01"),
    # a clinic works when it injects, too
    (clinic("saturday"), "2026-03-14", "2026-03-14"),
    (clinic("saturday", closed=["2026-03-14"]), "2026-03-14", "2026-03-16"),
    (clinic(working=frozenset({"sunday"})), "2026-03-09", "2026-03-15"),
    # one that never works: the day itself
    (clinic(working=frozenset()), "2026-03-14", "2026-03-14"),
]


@pytest.mark.parametrize(("days", "day", "works"), WORKING)
def test_the_first_working_day_not_before_a_day(days: OpenDays, day: str, works: str) -> None:
    assert working_day(days, day) == works


@pytest.mark.parametrize(
    ("days", "works", "injects"),
    [
        (clinic(), "MTWTF..", "MTWTF.."),
        (clinic("monday", "saturday"), "MTWTFS.", "M....S."),
        (clinic("monday", closed=["2026-03-09", "2026-03-11"]), ".T.TF..", "......."),
        (clinic("sunday", working=frozenset()), "......S", "......S"),
    ],
)
def test_on_which_days_of_a_week_a_clinic_works_and_injects(days: OpenDays, works: str, injects: str) -> None:
    week = [(plus("2026-03-09", n), sign) for n, sign in enumerate("MTWTFSS")]
    assert "".join(sign if days.works(day) else "." for day, sign in week) == works
    assert "".join(sign if days.injects(day) else "." for day, sign in week) == injects


# the clinic, when the dose is due, when the last one was given, the day on which it is to be given
INJECTION = [
    # without injection days: whenever it works
    (clinic(), "2026-03-12", "2026-03-05", "2026-03-12"),
    (clinic(), "2026-03-14", "2026-03-07", "2026-03-16"),
    # in its rhythm: the same day a week later
    (clinic("thursday"), "2026-03-12", "2026-03-05", "2026-03-12"),
    (clinic("monday", "thursday"), "2026-03-09", "2026-03-02", "2026-03-09"),
    # back to its rhythm: below, at and above ten days after the last dose
    (clinic("thursday"), "2026-03-10", "2026-03-03", "2026-03-12"),
    (clinic("thursday"), "2026-03-09", "2026-03-02", "2026-03-12"),
    (clinic("friday"), "2026-03-09", "2026-03-02", "2026-03-09"),
    (clinic("wednesday"), "2026-03-12", "2026-03-05", "2026-03-12"),
    (clinic("thursday"), "2026-03-14", "2026-03-07", "2026-03-16"),
    # never before the day on which it is due
    (clinic("thursday"), "2026-03-13", "2026-03-06", "2026-03-13"),
    # a week without injection day, for a holiday: the next working day
    (clinic("thursday", closed=["2026-03-12"]), "2026-03-12", "2026-03-05", "2026-03-13"),
    (clinic("friday", closed=["2026-03-13"]), "2026-03-13", "2026-03-06", "2026-03-16"),
    (clinic("friday", closed=["2026-12-25"]), "2026-12-25", "2026-12-18", "2026-12-28"),
    (clinic("thursday", closed=["2026-12-31", "2027-01-01"]), "2026-12-31", "2026-12-24", "2027-01-04"),
    # one of two injection days is closed: the other one, if not too late
    (clinic("monday", "thursday", closed=["2026-03-09"]), "2026-03-09", "2026-03-02", "2026-03-12"),
    (clinic("monday", "thursday", closed=["2026-03-12"]), "2026-03-12", "2026-03-05", "2026-03-13"),
    # a Saturday clinic
    (clinic("saturday"), "2026-03-14", "2026-03-07", "2026-03-14"),
    (clinic("saturday", closed=["2026-03-14"]), "2026-03-14", "2026-03-07", "2026-03-16"),
    (clinic("saturday"), "2026-03-11", "2026-03-04", "2026-03-14"),
    # the leap day
    (clinic("tuesday"), "2028-02-29", "2028-02-22", "2028-02-29"),
    (clinic("tuesday", closed=["2028-02-29"]), "2028-02-29", "2028-02-22", "2028-03-01"),
    # no dose before: the next injection day, within a week, else the next working day
    (clinic("thursday"), "2026-03-13", None, "2026-03-19"),
    (clinic("thursday", closed=["2026-03-12"]), "2026-03-12", None, "2026-03-13"),
    # closed for three weeks: the first day on which it works again
    (
        clinic("thursday", closed=[plus("2026-03-09", n) for n in range(21)]),
        "2026-03-12",
        "2026-03-05",
        "2026-03-30",
    ),
]


@pytest.mark.parametrize(("days", "due_on", "last", "on"), INJECTION)
def test_the_day_on_which_a_dose_is_to_be_given(days: OpenDays, due_on: str, last: str | None, on: str) -> None:
    assert injection_day(days, due_on, last) == on


some_weekdays = st.frozensets(st.sampled_from(WEEKDAYS))
some_day = st.dates(date(2024, 1, 1), date(2033, 12, 31)).map(date.isoformat)


@st.composite
def clinics(draw: st.DrawFn) -> tuple[OpenDays, str, int]:
    """A clinic with holidays about a day, the day of the last dose, and how long after it the next is due."""
    last, wait = draw(some_day), draw(st.integers(7, 14))
    closed = draw(st.sets(st.integers(0, 30))) if draw(st.booleans()) else set[int]()
    working = draw(some_weekdays.filter(bool))
    days = OpenDays(working, draw(some_weekdays), frozenset(plus(last, n) for n in closed))
    return days, last, wait


@given(clinics())
def test_no_dose_is_planned_too_soon_and_none_is_missed_for_the_rhythm_of_a_clinic(
    of: tuple[OpenDays, str, int],
) -> None:
    """On a working day, not before it is due, and not more than ten days after the last unless no working day is."""
    days, last, wait = of
    due_on = plus(last, wait)
    on = injection_day(days, due_on, last)
    assert due_on <= on
    assert date.fromisoformat(on) - date.fromisoformat(last) >= timedelta(7), "never two doses within five days"
    assert days.works(on)
    if on > plus(last, 10):
        assert not any(days.works(plus(due_on, n)) for n in range(20) if plus(due_on, n) < on), "a day was passed over"


@given(clinics())
def test_injection_days_are_kept_where_they_come_in_time(of: tuple[OpenDays, str, int]) -> None:
    days, last, wait = of
    due_on = plus(last, wait)
    in_time = [plus(due_on, n) for n in range(7) if plus(due_on, n) <= plus(last, 10)]
    first = next((one for one in in_time if days.injects(one)), None)
    assert first is None or injection_day(days, due_on, last) == first


# Instants

LOCAL = [
    (BERLIN, "2026-03-09", "08:00", "2026-03-09T07:00Z"),
    # summer time begins and ends
    (BERLIN, "2026-03-28", "08:00", "2026-03-28T07:00Z"),
    (BERLIN, "2026-03-29", "08:00", "2026-03-29T06:00Z"),
    (BERLIN, "2026-10-24", "08:00", "2026-10-24T06:00Z"),
    (BERLIN, "2026-10-25", "08:00", "2026-10-25T07:00Z"),
    (NEW_YORK, "2026-03-07", "08:00", "2026-03-07T13:00Z"),
    (NEW_YORK, "2026-03-08", "08:00", "2026-03-08T12:00Z"),
    (NEW_YORK, "2026-11-01", "08:00", "2026-11-01T13:00Z"),
    (SYDNEY, "2026-04-04", "08:00", "2026-04-03T21:00Z"),
    (SYDNEY, "2026-04-05", "08:00", "2026-04-04T22:00Z"),
    (SYDNEY, "2026-10-04", "08:00", "2026-10-03T21:00Z"),
    ("Asia/Kathmandu", "2026-03-09", "08:00", "2026-03-09T02:15Z"),
    # a time that the clocks skip is as much later; one that there is twice is the first
    (BERLIN, "2026-03-29", "02:30", "2026-03-29T01:30Z"),
    (NEW_YORK, "2026-03-08", "02:30", "2026-03-08T07:30Z"),
    (SANTIAGO, "2026-09-06", "00:15", "2026-09-06T04:15Z"),
    (BERLIN, "2026-10-25", "02:30", "2026-10-25T00:30Z"),
    (NEW_YORK, "2026-11-01", "01:30", "2026-11-01T05:30Z"),
    # leap day and the end of a year
    (BERLIN, "2028-02-29", "08:00", "2028-02-29T07:00Z"),
    (SYDNEY, "2027-01-01", "08:00", "2026-12-31T21:00Z"),
]


@pytest.mark.parametrize(("zone", "day", "at", "instant"), LOCAL)
def test_a_time_of_day_at_a_clinic(zone: str, day: str, at: str, instant: str) -> None:
    assert local(day, time.fromisoformat(at), zone) == when(instant)


NIGHT, NOON = (time(20), time(7)), (time(12), time(14))
QUIET = [
    # over midnight: below, at and above each end
    (BERLIN, NIGHT, "2026-03-09T18:59:59Z", "2026-03-09T18:59:59Z"),
    (BERLIN, NIGHT, "2026-03-09T19:00Z", "2026-03-10T06:00Z"),
    (BERLIN, NIGHT, "2026-03-09T23:30Z", "2026-03-10T06:00Z"),
    (BERLIN, NIGHT, "2026-03-10T05:59:59Z", "2026-03-10T06:00Z"),
    (BERLIN, NIGHT, "2026-03-10T06:00Z", "2026-03-10T06:00Z"),
    # within a day
    (BERLIN, NOON, "2026-03-09T10:59Z", "2026-03-09T10:59Z"),
    (BERLIN, NOON, "2026-03-09T11:00Z", "2026-03-09T13:00Z"),
    (BERLIN, NOON, "2026-03-09T13:00Z", "2026-03-09T13:00Z"),
    # none
    (BERLIN, None, "2026-03-09T23:30Z", "2026-03-09T23:30Z"),
    # the nights in which the clocks change are an hour shorter and an hour longer
    (BERLIN, NIGHT, "2026-03-28T19:00Z", "2026-03-29T05:00Z"),
    (BERLIN, NIGHT, "2026-10-24T18:00Z", "2026-10-25T06:00Z"),
    (NEW_YORK, NIGHT, "2026-03-08T01:00Z", "2026-03-08T11:00Z"),
    (SYDNEY, NIGHT, "2026-04-04T09:00Z", "2026-04-04T21:00Z"),
    # they end at a time that is skipped, or that there is twice
    (BERLIN, (time(20), time(2, 30)), "2026-03-28T20:00Z", "2026-03-29T01:30Z"),
    (BERLIN, (time(20), time(2, 30)), "2026-10-24T23:45Z", "2026-10-25T00:30Z"),
    (BERLIN, (time(20), time(2, 30)), "2026-10-25T01:15Z", "2026-10-25T01:30Z"),
    (NEW_YORK, (time(20), time(1, 30)), "2026-11-01T06:10Z", "2026-11-01T06:30Z"),
    (BERLIN, (time(20), time(2, 30)), "2026-10-25T00:45Z", "2026-10-25T00:45Z"),
]


@pytest.mark.parametrize(("zone", "quiet", "moment", "told"), QUIET)
def test_quiet_hours(zone: str, quiet: tuple[time, time] | None, moment: str, told: str) -> None:
    assert after_quiet(when(moment), quiet, zone) == when(told)


minutes = st.times().map(lambda at: at.replace(second=0, microsecond=0))


@given(
    st.integers(0, 3 * 365 * 1440).map(lambda many: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=many)),
    st.tuples(minutes, minutes).filter(lambda pair: pair[0] != pair[1]),
    st.sampled_from((BERLIN, NEW_YORK, SYDNEY, SANTIAGO, "Australia/Lord_Howe", "Africa/Casablanca", "UTC")),
)
def test_what_waits_for_the_end_of_quiet_hours_waits_less_than_a_day_and_is_told_outside_them(
    moment: datetime, quiet: tuple[time, time], zone: str
) -> None:
    told = after_quiet(moment, quiet, zone)
    assert moment <= told <= moment + timedelta(hours=25)
    assert after_quiet(told, quiet, zone) == told
    if told != moment:
        here = told.astimezone(ZoneInfo(zone))
        assert here.time() == quiet[1] or here.date() in _skips(zone)


def _skips(zone: str) -> set[date]:
    """The days on which the clocks of a zone change."""
    offsets = [
        (day, datetime.combine(day, time(12), ZoneInfo(zone)).utcoffset())
        for day in (date(2025, 12, 31) + timedelta(days=n) for n in range(1100))
    ]
    changes = {day for (_, before), (day, after) in pairwise(offsets) if before != after}
    return changes | {day - timedelta(days=1) for day in changes}


# How a clinic is reminded


def test_a_clinic_that_has_chosen_nothing() -> None:
    plain = plan()
    assert (plain.send_at, plain.quiet, plain.digest_at) == (time(8), (time(20), time(7)), time(7, 30))
    assert plain.days.working == MON_FRI
    assert plain.steps == DEFAULT_STEPS


def test_each_kind_is_told_to_staff_in_order_of_days() -> None:
    for kind in Kind:
        steps = DEFAULT_STEPS[kind]
        assert {step.to for step in steps} - {"patient"}, kind
        assert [step.after_days for step in steps] == sorted(step.after_days for step in steps), kind
        assert len({step.to for step in steps}) == len(steps), kind


@pytest.mark.parametrize(
    ("begins", "ends", "quiet"),
    [
        ("22:00", "06:00", (time(22), time(6))),
        (None, "06:00", None),
        ("22:00", None, None),
        ("08:00", "08:00", None),
    ],
)
def test_quiet_hours_that_are_chosen(begins: str | None, ends: str | None, quiet: object) -> None:
    chosen = plan(quiet_from=begins, quiet_until=ends)
    assert chosen.quiet == quiet
    said = settings_fields(chosen)
    assert (said["quiet_from"], said["quiet_until"]) == ((begins, ends) if quiet else (None, None))


def test_steps_are_told_in_order_of_days_however_they_were_written() -> None:
    chosen = plan(steps={"dose-due": [{"after_days": 2, "to": "pharmacist"}, {"after_days": -2, "to": "patient"}]})
    assert chosen.steps[Kind.DOSE_DUE] == (Step(-2, "patient"), Step(2, "pharmacist"))
    assert chosen.steps[Kind.COUNT_DUE] == DEFAULT_STEPS[Kind.COUNT_DUE]


EASTER = ("2026-04-03", "2026-04-06")
# the kind, the step, the day of the reminder, when it is told in Berlin
STEPS = [
    (Kind.DOSE_DUE, 0, "2026-03-10", "2026-03-09 08:00"),
    (Kind.DOSE_DUE, 1, "2026-03-10", "2026-03-10 08:00"),
    (Kind.DOSE_DUE, 2, "2026-03-10", None),
    # patients on any day, staff on working days
    (Kind.DOSE_DUE, 0, "2026-03-09", "2026-03-08 08:00"),
    (Kind.COUNT_OVERDUE, 0, "2026-04-02", "2026-04-03 08:00"),
    (Kind.COUNT_OVERDUE, 1, "2026-04-02", "2026-04-07 08:00"),
    (Kind.COUNT_OVERDUE, 2, "2026-04-02", "2026-04-07 08:00"),
    (Kind.COUNT_OVERDUE, 3, "2026-04-02", "2026-04-09 08:00"),
    (Kind.MONTHLY_COUNT, 0, "2026-04-01", "2026-03-30 08:00"),
    (Kind.WEIGHT_DUE, 0, "2026-03-16", "2026-03-09 08:00"),
    # a week before lies before the summer time
    (Kind.WEIGHT_DUE, 0, "2026-03-30", "2026-03-23 08:00"),
    (Kind.WEIGHT_DUE, 2, "2026-03-23", "2026-03-30 08:00"),
]


@pytest.mark.parametrize(("kind", "step", "remind_on", "told"), STEPS)
def test_when_a_step_is_told(kind: Kind, step: int, remind_on: str, told: str | None) -> None:
    at = plan(holidays=EASTER).told_at(kind, step, remind_on)
    assert (at and f"{at.astimezone(ZoneInfo(BERLIN)):%Y-%m-%d %H:%M}") == told


def test_what_is_to_be_told_in_quiet_hours_is_told_at_their_end() -> None:
    early = plan(send_at="06:00")
    assert early.at("2026-03-09") == when("2026-03-09T06:00Z")
    late = plan(send_at="21:00")
    assert late.at("2026-03-09") == when("2026-03-10T06:00Z")


MORNINGS = [
    ("2026-03-09T09:00Z", "2026-03-10T07:00Z"),
    ("2026-03-13T09:00Z", "2026-03-16T07:00Z"),  # a Friday
    ("2026-03-14T09:00Z", "2026-03-16T07:00Z"),
    ("2026-04-02T09:00Z", "2026-04-07T06:00Z"),  # before Easter, in summer time
    ("2026-03-09T23:30Z", "2026-03-11T07:00Z"),  # it is Tuesday in Berlin
    ("2026-03-27T09:00Z", "2026-03-30T06:00Z"),
]


@pytest.mark.parametrize(("moment", "morning"), MORNINGS)
def test_the_next_working_morning(moment: str, morning: str) -> None:
    assert plan(holidays=EASTER).next_morning(when(moment)) == when(morning)


# the kind, the day of the reminder, now; which step is told first, and when, in Berlin
FIRST = [
    # before its day, at its day, and when the clinic has begun to tell
    (Kind.DOSE_DUE, "2026-03-12", "2026-03-09T09:00Z", 0, "2026-03-11 08:00"),
    (Kind.DOSE_DUE, "2026-03-12", "2026-03-11T06:59Z", 0, "2026-03-11 08:00"),
    (Kind.DOSE_DUE, "2026-03-12", "2026-03-11T09:00Z", 0, "2026-03-11 10:00"),
    (Kind.DOSE_DUE, "2026-03-12", "2026-03-11T22:00Z", 0, "2026-03-12 07:00"),
    (Kind.DOSE_DUE, "2026-03-12", "2026-03-11T23:00Z", 1, "2026-03-12 08:00"),
    (Kind.DOSE_DUE, "2026-03-12", "2026-03-12T05:00Z", 1, "2026-03-12 08:00"),
    (Kind.DOSE_DUE, "2026-03-12", "2026-03-12T09:00Z", 1, "2026-03-12 10:00"),
    # the first day of what is overdue, and long after
    (Kind.COUNT_OVERDUE, "2026-03-12", "2026-03-12T23:00Z", 0, "2026-03-13 08:00"),
    (Kind.COUNT_OVERDUE, "2026-03-02", "2026-03-12T09:00Z", 0, "2026-03-12 10:00"),
    # what comes up in the evening, or on a day off, is told to staff on the next working day
    (Kind.REFERRAL, "2026-03-12", "2026-03-12T09:00Z", 0, "2026-03-12 10:00"),
    (Kind.REFERRAL, "2026-03-12", "2026-03-12T20:00Z", 0, "2026-03-13 07:00"),
    (Kind.REFERRAL, "2026-03-13", "2026-03-13T20:00Z", 0, "2026-03-16 08:00"),
    (Kind.REFERRAL, "2026-03-14", "2026-03-14T09:00Z", 0, "2026-03-16 08:00"),
    (Kind.FOLLOW_UP_COUNT, "2026-03-12", "2026-03-14T09:00Z", 1, "2026-03-16 08:00"),
    (Kind.REFERRAL, "2026-04-02", "2026-04-02T19:00Z", 0, "2026-04-07 08:00"),
    # a technician has a week to see to a weight, or what is left of it
    (Kind.WEIGHT_DUE, "2026-03-20", "2026-03-12T09:00Z", 0, "2026-03-13 08:00"),
    (Kind.WEIGHT_DUE, "2026-03-12", "2026-03-12T09:00Z", 0, "2026-03-12 10:00"),
    # patients are told on any day
    (Kind.COUNT_OVERDUE, "2026-03-02", "2026-03-14T09:00Z", 0, "2026-03-14 10:00"),
]


@pytest.mark.parametrize(("kind", "remind_on", "now", "step", "told"), FIRST)
def test_what_is_told_first_of_a_reminder(kind: Kind, remind_on: str, now: str, step: int, told: str) -> None:
    found, at = first_telling(plan(holidays=EASTER), kind, remind_on, when(now))
    assert at is not None
    assert (found, f"{at.astimezone(ZoneInfo(BERLIN)):%Y-%m-%d %H:%M}") == (step, told)


def test_patients_are_told_on_the_day_where_a_clinic_wants_that() -> None:
    on_the_day = plan(steps={"dose-due": [{"after_days": 0, "to": "patient"}, {"after_days": 1, "to": "technician"}]})
    now = when("2026-03-12T09:00Z")
    assert first_telling(on_the_day, "dose-due", "2026-03-12", now) == (0, now)


def test_staff_are_told_late_rather_than_not() -> None:
    """A clinic that wants them told before the day only, and what comes up on that day."""
    before = plan(steps={"dose-due": [{"after_days": -2, "to": "patient"}, {"after_days": -1, "to": "technician"}]})
    now = when("2026-03-12T09:00Z")
    assert first_telling(before, "dose-due", "2026-03-12", now) == (1, now)
