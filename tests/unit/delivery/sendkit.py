"""What tests of sending stand on: a Work that keeps what it hears, and an SMTP server that can be told to misbehave."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from upesi.client.connecting import Connector
from upesi.client.tls import TlsClient
from upesi.config.settings import DeliverySettings
from upesi.config.units import Duration
from upesi.delivery.agents.securing import Securing
from upesi.delivery.agents.smtp import SmtpAgent
from upesi.mail.address import Address
from upesi.mail.answers import Answer, Status
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import Recipient, Transmission
from upesi.mail.ids import MessageId
from upesi.mail.outcome import Outcome
from upesi.mail.route import HostRoute, LmtpRoute, Route
from upesi.scheduler.work import Attempt, Destination, Ending, Host, Running
from upesi.spool.records import StoredMessage

BODY = b"Subject: x\r\n\r\n.dot\r\n..two\r\nend\r\n"


class Close:
    """The server closes instead of answering; with `rst` by a reset."""

    def __init__(self, first: bytes = b"") -> None:
        self.first = first


HANG = object()
Behaviour = bytes | Close | object
Replies = Mapping[str, Behaviour | Callable[["Session"], Behaviour | None]]


def stored(
    body: bytes = BODY, prefix: bytes = b"Received: y\r\n", path: str | None = "a@example.com", **kept: Any
) -> StoredMessage:
    """Return a message as the spool gives it."""
    reverse = Address.parse(path, utf8=True) if path else None
    return StoredMessage(MessageId(b"m" * 16), 0.0, reverse, Transmission(**kept), prefix, MemoryBody(body), {}, {})


def attempt(*recipients: str, message: StoredMessage | None = None, **kept: Any) -> Attempt:
    """Return an attempt for `recipients` (default: one)."""
    paths = recipients or ("b@example.net",)
    return Attempt(message or stored(**kept), tuple(Recipient(Address.parse(path, utf8=True)) for path in paths), 1)


class FakeWork:
    """A scheduler in forty lines: attempts in order, what is given back comes first, every rule of the seam asserted."""

    def __init__(self, destination: Destination, *attempts: Attempt) -> None:
        self.destination = destination
        self.waiting = deque(attempts)
        self.out: list[Attempt] = []
        self.outcomes: list[tuple[Attempt, tuple[Outcome, ...]]] = []
        self.given_back: list[Attempt] = []
        self.ending: tuple[Ending, Outcome | None] | None = None
        self.end = asyncio.Event()
        self.room = 0

    def take(self) -> Attempt | None:
        assert self.ending is None, "take after ended"
        if not self.waiting:
            return None
        taken = self.waiting.popleft()
        self.out.append(taken)
        return taken

    def restrict(self, recipients: int) -> None:
        self.room = recipients

    def give_back(self, attempt: Attempt) -> None:
        self.out.remove(attempt)
        self.given_back.append(attempt)
        self.waiting.appendleft(attempt)

    def finish(self, attempt: Attempt, outcomes: tuple[Outcome, ...]) -> None:
        self.out.remove(attempt)
        assert len(outcomes) == len(attempt.recipients)
        self.outcomes.append((attempt, outcomes))

    def ended(self, ending: Ending, outcome: Outcome | None = None) -> None:
        assert self.ending is None, "ended twice"
        assert not self.out, "ended with an attempt neither finished nor given back"
        self.ending = (ending, outcome)
        self.end.set()

    @property
    def kinds(self) -> list[str]:
        """The outcomes so far, one word for each recipient."""
        return [outcome.kind.value for _, outcomes in self.outcomes for outcome in outcomes]

    @property
    def first(self) -> Outcome:
        """The first recipient's outcome of the first attempt that finished."""
        return self.outcomes[0][1][0]


