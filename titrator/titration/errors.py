"""What can be wrong with an input. Every error carries all faults found, each with the path of its place.

InvalidInput
├── InvalidDocument    text that is no JSON, or a course document with faults
└── InvalidProtocol    a protocol file with faults
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Fault(NamedTuple):
    """One thing wrong: `path` is the place (`platelet_counts[2].unit`, empty for the whole), `message` what it is."""

    path: str
    message: str

    def __str__(self) -> str:
        """As shown to people: `platelet_counts[2].unit: required`."""
        return f"{self.path}: {self.message}" if self.path else self.message


class InvalidInput(ValueError):
    """An input that cannot be worked with; `faults` names everything wrong with it, never none."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        super().__init__("; ".join(map(str, self.faults)))

    def __reduce__(self) -> tuple[type[InvalidInput], tuple[tuple[Fault, ...]]]:
        """Travel between processes whole."""
        return type(self), (self.faults,)


class InvalidDocument(InvalidInput):
    """Text that is no JSON, or a course document with faults."""


class InvalidProtocol(InvalidInput):
    """A protocol file with faults."""
