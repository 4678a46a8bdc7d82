"""The memory of answers: for their TTL, and longer for when nobody answers (RFC 8767), the least recently used forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from upesi.mail.answers import Answer

__all__ = ["AnswerCache", "Key"]

# a name in lower case without its final dot, and a type
Key = tuple[str, str]

# Octets of an answer that count as one: an answer of 64 KB must not take the place of one of 100 octets
UNIT = 512


class _Entry(msgspec.Struct, frozen=True):
    answer: Answer
    # seconds of the loop: fresh before the first, of any use before the second
    fresh_until: float
    kept_until: float
    units: int


class AnswerCache:
    """At most `capacity` answers of up to UNIT octets; larger ones count as several.

    `now` gives monotonic seconds. `stale_for` is for how many seconds an answer is kept beyond its TTL.
    """

    __slots__ = ("_capacity", "_entries", "_now", "_stale_for", "_units")

    def __init__(self, capacity: int, now: Callable[[], float], stale_for: float = 0.0) -> None:
        self._capacity = capacity
        self._now = now
        self._stale_for = stale_for
        self._units = 0
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()

    def get(self, key: Key) -> Answer | None:
        """Return the answer to `key` while it is fresh."""
        entry = self._entries.get(key)
        if entry is None or entry.fresh_until <= self._now():
            return None
        self._entries.move_to_end(key)
        return entry.answer

    def stale(self, key: Key) -> Answer | None:
        """Return the answer to `key` although its TTL is over, if it is not too old."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.kept_until <= self._now():
            self._forget(key)
            return None
        return entry.answer

    def put(self, key: Key, answer: Answer, ttl: float, octets: int = 0) -> None:
        """Keep `answer` for `ttl` seconds, not at all for 0. `octets` is about its size."""
        if key in self._entries:
            self._forget(key)
        units = 1 + octets // UNIT
        if ttl <= 0 or units > self._capacity:
            return
        while self._units + units > self._capacity:
            self._forget(next(iter(self._entries)))
        now = self._now()
        self._entries[key] = _Entry(answer, now + ttl, now + ttl + self._stale_for, units)
        self._units += units

    def refresh(self, key: Key, answer: Answer, ttl: float) -> None:
        """Let a stale `answer` count for `ttl` seconds more; how long it is kept does not change."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries[key] = msgspec.structs.replace(entry, answer=answer, fresh_until=self._now() + ttl)

    def __len__(self) -> int:
        return len(self._entries)

    def _forget(self, key: Key) -> None:
        self._units -= self._entries.pop(key).units
