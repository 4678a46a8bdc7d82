"""The SMTP and LMTP agent: one connection, its messages one after the other, one round trip for each where the server allows it.

Over PIPELINING (RFC 2920), MAIL, RCPT and DATA go out as one group, the body follows its 354, and right behind the final dot, in the same
write, MAIL, RCPT and DATA of the next message ("look-ahead"). Over CHUNKING (RFC 3030) a small message is one write from MAIL to its last
octet, and look-ahead would gain nothing. There is never more than one end of data without its reply.

Look-ahead is a bet: whatever goes wrong with it (anything but 2xx and 354, a close) is no attempt of that message; it is given
back, and sites that cannot do it are remembered.

Everything after EHLO happens in callbacks: no task and no await for a message or a reply. What a reply means for recipients is in
`transaction`, reaching the server in `opening`, octets in `content`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from upesi.client.connecting import Connector
from upesi.client.connection import Connection, ConnectionLost
from upesi.client.wire import Extensions, extensions_of, mail_command, rcpt_command
from upesi.config.settings import DeliverySettings
from upesi.delivery.agents.content import BareLineEnd, framed, framed_pieces
from upesi.delivery.agents.lookahead import LookAheadMemory
from upesi.delivery.agents.opening import Unreachable, reach
from upesi.delivery.agents.transaction import Transaction
from upesi.delivery.outcomes import deferred, failed, from_reply
from upesi.mail.envelope import BodyType
from upesi.mail.outcome import Outcome
from upesi.mail.reply import Reply
from upesi.mail.route import LmtpRoute
from upesi.scheduler.work import Attempt, Ending, Running, Work

__all__ = ["SmtpAgent"]

# RFC 5321 section 4.5.3.2: MAIL and RCPT five minutes, a block three, the end ten; DATA (two) ends a group that began with MAIL: five
COMMAND_TIMEOUT = 300.0
BLOCK_TIMEOUT = 180.0
END_TIMEOUT = 600.0

# Octets up to which a message is framed at once and sent in one write; larger ones are streamed
SMALL = 64 * 1024

BINARY_REFUSED = failed("5.6.3", "the next server does not take binary content")
UTF8_REFUSED = failed("5.6.7", "the next server does not take internationalized mail")

_Step = Callable[["_Sending", Transaction, Reply], None]


class SmtpAgent:
    """Starts connections; what they share is here: how to connect, who we are, what is remembered of sites."""

    __slots__ = ("connector", "lookahead", "loop", "name", "settings")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connector: Connector, settings: DeliverySettings, name: str
    ) -> None:
        self.loop = loop
        self.connector = connector
        self.settings = settings
        self.name = name
        self.lookahead = LookAheadMemory(loop.time)

    def start(self, work: Work) -> Running:
        """Start one connection for `work`."""
        return _Sending(self, work)


class _Sending:
    """One connection and what is under way on it."""

    __slots__ = (
        "_agent", "_ahead", "_connection", "_current", "_done", "_ended", "_expected", "_extensions", "_idle", "_lmtp",
        "_look_ahead", "_queue", "_remote", "_reset", "_stopping", "_stream", "_task", "_work",
    )  # fmt: skip

    def __init__(self, agent: SmtpAgent, work: Work) -> None:
        self._agent = agent
        self._work = work
        self._lmtp = isinstance(work.destination.route, LmtpRoute)
        self._connection: Connection
        self._extensions = Extensions()
        self._remote = ""
        # what each outstanding reply answers, oldest first
        self._expected: deque[tuple[_Step, Transaction]] = deque()
        # commands of the current transaction that wait for the reply before them (no PIPELINING)
        self._queue: deque[tuple[bytes, _Step]] = deque()
        self._current: Transaction | None = None
        self._ahead: Transaction | None = None
        self._stream: Iterator[bytes] | None = None
        self._reset = False  # the server still has a transaction open: RSET goes before the next MAIL
        self._done = 0
        self._idle = False
        self._stopping = False
        self._ended = False
        self._look_ahead = False
        self._task: asyncio.Task[None] | None = agent.loop.create_task(self._open())

    # -- the scheduler's handle --

    def wake(self) -> None:
        """Look for work, if idle."""
        if self._idle:
            self._next()

    def stop(self) -> None:
        """Finish what is past its end of data, give back the rest, close."""
        if self._stopping or self._ended:
            return
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            self._end(Ending.CLOSED)
        elif self._current is None:
            self._quit()
        elif self._current.data_sent:
            self._give_back_ahead()
        else:
            current, self._current = self._current, None
            self._work.give_back(current.attempt)
            self._connection.abort()
            self._end(Ending.CLOSED)

    # -- opening --

    async def _open(self) -> None:
        """Reach the destination; the task ends when the connection is in use."""
        try:
            connection, hello = await self._reach()
            connection.attach(self)
        except Unreachable as error:
            self._end(Ending.UNREACHABLE, error.outcome)
        except ConnectionLost as error:
            self._end(Ending.UNREACHABLE, deferred("4.4.2", str(error)))
        except Exception as error:
            # contained here: the scheduler must hear of every end
            self._agent.loop.call_exception_handler({"message": "opening a connection failed", "exception": error})
            self._end(Ending.UNREACHABLE, deferred("4.3.0", "internal error while connecting"))
        else:
            self._begin(connection, hello)

    async def _reach(self) -> tuple[Connection, Reply]:
        agent = self._agent
        try:
            return await reach(agent.loop, agent.connector, self._work.destination.hosts, agent.name, lmtp=self._lmtp)
        finally:
            self._task = None

    def _begin(self, connection: Connection, hello: Reply) -> None:
        self._connection = connection
        self._remote = connection.remote
        self._extensions = extensions = extensions_of(hello)
        # with CHUNKING a message is one round trip already
        self._look_ahead = (
            extensions.pipelining
            and not extensions.chunking
            and self._agent.lookahead.allows(self._work.destination.site)
        )
        self._next()

    # -- the next message --

    def _next(self) -> None:
        """Begin the next message that can be sent; rest where there is none."""
        self._idle = False
        if self._stopping or self._done >= self._agent.settings.connection_messages:
            self._quit()
            return
        transaction = self._take(ahead=False)
        if transaction is None:
            self._rest()
            return
        self._current = transaction
        if self._extensions.pipelining:
            self._connection.write(self._group(transaction))
            self._connection.expect_within(END_TIMEOUT if transaction.data_sent else COMMAND_TIMEOUT)
        else:
            self._queue.extend(self._commands(transaction))
            self._send_queued(transaction)

    def _take(self, *, ahead: bool) -> Transaction | None:
        """Take messages until one can be sent to this server; those that never can be are finished here."""
        while (attempt := self._work.take()) is not None:
            transaction = Transaction(attempt, ahead=ahead, kept=self._done > 0)
            refusal = self._prepare(transaction)
            if refusal is None:
                return transaction
            self._work.finish(attempt, (refusal,) * len(attempt.recipients))
        return None

    def _prepare(self, transaction: Transaction) -> Outcome | None:
        """Frame a small message; return why this server can never be sent it, if so."""
        message, extensions = transaction.attempt.message, self._extensions
        size = len(message.prefix) + message.body.size
        if extensions.size and size > extensions.size:
            # C39: nothing above the announced size is sent
            return failed("5.3.4", f"message of {size} octets is larger than the next server takes ({extensions.size})")
        if message.transmission.body is BodyType.BINARY and not (extensions.binary and extensions.chunking):
            return BINARY_REFUSED
        if message.transmission.smtputf8 and not extensions.smtputf8 and _needs_utf8(transaction.attempt):
            return UTF8_REFUSED
        if size <= SMALL:
            content = message.prefix + message.body.read(0, size)
            try:
                transaction.content = content if extensions.chunking else framed(content)
            except BareLineEnd:
                return BINARY_REFUSED
        return None

    def _commands(self, transaction: Transaction) -> list[tuple[bytes, _Step]]:
        """Return RSET if one is due, MAIL and RCPTs, each with what takes its reply."""
        attempt, extensions = transaction.attempt, self._extensions
        message = attempt.message
        size = len(message.prefix) + message.body.size
        utf8 = message.transmission.smtputf8 and extensions.smtputf8
        commands: list[tuple[bytes, _Step]] = [(b"RSET\r\n", _Sending._on_reset)] if self._reset else []
        self._reset = False
        commands.append((mail_command(message.reverse_path, message.transmission, size, extensions, utf8), _ON_MAIL))
        commands += [(rcpt_command(recipient, extensions), _ON_RCPT) for recipient in attempt.recipients]
        return commands

    def _group(self, transaction: Transaction) -> bytes:
        """Return everything of `transaction` that may go out before its first reply, and note the replies to come."""
        commands = self._commands(transaction)
        self._expected.extend([(step, transaction) for _, step in commands])
        lines = [line for line, _ in commands]
        if not self._extensions.chunking:
            lines.append(b"DATA\r\n")
            self._expected.append((_ON_DATA, transaction))
        elif transaction.content is not None:
            lines.append(b"BDAT %d LAST\r\n" % len(transaction.content))
            lines.append(transaction.content)
            self._await_end(transaction)
        return b"".join(lines)

    # -- replies --

    def reply_received(self, reply: Reply) -> None:
        """Take the reply to the oldest command that has none."""
        if reply.code == 421:
            # RFC 5321 section 3.8: the server closes; every recipient not done yet waits (C29)
            self._abandon(from_reply(reply, self._remote))
        elif self._expected:
            step, transaction = self._expected.popleft()
            step(self, transaction, reply)
        elif self._current is None:
            # between messages nothing is owed to us: out of step, or about to close
            self._connection.abort()
            self._end(Ending.CLOSED)
        else:
            # OUT-15: whatever it says, it cannot be about a message whose end it has not seen
            self._abandon(deferred("4.5.0", "protocol error: reply before the end of the data", self._remote))

    def _on_reset(self, transaction: Transaction, reply: Reply) -> None:
        if reply.code // 100 != 2:
            # OUT-12: the message behind it has not been tried
            transaction.kept = True
            self._abandon(deferred("4.5.0", "RSET was refused", self._remote))
        else:
            self._after_command(transaction)

    def _on_mail(self, transaction: Transaction, reply: Reply) -> None:
        if reply.code // 100 == 3:
            self._protocol_error(reply)
            return
        transaction.mail_reply(reply, self._remote)
        if not transaction.mail_accepted:
            self._queue.clear()
        self._after_command(transaction)

    def _on_rcpt(self, transaction: Transaction, reply: Reply) -> None:
        if reply.code // 100 == 3:
            self._protocol_error(reply)
            return
        transaction.rcpt_reply(reply, self._remote)
        self._after_command(transaction)

    def _after_command(self, transaction: Transaction) -> None:
        """Go on after a reply inside the envelope."""
        if self._queue:
            self._send_queued(transaction)
        elif self._expected:
            self._connection.expect_within(COMMAND_TIMEOUT if not transaction.data_sent else END_TIMEOUT)
        elif not transaction.accepted:
            self._complete(transaction)
        elif self._extensions.chunking:
            self._send_chunk(transaction)
        else:
            self._expected.append((_ON_DATA, transaction))
            self._connection.write(b"DATA\r\n")
            self._connection.expect_within(COMMAND_TIMEOUT)

    def _send_queued(self, transaction: Transaction) -> None:
        line, step = self._queue.popleft()
        self._expected.append((step, transaction))
        self._connection.write(line)
        self._connection.expect_within(COMMAND_TIMEOUT)

    def _on_data(self, transaction: Transaction, reply: Reply) -> None:
        transaction.replies += 1
        if reply.code == 354:
            if transaction.accepted:
                self._send_content(transaction)
            else:
                # C43: RFC 2920 section 3.1: a server may say 354 though it took no recipient
                self._connection.write(b".\r\n")
                self._connection.expect_within(END_TIMEOUT)
                self._expected.appendleft((_Sending._on_lone_dot, transaction))
        elif reply.code < 400:
            self._protocol_error(reply)
        else:
            transaction.settle_accepted(from_reply(reply, self._remote))
            self._complete(transaction)

    def _on_lone_dot(self, transaction: Transaction, reply: Reply) -> None:
        transaction.mail_accepted = False  # the dot ended the transaction, whatever the reply
        self._complete(transaction)

    # -- content --

    def _send_content(self, transaction: Transaction) -> None:
        """Answer 354: the body, its end, and the next message's group behind it."""
        transaction.ahead = False  # taken like any other: it counts from here on
        message = transaction.attempt.message
        if transaction.content is None:
            self._stream = framed_pieces(message.prefix, message.body)
            self._pump(transaction)
            return
        data = transaction.content
        self._await_end(transaction)
        if self._look_ahead and self._done + 1 < self._agent.settings.connection_messages and not self._stopping:
            self._ahead = self._take(ahead=True)
            if self._ahead is not None:
                data += self._group(self._ahead)
        self._connection.write(data)
        self._connection.expect_within(END_TIMEOUT)

    def _send_chunk(self, transaction: Transaction) -> None:
        """Send content as one BDAT chunk, now that a recipient was accepted."""
        message = transaction.attempt.message
        size = len(message.prefix) + message.body.size
        self._connection.write(b"BDAT %d LAST\r\n" % size + message.prefix)
        self._stream = message.body.chunks()
        self._pump(transaction)

    def writing_resumed(self) -> None:
        """Go on with a large body."""
        if self._stream is not None and self._current is not None:
            self._pump(self._current)

    def _pump(self, transaction: Transaction) -> None:
        """Write pieces of the body until the transport's buffer is full or the body is out."""
        stream, connection = self._stream, self._connection
        assert stream is not None
        connection.expect_within(BLOCK_TIMEOUT)
        try:
            while not connection.paused:
                piece = next(stream, None)
                if piece is None:
                    self._stream = None
                    self._await_end(transaction)
                    connection.expect_within(END_TIMEOUT)
                    return
                connection.write(piece)
        except BareLineEnd:
            # nothing was delivered: there was no end of data
            self._abandon(BINARY_REFUSED)

    def _await_end(self, transaction: Transaction) -> None:
        transaction.data_sent = True
        self._expected.append((_ON_END, transaction))

    def _on_end(self, transaction: Transaction, reply: Reply) -> None:
        outcome = from_reply(reply, self._remote)
        if self._lmtp and transaction.accepted:
            transaction.next_accepted(outcome)
            if transaction.accepted:
                self._expected.appendleft((_ON_END, transaction))
                return
        else:
            transaction.settle_accepted(outcome)
        # after a refused BDAT the server may keep the transaction (RFC 3030 section 2); a dot always ends it
        transaction.mail_accepted = self._extensions.chunking and reply.code >= 300
        self._complete(transaction)

    # -- the end of a message --

    def _complete(self, transaction: Transaction) -> None:
        """Report the current transaction and go on with the next."""
        self._reset = transaction.mail_accepted
        if transaction.ahead:
            self._look_ahead_refused(transaction)
            self._work.give_back(transaction.attempt)
        else:
            self._done += 1
            self._work.finish(transaction.attempt, transaction.result())
        self._current, self._ahead = self._ahead, None
        if self._current is None:
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

    def _protocol_error(self, reply: Reply) -> None:
        self._abandon(
            deferred("4.5.0", f"protocol error: {reply.code} where it has no meaning", self._remote), lost=True
        )

    def _abandon(self, outcome: Outcome, *, lost: bool = False) -> None:
        """End the connection; recipients without an outcome get `outcome`, unless the message was not really tried.

        `lost` says that the server did not answer for itself: then the fate of a message past its end of data is unknown.
        """
        current, self._current = self._current, None
        self._stream = None
        self._connection.abort()
        if current is None:
            pass
        elif current.ahead or (current.kept and not current.replies):
            # OUT-12: a kept connection that dies under MAIL says nothing about the message
            if current.ahead:
                self._agent.lookahead.refused(self._work.destination.site)
            self._work.give_back(current.attempt)
        else:
            if lost and current.data_sent:
                outcome = deferred("4.4.2", f"ambiguous: {outcome.text} after the end of the data", self._remote)
            current.settle_rest(outcome)
            self._work.finish(current.attempt, current.result())
        if self._ahead is not None and lost:
            self._agent.lookahead.refused(self._work.destination.site)
        self._give_back_ahead()
        self._end(Ending.CLOSED)

    def _give_back_ahead(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            self._work.give_back(ahead.attempt)

    def _quit(self) -> None:
        """Leave politely; the reply to QUIT is not waited for."""
        self._connection.write(b"QUIT\r\n")
        self._connection.close()
        self._end(Ending.CLOSED)

    def _end(self, ending: Ending, outcome: Outcome | None = None) -> None:
        if not self._ended:
            self._ended = True
            self._idle = False
            self._work.ended(ending, outcome)


def _needs_utf8(attempt: Attempt) -> bool:
    """Whether a message that came with SMTPUTF8 really needs it (RFC 6531 section 3.4): an address or the header is beyond ASCII."""
    message = attempt.message
    path = message.reverse_path
    if (path is not None and not path.is_ascii) or not all(r.address.is_ascii for r in attempt.recipients):
        return True
    header = message.prefix + message.body.read(0, SMALL)
    return not header.partition(b"\r\n\r\n")[0].isascii()


# Bound once: these are looked up for every message
_ON_MAIL = _Sending._on_mail
_ON_RCPT = _Sending._on_rcpt
_ON_DATA = _Sending._on_data
_ON_END = _Sending._on_end
