"""Delivery to a program: the message on its standard input, its exit status is the answer (`upesi.delivery.programs`).

One process for each recipient, in a session and process group of its own, with an environment of its own, in the root folder. What it
writes is read to the end and kept up to a bound. At its deadline, and when the worker ends, the whole group is killed, and always before
its input is closed: the end of input must mean the end of the message. (If the worker itself is killed, the program finds an early end;
the message is then delivered again, as after any crash.)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from subprocess import PIPE

from upesi.delivery.agents.final_form import final_form
from upesi.delivery.agents.local import LocalSending
from upesi.delivery.outcomes import deferred, failed
from upesi.delivery.programs import Program, outcome_of_exit
from upesi.mail.envelope import Recipient
from upesi.mail.outcome import Outcome
from upesi.mail.route import PipeRoute
from upesi.scheduler.work import Attempt, Running, Work
from upesi.spool.records import StoredMessage

__all__ = ["MAX_OUTPUT", "PipeAgent"]

# Octets of a program's output that are kept for the log and the notice; the rest is read and forgotten, so that no program waits for us
MAX_OUTPUT = 1024
# Recipients of one attempt: they are served one after the other, and their outcomes are recorded together
MOST_AT_ONCE = 10
# Seconds between asking a process to end and making it
GRACE = 5.0
_READ = 65536
# reads of what is still in the pipe when the process has ended; a pipe holds 64 KiB
_LAST_READS = 4

# of what a plugin has made: a NUL, or half a character
_UNSPEAKABLE = failed("5.1.3", "the address is none that a program can be given")
_LOOP = failed("5.4.6", "mail loops: it has been delivered to this recipient by a program before")


class PipeAgent:
    """Runs `programs`, by their names."""

    __slots__ = ("_closed", "_groups", "_loop", "_programs")

    def __init__(self, loop: asyncio.AbstractEventLoop, programs: Mapping[str, Program]) -> None:
        self._loop = loop
        self._programs = programs
        self._closed = False
        # process groups that run
        self._groups: set[int] = set()

    def start(self, work: Work) -> Running:
        """Deliver what `work` gives."""
        route = work.destination.route
        assert isinstance(route, PipeRoute)
        work.restrict(MOST_AT_ONCE)
        name = route.program
        return LocalSending(self._loop, work, lambda attempt: self._deliver(name, attempt))

    def close(self) -> None:
        """End whatever runs, and whatever is being started."""
        self._closed = True
        for group in tuple(self._groups):
            _signal(group, signal.SIGKILL)

    async def _deliver(self, name: str, attempt: Attempt) -> tuple[Outcome, ...]:
        program = self._programs.get(name)
        if program is None:
            # a plugin's route, or a configuration that has changed: it waits until there is one
            return (deferred("4.3.5", f"no program {name} is configured"),) * len(attempt.recipients)
        return tuple([await self._run(program, attempt.message, recipient) for recipient in attempt.recipients])

    async def _run(self, program: Program, message: StoredMessage, recipient: Recipient) -> Outcome:
        arguments = program.arguments(message, recipient)
        if isinstance(arguments, Outcome):
            return arguments
        pieces = final_form(message, recipient)
        if pieces is None:
            return _LOOP
        output = _Output(self._loop)
        try:
            process = await asyncio.create_subprocess_exec(
                *arguments, stdin=PIPE, stdout=output.write_end, stderr=output.write_end,
                start_new_session=True, cwd="/", env=program.environment(message, recipient),
            )  # fmt: skip
        except OSError as error:
            output.close()
            return deferred("4.3.5", f"program {program.name} cannot be started: {os.strerror(error.errno or 0)}")
        except ValueError:
            output.close()
            return _UNSPEAKABLE
        self._groups.add(process.pid)
        if self._closed:
            # it was not among them yet
            _signal(process.pid, signal.SIGKILL)
        try:
            output.begin()
            status = await _ended(process, pieces, program.deadline)
        finally:
            self._groups.discard(process.pid)
            said = output.close()
        if status is None:
            return deferred("4.3.0", f"program {program.name} did not end within {program.deadline:g} seconds")
        return outcome_of_exit(status, said)


async def _ended(process: asyncio.subprocess.Process, pieces: Iterator[bytes], deadline: float) -> int | None:
    """Feed the process and return its exit status, None where it was killed at the deadline; raise what the message's octets raised."""
    feeding = asyncio.ensure_future(_feed(process, pieces))
    ending = asyncio.ensure_future(process.wait())
    try:
        async with asyncio.timeout(deadline):
            await asyncio.wait((feeding, ending), return_when=asyncio.FIRST_COMPLETED)
            if feeding.done():
                # the program has its input, or there is something wrong with it
                feeding.result()
            # not awaited itself: the deadline would end it, and nobody would know when the process has gone
            await asyncio.wait((ending,))
    except TimeoutError:
        # of a process that has ended, be it that a child of its own still holds our pipe
        return process.returncode
    finally:
        await _kill(process)
        assert process.stdin is not None
        if not process.stdin.transport.is_closing():
            # ends `_feed` too, which a child of the program may still keep waiting
            process.stdin.transport.abort()
        await asyncio.wait((feeding, ending), timeout=GRACE)
        for task in (feeding, ending):
            if not task.cancel() and not task.cancelled():
                # what was wrong with the input of a program that has ended is no matter any more
                task.exception()
    return process.returncode


async def _feed(process: asyncio.subprocess.Process, pieces: Iterator[bytes]) -> None:
    """Write the message, and its end when it was whole. A program need not read all: its exit status says whether it has what it wants."""
    stdin = process.stdin
    assert stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for piece in pieces:
            if stdin.is_closing():
                # uvloop closes a pipe whose reader has gone, and has a RuntimeError for who writes to it then
                return
            stdin.write(piece)
            await stdin.drain()
        stdin.close()


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End the process and all of its group, if it runs; also where this is cancelled."""
    if process.returncode is not None:
        return
    try:
        _signal(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await process.wait()
    finally:
        _signal(process.pid, signal.SIGKILL)


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class _Output:
    """What a program writes, its beginning kept. A pipe of our own: what the program leaves running may hold it as long as it likes."""

    __slots__ = ("_kept", "_loop", "_read_end", "write_end")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._kept = b""
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)

    def begin(self) -> None:
        """Read from now on: the process has the other end."""
        os.close(self.write_end)
        self.write_end = -1
        self._loop.add_reader(self._read_end, self._read)

    def close(self) -> str:
        """Return the first line that was written, and let go."""
        if self.write_end >= 0:
            os.close(self.write_end)
        else:
            for _ in range(_LAST_READS):
                if not self._read():
                    break
            self._loop.remove_reader(self._read_end)
        os.close(self._read_end)
        lines = self._kept.decode(errors="replace").splitlines()
        return next((line.strip() for line in lines if line.strip()), "")

    def _read(self) -> bool:
        """Take what is there; say whether there was anything."""
        try:
            data = os.read(self._read_end, _READ)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._read_end)
        self._kept += data[: MAX_OUTPUT - len(self._kept)]
        return bool(data)
