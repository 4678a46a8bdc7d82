"""RFC 5321 sections 3.1, 3.3, 4.1.1, 4.1.4 and 4.5.1: the order of things. Each docstring quotes the clause."""

from __future__ import annotations

import pytest
from tests.scenarios.acceptor import LIMITS, Acceptor, codes, in_transaction

from upesi.mail.reply import Reply
from upesi.protocol.smtp.events import PAUSED, QuitCommand
from upesi.protocol.smtp.server import ServerConnection
from upesi.protocol.smtp.states import State


def test_nothing_is_answered_before_the_greeting() -> None:
    """C01, 3.1: "An SMTP session is initiated when a client opens a connection to a server and the server responds with an opening
    message."."""
    connection = ServerConnection(LIMITS)
    connection.receive(b"EHLO c\r\n")
    assert connection.next_event() is PAUSED


def test_after_554_only_quit_is_served() -> None:
    """C01, 3.1: "A server taking this approach MUST still wait for the client to send a QUIT (see Section 4.1.1.10) before closing the
    connection and SHOULD respond to any intervening commands with "503 bad sequence of commands"."."""
    acceptor = Acceptor()
    acceptor.connection = ServerConnection(LIMITS)
    acceptor.connection.send(Reply.make(554, "5.3.2", "No SMTP service here"))
    assert codes(acceptor.feed(b"EHLO c\r\nMAIL FROM:<>\r\nNOOP\r\nRSET\r\n")) == [503] * 4
    assert codes(acceptor.feed(b"QUIT\r\n")) == [221]
    assert acceptor.connection.state is State.CLOSED


@pytest.mark.parametrize("line", [b"NOOP", b"HELP", b"EXPN x", b"VRFY x", b"RSET"])
def test_these_commands_may_come_at_any_time(line: bytes) -> None:
    """C02, 4.1.4: "The NOOP, HELP, EXPN, VRFY, and RSET commands can be used at any time during a session, or without previously
    initializing a session."."""
    assert codes(Acceptor().feed(line + b"\r\n"))[0] in (250, 252)
    assert codes(in_transaction().feed(line + b"\r\n"))[0] in (250, 252)


@pytest.mark.parametrize("line", [b"EHLO c", b"RSET"])
def test_ehlo_and_rset_clear_the_transaction(line: bytes) -> None:
    """C17, CMD-14, 4.1.4: "the SMTP server MUST clear all buffers and reset the state exactly as if a RSET command had been issued"."""
    acceptor = in_transaction()
    acceptor.feed(line + b"\r\n")
    assert acceptor.connection.state is State.READY
    assert codes(acceptor.feed(b"RCPT TO:<a@b>\r\n")) == [503]


def test_a_refused_ehlo_changes_nothing() -> None:
    """C17, 4.1.4: "The SMTP server MUST stay in the same state after transmitting these replies that it was in before the EHLO was
    received."."""
    acceptor = in_transaction()
    assert codes(acceptor.feed(b"EHLO\r\n")) == [501]
    assert acceptor.connection.state is State.RCPT


def test_mail_inside_a_transaction_is_refused_and_changes_nothing() -> None:
    """C17, CMD-12, 3.3, 4.1.4: MAIL "MUST NOT be sent if a mail transaction is already open"; what is out of order gets 503."""
    acceptor = in_transaction()
    assert codes(acceptor.feed(b"MAIL FROM:<x@y>\r\n")) == [503]
    assert acceptor.connection.state is State.RCPT


def test_recipients_without_a_sender_are_refused() -> None:
    """C17, CMD-12, 3.3: "If a RCPT command appears without a previous MAIL command, the server MUST return a 503 "Bad sequence of commands"
    response."."""
    assert codes(Acceptor().feed(b"EHLO c\r\nRCPT TO:<a@b>\r\n")) == [250, 503]


def test_data_without_any_recipient_is_refused() -> None:
    """CMD-12, CMD-13, 3.3: "If there was no MAIL, or no RCPT, command, or all such commands were rejected, the server MAY return a "command
    out of sequence" (503) or "no valid recipients" (554) reply in response to the DATA command."."""
    acceptor = Acceptor()
    answer = acceptor.feed(b"EHLO c\r\nDATA\r\nMAIL FROM:<>\r\nDATA\r\nRCPT TO:<nobody@b>\r\nDATA\r\n")
    assert codes(answer) == [250, 503, 250, 503, 550, 554]


def test_null_reverse_path_is_taken() -> None:
    """C16, ADR-14, 4.5.5: "There are several types of notification messages that are required by existing and proposed Standards to be sent
    with a null reverse-path", which a server must therefore accept."""
    assert codes(Acceptor().feed(b"EHLO c\r\nMAIL FROM:<>\r\n")) == [250, 250]


@pytest.mark.parametrize("path", [b"Postmaster", b"postmaster@test.example", b"POSTMASTER"])
def test_postmaster_is_taken(path: bytes) -> None:
    """C11, ADR-14, 4.5.1: a server "MUST support the reserved mailbox "postmaster" as a case- insensitive local name"; 2.3.5: also "without
    domain qualification"."""
    assert codes(in_transaction().feed(b"RCPT TO:<" + path + b">\r\n")) == [250]


def test_source_route_is_ignored() -> None:
    """C27, ADR-02, 3.3, F.2: "Servers MUST be prepared to encounter a list of source routes in the forward-path, but they SHOULD ignore the
    routes"."""
    acceptor = in_transaction()
    assert codes(acceptor.feed(b"RCPT TO:<@a.example,@b.example:u@c.example>\r\n")) == [250]
    assert "u@c.example" in [str(getattr(event, "forward_path", "")) for event in acceptor.events]


def test_connection_stays_open_until_quit() -> None:
    """C04, 4.1.1.10: "The receiver MUST NOT intentionally close the transmission channel until it receives and replies to a QUIT command
    (even if there was an error)."."""
    acceptor = Acceptor()
    acceptor.feed(b"FOO\r\n" * 50 + b"MAIL x\r\n" * 50)
    assert acceptor.connection.state is State.START
    acceptor.feed(b"QUIT\r\n")
    assert acceptor.events[-1] == QuitCommand()
    assert acceptor.connection.state is State.CLOSED


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"FROBNICATE", 500),
        (b"MAIL x", 501),
        (b"ETRN x", 502),
        (b"RCPT TO:<a@b>", 503),
        (b"MAIL FROM:<> NONSENSE=1", 555),
    ],
)
def test_kinds_of_failure_have_their_codes(line: bytes, code: int) -> None:
    """C18, 4.2.4: 500 for what is not recognised, 501 for arguments, 502 for what is not implemented, 503 for order, 555 for parameters."""
    assert codes(Acceptor().feed(b"EHLO c\r\n" + line + b"\r\n"))[1] == code
