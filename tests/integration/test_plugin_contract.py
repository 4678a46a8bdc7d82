"""The plugin contract on a real server: failures of all kinds, notes that travel over a restart, services."""

from __future__ import annotations

import json
import smtplib
from pathlib import Path

import pytest

from integration.conftest import MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import UpesiServer, free_port, run_upesi, wait_until

# one failure for each local part: at RCPT and, told by its note, at every later point of the message and of its delivery
_FAILING = """\
import asyncio
import sys

from upesi.plugin import hook


class Hostile:
    def __getattribute__(self, name):
        raise SystemExit(name)

    __eq__ = __bool__ = __getattribute__


class Wordless(Exception):
    def __str__(self):
        raise SystemExit("no words")


def deep():
    return deep()


def fail(kind):
    if kind == "exit":
        sys.exit("out")
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "deep":
        deep()
    if kind == "hostile":
        return Hostile()
    if kind == "wordless":
        raise Wordless
    if kind == "junk":
        return 250
    return None


@hook.rcpt
def at_rcpt(tx, recipient):
    return fail(recipient.address.local)


@hook.message(deadline="300ms")
async def at_message(tx):
    kind = tx.recipients[0].address.local
    if kind == "hang":
        await asyncio.Event().wait()
    if kind == "resist":
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass
    if kind.startswith("later-"):
        await asyncio.sleep(0)
        return fail(kind.removeprefix("later-"))


@hook.queued
async def at_queued(tx):
    fail(tx.recipients[0].address.local.removeprefix("afterwards-"))


@hook.disconnect
def at_disconnect(session):
    raise SystemExit


@hook.delivered
def at_delivered(message, recipient, outcome):
    return fail(recipient.address.local.removeprefix("afterwards-"))


@hook.attempt
async def at_attempt(message, delivery):
    await asyncio.sleep(0)
    if delivery.attempts == 0 and delivery.recipients[0].address.local == "attempt":
        raise SystemExit
"""


def events(server: UpesiServer, name: str) -> list[dict[str, object]]:
    """Return the events of that name in the server's log."""
    lines = (line for line in server.log.read_text().splitlines() if line.startswith("{"))
    return [event for event in map(json.loads, lines) if event["event"] == name]


_KINDS = ("exit", "interrupt", "deep", "hostile", "wordless", "junk")


def test_a_plugin_that_fails_in_every_way_costs_no_mail_and_no_worker(
    upesi_server: MakeServer, receiver: Receiver
) -> None:
    """PLG-01, PLG-02: 451 for its own mail, never a 250; the same worker takes everybody else's mail, and tells of each failure."""
    server = upesi_server(started=False)
    (server.folder / "plugins").mkdir()
    (server.folder / "plugins" / "failing.py").write_text(_FAILING)
    server.configure(
        '[plugins]\nenabled = ["failing", "relay"]\n' + route_to(receiver.port) + '[delivery]\nretry = ["1s"]\n'
    )
    server.start()
    for number, kind in enumerate(_KINDS):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            server.send(numbered(0), to=f"{kind}@example.org")
        assert refused.value.recipients[f"{kind}@example.org"][0] == 451
        with pytest.raises(smtplib.SMTPDataError) as later:
            server.send(numbered(0), to=f"later-{kind}@example.org")
        assert later.value.smtp_code == 451
        # an honest message in between: no breaker opens, the session engine and its worker are well
        server.send(numbered(number), to="fine@example.org")
    for kind in ("hang", "resist"):
        with pytest.raises(smtplib.SMTPDataError):
            server.send(numbered(0), to=f"{kind}@example.org")
    server.send(numbered(len(_KINDS)), to="fine@example.org")
    expected = len(_KINDS) + 1
    for kind in _KINDS[:3]:
        server.send(numbered(expected), to=f"afterwards-{kind}@example.org")
        expected += 1
    server.send(numbered(expected), to="attempt@example.org")
    messages = receiver.wait_for(expected + 1)
    assert {number_of(message.data) for message in messages} == set(range(expected + 1))
    failures = events(server, "plugin.failed")
    assert {"rcpt", "message", "disconnect", "queued", "delivered", "attempt"} <= {event["hook"] for event in failures}
    assert events(server, "worker.died") == []
    # a task that swallows its cancellation does not hold up the end: nothing of ours is in it
    server.stop()
    assert [event["status"] for event in events(server, "worker.ended")] == [0]


_SCORED = """\
from upesi.plugin import Duration, HostRoute, Note, hook

SCORE = Note("scored.score", dict[str, float], queued=True)


@hook.message
def score(tx):
    SCORE.set(tx, {"links": 2.5})


@hook.attempt
def late(message, delivery):
    score = SCORE.get(message)
    if score != {"links": 2.5}:
        raise RuntimeError("the note is gone")
    open("GATE_FILE.asked", "a").write("x")
    try:
        port = int(open("GATE_FILE").read())
    except OSError:
        return Duration("1s")
    return HostRoute("127.0.0.1", port)
"""


