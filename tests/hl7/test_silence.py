"""A feed that falls silent is on the worklist, in the digest, and told of once; again only after it has spoken."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.hl7.support import FEED, Ward, count, message, ward
from titrator.notify.base import Message
from titrator.notify.texts import Texts
from titrator.workflow.reminders.work import beat


class Told:
    """A channel that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def send(self, told: Message) -> None:
        self.messages.append(told)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def lab(tmp_path: Path, told: Told) -> Ward:
    made = ward(tmp_path, FEED._replace(silence_hours=6))
    telling = replace(made.house.services.telling, open_channel=lambda *_: told, texts=cache(Texts.load))  # type: ignore[type-var]
    mine = Ward(made.house.with_services(telling=telling))
    channel = {
        "audience": "pharmacist", "label": "ward", "address": "mailto://user:pw@mail.example?to=ward@mail.example",
        "kind": "apprise",
    }  # fmt: skip
    _add_channel(mine, channel)
    return mine


def _add_channel(lab: Ward, body: dict[str, Any]) -> None:
    answer = lab.house.call("admin", "POST", f"/clinics/{lab.house.clinic}/channels", body)
    assert answer.status == 201, answer.text


def silent(lab: Ward) -> int:
    return int(lab.house.get("/worklist")["silent_feeds"])


def of_silence(lab: Ward, told: Told) -> list[Message]:
    """What has been told of silent feeds once the reminders have beaten."""
    beat(lab.house.services, lab.house.services.clock)
    return [one for one in told.messages if one.event["type"] == "reminder.feed-silent"]


def test_a_silence_is_told_once_and_again_after_it_has_spoken(lab: Ward, told: Told) -> None:
    lab.patient()
    lab.taken(count("1"))
    lab.house.clock.on(hours=5, minutes=59)
    assert (silent(lab), of_silence(lab, told)) == (0, [])
    lab.house.clock.on(minutes=1)
    assert silent(lab) == 1
    (first,) = of_silence(lab, told)
    assert "laboratory, since 2026-03-09" in first.body
    lab.house.clock.on(days=1)
    assert len(of_silence(lab, told)) == 1, "it is told once"
    lab.taken(count("2"))
    assert silent(lab) == 0
    lab.house.clock.on(hours=7)
    assert len(of_silence(lab, told)) in (1, 2)
    lab.house.clock.on(hours=12)
    assert len(of_silence(lab, told)) == 2


def test_what_is_at_fault_breaks_the_silence_and_what_is_turned_away_does_not(lab: Ward) -> None:
    lab.taken(count("1"))
    lab.house.clock.on(hours=7)
    assert lab.send(message("MSH|^~\\&|LIS")).code == "AR"
    assert silent(lab) == 1
    assert lab.send(count("2", "<5")).code == "AE"
    assert silent(lab) == 0


def test_a_feed_that_never_spoke_is_silent_since_it_is_known(lab: Ward, told: Told) -> None:
    assert (silent(lab), of_silence(lab, told)) == (0, [])
    lab.house.clock.on(hours=6)
    assert silent(lab) == 1
    assert len(of_silence(lab, told)) == 1


def test_another_clinic_is_told_nothing(lab: Ward) -> None:
    of_silence(lab, Told())
    lab.house.clock.on(hours=7)
    assert lab.house.get("/worklist", "stranger")["silent_feeds"] == 0


def test_without_hours_nobody_is_told(tmp_path: Path) -> None:
    quiet = ward(tmp_path, FEED._replace(silence_hours=0))
    beat(quiet.house.services, quiet.house.services.clock)
    quiet.house.clock.on(days=20)
    assert silent(quiet) == 0
