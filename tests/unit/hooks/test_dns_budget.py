"""What one message may ask of DNS, whoever asks on its behalf."""

from __future__ import annotations

import asyncio

from upesi.hooks.dns_budget import Allowance, BoundedDns
from upesi.mail.answers import Answer, Status
from upesi.plugin import Plugin, PluginSettings, hook
from upesi.testkit import FakeResolver, Trial, run_virtual

FOUND = Answer(Status.OK, texts=("192.0.2.1",))


class Slow(FakeResolver):
    """Every name is at 192.0.2.1, after some seconds; names in `memory` are known."""

    def __init__(self, seconds=0.0, memory=()):
        super().__init__()
        self.seconds = seconds
        self.memory = memory

    def known(self, name, kind):
        return FOUND if name in self.memory else None

    async def query(self, name, kind):
        self.asked.append((name, kind))
        await asyncio.sleep(self.seconds)
        return FOUND


class Asks(Plugin):
    """Asks for as many names as it is told, in turn or at once, from every hook that it has."""

    names = ()
    together = False

    def __init__(self, settings: PluginSettings, dns) -> None:
        self.dns = dns
        self.answers = []

    async def ask(self):
        if self.together:
            self.answers += await asyncio.gather(*(self.dns.query(name, "A") for name in self.names))
        else:
            for name in self.names:
                self.answers.append(await self.dns.query(name, "A"))

    @hook.connect
    async def client(self, session):
        await self.ask()

    @hook.mail
    async def sender(self, tx, sender):
        await self.ask()

    @hook.rcpt
    async def recipient(self, tx, rcpt):
        await self.ask()

    @hook.disconnect
    async def end(self, session):
        await self.ask()


def tried(inner, steps, *, lookups=10, seconds=20.0, names=4, together=False):
    """Run `steps` of a trial; return the statuses of all answers, what was reported, and the seconds."""
    events = []

    async def main():
        loop = asyncio.get_running_loop()
        dns = BoundedDns(
            inner, Allowance(lookups, seconds), loop.time, lambda event, fields: events.append((event, fields))
        )

        class Many(Asks):
            """Asks for many names."""

        Many.names, Many.together = [f"n{n}.test" for n in range(names)], together
        trial = Trial.of(Many, services={"dns": dns})
        for step in steps:
            await getattr(trial, step)()
        plugin = trial.hooks.connect.hooks[0].function.__self__
        return [answer.status for answer in plugin.answers], trial.session.id, loop.time()

    statuses, session, now = run_virtual(main())
    assert all(fields["session"] == session for _, fields in events)
    return statuses, events, now


OK, TIMEOUT = Status.OK, Status.TIMEOUT


def test_a_message_has_its_lookups_over_all_hooks_and_the_next_has_its_own():
    """DNS-01: MAIL and two RCPT of one transaction share a bound; trouble beyond it, without asking, told once."""
    inner = Slow()
    statuses, events, _ = tried(inner, ["mail", "rcpt", "rcpt", "mail"])
    assert statuses == [OK] * 10 + [TIMEOUT] * 2 + [OK] * 4
    assert len(inner.asked) == 14
    assert [(event, fields["lookups"]) for event, fields in events] == [("dns.budget_spent", 10)]


def test_a_session_has_its_own_bound_beside_its_messages():
    """What is asked at connect and disconnect does not count for a message."""
    statuses, *_ = tried(Slow(), ["connect", "mail", "disconnect"], lookups=6)
    assert statuses == [OK] * 4 + [OK] * 4 + [OK] * 2 + [TIMEOUT] * 2


def test_a_message_waits_for_so_long_and_no_longer():
    """DNS-01, DNS-07: twenty seconds for one mail, over all lookups; the one that is under way ends with it."""
    statuses, events, now = tried(Slow(3.0), ["mail", "rcpt"], seconds=10)
    assert statuses == [OK] * 3 + [TIMEOUT] * 5
    assert now == 10
    assert [(fields["lookups"], fields["seconds"]) for _, fields in events] == [(4, 10)]


def test_lookups_that_overlap_cost_their_time_once():
    """Two zones that are asked together cost the slower one's time."""
    statuses, _, now = tried(Slow(3.0), ["mail", "rcpt", "rcpt"], seconds=10, together=True)
    assert statuses == [OK] * 10 + [TIMEOUT] * 2
    assert now == 9


def test_what_is_known_counts_nothing():
    """A deferred message gets further with its next try."""
    inner = Slow(memory={f"n{n}.test" for n in range(2, 12)})
    statuses, events, _ = tried(inner, ["mail"], lookups=2, names=12)
    assert statuses == [OK] * 12
    assert (len(inner.asked), events) == (2, [])


def test_nobodys_lookup_has_no_bound():
    """Delivery has bounds of its own; a check outside of a session's hooks is not counted."""

    async def main():
        dns = BoundedDns(Slow(), Allowance(1, 1.0), asyncio.get_running_loop().time, lambda event, fields: None)
        return [(await dns.query(f"n{n}.test", "A")).status for n in range(5)]

    assert run_virtual(main()) == [OK] * 5
