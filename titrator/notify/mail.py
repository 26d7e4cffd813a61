"""Mail, by the server that an Apprise address describes.

Apprise gives each mail a new Message-ID. A repeat must have the same one, so that a mailbox that has the first can
tell; so the mail is written and sent here.
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final

from apprise.plugins.email import NotifyEmail

from titrator.notify.base import Message, NotSent
from titrator.outgoing import Deadline

#: What a server says of a mailbox that it will never have (RFC 5321, 4.2.3).
_NO_SUCH_MAILBOX: Final = frozenset({550, 551, 553})
#: An enhanced status X.7 is a matter of policy, such as a login that is missing, not of the mailbox (RFC 3463, 3.8).
_POLICY: Final = b"5.7."
_TOO_LONG: Final = "the mail server took too long"
_SPECIAL: Final = re.compile(r'[()<>\[\]:;@\\,"]+')


class _Plain(smtplib.SMTP):
    """Connections under a deadline."""

    def __init__(self, deadline: Deadline, host: str, port: int, timeout_seconds: float) -> None:
        self._deadline = deadline
        super().__init__(host, port, timeout=timeout_seconds)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._deadline.connect(host, port, timeout)


class _Encrypted(smtplib.SMTP_SSL):
    """Connections under a deadline, encrypted from their beginning."""

    def __init__(
        self, deadline: Deadline, host: str, port: int, timeout_seconds: float, context: ssl.SSLContext
    ) -> None:
        self._deadline = deadline
        super().__init__(host, port, timeout=timeout_seconds, context=context)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self.context.wrap_socket(self._deadline.connect(host, port, timeout), server_hostname=host)


def send_mail(server: NotifyEmail, message: Message, timeout_seconds: float, deadline_seconds: float) -> None:
    """Send a message to all recipients of an address, in one mail. Raises NotSent.

    `timeout_seconds` is for each step, `deadline_seconds` for all of them. A mail that the server has taken is sent,
    however long it takes for its goodbye.

    Where a server takes some of the recipients and refuses others, that is NotSent: a repeat reaches those who have it
    already with the same Message-ID.
    """
    mail = _written(server, message)
    recipients = list(dict.fromkeys([*(address for _, address in server.targets), *server.cc, *server.bcc]))
    with Deadline(deadline_seconds) as deadline, _reasons(deadline):
        smtp = _connected(server, timeout_seconds, deadline)
        try:
            refused = smtp.sendmail(str(server.from_addr[1]), recipients, mail)
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients
        finally:
            in_time = not deadline.passed
            _leave(smtp)
    if not in_time:
        raise NotSent(_TOO_LONG)
    if refused:
        raise _refusal(refused, len(recipients))


def _written(server: NotifyEmail, message: Message) -> bytes:
    """The mail as it is sent. A header of more than one line is an error of the library's, never two headers."""
    mail = EmailMessage(policy=SMTP)
    try:
        mail["Subject"] = " ".join(message.subject.split())
        mail["From"] = _mailbox(server.from_addr[0], str(server.from_addr[1]))
        mail["To"] = [_mailbox(name, address) for name, address in server.targets]
        if server.cc:
            mail["Cc"] = [_mailbox(server.names.get(address), address) for address in sorted(server.cc)]
        if server.reply_to:
            mail["Reply-To"] = [_mailbox(server.names.get(address), address) for address in sorted(server.reply_to)]
        mail["Date"] = message.at.astimezone(UTC)
        mail["Message-ID"] = f"<{message.id}@titrator>"
        mail["X-Titrator-Message"] = message.id
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answers by machines
        mail.set_content(message.body, cte="quoted-printable")
        return mail.as_bytes()
    except (ValueError, MessageError):
        raise NotSent("the message or an address in it cannot be written as mail", lasting=True) from None


def _mailbox(name: object, address: str) -> Address:
    """A mailbox; its name without the signs that, once encoded, some mail programs read as a part of the address."""
    shown = " ".join(_SPECIAL.sub(" ", name).split()) if isinstance(name, str) else ""
    return Address(display_name=shown, addr_spec=address)


def _connected(server: NotifyEmail, timeout_seconds: float, deadline: Deadline) -> smtplib.SMTP:
    """A connection, encrypted and logged in as the address asks; certificates are checked."""
    host, port, context = server.smtp_host, server.port or 0, ssl.create_default_context()
    if server.secure_mode == "ssl":
        smtp: smtplib.SMTP = _Encrypted(deadline, host, port, timeout_seconds, context)
    else:
        smtp = _Plain(deadline, host, port, timeout_seconds)
    try:
        if server.secure_mode == "starttls":
            smtp.starttls(context=context)
        if server.user and server.password:
            smtp.login(server.user, server.password)
    except BaseException:
        smtp.close()
        raise
    return smtp


def _leave(smtp: smtplib.SMTP) -> None:
    """Say goodbye. Whatever the server makes of it: what it took, it has."""
    with contextlib.suppress(OSError, smtplib.SMTPException):
        smtp.quit()
    smtp.close()


def _refusal(refused: Mapping[str, tuple[int, bytes]], of: int) -> NotSent:
    codes = ", ".join(sorted({str(code) for code, _ in refused.values()}))
    lasting = all(code in _NO_SUCH_MAILBOX and _POLICY not in text for code, text in refused.values())
    return NotSent(f"the mail server refused {len(refused)} of {of} recipients ({codes})", lasting=lasting)


@contextmanager
def _reasons(deadline: Deadline) -> Iterator[None]:
    """NotSent, of the deadline once that has passed, for whatever is raised within."""
    try:
        with _reasons_in_time():
            yield
    except NotSent:
        if deadline.passed:
            raise NotSent(_TOO_LONG) from None
        raise


@contextmanager
def _reasons_in_time() -> Iterator[None]:
    """NotSent for all that can go wrong with a mail server; its own words stay out, they may quote a mailbox."""
    try:
        yield
    except smtplib.SMTPAuthenticationError as error:
        raise NotSent(f"the mail server refused the login ({error.smtp_code})") from None
    except smtplib.SMTPSenderRefused as error:
        raise NotSent(f"the mail server refused the sender ({error.smtp_code})") from None
    except smtplib.SMTPResponseException as error:
        raise NotSent(f"the mail server refused the mail ({error.smtp_code})") from None
    except smtplib.SMTPNotSupportedError:
        raise NotSent("the mail server does not offer the encryption or the login that the address asks for") from None
    except ssl.SSLCertVerificationError:
        raise NotSent("the certificate of the mail server is not trusted") from None
    except ssl.SSLError:
        raise NotSent("no encrypted connection to the mail server could be made") from None
    except (OSError, smtplib.SMTPException, UnicodeError) as error:
        if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
            raise NotSent("the mail server did not answer in time") from None
        if isinstance(error, smtplib.SMTPServerDisconnected):
            raise NotSent("the mail server broke off") from None
        raise NotSent("the mail server could not be reached") from None
