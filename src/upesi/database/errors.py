"""What can go wrong with a database, in the words of its callers; the driver's exceptions stop here."""

from __future__ import annotations

from upesi.mail.errors import UpesiError

__all__ = ["DatabaseBusy", "DatabaseCorrupt", "DatabaseError", "DatabaseFull", "DatabaseGone", "DatabaseIoError"]


class DatabaseError(UpesiError):
    """The statement failed for a reason of its own (a value that cannot be stored, wrong SQL); the connection is usable."""


class DatabaseBusy(DatabaseError):
    """Another process held the lock for longer than the busy timeout."""


class DatabaseFull(DatabaseError):
    """No room on the device, or over quota. The transaction has been undone; the connection is usable."""

    status = "4.3.1"


class DatabaseIoError(DatabaseError):
    """Reading, writing or syncing failed. The connection must be thrown away: what its caches hold is not to be believed."""


class DatabaseCorrupt(DatabaseError):
    """A page is not what it should be. What it held cannot be read through SQL."""


class DatabaseGone(DatabaseError):
    """The file is not there, is not ours to write, or is no longer the file that was opened."""
