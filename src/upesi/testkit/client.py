"""A client that speaks SMTP with plugins behind a whole session: the real protocol, limits, replies and acceptance; no socket, no disk.

    client = ScriptedClient(loaded)
    await client.greeting()
    await client.say("EHLO client.example", "MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA")
    assert await client.content(message()) == ["250 2.0.0 Ok: queued as ..."]
    assert client.accepted[0].deliveries[0].route == ...

Where a Trial asks single hooks, this shows what a client would see: pipelining, sequence, one reply for many recipients, hang-ups.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import cast

from upesi.config.settings import Role, SmtpSettings
from upesi.hooks.loading import LoadedPlugin
from upesi.hooks.registry import Hooks
from upesi.listener.connection import Connection
from upesi.listener.outbox import Outbox
from upesi.mail.address import Address
from upesi.mail.body import Body, MemoryBody
from upesi.mail.envelope import Recipient
from upesi.mail.ids import MessageIds
from upesi.mail.outcome import Outcome
from upesi.mail.route import MxRoute, Route
from upesi.protocol.smtp.limits import ServerLimits
from upesi.sasl.authenticator import Authenticator
from upesi.session.context import SessionContext
from upesi.session.intake import Placement
from upesi.spool.records import DeliveryState, NewMessage
from upesi.spool.store import SpoolError
from upesi.testkit.clock import FakeClock

__all__ = ["Accepted", "ScriptedClient"]

_DAY = 86_400.0


class _Writer:
    """A message on its way into memory."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> None:
        self._data += data

    def finish(self) -> Body:
        return MemoryBody(bytes(self._data))

    def discard(self) -> None:
        self._data.clear()


class Accepted:
    """The way into a queue that is a list: `messages` are what was accepted."""

    lifetime = 5 * _DAY

    def __init__(self) -> None:
        self.messages: list[NewMessage] = []

    def full(self) -> bool:
        """Never."""
        return False

    def starved(self) -> bool:
        """Never."""
        return False

    def body_writer(self) -> _Writer:
        """Return a writer into memory."""
        return _Writer()

    def default_route(self, address: Address) -> Route:
        """By MX."""
        return MxRoute(address.domain)

    def place(self, route: Route) -> Placement:
        """Return a place that needs no queue."""
        return Placement(f"test:{route}", DeliveryState.ROUTING)

    def accept(self, message: NewMessage, done: Callable[[SpoolError | None], None]) -> None:
        """Keep the message, and say so at once."""
        self.messages.append(message)
        done(None)

    def report(self, message: NewMessage, told: tuple[tuple[Recipient, Outcome], ...]) -> NewMessage | None:
        """Send no notices."""
        return None


class _Home:
    """A listener with room for everybody."""

    draining = False
    patient = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.outbox = Outbox(loop)

    def opened(self, connection: Connection, *, known: bool = True) -> bool:
        return True

    def closed(self, connection: Connection) -> None:
        pass


class _Wire(asyncio.Transport):
    """The server's end: what is written wakes whoever listens."""

    def __init__(self, address: str, heard: asyncio.Event) -> None:
        super().__init__()
        self.written = bytearray()
        self.over = False
        self._address = address
        self._heard = heard

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (self._address, 50000) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data
        self._heard.set()

    def is_closing(self) -> bool:
        return self.over

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.close()

    def close(self) -> None:
        self.over = True
        self._heard.set()

    def abort(self) -> None:
        self.close()


