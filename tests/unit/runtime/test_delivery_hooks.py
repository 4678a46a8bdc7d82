"""Chains of hooks as the scheduler asks them: what answers mean, what failures become; and a worker's real wiring."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from upesi.config.loading import load
from upesi.config.settings import Config, DestinationSettings
from upesi.config.units import Duration
from upesi.delivery.policies import TlsPolicies
from upesi.hooks.guard import Guard
from upesi.hooks.hook import Hook
from upesi.hooks.points import POINTS, Report
from upesi.hooks.registry import Hooks
from upesi.limits.shares import Holder
from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import Recipient, Transmission
from upesi.mail.ids import MessageId
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.route import HostRoute, MxRoute, Route
from upesi.mail.tls import TlsLevel, TlsPolicy
from upesi.runtime.delivery_hooks import MAX_HOSTS, MAX_SITE, delivery_hooks, hooked_router
from upesi.runtime.messages import Configure, encode_config
from upesi.runtime.wiring import build
from upesi.scheduler.hooks import Postpone
from upesi.scheduler.work import Destination, Host, Router, Unroutable
from upesi.spool.admin import SpoolAdmin
from upesi.spool.records import SHARDS, Delivery, DeliveryState, NewDelivery, NewMessage, StoredMessage
from upesi.spool.selector import Selector
from upesi.spool.sqlite import SqliteStore
from upesi.spool.store import SpoolError
from upesi.testkit import FakeClock, run_virtual

MESSAGE = StoredMessage(MessageId(bytes(16)), 0.0, None, Transmission(), b"", MemoryBody(b""), {}, {"score": b"7"})
RECIPIENT = Recipient(Address.parse("a@x.example"))
DELIVERY = Delivery(
    1, MESSAGE.id, "mx:x", DeliveryState.ACTIVE, MxRoute("x.example"), (RECIPIENT,), 0.0, 0.0, 1e6
)  # fmt: skip
OUTCOME = Outcome(OutcomeKind.DEFERRED, 451, "4.3.0", "later", "mx")
SITE = "mx:mx.x.example"


class Bench:
    """Hooks of one plugin, and what was reported of it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.events: list[tuple[str, dict[str, object]]] = []
        self.guard = Guard("one", self.clock.monotonic, self.emit)

    def emit(self, name: str, fields: dict[str, object]) -> None:
        self.events.append((name, fields))

    def hooks(self, point: str, function: Callable[..., object], *, defers: bool = True) -> Hooks:
        return Hooks([Hook(POINTS[point], self.guard, function, defers=defers, deadline=5.0)])

    def router(
        self, function: Callable[..., object], *, defers: bool = True, policies: TlsPolicies | None = None
    ) -> Router:
        hooks = self.hooks("resolve", function, defers=defers)
        return hooked_router(FakeRouter(), hooks, self.emit, self.clock.monotonic, policies or TlsPolicies(), 100)


class FakeRouter:
    """Everything is one site."""

    def site(self, route: Route) -> str | None:
        return SITE

    async def resolve(self, route: Route) -> Destination:
        return Destination(SITE, route, (Host("mx.x.example"),))


def plain(answer: object) -> Callable[..., object]:
    return lambda *arguments: answer


def later(answer: object) -> Callable[..., object]:
    async def hook(*arguments: object) -> object:
        await asyncio.sleep(1)
        return answer

    return hook


def raises(*arguments: object) -> object:
    raise ValueError("a plugin's secret")


async def hangs(*arguments: object) -> object:
    await asyncio.sleep(3600)


def asked(point: str, function: Callable[..., object], *, defers: bool = True) -> tuple[object, Bench]:
    """Return what the scheduler gets to hear from one hook, awaited if it must be."""
    bench = Bench()

    async def ask() -> object:
        made = delivery_hooks(bench.hooks(point, function, defers=defers))
        assert made is not None
        call = getattr(made, point)
        answer = call(MESSAGE, DELIVERY) if point == "attempt" else call(MESSAGE, RECIPIENT, OUTCOME)
        return await answer if asyncio.iscoroutine(answer) else answer

    return run_virtual(ask()), bench


