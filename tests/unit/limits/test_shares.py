"""Whole shares of a machine's limit: never more in use than there are, and everybody gets a turn."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from upesi.limits.shares import Allocator, Holder, ShareGrant, ShareRecall, ShareRequest, ShareReturn
from upesi.mail.errors import InvariantError


def test_shares_are_divided_evenly() -> None:
    """Two that want all get half each."""
    allocator = Allocator(10)
    assert allocator.join("a", 10, 0.0) == [("a", ShareGrant(10))]
    assert allocator.join("b", 10, 0.0) == [("a", ShareRecall(5))]
    assert allocator.returned("a", ShareReturn(5), 0.0) == [("b", ShareGrant(5))]


def test_who_wants_little_leaves_the_rest_to_others() -> None:
    """Max-min fairness: small wishes are met whole."""
    allocator = Allocator(10)
    allocator.join("a", 2, 0.0)
    allocator.join("b", 100, 0.0)
    assert (allocator.held("a"), allocator.held("b")) == (2, 8)


def test_one_share_goes_round() -> None:
    """N = 1 with two workers: each has it for a turn, never both (Q6)."""
    allocator = Allocator(1, turn=1.0)
    allocator.join("a", 1, 0.0)
    assert allocator.join("b", 1, 0.5) == []
    assert allocator.balance(1.0) == [("a", ShareRecall(1))]
    assert allocator.balance(1.1) == []
    assert allocator.returned("a", ShareReturn(1), 1.2) == [("b", ShareGrant(1))]
    assert allocator.balance(2.3) == [("b", ShareRecall(1))]


def test_a_dead_members_shares_return() -> None:
    """What a worker held is free when its process is known to be gone."""
    allocator = Allocator(4)
    allocator.join("a", 4, 0.0)
    allocator.join("b", 4, 0.0)
    assert allocator.gone("a", 1.0) == [("b", ShareGrant(4))]
    assert allocator.free == 0


def test_a_return_of_more_than_was_recalled_is_refused() -> None:
    """A member out of step may not make shares."""
    allocator = Allocator(4)
    allocator.join("a", 4, 0.0)
    with pytest.raises(InvariantError):
        allocator.returned("a", ShareReturn(1), 0.0)


def test_a_lower_total_is_reached_by_recalls() -> None:
    """A reload that lowers the limit takes back what is too much, as it is released."""
    allocator = Allocator(4)
    allocator.join("a", 4, 0.0)
    allocator.total = 1
    assert allocator.balance(0.0) == [("a", ShareRecall(3))]
    assert allocator.returned("a", ShareReturn(3), 0.0) == []
    assert allocator.held("a") == 1


def test_a_holder_uses_no_more_than_it_holds_and_returns_what_is_recalled() -> None:
    """Idle shares go back at once, used ones when they are released."""
    sent: list[ShareRequest | ShareReturn] = []
    holder = Holder(sent.append)
    assert not holder.acquire()
    holder.granted(ShareGrant(2))
    assert holder.acquire()
    holder.recalled(ShareRecall(2))
    assert sent == [ShareReturn(1)]
    assert not holder.acquire()
    holder.release()
    assert sent == [ShareReturn(1), ShareReturn(1)]
    assert holder.held == holder.owed == 0


def test_wishes_are_sent_only_when_they_change() -> None:
    """The control socket is not filled with repetitions."""
    sent: list[ShareRequest | ShareReturn] = []
    holder = Holder(sent.append)
    for n in (3, 3, 4, 4):
        holder.want(n)
    assert sent == [ShareRequest(3), ShareRequest(4)]


def test_the_user_hears_of_changes() -> None:
    """Grants and recalls are followed by a call."""
    calls: list[int] = []
    holder = Holder(lambda message: None)
    holder.changed = lambda: calls.append(holder.held)
    holder.granted(ShareGrant(2))
    holder.recalled(ShareRecall(1))
    assert calls == [2, 1]


class Machine(RuleBasedStateMachine):
    """Workers come, use, ask, release and die; messages are delayed at will, in order."""

    members = Bundle("members")
    total = 3

    def __init__(self) -> None:
        super().__init__()
        self.allocator = Allocator(self.total)
        self.now = 0.0
        self.count = 0
        self.holders: dict[str, Holder] = {}
        self.up: dict[str, deque[ShareRequest | ShareReturn]] = {}
        self.down: dict[str, deque[ShareGrant | ShareRecall]] = {}

    def _send(self, messages: list[tuple[str, ShareGrant | ShareRecall]]) -> None:
        for name, message in messages:
            self.down[name].append(message)

    @rule(target=members, want=st.integers(0, 5))
    def join(self, want: int) -> str:
        name = f"w{self.count}"
        self.count += 1
        self.up[name], self.down[name] = deque(), deque()
        self.holders[name] = Holder(self.up[name].append)
        self._send(self.allocator.join(name, want, self.now))
        return name

    @rule(name=members)
    def acquire(self, name: str) -> None:
        self.holders[name].acquire()

    @rule(name=members)
    def release(self, name: str) -> None:
        if self.holders[name].in_use:
            self.holders[name].release()

    @rule(name=members, want=st.integers(0, 5))
    def want(self, name: str, want: int) -> None:
        self.holders[name].want(want)

    @rule(name=members)
    def carry_up(self, name: str) -> None:
        if self.up[name]:
            message = self.up[name].popleft()
            if isinstance(message, ShareRequest):
                self._send(self.allocator.request(name, message, self.now))
            else:
                self._send(self.allocator.returned(name, message, self.now))

    @rule(name=members)
    def carry_down(self, name: str) -> None:
        if self.down[name]:
            message = self.down[name].popleft()
            if isinstance(message, ShareGrant):
                self.holders[name].granted(message)
            else:
                self.holders[name].recalled(message)

    @rule(seconds=st.floats(0.1, 2.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self._send(self.allocator.balance(self.now))

    @rule(name=consumes(members))
    def die(self, name: str) -> None:
        del self.holders[name], self.up[name], self.down[name]
        self._send(self.allocator.gone(name, self.now))

    @invariant()
    def never_more_than_there_are(self) -> None:
        assert sum(holder.in_use for holder in self.holders.values()) <= self.total
        assert all(0 <= holder.in_use <= holder.held for holder in self.holders.values())

    @invariant()
    def every_share_is_in_one_place(self) -> None:
        for name, holder in self.holders.items():
            grants = sum(message.n for message in self.down[name] if isinstance(message, ShareGrant))
            returns = sum(message.n for message in self.up[name] if isinstance(message, ShareReturn))
            assert self.allocator.held(name) == holder.held + grants + returns
        assert 0 <= self.allocator.free <= self.total

    def teardown(self) -> None:
        """When all users let go and every message arrives, each one that wants a share gets a turn."""
        had: set[str] = set()
        for name in self.holders:
            while self.holders[name].in_use:
                self.holders[name].release()
            self.holders[name].want(2)
        for _ in range(60 * (1 + len(self.holders))):
            for name, holder in self.holders.items():
                for _ in range(20):
                    self.carry_up(name)
                    self.carry_down(name)
                if holder.held:
                    had.add(name)
            self.time_passes(0.4)
        assert had == set(self.holders)


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestShares = Machine.TestCase
