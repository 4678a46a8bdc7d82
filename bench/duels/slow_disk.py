"""A slow disk: every fsync and fdatasync of our whole process tree takes 5 ms longer (`slow_sync.c`, loaded before libc).

Not with strace's injection, as before: `strace -f --seccomp-bpf` (6.1) stops a thread at every system call until it has made its first
one that is traced, so threads that never sync were measured at a stop for each pread and pwrite (1,002 switches for 500 writes; none
behind one sync).

Ours answers as soon as either the disk or the receiver has the message (docs/adr/0007-cut-through.md). What it costs to wait for the disk
alone is measured beside it.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

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


class _Way(NamedTuple):
    """How the server is run: what a sync takes longer, and whether its receiver's word is enough."""

    title: str
    delay_us: int
    cut_through: bool = True


_QUICK = _Way("as the disk has it", 0)
_SLOW = _Way("5 ms slower", _DELAY_US)
_WAITING = _Way("5 ms slower, `spool.cut_through = false`", _DELAY_US, cut_through=False)


class _Delayed(UpesiConfigured):
    """Relays as relay-bench.toml does, with the library in every process."""

    def __init__(self, work: Path, library: Path, way: _Way) -> None:
        text = (EXAMPLES / "relay-bench.toml").read_text()
        if not way.cut_through:
            text = text.replace("[spool]", "[spool]\ncut_through = false", 1)
        label = f"delay-{way.delay_us}-{way.cut_through}"
        super().__init__(work, text, label, _wrapper(library, way.delay_us))
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
        """Measure without and with the delay, and with the delay waiting for the disk alone, in turn."""
        made = library(setting.work)
        rates: dict[_Way, list[float]] = {_QUICK: [], _SLOW: [], _WAITING: []}
        for number in range(setting.rounds):
            for way, seen in rates.items():
                seen.append(self._rate(setting, made, way))
            setting.say(
                f"  round {number + 1}: " + ", ".join(f"{seen[-1]:,.0f}/s {way.title}" for way, seen in rates.items())
            )
        command = " ".join((*_wrapper("slow_sync.so", _DELAY_US), "upesi serve ..."))
        result = Result(self.name, self.title, command, ("fsync", "messages/s, end to end"))
        result.rows = [(way.title, str(Figure(seen))) for way, seen in rates.items()]
        loss = 100 * (1 - median_ratio(rates[_SLOW], rates[_QUICK]))
        result.claims = [Claim("rate lost to a slow disk", loss, "%", most=30.0)]
        return result

    def _rate(self, setting: Setting, library: Path, way: _Way) -> float:
        with CountingSink() as sink, _Delayed(setting.work, library, way) as ours:
            ours.require_library()
            rate, count = 0.0, 200
            # A guess, a warm-up, the run
            for seconds in (setting.warm_up, setting.seconds, 0.0):
                before, start = sink.count, time.monotonic()
                Load().send(ours.port, count)
                rate = count / (sink.wait_for(before + count) - start)
                count = max(int(rate * seconds), 200)
            return rate
