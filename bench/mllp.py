"""The bench of HL7 v2 over MLLP: messages a second, beside a bare MLLP echo that does one durable SQLite insert each.

Each message brings a platelet count of a patient who has a year of them; each is of another order. The echo decodes a
frame, inserts it durably and answers a constant of the same size, a thread for each connection. Both have the same
client with as many connections, each with one message on its way, and run in turn. The goal is of what the program can
take in a second, so of as many connections as one address may have; what eight come to is told beside it.
"""

from __future__ import annotations

import os
import random
import re
import selectors
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

from bench.figures import at_least
from bench.service import CONNECTIONS, FIRST, SECONDS, WEEKS, Place, _visit, fill, measure
from titrator.assembly import make_services
from titrator.hl7.mllp import Terms
from titrator.settings import Settings
from titrator.store.records import Clinic
from titrator.workflow import accounts
from titrator.workflow.visit import leave

MANY = int(os.environ.get("BENCH_PATIENTS", "10000"))
#: An address has half of the connections.
FULL = Terms().connections // 2
FEED = """[[hl7_feeds]]
name = "laboratory"
account = "bench-lis"
peers = ["127.0.0.1"]
[[hl7_feeds.identifiers]]
authority = "HOSP"
system = "urn:bench"
"""
BARE = """
import os, socketserver, sqlite3, threading
answer = b"\\x0bMSH|^~\\\\&|" + b"x" * int(os.environ["SIZE"]) + b"\\rMSA|AA|1\\r\\x1c\\r"
lock = threading.Lock()
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        connection = sqlite3.connect(os.environ["FILE"], isolation_level=None, timeout=30)
        connection.execute("pragma synchronous = full")
        waiting = b""
        while more := self.request.recv(65536):
            waiting += more
            while b"\\x1c\\r" in waiting:
                frame, _, waiting = waiting.partition(b"\\x1c\\r")
                with lock:
                    connection.execute("insert into messages values (?)", (frame[1:].decode(),))
                self.request.sendall(answer)
class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
with Server(("127.0.0.1", 0), Echo) as server:
    print(f"port {server.server_address[1]},", flush=True)
    server.serve_forever()
"""


class Client:
    """Some connections to a port, each with one frame on its way."""

    def __init__(self, port: int, connections: int) -> None:
        self.sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        for one in self.sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Hang up."""
        for one in self.sockets:
            one.close()

    def run(self, make: Callable[[], bytes], seconds: float) -> tuple[float, list[float]]:
        """Messages a second, and how long each took."""
        selector = selectors.DefaultSelector()
        began: dict[int, float] = {}
        for one in self.sockets:
            selector.register(one, selectors.EVENT_READ, bytearray())
            began[one.fileno()] = time.perf_counter()
            one.sendall(make())
        took: list[float] = []
        start, open_ones = time.perf_counter(), len(self.sockets)
        while open_ones:
            for key, _ in selector.select(5):
                one, buffer = key.fileobj, key.data
                if not (more := one.recv(65536)):  # type: ignore[union-attr]
                    raise RuntimeError("a connection was closed")
                buffer += more
                if not buffer.endswith(b"\x1c\r"):
                    continue
                if b"\rMSA|AA|" not in buffer:
                    raise RuntimeError(buffer.decode())
                buffer.clear()
                now = time.perf_counter()
                took.append(now - began[one.fileno()])  # type: ignore[union-attr]
                if now - start > seconds:
                    open_ones -= 1
                else:
                    began[one.fileno()] = now  # type: ignore[union-attr]
                    one.sendall(make())  # type: ignore[union-attr]
        selector.close()
        return len(took) / (time.perf_counter() - start), took


def messages(place: Place) -> Callable[[], bytes]:
    """A maker of messages, each a count of some patient on some day, of an order of its own."""
    chance, made = random.Random(3), iter(range(10**9))

    def message() -> bytes:
        number, patient = next(made), chance.choice(place.patients)
        day = (FIRST + timedelta(days=chance.randrange(7 * WEEKS))).strftime("%Y%m%d")
        segments = (
            f"MSH|^~\\&|LIS|LAB|TITRATOR|CLINIC|{day}081500+0000||ORU^R01^ORU_R01|{number}|P|2.5.1||||||UNICODE UTF-8",
            f"PID|1||{patient}^^^HOSP^MR||Bench^Ada||19600501|F",
            f"OBR|1||{number}^LIS|58410-2^CBC^LN|||{day}080000+0000",
            f"OBX|1|NM|777-3^Platelets^LN||{chance.randrange(60, 100)}|10*3/uL|150-400|L|||F|||{day}080000+0000",
        )
        return b"\x0b" + "".join(f"{one}\r" for one in segments).encode() + b"\x1c\r"

    return message


def register(place: Place) -> None:
    """Make the feed known: an account, the configuration, and a number of each patient."""
    services = make_services(Settings(instance=place.folder))
    with services.store.writing() as session:
        visit = _visit(services, session)
        clinics = [clinic.id for clinic in session.find(Clinic)]
        body = {"username": "bench-lis", "display_name": "bench", "role": "ehr", "clinics": clinics}
        accounts.add_account(visit, body)
        leave(visit, session, visit.entries)
    services.store.close()
    with sqlite3.connect(place.folder / "titrator.db") as connection:
        rows = (("urn:bench", name, name) for name in place.patients)
        connection.executemany("insert into identifiers (system, value, patient_id) values (?, ?, ?)", rows)
    connection.close()
    (place.folder / "config.toml").write_text(FEED)


@contextmanager
def serving(command: list[str], environment: dict[str, str], log: Path) -> Iterator[int]:
    """A server that says on which port it listens."""
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        assert process.stdout is not None
        found = re.search(r"port (\d+),", process.stdout.readline())
        if found is None:
            raise RuntimeError(log.read_text())
        yield int(found[1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


def main() -> None:
    """Everything, at the size of BENCH_PATIENTS or 10,000."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as name:
        folder = Path(name)
        place = fill(folder / "ours", MANY)
        register(place)
        with sqlite3.connect(folder / "bare.db") as made:
            made.execute("pragma journal_mode = wal")
            made.execute("create table messages (text text)")
        made.close()
        (folder / "bare.py").write_text(BARE)
        ours = [sys.executable, "-c", "from titrator.cli import run; run()", "mllp", "--port", "0"]
        settings = {"TITRATOR_INSTANCE": str(place.folder)}
        bare = {"FILE": str(folder / "bare.db"), "SIZE": "120"}
        with (
            serving(ours, settings, folder / "ours.log") as port,
            serving([sys.executable, str(folder / "bare.py")], bare, folder / "bare.log") as bare_port,
        ):
            make = messages(place)
            for connections, goal in ((CONNECTIONS, None), (FULL, at_least(0.40))):
                mine, other = Client(port, connections), Client(bare_port, connections)
                measure(
                    f"ORU^R01 with a platelet count over MLLP, {connections} connections",
                    partial(mine.run, make, SECONDS),
                    partial(other.run, make, SECONDS),
                    goal,
                )
                mine.close()
                other.close()


if __name__ == "__main__":
    main()
