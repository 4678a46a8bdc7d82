"""The kits of the unit tests of sessions and of TLS serve the clauses too."""

from __future__ import annotations

import sys
from pathlib import Path

_UNIT = Path(__file__).parents[1] / "unit"
sys.path[:0] = [str(_UNIT / "session"), str(_UNIT / "tls")]
