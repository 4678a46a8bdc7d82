"""The inputs that are kept: text files with one input to a line, escaped as in Python, so that a change can be read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["FOLDER", "escaped", "read_corpus", "write_corpus"]

FOLDER = Path(__file__).parent / "corpus"


def escaped(data: bytes) -> str:
    """Return `data` as a line of a corpus."""
    return "".join(chr(octet) if 32 <= octet < 127 and octet != 92 else f"\\x{octet:02x}" for octet in data)


def read_corpus(name: str) -> list[bytes]:
    """Return the inputs of a target."""
    lines = (FOLDER / f"{name}.txt").read_text().split("\n")[:-1]
    return [line.encode().decode("unicode_escape").encode("latin-1") for line in lines]


def write_corpus(name: str, inputs: Iterable[bytes]) -> None:
    """Keep `inputs`, the shortest first."""
    lines = sorted({escaped(each) for each in inputs}, key=lambda line: (len(line), line))
    (FOLDER / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
