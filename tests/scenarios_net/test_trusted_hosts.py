"""Those who stand in front of us, on every kind of listener: PROXY before anything else, XCLIENT and XFORWARD for those who are listed."""

from __future__ import annotations

import base64
import contextlib
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator

import pytest
from tests.unit.protocol.proxykit import SIGNATURE, tls, tlv, v2

from integration.server import PATIENCE, UpesiServer, free_port, wait_until
from scenarios_net.next_hop import NextHop
from scenarios_net.world import PASSWORD, USER, have_ipv6
from upesi.lookup.account_file import changing
from upesi.lookup.accounts import new_words
from upesi.sasl.credentials import Identity
from upesi.tls.selfsigned import self_signed

# kind: address, keys of the listener
KINDS = {
    "plain": ("127.0.0.1", ""),
    "starttls": ("127.0.0.1", 'tls = "starttls"\n'),
    "implicit": ("127.0.0.1", 'tls = "implicit"\n'),
    "submission": ("127.0.0.1", 'role = "submission"\ntls = "required"\n'),
    "submissions": ("127.0.0.1", 'role = "submission"\ntls = "implicit"\n'),
    "lmtp": ("127.0.0.1", 'role = "lmtp"\n'),
    **({"ipv6": ("::1", "")} if have_ipv6() else {}),
}
# what of the loopback is listed: as proxies, for XCLIENT, for XFORWARD, or nobody
TRUST = {
    "proxied": 'proxy = ["127.0.0.1", "::1"]\n',
    "elsewhere": 'proxy = ["192.0.2.0/24"]\n',
    "xclient": 'xclient = ["127.0.0.1", "::1"]\nxforward = ["192.0.2.0/24"]\n',
    "xforward": 'xclient = ["192.0.2.0/24"]\nxforward = ["127.0.0.1", "::1"]\n',
    "nobody": "",
}

_CONFIG = """\
[node]
name = "test.example"
workers = 1
drain = "50s"
[spool]
path = "{folder}/spool"
min_free = "1MB"
{listeners}
[smtp]
hard_errors = 1000
soft_errors = 1000
[smtp.timeouts]
proxy = "1s"
[tls]
certificates = "{folder}/certificates"
[[credentials]]
source = "file:{folder}/accounts"
remember = "10m"
[auth]
senders = "any"
[plugins.relay]
networks = ["198.51.100.200"]
[plugins.recipients]
domains = ["test.example"]
[[route]]
domains = ["*"]
to = "smtp://127.0.0.1:{hop}"
[metrics]
port = 0
[log]
format = "json"
"""
_LISTENER = '[[listener]]\nname = "{name}"\naddress = "{address}"\nport = {port}\n{keys}'


class Server(UpesiServer):
    """A server with a listener of each kind for each sort of trust."""

    def __init__(self, folder: object, hop: NextHop) -> None:
        self._hop = hop
        self.ports = {(kind, trust): free_port() for kind in KINDS for trust in TRUST}
        super().__init__(folder)  # type: ignore[arg-type]

    def configure(self, more: str) -> None:
        """Write the configuration."""
        self.ports["plain", "nobody"] = self.port
        listeners = "".join(
            _LISTENER.format(
                name=f"{kind}-{trust}", address=KINDS[kind][0], port=port, keys=KINDS[kind][1] + TRUST[trust]
            )
            for (kind, trust), port in self.ports.items()
        )
        certificates = self.folder / "certificates"
        certificates.mkdir()
        pair = certificates / "test.example.pem"
        pair.touch(mode=0o600)
        pair.write_bytes(self_signed("test.example"))
        with changing(self.folder / "accounts") as accounts:
            accounts.put(USER, new_words(Identity(USER), PASSWORD))
        self.file.write_text(_CONFIG.format(folder=self.folder, listeners=listeners, hop=self._hop.port))

    def last_session(self, client: str, listener: str) -> dict[str, object]:
        """Return the end of the last session of that client on that listener."""

        def found() -> list[dict[str, object]]:
            events = self.events("session.ended")
            return [event for event in events if event["client"] == client and event["listener"] == listener]

        wait_until(found, what=f"the session of {client}")
        return found()[-1]


