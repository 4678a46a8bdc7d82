"""What must be in a spool after whatever happened, given what its driver was told (the promise Q1)."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from spool_driver import settings

from upesi.mail.ids import MessageId
from upesi.spool.admin import Selector, SpoolAdmin
from upesi.spool.records import SHARDS
from upesi.spool.sqlite import SqliteStore


class Oracle:
    """Remembers over any number of crashes of one spool."""

    def __init__(self) -> None:
        self.sums: dict[str, str] = {}
        self.open: dict[str, set[str]] = {}  # acknowledged: these recipients must be there
        # tried, not acknowledged: all of these or none, but for those whose end was tried
        self.unsure: dict[str, set[str]] = {}
        self.said: dict[str, list[str]] = {}
        # acknowledged when the power was off already, perhaps worked on further: whatever became of these is right
        self._late: set[str] = set()
        # answered with an error, and so taken back as far as nothing hinders it
        self._refused: set[str] = set()
        self.acknowledged = 0
        self.taken = 0
        self.refused = 0
        self.stale = 0
        self._ends: dict[int, tuple[str, set[str], str | None]] = {}

    def hear(self, output: bytes, believed: int | None = None) -> None:
        """Take note of what a driver said. A last line without its end was never said.

        Of what came after the first `believed` octets, only attempts count: the power was off when it was said. (A sync that is under way
        while ext4 is being shut down may return success for what it lost: a plain appender without any database was
        told so in 5 of 300 cuts, never before the cut began.)
        """
        place = 0
        for line in output.split(b"\n")[:-1]:
            place += len(line) + 1
            kind, *rest = json.loads(line)
            for word in rest:
                if isinstance(word, str) and len(word) == 32:
                    self.said.setdefault(word, []).append(line.decode())
            if believed is None or place <= believed or kind.startswith("try"):
                getattr(self, "_" + kind.replace("-", "_"))(*rest)
            elif kind == "ok-accept":
                self._late.add(rest[0])
            elif kind == "ok-end" and (notice := self._ends[rest[0]][2]):
                self._late.add(notice)

    def _ready(self) -> None:
        self._ends.clear()

    def _try_accept(self, id: str, sum: str, recipients: list[str]) -> None:
        self.sums[id] = sum
        self.unsure[id] = set(recipients)

    def _ok_accept(self, id: str) -> None:
        if id in self.unsure:
            self.open[id] = self.unsure.pop(id)
        self.acknowledged += 1

    def _no_accept(self, id: str) -> None:
        self.refused += 1
        self._refused.add(id)
        if id in self.open:
            # an end of it was durable, and it was taken back nevertheless: or not
            self.unsure[id] = self.open.pop(id)

    def _ok_take(self, id: str) -> None:
        ended = [removed for ended, removed, _ in self._ends.values() if ended == id]
        assert self.unsure[id] == set().union(*ended), f"{id}: taken, but not by all its receivers"
        self.taken += 1

    def _try_end(self, number: int, id: str, removed: list[str], notice: str | None, sum: str) -> None:
        self._ends[number] = (id, set(removed), notice)
        if notice:
            self.sums[notice] = sum

    def _ok_end(self, number: int) -> None:
        id, removed, notice = self._ends.pop(number)
        if id in self.unsure and id not in self._refused:
            # what is ended durably lies in front of its end in the log
            self.open[id] = self.unsure.pop(id)
        for names in (self.open, self.unsure):
            if id in names:
                names[id] -= removed
        if notice:
            self.open[notice] = {"r0"}
        self.acknowledged += 1

    def _no_end(self, number: int) -> None:
        self.refused += 1

    def _stale(self, number: int) -> None:
        id = self._ends[number][0]
        if id not in self._refused:
            self.stale += 1
            return
        # it has been taken back, and so there was nothing to end
        self._ends[number] = (id, set(), None)
        self.unsure.pop(id, None)

    def settle(self, found: dict[str, set[str]]) -> None:
        """Compare with what is there, then take that as the truth: what was unsure has been decided."""
        expected = dict(self.open)
        # ends that were tried of what may not be there itself: what is missing of it, with the notices of that
        missing: dict[str, list[tuple[set[str], str | None]]] = {id: [] for id in self.unsure}
        for id, removed, notice in self._ends.values():
            if id in self._late:
                # nobody was told of this end, but where the message is right whatever became of it, so is the notice of its end
                self._late |= {notice} if notice else set()
                continue
            if not removed:
                continue
            there = found.get(id, set()) & removed
            assert there in (set(), removed), f"{id}: half of an attempt's end is there: {there} of {removed}"
            if id not in self.open:
                assert not (there and notice in found), f"{id}: it has not ended, and its notice {notice} is there"
                if not there:
                    missing.setdefault(id, []).append((removed, notice))
                continue
            if notice and notice not in self._late:
                assert (notice in found) == (not there), f"{id}: its end and its notice {notice} are not one"
            if not there:
                expected[id] = expected[id] - removed
                if notice:
                    expected[notice] = {"r0"}
        for id, ends in missing.items():
            if id not in self._late:
                self._settle_unsure(id, ends, found, expected)
        expected |= {id: found[id] for id in self._late & found.keys()}
        expected = {
            id: recipients
            for id, recipients in expected.items()
            if recipients and (id in found or id not in self._late)
        }
        lost = {id: names - found.get(id, set()) for id, names in expected.items() if names - found.get(id, set())}
        back = {id: names - expected.get(id, set()) for id, names in found.items() if names - expected.get(id, set())}
        assert not lost, f"lost: {lost}"
        assert not back, f"ended or refused, but there: {back}; {[self.said.get(id) for id in back]}"
        self.open, self.unsure, self._ends, self._late, self._refused = expected, {}, {}, set(), set()

    def _settle_unsure(
        self,
        id: str,
        ends: list[tuple[set[str], str | None]],
        found: dict[str, set[str]],
        expected: dict[str, set[str]],
    ) -> None:
        """Judge a message that nobody knows to be durable, whose `ends` are of what is not there; add to `expected` what may be."""
        names = found.get(id, set())
        rest = self.unsure.get(id, set()).difference(*(removed for removed, _ in ends))
        assert names in (set(), rest), f"{id}: half a message: {names} of {rest}"
        notices = {notice for _, notice in ends if notice and notice not in self._late}
        came = notices & found.keys()
        if id not in self._refused:
            # it was there, and all that is missing has ended; or it never was, and neither was any end of it
            was = bool(names) or (bool(came) and not rest)
            assert came == (notices if was else set()), f"{id}: of the notices {notices} of its ends there are {came}"
        if names:
            expected[id] = names
        expected.update((notice, {"r0"}) for notice in came)


def body_files(folder: Path) -> set[str]:
    """Return the names of all stored bodies."""
    return {path.name for path in folder.glob("bodies/*/*")}


async def check(folder: Path, oracle: Oracle) -> int:
    """Open the spool after the fact, read every message, compare; return how many there are."""
    admin = SpoolAdmin.open_or_create(settings(folder))
    store = None
    try:
        found: dict[str, set[str]] = {}
        states: dict[str, int] = {}
        for each in admin.list(Selector(), 1_000_000):
            assert not each.problem, each
            names = {recipient.partition("@")[0] for recipient in each.recipients}
            assert not names & found.get(each.message, set()), f"{each.message}: a recipient twice"
            found.setdefault(each.message, set()).update(names)
            assert each.state == "ready"
            states[each.queue] = states.get(each.queue, 0) + 1
        assert {queue.queue: queue.ready for queue in admin.summary()} == states
        assert all(queue.active == queue.held == queue.routing == 0 for queue in admin.summary())
        assert admin.check() == []
        oracle.settle(found)
        epoch = admin.register_member()
        admin.assign(dict.fromkeys(range(SHARDS), epoch))
        store = await SqliteStore.open(folder, epoch, settings(folder), time.time)
        files = body_files(folder)
        for id in found:
            message = await store.load(MessageId(bytes.fromhex(id)))
            assert message is not None, id
            assert hashlib.sha256(b"".join(message.body.chunks())).hexdigest() == oracle.sums[id], f"{id}: wrong octets"
            files.discard(id)
        assert not files, f"bodies without a message: {files}"
        return len(found)
    finally:
        if store is not None:
            await store.close()
        admin.close()
