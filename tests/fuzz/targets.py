"""What is fuzzed: one function for each reader. It takes any octets; whatever it raises is a bug."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.fuzz.authentication import authres, spf
from tests.fuzz.content import changed_once, mime, mime_edits, scanned, words
from tests.fuzz.feedback import arf, redaction
from tests.fuzz.policies import authors, dmarc, lists
from tests.fuzz.signatures import arc, dkim
from tests.scenarios.acceptor import LIMITS, Acceptor, in_transaction
from tests.unit.sasl.saslkit import circumstances, play

from upesi.dns.codec import answer_from, make_question, read_reply
from upesi.dns.records import KINDS
from upesi.mail.address import Address, AddressError
from upesi.mail.body import MemoryBody
from upesi.mail.errors import RemoteProtocolError
from upesi.mail.headers import Headers
from upesi.mail.reply import printable
from upesi.protocol.dovecot import DovecotClient
from upesi.protocol.proxy.header import ProxyError, ProxyHeader
from upesi.protocol.proxy.reader import ProxyReader
from upesi.protocol.smtp.client import ClientConnection
from upesi.protocol.smtp.events import NEED_DATA, Pause
from upesi.protocol.smtp.forwarding import XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES, read_attributes
from upesi.protocol.smtp.states import State
from upesi.sasl.credentials import Refused
from upesi.sasl.mechanisms import MECHANISMS

__all__ = ["ONCE", "TARGETS", "Target"]

Target = Callable[[bytes], None]

_QUESTIONS = [question for kind in KINDS if (question := make_question("client.example", kind)) is not None]
_NAMES = tuple(MECHANISMS)


def _cuts(data: bytes) -> Iterator[bytes]:
    """Cut `data` where its own octets say, so that the fuzzer chooses the cuts."""
    at = 0
    while at < len(data):
        step = 1 + data[at] % 23 if at < 512 else 4096
        yield data[at : at + step]
        at += step


def _greeted() -> Acceptor:
    acceptor = Acceptor(LIMITS)
    acceptor.feed(b"EHLO c\r\n")
    return acceptor


def _in_data() -> Acceptor:
    acceptor = in_transaction()
    acceptor.feed(b"DATA\r\n")
    return acceptor


_MOST_COMMANDS = 2000

# where the server's machine stands when the octets come; the fuzzer need not find the way there
_SERVERS: dict[str, Callable[[], Acceptor]] = {
    "commands": lambda: Acceptor(LIMITS),
    "lmtp": lambda: Acceptor(LIMITS, lmtp=True),
    "mail": _greeted,
    "content": _in_data,
    "chunks": in_transaction,
    "binary": lambda: in_transaction(mail=b"MAIL FROM:<a@client.example> BODY=BINARYMIME"),
}


def _server(name: str) -> Target:
    """Segments do not matter, nothing with a stray line end is stored as text, and a closed session says nothing more."""

    def run(data: bytes) -> None:
        whole, cut = _SERVERS[name](), _SERVERS[name]()
        whole.feed(data)
        cut.feed(*_cuts(data))
        assert whole.output == cut.output, "the replies depend on the segments"
        assert whole.messages == cut.messages, "what is stored depends on the segments"
        for message in whole.messages if b"BINARYMIME" not in data and name != "binary" else ():
            assert not set(message.replace(b"\r\n", b"")) & {0, 10, 13}, "a stray line end or NUL was stored"
        for acceptor in (whole, cut):
            closed = acceptor.connection.state is State.CLOSED
            assert not (acceptor.eof() and closed), "words behind the end"

    return run


def _once(name: str) -> Target:
    def run(data: bytes) -> None:
        acceptor = _SERVERS[name]()
        for at in range(0, len(data), 1024):
            acceptor.feed(data[at : at + 1024])
            # 64 kB may hold 30,000 empty lines; a session is ended long before (smtp.hard_errors, smtp.max_idle_commands)
            if len(acceptor.events) > _MOST_COMMANDS:
                break

    return run


def addresses(data: bytes) -> None:
    """A path reads or fails; what was read comes to the same again, and is sent as it is only where it can do no harm."""
    for utf8, text in ((False, data.decode("latin-1")), (True, data.decode(errors="replace"))):
        for path in (text, f"<{text}>"):
            try:
                address = Address.parse_path(path, utf8=utf8)
            except AddressError:
                continue
            if address is not None and address.domain:
                assert Address.parse(str(address), utf8=True) == address
                assert not address.sendable or "\r" not in str(address)


def headers(data: bytes) -> None:
    """A header section: fields, their values on one line each, and questions for some."""
    section = Headers.of(MemoryBody(data))
    fields = list(section.fields())
    for name in ("Received", "From", "Subject"):
        values = section.all(name)
        assert section.get(name) == (values[0] if values else None)
        assert section.count(name) == len(values)
    for _, value in fields:
        assert "\r\n" not in value
    # each question looks through the whole section
    for name, _ in fields[:20]:
        assert section.count(name) >= 1


def replies(data: bytes) -> None:
    """Replies of a server, to a client that has said all it may: each is one request's, or the connection is no good."""
    for segments in ([data], list(_cuts(data))):
        client = ClientConnection()
        try:
            for segment in segments:
                client.receive(segment)
                _hear(client)
            client.eof()
            _hear(client)
        except RemoteProtocolError:
            continue


