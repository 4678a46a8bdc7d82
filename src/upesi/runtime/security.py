"""TLS of the listeners, as their configuration has it: folders of certificates read, acceptors made, folders watched.

A start and a reload are refused while anything is broken (`check_security`). A worker that is born later, in the place of one that died,
shows what is good, and without anything good goes on without TLS: STARTTLS is answered 454, implicit TLS is closed.
"""

from __future__ import annotations

import asyncio
import os
import pwd
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
        """Read all certificates; what is broken is told as `tls.refused`."""
        self.handshakes = Handshakes(config.tls.max_handshakes, config.tls.max_client_handshakes)
        folders = _folders(config)
        for certificates in folders.values():
            try:
                certificates.load(time.time())
            except TlsError as error:
                emit("tls.refused", {"folder": str(certificates.folder), "text": str(error)})
        self._acceptors = [_acceptor(config, listener, folders, self.handshakes) for listener in config.listener]
        for acceptor in filter(None, self._acceptors):
            try:
                acceptor.renew()
            except TlsError as error:
                emit("tls.refused", {"text": str(error)})
        self.watch = Watch(list(folders.values()), config.tls.watch, time.time, emit, loop)

    def acceptor(self, index: int) -> Acceptor | None:
        """Return what the listener of this index in the configuration needs, None where it has no TLS."""
        return self._acceptors[index]


def check_security(config: Config) -> Iterator[str]:
    """Read and try everything that the listeners would show; raise TlsError, and yield what works and should not go on so."""
    folders = _folders(config)
    now = time.time()
    shelves = [certificates.load(now) for certificates in folders.values()]
    if os.geteuid() == 0 and config.node.user:
        for certificates in folders.values():
            _check_readable(certificates, config.node.user)
    for listener in config.listener:
        acceptor = _acceptor(config, listener, folders, Handshakes(1, 1))
        try:
            if acceptor is not None:
                acceptor.renew()
        except TlsError as error:
            raise TlsError(f"listener {listener.name or f'{listener.address}:{listener.port}'}: {error}") from error
    for shelf in shelves:
        yield from shelf.warnings(now)


def _folder(config: Config, listener: ListenerSettings) -> str:
    return listener.certificates or config.tls.certificates


def _folders(config: Config) -> dict[str, Certificates]:
    wanted = {_folder(config, listener) for listener in config.listener if listener.tls is not ListenerTls.NONE}
    return {folder: Certificates(Path(folder), config.node.name) for folder in sorted(wanted)}


def _acceptor(
    config: Config, listener: ListenerSettings, folders: dict[str, Certificates], handshakes: Handshakes
) -> Acceptor | None:
    if listener.tls is ListenerTls.NONE:
        return None
    return Acceptor(
        folders[_folder(config, listener)],
        handshakes,
        time.monotonic,
        implicit=listener.tls is ListenerTls.IMPLICIT,
        required=listener.tls is ListenerTls.REQUIRED,
        clients=listener.client_certificates,
        authorities=Path(listener.client_authorities) if listener.client_authorities else None,
        ciphers=config.tls.ciphers,
    )


def _check_readable(certificates: Certificates, user: str) -> None:
    """Make sure that workers, which run as `user`, can read what we have read as root; raise TlsError."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        # said elsewhere
        return
    groups = os.getgrouplist(user, entry.pw_gid)
    for path in certificates.paths():
        barred = next(
            (part for part in (*reversed(path.parents), path) if not _open_to(part, entry.pw_uid, groups)), None
        )
        if barred is not None:
            raise TlsError(
                f"{path} cannot be read by {user} (node.user), as whom workers run: see the rights of {barred}"
            )


def _open_to(path: Path, uid: int, groups: list[int]) -> bool:
    """Whether a user may read a file, or go through a folder, by its mode (no access lists)."""
    status = path.stat()
    wanted = 0o1 if path.is_dir() else 0o4
    if status.st_uid == uid:
        return bool(status.st_mode & wanted << 6)
    return bool(status.st_mode & (wanted << 3 if status.st_gid in groups else wanted))
