"""Escalation: each step at its time and to its role, nobody twice, until somebody sees to it or it is done."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from tests.notify.servers import MailServer
from tests.workflow.reminders.telling import NOW, Desk, Hook, recipients
from titrator.store.base import StoreError
from titrator.store.postgres import PostgresSession
from titrator.store.records import Account, Clinic, Delivery, Record, Reminder
from titrator.store.sql import SqlSession
from titrator.workflow.reminders import manage
from titrator.workflow.reminders.keep import first_telling
from titrator.workflow.reminders.plan import INSISTENT, OF_PATIENTS, Kind, plan_of
from titrator.workflow.visit import instant, instant_or_none

#: A Monday without a holiday near it.
DAY: Final = "2026-03-09"
FRIDAY: Final = "2026-03-13"
PATIENT: Final = "ada@example.org"
ROLES: Final = ("technician", "pharmacist", "prescriber")


def ask(desk: Desk, kind: str, remind_on: str, made: datetime, patient: str = "p") -> Reminder:
    """A reminder as it is made at an instant: told from its first step on."""
    with desk.store.reading() as session:
        clinic = session.get(Clinic, "c")
        assert clinic is not None
        plan = plan_of(session, clinic)
    step, next_at = first_telling(plan, kind, remind_on, made)
    return desk.reminder(patient, kind, remind_on, step=step, next_at=instant_or_none(next_at))


def everybody(desk: Desk, mail: MailServer) -> None:
    """A mailbox for each role, and one of the patient."""
    for role in ROLES:
        desk.mailbox(mail, role)
    desk.gateway(mail)
    desk.contact(f"patient/{desk.patient()}", PATIENT)


def told(desk: Desk, mail: MailServer, until: datetime) -> list[tuple[str, str]]:
    """Beat every ten minutes; to whom and when each mail came, at the clinic's hour, in UTC."""
    seen, before = [], len(mail.envelopes)
    while desk.clock.now < until:
        desk.plans()
        desk.delivers()
        at = f"{desk.clock.now:%a %d %H:%M}"
        seen += [(to.removesuffix("@example.org"), at) for to in recipients(mail)[before:]]
        before = len(mail.envelopes)
        desk.clock.on(minutes=10)
    return seen


#: Who is told when of each kind, that falls on Monday the 9th and was made long before.
STEPS: Final[dict[str, list[tuple[str, str]]]] = {
    "re-opened": [("pharmacist", "Mon 09 08:00"), ("prescriber", "Tue 10 08:00")],
    "referral": [("prescriber", "Mon 09 08:00"), ("pharmacist", "Wed 11 08:00")],
    "no-answer": [("pharmacist", "Mon 09 08:00"), ("prescriber", "Thu 12 08:00")],
    "dose-overdue": [
        ("ada", "Tue 10 08:00"),
        ("technician", "Tue 10 08:10"),
        ("pharmacist", "Wed 11 08:00"),
        ("prescriber", "Fri 13 08:00"),
    ],
    "count-overdue": [
        ("ada", "Tue 10 08:00"),
        ("technician", "Tue 10 08:10"),
        ("pharmacist", "Thu 12 08:00"),
        ("prescriber", "Mon 16 08:00"),
    ],
    "second-signature": [("prescriber", "Mon 09 08:00"), ("pharmacist", "Tue 10 08:00")],
    "sign-off": [("pharmacist", "Tue 10 08:00"), ("prescriber", "Wed 11 08:00")],
    "dose-due": [("ada", "Sun 08 08:00"), ("technician", "Mon 09 08:00")],
    "hold-re-check": [("ada", "Sun 08 08:00"), ("technician", "Mon 09 08:00")],
    "count-due": [("ada", "Sun 08 08:00"), ("technician", "Mon 09 08:00")],
    "follow-up-count": [("ada", "Sun 08 08:00"), ("technician", "Mon 09 08:00"), ("pharmacist", "Mon 16 08:00")],
    "monthly-count": [("ada", "Sat 07 08:00"), ("technician", "Mon 09 08:00")],
    "weight-due": [("technician", "Mon 02 08:00"), ("ada", "Mon 09 08:00"), ("pharmacist", "Mon 16 08:00")],
    "paused-review": [("pharmacist", "Mon 09 08:00"), ("prescriber", "Mon 16 08:00")],
}


