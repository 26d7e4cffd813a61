"""What the processes of the MLLP server say to each other: addresses, in records of one length."""

from __future__ import annotations

from typing import Final

#: Bytes of a record: more than any address has, with the zone of a link-local one.
LENGTH: Final = 96
#: What a process says first: it serves from now on.
READY: Final = ""


def recorded(said: str) -> bytes:
    """A record of an address, or of READY."""
    return said.encode().ljust(LENGTH)


def told(record: bytes) -> str:
    """What a record says."""
    return record.decode().rstrip()
