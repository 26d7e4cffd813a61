"""Telling: leased, sent and marked once; held back, given up, tried again; and what a message says."""

from __future__ import annotations

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from tests.notify.servers import Answer, MailServer
from tests.store.samples import sample
from tests.workflow.reminders.telling import (
    FAMILY_NAME,
    KEY,
    NOW,
    TODAY,
    Desk,
    Hook,
    recipients,
    text_of,
)
from titrator.notify.base import Message
from titrator.store.base import StoreError, Where
from titrator.store.records import ChannelRow, Contact, Delivery, Patient, Waiting
from titrator.workflow import record, trail
from titrator.workflow.errors import Code, Conflict, Unknown
from titrator.workflow.facts import WEIGHTS
from titrator.workflow.reminders import manage, tell
from titrator.workflow.reminders.plan import OF_PATIENTS, Kind
from titrator.workflow.reminders.tell import Told
from titrator.workflow.visit import instant


def waiting(desk: Desk, hook: Hook, many: int, kind: str = "dose-due", **values: object) -> list[str]:
    """So many deliveries to a receiver, each about a patient of its own: their ids."""
    if not desk.all(ChannelRow):
        desk.channel("hook", "pharmacist", hook.web.url, **values)
    before = len(desk.deliveries)
    return [desk.told(f"p{before + number:03}", "hook", kind=kind).id for number in range(many)]


def channel(desk: Desk, ident: str = "hook") -> ChannelRow:
    return desk.get(ChannelRow, ident)


# Claim, act, mark


def test_two_workers_at_once_lease_what_the_other_does_not(desk: Desk, hook: Hook) -> None:
    """The first message of each worker waits for that of the other: both hold a lease then."""
    ids = waiting(desk, hook, 150)
    both, take = threading.Barrier(2), hook.take
    first = iter(range(2))

    def meet(asked: Answer) -> None:
        if next(first, None) is not None:
            both.wait(30)
        take(asked)

    hook.web.answer = meet

    def work() -> Told:
        told = desk.delivers()
        desk.store.close()
        return told

    with ThreadPoolExecutor(2) as threads:
        one, other = (done.result() for done in [threads.submit(work), threads.submit(work)])
    assert (one.sent + other.sent, min(one.sent, other.sent) >= 50) == (150, True)
    assert Counter(arrival.id for arrival in hook.arrived) == Counter(ids)
    assert len(desk.trail()) == 150


@pytest.mark.parametrize(("late", "taken"), [(-1, True), (0, True), (1, False)])
def test_what_another_holds_is_taken_up_when_its_lease_has_run_out(
    desk: Desk, hook: Hook, late: int, taken: bool
) -> None:
    waiting(desk, hook, 1)
    (held,) = desk.deliveries
    desk.put(replace(held, leased_by="dead", leased_until=instant(NOW + timedelta(seconds=late))))
    assert desk.delivers().sent == taken
    assert [one.status for one in desk.deliveries] == ["sent" if taken else "waiting"]


def test_who_is_late_does_not_mark_what_another_has_taken_up(desk: Desk, hook: Hook) -> None:
    """While the first waits for an answer its lease runs out, and another sends the same message and marks it."""
    (ident,) = waiting(desk, hook, 1)
    take, marked = hook.take, []

    def hang(asked: Answer) -> None:
        hook.web.answer, came = take, desk.clock()
        desk.clock.on(seconds=301)
        desk.delivers()
        marked.extend(desk.deliveries)
        desk.store.close()
        desk.clock.on(seconds=1)
        take(asked, came)

    hook.web.answer = hang
    desk.delivers()
    assert [one.id for one in hook.arrived] == [ident, ident]
    assert len({one.body for one in hook.arrived}) == 1
    assert (desk.deliveries, len(desk.trail())) == (marked, 1)
    assert (marked[0].status, marked[0].attempts, marked[0].leased_by) == ("sent", 1, "")


def test_who_is_late_and_failed_does_not_undo_what_another_has_marked(desk: Desk, hook: Hook) -> None:
    waiting(desk, hook, 1)
    take, marked = hook.take, []

    def hang(asked: Answer) -> None:
        hook.web.answer = take
        desk.clock.on(seconds=301)
        desk.delivers()
        marked.extend(desk.deliveries)
        desk.store.close()
        asked.give(410)

    hook.web.answer = hang
    desk.delivers()
    assert marked[0].status == "sent"
    assert desk.deliveries == marked


