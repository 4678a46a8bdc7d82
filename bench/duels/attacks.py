"""Honest mail while others mean harm: sessions that drip an octet a second, and a flood of connections from one address."""

from __future__ import annotations

import asyncio
import contextlib
import json
import smtplib
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import IO

import uvloop

from bench.attack import command
from bench.client import Acknowledged, Sender
from bench.configuration import MANY_SESSIONS, configured
from bench.duels.idle import sessions_possible
from bench.errors import BenchError
from bench.peers.peer import Peer
from bench.peers.upesi import UpesiConfigured
from bench.ports import RELAY, SINK, require_free
from bench.result import Claim, Result
from bench.setting import Setting
from bench.sink import CountingSink, smtp_sink_argv

__all__ = ["DripDuel", "FloodDuel"]

_CONFIG = configured(
    2,
    listener=MANY_SESSIONS,
    more=f"""\
[[route]]
domains = ["*"]
to = "smtp://127.0.0.1:{SINK}"
[limits]
exempt = ["127.0.0.1/32"]
[delivery]
allow_private = true
""",
)
_DRIPPERS = 10_000
_DRIP_SECONDS = 120.0
_FLOOD_RATE = 1000
_FLOOD_SECONDS = 30.0
# probes a second, each a session of its own from an address of its own, within the limits of a client
_PROBES = 10


class _Attack:
    """One attack under way, and what it says."""

    def __init__(self, argv: list[str]) -> None:
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._output: IO[str] = self._process.stdout

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def line(self) -> dict[str, float]:
        """Return the next line; raise BenchError where none comes."""
        text = self._output.readline()
        if not text:
            raise BenchError("the attack ended without a word")
        found: dict[str, float] = json.loads(text)
        return found

    def end(self) -> None:
        """Stop it, if it still runs."""
        if not self.over:
            self._process.terminate()
        self._process.wait()
        self._output.close()


@contextlib.contextmanager
def _attack(kind: str, number: int, seconds: float) -> Iterator[_Attack]:
    attack = _Attack(command(kind, RELAY, number, seconds))
    try:
        yield attack
    finally:
        attack.end()


@contextlib.contextmanager
def _server(setting: Setting, label: str) -> Iterator[Peer]:
    require_free(SINK)
    with UpesiConfigured(setting.work, _CONFIG, label) as peer, CountingSink(smtp_sink_argv(SINK)):
        yield peer


def _send(count: int, rate: float | None) -> Acknowledged:
    async def run() -> Acknowledged:
        return await Sender(RELAY, (b"b@example.net" for _ in range(count)), sessions=20).run(rate)

    return uvloop.run(run())


def _rate(seen: Acknowledged) -> float:
    """Return acknowledged messages a second."""
    first, last = min(seen.at.values()), max(seen.at.values())
    return (len(seen.at) - 1) / max(last - first, 0.001)


def _capacity(seconds: float) -> float:
    """Return the messages a second that the server acknowledges to the honest client alone, as fast as it can."""
    _send(500, None)
    probe = _rate(_send(1000, None))
    return _rate(_send(max(int(probe * seconds), 1000), None))


def _percentile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


class DripDuel:
    """10,000 sessions that send an octet a second, half of them a command, half of them a message; honest mail meanwhile."""

    name = "drip"
    title = "10,000 clients that drip one octet a second, and honest mail meanwhile, two workers"

    def run(self, setting: Setting) -> Result:
        """Measure the honest client alone, then during the attack, at the same pace: half of what the server can do."""
        count = min(_DRIPPERS, sessions_possible(setting))
        columns = ("", "honest messages/s", "dot to 250: p50 / p99, ms", "sessions left", "last one gone after, s")
        result = Result(self.name, self.title, "python -m bench --only drip", columns)
        with _server(setting, "drip"):
            pace = _capacity(setting.seconds) / 2
            alone = _send(max(int(pace * setting.seconds), 500), pace)
            with _attack("drip", count, _DRIP_SECONDS) as attack:
                opened = attack.line()
                if opened["opened"] < count:
                    raise BenchError(f"only {opened['opened']:.0f} of {count} sessions could be opened")
                meanwhile = _send(max(int(pace * min(setting.seconds * 4, 40.0)), 500), pace)
                end = attack.line()
        reduced = "" if count >= _DRIPPERS else f"{count:,} of {_DRIPPERS:,} sessions"
        for label, seen, drips in (("alone", alone, False), ("meanwhile", meanwhile, True)):
            waits = [1000 * wait for wait in seen.waits]
            row = (label, f"{_rate(seen):,.0f}", f"{_percentile(waits, 0.5):.1f} / {_percentile(waits, 0.99):.1f}")
            result.rows.append((*row, f"{end['left']:.0f}", f"{end['last']:.0f}") if drips else (*row, "", ""))
        part = 100 * _rate(meanwhile) / _rate(alone)
        result.claims += [
            Claim("drip feeds still there after 120 s", end["left"], "sessions", most=0, reduced=reduced),
            Claim("honest throughput meanwhile", part, "%", least=90.0, reduced=reduced),
        ]
        result.notes.append(
            f"The honest client sends {pace:,.0f} messages/s in both rows: half of what the server takes from it alone as fast as it can. "
            "All three share the machine."
        )
        return result


