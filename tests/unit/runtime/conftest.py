"""The kits of the tests of sessions and TLS serve here too."""

import sys
from pathlib import Path

_UNIT = Path(__file__).parents[1]
sys.path[:0] = [str(_UNIT / "session"), str(_UNIT / "tls"), str(_UNIT / "scheduler")]
