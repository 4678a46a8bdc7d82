"""Verdicts that a plugin leaves in a recipient at `message`: whose they are (PLUGINS.md, "Verdicts")."""

from __future__ import annotations

from upesi.hooks.session import Transaction, TransactionRecipient
from upesi.hooks.verdict import Verdict

__all__ = ["named", "sign"]


def named(verdict: Verdict, plugin: str) -> Verdict:
    """Return `verdict` with the name of the plugin that gave it."""
    return Verdict(verdict.kind, verdict.reply, verdict.disconnect, verdict.final, plugin)


def sign(tx: Transaction, plugin: str) -> None:
    """Put the name of the plugin that has just run into the verdicts that it left."""
    # by type: a plugin may have left anything, which is found where it is judged, and must not fail here
    if type(tx.recipients) is not list:
        return
    for recipient in tx.recipients:
        if type(recipient) is TransactionRecipient:
            verdict = recipient.verdict
            if type(verdict) is Verdict and not verdict.plugin:
                recipient.verdict = named(verdict, plugin)
