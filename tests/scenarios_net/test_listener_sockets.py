"""The listener on real sockets of the loopback, under both event loops."""

from __future__ import annotations

import asyncio
import os
import resource
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop
from sessionkit import Dialogue, MemoryIntake

from integration.server import PATIENCE
from upesi.config.settings import SmtpSettings
from upesi.listener.listener import Listener

RUNNERS: dict[str, Callable[[Awaitable[None]], None]] = {"asyncio": asyncio.run, "uvloop": uvloop.run}  # type: ignore[dict-item]


@pytest.fixture(params=sorted(RUNNERS))
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    """Run a coroutine under one of the two loops."""
    return RUNNERS[request.param]


class Served:
    """A listener on a port of the kernel's choice."""

    def __init__(self, *, max_sessions: int = 100, settings: SmtpSettings | None = None, **points: object) -> None:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        self.address = sock.getsockname()
        # only its context is used: the same hooks and settings, over a socket
        self.talk = Dialogue(settings=settings, **points)
        self.intake: MemoryIntake = self.talk.intake
        self.listener = Listener(sock, self.talk.context, max_sessions=max_sessions)

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.address)


async def heard(reader: asyncio.StreamReader) -> bytes:
    """The next line."""
    return await asyncio.wait_for(reader.readline(), PATIENCE)


