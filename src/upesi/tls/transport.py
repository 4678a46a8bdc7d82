"""TLS over any transport of the event loop, for servers and clients: bytes of a session in, records out, no task and no copy that stays.

`TlsTransport` stands between the transport of the socket and a protocol, which need not know more than when the handshake is over.
It is not the loop's own `start_tls`, because that cannot begin with octets that were read already (a ClientHello behind a PROXY header),
resumes no session, and, without uvloop, costs 277 kB for each idle session: here it is about 25.

Deadlines are the owner's. A handshake is driven by what comes in and takes part of a millisecond on the loop. What is not here: which
certificate is shown (`acceptor`), whom to trust (`contexts`).
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol, cast

__all__ = ["TlsProtocol", "TlsTransport"]

# OpenSSL's memory buffers never shrink: what they are fed at once, every idle session keeps. A record of 16 kB is put together by
# OpenSSL in a buffer that it gives back
_FEED = 4 * 1024
_RECORD = 16 * 1024
# A client that was sent away and goes on talking is cut off after so many octets
_MAX_JUNK = 1024 * 1024
# Records can be all overhead: a key update takes 15 us for 27 octets, and the loop reads up to 8 MB from one socket at once, so one
# client that sent an octet between each two of them held a worker for 5 s. Whose records bring less than a quarter of their octets, and
# have for longer than one record takes, is heard for _FEED octets at a time; the others have their turn between
_LEAN = 20 * 1024
_YIELD = 4
# and who sends so many octets of records for nothing at all is sent away: a ticket that holds a chain of ours has 64 kB at the most.
# OpenSSL bounds empty records in a row, but no key updates
_MAX_BARREN = 128 * 1024


class TlsProtocol(Protocol):
    """The owner of a TlsTransport, beside what it is for every transport (asyncio.Protocol)."""

    def tls_established(self) -> None:
        """Take note that the handshake is over: from now on the transport can be written to."""
        ...

    def tls_failed(self, reason: str) -> None:
        """Take note that it failed; the transport closes. `reason` is in OpenSSL's words, nothing of it is the peer's."""
        ...

    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class TlsTransport(asyncio.Transport):
    """A transport that speaks TLS through another one, and is that one's protocol.

    Make it, then `begin`. Before `tls_established` nothing can be written: it is dropped. Closing says close_notify, so that
    the peer can tell an end from a cut. Octets that came in one piece are delivered even when reading is paused meanwhile.
    """

    __slots__ = (
        "_barren",
        "_ended",
        "_gathering",
        "_halted",
        "_incoming",
        "_lean",
        "_object",
        "_open",
        "_outgoing",
        "_protocol",
        "_raw",
        "_rest",
        "_shut",
        "_trash",
        "unfinished",
    )

    def __init__(
        self,
        raw: asyncio.Transport,
        protocol: TlsProtocol,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """`server_hostname` goes out as SNI, and is what the certificate must be for if `context` verifies; `session` is to be resumed."""
        self._raw = raw
        self._protocol: TlsProtocol | None = protocol
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname, session=session
        )
        # the handshake is over
        self._open = False
        # the peer will send no more
        self._ended = False
        # nor will we
        self._shut = False
        self._trash = 0
        # octets that brought nothing: since the last that did, and beyond what is usual
        self._barren = self._lean = 0
        # what waits for its turn, and whether the owner reads no more
        self._rest = b""
        self._halted = False
        # records wait to be sent together
        self._gathering = False
        # what came last was a part of a record, so nobody has heard of it: whoever drips into records makes no command of them
        self.unfinished = False

    def begin(self, octets: bytes = b"") -> None:
        """Take over the transport; `octets` were read from it already."""
        self._raw.set_protocol(cast("asyncio.BaseProtocol", self))
        if octets:
            self.data_received(octets)
        elif not self._object.server_side:
            self._shake()
            self._flush()

    @property
    def tls(self) -> ssl.SSLObject:
        """The TLS session itself: version, cipher, certificates, `session` for resumption."""
        return self._object

    # -- what the transport below calls

    def data_received(self, data: bytes) -> None:
        """Take records; what the protocol answers to them goes out in one write."""
        if self._rest:
            self._rest += data
            return
        self._gathering = True
        try:
            if len(data) <= _FEED:
                self._feed(data)
            else:
                view = memoryview(data)
                for start in range(0, len(view), _FEED):
                    self._feed(view[start : start + _FEED])
                    if self._lean > _LEAN and start + _FEED < len(view):
                        self._let_others(bytes(view[start + _FEED :]))
                        break
        finally:
            self._gathering = False
            self._flush()

    def eof_received(self) -> bool | None:
        """Take note that the peer's side is closed. Without close_notify it may have been cut: to SMTP that is the same, as
        nothing counts that is not complete."""
        if not (self._open or self._shut):
            self._fail("the other side left during the handshake")
        return self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on the end, once."""
        protocol, self._protocol = self._protocol, None
        self._shut = True
        self._rest = b""
        if protocol is not None:
            protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass it on."""
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        if self._protocol is not None:
            self._protocol.resume_writing()

    # -- records

    def _let_others(self, rest: bytes) -> None:
        """Keep `rest`, and read no more, until others have had their turn."""
        self._rest = rest
        self._raw.pause_reading()
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Take what was kept, unless the owner reads no more: then it waits for `resume_reading`."""
        if self._halted or self._protocol is None:
            return
        rest, self._rest = self._rest, b""
        if rest:
            self.data_received(rest)
        if not (self._rest or self._halted or self._raw.is_closing()):
            self._raw.resume_reading()

    def _feed(self, data: bytes | memoryview) -> None:
        if self._shut or self._ended:
            self._ignore(len(data))
            return
        self._incoming.write(data)
        if not self._open:
            self._shake()
        if self._open and not self._shut:
            plain = self._read()
            self._lean = max(0, self._lean + len(data) - _YIELD * plain)
            self._barren = 0 if plain else self._barren + len(data)
            if self._barren > _MAX_BARREN:
                self._cut()

    def _ignore(self, size: int) -> None:
        self._trash += size
        if self._trash > _MAX_JUNK:
            self._raw.abort()

    def _shake(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            self._fail(_reason(error))
            return
        # its last words go out with what the protocol has to say now: a segment less for each side
        self._open = True
        if self._protocol is not None:
            self._protocol.tls_established()

    def _fail(self, reason: str) -> None:
        # the alert
        self._flush()
        self._shut = True
        protocol = self._protocol
        if protocol is not None:
            protocol.tls_failed(reason)
        self._raw.close()

    def _cut(self) -> None:
        """Close: what came last is no longer of use to anybody."""
        self._flush()
        self._shut = True
        self._raw.close()

    def _read(self) -> int:
        """Decrypt what there is and deliver it in one piece; return its size."""
        read = self._object.read
        pieces: list[bytes] = []
        ended = False
        began = self._incoming.pending > 0
        try:
            # asked beforehand, as an exception for each segment costs more than these two calls
            while self._incoming.pending or self._object.pending():
                piece = read(_RECORD)
                if not piece:
                    ended = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            ended = True
        except ssl.SSLError:
            # a record that was forged or damaged, or a flood that OpenSSL has cut
            self._cut()
            return 0
        self.unfinished = began and not pieces
        plain = b"" if not pieces else pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if plain and self._protocol is not None:
            self._protocol.data_received(plain)
        if ended and not self._end():
            self.close()
        return len(plain)

    def _end(self) -> bool | None:
        """Tell the protocol, once, that the peer will send no more; return whether it wants to go on writing."""
        if self._ended or self._protocol is None:
            return not self._shut
        self._ended = True
        return self._protocol.eof_received()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._raw.write(self._outgoing.read())

    # -- what the protocol calls

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        if self._shut or not (self._open and data):
            return
        try:
            if len(data) <= _RECORD:
                self._object.write(data)
            else:
                self._write_records(memoryview(data))
        except ssl.SSLError:
            self.abort()
            return
        if not self._gathering or self._outgoing.pending > _RECORD:
            self._flush()

    def _write_records(self, view: memoryview) -> None:
        for start in range(0, len(view), _RECORD):
            self._object.write(view[start : start + _RECORD])
            self._raw.write(self._outgoing.read())

    def write_eof(self) -> None:
        """Say close_notify and close our side; what comes in from now on is thrown away."""
        self._say_goodbye()
        self._raw.write_eof()

    def can_write_eof(self) -> bool:
        """Return whether the transport below can be closed by halves."""
        return self._raw.can_write_eof()

    def close(self) -> None:
        """Say close_notify and close; what was written arrives."""
        self._say_goodbye()
        self._raw.close()

    def _say_goodbye(self) -> None:
        if self._shut:
            return
        self._shut = True
        if self._open:
            try:
                self._object.unwrap()
            except ssl.SSLError:
                # it has been written; what it lacks is the peer's own, for which nobody waits
                pass
            self._flush()

    def abort(self) -> None:
        """Close at once; what waits to be sent is dropped."""
        self._shut = True
        self._outgoing.read()
        self._raw.abort()

    def is_closing(self) -> bool:
        """Return whether it is closed or about to be."""
        return self._shut or self._raw.is_closing()

    def pause_reading(self) -> None:
        """Read no more from the socket."""
        self._halted = True
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Go on."""
        self._halted = False
        if self._rest:
            asyncio.get_running_loop().call_soon(self._go_on)
        else:
            self._raw.resume_reading()

    def is_reading(self) -> bool:
        """Return whether the socket is read."""
        return self._raw.is_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set them below: they count octets of records."""
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Return how much waits to be sent, in octets of records."""
        return self._raw.get_write_buffer_size()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Change the owner."""
        self._protocol = cast("TlsProtocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the owner."""
        return cast("asyncio.BaseProtocol", self._protocol)

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Return `ssl_object`, or what the transport below knows."""
        return self._object if name == "ssl_object" else self._raw.get_extra_info(name, default)


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not good: {error.verify_message}"
    return (error.reason or "unknown").lower().replace("_", " ")
