"""Aggregate reports on their way: claimed, agreed to by their receivers, queued once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from upesi.config.settings import ReportsSettings
from upesi.mail.address import Address
from upesi.mail.answers import Status
from upesi.mail.ids import MessageId
from upesi.mail.route import MxRoute, Route
from upesi.mailauth.dmarc_record import ReportUri
from upesi.mailauth.observation import Observation, Published
from upesi.observe.exposition import Merge
from upesi.observe.metrics import Metrics
from upesi.runtime.reporting import ReportSender, count_reports, report_delay
from upesi.runtime.tasks import in_background
from upesi.session.intake import BodyWriter, Placement
from upesi.spool.records import DeliveryState, NewMessage
from upesi.spool.store import SpoolError
from upesi.store.aggregates import DAY, AggregateDay, Aggregates
from upesi.testkit import FakeClock, FakeResolver

ROW = Observation("192.0.2.1", "bank.example", "", "reject", False, False)
RECORDS = {
    ("_dmarc.bank.example", "TXT"): ["v=DMARC1; p=reject"],
    ("bank.example._report._dmarc.agreed.example", "TXT"): ["v=DMARC1"],
    ("bank.example._report._dmarc.slow.example", "TXT"): Status.TIMEOUT,
}


class Spool:
    """Implements `session.intake.Intake`; what was accepted stays known, as in the history."""

    lifetime = 5 * 86_400.0

    def __init__(self) -> None:
        self.messages: list[NewMessage] = []
        self.error: SpoolError | None = None
        self.dies_after = 10**9

    def full(self) -> bool:
        return False

    def starved(self) -> bool:
        return False

    def body_writer(self) -> BodyWriter:
        raise NotImplementedError

    def default_route(self, address: Address) -> Route:
        return MxRoute(address.domain)

    def place(self, route: Route) -> Placement:
        return Placement("domain:x", DeliveryState.ROUTING, claim=False)

    def accept(self, message: NewMessage, done: Callable[[SpoolError | None], None]) -> None:
        if len(self.messages) >= self.dies_after:
            raise RuntimeError("the worker dies here")
        if self.error is None:
            self.messages.append(message)
        done(self.error)

    def report(self, message: NewMessage, told: object) -> NewMessage | None:
        return None

    def knows(self, id: MessageId) -> bool:
        return any(message.id == id for message in self.messages)

    @property
    def told(self) -> list[str]:
        return [str(message.deliveries[0].recipients[0].address) for message in self.messages]


class File(Aggregates):
    """The file of rows, in a worker that can die before it says that a day is done."""

    dies = False

    async def sent(self, day: AggregateDay) -> None:
        if self.dies:
            raise RuntimeError("the worker dies here")
        await super().sent(day)


class World:
    """A machine with one file of rows, one spool, and as many workers as there are."""

    def __init__(self, path: Path) -> None:
        self.clock = FakeClock(20_000 * DAY + 100.0)
        self.path = path
        self.spool = Spool()
        self.dns = FakeResolver(RECORDS)
        self.events: list[tuple[str, dict[str, object]]] = []
        self.files: list[File] = []

    def worker(self, **settings: str) -> tuple[Aggregates, ReportSender]:
        aggregates = File(self.path, self.clock.now)
        self.files.append(aggregates)
        sender = ReportSender(
            aggregates, self.dns, self.spool, self.spool.knows, ReportsSettings(**settings), "mx.example", self.clock.now,
            lambda name, fields: self.events.append((name, fields)),
        )  # fmt: skip
        return aggregates, sender


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "dmarc.db")
    yield made
    for aggregates in made.files:
        await aggregates.close()


async def noted(world: World, *addresses: str, **settings: str) -> tuple[Aggregates, ReportSender]:
    """Return a worker that has seen one message of a domain whose reports go to `addresses`, on the day after."""
    aggregates, sender = world.worker(**settings)
    rua = tuple(ReportUri(Address.parse(address)) for address in addresses)
    aggregates.note(Published("bank.example", "reject", rua=rua), ROW)
    await aggregates.settle()
    world.clock.advance(DAY + 3600)
    return aggregates, sender


async def test_a_report_goes_to_everybody_who_may_have_it(world: World) -> None:
    """C79, DMARC-02: one message for each address, null reverse-path, no notices, nothing to those who did not ask."""
    _, sender = await noted(world, "r@bank.example", "r@agreed.example", "r@victim.example")
    assert await sender.send_due() == 1
    assert world.spool.told == ["r@bank.example", "r@agreed.example"]
    first = world.spool.messages[0]
    assert first.reverse_path is None
    assert first.deliveries[0].recipients[0].notify == 0
    assert first.deliveries[0].expires == world.clock.now() + 2 * 86_400
    assert first.events[0].kind == "message.accepted"
    body = first.body.read(0, first.body.size)
    assert b"From: <postmaster@mx.example>\r\n" in body
    ((name, fields),) = world.events
    assert (name, fields["domain"], fields["messages"], fields["recipients"]) == ("report.sent", "bank.example", 1, 2)


async def test_two_workers_do_not_both_send(world: World) -> None:
    """C79: one report for each domain and day, whoever looks."""
    _, one = await noted(world, "r@bank.example")
    _, two = world.worker()
    assert [await one.send_due(), await two.send_due(), await one.send_due()] == [1, 0, 0]
    assert world.spool.told == ["r@bank.example"]


@pytest.mark.parametrize("queued", [0, 1, 2])
async def test_a_worker_that_dies_while_it_sends_loses_nothing_and_doubles_nothing(world: World, queued: int) -> None:
    """Wherever it dies, the next one queues what is missing: the ids are the same, and the history knows them."""
    _, one = await noted(world, "r@bank.example", "r@agreed.example")
    world.spool.dies_after = queued
    world.files[0].dies = True
    with pytest.raises(RuntimeError):
        await one.send_due()
    assert len(world.spool.told) == queued
    world.spool.dies_after = 10**9
    _, two = world.worker()
    assert await two.send_due() == 0
    world.clock.advance(1000)
    assert await two.send_due() == 1
    assert sorted(world.spool.told) == ["r@agreed.example", "r@bank.example"]


@pytest.mark.parametrize("trouble", ["dns", "spool"])
async def test_trouble_puts_a_report_off(world: World, trouble: str) -> None:
    """DNS or the spool could not: an hour later it is tried again, and sent once."""
    _, sender = await noted(world, "r@slow.example" if trouble == "dns" else "r@bank.example")
    world.spool.error = SpoolError("busy")
    assert await sender.send_due() == 1
    assert [name for name, _ in world.events] == ["report.deferred"]
    world.spool.error = None
    world.dns.set("bank.example._report._dmarc.slow.example", "TXT", ["v=DMARC1"])
    assert await sender.send_due() == 0
    world.clock.advance(3601)
    assert await sender.send_due() == 1
    assert len(world.spool.told) == 1


async def test_a_destination_that_dns_never_knows_does_not_keep_the_report_from_others(world: World) -> None:
    """RFC 9990 sections 3.5 and 4: without a word of consent none goes there; everybody else gets one, once."""
    _, sender = await noted(world, "r@slow.example", "r@bank.example")
    for _ in range(5):
        await sender.send_due()
        world.clock.advance(3601)
    assert world.spool.told == ["r@bank.example"]
    assert [name for name, _ in world.events] == ["report.deferred"] * 3 + ["report.sent"]


async def test_a_report_that_is_too_large_for_a_message_is_not_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MAX_REPORT: no mailbox is sent more."""
    monkeypatch.setattr("upesi.runtime.reporting.MAX_REPORT", 100)
    _, sender = await noted(world, "r@bank.example")
    await sender.send_due()
    assert world.spool.told == []


