"""Message content: DATA and BDAT, as tables of segments and what comes of them."""

from __future__ import annotations

import pytest
from tests.scenarios.acceptor import GO_AHEAD, LIMITS, OK, Acceptor, codes, in_transaction

from upesi.mail.errors import LocalProtocolError
from upesi.protocol.smtp.events import NEED_DATA, BdatCommand, ChunkEnd, DataChunk, DataEnd
from upesi.protocol.smtp.refusals import MESSAGE_TOO_LARGE, NUL_IN_CONTENT, STRAY_NEWLINE
from upesi.protocol.smtp.server import ServerLimits
from upesi.protocol.smtp.states import State

SMALL = ServerLimits(max_message_size=10)


def data_end(acceptor: Acceptor) -> DataEnd:
    event = acceptor.events[-1]
    assert isinstance(event, DataEnd)
    return event


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([b"a\r\n.\r\n"], b"a\r\n"),
        ([b"a\r\n", b".\r\n"], b"a\r\n"),
        ([b"a\r", b"\n.\r\n"], b"a\r\n"),
        ([b"a\r\n.", b"\r\n"], b"a\r\n"),
        ([b"a\r\n.\r", b"\n"], b"a\r\n"),
        ([b"a\r\n.", b"b\r\n.\r\n"], b"a\r\nb\r\n"),
        ([b"a\r\n", b"..\r\n.\r\n"], b"a\r\n.\r\n"),
        ([b"."], None),
        ([b".", b"\r", b"\n"], b""),
        ([b".\r\n"], b""),
        ([b"..", b"\r\n.\r\n"], b".\r\n"),
        ([b".", b"a\r\n.\r\n"], b"a\r\n"),
        ([b"\r\n.\r\n"], b"\r\n"),
        ([b"no end\r\n. \r\n"], None),
        ([b"a\r\n.b\r\n..c\r\n...\r\n.\r\n"], b"a\r\nb\r\n.c\r\n..\r\n"),
    ],
)
def test_data_is_unstuffed_and_ends_wherever_it_is_cut(segments: list[bytes], message: bytes | None) -> None:
    """FRM-10, FRM-11, FRM-12, C06."""
    acceptor = in_transaction()
    acceptor.feed(b"DATA\r\n", *segments)
    assert acceptor.messages == ([] if message is None else [message])
    if message is not None:
        assert data_end(acceptor).size == len(message)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a\nb", STRAY_NEWLINE),
        (b"a\rb", STRAY_NEWLINE),
        (b"\n", STRAY_NEWLINE),
        (b".\n", STRAY_NEWLINE),
        (b".\rx", STRAY_NEWLINE),
        (b"a\r\n\n", STRAY_NEWLINE),
        (b"a\r", STRAY_NEWLINE),
        (b"a\rx\ny", STRAY_NEWLINE),
        (b"a\0b", NUL_IN_CONTENT),
        (b"a\0b\nc", STRAY_NEWLINE),
        (b"12345678", None),
        (b"123456789", MESSAGE_TOO_LARGE),
        (b"12345678\n", STRAY_NEWLINE),
        (b"12345678\r\n.", MESSAGE_TOO_LARGE),
    ],
)
def test_fault_is_found_and_reported_at_the_true_end(content: bytes, fault: object) -> None:
    """C05, FRM-01 to FRM-09, FRM-19: read on to the end; the same fault however it is cut; a dot that is removed does not count."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    for width in (1, 2, 3, 100):
        acceptor = in_transaction(SMALL)
        wire = b"DATA\r\n" + stuffed + b"\r\n.\r\nNOOP\r\n"
        acceptor.feed(*[wire[i : i + width] for i in range(0, len(wire), width)])
        end = acceptor.events[-2]
        assert isinstance(end, DataEnd)
        assert end.fault == fault
        assert acceptor.connection.state is State.READY


def test_after_a_fault_nothing_more_is_given_out() -> None:
    """FRM-19: a message that cannot be kept costs no memory, however long it goes on."""
    acceptor = in_transaction(SMALL)
    connection = acceptor.connection
    connection.receive(b"DATA\r\n")
    connection.next_event()
    connection.send(GO_AHEAD)
    for _ in range(50):
        connection.receive(b"x" * 1000)
        assert connection.next_event() is NEED_DATA
        assert connection.buffered == 0
    connection.receive(b"\r\n.\r\n")
    assert connection.next_event() == DataEnd(50_002, False, MESSAGE_TOO_LARGE)


def test_eight_bit_is_noticed() -> None:
    """C86: whether the content needs 8BITMIME is known at its end."""
    for content, eight_bit in ((b"caf\xe9", True), (b"cafe", False)):
        acceptor = in_transaction()
        acceptor.feed(b"DATA\r\n", content + b"\r\n.\r\n")
        assert data_end(acceptor).eight_bit is eight_bit


def test_a_message_in_one_segment_is_one_slice() -> None:
    """The common case costs one event and its end."""
    acceptor = in_transaction()
    connection = acceptor.connection
    connection.receive(b"DATA\r\n")
    connection.next_event()
    connection.send(GO_AHEAD)
    connection.receive(b"Subject: x\r\n\r\nhello\r\n.\r\n")
    assert connection.next_event() == DataChunk(b"Subject: x\r\n\r\nhello\r\n")
    assert connection.next_event() == DataEnd(21)


def test_commands_behind_the_end_of_data_are_seen_as_pipelined() -> None:
    """FRM-13, C41: the next transaction may come in the same segment and waits for the reply."""
    connection = in_transaction().connection
    connection.receive(b"DATA\r\n")
    connection.next_event()
    connection.send(GO_AHEAD)
    connection.receive(b"x\r\n.\r\nMAIL FROM:<>\r\n")
    connection.next_event()
    connection.next_event()
    assert connection.pipelined
    connection.send(OK)
    assert connection.next_event() is not NEED_DATA


@pytest.mark.parametrize(
    ("wire", "events"),
    [
        (b"BDAT 2 LAST\r\nhi", [BdatCommand(2, True), ChunkEnd(2, True)]),
        (b"bdat 0 last\r\n", [BdatCommand(0, True), ChunkEnd(0, True)]),
        (
            b"BDAT 2\r\nhiBDAT 1 LAST\r\n\xff",
            [BdatCommand(2, False), ChunkEnd(2, False), BdatCommand(1, True), ChunkEnd(3, True, True)],
        ),
        (b"BDAT 2 LAST\r\na\n", [BdatCommand(2, True), ChunkEnd(2, True, False, STRAY_NEWLINE)]),
        (b"BDAT 1 LAST\r\n\r", [BdatCommand(1, True), ChunkEnd(1, True, False, STRAY_NEWLINE)]),
        (b"BDAT 1 LAST\r\n\0", [BdatCommand(1, True), ChunkEnd(1, True, False, NUL_IN_CONTENT)]),
        (
            b"BDAT 1\r\n\rBDAT 1 LAST\r\nx",
            [BdatCommand(1, False), ChunkEnd(1, False), BdatCommand(1, True), ChunkEnd(2, True, False, STRAY_NEWLINE)],
        ),
        (b"BDAT 11 LAST\r\n12345678901", [BdatCommand(11, True), ChunkEnd(11, True, False, MESSAGE_TOO_LARGE)]),
    ],
)
def test_chunks_become_events(wire: bytes, events: list[object]) -> None:
    """C84, FRM-15 to FRM-20: chunks are counted, not searched, and obey the rules of text over their borders."""
    for width in (1, 3, 100):
        acceptor = in_transaction(SMALL)
        acceptor.feed(*[wire[i : i + width] for i in range(0, len(wire), width)])
        assert acceptor.events == events


def test_binary_content_may_hold_anything() -> None:
    """C85, FRM-25: BINARYMIME content is stored octet for octet."""
    content = bytes(range(256)) + b"\n.\n\r.\r\n.\r\n\r"
    acceptor = in_transaction(mail=b"MAIL FROM:<a@b> BODY=BINARYMIME")
    acceptor.feed(b"BDAT %d LAST\r\n" % len(content) + content)
    assert acceptor.messages == [content]


@pytest.mark.parametrize("between", [b"RSET\r\n", b"EHLO c\r\n"])
def test_what_ends_a_transaction_between_chunks_drops_the_message(between: bytes) -> None:
    """FRM-20: a part of a message never becomes a message, nor of the next one."""
    acceptor = in_transaction()
    acceptor.feed(b"BDAT 2\r\nab", between, b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 2 LAST\r\ncd")
    assert acceptor.messages == [b"cd"]
    end = acceptor.events[-1]
    assert isinstance(end, ChunkEnd)
    assert end.size == 2


def test_a_chunk_may_be_huge_and_is_not_buffered() -> None:
    """FRM-19: 10 GB announced are read over as they come."""
    connection = in_transaction(SMALL).connection
    connection.receive(b"BDAT 10000000000 LAST\r\n")
    assert connection.next_event() == BdatCommand(10**10, True)
    for _ in range(20):
        connection.receive(b"x" * 65536)
        assert connection.next_event() is NEED_DATA
        assert connection.buffered == 0


def test_bdat_is_not_taken_where_it_is_not_announced() -> None:
    """FRM-18: its octets are no commands even then."""
    acceptor = in_transaction(ServerLimits(max_message_size=100, chunking=False))
    assert codes(acceptor.feed(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")) == [502, 250]


def test_lmtp_answers_may_come_one_by_one() -> None:
    """C99: as many replies as accepted recipients, in one call or several, and not one more."""
    acceptor = in_transaction(lmtp=True)
    acceptor.feed(b"RCPT TO:<c@d>\r\n", b"RCPT TO:<nobody@d>\r\n")
    connection = acceptor.connection
    connection.receive(b"DATA\r\n")
    connection.next_event()
    connection.send(GO_AHEAD)
    connection.receive(b"x\r\n.\r\nNOOP\r\n")
    connection.next_event()
    connection.next_event()
    assert connection.replies_due == 2
    with pytest.raises(LocalProtocolError):
        connection.send(OK, OK, OK)
    connection.send(OK)
    assert connection.state is State.DATA
    connection.send(OK)
    assert connection.state is State.READY


def test_lmtp_chunks_are_answered_once_and_the_last_for_each_recipient() -> None:
    """C84, C99: RFC 3030 over LMTP."""
    acceptor = in_transaction(LIMITS, lmtp=True)
    acceptor.feed(b"RCPT TO:<c@d>\r\n")
    assert codes(acceptor.feed(b"BDAT 1\r\nx")) == [250]
    assert codes(acceptor.feed(b"BDAT 1 LAST\r\nx")) == [250, 250]
