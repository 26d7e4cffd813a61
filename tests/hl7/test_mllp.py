"""The MLLP server as a process, with a client that we did not write: results, garbage, slow peers, TLS, its end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.hl7.support import (
    CONFIG,
    TITRATOR,
    Receiver,
    Said,
    count,
    eventually,
    facts,
    framed,
    furnish,
    head,
    message,
    obr,
    obx,
    pid,
    read_all,
    received,
)

MADE = iter(range(10_000))


def one_of(number: int = 17, value: str = "63", order: str | None = None) -> bytes:
    """A message of its own, of an order of its own."""
    ident = f"{next(MADE)}"
    return message(head(f"M{ident}"), pid(f"{number}"), obr(order or f"O{ident}"), obx(value))


def acknowledged(sent: bytes) -> list[Said]:
    return [Said(one.decode()) for one in re.findall(rb"\x0b(.*?)\x1c\r", sent, re.DOTALL)]


def test_results_go_in_and_are_corrected(served: Receiver) -> None:
    services: Any = served.services  # type: ignore[attr-defined]
    with served.client() as client:
        for sent, value in ((one_of(order="A"), "63"), (one_of(order="A", value="64"), "64")):
            said = Said(client.send_message(sent).strip(b"\x0b\x1c\r").decode())
            assert said.code == "AA"
            of_order = [one for one in facts(services) if one.current and one.kind == "platelet-count"]
            assert f"{of_order[-1].value}" == value
    assert "Muster" not in served.log.read_text(), "the log names nobody"


def test_several_messages_in_one_write_are_acknowledged_in_order(served: Receiver) -> None:
    some = [one_of(17 + number % 5) for number in range(40)]
    with served.socket() as one:
        one.sendall(b"\r".join(framed(sent) for sent in some))
        one.shutdown(socket.SHUT_WR)
        said = acknowledged(read_all(one))
    assert [one.control_id for one in said] == [re.findall(rb"\|(M\d+)\|", sent)[0].decode() for sent in some]
    assert {one.code for one in said} == {"AA"}


def test_a_message_may_come_byte_by_byte(served: Receiver) -> None:
    with served.socket() as one:
        sent = framed(one_of())
        for place in range(0, len(sent), 7):
            one.sendall(sent[place : place + 7])
        answer = b""
        while not answer.endswith(b"\x1c\r"):
            answer += one.recv(65536)
    assert [one.code for one in acknowledged(answer)] == ["AA"]


def test_the_same_message_on_another_connection_gets_the_same_answer(served: Receiver) -> None:
    sent, answers = one_of(), []
    for _ in range(2):
        with served.client() as client:
            answers.append(client.send_message(sent))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x0bMSH|^~\\&|\x0bMSH",
        b"\x0bMSH|\x1cx",
        b"\x0b" + b"x" * 30_000,
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
    ids=["no frame", "frame in a frame", "end without return", "too long", "a TLS hello"],
)
def test_garbage_is_let_go_and_what_came_before_is_acknowledged(served: Receiver, garbage: bytes) -> None:
    with served.socket() as one:
        one.sendall(framed(one_of()) + garbage)
        assert [said.code for said in acknowledged(read_all(one))] == ["AA"]


def test_garbage_in_a_frame_is_turned_away_and_the_connection_goes_on(served: Receiver) -> None:
    with served.socket() as one:
        one.sendall(framed(b"hello") + framed(b"\xff\xfe\x00") + framed(b"") + framed(one_of()))
        one.shutdown(socket.SHUT_WR)
        assert [said.code for said in acknowledged(read_all(one))] == ["AR", "AR", "AR", "AA"]


def test_half_a_frame_stores_nothing(served: Receiver) -> None:
    services: Any = served.services  # type: ignore[attr-defined]
    before = len(received(services))
    with served.socket() as one:
        one.sendall(framed(one_of())[:-1])
    with served.socket() as other:
        other.sendall(framed(one_of())[:60])
        assert read_all(other) == b"", "after its time it is let go"
    assert len(received(services)) == before
    served.told("a frame that does not end")


def test_a_slow_peer_holds_up_nobody(served: Receiver) -> None:
    """While one sends a byte now and then, another one is served; the slow one is let go in the end."""
    with served.socket() as slow, served.client() as client:
        slow.sendall(framed(one_of())[:50])
        for _ in range(5):
            began = time.monotonic()
            assert Said(client.send_message(one_of()).strip(b"\x0b\x1c\r").decode()).code == "AA"
            assert time.monotonic() - began < 1
            slow.sendall(b"x")
        assert read_all(slow) == b""


def test_a_peer_that_reads_nothing_is_let_go(served: Receiver) -> None:
    """Its acknowledgements pile up, nothing more is read of it, and after its time it is cut off."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.connect(("127.0.0.1", served.port))
    one.settimeout(20)
    junk = framed(b"hello") * 200
    with one, pytest.raises(OSError, match=r"reset|Broken pipe"):
        _send_for_ever(one, junk)
    served.told("acknowledgements are not read")


