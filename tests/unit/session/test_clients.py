"""What one client may do over all its sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sessionkit import Dialogue

from upesi.config.settings import LimitsSettings
from upesi.config.units import Rate
from upesi.hooks.session import Transaction, TransactionRecipient
from upesi.hooks.verdict import Verdict, accept, reject
from upesi.session.clients import LIMITS, Clients
from upesi.store.machine import MachineCounters


class World:
    """Clients of two addresses, at one worker; the clock is set by hand."""

    def __init__(self, **settings: object) -> None:
        self.now = 1000.0
        self.events: list[tuple[str, dict[str, object]]] = []
        self.counters = MachineCounters(None, boot="", monotonic=lambda: self.now)
        limits = LimitsSettings(**{"exempt": ("10.0.0.0/8",), **settings})  # type: ignore[arg-type]
        self.clients = Clients(self.counters, limits, lambda name, fields: self.events.append((name, fields)))

    def talk(self, address: str = "192.0.2.1", **points: object) -> Dialogue:
        """A connection that was greeted, or turned away."""
        talk = Dialogue(clients=self.clients, peer=(address, 40000), **points)  # type: ignore[arg-type]
        talk.loop.advance(0.1)
        return talk


@pytest.fixture
def worlds() -> Iterator[list[World]]:
    made: list[World] = []
    yield made
    for world in made:
        world.counters.close()


def greeting(talk: Dialogue) -> str:
    """The first words."""
    return talk.heard()[0][:9]


def test_connections_at_once_are_limited_and_given_back(worlds: list[World]) -> None:
    """FLD-02: beyond the limit 421 4.7.0; who leaves makes room; others are not touched; exempt networks have no limit."""
    worlds.append(world := World(connections=2))
    first, second = world.talk(), world.talk()
    assert [talk.heard()[0][:4] for talk in (first, second)] == ["220 ", "220 "]
    assert greeting(world.talk()) == "421 4.7.0"
    assert greeting(world.talk("192.0.2.2")).startswith("220 ")
    first.hang_up()
    assert greeting(world.talk()).startswith("220 ")
    assert greeting(world.talk()) == "421 4.7.0"
    assert all(greeting(world.talk("10.1.2.3")).startswith("220 ") for _ in range(10))
    assert world.clients.refused["connections"] == 2


def test_ipv6_counts_by_64_and_ipv4_by_address(worlds: list[World]) -> None:
    """FLD-02: one customer has a /64 of addresses, so all of it is one client; IPv4-mapped addresses are IPv4."""
    worlds.append(world := World(connections=1))
    assert greeting(world.talk("2001:db8:1:2::1")).startswith("220 ")
    assert greeting(world.talk("2001:db8:1:2:ffff::9")) == "421 4.7.0"
    assert greeting(world.talk("2001:db8:1:3::1")).startswith("220 ")
    assert greeting(world.talk("::ffff:192.0.2.7")).startswith("220 ")
    assert greeting(world.talk("192.0.2.7")) == "421 4.7.0"
    assert greeting(world.talk("192.0.2.8")).startswith("220 ")
    assert world.events[0][1]["network"] == "2001:db8:1:2::/64"


def test_prefixes_are_the_operators_to_choose(worlds: list[World]) -> None:
    """FLD-02: /24 where a provider's whole block misbehaves."""
    worlds.append(world := World(connections=1, ipv4_prefix=24))
    assert greeting(world.talk("192.0.2.1")).startswith("220 ")
    assert greeting(world.talk("192.0.2.200")) == "421 4.7.0"
    assert greeting(world.talk("192.0.3.1")).startswith("220 ")


def test_the_rate_of_connections_is_limited(worlds: list[World]) -> None:
    """FLD-02: three in any minute; what was refused held no place and counted for nothing."""
    worlds.append(world := World(connection_rate=Rate("3/1m")))
    talks = [world.talk() for _ in range(5)]
    assert [greeting(talk)[:3] for talk in talks] == ["220"] * 3 + ["421"] * 2
    assert world.counters.held(b"connections:192.0.2.1/32") == 3
    world.now += 66
    assert greeting(world.talk()).startswith("220 ")


def test_messages_are_limited_over_sessions(worlds: list[World]) -> None:
    """`limits.messages`: the third MAIL of a minute is 450 4.7.1, in whichever session it comes."""
    worlds.append(world := World(messages=Rate("2/1m")))
    for _ in range(2):
        talk = world.talk()
        talk.begin()
        assert talk.send()[0].startswith("250 ")
    talk = world.talk()
    talk.hello()
    assert talk.say("MAIL FROM:<a@example.org>")[0].startswith("450 4.7.1 ")
    world.now += 66
    assert talk.codes("MAIL FROM:<a@example.org>") == ["250"]


def test_recipients_are_limited_over_sessions(worlds: list[World]) -> None:
    """`limits.recipients`: 452, so that a client sends the rest later (RFC 5321 section 4.5.3.1.10)."""
    worlds.append(world := World(recipients=Rate("3/1m")))
    world.talk().begin("a@example.net", "b@example.net")
    talk = world.talk()
    talk.begin("c@example.net")
    assert talk.say("RCPT TO:<d@example.net>")[0].startswith("452 4.5.3 ")
    assert talk.send()[0].startswith("250 ")
    assert len(talk.intake.accepted[0].deliveries[0].recipients) == 1


