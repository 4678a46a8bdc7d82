"""TLS of the listeners, as their configuration has it: folders of certificates read, acceptors made, folders watched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from upesi.config.settings import Config, ListenerSettings, ListenerTls
from upesi.hooks.guard import Emit
from upesi.tls.acceptor import Acceptor, Handshakes
from upesi.tls.contexts import TlsError
from upesi.tls.folder import Certificates
from upesi.tls.watch import Watch

__all__ = ["Security", "check_security"]


class Security:
    """The acceptors of one worker. `watch` is to be started and stopped."""

    def __init__(self, config: Config, emit: Emit, loop: asyncio.AbstractEventLoop) -> None:
        """Read all certificates; raise TlsError."""
        self.handshakes = Handshakes(config.tls.max_handshakes, config.tls.max_client_handshakes)
        folders = _folders(config)
        self._acceptors = [
            None
            if listener.tls is ListenerTls.NONE
            else _acceptor(config, listener, folders[_folder(config, listener)], self.handshakes)
            for listener in config.listener
        ]
        self.watch = Watch(list(folders.values()), config.tls.watch, time.time, emit, loop)

    def acceptor(self, index: int) -> Acceptor | None:
        """Return what the listener of this index in the configuration needs, None where it has no TLS."""
        return self._acceptors[index]


def check_security(config: Config) -> Iterator[str]:
    """Read and try everything that the listeners would show; raise TlsError, and yield what works and should not go on so."""
    folders = _folders(config)
    handshakes = Handshakes(1, 1)
    for listener in config.listener:
        if listener.tls is not ListenerTls.NONE:
            _acceptor(config, listener, folders[_folder(config, listener)], handshakes)
    now = time.time()
    for certificates in folders.values():
        yield from certificates.shelf.warnings(now)


def _folder(config: Config, listener: ListenerSettings) -> str:
    return listener.certificates or config.tls.certificates


def _folders(config: Config) -> dict[str, Certificates]:
    wanted = {_folder(config, listener) for listener in config.listener if listener.tls is not ListenerTls.NONE}
    now = time.time()
    return {folder: Certificates(Path(folder), config.node.name, now) for folder in sorted(wanted)}


def _acceptor(
    config: Config, listener: ListenerSettings, certificates: Certificates, handshakes: Handshakes
) -> Acceptor:
    authorities = Path(listener.client_authorities) if listener.client_authorities else None
    try:
        return Acceptor(
            certificates,
            handshakes,
            time.monotonic,
            implicit=listener.tls is ListenerTls.IMPLICIT,
            required=listener.tls is ListenerTls.REQUIRED,
            clients=listener.client_certificates,
            authorities=authorities,
            ciphers=config.tls.ciphers,
        )
    except TlsError as error:
        raise TlsError(f"listener {listener.name or f'{listener.address}:{listener.port}'}: {error}") from error
