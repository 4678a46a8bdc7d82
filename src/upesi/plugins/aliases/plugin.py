"""Send the mail of one address to others.

At RCPT an alias is known to exist, and is refused if it leads in a circle or to too many; once the message is here, the alias is
replaced by the addresses behind it.
"""

from __future__ import annotations

from collections.abc import Iterator

from upesi.plugin import (
    Address,
    AddressError,
    FilePath,
    Plugin,
    PluginSettings,
    Transaction,
    TransactionRecipient,
    Verdict,
    accept,
    hook,
    read_list,
    reject,
)

# how deep aliases may lead to aliases
MAX_DEPTH = 100

_ACCEPT = accept()
# RFC 3463 section 3.5: routing loop detected
_LOOP = reject("5.4.6", "This alias leads back to itself", code=554)
_TOO_MANY = reject("5.4.6", "This alias leads to too many addresses", code=554)


class TooMany(Exception):
    """More addresses, or more levels, than are allowed."""


class Circle(Exception):
    """An alias that leads back to itself."""


class Aliases(Plugin):
    """Expand aliases from a table and a file."""

    class Settings(PluginSettings):
        """Names without a domain are aliases at each of `domains`; targets without one are at the alias's own."""

        domains: tuple[str, ...] = ()
        table: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 - settings copy their defaults
        # more aliases, one a line: "alias: target, target"
        file: FilePath = FilePath()
        # addresses behind one alias; a list of more subscribers is a mailing list's work
        max_expansion: int = 1000

        def __post_init__(self) -> None:
            if self.max_expansion < 1:
                raise ValueError("max_expansion must be at least 1")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._limit = settings.max_expansion
        self._targets: dict[str, tuple[Address, ...]] = {}
        for where, alias, targets in _entries(settings):
            self._add(where, alias, targets, settings.domains)

    @hook.rcpt(before=["recipients"])
    def known(self, tx: Transaction, recipient: TransactionRecipient) -> Verdict | None:
        """Vote for an alias that leads somewhere."""
        # nobody has any: no address is put together in vain
        if not self._targets or recipient.address.key not in self._targets:
            return None
        try:
            recipient.aliased = self.expand(recipient.address)
        except Circle:
            return _LOOP
        except TooMany:
            return _TOO_MANY
        return _ACCEPT

    @hook.message
    def replace(self, tx: Transaction) -> None:
        """Put the addresses behind each alias in its place, each once however many ways lead to it."""
        if not [recipient for recipient in tx.recipients if recipient.aliased is not None]:
            return
        # whom the client named keeps what it asked for, wherever an alias leads to the same mailbox
        named = {recipient.address for recipient in tx.recipients if recipient.aliased is None}
        replaced: list[TransactionRecipient] = []
        for recipient in tx.recipients:
            if recipient.aliased is None or recipient.verdict is not None:
                replaced.append(recipient)
                continue
            fresh = [address for address in recipient.aliased if address not in named]
            named.update(fresh)
            replaced += _instead_of(tx, recipient, fresh)
        tx.recipients[:] = replaced

    def expand(self, alias: Address) -> tuple[Address, ...]:
        """Return the addresses behind `alias`; raise Circle, TooMany. No recursion, whatever the table says (ADR-17)."""
        found: dict[Address, None] = {}
        path = [alias.key]
        done: set[str] = set()
        waiting: list[Iterator[Address]] = [iter(self._targets[alias.key])]
        while waiting:
            target = next(waiting[-1], None)
            if target is None:
                waiting.pop()
                done.add(path.pop())
                continue
            key = target.key
            # an alias that names itself keeps a copy: there the name is the mailbox
            if key == path[-1] or key not in self._targets:
                found[target] = None
                if len(found) > self._limit:
                    raise TooMany
            elif key in path:
                raise Circle
            elif key not in done:
                path.append(key)
                waiting.append(iter(self._targets[key]))
                if len(path) > MAX_DEPTH:
                    raise TooMany
        return tuple(found)

    def _add(self, where: str, alias: str, targets: tuple[str, ...], domains: tuple[str, ...]) -> None:
        try:
            for address in _places(alias, domains):
                if address.key in self._targets:
                    raise ValueError("is there twice")
                domain = address.domain or next(iter(domains), "")
                self._targets[address.key] = tuple(_target(text, domain) for text in targets)
            if not targets:
                raise ValueError("leads nowhere")
        except ValueError as error:
            raise ValueError(f"{where}: {alias!r}: {error}") from None


def _places(alias: str, domains: tuple[str, ...]) -> list[Address]:
    if "@" in alias:
        return [Address.parse(alias, utf8=True)]
    if not domains and alias.lower() != "postmaster":
        raise ValueError("has no domain, and there are no `domains` for it to be at")
    places = [Address.parse(f"{alias}@{domain}", utf8=True) for domain in domains]
    # RCPT TO:<postmaster> comes without a domain (RFC 5321 section 4.5.1)
    return [*places, Address("postmaster", "")] if alias.lower() == "postmaster" else places


def _target(text: str, domain: str) -> Address:
    if "@" not in text and domain:
        text = f"{text}@{domain}"
    try:
        return Address.parse(text, utf8=True)
    except AddressError as error:
        raise ValueError(f"target {text!r}: {error}") from None


def _instead_of(
    tx: Transaction, recipient: TransactionRecipient, addresses: list[Address]
) -> list[TransactionRecipient]:
    """Return recipients for `addresses`; the first is `recipient` itself, so that LMTP's reply for it follows its verdict."""
    if not addresses:
        return []
    # RFC 3461 section 5.2.7: what the sender asked for goes with the mail, and reports name whom the sender named
    original = recipient.original or f"rfc822;{recipient.address}"
    if len(addresses) > 1:
        recipient.notify = tx.expand(recipient)
    recipient.address, recipient.original = addresses[0], original
    # the route was the alias's
    recipient.aliased = recipient.route = None
    others = [TransactionRecipient(address, original, recipient.notify) for address in addresses[1:]]
    for other in others:
        # whose mail it is does not change with its addresses
        other.handling = recipient.handling
    return [recipient, *others]


def _entries(settings: Aliases.Settings) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield each alias with its targets and where it stands."""
    for alias, targets in settings.table.items():
        yield "table", alias, targets
    if settings.file:
        for line, text in read_list(settings.file):
            alias, colon, rest = text.partition(":")
            if not colon:
                raise ValueError(f"{settings.file}:{line}: not of the form alias: target, target")
            targets = tuple(target.strip() for target in rest.split(",") if target.strip())
            yield f"{settings.file}:{line}", alias.strip(), targets