def test_each_kind_is_here() -> None:
    assert set(STEPS) == set(Kind)


@pytest.mark.parametrize("kind", STEPS)
def test_each_step_is_told_at_its_time_and_to_its_role(desk: Desk, mail: MailServer, kind: str) -> None:
    everybody(desk, mail)
    desk.clock.now = datetime(2026, 3, 1, tzinfo=UTC)
    ask(desk, kind, DAY, desk.clock.now)
    assert told(desk, mail, datetime(2026, 3, 16, 12, tzinfo=UTC)) == STEPS[kind]
    assert (desk.row(kind=kind).next_at is not None) == (kind in INSISTENT)


@pytest.mark.parametrize("kind", sorted(INSISTENT))
def test_what_is_insistent_is_told_again_each_week_until_it_is_done(desk: Desk, mail: MailServer, kind: str) -> None:
    """The last of staff who were told, and nobody else; each time it is another message."""
    everybody(desk, mail)
    ask(desk, kind, DAY, NOW)
    last = STEPS[kind][-1][0]
    told(desk, mail, datetime(2026, 3, 17, tzinfo=UTC))
    again = told(desk, mail, datetime(2026, 4, 5, tzinfo=UTC))
    assert {to for to, _ in again} == {last}
    assert len(again) in {2, 3}
    assert len({one.id for one in desk.deliveries}) == len(desk.deliveries)
    row = desk.row(kind=kind)
    desk.put(replace(row, status="done", next_at=None))
    assert told(desk, mail, datetime(2026, 5, 5, tzinfo=UTC)) == []


def test_a_step_waits_until_somebody_can_be_reached(desk: Desk, mail: MailServer) -> None:
    """Nobody has a channel for a week; who gets one is told the next morning, from the step that waited."""
    desk.patient()
    ask(desk, "dose-overdue", DAY, NOW)
    assert told(desk, mail, datetime(2026, 3, 16, 12, tzinfo=UTC)) == []
    for role in ("technician", "pharmacist", "prescriber"):
        desk.mailbox(mail, role)
    heard = told(desk, mail, datetime(2026, 3, 20, tzinfo=UTC))
    assert heard == [("technician", "Tue 17 08:00"), ("pharmacist", "Wed 18 08:00"), ("prescriber", "Thu 19 08:00")]


@pytest.mark.parametrize("gone", [{"active": False}, {"clinics": ()}, {"role": "auditor"}])
def test_who_is_not_of_the_clinic_any_more_is_not_told(desk: Desk, mail: MailServer, gone: dict[str, Any]) -> None:
    """What waited for them is given up, where others see it."""
    desk.gateway(mail)
    desk.account("ann", "pharmacist", "ann@example.org")
    desk.patient()
    desk.reminder(kind="sign-off")
    assert desk.plans() == 1
    desk.put(replace(desk.get(Account, "ann"), **gone))
    desk.delivers()
    assert (mail.mails, [one.status for one in desk.deliveries]) == ([], ["dead"])


def test_staff_are_told_on_working_days_and_patients_on_any(desk: Desk, mail: MailServer) -> None:
    """The dose was due on a Friday: the patient is told on Saturday, the clinic when it is there again."""
    everybody(desk, mail)
    desk.clock.now = datetime(2026, 3, 13, 9, tzinfo=UTC)
    ask(desk, "dose-overdue", FRIDAY, desk.clock.now)
    assert told(desk, mail, datetime(2026, 3, 21, tzinfo=UTC)) == [
        ("ada", "Sat 14 08:00"),
        ("technician", "Mon 16 08:00"),
        ("pharmacist", "Tue 17 08:00"),
        ("prescriber", "Wed 18 08:00"),
    ]


