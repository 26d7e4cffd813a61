"""`titrator doctor` from the command line: what it says, its exit codes, and the messages of --send."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cli.test_service import first

__all__ = ["first"]  # a fixture
TITRATOR = str(Path(sys.executable).with_name("titrator"))
PATIENCE = 60
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def titrator(tmp_path: Path, first: Path) -> Run:
    """Commands on an installation with a clinic."""
    shutil.copytree(first, tmp_path / "instance")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TITRATOR_")}
    environment = kept | {"TITRATOR_INSTANCE": str(tmp_path / "instance"), "COLUMNS": "140"}

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [TITRATOR, *arguments],
            env=environment | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    return run


def test_a_new_installation_has_no_fault_and_a_broken_one_has(titrator: Run, tmp_path: Path) -> None:
    ran = titrator("doctor")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[-1].startswith("0 faults, ")
    assert "warning  accounts" in ran.stdout
    (tmp_path / "instance" / "audit.key").unlink()
    ran = titrator("doctor")
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[-1].startswith("1 fault, ")
    assert "Put it back before anything else is done" in ran.stdout


def test_programs_get_it_as_json(titrator: Run) -> None:
    ran = titrator("doctor", "--quick", "--json", TITRATOR_BASE_URL="https://t.example")
    told = json.loads(ran.stdout)
    assert (ran.returncode, told["faults"]) == (1, 1)
    (fault,) = [one for one in told["findings"] if one["severity"] == "fault"]
    assert set(fault) == {"check", "severity", "what", "todo"}
    assert fault["check"] == "proxy"
    assert told["warnings"] == sum(one["severity"] == "warning" for one in told["findings"])
    assert "integrity" not in {one["check"] for one in told["findings"]}


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[bytes]]]:
    """A receiver of webhooks, and what it has taken."""
    taken: list[bytes] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204 if "works" in self.path else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", taken
    server.shutdown()
    thread.join()
    server.server_close()


def add_channel(titrator: Run, address: str) -> None:
    ran = titrator("channels", "add", "Day Unit", address, "--label", "desk", "--to", "pharmacist")
    assert ran.returncode == 0, ran.stderr


def test_messages_are_sent_only_if_that_is_asked(titrator: Run, webhook: tuple[str, list[bytes]]) -> None:
    url, taken = webhook
    add_channel(titrator, f"{url}/works")
    assert titrator("doctor", "--quick").returncode == 0
    assert taken == []
    ran = titrator("doctor", "--quick", "--send")
    assert ran.returncode == 0
    assert "took a message" in ran.stdout
    assert len(taken) == 1
    assert "test-channel" in titrator("audit", "export").stdout


def test_a_channel_that_takes_no_message_is_a_fault(titrator: Run, webhook: tuple[str, list[bytes]]) -> None:
    url, taken = webhook
    add_channel(titrator, f"{url}/fails")
    ran = titrator("doctor", "--quick", "--send")
    assert ran.returncode == 1
    assert "fault    reach" in ran.stdout
    assert len(taken) == 1


def test_nothing_is_sent_where_something_is_wrong(titrator: Run, webhook: tuple[str, list[bytes]]) -> None:
    url, taken = webhook
    add_channel(titrator, f"{url}/works")
    ran = titrator("doctor", "--quick", "--send", TITRATOR_BASE_URL="https://t.example")
    assert (ran.returncode, taken) == (1, [])
    assert "Nothing was sent" in ran.stdout
