"""Refuse senders at domains that take no mail: nobody could answer them, and no notice could reach them (RFC 7505 section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from upesi.plugin import Address, OnError, Plugin, PluginSettings, Transaction, Verdict, domain_from, hook, reject


class _Record(Protocol):
    @property
    def exchange(self) -> str: ...


class _Answer(Protocol):
    @property
    def mx(self) -> Sequence[_Record]: ...


class _Dns(Protocol):
    async def mx(self, domain: str) -> _Answer: ...


class NullMx(Plugin):
    """Ask DNS about the domain of the reverse-path."""

    class Settings(PluginSettings):
        """`exempt` are domains that may send although they take no mail: those of our own applications."""

        exempt: tuple[str, ...] = ()
        on_error: OnError = "continue"  # a question that nobody answers says nothing about the sender

        def __post_init__(self) -> None:
            for domain in self.exempt:
                domain_from(domain)

    def __init__(self, settings: Settings, dns: _Dns) -> None:
        super().__init__(settings)
        self._dns = dns
        self._exempt = frozenset(domain_from(domain) for domain in settings.exempt)

    @hook.mail
    async def takes_mail(self, tx: Transaction, sender: Address | None) -> Verdict | None:
        """Refuse a domain whose only MX record is the null MX; beside others it means nothing (RFC 7505 section 3)."""
        if not sender or not sender.domain or sender.domain.startswith("[") or sender.domain in self._exempt:
            return None
        records = (await self._dns.mx(sender.domain)).mx
        if records and not any(record.exchange for record in records):
            return reject("5.7.27", "Sender address has null MX")
        return None
