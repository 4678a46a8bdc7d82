"""A limit that spans processes, divided into whole shares that move only after they were given up (QUEUE.md, Limits).

One `Allocator` (in the supervisor) owns the total; each worker has a `Holder` and may use what it holds. A share is in exactly one place:
free at the allocator, or granted (in the message or at the holder) until its return arrives. So the sum in use never exceeds the total,
whatever is delayed; only a member that is known to be gone (its process reaped, its connections closed) loses shares without a return.

The four messages travel over one ordered stream per member. Pure: `now` is the allocator's monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from upesi.mail.errors import InvariantError

__all__ = ["Allocator", "Holder", "ShareGrant", "ShareRecall", "ShareRequest", "ShareReturn"]

# How long a member keeps its only share while others wait for one: a connection is worth keeping for a while, but nobody waits long
TURN = 1.0


class ShareRequest(msgspec.Struct, frozen=True, gc=False, tag="share.request"):
    """Holder to allocator: I could use `want` shares in all (a state, not an increment)."""

    want: int


class ShareReturn(msgspec.Struct, frozen=True, gc=False, tag="share.return"):
    """Holder to allocator: `n` shares are given up and no longer used."""

    n: int


class ShareGrant(msgspec.Struct, frozen=True, gc=False, tag="share.grant"):
    """Allocator to holder: `n` more shares."""

    n: int


class ShareRecall(msgspec.Struct, frozen=True, gc=False, tag="share.recall"):
    """Allocator to holder: give up `n` more shares as soon as they are not in use."""

    n: int


class _Member:
    """What the allocator knows of one holder; `held` counts grants still on their way."""

    __slots__ = ("held", "recalled", "since", "want")

    def __init__(self, now: float) -> None:
        self.held = 0
        self.want = 0
        self.recalled = 0
        self.since = now  # since when it has held something, or nothing: whose turn it is


class Allocator:
    """Divides `total` shares between members: as even as their wishes allow (max-min fair), and in turns where there are too few."""

    def __init__(self, total: int, turn: float = TURN) -> None:
        self.total = total
        self._turn = turn
        self._members: dict[str, _Member] = {}

    @property
    def free(self) -> int:
        """Shares that nobody holds."""
        return self.total - sum(member.held for member in self._members.values())

    def held(self, member: str) -> int:
        """Shares that `member` has, counting grants on their way."""
        return self._members[member].held

    def join(self, member: str, want: int, now: float) -> list[tuple[str, ShareGrant | ShareRecall]]:
        """Take in a new member that could use `want`; return the messages to send."""
        if member in self._members:
            raise InvariantError(f"member {member} is here already")
        self._members[member] = _Member(now)
        return self.request(member, ShareRequest(want), now)

    def request(self, member: str, message: ShareRequest, now: float) -> list[tuple[str, ShareGrant | ShareRecall]]:
        """Note a member's wish; return the messages to send."""
        self._members[member].want = max(0, min(message.want, self.total))
        return self.balance(now)

    def returned(self, member: str, message: ShareReturn, now: float) -> list[tuple[str, ShareGrant | ShareRecall]]:
        """Take shares back; return the messages to send. Raise InvariantError for more than were recalled: the member is out of step."""
        entry = self._members[member]
        if not 0 < message.n <= entry.recalled:
            raise InvariantError(f"member {member} returned {message.n} shares, {entry.recalled} were recalled")
        entry.held -= message.n
        entry.recalled -= message.n
        if not entry.held:
            entry.since = now
        return self.balance(now)

    def gone(self, member: str, now: float) -> list[tuple[str, ShareGrant | ShareRecall]]:
        """Take back all of a member whose connections are known to be closed; return the messages to send."""
        self._members.pop(member, None)
        return self.balance(now)

    def balance(self, now: float) -> list[tuple[str, ShareGrant | ShareRecall]]:
        """Move shares towards the fair division; also called every second or so, because turns end by time."""
        targets = self._targets(now)
        return self._grants(targets, now) + self._recalls(targets)

    def _grants(self, targets: dict[str, int], now: float) -> list[tuple[str, ShareGrant | ShareRecall]]:
        messages: list[tuple[str, ShareGrant | ShareRecall]] = []
        free = self.free
        for name, target in targets.items():
            member = self._members[name]
            # while a recall is under way to it, it gets nothing: a share would only turn round
            n = 0 if member.recalled else min(free, target - member.held)
            if n > 0:
                if not member.held:
                    member.since = now
                member.held += n
                free -= n
                messages.append((name, ShareGrant(n)))
        return messages

    def _recalls(self, targets: dict[str, int]) -> list[tuple[str, ShareGrant | ShareRecall]]:
        members = self._members
        missing = sum(max(0, target - members[name].held) for name, target in targets.items())
        missing -= self.free + sum(member.recalled for member in members.values())
        messages: list[tuple[str, ShareGrant | ShareRecall]] = []
        for name in sorted(members, key=lambda name: targets[name] - members[name].held):
            member = members[name]
            n = min(missing, member.held - member.recalled - targets[name])
            if n > 0:
                member.recalled += n
                missing -= n
                messages.append((name, ShareRecall(n)))
        return messages

    def _targets(self, now: float) -> dict[str, int]:
        """Return the fair division: raise everybody one by one until wishes or shares end. The order decides who gets the odd ones."""
        order = sorted(self._members, key=lambda name: self._rank(self._members[name], now))
        targets = dict.fromkeys(order, 0)
        left = self.total
        hungry = [name for name in order if self._members[name].want]
        while left and hungry:
            step = max(1, min(left // len(hungry), min(self._members[name].want - targets[name] for name in hungry)))
            for name in hungry[:left] if step == 1 else hungry:
                targets[name] += step
                left -= step
            hungry = [name for name in hungry if targets[name] < self._members[name].want]
        return targets

    def _rank(self, member: _Member, now: float) -> tuple[int, float]:
        if member.held and now - member.since < self._turn:
            return 0, member.since
        return (2 if member.held else 1), member.since


class Holder:
    """A worker's side: uses what it holds, asks for more, gives up what is recalled.

    `send` puts a message on the stream to the allocator; `changed`, set by the user, is called when more may be taken or some must be
    given up. A worker that is alone gets `held` = the total and a `send` that is never called with effect.
    """

    __slots__ = ("_send", "changed", "held", "in_use", "owed", "wanted")

    def __init__(self, send: Callable[[ShareRequest | ShareReturn], None], held: int = 0) -> None:
        self._send = send
        self.held = held
        self.in_use = 0
        self.owed = 0  # recalled and still in use
        self.wanted = held
        self.changed: Callable[[], None] | None = None

    def acquire(self) -> bool:
        """Use one share; False where none is at hand."""
        if self.owed or self.in_use >= self.held:
            return False
        self.in_use += 1
        return True

    def release(self) -> None:
        """Stop using one share; a recalled one goes back at once. Raise InvariantError where none is in use."""
        if self.in_use < 1:
            raise InvariantError("a share was released that was not in use")
        self.in_use -= 1
        if self.owed:
            self.owed -= 1
            self._give_up(1)

    def want(self, n: int) -> None:
        """Say how many shares could be used in all; a message goes only when that changed."""
        if n != self.wanted:
            self.wanted = n
            self._send(ShareRequest(n))

    def granted(self, message: ShareGrant) -> None:
        """Take in shares."""
        self.held += message.n
        self._tell()

    def recalled(self, message: ShareRecall) -> None:
        """Give up what is idle now, and the rest as it is released."""
        idle = min(message.n, self.held - self.in_use)
        self.owed += message.n - idle
        if idle:
            self._give_up(idle)
        self._tell()

    def _give_up(self, n: int) -> None:
        self.held -= n
        self._send(ShareReturn(n))

    def _tell(self) -> None:
        if self.changed is not None:
            self.changed()
