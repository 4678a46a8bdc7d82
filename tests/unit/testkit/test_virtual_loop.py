"""Virtual time: hours in no time, always in the same order."""

from __future__ import annotations

import asyncio
import time

import pytest

from upesi.testkit import FakeClock, Stalled, VirtualLoop, loop, run_virtual


def test_hours_pass_in_no_time():
    """Sleeping jumps."""
    begun = time.monotonic()

    async def main() -> float:
        await asyncio.sleep(6 * 3600)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(6 * 3600)
    assert time.monotonic() - begun < 5


def test_timers_fire_in_their_order():
    """Many timers, made in any order, come in the order of their times."""

    async def main() -> list[float]:
        fired: list[float] = []

        async def wait(seconds: float) -> None:
            await asyncio.sleep(seconds)
            fired.append(asyncio.get_running_loop().time())

        await asyncio.gather(*(wait(seconds) for seconds in (5.0, 0.1, 300.0, 0.1, 2.5)))
        return fired

    assert run_virtual(main()) == pytest.approx([0.1, 0.1, 2.5, 5.0, 300.0])


def test_timeouts_obey_virtual_time():
    """asyncio.timeout ends at its virtual deadline."""

    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(300):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(300)


def test_real_events_come_before_a_jump():
    """What a socket already holds is read before time moves on."""

    async def main() -> tuple[bytes, float]:
        server_side: asyncio.Queue[bytes] = asyncio.Queue()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server_side.put(await reader.readexactly(5))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello")
            data = await server_side.get()
            writer.close()
            await writer.wait_closed()
        return data, asyncio.get_running_loop().time()

    assert run_virtual(main()) == (b"hello", 0.0)


def test_threads_are_waited_for():
    """Without a timer the loop really waits for an executor."""

    async def main() -> int:
        return await asyncio.get_running_loop().run_in_executor(None, lambda: 7)

    assert run_virtual(main()) == 7


def test_waiting_for_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch):
    """A test that would hang for ever says so."""
    monkeypatch.setattr(loop, "PATIENCE", 0.01)
    virtual = VirtualLoop()
    try:
        with pytest.raises(Stalled):
            virtual.run_until_complete(virtual.create_future())
    finally:
        virtual.close()


def test_a_suspended_machine_wakes_late():
    """advance: timers that were due meanwhile fire, late."""

    async def main() -> float:
        running = asyncio.get_running_loop()
        assert isinstance(running, VirtualLoop)
        fired: list[float] = []
        running.call_later(1, lambda: fired.append(running.time()))
        running.advance(60)
        await asyncio.sleep(0.5)
        return fired[0]

    assert run_virtual(main()) == 60.0


def test_a_fake_clock_moves_when_told():
    """Both clocks advance; only the wall clock steps, and time never goes back."""
    clock = FakeClock(1000.0)
    clock.advance(5)
    assert (clock.now(), clock.monotonic()) == (1005.0, 5.0)
    clock.step(-100)
    assert (clock.now(), clock.monotonic()) == (905.0, 5.0)
    with pytest.raises(ValueError):
        clock.advance(-1)


def test_a_fake_clock_can_follow_a_loop():
    """Then time passes as on that loop."""

    async def main() -> float:
        clock = FakeClock(0.0, loop=asyncio.get_running_loop())
        await asyncio.sleep(10)
        clock.advance(5)
        return clock.now()

    assert run_virtual(main()) == pytest.approx(15)
