"""Which addresses are accepted, what is shown of them, and who can be put into a gateway's."""

from __future__ import annotations

import logging

import pytest
from apprise import Apprise
from apprise.plugins.email import NotifyEmail

from titrator.notify.address import SCHEMES, Kind, faults, opened, recipient_faults, redacted, with_recipient
from titrator.notify.base import Unacceptable

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
SID = "AC" + "a" * 32
TWILIO = f"twilio://{SID}:{'b' * 32}@+15005550006"
SNS = "sns://AHIAJGNT76XIMXDBIJYA/bu1dHSdO22pfaaVy/wmNsdljF4C07D3bndi9PQJ9/us-east-2"
WORKFLOWS = f"workflows://prod-1.westeurope.logic.azure.com/{'643' * 10}/{'s' * 40}"
MAIL = "mailtos://clinic:pa%40ss@mail.example.org"


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("channel", f"{MAIL}/ward@example.org"),
        ("channel", f"{MAIL}/o'brien@example.org,ward@example.org"),
        ("channel", MAIL),
        ("channel", f"{MAIL}:465/ward@example.org/desk@example.org?mode=ssl&from=titrator@example.org&name=Clinic%20N"),
        ("channel", f"{MAIL}?to=ward@example.org&cc=a@example.org&bcc=b@example.org&reply=c@example.org"),
        ("channel", "mailto://mailhub:25/ward@example.org?from=titrator@example.org"),
        ("channel", "mailto://127.0.0.1:2525/ward@example.org?from=titrator@example.org"),
        ("channel", "mailto://mail.example.org:65535/ward@example.org?from=titrator@example.org"),
        ("channel", SLACK),
        ("channel", f"{SLACK}/%23ward?footer=no"),
        ("channel", "ntfys://ntfy.example.org/ward"),
        ("channel", "ntfy://user:word@ntfy.example.org:8080/ward?priority=high"),
        ("channel", f"{TWILIO}/+4915112345678"),
        ("channel", "vonage://abc123:secret123456@+15005550006/+4915112345678"),
        ("channel", f"{SNS}/+4915112345678"),
        ("channel", WORKFLOWS),
        ("gateway", f"{MAIL}/{{to}}?from=titrator@example.org"),
        ("gateway", f"{MAIL}?to={{to}}&reply=desk@example.org"),
        ("gateway", f"{TWILIO}/{{to}}"),
        ("gateway", f"{TWILIO}?to={{to}}"),
        ("gateway", "vonage://abc123:secret123456@+15005550006/{to}"),
        ("gateway", f"{SNS}/{{to}}"),
        ("webhook", "https://example.org/hooks/1?tenant=2"),
        ("webhook", "https://[2001:db8::1]:8443/hooks"),
        ("webhook", "http://127.0.0.1:8000/hooks"),
        ("webhook", "http://localhost/"),
        ("webhook", "http://[::1]:8000/"),
    ],
)
def test_accepted(kind: Kind, address: str) -> None:
    assert faults(address, kind) == []


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("channel", ""),
        ("channel", "mail.example.org"),
        ("channel", f"{MAIL}/{'x' * 2000}@example.org"),
        *(
            ("channel", f"{scheme}://localhost/etc/passwd")
            for scheme in (
                "file",
                "json",
                "jsons",
                "xml",
                "form",
                "syslog",
                "dbus",
                "exec",
                "windows",
                "macosx",
                "apprise",
            )
        ),
        ("channel", "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"),
        *(
            ("channel", f"{MAIL}/ward@example.org?{parameter}")
            for parameter in (
                "attach=/etc/passwd",
                "ATTACH=/etc/passwd",
                "%61ttach=/etc/passwd",
                "to=a@example.org&to=b@example.org",
                "name=x;attach=/etc/passwd",
                "from=a@example.org&&",
                "mode",
                "pgp=sign",
                "pgppub=/etc/passwd",
                "pgpprv=/etc/passwd",
                "wkd=yes",
                "verify=no",
                "optional=yes",
                "cto=600",
                "rto=600",
                "retry=5",
                "wait=60",
                "format=html",
                "overflow=split",
                "store=no",
                "redirect=yes",
                "tags=x",
                "+X-Header=x",
                "-x=x",
                ":x=x",
                "mode=insecure",
                "mode=nonsense",
                "from=no-address@",
                "bcc=a@example.org,Ann%20%3Cb@example.org%3E",
                "cc=no-address",
                "name=a%0d%0aBcc:%20b@example.org",
                "name=a%250aBcc",
                "name=a%E2%80%A8b",
                "name=a?attach=b",
                "name={to}",
            )
        ),
        ("channel", f"{MAIL}/ward@example.org%0d%0aBcc:b@example.org"),
        ("channel", f"{MAIL}/ward@example.org\nBcc:b@example.org"),
        ("channel", f"{MAIL}/ward@example.org mailto://a:b@example.org"),
        ("channel", f"{MAIL}/ward@example.org,mailto://a:b@example.org"),
        ("channel", f"{MAIL}/no-address"),
        ("channel", f"{MAIL}/wärd@example.org"),
        ("channel", f"{MAIL}\\ward@example.org"),
        ("channel", f"{MAIL}/ward@example.org#x"),
        ("channel", f"{MAIL}/{{to}}"),
        ("channel", "mailto://mail.example.org:65536/ward@example.org?from=titrator@example.org"),
        ("channel", "ntfys://ntfy.example.org:65536/ward"),
        ("channel", "mailto://"),
        ("channel", f"{SLACK}?template=/etc/passwd"),
        ("channel", f"{WORKFLOWS}?template=/etc/passwd"),
        ("channel", "slack://short"),
        *(
            ("channel", f"ntfys://ntfy.example.org/ward?{key}=https://example.com")
            for key in ("attach", "click", "actions", "filename", "email", "avatar_url", "delay", "xtags", "tags")
        ),
        ("channel", "twilio://AC:b@+15005550006"),
        ("gateway", f"{MAIL}/ward@example.org"),
        ("gateway", f"{MAIL}/{{to}}/{{to}}"),
        ("gateway", f"{MAIL}/{{to}}?to={{to}}"),
        ("gateway", f"{MAIL}/{{to}}/ward@example.org"),
        ("gateway", f"{MAIL}/{{to}}?cc=ward@example.org"),
        ("gateway", f"{MAIL}/{{to}}?bcc=ward@example.org"),
        ("gateway", f"{MAIL}/{{to}}?attach=/etc/passwd"),
        ("gateway", f"{MAIL}/x{{to}}"),
        ("gateway", f"{MAIL}/{{to}}%7Bto%7D"),
        ("gateway", f"{MAIL}/ward@example.org?name={{to}}"),
        ("gateway", "mailto://{to}:word@example.org/ward@example.org"),
        ("gateway", f"{TWILIO}/{{to}}/+4915112345678"),
        ("gateway", f"{SLACK}/{{to}}"),
        ("gateway", "ntfys://ntfy.example.org/{to}"),
        ("webhook", "http://example.org/hooks"),
        ("webhook", "http://127.0.0.1.example.org/hooks"),
        ("webhook", "http://localhost@example.org/hooks"),
        ("webhook", "https://user:word@example.org/hooks"),
        ("webhook", "https://example.org/hooks#x"),
        ("webhook", "https://example.org:99999/hooks"),
        ("webhook", "https://[::1/hooks"),
        ("webhook", "https:///hooks"),
        ("webhook", "https://exa%20mple.org/"),
        ("webhook", "https://example.org/ hooks"),
        ("webhook", "ftp://example.org/"),
        ("webhook", "file:///etc/passwd"),
        ("webhook", MAIL),
    ],
)
def test_refused_without_quoting(kind: Kind, address: str) -> None:
    found = faults(address, kind)
    assert found
    for secret in ("pa%40ss", "pa@ss", "passwd", "T1JJ3T3L2", "ward@", "word", "b" * 32):
        assert secret not in " ".join(found)


