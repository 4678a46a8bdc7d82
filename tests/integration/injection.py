"""Failures that the system has only on bad days, put into a running process by strace."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.server import PATIENCE, wait_until

__all__ = ["failing_calls", "stalling_calls"]


def failing_calls(
    pid: int, trace: Path, calls: str, error: str, when: str = "1+"
) -> contextlib.AbstractContextManager[None]:
    """Let system `calls` of process `pid` fail with `error` for the time of the block; skip, saying so, where that cannot be.

    `when` is strace's: "1+" always, "1+2" every other time, counted for each thread. What was done is written to `trace`.
    """
    return _injected(pid, trace, calls, f"error={error}:when={when}")


def stalling_calls(pid: int, trace: Path, calls: str, seconds: float) -> contextlib.AbstractContextManager[None]:
    """Let system `calls` of process `pid` begin so many seconds late; the rest as `failing_calls`."""
    return _injected(pid, trace, calls, f"delay_enter={int(seconds * 1e6)}")


@contextlib.contextmanager
def _injected(pid: int, trace: Path, calls: str, what: str) -> Iterator[None]:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("absent: strace")
    argv = [strace, "-f", "-p", str(pid), "-o", str(trace), "-e", f"trace={calls}"]
    said = trace.with_suffix(".stderr")
    with said.open("wb") as stderr:
        process = subprocess.Popen([*argv, "-e", f"inject={calls}:{what}"], stderr=stderr)
    try:
        # it says "Process N attached with M threads"
        wait_until(lambda: " attached" in said.read_text() or process.poll() is not None, what="strace")
        if process.poll() is not None:
            why = said.read_text().strip()[:200]
            # anything else is a mistake of ours, such as a call that is not there
            assert "Operation not permitted" in why or "not implemented" in why, why
            pytest.skip(f"absent: the right to trace a process ({why})")
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
