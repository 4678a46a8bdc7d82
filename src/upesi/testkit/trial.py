"""Drives plugins through a session that never was: for the tests of plugin authors and for `upesi plugins test`.

A trial gives the hooks the same Session and Transaction, in the same order, as a server does, and says what the server would
answer as far as plugins decide it. It reads no socket and stores nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from upesi.config.settings import PluginsSettings
from upesi.hooks.appeals import appeals
from upesi.hooks.chain import Chain
from upesi.hooks.credentials import AuthCredentials
from upesi.hooks.discovery import file_source
from upesi.hooks.loading import LoadedPlugin, load_plugin, plugin_from
from upesi.hooks.own_mail import OwnMail
from upesi.hooks.registry import Hooks
from upesi.hooks.session import Client, Session, Transaction, TransactionRecipient
from upesi.hooks.verdict import Verdict, VerdictKind
from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import Transmission
from upesi.mail.ids import MessageId
from upesi.mail.reply import Reply
from upesi.mail.route import Route
from upesi.session import replies
from upesi.session.listening import ListenedWriter
from upesi.session.message import one_reply
from upesi.testkit.clock import FakeClock
from upesi.testkit.resolver import FakeResolver
from upesi.testkit.services import (
    FakeConnect,
    FakeHttp,
    FakeLookup,
    FileLookup,
    MemoryFailures,
    MemoryRates,
    MemoryReports,
    MemoryStore,
)

__all__ = ["Event", "Step", "Trial", "load", "trial_services", "try_plugin"]

A = TypeVar("A")

# an event of the framework or of a plugin's log: its name and fields
Event = tuple[str, dict[str, object]]

# what a plugin hears that asks for the name of this server
NODE = "mx.example.org"

# their answers count for nothing: a line "no opinion" behind a refusal reads as if somebody had been asked
_UNHEARD = ("queued", "reset", "disconnect")
# lines of one change that a report shows
_MOST_LINES = 10
# octets of a note that a report shows
_MOST_NOTE = 200
_REFUSED = (VerdictKind.REJECT, VerdictKind.DEFER)


class Step(msgspec.Struct, frozen=True):
    """One hook point that was run: with what, and what came of it."""

    point: str
    subject: str
    answer: Verdict | Route | Reply | None
    note: str = ""

    @property
    def refused(self) -> bool:
        """Whether a verdict ended this step."""
        return isinstance(self.answer, Verdict) and self.answer.kind in _REFUSED

    def __str__(self) -> str:
        answer = self.answer
        said = "no opinion" if answer is None else str(answer)
        if isinstance(answer, Verdict):
            said = str(answer.reply) if answer.reply is not None else "accepted"
        return f"{self.point:8} {self.subject:40} {'; '.join(filter(None, (said, self.note)))}".rstrip()


class Trial:
    """One session with some plugins.

    The methods are named after the verbs; each is a coroutine that runs the hooks of its point and returns the answer. `steps`,
    `events` (failures, plugins' logs), `session` and `tx` can be looked at, at any time.
    """

    def __init__(
        self,
        *plugins: LoadedPlugin,
        ip: str = "192.0.2.1",
        hostname: str | None = None,
        clock: FakeClock | None = None,
        relay: bool = False,
        dns: FakeResolver | None = None,
    ) -> None:
        """`relay` takes recipients that nobody votes for, as from a client that may send anywhere; plugins see no difference."""
        self._relay = relay
        self.clock = clock or FakeClock()
        self.events: list[Event] = []
        self.steps: list[Step] = []
        self.hooks = Hooks.build(plugins, monotonic=self.clock.monotonic, emit=self._emit)

        async def resolve(address: str) -> str | None:
            if hostname is not None or dns is None:
                return hostname
            return next(iter((await dns.confirmed(address)).names), None)

        self.session = Session("trial", Client(ip, 50000, resolve), "trial")
        self._number = 0

    @classmethod
    def of(
        cls, plugin: object, settings: Mapping[str, object] | None = None, *, ip: str = "192.0.2.1",
        hostname: str | None = None, clock: FakeClock | None = None, name: str = "",
        services: Mapping[str, object] | None = None, dns: FakeResolver | None = None,
    ) -> Trial:  # fmt: skip
        """Make a trial of one plugin: a `Plugin` class, a module, or the path of a plugin file; raise ConfigError.

        `dns` is the service of that name; the client's name comes from it too, unless `hostname` says otherwise. Of the other services
        there is one each in memory, in which nothing is, unless `services` has another by its name.
        """
        clock = clock or FakeClock()
        events: list[Event] = []
        if isinstance(plugin, Path):
            name, plugin = name or plugin.stem, file_source(plugin).load()
        name = name or str(getattr(plugin, "__name__", "plugin")).rpartition(".")[2].lower()
        loaded = plugin_from(
            name,
            plugin,
            settings,
            {**trial_services(clock, dns), **(services or {})},
            lambda event, fields: events.append((event, fields)),
        )
        trial = cls(loaded, ip=ip, hostname=hostname, clock=clock, dns=dns)
        trial.events = events
        return trial

    @property
    def tx(self) -> Transaction:
        """The transaction that `mail` began; raise LookupError before it."""
        if self.session.transaction is None:
            raise LookupError("there is no transaction: call `mail` first")
        return self.session.transaction

    def refused(self) -> bool:
        """Whether the last step ended in a refusal."""
        return bool(self.steps) and self.steps[-1].refused

    async def connect(self) -> Verdict | None:
        """The client comes."""
        return await self._run(self.hooks.connect, self.session.client.address)

    async def helo(self, name: str = "client.example") -> Verdict | None:
        """EHLO."""
        self.session.helo = name
        self.session.protocol = "ESMTP"
        return await self._run(self.hooks.helo, name, name)

    async def auth(
        self, user: str, password: str | None = None, *, token: str | None = None, mechanism: str = "PLAIN"
    ) -> Verdict | None:
        """AUTH: `session.identity` is whom a plugin let in. Without a password or token, the client has proved who it is."""
        proved = password is None and token is None
        credentials = AuthCredentials(mechanism, user, password=password, token=token, proved=proved)
        answer = await self._run(self.hooks.auth, user, credentials)
        if isinstance(answer, Verdict) and answer.identity and not self.refused():
            self.session.identity = answer.identity
        return answer

    async def mail(self, sender: str = "sender@example.com", *, smtputf8: bool = False) -> Verdict | None:
        """MAIL: begins a transaction. An empty sender, or "<>", is the null reverse-path."""
        sender = "" if sender == "<>" else sender
        reverse_path = Address.parse(sender, utf8=smtputf8) if sender else None
        self._number += 1
        number = MessageId(self._number.to_bytes(16, "big"))
        tx = Transaction(self.session, number, reverse_path, Transmission(smtputf8=smtputf8), None)
        self.session.transaction = tx
        return await self._run(self.hooks.mail, f"<{sender}>", reverse_path)

    async def rcpt(self, recipient: str = "recipient@example.org") -> Verdict | None:
        """RCPT: the recipient counts if it was accepted, or the client may relay, and then gets its route."""
        bare = recipient.lower() == "postmaster"
        address = Address(recipient, "") if bare else Address.parse(recipient, utf8=True)
        new = TransactionRecipient(address)
        answer = await self._run(self.hooks.rcpt, f"<{recipient}>", new)
        if self.refused():
            return answer
        if answer is None and not self.session.relaying and not bare:
            if not self._relay:
                self.steps[-1] = msgspec.structs.replace(self.steps[-1], note="not taken: nobody voted for it")
                return answer
            self.steps[-1] = msgspec.structs.replace(self.steps[-1], note="taken, as from a client that may relay")
        route = await self._run(self.hooks.route, f"<{recipient}>", new)
        if self.refused():
            return route if isinstance(route, Verdict) else answer
        if route is not None and not isinstance(route, Verdict):
            new.routed(route)
        self.tx.recipients.append(new)
        return answer

    async def data(self) -> Verdict | None:
        """DATA."""
        return await self._run(self.hooks.data, "")

    async def message(self, content: bytes) -> Verdict | None:
        """The whole message is here."""
        writer = ListenedWriter(_Written(), self.tx.listeners, self._emit)
        # in two pieces, as a network might bring it
        writer.write(content[: len(content) // 2])
        writer.write(content[len(content) // 2 :])
        self.tx.body = writer.finish()
        answer = await self._run(self.hooks.message, f"{len(content)} octets")
        if not self.refused():
            if self.hooks.denied.hooks:
                await self._appeal()
            self._judge_recipients()
        return answer

    def _judge_recipients(self) -> None:
        """Note the one reply that a client hears where recipients were refused for themselves, if it is a refusal."""
        refused = [
            (recipient, verdict.kind, verdict.reply or replies.NOT_STORED)
            for recipient in self.tx.recipients
            if (verdict := recipient.verdict) is not None and verdict.kind in _REFUSED
        ]
        if not refused:
            return
        known = self._relay or self.session.relaying or self.session.identity is not None
        reply = one_reply(refused, len(self.tx.recipients), known=known)
        if reply is not None:
            kind = VerdictKind.DEFER if reply.code < 500 else VerdictKind.REJECT
            self.steps.append(Step("message", "the one reply to all of it", Verdict(kind, reply)))

    async def _appeal(self) -> None:
        """Let the hooks of `denied` hear of refused recipients."""
        steps = appeals(self.hooks.denied, self.session, self.tx)
        try:
            waiting = next(steps)
            while True:
                waiting = steps.send(await waiting)
        except StopIteration:
            pass

    async def queued(self) -> None:
        """The message was committed."""
        await self._run(self.hooks.queued, "")

    async def reset(self) -> None:
        """The transaction ends."""
        await self._run(self.hooks.reset, "")
        self.session.transaction = None

    async def disconnect(self) -> None:
        """The client is gone."""
        await self._run(self.hooks.disconnect, "")

    async def _run(self, chain: Chain[A], subject: str, *arguments: object) -> A | Verdict | None:
        answer = chain.run(self.session, self.session.transaction, *arguments)
        result = await answer if isinstance(answer, Awaitable) else answer
        shown = result if isinstance(result, (Verdict, Route, Reply)) else None
        self.steps.append(Step(chain.point.name, subject, shown))
        return result

    def _emit(self, event: str, fields: dict[str, object]) -> None:
        self.events.append((event, fields))

    async def whole(self, helo: str, sender: str, recipients: Sequence[str], content: bytes | None) -> bool:
        """Run one session with one message from `connect` to `disconnect`, as far as it gets; say whether the message was accepted.

        Without `content` it ends after RCPT: say whether a recipient was.
        """
        accepted = await self._session(helo, sender, recipients, content)
        if self.session.transaction is not None:
            tx = self.session.transaction
            await self.reset()
            # the report shows what was
            self.session.transaction = tx
        await self.disconnect()
        return accepted

    async def _session(self, helo: str, sender: str, recipients: Sequence[str], content: bytes | None) -> bool:
        beginning: tuple[Callable[[], Awaitable[object]], ...] = (
            self.connect,
            lambda: self.helo(helo),
            lambda: self.mail(sender),
        )
        if not await self._all(beginning):
            return False
        for recipient in recipients:
            await self.rcpt(recipient)
        if not self.tx.recipients or content is None:
            return bool(self.tx.recipients)
        return await self._all((self.data, lambda: self.message(content), self.queued))

    async def _all(self, steps: Sequence[Callable[[], Awaitable[object]]]) -> bool:
        """Run steps until one is refused; say whether none was."""
        for step in steps:
            await step()
            if self.refused():
                return False
        return True

    def report(self) -> list[str]:
        """Return what happened, line by line: answers, results, changes and failures."""
        lines = [str(step) for step in self.steps if step.point not in _UNHEARD]
        lines += _results("session", self.session.results)
        if self.session.relaying:
            lines.append("session may relay")
        tx = self.session.transaction
        if tx is not None:
            lines += _results("transaction", tx.results)
            lines += _recipients(tx, gone=self._ended_well())
            lines += _queued_notes(tx)
            lines += _changes(tx)
        lines += [f"{name} {_fields(fields)}" for name, fields in self.events]
        return lines

    def _ended_well(self) -> bool:
        """Whether nothing but single recipients was refused since MAIL."""
        return not any(step.refused for step in self.steps if step.point not in ("rcpt", "route"))


class _Written:
    """A message on its way into memory."""

    def __init__(self) -> None:
        self._data = b""

    def write(self, data: bytes) -> None:
        self._data += data

    def finish(self) -> MemoryBody:
        return MemoryBody(self._data)

    def discard(self) -> None:
        self._data = b""


def _results(of: str, results: Mapping[str, tuple[str, str]]) -> list[str]:
    return [f"{of} result {name}: {result} {evidence}".rstrip() for name, (result, evidence) in results.items()]


def _recipients(tx: Transaction, *, gone: bool) -> list[str]:
    """Return what becomes of each recipient's copy; `gone` says that the message was not refused as a whole."""
    lines = []
    for recipient in tx.recipients:
        verdict = recipient.verdict
        if verdict is not None and verdict.kind in _REFUSED:
            lines.append(f"refused for <{recipient.address}>: {verdict.reply}")
            continue
        route = f" by {recipient.route}" if recipient.route is not None else ""
        handling = tx.handling if recipient.handling is None else recipient.handling.over(tx.handling)
        handled = f", {handling}" if handling is not None else ""
        lines.append(f"{'goes' if gone else 'does not go'} to <{recipient.address}>{route}{handled}")
    return lines


def _queued_notes(tx: Transaction) -> list[str]:
    """Return the notes that would travel with the message, their beginnings."""
    if not tx.has_queued_notes:
        return []
    return [
        f"queued note {name}: {value[:_MOST_NOTE].decode(errors='replace')}" for name, value in tx.queued_notes.items()
    ]


def _changes(tx: Transaction) -> list[str]:
    """Return what plugins changed in the message, a few lines of each change."""
    lines = [f"adds {line}" for field in tx.added for line in _shown(field)]
    body = tx.body
    if body is None or not tx.has_edits:
        return [*lines, f"holds it: {tx.hold}"] if tx.hold else lines
    for edit in tx.edits.changes:
        lines += [f"takes out {line}" for line in _shown(body.read(edit.start, edit.end - edit.start))]
        lines += [f"puts in {line}" for line in _shown(edit.data)]
    return [*lines, f"holds it: {tx.hold}"] if tx.hold else lines


def _shown(octets: bytes) -> list[str]:
    lines = octets.decode(errors="replace").strip("\r\n").split("\r\n") if octets else []
    return lines if len(lines) <= _MOST_LINES else [*lines[:_MOST_LINES], f"({len(lines) - _MOST_LINES} more lines)"]


def _fields(fields: Mapping[str, object]) -> str:
    return " ".join(f"{key}={value!r}" for key, value in fields.items())


def load(
    plugin: object,
    settings: Mapping[str, object] | None = None,
    *,
    name: str = "",
    services: Mapping[str, object] | None = None,
    clock: FakeClock | None = None,
) -> LoadedPlugin:
    """Make one plugin, for a trial or a client of several: a class, a module, or the path of a file; raise ConfigError.

    Services are those of a trial, unless `services` has another of that name.
    """
    if isinstance(plugin, Path):
        name, plugin = name or plugin.stem, file_source(plugin).load()
    name = name or str(getattr(plugin, "__name__", "plugin")).rpartition(".")[2].lower()
    return plugin_from(name, plugin, settings, {**trial_services(clock or FakeClock(), None), **(services or {})})


def trial_services(clock: FakeClock, dns: FakeResolver | None) -> dict[str, object]:
    """Return every service that a plugin may ask for, in memory and empty."""
    return {
        "clock": clock,
        "node": NODE,
        "dns": dns or FakeResolver(),
        "store": MemoryStore(clock),
        "rates": MemoryRates(clock),
        "own_mail": OwnMail(lambda name, fields: None),
        "lookup": FakeLookup({}),
        "http": FakeHttp({}),
        "connect": FakeConnect({}),
        "reports": MemoryReports(),
        "failures": MemoryFailures(),
    }


def try_plugin(
    name: str, config: PluginsSettings, *, ip: str, helo: str, sender: str, recipients: Sequence[str], content: bytes | None,
    source: str = "configuration", folder: Path | None = None, services: Mapping[str, object] | None = None,
    hostname: str | None = None, relay: bool = True,
) -> tuple[bool, list[str]]:  # fmt: skip
    """Run the plugin `name` alone through one session, with its settings from `config`; raise ConfigError, AddressError.

    A plugin that has no opinion at RCPT should still see the message, so with `relay` recipients are taken that nobody votes for; in a
    server other plugins vote. Returns whether the message was accepted, and the report's lines. What `upesi plugins test` prints.
    """
    events: list[Event] = []
    clock = FakeClock()
    loaded = load_plugin(
        name, config, {**trial_services(clock, None), "lookup": FileLookup(folder or Path()), **(services or {})},
        lambda event, fields: events.append((event, fields)),
        source=source, folder=folder,
    )  # fmt: skip
    trial = Trial(loaded, ip=ip, hostname=hostname, clock=clock, relay=relay)
    accepted = asyncio.run(trial.whole(helo, sender, recipients, content))
    trial.events = [*events, *trial.events]
    return accepted, trial.report()
