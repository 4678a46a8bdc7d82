"""The service `dns` as plugins get it, and what drives a pure check (`upesi.mailauth.asking`) with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from upesi.mail.answers import Answer, Confirmed
from upesi.mailauth.asking import Asking, Question

__all__ = ["Dns", "answered", "then"]

T = TypeVar("T")
V = TypeVar("V")


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


def then(dns: Dns, asking: Asking[T], judge: Callable[[T], V]) -> V | Awaitable[V]:
    """Run a check and return what `judge` makes of it: at once where all answers are in memory, else to be awaited.

    For hooks that nearly every message runs: what needs no wait needs no coroutine.
    """
    try:
        question = next(asking)
        while (answer := dns.known(question.name, question.kind)) is not None:
            question = asking.send(answer)
    except StopIteration as end:
        return judge(end.value)
    return _later(dns, asking, question, judge)


async def _later(dns: Dns, asking: Asking[T], question: Question, judge: Callable[[T], V]) -> V:
    try:
        while True:
            question = asking.send(await dns.query(question.name, question.kind))
    except StopIteration as end:
        found: T = end.value
    return judge(found)
