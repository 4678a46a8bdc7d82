"""A refusal, as the hooks that are told of it see it."""

from __future__ import annotations

import msgspec

from upesi.hooks.session import Transaction
from upesi.hooks.verdict import Verdict

__all__ = ["Denial"]


class Denial(msgspec.Struct, frozen=True):
    """What a `denied` hook is told: which plugin refused what, where.

    `point` is the hook point's name, `verdict.plugin` who said it; `transaction` is None before MAIL; `arguments` are the hook's own (the
    recipient, the sender).
    """

    point: str
    verdict: Verdict
    transaction: Transaction | None
    arguments: tuple[object, ...]
