"""The property tests live in the world of the unit tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "unit" / "scheduler"))
