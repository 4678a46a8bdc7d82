"""What the tests of lookup share: cheap hashes, a table in memory, a pool that works at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from argon2.low_level import Type, hash_secret

from upesi.lookup.failures import LookupFailed
from upesi.sasl.credentials import Origin

P = ParamSpec("P")
R = TypeVar("R")

ORIGIN = Origin(service="submission", remote="192.0.2.1", secured=True)


def cheap_hash(password: str, memory: int = 8, passes: int = 1) -> str:
    """An argon2id hash that costs next to nothing."""
    return hash_secret(password.encode(), b"saltsaltsaltsalt", passes, memory, 1, 32, Type.ID).decode()


class MemoryTable:
    """A table in memory; a LookupFailed among the values is raised."""

    def __init__(self, values: dict[str, tuple[str, ...] | LookupFailed] | None = None) -> None:
        self.values = values or {}
        self.closed = False

    async def get(self, key: str) -> tuple[str, ...] | None:
        value = self.values.get(key)
        if isinstance(value, LookupFailed):
            raise value
        return value

    async def close(self) -> None:
        self.closed = True


class InlinePool:
    """A WorkPool that works on the loop and remembers what it was given."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        self.ran.append(function.__name__)
        return function(*args, **kwargs)

    def close(self) -> None:
        pass
