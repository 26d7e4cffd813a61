"""How the rows of reminders are made, moved, closed and come back, and that no more and no less is told for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.workflow.reminders.ward import SAYS, Ward
from titrator.store.base import Where
from titrator.store.records import ChannelRow, Delivery
from titrator.workflow import courses, record
from titrator.workflow.reminders import manage
from titrator.workflow.reminders.keep import first_telling
from titrator.workflow.reminders.manage import WhichReminder

MORNING = ((7, 59), (8, 0), (8, 1))


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    made = Ward(tmp_path)
    made.channels("technician", "pharmacist", "prescriber", "gateway")
    return made


def which(ward: Ward, patient: str, kind: str) -> WhichReminder:
    return WhichReminder(patient, kind, ward.row(patient, kind).due_on, None)


def cancels(ward: Ward, patient: str, kind: str) -> None:
    ward.does("eva", manage.cancel, which(ward, patient, kind), "comes by herself")


def on_monday(ward: Ward) -> str:
    """A patient whose dose and count are due on the next Monday, 9 March."""
    patient = ward.treated("90")
    ward.count(patient, 90)
    ward.give(patient)
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-09"]
    return patient


# What stays, and what moves


def test_nothing_changes_by_looking_again(ward: Ward) -> None:
    patient = on_monday(ward)
    before = ward.rows(patient)
    ward.after(1)
    ward.settles()
    ward.weigh(patient, 75)
    ward.settles()
    assert ward.rows(patient) == before


def test_a_holiday_moves_the_day_of_the_same_event(ward: Ward) -> None:
    patient = on_monday(ward)
    before = ward.row(patient, "dose-due")
    assert (before.event and before.event[-2:], ward.told_at(before)) == ("/4", "03-08 08:00")
    ward.closes("2026-03-09")
    assert ward.open(patient) == ["count-due 03-09 on 03-10", "dose-due 03-09 on 03-10"]
    moved = ward.row(patient, "dose-due")
    assert (moved.event, moved.sequence, moved.version) == (before.event, before.sequence + 1, before.version + 1)
    assert ward.told_at(moved) == "03-09 08:00"
    ward.closes()
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-09"]
    back = ward.row(patient, "dose-due")
    assert (back.sequence, ward.told_at(back)) == (before.sequence + 2, "03-08 08:00")


def test_who_was_told_of_a_day_is_told_of_the_one_it_has_moved_to(ward: Ward) -> None:
    patient = on_monday(ward)
    ward.reachable(patient)
    assert ward.beats_at("2026-03-08", *MORNING) == ["dose-due to patient", "count-due to patient"]
    ward.at("2026-03-08", 12)
    ward.closes("2026-03-09")
    assert ward.beats_at("2026-03-08", (12, 1), (19, 0)) == []
    assert ward.beats_at("2026-03-09", *MORNING) == ["dose-due to patient", "count-due to patient"]
    assert "2026-03-10, Tuesday" in ward.heard[-1].message.body
    assert ward.beats_at("2026-03-10", *MORNING) == ["dose-due to role/technician", "count-due to role/technician"]


def test_a_start_that_waits_is_moved_by_a_holiday_too(tmp_path: Path) -> None:
    ward = Ward(tmp_path, injection_days=("thursday",))
    patient = ward.on_course()
    ward.count(patient, 20)
    assert ward.open(patient, "dose-due") == ["dose-due 03-02 on 03-05"]
    ward.after(1)
    ward.closes("2026-03-05")
    expected = ["dose-due 03-02 on 03-03"]  # no injection day within a week: a working day
    assert ward.open(patient, "dose-due") == expected
    ward.at("2026-03-05")
    assert ward.open(patient, "dose-due", "dose-overdue") == ["dose-overdue 03-02 on 03-03"]


def test_an_event_keeps_its_name_and_counts_on(ward: Ward) -> None:
    """Due, decided for another day, overdue, due again, given in error: one entry in a calendar all along."""
    patient = ward.treated("90")
    ward.count(patient, 90)
    ward.settles()
    ward.decides(patient, "override", micrograms_per_kg=1, due_on="2026-03-04", **SAYS)
    ward.settles()
    ward.at("2026-03-05")
    ward.settles()
    dose = ward.give(patient)
    ward.settles()
    ward.takes_back(patient, dose)
    ward.settles()
    event = ward.row(patient, "dose-overdue").event
    same = [row for row in ward.rows(patient) if row.event == event]
    assert sorted((row.sequence, row.kind, row.due_on[5:], row.status) for row in same) == [
        (0, "dose-due", "03-02", "done"),
        (1, "dose-due", "03-04", "done"),
        (3, "dose-overdue", "03-04", "open"),
    ]


def test_the_first_dose_of_another_course_is_another_event(ward: Ward) -> None:
    patient = ward.on_course()
    ward.count(patient, 20)
    ward.settles()
    ward.give(patient)
    ward.settles()
    ward.after(30)
    ward.changes(patient, courses.discontinue, ended_on=ward.day(-1))
    ward.starts(patient)
    ward.weigh(patient, 75)
    ward.count(patient, 20)
    assert ward.open(patient, "dose-due", "dose-overdue") == ["dose-due 04-01"], "it is not late for the course before"
    events = {row.event for row in ward.rows(patient) if row.kind == "dose-due"}
    assert len(events) == 3, "the first, the second and another first one"


# What is told, and what not any more


def test_a_week_of_messages(ward: Ward) -> None:
    """Patient the day before, technician on the day; then one after the other until it is done."""
    patient = on_monday(ward)
    ward.reachable(patient)
    heard = {day: ward.beats_at(day, *MORNING, (12, 0)) for day in (f"2026-03-{n:02}" for n in range(7, 18))}
    both = ["dose-{} to {}", "count-{} to {}"]
    assert heard == {
        "2026-03-07": [],
        "2026-03-08": [one.format("due", "patient") for one in both],
        "2026-03-09": [one.format("due", "role/technician") for one in both],
        "2026-03-10": [
            "dose-overdue to patient",
            "count-overdue to patient",
            "dose-overdue to role/technician",
            "count-overdue to role/technician",
        ],
        "2026-03-11": ["dose-overdue to role/pharmacist"],
        "2026-03-12": ["count-overdue to role/pharmacist"],
        "2026-03-13": ["dose-overdue to role/prescriber"],
        "2026-03-14": [],
        "2026-03-15": [],
        "2026-03-16": ["count-overdue to role/prescriber"],
        "2026-03-17": [],
    }


def test_who_was_not_told_in_time_does_not_keep_the_next_from_being_told(ward: Ward) -> None:
    """The service was down from Sunday to Monday: when the patient is told at last, staff do not wait for that."""
    patient = on_monday(ward)
    ward.reachable(patient)
    heard = ward.beats_at("2026-03-09", (10, 0), (10, 1))
    assert heard == [f"{kind} to {to}" for to in ("patient", "role/technician") for kind in ("dose-due", "count-due")]


def test_what_is_long_overdue_is_not_told_to_all_at_once(ward: Ward) -> None:
    """It goes up one step each working morning: as of a patient who is recorded with doses of two weeks ago."""
    ward.at("2026-03-12")
    ward.treated("90", weeks=3)
    ward.after(10)  # a Sunday
    heard = {day: ward.beats_at(day, *MORNING, (9, 0)) for day in (f"2026-03-{n}" for n in range(22, 27))}
    assert [len([one for one in told if "dose" in one]) for told in heard.values()] == [0, 1, 1, 1, 0]
    assert [one for told in heard.values() for one in told if "dose" in one] == [
        f"dose-overdue to role/{role}" for role in ("technician", "pharmacist", "prescriber")
    ]


def test_nothing_is_told_of_what_is_done(ward: Ward) -> None:
    patient = on_monday(ward)
    ward.reachable(patient)
    ward.at("2026-03-08", 7)
    ward.count(patient, 90)
    ward.give(patient)
    assert ward.beats_at("2026-03-08", *MORNING) == []
    assert ward.beats_at("2026-03-09", *MORNING) == []


def test_what_waits_to_be_sent_is_withdrawn_with_its_reminder(ward: Ward) -> None:
    """Planned, and not sent, for its channel may not send more in that minute; until the next one it was done."""
    patients = [on_monday(ward) for _ in range(2)]
    ward.beats_at("2026-03-08", (8, 0))
    with ward.services.store.writing(durable=False) as session:
        session.claim(ChannelRow, {"per_minute": 1}, Where("id", "=", "technician"))
    assert len(ward.beats_at("2026-03-09", (7, 45), (8, 0))) == 1
    assert sorted(statuses(ward, *patients)) == ["sent", "waiting", "waiting", "waiting"]
    for patient in patients:
        ward.changes(patient, courses.discontinue)
    assert ward.beats_at("2026-03-09", (8, 1), (8, 2), (8, 3), (8, 4)) == []
    assert sorted(statuses(ward, *patients)) == ["cancelled", "cancelled", "cancelled", "sent"]


def statuses(ward: Ward, *patients: str) -> list[str]:
    """What has become of all messages about patients."""
    with ward.services.store.reading() as session:
        return [one.status for one in session.find(Delivery, Where("about", "in", patients))]


def test_what_comes_back_is_told_again(ward: Ward) -> None:
    patient = on_monday(ward)
    assert ward.beats_at("2026-03-09", *MORNING) == ["dose-due to role/technician", "count-due to role/technician"]
    ward.at("2026-03-09", 9)
    dose = ward.give(patient)
    assert ward.beats_at("2026-03-09", (9, 1)) == []
    ward.takes_back(patient, dose)
    again = ["dose-due to role/technician", "count-due to role/technician"]
    assert ward.beats_at("2026-03-09", (10, 0), (10, 1)) == again
    assert ward.row(patient, "dose-due").round == 1


def test_what_nobody_is_to_be_told_of_stays_cancelled(ward: Ward) -> None:
    patient = on_monday(ward)
    cancels(ward, patient, "dose-due")
    assert ward.open(patient) == ["count-due 03-09"]
    ward.weigh(patient, 75)
    ward.after(2)
    assert ward.open(patient) == ["count-due 03-09"]
    ward.closes("2026-03-09")
    assert ward.open(patient) == ["count-due 03-09 on 03-10"]
    dose = ward.give(patient)
    ward.settles()
    ward.takes_back(patient, dose)
    assert ward.open(patient) == ["count-due 03-09 on 03-10"]
    ward.at("2026-03-11")
    assert "dose-overdue 03-09 on 03-10" in ward.open(patient), "that it is late is something else, and is told"
    cancels(ward, patient, "dose-overdue")
    ward.after(1)
    assert ward.open(patient, "dose-due", "dose-overdue") == []


def test_a_start_that_is_cancelled_does_not_come_back_every_day(ward: Ward) -> None:
    patient = ward.on_course()
    ward.count(patient, 20)
    ward.settles()
    cancels(ward, patient, "dose-due")
    assert ward.open(patient, "dose-due", "dose-overdue") == []
    ward.after(1)
    assert ward.open(patient, "dose-due", "dose-overdue") == ["dose-overdue 03-02"]
    cancels(ward, patient, "dose-overdue")
    for _ in range(3):
        ward.after(1)
        assert ward.open(patient, "dose-due", "dose-overdue") == []
    ward.accepts(patient)
    assert ward.open(patient, "dose-due", "dose-overdue") == ["dose-due 03-06"], "it has been decided for another day"


def test_a_cancelled_start_is_not_that_of_another_course(ward: Ward) -> None:
    patient = ward.on_course()
    ward.count(patient, 20)
    ward.settles()
    cancels(ward, patient, "dose-due")
    ward.changes(patient, courses.enter_in_error)
    ward.after(2)
    ward.starts(patient)
    assert ward.open(patient, "dose-due") == ["dose-due 03-04"]


def test_what_somebody_sees_to_is_told_nobody_else_until_it_is_late(ward: Ward) -> None:
    patient = on_monday(ward)
    ward.at("2026-03-07")
    ward.does("tom", manage.acknowledge, which(ward, patient, "dose-due"))
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-09*"]
    ward.closes("2026-03-09")
    assert ward.open(patient) == ["count-due 03-09 on 03-10", "dose-due 03-09 on 03-10*"]
    assert ward.beats_at("2026-03-10", *MORNING) == ["count-due to role/technician"]
    ward.at("2026-03-11")
    assert ward.open(patient) == ["count-overdue 03-09 on 03-10", "dose-overdue 03-09 on 03-10"]


def test_what_is_put_off_is_told_on_that_day_whatever_is_settled_until_then(ward: Ward) -> None:
    patient = on_monday(ward)
    ward.reachable(patient)
    ward.beats_at("2026-03-10", *MORNING)
    ward.does("tom", manage.put_off, which(ward, patient, "count-overdue"), "2026-03-13", None)
    ward.weigh(patient, 75)
    ward.chooses(send_at="09:00")
    assert [one for one in ward.beats_at("2026-03-11", *MORNING, (9, 0)) if "count" in one] == []
    assert [one for one in ward.beats_at("2026-03-12", *MORNING, (9, 0)) if "count" in one] == []
    assert "count-overdue to role/technician" in ward.beats_at("2026-03-13", *MORNING, (9, 0), (9, 1))


def test_what_is_put_off_stays_so_when_its_day_moves_or_the_hour_is_another(ward: Ward) -> None:
    """A weight that is due on a day to come, of which nobody has been told yet."""
    patient = ward.treated("90", protocol="us-itp-paediatric", born_on="2018-05-01")
    assert ward.open(patient, "weight-due") == ["weight-due 05-11"]
    ward.at("2026-05-03")
    ward.does("tom", manage.put_off, which(ward, patient, "weight-due"), "2026-05-06", None)
    ward.chooses(send_at="09:00")
    ward.settles()
    assert ward.told_at(ward.row(patient, "weight-due")) == "05-06 08:00"
    ward.closes("2026-05-11")
    assert ward.open(patient, "weight-due") == ["weight-due 05-11 on 05-12"]
    assert ward.told_at(ward.row(patient, "weight-due")) == "05-06 08:00"


def test_who_is_told_for_others_is_told_once(tmp_path: Path) -> None:
    """Nobody but pharmacists can be reached, so they are told for technician and prescriber, too."""
    ward = Ward(tmp_path)
    ward.channels("pharmacist")
    on_monday(ward)
    heard = [one for day in range(9, 18) for one in ward.beats_at(f"2026-03-{day:02}", *MORNING)]
    kinds = ("dose-due", "count-due", "dose-overdue", "count-overdue")
    assert heard == [f"{kind} to role/pharmacist" for kind in kinds]


@pytest.mark.parametrize("until", ["2026-03-14", "2026-03-16"])
def test_what_is_put_off_to_a_day_off_is_told_staff_on_the_next_working_day(ward: Ward, until: str) -> None:
    patient = on_monday(ward)
    ward.beats_at("2026-03-10", *MORNING)
    ward.does("tom", manage.put_off, which(ward, patient, "count-overdue"), until, None)
    heard = {day: ward.beats_at(day, *MORNING) for day in (f"2026-03-{n}" for n in range(11, 17))}
    assert [day for day, told in heard.items() if "count-overdue to role/technician" in told] == ["2026-03-16"]


# What a clinic chooses


def test_what_a_clinic_chooses_holds_for_what_is_not_told_yet(ward: Ward) -> None:
    patient = on_monday(ward)
    assert ward.told_at(ward.row(patient, "dose-due")) == "03-08 08:00"
    ward.chooses(send_at="10:30")
    ward.settles()
    assert ward.told_at(ward.row(patient, "dose-due")) == "03-08 10:30"
    ward.chooses(steps={"dose-due": [{"after_days": -3, "to": "pharmacist"}]})
    ward.settles()
    assert ward.told_at(ward.row(patient, "dose-due")) == "03-06 08:00"
    assert ward.beats_at("2026-03-06", *MORNING) == ["dose-due to role/pharmacist"]
    assert ward.beats_at("2026-03-09", *MORNING) == ["count-due to role/technician"]


def test_steps_of_the_same_day_are_told_together(ward: Ward) -> None:
    steps = [{"after_days": 0, "to": to} for to in ("pharmacist", "technician", "prescriber")]
    ward.chooses(steps={"dose-due": steps, "count-due": [{"after_days": 60, "to": "technician"}]})
    on_monday(ward)
    told = [f"dose-due to role/{to}" for to in ("pharmacist", "technician", "prescriber")]
    assert ward.beats_at("2026-03-09", *MORNING, (8, 2)) == told


def test_fewer_steps_than_have_been_told_stop_nothing(ward: Ward) -> None:
    """The patient was told, the technician is to be; then the clinic wants one step only."""
    patient = on_monday(ward)
    ward.reachable(patient)
    ward.beats_at("2026-03-08", *MORNING)
    assert ward.row(patient, "dose-due").step == 1
    ward.chooses(steps={"dose-due": [{"after_days": 0, "to": "pharmacist"}]}, send_at="09:00")
    assert ward.beats_at("2026-03-09", *MORNING) == []
    assert ward.beats_at("2026-03-09", (9, 0)) == ["dose-due to role/pharmacist", "count-due to role/technician"]
    assert ward.row(patient, "dose-due").next_at is None


def test_who_is_told_at_an_hour_is_told_once(ward: Ward) -> None:
    """The hour is put forward after the step was told."""
    patient = on_monday(ward)
    ward.reachable(patient)
    ward.beats_at("2026-03-08", *MORNING)
    ward.chooses(send_at="12:00")
    assert ward.beats_at("2026-03-08", (12, 0), (12, 1)) == []
    assert ward.beats_at("2026-03-09", *MORNING) == []
    assert ward.beats_at("2026-03-09", (12, 0)) == ["dose-due to role/technician", "count-due to role/technician"]


# Where a patient belongs


def test_a_patient_who_moves_is_reminded_of_by_the_other_clinic(ward: Ward) -> None:
    patient = on_monday(ward)
    ward.reachable(patient)
    ward.beats_at("2026-03-08", *MORNING)
    ward.at("2026-03-08", 12)
    ward.particulars_change(patient, clinic=ward.other)
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-09"]
    assert {row.clinic_id for row in ward.rows(patient) if row.status == "open"} == {ward.other}
    assert ward.beats_at("2026-03-09", *MORNING) == [], "the clinic before tells nobody, the other has no channel"
    with ward.services.store.reading() as session:
        assert session.find(Delivery, Where("clinic_id", "=", ward.other)) == []


def test_the_other_clinic_has_days_of_its_own(ward: Ward) -> None:
    patient = on_monday(ward)
    body = {**ward.particulars(), "name": "B", "injection_days": ["wednesday"], "holidays": ["2026-03-09"]}
    ward.does("admin", record.change_clinic, ward.other, body, None)
    ward.particulars_change(patient, clinic=ward.other)
    assert ward.open(patient) == ["count-due 03-09 on 03-10", "dose-due 03-09 on 03-11"]


def test_another_time_zone_moves_the_day(ward: Ward) -> None:
    """In Auckland it is tomorrow already, when it is overdue there."""
    patient = on_monday(ward)
    ward.at("2026-03-09", 12)
    assert ward.open(patient) == ["count-due 03-09", "dose-due 03-09"]
    body = {**ward.particulars(), "time_zone": "Pacific/Auckland"}
    ward.does("admin", record.change_clinic, ward.clinic, body, None)
    assert ward.open(patient) == ["count-overdue 03-09", "dose-overdue 03-09"]


# Late in the week


def test_what_comes_up_on_friday_evening_is_told_on_monday(ward: Ward) -> None:
    patient = ward.treated("90")
    ward.count(patient, 90)
    ward.give(patient)
    ward.at("2026-03-06", 20, 30)
    ward.befalls(patient, "thrombosis")
    ward.settles()
    assert ward.told_at(ward.row(patient, "referral")) == "03-09 08:00"
    assert ward.beats_at("2026-03-07", (7, 0), (9, 0)) == []


def test_staff_are_told_together_with_a_patient_only_on_a_working_day(ward: Ward) -> None:
    """What was long overdue comes to light on a Saturday: the patient is told at once, staff on Monday."""
    patient = ward.treated("90", weeks=3)
    count = ward.count(patient, 90)
    ward.reachable(patient)
    ward.at("2026-03-07", 10)
    ward.settles()
    ward.takes_back(patient, count)
    heard = ward.beats_at("2026-03-07", (10, 1), (10, 2), (10, 3))
    assert [one for one in heard if "patient" not in one] == []
    assert "count-overdue to patient" in heard
    assert "count-overdue to role/technician" in ward.beats_at("2026-03-09", *MORNING)


def test_what_is_told_first_is_what_a_fresh_row_says(ward: Ward) -> None:
    patient = on_monday(ward)
    row = ward.row(patient, "dose-due")
    with ward.services.store.reading() as session:
        found = manage.plan_of(session, session.find(manage.Clinic, Where("id", "=", ward.clinic))[0])
    step, at = first_telling(found, row.kind, row.remind_on, ward.now)
    assert replace(row, step=step, next_at=manage.instant(at) if at else None) == row
