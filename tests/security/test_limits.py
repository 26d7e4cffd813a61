"""So many hits a minute for each key, by the clock."""

from __future__ import annotations

import threading

import pytest

from titrator.security.limits import MINUTE, Limit


def test_so_many_pass_and_the_next_waits_for_the_next_minute() -> None:
    limit = Limit(3)
    assert [limit.hit("a", 120.0 + n) for n in range(5)] == [0, 0, 0, 58, 57]
    assert limit.hit("b", 125.0) == 0, "each key for itself"
    assert limit.hit("a", 179.9) == 1
    assert limit.hit("a", 180.0) == 0


@pytest.mark.parametrize("second", [0.0, 0.5, 1.0, 30.25, 59.0, 59.999])
def test_who_waits_as_told_may_pass(second: float) -> None:
    limit = Limit(1)
    now = 600.0 + second
    assert limit.hit("a", now) == 0
    wait = limit.hit("a", now)
    assert 1 <= wait <= MINUTE + 1
    assert limit.hit("a", now + wait) == 0


def test_threads_together_pass_no_more() -> None:
    limit, passed, start = Limit(100), [], threading.Barrier(8)

    def hit() -> None:
        start.wait()
        passed.extend(limit.hit("a", 0.0) == 0 for _ in range(50))

    threads = [threading.Thread(target=hit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (passed.count(True), len(passed)) == (100, 400)
