"""Thousands of sessions that stopped after RCPT: memory of each, how fast they are taken in, and whether a probe notices them."""

from __future__ import annotations

import asyncio
import resource
import smtplib
import time
from collections.abc import Callable
from typing import cast

import uvloop

from bench.configuration import DISCARDS, MANY_SESSIONS, configured
from bench.errors import BenchError
from bench.peers.haraka import HarakaDiscard
from bench.peers.peer import Peer
from bench.peers.upesi import UpesiConfigured
from bench.processes import pss_kb
from bench.result import Claim, Result
from bench.setting import Setting

__all__ = ["Held", "IdleDuel", "measure", "sessions_possible"]

_CONFIG = configured(1, listener=MANY_SESSIONS, more=DISCARDS)
_PROMISED = 10_000
_OPENING = 200  # connections being opened at once: below any backlog


class Held(asyncio.Protocol):
    """A session that stops after RCPT."""

    _lines: tuple[bytes, ...] = (
        b"EHLO a.example\r\n",
        b"MAIL FROM:<a@example.com>\r\n",
        b"RCPT TO:<b@example.com>\r\n",
    )

    def __init__(self, ready: asyncio.Future[None]) -> None:
        self._ready, self._step = ready, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        # Each reply here comes whole: it is shorter than any segment, and only one is under way
        last = data.rstrip().rpartition(b"\r\n")[2]
        if last[3:4] == b"-" or self._ready.done():
            return
        if last[:1] != b"2":
            self._ready.set_exception(BenchError(f"refused: {data[:80]!r}"))
        else:
            self.go_on()

    def go_on(self) -> None:
        """Say the next line; behind the last one, stand still."""
        if self._step == len(self._lines):
            self._ready.set_result(None)
        else:
            self.transport.write(self._lines[self._step])
            self._step += 1

    def connection_lost(self, error: Exception | None) -> None:
        if not self._ready.done():
            self._ready.set_exception(BenchError("the server hung up"))


async def _hold(port: int, count: int, kind: Kind) -> tuple[list[Held], float]:
    """Open `count` sessions of a `kind` from many addresses; return them and the seconds until the last one stood."""
    loop, gate, held, start = asyncio.get_running_loop(), asyncio.Semaphore(_OPENING), [], time.monotonic()

    async def one(index: int) -> None:
        async with gate:
            ready: asyncio.Future[None] = loop.create_future()
            source = (f"127.0.{1 + index // 200 % 250}.{1 + index % 200}", 0)
            held.append((await loop.create_connection(lambda: kind(ready), "127.0.0.1", port, local_addr=source))[1])
            await ready

    await asyncio.gather(*(one(index) for index in range(count)))
    return held, time.monotonic() - start


Kind = Callable[[asyncio.Future[None]], Held]


def sessions_possible(setting: Setting) -> int:
    """Return how many sessions the promise speaks of, fewer where files or patience are short."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(int(_PROMISED * max(setting.scale, 0.2)), hard - 500)


def _probe(port: int) -> float:
    start = time.monotonic()
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.sendmail("a@example.com", ["b@example.com"], b"Subject: probe\r\n\r\nhello\r\n")
    return 1000 * (time.monotonic() - start)


async def measure(peer: Peer, count: int, kind: Kind) -> tuple[float, float, float, float]:
    """Return kB of each session, seconds to take all in, median and largest milliseconds of a probe."""
    await asyncio.to_thread(_probe, peer.port)
    before = pss_kb(peer.pid)
    held, took = await _hold(peer.port, count, kind)
    await asyncio.sleep(1)
    after = pss_kb(peer.pid)
    probes = sorted([await asyncio.to_thread(_probe, peer.port) for _ in range(50)])
    lost = sum(session.transport.is_closing() for session in held)
    for session in held:
        session.transport.abort()
    if lost:
        raise BenchError(f"{lost} of {count} sessions were closed by the server")
    return (after - before) / count, took, probes[len(probes) // 2], probes[-1]


class IdleDuel:
    """10,000 sessions on one worker (fewer where the limit of open files is lower), each server by itself."""

    name = "idle"
    title = "Sessions stopped after RCPT, one worker"

    def run(self, setting: Setting) -> Result:
        """Hold them at ours and, for comparison, at Haraka."""
        count = sessions_possible(setting)
        columns = ("server", "sessions", "kB each (Pss)", "all taken in, s", "probe p50, ms", "probe max, ms")
        result = Result(self.name, self.title, "python -m bench --only idle", columns)
        for peer in (HarakaDiscard(setting.work), UpesiConfigured(setting.work, _CONFIG, "idle")):
            try:
                with peer:
                    kb, took, median, largest = uvloop.run(measure(peer, count, Held))
            except (BenchError, OSError) as error:
                result.rows.append((peer.name, f"could not be measured: {error}", "", "", "", ""))
                continue
            figures = (f"{count:,}", f"{kb:.2f}", f"{took:.2f}", f"{median:.1f}", f"{largest:.1f}")
            result.rows.append((f"{peer.name} {peer.version()}", *figures))
            if peer.name == "Upesi":
                reduced = "" if count >= _PROMISED else f"{count:,} of {_PROMISED:,} sessions"
                result.claims += [
                    Claim("memory of a session", kb, "kB", most=6.0, reduced=reduced),
                    Claim("all sessions taken in", took, "s", most=5.0, reduced=reduced),
                    Claim("slowest of 50 probes meanwhile", largest, "ms", most=50.0, reduced=reduced),
                ]
        return result
