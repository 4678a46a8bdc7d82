"""Run what failed in the last run of the tests once more, one after the other with nothing beside it, and name it.

Some hundred tests start real servers on a machine whose load nobody knows. A test that fails among its neighbours and passes alone says
nothing of the change at hand; it is named all the same, as a fault of its own. More than a few failures are no accident: then nothing
is run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# More than this many at once are a defect, not a stall of the machine
MOST = 5
_LAST = Path(__file__).parents[1] / ".pytest_cache" / "v" / "cache" / "lastfailed"


def main() -> int:
    """The exit code of the second run; 1 if there is nothing to run again, or too much."""
    failed = list(json.loads(_LAST.read_text())) if _LAST.exists() else []
    if not 0 < len(failed) <= MOST:
        print(f"{len(failed)} tests to run again, of at most {MOST}: nothing is run")
        return 1
    again = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *sys.argv[1:], *failed], check=False
    )
    for name in failed:
        print(f"UNSTEADY: {name}" if again.returncode == 0 else f"FAILED, and again among these: {name}")
    return again.returncode


if __name__ == "__main__":
    sys.exit(main())
