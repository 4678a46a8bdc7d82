"""The metrics and health server: three pages, bounded in every way (ADM-01). Over loopback, which is the thing under test."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from upesi.observe.health import HealthServer, health_pages


class State:
    """What the pages ask."""

    trouble = ""
    fails = False

    def __init__(self) -> None:
        self.failures: list[BaseException] = []

    async def metrics(self) -> bytes:
        if self.fails:
            raise ValueError("secret")
        return b"upesi_x 1\n"


@pytest.fixture
async def served() -> AsyncIterator[tuple[State, int]]:
    state = State()
    pages = health_pages(state.metrics, lambda: "", lambda: state.trouble)
    server = HealthServer(pages, state.failures.append)
    port = await server.start("127.0.0.1", 0)
    yield state, port
    await server.stop()


async def ask(port: int, request: bytes) -> tuple[bytes, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        answer = await asyncio.wait_for(reader.read(), 5)
    except ConnectionResetError:
        answer = b""
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], body


async def test_each_page_answers(served: tuple[State, int]) -> None:
    """A scraper and a load balancer get what they need; HEAD gets no body."""
    state, port = served
    assert await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") == (b"HTTP/1.1 200 OK", b"upesi_x 1\n")
    assert await ask(port, b"GET /healthz?x=1 HTTP/1.0\r\n\r\n") == (b"HTTP/1.1 200 OK", b"ok\n")
    assert await ask(port, b"HEAD /metrics HTTP/1.1\r\n\r\n") == (b"HTTP/1.1 200 OK", b"")
    state.trouble = "no worker is ready"
    assert await ask(port, b"GET /readyz HTTP/1.1\r\n\r\n") == (
        b"HTTP/1.1 503 Service Unavailable",
        b"no worker is ready\n",
    )


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"HTTP/1.1 405 Method Not Allowed"),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (b"GET /metrics\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"EHLO mx.example\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", b""),
    ],
)
async def test_what_is_no_request_for_a_page_is_refused(
    served: tuple[State, int], request_: bytes, status: bytes
) -> None:
    """ADM-01: other methods, paths, protocols and sizes."""
    _, port = served
    assert (await ask(port, request_))[0] == status


async def test_a_page_that_fails_tells_the_log_and_not_the_client(served: tuple[State, int]) -> None:
    """The text of an exception never reaches a peer."""
    state, port = served
    state.fails = True
    status, body = await ask(port, b"GET /metrics HTTP/1.1\r\n\r\n")
    assert status == b"HTTP/1.1 500 Internal Server Error"
    assert b"secret" not in body
    assert [str(error) for error in state.failures] == ["secret"]


async def test_a_slow_client_is_cut_off(monkeypatch: pytest.MonkeyPatch, served: tuple[State, int]) -> None:
    """ADM-01: a request that does not end in time ends the connection."""
    monkeypatch.setattr("upesi.observe.health._REQUEST_SECONDS", 0.02)
    assert await ask(served[1], b"GET /metrics HT") == (b"", b"")


async def test_connections_are_bounded(served: tuple[State, int]) -> None:
    """ADM-01: the 33rd open connection is closed at once, and a place becomes free again."""
    _, port = served
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(32)]
    for _, writer in held:
        writer.write(b"GET")
        await writer.drain()
    await asyncio.sleep(0)
    assert await ask(port, b"GET /healthz HTTP/1.1\r\n\r\n") == (b"", b"")
    for _, writer in held:
        writer.close()
        await writer.wait_closed()
    for _ in range(100):
        if (await ask(port, b"GET /healthz HTTP/1.1\r\n\r\n"))[0] == b"HTTP/1.1 200 OK":
            return
    pytest.fail("no place became free")
