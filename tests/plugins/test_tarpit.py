"""tarpit: refusals and failed checks make replies late, within a limit, and never for friends."""

from __future__ import annotations

import asyncio

import pytest

from upesi.config.problems import ConfigError
from upesi.hooks.loading import plugin_from
from upesi.plugin import Plugin, accept, hook, reject
from upesi.plugins.tarpit.plugin import DELAY, Tarpit
from upesi.testkit import ScriptedClient, Trial, run_virtual


class Checks(Plugin):
    """Fails some checks, and refuses some recipients."""

    @hook.connect
    def connect(self, session):
        session.results["dnsbl"] = ("fail", "listed")

    @hook.mail(before=["tarpit"])
    def mail(self, tx, sender):
        tx.results["spf"] = ("fail", "-all")

    @hook.rcpt
    def rcpt(self, tx, recipient):
        return reject("5.1.1", "No such user") if recipient.address.local.startswith("no") else accept()


def trial(**settings: object) -> Trial:
    return Trial(plugin_from("checks", Checks), plugin_from("tarpit", Tarpit, settings))


async def test_each_refusal_makes_replies_later():
    """Up to the limit; the result says how late."""
    it = trial(delay="2s", limit="5s")
    await it.connect()
    await it.mail()
    assert it.session.delay == 0
    delays = []
    for number in range(4):
        await it.rcpt(f"no{number}@example.org")
        delays.append(it.session.delay)
    assert delays == [2, 4, 5, 5]
    assert it.session.results["tarpit"] == ("fail", "5 s")


async def test_failed_checks_that_are_named_count():
    """Results of the session and of the transaction."""
    it = trial(delay="1s", results=["dnsbl", "spf", "helo"])
    await it.connect()
    await it.mail()
    assert it.session.delay == 2


async def test_only_named_plugins_count():
    """Others may refuse as they like."""
    it = trial(plugins=["dnsbl"])
    await it.connect()
    await it.mail()
    await it.rcpt("no@example.org")
    assert it.session.delay == 0


async def test_another_plugin_can_ask_for_a_delay():
    """By a note."""
    it = trial(delay="1s")
    await it.connect()
    DELAY.set(it.session, 7.5)
    await it.mail()
    assert it.session.delay == 7.5


@pytest.mark.parametrize(("friend", "value"), [("relaying", True), ("identity", "somebody")])
async def test_friends_never_wait(friend: str, value: object):
    """Clients that may relay or have authenticated."""
    it = trial(results=["dnsbl"])
    setattr(it.session, friend, value)
    await it.connect()
    await it.mail()
    assert it.session.delay == 0


def test_a_limit_beyond_patience_is_refused():
    """RFC 5321 section 4.5.3.2: a client that waits for minutes believes that we are dead."""
    with pytest.raises(ConfigError, match="limit: must be"):
        trial(delay="1m", limit="5m")


def test_replies_come_late():
    """In a session: the refusal itself waits already."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        client = ScriptedClient(plugin_from("checks", Checks), plugin_from("tarpit", Tarpit, {"delay": "3s"}))
        await client.greeting()
        await client.say("EHLO x.example", "MAIL FROM:<a@example.com>")
        start = loop.time()
        assert (await client.say("RCPT TO:<no@example.org>"))[0].startswith("550")
        return loop.time() - start

    assert run_virtual(main()) == pytest.approx(3)
