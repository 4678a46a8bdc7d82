"""`upesi-mailq`: the queue, under the name that fingers know."""

from __future__ import annotations

import os
import sys

from upesi.cli.main import main as upesi
from upesi.cli.sendmail import SYSTEM_CONFIG

__all__ = ["main"]


def main() -> None:
    """Run `upesi queue list` with the arguments of this program (those of `sendmail -bp` are none of them).

    It looks where `sendmail` sends: the machine's configuration, where no other is named and it can be read.
    """
    if not os.environ.get("UPESI_CONFIG") and os.access(SYSTEM_CONFIG, os.R_OK):
        os.environ["UPESI_CONFIG"] = SYSTEM_CONFIG
    arguments = [] if "-bp" in sys.argv[1:] else sys.argv[1:]
    upesi(["queue", "list", *arguments])
