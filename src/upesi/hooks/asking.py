"""The service `dns` as plugins get it, and what drives a pure check (`upesi.mailauth.asking`) with it."""

from __future__ import annotations

from typing import Protocol, TypeVar

from upesi.mail.answers import Answer, Confirmed
from upesi.mailauth.asking import Asking

__all__ = ["Dns", "answered"]

T = TypeVar("T")


class Dns(Protocol):
    """The service `dns`. Trouble is an answer, not an exception: look at `Answer.status`."""

    def known(self, name: str, kind: str) -> Answer | None:
        """Return what is in memory and fresh, without a wait; None where it must be asked for."""
        ...

    async def query(self, name: str, kind: str) -> Answer:
        """Return what DNS says of records of type `kind` ("TXT", "MX", "A", ...) at `name`."""
        ...

    async def addresses(self, name: str) -> Answer:
        """Return the IPv6 and IPv4 addresses of `name`, in `texts`."""
        ...

    async def mx(self, domain: str) -> Answer:
        """Return the MX records of `domain`, as DNS ordered them."""
        ...

    async def txt(self, name: str) -> Answer:
        """Return the TXT records of `name`, in `texts`, each with its strings joined."""
        ...

    async def ptr(self, address: str) -> Answer:
        """Return the names that `address` claims; raise ValueError if it is no address. They prove nothing: see `confirmed`."""
        ...

    async def confirmed(self, address: str) -> Confirmed:
        """Return the names of `address` that lead back to it; raise ValueError if it is no address."""
        ...


async def answered(dns: Dns, asking: Asking[T]) -> T:
    """Run a check to its end, asking `dns` whatever it asks, and return what it found."""
    try:
        question = next(asking)
        while True:
            # most answers are in memory, and then a coroutine for each is what costs
            answer = dns.known(question.name, question.kind)
            if answer is None:
                answer = await dns.query(question.name, question.kind)
            question = asking.send(answer)
    except StopIteration as end:
        found: T = end.value
        return found
