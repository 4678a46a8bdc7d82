"""The octets of a message: DATA, BDAT, sizes, what is refused and where the session then stands."""

from __future__ import annotations

import pytest
from sessionkit import Dialogue, MemoryIntake

from upesi.hooks.verdict import defer, reject
from upesi.session.intake import MemoryFull
from upesi.spool.store import SpoolError, SpoolFull

CONTENT = b"Subject: x\r\n\r\nHello\r\n"
WHOLE = (
    b"EHLO client.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
    b"Subject: x\r\n\r\nHello\r\n..dot\r\n.\r\nMAIL FROM:<c@example.org>\r\nRSET\r\nQUIT\r\n"
)


def outcome(segments: list[bytes]) -> tuple[bytes, list[bytes]]:
    """Feed `segments`; return all that was answered and all that was stored."""
    talk = Dialogue()
    for segment in segments:
        talk.connection.data_received(segment)
    return talk.transport.written, talk.intake.contents


def test_a_session_does_not_depend_on_its_segments() -> None:
    """FRM-10: one octet per segment, one segment in all, and every cut into two give the same replies and the same message."""
    whole = outcome([WHOLE])
    assert whole[1] == [b"Subject: x\r\n\r\nHello\r\n.dot\r\n"]
    assert outcome([WHOLE[n : n + 1] for n in range(len(WHOLE))]) == whole
    for cut in range(1, len(WHOLE)):
        assert outcome([WHOLE[:cut], WHOLE[cut:]]) == whole


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (b"..\r\n", b".\r\n"),
        (b"..x\r\n", b".x\r\n"),
        (b".x\r\n", b"x\r\n"),
        (b"a\r\n...\r\n", b"a\r\n..\r\n"),
        (b"", b""),
    ],
)
def test_dots_are_removed_once(sent: bytes, stored: bytes) -> None:
    """FRM-11, FRM-12: transparency is undone exactly once; an empty message is a message."""
    talk = Dialogue()
    talk.begin()
    assert talk.send(sent)[0].startswith("250 ")
    assert talk.intake.contents == [stored]
    assert talk.intake.accepted[0].prefix.startswith(b"Received: from ")


def test_the_next_transaction_may_come_with_the_message() -> None:
    """FRM-13, C41: MAIL in the same segment as the end of data is run (RFC 2920 section 3.1)."""
    talk = Dialogue()
    talk.begin()
    assert talk.codes("DATA") == ["354"]
    assert talk.codes(CONTENT + b".\r\n", "MAIL FROM:<c@example.org>", "RCPT TO:<d@example.net>", "DATA") == [
        "250",
        "250",
        "250",
        "354",
    ]
    assert talk.codes(CONTENT + b".\r\n") == ["250"]
    assert [str(m.reverse_path) for m in talk.intake.accepted] == ["a@example.org", "c@example.org"]


@pytest.mark.parametrize("sent", [b"", b"Subject: x\r\n\r\nHel", CONTENT + b".", CONTENT + b".\r"])
def test_an_unfinished_message_is_nothing(sent: bytes) -> None:
    """FRM-14: a client that hangs up before the end of data leaves nothing behind, and the log says so."""
    talk = Dialogue()
    talk.begin()
    talk.say("DATA")
    talk.connection.data_received(sent)
    talk.hang_up()
    assert talk.intake.accepted == []
    assert all(writer.discarded for writer in talk.intake.writers)
    assert [fields["reason"] for fields in talk.named("transaction.refused")] == ["lost"]


def test_a_bare_newline_refuses_the_message_only() -> None:
    """FRM-01: the message is read to its real end, refused 550, and the session goes on; what it smuggled was content."""
    talk = Dialogue()
    talk.begin()
    assert talk.codes("DATA") == ["354"]
    assert talk.say(b"a\r\n\n.\n\nMAIL FROM:<evil@example.org>\r\n.\r\n")[0].startswith("550 5.5.2 ")
    assert talk.intake.accepted == []
    assert talk.codes("MAIL FROM:<c@example.org>") == ["250"]


def test_a_chunk_ends_where_its_size_says() -> None:
    """FRM-16: of BDAT 5 LAST and ten octets five are content, the others a command."""
    talk = Dialogue()
    talk.begin()
    assert talk.codes(b"BDAT 5 LAST\r\nabc\r\nNOOP\r\n") == ["250", "250"]
    assert talk.intake.contents == [b"abc\r\n"]


