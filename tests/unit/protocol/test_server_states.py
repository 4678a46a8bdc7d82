"""The table of states, every pair of it, against the machine that obeys it."""

from __future__ import annotations

import pytest
from tests.scenarios.acceptor import GREETING, LIMITS, OK

from upesi.mail.errors import LocalProtocolError, RemoteProtocolError
from upesi.mail.reply import Reply
from upesi.protocol.smtp.events import NEED_DATA, PAUSED, BdatCommand, DataChunk, Pause
from upesi.protocol.smtp.server import ServerConnection
from upesi.protocol.smtp.states import ACCEPTED, COMMAND_STATES, CONTINUED, REFUSED, Kind, State

NO = Reply.make(550, "5.7.1", "No")
# how each state is reached, as segments with the reply that each command gets
_TO_START = [(b"", GREETING)]
_TO_READY = [*_TO_START, (b"EHLO c\r\n", OK)]
_TO_MAIL = [*_TO_READY, (b"MAIL FROM:<a@b>\r\n", OK)]
_TO_RCPT = [*_TO_MAIL, (b"RCPT TO:<a@b>\r\n", OK)]
PATHS = {
    State.UNWELCOME: [(b"", Reply.make(554, "5.3.2", "No service"))],
    State.START: _TO_START,
    State.READY: _TO_READY,
    State.MAIL: _TO_MAIL,
    State.ALL_REFUSED: [*_TO_MAIL, (b"RCPT TO:<a@b>\r\n", NO)],
    State.RCPT: _TO_RCPT,
    State.BDAT: [*_TO_RCPT, (b"BDAT 1\r\nx", OK)],
    State.BROKEN: [*_TO_RCPT, (b"BDAT 1\r\nx", NO)],
}
LINES = {
    Kind.HELO: b"EHLO c\r\n",
    Kind.MAIL: b"MAIL FROM:<a@b>\r\n",
    Kind.RCPT: b"RCPT TO:<a@b>\r\n",
    Kind.DATA: b"DATA\r\n",
    Kind.BDAT: b"BDAT 1 LAST\r\nx",
    Kind.RSET: b"RSET\r\n",
    Kind.NOOP: b"NOOP\r\n",
    Kind.QUIT: b"QUIT\r\n",
    Kind.VRFY: b"VRFY x\r\n",
    Kind.EXPN: b"EXPN x\r\n",
    Kind.HELP: b"HELP\r\n",
    Kind.UNKNOWN: b"FROBNICATE\r\n",
}


def reach(state: State) -> ServerConnection:
    """Return a connection that is in `state`."""
    connection = ServerConnection(LIMITS)
    for segment, reply in PATHS[state]:
        connection.receive(segment)
        while isinstance(connection.next_event(), BdatCommand | DataChunk):
            pass
        connection.send(reply)
    assert connection.state is state
    return connection


def positive(kind: Kind) -> Reply:
    return Reply.make(354, "", "go") if kind is Kind.DATA else OK


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("state", PATHS)
def test_command_is_taken_exactly_where_the_table_has_it(state: State, kind: Kind) -> None:
    """C17: a command out of sequence gets 503 (554 without any recipient) and does not become an event."""
    connection = reach(state)
    connection.receive(LINES[kind])
    if (state, kind) in ACCEPTED:
        assert not isinstance(connection.next_event(), Pause)
        return
    with pytest.raises(RemoteProtocolError) as caught:
        connection.next_event()
    assert caught.value.reply is not None
    assert caught.value.reply.code in (503, 554)
    connection.send(caught.value.reply)
    assert connection.state is REFUSED.get((state, kind), state)


@pytest.mark.parametrize(
    ("state", "kind"), [pair for pair in ACCEPTED if pair[0] in PATHS and pair[1] in LINES and pair[1] is not Kind.BDAT]
)
def test_replies_lead_where_the_table_says(state: State, kind: Kind) -> None:
    """A positive reply follows ACCEPTED, a negative one REFUSED or stays, 421 closes."""
    for reply, target in (
        (positive(kind), ACCEPTED[state, kind]),
        (NO, REFUSED.get((state, kind), state)),
        (Reply.make(421, "4.3.2", "Going down"), State.CLOSED),
    ):
        connection = reach(state)
        connection.receive(LINES[kind])
        connection.next_event()
        assert connection.next_event() is PAUSED
        connection.send(reply)
        assert connection.state is target


