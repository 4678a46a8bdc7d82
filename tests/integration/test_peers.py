"""Daemons that help plugins: dead, slow, speaking nonsense, hanging up, never ending (PLG-04); and web services."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.server import free_port
from integration.stubs import Talk, serving
from integration.web import answer, web
from upesi.client.peers import Peer, Peers
from upesi.http.client import HttpClient
from upesi.http.service import HttpService
from upesi.limits.breaker import BREAK_AFTER
from upesi.mail.errors import ServiceFailed
from upesi.testkit import FakeClock
from upesi.tls.contexts import client_context


async def _addresses(name: str) -> tuple[str, ...]:
    return {"scanner.example": ("127.0.0.1",)}.get(name, ())


@contextlib.asynccontextmanager
async def daemon(talk: Talk, path: Path | None = None) -> AsyncIterator[str]:
    """Serve, and give the address."""
    async with serving(talk, path) as port:
        yield f"127.0.0.1:{port}" if path is None else f"unix:{path}"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    data = await reader.read()
    writer.write(b"%d:" % len(data) + data[:10] + b"\0")
    await writer.drain()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    await asyncio.sleep(30)


async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"half an ans")
    await writer.drain()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


def peer_at(place: str, clock: FakeClock | None = None, **options: float) -> Peer:
    return Peers(_addresses, (clock or FakeClock()).monotonic).peer(place, **options)  # type: ignore[arg-type]


async def ask(peer: Peer) -> bytes:
    async with peer.open() as stream:
        await stream.send(b"scan " * 100_000)
        stream.end()
        return await stream.until(b"\0")


async def converse(peer: Peer) -> bytes:
    async with peer.open() as stream:
        await stream.send(b"scan")
        return await stream.until(b"\0")


@pytest.mark.parametrize("over", ["tcp", "unix", "name"])
async def test_a_conversation(tmp_path: Path, over: str) -> None:
    """What was said goes there, what was answered comes back; over TCP, over a Unix socket, by a name."""
    async with daemon(echo, tmp_path / "socket" if over == "unix" else None) as place:
        if over == "name":
            place = place.replace("127.0.0.1", "scanner.example")
        assert await ask(peer_at(place)) == b"500000:scan scan \0"


@pytest.mark.parametrize(
    ("talk", "why"),
    [(silent, "no answer in time"), (cut, "hung up|reset by peer"), (endless, "an answer of more than 65536 octets")],
)
async def test_a_bad_peer_is_one_kind_of_failure(talk: Talk, why: str) -> None:
    """PLG-04: slow, cut off, without end: within its deadline and its bound, as ServiceFailed."""
    async with daemon(talk) as place:
        peer = peer_at(place, timeout=0.5)
        with pytest.raises(ServiceFailed, match=why):
            await converse(peer)
        for read in ("exactly", "rest"):
            with pytest.raises(ServiceFailed):
                async with peer.open() as stream:
                    await (stream.exactly(1_000_000_000) if read == "exactly" else stream.rest(most=5))


async def test_a_dead_peer_is_left_alone() -> None:
    """PLG-04: five refused connections open its breaker; then nobody waits for it, until it was tried again."""
    clock = FakeClock()
    peer = peer_at(f"127.0.0.1:{free_port()}", clock)
    for _ in range(BREAK_AFTER):
        with pytest.raises(ServiceFailed, match="refused"):
            await ask(peer)
    assert peer.down
    with pytest.raises(ServiceFailed, match="left alone"):
        await ask(peer)
    clock.advance(31)
    with pytest.raises(ServiceFailed, match="refused"):
        await ask(peer)


async def test_nonsense_counts_for_the_breaker() -> None:
    """What a plugin cannot make sense of passes as it is, and five of them open the breaker."""
    async with daemon(echo) as place:
        peer = peer_at(place)
        for _ in range(BREAK_AFTER):
            with pytest.raises(ValueError, match="nonsense"):
                async with peer.open():
                    raise ValueError("nonsense")
        assert peer.down


async def test_a_name_without_address() -> None:
    """DNS says nothing."""
    with pytest.raises(ServiceFailed, match="no address"):
        await ask(peer_at("nowhere.example:3310"))


@pytest.mark.parametrize(
    "place", ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", ":3310", "unix:relative", "host:port", ""]
)
def test_what_is_no_address_is_refused(place: str) -> None:
    """When the plugin is made."""
    with pytest.raises(ValueError, match=r"is not of the form|whole path"):
        peer_at(place)


async def test_conversations_at_once_are_bounded() -> None:
    """Others wait for a place, inside their deadline."""
    most, now = 0, 0

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        await echo(reader, writer)

    async with daemon(counting) as place:
        peer = peer_at(place, conversations=2)
        assert len(await asyncio.gather(*(ask(peer) for _ in range(8)))) == 8
    assert most <= 2


async def test_a_web_service_that_is_down_is_left_alone() -> None:
    """PLG-04: 5xx and no answer count; another server is another breaker."""
    clock = FakeClock()
    client = HttpClient(_addresses, client_context(verify=True))
    service = HttpService(lambda: client, clock.monotonic)
    try:
        async with web(answer("503 Busy", b"later")) as bad, web(answer("200 OK", b"yes")) as good:
            for _ in range(BREAK_AFTER):
                assert (await service.request("GET", f"http://127.0.0.1:{bad.port}/")).status == 503
            with pytest.raises(ServiceFailed, match="left alone"):
                await service.request("GET", f"http://127.0.0.1:{bad.port}/other")
            assert (await service.request("GET", f"http://127.0.0.1:{good.port}/")).body == b"yes"
            clock.advance(31)
            assert (await service.request("GET", f"http://127.0.0.1:{bad.port}/")).status == 503
        with pytest.raises(ServiceFailed, match="the URL"):
            await service.request("GET", "http://[bad")
        with pytest.raises(ServiceFailed):
            await service.request("GET", "http://elsewhere.example/")
    finally:
        await client.close()
