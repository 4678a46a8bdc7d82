"""Starting the driver, with or without strace, and collecting what it says."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

DRIVER = Path(__file__).with_name("spool_driver.py")


class DriverProcess:
    """A running driver. `heard` grows while it speaks."""

    def __init__(self, folder: Path, seed: int, count: int = 10**9, strace: list[str] | None = None) -> None:
        command = [sys.executable, str(DRIVER), str(folder), str(seed), str(count)]
        if strace:
            command = ["strace", "-f", "-qq", "-o", "/dev/null", *strace, *command]
        # a file, not a pipe: nobody reads it while the driver runs
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `kill`
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._stderr, start_new_session=True)
        self.heard = b""
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while piece := os.read(self.process.stdout.fileno(), 65536):
            self.heard += piece
            if b'["ready"]' in self.heard:
                self._ready.set()
        self.process.stdout.close()
        self._ready.set()

    def wait_ready(self) -> None:
        """Wait until it works (or has ended already)."""
        assert self._ready.wait(60), "the driver did not start"

    def wait(self) -> int:
        """Wait for its own end; return the status."""
        status = self.process.wait(60)
        self._reader.join(10)
        return status

    def kill(self) -> None:
        """Kill it, with strace if that runs it, and hear it out."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.wait()
        self._stderr.close()

    def errors(self) -> str:
        """Return what it wrote on standard error; once, after its end."""
        self._stderr.seek(0)
        return self._stderr.read().decode()


def strace_works() -> bool:
    """Whether strace is there and may trace."""
    if shutil.which("strace") is None:
        return False
    return (
        subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0
    )
