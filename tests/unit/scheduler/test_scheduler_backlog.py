"""What waits in the spool is found, routed, and handed over when its shard changes hands."""

from __future__ import annotations

from scheduler_world import ALL, DOWN, FAILED, World

from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.route import MxRoute
from upesi.spool.records import DeliveryState, shard_of

NO_ANSWER = Outcome(OutcomeKind.DEFERRED, 0, "4.4.3", "no DNS answer")
NO_DOMAIN = Outcome(OutcomeKind.FAILED, 0, "5.1.2", "no such domain")


def test_mail_that_nobody_told_of_is_found_within_a_second(world: World) -> None:
    """A lost hint costs a second at most."""
    world.pass_time(5)
    world.put("a@x.example")
    world.pass_time(1.1)
    assert len(world.site("x.example").delivered) == 1


def test_a_hint_is_followed_at_once(world: World) -> None:
    """Many hints are one look."""
    world.pass_time(5.5)
    for n in range(10):
        world.put(f"a{n}@x.example")
        world.scheduler.hint({"host:x.example:25"})
    world.pass_time(0.1)
    assert len(world.site("x.example").delivered) == 10
    assert len(world.store.claims) == 1


def test_a_hint_that_comes_during_a_claim_is_followed_after_it(world: World) -> None:
    """The claim under way has read the index already: without a second look the mail would wait for the next poll, up to a second."""
    world.store.delay = 0.1
    world.pass_time(5.5)
    world.put("a@x.example")
    world.scheduler.hint({"host:x.example:25"})
    world.pass_time(0.05)
    world.put("b@x.example")
    world.scheduler.hint({"host:x.example:25"})
    world.pass_time(0.4)
    assert len(world.site("x.example").delivered) == 2


def test_a_large_backlog_is_claimed_in_pieces(world: World) -> None:
    """Memory holds what is due and has room, and all of it is sent."""
    for n in range(3000):
        world.put(f"a{n}@x.example")
    most = 0
    for _ in range(600):
        world.pass_time(0.05)
        most = max(most, world.scheduler.status().deliveries)
    assert len(world.site("x.example").delivered) == 3000
    assert most <= 1100


def test_new_mail_does_not_pass_a_backlog(world: World) -> None:
    """While older mail of a site waits in the spool, newer mail waits behind it (Q6)."""
    for n in range(1500):
        world.put(f"a{n}@x.example")
    world.pass_time(0.1)
    assert not world.scheduler.wants("host:x.example:25")
    world.pass_time(20)
    assert world.scheduler.wants("host:x.example:25")


def test_unrouted_mail_is_routed_and_sent_from_memory(world: World) -> None:
    """Where the site is ours the entry goes there at once; its row goes with its outcome."""
    world.accept("a@m.example", queue="domain:m.example", route=MxRoute("m.example"))
    world.pass_time(0.2)
    assert len(world.agents.site("mx:m.example").delivered) == 1
    assert len(world.store.completions) == 1
    assert world.store.loads == []


def test_unrouted_mail_for_another_owner_moves_to_its_queue(world: World) -> None:
    """The row moves, READY and untried, and its owner gets a hint."""
    other = shard_of("mx:m.example")
    world.scheduler.set_shards(ALL - {other})
    world.accept("a@m.example", queue="domain:m.example", route=MxRoute("m.example"))
    world.pass_time(0.2)
    (row,) = world.rows(DeliveryState.READY)
    assert (row.queue, row.attempts) == ("mx:m.example", 0)
    assert world.hinted == {"mx:m.example"}
    assert world.agents.site("mx:m.example").started == 0


def test_one_question_serves_all_mail_of_a_domain(world: World) -> None:
    """And a bounded number of domains is asked for at once."""
    world.router.delay = 0.5
    for n in range(200):
        for _ in range(3):
            world.accept(f"a@m{n}.example", queue=f"domain:m{n}.example", route=MxRoute(f"m{n}.example"))
    world.pass_time(0.4)
    assert world.router.most_asking <= 64
    world.pass_time(10)
    assert sum(len(site.delivered) for site in world.agents.sites.values()) == 600
    assert len(world.router.asked) <= 400  # once to find the site, once for its hosts


