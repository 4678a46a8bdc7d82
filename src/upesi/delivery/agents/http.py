"""Delivery to a web service: POST of the message as it is, the envelope in one header field, the status is the answer.

One request for each recipient, so that each has an answer of its own. `Upesi-Envelope` is a JSON object in ASCII; `Idempotency-Key` is the
same for every try of one message and recipient, so that a service which took it and died before it could say so can tell. Redirects are
not followed: mail goes where the operator said.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from upesi.delivery.agents.local import LocalSending, SiteDown
from upesi.delivery.outcomes import deferred, failed
from upesi.lookup.private import FileRefused, read_secret
from upesi.mail.envelope import Recipient
from upesi.mail.errors import ServiceFailed
from upesi.mail.outcome import Action, Outcome, OutcomeKind
from upesi.mail.reply import printable
from upesi.mail.route import HttpRoute
from upesi.scheduler.work import Attempt, Running, Work
from upesi.spool.records import StoredMessage

if TYPE_CHECKING:
    from upesi.http.client import Content, HttpAnswer, HttpClient

__all__ = ["MAX_WORDS", "HttpAgent"]

# Octets of an answer that are looked at; its first line, if it is plain text, is told
MAX_WORDS = 1024
# Recipients of one attempt: they are served one after the other, and their outcomes are recorded together
MOST_AT_ONCE = 10

# Only what a service cannot say by accident is for good. 400, 404 and the like are what a service says that is being deployed, or a proxy
# in front of it, or one that does not know us (401, 403): somebody must mend that, and it is no reason to return mail
_FINAL = {
    406: ("5.7.1", "the service does not take it"),
    410: ("5.1.1", "the service knows no such recipient"),
    413: ("5.3.4", "the message is too large for the service"),
    415: ("5.6.1", "the service does not take this kind of message"),
    422: ("5.6.0", "the service cannot read the message"),
}


class HttpAgent:
    """Posts to the URL of each route. `client` makes the HTTP client, whose library is an extra; `timeout` seconds for each request."""

    __slots__ = ("_client", "_loop", "_timeout")

    def __init__(self, loop: asyncio.AbstractEventLoop, client: Callable[[], HttpClient], timeout: float) -> None:
        self._loop = loop
        self._client = client
        self._timeout = timeout

    def start(self, work: Work) -> Running:
        """Deliver what `work` gives."""
        route = work.destination.route
        assert isinstance(route, HttpRoute)
        work.restrict(MOST_AT_ONCE)
        return LocalSending(self._loop, work, lambda attempt: self._deliver(route, attempt))

    async def _deliver(self, route: HttpRoute, attempt: Attempt) -> tuple[Outcome, ...]:
        outcomes: list[Outcome] = []
        number = len(attempt.recipients)
        try:
            account = await asyncio.to_thread(_account, route)
            client = self._client()
        except FileRefused:
            return (deferred("4.3.5", "our password for the service cannot be read"),) * number
        except ModuleNotFoundError:
            return (deferred("4.3.5", "web services are asked with upesi[http], which is not installed"),) * number
        from upesi.http.client import HttpUnreached

        remote = urlsplit(route.url).netloc
        for recipient in attempt.recipients:
            try:
                answer = await self._posted(client, route, account, attempt, recipient)
            except HttpUnreached as error:
                rest = deferred("4.4.1", str(error), remote)
                raise SiteDown((*outcomes, *(rest,) * (number - len(outcomes)))) from None
            except ServiceFailed as error:
                outcomes.append(deferred("4.4.2", str(error), remote))
            else:
                outcomes.append(_outcome(answer, remote))
        return tuple(outcomes)

    async def _posted(
        self, client: HttpClient, route: HttpRoute, account: dict[str, str], attempt: Attempt, recipient: Recipient
    ) -> HttpAnswer:
        message = attempt.message
        headers = {
            "Content-Type": "message/global" if message.transmission.smtputf8 else "message/rfc822",
            "Upesi-Envelope": _envelope(message, recipient, attempt.number),
            "Idempotency-Key": _key(message, recipient),
            **account,
        }
        return await client.post(route.url, _content(message), headers, timeout=self._timeout, most=MAX_WORDS)


def _content(message: StoredMessage) -> Content:
    from upesi.http.client import Content

    def pieces() -> Iterator[bytes]:
        yield message.prefix
        yield from message.body.chunks()

    return Content(pieces, len(message.prefix) + message.body.size)


def _envelope(message: StoredMessage, recipient: Recipient, number: int) -> str:
    said: dict[str, object] = {
        "id": message.id.hex(),
        "sender": "" if message.reverse_path is None else str(message.reverse_path),
        "recipient": str(recipient.address),
        "received": message.received,
        "attempt": number,
    }
    if recipient.original is not None:
        said["original"] = recipient.original
    if given := recipient.labels.given:
        said["labels"] = given
    # ASCII, and no line end whatever an address holds
    return json.dumps(said)


def _key(message: StoredMessage, recipient: Recipient) -> str:
    return f'"{message.id.hex()}-{hashlib.sha256(str(recipient.address).encode()).hexdigest()[:16]}"'


def _account(route: HttpRoute) -> dict[str, str]:
    """Return the field that says who we are; raise FileRefused."""
    if not route.password_file:
        return {}
    secret = read_secret(Path(route.password_file))
    if not route.user:
        return {"Authorization": f"Bearer {secret}"}
    return {"Authorization": "Basic " + base64.b64encode(f"{route.user}:{secret}".encode()).decode()}


def _outcome(answer: HttpAnswer, remote: str) -> Outcome:
    """Return what a status means; redirects, and what is not for good, are tried again."""
    said = f"HTTP {answer.status}"
    words = _words(answer)
    if 200 <= answer.status < 300:
        return Outcome(OutcomeKind.DELIVERED, 0, "2.0.0", f"{said}{words}", remote, action=Action.RELAYED)
    final = _FINAL.get(answer.status)
    if final is None:
        return deferred("4.3.0", f"{said}{words}", remote)
    status, meaning = final
    return failed(status, f"{meaning}: {said}{words}", remote)


def _words(answer: HttpAnswer) -> str:
    """Return the first line of what the service says in plain text; the page of a proxy tells a sender nothing."""
    if not answer.headers.get("content-type", "").lower().startswith("text/plain"):
        return ""
    lines = answer.body.decode(errors="replace").splitlines()
    line = lines[0].strip() if lines else ""
    return f": {printable(line)}" if line else ""
