"""The interface of every table: a key in, values out. Domains, aliases and recipients are looked up in the same way as accounts."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Table"]


class Table(Protocol):
    """Something with keys and values: a file, a query, a directory."""

    async def get(self, key: str) -> tuple[str, ...] | None:
        """Return the values of `key`, None where it has none; raise LookupFailed. Keys are anybody's text, never part of a statement."""
        ...

    async def close(self) -> None:
        """Let go of connections and threads."""
        ...