def test_every_scheme_is_one_of_apprise() -> None:
    known = {
        name
        for entry in Apprise().details()["schemas"]
        for name in (*_names(entry, "protocols"), *_names(entry, "secure_protocols"))
    }
    assert known >= SCHEMES
    assert not SCHEMES & {"file", "json", "xml", "form", "syslog", "dbus"}


def _names(entry: dict[str, object], key: str) -> tuple[str, ...]:
    names = entry[key]
    return tuple(names) if isinstance(names, (list, tuple, set)) else ()


def test_an_installation_may_choose_fewer_schemes_but_no_others() -> None:
    assert faults(SLACK, "channel", {"slack"}) == []
    assert faults(SLACK, "channel", {"mailtos"}) == ["must begin with one of mailtos://"]
    assert faults("json://localhost/", "channel", {"json", "mailto"}) == ["must begin with one of mailto://"]


@pytest.mark.parametrize(
    ("scheme", "to"),
    [
        ("mailto", "ann.lee@example.org"),
        ("mailtos", "ann+counts@mail.example.org"),
        ("mailtos", "o'brien_1-2@xn--bcher-kva.example"),
        ("mailtos", "a@example.org"),
        ("twilio", "+4915112345678"),
        ("vonage", "+12345678"),
        ("sns", "+123456789012345"),
    ],
)
def test_persons_who_can_be_told(scheme: str, to: str) -> None:
    assert recipient_faults(scheme, to) == []


