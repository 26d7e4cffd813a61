"""An upgrade without a stop, as docs/operations.md tells it: an old and a new program side by side, real processes.

The old program is this one. The new one is this one with more migrations: one that expands, one that contracts.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

PATIENCE = 60
NEW = """
import sys
from titrator.store import schema, sqlite
from titrator.store.schema import Migration
sqlite.MIGRATIONS = (
    *schema.MIGRATIONS,
    Migration("9001-expand-notes", ("alter table patients add column note text",)),
    Migration("9002-contract-feedback", ("drop table cds_feedback",)),
)
from titrator.cli import run
run()
"""
OLD = "from titrator.cli import run; run()"


class Ran:
    """What a command left behind."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    return tmp_path / "instance"


def environment(instance: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TITRATOR_")}
    return kept | {"TITRATOR_INSTANCE": str(instance), "TITRATOR_WORKERS": "1", "TITRATOR_REMINDER_SECONDS": "0"}


def ran(program: str, instance: Path, *arguments: str) -> Ran:
    command = [sys.executable, "-c", program, *arguments]
    return Ran(
        subprocess.run(
            command, env=environment(instance), capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    )


@pytest.fixture
def serve(instance: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []

    def start(program: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", program, "serve", "--port", "0"],
            env=environment(instance),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        assert process.stdout is not None
        process.stdout.close()


def address(process: subprocess.Popen[str]) -> str:
    """Where a service says that it is."""
    assert process.stdout is not None
    for line in process.stdout:
        if "titrator serves " in line:
            return line.split("titrator serves ")[1].split()[0]
    raise AssertionError("it did not start")


def kill(process: int) -> None:
    """Kill a process that is not ours, and wait until it is gone."""
    handle = os.pidfd_open(process)
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        assert select.select([handle], [], [], PATIENCE)[0]
    finally:
        os.close(handle)


def is_ready(url: str) -> bool:
    """Whether a service is; the first process listens, so that who asks waits for one that answers."""
    return httpx.get(f"{url}/readyz", timeout=PATIENCE).status_code == 200


def add_patient(url: str, token: str, clinic: str, name: str) -> Any:
    answer = httpx.post(
        f"{url}/api/v1/patients",
        json={"clinic": clinic, "family_name": name, "given_name": "Ada", "born_on": "1960-05-01"},
        headers={"Authorization": f"Bearer {token}"},
        timeout=PATIENCE,
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


def names(url: str, token: str) -> set[str]:
    answer = httpx.get(f"{url}/api/v1/patients", headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE)
    return {one["family_name"] for one in answer.json()["items"]}


@pytest.mark.long
def test_old_and_new_work_side_by_side_until_the_tables_are_contracted(
    instance: Path, serve: Callable[[str], subprocess.Popen[str]]
) -> None:
    assert ran(OLD, instance, "init").code == 0
    clinic = json.loads(ran(OLD, instance, "clinics", "add", "Unit", "--time-zone", "UTC", "--json").out)["id"]
    assert (
        ran(OLD, instance, "users", "add", "ann", "--name", "A", "--role", "pharmacist", "--clinic", "Unit").code == 0
    )
    issued = ran(OLD, instance, "tokens", "issue", "ann", "--label", "t", "--days", "1", "--json")
    token = json.loads(issued.out)["secret"]
    old = serve(OLD)
    old_url = address(old)
    add_patient(old_url, token, clinic, "before")

    expanded = ran(NEW, instance, "db", "migrate", "--json")
    assert (expanded.code, expanded.err) == (0, "")
    assert json.loads(expanded.out) == {"applied": ["9001-expand-notes"], "contractions": ["9002-contract-feedback"]}
    assert ran(NEW, instance, "db", "migrate").out.startswith("Nothing was to be applied.\nTo be applied once no older")
    add_patient(old_url, token, clinic, "expanded")
    (worker,) = Path(f"/proc/{old.pid}/task/{old.pid}/children").read_text().split()
    kill(int(worker))
    assert is_ready(old_url), "a process of the old version that started since"

    new_url = address(serve(NEW))
    assert is_ready(new_url)
    add_patient(new_url, token, clinic, "new")
    add_patient(old_url, token, clinic, "old")
    assert names(old_url, token) == names(new_url, token) == {"before", "expanded", "new", "old"}
    assert ran(OLD, instance, "db", "check").code == 0
    assert "cds_feedback" in tables(instance), "no start takes anything away"

    contracted = ran(NEW, instance, "db", "migrate", "--contract")
    assert (contracted.code, contracted.out) == (0, "Applied: 9002-contract-feedback.\n")
    assert "cds_feedback" not in tables(instance)
    assert is_ready(new_url)
    add_patient(new_url, token, clinic, "contracted")
    refused = ran(OLD, instance, "users", "list")
    assert refused.code == 4
    assert "made by a newer version of this program (9002-contract-feedback)" in refused.err
    assert ran(OLD, instance, "audit", "verify").code == 4


def tables(instance: Path) -> set[str]:
    with closing(sqlite3.connect(instance / "titrator.db")) as connection:
        return {row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")}


def test_without_an_installation_nothing_is_migrated(instance: Path) -> None:
    refused = ran(OLD, instance, "db", "migrate")
    assert (refused.code, refused.out) == (4, "")
    assert not instance.exists()
