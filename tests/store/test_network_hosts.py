"""Two machines over one PostgreSQL, each a network namespace with a web server and a reminder worker; one is cut off.

The other one does all that is due meanwhile; the one that was away goes on as soon as its cable is plugged in again,
without a restart. What was answered is kept, once, and nobody is told anything twice.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.notify.servers import MailServer, mail_server
from tests.store.samples import sample
from tests.store.test_kills import Instance, Tally, look, made_in
from tests.store.test_postgres_failures import Persistent, Seen, work
from titrator.assembly import make_services
from titrator.settings import Settings
from titrator.store.base import Where
from titrator.store.records import ChannelRow, Clinic, Delivery, Patient, Reminder, ReminderSettings
from titrator.workflow import trail
from titrator.workflow.reminders.days import WEEKDAYS
from titrator.workflow.visit import Entry, enter, instant

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
WORKER = ROOT / "tests" / "workflow" / "reminders" / "worker.py"
HERE = "10.231.77.1"
LEASE_SECONDS = 15
PATIENCE = 180
#: Listens in the network of its machine, says so, and becomes a server there.
LISTENS = """
import os, socket, sys
at = socket.create_server((sys.argv[1], 8000))
at.set_inheritable(True)
print("listens", flush=True)
os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "--bind", f"fd://{at.fileno()}", *sys.argv[2:]])
"""
#: The first half is told before the cut.
PATIENTS = 60
KINDS = ("dose-overdue", "count-due", "weight-due", "sign-off", "re-opened")
NAME = f"tt{os.getpid() % 10000}"


def ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)


@pytest.fixture
def network() -> Iterator[None]:
    """A bridge, where the database and the mail server are."""
    if os.getuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    try:
        ip("link", "add", NAME, "type", "bridge")
        ip("addr", "add", f"{HERE}/24", "dev", NAME)
        ip("link", "set", NAME, "up")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode()}")
    yield
    ip("link", "del", NAME, check=False)


class Host:
    """A machine: a namespace with an address of its own, an instance folder, a server and a worker."""

    def __init__(self, number: int, instance: Instance, folder: Path) -> None:
        self.name, self.cable = f"{NAME}h{number}", f"{NAME}c{number}"
        self.address, self.folder = f"10.231.77.{10 + number}", folder
        folder.mkdir(exist_ok=True)
        if folder != instance.folder:
            shutil.copy(instance.folder / "audit.key", folder)
        ip("netns", "add", self.name)
        ip("link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("link", "set", self.cable, "master", NAME, "up")
        for arguments in (("addr", "add", f"{self.address}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
            ip("-n", self.name, *arguments)
        ip("-n", self.name, "link", "set", "lo", "up")
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TITRATOR_INSTANCE": str(folder),
            "TITRATOR_DATABASE": instance.database,
            "TITRATOR_REQUESTS_PER_MINUTE": "10000000",
            "TITRATOR_LOG_LEVEL": "error",
        }
        self.log = (folder / "host.log").open("wb")
        options = ["--workers", "1", "--threads", "4", "--log-level", "critical", "wsgi:app"]
        self.server = self.run("-c", LISTENS, self.address, *options, stdout=subprocess.PIPE)
        self.worker = self.run(str(WORKER), str(folder), str(LEASE_SECONDS))
        assert self.server.stdout is not None
        assert self.server.stdout.readline() == b"listens\n"

    def run(self, *arguments: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=self.log if stdout is None else stdout,
            stderr=self.log,
            start_new_session=True,
        )

    def ready(self) -> None:
        """Until it is: a request waits for a cable that is plugged in, for the server, and for its database."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self.server.poll() is None:
            connection = HTTPConnection(self.address, 8000, timeout=5)
            try:
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    return
            except (OSError, HTTPException):
                continue
            finally:
                connection.close()
        pytest.fail(f"{self.name} is not ready: {(self.folder / 'host.log').read_text()}")

    def cut(self) -> None:
        ip("link", "set", self.cable, "down")

    def plug_in(self) -> None:
        ip("link", "set", self.cable, "up")

    def end(self) -> None:
        for process in (self.worker, self.server):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in (self.worker, self.server):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            assert process.stdin is not None
            process.stdin.close()
        assert self.server.stdout is not None
        self.server.stdout.close()
        self.log.close()
        ip("netns", "del", self.name, check=False)


