"""Places for sessions over all listeners of one worker: so many as its descriptors can bear, some of them kept for those we know (FLD-10).

A listener's own `max_sessions` is beside this: it bounds one listener, this bounds the process.
"""

from __future__ import annotations

__all__ = ["SPARE", "Admission", "places"]

# descriptors that sessions never get: the spool and its bodies, DNS, the log, plugins; and those of deliveries under way
SPARE = 64
_SPARE_PART = 0.2


def places(descriptors: int, open_now: int) -> int:
    """Return how many sessions a process may have that may open so many descriptors and has `open_now` of them."""
    return max(1, descriptors - open_now - max(SPARE, int(descriptors * _SPARE_PART)))


class Admission:
    """`sessions` are open now, of `most`; the last `kept` places are for favoured clients. `wanted` is what `most` is while all is well."""

    __slots__ = ("kept", "most", "sessions", "wanted")

    def __init__(self, most: int, kept: int = 0) -> None:
        self.wanted = self.most = most
        self.kept = kept
        self.sessions = 0

    def enter(self, *, favoured: bool) -> bool:
        """Take a place, if there is one."""
        if self.sessions >= (self.most if favoured else self.most - self.kept):
            return False
        self.sessions += 1
        return True

    def fit(self, free: int) -> None:
        """Open no more than `free` places beyond those that are taken: as many as there are descriptors for."""
        self.most = min(self.wanted, self.sessions + max(0, free))

    def leave(self) -> None:
        """Give a place back."""
        self.sessions -= 1
