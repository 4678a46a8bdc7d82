"""Around every source: a deadline, a bound on how many ask at once, a short memory of who was let in, and trouble as an answer.

A source raises LookupFailed, or whatever its libraries raise; behind this it is `Unavailable`, never a yes and never a no (AUT-07). What an
exception says is shown only where we wrote it: a library's text may hold what was asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol, TypeVar

from upesi.lookup.cache import AcceptedLogins
from upesi.lookup.failures import LookupFailed
from upesi.sasl.credentials import Ability, Identity, Origin, Refused, ScramKeys, SharedSecret, Unavailable

__all__ = ["GuardedCredentials", "Source"]

T = TypeVar("T")
# Seconds between two events of one source in trouble: a flood of logins must not become a flood of lines
_TELL_EVERY = 10.0
# For each that is being asked, so many may wait; beyond them the answer is 454 at once, and the client comes again
_WAITING_EACH = 16


class Source(Protocol):
    """What is guarded: as `upesi.sasl.credentials.Credentials`, and it may raise."""

    @property
    def abilities(self) -> frozenset[Ability]:
        """What it can be asked for."""
        ...

    async def verify(self, user: str, password: str, origin: Origin) -> Identity | Refused:
        """Say whose password this is; raise LookupFailed."""
        ...

    async def stored(self, user: str, ability: Ability, origin: Origin) -> ScramKeys | SharedSecret | Refused | None:
        """Return what is stored; raise LookupFailed."""
        ...

    async def known(self, user: str, origin: Origin) -> Identity | Refused:
        """Say whether the account is ours; raise LookupFailed."""
        ...

    async def close(self) -> None:
        """Let go of connections and threads."""
        ...


class GuardedCredentials:
    """One source, guarded; `name` is what events call it. `emit` takes the event `credentials.unavailable`."""

    __slots__ = (
        "_cache",
        "_emit",
        "_held",
        "_loop",
        "_most",
        "_name",
        "_silent_until",
        "_slots",
        "_source",
        "_timeout",
        "_untold",
    )  # fmt: skip

    def __init__(
        self,
        source: Source,
        loop: asyncio.AbstractEventLoop,
        *,
        name: str,
        timeout: float,
        concurrency: int,
        cache: AcceptedLogins | None,
        emit: Callable[[str, Mapping[str, str | int]], None],
    ) -> None:
        self._source = source
        self._loop = loop
        self._name = name
        self._timeout = timeout
        self._slots = asyncio.Semaphore(concurrency)
        self._held = 0
        self._most = concurrency * (1 + _WAITING_EACH)
        self._cache = cache
        self._emit = emit
        self._silent_until = 0.0
        self._untold = 0

    @property
    def abilities(self) -> frozenset[Ability]:
        """What the source can be asked for."""
        return self._source.abilities

    async def verify(self, user: str, password: str, origin: Origin) -> Identity | Refused | Unavailable:
        """Say whose password this is."""
        cache = self._cache
        if cache is None:
            return await self._ask(partial(self._source.verify, user, password, origin))
        known = cache.get(user, password, origin)
        if known is not None:
            return known
        answer = await self._ask(partial(self._source.verify, user, password, origin))
        if isinstance(answer, Identity):
            cache.put(user, password, origin, answer)
        return answer

    async def stored(
        self, user: str, ability: Ability, origin: Origin
    ) -> ScramKeys | SharedSecret | Refused | Unavailable | None:
        """Return what is stored for `user`."""
        return await self._ask(partial(self._source.stored, user, ability, origin))

    async def known(self, user: str, origin: Origin) -> Identity | Refused | Unavailable:
        """Say whether the account is ours."""
        return await self._ask(partial(self._source.known, user, origin))

    async def close(self) -> None:
        """Let go of the source."""
        await self._source.close()

    async def _ask(self, question: Callable[[], Awaitable[T]]) -> T | Unavailable:
        if self._held >= self._most:
            return self._unavailable("too many wait for it")
        self._held += 1
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                return await question()
        except TimeoutError:
            return self._unavailable("no answer in time")
        except LookupFailed as error:
            return self._unavailable(str(error))
        except Exception as error:
            # a library's own; its text might repeat what was asked
            return self._unavailable(type(error).__name__)
        finally:
            self._held -= 1

    def _unavailable(self, cause: str) -> Unavailable:
        self._untold += 1
        now = self._loop.time()
        if now >= self._silent_until:
            self._silent_until = now + _TELL_EVERY
            self._emit("credentials.unavailable", {"source": self._name, "cause": cause, "times": self._untold})
            self._untold = 0
        return Unavailable(cause)