async def test_who_sends_can_be_named(world: World) -> None:
    """`reports.sender` and `reports.organization`."""
    _, sender = await noted(world, "r@bank.example", sender="dmarc@example.org", organization="Example & Co")
    await sender.send_due()
    body = world.spool.messages[0].body
    assert b"From: <dmarc@example.org>\r\n" in body.read(0, body.size)
    with pytest.raises(ValueError, match="no domain"):
        world.worker(sender="nobody at all")


def test_reports_are_spread_over_hours() -> None:
    """Not all at midnight, and each domain at a time of its own that stays."""
    delays = [report_delay("mx.example", 3600.0)(f"d{n}.example") for n in range(200)]
    assert all(0 <= delay < 3600 for delay in delays)
    assert max(delays) - min(delays) > 1800
    assert (
        delays[0]
        == report_delay("mx.example", 3600.0)("d0.example")
        != report_delay("mx2.example", 3600.0)("d0.example")
    )


async def test_a_sender_that_is_stopped_leaves_no_task(world: World) -> None:
    """A worker that retires ends what it does beside its mail."""
    _, sender = world.worker()
    stop = in_background(sender.run())
    await asyncio.sleep(0)
    await stop()
    assert world.events == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_messages_that_no_report_tells_of_are_a_metric(tmp_path: Path) -> None:
    """DMARC-02: what is dropped at a bound is counted where an operator looks."""
    lost = Aggregates(tmp_path / "missing" / "dmarc.db", FakeClock().now)
    lost.note(Published("bank.example", "reject"), ROW)
    await lost.settle()
    metrics, merge = Metrics(), Merge()
    for _ in range(2):
        count_reports(metrics, lost)
        merge.update("1", metrics.export())
    await lost.close()
    assert "\nupesi_reports_dropped_messages_total 1" in merge.text().decode()