class Session:
    """One connection as the server sees it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.mail: str | None = None
        self.rcpts: list[str] = []
        self.rcpt_commands = 0
        self.messages = 0
        self.tls: ssl.SSLObject | None = None


class SmtpServer:
    """Answers by `replies`: a key is "greeting", a verb, "." (after the end of data) or "content" (after 354, before it is read).

    A value is octets, a `Close`, HANG, or a function of the Session that returns one of these, None for the usual answer.
    `strict_dot` answers 503 to whatever came in one piece behind the final dot, as Haraka 3.3.4 does.
    """

    def __init__(
        self, replies: Replies | None = None, keywords: tuple[str, ...] = ("PIPELINING", "8BITMIME"), *,
        lmtp: bool = False, strict_dot: bool = False, read_limit: int = 65536, tls: ssl.SSLContext | None = None,
        inside: tuple[str, ...] | None = None, implicit: bool = False,
    ) -> None:  # fmt: skip
        self.replies = dict(replies or {})
        self.keywords = keywords
        self.lmtp = lmtp
        self.strict_dot = strict_dot
        self.read_limit = read_limit
        # for STARTTLS, which is a keyword where it is offered; `inside` are the keywords inside TLS; `implicit`: from the first octet
        self.tls = tls
        self.inside = tuple(word for word in keywords if word != "STARTTLS") if inside is None else inside
        self.implicit = implicit
        self.sessions: list[Session] = []
        self.commands: list[str] = []
        self.delivered: list[tuple[str | None, tuple[str, ...], bytes]] = []
        self.port = 0
        self.dialogues: list[_Dialogue] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> SmtpServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=self.read_limit)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        session = Session(len(self.sessions))
        self.sessions.append(session)
        try:
            if self.implicit and self.tls is not None:
                await writer.start_tls(self.tls)
            dialogue = _Dialogue(self, session, reader, writer)
            self.dialogues.append(dialogue)
            await dialogue.run()
        except (ConnectionError, asyncio.IncompleteReadError, EOFError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()


class _Dialogue:
    def __init__(
        self, server: SmtpServer, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server, self.session, self.reader, self.writer = server, session, reader, writer
        self.buffer = bytearray()

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS of the connection; None in clear."""
        found: ssl.SSLObject | None = self.writer.get_extra_info("ssl_object")
        return found

    async def run(self) -> None:
        await self.answer("greeting", b"220 sink ESMTP\r\n")
        while True:
            line = (await self.line()).decode().rstrip("\r\n")
            self.server.commands.append(line)
            await self.command(line.split(" ")[0].upper(), line)

    async def more(self) -> None:
        data = await self.reader.read(self.server.read_limit)
        if not data:
            raise EOFError
        self.buffer += data

    async def line(self) -> bytes:
        while (end := self.buffer.find(b"\n") + 1) == 0:
            await self.more()
        line = bytes(self.buffer[:end])
        del self.buffer[:end]
        return line

    async def answer(self, key: str, usual: bytes) -> bytes:
        """Say what is due; return it."""
        behaviour: Any = self.server.replies.get(key)
        if callable(behaviour):
            behaviour = behaviour(self.session)
        if behaviour is HANG:
            await asyncio.Event().wait()
        if isinstance(behaviour, Close):
            self.writer.write(behaviour.first)
            await self.writer.drain()
            raise EOFError
        said = usual if behaviour is None else behaviour
        self.writer.write(said)
        return said

    async def command(self, verb: str, line: str) -> None:
        session = self.session
        if verb in ("EHLO", "LHLO"):
            lines = ["sink", *(self.server.inside if self.tls else self.server.keywords)]
            said = "".join(f"250{' ' if i == len(lines) - 1 else '-'}{text}\r\n" for i, text in enumerate(lines))
            await self.answer(verb, said.encode())
        elif verb == "STARTTLS":
            said = await self.answer("STARTTLS", b"220 go ahead\r\n")
            if said.startswith(b"220") and self.server.tls is not None:
                await self.writer.start_tls(self.server.tls)
                session.tls = self.tls
        elif verb == "MAIL":
            said = await self.answer("MAIL", b"503 nested\r\n" if session.mail else b"250 2.1.0 ok\r\n")
            if said.startswith(b"2"):
                session.mail, session.rcpts, session.rcpt_commands = line, [], 0
        elif verb == "RCPT":
            session.rcpt_commands += 1
            said = await self.answer("RCPT", b"250 2.1.5 ok\r\n" if session.mail else b"503 no MAIL\r\n")
            if said.startswith(b"2"):
                session.rcpts.append(line)
        elif verb == "DATA":
            said = await self.answer("DATA", b"354 go\r\n" if session.rcpts else b"554 no recipients\r\n")
            if said.startswith(b"354"):
                await self.answer("content", b"")
                await self.content(await self.until_dot())
        elif verb == "BDAT":
            size = int(line.split(" ")[1])
            while len(self.buffer) < size:
                await self.more()
            data = bytes(self.buffer[:size])
            del self.buffer[:size]
            await self.content(data)
        elif verb == "RSET":
            session.mail, session.rcpts = None, []
            await self.answer("RSET", b"250 2.0.0 ok\r\n")
        elif verb == "QUIT":
            self.writer.write(b"221 bye\r\n")
            raise EOFError
        else:
            await self.answer(verb, b"250 ok\r\n")

    async def until_dot(self) -> bytes:
        data = b""
        while (line := await self.line()) != b".\r\n":
            data += line.removeprefix(b".")
        return data

    async def content(self, data: bytes) -> None:
        session, server = self.session, self.server
        usual = b"250 2.0.0 queued\r\n" if session.rcpts else b"503 no recipients\r\n"
        said = await self.answer(".", usual * (max(1, len(session.rcpts)) if server.lmtp else 1))
        if said.startswith(b"2") and session.rcpts:
            server.delivered.append((session.mail, tuple(session.rcpts), data))
        session.messages += 1
        session.mail, session.rcpts = None, []
        if server.strict_dot and self.buffer:
            for _ in range(self.buffer.count(b"\n")):
                server.commands.append("503: " + (await self.line()).decode().strip())
                self.writer.write(b"503 5.5.1 commands behind the end of the data\r\n")


