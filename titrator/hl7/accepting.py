"""The first process of the MLLP server: it accepts the connections of laboratories, and others serve them.

Each connection is handed to the process that has fewest, over a line (a pair of sockets) on which that one tells when a
connection is over. So the limits hold however many processes there are. The first one has no database open.

    a process dies              its connections are gone, their peers connect again; another takes its place
    this one is told to end     nobody is accepted any more; the others end as soon as what has come is acknowledged
    this one dies               their lines end, and so do they

On a line all is said in records of one length: from here an address, with the connection that came from there; from
there an address of which a connection is over, READY first of all, and LEAVING.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import selectors
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

import structlog

from titrator.hl7.mllp import CLOSES_WITHIN, STOPS_WITHIN, Terms, work
from titrator.hl7.receiving import senders_at
from titrator.hl7.records import LEAVING, LENGTH, READY, hand_over, told
from titrator.workflow.feeds import Feed
from titrator.workflow.visit import Services

_STOPS: Final = (signal.SIGTERM, signal.SIGINT)
#: How long after one process died another is started: not to do nothing else where none can live.
_AGAIN_AFTER: Final = 1.0  # seconds
#: How long nobody is accepted where that failed, as with too many open files.
_PAUSES_FOR: Final = 0.25
#: How long a peer waits for a place where there is none.
_WAITS_FOR: Final = 0.5
_NO_PLACE: Final = "too many connections"
_FORKED: Final = multiprocessing.get_context("fork")


class Laboratory(NamedTuple):
    """What processes need to receive: the services, made by the one that uses them, and the feeds that there are."""

    services: Callable[[], Services]
    feeds: tuple[Feed, ...]


def serve(laboratory: Laboratory, listener: socket.socket, terms: Terms, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called once peers are served. The caller has no database open."""
    sys.stdout.flush()  # or each process would write what waits
    gc.freeze()  # or a collection in another process would copy all that they have in common
    with _First(laboratory, listener, terms) as first:
        first.run(ready)


class _Other:
    """A process that serves connections: its line, and whose connections it has."""

    def __init__(self, process: multiprocessing.process.BaseProcess, line: socket.socket) -> None:
        self.process = process
        self.line = line
        self.ready = False
        self.held: Counter[str] = Counter()
        self.heard = b""


class _Peer(NamedTuple):
    """A peer that has connected, and until when it waits for a place."""

    socket: socket.socket
    address: str
    until: float


