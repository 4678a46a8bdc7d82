"""`python -m upesi.runtime.worker FD`: one worker process. It is complete: it accepts, queues and delivers.

FD is its end of the channel to the supervisor; listening sockets are inherited beside it. When the supervisor
goes, the worker goes: it has no
lock on the spool of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading

import uvloop

from upesi.control.channel import Call, Channel
from upesi.limits.shares import Holder, ShareGrant, ShareRecall, ShareRequest, ShareReturn
from upesi.mail.errors import UpesiError
from upesi.runtime.house import House
from upesi.runtime.messages import Asked, Configure, Drain, Idle, Shards, Yield
from upesi.runtime.tasks import OwnTasks
from upesi.runtime.wiring import build

__all__ = ["Worker"]

# the supervisor kills after 5 s of silence
_HEARTBEAT = 1.0
# for the supervisor's answer to a question of a session: changes wait until all workers have given back what they have not started
_PATIENCE = 30.0
# for tasks and threads to end when all else has: with asyncio's own runner, one that does not held the worker until it was killed
_LAST_WORDS = 1.0
# long-lived objects are frozen after start; what is made per message has no cycles, so full collections may be rare
# (one over 10,000 sessions was seen to take 35 ms)
_GC_THRESHOLDS = (50_000, 20, 100)

# Threads of the spool come back for the interpreter lock after every statement, and the loop holds it nearly always. 5 ms, the default, is
# longer than a commit takes: measured in turn, 0.5 ms relays 10 to 15 % more; 0.1 ms costs more than it gains
_SWITCH_INTERVAL = 0.0005


class Worker:
    """The worker's end of the channel: configures the house, passes on what the supervisor says, reports back."""

    def __init__(self) -> None:
        self._house: House | None = None
        self._channel: Channel | None = None
        self._gone = asyncio.Event()
        self._tasks = OwnTasks(lambda error: self._failed("task", error))

    async def run(self, sock: socket.socket) -> None:
        """Serve until told to go, or until the supervisor is gone."""
        handlers = {
            "configure": self._configure,
            "open": self._open,
            "shards": self._shards,
            "yield": self._yield,
            "retire": lambda call: self._leave(None),
            "drain": lambda call: self._leave(call.arguments_as(Drain).seconds),
            "recall": self._recall,
            "resume": lambda call: self._the_house.scheduler.resume(),
            "status": lambda call: self._the_house.status(),
            "metrics": lambda call: self._the_house.metrics(),
            "why": self._why,
            "wake": self._wake,
            "share.granted": lambda call: self._the_house.shares.granted(call.arguments_as(ShareGrant)),
            "share.recalled": lambda call: self._the_house.shares.recalled(call.arguments_as(ShareRecall)),
        }
        sock.setblocking(False)
        self._channel = await Channel.open(sock, handlers, failed=self._failed, closed=lambda _: self._gone.set())
        await self._gone.wait()
        if self._house is not None:
            await self._house.close()

    # -- what the supervisor says

    async def _configure(self, call: Call) -> dict[str, object]:
        configure = call.arguments_as(Configure)
        shares = Holder(self._tell_shares)
        self._house = await build(configure, shares, idle=self._tell_idle, broken=self._broken, ask=self._ask)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        self._beat()
        return {"epoch": configure.epoch}

    def _open(self, call: Call) -> None:
        self._tasks.run(self._the_house.open())

    def _shards(self, call: Call) -> None:
        shards = call.arguments_as(Shards)
        self._the_house.set_shards(frozenset(shards.own), shards.others)

    def _yield(self, call: Call) -> None:
        self._the_house.scheduler.yield_shards(frozenset(call.arguments_as(Yield).shards))

    async def _recall(self, call: Call) -> dict[str, object]:
        self._the_house.scheduler.pause()
        await self._the_house.scheduler.recall()
        return {}

    def _why(self, call: Call) -> list[object]:
        reasons = map(self._the_house.scheduler.why, call.arguments_as(Asked).queues)
        return [reason for reason in reasons if reason.reason != "not-ours"]

    def _wake(self, call: Call) -> dict[str, object]:
        self._the_house.scheduler.wake(call.arguments_as(Asked).queues)
        return {}

    def _leave(self, seconds: float | None) -> None:
        self._tasks.run(self._left(seconds))

    async def _left(self, seconds: float | None) -> None:
        """Finish what we hold, then go; without `seconds`, sessions have the drain's time and deliveries all they need.

        Before we are configured we hold nothing.
        """
        if self._house is not None:
            await self._house.leave(seconds)
            # What was counted since the last scrape would go with us. Asked and not told: what lies unread in the channel of a process
            # that has ended is lost where the supervisor writes to it first
            with contextlib.suppress(UpesiError):
                await self._ask("counted", self._house.metrics())
        self._gone.set()

    # -- what we say

    def _tell_shares(self, message: ShareRequest | ShareReturn) -> None:
        name = "share.requested" if isinstance(message, ShareRequest) else "share.returned"
        self._notify(name, message)

    async def _ask(self, name: str, arguments: object) -> object:
        assert self._channel is not None
        return await self._channel.request(name, arguments, timeout=_PATIENCE)

    def _tell_idle(self, shards: frozenset[int]) -> None:
        self._notify("idle", Idle(sorted(shards)))

    def _beat(self) -> None:
        self._notify("alive", None)
        asyncio.get_running_loop().call_later(_HEARTBEAT, self._beat)

    def _notify(self, name: str, payload: object) -> None:
        if self._channel is not None:
            self._channel.notify(name, payload)

    # -- help

    @property
    def _the_house(self) -> House:
        if self._house is None:
            raise UpesiError("not configured yet")
        return self._house

    def _broken(self, error: BaseException) -> None:
        """The spool's writer has ended, or the like: this worker cannot keep its promises; the supervisor starts another."""
        self._failed("worker", error)
        self._gone.set()

    def _failed(self, name: str, error: BaseException) -> None:
        if self._house is not None:
            self._house.events.failure("worker.failed", error, {"request": name})
        else:
            sys.stderr.write(f"worker: {name}: {type(error).__name__}: {error}\n")


async def _main(fd: int) -> None:
    # the terminal's Control-C and a stray SIGTERM go to the supervisor, which tells us in order
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(sig, lambda: None)
    worker = Worker()
    loop.add_signal_handler(signal.SIGTERM, lambda: worker._leave(10.0))
    await worker.run(socket.socket(fileno=fd))


def main() -> int:
    """Run one worker on the channel whose descriptor is the only argument."""
    sys.setswitchinterval(_SWITCH_INTERVAL)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_main(int(sys.argv[1])))
    finally:
        if not _ended(loop):
            # a plugin's task that swallows its cancellation, a thread that it blocks: all of ours is closed, and nobody waits for them
            sys.stderr.flush()
            os._exit(0 if sys.exc_info()[0] is None else 1)
        loop.close()
    return 0


def _ended(loop: asyncio.AbstractEventLoop) -> bool:
    """Cancel what is left; return whether it has ended, tasks and threads, within `_LAST_WORDS`."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        _, tasks = loop.run_until_complete(asyncio.wait(tasks, timeout=_LAST_WORDS))
    try:
        loop.run_until_complete(asyncio.wait_for(loop.shutdown_default_executor(), _LAST_WORDS))
    except TimeoutError:
        return False
    threads = [
        thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon
    ]
    return not tasks and not threads


if __name__ == "__main__":
    sys.exit(main())
