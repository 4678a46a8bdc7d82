"""Mail that is handed to web services: what they are asked, and what their answers mean."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.unit.delivery.sendkit import FakeWork, attempt, stored

from integration.conftest import MakeServer
from integration.messages import number_of, numbered
from integration.server import wait_until
from integration.web import Answer, answer, web
from upesi.delivery.agents.http import MAX_WORDS, HttpAgent
from upesi.http.client import HttpClient
from upesi.mail.handling import Labels
from upesi.mail.outcome import Action
from upesi.mail.route import HttpRoute
from upesi.scheduler.work import Attempt, Destination, Ending
from upesi.tls.contexts import client_context

# for what must come; nothing waits for it to pass
PATIENCE = 60.0


async def _nowhere(name: str) -> tuple[str, ...]:
    return ()


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    made = HttpClient(_nowhere, client_context(verify=True))
    yield made
    await made.close()


async def post(
    client: HttpClient, port: int, *attempts: Attempt, user: str = "", file: str = "", timeout: float = PATIENCE
) -> FakeWork:
    route = HttpRoute(f"http://127.0.0.1:{port}/in?x=1", user, file)
    work = FakeWork(Destination("http:x", route), *attempts)
    HttpAgent(asyncio.get_running_loop(), lambda: client, timeout).start(work)  # type: ignore[arg-type]
    async with asyncio.timeout(PATIENCE):
        await work.end.wait()
    return work


def fields(request: bytes) -> dict[str, str]:
    lines = request.partition(b"\r\n\r\n")[0].decode("ascii").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


async def test_a_service_gets_the_message_as_it_is_and_the_envelope_beside_it(client: HttpClient) -> None:
    """PLUGINS.md, `route`: HTTP; one POST for each recipient, octet for octet, its envelope in one field of ASCII."""
    message = stored(b"Subject: s\r\n\r\n\xff.\r\n")
    tried = attempt("anna@b.example", "j\u00f6rg@b.example", message=message)
    anna, other = tried.recipients
    labelled = msgspec.structs.replace(anna, labels=Labels(tenant="acme"), original="rfc822;x@y.example")
    tried.recipients = (labelled, other)
    async with web(answer("201 Created", b"kept as 7\nand more", "Content-Type: text/plain")) as site:
        work = await post(client, site.port, tried)
    assert work.kinds == ["delivered", "delivered"]
    assert (work.first.action, work.first.text, work.first.status) == (Action.RELAYED, "HTTP 201: kept as 7", "2.0.0")
    first, second = site.requests
    assert first.startswith(b"POST /in?x=1 HTTP/1.1\r\n")
    assert first.partition(b"\r\n\r\n")[2] == b"Received: y\r\nSubject: s\r\n\r\n\xff.\r\n"
    said = fields(first)
    assert said["content-type"] == "message/rfc822"
    assert json.loads(said["upesi-envelope"]) == {
        "id": message.id.hex(), "sender": "a@example.com", "recipient": "anna@b.example", "received": 0.0, "attempt": 1,
        "original": "rfc822;x@y.example", "labels": {"tenant": "acme"},
    }  # fmt: skip
    assert json.loads(fields(second)["upesi-envelope"])["recipient"] == "j\u00f6rg@b.example"
    assert re.fullmatch(rf'"{message.id.hex()}-[0-9a-f]{{16}}"', said["idempotency-key"])
    assert said["idempotency-key"] != fields(second)["idempotency-key"]
    assert "authorization" not in said


@pytest.mark.parametrize(
    ("status", "kind", "enhanced"),
    [
        ("200 OK", "delivered", "2.0.0"), ("204 No Content", "delivered", "2.0.0"), ("406 x", "failed", "5.7.1"),
        ("410 x", "failed", "5.1.1"), ("413 x", "failed", "5.3.4"), ("415 x", "failed", "5.6.1"), ("422 x", "failed", "5.6.0"),
        *((f"{code} x", "deferred", "4.3.0") for code in (301, 307, 400, 401, 403, 404, 405, 409, 429, 500, 502, 503, 599)),
    ],
)  # fmt: skip
async def test_the_status_is_the_answer(client: HttpClient, status: str, kind: str, enhanced: str) -> None:
    """For good is only what no proxy and no half-deployed service says; a redirect is followed nowhere."""
    page = b"" if status.startswith("204") else b"<html>"
    async with web(answer(status, page, "Location: http://127.0.0.1:1/", "Content-Type: text/html")) as site:
        work = await post(client, site.port, attempt())
    assert (work.kinds, work.first.status, work.ending) == ([kind], enhanced, (Ending.CLOSED, None))
    assert "<html>" not in work.first.text
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    "given",
    [
        answer("200 OK", b"x" * (100 * MAX_WORDS), "Content-Type: text/plain"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
    ],
    ids=["endless", "short"],
)
async def test_what_follows_a_status_changes_nothing(client: HttpClient, given: Answer) -> None:
    """Mail that was taken is never handed over again because the words behind it are too many, or break off."""
    async with web(given, b"") as site:
        work = await post(client, site.port, attempt())
    assert work.kinds == ["delivered"]
    assert len(site.requests) == 1
    assert len(work.first.text) < MAX_WORDS + 100


@pytest.mark.parametrize("status", ["200 OK", "410 x", "500 x"])
async def test_what_a_service_says_writes_to_no_terminal(client: HttpClient, status: str) -> None:
    """LOG-01: control characters, and those that turn the direction of writing, are told as "?" whatever the status is."""
    page = "a\x1b]0;owned\x07b\0c\u202ed".encode()
    async with web(answer(status, page, "Content-Type: text/plain; charset=utf-8")) as site:
        work = await post(client, site.port, attempt())
    assert work.first.text.endswith(": a?]0;owned?b?c?d")


async def test_silence_and_nonsense_defer_that_one_recipient(client: HttpClient) -> None:
    """AUT-07: a service that hangs has not answered; the others are asked all the same."""
    async with web(b"SSH-2.0-x\r\n", answer("200 OK")) as site:
        work = await post(client, site.port, attempt("a@b.example", "c@b.example"))
    assert work.kinds == ["deferred", "delivered"]
    async with web(None) as site:
        work = await post(client, site.port, attempt(), timeout=0.5)
    assert (work.kinds, work.first.status, work.first.text) == (["deferred"], "4.4.2", "no answer in time")


async def test_a_service_that_is_not_there_is_left_alone(client: HttpClient) -> None:
    """The whole site is put off, and not each of its messages tried in vain."""
    async with web(b"") as site:
        port = site.port
    work = await post(client, port, attempt("a@b.example", "c@b.example"), attempt())
    assert work.kinds == ["deferred", "deferred"]
    assert work.ending is not None
    assert (work.ending[0], work.first.status) == (Ending.UNREACHABLE, "4.4.1")
    assert len(work.waiting) == 1


@pytest.mark.parametrize(
    ("user", "field"), [("", "Bearer s3cret"), ("anna", "Basic YW5uYTpzM2NyZXQ=")], ids=["token", "account"]
)
async def test_the_service_may_know_us(client: HttpClient, tmp_path: Path, user: str, field: str) -> None:
    """A token, or an account; from a file that nobody else can read, and never in the queue."""
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    file.chmod(0o600)
    async with web(answer("200 OK")) as site:
        await post(client, site.port, attempt(), user=user, file=str(file))
        assert fields(site.requests[0])["authorization"] == field
        file.chmod(0o644)
        work = await post(client, site.port, attempt(), user=user, file=str(file))
    assert (work.kinds, work.first.status) == (["deferred"], "4.3.5")
    assert len(site.requests) == 1


async def test_mail_goes_to_a_web_service_by_its_route(upesi_server: MakeServer) -> None:
    """From SMTP to POST on a real server; a large message is sent as it is read."""
    async with web(answer("200 OK")) as site:
        server = upesi_server(started=False)
        server.configure(f'[[route]]\ndomains = ["*"]\nto = "http://127.0.0.1:{site.port}/mail"\n')
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(server.send, numbered(7), to="anna@example.org")
        large = numbered(8) + b"x" * 78 + b"\r\n" + (b"y" * 998 + b"\r\n") * 2000
        await asyncio.to_thread(server.send, large, to="bert@example.org")
        await asyncio.to_thread(
            wait_until, lambda: len(server.events("delivery.delivered")) == 2, what="two deliveries"
        )
        numbers = {number_of(request.partition(b"\r\n\r\n")[2]): len(request) for request in site.requests}
        assert set(numbers) == {7, 8}
        assert numbers[8] > 2_000_000
        queues = {event["queue"] for event in server.events("delivery.delivered")}
        assert queues == {f"http:http://127.0.0.1:{site.port}/mail"}
        await asyncio.to_thread(server.stop)
