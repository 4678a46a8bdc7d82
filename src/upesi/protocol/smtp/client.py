"""The client half of SMTP and LMTP: commands out, replies in, each reply with the command that it answers.

RFC 5321 with PIPELINING (2920), SIZE (1870), 8BITMIME (6152), CHUNKING and BINARYMIME (3030), SMTPUTF8 (6531), DSN (3461), STARTTLS
(3207), AUTH (4954), REQUIRETLS (8689), and LMTP (2033). No I/O, no policy: what to send when, what a reply means for a recipient, and
how long to wait is the agent's. What this guarantees: a reply is never attached to the wrong command, nothing is pipelined that must not
be, no bare CR or LF leaves, and a server that answers what nobody asked, or answers before the end of the data, is an error and not a
delivery. Around STARTTLS: nothing that came before the handshake is ever taken for an answer behind it (C47, TLS-04), what was known of
the server is forgotten (C46), and no secret leaves without TLS (C52).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from upesi.mail.address import Address
from upesi.mail.envelope import BodyType, Notify, Recipient, Transmission
from upesi.mail.errors import LocalProtocolError, RemoteProtocolError
from upesi.protocol.smtp.answers import ReceivedReply, Request
from upesi.protocol.smtp.events import NEED_DATA, Pause
from upesi.protocol.smtp.extensions import NO_EXTENSIONS, Extensions
from upesi.protocol.smtp.framing import stuffed, stuffed_whole
from upesi.protocol.smtp.limits import MAX_BY
from upesi.protocol.smtp.replies import ParsedReply, ReplyParser
from upesi.protocol.smtp.xtext import encode_unicode, encode_xtext

__all__ = ["ClientConnection"]


# An enum's member costs a look-up in its class each time; these are on the path of every reply
_GREETING: Final = Request.GREETING
_MAIL: Final = Request.MAIL
_RCPT: Final = Request.RCPT
_DATA: Final = Request.DATA

# RFC 2920 section 3.1: these may only be the last command of a group
_GROUP_ENDS: Final = frozenset(
    (
        Request.GREETING, Request.EHLO, Request.HELO, Request.LHLO, Request.STARTTLS, Request.AUTH,
        Request.DATA, Request.NOOP, Request.QUIT,
    )
)  # fmt: skip
_GREETINGS: Final = frozenset((Request.EHLO, Request.LHLO, Request.HELO, Request.QUIT))
# RFC 2034 section 4: no enhanced status in the answers to these
_NO_STATUS: Final = frozenset((Request.GREETING, Request.EHLO, Request.HELO, Request.LHLO))
_MESSAGE_ENDS: Final = frozenset((Request.CONTENT, Request.BDAT_LAST))
_LINE_BREAK: Final = re.compile(r"[\x00\r\n]")
# RFC 4954 section 4: the one intermediate reply besides 354
_CHALLENGE: Final = (Request.AUTH, 334)
_NOTIFY: Final = ((Notify.SUCCESS, "SUCCESS"), (Notify.FAILURE, "FAILURE"), (Notify.DELAY, "DELAY"))


class ClientConnection:
    """One session, as the client sees it.

    It begins by expecting the greeting; with `implicit`, the TLS handshake before it (RFC 8314). Each builder returns octets to write
    and notes the reply to expect; builders may be called one after the other for a pipelined group where `extensions.pipelining`.
    `extensions` is what the last EHLO or LHLO was answered with.
    """

    __slots__ = (
        "_accepted", "_content", "_eof", "_expected", "_greeted", "_handshake", "_parser", "_recipients", "extensions", "lmtp",
        "secure",
    )  # fmt: skip

    def __init__(self, *, lmtp: bool = False, implicit: bool = False) -> None:
        self.lmtp = lmtp
        # whether we are inside TLS; before its handshake nothing is read
        self.secure = False
        self._handshake = implicit
        # false between the handshake and EHLO (C46)
        self._greeted = True
        self.extensions = NO_EXTENSIONS
        self._parser = ReplyParser()
        self._expected: deque[tuple[Request, int | None]] = deque([(Request.GREETING, None)])
        self._eof = False
        # RCPTs sent in this transaction; those accepted, for the answers of LMTP
        self._recipients = 0
        self._accepted: list[int] = []
        # 354 came and the end of data is not out yet
        self._content = False

    @property
    def outstanding(self) -> int:
        """How many requests wait for their replies."""
        return len(self._expected)

    # -- replies in

    def receive(self, data: bytes) -> None:
        """Take in what came from the server; raise RemoteProtocolError where it must not say anything before the TLS handshake."""
        if self._handshake:
            raise RemoteProtocolError("octets before the TLS handshake")
        self._parser.receive(data)

    def secured(self) -> None:
        """Note that the TLS handshake is done: what was said before it is forgotten (RFC 3207 section 4.2)."""
        if not self._handshake:
            raise LocalProtocolError("a TLS handshake that nobody asked for")
        self._handshake = False
        self.secure = True
        self.extensions = NO_EXTENSIONS
        # RFC 8314: with implicit TLS the greeting comes first, and nothing is to be forgotten
        self._greeted = bool(self._expected)

    def eof(self) -> None:
        """Note that nothing more will come. Complete replies are still returned; then what is outstanding is an error."""
        self._eof = True

    def next_reply(self) -> ReceivedReply | Pause:
        """Return the next reply, or NEED_DATA.

        Raises:
            RemoteProtocolError: what came is no reply, answers nothing, came before the end of the data, or cannot answer its
                request; or the connection ended with replies outstanding. Nothing more can be trusted: close.
        """
        parsed = self._parser.next()
        if parsed is None:
            if self._eof and (self._expected or self._content or self._parser.pending):
                raise RemoteProtocolError("connection closed by the server")
            return NEED_DATA
        if not self._expected:
            when = "before the end of the data" if self._content else "to no command"
            raise RemoteProtocolError(f"reply {when}: {parsed.code} {' '.join(parsed.lines)[:200]}")
        return self._match(parsed)

    def _match(self, parsed: ParsedReply) -> ReceivedReply:
        """Attach a reply to the oldest request, and note what it changes."""
        request, recipient = self._expected[0]
        code, status, lines = parsed.code, parsed.status, parsed.lines
        if code < 400 and (code >= 300) is not (request is _DATA) and (request, code) != _CHALLENGE:
            raise RemoteProtocolError(f"{code} cannot answer {request}")
        if self.lmtp and request in _MESSAGE_ENDS:
            recipient = self._next_accepted()
        else:
            self._expected.popleft()
        if request is _RCPT and code < 300 and recipient is not None:
            self._accepted.append(recipient)
        elif request is _MAIL:
            self._accepted.clear()
        elif request is _DATA and code < 400:
            self._check_silence()
            self._content = True
        elif request in _NO_STATUS:
            if status:
                status, lines = "", (f"{status} {lines[0]}", *lines[1:])
            if request is not _GREETING and code < 300:
                self.extensions = NO_EXTENSIONS if request is Request.HELO else Extensions.parse(lines[1:])
                self._greeted = True
        elif request is Request.STARTTLS and code < 300:
            self._go_ahead(code)
        return ReceivedReply(code, status, lines, request, recipient)

    def _go_ahead(self, code: int) -> None:
        """Take the 220 to STARTTLS: from here to the handshake the server has nothing to say (C47, CVE-2011-0411 turned round)."""
        if code != 220:
            raise RemoteProtocolError(f"{code} cannot answer STARTTLS")
        if self._parser.pending:
            raise RemoteProtocolError("octets before the TLS handshake")
        self._handshake = True

    def _check_silence(self) -> None:
        """Refuse what stands behind a 354, or before the end of the data: it cannot be about a message that is not out (OUT-15)."""
        if self._parser.pending:
            raise RemoteProtocolError("reply before the end of the data")

    def _next_accepted(self) -> int | None:
        """Return whom this reply at an LMTP end of data is for (RFC 2033 section 4.2: in the order of the RCPTs)."""
        recipient = self._accepted.pop(0) if self._accepted else None
        if not self._accepted:
            self._expected.popleft()
        return recipient

    # -- commands out

    def _command(self, request: Request, line: str, recipient: int | None = None) -> bytes:
        """Note what to expect and return the line's octets."""
        if self._content:
            raise LocalProtocolError(f"{request} inside message content")
        if not self._greeted and request not in _GREETINGS:
            raise LocalProtocolError(f"{request} before EHLO inside TLS")
        if self._expected:
            last = self._expected[-1][0]
            if last in _GROUP_ENDS or not self.extensions.pipelining:
                raise LocalProtocolError(f"{request} may not be sent before {last} is answered")
        # what is printable has no line break, and costs a tenth
        if not line.isprintable() and _LINE_BREAK.search(line):
            raise LocalProtocolError(f"line break inside {request}")
        self._expected.append((request, recipient))
        return (line + "\r\n").encode()

    def ehlo(self, name: str) -> bytes:
        """Say EHLO, in LMTP LHLO, as `name` (a domain or an address literal)."""
        request = Request.LHLO if self.lmtp else Request.EHLO
        return self._command(request, f"{request} {name}")

    def helo(self, name: str) -> bytes:
        """Say HELO, for a server that knows no EHLO (RFC 5321 section 3.2)."""
        return self._command(Request.HELO, f"HELO {name}")

    def starttls(self) -> bytes:
        """Ask for TLS; after a 220 comes the handshake, then `secured`, then EHLO again."""
        if self.secure or not self.extensions.starttls:
            raise LocalProtocolError("STARTTLS is not offered here")
        return self._command(Request.STARTTLS, "STARTTLS")

    def auth(self, mechanism: str, initial: bytes | None = None) -> bytes:
        """Begin AUTH, with an `initial` response where the mechanism has one (RFC 4954 section 4)."""
        if not self.secure:
            raise LocalProtocolError("AUTH outside TLS")
        return self._command(Request.AUTH, f"AUTH {mechanism}" + ("" if initial is None else f" {_base64(initial)}"))

    def respond(self, response: bytes | None) -> bytes:
        """Answer a 334; None cancels the exchange."""
        return self._command(Request.AUTH, "*" if response is None else b64encode(response).decode())

    def mail(
        self, reverse_path: Address | None, transmission: Transmission, size: int | None = None, left: int | None = None
    ) -> bytes:
        """Open a mail transaction; None is the null reverse-path, `size` is in octets, `left` the seconds until `transmission.by`.

        SIZE, RET, ENVID, BY and MT-PRIORITY are left out where the server did not announce them. Raises LocalProtocolError where the
        message needs 8BITMIME, BINARYMIME, SMTPUTF8 or REQUIRETLS and the server lacks it: the caller converts or gives up before.
        """
        offered = self.extensions
        parts = [f"MAIL FROM:<{'' if reverse_path is None else reverse_path}>"]
        if size is not None and offered.size is not None:
            parts.append(f"SIZE={size}")
        if transmission.body is not BodyType.SEVEN_BIT:
            if not (offered.binarymime if transmission.body is BodyType.BINARY else offered.eight_bit):
                raise LocalProtocolError(f"server does not take BODY={transmission.body}")
            parts.append(f"BODY={transmission.body}")
        if transmission.smtputf8:
            if not offered.smtputf8:
                raise LocalProtocolError("server does not take SMTPUTF8")
            parts.append("SMTPUTF8")
        if transmission.requiretls:
            if not (self.secure and offered.requiretls):
                raise LocalProtocolError("server does not take REQUIRETLS")
            parts.append("REQUIRETLS")
        if offered.dsn:
            if transmission.ret is not None:
                parts.append(f"RET={transmission.ret}")
            if transmission.envid is not None:
                parts.append(f"ENVID={encode_xtext(transmission.envid)}")
        if transmission.priority and offered.priorities:
            parts.append(f"MT-PRIORITY={transmission.priority}")
        by = transmission.by
        if by is not None and left is not None and offered.deliver_by is not None:
            parts.append(f"BY={max(-MAX_BY, min(left, MAX_BY))};{by.mode}{'T' if by.trace else ''}")
        octets = self._command(Request.MAIL, " ".join(parts))
        self._recipients = 0
        return octets

    def rcpt(self, recipient: Recipient, dsn: bool = True) -> bytes:
        """Name one recipient; NOTIFY and ORCPT go along with `dsn`, where the server announced DSN."""
        line = f"RCPT TO:<{recipient.address}>"
        if dsn and self.extensions.dsn:
            line += _dsn_parameters(recipient)
        octets = self._command(Request.RCPT, line, self._recipients)
        self._recipients += 1
        return octets

    def data(self) -> bytes:
        """Ask to send message content; after a 354, `frame` it."""
        return self._command(Request.DATA, "DATA")

    def frame(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield message content for the wire, its end included; the reply is expected from when the last piece is taken.

        After a 354 that came though every RCPT was refused, frame nothing: `frame(())` (RFC 2920 section 3.1).

        Raises:
            UnsendableContent: see `upesi.protocol.smtp.framing.stuffed`.
            RemoteProtocolError: half a reply came in the middle of the content; the end of data does not go out.
        """
        if not self._content:
            raise LocalProtocolError("message content without a 354")
        last = b""
        for piece in stuffed(chunks):
            if last:
                yield last
            last = piece
        self._check_silence()
        self._content = False
        self._expected.append((Request.CONTENT, None))
        yield last

    def framed(self, prefix: bytes, body: bytes, *, text: bool) -> list[bytes]:
        """Return the content of a small message for the wire as `frame` would give it, in pieces to be joined; the reply is expected now.

        `prefix` is empty or ends with CR LF; `text` says that the body has been checked. Raises as `frame` does.
        """
        if not self._content:
            raise LocalProtocolError("message content without a 354")
        pieces = stuffed_whole(prefix, body, text=text)
        self._check_silence()
        self._content = False
        self._expected.append((Request.CONTENT, None))
        return pieces

    def bdat(self, size: int, last: bool) -> bytes:
        """Announce a chunk of `size` octets, which the caller writes behind this as they are (RFC 3030)."""
        if not self.extensions.chunking:
            raise LocalProtocolError("server does not take BDAT")
        return self._command(Request.BDAT_LAST if last else Request.BDAT, f"BDAT {size}{' LAST' if last else ''}")

    def rset(self) -> bytes:
        """Drop the transaction."""
        return self._command(Request.RSET, "RSET")

    def noop(self) -> bytes:
        """Ask for a sign of life."""
        return self._command(Request.NOOP, "NOOP")

    def quit(self) -> bytes:
        """Say good-bye."""
        return self._command(Request.QUIT, "QUIT")


def _base64(initial: bytes) -> str:
    """Write an initial response; an empty one is "=" (C50)."""
    return b64encode(initial).decode() or "="


def _dsn_parameters(recipient: Recipient) -> str:
    """Write NOTIFY and ORCPT as they were given to us (RFC 3461 section 5.2)."""
    text = ""
    if recipient.notify is not None:
        words = [word for bit, word in _NOTIFY if recipient.notify & bit]
        text += f" NOTIFY={','.join(words) or 'NEVER'}"
    if recipient.original is not None:
        kind, _, address = recipient.original.partition(";")
        if kind.lower() == "utf-8":
            text += f" ORCPT={kind};{encode_unicode(address)}"
        elif address.isascii() and address.isprintable():
            text += f" ORCPT={kind};{encode_xtext(address)}"
    return text