def test_a_queued_note_reaches_delivery_over_a_restart(upesi_server: MakeServer, receiver: Receiver) -> None:
    """Notes declared queued travel with the message into delivery, in another process too; `attempt` waits, then changes the route."""
    server = upesi_server(started=False)
    gate = server.folder / "gate"
    asked = Path(f"{gate}.asked")
    (server.folder / "plugins").mkdir()
    (server.folder / "plugins" / "scored.py").write_text(_SCORED.replace("GATE_FILE", str(gate)))
    server.configure('[plugins]\nenabled = ["scored", "relay"]\n' + route_to(free_port()))
    server.start()
    server.send(numbered(7), to="anna@example.org")
    wait_until(asked.exists, what="the first attempt")
    server.stop()
    asked.unlink()
    server.start()
    wait_until(asked.exists, what="an attempt behind the restart")
    gate.write_text(str(receiver.port))
    assert [number_of(message.data) for message in receiver.wait_for(1)] == [7]
    assert events(server, "plugin.failed") == []


_SERVICES = """\
from upesi.plugin import Plugin, PluginSettings, ServiceFailed, defer, hook, reject


class Asking(Plugin):
    class Settings(PluginSettings):
        scanner: str

    def __init__(self, settings, lookup, connect, http, dns, store, clock, log, node):
        super().__init__(settings)
        self.blocked = lookup.table("file:blocked.txt")
        self.scanner = connect.peer(settings.scanner, timeout=2)
        self.http = http

    @hook.mail
    async def blocked_senders(self, tx, sender):
        reason = await self.blocked.get(str(sender))
        if reason:
            return reject("5.7.1", " ".join(reason))

    @hook.rcpt
    async def scanned(self, tx, recipient):
        async with self.scanner.open() as stream:
            await stream.send(b"HELO\\n")
            await stream.until(b"\\n")
        try:
            await self.http.request("GET", "http://127.0.0.1:1/", timeout=1)
        except ServiceFailed:
            return None
        return defer("4.7.1", "nobody is there")
"""


def test_services_are_handed_to_plugins(upesi_server: MakeServer, receiver: Receiver) -> None:
    """A plugin gets what it names: tables that are read again when they change, daemons, HTTP; their failures are one kind."""
    server = upesi_server(started=False)
    (server.folder / "plugins").mkdir()
    (server.folder / "plugins" / "asking.py").write_text(_SERVICES)
    blocked = server.folder / "blocked.txt"
    # the receiver's greeting is an answer too
    server.configure(
        f'[plugins]\nenabled = ["asking", "relay"]\n[plugins.asking]\nscanner = "127.0.0.1:{receiver.port}"\n'
        + route_to(receiver.port)
    )
    missing = run_upesi("config", "check", "-c", server.file)
    assert missing.returncode != 0
    assert "blocked.txt: cannot be read" in missing.stdout + missing.stderr
    blocked.write_text("# who may not\nspam@example.com Not from you\n")
    assert run_upesi("config", "check", "-c", server.file).returncode == 0
    server.start()
    with pytest.raises(smtplib.SMTPSenderRefused, match="Not from you"):
        server.send(numbered(0), sender="spam@example.com")
    server.send(numbered(1), sender="fine@example.com")
    assert [number_of(message.data) for message in receiver.wait_for(1)] == [1]
    blocked.write_text("fine@example.com No longer\n")

    def refused() -> bool:
        try:
            server.send(numbered(2), sender="fine@example.com")
        except smtplib.SMTPSenderRefused:
            return True
        return False

    wait_until(refused, what="the changed table")
    assert events(server, "plugin.failed") == []


_BLOCKING = """\
import asyncio
import time

from upesi.plugin import hook


@hook.message(deadline="300ms")
async def blocks(tx):
    if tx.recipients[0].address.local == "block":
        await asyncio.gather(*(asyncio.to_thread(time.sleep, 3) for _ in range(100)))
"""


def test_threads_that_a_plugin_blocks_are_its_own(upesi_server: MakeServer, receiver: Receiver) -> None:
    """PLG-07: with every thread of the pool taken, the plugin's mail is deferred, everybody else's stored and sent."""
    server = upesi_server(started=False)
    (server.folder / "plugins").mkdir()
    (server.folder / "plugins" / "blocking.py").write_text(_BLOCKING)
    server.configure('[plugins]\nenabled = ["blocking", "relay"]\n' + route_to(receiver.port))
    server.start()
    for _ in range(3):
        with pytest.raises(smtplib.SMTPDataError) as error:
            server.send(numbered(0), to="block@example.org")
        assert error.value.smtp_code == 451
    for number in range(5):
        server.send(numbered(number), to="fine@example.org")
    assert {number_of(message.data) for message in receiver.wait_for(5)} == set(range(5))
    assert server.command("queue", "summary")
