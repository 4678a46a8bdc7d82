"""Verdicts that a plugin leaves in a recipient at `message`: whose they are (PLUGINS.md, "Verdicts")."""

from __future__ import annotations

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
        self._before: dict[int, Verdict] = {}
        if _any_left(tx):
            self._before = {id(verdict): verdict for _, verdict in self._unsigned()}

    def sign(self, plugin: str) -> None:
        """Name the plugin that has just run in the verdicts that it left."""
        if _any_left(self._tx):
            for recipient, verdict in self._unsigned():
                recipient.verdict = named(verdict, plugin)

    def _unsigned(self) -> list[tuple[TransactionRecipient, Verdict]]:
        return [
            (recipient, recipient.verdict)
            for recipient in self._tx.recipients
            if type(recipient) is TransactionRecipient
            and type(recipient.verdict) is Verdict
            and not recipient.verdict.plugin
            and id(recipient.verdict) not in self._before
        ]


def _any_left(tx: Transaction) -> bool:
    """Whether any recipient has a verdict: this is asked behind every hook."""
    try:
        for recipient in tx.recipients:
            if recipient.verdict is not None:
                return True
    except BaseException:
        # what a plugin left there is no list of recipients: that is found where it is judged, and must not fail here
        pass
    return False
