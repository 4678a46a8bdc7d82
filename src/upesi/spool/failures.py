"""What callers of the spool are told of a database's errors."""

from __future__ import annotations

from upesi.database.errors import DatabaseCorrupt, DatabaseError, DatabaseFull
from upesi.spool.store import SpoolDamaged, SpoolError, SpoolFull

__all__ = ["spool_error"]


def spool_error(error: DatabaseError) -> SpoolError:
    """Return what callers of the spool are told of a database's error."""
    if isinstance(error, DatabaseFull):
        return SpoolFull(str(error))
    if isinstance(error, DatabaseCorrupt):
        return SpoolDamaged(str(error))
    return SpoolError(str(error))
