"""Messages of a laboratory, its feed, and an installation that receives it; real processes with a real port."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import hl7
from hl7.client import MLLPClient

from tests.api.support import House, build
from tests.backends import CHOSEN
from titrator.assembly import make_services
from titrator.security.permissions import PERMISSIONS, Role
from titrator.settings import Settings
from titrator.store.records import Fact, ReceivedMessage
from titrator.workflow import accounts, record
from titrator.workflow.feeds import Authority, Feed
from titrator.workflow.visit import Actor, Services, Visit, leave

TITRATOR: Final = str(Path(sys.executable).with_name("titrator"))
PATIENCE: Final = 30
MRN: Final = "urn:mrn"
FEED: Final = Feed(
    name="laboratory",
    account="ehr",
    peers=(ipaddress.ip_network("127.0.0.1"),),
    identifiers=(Authority("HOSP", "MR", MRN), Authority("1.2.3", None, "urn:national")),
    codes={("PLT", "L"): "platelet-count", ("HB", ""): "haemoglobin", ("GEW", "L"): "weight"},
    units={"Gpt/l": "10*9/L"},
)


def head(control_id: str = "1", **more: str) -> str:
    """MSH; fields by their numbers, as f9="ORU^R01"."""
    fields = {
        3: "LIS", 4: "LAB", 5: "TITRATOR", 6: "CLINIC", 7: "20260309080000+0100", 9: "ORU^R01^ORU_R01",
        10: control_id, 11: "P", 12: "2.5.1", 18: "UNICODE UTF-8",
    } | {int(name[1:]): value for name, value in more.items()}  # fmt: skip
    return "MSH|^~\\&|" + "|".join(fields.get(number, "") for number in range(3, max(fields) + 1))


def pid(number: str = "17", born: str = "19600501", authority: str = "HOSP", kind: str = "MR") -> str:
    return f"PID|1||{number}^^^{authority}^{kind}||Muster^Eva||{born}|F"


def obr(filler: str = "F1", when: str = "20260309074500+0100", placer: str = "P1") -> str:
    return f"OBR|1|{placer}|{filler}|58410-2^CBC^LN|||{when}"


def obx(value: str = "63", status: str = "F", **more: str) -> str:
    """OBX of a platelet count; fields by their numbers, as f6="g/L"."""
    fields = {1: "1", 2: "NM", 3: "777-3^Platelets^LN", 5: value, 6: "10*3/uL", 11: status}
    fields |= {int(name[1:]): one for name, one in more.items()}
    return "OBX|" + "|".join(fields.get(number, "") for number in range(1, max(fields) + 1))


def message(*segments: str) -> bytes:
    return "".join(f"{one}\r" for one in segments).encode()


def count(control_id: str, value: str = "63", status: str = "F", **more: str) -> bytes:
    """A message of one platelet count of patient 17, of order F1; other fields of OBX by their numbers."""
    return message(head(control_id), pid(), obr(), obx(value, status, **more))


def half_a_character() -> bytes:
    """MSH of which the separator is, as single bytes, ×; as UTF-8 it is the first half of what follows."""
    fields = {3: "LIS", 4: "LAB", 9: "ORU^R01", 10: "1", 11: "P", 12: "2.5.1", 18: "UNICODE UTF-8"}
    texts = [fields.get(number, "").encode() for number in range(3, 20)]
    return b"MSH\xd7\xa9^~\\\xd7" + b"\xd7".join(b"\xa0" + one for one in texts) + b"\r"


class Said:
    """An acknowledgement, read by a library that we did not write."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.parsed = hl7.parse(text)
        self.code = str(self.parsed["MSA"][0](1))
        self.control_id = str(self.parsed["MSA"][0](2)) if len(self.parsed["MSA"][0]) > 2 else ""

    @property
    def errors(self) -> dict[str, str]:
        """By place (OBX^1^5): the code of table 0357 and the severity."""
        if "\rERR" not in self.text:
            return {}
        return {str(one(2)): f"{one(3)(0)(0)} {one(4)}" for one in self.parsed.segments("ERR")}


