"""Whatever happens in whatever order, every recipient of every message has exactly one place, and limits and budgets hold."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from scheduler_world import ALL, DEFERRED, DELIVERED, DOWN, FAILED, World

from upesi.limits.shares import ShareGrant, ShareRecall
from upesi.mail.envelope import Recipient
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.route import HostRoute, MxRoute
from upesi.scheduler.hooks import AttemptAnswer, DeliveryHooks, Postpone
from upesi.spool.records import Delivery, StoredMessage, shard_of

HOSTS = ("a.example", "b.example", "c.example")
DOMAINS = ("m.example", "n.example", "o.example")
VERIFIED = "mx:shared;tls=verify"
SITES = (*(f"host:{host}:25" for host in HOSTS), "mx:shared", VERIFIED, "mx:o.example")
OUTCOMES = (DELIVERED, DEFERRED, FAILED)
NO_ANSWER = Outcome(OutcomeKind.DEFERRED, 0, "4.4.3", "no DNS answer")
T = TypeVar("T")
OPINIONS: tuple[AttemptAnswer, ...] = (
    None,
    Postpone(NO_ANSWER, 3.0),
    Postpone(NO_ANSWER),
    HostRoute("a.example"),
    HostRoute("b.example"),
    MxRoute("m.example"),
)
MEMORY = 12
CONNECTIONS = 3
SHARES = 4


class Machine(RuleBasedStateMachine):
    """One worker among receivers, operators and a supervisor that do as they like."""

    @initialize()
    def begin(self) -> None:
        self.world = World(
            shares=SHARES,
            site_connections=CONNECTIONS,
            memory_deliveries=MEMORY,
            memory_bodies=500,
            transaction_recipients=3,
            retry=(1.0, 5.0, 30.0),
            jitter=0.2,
            hooks=DeliveryHooks(self.attempt, self.delivered, self.deferred, self.bounced),
        )
        self.opinion: AttemptAnswer = None
        self.delay: float | None = None
        self.thinking = 0.0
        self.world.router.sites = {"m.example": "mx:shared", "n.example": "mx:shared"}
        self.expected: set[tuple[bytes, str]] = set()
        self.paused = False
        self.recalled = 0

    # -- mail

    @rule(host=st.sampled_from(HOSTS), n=st.integers(1, 8), claimed=st.booleans(), expires=st.sampled_from((3.0, 1e6)))
    def mail_by_host(self, host: str, n: int, claimed: bool, expires: float) -> None:
        self._send(
            claimed,
            *(f"u{k}@{host}" for k in range(n)),
            queue=f"host:{host}:25",
            route=HostRoute(host),
            expires=expires,
        )

    @rule(domain=st.sampled_from(DOMAINS), n=st.integers(1, 4), claimed=st.booleans())
    def mail_by_domain(self, domain: str, n: int, claimed: bool) -> None:
        self._send(claimed, *(f"u{k}@{domain}" for k in range(n)), queue=f"domain:{domain}", route=MxRoute(domain))

    @rule(claimed=st.booleans())
    def mail_to_everybody(self, claimed: bool) -> None:
        self._send(claimed, *(f"u{k}@{host}" for host in HOSTS for k in range(2)))

    def _send(self, claimed: bool, *recipients: str, **options: object) -> None:
        message = (self.world.accept if claimed else self.world.put)(*recipients, **options)
        self.expected |= {(message.id, recipient) for recipient in recipients}

    # -- receivers

    @rule(site=st.sampled_from(SITES), outcome=st.sampled_from(OUTCOMES))
    def answers(self, site: str, outcome: Outcome) -> None:
        self.world.agents.site(site).outcome = lambda recipient: outcome

    @rule(site=st.sampled_from(SITES))
    def answers_differ(self, site: str) -> None:
        # reports to "sender" come here too
        self.world.agents.site(site).outcome = lambda recipient: OUTCOMES[sum(recipient.address.local.encode()) % 3]

    @rule(site=st.sampled_from(SITES), down=st.booleans())
    def goes_down_or_up(self, site: str, down: bool) -> None:
        self.world.agents.site(site).down = DOWN if down else None

    @rule(site=st.sampled_from(SITES), reply=st.sampled_from((0.001, 0.5, 20.0)), connect=st.sampled_from((0.001, 2.0)))
    def changes_pace(self, site: str, reply: float, connect: float) -> None:
        self.world.agents.site(site).reply = reply
        self.world.agents.site(site).connect = connect

    @rule(
        site=st.sampled_from(SITES), dies=st.integers(1, 5), messages=st.sampled_from((1, 3, 1000)), ahead=st.booleans()
    )
    def hangs_up(self, site: str, dies: int, messages: int, ahead: bool) -> None:
        behaviour = self.world.agents.site(site)
        behaviour.dies, behaviour.messages, behaviour.looks_ahead = dies, messages, ahead

    @rule(domain=st.sampled_from(DOMAINS), outcome=st.sampled_from((None, NO_ANSWER, FAILED)))
    def routing_changes(self, domain: str, outcome: Outcome | None) -> None:
        self.world.router.unroutable.pop(domain, None)
        if outcome is not None:
            self.world.router.unroutable[domain] = outcome

    @rule(site=st.sampled_from(("mx:shared", VERIFIED, "mx:o.example")))
    def mx_changes(self, site: str) -> None:
        self.world.router.sites["n.example"] = site

    # -- plugins

    @rule(
        opinion=st.sampled_from(OPINIONS),
        delay=st.sampled_from((None, 0.0, 2.0, 1e7)),
        thinking=st.sampled_from((0.0, 0.0, 0.01, 5.0)),
    )
    def plugins_change_their_minds(self, opinion: AttemptAnswer, delay: float | None, thinking: float) -> None:
        self.opinion, self.delay, self.thinking = opinion, delay, thinking

    def attempt(self, message: StoredMessage, delivery: Delivery) -> AttemptAnswer | Awaitable[AttemptAnswer]:
        return self.thought(self.opinion) if self.thinking else self.opinion

    def delivered(self, message: StoredMessage, recipient: Recipient, outcome: Outcome) -> Awaitable[None] | None:
        return self.thought(None) if self.thinking else None

    def deferred(
        self, message: StoredMessage, recipient: Recipient, outcome: Outcome
    ) -> float | Awaitable[float | None] | None:
        return self.thought(self.delay) if self.thinking else self.delay

    def bounced(self, message: StoredMessage, recipient: Recipient, outcome: Outcome) -> bool | Awaitable[bool]:
        return self.thought(True) if self.thinking else False

    async def thought(self, answer: T) -> T:
        await asyncio.sleep(self.thinking)
        return answer

    # -- the machine

    @rule(seconds=st.sampled_from((0.0, 0.002, 0.02, 0.1, 1.0, 7.0, 40.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(commits=st.integers(1, 3))
    def store_fails(self, commits: int) -> None:
        # only outcomes fail in this world: accepts that fail are not mail of ours
        self.world.store.broken += commits

    @rule(sites=st.sets(st.sampled_from((*SITES, "domain:m.example", "host:bounce:25"))))
    def shards_change(self, sites: set[str]) -> None:
        self.world.scheduler.set_shards(ALL - {shard_of(site) for site in sites})

    @precondition(lambda self: not self.paused)
    @rule(recall=st.booleans())
    def operator_pauses(self, recall: bool) -> None:
        self.world.scheduler.pause()
        self.paused = True
        if recall:
            self.world.store.broken = 0
            self.world.run(self.world.scheduler.recall())

    @precondition(lambda self: self.paused)
    @rule()
    def operator_resumes(self) -> None:
        self.world.scheduler.resume()
        self.paused = False

    @precondition(lambda self: self.recalled < SHARES)
    @rule()
    def share_is_recalled(self) -> None:
        self.recalled += 1
        self.world.holder.recalled(ShareRecall(1))

    @precondition(lambda self: self.recalled and not self.world.holder.owed)
    @rule()
    def share_is_granted(self) -> None:
        self.recalled -= 1
        self.world.holder.granted(ShareGrant(1))

    # -- what always holds

    @invariant()
    def nothing_is_lost_and_nothing_is_there_twice(self) -> None:
        store = self.world.store
        places: Counter[tuple[bytes, str]] = Counter()
        for row in store.rows.values():
            places.update((row.message, str(recipient.address)) for recipient in row.recipients)
        for event in store.events:
            if event.kind in ("delivery.delivered", "delivery.failed"):
                places.update((event.message, address) for address in str(event.fields["to"]).split())
        # an accept that waits for its commit is not there yet
        committed = {key for key in self.expected if key[0] in store.accepted}
        assert {key: places[key] for key in committed} == dict.fromkeys(committed, 1)

    @invariant()
    def nobody_gets_a_message_twice(self) -> None:
        for site in self.world.agents.sites.values():
            assert len(set(site.delivered)) == len(site.delivered)

    @invariant()
    def limits_hold(self) -> None:
        sites = self.world.agents.sites.values()
        assert max((site.most for site in sites), default=0) <= CONNECTIONS
        # two policies, one receiver
        assert sum(self.world.agents.site(site).open for site in ("mx:shared", VERIFIED)) <= CONNECTIONS
        assert sum(site.open for site in sites) <= self.world.holder.in_use <= self.world.holder.held

    @invariant()
    def memory_is_bounded(self) -> None:
        status = self.world.scheduler.status()
        assert status.deliveries <= MEMORY * 1.25 + 1
        # what was read because its turn had come is beyond the budget, one body for each connection and path at most
        assert status.bodies <= 500 + 100 * (len(SITES) + 2 * SHARES)

    @invariant()
    def nothing_failed_inside(self) -> None:
        assert not self.world.failures()

    def teardown(self) -> None:
        """When the world is kind again, everything is delivered and nothing is left in memory."""
        world = self.world
        try:
            self.opinion, self.delay, self.thinking = None, None, 0.0
            world.store.broken = 0
            world.router.unroutable.clear()
            for site in world.agents.sites.values():
                site.down, site.dies, site.reply, site.connect = None, 0, 0.01, 0.01
                site.outcome = lambda recipient: DELIVERED
            world.scheduler.set_shards(ALL)
            if self.paused:
                world.scheduler.resume()
            while self.recalled:
                world.pass_time(60)
                assert not world.holder.owed
                world.holder.granted(ShareGrant(self.recalled))
                self.recalled = 0
            world.pass_time(400)
            self.nothing_is_lost_and_nothing_is_there_twice()
            self.nothing_failed_inside()
            assert world.rows() == []
            assert world.scheduler.status().deliveries == world.scheduler.status().bodies == 0
            assert world.holder.in_use == 0
        finally:
            world.close()


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestScheduler = Machine.TestCase
