"""The relay duel with ten checks on every message, all of which ask a resolver on this machine."""

from __future__ import annotations

import time

import uvloop

from bench.checked_mail import DOMAIN, ZONES, CheckedMail
from bench.client import Sender
from bench.errors import BenchError
from bench.peers.checking import HarakaChecking, UpesiChecking
from bench.peers.peer import Peer
from bench.processes import cpu_seconds
from bench.resolver import LocalResolver
from bench.result import Claim, Figure, Result, median_ratio
from bench.setting import Setting
from bench.sink import CountingSink
from bench.turns import Turns

__all__ = ["CheckedDuel"]


class CheckedDuel:
    """fcrdns, helo, sender_domain, spf, dkim, dmarc, two DNS lists, headers, access; mail signed with RSA-2048 that passes them all."""

    name = "checked"
    title = "Relay through the durable queue with ten checks on, two workers each, 4 kB, signed, connections kept on the way in"

    def run(self, setting: Setting) -> Result:
        """Take turns and judge."""
        mail = CheckedMail(4000)
        peers: list[Peer] = [HarakaChecking(setting.work), UpesiChecking(setting.work)]
        turns: Turns[float] = Turns()
        with LocalResolver(setting.work, ZONES, mail.records), CountingSink() as sink:
            turns.take(setting, peers, lambda peer, count: _relay(sink, peer, mail.data, count))
        result = Result(
            self.name, self.title, "python -m bench --only checked", ("server", "messages/s", "own CPU, us")
        )
        for peer in peers:
            if peer.name in turns.absent:
                result.rows.append((peer.name, f"could not be had: {turns.absent[peer.name]}", ""))
                continue
            rate, cpu = Figure(turns.rates[peer.name]), Figure(turns.samples[peer.name])
            result.rows.append((f"{peer.name} {peer.version()}", str(rate), str(cpu)))
        if len(turns.rates) == len(peers):
            ratio = median_ratio(turns.rates["Upesi"], turns.rates["Haraka"])
            result.claims.append(Claim("rate against Haraka", ratio, "x", least=4.0))
        result.notes.append(
            "Haraka has no DMARC: it makes nine of the ten checks. Both ask the same unbound on this machine."
        )
        return result


def _relay(sink: CountingSink, peer: Peer, body: bytes, count: int) -> tuple[float, float]:
    """Send, wait for the sink; return the rate and the peer's processor time per message in microseconds."""
    before, cpu, start = sink.count, cpu_seconds(peer.pid), time.monotonic()
    sender = Sender(peer.port, (b"b@example.net" for _ in range(count)), preface=peer.preface, body=body, domain=DOMAIN)
    seen = uvloop.run(sender.run())
    if seen.refused:
        raise BenchError(
            f"{peer.name} refused {seen.refused} of {count} messages: {seen.refusal.decode(errors='replace')}"
        )
    end = sink.wait_for(before + count)
    time.sleep(0.3)
    return count / (end - start), 1e6 * (cpu_seconds(peer.pid) - cpu) / count
