"""What the tests of session and listener share: an intake in memory, a transport without a socket, a clock moved by hand."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

from upesi.config.settings import Role, SmtpSettings
from upesi.hooks.guard import Guard
from upesi.hooks.hook import Hook
from upesi.hooks.points import POINTS
from upesi.hooks.registry import Hooks
from upesi.hooks.verdict import accept
from upesi.listener.connection import Connection
from upesi.listener.outbox import Outbox
from upesi.mail.address import Address
from upesi.mail.body import Body, MemoryBody
from upesi.mail.envelope import Recipient
from upesi.mail.ids import MessageIds
from upesi.mail.outcome import Outcome
from upesi.mail.route import MxRoute, Route
from upesi.protocol.smtp.limits import ServerLimits
from upesi.session.clients import Clients
from upesi.session.context import SessionContext
from upesi.session.intake import Placement
from upesi.spool.records import DeliveryState, NewMessage
from upesi.spool.store import SpoolError
from upesi.tls.acceptor import Acceptor

Done = Callable[[SpoolError | None], None]

# 2026-11-22 10:16:17 UTC, a Sunday
NOW = 1795342577.0


class MemoryWriter:
    """A body in memory; `problem` is raised by every write."""

    def __init__(self, problem: SpoolError | None = None) -> None:
        self.pieces: list[bytes] = []
        self.discarded = False
        self.problem = problem

    def write(self, data: bytes) -> None:
        if self.problem is not None:
            raise self.problem
        self.pieces.append(data)

    def finish(self) -> Body:
        return MemoryBody(b"".join(self.pieces))

    def discard(self) -> None:
        self.discarded = True


class MemoryIntake:
    """Keeps what was accepted. With `hold`, commits wait for `commit`; `error` is what they come back with."""

    lifetime = 432_000.0

    def __init__(self) -> None:
        self.accepted: list[NewMessage] = []
        self.pending: list[Done] = []
        self.writers: list[MemoryWriter] = []
        self.hold = False
        self.is_full = self.is_starved = False
        self.open_error: SpoolError | None = None
        self.error: SpoolError | None = None
        self.write_error: SpoolError | None = None
        self.reports: list[tuple[NewMessage, tuple[tuple[Recipient, Outcome], ...]]] = []
        self.report_with: NewMessage | None = None

    def full(self) -> bool:
        return self.is_full

    def starved(self) -> bool:
        return self.is_starved

    def body_writer(self) -> MemoryWriter:
        if self.open_error is not None:
            raise self.open_error
        self.writers.append(MemoryWriter(self.write_error))
        return self.writers[-1]

    def default_route(self, address: Address) -> Route:
        return MxRoute(address.domain)

    def place(self, route: Route) -> Placement:
        assert isinstance(route, MxRoute)
        return Placement(f"domain:{route.domain}", DeliveryState.ROUTING)

    def accept(self, message: NewMessage, done: Done) -> None:
        self.accepted.append(message)
        if self.hold:
            self.pending.append(done)
        else:
            done(self.error)

    def commit(self) -> None:
        """Let the commit that waits longest come back."""
        self.pending.pop(0)(self.error)

    def report(self, message: NewMessage, refused: tuple[tuple[Recipient, Outcome], ...]) -> NewMessage | None:
        self.reports.append((message, refused))
        return self.report_with

    @property
    def contents(self) -> list[bytes]:
        """The bodies of what was accepted."""
        return [message.body.read(0, message.body.size) for message in self.accepted]


class SteppedLoop:
    """The event loop as a connection needs it: time stands until `advance`; tasks run on the real loop, where there is one."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = itertools.count()
        self.cancelled: set[int] = set()
        self.soon: list[tuple[Callable[..., Any], tuple[object, ...]]] = []

    def call_soon(self, callback: Callable[..., Any], *args: object) -> None:
        self.soon.append((callback, args))

    def turn(self) -> None:
        """Run what waits for the loop's next turn, and what that asks for in turn."""
        while self.soon:
            callback, args = self.soon.pop(0)
            callback(*args)

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., Any], *args: object) -> Any:
        number = next(self._order)
        self.timers.append((self.now + delay, number, (callback, args)))  # type: ignore[arg-type]
        loop = self

        class Handle:
            def cancel(self) -> None:
                loop.cancelled.add(number)

        return Handle()

    def create_task(self, coroutine: Any) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(coroutine)

    def advance(self, seconds: float) -> None:
        """Move the clock and run what became due."""
        self.turn()
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer[0] <= end]:
            first = min(due, key=lambda timer: timer[:2])
            self.timers.remove(first)
            self.now = max(self.now, first[0])
            if first[1] not in self.cancelled:
                callback, args = first[2]  # type: ignore[misc]
                callback(*args)
        self.now = end


