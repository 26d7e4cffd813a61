"""The drills of docs/operations.md, run as they are written there, while people write.

The blocks of commands are taken from the page and given to a shell; only the folders that they name are others, for
nothing is put into `/backup` and `/safe` of the machine that runs the tests.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import pytest

PAGE: Final = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
SECTION: Final = PAGE.split("\n## Backup and restore\n")[1].split("\n## ")[0]
BACKUP, RESTORE, DRILL = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
PATIENCE: Final = 60
WRITERS: Final = 2

pytestmark = pytest.mark.long


@dataclass
class Machine:
    """A machine with an installation: its folders, and a shell in which the program is on the path."""

    folder: Path
    names: dict[str, str] = field(default_factory=dict)

    def shell(self, commands: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run commands as the page has them, with folders of this machine, and a name for the backup of the day."""
        for there in ("/backup/", "/safe/"):
            commands = commands.replace(there, f"{self.folder}{there}")
        commands = commands.replace("titrator-$(date +%F).db", "titrator-2026-03-09.db")
        kept = {key: value for key, value in os.environ.items() if not key.startswith("TITRATOR_")}
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            env=kept
            | {
                "TITRATOR_INSTANCE": str(self.folder / "instance"),
                "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
                "TMPDIR": str(self.folder / "tmp"),
                "COLUMNS": "140",
            },
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def done(self, commands: str, stdin: str = "") -> str:
        ran = self.shell(commands, stdin)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """An installation with somebody who records, and its audit key in a safe place."""
    made = Machine(tmp_path)
    for name in ("backup", "safe", "tmp"):
        (tmp_path / name).mkdir()
    made.done("titrator init && cp $TITRATOR_INSTANCE/audit.key /safe/")
    made.names["clinic"] = json.loads(made.done('titrator clinics add "Day Unit" --time-zone UTC --json'))["id"]
    made.done('titrator users add ann --name Ann --role pharmacist --clinic "Day Unit"')
    made.names["token"] = json.loads(made.done("titrator tokens issue ann --label t --days 1 --json"))["secret"]
    return made


@contextmanager
def served(machine: Machine) -> Iterator[str]:
    """The service while it runs, by its address."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TITRATOR_")}
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("titrator")), "serve", "--port", "0"],
        env=environment
        | {"TITRATOR_INSTANCE": str(machine.folder / "instance"), "TITRATOR_REQUESTS_PER_MINUTE": "10000000"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        url = next(found[0] for line in process.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        process.stdout.close()


@dataclass
class Load:
    """People who record patients without a pause; what was answered with success, in order."""

    machine: Machine
    url: str
    kept: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @contextmanager
    def writing(self) -> Iterator[Load]:
        over = threading.Event()

        def write(who: int) -> None:
            number = 0
            with httpx.Client(headers={"Authorization": f"Bearer {self.machine.names['token']}"}) as client:
                while not over.is_set():
                    name = f"w{who}-{number}"
                    number += 1
                    body = {"clinic": self.machine.names["clinic"], "family_name": name, "given_name": "Ada"}
                    answer = client.post(
                        f"{self.url}/api/v1/patients", json={**body, "born_on": "1960-05-01"}, timeout=PATIENCE
                    )
                    (self.kept if answer.status_code == 201 else self.failed).append(name)

        threads = [threading.Thread(target=write, args=(who,)) for who in range(WRITERS)]
        for thread in threads:
            thread.start()
        try:
            self.wait_for(20)
            yield self
        finally:
            over.set()
            for thread in threads:
                thread.join(PATIENCE)

    def wait_for(self, more: int) -> None:
        """Until so many more have been answered; fails at once where one was refused."""
        enough = len(self.kept) + more
        pause = threading.Event()
        for _ in range(PATIENCE * 100):
            assert self.failed == []
            if len(self.kept) >= enough:
                return
            pause.wait(0.01)
        raise AssertionError("nothing is recorded any more")


def patients(instance: Path) -> set[str]:
    """The family names of all patients of an installation."""
    with closing(sqlite3.connect(instance / "titrator.db")) as connection:
        return {row[0] for row in connection.execute("select family_name from patients")}


def test_the_drill_of_the_guide_works_as_it_is_written(machine: Machine) -> None:
    """A backup under load, a drill in another folder while the service goes on, and a restore in earnest."""
    with served(machine) as url, Load(machine, url).writing() as load:
        before = set(load.kept)
        assert "titrator-2026-03-09.db" in machine.done(BACKUP)
        load.wait_for(20)
        drilled = machine.done(DRILL)
        (copy,) = (machine.folder / "tmp").glob("tmp.*")
        assert before <= patients(copy), "what was answered before is in it"
        assert drilled.count("in order") == 2
        assert "ann" in drilled
        load.wait_for(20)
    assert load.failed == []
    assert patients(machine.folder / "instance") >= set(load.kept), "the drill touched nothing of it"
    assert patients(copy) < set(load.kept), "what came after is not in it"

    refused = machine.shell(RESTORE, stdin="n\n")
    assert refused.returncode == 1
    assert set(load.kept) <= patients(machine.folder / "instance"), "who says no keeps what is there"
    restored = machine.done(RESTORE, stdin="y\n")
    assert "before-restore" in restored
    assert restored.count("in order") == 2
    assert patients(machine.folder / "instance") == patients(copy)
    with served(machine) as url, Load(machine, url).writing() as again:
        again.wait_for(5)
    assert again.failed == []


def test_a_drill_without_the_key_or_with_a_damaged_backup_fails(machine: Machine) -> None:
    """As a drill must: that is what it is for."""
    machine.done(BACKUP)
    backup = machine.folder / "backup" / "titrator-2026-03-09.db"
    whole = backup.read_bytes()
    backup.write_bytes(whole[: len(whole) // 2])
    assert machine.shell(DRILL).returncode == 4
    backup.write_bytes(whole)
    (machine.folder / "safe" / "audit.key").write_text("00" * 32 + "\n")
    ran = machine.shell(DRILL)
    assert ran.returncode == 3
    assert "is not its audit key" in ran.stderr


def test_a_restore_is_refused_while_people_work(machine: Machine) -> None:
    machine.done(BACKUP)
    with served(machine), pytest.raises(AssertionError, match="stop the service first"):
        machine.done(RESTORE, stdin="y\n")
    assert machine.done("titrator db check").count("in order") == 1
