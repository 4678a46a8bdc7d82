"""TLS of the listeners, as their configuration has it: folders of certificates read, acceptors made, folders watched.

A start and a reload are refused while anything is broken (`check_security`). A worker that is born later, in the place of one that died,
shows what is good, and without anything good goes on without TLS: STARTTLS is answered 454, implicit TLS is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from upesi.config.problems import SOMEWHERE, ConfigError, Problem
from upesi.config.settings import Config, ListenerSettings, ListenerTls
from upesi.hooks.guard import Emit
from upesi.runtime.readable import check_readable
from upesi.tls.acceptor import Acceptor, Handshakes
from upesi.tls.contexts import TlsError, server_context
from upesi.tls.folder import Certificates
from upesi.tls.watch import Watch

__all__ = ["Security", "check_security"]


class Security:
    """The acceptors of one worker. `watch` is to be started and stopped."""

    def __init__(self, config: Config, emit: Emit, loop: asyncio.AbstractEventLoop, *, warns: bool = True) -> None:
        """Read all certificates; what is broken is told as `tls.refused`. One worker of the machine `warns`."""
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
        self.watch = Watch(list(folders.values()), config.tls.watch, time.time, emit, loop, warns=warns)

    def acceptor(self, index: int) -> Acceptor | None:
        """Return what the listener of this index in the configuration needs, None where it has no TLS."""
        return self._acceptors[index]


def check_security(config: Config) -> Iterator[Problem]:
    """Read and try everything that the listeners would show; raise ConfigError, and yield what works and should not go on so."""
    folders = _folders(config)
    now = time.time()
    if folders:
        with _blamed("tls.ciphers"):
            server_context(ciphers=config.tls.ciphers)
    shelves = []
    for folder, certificates in folders.items():
        with _blamed(_key_of(config, folder)):
            shelves.append(certificates.load(now))
    if os.geteuid() == 0 and config.node.user:
        for certificates in folders.values():
            for path in certificates.paths():
                check_readable(path, config.node.user)
    for index, listener in enumerate(config.listener):
        acceptor = _acceptor(config, listener, folders, Handshakes(1, 1))
        # certificates and ciphers are good by now, each by itself
        with _blamed(f"listener[{index}]{'.client_authorities' if listener.client_authorities else ''}"):
            if acceptor is not None:
                acceptor.renew()
    for folder, shelf in zip(folders, shelves, strict=True):
        for text in shelf.warnings(now):
            yield Problem(SOMEWHERE, 0, _key_of(config, folder), text)


@contextlib.contextmanager
def _blamed(key: str) -> Iterator[None]:
    """Say of what cannot be used which key it belongs to."""
    try:
        yield
    except TlsError as error:
        raise ConfigError([Problem(SOMEWHERE, 0, key, line) for line in str(error).splitlines()]) from error


def _key_of(config: Config, folder: str) -> str:
    """Return the key that names a folder."""
    own = (f"listener[{index}].certificates" for index, one in enumerate(config.listener) if one.certificates == folder)
    return "tls.certificates" if folder == config.tls.certificates else next(own)


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
