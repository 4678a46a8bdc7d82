"""`python -m bench.attack`: clients that mean harm, in a process of their own; what they saw goes to standard output as JSON.

drip PORT COUNT SECONDS         COUNT sessions that send one octet a second, half of them a command, half of them a message
flood PORT RATE SECONDS         RATE connections a second from one address, each closed once it was greeted or refused
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import cast

import uvloop

from bench.errors import BenchError

__all__ = ["FLOOD_ADDRESS", "command"]

FLOOD_ADDRESS = "127.0.99.1"
# below the limit of connections of one client, so that it is not that which protects the server
_PER_ADDRESS = 40
_OPENING = 200


def command(kind: str, port: int, number: int, seconds: float) -> list[str]:
    """Return the command line of an attack."""
    return [sys.executable, "-m", "bench.attack", kind, str(port), str(number), str(seconds)]


class _Dripper(asyncio.Protocol):
    """One session: its first lines at once, then an octet whenever it is told to."""

    def __init__(self, lines: tuple[bytes, ...]) -> None:
        self._lines = list(lines)
        self.ready = asyncio.get_running_loop().create_future()
        self.gone = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        last = data.rstrip().rpartition(b"\r\n")[2]
        if last[3:4] == b"-":
            return
        if self._lines:
            self.transport.write(self._lines.pop(0))
        elif not self.ready.done():
            self.ready.set_result(None)

    def drip(self) -> None:
        """Send one octet."""
        if not self.gone:
            self.transport.write(b"x")

    def eof_received(self) -> bool:
        self._leave()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._leave()

    def _leave(self) -> None:
        self.gone = self.gone or time.monotonic()
        if not self.ready.done():
            self.ready.set_result(None)


# the first is dripping into a command, the second into a message
_COMMAND: tuple[bytes, ...] = (b"EHLO a.example\r\n",)
_MESSAGE: tuple[bytes, ...] = (
    *_COMMAND, b"MAIL FROM:<a@example.com>\r\n", b"RCPT TO:<b@example.net>\r\n", b"DATA\r\n"
)  # fmt: skip


async def _drip(port: int, count: int, seconds: float) -> dict[str, object]:
    loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(_OPENING)
    drippers: list[_Dripper] = []

    async def one(index: int) -> None:
        async with gate:
            block = index // _PER_ADDRESS
            source = (f"127.1.{block // 250}.{1 + block % 250}", 0)
            kind = _MESSAGE if index % 2 else _COMMAND
            _, dripper = await loop.create_connection(lambda: _Dripper(kind), "127.0.0.1", port, local_addr=source)
            drippers.append(dripper)
            await dripper.ready

    await asyncio.gather(*(one(index) for index in range(count)))
    print(json.dumps({"opened": len(drippers)}), flush=True)
    start = time.monotonic()
    slices = 20
    turn = 0
    while time.monotonic() - start < seconds and not all(dripper.gone for dripper in drippers):
        for dripper in drippers[turn % slices :: slices]:
            dripper.drip()
        turn += 1
        await asyncio.sleep(max(0.0, start + turn / slices - time.monotonic()))
    left = sum(not dripper.gone for dripper in drippers)
    for dripper in drippers:
        dripper.transport.abort()
    return {"left": left, "last": round(max((dripper.gone for dripper in drippers), default=start) - start, 1)}


class _Flooder(asyncio.Protocol):
    """One connection that is of no use to anybody."""

    def __init__(self, seen: dict[str, int]) -> None:
        self._seen = seen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._seen["greeted" if data.startswith(b"220") else "refused"] += 1
        self.transport.abort()


async def _flood(port: int, rate: int, seconds: float) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    seen = {"opened": 0, "greeted": 0, "refused": 0, "failed": 0}
    tasks: set[asyncio.Task[None]] = set()

    async def one() -> None:
        seen["opened"] += 1
        try:
            await loop.create_connection(lambda: _Flooder(seen), "127.0.0.1", port, local_addr=(FLOOD_ADDRESS, 0))
        except OSError:
            seen["failed"] += 1

    start = time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        for _ in range(int(passed * rate) - seen["opened"]):
            task = loop.create_task(one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            await asyncio.sleep(0)
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.5)
    return {**seen, "rate": round(seen["opened"] / seconds)}


def main() -> None:
    """Run what the arguments say."""
    kind, port, number, seconds = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    attacks = {"drip": _drip, "flood": _flood}
    if kind not in attacks:
        raise BenchError(f"{kind} is no attack")
    print(json.dumps(uvloop.run(attacks[kind](int(port), int(number), float(seconds)))), flush=True)


if __name__ == "__main__":
    main()
