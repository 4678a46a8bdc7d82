"""Message content as it arrives: DATA with its transparency (RFC 5321 section 4.5.2) and BDAT chunks (RFC 3030).

What is not read from the wire as CR LF "." CR LF never ends DATA. A bare LF, a bare CR or a NUL anywhere makes the message one
that is refused, but it is read on to its real end first: to stop earlier would run what follows as commands, which is what SMTP smuggling
wants, and to treat a lone LF as a line end is how it works (CVE-2023-51764 to -51766). Which fault is reported
does not depend on how the octets were cut into segments.

Content leaves as slices of what came in. Nothing is collected here, so a message larger than the limit costs no memory.
"""

from __future__ import annotations

from typing import Final

from upesi.mail.reply import Reply
from upesi.protocol.smtp.buffer import ReceiveBuffer
from upesi.protocol.smtp.events import ChunkEnd, DataChunk, DataEnd
from upesi.protocol.smtp.framing import has_stray_newline
from upesi.protocol.smtp.refusals import MESSAGE_TOO_LARGE, NUL_IN_CONTENT, STRAY_NEWLINE, refuse

__all__ = ["ChunkReader", "DataReader", "Discard"]

_END: Final = b"\r\n.\r\n"


class _Content:
    """What DATA and BDAT have in common: counting, checking, and one verdict."""

    __slots__ = ("_eight_bit", "_max_size", "_nul", "_size", "_stray")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._size = 0
        self._eight_bit = False
        self._nul = False
        self._stray = False

    def _passes(self) -> bool:
        return not (self._stray or self._nul or self._size > self._max_size)

    def _fault(self) -> Reply | None:
        """Return the reply for a message that must be refused; the order is fixed so that segments do not matter."""
        if self._stray:
            return STRAY_NEWLINE
        if self._nul:
            return NUL_IN_CONTENT
        if self._size > self._max_size:
            return MESSAGE_TOO_LARGE
        return None


class DataReader(_Content):
    """Reads one message from after the 354 to its CR LF "." CR LF.

    `data = *( [ "." ] line CRLF ) "." CRLF`. The CR LF in front of a dot is never given out before the octet behind the dot is
    known: whatever may be the beginning of an end stays in the buffer (four octets at most), and so every search starts at the
    CR LF that it needs to see, wherever the segments were cut, and no octet is searched more than twice.
    tests/property/protocol/test_server_splits.py guards this.
    """

    __slots__ = ("_ended", "_fresh")

    def __init__(self, max_size: int) -> None:
        super().__init__(max_size)
        # at the very beginning, where the CR LF of the DATA line stands for the one in front
        self._fresh = True
        self._ended = False

    def next_event(self, buffer: ReceiveBuffer) -> DataChunk | DataEnd | None:
        """Return the next piece, the end, or None if more octets are needed."""
        while not self._ended:
            if self._fresh and not self._begin(buffer):
                break
            piece = self._cut(buffer)
            if not piece:
                break
            if self._check(piece):
                return DataChunk(piece)
        if not self._ended:
            return None
        return DataEnd(self._size, self._eight_bit, self._fault())

    def _begin(self, buffer: ReceiveBuffer) -> bool:
        """Deal with a dot that is the first octet of all; say whether to go on to `_cut`."""
        if buffer.data and buffer.data[buffer.pos] != 46:
            self._fresh = False
            return True
        head = bytes(buffer.data[buffer.pos : buffer.pos + 3])
        if head == b".\r\n":
            buffer.drop(buffer.pos + 3)
            self._ended = True
            return False
        if head in (b"", b".", b".\r"):
            return False
        buffer.drop(buffer.pos + 1)
        self._fresh = False
        return True

    def _cut(self, buffer: ReceiveBuffer) -> bytes:
        """Take what is certain to be content, dots removed; notice the end."""
        data, start = buffer.data, buffer.pos
        # one search finds both the end and the lines that need unstuffing, and mostly there is nothing before the end
        dot = data.find(b"\r\n.", start)
        if dot >= 0:
            stop = dot if data.startswith(_END, dot) else data.find(_END, dot)
            if stop >= 0:
                self._ended = True
                taken = data[start : stop + 2]
                buffer.drop(stop + 5)
                piece = taken if type(taken) is bytes else bytes(taken)
                return piece if stop == dot else piece.replace(b"\r\n.", b"\r\n")
        stop = len(data) - _held_back(data)
        piece = buffer.take(max(stop, start))
        return piece.replace(b"\r\n.", b"\r\n") if dot >= 0 else piece

    def _check(self, piece: bytes) -> bool:
        """Note what `piece` brings; whether it may still be given out."""
        self._size += len(piece)
        if not piece.isascii():
            self._eight_bit = True
        if 0 in piece:
            self._nul = True
        if has_stray_newline(piece):
            self._stray = True
        # `_passes`, without its frame
        return not (self._stray or self._nul or self._size > self._max_size)


def _held_back(data: bytes | bytearray) -> int:
    """Return how many octets at the end of `data` may be the beginning of an end of data."""
    tail = data[-4:]
    for size in (4, 3, 2, 1):
        if tail.endswith(_END[:size]):
            return size
    return 0


class ChunkReader(_Content):
    """Reads the chunks of one message sent by BDAT; `begin` opens each.

    Octets are counted, never searched for an end. Content that is not BINARYMIME keeps to the rules of text (RFC 3030 section 3),
    over the borders of chunks too: a CR may end one and its LF begin the next.
    """

    __slots__ = ("_after_cr", "_binary", "_last", "_left")

    def __init__(self, max_size: int, binary: bool) -> None:
        super().__init__(max_size)
        self._binary = binary
        self._after_cr = False
        self._left = 0
        self._last = False

    def begin(self, size: int, last: bool) -> None:
        """Expect a chunk of `size` octets."""
        self._left = size
        self._last = last

    def next_event(self, buffer: ReceiveBuffer) -> DataChunk | ChunkEnd | None:
        """Return the next piece, the end of the chunk, or None if more octets are needed."""
        while self._left:
            piece = buffer.take(buffer.pos + self._left)
            if not piece:
                return None
            self._left -= len(piece)
            self._check(piece)
            if self._passes():
                return DataChunk(piece)
        if self._last and self._after_cr:
            self._stray = True
        return ChunkEnd(self._size, self._last, self._eight_bit, self._fault())

    def _check(self, piece: bytes) -> None:
        self._size += len(piece)
        if not piece.isascii():
            self._eight_bit = True
        if self._binary:
            return
        if 0 in piece:
            self._nul = True
        if self._after_cr:
            piece = b"\r" + piece
        self._after_cr = piece.endswith(b"\r")
        if self._after_cr:
            piece = piece[:-1]
        if piece and has_stray_newline(piece):
            self._stray = True


class Discard:
    """Reads over the octets of a chunk that was refused before it came, then raises the refusal (RFC 3030 section 2).

    The client sends them in any case; as commands they would be smuggled ones.
    """

    __slots__ = ("_left", "_reply")

    def __init__(self, size: int, reply: Reply) -> None:
        self._left = size
        self._reply = reply

    def next_event(self, buffer: ReceiveBuffer) -> None:
        """Return None while octets are missing; raise RemoteProtocolError when the last one was read."""
        if self._left:
            read = min(len(buffer), self._left)
            buffer.drop(buffer.pos + read)
            self._left -= read
        if not self._left:
            raise refuse(self._reply)
