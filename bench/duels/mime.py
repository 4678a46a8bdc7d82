"""The worst messages for a reader of MIME: 25 MB each of one trick, our scanner and Python's `email` package side by side.

Python's reader gets a fortieth of each message: it is quadratic or recursive on some of them, and would not come back.
"""

from __future__ import annotations

import email
import time
import tracemalloc
from collections.abc import Callable

from bench.result import Claim, Result
from bench.setting import Setting
from upesi.mail.body import MemoryBody
from upesi.mail.mime_scan import scan

__all__ = ["MimeDuel"]

_SIZE = 25_000_000
_SHARE = 40
# seconds for the worst message, and memory besides the message
_MOST = 1.0
_MOST_MEMORY = 0.2

_MIXED = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"


def _levels(size: int) -> bytes:
    line = b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n"
    head = _MIXED.replace(b"=b", b"=b0") + b"".join(line % (level, level + 1) for level in range(1000))
    return head + b"--c\r\n" * ((size - len(head)) // 5)


# name: the message of about so many octets
_MESSAGES: dict[str, Callable[[int], bytes]] = {
    "delimiters": lambda size: _MIXED + b"--b\r\n" * (size // 5),
    "empty parts": lambda size: _MIXED + b"--b\r\n\r\n" * (size // 7),
    "lines that begin with a delimiter": lambda size: _MIXED + b"--bx\r\n" * (size // 6),
    "lines of two hyphens": lambda size: _MIXED + b"--\r\n" * (size // 4),
    "a thousand levels": _levels,
    "one field": lambda size: b"Subject: " + b"x" * size,
    "fields": lambda size: b"a: b\r\n" * (size // 6),
    "continuations": lambda size: b"a:" + b"\r\n b" * (size // 4),
    "messages in messages": lambda size: b"Content-Type: message/rfc822\r\n\r\n" * (size // 32),
    "bare CR": lambda size: _MIXED + b"\r" * size,
    "delimiters behind bare LF": lambda size: _MIXED + b"\n--x" * (size // 4),
    "hyphens and blanks": lambda size: _MIXED + (b"\r\n--" + b" " * 990) * (size // 994),
    "one attachment": lambda size: _MIXED + b"--b\r\n\r\n" + b"QUJD" * (size // 4) + b"\r\n--b--\r\n",
}


class MimeDuel:
    """Scan each message; time and memory of the worst."""

    name = "mime"
    title = "The worst messages of 25 MB for a reader of MIME"

    def run(self, setting: Setting) -> Result:
        """Measure all of them."""
        result = Result(
            self.name, self.title, "",
            ("message", "Upesi, s", "memory besides it", "parts", f"Python's email, s for 1/{_SHARE}"),
        )  # fmt: skip
        worst = most = 0.0
        for name, make in _MESSAGES.items():
            setting.say(name)
            message = make(_SIZE)
            took, parts = _scanned(message, setting.rounds)
            share = _memory(message)
            worst, most = max(worst, took), max(most, share)
            other = _theirs(make(_SIZE // _SHARE))
            result.rows.append((name, f"{took:.3f}", f"{share:.1%}", f"{parts:,}", other))
        result.claims.append(Claim("worst message scanned", round(worst, 3), "s", most=_MOST))
        result.claims.append(Claim("memory besides the message", round(100 * most, 1), "%", most=100 * _MOST_MEMORY))
        return result


def _scanned(message: bytes, rounds: int) -> tuple[float, int]:
    """Return the best time of some scans, and how many parts were found."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        found = scan(MemoryBody(message))
        best = min(best, time.process_time() - start)
    return best, len(found.parts)


def _memory(message: bytes) -> float:
    tracemalloc.start()
    try:
        scan(MemoryBody(message))
        return tracemalloc.get_traced_memory()[1] / len(message)
    finally:
        tracemalloc.stop()


def _theirs(message: bytes) -> str:
    start = time.process_time()
    try:
        email.message_from_bytes(message)
    except RecursionError:
        return "RecursionError"
    return f"{time.process_time() - start:.3f}"
