"""One server that is asked: its sockets, what is known of its abilities, and whether it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from upesi.dns.ports import Ports
from upesi.dns.servers import Server

__all__ = ["Emit", "Upstream"]

# event ("dns.server_silent") and fields
Emit = Callable[[str, dict[str, object]], None]

# Questions without an answer, and seconds without any answer, after which a server is asked behind the others. The second is what keeps
# a stranger whose own name servers are silent from moving a server that answers everybody else
SILENT_AFTER = 3
SILENT_FOR = 2.0

# Seconds until it is tried first again, by one question; twice as many after each
PAUSE = 2.0
MAX_PAUSE = 60.0


class Upstream:
    """A server. `trusted` says that its AD bit counts; `plain` that it knows no EDNS, `folds_case` that it does not repeat capitals.

    `questions`, `timeouts`, `failures` (refused, unreachable) and `by_tcp` count for ever, for metrics.
    """

    __slots__ = (
        "_down_until", "_emit", "_heard", "_loop", "_pause", "_unanswered", "address", "by_tcp", "failures", "folds_case", "label",
        "plain", "ports", "questions", "timeouts", "trusted",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: Server,
        entropy: Callable[[int], bytes],
        emit: Emit,
        *,
        trusted: bool,
    ) -> None:
        self._loop = loop
        self._emit = emit
        self.address = address
        self.label = f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
        self.trusted = trusted
        self.ports = Ports(loop, address, entropy)
        self.plain = False
        self.folds_case = False
        self.questions = 0
        self.timeouts = 0
        self.failures = 0
        self.by_tcp = 0
        self._unanswered = 0
        self._heard = loop.time()
        self._down_until = 0.0
        self._pause = PAUSE

    def asked_first(self) -> bool:
        """Whether the next question goes here first; of a silent server, True once for each pause."""
        if not self._down_until:
            return True
        now = self._loop.time()
        if now < self._down_until:
            return False
        self._pause = min(2 * self._pause, MAX_PAUSE)
        self._down_until = now + self._pause
        return True

    def heard(self) -> None:
        """Note that it answered, be it a failure."""
        self._heard = self._loop.time()
        self._unanswered = 0
        if self._down_until:
            self._down_until = 0.0
            self._pause = PAUSE
            self._emit("dns.server_answers", {"server": self.label})

    def missed(self) -> None:
        """Note that a question had no answer in its time."""
        self.timeouts += 1
        self._unheard()

    def failed(self) -> None:
        """Note that it could not be reached, or answers nobody."""
        self.failures += 1
        self._unheard()

    def _unheard(self) -> None:
        self._unanswered += 1
        if self._down_until or self._unanswered < SILENT_AFTER:
            return
        now = self._loop.time()
        if now - self._heard >= SILENT_FOR:
            self._down_until = now + self._pause
            self._emit("dns.server_silent", {"server": self.label, "questions": self._unanswered})
