"""What stands around every source: deadline, bound, events, memory; and the pool of threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping

import pytest
from lookupkit import ORIGIN

from upesi.lookup.cache import MAX_REMEMBERED_LOGINS, AcceptedLogins
from upesi.lookup.failures import LookupFailed
from upesi.lookup.guard import GuardedCredentials
from upesi.lookup.pool import WorkPool
from upesi.sasl.credentials import Ability, Identity, Origin, Refused, ScramKeys, Unavailable
from upesi.testkit.loop import run_virtual

ANNA = Identity("anna")


class Scripted:
    """A source that answers `sesame` with yes, takes `delay` seconds, and raises `error`."""

    abilities = frozenset(Ability)

    def __init__(self) -> None:
        self.delay = 0.0
        self.error: Exception | None = None
        self.asked = 0
        self.most = self.now = 0

    async def verify(self, user: str, password: str, origin: Origin) -> Identity | Refused:
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.now -= 1
        if self.error is not None:
            raise self.error
        return ANNA if password == "sesame" else Refused()

    async def stored(self, user: str, ability: Ability, origin: Origin) -> ScramKeys | Refused | None:
        await self.verify(user, "", origin)
        return None

    async def known(self, user: str, origin: Origin) -> Identity | Refused:
        return await self.verify(user, "sesame", origin)

    async def close(self) -> None:
        pass


class World:
    """A guarded source on the running loop."""

    def __init__(self, concurrency: int = 2, cache: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        self.source = Scripted()
        self.events: list[Mapping[str, str | int]] = []
        self.guarded = GuardedCredentials(
            self.source,
            loop,
            name="test",
            timeout=5.0,
            concurrency=concurrency,
            cache=AcceptedLogins(cache, loop.time, b"k" * 32) if cache else None,
            emit=lambda name, fields: self.events.append({"event": name, **fields}),
        )

    async def ask(self, password: str = "sesame") -> object:
        return await self.guarded.verify("anna", password, ORIGIN)


def test_answers_come_through() -> None:
    """Yes is yes, no is no, and nothing is reported."""

    async def scenario() -> None:
        world = World()
        assert await world.ask() == ANNA
        assert await world.ask("wrong") == Refused()
        assert await world.guarded.known("anna", ORIGIN) == ANNA
        assert await world.guarded.stored("anna", Ability.SCRAM_SHA_256, ORIGIN) is None
        assert not world.events

    run_virtual(scenario())


def test_a_slow_source_is_unavailable_in_time() -> None:
    """AUT-07: a source that takes 30 s is no answer after its 5 s, and the client is not told no."""

    async def scenario() -> None:
        world = World()
        world.source.delay = 30.0
        start = asyncio.get_running_loop().time()
        assert await world.ask() == Unavailable("no answer in time")
        assert asyncio.get_running_loop().time() - start == pytest.approx(5.0)
        assert await world.guarded.stored("anna", Ability.SCRAM_SHA_1, ORIGIN) == Unavailable("no answer in time")

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (LookupFailed("connection refused"), "connection refused"),
        (ValueError("password=sesame"), "ValueError"),
        (OSError(111, "anna:sesame"), "ConnectionRefusedError"),
        (RuntimeError("anything"), "RuntimeError"),
    ],
)
def test_an_error_is_no_answer_and_tells_no_secret(error: Exception, cause: str) -> None:
    """AUT-05, AUT-07: never a yes, never a no; of a library's exception only the class is told."""

    async def scenario() -> None:
        world = World()
        world.source.error = error
        assert await world.ask() == Unavailable(cause)
        assert await world.guarded.known("anna", ORIGIN) == Unavailable(cause)
        assert world.events == [{"event": "credentials.unavailable", "source": "test", "cause": cause, "times": 1}]

    run_virtual(scenario())


