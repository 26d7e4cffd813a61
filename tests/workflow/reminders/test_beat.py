"""One beat: summaries once however many beat at once, the sign that reminders run, their health; and the metronome."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from apscheduler.schedulers.blocking import BlockingScheduler

from tests.notify.servers import MailServer
from tests.store.samples import sample
from tests.workflow.reminders.telling import NOW, Desk, Hook, recipients, text_of
from titrator import scheduler
from titrator.assembly import now
from titrator.scheduler import Reminding, behind, forever
from titrator.security.trail import SYSTEM
from titrator.store.base import StoreError
from titrator.store.records import Clinic, Job, Patient, Waiting
from titrator.workflow.reminders import work
from titrator.workflow.reminders.tell import Told
from titrator.workflow.reminders.work import HEARTBEAT, Health, health
from titrator.workflow.visit import instant

#: Nothing waits for so many seconds unless it fails.
PATIENCE: Final = 30


def at_once(desk: Desk, workers: int) -> list[Told]:
    """So many workers beat at the same moment."""
    start = threading.Barrier(workers)

    def work() -> Told:
        start.wait(PATIENCE)
        told = desk.beats()
        desk.store.close()
        return told

    with ThreadPoolExecutor(workers) as threads:
        return [done.result() for done in [threads.submit(work) for _ in range(workers)]]


# Summaries


def summarised(folder: Path, mail: MailServer, **settings: object) -> Desk:
    """A clinic with a digest, two pharmacists and their mailbox; a technician, who is not told."""
    desk = Desk(folder, digest_at="07:30", **settings)
    desk.mailbox(mail, "pharmacist")
    desk.mailbox(mail, "technician")
    desk.gateway(mail)
    desk.account("ina", "pharmacist", "ina@example.org")
    desk.account("jo", "pharmacist", "jo@example.org")
    return desk


THREE: Final = ("ina@example.org", "jo@example.org", "pharmacist@example.org")


def test_each_pharmacist_has_the_digest_once_a_working_day_however_many_beat_at_once(
    tmp_path: Path, mail: MailServer
) -> None:
    """Four workers, every quarter of an hour from Friday to Tuesday."""
    desk = summarised(tmp_path, mail, week_plan=False)
    desk.clock.now = datetime(2026, 3, 13, tzinfo=UTC)
    came: Counter[tuple[str, str]] = Counter()
    while desk.clock.now < datetime(2026, 3, 18, tzinfo=UTC):
        before = len(mail.envelopes)
        at_once(desk, 4)
        came.update((to, f"{desk.clock.now:%a %H:%M}") for to in recipients(mail)[before:])
        desk.clock.on(minutes=15)
    assert came == {(to, f"{day} 07:30"): 1 for to in THREE for day in ("Fri", "Mon", "Tue")}


def test_of_four_who_find_a_digest_due_one_makes_it(
    tmp_path: Path, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them have looked before any has begun."""
    desk = summarised(tmp_path, mail, week_plan=False)
    looked, found = threading.Barrier(4), work.due_summaries

    def look(*arguments: Any) -> Any:
        due = found(*arguments)
        looked.wait(PATIENCE)
        return due

    monkeypatch.setattr(work, "due_summaries", look)
    told = at_once(desk, 4)
    assert sorted(one.planned for one in told) == [0, 0, 0, 3]
    assert sorted(recipients(mail)) == list(THREE)
    assert [row.chain for row in desk.trail()] == [SYSTEM] * 3


def test_the_week_plan_comes_once_a_week_on_its_first_working_day(tmp_path: Path, mail: MailServer) -> None:
    """The Monday of the second week is a holiday, and of the third week none is a working day."""
    desk = summarised(tmp_path, mail)
    free = ["2026-03-16", *(f"2026-03-{day}" for day in range(23, 28))]
    desk.put(sample(Clinic, time_zone="UTC", holidays=tuple(free), injection_days=()))
    desk.clock.now = datetime(2026, 3, 9, tzinfo=UTC)
    came = []
    while desk.clock.now < datetime(2026, 4, 7, tzinfo=UTC):
        before = len(mail.envelopes)
        desk.beats()
        new = zip(recipients(mail)[before:], mail.mails[before:], strict=True)
        came += [f"{desk.clock.now:%a %d}" for to, one in new if to == THREE[0] and "week" in str(one["Subject"])]
        desk.clock.on(hours=6)
    assert came == ["Mon 09", "Tue 17", "Mon 30", "Mon 06"]


