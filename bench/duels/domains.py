"""Many domains, some of them sick: whether hung and deferring receivers slow down the others' mail."""

from __future__ import annotations

import sys
import time

import uvloop

from bench.client import Sender
from bench.configuration import configured
from bench.peers.upesi import UpesiConfigured
from bench.ports import DNS, SINK, require_free
from bench.processes import Program
from bench.result import Claim, Figure, Result, median_ratio
from bench.setting import Setting
from bench.sink import CountingSink

__all__ = ["DomainsDuel"]

_SITES, _HUNG, _DEFERRING = 200, 10, 20
_PROMISED = 20_000  # messages: two for each domain

_CONFIG = configured(
    2,
    more=f"""\
[delivery]
port = {SINK}
allow_private = true
[dns]
servers = ["127.0.0.1:{DNS}"]
""",
)


class DomainsDuel:
    """10,000 domains on 200 sites, by MX; 5 % of the sites accept and never greet, 10 % answer RCPT with 451.

    Both runs count the mail of the same 170 sites, those that are well in both.
    """

    name = "domains"
    title = "10,000 domains on 200 sites, 5 % of them hung, 10 % answering 4xx: what the healthy ones get"

    def run(self, setting: Setting) -> Result:
        """All healthy, then some sick, in turn."""
        count = max(int(_PROMISED * setting.scale), 4000)
        well, sick = [], []
        for number in range(min(setting.rounds, 3)):
            well.append(self._rate(setting, count, number, 0, 0))
            sick.append(self._rate(setting, count, number, _HUNG, _DEFERRING))
            setting.say(f"  round {number + 1}: all well {well[-1]:,.0f}/s, some sick {sick[-1]:,.0f}/s")
        columns = ("receivers", "messages/s to the 170 sites that are always well")
        result = Result(self.name, self.title, "python -m bench --only domains", columns)
        result.rows = [("all well", str(Figure(well))), ("10 hung, 20 deferring", str(Figure(sick)))]
        reduced = "" if count >= _PROMISED else f"{count:,} of {_PROMISED:,} messages"
        ratio = median_ratio(sick, well)
        result.claims = [Claim("rate of the healthy, some sick against none", ratio, "x", least=0.9, reduced=reduced)]
        result.notes = [
            f"{count:,} messages of 4 kB over {min(count, 10_000):,} domains in each run, a fresh spool and an empty DNS cache each time."
        ]
        return result

    def _rate(self, setting: Setting, count: int, number: int, hung: int, deferring: int) -> float:
        label = f"domains-{number}-{hung}"
        require_free(SINK, "127.1.0.1")
        receiver = ["--port", str(SINK), "--sites", str(_SITES), "--hung", str(hung), "--deferring", str(deferring)]
        argv = [sys.executable, "-m", "bench.receiver", *receiver, "--unwatched", str(_HUNG + _DEFERRING)]
        names = Program([sys.executable, "-m", "bench.names", str(DNS), str(_SITES)], setting.work / "names.log")
        sink = CountingSink(argv)
        try:
            with UpesiConfigured(setting.work, _CONFIG, label) as ours:
                domains = [index % 10_000 for index in range(count)]
                wanted = sum(domain % _SITES >= _HUNG + _DEFERRING for domain in domains)
                start = time.monotonic()
                _send(ours.port, domains)
                return wanted / (sink.wait_for(wanted) - start)
        finally:
            sink.stop()
            names.stop()


def _send(port: int, domains: list[int]) -> None:
    async def run() -> None:
        await Sender(port, (b"b@d%d.bench.example" % domain for domain in domains)).run()

    uvloop.run(run())
