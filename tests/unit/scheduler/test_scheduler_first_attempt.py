"""Mail that was just accepted goes out from memory, over few connections, in few transactions."""

from scheduler_world import DEFERRED, DELIVERED, FAILED, World

from upesi.spool.records import DeliveryState


def test_a_message_is_delivered_without_reading_the_spool(world: World) -> None:
    """Body and row come from memory; the row goes with the recorded outcome."""
    world.accept("a@x.example")
    world.pass_time(0.1)
    assert [address for _, address in world.site("x.example").delivered] == ["a@x.example"]
    assert world.rows() == []
    assert world.store.loads == []
    assert [claim for claim in world.store.claims if claim[2]] == []
    assert world.kinds() == ["delivery.delivered"]


def test_one_connection_carries_a_slow_stream(world: World) -> None:
    """There is not one connection per message."""
    for n in range(20):
        world.accept(f"a{n}@x.example")
        world.pass_time(0.02)
    world.pass_time(0.1)
    assert len(world.site("x.example").delivered) == 20
    assert world.site("x.example").started == 1


def test_a_burst_opens_several_connections_but_not_all(world: World) -> None:
    """Fifty messages on a fresh site are worth more than one handshake and fewer than twenty."""
    for n in range(50):
        world.accept(f"a{n}@x.example")
    world.pass_time(0.5)
    assert len(world.site("x.example").delivered) == 50
    assert 3 <= world.site("x.example").started <= 10


def test_connections_to_a_site_never_exceed_its_limit(world: World) -> None:
    """site_connections bounds what a receiver sees, however much waits (Q3)."""
    world.site("x.example").reply = 3.0
    for n in range(400):
        world.accept(f"a{n}@x.example")
    world.pass_time(20)
    assert world.site("x.example").most == 20


def test_recipients_of_one_message_at_one_site_share_a_transaction(world: World) -> None:
    """One copy for many recipients at one host (C28, RFC 5321 section 4.5.4.1)."""
    world.accept(*(f"a{n}@x.example" for n in range(30)))
    world.pass_time(0.2)
    assert [len(attempt.recipients) for attempt in world.site("x.example").attempts] == [30]


def test_deliveries_of_two_domains_at_one_site_join(world: World) -> None:
    """Two rows of a message for the same queue go in one transaction, and are recorded each (C28)."""
    world.accept("a@x.example", "b@y.example", queue="host:x.example:25")
    world.pass_time(0.2)
    (attempt,) = world.site("x.example").attempts
    assert len(attempt.recipients) == len(attempt.deliveries) == 2
    assert len(world.store.completions) == 2
    assert world.rows() == []


def test_more_recipients_than_a_transaction_takes_are_sent_in_turns(world: World) -> None:
    """A transaction has at most transaction_recipients; the rest goes on, untried and from memory (RFC 5321 section 4.5.3.1.8)."""
    world.accept(*(f"a{n}@x.example" for n in range(250)))
    world.pass_time(0.5)
    attempts = world.site("x.example").attempts
    assert [len(attempt.recipients) for attempt in attempts] == [100, 100, 50]
    assert [attempt.number for attempt in attempts] == [1, 1, 1]
    assert len(set(world.site("x.example").delivered)) == 250
    assert world.rows() == []


def test_a_server_s_own_limit_of_recipients_is_kept(world: World) -> None:
    """C108, RFC 9422: no more in one transaction than the server announces, and no less than it could be told at once."""
    world.site("x.example").room = 7
    world.accept(*(f"a{n}@x.example" for n in range(20)))
    world.accept("b@x.example", "b@y.example", queue="host:x.example:25")
    world.pass_time(0.5)
    attempts = world.site("x.example").attempts
    assert sorted(len(attempt.recipients) for attempt in attempts) == [2, 6, 7, 7]
    assert {attempt.number for attempt in attempts} == {1}
    assert len(set(world.site("x.example").delivered)) == 22
    assert world.rows() == []


def test_a_thousand_recipients_over_a_thousand_domains_each_end_once(world: World) -> None:
    """Each recipient has exactly one final state (RCP-04)."""
    for n in range(1000):
        outcome = (DELIVERED, FAILED, DEFERRED)[n % 3]
        world.site(f"d{n}.example").outcome = lambda recipient, outcome=outcome: outcome
    world.accept(*(f"a@d{n}.example" for n in range(1000)))
    world.pass_time(20)
    kinds = world.kinds()
    assert kinds.count("delivery.delivered") == 334 + 333  # the reports too
    assert kinds.count("delivery.failed") == 333
    assert kinds.count("delivery.deferred") == 333
    assert len(world.rows(DeliveryState.READY)) == 333 == len(world.rows())


def test_bodies_beyond_the_budget_are_read_again() -> None:
    """memory_bodies bounds message data; what was dropped is loaded when its turn comes (Q7)."""
    world = World(memory_bodies=1000)
    for n in range(20):
        world.accept(f"a{n}@x.example", body=b"y" * 300)
    world.pass_time(0.005)
    assert world.scheduler.status().bodies <= 1000
    world.pass_time(1)
    assert len(world.site("x.example").delivered) == 20
    assert len(world.store.loads) >= 10
    assert world.scheduler.status().bodies == 0
    world.close()


def test_deliveries_beyond_the_budget_wait_in_the_spool_and_go_in_order() -> None:
    """memory_deliveries bounds what is ACTIVE; the rest is claimed, oldest first (Q7)."""
    world = World(memory_deliveries=20, site_connections=1)
    site = world.site("x.example")
    for n in range(200):
        world.accept(f"a{n}@x.example")
        world.pass_time(0.001)
        assert world.scheduler.status().deliveries <= 20
    assert not world.scheduler.wants("host:x.example:25")
    world.pass_time(30)
    assert len(site.delivered) == 200
    assert world.rows() == []
    assert world.scheduler.wants("host:x.example:25")
    world.close()


def test_a_connection_that_hangs_delays_the_next_message_only_a_little(world: World) -> None:
    """Messages are bound to a connection only when it takes them."""
    site = world.site("x.example")
    site.hangs = True
    world.accept("a@x.example")
    world.pass_time(1)
    site.hangs = False
    world.accept("b@x.example")
    world.pass_time(0.2)
    assert [address for _, address in site.delivered] == ["b@x.example"]


def test_a_given_back_message_counts_no_attempt(world: World) -> None:
    """A kept connection found dead is no attempt of the message (QUEUE.md, look-ahead)."""
    world.site("x.example").dies = 1
    world.accept("a@x.example")
    world.pass_time(1)
    assert [attempt.number for attempt in world.site("x.example").attempts] == [1]
    assert world.kinds() == ["delivery.delivered"]


def test_looking_ahead_never_takes_past_what_waits(world: World) -> None:
    """An agent may hold two attempts, and give the second back, for ever, without loss or repetition."""
    site = world.site("x.example")
    site.looks_ahead = True
    for n in range(30):
        world.accept(f"a{n}@x.example")
    world.pass_time(2)
    assert len(site.delivered) == len(set(site.delivered)) == 30


def test_wants_refuses_what_is_not_ours(world: World) -> None:
    """Rows of another owner's shard are born READY."""
    world.scheduler.set_shards(frozenset())
    assert not world.scheduler.wants("host:x.example:25")