def test_what_was_seen_to_while_it_is_sent_is_not_given_up(desk: Desk, hook: Hook) -> None:
    """Nobody is asked to look after a message that failed of what is done."""
    waiting(desk, hook, 1)

    def acknowledged(asked: Answer) -> None:
        with desk.visit() as visit:
            manage.acknowledge(visit, manage.WhichReminder("p000", "dose-due", TODAY, None))
        desk.store.close()
        asked.give(410)

    hook.web.answer = acknowledged
    assert desk.delivers() == Told(failed=1)
    assert desk.statuses() == {"p000": "cancelled"}


def test_a_lease_is_not_used_in_its_last_second(desk: Desk, hook: Hook) -> None:
    """What is left of a lease that ends is leased anew: whoever takes it up must not meet its holder."""
    waiting(desk, hook, 3)
    take = hook.take

    def slow(asked: Answer) -> None:
        came = desk.clock()
        desk.clock.on(seconds=299)
        take(asked, came)

    hook.web.answer = slow
    desk.delivers()
    assert (len(hook.arrived), desk.statuses()) == (1, {"p000": "sent", "p001": "waiting", "p002": "waiting"})
    desk.clock.on(seconds=1)
    desk.delivers()
    assert len(hook.arrived) == 2


# What happens between planning and sending


@pytest.fixture
def due(desk: Desk, mail: MailServer) -> str:
    """A patient whose dose and count are due today: the messages to the technicians are planned, and not sent."""
    desk.mailbox(mail, "technician")
    patient = desk.on_course()
    desk.settles()
    desk.plans()
    assert {one.kind: one.status for one in desk.deliveries} == {"count-due": "waiting", "dose-due": "waiting"}
    return patient


def kinds(desk: Desk) -> dict[str, str]:
    return {one.kind: one.status for one in desk.deliveries}


def test_what_was_recorded_since_holds_a_message_back_and_it_is_not_sent_if_it_is_done(
    desk: Desk, mail: MailServer, due: str
) -> None:
    desk.counted(due)
    assert desk.delivers() == Told()
    assert kinds(desk) == {"count-due": "waiting", "dose-due": "waiting"}
    desk.settles()
    desk.delivers()
    assert kinds(desk) == {"count-due": "cancelled", "dose-due": "sent"}
    assert [one["Subject"] for one in mail.mails] == ["Patient 17: dose due on 2026-03-09, Monday"]


def test_what_was_recorded_since_holds_a_message_back_and_it_is_sent_if_it_still_holds(
    desk: Desk, mail: MailServer, due: str
) -> None:
    with desk.visit() as visit:
        record.record(visit, due, WEIGHTS, {"measured_on": TODAY, "value": Decimal(76), "unit": "kg"})
    desk.delivers()
    assert mail.mails == []
    desk.settles()
    desk.delivers()
    assert kinds(desk) == {"count-due": "sent", "dose-due": "sent"}


def test_what_is_recorded_while_others_are_sent_holds_a_message_back(desk: Desk, hook: Hook) -> None:
    """A lease is of many messages; what is recorded before the turn of one comes in time."""
    waiting(desk, hook, 3)
    take = hook.take

    def change(asked: Answer) -> None:
        desk.put(replace(desk.get(Patient, "p001"), settled=False))
        desk.store.close()
        take(asked)

    hook.web.answer = change
    desk.delivers()
    assert desk.statuses() == {"p000": "sent", "p001": "waiting", "p002": "sent"}


#: How many messages a minute may be sent: more than wait, and fewer than are held back.
PACES: Final = [1000, 30]


@pytest.mark.parametrize("pace", PACES)
def test_what_must_wait_does_not_hold_up_what_may_be_sent(desk: Desk, hook: Hook, pace: int) -> None:
    """More messages are held back than are leased at once, all of them more urgent."""
    waiting(desk, hook, 105, "re-opened", per_minute=pace)
    with desk.store.writing() as session:
        session.claim(Patient, {"settled": 0})
    waiting(desk, hook, 25)
    assert desk.delivers().sent == 25
    assert Counter(desk.statuses().values()) == {"waiting": 105, "sent": 25}
    assert {one.leased_by for one in desk.deliveries} == {""}
    with desk.store.writing() as session:
        session.claim(Patient, {"settled": 1})
    desk.clock.on(minutes=1)
    assert desk.delivers().sent == min(105, pace)