class ScriptedClient:
    """One client, and the session that it has. Make it inside a running event loop.

    `accepted` are the messages that were acknowledged, `events` what was logged, `session` what plugins see.
    """

    def __init__(
        self,
        *plugins: LoadedPlugin,
        hooks: Hooks | None = None,
        ip: str = "192.0.2.1",
        lmtp: bool = False,
        clock: FakeClock | None = None,
        hostname: str | None = None,
        authenticator: Authenticator | None = None,
        patience: float = 120.0,
    ) -> None:
        """`hooks` are chains that were made already, in the place of `plugins`. `patience`: seconds that a reply may take."""
        self._loop = asyncio.get_running_loop()
        self._patience = patience
        self.clock = clock or FakeClock(loop=self._loop)
        self.events: list[tuple[str, dict[str, object]]] = []
        self.queue = Accepted()
        self._spawned: set[asyncio.Task[object]] = set()
        numbers = itertools.count(1)

        async def resolve(address: str) -> str | None:
            return hostname

        mechanisms = authenticator.mechanisms if authenticator is not None else ()
        settings = SmtpSettings()
        context = SessionContext(
            hooks=hooks or Hooks.build(plugins, monotonic=self.clock.monotonic, emit=self._emit),
            limits=ServerLimits(max_message_size=settings.max_message_size, auth=mechanisms, dsn=True),
            settings=settings,
            hostname="mx.example.org",
            ids=MessageIds(self.clock.now, lambda count: (next(numbers) % 256**count).to_bytes(count, "big")),
            now=self.clock.now,
            intake=self.queue,
            emit=self._emit,
            spawn=self._spawn,
            listener="test",
            role=Role.LMTP if lmtp else Role.MX,
            resolve=resolve,
            auth=authenticator,
        )
        self._heard = asyncio.Event()
        self._wire = _Wire(ip, self._heard)
        self._connection = Connection(_Home(self._loop), context, self._loop)
        self._read = 0
        self._connection.connection_made(self._wire)

    @property
    def accepted(self) -> list[NewMessage]:
        """The messages that were made ours."""
        return self.queue.messages

    @property
    def over(self) -> bool:
        """Whether the server has closed the connection."""
        return self._wire.over

    async def greeting(self) -> str:
        """Return what the server says first."""
        return (await self._replies(1))[0]

    async def say(self, *commands: str) -> list[str]:
        """Send commands in one piece; return the last line of each reply, fewer where the server hangs up. Raise TimeoutError."""
        self.send("".join(f"{command}\r\n" for command in commands).encode())
        return await self._replies(len(commands))

    async def content(self, data: bytes, replies: int = 1) -> list[str]:
        """Send a message behind DATA's 354 and its end, with dots stuffed; over LMTP there are as many `replies` as recipients."""
        stuffed = data.replace(b"\r\n.", b"\r\n..")
        stuffed = b"." + stuffed if stuffed.startswith(b".") else stuffed
        self.send((stuffed if stuffed.endswith(b"\r\n") else stuffed + b"\r\n") + b".\r\n")
        return await self._replies(replies)

    def send(self, data: bytes) -> None:
        """Send octets and wait for nothing; none where the server has hung up."""
        if not self.over:
            self._connection.data_received(data)

    async def hang_up(self) -> None:
        """Go without a word; return when all that was told of it has ended."""
        self._wire.over = True
        self._connection.connection_lost(None)
        if self._spawned:
            await asyncio.wait(self._spawned, timeout=self._patience)

    async def _replies(self, count: int) -> list[str]:
        found: list[str] = []
        async with asyncio.timeout(self._patience):
            while len(found) < count:
                text = bytes(self._wire.written[self._read :])
                line, end, _ = text.partition(b"\r\n")
                if end:
                    self._read += len(line) + 2
                    if line[3:4] != b"-":
                        found.append(line.decode())
                elif self.over:
                    break
                else:
                    self._heard.clear()
                    await self._heard.wait()
        return found

    def _emit(self, event: str, fields: dict[str, object]) -> None:
        self.events.append((event, fields))

    def _spawn(self, work: Awaitable[object]) -> None:
        async def run() -> object:
            return await work

        task = self._loop.create_task(run())
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)
        task.add_done_callback(
            lambda done: cast("BaseException | None", None) if done.cancelled() else done.exception()
        )
