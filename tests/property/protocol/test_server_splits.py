"""Properties of the server machine: cuts do not matter, garbage does not hurt, time is linear."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.scenarios.acceptor import GO_AHEAD, LIMITS, Acceptor, in_transaction

from upesi.mail.reply import Reply
from upesi.protocol.smtp.events import NEED_DATA, Pause
from upesi.protocol.smtp.known import KnownLines
from upesi.protocol.smtp.server import ServerConnection, ServerLimits
from upesi.protocol.smtp.states import State

# pieces of which dialogues are put together: sensible ones, so that every state is reached, and the edges of framing
PIECES = [
    b"EHLO c\r\n", b"HELO c\r\n", b"LHLO c\r\n", b"MAIL FROM:<a@b>\r\n", b"MAIL FROM:<a@b> BODY=BINARYMIME\r\n",
    b"MAIL FROM:<> SIZE=9 SMTPUTF8\r\n", b"RCPT TO:<a@b>\r\n", b"RCPT TO:<nobody@b>\r\n",
    b"RCPT TO:<\xc3\xa9@b>\r\n", b"DATA\r\n", b"Subject: x\r\n\r\nbody\r\n", b".\r\n", b"\r\n.\r\n", b"..\r\n",
    b".", b"\r", b"\n", b"\0", b"\xff", b"\r\n", b"BDAT 3\r\n", b"BDAT 5 LAST\r\n", b"BDAT 0 LAST\r\n",
    b"BDAT 2 X\r\n", b"abc", b"RSET\r\n", b"NOOP\r\n", b"QUIT\r\n", b"GET / HTTP/1.1\r\n", b"x" * 600,
    b"x" * 3_000, b"y" * 70_000, b"VRFY \t\r\n", b"FOO bar\n", b" ",
    b"XCLIENT ADDR=192.0.2.1\r\n", b"XFORWARD NAME=a+0D+0A\r\n", b"ETRN @b.example\r\n",
]  # fmt: skip
GOOD_START = b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\n"
SMALL = ServerLimits(max_message_size=60)
dialogues = st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join)
starts = st.sampled_from([b"", b"EHLO c\r\n", GOOD_START, GOOD_START + b"DATA\r\n", GOOD_START + b"BDAT 6\r\n"])


def outcome(
    segments: list[bytes], limits: ServerLimits, lmtp: bool, known: KnownLines | None = None
) -> tuple[object, ...]:
    """Return all that may be told apart from outside."""
    acceptor = Acceptor(limits, lmtp=lmtp, known=known)
    acceptor.feed(*segments)
    return acceptor.events, acceptor.messages, acceptor.output, acceptor.connection.state


@given(starts, dialogues, st.lists(st.integers(1, 400), max_size=12), st.sampled_from([LIMITS, SMALL]), st.booleans())
@example(GOOD_START + b"DATA\r\n", b"a\r\n.b\r\n..\r\n.\r\nNOOP\r\n", [], LIMITS, False)
@example(b"", b"EHLO a\nQUIT\r\nEHLO c\r\n", [], LIMITS, False)
def test_cuts_do_not_matter(start: bytes, rest: bytes, cuts: list[int], limits: ServerLimits, lmtp: bool) -> None:
    """FRM-10: the same octets give the same events, messages and replies however they are cut into segments."""
    wire = start + rest
    whole = outcome([wire], limits, lmtp)
    segments, at = [], 0
    for cut in cuts:
        segments.append(wire[at : at + cut])
        at += cut
    assert outcome([segment for segment in [*segments, wire[at:]] if segment], limits, lmtp) == whole
    if len(wire) < 2000:
        assert outcome([wire[i : i + 1] for i in range(len(wire))], limits, lmtp) == whole


@given(starts, dialogues, starts, dialogues, st.sampled_from([LIMITS, SMALL]), st.booleans())
@example(
    GOOD_START,
    b"DATA\r\n.\r\n",
    b"EHLO c\r\nMAIL FROM:<a@b> BODY=BINARYMIME\r\nRCPT TO:<a@b>\r\n",
    b"DATA\r\n",
    LIMITS,
    False,
)
@example(GOOD_START, b"", b"EHLO c\r\nx\nMAIL FROM:<a@b>\r\n", b"", LIMITS, False)
@example(GOOD_START, b"", b"", b"x" * 3000 + b"MAIL FROM:<a@b>\r\n", LIMITS, False)
def test_what_others_have_said_does_not_matter(
    before: bytes, others: bytes, start: bytes, rest: bytes, limits: ServerLimits, lmtp: bool
) -> None:
    """A line means the same whether the listener has read it before or not, for this client or for others."""
    known = KnownLines()
    outcome([before + others], limits, lmtp, known)
    fresh = outcome([start + rest], limits, lmtp)
    assert outcome([start + rest], limits, lmtp, known) == fresh
    assert outcome([start + rest], limits, lmtp, known) == fresh


@given(starts, st.one_of(st.binary(max_size=300), dialogues), st.booleans())
def test_garbage_is_answered_and_never_raises_anything_else(start: bytes, garbage: bytes, lmtp: bool) -> None:
    """CMD-28: any octets become events or RemoteProtocolError; every reply line is well formed and at most 512 octets."""
    acceptor = Acceptor(lmtp=lmtp)
    acceptor.feed(start, garbage)
    acceptor.eof()
    assert acceptor.connection.state is State.CLOSED
    lines = acceptor.output.split(b"\r\n")
    assert lines.pop() == b""
    for line in lines:
        assert line[:1] in b"2345"
        assert len(line) <= 510
        assert line.decode().isprintable()


@given(
    st.lists(st.sampled_from([b"a", b".", b"\r\n", b"..", b"\xff", b"."]), max_size=30).map(b"".join),
    st.lists(st.integers(1, 9), max_size=9),
)
def test_content_goes_through_unchanged(content: bytes, cuts: list[int]) -> None:
    """C06: what a client stuffs, the server unstuffs, octet for octet, wherever the segments are cut."""
    content += b"\r\n"
    stuffed = b"".join(b"." + line if line.startswith(b".") else line for line in content.splitlines(keepends=True))
    acceptor = in_transaction()
    wire, at = stuffed + b".\r\n", 0
    acceptor.feed(b"DATA\r\n")
    for cut in cuts:
        acceptor.feed(wire[at : at + cut])
        at += cut
    acceptor.feed(wire[at:])
    assert acceptor.messages == [content]


@given(st.binary(max_size=40))
def test_no_octets_inside_a_chunk_are_taken_for_anything_else(content: bytes) -> None:
    """FRM-15, FRM-25: a BINARYMIME chunk is its octets, and what follows is a command."""
    acceptor = in_transaction(mail=b"MAIL FROM:<a@b> BODY=BINARYMIME")
    answer = acceptor.feed(b"BDAT %d LAST\r\n" % len(content) + content + b"NOOP\r\n")
    assert acceptor.messages == [content]
    assert answer.count(b"250 2.0.0") == 2


def _content(limits: ServerLimits, segment: bytes) -> Callable[[int], None]:
    def run(n: int) -> None:
        connection = in_transaction(limits).connection
        connection.receive(b"DATA\r\n")
        connection.next_event()
        connection.send(GO_AHEAD)
        for _ in range(n):
            connection.receive(segment)
            while not isinstance(event := connection.next_event(), Pause):
                pass
            assert event is NEED_DATA

    return run


def _commands(segment: bytes, at_once: bool) -> Callable[[int], None]:
    def run(n: int) -> None:
        acceptor = Acceptor()
        acceptor.feed(b"EHLO c\r\n")
        if at_once:
            acceptor.feed(segment * n)
        else:
            acceptor.feed(*[segment] * n)

    return run


def _paused(n: int) -> None:
    connection = ServerConnection(LIMITS)
    for _ in range(n):
        connection.receive(b"NOOP\r\n")
    connection.send(Reply.make(220, "", "hi"))
    for _ in range(n):
        connection.next_event()
        connection.send(Reply.make(250, "2.0.0", "Ok"))


LARGE = ServerLimits(max_message_size=10**9)


@pytest.mark.parametrize(
    ("work", "n"),
    [
        pytest.param(_content(LARGE, b"x"), 10_000, id="data, octet by octet"),
        pytest.param(_content(LARGE, b"\r"), 10_000, id="data of CRs"),
        pytest.param(_content(LARGE, b"\r\n.\r"), 10_000, id="data of nearly ends"),
        pytest.param(_content(LARGE, b"\r\n.\r" * 20_000), 10, id="large segments of nearly ends"),
        pytest.param(_content(LARGE, b"\n" * 20_000), 10, id="large segments of LFs"),
        pytest.param(_commands(b"x", at_once=False), 20_000, id="a line, octet by octet"),
        pytest.param(_commands(b"NOOP\r\n", at_once=True), 5_000, id="a pipelined group"),
        pytest.param(_commands(b"a\n", at_once=True), 5_000, id="bare LFs"),
        pytest.param(_paused, 5_000, id="held while a reply is outstanding"),
    ],
)
def test_time_is_linear(work: Callable[[int], None], n: int) -> None:
    """Twice the input takes about twice the time (2.6 with a margin); quadratic work would take four times as long.

    A neighbour on the machine can slow one run; so each measurement is the best of some, and the claim may be tried again.
    """

    def best(size: int) -> float:
        times = []
        for _ in range(3):
            start = time.process_time()
            work(size)
            times.append(time.process_time() - start)
        return min(times)

    ratios = []
    for _ in range(5):
        ratios.append(best(2 * n) / max(best(n), 1e-4))
        if ratios[-1] <= 2.6:
            return
    pytest.fail(f"not linear: {ratios}")
