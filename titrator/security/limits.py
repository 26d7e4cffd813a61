"""Rate limits: how many requests of one account or address are taken in a minute, counted in the memory of a process.

A library would do it, but starts a thread for each key; each process has its share of the limit, so no store is asked.
"""

from __future__ import annotations

import threading
from typing import Final

MINUTE: Final = 60


class Limit:
    """So many hits a minute for each key, in minutes by the clock; what is kept is emptied with each new minute."""

    def __init__(self, most: int) -> None:
        self.most: Final = most
        self._lock = threading.Lock()
        self._minute = 0
        self._hits: dict[str, int] = {}

    def hit(self, key: str, now: float) -> int:
        """Count a hit at an instant in seconds: 0 if it may pass, else the seconds until the next may."""
        minute = int(now // MINUTE)
        with self._lock:
            if minute != self._minute:
                self._minute, self._hits = minute, {}
            hits = self._hits[key] = self._hits.get(key, 0) + 1
        return 0 if hits <= self.most else max(1, int((minute + 1) * MINUTE - now) + 1)
