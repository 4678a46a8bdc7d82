"""The point `denied` for refusals that stand in the recipients at `message`: exemptions hear of these as of every other."""

from __future__ import annotations

from collections.abc import Generator

from upesi.hooks.begun import Begun
from upesi.hooks.chain import Chain
from upesi.hooks.denial import Denial
from upesi.hooks.session import Session, Transaction
from upesi.hooks.verdict import Verdict, VerdictKind

__all__ = ["appeals"]


def appeals(denied: Chain[Verdict], session: Session, tx: Transaction) -> Generator[Begun, object, None]:
    """Tell `denied` of each recipient that was refused, and take back what it overrides; yields what must be awaited.

    When the whole chain has run, so that one refusal is told of once, whoever had the last word. An exemption that fails defers the
    recipient, as elsewhere: 451 rather than a refusal that it might have spared.
    """
    for recipient in tuple(tx.recipients):
        verdict = recipient.verdict
        if type(verdict) is not Verdict or verdict.kind is VerdictKind.ACCEPT:
            continue
        answer: object = denied.run(session, tx, Denial("message", verdict, tx, (recipient,)))
        if type(answer) is Begun:
            answer = yield answer
        if type(answer) is Verdict:
            recipient.verdict = None if answer.kind is VerdictKind.ACCEPT else answer
