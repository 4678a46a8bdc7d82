"""The client machine around STARTTLS and AUTH: what it forgets, what it refuses to believe, what it refuses to say."""

from __future__ import annotations

import base64

import pytest

from upesi.mail.address import Address
from upesi.mail.envelope import Recipient, Transmission
from upesi.mail.errors import LocalProtocolError, RemoteProtocolError
from upesi.protocol.smtp.answers import ReceivedReply, Request
from upesi.protocol.smtp.client import ClientConnection
from upesi.protocol.smtp.events import NEED_DATA
from upesi.protocol.smtp.extensions import NO_EXTENSIONS

ADDRESS = Address("a", "b.example")


def answered(client: ClientConnection, octets: bytes) -> ReceivedReply:
    """Feed `octets` and return the reply."""
    client.receive(octets)
    reply = client.next_reply()
    assert isinstance(reply, ReceivedReply)
    return reply


def greeted(answer: bytes = b"250-mx\r\n250-PIPELINING\r\n250 STARTTLS\r\n") -> ClientConnection:
    """Return a client whose EHLO was answered."""
    client = ClientConnection()
    answered(client, b"220 mx\r\n")
    client.ehlo("me.example")
    answered(client, answer)
    return client


def secured(answer: bytes = b"250-mx\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n") -> ClientConnection:
    """Return a client inside TLS whose second EHLO was answered."""
    client = greeted()
    client.starttls()
    answered(client, b"220 go\r\n")
    client.secured()
    client.ehlo("me.example")
    answered(client, answer)
    return client


def test_starttls_ends_its_group_and_is_said_once() -> None:
    """RFC 3207 section 4: nothing is pipelined behind STARTTLS, and there is none inside TLS (C45)."""
    client = greeted()
    assert client.starttls() == b"STARTTLS\r\n"
    with pytest.raises(LocalProtocolError):
        client.noop()
    with pytest.raises(LocalProtocolError):
        secured(b"250-mx\r\n250 STARTTLS\r\n").starttls()
    with pytest.raises(LocalProtocolError):
        greeted(b"250 mx\r\n").starttls()


@pytest.mark.parametrize("behind", [b"2", b"\r\n", b"250 ok\r\n", b"250-x\r\n250 AUTH PLAIN\r\n", b"\x16\x03\x03"])
def test_nothing_may_stand_behind_the_220(behind: bytes) -> None:
    """C47, TLS-04: whatever comes with the 220 was not said inside TLS."""
    client = greeted()
    client.starttls()
    client.receive(b"220 go\r\n" + behind)
    with pytest.raises(RemoteProtocolError):
        client.next_reply()


def test_nothing_may_come_between_the_220_and_the_handshake() -> None:
    """C47, TLS-04: also in a piece of its own."""
    client = greeted()
    client.starttls()
    assert answered(client, b"220 go\r\n").request is Request.STARTTLS
    with pytest.raises(RemoteProtocolError):
        client.receive(b"2")


@pytest.mark.parametrize("code", [200, 221, 235, 250, 334, 354])
def test_only_220_is_a_yes(code: int) -> None:
    """RFC 3207 section 4: "220 Ready to start TLS" is the one positive answer."""
    client = greeted()
    client.starttls()
    client.receive(b"%d yes\r\n" % code)
    with pytest.raises(RemoteProtocolError):
        client.next_reply()


@pytest.mark.parametrize("answer", [b"454 4.7.0 later\r\n", b"501 5.5.4 no argument\r\n", b"502 5.5.1 no\r\n"])
def test_a_refusal_leaves_the_session_as_it_was(answer: bytes) -> None:
    """RFC 3207 section 4: the client decides whether to go on."""
    client = greeted()
    client.starttls()
    assert not answered(client, answer).positive
    assert not client.secure
    assert client.extensions.pipelining
    client.mail(ADDRESS, Transmission())


