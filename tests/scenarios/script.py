r"""Dialogues as plain text: how a `.smtp` file is read. See README.md in this folder for the format."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_REPEAT = re.compile(r"\\\*(\d+)\(([^)]*)\)")
_STEP = re.compile(r"(C:|C>|S:|M:|X:)(?: (.*))?")
_OPTION = re.compile(r"(\w+) *= *(\w+)")


@dataclass
class Step:
    """One line: `mark` is "C:", "C>", "S:", "M:" or "X:"; `line` its number in the file."""

    mark: str
    text: str
    line: int

    @property
    def octets(self) -> bytes:
        r"""The text with its escapes resolved; "C:" ends with CR LF."""
        repeated = _REPEAT.sub(lambda match: match[2] * int(match[1]), self.text)
        raw = repeated.encode().decode("unicode_escape").encode("latin-1")
        return raw + b"\r\n" if self.mark == "C:" else raw


@dataclass
class Scenario:
    """One session, under its title; `options` as the file gives them."""

    title: str
    steps: list[Step] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """One line of a table: what is said `after` some others, the replies that are right, the `rows` that it proves."""

    after: tuple[str, ...]
    said: str
    replies: tuple[str, ...]
    rows: str
    line: int

    @property
    def octets(self) -> bytes:
        """The line with its escapes resolved, and CR LF."""
        return Step("C:", self.said, self.line).octets


_LINE = re.compile(r"(.+?) +-> (.+?)(?: +\[(.+)\])?")


def read_lines(path: Path) -> list[Line]:
    """Read a table of single lines; raise ValueError with the line that is not understood."""
    after: tuple[str, ...] | None = None
    lines = []
    for number, text in enumerate(path.read_text().splitlines(), 1):
        if not text.strip() or text.startswith("#"):
            continue
        if text.startswith("after:"):
            after = tuple(part.strip() for part in text[6:].split(",") if part.strip())
            continue
        found = _LINE.fullmatch(text.rstrip())
        if found is None or after is None:
            raise ValueError(f"{path.name}:{number}: not understood: {text!r}")
        lines.append(Line(after, found[1], tuple(found[2].split(" or ")), found[3] or "", number))
    return lines


def read_scenarios(path: Path) -> list[Scenario]:
    """Read all scenarios of a file; raise ValueError with the line that is not understood."""
    scenarios: list[Scenario] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("== "):
            scenarios.append(Scenario(line[3:].strip()))
            continue
        if not scenarios:
            raise ValueError(f"{path.name}:{number}: no title yet (== ...)")
        step, option = _STEP.fullmatch(line), _OPTION.fullmatch(line)
        if step:
            scenarios[-1].steps.append(Step(step[1], step[2] or "", number))
        elif option and not scenarios[-1].steps:
            scenarios[-1].options[option[1]] = option[2]
        else:
            raise ValueError(f"{path.name}:{number}: not understood: {line!r}")
    return scenarios
