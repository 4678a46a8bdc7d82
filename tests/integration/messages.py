"""Messages for tests: numbered, and in every shape that must come out as it went in."""

from __future__ import annotations

import random
import re

__all__ = ["awkward", "number_of", "numbered", "without_trace"]

_NUMBER = re.compile(rb"^X-Number: (\d+)\r$", re.MULTILINE)
_RECEIVED = re.compile(rb"Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")


def numbered(number: int, body: bytes = b"hello\r\n") -> bytes:
    """Return a message that `number_of` knows again."""
    return b"X-Number: %d\r\nSubject: test\r\nFrom: <a@example.com>\r\n\r\n" % number + body


def number_of(data: bytes) -> int:
    """Return the number of a message made by `numbered`."""
    match = _NUMBER.search(data)
    assert match is not None, data[:300]
    return int(match[1])


def without_trace(data: bytes) -> bytes:
    """Return `data` without the one Received field that a hop puts in front of it (RFC 5321 section 4.4); fail if it is not there."""
    match = _RECEIVED.match(data)
    assert match is not None, data[:300]
    return data[match.end() :]


def awkward(chance: random.Random) -> bytes:
    """Return a body of one of many kinds: dots, 8-bit, empty lines, long lines, nothing, larger than the spool keeps inline."""
    kinds = (
        lambda: b"",
        lambda: b"." + b"\r\n",
        lambda: b"..\r\n.\r\n..leading\r\n...\r\n",
        lambda: b"\r\n" * chance.randrange(1, 50),
        lambda: bytes(chance.choice(b"\xe9\xf6\xfc abc\t\xff\x80") for _ in range(chance.randrange(900))) + b"\r\n",
        lambda: b"x" * 998 + b"\r\n",
        lambda: b"--b\r\nContent-Type: text/plain\r\n\r\nFrom the start\r\n--b--\r\n",
        lambda: (
            b"0123456789abcdef" * 62
            + b"\r\n"
            + b"".join(b"line %d.\r\n." % n + b"\r\n" for n in range(chance.randrange(400)))
        ),
        lambda: (b"%062d\r\n" % chance.randrange(10**9)) * chance.randrange(1, 4000),
    )
    return chance.choice(kinds)()
