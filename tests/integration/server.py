"""The real thing: `upesi serve` in a folder of its own, on a free port, stopped by its process id."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import smtplib
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.processes import family

__all__ = ["PATIENCE", "UPESI", "UpesiServer", "free_port", "listens", "run_upesi", "wait_until"]

# Below what Linux chooses from by itself (32768 on), in one of 16 slices: processes that test side by side have neighbouring ids
_PORT_COUNT = 1200
_SLICE = 12_000 + os.getpid() % 16 * _PORT_COUNT
_PORTS = itertools.cycle(random.sample(range(_SLICE, _SLICE + _PORT_COUNT), _PORT_COUNT))

# Seconds before something is said not to happen. Waiting costs nothing where it does, and machines that test are busy: what takes a second
# alone has taken twenty beside seven others. Time limits that are themselves the claim are measured, not waited for.
PATIENCE = 60.0

UPESI = Path(sys.executable).parent / "upesi"

_CONFIG = """\
[node]
name = "upesi.test"
workers = {workers}
# what clients have begun at a stop they finish on a busy machine too; the drain's own end has its tests
drain = "50s"

[spool]
path = "{spool}"
min_free = "1MB"

[[listener]]
address = "127.0.0.1"
port = {port}

[plugins.relay]
networks = ["127.0.0.0/8"]

[metrics]
port = 0

[log]
format = "json"

{more}
"""


def free_port() -> int:
    """Return a port that is free, and that nobody else gets before the caller has bound it.

    The kernel's own choice (port 0) was given twice to one configuration, and to a client's end of a connection in between: these lie below
    the range that it chooses from, and each is given once in some thousands of calls.
    """
    for port in itertools.islice(_PORTS, _PORT_COUNT):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def listens(port: int) -> bool:
    """Say whether a program listens at a port of 127.0.0.1, without a connection, which some programs would make something of."""
    # the address as the kernel writes it; 0A is LISTEN
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1] in (f"0100007F:{port:04X}", f"00000000:{port:04X}") and row[3] == "0A" for row in rows)


def wait_until(claim: object, patience: float = PATIENCE, what: str = "it") -> None:
    """Wait until the callable `claim` gives something true; fail after `patience` seconds, or PATIENCE if that is more."""
    assert callable(claim)
    patience = max(patience, PATIENCE)
    end = time.monotonic() + patience
    while not claim():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {patience:g} s")
        time.sleep(0.02)


def run_upesi(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    argv = [str(UPESI), *map(str, arguments)]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False)


class UpesiServer:
    """A server and its files. `more` is TOML that is put at the end of the configuration: routes, delivery."""

    def __init__(self, folder: Path, more: str = "", workers: int = 1, spool: Path | None = None) -> None:
        self.folder, self.port, self.workers = folder, free_port(), workers
        self.spool = spool or folder / "spool"
        self.file, self.log = folder / "upesi.toml", folder / "server.log"
        # what follows `upesi serve -c FILE`
        self.arguments: tuple[str, ...] = ()
        self.process: subprocess.Popen[bytes] | None = None
        # whether it was a test that ended it; a server that ends by itself fails its test
        self.ended = False
        folder.mkdir(parents=True, exist_ok=True)
        self.configure(more)

    def configure(self, more: str) -> None:
        """Write the configuration; a running server does not notice before `reload`."""
        text = _CONFIG.format(workers=self.workers, spool=self.spool, port=self.port, more=more)
        self.file.write_text(text)

    def start(self, *, until: str = "started") -> UpesiServer:
        """Start it and wait for its greeting, and unless `until` is "greeting" for its own word that it has started."""
        self.ended = False
        said = self._starts()
        with self.log.open("ab") as log:
            argv = [str(UPESI), "serve", "-c", str(self.file), *self.arguments]
            self.process = subprocess.Popen(argv, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_until(self.greets, what="the greeting")
            wait_until(lambda: until == "greeting" or self._starts() > said, what="server.started in the log")
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"the server did not start:\n{self.tail()}") from error
        return self

    def _starts(self) -> int:
        return self.log.read_text().count('"server.started"') if self.log.exists() else 0

    def greets(self) -> bool:
        """Say whether somebody answers with 220."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.tail()}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client:
                greeting = client.recv(512)
                client.sendall(b"QUIT\r\n")
                client.recv(512)
                return greeting.startswith(b"220 ")
        except OSError:
            return False

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the events of that name, oldest first. The last line may be half written."""
        lines = self.log.read_text(errors="replace").rpartition("\n")[0].splitlines()
        found = [json.loads(line) for line in lines if f'"{name}"' in line and line.startswith("{")]
        return [event for event in found if event["event"] == name]

    def tail(self, lines: int = 30) -> str:
        """Return the end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    @property
    def pid(self) -> int:
        """The supervisor."""
        assert self.process is not None
        return self.process.pid

    def worker_pids(self) -> list[int]:
        """Return the processes below the supervisor."""
        return family(self.pid)[1:]

    def reload(self) -> None:
        """Send SIGHUP."""
        os.kill(self.pid, signal.SIGHUP)

    def stop(self, patience: float = PATIENCE) -> int:
        """Send SIGTERM and return the exit status; a server that does not end is killed and fails the test."""
        process, patience = self.process, max(patience, PATIENCE)
        assert process is not None
        self.ended = True
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(patience)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise AssertionError(f"the server did not end within {patience:g} s of SIGTERM:\n{self.tail()}") from error

    def kill(self) -> None:
        """SIGKILL to all of it at once, as a power cut of the processes would."""
        assert self.process is not None
        self.ended = True
        if self.process.poll() is None:
            # held first, beginning with who starts the others: whoever sees another die begins to tidy up
            os.kill(self.pid, signal.SIGSTOP)
            members = family(self.pid)
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in members:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
        self.process.wait()

    def command(self, *arguments: str) -> str:
        """Run `upesi ... -c FILE` and return its standard output; fail where it does."""
        result = run_upesi(*arguments, "-c", self.file)
        assert result.returncode == 0, f"upesi {' '.join(arguments)}: {result.stdout}{result.stderr}"
        return result.stdout

    def send(self, data: bytes, to: str = "b@example.net", sender: str = "a@example.com") -> None:
        """Hand in one message with smtplib; raise what smtplib raises."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE) as client:
            client.sendmail(sender, [to], data)
