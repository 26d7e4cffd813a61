"""The audit chain: each entry's MAC covers what it says and the MAC before it, so none can change place or words.

The key is not in the database. Who can write to the database but has not the key cannot forge an entry, nor take one
out between two others. The last ones of a chain could be cut off, were it not for its head, which is signed with the
same key, and for the seals: a file a day, outside the database, that holds the heads of that day.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Final

#: The chain of what concerns no patient.
SYSTEM: Final = "system"
#: What the first entry of a chain follows.
START: Final = "0" * 64
_text: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def entry_mac(key: bytes, before: str, said: Sequence[str | int | None]) -> str:
    """The MAC of an entry: of what it says, after the MAC of the one before it."""
    return _mac(key, "entry", before, said)


def head_mac(key: bytes, chain: str, seq: int, mac: str) -> str:
    """The signature of a chain's head."""
    return _mac(key, "head", mac, (chain, seq))


def seal_mac(key: bytes, before: str, day: str, lines: str) -> str:
    """The signature of a day's seal, after the signature of the seal before it."""
    return _mac(key, "seal", before, (day, hashlib.sha256(lines.encode()).hexdigest()))


def same_mac(found: str, right: str) -> bool:
    """Whether two MACs are the same, in a time that does not tell where they differ; `found` may be any text."""
    return hmac.compare_digest(found.encode(errors="surrogatepass"), right.encode())


def _mac(key: bytes, purpose: str, before: str, said: Sequence[str | int | None]) -> str:
    return hmac.digest(key, _text([purpose, before, *said]).encode(), "sha256").hex()
