"""The client connection over a transport of memory, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from upesi.client.connection import LINGER, Connection, ConnectionLost
from upesi.client.handshake import GreetingRefused, greet
from upesi.protocol.smtp.client import ClientConnection
from upesi.testkit.loop import run_virtual


class MemoryTransport(asyncio.Transport):
    """Keeps what is written; `stuck` never sends it."""

    def __init__(self, connection, stuck=False):
        super().__init__()
        self.written = b""
        self.stuck = stuck
        self.closed = self.aborted = False
        connection.connection_made(self)

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def get_write_buffer_size(self):
        return len(self.written) if self.stuck else 0

    def write(self, data):
        self.written += data

    def is_closing(self):
        return self.closed or self.aborted

    def close(self):
        self.closed = True

    def abort(self):
        self.aborted = True


class User:
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    def reply_received(self, reply):
        self.told.append(reply.code)

    def connection_failed(self, reason):
        self.told.append(reason)

    def timed_out(self):
        self.told.append("timed out")

    def writing_resumed(self):
        self.told.append("resumed")


def run(scenario, **options):
    async def main():
        connection = Connection(asyncio.get_running_loop(), ClientConnection())
        transport = MemoryTransport(connection, **options)
        return await scenario(connection, transport)

    return run_virtual(main())


async def ready(connection):
    """Answer greeting and EHLO, and attach a user."""
    connection.data_received(b"220 hi\r\n")
    task = asyncio.ensure_future(greet(connection, "us.test"))
    await asyncio.sleep(0)
    connection.data_received(b"250-hi\r\n250 PIPELINING\r\n")
    await task
    user = User()
    connection.attach(user)
    return user


def test_handshake_reads_extensions():
    """RFC 5321 section 3.2: EHLO after the greeting; the machine knows what was offered."""

    async def scenario(connection, transport):
        await ready(connection)
        return transport.written, connection.machine.extensions.pipelining

    assert run(scenario) == (b"EHLO us.test\r\n", True)


def test_refused_greeting_says_what_was_said():
    """The reply travels with the refusal."""

    async def scenario(connection, transport):
        connection.data_received(b"554 5.7.1 listed\r\n")
        with pytest.raises(GreetingRefused) as caught:
            await greet(connection, "us.test")
        return caught.value.reply.code

    assert run(scenario) == 554


@pytest.mark.parametrize("octets", [b"", b"2", b"220-more\r\n"])
def test_greeting_that_does_not_come_ends_after_five_minutes(octets):
    """C14: whatever trickles in."""

    async def scenario(connection, transport):
        connection.data_received(octets) if octets else None
        with pytest.raises(ConnectionLost, match="no reply in time"):
            await greet(connection, "us.test")
        return asyncio.get_running_loop().time(), transport.aborted

    assert run(scenario) == (300.0, True)


def test_deadline_moves_with_each_stage_and_fires_once():
    """A later deadline leaves the timer alone, an earlier one does not; the user hears of it exactly at the last one set."""

    async def scenario(connection, transport):
        loop = asyncio.get_running_loop()
        user = await ready(connection)
        connection.expect_within(300)
        await asyncio.sleep(200)
        connection.expect_within(600)
        await asyncio.sleep(500)
        assert user.told == []
        connection.expect_within(5)
        await asyncio.sleep(4.9)
        assert user.told == []
        await asyncio.sleep(0.2)
        assert user.told == ["timed out"]
        await asyncio.sleep(1000)
        return user.told, loop.time() > 1700

    assert run(scenario) == (["timed out"], True)


def test_user_hears_of_the_end_once_and_never_after_its_own_close():
    """`connection_failed` once for the other side's end; silence after `close` or `abort`."""

    async def scenario(connection, transport):
        user = await ready(connection)
        connection.connection_lost(ConnectionResetError(104, "Connection reset by peer"))
        connection.connection_lost(None)
        return user.told

    assert run(scenario) == ["connection lost: Connection reset by peer"]

    async def closing(connection, transport):
        user = await ready(connection)
        connection.expect_within(5)
        connection.close()
        connection.data_received(b"250 late\r\n")
        connection.connection_lost(None)
        await asyncio.sleep(10)
        return user.told, transport.closed, transport.aborted

    assert run(closing) == ([], True, False)


def test_unsolicited_reply_ends_the_connection():
    """OUT-05: nothing was asked: out of step."""

    async def scenario(connection, transport):
        user = await ready(connection)
        connection.data_received(b"250 what\r\n")
        return user.told, transport.aborted

    told, aborted = run(scenario)
    assert aborted
    assert told == ["reply to no command: 250 what"]


def test_closing_towards_a_server_that_reads_nothing_is_bounded():
    """What cannot be sent within half a minute is dropped, and the socket with it."""

    async def scenario(connection, transport):
        await ready(connection)
        connection.write(b"QUIT\r\n")
        connection.close()
        await asyncio.sleep(LINGER - 1)
        before = transport.aborted
        await asyncio.sleep(2)
        return before, transport.aborted

    assert run(scenario, stuck=True) == (False, True)


def test_writable_says_when_to_hold_back():
    """C44: a full buffer and a transport that failed both stop the reading of bodies."""

    async def scenario(connection, transport):
        user = await ready(connection)
        states = [connection.writable]
        connection.pause_writing()
        states.append(connection.writable)
        connection.resume_writing()
        states.append(connection.writable)
        transport.aborted = True
        return [*states, connection.writable], user.told

    assert run(scenario) == ([True, False, True, False], ["resumed"])