class _First:
    """The process that accepts."""

    def __init__(self, laboratory: Laboratory, listener: socket.socket, terms: Terms) -> None:
        self._laboratory = laboratory
        self._listener = listener
        self._terms = terms
        self._others: list[_Other] = []
        self._coming: list[_Peer] = []
        self._stopping = False
        self._start_at = self._accept_at = 0.0
        self._accepts = False
        self._selector = selectors.DefaultSelector()
        self._woken, self._wakes = socket.socketpair()

    def __enter__(self) -> _First:
        """Hear signals."""
        for one in (self._woken, self._wakes, self._listener):
            one.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._hear_signals)
        self._before = signal.set_wakeup_fd(self._wakes.fileno())
        self._handlers = [signal.signal(one, self._stop) for one in _STOPS]
        return self

    def __exit__(self, *_: object) -> None:
        """Have all others end, and wait for them."""
        self._listener.close()
        for peer in self._coming:
            peer.socket.close()
        for other in self._others:
            with suppress(OSError):
                other.line.shutdown(socket.SHUT_RDWR)  # nobody reads here any more, so nobody may wait to be read
            other.process.terminate()  # which ends one that still waits for the database, too
        until = time.monotonic() + STOPS_WITHIN + 2 * CLOSES_WITHIN
        for other in self._others:
            _await_end(other, until - time.monotonic())
        signal.set_wakeup_fd(self._before)
        for one, handler in zip(_STOPS, self._handlers, strict=True):
            signal.signal(one, handler)
        self._selector.close()
        self._woken.close()
        self._wakes.close()

    def run(self, ready: Callable[[], None]) -> None:
        """Accept until told to end."""
        begun = False
        while not self._stopping:
            now = time.monotonic()
            if now >= self._start_at:
                self._start_missing()
            self._accept_or_not(now)
            for key, _ in self._selector.select(_PAUSES_FOR):
                key.data()
            self._let_in()
            if not begun and all(other.ready for other in self._others) and self._others:
                begun = True
                ready()

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _hear_signals(self) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(4096)

    def _start_missing(self) -> None:
        while len(self._others) < self._terms.processes:
            try:
                other = self._started()
            except OSError as error:  # no room for a process, or for files: those that are there go on
                structlog.get_logger().error("mllp-process-not-started", why=error.strerror)
                self._start_at = time.monotonic() + _AGAIN_AFTER
                return
            self._others.append(other)
            self._selector.register(other.line, selectors.EVENT_READ, partial(self._hear, other))

    def _started(self) -> _Other:
        """Another process; raises OSError."""
        mine, theirs = socket.socketpair()
        process = _FORKED.Process(target=self._begin, args=(mine, theirs), name="mllp")
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)  # one that came before it can be heard would be lost
        try:
            process.start()
        except OSError:
            mine.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
            theirs.close()
        mine.setblocking(False)
        return _Other(process, mine)

    def _begin(self, other_end: socket.socket, line: socket.socket) -> None:
        """Be one of the others, from the start of its process to its end."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C comes to all processes, and this one hears of it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
        self._selector.close()
        # Or it would keep lines open when the first process has died, its own among them, and peers that are let go.
        lines, peers = [other.line for other in self._others], [peer.socket for peer in self._coming]
        for one in (self._listener, self._woken, self._wakes, other_end, *lines, *peers):
            one.close()
        try:
            work(self._laboratory.services(), line, self._terms)
        except Exception:  # noqa: BLE001 (told without what it says, which may be of patients)
            structlog.get_logger().exception("mllp-process")
            os._exit(1)

    def _hear(self, other: _Other) -> None:
        """Hear what one of the others says; that it is no more, if so."""
        try:
            heard = other.line.recv(64 * LENGTH)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        if not heard:
            self._lost(other)
            return
        other.heard += heard
        while len(other.heard) >= LENGTH:
            said, other.heard = told(other.heard[:LENGTH]), other.heard[LENGTH:]
            if said == READY:
                other.ready = True
                structlog.get_logger().info("mllp-process-ready", process=other.process.pid)
            elif said == LEAVING:
                other.ready = False
            else:
                other.held -= Counter((said,))

    def _lost(self, other: _Other) -> None:
        """Do without a process that has ended, until another takes its place."""
        self._selector.unregister(other.line)
        _await_end(other, CLOSES_WITHIN)
        self._others.remove(other)
        self._start_at = time.monotonic() + _AGAIN_AFTER
        if other.process.exitcode or not self._stopping:
            structlog.get_logger().error("mllp-process-ended", process=other.process.pid, code=other.process.exitcode)

    def _accept_or_not(self, now: float) -> None:
        """Listen only while there is somebody who serves: until then peers wait."""
        accepts = now >= self._accept_at and any(other.ready for other in self._others)
        if accepts and not self._accepts:
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        elif self._accepts and not accepts:
            self._selector.unregister(self._listener)
        self._accepts = accepts

    def _accept(self) -> None:
        try:
            peer, (address, *_) = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # too many open files, or a peer that is gone already
            structlog.get_logger().error("mllp-accept", why=error.strerror)
            self._accept_at = time.monotonic() + _PAUSES_FOR
            return
        self._coming.append(_Peer(peer, str(address), time.monotonic() + _WAITS_FOR))

    def _let_in(self) -> None:
        """Hand on who may come, and refuse the others. Who comes as there is no place waits a little for one.

        A laboratory that hangs up and connects again may be faster than the news that it hung up.
        """
        waiting, self._coming = self._coming, []
        now = time.monotonic()
        for peer in waiting:
            why = self._refusal(peer.address)
            if why == _NO_PLACE and now < peer.until and len(self._coming) < self._terms.connections:
                self._coming.append(peer)
                continue
            with peer.socket:
                if (why := why or self._handed_on(peer)) is not None:
                    structlog.get_logger().warning("mllp-refused", address=peer.address, why=why)

    def _refusal(self, address: str) -> str | None:
        """Why a peer may not connect. One address never holds more than half, for others to have a place."""
        if not senders_at(self._laboratory.feeds, address):
            return "no feed comes from there"
        held = sum((other.held for other in self._others), Counter[str]())
        if held.total() >= self._terms.connections or held[address] >= (self._terms.connections + 1) // 2:
            return _NO_PLACE
        return None

    def _handed_on(self, peer: _Peer) -> str | None:
        """Have one of the others serve a peer, who has fewest and can take it; why not, if nobody can."""
        for other in sorted((one for one in self._others if one.ready), key=lambda one: one.held.total()):
            try:
                hand_over(other.line, peer.address, peer.socket.fileno())
            except OSError:  # it is so busy that its line is full, or is no more
                continue
            other.held[peer.address] += 1
            return None
        self._accept_at = time.monotonic() + _PAUSES_FOR
        return "nobody serves now"


def _await_end(other: _Other, seconds: float) -> None:
    """Wait for the end of a process; one that does not end in time is killed."""
    other.process.join(max(0.0, seconds))
    if other.process.is_alive():
        structlog.get_logger().error("mllp-process-killed", process=other.process.pid)
        other.process.kill()
        other.process.join()
    other.line.close()
