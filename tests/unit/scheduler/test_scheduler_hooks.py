"""What plugins say about deliveries is asked once, waited for by nobody else, and done (PLUGINS, "Hook points")."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from scheduler_world import ALL, DEFERRED, DELIVERED, DOWN, FAILED, World

from upesi.mail.envelope import Recipient
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.route import HostRoute, MxRoute, Route
from upesi.scheduler import consultation, gate
from upesi.scheduler.hooks import AttemptAnswer, DeliveryHooks, Postpone
from upesi.spool.records import Delivery, DeliveryState, StoredMessage, shard_of

PUT_OFF = Outcome(OutcomeKind.DEFERRED, 0, "4.7.0", "put off")
PLUGIN_FAILED = Outcome(OutcomeKind.DEFERRED, 0, "4.3.0", "a plugin failed")
INLINE, LATER = "inline", "later"


@pytest.fixture(params=[INLINE, LATER])
def manner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def worlds() -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(*, expect_failures: int = 0, settings: dict[str, Any] | None = None, **hooks: Any) -> World:
        world = World(hooks=DeliveryHooks(**hooks), **(settings or {}))
        world.expected_failures = expect_failures  # type: ignore[attr-defined]
        made.append(world)
        return world

    yield make
    for world in made:
        assert len(world.failures()) == world.expected_failures  # type: ignore[attr-defined]
        world.close()


def given(manner: str, answer: Callable[..., Any]) -> Callable[..., Any]:
    """Return a hook that answers at once or half a second later."""

    async def later(*arguments: object) -> Any:
        await asyncio.sleep(0.5)
        return answer(*arguments)

    return answer if manner == INLINE else later


def always(value: object) -> Callable[..., object]:
    return lambda *arguments: value


def hang(*arguments: object) -> Awaitable[Any]:
    """A hook that never answers."""
    return asyncio.get_event_loop().create_future()


def addresses(world: World, site: str) -> list[str]:
    return sorted(address for _, address in world.site(site).delivered)


class TestAttempt:
    """`attempt`: before a delivery is sent."""

    def test_no_opinion_sends(self, worlds: Callable[..., World], manner: str) -> None:
        """None: the delivery goes, once, and was asked about once."""
        asked: list[tuple[StoredMessage, Delivery]] = []
        world = worlds(attempt=given(manner, lambda message, delivery: asked.append((message, delivery))))
        message = world.accept("a@x.example")
        world.pass_time(1)
        assert addresses(world, "x.example") == ["a@x.example"]
        ((seen, delivery),) = asked
        assert seen.id == message.id
        assert [str(each.address) for each in delivery.recipients] == ["a@x.example"]
        assert world.rows() == []

    def test_a_delay_is_honoured_and_counts_no_attempt(self, worlds: Callable[..., World], manner: str) -> None:
        """A delivery that is put off waits in the spool for so long, and the retry schedule is not used up."""
        answers = [Postpone(PUT_OFF, 600.0), None]
        world = worlds(attempt=given(manner, lambda message, delivery: answers.pop(0)))
        world.accept("a@x.example")
        world.pass_time(2)
        (row,) = world.rows()
        assert row.state is DeliveryState.READY
        assert row.attempts == 0
        assert row.last == PUT_OFF
        assert 598 <= row.due - world.wall() <= 600
        assert world.site("x.example").started == 0
        world.pass_time(602)
        assert addresses(world, "x.example") == ["a@x.example"]
        (event,) = [fields for kind, fields in world.emitted if kind == "delivery.deferred"]
        assert event["status"] == "4.7.0"
        assert event["attempt"] == 0

    def test_no_delay_is_too_short(self, worlds: Callable[..., World]) -> None:
        """Zero seconds are one: a plugin cannot make a tight loop."""
        asked: list[float] = []
        world = worlds(attempt=lambda message, delivery: asked.append(world.wall()) or Postpone(PUT_OFF, 0.0))
        world.accept("a@x.example")
        world.pass_time(30)
        assert 10 <= len(asked) <= 31

    def test_what_expires_before_the_delay_has_failed(self, worlds: Callable[..., World]) -> None:
        """A delay past the expiry is the end: 4.4.7 and a notice."""
        world = worlds(attempt=always(Postpone(PUT_OFF, 600.0)))
        world.accept("a@x.example", expires=300.0)
        world.pass_time(1)
        ((_, ((_, outcome),)),) = world.reporter.reports
        assert outcome.status == "4.4.7"
        assert "put off" in outcome.text

    def test_a_plugin_that_failed_puts_off_by_the_schedule(self, worlds: Callable[..., World], manner: str) -> None:
        """on_error "defer": an attempt that failed, so that an outage of a plugin is no flood of questions."""
        world = worlds(attempt=given(manner, always(Postpone(PLUGIN_FAILED))))
        world.accept("a@x.example")
        world.pass_time(2)
        (row,) = world.rows()
        assert row.attempts == 1
        assert row.last == PLUGIN_FAILED
        assert row.due - world.wall() > 60
        assert world.site("x.example").started == 0

    def test_a_changed_route_lands_in_the_other_queue(self, worlds: Callable[..., World], manner: str) -> None:
        """The delivery goes to the new site, from memory, and nothing is connected to the old one."""
        world = worlds(attempt=given(manner, always(HostRoute("relay.example"))))
        world.site("x.example").down = DOWN
        world.accept("a@x.example")
        world.pass_time(2)
        assert addresses(world, "relay.example") == ["a@x.example"]
        assert world.site("x.example").started == 0
        assert world.store.loads == []
        assert world.rows() == []

    def test_a_changed_route_is_kept_for_later_tries(self, worlds: Callable[..., World]) -> None:
        """The row has the new route and waits in its queue."""
        world = worlds(attempt=always(HostRoute("relay.example")))
        world.site("relay.example").outcome = lambda recipient: DEFERRED
        world.accept("a@x.example")
        world.pass_time(2)
        (row,) = world.rows()
        assert (row.queue, row.route, row.attempts) == ("host:relay.example:25", HostRoute("relay.example"), 1)

    def test_a_changed_route_may_need_routing(self, worlds: Callable[..., World]) -> None:
        """By MX of another domain: its row is ROUTING until DNS has answered."""
        world = worlds(attempt=always(MxRoute("backup.example")))
        world.accept("a@x.example")
        world.pass_time(2)
        assert [address for _, address in world.agents.site("mx:backup.example").delivered] == ["a@x.example"]

    def test_a_changed_route_of_another_owner_is_hinted(self, worlds: Callable[..., World]) -> None:
        """Its owner sends it: limits of a path are counted in one place."""
        world = worlds(attempt=always(HostRoute("relay.example")))
        world.scheduler.set_shards(ALL - {shard_of("host:relay.example:25")})
        world.accept("a@x.example")
        world.pass_time(2)
        assert world.hinted == {"host:relay.example:25"}
        assert [row.state for row in world.rows()] == [DeliveryState.READY]

    def test_mail_is_not_sent_to_and_fro_for_ever(self, worlds: Callable[..., World]) -> None:
        """A second change between two attempts is put off by the schedule (RFC 3463: X.4.6, a routing loop)."""

        def other(message: StoredMessage, delivery: Delivery) -> Route:
            return HostRoute("a.example" if delivery.route == HostRoute("b.example") else "b.example")

        world = worlds(attempt=other)
        world.accept("a@x.example")
        world.pass_time(30)
        (row,) = world.rows()
        assert row.attempts == 1
        assert row.last is not None
        assert row.last.status == "4.4.6"
        assert len(world.store.completions) == 2

    def test_a_hung_hook_holds_only_its_own_delivery(self, worlds: Callable[..., World]) -> None:
        """Others of the same site go past what waits for an answer."""

        def ask(message: StoredMessage, delivery: Delivery) -> AttemptAnswer | Awaitable[AttemptAnswer]:
            return hang() if delivery.recipients[0].address.local == "slow" else None

        world = worlds(attempt=ask)
        world.accept("slow@x.example")
        for n in range(20):
            world.accept(f"u{n}@x.example")
        world.pass_time(1)
        assert len(addresses(world, "x.example")) == 20
        assert [row.state for row in world.rows()] == [DeliveryState.ACTIVE]
        assert world.scheduler.why("host:x.example:25").reason == "plugin"

    def test_what_waits_aside_is_bounded_and_goes_on(
        self, worlds: Callable[..., World], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At the bound nothing more is asked about; each answer makes room, on whichever path waits."""
        monkeypatch.setattr(gate, "ASIDE", 6)
        monkeypatch.setattr(gate, "PATH_ASIDE", 4)
        under_way = most = 0

        async def ask(message: StoredMessage, delivery: Delivery) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.2)
            under_way -= 1

        world = worlds(attempt=ask)
        for n in range(20):
            for host in ("x.example", "y.example", "z.example"):
                world.accept(f"u{n}@{host}")
        world.pass_time(0.1)
        assert most == 6
        world.pass_time(10)
        assert most == 6
        assert [len(addresses(world, host)) for host in ("x.example", "y.example", "z.example")] == [20, 20, 20]

    def test_hung_paths_leave_room_for_others(
        self, worlds: Callable[..., World], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One path may not take all places."""
        monkeypatch.setattr(gate, "ASIDE", 6)
        monkeypatch.setattr(gate, "PATH_ASIDE", 4)

        async def ask(message: StoredMessage, delivery: Delivery) -> None:
            if delivery.recipients[0].address.domain == "x.example":
                await hang()

        world = worlds(attempt=ask)
        for n in range(10):
            world.accept(f"u{n}@x.example")
        world.accept("a@y.example")
        world.pass_time(1)
        assert addresses(world, "y.example") == ["a@y.example"]

    def test_a_long_path_is_asked_about_in_turns(self, worlds: Callable[..., World]) -> None:
        """A plugin that puts off everything cannot hold the loop; all of it is put off nevertheless."""
        world = worlds(attempt=always(Postpone(PUT_OFF, 600.0)))
        for n in range(200):
            world.accept(f"u{n}@x.example")
        world.pass_time(1)
        assert {row.last for row in world.rows()} == {PUT_OFF}
        assert world.scheduler.status().deliveries == 0

    def test_deliveries_of_one_message_still_share_a_transaction(self, worlds: Callable[..., World]) -> None:
        """Asked about one by one, sent together (RFC 5321 section 4.5.4.1)."""
        world = worlds(attempt=always(None))
        world.accept("a@x.example", "b@y.example", "c@z.example", queue="host:shared:25", route=HostRoute("shared"))
        world.pass_time(1)
        (attempt,) = world.site("shared").attempts
        assert len(attempt.recipients) == 3

    def test_what_was_claimed_is_read_before_it_is_asked_about(self, worlds: Callable[..., World], manner: str) -> None:
        """Hooks see the message, its notes among it, from the spool too."""
        seen: list[bytes] = []
        world = worlds(attempt=given(manner, lambda message, delivery: seen.append(message.notes["score"])))
        for n in range(40):
            message = world.put(f"u{n}@x.example")
            world.store.messages[message.id].notes["score"] = b"7"
        world.pass_time(5)
        assert len(addresses(world, "x.example")) == 40
        assert seen == [b"7"] * 40

    def test_what_waits_aside_is_given_back(self, worlds: Callable[..., World]) -> None:
        """recall() and drain() do not wait for plugins: untried, nothing is counted."""
        world = worlds(attempt=hang)
        world.accept("a@x.example")
        world.accept("b@x.example")
        world.pass_time(1)
        world.scheduler.pause()
        world.run(world.scheduler.recall())
        assert [row.state for row in world.rows()] == [DeliveryState.READY] * 2
        assert world.scheduler.status().deliveries == 0
        world.scheduler.resume()
        world.pass_time(2)
        assert [row.state for row in world.rows()] == [DeliveryState.ACTIVE] * 2

    def test_lost_shards_do_not_wait_for_plugins(self, worlds: Callable[..., World]) -> None:
        """A shard is idle at once although a plugin hangs."""
        world = worlds(attempt=hang)
        world.accept("a@x.example")
        world.pass_time(1)
        shard = frozenset({shard_of("host:x.example:25")})
        world.scheduler.yield_shards(shard)
        world.pass_time(0.1)
        assert world.idle == [shard]
        assert [row.state for row in world.rows()] == [DeliveryState.READY]

    def test_an_answer_for_a_site_that_went_down_meanwhile(self, worlds: Callable[..., World]) -> None:
        """The delivery goes back to the spool, untried, and is sent after the pause."""
        answers: list[asyncio.Future[None]] = []

        def ask(message: StoredMessage, delivery: Delivery) -> Awaitable[None] | None:
            if delivery.recipients[0].address.local != "slow" or answers:
                return None
            answers.append(asyncio.get_event_loop().create_future())
            return answers[0]

        world = worlds(attempt=ask)
        world.site("x.example").down = DOWN
        world.accept("slow@x.example")
        world.accept("a@x.example")
        world.pass_time(1)
        answers[0].set_result(None)
        world.pass_time(1)
        (row,) = [row for row in world.rows() if row.attempts == 0]
        assert row.state is DeliveryState.READY
        world.site("x.example").down = None
        world.pass_time(1000)
        assert addresses(world, "x.example") == ["a@x.example", "slow@x.example"]

    def test_our_own_bug_puts_off(self, worlds: Callable[..., World], manner: str) -> None:
        """What the callable raises is told, and the delivery is tried later."""

        def fail(*arguments: object) -> None:
            raise ZeroDivisionError

        world = worlds(attempt=given(manner, fail), expect_failures=1)
        world.accept("a@x.example")
        world.pass_time(2)
        (row,) = world.rows()
        assert (row.state, row.attempts) == (DeliveryState.READY, 1)


class TestOutcomes:
    """`delivered`, `deferred`, `bounced`: after an attempt, for each recipient."""

    def test_each_recipient_is_told_of(self, worlds: Callable[..., World], manner: str) -> None:
        """One call for each recipient, at the point of its outcome."""
        told: list[tuple[str, str]] = []

        def note(point: str) -> Callable[..., Any]:
            return given(manner, lambda message, recipient, outcome: told.append((point, recipient.address.local)))

        world = worlds(delivered=note("delivered"), deferred=note("deferred"), bounced=note("bounced"))
        kinds = {"good": DELIVERED, "bad": FAILED, "later": DEFERRED}
        world.site("x.example").outcome = lambda recipient: kinds[recipient.address.local]
        world.accept("good@x.example", "bad@x.example", "later@x.example", sender=None)
        world.pass_time(2)
        assert sorted(told) == [("bounced", "bad"), ("deferred", "later"), ("delivered", "good")]
        assert [str(recipient.address) for row in world.rows() for recipient in row.recipients] == ["later@x.example"]

    def test_deferred_sets_the_delay(self, worlds: Callable[..., World], manner: str) -> None:
        """The delivery is due when the plugin says; the attempt counts."""
        world = worlds(deferred=given(manner, always(77.0)))
        world.site("x.example").outcome = lambda recipient: DEFERRED
        world.accept("a@x.example")
        world.pass_time(2)
        (row,) = world.rows()
        assert 74 <= row.due - world.wall() <= 77
        assert row.attempts == 1

    def test_recipients_with_different_delays_become_different_deliveries(
        self, worlds: Callable[..., World], manner: str
    ) -> None:
        """Recipients that come to differ in due time are separate deliveries, in one transaction (QUEUE.md)."""
        delays = {"a": 100.0, "b": 200.0, "c": None}
        world = worlds(
            deferred=given(manner, lambda message, recipient, outcome: delays[recipient.address.local]),
            settings={"retry": (1000.0,)},
        )
        world.site("x.example").outcome = lambda recipient: DEFERRED
        world.accept("a@x.example", "b@x.example", "c@x.example")
        world.pass_time(2)
        waits = {row.recipients[0].address.local: row.due - world.wall() for row in world.rows()}
        assert {name: round(wait, -2) for name, wait in waits.items()} == {"a": 100, "b": 200, "c": 1000}
        assert len(world.store.completions) == 1

    def test_deferred_sees_what_an_unreachable_site_put_off(self, worlds: Callable[..., World]) -> None:
        """Without a connection too, and for mail whose message must be read for it."""
        seen: list[bytes] = []
        world = worlds(deferred=lambda message, recipient, outcome: seen.append(message.body.read(0, 1)) or 50.0)
        world.site("x.example").down = DOWN
        for n in range(5):
            world.put(f"u{n}@x.example")
        world.pass_time(2)
        assert seen == [b"x"] * 5
        assert all(row.due - world.wall() <= 50 for row in world.rows())

    def test_bounced_suppresses_the_notice(self, worlds: Callable[..., World], manner: str) -> None:
        """No DSN, but the failure is recorded, and so is that nobody was told."""
        world = worlds(bounced=given(manner, always(True)))
        world.site("x.example").outcome = lambda recipient: FAILED
        world.accept("a@x.example")
        world.pass_time(2)
        assert world.reporter.reports == []
        assert world.rows() == []
        assert world.kinds("delivery.") == ["delivery.failed"]
        assert world.kinds("message.") == ["message.unreported"]

    def test_bounced_may_suppress_for_one_recipient(self, worlds: Callable[..., World], manner: str) -> None:
        """The notice names the others."""
        world = worlds(
            bounced=given(manner, lambda message, recipient, outcome: recipient.address.local == "quiet"),
        )
        world.site("x.example").outcome = lambda recipient: FAILED
        world.accept("quiet@x.example", "loud@x.example")
        world.pass_time(2)
        ((_, failed),) = world.reporter.reports
        assert [recipient.address.local for recipient, _ in failed] == ["loud"]

    def test_expiry_is_a_bounce(self, worlds: Callable[..., World]) -> None:
        """What expired is not deferred any more: `bounced` hears of it, with 4.4.7, and `deferred` does not."""
        told: list[tuple[str, str]] = []
        world = worlds(
            deferred=lambda message, recipient, outcome: told.append(("deferred", outcome.status)),
            bounced=lambda message, recipient, outcome: bool(told.append(("bounced", outcome.status))),
        )
        world.site("x.example").outcome = lambda recipient: DEFERRED
        world.accept("a@x.example", expires=10.0)
        world.pass_time(2)
        assert told == [("deferred", "4.3.0")]
        world.pass_time(10)
        assert told == [("deferred", "4.3.0"), ("bounced", "4.4.7")]

    def test_delivered_does_not_delay_the_record(self, worlds: Callable[..., World]) -> None:
        """Its answer does not matter: a hook that hangs holds no record up."""
        world = worlds(delivered=hang)
        world.accept("a@x.example")
        world.pass_time(1)
        assert world.rows() == []
        assert world.scheduler.status().deliveries == 0

    def test_too_many_slow_delivered_hooks_slow_sending_down(
        self, worlds: Callable[..., World], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At the bound the record waits for the hook: none is skipped."""
        monkeypatch.setattr(consultation, "NOTICES", 2)
        told: list[str] = []

        async def note(message: StoredMessage, recipient: Recipient, outcome: Outcome) -> None:
            await asyncio.sleep(1)
            told.append(recipient.address.local)

        world = worlds(delivered=note)
        for n in range(5):
            world.accept(f"u{n}@x.example")
        world.pass_time(0.9)
        assert len(world.rows(DeliveryState.ACTIVE)) == 3
        world.pass_time(2)
        assert world.rows() == []
        assert sorted(told) == [f"u{n}" for n in range(5)]

    def test_a_hung_hook_holds_only_its_own_record(self, worlds: Callable[..., World]) -> None:
        """Others of the same site, sent later, are recorded."""

        def ask(message: StoredMessage, recipient: Recipient, outcome: Outcome) -> Awaitable[float] | None:
            return hang() if recipient.address.local == "slow" else None

        world = worlds(deferred=ask)
        world.site("x.example").outcome = lambda recipient: DEFERRED
        world.accept("slow@x.example")
        world.accept("a@x.example")
        world.pass_time(1)
        states = {row.recipients[0].address.local: row.state for row in world.rows()}
        assert states == {"slow": DeliveryState.ACTIVE, "a": DeliveryState.READY}

    def test_the_end_of_the_worker_records_what_waits(self, worlds: Callable[..., World]) -> None:
        """What was delivered is recorded without the plugin's answer: else the next worker would send it again (Q2)."""
        world = worlds(deferred=hang, bounced=hang)
        kinds = {"good": DELIVERED, "bad": FAILED, "later": DEFERRED}
        world.site("x.example").outcome = lambda recipient: kinds[recipient.address.local]
        world.accept("good@x.example", "bad@x.example", "later@x.example")
        world.pass_time(1)
        assert world.run(world.scheduler.drain(world.loop.now + 1)) is False
        world.pass_time(0.1)
        (row,) = [row for row in world.rows() if row.queue == "host:x.example:25"]
        assert [str(recipient.address) for recipient in row.recipients] == ["later@x.example"]
        assert len(world.reporter.reports) == 1

    def test_an_outcome_after_the_end_is_recorded_at_once(self, worlds: Callable[..., World]) -> None:
        """What a receiver says when the drain is over waits for no plugin."""
        world = worlds(deferred=hang)
        world.site("x.example").outcome = lambda recipient: DEFERRED
        world.site("x.example").reply = 100.0
        world.accept("a@x.example")
        world.pass_time(1)
        assert world.run(world.scheduler.drain(world.loop.now + 1)) is False
        world.pass_time(100)
        assert [(row.state, row.attempts) for row in world.rows()] == [(DeliveryState.READY, 1)]

    def test_our_own_bug_is_no_opinion(self, worlds: Callable[..., World]) -> None:
        """An awaitable that raises counts as None, is told, and the outcome is recorded."""

        async def fail(*arguments: object) -> float:
            raise ZeroDivisionError

        world = worlds(deferred=fail, expect_failures=1)
        world.site("x.example").outcome = lambda recipient: DEFERRED
        world.accept("a@x.example")
        world.pass_time(1)
        assert [(row.state, row.attempts) for row in world.rows()] == [(DeliveryState.READY, 1)]


def test_without_hooks_nothing_is_asked() -> None:
    """No gate and no consultation are made for a worker without delivery plugins."""
    world = World(hooks=DeliveryHooks())
    assert world.scheduler._dispatch.gate is None
    assert world.scheduler._settlement._consultation is None
    world.close()
