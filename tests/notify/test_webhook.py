"""Webhooks, against a real receiver that verifies with the library of the standard."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import standardwebhooks

from tests.notify.servers import DEADLINE, SOON, Answer, Receiver, dripping_server, message, receiver, silent_server
from titrator.notify.base import NotSent, Unacceptable
from titrator.notify.webhook import Webhook, new_secret, secret_faults, signature

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 64).decode()


@pytest.fixture
def web() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def refusal(url: str, timeout_seconds: float = 10) -> NotSent:
    with pytest.raises(NotSent) as caught:
        Webhook(url, SECRET, timeout_seconds).send(message())
    for secret in ("127.0.0.1", "token", "hooks", SECRET[6:], "secret body"):
        assert secret not in str(caught.value) + repr(caught.value)
    return caught.value


def test_the_receiver_verifies_what_it_gets(web: Receiver) -> None:
    sent = message()
    Webhook(web.url, SECRET).send(sent)
    (asked,) = web.seen
    assert asked.path == "/hooks/token"
    assert standardwebhooks.Webhook(SECRET).verify(asked.body, asked.headers) == sent.event
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["webhook-id"] == "r-17"
    assert asked.headers["user-agent"].startswith("titrator/")
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(SECRET).verify(asked.body + b" ", asked.headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(OTHER).verify(asked.body, asked.headers)


def test_the_signature_of_the_standard_s_own_example() -> None:
    """The test vector that the libraries of the standard share."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    said = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert said == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_each_of_several_secrets_verifies(web: Receiver) -> None:
    Webhook(web.url, f"{OTHER} {SECRET}").send(message())
    (asked,) = web.seen
    for secret in (SECRET, OTHER):
        standardwebhooks.Webhook(secret).verify(asked.body, asked.headers)


def test_a_repeat_has_the_same_id_and_body_and_its_own_timestamp(web: Receiver) -> None:
    sent = message()
    again = replace(sent, at=sent.at + timedelta(seconds=60), event=dict(reversed(sent.event.items())))
    hook = Webhook(web.url, SECRET)
    hook.send(sent)
    hook.send(again)
    first, second = web.seen
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) == int(first.headers["webhook-timestamp"]) + 60
    standardwebhooks.Webhook(SECRET).verify(second.body, second.headers)
    assert len(web.connections) == 1, "the connection was not kept"


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_success(web: Receiver, status: int) -> None:
    web.answer = lambda asked: asked.give(status)
    Webhook(web.url, SECRET).send(message())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(web: Receiver, status: int) -> None:
    web.answer = lambda asked: asked.give(status, Location="/elsewhere")
    refused = refusal(web.url)
    assert "redirect" in str(refused)
    assert not refused.lasting
    assert len(web.seen) == 1


@pytest.mark.parametrize(("status", "lasting"), [(400, False), (404, False), (409, False), (410, True), (500, False)])
def test_a_refusal(web: Receiver, status: int, lasting: bool) -> None:
    web.answer = lambda asked: asked.give(status, b"secret body", Retry_After="7")
    refused = refusal(web.url)
    assert str(refused) == f"the receiver answered {status}"
    assert refused.lasting is lasting
    assert refused.retry_after is None


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("86400", 86400),
        ("86401", 86400),
        ("999999999", 86400),
        ("9999999999", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2115 07:28:00 GMT", 86400),
    ],
)
def test_the_receiver_asks_to_be_left_alone(web: Receiver, status: int, after: str, seconds: int | None) -> None:
    web.answer = lambda asked: asked.give(status, Retry_After=after)
    refused = refusal(web.url)
    assert refused.retry_after == seconds
    assert not refused.lasting


def test_a_date_to_come_is_counted_from_the_attempt(web: Receiver) -> None:
    sent = message()
    until = (sent.at + timedelta(seconds=600)).astimezone(UTC)
    web.answer = lambda asked: asked.give(429, Retry_After=format_datetime(until, usegmt=True))
    with pytest.raises(NotSent) as caught:
        Webhook(web.url, SECRET).send(sent)
    assert caught.value.retry_after in {599, 600}


