"""ETRN: who may ask for which queue, and what is answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sessionkit import Dialogue

from upesi.config.settings import EtrnSettings
from upesi.mail.errors import UpesiError
from upesi.protocol.smtp.limits import ServerLimits
from upesi.session.etrn import QueueStart


class Queue:
    """Starts nothing, and remembers what it was asked."""

    def __init__(self, deliveries: int = 1, problem: UpesiError | None = None) -> None:
        self.asked: list[dict[str, str]] = []
        self.deliveries = deliveries
        self.problem = problem
        self.gate: asyncio.Event | None = None

    async def start(self, selector: dict[str, str]) -> int:
        self.asked.append(selector)
        if self.gate is not None:
            await self.gate.wait()
        if self.problem is not None:
            raise self.problem
        return self.deliveries


async def asking(queue: Queue, *lines: str, identity: str | None = None, **settings: Any) -> list[str]:
    talk = dialogue(queue, **settings)
    talk.engine.session.identity = identity
    return await answered(talk, *lines)


def dialogue(queue: Queue, **settings: Any) -> Dialogue:
    """A client at 192.0.2.1."""
    talk = Dialogue(limits=ServerLimits(max_message_size=1000, etrn=True))
    talk.context.etrn = QueueStart(EtrnSettings(**settings), queue.start)
    talk.hello()
    return talk


async def answered(talk: Dialogue, *lines: str) -> list[str]:
    said = talk.say(*lines)
    for _ in range(20):
        await asyncio.sleep(0)
        said += talk.heard()
    return [line[:9] for line in said]


NETWORK = {"networks": ("192.0.2.0/24",)}


@pytest.mark.parametrize(
    ("line", "selector"),
    [
        ("ETRN Example.ORG", {"domain": "example.org"}),
        ("ETRN @example.org", {"domain": ".example.org"}),
        ("ETRN #domain:example.org", {"queue": "domain:example.org"}),
    ],
)
async def test_the_queue_of_a_domain_is_started(line: str, selector: dict[str, str]) -> None:
    """RFC 1985 section 5: 250 where something waits; the session goes on behind it."""
    queue = Queue()
    assert await asking(queue, line, "NOOP", **NETWORK) == ["250 2.0.0", "250 2.0.0"]
    assert queue.asked == [selector]


async def test_an_empty_queue_is_called_so() -> None:
    """RFC 1985 section 5.3: 251 where nothing waits."""
    assert await asking(Queue(0), "ETRN example.org", **NETWORK) == ["251 2.0.0"]


async def test_trouble_is_temporary_and_says_no_more() -> None:
    """RFC 1985 section 5.3: 458; the words of the error are for the log."""
    talk = dialogue(Queue(problem=UpesiError("secret")), **NETWORK)
    assert await answered(talk, "ETRN example.org") == ["458 4.3.0"]
    assert b"secret" not in talk.transport.written
    assert talk.named("etrn.failed")[0]["text"] == "secret"


@pytest.mark.parametrize(
    "settings",
    [
        {"networks": ("198.51.100.0/24",)},
        {"identities": ("anna",)},
        {"networks": ("192.0.2.0/24",), "domains": ("other.example",)},
    ],
)
async def test_strangers_start_nothing(settings: dict[str, object]) -> None:
    """RFC 1985 section 5.3: 459 for who is not listed, and for domains that are not."""
    queue = Queue()
    assert await asking(queue, "ETRN example.org", "ETRN @example.org", "ETRN #x", **settings) == ["459 4.7.1"] * 3
    assert queue.asked == []


async def test_a_user_may_be_named() -> None:
    """Identities are compared as accounts are, without regard to case."""
    assert await asking(Queue(), "ETRN example.org", identity="Anna", identities=("anna",)) == ["250 2.0.0"]
    assert await asking(Queue(), "ETRN example.org", identity="eve", identities=("anna",)) == ["459 4.7.1"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("ETRN example.org", "250"), ("ETRN sub.example.org", "459"), ("ETRN @example.org", "459"), ("ETRN a.example.net", "250"),
        ("ETRN example.net", "250"), ("ETRN @example.net", "250"), ("ETRN notexample.net", "459"), ("ETRN #q", "459"),
    ],
)  # fmt: skip
async def test_domains_are_those_that_are_listed(line: str, code: str) -> None:
    """A dot in front takes all below; "@" asks for all below, and needs it."""
    said = await asking(Queue(), line, domains=("example.org", ".example.net"), **NETWORK)
    assert [word[:3] for word in said] == [code]


async def test_one_request_is_carried_out_at_a_time() -> None:
    """Starting a queue stops all workers for a moment: who asks meanwhile is asked to come again."""
    queue = Queue()
    queue.gate = asyncio.Event()
    first, second = dialogue(queue, **NETWORK), dialogue(queue, **NETWORK)
    second.context.etrn = first.context.etrn
    assert await answered(first, "ETRN example.org") == []
    assert await answered(second, "ETRN example.org") == ["458 4.3.0"]
    queue.gate.set()
    assert await answered(first) == ["250 2.0.0"]
    assert await answered(second, "ETRN example.org") == ["250 2.0.0"]


async def test_a_listener_without_it_does_not_know_it() -> None:
    """CMD-26: off by default: 502, and not announced."""
    talk = Dialogue()
    talk.heard()
    assert not [line for line in talk.say("EHLO x.example") if "ETRN" in line]
    assert await answered(talk, "ETRN example.org") == ["502 5.5.1"]
