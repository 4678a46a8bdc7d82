"""The least policy that can answer a ServerConnection: it accepts everything that the machine lets through.

Tests of the machine drive it through this; it opens no socket.
"""

from __future__ import annotations

from collections.abc import Iterable

from upesi.mail.errors import RemoteProtocolError
from upesi.mail.reply import Reply
from upesi.protocol.smtp.events import (
    BdatCommand,
    ChunkEnd,
    DataChunk,
    DataCommand,
    DataEnd,
    Event,
    HeloCommand,
    Pause,
    QuitCommand,
    RcptCommand,
    RsetCommand,
    UnknownCommand,
    VrfyCommand,
)
from upesi.protocol.smtp.known import KnownLines
from upesi.protocol.smtp.refusals import unknown_verb
from upesi.protocol.smtp.server import ServerConnection, ServerLimits

GREETING = Reply.make(220, "", "test.example ESMTP")
OK = Reply.make(250, "2.0.0", "Ok")
GO_AHEAD = Reply.make(354, "", "End with a dot")
CANNOT_VRFY = Reply.make(252, "2.0.0", "Cannot say")
BYE = Reply.make(221, "2.0.0", "Bye")
NO_SUCH_USER = Reply.make(550, "5.1.1", "No such user")

LIMITS = ServerLimits(max_message_size=100_000, dsn=True)


class Acceptor:
    """Feed it octets, get back octets. What it saw is in `events` (content joined), errors as replies; mail in `messages`.

    Recipients whose local part begins with "nobody" are refused.
    """

    def __init__(self, limits: ServerLimits = LIMITS, *, lmtp: bool = False, known: KnownLines | None = None) -> None:
        self.connection = ServerConnection(limits, lmtp=lmtp, known=known)
        self.events: list[Event | Reply] = []
        self.messages: list[bytes] = []
        self.output = self.connection.send(GREETING)
        self._content = b""
        self._limits = limits

    def feed(self, *segments: bytes) -> bytes:
        """Take in segments one by one and return what was answered."""
        answers = []
        for segment in segments:
            self.connection.receive(segment)
            answers.append(self._run())
        answer = b"".join(answers)
        self.output += answer
        return answer

    def eof(self) -> bytes:
        """End the client's side and return what was answered."""
        self.connection.eof()
        return self._run()

    def _run(self) -> bytes:
        answer: list[bytes] = []
        while True:
            try:
                event = self.connection.next_event()
            except RemoteProtocolError as error:
                answer.append(self._refuse(error))
                continue
            if isinstance(event, Pause):
                return b"".join(answer)
            if isinstance(event, DataChunk):
                self._content += event.data
                continue
            self.events.append(event)
            if not isinstance(event, BdatCommand):
                answer.append(self.connection.send(*self._replies(event)))

    def _refuse(self, error: RemoteProtocolError) -> bytes:
        assert error.reply is not None, "an error of the server machine carries its reply"
        self.events.append(error.reply)
        return self.connection.send(error.reply)

    def _replies(self, event: Event) -> Iterable[Reply]:
        if isinstance(event, DataEnd | ChunkEnd):
            return self._end(event)
        if isinstance(event, DataCommand | HeloCommand | RsetCommand):
            self._content = b""
        if isinstance(event, DataCommand):
            return [GO_AHEAD]
        if isinstance(event, HeloCommand):
            keywords = () if event.verb == "HELO" else self.connection.ehlo_keywords()
            return [Reply.make(250, "", "test.example", *keywords)]
        if isinstance(event, RcptCommand) and event.forward_path.local.startswith("nobody"):
            return [NO_SUCH_USER]
        if isinstance(event, UnknownCommand):
            return [unknown_verb(event.verb)]
        return [{QuitCommand: BYE, VrfyCommand: CANNOT_VRFY}.get(type(event), OK)]

    def _end(self, event: DataEnd | ChunkEnd) -> list[Reply]:
        if event.fault is None and (isinstance(event, DataEnd) or event.last):
            self.messages.append(self._content)
        if event.fault is not None or isinstance(event, DataEnd) or event.last:
            self._content = b""
        return [event.fault or OK] * self.connection.replies_due


def in_transaction(
    limits: ServerLimits = LIMITS, *, lmtp: bool = False, mail: bytes = b"MAIL FROM:<a@client.example>"
) -> Acceptor:
    """Return an Acceptor that has greeted, and has a sender and one recipient."""
    acceptor = Acceptor(limits, lmtp=lmtp)
    acceptor.feed(b"LHLO c\r\n" if lmtp else b"EHLO c\r\n", mail + b"\r\n", b"RCPT TO:<b@test.example>\r\n")
    acceptor.events.clear()
    return acceptor


def codes(answer: bytes) -> list[int]:
    """Return the code of each reply in `answer`."""
    return [int(line[:3]) for line in answer.split(b"\r\n")[:-1] if line[3:4] != b"-"]
