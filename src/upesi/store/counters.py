"""What may be counted over all workers of the machine: things held at once, and events in a window of time.

The seam that sessions, AUTH and plugins see; `machine.MachineCounters` implements it. Every call returns at once (microseconds, no
disk, no await), so it may be made on the event loop and on the path of a message. A key is any octets that name what is counted, with a
prefix of its owner: b"connections:" + network.

Counters are for limits, not for the record: they outlive a restart of the server, and are forgotten when the machine starts anew.
"""

from __future__ import annotations

from typing import Protocol

from upesi.config.units import Rate

__all__ = ["Counters"]


class Counters(Protocol):
    """Counts that hold over all workers. A `rate` of "none" counts nothing and refuses nothing."""

    def hold(self, key: bytes, limit: int) -> bool:
        """Hold one more of `key`; False, and nothing held, where all workers together hold `limit` already (0: no limit).

        What is held is given back by `release`, or by the end of this process however it comes.
        """
        ...

    def release(self, key: bytes) -> None:
        """Give one back."""
        ...

    def held(self, key: bytes) -> int:
        """Return how many all workers hold."""
        ...

    def take(self, key: bytes, rate: Rate, n: int = 1) -> bool:
        """Count `n` events now; False, and nothing counted, where a window of `rate.seconds` would then hold more than `rate.count`."""
        ...

    def give_back(self, key: bytes, rate: Rate) -> None:
        """Take one event back that was counted lately: it was none after all. The newest that are left stand for the rest."""
        ...

    def add(self, key: bytes, rate: Rate, n: int = 1) -> bool:
        """Count `n` events that have happened; False where there are now more than `rate.count` in the window."""
        ...

    def spent(self, key: bytes, rate: Rate) -> int:
        """Return how many events the window holds now."""
        ...

    def forget(self, key: bytes, rate: Rate) -> None:
        """Begin again from nothing: somebody has shown who they are."""
        ...
