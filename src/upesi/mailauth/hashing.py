"""Hashes a message while it arrives: the header section is collected, the body goes through one hash for each way that is asked for.

    hashing = MessageHashing(wanted)      # wanted(fields) says how the body is to be hashed
    hashing.feed(octets)                  # any number of times, cut anywhere
    hashing.finish()

So nothing of the body is kept, and when the last octet is here its hashes are ready. Used by verifiers and signers alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection

import msgspec

from upesi.mail.body import READ_SIZE, Body
from upesi.mail.headers import MAX_HEADER, NO_HEADER
from upesi.mailauth.canonical import BodyCanonicalizer, Canonicalization, RelaxedBody, SimpleBody
from upesi.mailauth.fields import Fields
from upesi.mailauth.signature import BodyHash

__all__ = ["MAX_BODY_HASHES", "BodyDigest", "MessageHashing", "fields_of"]

# Different ways to hash one body. Two canonicalizations and no l= make two; each costs as much as all of a signature's own work
MAX_BODY_HASHES = 8

# nearly every header section fits in here
_FIRST_READ = 16 * 1024
_EMPTY_LINE = b"\r\n\r\n"
_LONGEST_BEGINNING = max(len(beginning) for beginning in NO_HEADER)


class BodyDigest(msgspec.Struct, frozen=True, gc=False):
    """A body's hash, and how many octets its canonical form has in all."""

    digest: bytes
    size: int


class _BodyHasher:
    """One canonicalization into one hash, up to the limit."""

    __slots__ = ("_canonical", "_hash", "_left")

    def __init__(self, wanted: BodyHash) -> None:
        self._hash = hashlib.sha256()
        self._left = wanted.limit or 0
        write = self._hash.update if wanted.limit is None else self._write
        kind: type[BodyCanonicalizer] = (
            SimpleBody if wanted.canonicalization is Canonicalization.SIMPLE else RelaxedBody
        )
        self._canonical = kind(write)

    def feed(self, data: bytes) -> None:
        self._canonical.feed(data)

    def finish(self) -> BodyDigest:
        self._canonical.finish()
        return BodyDigest(self._hash.digest(), self._canonical.size)

    def _write(self, data: bytes) -> None:
        if self._left > 0:
            self._hash.update(data[: self._left])
            self._left -= len(data)


class MessageHashing:
    """One message on its way through.

    `fields` is None until the header section is whole, and stays None where it is longer than MAX_HEADER: nobody hashes such a message.
    """

    __slots__ = ("_bodies", "_digests", "_section", "_wanted", "fields")

    def __init__(self, wanted: Callable[[Fields], Collection[BodyHash]]) -> None:
        """`wanted` is called once, when the header section is here; beyond MAX_BODY_HASHES its answers are not heeded."""
        self.fields: Fields | None = None
        self._wanted = wanted
        self._section: bytearray | None = bytearray()
        self._bodies: dict[BodyHash, _BodyHasher] = {}
        self._digests: dict[BodyHash, BodyDigest] = {}

    def feed(self, data: bytes) -> None:
        """Take the next octets of the message."""
        if self._section is not None:
            self._collect(self._section, data)
            return
        for body in self._bodies.values():
            body.feed(data)

    def finish(self) -> None:
        """End the message."""
        if self._section is not None:
            # no empty line: all of it is header
            self._begin_body(bytes(self._section), b"")
        self._digests = {wanted: body.finish() for wanted, body in self._bodies.items()}
        self._bodies = {}

    def digest(self, wanted: BodyHash) -> BodyDigest | None:
        """Return what the body hashed to, once the message has ended; None where that was not asked for."""
        return self._digests.get(wanted)

    def read(self, body: Body) -> None:
        """Take a whole message, and its end."""
        for chunk in body.chunks():
            # a body in memory comes in one piece; smaller ones let other threads in between
            for start in range(0, len(chunk), READ_SIZE):
                self.feed(chunk[start : start + READ_SIZE])
        self.finish()

    def _collect(self, section: bytearray, data: bytes) -> None:
        if not section and not data.startswith(NO_HEADER):
            # nearly always the first piece holds all of it
            end = data.find(_EMPTY_LINE, 0, MAX_HEADER)
            if end > 0:
                self._begin_body(data[:end], data[end + len(_EMPTY_LINE) :])
                return
        # from where the empty line can begin: trickled octet by octet this stays linear
        start = max(len(section) - len(_EMPTY_LINE) + 1, 0)
        if len(section) < _LONGEST_BEGINNING:
            start = 0
        section += data
        if section.startswith(NO_HEADER):
            self._without_header(bytes(section))
            return
        end = section.find(_EMPTY_LINE, start)
        if end >= 0 and end <= MAX_HEADER:
            # from `section` and not from `data`, since the empty line may be cut in two
            self._begin_body(bytes(section[:end]), bytes(section[end + len(_EMPTY_LINE) :]))
        elif len(section) > MAX_HEADER + len(_EMPTY_LINE):
            self._section = None

    def _without_header(self, section: bytes) -> None:
        self._begin_body(b"", section.removeprefix(b"\r\n"))

    def _begin_body(self, section: bytes, body: bytes) -> None:
        self._section = None
        self.fields = fields = Fields(section)
        for wanted in self._wanted(fields):
            if len(self._bodies) < MAX_BODY_HASHES:
                self._bodies[wanted] = _BodyHasher(wanted)
        if body:
            self.feed(body)


def fields_of(body: Body) -> Fields | None:
    """Return the header fields of a message without reading on; None where the section is longer than MAX_HEADER."""
    hashing = MessageHashing(lambda _: ())
    for chunk in body.chunks():
        for start in range(0, len(chunk), _FIRST_READ):
            hashing.feed(chunk[start : start + _FIRST_READ])
            if hashing.fields is not None:
                return hashing.fields
    hashing.finish()
    return hashing.fields
