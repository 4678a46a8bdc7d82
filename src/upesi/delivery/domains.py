"""Values by domain: "example.com" is that domain, ".example.com" every one below it, "*" every one. The first entry that matches wins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from upesi.mail.address import AddressError, domain_from

__all__ = ["EVERYTHING", "DomainTable", "pattern_from"]

V = TypeVar("V")

EVERYTHING = "*"


class DomainTable(Generic[V]):
    """Finds values; asking costs one look per label, however many entries there are."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        # pattern -> (position, value); a lower position wins
        self._entries: dict[str, tuple[int, V]] = {}

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, pattern: str, value: V) -> None:
        """Put an entry behind those there are; `pattern` is of `pattern_from`."""
        self._entries.setdefault(pattern, (len(self._entries), value))

    def find(self, domain: str) -> V | None:
        """Return the value of the first entry that matches, None if none does."""
        if not self._entries:
            return None
        found = [self._entries[key] for key in _keys(domain) if key in self._entries]
        return min(found, key=_position)[1] if found else None


def pattern_from(text: str) -> str:
    """Check and normalise a pattern; raise AddressError."""
    if text == EVERYTHING:
        return text
    dot = "." if text.startswith(".") else ""
    try:
        return dot + domain_from(text.removeprefix("."))
    except AddressError as error:
        raise AddressError(f'"{text}": {error}; write "example.com", ".example.com" or "*"') from None


def _position(entry: tuple[int, object]) -> int:
    return entry[0]


def _keys(domain: str) -> Iterator[str]:
    """Yield every pattern that matches `domain`: itself, each domain above it with its dot, everything."""
    yield domain
    dot = domain.find(".") if not domain.startswith("[") else -1
    while dot >= 0:
        yield domain[dot:]
        dot = domain.find(".", dot + 1)
    yield EVERYTHING
