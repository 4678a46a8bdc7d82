"""Message data in memory, over all sessions: a budget, and disk beyond half of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from upesi.limits.memory import MemoryBudget
from upesi.mail.body import MemoryBody
from upesi.spool.bodies import BodyFolder
from upesi.spool.body_file import FileBody


@pytest.fixture
def folder(tmp_path: Path) -> BodyFolder:
    made = BodyFolder(tmp_path, 128_000)
    made.create()
    return made


def test_bodies_are_counted_until_they_are_let_go(folder: BodyFolder) -> None:
    """What was finished is still in memory until its session discards it."""
    budget = MemoryBudget(1_000_000)
    writer = folder.writer(budget)
    writer.write(bytes(100))
    writer.write(bytes(50))
    assert budget.used == 150
    assert isinstance(writer.finish(), MemoryBody)
    assert budget.used == 150
    writer.discard()
    assert budget.used == 0


def test_a_body_on_disk_is_not_counted(folder: BodyFolder) -> None:
    """Past the inline limit a body is in a file; what was written there is not in memory."""
    budget = MemoryBudget(10_000_000)
    writer = folder.writer(budget)
    for _ in range(30):
        writer.write(bytes(10_000))
    assert budget.used <= 262_144
    body = writer.finish()
    assert isinstance(body, FileBody)
    assert body.size == 300_000
    assert budget.used == 0
    writer.discard()
    body.close()


def test_500_large_messages_at_once_stay_within_the_budget(folder: BodyFolder) -> None:
    """FLD-07: whatever 500 sessions send at once, memory stays within the budget: bodies go to disk as they come."""
    budget = MemoryBudget(16_000_000)
    writers = [folder.writer(budget) for _ in range(500)]
    most = 0
    for _ in range(40):
        for writer in writers:
            writer.write(bytes(10_000))
            most = max(most, budget.used)
    assert most <= budget.limit + 10_000
    bodies = [writer.finish() for writer in writers]
    assert {body.size for body in bodies} == {400_000}
    for writer in writers:
        writer.discard()
    assert budget.used == 0


def test_small_bodies_stay_in_memory_where_it_is_tight(folder: BodyFolder) -> None:
    """A file costs two syncs: small honest mail must not pay for those who dawdle with large mail."""
    budget = MemoryBudget(1000)
    budget.used = 900
    assert budget.tight
    writer = folder.writer(budget)
    writer.write(bytes(4_000))
    assert isinstance(writer.finish(), MemoryBody)
    writer.discard()
    assert budget.used == 900


def test_past_the_budget_nothing_is_begun() -> None:
    """FLD-07: 452 4.3.1 at DATA is for whoever asks `spent` before it begins."""
    budget = MemoryBudget(1000)
    assert not budget.spent
    budget.used = 1001
    assert budget.spent
    budget.used = 0
    budget.full = True
    assert budget.spent
