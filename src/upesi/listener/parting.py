"""How a connection to a client ends: what was written arrives, and nobody can make that take for ever."""

from __future__ import annotations

import asyncio
from typing import Final

from upesi.mail.reply import Reply

__all__ = ["Parting"]

# seconds and octets for which we listen to a client that was sent away: closing on unread input would make the kernel reset the
# connection, and the client would lose the 421 (RFC 1122 section 4.2.2.13)
_LINGER: Final = 2.0
_MAX_JUNK: Final = 1024 * 1024


class Parting:
    """The part of a connection that knows whether it is open, read from, and over; the conversation is `listener.connection`'s.

    The two are an `asyncio.Protocol` without deriving from it: a base that is not compiled makes a search of every attribute.
    """

    __slots__ = (
        "_clean",
        "_closing",
        "_deadline",
        "_eof",
        "_held",
        "_loop",
        "_paused",
        "_reason",
        "_transport",
        "_unsent",
    )

    _transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # we do not read
        self._paused = False
        # the client will say no more
        self._eof = False
        # nor will we
        self._closing = False
        # and nothing that it said is unread
        self._clean = False
        # octets that came and were not dealt with
        self._held = 0
        # when a handshake, or listening to a client that was sent away, ends
        self._deadline = 0.0
        self._reason = "lost"
        # replies that wait in the outbox
        self._unsent = b""

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    def _pause_reading(self) -> None:
        if not (self._paused or self._closing):
            self._paused = True
            self._transport.pause_reading()

    def flush(self) -> None:
        """Write what waits in the outbox; whoever writes past it, or closes, does this first."""
        unsent = self._unsent
        if unsent:
            self._unsent = b""
            self._transport.write(unsent)

    def _dismiss(self, reply: Reply, reason: str) -> None:
        """Say `reply`, a 421, and close."""
        self.flush()
        self._transport.write(reply.wire)
        self._finish(reason)

    def _finish(self, reason: str) -> None:
        """Close, so that what was written arrives."""
        if self._closing:
            return
        self.flush()
        self._closing = True
        self._reason = reason
        self._deadline = self._loop.time() + _LINGER
        if self._eof or self._clean or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._held = 0
        try:
            self._transport.write_eof()
        except OSError:
            # the client has reset the connection, and the loop has not told us yet
            self._transport.abort()
            return
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def _ignore(self, data: bytes) -> None:
        self._held += len(data)
        if self._held > _MAX_JUNK:
            self._transport.abort()

    def _give_up(self, reason: str) -> None:
        """Close after a TLS handshake that failed: neither side can say anything that the other would understand."""
        if not self._closing:
            self._closing = True
            self._reason = f"handshake: {reason}"
            self._deadline = self._loop.time() + _LINGER
        self._transport.close()