def _send_for_ever(one: socket.socket, junk: bytes) -> None:
    while True:
        one.sendall(junk)


# Of its own


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    return tmp_path / "instance"


@pytest.fixture
def running(instance: Path) -> Iterator[list[Receiver]]:
    """What a test starts, ended with it."""
    started: list[Receiver] = []
    yield started
    for one in started:
        one.end(signal.SIGKILL)


def test_while_the_store_is_taken_no_peer_loses_its_time(instance: Path, running: list[Receiver]) -> None:
    """Another process writes for longer than a frame may take: what a peer sent meanwhile could not be read."""
    services = furnish(instance)
    receiver = Receiver(instance, TITRATOR_MLLP_FRAME_SECONDS="1", TITRATOR_MLLP_PROCESSES="1")
    running.append(receiver)
    sent = framed(one_of())
    with receiver.socket() as one, receiver.socket() as half:
        half.sendall(sent[:60])
        half.settimeout(1.5)
        with services.store.writing():
            one.sendall(framed(one_of()))
            with pytest.raises(TimeoutError):
                half.recv(1)
            half.sendall(sent[60:90])
        assert [said.code for said in acknowledged(one.recv(65536))] == ["AA"]
        half.sendall(sent[90:])
        assert [said.code for said in acknowledged(half.recv(65536))] == ["AA"]
    services.store.close()


def test_a_peer_that_sends_hundreds_at_once_waits_for_its_turn(instance: Path, running: list[Receiver]) -> None:
    """One read may bring twenty thousand empty frames: all the others waited for seconds until these were answered."""
    furnish(instance).store.close()
    receiver = Receiver(instance, TITRATOR_MLLP_PROCESSES="1")
    running.append(receiver)
    with receiver.socket() as many, receiver.socket() as other:
        for one in (many, other):  # both have come to the process that serves them
            one.sendall(framed(b""))
            assert one.recv(65536).count(b"\x1c") == 1
        many.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 400_000)  # room for all its acknowledgements, unread
        many.sendall(framed(b"") * 1200)
        other.sendall(framed(count("1")))
        assert b"MSA|AA|1" in other.recv(65536)
        answered = many.recv(2**22, socket.MSG_PEEK).count(b"\x1c")
        many.shutdown(socket.SHUT_WR)
        assert read_all(many).count(b"\x1c") == 1200
        assert answered < 1000


def test_peers_that_are_not_on_the_list_are_not_read(instance: Path, running: list[Receiver]) -> None:
    furnish(instance, config=CONFIG.replace("127.0.0.1", "10.1.0.0/16")).store.close()
    running.append(Receiver(instance))
    with running[0].socket() as one:
        assert read_all(one) == b""
    running[0].told("no feed comes from there")


def test_there_are_so_many_connections_and_no_more(instance: Path, running: list[Receiver]) -> None:
    furnish(instance).store.close()
    receiver = Receiver(instance, TITRATOR_MLLP_CONNECTIONS="4", TITRATOR_MLLP_IDLE_SECONDS="2")
    running.append(receiver)
    with receiver.socket() as one, receiver.socket() as other, receiver.socket() as third:
        assert read_all(third) == b"", "an address has half of them at the most"
        receiver.told("too many connections")
        one.sendall(framed(count("1")))
        assert one.recv(65536).startswith(b"\x0bMSH")
        assert read_all(other) == b"", "silent for too long"
        assert read_all(one) == b""
    with receiver.client() as client:
        assert b"MSA|AA|2\r" in client.send_message(count("2"))


def test_on_sigterm_what_has_come_is_acknowledged(instance: Path, running: list[Receiver]) -> None:
    services = furnish(instance, 5)
    receiver = Receiver(instance)
    running.append(receiver)
    some = [one_of(17 + number % 5) for number in range(300)]
    with receiver.socket() as one, receiver.socket() as half:
        half.sendall(framed(one_of())[:60])
        one.sendall(b"".join(framed(sent) for sent in some))
        first = one.recv(10)
        assert receiver.end() == 0
        said = acknowledged(first + read_all(one))
    assert {one.code for one in said} == {"AA"}
    assert {one.control_id for one in said} == {one.control_id for one in received(services)}
    assert len(said) >= 16
    services.store.close()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("", "hl7_feeds: there is none"),
        (CONFIG.replace('"lis"', '"nobody"'), "laboratory: nobody is no active account of the role ehr"),
        (CONFIG + 'clinic = "0123"\n', "laboratory: 0123 is no clinic of the account lis"),
    ],
)
def test_feeds_that_cannot_be_received_are_told_at_the_start(instance: Path, config: str, said: str) -> None:
    furnish(instance, config=config).store.close()
    assert said in _refused(instance)


