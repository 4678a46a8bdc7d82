"""The SMTP and LMTP agent: one connection, its messages one after the other, one round trip for each where the server allows it.

Over PIPELINING (RFC 2920), MAIL, RCPT and DATA go out as one group, the body follows its 354, and right behind the final dot, in the same
write, MAIL, RCPT and DATA of the next message ("look-ahead"). Over CHUNKING (RFC 3030) a small message is one write from MAIL to its last
octet, and look-ahead would gain nothing. There is never more than one end of data without its reply.

Look-ahead is a bet: whatever goes wrong with it (anything but 2xx and 354, a close) is no attempt of that message; it is given
back, and sites that cannot do it are remembered.

Everything after EHLO happens in callbacks: no task and no await for a message or a reply. What a reply means for recipients is in
`transaction`, what can be sent at all in `preparing`, reaching the server in `opening`, octets in `upesi.protocol.smtp.client`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from upesi.client.connecting import Connector
from upesi.client.connection import Connection, ConnectionLost
from upesi.config.settings import DeliverySettings
from upesi.delivery.agents.lookahead import LookAheadMemory
from upesi.delivery.agents.opening import Unreachable, reach
from upesi.delivery.agents.preparing import BINARY_REFUSED, fault, sliced, whole
from upesi.delivery.agents.securing import Securing
from upesi.delivery.agents.terms import Terms
from upesi.delivery.agents.transaction import Transaction
from upesi.delivery.outcomes import deferred, from_reply
from upesi.mail.body import MemoryBody
from upesi.mail.errors import UnsendableContent, UpesiError
from upesi.mail.outcome import Outcome
from upesi.protocol.smtp.answers import ReceivedReply, Request
from upesi.protocol.smtp.client import ClientConnection
from upesi.protocol.smtp.extensions import Extensions
from upesi.scheduler.work import Attempt, Ending, Running, Work

__all__ = ["SmtpAgent"]

# RFC 5321 section 4.5.3.2: MAIL and RCPT five minutes, a block three, the end ten; DATA (two) ends a group that began with MAIL: five
COMMAND_TIMEOUT: Final = 300.0
BLOCK_TIMEOUT: Final = 180.0
END_TIMEOUT: Final = 600.0


class SmtpAgent:
    """Starts connections; what they share is here: how to connect and secure, what is remembered of sites.

    `wall` gives wall-clock seconds, for times that senders have set.
    """

    __slots__ = ("connector", "lookahead", "loop", "securing", "settings", "wall")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connector: Connector,
        securing: Securing,
        settings: DeliverySettings,
        wall: Callable[[], float],
    ) -> None:
        self.loop = loop
        self.connector = connector
        self.settings = settings
        self.wall = wall
        self.securing = securing
        self.lookahead = LookAheadMemory(loop.time)

    def start(self, work: Work) -> Running:
        """Start one connection for `work`."""
        return _Sending(self, work)


class _Sending:
    """One connection and what is under way on it."""

    __slots__ = (
        "_agent", "_ahead", "_connection", "_current", "_done", "_ended", "_idle", "_limit", "_look_ahead", "_machine",
        "_queue", "_remote", "_reset", "_stopping", "_stream", "_task", "_terms", "_work",
    )  # fmt: skip

    def __init__(self, agent: SmtpAgent, work: Work) -> None:
        self._agent = agent
        self._work = work
        self._connection: Connection
        self._machine: ClientConnection
        self._terms: Terms
        self._remote = ""
        # commands of the current transaction that wait for the reply before them (no PIPELINING)
        self._queue: deque[Callable[[], bytes]] = deque()
        # replies are about the current transaction until it is complete, then about the one ahead
        self._current: Transaction | None = None
        self._ahead: Transaction | None = None
        self._stream: Iterator[bytes] | None = None
        self._reset = False  # the server still has a transaction open: RSET goes before the next MAIL
        self._done = 0
        self._limit = agent.settings.connection_messages
        self._idle = False
        self._stopping = False
        self._ended = False
        self._look_ahead = False
        self._task: asyncio.Task[None] | None = agent.loop.create_task(self._open())

    # -- the scheduler's handle --

    def wake(self) -> None:
        """Look for work, if idle."""
        if self._idle:
            try:
                self._next()
            except Exception as error:
                self._broken(error)

    def stop(self) -> None:
        """Finish what is past its end of data, give back the rest, close."""
        if self._stopping or self._ended:
            return
        self._stopping = True
        current = self._current
        if self._task is not None:
            self._task.cancel()
            self._end(Ending.CLOSED)
        elif current is None:
            self._quit()
        elif current.data_sent:
            self._give_back_ahead()
        else:
            self._current = None
            self._connection.abort()
            self._work.give_back(current.attempt)
            self._end(Ending.CLOSED)

    # -- opening --

    async def _open(self) -> None:
        """Reach the destination; the task ends when the connection is in use."""
        try:
            connection = await self._reach()
            connection.attach(self)
        except Unreachable as unreachable:
            self._end(Ending.UNREACHABLE, unreachable.outcome)
        except ConnectionLost as lost:
            self._end(Ending.UNREACHABLE, deferred("4.4.2", str(lost)))
        except Exception as error:
            # contained here: the scheduler must hear of every end
            self._agent.loop.call_exception_handler({"message": "opening a connection failed", "exception": error})
            self._end(Ending.UNREACHABLE, deferred("4.3.0", "internal error while connecting"))
        else:
            self._begin(connection)

    async def _reach(self) -> Connection:
        agent = self._agent
        try:
            return await reach(agent.loop, agent.connector, agent.securing, self._work.destination)
        finally:
            self._task = None

    def _begin(self, connection: Connection) -> None:
        self._connection = connection
        self._machine = connection.machine
        self._remote = connection.remote
        try:
            terms = self._terms = Terms(connection, self._agent.wall)
            if terms.recipients:
                self._work.restrict(terms.recipients)
            self._agree(connection.machine.extensions)
            self._next()
        except Exception as error:
            self._broken(error)

    def _agree(self, extensions: Extensions) -> None:
        """Settle what is done on this connection, by what the server can do."""
        # RFC 9422: the server says how many messages it takes on one connection
        self._limit = min(self._limit, extensions.mail_max or self._limit)
        # with CHUNKING a message is one round trip already
        self._look_ahead = (
            extensions.pipelining
            and not extensions.chunking
            and self._agent.lookahead.allows(self._work.destination.site)
        )

    # -- the next message --

    def _next(self) -> None:
        """Begin the next message that can be sent; rest where there is none."""
        self._idle = False
        if self._stopping or self._done >= self._limit:
            self._quit()
            return
        transaction = self._current = self._take(ahead=False)
        if transaction is None:
            if self._limit:
                self._rest()
            else:
                self._quit()
        elif self._machine.extensions.pipelining:
            self._connection.write(self._group(transaction))
            self._connection.expect_within(END_TIMEOUT if transaction.data_sent else COMMAND_TIMEOUT)
        else:
            self._queue.extend(self._commands(transaction))
            self._send_queued()

    def _take(self, *, ahead: bool) -> Transaction | None:
        """Take messages until one can be sent to this server; those that never can be are finished here."""
        terms = self._terms
        while (attempt := self._work.take()) is not None:
            try:
                outcome = terms.refusal(attempt)
                if outcome is None:
                    return terms.transaction(attempt, ahead=ahead, kept=self._done > 0)
            except Exception as error:
                self._spoiled(attempt, error)
                return None
            self._work.finish(attempt, (outcome,) * len(attempt.recipients))
        return None

    def _group_ahead(self) -> bytes:
        """Take the next message and return its group; nothing where it cannot be built, which is no fault of the one before it."""
        ahead = self._take(ahead=True)
        if ahead is None:
            return b""
        try:
            group = self._group(ahead)
        except Exception as error:
            self._spoiled(ahead.attempt, error)
            return b""
        self._ahead = ahead
        return group

    def _commands(self, transaction: Transaction) -> list[Callable[[], bytes]]:
        """Return what builds RSET if one is due, MAIL, and each RCPT."""
        commands = self._terms.commands(transaction.attempt)
        if self._reset:
            commands.insert(0, self._machine.rset)
            self._reset = False
        return commands

    def _group(self, transaction: Transaction) -> bytes:
        """Return everything of `transaction` that may go out before its first reply."""
        machine, message = self._machine, transaction.attempt.message
        octets = [machine.rset()] if self._reset else []
        self._reset = False
        octets += self._terms.envelope(transaction.attempt)
        if not transaction.bdat:
            octets.append(machine.data())
        elif transaction.small:
            octets += (machine.bdat(transaction.size, True), whole(message))
            transaction.data_sent = True
        return b"".join(octets)

    # -- replies --

    def reply_received(self, reply: ReceivedReply) -> None:
        """Take the reply to the oldest command that has none."""
        transaction = self._current
        if reply.code == 421 or transaction is None:
            # RFC 5321 section 3.8: the server closes; every recipient not done yet waits (C29)
            self._abandon(from_reply(reply, self._remote))
        else:
            try:
                _STEPS[reply.request](self, transaction, reply)
            except Exception as error:
                self._broken(error)

    def _on_reset(self, transaction: Transaction, reply: ReceivedReply) -> None:
        if reply.positive:
            self._after_command(transaction)
        else:
            # OUT-12: the message behind it has not been tried
            transaction.kept = True
            self._abandon(deferred("4.5.0", "RSET was refused", self._remote))

    def _on_mail(self, transaction: Transaction, reply: ReceivedReply) -> None:
        transaction.mail_reply(reply, self._remote)
        if not transaction.mail_accepted:
            self._queue.clear()
        self._after_command(transaction)

    def _on_rcpt(self, transaction: Transaction, reply: ReceivedReply) -> None:
        transaction.rcpt_reply(reply, self._remote)
        self._after_command(transaction)

    def _after_command(self, transaction: Transaction) -> None:
        """Go on after a reply inside the envelope."""
        if self._queue:
            self._send_queued()
        elif self._machine.outstanding:
            self._connection.expect_within(END_TIMEOUT if transaction.data_sent else COMMAND_TIMEOUT)
        elif not transaction.accepted:
            self._complete(transaction)
        elif transaction.bdat:
            self._send_chunk(transaction)
        else:
            self._connection.write(self._machine.data())
            self._connection.expect_within(COMMAND_TIMEOUT)

    def _send_queued(self) -> None:
        self._connection.write(self._queue.popleft()())
        self._connection.expect_within(COMMAND_TIMEOUT)

    def _on_data(self, transaction: Transaction, reply: ReceivedReply) -> None:
        transaction.replies += 1
        if reply.code >= 400:
            transaction.settle_accepted(from_reply(reply, self._remote))
            self._complete(transaction)
        elif transaction.accepted:
            self._send_content(transaction)
        else:
            # C43: RFC 2920 section 3.1: a server may say 354 though it took no recipient
            self._connection.write(b"".join(self._machine.frame(())))
            self._connection.expect_within(END_TIMEOUT)

    # -- content --

    def _send_content(self, transaction: Transaction) -> None:
        """Answer 354: the body, its end, and the next message's group behind it."""
        transaction.ahead = False  # its recipients were accepted: from here on it is like any other
        message = transaction.attempt.message
        if not transaction.small:
            self._stream = self._machine.frame(chain((message.prefix,), sliced(message.body)))
            self._pump(transaction)
            return
        body = message.body
        try:
            pieces = self._machine.framed(
                message.prefix, body.read(0, body.size), text=type(body) is MemoryBody and body.text
            )
        except UnsendableContent:
            self._abandon(BINARY_REFUSED)
            return
        transaction.data_sent = True
        if self._look_ahead and self._done + 1 < self._limit and not self._stopping:
            pieces.append(self._group_ahead())
        self._connection.write(b"".join(pieces))
        self._connection.expect_within(END_TIMEOUT)

    def _send_chunk(self, transaction: Transaction) -> None:
        """Send content as one BDAT chunk, now that a recipient was accepted."""
        message = transaction.attempt.message
        # the reply is expected from here on, but until the last octet is out it would be early: `data_sent` waits
        self._stream = chain((self._machine.bdat(transaction.size, True), message.prefix), sliced(message.body))
        self._pump(transaction)

    def writing_resumed(self) -> None:
        """Go on with a large body."""
        if self._stream is not None and self._current is not None:
            try:
                self._pump(self._current)
            except Exception as error:
                self._broken(error)

    def _pump(self, transaction: Transaction) -> None:
        """Write pieces of the body until the transport's buffer is full or the body is out."""
        stream, connection = self._stream, self._connection
        assert stream is not None
        connection.expect_within(BLOCK_TIMEOUT)
        try:
            while connection.writable:
                piece = next(stream, None)
                if piece is None:
                    self._stream = None
                    transaction.data_sent = True
                    connection.expect_within(END_TIMEOUT)
                    return
                connection.write(piece)
        except UnsendableContent:
            # nothing was delivered: there was no end of data
            self._abandon(BINARY_REFUSED)
        except (OSError, UpesiError) as error:
            self._abandon(fault(error))

    def _on_end(self, transaction: Transaction, reply: ReceivedReply) -> None:
        if self._stream is not None:
            # OUT-15: whatever it says, it cannot be about a message whose end it has not seen
            self._abandon(deferred("4.5.0", "protocol error: reply before the end of the data", self._remote))
            return
        outcome = from_reply(reply, self._remote, self._terms.action)
        if not self._machine.lmtp:
            transaction.settle_accepted(outcome)
        elif reply.recipient is not None:
            transaction.settle_one(reply.recipient, outcome)
            if transaction.accepted:
                return
        # after a refused BDAT the server may keep the transaction (RFC 3030 section 2); a dot always ends it
        transaction.mail_accepted = transaction.bdat and not reply.positive
        self._complete(transaction)

    # -- the end of a message --

    def _complete(self, transaction: Transaction) -> None:
        """Report the current transaction and go on with the next."""
        self._reset = transaction.mail_accepted
        self._current, self._ahead = self._ahead, None
        if transaction.ahead:
            self._look_ahead_refused(transaction)
            self._work.give_back(transaction.attempt)
        else:
            self._done += 1
            self._work.finish(transaction.attempt, transaction.result())
        if self._current is None and not self._ended:
            self._next()

    def _look_ahead_refused(self, transaction: Transaction) -> None:
        """Reset, and remember the site unless it took MAIL: then it runs what stands behind the dot, and meant this recipient."""
        self._reset = True
        if not transaction.mail_accepted:
            self._look_ahead = False
            self._agent.lookahead.refused(self._work.destination.site)

    def _rest(self) -> None:
        """Keep the connection for a while."""
        self._idle = True
        self._connection.expect_within(self._agent.settings.connection_idle)

    # -- the end of the connection --

    def connection_failed(self, reason: str) -> None:
        """The other side hung up or talks nonsense."""
        self._abandon(deferred("4.4.2", reason, self._remote), lost=True)

    def timed_out(self) -> None:
        """A reply did not come, or an idle connection has been kept long enough."""
        if self._idle:
            self._quit()
        else:
            self._abandon(deferred("4.4.2", "no reply in time", self._remote), lost=True)

    def _abandon(self, outcome: Outcome, *, lost: bool = False) -> None:
        """End the connection; recipients without an outcome get `outcome`, unless the message was not really tried.

        `lost` says that the server did not answer for itself: then the fate of a message past its end of data is unknown.
        """
        current, self._current = self._current, None
        self._stream = None
        self._connection.abort()
        if lost and (self._ahead is not None or (current is not None and current.ahead)):
            self._agent.lookahead.refused(self._work.destination.site)
        try:
            if current is not None:
                self._settle(current, outcome, lost)
            self._give_back_ahead()
        finally:
            self._end(Ending.CLOSED)

    def _broken(self, error: Exception) -> None:
        """End the connection after an error of ours: contained here, for the scheduler must hear of every attempt and every end."""
        self._report(error)
        if self._current is not None:
            # an attempt like any other, on a kept connection too: given back, it would break the next one, for ever
            self._current.kept = False
        self._abandon(fault(error))

    def _spoiled(self, attempt: Attempt, error: Exception) -> None:
        """Finish `attempt`, of which nothing was written; what is under way goes on, and then the connection ends."""
        self._report(error)
        self._limit = 0
        self._work.finish(attempt, (fault(error),) * len(attempt.recipients))

    def _report(self, error: Exception) -> None:
        self._agent.loop.call_exception_handler({"message": "sending a message failed", "exception": error})

    def _settle(self, current: Transaction, outcome: Outcome, lost: bool) -> None:
        # OUT-12: a kept connection that dies under MAIL says nothing about the message
        if current.ahead or (current.kept and not current.replies):
            self._work.give_back(current.attempt)
            return
        if lost and current.data_sent:
            outcome = deferred("4.4.2", f"ambiguous: {outcome.text} after the end of the data", self._remote)
        current.settle_rest(outcome)
        self._work.finish(current.attempt, current.result())

    def _give_back_ahead(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            self._work.give_back(ahead.attempt)

    def _quit(self) -> None:
        """Leave politely; the reply to QUIT is not waited for. Behind look-ahead commands it would be out of order: just close."""
        if not self._machine.outstanding:
            self._connection.write(self._machine.quit())
        self._connection.close()
        self._end(Ending.CLOSED)

    def _end(self, ending: Ending, outcome: Outcome | None = None) -> None:
        if not self._ended:
            self._ended = True
            self._idle = False
            self._work.ended(ending, outcome)


_STEPS: Final[dict[Request, Callable[[_Sending, Transaction, ReceivedReply], None]]] = {
    Request.RSET: _Sending._on_reset,
    Request.MAIL: _Sending._on_mail,
    Request.RCPT: _Sending._on_rcpt,
    Request.DATA: _Sending._on_data,
    Request.CONTENT: _Sending._on_end,
    Request.BDAT_LAST: _Sending._on_end,
}
