"""XCLIENT and XFORWARD lines: what they say, and what is refused however much its sender is trusted."""

from __future__ import annotations

import pytest
from tests.scenarios.acceptor import Acceptor, codes, in_transaction

from upesi.mail.errors import RemoteProtocolError
from upesi.protocol.smtp.events import EtrnCommand, XclientCommand, XforwardCommand
from upesi.protocol.smtp.forwarding import XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES, read_attributes
from upesi.protocol.smtp.limits import ServerLimits
from upesi.protocol.smtp.states import State

GOOD = [
    ("NAME=mail.example.org ADDR=192.0.2.1", {"NAME": "mail.example.org", "ADDR": "192.0.2.1"}),
    ("name=MAIL.example.org. addr=IPV6:2001:DB8::1", {"NAME": "mail.example.org", "ADDR": "2001:db8::1"}),
    ("ADDR=ipv6:::ffff:192.0.2.1 PORT=0025", {"ADDR": "192.0.2.1", "PORT": "25"}),
    ("ADDR=2001:db8::1", {"ADDR": "2001:db8::1"}),
    ("NAME=[UNAVAILABLE] ADDR=[unavailable] HELO=[TEMPUNAVAIL]", {"NAME": None, "ADDR": None, "HELO": None}),
    ("PROTO=esmtp HELO=[192.0.2.1]", {"PROTO": "ESMTP", "HELO": "[192.0.2.1]"}),
    ("HELO=my_pc LOGIN=joe+40example.org", {"HELO": "my_pc", "LOGIN": "joe@example.org"}),
    (
        "LOGIN=[UNAVAILABLE] DESTADDR=192.0.2.2 DESTPORT=587",
        {"LOGIN": None, "DESTADDR": "192.0.2.2", "DESTPORT": "587"},
    ),
]


@pytest.mark.parametrize(("argument", "attributes"), GOOD)
def test_attributes_are_read(argument: str, attributes: dict[str, str | None]) -> None:
    """PRX-03: names in any case, values as xtext, addresses in one spelling; what is not known is None."""
    assert read_attributes(argument, XCLIENT_ATTRIBUTES) == attributes


BAD = [
    "NAME", "=x", "NAME=", "NAME=a  ADDR=192.0.2.1", "NAME=a ", "NAME=a NAME=b", "NAME=a name=b", "COLOUR=red", "IDENT=1",
    "NAME=a+0D+0AEHLO", "NAME=a+0", "NAME=a+zz", "NAME=a=b", "NAME=-a", "NAME=a b", "NAME=" + "a" * 256, "NAME=<script>",
    "ADDR=localhost", "ADDR=192.0.2.256", "ADDR=192.0.02.1", "ADDR=192.0.2.0/24", "ADDR=fe80::1+25eth0", "ADDR=IPV6:x",
    "ADDR=3221225985", "PORT=65536", "PORT=-1", "PORT=", "PORT=+31+31+31+31+31+31", "PORT=\u0661", "PROTO=HTTP", "HELO=[x]", "HELO=a(b)",
    "HELO=a+0A", "LOGIN=a+20b", "LOGIN=+00", "LOGIN=" + "x" * 256, "DESTADDR=x", "DESTPORT=x", "[UNAVAILABLE]",
]  # fmt: skip


@pytest.mark.parametrize("argument", BAD)
def test_what_is_malformed_is_refused(argument: str) -> None:
    """PRX-03: a value that could become a line of its own, an address that is none, a name given twice: 501 5.5.4."""
    with pytest.raises(RemoteProtocolError) as caught:
        read_attributes(argument, XCLIENT_ATTRIBUTES)
    assert caught.value.reply is not None
    assert (caught.value.reply.code, caught.value.reply.status) == (501, "5.5.4")


@pytest.mark.parametrize("argument", ["FOO=bar", "NAME=a.example foo=bar", "SOURCE=LOCAL"])
def test_an_attribute_that_is_unknown_is_told_so(argument: str) -> None:
    """PRX-03: who looks for what is wrong with a front end is not told of a value that is in order."""
    with pytest.raises(RemoteProtocolError) as caught:
        read_attributes(argument, XCLIENT_ATTRIBUTES)
    assert caught.value.reply is not None
    assert caught.value.reply.wire == b"501 5.5.4 Attribute not recognised\r\n"


def test_xforward_has_attributes_of_its_own() -> None:
    """IDENT and SOURCE belong to XFORWARD, LOGIN to XCLIENT: nobody becomes somebody by XFORWARD."""
    said = "NAME=a.example ADDR=192.0.2.1 PORT=1 HELO=a PROTO=SMTP IDENT=4F2A SOURCE=remote"
    assert read_attributes(said, XFORWARD_ATTRIBUTES)["SOURCE"] == "REMOTE"
    for argument in ("LOGIN=joe", "DESTADDR=192.0.2.1", "SOURCE=MARS"):
        with pytest.raises(RemoteProtocolError):
            read_attributes(argument, XFORWARD_ATTRIBUTES)


