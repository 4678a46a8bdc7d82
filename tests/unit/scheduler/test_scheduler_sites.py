"""Sites that cannot be reached, sites that hang, and the machine's own limit: none of them starves the others."""

from __future__ import annotations

from scheduler_world import ALL, DEFERRED, DOWN, FAILED, Site, World

from upesi.mail.route import HostRoute, MxRoute
from upesi.spool.records import RETURNED, DeliveryState, shard_of


def test_an_unreachable_site_puts_off_all_that_waits_for_it_at_once(world: World) -> None:
    """One ending defers everything in memory with its outcome, each by its own schedule."""
    world.site("x.example").down = DOWN
    for n in range(50):
        world.accept(f"a{n}@x.example", attempts=n % 2, age=300.0 * (n % 2))
    world.pass_time(1)
    rows = world.rows(DeliveryState.READY)
    assert len(rows) == 50
    assert all(row.last == DOWN for row in rows)
    assert {(row.attempts, round(row.due - row.received)) for row in rows} == {(1, 300), (2, 300 + 900)}
    assert world.scheduler.status().deliveries == 0
    assert world.scheduler.why("host:x.example:25").reason == "unreachable"


def test_a_site_that_refuses_one_route_for_good_fails_no_mail_of_another() -> None:
    """A permanent ending is about the route that was tried; what came by another is tried by its own."""
    world = World(site_connections=1)
    bad, good = MxRoute("bad.example"), MxRoute("good.example")
    world.router.sites = {"bad.example": "mx:shared", "good.example": "mx:shared"}
    site = world.agents.site("mx:shared")
    site.down = FAILED
    site.connect = 1.0
    for n in range(3):
        world.accept(f"a{n}@bad.example", queue="mx:shared", route=bad)
        world.accept(f"b{n}@good.example", queue="mx:shared", route=good)
    world.pass_time(0.5)
    assert site.started == 1
    world.pass_time(0.8)
    site.down = None
    world.pass_time(20)
    assert [str(recipient.address) for _, failed in world.reporter.reports for recipient, _ in failed] == [
        f"a{n}@bad.example" for n in range(3)
    ]
    assert sorted(address for _, address in site.delivered) == [f"b{n}@good.example" for n in range(3)]
    assert [route for route in world.router.asked if not isinstance(route, HostRoute)] == [bad, good]
    assert world.kinds("site.") == []
    world.close()


def test_permanent_endings_are_each_routes_own_and_the_last_leaves_the_site_alone() -> None:
    """Every route is tried once, and fails with its own outcome; then the site is paused."""
    world = World(site_connections=1)
    world.router.sites = {f"m{n}.example": "mx:shared" for n in range(5)}
    site = world.agents.site("mx:shared")
    site.down = FAILED
    for n in range(10):
        domain = f"m{n % 5}.example"
        world.accept(f"a{n}@{domain}", queue="mx:shared", route=MxRoute(domain))
    world.pass_time(5)
    assert len(world.reporter.reports) == 10
    assert site.started == 5
    assert world.kinds("site.") == ["site.suspended"]
    world.close()


def test_new_mail_for_an_unreachable_site_waits_in_the_spool(world: World) -> None:
    """It is not tried, loaded or scanned until one probe connection got through."""
    site = world.site("x.example")
    site.down = DOWN
    world.accept("a@x.example")
    world.pass_time(1)
    started = site.started
    for n in range(100):
        world.accept(f"b{n}@x.example")
    world.pass_time(20)
    assert site.started == started
    assert world.scheduler.status().deliveries == 0
    site.down = None
    site.connect = 6.0
    world.pass_time(12)
    assert site.started == started + 1
    world.pass_time(30)
    assert len(site.delivered) == 100


def test_pauses_grow_until_a_message_gets_through(world: World) -> None:
    """The probe is one connection, ever more seldom, up to a quarter of an hour."""
    site = world.site("x.example")
    site.down = DOWN
    for n in range(100):
        world.accept(f"a{n}@x.example")
        world.pass_time(36)
    pauses = [fields["seconds"] for kind, fields in world.emitted if kind == "site.suspended"]
    assert pauses[:5] == [30.0, 60.0, 120.0, 240.0, 480.0]
    assert pauses == sorted(pauses)
    assert max(pauses) == 900.0
    assert site.most == 1
    site.down = None
    world.pass_time(6 * 3600)
    assert len(site.delivered) == 100


