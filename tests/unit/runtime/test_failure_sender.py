"""Failure reports on their way: agreed to, rated over the machine, redacted with one secret."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

import msgspec
import pytest
from test_report_sender import Spool

from upesi.config.settings import ReportsSettings
from upesi.config.units import Rate
from upesi.mail.address import Address
from upesi.mail.answers import Status
from upesi.mail.ids import MessageIds
from upesi.mailauth.dmarc_record import ReportUri
from upesi.mailauth.failure import Failure
from upesi.mailauth.results import MethodResult
from upesi.runtime.failure_reporting import FailureSender
from upesi.runtime.report_queue import ReportQueue
from upesi.runtime.tasks import in_background
from upesi.spool.store import SpoolError
from upesi.store.failures import Failures
from upesi.store.keys import KeysUnavailable
from upesi.store.machine import MachineCounters
from upesi.testkit import FakeClock, FakeResolver, MemoryStore

MANY = Rate("1000/1h")
RECORDS = {
    ("_dmarc.bank.example", "TXT"): ["v=DMARC1; p=reject"],
    ("_dmarc.shop.example", "TXT"): ["v=DMARC1; p=reject"],
    ("bank.example", "TXT"): ["v=spf1 -all"],
    ("bank.example._report._dmarc.agreed.example", "TXT"): ["v=DMARC1"],
    ("shop.example._report._dmarc.agreed.example", "TXT"): ["v=DMARC1"],
    ("bank.example._report._dmarc.other.example", "TXT"): ["v=DMARC1; ruf=mailto:instead@other.example; rua=mailto:a@other.example"],
    ("bank.example._report._dmarc.web.example", "TXT"): ["v=DMARC1; ruf=https://web.example/"],
    ("bank.example._report._dmarc.away.example", "TXT"): ["v=DMARC1; ruf=mailto:x@victim.example"],
    ("bank.example._report._dmarc.slow.example", "TXT"): Status.TIMEOUT,
}  # fmt: skip


def failure(*addresses: str, holder: str = "bank.example", source: str = "192.0.2.1") -> Failure:
    wanted = tuple(ReportUri(Address.parse(address)) for address in addresses or ("r@bank.example",))
    results = (MethodResult("spf", "fail", "", (("smtp.mailfrom", "alice@bank.example"),)),)
    return Failure(
        "dmarc", holder, holder, wanted, False, False, False, False, results, source, 25, Address("alice", "bank.example"), "",
        1_000_000.0, b"From: alice@bank.example\r\nTo: bob@example.net\r\nSubject: plans\r\n\r\nbody\r\n", "reject",
    )  # fmt: skip


class Broken(MemoryStore):
    """Keys that cannot be had."""

    async def get(self, key: str) -> bytes | None:
        raise KeysUnavailable("no disk")


class World:
    """A machine with one file of counters and keys, one spool, and as many workers as there are."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.spool = Spool()
        self.counters = MachineCounters(None, boot="x", monotonic=self.clock.monotonic)
        self.keys = MemoryStore(self.clock)
        self.events: list[tuple[str, dict[str, object]]] = []
        self.emitted = asyncio.Event()
        self.entropy: Iterator[int] = iter(range(100))

    def worker(self, **settings: Rate | str) -> tuple[Failures, FailureSender]:
        failures = Failures(self.clock.monotonic)
        ids = MessageIds(self.clock.now, lambda n: bytes([next(self.entropy)] * n))
        return failures, FailureSender(
            failures, FakeResolver(RECORDS), ReportQueue(self.spool, self.clock.now, "dmarc-failure"), self.counters, self.keys,
            msgspec.structs.replace(ReportsSettings(), **settings), "mx.example", ids.next, lambda n: bytes([next(self.entropy)] * n),
            self.clock.now, self.emit,
        )  # fmt: skip

    def emit(self, name: str, fields: Mapping[str, object]) -> None:
        self.events.append((name, dict(fields)))
        self.emitted.set()

    async def until(self, events: int) -> None:
        """Wait for so many events."""
        while len(self.events) < events:
            self.emitted.clear()
            await self.emitted.wait()

    def bodies(self) -> list[bytes]:
        return [message.body.read(0, message.body.size) for message in self.spool.messages]

    def said(self, name: str) -> list[object]:
        return [
            fields.get("limit", fields.get("text", "")) for event, fields in self.events if event == f"report.{name}"
        ]


@pytest.fixture
def world() -> World:
    return World()


async def test_a_report_goes_to_everybody_who_may_have_it(world: World) -> None:
    """C80: RFC 9991 sections 2 and 5: each of them, no stranger; null reverse-path, no notices, a From of this server's name."""
    _, sender = world.worker()
    wanted = [
        "r@bank.example",
        "r@agreed.example",
        "r@victim.example",
        "r@other.example",
        "r@web.example",
        "r@away.example",
    ]
    assert await sender.report(failure(*wanted), 1) == 3
    assert world.spool.told == ["r@bank.example", "r@agreed.example", "instead@other.example"]
    message = world.spool.messages[0]
    assert message.reverse_path is None
    assert message.deliveries[0].recipients[0].notify == 0
    assert message.events[0].fields["session"] == "dmarc-failure"
    assert b"\r\nFrom: <postmaster@mx.example>\r\n" in world.bodies()[0]
    assert b'\r\nSPF-DNS: txt : bank.example : "v=spf1 -all"\r\n' in world.bodies()[0]


