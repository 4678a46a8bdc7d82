"""What can go wrong with a duel without being a result of it."""

from __future__ import annotations

__all__ = ["BenchError", "Unavailable"]


class BenchError(Exception):
    """The measurement cannot be made (a port is taken, a server died): the text says what to do."""


class Unavailable(BenchError):
    """A peer cannot be had on this machine; the text says why, and stands in the table in its place."""
