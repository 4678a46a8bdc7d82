"""STARTTLS as the client must do it (RFC 3207), AUTH only inside it (RFC 4954), and the limits that a server announces (RFC 9422)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.mail.address import Address
from upesi.mail.envelope import Transmission
from upesi.mail.errors import LocalProtocolError, RemoteProtocolError
from upesi.protocol.smtp.answers import ReceivedReply, Request
from upesi.protocol.smtp.client import ClientConnection
from upesi.protocol.smtp.events import Pause
from upesi.protocol.smtp.extensions import NO_EXTENSIONS

EHLO = b"250-mx.example\r\n250-PIPELINING\r\n250-STARTTLS\r\n250-AUTH PLAIN\r\n250 LIMITS RCPTMAX=5\r\n"


def asking(answer: bytes = EHLO) -> ClientConnection:
    """Return a client that has said STARTTLS."""
    client = ClientConnection()
    client.receive(b"220 mx.example\r\n")
    client.next_reply()
    client.ehlo("me.example")
    client.receive(answer)
    client.next_reply()
    client.starttls()
    return client


def inside(answer: bytes = EHLO) -> ClientConnection:
    """Return a client behind the handshake, before EHLO."""
    client = asking(answer)
    client.receive(b"220 go ahead\r\n")
    client.next_reply()
    client.secured()
    return client


def test_c46_the_client_discards_what_it_knew() -> None:
    """C46, RFC 3207 section 4.2: the client MUST discard any knowledge obtained from the server, such as the list of extensions."""
    assert inside().extensions == NO_EXTENSIONS


def test_c46_ehlo_is_the_first_command_inside() -> None:
    """C46, RFC 3207 section 4.2: the client SHOULD send an EHLO command as the first command after a successful TLS negotiation."""
    client = inside()
    with pytest.raises(LocalProtocolError):
        client.mail(Address("a", "b.example"), Transmission())
    assert client.ehlo("me.example") == b"EHLO me.example\r\n"


@given(octets=st.binary(min_size=1, max_size=60), cut=st.integers(0, 60))
def test_c47_nothing_behind_the_220_is_a_reply(octets: bytes, cut: int) -> None:
    """C47, RFC 3207 section 4: octets in clear behind the 220, however they are cut, are never read as replies from inside TLS."""
    client = asking()
    stream = b"220 go ahead\r\n" + octets
    at = 14 + min(cut, len(octets))
    replies: list[ReceivedReply] = []

    def read() -> None:
        for piece in (stream[:at], stream[at:], b"250 x\r\n"):
            client.receive(piece)
            while not isinstance(reply := client.next_reply(), Pause):
                replies.append(reply)

    with pytest.raises(RemoteProtocolError):
        read()
    assert [reply.request for reply in replies] in ([], [Request.STARTTLS])


@given(octets=st.binary(min_size=1, max_size=60))
def test_c47_nothing_comes_before_implicit_tls(octets: bytes) -> None:
    """C47, RFC 8314 section 3: with TLS from the first octet nothing in clear is ever read."""
    client = ClientConnection(implicit=True)
    with pytest.raises(RemoteProtocolError):
        client.receive(octets)


def test_c48_after_a_220_there_is_no_way_back_to_plaintext() -> None:
    """C48, RFC 3207 section 4.1: a client whose handshake failed says nothing more in clear; nor does the machine read anything."""
    client = asking()
    client.receive(b"220 go ahead\r\n")
    client.next_reply()
    with pytest.raises(RemoteProtocolError):
        client.receive(b"250 go on\r\n")


def test_c45_starttls_is_not_asked_for_inside_tls() -> None:
    """C45, RFC 3207 section 4.2: a client MUST NOT attempt to start a TLS session if one is active, whatever the server offers."""
    client = inside()
    client.ehlo("me.example")
    client.receive(EHLO)
    client.next_reply()
    with pytest.raises(LocalProtocolError):
        client.starttls()


def test_c52_no_secret_without_tls() -> None:
    """C52, RFC 4954 section 4: AUTH is built inside TLS only; the same client may say it there."""
    client = ClientConnection()
    client.receive(b"220 mx.example\r\n" + EHLO)
    client.next_reply()
    client.ehlo("me.example")
    client.next_reply()
    with pytest.raises(LocalProtocolError):
        client.auth("PLAIN", b"\0a\0b")
    client = inside()
    client.ehlo("me.example")
    client.receive(EHLO)
    client.next_reply()
    assert client.auth("PLAIN", b"\0a\0b").startswith(b"AUTH PLAIN ")


def test_c108_limits_are_those_of_the_last_ehlo() -> None:
    """C108, RFC 9422 section 4: limits may change when TLS starts: those from inside it count."""
    client = inside()
    assert client.extensions.rcpt_max is None
    client.ehlo("me.example")
    client.receive(b"250-mx.example\r\n250 LIMITS RCPTMAX=2 MAILMAX=7 RCPTDOMAINMAX=1\r\n")
    client.next_reply()
    offered = client.extensions
    assert (offered.rcpt_max, offered.mail_max, offered.rcpt_domain_max) == (2, 7, 1)
