"""Dovecot's auth socket as the judge of passwords (`upesi.protocol.dovecot`), over a Unix socket or TCP.

One connection for a worker, opened when it is needed, many questions at once on it. When it breaks, every question on it is without an
answer; the next one opens another.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from typing import TYPE_CHECKING, cast

from upesi.config.accounts import SourceUrl
from upesi.config.settings import CredentialsSettings
from upesi.lookup.failures import LookupFailed
from upesi.lookup.judge import PasswordJudge
from upesi.mail.errors import RemoteProtocolError
from upesi.protocol.dovecot import DovecotAnswer, DovecotClient, plain_request
from upesi.sasl.credentials import Identity, Origin, Reason, Refused

if TYPE_CHECKING:
    from upesi.lookup.build import Surroundings

__all__ = ["DovecotSource", "make"]

# fields and codes of a FAIL that are no wrong password
_TEMPORARY = frozenset(("temp", "temp_fail"))
_DISABLED = frozenset(("user_disabled",))
_EXPIRED = frozenset(("pass_expired",))


def make(table: CredentialsSettings, url: SourceUrl, surroundings: Surroundings) -> DovecotSource:
    """Return the source."""
    return DovecotSource(surroundings.loop, url, float(table.timeout))


class DovecotSource(PasswordJudge):
    """Raises LookupFailed, which `guard` makes an answer. A connection that says nothing for `patience` seconds is given up."""

    __slots__ = ("_link", "_loop", "_opening", "_patience", "_url")

    def __init__(self, loop: asyncio.AbstractEventLoop, url: SourceUrl, patience: float) -> None:
        self._loop = loop
        self._url = url
        self._patience = patience
        self._link: _Link | None = None
        self._opening = asyncio.Lock()

    async def verify(self, user: str, password: str, origin: Origin) -> Identity | Refused:
        """Ask Dovecot."""
        link = await self._ready()
        return _judged(await link.ask(user, password, origin))

    async def close(self) -> None:
        """Close the connection."""
        if self._link is not None:
            self._link.close("it is being closed")

    async def _ready(self) -> _Link:
        async with self._opening:
            link = self._link
            if link is None or link.lost:
                link = self._link = await self._opened()
            return link

    async def _opened(self) -> _Link:
        link = _Link(self._loop, self._patience)
        try:
            await self._connect(link)
        except OSError as error:
            raise LookupFailed(os.strerror(error.errno) if error.errno else type(error).__name__) from None
        try:
            await link.greeted
        except BaseException:
            link.close("it was given up")
            raise
        return link

    async def _connect(self, link: _Link) -> None:
        if self._url.path:
            await self._loop.create_unix_connection(lambda: link, self._url.path)
        else:
            await self._loop.create_connection(lambda: link, self._url.host, self._url.port)


def _judged(answer: DovecotAnswer) -> Identity | Refused:
    fields = answer.fields
    if answer.kind == "OK":
        name = fields.get("user", "")
        if not name or not name.isprintable():
            raise LookupFailed("an answer without a user")
        # right, but a proxy's account, or one that may not log in
        return Refused(Reason.DISABLED) if "nologin" in fields else Identity(name)
    if answer.kind != "FAIL":
        # PLAIN with a response needs no second step
        raise LookupFailed("an answer that is not as agreed")
    said = fields.keys() | {fields.get("code", "")}
    if said & _TEMPORARY:
        raise LookupFailed("Dovecot's own databases are unavailable")
    if said & _DISABLED:
        return Refused(Reason.DISABLED)
    return Refused(Reason.EXPIRED) if said & _EXPIRED else Refused()


class _Link(asyncio.Protocol):
    """One connection: questions go out, answers find their question. `lost` says why it is of no use any more."""

    def __init__(self, loop: asyncio.AbstractEventLoop, patience: float) -> None:
        self._loop = loop
        self._patience = patience
        self._heard = 0.0
        self._machine = DovecotClient()
        self._transport: asyncio.Transport | None = None
        self._last = 0
        self._asked: dict[int, asyncio.Future[DovecotAnswer]] = {}
        self.greeted: asyncio.Future[None] = loop.create_future()
        self.lost = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = cast(asyncio.Transport, transport)
        # not our process id: a connection of ours that has just broken may not be over for Dovecot yet
        self._transport.write(self._machine.hello(secrets.randbelow(2**31 - 1) + 1))

    def data_received(self, data: bytes) -> None:
        """Hand each answer to its question; what is none of the protocol ends the connection."""
        self._heard = self._loop.time()
        try:
            for answer in self._machine.receive(data):
                asked = self._asked.pop(answer.id, None)
                # nobody: the question was given up meanwhile
                if asked is not None and not asked.done():
                    asked.set_result(answer)
        except RemoteProtocolError as error:
            self.close(str(error))
            return
        if self._machine.greeted and not self.greeted.done():
            if "PLAIN" in self._machine.mechanisms:
                self.greeted.set_result(None)
            else:
                self.close("it offers no PLAIN")

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave all questions without an answer."""
        self.close("connection lost")

    async def ask(self, user: str, password: str, origin: Origin) -> DovecotAnswer:
        """Return the answer; raise LookupFailed."""
        if self.lost or self._transport is None:
            raise LookupFailed(self.lost)
        self._last = number = self._last + 1
        began = self._loop.time()
        asked: asyncio.Future[DovecotAnswer] = self._loop.create_future()
        self._asked[number] = asked
        request = plain_request(
            number, user, password, service=origin.service, secured=origin.secured, local=origin.local,
            remote=origin.remote, session=origin.session,
        )  # fmt: skip
        self._transport.write(request)
        try:
            return await asked
        except asyncio.CancelledError:
            # the client has gone, or the deadline: a tenth is left for clocks and busy processors
            if self._loop.time() - max(began, self._heard) >= self._patience * 0.9:
                self.close("it says nothing any more")
            raise
        finally:
            # given up: an answer that comes later finds nobody
            self._asked.pop(number, None)

    def close(self, why: str) -> None:
        """End the connection and all questions on it."""
        if self.lost:
            return
        self.lost = why
        if self._transport is not None:
            self._transport.abort()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(LookupFailed(why))
        self._asked.clear()
        if not self.greeted.done():
            self.greeted.set_exception(LookupFailed(why))
            self.greeted.exception()  # taken note of, also where nobody waits for it any more
