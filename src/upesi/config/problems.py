"""What is wrong with a configuration, said so that the reader can mend it: where, which key, what, and the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import msgspec

from upesi.config.wording import in_words
from upesi.mail.errors import UpesiError

__all__ = ["SOMEWHERE", "ConfigError", "KeyPath", "Problem", "key_text", "nearest", "wrong"]

# keys of tables and indices of lists, from the top
KeyPath = tuple[str | int, ...]

# the source of a problem whose finder has the values and not the file: `config check` puts file and line in its place
SOMEWHERE = "configuration"


class Problem(msgspec.Struct, frozen=True, order=True):
    """One mistake. `source` is a file or an override as it was given, `line` counts from 1 and is 0 where it is not known.

    `key` is the path of the value ("delivery.retry[1]"), empty where the whole file is meant.
    """

    source: str
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}" if self.line else self.source
        return f"{where}: {self.key}: {self.text}" if self.key else f"{where}: {self.text}"


class ConfigError(UpesiError):
    """The configuration cannot be used; `problems` lists every mistake that was found, its text has one line for each."""

    temporary = False

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(map(_worded, problems))
        super().__init__("\n".join(map(str, self.problems)))


def _worded(problem: Problem) -> Problem:
    # whoever mends a plugin's code reads Python, and searches for its own words
    text = problem.text if problem.source.endswith(".py") else in_words(problem.text)
    return problem if text == problem.text else msgspec.structs.replace(problem, text=text)


def wrong(key: str, text: str) -> ConfigError:
    """Return the complaint about one key, of somebody who does not know which file it came from."""
    return ConfigError([Problem(SOMEWHERE, 0, key, text)])


def key_text(path: KeyPath) -> str:
    """Write a key path as people do: `delivery.retry[1]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ", did you mean ...?" for the valid name nearest to `name`, else what there is to choose from."""
    names = sorted(valid)
    # 0.6 is difflib's own choice: it finds "adress" and "max_recipient", and does not offer "port" for "host"
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f", did you mean {close[0]}?"
    return f"; known here: {', '.join(names)}" if names else ""
