"""What a duel asks of a server: where it listens, how to start and stop it, what its 250 is worth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from bench.ports import require_free
from bench.processes import Program, wait_for_greeting

__all__ = ["Peer"]


class Peer(ABC):
    """A server in its own folder under the bench's work folder. A context manager: inside, it answers on its port."""

    name: str
    port: int
    # what is on disk when the 250 to the final dot leaves
    guarantee: str
    # what a client says first: the header of a proxy
    preface = b""

    def __init__(self, work: Path, core: int | None = None) -> None:
        self.folder = work / f"{type(self).__name__.lower()}-{self.port}"
        self._core = core
        self._program: Program | None = None

    @abstractmethod
    def argv(self) -> list[str]:
        """Return the command line, after writing what it needs into the folder; raise Unavailable."""

    def version(self) -> str:
        """Return the version for the report."""
        return ""

    @property
    def pid(self) -> int:
        """The root of its process tree."""
        assert self._program is not None
        return self._program.pid

    def __enter__(self) -> Self:
        require_free(self.port)
        self.folder.mkdir(parents=True, exist_ok=True)
        pin = [] if self._core is None else ["taskset", "-c", str(self._core)]
        self._program = Program([*pin, *self.argv()], self.folder / "output.log", cwd=self.folder)
        try:
            wait_for_greeting(self.port, self._program, preface=self.preface)
        except BaseException:
            self._program.stop(5)
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if self._program is not None:
            self._program.stop()
            self._program = None
