"""The receive buffer."""

from __future__ import annotations

from upesi.protocol.smtp.buffer import ReceiveBuffer


def test_whole_segment_is_not_copied() -> None:
    """What arrives when nothing is left over comes out as the same object."""
    buffer = ReceiveBuffer()
    segment = b"MAIL FROM:<>\r\n"
    buffer.append(segment)
    assert buffer.take_line() is segment
    assert buffer.data == b""


def test_lines_come_out_in_order_whatever_the_segments() -> None:
    """A line may be spread over segments, and a segment may hold lines."""
    for width in range(1, 12):
        buffer = ReceiveBuffer()
        wire, lines = b"a\r\nbc\r\n\r\nd\n", []
        for start in range(0, len(wire), width):
            buffer.append(wire[start : start + width])
            while line := buffer.take_line():
                lines.append(line)
        assert lines == [b"a\r\n", b"bc\r\n", b"\r\n", b"d\n"]
        assert len(buffer) == 0


def test_rest_stays() -> None:
    """What was not taken is there for the next reader, and counted."""
    buffer = ReceiveBuffer()
    buffer.append(b"a\nbcd")
    buffer.take_line()
    assert len(buffer) == 3
    assert buffer.take_line() == b""
    assert buffer.take(buffer.pos + 2) == b"bc"
    buffer.append(b"e\n")
    assert buffer.take_line() == b"de\n"
    buffer.append(b"x")
    buffer.clear()
    assert len(buffer) == 0
