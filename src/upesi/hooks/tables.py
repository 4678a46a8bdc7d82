"""Lists in text files, for plugins: one entry a line, `#` begins a comment, read once at start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["MAX_FILE", "MAX_LINE", "ListError", "read_list"]

# a million addresses have some 25 MB; this keeps a wrong path (a log, a device) from filling the memory
MAX_FILE = 64 * 1024 * 1024
MAX_LINE = 64 * 1024


class ListError(ValueError):
    """A file that cannot be used; the text names it, and the line."""

    def __init__(self, path: str, line: int, text: str) -> None:
        super().__init__(f"{path}:{line}: {text}" if line else f"{path}: {text}")


def read_list(path: str) -> Iterator[tuple[int, str]]:
    """Yield line number and text of each entry in the UTF-8 file `path`, without comments; raise ListError."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ListError(path, 0, f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE:
        raise ListError(path, 0, f"is larger than {MAX_FILE // 2**20} MiB")
    for number, raw in enumerate(data.split(b"\n"), 1):
        if len(raw) > MAX_LINE:
            raise ListError(path, number, f"is longer than {MAX_LINE // 1024} kiB")
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise ListError(path, number, "is not UTF-8") from None
        # "#" is a character of local parts: it begins a comment only at the start or behind a blank
        entry = text.partition(" #")[0].partition("\t#")[0].strip()
        if entry and not entry.startswith("#"):
            yield number, entry