@pytest.mark.parametrize(
    ("scheme", "to"),
    [
        ("mailto", ""),
        ("mailto", "ann"),
        ("mailto", "ann@localhost"),
        ("mailto", "@example.org"),
        ("mailto", "a..b@example.org"),
        ("mailto", ".a@example.org"),
        ("mailto", "a.@example.org"),
        ("mailto", "a@b@example.org"),
        ("mailto", "a@example.org,b@example.org"),
        ("mailto", "a@example.org;b@example.org"),
        ("mailto", "a@example.org b@example.org"),
        ("mailto", "a@example.org/b@example.org"),
        ("mailto", "a@example.org?attach=/etc/passwd"),
        ("mailto", "a@example.org&cc=b@example.org"),
        ("mailto", "a%2Cb@example.org"),
        ("mailto", "a@example.org\n"),
        ("mailto", "a@example.org\r\nBcc: b@example.org"),
        ("mailto", "Ann <a@example.org>"),
        ("mailto", '"a b"@example.org'),
        ("mailto", "a@[127.0.0.1]"),
        ("mailto", "{to}@example.org"),
        ("mailto", "ä@example.org"),
        ("mailto", f"{'a' * 65}@example.org"),
        ("mailto", f"a@{'b.' * 130}org"),
        ("twilio", "4915112345678"),
        ("twilio", "+1234567"),
        ("twilio", "+1234567890123456"),
        ("twilio", "+01234567"),
        ("twilio", "+49 151 12345678"),
        ("twilio", "+4915112345678,+4915112345679"),
        ("twilio", "+4915112345678\n"),
        ("twilio", "+٤٩١٥١١٢٣٤"),
        ("twilio", "a@example.org"),
        ("slack", "a@example.org"),
        ("https", "a@example.org"),
    ],
)
def test_persons_who_cannot_be_told(scheme: str, to: str) -> None:
    assert recipient_faults(scheme, to)
    with pytest.raises(Unacceptable):
        with_recipient(f"{scheme}://user:word@example.org/{{to}}", to)


@pytest.mark.parametrize("to", ["ann+counts@example.org", "o'brien@example.org", "a_b-c.d@example.org"])
@pytest.mark.parametrize("address", [f"{MAIL}/{{to}}", f"{MAIL}?to={{to}}"])
def test_a_gateway_tells_the_one_person(address: str, to: str) -> None:
    assert faults(address, "gateway", to=to) == []
    plugin = opened(with_recipient(address, to))
    assert isinstance(plugin, NotifyEmail)
    assert plugin.targets == [(False, to)]


@pytest.mark.parametrize(
    ("parameters", "name", "mail"),
    [
        ("", "titrator", "clinic@mail.example.org"),
        ("?name=Clinic%20North", "Clinic North", "clinic@mail.example.org"),
        ("?from=Clinic", "Clinic", "clinic@mail.example.org"),
        ("?from=o'brien@example.org", "titrator", "o'brien@example.org"),
        ("?from=desk@example.org&name=O'Brien%20%28N%C3%B6rd%29", "O'Brien (Nörd)", "desk@example.org"),
    ],
)
def test_the_sender_of_a_mail(parameters: str, name: str, mail: str) -> None:
    plugin = opened(MAIL + parameters)
    assert isinstance(plugin, NotifyEmail)
    assert list(plugin.from_addr) == [name, mail]


def test_a_gateway_and_a_person_are_judged_together() -> None:
    assert faults(f"{TWILIO}/{{to}}", "gateway", to="a@example.org")
    assert faults(f"{MAIL}/{{to}}", "gateway", to="+4915112345678")
    with pytest.raises(Unacceptable):
        with_recipient(MAIL, "a@example.org")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"{MAIL}:587/ward@example.org?from=a@example.org", "mailtos://mail.example.org/…"),
        ("mailto://mailhub/ward@example.org", "mailto://mailhub/…"),
        ("mailto://ward%40example.org/", "mailto://…"),
        ("mailto://user:pa/ss@example.org/", "mailto://…"),
        ("https://example.org:8443/hooks/token?key=1", "https://example.org/…"),
        ("https://[::1]:8443/hooks", "https://[::1]/…"),
        (SLACK, "slack://…"),
        (WORKFLOWS, "workflows://…"),
        ("ntfys://secret-topic", "ntfys://…"),
        (f"{TWILIO}/{{to}}", "twilio://…"),
        ("json://user:word@example.org", "…"),
        ("secret", "…"),
        ("", "…"),
    ],
)
def test_what_is_shown(address: str, shown: str) -> None:
    assert redacted(address) == shown


def test_apprise_tells_the_log_of_the_program_nothing() -> None:
    class Log(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    told: list[str] = []
    log = Log()
    logging.getLogger().addHandler(log)
    try:
        assert faults("twilio://AC:b@+15005550006/+4915112345678", "channel")
        assert faults(f"{MAIL}/no-address", "channel")
    finally:
        logging.getLogger().removeHandler(log)
    assert told == []
