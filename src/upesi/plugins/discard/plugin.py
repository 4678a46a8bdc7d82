"""Accept mail and throw it away, on purpose: for tests, load measurements and addresses that nobody reads."""

from __future__ import annotations

from upesi.plugin import (
    Address,
    DiscardRoute,
    Plugin,
    PluginSettings,
    Transaction,
    TransactionRecipient,
    domain_from,
    hook,
)


class Discard(Plugin):
    """Route the mail of some recipients, domains, or everybody to nowhere."""

    class Settings(PluginSettings):
        """At least one of these must be given."""

        recipients: tuple[str, ...] = ()
        domains: tuple[str, ...] = ()
        everything: bool = False

        def __post_init__(self) -> None:
            if not (self.recipients or self.domains or self.everything):
                raise ValueError("nothing is to be discarded: give recipients, domains or everything = true")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._everything = settings.everything
        self._recipients = frozenset(Address.parse(text, utf8=True).key for text in settings.recipients)
        self._domains = frozenset(domain_from(text) for text in settings.domains)

    @hook.route
    def to_nowhere(self, tx: Transaction, recipient: TransactionRecipient) -> DiscardRoute | None:
        """Route what is configured to nowhere."""
        address = recipient.address
        if self._everything or address.domain in self._domains or address.key in self._recipients:
            return DiscardRoute()
        return None