def test_steps_that_had_passed_before_it_was_made_follow_one_a_working_day(desk: Desk, mail: MailServer) -> None:
    """Made on Thursday of what has been due since Monday a week ago; it does not all come at once."""
    everybody(desk, mail)
    desk.clock.now = datetime(2026, 3, 12, 10, tzinfo=UTC)
    ask(desk, "dose-overdue", "2026-03-02", desk.clock.now)
    assert told(desk, mail, datetime(2026, 3, 21, tzinfo=UTC)) == [
        ("ada", "Thu 12 10:00"),
        ("technician", "Thu 12 10:10"),
        ("pharmacist", "Fri 13 08:00"),
        ("prescriber", "Mon 16 08:00"),
    ]


#: When a reminder of Monday the 9th was made, and who is told: what was to be told before the day is left out on it.
MADE: Final = [
    ("2026-03-08T07:59", ["ada", "technician"]),
    ("2026-03-08T23:59", ["ada", "technician"]),
    ("2026-03-09T00:00", ["technician"]),
    ("2026-03-10T09:00", ["technician"]),
]


@pytest.mark.parametrize(("made", "who"), MADE)
def test_a_step_before_the_day_is_left_out_once_the_day_has_come(
    desk: Desk, mail: MailServer, made: str, who: list[str]
) -> None:
    everybody(desk, mail)
    desk.clock.now = datetime.fromisoformat(f"{made}+00:00")
    ask(desk, "dose-due", DAY, desk.clock.now)
    assert [to for to, _ in told(desk, mail, datetime(2026, 3, 12, tzinfo=UTC))] == who


@pytest.mark.parametrize("kind", Kind)
def test_patients_are_told_of_what_is_theirs_only(tmp_path: Path, mail: MailServer, kind: str) -> None:
    steps = [{"after_days": 0, "to": "patient"}, {"after_days": 0, "to": "pharmacist"}]
    desk = Desk(tmp_path, steps={kind: steps})
    everybody(desk, mail)
    desk.reminder(kind=kind)
    told(desk, mail, NOW + timedelta(hours=1))
    assert (PATIENT in recipients(mail)) == (kind in OF_PATIENTS)
    assert "pharmacist@example.org" in recipients(mail)


# Whom a role falls back to

#: The roles that there is a mailbox of, and who is told of an overdue dose: nobody twice.
REACHED: Final = [
    (("technician", "pharmacist", "prescriber"), ["technician", "pharmacist", "prescriber"]),
    (("pharmacist", "prescriber"), ["pharmacist", "prescriber"]),
    (("technician", "prescriber"), ["technician", "prescriber"]),
    (("technician", "pharmacist"), ["technician", "pharmacist"]),
    (("technician",), ["technician"]),
    (("pharmacist",), ["pharmacist"]),
    (("prescriber",), ["prescriber"]),
    ((), []),
]


@pytest.mark.parametrize(("reached", "who"), REACHED)
def test_nobody_is_told_twice_however_roles_fall_back(
    desk: Desk, mail: MailServer, reached: tuple[str, ...], who: list[str]
) -> None:
    for role in reached:
        desk.mailbox(mail, role)
    desk.patient()
    ask(desk, "dose-overdue", DAY, NOW)
    assert [to for to, _ in told(desk, mail, NOW + timedelta(days=9))] == who


def test_the_next_role_up_is_told_before_one_down(desk: Desk, mail: MailServer) -> None:
    """Nobody is a pharmacist here: what is for pharmacists goes to prescribers, not to technicians."""
    for role in ("technician", "prescriber"):
        desk.mailbox(mail, role)
    desk.reminder(desk.patient(), "sign-off")
    assert [to for to, _ in told(desk, mail, NOW + timedelta(minutes=10))] == ["prescriber"]


def test_persons_of_a_role_are_told_each_and_only_those_of_the_clinic_who_are_in_use(
    desk: Desk, mail: MailServer
) -> None:
    desk.gateway(mail)
    for name, role in (("ina", "pharmacist"), ("jo", "pharmacist"), ("kim", "prescriber")):
        desk.account(name, role, f"{name}@example.org")
    desk.account("silent", "pharmacist")
    desk.account("gone", "pharmacist", "gone@example.org", active=False)
    desk.account("other", "pharmacist", "other@example.org", clinics=("elsewhere",))
    desk.reminder(desk.patient(), "sign-off")
    desk.plans()
    desk.delivers()
    assert Counter(recipients(mail)) == {"ina@example.org": 1, "jo@example.org": 1}


