"""The client machine: what it writes, what it expects, and what it does not let a server get away with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from upesi.mail.address import Address
from upesi.mail.envelope import BodyType, Notify, Recipient, ReturnContent, Transmission
from upesi.mail.errors import LocalProtocolError, RemoteProtocolError, UnsendableContent
from upesi.protocol.smtp.answers import ReceivedReply, Request
from upesi.protocol.smtp.client import ClientConnection
from upesi.protocol.smtp.events import NEED_DATA

A, B = Address("a", "b.example"), Address("c", "d.example")
ALL = b"250-mx\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250 DSN\r\n"


def greeted(answer: bytes = ALL, *, lmtp: bool = False) -> ClientConnection:
    """Return a connection whose EHLO was answered."""
    client = ClientConnection(lmtp=lmtp)
    client.receive(b"220 mx ready\r\n")
    client.next_reply()
    client.ehlo("me.example")
    client.receive(answer)
    assert isinstance(client.next_reply(), ReceivedReply)
    return client


def reply(client: ClientConnection, octets: bytes = b"") -> ReceivedReply:
    """Feed `octets` and return the next reply."""
    client.receive(octets)
    received = client.next_reply()
    assert isinstance(received, ReceivedReply)
    return received


def in_content(*, lmtp: bool = False, rcpts: bytes = b"250 ok\r\n") -> ClientConnection:
    """Return a connection that got its 354."""
    client = greeted(lmtp=lmtp)
    client.mail(A, Transmission())
    for _ in rcpts.splitlines():
        client.rcpt(Recipient(B))
    client.data()
    client.receive(b"250 ok\r\n" + rcpts + b"354 go\r\n")
    while client.next_reply() is not NEED_DATA:
        pass
    return client


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (lambda client: client.mail(None, Transmission()), b"MAIL FROM:<>"),
        (lambda client: client.mail(A, Transmission(), 44), b"MAIL FROM:<a@b.example> SIZE=44"),
        (lambda client: client.mail(Address('a "b', "x"), Transmission()), b'MAIL FROM:<"a \\"b"@x>'),
        (lambda client: client.mail(A, Transmission(BodyType.EIGHT_BIT)), b"MAIL FROM:<a@b.example> BODY=8BITMIME"),
        (
            lambda client: client.mail(A, Transmission(BodyType.BINARY, True, ReturnContent.FULL, "x+y")),
            b"MAIL FROM:<a@b.example> BODY=BINARYMIME SMTPUTF8 RET=FULL ENVID=x+2By",
        ),
        (lambda client: client.rcpt(Recipient(B)), b"RCPT TO:<c@d.example>"),
        (lambda client: client.rcpt(Recipient(Address("postmaster", ""))), b"RCPT TO:<postmaster>"),
        (
            lambda client: client.rcpt(Recipient(B, "rfc822;q=@z", 0)),
            b"RCPT TO:<c@d.example> NOTIFY=NEVER ORCPT=rfc822;q+3D@z",
        ),
        (
            lambda client: client.rcpt(Recipient(B, "utf-8;é@z", int(Notify.SUCCESS | Notify.DELAY))),
            b"RCPT TO:<c@d.example> NOTIFY=SUCCESS,DELAY ORCPT=utf-8;\\x{E9}@z",
        ),
        (lambda client: client.rcpt(Recipient(B, "rfc822;x", 0), dsn=False), b"RCPT TO:<c@d.example>"),
        (lambda client: client.rcpt(Recipient(B, "rfc822;é")), b"RCPT TO:<c@d.example>"),
        (lambda client: client.bdat(5, False), b"BDAT 5"),
        (lambda client: client.bdat(0, True), b"BDAT 0 LAST"),
        (lambda client: client.rset(), b"RSET"),
        (lambda client: client.noop(), b"NOOP"),
        (lambda client: client.quit(), b"QUIT"),
        (lambda client: client.helo("me"), b"HELO me"),
    ],
)
def test_builder_writes_its_line(build: Callable[[ClientConnection], bytes], line: bytes) -> None:
    """C16, C30, C39, C55: commands as the RFCs write them, local parts quoted as little as possible."""
    assert build(greeted()) == line + b"\r\n"


def test_what_was_not_announced_is_left_out() -> None:
    """C39: no SIZE, RET, ENVID, NOTIFY or ORCPT for a server that does not know them."""
    client = greeted(b"250-mx\r\n250 PIPELINING\r\n")
    assert client.mail(A, Transmission(ret=ReturnContent.FULL, envid="x"), 5) == b"MAIL FROM:<a@b.example>\r\n"
    assert client.rcpt(Recipient(B, "rfc822;x", 0)) == b"RCPT TO:<c@d.example>\r\n"


@pytest.mark.parametrize(
    "transmission", [Transmission(BodyType.EIGHT_BIT), Transmission(BodyType.BINARY), Transmission(smtputf8=True)]
)
def test_what_the_server_cannot_take_is_not_asked_for(transmission: Transmission) -> None:
    """C86, C88: the agent converts or gives up before; asking is our error."""
    client = greeted(b"250 mx\r\n")
    with pytest.raises(LocalProtocolError):
        client.mail(A, transmission)
    with pytest.raises(LocalProtocolError):
        client.bdat(1, True)


def test_no_line_break_gets_into_a_command() -> None:
    """ADR-08: an address that never went through the parser cannot add a command."""
    client = greeted()
    for local in ("a\r\nRCPT TO:<x@y>", "a\n", "a\0"):
        with pytest.raises(LocalProtocolError):
            client.rcpt(Recipient(Address(local, "x")))
    assert client.outstanding == 0


def test_replies_are_matched_in_order() -> None:
    """C40, RCP-05: each reply of a pipelined group belongs to the command that it answers."""
    client = greeted()
    client.mail(A, Transmission())
    client.rcpt(Recipient(A))
    client.rcpt(Recipient(B))
    client.data()
    client.receive(b"250 2.1.0 ok\r\n550 5.1.1 no\r\n250 2.1.5 yes\r\n354\r\n")
    assert [reply(client) for _ in range(4)] == [
        ReceivedReply(250, "2.1.0", ("ok",), Request.MAIL),
        ReceivedReply(550, "5.1.1", ("no",), Request.RCPT, 0),
        ReceivedReply(250, "2.1.5", ("yes",), Request.RCPT, 1),
        ReceivedReply(354, "", ("",), Request.DATA),
    ]
    assert b"".join(client.frame([b"x\r\n"])) == b"x\r\n.\r\n"
    final = reply(client, b"250 2.0.0 queued\r\n")
    assert (final.request, final.positive, final.text, final.temporary) == (Request.CONTENT, True, "queued", False)
    assert client.outstanding == 0


def test_354_after_every_recipient_was_refused_is_answered_with_nothing() -> None:
    """C43: the client sends a single dot."""
    client = in_content(rcpts=b"550 no\r\n")
    assert list(client.frame(())) == [b".\r\n"]
    assert reply(client, b"554 no valid recipients\r\n").request is Request.CONTENT


def test_lmtp_replies_are_given_to_the_accepted_recipients() -> None:
    """C99: after the end of data one reply for each accepted RCPT, in their order."""
    client = in_content(lmtp=True, rcpts=b"250 ok\r\n550 no\r\n250 ok\r\n")
    list(client.frame([b"x\r\n"]))
    client.receive(b"250 2.0.0 ok\r\n452 4.2.2 full\r\n")
    assert [(reply(client).recipient, code) for code in (250, 452)] == [(0, 250), (2, 452)]
    assert client.outstanding == 0


def test_lmtp_pipelined_chunks_are_matched_too() -> None:
    """C84, C99: who was accepted is known when the replies to the last chunk come, not when it is sent."""
    client = greeted(lmtp=True)
    client.mail(A, Transmission())
    client.rcpt(Recipient(A))
    client.rcpt(Recipient(B))
    client.bdat(1, False)
    client.bdat(1, True)
    client.receive(b"250 ok\r\n550 no\r\n250 ok\r\n250 chunk\r\n250 last\r\n")
    assert [(answer.request, answer.recipient) for answer in (reply(client) for _ in range(5))] == [
        (Request.MAIL, None),
        (Request.RCPT, 0),
        (Request.RCPT, 1),
        (Request.BDAT, None),
        (Request.BDAT_LAST, 1),
    ]


def test_lmtp_says_lhlo() -> None:
    """RFC 2033 section 4.1: LHLO instead of EHLO."""
    client = ClientConnection(lmtp=True)
    reply(client, b"220 lmtp\r\n")
    assert client.ehlo("me") == b"LHLO me\r\n"


def test_next_transaction_may_follow_the_content_at_once() -> None:
    """C41: RFC 2920 lets MAIL follow the end of data in one group."""
    client = in_content()
    list(client.frame([b"x\r\n"]))
    assert client.mail(A, Transmission()) == b"MAIL FROM:<a@b.example>\r\n"
    assert reply(client, b"250 ok\r\n").request is Request.CONTENT
    assert reply(client, b"250 ok\r\n").request is Request.MAIL


@pytest.mark.parametrize("last", ["ehlo", "data", "noop", "quit"])
def test_these_end_a_group(last: str) -> None:
    """C42: EHLO, DATA, NOOP and QUIT are the last command of a group."""
    client = greeted()
    if last == "ehlo":
        client.ehlo("me")
    else:
        getattr(client, last)()
    with pytest.raises(LocalProtocolError):
        client.rset()


def test_nothing_is_pipelined_where_it_was_not_announced() -> None:
    """RFC 2920 section 3.1: a client that has not seen PIPELINING waits for each reply."""
    client = greeted(b"250 mx\r\n")
    client.mail(A, Transmission())
    with pytest.raises(LocalProtocolError):
        client.rcpt(Recipient(B))
    fresh = ClientConnection()
    with pytest.raises(LocalProtocolError):
        fresh.ehlo("before.the.greeting")


def test_commands_and_content_keep_their_places() -> None:
    """After the 354 only content goes out, and content only then."""
    with pytest.raises(LocalProtocolError):
        list(greeted().frame([b"x"]))
    with pytest.raises(LocalProtocolError):
        in_content().rset()


def test_unsendable_content_expects_no_reply() -> None:
    """FRM-15, FRM-23: nothing that could be read as an end of data goes out, and the message counts as not sent."""
    client = in_content()
    with pytest.raises(UnsendableContent) as caught:
        list(client.frame([b"a\n.\nMAIL FROM:<x@y>\n"]))
    assert (caught.value.status, caught.value.temporary) == ("5.6.3", False)
    assert client.outstanding == 0


@pytest.mark.parametrize(
    ("before", "octets"),
    [
        (greeted, b"250 who asked\r\n"),
        (greeted, b"421 4.4.2 idle\r\n"),
        (in_content, b"250 queued already\r\n"),
        (in_content, b"552 too large\r\n"),
        (ClientConnection, b"354 hello\r\n"),
        (ClientConnection, b"HTTP/1.1 200 OK\r\n"),
    ],
)
def test_reply_that_answers_nothing_is_an_error(before: Callable[[], ClientConnection], octets: bytes) -> None:
    """OUT-05, OUT-15: extra replies, and final replies before the end of the data, are never taken for a delivery."""
    client = before()
    client.receive(octets)
    with pytest.raises(RemoteProtocolError):
        client.next_reply()


@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.parametrize("early", [b"250 2.0.0 taken\r\n", b"250-taken\r\n", b"25", b"\r\n"])
def test_what_comes_in_one_piece_with_354_answers_no_content(early: bytes, lmtp: bool) -> None:
    """OUT-15: the server has read nothing of the message yet, so nothing behind 354 can be about it, whole reply or half."""
    client = greeted(lmtp=lmtp)
    client.mail(A, Transmission())
    client.rcpt(Recipient(B))
    client.data()
    client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n" + early)
    assert [reply(client).code for _ in range(2)] == [250, 250]
    with pytest.raises(RemoteProtocolError):
        client.next_reply()


def test_half_a_reply_before_the_end_of_data_does_not_become_its_answer() -> None:
    """OUT-15: "250 tak" between two pieces of content is not completed to an acceptance after the last one; no end goes out."""
    client = in_content()
    pieces = client.frame([b"x" * 70_000 + b"\r\n"] * 3)
    next(pieces)
    client.receive(b"250 tak")
    assert client.next_reply() is NEED_DATA
    with pytest.raises(RemoteProtocolError):
        list(pieces)
    assert client.outstanding == 0


def test_the_end_of_data_and_a_354_behind_it_may_come_in_one_piece() -> None:
    """C41: the answers to a message and to the group behind it are in order, and 354 is the last of them."""
    client = in_content()
    list(client.frame([b"x\r\n"]))
    client.mail(A, Transmission())
    client.rcpt(Recipient(B))
    client.data()
    client.receive(b"250 queued\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    assert [reply(client).request for _ in range(4)] == [Request.CONTENT, Request.MAIL, Request.RCPT, Request.DATA]


def test_250_to_data_is_an_error() -> None:
    """OUT-02: only 354 lets content go out."""
    client = greeted()
    client.data()
    client.receive(b"250 ok\r\n")
    with pytest.raises(RemoteProtocolError):
        client.next_reply()


def test_end_of_input_with_replies_outstanding_is_an_error() -> None:
    """OUT-05: fewer replies than commands; what came whole is still read."""
    client = greeted()
    client.mail(A, Transmission())
    client.rcpt(Recipient(B))
    client.receive(b"250 ok\r\n25")
    client.eof()
    assert reply(client).request is Request.MAIL
    with pytest.raises(RemoteProtocolError):
        client.next_reply()
    done = greeted()
    done.eof()
    assert done.next_reply() is NEED_DATA


def test_extensions_are_those_of_the_last_hello() -> None:
    """C46, OUT-08: a second EHLO replaces what the first one said; HELO leaves nothing; a refused EHLO changes nothing."""
    client = greeted()
    client.ehlo("me")
    reply(client, b"421 4.3.2 later\r\n")
    assert client.extensions.pipelining
    client.ehlo("me")
    reply(client, b"250-mx\r\n250 SIZE 70000\r\n")
    assert (client.extensions.pipelining, client.extensions.size) == (False, 70000)
    client.helo("me")
    reply(client, b"250 mx\r\n")
    assert client.extensions.size is None


def test_no_status_is_looked_for_where_none_belongs() -> None:
    """RFC 2034 section 4: greeting and EHLO answers carry no enhanced status; text that looks like one stays."""
    client = ClientConnection()
    assert reply(client, b"220 2.0.0 mx\r\n") == ReceivedReply(220, "", ("2.0.0 mx",), Request.GREETING)
