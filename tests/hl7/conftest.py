"""An installation with a laboratory's feed: over HTTP with a clock that stands still, or as a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hl7.support import Receiver, Ward, furnish, ward


@pytest.fixture
def lab(tmp_path: Path) -> Ward:
    return ward(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A process for the tests of a file that leave it as it is."""
    instance = tmp_path_factory.mktemp("mllp") / "instance"
    services = furnish(instance, 5)
    receiver = Receiver(instance, TITRATOR_MLLP_FRAME_SECONDS="1", TITRATOR_MLLP_FRAME_BYTES="20000")
    receiver.services = services  # type: ignore[attr-defined]
    yield receiver
    receiver.end()
    services.store.close()
