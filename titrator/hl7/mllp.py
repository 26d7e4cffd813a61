"""A process of the MLLP server: connections that stay open, a message in a frame, its acknowledgement in another.

It is one of several, and is handed its connections by the first process (accepting.py). One thread does all of it: it
reads and writes the connections, and carries out as many messages together as wait; they share a commit. Where several
came at once a moment ago, those that lack are waited for, for less than they would cost by themselves. A peer that is
slow, half or silent holds up nothing but itself, and it is let go after a while:

    without a client certificate     let go at the handshake, where there is TLS
    a frame that does not end        let go when its time, or its size, is over; nothing of it is read
    bytes outside of frames          let go: what the peer means cannot be told
    no frame for long                let go
    acknowledgements are not read    nothing more is read of it, and it is let go when the time of a frame is over

When its line ends, or on SIGTERM, nothing new is read; what has come whole is carried out and acknowledged, then the
connections are closed.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import socket
import ssl
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, cast

import structlog

from titrator.hl7.receiving import Answer, Sender, Unusable, answer_all, senders_at, usable
from titrator.hl7.records import LEAVING, READY, recorded, taken_over
from titrator.titration.errors import Fault
from titrator.workflow.accounts import actor_of
from titrator.workflow.errors import Unauthorised
from titrator.workflow.visit import Services

BEGINS: Final = b"\x0b"
ENDS: Final = b"\x1c"
_RETURN: Final = 0x0D
#: Messages that share a commit at the most.
_TOGETHER: Final = 64
#: How long at the most is waited for as many messages as there were a moment ago.
_GATHERS_FOR: Final = 0.001  # seconds
#: So many messages of a connection wait before nothing more is read of it.
_WAITING: Final = 16
_LOOKS_EVERY: Final = 0.25  # seconds
STOPS_WITHIN: Final = 30.0
CLOSES_WITHIN: Final = 2.0


class Terms(NamedTuple):
    """What a peer may do: how many connections there are, how long one may be silent, a frame take, and be.

    So many `processes` serve them.
    """

    tls: ssl.SSLContext | None = None
    processes: int = 2
    connections: int = 64
    idle_seconds: float = 3600
    frame_seconds: float = 30
    frame_bytes: int = 1_000_000

    @classmethod
    def of(cls, files: tuple[Path, Path, Path] | None, **limits: int) -> Terms:
        """Terms with TLS if there are files of it: certificate, key, authority of the client certificates.

        Raises OSError, with the name of the file.
        """
        return cls(None if files is None else _context(*files), **limits)


def _context(certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    for file in (certificate, key, authority):
        file.read_bytes()
    try:
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(authority)
    except ssl.SSLError as error:
        said = f"not a certificate with its key, or not one of an authority: {error.reason}"
        raise OSError(error.errno, said, str(certificate)) from None
    return context


def unusable(services: Services) -> list[Fault]:
    """Why feeds cannot be received, by name; that there are none at all, too."""
    faults = [] if services.feeds else [Fault("hl7_feeds", "there is none: docs/hl7.md tells how one is set up")]
    for feed in services.feeds:
        try:
            actor = actor_of(services, feed.account)
            with services.store.reading() as session:
                usable(session, feed, actor)
        except Unauthorised:
            faults.append(Fault(feed.name, f"{feed.account} is no active account of the role ehr"))
        except Unusable as error:
            faults.append(Fault(feed.name, str(error)))
    return faults


def work(services: Services, line: socket.socket, terms: Terms) -> None:
    """Serve the connections that come over a line, until it ends, or SIGTERM."""
    gc.freeze()  # what is there by now stays: it need not be looked through for what could be let go
    asyncio.run(_Server(services, line, terms).run())


class _Server:
    """All connections, and what they bring."""

    def __init__(self, services: Services, line: socket.socket, terms: Terms) -> None:
        self.services = services
        self.line = line
        self.terms = terms
        self.stopping = asyncio.Event()
        self._open: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[tuple[_Connection, bytes]] = deque()
        self._expected = 1
        self._some = asyncio.Event()
        self._complete = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stopping.set)
        loop.add_reader(self.line, self._take_over)
        tasks = [loop.create_task(step) for step in (self._carry_out(), self._watch())]
        self._tell(READY)
        await self.stopping.wait()
        loop.remove_reader(self.line)
        self._tell(LEAVING)
        while self._take_over():
            pass
        for connection in list(self._open):
            connection.read_no_more()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), STOPS_WITHIN)
        await self._close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _close(self) -> None:
        """Close what is open, once what was written is sent; what takes long is cut off."""
        for connection in list(self._open):
            connection.transport.close()
        for _ in range(int(CLOSES_WITHIN / 0.05)):
            if not self._open:
                return
            await asyncio.sleep(0.05)
        for connection in list(self._open):
            connection.transport.abort()
        await asyncio.sleep(0)

    def _take_over(self) -> bool:
        """Take a connection over, if one is on the line; the line may be at its end, too."""
        try:
            found = taken_over(self.line)
        except BlockingIOError:
            return False
        except OSError:
            found = None
        if found is None:
            self.stopping.set()
            return False
        address, file = found
        if file is None:
            structlog.get_logger().error("mllp-accept", why=os.strerror(errno.EMFILE))
            self._tell(address)
            return True
        peer = socket.socket(fileno=file)
        peer.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._open_one(peer, address))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return True

    def _tell(self, said: str) -> None:
        """Tell the first process, if it is still there."""
        with suppress(OSError):
            self.line.sendall(recorded(said))

    async def _open_one(self, peer: socket.socket, address: str) -> None:
        connection = _Connection(self, address, Sender(senders_at(self.services.feeds, address)))
        tls = self.terms.tls
        limit = None if tls is None else self.terms.frame_seconds
        try:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection, peer, ssl=tls, ssl_handshake_timeout=limit
            )
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            structlog.get_logger().warning("mllp-no-handshake", address=address, why=reason)
            peer.close()
            if connection not in self._open and not connection.was_open:
                self._tell(address)

    def opened(self, connection: _Connection) -> None:
        """Hear that a connection is open."""
        self._open.add(connection)
        if self.stopping.is_set():
            connection.read_no_more()

    def closed(self, connection: _Connection) -> None:
        """Hear that a connection is closed."""
        self._open.discard(connection)
        self._tell(connection.address)

    def submit(self, connection: _Connection, frame: bytes) -> None:
        """Have a message carried out."""
        self._waiting.append((connection, frame))
        if len(self._waiting) >= self._expected:
            self._complete.set()
        self._idle.clear()
        self._some.set()

    async def _carry_out(self) -> None:
        """Carry out what waits, some at a time, in the order in which it came."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._waiting:
                await self._gather()
                some = [self._waiting.popleft() for _ in range(min(_TOGETHER, len(self._waiting)))]
                answers = self._answers(some)
                self._expected = min(len(some) + len(self._waiting), _TOGETHER)
                for (connection, _), answer in zip(some, answers, strict=True):
                    connection.answer(answer)
                await asyncio.sleep(0)  # what has come meanwhile is read, whoever has sent it
            self._idle.set()

    async def _gather(self) -> None:
        """Wait for as many messages as there were a moment ago, not for long."""
        self._complete.clear()
        if len(self._waiting) < self._expected:
            with suppress(TimeoutError):
                async with asyncio.timeout(_GATHERS_FOR):
                    await self._complete.wait()

    def _answers(self, some: list[tuple[_Connection, bytes]]) -> list[Answer | None]:
        """The acknowledgements of some messages; None where not even that can be told."""
        try:
            return [*answer_all(self.services, [(one.sender, frame) for one, frame in some])]
        except Exception:  # noqa: BLE001 (whatever it is, the others must be served, and who sent it sends it again)
            structlog.get_logger().exception("mllp-unforeseen")
            return [None] * len(some)

    async def _watch(self) -> None:
        """Let go of peers whose time is over. Time in which nothing could be read, for the store took it, is not."""
        loop = asyncio.get_running_loop()
        slept_at = loop.time()
        while True:
            await asyncio.sleep(_LOOKS_EVERY)
            now = loop.time()
            late, slept_at = now - slept_at - _LOOKS_EVERY, now
            for connection in list(self._open):
                if late > _LOOKS_EVERY:
                    connection.excuse(late)
                connection.look(now)