@dataclass
class Ward:
    """A house with a laboratory, and short ways to send and to look."""

    house: House

    def send(self, sent: bytes) -> Said:
        """Over HTTP, as the account of the feed."""
        answer = self.house.app.test_client().post(
            "/hl7",
            data=sent,
            content_type="application/hl7-v2",
            headers={"Authorization": f"Bearer {self.house.tokens['ehr']}"},
        )
        assert answer.status_code == 200, answer.text
        assert answer.mimetype == "application/hl7-v2"
        return Said(answer.get_data(as_text=True))

    def taken(self, sent: bytes) -> None:
        said = self.send(sent)
        assert said.code == "AA", said.text

    def patient(self, number: str = "17", **more: Any) -> str:
        return self.house.patient(identifiers=[{"system": MRN, "value": number}], **more)

    def counts(self, patient: str) -> list[tuple[str, str, str]]:
        """Of each count: the value, the status, the day."""
        items = self.house.get(f"/patients/{patient}/platelet-counts")["items"]
        return [(f"{one['value']}", one["status"], one["collected_on"]) for one in items]

    def held(self) -> list[dict[str, Any]]:
        return list(self.house.get("/unmatched-results")["items"])


def ward(folder: Path, *feeds: Feed, backend: str = CHOSEN) -> Ward:
    house = build(folder, backend=backend)
    return Ward(house.with_services(feeds=feeds or (FEED,)))


# Processes

CONFIG: Final = """
[[hl7_feeds]]
name = "laboratory"
account = "lis"
peers = ["127.0.0.1"]
identifiers = [{authority = "HOSP", type = "MR", system = "urn:mrn"}]
"""


def furnish(instance: Path, patients: int = 1, config: str = CONFIG) -> Services:
    """An installation on the disk, with a feed and patients of the numbers from 17 on; its services."""
    instance.mkdir(parents=True, exist_ok=True)
    services = make_services(Settings(instance=instance, log_level="error"))
    with services.store.writing() as session:
        admin = Actor("setup", "setup", Role.ADMIN, frozenset(), PERMISSIONS[Role.ADMIN])
        visit = Visit(services=services, session=session, actor=admin, now=services.clock())
        clinic = record.add_clinic(visit, {"name": "Day clinic", "time_zone": "Europe/Berlin"}).id
        accounts.add_account(visit, {"username": "lis", "display_name": "x", "role": "ehr", "clinics": [clinic]})
        visit.actor = admin._replace(clinics=frozenset({clinic}))
        for number in range(17, 17 + patients):
            names = {"clinic": clinic, "family_name": "Muster", "given_name": "Eva", "born_on": "1960-05-01"}
            record.add_patient(visit, {**names, "identifiers": [{"system": MRN, "value": str(number)}]})
        leave(visit, session, visit.entries)
    (instance / "config.toml").write_text(config)
    return services


class Receiver:
    """`titrator mllp` on a free port, from its first line to its end."""

    def __init__(self, instance: Path, **more: str) -> None:
        self.log = instance.with_name("mllp.log")
        self._before = len(self.log.read_text().splitlines()) if self.log.exists() else 0
        kept = {key: value for key, value in os.environ.items() if not key.startswith("TITRATOR_")}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [TITRATOR, "mllp", "--port", "0"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=kept | {"TITRATOR_INSTANCE": str(instance), "TITRATOR_LOG_LEVEL": "debug"} | more,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        found = re.search(r"port (\d+),", self.said)
        assert found, self.said + self.log.read_text()
        self.port = int(found[1])

    def client(self) -> MLLPClient:
        return MLLPClient("127.0.0.1", self.port)

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def told(self, text: str) -> None:
        eventually(lambda: text in self.log.read_text())

    @property
    def others(self) -> list[int]:
        """The processes that serve connections, those that are no more among them, as they came to serve."""
        told = [json.loads(line) for line in self.log.read_text().splitlines()[self._before :]]
        return [one["process"] for one in told if one["event"] == "mllp-process-ready"]

    def signal_all(self, how: int) -> None:
        """To all of its processes, as a terminal does, and a service manager."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)

    def end(self, how: int = signal.SIGTERM) -> int:
        """End the first process, with SIGKILL all of them."""
        if how == signal.SIGKILL:
            self.signal_all(how)
        elif self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def framed(sent: bytes) -> bytes:
    return b"\x0b" + sent + b"\x1c\r"


def read_all(one: socket.socket) -> bytes:
    """What comes until the other side closes."""
    parts = []
    try:
        while part := one.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def facts(services: Services) -> list[Fact]:
    with services.store.reading() as session:
        return session.find(Fact, order=("patient_id", "id", "version"))


def received(services: Services) -> list[ReceivedMessage]:
    with services.store.reading() as session:
        return session.find(ReceivedMessage, order=("control_id", "sha256"))