@pytest.mark.parametrize("manner", [plain, later])
def test_answers_mean_what_the_contract_says(manner: Callable[[object], Callable[..., object]]) -> None:
    """PLUGINS, "Hook points": a delay or a route, a delay, no notice; None is no opinion."""
    answer, _ = asked("attempt", manner(Duration("5m")))
    assert isinstance(answer, Postpone)
    assert answer.delay == 300.0
    assert asked("attempt", manner(HostRoute("relay")))[0] == HostRoute("relay")
    assert asked("deferred", manner(Duration("5m")))[0] == 300.0
    assert asked("bounced", manner(Report.SUPPRESS))[0] is True
    assert asked("bounced", manner(None))[0] is False
    for point in ("attempt", "delivered", "deferred"):
        assert asked(point, manner(None))[0] is None


@pytest.mark.parametrize("function", [raises, hangs, plain("nonsense"), later(1.5)])
@pytest.mark.parametrize("defers", [True, False])
def test_a_failure_becomes_on_error(function: Callable[..., object], defers: bool) -> None:
    """Exception, deadline and wrong answers: "defer" puts the attempt off by the schedule, "continue" lets it go; each is reported once."""
    answer, bench = asked("attempt", function, defers=defers)
    if defers:
        assert isinstance(answer, Postpone)
        assert answer.delay is None
        assert answer.outcome.status == "4.3.0"
        assert "secret" not in answer.outcome.text
    else:
        assert answer is None
    assert [name for name, _ in bench.events] == ["plugin.failed"]


@pytest.mark.parametrize("function", [raises, hangs, plain("nonsense"), later("nonsense")])
@pytest.mark.parametrize(("point", "neutral"), [("delivered", None), ("deferred", None), ("bounced", False)])
def test_a_failure_after_an_attempt_is_no_opinion(point: str, neutral: object, function: Callable[..., object]) -> None:
    """There is nobody to defer: a failure is reported, and the outcome stands."""
    answer, bench = asked(point, function)
    assert answer is neutral
    assert [name for name, _ in bench.events] == ["plugin.failed"]


def test_queued_notes_are_visible() -> None:
    """Notes that travel with the message are those of the stored message."""
    seen: list[bytes] = []
    asked("attempt", lambda message, delivery: seen.append(message.notes["score"]))
    asked("deferred", lambda message, recipient, outcome: seen.append(message.notes["score"]))
    assert seen == [b"7", b"7"]


def test_points_without_hooks_cost_nothing() -> None:
    """None where nobody asks: the scheduler has nothing to call, the router is the router itself."""
    router = FakeRouter()
    assert delivery_hooks(Hooks.EMPTY) is None
    assert hooked_router(router, Hooks.EMPTY, lambda name, fields: None, time.monotonic, TlsPolicies(), 100) is router
    made = delivery_hooks(Bench().hooks("bounced", plain(None)))
    assert made is not None
    assert (made.attempt, made.delivered, made.deferred) == (None, None, None)


