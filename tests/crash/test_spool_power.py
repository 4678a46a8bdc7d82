"""Power cuts: a loop-mounted ext4 is shut down without flushing anything, mounted again and recovered (STO-03, STO-14, STO-15)."""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from spool_oracle import Oracle, check
from spool_process import DriverProcess

# include/uapi/linux/fs.h: FS_IOC_SHUTDOWN = _IOR('X', 125, __u32); 2 = without flushing the journal
_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2


class LoopDisk:
    """An ext4 in a file. `cut` loses everything that has not been synced."""

    def __init__(self, folder: Path) -> None:
        self.image = folder / "disk.img"
        self.mounted = folder / "disk"
        self.mounted.mkdir()
        with self.image.open("wb") as image:
            image.truncate(192 * 2**20)
        self._run("mkfs.ext4", "-q", "-F", str(self.image))
        self.mount()

    @staticmethod
    def _run(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True)

    def mount(self) -> None:
        self._run("mount", "-o", "loop", str(self.image), str(self.mounted))

    def shut_down(self) -> None:
        descriptor = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, array.array("I", [_NO_LOG_FLUSH]))
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        self._run("umount", str(self.mounted))

    def cut(self, driver: DriverProcess) -> int:
        """Lose power under a running driver; return how much of what it said had been heard by then."""
        heard = len(driver.heard)
        self.shut_down()
        driver.kill()
        self.unmount()
        self.mount()
        return heard


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None or not Path("/dev/loop-control").exists():
        pytest.skip("absent: root, mkfs.ext4 and loop devices (power cuts are not tested here)")
    try:
        made = LoopDisk(tmp_path)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"absent: the right to mount a loop device (power cuts are not tested here): {error.stderr!r}")
    yield made
    made.unmount()


async def cut_at_random(disk: LoopDisk, rounds: int, seed: int) -> Oracle:
    chance = random.Random(seed)
    oracle = Oracle()
    folder = disk.mounted / "spool"
    for n in range(rounds):
        driver = DriverProcess(folder, seed + n)
        # every fifth cut falls into start-up and recovery
        if n % 5 != 4:
            driver.wait_ready()
        await asyncio.sleep(chance.uniform(0.0, 0.4))
        believed = disk.cut(driver)
        oracle.hear(driver.heard, believed)
        await check(folder, oracle)
    return oracle


@pytest.mark.slow
async def test_acknowledged_mail_survives_power_cuts(disk: LoopDisk) -> None:
    """No acknowledged act is lost, and none is half done, when the power goes at random moments (Q1)."""
    oracle = await cut_at_random(disk, 15, 3)
    assert oracle.acknowledged > 100
    assert oracle.taken > 10


@pytest.mark.crash
@pytest.mark.timeout(3600)
async def test_acknowledged_mail_survives_many_power_cuts(disk: LoopDisk) -> None:
    """The same, long: 250 cuts."""
    oracle = await cut_at_random(disk, 250, 5000)
    assert oracle.acknowledged > 5000


@pytest.mark.slow
async def test_a_cut_really_loses_what_was_not_synced(disk: LoopDisk) -> None:
    """The method itself: a file that nobody synced is gone or empty after a cut, or these tests would prove nothing."""
    path = disk.mounted / "unsynced"
    path.write_bytes(b"x" * 10_000)
    disk.shut_down()
    disk.unmount()
    disk.mount()
    assert not path.exists() or path.read_bytes() != b"x" * 10_000
