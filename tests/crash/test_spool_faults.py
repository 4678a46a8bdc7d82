"""I/O errors: the answer is an error, nothing is falsely acknowledged, and the spool recovers without a restart (STO-04, STO-12)."""

from __future__ import annotations

from pathlib import Path

import pytest
from spool_oracle import Oracle, check
from spool_process import DriverProcess, strace_works

COUNT = 300

# name: (injections, whether some act must have been refused)
FAULTS: dict[str, tuple[list[str], bool]] = {
    "one sync fails": (["fdatasync:error=EIO:when=20"], True),
    "every tenth sync fails": (["fdatasync:error=EIO:when=10+10"], True),
    "all syncs fail from some moment on": (["fdatasync:error=EIO:when=30+1"], True),
    "syncs of bodies fail": (["fsync:error=EIO:when=14+5"], True),
    "writes fail": (["pwrite64:error=EIO:when=300+40"], True),
    "no room for writes": (["pwrite64:error=ENOSPC:when=300+25"], True),
    "no room for a while": (["pwrite64:error=ENOSPC:when=300..420"], True),
    "no room for names": (["link:error=ENOSPC:when=2+2"], True),
    "files cannot be removed": (["unlink:error=EIO:when=2+2"], False),
    "closing fails": (["close:error=EIO:when=700+9"], False),
    "syncs take 20 ms": (["fdatasync:delay_enter=20000"], False),
}

QUICK = ("every tenth sync fails", "writes fail", "no room for a while", "no room for names", "syncs of bodies fail")


async def injected(folder: Path, name: str, rounds: int) -> None:
    injections, refused = FAULTS[name]
    oracle = Oracle()
    # a spool with something in it, made without faults
    DriverProcessRun(folder, 1, 60).hear(oracle)
    for n in range(rounds):
        options = [part for each in injections for part in ("-e", f"inject={each}")]
        calls = ",".join(each.partition(":")[0] for each in injections)
        run = DriverProcessRun(folder, 100 + n, COUNT, ["-e", f"trace={calls}", *options])
        run.hear(oracle)
        assert "Traceback" not in run.errors, run.errors
        await check(folder, oracle)
    assert bool(oracle.refused) or not refused, "no fault was met: the test proves nothing"
    assert oracle.acknowledged > 60
    assert oracle.taken
    assert oracle.stale == 0


class DriverProcessRun:
    """A driver that ends by itself."""

    def __init__(self, folder: Path, seed: int, count: int, strace: list[str] | None = None) -> None:
        driver = DriverProcess(folder, seed, count, strace)
        driver.wait()
        self.heard = driver.heard
        self.errors = driver.errors()
        driver.kill()

    def hear(self, oracle: Oracle) -> None:
        oracle.hear(self.heard)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
async def test_nothing_is_falsely_acknowledged(tmp_path: Path, name: str) -> None:
    """Each fault is answered with an error; what was acknowledged is there; the same process goes on afterwards."""
    if not strace_works():
        pytest.skip("absent: strace (or the right to trace)")
    # one as on a quick disk, one as on a slow one
    await injected(tmp_path / "spool", name, 2)


@pytest.mark.crash
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(FAULTS))
async def test_nothing_is_falsely_acknowledged_at_length(tmp_path: Path, name: str) -> None:
    """The same for every fault, twenty times over one spool."""
    if not strace_works():
        pytest.skip("absent: strace (or the right to trace)")
    await injected(tmp_path / "spool", name, 20)