@pytest.fixture(scope="module")
def hop() -> Iterator[NextHop]:
    """Where all mail of these tests goes."""
    with NextHop() as hop:
        yield hop


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory, hop: NextHop) -> Iterator[Server]:
    """The server; it must survive everything and end cleanly."""
    server = Server(tmp_path_factory.mktemp("trusting"), hop)
    server.start()
    workers = server.worker_pids()
    yield server
    assert server.worker_pids() == workers, f"a worker ended:\n{server.tail()}"
    assert server.stop() == 0, server.tail()


class Client:
    """A client of one listener that goes as far as mail can be sent."""

    def __init__(self, server: Server, kind: str, trust: str, first: bytes = b"") -> None:
        self.kind = kind
        self.listener = f"{kind}-{trust}"
        self.socket: socket.socket = socket.create_connection(
            (KINDS[kind][0], server.ports[kind, trust]), timeout=PATIENCE
        )
        # a listener may close before it is written to
        if first:
            self.socket.sendall(first)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def secure(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket)

    def greeted(self) -> Client:
        """Shake hands where TLS comes first, and hear the greeting."""
        if self.kind in ("implicit", "submissions"):
            self.secure()
        assert self.hear().startswith("220 ")
        return self

    def ready(self) -> Client:
        """Say EHLO, under TLS where there is some; authenticate where that is asked for."""
        self.greeted()
        self.hello()
        if self.kind in ("starttls", "submission"):
            assert self.say("STARTTLS").startswith("220 ")
            self.secure()
            self.hello()
        if self.kind.startswith("submission"):
            secret = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
            assert self.say(f"AUTH PLAIN {secret}").startswith("235 ")
        return self

    def hello(self) -> set[str]:
        """Say EHLO or LHLO; return the keywords."""
        lines = self.say(f"{'LHLO' if self.kind == 'lmtp' else 'EHLO'} client.example").split("\n")
        assert lines[0].startswith("250")
        return {line[4:] for line in lines}

    def hear(self) -> str:
        """Return one reply, its lines joined by LF."""
        data = b""
        while not re.search(rb"(?:\A|\r\n)\d\d\d [^\r]*\r\n\Z", data):
            piece = self.socket.recv(1)
            assert piece, f"closed behind {data!r}"
            data += piece
        return data.decode().rstrip().replace("\r\n", "\n")

    def say(self, line: str) -> str:
        self.socket.sendall(line.encode() + b"\r\n")
        return self.hear()

    def code(self, line: str) -> int:
        return int(self.say(line)[:3])

    def closed(self) -> bytes:
        """Return what was said before the connection was closed."""
        heard = b""
        try:
            while piece := self.socket.recv(1000):
                heard += piece
        except (ConnectionResetError, ssl.SSLError):
            pass
        return heard

    def send(self) -> str:
        """Send a message to a recipient who exists; return its id."""
        for line in ("MAIL FROM:<b@test.example>", "RCPT TO:<b@test.example>"):
            assert self.code(line) == 250, line
        assert self.code("DATA") == 354
        reply = self.say("From: b@test.example\r\nDate: x\r\nMessage-ID: <x>\r\n\r\nHello\r\n.")
        assert reply.startswith("250 2.0.0 Ok: queued as "), reply
        return reply.rpartition(" ")[2]


def arrived(hop: NextHop, id: str) -> bytes:
    """Wait for the message with this id at the next hop; return what came."""

    def found() -> list[bytes]:
        return [message.content for message in list(hop.arrived) if f" id {id}".encode() in message.content]

    wait_until(found, what=f"message {id}")
    return found()[0]


