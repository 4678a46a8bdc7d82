"""kill -9 anywhere: what was acknowledged is there, whole; what was not is there whole or not at all (STO-01, STO-02)."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from spool_oracle import Oracle, check
from spool_process import DriverProcess, strace_works

CALLS = ("pwrite64", "fdatasync", "fsync", "link", "unlink", "fcntl", "write")


async def killed_at_random(folder: Path, rounds: int, seed: int) -> Oracle:
    chance = random.Random(seed)
    oracle = Oracle()
    for n in range(rounds):
        driver = DriverProcess(folder, seed + n)
        driver.wait_ready()
        await asyncio.sleep(chance.uniform(0.0, 0.25))
        driver.kill()
        oracle.hear(driver.heard)
        await check(folder, oracle)
    return oracle


async def killed_at_calls(folder: Path, rounds: int, seed: int) -> Oracle:
    chance = random.Random(seed)
    oracle = Oracle()
    for n in range(rounds):
        call, when = CALLS[n % len(CALLS)], chance.randint(1, 400 if n % 2 else 40)
        driver = DriverProcess(
            folder, seed + n, 400, ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}"]
        )
        driver.wait()
        driver.kill()
        oracle.hear(driver.heard)
        await check(folder, oracle)
    return oracle


@pytest.mark.slow
async def test_acknowledged_mail_survives_kill(tmp_path: Path) -> None:
    """After kill -9 at random moments every acknowledged act is there, nothing is half done (STO-01)."""
    oracle = await killed_at_random(tmp_path / "spool", 6, 1)
    assert oracle.acknowledged > 100
    assert oracle.taken > 10
    assert oracle.stale == 0


@pytest.mark.slow
async def test_acknowledged_mail_survives_kill_at_system_calls(tmp_path: Path) -> None:
    """After kill -9 inside chosen system calls, start-up and recovery included, the same holds (STO-01, STO-14)."""
    if not strace_works():
        pytest.skip("absent: strace (or the right to trace)")
    oracle = await killed_at_calls(tmp_path / "spool", 7, 2)
    assert oracle.acknowledged > 50


@pytest.mark.crash
@pytest.mark.timeout(3600)
async def test_acknowledged_mail_survives_many_kills(tmp_path: Path) -> None:
    """The same, long: 300 random moments."""
    oracle = await killed_at_random(tmp_path / "spool", 300, 1000)
    assert oracle.stale == 0


@pytest.mark.crash
@pytest.mark.timeout(3600)
async def test_acknowledged_mail_survives_many_kills_at_system_calls(tmp_path: Path) -> None:
    """The same, long: 300 system calls."""
    if not strace_works():
        pytest.skip("absent: strace (or the right to trace)")
    await killed_at_calls(tmp_path / "spool", 300, 2000)