def _hear(client: ClientConnection) -> None:
    greeted = False
    while not isinstance(reply := client.next_reply(), Pause):
        assert reply is not NEED_DATA
        for line in reply.lines:
            assert line == printable(line)
        if not greeted and client.outstanding == 0:
            greeted = True
            client.ehlo("client.example")


def proxy(data: bytes) -> None:
    """A PROXY header reads, fails, or waits for more; cuts do not matter."""
    results: list[tuple[ProxyHeader | None, bytes] | None] = []
    for segments in ([data], [data[at : at + 1] for at in range(min(len(data), 600))] + [data[600:]]):
        reader = ProxyReader()
        header, rest = None, b""
        try:
            for at, segment in enumerate(segments):
                header = reader.receive(segment)
                if header is not None:
                    rest = reader.rest + b"".join(segments[at + 1 :])
                    break
        except ProxyError:
            results.append(None)
            continue
        results.append((header, rest))
    assert results[0] == results[1]


def sasl(data: bytes) -> None:
    """Every mechanism, with responses parted by LF LF: nobody is let in by a source that refuses."""
    name = _NAMES[data[0] % len(_NAMES)] if data else "PLAIN"
    initial, *rest = data[1:].split(b"\n\n")
    here = circumstances(bindings={"tls-server-end-point": b"x"})
    played = play(name, initial, rest, Refused(), here, whole=False)
    assert isinstance(played.outcome, str)


def forwarding(data: bytes) -> None:
    """XCLIENT and XFORWARD attributes, which trusted hosts pass on from strangers."""
    text = data.decode("latin-1")
    for table in (XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES):
        try:
            values = read_attributes(text, table)
        except RemoteProtocolError:
            continue
        for value in values.values():
            assert value is None or value.isprintable()


def dovecot(data: bytes) -> None:
    """What Dovecot's socket says, or whoever sits there."""
    client = DovecotClient()
    try:
        for segment in _cuts(data):
            list(client.receive(segment))
    except RemoteProtocolError:
        return


def dns(data: bytes) -> None:
    """A datagram that claims to be the answer to our question: whole, and with its header and question right."""
    question = _QUESTIONS[data[-1] % len(_QUESTIONS)] if data else _QUESTIONS[0]
    header = b"\x12\x67\x81\xa0\0\1" + data[:6].ljust(6, b"\0")
    for wire in (data, header + question.wire + data[6:]):
        reply = read_reply(question.wire, wire)
        if reply is not None:
            answer_from(question, reply, trusted=True)


_READERS: dict[str, Target] = {
    target.__name__: target
    for target in (
        addresses,
        headers,
        replies,
        proxy,
        sasl,
        forwarding,
        dovecot,
        dns,
        spf,
        authres,
        dkim,
        arc,
        mime,
        mime_edits,
        words,
        authors,
        dmarc,
        lists,
        arf,
        redaction,
    )
}
TARGETS: dict[str, Target] = {**{name: _server(name) for name in _SERVERS}, **_READERS}
# the same without comparisons: what is timed
ONCE: dict[str, Target] = {
    **{name: _once(name) for name in _SERVERS}, **_READERS, "mime": scanned, "mime_edits": changed_once,
}  # fmt: skip
