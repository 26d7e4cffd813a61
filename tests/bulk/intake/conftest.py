"""An installation for each test, as for the API."""

from __future__ import annotations

from tests.api.conftest import house as house