def test_domains_that_share_a_site_share_its_connections(world: World) -> None:
    """Limits belong to the site, whatever the domain."""
    for n in range(40):
        world.router.sites[f"m{n}.example"] = "mx:shared"
        world.accept(f"a@m{n}.example", queue=f"domain:m{n}.example", route=MxRoute(f"m{n}.example"))
    world.agents.site("mx:shared").reply = 1.0
    world.pass_time(10)
    assert world.agents.site("mx:shared").most <= 20
    assert len(world.agents.site("mx:shared").delivered) == 40


def test_dns_trouble_puts_off_and_no_domain_fails(world: World) -> None:
    """Unroutable says for how long; a failure is reported to the sender."""
    world.router.unroutable = {"slow.example": NO_ANSWER, "gone.example": NO_DOMAIN}
    for domain in ("slow.example", "gone.example"):
        world.accept(f"a@{domain}", queue=f"domain:{domain}", route=MxRoute(domain))
    world.pass_time(1)
    (row,) = world.rows()
    assert (row.last, row.attempts) == (NO_ANSWER, 1)
    assert len(world.reporter.reports) == 1


def test_a_claimed_message_that_cannot_be_routed_is_read_for_its_report(world: World) -> None:
    """The notice quotes the message, so it is loaded first."""
    world.router.unroutable = {"gone.example": NO_DOMAIN}
    world.put("a@gone.example", queue="domain:gone.example", route=MxRoute("gone.example"))
    world.pass_time(3)
    assert len(world.reporter.reports) == 1
    assert world.rows() == []


def test_a_site_that_moved_takes_its_mail_along(world: World) -> None:
    """When MX changes, what waits under the old site goes to the new one."""
    world.router.sites["m.example"] = "mx:new"
    world.put("a@m.example", queue="mx:old", route=MxRoute("m.example"))
    world.pass_time(3)
    assert len(world.agents.site("mx:new").delivered) == 1
    assert world.agents.site("mx:old").started == 0


def test_yielded_shards_are_idle_only_when_nothing_is_in_flight(world: World) -> None:
    """A shard changes hands when no connection of ours to its sites is left (Q3 during reload)."""
    site = world.site("x.example")
    site.reply = 3.0
    for n in range(40):
        world.accept(f"a{n}@x.example")
    world.accept("a@y.example")
    world.pass_time(1)
    mine, other = shard_of("host:x.example:25"), shard_of("host:y.example:25")
    assert mine != other
    world.scheduler.yield_shards(frozenset({mine}))
    assert not world.scheduler.wants("host:x.example:25")
    world.pass_time(0.1)
    assert site.open > 0
    assert world.idle == []
    ready = len(world.rows(DeliveryState.READY))
    assert ready > 0
    world.pass_time(10)
    assert world.idle == [frozenset({mine})]
    assert site.open == 0
    assert len(site.delivered) + ready == 40
    assert len(world.rows(DeliveryState.READY)) == ready


def test_shards_without_work_are_idle_at_once(world: World) -> None:
    """The supervisor does not wait for nothing."""
    world.scheduler.yield_shards(ALL)
    assert world.idle == [ALL]


def test_gained_shards_are_looked_into(world: World) -> None:
    """What their last owner left is sent."""
    world.scheduler.set_shards(frozenset())
    world.pass_time(1)
    world.put("a@x.example")
    world.pass_time(3)
    assert world.site("x.example").delivered == []
    world.scheduler.set_shards(ALL)
    world.pass_time(1.2)
    assert len(world.site("x.example").delivered) == 1


def test_mail_born_here_for_a_shard_just_lost_goes_back(world: World) -> None:
    """What was committed as ours while the shard left is given back, not sent."""
    message = world.message("a@x.example")
    born = world.store._insert(message)
    assert [row.state for row in born] == [DeliveryState.ACTIVE]
    world.scheduler.yield_shards(ALL)
    world.scheduler.accepted(message, born)
    world.pass_time(1)
    assert world.site("x.example").started == 0
    assert [row.state for row in world.rows()] == [DeliveryState.READY]


