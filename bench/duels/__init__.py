"""The duels, one module each; the list is in the order of the report."""

from __future__ import annotations

from typing import Protocol

from bench.duels.attacks import DripDuel, FloodDuel
from bench.duels.checked import CheckedDuel
from bench.duels.discard import DiscardDuel
from bench.duels.domains import DomainsDuel
from bench.duels.hooks import HooksDuel
from bench.duels.idle import IdleDuel
from bench.duels.idle_tls import IdleTlsDuel
from bench.duels.latency import LatencyDuel
from bench.duels.million import MillionDuel
from bench.duels.mime import MimeDuel
from bench.duels.relay import RelayDuel
from bench.duels.signatures import SignaturesDuel
from bench.duels.slow_disk import SlowDiskDuel
from bench.duels.starttls import StarttlsDuel
from bench.load import Load
from bench.result import Result
from bench.setting import Setting

__all__ = ["DUELS", "Duel"]


class Duel(Protocol):
    """A measurement with its own table."""

    @property
    def name(self) -> str:
        """The word after --only."""
        ...

    @property
    def title(self) -> str:
        """The heading."""
        ...

    def run(self, setting: Setting) -> Result:
        """Measure; raise BenchError where that is impossible."""
        ...


DUELS: tuple[Duel, ...] = (
    RelayDuel(
        "relay",
        "Relay through the durable queue, two workers each, 4 kB, connections kept on the way in",
        Load(),
        {"Postfix": 8.0, "Haraka": 6.0},
        cpu=350.0,
    ),
    RelayDuel(
        "relay-new",
        "The same, a new connection for each message",
        Load(kept=False),
        {"Postfix": 3.0, "Haraka": 4.0},
    ),
    RelayDuel("relay-50k", "The same, 50 kB, connections kept", Load(size=50_000), {"Postfix": 4.0}),
    CheckedDuel(),
    DiscardDuel(),
    DomainsDuel(),
    LatencyDuel(),
    HooksDuel(),
    MimeDuel(),
    SignaturesDuel(),
    IdleDuel(),
    StarttlsDuel(),
    IdleTlsDuel(),
    DripDuel(),
    FloodDuel(),
    MillionDuel(),
    SlowDiskDuel(),
)
