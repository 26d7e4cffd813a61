"""The receiver of docs/reminders.md, run as it is printed there, on a port of this machine."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.contract.served import NOW

PAGE = Path(__file__).parents[2] / "docs" / "reminders.md"


def printed() -> dict[str, Any]:
    """What the example defines; its clock is that of the other examples, and what it prints is kept."""
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {"__name__": "receiver", "heard": []}
    exec(source, names)  # it is our own page
    names["time"] = SimpleNamespace(time=NOW.timestamp)
    names["print"] = names["heard"].append
    return names


@dataclass(frozen=True, slots=True)
class Receiving:
    """Where it listens, and what it has been told."""

    url: str
    names: dict[str, Any] = field(repr=False)

    @property
    def heard(self) -> list[dict[str, Any]]:
        return list(self.names["heard"])


@contextmanager
def receiving() -> Iterator[Receiving]:
    """The receiver while it runs."""
    names = printed()
    names["Receiver"].log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), names["Receiver"])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Receiving(f"http://127.0.0.1:{server.server_port}/titrator", names)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
