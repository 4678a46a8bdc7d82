"""Typed notes: what plugins leave for themselves and for each other on a session, on a transaction, and on the queued message.

    COUNTRY = Note("geoip.country", str)
    REASON = Note("spam.reason", str, queued=True)

    REASON.set(tx, "too many links")     # at `message`
    REASON.get(message)                  # at `attempt`, in another process, next week

A queued note is written into the spool with the message, so it is made of what has a form on disk: numbers, text, octets, lists,
dictionaries and Structs of msgspec.
"""

from __future__ import annotations

import re
from typing import Generic, TypeAlias, TypeVar

import msgspec

from upesi.hooks.session import Session, Transaction
from upesi.spool.records import StoredMessage

__all__ = ["MAX_QUEUED_NOTE", "MAX_QUEUED_NOTES", "Note", "Noted"]

T = TypeVar("T")

# octets of one queued note, and notes of one message: they are in its row of the spool and are read with it at each attempt
MAX_QUEUED_NOTE = 16 * 1024
MAX_QUEUED_NOTES = 64

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+")

Noted: TypeAlias = Session | Transaction | StoredMessage


class Note(Generic[T]):
    """A note by its name ("plugin.what"), and the type of its values. With `queued` it goes on a transaction, and travels into delivery."""

    __slots__ = ("_decoder", "kind", "name", "queued")

    def __init__(self, name: str, kind: type[T], *, queued: bool = False) -> None:
        """Raises ValueError for a name without a plugin's in front."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a note: PLUGIN.WHAT, small letters, digits and _")
        self.name = name
        self.kind = kind
        self.queued = queued
        self._decoder = msgspec.json.Decoder(kind)

    def get(self, holder: Noted) -> T | None:
        """Return the note that `holder` has, None where there is none, or none of this type: an older plugin may have written it."""
        try:
            if type(holder) is StoredMessage:
                return self._read(holder.notes.get(self.name))
            if self.queued:
                return self._read(holder.queued_notes.get(self.name)) if type(holder) is Transaction else None
            value = holder.notes.get(self.name) if type(holder) in (Session, Transaction) else None
            return None if value is None else msgspec.convert(value, self.kind)
        except msgspec.ValidationError:
            return None

    def set(self, holder: Session | Transaction, value: T) -> None:
        """Leave `value`, in the place of one that is there.

        Raises:
            TypeError: it is not of the note's type, or cannot be written; or a queued note is to go on a session.
            ValueError: a queued note is too large, or there are too many.
        """
        if not self.queued:
            try:
                holder.notes[self.name] = msgspec.convert(value, self.kind)
            except msgspec.ValidationError as error:
                raise TypeError(f"note {self.name}: {error}") from None
            return
        if type(holder) is not Transaction:
            raise TypeError(f"note {self.name} is queued: it goes on a transaction")
        self._queue(holder.queued_notes, self._written(value))

    def remove(self, holder: Session | Transaction) -> None:
        """Take the note away, if it is there."""
        if self.queued and type(holder) is Transaction:
            holder.queued_notes.pop(self.name, None)
        else:
            holder.notes.pop(self.name, None)

    def _read(self, octets: bytes | None) -> T | None:
        return None if octets is None else self._decoder.decode(octets)

    def _written(self, value: T) -> bytes:
        octets = msgspec.json.encode(value)
        try:
            # what could not be read back would be lost without a word
            self._decoder.decode(octets)
        except msgspec.ValidationError as error:
            raise TypeError(f"note {self.name}: {error}") from None
        if len(octets) > MAX_QUEUED_NOTE:
            raise ValueError(f"note {self.name} has more than {MAX_QUEUED_NOTE} octets")
        return octets

    def _queue(self, notes: dict[str, bytes], octets: bytes) -> None:
        if len(notes) >= MAX_QUEUED_NOTES and self.name not in notes:
            raise ValueError(f"a message has {MAX_QUEUED_NOTES} queued notes already")
        notes[self.name] = octets