HEADERS = {
    "version 1": (b"PROXY TCP4 198.51.100.7 127.0.0.1 40000 25\r\n", "198.51.100.7"),
    "version 1, IPv6": (b"PROXY TCP6 2001:db8::7 ::1 40000 25\r\n", "2001:db8::7"),
    "version 2": (v2("198.51.100.7", "127.0.0.1"), "198.51.100.7"),
    "version 2, IPv6": (v2("2001:db8::7", "::1"), "2001:db8::7"),
    "version 2, IPv4-mapped": (v2("::ffff:198.51.100.7", "::ffff:127.0.0.1"), "198.51.100.7"),
    "version 2, TLS at the proxy": (
        v2("198.51.100.7", "127.0.0.1", (40000, 25), tls(client=7, version="TLSv1.3", cn="root"), tlv(0xEE, b"\xff" * 99)),
        "198.51.100.7",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("header", HEADERS)
def test_a_listed_proxy_names_the_client(trusting: Server, hop: NextHop, kind: str, header: str) -> None:
    """PRX-02: on every kind of listener, before TLS where that comes first: Received and the log name the client of the header."""
    octets, address = HEADERS[header]
    with Client(trusting, kind, "proxied", octets) as client:
        client.ready()
        id = client.send()
        assert client.code("QUIT") == 221
    content = arrived(hop, id)
    literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
    assert content.startswith(f"Received: from client.example ({literal})\r\n".encode())
    ended = trusting.last_session(address, client.listener)
    assert ended["via"] in ("127.0.0.1", "::1")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("header", ["version 1", "version 2"])
def test_a_header_from_elsewhere_is_closed(trusting: Server, kind: str, header: str) -> None:
    """PRX-01: from an address that is not listed, the connection is closed and nothing is said."""
    with Client(trusting, kind, "elsewhere") as client:
        try:
            client.socket.sendall(HEADERS[header][0])
        except OSError:
            pass
        assert client.closed() == b""


BAD = {
    "SMTP": b"EHLO client.example\r\n",
    "a ClientHello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "version 1 without an end": b"PROXY UNKNOWN ".ljust(108, b"x"),
    "version 1 with a name": b"PROXY TCP4 localhost 127.0.0.1 1 2\r\n",
    "version 2 of 65,535 octets": v2(length=65535),
    "version 2 with TLV garbage": v2("192.0.2.1", "192.0.2.2", (1, 2), b"\xee\xff\xff"),
    "version 2 of datagrams": v2(family=0x12),
    "half of a signature, then something else": SIGNATURE[:6] + b"QUIT",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("octets", BAD.values(), ids=BAD)
def test_a_listed_proxy_without_a_good_header_is_closed(trusting: Server, kind: str, octets: bytes) -> None:
    """PRX-02: at once, and nothing is said: no greeting, no handshake, no session."""
    with Client(trusting, kind, "proxied", octets) as client:
        assert client.closed() == b""


def test_a_listed_proxy_that_says_nothing_is_not_waited_for(trusting: Server) -> None:
    """PRX-02: the header has its deadline on every kind of listener, and octets do not move it."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(trusting, kind, "proxied", b"PROXY TCP4 ")) for kind in KINDS]
        assert [client.closed() for client in clients] == [b""] * len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "header", [b"PROXY UNKNOWN\r\n", v2(family=0x31, addresses=b"/x".ljust(216, b"\0")), v2(family=0, addresses=b"")]
)
def test_a_client_that_the_proxy_cannot_name_is_nobody(
    trusting: Server, hop: NextHop, kind: str, header: bytes
) -> None:
    """PRX-02: UNKNOWN, UNIX, unspecified: a session without an address, which has no rights by network."""
    with Client(trusting, kind, "proxied", header) as client:
        client.ready()
        id = client.send()
    assert arrived(hop, id).startswith(b"Received: from client.example (local)\r\n")


@pytest.mark.parametrize("kind", KINDS)
def test_a_health_check_is_greeted(trusting: Server, kind: str) -> None:
    """PRX-02: LOCAL: the proxy itself, by its own address."""
    with Client(trusting, kind, "proxied", v2(command=0x20)) as client:
        client.ready()
        assert client.code("QUIT") == 221
    own = "::1" if kind == "ipv6" else "127.0.0.1"
    assert "via" not in trusting.last_session(own, client.listener)


def test_the_rights_are_those_of_the_client(trusting: Server) -> None:
    """PRX-02: who may relay by network is asked about the client, not about the proxy."""
    for address, code in ((b"198.51.100.200", 250), (b"198.51.100.7", 550)):
        with Client(trusting, "plain", "proxied", b"PROXY TCP4 " + address + b" 127.0.0.1 1 2\r\n") as client:
            client.ready()
            assert client.code("MAIL FROM:<a@client.example>") == 250
            assert client.code("RCPT TO:<x@evil.example>") == code


@pytest.mark.parametrize("kind", ["plain", "lmtp"])
def test_the_limits_are_those_of_the_client(trusting: Server, kind: str) -> None:
    """FLD-02, PRX-02: connections are counted by the address of the header, and so are those of XCLIENT; others are not touched."""
    address = "203.0.113.77" if kind == "plain" else "203.0.113.78"
    header = f"PROXY TCP4 {address} 127.0.0.1 1 25\r\n".encode()
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(Client(trusting, kind, "proxied", header)).greeted()
        late = stack.enter_context(Client(trusting, kind, "proxied", header))
        assert late.closed().startswith(b"421 4.7.0 Too many connections")
        other = stack.enter_context(Client(trusting, kind, "xclient")).greeted()
        other.hello()
        assert other.say(f"XCLIENT ADDR={address}").startswith("421 4.7.0 Too many connections")
        assert other.closed() == b""
        stack.enter_context(Client(trusting, kind, "proxied", header.replace(b".113.7", b".113.9"))).greeted()
    # places come back
    wait_until(lambda: _greeted(trusting, kind, header), what="a free place")


def _greeted(server: Server, kind: str, header: bytes) -> bool:
    with Client(server, kind, "proxied", header) as client:
        return client.hear().startswith("220 ")


# -- XCLIENT and XFORWARD


UNTRUSTED = [(kind, trust) for kind in KINDS for trust in ("nobody", "xforward", "proxied")]
LIES = ["ADDR=127.0.0.1", "ADDR=198.51.100.200 NAME=localhost", "LOGIN=root", "NAME=[UNAVAILABLE] HELO=x PROTO=ESMTP"]


@pytest.mark.parametrize(("kind", "trust"), UNTRUSTED)
def test_xclient_from_others_is_refused(trusting: Server, kind: str, trust: str) -> None:
    """PRX-03: 550 5.7.0 and nothing changes; EHLO does not offer it."""
    first = HEADERS["version 1"][0] if trust == "proxied" else b""
    with Client(trusting, kind, trust, first) as client:
        client.ready()
        assert not [word for word in client.hello() if word.startswith("XCLIENT")]
        for lie in LIES:
            assert client.say(f"XCLIENT {lie}") == "550 5.7.0 Insufficient authorization"
        if not kind.startswith("submission"):
            assert client.code("MAIL FROM:<a@client.example>") == 250
            assert client.code("RCPT TO:<x@evil.example>") == 550


@pytest.mark.parametrize(("kind", "trust"), [(kind, trust) for kind in KINDS for trust in ("nobody", "xclient")])
def test_xforward_from_others_is_refused(trusting: Server, kind: str, trust: str) -> None:
    """PRX-03: 550 5.7.0; what may use XCLIENT may not use XFORWARD as well."""
    with Client(trusting, kind, trust) as client:
        client.ready()
        assert not [word for word in client.hello() if word.startswith("XFORWARD")]
        assert client.say("XFORWARD ADDR=192.0.2.1") == "550 5.7.0 Insufficient authorization"


JUNK = [
    "NAME=a+0D+0AQUIT",
    "NAME=a+00b",
    "ADDR=127.1",
    "ADDR=1.2.3.4+0A",
    "PORT=99999",
    "LOGIN=a+20b",
    "NAME=a NAME=b",
    "XYZ=1",
    "NAME",
    "",
]


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_validated(trusting: Server, kind: str) -> None:
    """PRX-03: junk in xtext, addresses that are none, names given twice: 501, and the session is who it was."""
    with Client(trusting, kind, "xclient") as client:
        client.ready()
        for junk in JUNK:
            assert client.say(f"XCLIENT {junk}").startswith("501 5.5."), junk
        assert client.send()


@pytest.mark.parametrize("kind", KINDS)
def test_a_listed_host_says_who_the_client_is(trusting: Server, hop: NextHop, kind: str) -> None:
    """PRX-03, PRX-05: the session starts again at the greeting, as the other client, in the same connection and TLS."""
    with Client(trusting, kind, "xclient") as client:
        client.ready()
        assert any(word.startswith("XCLIENT NAME ADDR PORT PROTO HELO LOGIN") for word in client.hello())
        login = f" LOGIN={USER.replace('@', '+40')}" if kind.startswith("submission") else ""
        assert client.say(f"XCLIENT NAME=far.example ADDR=198.51.100.9{login}").startswith("220 test.example ")
        assert client.code("MAIL FROM:<b@test.example>") == 503
        client.hello()
        assert client.code("MAIL FROM:<b@test.example>") == 250
        assert client.code("XCLIENT ADDR=198.51.100.10") == 503
        assert client.code("RSET") == 250
        id = client.send()
        # another one: the identity of the one before is gone, its EHLO too
        assert client.code("XCLIENT ADDR=198.51.100.11") == 220
        client.hello()
        assert client.code("MAIL FROM:<b@test.example>") == (530 if login else 250)
    content = arrived(hop, id)
    assert content.startswith(b"Received: from client.example ([198.51.100.9])\r\n")
    secure = {"plain": b"ESMTP ", "ipv6": b"ESMTP ", "lmtp": b"LMTP ", "starttls": b"ESMTPS "}
    assert b"\r\n\tby test.example with " + secure.get(kind, b"ESMTPS") in content
    assert trusting.last_session("198.51.100.9", client.listener)["reason"] == "XCLIENT"
    assert trusting.last_session("198.51.100.11", client.listener)["via"] in ("127.0.0.1", "::1")


@pytest.mark.parametrize("kind", KINDS)
def test_a_filter_says_where_a_message_came_from(trusting: Server, hop: NextHop, kind: str) -> None:
    """PRX-03: for the log; Received and rights are the filter's own, and the next message is its own again."""
    with Client(trusting, kind, "xforward") as client:
        client.ready()
        assert "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE" in client.hello()
        assert client.code("XFORWARD NAME=far.example ADDR=203.0.113.5") == 250
        ids = [client.send(), client.send()]
    assert all(b"203.0.113" not in arrived(hop, id) for id in ids)

    def events() -> list[dict[str, object]]:
        return [event for id in ids for event in trusting.events("transaction.accepted") if event["id"] == id]

    wait_until(lambda: len(events()) == 2)
    assert [event.get("forwarded") for event in events()] == ["NAME=far.example ADDR=203.0.113.5", None]


def test_fields_that_name_a_client_are_text(trusting: Server, hop: NextHop) -> None:
    """PRX-04: X-Real-IP, Received and the like in a message say nothing to us: the client stays who it is, the fields below ours."""
    forged = b"X-Real-IP: 198.51.100.200\r\nX-Forwarded-For: 198.51.100.200\r\nReceived: from trusted ([198.51.100.200])\r\n\r\nx\r\n"
    with smtplib.SMTP("127.0.0.1", trusting.ports["plain", "nobody"], timeout=PATIENCE) as client:
        client.ehlo("client.example")
        client.sendmail("a@client.example", ["b@test.example"], forged)
        client.mail("a@client.example")
        assert client.rcpt("x@evil.example")[0] == 550

    def found() -> list[bytes]:
        return [message.content for message in list(hop.arrived) if message.content.endswith(forged)]

    wait_until(found)
    assert found()[0].startswith(b"Received: from client.example ([127.0.0.1])\r\n")