@pytest.mark.parametrize("argument", ["-1", "0x5", "1e3", "99999999999999999999", ""])
def test_a_chunk_without_a_known_end_ends_the_session(argument: str) -> None:
    """FRM-17: where the octets end cannot be known, so nothing behind them may be run."""
    talk = Dialogue()
    talk.begin()
    codes = talk.codes(f"BDAT {argument}", "MAIL FROM:<evil@example.org>")
    assert codes == ["421"]
    assert talk.transport.ended


def test_chunks_of_no_transaction_are_read_over() -> None:
    """FRM-18: BDAT before RCPT is 503, its octets consumed, not run."""
    talk = Dialogue()
    talk.hello()
    assert talk.codes(b"BDAT 6\r\nQUIT\r\n", "NOOP") == ["503", "250"]


def test_data_and_chunks_do_not_mix() -> None:
    """FRM-18: DATA behind BDAT is 503; the transaction is not broken by the attempt."""
    talk = Dialogue()
    talk.begin()
    assert talk.codes(b"BDAT 3\r\na\r\n", "DATA", b"BDAT 3 LAST\r\nb\r\n") == ["250", "503", "250"]
    assert talk.intake.contents == [b"a\r\nb\r\n"]


def test_chunks_are_answered_each_and_errors_stick() -> None:
    """C84, FRM-18: a chunk that was refused breaks the message; the next ones are 503 until RSET (RFC 3030 section 2)."""
    intake = MemoryIntake()
    intake.write_error = SpoolFull("no room")
    talk = Dialogue(intake=intake)
    talk.begin()
    assert talk.say(b"BDAT 3\r\na\r\n")[0].startswith("452 4.3.1 ")
    assert talk.codes(b"BDAT 3 LAST\r\nb\r\n", "RSET") == ["503", "250"]
    assert intake.accepted == []
    assert all(writer.discarded for writer in intake.writers)


def test_an_empty_last_chunk_ends_the_message() -> None:
    """FRM-20, C84: BDAT 0 LAST is legal."""
    talk = Dialogue()
    talk.begin()
    assert talk.codes(b"BDAT 3\r\na\r\n", "BDAT 0 LAST") == ["250", "250"]
    assert talk.intake.contents == [b"a\r\n"]


@pytest.mark.parametrize(("line", "code"), [("RSET", "250"), ("EHLO a.example", "250"), ("QUIT", "221")])
def test_a_message_in_chunks_may_be_given_up(line: str, code: str) -> None:
    """FRM-20: RSET, EHLO and QUIT between chunks drop the partial message."""
    talk = Dialogue()
    talk.begin()
    assert talk.codes(b"BDAT 3\r\na\r\n", line) == ["250", code]
    talk.hang_up()
    assert talk.intake.accepted == []
    assert all(writer.discarded for writer in talk.intake.writers)


def test_binary_content_needs_chunks() -> None:
    """FRM-21: BODY=BINARYMIME then DATA is 503; BDAT takes it octet for octet (FRM-25)."""
    talk = Dialogue()
    talk.hello()
    assert talk.codes("MAIL FROM:<a@example.org> BODY=BINARYMIME", "RCPT TO:<b@example.net>", "DATA") == [
        "250",
        "250",
        "503",
    ]
    assert talk.codes(b"BDAT 5 LAST\r\n\x00\n\r\xff.") == ["250"]
    assert talk.intake.contents == [b"\x00\n\r\xff."]


def test_a_declared_size_beyond_the_limit_is_refused_at_mail() -> None:
    """C37: SIZE over the limit is 552 5.3.4 before anything is sent (RFC 1870 section 6.1)."""
    talk = Dialogue(max_message_size=1000)
    talk.hello()
    assert talk.say("MAIL FROM:<a@example.org> SIZE=1001")[0].startswith("552 5.3.4 ")
    assert talk.codes("MAIL FROM:<a@example.org> SIZE=1000") == ["250"]


