"""The bench of PostgreSQL: next doses a second with few and with many patients, and beside SQLite; bulk in.

    next-dose     with 1,000 / with BENCH_PATIENTS or 100,000 patients, in turn
    SQLite        next-dose from a file / from PostgreSQL, with 1,000 patients, in turn
    import        `titrator import` into PostgreSQL, beside `sqlite-utils insert --csv` of the same rows

The server is that of BENCH_POSTGRES, the URL of a database of it; by default one of this computer. In it, databases are
made and dropped. Where there is none, that is said, and nothing is measured.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

import psycopg

from bench.figures import Pair, report_pair
from bench.imports import measure, new_database
from bench.service import FEW, ROUNDS, SECONDS, Client, fill, gunicorn, in_turn, requests, serve

SERVER: Final = os.environ.get("BENCH_POSTGRES", "postgresql://postgres@127.0.0.1:5432/test")
MANY: Final = int(os.environ.get("BENCH_PATIENTS", "100000"))


def answers(folder: Path) -> None:
    """The pairs of next-dose."""
    few = min(FEW, MANY)
    with new_database(SERVER) as one, new_database(SERVER) as other:
        small = fill(folder / "small", few, database=one)
        large = fill(folder / "large", MANY, database=other)
        file = fill(folder / "file", few)
        with gunicorn(*serve(small)) as small_port, gunicorn(*serve(large)) as large_port:
            reads = [(Client(port), requests(place)[0]) for port, place in ((small_port, small), (large_port, large))]
            for client, read in reads:
                client.run(read, b"200", SECONDS)  # warm
            in_turn(f"next-dose on PostgreSQL with {few:,} / with {MANY:,} patients", *reads)
            with gunicorn(*serve(file)) as port:
                beside, (ours, read), (of_file, _) = Client(port), (Client(small_port), reads[0][1]), requests(file)
                beside.run(of_file, b"200", SECONDS)
                rates = [
                    (ours.run(read, b"200", SECONDS)[0], beside.run(of_file, b"200", SECONDS)[0]) for _ in range(ROUNDS)
                ]
                told = f"next-dose on PostgreSQL beside SQLite, {few:,} patients"
                report_pair(told, Pair(*zip(*rates, strict=True)), "/s")


def main() -> None:
    """Everything, where there is a server."""
    try:
        psycopg.connect(SERVER, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        print(f"no PostgreSQL at {SERVER}: {str(error).splitlines()[0]}; BENCH_POSTGRES names another")
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as name:
        answers(Path(name))
    measure(SERVER)


if __name__ == "__main__":
    main()
