"""Floods and long use over real sockets of the loopback: nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import smtplib
import socket
import struct
import tracemalloc

import uvloop
from sessionkit import Dialogue, SteppedLoop

from upesi.listener.listener import Listener

_MESSAGE = b"Subject: x\r\n\r\nHello\r\n"
# closing sends RST and not FIN
_RESET = struct.pack("ii", 1, 0)


def _listener(max_sessions: int = 10_000) -> tuple[Listener, Dialogue, tuple[str, int]]:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    talk = Dialogue()
    return Listener(sock, talk.context, max_sessions=max_sessions), talk, sock.getsockname()


def _send(address: tuple[str, int], count: int = 1) -> None:
    for _ in range(count):
        with smtplib.SMTP(*address, "client.example.org", timeout=20) as client:
            client.sendmail("a@example.org", ["b@example.net"], _MESSAGE)


def _reset(address: tuple[str, int], count: int, *, wait: bool) -> None:
    """Connect and reset, some before the greeting and some behind it."""
    for _ in range(count):
        client = socket.create_connection(address, timeout=20)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if wait:
            client.recv(100)
        client.close()


async def _emptied(listener: Listener) -> None:
    async with asyncio.timeout(10):
        while listener.sessions:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_connections_that_are_reset_leave_nothing_behind() -> None:
    """FLD-05: two thousand clients that connect and reset: the listener goes on accepting, and no descriptor is lost."""

    async def main() -> None:
        listener, talk, address = _listener()
        await listener.start()
        await asyncio.to_thread(_send, address)
        before = _descriptors()
        for wait in (False, True):
            await asyncio.gather(*(asyncio.to_thread(_reset, address, 250, wait=wait) for _ in range(4)))
        await asyncio.to_thread(_send, address)
        await _emptied(listener)
        assert listener.sessions == 0
        assert _descriptors() <= before
        assert len(talk.intake.accepted) == 2
        await listener.drain(1)

    uvloop.run(main())


def test_hundreds_of_sessions_leave_no_memory_task_or_descriptor() -> None:
    """RES-04: behind some hundred sessions with mail the next hundreds cost nothing that stays."""

    async def main() -> None:
        listener, talk, address = _listener()
        talk.context.emit = lambda name, fields: None
        await listener.start()

        async def round_of() -> tuple[int, int, int]:
            await asyncio.gather(*(asyncio.to_thread(_send, address, 60) for _ in range(4)))
            await _emptied(listener)
            talk.intake.accepted.clear()
            talk.intake.writers.clear()
            gc.collect()
            return tracemalloc.get_traced_memory()[0], len(asyncio.all_tasks()), _descriptors()

        tracemalloc.start()
        try:
            await round_of()
            memory, tasks, descriptors = await round_of()
            more, more_tasks, more_descriptors = await round_of()
        finally:
            tracemalloc.stop()
        # less than a hundred octets for each session: a list that grows by one object in each would show
        assert more - memory < 24_000
        assert more_tasks == tasks
        assert more_descriptors <= descriptors
        await listener.drain(1)

    uvloop.run(main())


def test_idle_connections_of_many_addresses_are_served_and_small() -> None:
    """FLD-01: fifteen hundred idle clients of as many addresses: others are served, and each costs less than 16 kB."""
    count = 1500

    async def main() -> None:
        listener, talk, address = _listener()
        await listener.start()
        await asyncio.to_thread(_send, address)
        tracemalloc.start()
        held = []
        try:
            for number in range(count):
                client = socket.socket()
                client.setblocking(False)
                client.bind((f"127.2.{number // 250}.{1 + number % 250}", 0))
                await asyncio.get_running_loop().sock_connect(client, address)
                held.append(client)
            async with asyncio.timeout(20):
                while listener.sessions < count:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.01)
            assert tracemalloc.get_traced_memory()[0] / count < 16_000
        finally:
            tracemalloc.stop()
        await asyncio.to_thread(_send, address, 5)
        assert len(talk.intake.accepted) == 6
        for client in held:
            client.close()
        await _emptied(listener)
        await listener.drain(1)

    uvloop.run(main())


def test_time_for_which_we_were_stopped_is_nobodys_fault() -> None:
    """CLK-02, RES-06: a process that was suspended for an hour ends no session when it goes on; deadlines go on from there."""

    async def main() -> None:
        listener, _, _ = _listener()
        listener._socket.close()
        loop = SteppedLoop()
        loop.call_at = lambda when, callback: loop.call_later(when - loop.now, callback)  # type: ignore[attr-defined]
        listener._loop = loop  # type: ignore[assignment]
        idle = Dialogue(loop=loop)
        idle.hello()
        listener.opened(idle.connection, known=True)
        loop.advance(60)
        # suspended: time passes and nothing runs
        loop.now += 3600
        loop.advance(200)
        assert idle.heard() == []
        assert idle.codes("NOOP") == ["250"]
        loop.advance(280)
        assert idle.heard() == []
        loop.advance(30)
        assert idle.heard()[0].startswith("421 4.4.2 ")

    asyncio.run(main())