def _probe(number: int) -> float:
    """Return the seconds of a whole session with one message, from an address that is nobody's friend."""
    start = time.monotonic()
    source = (f"127.0.98.{1 + number % 250}", 0)
    with smtplib.SMTP("127.0.0.1", RELAY, timeout=20, source_address=source) as client:
        client.sendmail("a@example.com", ["b@example.net"], b"Subject: probe\r\n\r\nhello\r\n")
    return time.monotonic() - start


async def _probes(going: Callable[[], bool]) -> list[float]:
    """Return the seconds of probes made while `going`."""
    found: list[float] = []
    while going():
        found.append(await asyncio.to_thread(_probe, len(found)))
        await asyncio.sleep(1 / _PROBES)
    return found


class FloodDuel:
    """1,000 connections a second from one address for 30 s; honest mail from others, in sessions of their own and in kept ones."""

    name = "flood"
    title = "1,000 connections a second from one address, and honest mail meanwhile, two workers"

    def run(self, setting: Setting) -> Result:
        """Measure honest sessions and kept connections without and with the flood."""
        seconds = _FLOOD_SECONDS if setting.scale >= 1 else 5.0
        columns = (
            "",
            "new session to 250: p50 / p99, ms",
            "dot to 250, kept: p50 / p99, ms",
            "connections/s",
            "refused",
        )
        result = Result(self.name, self.title, "python -m bench --only flood", columns)
        with _server(setting, "flood"):
            _send(500, None)
            calm = self._measure(setting.seconds)
            with _attack("flood", _FLOOD_RATE, seconds) as attack:
                time.sleep(0.5)
                storm = self._measure(seconds - 1.0)
                seen = attack.line()
        for label, (sessions, kept), flood in (("alone", calm, False), ("meanwhile", storm, True)):
            figures = [f"{_percentile(part, 0.5):.1f} / {_percentile(part, 0.99):.1f}" for part in (sessions, kept)]
            more = (f"{seen['rate']:,.0f}", f"{seen['refused']:,.0f}") if flood else ("", "")
            result.rows.append((label, *figures, *more))
        reduced = "" if seconds >= _FLOOD_SECONDS else f"{seconds:.0f} of {_FLOOD_SECONDS:.0f} s"
        result.claims += [
            Claim("connections of the flood", seen["rate"], "/s", least=0.9 * _FLOOD_RATE, reduced=reduced),
            Claim("honest new sessions, p99", _percentile(storm[0], 0.99), "ms", most=200.0, reduced=reduced),
            Claim(
                "honest messages on kept connections, p99",
                _percentile(storm[1], 0.99),
                "ms",
                most=200.0,
                reduced=reduced,
            ),
        ]
        return result

    def _measure(self, seconds: float) -> tuple[list[float], list[float]]:
        """Return the milliseconds of new sessions and of messages on kept connections, both for so long."""

        async def run() -> tuple[list[float], Acknowledged]:
            end = time.monotonic() + seconds
            sender = Sender(RELAY, (b"b@example.net" for _ in range(int(100 * seconds))), sessions=20)
            return await asyncio.gather(_probes(lambda: time.monotonic() < end), sender.run(100.0))

        sessions, kept = uvloop.run(run())
        return [1000 * value for value in sessions], [1000 * value for value in kept.waits]
