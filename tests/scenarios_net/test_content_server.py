"""Message content through a real server: what the next hop gets, octet for octet, and what never arrives."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from integration.messages import without_trace
from integration.server import wait_until
from scenarios_net.next_hop import NextHop
from scenarios_net.wire import SocketEndpoint
from scenarios_net.world import ScenarioServer

# the nine sequences that smuggle somewhere, and two with NUL
SEQUENCES = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\n.\r", b"\r.\n", b"\r\n.\r\r\n", b"\r\r\n.\r\n",
    b"\r\n\0.\r\n", b"\r\n.\0\r\n",
]  # fmt: skip
SMUGGLED = b"MAIL FROM:<evil@client.example>\r\nRCPT TO:<victim@test.example>\r\nDATA\r\nevil\r\n.\r\n"
SMUGGLED_NAMES = {"evil@client.example", "victim@test.example"}


def connect(server: ScenarioServer, hop: NextHop, *, listener: str = "smtp", hello: str = "EHLO") -> SocketEndpoint:
    """Return a client that has been greeted."""
    client = SocketEndpoint(server.address[listener], hop)
    client.reply()
    assert client.say(f"{hello} client.example").startswith("250")
    return client


def begin(client: SocketEndpoint, parameters: str = "", to: str = "b@test.example") -> None:
    """Open a transaction."""
    assert client.say(f"MAIL FROM:<a@client.example>{parameters}").startswith("250 ")
    assert client.say(f"RCPT TO:<{to}>").startswith("250 ")


def send_chunk(client: SocketEndpoint, content: bytes) -> str:
    """Send all content in one chunk and return the reply."""
    client.send(b"BDAT %d LAST\r\n" % len(content) + content)
    return client.reply() or ""


def send_data(client: SocketEndpoint, content: bytes) -> str:
    """Send content, dots stuffed already, by DATA and return the reply."""
    assert client.say("DATA").startswith("354 ")
    client.send(content + b".\r\n")
    return client.reply() or ""


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_binary_content_reaches_a_binary_hop_as_it_is(
    sequence: bytes, real_server: ScenarioServer, binary_hop: NextHop
) -> None:
    """FRM-25, FRM-15, C85: NUL, lone CR and LF, 0xff and what looks like a second message go through in chunks, octet for octet."""
    content = b"Subject: x\r\n\r\n\0\xff" + sequence + SMUGGLED
    with connect(real_server, binary_hop) as client:
        begin(client, " BODY=BINARYMIME")
        assert send_chunk(client, content).startswith("250 ")
    arrived = client.arrived()
    assert arrived.chunked
    assert arrived.reverse_path == "a@client.example"
    assert without_trace(arrived.content) == content


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_binary_content_never_reaches_a_text_hop(
    sequence: bytes, real_server: ScenarioServer, text_hop: NextHop
) -> None:
    """FRM-25, FRM-15, C85: to a next hop without BINARYMIME it bounces with 5.6.3; nothing smuggled leaves, not even in the notice."""
    with connect(real_server, text_hop) as client:
        begin(client, " BODY=BINARYMIME")
        assert send_chunk(client, b"Subject: x\r\n\r\n" + sequence + SMUGGLED).startswith("250 ")
    (id,) = client.accepted
    notice = text_hop.notice(id)
    assert (notice.reverse_path, notice.forward_paths) == ("", ("a@client.example",))
    assert b"Status: 5.6.3" in notice.content
    assert b"victim" not in notice.content
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\0", notice.wire)


def test_text_content_leaves_with_every_dot_stuffed(real_server: ScenarioServer, text_hop: NextHop) -> None:
    """FRM-23, FRM-11, C05, C06: content that came in chunks, where dots are not stuffed, leaves by DATA with them stuffed."""
    content = b"Subject: x\r\n\r\n.\r\n..\r\n.x\r\nend.\r\n\r\n.\r\n" + SMUGGLED.replace(b"evil@", b"e@")
    with connect(real_server, text_hop) as client:
        begin(client)
        assert send_chunk(client, content).startswith("250 ")
    arrived = client.arrived()
    assert not arrived.chunked
    assert without_trace(arrived.content) == content
    # what the wire had: every line that begins with a dot has two
    assert all(line[:2] == b".." for line in arrived.wire.split(b"\r\n") if line[:1] == b".")


@pytest.mark.parametrize("size", [998, 999, 5000, 90_000])
def test_long_lines_go_through_as_they_are(size: int, real_server: ScenarioServer, text_hop: NextHop) -> None:
    """C33, C12: a line beyond 998 octets is neither refused nor folded: folding would break whatever signature covers it."""
    content = b"Subject: x\r\n\r\n" + b"x" * size + b"\r\nend\r\n"
    with connect(real_server, text_hop) as client:
        begin(client)
        assert send_data(client, content).startswith("250 ")
    assert without_trace(client.arrived().content) == content


OLD_TRACE = b"Received: from old (old [192.0.2.9]) by older with SMTP id 1; Sun, 22 Nov 2026 10:16:17 +0000\r\n"


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: no date, no from\r\n\r\nbody\r\n",
        b"From: a@client.example\r\nFrom: b@client.example\r\nDate: yesterday\r\n\r\nbody\r\n",
        b"no header at all\r\n",
        b"\r\nbody only\r\n",
        b"X-No-Body: yes\r\n",
        b"Return-Path: <forged@evil.example>\r\nBcc: secret@test.example\r\nX:  odd \t spacing\r\n folded\r\n\r\nbody\r\n",
        OLD_TRACE * 3 + b"Subject: x\r\n\r\nbody\r\n",
        b"__proto__: x\r\nFrom : odd\r\n: none\r\n\r\n\xff\xfe\r\n",
    ],
)
def test_a_relay_adds_its_trace_and_nothing_else(
    content: bytes, real_server: ScenarioServer, text_hop: NextHop
) -> None:
    """C34, C07, C08: one Received field on top; no Date, From, Message-ID or Return-Path is added, changed or removed, old trace stays."""
    with connect(real_server, text_hop) as client:
        begin(client)
        assert send_data(client, content).startswith("250 ")
    assert without_trace(client.arrived().content) == content


@pytest.mark.parametrize(
    ("listener", "hello", "parameters", "keyword"),
    [
        ("smtp", "HELO", "", b"SMTP"),
        ("smtp", "EHLO", "", b"ESMTP"),
        ("smtp", "EHLO", " SMTPUTF8", b"UTF8SMTP"),
        ("lmtp", "LHLO", "", b"LMTP"),
        ("lmtp", "LHLO", " SMTPUTF8", b"UTF8LMTP"),
    ],
)
def test_the_with_clause_names_the_protocol(
    listener: str, hello: str, parameters: str, keyword: bytes, real_server: ScenarioServer, text_hop: NextHop
) -> None:
    """C32, C07: RFC 3848, RFC 6531 section 4.3: the protocol that was spoken; with it from, by, id, for and the date (RFC 5321 4.4)."""
    with connect(real_server, text_hop, listener=listener, hello=hello) as client:
        begin(client, parameters)
        assert send_data(client, b"x: y\r\n").startswith("250 ")
    field = client.arrived().content.removesuffix(b"x: y\r\n")
    assert re.fullmatch(
        rb"Received: from client\.example \(\[127\.0\.0\.1\]\)\r\n\tby test\.example with " + keyword + rb" id [0-9a-f]+\r\n"
        rb"\tfor <b@test\.example>; \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000\r\n",
        field,
    ), field  # fmt: skip


@pytest.mark.parametrize(
    "said",
    [
        b"BDAT 100 LAST\r\nSubject: half of it\r\n",
        b"BDAT 5\r\nwholeBDAT 100 LAST\r\nhalf",
        b"BDAT 5\r\nwhole",
        b"BDAT 5\r\nwholeBDAT",
        b"BDAT 1000000 LAST\r\n" + b"MAIL FROM:<evil@client.example>\r\n" * 1000,
        b"DATA\r\nSubject: half of it\r\n",
        b"DATA\r\nSubject: half of it\r\n\r\n.",
        b"DATA\r\nSubject: half of it\r\n\r\n.\r",
    ],
)
@pytest.mark.parametrize("how", ["fin", "reset"])
def test_a_client_that_closes_in_mid_message_leaves_nothing(
    said: bytes, how: str, real_server: ScenarioServer, text_hop: NextHop
) -> None:
    """FRM-22, FRM-14: closed or reset inside a chunk, between chunks or in DATA: no message, no file; the server says what became of it."""
    refused = real_server.log.read_text().count('"transaction.refused"')
    client = connect(real_server, text_hop)
    begin(client)
    client.send(said)
    client.leave(reset=how == "reset")
    wait_until(lambda: real_server.log.read_text().count('"transaction.refused"') > refused, what="its end in the log")
    with connect(real_server, text_hop) as client:
        begin(client, to="d@test.example")
        assert send_data(client, b"x: y\r\n").startswith("250 ")
    assert client.arrived().forward_paths == ("d@test.example",)
    assert not text_hop.names() & SMUGGLED_NAMES
    wait_until(lambda: _body_files(real_server) == [], what="the end of the files")


def _body_files(server: ScenarioServer) -> list[Path]:
    return [path for folder in ("tmp", "bodies") for path in (server.spool / folder).rglob("*") if path.is_file()]


def test_a_lost_reply_to_the_final_dot_means_again_and_a_250_means_never(
    real_server: ScenarioServer, text_hop: NextHop
) -> None:
    """C10, RFC 5321 section 4.2.5: without a reply the client still holds the message and sends it again; behind a 250 it must not."""
    text_hop.lost_replies = 2
    with connect(real_server, text_hop) as client:
        begin(client)
        assert send_data(client, b"Subject: again\r\n").startswith("250 ")
    (id,) = client.accepted
    arrived = text_hop.got(id, 3)
    assert {without_trace(each.content) for each in arrived} == {b"Subject: again\r\n"}
    # one message, not three: the trace was added once
    assert len({each.content for each in arrived}) == 1
    # two of its retries later
    time.sleep(1.2)
    assert len(text_hop.got(id, 3)) == 3


def test_what_the_sender_asked_for_goes_on(real_server: ScenarioServer, text_hop: NextHop) -> None:
    """C56, C55, RFC 3461 section 5.2.1: RET, ENVID, NOTIFY and ORCPT reach a next hop that announces DSN, as they were given."""
    with connect(real_server, text_hop) as client:
        assert client.say("MAIL FROM:<a@client.example> RET=HDRS ENVID=q+2Bq+3Dq").startswith("250 ")
        for line in (
            "RCPT TO:<b@test.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;x+2By@z.example",
            "RCPT TO:<c@test.example> NOTIFY=NEVER",
            "RCPT TO:<d@test.example>",
        ):
            assert client.say(line).startswith("250 ")
        assert send_data(client, b"x: y\r\n").startswith("250 ")
    arrived = client.arrived()
    mail, *rcpts = arrived.commands
    assert set(mail.split()) >= {"RET=HDRS", "ENVID=q+2Bq+3Dq"}
    assert rcpts == [
        "RCPT TO:<b@test.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;x+2By@z.example",
        "RCPT TO:<c@test.example> NOTIFY=NEVER",
        "RCPT TO:<d@test.example>",
    ]


def test_nothing_of_it_is_said_to_a_hop_without_dsn(real_server: ScenarioServer, binary_hop: NextHop) -> None:
    """C56, RFC 3461 section 5.2.1: the parameters are not sent where DSN was not announced: the hop would refuse them with 555."""
    with connect(real_server, binary_hop) as client:
        begin(client, " RET=HDRS ENVID=q")
        assert client.say("RCPT TO:<c@test.example> NOTIFY=NEVER ORCPT=rfc822;x@y.example").startswith("250 ")
        assert send_data(client, b"x: y\r\n").startswith("250 ")
    arrived = client.arrived()
    assert not any(word in " ".join(arrived.commands) for word in ("RET=", "ENVID=", "NOTIFY=", "ORCPT="))


@pytest.mark.parametrize("first", [b"Subject: x\r\n\r\n", b"", b"RSET\r\n", b"EHLO c.example\r\n"])
def test_a_message_behind_a_refused_data_is_not_run(
    first: bytes, real_server: ScenarioServer, text_hop: NextHop
) -> None:
    """CMD-13, CMD-22: a client that does not wait for 354 has the message it sends refused, not run, though it consist of commands."""
    with connect(real_server, text_hop) as client:
        client.send(b"MAIL FROM:<a@client.example>\r\nRCPT TO:<nobody@test.example>\r\nDATA\r\n" + first + SMUGGLED)
        replies = []
        while reply := client.reply():
            replies.append(reply[:3])
    assert replies[:3] == ["250", "550", "554"]
    assert replies[-1] == "421"
    with connect(real_server, text_hop) as client:
        begin(client, to="d@test.example")
        assert send_data(client, b"x: y\r\n").startswith("250 ")
    assert client.arrived().forward_paths == ("d@test.example",)
    assert not text_hop.names() & SMUGGLED_NAMES
