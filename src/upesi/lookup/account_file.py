"""The file of accounts: one a line, `USER WORD...` with the words of `accounts`, `#` before comments.

Read whole, and only when nobody else can read it: a hash that leaks can be guessed at leisure. Written whole beside the old one and
renamed over it, so that a reader or a crash sees either; two writers take turns.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from upesi.lookup.accounts import Account, parse_account
from upesi.lookup.private import FORBIDDEN, FileRefused, read_private

__all__ = ["MAX_ACCOUNTS_FILE", "Stamp", "changing", "folded", "read_file", "stamp_of"]

# 60,000 accounts with both kinds of keys; larger ones belong into a database, which is not read whole at every change
MAX_ACCOUNTS_FILE = 16_000_000

# What tells one state of the file from another. The time of the inode and not that of the contents: a chmod changes it too, and mends
Stamp = tuple[int, int, int]


def folded(user: str) -> str:
    """Return the key of a user: accounts differ by more than the case of letters, or people would be locked out by their keyboards."""
    return user.lower()


def stamp_of(status: os.stat_result) -> Stamp:
    """Return what changes when the file does."""
    return status.st_ino, status.st_ctime_ns, status.st_size


def read_file(path: Path) -> tuple[dict[str, tuple[str, ...]], Stamp]:
    """Return the words of every account by its folded name, and the stamp of what was read; raise FileRefused."""
    lines, stamp = _lines(path)
    words: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, 1):
        account = _entry(path, number, line)
        if account is None:
            continue
        user, rest = account
        if folded(user) in words:
            raise FileRefused(f"{path}:{number}: names an account for the second time")
        words[folded(user)] = (f"name={user}", *rest)
    return words, stamp


def _entry(path: Path, number: int, line: str) -> tuple[str, list[str]] | None:
    user, *words = line.split() or [""]
    if not user or user.startswith("#"):
        return None
    try:
        parse_account(user, words)
    except ValueError as error:
        raise FileRefused(f"{path}:{number}: {error}") from None
    return user, words


def _lines(path: Path) -> tuple[list[str], Stamp]:
    data, status = read_private(path, MAX_ACCOUNTS_FILE)
    if len(data) > MAX_ACCOUNTS_FILE:
        raise FileRefused(f"{path}: is larger than 16 MB: use a database")
    try:
        # not splitlines(): a separator of Unicode inside a name must not make a line
        return data.decode().split("\n"), stamp_of(status)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileRefused(f"{path}:{line}: is not UTF-8") from None


@contextlib.contextmanager
def changing(path: Path) -> Iterator[AccountFile]:
    """Take our turn at the file and give it for changes, an empty one where there is none; raise FileRefused.

    The folder is locked, not the file: a writer renames the file away under whoever waits for it.
    """
    # a symbolic link stays one: what it leads to is written
    path = path.resolve()
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise FileRefused(f"{path.parent}: {error.strerror}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield AccountFile(path, folder)
    finally:
        os.close(folder)


class AccountFile:
    """A file of accounts whose turn is ours."""

    __slots__ = ("_folder", "_lines", "_path", "_status")

    def __init__(self, path: Path, folder: int) -> None:
        self._path = path
        self._folder = folder
        # the file that is there need not be perfect (its other lines are left alone), but it must not be readable by others
        self._status = path.stat() if path.exists() else None
        self._lines = _lines(path)[0] if self._status else []
        if self._lines and not self._lines[-1]:
            self._lines.pop()

    def find(self, user: str) -> Account | None:
        """Return the account; raise FileRefused where its line cannot be used."""
        for number, line in enumerate(self._lines, 1):
            if _names(line, user):
                entry = _entry(self._path, number, line)
                assert entry is not None
                return parse_account(*entry)
        return None

    def put(self, user: str, words: Iterable[str]) -> None:
        """Write the account's line, in the place of the old one, else at the end; raise FileRefused."""
        line = " ".join((user, *words))
        places = [index for index, old in enumerate(self._lines) if _names(old, user)]
        if places:
            self._lines[places[0]] = line
        else:
            self._lines.append(line)
        self._write()

    def remove(self, user: str) -> bool:
        """Write the file without the account; False where there is none. Raise FileRefused."""
        kept = [line for line in self._lines if not _names(line, user)]
        found = len(kept) < len(self._lines)
        if found:
            self._lines = kept
            self._write()
        return found

    def _write(self) -> None:
        data = "".join(f"{line}\n" for line in self._lines).encode()
        if len(data) > MAX_ACCOUNTS_FILE:
            raise FileRefused(f"{self._path}: would be larger than 16 MB: use a database")
        target = self._path
        try:
            # made with mode 0600
            descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        except OSError as error:
            raise FileRefused(f"{target.parent}: {error.strerror}") from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                self._dress(file.fileno())
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(name, target)
        except BaseException as error:
            os.unlink(name)
            if isinstance(error, OSError):
                raise FileRefused(f"{target}: cannot be written: {error.strerror}") from error
            raise
        os.fsync(self._folder)

    def _dress(self, descriptor: int) -> None:
        """Give the new file the owner, the group and the rights of the old one; the first one those that the folder's owner needs.

        Root writes for the server's own user, who must be able to read it.
        """
        old = self._status
        if os.geteuid() == 0:
            owner = old or os.fstat(self._folder)
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        if old is not None:
            os.fchmod(descriptor, stat.S_IMODE(old.st_mode) & ~FORBIDDEN)


def _names(line: str, user: str) -> bool:
    first, *_ = line.split(maxsplit=1) or [""]
    return folded(first) == folded(user) and not first.startswith("#")