@pytest.mark.parametrize("sent", [b"x" * 998 + b"\r\n" + b"yy\r\n.\r\n"])
def test_a_message_beyond_the_limit_is_refused_at_its_end(sent: bytes) -> None:
    """C38: a client that declared less hears 552 behind the end of data; nothing is kept."""
    talk = Dialogue(max_message_size=1000)
    talk.begin()
    assert talk.codes("DATA") == ["354"]
    assert talk.say(sent)[0].startswith("552 5.3.4 ")
    assert talk.intake.accepted == []


def test_chunks_beyond_the_limit_are_not_kept() -> None:
    """FRM-19: of a huge chunk nothing beyond the limit is kept, and it is answered 552 at its end."""
    talk = Dialogue(max_message_size=100_000)
    talk.begin()
    talk.say(b"BDAT 1000000 LAST\r\n")
    for _ in range(1000):
        talk.connection.data_received(b"y" * 998 + b"\r\n")
    assert talk.heard()[0].startswith("552 5.3.4 ")
    assert sum(len(piece) for writer in talk.intake.writers for piece in writer.pieces) <= 100_000


def test_a_full_spool_defers_at_mail() -> None:
    """C38: no room is 452 4.3.1, before the client sends a message for nothing."""
    talk = Dialogue()
    talk.intake.is_full = True
    talk.hello()
    assert talk.say("MAIL FROM:<a@example.org>")[0].startswith("452 4.3.1 ")
    talk.intake.is_full = False
    assert talk.codes("MAIL FROM:<a@example.org>") == ["250"]


def test_memory_that_is_short_is_not_called_a_full_disk() -> None:
    """RES-03: the same code, and words that send nobody to `df`: at MAIL and at DATA."""
    talk = Dialogue()
    talk.intake.is_full = talk.intake.is_starved = True
    talk.hello()
    assert talk.say("MAIL FROM:<a@example.org>") == ["452 4.3.1 Out of memory for now, try again later"]
    talk.intake.is_starved = False
    assert talk.say("MAIL FROM:<a@example.org>") == ["452 4.3.1 Insufficient system storage"]
    talk.intake.is_full = False
    talk.intake.open_error = MemoryFull("secret")
    talk.say("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>")
    assert talk.say("DATA") == ["452 4.3.1 Out of memory for now, try again later"]


@pytest.mark.parametrize(("error", "said"), [(SpoolFull("secret"), "452 4.3.1 "), (SpoolError("secret"), "451 4.3.0 ")])
def test_what_cannot_be_written_is_deferred_at_the_end(error: SpoolError, said: str) -> None:
    """C38: a disk that fills during the data defers the message; the reason's text does not reach the client."""
    intake = MemoryIntake()
    intake.write_error = error
    talk = Dialogue(intake=intake)
    talk.begin()
    lines = talk.send()
    assert lines[0].startswith(said)
    assert "secret" not in lines[0]
    assert intake.accepted == []
    assert talk.codes("MAIL FROM:<a@example.org>") == ["250"]


@pytest.mark.parametrize(("verdict", "code"), [(reject("5.7.1", "No"), "550"), (defer("4.7.1", "Later"), "451")])
def test_data_hooks_speak_before_the_message(verdict: object, code: str) -> None:
    """PLUGINS.md: `data` refuses before 354; the transaction stands, for RSET."""
    talk = Dialogue(data=lambda tx: verdict)
    talk.begin()
    assert talk.codes("DATA") == [code]
    assert talk.codes("RSET") == ["250"]
    # a refused BDAT is answered behind its octets
    talk.begin()
    assert talk.codes(b"BDAT 6 LAST\r\nQUIT\r\n", "NOOP") == [code, "250"]
    assert talk.intake.accepted == []


def test_too_many_hops_are_refused_by_a_message_hook() -> None:
    """C25: what a plugin answers to a loop, 554 5.4.6, is what the client hears, and nothing is kept."""

    def hops(tx: object) -> object:
        head = tx.body.read(0, 10_000)  # type: ignore[attr-defined]
        return reject("5.4.6", "Too many hops", code=554) if head.count(b"Received:") > 100 else None

    talk = Dialogue(message=hops)
    talk.begin()
    assert talk.send(b"Received: x\r\n" * 101 + b"\r\n") == ["554 5.4.6 Too many hops"]
    talk.begin()
    assert talk.send(b"Received: x\r\n" * 100 + b"\r\n")[0].startswith("250 ")
    assert len(talk.intake.accepted) == 1