class _Connection(asyncio.Protocol):
    """A peer's connection: frames in, acknowledgements out, in order."""

    def __init__(self, server: _Server, address: str, sender: Sender) -> None:
        self.address, self.sender = address, sender
        self.was_open = False
        self._server = server
        self._terms = server.terms
        self._now = asyncio.get_running_loop().time
        self._buffer = bytearray()
        self._looked = 1
        self._pending = 0
        self._last = self._now()
        self._frame_began: float | None = None
        self._write_stuck: float | None = None
        self._reads = True
        self._may_read = True
        self._ends = self._was_let_go = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self.transport = cast(asyncio.Transport, transport)
        self.was_open = True
        self._last = self._now()
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed; what waits to be carried out is carried out all the same."""
        del exc
        self._server.closed(self)

    def eof_received(self) -> bool:
        """It sends no more; whether it stays open until what it brought is acknowledged, which TLS does not allow."""
        self._ends, self._may_read = True, False
        return bool(self._pending) and self._terms.tls is None

    def data_received(self, data: bytes) -> None:
        """Take what has come, and have each whole frame carried out."""
        if self._was_let_go:
            return
        self._buffer += data
        self._last = self._now()
        self._take()

    def _take(self) -> None:
        """Have whole frames carried out, no more than may wait: one read may bring thousands of small ones."""
        while self._buffer and self._pending < _WAITING and not self.transport.is_closing() and self._next_frame():
            pass
        self._balance()

    def _next_frame(self) -> bool:
        """Take a frame out of the buffer; whether there was a whole one."""
        buffer = self._buffer
        if buffer[0] != BEGINS[0]:
            if buffer[0] not in b"\r\n":
                self._let_go("bytes outside of a frame")
                return False
            del buffer[0]
            return True
        if self._frame_began is None:
            self._frame_began = self._last
        end = buffer.find(ENDS, self._looked)
        if buffer.find(BEGINS, self._looked, None if end < 0 else end) >= 0:
            self._let_go("a frame that begins within another")
            return False
        if (len(buffer) if end < 0 else end) > self._terms.frame_bytes:
            self._let_go("a frame that is too long")
            return False
        if end < 0 or end + 1 >= len(buffer):
            self._looked = len(buffer) if end < 0 else end
            return False
        if buffer[end + 1] != _RETURN:
            self._let_go("a frame that does not end as it should")
            return False
        frame = bytes(buffer[1:end])
        del buffer[: end + 2]
        self._looked, self._frame_began = 1, None
        self._pending += 1
        self._server.submit(self, frame)
        return True

    def answer(self, answer: Answer | None) -> None:
        """Send an acknowledgement; where there is none, close, so that the message is sent again."""
        self._pending -= 1
        self._last = self._now()
        if self.transport.is_closing():
            return
        if answer is None:
            self.transport.abort()
            return
        self.transport.write(BEGINS + answer.sent + ENDS + b"\r")
        self._take()
        if self._ends and not self._pending:
            self.transport.close()

    def read_no_more(self) -> None:
        """Read nothing more; what has come whole is carried out."""
        self._may_read = False
        self._balance()

    def pause_writing(self) -> None:
        """Its acknowledgements are not read."""
        self._write_stuck = self._now()
        self._balance()

    def resume_writing(self) -> None:
        """They are read again."""
        self._write_stuck = None
        self._balance()

    def _balance(self) -> None:
        """Read on only while it does not wait for too much."""
        if self.transport.is_closing():
            return
        reads = self._may_read and self._write_stuck is None and self._pending < _WAITING
        if reads and not self._reads:
            self.transport.resume_reading()
            if self._frame_began is not None:  # while we did not read, it could not go on
                self._frame_began = self._now()
        elif self._reads and not reads:
            self.transport.pause_reading()
        self._reads = reads

    def excuse(self, seconds: float) -> None:
        """Give it some time more."""
        self._last += seconds
        if self._frame_began is not None:
            self._frame_began += seconds
        if self._write_stuck is not None:
            self._write_stuck += seconds

    def look(self, now: float) -> None:
        """Let it go if its time is over."""
        if self._write_stuck is not None and now - self._write_stuck > self._terms.frame_seconds:
            self._let_go("acknowledgements are not read", at_once=True)
        elif self._reads and self._frame_began is not None and now - self._frame_began > self._terms.frame_seconds:
            self._let_go("a frame that does not end")
        elif not self._pending and now - self._last > self._terms.idle_seconds:
            self._let_go("silent for too long")

    def _let_go(self, why: str, *, at_once: bool = False) -> None:
        """Close it: once what it brought whole is acknowledged, unless its acknowledgements are the trouble."""
        if self._ends:
            return
        structlog.get_logger().warning("mllp-let-go", address=self.address, why=why)
        self._ends, self._was_let_go, self._may_read, self._frame_began = True, True, False, None
        self._buffer.clear()
        if at_once or not self._pending:
            self.transport.abort()
        else:
            self._balance()
