"""The machine and the versions that stand at the head of the report."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from pathlib import Path

__all__ = ["describe"]


def describe(work: Path) -> list[tuple[str, str]]:
    """Return name and value of what a reader must know to compare figures."""
    return [
        ("processor", f"{_processor()}, {len(os.sched_getaffinity(0))} cores"),
        ("load before the start (1, 5, 15 min)", " ".join(f"{load:.1f}" for load in os.getloadavg())),
        ("memory", f"{_memory_gb():.0f} GB"),
        ("kernel", platform.release()),
        ("file system of all queues", _file_system(work)),
        ("Python", platform.python_version()),
        ("SQLite", _sqlite()),
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _file_system(work: Path) -> str:
    argv = ["findmnt", "-n", "-o", "FSTYPE,OPTIONS", "-T", str(work)]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    return " ".join(result.stdout.split()) or "unknown"


def _sqlite() -> str:
    try:
        import apsw
    except ImportError:
        return f"{sqlite3.sqlite_version} (standard library)"
    return apsw.sqlite_lib_version()
