"""The stores under test. What `store` gives must behave the same, whatever is behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from titrator.store.base import Store
from titrator.store.sqlite import SqliteStore

BACKENDS: dict[str, Callable[[Path], Store]] = {"sqlite": lambda folder: SqliteStore(folder / "titrator.db")}


@pytest.fixture(params=sorted(BACKENDS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A new and empty store of each kind."""
    made = BACKENDS[request.param](tmp_path)
    yield made
    made.close()