def test_an_operator_ends_the_pauses_of_the_sites_that_he_names(world: World) -> None:
    """Woken, a site is asked at once, by one connection; if that fails the next pause is longer, as after any other."""
    sites = [world.site("x.example"), world.site("y.example")]
    for name, site in zip("xy", sites, strict=True):
        site.down = DOWN
        world.accept(f"a@{name}.example")
    world.pass_time(1)
    for n in range(100):
        world.accept(f"b{n}@x.example")
        world.accept(f"b{n}@y.example")
    world.pass_time(1)
    started = [site.started for site in sites]
    world.scheduler.wake(["host:x.example:25", "host:unknown:25"])
    world.pass_time(1)
    assert [site.started - before for site, before in zip(sites, started, strict=True)] == [1, 0]
    pauses = [(fields["queue"], fields["seconds"]) for kind, fields in world.emitted if kind == "site.suspended"]
    assert pauses[2:] == [("host:x.example:25", 60.0)]
    for site in sites:
        site.down = None
    world.scheduler.wake([])
    world.pass_time(5)
    assert all(len(site.delivered) >= 90 for site in sites)


def test_a_refusal_of_one_more_connection_is_a_ceiling_not_a_failure(world: World) -> None:
    """421 to the one too many puts nothing off while other connections work (C29)."""
    site = world.site("x.example")
    site.reply = 1.0
    for n in range(60):
        world.accept(f"a{n}@x.example")
    world.pass_time(0.05)
    opened = site.open
    assert opened > 1
    site.down = DOWN
    world.pass_time(70)
    assert world.kinds("site.") == []
    assert world.kinds() == ["delivery.delivered"] * 60
    assert len(site.delivered) == 60


def test_a_receiver_that_closes_before_anything_is_left_alone_after_a_few_times(world: World) -> None:
    """Accept, then hang up, again and again: no tight loop against it, and nothing lost."""
    site = world.site("x.example")
    site.dies = 1000
    world.accept("a@x.example")
    world.pass_time(10)
    assert site.started == 3
    (row,) = world.rows()
    assert row.last is not None
    assert row.last.status == "4.4.2"


def test_hanging_sites_leave_the_others_alone() -> None:
    """A thousand tarpits, and mail for others passes at once (OUT-06, Q6)."""
    world = World()
    for n in range(1000):
        world.site(f"t{n}.example").hangs = True
        world.accept(*(f"a{k}@t{n}.example" for k in range(2)))
    world.pass_time(1)
    world.holder.held = 2000
    start = world.loop.time()
    world.accept("a@x.example")
    world.pass_time(0.5)
    assert [address for _, address in world.site("x.example").delivered] == ["a@x.example"]
    assert world.loop.time() - start < 1
    world.close()


def test_a_hanging_site_does_not_fill_memory_against_others() -> None:
    """The longest path gives its tail back when others have mail due (Q6, Q7)."""
    world = World(memory_deliveries=100, connections=1000)
    for n in range(4):
        world.site(f"t{n}.example").hangs = True
        for k in range(200):
            world.put(f"a{k}@t{n}.example")
    world.pass_time(20)
    assert world.scheduler.status().deliveries <= 100
    for k in range(20):
        world.put(f"b{k}@x.example")
    world.pass_time(5)
    assert len(world.site("x.example").delivered) == 20
    assert world.scheduler.status().deliveries <= 100
    world.close()


def test_a_million_rows_of_a_blocked_site_hide_no_other(world: World) -> None:
    """Blocked heads are skipped, not claimed, and the look goes past them (Q6)."""
    for n in range(150):
        world.site(f"d{n}.example").down = DOWN
        world.accept(f"a@d{n}.example")
    world.pass_time(1)
    for n in range(150):
        world.put(f"b@d{n}.example")
    world.pass_time(2)
    before = len(world.store.claims)
    world.put("a@x.example")
    world.pass_time(2)
    assert len(world.site("x.example").delivered) == 1
    assert {queue for queue, _, _ in world.store.claims[before:]} == {"host:x.example:25"}


