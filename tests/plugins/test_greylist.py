"""greylist (RFC 6647): first contacts wait, known ones and friends do not, and an outage stops no mail."""

from __future__ import annotations

import pytest

from upesi.config.problems import ConfigError
from upesi.plugins.greylist.plugin import Greylist
from upesi.testkit import FakeClock, MemoryStore, Trial

DAY = 86_400


class World:
    """One store and one clock for many sessions."""

    def __init__(self, **settings: object) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.settings = settings

    def trial(self, ip: str = "192.0.2.1") -> Trial:
        return Trial.of(Greylist, self.settings, ip=ip, clock=self.clock, services={"store": self.store})

    async def tries(
        self, ip: str = "192.0.2.1", sender: str = "a@example.com", recipient: str = "b@example.org"
    ) -> str:
        """One session with one recipient; return the reply, or "passed"."""
        trial = self.trial(ip)
        await trial.mail(sender)
        verdict = await trial.rcpt(recipient)
        return "passed" if verdict is None else str(verdict.reply)


async def test_the_first_contact_waits_and_the_second_try_passes():
    """C106, RFC 6647 section 2.1: 451 4.7.1, deferred, too early, passed, known."""
    world = World()
    assert await world.tries() == "451 4.7.1 Greylisted, please try again in 5 minutes"
    world.clock.advance(200)
    assert await world.tries() == "451 4.7.1 Greylisted, please try again in 2 minutes"
    world.clock.advance(101)
    assert await world.tries() == "passed"
    world.clock.advance(30 * DAY)
    assert await world.tries() == "passed"
    world.clock.advance(35 * DAY)
    assert await world.tries() == "passed"
    world.clock.advance(37 * DAY)
    assert (await world.tries()).startswith("451")


async def test_a_retry_beyond_the_window_is_a_first_contact():
    """RFC 6647 section 5: who comes back after days has not waited, it sends again."""
    world = World(window="1d")
    await world.tries()
    world.clock.advance(DAY + 1)
    assert (await world.tries()).startswith("451")


async def test_another_sender_or_recipient_is_another_contact():
    """The triplet is client, sender and recipient; case and clients of one network make no difference."""
    world = World(auto_allow_after=0)
    await world.tries()
    world.clock.advance(301)
    assert await world.tries(ip="192.0.2.200", sender="A@Example.COM", recipient="B@example.org") == "passed"
    for other in ({"ip": "192.0.3.1"}, {"sender": "c@example.com"}, {"recipient": "c@example.org"}, {"sender": ""}):
        assert (await world.tries(**other)).startswith("451"), other
    assert (await world.tries(ip="2001:db8::1")).startswith("451")
    world.clock.advance(301)
    assert await world.tries(ip="2001:db8::ffff:1") == "passed"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("prvs=0781a3f09c=a@example.com", "prvs=0791b7712e=a@example.com"),
        ("SRS0=abcd=wu=example.com=a@fwd.example", "SRS0=efgh=wv=example.com=a@fwd.example"),
    ],
)
async def test_tags_that_change_every_day_do_not_matter(first: str, second: str):
    """BATV and SRS."""
    world = World()
    await world.tries(sender=first)
    world.clock.advance(301)
    assert await world.tries(sender=second) == "passed"


async def test_a_network_that_passed_often_is_not_asked_any_more():
    """After so many triplets; others are."""
    world = World(auto_allow_after=3)
    for number in range(3):
        await world.tries(recipient=f"r{number}@example.org")
    world.clock.advance(301)
    for number in range(3):
        assert await world.tries(recipient=f"r{number}@example.org") == "passed"
    assert await world.tries(recipient="new@example.org") == "passed"
    assert (await world.tries(ip="198.51.100.1", recipient="new@example.org")).startswith("451")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"exempt": ["192.0.2.0/24"]}, "exempt network"),
        ({"exempt_recipients": ["b@example.org"]}, "exempt recipient"),
        ({"exempt_recipients": ["B"]}, "exempt recipient"),
        ({}, "relaying"),
        ({}, "authenticated"),
        ({}, "dnswl passed"),
        ({"spf_pass": True}, "spf passed"),
    ],
)
async def test_exemptions(settings: dict[str, object], why: str):
    """RFC 6647 section 5: those who are known otherwise are not made to wait; the result says why."""
    world = World(**settings)
    trial = world.trial()
    await trial.mail()
    if why == "relaying":
        trial.session.relaying = True
    elif why == "authenticated":
        trial.session.identity = "anna"
    elif why == "dnswl passed":
        trial.session.results["dnswl"] = ("pass", "listed")
    elif why == "spf passed":
        trial.tx.results["spf"] = ("pass", "ip4")
    assert await trial.rcpt("b@example.org") is None
    assert trial.tx.results["greylist"] == ("skip", why)


async def test_spf_is_no_exemption_by_default():
    """Whoever sends spam from a domain of his own has SPF too."""
    trial = World().trial()
    await trial.mail()
    trial.tx.results["spf"] = ("pass", "ip4")
    assert (await trial.rcpt()).reply.code == 451


async def test_an_outage_of_the_store_stops_no_mail():
    """on_error is "continue" here; the failure is counted."""
    world = World()
    world.store.down = True
    trial = world.trial()
    await trial.mail()
    assert await trial.rcpt() is None
    assert [event for event, _ in trial.events] == ["plugin.failed"]


async def test_a_clock_that_was_set_back_makes_nobody_wait_for_ever():
    """A triplet from the future waits as long as a new one."""
    world = World()
    await world.tries()
    world.clock.step(-DAY)
    assert await world.tries() == "451 4.7.1 Greylisted, please try again in 5 minutes"


async def test_a_client_without_an_address_is_let_through():
    """A Unix socket is one of ours."""
    trial = World().trial(ip="unix")
    await trial.mail()
    assert await trial.rcpt() is None


@pytest.mark.parametrize(
    "settings", [{"delay": "3d"}, {"lifetime": "1d"}, {"ipv4_prefix": 0}, {"auto_allow_after": -1}]
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object]):
    """At the start."""
    with pytest.raises(ConfigError):
        World(**settings).trial()


async def test_the_wait_is_told_in_words_that_are_true():
    """Who is told a time comes back then: it is never shorter than the wait, and no minute where it is a second."""
    world = World()
    await world.tries()
    for elapsed, left in ((239, "2 minutes"), (2, "59 seconds"), (58, "1 second")):
        world.clock.advance(elapsed)
        assert await world.tries() == f"451 4.7.1 Greylisted, please try again in {left}"
