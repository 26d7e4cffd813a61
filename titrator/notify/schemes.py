"""The schemes that the address of a channel may have, and the parameters of each: an allow-list, as data."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_MAIL_KEYS: Final = frozenset({"from", "name", "smtp", "mode", "to", "cc", "bcc", "reply", "user", "pass"})
_NTFY_KEYS: Final = frozenset({"to", "token", "auth", "priority", "mode"})

#: The parameters that are accepted, for each scheme. None of them names a file or another server's content.
PARAMETERS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "mailto": _MAIL_KEYS,
        "mailtos": _MAIL_KEYS,
        "ntfy": _NTFY_KEYS,
        "ntfys": _NTFY_KEYS,
        "slack": frozenset({"to", "token", "mode", "footer", "image", "timestamp"}),
        "sns": frozenset({"to", "access", "key", "secret", "token", "region", "mode"}),
        "twilio": frozenset({"to", "from", "sid", "token", "apikey"}),
        "vonage": frozenset({"to", "from", "key", "secret", "ttl"}),
        "workflows": frozenset(
            {
                "id",
                "workflow",
                "sig",
                "signature",
                "ver",
                "api-version",
                "pa",
                "powerautomate",
                "route",
                "wrap",
                "image",
            }
        ),
    }
)
#: The schemes of Apprise that are accepted; an installation may choose fewer. Webhooks are not among them.
SCHEMES: Final = frozenset(PARAMETERS)
