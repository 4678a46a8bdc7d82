"""The shared counters under real contention: processes that count as fast as they can, and one that is killed among them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from upesi.config.units import Rate
from upesi.store.machine import MachineCounters

_WORKERS = 4

_TAKE = """
import sys
from pathlib import Path
from upesi.config.units import Rate
from upesi.store.machine import MachineCounters
counters = MachineCounters(Path(sys.argv[1]), boot="x")
print("ready", flush=True)
sys.stdin.readline()
rate = Rate("1000/1h")
print(sum(counters.take(b"k", rate) for _ in range(2000)), flush=True)
"""

# each says how many others it ever saw together with itself
_HOLD = """
import sys
from pathlib import Path
from upesi.store.machine import MachineCounters
counters = MachineCounters(Path(sys.argv[1]), boot="x")
print("ready", flush=True)
sys.stdin.readline()
most = got = 0
for _ in range(3000):
    if counters.hold(b"k", 3):
        got += 1
        most = max(most, counters.held(b"k"))
        counters.release(b"k")
print(most, got, flush=True)
"""

_KEEP = """
import sys
from pathlib import Path
from upesi.store.machine import MachineCounters
counters = MachineCounters(Path(sys.argv[1]), boot="x")
print(sum(counters.hold(b"k", 5) for _ in range(10)), flush=True)
sys.stdin.readline()
"""


def _start(script: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _raced(script: str, path: Path) -> list[list[int]]:
    """Let all begin at once; return what each says at its end."""
    processes = [_start(script, path) for _ in range(_WORKERS)]
    said = []
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        said.append([int(word) for word in output.split()])
    return said


def test_of_eight_thousand_events_a_thousand_fit(tmp_path: Path) -> None:
    """Limits mean what they say: four workers that race for a thousand places in an hour get a thousand, not one more or less."""
    got = _raced(_TAKE, tmp_path / "counters")
    assert sum(number for (number,) in got) == 1000
    counters = MachineCounters(tmp_path / "counters", boot="x")
    assert counters.spent(b"k", Rate("1000/1h")) == 1000
    counters.close()


def test_no_more_are_held_at_once_than_may_be(tmp_path: Path) -> None:
    """Limits mean what they say: however four workers take and give back, nobody ever sees a fourth of three."""
    seen = _raced(_HOLD, tmp_path / "counters")
    assert max(most for most, _ in seen) <= 3
    assert all(got for _, got in seen)
    counters = MachineCounters(tmp_path / "counters", boot="x")
    assert counters.held(b"k") == 0
    counters.close()


def test_what_a_killed_process_held_is_free(tmp_path: Path) -> None:
    """RES-03: the kernel tells that it has ended; nobody has to tidy up for it."""
    process = _start(_KEEP, tmp_path / "counters")
    assert process.stdout is not None
    assert process.stdout.readline() == "5\n"
    counters = MachineCounters(tmp_path / "counters", boot="x")
    assert not counters.hold(b"k", 5)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    again = MachineCounters(tmp_path / "counters", boot="x")
    assert again.hold(b"k", 5)
    assert again.held(b"k") == 1
    for each in (counters, again):
        each.close()
