"""Deadlines: how long a whole send may take, whatever the other side does.

The timeouts of sockets are for one step each; a server that sends a byte now and then is never late by them. So the
connections of a send are cut when its time is over. The look-up of a name cannot be cut; it has the limits of the
computer's resolver.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from typing import Self


class Deadline:
    """The time that a send has, from when it is entered. Connections that are made by it or guarded are cut then.

    `passed` says whether it is over: what was read of a connection that was cut is not to be believed.
    """

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._seconds = seconds
        self._ends = 0.0
        self._lock = threading.Lock()
        self._guarded: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._ends = time.monotonic() + self._seconds
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
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
