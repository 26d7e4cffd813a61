"""An installation for each test, as for the tests of REST: a real database, and a clock that stands still."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.support import House, build


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Two clinics, an account and a token for each role."""
    return build(tmp_path)
