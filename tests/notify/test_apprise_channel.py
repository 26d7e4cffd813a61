"""Mail, SMS and chat, against real servers on this computer."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.notify.servers import (
    DEADLINE,
    SOON,
    MailServer,
    Receiver,
    dripping_server,
    mail_server,
    message,
    receiver,
    silent_server,
)
from titrator.notify.address import with_recipient
from titrator.notify.apprise_channel import AppriseChannel
from titrator.notify.base import NotSent, Unacceptable

SENDER = "from=titrator@example.org"


@pytest.fixture
def server() -> Iterator[MailServer]:
    with mail_server() as made:
        yield made


@pytest.fixture
def web() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def to(port: int, recipients: str = "ward@example.org", more: str = "") -> AppriseChannel:
    return AppriseChannel(f"mailto://127.0.0.1:{port}/{recipients}?{SENDER}{more}")


def refusal(channel: AppriseChannel, **parts: str) -> NotSent:
    with pytest.raises(NotSent) as caught:
        channel.send(message(**parts))
    told = str(caught.value) + repr(caught.value)
    for secret in ("example.org", "p@ss", "p%40ss", "127.0.0.1", "token", "ward", "no such"):
        assert secret not in told
    return caught.value


def test_a_mail_as_it_arrives(server: MailServer) -> None:
    more = "&name=Hämatologie%20%28Nord%29&cc=cc@example.org&bcc=bcc@example.org&reply=desk@example.org"
    more = more.replace("ä", "%C3%A4")
    to(server.port, "ward@example.org/o'brien@example.org", more).send(message(subject="Zählung fällig"))
    (mail,), (envelope,) = server.mails, server.envelopes
    assert envelope.mail_from == "titrator@example.org"
    assert envelope.rcpt_tos == ["ward@example.org", "o'brien@example.org", "cc@example.org", "bcc@example.org"]
    assert mail["Subject"] == "Zählung fällig"
    assert mail["From"].addresses[0].display_name == "Hämatologie Nord"
    assert mail["To"] == "ward@example.org, o'brien@example.org"
    assert mail["Cc"] == "cc@example.org"
    assert mail["Bcc"] is None
    assert mail["Reply-To"] == "desk@example.org"
    assert mail["Message-ID"] == "<r-17@titrator>"
    assert mail["X-Titrator-Message"] == "r-17"
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().splitlines() == ["Zählung ≥ 1 fällig.", "https://t.example/7"]
    assert bytes(envelope.content).isascii()


def test_a_repeat_has_the_same_message_id(server: MailServer) -> None:
    channel = to(server.port)
    channel.send(message())
    channel.send(message())
    channel.send(message("r-18"))
    assert [mail["Message-ID"] for mail in server.mails] == ["<r-17@titrator>", "<r-17@titrator>", "<r-18@titrator>"]


@pytest.mark.parametrize("sign", ["\n", "\r\n", "\r", "\u2028", "\x0b"])
def test_a_subject_makes_no_second_header(server: MailServer, sign: str) -> None:
    to(server.port).send(message(subject=f"Due{sign}Bcc: b@example.org"))
    (mail,), (envelope,) = server.mails, server.envelopes
    assert mail["Subject"] == "Due Bcc: b@example.org"
    assert mail["Bcc"] is None
    assert envelope.rcpt_tos == ["ward@example.org"]


def test_a_line_with_a_point_does_not_end_the_mail(server: MailServer) -> None:
    to(server.port).send(message(body="one\n.\r\n.\nMAIL FROM:<x@example.org>\n" + "x" * 5000))
    (mail,) = server.mails
    assert mail.get_content().splitlines() == ["one", ".", ".", "MAIL FROM:<x@example.org>", "x" * 5000]


def test_a_person_is_told_by_a_gateway(server: MailServer) -> None:
    gateway = f"mailto://127.0.0.1:{server.port}/{{to}}?{SENDER}"
    AppriseChannel(with_recipient(gateway, "ann+counts@example.org")).send(message())
    assert server.envelopes[0].rcpt_tos == ["ann+counts@example.org"]
    with pytest.raises(Unacceptable):
        AppriseChannel(gateway)


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
def test_a_login() -> None:
    with mail_server(login=True) as server:
        AppriseChannel(f"mailto://clinic:p%40ss@127.0.0.1:{server.port}/ward@example.org?{SENDER}").send(message())
        assert server.logins == [("clinic", "p@ss")]
        assert len(server.mails) == 1
        wrong = AppriseChannel(f"mailto://clinic:p%40sst@127.0.0.1:{server.port}/ward@example.org?{SENDER}")
        assert str(refusal(wrong)) == "the mail server refused the login (535)"
        assert "530" in str(refusal(to(server.port)))


@pytest.mark.parametrize(
    ("answers", "why", "lasting"),
    [
        ({"ward@example.org": "550 5.1.1 no such user ward@example.org"}, "refused 1 of 1 recipients (550)", True),
        ({"ward@example.org": "551 no such user here"}, "refused 1 of 1 recipients (551)", True),
        (
            {"ward@example.org": "550 5.7.1 relaying denied to ward@example.org"},
            "refused 1 of 1 recipients (550)",
            False,
        ),
        ({"ward@example.org": "451 greylisted"}, "refused 1 of 1 recipients (451)", False),
        ({"ward@example.org": "552 mailbox full"}, "refused 1 of 1 recipients (552)", False),
        ({"data": "554 no such mail of ward@example.org"}, "refused the mail (554)", False),
        ({"data": "451 later"}, "refused the mail (451)", False),
    ],
)
def test_a_refusal(server: MailServer, answers: dict[str, str], why: str, lasting: bool) -> None:
    server.answers = answers
    refused = refusal(to(server.port))
    assert str(refused) == f"the mail server {why}"
    assert refused.lasting is lasting


def test_one_of_two_recipients_is_refused(server: MailServer) -> None:
    server.answers = {"ward@example.org": "550 no such user"}
    refused = refusal(to(server.port, "ward@example.org/desk@example.org"))
    assert str(refused) == "the mail server refused 1 of 2 recipients (550)"
    assert server.envelopes[0].rcpt_tos == ["desk@example.org"]


def test_a_server_that_hangs() -> None:
    with silent_server() as port:
        assert (
            str(refusal(AppriseChannel(f"mailto://127.0.0.1:{port}/ward@example.org?{SENDER}", SOON)))
            == "the mail server did not answer in time"
        )


@pytest.mark.parametrize(
    ("first", "drip", "heard"),
    [
        (b"", b"2", b""),
        (b"", b"220-more\r\n", b""),
        (b"220 test\r\n", b"250-MORE\r\n", b"ehlo"),
        (b"220 test\r\n", b"550-no such user\r\n", b"rcpt"),
        (b"220 test\r\n", b"550 ", b"rcpt"),
        (b"220 test\r\n", b"354 ", b"data"),
    ],
)
def test_a_mail_server_that_drips(first: bytes, drip: bytes, heard: bytes) -> None:
    """Each byte comes in time, the answer does not; one that was cut off is none, whatever its code."""
    with dripping_server(first=first, drip=drip, heard=heard) as port:
        refused = slow(f"mailto://127.0.0.1:{port}/ward@example.org?{SENDER}")
        assert str(refused) == "the mail server took too long"
        assert not refused.lasting


def test_a_mail_server_that_drips_into_the_handshake_of_tls() -> None:
    with dripping_server(first=b"\x16\x03\x03\x40\x00", drip=b"\x02") as port:
        refused = slow(f"mailtos://127.0.0.1:{port}/ward@example.org?mode=ssl&{SENDER}")
        assert str(refused) == "the mail server took too long"


def test_a_goodbye_that_drips_is_not_waited_for() -> None:
    """What the server has taken is sent."""
    said = b"220 test\r\n" + 3 * b"250 OK\r\n" + b"354 go\r\n250 OK\r\n"  # ehlo, mail, rcpt; data, the mail itself
    with dripping_server(first=said, drip=b"2") as port:
        began = time.monotonic()
        AppriseChannel(f"mailto://127.0.0.1:{port}/ward@example.org?{SENDER}", 5, DEADLINE).send(message())
        assert time.monotonic() - began < DEADLINE + 3


def slow(address: str) -> NotSent:
    """What a send raises, which must be soon after its deadline."""
    began = time.monotonic()
    refused = refusal(AppriseChannel(address, timeout_seconds=5, deadline_seconds=DEADLINE))
    assert time.monotonic() - began < DEADLINE + 3
    return refused


def test_a_service_that_drips_is_left_behind_a_few_times_and_then_asked_no_more() -> None:
    before = set(threading.enumerate())
    with dripping_server(first=b"HTTP/1.1 200 OK\r\nX-Slow: ", drip=b"x") as port:
        address = f"ntfy://127.0.0.1:{port}/token"
        assert {str(slow(address)) for _ in range(3)} == {"the service took too long"}
        left = {one for one in threading.enumerate() if one.name == "titrator-notify"} - before
        assert len(left) == 3
        assert str(slow(f"{address}-of-another")) == "the service still holds earlier messages up"
        with receiver() as other:
            other.answer = lambda asked: asked.give(200, b"{}")
            AppriseChannel(f"ntfy://127.0.0.1:{other.port}/token").send(message())
    for one in left:
        one.join(10)
    with pytest.raises(NotSent, match="could not be reached"):  # it is asked again once they have ended
        AppriseChannel(address).send(message())


def test_a_port_where_nothing_listens(dead_port: int) -> None:
    refused = refusal(to(dead_port))
    assert str(refused) == "the mail server could not be reached"
    assert not refused.lasting
    ntfy = AppriseChannel(f"ntfy://127.0.0.1:{dead_port}/token")
    assert str(refusal(ntfy)) == "the service could not be reached"


def test_a_server_without_the_encryption_that_was_promised_gets_nothing(server: MailServer) -> None:
    channel = AppriseChannel(f"mailtos://clinic:p%40ss@127.0.0.1:{server.port}/ward@example.org?{SENDER}")
    assert "does not offer the encryption" in str(refusal(channel))
    channel = AppriseChannel(f"mailtos://127.0.0.1:{server.port}/ward@example.org?mode=ssl&{SENDER}")
    assert "no encrypted connection" in str(refusal(channel))
    assert not server.envelopes
    assert not server.logins


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")
def test_a_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with mail_server(tls=context) as server:
        channel = AppriseChannel(f"mailtos://127.0.0.1:{server.port}/ward@example.org?{SENDER}", timeout_seconds=5)
        assert str(refusal(channel)) == "the certificate of the mail server is not trusted"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        channel.send(message())
        assert len(server.mails) == 1


def test_a_message_by_apprise(web: Receiver) -> None:
    web.answer = lambda asked: asked.give(200, b"{}")
    AppriseChannel(f"ntfy://user:p%40ss@127.0.0.1:{web.port}/token").send(message(subject="Due\nX: y"))
    (asked,) = web.seen
    told = {"topic": "token", "title": "Due X: y", "message": "Zählung ≥ 1 fällig.\nhttps://t.example/7"}
    assert json.loads(asked.body) == told
    assert "github" not in str(asked.headers)


@pytest.mark.parametrize("status", [302, 403, 429, 500])
def test_a_service_that_refuses(web: Receiver, status: int) -> None:
    web.answer = lambda asked: asked.give(status, b"no such token", Location="/elsewhere")
    assert str(refusal(AppriseChannel(f"ntfy://127.0.0.1:{web.port}/token"))) == f"the service answered {status}"
    assert len(web.seen) == 1


def test_a_service_that_hangs() -> None:
    with silent_server() as port:
        channel = AppriseChannel(f"ntfy://127.0.0.1:{port}/token", SOON)
        assert str(refusal(channel)) == "the service could not be reached"


def test_many_threads_each_hear_their_own_reason(stack: ExitStack, server: MailServer) -> None:
    statuses = [400, 403, 404, 500, 503]
    webs = [stack.enter_context(receiver()) for _ in statuses]
    for one, status in zip(webs, statuses, strict=True):
        one.answer = lambda asked, status=status: asked.give(status)  # type: ignore[misc]
    channels = [AppriseChannel(f"ntfy://127.0.0.1:{one.port}/token", 5) for one in webs]
    with ThreadPoolExecutor(10) as pool:
        told = list(pool.map(lambda channel: str(refusal(channel)), channels * 6))
        list(pool.map(lambda number: to(server.port).send(message(f"m-{number}")), range(20)))
    assert told == [f"the service answered {status}" for status in statuses] * 6
    assert {mail["X-Titrator-Message"] for mail in server.mails} == {f"m-{number}" for number in range(20)}


def test_nothing_of_an_address_is_shown() -> None:
    channel = AppriseChannel(f"mailtos://clinic:p%40ss@mail.example.org/ward@example.org?{SENDER}")
    assert repr(channel) == "AppriseChannel(mailtos://mail.example.org/…)"
    with pytest.raises(Unacceptable) as caught:
        AppriseChannel("json://user:p%40ss@localhost/")
    assert "p%40ss" not in str(caught.value)
