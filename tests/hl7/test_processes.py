"""The processes of the MLLP server: connections are spread evenly, and whichever of them dies, the others see to it."""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.hl7.support import Receiver, count, eventually, framed, furnish, read_all, received
from titrator.assembly import make_services
from titrator.settings import Settings


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    furnish(tmp_path / "instance").store.close()
    return tmp_path / "instance"


@pytest.fixture
def receiver(instance: Path) -> Iterator[Receiver]:
    """With room for eight connections, so that an address has four at the most."""
    one = Receiver(instance, TITRATOR_MLLP_CONNECTIONS="8")
    yield one
    one.end(signal.SIGKILL)


def answered(one: socket.socket, control_id: str) -> bool:
    """Whether a message gets its acknowledgement; false where the connection is over."""
    with suppress(ConnectionError):
        one.sendall(framed(count(control_id)))
        return f"MSA|AA|{control_id}\r".encode() in one.recv(65536)
    return False


def test_a_process_that_dies_takes_its_share_of_connections_with_it_and_is_replaced(receiver: Receiver) -> None:
    first = receiver.others
    assert len(first) == 2
    with ExitStack() as stack:
        peers = [stack.enter_context(receiver.socket()) for _ in range(4)]
        assert [answered(one, f"A{place}") for place, one in enumerate(peers)] == [True] * 4
        os.kill(first[0], signal.SIGKILL)
        receiver.told("mllp-process-ended")
        assert sorted(answered(one, f"B{place}") for place, one in enumerate(peers)) == [False, False, True, True]
        eventually(lambda: len(receiver.others) == 3)
        anew = [stack.enter_context(receiver.socket()) for _ in range(2)]
        assert [answered(one, f"C{place}") for place, one in enumerate(anew)] == [True, True]
        assert read_all(stack.enter_context(receiver.socket())) == b"", "the places of those that are gone are free"
        os.kill(receiver.others[-1], signal.SIGKILL)
        assert [read_all(one) for one in anew] == [b"", b""], "the one in its place got them, for it had fewest"
        assert receiver.end() == 0


def test_a_process_that_is_told_to_end_is_replaced(receiver: Receiver) -> None:
    with receiver.socket() as one, receiver.socket() as other:
        assert [answered(one, "1"), answered(other, "2")] == [True, True]
        os.kill(receiver.others[0], signal.SIGTERM)
        receiver.told("mllp-process-ended")
        assert sorted([answered(one, "3"), answered(other, "4")]) == [False, True]
        eventually(lambda: len(receiver.others) == 3)
        with receiver.socket() as anew:
            assert answered(anew, "5")


def test_who_hangs_up_and_connects_again_at_once_finds_a_place(receiver: Receiver) -> None:
    """Though the first process may hear only later that it hung up."""
    for turn in range(10):
        with ExitStack() as stack:
            peers = [stack.enter_context(receiver.socket()) for _ in range(4)]
            assert [answered(one, f"{turn}-{place}") for place, one in enumerate(peers)] == [True] * 4


def test_where_no_process_can_be_started_those_that_are_there_go_on(receiver: Receiver) -> None:
    with receiver.socket() as one, receiver.socket() as other:
        assert [answered(one, "1"), answered(other, "2")] == [True, True]
        least, most = resource.prlimit(receiver.process.pid, resource.RLIMIT_NOFILE)
        used = len(list(Path(f"/proc/{receiver.process.pid}/fd").iterdir()))
        resource.prlimit(receiver.process.pid, resource.RLIMIT_NOFILE, (used - 2, most))
        os.kill(receiver.others[0], signal.SIGKILL)
        receiver.told("mllp-process-not-started")
        assert sorted([answered(one, "3"), answered(other, "4")]) == [False, True]
        resource.prlimit(receiver.process.pid, resource.RLIMIT_NOFILE, (least, most))
        eventually(lambda: len(receiver.others) == 3)


def test_hundreds_of_connections_are_closed_at_the_end(instance: Path) -> None:
    """None of them has to be told to a first process that does not listen any more."""
    receiver = Receiver(instance, TITRATOR_MLLP_CONNECTIONS="800", TITRATOR_MLLP_PROCESSES="1")
    with ExitStack() as stack:
        peers = [stack.enter_context(receiver.socket()) for _ in range(400)]
        assert answered(peers[-1], "1")
        assert receiver.end() == 0
        assert [read_all(one) for one in peers] == [b""] * 400


def test_while_nobody_serves_peers_wait(receiver: Receiver) -> None:
    for one in receiver.others:
        os.kill(one, signal.SIGKILL)
    eventually(lambda: receiver.log.read_text().count("mllp-process-ended") == 2)
    with receiver.socket() as one:
        assert answered(one, "1")


def test_if_the_first_process_dies_the_others_finish_and_end(receiver: Receiver, instance: Path) -> None:
    with receiver.socket() as one, receiver.socket() as other:
        one.sendall(framed(count("1")))
        assert one.recv(65536)
        receiver.process.kill()
        assert read_all(one) == read_all(other) == b""
        receiver.process.wait()
    again = Receiver(instance)
    with again.socket() as one:
        assert answered(one, "2")
    assert again.end() == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_of_them_ends_them_in_order(receiver: Receiver, instance: Path, how: int) -> None:
    with receiver.socket() as one:
        one.sendall(b"".join(framed(count(f"{number}")) for number in range(40)))
        one.recv(1, socket.MSG_PEEK)
        receiver.signal_all(how)
        said = read_all(one).count(b"MSA|AA|")
    assert receiver.end() == 0
    assert "mllp-process-ended" not in receiver.log.read_text()
    services = make_services(Settings(instance=instance))
    assert len(received(services)) == said
    services.store.close()
