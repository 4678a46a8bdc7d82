"""Connections that find nothing to take, because what waits is still being read, say nothing about their site."""

from __future__ import annotations

from scheduler_world import Site, VirtualLoop, World

from upesi.scheduler.work import Destination, Ending, Running, Work


class _Local:
    """An agent without a connection, as for Maildir: it takes until there is nothing, and ends."""

    def __init__(self, loop: VirtualLoop, work: Work, site: Site) -> None:
        self._work, self._site = work, site
        site.started += 1
        loop.create_task(self._run())

    def wake(self) -> None:
        """It never rests."""

    def stop(self) -> None:
        """Nothing of it lasts."""

    async def _run(self) -> None:
        while (attempt := self._work.take()) is not None:
            self._site.attempts.append(attempt)
            self._work.finish(attempt, tuple(self._site.outcome(each) for each in attempt.recipients))
        self._work.ended(Ending.CLOSED)


def test_an_agent_that_ends_before_mail_is_read_is_no_failure_of_its_site() -> None:
    """What a new owner claims is not in memory yet; agents without connections end where there is nothing to take."""
    world = World(memory_bodies=1)  # nothing is read before its turn
    site = world.site("x.example")

    def start(work: Work) -> Running:
        assert isinstance(work.destination, Destination)
        return _Local(world.loop, work, site)

    world.agents.start = start  # type: ignore[assignment,method-assign]
    world.store.delay = 0.5
    for n in range(30):
        world.put(f"a{n}@x.example")
    world.pass_time(20)
    assert world.kinds("site.") == []
    assert len(site.attempts) == 30
    # nor are agents started again and again while the store reads
    assert site.started < 50
    world.close()


def test_an_idle_connection_that_is_closed_while_mail_is_read_is_no_failure_of_its_site() -> None:
    """A store that is slower than the receiver's patience does not make the receiver unreachable."""
    world = World(memory_bodies=1)  # nothing is read before its turn
    site = world.site("x.example")
    site.idle = 0.05
    world.store.delay = 0.5
    for n in range(30):
        world.put(f"a{n}@x.example")
    world.pass_time(60)
    assert world.kinds("site.") == []
    assert len(site.attempts) == 30
    world.close()
