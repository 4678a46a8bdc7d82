"""delay_deny: what was refused early is said to each recipient, and to nobody who turned out to be a friend."""

from __future__ import annotations

import pytest

from upesi.config.problems import ConfigError
from upesi.hooks.loading import LoadedPlugin, plugin_from
from upesi.plugin import Plugin, accept, defer, hook, reject
from upesi.plugins.delay_deny.plugin import DelayDeny
from upesi.testkit import ScriptedClient, Trial, run_virtual


class Strict(Plugin):
    """Refuses where its tests want it."""

    @hook.connect
    def connect(self, session):
        return reject("5.7.1", "Listed") if session.client.address == "192.0.2.66" else None

    @hook.helo
    def helo(self, session, name):
        return defer("4.7.1", "Strange name") if name == "localhost" else None

    @hook.mail
    async def mail(self, tx, sender):
        return reject("5.1.8", "No such domain") if sender.domain == "bad.example" else None

    @hook.rcpt
    def rcpt(self, tx, recipient):
        return accept()


def plugins(**settings: object) -> list[LoadedPlugin]:
    return [plugin_from("delay_deny", DelayDeny, settings), plugin_from("strict", Strict)]


async def test_a_refusal_of_the_client_is_said_to_each_recipient():
    """The session goes on to RCPT, where the first refusal is told; the result names plugin, hook and reply."""
    trial = Trial(*plugins(), ip="192.0.2.66")
    assert await trial.connect() is None
    assert await trial.helo("localhost") is None
    assert await trial.mail() is None
    for recipient in ("a@example.org", "b@example.org"):
        refused = await trial.rcpt(recipient)
        assert str(refused.reply) == "550 5.7.1 Listed"
    assert trial.session.results["delay_deny"] == ("fail", "strict at connect: 550 5.7.1 Listed")


async def test_a_refused_sender_is_held_for_its_transaction_only():
    """What was refused at `mail` is gone with the transaction."""
    trial = Trial(*plugins())
    assert await trial.mail("a@bad.example") is None
    assert str((await trial.rcpt()).reply) == "550 5.1.8 No such domain"
    assert trial.tx.results["delay_deny"][0] == "fail"
    await trial.reset()
    assert await trial.mail("a@good.example") is None
    assert (await trial.rcpt()).kind.value == "accept"


@pytest.mark.parametrize("friend", ["relaying", "identity"])
async def test_friends_are_not_refused(friend: str):
    """Who authenticates later, or may relay, is no stranger whatever a list says of its address."""
    trial = Trial(*plugins(), ip="192.0.2.66")
    await trial.connect()
    setattr(trial.session, friend, "anna" if friend == "identity" else True)
    await trial.mail()
    assert (await trial.rcpt()).kind.value == "accept"


@pytest.mark.parametrize(
    ("settings", "held"),
    [
        ({"plugins": ["strict"]}, True),
        ({"plugins": ["dnsbl"]}, False),
        ({"except_plugins": ["strict"]}, False),
        ({"points": ["mail"]}, False),
    ],
)
async def test_what_is_held_is_the_operators_choice(settings: dict[str, object], held: bool):
    """By plugin and by hook; what is not held stands at once."""
    trial = Trial(*plugins(**settings), ip="192.0.2.66")
    assert (await trial.connect() is None) is held


async def test_exempt_recipients_get_their_mail():
    """Local parts and addresses."""
    trial = Trial(*plugins(exempt=["Postmaster", "anna@example.org"]), ip="192.0.2.66")
    await trial.connect()
    await trial.mail()
    for recipient, taken in (("postmaster@example.org", True), ("anna@example.org", True), ("bert@example.org", False)):
        assert ((await trial.rcpt(recipient)).kind.value == "accept") is taken


def test_a_hook_that_is_none_is_named():
    """Only what comes before RCPT can be held until it."""
    with pytest.raises(ConfigError, match="'message' is none of connect, helo, mail"):
        plugins(points=["message"])


def test_a_session_sees_it():
    """Over the wire: a greeting, 250s, and 550 for each recipient; DATA has nobody to go to."""

    async def main() -> list[str]:
        client = ScriptedClient(*plugins(), ip="192.0.2.66")
        said = [await client.greeting()]
        said += await client.say("EHLO x.example", "MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>")
        return said + await client.say("DATA")

    assert [line[:3] for line in run_virtual(main())] == ["220", "250", "250", "550", "554"]