def test_the_machines_connections_are_never_exceeded_and_go_round() -> None:
    """With three shares for fifty sites each site gets its turn, though all have plenty of mail (Q3, Q6)."""
    world = World(shares=3)
    open_now: list[int] = []
    for n in range(50):
        world.site(f"d{n}.example").reply = 0.1
        for k in range(100):
            world.accept(f"a{k}@d{n}.example")
    for _ in range(1300):
        world.pass_time(0.1)
        open_now.append(sum(site.open for site in world.agents.sites.values()))
    assert max(open_now) <= 3
    assert all(site.delivered for site in world.agents.sites.values())
    world.close()


def warm(world: World) -> Site:
    """Return a site with several idle connections that answers each message after 10 ms."""
    site = world.site("x.example")
    site.reply, site.idle = 0.01, 300.0
    for n in range(60):
        world.accept(f"a{n}@x.example")
    world.pass_time(2)
    assert site.open > 3
    assert len(site.delivered) == 60
    return site


def test_few_messages_follow_each_other_on_one_connection(world: World) -> None:
    """Each idle connection that is woken for one message costs two writes and two answers more than waiting for the one at work."""
    site = warm(world)
    for n in range(4):
        world.accept(f"b{n}@x.example")
    world.pass_time(0.025)
    assert len(site.delivered) == 62
    world.pass_time(0.02)
    assert len(site.delivered) == 64


def test_many_messages_wake_idle_connections(world: World) -> None:
    """More than a few for each connection at work are not left waiting."""
    site = warm(world)
    for n in range(16):
        world.accept(f"b{n}@x.example")
    world.pass_time(0.015)
    assert len(site.delivered) >= 63
    world.pass_time(0.06)
    assert len(site.delivered) == 76


def test_a_connection_that_hangs_holds_up_its_own_message_only(world: World) -> None:
    """What waits behind it goes by an idle connection once it has been patient: 50 ms, or twice that where a wait was under way."""
    site = warm(world)
    site.hangs = True
    world.accept("b@x.example")
    world.pass_time(0.001)
    site.hangs = False
    world.accept("c@x.example")
    world.pass_time(0.04)
    assert len(site.delivered) == 60
    world.pass_time(0.08)
    assert [address for _, address in site.delivered[60:]] == ["c@x.example"]


def test_an_idle_connection_makes_way() -> None:
    """One share and two sites: the idle connection of one is closed for the other."""
    world = World(shares=1)
    world.site("x.example").idle = 1e6
    world.accept("a@x.example")
    world.pass_time(1)
    world.accept("a@y.example")
    world.pass_time(1)
    assert len(world.site("y.example").delivered) == 1
    world.close()


def test_a_recalled_share_is_given_up() -> None:
    """A share that the supervisor wants back leaves with its connection."""
    from upesi.limits.shares import ShareRecall

    world = World(shares=2)
    world.accept("a@x.example")
    world.accept("a@y.example")
    world.pass_time(1)
    world.holder.recalled(ShareRecall(1))
    world.pass_time(1)
    assert (world.holder.held, world.holder.in_use, world.holder.owed) == (1, 1, 0)
    world.close()


def test_temporary_answers_are_no_reason_to_leave_a_site_alone(world: World) -> None:
    """A 451 to one message says nothing about the next."""
    world.site("x.example").outcome = lambda recipient: DEFERRED
    world.accept("a@x.example")
    world.pass_time(1)
    assert world.kinds("site.") == []
    assert world.scheduler.wants("host:x.example:25")


def test_status_shows_paths_and_their_trouble(world: World) -> None:
    """`upesi status`: counts, pauses, what was last said."""
    world.site("x.example").down = DOWN
    world.site("y.example").hangs = True
    world.accept("a@x.example")
    world.accept("a@y.example")
    world.pass_time(1)
    sites = {site.queue: site for site in world.scheduler.status().sites}
    assert sites["host:x.example:25"].blocked > 0
    assert sites["host:x.example:25"].last == DOWN
    assert (sites["host:y.example:25"].in_flight, sites["host:y.example:25"].connections) == (1, 1)


def test_paths_that_hold_nothing_are_dropped(world: World) -> None:
    """State is kept for sites with mail, connections or trouble, not for every site ever seen (Q7)."""
    for n in range(200):
        world.accept(f"a@d{n}.example")
    world.pass_time(20)
    assert world.scheduler.status().paths == 0


