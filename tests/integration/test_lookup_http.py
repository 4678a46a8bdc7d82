"""A web service as the judge of passwords."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from integration.accounts import accounts, secret
from integration.authority import Authority
from integration.web import answer, web
from upesi.sasl.credentials import Identity, Reason, Refused, Unavailable


def said(**fields: object) -> bytes:
    return answer("200 OK", json.dumps(fields).encode(), "Content-Type: application/json")


def table(port: int, more: str = "", scheme: str = "http") -> str:
    return f'source = "{scheme}://127.0.0.1:{port}/check"\ntimeout = "20s"\n{more}'


async def test_what_is_asked(tmp_path: Path) -> None:
    """The service is told who and from where, with our token, in the body only: what is in a URL is in every log."""
    async with web(said(result="accepted")) as site:
        async with accounts(tmp_path, table(site.port, f'secret_file = "{secret(tmp_path, "our-token")}"')) as source:
            assert await source.verify("Anna", 's"e\\same\u20ac') == Identity("anna")
            assert not source.events
        head, _, body = site.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /check HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer our-token\r\n" in head
    assert json.loads(body) == {
        "user": "Anna",
        "password": 's"e\\same\u20ac',
        "service": "submission",
        "remote": "192.0.2.1",
        "secured": True,
    }


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (said(result="accepted"), Identity("anna")),
        (said(result="accepted", user="Anna A.", addresses=["a@example.org"]), Identity("Anna A.", ("a@example.org",))),
        (said(result="accepted", more="later versions"), Identity("anna")),
        (said(result="refused"), Refused()),
        (said(result="refused", user="anna"), Refused()),
        (said(result="disabled"), Refused(Reason.DISABLED)),
        (said(result="expired"), Refused(Reason.EXPIRED)),
        (said(result=True), "as agreed"),
        (said(result="ACCEPTED"), "as agreed"),
        (said(accepted=True), "as agreed"),
        (said(result="accepted", user=7), "as agreed"),
        (said(result="accepted", user="a\nb"), "as agreed"),
        (said(result="accepted", user="x" * 256), "as agreed"),
        (said(result="accepted", addresses=["x@y"] * 1001), "as agreed"),
        (said(result="accepted", addresses="x@y"), "as agreed"),
        (answer("200 OK", b"true"), "as agreed"),
        (answer("200 OK", b'"accepted"'), "as agreed"),
        (answer("200 OK", b"<html>please log in, sesame</html>"), "as agreed"),
        (answer("200 OK", b""), "as agreed"),
        (answer("200 OK", b'{"result": "accepted"' + b" " * 70_000 + b"}"), "more than"),
        (answer("204 No Content"), "204"),
        (answer("401 Unauthorized", b'{"result": "refused"}'), "401"),
        (answer("403 Forbidden", b'{"result": "refused"}'), "403"),
        (answer("302 Found", b'{"result": "accepted"}', "Location: http://127.0.0.1:1/"), "302"),
        (answer("500 Oops", b'{"result": "accepted"}'), "500"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n" + b'{"result": "accepted"}', "time"),
        (b"SSH-2.0\r\n", ""),
        (None, "time"),
    ],
)
async def test_only_what_was_agreed_is_an_answer(tmp_path: Path, octets: bytes | None, expected: object) -> None:
    """AUT-07: another status, another form, too much, half of it, silence: neither yes nor no; none of it is in an event (AUT-05)."""
    timeout = '"1s"' if expected == "time" else '"20s"'
    async with (
        web(octets) as site,
        accounts(tmp_path, table(site.port).replace('"20s"', timeout)) as source,
    ):
        given = await source.verify("anna", "sesame")
        if isinstance(expected, str):
            assert isinstance(given, Unavailable)
            assert expected in given.cause
            assert "sesame" not in str(source.events)
        else:
            assert given == expected


async def test_many_at_once_share_connections(tmp_path: Path) -> None:
    """As many connections as may ask at once, and no more."""
    async with (
        web(said(result="accepted")) as site,
        accounts(tmp_path, table(site.port, "concurrency = 3")) as source,
    ):
        answers = await asyncio.gather(*(source.verify("anna", "sesame") for _ in range(30)))
        assert answers == [Identity("anna")] * 30
        assert site.connections <= 3


async def test_a_remembered_password_is_not_asked_again(tmp_path: Path) -> None:
    """`remember` spares the service; a refusal is always asked."""
    async with (
        web(said(result="accepted"), said(result="refused")) as site,
        accounts(tmp_path, table(site.port, 'remember = "1m"')) as source,
    ):
        for _ in range(5):
            assert await source.verify("anna", "sesame") == Identity("anna")
        for _ in range(2):
            assert await source.verify("anna", "Sesame") == Refused()
        assert len(site.requests) == 3


async def test_https_is_verified(tmp_path: Path) -> None:
    """No password goes to a service that nobody vouches for."""
    authority = Authority(tmp_path / "authority")
    async with web(said(result="accepted"), context=authority.context()) as site:
        async with accounts(tmp_path, table(site.port, f'ca_file = "{authority.file}"', "https")) as source:
            assert await source.verify("anna", "sesame") == Identity("anna")
        async with accounts(tmp_path, table(site.port, "", "https")) as source:
            answer_ = await source.verify("anna", "sesame")
            assert isinstance(answer_, Unavailable)
            assert "certificate" in answer_.cause
        assert len(site.requests) == 1
