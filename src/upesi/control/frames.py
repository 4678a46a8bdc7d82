"""The frames of the control socket and of the channels to the workers. No I/O.

    frame = length version body        length: 4 octets, big-endian, of version and body
    body  = msgpack [kind, id, name, payload]

The version stands outside the body, so that a program can say which one it speaks to one that speaks another (during an upgrade the
command line is new and the server is old). msgpack of plain values only: nothing that is read can run code.
"""

from __future__ import annotations

import enum

import msgspec

from upesi.mail.errors import UpesiError

__all__ = ["MAX_FRAME", "VERSION", "Frame", "FrameError", "FrameReader", "Kind", "encode_frame"]

VERSION = 1
# a page of `queue list` is some kilobytes; this bounds what the other end can make us hold
MAX_FRAME = 16_000_000
_LENGTH = 4


class FrameError(UpesiError):
    """The other end does not speak as we do; the connection is of no more use."""


class Kind(enum.IntEnum):
    """What a frame is. A request is answered by any number of PARTs and then one REPLY or ERROR with its id."""

    NOTICE = 0
    REQUEST = 1
    REPLY = 2
    ERROR = 3
    PART = 4


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """One frame. `payload` is plain values: None, bool, int, float, str, bytes, lists and tables of these."""

    kind: Kind
    id: int
    name: str
    payload: object = None


_decode = msgspec.msgpack.Decoder(Frame).decode
_encode = msgspec.msgpack.Encoder().encode


def encode_frame(frame: Frame, version: int = VERSION) -> bytes:
    """Return the octets of `frame`; raise FrameError if it is too large or cannot be written."""
    try:
        body = _encode(frame)
    except (TypeError, OverflowError, msgspec.EncodeError) as error:
        raise FrameError(f"{frame.name}: {error}") from None
    if len(body) >= MAX_FRAME:
        raise FrameError(f"{frame.name} takes {len(body)} octets, {MAX_FRAME} may be sent at once")
    return (len(body) + 1).to_bytes(_LENGTH, "big") + bytes((version,)) + body


class FrameReader:
    """Cuts a stream into frames, however it arrives."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take `data` and return the frames that are now complete; raise FrameError for what is none, or of another version."""
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        start = 0
        while len(buffer) - start >= _LENGTH:
            length = int.from_bytes(buffer[start : start + _LENGTH], "big")
            # checked before anything is waited for: a wrong length must not make us gather 4 GB
            if not 1 <= length <= MAX_FRAME:
                raise FrameError(f"a frame of {length} octets is not allowed")
            end = start + _LENGTH + length
            # the version too: a program of another one may mean something else by the rest
            if len(buffer) > start + _LENGTH and buffer[start + _LENGTH] != VERSION:
                raise FrameError(f"the other end speaks version {buffer[start + _LENGTH]}, this program {VERSION}")
            if len(buffer) < end:
                break
            frames.append(_frame(bytes(buffer[start + _LENGTH + 1 : end])))
            start = end
        del buffer[:start]
        return frames


def _frame(body: bytes) -> Frame:
    try:
        return _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"not a frame: {error}") from None
