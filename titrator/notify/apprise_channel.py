"""Mail, SMS and chat by an Apprise address.

Apprise reads the address and speaks to the service; it swallows errors and tells them to its log, whose words quote
tokens and recipients. Of those only the status is passed on. Mail goes a way of its own (mail.py).
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

from apprise import NotifyFormat, NotifyType
from apprise.plugins import NotifyBase
from apprise.plugins.email import NotifyEmail

from titrator.notify.address import faults, listening, opened, redacted
from titrator.notify.base import Message, NotSent, Unacceptable
from titrator.notify.mail import send_mail

#: Sends to one service that may hang at once in a process, before no more are begun.
_MOST_LEFT_BEHIND: Final = 3
_STATUS: Final = re.compile(r"error=(\d{3})\b")


class AppriseChannel:
    """The service or the mailboxes that an address names; raises Unacceptable where it is not accepted.

    `timeout_seconds` is for each step of a connection, `deadline_seconds` for all of a send. What Apprise is about
    cannot be cut off: a send to a service that goes on after its deadline is left behind, and may still arrive.
    """

    def __init__(self, address: str, timeout_seconds: float = 15, deadline_seconds: float = 30) -> None:
        if found := faults(address, "channel"):
            raise Unacceptable(found)
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._deadline_seconds = deadline_seconds

    def __repr__(self) -> str:
        return f"AppriseChannel({redacted(self._address)})"

    def send(self, message: Message) -> None:
        """Send a message as plain text. Raises NotSent."""
        # A plugin remembers its last send, waits before the next and is not made for threads: each send has its own.
        plugin = opened(self._address)
        if plugin is None:
            raise NotSent("the address is not understood")
        if isinstance(plugin, NotifyEmail):
            send_mail(plugin, message, self._timeout_seconds, self._deadline_seconds)
            return
        plugin.socket_connect_timeout = plugin.socket_read_timeout = self._timeout_seconds
        why = _LEFT_BEHIND.within(self._deadline_seconds, _place(self._address), lambda: _notify(plugin, message))
        if why is not None:
            raise NotSent(why)


class _LeftBehind:
    """Runs sends in threads, and counts for each place those that have not ended when their time was over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count: Counter[str] = Counter()

    def within(self, seconds: float, place: str, send: Callable[[], str | None]) -> str | None:
        """What a send gives, if it does in time; otherwise, or if too many to that place hang, why not."""
        with self._lock:
            if self._count[place] >= _MOST_LEFT_BEHIND:
                return "the service still holds earlier messages up"
        given: list[str | None] = []
        left = False

        def work() -> None:
            found = send()
            with self._lock:
                given.append(found)
                if left:
                    self._count[place] -= 1

        thread = threading.Thread(target=work, name="titrator-notify", daemon=True)
        thread.start()
        thread.join(seconds)
        with self._lock:
            if given:
                return given[0]
            left = True
            self._count[place] += 1
        return "the service took too long"


_LEFT_BEHIND: Final = _LeftBehind()


def _place(address: str) -> str:
    """The service, and what of it an address names before its first slash: all personal addresses share it."""
    return re.split(r"[/?]", address.partition("://")[2])[0]


def _notify(plugin: NotifyBase, message: Message) -> str | None:
    """Why a message did not go out; None if it did."""
    with listening() as heard:
        try:
            sent = plugin.notify(
                message.body,
                title=" ".join(message.subject.split()),
                notify_type=NotifyType.INFO,
                body_format=NotifyFormat.TEXT,
            )
        except Exception:  # noqa: BLE001 -- a plugin may stumble over any answer; what it says may quote a token
            return "the answer of the service was not understood"
    return None if sent else _reason(heard)


def _reason(heard: list[str]) -> str:
    """Why a service was not told, by what Apprise said of it, without its words."""
    told = "\n".join(heard)
    if status := _STATUS.search(told):
        return f"the service answered {status[1]}"
    return "the service could not be reached" if "onnection" in told else "the service did not take it"
