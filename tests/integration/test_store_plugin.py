"""A plugin with keys that all workers share."""

from __future__ import annotations

import smtplib

import pytest

from integration.conftest import MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import run_upesi

_PLUGIN = """\
from upesi.plugin import Plugin, PluginSettings, defer, hook


class FirstContact(Plugin):
    class Settings(PluginSettings):
        pass

    def __init__(self, settings, store, dns):
        self.settings = settings
        self.store = store
        self.dns = dns

    @hook.rcpt
    async def known(self, tx, recipient):
        if await self.store.add(f"{tx.reverse_path} {recipient.address}", b"", 3600):
            return defer("4.7.1", "Come again")
        return None
"""


def test_what_a_plugin_remembers_all_workers_know_and_a_restart_keeps(
    upesi_server: MakeServer, receiver: Receiver
) -> None:
    """PLUGINS.md, services: `store` is one for the machine, so a second try is known whichever worker takes it."""
    server = upesi_server(started=False, workers=2)
    (server.folder / "plugins").mkdir()
    (server.folder / "plugins" / "first_contact.py").write_text(_PLUGIN)
    plugins = '[plugins]\nenabled = ["first_contact", "relay"]\n'
    server.configure(plugins + route_to(receiver.port))
    assert run_upesi("config", "check", "-c", server.file).returncode == 0
    server.start()
    senders = [f"a{number}@example.com" for number in range(12)]
    for sender in senders:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            server.send(numbered(0), sender=sender)
    for number, sender in enumerate(senders[:6]):
        server.send(numbered(number), sender=sender)
    server.stop()
    server.start()
    for number, sender in enumerate(senders[6:], 6):
        server.send(numbered(number), sender=sender)
    messages = receiver.wait_for(12)
    assert {number_of(message.data) for message in messages} == set(range(12))


_QUOTA = """\
from upesi.plugin import Plugin, PluginSettings, Rate, defer, hook


class Quota(Plugin):
    class Settings(PluginSettings):
        messages: Rate = Rate("none")

    def __init__(self, settings, rates):
        self.settings = settings
        self.rates = rates

    @hook.mail
    def counted(self, tx, sender):
        if not self.rates.take(f"quota:{sender}", self.settings.messages):
            return defer("4.7.1", "That is enough for today")
        return None
"""


def test_what_a_plugin_counts_is_counted_over_all_workers(upesi_server: MakeServer, receiver: Receiver) -> None:
    """PLUGINS.md, services: `rates` lets exactly as much through as its rate says, whichever workers are asked."""
    server = upesi_server(started=False, workers=2)
    (server.folder / "plugins").mkdir()
    (server.folder / "plugins" / "quota.py").write_text(_QUOTA)
    plugins = '[plugins]\nenabled = ["quota", "relay"]\n[plugins.quota]\nmessages = "%s"\n'
    server.configure(plugins % "often" + route_to(receiver.port))
    assert "is not a rate" in run_upesi("config", "check", "-c", server.file).stderr
    server.configure(plugins % "4/1h" + route_to(receiver.port))
    server.start()
    refused: list[int] = []
    for number in range(16):
        try:
            server.send(numbered(number))
        except smtplib.SMTPSenderRefused as refusal:
            refused.append(refusal.smtp_code)
    assert refused == [451] * 12
    server.send(numbered(100), sender="other@example.com")
