"""One client connection: octets out, replies in, one deadline.

An `asyncio.Protocol` without a task of its own. While it is being opened, replies are awaited (`next_reply`: greeting, EHLO);
from `attach` on each reply is a plain call to the user, because the path of every message must cost no task and no await.

Not here: what to say (`upesi.delivery.agents`), how octets become replies (`upesi.protocol.smtp.client`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final, Protocol, cast

from upesi.client.identity import is_address
from upesi.mail.errors import RemoteProtocolError
from upesi.protocol.smtp.answers import ReceivedReply
from upesi.protocol.smtp.client import ClientConnection
from upesi.protocol.smtp.events import Pause
from upesi.tls.transport import TlsTransport

__all__ = ["Connection", "ConnectionLost", "ConnectionUser", "HandshakeFailed"]

# What the transport buffers before it asks us to pause: a large body is read as fast as it leaves, not faster (C44)
WRITE_BUFFER: Final = 256 * 1024

# Seconds in which the last octets of a closed connection must have left
LINGER: Final = 30.0


class ConnectionLost(Exception):
    """The connection ended, broke the protocol, or ran out of time; the text is ours and safe to show."""


class HandshakeFailed(ConnectionLost):
    """There was no TLS handshake, or none that is good; nothing has been sent."""


class ConnectionUser(Protocol):
    """Who is told what happens on an attached connection."""

    def reply_received(self, reply: ReceivedReply) -> None:
        """Take the next reply."""
        ...

    def connection_failed(self, reason: str) -> None:
        """Take note that the connection is gone: closed or broken by the other side. Called at most once, never after our own close."""
        ...

    def timed_out(self) -> None:
        """Take note that the deadline has passed; the connection is still open."""
        ...

    def writing_resumed(self) -> None:
        """Go on writing: the transport's buffer has drained."""
        ...


