"""Write what was found into one Authentication-Results field, and remove fields from outside that claim to be ours (RFC 8601)."""

from __future__ import annotations

from upesi.plugin import (
    MethodResult,
    Networks,
    Plugin,
    PluginSettings,
    Transaction,
    authentication_results,
    claims_to_be,
    comparable,
    hook,
)

_FIELD = "Authentication-Results"


class AuthenticationResults(Plugin):
    """One field of ours on each message, and none that somebody else wrote in our name."""

    class Settings(PluginSettings):
        """A failure defers: a message that keeps a forged field would be believed."""

        # empty: the name of this server. Servers of one site may share one
        authserv_id: str = ""
        # more names that are ours: former ones, or those of other servers of ours; fields in their names are removed too
        own: tuple[str, ...] = ()
        # networks whose fields in our names are true: other servers of ours
        trusted: tuple[str, ...] = ()
        # write who has logged in (smtp.auth): recipients see the name of the account
        account: bool = False

        def __post_init__(self) -> None:
            for name in (self.authserv_id, *self.own):
                if name:
                    authentication_results(name, ())

    def __init__(self, settings: Settings, node: str) -> None:
        super().__init__(settings)
        self._id = settings.authserv_id or node
        self._names = frozenset(comparable(name) for name in (self._id, node, *settings.own))
        self._trusted = Networks(settings.trusted)
        self._account = settings.account

    @hook.message(after=["spf", "fcrdns", "dkim", "arc", "dmarc"])
    def write(self, tx: Transaction) -> None:
        """Remove what is forged, then add ours."""
        session = tx.session
        if session.client.address not in self._trusted:
            # RFC 8601 section 5; from our own clients too, which may hand on anything
            tx.remove_header(_FIELD, where=self._forged)
        results = [*session.authentication, *tx.authentication]
        ours = session.relaying or session.identity is not None
        if ours:
            # "nothing there" about our own people's mail is noise, and may name an address of the inside
            results = [found for found in results if found.result != "none"]
        if self._account and session.identity is not None:
            results.append(MethodResult("auth", "pass", properties=(("smtp.auth", session.identity),)))
        # mail of our own people that nobody checked needs no field that says so
        if results or not ours:
            value = authentication_results(self._id, results, utf8=tx.transmission.smtputf8)
            tx.add_header(_FIELD, value)

    def _forged(self, value: str) -> bool:
        return claims_to_be(value, self._names)
