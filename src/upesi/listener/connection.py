"""One client's connection: octets in, events to the session, one write for each group of replies.

Everything happens inside the transport's callbacks; there is no task, and no timer per command. Where a verb must wait, the connection
is *parked*: it goes on reading up to a bound, and resumes where it stood when the commit or the hook calls back. Deadlines are numbers
that the listener's sweeper looks at. What is not here: what any command means (`session`), how it is spelt (`protocol`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Final, cast

from upesi.listener.arrival import Arrival, peer
from upesi.listener.parting import Parting
from upesi.listener.patience import Patience
from upesi.listener.place import Home, Place
from upesi.mail.errors import RemoteProtocolError
from upesi.mail.reply import Reply
from upesi.protocol.smtp.events import Pause
from upesi.protocol.smtp.server import ServerConnection
from upesi.protocol.smtp.states import State
from upesi.session import replies
from upesi.session.answers import COMMITTING, SECURING, Answer, Slowed, Waiting
from upesi.session.context import SessionContext
from upesi.session.engine import SessionEngine
from upesi.session.greeting import early_talk, greet
from upesi.session.starttls import secured
from upesi.session.verbs import handle
from upesi.tls.transport import TlsTransport

__all__ = ["Connection"]

# CMD-27: octets taken in while a command waits for its answer; beyond them the kernel's buffer, and then the client, must wait
MAX_HELD: Final = 64 * 1024
# FLD-04: octets of replies that a client may leave unread before we stop reading
MAX_UNREAD: Final = 32 * 1024
# replies are collected up to here before they are written, so that MAX_UNREAD is noticed inside one huge group
_GROUP: Final = 16 * 1024
# Events of one client that are handled before others have their turn: some milliseconds (190,000 RCPTs in one go held a worker for 7 s)
_TURN: Final = 200
# Octets of one client after which the others have their turn: the loop reads up to 32 times from a socket that always has more, 8 MB,
# and 50 senders of large bodies made everybody else wait for 250 to 900 ms (p99; 80 ms with turns, at the same throughput)
_MOUTHFUL: Final = 128 * 1024
# seconds that each reply waits once a session made too many errors, or brought no mail for too long
_SOFT_DELAY: Final = 1.0
# no client waits longer (RFC 5321 section 4.5.3.2: five minutes); what a plugin asks beyond it, or "nan", is no delay
_LONGEST_DELAY: Final = 600.0


class Connection(Parting):
    """One client. Made by the listener for each connection it accepts."""

    __slots__ = (
        "_arrival", "_choked", "_context", "_delayed", "_engine", "_home", "_mouthful", "_parked", "_patience", "_place", "_protocol",
        "_shaking", "_task", "_timer", "_waiting",
    )  # fmt: skip

    _engine: SessionEngine
    _protocol: ServerConnection

    def __init__(
        self, home: Home, context: SessionContext, loop: asyncio.AbstractEventLoop, arrival: Arrival | None = None
    ) -> None:
        super().__init__(loop)
        self._home = home
        self._context = context
        # what a proxy said of the client
        self._arrival = arrival
        self._protocol = ServerConnection(context.limits, lmtp=context.lmtp, known=context.known)
        # a command waits for a hook, the spool or the delay of errors
        self._parked = False
        # the client does not read
        self._choked = False
        # octets read since others were let go first
        self._mouthful = 0
        self._patience = Patience(loop.time())
        # a reply waits, and is counted
        self._delayed = False
        self._place = Place(home, context)
        # a TLS handshake is under way, and counted
        self._shaking = False
        self._task: asyncio.Task[object] | None = None
        self._waiting: Waiting | None = None
        self._timer: asyncio.TimerHandle | None = None

    # -- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client, or turn it away."""
        self._transport = cast("asyncio.Transport", transport)
        arrival = self._arrival
        if arrival is None:
            address, port = peer(transport.get_extra_info("peername"))
        else:
            address, port = arrival.address, arrival.port
        # asked here and not when the loop asks for a protocol: it accepts many clients before it connects the first
        refusal = self._place.take(self, address)
        if refusal is not None:
            self._turn_away(refusal)
            return
        self._transport.set_write_buffer_limits(high=MAX_UNREAD)
        self._engine = SessionEngine(self._context, self, address, port, self._place.network)
        if arrival is not None:
            arrival.mark(self._engine.session)
        self._begin()

    def _begin(self) -> None:
        """Greet the client, or where TLS is implicit, shake hands first (RFC 8314 section 3)."""
        tls = self._context.tls
        if tls is None or not tls.implicit:
            self._welcome()
        elif tls.context() is None:
            self._give_up("no certificate")
        elif tls.handshakes.begin(self._engine.session.client.address):
            self._shake()
        else:
            self._give_up("too many handshakes")

    def _welcome(self) -> None:
        """Greet the client; a stranger a moment later, since who talks before the greeting has never waited for any (CMD-21)."""
        pause = self._context.settings.greeting_pause
        if pause and self._place.network:
            self._parked = True
            self._timer = self._loop.call_later(pause, self._greet)
        else:
            self._pump(greet(self._engine))

    def _greet(self) -> None:
        self._timer = None
        self._parked = False
        self._pump(greet(self._engine))

    def moved(self, address: str) -> Reply | None:
        """Count the client at `address` in the place of the one that came (XCLIENT); return the reply where that one is over its limits."""
        refusal = self._place.move(address)
        self._engine.network = self._place.network
        return refusal

    def _turn_away(self, reply: Reply) -> None:
        self._transport.set_protocol(asyncio.Protocol())
        if self._context.tls is None or not self._context.tls.implicit:
            self._transport.write(reply.wire)
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        if self._closing:
            self._ignore(data)
            return
        self._protocol.receive(data)
        if self._parked or self._choked:
            self._hold(data)
            return
        self._pump(None)
        self._mouthful += len(data)
        if self._mouthful > _MOUTHFUL:
            self._mouthful = 0
            if not (self._parked or self._choked or self._closing or self._paused):
                self._pause_reading()
                self._loop.call_soon(self._swallowed)

    def _swallowed(self) -> None:
        """Read on: others have had their turn."""
        if self._paused and not (self._parked or self._choked or self._closing):
            self._paused = False
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        """Note that the client will send no more. It may still wait for replies (CMD-24), so the transport stays open for them."""
        self._eof = True
        if self._closing:
            return False
        self._protocol.eof()
        if not (self._parked or self._choked):
            self._finish("client left")
        return True

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read."""
        self._choked = True
        self._pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._choked = False
        if not (self._parked or self._closing):
            self._pump(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the session: a hook that runs is cancelled, a commit that runs is not."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._delayed:
            self._context.delays.end()
        self._waiting = self._timer = None
        self._unsent = b""
        self._shaken()
        self._home.closed(self)
        self._place.leave()
        self._engine.ended(self._reason)

    # -- what the session and the listener call

    @property
    def pipelined(self) -> bool:
        """Whether octets wait behind the current command."""
        return self._protocol.pipelined

    def answered(self, answer: Answer) -> None:
        """Take the answer that was promised: the spool has spoken."""
        self._parked = False
        if not self._closing:
            self._pump(answer)

    def forgive(self, seconds: float) -> None:
        """Let the client have the time for which this process did not run."""
        self._patience.forgive(seconds)
        self._deadline += seconds

    def check(self, now: float) -> None:
        """Look at the clock, about once a second. Who waits for a hook or the spool is not late."""
        if self._closing:
            if now >= self._deadline:
                self._transport.abort()
        elif self._shaking:
            if now >= self._deadline:
                self._give_up("timeout")
        elif not self._parked or self._timer is not None:
            verdict = self._patience.ended(
                now,
                self._context.settings,
                self._engine.octets,
                unfinished=not self._parked and self._unfinished,
                stranger=self._engine.must_log_in,
            )
            if verdict is not None:
                self._dismiss(*verdict)

    @property
    def _unfinished(self) -> bool:
        """Whether a part of something is here: of a command, or of a record of TLS."""
        transport = self._transport
        return self._protocol.pipelined or (isinstance(transport, TlsTransport) and transport.unfinished)

    def retire(self) -> None:
        """Send away a client outside a transaction: the server stops. The others are sent away when theirs is over."""
        if self._parked or self._closing or self._engine.busy:
            return
        if self._home.patient and not self._engine.session.messages:
            # at a reload nobody who has just come is sent away before saying what they came for
            return
        self._dismiss(replies.STOPPING, "stopping")

    def evict(self) -> None:
        """Send away the client: the time to finish is over. A commit that runs may still end in a 250."""
        if not (self._closing or self._engine.storing):
            self._dismiss(replies.STOPPING, "stopping")

    # -- the loop

    def _pump(self, answer: Answer) -> None:
        try:
            out = self._answers(answer)
            if out:
                self._write(out)
            if self._engine.over:
                self._finish("quit")
            elif not self._parked:
                self._settle()
            elif self._shaking:
                self._shake()
        # as in `session.verbs.handle`: plugins have their hands in the session
        except BaseException as error:
            self._dismiss(self._engine.failed(error), "failed")

    def _answers(self, answer: Answer) -> bytes:
        """Say `answer`, then take events until there are none or one must wait; return the replies, for one write."""
        engine, protocol = self._engine, self._protocol
        session = engine.session
        out = b""
        turns = _TURN
        while True:
            if answer is not None:
                if type(answer) is Reply and answer.code < 400 and not (session.errors or engine.over or session.delay):
                    out += protocol.send(answer)
                else:
                    out += self._say(answer)
                    if self._parked or engine.over:
                        return out
                if protocol.idle:
                    return out
                if len(out) > _GROUP:
                    self.flush()
                    self._transport.write(out)
                    out = b""
                    if self._choked:
                        return out
            turns -= 1
            if not turns:
                self._rest()
                return out
            try:
                event = protocol.next_event()
                if isinstance(event, Pause):
                    return out
                answer = handle(engine, event)
            except RemoteProtocolError as error:
                answer = engine.violated(error)

    def _write(self, out: bytes) -> None:
        """Let `out` be written with the replies of others."""
        if self._unsent:
            self._unsent += out
        else:
            self._unsent = out
            self._home.outbox.add(self)

    def _rest(self) -> None:
        """Let others run before going on: one client that pipelines without end must not have the loop for itself."""
        self._parked = True
        self._pause_reading()
        self._loop.call_soon(self._rested)

    def _rested(self) -> None:
        self._parked = False
        if not (self._closing or self._choked):
            self._pump(None)

    def _settle(self) -> None:
        """Wait for the client: everything that it said is answered."""
        self._held = 0
        if self._choked:
            return
        if self._eof:
            self._finish("client left")
            return
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        engine = self._engine
        if engine.receiving:
            self._patience.await_content(self._loop.time(), engine.octets)
        else:
            self._patience.await_command(self._loop.time(), engine.commands)
            if self._home.draining:
                self.retire()

    def _say(self, answer: Reply | tuple[Reply, ...] | Waiting | object) -> bytes:
        """Deal with any answer but a plain success: return the octets to send, or park."""
        if isinstance(answer, Waiting):
            self._await(answer)
        elif answer is COMMITTING:
            self._parked = True
        elif answer is SECURING:
            self._shaking = self._parked = True
            return self._protocol.send(replies.START_TLS)
        elif isinstance(answer, Slowed):
            return self._reply(answer.reply, late=True)
        elif isinstance(answer, Reply):
            return self._reply(answer, late=False)
        elif isinstance(answer, tuple):
            return self._protocol.send(*answer)
        return b""

    def _reply(self, reply: Reply, *, late: bool) -> bytes:
        """Return the octets of `reply` and of what is to follow it, or park until it is time for them."""
        engine = self._engine
        engine.judge(reply)
        delay = max(float(engine.session.delay), _SOFT_DELAY if late or engine.slow else 0.0)
        if (
            not 0.0 < delay < _LONGEST_DELAY
            or engine.over
            or engine.parting is not None
            or not self._context.delays.begin()
        ):
            return self._last_words(reply)
        self._parked = self._delayed = True
        self._timer = self._loop.call_later(delay, self._say_late, reply)
        return b""

    def _last_words(self, reply: Reply) -> bytes:
        """Return the octets of `reply`, and of the 421 that is to follow it."""
        # QUIT with nothing behind it: there is nothing to wait for
        self._clean = reply.code == 221 and not self._protocol.pipelined
        wire = reply.wire if reply.code == 421 else self._protocol.send(reply)
        parting = self._engine.parting
        if parting is None:
            return wire
        self._engine.over = True
        return wire if reply.code == 421 else wire + parting.wire

    def _say_late(self, reply: Reply) -> None:
        """Send a reply that had to wait."""
        self._timer = None
        self._delayed = False
        self._context.delays.end()
        if self._closing:
            return
        self._parked = False
        self._write(self._last_words(reply))
        self._pump(None)

    # -- TLS

    def _shake(self, octets: bytes = b"") -> None:
        """Begin a TLS handshake, with `octets` that were read already: nothing is said, and nothing read, until it is over."""
        acceptor = self._context.tls
        context = None if acceptor is None else acceptor.context()
        assert context is not None
        self._shaking = self._parked = True
        self._held = 0
        self._deadline = self._loop.time() + self._context.settings.timeouts.handshake
        # STARTTLS is answered in clear
        self.flush()
        transport = TlsTransport(self._transport, self, context, server_side=True)
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._transport = transport
        transport.begin(octets)

    def _shaken(self) -> None:
        """Take note that a handshake is over, however it went."""
        if self._shaking and self._context.tls is not None:
            self._shaking = False
            self._context.tls.handshakes.end(self._engine.session.client.address)

    def tls_established(self) -> None:
        """Go on under TLS: greet where that was still to be done, else wait for another EHLO."""
        self._shaken()
        self._parked = False
        acceptor, transport = self._context.tls, cast("TlsTransport", self._transport)
        if acceptor is None or self._closing:
            return
        secured(self._engine, acceptor.info(transport.tls))
        if self._protocol.state is State.GREETING:
            self._welcome()
        else:
            self._settle()

    def tls_failed(self, reason: str) -> None:
        """End a session whose handshake failed: neither side can say anything that the other would understand."""
        self._give_up(reason)

    # -- asynchronous hooks

    def _await(self, waiting: Waiting) -> None:
        self._parked = True
        self._waiting = waiting
        self._task = self._loop.create_task(cast("Coroutine[object, object, object]", waiting.awaitable))
        self._task.add_done_callback(self._spoken)

    def _spoken(self, task: asyncio.Task[object]) -> None:
        """Go on behind a chain of hooks."""
        waiting, self._waiting, self._task = self._waiting, None, None
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self._closing or waiting is None:
            return
        self._parked = False
        self._pump(self._engine.resume(waiting, task.result()) if error is None else self._engine.failed(error))

    # -- the rest

    def _hold(self, data: bytes) -> None:
        if self._protocol.state is State.GREETING:
            early_talk(self._engine, len(data))
        self._held += len(data)
        if self._held > MAX_HELD:
            self._pause_reading()