class Connection:
    """A connection to one server; `remote` names it in outcomes ("mx1.example.net [192.0.2.1]").

    An `asyncio.Protocol`, not by descent (why: `listener.parting`).

    `machine` builds what is written and reads what comes. `tls` says how it is protected ("TLSv1.3 TLS_AES_256_GCM_SHA384"),
    "" where it is not; `verified` that the server is who it should be; `garbled` that it broke the protocol; `local` that this is a
    Unix socket.
    """

    __slots__ = (
        "_armed_at", "_deadline", "_loop", "_lost", "_paused", "_timer", "_transport", "_user", "_waiter", "_waiting",
        "garbled", "local", "machine", "remote", "tls", "verified",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, machine: ClientConnection) -> None:
        self._loop = loop
        self.machine = machine
        self._transport: asyncio.Transport | None = None
        self._user: ConnectionUser | None = None
        self._waiting: ReceivedReply | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._lost = ""
        self._deadline = 0.0
        self._armed_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self.remote = ""
        self.tls = ""
        self.verified = False
        self.garbled = False
        self.local = False

    # -- what the event loop calls --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it
        transport.set_write_buffer_limits(WRITE_BUFFER)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand each complete reply on; what cannot be a reply ends the connection (OUT-01, OUT-02, TLS-04)."""
        machine = self.machine
        try:
            machine.receive(data)
            while not isinstance(reply := machine.next_reply(), Pause):
                user = self._user
                if user is not None:
                    user.reply_received(reply)
                elif self._lost:
                    return  # ended while replies were being handed on
                else:
                    self._waiting = reply
                    self._wake_waiter()
        except RemoteProtocolError as error:
            self.garbled = True
            self._fail(str(error))

    def eof_received(self) -> None:
        """Close: SMTP knows no half-open connections."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so, whoever listens."""
        self._fail("connection lost" if exc is None else f"connection lost: {_reason(exc)}")

    def pause_writing(self) -> None:
        """Stop reading bodies until the buffer has drained."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        if self._user is not None:
            self._user.writing_resumed()

    # -- while opening --

    async def next_reply(self, within: float) -> ReceivedReply:
        """Return the next reply; raise ConnectionLost if none is complete in `within` seconds, however many octets trickle in."""
        if self._waiting is None and not self._lost:
            await self._wait(within, "no reply in time")
        reply, self._waiting = self._waiting, None
        if reply is None:
            raise ConnectionLost(self._lost)
        return reply

    async def _wait(self, within: float, late: str) -> None:
        """Return when something has come, or the connection is gone; after `within` seconds it is, for being `late`."""
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(within, self._fail, late)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake_waiter(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- TLS --

    @property
    def protection(self) -> str:
        """Version, cipher, and whether the server was verified; "" in clear."""
        return self.tls and f"{self.tls} {'verified' if self.verified else 'unverified'}"

    async def secure(self, context: ssl.SSLContext, host: str, session: ssl.SSLSession | None, within: float) -> None:
        """Make the TLS handshake, resuming `session` if the server likes; `host` is asked for by name (SNI).

        Raises HandshakeFailed; the connection is closed then.
        """
        if self._lost:
            raise HandshakeFailed(self._lost)
        raw = self._transport
        assert raw is not None
        try:
            # RFC 6066 section 3: an address is no server name
            name = None if is_address(host) else host
            secured = TlsTransport(raw, self, context, server_side=False, server_hostname=name, session=session)
        except ValueError:
            self.abort()  # a name that DNS may hold and TLS may not
            raise HandshakeFailed("the host's name cannot be asked for in TLS") from None
        self._transport = secured
        secured.begin()
        if not self.machine.secure and not self._lost:
            await self._wait(within, "no TLS handshake in time")
        if self._lost or not self.machine.secure:
            raise HandshakeFailed(self._lost)

    def tls_established(self) -> None:
        """Take note of what the handshake has settled."""
        assert isinstance(self._transport, TlsTransport)
        secured = self._transport.tls
        cipher = secured.cipher()
        self.tls = f"{secured.version()} {cipher[0] if cipher else ''}"
        self.machine.secured()
        self._wake_waiter()

    def tls_failed(self, reason: str) -> None:
        """Take note that there is none."""
        self._fail(f"TLS handshake: {reason}")

    def certificate(self) -> Mapping[str, object] | None:
        """Return the server's certificate as `ssl` parses it, if it has been verified by an authority."""
        return self._transport.tls.getpeercert() if isinstance(self._transport, TlsTransport) else None

    def session(self) -> tuple[ssl.SSLContext, ssl.SSLSession] | None:
        """Return what can be resumed by a later connection, with the context that it belongs to."""
        if not isinstance(self._transport, TlsTransport):
            return None
        secured = self._transport.tls
        return None if secured.session is None else (secured.context, secured.session)

    # -- while in use --

    def attach(self, user: ConnectionUser) -> None:
        """From now on call `user`; raise ConnectionLost if the connection has gone meanwhile."""
        if self._lost:
            raise ConnectionLost(self._lost)
        self._user = user

    def write(self, data: bytes) -> None:
        """Send `data`; `writable` afterwards says whether to hold back."""
        assert self._transport is not None
        self._transport.write(data)

    @property
    def writable(self) -> bool:
        """Whether more should be written now: a transport that failed takes everything and sends nothing, until it says so."""
        return not (self._paused or self._transport is None or self._transport.is_closing())

    def expect_within(self, seconds: float) -> None:
        """Set the one deadline: `timed_out` is called if it is not set anew within `seconds`.

        The timer is left alone where the new deadline is later than it (nearly always): it looks again when it fires.
        """
        deadline = self._deadline = self._loop.time() + seconds
        if self._timer is None or deadline < self._armed_at:
            self._arm(deadline)

    def close(self) -> None:
        """Send what is buffered, then close; the user hears nothing more."""
        self._detach()
        if self._transport is not None:
            self._transport.close()
            if self._transport.get_write_buffer_size():
                # a server that stopped reading would keep the socket for ever
                self._loop.call_later(LINGER, self._transport.abort)

    def abort(self) -> None:
        """Close at once, dropping what is buffered; the user hears nothing more."""
        self._detach()
        if self._transport is not None:
            self._transport.abort()

    def _detach(self) -> None:
        self._user = None
        self._lost = self._lost or "closed"
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_at = at
        self._timer = self._loop.call_at(at, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        if self._loop.time() < self._deadline:
            self._arm(self._deadline)
        elif self._user is not None:
            self._user.timed_out()

    def _fail(self, reason: str) -> None:
        """End the connection for `reason` and tell the user, once."""
        if self._lost:
            return
        user = self._user
        self.abort()
        self._lost = reason
        self._wake_waiter()
        if user is not None:
            user.connection_failed(reason)


def _reason(error: Exception) -> str:
    """Name an error of the network by its system text only: nothing remote is in it."""
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
