"""Final delivery into Maildirs: one file per message, visible only when it is whole and on the disk.

Written to tmp/, fsynced, renamed into new/, the folder fsynced: after that, and not before, the recipient counts as delivered. A
crash in between leaves a file in tmp/ that no reader shows. What is written is the `final_form`.

Runs in threads of its own, few: a slow disk delays mail, never the event loop (STO-12).
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count

from upesi.delivery.agents.final_form import final_form
from upesi.delivery.agents.local import LocalSending
from upesi.delivery.mailboxes import folder_name
from upesi.delivery.outcomes import deferred, failed
from upesi.mail.envelope import Recipient
from upesi.mail.outcome import Action, Outcome, OutcomeKind
from upesi.mail.route import MaildirRoute
from upesi.scheduler.work import Attempt, Running, Work
from upesi.spool.records import StoredMessage

__all__ = ["MaildirAgent"]

# Threads; an fsync is waiting, not work, and four waiting keep one disk busy
THREADS = 4

_DELIVERED = Outcome(OutcomeKind.DELIVERED, 0, "2.0.0", "delivered to the mailbox", action=Action.DELIVERED)
_LOOP = failed("5.4.6", "mail loops: it has been delivered to this mailbox before")

_PROBLEMS = {
    errno.EDQUOT: deferred("4.2.2", "mailbox is full"),
    errno.ENOSPC: deferred("4.3.1", "no space left for mailboxes"),
}
_OTHER_PROBLEM = deferred("4.3.0", "the mailbox cannot be written")


class MaildirAgent:
    """Delivers below the root of each route.

    `host` is our name, for file names; `now` gives wall-clock seconds, `entropy(n)` n random octets.
    """

    __slots__ = ("_entropy", "_executor", "_host", "_loop", "_now", "_serial")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        host: str,
        now: Callable[[], float],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._loop = loop
        self._host = re.sub(r"[^A-Za-z0-9.-]", "-", host)
        self._now = now
        self._entropy = entropy
        self._serial = count()
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="maildir")

    def start(self, work: Work) -> Running:
        """Deliver what `work` gives."""
        route = work.destination.route
        assert isinstance(route, MaildirRoute)
        root = os.path.dirname(route.path)
        return LocalSending(self._loop, work, lambda attempt: self._deliver(root, attempt))

    def close(self) -> None:
        """Wait for what is being written, then let the threads go."""
        self._executor.shutdown()

    async def _deliver(self, root: str, attempt: Attempt) -> tuple[Outcome, ...]:
        names = [self._file_name() for _ in attempt.recipients]
        return await self._in_thread(lambda: _deliver_all(root, attempt, names))

    async def _in_thread(self, write: Callable[[], tuple[Outcome, ...]]) -> tuple[Outcome, ...]:
        """Return what `write` returns, in a thread; raise RuntimeError where the system has no thread for us, and nothing is written then.

        An executor that can start no thread keeps what it was given, says that it failed, and does it when it has a thread again: the
        message was in the mailbox twice (RES-02).
        """
        done: Future[tuple[Outcome, ...]] = Future()

        def once() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(write())
            except BaseException as error:
                done.set_exception(error)

        try:
            self._executor.submit(once)
        except RuntimeError:
            # unless another thread has begun with it
            if done.cancel():
                raise
        return await asyncio.wrap_future(done)

    def _file_name(self) -> str:
        """Return a name that no other delivery on this or another machine uses."""
        return f"{self._now():.6f}.P{os.getpid()}Q{next(self._serial)}R{self._entropy(6).hex()}.{self._host}"


def _deliver_all(root: str, attempt: Attempt, names: list[str]) -> tuple[Outcome, ...]:
    return tuple(
        _deliver_one(root, attempt.message, recipient, name)
        for recipient, name in zip(attempt.recipients, names, strict=True)
    )


def _deliver_one(root: str, message: StoredMessage, recipient: Recipient, name: str) -> Outcome:
    pieces = final_form(message, recipient)
    if pieces is None:
        return _LOOP
    try:
        folder = os.path.join(root, folder_name(recipient.address.local))
        _make_maildir(folder)
        _write(folder, name, pieces)
    except OSError as error:
        return _PROBLEMS.get(error.errno or 0, _OTHER_PROBLEM)
    return _DELIVERED


def _make_maildir(folder: str) -> None:
    """Create the Maildir if there is none, durably, for our user only."""
    if os.path.isdir(os.path.join(folder, "new")):
        return
    missing = []
    parent = folder
    while not os.path.isdir(parent):
        missing.append(parent)
        parent = os.path.dirname(parent)
    for path in (*reversed(missing), *(os.path.join(folder, part) for part in ("tmp", "cur", "new"))):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue  # made by another delivery just now
        _sync_folder(os.path.dirname(path))


def _write(folder: str, name: str, pieces: Iterator[bytes]) -> None:
    temporary = os.path.join(folder, "tmp", name)
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            for piece in pieces:
                _write_all(file, piece)
            os.fsync(file)
        finally:
            os.close(file)
        os.rename(temporary, os.path.join(folder, "new", name))
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_folder(os.path.join(folder, "new"))


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
