"""The service `dns` with a bound for each message: a stranger chooses what SPF, DKIM and DMARC ask, and must not choose how much.

What is in memory costs nothing and counts nothing. So a message that had too much to ask and was deferred gets further with its next
try, since what was answered is known by then. Beyond the bound the answer is trouble, without asking: checks make of it what they make of
a server that is silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from upesi.dns.lookups import Lookups
from upesi.hooks.guard import Emit
from upesi.hooks.session import Session, Transaction
from upesi.hooks.subject import SUBJECT
from upesi.mail.answers import Answer, Status

__all__ = ["Allowance", "BoundedDns"]

_TOO_MUCH = Answer(Status.TIMEOUT)


class Allowance(msgspec.Struct, frozen=True):
    """What one message may ask for: lookups, and seconds in which it waits for at least one."""

    lookups: int
    seconds: float


class _Spending:
    """What one message has asked for. Lookups that overlap cost their time once."""

    __slots__ = ("_seconds", "_since", "_waiting", "lookups", "told")

    def __init__(self) -> None:
        self.lookups = 0
        self._seconds = 0.0
        self.told = False
        self._waiting = 0
        self._since = 0.0

    def left(self, now: float, allowance: Allowance) -> float:
        """Return the seconds that are left, 0 where the lookups are used up."""
        if self.lookups >= allowance.lookups:
            return 0.0
        return max(0.0, allowance.seconds - self.spent(now))

    def spent(self, now: float) -> float:
        """Return the seconds in which at least one lookup was waited for."""
        return self._seconds + (now - self._since if self._waiting else 0.0)

    def begin(self, now: float) -> None:
        self.lookups += 1
        if not self._waiting:
            self._since = now
        self._waiting += 1

    def end(self, now: float) -> None:
        self._waiting -= 1
        if not self._waiting:
            self._seconds += now - self._since


class _Inner(Protocol):
    """What answers (`upesi.dns.resolver.Resolver`)."""

    def known(self, name: str, kind: str) -> Answer | None:
        """Return the answer where it needs no asking."""
        ...

    async def query(self, name: str, kind: str) -> Answer:
        """Return the records of type `kind` at `name`."""
        ...


class BoundedDns(Lookups):
    """Asks `inner` for the session or transaction whose hook runs, within `allowance`; for delivery, and what is no hook, without bound.

    `now` gives monotonic seconds. `emit` hears once of each message that wanted more.
    """

    __slots__ = ("_allowance", "_emit", "_inner", "_now")

    def __init__(self, inner: _Inner, allowance: Allowance, now: Callable[[], float], emit: Emit) -> None:
        self._inner = inner
        self._allowance = allowance
        self._now = now
        self._emit = emit

    def known(self, name: str, kind: str) -> Answer | None:
        """Return the answer where it needs no asking."""
        return self._inner.known(name, kind)

    async def query(self, name: str, kind: str) -> Answer:
        """Return the records of type `kind` at `name`; Status.TIMEOUT where the message has asked for too much."""
        known = self._inner.known(name, kind)
        if known is not None:
            return known
        subject = SUBJECT.get()
        if not isinstance(subject, (Session, Transaction)):
            return await self._inner.query(name, kind)
        return await self._within(subject, name, kind)

    async def _within(self, subject: Session | Transaction, name: str, kind: str) -> Answer:
        spending = subject.spending
        if not isinstance(spending, _Spending):
            spending = subject.spending = _Spending()
        left = spending.left(self._now(), self._allowance)
        if left <= 0:
            return self._too_much(subject, spending)
        spending.begin(self._now())
        try:
            async with asyncio.timeout(left):
                return await self._inner.query(name, kind)
        except TimeoutError:
            return self._too_much(subject, spending)
        finally:
            spending.end(self._now())

    def _too_much(self, subject: Session | Transaction, spending: _Spending) -> Answer:
        if not spending.told:
            spending.told = True
            session = subject if isinstance(subject, Session) else subject.session
            fields: dict[str, object] = {"session": session.id, "lookups": spending.lookups}
            self._emit("dns.budget_spent", fields | {"seconds": round(spending.spent(self._now()), 3)})
        return _TOO_MUCH
