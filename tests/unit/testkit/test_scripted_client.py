"""A client without a socket, for the tests of plugin authors."""

from upesi.hooks.loading import plugin_from
from upesi.plugin import Plugin, accept, hook
from upesi.testkit import ScriptedClient


class TakesAll(Plugin):
    """Votes for everybody."""

    @hook.rcpt
    def rcpt(self, tx, recipient):
        return accept()


async def test_a_script_may_be_long():
    """Hundreds of messages in one session: each has an id of its own."""
    client = ScriptedClient(plugin_from("takes_all", TakesAll))
    await client.greeting()
    await client.say("EHLO x.example")
    for _ in range(300):
        await client.say("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA")
        assert (await client.content(b"Subject: x\r\n\r\nhello\r\n"))[0].startswith("250 ")
    assert len({message.id for message in client.accepted}) == 300
