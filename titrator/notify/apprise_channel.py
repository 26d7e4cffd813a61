"""Mail, SMS and chat by an Apprise address.

Apprise reads the address and speaks to the service; it swallows errors and tells them to its log, whose words quote
tokens and recipients. Of those only the status is passed on. Mail goes a way of its own (mail.py).
"""

from __future__ import annotations

import re
from typing import Final

from apprise import NotifyFormat, NotifyType
from apprise.plugins.email import NotifyEmail

from titrator.notify.address import faults, listening, opened, redacted
from titrator.notify.base import Message, NotSent, Unacceptable
from titrator.notify.mail import send_mail

_STATUS: Final = re.compile(r"error=(\d{3})\b")


class AppriseChannel:
    """The service or the mailboxes that an address names; raises Unacceptable where it is not accepted.

    `timeout_seconds` is for each step of a connection, not for the whole.
    """

    def __init__(self, address: str, timeout_seconds: float = 15) -> None:
        if found := faults(address, "channel"):
            raise Unacceptable(found)
        self._address = address
        self._timeout_seconds = timeout_seconds

    def __repr__(self) -> str:
        return f"AppriseChannel({redacted(self._address)})"

    def send(self, message: Message) -> None:
        """Send a message as plain text. Raises NotSent."""
        # A plugin remembers its last send, waits before the next and is not made for threads: each send has its own.
        plugin = opened(self._address)
        if plugin is None:
            raise NotSent("the address is not understood")
        if isinstance(plugin, NotifyEmail):
            send_mail(plugin, message, self._timeout_seconds)
            return
        plugin.socket_connect_timeout = plugin.socket_read_timeout = self._timeout_seconds
        with listening() as heard:
            try:
                sent = plugin.notify(
                    message.body,
                    title=" ".join(message.subject.split()),
                    notify_type=NotifyType.INFO,
                    body_format=NotifyFormat.TEXT,
                )
            except Exception:  # noqa: BLE001 -- a plugin may stumble over any answer; what it says may quote a token
                raise NotSent("the answer of the service was not understood") from None
        if not sent:
            raise NotSent(_reason(heard))


def _reason(heard: list[str]) -> str:
    """Why a service was not told, by what Apprise said of it, without its words."""
    told = "\n".join(heard)
    if status := _STATUS.search(told):
        return f"the service answered {status[1]}"
    return "the service could not be reached" if "onnection" in told else "the service did not take it"