class NoLookup:
    """DNS that knows nothing."""

    async def addresses(self, name: str) -> Answer:
        return Answer(Status.NXDOMAIN)


def settings(**changes: Any) -> DeliverySettings:
    """Return delivery settings for tests."""
    return DeliverySettings(**changes)


def destination(*ports: int, lmtp: bool = False, private: bool = True, site: str = "site") -> Destination:
    """Return a destination of hosts on loopback, one for each port, in order."""
    route: Route = LmtpRoute("127.0.0.1", ports[0]) if lmtp else HostRoute("127.0.0.1", ports[0])
    hosts = tuple(Host("127.0.0.1", port, preference, private=private) for preference, port in enumerate(ports))
    return Destination(site, route, hosts)


def agent(emit: Callable[[str, Any], None] = lambda name, fields: None, **changes: Any) -> SmtpAgent:
    """Return an agent on the running loop."""
    loop = asyncio.get_running_loop()
    options = {"connection_idle": Duration("1s")} | changes
    connector = Connector(loop, NoLookup(), allow_private=False)
    return SmtpAgent(loop, connector, securing_as("client.example.org", emit), DeliverySettings(**options), time.time)


def securing_as(name: str, emit: Callable[[str, Any], None] = lambda name, fields: None) -> Securing:
    """Return what makes connections of the running loop ready for mail."""
    return Securing(TlsClient(asyncio.get_running_loop().time), name, emit, os.urandom)


async def send(server: SmtpServer, *attempts: Attempt, sender: SmtpAgent | None = None, lmtp: bool = False) -> FakeWork:
    """Send `attempts` to `server` over one connection and return the Work when that has ended."""
    work = FakeWork(destination(server.port, lmtp=lmtp), *attempts)
    running: Running = (sender or agent()).start(work)
    await asyncio.wait_for(work.end.wait(), 5000)
    del running
    return work


def with_server(server: SmtpServer, scenario: Callable[[SmtpServer], Coroutine[Any, Any, Any]]) -> Any:
    """Run `scenario` against `server` in virtual time."""
    from upesi.testkit.loop import run_virtual

    async def main() -> Any:
        async with server:
            return await scenario(server)

    return run_virtual(main())


def sent(server: SmtpServer, *attempts: Attempt, lmtp: bool = False, **changes: Any) -> FakeWork:
    """Send `attempts` to `server`, all in virtual time."""

    async def scenario(server: SmtpServer) -> FakeWork:
        return await send(server, *attempts, sender=agent(**changes), lmtp=lmtp)

    return with_server(server, scenario)
