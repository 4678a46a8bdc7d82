"""Latency at half load: how long a client waits for the 250 to its dot, and how soon the next hop has the message."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench.client import Acknowledged, Sender
from bench.errors import BenchError
from bench.peers.haraka import HarakaRelay
from bench.peers.peer import Peer
from bench.peers.postfix import Postfix
from bench.peers.upesi import UpesiRelay
from bench.ports import SINK, require_free
from bench.result import Claim, Result
from bench.setting import Setting
from bench.sink import CountingSink

__all__ = ["LatencyDuel"]


def _percentile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def _sink(record: Path) -> CountingSink:
    """Return a sink that writes to `record`, at its end, when each message was there."""
    require_free(SINK)
    return CountingSink([sys.executable, "-m", "bench.receiver", "--port", str(SINK), "--record", str(record)])


def _send(port: int, count: int, rate: float | None) -> Acknowledged:
    async def run() -> Acknowledged:
        return await Sender(port, (b"b@example.net" for _ in range(count))).run(rate)

    return uvloop.run(run())


def _capacity(sink: CountingSink, peer: Peer, seconds: float) -> float:
    """Return messages per second end to end, with the same client and sink that measure the latency."""
    count, rate = 200, 0.0
    for _ in range(3):
        before, seen = sink.count, _send(peer.port, count, None)
        start = min(seen.at.values()) - max(seen.waits[:1], default=0)
        rate = count / (sink.wait_for(before + count) - start)
        count = max(int(rate * seconds / 2), 200)
    return rate


class LatencyDuel:
    """Half of what each server was just seen to relay, paced, over 50 kept connections; the median of the rounds' percentiles."""

    name = "latency"
    title = "Latency at half of the server's own load, 4 kB, connections kept, two workers each"

    def run(self, setting: Setting) -> Result:
        """Measure one server after the other; judge ours."""
        columns = (
            "server",
            "load, messages/s",
            "dot to 250: p50 / p99, ms",
            "250 to the next hop's 250: p50 / p99, ms",
        )
        result = Result(self.name, self.title, "python -m bench --only latency", columns)
        peers: tuple[Peer, ...] = (Postfix(setting.work), HarakaRelay(setting.work), UpesiRelay(setting.work))
        for peer in peers:
            try:
                self._peer(setting, peer, result)
            except BenchError as error:
                result.rows.append((peer.name, f"could not be had: {error}", "", ""))
        return result

    def _peer(self, setting: Setting, peer: Peer, result: Result) -> None:
        with peer:
            with _sink(setting.work / "latency-unpaced.json") as sink:
                rate = _capacity(sink, peer, setting.seconds) / 2
            rounds = [self._round(setting, peer, rate) for _ in range(setting.rounds)]
        setting.say(f"  {peer.name}, p99 of each round in ms: {', '.join(f'{each[1]:.1f}' for each in rounds)}")
        accepted, accepted99, onward, onward99 = map(statistics.median, zip(*rounds, strict=True))
        row = (f"{accepted:.1f} / {accepted99:.1f}", f"{onward:.1f} / {onward99:.1f}")
        result.rows.append((f"{peer.name} {peer.version()}", f"{rate:,.0f}", *row))
        if peer.name == "Upesi":
            result.claims += [
                Claim("dot to 250, p99", accepted99, "ms", most=20.0),
                Claim("250 to the next hop's 250, p50", onward, "ms", most=50.0),
            ]

    def _round(self, setting: Setting, peer: Peer, rate: float) -> tuple[float, ...]:
        """Return p50 and p99 of the one wait, then of the other, in ms."""
        record = setting.work / "latency.json"
        with _sink(record) as sink:
            count = max(int(rate * setting.seconds), 100)
            seen = _send(peer.port, count, rate)
            sink.wait_for(count)
        waits = [1000 * wait for wait in seen.waits]
        return tuple(_percentile(values, part) for values in (waits, _onward(record, seen)) for part in (0.5, 0.99))


def _onward(record: Path, seen: Acknowledged) -> list[float]:
    """Return the milliseconds between our 250 and the next hop's; below zero where the message overtook its 250."""
    times = dict(json.loads(record.read_text()))
    return [1000 * (times[number] - at) for number, at in seen.at.items() if number in times]
