"""Where an installation has no channel yet: that there was a message is told to the log, what it said is not."""

from __future__ import annotations

from collections.abc import Callable

from titrator.notify.base import Message


class LogChannel:
    """Tells the id and the kind of a message; keeps nothing."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def send(self, message: Message) -> None:
        """Tell that there was a message."""
        self._tell(f"{message.id} {message.event.get('type', 'unknown')}")
