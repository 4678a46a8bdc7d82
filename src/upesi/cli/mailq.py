"""`upesi-mailq`: the queue, under the name that fingers know."""

from __future__ import annotations

import sys

from upesi.cli.main import main as upesi

__all__ = ["main"]


def main() -> None:
    """Run `upesi queue list` with the arguments of this program (those of `sendmail -bp` are none of them)."""
    arguments = [] if "-bp" in sys.argv[1:] else sys.argv[1:]
    upesi(["queue", "list", *arguments])
