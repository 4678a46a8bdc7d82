"""One worker process as the supervisor holds it: started, spoken to over a socket pair, watched through a pidfd."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from upesi.control.channel import Channel, Handler, Watcher
from upesi.spool.suspects import CRASHED, KILLED

__all__ = ["WorkerProcess"]

# seconds for which the channel of a worker that has ended is still read
_LAST_WORDS = 0.01
# it went by itself (a writer that failed, a supervisor that said so), or somebody asked it to
_BLAMELESS = (None, 0, -signal.SIGTERM, -signal.SIGINT)


class WorkerProcess:
    """A worker. `epoch` names it in the store and in the log; `slot` is its place in the crew; `seen` is when it
    last showed life (monotonic).
    """

    __slots__ = (
        "_ended",
        "_pidfd",
        "_process",
        "channel",
        "epoch",
        "exit_status",
        "hung",
        "retiring",
        "seen",
        "slot",
        "started",
    )

    def __init__(
        self, process: subprocess.Popen[bytes], epoch: int, slot: int, ended: Callable[[WorkerProcess], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self._process = process
        self._ended = ended
        self._pidfd = os.pidfd_open(process.pid)
        self.channel: Channel | None = None
        self.epoch = epoch
        self.slot = slot
        self.retiring = False
        # whether it was killed because it showed no life
        self.hung = False
        self.exit_status: int | None = None
        self.started = self.seen = loop.time()
        # readable when the process has ended: no SIGCHLD handler, no thread, no poll
        loop.add_reader(self._pidfd, self._reap)

    @classmethod
    async def start(
        cls,
        epoch: int,
        slot: int,
        *,
        inherit: Sequence[int],
        handlers: Mapping[str, Handler],
        failed: Watcher,
        ended: Callable[[WorkerProcess], None],
        user: str,
    ) -> WorkerProcess:
        """Start `upesi.runtime.worker` with the descriptors `inherit` and a channel to us; raise OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                uid, gid, groups = _identity(user)
                process = subprocess.Popen(  # noqa: ASYNC220 -- fork and exec of a small process; its end is watched by the loop
                    [sys.executable, "-m", "upesi.runtime.worker", str(theirs.fileno())],
                    pass_fds=[*inherit, theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    # a Control-C at the terminal is for the supervisor, which then drains the workers
                    start_new_session=True,
                    user=uid,
                    group=gid,
                    extra_groups=groups,
                )
            except OSError:
                ours.close()
                raise
        worker = cls(process, epoch, slot, ended)
        ours.setblocking(False)
        worker.channel = await Channel.open(ours, handlers, failed=failed)
        return worker

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not been reaped."""
        return self.exit_status is None

    @property
    def weight(self) -> int:
        """How much its end speaks against the mail that it held (`spool.suspects`); 0 where it ended as it should."""
        if self.hung or self.exit_status not in _BLAMELESS:
            return CRASHED if self.hung or self.exit_status != -signal.SIGKILL else KILLED
        return 0

    def notify(self, name: str, payload: object = None) -> None:
        """Tell it; a worker that has gone or does not read hears nothing (its end, or the watch, is dealt with apart)."""
        if self.channel is not None:
            self.channel.notify(name, payload)

    async def request(self, name: str, arguments: object = None, *, timeout: float) -> object:
        """Ask it; raises what `Channel.request` raises."""
        assert self.channel is not None
        return await self.channel.request(name, arguments, timeout=timeout)

    def kill(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, if it is still there to get it."""
        if self.alive:
            signal.pidfd_send_signal(self._pidfd, sig)

    def _reap(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        self.exit_status = self._process.wait()
        os.close(self._pidfd)
        # what it wrote before its end lies in the channel, perhaps unread: its last counts
        loop.call_later(_LAST_WORDS, self._let_go)

    def _let_go(self) -> None:
        if self.channel is not None:
            self.channel.close()
        self._ended(self)


def _identity(user: str) -> tuple[int | None, int | None, list[int] | None]:
    """Return user id, group id and further groups for a child that is started as root and becomes `user`; Nones to stay as we are."""
    if not user or os.getuid() != 0:
        return None, None, None
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid, [group.gr_gid for group in grp.getgrall() if user in group.gr_mem]