def test_a_contact_that_was_taken_back_is_not_told(desk: Desk, mail: MailServer) -> None:
    desk.gateway(mail)
    desk.reminder(desk.patient())
    desk.contact("patient/p", "ada@example.org")
    assert desk.plans() == 1
    with desk.store.writing() as session:
        session.remove(Contact, Where("owner", "=", "patient/p"))
    desk.delivers()
    assert (desk.statuses(), mail.mails, desk.trail()) == ({"p": "cancelled"}, [], [])


def test_what_waits_for_a_channel_that_is_taken_out_of_use_is_given_up_and_on_the_worklist(
    desk: Desk, hook: Hook
) -> None:
    waiting(desk, hook, 1)
    with desk.visit() as visit:
        manage.change_channel(visit, "c", "hook", {"active": False}, 1)
    assert tasks(desk, "p000") == ["message-undelivered"]
    desk.delivers()
    (one,) = desk.deliveries
    assert (one.status, one.error, hook.asked) == ("dead", "channel out of use", [])


def test_so_is_what_was_planned_for_it_at_the_same_moment(desk: Desk, hook: Hook) -> None:
    """A planner has read the channels before one of them is taken out of use, and adds its delivery after that."""
    waiting(desk, hook, 1)
    desk.put(replace(channel(desk), active=False))
    assert desk.delivers() == Told(dead=1)
    assert tasks(desk, "p000") == ["message-undelivered"]


def tasks(desk: Desk, patient: str) -> list[str]:
    """What waits of a patient, once the patient is settled."""
    desk.settles()
    return [task for line in desk.all(Waiting, Where("patient_id", "=", patient)) for task in line.tasks]


NIGHT: Final = {"quiet_from": "20:00", "quiet_until": "07:00"}
NOON: Final = {"quiet_from": "12:00", "quiet_until": "13:00"}
#: Quiet hours, when it is at the clinic, and whether it is told then. In Berlin it is an hour later than in UTC.
QUIET: Final = [
    (NIGHT, "09T18:59:59", True),
    (NIGHT, "09T19:00:00", False),
    (NIGHT, "09T22:59:59", False),
    (NIGHT, "09T23:00:00", False),
    (NIGHT, "10T05:59:59", False),
    (NIGHT, "10T06:00:00", True),
    (NOON, "09T10:59:59", True),
    (NOON, "09T11:00:00", False),
    (NOON, "09T11:59:59", False),
    (NOON, "09T12:00:00", True),
    ({"quiet_from": None}, "09T23:00:00", True),
]


@pytest.mark.parametrize(("quiet", "at", "told"), QUIET)
def test_nobody_is_told_in_quiet_hours(
    tmp_path: Path, mail: MailServer, quiet: dict[str, object], at: str, told: bool
) -> None:
    desk = Desk(tmp_path, "Europe/Berlin", **quiet)
    desk.mailbox(mail, "pharmacist")
    desk.told("p", "pharmacist")
    desk.clock.now = datetime.fromisoformat(f"2026-03-{at}+00:00")
    assert desk.delivers().sent == told
    assert len(mail.mails) == told


def test_a_system_is_told_at_any_hour_also_again(tmp_path: Path, hook: Hook) -> None:
    desk = Desk(tmp_path / "night", **NIGHT)
    desk.clock.now = NOW.replace(hour=23)
    desk.channel("hook", "ehr", hook.web.url)
    desk.told("p", "hook")
    hook.status = 500
    assert desk.delivers() == Told(failed=1)
    hook.status = 204
    desk.clock.on(minutes=1)
    assert desk.delivers() == Told(sent=1)


# Refused, failed, asked to wait


def test_a_receiver_that_is_gone_for_one_message_gives_up_that_one_only(desk: Desk, hook: Hook) -> None:
    first, gone, *others = waiting(desk, hook, 5)
    hook.refused = {gone: 410}
    assert desk.delivers() == Told(sent=4, failed=1, dead=1)
    assert [one.id for one in hook.arrived] == [first, *others]
    assert (channel(desk).failures, channel(desk).rests_until) == (0, "")
    assert tasks(desk, "p001") == ["message-undelivered"]
    assert tasks(desk, "p002") == []
    desk.clock.on(days=1)
    desk.delivers()
    assert len(hook.asked) == 5, "it was tried again"


