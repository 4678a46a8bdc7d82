"""Whom a source's server must be vouched for by: the authorities of the table, else those of the system."""

from __future__ import annotations

import ssl
from pathlib import Path

from upesi.config.settings import CredentialsSettings
from upesi.lookup.private import FileRefused
from upesi.tls.contexts import TlsError, client_context

__all__ = ["trusting"]


def trusting(table: CredentialsSettings) -> ssl.SSLContext:
    """Return a context that verifies chain and name; raise FileRefused."""
    try:
        return client_context(verify=True, authorities=Path(table.ca_file) if table.ca_file else None)
    except TlsError as error:
        raise FileRefused(str(error)) from None
