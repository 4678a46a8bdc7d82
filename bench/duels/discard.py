"""Accept and discard: the protocol and the hooks alone, each server on one core and the client on the other."""

from __future__ import annotations

import os

from bench.load import Load
from bench.peers.discarding import Aiosmtpd, SmtpSink
from bench.peers.haraka import HarakaDiscard
from bench.peers.peer import Peer
from bench.peers.upesi import UpesiDiscard
from bench.result import Claim, Figure, Result, median_ratio
from bench.setting import Setting
from bench.turns import Turns

__all__ = ["DiscardDuel"]

_LEAST = {"smtp-sink": 1.0, "aiosmtpd": 2.5, "Haraka": 2.5}


class DiscardDuel:
    """One core for the server (taskset), connections kept, 4 kB."""

    name = "discard"
    title = "Accept and discard, one core, default hooks, 4 kB, connections kept"

    def run(self, setting: Setting) -> Result:
        """Take turns and judge."""
        cores = sorted(os.sched_getaffinity(0))
        load = Load(core=cores[0])
        core = cores[-1]
        kinds: tuple[type[Peer], ...] = (SmtpSink, Aiosmtpd, HarakaDiscard, UpesiDiscard)
        peers = [kind(setting.work, core) for kind in kinds]
        turns: Turns[None] = Turns()
        turns.take(setting, peers, lambda peer, count: (count / load.send(peer.port, count), None))
        command = f"taskset -c {core} SERVER; " + " ".join(load.argv(2609, 10_000))
        result = Result(self.name, self.title, command, ("server", "messages/s"))
        for peer in peers:
            absent = turns.absent.get(peer.name)
            figure = f"could not be had: {absent}" if absent else str(Figure(turns.rates[peer.name]))
            result.rows.append((peer.name if absent else f"{peer.name} {peer.version()}", figure))
        for name, least in _LEAST.items():
            if name in turns.rates and "Upesi" in turns.rates:
                ratio = median_ratio(turns.rates["Upesi"], turns.rates[name])
                result.claims.append(Claim(f"rate against {name}", ratio, "x", least=least))
        return result
