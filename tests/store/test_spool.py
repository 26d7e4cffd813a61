"""The spool, where two processes meet in it."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from titrator.store.spool import Spool


def test_a_file_that_is_removed_before_it_is_locked_gets_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may gather between the making of a file and its lock: it finds an empty one that nobody holds."""
    locks, removed = fcntl.flock, []

    def gather_first(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX and not removed:
            other = Spool(tmp_path)
            removed.extend(name for name in other.names() if other.ended(name, 0))
        locks(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", gather_first)
    spool = Spool(tmp_path)
    spool.append("one\n")
    spool.append("two\n")
    assert len(removed) == 1
    (name,) = spool.names()
    assert spool.read(name, 0) == (["one", "two"], 8)
    assert not Spool(tmp_path).ended(name, 8)