def test_handshake_makes_forget_and_ehlo_comes_first() -> None:
    """C46, RFC 3207 section 4.2: extensions are those of the EHLO inside TLS; nothing else is said before it."""
    client = greeted()
    client.starttls()
    answered(client, b"220 go\r\n")
    client.secured()
    assert client.extensions == NO_EXTENSIONS
    for build in (
        lambda: client.mail(ADDRESS, Transmission()),
        client.noop,
        client.rset,
        lambda: client.auth("PLAIN", b""),
    ):
        with pytest.raises(LocalProtocolError):
            build()
    client.ehlo("me.example")
    answered(client, b"250 mx\r\n")
    assert client.mail(ADDRESS, Transmission()) == b"MAIL FROM:<a@b.example>\r\n"


def test_handshake_that_nobody_asked_for_is_a_mistake_of_ours() -> None:
    """Before STARTTLS was answered there is none."""
    with pytest.raises(LocalProtocolError):
        greeted().secured()


def test_implicit_tls_comes_before_the_greeting() -> None:
    """RFC 8314 section 3: not an octet counts before the handshake; then the greeting, then EHLO."""
    client = ClientConnection(implicit=True)
    with pytest.raises(RemoteProtocolError):
        client.receive(b"220 mx\r\n")
    client.secured()
    assert client.secure
    assert client.next_reply() is NEED_DATA
    assert answered(client, b"220 mx\r\n").request is Request.GREETING
    assert client.ehlo("me.example") == b"EHLO me.example\r\n"


def test_no_secret_outside_tls() -> None:
    """C52: AUTH is not even built where it would be readable."""
    with pytest.raises(LocalProtocolError):
        greeted(b"250-mx\r\n250 AUTH PLAIN\r\n").auth("PLAIN", b"\0a\0b")


def test_auth_is_said_and_answered_in_base64() -> None:
    """RFC 4954 section 4, C50: an empty initial response is "=", one that is absent is nothing; 334 asks, "*" cancels."""
    assert secured().auth("PLAIN", b"\0a\0b") == b"AUTH PLAIN " + base64.b64encode(b"\0a\0b") + b"\r\n"
    assert secured().auth("EXTERNAL", b"") == b"AUTH EXTERNAL =\r\n"
    client = secured()
    assert client.auth("LOGIN") == b"AUTH LOGIN\r\n"
    assert answered(client, b"334 VXNlcm5hbWU6\r\n").text == "VXNlcm5hbWU6"
    assert client.respond(b"a") == b"YQ==\r\n"
    assert answered(client, b"334 UGFzc3dvcmQ6\r\n").code == 334
    assert client.respond(b"") == b"\r\n"
    assert answered(client, b"334 \r\n").text == ""
    assert client.respond(None) == b"*\r\n"
    assert answered(client, b"501 5.7.0 cancelled\r\n").request is Request.AUTH


@pytest.mark.parametrize("code", [354, 300, 335])
def test_only_334_asks_for_more(code: int) -> None:
    """RFC 4954 section 4: any other intermediate reply answers something else."""
    client = secured()
    client.auth("PLAIN", b"x")
    client.receive(b"%d go\r\n" % code)
    with pytest.raises(RemoteProtocolError):
        client.next_reply()


def test_334_answers_nothing_but_auth() -> None:
    """RFC 5321 section 4.3.2: nor may a 354 be replaced by it."""
    client = secured()
    client.mail(ADDRESS, Transmission())
    client.rcpt(Recipient(ADDRESS))
    client.data()
    client.receive(b"250 ok\r\n250 ok\r\n")
    client.next_reply()
    client.next_reply()
    with pytest.raises(LocalProtocolError):
        client.frame(()).__next__()
    client = secured()
    client.noop()
    client.receive(b"334 what\r\n")
    with pytest.raises(RemoteProtocolError):
        client.next_reply()


def test_requiretls_is_said_where_it_was_promised_inside_tls() -> None:
    """C97, RFC 8689 section 4.2.1: else the machine refuses to build MAIL at all."""
    marked = Transmission(requiretls=True)
    assert secured(b"250-mx\r\n250 REQUIRETLS\r\n").mail(ADDRESS, marked) == b"MAIL FROM:<a@b.example> REQUIRETLS\r\n"
    for client in (greeted(b"250-mx\r\n250 REQUIRETLS\r\n"), secured()):
        with pytest.raises(LocalProtocolError):
            client.mail(ADDRESS, marked)