def test_trouble_is_told_every_ten_seconds_at_most() -> None:
    """A flood of logins does not become a flood of lines; nothing goes uncounted."""

    async def scenario() -> None:
        world = World()
        world.source.error = LookupFailed("down")
        for _ in range(101):
            await world.ask()
        await asyncio.sleep(10)
        await world.ask()
        assert [event["times"] for event in world.events] == [1, 101]

    run_virtual(scenario())


def test_no_more_ask_at_once_than_configured_and_no_more_wait_than_bounded() -> None:
    """The source sees two at a time; 16 wait for each; the rest is turned away at once."""

    async def scenario() -> None:
        world = World(concurrency=2)
        world.source.delay = 0.01
        answers = await asyncio.gather(*(world.ask() for _ in range(100)))
        assert world.source.most == 2
        assert answers.count(ANNA) == 34
        assert answers.count(Unavailable("too many wait for it")) == 66
        assert await world.ask() == ANNA

    run_virtual(scenario())


def test_a_caller_that_gives_up_frees_its_place() -> None:
    """A client that hangs up while its password is compared holds nothing."""

    async def scenario() -> None:
        world = World(concurrency=1)
        world.source.delay = 4.0
        tasks = [asyncio.create_task(world.ask()) for _ in range(17)]
        await asyncio.sleep(0)
        assert await world.ask() == Unavailable("too many wait for it")
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert await world.ask() == ANNA

    run_virtual(scenario())


def test_who_was_let_in_is_remembered_for_a_while() -> None:
    """Off unless configured; the same password only; a refusal never."""

    async def scenario() -> None:
        world = World(cache=60.0)
        for password in ("sesame", "sesame", "wrong", "wrong", "sesame"):
            assert (await world.ask(password) == ANNA) is (password == "sesame")
        assert world.source.asked == 3
        await asyncio.sleep(60)
        world.source.error = LookupFailed("down")
        assert await world.ask() == Unavailable("down")

    run_virtual(scenario())


def test_without_a_configured_lifetime_nothing_is_remembered() -> None:
    """The default: every login is the source's to judge."""

    async def scenario() -> None:
        world = World()
        await world.ask()
        await world.ask()
        assert world.source.asked == 2

    run_virtual(scenario())


def test_the_memory_of_logins_is_bounded_and_holds_no_password() -> None:
    """AUT-05: what is kept is a hash under a key of this process; the oldest is forgotten."""
    cache = AcceptedLogins(60.0, lambda: 0.0, b"k" * 32)
    for number in range(MAX_REMEMBERED_LOGINS + 1):
        cache.put(f"user{number}", "sesame", ORIGIN, ANNA)
    assert cache.get("user0", "sesame", ORIGIN) is None
    assert cache.get("user1", "sesame", ORIGIN) == ANNA
    assert len(cache._entries) == MAX_REMEMBERED_LOGINS
    assert cache.get("user1", "Sesame", ORIGIN) is None
    # a source may let somebody in from one place and not from another
    assert cache.get("user1", "sesame", Origin(remote="192.0.2.99")) is None
    assert b"sesame" not in b"".join(cache._entries._entries)
    other = AcceptedLogins(60.0, lambda: 0.0, b"x" * 32)
    other.put("user1", "sesame", ORIGIN, ANNA)
    assert not set(other._entries._entries) & set(cache._entries._entries)


async def test_a_pool_bounds_what_waits_for_its_threads() -> None:
    """AUT-07: a source that hangs holds its own threads; the next are turned away at once, and served when it has ended."""
    pool = WorkPool(asyncio.get_running_loop(), "test", threads=1, waiting=1)
    hang = threading.Event()
    try:
        tasks = [asyncio.create_task(pool.run(hang.wait, 60)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(LookupFailed, match="too much waits"):
            await pool.run(int)
        # giving up frees what had not begun, never the thread
        tasks[1].cancel()
        await asyncio.wait(tasks[1:])
        hang.set()
        assert await tasks[0]
        assert await pool.run(int, "7") == 7
    finally:
        hang.set()
        pool.close()
    with pytest.raises(LookupFailed, match="closed"):
        await pool.run(int)
