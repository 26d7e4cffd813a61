"""The bench of the service: requests per second, each beside a bare Flask route on the same gunicorn settings.

    next-dose     authorised, from the store, the read audited / a route that returns a constant of the same size
    count         POST of a platelet count / a route that decodes the same body and does one durable SQLite insert

A store is filled with patients of 52 weeks each, written straight into the tables. Every pair runs in turn, a second
each; told are the median of the ratios, the upper quartile of the rates, and the time that 99 of 100 requests took.
"""

from __future__ import annotations

import json
import os
import random
import selectors
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import cast

from bench.figures import Figure, Goal, Pair, at_least, at_most, report, report_pair
from titrator.assembly import make_services
from titrator.security.permissions import PERMISSIONS, Role
from titrator.settings import Settings
from titrator.store.records import CourseVersion, Fact, Patient, Record
from titrator.store.rows import Value, mapping
from titrator.workflow import accounts, record
from titrator.workflow.standing import settle, settle_all
from titrator.workflow.visit import Actor, Services, Visit, instant, leave

WORKERS, THREADS, CONNECTIONS = 2, int(os.environ.get("BENCH_THREADS", "4")), 8
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "9"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "1"))
FEW = 1000
WEEKS = 52
FIRST = date.today() - timedelta(weeks=WEEKS)  # noqa: DTZ011 (any day will do)

BARE = """
import os, sqlite3, threading
from decimal import Decimal
from flask import Flask, Response, request
import json
app = Flask("bare")
constant = "x" * int(os.environ["SIZE"])
local = threading.local()
lock = threading.Lock()
def connection():
    if not hasattr(local, "c"):
        local.c = sqlite3.connect(os.environ["FILE"], isolation_level=None, check_same_thread=False, timeout=30)
        local.c.execute("pragma journal_mode = wal")
        local.c.execute("pragma synchronous = full")
    return local.c
@app.get("/constant")
def read():
    return Response(constant, content_type="application/json")
@app.post("/insert/<patient>")
def write(patient):
    body = json.loads(request.get_data(), parse_float=Decimal, parse_int=Decimal)
    with lock:
        connection().execute(
            "insert into counts values (?, ?, ?, ?)", (patient, body["collected_on"], str(body["value"]), body["unit"])
        )
    return Response(constant, status=201, content_type="application/json")
"""


@dataclass(frozen=True)
class Place:
    """A filled instance, with a token and the ids of those of its patients of whom is asked."""

    folder: Path
    token: str
    patients: list[str]
    database: str = ""


