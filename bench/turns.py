"""Peers in turn: start those that can be had, warm each up, then run A B C C B A A B C with runs of equal length.

A machine that is shared changes its speed from second to second and drifts from minute to minute. Many short rounds follow the drift better
than a few long ones, and turning the order round keeps anybody from being always the one behind.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from bench.errors import BenchError
from bench.peers.peer import Peer
from bench.setting import Setting

__all__ = ["Turns"]

S = TypeVar("S")

# Sends so many messages to this peer; returns (messages per second, sample)
Run = Callable[[Peer, int], tuple[float, S]]


class Turns(Generic[S]):
    """The samples of each peer, one per round, and the reasons of those that could not take part."""

    def __init__(self) -> None:
        self.samples: dict[str, list[S]] = {}
        self.rates: dict[str, list[float]] = {}
        self.absent: dict[str, str] = {}

    def take(self, setting: Setting, peers: Sequence[Peer], run: Run[S]) -> None:
        """Start `peers` together and let them run in turn; those whose turn it is not are idle."""
        with contextlib.ExitStack() as stack:
            present = [peer for peer in peers if self._started(stack, peer)]
            pace = {peer.name: self._warm_up(setting, peer, run) for peer in present}
            for number in range(setting.rounds):
                order = present[::-1] if number % 2 else present
                for peer in [peer for peer in order if peer.name not in self.absent]:
                    try:
                        rate, sample = run(peer, max(int(pace[peer.name] * setting.seconds), 50))
                    except BenchError as error:
                        self.absent[peer.name] = str(error)
                        continue
                    # The first guess came from a short run; follow the peer, so that runs stay equally long
                    pace[peer.name] = rate
                    self.rates.setdefault(peer.name, []).append(rate)
                    self.samples.setdefault(peer.name, []).append(sample)
                    setting.say(f"  round {number + 1}: {peer.name} {rate:,.0f}/s")
        for name in self.absent:
            self.rates.pop(name, None)
            self.samples.pop(name, None)

    def _started(self, stack: contextlib.ExitStack, peer: Peer) -> bool:
        try:
            stack.enter_context(peer)
        except BenchError as error:
            self.absent[peer.name] = str(error)
            return False
        return True

    def _warm_up(self, setting: Setting, peer: Peer, run: Run[S]) -> float:
        """Return the peer's pace after two runs: a small one to guess by, and one of the wanted length."""
        try:
            rate = run(peer, 200)[0]
            return run(peer, max(int(rate * setting.warm_up), 200))[0]
        except BenchError as error:
            self.absent[peer.name] = str(error)
            return 0.0