def test_a_system_is_told_of_everything_once(desk: Desk, mail: MailServer, hook: Hook) -> None:
    everybody(desk, mail)
    desk.channel("hook", "ehr", hook.web.url)
    ask(desk, "dose-overdue", DAY, NOW)
    told(desk, mail, NOW + timedelta(days=9))
    assert [(one.event["type"], one.at) for one in hook.arrived] == [
        ("reminder.dose-overdue", datetime(2026, 3, 10, 8, tzinfo=UTC))
    ]
    assert len(mail.envelopes) == 4


def test_a_system_is_told_where_nobody_can_be(desk: Desk, hook: Hook) -> None:
    """Of a step to a patient, too, who has left no address."""
    desk.channel("hook", "ehr", hook.web.url)
    desk.reminder(desk.patient())
    desk.plans()
    desk.delivers()
    assert [one.event["data"]["kind"] for one in hook.arrived] == ["dose-due"]


# What people do about it


def which(kind: str = "dose-overdue", day: str = DAY) -> manage.WhichReminder:
    return manage.WhichReminder("p", kind, day, None)


@pytest.fixture
def overdue(desk: Desk, mail: MailServer) -> Desk:
    """A dose that has been overdue since Monday; it is Wednesday, and patient, technicians and pharmacists know."""
    everybody(desk, mail)
    ask(desk, "dose-overdue", DAY, NOW)
    told(desk, mail, datetime(2026, 3, 11, 9, tzinfo=UTC))
    assert [one.partition("@")[0] for one in recipients(mail)] == ["ada", "technician", "pharmacist"]
    return desk


def test_who_puts_it_off_has_the_same_told_again_under_another_id(overdue: Desk, mail: MailServer) -> None:
    desk = overdue
    with desk.visit() as visit:
        manage.put_off(visit, which(), "2026-03-17", "travels")
    assert told(desk, mail, datetime(2026, 3, 20, tzinfo=UTC)) == [
        ("pharmacist", "Tue 17 08:00"),
        ("prescriber", "Wed 18 08:00"),
    ]
    of_pharmacists = [one for one in desk.deliveries if one.channel_id == "pharmacist"]
    assert [one.step for one in of_pharmacists] == [2, 102]
    ids = [mail["X-Titrator-Message"] for mail in mail.mails]
    assert len(set(ids)) == len(ids) == 5


def test_what_is_put_off_to_a_weekend_is_told_to_staff_after_it(overdue: Desk, mail: MailServer) -> None:
    desk = overdue
    with desk.visit() as visit:
        manage.put_off(visit, which(), "2026-03-14", None)
    assert told(desk, mail, datetime(2026, 3, 17, tzinfo=UTC)) == [("pharmacist", "Mon 16 08:00")]


def test_who_puts_it_off_twice_has_the_same_told(overdue: Desk, mail: MailServer) -> None:
    """Nobody has been told since it was put off first, so nobody else is told by putting it off again."""
    desk = overdue
    for day in ("2026-03-16", "2026-03-17"):
        with desk.visit() as visit:
            manage.put_off(visit, which(), day, "travels")
    assert told(desk, mail, datetime(2026, 3, 18, tzinfo=UTC)) == [("pharmacist", "Tue 17 08:00")]


def test_what_is_put_off_before_anybody_was_told_is_told_then(desk: Desk, mail: MailServer) -> None:
    everybody(desk, mail)
    ask(desk, "dose-overdue", DAY, NOW)
    with desk.visit() as visit:
        manage.put_off(visit, which(), "2026-03-12", None)
    assert told(desk, mail, datetime(2026, 3, 19, tzinfo=UTC))[:2] == [
        ("ada", "Thu 12 08:00"),
        ("technician", "Thu 12 08:10"),
    ]


