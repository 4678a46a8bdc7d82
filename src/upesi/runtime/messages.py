"""What supervisor and worker say to each other, beside the plain requests and notices of `control.channel`.

Notices to a worker: "shards" (Shards), "open", "yield" (Yield), "retire", "drain" (Drain), "resume", "share.granted", "share.recalled".
Notices from a worker: "alive", "idle" (Idle), "share.requested", "share.returned"; requests: "counted" (its last metrics), "queue.retry".
Requests to a worker: "configure" (Configure), "recall", "status", "metrics", "why" (Asked), "wake" (Asked; no queue: all).
"""

from __future__ import annotations

import msgspec

from upesi.config.settings import Config
from upesi.config.units import Duration, Rate, Size

__all__ = [
    "Asked",
    "Configure",
    "Drain",
    "Idle",
    "InheritedListener",
    "Shards",
    "Yield",
    "decode_config",
    "encode_config",
]


class InheritedListener(msgspec.Struct, frozen=True):
    """One inherited socket: `index` into `Config.listener`, the descriptor, and how many `sockets` that listener has over all workers."""

    index: int
    fd: int
    sockets: int = 1


class Configure(msgspec.Struct, frozen=True):
    """Who the worker is and what it does. `config` is what the supervisor checked: the file `source` may have changed since."""

    config: bytes
    source: str
    epoch: int
    slot: int
    workers: int
    listeners: list[InheritedListener]


class Shards(msgspec.Struct, frozen=True):
    """The shards that this worker owns, and who owns the others (hint name -> shards)."""

    own: list[int]
    others: dict[str, list[int]]


class Yield(msgspec.Struct, frozen=True):
    """Shards to give up as soon as nothing is in flight for them."""

    shards: list[int]


class Idle(msgspec.Struct, frozen=True):
    """Shards for which nothing of this worker is in flight any more."""

    shards: list[int]


class Asked(msgspec.Struct, frozen=True):
    """Queues that an operator asks about, or wants tried now; a worker answers and acts for those that it owns."""

    queues: list[str]


class Drain(msgspec.Struct, frozen=True):
    """Finish within `seconds`, then go."""

    seconds: float


def _plain(value: object) -> object:
    if isinstance(value, Duration):
        return float(value)
    if isinstance(value, Size):
        return int(value)
    if isinstance(value, Rate):
        return str(value)
    raise NotImplementedError(type(value).__name__)


def _units(kind: type, value: object) -> object:
    if kind is Duration and isinstance(value, (int, float)):
        return Duration(value)
    if kind is Size and isinstance(value, int):
        return Size(value)
    if kind is Rate and isinstance(value, str):
        return Rate(value)
    if kind is object:
        return value
    raise NotImplementedError(kind.__name__)


def encode_config(config: Config) -> bytes:
    """Serialise a checked configuration for a worker of the same version."""
    return msgspec.msgpack.encode(config, enc_hook=_plain)


def decode_config(data: bytes) -> Config:
    """Read what `encode_config` wrote."""
    return msgspec.msgpack.decode(data, type=Config, dec_hook=_units)