def due(instance: Instance, mail: MailServer, first: int, many: int) -> None:
    """Reminders of patients that are due, each of one step, told by mail."""
    services = make_services(instance.settings)
    steps = {kind: [{"after_days": 0, "to": "pharmacist"}] for kind in KINDS}
    chosen = {"digest_at": None, "quiet_from": None, "steps": steps, "working_days": list(WEEKDAYS)}
    address = f"mailto://{HERE}:{mail.port}/day.unit@example.org?from=titrator@example.org"
    named = {"audience": "pharmacist", "kind": "apprise", "address": address, "secret": None, "per_minute": 100_000}
    patients = [f"p{number:05}" for number in range(first, first + many)]
    with services.store.writing() as session:
        if not session.find(Clinic, Where("id", "=", "c")):
            session.add(
                sample(Clinic, time_zone="UTC", holidays=(), injection_days=()),
                ReminderSettings(clinic_id="c", version=1, settings=chosen),
                sample(ChannelRow, **named),
            )
        session.add(*(sample(Patient, id=one, settled=True) for one in patients))
        at = instant(services.clock())
        rows = [(one, kind) for one in patients for kind in KINDS]
        session.add(*(sample(Reminder, patient_id=one, kind=kind, event=None, next_at=at) for one, kind in rows))
        entries = [Entry(one, at, None, None, "create", f"patient/{one}", "c", None, "{}") for one in patients]
        enter(services.audit_key, session, entries)
    services.store.close()


def told(mail: MailServer) -> Counter[str]:
    """How often each message came, by its id."""
    found = (re.search(rb"^Message-ID: (\S+)", bytes(one.content), re.MULTILINE) for one in list(mail.envelopes))
    return Counter(match[1].decode() for match in found if match)


def wait_for(mail: MailServer, messages: int) -> None:
    with mail.came:
        enough = mail.came.wait_for(lambda: len(told(mail)) >= messages, PATIENCE)
    assert enough, f"{len(mail.envelopes)} mails came, not {messages}"


def test_one_of_two_machines_is_cut_off_and_the_round_goes_on(network: None, tmp_path: Path) -> None:
    cluster = Cluster(host=f"{HERE},127.0.0.1", trusts="10.231.77.0/24")
    try:
        with mail_server(host=HERE) as mail:
            go(cluster, mail, tmp_path)
    finally:
        cluster.end()


def go(cluster: Cluster, mail: MailServer, tmp_path: Path) -> None:
    cluster.sql("create database titrator")
    (tmp_path / "one").mkdir()
    instance = made_in(tmp_path / "one", cluster.url().replace("127.0.0.1", HERE))
    due(instance, mail, 0, PATIENTS)
    hosts: list[Host] = []
    tally, seen, stop, days = Tally(), Seen(), threading.Event(), iter(range(10**6))
    threads: list[threading.Thread] = []
    try:
        hosts += [Host(number, instance, tmp_path / name) for number, name in enumerate(("one", "two"))]
        for one in hosts:
            one.ready()
        for place, mine in enumerate(instance.decided[:2]):
            client = Persistent(instance, 8000, seen, hosts[place % 2].address, 3 * PATIENCE)
            threads.append(threading.Thread(target=work, args=(client, tally, f"c{place}", days, mine, stop)))
            threads[-1].start()
        wait_for(mail, PATIENTS * len(KINDS) // 4)
        hosts[0].cut()
        answers = tally.answers
        wait_for(mail, PATIENTS * len(KINDS))  # all that is due, by the other one
        assert tally.answers > answers, "nobody was answered meanwhile"
        hosts[0].plug_in()
        hosts[0].ready()
        due(instance, mail, PATIENTS, 10)
        wait_for(mail, (PATIENTS + 10) * len(KINDS))
        tally.wait_for(tally.answers + 40)
        assert [one.server.poll() for one in hosts] == [one.worker.poll() for one in hosts] == [None, None]
    finally:
        stop.set()
        for thread in threads:
            thread.join(4 * PATIENCE)
        for one in hosts:
            one.end()
    assert not tally.wrong, tally.wrong
    assert not tally.open
    assert set(seen.times) - {"200", "201", "503"} <= {
        "TimeoutError",
        "OSError",
        "ConnectionResetError",
        "RemoteDisconnected",
    }
    other = make_services(Settings(instance=tmp_path / "two", database=instance.database))
    trail.gather(other)
    with other.store.reading() as session:
        assert session.count(Delivery, Where("status", "!=", "sent")) == 0
        assert session.count(Delivery) == (PATIENTS + 10) * len(KINDS)
    other.store.close()
    assert look(instance, tally) == (0, 0)
    twice = {ident: times for ident, times in told(mail).items() if times > 1}
    assert sum(twice.values()) - len(twice) <= 1, "but for the one that was on its way when the cable was cut"
    logging.getLogger(__name__).info(
        "%d messages, %d twice; %d writes; %s", len(told(mail)), len(twice), len(tally.answered), dict(seen.times)
    )
