"""Message ids: 128 bits, sortable by time, unique when the clock steps back.

48 bits of milliseconds, 80 bits that start at random in each process and rise by a random step: within a millisecond ids still
sort, and two workers never meet (2**-80 a pair). The clock never makes an id smaller than the one before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NewType

__all__ = ["MessageId", "MessageIds", "message_id_from"]

MessageId = NewType("MessageId", bytes)

_HEX: Final = re.compile(r"[0-9a-f]{32}")


def message_id_from(text: str) -> MessageId:
    """Read the 32 hexadecimal digits that people see; raise ValueError."""
    text = text.strip().lower()
    if not _HEX.fullmatch(text):
        raise ValueError(f"not a message id (32 hexadecimal digits): {text[:40]!r}")
    return MessageId(bytes.fromhex(text))


class MessageIds:
    """A source of ids; `now` gives wall-clock seconds, `entropy(n)` n random octets."""

    __slots__ = ("_counter", "_entropy", "_last", "_now")

    def __init__(self, now: Callable[[], float], entropy: Callable[[int], bytes]) -> None:
        self._now = now
        self._entropy = entropy
        self._last = 0
        self._counter = 0

    def next(self) -> MessageId:
        """Return an id greater than every id this source gave before."""
        millis = int(self._now() * 1000)
        if millis > self._last:
            self._last = millis
            # the top bit is left clear, so that steps within one millisecond do not overflow
            self._counter = int.from_bytes(self._entropy(10), "big") >> 1
        else:
            self._counter += 1 + self._entropy(1)[0]
        return MessageId(self._last.to_bytes(6, "big") + (self._counter & (1 << 80) - 1).to_bytes(10, "big"))