def test_a_mailbox_that_there_is_not_gives_up_its_messages_only(desk: Desk, mail: MailServer) -> None:
    desk.gateway(mail)
    for ident in ("p1", "p2", "p3"):
        desk.reminder(desk.patient(ident))
        desk.contact(f"patient/{ident}", f"{ident}@example.org")
    mail.answers["p2@example.org"] = "550 5.1.1 no such mailbox"
    desk.plans()
    assert desk.delivers() == Told(sent=2, failed=1, dead=1)
    assert recipients(mail) == ["p1@example.org", "p3@example.org"]
    assert desk.statuses() == {"p1": "sent", "p2": "dead", "p3": "sent"}
    assert channel(desk, "gateway").failures == 0
    assert "example.org" not in (desk.deliveries[1].error or "")


#: What the receiver asks for, and how many seconds the channel then rests: never less than by itself.
RETRY_AFTER: Final = [("3600", 3600), ("59", 60), ("60", 60), ("61", 61), ("soon", 60)]


@pytest.mark.parametrize(("asked", "rests"), RETRY_AFTER)
def test_a_receiver_that_asks_to_be_left_alone_is(desk: Desk, hook: Hook, asked: str, rests: int) -> None:
    waiting(desk, hook, 3)
    hook.status, hook.headers = 503, {"Retry-After": asked}
    assert desk.delivers() == Told(failed=1)
    hook.status, hook.headers = 204, {}
    desk.clock.now = NOW + timedelta(seconds=rests, microseconds=-1)
    assert (desk.delivers(), len(hook.asked)) == (Told(), 1)
    desk.clock.now = NOW + timedelta(seconds=rests)
    assert desk.delivers() == Told(sent=3)


class Broken:
    """A channel with a fault of its own."""

    def send(self, message: Message) -> None:
        raise KeyError("ada@example.org")


def test_a_fault_of_one_channel_does_not_stop_the_others(desk: Desk, hook: Hook) -> None:
    telling = desk.services.telling
    assert telling is not None
    opened = telling.open_channel

    def open_channel(kind: str, address: str, secret: str | None) -> Any:
        return Broken() if kind == "apprise" else opened(kind, address, secret)

    desk.services = replace(desk.services, telling=replace(telling, open_channel=open_channel))
    desk.channel("a-broken", "pharmacist", "ntfy://127.0.0.1/x")
    desk.channel("hook", "pharmacist", hook.web.url)
    desk.channel("z-broken", "pharmacist", "ntfy://127.0.0.1/x")
    for ident, by in (("p1", "a-broken"), ("p2", "hook"), ("p3", "z-broken")):
        desk.told(ident, by)
    assert desk.delivers() == Told(sent=1, failed=2)
    assert desk.statuses() == {"p1": "waiting", "p2": "sent", "p3": "waiting"}
    assert desk.deliveries[0].error == "failed here: KeyError"
    assert (channel(desk, "a-broken").failures, channel(desk).failures) == (1, 0)


def test_a_message_that_fails_each_time_does_not_hold_up_the_others(desk: Desk, hook: Hook) -> None:
    """A receiver stumbles over one message, the most urgent of all; it looks as if it were down."""
    (stumbles,) = waiting(desk, hook, 1, "re-opened")
    others = waiting(desk, hook, 50)
    hook.refused = {stumbles: 500}
    for _ in range(30):
        desk.delivers()
        desk.clock.on(minutes=1)
    assert Counter(one.id for one in hook.arrived) == Counter(others)
    assert desk.statuses()["p000"] == "waiting"
    assert sum(status == 500 for _, status, _ in hook.asked) <= 6, "its rests do not grow"


# A receiver that is down


def down_for(desk: Desk, hook: Hook, hours: float) -> list[datetime]:
    """Beat every half minute while a receiver answers nothing but 500; when it was asked."""
    hook.status, before = 500, len(hook.asked)
    for _ in range(round(hours * 120)):
        desk.delivers()
        desk.clock.on(seconds=30)
    hook.status = 204
    return [at for at, _, _ in hook.asked[before:]]


