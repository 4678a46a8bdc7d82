"""Checks of `[[program]]`, and of the routes that name one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from upesi.config.problems import KeyPath, nearest
from upesi.config.route_settings import PLACES, ProgramSettings
from upesi.config.settings import Config

__all__ = ["check_programs"]

Found = Iterator[tuple[KeyPath, str]]

# it is in a queue's key
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PLACE = re.compile(r"\{([^{}]*)\}")
# of an option, nothing else is left for mail from <>: the program would read the next argument as its value, and {recipient} as no address
_BARE = re.compile(r"(-[^=]*?)(?:\{(?:sender|domain)\})+")
_OPTION = re.compile(r"--?[A-Za-z0-9][A-Za-z0-9_-]*")
_PIPE = "pipe:"


def check_programs(config: Config) -> Found:
    """Yield the key path of, and the complaint about, everything that is wrong."""
    known: set[str] = set()
    for index, program in enumerate(config.program):
        here: KeyPath = ("program", index)
        if not _NAME.fullmatch(program.name):
            yield (*here, "name"), f"{program.name!r} is no name: letters, digits, '.', '_' and '-', at most 64"
        elif program.name in known:
            yield (*here, "name"), f"{program.name!r} is there twice"
        known.add(program.name)
        yield from _command(program, here)
        if program.deadline <= 0:
            yield (*here, "deadline"), "must be more than 0"
    for index, route in enumerate(config.route):
        name = route.to.removeprefix(_PIPE)
        if route.to.startswith(_PIPE) and name and name not in known:
            yield ("route", index, "to"), f"there is no [[program]] {name!r}{nearest(name, known)}"


def _command(program: ProgramSettings, here: KeyPath) -> Found:
    if not program.command or not program.command[0].startswith("/"):
        yield (*here, "command"), "must begin with the absolute path of a program"
    for position, argument in enumerate(program.command):
        if "\0" in argument:
            yield (*here, "command", position), "holds a NUL, which no argument can"
        if position == 0 and _PLACE.search(argument):
            yield (*here, "command", position), "must be the same for all mail: places are for arguments"
            continue
        bare = _BARE.fullmatch(argument)
        if bare is not None and _OPTION.fullmatch(bare[1]):
            yield (
                (*here, "command", position),
                f"is an option without its value for mail from <>: write two arguments, {bare[1]!r} and the place",
            )
        for place in _PLACE.findall(argument):
            if place not in PLACES:
                yield (
                    (*here, "command", position),
                    f"{{{place}}} stands for nothing{nearest(place, PLACES)}; there are {', '.join(PLACES)}",
                )