@pytest.mark.parametrize("verb", ["XCLIENT", "XFORWARD"])
def test_not_in_a_transaction(verb: str) -> None:
    """PRX-03: 503 between MAIL and the end of the message; the transaction stands."""
    acceptor = in_transaction()
    line = f"{verb} NAME=a.example\r\n".encode()
    assert codes(acceptor.feed(line)) == [503]
    assert acceptor.connection.state is State.RCPT
    assert codes(acceptor.feed(b"RSET\r\n", line)) == [250, 250]


def test_xclient_leads_back_to_the_greeting() -> None:
    """PRX-05: behind XCLIENT nobody has said EHLO: MAIL is out of sequence, and XCLIENT may come again."""
    acceptor = Acceptor()
    said = acceptor.feed(
        b"EHLO c\r\nXCLIENT ADDR=192.0.2.1\r\nMAIL FROM:<a@client.example>\r\nXCLIENT NAME=a\r\nEHLO c\r\n"
    )
    assert codes(said) == [250, 250, 503, 250, 250]
    assert isinstance(acceptor.events[1], XclientCommand)


def test_xforward_leaves_the_session_where_it_is() -> None:
    """XFORWARD is about the next message only."""
    acceptor = Acceptor()
    assert codes(acceptor.feed(b"EHLO c\r\nXFORWARD ADDR=192.0.2.1\r\nMAIL FROM:<a@client.example>\r\n")) == [250] * 3
    assert isinstance(acceptor.events[1], XforwardCommand)


def test_lines_may_be_longer_than_others() -> None:
    """Two names of 255 characters fit into a line; more than 1024 octets do not."""
    acceptor = Acceptor()
    name, login = ".".join(["a" * 62] * 4), "x" * 255
    assert codes(acceptor.feed(f"XCLIENT NAME={name} LOGIN={login} HELO={name}\r\n".encode())) == [250]
    assert codes(acceptor.feed(b"XFORWARD NAME=" + b"a" * 1024 + b"\r\n")) == [500]


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("ETRN example.org", EtrnCommand("", "example.org")),
        ("ETRN Example.ORG", EtrnCommand("", "example.org")),
        ("ETRN @example.org", EtrnCommand("@", "example.org")),
        ("ETRN #domain:example.org", EtrnCommand("#", "domain:example.org")),
    ],
)
def test_etrn_is_read(line: str, event: EtrnCommand) -> None:
    """RFC 1985 section 5.2: a node, a domain with all below it, or a queue by its own name."""
    acceptor = Acceptor(ServerLimits(max_message_size=1000, etrn=True))
    assert codes(acceptor.feed(b"EHLO c\r\n" + line.encode() + b"\r\n")) == [250, 250]
    assert acceptor.events[1] == event


@pytest.mark.parametrize("argument", ["", " ", "@", "#", "a b", "a_b", "-a", "a..b", "$(id)", "@[192.0.2.999]"])
def test_etrn_for_no_domain_is_refused(argument: str) -> None:
    """RFC 1985 section 5.3: 501 for what is no name."""
    acceptor = Acceptor(ServerLimits(max_message_size=1000, etrn=True))
    assert codes(acceptor.feed(f"EHLO c\r\nETRN {argument}\r\n".encode())) in ([250, 501], [250, 500])
    assert len([event for event in acceptor.events if isinstance(event, EtrnCommand)]) == 0


def test_etrn_needs_a_greeting_and_no_transaction() -> None:
    """RFC 1985 section 5: a command of the session, not of a transaction."""
    limits = ServerLimits(max_message_size=1000, etrn=True)
    assert codes(Acceptor(limits).feed(b"ETRN example.org\r\n")) == [503]
    assert codes(in_transaction(limits).feed(b"ETRN example.org\r\n")) == [503]


def test_what_is_configured_is_announced() -> None:
    """RFC 9422: LIMITS names what is limited; nothing is said of what is not."""
    bare = ServerLimits(max_message_size=1000).ehlo_keywords()
    assert not [keyword for keyword in bare if keyword.startswith(("LIMITS", "ETRN"))]
    full = ServerLimits(max_message_size=1000, etrn=True, rcpt_max=100, mail_max=7).ehlo_keywords()
    assert {"ETRN", "LIMITS RCPTMAX=100 MAILMAX=7"} <= set(full)
    assert "LIMITS RCPTMAX=100" in ServerLimits(max_message_size=1000, rcpt_max=100).ehlo_keywords()