@pytest.fixture
def round_the_clock(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "always", quiet_from=None)


def test_after_a_day_without_its_receiver_everything_arrives_by_urgency_and_at_its_pace(
    round_the_clock: Desk, hook: Hook
) -> None:
    """Two hundred messages, three kinds in turns, thirty a minute."""
    desk = round_the_clock
    hook.clock = desk.clock
    waiting(desk, hook, 0, per_minute=30)
    for place in range(200):
        waiting(desk, hook, 1, ("weight-due", "re-opened", "dose-due")[place % 3])
        desk.clock.on(seconds=1)
    began = desk.clock.now
    probes = down_for(desk, hook, 24)
    rests = [round((later - earlier).total_seconds() / 60) for earlier, later in pairwise(probes)]
    assert rests[:8] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert set(rests[8:]) == {240}
    assert probes[0] == began
    assert set(desk.statuses().values()) == {"waiting"}

    due = sorted(desk.deliveries, key=lambda one: (one.rank, one.send_at))
    while len(hook.arrived) < 200:
        desk.delivers()
        desk.clock.on(seconds=20)
        assert desk.clock.now < began + timedelta(hours=24 + 4 + 1), "it takes too long"
    probe, *others = [arrival.id for arrival in hook.arrived]
    assert others == [one.id for one in due if one.id != probe], "not the most urgent first"
    by_minute = Counter(arrival.at.replace(second=0) for arrival in hook.arrived)
    assert max(by_minute.values()) == 30
    assert len(by_minute) == 7
    assert set(desk.statuses().values()) == {"sent"}
    assert channel(desk).failures == 0


def test_nothing_is_given_up_before_its_time(round_the_clock: Desk, hook: Hook) -> None:
    """72 hours by default; then it is given up by the attempt that fails, with all that has waited as long."""
    desk = round_the_clock
    hook.clock = desk.clock
    waiting(desk, hook, 3)
    down_for(desk, hook, 72)
    assert set(desk.statuses().values()) == {"waiting"}
    late = waiting(desk, hook, 1)
    down_for(desk, hook, 4.5)
    assert [(one.status, one.id in late) for one in desk.deliveries] == [("dead", False)] * 3 + [("waiting", True)]
    assert [tasks(desk, one) for one in ("p000", "p002", "p003")] == [["message-undelivered"]] * 2 + [[]]


#: How long it has waited when it fails, in seconds from the time after which it is given up.
GIVEN_UP: Final = [(-1, "waiting"), (0, "dead"), (1, "dead")]


@pytest.mark.parametrize(("seconds", "status"), GIVEN_UP)
def test_the_time_after_which_a_message_is_given_up_is_the_clinic_s(
    tmp_path: Path, hook: Hook, seconds: int, status: str
) -> None:
    desk = Desk(tmp_path / "one", give_up_hours=1)
    waiting(desk, hook, 1)
    desk.clock.now = NOW + timedelta(hours=1, seconds=seconds)
    hook.status = 500
    desk.delivers()
    assert list(desk.statuses().values()) == [status]


@pytest.fixture
def given_up(tmp_path: Path, hook: Hook) -> tuple[Desk, str, str]:
    """A patient whose dose is due, of which the pharmacists could not be told: the desk, the patient, the message."""
    desk = Desk(tmp_path / "given-up", give_up_hours=1, steps={"dose-due": [{"after_days": 0, "to": "pharmacist"}]})
    hook.clock = desk.clock
    patient = desk.on_course()
    desk.counted(patient)
    desk.settles()
    desk.channel("hook", "pharmacist", hook.web.url)
    assert desk.plans() == 1
    desk.clock.on(hours=1)
    hook.status = 500
    assert desk.delivers() == Told(failed=1, dead=1)
    hook.status = 204
    (one,) = desk.deliveries
    assert not desk.get(Patient, patient).settled
    assert "message-undelivered" in tasks(desk, patient)
    return desk, patient, one.id


