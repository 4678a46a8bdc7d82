"""Answers kept for their time to live, the least recently used forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["TtlCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TtlCache(Generic[K, V]):
    """At most `capacity` values, each until its time has passed; `now` gives monotonic seconds."""

    __slots__ = ("_capacity", "_entries", "_now")

    def __init__(self, capacity: int, now: Callable[[], float]) -> None:
        self._capacity = capacity
        self._now = now
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return the value of `key` while it lives."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._now():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def put(self, key: K, value: V, ttl: float) -> None:
        """Keep `value` for `ttl` seconds; not at all for 0."""
        self._entries.pop(key, None)
        if ttl <= 0 or self._capacity <= 0:
            return
        if len(self._entries) >= self._capacity:
            self._entries.popitem(last=False)
        self._entries[key] = (self._now() + ttl, value)

    def __len__(self) -> int:
        return len(self._entries)
