"""AUTH as the server machine reads it: the command, its base64 lines, their bounds, and where the exchange ends (RFC 4954 section 4)."""

from __future__ import annotations

import base64

import pytest
from tests.scenarios.acceptor import GREETING, OK

from upesi.mail.errors import LocalProtocolError, RemoteProtocolError
from upesi.mail.reply import Reply
from upesi.protocol.smtp.events import NEED_DATA, AuthCommand, AuthResponse, Event, NoopCommand, Pause
from upesi.protocol.smtp.limits import MAX_AUTH_LINE, ServerLimits
from upesi.protocol.smtp.server import ServerConnection
from upesi.protocol.smtp.states import State

LIMITS = ServerLimits(max_message_size=1000, auth=("PLAIN",))
CHALLENGE = Reply.make(334, "", "")
WRONG = Reply.make(535, "5.7.8", "No")


def ready(limits: ServerLimits = LIMITS) -> ServerConnection:
    connection = ServerConnection(limits)
    connection.send(GREETING)
    connection.receive(b"EHLO c\r\n")
    connection.next_event()
    connection.send(OK)
    return connection


def challenged() -> ServerConnection:
    """A connection that waits for the answer to a challenge."""
    connection = ready()
    connection.receive(b"AUTH PLAIN\r\n")
    connection.next_event()
    connection.send(CHALLENGE)
    assert connection.state is State.AUTH
    return connection


def read(connection: ServerConnection, data: bytes) -> Event | Pause | str:
    """Feed `data`; return the next event, or "code status" of the refusal, which is sent."""
    connection.receive(data)
    return take(connection)


def take(connection: ServerConnection) -> Event | Pause | str:
    try:
        return connection.next_event()
    except RemoteProtocolError as error:
        reply = error.reply or GREETING
        connection.send(reply)
        return f"{reply.code} {reply.status}"


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b"AUTH PLAIN", AuthCommand("PLAIN", None)),
        (b"AUTH PLAIN ", AuthCommand("PLAIN", None)),
        (b"auth scram-sha-256 =", AuthCommand("SCRAM-SHA-256", b"")),
        (b"AUTH PLAIN AGEAYg==", AuthCommand("PLAIN", b"\0a\0b")),
        (b"AUTH X " + b"A" * (MAX_AUTH_LINE - 12) + b"AA==", "500 5.5.2"),
        (b"AUTH", "501 5.5.4"),
        (b"AUTH PLAIN AGEAYg", "501 5.5.2"),
        (b"AUTH PLAIN AGEAYg===", "501 5.5.2"),
        (b"AUTH PLAIN AGE AYg==", "501 5.5.2"),
        (b"AUTH PLAIN A=GE", "501 5.5.2"),
        (b"AUTH PLAIN ==", "501 5.5.2"),
        (b"AUTH PLAIN *", "501 5.5.2"),
        (b"AUTH PLAIN AG-_", "501 5.5.2"),
    ],
)
def test_the_command_is_read(line: bytes, event: Event | str) -> None:
    """AUT-02, C50: the initial response is strict base64, "=" is the empty one."""
    assert read(ready(), line + b"\r\n") == event


@pytest.mark.parametrize(
    ("line", "event", "state"),
    [
        (b"", AuthResponse(b""), State.AUTH),
        (b"AGEAYg==", AuthResponse(b"\0a\0b"), State.AUTH),
        (b"*", AuthResponse(None), State.AUTH),
        (b"QUIT", AuthResponse(base64.b64decode("QUIT")), State.AUTH),
        (b"BDAT", AuthResponse(base64.b64decode("BDAT")), State.AUTH),
        (b"=", "501 5.5.2", State.READY),
        (b"AGEAYg", "501 5.5.2", State.READY),
        (b" AGEAYg==", "501 5.5.2", State.READY),
        (b"AGEAYg== ", "501 5.5.2", State.READY),
        (b"**", "501 5.5.2", State.READY),
        (b"\x00", "501 5.5.2", State.READY),
        (b"\xc3\xa9", "501 5.5.2", State.READY),
        (b"QUIT\n", "500 5.5.2", State.READY),
    ],
)
def test_the_answer_to_a_challenge_is_read(line: bytes, event: Event | str, state: State) -> None:
    """AUT-02, C50: whatever the line looks like it answers the challenge; what is no base64 ends the exchange with 501."""
    connection = challenged()
    assert read(connection, line + b"\r\n") == event
    assert connection.state is state