async def until(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All lines to the end."""
    return await asyncio.wait_for(reader.read(), PATIENCE)


def test_a_client_library_sends_mail(run: Callable[[Awaitable[None]], None]) -> None:
    """The standard library's client gets its message accepted, octet for octet."""

    def send(address: tuple[str, int]) -> None:
        with smtplib.SMTP(*address, timeout=PATIENCE) as client:
            for _ in range(3):
                client.sendmail("a@example.org", ["b@example.net"], b"Subject: x\r\n\r\n.dot\r\nend\r\n")

    async def main() -> None:
        served = Served()
        await served.listener.start()
        await asyncio.to_thread(send, served.address)
        assert served.intake.contents == [b"Subject: x\r\n\r\n.dot\r\nend\r\n"] * 3
        await served.listener.drain(1)
        assert served.listener.sessions == 0
        assert served.listener.accepted == 1

    run(main())


def test_too_many_sessions_are_turned_away(run: Callable[[Awaitable[None]], None]) -> None:
    """FLD-06: beyond `max_sessions` 421 4.3.2 at once; when one leaves, the next is served."""

    async def main() -> None:
        served = Served(max_sessions=2)
        await served.listener.start()
        clients = [await served.client() for _ in range(2)]
        for reader, _ in clients:
            assert (await heard(reader)).startswith(b"220 ")
        reader, writer = await served.client()
        assert (await rest(reader)).startswith(b"421 4.3.2 ")
        writer.close()
        assert (served.listener.sessions, served.listener.turned_away) == (2, 1)
        clients[0][1].write(b"QUIT\r\n")
        assert (await rest(clients[0][0])).startswith(b"221 ")
        clients[0][1].close()
        await until(lambda: served.listener.sessions <= 1)
        reader, writer = await served.client()
        assert (await heard(reader)).startswith(b"220 ")
        await served.listener.drain(0.1)
        writer.close()
        clients[1][1].close()

    run(main())


def test_a_burst_of_clients_does_not_pass_the_limit(run: Callable[[Awaitable[None]], None]) -> None:
    """FLD-06: a loop accepts many clients in one turn; the limit holds for them too."""

    async def main() -> None:
        served = Served(max_sessions=5)
        clients = []
        await served.listener.start()
        for _ in range(60):
            client = socket.socket()
            client.settimeout(PATIENCE)
            client.connect(served.address)
            clients.append(client)
        await until(lambda: served.listener.accepted + served.listener.turned_away == 60)
        await asyncio.sleep(0.05)
        greetings = [client.recv(100)[:3] for client in clients]
        assert (greetings.count(b"220"), greetings.count(b"421")) == (5, 55)
        assert (served.listener.sessions, served.listener.turned_away) == (5, 55)
        for client in clients:
            client.close()
        await served.listener.drain(1)
        assert served.listener.sessions == 0

    run(main())


def test_drain_finishes_what_is_under_way(run: Callable[[Awaitable[None]], None]) -> None:
    """SIGTERM: no new sessions, 421 4.3.2 to the idle, and a message under way is taken before its session ends."""

    async def main() -> None:
        served = Served()
        await served.listener.start()
        idle, idle_writer = await served.client()
        busy, busy_writer = await served.client()
        assert (await heard(idle)).startswith(b"220 ")
        busy_writer.write(b"EHLO a.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nhalf")
        while not (await heard(busy)).startswith(b"354"):
            pass
        drained = asyncio.ensure_future(served.listener.drain(PATIENCE))
        assert (await rest(idle)).startswith(b"421 4.3.2 ")
        idle_writer.close()
        with pytest.raises(OSError):
            await served.client()
        assert not drained.done()
        busy_writer.write(b"\r\n.\r\n")
        lines = (await rest(busy)).splitlines()
        assert [line[:9] for line in lines] == [b"250 2.0.0", b"421 4.3.2"]
        busy_writer.close()
        await asyncio.wait_for(drained, PATIENCE)
        assert served.listener.sessions == 0
        assert served.intake.contents == [b"half\r\n"]

    run(main())


def test_drain_is_bounded(run: Callable[[Awaitable[None]], None]) -> None:
    """A client that never finishes does not hold a stopping worker."""

    async def main() -> None:
        served = Served()
        await served.listener.start()
        reader, writer = await served.client()
        writer.write(b"EHLO a.example\r\nMAIL FROM:<a@example.org>\r\n")
        while not (await heard(reader)).startswith(b"250 2.1.0"):
            pass
        before = time.monotonic()
        await served.listener.drain(0.2)
        assert time.monotonic() - before < 30
        assert served.listener.sessions == 0
        assert (await rest(reader)).startswith(b"421 4.3.2 ")
        writer.close()

    run(main())


def test_the_421_of_a_flood_arrives(run: Callable[[Awaitable[None]], None]) -> None:
    """CMD-18: the client that sent a thousand unknown verbs reads the 421, not a reset connection."""

    async def main() -> None:
        served = Served(settings=SmtpSettings(soft_errors=20, hard_errors=20))
        await served.listener.start()
        reader, writer = await served.client()
        writer.write(b"EHLO a.example\r\n" + b"XYZZY\r\n" * 100_000)
        lines = (await rest(reader)).splitlines()
        assert sum(line.startswith(b"500 ") for line in lines) == 20
        assert lines[-1].startswith(b"421 4.7.0 ")
        writer.close()
        await served.listener.drain(0.1)

    run(main())


def test_a_half_closed_client_hears_its_250(run: Callable[[Awaitable[None]], None]) -> None:
    """CMD-24: FIN behind the end of data, the commit later: the answer still arrives, then the end."""

    async def main() -> None:
        served = Served()
        served.intake.hold = True
        await served.listener.start()
        reader, writer = await served.client()
        writer.write(b"EHLO a.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nx\r\n.\r\n")
        writer.write_eof()
        await until(lambda: served.intake.pending)
        await asyncio.sleep(0.05)
        served.intake.commit()
        assert (await rest(reader)).splitlines()[-1].startswith(b"250 2.0.0 Ok: queued as ")
        writer.close()
        await served.listener.drain(0.1)

    run(main())


def test_a_client_that_does_not_read_costs_a_bounded_buffer(run: Callable[[Awaitable[None]], None]) -> None:
    """FLD-04: a client that pipelines and never reads is no longer read; when it reads, every reply is there."""
    count = 300_000

    async def main() -> None:
        served = Served(settings=SmtpSettings(max_commands=10**9, max_idle_commands=10**9))
        # the kernel would take megabytes of replies off our hands
        served.listener._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        await served.listener.start()
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, served.address)
        data = memoryview(b"NOOP\r\n" * count)
        sent, quiet = 0, 0
        while quiet < 10 and sent < len(data):
            try:
                sent += client.send(data[sent : sent + 65536])
                quiet = 0
            except BlockingIOError:
                # the server takes turns: it may still be at what it has read
                quiet += all(connection._choked for connection in served.listener._connections())
            await asyncio.sleep(0.01)
        (connection,) = served.listener._connections()
        assert connection._choked
        assert connection._transport.get_write_buffer_size() < 128 * 1024
        assert connection._protocol.buffered < 512 * 1024

        replies = 0
        while replies < count + 1:
            if sent < len(data):
                try:
                    sent += client.send(data[sent : sent + 65536])
                except BlockingIOError:
                    pass
            try:
                replies += client.recv(1 << 20).count(b"\r\n")
            except BlockingIOError:
                await asyncio.sleep(0)
        client.close()
        await served.listener.drain(0.1)

    run(main())


