"""The one outgoing HTTP client, against a server that does as it is told."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.authority import Authority
from integration.web import answer, web
from upesi.http.client import HttpClient, HttpFailed
from upesi.http.urls import url_problem
from upesi.tls.contexts import client_context


async def _nowhere(name: str) -> tuple[str, ...]:
    return {"inside.example": ("127.0.0.1",)}.get(name, ())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient(_nowhere, client_context(verify=True))
    yield client
    await client.close()


async def ask(client: HttpClient, port: int, *, timeout: float = 20.0, most: int = 65_536) -> tuple[int, bytes]:
    found = await client.request(
        "POST", f"http://127.0.0.1:{port}/ask?x=1", body=b"{}", headers={"Authorization": "Bearer t"},
        timeout=timeout, most=most,
    )  # fmt: skip
    return found.status, found.body


async def test_a_request_and_its_answer(client: HttpClient) -> None:
    """What was said goes there, what was answered comes back, over one connection for several."""
    async with web(answer("200 OK", b"yes", "X-Kind: test")) as site:
        for _ in range(3):
            assert await ask(client, site.port) == (200, b"yes")
        assert site.connections == 1
        request = site.requests[0]
    assert request.startswith(b"POST /ask?x=1 HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer t\r\n" in request
    assert b"\r\nAccept-Encoding: identity\r\n" in request
    assert request.endswith(b"\r\n\r\n{}")


async def test_every_status_is_an_answer_and_redirects_are_not_followed(client: HttpClient) -> None:
    """A password never goes where the operator did not send it."""
    async with web(answer("200 OK", b"caught")) as other:
        for status in (302, 307, 308, 401, 404, 500):
            header = f"Location: http://127.0.0.1:{other.port}/"
            async with web(answer(f"{status} Nope", b"", header)) as site:
                assert await ask(client, site.port) == (status, b"")
        assert not other.requests


async def test_an_answer_that_is_too_large_is_none(client: HttpClient) -> None:
    """The bound counts what was received, announced or not."""
    async with web(answer("200 OK", b"x" * 1001)) as site:
        with pytest.raises(HttpFailed, match="more than 1000 octets"):
            await ask(client, site.port, most=1000)
    async with web(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n" + b"x" * 1000 + b"\r\n" * 1
    ) as site:
        with pytest.raises(HttpFailed):
            await ask(client, site.port, most=999)


async def test_nothing_is_unpacked(client: HttpClient) -> None:
    """A small answer cannot become a large one in memory."""
    packed = gzip.compress(bytes(10_000_000))
    async with web(answer("200 OK", packed, "Content-Encoding: gzip")) as site:
        assert await ask(client, site.port) == (200, packed)


@pytest.mark.parametrize(
    "octets",
    [None, b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", b"HTTP/1.1 abc\r\n\r\n"],
)
async def test_nonsense_and_silence_are_no_answer(client: HttpClient, octets: bytes | None) -> None:
    """AUT-07: a server that hangs, or speaks something else, has not answered; it is known within the deadline."""
    async with web(octets) as site:
        with pytest.raises(HttpFailed) as caught:
            await ask(client, site.port, timeout=0.5 if octets is None or octets.endswith(b"short") else 20.0)
    assert "SSH" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


async def test_a_connection_that_the_server_gave_up_is_opened_anew(client: HttpClient) -> None:
    """Servers close idle connections at their own time: the request that meets it is made once more, not failed."""
    async with web(answer("200 OK", b"1"), b"", answer("200 OK", b"2")) as site:
        assert await ask(client, site.port) == (200, b"1")
        assert await ask(client, site.port) == (200, b"2")
        assert site.connections == 2


async def test_nobody_there_is_no_answer(client: HttpClient) -> None:
    """The reason is the system's, and names no place."""
    async with web(b"") as site:
        port = site.port
    with pytest.raises(HttpFailed, match="refused"):
        await ask(client, port)


async def test_certificates_are_verified(client: HttpClient, authority: Authority) -> None:
    """A server must be who its name says, and be vouched for by whom we trust."""
    trusting = client_context(verify=True, authorities=authority.file)
    async with web(answer("200 OK", b"yes"), context=authority.context()) as site:
        for host in ("localhost", "127.0.0.1"):
            found = await client.request("GET", f"https://{host}:{site.port}/", timeout=20, context=trusting)
            assert found.body == b"yes"
        with pytest.raises(HttpFailed, match="certificate"):
            await client.request("GET", f"https://localhost:{site.port}/", timeout=20)
        with pytest.raises(HttpFailed, match="certificate"):
            await client.request("GET", f"https://inside.example:{site.port}/", timeout=20, context=trusting)


async def test_names_are_asked_of_our_own_resolver(client: HttpClient) -> None:
    """What the resolver does not know does not exist."""
    async with web(answer("200 OK")) as site:
        with pytest.raises(HttpFailed, match="no address"):
            await client.request("GET", f"https://nowhere.example:{site.port}/", timeout=20)
    assert not site.requests


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://auth.example/check", True),
        ("http://127.0.0.1:8080/check", True),
        ("http://[::1]/check", True),
        ("http://localhost/check", True),
        ("http://auth.example/check", False),
        ("http://127.0.0.1.example/check", False),
        ("http://127.0.0.1@auth.example/", False),
        ("https://user:secret@auth.example/", False),
        ("https://", False),
        ("https://auth.example:0/", False),
        ("https://auth.example:99999/", False),
        ("https://auth.example/#part", False),
        ("https://auth.example/a b", False),
        ("https://auth.example/\r\nX: y", False),
        ("ftp://auth.example/", False),
        ("file:///etc/passwd", False),
        ("//auth.example/", False),
        ("", False),
    ],
)
async def test_only_https_and_this_machine(client: HttpClient, url: str, good: bool) -> None:
    """A password or token goes over plain http to this machine only; other addresses are refused before anything is sent."""
    assert (url_problem(url) == "") is good
    if not good:
        with pytest.raises(HttpFailed, match="URL"):
            await client.request("GET", url, timeout=1)


async def test_closing_ends_the_connections(tmp_path: Path) -> None:
    """A client that was closed holds nothing; one that was never used can be closed."""
    client = HttpClient(_nowhere, client_context(verify=True))
    await client.close()
