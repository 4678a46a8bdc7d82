"""A reload, and a stop, under a thousand open sessions in every state: nobody is refused, cut or forgotten."""

from __future__ import annotations

import asyncio
import os
import signal

from integration.conftest import MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import UpesiServer, wait_until

_COUNT = 1000
# connections being opened at once: below the backlog
_OPENING = 100


class _Session:
    """One session, stopped where its number says: a third between messages, a third behind RCPT, a third inside its message."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.acknowledged: list[int] = []
        self.farewell = b""

    async def say(self, data: bytes) -> bytes:
        """Send `data`, return the last line of the reply."""
        self.writer.write(data)
        return await self.heard()

    async def heard(self) -> bytes:
        """Return the last line of the next reply, b"" at the end."""
        async with asyncio.timeout(60):
            try:
                while (line := await self.reader.readline())[3:4] == b"-":
                    pass
            except ConnectionError:
                return b""
        return line

    async def begin(self, port: int) -> None:
        """Go to the place that is ours."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await self.heard()).startswith(b"220 ")
        assert (await self.say(b"EHLO client.example.org\r\n")).startswith(b"250 ")
        if self.number % 3 == 0:
            await self._open()
            await self._finish(self.number)
            return
        await self._open()
        if self.number % 3 == 2:
            assert (await self.say(b"DATA\r\n")).startswith(b"354 ")
            self.writer.write(numbered(self.number)[:20])

    async def end(self) -> None:
        """Finish what was begun, hear what is said then."""
        if self.number % 3 == 1:
            await self._finish(self.number)
        elif self.number % 3 == 2:
            reply = await self.say(numbered(self.number)[20:] + b".\r\n")
            assert reply.startswith(b"250 "), reply
            self.acknowledged.append(self.number)
        self.farewell = await self.heard()
        self.writer.close()

    async def _open(self) -> None:
        assert (await self.say(b"MAIL FROM:<a@example.com>\r\n")).startswith(b"250 ")
        assert (await self.say(b"RCPT TO:<b@example.net>\r\n")).startswith(b"250 ")

    async def _finish(self, number: int) -> None:
        assert (await self.say(b"DATA\r\n")).startswith(b"354 ")
        reply = await self.say(numbered(number) + b".\r\n")
        assert reply.startswith(b"250 "), reply
        self.acknowledged.append(number)


async def _begun(server: UpesiServer) -> list[_Session]:
    gate = asyncio.Semaphore(_OPENING)
    sessions = [_Session(number) for number in range(_COUNT)]

    async def one(session: _Session) -> None:
        async with gate:
            await session.begin(server.port)

    await asyncio.gather(*map(one, sessions))
    return sessions


async def _all_arrived(sessions: list[_Session], receiver: Receiver) -> None:
    acknowledged = {number for session in sessions for number in session.acknowledged}
    assert len(acknowledged) == _COUNT

    def missing() -> set[int]:
        # newcomers' mail, and what was sent twice, arrive among them: a count of messages says nothing
        return acknowledged - {number_of(message.data) for message in receiver.wait_for(0)}

    await asyncio.to_thread(wait_until, lambda: not missing(), 90, "the arrival of all that was acknowledged")


async def test_a_reload_under_a_thousand_sessions(upesi_server: MakeServer, receiver: Receiver) -> None:
    """RES-05: all finish what they began and then hear 421 4.3.2; new clients are served meanwhile; all that was acknowledged arrives."""
    server = upesi_server(route_to(receiver.port), workers=2)
    before = set(server.worker_pids())
    sessions = await _begun(server)
    server.reload()
    await asyncio.to_thread(wait_until, lambda: '"server.reloaded"' in server.log.read_text(), 60, "the reload")
    newcomers = [_Session(3 * number) for number in range(_COUNT, _COUNT + 20)]
    await asyncio.gather(*(newcomer.begin(server.port) for newcomer in newcomers))
    await asyncio.gather(*(session.end() for session in sessions))
    assert {session.farewell[:9] for session in sessions} == {b"421 4.3.2"}
    await asyncio.to_thread(
        wait_until, lambda: not before & set(server.worker_pids()), 60, "the end of the old workers"
    )
    for newcomer in newcomers:
        assert newcomer.acknowledged
        newcomer.writer.close()
    await _all_arrived(sessions, receiver)


async def test_a_stop_under_a_thousand_sessions(upesi_server: MakeServer, receiver: Receiver) -> None:
    """RES-05: idle sessions hear 421 4.3.2 at once, the others when they have finished, and the server ends by itself."""
    server = upesi_server(route_to(receiver.port) + '[delivery]\nretry = ["1s"]\n', workers=2)
    server.configure(route_to(receiver.port))
    sessions = await _begun(server)
    os.kill(server.pid, signal.SIGTERM)
    await asyncio.gather(*(session.end() for session in sessions))
    assert {session.farewell[:9] for session in sessions} == {b"421 4.3.2"}
    status = await asyncio.to_thread(server.stop, 30)
    assert status == 0
    # what was accepted in the last moment and not sent yet is sent after the next start
    await asyncio.to_thread(server.start)
    await _all_arrived(sessions, receiver)
