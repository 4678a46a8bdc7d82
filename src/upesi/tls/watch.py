"""Looking at folders of certificates from time to time, and taking over what is new and good (TLS-14).

The folder is read in a thread: a slow disk must not hold up sessions. The event `tls.loaded` tells of what is shown from now on,
`tls.refused` of what is broken: once for each change of the folder, not at each look. `tls.warned` tells of certificates that expire or
prove nothing: when the server starts, when they come, and once a day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from upesi.tls.contexts import TlsError
from upesi.tls.folder import Certificates, Shelf

__all__ = ["Watch"]

_DAY = 86400.0

Emit = Callable[[str, dict[str, object]], None]


class Watch:
    """Looks at `folders` every `period` seconds, from `start` to `stop`."""

    __slots__ = ("_emit", "_folders", "_loop", "_now", "_period", "_task", "_told", "_warned", "_warns")

    def __init__(
        self,
        folders: Sequence[Certificates],
        period: float,
        now: Callable[[], float],
        emit: Emit,
        loop: asyncio.AbstractEventLoop,
        *,
        warns: bool = True,
    ) -> None:
        """`now` is the wall clock, in seconds. `warns`: one of the machine's workers does, not each of them."""
        self._folders = folders
        self._period = period
        self._now = now
        self._emit = emit
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._warns = warns
        self._warned = 0.0
        # what was told last of a folder of which nothing could be shown
        self._told: dict[Certificates, str] = {}

    def start(self) -> None:
        """Begin to look."""
        if self._folders:
            self._warn()
            self._task = self._loop.create_task(self._run())

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def look(self) -> None:
        """Look at every folder once."""
        for certificates in self._folders:
            now = self._now()
            before = certificates.shelf
            try:
                shelf = await asyncio.to_thread(Shelf.read, certificates.folder, certificates.hostname, now, before)
            except TlsError as error:
                self._refuse(certificates, str(error))
                continue
            self._told.pop(certificates, None)
            if shelf is not before:
                certificates.shelf = shelf
                self._warned = 0.0
                self._tell(certificates, before)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._period)
            await self.look()
            if self._now() - self._warned > _DAY:
                self._warn()

    def _warn(self) -> None:
        if self._warns:
            self._warned = self._now()
            for certificates in self._folders:
                if certificates.shelf is not None:
                    for text in certificates.shelf.warnings(self._warned):
                        self._emit("tls.warned", {"folder": str(certificates.folder), "text": text})

    def _refuse(self, certificates: Certificates, text: str) -> None:
        if self._told.get(certificates) != text:
            self._told[certificates] = text
            self._emit("tls.refused", {"folder": str(certificates.folder), "text": text})

    def _tell(self, certificates: Certificates, before: Shelf | None) -> None:
        shelf, folder = certificates.shelf, str(certificates.folder)
        assert shelf is not None
        known = {} if before is None else before.problems
        for label, text in sorted(shelf.problems.items()):
            if known.get(label) != text:
                self._emit("tls.refused", {"folder": folder, "text": text})
        old = {} if before is None else before.certificates
        new = [
            certificate.source
            for label, certificate in sorted(shelf.certificates.items())
            if old.get(label) is not certificate
        ]
        if new or len(old) != len(shelf.certificates):
            self._emit("tls.loaded", {"folder": folder, "certificates": len(shelf.certificates), "new": new[:10]})
