"""The stores under test. What `store` gives must behave the same, whatever is behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends import BACKENDS, new_store
from titrator.store.base import Store


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A new and empty store of each kind."""
    made = new_store(tmp_path, request.param)
    yield made
    made.close()
