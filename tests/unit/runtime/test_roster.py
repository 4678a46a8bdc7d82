"""The roster: a shard has at most one owner, moves when idle, and is never left alone while somebody lives."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from upesi.runtime.roster import Moves, Roster
from upesi.spool.records import SHARDS


def test_the_first_worker_owns_every_shard() -> None:
    """One worker is enough for all mail."""
    roster = Roster()
    moves = roster.joined([1])
    assert moves.assign == dict.fromkeys(range(SHARDS), 1)
    assert moves.yields == {}


def test_a_shard_moves_between_the_living_only_when_idle() -> None:
    """Q3: two workers never hold connections of one path (ADR 2)."""
    roster = Roster()
    roster.joined([1])
    moves = roster.joined([2])
    assert moves.assign == {}
    (asked,) = moves.yields.values()
    assert len(asked) == SHARDS // 2
    shard = min(asked)
    assert roster.idle(1, [shard]).assign == {shard: 2}


def test_a_dead_workers_shards_move_at_once() -> None:
    """Q5: mail of a dead worker has a new owner at once."""
    roster = Roster()
    roster.joined([1, 2])
    lost = roster.shards_of(1)
    assert roster.gone(1).assign == dict.fromkeys(lost, 2)


def test_a_shard_that_was_not_asked_for_does_not_move() -> None:
    """A late or false report changes nothing."""
    roster = Roster()
    roster.joined([1])
    assert roster.idle(1, range(SHARDS)) == Moves({}, {})
    assert roster.idle(7, [0]) == Moves({}, {})


def test_a_retiring_worker_gives_everything_to_the_new_generation() -> None:
    """Reload: old workers end up owning nothing."""
    roster = Roster()
    roster.joined([1, 2])
    roster.joined([3, 4])
    moves = roster.retire([1, 2])
    for epoch in (1, 2):
        roster.idle(epoch, [shard for shard, owner in roster.owners.items() if owner == epoch])
    assert set(roster.owners.values()) == {3, 4}
    assert set(moves.yields) <= {1, 2}


class Crew(RuleBasedStateMachine):
    """Random joins, retirements, deaths and idle reports."""

    workers = Bundle("workers")

    def __init__(self) -> None:
        super().__init__()
        self.roster = Roster()
        self.next = 0
        self.alive: set[int] = set()
        # the store's view and the workers' own views, as the moves change them
        self.owner: dict[int, int] = {}
        self.asked: dict[int, set[int]] = {}

    def _apply(self, moves: Moves) -> None:
        for shard, epoch in moves.assign.items():
            assert shard not in self.owner, "assigned while somebody still held it"
            assert epoch in self.alive
            self.owner[shard] = epoch
        for epoch, shards in moves.yields.items():
            assert all(self.owner[shard] == epoch for shard in shards)
            self.asked.setdefault(epoch, set()).update(shards)

    @rule(target=workers)
    def join(self) -> int:
        self.next += 1
        self.alive.add(self.next)
        self._apply(self.roster.joined([self.next]))
        return self.next

    @rule(worker=workers)
    def retire(self, worker: int) -> None:
        self._apply(self.roster.retire([worker]))

    @rule(worker=consumes(workers))
    def die(self, worker: int) -> None:
        self.alive.discard(worker)
        self.asked.pop(worker, None)
        self.owner = {shard: owner for shard, owner in self.owner.items() if owner != worker}
        self._apply(self.roster.gone(worker))

    @rule(worker=workers, part=st.integers(1, SHARDS))
    def report_idle(self, worker: int, part: int) -> None:
        done = sorted(self.asked.get(worker, set()))[:part]
        for shard in done:
            self.asked[worker].discard(shard)
            del self.owner[shard]
        self._apply(self.roster.idle(worker, done))

    @invariant()
    def nothing_is_ownerless_while_an_active_worker_lives(self) -> None:
        assert self.owner == self.roster.owners
        if self.roster.active:
            assert set(self.owner) == set(range(SHARDS))


TestCrew = Crew.TestCase
TestCrew.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
