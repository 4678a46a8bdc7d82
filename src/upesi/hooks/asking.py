"""Drives a pure check (`upesi.mailauth.asking`) with the DNS that a plugin was given."""

from __future__ import annotations

from typing import Protocol, TypeVar

from upesi.mail.answers import Answer
from upesi.mailauth.asking import Asking

__all__ = ["Dns", "answered"]

T = TypeVar("T")


class Dns(Protocol):
    """The service `dns`, as plugins get it."""

    async def query(self, name: str, kind: str) -> Answer:
        """Return what DNS says of records of type `kind` ("TXT", "MX", "A", ...) at `name`; trouble is an answer, not an exception."""
        ...


async def answered(dns: Dns, asking: Asking[T]) -> T:
    """Run a check to its end, asking `dns` whatever it asks, and return what it found."""
    try:
        question = next(asking)
        while True:
            question = asking.send(await dns.query(question.name, question.kind))
    except StopIteration as end:
        found: T = end.value
        return found
