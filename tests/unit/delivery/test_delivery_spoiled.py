"""Messages that break while they are built for the wire: the agent against a server that is a transport, without a socket."""

from __future__ import annotations

import asyncio
import itertools

import msgspec
import pytest
from tests.unit.delivery.sendkit import FakeWork, attempt, destination, securing_as

from upesi.client.connection import Connection
from upesi.config.settings import DeliverySettings
from upesi.config.units import Duration
from upesi.delivery.agents.smtp import SmtpAgent
from upesi.protocol.smtp.client import ClientConnection
from upesi.scheduler.work import Ending
from upesi.testkit.loop import run_virtual

EXTENSIONS = [(), ("PIPELINING",), ("PIPELINING", "CHUNKING"), ("PIPELINING", "SMTPUTF8"), ("SMTPUTF8",)]


class Wire(asyncio.Transport):
    """A transport with a plain SMTP server in it; `delivered` counts the ends of data that it has seen."""

    def __init__(self, loop, keywords):
        super().__init__()
        self.loop = loop
        self.keywords = keywords
        self.connection = None
        self.buffer = b""
        self.content = False
        self.delivered = 0
        self.closed = 0

    def write(self, data):
        assert not self.closed, "written after the end"
        self.buffer += data
        self.loop.call_soon(self.answer)

    def answer(self):
        while not self.closed and (said := self.next()):
            self.connection.data_received(said)

    def next(self):
        if self.content:
            _, dot, rest = self.buffer.partition(b"\r\n.\r\n")
            return self.take(rest) if dot else b""
        line, end, rest = self.buffer.partition(b"\r\n")
        if not end:
            return b""
        verb, *words = line.decode().split(" ")
        if verb == "BDAT":
            return self.take(rest[int(words[0]) :])
        self.buffer = rest
        if verb == "DATA":
            self.content = True
            return b"354 go\r\n"
        lines = ["wire", *self.keywords] if verb == "EHLO" else ["ok"]
        return "".join(f"250{' ' if line is lines[-1] else '-'}{line}\r\n" for line in lines).encode()

    def take(self, rest):
        self.buffer, self.content = rest, False
        self.delivered += 1
        return b"250 ok\r\n"

    def is_closing(self):
        return bool(self.closed)

    def close(self):
        self.closed += 1

    abort = close

    def set_write_buffer_limits(self, high=None, low=None):
        return None

    def get_write_buffer_size(self):
        return 0


class Wires:
    """A Connector that gives `wire`."""

    def __init__(self, wire):
        self.wire = wire

    async def endpoints(self, *_, **__):
        return [self.wire]

    async def open(self, endpoints, *, lmtp, implicit):
        wire = endpoints.pop()
        wire.connection = Connection(wire.loop, ClientConnection(lmtp=lmtp))
        wire.connection.connection_made(wire)
        wire.connection.data_received(b"220 wire\r\n")
        return wire.connection


class Unreadable:
    """A body whose file is gone."""

    size = 10

    def read(self, start, size):
        raise OSError(5, "broken disk")

    def chunks(self):
        raise OSError(5, "broken disk")


def spoiled(kind):
    """Return an attempt that breaks while it is built for the wire."""
    good = attempt()
    if kind == "path":
        good.message = msgspec.structs.replace(good.message, reverse_path="a@example.com")
    elif kind == "recipient":
        good.recipients = (msgspec.structs.replace(good.recipients[0], address="b@example.net\r\nRSET"),)
    else:
        good.message = msgspec.structs.replace(good.message, body=Unreadable())
    return good


def sent(keywords, *attempts, woken=None):
    """Send over one connection until it has ended, `woken` after the rest; return the Work, the wire, and what the loop was told."""
    seen = []

    async def scenario():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: seen.append(context["exception"]))
        wire = Wire(loop, keywords)
        work = FakeWork(destination(25), *attempts)
        settings = DeliverySettings(connection_idle=Duration("1s"))
        running = SmtpAgent(loop, Wires(wire), securing_as("c.test"), settings, lambda: 0.0).start(work)
        if woken is not None:
            for _ in itertools.takewhile(lambda _: len(work.outcomes) < len(attempts), range(1000)):
                await asyncio.sleep(0)
            work.waiting.append(woken)
            running.wake()
        await asyncio.wait_for(work.end.wait(), 100)
        return work, wire

    return *run_virtual(scenario()), seen


def statuses(work):
    return [(outcome.kind.value, outcome.status) for _, outcomes in work.outcomes for outcome in outcomes]


@pytest.mark.parametrize("keywords", EXTENSIONS)
@pytest.mark.parametrize("kind", ["path", "recipient", "body"])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_message_that_breaks_while_it_is_built_is_put_off_and_strands_nothing(keywords, kind, before):
    """Q1: its attempt is finished with 4.3.0, our fault is reported, the connection ends once; those before it are delivered."""
    work, wire, seen = sent(keywords, *(attempt() for _ in range(before)), spoiled(kind))
    # looked ahead at, it is finished before the message in front of it
    assert sorted(statuses(work)) == [("deferred", "4.3.0")] + [("delivered", "2.0.0")] * before
    assert work.ending == (Ending.CLOSED, None)
    assert (work.given_back, work.out) == ([], [])
    assert (wire.delivered, wire.closed) == (before, 1)
    assert len(seen) == 1


@pytest.mark.parametrize("keywords", EXTENSIONS)
@pytest.mark.parametrize("kind", ["path", "recipient", "body"])
def test_a_message_that_breaks_when_an_idle_connection_is_woken_is_put_off(keywords, kind):
    """Q1: nothing is raised into the scheduler, whose call it is that runs into it."""
    work, wire, seen = sent(keywords, attempt(), woken=spoiled(kind))
    assert statuses(work) == [("delivered", "2.0.0"), ("deferred", "4.3.0")]
    assert (work.out, wire.closed, len(seen)) == ([], 1, 1)