def test_mail_behind_a_dead_site_expires_in_time(world: World) -> None:
    """RFC 5321 section 4.5.4.1: what a dead site keeps from being tried is returned when its time is over, not when its turn comes."""
    site = world.site("x.example")
    site.down = DOWN
    world.accept("first@x.example")
    world.pass_time(1)
    for n in range(300):
        world.put(f"a{n}@x.example", expires=3600.0)
    world.pass_time(3600 - 2)
    # a few are tried after each pause, and nothing is returned before its time
    assert world.reporter.reports == []
    world.pass_time(12)
    assert len(world.reporter.reports) == 300
    (_, ((_, outcome),)) = world.reporter.reports[-1]
    assert (outcome.status, outcome.text) == ("4.4.7", "delivery time expired: connection refused")
    assert [row.expires > world.wall() for row in world.rows()] == [True]


def test_what_expires_when_its_site_may_be_asked_is_tried_once_more(world: World) -> None:
    """RFC 5321 section 4.5.4.1: a site that failed lately, and whose pause is over, is asked before its mail is returned."""
    site = world.site("x.example")
    site.down = DOWN
    for n in range(9):
        world.accept(f"a{n}@x.example", expires=120.0 + 1.5 * n)
        world.pass_time(0.2)
    world.pass_time(100)
    site.down = None
    world.pass_time(60)
    assert world.reporter.reports == []
    assert len(site.delivered) == 9


def test_mail_that_expired_while_nobody_served_is_tried_once_more(world: World) -> None:
    """After an outage of days, a site that answers gets its mail."""
    for n in range(20):
        world.put(f"a{n}@x.example", expires=-60.0)
    world.pass_time(10)
    assert len(world.site("x.example").delivered) == 20
    assert world.reporter.reports == []


def test_what_expired_is_given_back_while_operators_change_the_queue(world: World) -> None:
    """A claim of expired mail that comes back after a pause began leaves no row ACTIVE."""
    world.site("x.example").down = DOWN
    world.accept("first@x.example")
    world.pass_time(1)
    world.put("a@x.example", expires=-60.0)
    world.store.delay = 0.5
    while not world.scheduler._backlog.claiming:
        world.pass_time(0.1)
    world.scheduler.pause()
    world.run(world.scheduler.recall())
    assert world.rows(DeliveryState.ACTIVE) == []
    world.scheduler.resume()
    world.pass_time(20)
    assert len(world.reporter.reports) == 1


def test_what_an_operator_returns_fails_without_an_attempt(world: World) -> None:
    """The sender is told; the receiver hears nothing of it, whether its site is left alone or not."""
    world.site("x.example").down = DOWN
    world.accept("first@x.example")
    world.pass_time(1)
    for domain in ("x.example", "y.example"):
        world.put(f"a@{domain}", expires=RETURNED - world.wall())
    world.pass_time(10)
    assert [outcome.status for _, ((_, outcome),) in world.reporter.reports] == ["5.0.0", "5.0.0"]
    # why it was given up is what its site last said, where it said anything
    text = "returned by the postmaster without another attempt"
    assert sorted(outcome.text for _, ((_, outcome),) in world.reporter.reports) == [text, f"{text}: {DOWN.text}"]
    assert world.site("y.example").started == 0
    assert world.kinds("delivery.failed") == ["delivery.failed"] * 2


def test_mail_that_waited_under_another_name_goes_where_it_belongs_now(world: World) -> None:
    """Queues are divided by TLS policy too: after a reload no mail goes over a connection of the old one's site."""
    world.renamed["host:old.example:25"] = "host:x.example:25"
    world.put("a@x.example", queue="host:old.example:25")
    world.put("b@x.example", queue="host:x.example:25")
    world.pass_time(3)
    assert len(world.site("x.example").delivered) == 2
    assert world.site("old.example").started == 0
    assert world.rows() == []


def test_mail_that_moves_to_a_site_of_another_owner_is_left_to_it(world: World) -> None:
    """Its row moves, READY and untried; the owner is told."""
    theirs = next(f"host:d{n}.example:25" for n in range(1000) if shard_of(f"host:d{n}.example:25") == 7)
    world.scheduler.set_shards(ALL - {7})
    world.renamed["host:x.example:25"] = theirs
    world.put("a@x.example", queue="host:x.example:25")
    world.pass_time(3)
    (row,) = world.rows()
    assert (row.queue, row.state, row.attempts) == (theirs, DeliveryState.READY, 0)
    assert world.hinted == {theirs}
    assert world.site("x.example").started == 0
