"""What the tests of the channels share: a message, and real servers on this computer that record what reaches them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from titrator.notify.base import Message

SOON = 0.3  # seconds that a channel waits for a server that hangs

DEADLINE = 0.4  # seconds that a send may take where a server drips


@dataclass
class MailServer:
    """A mail server; `answers` says what it answers to a recipient or, under "data", to a mail."""

    port: int = 0
    answers: dict[str, str] = field(default_factory=dict)
    envelopes: list[Envelope] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    @property
    def mails(self) -> list[EmailMessage]:
        """What it took."""
        return [BytesParser(EmailMessage, policy=default).parsebytes(bytes(one.content)) for one in self.envelopes]

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        answer = self.answers.get("data", "250 OK")
        if answer.startswith("250"):
            with self.came:
                self.envelopes.append(envelope)
                self.came.notify_all()
        return answer

    def login(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"p@ss", handled=False)


class Answer:
    """What an HTTP receiver saw of a request, and its connection to answer on."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self.handler = handler
        self.path = handler.path
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.body = handler.rfile.read(int(self.headers.get("content-length", 0)))

    def give(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()
        self.handler.wfile.write(body)

    def raw(self, content: bytes) -> None:
        """Send these bytes and break off."""
        self.handler.wfile.write(content)
        self.handler.close_connection = True


@dataclass
class Receiver:
    """An HTTP receiver; `answer` gives its answers."""

    answer: Callable[[Answer], None] = lambda asked: asked.give(204)
    port: int = 0
    seen: list[Answer] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/token"


def message(
    number: str = "r-17", subject: str = "Count due", body: str = "Zählung ≥ 1 fällig.\nhttps://t.example/7"
) -> Message:
    now = datetime.now(UTC)
    event = {
        "type": "count-due",
        "timestamp": "2026-03-09T08:00:00Z",
        "data": {"number": "7", "days": 3, "to": None, "ß": [True]},
    }
    return Message(id=number, subject=subject, body=body, event=event, at=now)


@contextmanager
def mail_server(
    *, login: bool = False, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> Iterator[MailServer]:
    made, loop = MailServer(), asyncio.new_event_loop()

    def protocol() -> SMTP:
        return SMTP(
            made, hostname="test", loop=loop, tls_context=tls, auth_required=login, auth_require_tls=False,
            authenticator=made.login if login else None,
        )  # fmt: skip

    async def finish() -> None:
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    server = loop.run_until_complete(loop.create_server(protocol, host, 0))
    made.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(finish())
        loop.close()


@contextmanager
def silent_server() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@contextmanager
def dripping_server(*, first: bytes = b"", drip: bytes, heard: bytes = b"") -> Iterator[int]:
    """A port that says `first`, and then `drip` every twentieth second until it is hung up on, or 10 seconds long.

    If `heard` is given, it waits until the client has said a line that holds it before it drips; to other lines it
    answers 250 OK.
    """
    stop = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as lines:
            connection.sendall(first)
            while heard and heard not in (line := lines.readline()):
                if not line:
                    return
                connection.sendall(b"250 OK\r\n")
            for _ in range(200):
                connection.sendall(drip)
                if stop.wait(0.05):
                    return

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            stop.set()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = Answer(self)
            made.seen.append(asked)
            made.connections.add(self.client_address)
            made.answer(asked)

        do_GET = do_PUT = do_POST  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A sender that has gone is no error of the receiver's."""

    server = Server(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.socket.close()
