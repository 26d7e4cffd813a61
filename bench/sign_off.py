"""The bench of sign-off: requests per second, each beside a bare Flask route with the same payloads.

worklist      a page of 50, of 500 and of 50,000 patients of 52 weeks each / a route that returns as many bytes
accept        a proposal accepted / a route that decodes the same body and does one durable SQLite insert
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.figures import Pair, at_least, report_pair
from bench.service import BARE, ROUNDS, SECONDS, Client, Place, fill, gunicorn, measure, serve

MANY = int(os.environ.get("BENCH_PATIENTS", "50000"))
FEW = min(500, MANY // 2)


def proposals(place: Place) -> Iterator[tuple[str, str]]:
    """What can be accepted: patients, and the body that accepts."""
    with sqlite3.connect(place.folder / "titrator.db") as connection:
        rows = connection.execute("select patient_id, proposal_sha256, answer from standings").fetchall()
    for patient, digest, answer in rows:
        said = json.loads(answer)
        if said["action"] in {"start", "increase", "maintain", "reduce", "hold", "resume"}:
            alerts = [alert["code"] for alert in said["alerts"]]
            yield patient, json.dumps({"decision": "accept", "proposal_sha256": digest, "acknowledge": alerts})


def get(place: Place) -> bytes:
    """The request for the first page of the worklist."""
    return f"GET /api/v1/worklist HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {place.token}\r\n\r\n".encode()


def accepts(place: Place) -> tuple[Callable[[], bytes], Callable[[], bytes]]:
    """Makers of requests: each accepts the proposal of another patient; and the same body for the bare route."""
    found = proposals(place)
    body = next(found)[1]

    def post(path: str, sent: str) -> bytes:
        head = f"Host: x\r\nAuthorization: Bearer {place.token}\r\nContent-Type: application/json"
        return f"POST {path} HTTP/1.1\r\n{head}\r\nContent-Length: {len(sent)}\r\n\r\n{sent}".encode()

    def ours() -> bytes:
        patient, sent = next(found)
        return post(f"/api/v1/patients/{patient}/decisions", sent)

    return ours, lambda: post(f"/decide/{place.patients[0]}", body)


DECIDE = """
@app.post("/decide/<patient>")
def decide(patient):
    body = json.loads(request.get_data(), parse_float=Decimal, parse_int=Decimal)
    with lock:
        connection().execute(
            "insert into counts values (?, ?, ?, ?)",
            (patient, body["decision"], body["proposal_sha256"], str(body["acknowledge"])),
        )
    return Response(decided, status=201, content_type="application/json")
decided = "x" * int(os.environ["DECIDED"])
"""


def sizes(place: Place, accept: Callable[[], bytes]) -> tuple[int, int]:
    """How many bytes a page of the worklist and a decision have."""
    with gunicorn(*serve(place)) as port:
        return tuple(_size(port, sent) for sent in (get(place), accept()))  # type: ignore[return-value]


def _size(port: int, sent: bytes) -> int:
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(sent.replace(b"Host: x", b"Host: x\r\nConnection: close"))
        return len(b"".join(iter(lambda: one.recv(65536), b"")).partition(b"\r\n\r\n")[2])


def main() -> None:
    """Everything, at the size of BENCH_PATIENTS or 50,000."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as name:
        folder = Path(name)
        begun = time.perf_counter()
        small = fill(folder / "small", FEW, counted_today=True)
        large = fill(folder / "large", MANY, counted_today=True)
        print(f"filled with {FEW} and {MANY:,} patients in {time.perf_counter() - begun:.0f} s", flush=True)
        file = folder / "bare.db"
        with sqlite3.connect(file) as made:
            made.execute("pragma journal_mode = wal")
            made.execute("create table counts (patient text, day text, value text, unit text)")
        accept, bare_accept = accepts(large)
        page, decided = sizes(large, accept)
        (folder / "bare_app.py").write_text(BARE + DECIDE)
        environment = {
            "SIZE": str(page), "DECIDED": str(decided), "FILE": str(file), "PYTHONPATH": str(folder),
        }  # fmt: skip
        with (
            gunicorn(*serve(large)) as port,
            gunicorn(*serve(small)) as small_port,
            gunicorn("bare_app:app", folder, environment) as bare_port,
        ):
            ours, little, bare = Client(port), Client(small_port), Client(bare_port)
            constant = b"GET /constant HTTP/1.1\r\nHost: x\r\n\r\n"
            for many, client, place in ((FEW, little, small), (MANY, ours, large)):
                measure(
                    f"worklist, 50 of {many:,}",
                    lambda client=client, place=place: client.run(lambda: get(place), b"200", SECONDS),  # type: ignore[misc]
                    lambda: bare.run(lambda: constant, b"200", SECONDS),
                    at_least(0.20),
                )
            little = Client(small_port)  # before anything is accepted, which makes lines anew; idle ones are closed
            rates = []
            for _ in range(ROUNDS):
                one, _ = little.run(lambda: get(small), b"200", SECONDS)
                other, _ = ours.run(lambda: get(large), b"200", SECONDS)
                rates.append((one, other))
            report_pair(f"worklist with {FEW} / with {MANY:,} patients", Pair(*zip(*rates, strict=True)), "/s")
            measure(
                "accept",
                lambda: ours.run(accept, b"201", SECONDS),
                lambda: bare.run(bare_accept, b"201", SECONDS),
                at_least(0.40),
            )


if __name__ == "__main__":
    main()
