"""Addresses: which are accepted, and what may be shown of one.

Apprise knows more than a hundred schemes; some of them write files, run commands or reach this computer, and most take
parameters that read files, follow redirects or report success where there was none. So nothing is accepted but the
schemes below, with the parameters that are named for each.

An address holds passwords and tokens, often in place of its host. What is said of it never quotes it.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import threading
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from types import MappingProxyType
from typing import Any, Final, Literal, cast
from urllib.parse import quote, unquote, urlsplit

from apprise import Apprise, AppriseAsset
from apprise.plugins import NotifyBase
from apprise.plugins.email import NotifyEmail

from titrator.notify.base import Unacceptable
from titrator.notify.schemes import PARAMETERS, SCHEMES

#: A channel has its recipients in its address; a gateway tells single persons, each in the place of `{to}`.
Kind = Literal["channel", "gateway", "webhook"]

_LONGEST: Final = 2000
_TO: Final = "{to}"
_MAIL: Final = frozenset({"mailto", "mailtos"})
_SMS: Final = frozenset({"twilio", "vonage", "sns"})
_SHAPE: Final = re.compile(r"(?P<scheme>[a-z]+)://(?P<place>[^/?#]+)(?P<path>/[^?#]*)?(?:\?(?P<query>[^?#]*))?")
_PARAMETER: Final = re.compile(r"(?P<key>[a-z-]+)=(?P<value>[^;]*)")
_SIGNS: Final = re.compile(r"[!-~]*")
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
_MAIL_ADDRESS: Final = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9._+'-]{0,62}[A-Za-z0-9_+-])?"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])"
)
_PHONE: Final = re.compile(r"\+[1-9][0-9]{7,14}")
_SOMEBODY: Final[Mapping[bool, str]] = MappingProxyType({True: "somebody@example.org", False: "+15005550006"})

#: Nothing but the message: no pictures of another server, no redirects, no files, no retries within a send.
_ASSET: Final = AppriseAsset(
    app_id="titrator",
    app_desc="titrator",
    image_url_mask="",
    image_url_logo="",
    http_redirects=False,
    allow_templates=False,
    async_mode=False,
    plugin_paths=[],
)


class _Ear(logging.Handler):
    """Hears what Apprise says in this thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what is said in the thread of the listener."""
        if record.thread == self._thread:
            self.heard.append(record.getMessage())


@contextmanager
def listening() -> Iterator[list[str]]:
    """What Apprise warns of meanwhile. It names recipients and tokens, so none of it goes on to the program's log."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    ear = _Ear()
    logger.addHandler(ear)
    try:
        yield ear.heard
    finally:
        logger.removeHandler(ear)


def opened(address: str) -> NotifyBase | None:
    """The plugin of Apprise for an address, with every part of it understood; None otherwise."""
    with listening() as heard:
        plugin = Apprise.instantiate(address, asset=_ASSET)
        understood = not isinstance(plugin, NotifyEmail) or _with_exact_mailboxes(plugin, address)
    return plugin if understood and not heard else None


def faults(address: str, kind: Kind, schemes: Collection[str] = SCHEMES, *, to: str | None = None) -> list[str]:
    """Why an address is not accepted, in words that do not quote it; nothing if it is.

    `to` is the personal address of one whom a gateway is to tell, if that is asked, too.
    """
    if not address or len(address) > _LONGEST:
        return [f"must have 1 to {_LONGEST} characters"]
    if not _SIGNS.fullmatch(address) or _hides_control(address):
        return ["must have no spaces, control characters or letters beyond ASCII, also not as %0A"]
    if kind == "webhook":
        return _webhook_faults(address)
    match = _SHAPE.fullmatch(address)
    if match is None or "\\" in address or address.count("://") > 1:
        return ["is not one address of the form scheme://..., with # and further ? written as %23 and %3F"]
    scheme = match["scheme"]
    if scheme not in schemes or scheme not in SCHEMES:
        return [f"must begin with one of {', '.join(f'{name}://' for name in sorted(SCHEMES & set(schemes)))}"]
    found = _parameter_faults(scheme, match["query"]) + _placeholder_faults(match, kind)
    if kind == "gateway":
        found += recipient_faults(scheme, to) if to is not None else []
        return found or _gateway_faults(address, scheme, to or _SOMEBODY[scheme in _MAIL])
    return found or _plugin_faults(scheme, opened(address))


def recipient_faults(scheme: str, to: str) -> list[str]:
    """Why no person can be told at that personal address by a gateway of that scheme; nothing if one can."""
    if scheme in _MAIL:
        fine = len(to) <= 254 and _MAIL_ADDRESS.fullmatch(to) and ".." not in to
        return [] if fine else ["must be one mail address, such as name@example.org"]
    if scheme in _SMS:
        return [] if _PHONE.fullmatch(to) else ["must be a telephone number with + and 8 to 15 digits, without spaces"]
    return ["single persons cannot be told by that scheme, only by mail or SMS"]


