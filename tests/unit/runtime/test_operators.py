"""What one worker says cannot take the page of the machine away."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from upesi.observe.metrics import Metrics
from upesi.runtime.operators import Operators
from upesi.spool.listing import QueueTotals


class Machine:
    """Two workers: one that counts, and one whose answer cannot be read."""

    async def ask_all(self, name: str, timeout: float, arguments: object = None) -> dict[int, object]:
        metrics = Metrics()
        metrics.messages_queued.inc(3)
        return {1: msgspec.msgpack.encode([True]), 2: metrics.export()}


class Admin:
    """A spool that holds nothing."""

    def totals(self) -> QueueTotals:
        return QueueTotals(0, 0, 0, 0, None)


async def test_counts_that_cannot_be_read_cost_no_other_counts() -> None:
    """A snapshot that is broken is told of, and the page is made of the others."""
    told: list[tuple[str, BaseException]] = []

    async def in_thread(function: Any) -> Any:
        return function()

    operators = Operators(
        cast(Any, Machine()), cast(Any, Admin()), in_thread, lambda name, error: told.append((name, error))
    )
    page = await operators._exposition()
    assert b"upesi_messages_queued_total 3\n" in page
    assert [(name, type(error)) for name, error in told] == [("metrics", msgspec.ValidationError)]