#: What somebody does about a reminder of which a message waits.
SEEN_TO: Final[dict[str, Any]] = {
    "acknowledged": lambda visit: manage.acknowledge(visit, which()),
    "cancelled": lambda visit: manage.cancel(visit, which(), "moved away"),
    "put off": lambda visit: manage.put_off(visit, which(), "2026-03-17", None),
}


@pytest.mark.parametrize("how", SEEN_TO)
def test_what_waits_is_not_told_any_more_once_somebody_sees_to_it(overdue: Desk, mail: MailServer, how: str) -> None:
    desk, before = overdue, len(mail.envelopes)
    desk.clock.now = datetime(2026, 3, 13, 8, tzinfo=UTC)
    assert desk.plans() == 1
    with desk.visit() as visit:
        SEEN_TO[how](visit)
    assert [one.status for one in desk.deliveries].count("cancelled") == 1
    told(desk, mail, datetime(2026, 3, 16, tzinfo=UTC))
    assert len(mail.envelopes) == before
    after = [to for to, _ in told(desk, mail, datetime(2026, 3, 27, tzinfo=UTC))]
    assert after == (["prescriber"] * 2 if how == "put off" else []), "again after a week"


def test_what_is_done_cancels_what_waits_in_the_same_transaction(
    desk: Desk, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the messages cannot be cancelled, the reminder stays open, too; when they can, both end."""
    desk.mailbox(mail, "technician")
    patient = desk.on_course()
    desk.settles()
    desk.plans()
    desk.counted(patient)
    update = SqlSession.update

    def refuse(session: SqlSession, record: Any, *rest: Any, **more: Any) -> Any:
        if record is Delivery:
            raise StoreError("the disk is full")
        return update(session, record, *rest, **more)

    monkeypatch.setattr(SqlSession, "update", refuse)
    with pytest.raises(StoreError):
        desk.settles()
    monkeypatch.undo()

    def state() -> tuple[str, set[str]]:
        waits = {one.status for one in desk.deliveries if one.kind == "count-due"}
        return desk.row(patient, "count-due").status, waits

    assert state() == ("open", {"waiting"})
    desk.settles()
    assert state() == ("done", {"cancelled"})
    assert desk.row(patient, "dose-due").status == "open"


@pytest.mark.parametrize("what", [Delivery, Reminder])
def test_a_step_is_planned_and_the_next_is_set_or_neither(
    desk: Desk, mail: MailServer, monkeypatch: pytest.MonkeyPatch, what: type[Record]
) -> None:
    """A worker that fails in the midst of planning leaves all of it to others."""
    everybody(desk, mail)
    before = desk.reminder()

    def refusing(write: Any) -> Any:
        def refuse(session: SqlSession, *records: Any, **more: Any) -> Any:
            if records and (records[0] is what or isinstance(records[0], what)):
                raise StoreError("the disk is full")
            return write(session, *records, **more)

        return refuse

    for kind in (SqlSession, PostgresSession):
        for writes in {"add", "put", "change", "claim", "update"}.intersection(vars(kind)):
            monkeypatch.setattr(kind, writes, refusing(getattr(kind, writes)))
    with pytest.raises(StoreError):
        desk.plans()
    monkeypatch.undo()
    assert (desk.deliveries, desk.row()) == ([], before)
    assert desk.plans() == 1
    assert desk.row().step == 1


def test_a_shorter_escalation_ends_what_has_gone_beyond_it(tmp_path: Path, mail: MailServer) -> None:
    """Its next step is not there any more; the others go on."""
    desk = Desk(tmp_path, steps={"dose-overdue": [{"after_days": 1, "to": "pharmacist"}]})
    everybody(desk, mail)
    desk.reminder(kind="dose-overdue", step=2, next_at=instant(NOW))
    desk.reminder(desk.patient("q"), "sign-off")
    told(desk, mail, NOW + timedelta(minutes=10))
    late = desk.row(kind="dose-overdue")
    assert (late.step, late.next_at) == (0, "2026-03-16T08:00:00.000000Z"), "a week later, by the step that is left"
    assert desk.row("q", "sign-off").step == 1
