"""MX records that lead to ourselves by another name (C22), found when the address is known."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.delivery.sendkit import securing_as

from upesi.client.connecting import Connector
from upesi.client.connection import Connection, ConnectionLost
from upesi.delivery.agents.opening import Unreachable, reach
from upesi.mail.answers import Answer, Status
from upesi.mail.outcome import OutcomeKind
from upesi.mail.route import MxRoute
from upesi.scheduler.work import Destination, Host

ADDRESSES = {"better.test": ("192.0.2.7",), "alias-of-us.test": ("192.0.2.1",), "worse.test": ("192.0.2.9",)}


class Lookup:
    """DNS from a table."""

    async def addresses(self, name: str) -> Answer:
        return Answer(Status.OK, texts=ADDRESSES[name], ttl=60.0)


class Closed(Connector):
    """Writes down where it was to connect; nobody answers."""

    tried: list[str]

    async def open(self, endpoints: list, *, lmtp: bool = False, implicit: bool = False) -> Connection:
        self.tried += [endpoints.pop(0).address]
        raise ConnectionLost("connection refused")


async def outcome_of(*names: str, private: bool = False):
    loop = asyncio.get_running_loop()
    connector = Closed(
        loop, Lookup(), allow_private=True, ourselves=lambda address, port: (address, port) == ("192.0.2.1", 25)
    )
    connector.tried = []
    hosts = tuple(Host(name, 25, preference, private=private) for preference, name in enumerate(names))
    securing = securing_as("us.test")
    with pytest.raises(Unreachable) as caught:
        await reach(loop, connector, securing, Destination("mx:x", MxRoute("x.test"), hosts))
    return caught.value.outcome, connector.tried


async def test_a_domain_whose_best_mx_is_our_own_address_loops() -> None:
    """RFC 5321 section 5.1: mail that leads back to us fails with 5.4.6, and hosts that are no better are not tried."""
    outcome, tried = await outcome_of("alias-of-us.test", "worse.test")
    assert (outcome.kind, outcome.status) == (OutcomeKind.FAILED, "5.4.6")
    assert tried == []


async def test_a_better_host_that_is_down_is_waited_for() -> None:
    """We are its backup: the mail waits for the better host, and is not handed to one that is worse than us."""
    outcome, tried = await outcome_of("better.test", "alias-of-us.test", "worse.test")
    assert outcome.kind is OutcomeKind.DEFERRED
    assert tried == ["192.0.2.7"]


async def test_a_host_that_the_operator_wrote_is_taken_at_its_word() -> None:
    """A configured route may name another server behind one of our addresses."""
    _, tried = await outcome_of("alias-of-us.test", private=True)
    assert tried == ["192.0.2.1"]
