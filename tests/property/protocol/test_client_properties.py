"""Properties of the client machine: any octets are a reply or an error, cuts do not matter, content comes out as it went in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.scenarios.acceptor import in_transaction

from upesi.mail.errors import RemoteProtocolError, UnsendableContent
from upesi.protocol.smtp.extensions import Extensions
from upesi.protocol.smtp.framing import is_text, stuffed
from upesi.protocol.smtp.replies import ParsedReply, ReplyParser

PIECES = [
    b"250",
    b"-",
    b" ",
    b"\r\n",
    b"\n",
    b"\r",
    b"550",
    b"5.1.1",
    b"2.0.0 ok",
    b"\x1b[0m",
    b"\xff",
    b"\xe2\x80\xae",
    b"x" * 600,
    b"0",
]
reply_octets = st.one_of(st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join), st.binary(max_size=200))


def parse(segments: list[bytes]) -> list[ParsedReply | str]:
    """Return all replies, and the error that ends them."""
    parser = ReplyParser()
    replies: list[ParsedReply | str] = []
    for segment in segments:
        parser.receive(segment)
        try:
            while (reply := parser.next()) is not None:
                replies.append(reply)
        except RemoteProtocolError as error:
            return [*replies, str(error)]
    return replies


@given(reply_octets)
def test_any_octets_are_replies_or_an_error(octets: bytes) -> None:
    """OUT-02: nothing else is raised, and what comes out is on one line and printable."""
    for reply in parse([octets]):
        if isinstance(reply, ParsedReply):
            assert 200 <= reply.code <= 599
            assert all(not set(line) & set("\r\n\0\x1b\u202e\u2028") for line in reply.lines)
            assert reply.status == "" or reply.status[0] == str(reply.code)[0]


@given(reply_octets, st.integers(1, 50))
def test_cuts_do_not_matter_to_replies(octets: bytes, width: int) -> None:
    """The same octets give the same replies however they are cut."""
    assert parse([octets[i : i + width] for i in range(0, len(octets), width)]) == parse([octets])


@given(
    st.lists(
        st.one_of(st.text(max_size=30), st.sampled_from(["SIZE 5", "AUTH=X", "LIMITS A=1", "LIMITS RCPTMAX=9"])),
        max_size=20,
    )
)
def test_any_announcement_can_be_read(lines: list[str]) -> None:
    """OUT-08: reading the answer to EHLO never fails."""
    assert isinstance(Extensions.parse(lines), Extensions)


@given(
    st.lists(
        st.lists(st.sampled_from([b"a", b".", b"\r\n", b"\r", b"\n", b"\0"]), max_size=6).map(b"".join), max_size=6
    )
)
def test_content_survives_the_way_through_both_machines(chunks: list[bytes]) -> None:
    """C06, FRM-23: what the client frames the server stores, octet for octet; what it cannot frame never leaves."""
    content = b"".join(chunks)
    try:
        wire = b"".join(stuffed(chunks))
    except UnsendableContent:
        assert not is_text(chunks)
        return
    assert is_text(chunks)
    assert wire.count(b"\n") == wire.count(b"\r") == wire.count(b"\r\n")
    acceptor = in_transaction()
    acceptor.feed(b"DATA\r\n", wire)
    assert acceptor.messages == [content if content.endswith(b"\r\n") or not content else content + b"\r\n"]
