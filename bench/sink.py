"""The neutral receiver: Postfix's smtp-sink, with a running count of the messages that it has taken."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Sequence

from bench.errors import BenchError
from bench.load import find_postfix_tool
from bench.ports import SINK, require_free
from bench.processes import wait_for_greeting

__all__ = ["CountingSink", "smtp_sink_argv"]

_NUMBER = re.compile(rb"(\d+)[^\d]*$")


def smtp_sink_argv(port: int = SINK, *flags: str) -> list[str]:
    """Return the command line of smtp-sink; as root it insists on a user to become."""
    user = ["-u", "postfix"] if os.geteuid() == 0 else []
    return [find_postfix_tool("smtp-sink"), *flags, *user, f"127.0.0.1:{port}", "2000"]


class CountingSink:
    """A receiver process that writes its running count to its standard output: smtp-sink -c, or one of our own."""

    def __init__(self, argv: Sequence[str] | None = None) -> None:
        if argv is None:
            require_free(SINK)
            argv = smtp_sink_argv(SINK, "-c")
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.pid = self._process.pid
        self.count = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> CountingSink:
        wait_for_greeting(SINK)
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _read(self) -> None:
        assert self._process.stdout is not None
        rest = b""
        while data := os.read(self._process.stdout.fileno(), 65536):
            # A count is whole only once the carriage return or the new line behind it has come
            text, mark, rest = _cut(rest + data)
            if mark and (match := _NUMBER.search(text)):
                self.count = int(match[1])
            time.sleep(
                0.005
            )  # many counts per read: reading each would take processor time from those who are measured

    def wait_for(self, count: int, patience: float = 30.0) -> float:
        """Wait until `count` messages are in; return when (monotonic). Raise BenchError if none comes for `patience` seconds."""
        last, since = self.count, time.monotonic()
        while self.count < count:
            time.sleep(0.005)
            if self.count != last:
                last, since = self.count, time.monotonic()
            elif time.monotonic() - since > patience:
                raise BenchError(f"the sink has {self.count} messages of {count} and none came for {patience:.0f} s")
        return time.monotonic()

    def stop(self) -> None:
        """End the receiver."""
        self._process.terminate()
        self._process.wait()
        self._reader.join(5)


def _cut(data: bytes) -> tuple[bytes, bool, bytes]:
    at = max(data.rfind(b"\r"), data.rfind(b"\n"))
    return data[: max(at, 0)], at >= 0, data[at + 1 :]
