"""Seal what is handed on (RFC 8617 section 5.1): say what the message was when it came, since what we change breaks its own signatures."""

from __future__ import annotations

from typing import Literal

from upesi.plugin import (
    ARC_TERMS,
    ArcOutcome,
    BodyHash,
    Clock,
    FilePath,
    NotSignable,
    Outgoing,
    Plugin,
    PluginLog,
    PluginSettings,
    Transaction,
    TransactionRecipient,
    arc_set,
    authentication_results,
    hook,
    signing_key,
)

_FORWARDED = "arc_seal.forwarded"


class ArcSeal(Plugin):
    """Add a set to the chain of messages that go on to other sites."""

    requires = ("arc",)

    class Settings(PluginSettings):
        """`domain`, `selector` and `key` are those of the seal; `key` is the file of a private key, as dkim_sign has them."""

        domain: str
        selector: str
        key: FilePath
        # "forwarded": what an alias sends to another domain. "all": everything that strangers bring, wherever it goes
        mail: Literal["forwarded", "all"] = "forwarded"
        # empty: the name of this server; as authentication_results has it
        authserv_id: str = ""

    def __init__(self, settings: Settings, clock: Clock, node: str, log: PluginLog) -> None:
        super().__init__(settings)
        self._all = settings.mail == "all"
        self._clock = clock
        self._log = log
        self._id = settings.authserv_id or node
        authentication_results(self._id, ())
        self._key = signing_key(settings.domain, settings.selector, settings.key)
        if self._key.algorithm != "rsa-sha256":
            # RFC 8617 names no other algorithm: validators that hold to it (dkimpy) call the chain broken, and it stays so for good
            raise ValueError(f"{settings.key}: is no RSA key, and few who validate ARC read another")
        self._outgoing = Outgoing("arc_seal.hashing", BodyHash(ARC_TERMS.body))

    @hook.rcpt(after=["aliases"])
    def notice(self, tx: Transaction, recipient: TransactionRecipient) -> None:
        """Take note of an alias that leads to another domain."""
        domain = recipient.address.domain
        if recipient.aliased is not None and any(target.domain != domain for target in recipient.aliased):
            tx.notes[_FORWARDED] = True

    @hook.data
    def begin(self, tx: Transaction) -> None:
        """Hash the message while it comes."""
        if self._concerns(tx):
            self._outgoing.listen(tx)

    @hook.message(
        after=[
            "aliases",
            "arc",
            "authentication_results",
            "banner",
            "dkim",
            "dmarc",
            "headers",
            "quarantine",
            "record_envelope",
            "spf",
        ]
    )
    async def seal(self, tx: Transaction) -> None:
        """Put a set on top, unless nobody is to add to the chain."""
        outcome = tx.notes.get("arc.outcome")
        if not self._concerns(tx) or not isinstance(outcome, ArcOutcome):
            return
        if outcome.temporary:
            # cv=fail would close a chain for good that may be whole
            tx.results["arc_seal"] = ("skip", "the chain could not be checked")
            return
        fields, body = await self._outgoing.digested(tx)
        if fields is None or body is None:
            tx.results["arc_seal"] = ("skip", "header section is too long")
            return
        found = [*tx.session.authentication, *tx.authentication]
        results = authentication_results(self._id, found, utf8=tx.transmission.smtputf8)
        now = int(self._clock.now())
        try:
            made = await self._outgoing.run(arc_set, self._key, ARC_TERMS, fields, body, results, outcome, now)
        except NotSignable as error:
            # no receiver would treat it otherwise: it has no From, or hundreds of them
            self._log("not_signable", id=tx.id.hex(), reason=str(error))
            tx.results["arc_seal"] = ("skip", str(error))
            return
        for field in made:
            tx.edits.put_on_top(field)
        tx.results["arc_seal"] = ("pass", f"i={outcome.sets + 1}") if made else ("skip", "the chain is closed")

    @hook.stop
    def close(self) -> None:
        """Let the threads end."""
        self._outgoing.close()

    def _concerns(self, tx: Transaction) -> bool:
        session = tx.session
        if session.relaying or session.identity is not None:
            # mail of our own begins here: dkim_sign signs it
            return False
        return self._all or _FORWARDED in tx.notes