def test_lines_are_bounded() -> None:
    """CMD-02, C50: 12,288 octets with CRLF are taken, one more gets 500 5.5.6, is thrown away and ends the exchange."""
    longest = base64.b64encode(bytes((MAX_AUTH_LINE - 4) // 4 * 3))
    assert len(longest) + 2 <= MAX_AUTH_LINE
    assert read(challenged(), longest + b"\r\n") == AuthResponse(bytes(len(longest) // 4 * 3))
    for extra in (MAX_AUTH_LINE - 1, MAX_AUTH_LINE + 5, 40_000):
        connection = challenged()
        assert read(connection, b"A" * extra + b"\r\nNOOP\r\n") == "500 5.5.6"
        assert connection.state is State.READY
        assert take(connection) == NoopCommand()


@pytest.mark.parametrize("length", [13_000, MAX_AUTH_LINE - 2, MAX_AUTH_LINE - 1, 12_000, 600])
@pytest.mark.parametrize("start", [b"", b"AUTH PLAIN "])
def test_a_line_means_the_same_however_it_is_cut(start: bytes, length: int) -> None:
    """FRM-01: what one segment says, many say too, at and around the bound."""
    line = (start + b"A" * length)[: length - length % 4 + len(start) % 4] + b"\r\n"
    outcomes = []
    for size in (len(line), 4096, 100, 1):
        connection = ready() if start else challenged()
        event: Event | Pause | str = NEED_DATA
        for at in range(0, len(line), size):
            assert event is NEED_DATA
            event = read(connection, line[at : at + size])
        outcomes.append((event, connection.state))
    assert outcomes.count(outcomes[0]) == len(outcomes)
    assert outcomes[0][0] is not NEED_DATA


def test_without_auth_the_line_is_a_command_line() -> None:
    """CMD-02: a listener without AUTH takes no line of 12,288 octets, whatever it begins with."""
    connection = ready(ServerLimits(max_message_size=1000))
    assert read(connection, b"AUTH " + b"A" * 2000 + b"\r\n") == "500 5.5.2"
    assert read(connection, b"AUTH PLAIN\r\n") == "502 5.5.1"


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        (CHALLENGE, State.AUTH),
        (Reply.make(235, "2.7.0", "Welcome"), State.READY),
        (WRONG, State.READY),
        (Reply.make(421, "4.7.0", "Bye"), State.CLOSED),
    ],
)
def test_each_reply_leads_where_the_table_says(reply: Reply, state: State) -> None:
    """RFC 4954 section 4: 334 goes on, all others end the exchange."""
    first = ready()
    first.receive(b"AUTH PLAIN\r\n")
    first.next_event()
    second = challenged()
    second.receive(b"\r\n")
    second.next_event()
    for connection in (first, second):
        connection.send(reply)
        assert connection.state is state


def test_only_auth_is_answered_by_334() -> None:
    """A 334 to another command would leave client and server in different states: our error."""
    connection = ready()
    connection.receive(b"NOOP\r\n")
    connection.next_event()
    with pytest.raises(LocalProtocolError):
        connection.send(CHALLENGE)


def test_what_is_pipelined_behind_an_exchange_is_read_as_what_it_is() -> None:
    """C40: a client that sends on gets its lines read in order: the first answers the challenge, the next is a command."""
    connection = ready()
    assert read(connection, b"AUTH PLAIN\r\nAGEAYg==\r\nNOOP\r\n") == AuthCommand("PLAIN", None)
    connection.send(CHALLENGE)
    assert take(connection) == AuthResponse(b"\0a\0b")
    connection.send(WRONG)
    assert take(connection) == NoopCommand()


def test_nothing_shows_what_was_said() -> None:
    """AUT-05: the events' repr, which a traceback may print, holds no octet of the exchange."""
    assert "geheim" not in repr(AuthCommand("PLAIN", b"\0a\0geheim")) + repr(AuthResponse(b"geheim"))
    connection = challenged()
    connection.receive(b"geheim!\r\n")
    with pytest.raises(RemoteProtocolError) as caught:
        connection.next_event()
    assert caught.value.__suppress_context__
    assert "geheim" not in repr(caught.value) + str(caught.value.reply)


def test_the_end_of_input_ends_the_exchange() -> None:
    """CMD-24: nothing more will come, so nothing is waited for."""
    connection = challenged()
    connection.receive(b"AGEA")
    connection.eof()
    assert connection.next_event() is NEED_DATA
    assert connection.state is State.CLOSED
