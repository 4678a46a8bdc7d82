"""The neutral client: Postfix's smtp-source, in runs whose length in seconds is chosen beforehand."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import time

from bench.errors import BenchError, Unavailable

__all__ = ["Load", "find_postfix_tool"]


def find_postfix_tool(name: str) -> str:
    """Return the path of a program of Debian's `postfix` package; raise Unavailable."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if path is None:
        raise Unavailable(f"{name} is missing (apt-get install postfix)")
    return path


@dataclasses.dataclass(frozen=True)
class Load:
    """What smtp-source sends: message size in octets, parallel sessions, connections kept or one per message."""

    size: int = 4000
    sessions: int = 50
    kept: bool = True
    core: int | None = None

    def argv(self, port: int, count: int) -> list[str]:
        """Return the command line that sends `count` messages to `port`."""
        pin = [] if self.core is None else ["taskset", "-c", str(self.core)]
        tool = [find_postfix_tool("smtp-source"), "-s", str(min(self.sessions, count)), "-l", str(self.size)]
        people = ["-m", str(count), "-f", "a@example.com", "-t", "b@example.net"]
        return [*pin, *tool, *people, *(["-d"] if self.kept else []), f"127.0.0.1:{port}"]

    def send(self, port: int, count: int) -> float:
        """Send `count` messages and wait until all are acknowledged; return the seconds. Raise BenchError."""
        start = time.monotonic()
        result = subprocess.run(self.argv(port, count), capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise BenchError(f"smtp-source gave up on port {port}: {result.stderr.strip()[-300:]}")
        return time.monotonic() - start