def test_a_summary_says_numbers_and_no_names(tmp_path: Path, mail: MailServer) -> None:
    desk = summarised(tmp_path, mail, show=["name", "values"])
    desk.clock.now = NOW.replace(hour=6)
    for name in ("Oppenheimer", "Meyer"):
        desk.on_course(name, name)
    desk.settles()
    desk.told("p", "pharmacist")
    desk.put(replace(desk.deliveries[0], status="dead"))
    desk.put(replace(desk.get(Patient, "p"), settled=False))
    desk.clock.now = NOW
    desk.beats()
    assert len(desk.all(Waiting)) == 3
    texts = [text_of(one) for one in mail.mails if one["To"] == "ina@example.org"]
    digest = next(text for text in texts if "what waits" in text)
    assert "2 count-due" in digest
    assert "1 message-undelivered" in digest
    assert "1 messages that could not be delivered" in digest
    plan = next(text for text in texts if "plan of the week" in text)
    assert "2026-03-09, Monday: 2 count-due, 2 dose-due" in plan
    for secret in ("Oppenheimer", "Meyer", "Ada", "microgram"):
        assert secret not in "".join(texts)


def test_with_the_week_plan_every_patient_is_gone_through_anew(tmp_path: Path, mail: MailServer) -> None:
    """A reminder that was lost is there again."""
    desk = summarised(tmp_path, mail)
    desk.clock.now = NOW.replace(hour=6)
    patient = desk.on_course()
    desk.settles()
    lost = desk.row(patient)
    with desk.store.writing() as session:
        session.remove(type(lost))
    assert desk.settles() == 0
    desk.clock.now = NOW
    desk.beats()
    assert desk.settles() == 1
    assert desk.row(patient).remind_on == lost.remind_on


@pytest.mark.parametrize(("at", "due"), [("07:29:59", 0), ("07:30:00", 3), ("07:30:01", 3)])
def test_a_digest_is_not_made_before_its_time(tmp_path: Path, mail: MailServer, at: str, due: int) -> None:
    desk = summarised(tmp_path, mail, week_plan=False)
    desk.clock.now = datetime.fromisoformat(f"2026-03-09T{at}+00:00")
    assert desk.beats() == Told(planned=due, sent=due)


# The sign that reminders run


def test_a_beat_settles_plans_and_sends(desk: Desk, mail: MailServer) -> None:
    desk.mailbox(mail, "technician")
    desk.on_course()
    assert desk.beats() == Told(planned=2, sent=2)
    assert desk.beats() == Told()


def test_reminders_are_told_all_the_same_where_no_dose_may_be_computed(desk: Desk, mail: MailServer) -> None:
    """The self-test failed: nobody is settled, and who is settled is told."""
    desk.mailbox(mail, "technician")
    desk.reminder(desk.patient())
    desk.put(replace(desk.row(), step=1))
    desk.reminder(desk.patient("q", settled=False), step=1)
    desk.services = replace(desk.services, broken=("an example fails",))
    assert desk.beats() == Told(planned=2, sent=1)
    assert desk.statuses() == {"p": "sent", "q": "waiting"}
    assert not desk.get(Patient, "q").settled


#: How many seconds after a beat that had nothing to do the next leaves a sign.
SIGNS: Final = [(29, False), (30, True), (31, True)]


@pytest.mark.parametrize(("seconds", "left"), SIGNS)
def test_a_beat_leaves_a_sign_at_times(desk: Desk, seconds: int, left: bool) -> None:
    desk.beats()
    assert desk.get(Job, HEARTBEAT) == Job(name=HEARTBEAT, version=1, at=instant(NOW))
    desk.clock.on(seconds=seconds)
    desk.beats()
    assert desk.get(Job, HEARTBEAT).at == instant(desk.clock.now if left else NOW)