def _refused(instance: Path, *arguments: str, **more: str) -> str:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TITRATOR_")}
    ran = subprocess.run(
        [TITRATOR, "mllp", "--port", "0", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=kept | {"TITRATOR_INSTANCE": str(instance)} | more,
    )
    assert ran.returncode in (3, 4), ran.stderr
    return ran.stderr


# TLS


class Authority:
    """An authority that signs certificates, in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(name, self.key.public_key(), is_authority=True)
        self.file = self._write(f"{name}.pem", self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate and its key, as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        signed = self._sign(name, key.public_key(), is_authority=False).public_bytes(serialization.Encoding.PEM)
        return self._write(f"{self.name}-{name}.pem", signed), self._write(f"{self.name}-{name}.key", private)

    def _sign(self, name: str, key: ec.EllipticCurvePublicKey, *, is_authority: bool) -> x509.Certificate:
        subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, self.name))
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def _write(self, name: str, content: bytes) -> Path:
        file = self.folder / name
        file.write_bytes(content)
        return file


def test_over_tls_only_with_a_certificate_of_the_authority(instance: Path, running: list[Receiver]) -> None:
    services = furnish(instance)
    ours, theirs = Authority(instance, "ours"), Authority(instance, "theirs")
    certificate, key = ours.issue("server")
    files = {"CERTIFICATE": certificate.name, "KEY": key.name, "CLIENT_CA": ours.file.name}
    receiver = Receiver(instance, **{f"TITRATOR_MLLP_{name}": value for name, value in files.items()})
    running.append(receiver)
    assert "with TLS" in receiver.said

    def ask(own: tuple[Path, Path] | None) -> bytes:
        context = ssl.create_default_context(cafile=str(ours.file))
        if own is not None:
            context.load_cert_chain(*own)
        with receiver.socket() as plain, context.wrap_socket(plain, server_hostname="localhost") as one:
            one.sendall(framed(count("1")))
            return one.recv(65536)

    assert b"MSA|AA|1\r" in ask(ours.issue("laboratory"))
    for other in (None, theirs.issue("laboratory")):
        answer = b""
        with suppress(ssl.SSLError, ConnectionError):
            answer = ask(other)
        assert answer == b""
    receiver.told("mllp-no-handshake")
    with receiver.socket() as plain:
        plain.sendall(framed(count("2")))
        assert b"MSA" not in read_all(plain)
    assert [one.control_id for one in received(services)] == ["1"]
    services.store.close()


def test_tls_needs_all_its_files(instance: Path) -> None:
    furnish(instance).store.close()
    said = _refused(instance, TITRATOR_MLLP_CERTIFICATE="server.pem")
    assert "mllp_key: required with mllp_certificate" in said
    assert "mllp_client_ca: required with mllp_certificate" in said
    (instance / "junk.pem").write_text("junk")
    files = dict.fromkeys(("TITRATOR_MLLP_CERTIFICATE", "TITRATOR_MLLP_KEY", "TITRATOR_MLLP_CLIENT_CA"), "junk.pem")
    assert "not a certificate with its key" in _refused(instance, **files)
    assert "No such file" in _refused(instance, **files | {"TITRATOR_MLLP_KEY": "nothing.key"})


def test_the_log_tells_what_happened_and_of_nobody(instance: Path, running: list[Receiver]) -> None:
    furnish(instance).store.close()
    receiver = Receiver(instance)
    running.append(receiver)
    with receiver.client() as client:
        client.send_message(count("1"))
        client.send_message(count("2", "<5"))
    eventually(lambda: receiver.log.read_text().count("hl7-messages") == 2)
    lines = [json.loads(line) for line in receiver.log.read_text().splitlines()]
    told = [one for one in lines if one["event"] == "hl7-message"]
    assert [(one["code"], one["places"]) for one in told] == [("AA", []), ("AE", ["OBX[1]-5"])]
    said = json.dumps([{key: value for key, value in one.items() if key != "timestamp"} for one in lines])
    assert not re.search(r"Muster|1960|\b17\b|<5", said)