def test_errors_end_the_session_and_keep_others_out(worlds: list[World]) -> None:
    """`limits.errors`: new connections do not make a client's errors forgotten, until the window has passed."""
    worlds.append(world := World(errors=Rate("5/10m")))
    for _ in range(2):
        talk = world.talk()
        talk.hello()
        assert [line[:3] for line in talk.say("XYZZY", "XYZZY")] == ["500", "500"]
    talk = world.talk()
    talk.hello()
    assert [line[:9] for line in talk.say("XYZZY", "XYZZY", "NOOP")] == ["500 5.5.1", "500 5.5.1", "421 4.7.0"]
    assert talk.transport.ended
    assert greeting(world.talk()) == "421 4.7.0"
    assert greeting(world.talk("192.0.2.9")).startswith("220 ")
    world.now += 660
    assert greeting(world.talk()).startswith("220 ")


def test_guessing_recipients_ends_in_one_answer_for_all(worlds: list[World]) -> None:
    """`limits.unknown_recipients`: after so many 5.1.1, known and unknown recipients get the same 450."""
    worlds.append(world := World(unknown_recipients=Rate("3/10m"), errors=Rate("none")))

    def rcpt(tx: Transaction, recipient: TransactionRecipient) -> Verdict:
        return reject("5.1.1", "No such user here") if recipient.address.local.startswith("x") else accept()

    talk = world.talk(rcpt=rcpt)
    talk.hello()
    talk.say("MAIL FROM:<a@example.org>")
    for name in ("x1", "x2", "x3"):
        assert talk.say(f"RCPT TO:<{name}@example.net>")[0].startswith("550 5.1.1 ")
    replies = {talk.say(f"RCPT TO:<{name}@example.net>")[0] for name in ("x4", "known")}
    assert replies == {"450 4.7.1 Too many unknown recipients from your network, try again later"}


def test_strangers_cannot_have_notices_without_end_sent_to_others(worlds: list[World]) -> None:
    """DSN-01: `limits.notices`: NOTIFY=SUCCESS of a stranger is 452 beyond it, over all transactions; other recipients are not touched."""
    worlds.append(world := World(notices=Rate("3/10m")))
    talk = world.talk(rcpt=lambda tx, recipient: accept())
    talk.hello()
    for number in range(5):
        talk.say("RSET")
        talk.say("MAIL FROM:<victim@example.org>")
        (reply,) = talk.say(f"RCPT TO:<u{number}@example.net> NOTIFY=FAILURE,SUCCESS")
        assert reply[:9] == ("250 2.1.5" if number < 3 else "452 4.5.3")
    for parameters in ("", " NOTIFY=FAILURE,DELAY", " NOTIFY=NEVER"):
        assert talk.say(f"RCPT TO:<u@example.net>{parameters}")[0].startswith("250 ")
    assert world.clients.refused["notices"] == 2


def test_who_may_relay_may_ask_for_notices(worlds: list[World]) -> None:
    """DSN-01: clients that we know are responsible for their senders, and not counted."""
    worlds.append(world := World(notices=Rate("1/10m")))
    talk = world.talk(rcpt=lambda tx, recipient: accept())
    talk.hello()
    talk.engine.session.relaying = True
    talk.say("MAIL FROM:<a@example.org>")
    for number in range(5):
        assert talk.say(f"RCPT TO:<u{number}@example.net> NOTIFY=SUCCESS")[0].startswith("250 ")


def test_events_tell_once_in_a_while(worlds: list[World]) -> None:
    """FLD-12: a flood of refusals is counted each, and told once a minute for each network and limit."""
    worlds.append(world := World(connections=1))
    world.talk()
    for _ in range(100):
        world.talk()
    assert world.clients.refused["connections"] == 100
    assert [name for name, _ in world.events] == ["client.limited"]
    assert world.events[0][1] == {
        "network": "192.0.2.1/32",
        "limit": "connections",
        "listener": "",
        "reply": "421 4.7.0 Too many connections from your network, try again later",
    }
    world.now += 66
    world.talk()
    assert len(world.events) == 2
    assert set(world.clients.refused) == set(LIMITS)


def test_ten_million_addresses_are_not_remembered(worlds: list[World]) -> None:
    """FLD-11: networks of addresses are remembered up to a bound."""
    worlds.append(world := World())
    for number in range(10_000):
        world.clients.network(f"192.0.{number >> 8}.{number & 255}")
    assert len(world.clients._known) <= 4096
    assert world.clients.network("") == b""
    assert world.clients.network("fe80::1%eth0") == b"fe80::/64"


def test_every_spelling_of_an_address_is_one_client(worlds: list[World]) -> None:
    """FLD-02: a proxy may write IPv4 as IPv6, and must not make one client of all of it; what is no address has no limits."""
    worlds.append(world := World())
    assert world.clients.network("::ffff:192.0.2.7") == world.clients.network("192.0.2.7") == b"192.0.2.7/32"
    assert world.clients.network("::ffff:10.1.2.3") == b""
    assert world.clients.network("2001:DB8::1") == world.clients.network("2001:db8:0::2") == b"2001:db8::/64"
    assert world.clients.network("unknown") == b""
