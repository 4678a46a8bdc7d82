"""Properties: one reply per command, in order, however the octets are cut and however long the hooks take; no input breaks a session."""

from __future__ import annotations

import asyncio
import itertools
import random
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sessionkit import Dialogue

from upesi.config.settings import SmtpSettings
from upesi.hooks.verdict import accept, defer, reject

LOOSE = SmtpSettings(max_idle_commands=10_000, soft_errors=10_000, hard_errors=10_000)
LINE = re.compile(rb"[2-5]\d\d[ -][^\r\n]{0,506}\r\n")

# a transaction of r recipients, then other things, numbered so that replies can be told apart
TRANSACTION = st.integers(1, 4).map(
    lambda n: [("MAIL FROM:<a@example.org>", "250"), *[(f"RCPT TO:<u{i}@example.net>", "250") for i in range(n)],
               ("DATA", "354"), ("Subject: x\r\n\r\n..\r\n.", "250")]
)  # fmt: skip
CHUNKED = st.binary(max_size=30).map(
    lambda data: [("MAIL FROM:<a@example.org> BODY=BINARYMIME", "250"), ("RCPT TO:<u@example.net>", "250"),
                  (f"BDAT {len(data)}\r\n".encode() + data, "250"), ("BDAT 0 LAST", "250")]
)  # fmt: skip
# no DATA out of sequence: it must end its group (RFC 2920 section 3.1), and what follows a refused one is judged by that
SIMPLE = st.sampled_from(
    [("NOOP", "250"), ("VRFY x", "252"), ("XYZZY", "500"), ("RSET", "250"), ("EXPN x", "502"),
     ("RCPT TO:<x@example.net>", "503"), ("MAIL FROM:<refused@example.org>", "550"), ("MAIL FROM:<late@example.org>", "451"),
     ("EHLO again.example", "250")]
).map(lambda pair: [pair])  # fmt: skip
SCRIPT = st.lists(st.one_of(TRANSACTION, CHUNKED, SIMPLE), max_size=8)


def octets(steps: list[list[tuple[str | bytes, str]]]) -> tuple[bytes, list[str]]:
    """Return what a client sends in one go, and the codes it must hear."""
    flat = [("EHLO client.example", "250"), *[pair for step in steps for pair in step], ("QUIT", "221")]
    data = b"".join(text if isinstance(text, bytes) else text.encode() + b"\r\n" for text, _ in flat)
    return data, ["220", *[code for _, code in flat]]


def segments(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut `data` at each of `cuts`, modulo its length."""
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def codes(written: bytes) -> list[str]:
    """The codes of all replies, multi-line ones once."""
    return [line[:3].decode() for line in written.split(b"\r\n") if line[3:4] == b" "]


def slow_hooks(chance: random.Random) -> dict[str, object]:
    """Hooks at every point that take between no and eight turns of the loop."""

    def slow(answer: object) -> object:
        async def wait(*arguments: object) -> object:
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(0)
            return answer(*arguments) if callable(answer) else answer

        def sometimes(*arguments: object) -> object:
            if chance.random() < 0.5:
                return answer(*arguments) if callable(answer) else answer
            return wait(*arguments)

        return sometimes

    def sender(_: object, address: object) -> object:
        local = getattr(address, "local", "")
        return {"refused": reject("5.7.1", "No"), "late": defer("4.7.1", "Later")}.get(local)

    points: dict[str, object] = {
        name: slow(None) for name in ("connect", "helo", "capabilities", "route", "data", "message")
    }
    return {**points, "mail": slow(sender), "rcpt": slow(accept())}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=SCRIPT, cuts=st.lists(st.integers(0, 10_000), max_size=20), seed=st.integers(0, 2**32))
def test_one_reply_per_command_in_order(steps: list[list[tuple[str | bytes, str]]], cuts: list[int], seed: int) -> None:
    """C40, CMD-27, FRM-10: with hooks of any duration and segments of any size every command is answered once, in its place."""

    async def run() -> None:
        chance = random.Random(seed)
        talk = Dialogue(settings=LOOSE, **slow_hooks(chance))
        talk.intake.hold = True
        data, expected = octets(steps)
        todo = segments(data, cuts)
        for _ in range(5000):
            if todo and chance.random() < 0.7:
                talk.connection.data_received(todo.pop(0))
            if talk.intake.pending and chance.random() < 0.5:
                talk.intake.commit()
            await asyncio.sleep(0)
            if talk.transport.closed or talk.transport.ended:
                break
        assert codes(talk.transport.written) == expected
        stored = sum(1 for step in steps if len(step) > 1)
        assert len(talk.intake.accepted) == stored
        assert talk.engine.session.messages == stored

    asyncio.run(run())


@settings(max_examples=150, deadline=None)
@given(
    pieces=st.lists(
        st.one_of(
            st.binary(max_size=80),
            st.sampled_from(
                [b"EHLO a.example\r\n", b"HELO a\r\n", b"MAIL FROM:<a@b.example>\r\n", b"RCPT TO:<c@d.example>\r\n",
                 b"DATA\r\n", b"\r\n.\r\n", b"BDAT 7\r\n", b"BDAT 3 LAST\r\n", b"RSET\r\n", b"QUIT\r\n", b"NOOP\r\n",
                 b"MAIL FROM:<> SIZE=99\r\n", b"\r", b"\n", b"\x00"]
            ),
        ),
        max_size=40,
    )
)  # fmt: skip
def test_any_input_is_answered_or_ended(pieces: list[bytes]) -> None:
    """CMD-28: random and mutated sessions hear well-formed lines of at most 512 octets and leave nothing behind."""
    talk = Dialogue()
    for piece in pieces:
        if not talk.transport.closed:
            talk.connection.data_received(piece)
            talk.loop.advance(2)
    written = talk.transport.written
    assert b"".join(LINE.findall(written)) == written
    assert talk.named("session.failed") == []
    talk.hang_up()
    assert all(writer.discarded for writer in talk.intake.writers)
    assert len(talk.named("session.ended")) == 1