async def test_a_destination_that_dns_does_not_know_gets_none_and_keeps_it_from_nobody(world: World) -> None:
    """C80: without a word of consent there is no report, and no second try."""
    _, sender = world.worker()
    assert await sender.report(failure("r@slow.example", "r@bank.example"), 1) == 1
    assert world.spool.told == ["r@bank.example"]


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ({"failures_of_domain": Rate("2/1h")}, "domain"),
        ({"failures_to_destination": Rate("2/1h"), "failures_of_domain": MANY}, "destination"),
        ({"failures": Rate("2/1h"), "failures_of_domain": MANY, "failures_to_destination": MANY}, "all"),
    ],
)
async def test_a_rate_holds_over_all_workers(world: World, settings: dict[str, Rate], limit: str) -> None:
    """C80: RFC 9991 section 2, a MUST: of a hundred reports two are sent, and the log says so once an hour."""
    workers = [world.worker(**settings)[1] for _ in range(2)]
    for number in range(100):
        await workers[number % 2].report(failure(source=f"192.0.2.{number}"), 1)
    assert len(world.spool.messages) == 2
    assert world.said("failure_limited") == [limit]
    world.clock.advance(2 * 3600)
    await workers[0].report(failure(), 1)
    assert len(world.spool.messages) == 3


async def test_rates_are_of_one_domain_and_one_destination(world: World) -> None:
    """C80: one forged domain does not silence the others; many domains do not flood one reader of reports."""
    _, sender = world.worker(failures_of_domain=Rate("1/1h"), failures_to_destination=Rate("2/1h"))
    for holder in ("bank.example", "bank.example", "shop.example"):
        await sender.report(failure("r@agreed.example", holder=holder), 1)
    assert world.said("failure_limited") == ["domain"]
    assert world.spool.told == ["r@agreed.example"] * 2
    world.clock.advance(2 * 3600)
    await sender.report(failure("r@agreed.example", "s@agreed.example", "t@agreed.example"), 1)
    assert world.said("failure_limited") == ["domain", "destination"]


async def test_what_the_rate_of_all_refuses_costs_the_destination_nothing(world: World) -> None:
    """Nothing is counted of a report that is not sent."""
    _, first = world.worker(failures=Rate("1/1h"), failures_to_destination=Rate("2/1h"))
    for _ in range(5):
        await first.report(failure(), 1)
    _, second = world.worker(failures_to_destination=Rate("2/1h"))
    await second.report(failure(), 1)
    assert len(world.spool.messages) == 2


def shown(body: bytes) -> str:
    return body.partition(b"Original-Mail-From: <")[2].partition(b"@")[0].decode()


async def test_all_workers_redact_with_one_secret_for_a_month(world: World) -> None:
    """C80: RFC 6590: the same person is the same digest in two reports; nothing of the name, the subject or the body is there."""
    for _ in range(2):
        await world.worker()[1].report(failure(), 1)
    world.clock.advance(31 * 86_400)
    await world.worker()[1].report(failure(), 1)
    first, second, third = world.bodies()
    assert shown(first) == shown(second) != shown(third)
    assert len(shown(first)) == 16
    assert not any(word in body for body in world.bodies() for word in (b"alice", b"bob", b"plans", b"body"))


async def test_a_secret_that_cannot_be_kept_is_used_once(world: World) -> None:
    """Without the file of keys reports are redacted all the same."""
    world.keys = Broken(world.clock)
    for _ in range(2):
        await world.worker()[1].report(failure(), 1)
    first, second = (shown(body) for body in world.bodies())
    assert "" != first != second


async def test_a_spool_that_cannot_costs_the_report_and_no_more(world: World) -> None:
    """The next failure is reported; an event says what became of the first."""
    failures, sender = world.worker()
    world.spool.error = SpoolError("no room")
    stop = in_background(sender.run())
    failures.note(failure())
    await world.until(1)
    world.spool.error = None
    failures.note(failure(source="192.0.2.2"))
    await world.until(2)
    await stop()
    assert world.said("failure_dropped") == ["no room"]
    assert len(world.said("failure_sent")) == 1


async def test_an_error_of_ours_ends_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What breaks over one message is told of, and the next one is reported."""
    failures, sender = world.worker()

    def broken(*_: object) -> bytes:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr("upesi.runtime.failure_reporting.failure_report", broken)
        stop = in_background(sender.run())
        failures.note(failure())
        await world.until(1)
    failures.note(failure(source="192.0.2.2"))
    await world.until(2)
    await stop()
    assert [name for name, _ in world.events] == ["report.failure_failed", "report.failure_sent"]


async def test_a_report_that_is_too_large_is_not_sent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """MAX_FAILURE_REPORT: no mailbox is sent more."""
    monkeypatch.setattr("upesi.runtime.failure_reporting.MAX_FAILURE_REPORT", 100)
    await world.worker()[1].report(failure(), 1)
    assert world.spool.messages == []


def test_a_sender_that_is_none_stops_the_start(world: World) -> None:
    """`reports.sender` is an address."""
    with pytest.raises(ValueError, match="no domain"):
        world.worker(sender="nobody at all")
