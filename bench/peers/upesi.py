"""Ours, started as an operator would: `upesi serve -c FILE`, with the examples from packaging/."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

from bench.errors import BenchError
from bench.peers.peer import Peer
from bench.ports import DISCARD, RELAY

__all__ = ["EXAMPLES", "UpesiConfigured", "UpesiDiscard", "UpesiRelay", "upesi_command"]

EXAMPLES = Path(__file__).parents[2] / "packaging" / "examples"


def upesi_command() -> str:
    """Return the path of the `upesi` command that belongs to this interpreter."""
    command = Path(sys.executable).parent / "upesi"
    if not command.is_file():
        raise BenchError(f"{command} is missing: run `make setup`")
    return str(command)


class _Upesi(Peer):
    guarantee = "each message is committed with an fsync before its 250 (many share one commit)"

    def version(self) -> str:
        return importlib.metadata.version("upesi")


class UpesiRelay(_Upesi):
    """Two workers, durable queue, relaying to the sink."""

    name = "Upesi"
    port = RELAY
    example = "relay-bench.toml"

    def argv(self) -> list[str]:
        """Return `upesi serve` with the spool on the same file system as the peers' queues."""
        return [
            upesi_command(),
            "serve",
            "-c",
            str(EXAMPLES / self.example),
            "--set",
            f"spool.path={self.folder}/spool",
            # for what the others promise: beside a slow disk ours would answer once the sink has the mail (docs/adr/0007-cut-through.md)
            "--set",
            "spool.cut_through=false",
        ]


class UpesiDiscard(UpesiRelay):
    """One worker, default hooks, discarding."""

    port = DISCARD
    example = "discard-bench.toml"
    guarantee = "none wanted: discards"


class UpesiConfigured(_Upesi):
    """With a configuration of the duel's own, which may be changed before it is started."""

    name = "Upesi"
    port = RELAY

    def __init__(self, work: Path, text: str, label: str, wrapper: tuple[str, ...] = ()) -> None:
        super().__init__(work)
        self.folder = work / f"upesi-{label}"
        self._text, self._wrapper = text, wrapper

    @property
    def spool(self) -> Path:
        """Its spool's folder."""
        return self.folder / "spool"

    @property
    def configuration(self) -> Path:
        """The file that it is started with."""
        return self.folder / "upesi.toml"

    def argv(self) -> list[str]:
        """Return `upesi serve`, under the wrapper (`env`) if there is one."""
        self.configuration.write_text(self._text)
        setting = ["--set", f"spool.path={self.spool}"]
        return [*self._wrapper, upesi_command(), "serve", "-c", str(self.configuration), *setting]
