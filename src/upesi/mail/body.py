"""A message's octets as an immutable blob with any number of readers.

Small bodies are bytes in memory, large ones a file that becomes the spool's own copy (`upesi.spool.bodies`). The octets
are the message as it came in, transparency removed, CRLF line ends (anything at all inside a BINARYMIME message).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

__all__ = ["READ_SIZE", "Body", "MemoryBody"]

# One read of a body that is not in memory: large enough that a system call is cheap, small against a session's budget
READ_SIZE: Final = 256 * 1024


class Body(Protocol):
    """A readable blob of `size` octets."""

    @property
    def size(self) -> int:
        """Octets in all."""
        ...

    def read(self, start: int, length: int) -> bytes:
        """Return up to `length` octets from `start`; fewer only at the end."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """Yield all octets in order, in pieces of at most some READ_SIZE octets."""
        ...


class MemoryBody:
    """A body held as one bytes object, of `size` octets.

    `text` says that it is known to have neither a NUL nor a CR or LF alone, so that nobody need look at every octet again.
    """

    __slots__ = ("data", "size", "text")

    def __init__(self, data: bytes, *, text: bool = False) -> None:
        self.data = data
        # asked for ten times with each message
        self.size = len(data)
        self.text = text

    def read(self, start: int, length: int) -> bytes:
        """Return up to `length` octets from `start`."""
        # a slice that ends before it begins is empty in Python, and a SystemError where it is compiled
        return self.data[start : start + length] if start >= 0 <= length else b""

    def chunks(self) -> Iterator[bytes]:
        """Yield the octets, whole: they are in memory already."""
        yield self.data
