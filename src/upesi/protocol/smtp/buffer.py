"""Octets that came in and were not read yet.

A segment that arrives when nothing is left over is kept as it is, not copied: that is every command of a client that does not
pipeline, and nearly every message. Only what must be put together goes through a bytearray, which grows and loses its front in
amortised constant time per octet. A search for an end of line goes on where the last one stopped, so that a line trickled in octet by
octet costs linear time.
"""

from __future__ import annotations

__all__ = ["ReceiveBuffer"]


class ReceiveBuffer:
    """A queue of octets. `data[pos:]` is what is unread; readers move `pos` through `take` and `drop`."""

    __slots__ = ("_searched", "data", "pos")

    def __init__(self) -> None:
        self.data: bytes | bytearray = b""
        self.pos = 0
        self._searched = 0

    def __len__(self) -> int:
        return len(self.data) - self.pos

    def append(self, data: bytes) -> None:
        """Add `data` at the end."""
        if not self.data:
            self.data = data
            return
        if isinstance(self.data, bytearray):
            del self.data[: self.pos]
        else:
            self.data = bytearray(memoryview(self.data)[self.pos :])
        self._searched = max(self._searched - self.pos, 0)
        self.pos = 0
        self.data += data

    def take_line(self) -> bytes:
        """Return the unread octets up to and with the first LF and count them as read; b"" if there is no LF."""
        data, start = self.data, self.pos
        end = data.find(b"\n", self._searched or start) + 1
        if end == len(data):
            self.data = b""
            self.pos = self._searched = 0
            if start == 0 and type(data) is bytes:
                return data
            return bytes(data[start:])
        if not end:
            self._searched = len(data)
            return b""
        self.pos = end
        self._searched = 0
        return bytes(data[start:end])

    def take(self, end: int) -> bytes:
        """Return the unread octets up to index `end` and count them as read."""
        taken = self.data[self.pos : end]
        self.drop(end)
        # bytes() of a bytes object is that object, but the call costs 0.1 us
        return taken if type(taken) is bytes else bytes(taken)

    def drop(self, end: int) -> None:
        """Count the octets up to index `end` as read; a buffer that has been read out holds on to nothing."""
        if end >= len(self.data):
            self.data = b""
            self.pos = self._searched = 0
        else:
            self.pos = end
            self._searched = 0

    def clear(self) -> None:
        """Forget everything."""
        self.data = b""
        self.pos = self._searched = 0
