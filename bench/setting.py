"""How long, how often, and where: what every duel is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

__all__ = ["Setting"]


@dataclasses.dataclass(frozen=True)
class Setting:
    """`seconds` per run after a warm-up of `warm_up`, `rounds` in turn; `scale` shrinks the duels that count things (--quick)."""

    work: Path
    seconds: float
    warm_up: float
    rounds: int
    scale: float
    say: Callable[[str], None]