def fill(  # noqa: PLR0913
    folder: Path,
    patients: int,
    *,
    counted_today: bool = False,
    weeks: int = WEEKS,
    database: str = "",
    asked: int | None = None,
) -> Place:
    """An instance with so many patients, weekly counts and doses each; and a count of today if asked for.

    The `database` is that of the setting of that name. Of so many patients, spread evenly, is `asked`: the answers of
    others are not kept, which takes its time where there are very many.
    """
    services = make_services(Settings(instance=folder, database=database))
    with services.store.writing() as session:
        visit = _visit(services, session)
        clinic = record.add_clinic(visit, {"name": "bench", "time_zone": "UTC"})
        account, _ = accounts.add_account(
            visit, {"username": "bench", "display_name": "bench", "role": "pharmacist", "clinics": [clinic.id]}
        )
        token = accounts.issue_token(visit, account.id, {"label": "bench", "days": 30}).secret
        leave(visit, session, visit.entries)
    names = [f"{index:020x}" for index in range(patients)]
    tables: tuple[tuple[type[Record], Iterator[list[object]]], ...] = (
        (Patient, (_patient(name, clinic.id, 2 * weeks + 2 + counted_today) for name in names)),
        (CourseVersion, (_course(name, account.id, weeks) for name in names)),
        (Fact, (fact for name in names for fact in _facts(name, account.id, counted_today, weeks))),
    )
    with services.store.writing() as session:
        for kind, rows in tables:
            session.load(kind, cast("Iterator[tuple[Value, ...]]", rows))
    chosen = names[:: max(1, patients // asked)] if asked else names
    begun = time.perf_counter()
    if asked:
        settle(services, chosen, services.clock())
    else:
        settle_all(services, services.clock())
    print(f"settled {len(chosen):,} patients in {time.perf_counter() - begun:.0f} s", flush=True)
    services.store.close()
    if not database:
        with closing(sqlite3.connect(folder / "titrator.db")) as connection:
            connection.execute("pragma wal_checkpoint(truncate)")
    return Place(folder, token, chosen, database)


def _visit(services: Services, session: object) -> Visit:
    actor = Actor("bench", "bench", Role.ADMIN, frozenset(), PERMISSIONS[Role.ADMIN])
    return Visit(services=services, session=session, actor=actor, now=services.clock())  # type: ignore[arg-type]


def _patient(name: str, clinic: str, revision: int) -> list[object]:
    patient = Patient(
        id=name, version=1, revision=revision, clinic_id=clinic, family_name=name,
        given_name="x", search_name=name, born_on="1960-05-01", active=True, created_at=instant(datetime.now(UTC)),
        changed_at=instant(datetime.now(UTC)), settled=False, decided=0, decision_id=None,
    )  # fmt: skip
    return list(mapping(Patient).to_row(patient))


def _course(name: str, account: str, weeks: int) -> list[object]:
    course = CourseVersion(
        patient_id=name, id=1, version=1, current=True, protocol="us-itp-adult", status="active",
        started_on=_first(weeks).isoformat(), ended_on=None, baseline_on=None, eligibility=(), change="start",
        reason=None, changed_by=account, changed_at=instant(datetime.now(UTC)),
    )  # fmt: skip
    return list(mapping(CourseVersion).to_row(course))


def _first(weeks: int) -> date:
    return FIRST - timedelta(weeks=weeks - WEEKS)


def _facts(name: str, account: str, counted_today: bool, weeks: int) -> Iterator[list[object]]:
    at = instant(datetime.now(UTC))
    chance = random.Random(name)
    base = Fact(
        patient_id=name, id=2, version=1, revision=2, current=True, kind="weight", day=_first(weeks).isoformat(),
        taken_at=None, code=None, value=None, unit=None, level=None, until=None, unreliable=False, status="final",
        detail={}, asked=(), confirmed_by=None, change="record", reason=None, recorded_by=account, recorded_at=at,
    )  # fmt: skip
    row = mapping(Fact).to_row(base)
    place = {column: index for index, column in enumerate(mapping(Fact).columns)}

    def made(  # noqa: PLR0913, PLR0917
        ident: int, kind: str, day: str, value: str, unit: str, level: str | None
    ) -> list[object]:
        new = list(row)
        for column, item in (
            ("id", ident), ("revision", ident), ("kind", kind), ("day", day),
            ("value", value), ("unit", unit), ("level", level),
        ):  # fmt: skip
            new[place[column]] = item
        return new

    yield made(2, "weight", _first(weeks).isoformat(), "75", "kg", None)
    for week in range(weeks):
        day = (_first(weeks) + timedelta(weeks=week)).isoformat()
        yield made(3 + 2 * week, "platelet-count", day, str(chance.randrange(40, 160)), "10*9/L", None)
        yield made(4 + 2 * week, "dose", day, "150", "ug", "2")
    if counted_today:
        day = (_first(weeks) + timedelta(weeks=weeks)).isoformat()
        yield made(3 + 2 * weeks, "platelet-count", day, str(chance.randrange(40, 160)), "10*9/L", None)


@contextmanager
def gunicorn(app: str, folder: Path, environment: dict[str, str], workers: int = WORKERS) -> Iterator[int]:
    """A gunicorn with an app, on a free port of the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "gunicorn", app, "-b", f"127.0.0.1:{port}", "-k", "gthread", "-w", str(workers),
        "--threads", str(THREADS), "--keep-alive", "30", "--log-level", "warning",
    ]  # fmt: skip
    log = (folder / "gunicorn.log").open("ab")
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True
    )
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def _whole(one: socket.socket) -> bytes:
    """A whole answer, read by its Content-Length."""
    buffer = b""
    while True:
        buffer += one.recv(65536)
        head, found, body = buffer.partition(b"\r\n\r\n")
        if found and len(body) >= int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]):
            return buffer


def _holder(port: int, peer: int) -> str:
    """The process that serves the connection from a port of ours."""
    ends = f":{port:04X}", f":{peer:04X}"
    inode = next(
        fields[9]
        for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        if (fields[1][-5:], fields[2][-5:]) == ends
    )
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if not process.joinpath("comm").read_text().startswith(("gunicorn", "python")):
                continue
            if any(str(link.readlink()) == f"socket:[{inode}]" for link in process.glob("fd/*")):
                return process.name
        except OSError:  # it has ended meanwhile
            continue
    raise RuntimeError("no process serves the connection")


class Client:
    """Some kept connections to a port, each with one request on its way; bodies are read by Content-Length.

    Which worker takes a connection is chance, and often one takes all: they are opened until each has its share.
    """

    def __init__(self, port: int, workers: int = WORKERS) -> None:
        share: dict[str, list[socket.socket]] = {}
        for _ in range(500):
            if len(share) == workers and all(len(held) == CONNECTIONS // workers for held in share.values()):
                break
            one = socket.create_connection(("127.0.0.1", port))
            one.sendall(b"GET /constant HTTP/1.1\r\nHost: x\r\n\r\n")  # 404 of ours, an answer all the same
            _whole(one)
            held = share.setdefault(_holder(port, one.getsockname()[1]), [])
            if len(held) < CONNECTIONS // workers:
                held.append(one)
            else:
                one.close()
        else:
            raise RuntimeError("one worker takes all connections")
        self.sockets = [one for held in share.values() for one in held]

    def run(self, make: Callable[[], bytes], expect: bytes, seconds: float) -> tuple[float, list[float]]:
        """Requests a second, and how long each took."""
        selector = selectors.DefaultSelector()
        began: dict[int, float] = {}
        for one in self.sockets:
            selector.register(one, selectors.EVENT_READ, bytearray())
            began[one.fileno()] = time.perf_counter()
            one.sendall(make())
        took: list[float] = []
        start = time.perf_counter()
        open_ones = len(self.sockets)
        while open_ones:
            for key, _ in selector.select(5):
                one, buffer = key.fileobj, key.data
                more = one.recv(65536)  # type: ignore[union-attr]
                if not more:
                    raise RuntimeError("the server closed a connection")
                buffer += more
                head = buffer.find(b"\r\n\r\n")
                if head < 0:
                    continue
                length = int(buffer[:head].lower().split(b"content-length:")[1].split(b"\r\n")[0])
                if len(buffer) < head + 4 + length:
                    continue
                if not buffer.startswith(b"HTTP/1.1 " + expect):
                    raise RuntimeError(bytes(buffer[: head + 400]).decode())
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


def measure(
    name: str,
    ours: Callable[[], tuple[float, list[float]]],
    bare: Callable[[], tuple[float, list[float]]],
    goal: Goal | None = None,
) -> None:
    """Run a pair in turn and report the upper quartiles of both rates, and the median of the ratios."""
    ours(), bare()  # warm
    ratios, rates, bares, took = [], [], [], []
    for _ in range(ROUNDS):
        one, times = ours()
        other, _ = bare()
        ratios.append(one / other)
        rates.append(one)
        bares.append(other)
        took.extend(times)
    p99 = statistics.quantiles(took, n=100)[98] * 1000
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    fast, limit = statistics.quantiles(rates, n=4)[2], statistics.quantiles(bares, n=4)[2]
    report(Figure(name, fast, "/s", limit, middle, goal, f"{low:.2f} to {high:.2f}; p99 {p99:.1f} ms"))


def requests(place: Place) -> tuple[Callable[[], bytes], Callable[[], bytes]]:
    """Makers of the two requests, each for another patient; a count is of another day each time round."""
    chance = random.Random(1)
    head = f"Host: x\r\nAuthorization: Bearer {place.token}\r\n"

    def read() -> bytes:
        return f"GET /api/v1/patients/{chance.choice(place.patients)}/next-dose HTTP/1.1\r\n{head}\r\n".encode()

    def write() -> bytes:
        day = (FIRST + timedelta(days=chance.randrange(7 * WEEKS))).isoformat()
        body = json.dumps({"collected_on": day, "value": chance.randrange(60, 100), "unit": "10*9/L"})
        path = f"/api/v1/patients/{chance.choice(place.patients)}/platelet-counts"
        return (
            f"POST {path} HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    return read, write


def serve(place: Place) -> tuple[str, Path, dict[str, str]]:
    """What starts the service on a place."""
    environment = {"TITRATOR_INSTANCE": str(place.folder), "TITRATOR_REQUESTS_PER_MINUTE": "10000000"}
    if place.database:
        environment["TITRATOR_DATABASE"] = place.database
    return "wsgi:app", place.folder, environment


def main() -> None:
    """Everything, at the size of BENCH_PATIENTS or 100,000."""
    many = int(os.environ.get("BENCH_PATIENTS", "100000"))
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as name:
        folder = Path(name)
        (folder / "bare_app.py").write_text(BARE)
        begun = time.perf_counter()
        few = min(FEW, many)
        small, large = fill(folder / "small", few), fill(folder / "large", many)
        print(f"filled with {few:,} and {many:,} patients in {time.perf_counter() - begun:.0f} s", flush=True)
        file = folder / "bare.db"
        with sqlite3.connect(file) as made:
            made.execute("pragma journal_mode = wal")
            made.execute("create table counts (patient text, day text, value text, unit text)")
        size = len(_answer(large))
        bare_environment = {"SIZE": str(size), "FILE": str(file), "PYTHONPATH": str(folder)}
        with (
            gunicorn(*serve(large)) as port,
            gunicorn(*serve(small)) as small_port,
            gunicorn("bare_app:app", folder, bare_environment) as bare_port,
        ):
            ours, bare = Client(port), Client(bare_port)
            read, write = requests(large)
            small_read, _ = requests(small)
            constant = b"GET /constant HTTP/1.1\r\nHost: x\r\n\r\n"
            measure(
                "next-dose",
                lambda: ours.run(read, b"200", SECONDS),
                lambda: bare.run(lambda: constant, b"200", SECONDS),
                at_least(0.30),
            )
            # both stores as filled: a count that is posted leaves a patient to be answered anew
            little = Client(small_port)  # not before: gunicorn closes what is idle for as long as the pairs take
            in_turn(f"next-dose with {few:,} / with {many:,} patients", (little, small_read), (ours, read))
            measure(
                "POST platelet-counts",
                lambda: ours.run(write, b"201", SECONDS),
                lambda: bare.run(
                    lambda: write().replace(b"/api/v1/patients/", b"/insert/").replace(b"/platelet-counts", b""),
                    b"201",
                    SECONDS,
                ),
                at_least(0.50),
            )


def in_turn(name: str, small: tuple[Client, Callable[[], bytes]], large: tuple[Client, Callable[[], bytes]]) -> None:
    """Report how many times as many answers a second a small store gives as a large one, measured in turn."""
    rates = []
    for _ in range(ROUNDS):
        one, other = (client.run(read, b"200", SECONDS)[0] for client, read in (small, large))
        rates.append((one, other))
    report_pair(name, Pair(*zip(*rates, strict=True)), "/s", at_most(1.25))


def _answer(place: Place) -> bytes:
    with gunicorn(*serve(place)) as port:
        read, _ = requests(place)
        with socket.create_connection(("127.0.0.1", port)) as one:
            one.sendall(read().replace(b"Host: x", b"Host: x\r\nConnection: close"))
            return b"".join(iter(lambda: one.recv(65536), b"")).partition(b"\r\n\r\n")[2]


if __name__ == "__main__":
    main()
