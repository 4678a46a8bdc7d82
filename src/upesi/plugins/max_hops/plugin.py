"""Refuse mail that goes in circles (RFC 5321 section 6.3)."""

from __future__ import annotations

from upesi.plugin import Plugin, PluginSettings, Transaction, Verdict, hook, reject


class MaxHops(Plugin):
    """Refuse a message that has come through too many servers."""

    class Settings(PluginSettings):
        """RFC 5321 section 6.3: the limit is at least 100, so that honest chains of lists and forwards get through."""

        limit: int = 100

        def __post_init__(self) -> None:
            if self.limit < 1:
                raise ValueError("limit must be at least 1")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._limit = settings.limit

    @hook.message
    def count_hops(self, tx: Transaction) -> Verdict | None:
        """Count the Received fields that other servers left."""
        if tx.headers.count("Received") > self._limit:
            return reject("5.4.6", "Too many hops, this message is in a loop", code=554)
        return None
