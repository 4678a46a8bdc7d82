"""What plugins that sign stand on: the hashes of a message as it will be sent, and threads for work that costs more than the way to them.

Nearly every message is sent as it came, so its body is hashed while it comes (`listen`). Only one that a plugin changed inside is hashed
again, large ones in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from typing import ParamSpec, TypeVar

from upesi.hooks.session import Transaction
from upesi.lookup.pool import WorkPool
from upesi.lookup.private import read_private
from upesi.mail.address import domain_from
from upesi.mail.body import Body, MemoryBody
from upesi.mailauth.fields import Fields
from upesi.mailauth.hashing import BodyDigest, MessageHashing, fields_of
from upesi.mailauth.signature import BodyHash
from upesi.mailauth.signing import SigningKey

__all__ = ["Outgoing", "signing_key"]

P = ParamSpec("P")
R = TypeVar("R")

# Two threads sign 5,000 messages a second with RSA-2048, which is more than a worker takes in
_THREADS = 2
# each is a session that waits for its signature; of those there are `limits` of
_WAITING = 10_000
# octets that are hashed at once on the event loop: 0.2 ms
_INLINE = 256 * 1024
# a key of 4096 bits has 3.3 kB in PEM
_MAX_KEY_FILE = 32 * 1024


class Outgoing:
    """For one plugin: `wanted` is how the bodies of its messages are to be hashed, `note` the name of its note."""

    __slots__ = ("_note", "_pool", "_wanted")

    def __init__(self, note: str, wanted: BodyHash) -> None:
        self._note = note
        self._wanted = wanted
        self._pool: WorkPool | None = None

    def listen(self, tx: Transaction) -> None:
        """Hash the message while it comes; at `data`."""
        hashing = MessageHashing(self._body_hashes)
        tx.notes[self._note] = hashing
        tx.listen(hashing)

    async def digested(self, tx: Transaction) -> tuple[Fields | None, BodyDigest | None]:
        """Return the fields and the body's hash of the message as it will be sent; None for a header section beyond its bound."""
        message = tx.edited
        heard = tx.notes.pop(self._note, None)
        if isinstance(heard, MessageHashing) and not tx.has_edits:
            # fields were put on top at most: the body is what was heard
            return fields_of(message), heard.digest(self._wanted)
        again = MessageHashing(self._body_hashes)
        if message.size <= _INLINE:
            again.read(message)
        else:
            await self.run(again.read, message)
        return again.fields, again.digest(self._wanted)

    def own(self, message: bytes) -> tuple[Body, Fields | None, BodyDigest | None]:
        """Return a message that this server wrote itself, its fields and its body's hash; it is no larger than notices and reports are."""
        body = MemoryBody(message)
        hashing = MessageHashing(self._body_hashes)
        hashing.read(body)
        return body, hashing.fields, hashing.digest(self._wanted)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what `function` returns, in a thread; raise what it raises, LookupFailed where too much waits."""
        if self._pool is None:
            self._pool = WorkPool(asyncio.get_running_loop(), "signing", threads=_THREADS, waiting=_WAITING)
        return await self._pool.run(function, *args, **kwargs)

    def close(self) -> None:
        """Let the threads end; at `stop`."""
        if self._pool is not None:
            self._pool.close()

    def _body_hashes(self, _: Fields) -> Collection[BodyHash]:
        return (self._wanted,)


def signing_key(domain: str, selector: str, file: str) -> SigningKey:
    """Read the private key of a selector from a file that nobody else can read; raise FileRefused, ValueError."""
    pem, _ = read_private(Path(file), _MAX_KEY_FILE)
    try:
        return SigningKey.load(domain_from(domain), domain_from(selector), pem)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