class TestResolve:
    """`resolve`: the next hops of a domain."""

    @pytest.mark.parametrize("manner", [plain, later])
    @pytest.mark.parametrize("kind", [list, tuple])
    def test_a_list_of_hosts_is_where_the_mail_goes(
        self, manner: Callable[[object], Callable[..., object]], kind: type
    ) -> None:
        """In the plugin's order; private addresses are allowed, as they are for configured routes."""
        hosts = kind((HostRoute("b", 2525), HostRoute("a")))
        destination = run_virtual(Bench().router(manner(hosts)).resolve(MxRoute("x.example")))
        assert destination == Destination(
            "hosts:a:25,b:2525",
            MxRoute("x.example"),
            (Host("b", 2525, 0, private=True), Host("a", 25, 1, private=True)),
        )

    def test_one_host_is_the_site_of_a_fixed_route(self) -> None:
        """So that limits of that host count everything that goes there."""
        destination = run_virtual(Bench().router(plain([HostRoute("a", 26)])).resolve(MxRoute("x.example")))
        assert destination.site == "host:a:26"

    def test_many_hosts_are_bounded(self) -> None:
        """In number, and in the length of the key (DNS-04)."""
        hosts = [HostRoute(f"host-with-a-long-name-{n}.example") for n in range(50)]
        destination = run_virtual(Bench().router(plain(hosts)).resolve(MxRoute("x.example")))
        assert len(destination.hosts) == MAX_HOSTS
        assert len(destination.site) <= MAX_SITE

    def test_no_opinion_goes_by_mx(self) -> None:
        """None asks DNS, and the site is known without asking from then on."""
        bench = Bench()
        router = bench.router(plain(None))
        assert router.site(MxRoute("x.example")) is None
        assert run_virtual(router.resolve(MxRoute("x.example"))).site == SITE
        assert router.site(MxRoute("x.example")) == SITE

    def test_an_answer_stands_for_a_minute(self) -> None:
        """Sessions place mail without asking; the plugin is asked again afterwards."""
        bench = Bench()
        router = bench.router(plain([HostRoute("a")]))
        run_virtual(router.resolve(MxRoute("x.example")))
        assert router.site(MxRoute("x.example")) == "host:a:25"
        bench.clock.advance(61)
        assert router.site(MxRoute("x.example")) is None

    @pytest.mark.parametrize("route", [HostRoute("smart"), MxRoute("[192.0.2.1]")])
    def test_fixed_routes_are_not_asked_about(self, route: Route) -> None:
        """They name their next hop already."""
        router = Bench().router(plain([HostRoute("a")]))
        assert router.site(route) == SITE
        assert run_virtual(router.resolve(route)).site == SITE

    @pytest.mark.parametrize(
        "function", [raises, hangs, plain("nonsense"), plain(["a"]), later([1]), plain([HostRoute("a", "25")])]
    )
    def test_a_failure_puts_off(self, function: Callable[..., object]) -> None:
        """on_error "defer", and lists of other things: 4.3.0, reported, nothing remembered."""
        bench = Bench()
        router = bench.router(function)
        with pytest.raises(Unroutable) as caught:
            run_virtual(router.resolve(MxRoute("x.example")))
        assert caught.value.outcome.kind is OutcomeKind.DEFERRED
        assert caught.value.outcome.status == "4.3.0"
        assert [name for name, _ in bench.events] == ["plugin.failed"]
        assert router.site(MxRoute("x.example")) is None

    def test_a_failure_with_on_error_continue_goes_by_mx(self) -> None:
        """A plugin may ask for that."""
        router = Bench().router(raises, defers=False)
        assert run_virtual(router.resolve(MxRoute("x.example"))).site == SITE

    def test_an_empty_list_is_not_a_bounce(self) -> None:
        """Neither "by MX" nor "fail" was said: later (RFC 3463: X.4.4)."""
        with pytest.raises(Unroutable) as caught:
            run_virtual(Bench().router(plain([])).resolve(MxRoute("x.example")))
        assert (caught.value.outcome.kind, caught.value.outcome.status) == (OutcomeKind.DEFERRED, "4.4.4")


class TestTls:
    """What plugins say about TLS, and what they cannot unsay."""

    DOMAIN = TlsPolicies([DestinationSettings(domains=("x.example",), tls=TlsLevel.ENCRYPT)])

    def resolved(self, hosts: list[HostRoute], route: MxRoute, policies: TlsPolicies) -> Destination:
        bench = Bench()
        router = bench.router(plain(hosts), policies=policies)
        destination = run_virtual(router.resolve(route))
        assert router.site(route) == destination.site
        return destination

    def test_a_host_s_own_policy_then_the_route_s_then_the_domain_s(self) -> None:
        """A plugin that resolves a domain may say how each host is spoken to; what it does not say is as the operator wrote it."""
        verify, none = TlsPolicy(TlsLevel.VERIFY), TlsPolicy(TlsLevel.NONE)
        hosts = [HostRoute("a", tls=verify), HostRoute("b")]
        for route, other in (
            (MxRoute("x.example"), TlsLevel.ENCRYPT),
            (MxRoute("x.example", none), TlsLevel.NONE),
            (MxRoute("y.example"), TlsLevel.MAY),
        ):
            found = self.resolved(hosts, route, self.DOMAIN).hosts
            assert [host.tls.level for host in found] == [TlsLevel.VERIFY, other]

    def test_the_same_hosts_under_another_policy_are_another_site(self) -> None:
        """Kept connections are not shared between policies, whoever names them."""
        hosts = [HostRoute("a", 26)]
        sites = [
            self.resolved(hosts, MxRoute("y.example"), self.DOMAIN).site,
            self.resolved(hosts, MxRoute("x.example"), self.DOMAIN).site,
            self.resolved([HostRoute("a", 26, TlsPolicy(TlsLevel.VERIFY))], MxRoute("y.example"), self.DOMAIN).site,
            self.resolved(hosts, MxRoute("y.example", requiretls=True), self.DOMAIN).site,
            self.resolved([HostRoute("a", 26, user="u", password_file="/f")], MxRoute("y.example"), self.DOMAIN).site,
        ]
        assert sites[0] == "host:a:26"
        assert len(set(sites)) == len(sites)

    def test_mail_with_requiretls_keeps_it_wherever_plugins_send_it(self) -> None:
        """RFC 8689 section 4.2.1: a plugin may change the route before an attempt, not what the sender was promised."""
        made = delivery_hooks(Bench().hooks("attempt", plain(HostRoute("relay"))))
        assert made is not None
        assert made.attempt is not None
        marked = msgspec.structs.replace(MESSAGE, transmission=Transmission(requiretls=True))
        assert made.attempt(marked, DELIVERY) == HostRoute("relay", requiretls=True)
        assert made.attempt(MESSAGE, DELIVERY) == HostRoute("relay")
        postponed = delivery_hooks(Bench().hooks("attempt", plain(Duration("5m"))))
        assert postponed is not None
        assert postponed.attempt is not None
        assert isinstance(postponed.attempt(marked, DELIVERY), Postpone)