def test_what_was_given_up_is_tried_again_if_somebody_says_so(given_up: tuple[Desk, str, str], hook: Hook) -> None:
    desk, patient, ident = given_up
    desk.clock.on(hours=1)
    assert desk.delivers() == Told(), "nobody has said so"
    with desk.visit() as visit:
        manage.settle_delivery(visit, ident, again=True)
    assert "message-undelivered" not in tasks(desk, patient)
    desk.delivers()
    assert [one.id for one in hook.arrived] == [ident]
    assert [one.status for one in desk.deliveries] == ["sent"]
    assert [row.chain for row in desk.trail("retry-delivery")] == [patient]


def test_what_is_tried_again_begins_from_the_beginning(given_up: tuple[Desk, str, str], hook: Hook) -> None:
    """However often it had failed, it rests for a minute only, and has the time of a new message."""
    desk, patient, ident = given_up
    with desk.store.writing() as session:
        session.claim(Delivery, {"attempts": 12})
    desk.put(replace(channel(desk), failures=0, rests_until=""))
    desk.clock.on(hours=1)
    with desk.visit() as visit:
        manage.settle_delivery(visit, ident, again=True)
    desk.settles()
    hook.status = 500
    assert desk.delivers() == Told(failed=1)
    hook.status = 204
    desk.clock.on(minutes=1)
    assert desk.delivers() == Told(sent=1)
    assert (desk.deliveries[0].attempts, desk.get(Patient, patient).settled) == (2, True)


def test_what_was_given_up_ends_when_somebody_has_seen_to_it(given_up: tuple[Desk, str, str], hook: Hook) -> None:
    desk, patient, ident = given_up
    with desk.visit() as visit:
        manage.settle_delivery(visit, ident, again=False)
    assert "message-undelivered" not in tasks(desk, patient)
    desk.clock.on(hours=8)
    desk.delivers()
    assert ([one.status for one in desk.deliveries], hook.arrived) == (["dismissed"], [])
    with desk.visit() as visit, pytest.raises(Unknown):
        manage.settle_delivery(visit, ident, again=True)


def test_what_was_given_up_is_not_tried_again_once_somebody_sees_to_it(
    given_up: tuple[Desk, str, str], hook: Hook
) -> None:
    desk, patient, ident = given_up
    with desk.visit() as visit:
        manage.acknowledge(visit, manage.WhichReminder(patient, "dose-due", TODAY, None))
        with pytest.raises(Conflict) as caught:
            manage.settle_delivery(visit, ident, again=True)
    assert caught.value.code == Code.REMINDER_CLOSED
    desk.settles()
    desk.delivers()
    assert ([one.status for one in desk.deliveries], hook.arrived) == (["dead"], [])


def test_the_bucket_of_a_minute(desk: Desk, hook: Hook) -> None:
    """Below, at and above what a channel may be sent a minute; what is left comes with the next."""
    waiting(desk, hook, 45, per_minute=22)
    sent = []
    for second in (0, 20, 59, 60, 119, 120, 180):
        desk.clock.now = NOW + timedelta(seconds=second)
        sent.append(desk.delivers().sent)
    assert sent == [22, 0, 0, 22, 0, 1, 0]


# Messages


def test_a_message_says_a_number_and_a_link_no_name_and_no_value(desk: Desk, mail: MailServer, hook: Hook) -> None:
    desk.mailbox(mail, "technician")
    desk.channel("hook", "ehr", hook.web.url)
    patient = desk.on_course()
    desk.counted(patient)
    desk.settles()
    desk.plans()
    desk.delivers()
    link = f"https://titrator.example/patients/{patient}"
    texts = [text_of(one) for one in mail.mails] + [arrival.body.decode() for arrival in hook.arrived]
    assert len(texts) == 2
    assert "micrograms_per_kg" in desk.get(Waiting, patient).line, "there is no dose to be silent about"
    for text in texts + [bytes(one.content or b"").decode() for one in mail.envelopes]:
        for secret in (FAMILY_NAME, "Ada", "1960", "microgram", "kg", "10*9", "romiplostim", "Nplate"):
            assert secret.lower() not in text.lower()
    assert all(link in text and "17" in text for text in texts)
    event = next(arrival.event for arrival in hook.arrived if arrival.event["type"] == "reminder.dose-due")
    assert event == {
        "type": "reminder.dose-due",
        "timestamp": instant(NOW),
        "data": {
            "patient": patient,
            "number": "17",
            "clinic": "c",
            "kind": "dose-due",
            "due_on": TODAY,
            "remind_on": TODAY,
            "step": 1,
            "link": link,
        },
    }


