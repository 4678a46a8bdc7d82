"""Say whose mail is taken: domains, and, where they are listed, the addresses that exist in them.

Without this vote (or another plugin's) a recipient is only taken from clients that may relay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from upesi.plugin import (
    Address,
    AddressError,
    FilePath,
    ListError,
    Plugin,
    PluginSettings,
    Transaction,
    TransactionRecipient,
    Verdict,
    accept,
    domain_from,
    hook,
    read_list,
    reject,
)

_ACCEPT = accept()
# RFC 5321 section 4.2.3 and RFC 3463 section 3.2: bad destination mailbox address. One value: a directory attack builds nothing
_UNKNOWN = reject("5.1.1", "No such user here")


class Recipients(Plugin):
    """Take mail for our own domains and for those that we relay to; refuse addresses that do not exist."""

    class Settings(PluginSettings):
        """Domains may be written with a leading dot: all domains below."""

        # our own
        domains: tuple[str, ...] = ()
        # those that we take mail for and pass on; the same to this plugin, kept apart for the reader
        relay_domains: tuple[str, ...] = ()
        # more domains, one a line
        file: FilePath = FilePath()
        # addresses that exist. A domain of which one is named takes no others; "@example.com" takes all of it
        addresses: tuple[str, ...] = ()
        # more addresses, one a line
        addresses_file: FilePath = FilePath()
        # characters behind which a local part is only a tag ("+": user+tag is user); without them every character counts
        separators: str = ""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._separators = settings.separators
        self._domains, self._parents = _domains(settings)
        self._known: set[str] = set()
        self._listed: set[str] = set()
        for where, text in _entries("addresses", settings.addresses, settings.addresses_file):
            self._add(where, text)

    @hook.rcpt
    def known(self, tx: Transaction, recipient: TransactionRecipient) -> Verdict | None:
        """Vote for recipients that exist, refuse those that do not, say nothing about other people's domains."""
        address = recipient.address
        domain = address.domain
        # RFC 5321 section 4.5.1: postmaster, with and without a domain, is always taken
        if not domain:
            return _ACCEPT
        if domain not in self._domains and not self._below(domain):
            return None
        if domain not in self._listed or recipient.aliased is not None or address.local.lower() == "postmaster":
            return _ACCEPT
        return _ACCEPT if self._exists(address) else _UNKNOWN

    def _below(self, domain: str) -> bool:
        """Whether `domain` is below one that was written with a leading dot."""
        while self._parents and "." in domain:
            domain = domain.partition(".")[2]
            if domain in self._parents:
                return True
        return False

    def _exists(self, address: Address) -> bool:
        known = self._known
        if address.key in known or f"@{address.domain}" in known:
            return True
        # ADR-18: a tag is cut where the operator says so, once, and nothing is made of it
        places = [place for place in map(address.local.find, self._separators) if place > 0]
        return bool(places) and Address(address.local[: min(places)], address.domain).key in known

    def _add(self, where: str, text: str) -> None:
        """Note one address that exists; raise ValueError naming where it stands."""
        try:
            if text.startswith("@"):
                domain = domain_from(text[1:])
                key = f"@{domain}"
            else:
                address = Address.parse(text, utf8=True)
                domain, key = address.domain, address.key
        except AddressError as error:
            raise ValueError(f"{where}: {text!r}: {error}") from None
        # a slip here would close a domain that is ours or open none
        if domain not in self._domains and not self._below(domain):
            raise ValueError(f"{where}: {text!r}: {domain} is not among the domains")
        self._known.add(key)
        self._listed.add(domain)


def _domains(settings: Recipients.Settings) -> tuple[frozenset[str], frozenset[str]]:
    """Return the domains themselves, and those whose subdomains are meant."""
    exact: set[str] = set()
    parents: set[str] = set()
    entries = (
        *_entries("domains", settings.domains, settings.file),
        *_entries("relay_domains", settings.relay_domains, ""),
    )
    for where, text in entries:
        try:
            (parents if text.startswith(".") else exact).add(domain_from(text.removeprefix(".")))
        except AddressError as error:
            raise ValueError(f"{where}: {text!r}: {error}") from None
    return frozenset(exact), frozenset(parents)


def _entries(key: str, texts: Iterable[str], file: str) -> Iterator[tuple[str, str]]:
    """Yield each entry of the list and the file, with where it stands."""
    for text in texts:
        yield key, text
    if file:
        try:
            for line, text in read_list(file):
                yield f"{file}:{line}", text
        except ListError as error:
            raise ValueError(str(error)) from error
