"""Validate the ARC chain of a message (RFC 8617 section 5.2): what those who handed it on say that it was when it came to them."""

from __future__ import annotations

from typing import Literal

from upesi.plugin import (
    ArcOutcome,
    ArcValidator,
    Dns,
    KeyCache,
    MethodResult,
    Plugin,
    PluginSettings,
    Transaction,
    Verdict,
    answered,
    defer,
    hook,
    reject,
)

_VALIDATOR = "arc.validator"

_REJECT = reject("5.7.29", "The ARC chain of the message is broken")
_DEFER = defer("4.7.29", "The ARC chain of the message is broken")
_TEMPORARY = defer("4.7.29", "The ARC chain of the message cannot be checked now, please try again later")


class Arc(Plugin):
    """Validate ARC chains."""

    class Settings(PluginSettings):
        """`fail` is for a broken chain, which is to be treated as none (RFC 8617 section 5.2): leave it at "mark"."""

        fail: Literal["mark", "defer", "reject"] = "mark"
        # a key could not be fetched. "mark": a sealer whose DNS is gone for good must not keep mail away
        temperror: Literal["mark", "defer"] = "mark"

    def __init__(self, settings: Settings, dns: Dns) -> None:
        super().__init__(settings)
        self._settings = settings
        self._dns = dns
        self._keys = KeyCache()

    @hook.data
    def begin(self, tx: Transaction) -> None:
        """Listen to the message."""
        validator = ArcValidator()
        tx.notes[_VALIDATOR] = validator
        tx.listen(validator)

    @hook.message(after=["dkim", "spf"])
    async def validate(self, tx: Transaction) -> Verdict | None:
        """Ask for the keys of the chain, and leave what came of it for DMARC, Authentication-Results and the next seal."""
        validator = tx.notes.pop(_VALIDATOR, None)
        if not isinstance(validator, ArcValidator):
            return None
        outcome = await answered(self._dns, validator.outcome(self._keys))
        tx.notes["arc.outcome"] = outcome
        tx.results["arc"] = (outcome.result, _evidence(outcome))
        # RFC 8617 section 10.2: the address is what a later sealer's reader wants to know
        client = (("smtp.remote-ip", tx.session.client.address),)
        tx.authentication.append(MethodResult("arc", outcome.result, outcome.reason, client))
        if outcome.result != "fail":
            return None
        if outcome.temporary:
            return _TEMPORARY if self._settings.temperror == "defer" else None
        return {"mark": None, "defer": _DEFER, "reject": _REJECT}[self._settings.fail]


def _evidence(outcome: ArcOutcome) -> str:
    return outcome.reason or " ".join(outcome.sealers)
