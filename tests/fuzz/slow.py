"""How long a target may take: 100 ms for 64 kB, on a machine that has other things to do."""

from __future__ import annotations

import time

from tests.fuzz.targets import Target

__all__ = ["LARGEST", "seconds"]

LARGEST = 65536
MOST = 0.1
_TRIES = 7


def seconds(target: Target, data: bytes) -> float:
    """Return the least processor time that `target` took over some tries; the first that is short enough ends them."""
    least = float("inf")
    for _ in range(_TRIES):
        begun = time.process_time()
        target(data)
        least = min(least, time.process_time() - begun)
        if least < MOST:
            break
    return least
