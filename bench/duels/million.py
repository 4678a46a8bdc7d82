"""A million deferred messages in the spool: start-up, memory, and the answer to "why does this one wait?"."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench.client import body_of
from bench.configuration import configured
from bench.errors import BenchError
from bench.peers.upesi import UpesiConfigured, upesi_command
from bench.processes import pss_kb
from bench.result import Claim, Result
from bench.setting import Setting
from upesi.config.settings import SpoolSettings
from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import Recipient, Transmission
from upesi.mail.ids import MessageIds
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.route import MxRoute
from upesi.spool.admin import SpoolAdmin
from upesi.spool.records import Delivery, NewDelivery, NewMessage
from upesi.spool.sqlite import SqliteStore
from upesi.spool.store import SpoolError

__all__ = ["MillionDuel"]

_CONFIG = configured(2)
_PROMISED, _AT_ONCE, _DOMAINS = 1_000_000, 2000, 1000
_WHY = Outcome(OutcomeKind.DEFERRED, 451, "4.7.1", "Greylisted, please try again later", "mx.example.net")


class _Filler:
    """Writes messages through the store's own door, some thousands under way at a time; 1 kB each, over a thousand domains."""

    def __init__(self, store: SqliteStore, count: int) -> None:
        self._store, self._left, self._under_way = store, count, 0
        self._ids, self._body = MessageIds(time.time, os.urandom), MemoryBody(body_of(1000))
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.last = b""

    def more(self) -> None:
        """Hand in as many as may be under way."""
        while self._left and self._under_way < _AT_ONCE:
            self._left -= 1
            self._under_way += 1
            self._store.accept(self._message(), self._accepted)
        if not self._left and not self._under_way and not self.done.done():
            self.done.set_result(None)

    def _accepted(self, error: SpoolError | None, born: Sequence[Delivery]) -> None:
        self._under_way -= 1
        if error is not None and not self.done.done():
            self.done.set_exception(error)
        elif self._under_way < _AT_ONCE // 2:
            self.more()

    def _message(self) -> NewMessage:
        now, domain = time.time(), f"d{self._left % _DOMAINS}.example.net"
        recipient = (Recipient(Address("b", domain)),)
        # Deferred mail comes due over hours; none of it while we measure
        due = now + 3600 + self._left % 7200
        delivery = NewDelivery(f"mx:{domain}", MxRoute(domain), recipient, due, now + 432_000, attempts=2, last=_WHY)
        self.last = self._ids.next()
        sender, trace = Address("a", "example.com"), b"Received: from client.example.com by upesi.example.org\r\n"
        return NewMessage(self.last, now, sender, Transmission(), trace, self._body, (delivery,))


async def _fill(settings: SpoolSettings, count: int) -> str:
    """Put `count` deferred messages into a new spool; return the last one's id."""
    admin = SpoolAdmin.open_or_create(settings)
    try:
        store = await SqliteStore.open(Path(settings.path), admin.register_member(os.getpid()), settings, time.time)
        filler = _Filler(store, count)
        filler.more()
        await filler.done
        await store.close()
    finally:
        admin.close()
    return filler.last.hex()


class MillionDuel:
    """One million messages (--quick: a tenth) of 1 kB for a thousand domains, none due while it is measured."""

    name = "million"
    title = "A million deferred messages"

    def run(self, setting: Setting) -> Result:
        """Fill a spool, start the server on it, weigh it, ask it."""
        count = int(_PROMISED * setting.scale)
        ours = UpesiConfigured(setting.work, _CONFIG, "million")
        ours.folder.mkdir(parents=True)
        start = time.monotonic()
        message = uvloop.run(_fill(SpoolSettings(path=str(ours.spool)), count))
        setting.say(f"  {count:,} messages written in {time.monotonic() - start:.0f} s")
        start = time.monotonic()
        with ours:
            started = time.monotonic() - start
            time.sleep(5)  # let it look at its queue before it is weighed
            memory = pss_kb(ours.pid) / 1000
            why, answer = _why(ours, message)
        columns = ("messages", "start to 220, s", "all processes (Pss), MB", "upesi queue why ID, s")
        result = Result(self.name, self.title, "upesi queue why ID -c upesi.toml", columns)
        result.rows = [(f"{count:,}", f"{started:.2f}", f"{memory:.0f}", f"{why:.2f}")]
        reduced = "" if count >= _PROMISED else f"{count:,} of {_PROMISED:,} messages"
        result.claims = [
            Claim("start", started, "s", most=5.0, reduced=reduced),
            Claim("memory of all processes", memory, "MB", most=250.0, reduced=reduced),
            Claim("upesi queue why ID", why, "s", most=1.0, reduced=reduced),
        ]
        result.notes = [f"Its answer began: {answer[:120]}"]
        return result


def _why(ours: UpesiConfigured, message: str) -> tuple[float, str]:
    argv = [
        upesi_command(),
        "queue",
        "why",
        message,
        "-c",
        str(ours.configuration),
        "--set",
        f"spool.path={ours.spool}",
    ]
    start = time.monotonic()
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BenchError(f"upesi queue why failed: {result.stderr.strip()[-200:]}")
    return time.monotonic() - start, " ".join(result.stdout.split())
