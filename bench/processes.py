"""Process trees: start, stop by id, processor time, memory. Everything is read from /proc (proc(5)), so this is for Linux."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.errors import BenchError

__all__ = ["Program", "cpu_seconds", "family", "pss_kb", "wait_for_greeting"]

_TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """Return `pid` and all its living descendants."""
    members, waiting = [], [pid]
    while waiting:
        member = waiting.pop()
        members.append(member)
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            try:
                waiting += [int(child) for child in children.read_text().split()]
            except OSError:
                continue  # the thread ended between the listing and the reading
    return members


def cpu_seconds(pid: int) -> float:
    """Return the processor time, user and system, that `pid` and its descendants have used, ended and reaped children included."""
    ticks = 0
    for member in family(pid):
        try:
            stat = Path(f"/proc/{member}/stat").read_text()
        except OSError:
            continue
        # utime, stime, cutime, cstime are fields 14 to 17; the second field may hold blanks, so count from its end
        ticks += sum(int(field) for field in stat.rpartition(")")[2].split()[11:15])
    return ticks / _TICKS


def pss_kb(pid: int) -> int:
    """Return the memory of `pid` and its descendants in kB; pages shared by n processes count 1/n in each (Pss)."""
    total = 0
    for member in family(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


class Program:
    """A process that we started, with its output in a file. Stopped by its id, never by its name."""

    def __init__(
        self, argv: Sequence[str], log: Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.argv, self.log = list(argv), log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self.argv, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=cwd, env=env
            )
        self.pid = self._process.pid

    def alive(self) -> bool:
        """Say whether it still runs."""
        return self._process.poll() is None

    def stop(self, patience: float = 40.0) -> int:
        """Send SIGTERM and wait `patience` seconds before SIGKILL; return the exit status."""
        members = family(self.pid)
        if self.alive():
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            for member in members:
                try:
                    os.kill(member, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            return self._process.wait()

    def tail(self, lines: int = 8) -> str:
        """Return the end of its output, for an error message."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def wait_for_greeting(port: int, program: Program | None = None, patience: float = 20.0, preface: bytes = b"") -> float:
    """Say `preface` and wait until a 220 comes from `port`; return the seconds. Raise BenchError if `program` ends or nothing comes."""
    start = time.monotonic()
    while time.monotonic() - start < patience:
        if program is not None and not program.alive():
            raise BenchError(f"{Path(program.argv[0]).name} ended: {program.tail(1)}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as client:
                client.sendall(preface)
                if client.recv(200).startswith(b"220"):
                    client.sendall(b"QUIT\r\n")
                    client.recv(200)
                    return time.monotonic() - start
        except OSError:
            pass
        time.sleep(0.02)
    raise BenchError(f"nothing answers on port {port}" + (f": {program.tail(1)}" if program else ""))
