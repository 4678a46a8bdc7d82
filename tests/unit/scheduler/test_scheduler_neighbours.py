"""Mail for one receiver under several TLS policies: one limit, and a part of it for each (promises Q3 and Q6)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scheduler_world import DOWN, Site, World

from upesi.mail.route import MxRoute
from upesi.spool.records import receiver_of, shard_of

MARKS = ("", ";tls=verify", ";tls=verify;for=c.example")
DOMAINS = ("a.example", "b.example", "c.example")


@pytest.fixture
def shared() -> Callable[[int], World]:
    def make(limit: int) -> World:
        world = World(site_connections=limit)
        world.router.sites = {domain: "mx:shared" + mark for domain, mark in zip(DOMAINS, MARKS, strict=True)}
        return world

    return make


def _send(world: World, domain: str, count: int) -> None:
    for n in range(count):
        world.accept(f"u{n}@{domain}", queue=world.router.sites[domain], route=MxRoute(domain))


def _sites(world: World) -> list[Site]:
    return [world.agents.site("mx:shared" + mark) for mark in MARKS]


def _most_open(world: World, seconds: float) -> int:
    """Let time pass in small steps; return the most connections that the receiver saw at once."""
    most = 0
    for _ in range(int(seconds / 0.01)):
        world.pass_time(0.01)
        most = max(most, sum(site.open for site in _sites(world)))
    return most


def test_queues_of_one_receiver_are_in_one_shard() -> None:
    """One worker keeps the limit of a receiver, whatever its queues are called."""
    assert len({shard_of("mx:shared" + mark) for mark in MARKS}) == 1
    assert {receiver_of("mx:shared" + mark) for mark in MARKS} == {"mx:shared"}


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_the_limit_holds_for_all_policies_together(shared: Callable[[int], World], limit: int) -> None:
    """Q3: a receiver is not connected to more often because its mail goes under several policies."""
    world = shared(limit)
    for site in _sites(world):
        site.reply = 0.3
    for domain in DOMAINS:
        _send(world, domain, 60)
    assert _most_open(world, 120) == limit
    assert [len(site.delivered) for site in _sites(world)] == [60, 60, 60]
    world.close()


def test_an_idle_connection_makes_room_for_another_policy(shared: Callable[[int], World]) -> None:
    """Q6: what a neighbour keeps open for later is closed when somebody else has mail."""
    world = shared(1)
    first, second, _ = _sites(world)
    first.idle = 300.0
    _send(world, "a.example", 1)
    world.pass_time(1)
    assert first.open == 1
    _send(world, "b.example", 1)
    world.pass_time(1)
    assert (first.open, len(second.delivered)) == (0, 1)
    world.close()


def test_an_endless_flow_under_one_policy_leaves_others_their_part(shared: Callable[[int], World]) -> None:
    """Q6: with one connection they take turns; with more, each has its own."""
    for limit in (1, 4):
        world = shared(limit)
        first, second, third = _sites(world)
        first.reply = 0.05
        _send(world, "a.example", 5000)
        world.pass_time(1)
        _send(world, "b.example", 5)
        _send(world, "c.example", 5)
        world.pass_time(20)
        assert (len(second.delivered), len(third.delivered)) == (5, 5)
        assert len(first.delivered) < 5000
        world.close()


def test_a_policy_that_cannot_be_met_keeps_nothing_from_the_others(shared: Callable[[int], World]) -> None:
    """What is put off has no claim on a connection."""
    world = shared(1)
    first, second, _ = _sites(world)
    second.down = DOWN
    _send(world, "b.example", 20)
    _send(world, "a.example", 50)
    world.pass_time(20)
    assert len(first.delivered) == 50
    assert world.scheduler.why("mx:shared;tls=verify").reason == "unreachable"
    world.close()
