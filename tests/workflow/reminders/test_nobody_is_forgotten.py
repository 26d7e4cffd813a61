"""Nobody is forgotten, nobody asked for a dose that must not be given, and no new cause is lost in an old one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.workflow.reminders.ward import SAYS, Ward
from titrator.notify.base import NotSent
from titrator.store.base import Where
from titrator.store.records import ChannelRow, Delivery, Job, Patient, Standing
from titrator.workflow import sign_off
from titrator.workflow.facts import DOSES
from titrator.workflow.reminders import manage
from titrator.workflow.reminders.manage import WhichReminder
from titrator.workflow.reminders.work import HEARTBEAT, health
from titrator.workflow.visit import instant

MORNING = [(8, 0), (8, 1), (9, 0)]


@pytest.fixture
def told(tmp_path: Path) -> Ward:
    ward = Ward(tmp_path)
    ward.channels("technician", "pharmacist", "prescriber", "gateway")
    return ward


def counted(ward: Ward) -> str:
    """A count of 90 on the day on which the next dose is due, a Monday."""
    patient = ward.treated("90")
    ward.count(patient, 90)
    return patient


def acknowledge(ward: Ward, patient: str, kind: str) -> None:
    row = ward.row(patient, kind)
    ward.does("mona", manage.acknowledge, WhichReminder(patient, kind, row.due_on, None))


def heard(ward: Ward, days: int) -> list[str]:
    """What is told on the mornings of so many days to come."""
    return [one for _ in range(days) for one in ward.beats_at(ward.day(1), *MORNING)]


# No dose that must not be given


def test_no_dose_is_asked_for_while_somebody_has_referred_it(told: Ward) -> None:
    """To somebody who decides whether there is one; the count goes on."""
    patient = counted(told)
    told.reachable(patient)
    told.decides(patient, "refer", "eva", **SAYS)
    assert told.open(patient) == ["count-due 03-09", "referral 03-02"]
    assert not [one for one in heard(told, 5) if "dose" in one]


@pytest.mark.parametrize(
    ("reason", "kinds"),
    [
        ("prescriber-decision", ["count-due", "sign-off"]),
        ("on-hold", ["count-due", "sign-off"]),
        ("adverse-event", ["count-due", "sign-off"]),
        ("absent", ["count-due", "dose-due", "sign-off"]),
        ("no-supply", ["count-due", "dose-due", "sign-off"]),
    ],
)
def test_a_dose_that_was_knowingly_not_given_is_not_overdue(told: Ward, reason: str, kinds: list[str]) -> None:
    """Unless the patient did not come, or there was nothing to give."""
    patient = counted(told)
    told.records(patient, DOSES, {"not_given_on": told.today, "reason_not_given": reason})
    assert sorted(one.partition(" ")[0] for one in told.open(patient)) == kinds


def test_a_dose_that_was_not_given_is_due_again_a_week_later(told: Ward) -> None:
    patient = counted(told)
    told.records(patient, DOSES, {"not_given_on": told.today, "reason_not_given": "on-hold"})
    told.after(6)
    assert told.open(patient, "dose-overdue") == []
    told.after(1)
    assert told.open(patient, "dose-overdue") == ["dose-overdue 03-02"]


def test_a_second_safety_event_re_opens_what_was_decided_upon_the_first(told: Ward) -> None:
    """A prescriber gives a dose all the same; then there is another thrombosis."""
    patient = told.treated("90")
    told.befalls(patient, "thrombosis", told.day(-1))
    told.count(patient, 90)
    made = told.decides(patient, "override", micrograms_per_kg=1, due_on=told.day(3), **SAYS)
    told.does("otto", sign_off.co_sign, patient, made.id, None)
    assert told.open(patient, "dose-due", "referral", "re-opened") == ["dose-due 03-05"]
    told.after(2)
    told.befalls(patient, "thrombosis")
    assert {one.partition(" ")[0] for one in told.open(patient)} >= {"re-opened", "referral"}
    assert told.open(patient, "dose-due") == []


def test_a_decision_that_lapses_is_told_of_by_the_day_that_it_named(told: Ward) -> None:
    """Who was told so once is not told again, of another day."""
    patient = counted(told)
    told.reachable(patient)
    told.decides(patient, "override", micrograms_per_kg=1, due_on="2026-03-04", **SAYS)
    said = [one for one in heard(told, 9) if "dose-overdue to patient" in one]
    assert len(said) == 1
    assert told.open(patient, "dose-overdue") == ["dose-overdue 03-04"]


# A new cause is told


def test_another_safety_event_is_told_though_the_referral_was_acknowledged(told: Ward) -> None:
    patient = told.treated("90")
    told.befalls(patient, "thrombosis", told.day(-1))
    told.count(patient, 90)
    assert "referral to role/prescriber" in told.beats_at(told.today, (9, 0), (9, 1))
    acknowledge(told, patient, "referral")
    assert told.beats_at(told.today, (10, 0), (11, 0)) == []
    told.befalls(patient, "marrow_disorder")
    assert "referral to role/prescriber" in told.beats_at(told.today, (12, 0), (12, 1))
    assert told.row(patient, "referral").round == 1


def test_another_correction_is_told_though_the_first_was_acknowledged(told: Ward) -> None:
    patient = told.treated("90")
    first = told.count(patient, 90)
    told.accepts(patient)
    told.takes_back(patient, first)
    second = told.count(patient, 30)
    assert "re-opened to role/pharmacist" in told.beats_at(told.today, (9, 0), (9, 1))
    acknowledge(told, patient, "re-opened")
    assert "re-opened" not in " ".join(told.beats_at(told.today, (10, 0), (10, 1)))
    told.takes_back(patient, second)
    told.count(patient, 450)
    assert "re-opened to role/pharmacist" in told.beats_at(told.today, (11, 0), (11, 1))


def test_an_acknowledgement_of_what_is_insistent_lapses_after_three_working_days(told: Ward) -> None:
    """Acknowledged on a Tuesday, told again on Friday."""
    patient = counted(told)
    told.beats_at("2026-03-03", *MORNING)
    acknowledge(told, patient, "dose-overdue")
    by_day = {day: told.beats_at(day, *MORNING) for day in ("2026-03-04", "2026-03-05", "2026-03-06")}
    assert [len([one for one in said if "dose-overdue" in one]) for said in by_day.values()] == [0, 0, 1]
    assert told.row(patient, "dose-overdue").status == "open"


def test_whoever_does_not_come_back_is_told_of_each_week(told: Ward) -> None:
    """A hold that nobody re-checks: somebody hears of it in each of the next twenty weeks."""
    patient = told.treated("450")
    told.count(patient, 450)
    told.accepts(patient)
    weeks = [[one for one in heard(told, 7) if "patient" not in one] for _ in range(20)]
    assert all(weeks[1:]), weeks


def test_a_patient_is_not_told_on_the_day_what_was_to_be_told_before(told: Ward) -> None:
    """The gateway was down from Sunday to Monday afternoon."""
    patient = told.treated("90")
    told.reachable(patient)
    told.count(patient, 90)
    told.give(patient)
    told.at("2026-03-08", 8)
    assert told.services.telling is not None
    open_channel = told.services.telling.open_channel

    def is_down(*_: object) -> Ward:
        raise NotSent("no answer")

    up = told.services
    told.services = replace(up, telling=replace(up.telling, open_channel=is_down))
    told.beats()
    told.services = replace(up, telling=replace(up.telling, open_channel=open_channel))
    said = told.beats_at("2026-03-09", (15, 0), (15, 5))
    assert not [one for one in said if "patient" in one]
    with told.services.store.reading() as session:
        assert "cancelled" in {one.status for one in session.find(Delivery, Where("recipient", "=", "patient"))}


# One fault does not stop the others


def test_a_patient_whose_answer_fails_stops_nobody_elses(told: Ward) -> None:
    broken, patient = counted(told), counted(told)
    told.settles()
    with told.services.store.writing() as session:
        standing = session.get(Standing, broken)
        assert standing is not None
        session.put(replace(standing, dues=("no due",)))
        session.update(Patient, {"settled": 0}, Where("id", "=", broken))
    said = told.beats_at("2026-03-03", *MORNING)
    assert "dose-overdue to role/technician" in said, patient


def test_a_sign_of_a_clock_that_was_ahead_is_written_over(told: Ward) -> None:
    with told.services.store.writing() as session:
        session.put(Job(name=HEARTBEAT, version=1, at=instant(told.now + timedelta(days=3))))
    told.beats()
    found = health(told.services.store, told.now)
    assert found.beat_at == instant(told.now)


def test_what_rests_by_a_clock_that_was_ahead_is_used_all_the_same(told: Ward) -> None:
    counted(told)
    told.settles()
    with told.services.store.writing() as session:
        session.update(ChannelRow, {"rests_until": instant(told.now + timedelta(days=300)), "failures": 3})
    assert "dose-due to role/technician" in told.beats_at(told.today, (9, 0), (9, 5))
