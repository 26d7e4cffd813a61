"""What the tests of reminders share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notify.servers import MailServer, mail_server, receiver
from tests.workflow.reminders.telling import Desk, Hook


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as made:
        yield made


@pytest.fixture
def hook(desk: Desk) -> Iterator[Hook]:
    """A receiver of webhooks whose clock shows what that of the desk does."""
    with receiver() as made:
        yield Hook(made, desk.clock)