def test_a_huge_answer_is_not_read(web: Receiver) -> None:
    """The receiver would send a gigabyte; it gets no further than what the two computers buffer."""
    sent, broke = [0], threading.Event()

    def flood(asked: Answer) -> None:
        asked.handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            for _ in range(1000):
                asked.handler.wfile.write(1_000_000 * b"x")
                sent[0] += 1
        except OSError:
            broke.set()
            raise

    web.answer = flood
    Webhook(web.url, SECRET, 5).send(message())
    assert broke.wait(10)
    assert sent[0] < 50


@pytest.mark.parametrize("content", [b"", b"HTTP/1.1 20", b"HTTP/1.1 ", b"nonsense\r\n\r\n"])
def test_a_receiver_that_breaks_off(web: Receiver, content: bytes) -> None:
    web.answer = lambda asked: asked.raw(content)
    assert str(refusal(web.url)) == "the receiver could not be reached, or broke off"


def test_an_answer_cut_off_after_its_status_is_an_answer(web: Receiver) -> None:
    web.answer = lambda asked: asked.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
    Webhook(web.url, SECRET).send(message())
    web.answer = lambda asked: asked.raw(b"HTTP/1.1 410 Gone\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nx")
    assert refusal(web.url).lasting


def test_a_receiver_that_hangs(dead_port: int) -> None:
    with silent_server() as port:
        assert str(refusal(f"http://127.0.0.1:{port}/hooks", SOON)) == "the receiver did not answer in time"
    assert str(refusal(f"http://127.0.0.1:{dead_port}/hooks")) == "the receiver could not be reached, or broke off"
    with silent_server() as port:
        assert "did not answer" in str(refusal(f"https://127.0.0.1:{port}/hooks", SOON))


