"""The server half of SMTP and LMTP: octets in, events out, replies in, octets out.

RFC 5321 with PIPELINING (2920), CHUNKING and BINARYMIME (3030), 8BITMIME (6152), SMTPUTF8 (6531), SIZE (1870), DSN parameters (3461),
enhanced status codes (2034), and LMTP (2033). It performs no I/O, knows no policy and no clock: `listener/` feeds it and
writes what it returns, `session/` answers its events. Syntax and sequence are decided here, by the tables in `states.py` and `commands.py`.

A line ends with CR LF and with nothing else. A bare LF or bare CR never ends a line or the data: whoever takes one for a line end
sees other commands than the next server does, which is SMTP smuggling.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from upesi.mail.envelope import BodyType
from upesi.mail.errors import LocalProtocolError, RemoteProtocolError
from upesi.mail.reply import Reply
from upesi.protocol.smtp.auth import read_auth, read_response
from upesi.protocol.smtp.buffer import ReceiveBuffer
from upesi.protocol.smtp.commands import (
    VERBS,
    read_bdat,
    read_data,
    read_etrn,
    read_hello,
    read_mail,
    read_rcpt,
    read_starttls,
    read_unknown,
)
from upesi.protocol.smtp.data import ChunkReader, DataReader, Discard
from upesi.protocol.smtp.events import (
    NEED_DATA,
    PAUSED,
    ChunkEnd,
    Command,
    DataChunk,
    DataCommand,
    DataEnd,
    Event,
    Pause,
)
from upesi.protocol.smtp.known import KnownLines
from upesi.protocol.smtp.limits import (
    MAX_AUTH_LINE,
    MAX_COMMAND_LINE,
    MAX_FORWARDING_LINE,
    MAX_MAIL_LINE,
    MAX_RCPT_LINE,
    MAX_UNENDED_LINE,
    ServerLimits,
)
from upesi.protocol.smtp.refusals import (
    AUTH_LINE_TOO_LONG,
    BARE_NEWLINE,
    BINARY_NEEDS_BDAT,
    CONTROL_CHARACTERS,
    EIGHT_BIT,
    LINE_TOO_LONG,
    NEEDS_SMTPUTF8,
    NO_END_OF_LINE,
    NOT_IMPLEMENTED,
    NOT_SMTP,
    SYNTAX,
    UNKNOWN_COMMAND,
    DataRefused,
    out_of_sequence,
    refuse,
)
from upesi.protocol.smtp.states import ACCEPTED, CONTINUED, REFUSED, Kind, State

__all__ = ["ServerConnection", "ServerLimits"]

# An enum's member costs a look-up in its class each time; these are on the path of every command
_START: Final = State.START
_RCPT_STATE: Final = State.RCPT
_AUTH_STATE: Final = State.AUTH
_CLOSED: Final = State.CLOSED
_MAIL: Final = Kind.MAIL
_RCPT: Final = Kind.RCPT
_DATA: Final = Kind.DATA
_BDAT: Final = Kind.BDAT
_STARTTLS: Final = Kind.STARTTLS
_END: Final = Kind.END
_CHUNK_END: Final = Kind.CHUNK_END
_LAST_CHUNK_END: Final = Kind.LAST_CHUNK_END
_MALFORMED: Final = Kind.MALFORMED

_OTHER: Final = (Kind.UNKNOWN, None)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_LINE: Final = max(MAX_MAIL_LINE, MAX_RCPT_LINE)
_WITH_MAILBOX: Final = frozenset((b"MAIL ", b"RCPT ", b"VRFY ", b"EXPN "))
_LINE_LIMITS: Final = {
    b"MAIL": MAX_MAIL_LINE, b"RCPT": MAX_RCPT_LINE, b"XCLI": MAX_FORWARDING_LINE, b"XFOR": MAX_FORWARDING_LINE,
}  # fmt: skip


class ServerConnection:
    """One session, as the server sees it.

    It begins with a reply outstanding: `send` the greeting. Then: `receive` what came; take `next_event` until it is NEED_DATA or
    PAUSED; answer each command, DataEnd and ChunkEnd with `send`, in their order, BdatCommand and DataChunk with nothing. When
    `next_event` raises RemoteProtocolError, `send` its `reply`. When `state` is CLOSED, write what there is and close.
    """

    __slots__ = (
        "_binary",
        "_broken_line",
        "_buffer",
        "_chunks",
        "_content",
        "_discarded",
        "_due",
        "_eof",
        "_known",
        "_limits",
        "_lmtp",
        "_pending",
        "_recipients",
        "_state",
        "_utf8",
    )

    def __init__(self, limits: ServerLimits, *, lmtp: bool = False, known: KnownLines | None = None) -> None:
        """`known` are the lines that other sessions with these `limits` have said."""
        self._limits = limits
        self._known = KnownLines() if known is None else known
        self._lmtp = lmtp
        self._buffer = ReceiveBuffer()
        self._state = State.GREETING
        self._eof = False
        # what waits for its reply, and how many replies it gets
        self._pending = Kind.GREETING
        self._due = 1
        # the line being read: what was thrown away of it, and whether a bare LF broke the one before
        self._discarded = 0
        self._broken_line = False
        # the mail transaction, as far as it matters here
        self._recipients = 0
        self._utf8 = False
        self._binary = False
        self._content: DataReader | ChunkReader | Discard | None = None
        self._chunks: ChunkReader | None = None

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._state

    @property
    def buffered(self) -> int:
        """How many octets came in and were not read yet; whoever drives this stops reading at some bound."""
        return len(self._buffer)

    @property
    def pipelined(self) -> bool:
        """Whether octets wait behind the current command.

        Before the greeting that is early talk; behind HELO, EHLO, DATA and the like it is improper pipelining (RFC 2920 section 3.1).
        """
        # a buffer that has been read out is empty
        return bool(self._buffer.data)

    @property
    def idle(self) -> bool:
        """Whether `next_event` would only ask for more: everything that came is read and answered, and more may come."""
        return not (self._buffer.data or self._due or self._eof)

    @property
    def replies_due(self) -> int:
        """How many replies the oldest unanswered command is still to get: 0 or 1, more only at an LMTP end of data."""
        return self._due

    def ehlo_keywords(self) -> tuple[str, ...]:
        """Return the service extensions to announce, without STARTTLS and AUTH."""
        return self._limits.ehlo_keywords()

    def receive(self, data: bytes) -> None:
        """Take in what came from the client; after the end of the session it is ignored."""
        if self._state is not _CLOSED:
            buffer = self._buffer
            if buffer.data:
                buffer.append(data)
            else:
                buffer.data = data

    def eof(self) -> None:
        """Note that nothing more will come. Complete commands are still read and answered (the client may only have
        closed its sending side); when there are none left, `state` becomes CLOSED. An incomplete message never ends."""
        self._eof = True
        if not self._buffer.data and not self._due and self._content is None:
            self._close()

    def next_event(self) -> Event | Pause:
        """Return the next event, NEED_DATA, or PAUSED while a reply is outstanding.

        Raises:
            RemoteProtocolError: the next command is malformed or out of sequence; `send` the `reply` it carries.
        """
        if self._due:
            return PAUSED
        try:
            if self._content is not None:
                return self._next_content(self._content) or self._starved()
            buffer = self._buffer
            if buffer.data:
                first = buffer.data[buffer.pos]
                line = buffer.take_line()
                known = self._known.get(line)
                if (
                    known is not None
                    and (self._state, known[0]) in ACCEPTED
                    and not (self._binary or self._utf8 or self._broken_line or self._discarded)
                ):
                    self._pending, event = known
                    self._due = 1
                    return event
                if self._complete(line, first):
                    return self._command(line)
            return self._starved() if self._eof else NEED_DATA
        except RemoteProtocolError:
            self._due = 1
            raise

    def send(self, *replies: Reply) -> bytes:
        """Answer the oldest unanswered command with `replies` and return the octets to write.

        One reply, except at the end of data in LMTP: there one for each accepted recipient, in their order, in one call or
        several. A reply with code 421 ends the session.

        Raises:
            LocalProtocolError: nothing waits for a reply, there are too many, or the code cannot answer this command.
        """
        count = len(replies)
        if count == 1 == self._due:
            (reply,) = replies
            self._settle(reply.code)
            self._due = 0
            return reply.wire
        if not 0 < count <= self._due:
            raise LocalProtocolError(f"{count} replies given, {self._due} expected")
        self._due -= count
        if not self._due:
            self._settle(replies[-1].code)
        if any(reply.code == 421 for reply in replies):
            self._close()
        return b"".join([reply.wire for reply in replies])

    def _settle(self, code: int) -> None:
        """Move to the state where this answer to the pending command leads."""
        pending = self._pending
        state = self._state
        if code >= 400:
            self._state = REFUSED.get((state, pending), state)
            if code == 421:
                self._close()
            return
        accepted = ACCEPTED.get((state, pending))
        if accepted is None or (code >= 300) is not (pending is _DATA):
            accepted = CONTINUED.get((state, pending)) if code == 334 else None
            if accepted is None:
                raise LocalProtocolError(f"{code} cannot answer {pending} in state {state}")
        self._state = accepted
        if pending is _RCPT:
            self._recipients += 1
        elif pending is _MAIL:
            self._recipients = 0
        elif pending is _DATA:
            self._content = DataReader(self._limits.max_message_size)
        elif accepted is _CLOSED:
            self._close()
        elif pending is _STARTTLS:
            # RFC 3207 section 6: what came behind STARTTLS in clear must not be taken for something said under TLS
            self._buffer.clear()

    def _close(self) -> None:
        self._state = _CLOSED
        self._buffer.clear()
        self._content = None
        self._due = 0

    def _starved(self) -> Pause:
        if self._eof:
            self._close()
        return NEED_DATA

    # -- content

    def _next_content(self, content: DataReader | ChunkReader | Discard) -> DataChunk | DataEnd | ChunkEnd | None:
        """Take the next event from the message; at its end, wait for the replies."""
        try:
            event = content.next_event(self._buffer)
        except RemoteProtocolError:
            self._content = None
            self._pending = _BDAT
            raise
        if event is None or type(event) is DataChunk:
            return event
        self._content = None
        last = True
        if type(event) is ChunkEnd:
            last = event.last
            self._pending = _LAST_CHUNK_END if last else _CHUNK_END
        else:
            self._pending = _END
        # RFC 2033 section 4.2: LMTP answers for each recipient that RCPT accepted, at the end of the message only
        self._due = self._recipients if self._lmtp and last else 1
        return event

    # -- command lines

    def _complete(self, line: bytes, first: int) -> bool:
        """Whether there is a whole line, which begins with the octet `first`; raise what is to be said about a bad one."""
        self._pending = _MALFORMED
        if self._state is _START and not self._discarded:
            self._check_protocol(first)
        if not line:
            self._check_unended()
            return False
        if self._discarded or self._broken_line or len(line) > MAX_COMMAND_LINE or not line.endswith(b"\r\n"):
            self._check_line(line)
        return True

    def _check_unended(self) -> None:
        """Throw away what is too long to become a command; give up on what never ends."""
        buffer = self._buffer
        longest = MAX_AUTH_LINE if self._auth_line(buffer.data[buffer.pos : buffer.pos + 4]) else _LONGEST_LINE
        if len(buffer) > longest or self._discarded:
            self._discarded += len(buffer)
            # a CR at the very end may belong to the CR LF that is still to come
            keep = buffer.data.endswith(b"\r")
            buffer.clear()
            if keep:
                buffer.append(b"\r")
                self._discarded -= 1
        if self._discarded > MAX_UNENDED_LINE:
            raise refuse(NO_END_OF_LINE)

    def _check_line(self, line: bytes) -> None:
        """Deal with a line that is long, or does not end as it should."""
        length = self._discarded + len(line)
        broken = self._broken_line
        # After a bare LF nothing is believed until a true end of line has come: what follows is answered, not obeyed
        self._broken_line = not line.endswith(b"\r\n")
        self._discarded = 0
        if length > MAX_UNENDED_LINE:
            raise refuse(NO_END_OF_LINE)
        if broken or self._broken_line:
            raise refuse(BARE_NEWLINE)
        start = line[:4]
        longest = MAX_AUTH_LINE if self._auth_line(start) else _LINE_LIMITS.get(start.upper(), MAX_COMMAND_LINE)
        if length > len(line) or length > longest:
            raise refuse(AUTH_LINE_TOO_LONG if self._state is _AUTH_STATE else LINE_TOO_LONG)

    def _auth_line(self, start: bytes | bytearray) -> bool:
        """Whether a line that begins with `start` may be as long as an AUTH exchange's."""
        return self._state is _AUTH_STATE or (bool(self._limits.auth) and start.upper() == b"AUTH")

    def _check_protocol(self, octet: int) -> None:
        """End a session that opens with a TLS or SSL hello, RDP or noise; to answer line by line would be a reply loop."""
        if (octet < 0x20 or octet > 0x7E) and octet not in b"\t\r\n":
            raise refuse(NOT_SMTP)

    def _text(self, line: bytes) -> str:
        """Decode a line that is not plain printable ASCII, or raise what is to be said about it."""
        path_command = line[:5].upper() in _WITH_MAILBOX
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise refuse(NEEDS_SMTPUTF8 if path_command else EIGHT_BIT) from None
        if _CONTROL.search(text):
            raise refuse(CONTROL_CHARACTERS)
        if not path_command:
            raise refuse(EIGHT_BIT)
        # MAIL says for its transaction whether UTF-8 may stand in paths; VRFY and EXPN say it for themselves (RFC 6531 section 3.7.4.2)
        if text[:5].upper() in ("VRFY ", "EXPN ") and not (
            self._limits.smtputf8 and text.upper().endswith(" SMTPUTF8")
        ):
            raise refuse(NEEDS_SMTPUTF8)
        return text

    def _command(self, line: bytes) -> Event | Pause:
        """Turn a line into an event that is in sequence."""
        octets = line[:-2]
        if self._state is _AUTH_STATE:
            return self._answer(octets)
        text = octets.decode("latin-1")
        plain = text.isascii() and text.isprintable()
        if not plain:
            text = self._text(octets)
        verb, blank, argument = text.partition(" ")
        if blank and (text[-1] == " " or argument[:1] == " "):
            # RFC 5321 section 4.1.1: blanks at the end should be tolerated; others are not
            argument = argument.rstrip(" ")
            if argument.startswith(" "):
                raise refuse(SYNTAX)
        kind, read = VERBS.get(verb) or VERBS.get(verb.upper()) or _OTHER
        # RFC 5321 section 4.1.4: the order is checked before the argument is looked at
        if kind is _BDAT:
            return self._begin_chunk(argument)
        if (self._state, kind) not in ACCEPTED:
            self._refuse_sequence(kind)
        event = read(argument) if read is not None else self._with_context(kind, verb, argument)
        if plain and not self._utf8:
            self._known.remember(line, kind, event)
        self._pending = kind
        self._due = 1
        return event

    def _answer(self, line: bytes) -> Event:
        """Read the answer to a challenge. Until here it counts as malformed: that ends the exchange."""
        event = read_response(line)
        self._pending = Kind.RESPONSE
        self._due = 1
        return event

    def _with_context(self, kind: Kind, verb: str, argument: str) -> Command:
        """Read a command whose meaning depends on more than its argument."""
        if kind is _RCPT:
            return read_rcpt(argument, self._limits, self._utf8)
        if kind is _MAIL:
            event = read_mail(argument, self._limits)
            self._utf8 = event.transmission.smtputf8
            self._binary = event.transmission.body is BodyType.BINARY
            return event
        if kind is _DATA:
            return self._read_data(argument)
        if kind is Kind.UNKNOWN:
            return read_unknown(verb, argument)
        return self._read_offered(kind, verb.upper(), argument)

    def _refuse_sequence(self, kind: Kind) -> NoReturn:
        reply = NOT_IMPLEMENTED if kind is Kind.ETRN and not self._limits.etrn else out_of_sequence(self._state, kind)
        raise DataRefused(reply.text, reply) if kind is _DATA else refuse(reply)

    def _read_data(self, argument: str) -> DataCommand:
        if self._binary:
            raise DataRefused(BINARY_NEEDS_BDAT.text, BINARY_NEEDS_BDAT)
        return read_data(argument)

    def _read_offered(self, kind: Kind, verb: str, argument: str) -> Command:
        """Read one of the commands that not every listener has."""
        if kind is Kind.HELO:
            # RFC 2033 section 4.1: LMTP has LHLO and neither HELO nor EHLO
            if (verb == "LHLO") is not self._lmtp:
                raise refuse(UNKNOWN_COMMAND)
            return read_hello(verb, argument)
        if kind is Kind.STARTTLS and self._limits.starttls:
            return read_starttls(argument)
        if kind is Kind.AUTH and self._limits.auth:
            return read_auth(argument)
        if kind is Kind.ETRN and self._limits.etrn:
            return read_etrn(argument)
        raise refuse(NOT_IMPLEMENTED)

    def _begin_chunk(self, argument: str) -> Event | Pause:
        """Open a BDAT chunk; where it is refused its octets are read over first (RFC 3030 section 2)."""
        command, problem = read_bdat(argument)
        state = self._state
        if not self._limits.chunking:
            problem = NOT_IMPLEMENTED
        elif (state, _BDAT) not in ACCEPTED:
            problem = out_of_sequence(state, _BDAT)
        if problem is not None:
            self._content = Discard(command.size, problem)
            return self.next_event()
        if state is _RCPT_STATE or self._chunks is None:
            self._chunks = ChunkReader(self._limits.max_message_size, self._binary)
        self._chunks.begin(command.size, command.last)
        self._content = self._chunks
        self._state = ACCEPTED[state, _BDAT]
        return command
