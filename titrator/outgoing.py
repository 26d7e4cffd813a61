"""Calls that go out: trusted as this computer trusts, over HTTP as their URL says and nothing else, and ended in time.

The timeouts of sockets are for one step each; a server that sends a byte now and then is never late by them. So the
connections of a call are cut when its time is over, be it while they are made, in the headers or in the body. The
look-up of a name cannot be cut; it has the limits of the computer's resolver.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from contextlib import suppress
from contextvars import ContextVar, Token
from typing import Final, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.response import HTTPResponse

#: Of the call that this thread is about.
_DEADLINE: Final[ContextVar[Deadline]] = ContextVar("_DEADLINE")


class Deadline:
    """The time that a call has, from when it is entered. Connections that are made by it or guarded are cut then.

    Those of the sessions of this module that are used within it, in its thread, are.

    `passed` says whether it is over: what was read of a connection that was cut is not to be believed.
    """

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._seconds = seconds
        self._ends = 0.0
        self._lock = threading.Lock()
        self._guarded: list[socket.socket] = []
        self._within: Token[Deadline]
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._ends = time.monotonic() + self._seconds
        self._within = _DEADLINE.set(self)
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        _DEADLINE.reset(self._within)
        self._timer.cancel()
        with self._lock:
            for one in self._guarded:
                one.close()
            self._guarded.clear()

    def connect(self, host: str, port: int, timeout_seconds: float) -> socket.socket:
        """A guarded connection to the first address of a host that takes one. Raises OSError, or TimeoutError."""
        failed: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            left = self._ends - time.monotonic()
            if left <= 0:
                raise TimeoutError
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(min(timeout_seconds, left))
                made.connect(address)
                made.settimeout(timeout_seconds)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.guard(made)
            except OSError as error:
                made.close()
                failed = error
            else:
                return made
        raise failed

    def guard(self, connection: socket.socket) -> None:
        """Cut a connection when the time is over. Raises TimeoutError if it is over already."""
        # A second descriptor of the same connection: the first is another's once TLS has begun, or may be closed.
        own = socket.socket(fileno=os.dup(connection.fileno()))
        with self._lock:
            if not self.passed:
                self._guarded.append(own)
                return
        own.close()
        raise TimeoutError

    def _cut(self) -> None:
        with self._lock:
            self.passed = True
            for one in self._guarded:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)


def new_session() -> requests.Session:
    """A session without proxies and logins of the environment: the URL says it all. Close it after use.

    What it is used for must be within a Deadline.
    """
    session = requests.Session()
    session.trust_env = False
    adapter = _Trusting()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class _Plain(HTTPConnection):
    """A connection under the deadline of the call that it is used for."""

    def _new_conn(self) -> socket.socket:
        return _connected(self)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as in urllib3 itself
        """The answer; a connection that was kept is guarded anew."""
        _guard(self)
        return super().getresponse()


class _Encrypted(HTTPSConnection):
    """The same, encrypted."""

    def _new_conn(self) -> socket.socket:
        return _connected(self)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as in urllib3 itself
        """The answer; a connection that was kept is guarded anew."""
        _guard(self)
        return super().getresponse()


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _EncryptedPool(HTTPSConnectionPool):
    ConnectionCls = _Encrypted


class _Trusting(HTTPAdapter):
    """Trusts what this computer trusts, too: the servers of a hospital have certificates of its own authority."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: object) -> None:
        """Make the pool of connections of ours, with the trust store of the system."""
        super().init_poolmanager(connections, maxsize, block, ssl_context=ssl.create_default_context(), **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _EncryptedPool}


def _connected(connection: HTTPConnection) -> socket.socket:
    """The socket of a new connection. Raises the errors of urllib3."""
    seconds = connection.timeout
    try:
        return _DEADLINE.get().connect(connection.host, connection.port, float(seconds or 0))
    except TimeoutError:
        raise ConnectTimeoutError(connection, "timed out") from None
    except OSError:
        raise NewConnectionError(connection, "not connected") from None


def _guard(connection: HTTPConnection) -> None:
    if connection.sock is not None:
        _DEADLINE.get().guard(connection.sock)