class MemoryTransport:
    """Collects what is written. A client that does not read is `stuck`: octets count against the high-water mark."""

    def __init__(self, peer: object = ("192.0.2.1", 40000)) -> None:
        self.peer = peer
        self.written = b""
        self.writes = 0
        self.closed = False
        self.aborted = False
        self.ended = False
        self.reading = True
        self.stuck = False
        self.unread = 0
        self.high = 65536
        self.protocol: Connection | None = None
        # who gets what comes in: TLS, where it stands in between
        self.far_protocol: Any = None

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.peer if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high or self.high

    def write(self, data: bytes) -> None:
        assert not self.closed, "write after close"
        assert not self.ended, "write after end of output"
        assert data, "empty write"
        self.writes += 1
        self.written += data
        if self.stuck:
            before, self.unread = self.unread, self.unread + len(data)
            if before <= self.high < self.unread and self.protocol is not None:
                self.protocol.pause_writing()

    def pause_reading(self) -> None:
        assert self.reading, "paused twice"
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading, "resumed twice"
        self.reading = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = None
        self.far_protocol = protocol

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = self.closed = True


class AtOnce:
    """A loop in which nothing waits: what is put into an outbox is written."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        callback()


class Home:
    """A listener that only counts."""

    def __init__(self) -> None:
        self.draining = False
        self.patient = False
        self.outbox = Outbox(AtOnce())  # type: ignore[arg-type]
        self.open: set[Connection] = set()

    def opened(self, connection: Connection, *, known: bool = True) -> bool:
        self.open.add(connection)
        return True

    def closed(self, connection: Connection) -> None:
        self.open.remove(connection)


def hooks(log: Callable[[str, dict[str, object]], None], **functions: Any) -> Hooks:
    """Return chains with one function at each named point; a tuple gives several. `log` hears of their failures."""
    made = []
    for point, given in functions.items():
        for number, function in enumerate(given if isinstance(given, tuple) else (given,)):
            made.append(Hook(POINTS[point], Guard(f"plugin{number}", lambda: 0.0, log), function))
    return Hooks(made)


def take_all(*_: object) -> object:
    """A hook that votes yes."""
    return accept()


class Dialogue:
    """One client on a connection without a socket."""

    def __init__(
        self,
        *,
        intake: MemoryIntake | None = None,
        settings: SmtpSettings | None = None,
        lmtp: bool = False,
        role: Role = Role.MX,
        max_message_size: int = 1_000_000,
        peer: object = ("192.0.2.1", 40000),
        loop: Any = None,
        take: bool = True,
        limits: ServerLimits | None = None,
        clients: Clients | None = None,
        tls: Acceptor | None = None,
        **points: Any,
    ) -> None:
        self.intake = intake or MemoryIntake()
        self.loop = loop or SteppedLoop()
        self.events: list[tuple[str, dict[str, object]]] = []
        self.spawned: list[Awaitable[object]] = []
        if take:
            points.setdefault("rcpt", take_all)
        settings = settings or SmtpSettings(max_message_size=max_message_size)  # type: ignore[arg-type]
        self.context = SessionContext(
            hooks=hooks(lambda name, fields: self.events.append((name, fields)), **points),
            limits=limits or ServerLimits(max_message_size=settings.max_message_size),
            settings=settings,
            hostname="mx.example.net",
            ids=MessageIds(lambda: NOW, lambda n: bytes(n)),
            now=lambda: NOW,
            intake=self.intake,
            emit=lambda name, fields: self.events.append((name, fields)),
            spawn=self.spawned.append,
            role=Role.LMTP if lmtp else role,
            tls=tls,
            clients=clients,
        )
        self.home = Home()
        self.transport = MemoryTransport(peer)
        self.connection = Connection(self.home, self.context, self.loop)
        self.transport.protocol = self.connection
        self._seen = 0
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    @property
    def engine(self) -> Any:
        return self.connection._engine

    def say(self, *lines: str | bytes) -> list[str]:
        """Send each line with its CRLF in one segment (octets go as they are); return the reply lines that came."""
        data = b"".join(line if isinstance(line, bytes) else line.encode() + b"\r\n" for line in lines)
        self.connection.data_received(data)
        return self.heard()

    def heard(self) -> list[str]:
        """Return the reply lines since the last call."""
        if isinstance(self.loop, SteppedLoop):
            self.loop.turn()
        new = self.transport.written[self._seen :].decode()
        self._seen = len(self.transport.written)
        assert new == "" or new.endswith("\r\n")
        return new.split("\r\n")[:-1]

    def codes(self, *lines: str | bytes) -> list[str]:
        """Send `lines`; return the codes of the replies, multi-line ones once."""
        return [line[:3] for line in self.say(*lines) if line[3:4] == " "]

    def hello(self, name: str = "client.example.org") -> None:
        """Take the banner and greet."""
        self.heard()
        assert self.codes(f"{'LHLO' if self.context.lmtp else 'EHLO'} {name}") == ["250"]

    def begin(self, *recipients: str) -> None:
        """Open a transaction from a@example.org to `recipients` (rcpt@example.net)."""
        self.hello()
        assert self.codes("MAIL FROM:<a@example.org>") == ["250"]
        for recipient in recipients or ("rcpt@example.net",):
            assert self.codes(f"RCPT TO:<{recipient}>") == ["250"]

    def send(self, content: bytes = b"Subject: x\r\n\r\nHello\r\n") -> list[str]:
        """Send DATA and a message; return the replies to its end."""
        assert self.codes("DATA") == ["354"]
        return self.say(content + b".\r\n")

    def hang_up(self) -> None:
        """Be gone."""
        self.transport.closed = True
        self.connection.connection_lost(None)

    def named(self, event: str) -> list[dict[str, object]]:
        """The fields of all events of that name."""
        return [fields for name, fields in self.events if name == event]
