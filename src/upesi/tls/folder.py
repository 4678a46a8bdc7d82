"""A folder of certificates: which files make one, what is wrong with them, and which certificate is for which name.

What may lie in it, by name:

* `NAME.pem`: chain and private key in one file,
* `NAME.pem` or `NAME.crt` with the chain, and `NAME.key`,
* a folder with `fullchain.pem` and `privkey.pem`, as certbot's `live` has them.

A broken certificate never takes the place of one that works: each entry keeps what was read of it last, until its files are gone.
Names from clients are looked up in a table and are never part of a path (TLS-11).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from upesi.tls.certificates import Certificate, read_certificate
from upesi.tls.contexts import TlsError

__all__ = ["MAX_CERTIFICATES", "Certificates", "Shelf"]

# Reading one takes some milliseconds, most of them OpenSSL's own look at it, and a start must not take minutes; each costs about 25 kB for
# every listener that shows it
MAX_CERTIFICATES = 2000
# a chain of four with a key is below 10 kB; what is larger is no certificate
_MAX_FILE = 256 * 1024
_CHAINS = (".pem", ".crt")
_KEY = ".key"
_CERTBOT = ("fullchain.pem", "privkey.pem")


class _Entry:
    """The files of one certificate, in the order in which they are read."""

    __slots__ = ("label", "paths")

    def __init__(self, label: str, paths: tuple[Path, ...]) -> None:
        self.label = label
        self.paths = paths

    def mark(self) -> tuple[object, ...]:
        """Return what changes when one of the files is replaced or written; symbolic links are followed."""
        return tuple(_mark(path) for path in self.paths)

    def read(self) -> Certificate:
        """Return the certificate; raise TlsError."""
        return read_certificate(str(self.paths[0]), b"\n".join(_read(path) for path in self.paths))


def _listed(folder: Path) -> list[_Entry]:
    """Return what lies in `folder`, by name; raise TlsError where it cannot be read or holds too much."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise TlsError(f"{folder}: cannot be read: {error.strerror}") from error
    found = list(_entries(folder, names))
    if len(found) > MAX_CERTIFICATES:
        raise TlsError(f"{folder}: holds more than {MAX_CERTIFICATES} certificates")
    return found


def _entries(folder: Path, names: list[str]) -> Iterator[_Entry]:
    present = set(names)
    for name in names:
        stem, suffix = os.path.splitext(name)
        # what begins with a dot is an editor's or a tool's own
        if name.startswith("."):
            continue
        if suffix in _CHAINS:
            key = stem + _KEY
            yield _Entry(name, (folder / name, folder / key) if key in present else (folder / name,))
        elif all((folder / name / part).exists() for part in _CERTBOT):
            yield _Entry(name, tuple(folder / name / part for part in _CERTBOT))


def _mark(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
            mode = os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise TlsError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_FILE:
        raise TlsError(f"{path} is larger than {_MAX_FILE // 1024} kB: that is no certificate")
    if mode & (stat.S_IROTH | stat.S_IWOTH) and b"PRIVATE KEY-----" in data:
        raise TlsError(f"everybody on this machine can read the private key; chmod o= {path}")
    return data


class Shelf:
    """What was read of a folder at one time. Never changed: a look at the folder gives another one.

    `certificates` are those that can be shown, by label; `default` is for clients that name no host, or an unknown one; `problems` says of
    each broken entry what is wrong.
    """

    __slots__ = ("_exact", "_marks", "_wildcard", "certificates", "default", "problems")

    def __init__(
        self,
        certificates: dict[str, Certificate],
        marks: dict[str, tuple[object, ...]],
        problems: dict[str, str],
        hostname: str,
        now: float,
    ) -> None:
        self.certificates = certificates
        self.problems = problems
        self._marks = marks
        self._exact: dict[str, Certificate] = {}
        self._wildcard: dict[str, Certificate] = {}
        # of two for one name the one that is good, then the one that was issued later, is written last
        for certificate in sorted(certificates.values(), key=lambda one: (one.good(now), one.begins)):
            for name in certificate.names:
                if name.startswith("*."):
                    self._wildcard[name[2:]] = certificate
                else:
                    self._exact[name] = certificate
        labels = sorted(certificates)
        chosen = next((label for label in labels if label.partition(".")[0] == "default"), labels[0])
        self.default = self.named(hostname) or certificates[chosen]

    @classmethod
    def read(cls, folder: Path, hostname: str, now: float, before: Shelf | None = None) -> Shelf:
        """Return what lies in `folder` now; raise TlsError where nothing can be shown. `hostname` is who we are to those who do not say.

        What has not changed since `before` is not read again, and what is broken now and was good then stays as it was. The very
        same `before` comes back where nothing has changed.
        """
        found = {entry.label: entry for entry in _listed(folder)}
        marks = {label: entry.mark() for label, entry in found.items()}
        if before is not None and marks == before._marks:
            return before
        old = {} if before is None else {label: one for label, one in before.certificates.items() if label in found}
        certificates: dict[str, Certificate] = {}
        problems: dict[str, str] = {}
        for label, entry in found.items():
            # what was broken is tried again: its files may be the same and the day another
            same = before is not None and before._marks.get(label) == marks[label] and label not in before.problems
            try:
                certificates[label] = (
                    old[label] if same and label in old else _better(entry.read(), old.get(label), now)
                )
            except TlsError as error:
                problems[label] = f"{entry.paths[0]}: {error}"
                if label in old:
                    certificates[label] = old[label]
        if not certificates:
            raise TlsError("\n".join(problems.values()) or f"{folder}: holds no certificate")
        return cls(certificates, marks, problems, hostname, now)

    def named(self, name: str) -> Certificate | None:
        """Return the certificate for a host: its own, else the one for all right below its domain; None where there is neither."""
        name = name.lower().rstrip(".")
        return self._exact.get(name) or self._wildcard.get(name.partition(".")[2])

    def warnings(self, now: float) -> Iterator[str]:
        """Yield what an operator should know of certificates that work."""
        for label in sorted(self.certificates):
            yield from self.certificates[label].warnings(now)


class Certificates:
    """The certificates of one folder as they are shown now: `shelf` is replaced as a whole, and None before anything could be read."""

    __slots__ = ("folder", "hostname", "shelf")

    def __init__(self, folder: Path, hostname: str) -> None:
        self.folder = folder
        self.hostname = hostname
        self.shelf: Shelf | None = None

    def paths(self) -> Iterator[Path]:
        """Yield the files that are read, links followed; raise TlsError."""
        for entry in _listed(self.folder):
            yield from (path.resolve() for path in entry.paths)

    def load(self, now: float) -> Shelf:
        """Read them for the first time; raise TlsError where one is broken, with what is good on the shelf all the same."""
        self.shelf = Shelf.read(self.folder, self.hostname, now)
        if self.shelf.problems:
            raise TlsError("\n".join(self.shelf.problems.values()))
        return self.shelf


def _better(new: Certificate, old: Certificate | None, now: float) -> Certificate:
    """Return `new`, unless its time is over or has not come and `old` is good still."""
    if old is not None and old.good(now) and not new.good(now):
        raise TlsError("the new certificate is not valid now")
    return new
