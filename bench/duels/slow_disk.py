"""A slow disk: every fsync and fdatasync of our whole process tree takes 5 ms longer (`slow_sync.c`, loaded before libc).

Not with strace's injection, as before: `strace -f --seccomp-bpf` (6.1) stops a thread at every system call until it has made its first
one that is traced, so threads that never sync were measured at a stop for each pread and pwrite (1,002 switches for 500 writes; none
behind one sync).
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from bench.errors import BenchError, Unavailable
from bench.load import Load
from bench.peers.upesi import EXAMPLES, UpesiConfigured
from bench.processes import family
from bench.result import Claim, Figure, Result, median_ratio
from bench.setting import Setting
from bench.sink import CountingSink

__all__ = ["SlowDiskDuel"]

_SOURCE = Path(__file__).with_name("slow_sync.c")
_DELAY_US = 5000


def library(work: Path) -> Path:
    """Compile the library that delays into `work`; raise Unavailable."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise Unavailable("a C compiler is missing (apt-get install gcc)")
    made = work / "slow_sync.so"
    done = subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", made, _SOURCE, "-ldl"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Unavailable(f"cannot compile {_SOURCE.name}: {done.stderr[-300:]}")
    return made


def _wrapper(library: Path | str, delay_us: int) -> tuple[str, ...]:
    return ("env", f"LD_PRELOAD={library}", f"SLOW_SYNC_US={delay_us}")


class _Delayed(UpesiConfigured):
    """Relays as relay-bench.toml does, with the library in every process."""

    def __init__(self, work: Path, library: Path, delay_us: int) -> None:
        text = (EXAMPLES / "relay-bench.toml").read_text()
        super().__init__(work, text, f"delay-{delay_us}", _wrapper(library, delay_us))
        self._library = library

    def require_library(self) -> None:
        """Raise BenchError if a process of ours is without it: nothing would be delayed."""
        for pid in family(self.pid):
            if str(self._library) not in Path(f"/proc/{pid}/maps").read_text():
                raise BenchError(f"process {pid} runs without {self._library.name}: nothing is delayed")


class SlowDiskDuel:
    """50 sessions, 4 kB, kept; the server is the same but for the delay."""

    name = "slow-disk"
    title = "Every fsync 5 ms slower, 50 sessions, 4 kB"

    def run(self, setting: Setting) -> Result:
        """Measure without and with the delay, in turn."""
        made = library(setting.work)
        rates: dict[int, list[float]] = {0: [], _DELAY_US: []}
        for number in range(setting.rounds):
            for delay, seen in rates.items():
                seen.append(self._rate(setting, made, delay))
            setting.say(f"  round {number + 1}: {rates[0][-1]:,.0f}/s, with the delay {rates[_DELAY_US][-1]:,.0f}/s")
        command = " ".join((*_wrapper("slow_sync.so", _DELAY_US), "upesi serve ..."))
        result = Result(self.name, self.title, command, ("fsync", "messages/s, end to end"))
        result.rows = [("as the disk has it", str(Figure(rates[0]))), ("5 ms slower", str(Figure(rates[_DELAY_US])))]
        loss = 100 * (1 - median_ratio(rates[_DELAY_US], rates[0]))
        result.claims = [Claim("rate lost to a slow disk", loss, "%", most=30.0)]
        return result

    def _rate(self, setting: Setting, library: Path, delay: int) -> float:
        with CountingSink() as sink, _Delayed(setting.work, library, delay) as ours:
            ours.require_library()
            rate, count = 0.0, 200
            # A guess, a warm-up, the run
            for seconds in (setting.warm_up, setting.seconds, 0.0):
                before, start = sink.count, time.monotonic()
                Load().send(ours.port, count)
                rate = count / (sink.wait_for(before + count) - start)
                count = max(int(rate * seconds), 200)
            return rate
