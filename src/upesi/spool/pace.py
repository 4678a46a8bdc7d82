"""How long a commit waits for company: what to expect of the next batch by what the last ones were.

Every commit writes the same index pages and hands the interpreter lock to and fro some twelve times, so under load fewer and larger
ones save what is scarce. Those who were answered together come back together. A commit that begins with the first of them leaves
the others waiting for a whole one more, and from then on they go in two groups, by turns: with 50 sessions, and commits that began no
sooner than 10 ms behind each other, batches of 12 and 15 instead of 27. By turns on a busy machine: 246 to 278 us of CPU a relayed message,
now 216 to 258, and 3,700 to 4,600 messages/s, now 5,200 to 5,900.

Where the disk is slow, and the next commit does not wait for a sync (`syncer`), sessions are in more groups than one anyway, and what is
scarce is time: half of the wait relayed 0.72 and 0.79 of what a quick disk does, by turns, the whole one 0.68.

Where little comes, nothing is to be saved: a single session does not wait for company, nor does a message after a pause, and at half
load a burst is forgotten after a few commits: half of the messages are answered within 5 ms, as before.
"""

from __future__ import annotations

__all__ = ["Pace"]

# This part of the largest of the last batches is enough to go on
_COMPANY = 0.8
# Seconds waited for each item of that batch, and at most: on a quick disk, on a slow one
_EACH = 0.0003
_MOST = 0.008
_MOST_SLOW = 0.004
# What is left of the memory of a large batch after each commit
_FADING = 0.7


class Pace:
    """What the writer waits for behind a commit: `enough` items, for `patience` seconds at most."""

    __slots__ = ("_largest", "enough", "patience")

    def __init__(self) -> None:
        self._largest = 0.0
        self.enough = 1
        self.patience = 0.0

    def follow(self, count: int, quick: bool) -> None:
        """Take note of a batch of `count` items, and of whether the disk is quick."""
        largest = self._largest = max(self._largest * _FADING, count)
        self.enough = max(1, int(largest * _COMPANY))
        self.patience = min(_MOST if quick else _MOST_SLOW, _EACH * largest)