#: What a clinic has chosen, and whether staff are then told the name and the values.
SHOWN: Final[list[tuple[list[str], bool, bool]]] = [
    ([], False, False),
    (["name"], True, False),
    (["values"], False, True),
    (["name", "values"], True, True),
]


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(("show", "name", "values"), SHOWN)
def test_a_clinic_may_have_staff_told_more_and_never_patients(
    tmp_path: Path, mail: MailServer, kind: str, show: list[str], name: bool, values: bool
) -> None:
    steps = [{"after_days": 0, "to": "patient"}, {"after_days": 0, "to": "technician"}]
    desk = Desk(tmp_path, show=show, steps={kind: steps})
    desk.mailbox(mail, "technician")
    desk.gateway(mail)
    desk.reminder(desk.patient(), kind)
    desk.contact("patient/p", "ada@example.org")
    dose = {"delivered_micrograms": 187.5, "micrograms_per_kg": 2.5}
    desk.add(sample(Waiting, line=json.dumps({"action": "increase", "dose": dose})))
    desk.plans()
    desk.plans()
    desk.delivers()
    said = dict(zip(recipients(mail), map(text_of, mail.mails), strict=True))
    assert set(said) == {"technician@example.org"} | ({"ada@example.org"} if kind in OF_PATIENTS else set())
    staff = said.pop("technician@example.org")
    assert (f"{FAMILY_NAME}, Ada" in staff) == name
    assert ("increase; 187.5 micrograms (2.5 micrograms/kg)" in staff) == values
    for text in said.values():
        for secret in (FAMILY_NAME, "Ada", "increase", "187.5", "microgram", "p-17", "patients/", "platelet"):
            assert secret not in text


def test_a_message_is_marked_and_in_the_trail_or_neither(
    desk: Desk, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that cannot write the entry leaves the message to others, who send it again."""
    (ident,) = waiting(desk, hook, 1)

    def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(tell, "enter", fail)
    desk.delivers()
    assert (desk.statuses(), desk.trail()) == ({"p000": "waiting"}, [])
    monkeypatch.undo()
    desk.clock.on(minutes=5)
    desk.delivers()
    assert (desk.statuses(), len(desk.trail())) == ({"p000": "sent"}, 1)
    assert [one.id for one in hook.arrived] == [ident, ident]


def test_a_repeat_has_the_same_ids(desk: Desk, mail: MailServer, hook: Hook) -> None:
    """As a worker leaves it that was killed between sending and marking."""
    desk.mailbox(mail, "pharmacist")
    desk.channel("hook", "pharmacist", hook.web.url)
    desk.told("p1", "pharmacist")
    desk.told("p2", "hook")
    before = desk.deliveries
    desk.delivers()
    desk.put(*before)
    desk.clock.on(minutes=6)
    desk.delivers()
    assert [one["Message-ID"] for one in mail.mails] == [f"<{before[0].id}@titrator>"] * 2
    assert [(one.id, one.body) for one in hook.arrived] == [(before[1].id, hook.arrived[0].body)] * 2


def test_the_trail_has_an_entry_a_message_and_no_address(desk: Desk, mail: MailServer) -> None:
    desk.gateway(mail)
    desk.mailbox(mail, "pharmacist")
    desk.account("tom", "technician", "tom@example.org")
    desk.reminder(desk.patient())
    desk.contact("patient/p", "ada@example.org")
    desk.reminder(kind="sign-off")
    for _ in range(2):
        desk.plans()
        desk.delivers()
    entries = [(row.chain, row.subject, json.loads(row.detail)) for row in desk.trail()]
    sent = {one.id: one for one in desk.deliveries}
    assert len(entries) == len(mail.mails) == len(sent) == 3
    for chain, subject, told in entries:
        one = sent[told["message"]]
        assert (chain, subject) == ("p", f"patient/p/reminders/{one.kind}")
        assert told == {"message": one.id, "to": one.recipient, "channel": one.channel_id, "due_on": TODAY}
    assert "@" not in "".join(row.detail for row in desk.trail())
    with desk.store.reading() as session:
        assert trail.verify(session, KEY, desk.seals) == (4, [])