PLUGIN = """
from pathlib import Path
from upesi.plugin import DiscardRoute, HostRoute, hook

def say(text):
    with Path(__file__).with_suffix(".seen").open("a") as file:
        file.write(text + "\\n")

@hook.resolve
def relay(domain):
    say(f"resolve {domain}")
    return [HostRoute("relay.example")]

@hook.attempt
async def around(message, delivery):
    say(f"attempt {delivery.queue} {message.notes['score'].decode()}")
    return DiscardRoute()

@hook.delivered
async def told(message, recipient, outcome):
    say(f"delivered {recipient.address} {outcome.status}")
"""
CONFIG = """
[spool]
path = "spool"
min_free = "1MB"
[plugins]
enabled = ["witness"]
[[listener]]
address = "127.0.0.1"
port = 2525
"""


async def test_a_workers_real_wiring_asks_its_plugins(tmp_path: Path) -> None:
    """From the spool through `resolve`, `attempt` and `delivered` of a plugin's file to where it sends the mail, queued notes with it."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "witness.py").write_text(PLUGIN)
    file = tmp_path / "upesi.toml"
    file.write_text(CONFIG)
    config = load(file)
    admin = SpoolAdmin.open_or_create(config.spool)
    # a member of its own: numbers of deliveries are made of the epoch, and one that comes twice is one delivery to the scheduler
    earlier = admin.register_member()
    await _store_one(config, earlier)
    admin.expel(earlier)
    epoch = admin.register_member()
    admin.assign(dict.fromkeys(range(SHARDS), epoch))
    house = await build(
        Configure(encode_config(config), str(file), epoch, 0, 1, []),
        Holder(lambda message: None, held=10),
        idle=lambda shards: None,
        broken=lambda error: None,
    )
    try:
        house.set_shards(frozenset(range(SHARDS)), {})
        await house.open()
        seen = tmp_path / "plugins" / "witness.seen"
        async with asyncio.timeout(20):
            # the plugin's file is all that tells
            while not (seen.exists() and "delivered" in seen.read_text()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert seen.read_text().splitlines() == [
            "resolve x.example",
            "attempt host:relay.example:25 7",
            "attempt discard 7",
            "delivered a@x.example 2.0.0",
        ]
        await house.leave(5.0)
        assert admin.count(Selector()) == 0
    finally:
        await house.close()
        admin.close()


async def _store_one(config: Config, epoch: int) -> None:
    """Put one message into the spool, as a session of an earlier moment did."""
    store = await SqliteStore.open(Path(config.spool.path), epoch, config.spool, time.time)
    done: asyncio.Future[SpoolError | None] = asyncio.get_running_loop().create_future()
    now = time.time()
    delivery = NewDelivery(
        "domain:x.example", MxRoute("x.example"), (RECIPIENT,), now, now + 1e5, DeliveryState.ROUTING
    )
    message = NewMessage(
        MessageId(b"m" * 16),
        now,
        None,
        Transmission(),
        b"",
        MemoryBody(b"Subject: x\r\n\r\n"),
        (delivery,),
        {},
        {"score": b"7"},
    )
    store.accept(message, lambda error, born: done.set_result(error))
    assert await done is None
    await store.close()