def test_running_out_of_descriptors_neither_spins_nor_ends_the_listener() -> None:
    """EMFILE: clients beyond the descriptors wait or are shed, the processor rests, and the next is served when there is room."""
    script = """
import asyncio, resource, socket, sys, time, uvloop
sys.path.insert(0, sys.argv[2])
from sessionkit import Dialogue
from upesi.listener.listener import Listener
sock = socket.socket(fileno=int(sys.argv[1]))
async def main():
    listener = Listener(sock, Dialogue().context, max_sessions=1000)
    await listener.start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    print("ready", flush=True)
    before = time.process_time()
    await asyncio.to_thread(sys.stdin.readline)
    print(time.process_time() - before, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
uvloop.run(main())
"""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    kit = Path(__file__).parents[1] / "unit" / "session"
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(listening.fileno()), str(kit)],
        pass_fds=[listening.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "ready\n"
        clients = [socket.create_connection(listening.getsockname(), timeout=PATIENCE) for _ in range(60)]
        time.sleep(0.6)
        child.stdin.write("\n")
        child.stdin.flush()
        assert float(child.stdout.readline()) < 0.3
        for client in clients:
            client.close()
        deadline = time.monotonic() + PATIENCE
        greeting = b""
        while not greeting and time.monotonic() < deadline:
            with socket.create_connection(listening.getsockname(), timeout=PATIENCE) as client:
                try:
                    greeting = client.recv(100)
                except OSError:
                    time.sleep(0.05)
        assert greeting.startswith(b"220 ")
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
        listening.close()


@pytest.mark.slow
def test_a_waiting_session_is_small() -> None:
    """FLD-09: sessions that stopped behind RCPT cost 6 kB at most each, the transport's share included."""
    count = 2000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * count + 200:
        count = max(200, (hard - 200) // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * count + 200)), hard))

    def resident() -> int:
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no Pss")

    async def main() -> None:
        served = Served(max_sessions=10_000)
        await served.listener.start()
        clients: list[socket.socket] = []

        async def more(number: int) -> None:
            # plain sockets: they cost this process little beside what is measured
            new = []
            for _ in range(number):
                client = socket.socket()
                client.setblocking(False)
                await asyncio.get_running_loop().sock_connect(client, served.address)
                new.append(client)
            for n, client in enumerate(new):
                client.send(
                    b"EHLO a%d.example\r\nMAIL FROM:<s%d@example.org>\r\nRCPT TO:<r%d@example.net>\r\n" % (n, n, n)
                )
            clients.extend(new)
            await until(
                lambda: (
                    sum(c._engine.session.transaction is not None for c in served.listener._connections())
                    == len(clients)
                )
            )

        await more(200)
        before = resident()
        await more(count - 200)
        each = (resident() - before) / (count - 200)
        assert each < 6 * 1024
        for client in clients:
            client.close()
        await served.listener.drain(1)

    try:
        uvloop.run(main())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
