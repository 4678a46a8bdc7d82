"""Many sessions against one worker, and little memory for them: what is used stays where it was."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
from pathlib import Path

from integration.conftest import MakeServer, program, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import PATIENCE, UpesiServer, free_port, wait_until

_DISCARD = '[[route]]\ndomains = ["*"]\nto = "discard"\n'
_MB = 2**20


def _status(pid: int, name: str) -> int:
    """Return a number of /proc/PID/status: kB, or a count."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _sessions(server: UpesiServer, count: int) -> None:
    argv = [
        program("smtp-source"),
        "-s",
        "20",
        "-m",
        str(count),
        "-l",
        "400",
        "-t",
        "b@example.net",
        f"127.0.0.1:{server.port}",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-300:]


def test_twenty_thousand_sessions_leave_nothing_behind(upesi_server: MakeServer) -> None:
    """RES-04: memory, descriptors and threads behind 20,000 sessions are those behind the first 5,000."""
    server = upesi_server(_DISCARD)
    (pid,) = server.worker_pids()
    _sessions(server, 5000)
    memory, descriptors, threads = _status(pid, "VmRSS"), _descriptors(pid), _status(pid, "Threads")
    for _ in range(3):
        _sessions(server, 5000)
    # the last sessions may be ending still
    wait_until(lambda: _descriptors(pid) <= descriptors, what=f"no more than {descriptors} descriptors")
    wait_until(lambda: _status(pid, "Threads") <= threads, what=f"no more than {threads} threads")
    # 15,000 sessions and less than 100 octets for each
    assert _status(pid, "VmRSS") - memory < 1500
    assert server.worker_pids() == [pid]


class _Sender:
    """A client that brings a large message and stops before its end."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.answer = b""

    async def _say(self, line: bytes) -> bytes:
        self.writer.write(line + b"\r\n")
        return await self._heard()

    async def _heard(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readline()

    async def begin(self, port: int, octets: int) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        await self._heard()
        for line in (b"HELO client.example.org", b"MAIL FROM:<a@example.com>", b"RCPT TO:<b@example.net>"):
            assert (await self._say(line)).startswith(b"250 ")
        self.answer = await self._say(b"DATA")
        if self.answer.startswith(b"354 "):
            self.writer.write(numbered(self.number))
            for _ in range(octets // 4000):
                self.writer.write((b"x" * 78 + b"\r\n") * 50)
                async with asyncio.timeout(PATIENCE):
                    await self.writer.drain()

    async def end(self) -> None:
        if self.answer.startswith(b"354 "):
            try:
                self.answer = await self._say(b".")
            except ConnectionError:
                self.answer = b""

    def close(self) -> None:
        self.writer.close()


def test_memory_that_is_limited_is_not_used_up_and_a_killed_worker_loses_nothing(
    upesi_server: MakeServer,
) -> None:
    """RES-03: 60 MB of messages at once in a process that may have 40 more: on disk or 452, never its end; killed, its mail goes on."""
    port = free_port()
    server = upesi_server(
        route_to(port) + '[smtp]\nmemory = "4MB"\n[delivery]\nretry = ["1s"]\njitter = 0.0\n[overload]\nlag = "60s"\n'
    )
    server.send(numbered(1000))
    (pid,) = server.worker_pids()
    # what a control group would end by a kill ends here in MemoryError
    limit = _status(pid, "VmData") * 1024 + 40 * _MB
    resource.prlimit(pid, resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))

    async def load() -> list[_Sender]:
        senders = [_Sender(number) for number in range(120)]
        await asyncio.gather(*(sender.begin(server.port, 500_000) for sender in senders))
        waiting = [sender for sender in senders if sender.answer.startswith(b"354 ")]
        assert waiting
        await asyncio.gather(*(sender.end() for sender in waiting[: len(waiting) // 2]))
        assert _status(pid, "VmData") * 1024 < limit
        # as the kernel's killer does when the others have finished
        os.kill(pid, signal.SIGKILL)
        await asyncio.gather(*(sender.end() for sender in waiting[len(waiting) // 2 :]))
        for sender in senders:
            sender.close()
        return senders

    senders = asyncio.run(load())
    answers = {sender.answer[:9] for sender in senders}
    assert answers <= {b"250 2.0.0", b"452 4.3.1", b""}
    assert b"250 2.0.0" in answers
    assert "MemoryError" not in server.log.read_text()
    acknowledged = {sender.number for sender in senders if sender.answer.startswith(b"250 ")} | {1000}
    wait_until(server.greets, what="the next worker")
    with Receiver(port) as next_hop:
        wait_until(lambda: acknowledged <= {number_of(each.data) for each in list(next_hop.messages)}, what="all mail")
