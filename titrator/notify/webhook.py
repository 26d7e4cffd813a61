"""Webhooks to other programs, by Standard Webhooks (https://www.standardwebhooks.com): signed JSON, sent by POST.

The receiver knows a repeat by its `webhook-id`; the body is the same each time, the `webhook-timestamp` and with it the
signature are those of the attempt.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import json
import re
import secrets
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from hashlib import sha256
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from typing import Final

import requests
from urllib3.exceptions import HTTPError

from titrator.notify.address import faults, redacted
from titrator.notify.base import Message, NotSent, Unacceptable
from titrator.outgoing import Deadline, new_session

_PREFIX: Final = "whsec_"
_MOST_SECRETS: Final = 4
_MOST_BYTES_READ: Final = 1024
_DAY_SECONDS: Final = 86400
_TOO_LONG: Final = "the receiver took too long"


def new_secret() -> str:
    """A secret of 32 bytes by chance, in the form in which receivers take it."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def secret_faults(secret: str) -> list[str]:
    """Why a secret, or several separated by spaces, is not accepted, in words that do not quote it."""
    each = secret.split()
    if not 1 <= len(each) <= _MOST_SECRETS:
        return [f"must be 1 to {_MOST_SECRETS} secrets, separated by spaces"]
    fine = all(part.startswith(_PREFIX) and 24 <= len(_key(part)) <= 64 for part in each)
    return [] if fine else [f"must be {_PREFIX} and 24 to 64 bytes in base64"]


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The signature of a body by one key."""
    mac = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, sha256)
    return f"v1,{base64.b64encode(mac.digest()).decode()}"


class Webhook:
    """A receiver at a URL. Several secrets, separated by spaces, sign all at once while one takes the other's place.

    Raises Unacceptable where the URL or the secret is not accepted. `timeout_seconds` is for the connection and for
    each wait for the receiver's answer, `deadline_seconds` for all of a send.
    """

    def __init__(self, url: str, secret: str, timeout_seconds: float = 10, deadline_seconds: float = 30) -> None:
        if found := faults(url, "webhook") + secret_faults(secret):
            raise Unacceptable(found)
        self._url = url
        self._keys: Sequence[bytes] = [_key(part) for part in secret.split()]
        self._timeout_seconds = timeout_seconds
        self._deadline_seconds = deadline_seconds
        self._own = threading.local()

    def __repr__(self) -> str:
        return f"Webhook({redacted(self._url)})"

    def send(self, message: Message) -> None:
        """Post the event of a message; returns when the receiver has answered 2xx. Raises NotSent."""
        body = _body(message)
        with Deadline(self._deadline_seconds) as deadline:
            try:
                response = self._posted(message, body)
            except NotSent:
                if deadline.passed:
                    raise NotSent(_TOO_LONG) from None
                raise
            with response:
                if deadline.passed:  # headers that were cut off look like headers
                    raise NotSent(_TOO_LONG)
                # A short answer read to its end leaves the connection fit for the next message. It says nothing to us,
                # and its status counts even if the rest of it does not come.
                with contextlib.suppress(HTTPError, OSError):
                    response.raw.read1(_MOST_BYTES_READ)
                _judge(response, message.at)

    def _posted(self, message: Message, body: bytes) -> requests.Response:
        """The answer of the receiver, its body still to be read. Raises NotSent where there was none."""
        try:
            return self._session().post(
                self._url,
                data=body,
                headers=self._headers(message, body),
                timeout=self._timeout_seconds,
                allow_redirects=False,
                stream=True,
            )
        except requests.Timeout:
            raise NotSent("the receiver did not answer in time") from None
        except requests.exceptions.SSLError:
            raise NotSent("the certificate of the receiver is not trusted") from None
        except (requests.RequestException, HTTPError, UnicodeError):
            raise NotSent("the receiver could not be reached, or broke off") from None

    def _headers(self, message: Message, body: bytes) -> dict[str, str]:
        timestamp = int(message.at.timestamp())
        return {
            "content-type": "application/json",
            "user-agent": _user_agent(),
            "webhook-id": message.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(signature(key, message.id, timestamp, body) for key in self._keys),
        }

    def _session(self) -> requests.Session:
        """The session of this thread: sessions are not made for several."""
        session: requests.Session | None = getattr(self._own, "session", None)
        if session is None:
            session = self._own.session = new_session()
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        return session


def _key(secret: str) -> bytes:
    """The bytes of a secret; none if it is not base64."""
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _body(message: Message) -> bytes:
    return json.dumps(
        message.event, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def _judge(response: requests.Response, now: datetime) -> None:
    status = response.status_code
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise NotSent(f"the receiver answered {status}, a redirect, which is not followed")
    after = _seconds(response.headers.get("retry-after", ""), now) if status in {429, 503} else None
    raise NotSent(f"the receiver answered {status}", lasting=status == requests.codes.gone, retry_after=after)


def _seconds(after: str, now: datetime) -> int | None:
    """The seconds of a Retry-After, which may be a number or a date; a day at most."""
    if re.fullmatch(r"[0-9]{1,9}", after):
        return min(int(after), _DAY_SECONDS)
    try:
        until = parsedate_to_datetime(after)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0, min(int((until - now).total_seconds()), _DAY_SECONDS))


@cache
def _user_agent() -> str:
    return f"titrator/{version('titrator')}"
