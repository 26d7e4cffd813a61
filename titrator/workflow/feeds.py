"""Feeds: laboratories that send HL7 v2 messages, as the installation knows them."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, NamedTuple

#: What a local code may mean: the keys of the setting `codes`.
MEANINGS: Final = ("platelet-count", "weight", "haemoglobin", "neutrophils", "immature-platelet-fraction")


class Authority(NamedTuple):
    """Whose numbers of patients are of which of our identifier systems: PID-3.4, and PID-3.5 unless it is None."""

    authority: str
    type: str | None
    system: str


class Feed(NamedTuple):
    """A laboratory's feed: the system account it counts as, where it may come from, and how its messages are read.

    `codes` are by code and coding system, `units` by how they are written. Of `application` and `facility` (MSH-3,
    MSH-4) None means any. After `silence_hours` without a message people are told; 0 is never.
    """

    name: str
    account: str
    peers: tuple[IPv4Network | IPv6Network, ...]
    identifiers: tuple[Authority, ...]
    codes: Mapping[tuple[str, str], str] = {}
    units: Mapping[str, str] = {}
    silence_hours: int = 24
    time_zone: str | None = None
    clinic: str | None = None
    application: str | None = None
    facility: str | None = None

    @property
    def system(self) -> str:
        """The identifier system of its results."""
        return f"urn:titrator:hl7:{self.name}"

    def may_come_from(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether an address is one of its peers."""
        return any(address in network for network in self.peers)

    def is_sender(self, application: str, facility: str) -> bool:
        """Whether a message of such a sender may be its own."""
        return self.application in (None, application) and self.facility in (None, facility)
