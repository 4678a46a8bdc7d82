"""Verdicts that a plugin leaves in a recipient at `message`: whose they are (PLUGINS.md, "Verdicts")."""

from __future__ import annotations

from collections.abc import Sequence

from upesi.hooks.session import Transaction, TransactionRecipient
from upesi.hooks.verdict import Verdict

__all__ = ["Signatures", "named"]


def named(verdict: Verdict, plugin: str) -> Verdict:
    """Return `verdict` with the name of the plugin that gave it."""
    return Verdict(verdict.kind, verdict.reply, verdict.disconnect, verdict.final, plugin)


class Signatures:
    """Puts names into the verdicts that stand in the recipients of `tx`; what stood there before belongs to nobody who runs now."""

    __slots__ = ("_before", "_tx")

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        # by identity, and kept so that no other verdict can get it
        self._before = {id(verdict): verdict for _, verdict in _unnamed(tx)}

    def sign(self, plugin: str) -> None:
        """Name the plugin that has just run in the verdicts that it left."""
        for recipient, verdict in _unnamed(self._tx):
            if id(verdict) not in self._before:
                recipient.verdict = named(verdict, plugin)


def _unnamed(tx: Transaction) -> Sequence[tuple[TransactionRecipient, Verdict]]:
    """Return the recipients that have a verdict without a name: this is asked behind every hook, and mostly there is none."""
    try:
        for recipient in tx.recipients:
            if recipient.verdict is not None:
                return [
                    (each, each.verdict)
                    for each in tx.recipients
                    if type(each) is TransactionRecipient and type(each.verdict) is Verdict and not each.verdict.plugin
                ]
    except BaseException:
        # what a plugin left there is no list of recipients: the session finds that and defers the message; raised here it would pass
        # the hooks behind, which are not at fault
        return ()
    return ()
