"""A slow disk: every fsync takes 5 ms longer (strace's injection on our whole process tree)."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from bench.errors import Unavailable
from bench.load import Load
from bench.peers.upesi import EXAMPLES, UpesiConfigured
from bench.result import Claim, Figure, Result, median_ratio
from bench.setting import Setting
from bench.sink import CountingSink

__all__ = ["SlowDiskDuel"]

# The same attachment for both, so that strace's own cost cancels out; --seccomp-bpf stops only the calls that are named
_STRACE = ("-f", "--seccomp-bpf", "-qq", "-e", "trace=fsync,fdatasync", "-o", "/dev/null")


def strace(delay_us: int) -> tuple[str, ...]:
    """Return the wrapper that makes every fsync and fdatasync take `delay_us` longer; raise Unavailable."""
    tool = shutil.which("strace")
    if tool is None:
        raise Unavailable("strace is missing (apt-get install strace)")
    return (tool, *_STRACE, "-e", f"inject=fsync,fdatasync:delay_enter={delay_us}")


class _Delayed(UpesiConfigured):
    """Relays as relay-bench.toml does, under strace."""

    def __init__(self, work: Path, delay_us: int) -> None:
        text = (EXAMPLES / "relay-bench.toml").read_text()
        super().__init__(work, text, f"delay-{delay_us}", strace(delay_us))


class SlowDiskDuel:
    """50 sessions, 4 kB, kept; the server is the same but for the delay."""

    name = "slow-disk"
    title = "Every fsync 5 ms slower, 50 sessions, 4 kB"

    def run(self, setting: Setting) -> Result:
        """Measure with a delay of 1 us and of 5 ms, in turn."""
        rates: dict[int, list[float]] = {1: [], 5000: []}
        for number in range(min(setting.rounds, 3)):
            for delay, seen in rates.items():
                seen.append(self._rate(setting, delay))
            setting.say(f"  round {number + 1}: {rates[1][-1]:,.0f}/s, with the delay {rates[5000][-1]:,.0f}/s")
        command = "strace " + " ".join((*_STRACE, "-e", "inject=fsync,fdatasync:delay_enter=5000", "upesi serve ..."))
        result = Result(self.name, self.title, command, ("fsync", "messages/s, end to end"))
        result.rows = [("as the disk has it", str(Figure(rates[1]))), ("5 ms slower", str(Figure(rates[5000])))]
        loss = 100 * (1 - median_ratio(rates[5000], rates[1]))
        result.claims = [Claim("rate lost to a slow disk", loss, "%", most=30.0)]
        return result

    def _rate(self, setting: Setting, delay: int) -> float:
        with CountingSink() as sink, _Delayed(setting.work, delay) as ours:
            rate, count = 0.0, 200
            # A guess, a warm-up, the run
            for seconds in (setting.warm_up, setting.seconds, 0.0):
                before, start = sink.count, time.monotonic()
                Load().send(ours.port, count)
                rate = count / (sink.wait_for(before + count) - start)
                count = max(int(rate * seconds), 200)
            return rate
