"""What the workers of one machine share: the counters in the spool's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from upesi.store.machine import MachineCounters
from upesi.store.region import RegionError

__all__ = ["open_counters"]

# the number is that of the layout: workers of an older program may still count in theirs during a reload
_COUNTERS = "counters-1"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def open_counters(spool: Path, emit: Callable[[str, dict[str, object]], None]) -> MachineCounters:
    """Return the counters of the machine; where the file cannot be had (a full disk), those of this worker alone, and say so.

    A server that cannot count together can still deliver what is queued, which is what a full disk needs most.
    """
    boot = _boot_id()
    try:
        return MachineCounters(spool / _COUNTERS, boot=boot)
    except RegionError as error:
        emit("store.unshared", {"text": str(error)})
        return MachineCounters(None, boot=boot)


def _boot_id() -> str:
    """Return what names this start of the machine: the monotonic clock begins anew with it."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        # a container that hides it: counts of an earlier start are bounded by their windows all the same
        return "unknown"
