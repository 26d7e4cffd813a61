"""Where there is no channel: that there was a message is told, and nothing of it."""

from __future__ import annotations

from dataclasses import replace

from tests.notify.servers import message
from titrator.notify.base import Channel, NotSent
from titrator.notify.log import LogChannel


def test_id_and_kind_and_nothing_else() -> None:
    told: list[str] = []
    channel: Channel = LogChannel(told.append)
    channel.send(message())
    channel.send(replace(message("r-18"), event={}))
    assert told == ["r-17 count-due", "r-18 unknown"]


def test_a_message_shows_nothing_of_what_it_says() -> None:
    assert "Count" not in repr(message())
    assert "data" not in repr(message())


def test_a_reason_is_one_short_line() -> None:
    assert str(NotSent("a\nb\r\n  c")) == "a b c"
    assert len(str(NotSent("x" * 1000))) == 300