def test_health_tells_what_is_due_late_dead_and_sent(desk: Desk, hook: Hook) -> None:
    def found() -> Health:
        return health(desk.store, desk.clock())

    desk.channel("hook", "pharmacist", hook.web.url)
    assert found() == Health(None, 0, 0, 0, 0, 0)
    for ident in ("p1", "p2", "p3"):
        desk.told(ident, "hook")
    assert found() == Health(None, 3, 0, 0, 0, 0)
    desk.clock.on(minutes=9, seconds=59)
    assert found() == Health(None, 3, 0, 0, 0, 599)
    desk.clock.on(seconds=1)
    assert found() == Health(None, 3, 0, 3, 0, 600)
    hook.refused = {desk.deliveries[0].id: 410, desk.deliveries[2].id: 500}
    desk.beats()
    beat_at = instant(desk.clock.now)
    assert found() == Health(beat_at, 0, 1, 0, 1, 0)
    desk.clock.on(minutes=1)
    assert found() == Health(beat_at, 1, 1, 0, 1, 660)
    hook.refused = {}
    desk.beats()
    assert found() == Health(instant(desk.clock.now), 0, 2, 0, 1, 0)


def test_health_counts_the_clinics_at_which_nobody_can_be_told(desk: Desk, hook: Hook) -> None:
    assert health(desk.store, desk.clock()).silent_clinics == 0, "nothing to be told"
    desk.reminder(desk.patient("p"))
    assert health(desk.store, desk.clock()).silent_clinics == 1
    desk.channel("hook", "pharmacist", hook.web.url)
    assert health(desk.store, desk.clock()).silent_clinics == 0


def test_health_tells_the_age_of_the_oldest_message_though_it_was_tried_since(desk: Desk, hook: Hook) -> None:
    desk.channel("hook", "pharmacist", hook.web.url)
    desk.told("p1", "hook")
    hook.status = 500
    desk.beats()
    desk.clock.on(seconds=30)
    desk.told("p2", "hook")
    desk.clock.on(seconds=30)
    assert health(desk.store, desk.clock()).oldest_seconds == 60


# The metronome


class Times:
    """Counts calls; some fail."""

    def __init__(self, fails: Callable[[int], bool]) -> None:
        self.fails = fails
        self.calls = 0
        self.enough = threading.Event()

    def __call__(self, *_: object) -> Told:
        self.calls += 1
        if self.calls >= 5:
            self.enough.set()
        if self.fails(self.calls):
            raise StoreError("the disk is full")
        return Told(sent=self.calls)


def test_a_beat_that_fails_does_not_stop_the_metronome(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    times = Times(lambda call: call != 2)
    monkeypatch.setattr(scheduler, "beat", times)
    running = behind([(Reminding(desk.services), 0.01)], now())
    try:
        assert times.enough.wait(PATIENCE)
    finally:
        running.shutdown()
    assert times.calls >= 5


def test_a_call_of_another_thing_that_fails_does_not_stop_it_either(desk: Desk) -> None:
    """Whatever is called: the metronome goes on with it, and with the others."""
    failing, going = Times(lambda _: True), Times(lambda _: False)
    running = behind([(failing, 0.01), (going, 0.01)], now())
    try:
        assert failing.enough.wait(PATIENCE)
        assert going.enough.wait(PATIENCE)
    finally:
        running.shutdown()


def test_a_failure_is_told_without_what_it_says(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "beat", Times(lambda call: call == 1))
    reminding = Reminding(desk.services)
    assert [reminding(), reminding()] == [None, Told(sent=2)]


def test_a_call_that_takes_long_is_not_made_twice_at_once(desk: Desk) -> None:
    """Several that are missed meanwhile are one."""
    at_once, most, done = [0], [0], threading.Event()
    pause, calls = threading.Event(), [0]

    def slow() -> None:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        pause.wait(0.05)
        calls[0] += 1
        at_once[0] -= 1
        if calls[0] == 4:
            done.set()

    running = behind([(slow, 0.01)], now())
    try:
        assert done.wait(PATIENCE)
    finally:
        running.shutdown()
    assert most == [1]


def test_forever_calls_at_once_and_again_until_it_is_stopped(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[BlockingScheduler] = []

    class Noted(BlockingScheduler):
        def start(self, *arguments: object, **more: object) -> None:
            running.append(self)
            super().start(*arguments, **more)

    def stop(call: int) -> bool:
        if call == 3:
            running[0].shutdown(wait=False)
        return False

    times = Times(stop)
    monkeypatch.setattr(scheduler, "BlockingScheduler", Noted)
    monkeypatch.setattr(scheduler, "beat", times)
    forever(replace(desk.services, clock=now), 0.01)  # type: ignore[arg-type]
    assert times.calls >= 3
