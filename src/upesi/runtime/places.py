"""Whether the spool's folder, which only a start makes, can be there: a check must not pass what the start will refuse."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from upesi.config.problems import SOMEWHERE, Problem, wrong

__all__ = ["check_spool"]

_KEY = "spool.path"


def check_spool(path: Path) -> Iterator[Problem]:
    """Raise ConfigError where no folder can be there for anybody, yield a warning where it cannot for us. Makes nothing.

    Rights are no error: who checks need not be who starts the server.
    """
    place = path
    # of a link that leads nowhere, too, nothing can be made
    while not os.path.lexists(place):
        place = place.parent
    made = place == path
    if not place.is_dir():
        raise wrong(_KEY, f"{path}: is no folder" if made else f"{path}: cannot be made, since {place} is no folder")
    # as whom we act: a command that was given rights is checked with these
    if not os.access(place, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        what = "cannot be written" if made else f"cannot be made: {place} cannot be written"
        yield Problem(SOMEWHERE, 0, _KEY, f"{path}: {what} by the user who checks this (uid {os.geteuid()})")
