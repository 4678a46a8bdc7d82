"""RFC 3030: CHUNKING and BINARYMIME. Each docstring quotes the clause."""

from __future__ import annotations

from tests.scenarios.acceptor import codes, in_transaction

from upesi.protocol.smtp.states import State


def test_each_chunk_is_answered_after_its_octets() -> None:
    """2: "Once the receiver-SMTP receives the specified number of octets, it will return a 250 reply code."."""
    acceptor = in_transaction()
    assert acceptor.feed(b"BDAT 4\r\n", b"ab\r") == b""
    assert codes(acceptor.feed(b"\n")) == [250]


def test_content_is_not_searched_for_an_end() -> None:
    """1: BDAT is there "to eliminate the requirement that the message be scanned for "CR LF . CR LF" sequences"; nothing is stuffed."""
    acceptor = in_transaction()
    acceptor.feed(b"BDAT 12 LAST\r\n..\r\n.\r\na\r\n..")
    assert acceptor.messages == [b"..\r\n.\r\na\r\n.."]


def test_empty_last_chunk_ends_the_message() -> None:
    """2: "The last BDAT command MAY have a byte-count of zero indicating there is no additional data to be sent."."""
    acceptor = in_transaction()
    acceptor.feed(b"BDAT 3\r\na\r\nBDAT 0 LAST\r\n")
    assert acceptor.messages == [b"a\r\n"]


def test_bdat_after_last_is_out_of_sequence() -> None:
    """2: "Any BDAT command sent after the BDAT LAST is illegal and MUST be replied to with a 503 "Bad sequence of commands" reply
    code."."""
    acceptor = in_transaction()
    assert codes(acceptor.feed(b"BDAT 1 LAST\r\naBDAT 1 LAST\r\nb")) == [250, 503]


def test_data_and_bdat_may_not_be_mixed() -> None:
    """2: "If a DATA statement is issued after a BDAT for the current transaction, a 503 "Bad sequence of commands" MUST be issued."."""
    acceptor = in_transaction()
    assert codes(acceptor.feed(b"BDAT 1\r\na", b"DATA\r\n")) == [250, 503]
    assert acceptor.connection.state is State.BDAT


def test_binarymime_needs_bdat() -> None:
    """3: "If a DATA command is issued after a MAIL command containing the body-value of "BINARYMIME", a 503 "Bad sequence of commands"
    response MUST be sent."."""
    acceptor = in_transaction(mail=b"MAIL FROM:<a@b> BODY=BINARYMIME")
    assert codes(acceptor.feed(b"DATA\r\n")) == [503]


def test_rset_between_chunks_drops_the_message() -> None:
    """2: "The RSET command, when issued after the first BDAT and before the BDAT LAST, clears all segments sent during that
    transaction and resets the session."."""
    acceptor = in_transaction()
    acceptor.feed(b"BDAT 1\r\na", b"RSET\r\n")
    assert acceptor.connection.state is State.READY
    assert acceptor.messages == []