def with_recipient(address: str, to: str) -> str:
    """The address of a gateway, for one person; raises Unacceptable where that is not one personal address."""
    if address.count(_TO) != 1:
        raise Unacceptable([f"must have {_TO} once"])
    if found := recipient_faults(address.partition("://")[0], to):
        raise Unacceptable(found)
    return address.replace(_TO, quote(to, safe=""))


def redacted(address: str) -> str:
    """What may be shown of an address: its scheme and, where that is no token, its host."""
    scheme, _, rest = address.partition("://")
    if scheme not in _MAIL | {"http", "https"}:
        return f"{scheme}://…" if scheme in SCHEMES else "…"
    place = re.split(r"[/?#\\]", rest)[0].rpartition("@")[2]
    host = re.sub(r":[0-9]{1,5}$", "", place)
    return f"{scheme}://{host}/…" if _NAME.fullmatch(host) else f"{scheme}://…"


def is_loopback(host: str) -> bool:
    """Whether a host is this computer."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _with_exact_mailboxes(plugin: NotifyEmail, address: str) -> bool:
    """Give the plugin the mailboxes as they are written; whether all of them are mail addresses.

    Apprise looks for an address within a text, and so reads o'brien@example.org as that of brien, a stranger.
    """
    parts = cast("Mapping[str, Any]", NotifyEmail.parse_url(address))  # type: ignore[no-untyped-call]
    targets = [mail for part in parts["targets"] for mail in part.split(",")]
    others = {key: parts[key].split(",") if parts.get(key) else [] for key in ("cc", "bcc", "reply_to")}
    sender, name = parts["qsd"].get("from", ""), parts["qsd"].get("name", "")
    if "@" not in sender:
        sender, name = str(plugin.from_addr[1]), name or sender
    if not all(_MAIL_ADDRESS.fullmatch(mail) for mail in chain([sender], targets, *others.values())):
        return False
    plugin.from_addr = [name or _ASSET.app_id, sender]
    plugin.targets = [(False, mail) for mail in targets or [sender]]
    plugin.cc, plugin.bcc, plugin.reply_to = (set(mails) for mails in others.values())
    return True


def _hides_control(address: str) -> bool:
    """Whether a control character or an end of line stands in it, however often it is encoded."""
    for _ in range(4):
        if any(unicodedata.category(sign) in {"Cc", "Cs", "Zl", "Zp"} for sign in address):
            return True
        before, address = address, unquote(address)
        if address == before:
            return False
    return True


def _webhook_faults(address: str) -> list[str]:
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return ["is not a URL"]
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        return ["must begin with https://; http:// only to this computer"]
    if "@" in parts.netloc or "#" in address:
        return ["must hold no login and no #: the secret is given beside it"]
    return [] if _NAME.fullmatch(f"[{host}]" if ":" in host else host) else ["names no host"]


def _parameter_faults(scheme: str, query: str | None) -> list[str]:
    """Faults of what follows the question mark, which must be read by Apprise as it is read here."""
    matches = [_PARAMETER.fullmatch(part) for part in query.split("&")] if query else []
    keys = [match["key"] for match in matches if match]
    if len(keys) < len(matches) or len(set(keys)) < len(keys):
        return ["its parameters must be key=value, each once, joined by &"]
    if not PARAMETERS[scheme].issuperset(keys):
        return [f"may have no parameters but {', '.join(sorted(PARAMETERS[scheme]))}"]
    return []


def _placeholder_faults(match: re.Match[str], kind: Kind) -> list[str]:
    """A gateway has `{to}` once, as a part of the path or as `to=`; other addresses have no braces."""
    address, path, query = match[0], match["path"] or "", match["query"] or ""
    braces = len(re.findall(r"[{}]", unquote(address)))
    if kind == "channel":
        return ["must have no { or }"] if braces else []
    stands = path.split("/").count(_TO) + query.split("&").count(f"to={_TO}")
    return [] if stands == 1 and braces == 2 else [f"must have {_TO} once, as a part of its path or as to={_TO}"]


def _gateway_faults(address: str, scheme: str, to: str) -> list[str]:
    """A gateway tells the one person and nobody else: what is for one patient must not reach a list."""
    if found := recipient_faults(scheme, to):
        return found
    plugin = opened(with_recipient(address, to))
    if found := _plugin_faults(scheme, plugin):
        return found
    if isinstance(plugin, NotifyEmail):
        alone = [mail for _, mail in plugin.targets] == [to] and not plugin.cc and not plugin.bcc
    else:
        alone = plugin is not None and len(plugin) == 1
    return [] if alone else [f"must have no recipient but {_TO}"]


def _plugin_faults(scheme: str, plugin: NotifyBase | None) -> list[str]:
    """Faults of what Apprise made of an address."""
    if plugin is None:
        more = "; mail needs plain mail addresses, and from= where login and host make none" if scheme in _MAIL else ""
        return [f"is not understood: a part of it is missing, or not of the form that its scheme asks for{more}"]
    if plugin.port and not 1 <= plugin.port <= 65535:
        return ["must name a port from 1 to 65535, or none"]
    if isinstance(plugin, NotifyEmail) and scheme == "mailtos" and plugin.secure_mode == "insecure":
        return ["must not switch off the encryption that mailtos promises"]
    return []
