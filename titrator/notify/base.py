"""The port of the channels: a message goes out by one, or NotSent says why it did not.

NotifyError
├── NotSent             the message did not go out; why, whether to try again can help, and when
└── Faulty              what is given has faults; all of them
    ├── Unacceptable    no channel can be made of that address or secret
    └── InvalidTexts    a file of texts is not sound
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_LONGEST_REASON: Final = 300


class NotifyError(Exception):
    """A message or a channel is not as it must be."""


class NotSent(NotifyError):
    """The message did not go out. Its text says why, in one line, without secrets or addresses.

    `lasting`: to try again cannot help. `retry_after`: how many seconds the receiver asks to be left alone, if it does.
    """

    def __init__(self, why: str, *, lasting: bool = False, retry_after: int | None = None) -> None:
        super().__init__(" ".join(why.split())[:_LONGEST_REASON])
        self.lasting = lasting
        self.retry_after = retry_after


class Faulty(NotifyError):
    """What is given has faults; `faults` tells all of them, in words."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


class Unacceptable(Faulty):
    """No channel can be made of that address or secret."""


class InvalidTexts(Faulty):
    """A file of texts has faults; each begins with the file and the place in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is to be told. A repeat has the same id, by which a receiver knows it again.

    `event` is what a webhook sends: `type`, `timestamp` and `data`, in the types of JSON. `at` is the instant of this
    attempt, with its zone. Only ids of letters, digits, hyphens and underscores can stand in every kind of header.
    """

    id: str
    subject: str = field(repr=False)
    body: str = field(repr=False)
    event: Mapping[str, object] = field(repr=False)
    at: datetime

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError("an id has 1 to 100 letters, digits, hyphens and underscores")
        if self.at.tzinfo is None:
            raise ValueError("the instant of an attempt has a time zone")


class Channel(Protocol):
    """A way to tell something. It may be used by many threads."""

    def send(self, message: Message) -> None:
        """Send a message; returns when the other side has taken it. Raises NotSent."""
        ...