@pytest.mark.parametrize(("reply", "target"), [(OK, State.READY), (NO, State.READY)])
def test_end_of_data_ends_the_transaction_whatever_the_reply(reply: Reply, target: State) -> None:
    """RFC 5321 section 4.1.1.4: receipt of the end of mail data ends the transaction."""
    for content in ([(b"DATA\r\n", positive(Kind.DATA)), (b"x\r\n.\r\n", reply)], [(b"BDAT 1 LAST\r\nx", reply)]):
        connection = reach(State.RCPT)
        for segment, answer in content:
            connection.receive(segment)
            while connection.next_event() is not PAUSED:
                pass
            connection.send(answer)
        assert connection.state is target


def test_every_state_of_commands_can_be_reached() -> None:
    """The table has no state that nothing leads to, and every command state is tested here."""
    assert set(COMMAND_STATES) <= set(PATHS)
    assert set(ACCEPTED.values()) | set(REFUSED.values()) | set(CONTINUED.values()) | {State.GREETING} == set(State)


def test_nothing_is_read_before_the_greeting() -> None:
    """C01, CMD-21: early talk is seen, held, and read after the 220."""
    connection = ServerConnection(LIMITS)
    connection.receive(b"EHLO c\r\n")
    assert connection.pipelined
    assert connection.buffered == 8
    assert connection.next_event() is PAUSED
    assert connection.send(GREETING) == GREETING.wire
    assert not isinstance(connection.next_event(), Pause)
    assert not connection.pipelined


def test_a_reply_too_many_is_our_error() -> None:
    """Each command has one reply; giving another raises LocalProtocolError."""
    connection = reach(State.READY)
    with pytest.raises(LocalProtocolError):
        connection.send(OK)
    connection.receive(b"NOOP\r\n")
    connection.next_event()
    with pytest.raises(LocalProtocolError):
        connection.send(OK, OK)
    with pytest.raises(LocalProtocolError):
        connection.send()


@pytest.mark.parametrize(
    ("line", "reply"), [(b"DATA\r\n", OK), (b"NOOP\r\n", Reply.make(354, "", "go")), (b"NOOP x\ty\r\n", OK)]
)
def test_a_reply_that_cannot_answer_is_our_error(line: bytes, reply: Reply) -> None:
    """2xx to DATA, 3xx to anything else and 2xx to what is malformed would leave client and server in different states."""
    connection = reach(State.RCPT)
    connection.receive(line)
    try:
        connection.next_event()
    except RemoteProtocolError:
        pass
    with pytest.raises(LocalProtocolError):
        connection.send(reply)


def test_a_half_closed_client_gets_its_replies() -> None:
    """CMD-24: what came whole before the end of input is answered; then the session is closed."""
    connection = reach(State.RCPT)
    connection.receive(b"DATA\r\n")
    connection.next_event()
    connection.send(positive(Kind.DATA))
    connection.receive(b"x\r\n.\r\nQUIT\r\n")
    connection.eof()
    assert isinstance(connection.next_event(), DataChunk)
    connection.next_event()
    assert connection.send(OK) == OK.wire
    connection.next_event()
    connection.send(OK)
    assert connection.state is State.CLOSED


@pytest.mark.parametrize("rest", [b"", b"x", b"x\r\n", b"x\r\n.\r"])
def test_an_incomplete_message_never_ends(rest: bytes) -> None:
    """FRM-14: the end of input inside the data is no end of data."""
    connection = reach(State.RCPT)
    connection.receive(b"DATA\r\n")
    connection.next_event()
    connection.send(positive(Kind.DATA))
    connection.receive(rest)
    connection.eof()
    events = []
    while (event := connection.next_event()) is not NEED_DATA:
        events.append(event)
    assert all(isinstance(event, DataChunk) for event in events)
    assert connection.state is State.CLOSED


def test_end_of_input_closes_an_idle_session() -> None:
    """With nothing to read and nothing to answer, the end of input is the end."""
    connection = reach(State.READY)
    connection.eof()
    assert connection.state is State.CLOSED
    connection.receive(b"NOOP\r\n")
    assert connection.buffered == 0
    assert connection.next_event() is NEED_DATA