@pytest.mark.parametrize(
    ("first", "drip"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"X-Slow: x\r\n"),
        (b"HTTP/1.1 410 Gone\r\nX-Slow: ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_a_receiver_that_drips(first: bytes, drip: bytes) -> None:
    """Each byte comes in time, the answer does not; headers that were cut off are no answer, whatever their status."""
    with dripping_server(first=first, drip=drip) as port:
        refused = _in_time(Webhook(f"http://127.0.0.1:{port}/hooks", SECRET, 5, DEADLINE))
        assert refused is not None
        assert str(refused) == "the receiver took too long"
        assert not refused.lasting


def test_a_receiver_that_drips_into_the_handshake_of_tls() -> None:
    with dripping_server(first=b"\x16\x03\x03\x40\x00", drip=b"\x02") as port:
        refused = _in_time(Webhook(f"https://127.0.0.1:{port}/hooks", SECRET, 5, DEADLINE))
        assert str(refused) == "the receiver took too long"


@pytest.mark.parametrize(("status", "sent"), [(b"200 OK", True), (b"500 No", False)])
@pytest.mark.parametrize("coded", [b"Transfer-Encoding: chunked", b"Content-Encoding: gzip"])
def test_a_body_that_drips_is_not_waited_for(status: bytes, sent: bool, coded: bytes) -> None:
    """The status has said it all."""
    first = b"HTTP/1.1 " + status + b"\r\n" + coded + b"\r\n\r\n"
    with dripping_server(first=first, drip=b"0") as port:
        refused = _in_time(Webhook(f"http://127.0.0.1:{port}/hooks", SECRET, 5, DEADLINE))
        assert (refused is None) is sent
        assert sent or str(refused) == "the receiver answered 500"


def test_a_connection_that_is_kept_has_the_deadline_of_each_send(web: Receiver) -> None:
    hook = Webhook(web.url, SECRET, 5, DEADLINE)
    assert _in_time(hook) is None

    def drip(asked: Answer) -> None:
        with contextlib.suppress(OSError):
            for _ in range(200):
                asked.handler.wfile.write(b"H")
                if over.wait(0.05):
                    break
        asked.handler.close_connection = True

    over, web.answer = threading.Event(), drip
    assert str(_in_time(hook)) == "the receiver took too long"
    over.set()
    assert len(web.connections) == 1
    web.answer = lambda asked: asked.give(204)
    assert _in_time(hook) is None


def _in_time(hook: Webhook) -> NotSent | None:
    """What a send raises, which must be soon after its deadline."""
    began = time.monotonic()
    try:
        hook.send(message())
    except NotSent as error:
        return error
    else:
        return None
    finally:
        assert time.monotonic() - began < DEADLINE + 3


def test_https_to_a_port_that_speaks_http(web: Receiver) -> None:
    assert refusal(web.url.replace("http:", "https:"))
    assert not web.seen


def test_no_cookie_no_proxy_and_no_login_of_the_surroundings(web: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    web.answer = lambda asked: asked.give(200, Set_Cookie="a=b")
    hook = Webhook(web.url, SECRET)
    hook.send(message())
    hook.send(message())
    assert [{"cookie", "authorization"} & asked.headers.keys() for asked in web.seen] == [set(), set()]


def test_many_threads(web: Receiver) -> None:
    hook = Webhook(web.url, SECRET)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: hook.send(message(f"m-{number}")), range(40)))
    assert sorted(asked.headers["webhook-id"] for asked in web.seen) == sorted(f"m-{number}" for number in range(40))
    for asked in web.seen:
        standardwebhooks.Webhook(SECRET).verify(asked.body, asked.headers)


def test_a_new_secret() -> None:
    made = {new_secret() for _ in range(10)}
    assert len(made) == 10
    assert [secret_faults(one) for one in made] == [[]] * 10
    assert len(base64.b64decode(made.pop().removeprefix("whsec_"))) == 32


def _secret(length: int) -> str:
    return "whsec_" + base64.b64encode(length * b"x").decode()


@pytest.mark.parametrize(
    ("secret", "fine"),
    [
        (_secret(23), False),
        (_secret(24), True),
        (_secret(25), True),
        (_secret(63), True),
        (_secret(64), True),
        (_secret(65), False),
        (_secret(32).removeprefix("whsec_"), False),
        (_secret(32) + "!", False),
        (_secret(32) + "é", False),
        ("whsec_", False),
        ("", False),
        (" ".join([_secret(32)] * 4), True),
        (" ".join([_secret(32)] * 5), False),
        (f"{_secret(32)} {_secret(3)}", False),
    ],
)
def test_secrets(secret: str, fine: bool) -> None:
    assert (secret_faults(secret) == []) is fine
    make: Callable[[], Webhook] = lambda: Webhook("https://example.org/hooks", secret)  # noqa: E731
    if fine:
        assert repr(make()) == "Webhook(https://example.org/…)"
        return
    with pytest.raises(Unacceptable) as caught:
        make()
    assert len(secret) < 10 or secret not in str(caught.value)


def test_a_url_must_be_acceptable() -> None:
    with pytest.raises(Unacceptable) as caught:
        Webhook("http://user:word@example.org/token", SECRET)
    assert "word" not in str(caught.value)


def test_the_body_is_json_with_sorted_keys(web: Receiver) -> None:
    Webhook(web.url, SECRET).send(message())
    text = web.seen[0].body.decode()
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False) == text


def test_a_message_must_fit_into_headers() -> None:
    for number in ("", "a.b", "a b", "a\r\nb", "ä", "x" * 101):
        with pytest.raises(ValueError, match="id"):
            replace(message(), id=number)
    with pytest.raises(ValueError, match="zone"):
        replace(message(), at=datetime(2026, 3, 9))  # noqa: DTZ001
