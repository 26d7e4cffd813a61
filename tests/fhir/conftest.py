"""An installation for each file of tests, or for one test: a real database, and a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.support import House, build


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Two clinics, an account and a token for each role."""
    return build(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The same for all tests of a file that make patients of their own and leave the clock alone."""
    house = build(tmp_path_factory.mktemp("shared"))
    yield house
    house.services.store.close()
