"""Relay through the durable queue: in over smtp-source, out to smtp-sink, timed until the sink has every message."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

from bench.load import Load
from bench.peers.haraka import HarakaRelay
from bench.peers.peer import Peer
from bench.peers.postfix import Postfix
from bench.peers.upesi import UpesiRelay
from bench.processes import cpu_seconds
from bench.result import Claim, Figure, Result, median_ratio
from bench.setting import Setting
from bench.sink import CountingSink
from bench.turns import Turns

__all__ = ["RelayDuel"]


@dataclasses.dataclass(frozen=True)
class RelayDuel:
    """One load for all. `least` says how many times a peer's rate ours must be; `cpu` bounds our processor time per message."""

    name: str
    title: str
    load: Load
    least: Mapping[str, float]
    cpu: float | None = None

    def run(self, setting: Setting) -> Result:
        """Take turns and judge."""
        peers: list[Peer] = [Postfix(setting.work), HarakaRelay(setting.work), UpesiRelay(setting.work)]
        peers = [peer for peer in peers if peer.name == "Upesi" or peer.name in self.least]
        turns: Turns[float] = Turns()
        with CountingSink() as sink:
            turns.take(setting, peers, lambda peer, count: _relay(sink, self.load, peer, count))
        return self._judge(turns, peers)

    def _judge(self, turns: Turns[float], peers: list[Peer]) -> Result:
        command = "smtp-source " + " ".join(self.load.argv(2608, 10_000)[1:])
        columns = ("server", "messages/s, end to end", "own CPU per message, us", "what its 250 is worth")
        result = Result(self.name, self.title, command, columns)
        for peer in peers:
            if peer.name in turns.absent:
                result.rows.append((peer.name, f"could not be had: {turns.absent[peer.name]}", "", peer.guarantee))
                continue
            rate, cpu = Figure(turns.rates[peer.name]), Figure(turns.samples[peer.name])
            result.rows.append((f"{peer.name} {peer.version()}", str(rate), str(cpu), peer.guarantee))
        if "Upesi" in turns.rates:
            self._claim(turns, result)
        return result

    def _claim(self, turns: Turns[float], result: Result) -> None:
        ours = turns.rates["Upesi"]
        for name, least in self.least.items():
            if name in turns.rates:
                result.claims.append(
                    Claim(f"rate against {name}", median_ratio(ours, turns.rates[name]), "x", least=least)
                )
        if self.cpu is not None:
            value = Figure(turns.samples["Upesi"]).median
            result.claims.append(Claim("own CPU per relayed message", value, "us", most=self.cpu))


def _relay(sink: CountingSink, load: Load, peer: Peer, count: int) -> tuple[float, float]:
    """Send, wait for the sink; return the rate and the peer's processor time per message in microseconds."""
    before, cpu, start = sink.count, cpu_seconds(peer.pid), time.monotonic()
    load.send(peer.port, count)
    end = sink.wait_for(before + count)
    # What a server does behind the last message (commits of outcomes, clearing files) is part of the price
    time.sleep(0.3)
    return count / (end - start), 1e6 * (cpu_seconds(peer.pid) - cpu) / count
