"""The server is killed at random moments, and the laboratory sends again what was not acknowledged: nothing twice.

A laboratory counts its messages, keeps one on its way on each of some lines, and does not go on before it is
acknowledged. Each line has a twin that sends the same messages at about the same time, and some messages are at fault.
After so many acknowledgements, by chance, SIGKILL goes to one of the processes that serve, and a little later to all of
the server; it is started anew, and each line sends its message again.
"""

from __future__ import annotations

import os
import random
import re
import selectors
import signal
import socket
from collections import Counter
from pathlib import Path

import pytest

from tests.hl7.support import Receiver, facts, framed, furnish, head, message, obr, obx, pid, received
from titrator.store.records import AuditRow, ExternalId

PATIENTS = 40
LINES = 4


class Line:
    """A connection of a laboratory, which sends its messages one after the other."""

    def __init__(self, numbers: list[int]) -> None:
        self.left = numbers[::-1]
        self.socket: socket.socket | None = None
        self.buffer = b""
        self.acknowledged: list[int] = []

    def connect(self, port: int) -> socket.socket:
        self.socket, self.buffer = socket.create_connection(("127.0.0.1", port), 30), b""
        self.send()
        return self.socket

    def send(self) -> None:
        assert self.socket is not None
        if self.left:
            self.socket.sendall(framed(sent_as(self.left[-1])))

    def read(self) -> bool:
        """Take what has come; whether the line still stands."""
        assert self.socket is not None
        more = self.socket.recv(65536)
        self.buffer += more
        if self.buffer.endswith(b"\x1c\r"):
            assert re.search(rf"\rMSA\|{code_of(self.left[-1])}\|{self.left[-1]}[\r|]".encode(), self.buffer), (
                self.buffer
            )
            self.buffer = b""
            self.acknowledged.append(self.left.pop())
            self.send()
        return bool(more)


def code_of(number: int) -> str:
    """How a message is answered, by its number: some are at fault."""
    return "AE" if number % 20 == 7 else "AA"


def sent_as(number: int) -> bytes:
    """A message by its number: each tenth corrects the result of the one before it."""
    corrects = number % 10 == 9
    order = number - 1 if corrects else number
    value, status = 40 + number % 50, "C" if corrects else "F"
    who = pid(f"{17 + order // LINES % PATIENTS}")
    text = f"{value}" if code_of(number) == "AA" else f"<{value}"
    return message(head(f"{number}"), who, obr(f"O{order}"), obx(text, status))


def _killed_often(instance: Path, many: int, every: int, chance: random.Random) -> None:
    services = furnish(instance, PATIENTS)
    # A correction follows its result on the same line.
    of_line = [[number for number in range(many) if (number // 10) % LINES == start] for start in range(LINES)]
    lines = [Line(numbers) for numbers in of_line for _ in ("one", "its twin")]
    kills = 0
    while any(line.left for line in lines):
        receiver = Receiver(instance, TITRATOR_LOG_LEVEL="info")
        try:
            _until_killed(receiver, lines, chance.choice(receiver.others), chance.randrange(1, every))
        finally:
            receiver.end(signal.SIGKILL)
        kills += 1
    told = Counter(number for line in lines for number in line.acknowledged)
    assert told == Counter([*range(many), *range(many)]), "each is acknowledged once to each who sent it"
    assert kills > 2 * many // every / 2
    rows = received(services)
    assert sorted((int(row.control_id), row.code) for row in rows) == [(one, code_of(one)) for one in range(many)]
    _refuse_doubles(services, many)
    services.store.close()


def _until_killed(receiver: Receiver, lines: list[Line], other: int, after: int) -> None:
    """Let lines send until so many acknowledgements have come, and kill the server while others are on their way."""
    steps = {after: lambda: os.kill(other, signal.SIGKILL), after + 9: lambda: receiver.signal_all(signal.SIGKILL)}
    selector = selectors.DefaultSelector()
    for line in lines:
        if line.left:
            selector.register(line.connect(receiver.port), selectors.EVENT_READ, line)
    seen = 0
    while selector.get_map() and any(line.left for line in lines):
        for key, _ in selector.select(10):
            line: Line = key.data
            before = len(line.acknowledged)
            try:
                stands = line.read()
            except ConnectionError:
                stands = False
            seen += len(line.acknowledged) - before
            if not stands:
                selector.unregister(key.fileobj)
        for step in [one for one in steps if one <= seen]:
            steps.pop(step)()
    selector.close()
    for line in lines:
        if line.socket is not None:
            line.socket.close()


def _refuse_doubles(services: object, many: int) -> None:
    sound = [number for number in range(many) if code_of(number) == "AA"]
    orders = {number - 1 if number % 10 == 9 else number for number in sound}
    found = facts(services)  # type: ignore[arg-type]
    assert len([one for one in found if one.version == 1]) == len(orders)
    assert len([one for one in found if one.change == "correct"]) == len(sound) - len(orders)
    with services.store.reading() as session:  # type: ignore[attr-defined]
        names = [one.value for one in session.find(ExternalId)]
        noted = [one.request_id for one in session.find(AuditRow) if one.action in ("record", "correct")]
    assert sorted(names) == sorted(f"F:O{order}|777-3^LN" for order in orders)
    assert sorted(noted) == sorted(f"laboratory/{number}" for number in sound)
    assert services.store.check() == []  # type: ignore[attr-defined]


def test_what_is_acknowledged_is_stored_once_whatever_dies(tmp_path: Path) -> None:
    _killed_often(tmp_path / "instance", 400, 250, random.Random(7))


@pytest.mark.long
def test_ten_thousand_messages_and_many_deaths(tmp_path: Path) -> None:
    _killed_often(tmp_path / "instance", 10_000, 800, random.Random())
