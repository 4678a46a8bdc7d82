"""The plan of shards: complete, balanced, and stable."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from upesi.runtime.shards import plan
from upesi.spool.records import SHARDS

MEMBERS = st.lists(st.integers(1, 99), min_size=1, max_size=9, unique=True)
OWNERS = st.dictionaries(st.integers(0, SHARDS - 1), st.integers(1, 99))


@given(OWNERS, MEMBERS)
def test_every_shard_has_one_living_owner_and_loads_differ_by_at_most_one(
    owners: dict[int, int], members: list[int]
) -> None:
    """No path is without an owner, and no worker has twice the work."""
    target = plan(owners, members)
    assert set(target) == set(range(SHARDS))
    loads = Counter(target.values())
    assert set(loads) <= set(members)
    counts = [loads[member] for member in members]
    assert max(counts) - min(counts) <= 1


@given(OWNERS, MEMBERS)
def test_a_plan_that_holds_already_moves_nothing(owners: dict[int, int], members: list[int]) -> None:
    """A move costs a pause on that path: there are none without need."""
    target = plan(owners, members)
    assert plan(target, members) == target


def test_only_the_dead_members_shards_move() -> None:
    """A takeover touches nothing that lives, beyond what balance needs."""
    before = plan({}, [1, 2])
    after = plan(before, [1])
    assert all(after[shard] == 1 for shard in range(SHARDS))
    third = plan(before, [1, 2, 3])
    moved = [shard for shard in range(SHARDS) if third[shard] != before[shard]]
    assert all(third[shard] == 3 for shard in moved)


def test_without_members_nothing_is_owned() -> None:
    """With every worker down, no shard is promised to anybody."""
    assert plan({1: 5}, []) == {}