def test_recall_brings_everything_unstarted_to_the_spool(world: World) -> None:
    """An operator's change meets the mail in the spool, durably; resume takes it up again."""
    world.site("x.example").reply = 2.0
    world.site("x.example").messages = 1
    for n in range(30):
        world.accept(f"a{n}@x.example")
    world.pass_time(0.1)
    world.scheduler.pause()
    world.run(world.scheduler.recall())
    flying = len(world.rows(DeliveryState.ACTIVE))
    assert flying == world.site("x.example").open > 0
    assert len(world.rows(DeliveryState.READY)) == 30 - flying
    world.pass_time(5)
    assert len(world.site("x.example").delivered) == flying
    world.scheduler.resume()
    world.pass_time(20)
    assert len(world.site("x.example").delivered) == 30


def test_draining_finishes_what_is_in_flight_and_gives_back_the_rest(world: World) -> None:
    """SIGTERM: nothing new, nothing lost, within the deadline."""
    world.site("x.example").reply = 2.0
    for n in range(30):
        world.accept(f"a{n}@x.example")
    world.pass_time(0.1)
    flying = world.site("x.example").open
    assert world.run(world.scheduler.drain(world.loop.time() + 30))
    assert len(world.site("x.example").delivered) == flying
    assert len(world.rows(DeliveryState.READY)) == 30 - flying == len(world.rows())


def test_draining_keeps_its_deadline(world: World) -> None:
    """A receiver that hangs does not hold the process."""
    world.site("x.example").hangs = True
    world.accept("a@x.example")
    world.pass_time(0.1)
    assert not world.run(world.scheduler.drain(world.loop.time() + 5))


def test_every_queue_can_say_why_it_waits(world: World) -> None:
    """Reasons for people (Q8)."""
    world.site("x.example").down = DOWN
    world.accept("a@x.example")
    world.site("y.example").hangs = True
    for n in range(300):
        world.accept(f"a{n}@y.example")
    world.pass_time(3)
    why = world.scheduler.why
    assert why("host:x.example:25").reason == "unreachable"
    assert why("host:x.example:25").until > 0
    assert why("host:x.example:25").last == DOWN
    assert why("host:y.example:25").reason == "connection-limit"
    assert why("host:z.example:25").reason == "due-later"
    world.scheduler.pause()
    assert why("host:y.example:25").reason == "paused"
    world.scheduler.set_shards(frozenset())
    assert why("host:z.example:25").reason == "not-ours"


def test_failed_mail_claimed_from_the_spool_is_reported(world: World) -> None:
    """The report has the message, though it was not in memory at first."""
    world.site("x.example").outcome = lambda recipient: FAILED
    message = world.put("a@x.example")
    world.pass_time(3)
    assert world.reporter.reports[0][0].id == message.id
    assert world.rows() == []


def test_mail_recalled_while_its_domain_is_asked_for_is_sent_once(world: World) -> None:
    """An answer that comes late finds nothing to send but what was claimed again: it goes once."""
    world.router.delay = 1.0
    world.accept("a@m.example", queue="domain:m.example", route=MxRoute("m.example"))
    world.pass_time(0.1)
    world.scheduler.pause()
    world.run(world.scheduler.recall())
    assert [row.state for row in world.rows()] == [DeliveryState.READY]
    world.scheduler.resume()
    world.pass_time(5)
    assert len(world.agents.site("mx:m.example").attempts) == 1
    assert world.rows() == []


def test_too_many_told_yes_before_the_first_commit_go_back() -> None:
    """The budget holds though every accept of a batch was promised its place (Q7)."""
    world = World(memory_deliveries=20)
    world.site("x.example").hangs = True
    for n in range(100):
        world.accept(f"a{n}@d{n}.example", queue=f"host:d{n % 10}.example:25")
    world.pass_time(0.005)
    assert world.scheduler.status().deliveries <= 26
    world.pass_time(60)
    assert world.rows() == []
    world.close()


def test_mail_put_off_while_it_is_being_read_is_put_off(world: World) -> None:
    """The outcome of an unreachable site replaces the wish to read ahead, and a report that needs the message gets it."""
    site = world.site("x.example")
    site.connect = 0.001
    site.down = DOWN
    world.store.delay = 0.5
    for n in range(3):
        world.put(f"a{n}@x.example", expires=-60.0)
    world.pass_time(20)
    assert len(world.reporter.reports) == 3
    assert all(DOWN.text in outcome.text for _, failed in world.reporter.reports for _, outcome in failed)
    assert [row for row in world.rows() if row.queue == "host:x.example:25"] == []
